"""A triangle tree: build (binned SAH), first hit, all crossings in order, nearest point, signed distance."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from injectplan.kernels._jit import kernel, parallel_kernel, prange
from injectplan.kernels.cast import Floats, Ints, cast, points

LEAF_TRIANGLES = 4
BINS = 16
STACK = 96


class Bvh(NamedTuple):
    """A flat tree. Node i: box low/high (n, 3); `first`/`size`: a leaf's triangles, or size 0 and `first` =
    left child, right child = first + 1. Triangles are stored in leaf order: corner a, edges b - a and c - a.
    """

    low: Floats
    high: Floats
    first: Ints
    size: Ints
    a: Floats
    ab: Floats
    ac: Floats
    triangle: Ints  # leaf order → index in the surface


@kernel
def _build(centers, lows, highs, order, low, high, first, count):
    """Fill the node arrays; return how many nodes were used. Binned SAH, Wald (2007)."""
    n = centers.shape[0]
    stack_node = np.empty(4096, np.int32)
    stack_from = np.empty(4096, np.int32)
    stack_to = np.empty(4096, np.int32)
    depth = 1
    stack_node[0], stack_from[0], stack_to[0] = 0, 0, n
    used = 1
    bin_count = np.empty(BINS, np.int64)
    bin_low = np.empty((BINS, 3))
    bin_high = np.empty((BINS, 3))
    right_area = np.empty(BINS)
    scratch = np.empty(n, np.int32)
    while depth > 0:
        depth -= 1
        node, begin, end = stack_node[depth], stack_from[depth], stack_to[depth]
        for k in range(3):
            low[node, k], high[node, k] = np.inf, -np.inf
        c_low = np.full(3, np.inf)
        c_high = np.full(3, -np.inf)
        for i in range(begin, end):
            t = order[i]
            for k in range(3):
                low[node, k] = min(low[node, k], lows[t, k])
                high[node, k] = max(high[node, k], highs[t, k])
                c_low[k] = min(c_low[k], centers[t, k])
                c_high[k] = max(c_high[k], centers[t, k])
        size = end - begin
        if size <= LEAF_TRIANGLES:
            first[node], count[node] = begin, size
            continue
        best_cost, best_axis, best_bin = np.inf, -1, -1
        for axis in range(3):
            extent = c_high[axis] - c_low[axis]
            if extent <= 0.0:
                continue
            bin_count[:] = 0
            bin_low[:] = np.inf
            bin_high[:] = -np.inf
            scale = BINS / extent
            for i in range(begin, end):
                t = order[i]
                b = min(BINS - 1, int((centers[t, axis] - c_low[axis]) * scale))
                bin_count[b] += 1
                for k in range(3):
                    bin_low[b, k] = min(bin_low[b, k], lows[t, k])
                    bin_high[b, k] = max(bin_high[b, k], highs[t, k])
            lo = np.full(3, np.inf)
            hi = np.full(3, -np.inf)
            total = 0
            for b in range(BINS - 1, 0, -1):
                total += bin_count[b]
                for k in range(3):
                    lo[k] = min(lo[k], bin_low[b, k])
                    hi[k] = max(hi[k], bin_high[b, k])
                d = hi - lo
                right_area[b] = total * (d[0] * d[1] + d[1] * d[2] + d[2] * d[0]) if total else 0.0
            lo[:] = np.inf
            hi[:] = -np.inf
            total = 0
            for b in range(BINS - 1):
                total += bin_count[b]
                for k in range(3):
                    lo[k] = min(lo[k], bin_low[b, k])
                    hi[k] = max(hi[k], bin_high[b, k])
                if total == 0 or total == size:
                    continue
                d = hi - lo
                cost = total * (d[0] * d[1] + d[1] * d[2] + d[2] * d[0]) + right_area[b + 1]
                if cost < best_cost:
                    best_cost, best_axis, best_bin = cost, axis, b
        middle = begin + size // 2
        if best_axis >= 0:
            scale = BINS / (c_high[best_axis] - c_low[best_axis])
            left = begin
            held = 0
            for i in range(begin, end):
                t = order[i]
                b = min(BINS - 1, int((centers[t, best_axis] - c_low[best_axis]) * scale))
                if b <= best_bin:
                    order[left] = t
                    left += 1
                else:
                    scratch[held] = t
                    held += 1
            for i in range(held):
                order[left + i] = scratch[i]
            middle = left
        first[node], count[node] = used, 0
        stack_node[depth], stack_from[depth], stack_to[depth] = used, begin, middle
        depth += 1
        stack_node[depth], stack_from[depth], stack_to[depth] = used + 1, middle, end
        depth += 1
        used += 2
    return used


def build_bvh(vertices_mm: npt.ArrayLike, triangles: npt.ArrayLike) -> Bvh:
    """Build the tree over triangles (m, 3) of vertices (n, 3) mm; an empty surface never is hit."""
    vertices = points(vertices_mm, "vertices_mm") if np.size(vertices_mm) else np.zeros((0, 3))
    faces = cast(triangles, np.int32, (None, 3), "triangles")
    m = len(faces)
    if m == 0:
        nothing = np.zeros((0, 3))
        return Bvh(
            np.full((1, 3), np.inf), np.full((1, 3), -np.inf),
            np.zeros(1, np.int32), np.full(1, -1, np.int32),
            nothing, nothing, nothing, np.zeros(0, np.int32),
        )  # fmt: skip
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    lows, highs = np.minimum(np.minimum(a, b), c), np.maximum(np.maximum(a, b), c)
    order = np.arange(m, dtype=np.int32)
    low, high = np.empty((2 * m, 3)), np.empty((2 * m, 3))
    first, count = np.zeros(2 * m, np.int32), np.zeros(2 * m, np.int32)
    used = _build(0.5 * (lows + highs), lows, highs, order, low, high, first, count)
    a, b, c = a[order], b[order], c[order]
    arrays = [
        low[:used].copy(),
        high[:used].copy(),
        first[:used].copy(),
        count[:used].copy(),
        a,
        b - a,
        c - a,
        order,
    ]
    for array in arrays:
        array.setflags(write=False)
    return Bvh(*arrays)


@kernel
def _inverse(d):
    """1/d, finite for d = 0: infinity times a distance of zero would be NaN."""
    return 1.0 / d if abs(d) > 1e-200 else math.copysign(1e200, d)


@kernel
def box_entry(low, high, node, ox, oy, oz, ix, iy, iz, far):
    """Distance at which a ray enters a node's box, infinity when it misses it or enters beyond `far`."""
    t0 = (low[node, 0] - ox) * ix
    t1 = (high[node, 0] - ox) * ix
    near, away = min(t0, t1), max(t0, t1)
    t0 = (low[node, 1] - oy) * iy
    t1 = (high[node, 1] - oy) * iy
    near, away = max(near, min(t0, t1)), min(away, max(t0, t1))
    t0 = (low[node, 2] - oz) * iz
    t1 = (high[node, 2] - oz) * iz
    near, away = max(near, min(t0, t1)), min(away, max(t0, t1))
    if away >= max(near, 0.0) and near <= far:
        return near
    return np.inf


