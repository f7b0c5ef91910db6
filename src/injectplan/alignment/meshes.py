"""A surface's triangles made ready: welded, wound alike, in one order, refined until a fit weighs surface."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from injectplan.frames import unit
from injectplan.imaging.values import Surface, mixed64
from injectplan.kernels.cast import Bools, Floats

LONGEST_MM = 3.5  # longer edges than this are halved along curved patches before anything is fitted
LEAST_CAP_MM2 = 150.0  # a flat face of a whole bone's cut (assumed)
# How far new vertices follow the curved surface. Phong's shape factor is 3/4, right for vertices that lie on
# it; a decimation by quadrics leaves them outside, where 0 is right: between, all angles stay within 0.5°.
BEND = 0.4
MOST_REFINED = 60_000  # vertices of one bone after which nothing is refined any more

Indices = npt.NDArray[np.int64]


def weld(points: Floats, triangles: Indices) -> tuple[Floats, Indices]:
    """Each point that is used once (n, 3), and the triangles on them; those of two like corners left out."""
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


def crosses(points: Floats, triangles: Indices) -> Floats:
    """Twice the vector area of every triangle, (m, 3)."""
    a, b, c = (points[triangles[:, i]] for i in range(3))
    return np.asarray(np.cross(b - a, c - a))


def sides_of(triangles: Indices) -> tuple[Indices, Indices, Indices]:
    """Every edge once (k, 2), the edge of each triangle's sides (3 m,), and how many sides each edge has."""
    sides = triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    n = int(triangles.max()) + 1
    key = np.minimum(sides[:, 0], sides[:, 1]) * n + np.maximum(sides[:, 0], sides[:, 1])
    unique, inverse, count = np.unique(key, return_inverse=True, return_counts=True)
    return np.stack([unique // n, unique % n], axis=1), inverse, count


def edges_of(triangles: Indices) -> Indices:
    """Return every edge once, (k, 2) vertex numbers."""
    return sides_of(triangles)[0]


def wound_alike(triangles: Indices) -> Indices:
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


def outward(points: Floats, triangles: Indices) -> Indices:
    """The triangles turned so that they enclose a positive volume."""
    cross = crosses(points, triangles)
    middle = points[triangles].mean(axis=1)
    volume = np.einsum("ij,ij->", middle - np.average(middle, axis=0), cross)
    return triangles if volume >= 0 else triangles[:, ::-1]


def pieces(points: Floats, triangles: Indices) -> tuple[Indices, Floats]:
    """The connected piece of every triangle and the pieces' areas, mm²."""
    graph = coo_array(
        (np.ones(2 * len(triangles), dtype=np.int8),
         (triangles[:, [0, 1]].ravel(), triangles[:, [1, 2]].ravel())),
        shape=(len(points), len(points)),
    )  # fmt: skip
    count, label = connected_components(graph, directed=False)
    area = 0.5 * np.linalg.norm(crosses(points, triangles), axis=1)
    of_triangle = np.asarray(label[triangles[:, 0]], dtype=np.int64)
    return of_triangle, np.asarray(np.bincount(of_triangle, area, count), dtype=np.float64)


def split(surface: Surface, share: float) -> list[Surface]:
    """The connected pieces of a surface that have at least this share of the largest one's area."""
    points, triangles = weld(surface.vertices_mm, surface.triangles.astype(np.int64))
    of_triangle, areas = pieces(points, triangles)
    large = np.flatnonzero(areas >= share * areas.max())
    if len(large) < 2:
        return [surface]
    return [Surface(points, triangles[of_triangle == i]) for i in large]


def smoothed(points: Floats, triangles: Indices, vectors: Floats, edge_mm: float, radius_mm: float) -> Floats:
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


def median_edge(points: Floats, triangles: Indices) -> float:
    """Median length of the triangles' sides, mm."""
    # an edge counts once for each of its triangles
    ends = points[triangles] - points[triangles[:, [1, 2, 0]]]
    return float(np.median(np.linalg.norm(ends, axis=2)))


def vertex_normals(points: Floats, triangles: Indices) -> tuple[Floats, Floats]:
    """Area around each vertex (n,) mm² and its unit normal (n, 3), averaged over its triangles by area."""
    cross = crosses(points, triangles)
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
    unique, inverse, _ = sides_of(triangles)
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


def evened(points: Floats, triangles: Indices) -> tuple[Floats, Indices]:
    """Refine until no edge is long, so that a fit weighs surface, not a mesh's habits."""
    cap = next(iter(flat_faces(points, triangles, 0.2 * LEAST_CAP_MM2)), None)
    for _ in range(6):
        flat = np.zeros(len(points), dtype=bool)
        if cap is not None:
            flat = np.abs((points - cap[1][0]) @ cap[0]) < 0.6
        before = len(points)
        points, triangles = _refine(points, triangles, vertex_normals(points, triangles)[1], flat, LONGEST_MM)
        if len(points) == before or len(points) > MOST_REFINED:
            break
    return points, triangles


def in_order(points: Floats, triangles: Indices) -> tuple[Floats, Indices]:
    """Number the vertices by their distance from the surface's centre, the triangles by their vertices.

    What draws points by their number then gives the same result for any file's order, pose and side.
    """
    third = np.linalg.norm(crosses(points, triangles), axis=1)
    center = np.average(points[triangles].mean(axis=1), axis=0, weights=third)
    order = np.argsort(np.linalg.norm(points - center, axis=1), kind="stable")
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    triangles = place[triangles]
    rows, first = np.arange(len(triangles))[:, None], np.argmin(triangles, axis=1)[:, None]
    triangles = triangles[rows, (first + np.arange(3)) % 3]
    return points[order], triangles[np.lexsort(triangles.T[::-1])]


def flat_faces(
    points: Floats, triangles: Indices, least_mm2: float = LEAST_CAP_MM2
) -> list[tuple[Floats, Floats]]:
    """Flat faces, as a field of view's edge leaves them, the largest first: outward normal, points (k, 3)."""
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
    found = []
    for i in np.argsort(-total)[:6]:
        mates = bins == i
        n = unit(np.average(normal[mates], axis=0, weights=area[mates]))
        h = float(np.average(middle[mates] @ n, weights=area[mates]))
        same = (normal @ n > 0.99) & (np.abs(middle @ n - h) < 0.6)
        flat = float(area[same].sum())
        # a cut leaves nothing beyond its plane
        if flat > least_mm2 and float((points @ n).max()) < h + 2.0:
            found.append((flat, n, middle[same]))
    return [(n, face) for _, n, face in sorted(found, key=lambda f: -f[0])]
