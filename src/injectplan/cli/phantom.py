"""`injectplan phantom`: the built-in phantoms with their true values."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from rich.console import Console
from rich.table import Table

from injectplan.cli._common import DEFAULT, Common, as_json, finish
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
    document: dict[str, object] = {"schema": 1, "phantoms": names}

    def table(shown: Console) -> None:
        rows = Table("phantom")
        for name in names:
            rows.add_row(name)
        shown.print(rows)

    finish(document, common, by="phantom-list", table=table, write=as_json(document, "phantoms.json"))


@command.command
def export(
    name: str,
    *,
    echo_times_ms: Annotated[list[float] | None, Parameter(consume_multiple=True, negative="")] = None,
    noise_sd: float = 0.0,
    common: Common = DEFAULT,
) -> None:
    """Write a phantom: labels.nrrd, labels.toml, surfaces/, truth.json; with echo times a T2 series too.

    Example: injectplan phantom export sphere --out out/sphere

    Parameters
    ----------
    name
        One of `injectplan phantom list`.
    echo_times_ms
        Write echoes.nrrd with these echoes, and t2.nii.gz, the true T2 of its cartilage.
    noise_sd
        Rician noise of the echoes; cartilage has 1000 at echo time 0.
    """
    from injectplan.phantoms import export_phantom, make_phantom

    common.begin()
    if common.out is None:
        raise UsageError("--out DIR is needed: where to write the phantom")
    if not 0.0 <= noise_sd <= 1e6:
        raise UsageError(f"--noise-sd {noise_sd:g}: needs 0 or more")
    phantom = make_phantom(name, {})
    document = {"schema": 1, "name": name, "truth": phantom.truth}

    def table(shown: Console) -> None:
        rows = Table("quantity", "value", "unit", "formula", title=name)
        for quantity, entry in phantom.truth.items():
            rows.add_row(quantity, str(entry["value"]), entry["unit"], entry["formula"])
        shown.print(rows)

    def write(folder: Path) -> None:
        export_phantom(
            phantom, folder, echo_times_ms=echo_times_ms or (), noise_sd=noise_sd, seed=common.seed or 0
        )

    finish(document, common, by="phantom", table=table, write=write)
