"""Completed structures land in published ranges on the real knee, hips and ankle: `landing.QUANTITIES`."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path

import pytest

from injectplan.anatomy.model import Subject
from injectplan.casefile import read_case
from injectplan.workflow.cases import joint_of
from landing import QUANTITIES, Made, Quantity

pytestmark = pytest.mark.real
HERE = Path(__file__).parent
CASES = {"knee": "knee", "hip_atlas": "hip", "hip_leg": "hip", "ankle_leg": "ankle"}


def _given(case: str) -> set[str]:
    """The structures that a case's surfaces give: their place is the body's own, not a completion's."""
    table = tomllib.loads((HERE / f"case_{case}.toml").read_text())
    return set(table["anatomy"].get("surfaces", {}))


ROWS = [(case, q) for case, kind in CASES.items() for q in QUANTITIES[kind]
        if not set(q.structures) & _given(case)]  # fmt: skip


@cache
def _made(case: str) -> Made:
    joint, _ = joint_of(read_case(HERE / f"case_{case}.toml"))
    # who it was is not known: fat and cartilage are then those of a woman of BMI 25, or between both sexes
    return Made(
        joint.axes,
        joint.structures,
        Subject(bmi=joint.subject.bmi or 25.0, sex=joint.subject.sex or "female"),
        joint.cavity,
    )


@pytest.mark.parametrize(("case", "one"), ROWS, ids=lambda v: v if isinstance(v, str) else v.name)
def test_what_was_completed_lands_in_its_published_range(real_data, case: str, one: Quantity):
    joint = _made(case)
    least, most = one.within(joint.subject)
    assert least <= one.measure(joint) <= most, one.source
