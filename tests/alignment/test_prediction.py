"""What a knee-only scan is weighed with: the population, by Bayes' rule."""

import numpy as np
import pytest

from injectplan.alignment.prediction import (
    JLCA_DEG,
    LANDMARK_SD_DEG,
    LEAST_SHARE,
    MLDFA_DEG,
    MPTA_DEG,
    TOGETHER,
    Evidence,
    bone_sd_deg,
    femur_offset_deg,
    tibia_offset_deg,
    weighed,
)
from injectplan.alignment.verdict import judge


def weigh(f, t, sd, opening=JLCA_DEG[0], opening_sd=1e-3):
    return weighed(
        Evidence(angle_deg=f, sd_deg=sd), Evidence(angle_deg=t, sd_deg=sd),
        Evidence(angle_deg=opening, sd_deg=opening_sd),
    )  # fmt: skip


def knees(n=1500, seed=4):
    """mLDFA and MPTA of ordinary knees."""
    rng = np.random.default_rng(seed)
    (mf, sf), (mt, st) = MLDFA_DEG, MPTA_DEG
    return rng, rng.multivariate_normal(
        [mf, mt], [[sf**2, TOGETHER * sf * st], [TOGETHER * sf * st, st**2]], n
    ).T


@pytest.mark.parametrize("shaft_mm", [60.0, 70.0, 90.0, 120.0])
def test_ordinary_knees_are_predicted_better_than_by_the_shaft_or_by_a_constant(shaft_mm):
    rng, (f, t) = knees()
    sd = bone_sd_deg(shaft_mm)
    fe, te = f + sd * rng.standard_normal(f.size), t + sd * rng.standard_normal(f.size)
    both = np.array([weigh(a, b, sd) for a, b in zip(fe, te, strict=True)])
    error = fe - te + both[:, 0] - (f - t)
    constant, shaft = np.std(f - t), np.std(fe - te - (f - t))
    assert np.sqrt(np.mean(error**2)) < 0.9 * min(constant, shaft)
    assert 0.93 <= np.mean(np.abs(error) <= 1.96 * both[:, 1]) <= 0.99


@pytest.mark.parametrize("degrees", [-15.0, 15.0])
def test_a_deformed_tibia_is_believed(degrees):
    shift, sd = weigh(MLDFA_DEG[0], MPTA_DEG[0] - degrees, bone_sd_deg(90.0))
    assert abs(shift) < 1.0
    assert np.sign(shift) == -np.sign(degrees)
    assert sd < 4.0


def test_evidence_without_scatter_is_kept_and_without_weight_is_the_population():
    assert weigh(90.0, 82.0, 1e-3)[0] == pytest.approx(0.0, abs=1e-4)
    shift, _ = weigh(90.0, 82.0, 1e3)
    assert 90.0 - 82.0 + shift == pytest.approx(MLDFA_DEG[0] - MPTA_DEG[0], abs=0.1)


def test_errors_of_the_joint_lines_cancel_where_the_shafts_are_known():
    # a line read 2° off moves mLDFA and JLCA against each other; the deviation is the shafts' all the same
    for off in (-2.0, 2.0):
        shift, _ = weigh(MLDFA_DEG[0] + off, MPTA_DEG[0], 0.05, JLCA_DEG[0] - off, 2.0)
        assert abs(shift) < 0.01


def test_a_lax_knee_is_believed_where_its_lines_are_sure():
    shift, _ = weigh(MLDFA_DEG[0], MPTA_DEG[0], 2.0, 12.0, 1.0)
    assert -1.0 < shift <= 0.0


