"""`injectplan frame`: one ultrasound frame of a case with all its maps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console

from injectplan.cli._common import DEFAULT, Common, finish, progress
from injectplan.errors import UsageError

Switch = Annotated[bool, Parameter(negative="")]


def command(
    case: Path, *, png: Path | None = None, injected: float = 0.0, force: float = 0.0, colour: Switch = False,
    trust: Switch = False, common: Common = DEFAULT,
) -> int:  # fmt: skip
    """Simulate one B-mode frame, with labels, needle, depth, shadow and trust maps.

    Parameters
    ----------
    case
        Case file; its [view] fixes the probe, else trajectory 1 does.
    png
        Also write the picture.
    injected
        Fluid in the joint's cavity by then, mL.
    force
        Force that the probe is pressed on with, N; soft tissue thins over bone.
    colour
        Colour the injected fluid by its speed along the beam.
    trust
        Tint in the picture what ray theory does not hold for.
    """
    from injectplan.files import check_place
    from injectplan.workflow import simulate_case_frame, write_frame

    common.begin(folder=False)
    if png is not None:
        check_place(png, folder=False, starts=b"\x89PNG")
        if common.out is not None and png.resolve() == common.out.resolve():
            raise UsageError(f"--png {png}: is --out too; give the picture a name of its own")
    with progress(common) as report:
        frame, document = simulate_case_frame(
            case, seed=common.seed, injected_ml=injected, force_n=force, colour=colour, progress=report
        )
    if frame is not None:
        write_frame(frame, document, common.out, png, trust=trust)

    def table(shown: Console) -> None:
        if frame is None:
            shown.print(f"[bold]refused[/bold]: {document['refused']}")
            return
        median, p95 = document["frame_ms"]
        shown.print(
            f"{document['width_px']} × {document['height_px']} pixels, {median:.1f} ms a frame "
            f"(95 % within {p95:.1f} ms)"
        )

    finish(document, replace(common, out=None), table=table)
    return 3 if frame is None else 0
