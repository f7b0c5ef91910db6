"""The planner's kernels against closed forms and slow twins."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from injectplan.imaging.values import Surface
from injectplan.kernels.search import pareto_front, scatter_tips
from injectplan.kernels.segment import segment_distances
from oracles_planning import capsule, front_by_pairs, segment_mesh_distance, sphere

BALL = sphere((0, 0, 0), 5.0, 5)
ROD = capsule((0, 0, -20), (0, 0, 20), 4.0)


def distance_point_segment(point, a, b):
    t = np.clip(np.dot(point - a, b - a) / np.dot(b - a, b - a), 0, 1)
    return np.linalg.norm(point - (a + t * (b - a)))


def test_segment_to_sphere():
    rng = np.random.default_rng(1)
    a, b = rng.uniform(-20, 20, (300, 3)), rng.uniform(-20, 20, (300, 3))
    exact = np.array(
        [max(0.0, distance_point_segment(np.zeros(3), p, q) - 5.0) for p, q in zip(a, b, strict=True)]
    )
    inside = np.array([max(np.linalg.norm(p), np.linalg.norm(q)) < 5.0 for p, q in zip(a, b, strict=True)])
    found = segment_distances(BALL.bvh, a, b)
    assert np.abs(found - exact)[~inside].max() < 0.01  # the mesh lies up to 0.01 mm within its sphere
    assert (found[(exact == 0) & ~inside] == 0).mean() > 0.98


def test_segment_to_capsule():
    rng = np.random.default_rng(2)
    s = np.linspace(-20, 20, 4001)[:, None] * np.array([0, 0, 1.0])
    for _ in range(60):
        a, b = rng.uniform(-30, 30, (2, 3))
        axis = min(distance_point_segment(p, a, b) for p in s[::20])
        exact = max(0.0, axis - 4.0)
        assert segment_distances(ROD.bvh, a, b)[0] == pytest.approx(exact, abs=0.06)


def test_segment_to_triangles_by_dense_sampling():
    rng = np.random.default_rng(3)
    soup = Surface(rng.uniform(-10, 10, (60, 3)), np.arange(60, dtype=np.int32).reshape(20, 3))
    for _ in range(25):
        a, b = rng.uniform(-15, 15, (2, 3))
        sampled = segment_mesh_distance(a, b, soup, steps=801)
        found = segment_distances(soup.bvh, a, b)[0]
        assert found <= sampled + 1e-9
        assert found >= sampled - np.linalg.norm(b - a) / 1600 - 1e-9


def test_piercing_grazing_and_limit():
    flat = Surface(np.array([[0, 0, 0], [10, 0, 0], [0, 10, 0.0]]), np.array([[0, 1, 2]], np.int32))
    assert segment_distances(flat.bvh, [2, 2, -1], [2, 2, 1])[0] == 0.0
    assert segment_distances(flat.bvh, [2, 2, 3], [4, 2, 1.5])[0] == pytest.approx(1.5)
    assert segment_distances(flat.bvh, [1, 1, 2.0], [4, 1, 2.0])[0] == pytest.approx(2.0)  # parallel
    assert segment_distances(flat.bvh, [-3, -4, 0], [-3, -4, 9])[0] == pytest.approx(5.0)
    assert segment_distances(flat.bvh, [2, 2, 3], [2, 2, 3])[0] == pytest.approx(3.0)  # a point
    assert np.isinf(segment_distances(flat.bvh, [2, 2, 3], [4, 2, 1.5], limit_mm=1.4)[0])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 60), st.integers(1, 5), st.booleans())
def test_front_is_the_brute_force_front(seed, n, m, coarse):
    rng = np.random.default_rng(seed)
    costs = rng.integers(0, 4, (n, m)).astype(float) if coarse else rng.normal(size=(n, m))
    assert np.array_equal(pareto_front(costs.reshape(n, m)), front_by_pairs(costs.reshape(n, m)))


def test_front_where_rounding_hides_a_sum():
    costs = np.array([[1e16, 1.0], [1e16, 0.5], [0.0, 1e16], [0.1, 1e16]])
    assert np.array_equal(pareto_front(costs), front_by_pairs(costs))


def test_scatter_is_isotropic_normal_and_belongs_to_its_index():
    tips = scatter_tips(3, 0, [1.0, 2.0, 3.0], 2.0, 60_000)
    assert np.allclose(tips.mean(axis=0), [1, 2, 3], atol=0.03)
    assert np.allclose(np.cov(tips.T), 4.0 * np.eye(3), atol=0.08)
    assert np.array_equal(scatter_tips(3, 500, [1.0, 2.0, 3.0], 2.0, 10), tips[500:510])
    assert not np.array_equal(scatter_tips(4, 0, [1.0, 2.0, 3.0], 2.0, 10), tips[:10])
