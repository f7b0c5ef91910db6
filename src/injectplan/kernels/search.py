"""The planner's inner loops: exact segment distances, every entry × target, views, Pareto front, chance.

A path is the needle's axis from an entry on the skin to its tip. Structures at risk enter twice: as a field
of slack (least over all classes of distance − need, mm, on a grid) that settles most paths at a glance, and
as one triangle tree with each triangle's need that settles the rest exactly. Need: margin + needle radius.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from injectplan.kernels._jit import kernel, parallel_kernel, prange
from injectplan.kernels.bvh import STACK, Bvh, first_hit, hit_triangle, nearest_on_triangle, nearest_point
from injectplan.kernels.cast import Bytes, Floats, Ints, cast, points
from injectplan.kernels.chance import normal_at
from injectplan.kernels.field import gradient, inside_votes, sample

# Status of a pair. From OBSTACLE on: OBSTACLE + class index says which risk class was too near.
(
    FEASIBLE, TOO_LONG, SKIN_ANGLE, DIRECTION, FORBIDDEN, LEAVES_BODY, ULTRASOUND, BONE_CROSSED, OBSTACLE,
) = range(9)  # fmt: skip


class Obstacles(NamedTuple):
    """All structures at risk as one tree: each triangle's need and class, each node's largest need."""

    tree: Bvh
    need_mm: Floats  # (m,) leaf order
    group: Ints  # (m,) leaf order
    node_need_mm: Floats  # (nodes,)


class ProbeFace(NamedTuple):
    """What the search needs of a transducer. half_angle_rad is 0 for a linear one; widths in mm."""

    half_width_mm: float
    radius_mm: float
    half_angle_rad: float
    depth_mm: float
    half_elevation_mm: float
    gap_low_mm: float
    gap_high_mm: float
    press_mm: float


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
def _near_box(low, high, node, reach, px, py, pz, ux, uy, uz):
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
        if not _near_box(tree.low, tree.high, node, math.sqrt(best), px, py, pz, ux, uy, uz):
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


@kernel
def _first_broken(tree, needs, groups, node_needs, px, py, pz, qx, qy, qz):
    """Return the class of some triangle nearer to the segment than its need, or -1: exact."""
    ux, uy, uz = qx - px, qy - py, qz - pz
    stack = np.empty(STACK, np.int32)
    stack[0], depth = 0, 1
    while depth > 0:
        depth -= 1
        node = stack[depth]
        if not _near_box(tree.low, tree.high, node, node_needs[node], px, py, pz, ux, uy, uz):
            continue
        size = tree.size[node]
        if size > 0:
            for i in range(tree.first[node], tree.first[node] + size):
                need = needs[i]
                if segment_triangle2(tree.a, tree.ab, tree.ac, i, px, py, pz, ux, uy, uz) < need * need:
                    return groups[i]
        elif size == 0:
            stack[depth], stack[depth + 1] = tree.first[node], tree.first[node] + 1
            depth += 2
    return -1


@kernel
def _field_verdict(slack, px, py, pz, qx, qy, qz):
    """Return (1 kept, -1 broken, 0 undecided) and the fraction where it broke, from the field alone.

    A distance changes by no more than it is walked and the grid holds it exactly, so a trilinear value is off
    by at most half a cell's diagonal; only what lies beyond that bound is decided here.
    """
    bound = 0.8661 * slack.spacing_mm
    ux, uy, uz = qx - px, qy - py, qz - pz
    length = math.sqrt(ux * ux + uy * uy + uz * uz)
    sure, t = True, 0.0
    while True:
        f = t / length
        value = sample(slack, px + f * ux, py + f * uy, pz + f * uz)
        if value < -bound:
            return -1, f
        if value <= bound:
            sure = False
        if t >= length:
            return (1 if sure else 0), 0.0
        t = min(length, t + max(value - bound, 0.5 * slack.spacing_mm))
    return 0, 0.0


@kernel
def _judge(
    entry, normal, tip, longest, least_sine, heading, least_cosine, spheres, slack, nearest_group, bone,
    bone_group, tree, needs, groups, node_needs,
):  # fmt: skip
    """Return the status of one path before ultrasound: length, angle, direction, zones, structures."""
    ux, uy, uz = entry[0] - tip[0], entry[1] - tip[1], entry[2] - tip[2]
    length = math.sqrt(ux * ux + uy * uy + uz * uz)
    if length > longest or length < 1e-6:
        return TOO_LONG
    if (ux * normal[0] + uy * normal[1] + uz * normal[2]) < least_sine * length:
        return SKIN_ANGLE
    if -(ux * heading[0] + uy * heading[1] + uz * heading[2]) < least_cosine * length:
        return DIRECTION
    for k in range(spheres.shape[0]):
        along = (spheres[k, 0] - tip[0]) * ux + (spheres[k, 1] - tip[1]) * uy + (spheres[k, 2] - tip[2]) * uz
        f = min(max(along / (length * length), 0.0), 1.0)
        dx = tip[0] + f * ux - spheres[k, 0]
        dy = tip[1] + f * uy - spheres[k, 1]
        dz = tip[2] + f * uz - spheres[k, 2]
        if dx * dx + dy * dy + dz * dz < spheres[k, 3] * spheres[k, 3]:
            return FORBIDDEN
    verdict, f = _field_verdict(slack, tip[0], tip[1], tip[2], entry[0], entry[1], entry[2])
    group = -1
    if verdict == 0:
        group = _first_broken(
            tree, needs, groups, node_needs, tip[0], tip[1], tip[2], entry[0], entry[1], entry[2]
        )
    elif verdict < 0:
        x, y, z = tip[0] + f * ux, tip[1] + f * uy, tip[2] + f * uz
        nx, ny, nz = nearest_group.shape
        i = min(max(int((x - slack.origin_mm[0]) / slack.spacing_mm + 0.5), 0), nx - 1)
        j = min(max(int((y - slack.origin_mm[1]) / slack.spacing_mm + 0.5), 0), ny - 1)
        k = min(max(int((z - slack.origin_mm[2]) / slack.spacing_mm + 0.5), 0), nz - 1)
        group = nearest_group[i, j, k]
    if group < 0:
        return FEASIBLE
    if group == bone_group:
        t = 0.0
        while t <= length:
            f = t / length
            if sample(bone, tip[0] + f * ux, tip[1] + f * uy, tip[2] + f * uz) < 0.0:
                return BONE_CROSSED
            t += 0.5 * bone.spacing_mm
    return OBSTACLE + group


@parallel_kernel
def _judge_all(
    entries, normals, tips, longest, least_sine, heading, least_cosine, spheres, slack, nearest_group, bone,
    bone_group, tree, needs, groups, node_needs, status,
):  # fmt: skip
    for i in prange(entries.shape[0]):
        for j in range(tips.shape[0]):
            status[i, j] = _judge(
                entries[i], normals[i], tips[j], longest, least_sine, heading, least_cosine, spheres, slack,
                nearest_group, bone, bone_group, tree, needs, groups, node_needs,
            )  # fmt: skip


def judge_all(
    entries_mm, normals, tips_mm, longest_mm, least_angle_deg, heading, cone_deg, spheres, slack,
    nearest_group, bone, bone_group, obstacles,
) -> Bytes:  # fmt: skip
    """Status of every entry × tip, (entries, tips) uint8; nothing else of a pair is kept.

    normals : (entries, 3) outward at the skin.
    heading, cone_deg : unit direction (3,) and half-angle of the cone in which a needle may travel.
    spheres : (n, 4) forbidden, radius grown by the needle's.
    slack : Field of least (distance − need).  nearest_group : (nx, ny, nz) int8, the class it belongs to.
    """
    status = np.empty((len(entries_mm), len(tips_mm)), np.uint8)
    _judge_all(
        points(entries_mm), points(normals), points(tips_mm), float(longest_mm),
        math.sin(math.radians(least_angle_deg)), cast(heading, np.float64, (3,), "heading"),
        math.cos(math.radians(cone_deg)) if cone_deg < 180.0 else -2.0,
        cast(spheres, np.float64, (None, 4), "spheres"),
        slack, cast(nearest_group, np.int8, (None, None, None), "nearest_group"),
        bone, int(bone_group), obstacles.tree, obstacles.need_mm, obstacles.group,
        obstacles.node_need_mm, status,
    )  # fmt: skip
    return status


def gather_obstacles(whole: Bvh, need_mm: Floats, group: Ints) -> Obstacles:
    """Return the obstacles of one tree over all surfaces' triangles.

    whole : tree over the concatenated triangles.  need_mm, group : per triangle in surface order.
    """
    need = cast(np.asarray(need_mm)[whole.triangle], np.float64, (None,), "need_mm")
    kind = cast(np.asarray(group)[whole.triangle], np.int32, (None,), "group")
    return Obstacles(whole, need, kind, _node_needs(whole, need))


@kernel
def _node_needs(tree, need):
    result = np.zeros(tree.size.shape[0])
    for node in range(tree.size.shape[0] - 1, -1, -1):  # a child's number exceeds its parent's
        if tree.size[node] > 0:
            for i in range(tree.first[node], tree.first[node] + tree.size[node]):
                result[node] = max(result[node], need[i])
        elif tree.size[node] == 0:
            result[node] = max(result[tree.first[node]], result[tree.first[node] + 1])
    return result


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


# ---------------------------------------------------------------------------------------------------- fields


@kernel
def _near_hull(vertices, triangles, faces, low, high, reach, result):
    for t in range(triangles.shape[0]):
        near = True
        for f in range(faces.shape[0]):
            least, most = np.inf, -np.inf
            for c in range(3):
                v = triangles[t, c]
                along = (
                    vertices[v, 0] * faces[f, 0] + vertices[v, 1] * faces[f, 1] + vertices[v, 2] * faces[f, 2]
                )
                least, most = min(least, along), max(most, along)
            if most < low[f] - reach or least > high[f] + reach:
                near = False
                break
        result[t] = near


def near_hull(vertices_mm, triangles, faces, low, high, reach_mm: float) -> npt.NDArray[np.bool_]:
    """Which triangles may come within a reach of the convex body low ≤ x·face ≤ high; none is left out that
    does.  faces : (k, 3) unit normals; low, high : (k,).
    """
    result = np.zeros(len(triangles), np.bool_)
    _near_hull(
        points(vertices_mm), cast(triangles, np.int32, (None, 3), "triangles"), points(faces),
        cast(low, np.float64, (None,), "low"), cast(high, np.float64, (None,), "high"), float(reach_mm),
        result,
    )  # fmt: skip
    return result


@parallel_kernel
def _settle(tree, need, doubt_mm, group, origin, spacing, wanted, votes, slack, nearest, doubt):
    nx, ny, nz = wanted.shape
    deepest = 2.0 * spacing  # deeper inside than this only the sign matters
    for row in prange(nx * ny):
        i, j = row // ny, row % ny
        x, y = origin[0] + i * spacing, origin[1] + j * spacing
        reach = np.inf
        for k in range(nz):
            if not wanted[i, j, k]:
                reach = np.inf
                continue
            inside = votes[i, j, k] >= 2
            # beyond its limit the point learns nothing new from this structure
            limit = deepest if inside else max(slack[i, j, k], doubt[i, j, k] + doubt_mm) + need
            if limit <= 0.0:
                reach = np.inf
                continue
            d = nearest_point(tree, x, y, origin[2] + k * spacing, min(limit, reach))[0]
            if math.isnan(d):
                reach = np.inf
                if not inside:
                    continue
                d = deepest
            else:
                reach = (d + spacing) * (1.0 + 1e-9)
            if inside:
                d = -d
            if d - need < slack[i, j, k]:
                slack[i, j, k], nearest[i, j, k] = d - need, group
            doubt[i, j, k] = min(doubt[i, j, k], d - need - doubt_mm)


def settle(
    tree: Bvh, need_mm: float, doubt_mm: float, group: int, origin_mm, spacing_mm: float, wanted, slack,
    nearest, doubt,
) -> None:  # fmt: skip
    """Lower `slack` to the structure's distance − need, `doubt` to distance − need − doubt_mm, on a grid.

    Exact wherever the structure comes nearer than what is there already; inside, exact to two spacings deep
    and −2 spacings − need beyond.  wanted : which points matter; the arrays are views (nx, ny, nz) written in
    place.
    """
    votes = inside_votes(tree, origin_mm, spacing_mm, wanted.shape)
    _settle(
        tree, float(need_mm), float(doubt_mm), int(group), np.asarray(origin_mm, float), float(spacing_mm),
        wanted, votes, slack, nearest, doubt,
    )  # fmt: skip


# ------------------------------------------------------------------------------------------ ultrasound view


@kernel
def _to_skin(skin, x, y, z):
    """Move a point onto the skin along the field's slope; return the point and the outward unit normal."""
    nx, ny, nz = 0.0, 0.0, 1.0
    for _ in range(4):
        value = sample(skin, x, y, z)
        gx, gy, gz = gradient(skin, x, y, z)
        size = math.sqrt(gx * gx + gy * gy + gz * gz)
        if size < 1e-6:
            break
        nx, ny, nz = gx / size, gy / size, gz / size
        x, y, z = x - value * nx, y - value * ny, z - value * nz
    return x, y, z, nx, ny, nz


