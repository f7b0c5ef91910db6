"""A triangle tree: first hit, all crossings in order, nearest point, inside, signed distance.

Eight children to a node, their boxes stored in the parent as float32 widened outward, so that one pass of
vector instructions tests all eight. The tree is built binary by binned SAH and then collapsed.

The crossing rule is combinatorial, so that along a whole line a closed surface is crossed an even number of
times whatever the rounding: see `crossing`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from injectplan.kernels._jit import exact_kernel, kernel, local_floats, local_ints, parallel_kernel, prange
from injectplan.kernels._tree import DEPTH, WIDTH, build_tree
from injectplan.kernels.cast import Bools, Floats, Floats32, Ints, cast, points

# A traversal holds at most the unvisited siblings of each level
STACK = DEPTH * (WIDTH - 1) + 1
# Boxes are widened by this fraction of the surface's size, ten times what rounding can move a ray whose
# origin lies up to 1e8 sizes away
MARGIN = 2.0**-20
LARGEST = 1e30  # mm: coordinates beyond it would overflow float32 boxes


class Bvh(NamedTuple):
    """A tree over triangles, which are stored in leaf order, in two forms with the same leaves.

    Wide, for rays and nearest points: box (nodes, 6, 8) float32, low x y z then high x y z of each child,
    relative to `center`; child (nodes, 8) the child's node, or the first triangle where held > 0;
    held (nodes, 8) triangles of a leaf, 0 for an inner child, -1 for an empty slot.
    Binary, for walks with a rule of their own: low, high (nodes, 3) exact; a leaf's first triangle and size,
    or size 0 and the left child, the right one being first + 1; size -1 for the empty surface.
    Triangles: corner a, edges ab = b - a and ac = c - a; normal of length 1, or 0 without area.
    """

    low: Floats
    high: Floats
    first: Ints
    size: Ints
    box: Floats32
    child: Ints
    held: Ints
    center: Floats
    corner: Floats  # (m, 9): all three corners, bit for bit as given
    a: Floats
    ab: Floats
    ac: Floats
    normal: Floats
    triangle: Ints  # leaf order → index in the surface


def build_bvh(vertices_mm: npt.ArrayLike, triangles: npt.ArrayLike) -> Bvh:
    """Build the tree over triangles (m, 3) of vertices (n, 3) mm; an empty surface is never hit.

    Raises ValueError for coordinates that are not finite or exceed 1e30, and for triangles that name a
    vertex that does not exist.
    """
    vertices = points(vertices_mm, "vertices_mm") if np.size(vertices_mm) else np.zeros((0, 3))
    faces = cast(triangles, np.int32, (None, 3), "triangles") if np.size(triangles) else np.zeros((0, 3), int)
    if len(faces) and (int(faces.min()) < 0 or int(faces.max()) >= len(vertices)):
        raise ValueError(f"triangles name vertices {faces.min()} to {faces.max()} of {len(vertices)}")
    if len(vertices) and float(np.abs(vertices).max()) > LARGEST:
        raise ValueError(f"vertices_mm reach {np.abs(vertices).max():g} mm, at most {LARGEST:g}")
    corner = vertices[faces.astype(np.intp)].reshape(-1, 9)
    lows = np.minimum(np.minimum(corner[:, :3], corner[:, 3:6]), corner[:, 6:])
    highs = np.maximum(np.maximum(corner[:, :3], corner[:, 3:6]), corner[:, 6:])
    if len(faces):
        center = 0.5 * (lows.min(axis=0) + highs.max(axis=0))
        margin = MARGIN * float(np.max(highs.max(axis=0) - lows.min(axis=0)))
        # a point-like surface far from the origin has no size, but its coordinates have their rounding
        margin = max(margin, float(np.abs(center).max()) * 2.0**-40, 1e-30)
    else:
        center, margin = np.zeros(3), 1.0
    tree = build_tree(lows, highs, center, margin)
    corner = np.ascontiguousarray(corner[tree.order])
    a, ab, ac = corner[:, :3].copy(), corner[:, 3:6] - corner[:, :3], corner[:, 6:] - corner[:, :3]
    normal = np.cross(ab, ac)
    length = np.linalg.norm(normal, axis=1, keepdims=True)
    normal = np.where(length > 0.0, normal / np.where(length > 0.0, length, 1.0), 0.0)
    arrays = (*tree[:-1], center, corner, a, ab, ac, normal, tree.order)
    for array in arrays:
        array.setflags(write=False)
    return Bvh(*arrays)


@kernel
def _inverse(d):
    """1/d, finite for d = 0: infinity times a distance of zero would be NaN."""
    return 1.0 / d if abs(d) > 1e-200 else math.copysign(1e200, d)


@exact_kernel
def line_of(dx, dy, dz):
    """Return (kx, ky, kz, sx, sy, sz): a ray's longest axis kz and the shear that turns it onto that axis.

    Woop, Benthin & Wald (2013), Journal of Computer Graphics Techniques 2(1).
    """
    kz = 0 if abs(dx) >= abs(dy) and abs(dx) >= abs(dz) else (1 if abs(dy) >= abs(dz) else 2)
    kx, ky = (kz + 1) % 3, (kz + 2) % 3
    a = dx if kx == 0 else (dy if kx == 1 else dz)
    b = dx if ky == 0 else (dy if ky == 1 else dz)
    c = dx if kz == 0 else (dy if kz == 1 else dz)
    return kx, ky, kz, a / c, b / c, 1.0 / c


@exact_kernel
def crossing(corner, i, x, y, z, kx, ky, kz, sx, sy, sz):
    """Signed distance along the line through o at which it crosses triangle i, NaN where it does not.

    x, y, z : the origin's components kx, ky, kz of `line_of`.

    Seen along the line a triangle is a polygon and the line the point 0. It lies inside when a half-line in
    the plane crosses an odd number of the three edges. Each edge's answer depends on its two end points
    alone, ordered by which is below, so both triangles of an edge get the same bits: summed over a closed
    surface every edge counts twice, and the number of crossings is even with no exception. A line through an
    edge or a vertex between two faces turned the same way crosses exactly one of them.
    """
    az, bz, cz = corner[i, kz] - z, corner[i, 3 + kz] - z, corner[i, 6 + kz] - z
    ay = (corner[i, ky] - y) - sy * az
    by = (corner[i, 3 + ky] - y) - sy * bz
    cy = (corner[i, 6 + ky] - y) - sy * cz
    a_below, b_below, c_below = ay < 0.0, by < 0.0, cy < 0.0
    if a_below == b_below and b_below == c_below:
        return np.nan
    ax = (corner[i, kx] - x) - sx * az
    bx = (corner[i, 3 + kx] - x) - sx * bz
    cx = (corner[i, 6 + kx] - x) - sx * cz
    w, u, v = ax * by - bx * ay, bx * cy - cx * by, cx * ay - ax * cy
    inside = False
    # p·q − q·p changes only its sign when the ends swap, so w, u, v serve for both orders
    if a_below != b_below:
        inside ^= (w > 0.0) if a_below else (w < 0.0)
    if b_below != c_below:
        inside ^= (u > 0.0) if b_below else (u < 0.0)
    if c_below != a_below:
        inside ^= (v > 0.0) if c_below else (v < 0.0)
    if not inside:
        return np.nan
    low, high = min(az, bz, cz), max(az, bz, cz)
    total = u + v + w
    t = (u * az + v * bz + w * cz) / total if total != 0.0 else 0.5 * (low + high)
    return min(max(t, low), high) * sz


@kernel
def hit_triangle(a, ab, ac, i, ox, oy, oz, dx, dy, dz):
    """Distance along a ray to triangle i alone, NaN when missed; its edges count for each triangle they join.

    Möller & Trumbore (1997), doi:10.1080/10867651.1997.10487468. For a ray against a surface, `crossing`.
    """
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
def _near_boxes(box, node, px, py, pz, fx, fy, fz, ix, iy, iz, nx, ny, nz, far, entry):
    """Write the distance at which the ray enters each child's box, infinity where it misses it."""
    for c in range(WIDTH):
        t = (box[node, nx, c] - px) * ix
        near = t if t > 0.0 else 0.0
        t = (box[node, ny, c] - py) * iy
        near = t if t > near else near
        t = (box[node, nz, c] - pz) * iz
        near = t if t > near else near
        t = (box[node, fx, c] - px) * ix
        away = t if t < far else far
        t = (box[node, fy, c] - py) * iy
        away = t if t < away else away
        t = (box[node, fz, c] - pz) * iz
        away = t if t < away else away
        entry[c] = near if near <= away else np.inf


