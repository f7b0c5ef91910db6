"""Exact distance of a segment, the needle's axis, to a surface's triangles."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from injectplan.kernels._jit import kernel, parallel_kernel, prange
from injectplan.kernels.bvh import STACK, Bvh, hit_triangle, nearest_on_triangle, nearest_point
from injectplan.kernels.cast import Floats, cast, points


@kernel
def _segments_apart2(px, py, pz, ux, uy, uz, qx, qy, qz, vx, vy, vz):
    """Squared distance of segments p + s·u and q + t·v, s and t in 0–1. Ericson (2005), 5.1.9."""
    rx, ry, rz = px - qx, py - qy, pz - qz
    a = ux * ux + uy * uy + uz * uz
    e = vx * vx + vy * vy + vz * vz
    f = vx * rx + vy * ry + vz * rz
    c = ux * rx + uy * ry + uz * rz
    s = t = 0.0
    if a <= 1e-300 and e <= 1e-300:
        return rx * rx + ry * ry + rz * rz
    if a <= 1e-300:
        t = min(max(f / e, 0.0), 1.0)
    elif e <= 1e-300:
        s = min(max(-c / a, 0.0), 1.0)
    else:
        b = ux * vx + uy * vy + uz * vz
        denominator = a * e - b * b
        if denominator > 1e-14 * a * e:
            s = min(max((b * f - c * e) / denominator, 0.0), 1.0)
        t = (b * s + f) / e
        if t < 0.0:
            t = 0.0
            s = min(max(-c / a, 0.0), 1.0)
        elif t > 1.0:
            t = 1.0
            s = min(max((b - c) / a, 0.0), 1.0)
    dx, dy, dz = rx + s * ux - t * vx, ry + s * uy - t * vy, rz + s * uz - t * vz
    return dx * dx + dy * dy + dz * dz


@kernel
def segment_triangle2(a, ab, ac, i, px, py, pz, ux, uy, uz):
    """Squared distance of the segment p + s·u, s in 0–1, to triangle i; 0 where it pierces it."""
    t = hit_triangle(a, ab, ac, i, px, py, pz, ux, uy, uz)
    if t <= 1.0:
        return 0.0
    best = np.inf
    for end in range(2):
        x, y, z = px + end * ux, py + end * uy, pz + end * uz
        qx, qy, qz = nearest_on_triangle(a, ab, ac, i, x, y, z)
        best = min(best, (qx - x) ** 2 + (qy - y) ** 2 + (qz - z) ** 2)
    ax, ay, az = a[i, 0], a[i, 1], a[i, 2]
    bx, by, bz = ab[i, 0], ab[i, 1], ab[i, 2]
    cx, cy, cz = ac[i, 0], ac[i, 1], ac[i, 2]
    best = min(best, _segments_apart2(px, py, pz, ux, uy, uz, ax, ay, az, bx, by, bz))
    best = min(best, _segments_apart2(px, py, pz, ux, uy, uz, ax, ay, az, cx, cy, cz))
    return min(
        best,
        _segments_apart2(px, py, pz, ux, uy, uz, ax + bx, ay + by, az + bz, cx - bx, cy - by, cz - bz),
    )


@kernel
def near_box(low, high, node, reach, px, py, pz, ux, uy, uz):
    """Whether a segment may come within `reach` of a node's box; never False where it does."""
    near, away = 0.0, 1.0
    for axis in range(3):
        p = px if axis == 0 else (py if axis == 1 else pz)
        u = ux if axis == 0 else (uy if axis == 1 else uz)
        lo, hi = low[node, axis] - reach, high[node, axis] + reach
        if abs(u) < 1e-12:
            if p < lo or p > hi:
                return False
        else:
            t0, t1 = (lo - p) / u, (hi - p) / u
            near, away = max(near, min(t0, t1)), min(away, max(t0, t1))
            if near > away + 1e-9:
                return False
    # the grown box reaches too far at its corners, where the ball about the box knows better
    hx, hy, hz = high[node, 0] - low[node, 0], high[node, 1] - low[node, 1], high[node, 2] - low[node, 2]
    cx = low[node, 0] + 0.5 * hx - px
    cy = low[node, 1] + 0.5 * hy - py
    cz = low[node, 2] + 0.5 * hz - pz
    length2 = ux * ux + uy * uy + uz * uz
    f = min(max((cx * ux + cy * uy + cz * uz) / length2, 0.0), 1.0) if length2 > 0.0 else 0.0
    dx, dy, dz = cx - f * ux, cy - f * uy, cz - f * uz
    most = reach + 0.5 * math.sqrt(hx * hx + hy * hy + hz * hz)
    return dx * dx + dy * dy + dz * dz <= most * most * (1.0 + 1e-9)


