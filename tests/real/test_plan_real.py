"""The real knee: the superolateral injection into the suprapatellar recess exists, keeps every margin, and is
the one that a sonographer would choose."""

from __future__ import annotations

import numpy as np
import pytest

from injectplan.anatomy import build_joint
from injectplan.frames import angle_deg
from injectplan.imaging import read_labelmap
from injectplan.instruments import PROBES, Needle
from injectplan.kernels.bvh import contains
from injectplan.kernels.segment import segment_distances
from injectplan.planning import Constraints, plan_injection
from injectplan.planning.values import DEFAULT_MARGINS_MM

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def joint(real_data):
    path = real_data / "knee_dess" / "SAG_3D_DESS_RIGHT_bones_cart_men_fib-label.nrrd"
    return build_joint(read_labelmap(path, "pymskt", "right"), kind="knee", side="right")


@pytest.fixture(scope="module")
def plan(joint):
    constraints = Constraints(approach="suprapatellar-lateral", entries=4000, targets=32)
    return plan_injection(joint, Needle(), PROBES["linear-12"], constraints, seed=7)


def test_every_margin_is_kept_on_the_meshes(joint, plan):
    needle = Needle()
    s = plan.searched
    assert s.pairs == s.feasible + sum(s.rejected_by.values())
    for t in plan.trajectories:
        assert t.rechecked
        assert t.length_mm <= needle.length_mm - 2.0
        assert contains(joint.cavity.surface.bvh, t.tip_mm[None])[0]
        for name, structure in joint.structures.items():
            if structure.risk != "none":
                gap = segment_distances(structure.surface.bvh, t.entry_mm, t.tip_mm)[0]
                assert gap - 0.5 * needle.outer_mm >= DEFAULT_MARGINS_MM[structure.risk], name


def test_the_first_is_the_superolateral_one_of_practice(joint, plan):
    first, axes = plan.trajectories[0], joint.axes
    patella = joint.structures["patella"].surface.vertices_mm
    assert "suprapatellar" in first.recess
    assert first.technique == "in-plane"
    # from the lateral side, above the patella, medially
    assert first.entry_mm @ axes.lateral > (patella @ axes.lateral).max()
    assert first.entry_mm @ axes.proximal > (patella @ axes.proximal).max() - 5.0
    assert angle_deg(first.tip_mm - first.entry_mm, -axes.lateral) < 45.0
    # the probe lies across the thigh and looks back; the needle runs along its face
    pose = first.ultrasound.probe_to_patient.matrix
    assert abs(pose[:3, 0] @ axes.lateral) > np.cos(np.radians(35.0))
    assert angle_deg(pose[:3, 2], -axes.anterior) < 35.0
    assert first.ultrasound.beam_needle_angle_deg > 60.0
    assert first.ultrasound.visibility > 0.7
    # under the quadriceps tendon, by more than the margin and what its place is known to
    tendon = joint.structures["quadriceps_tendon"]
    assert first.clearance_mm["quadriceps_tendon"] >= 1.0 + tendon.placement_sd_mm - 0.1