@kernel
def first_hit(bvh, ox, oy, oz, dx, dy, dz, far):
    """Return (distance, leaf-order triangle) of the nearest crossing within `far`, or (NaN, -1).

    Distances are in lengths of the direction: millimetres for a unit direction.
    """
    kx, ky, kz, sx, sy, sz = line_of(dx, dy, dz)
    x = ox if kx == 0 else (oy if kx == 1 else oz)
    y = ox if ky == 0 else (oy if ky == 1 else oz)
    z = ox if kz == 0 else (oy if kz == 1 else oz)
    ix, iy, iz = _inverse(dx), _inverse(dy), _inverse(dz)
    nx, ny, nz = 0 if ix > 0.0 else 3, 1 if iy > 0.0 else 4, 2 if iz > 0.0 else 5
    px, py, pz = ox - bvh.center[0], oy - bvh.center[1], oz - bvh.center[2]
    best, which = far, -1
    entry, stack, enters = local_floats(WIDTH), local_ints(STACK), local_floats(STACK)
    stack[0], enters[0], depth = 0, 0.0, 1
    while depth > 0:
        depth -= 1
        if enters[depth] > best:
            continue
        node = stack[depth]
        _near_boxes(bvh.box, node, px, py, pz, 3 - nx, 5 - ny, 7 - nz, ix, iy, iz, nx, ny, nz, best, entry)
        base = depth
        for c in range(WIDTH):
            if entry[c] == np.inf:
                continue
            size = bvh.held[node, c]
            if size > 0:
                start = bvh.child[node, c]
                for i in range(start, start + size):
                    t = crossing(bvh.corner, i, x, y, z, kx, ky, kz, sx, sy, sz)
                    if t >= 0.0 and t <= best and (t < best or which < 0):
                        best, which = t, i
            else:
                # farthest lowest on the stack, so that the nearest is taken next
                place = depth
                while place > base and enters[place - 1] < entry[c]:
                    stack[place], enters[place] = stack[place - 1], enters[place - 1]
                    place -= 1
                stack[place], enters[place] = bvh.child[node, c], entry[c]
                depth += 1
    if which < 0:
        return np.nan, -1
    return best, which


