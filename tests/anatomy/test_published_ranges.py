"""Completed structures land where the literature says, on three phantom knees of different weight and sex."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from hip_ankle_joints import completed, joint_points
from injectplan.anatomy.build import build_joint
from injectplan.anatomy.model import JointModel, Subject
from injectplan.kernels.bvh import first_hits, nearest_points
from injectplan.phantoms import make_phantom

# (BMI, sex, size): a lean man, a woman of normal weight, an obese woman
PEOPLE = ((22.0, "male", 1.08), (27.0, "female", 0.95), (35.0, "female", 1.0))


@cache
def knee(bmi: float, sex: str, size: float) -> JointModel:
    phantom = make_phantom(
        "knee", {"spacing_mm": 1.5, "slice_mm": 1.5, "shaft_mm": 60.0, "size": size, "sex": sex}
    )
    return build_joint(phantom.labelmap, kind="knee", side="right", subject=Subject(bmi=bmi, sex=sex))


@pytest.fixture(params=PEOPLE, ids=lambda p: f"{p[1]} {p[0]:g}")
def joint(request) -> JointModel:
    return knee(*request.param)


def local(joint: JointModel, name: str) -> np.ndarray:
    return joint_points(joint.axes, joint.structures[name].surface)


def thickness(joint: JointModel, name: str, at, along=(0.0, 1.0, 0.0)) -> float:
    """Length inside a structure of a line through a joint point."""
    axes = joint.axes
    basis = np.column_stack([axes.lateral, axes.anterior, axes.proximal])
    way = basis @ np.asarray(along, float)
    start = basis @ np.asarray(at, float) + axes.origin_mm - 300.0 * way
    total, at_mm, inside = 0.0, 0.0, False
    tree = joint.structures[name].surface.bvh
    while True:
        hit, _ = first_hits(tree, (start + at_mm * way)[None], way[None])
        if not np.isfinite(hit[0]) or at_mm > 900.0:
            return total
        total += float(hit[0]) if inside else 0.0
        at_mm += float(hit[0]) + 1e-4
        inside = not inside


def pole(joint: JointModel) -> np.ndarray:
    points = local(joint, "patella")
    return points[points[:, 2].argmax()]


def test_quadriceps_tendon_is_6_to_9_mm_thick_over_4_cm(joint):
    top = pole(joint)
    for up in (10.0, 20.0, 40.0):
        assert 5.4 < thickness(joint, "quadriceps_tendon", (top[0], 0.0, top[2] + up)) < 9.0


def test_patellar_tendon_is_4_to_6_mm_thick(joint):
    points = local(joint, "patellar_tendon")
    middle = points.mean(axis=0)
    assert 3.9 < thickness(joint, "patellar_tendon", middle) < 6.4


def test_prefemoral_fat_pad_is_as_ultrasound_measures_it(joint):
    top = pole(joint)
    assert 5.0 < thickness(joint, "prefemoral_fat_pad", (top[0], 0.0, top[2] + 15.0)) < 15.0


def test_the_recess_reaches_4_to_5_cm_above_the_trochlea(joint):
    recess = next(r for r in joint.cavity.recesses if r.name == "suprapatellar")
    assert 0.8 < recess.thickness_mm < 4.0  # the fluid line of a normal knee
    assert 30.0 < recess.extent_mm.max() < 60.0
    inside = np.argwhere(joint.cavity.recess_index == joint.cavity.recesses.index(recess) + 1)
    basis = np.column_stack([joint.axes.lateral, joint.axes.anterior, joint.axes.proximal])
    field = joint.cavity.field
    across, _, along = np.ptp(
        (field.origin_mm + inside * field.spacing_mm - joint.axes.origin_mm) @ basis, axis=0
    )
    assert 36.0 < across < 52.0  # the pouch is about 4-5 cm wide
    assert 40.0 < along < 50.0
    top = local(joint, "joint_cavity")[:, 2].max()
    cartilage = local(joint, "femoral_cartilage")
    trochlea = cartilage[cartilage[:, 1] > 0.6 * cartilage[:, 1].max()][:, 2].max()
    assert 35.0 < top - trochlea < 57.0


def test_the_popliteal_artery_lies_behind_the_joint_by_what_mri_found(joint):
    """3.9 ± 2 mm behind the tibia at the joint line in extension (The Knee 2009;16:143)."""
    artery = local(joint, "popliteal_artery")
    level = artery[np.abs(artery[:, 2]) < 4.0]
    tibia = local(joint, "tibia")
    spans = tibia[(np.abs(tibia[:, 0]) < 24.0) & (np.abs(tibia[:, 2] + 4.0) < 6.0)]
    assert 1.9 < spans[:, 1].min() - level[:, 1].max() < 5.9
    assert -10.0 < level[:, 0].mean() < 12.0


def test_fat_over_the_patella_grows_with_weight_and_stays_in_its_table(joint):
    front = local(joint, "patella")
    at = front[front[:, 1].argmax()]
    skin = thickness(joint, "skin", at) - thickness(joint, "subcutaneous_fat", at)
    assert 2.0 < skin < 8.0  # two skins: before and behind
    fat = 0.5 * (thickness(joint, "subcutaneous_fat", at) - thickness(joint, "deep_fascia", at))
    assert 2.0 < fat < 30.0


def test_more_weight_more_fat_at_the_portal():
    found = []
    for who in PEOPLE:
        one = knee(*who)
        top = pole(one)
        at = (top[0] + 25.0, 0.0, top[2] + 10.0)
        found.append(thickness(one, "subcutaneous_fat", at) - thickness(one, "deep_fascia", at))
    assert found[0] < found[1] < found[2]


@pytest.mark.parametrize(
    ("bmi", "least", "most"), [(22.0, 38.0, 54.0), (27.0, 50.0, 66.0), (32.0, 62.0, 82.0)]
)
def test_skin_to_hip_joint_grows_as_stated(bmi, least, most):
    axes, made = completed("hip", "right", bmi)
    at = axes.origin_mm + 23.0 * axes.anterior
    depth, _ = first_hits(made.structures["skin"].surface.bvh, at[None], axes.anterior[None])
    assert least < depth[0] < most


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [("femoral_artery", 11.0, 28.5), ("femoral_vein", 8.5, 26.5), ("femoral_nerve", 12.5, 34.5)],
)
def test_femoral_nerve_artery_and_vein_pass_the_hip_at_published_distances(name, least, most):
    """Mean ± 2 SD of 115 MRIs: artery 19.6 ± 4.2, vein 17.5 ± 4.4, nerve 23.6 ± 5.4 mm from the joint."""
    made = completed("hip", "right", 25.0)[1]
    points = made.structures[name].surface.vertices_mm
    gap = nearest_points(made.structures["femur"].surface.bvh, points)[0]
    assert least < gap.min() < most


@pytest.mark.parametrize("bmi", [22.0, 32.0])
def test_the_ankle_lies_8_to_20_mm_under_the_skin(bmi):
    axes, made = completed("ankle", "right", bmi)
    cavity = joint_points(axes, made.cavity.surface)
    medial = cavity[cavity[:, 0] < -3.0]
    front = made.cavity.surface.vertices_mm[cavity[:, 0] < -3.0][int(medial[:, 1].argmax())]
    depth, _ = first_hits(made.structures["skin"].surface.bvh, front[None], axes.anterior[None])
    assert 5.0 < depth[0] < 20.0
