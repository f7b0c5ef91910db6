"""Building the triangle tree: a binary one by binned surface-area heuristic, collapsed to eight children."""

from __future__ import annotations

import math
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
def triangle_boxes(vertices, faces, boxes):
    """Write each triangle's box, (m, 6): lowest corner, then highest."""
    for i in range(faces.shape[0]):
        a, b, c = faces[i, 0], faces[i, 1], faces[i, 2]
        for k in range(3):
            x, y, z = vertices[a, k], vertices[b, k], vertices[c, k]
            boxes[i, k], boxes[i, 3 + k] = min(x, y, z), max(x, y, z)


@kernel
def _measure(boxes, begin, end, box, centers):
    """Write a range's box and the lowest and highest doubled centres of its triangles, (6,) each."""
    for k in range(3):
        low, high, first, last = np.inf, -np.inf, np.inf, -np.inf
        for i in range(begin, end):
            a, b = boxes[i, k], boxes[i, 3 + k]
            low, high = min(low, a), max(high, b)
            first, last = min(first, a + b), max(last, a + b)
        box[k], box[3 + k], centers[k], centers[3 + k] = low, high, first, last


@kernel
def _fill_bins(boxes, begin, end, centers, scale, count, bins):
    """Count the triangles of each axis's bins and widen the bins' boxes, (3, BINS) and (3, BINS, 6)."""
    count[:] = 0
    bins[:, :, :3] = np.inf
    bins[:, :, 3:] = -np.inf
    for i in range(begin, end):
        a0, a1, a2, b0, b1, b2 = boxes[i, 0], boxes[i, 1], boxes[i, 2], boxes[i, 3], boxes[i, 4], boxes[i, 5]
        for axis in range(3):
            b = min(BINS - 1, int((boxes[i, axis] + boxes[i, 3 + axis] - centers[axis]) * scale[axis]))
            count[axis, b] += 1
            bins[axis, b, 0] = min(bins[axis, b, 0], a0)
            bins[axis, b, 1] = min(bins[axis, b, 1], a1)
            bins[axis, b, 2] = min(bins[axis, b, 2], a2)
            bins[axis, b, 3] = max(bins[axis, b, 3], b0)
            bins[axis, b, 4] = max(bins[axis, b, 4], b1)
            bins[axis, b, 5] = max(bins[axis, b, 5], b2)


@kernel
def _half_area(box):
    x, y, z = box[3] - box[0], box[4] - box[1], box[5] - box[2]
    return x * y + y * z + z * x


@kernel
def _widen(box, other):
    for k in range(3):
        box[k], box[3 + k] = min(box[k], other[k]), max(box[3 + k], other[3 + k])


@kernel
def _best_split(count, bins, size, scale, grown, right):
    """Return (axis, last bin on the left) of the cheapest split, axis -1 when there is none.

    grown, right : scratch, (6,) and (BINS,).
    """
    best, best_axis, best_bin = np.inf, -1, -1
    for axis in range(3):
        if scale[axis] == 0.0:
            continue
        grown[:3], grown[3:] = np.inf, -np.inf
        total = 0
        for b in range(BINS - 1, 0, -1):
            total += count[axis, b]
            _widen(grown, bins[axis, b])
            right[b] = total * _half_area(grown) if total > 0 else 0.0
        grown[:3], grown[3:] = np.inf, -np.inf
        total = 0
        for b in range(BINS - 1):
            total += count[axis, b]
            _widen(grown, bins[axis, b])
            if total == 0 or total == size:
                continue
            cost = total * _half_area(grown) + right[b + 1]
            if cost < best:
                best, best_axis, best_bin = cost, axis, b
    return best_axis, best_bin


@kernel
def _join(bins, axis, first, last, box):
    """Write the box of an axis's bins `first` to `last` - 1."""
    box[:3], box[3:] = np.inf, -np.inf
    for b in range(first, last):
        _widen(box, bins[axis, b])


@kernel
def _partition(boxes, order, begin, end, axis, last, centers, scale, held, held_order, halves):
    """Move the triangles of bins up to `last` to the front, keeping their order; return where they end.

    halves : (2, 6), gets the lowest and highest doubled centres on either side.  held, held_order : scratch.
    """
    left, n = begin, 0
    halves[:, :3], halves[:, 3:] = np.inf, -np.inf
    for i in range(begin, end):
        middle = boxes[i, axis] + boxes[i, 3 + axis]
        side = 0 if min(BINS - 1, int((middle - centers[axis]) * scale[axis])) <= last else 1
        for k in range(3):
            c = boxes[i, k] + boxes[i, 3 + k]
            halves[side, k], halves[side, 3 + k] = min(halves[side, k], c), max(halves[side, 3 + k], c)
        if side == 0:
            for k in range(6):
                boxes[left, k] = boxes[i, k]
            order[left] = order[i]
            left += 1
        else:
            for k in range(6):
                held[n, k] = boxes[i, k]
            held_order[n] = order[i]
            n += 1
    # one by one, here and below: numba compiles an array's part set to another with all that prints its error
    for i in range(n):
        for k in range(6):
            boxes[left + i, k] = held[i, k]
        order[left + i] = held_order[i]
    return left


