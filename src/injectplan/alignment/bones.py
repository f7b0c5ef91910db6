"""A bone made ready to be measured: welded, one piece, with smooth normals; sections and silhouettes."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import ConvexHull, QhullError

from injectplan.alignment.fits import fit_line
from injectplan.alignment.meshes import (
    LEAST_CAP_MM2,
    LONGEST_MM,
    Indices,
    crosses,
    evened,
    flat_faces,
    in_order,
    median_edge,
    outward,
    pieces,
    sides_of,
    smoothed,
    vertex_normals,
    weld,
    wound_alike,
)
from injectplan.alignment.terraces import IN_STEP, slices_along
from injectplan.errors import EmptyStructureError, LandmarkError
from injectplan.frames import unit
from injectplan.imaging.values import Surface
from injectplan.kernels.cast import Floats
from injectplan.measure import Notice

MOST_LEVEL = 0.7  # cosine of a cut's tilt against the bone's axis (assumed)
TERRACED = 1.0  # level faces for each tilted one: smooth and decimated bones 0.07 to 0.26, label maps over 10
LEVEL_MM = 0.2  # faces nearer than this in height are of one terrace
BESIDE_MM = 0.6  # of a flat face's plane: nearer surface is the face itself
PART_MM = 5.0  # a section's part whose middle is nearer to a face's than this lies under it (assumed)
LARGER = 1.6  # the next slice over the last of a round end: 2 or more (assumed)
LEAST_CUT_MM = 15.0  # round a cut malleolus; smaller openings are holes of a mesh (assumed)
REST_MM = 7.0  # around a resting point: the patch that tells where a tangent touches (assumed)
CUTS = 14  # of a shaft

_AROUND = np.stack([f(np.arange(12) * np.pi / 6.0 + 0.1) for f in (np.cos, np.sin)], axis=1)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Bone:
    """One connected piece of surface, triangles counter-clockwise from outside.

    points (n, 3), weights (n,) mm² around each vertex, normals (n, 3) smoothed over a few millimetres,
    triangles (m, 3), edge_mm the median edge as given, border (b, 3) midpoints of open edges,
    cap the flat face that the field of view's edge left (outward normal, its points), None without one.
    """

    name: str
    points: Floats
    triangles: Indices
    weights: Floats
    normals: Floats
    edge_mm: float
    border: Floats
    cap: tuple[Floats, Floats] | None
    notices: tuple[Notice, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Loop:
    """One outline of a section: area (mm², negative for a hole), centroid (3,), points along it (k, 3)."""

    area_mm2: float
    centroid: Floats
    points: Floats


def prepare(surface: Surface, name: str) -> Bone:
    """Return the surface as a bone: welded, its largest piece, outward, with smooth normals.

    Loose pieces (a fibula in the tibia's file, crumbs of a segmentation) are left out with a notice. An
    empty surface raises EmptyStructureError, one of fewer than 40 vertices LandmarkError.
    """
    if not len(surface.triangles):
        raise EmptyStructureError(f"{name} has no triangles: give its surface, or leave it out")
    points, triangles = weld(surface.vertices_mm, surface.triangles.astype(np.int64))
    of_triangle, areas = pieces(points, triangles)
    loose = int(np.count_nonzero(areas)) - 1
    triangles = triangles[of_triangle == np.argmax(areas)]
    used, triangles = np.unique(triangles, return_inverse=True)
    points, triangles = points[used], triangles.reshape(-1, 3)
    if len(points) < 40:
        raise LandmarkError(f"{name} has {len(points)} vertices in one piece; its shape needs at least 40")
    triangles = outward(points, wound_alike(triangles))
    given_edge_mm = median_edge(points, triangles)
    points, triangles = in_order(*evened(*in_order(points, triangles)))
    weights, normals = vertex_normals(points, triangles)
    edge_mm = median_edge(points, triangles)
    unique, _, count = sides_of(triangles)
    border = points[unique[count == 1]].mean(axis=1)
    notices = []
    if loose:
        notices.append(Notice("loose_pieces", f"{loose} loose piece(s) of {name} were left out", name))
    if len(border):
        notices.append(Notice("open_surface", f"the surface of {name} is open ({len(border)} edges)", name))
    bone = Bone(
        name=name, points=points, triangles=triangles, weights=weights, edge_mm=given_edge_mm,
        border=border, cap=None,
        normals=smoothed(points, triangles, normals, edge_mm, 2.0), notices=tuple(notices),
    )  # fmt: skip
    cuts = (
        cap for cap in flat_faces(points, triangles)
        if not is_last_slice(bone, *cap, faired_slice_mm(bone, *cap))
    )  # fmt: skip
    return replace(bone, cap=next(cuts, None))


def section(bone: Bone, origin: Floats, normal: Floats) -> list[Loop]:
    """Cut the bone by a plane; the outlines, largest first.

    origin (3,) a point of the plane, normal (3,) unit.
    """
    return sections(bone, origin, normal, np.zeros(1))[0]


def sections(bone: Bone, origin: Floats, axis: Floats, heights: Floats) -> list[list[Loop]]:
    """Cut the bone by many parallel planes at these heights along the axis (from origin)."""
    s = (bone.points - origin) @ axis
    a, b, c = (s[bone.triangles[:, i]] for i in range(3))
    low, high = np.minimum(np.minimum(a, b), c), np.maximum(np.maximum(a, b), c)
    found = []
    for h in heights:
        near = np.flatnonzero((low <= h) & (high >= h))
        corners = np.stack([a[near], b[near], c[near]], axis=1)
        found.append(_section(bone, near, corners - h, origin, axis))
    return found


def _section(bone: Bone, near: Indices, height: Floats, origin: Floats, normal: Floats) -> list[Loop]:
    """Cut the triangles `near` (k,) where the height (k, 3) of their corners over the plane passes 0."""
    height = np.where(height == 0.0, 1e-12, height)
    above = height > 0
    several = above[:, 0].astype(np.int8) + above[:, 1] + above[:, 2]
    crossed = np.flatnonzero((several == 1) | (several == 2))
    if not len(crossed):
        return []
    tri, height, several = bone.triangles[near[crossed]], height[crossed], several[crossed]
    # the corner alone on its side; from it, the two cut edges in the triangle's own order
    alone = np.where(several == 1, np.argmax(above[crossed], axis=1), np.argmin(above[crossed], axis=1))
    rows = np.arange(len(tri))
    a, b, c = ((tri[rows, (alone + i) % 3], height[rows, (alone + i) % 3]) for i in range(3))

    def cut(i: tuple[Indices, Floats], j: tuple[Indices, Floats]) -> Floats:
        t = i[1] / (i[1] - j[1])
        return np.asarray(bone.points[i[0]] + t[:, None] * (bone.points[j[0]] - bone.points[i[0]]))

    first, second = cut(a, b), cut(a, c)
    flip = (several == 2)[:, None]
    start, end = np.where(flip, second, first), np.where(flip, first, second)
    n = len(bone.points)
    keys = np.concatenate([np.minimum(a[0], x[0]) * n + np.maximum(a[0], x[0]) for x in (b, c)])
    ids = np.unique(keys, return_inverse=True)[1].reshape(2, -1)
    graph = coo_array((np.ones(len(tri), dtype=np.int8), (ids[0], ids[1])), shape=(ids.max() + 1,) * 2)
    label = connected_components(graph, directed=False)[1][ids[0]]
    loops = [_loop(start[label == k], end[label == k], origin, normal) for k in range(label.max() + 1)]
    return sorted(loops, key=lambda loop: -abs(loop.area_mm2))


def _loop(start: Floats, end: Floats, origin: Floats, normal: Floats) -> Loop:
    """Area and centroid of one outline by Green's theorem from its oriented segments."""
    base = start.mean(axis=0)
    p, q = start - base, end - base
    outline = np.concatenate([start + t * (end - start) for t in (0.0, 0.25, 0.5, 0.75)])
    twice = np.cross(p, q) @ normal
    area = 0.5 * float(twice.sum())
    if abs(area) < 1e-9:
        return Loop(area_mm2=0.0, centroid=base, points=outline)
    gap = np.linalg.norm((end - start).sum(axis=0))
    centroid = base + ((p + q) * twice[:, None]).sum(axis=0) / (6.0 * area)
    if gap > 0.1 * np.sqrt(abs(area)):  # an open outline: the mean along its line stands in
        length = np.linalg.norm(end - start, axis=1)
        centroid = np.average(0.5 * (start + end), axis=0, weights=length)
    return Loop(area_mm2=abs(area), centroid=centroid, points=outline)


def hull_indices(flat: Floats) -> Indices:
    """Indices of the convex hull's corners of points (n, 2), counter-clockwise."""
    try:
        if len(flat) < 500:
            return np.asarray(ConvexHull(flat).vertices, dtype=np.int64)
        # what lies inside the polygon of a few outermost points is no corner: most points, cheaply
        rows = np.ascontiguousarray(flat.T)
        inner = ConvexHull(flat[np.unique(np.argmax(_AROUND @ rows, axis=1))]).equations
        outer = np.flatnonzero((inner[:, :2] @ rows + inner[:, 2:]).max(axis=0) > -1e-9)
        return outer[ConvexHull(flat[outer]).vertices]
    except QhullError as error:
        raise LandmarkError("a part of the bone is flat; its outline cannot be found") from error


def bitangent(flat: Floats, direction: Floats, across: float) -> tuple[int, int]:
    """Return the two points on which a line laid from `direction` rests, left and right of `across`.

    flat (n, 2): coordinates (u, v); direction +1 or -1 in v given as (2,) outward; across: a u between.
    The line is the hull's edge that passes u = across on that side.
    """
    corners = hull_indices(flat)
    nxt = np.roll(corners, -1)
    edge = flat[nxt] - flat[corners]
    outward = np.stack([edge[:, 1], -edge[:, 0]], axis=1)
    spans = (flat[corners, 0] - across) * (flat[nxt, 0] - across) <= 0
    facing = outward @ direction
    facing = np.where(spans, facing / np.maximum(np.linalg.norm(outward, axis=1), 1e-12), -np.inf)
    best = int(np.argmax(facing))
    if not facing[best] > 0:
        raise LandmarkError("no tangent line rests on both condyles")
    i, j = int(corners[best]), int(nxt[best])
    return (i, j) if flat[i, 0] < flat[j, 0] else (j, i)


def smooth_rests(
    bone: Bone, rests: tuple[Floats, Floats], outward: Floats, along: Floats
) -> tuple[Floats, Floats]:
    """Where a line laid from outside touches the smooth surface about two resting points, (3,) each.

    outward, along : unit; the line runs roughly along `along` and is laid against `outward`. About each rest
    a paraboloid is fitted to the faces within 7 mm, and the line touches both: one vertex of a facet or of
    the noise does not carry it. Where a patch has no top within its reach its resting point stays.
    """
    third = np.cross(outward, along)
    middles, areas = side_middles(bone, np.stack(rests), REST_MM + LONGEST_MM)
    patches = []
    for rest in rests:
        offset = middles - rest
        near = np.flatnonzero(np.einsum("ij,ij->i", offset, offset) < REST_MM**2)
        offset = offset[near]
        x, z, h = offset @ along, offset @ third, offset @ outward
        w = areas[near] * (1.0 - (x * x + z * z + h * h) / REST_MM**2) ** 2
        design = np.stack([np.ones_like(x), x, z, 0.5 * x * x, x * z, 0.5 * z * z], axis=1)
        if len(near) < 12:
            return rests
        normal = design.T @ (design * w[:, None])
        patches.append(np.linalg.solve(normal + 1e-9 * np.trace(normal) * np.eye(6), design.T @ (w * h)))
    found = list(rests)
    for _ in range(6):
        line = found[1] - found[0]
        slope = float(line @ outward) / float(line @ along)
        for i, (rest, c) in enumerate(zip(rests, patches, strict=True)):
            bend = np.array([[c[3], c[4]], [c[4], c[5]]])
            if np.linalg.eigvalsh(bend)[1] > -1e-3:
                return rests
            at = np.linalg.solve(bend, np.array([slope - c[1], -c[2]]))
            if np.linalg.norm(at) > REST_MM:
                return rests
            top = c[0] + at @ c[1:3] + 0.5 * at @ bend @ at
            found[i] = rest + at[0] * along + at[1] * third + top * outward
    return found[0], found[1]


def axis_candidates(bone: Bone, toward: Floats | None = None) -> list[Floats]:
    """Directions that may point proximally: principal axes both ways, towards a cut, and a given one."""
    center = np.average(bone.points, axis=0, weights=bone.weights)
    offset = bone.points - center
    values, vectors = np.linalg.eigh(offset.T @ (offset * bone.weights[:, None]))
    if values[2] > 5.0 * values[1]:
        return [vectors[:, 2], -vectors[:, 2]]
    result = [sign * vectors[:, i] for i in (2, 1, 0) for sign in (1.0, -1.0)]
    if len(bone.border) >= 6:
        result.append(unit(bone.border.mean(axis=0) - center))
    cap = bone.cap
    if cap is not None:
        result.append(unit(cap[0]))
        result.append(unit(cap[1].mean(axis=0) - center))
    if toward is not None:
        result.append(unit(toward))
    return result


def face_areas(bone: Bone) -> tuple[Floats, Floats]:
    """Middle (m, 3) and vector area (m, 3) mm², outward, of every triangle."""
    return bone.points[bone.triangles].mean(axis=1), 0.5 * crosses(bone.points, bone.triangles)


def side_middles(bone: Bone, near: Floats, reach_mm: float) -> tuple[Floats, Floats]:
    """Middles (3 m, 3) of the triangles' sides, each with a third of its triangle's area (3 m,) mm².

    near : (k, 3) or (3,) points; triangles within `reach_mm` of one of them are taken.
    As many nodes of a quadrature that is exact to the second degree: what is fitted to them holds for the
    faces, where vertices alone lie off a coarse mesh's curved surface.
    """
    close = np.zeros(len(bone.points), dtype=bool)
    for point in np.atleast_2d(near):
        offset = bone.points - point
        close |= np.einsum("ij,ij->i", offset, offset) < reach_mm**2
    triangles = bone.triangles[close[bone.triangles].any(axis=1)]
    corners = bone.points[triangles]
    third = np.linalg.norm(crosses(bone.points, triangles), axis=1) / 6.0
    middles = [0.5 * (corners[:, i] + corners[:, (i + 1) % 3]) for i in range(3)]
    return np.concatenate(middles), np.tile(third, 3)


def flat_end(bone: Bone, axis: Floats, height: float, least_mm2: float) -> Floats:
    """Points (k, 3) of a flat face that ends the bone below this height (absolute) along a unit axis.

    The last slice of a label map is flat as well: where the next one is much larger the end is a whole one's,
    of which a slice is missing at most.
    """
    low = (bone.points @ axis < height)[bone.triangles].all(axis=1)
    caps = flat_faces(bone.points, bone.triangles[low], least_mm2) if low.any() else []
    # a steeper face is a side of the bone, as thick slices leave it
    if not caps or caps[0][0] @ axis > -MOST_LEVEL:
        return np.zeros((0, 3))
    normal, face = caps[0]
    # of surfaces smoothed since nothing is asked: a malleolus' few terraces are not told from its own shape
    whole = is_last_slice(bone, normal, face, slice_mm(bone, normal))
    return np.zeros((0, 3)) if whole else face


def is_last_slice(bone: Bone, normal: Floats, face: Floats, step: float) -> bool:
    """Whether a flat face is where a label map's slices end, and no cut.

    normal : (3,) outward.  face : its points (k, 3).  step : mm between slices across the normal, 0 without.
    Every part of the face is much smaller than the slice further in, as a round end's last slice is: of a
    bone that was cut little more than a slice is missing then.
    """
    middle = face.mean(axis=0)
    if step == 0.0:
        return False
    # the surface stands half a slice outside the middle of the last one
    last, inner = (section(bone, middle - share * step * normal, normal) for share in (0.5, 1.5))
    into: dict[int, float] = {}  # parts that are one further in count together
    concerned = set()
    for part in last:
        further = main_loop(inner, part.centroid)
        if further is None:
            return False
        number = next(i for i, loop in enumerate(inner) if loop is further)
        into[number] = into.get(number, 0.0) + part.area_mm2
        if np.linalg.norm(face - part.centroid, axis=1).min() < PART_MM + 0.5 * step:
            concerned.add(number)
    return bool(concerned) and all(inner[i].area_mm2 > LARGER * into[i] for i in concerned)


def faired_slice_mm(bone: Bone, normal: Floats, face: Floats) -> float:
    """Distance of a label map's slices across a unit normal, smoothed since or not; 0 without any.

    face : (k, 3) points of the flat face in question, which is left out: a cut is in step with itself.
    """
    middle, area = face_areas(bone)
    size = np.linalg.norm(area, axis=1)
    keep = (np.abs((middle - face.mean(axis=0)) @ normal) > BESIDE_MM) & (size > 1e-9)
    middle, area, size = middle[keep], area[keep], size[keep]
    _, step, share = slices_along(middle, area / size[:, None], size, normal)
    return step if share > IN_STEP else 0.0


def slice_mm(bone: Bone, normal: Floats) -> float:
    """Distance of the terraces across this unit normal that a label map's slices leave; 0 without any."""
    middle, area = face_areas(bone)
    size = np.linalg.norm(area, axis=1)
    return terrace_mm(middle, area / np.maximum(size, 1e-12)[:, None], size, normal)


def terrace_mm(middle: Floats, facing: Floats, size: Floats, normal: Floats) -> float:
    """Distance of the terraces across a unit normal (3,), 0 without any.

    middle, facing, size : (m, 3), (m, 3) unit and (m,) of the faces.
    """
    along = np.abs(facing @ normal)
    level = along > np.cos(np.radians(5.0))
    beside = (along > np.cos(np.radians(15.0))) & ~level
    # of directions that are spread evenly 0.13 lie within 5 degrees for each between 5 and 15
    if size[level].sum() <= TERRACED * size[beside].sum():
        return 0.0
    height = np.sort(middle[level] @ normal)
    first = np.flatnonzero(np.diff(height, prepend=-np.inf) > LEVEL_MM)
    return float(np.median(np.diff(height[first]))) if len(first) > 3 else 0.0


def view_edge(bone: Bone, axis: Floats) -> Floats:
    """Points (k, 3) on the edge of the field of view: of a flat cut face, and of open outlines in one plane.

    The bone must lie on one side of that plane; other holes are a mesh's faults. A flat face counts where it
    lies across the unit axis: thick slices leave others along it.
    """
    across = bone.cap is not None and abs(bone.cap[0] @ axis) > MOST_LEVEL
    found = [bone.cap[1]] if bone.cap is not None and across else []
    found += [ring for _, ring in open_cuts(bone)]
    return np.concatenate(found) if found else np.zeros((0, 3))


def open_cuts(bone: Bone) -> list[tuple[Floats, Floats]]:
    """Open outlines in one plane with all of the bone on one side: outward normal (3,), points (k, 3)."""
    unique, _, count = sides_of(bone.triangles)
    sides = unique[count == 1]
    if not len(sides):
        return []
    found = []
    graph = coo_array((np.ones(len(sides), dtype=np.int8), sides.T), shape=(len(bone.points),) * 2)
    label = connected_components(graph, directed=False)[1][sides[:, 0]]
    for k in np.unique(label):
        ring = bone.points[sides[label == k]]
        if np.linalg.norm(ring[:, 0] - ring[:, 1], axis=1).sum() < LEAST_CUT_MM:
            continue
        middle = ring.reshape(-1, 3).mean(axis=0)
        normal = np.linalg.svd(ring.reshape(-1, 3) - middle, full_matrices=False)[2][2]
        height = (bone.points - middle) @ normal
        flat = float(np.abs((ring - middle) @ normal).max()) < 1.0
        if flat and min(float(height.max()), -float(height.min())) < 1.0:
            outward = normal if float(height.max()) < 1.0 else -normal
            found.append((outward, ring.mean(axis=1)))
    return found


def cut_facing(bone: Bone, facing: Floats, beyond: float) -> Floats:
    """Points (k, 3) where the field of view cuts a bone, of cuts that face a unit direction.

    beyond : height (absolute) along the direction above which they lie.
    """
    found = [flat_end(bone, -facing, -beyond, LEAST_CAP_MM2)]
    for normal, ring in open_cuts(bone):
        if normal @ facing > MOST_LEVEL and float((ring @ facing).mean()) > beyond:
            found.append(ring)
    return np.concatenate(found)


def seen_until(bone: Bone, axis: Floats) -> float:
    """Height along the axis up to which a cut bone is whole: below its cut face and its open border."""
    s = bone.points @ axis
    low, high = float(s.min()), float(s.max())
    result = high
    half = low + 0.6 * (high - low)
    if len(bone.border):
        heights = bone.border @ axis
        if np.any(heights > half):
            result = min(result, float(heights[heights > half].min()))
    cap = bone.cap
    if cap is not None and cap[0] @ axis > 0.5:
        result = min(result, float((cap[1] @ axis).min()))
    return result


def hull_area(flat: Floats) -> float:
    """Area of the convex hull of points (n, 2); 0 for degenerate ones."""
    try:
        ring = flat[hull_indices(flat)]
    except LandmarkError:
        return 0.0
    x, y = ring[:, 0], ring[:, 1]
    return float(0.5 * abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)))


def shaft_line(
    bone: Bone, axis: Floats, low: float, high: float, near: Floats | None = None
) -> tuple[Floats, Floats, float]:
    """Axis of the shaft between two heights along `axis` (absolute), through the sections' centroids.

    Returns a point, the unit direction (along `axis`) and the residual in mm.
    """
    heights = np.linspace(low, high, CUTS)
    centers, lengths = [], []
    for loops in sections(bone, np.zeros(3), axis, heights):
        loop = main_loop(loops, near)
        if loop is not None:
            centers.append(loop.centroid)
            lengths.append(loop.area_mm2)
    if len(centers) < 5:
        raise LandmarkError(f"the shaft of the {bone.name} could not be followed")
    center, direction, residual = fit_line(np.array(centers))
    return center, direction if direction @ axis > 0 else -direction, residual


def main_loop(loops: list[Loop], near: Floats | None = None) -> Loop | None:
    """The largest outline, or among the large ones the nearest to a point."""
    if not loops:
        return None
    if near is None:
        return loops[0]
    large = [loop for loop in loops if loop.area_mm2 > 0.3 * loops[0].area_mm2]
    return min(large, key=lambda loop: float(np.linalg.norm(loop.centroid - near)))
