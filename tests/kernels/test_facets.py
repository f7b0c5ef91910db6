"""Sums over triangles against numpy's own, one line each, and against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest

from injectplan.imaging.values import Surface
from injectplan.kernels.facets import crosses, enclosed, gathered
from oracles_planning import sphere


@pytest.fixture(scope="module")
def ball():
    made = sphere([30.0, -200.0, 1200.0], 7.0)
    return made.vertices_mm, made.triangles


def test_vector_areas(ball):
    vertices, triangles = ball
    a, b, c = (vertices[triangles[:, k]] for k in range(3))
    assert np.array_equal(crosses(vertices, triangles), np.cross(b - a, c - a))


@pytest.mark.parametrize("width", [1, 3])
def test_what_gathers_at_a_vertex(ball, width):
    vertices, triangles = ball
    values = np.random.default_rng(3).normal(size=(len(triangles), width))
    expected = np.zeros((len(vertices), width))
    for corner in range(3):
        np.add.at(expected, triangles[:, corner], values)
    assert np.array_equal(gathered(triangles, values, len(vertices)), expected)


def test_a_vertex_without_triangles_gathers_nothing(ball):
    vertices, triangles = ball
    assert not gathered(triangles, np.ones((len(triangles), 1)), len(vertices) + 2)[-2:].any()


def test_the_volume_of_a_ball_far_from_the_origin(ball):
    """An inscribed polyhedron's volume, by its tetrahedra to the ball's own middle."""
    vertices, triangles = ball
    a, b, c = (vertices[triangles[:, k]] - [30.0, -200.0, 1200.0] for k in range(3))
    expected = float(np.abs(np.einsum("ij,ij->i", a, np.cross(b, c))).sum() / 6.0)
    found = enclosed(vertices, triangles, crosses(vertices, triangles))
    assert found == pytest.approx(expected, rel=1e-12)
    assert 0.98 < found / (4.0 / 3.0 * math.pi * 7.0**3) < 1.0
    inside_out = triangles[:, ::-1].copy()
    assert enclosed(vertices, inside_out, crosses(vertices, inside_out)) == pytest.approx(
        -expected, rel=1e-12
    )


def test_areas_and_normals_of_a_surface(ball):
    surface = Surface(*ball)
    outward = (surface.vertices_mm - [30.0, -200.0, 1200.0]) / 7.0
    assert np.einsum("ij,ij->i", surface.vertex_normals, outward).min() > 0.999
    assert surface.vertex_areas_mm2.sum() == pytest.approx(surface.area_mm2, rel=1e-12)
