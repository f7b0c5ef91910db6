"""`injectplan model`: from a segmentation, or surfaces, to a joint model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from injectplan.cli._common import DEFAULT, Common, finish, progress
from injectplan.errors import UsageError


def command(
    labelmap: Path | None = None,
    *,
    joint: Literal["knee", "hip", "ankle"],
    side: Literal["left", "right"],
    labels: str | None = None,
    image: Path | None = None,
    surfaces: Annotated[list[str] | None, Parameter(consume_multiple=True, negative="")] = None,
    units: str = "auto",
    frame: Literal["RAS", "LPS"] = "RAS",
    completion: Literal["auto", "none"] = "auto",
    common: Common = DEFAULT,
) -> None:
    """Build a joint model and measure it: volumes, cartilage thickness, cavity, defects.

    Parameters
    ----------
    labelmap
        Segmentation: NIfTI, NRRD, .seg.nrrd, MHA, DICOM SEG.
    joint
        Which joint.
    side
        Which side.
    labels
        Label table: a shipped one (pymskt, oai-zib, …) or a TOML file.
    image
        MR image of the same visit.
    surfaces
        Instead of a label map: NAME=FILE for each structure.
    units
        Of the surfaces: auto, mm, m, or millimetres per unit.
    frame
        Of the surfaces.
    completion
        Whether to build what was not segmented.
    """
    from injectplan.workflow import build_and_describe, write_model

    common.begin()
    if (labelmap is None) == (not surfaces):
        raise UsageError("give a label map, or --surfaces NAME=FILE …, one of the two")
    with progress(common) as report:
        built, document = build_and_describe(
            labelmap=labelmap,
            surfaces=named_files(surfaces or []),
            kind=joint,
            side=side,
            labels=labels,
            image=image,
            units=unit_of(units),
            frame=frame,
            completion=completion,
            seed=common.seed or 0,
            progress=report,
        )

    def table(shown: Console) -> None:
        rows = Table("structure", "voxels mL", "mesh mL", "source")
        for name, entry in document["structures"].items():
            voxels, mesh = entry["voxel_volume_ml"], entry["mesh_volume_ml"]
            rows.add_row(name, _ml(voxels), _ml(mesh), entry["source"])
        shown.print(rows)
        rows = Table("cartilage", "mean mm", "median", "p95", "covered")
        for name, entry in document["cartilage"].items():
            thickness = entry["thickness_mm"]
            rows.add_row(
                name,
                *(_ml(thickness[k]) for k in ("mean", "median", "p95")),
                _percent(entry["covered_fraction"]),
            )
        shown.print(rows)

    finish(
        document, common, by="model", table=table, write=lambda folder: write_model(built, document, folder)
    )


def named_files(pairs: list[str]) -> dict[str, Path]:
    """Turn NAME=FILE words into a mapping; a word of another form raises UsageError."""
    result: dict[str, Path] = {}
    for pair in pairs:
        name, equals, file = pair.partition("=")
        if not (name and equals and file):
            raise UsageError(f"--surfaces {pair}: needs the form NAME=FILE, such as femur=femur.ply")
        if name in result:
            raise UsageError(f"--surfaces {name}: named twice")
        result[name] = Path(file)
    return result


def unit_of(text: str) -> str | float:
    """Turn the word of --units into "auto", "mm", "m" or millimetres per unit."""
    if text in ("auto", "mm", "m"):
        return text
    try:
        value = float(text)
    except ValueError as error:
        raise UsageError(f"--units {text}: needs auto, mm, m or a number of mm per unit") from error
    if not 0 < value < 1e6:
        raise UsageError(f"--units {text}: needs a positive number of mm per unit")
    return value


def _ml(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.0f} %"
