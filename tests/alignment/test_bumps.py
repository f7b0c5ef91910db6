"""Bumps under a tangent are levelled to what lies around them, and nothing else is."""

import numpy as np
import pytest
import pyvista as pv

from injectplan.alignment.bones import prepare
from injectplan.alignment.bumps import levelled
from injectplan.imaging.values import Surface
from real_legs import voxelised

UP, ALONG = np.array([0.0, 0.0, 1.0]), np.array([1.0, 0.0, 0.0])
RADIUS_MM = 22.0  # of a condyle


def ball(height_mm=0.0, at_mm=0.0):
    """A ball with a bump (scatter 3 mm) on its top, `at_mm` aside along x; and the bump's summit."""
    mesh = pv.Sphere(radius=RADIUS_MM, theta_resolution=90, phi_resolution=90)
    points = np.asarray(mesh.points, float)
    top = np.array([at_mm, 0.0, np.sqrt(RADIUS_MM**2 - at_mm**2)])
    off = np.linalg.norm(points - top, axis=1)
    points = points * (1.0 + height_mm / RADIUS_MM * np.exp(-0.5 * (off / 3.0) ** 2))[:, None]
    surface = Surface(points, mesh.faces.reshape(-1, 4)[:, 1:])
    return surface, top * (1.0 + height_mm / RADIUS_MM)


@pytest.mark.parametrize("height_mm", [2.5, 4.0])
@pytest.mark.parametrize("at_mm", [0.0, 5.0])
def test_a_bump_goes_down_to_the_ball(height_mm, at_mm):
    surface, summit = ball(height_mm, at_mm)
    bone, top = levelled(prepare(surface, "femur"), (summit, summit), UP, ALONG)
    # a bump's own foot raises what is laid around it: some is left, and levelled in the next turn
    assert 0.6 * height_mm < top < 1.1 * height_mm
    near = (np.hypot(*(bone.points - summit)[:, :2].T) < 8.0) & (bone.points[:, 2] > 0.0)
    over = np.linalg.norm(bone.points[near], axis=1) - RADIUS_MM
    assert over.max() < 0.4 * height_mm


def test_a_ball_without_a_bump_stays_and_so_does_one_on_slices():
    surface, summit = ball()
    bone = prepare(surface, "femur")
    assert levelled(bone, (summit, summit), UP, ALONG) == (bone, 0.0)
    for spacing in ((1.0, 1.0, 3.0), (0.7, 0.7, 1.5)):
        for shift in (0.1, 0.4, 0.7):
            stepped = prepare(voxelised([surface], spacing, shift), "femur")
            top = stepped.points[int(np.argmax(stepped.points @ UP))]
            assert levelled(stepped, (top, top), UP, ALONG)[1] == 0.0, (spacing, shift)
