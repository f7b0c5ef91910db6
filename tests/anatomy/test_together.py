"""Bones of one leg lie together; bones each in a frame of its own do not, and that is the reason given."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from injectplan.anatomy import apart, build_joint
from injectplan.errors import ContradictionError
from injectplan.imaging.values import Surface
from injectplan.phantoms import make_phantom


@cache
def _bones(kind):
    return make_phantom(kind, {"spacing_mm": 2.0, "slice_mm": 2.0}).surfaces


def _shifted(surface, by_mm):
    return Surface(surface.vertices_mm + np.asarray(by_mm), surface.triangles)


@pytest.mark.parametrize("kind", ["knee", "hip", "ankle"])
def test_a_joint_s_own_bones_lie_together(kind):
    assert apart(_bones(kind)) == ""


@pytest.mark.parametrize(
    ("kind", "one", "other"),
    [("knee", "femur", "tibia"), ("knee", "femur", "patella"), ("hip", "hip_bone", "femur"),
     ("ankle", "tibia", "talus")],
)  # fmt: skip
def test_a_bone_deep_in_another_is_said_to_have_a_frame_of_its_own(kind, one, other):
    """Drawn into one another from where they touch, the bones tell how deep to within a sample's distance."""
    bones = dict(_bones(kind))
    way = bones[one].vertices_mm.mean(axis=0) - bones[other].vertices_mm.mean(axis=0)
    way = way / np.linalg.norm(way)
    steps = np.arange(0.0, 60.0, 2.0)
    said = [apart({one: bones[one], other: _shifted(bones[other], step * way)}) for step in steps]
    assert said[0] == ""
    told = [bool(text) for text in said]
    assert told == sorted(told)  # once too deep, deeper is told as well
    assert f"{one} and {other} lie" in said[-1]
    assert "a frame of its own" in said[-1]


def test_a_talus_at_the_upper_end_of_a_whole_tibia_is_told_before_its_side():
    leg = make_phantom("knee", {"spacing_mm": 2.0, "slice_mm": 2.0, "shaft_mm": 60.0}).surfaces
    knee_end = leg["tibia"].vertices_mm
    # a whole tibia: the knee's upper end, drawn out to a thinner lower one
    low, high = knee_end[:, 2].min(), knee_end[:, 2].max()
    z = high - (high - knee_end[:, 2]) * 360.0 / (high - low)
    tibia = Surface(np.column_stack([knee_end[:, :2], z]), leg["tibia"].triangles)
    talus = _bones("ankle")["talus"]
    middle = talus.vertices_mm.mean(axis=0)
    reach = talus.bounds_mm[1] - talus.bounds_mm[0]
    over = np.append(knee_end[:, :2].mean(axis=0), high + 0.5 * reach[2] + 8.0) - middle
    under = np.append(knee_end[:, :2].mean(axis=0), high - 360.0 - 0.5 * reach[2] - 8.0) - middle
    assert apart({"tibia": tibia, "talus": _shifted(talus, under)}) == ""
    for side in ("left", "right"):
        with pytest.raises(ContradictionError, match="the talus lies at the tibia's upper end"):
            build_joint(
                {"tibia": tibia, "talus": _shifted(talus, over)}, kind="ankle", side=side, completion="none"
            )
