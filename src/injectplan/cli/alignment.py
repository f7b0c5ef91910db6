"""`injectplan alignment`: the leg's angles with their uncertainty, and the verdict."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from injectplan.cli._common import DEFAULT, Common, finish, progress
from injectplan.cli.model import named_files, unit_of
from injectplan.errors import UsageError


def command(
    case: Path | None = None,
    *,
    surfaces: Annotated[list[str] | None, Parameter(consume_multiple=True, negative="")] = None,
    landmarks: Path | None = None,
    side: Literal["left", "right"] | None = None,
    frame: Literal["RAS", "LPS"] | None = None,
    units: str | None = None,
    limit_deg: float = 10.0,
    joint: Literal["knee", "hip", "ankle"] | None = None,
    load: Literal["supine", "standing"] = "supine",
    common: Common = DEFAULT,
) -> int:
    """Measure axial deformity, with the probability that it exceeds a limit.

    Parameters
    ----------
    case
        Case file whose joint is measured.
    surfaces
        Instead of a case: NAME=FILE for femur, tibia, fibula, talus, patella, hip_bone,
        opposite_hip_bone (the pelvic plane needs both).
    landmarks
        Instead of a case: landmark file (JSON, .mrk.json, .fcsv).
    side
        Which side; needed with surfaces.
    frame
        Of the surfaces; RAS unless given. A landmark file states its own.
    units
        Of the surfaces: auto (unless given), mm, m, or millimetres per unit. A landmark file states its own.
    limit_deg
        Deviation that excludes.
    joint
        Whose deformity is judged: the knee's HKA, the hip's neck-shaft angle, the ankle's mLDTA; the case's
        joint, else the knee, unless given.
    load
        How the leg was loaded; standing adds what lying down hides.
    """
    from injectplan.workflow import align, write_alignment

    common.begin()
    if sum([case is not None, bool(surfaces), landmarks is not None]) != 1:
        raise UsageError("give a case, --surfaces NAME=FILE … or --landmarks FILE, one of the three")
    if not 0 < limit_deg < 90:
        raise UsageError(f"--limit-deg {limit_deg:g}: needs a value between 0 and 90")
    for option, value in (("--frame", frame), ("--units", units)):
        if value is not None and not surfaces:
            states = "the landmark file states its own" if landmarks else "the case states its own"
            raise UsageError(f"{option} {value}: is of --surfaces; {states}")
    if surfaces and side is None:
        raise UsageError("--side left|right is needed with --surfaces")
    with progress(common) as report:
        document, drawing = align(
            case=case,
            surfaces=named_files(surfaces or []),
            landmarks=landmarks,
            side=side,
            frame=frame or "RAS",
            units=unit_of(units or "auto"),
            limit_deg=limit_deg,
            joint=joint,
            load=load,
            seed=common.seed,
            progress=report,
        )

    def table(shown: Console) -> None:
        from injectplan.report.html import flat_angles, sentence

        rows = Table("angle", "degrees", "± sd", "")
        for name, entry in flat_angles(document["angles"]):
            known = entry["value"] is not None
            rows.add_row(
                name.replace("_deg", ""),
                f"{entry['value']:.1f}" if known else "-",
                f"{entry['sd']:.1f}" if entry["sd"] is not None else "-",
                "" if known else entry.get("reason", ""),
            )
        shown.print(rows)
        verdict = document["verdict"]
        shown.print(f"[bold]{verdict['state']}[/bold]: {' '.join(map(sentence, verdict['reasons']))}")

    finish(
        document,
        common,
        by="alignment",
        table=table,
        write=lambda folder: write_alignment(document, drawing, folder),
    )
    return 3 if document["verdict"]["state"] == "REFUSED" else 0