@kernel
def hit_triangle(a, ab, ac, i, ox, oy, oz, dx, dy, dz):
    """Distance along a ray to triangle i, NaN when missed. Möller & Trumbore (1997)."""
    px = dy * ac[i, 2] - dz * ac[i, 1]
    py = dz * ac[i, 0] - dx * ac[i, 2]
    pz = dx * ac[i, 1] - dy * ac[i, 0]
    det = ab[i, 0] * px + ab[i, 1] * py + ab[i, 2] * pz
    if det == 0.0:
        return np.nan
    inverse = 1.0 / det
    tx, ty, tz = ox - a[i, 0], oy - a[i, 1], oz - a[i, 2]
    u = (tx * px + ty * py + tz * pz) * inverse
    if u < 0.0 or u > 1.0:
        return np.nan
    qx = ty * ab[i, 2] - tz * ab[i, 1]
    qy = tz * ab[i, 0] - tx * ab[i, 2]
    qz = tx * ab[i, 1] - ty * ab[i, 0]
    v = (dx * qx + dy * qy + dz * qz) * inverse
    if v < 0.0 or u + v > 1.0:
        return np.nan
    t = (ac[i, 0] * qx + ac[i, 1] * qy + ac[i, 2] * qz) * inverse
    return t if t >= 0.0 else np.nan


