"""The main job on real hips and a real ankle from surfaces, untuned: what a sonographer would check."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from command_line import run_as_user
from injectplan.anatomy.axes import femoral_head, femoral_neck
from injectplan.anatomy.store import load_joint
from injectplan.kernels.bvh import contains

pytestmark = pytest.mark.real
HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def job(real_data, tmp_path_factory):
    """Return a function: case name → (joint, plan document), run once each."""

    @cache
    def run(name: str):
        folder = tmp_path_factory.mktemp(name)
        out = folder / "out"
        run_as_user(folder, "run", str(HERE / f"case_{name}.toml"), "--quiet", "--out", str(out))
        return load_joint(out / "model"), json.loads((out / "plan.json").read_text()), out

    return run


def _local(joint, points):
    axes = joint.axes
    basis = np.column_stack([axes.lateral, axes.anterior, axes.proximal])
    return (np.asarray(points, float) - axes.origin_mm) @ basis


@pytest.mark.parametrize("name", ["hip_atlas", "hip_leg"])
def test_the_hip_is_reached_along_the_neck_at_the_head_neck_junction(job, name):
    joint, plan, out = job(name)
    best = plan["trajectories"][0]
    femur = joint.structures["femur"].surface
    center, radius = femoral_head(femur, joint.structures["hip_bone"].surface)
    neck = femoral_neck(femur, center, radius)
    tip, entry = (np.array(best[key]) for key in ("tip_mm", "entry_mm"))
    along = float((tip - center) @ neck)
    assert 0.55 * radius < along < 1.45 * radius  # over the junction, a head's radius out
    assert _local(joint, tip)[1] > 0.0  # before the neck
    shift = _local(joint, entry) - _local(joint, tip)
    assert shift[0] > 15.0  # comes from lateral
    assert shift[1] > 25.0  # and from the front
    assert best["approach"] == "hip-anterior-oblique"
    assert best["technique"] == "in-plane"
    plane = np.array(best["ultrasound"]["probe_to_patient"])[:3, 1]
    assert abs(float(plane @ neck)) < np.sin(np.radians(32.0))  # the image holds the neck
    assert best["margins"]["artery"] == best["margins"]["nerve"] == "kept"
    assert len(list((out / "frames").glob("rank1_*.png"))) >= 8


def test_nerve_artery_and_vein_lie_in_order_beside_the_atlas_s_artery(job):
    joint = job("hip_atlas")[0]
    at = {}
    for name in ("femoral_nerve", "femoral_artery"):
        points = _local(joint, joint.structures[name].surface.vertices_mm)
        at[name] = points[np.abs(points[:, 2]) < 10.0].mean(axis=0)
    gap = at["femoral_nerve"] - at["femoral_artery"]
    assert 4.0 < gap[0] < 20.0  # lateral of the artery
    assert abs(gap[1]) < 8.0
    assert joint.structures["femoral_artery"].source == "segmented"


@pytest.mark.parametrize(("name", "ends"), [("femoral_artery", 11.0), ("femoral_vein", -14.0)])
def test_the_atlas_s_vessels_go_on_over_the_joint_where_their_meshes_end(job, name, ends):
    joint, plan, out = job("hip_atlas")
    rest = joint.structures[f"{name}_continued"]
    points = _local(joint, rest.surface.vertices_mm)
    assert points[:, 2].min() < ends  # into the mesh that was given
    assert points[:, 2].max() > 65.0  # to the inguinal ligament
    given = joint.structures[name].surface
    assert contains(given.bvh, rest.surface.vertices_mm).any()
    for bone in ("hip_bone", "femur"):
        assert not contains(joint.structures[bone].surface.bvh, rest.surface.vertices_mm).any()
    assert all(f"{name}_continued" in one["clearance_mm"] for one in plan["trajectories"])
    warned = json.loads((out / "model" / "model.json").read_text())["warnings"]
    assert [w["structure"] for w in warned if w["code"] == "segmented-in-part"] == [
        "femoral_artery",
        "femoral_vein",
    ]


def test_the_deep_fascia_holds_the_atlas_s_muscles(job):
    joint = job("hip_atlas")[0]
    fascia = joint.structures["deep_fascia"].surface
    for name in ("rectus_femoris", "sartorius", "iliacus", "femoral_artery"):
        points = joint.structures[name].surface.vertices_mm
        points = points[np.abs(_local(joint, points)[:, 2]) < 80.0]  # the limb ends, rounded, at 92 mm
        assert contains(fascia.bvh, points[::7]).mean() > 0.97, name


def test_the_ankle_is_entered_medial_to_the_tibialis_anterior(job):
    joint, plan, out = job("ankle_leg")
    tendon = _local(joint, joint.structures["tibialis_anterior_tendon"].surface.vertices_mm)
    for one in plan["trajectories"]:
        entry, tip = _local(joint, one["entry_mm"]), _local(joint, one["tip_mm"])
        near = tendon[np.abs(tendon[:, 2] - entry[2]) < 6.0]
        if len(near):
            assert entry[0] < near[:, 0].mean()
        assert -12.0 < tip[0] < 8.0  # between the malleoli's inner faces
        assert tip[1] > 6.0  # in front of the dome's top
        assert one["clearance_mm"]["dorsalis_pedis_artery"] > 5.0
    assert len(list((out / "frames").glob("rank1_*.png"))) >= 8