@kernel
def _line_is_free(bone, sx, sy, sz, ex, ey, ez):
    """Whether the segment from the face to a point stays out of bone."""
    dx, dy, dz = ex - sx, ey - sy, ez - sz
    length = math.sqrt(dx * dx + dy * dy + dz * dz)
    t = 0.0
    while t < length:
        f = t / length
        value = sample(bone, sx + f * dx, sy + f * dy, sz + f * dz)
        if value < 0.0:
            return False
        t += max(0.9 * value, 0.5 * bone.spacing_mm)
    return True


@kernel
def _face_point(face, angle_or_x):
    """Return (x, z) of a point on the face in the probe's frame."""
    if face.half_angle_rad > 0.0:
        return face.radius_mm * math.sin(angle_or_x), face.radius_mm * (math.cos(angle_or_x) - 1.0)
    return angle_or_x, 0.0


@kernel
def _line_to(face, x, z):
    """Return (start x, start z, along x, along z, depth, inside) of the scan line through (x, z)."""
    if face.half_angle_rad > 0.0:
        r = math.hypot(x, z + face.radius_mm)
        dx, dz = x / r, (z + face.radius_mm) / r
        sx, sz = face.radius_mm * dx, face.radius_mm * dz - face.radius_mm
        depth = r - face.radius_mm
        within = abs(math.atan2(x, z + face.radius_mm)) <= face.half_angle_rad
        return sx, sz, dx, dz, depth, within
    return x, 0.0, 0.0, 1.0, z, abs(x) <= face.half_width_mm


