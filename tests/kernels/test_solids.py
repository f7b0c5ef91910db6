"""Closed surfaces on grids: against the triangle tree, closed forms and a slow flood."""

from __future__ import annotations

import heapq

import numpy as np
import pytest

from injectplan.kernels._jit import set_threads
from injectplan.kernels.bvh import build_bvh, contains, nearest_points
from injectplan.kernels.solids import inside_grid, paint_inside, reachable, signed_grid

BOX = np.array([[x, y, z] for x in (0.0, 1.0) for y in (0.0, 1.0) for z in (0.0, 1.0)])
FACES = np.array(
    [[0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1], [2, 3, 7], [2, 7, 6], [0, 2, 6],
     [0, 6, 4], [1, 5, 7], [1, 7, 3]]
)  # fmt: skip


def _blob(rings: int = 24, sectors: int = 40):
    """A closed, dented ball in grid units."""
    u = np.linspace(0, np.pi, rings)[1:-1, None]
    v = np.linspace(0, 2 * np.pi, sectors, endpoint=False)[None, :]
    r = 9.0 + 1.7 * np.sin(3 * u) * np.cos(2 * v)
    body = np.stack([r * np.sin(u) * np.cos(v), r * np.sin(u) * np.sin(v), r * np.cos(u) + 0 * v], -1)
    points = np.vstack([body.reshape(-1, 3), [0, 0, 9.0], [0, 0, -9.0]])
    points += np.array([13.2, 12.9, 13.4])
    n, triangles = rings - 2, []
    for a in range(n - 1):
        for b in range(sectors):
            p, q = a * sectors + b, a * sectors + (b + 1) % sectors
            triangles += [[p, p + sectors, q], [q, p + sectors, q + sectors]]
    for b in range(sectors):
        c = (b + 1) % sectors
        triangles += [[n * sectors, b, c], [n * sectors + 1, (n - 1) * sectors + c, (n - 1) * sectors + b]]
    return points, np.array(triangles, np.int32)


@pytest.fixture(scope="module")
def blob():
    points, triangles = _blob()
    grid = np.stack(np.meshgrid(*[np.arange(27.0)] * 3, indexing="ij"), -1).reshape(-1, 3)
    return points, triangles, grid, build_bvh(points, triangles)


def test_distance_and_sign_agree_with_the_tree(blob):
    points, triangles, grid, tree = blob
    found = signed_grid(points, triangles, (27, 27, 27), 12.0).ravel()
    exact = nearest_points(tree, grid)[0]
    inside = contains(tree, grid)
    assert ((found < 0) == inside).all()
    near = exact <= 1.2
    assert np.abs(np.abs(found[near]) - exact[near]).max() < 1e-5
    far = exact < 11.9
    miss = np.abs(found[far]) - exact[far]
    assert miss.min() > -1e-4  # it is some triangle's distance, so never less than the nearest one's
    band = exact[far] < 3.0
    assert miss[band].max() < 0.1
    assert miss[band].mean() < 0.001
    assert miss.mean() < 0.01


def test_reach_clamps_both_signs(blob):
    points, triangles, _, _ = blob
    found = signed_grid(points, triangles, (27, 27, 27), 2.5)
    assert found.min() == -2.5
    assert found.max() == 2.5


def test_vertices_and_edges_on_the_grid_are_counted_once():
    # a cube whose corners, edges and diagonals all lie on grid lines
    inside = inside_grid(2.0 + 4.0 * BOX, FACES, (9, 9, 9))
    assert inside.sum() == 64
    assert np.array_equal(np.unique(np.argwhere(inside)[:, 0]), np.unique(np.argwhere(inside)[:, 1]))


def test_painting_stays_within_the_grid():
    labels = np.zeros((6, 6, 6), np.uint16)
    paint_inside(BOX * 100.0 - 50.3, FACES, labels, 7)
    assert (labels == 7).all()
    paint_inside(BOX * 2.0 + 50.0, FACES, labels, 9)
    assert (labels == 7).all()
    paint_inside(BOX * 2.0 + 0.5, FACES, labels, 3)
    assert (labels == 3).sum() == 8


def test_any_number_of_threads_gives_the_same_bytes(blob):
    points, triangles, _, _ = blob
    try:
        results = []
        for count in (1, 2):
            set_threads(count)
            results.append(signed_grid(points, triangles, (27, 27, 27), 9.0).tobytes())
    finally:
        set_threads(None)
    assert results[0] == results[1]


def _reachable(values, limit, rise):
    """Slow twin: Dijkstra's way with the highest value on it as its length."""
    result = np.where(values <= 0, values, np.inf)
    queue = [
        (max(v, 0.0), tuple(p)) for p, v in zip(np.argwhere(values <= 0), values[values <= 0], strict=True)
    ]
    heapq.heapify(queue)
    while queue:
        level, p = heapq.heappop(queue)
        for axis in range(3):
            for step in (-1, 1):
                q = tuple(c + (step if a == axis else 0) for a, c in enumerate(p))
                if min(q) < 0 or any(c >= n for c, n in zip(q, values.shape, strict=True)):
                    continue
                if values[q] <= limit and result[q] == np.inf:
                    result[q] = values[q] if values[q] >= level else level + rise
                    heapq.heappush(queue, (result[q], q))
    return result


@pytest.mark.parametrize("rise", [0.0, 0.01])
def test_reachable_levels_match_the_slow_twin(rise):
    values = np.random.default_rng(3).uniform(0.2, 5.0, (9, 10, 11)).astype(np.float32)
    values[4, 5, 5] = -1.0
    values[:, 7, :] = np.inf
    values[2, 7, 3] = 3.0
    found, wanted = reachable(values, 4.0, rise=rise), _reachable(values, 4.0, rise)
    assert np.array_equal(np.isfinite(found), np.isfinite(wanted))
    known = np.isfinite(wanted)
    assert np.abs(found[known] - wanted[known]).max() <= 0.05 + 1e-6
    assert (found[known] >= values[known]).all()
