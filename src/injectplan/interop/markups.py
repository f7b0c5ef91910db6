"""Slicer markups (`.mrk.json`, schema v1.0.3): the trajectories as lines, in LPS as Slicer stores them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from injectplan.alignment.values import Alignment
from injectplan.errors import FileError
from injectplan.files import atomic_file
from injectplan.frames import flip_lps_ras
from injectplan.kernels.cast import Floats
from injectplan.measure import NOT_A_DEVICE
from injectplan.planning.documents import confirmed
from injectplan.planning.values import Plan

SCHEMA_URL = (
    "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/Schema/"
    "markups-schema-v1.0.3.json#"
)
_IDENTITY = [-1.0, -0.0, -0.0, -0.0, -1.0, -0.0, 0.0, 0.0, 1.0]  # RAS axes seen in LPS
_COLORS = ((0.30, 0.79, 0.39), (0.25, 0.59, 0.88), (0.95, 0.61, 0.20), (0.70, 0.45, 0.85), (0.90, 0.35, 0.40),
           (0.55, 0.55, 0.55))  # fmt: skip


def _point(index: int, label: str, position_mm: Floats) -> dict[str, Any]:
    return {
        "id": str(index),
        "label": label,
        "description": "",
        "associatedNodeID": "",
        "position": [round(float(v), 6) for v in flip_lps_ras(position_mm)],
        "orientation": _IDENTITY,
        "selected": True,
        "locked": True,
        "visibility": True,
        "positionStatus": "defined",
    }


def line(
    name: str,
    points: Mapping[str, Floats],
    *,
    description: str = "",
    color: tuple[float, float, float] = _COLORS[0],
) -> dict[str, Any]:
    """Return one markup of type Line through two labelled points (RAS mm), coordinates in LPS."""
    if len(points) != 2:
        raise ValueError(f"a line has two points, not {len(points)}")
    control = [_point(i, label, position) for i, (label, position) in enumerate(points.items(), start=1)]
    start, end = (flip_lps_ras(position) for position in points.values())
    length = float(((start - end) ** 2).sum() ** 0.5)
    return {
        "type": "Line",
        "coordinateSystem": "LPS",
        "coordinateUnits": "mm",
        "locked": True,
        "fixedNumberOfControlPoints": False,
        "labelFormat": "%N-%d",
        "lastUsedControlPointNumber": 2,
        "name": name,
        "description": description,
        "controlPoints": control,
        "measurements": [
            {"name": "length", "enabled": True, "value": length, "units": "mm", "printFormat": "%-#4.4g%s"}
        ],
        "display": {
            "visibility": True,
            "opacity": 1.0,
            "color": list(color),
            "selectedColor": list(color),
            "textScale": 2.0,
            "glyphType": "Sphere3D",
            "glyphScale": 1.0,
            "useGlyphScale": True,
            "sliceProjection": False,
            "lineThickness": 0.3,
        },
    }


def write_document(markups: list[dict[str, Any]], path: str | Path) -> None:
    """Write markups of one kind or more to a `.mrk.json` file, whole or not at all."""
    text = json.dumps({"@schema": SCHEMA_URL, "markups": markups}, indent=2, allow_nan=False) + "\n"
    with atomic_file(path) as part:
        part.write_text(text, encoding="utf-8")


def write_markups(plan: Plan, path: str | Path) -> None:
    """Write the plan's trajectories as Slicer lines from entry to tip, best first.

    Raises UnconfirmedPlanError for a trajectory that the exact re-check did not confirm, FileError when the
    file cannot be written.
    """
    markups = [
        line(
            f"{t.rank} {t.approach} ({t.technique})",
            {"entry": t.entry_mm, "tip": t.tip_mm},
            description=f"{t.recess}, {t.length_mm:.1f} mm; {NOT_A_DEVICE}",
            color=_COLORS[(t.rank - 1) % len(_COLORS)],
        )
        for t in confirmed(plan)
    ]
    write_document(markups, path)


_AXES = {
    "femoral mechanical axis": ("hip_center", "femoral_knee_center"),
    "tibial mechanical axis": ("tibial_knee_center", "ankle_center"),
    "distal condyles": ("distal_medial_condyle", "distal_lateral_condyle"),
    "tibial plateau": ("medial_plateau", "lateral_plateau"),
    "posterior condyles": ("posterior_medial_condyle", "posterior_lateral_condyle"),
    "load line": ("hip_center", "ankle_center"),
    "femoral shaft axis": ("femoral_shaft_proximal", "femoral_shaft_distal"),
    "tibial shaft axis": ("tibial_shaft_proximal", "tibial_shaft_distal"),
    "femoral neck axis": ("hip_center", "femoral_neck_center"),
    "posterior tibial condyles": ("posterior_medial_plateau", "posterior_lateral_plateau"),
    "malleoli": ("medial_malleolus", "lateral_malleolus"),
    "plafond": ("plafond_medial", "plafond_lateral"),
    "iliac spines": ("anterior_superior_iliac_spine", "opposite_anterior_superior_iliac_spine"),
    "acetabular axis": ("acetabular_center", "acetabular_opening_point"),
}


def write_axes(alignment: Alignment, path: str | Path) -> None:
    """Write the axes that an alignment's landmarks span as Slicer lines, those that have both ends."""
    markups = []
    for k, (name, (start, end)) in enumerate(_AXES.items()):
        ends = {n: alignment.landmarks[n].position_mm for n in (start, end) if n in alignment.landmarks}
        known = {n: position for n, position in ends.items() if position is not None}
        if len(known) == 2:
            markups.append(line(name, known, description=NOT_A_DEVICE, color=_COLORS[k % len(_COLORS)]))
    write_document(markups, path)


def read_lines(path: str | Path) -> dict[str, Floats]:
    """Read the lines of a markups file: name → (2, 3) RAS mm, first point first.

    Raises FileError for what is not a markups file, holds points not defined, or says no coordinate system.
    """
    try:
        document = json.loads(Path(path).read_text(encoding="utf-8"))
        result: dict[str, Floats] = {}
        for markup in document["markups"]:
            if markup["type"] != "Line":
                continue
            system = markup["coordinateSystem"]
            positions = np.array([p["position"] for p in markup["controlPoints"]], dtype=float)
            undefined = any(p.get("positionStatus", "defined") != "defined" for p in markup["controlPoints"])
            if undefined or positions.shape != (2, 3) or system not in ("LPS", "RAS"):
                raise FileError(f"{Path(path).name}: a line needs two defined points in LPS or RAS")
            name = str(markup.get("name", len(result)))
            result[name] = flip_lps_ras(positions) if system == "LPS" else positions
    except FileNotFoundError as error:
        raise FileError(f"{Path(path).name}: no such file") from error
    except (OSError, UnicodeDecodeError, ValueError, KeyError, TypeError) as error:
        raise FileError(f"{Path(path).name}: not a Slicer markups file") from error
    return result