@kernel
def _build_binary(boxes, order, box, first, size):
    """Fill a binary tree's nodes, sorting `order` and with it `boxes`; return how many nodes there are.

    Children of node i are first[i] and first[i] + 1 where size[i] is 0, else it holds size[i] triangles from
    first[i] on. Wald (2007), doi:10.1109/RT.2007.4342588. The boxes move with their triangles, because
    reading them where they first stood waits for memory.
    """
    n = order.shape[0]
    stack, ranges = np.empty((2 * DEPTH, 4), np.int64), np.empty((2 * DEPTH, 6))
    stack[0, 0], stack[0, 1], stack[0, 2], stack[0, 3] = 0, 0, n, 0
    _measure(boxes, 0, n, box[0], ranges[0])
    waiting, used = 1, 1
    count, bins = np.empty((3, BINS), np.int64), np.empty((3, BINS, 6))
    scale, centers, halves = np.empty(3), np.empty(6), np.empty((2, 6))
    grown, right = np.empty(6), np.empty(BINS)
    held, held_order = np.empty((n, 6)), np.empty(n, np.int32)
    while waiting > 0:
        waiting -= 1
        node, begin, end, level = (
            stack[waiting, 0], stack[waiting, 1], stack[waiting, 2], stack[waiting, 3],
        )  # fmt: skip
        if end - begin <= LEAF_TRIANGLES:
            first[node], size[node] = begin, end - begin
            continue
        for k in range(6):
            centers[k] = ranges[waiting, k]
        axis, last = -1, -1
        if level < HALVE_FROM:
            for k in range(3):
                extent = centers[3 + k] - centers[k]
                # an extent of rounding only would overflow the scale
                scale[k] = BINS / extent if extent > 1e-30 else 0.0
            _fill_bins(boxes, begin, end, centers, scale, count, bins)
            axis, last = _best_split(count, bins, end - begin, scale, grown, right)
        if axis >= 0:
            middle = _partition(
                boxes, order, begin, end, axis, last, centers, scale, held, held_order, halves
            )
            _join(bins, axis, 0, last + 1, box[used])
            _join(bins, axis, last + 1, BINS, box[used + 1])
        else:
            middle = begin + (end - begin) // 2
            _measure(boxes, begin, middle, box[used], halves[0])
            _measure(boxes, middle, end, box[used + 1], halves[1])
        first[node], size[node] = used, 0
        for half in range(2):
            stack[waiting, 0] = used + half
            stack[waiting, 1] = middle if half else begin
            stack[waiting, 2] = end if half else middle
            stack[waiting, 3] = level + 1
            for k in range(6):
                ranges[waiting, k] = halves[half, k]
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


def build_tree(boxes: Floats, center: Floats, margin: float) -> Tree:
    """Build the tree over boxes (m, 6), which are sorted on the way; see `triangle_boxes`.

    The wide nodes' boxes are relative to `center`, `margin` wider.
    """
    m = len(boxes)
    if m == 0:
        nowhere = np.full((1, 6, WIDTH), np.inf, np.float32)
        nowhere[:, 3:] = -np.inf
        none = np.full((1, WIDTH), EMPTY, np.int32)
        nobody, infinite = np.zeros(0, np.int32), np.full((1, 3), np.inf)
        return Tree(infinite, -infinite, np.zeros(1, np.int32), none[0, :1].copy(), nowhere, none, nobody)
    order = np.arange(m, dtype=np.int32)
    box, first, size = np.empty((2 * m, 6)), np.zeros(2 * m, np.int32), np.zeros(2 * m, np.int32)
    nodes = _build_binary(boxes, order, box, first, size)
    most = nodes // 2 + 1  # a wide node stands for at least one inner node
    wide_box = np.empty((most, 6, WIDTH))
    wide_box[:, :3], wide_box[:, 3:] = np.inf, -np.inf
    child = np.full((most, WIDTH), EMPTY, np.int32)
    wide = _collapse(box, first, size, wide_box, child, np.empty(most, np.int64))
    widened = np.empty((wide, 6, WIDTH), np.float32)
    for part, sign in ((slice(0, 3), -1.0), (slice(3, 6), 1.0)):
        rounded = (wide_box[:wide, part] - center[:, None] + sign * margin).astype(np.float32)
        widened[:, part] = np.nextafter(rounded, np.float32(sign * np.inf), dtype=np.float32)
    return Tree(
        box[:nodes, :3].copy(), box[:nodes, 3:].copy(), first[:nodes].copy(), size[:nodes].copy(),
        widened, child[:wide].copy(), order,
    )  # fmt: skip


@kernel
def sorted_triangles(vertices, faces, order, corner, a, ab, ac, normal):
    """Write the triangles as the tree's leaves hold them; the unit normal of one without area is 0.

    corner : (m, 9).  a, ab, ac, normal : (m, 3); first corner, edges from it.
    """
    for i in range(order.shape[0]):
        t = order[i]
        for k in range(3):
            corner[i, k] = vertices[faces[t, 0], k]
            corner[i, 3 + k] = vertices[faces[t, 1], k]
            corner[i, 6 + k] = vertices[faces[t, 2], k]
            a[i, k] = corner[i, k]
            ab[i, k], ac[i, k] = corner[i, 3 + k] - a[i, k], corner[i, 6 + k] - a[i, k]
        x = ab[i, 1] * ac[i, 2] - ab[i, 2] * ac[i, 1]
        y = ab[i, 2] * ac[i, 0] - ab[i, 0] * ac[i, 2]
        z = ab[i, 0] * ac[i, 1] - ab[i, 1] * ac[i, 0]
        length = math.sqrt(x * x + y * y + z * z)
        if length > 0.0:
            normal[i, 0], normal[i, 1], normal[i, 2] = x / length, y / length, z / length
        else:
            normal[i] = 0.0
