"""Completed structures land in published ranges on three phantoms of each joint: `landing.QUANTITIES`."""

from __future__ import annotations

from functools import cache

import pytest

from injectplan.anatomy.build import build_joint
from injectplan.anatomy.model import Kind, Subject
from injectplan.phantoms import make_phantom
from landing import QUANTITIES, Made, Quantity

# (BMI, sex, size): a lean man, a woman of normal weight, an obese woman
PEOPLE = ((22.0, "male", 1.08), (27.0, "female", 0.95), (35.0, "female", 1.0))


@cache
def made(kind: Kind, bmi: float, sex: str, size: float) -> Made:
    more = {"shaft_mm": 60.0} if kind == "knee" else {}
    phantom = make_phantom(kind, {"spacing_mm": 1.5, "slice_mm": 1.5, "size": size, "sex": sex, **more})
    subject = Subject(bmi=bmi, sex=sex)
    joint = build_joint(phantom.labelmap, kind=kind, side="right", subject=subject)
    return Made(joint.axes, joint.structures, subject, joint.cavity)


@pytest.mark.parametrize("who", PEOPLE, ids=lambda p: f"{p[1]} {p[0]:g}")
@pytest.mark.parametrize("one", [q for rows in QUANTITIES.values() for q in rows],
                         ids=lambda q: f"{q.kind}: {q.name}")  # fmt: skip
def test_what_was_completed_lands_in_its_published_range(one: Quantity, who):
    joint = made(one.kind, *who)
    least, most = one.within(joint.subject)
    assert least <= one.measure(joint) <= most, one.source