@kernel
def all_hits_of_ray(bvh, ox, oy, oz, dx, dy, dz, far, ts, which):
    """Write all crossings within `far`, nearest first, into ts/which; return how many there are.

    When there are more than the buffers hold, the count returned exceeds their length and their content is
    not to be used.
    """
    kx, ky, kz, sx, sy, sz = line_of(dx, dy, dz)
    x = ox if kx == 0 else (oy if kx == 1 else oz)
    y = ox if ky == 0 else (oy if ky == 1 else oz)
    z = ox if kz == 0 else (oy if kz == 1 else oz)
    ix, iy, iz = _inverse(dx), _inverse(dy), _inverse(dz)
    nx, ny, nz = 0 if ix > 0.0 else 3, 1 if iy > 0.0 else 4, 2 if iz > 0.0 else 5
    px, py, pz = ox - bvh.center[0], oy - bvh.center[1], oz - bvh.center[2]
    room, found = ts.shape[0], 0
    entry, stack = local_floats(WIDTH), local_ints(STACK)
    stack[0], depth = 0, 1
    while depth > 0:
        depth -= 1
        node = stack[depth]
        _near_boxes(bvh.box, node, px, py, pz, 3 - nx, 5 - ny, 7 - nz, ix, iy, iz, nx, ny, nz, far, entry)
        for c in range(WIDTH):
            if entry[c] == np.inf:
                continue
            size = bvh.held[node, c]
            if size == 0:
                stack[depth] = bvh.child[node, c]
                depth += 1
                continue
            start = bvh.child[node, c]
            for i in range(start, start + size):
                t = crossing(bvh.corner, i, x, y, z, kx, ky, kz, sx, sy, sz)
                if t >= 0.0 and t <= far:
                    if found < room:
                        place = found
                        while place > 0 and ts[place - 1] > t:
                            ts[place], which[place] = ts[place - 1], which[place - 1]
                            place -= 1
                        ts[place], which[place] = t, i
                    found += 1
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


