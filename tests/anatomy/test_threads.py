"""The whole joint: any number of threads gives the same bytes, and a joint holds what is published."""

from __future__ import annotations

import hashlib

import pytest

from injectplan.anatomy.build import build_joint
from injectplan.anatomy.cavity import capacity_ml, fill_cavity
from injectplan.anatomy.model import JointModel, Subject
from injectplan.kernels._jit import set_threads
from injectplan.phantoms import make_phantom
from whole_joints import completed

COARSE = {"spacing_mm": 1.5, "slice_mm": 1.5, "shaft_mm": 45.0, "effusion_ml": 4.0}


def _digest(joint: JointModel) -> dict[str, str]:
    cavity = joint.cavity
    fluid = fill_cavity(cavity, 3.0, cavity.recesses[0].center_mm).fluid
    arrays = {
        "field": cavity.field.values, "distension": cavity.distension.values,
        "recesses": cavity.recess_index, "labels": joint.labels.labels, "fluid": fluid.vertices_mm,
        **{f"{n} surface": s.surface.vertices_mm for n, s in joint.structures.items()},
        **{f"{n} thickness": m.thickness_mm for n, m in joint.cartilage.items()},
    }  # fmt: skip
    return {name: hashlib.sha256(values.tobytes()).hexdigest() for name, values in arrays.items()}


def test_one_thread_and_two_build_the_same_knee():
    found = []
    try:
        for count in (1, 2):
            set_threads(count)
            phantom = make_phantom("knee", COARSE)
            joint = build_joint(
                phantom.labelmap, kind="knee", side="right", subject=Subject(bmi=27.0, sex="female")
            )
            found.append(_digest(joint))
    finally:
        set_threads(None)
    assert found[0] == found[1]


@pytest.mark.parametrize(("kind", "least", "most"), [("hip", 14.0, 20.0), ("ankle", 10.0, 15.0)])
def test_small_joints_hold_what_is_published(kind, least, most):
    cavity = completed(kind, "right", 25.0)[1].cavity
    assert least <= cavity.resting_volume_ml + capacity_ml(cavity) <= most
