"""What a joint says it assumed: the sizes that its result follows, and no other."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from injectplan.anatomy.axes import joint_axes
from injectplan.anatomy.build import structures_of_surfaces
from injectplan.anatomy.completion import complete_joint
from injectplan.anatomy.completion.dimensions import KNEE_FAT
from injectplan.anatomy.completion.sampling import TABLES
from injectplan.anatomy.model import Subject
from injectplan.phantoms import make_phantom

REACH = ("limb_above", "limb_below", "medial_fat")  # how far a knee's grid goes, and so where its points lie
JOINTS = pytest.mark.parametrize("kind", ["knee", "hip", "ankle"])


@cache
def _bare(kind):
    """Return axes and the given structures of a coarse phantom."""
    surfaces = make_phantom(kind, {"spacing_mm": 2.0, "slice_mm": 2.0}).surfaces
    given = structures_of_surfaces(surfaces)
    bones = {n: s.surface for n, s in given.items() if s.risk == "bone"}
    return joint_axes(kind, "right", bones), given


def _cavity_alone(kind, parameters=None):
    axes, given = _bare(kind)
    made = complete_joint(kind, "right", axes, given, Subject(), mode="none", parameters=parameters)
    assert set(made.structures) == {*given, "joint_cavity"}
    return made


def _listed(made):
    return {line.partition(" = ")[0] for line in made.assumed if " = " in line}


def _sizes(kind):
    """Each size's default and another value within its bounds."""
    sizes = {n: d.value - 0.25 * (d.value - d.low) for n, d in TABLES[kind].items() if n != "effusion_ml"}
    return sizes | (dict.fromkeys(KNEE_FAT, 4.0) if kind == "knee" else {"anterior_fat": 6.0})


@JOINTS
def test_what_is_not_listed_moves_nothing(kind):
    made = _cavity_alone(kind)
    listed = _listed(made)
    sizes = {name: value for name, value in _sizes(kind).items() if name not in listed}
    others = {name: value for name, value in sizes.items() if name not in REACH}
    moved = _cavity_alone(kind, others)
    assert "skin_thickness" in others
    assert "bmi" not in listed
    assert not any("sex not given" in line for line in made.assumed)
    assert moved.assumed == made.assumed
    for field in ("field", "distension"):
        there, here = (getattr(one.cavity, field).values for one in (made, moved))
        assert np.array_equal(there, here, equal_nan=True), field


@JOINTS
def test_what_is_listed_moves_the_cavity(kind):
    made = _cavity_alone(kind)
    sizes = _sizes(kind)
    listed = sorted(_listed(made))
    assert "resting_fluid" in listed
    for name in listed if kind == "ankle" else ["joint_capacity", "resting_fluid"]:
        moved = _cavity_alone(kind, {name: sizes[name]})
        assert name not in _listed(moved)
        same = [
            np.array_equal(getattr(made.cavity, f).values, getattr(moved.cavity, f).values)
            for f in ("field", "distension")
        ]
        assert not all(same), name


def test_how_far_the_grid_goes_moves_no_recess():
    made = _cavity_alone("knee")
    assert _listed(made).isdisjoint(REACH)
    moved = _cavity_alone("knee", {name: _sizes("knee")[name] for name in REACH})
    for there, here in zip(made.cavity.recesses, moved.cavity.recesses, strict=True):
        assert here.volume_ml == pytest.approx(there.volume_ml, abs=2e-3), here.name