@kernel
def first_hit(bvh, ox, oy, oz, dx, dy, dz, far):
    """Return (distance, leaf-order triangle) of the nearest crossing within `far`, or (NaN, -1)."""
    ix, iy, iz = _inverse(dx), _inverse(dy), _inverse(dz)
    best, which = far, -1
    stack = np.empty(STACK, np.int32)
    stack[0], depth = 0, 1
    while depth > 0:
        depth -= 1
        node = stack[depth]
        if box_entry(bvh.low, bvh.high, node, ox, oy, oz, ix, iy, iz, best) == np.inf:
            continue
        size = bvh.size[node]
        if size > 0:
            for i in range(bvh.first[node], bvh.first[node] + size):
                t = hit_triangle(bvh.a, bvh.ab, bvh.ac, i, ox, oy, oz, dx, dy, dz)
                if t <= best:
                    best, which = t, i
        elif size == 0:
            left = bvh.first[node]
            near = box_entry(bvh.low, bvh.high, left, ox, oy, oz, ix, iy, iz, best)
            other = box_entry(bvh.low, bvh.high, left + 1, ox, oy, oz, ix, iy, iz, best)
            if near <= other:
                stack[depth], stack[depth + 1] = left + 1, left
            else:
                stack[depth], stack[depth + 1] = left, left + 1
            depth += 2
    if which < 0:
        return np.nan, -1
    return best, which


@kernel
def all_hits_of_ray(bvh, ox, oy, oz, dx, dy, dz, far, ts, which):
    """Write all crossings within `far`, nearest first, into ts/which; return how many there are.

    When there are more than the buffers hold, the count returned exceeds their length and their content is
    not to be used.
    """
    ix, iy, iz = _inverse(dx), _inverse(dy), _inverse(dz)
    room, found = ts.shape[0], 0
    stack = np.empty(STACK, np.int32)
    stack[0], depth = 0, 1
    while depth > 0:
        depth -= 1
        node = stack[depth]
        if box_entry(bvh.low, bvh.high, node, ox, oy, oz, ix, iy, iz, far) == np.inf:
            continue
        size = bvh.size[node]
        if size > 0:
            for i in range(bvh.first[node], bvh.first[node] + size):
                t = hit_triangle(bvh.a, bvh.ab, bvh.ac, i, ox, oy, oz, dx, dy, dz)
                if t <= far:
                    if found < room:
                        place = found
                        while place > 0 and ts[place - 1] > t:
                            ts[place], which[place] = ts[place - 1], which[place - 1]
                            place -= 1
                        ts[place], which[place] = t, i
                    found += 1
        elif size == 0:
            left = bvh.first[node]
            stack[depth], stack[depth + 1] = left, left + 1
            depth += 2
    return found


@parallel_kernel
def _first_hits(bvh, origins, directions, far, distance, triangle):
    for i in prange(origins.shape[0]):
        t, k = first_hit(
            bvh, origins[i, 0], origins[i, 1], origins[i, 2],
            directions[i, 0], directions[i, 1], directions[i, 2], far,
        )  # fmt: skip
        distance[i] = t
        triangle[i] = bvh.triangle[k] if k >= 0 else -1