def _rays(origins_mm: npt.ArrayLike, directions: npt.ArrayLike) -> tuple[Floats, Floats]:
    origins, way = points(origins_mm, "origins_mm"), points(directions, "directions")
    if origins.shape != way.shape:
        raise ValueError(f"{len(origins)} origins and {len(way)} directions")
    if len(way) and not float(np.abs(way).max(axis=1).min()) > 1e-150:
        raise ValueError("directions holds a zero vector")
    if len(origins) and float(np.abs(origins).max()) > LARGEST:
        raise ValueError(f"origins_mm reach {np.abs(origins).max():g} mm, at most {LARGEST:g}")
    return origins, way


def first_hits(
    bvh: Bvh, origins_mm: npt.ArrayLike, directions: npt.ArrayLike, far_mm: float = math.inf
) -> tuple[Floats, Ints]:
    """Distance (n,) of each ray's nearest boundary, NaN where it meets none, and its triangle, -1 for none.

    origins_mm, directions : (n, 3), directions of unit length (else distances count their lengths).
    """
    origins, way = _rays(origins_mm, directions)
    distance, triangle = np.empty(len(origins)), np.empty(len(origins), np.int32)
    _first_hits(bvh, origins, way, float(far_mm), distance, triangle)
    return distance, triangle


@parallel_kernel
def _all_hits(bvh, origins, directions, far, count, ts, which):
    for i in prange(origins.shape[0]):
        count[i] = all_hits_of_ray(
            bvh, origins[i, 0], origins[i, 1], origins[i, 2],
            directions[i, 0], directions[i, 1], directions[i, 2], far, ts[i], which[i],
        )  # fmt: skip


@parallel_kernel
def _gather(count, offsets, ts, which, triangle, out_ts, out_which):
    for i in prange(count.shape[0]):
        for k in range(count[i]):
            out_ts[offsets[i] + k] = ts[i, k]
            out_which[offsets[i] + k] = triangle[which[i, k]]


RAYS_AT_ONCE = 16384