@kernel
def shown(steep_deg):
    """Share of a needle's brightness that is left when it runs `steep_deg` to the face, 0–1.

    Falls slowly to 30 degrees and linearly beyond, as measured in tissue (Schafhalter-Zoppoth 2004: best
    below 30 degrees, linear decrease with steepness); the two slopes are assumed.
    """
    return max(0.05, 1.0 - 0.15 * min(steep_deg, 30.0) / 30.0 - 0.75 * max(0.0, steep_deg - 30.0) / 45.0)


@kernel
def _turned(ya, za, scan):
    """How far a probe is held from how it should be, 0–1: 15 degrees are free, 60 are all."""
    away = math.asin(min(1.0, abs(ya[0] * scan[0, 0] + ya[1] * scan[0, 1] + ya[2] * scan[0, 2])))
    if (scan[1] != 0.0).any():
        along = za[0] * scan[1, 0] + za[1] * scan[1, 1] + za[2] * scan[1, 2]
        away = max(away, math.acos(min(1.0, max(-1.0, along))))
    return min(1.0, max(0.0, math.degrees(away) - 15.0) / 45.0)


@kernel
def rate_view(face, skin, bone, entry, tip, c, xa, za, in_plane, scan, lifted, best, view):
    """Rate one probe pose for one path; return its cost 0–1, or infinity when the pose does not serve or
    cannot cost less than `best`.  lifted : how many of seven points of the face may stand off the skin.

    c : face centre on the skin; xa, za : the probe's unit axes.  scan : (2, 3) direction the image plane
    should hold and the one the beam should look in (zero: any).  Writes view: 0–2 pressed centre, 3 angle
    between beam and needle, 4 window fraction, 5 tip depth, 6 visibility, 7 largest distance of the distal
    20 mm from the plane.
    """
    ya = np.array([
        za[1] * xa[2] - za[2] * xa[1], za[2] * xa[0] - za[0] * xa[2], za[0] * xa[1] - za[1] * xa[0],
    ])  # fmt: skip
    turned = _turned(ya, za, scan) if in_plane else 0.0
    if 0.2 * turned >= best:
        return np.inf
    # contact: press until the whole face lies in tissue, as far as tissue gives way
    worst, outside = 0.0, 0
    half = face.half_angle_rad if face.half_angle_rad > 0.0 else face.half_width_mm
    for k in range(7):
        fx, fz = _face_point(face, half * (k / 3.0 - 1.0))
        x = c[0] + fx * xa[0] + fz * za[0]
        y = c[1] + fx * xa[1] + fz * za[1]
        z = c[2] + fx * xa[2] + fz * za[2]
        gap = sample(skin, x, y, z)
        if gap > face.press_mm:
            outside += 1
        worst = max(worst, gap)
    if outside > lifted:
        return np.inf
    press = min(worst, face.press_mm)
    cx, cy, cz = c[0] + press * za[0], c[1] + press * za[1], c[2] + press * za[2]
    ux, uy, uz = tip[0] - entry[0], tip[1] - entry[1], tip[2] - entry[2]
    length = math.sqrt(ux * ux + uy * uy + uz * uz)
    ux, uy, uz = ux / length, uy / length, uz / length
    # the needle's hub side must stay clear of the housing
    ex, ey, ez = entry[0] - cx, entry[1] - cy, entry[2] - cz
    if in_plane:
        gap = abs(ex * xa[0] + ey * xa[1] + ez * xa[2]) - face.half_width_mm
    else:
        gap = abs(ex * ya[0] + ey * ya[1] + ez * ya[2]) - face.half_elevation_mm
    if gap < face.gap_low_mm - 1e-6 or gap > face.gap_high_mm + 1e-6:
        return np.inf
    tx, ty, tz = tip[0] - cx, tip[1] - cy, tip[2] - cz
    px = tx * xa[0] + ty * xa[1] + tz * xa[2]
    pz = tx * za[0] + ty * za[1] + tz * za[2]
    _, _, along_x, along_z, depth, within = _line_to(face, px, pz)
    if not within or depth < 3.0 or depth > face.depth_mm - 2.0:
        return np.inf
    bx = along_x * xa[0] + along_z * za[0]
    by = along_x * xa[1] + along_z * za[1]
    bz = along_x * xa[2] + along_z * za[2]
    angle = math.degrees(math.acos(min(1.0, abs(ux * bx + uy * by + uz * bz))))
    steep = 90.0 - angle
    visible = shown(steep)
    if not in_plane:  # only the tip's spot shows
        visible = 0.3
    rest = 0.2 * depth / face.depth_mm + 0.2 * turned
    if 0.6 * (1.0 - visible) + rest >= best:
        return np.inf
    free = 0
    out = 0.0
    for k in range(6):
        back = min(4.0 * k, length)
        x, y, z = tx - back * ux, ty - back * uy, tz - back * uz
        qx = x * xa[0] + y * xa[1] + z * xa[2]
        qy = x * ya[0] + y * ya[1] + z * ya[2]
        qz = x * za[0] + y * za[1] + z * za[2]
        out = max(out, abs(qy))
        sx, sz, _, _, _, inside = _line_to(face, qx, qz)
        ok = inside and _line_is_free(
            bone,
            cx + sx * xa[0] + qy * ya[0] + sz * za[0],
            cy + sx * xa[1] + qy * ya[1] + sz * za[1],
            cz + sx * xa[2] + qy * ya[2] + sz * za[2],
            cx + x, cy + y, cz + z,
        )  # fmt: skip
        if ok:
            free += 1
        elif k == 0:
            return np.inf  # bone over the target
    window = free / 6.0
    visible *= window
    view[0], view[1], view[2] = cx, cy, cz
    view[3], view[4], view[5], view[6], view[7] = angle, window, depth, visible, out
    return 0.6 * (1.0 - visible) + rest