def test_for_normal_laws_it_is_the_closed_form(monkeypatch):
    from injectplan.alignment import prediction

    monkeypatch.setattr(prediction, "DEFORMED_SHARE", (0.0, 0.0, 0.0))
    f, t, sd = 89.0, 83.0, 2.5
    prior = np.array([[5.29, TOGETHER * 6.44], [TOGETHER * 6.44, 7.84]])
    precision = np.linalg.inv(prior) + np.eye(2) / sd**2
    seen = np.array([f - MLDFA_DEG[0], t - MPTA_DEG[0]])
    mean = np.linalg.solve(precision, seen / sd**2)
    shift, got = weigh(f, t, sd, opening_sd=1e-6)
    assert shift == pytest.approx(mean[0] - mean[1] - (seen[0] - seen[1]), abs=1e-9)
    g = np.array([1.0, -1.0])
    assert got == pytest.approx(np.sqrt(g @ np.linalg.inv(precision) @ g), abs=1e-9)


def test_the_published_sums_hold_and_more_shaft_tells_more():
    assert femur_offset_deg(440.0) + tibia_offset_deg(440.0) == pytest.approx(5.5, abs=0.1)  # Jamali 2017
    assert 5.0 <= femur_offset_deg(100.0) + tibia_offset_deg(100.0) <= 7.0  # Sheehy 2011
    sds = [bone_sd_deg(x) for x in (60.0, 70.0, 90.0, 120.0, 150.0, 400.0)]
    assert sds == sorted(sds, reverse=True)
    assert 1.96 * np.hypot(LEAST_SHARE * np.sqrt(2.0) * sds[1], LANDMARK_SD_DEG) >= 5.5
    assert 1.96 * np.hypot(LEAST_SHARE * np.sqrt(2.0) * sds[3], LANDMARK_SD_DEG) >= 3.5


@pytest.mark.parametrize("shaft_mm", [60.0, 120.0])
@pytest.mark.parametrize("spread_deg", [5.0, 8.0])
def test_a_clinic_seen_by_knees_alone_is_rarely_judged_wrong(shaft_mm, spread_deg):
    rng, (f, t) = knees(2500, seed=12)
    t = t - rng.normal(1.0, spread_deg, t.size)  # tibiae of a clinic, varus on average
    opening = rng.normal(0.5, 1.2, t.size)
    sd = bone_sd_deg(shaft_mm)
    lines = rng.standard_normal((2, t.size))  # of the femur's and the tibia's joint line, degrees
    fe = f + sd * rng.standard_normal(f.size) + lines[0]
    te = t + sd * rng.standard_normal(f.size) + lines[1]
    seen = opening - lines[0] + lines[1]
    wrong, outside, inside = {"OK": 0, "EXCLUDE": 0}, 0, 0
    for i, truth in enumerate(f - t + opening):
        shift, scatter = weigh(fe[i], te[i], sd, seen[i], np.sqrt(2.0))
        alone = float(fe[i] - te[i] + seen[i])
        spread = max(LEAST_SHARE * np.sqrt(2.0) * sd, scatter)
        state = judge("hka_deg", alone + shift, float(spread), alone=(alone, float(np.sqrt(2.0) * sd))).state
        over = abs(truth) > 10.0
        outside, inside = outside + over, inside + (not over)
        wrong["OK"] += state == "OK" and over
        wrong["EXCLUDE"] += state == "EXCLUDE" and not over
    assert wrong["OK"] <= 0.025 * outside
    assert wrong["EXCLUDE"] <= 0.025 * inside


def test_a_population_acquits_nobody():
    shown = judge("hka_deg", 3.2, 3.0, alone=(5.4, 3.0))
    assert judge("hka_deg", 3.2, 3.0).state == "OK"
    assert shown.state == "INDETERMINATE"
    assert "bones seen alone tell +5.4°" in shown.reasons[0]
    assert shown.probability_over_limit == judge("hka_deg", 5.4, 3.0).probability_over_limit
    assert judge("hka_deg", 1.0, 2.0, alone=(1.5, 2.0)).state == "OK"
    assert judge("hka_deg", 18.0, 3.0, alone=(18.5, 3.0)).state == "EXCLUDE"
