"""`injectplan check`: every value a case runs with, and where it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from injectplan.cli._common import DEFAULT, Common, as_json, finish


def command(case: Path, *, common: Common = DEFAULT) -> None:
    """Read a case file and print every effective value: given, default or assumed.

    Parameters
    ----------
    case
        Case file, or a folder that holds case.toml.
    """
    from injectplan.workflow import check_case

    common.begin()
    document = check_case(case)

    def table(shown: Console) -> None:
        rows = Table("value", "", "source", title=document["case"]["name"]["value"])
        _rows(document["case"], "", rows)
        shown.print(rows)

    finish(document, common, by="check", table=table, write=as_json(document, "check.json"))


def _rows(entries: Mapping[str, Any], place: str, rows: Table) -> None:
    for key, entry in entries.items():
        if "source" in entry and "value" in entry:
            mark = "[yellow]assumed[/yellow]" if entry["source"] == "assumed" else entry["source"]
            rows.add_row(f"{place}{key}", str(entry["value"]), mark)
        else:
            _rows(entry, f"{place}{key}.", rows)
