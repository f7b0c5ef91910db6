"""`injectplan run`: the main job, from a case file to a report."""

from __future__ import annotations

from pathlib import Path

from injectplan.cli._common import DEFAULT, Common, finish, progress


def command(case: Path, *, common: Common = DEFAULT) -> int:
    """Run a whole case: joint, alignment, plan, ultrasound preview, dose, report.

    Parameters
    ----------
    case
        Case file, or a folder that holds case.toml.
    """
    return run_and_show(case, common)


def run_and_show(case: Path, common: Common) -> int:
    """Run a case, write and print its record; return 0, or 3 when a step was refused."""
    from injectplan.casefile import read_case
    from injectplan.files import atomic_folder
    from injectplan.report.summary import print_summary
    from injectplan.workflow import record_of, reseeded, run_case, run_into

    common.begin()
    read = reseeded(read_case(case), common.seed)
    with progress(common) as report:
        if common.out is None:
            result = run_case(read, progress=report)
            document = record_of(result)
        else:
            with atomic_folder(common.out, by="run") as folder:
                result, document = run_into(read, folder, progress=report)
    finish(document, common, table=lambda shown: print_summary(document, shown))
    if common.out is not None and not common.json:
        print(common.out / "report.html")
    return 3 if "plan" in result.refusals else 0