def all_hits(
    bvh: Bvh, origins_mm: npt.ArrayLike, directions: npt.ArrayLike, far_mm: float = math.inf
) -> tuple[npt.NDArray[np.int64], Floats, Ints]:
    """All crossings of each ray in order: ray i has ts[offsets[i]:offsets[i + 1]] and as many triangles.

    Returns offsets (n + 1,), distances mm, triangles. Rays pass in blocks, so that memory grows with the
    crossings and not with the rays times the most crossings of one.
    """
    origins, way = _rays(origins_mm, directions)
    n, room = len(origins), 32
    offsets = np.zeros(n + 1, np.int64)
    all_ts, all_which = [np.zeros(0)], [np.zeros(0, np.int32)]
    for begin in range(0, n, RAYS_AT_ONCE):
        block = slice(begin, min(n, begin + RAYS_AT_ONCE))
        rays = block.stop - begin
        count = np.empty(rays, np.int64)
        while True:
            ts, which = np.empty((rays, room)), np.empty((rays, room), np.int32)
            _all_hits(bvh, origins[block], way[block], float(far_mm), count, ts, which)
            most = int(count.max(initial=0))
            if most <= room:
                break
            room = most
        local = np.zeros(rays + 1, np.int64)
        np.cumsum(count, out=local[1:])
        out_ts, out_which = np.empty(local[-1]), np.empty(local[-1], np.int32)
        _gather(count, local, ts, which, bvh.triangle, out_ts, out_which)
        offsets[begin + 1 : block.stop + 1] = offsets[begin] + local[1:]
        all_ts.append(out_ts)
        all_which.append(out_which)
    return offsets, np.concatenate(all_ts), np.concatenate(all_which)


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
def _near_distances(box, node, px, py, pz, entry):
    """Write the squared distance from a point to each child's box."""
    for c in range(WIDTH):
        t, u = box[node, 0, c] - px, px - box[node, 3, c]
        dx = max(t, u, 0.0)
        t, u = box[node, 1, c] - py, py - box[node, 4, c]
        dy = max(t, u, 0.0)
        t, u = box[node, 2, c] - pz, pz - box[node, 5, c]
        dz = max(t, u, 0.0)
        entry[c] = dx * dx + dy * dy + dz * dz


@kernel
def nearest_point(bvh, x, y, z, limit):
    """Return (distance, leaf-order triangle, px, py, pz) of the nearest surface point within `limit`."""
    px, py, pz = x - bvh.center[0], y - bvh.center[1], z - bvh.center[2]
    best, which = limit * limit, -1
    bx = by = bz = np.nan
    entry, stack, enters = local_floats(WIDTH), local_ints(STACK), local_floats(STACK)
    stack[0], enters[0], depth = 0, 0.0, 1
    while depth > 0:
        depth -= 1
        if enters[depth] > best:
            continue
        node = stack[depth]
        _near_distances(bvh.box, node, px, py, pz, entry)
        base = depth
        for c in range(WIDTH):
            size = bvh.held[node, c]
            if not entry[c] <= best or size < 0:
                continue
            if size > 0:
                start = bvh.child[node, c]
                for i in range(start, start + size):
                    qx, qy, qz = nearest_on_triangle(bvh.a, bvh.ab, bvh.ac, i, x, y, z)
                    d = (qx - x) ** 2 + (qy - y) ** 2 + (qz - z) ** 2
                    if d < best or (which < 0 and d <= best):
                        best, which, bx, by, bz = d, i, qx, qy, qz
            else:
                place = depth
                while place > base and enters[place - 1] < entry[c]:
                    stack[place], enters[place] = stack[place - 1], enters[place - 1]
                    place -= 1
                stack[place], enters[place] = bvh.child[node, c], entry[c]
                depth += 1
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


@kernel
def crossings(bvh, ox, oy, oz, dx, dy, dz):
    """How many times a ray crosses the surface; odd from inside a closed one."""
    kx, ky, kz, sx, sy, sz = line_of(dx, dy, dz)
    x = ox if kx == 0 else (oy if kx == 1 else oz)
    y = ox if ky == 0 else (oy if ky == 1 else oz)
    z = ox if kz == 0 else (oy if kz == 1 else oz)
    ix, iy, iz = _inverse(dx), _inverse(dy), _inverse(dz)
    nx, ny, nz = 0 if ix > 0.0 else 3, 1 if iy > 0.0 else 4, 2 if iz > 0.0 else 5
    px, py, pz = ox - bvh.center[0], oy - bvh.center[1], oz - bvh.center[2]
    found = 0
    entry, stack = local_floats(WIDTH), local_ints(STACK)
    stack[0], depth = 0, 1
    while depth > 0:
        depth -= 1
        node = stack[depth]
        _near_boxes(bvh.box, node, px, py, pz, 3 - nx, 5 - ny, 7 - nz, ix, iy, iz, nx, ny, nz, np.inf, entry)
        for c in range(WIDTH):
            if entry[c] == np.inf:
                continue
            size = bvh.held[node, c]
            if size == 0:
                stack[depth] = bvh.child[node, c]
                depth += 1
                continue
            start = bvh.child[node, c]
            for i in range(start, start + size):
                if crossing(bvh.corner, i, x, y, z, kx, ky, kz, sx, sy, sz) >= 0.0:
                    found += 1
    return found


