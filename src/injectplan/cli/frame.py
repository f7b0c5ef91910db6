"""`injectplan frame`: one ultrasound frame of a case with all its maps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from rich.console import Console

from injectplan.cli._common import DEFAULT, Common, finish, progress


def command(case: Path, *, png: Path | None = None, common: Common = DEFAULT) -> int:
    """Simulate one B-mode frame, with labels, needle, depth, shadow and trust maps.

    Parameters
    ----------
    case
        Case file; its [view] fixes the probe, else trajectory 1 does.
    png
        Also write the picture.
    """
    from injectplan.workflow import simulate_case_frame, write_frame

    common.begin()
    with progress(common) as report:
        frame, document = simulate_case_frame(case, seed=common.seed, progress=report)
    if frame is not None:
        write_frame(frame, document, common.out, png)

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
