"""Completion as a distribution: the draws keep the published spreads, and chance is an input."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from scipy import stats

from injectplan.anatomy.build import build_joint
from injectplan.anatomy.completion.ankle import ANKLE
from injectplan.anatomy.completion.sampling import (
    UNMOVED,
    Completions,
    draw_sizes,
    sample_completions,
    with_spread,
)
from injectplan.anatomy.model import JointModel, Subject
from injectplan.errors import UsageError
from injectplan.phantoms import make_phantom


@cache
def _ankle() -> JointModel:
    phantom = make_phantom("ankle", {"spacing_mm": 1.5, "slice_mm": 1.5})
    return build_joint(
        phantom.labelmap, kind="ankle", side="right", subject=Subject(bmi=25.0, sex="female"),
        parameters={"recess_thickness": 2.0},
    )  # fmt: skip


@cache
def _drawn(n: int, seed: int = 5) -> Completions:
    return sample_completions(_ankle(), n, seed, spacing_mm=2.5)


def test_sizes_follow_their_normal_cut_off_at_the_bounds():
    drawn = [draw_sizes(_ankle(), i, 11) for i in range(400)]
    for name in ("tibialis_anterior_width", "superficial_fibular_from_lateral", "skin_thickness"):
        d = ANKLE[name]
        values = np.array([one[name] for one in drawn])
        low, high = (d.low - d.value) / d.sd, (d.high - d.value) / d.sd
        law = stats.truncnorm(low, high, loc=d.value, scale=d.sd)
        assert stats.kstest(values, law.cdf).pvalue > 1e-3
        assert values.min() >= d.low
        assert values.max() <= d.high
    # two sizes of one draw are independent of each other
    pair = np.array([[o["tibialis_anterior_width"], o["skin_thickness"]] for o in drawn])
    assert abs(np.corrcoef(pair.T)[0, 1]) < 0.15


def test_what_was_stated_is_not_drawn():
    assert "recess_thickness" not in draw_sizes(_ankle(), 0, 1)
    assert "effusion_ml" not in draw_sizes(_ankle(), 0, 1)


def test_draws_depend_on_seed_and_index_alone():
    two, three, other = _drawn(2), _drawn(3), _drawn(2, 6)
    for a, b in zip(two.draws, three.draws, strict=False):
        assert a.keys() == b.keys()
        for name in a:
            assert a[name].surface.vertices_mm.tobytes() == b[name].surface.vertices_mm.tobytes()
    name = "tibialis_anterior_tendon"
    assert not np.array_equal(two.draws[0][name].surface.bounds_mm, other.draws[0][name].surface.bounds_mm)


def test_probability_is_a_share_of_the_draws_and_holds_their_volume():
    drawn = _drawn(3)
    voxel_ml = abs(np.linalg.det(drawn.affine[:3, :3])) / 1e3
    for name in ("deep_fascia", "tibialis_anterior_tendon"):
        shares = drawn.probability[name]
        assert set(np.unique(np.round(shares * 3.0, 4))) <= {0.0, 1.0, 2.0, 3.0}
        inside = np.mean([d[name].surface.volume_ml for d in drawn.draws])
        assert shares.sum() * voxel_ml == pytest.approx(inside, rel=0.12)


def test_the_planner_s_uncertainty_is_that_of_the_draws_and_never_less_than_stated():
    joint, drawn = _ankle(), _drawn(3)
    spread = with_spread(joint, drawn)
    grown = 0
    for name, one in joint.structures.items():
        new = spread.structures[name].placement_sd_mm
        if one.source != "completed":
            assert new == one.placement_sd_mm
            continue
        assert new >= one.placement_sd_mm
        away = np.concatenate([drawn.mean_mm[name] ** 2 + drawn.sd_mm[name] ** 2])
        assert new == pytest.approx(max(one.placement_sd_mm, np.sqrt(away.mean())))
        grown += new > one.placement_sd_mm
    assert grown > 0


def test_segmented_bones_do_not_move_and_no_draws_are_refused():
    joint, drawn = _ankle(), _drawn(2)
    assert not {"tibia", "talus"} & set(drawn.draws[0])
    assert set(UNMOVED) - {"joint_capsule"} <= set(joint.structures)
    with pytest.raises(UsageError, match="at least one"):
        sample_completions(joint, 0, 1)
