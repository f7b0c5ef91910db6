"""`injectplan dose`: what the injection of a case delivers, and where it goes."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from injectplan.cli._common import DEFAULT, Common, finish, progress


def command(case: Path, *, common: Common = DEFAULT) -> int:
    """Estimate pressure, filling of the cavity, and dose on cartilage for the best trajectory.

    Parameters
    ----------
    case
        Case file, or a folder that holds case.toml.
    """
    from injectplan.report.summary import print_dose
    from injectplan.workflow import dose_case, write_dose

    common.begin()
    with progress(common) as report:
        dose, document = dose_case(case, seed=common.seed, progress=report)

    def table(shown: Console) -> None:
        print_dose(document, shown)

    finish(document, common, by="dose", table=table, write=lambda folder: write_dose(document, folder))
    return 3 if dose is None else 0
