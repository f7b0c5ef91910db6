"""The completed ankle: what lies where the literature says, mirrored for the left."""

from __future__ import annotations

import numpy as np
import pytest

from injectplan.anatomy.cavity import fill_cavity
from injectplan.anatomy.completion.ankle import complete_ankle
from injectplan.anatomy.model import Subject
from injectplan.errors import EmptyStructureError
from injectplan.kernels.bvh import contains
from whole_joints import completed, joint_points


@pytest.fixture(scope="module")
def ankle():
    return completed("ankle", "right", 25.0)


def test_every_expected_structure_is_there_and_closed(ankle):
    _, joint = ankle
    wanted = {
        "skin", "subcutaneous_fat", "deep_fascia", "muscle", "tibialis_anterior_tendon",
        "extensor_hallucis_longus_tendon", "extensor_digitorum_longus_tendon", "achilles_tendon",
        "dorsalis_pedis_artery", "deep_fibular_nerve", "superficial_fibular_nerve", "joint_capsule",
        "joint_cavity",
    }  # fmt: skip
    assert wanted <= set(joint.structures)
    for name in wanted:
        assert joint.structures[name].surface.closed, name


def test_tendons_artery_and_nerve_in_order_from_medial_to_lateral(ankle):
    axes, joint = ankle
    order = [
        "tibialis_anterior_tendon", "extensor_hallucis_longus_tendon", "dorsalis_pedis_artery",
        "deep_fibular_nerve", "extensor_digitorum_longus_tendon", "superficial_fibular_nerve",
    ]  # fmt: skip
    at = []
    for name in order:
        p = joint_points(axes, joint.structures[name].surface)
        at.append(p[np.abs(p[:, 2] - 4.0) < 4][:, 0].mean())
    assert at == sorted(at)


def test_cords_run_inside_the_skin(ankle):
    axes, joint = ankle
    skin = joint.structures["skin"].surface
    for name in ("tibialis_anterior_tendon", "dorsalis_pedis_artery", "superficial_fibular_nerve"):
        surface = joint.structures[name].surface
        z = joint_points(axes, surface)[:, 2]
        inner = surface.vertices_mm[(z > -8) & (z < 60)][::7]
        assert contains(skin.bvh, inner).mean() > 0.98, name


def test_joint_lies_at_the_published_depth(ankle):
    axes, joint = ankle
    skin, tibia = (joint_points(axes, joint.structures[n].surface) for n in ("skin", "tibia"))

    def front(p):
        return p[(np.abs(p[:, 0] + 10) < 5) & (np.abs(p[:, 2] - 11) < 3)][:, 1].max()

    assert 8.0 <= front(skin) - front(tibia) <= 22.0


def test_fluid_opens_the_anterior_recess_first(ankle):
    _, joint = ankle
    assert joint.cavity.resting_volume_ml == pytest.approx(2.0, rel=0.02)
    before = {r.name: r.volume_ml for r in joint.cavity.recesses}
    state = fill_cavity(joint.cavity, 3.0)
    rise = {name: state.recess_ml[name] - before[name] for name in before}
    assert rise["anterior"] == max(rise.values())
    assert state.in_cavity_ml == pytest.approx(3.0)


def test_recesses_are_ovals_as_wide_as_the_dome(ankle):
    """A recess narrows towards its top and its foot; a box would be as wide everywhere."""
    axes, joint = ankle
    fluid = joint_points(axes, fill_cavity(joint.cavity, 4.0).fluid)
    talus = joint_points(axes, joint.structures["talus"].surface)
    dome = talus[(talus[:, 2] > -4.0) & (np.abs(talus[:, 1]) < 8.0)]
    for ahead in (1.0, -1.0):
        recess = fluid[ahead * fluid[:, 1] > 12.0]
        low, high = recess[:, 2].min(), recess[:, 2].max()

        def width(share, recess=recess, low=low, high=high):
            near = np.abs(recess[:, 2] - (low + share * (high - low))) < 0.06 * (high - low)
            return float(np.ptp(recess[near][:, 0]))

        widest = max(width(share) for share in (0.3, 0.4, 0.5, 0.6, 0.7))
        assert width(0.95) < 0.8 * widest
        assert width(0.05) < 0.95 * widest
        assert widest == pytest.approx(np.ptp(dome[:, 0]), rel=0.3)


def test_the_clefts_beside_the_talus_belong_to_the_joint(ankle):
    axes, joint = ankle
    inside = joint_points(axes, fill_cavity(joint.cavity, 4.0).fluid)
    talus = joint_points(axes, joint.structures["talus"].surface)
    beside = inside[(np.abs(inside[:, 1]) < 8.0) & (inside[:, 2] < -4.0)]
    medial, lateral = talus[np.abs(talus[:, 1]) < 8.0][:, 0].min(), 8.0
    assert (beside[:, 0] > lateral).any()
    assert (beside[:, 0] < max(medial + 6.0, -8.0)).any()


def test_left_is_the_mirror_image():
    _, right = completed("ankle", "right", 25.0)
    axes, left = completed("ankle", "left", 25.0)
    assert axes.side == "left"
    for name in ("skin", "tibialis_anterior_tendon", "joint_cavity", "deep_fibular_nerve"):
        a, b = right.structures[name].surface.volume_ml, left.structures[name].surface.volume_ml
        assert b == pytest.approx(a, rel=0.02), name


def test_missing_bone_is_refused(ankle):
    axes, joint = ankle
    with pytest.raises(EmptyStructureError, match="talus"):
        complete_ankle(axes, {"tibia": joint.structures["tibia"]}, Subject())
