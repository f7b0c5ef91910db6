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
from injectplan.imaging.values import Surface, mixed64
from injectplan.kernels.cast import Bools, Floats
from injectplan.measure import Notice

LONGEST_MM = 3.5  # longer edges than this are halved along curved patches before anything is fitted
LEAST_CAP_MM2 = 150.0  # a flat face of a whole bone's cut (assumed)
MOST_LEVEL = 0.7  # cosine of a cut's tilt against the bone's axis (assumed)
TERRACED = 1.0  # level faces for each tilted one: smooth and decimated bones 0.07 to 0.26, label maps over 10
LEVEL_MM = 0.2  # faces nearer than this in height are of one terrace
LARGER = 1.6  # the next slice over the last of a round end: 2 or more (assumed)
LEAST_CUT_MM = 15.0  # round a cut malleolus; smaller openings are holes of a mesh (assumed)
# How far new vertices follow the curved surface. Phong's shape factor is 3/4, right for vertices that lie on
# it; a decimation by quadrics leaves them outside, where 0 is right: between, all angles stay within 0.5°.
BEND = 0.4
REST_MM = 7.0  # around a resting point: the patch that tells where a tangent touches (assumed)
CUTS, FEW_CUTS = 14, 6  # of a shaft; where nearly the same one was cut before
MOST_REFINED = 60_000  # vertices of one bone after which nothing is refined any more

Indices = npt.NDArray[np.int64]
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


def _weld(points: Floats, triangles: Indices) -> tuple[Floats, Indices]:
    used, triangles = np.unique(triangles, return_inverse=True)
    points = points[used]
    triangles = triangles.reshape(-1, 3)
    low = points.min(axis=0)
    grain = 1e-6 * float(np.ptp(points, axis=0).max())
    cells = np.round((points - low) / max(grain, 1e-300)).astype(np.int64)
    # three numbers of 20 bits in one: sorting rows took five times as long
    _, first, inverse = np.unique(cells @ [1 << 42, 1 << 21, 1], return_index=True, return_inverse=True)
    triangles = inverse[triangles]
    a, b, c = triangles.T
    return points[first], triangles[(a != b) & (b != c) & (c != a)]


def _crosses(points: Floats, triangles: Indices) -> Floats:
    a, b, c = (points[triangles[:, i]] for i in range(3))
    return np.asarray(np.cross(b - a, c - a))