@kernel
def is_inside(bvh, x, y, z):
    """Whether a point lies inside a closed surface.

    Two oblique rays that agree decide; a third is asked where they differ: for a closed surface only within
    rounding of itself, for one with a hole more often.
    """
    first = crossings(bvh, x, y, z, 0.5377, 0.6211, 0.5702) & 1
    second = crossings(bvh, x, y, z, -0.7423, 0.4519, -0.4947) & 1
    if first == second:
        return first == 1
    return crossings(bvh, x, y, z, 0.2911, -0.8713, 0.3949) & 1 == 1


@parallel_kernel
def _contains(bvh, where, inside):
    for i in prange(where.shape[0]):
        inside[i] = is_inside(bvh, where[i, 0], where[i, 1], where[i, 2])


def contains(bvh: Bvh, points_mm: npt.ArrayLike) -> Bools:
    """Whether points (n, 3) lie inside a closed surface, by the parity of crossings along oblique rays."""
    where = points(points_mm)
    inside = np.empty(len(where), np.bool_)
    _contains(bvh, where, inside)
    return inside


def signed_distances(bvh: Bvh, points_mm: npt.ArrayLike) -> Floats:
    """Exact distance of points (n, 3) to a closed surface, negative inside, (n,) mm."""
    distance, _, _ = nearest_points(bvh, points_mm)
    return np.where(contains(bvh, points_mm), -distance, distance)


def self_check(bvh: Bvh) -> list[str]:
    """What is wrong with a tree, one sentence each; nothing for a sound one.

    Checks that each triangle stands in exactly one leaf, each node below exactly one parent, within DEPTH
    levels, and that each child's box holds its triangles.
    """
    wrong: list[str] = []
    nodes, m = len(bvh.box), len(bvh.triangle)
    if not np.array_equal(np.sort(bvh.triangle), np.arange(m)):
        wrong.append("the leaf order is no permutation of the triangles")
    inner = bvh.child[bvh.held == 0]
    if not np.array_equal(np.sort(inner), np.arange(1, nodes)):
        wrong.append("a node is reached by no parent or by two")
    held = np.zeros(m, np.int64)
    parts = bvh.corner.reshape(-1, 3, 3) - bvh.center
    lows, highs = parts.min(axis=1), parts.max(axis=1)
    level: list[tuple[int, Floats, Floats]] = [(0, np.full(3, -np.inf), np.full(3, np.inf))]
    depth = 0
    while level and depth <= DEPTH:
        below: list[tuple[int, Floats, Floats]] = []
        for node, outer_low, outer_high in level:
            for c in range(WIDTH):
                size, child = int(bvh.held[node, c]), int(bvh.child[node, c])
                if size < 0:
                    continue
                low = np.maximum(bvh.box[node, :3, c].astype(np.float64), outer_low)
                high = np.minimum(bvh.box[node, 3:, c].astype(np.float64), outer_high)
                if size == 0:
                    below.append((child, low, high))
                    continue
                part = slice(child, child + size)
                held[part] += 1
                if not (np.all(lows[part] >= low) and np.all(highs[part] <= high)):
                    wrong.append(f"the box of leaf {child} does not hold its triangles")
        level, depth = below, depth + 1
    if level:
        wrong.append(f"the tree is deeper than {DEPTH} levels")
    if not np.all(held == 1):
        wrong.append(f"{np.count_nonzero(held != 1)} triangles stand in no leaf or in two")
    return wrong
