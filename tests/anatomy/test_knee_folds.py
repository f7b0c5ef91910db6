"""The gutters and posterior recesses: whole sheets at rest, edges where the synovium turns over."""

from __future__ import annotations

from functools import cache

import pytest

from injectplan.anatomy.build import build_joint
from injectplan.anatomy.model import JointModel, Subject
from injectplan.phantoms import make_phantom
from knee_folds import assert_edge_at_the_reflection, assert_whole_at_rest


@cache
def _knee(size: float, flexion_deg: float) -> JointModel:
    asked = {"size": size, "flexion_deg": flexion_deg, "effusion_ml": 0.0, "slice_mm": 1.2, "spacing_mm": 0.8}
    labels = make_phantom("knee", asked).labelmap
    return build_joint(
        labels, kind="knee", side="right", subject=Subject(bmi=27.0, sex="female"), completion="none"
    )


KNEES = pytest.mark.parametrize(("size", "flexion_deg"), [(0.92, 20.0), (1.0, 0.0), (1.08, 30.0)])


@KNEES
def test_folds_are_whole_sheets_at_rest(size, flexion_deg):
    assert_whole_at_rest(_knee(size, flexion_deg).cavity)


@KNEES
def test_folds_end_where_the_synovium_turns_over(size, flexion_deg):
    joint = _knee(size, flexion_deg)
    assert_edge_at_the_reflection(joint.cavity, joint.axes, joint.structures["femur"].surface)
