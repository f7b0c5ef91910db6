"""Which solid lies at each pixel: one ray down every other pixel column.

The columns between take the middle of their neighbours' boundaries where both meet the same solids in the
same order, and have a ray of their own where not. Over two pixels (0.2 mm) a boundary of radius R bends by
0.005 mm² / R: a hundredth of a pixel for 5 mm.
"""

from __future__ import annotations

import math

import numpy as np

from injectplan.kernels._jit import bare_kernel
from injectplan.kernels.crossing import cross, crossings
from injectplan.kernels.line_values import COLUMNS, HELD_ALL, HELD_NONE


@bare_kernel
def _changes(corner, solid_of, fill_corner, priority, dx, dy, dz, ts, which, total, counts, edge, below):
    """Write where the label changes along a ray, and to what; return how often."""
    counts[:] = 0
    best, found = -1, 0
    for h in range(total):
        _, now = cross(corner, solid_of, fill_corner, priority, which[h], dx, dy, dz, counts, best)
        if now != best:
            edge[found], below[found] = ts[h], np.uint16(now + 1)
            found += 1
        best = now
    return found


@bare_kernel
def _cast_column(solids, fill, columns, desk, place, slot, column):
    """Write the changes of a pixel column into one of the three slots; return how many."""
    e, d, o = columns.across, columns.down, columns.origin
    at = column * columns.step
    solid_of, ts, which = solids.mesh.skin.solid, desk.ts[place], desk.which[place]
    total = crossings(
        solids.mesh.tree, solid_of.shape[0], fill.tree, fill.skin.solid.shape[0] > 0, o[0] + at * e[0],
        o[1] + at * e[1], o[2] + at * e[2], d[0], d[1], d[2],
        columns.back + columns.step * columns.labels.shape[0], ts, which,
    )  # fmt: skip
    return _changes(
        solids.mesh.tree.corner, solid_of, fill.tree.corner, solids.makeup.priority, d[0], d[1], d[2], ts,
        which, total, desk.counts[place], desk.edge[place, slot], desk.below[place, slot],
    )  # fmt: skip


@bare_kernel
def _halfway(edge, below, found, other):
    """Write into slot 2 the middle of slots 0 and 1; whether these change alike."""
    if found != other:
        return False
    for h in range(found):
        if below[0, h] != below[1, h]:
            return False
        edge[2, h], below[2, h] = 0.5 * (edge[0, h] + edge[1, h]), below[0, h]
    return True


@bare_kernel
def _fill_column(edge, below, found, back, step, column):
    """Write one column's labels by its changes."""
    height, row, label = column.shape[0], 0, np.uint16(0)
    for h in range(found + 1):
        stop = height
        if h < found:
            stop = min(height, max(0, math.ceil((edge[h] - back) / step)))
        if stop > row:
            column[row:stop] = label
            row = stop
        if h < found:
            label = below[h]


@bare_kernel
def label_group(solids, fill, columns, desk, place, group):
    """Label the pixels of a few columns by the solid of highest priority at their place.

    A few, so that the picture is written along its rows.
    """
    first = columns.first + group * COLUMNS
    count = min(COLUMNS, columns.last - first)
    edge, below, drawn = desk.edge[place], desk.below[place], desk.column[place]
    # whole numbers of one type, or the cast is compiled for each
    zero, two = np.int64(0), np.int64(2)
    slot, found = zero, _cast_column(solids, fill, columns, desk, place, zero, np.int64(first))
    for k in range(0, count, 2):
        _fill_column(edge[slot], below[slot], found, columns.back, columns.step, drawn[:, k])
        if k + 1 == count:
            break
        other, alike = 0, first + k + 2 < columns.last
        if alike:
            other = _cast_column(
                solids, fill, columns, desk, place, np.int64(1 - slot), np.int64(first + k + 2)
            )
            alike = _halfway(edge, below, found, other)
        between = found
        if not alike:
            between = _cast_column(solids, fill, columns, desk, place, two, np.int64(first + k + 1))
        _fill_column(edge[2], below[2], between, columns.back, columns.step, drawn[:, k + 1])
        slot, found = 1 - slot, other
    for row in range(columns.labels.shape[0]):
        # parts that begin at 0: an index that might be negative keeps the compiler from vectors
        to, label = columns.labels[row, first : first + count], drawn[row]
        if columns.held[row] == HELD_ALL:
            for k in range(count):
                to[k] = label[k]
        elif columns.held[row] == HELD_NONE:
            to[:] = np.uint16(0)
        else:
            inside = columns.inside[row, first : first + count]
            for k in range(count):
                to[k] = label[k] if inside[k] else np.uint16(0)
