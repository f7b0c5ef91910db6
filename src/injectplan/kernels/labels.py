"""Which solid lies at each pixel: one ray down each pixel column."""

from __future__ import annotations

import math

import numpy as np

from injectplan.kernels._jit import bare_kernel
from injectplan.kernels.crossing import cross, crossings
from injectplan.kernels.line_values import COLUMNS


@bare_kernel
def _fill_column(corner, solid_of, fill_corner, priority, dx, dy, dz, back, step, ts, which, total, counts,
                 column):  # fmt: skip
    """Write one column's labels by its crossings."""
    counts[:] = 0
    height, row, best = column.shape[0], 0, -1
    for h in range(total + 1):
        stop = height
        if h < total:
            stop = min(height, max(0, math.ceil((ts[h] - back) / step)))
        if stop > row:
            column[row:stop] = np.uint16(best + 1)
            row = stop
        if h < total:
            _, best = cross(corner, solid_of, fill_corner, priority, which[h], dx, dy, dz, counts, best)


@bare_kernel
def label_group(solids, fill, columns, desk, place, group):
    """Label the pixels of a few columns by the solid of highest priority at their place.

    A few, so that the picture is written along its rows.
    """
    first = columns.first + group * COLUMNS
    count = min(COLUMNS, columns.last - first)
    ts, which, counts = desk.ts[place], desk.which[place], desk.counts[place]
    e, d, o, step = columns.across, columns.down, columns.origin, columns.step
    solid_of, height = solids.mesh.skin.solid, columns.labels.shape[0]
    for k in range(count):
        at = (first + k) * step
        total = crossings(
            solids.mesh.tree, solid_of.shape[0], fill.tree, fill.skin.solid.shape[0] > 0, o[0] + at * e[0],
            o[1] + at * e[1], o[2] + at * e[2], d[0], d[1], d[2], columns.back + step * height, ts, which,
        )  # fmt: skip
        _fill_column(
            solids.mesh.tree.corner, solid_of, fill.tree.corner, solids.makeup.priority, d[0], d[1], d[2],
            columns.back, step, ts, which, total, counts, desk.column[place, k],
        )  # fmt: skip
    for row in range(height):
        for k in range(count):
            inside = columns.inside[row, first + k]
            columns.labels[row, first + k] = desk.column[place, k, row] if inside else np.uint16(0)