@kernel
def _box_offset2(low, high, node, x, y, z):
    dx = max(low[node, 0] - x, 0.0, x - high[node, 0])
    dy = max(low[node, 1] - y, 0.0, y - high[node, 1])
    dz = max(low[node, 2] - z, 0.0, z - high[node, 2])
    return dx * dx + dy * dy + dz * dz


@kernel
def segment_nearest(tree, px, py, pz, qx, qy, qz, limit):
    """Exact distance of the segment p–q to a surface and its leaf-order triangle; (inf, -1) past `limit` mm.

    The tighter the limit, the fewer triangles are looked at.
    """
    ux, uy, uz = qx - px, qy - py, qz - pz
    mx, my, mz = px + 0.5 * ux, py + 0.5 * uy, pz + 0.5 * uz
    best, which = limit * limit, -1
    stack = np.empty(STACK, np.int32)
    stack[0], depth = 0, 1
    while depth > 0:
        depth -= 1
        node = stack[depth]
        if not near_box(tree.low, tree.high, node, math.sqrt(best), px, py, pz, ux, uy, uz):
            continue
        size = tree.size[node]
        if size > 0:
            for i in range(tree.first[node], tree.first[node] + size):
                d = segment_triangle2(tree.a, tree.ab, tree.ac, i, px, py, pz, ux, uy, uz)
                if d < best or (which < 0 and d <= best):
                    best, which = d, i
            if best == 0.0 and which >= 0:
                return 0.0, which
        elif size == 0:
            left = tree.first[node]
            near = _box_offset2(tree.low, tree.high, left, mx, my, mz)
            other = _box_offset2(tree.low, tree.high, left + 1, mx, my, mz)
            if near <= other:
                stack[depth], stack[depth + 1] = left + 1, left
            else:
                stack[depth], stack[depth + 1] = left, left + 1
            depth += 2
    if which < 0:
        return np.inf, -1
    return math.sqrt(best), which


@kernel
def _upper_bound(tree, px, py, pz, qx, qy, qz, limit):
    """Return a bound on a segment's distance: the least of five of its points', or the limit."""
    best = limit
    for k in range(5):
        f = 0.25 * k
        d = nearest_point(tree, px + f * (qx - px), py + f * (qy - py), pz + f * (qz - pz), best)[0]
        if d < best:
            best = d
    return min(limit, best * (1.0 + 1e-9) + 1e-9)


@parallel_kernel
def _segment_distances(tree, starts, ends, limit, result, triangle):
    for i in prange(starts.shape[0]):
        px, py, pz = starts[i, 0], starts[i, 1], starts[i, 2]
        qx, qy, qz = ends[i, 0], ends[i, 1], ends[i, 2]
        bound = _upper_bound(tree, px, py, pz, qx, qy, qz, limit)
        result[i], triangle[i] = segment_nearest(tree, px, py, pz, qx, qy, qz, bound)


def segment_distances(
    tree: Bvh, starts_mm: npt.ArrayLike, ends_mm: npt.ArrayLike, limit_mm: float = 1e6
) -> Floats:
    """Exact distance of segments to a surface, (n,) mm; 0 where they pierce it, infinity beyond the limit."""
    starts, ends = points(starts_mm, "starts_mm"), points(ends_mm, "ends_mm")
    result, triangle = np.empty(len(starts)), np.empty(len(starts), np.int32)
    _segment_distances(tree, starts, ends, float(limit_mm), result, triangle)
    return result


@parallel_kernel
def _strayed_distances(tree, px, py, pz, tips, known, limit, result):
    for i in prange(tips.shape[0]):
        qx, qy, qz = tips[i, 0], tips[i, 1], tips[i, 2]
        bound = math.sqrt(
            segment_triangle2(tree.a, tree.ab, tree.ac, known, px, py, pz, qx - px, qy - py, qz - pz)
        )
        bound = min(limit, bound * (1.0 + 1e-9) + 1e-9)
        result[i] = segment_nearest(tree, px, py, pz, qx, qy, qz, bound)[0]


def strayed_distances(
    tree: Bvh, entry_mm: npt.ArrayLike, aim_mm: npt.ArrayLike, tips_mm: npt.ArrayLike, limit_mm: float = 1e6
) -> Floats:
    """Exact distances of the segments from one entry to many tips about an aim, (n,) mm, inf past the limit.

    The triangle nearest to the aimed path bounds every other path, which makes this fast.
    """
    entry, tips = cast(entry_mm, np.float64, (3,), "entry_mm"), points(tips_mm, "tips_mm")
    result, triangle = np.empty(1), np.empty(1, np.int32)
    _segment_distances(tree, points(entry_mm), points(aim_mm), 1e6, result, triangle)
    if triangle[0] < 0:
        return np.full(len(tips), np.inf)
    result = np.empty(len(tips))
    _strayed_distances(tree, entry[0], entry[1], entry[2], tips, int(triangle[0]), float(limit_mm), result)
    return result
