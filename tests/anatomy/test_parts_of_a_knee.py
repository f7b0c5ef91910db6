"""A knee segmented in part: what is given is measured, what cannot be built is said."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from injectplan.anatomy.build import build_joint
from injectplan.anatomy.measures import model_document
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


def _missing(joint: JointModel) -> list[str | None]:
    return [n.structure for n in joint.notices if n.code == "cartilage-missing"]


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ((), []),
        (("femoral_cartilage",), ["femoral_cartilage"]),
        (("lateral_tibial_cartilage",), ["lateral_tibial_cartilage"]),
        (("medial_tibial_cartilage", "lateral_tibial_cartilage"), ["tibial_cartilage"]),
        (("patella", "patellar_cartilage"), []),  # the bone itself is told of
        (("patellar_cartilage", "medial_tibial_cartilage"),
         ["medial_tibial_cartilage", "patellar_cartilage"]),
    ],
)  # fmt: skip
def test_each_bearing_cartilage_without_a_label_is_named(names, said):
    part = _without(*names)
    assert _missing(part) == said
    warnings = [w for w in model_document(part)["warnings"] if w["code"] == "cartilage-missing"]
    for name, warning in zip(said, warnings, strict=True):
        assert warning["structure"] == name
        assert warning["message"].startswith(f"{name} was neither segmented nor completed: ")
        assert name not in part.structures


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("hip", ["acetabular_cartilage", "femoral_head_cartilage"]),
        ("ankle", ["talar_cartilage", "tibial_plafond_cartilage"]),
    ],
)
def test_cartilage_made_from_the_gap_is_not_missing(kind, names):
    surfaces = make_phantom(kind, {"spacing_mm": 2.0, "slice_mm": 2.0}).surfaces
    bones = {name: surface for name, surface in surfaces.items() if name not in names}
    bare = build_joint(bones, kind=kind, side="right", completion="none")
    assert _missing(bare) == names
    one = build_joint({**bones, names[0]: surfaces[names[0]]}, kind=kind, side="right", completion="none")
    assert _missing(one) == names[1:]
    whole = build_joint(bones, kind=kind, side="right")
    assert _missing(whole) == []
    assert {whole.structures[name].source for name in names} == {"completed"}


def test_a_knee_without_any_cartilage_says_so():
    part = _without("femoral_cartilage", "medial_tibial_cartilage", "lateral_tibial_cartilage",
                    "patellar_cartilage")  # fmt: skip
    assert "no-cartilage" in [n.code for n in part.notices]
    assert "no-cartilage" not in [n.code for n in _without().notices]
