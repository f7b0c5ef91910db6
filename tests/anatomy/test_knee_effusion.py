"""A knee whose fluid was segmented: the cavity holds it, the tendon rides before it at its depth."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from injectplan.anatomy.build import build_joint
from injectplan.anatomy.measures import cavity_document
from injectplan.anatomy.model import JointModel, Subject
from injectplan.kernels.bvh import contains, first_hits, nearest_points
from injectplan.phantoms import make_phantom
from whole_joints import joint_points

RESTING_ML = 7.0


@cache
def _knee(effusion_ml: float) -> JointModel:
    grid = {"spacing_mm": 1.2, "slice_mm": 1.2, "shaft_mm": 60.0, "flexion_deg": 20.0}
    phantom = make_phantom("knee", {**grid, "effusion_ml": effusion_ml})
    return build_joint(phantom.labelmap, kind="knee", side="right", subject=Subject(bmi=27.0, sex="female"))


@pytest.mark.parametrize("effusion_ml", [0.0, 8.0, 60.0])
def test_the_cavity_holds_the_fluid_and_a_normal_joint_s_folds(effusion_ml):
    cavity = _knee(effusion_ml).cavity
    # the lens of fluid takes the place of the pouch's own fold, which holds a third of a normal joint
    assert effusion_ml + 0.5 * RESTING_ML <= cavity.resting_volume_ml <= effusion_ml + RESTING_ML + 0.3


@pytest.mark.parametrize("effusion_ml", [0.0, 8.0, 60.0])
def test_the_labels_give_the_cavity_all_of_its_fluid(effusion_ml):
    joint = _knee(effusion_ml)
    labelled = cavity_document(joint.cavity, joint.labels)["labelled_volume_ml"]
    assert labelled == pytest.approx(joint.cavity.resting_volume_ml, rel=0.02)
    seen = joint.labels.volume_ml("synovial_fluid")
    assert labelled - joint.labels.volume_ml("joint_cavity") == pytest.approx(seen, rel=0.06, abs=1e-9)


def test_no_tibiofemoral_space_lies_beside_the_shaft():
    joint = _knee(60.0)
    cavity = joint.cavity
    names = [r.name for r in cavity.recesses]
    for name in ("medial_tibiofemoral", "lateral_tibiofemoral"):
        where = np.argwhere(cavity.recess_index == names.index(name) + 1)
        points = cavity.field.origin_mm + where * cavity.field.spacing_mm - joint.axes.origin_mm
        assert (points @ joint.axes.proximal).max() < 20.0, name
    pouch = next(r for r in cavity.recesses if r.name == "suprapatellar")
    assert pouch.thickness_mm > 10.0  # wider than the 6 mm that the field's band holds


def test_what_was_segmented_lies_in_the_cavity():
    joint = _knee(8.0)
    fluid = joint.structures["synovial_fluid"].surface.vertices_mm[::5]
    outside = fluid[~contains(joint.cavity.surface.bvh, fluid)]
    away = nearest_points(joint.cavity.surface.bvh, outside)[0]
    # the walls are shared; a fiftieth are specks of one voxel that hang together with nothing
    assert (away > 0.8).sum() < 0.04 * len(fluid)


def test_an_effusion_lifts_the_tendon_off_the_femur():
    def gap(joint: JointModel) -> float:
        points = joint_points(joint.axes, joint.structures["quadriceps_tendon"].surface)
        fluid = joint_points(joint.axes, joint.structures["synovial_fluid"].surface)
        high = fluid[fluid[:, 1].argmax()]
        near = points[np.abs(points - high)[:, [0, 2]].max(axis=1) < 5.0]
        return float(near[:, 1].min() - high[1])

    assert 0.0 < gap(_knee(60.0)) < 6.0
    back = [
        joint_points(j.axes, j.structures["quadriceps_tendon"].surface)[:, 1].max()
        for j in (_knee(8.0), _knee(60.0))
    ]
    assert back[1] > back[0] - 0.5


def test_the_recess_lies_as_deep_under_the_skin_as_a_sonographer_finds_it():
    """BMI 27, a woman: skin 1.8, fat 12, fascia 1, tendon 7.3, fat pad 3-8 mm."""
    joint = _knee(8.0)
    axes = joint.axes
    fluid = joint_points(axes, joint.structures["synovial_fluid"].surface)
    pole = joint_points(axes, joint.structures["patella"].surface)[:, 2].max()
    middle = fluid[(np.abs(fluid[:, 0]) < 6.0) & (np.abs(fluid[:, 2] - pole - 15.0) < 5.0)]
    front = middle[middle[:, 1].argmax()]
    basis = np.column_stack([axes.lateral, axes.anterior, axes.proximal])
    start = basis @ front + axes.origin_mm
    depth, _ = first_hits(joint.structures["skin"].surface.bvh, start[None], axes.anterior[None])
    assert 22.0 < depth[0] < 32.0
