"""`injectplan phantom`: the built-in phantoms with their true values."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from rich.console import Console
from rich.table import Table

from injectplan.cli._common import DEFAULT, Common, as_json, finish, progress
from injectplan.errors import UsageError

command = App(name="phantom", help="The built-in phantoms, with a closed-form answer beside each.")


@command.command(name="list")
def list_(*, common: Common = DEFAULT) -> None:
    """List the phantoms and their parameters, each with its default and what it may be.

    Example: injectplan phantom list
    """
    from injectplan.phantoms import phantom_names, phantom_table

    common.begin()
    tables = {name: phantom_table(name) for name in phantom_names()}
    parameters = {
        name: {p: asdict(entry) for p, entry in entries.items()} for name, entries in tables.items()
    }
    document: dict[str, object] = {"schema": 1, "phantoms": list(tables), "parameters": parameters}

    def table(shown: Console) -> None:
        rows = Table("phantom", "parameter", "default", "may be")
        for name, entries in parameters.items():
            for i, (parameter, entry) in enumerate(entries.items()):
                words = entry.get("words")
                default = entry["default"] if words else f"{entry['default']:g}"
                among = " | ".join(words) if words else f"{entry['low']:g} to {entry['high']:g}"
                rows.add_row("" if i else name, parameter, default, among)
            rows.add_section()
        shown.print(rows)

    finish(document, common, by="phantom-list", table=table, write=as_json(document, "phantoms.json"))


@command.command
def export(
    name: str,
    *,
    set_: Annotated[list[str] | None, Parameter(name="--set", consume_multiple=True, negative="")] = None,
    echo_times_ms: Annotated[list[float] | None, Parameter(consume_multiple=True, negative="")] = None,
    noise_sd: float = 0.0,
    tissues: bool = False,
    common: Common = DEFAULT,
) -> None:
    """Write a phantom: labels.nrrd, labels.toml, surfaces/, truth.json; with echo times a T2 series too.

    Example: injectplan phantom export knee --set effusion_ml=40 side=left --out out/knee

    Parameters
    ----------
    name
        One of `injectplan phantom list`.
    set_
        NAME=VALUE for each parameter that is not to have its default; `phantom list` gives them.
    echo_times_ms
        Write echoes.nrrd with these echoes, and t2.nii.gz, the true T2 of its cartilage.
    noise_sd
        Rician noise of the echoes; cartilage has 1000 at echo time 0.
    tissues
        Write tissues.nrrd and tissues.toml too: a joint with skin, fat, muscles, tendons, vessels and nerves.
    """
    from injectplan.phantoms import export_phantom, make_phantom, read_parameters, tissues_of

    common.begin()
    if common.out is None:
        raise UsageError("--out DIR is needed: where to write the phantom")
    if not 0.0 <= noise_sd <= 1e6:
        raise UsageError(f"--noise-sd {noise_sd:g}: needs 0 or more")
    phantom = make_phantom(name, read_parameters(name, set_ or ()))
    whole = None
    if tissues:
        with progress(common) as report:
            whole = tissues_of(phantom, progress=report)
    document = {"schema": 1, "name": name, "truth": phantom.truth}

    def table(shown: Console) -> None:
        rows = Table("quantity", "value", "unit", "formula", title=name)
        for quantity, entry in phantom.truth.items():
            rows.add_row(quantity, str(entry["value"]), entry["unit"], entry["formula"])
        shown.print(rows)

    def write(folder: Path) -> None:
        export_phantom(
            phantom, folder, echo_times_ms=echo_times_ms or (), noise_sd=noise_sd, seed=common.seed or 0,
            tissues=whole,
        )  # fmt: skip

    finish(document, common, by="phantom", table=table, write=write)