@kernel
def _dress(skin, c, reach, t):
    """Return the mean outward unit normal under a footprint of half-length `reach` along t."""
    sx = sy = sz = 0.0
    for k in range(-1, 2):
        gx, gy, gz = gradient(skin, c[0] + k * reach * t[0], c[1] + k * reach * t[1], c[2] + k * reach * t[2])
        sx, sy, sz = sx + gx, sy + gy, sz + gz
    size = math.sqrt(sx * sx + sy * sy + sz * sz)
    if size < 1e-6:
        return 0.0, 0.0, 0.0
    return sx / size, sy / size, sz / size


@kernel
def best_view(face, skin, bone, entry, normal, tip, gaps, scan, pose, view):
    """Find the cheapest probe pose for one path; return (cost, technique):
    0 in-plane, 1 out-of-plane (only where no pose in plane serves), -1 none.

    In plane the face stands along the skin's mean normal; the best place is then tried rocked as well.

    Writes pose (9,): face centre, x axis (in-plane: away from the entry), z axis; view as `rate_view`.
    """
    u = np.array([tip[0] - entry[0], tip[1] - entry[1], tip[2] - entry[2]])
    u /= math.sqrt((u * u).sum())
    t = u - (u * normal).sum() * normal
    flat = math.sqrt((t * t).sum())
    if flat < 1e-3:  # straight down: any direction along the skin serves
        k = 0
        if abs(normal[1]) < abs(normal[0]):
            k = 1
        if abs(normal[2]) < abs(normal[k]):
            k = 2
        t = -normal[k] * normal
        t[k] += 1.0
        flat = math.sqrt((t * t).sum())
    t = t / flat
    best, technique = np.inf, -1
    trial = np.empty(8)
    c, place = np.empty(3), np.empty(9)
    for k in range(gaps.shape[0]):
        away = gaps[k] + face.half_width_mm
        px, py, pz = entry[0] + away * t[0], entry[1] + away * t[1], entry[2] + away * t[2]
        px, py, pz, _, _, _ = _to_skin(skin, px, py, pz)
        c[0], c[1], c[2] = px, py, pz
        nx, ny, nz = _dress(skin, c, 0.7 * face.half_width_mm, t)
        # the plane holds the needle and the mean normal
        y = np.array([u[1] * nz - u[2] * ny, u[2] * nx - u[0] * nz, u[0] * ny - u[1] * nx])
        size = math.sqrt((y * y).sum())
        if size < 1e-3:
            y = np.array([t[1] * nz - t[2] * ny, t[2] * nx - t[0] * nz, t[0] * ny - t[1] * nx])
            y -= (y * u).sum() * u
            size = math.sqrt((y * y).sum())
            if size < 1e-6:
                continue
        y /= size
        z = np.array([-nx, -ny, -nz])
        z -= (z * y).sum() * y
        z /= math.sqrt((z * z).sum())
        x = np.array([y[1] * z[2] - y[2] * z[1], y[2] * z[0] - y[0] * z[2], y[0] * z[1] - y[1] * z[0]])
        if (x * t).sum() < 0.0:
            x = -x
        off = ((c - entry) * y).sum()
        c -= off * y
        value = sample(skin, c[0], c[1], c[2])
        c += value * z
        cost = rate_view(face, skin, bone, entry, tip, c, x, z, True, scan, 1, best, trial)
        if cost < best:
            best, technique = cost, 0
            view[:] = trial
            pose[0:3], pose[3:6], pose[6:9] = trial[0:3], x, z
            place[0:3], place[3:6], place[6:9] = c, x, z
    if technique == 0:
        for k in range(4):
            rock = math.radians((-16.0, -8.0, 8.0, 16.0)[k])
            x = math.cos(rock) * place[3:6] + math.sin(rock) * place[6:9]
            z = math.cos(rock) * place[6:9] - math.sin(rock) * place[3:6]
            bar = best - 0.01
            cost = rate_view(face, skin, bone, entry, tip, place[0:3], x, z, True, scan, 0, bar, trial)
            if cost < best:  # held straight unless it is worth it
                best = cost
                view[:] = trial
                pose[0:3], pose[3:6], pose[6:9] = trial[0:3], x, z
        return best, technique
    # out of plane: the face stands over the tip, across the needle
    px, py, pz, nx, ny, nz = _to_skin(skin, tip[0], tip[1], tip[2])
    z = np.array([-nx, -ny, -nz])
    x = np.array([ny * t[2] - nz * t[1], nz * t[0] - nx * t[2], nx * t[1] - ny * t[0]])
    size = math.sqrt((x * x).sum())
    if size > 1e-3:
        x /= size
        c[0], c[1], c[2] = px, py, pz
        cost = rate_view(face, skin, bone, entry, tip, c, x, z, False, scan, 1, best, trial)
        if cost < best:
            best, technique = cost, 1
            view[:] = trial
            pose[0:3], pose[3:6], pose[6:9] = trial[0:3], x, z
    return best, technique


