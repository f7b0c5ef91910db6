"""A joint and its copy in the mirror, the array turned or not: the same numbers, cavity and recesses too."""

from __future__ import annotations

import numpy as np
import pytest

from injectplan.anatomy.build import build_joint
from injectplan.anatomy.measures import model_document
from injectplan.anatomy.threeways import volumes
from injectplan.imaging.values import LabelMap
from injectplan.phantoms import make_phantom
from oracles_anatomy import in_the_mirror, numbers_of

PLACES = ("center_mm", "origin_mm", "lateral", "anterior", "proximal")


@pytest.mark.parametrize(
    ("kind", "parameters"),
    [("hip", {}), ("ankle", {"effusion_ml": 4.0}), ("knee", {"effusion_ml": 12.0})],
)
def test_a_mirrored_joint_gives_the_same_numbers(kind, parameters):
    phantom = make_phantom(kind, {"spacing_mm": 1.2, "slice_mm": 1.2, **parameters})
    here = build_joint(phantom.labelmap, kind=kind, side="right", completion="none")
    there = build_joint(
        in_the_mirror(phantom.labelmap, turned=kind == "ankle"), kind=kind, side="left", completion="none"
    )
    ours, others = (numbers_of(model_document(j, seconds={}), leave_out=PLACES) for j in (here, there))
    assert set(ours) == set(others)
    assert any("recesses" in path for path in ours)
    wrong = {p: (v, others[p]) for p, v in ours.items() if others[p] != pytest.approx(v, rel=1e-3, abs=1e-9)}
    assert not wrong
    found = volumes(here.cavity.surface)
    assert max(found.voxel_ml, found.mesh_ml, found.ray_ml) < 1.005 * min(
        found.voxel_ml, found.mesh_ml, found.ray_ml
    )


def test_the_copy_in_the_mirror_is_one():
    labels = np.zeros((2, 3, 4), np.uint8)
    labels[1, 2, 0] = 1
    made = LabelMap(affine=np.diag([1.0, 2.0, 3.0, 1.0]), labels=labels, names={1: "femur"})
    for turned in (False, True):
        other = in_the_mirror(made, turned=turned)
        assert other.to_patient(np.argwhere(other.mask("femur"))) == pytest.approx(
            np.array([[-1.0, 4.0, 0.0]])
        )
