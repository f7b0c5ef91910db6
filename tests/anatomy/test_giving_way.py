"""Tissue gives way to a large effusion: skin rises, vessels and tendons are pushed aside, layers keep."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from injectplan.anatomy.build import build_joint
from injectplan.anatomy.completion.giving import LEAST_REACH_MM, RESTING_MM, THINNED, _away, _lift
from injectplan.anatomy.model import JointModel, Subject
from injectplan.kernels.bvh import contains, signed_distances
from injectplan.phantoms import make_phantom
from injectplan.structures import structure

BONES = ("femur", "tibia", "patella", "fibula", "hip_bone", "talus", "calcaneus")


@cache
def joint_with(kind: str, effusion_ml: float) -> JointModel:
    phantom = make_phantom(kind, {"spacing_mm": 1.4, "slice_mm": 1.4, "effusion_ml": effusion_ml})
    return build_joint(
        phantom.labelmap, kind=kind, side=phantom.side, subject=Subject(bmi=25.0, sex="female")
    )


def cords(joint: JointModel) -> list[str]:
    return [
        name for name, one in joint.structures.items()
        if one.source == "completed" and structure(name).layer in ("tendon", "vessel", "nerve")
    ]  # fmt: skip


@pytest.mark.parametrize("effusion_ml", [20.0, 60.0])
@pytest.mark.parametrize("kind", ["knee", "hip", "ankle"])
def test_no_cord_lies_in_the_fluid_and_none_is_driven_into_bone(kind, effusion_ml):
    joint, rest = joint_with(kind, effusion_ml), joint_with(kind, 0.0)
    fluid = joint.structures["synovial_fluid"].surface
    bones = [joint.structures[n].surface for n in BONES if n in joint.structures]
    for name in cords(joint):
        at, before = (j.structures[name].surface.vertices_mm for j in (joint, rest))
        assert signed_distances(fluid.bvh, at).min() > 0.3, name
        deep, was = (min(signed_distances(b.bvh, p).min() for b in bones) for p in (at, before))
        assert deep > min(was, 0.0) - 0.7, name


@pytest.mark.parametrize("kind", ["knee", "hip", "ankle"])
def test_the_skin_rises_and_holds_every_layer(kind):
    joint, rest = joint_with(kind, 60.0), joint_with(kind, 0.0)
    fluid = joint.structures["synovial_fluid"].surface.vertices_mm
    skin, before = (j.structures["skin"].surface for j in (joint, rest))
    assert signed_distances(skin.bvh, fluid).max() < -7.0
    for name in ("deep_fascia", "muscle"):
        inner = joint.structures[name].surface.vertices_mm
        assert contains(skin.bvh, inner).mean() > 0.995, name
    came = skin.volume_ml - before.volume_ml
    assert 5.0 < came < 160.0  # what came in, and what a stiff skin's wider rise adds
    risen = signed_distances(before.bvh, skin.vertices_mm).max()
    assert risen > {"knee": 4.0, "hip": 1.5, "ankle": 6.0}[kind]


def test_over_a_flat_bone_a_layer_moves_by_the_law():
    step, high = 2.0, 12.0
    beside, up = np.arange(-60.0, 60.0, step) + 0.5 * step, np.arange(-20.0, 60.0, step) + 0.5 * step
    x, y, z = np.meshgrid(beside, beside, up, indexing="ij")
    filled = (np.hypot(x, y) < 40.0) & (z > 0.0) & (z < high)
    off = np.maximum(_away(z < 0.0, step), 0.0)
    shift = _lift(filled, _away(filled, step, z < 0.0), off, step)
    middle = (len(x) // 2, len(x) // 2)
    stood = high - RESTING_MM
    reach = max(LEAST_REACH_MM, stood / THINNED)
    w = z[middle]
    law = stood * np.exp(-np.maximum(w - RESTING_MM, 0.0) / reach)
    over = (w > 4.0) & (w < 45.0)  # nearer, the bone's own stillness is evened in
    assert shift[middle][over, 2] == pytest.approx(law[over], abs=0.6)
    assert np.abs(shift[middle][..., :2]).max() < 0.3
    new = w[over] + shift[middle][over, 2]
    assert (np.diff(new) > (1.0 - THINNED - 0.08) * step).all()  # layers keep their order and most thickness
    assert np.abs(shift[:2]).max() < 0.2  # far beside it nothing moves


def test_an_ankle_s_heel_lies_under_its_skin():
    joint = joint_with("ankle", 0.0)
    heel, skin = joint.structures["calcaneus"].surface, joint.structures["skin"].surface
    assert skin.closed
    assert signed_distances(skin.bvh, heel.vertices_mm).max() < -6.0
    pad = heel.vertices_mm[:, 2].min() - skin.vertices_mm[:, 2].min()
    assert 9.0 < pad < 24.0  # a heel's pad
    labels = joint.labels
    index = np.rint((heel.vertices_mm - labels.affine[:3, 3]) @ np.linalg.inv(labels.affine[:3, :3]).T)
    assert (index > 2).all()
    assert (index < np.array(labels.labels.shape) - 3).all()


PADS = ("infrapatellar_fat_pad", "intercondylar_fat_pad", "popliteal_fat_pad", "deep_fat")


@pytest.mark.parametrize("name", PADS)
def test_no_fat_pad_ends_in_a_plane(name):
    joint = joint_with("knee", 0.0)
    surface = joint.structures[name].surface
    v = (surface.vertices_mm - joint.axes.origin_mm) @ np.column_stack(
        [joint.axes.lateral, joint.axes.anterior, joint.axes.proximal]
    )
    a, b, c = (v[surface.triangles[:, k]] for k in range(3))
    normal = np.cross(b - a, c - a)
    area = 0.5 * np.linalg.norm(normal, axis=1)
    facing = np.abs(normal) / np.maximum(2.0 * area, 1e-12)[:, None] > 0.998
    middle = (a + b + c) / 3.0
    for axis in range(3):
        place = np.floor(middle[:, axis] / 0.5).astype(int)
        face = np.bincount(place - place.min(), area * facing[:, axis])
        assert face.max() < 0.02 * area.sum(), "xyz"[axis]
