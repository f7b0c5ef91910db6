"""`injectplan t2`: T2 relaxation times from a multi-echo image."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from rich.console import Console

from injectplan.cli._common import DEFAULT, Common, finish


def command(
    image: Path,
    *,
    echo_times_ms: Annotated[list[float] | None, Parameter(consume_multiple=True, negative="")] = None,
    mask: Path | None = None,
    labels: str | None = None,
    side: Literal["left", "right"] | None = None,
    joint: Literal["knee", "hip", "ankle"] | None = None,
    method: Literal["loglinear", "nonlinear", "qdess"] = "loglinear",
    common: Common = DEFAULT,
) -> None:
    """Fit T2 voxel by voxel, with what was rejected counted by reason.

    Parameters
    ----------
    image
        Image with one component per echo.
    echo_times_ms
        Echo times, one per component; may be left out where the file states them, and for qdess.
    mask
        Segmentation of the same scan, for values per region.
    labels
        Label table of the mask.
    side
        Side, for label tables that need it.
    joint
        Which joint the mask shows: T2 is then told for each subregion of its cartilage too.
    method
        How to fit.
    """
    from injectplan.workflow import measure_t2, write_t2

    common.begin()
    document, volume, mapped = measure_t2(
        image, echo_times_ms or (), mask=mask, labels=labels, side=side, method=method, joint=joint
    )

    def table(shown: Console) -> None:
        shown.print(
            f"T2 of {document['n']} voxels: mean {document['mean_ms']:.2f} ms, "
            f"median {document['median_ms']:.2f} ms"
        )

    finish(
        document,
        common,
        by="t2",
        table=table,
        write=lambda folder: write_t2(document, volume, folder, mapped),
    )
