"""The completed label map: every structure voxelised from its surface, the highest priority on top."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from injectplan.anatomy.completion.solids import Grid
from injectplan.anatomy.model import Structure
from injectplan.imaging.values import LabelMap, Surface
from injectplan.kernels.bvh import all_hits
from injectplan.kernels.cast import Bools


def voxelise(surface: Surface, grid: Grid) -> tuple[tuple[slice, slice, slice], Bools]:
    """Return which grid points lie inside a closed surface, on the surface's box: slices and mask.

    One ray per row along the grid's z; a point is inside when the crossings before it are odd in number.
    """
    xyz = grid.frame.to_joint(surface.vertices_mm)
    part, where = grid.box(xyz.min(axis=0), xyz.max(axis=0))
    nx, ny, nz = part.shape
    # a thousandth of a voxel aside, so that no row runs along the edges of a mesh cut on this very grid
    x, y = np.meshgrid(part.x.ravel() + 1.3e-3, part.y.ravel() + 0.7e-3, indexing="ij")
    start = float(min(xyz[:, 2].min(), part.low_mm[2])) - 1.0
    origins = grid.frame.to_patient(np.column_stack([x.ravel(), y.ravel(), np.full(x.size, start)]))
    ways = np.broadcast_to(grid.frame.basis[:, 2], origins.shape)
    offsets, distance, _ = all_hits(surface.bvh, origins, np.ascontiguousarray(ways))
    step = np.ceil((distance + start - part.low_mm[2]) / part.spacing_mm - 1e-9)
    flips = np.zeros((nx * ny, nz + 1), np.int32)
    rows = np.repeat(np.arange(nx * ny), np.diff(offsets))
    np.add.at(flips, (rows, np.clip(step, 0, nz).astype(int)), 1)
    inside = np.cumsum(flips, axis=1)[:, :nz] % 2 == 1
    return where, inside.reshape(nx, ny, nz)


def paint_labels(structures: Mapping[str, Structure], over: Grid, spacing_mm: float) -> LabelMap:
    """Return all structures as one label map over a grid's extent; values follow priority, then name."""
    grid = Grid.between(over.frame, over.low_mm, over.high_mm, spacing_mm)
    labels = np.zeros(grid.shape, np.uint16)
    order = sorted(structures.values(), key=lambda s: (s.priority, s.name))
    names: dict[int, str] = {}
    for value, one in enumerate(order, start=1):
        names[value] = one.name
        if len(one.surface.triangles):
            where, inside = voxelise(one.surface, grid)
            labels[where][inside] = value
    return LabelMap(affine=grid.affine, labels=labels, names=names)
