"""Signed distance fields against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh

from injectplan.kernels._jit import set_threads
from injectplan.kernels.bvh import build_bvh, signed_distances
from injectplan.kernels.field import (
    Field,
    distance_field,
    gradient,
    grid_points,
    sample,
    sample_at,
    sample_many,
    segment_minimum,
    sphere_trace,
)
from oracles_kernels import box_distance

HALF = np.array([6.0, 4.0, 3.0])


@pytest.fixture(scope="module")
def box():
    mesh = trimesh.creation.box(2 * HALF)
    return build_bvh(mesh.vertices, mesh.faces)


@pytest.fixture(scope="module")
def ball_field():
    """The field of a ball of radius 8, from its formula, so that tracing is tested by itself."""
    field = Field(np.full(3, -12.0), 0.5, np.zeros((49, 49, 49), np.float32))
    values = (np.linalg.norm(grid_points(field), axis=-1) - 8.0).astype(np.float32)
    values.setflags(write=False)
    return field._replace(values=values)


@pytest.mark.parametrize("origin", [[-10.0, -10.0, -10.0], [-9.87, -10.31, -9.73]])
def test_the_field_of_a_box_is_the_closed_form(box, origin):
    """The first grid's rows run within the box's faces and along its edges."""
    field = distance_field(box, origin, 0.5, (41, 40, 39))
    want = box_distance(grid_points(field), HALF)
    np.testing.assert_allclose(field.values, want, atol=1e-6)
    assert field.values.dtype == np.float32
    assert not field.values.flags.writeable


def test_beyond_the_band_the_value_is_the_band(box):
    exact = distance_field(box, [-10, -10, -10], 0.7, (29, 28, 27))
    banded = distance_field(box, [-10, -10, -10], 0.7, (29, 28, 27), 1.5)
    np.testing.assert_allclose(banded.values, np.clip(exact.values, -1.5, 1.5), atol=1e-6)


def test_a_grid_within_the_surface_or_far_from_it_has_the_right_sign(box):
    inner = distance_field(box, [-1, -1, -1], 0.5, (5, 5, 5))
    np.testing.assert_allclose(inner.values, box_distance(grid_points(inner), HALF), atol=1e-6)
    outer = distance_field(box, [30, -60, 5], 0.5, (5, 4, 3), 2.0)
    assert np.all(outer.values == 2.0)
    nothing = distance_field(
        build_bvh(np.zeros((0, 3)), np.zeros((0, 3), int)), [0, 0, 0], 1.0, (2, 2, 2), 4.0
    )
    assert np.all(nothing.values == 4.0)


def test_one_missing_triangle_leaves_the_sign():
    ball = trimesh.creation.icosphere(3, radius=8.0)
    whole = distance_field(build_bvh(ball.vertices, ball.faces), [-10, -10, -10], 0.5, (41, 41, 41))
    holed = distance_field(build_bvh(ball.vertices, ball.faces[1:]), [-10, -10, -10], 0.5, (41, 41, 41))
    wrong = np.signbit(whole.values) != np.signbit(holed.values)
    assert np.count_nonzero(wrong) == 0


def test_the_field_agrees_with_the_tree_at_grid_points():
    ring = trimesh.creation.torus(6.0, 2.0)
    tree = build_bvh(ring.vertices, ring.faces)
    field = distance_field(tree, [-9.1, -9.2, -3.3], 0.4, (46, 46, 17))
    where = grid_points(field).reshape(-1, 3)
    np.testing.assert_allclose(field.values.ravel(), signed_distances(tree, where), atol=1e-6)


def test_one_thread_or_two_the_same_bytes(box):
    values = []
    for count in (1, 2):
        set_threads(count)
        values.append(distance_field(box, [-7, -7, -7], 0.6, (20, 21, 22), 2.0).values.tobytes())
    set_threads(None)
    assert values[0] == values[1]


@pytest.mark.parametrize(
    ("spacing", "shape", "band"), [(0.0, (4, 4, 4), 1.0), (1.0, (4, 1, 4), 1.0), (1.0, (4, 4, 4), 0.0)]
)
def test_a_field_without_extent_is_refused(box, spacing, shape, band):
    with pytest.raises(ValueError, match="a field needs"):
        distance_field(box, [0, 0, 0], spacing, shape, band)


def test_sampling_is_trilinear_and_clamps_outside():
    """A trilinear polynomial comes back exactly; beyond the grid, the value of the nearest face."""
    field = Field(np.array([-1.0, 2.0, 0.5]), 0.25, np.zeros((6, 7, 8), np.float32))

    def polynomial(p):
        x, y, z = np.moveaxis(p, -1, 0)
        return 1.0 + 2.0 * x - y + 0.5 * z + x * y - 2.0 * y * z + x * y * z

    field = field._replace(values=polynomial(grid_points(field)).astype(np.float32))
    high = field.origin_mm + 0.25 * (np.array(field.values.shape) - 1)
    where = np.random.default_rng(1).uniform(field.origin_mm - 1.0, high + 1.0, (3000, 3))
    where[:2] = field.origin_mm, high
    want = polynomial(np.clip(where, field.origin_mm, high))
    np.testing.assert_allclose(sample_many(field, where), want, atol=3e-6)
    np.testing.assert_array_equal(sample_many(field, where), sample_at(field, where))


def test_the_gradient_of_a_ball_points_outward(ball_field):
    for p in ([5.0, 1.0, 2.0], [-3.0, 4.0, -6.0], [0.3, 7.0, -2.0]):
        np.testing.assert_allclose(gradient(ball_field, *p), np.array(p) / np.linalg.norm(p), atol=0.01)


def test_tracing_finds_the_ball_where_the_formula_has_it(ball_field):
    rng = np.random.default_rng(2)
    met = 0
    for _ in range(300):
        origin, level = rng.uniform(-11.5, 11.5, 3), rng.uniform(-2.0, 2.0)
        way = rng.normal(size=3)
        way /= np.linalg.norm(way)
        t = sphere_trace(ball_field, *origin, *way, np.inf, level)
        b, c = origin @ way, origin @ origin - (8.0 + level) ** 2
        if c <= 0.0:
            assert t == 0.0
        elif abs(b * b - c) < 0.5:
            continue  # grazing: half a grid spacing decides
        elif b * b > c and b < 0.0:
            assert t == pytest.approx(-b - np.sqrt(b * b - c), abs=0.05)
            assert sample(ball_field, *(origin + t * way)) == pytest.approx(level, abs=1e-5)
            met += 1
        else:
            assert np.isnan(t)
    assert met > 30


def test_tracing_knows_the_grid_s_ends_and_the_limit(ball_field):
    trace = sphere_trace
    assert trace(ball_field, -100.0, 0.0, 0.0, 1.0, 0.0, 0.0, np.inf, 0.0) == pytest.approx(92.0, abs=1e-5)
    assert np.isnan(trace(ball_field, -100.0, 0.0, 0.0, 1.0, 0.0, 0.0, 91.9, 0.0))
    assert np.isnan(trace(ball_field, -100.0, 12.5, 0.0, 1.0, 0.0, 0.0, np.inf, 0.0))
    assert np.isnan(trace(ball_field, -100.0, 0.0, 0.0, -1.0, 0.0, 0.0, np.inf, 0.0))


def test_the_least_value_along_a_segment_is_that_of_fine_steps(ball_field):
    rng = np.random.default_rng(3)
    for _ in range(100):
        a, b = rng.uniform(-11.5, 11.5, (2, 3))
        value, f = segment_minimum(ball_field, *a, *b)
        fine = sample_many(ball_field, a + np.linspace(0, 1, 4000)[:, None] * (b - a)).min()
        assert value == pytest.approx(fine, abs=2e-3)
        assert sample(ball_field, *(a + f * (b - a))) == pytest.approx(value, abs=1e-6)
    assert segment_minimum(ball_field, 9.0, 0.0, 0.0, 9.0, 0.0, 0.0) == (pytest.approx(1.0, abs=1e-6), 0.0)
