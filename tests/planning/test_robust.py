"""Hit probabilities against their closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import trimesh

from injectplan.planning import robust
from oracles_planning import cavity_of, joint_of, shell_joint, sphere, structure, surface_of


def ball_probability(radius, sd):
    x = radius / sd
    return math.erf(x / math.sqrt(2)) - math.sqrt(2 / math.pi) * x * math.exp(-x * x / 2)


def joint_with_cavity(surface, spacing=0.5):
    skin = structure("skin", sphere((0, 0, 0), 40.0, 3), "none", "skin", 10)
    return joint_of([skin], cavity_of(surface, spacing=spacing))


def slab(half):
    return surface_of(trimesh.creation.box((60.0, 2 * half, 60.0)))


@pytest.mark.parametrize(
    ("radius", "sd", "published"), [(4.0, 2.6, 0.5002), (4.0, 1.63, None), (2.0, 1.63, None)]
)
def test_ball(radius, sd, published):
    exact = ball_probability(radius, sd)
    if published is not None:
        assert exact == pytest.approx(published, abs=5e-5)
    joint = joint_with_cavity(sphere((0, 0, 0), radius, 4), 0.25)
    hit = robust.hit_probability(joint, np.zeros(3), sd, seed=5, attempts=60_000)
    assert hit.value == pytest.approx(exact, abs=0.01)
    assert hit.low < hit.value < hit.high


@pytest.mark.parametrize(
    ("half", "sd", "published"), [(2.0, 1.6, 0.789), (1.0, 1.63, 0.46), (1.5, 1.63, 0.64), (2.0, 1.63, 0.78)]
)
def test_recess_slab(half, sd, published):
    exact = math.erf(half / (sd * math.sqrt(2)))
    assert exact == pytest.approx(published, abs=5e-3)
    hit = robust.hit_probability(joint_with_cavity(slab(half)), np.zeros(3), sd, seed=1, attempts=60_000)
    assert hit.value == pytest.approx(exact, abs=0.008)


def test_lateral_error_in_a_plane():
    rng = np.random.default_rng(0)
    r = np.hypot(*rng.normal(0, 2.6, (2, 200_000)))
    assert np.mean(r < 4.0) == pytest.approx(1 - math.exp(-0.5 * (4 / 2.6) ** 2), abs=0.005)


def test_the_wilson_interval_covers():
    assert robust.wilson(0, 50)[0] == 0.0
    assert robust.wilson(50, 50)[1] == 1.0
    low, high = robust.wilson(8, 10)
    assert (low, high) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    rng = np.random.default_rng(0)
    covered = [
        robust.wilson(int(k), 200)[0] <= 0.64 <= robust.wilson(int(k), 200)[1]
        for k in rng.binomial(200, 0.64, 2000)
    ]
    assert 0.93 < np.mean(covered) < 0.97


def test_feedback_reaches_published_success_and_only_helps():
    assert 0.95 < robust.with_feedback(0.64) < 1.0
    for p in np.linspace(0, 1, 21):
        assert p <= robust.with_feedback(p) <= 1.0
    assert robust.with_feedback(0.0) == 0.0


def test_no_error_hits_or_misses_for_sure():
    joint = joint_with_cavity(sphere((0, 0, 0), 3.0, 3))
    assert robust.hit_probability(joint, np.zeros(3), 0.0, seed=0).value == 1.0
    assert robust.hit_probability(joint, np.array([9.0, 0, 0]), 0.0, seed=0).value == 0.0


def test_touch_probability_of_a_ball_beside_the_tip():
    """A wall-less needle ending `d` from a large flat face is touched when the tip crosses it: Φ(−d/σ)."""
    plate = structure("femur", surface_of(trimesh.creation.box((200, 20, 200))), "bone")  # face at y = 10
    joint = shell_joint([plate])
    entry, tip = np.array([0.0, 40.0, 0.0]), np.array([0.0, 12.0, 0.0])
    touched, worst = robust.touch_probability(joint, entry, tip, 0.0, 1.63, {"femur": 2.0}, seed=2)
    exact = 0.5 * math.erfc(2.0 / 1.63 / math.sqrt(2))
    assert touched["bone"] == pytest.approx(exact, abs=0.02)
    assert worst["bone"] == 0.0  # more than 5 % touch
    assert robust.margin_to_failure_mm(3.0, {"femur": 2.0}) == 2.0


def test_out_of_plane_errs_more():
    assert robust.technique_sd_mm(1.63, "in-plane") == 1.63
    assert robust.technique_sd_mm(1.63, "out-of-plane") == pytest.approx(2.76)
