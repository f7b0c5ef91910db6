"""Slits and pinholes are closed; what a plane cuts off is not."""

import numpy as np
import pytest

from injectplan.alignment.bones import prepare
from injectplan.alignment.holes import close_slits
from injectplan.alignment.meshes import weld
from injectplan.imaging.values import Surface
from oracles_alignment import mesh
from real_legs import cut


@pytest.fixture(scope="module")
def ball():
    return Surface(*mesh(lambda p: np.linalg.norm(p, axis=-1) - 22.0, (-26,) * 3, (26,) * 3, 2.0))


def without(surface, some):
    return Surface(surface.vertices_mm, np.delete(surface.triangles, some, axis=0))


def volume(surface):
    a, b, c = np.moveaxis(surface.vertices_mm[surface.triangles], 1, 0)
    return float(np.einsum("ij,ij->", a, np.cross(b, c)) / 6.0)


def test_a_closed_surface_stays_as_it_is(ball):
    assert close_slits(ball) == (ball, 0)


def test_missing_triangles_are_closed_outward(ball):
    points, triangles = weld(ball.vertices_mm, ball.triangles.astype(np.int64))
    whole = Surface(points, triangles)
    holed = without(whole, [100, 900, 1700])
    closed, n = close_slits(holed)
    assert n == 3
    assert not len(prepare(closed, "ball").border)
    assert volume(closed) == pytest.approx(volume(whole), rel=1e-4)


def test_a_slit_where_a_corner_lies_on_an_edge_is_closed(ball):
    points, triangles = weld(ball.vertices_mm, ball.triangles.astype(np.int64))
    a, b, c = triangles[500]
    middle = 0.5 * (points[a] + points[b]) * 0.998  # a corner beside the edge of the triangle's neighbour
    parted = np.concatenate([np.delete(triangles, 500, axis=0), [[a, len(points), c], [len(points), b, c]]])
    slit = Surface(np.concatenate([points, [middle]]), parted)
    assert len(prepare(slit, "ball").border) == 3
    closed, n = close_slits(slit)
    assert n == 1
    assert not len(prepare(closed, "ball").border)
    assert volume(closed) == pytest.approx(volume(Surface(points, triangles)), rel=1e-4)


@pytest.mark.parametrize("depth_mm", [0.3, 1.0, 5.0])
def test_a_tip_that_a_plane_cut_off_stays_open(ball, depth_mm):
    points, triangles = weld(ball.vertices_mm, ball.triangles.astype(np.int64))
    open_ball = cut(Surface(points, triangles), [0.0, 0.0, -22.0 + depth_mm], [0.0, 0.0, 1.0])
    closed, n = close_slits(open_ball)
    assert n == 0
    assert closed is open_ball
