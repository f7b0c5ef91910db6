"""Directions and side from bones of simple shape, in any pose and in the mirror."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from injectplan.anatomy.axes import femoral_head, joint_axes, shaft_axis
from injectplan.errors import ContradictionError, EmptyStructureError
from injectplan.imaging.values import Surface
from oracles_anatomy import mirrored, moved, sheared_tube

TURN = Rotation.from_euler("xyz", [40.0, 70.0, -130.0], degrees=True).as_matrix()


def flared(z, narrow, wide, end=45.0):
    share = np.clip(1.0 - z / end, 0.0, 1.0) ** 2
    return narrow + (wide - narrow) * share


def joined(*parts):
    vertices = np.concatenate([p.vertices_mm for p in parts])
    offset = np.cumsum([0] + [len(p.vertices_mm) for p in parts[:-1]])
    return Surface(vertices, np.concatenate([p.triangles + o for p, o in zip(parts, offset, strict=True)]))


def ball(center, radius):
    unit_ball = sheared_tube(-0.999, 0.999, lambda z: (0.0, 0.0), lambda z: (np.sqrt(1 - z * z),) * 2)
    return Surface(unit_ball.vertices_mm * radius + np.asarray(center), unit_ball.triangles)


def right_knee(shaft_mm=150.0):
    """Femur: a shaft, two condyles behind it, the lateral front higher; tibia: a plateau on a shaft."""
    shaft = sheared_tube(
        15.0, shaft_mm, lambda z: (0.0, 0.0), lambda z: (flared(z, 13.0, 36.0), flared(z, 13.0, 22.0))
    )
    femur = joined(
        shaft, ball([-23.0, -12.0, 20.0], 20.0), ball([23.0, -12.0, 20.0], 20.0), ball([20, 8, 22], 16)
    )
    tibia = sheared_tube(
        -shaft_mm, -3.0, lambda z: (0.0, -5.0), lambda z: (flared(-z, 13.0, 37.0), flared(-z, 13.0, 24.0))
    )
    fibula = sheared_tube(-shaft_mm, -15.0, lambda z: (38.0, -22.0), lambda z: (6.0, 6.0))
    patella = ball([0.0, 38.0, 25.0], 14.0)
    return {"femur": femur, "tibia": tibia, "fibula": fibula, "patella": patella}


@pytest.fixture(scope="module")
def knee():
    return right_knee()


def test_a_right_knee_lies_as_it_was_built(knee):
    axes = joint_axes("knee", None, knee)
    assert axes.side == "right"
    assert axes.proximal @ [0, 0, 1] > np.cos(np.radians(1.0))
    assert axes.lateral @ [1, 0, 0] > np.cos(np.radians(3.0))
    assert axes.anterior @ [0, 1, 0] > np.cos(np.radians(3.0))
    assert axes.origin_mm == pytest.approx([0.0, -12.0, 0.0], abs=2.0)
    assert abs(axes.flexion_deg) < 2.0
    assert axes.notices == ()


@pytest.mark.parametrize("names", [("femur", "tibia"), ("femur", "tibia", "fibula", "patella")])
def test_the_directions_turn_with_the_bones(knee, names):
    still = joint_axes("knee", None, {n: knee[n] for n in names})
    turned = joint_axes("knee", None, {n: moved(knee[n], TURN, [5.0, 6.0, 7.0]) for n in names})
    assert turned.side == still.side
    for name in ("lateral", "anterior", "proximal"):
        assert getattr(turned, name) == pytest.approx(TURN @ getattr(still, name), abs=0.01)
    assert turned.origin_mm == pytest.approx(TURN @ still.origin_mm + [5.0, 6.0, 7.0], abs=0.5)
    assert [n.code for n in turned.notices] == ["frame-unusual"]


def test_the_mirror_image_is_a_left_knee(knee):
    still = joint_axes("knee", "right", knee)
    other = joint_axes("knee", None, {n: mirrored(s) for n, s in knee.items()})
    assert other.side == "left"
    for name in ("lateral", "anterior", "proximal"):
        assert getattr(other, name) == pytest.approx(getattr(still, name) * [-1, 1, 1], abs=1e-3)
    handed = np.cross(other.lateral, other.anterior) @ other.proximal
    assert handed == pytest.approx(-1.0, abs=1e-9)


def test_the_wrong_side_is_refused(knee):
    with pytest.raises(ContradictionError, match="right"):
        joint_axes("knee", "left", knee)


def test_read_in_the_wrong_frame_it_warns(knee):
    """LPS read as RAS is a half turn about z: the same handedness, but facing backwards."""
    turned = {n: moved(s, np.diag([-1.0, -1.0, 1.0]), np.zeros(3)) for n, s in knee.items()}
    axes = joint_axes("knee", "right", turned)
    assert [n.code for n in axes.notices] == ["frame-unusual"]
    assert "LPS" in axes.notices[0].message


def test_a_symmetric_joint_is_undecided_but_taken_as_stated():
    bones = right_knee()
    shaft = sheared_tube(15.0, 150.0, lambda z: (0.0, 0.0), lambda z: (flared(z, 13, 36), flared(z, 13, 22)))
    femur = joined(shaft, ball([-23.0, -12.0, 20.0], 20.0), ball([23.0, -12.0, 20.0], 20.0))
    axes = joint_axes("knee", "left", {"femur": femur, "tibia": bones["tibia"]})
    assert "side-undecided" in [n.code for n in axes.notices]
    assert axes.side == "left"


def test_a_missing_bone_is_named(knee):
    with pytest.raises(EmptyStructureError, match="tibia"):
        joint_axes("knee", "right", {"femur": knee["femur"]})


def test_flexion_is_the_angle_between_the_shafts(knee):
    bend = Rotation.from_euler("x", -30.0, degrees=True).as_matrix()
    bent = {n: (moved(s, bend, np.zeros(3)) if n in ("tibia", "fibula") else s) for n, s in knee.items()}
    straight = joint_axes("knee", "right", knee).flexion_deg
    assert joint_axes("knee", "right", bent).flexion_deg - straight == pytest.approx(30.0, abs=1.5)


def test_a_short_shaft_is_not_tilted_by_its_flare():
    bone = sheared_tube(
        0.0,
        76.0,
        lambda z: (8.0 * np.clip(1 - z / 60, 0, 1) ** 2, 0.0),
        lambda z: (flared(z, 14, 38, 60),) * 2,
    )
    _, direction, used = shaft_axis(bone, np.array([0.0, 0.1, 1.0]), 55.0, 200.0)
    assert used < 45.0
    assert direction @ [0, 0, 1] > np.cos(np.radians(6.0))


def right_hip():
    head = ball([0.0, 0.0, 0.0], 23.0)
    neck = sheared_tube(-380.0, -20.0, lambda z: (45.0, -9.0), lambda z: (14.0, 14.0))
    condyles = joined(ball([25.0, -20.0, -380.0], 22.0), ball([70.0, -20.0, -380.0], 22.0))
    socket = sheared_tube(-55.0, 60.0, lambda z: (-60.0, 5.0), lambda z: (20.0, 20.0))
    cup = ball([-48.0, 0.0, 0.0], 24.0)
    pubis, ischium = ball([-85.0, 30.0, -30.0], 8.0), ball([-35.0, -28.0, -60.0], 10.0)
    return {"femur": joined(head, neck, condyles), "hip_bone": joined(socket, cup, pubis, ischium)}


def test_a_hip_centres_on_its_head():
    bones = right_hip()
    center, radius = femoral_head(bones["femur"], bones["hip_bone"])
    assert center == pytest.approx([0.0, 0.0, 0.0], abs=0.3)
    assert radius == pytest.approx(23.0, abs=0.3)
    axes = joint_axes("hip", None, bones)
    assert axes.side == "right"
    assert axes.lateral @ [1, 0, 0] > np.cos(np.radians(5.0))
    assert axes.proximal @ [0, 0, 1] > np.cos(np.radians(3.0))
    assert joint_axes("hip", None, {n: mirrored(s) for n, s in bones.items()}).side == "left"


def right_ankle():
    tibia = sheared_tube(4.0, 160.0, lambda z: (0.0, 0.0), lambda z: (flared(z, 11, 24), flared(z, 11, 18)))
    malleolus = sheared_tube(-12.0, 10.0, lambda z: (-22.0, 0.0), lambda z: (6.0, 9.0))
    talus = joined(ball([0.0, 0.0, -17.0], 19.0), ball([-3.0, 26.0, -20.0], 12.0))
    fibula = sheared_tube(-22.0, 160.0, lambda z: (28.0, -8.0), lambda z: (7.0, 7.0))
    return {"tibia": joined(tibia, malleolus), "talus": talus, "fibula": fibula}


@pytest.mark.parametrize("names", [("tibia", "talus"), ("tibia", "talus", "fibula")])
def test_an_ankle_stands_on_its_talar_dome(names):
    bones = {n: s for n, s in right_ankle().items() if n in names}
    axes = joint_axes("ankle", None, bones)
    assert axes.side == "right"
    assert axes.anterior @ [0, 1, 0] > np.cos(np.radians(8.0))
    assert axes.origin_mm == pytest.approx([0.0, 0.0, 2.0], abs=3.0)
    assert joint_axes("ankle", None, {n: mirrored(s) for n, s in bones.items()}).side == "left"
