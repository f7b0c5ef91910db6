"""Simulated frames beside scanners' frames of the same: one set of estimators, inside the real range.

The scenes are those of `tools/side_by_side.py`, which draws the pairs: a trochlea (the real knee's femur and
cartilage), a bone across the limb, muscle along its fibres, vessels across the limb.  Presets were fitted to
18 public frames, and the ranges are those read from them; `tools/held_out.py` holds others, that none was
fitted to.  What lies outside is named here and in docs/explanation/physics.md; no range is widened for it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))
import held_out
import side_by_side

pytestmark = pytest.mark.real

EXPECTED = {
    "trochlea": {"fat_pad", "muscle", "cartilage", "fluid", "bone_0_8", "bone_8_16", "bone_16_25",
                 "bone_25_35", "bone_width_mm", "shadow_2", "shadow_5", "shadow_10", "grain_axial_mm",
                 "grain_lateral_mm", "lateral_over_axial", "local_sd"},
    "bone_arc": {"muscle", "fascia", "bone_0_8", "bone_8_16", "bone_16_25", "bone_25_35", "bone_width_mm",
                 "shadow_2", "shadow_5", "shadow_10", "local_sd"},
    "muscle": {"muscle", "fascia", "grain_axial_mm", "grain_lateral_mm", "lateral_over_axial", "local_sd"},
    "vessels": {"muscle", "fascia", "lumen_over_ring", "below_over_beside", "local_sd"},
}  # fmt: skip
FRAME = {"p50", "p99", "white"}
OFF_FITTED: dict[str, set[str]] = {}
# Those bones fade by none at all up to 16 degrees; on those muscles' scanners muscle is brighter than fat.
OFF_HELD_OUT = {
    "bone_arc": {"bone_8_16"},
    "muscle": {"muscle", "fascia", "p50", "p99"},
    "vessels": set(),
}  # fmt: skip


@pytest.fixture(scope="module", params=list(EXPECTED))
def ours(request, real_data):
    return request.param, *side_by_side.ours(request.param, real_data)


def test_every_figure_lies_in_the_range_of_real_frames(ours):
    name, _, read = ours
    assert EXPECTED[name] | FRAME <= set(read)
    off = {
        key
        for key, value in read.items()
        if not side_by_side.RANGES[key][0] <= value <= side_by_side.RANGES[key][1]
    }
    assert off == OFF_FITTED.get(name, set())


@pytest.fixture(scope="module")
def unseen(real_data):
    return held_out.held_out(real_data)


def test_what_lies_outside_frames_that_no_preset_was_fitted_to_is_named(ours, unseen):
    name, _, read = ours
    if name == "trochlea":
        assert name not in unseen  # there is but one public frame of it
        return
    span = held_out.spans(unseen[name])
    assert len(unseen[name]) >= 3
    assert set(span) >= FRAME
    assert set(held_out.outside(read, span)) == OFF_HELD_OUT[name]


def test_no_frame_is_both_fitted_to_and_held_out():
    fitted = {real.file for real in side_by_side.REAL.values()}
    held = {real.file for real in (*held_out.BONES, *held_out.MUSCLES)}
    held |= {f"usgra_seg/{name}.png" for name in held_out.VESSELS}
    assert not fitted & held


def test_bone_fades_with_tilt_and_its_shadow_with_depth(ours):
    name, _, read = ours
    if "bone_0_8" not in EXPECTED[name]:
        assert "bone_0_8" not in read
        return
    assert read["bone_0_8"] > read["bone_8_16"] > read["bone_16_25"] > read["bone_25_35"]
    assert read["shadow_2"] > read["shadow_5"] > read["shadow_10"]


def test_lines_off_the_skin_are_black_from_the_top(ours):
    name, grey, _ = ours
    if name == "trochlea":
        assert not grey[:, -40:].any()
        assert grey[:, 250:500].any(axis=0).all()


@pytest.mark.parametrize("name", list(EXPECTED))
def test_the_estimators_read_the_scanners_frames_as_published(name, real_data):
    grey, read = side_by_side.theirs(name, real_data)
    assert grey.ndim == 2
    assert 4 <= read["p50"] <= 126
    assert 148 <= read["p99"] <= 233
    published = {
        "trochlea": {"fat_pad": 1.2, "muscle": 0.59, "cartilage": 0.31, "fluid": 0.2, "bone_0_8": 229,
                     "bone_8_16": 176, "bone_width_mm": 0.5, "shadow_5": 35},
        "bone_arc": {"bone_0_8": 229, "bone_8_16": 227, "bone_16_25": 230, "shadow_10": 5},
        "muscle": {"muscle": 0.79, "fascia": 2.1},
        "vessels": {"lumen_over_ring": 0.41},
    }  # fmt: skip
    for key, value in published[name].items():
        assert read[key] == pytest.approx(value, rel=0.1), key
    assert np.isfinite(list(read.values())).all()