@parallel_kernel
def _view_all(
    face, skin, bone, entries, normals, tips, which_entry, which_tip, gaps, scan, cost, technique, poses,
    views,
):  # fmt: skip
    for i in prange(which_entry.shape[0]):
        e, t = which_entry[i], which_tip[i]
        cost[i], technique[i] = best_view(
            face, skin, bone, entries[e], normals[e], tips[t], gaps, scan, poses[i], views[i]
        )


def view_all(
    face: ProbeFace, skin, bone, entries_mm, normals, tips_mm, which_entry, which_tip, gaps_mm, scan
) -> tuple[Floats, Ints, Floats, Floats]:
    """Best probe pose of each chosen pair: cost (n,), technique (n,), poses (n, 9), views (n, 8)."""
    n = len(which_entry)
    cost, technique = np.empty(n), np.empty(n, np.int32)
    poses, views = np.full((n, 9), np.nan), np.full((n, 8), np.nan)
    _view_all(
        face, skin, bone, points(entries_mm), points(normals), points(tips_mm),
        cast(which_entry, np.int32, (None,), "which_entry"), cast(which_tip, np.int32, (None,), "which_tip"),
        cast(gaps_mm, np.float64, (None,), "gaps_mm"), cast(scan, np.float64, (2, 3), "scan"), cost,
        technique, poses, views,
    )  # fmt: skip
    return cost, technique, poses, views


