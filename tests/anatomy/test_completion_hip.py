"""The completed hip: what lies where the literature says, and how the cavity fills."""

from __future__ import annotations

import numpy as np
import pytest

from injectplan.anatomy.cavity import fill_cavity
from injectplan.anatomy.completion.hip import complete_hip
from injectplan.anatomy.model import Subject
from injectplan.errors import EmptyStructureError, UsageError
from injectplan.kernels.bvh import nearest_points
from whole_joints import completed, joint_points


@pytest.fixture(scope="module")
def hip():
    return completed("hip", "right", 25.0)


def gap(joint, a, b):
    one, other = joint.structures[a].surface, joint.structures[b].surface
    return float(nearest_points(one.bvh, other.vertices_mm)[0].min())


def test_every_expected_structure_is_there_and_closed(hip):
    _, joint = hip
    wanted = {
        "skin", "subcutaneous_fat", "deep_fascia", "muscle", "rectus_femoris", "sartorius", "iliacus",
        "psoas_major", "tensor_fasciae_latae", "femoral_artery", "femoral_vein", "femoral_nerve",
        "lateral_circumflex_femoral_artery", "lateral_femoral_cutaneous_nerve", "labrum", "joint_capsule",
        "joint_cavity",
    }  # fmt: skip
    assert wanted <= set(joint.structures)
    for name in wanted:
        assert joint.structures[name].surface.closed, name
        assert joint.structures[name].surface.volume_ml > 0, name


def test_vessels_keep_their_published_distance_and_order(hip):
    axes, joint = hip
    assert 17.5 - 4.4 < gap(joint, "femur", "femoral_vein") < 17.5 + 4.4 + 2
    assert 19.6 - 4.2 < gap(joint, "femur", "femoral_artery") < 19.6 + 4.2 + 2
    assert 23.6 - 5.4 < gap(joint, "femur", "femoral_nerve") < 23.6 + 5.4 + 2
    x = {}
    for name in ("femoral_nerve", "femoral_artery", "femoral_vein"):
        p = joint_points(axes, joint.structures[name].surface)
        x[name] = p[np.abs(p[:, 2]) < 6][:, 0].mean()
    assert x["femoral_nerve"] > x["femoral_artery"] > x["femoral_vein"]  # lateral to medial
    assert gap(joint, "femoral_nerve", "femoral_artery") > 0


def test_cavity_holds_its_resting_volume_and_fills_in_front_first(hip):
    axes, joint = hip
    assert joint.cavity.resting_volume_ml == pytest.approx(4.0, rel=0.02)
    state = fill_cavity(joint.cavity, 5.0)
    assert state.in_cavity_ml + state.leaked_ml == pytest.approx(5.0)
    before = {r.name: r.volume_ml for r in joint.cavity.recesses}
    rise = {name: state.recess_ml[name] - before[name] for name in before}
    # the recess in front is named in two parts: on the neck's middle line, where a needle aims, and around
    in_front = rise["anterior"] + rise["around_neck"]
    assert in_front > max(rise["posterior"], rise["central"])
    anterior = next(r for r in joint.cavity.recesses if r.name == "anterior")
    assert (anterior.center_mm - axes.origin_mm) @ axes.anterior > 5.0


def test_the_front_of_the_neck_is_wet_at_rest(hip):
    """Under the capsule a film covers the neck in front; it was torn where the wall gives most."""
    axes, joint = hip
    anterior = next(r for r in joint.cavity.recesses if r.name == "anterior")
    assert anterior.thickness_mm > 0.5
    neck = joint_points(axes, joint.structures["femur"].surface)
    away = np.linalg.norm(neck, axis=1)
    front = (away > 30.0) & (away < 38.0) & (neck[:, 1] > 6.0)
    at = joint.structures["femur"].surface.vertices_mm[front]
    to_fluid = nearest_points(joint.cavity.surface.bvh, at)[0]
    assert (to_fluid < 4.0).mean() > 0.9


def test_fat_follows_body_mass(hip):
    axes, thin = hip
    _, heavy = completed("hip", "right", 34.0)

    def depth(joint):
        p = joint_points(axes, joint.structures["skin"].surface)
        front = p[(np.abs(p[:, 0] - 10) < 8) & (np.abs(p[:, 2]) < 8)][:, 1].max()
        return front - 23.0

    assert depth(thin) == pytest.approx(np.interp(25, [22, 27], [45, 58]), abs=6)
    assert depth(heavy) == pytest.approx(np.interp(34, [32, 38], [72, 90]), abs=8)


def test_missing_bone_and_silly_size_are_refused(hip):
    axes, joint = hip
    femur = {"femur": joint.structures["femur"]}
    with pytest.raises(EmptyStructureError, match="hip_bone"):
        complete_hip(axes, femur, Subject())
    with pytest.raises(UsageError, match="labrum_width"):
        complete_hip(axes, dict(joint.structures), Subject(), parameters={"labrum_width": 40.0})
