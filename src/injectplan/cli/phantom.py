"""`injectplan phantom`: the built-in phantoms with their true values."""

from __future__ import annotations

from cyclopts import App
from rich.console import Console
from rich.table import Table

from injectplan.cli._common import DEFAULT, Common, finish
from injectplan.errors import UsageError

command = App(name="phantom", help="The built-in phantoms, with a closed-form answer beside each.")


@command.command(name="list")
def list_(*, common: Common = DEFAULT) -> None:
    """List the phantoms.

    Example: injectplan phantom list
    """
    from injectplan.phantoms import phantom_names

    common.begin()
    names = list(phantom_names())
    document = {"schema": 1, "phantoms": names}

    def table(shown: Console) -> None:
        rows = Table("phantom")
        for name in names:
            rows.add_row(name)
        shown.print(rows)

    finish(document, common, table=table)


@command.command
def export(name: str, *, common: Common = DEFAULT) -> None:
    """Write a phantom: labels.nrrd, labels.toml, surfaces/, truth.json.

    Example: injectplan phantom export sphere --out out/sphere

    Parameters
    ----------
    name
        One of `injectplan phantom list`.
    """
    from injectplan.phantoms import export_phantom, make_phantom

    common.begin()
    if common.out is None:
        raise UsageError("--out DIR is needed: where to write the phantom")
    phantom = make_phantom(name, {})
    document = {"schema": 1, "name": name, "truth": phantom.truth}

    def table(shown: Console) -> None:
        rows = Table("quantity", "value", "unit", "formula", title=name)
        for quantity, entry in phantom.truth.items():
            rows.add_row(quantity, str(entry["value"]), entry["unit"], entry["formula"])
        shown.print(rows)

    finish(document, common, table=table, write=lambda folder: export_phantom(phantom, folder))