@parallel_kernel
def _least_along(field, entries, tips, which_entry, which_tip, result):
    for i in prange(which_entry.shape[0]):
        e, t = which_entry[i], which_tip[i]
        dx, dy, dz = entries[e, 0] - tips[t, 0], entries[e, 1] - tips[t, 1], entries[e, 2] - tips[t, 2]
        length = math.sqrt(dx * dx + dy * dy + dz * dz)
        steps = max(1, math.ceil(length))
        least = np.inf
        for k in range(steps + 1):
            f = k / steps
            least = min(least, sample(field, tips[t, 0] + f * dx, tips[t, 1] + f * dy, tips[t, 2] + f * dz))
        result[i] = least


def least_along(field, entries_mm, tips_mm, which_entry, which_tip) -> Floats:
    """Least value of a field along each chosen path, sampled every 1 mm, (n,)."""
    result = np.empty(len(which_entry))
    _least_along(
        field, points(entries_mm), points(tips_mm), cast(which_entry, np.int32, (None,), "which_entry"),
        cast(which_tip, np.int32, (None,), "which_tip"), result,
    )  # fmt: skip
    return result


@parallel_kernel
def _most_within(skin, entries, tips, which_entry, which_tip, start, result):
    for i in prange(which_entry.shape[0]):
        e, t = which_entry[i], which_tip[i]
        dx, dy, dz = tips[t, 0] - entries[e, 0], tips[t, 1] - entries[e, 1], tips[t, 2] - entries[e, 2]
        length = math.sqrt(dx * dx + dy * dy + dz * dz)
        most = -np.inf
        s = start
        while s < length:
            f = s / length
            most = max(
                most, sample(skin, entries[e, 0] + f * dx, entries[e, 1] + f * dy, entries[e, 2] + f * dz)
            )
            s += 1.0
        result[i] = most


