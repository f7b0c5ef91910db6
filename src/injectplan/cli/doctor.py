"""`injectplan doctor`: what this machine can do."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from injectplan.cli._common import DEFAULT, Common, as_json, finish


def command(*, common: Common = DEFAULT) -> int:
    """Show versions, threads, graphics and the compile cache, and check the kernels for a second."""
    from injectplan.doctor import examine

    common.begin()
    document = examine()

    def table(shown: Console) -> None:
        rows = Table("check", "", "")
        for name, version in document["versions"].items():
            rows.add_row(name, "", version)
        for check in document["checks"]:
            rows.add_row(
                check["name"], "[green]ok[/green]" if check["ok"] else "[red]no[/red]", check["detail"]
            )
        shown.print(rows)

    finish(document, common, by="doctor", table=table, write=as_json(document, "doctor.json"))
    return 0 if all(check["ok"] for check in document["checks"] if check["needed"]) else 1