def first_hits(
    bvh: Bvh, origins_mm: npt.ArrayLike, directions: npt.ArrayLike, far_mm: float = math.inf
) -> tuple[Floats, Ints]:
    """Distance and triangle of each ray's nearest crossing, NaN and -1 where it meets none.

    origins_mm, directions : (n, 3), directions of unit length.  Returns (n,) mm and (n,) triangle indices.
    Möller & Trumbore (1997), doi:10.1080/10867651.1997.10487468.
    """
    origins, directions = points(origins_mm, "origins_mm"), points(directions, "directions")
    distance, triangle = np.empty(len(origins)), np.empty(len(origins), np.int32)
    _first_hits(bvh, origins, directions, float(far_mm), distance, triangle)
    return distance, triangle


@parallel_kernel
def _all_hits(bvh, origins, directions, far, room, count, ts, which):
    for i in prange(origins.shape[0]):
        count[i] = all_hits_of_ray(
            bvh, origins[i, 0], origins[i, 1], origins[i, 2],
            directions[i, 0], directions[i, 1], directions[i, 2], far, ts[i], which[i],
        )  # fmt: skip


def all_hits(
    bvh: Bvh, origins_mm: npt.ArrayLike, directions: npt.ArrayLike, far_mm: float = math.inf
) -> tuple[npt.NDArray[np.int64], Floats, Ints]:
    """All crossings of each ray in order of distance, as one ragged array.

    Returns offsets (n + 1,), distances (total,) mm and triangle indices (total,); ray i's crossings are
    [offsets[i]:offsets[i + 1]].
    """
    origins, directions = points(origins_mm, "origins_mm"), points(directions, "directions")
    n, room = len(origins), 32
    count = np.zeros(n, np.int64)
    while True:
        ts, which = np.empty((n, room)), np.empty((n, room), np.int32)
        _all_hits(bvh, origins, directions, float(far_mm), room, count, ts, which)
        most = int(count.max(initial=0))
        if most <= room:
            break
        room = most
    offsets = np.concatenate([[0], np.cumsum(count)])
    kept = np.arange(room)[None, :] < count[:, None]
    return offsets, ts[kept], bvh.triangle[which[kept]] if len(bvh.triangle) else np.zeros(0, np.int32)


@kernel
def nearest_on_triangle(a, ab, ac, i, x, y, z):
    """Return the point of triangle i nearest to (x, y, z). Ericson (2005), section 5.1.5."""
    px, py, pz = x - a[i, 0], y - a[i, 1], z - a[i, 2]
    d1 = ab[i, 0] * px + ab[i, 1] * py + ab[i, 2] * pz
    d2 = ac[i, 0] * px + ac[i, 1] * py + ac[i, 2] * pz
    v, w = 0.0, 0.0
    if d1 > 0.0 or d2 > 0.0:
        bx, by, bz = px - ab[i, 0], py - ab[i, 1], pz - ab[i, 2]
        d3 = ab[i, 0] * bx + ab[i, 1] * by + ab[i, 2] * bz
        d4 = ac[i, 0] * bx + ac[i, 1] * by + ac[i, 2] * bz
        cx, cy, cz = px - ac[i, 0], py - ac[i, 1], pz - ac[i, 2]
        d5 = ab[i, 0] * cx + ab[i, 1] * cy + ab[i, 2] * cz
        d6 = ac[i, 0] * cx + ac[i, 1] * cy + ac[i, 2] * cz
        vc, vb, va = d1 * d4 - d3 * d2, d5 * d2 - d1 * d6, d3 * d6 - d5 * d4
        if d3 >= 0.0 and d4 <= d3:
            v = 1.0
        elif d6 >= 0.0 and d5 <= d6:
            w = 1.0
        elif vc <= 0.0 and d1 >= 0.0 and d3 <= 0.0:
            v = d1 / (d1 - d3)
        elif vb <= 0.0 and d2 >= 0.0 and d6 <= 0.0:
            w = d2 / (d2 - d6)
        elif va <= 0.0 and d4 >= d3 and d5 >= d6:
            w = (d4 - d3) / ((d4 - d3) + (d5 - d6))
            v = 1.0 - w
        else:
            total = va + vb + vc
            if total > 0.0:
                v, w = vb / total, vc / total
    return (
        a[i, 0] + v * ab[i, 0] + w * ac[i, 0],
        a[i, 1] + v * ab[i, 1] + w * ac[i, 1],
        a[i, 2] + v * ab[i, 2] + w * ac[i, 2],
    )


