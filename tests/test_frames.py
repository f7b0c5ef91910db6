from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.transform import Rotation

from injectplan.frames import Pose, angle_deg, flip_affine_lps_ras, flip_lps_ras, unit

numbers = st.floats(-200, 200)


def pose_of(seed: int) -> Pose:
    rng = np.random.default_rng(seed)
    return Pose(Rotation.random(rng=rng).as_matrix(), rng.normal(size=3) * 50)


@given(st.integers(0, 10_000), arrays(np.float64, (7, 3), elements=numbers))
def test_a_pose_and_its_inverse_undo_each_other(seed: int, points: np.ndarray) -> None:
    pose = pose_of(seed)
    np.testing.assert_allclose(pose.inverse().apply(pose.apply(points)), points, atol=1e-9)


@given(st.integers(0, 10_000), st.integers(0, 10_000))
def test_composition_does_the_right_hand_side_first(one: int, two: int) -> None:
    a_to_b, b_to_c = pose_of(one), pose_of(two)
    points = np.arange(12.0).reshape(4, 3)
    np.testing.assert_allclose((b_to_c @ a_to_b).apply(points), b_to_c.apply(a_to_b.apply(points)), atol=1e-9)
    np.testing.assert_allclose((b_to_c @ a_to_b).matrix, b_to_c.matrix @ a_to_b.matrix, atol=1e-9)


def test_directions_turn_but_do_not_move() -> None:
    pose = Pose(np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1.0]]), np.array([5.0, 6, 7]))
    np.testing.assert_allclose(pose.rotate(np.array([1.0, 0, 0])), [0, 1, 0])
    np.testing.assert_allclose(pose.apply(np.array([1.0, 0, 0])), [5, 7, 7])


@pytest.mark.parametrize(
    "rotation",
    [np.diag([1.0, 1, -1]), 2 * np.eye(3), np.full((3, 3), np.nan), np.ones((3, 3))],
    ids=["mirrored", "scaled", "not finite", "not orthonormal"],
)
def test_what_is_not_a_rigid_motion_is_refused(rotation: np.ndarray) -> None:
    with pytest.raises(ValueError, match="pose"):
        Pose(rotation, np.zeros(3))


def test_the_flip_is_a_half_turn_about_z() -> None:
    points = np.array([[1.0, 2, 3], [-4, 5, -6]])
    np.testing.assert_array_equal(flip_lps_ras(points), [[-1, -2, 3], [4, -5, -6]])
    np.testing.assert_array_equal(flip_lps_ras(flip_lps_ras(points)), points)
    affine = np.array([[0, 2.0, 0, 10], [3, 0, 0, 20], [0, 0, 4, 30], [0, 0, 0, 1]])
    voxel = np.array([1.0, 2, 3, 1])
    np.testing.assert_allclose((flip_affine_lps_ras(affine) @ voxel)[:3], flip_lps_ras((affine @ voxel)[:3]))


@pytest.mark.parametrize("degrees", [0.0, 1e-7, 1e-3, 37.0, 90.0, 179.999999, 180.0])
def test_angles_are_accurate_near_zero_and_180(degrees: float) -> None:
    turned = np.array([np.cos(np.radians(degrees)), np.sin(np.radians(degrees)), 0.0])
    assert angle_deg(np.array([3.0, 0, 0]), 7 * turned) == pytest.approx(degrees, abs=2e-9)


def test_a_zero_vector_has_no_direction() -> None:
    with pytest.raises(ValueError, match="no direction"):
        unit(np.zeros(3))
