"""The planner's inner loops: every entry × target against its limits, Pareto front, chance.

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
from injectplan.kernels.bvh import STACK, Bvh, nearest_point
from injectplan.kernels.cast import Bytes, Floats, Ints, cast, points
from injectplan.kernels.chance import normal_at
from injectplan.kernels.field import inside_votes, sample
from injectplan.kernels.segment import near_box, segment_triangle2

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


@kernel
def _first_broken(tree, needs, groups, node_needs, px, py, pz, qx, qy, qz):
    """Return the class of some triangle nearer to the segment than its need, or -1: exact."""
    ux, uy, uz = qx - px, qy - py, qz - pz
    stack = np.empty(STACK, np.int32)
    stack[0], depth = 0, 1
    while depth > 0:
        depth -= 1
        node = stack[depth]
        if not near_box(tree.low, tree.high, node, node_needs[node], px, py, pz, ux, uy, uz):
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
