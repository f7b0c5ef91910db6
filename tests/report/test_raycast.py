from __future__ import annotations

import numpy as np
import pytest

from injectplan.kernels.shade import ROOM
from injectplan.report.raycast import Camera, Solid, box, render, tube
from oracles_raycast import slow_picture

FRONT = Camera(
    center_mm=np.zeros(3), direction=np.array([0.0, 1, 0]), up=np.array([0.0, 0, 1]), height_mm=100.0
)


def test_a_tube_and_a_box_are_closed_and_of_the_right_volume() -> None:
    cylinder = tube([0, 0, 0], [0, 0, 40], 5.0, sides=200)
    assert cylinder.closed
    np.testing.assert_allclose(cylinder.volume_ml, np.pi * 25 * 40 / 1000, rtol=1e-3)
    cube = box([-1, -2, -3], [1, 2, 3], np.eye(4))
    assert cube.closed
    np.testing.assert_allclose(cube.volume_ml, 0.048)


def test_a_box_covers_the_pixels_that_it_must() -> None:
    cube = Solid(surface=box([-10, -5, -20], [10, 5, 20], np.eye(4)), colour=(1, 0, 0))
    picture = render([cube], FRONT, width=100, height=100, samples=1)
    drawn = (picture != 255).any(axis=2)
    assert drawn.sum() == 20 * 40
    assert drawn[30:70, 40:60].all()


def test_the_projection_agrees_with_the_picture() -> None:
    dot = Solid(surface=box([29, -1, 9], [31, 1, 11], np.eye(4)), colour=(0, 0, 1))
    picture = render([dot], FRONT, width=100, height=100, samples=1)
    rows, columns = np.nonzero((picture != 255).any(axis=2))
    found = np.array([columns.mean() + 0.5, rows.mean() + 0.5])
    np.testing.assert_allclose(FRONT.project([30, 0, 10], 100, 100), found, atol=0.51)


def test_the_nearer_solid_hides_the_farther_and_a_clear_one_does_not() -> None:
    far = Solid(surface=box([-20, 10, -20], [20, 12, 20], np.eye(4)), colour=(1, 0, 0))
    near = box([-20, -12, -20], [20, -10, 20], np.eye(4))
    hidden = render([far, Solid(surface=near, colour=(0, 1, 0))], FRONT, width=50, height=50)
    assert hidden[25, 25, 1] > hidden[25, 25, 0]
    clear = render([far, Solid(surface=near, colour=(0, 1, 0), opacity=0.3)], FRONT, width=50, height=50)
    assert clear[25, 25, 0] > clear[25, 25, 1] > hidden[25, 25, 0]


def test_nothing_to_draw_is_the_background() -> None:
    assert (render([], FRONT, width=8, height=8) == 255).all()


TURNED = Camera(
    center_mm=np.array([1.0, 2, -3]),
    direction=np.array([0.4, 0.8, -0.3]),
    up=np.array([0.1, 0, 1]),
    height_mm=70.0,
)


def _scene(opacities: tuple[float, ...]) -> list[Solid]:
    """Tubes through each other, one with colours of its own over its vertices."""
    ends = ([-20, -5, -9], [18, 4, 12], [-12, 9, 14], [15, -12, -15], [0, 1, -20], [2, -3, 22])
    made = []
    for k, opacity in enumerate(opacities):
        surface = tube(ends[2 * k], ends[2 * k + 1], 6.0 - k, sides=9)
        own = (
            np.linspace(0, 1, 3 * len(surface.vertices_mm)).reshape(-1, 3)
            if k == 1 and opacity == 1
            else None
        )
        made.append(Solid(surface=surface, colour=(0.9, 0.3 * k, 0.2), opacity=opacity, vertex_colours=own))
    return made


@pytest.mark.parametrize("opacities", [(1.0, 1.0, 1.0), (1.0, 0.3, 0.5), (0.2, 0.4, 0.6), (0.3, 1.0, 0.5)])
def test_a_picture_is_that_of_its_slow_twin(opacities: tuple[float, ...]) -> None:
    solids = _scene(opacities)
    fast = render(solids, TURNED, width=40, height=40, samples=1).astype(int)
    slow = slow_picture(solids, TURNED, 40).astype(int)
    off = np.abs(fast - slow).max(axis=2)
    assert (slow != 255).any(axis=2).mean() > 0.1  # something is seen
    assert (off <= 1).mean() > 0.998  # but for rays through an edge, which either side may own


def test_more_layers_than_there_is_room_for_are_drawn_all_the_same() -> None:
    sheets = [
        Solid(surface=box([-20, k, -20], [20, k + 0.5, 20], np.eye(4)), colour=(0, 0, 1), opacity=0.02)
        for k in range(ROOM)
    ]
    seen = render(sheets, FRONT, width=9, height=9)[4, 4] / 255.0
    one = render(sheets[:1], FRONT, width=9, height=9, samples=1)[4, 4] / 255.0
    left = (1 - 0.02) ** ROOM  # of the white behind
    lone = (one - 0.98) / 0.02
    np.testing.assert_allclose(seen, left + (1 - left) * lone, atol=0.12)
    assert seen[0] < 0.75


def test_edges_are_smooth_and_inner_pixels_those_of_one_ray() -> None:
    solids = _scene((1.0, 1.0, 1.0))
    one = render(solids, TURNED, width=80, height=80, samples=1).astype(int)
    several = render(solids, TURNED, width=80, height=80, samples=4).astype(int)
    fine = render(solids, TURNED, width=320, height=320, samples=1).reshape(80, 4, 80, 4, 3).mean(axis=(1, 3))
    assert np.abs(several - fine).mean() < 0.25 * np.abs(one - fine).mean()