def most_outside(skin, entries_mm, tips_mm, which_entry, which_tip, start_mm: float) -> Floats:
    """Largest skin distance along each path from `start_mm` beyond its entry, (n,); positive: outside."""
    result = np.empty(len(which_entry))
    _most_within(
        skin, points(entries_mm), points(tips_mm), cast(which_entry, np.int32, (None,), "which_entry"),
        cast(which_tip, np.int32, (None,), "which_tip"), float(start_mm), result,
    )  # fmt: skip
    return result


# ------------------------------------------------------------------------------------------------- the front


@kernel
def _front(costs, order, kept):
    """Mark the non-dominated rows, visited by rising sum: a later row never dominates an earlier one."""
    n, m = costs.shape
    archive = np.empty(n, np.int64)
    size = 0
    for k in range(n):
        i = order[k]
        dominated = False
        for a in range(size):
            j = archive[a]
            no_worse, better = True, False
            for c in range(m):
                if costs[j, c] > costs[i, c]:
                    no_worse = False
                    break
                if costs[j, c] < costs[i, c]:
                    better = True
            if no_worse and better:
                dominated = True
                if a > 0:  # move up: what dominated once will again
                    archive[a], archive[a - 1] = archive[a - 1], archive[a]
                break
        if not dominated:
            archive[size] = i
            size += 1
            kept[i] = True
    return size