def _edges(triangles: Indices) -> tuple[Indices, Indices, Indices]:
    """Every edge once (k, 2), the edge of each triangle's sides (3 m,), and how many sides each edge has."""
    sides = triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    n = int(triangles.max()) + 1
    key = np.minimum(sides[:, 0], sides[:, 1]) * n + np.maximum(sides[:, 0], sides[:, 1])
    unique, inverse, count = np.unique(key, return_inverse=True, return_counts=True)
    return np.stack([unique // n, unique % n], axis=1), inverse, count


def edges_of(triangles: Indices) -> Indices:
    """Return every edge once, (k, 2) vertex numbers."""
    return _edges(triangles)[0]


def _wound_alike(triangles: Indices) -> Indices:
    """Turn over the triangles that run against their neighbours, so that all of a piece go one way.

    Each triangle stands twice in a graph, as it is and turned over; neighbours that agree are joined to the
    same kind, others crosswise. On a surface with one side that parts the graph in two.
    """
    m = len(triangles)
    sides = triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    forward = sides[:, 0] < sides[:, 1]
    edge = sides.min(axis=1) * (int(triangles.max()) + 1) + sides.max(axis=1)
    mixed = mixed64(edge.copy())
    if mixed[forward].sum() == mixed[~forward].sum():
        return triangles  # each edge is passed as often one way as the other
    order = np.argsort(edge, kind="stable")
    pair = edge[order][1:] == edge[order][:-1]
    first, second = order[:-1][pair], order[1:][pair]
    against = forward[first] == forward[second]
    if not against.any():
        return triangles
    f, g = first // 3, second // 3
    rows, columns = np.concatenate([f, f + m]), np.concatenate([g + m * against, g + m * ~against])
    graph = coo_array((np.ones(len(rows), dtype=np.int8), (rows, columns)), shape=(2 * m, 2 * m))
    label = connected_components(graph, directed=False)[1]
    over = label[:m] > label[m:]
    return np.where(over[:, None], triangles[:, ::-1], triangles)


def _outward(points: Floats, triangles: Indices) -> Indices:
    cross = _crosses(points, triangles)
    middle = points[triangles].mean(axis=1)
    volume = np.einsum("ij,ij->", middle - np.average(middle, axis=0), cross)
    return triangles if volume >= 0 else triangles[:, ::-1]


def _pieces(points: Floats, triangles: Indices) -> tuple[Indices, Floats]:
    """The connected piece of every triangle and the pieces' areas, mm²."""
    graph = coo_array(
        (np.ones(2 * len(triangles), dtype=np.int8),
         (triangles[:, [0, 1]].ravel(), triangles[:, [1, 2]].ravel())),
        shape=(len(points), len(points)),
    )  # fmt: skip
    count, label = connected_components(graph, directed=False)
    area = 0.5 * np.linalg.norm(_crosses(points, triangles), axis=1)
    of_triangle = np.asarray(label[triangles[:, 0]], dtype=np.int64)
    return of_triangle, np.asarray(np.bincount(of_triangle, area, count), dtype=np.float64)


def split(surface: Surface, share: float) -> list[Surface]:
    """The connected pieces of a surface that have at least this share of the largest one's area."""
    points, triangles = _weld(surface.vertices_mm, surface.triangles.astype(np.int64))
    of_triangle, areas = _pieces(points, triangles)
    large = np.flatnonzero(areas >= share * areas.max())
    if len(large) < 2:
        return [surface]
    return [Surface(points, triangles[of_triangle == i]) for i in large]


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
    # an edge counts once for each of its triangles
    ends = points[triangles] - points[triangles[:, [1, 2, 0]]]
    return float(np.median(np.linalg.norm(ends, axis=2)))


def vertex_normals(points: Floats, triangles: Indices) -> tuple[Floats, Floats]:
    """Area around each vertex (n,) mm² and its unit normal (n, 3), averaged over its triangles by area."""
    cross = _crosses(points, triangles)
    normals = np.zeros_like(points)
    third = np.repeat(np.linalg.norm(cross, axis=1) / 6.0, 3)
    weights = np.asarray(np.bincount(triangles.ravel(), third, len(points)), dtype=np.float64)
    for axis in range(3):
        normals[:, axis] = np.bincount(triangles.ravel(), np.repeat(cross[:, axis], 3), len(points))
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    return weights, np.divide(normals, length, out=np.zeros_like(normals), where=length > 0)


def _bent(points: Floats, normals: Floats, pairs: Indices, flat: Bools) -> Floats:
    """Middles of the pairs (k, 2) of vertices, bent towards the tangent planes at both; flat ones stay.

    Phong tessellation, Boubekeur & Alexa (2008), doi:10.1145/1409060.1409094, with a smaller shape factor.
    """
    middle = 0.5 * (points[pairs[:, 0]] + points[pairs[:, 1]])
    bent = np.zeros_like(middle)
    for corner, normal in ((points[pairs[:, i]], normals[pairs[:, i]]) for i in (0, 1)):
        bent += 0.5 * (middle - ((middle - corner) * normal).sum(axis=1, keepdims=True) * normal)
    share = np.where(flat[pairs].all(axis=1), 0.0, BEND)[:, None]
    return np.asarray((1.0 - share) * middle + share * bent)


def _refine(
    points: Floats, triangles: Indices, normals: Floats, flat: Bools, longest_mm: float
) -> tuple[Floats, Indices]:
    """Halve every edge over `longest_mm`; its triangles are split in two, three or four, without gaps."""
    unique, inverse, _ = _edges(triangles)
    long = np.linalg.norm(points[unique[:, 0]] - points[unique[:, 1]], axis=1) > longest_mm
    if not long.any():
        return points, triangles
    middle = np.cumsum(long) - 1 + len(points)
    points = np.concatenate([points, _bent(points, normals, unique[long], flat)])
    split, new = long[inverse].reshape(-1, 3), middle[inverse].reshape(-1, 3)
    several = split.sum(axis=1)
    # turned so that the one long side, or the one short side, comes first
    first = np.where(several == 1, np.argmax(split, axis=1), np.argmin(split, axis=1))
    rows, turned = np.arange(len(triangles))[:, None], (first[:, None] + np.arange(3)) % 3
    (i, j, k), (ij, jk, ki) = triangles[rows, turned].T, new[rows, turned].T
    one, two, three = several == 1, several == 2, several == 3
    parts = [triangles[several == 0]]
    parts += [np.stack([a[one], b[one], c[one]], axis=1) for a, b, c in ((i, ij, k), (ij, j, k))]
    parts += [np.stack([a[two], b[two], c[two]], axis=1) for a, b, c in ((ki, jk, k),)]
    # the four-sided rest i, j, jk, ki is cut along its shorter diagonal
    cross = np.linalg.norm(points[i] - points[jk], axis=1) <= np.linalg.norm(points[j] - points[ki], axis=1)
    for keep, cuts in ((two & cross, ((i, j, jk), (i, jk, ki))), (two & ~cross, ((i, j, ki), (j, jk, ki)))):
        parts += [np.stack([a[keep], b[keep], c[keep]], axis=1) for a, b, c in cuts]
    quarters = ((i, ij, ki), (j, jk, ij), (k, ki, jk), (ij, jk, ki))
    parts += [np.stack([a[three], b[three], c[three]], axis=1) for a, b, c in quarters]
    return points, np.concatenate(parts)


def _even(points: Floats, triangles: Indices) -> tuple[Floats, Indices, tuple[Floats, Floats] | None]:
    """Refine until no edge is long, so that a fit weighs surface, not a mesh's habits; and the cut face."""
    cap = flat_cap(points, triangles, 0.2 * LEAST_CAP_MM2)
    for _ in range(6):
        flat = np.zeros(len(points), dtype=bool)
        if cap is not None:
            flat = np.abs((points - cap[1][0]) @ cap[0]) < 0.6
        before = len(points)
        points, triangles = _refine(points, triangles, vertex_normals(points, triangles)[1], flat, LONGEST_MM)
        if len(points) == before or len(points) > MOST_REFINED:
            break
    return points, triangles, flat_cap(points, triangles)


def _in_order(points: Floats, triangles: Indices) -> tuple[Floats, Indices]:
    """Number the vertices by their distance from the surface's centre, the triangles by their vertices.

    What draws points by their number then gives the same result for any file's order, pose and side.
    """
    third = np.linalg.norm(_crosses(points, triangles), axis=1)
    center = np.average(points[triangles].mean(axis=1), axis=0, weights=third)
    order = np.argsort(np.linalg.norm(points - center, axis=1), kind="stable")
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    triangles = place[triangles]
    rows, first = np.arange(len(triangles))[:, None], np.argmin(triangles, axis=1)[:, None]
    triangles = triangles[rows, (first + np.arange(3)) % 3]
    return points[order], triangles[np.lexsort(triangles.T[::-1])]


def prepare(surface: Surface, name: str) -> Bone:
    """Return the surface as a bone: welded, its largest piece, outward, with smooth normals.

    Loose pieces (a fibula in the tibia's file, crumbs of a segmentation) are left out with a notice. An
    empty surface raises EmptyStructureError, one of fewer than 40 vertices LandmarkError.
    """
    if not len(surface.triangles):
        raise EmptyStructureError(f"{name} has no triangles: give its surface, or leave it out")
    points, triangles = _weld(surface.vertices_mm, surface.triangles.astype(np.int64))
    of_triangle, areas = _pieces(points, triangles)
    loose = int(np.count_nonzero(areas)) - 1
    triangles = triangles[of_triangle == np.argmax(areas)]
    used, triangles = np.unique(triangles, return_inverse=True)
    points, triangles = points[used], triangles.reshape(-1, 3)
    if len(points) < 40:
        raise LandmarkError(f"{name} has {len(points)} vertices in one piece; its shape needs at least 40")
    triangles = _outward(points, _wound_alike(triangles))
    given_edge_mm = _median_edge(points, triangles)
    points, triangles, cap = _even(*_in_order(points, triangles))
    points, triangles = _in_order(points, triangles)
    weights, normals = vertex_normals(points, triangles)
    edge_mm = _median_edge(points, triangles)
    unique, _, count = _edges(triangles)
    border = points[unique[count == 1]].mean(axis=1)
    notices = []
    if loose:
        notices.append(Notice("loose_pieces", f"{loose} loose piece(s) of {name} were left out", name))
    if len(border):
        notices.append(Notice("open_surface", f"the surface of {name} is open ({len(border)} edges)", name))
    return Bone(
        name=name, points=points, triangles=triangles, weights=weights, edge_mm=given_edge_mm,
        border=border, cap=cap,
        normals=_smooth(points, triangles, normals, edge_mm, 2.0), notices=tuple(notices),
    )  # fmt: skip


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


def flat_cap(
    points: Floats, triangles: Indices, least_mm2: float = LEAST_CAP_MM2
) -> tuple[Floats, Floats] | None:
    """The largest flat face, as a field of view's edge leaves it: outward normal, its points (k, 3)."""
    corners = points[triangles]
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    area = 0.5 * np.linalg.norm(cross, axis=1)
    keep = np.flatnonzero(area > 1e-9)
    area, middle = area[keep], corners[keep].mean(axis=1)
    normal = cross[keep] / (2.0 * area[:, None])
    height = (middle * normal).sum(axis=1)
    # bins of like normal and height hold a flat face together; a curved one spreads over many
    cells = np.round(normal * 12.0).astype(np.int64) + 12
    level = np.round((height - height.min()) / 1.5).astype(np.int64)
    _, bins = np.unique(
        ((level * 25 + cells[:, 0]) * 25 + cells[:, 1]) * 25 + cells[:, 2], return_inverse=True
    )
    total = np.bincount(bins, weights=area)
    best, found = least_mm2, None
    for i in np.argsort(-total)[:6]:
        mates = bins == i
        n = unit(np.average(normal[mates], axis=0, weights=area[mates]))
        h = float(np.average(middle[mates] @ n, weights=area[mates]))
        same = (normal @ n > 0.99) & (np.abs(middle @ n - h) < 0.6)
        flat = float(area[same].sum())
        # a cut leaves nothing beyond its plane
        if flat > best and float((points @ n).max()) < h + 2.0:
            best, found = flat, (n, middle[same])
    return found


def face_areas(bone: Bone) -> tuple[Floats, Floats]:
    """Middle (m, 3) and vector area (m, 3) mm², outward, of every triangle."""
    return bone.points[bone.triangles].mean(axis=1), 0.5 * _crosses(bone.points, bone.triangles)


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
    third = np.linalg.norm(_crosses(bone.points, triangles), axis=1) / 6.0
    middles = [0.5 * (corners[:, i] + corners[:, (i + 1) % 3]) for i in range(3)]
    return np.concatenate(middles), np.tile(third, 3)


def flat_end(bone: Bone, axis: Floats, height: float, least_mm2: float) -> Floats:
    """Points (k, 3) of a flat face that ends the bone below this height (absolute) along a unit axis.

    The last slice of a label map is flat as well: where the next one is much larger the end is a whole one's,
    of which a slice is missing at most.
    """
    low = (bone.points @ axis < height)[bone.triangles].all(axis=1)
    cap = flat_cap(bone.points, bone.triangles[low], least_mm2) if low.any() else None
    # a steeper face is a side of the bone, as thick slices leave it
    if cap is None or cap[0] @ axis > -MOST_LEVEL:
        return np.zeros((0, 3))
    middle, slice_mm = cap[1].mean(axis=0), _slice_mm(bone, cap[0])
    if slice_mm > 0.0:
        # the surface stands half a slice outside the middle of the last one
        ends = [middle - share * slice_mm * cap[0] for share in (0.5, 1.5)]
        last, inner = (main_loop(section(bone, end, cap[0]), middle) for end in ends)
        if last is not None and inner is not None and inner.area_mm2 > LARGER * last.area_mm2:
            return np.zeros((0, 3))
    return cap[1]


def _slice_mm(bone: Bone, normal: Floats) -> float:
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
    unique, _, count = _edges(bone.triangles)
    sides = unique[count == 1]
    if len(sides):
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
                found.append(ring.mean(axis=1))
    return np.concatenate(found) if found else np.zeros((0, 3))


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
    bone: Bone, axis: Floats, low: float, high: float, near: Floats | None = None, count: int = CUTS
) -> tuple[Floats, Floats, float]:
    """Axis of the shaft between two heights along `axis` (absolute), through the sections' centroids.

    Returns a point, the unit direction (along `axis`) and the residual in mm.
    """
    heights = np.linspace(low, high, count)
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