@kernel
def _box_distance2(low, high, node, x, y, z):
    dx = max(low[node, 0] - x, 0.0, x - high[node, 0])
    dy = max(low[node, 1] - y, 0.0, y - high[node, 1])
    dz = max(low[node, 2] - z, 0.0, z - high[node, 2])
    return dx * dx + dy * dy + dz * dz


@kernel
def nearest_point(bvh, x, y, z, limit):
    """Return (distance, leaf-order triangle, px, py, pz) of the nearest surface point within `limit`."""
    best, which = limit * limit, -1
    bx = by = bz = np.nan
    stack = np.empty(STACK, np.int32)
    stack[0], depth = 0, 1
    while depth > 0:
        depth -= 1
        node = stack[depth]
        if _box_distance2(bvh.low, bvh.high, node, x, y, z) > best:
            continue
        size = bvh.size[node]
        if size > 0:
            for i in range(bvh.first[node], bvh.first[node] + size):
                qx, qy, qz = nearest_on_triangle(bvh.a, bvh.ab, bvh.ac, i, x, y, z)
                d = (qx - x) ** 2 + (qy - y) ** 2 + (qz - z) ** 2
                if d < best or (which < 0 and d <= best):
                    best, which, bx, by, bz = d, i, qx, qy, qz
        elif size == 0:
            left = bvh.first[node]
            near = _box_distance2(bvh.low, bvh.high, left, x, y, z)
            other = _box_distance2(bvh.low, bvh.high, left + 1, x, y, z)
            if near <= other:
                stack[depth], stack[depth + 1] = left + 1, left
            else:
                stack[depth], stack[depth + 1] = left, left + 1
            depth += 2
    if which < 0:
        return np.nan, -1, np.nan, np.nan, np.nan
    return math.sqrt(best), which, bx, by, bz


@parallel_kernel
def _nearest_points(bvh, where, limit, distance, nearest, triangle):
    for i in prange(where.shape[0]):
        d, k, x, y, z = nearest_point(bvh, where[i, 0], where[i, 1], where[i, 2], limit)
        distance[i] = d
        nearest[i, 0], nearest[i, 1], nearest[i, 2] = x, y, z
        triangle[i] = bvh.triangle[k] if k >= 0 else -1


def nearest_points(
    bvh: Bvh, points_mm: npt.ArrayLike, limit_mm: float = math.inf
) -> tuple[Floats, Floats, Ints]:
    """Nearest point of the surface to each point: distance (n,) mm, point (n, 3), triangle (n,).

    NaN and -1 where the surface lies farther than `limit_mm`.
    """
    where = points(points_mm)
    distance, nearest = np.empty(len(where)), np.empty((len(where), 3))
    triangle = np.empty(len(where), np.int32)
    _nearest_points(bvh, where, float(limit_mm), distance, nearest, triangle)
    return distance, nearest, triangle


_PROBES = np.array([[0.5377, 0.6211, 0.5702], [-0.7423, 0.4519, -0.4947], [0.2911, -0.8713, 0.3949]])


def contains(bvh: Bvh, points_mm: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Whether points (n, 3) lie inside a closed surface: majority of crossing parities along three rays."""
    where = points(points_mm)
    votes = np.zeros(len(where), np.int64)
    for probe in _PROBES / np.linalg.norm(_PROBES, axis=1, keepdims=True):
        offsets, _, _ = all_hits(bvh, where, np.broadcast_to(probe, where.shape))
        votes += np.diff(offsets) % 2
    return votes >= 2


def signed_distances(bvh: Bvh, points_mm: npt.ArrayLike) -> Floats:
    """Exact distance of points (n, 3) to a closed surface, negative inside, (n,) mm."""
    distance, _, _ = nearest_points(bvh, points_mm)
    return np.where(contains(bvh, points_mm), -distance, distance)
