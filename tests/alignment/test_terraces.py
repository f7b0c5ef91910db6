"""Slices told by the even heights of level surface: closed forms of the periodogram, and label maps."""

import functools

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

import oracles_alignment as legs
from injectplan.alignment.bones import prepare
from injectplan.alignment.rescans import find_slices
from injectplan.alignment.terraces import IN_STEP, period_mm, slices_along
from injectplan.frames import angle_deg
from injectplan.imaging.values import Surface
from real_legs import mesh_of, surface_of, voxelised


@functools.cache
def femur():
    return legs.surface(legs.femur(15.0, 2.0), "right")


@pytest.mark.parametrize("step", [0.8, 1.25, 2.0, 3.0])
@pytest.mark.parametrize("spread", [0.0, 0.3, 0.5])
def test_terraces_spread_over_a_share_of_their_distance_are_in_step_by_its_sinc(step, spread):
    rng = np.random.default_rng(3)
    height = step * (rng.integers(0, 60, 40_000) + spread * rng.uniform(-0.5, 0.5, 40_000)) + 7.3
    found, share = period_mm(height, np.ones(len(height)))
    assert found == pytest.approx(step, rel=0.005)
    # the bins of 0.05 mm blur a little more
    assert share == pytest.approx(np.sinc(spread) * np.sinc(0.05 / step), abs=0.02)


def test_heights_without_a_distance_have_none():
    rng = np.random.default_rng(4)
    for height in (
        rng.uniform(0.0, 100.0, 40_000),
        rng.normal(0.0, 2.0, 40_000),
        rng.exponential(3.0, 40_000),
    ):
        assert period_mm(height, np.ones(len(height)))[1] < 0.1


def faired(body, spacing_mm, passes=25):
    return surface_of(
        mesh_of(voxelised([body], spacing_mm, 0.3)).smooth_taubin(n_iter=passes, pass_band=0.05)
    )


@pytest.mark.parametrize("slice_mm", [1.5, 2.0, 3.0])
@pytest.mark.parametrize("lean_deg", [0.0, 1.7])
def test_a_faired_label_map_shows_its_slices_from_a_direction_near_theirs(slice_mm, lean_deg):
    lean = Rotation.from_rotvec(np.radians([lean_deg, 0.0, 0.0])).as_matrix()
    grid = find_slices(prepare(faired(femur(), (0.8, 0.8, slice_mm)), "femur"))
    assert grid is not None
    assert grid.faired
    assert grid.spacing_mm[2] == pytest.approx(slice_mm, rel=0.03)
    turned = faired(femur(), (0.8, 0.8, slice_mm))
    bone = prepare(Surface(turned.vertices_mm @ lean.T, turned.triangles), "femur")
    corners = bone.points[bone.triangles]
    area = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    size = np.linalg.norm(area, axis=1)
    axis, step, share = slices_along(
        corners.mean(axis=1), area / size[:, None], size, np.array([0.0, 0.0, 1.0])
    )
    assert share > IN_STEP
    assert step == pytest.approx(slice_mm, rel=0.03)
    assert angle_deg(axis, lean @ [0.0, 0.0, 1.0]) < 0.3


def test_a_smooth_body_shows_none():
    assert find_slices(prepare(femur(), "femur")) is None
    thin = surface_of(mesh_of(femur()).decimate(0.86))
    assert find_slices(prepare(thin, "femur")) is None