def pareto_front(costs: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Which rows of (n, m) costs no other row dominates (no worse in all, better in one); exact, (n,) bool.

    Equal rows are all kept. A row that dominates another has the smaller sum, so one pass by rising sum with
    an archive of the front suffices; rows of equal rounded sum are ordered by their columns.
    """
    table = cast(costs, np.float64, (None, None), "costs")
    kept = np.zeros(len(table), np.bool_)
    if len(table):
        keys = [table[:, c] for c in range(table.shape[1] - 1, -1, -1)]
        order = np.lexsort([*keys, table.sum(axis=1)]).astype(np.int64)
        _front(table, order, kept)
    return kept


# -------------------------------------------------------------------------------------------------- chance


@parallel_kernel
def _scatter(seed, first, tip, sd, result):
    for i in prange(result.shape[0]):
        base = 3 * (first + i)
        for axis in range(3):
            result[i, axis] = tip[axis] + sd * normal_at(seed, base + axis)


def scatter_tips(seed: int, first: int, tip_mm: npt.ArrayLike, sd_mm: float, count: int) -> Floats:
    """Where the tip ends in `count` attempts: isotropic normal about the aim, (count, 3) mm."""
    result = np.empty((count, 3))
    _scatter(int(seed), int(first), cast(tip_mm, np.float64, (3,), "tip_mm"), float(sd_mm), result)
    return result


@parallel_kernel
def _bone_over(tree, starts, ends, result):
    for i in prange(starts.shape[0]):
        dx, dy, dz = ends[i, 0] - starts[i, 0], ends[i, 1] - starts[i, 1], ends[i, 2] - starts[i, 2]
        length = math.sqrt(dx * dx + dy * dy + dz * dz)
        result[i] = not math.isnan(
            first_hit(
                tree, starts[i, 0], starts[i, 1], starts[i, 2], dx / length, dy / length, dz / length, length
            )[0]
        )


def blocked_lines(tree: Bvh, starts_mm: npt.ArrayLike, ends_mm: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Whether a surface lies between the ends of each segment, exactly, (n,)."""
    starts, ends = points(starts_mm), points(ends_mm)
    result = np.zeros(len(starts), np.bool_)
    _bone_over(tree, starts, ends, result)
    return result
