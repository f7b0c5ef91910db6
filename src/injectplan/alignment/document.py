"""An alignment as its document: the names that scripts and other programs read."""

from __future__ import annotations

import math
from typing import Any

from injectplan.alignment.values import Alignment
from injectplan.documents import SCHEMA
from injectplan.measure import NOT_A_DEVICE


def alignment_document(alignment: Alignment) -> dict[str, Any]:
    """Return the document of an alignment, plain JSON values only.

    `angles` holds every measure by name, each `{value, sd, method, plane, …}` with `value: null` and `reason`
    where it is missing; landmarks likewise, with `position_mm: null`; version, torsion, `mad_mm` and
    `knee_flexion_deg` stand beside `angles` as well.
    """
    angles: dict[str, Any] = {}
    groups: dict[str, dict[str, Any]] = {}
    single: dict[str, Any] = {}
    for name, angle in alignment.angles.items():
        if "." in name:
            group, method = name.split(".")
            groups.setdefault(group, {})[method] = angle.to_json()
        elif name in ("mad_mm", "knee_flexion_deg"):
            single[name] = angle.to_json()
        else:
            angles[name] = angle.to_json()
    residual = alignment.identity_residual_deg
    return {
        "schema": SCHEMA,
        "purpose": NOT_A_DEVICE,
        "side": alignment.side,
        "joint": alignment.joint,
        "angles": angles | groups | single,
        **groups,
        **single,
        "cpak": alignment.cpak,
        "identity_residual_deg": residual if math.isfinite(residual) else None,
        "landmarks": _landmarks(alignment),
        "field_of_view": alignment.field_of_view.to_json(),
        "verdict": alignment.verdict.to_json(),
        "warnings": [notice.to_json() for notice in alignment.notices],
        "assumed": list(alignment.assumed),
    }


def _landmarks(alignment: Alignment) -> dict[str, Any]:
    """Every landmark by name: what was found, and why the others are missing."""
    found = {name: landmark.to_json() for name, landmark in alignment.landmarks.items()}
    missing = {}
    for name, why in alignment.missing.items():
        where = "direction" if name == "knee_axis" else "position_mm"
        missing[name] = {where: None, "sd_mm": None, "method": "not measured", "reason": why}
    return found | missing
