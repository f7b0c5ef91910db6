"""Shared by the tests of completion: a phantom completed once per parameters."""

from __future__ import annotations

from functools import cache

import numpy as np

from injectplan.anatomy.axes import joint_axes
from injectplan.anatomy.completion import complete_joint
from injectplan.anatomy.model import PRIORITY, Structure, Subject
from injectplan.phantoms import make_phantom
from injectplan.structures import structure


@cache
def completed(kind: str, side: str, bmi: float):
    """Return (axes, completed joint) of a coarse phantom."""
    phantom = make_phantom(kind, {"spacing_mm": 3.0, "slice_mm": 3.0, "side": side})
    given = {}
    for name, surface in phantom.surfaces.items():
        info = structure(name)
        given[name] = Structure(
            name=name, surface=surface, tissue=info.tissue, risk=info.risk, source="segmented",
            priority=PRIORITY[info.layer],
        )  # fmt: skip
    axes = joint_axes(kind, side, {n: s for n, s in phantom.surfaces.items() if structure(n).risk == "bone"})
    return axes, complete_joint(kind, side, axes, given, Subject(bmi=bmi, sex="female"))


def joint_points(axes, surface):
    """Vertices in the joint's coordinates: lateral, anterior, proximal."""
    basis = np.column_stack([axes.lateral, axes.anterior, axes.proximal])
    return (surface.vertices_mm - axes.origin_mm) @ basis
