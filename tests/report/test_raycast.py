from __future__ import annotations

import numpy as np

from injectplan.report.raycast import Camera, Solid, box, render, tube

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
