"""The completed label map: every structure voxelised from its surface, the highest priority on top."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from injectplan.anatomy.completion.solids import Grid
from injectplan.anatomy.model import Structure
from injectplan.imaging.values import LabelMap
from injectplan.kernels.solids import paint_inside


def paint_labels(structures: Mapping[str, Structure], over: Grid, spacing_mm: float) -> LabelMap:
    """Return all structures as one label map over a grid's extent; values follow priority, then name."""
    grid = Grid.between(over.frame, over.low_mm, over.high_mm, spacing_mm)
    labels = np.zeros(grid.shape, np.uint16)
    order = sorted(structures.values(), key=lambda s: (s.priority, s.name))
    names: dict[int, str] = {}
    for value, one in enumerate(order, start=1):
        names[value] = one.name
        if len(one.surface.triangles):
            vertices = (grid.frame.to_joint(one.surface.vertices_mm) - grid.low_mm) / grid.spacing_mm
            paint_inside(vertices, one.surface.triangles, labels, value)
    return LabelMap(affine=grid.affine, labels=labels, names=names)
