"""A knee segmented in part: what is given is measured, what cannot be built is said."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from injectplan.anatomy.build import build_joint
from injectplan.anatomy.model import JointModel
from injectplan.errors import EmptyStructureError
from injectplan.phantoms import make_phantom


@cache
def _without(*names: str, completion="none") -> JointModel:
    labels = make_phantom("knee", {"spacing_mm": 1.5, "slice_mm": 1.5, "shaft_mm": 60.0}).labelmap
    kept = {number: name for number, name in labels.names.items() if name not in names}
    return build_joint(replace(labels, names=kept), kind="knee", side="right", completion=completion)


def test_a_knee_without_its_patella_has_its_cartilage_measured():
    whole, part = _without(), _without("patella", "patellar_cartilage")
    assert set(part.cartilage) == set(whole.cartilage) - {"patellar_cartilage"}
    for name, found in part.cartilage.items():
        mean = np.nanmean(whole.cartilage[name].thickness_mm)
        assert np.nanmean(found.thickness_mm) == pytest.approx(mean, rel=1e-3), name
    assert part.cavity.resting_volume_ml == 0.0
    assert [n.message for n in part.notices if n.code == "joint-incomplete"] == [
        "patella not given: what is given is measured; no cavity"
    ]


def test_a_knee_without_its_patella_is_not_completed():
    with pytest.raises(EmptyStructureError, match="without completion what is given is measured"):
        _without("patella", "patellar_cartilage", completion="auto")


def test_a_knee_without_any_cartilage_says_so():
    part = _without("femoral_cartilage", "medial_tibial_cartilage", "lateral_tibial_cartilage",
                    "patellar_cartilage")  # fmt: skip
    assert "no-cartilage" in [n.code for n in part.notices]
    assert "no-cartilage" not in [n.code for n in _without().notices]
