"""`injectplan plan`: needle trajectories of a case, ranked and re-checked."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from injectplan.cli._common import DEFAULT, Common, finish, progress


def command(case: Path, *, common: Common = DEFAULT) -> int:
    """Search all skin entries × cavity targets; rank, test and re-check the best.

    Parameters
    ----------
    case
        Case file, or a folder that holds case.toml.
    """
    from injectplan.report.summary import print_plan
    from injectplan.workflow import plan_case, write_plan

    common.begin()
    with progress(common) as report:
        plan, document = plan_case(case, seed=common.seed, progress=report)

    def table(shown: Console) -> None:
        print_plan(document, shown)

    finish(document, common, by="plan", table=table, write=lambda folder: write_plan(plan, document, folder))
    return 3 if plan is None else 0
