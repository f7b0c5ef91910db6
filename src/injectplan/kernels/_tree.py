"""Building the triangle tree: a binary one by binned surface-area heuristic, collapsed to eight children."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from injectplan.kernels._jit import kernel
from injectplan.kernels._wide import WIDTH
from injectplan.kernels.cast import Floats, Floats32, Ints

LEAF_TRIANGLES = 4  # at most 7: three bits of a wide node's child
EMPTY = -1  # ~(0 * 8 + 0): a leaf without triangles
BINS = 16
# Below this level ranges are halved, which takes at most 31 levels more for any int32 number of triangles:
# DEPTH bounds every tree, however its triangles lie
HALVE_FROM = 32
DEPTH = HALVE_FROM + 32


@kernel
def _box_of(order, begin, end, lows, highs, box, node):
    for k in range(3):
        low, high = np.inf, -np.inf
        for i in range(begin, end):
            low, high = min(low, lows[order[i], k]), max(high, highs[order[i], k])
        box[node, k], box[node, 3 + k] = low, high


@kernel
def _fill_bins(order, begin, end, lows, highs, c_low, scale, count, box):
    """Count the triangles of each axis's bins and widen the bins' boxes, (3, BINS) and (3, BINS, 6)."""
    count[:] = 0
    box[:, :, :3] = np.inf
    box[:, :, 3:] = -np.inf
    for i in range(begin, end):
        t = order[i]
        for axis in range(3):
            b = min(BINS - 1, int((lows[t, axis] + highs[t, axis] - c_low[axis]) * scale[axis]))
            count[axis, b] += 1
            for k in range(3):
                box[axis, b, k] = min(box[axis, b, k], lows[t, k])
                box[axis, b, 3 + k] = max(box[axis, b, 3 + k], highs[t, k])


@kernel
def _half_area(box):
    x, y, z = box[3] - box[0], box[4] - box[1], box[5] - box[2]
    return x * y + y * z + z * x


@kernel
def _best_split(count, box, size, scale):
    """Return (axis, last bin on the left) of the cheapest split, axis -1 when there is none."""
    best, best_axis, best_bin = np.inf, -1, -1
    right = np.empty(BINS)
    grown = np.empty(6)
    for axis in range(3):
        if scale[axis] == 0.0:
            continue
        grown[:3], grown[3:] = np.inf, -np.inf
        total = 0
        for b in range(BINS - 1, 0, -1):
            total += count[axis, b]
            for k in range(3):
                grown[k] = min(grown[k], box[axis, b, k])
                grown[3 + k] = max(grown[3 + k], box[axis, b, 3 + k])
            right[b] = total * _half_area(grown) if total > 0 else 0.0
        grown[:3], grown[3:] = np.inf, -np.inf
        total = 0
        for b in range(BINS - 1):
            total += count[axis, b]
            for k in range(3):
                grown[k] = min(grown[k], box[axis, b, k])
                grown[3 + k] = max(grown[3 + k], box[axis, b, 3 + k])
            if total == 0 or total == size:
                continue
            cost = total * _half_area(grown) + right[b + 1]
            if cost < best:
                best, best_axis, best_bin = cost, axis, b
    return best_axis, best_bin


@kernel
def _centers_range(order, begin, end, lows, highs, c_low, scale):
    """Write the lowest doubled centre and the bins per doubled mm, 0 on an axis all centres share."""
    for k in range(3):
        low, high = np.inf, -np.inf
        for i in range(begin, end):
            c = lows[order[i], k] + highs[order[i], k]
            low, high = min(low, c), max(high, c)
        c_low[k] = low
        # an extent of rounding only would overflow the scale
        scale[k] = BINS / (high - low) if high - low > 1e-30 else 0.0


@kernel
def _partition(order, begin, end, lows, highs, axis, last, c_low, scale, scratch):
    """Move the triangles of bins up to `last` to the front, keeping their order; return where they end."""
    left, held = begin, 0
    for i in range(begin, end):
        t = order[i]
        if min(BINS - 1, int((lows[t, axis] + highs[t, axis] - c_low[axis]) * scale[axis])) <= last:
            order[left] = t
            left += 1
        else:
            scratch[held] = t
            held += 1
    for i in range(held):
        order[left + i] = scratch[i]
    return left


@kernel
def _build_binary(lows, highs, order, box, first, size):
    """Fill a binary tree's nodes and sort `order`; return how many nodes there are.

    Children of node i are first[i] and first[i] + 1 where size[i] is 0, else it holds size[i] triangles from
    first[i] on. Wald (2007), doi:10.1109/RT.2007.4342588.
    """
    n = order.shape[0]
    stack = np.empty((2 * DEPTH, 4), np.int64)
    stack[0, 0], stack[0, 1], stack[0, 2], stack[0, 3] = 0, 0, n, 0
    waiting, used = 1, 1
    count, bins = np.empty((3, BINS), np.int64), np.empty((3, BINS, 6))
    c_low, scale, scratch = np.empty(3), np.empty(3), np.empty(n, np.int32)
    while waiting > 0:
        waiting -= 1
        node, begin, end, level = (
            stack[waiting, 0], stack[waiting, 1], stack[waiting, 2], stack[waiting, 3],
        )  # fmt: skip
        _box_of(order, begin, end, lows, highs, box, node)
        if end - begin <= LEAF_TRIANGLES:
            first[node], size[node] = begin, end - begin
            continue
        middle = begin + (end - begin) // 2
        if level < HALVE_FROM:
            _centers_range(order, begin, end, lows, highs, c_low, scale)
            _fill_bins(order, begin, end, lows, highs, c_low, scale, count, bins)
            axis, last = _best_split(count, bins, end - begin, scale)
            if axis >= 0:
                middle = _partition(order, begin, end, lows, highs, axis, last, c_low, scale, scratch)
        first[node], size[node] = used, 0
        for half in range(2):
            stack[waiting, 0] = used + half
            stack[waiting, 1] = middle if half else begin
            stack[waiting, 2] = end if half else middle
            stack[waiting, 3] = level + 1
            waiting += 1
        used += 2
    return used


@kernel
def _collapse(box, first, size, wide_box, wide_child, source):
    """Fill nodes of WIDTH children by opening, again and again, the child of largest area; return how many.

    source : the binary node each wide node stands for, scratch.
    """
    source[0] = 0
    used, node = 1, 0
    held = np.empty(WIDTH, np.int64)
    while node < used:
        held[0], n = source[node], 1
        while n < WIDTH:
            largest, chosen = -1.0, -1
            for c in range(n):
                if size[held[c]] == 0 and _half_area(box[held[c]]) > largest:
                    largest, chosen = _half_area(box[held[c]]), c
            if chosen < 0:
                break
            left = first[held[chosen]]
            held[chosen], held[n] = left, left + 1
            n += 1
        for c in range(n):
            inner = size[held[c]] == 0
            wide_child[node, c] = used if inner else ~(first[held[c]] * 8 + size[held[c]])
            for k in range(6):
                wide_box[node, k, c] = box[held[c], k]
            if inner:
                source[used] = held[c]
                used += 1
        node += 1
    return used


class Tree(NamedTuple):
    """The same tree twice, over triangles in `order`; see `bvh.Bvh` for the fields."""

    low: Floats
    high: Floats
    first: Ints
    size: Ints
    box: Floats32
    child: Ints
    order: Ints


def build_tree(lows: Floats, highs: Floats, center: Floats, margin: float) -> Tree:
    """Build the tree over boxes (m, 3); the wide nodes' boxes are relative to `center`, `margin` wider."""
    m = len(lows)
    if m == 0:
        nowhere = np.full((1, 6, WIDTH), np.inf, np.float32)
        nowhere[:, 3:] = -np.inf
        none = np.full((1, WIDTH), EMPTY, np.int32)
        nobody, infinite = np.zeros(0, np.int32), np.full((1, 3), np.inf)
        return Tree(infinite, -infinite, np.zeros(1, np.int32), none[0, :1].copy(), nowhere, none, nobody)
    order = np.arange(m, dtype=np.int32)
    box, first, size = np.empty((2 * m, 6)), np.zeros(2 * m, np.int32), np.zeros(2 * m, np.int32)
    nodes = _build_binary(lows, highs, order, box, first, size)
    wide_box = np.empty((m, 6, WIDTH))
    wide_box[:, :3], wide_box[:, 3:] = np.inf, -np.inf
    child = np.full((m, WIDTH), EMPTY, np.int32)
    wide = _collapse(box, first, size, wide_box, child, np.empty(m, np.int64))
    widened = np.empty((wide, 6, WIDTH), np.float32)
    for part, sign in ((slice(0, 3), -1.0), (slice(3, 6), 1.0)):
        rounded = (wide_box[:wide, part] - center[:, None] + sign * margin).astype(np.float32)
        widened[:, part] = np.nextafter(rounded, np.float32(sign * np.inf), dtype=np.float32)
    return Tree(
        box[:nodes, :3].copy(), box[:nodes, 3:].copy(), first[:nodes].copy(), size[:nodes].copy(),
        widened, child[:wide].copy(), order,
    )  # fmt: skip
