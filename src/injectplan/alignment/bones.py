"""A bone made ready to be measured: welded, one piece, with smooth normals; sections and silhouettes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import ConvexHull, QhullError

from injectplan.alignment.fits import fit_line
from injectplan.errors import EmptyStructureError, LandmarkError
from injectplan.frames import unit
from injectplan.imaging.values import Surface
from injectplan.kernels.cast import Bools, Floats
from injectplan.measure import Notice

COARSE_MM = 4.0  # longer edges than this are refined along curved patches before anything is fitted

Indices = npt.NDArray[np.int64]


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


def _weld(points: Floats, triangles: Indices) -> tuple[Floats, Indices]:
    used, triangles = np.unique(triangles, return_inverse=True)
    points = points[used]
    triangles = triangles.reshape(-1, 3)
    grain = 1e-6 * float(np.ptp(points, axis=0).max())
    _, first, inverse = np.unique(
        np.round(points / grain).astype(np.int64), axis=0, return_index=True, return_inverse=True
    )
    triangles = inverse.ravel()[triangles]
    a, b, c = triangles.T
    return points[first], triangles[(a != b) & (b != c) & (c != a)]


def _crosses(points: Floats, triangles: Indices) -> Floats:
    a, b, c = (points[triangles[:, i]] for i in range(3))
    return np.asarray(np.cross(b - a, c - a))


def _outward(points: Floats, triangles: Indices) -> Indices:
    cross = _crosses(points, triangles)
    middle = points[triangles].mean(axis=1)
    volume = np.einsum("ij,ij->", middle - np.average(middle, axis=0), cross)
    return triangles if volume >= 0 else triangles[:, ::-1]


def _largest_piece(points: Floats, triangles: Indices) -> tuple[Indices, int]:
    graph = coo_array(
        (np.ones(2 * len(triangles), dtype=np.int8),
         (triangles[:, [0, 1]].ravel(), triangles[:, [1, 2]].ravel())),
        shape=(len(points), len(points)),
    )  # fmt: skip
    count, label = connected_components(graph, directed=False)
    if count == 1:
        return triangles, 0
    area = 0.5 * np.linalg.norm(_crosses(points, triangles), axis=1)
    of_triangle = label[triangles[:, 0]]
    areas = np.bincount(of_triangle, weights=area, minlength=count)
    loose = int(np.sum((areas > 0) & (np.arange(count) != np.argmax(areas))))
    return triangles[of_triangle == np.argmax(areas)], loose


def _smooth(points: Floats, triangles: Indices, vectors: Floats, edge_mm: float, radius_mm: float) -> Floats:
    """Average vertex vectors over about radius_mm by repeated steps over the edges."""
    steps = int(np.clip(np.round((radius_mm / max(edge_mm, 0.2)) ** 2 / 2.0), 0, 24))
    if not steps:
        return vectors
    n = len(points)
    i, j = triangles[:, [0, 1, 2]].ravel(), triangles[:, [1, 2, 0]].ravel()
    ones = np.ones(2 * len(i))
    mean = coo_array((ones, (np.r_[i, j], np.r_[j, i])), shape=(n, n)).tocsr()
    for _ in range(steps):
        vectors = vectors + mean @ vectors
        length = np.linalg.norm(vectors, axis=1, keepdims=True)
        vectors = np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 0)
    return vectors


def _median_edge(points: Floats, triangles: Indices) -> float:
    return float(np.median(np.linalg.norm(points[triangles[:, 0]] - points[triangles[:, 1]], axis=1)))


def _vertex_normals(points: Floats, triangles: Indices) -> tuple[Floats, Floats]:
    cross = _crosses(points, triangles)
    weights, normals = np.zeros(len(points)), np.zeros_like(points)
    for corner in range(3):
        np.add.at(weights, triangles[:, corner], np.linalg.norm(cross, axis=1) / 6.0)
        np.add.at(normals, triangles[:, corner], cross)
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    return weights, np.divide(normals, length, out=np.zeros_like(normals), where=length > 0)


def _refine(points: Floats, triangles: Indices, normals: Floats) -> tuple[Floats, Indices]:
    """Split every triangle in four, the new corners bent towards the tangent planes at the old ones.

    Phong tessellation, Boubekeur & Alexa (2008), doi:10.1145/1409060.1409094, with their shape factor 3/4.
    """
    edges = np.sort(triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    unique, inverse = np.unique(edges, axis=0, return_inverse=True)
    a, b = points[unique[:, 0]], points[unique[:, 1]]
    middle = 0.5 * (a + b)
    bent = np.zeros_like(middle)
    for corner, normal in ((a, normals[unique[:, 0]]), (b, normals[unique[:, 1]])):
        bent += 0.5 * (middle - ((middle - corner) * normal).sum(axis=1, keepdims=True) * normal)
    new = inverse.ravel().reshape(-1, 3) + len(points)
    i, j, k = triangles.T
    ij, jk, ki = new.T
    quarters = [np.stack(t, axis=1) for t in ((i, ij, ki), (j, jk, ij), (k, ki, jk), (ij, jk, ki))]
    return np.concatenate([points, 0.25 * middle + 0.75 * bent]), np.concatenate(quarters)


def prepare(surface: Surface, name: str) -> Bone:
    """Return the surface as a bone: welded, its largest piece, outward, with smooth normals.

    Loose pieces (a fibula in the tibia's file, crumbs of a segmentation) are left out with a notice. An
    empty surface raises EmptyStructureError, one of fewer than 40 vertices LandmarkError.
    """
    if not len(surface.triangles):
        raise EmptyStructureError(f"{name} has no triangles: give its surface, or leave it out")
    points, triangles = _weld(surface.vertices_mm, surface.triangles.astype(np.int64))
    triangles, loose = _largest_piece(points, triangles)
    used, triangles = np.unique(triangles, return_inverse=True)
    points, triangles = points[used], triangles.reshape(-1, 3)
    if len(points) < 40:
        raise LandmarkError(f"{name} has {len(points)} vertices in one piece; its shape needs at least 40")
    triangles = _outward(points, triangles)
    weights, normals = _vertex_normals(points, triangles)
    edge_mm = given_edge_mm = _median_edge(points, triangles)
    while edge_mm > COARSE_MM and len(points) < 4000:
        points, triangles = _refine(points, triangles, normals)
        weights, normals = _vertex_normals(points, triangles)
        edge_mm = _median_edge(points, triangles)
    edges = np.sort(triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    unique, count = np.unique(edges, axis=0, return_counts=True)
    border = points[unique[count == 1]].mean(axis=1)
    notices = []
    if loose:
        notices.append(Notice("loose_pieces", f"{loose} loose piece(s) of {name} were left out", name))
    if len(border):
        notices.append(Notice("open_surface", f"the surface of {name} is open ({len(border)} edges)", name))
    return Bone(
        name=name, points=points, triangles=triangles, weights=weights, edge_mm=given_edge_mm,
        border=border, cap=flat_cap(points, triangles),
        normals=_smooth(points, triangles, normals, edge_mm, 2.0), notices=tuple(notices),
    )  # fmt: skip


def section(bone: Bone, origin: Floats, normal: Floats, *, within: Bools | None = None) -> list[Loop]:
    """Cut the bone by a plane; the outlines, largest first.

    origin (3,) a point of the plane, normal (3,) unit.  within (m,): only these triangles are cut.
    """
    height = (bone.points - origin) @ normal
    height = np.where(height == 0.0, 1e-12, height)
    triangles = bone.triangles if within is None else bone.triangles[within]
    above = height[triangles] > 0
    crossed = np.flatnonzero(above.any(axis=1) & ~above.all(axis=1))
    if not len(crossed):
        return []
    tri, up = triangles[crossed], above[crossed]
    # the corner alone on its side; from it, the two cut edges in the triangle's own order
    alone = np.where(up.sum(axis=1) == 1, np.argmax(up, axis=1), np.argmin(up, axis=1))
    rows = np.arange(len(tri))
    a, b, c = tri[rows, alone], tri[rows, (alone + 1) % 3], tri[rows, (alone + 2) % 3]

    def cut(i: Indices, j: Indices) -> Floats:
        t = height[i] / (height[i] - height[j])
        return np.asarray(bone.points[i] + t[:, None] * (bone.points[j] - bone.points[i]))

    first, second = cut(a, b), cut(a, c)
    flip = ~(height[a] > 0)
    start = np.where(flip[:, None], second, first)
    end = np.where(flip[:, None], first, second)
    keys = np.sort(np.stack([np.stack([a, b], 1), np.stack([a, c], 1)]), axis=2)
    ids = np.unique(keys.reshape(-1, 2), axis=0, return_inverse=True)[1].reshape(2, -1)
    graph = coo_array((np.ones(len(tri)), (ids[0], ids[1])), shape=(ids.max() + 1,) * 2)
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


def sections(bone: Bone, origin: Floats, axis: Floats, heights: Floats) -> list[list[Loop]]:
    """Cut the bone by many parallel planes at these heights along the axis (from origin)."""
    s = (bone.points - origin) @ axis
    low, high = s[bone.triangles].min(axis=1), s[bone.triangles].max(axis=1)
    return [section(bone, origin + h * axis, axis, within=(low <= h) & (high >= h)) for h in heights]


def hull_indices(flat: Floats) -> Indices:
    """Indices of the convex hull's corners of points (n, 2), counter-clockwise."""
    try:
        return np.asarray(ConvexHull(flat).vertices, dtype=np.int64)
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


def flat_cap(points: Floats, triangles: Indices) -> tuple[Floats, Floats] | None:
    """The largest flat face, as a field of view's edge leaves it: outward normal, its points (k, 3)."""
    corners = points[triangles]
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    area = 0.5 * np.linalg.norm(cross, axis=1)
    keep = np.flatnonzero(area > 1e-9)
    area, middle = area[keep], corners[keep].mean(axis=1)
    normal = cross[keep] / (2.0 * area[:, None])
    height = (middle * normal).sum(axis=1)
    # bins of like normal and height hold a flat face together; a curved one spreads over many
    key = np.column_stack([np.round(normal * 12.0), np.round(height / 1.5)]).astype(np.int64)
    _, inverse = np.unique(key, axis=0, return_inverse=True)
    total = np.bincount(inverse.ravel(), weights=area)
    best, found = 150.0, None
    for i in np.argsort(-total)[:6]:
        mates = inverse.ravel() == i
        n = unit(np.average(normal[mates], axis=0, weights=area[mates]))
        h = float(np.average(middle[mates] @ n, weights=area[mates]))
        same = (normal @ n > 0.99) & (np.abs(middle @ n - h) < 0.6)
        flat = float(area[same].sum())
        # a cut leaves nothing beyond its plane
        if flat > best and float((points @ n).max()) < h + 2.0:
            best, found = flat, (n, middle[same])
    return found


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
    heights = np.linspace(low, high, 14)
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
