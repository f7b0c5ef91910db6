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

from injectplan.kernels._jit import kernel, local_floats, local_ints, parallel_kernel, prange
from injectplan.kernels._tree import DEPTH, build_tree, sorted_triangles, triangle_boxes
from injectplan.kernels._wide import WIDTH, fetch, lowest, point_boxes, ray_boxes
from injectplan.kernels.cast import Bools, Floats, Floats32, Ints, cast, points

# A traversal holds at most the unvisited siblings of each level
STACK = DEPTH * (WIDTH - 1) + 1
# Walks in any order hold their nodes in a ring, taken from its end once it is long: then each level adds at
# most WIDTH - 1, and QUEUE_LONG + STACK < QUEUE, a power of two
QUEUE, QUEUE_LONG, LEAVES = 1024, 256, 64
# Boxes are widened by this fraction of the surface's size, ten times what rounding can move a ray whose
# origin lies up to 1e8 sizes away
MARGIN = 2.0**-20
LARGEST = 1e30  # mm: coordinates beyond it would overflow float32 boxes


class Bvh(NamedTuple):
    """A tree over triangles, which are stored in leaf order, in two forms with the same leaves.

    Wide, for rays and nearest points: box (nodes, 6, 8) float32, low x y z then high x y z of each child,
    relative to `center`; child (nodes, 8) the child's node, or ~(8 · first triangle + size) for a leaf.
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
    center: Floats
    corner: Floats  # (m, 9): three corners, bit for bit as given
    a: Floats
    ab: Floats
    ac: Floats
    normal: Floats
    triangle: Ints  # leaf order → index in the surface


class RayTree(NamedTuple):
    """What rays need of a tree. A kernel that is handed a tuple copies every array in it at each call."""

    box: Floats32
    child: Ints
    center: Floats
    corner: Floats


def ray_tree(bvh: Bvh) -> RayTree:
    """Return the part of a tree that rays need."""
    return RayTree(bvh.box, bvh.child, bvh.center, bvh.corner)


def build_bvh(vertices_mm: npt.ArrayLike, triangles: npt.ArrayLike) -> Bvh:
    """Build the tree over triangles (m, 3) of vertices (n, 3) mm; an empty surface is never hit.

    Raises ValueError for coordinates that are not finite or exceed 1e30, and for triangles that name a
    vertex that does not exist.
    """
    vertices = points(vertices_mm, "vertices_mm") if np.size(vertices_mm) else np.zeros((0, 3))
    faces = (
        cast(triangles, np.int32, (None, 3), "triangles")
        if np.size(triangles)
        else np.zeros((0, 3), np.int32)
    )
    if len(faces) and (int(faces.min()) < 0 or int(faces.max()) >= len(vertices)):
        raise ValueError(f"triangles name vertices {faces.min()} to {faces.max()} of {len(vertices)}")
    if len(vertices) and float(np.abs(vertices).max()) > LARGEST:
        raise ValueError(f"vertices_mm reach {np.abs(vertices).max():g} mm, at most {LARGEST:g}")
    boxes = np.empty((len(faces), 6))
    triangle_boxes(vertices, faces, boxes)
    if len(faces):
        lowest, highest = boxes[:, :3].min(axis=0), boxes[:, 3:].max(axis=0)
        center = 0.5 * (lowest + highest)
        margin = MARGIN * float(np.max(highest - lowest))
        # a point-like surface far from the origin has no size, but its coordinates have their rounding
        margin = max(margin, float(np.abs(center).max()) * 2.0**-40, 1e-30)
    else:
        center, margin = np.zeros(3), 1.0
    tree = build_tree(boxes, center, margin)
    corner = np.empty((len(faces), 9))
    a, ab, ac, normal = (np.empty((len(faces), 3)) for _ in range(4))
    sorted_triangles(vertices, faces, tree.order, corner, a, ab, ac, normal)
    arrays = (*tree[:-1], center, corner, a, ab, ac, normal, tree.order)
    for array in arrays:
        array.setflags(write=False)
    return Bvh(*arrays)


@kernel
def _inverse(d):
    """1/d, finite for d = 0: infinity times a distance of zero would be NaN."""
    return 1.0 / d if abs(d) > 1e-200 else math.copysign(1e200, d)


@kernel
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


@kernel
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
    ax = (corner[i, kx] - x) - sx * az
    bx = (corner[i, 3 + kx] - x) - sx * bz
    cx = (corner[i, 6 + kx] - x) - sx * cz
    w, u, v = ax * by - bx * ay, bx * cy - cx * by, cx * ay - ax * cy
    a, b, c = ay < 0.0, by < 0.0, cy < 0.0
    # p·q − q·p changes only its sign when the ends swap, so w, u, v serve for both orders. Without branches,
    # which no processor can foresee here: 15 % of a ray's time
    inside = (a & (not b) & (w > 0.0)) | ((not a) & b & (w < 0.0))
    inside ^= (b & (not c) & (u > 0.0)) | ((not b) & c & (u < 0.0))
    inside ^= (c & (not a) & (v > 0.0)) | ((not c) & a & (v < 0.0))
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
    box, child, corner = bvh.box, bvh.child, bvh.corner
    entry, stack, enters = local_floats(WIDTH), local_ints(STACK), local_floats(STACK)
    stack[0], enters[0], depth = 0, 0.0, 1
    while depth > 0:
        depth -= 1
        if enters[depth] > best:
            continue
        node = stack[depth]
        bits = ray_boxes(box, node, px, py, pz, ix, iy, iz, nx, ny, nz, best, entry)
        base = depth
        while bits != 0:
            c = lowest(bits)
            bits &= bits - 1
            below = child[node, c]
            if below < 0:
                start = ~below >> 3
                for i in range(start, start + (~below & 7)):
                    t = crossing(corner, i, x, y, z, kx, ky, kz, sx, sy, sz)
                    if t >= 0.0 and t <= best and (t < best or which < 0):
                        best, which = t, i
            else:
                # farthest lowest on the stack, so that the nearest is taken next
                place = depth
                while place > base and enters[place - 1] < entry[c]:
                    stack[place], enters[place] = stack[place - 1], enters[place - 1]
                    place -= 1
                stack[place], enters[place] = below, entry[c]
                depth += 1
    if which < 0:
        return np.nan, -1
    return best, which


@kernel
def _leaves_met(box, child, corner, queue, taken, waiting, px, py, pz, ix, iy, iz, far, leaves):
    """Walk on from a queue of nodes until `leaves` is full or the queue empty; return (taken, waiting, met).

    Nodes wait first in, first out, and what waits is asked for from memory, which on random rays among 800 k
    triangles is what all time went to: 1.3 µs a ray instead of 3.4. A queue grown long is taken from its end
    instead, which bounds it.
    """
    nx, ny, nz = 0 if ix > 0.0 else 3, 1 if iy > 0.0 else 4, 2 if iz > 0.0 else 5
    entry = local_floats(WIDTH)
    found = 0
    while taken < waiting and found <= LEAVES - WIDTH:
        if waiting - taken < QUEUE_LONG:
            node = queue[taken & (QUEUE - 1)]
            taken += 1
        else:
            waiting -= 1
            node = queue[waiting & (QUEUE - 1)]
        bits = ray_boxes(box, node, px, py, pz, ix, iy, iz, nx, ny, nz, far, entry)
        while bits != 0:
            below = child[node, lowest(bits)]
            bits &= bits - 1
            if below >= 0:
                fetch(box, below * (6 * WIDTH))
                queue[waiting & (QUEUE - 1)] = below
                waiting += 1
            else:
                fetch(corner, (~below >> 3) * 9)
                leaves[found] = ~below
                found += 1
    return taken, waiting, found


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
    px, py, pz = ox - bvh.center[0], oy - bvh.center[1], oz - bvh.center[2]
    room, found = ts.shape[0], 0
    box, child, corner = bvh.box, bvh.child, bvh.corner
    queue, leaves = local_ints(QUEUE), local_ints(LEAVES)
    queue[0], taken, waiting = 0, 0, 1
    while taken < waiting:
        taken, waiting, met = _leaves_met(
            box, child, corner, queue, taken, waiting, px, py, pz, ix, iy, iz, far, leaves
        )
        for leaf in range(met):
            start = leaves[leaf] >> 3
            for i in range(start, start + (leaves[leaf] & 7)):
                t = crossing(corner, i, x, y, z, kx, ky, kz, sx, sy, sz)
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
def _nearest_fractions(ux, uy, uz, vx, vy, vz, px, py, pz):
    """Return (v, w) so that v·u + w·v is the point nearest to p of the triangle 0, u, v. Ericson, 5.1.5."""
    d1, d2 = ux * px + uy * py + uz * pz, vx * px + vy * py + vz * pz
    if d1 <= 0.0 and d2 <= 0.0:
        return 0.0, 0.0
    bx, by, bz = px - ux, py - uy, pz - uz
    d3, d4 = ux * bx + uy * by + uz * bz, vx * bx + vy * by + vz * bz
    if d3 >= 0.0 and d4 <= d3:
        return 1.0, 0.0
    cx, cy, cz = px - vx, py - vy, pz - vz
    d5, d6 = ux * cx + uy * cy + uz * cz, vx * cx + vy * cy + vz * cz
    if d6 >= 0.0 and d5 <= d6:
        return 0.0, 1.0
    vc, vb, va = d1 * d4 - d3 * d2, d5 * d2 - d1 * d6, d3 * d6 - d5 * d4
    if vc <= 0.0 and d1 >= 0.0 and d3 <= 0.0:
        return d1 / (d1 - d3), 0.0
    if vb <= 0.0 and d2 >= 0.0 and d6 <= 0.0:
        return 0.0, d2 / (d2 - d6)
    if va <= 0.0 and d4 >= d3 and d5 >= d6:
        w = (d4 - d3) / ((d4 - d3) + (d5 - d6))
        return 1.0 - w, w
    total = va + vb + vc
    if total > 0.0:
        return vb / total, vc / total
    return 0.0, 0.0


@kernel
def nearest_on_triangle(a, ab, ac, i, x, y, z):
    """Return the point of triangle i nearest to (x, y, z).

    Ericson (2005), Real-Time Collision Detection, section 5.1.5.
    """
    v, w = _nearest_fractions(
        ab[i, 0], ab[i, 1], ab[i, 2], ac[i, 0], ac[i, 1], ac[i, 2], x - a[i, 0], y - a[i, 1], z - a[i, 2]
    )
    return (
        a[i, 0] + v * ab[i, 0] + w * ac[i, 0],
        a[i, 1] + v * ab[i, 1] + w * ac[i, 1],
        a[i, 2] + v * ab[i, 2] + w * ac[i, 2],
    )


@kernel
def nearest_point(bvh, x, y, z, limit):
    """Return (distance, leaf-order triangle, px, py, pz) of the nearest surface point within `limit`."""
    px, py, pz = x - bvh.center[0], y - bvh.center[1], z - bvh.center[2]
    best, which = limit * limit, -1
    bx = by = bz = np.nan
    box, child, corner = bvh.box, bvh.child, bvh.corner
    entry, stack, enters = local_floats(WIDTH), local_ints(STACK), local_floats(STACK)
    stack[0], enters[0], depth = 0, 0.0, 1
    while depth > 0:
        depth -= 1
        if enters[depth] > best:
            continue
        node = stack[depth]
        bits = point_boxes(box, node, px, py, pz, best, entry)
        base = depth
        while bits != 0:
            c = lowest(bits)
            bits &= bits - 1
            if entry[c] > best:
                continue
            below = child[node, c]
            if below < 0:
                start = ~below >> 3
                for i in range(start, start + (~below & 7)):
                    ax, ay, az = corner[i, 0], corner[i, 1], corner[i, 2]
                    ux, uy, uz = corner[i, 3] - ax, corner[i, 4] - ay, corner[i, 5] - az
                    vx, vy, vz = corner[i, 6] - ax, corner[i, 7] - ay, corner[i, 8] - az
                    v, w = _nearest_fractions(ux, uy, uz, vx, vy, vz, x - ax, y - ay, z - az)
                    qx, qy, qz = ax + v * ux + w * vx, ay + v * uy + w * vy, az + v * uz + w * vz
                    d = (qx - x) ** 2 + (qy - y) ** 2 + (qz - z) ** 2
                    if d < best or (which < 0 and d <= best):
                        best, which, bx, by, bz = d, i, qx, qy, qz
            else:
                place = depth
                while place > base and enters[place - 1] < entry[c]:
                    stack[place], enters[place] = stack[place - 1], enters[place - 1]
                    place -= 1
                stack[place], enters[place] = below, entry[c]
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
    px, py, pz = ox - bvh.center[0], oy - bvh.center[1], oz - bvh.center[2]
    found = 0
    box, child, corner = bvh.box, bvh.child, bvh.corner
    queue, leaves = local_ints(QUEUE), local_ints(LEAVES)
    queue[0], taken, waiting = 0, 0, 1
    while taken < waiting:
        taken, waiting, met = _leaves_met(
            box, child, corner, queue, taken, waiting, px, py, pz, ix, iy, iz, np.inf, leaves
        )
        for leaf in range(met):
            start = leaves[leaf] >> 3
            for i in range(start, start + (leaves[leaf] & 7)):
                if crossing(corner, i, x, y, z, kx, ky, kz, sx, sy, sz) >= 0.0:
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
    inner = bvh.child[bvh.child >= 0]
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
                child = int(bvh.child[node, c])
                low = np.maximum(bvh.box[node, :3, c].astype(np.float64), outer_low)
                high = np.minimum(bvh.box[node, 3:, c].astype(np.float64), outer_high)
                if child >= 0:
                    below.append((child, low, high))
                    continue
                part = slice(~child >> 3, (~child >> 3) + (~child & 7))
                held[part] += 1
                if not (np.all(lows[part] >= low) and np.all(highs[part] <= high)):
                    wrong.append(f"the box of leaf {part.start} does not hold its triangles")
        level, depth = below, depth + 1
    if level:
        wrong.append(f"the tree is deeper than {DEPTH} levels")
    if not np.all(held == 1):
        wrong.append(f"{np.count_nonzero(held != 1)} triangles stand in no leaf or in two")
    return wrong
