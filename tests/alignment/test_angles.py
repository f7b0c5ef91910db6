"""Angles from landmarks: closed form, conventions, propagation, verdict, files."""

import math

import numpy as np
import pytest
from scipy.stats import norm

from injectplan.alignment import Landmark, measure_alignment_of_landmarks
from injectplan.alignment.angles import angles_of, cpak_type
from injectplan.alignment.document import alignment_document
from injectplan.alignment.verdict import judge, probability_over
from injectplan.errors import ContradictionError, UsageError
from planar_leg import marks, planar_leg


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("deviation", [-20.0, -7.3, 0.0, 4.0, 20.0])
@pytest.mark.parametrize(("mldfa", "mpta"), [(90.0, 90.0), (85.6, 86.1), (94.0, 80.0)])
def test_frontal_angles_and_their_identity_are_closed_form(side, deviation, mldfa, mpta):
    points = planar_leg(deviation, mldfa, mpta, side)
    got = angles_of(points, 1.0 if side == "right" else -1.0)
    assert got["hka_deg"] == pytest.approx(180.0 - deviation, abs=1e-6)
    assert got["mldfa_deg"] == pytest.approx(mldfa, abs=1e-6)
    assert got["mpta_deg"] == pytest.approx(mpta, abs=1e-6)
    assert got["jlca_deg"] == pytest.approx(deviation - mldfa + mpta, abs=1e-6)
    assert got["knee_flexion_deg"] == pytest.approx(0.0, abs=1e-6)
    distance = np.linalg.norm(np.cross(points["hip_center"], points["ankle_center"]))
    distance /= np.linalg.norm(points["hip_center"] - points["ankle_center"])
    assert got["mad_mm"] == pytest.approx(math.copysign(distance, deviation), abs=1e-6)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("turn", [-20.0, 0.0, 12.5, 60.0])
def test_version_torsion_and_flexion_are_signed_alike_on_both_sides(side, turn):
    handed = 1.0 if side == "right" else -1.0
    got = angles_of(planar_leg(side=side, version=turn, torsion=turn), handed)
    assert got["femoral_version_deg.mechanical"] == pytest.approx(turn, abs=1e-6)
    assert got["tibial_torsion_deg.bimalleolar"] == pytest.approx(turn, abs=1e-6)
    flexed = angles_of(planar_leg(side=side, flexion=turn), handed)
    assert flexed["knee_flexion_deg"] == pytest.approx(turn, abs=1e-6)
    assert flexed["grood_suntay_deg.flexion"] == pytest.approx(turn, abs=1e-6)


def test_grood_suntay_adduction_is_the_varus_of_a_straight_leg():
    got = angles_of(planar_leg(7.0, mpta=90.0), 1.0)
    assert got["grood_suntay_deg.adduction"] == pytest.approx(7.0, abs=1e-6)
    assert got["grood_suntay_deg.external_rotation"] == pytest.approx(0.0, abs=1e-6)


def test_a_rigid_motion_changes_no_angle():
    points = planar_leg(6.0, 86.0, 87.0, version=14.0, torsion=25.0, flexion=8.0)
    q, _ = np.linalg.qr(np.array([[1.0, 2, 3], [-2, 1, 0.5], [0.3, -1, 2]]))
    q *= np.sign(np.linalg.det(q))
    moved = {n: q @ p + [100.0, -50.0, 900.0] for n, p in points.items()}
    before, after = angles_of(points, 1.0), angles_of(moved, 1.0)
    assert before.keys() == after.keys()
    for name, value in before.items():
        assert after[name] == pytest.approx(float(value), abs=1e-8)


def test_linear_propagation_and_monte_carlo_agree():
    alignment = measure_alignment_of_landmarks(marks(planar_leg(5.0, 87.0, 86.0), 1.0), "right")
    for name in ("hka_deg", "mldfa_deg", "mpta_deg", "jlca_deg", "mad_mm"):
        angle = alignment.angles[name]
        assert angle.measure.sd == pytest.approx(angle.sd_linear, rel=0.06)
        low, high = angle.interval
        assert high - low == pytest.approx(2 * 1.96 * angle.measure.sd, rel=0.08)


def test_hka_scatter_is_that_of_the_lever_arms():
    # 57.3/L degrees per mm; femoral and tibial knee centre enter independently here
    alignment = measure_alignment_of_landmarks(marks(planar_leg(), 1.0), "right")
    expected = math.degrees(math.hypot(math.sqrt(2) / 430.0, math.sqrt(2) / 370.0))
    assert alignment.angles["hka_deg"].sd_linear == pytest.approx(expected, rel=1e-3)


def test_shared_surface_errors_partly_cancel_in_a_line():
    points = planar_leg()
    apart = measure_alignment_of_landmarks(marks(points), "right")
    together = {
        n: Landmark(position_mm=m.position_mm, covariance_mm2=m.covariance_mm2, method="given",
                    group="c" if n.startswith("distal") else "")
        for n, m in marks(points).items()
    }  # fmt: skip
    together = measure_alignment_of_landmarks(together, "right")
    ratio = together.angles["mldfa_deg"].sd_linear / apart.angles["mldfa_deg"].sd_linear
    assert math.sqrt(0.7) - 0.02 < ratio < 1.0


def test_the_same_seed_gives_the_same_bytes():
    a, b = (measure_alignment_of_landmarks(marks(planar_leg(5.0)), "right", seed=3) for _ in range(2))
    assert repr(alignment_document(a)) == repr(alignment_document(b))


def test_the_side_that_the_condyles_contradict_is_refused():
    points = marks(planar_leg(side="right"))
    with pytest.raises(ContradictionError, match="side left"):
        measure_alignment_of_landmarks(points, "left")
    assert measure_alignment_of_landmarks(points, None).side == "right"


def test_a_missing_landmark_is_named_and_the_verdict_refused():
    points = marks(planar_leg())
    del points["hip_center"]
    alignment = measure_alignment_of_landmarks(points, "right")
    assert not alignment.angles["hka_deg"].measure.known
    assert "hip_center" in (alignment.angles["hka_deg"].measure.reason or "")
    assert alignment.verdict.state == "REFUSED"
    assert alignment_document(alignment)["angles"]["hka_deg"]["value"] is None


@pytest.mark.parametrize(
    ("deviation", "sd", "state"),
    [(11.0, 1.0, "INDETERMINATE"), (15.0, 1.0, "EXCLUDE"), (-15.0, 1.0, "EXCLUDE"),
     (9.0, 1.0, "INDETERMINATE"),
     (2.0, 1.0, "OK"), (0.0, 5.5, "INDETERMINATE"), (math.nan, 1.0, "REFUSED")],
)  # fmt: skip
def test_the_verdict_weighs_the_uncertainty(deviation, sd, state):
    verdict = judge("hka_deg", deviation, sd, limit_deg=10.0)
    assert verdict.state == state
    assert verdict.reasons


def test_probability_over_the_limit_is_the_normal_law():
    assert probability_over(10.0, 1.0, 10.0) == pytest.approx(0.5, abs=1e-9)
    assert probability_over(11.0, 1.0, 10.0) == pytest.approx(0.841344746, abs=1e-8)
    assert probability_over(0.0, 10.0 / 1.959963984540054, 10.0) == pytest.approx(0.05, abs=1e-9)
    assert probability_over(10.5, 0.0, 10.0) == 1.0


def test_standing_widens_the_interval():
    lying, standing = (judge("hka_deg", 5.0, 1.0, load=load) for load in ("supine", "standing"))
    assert standing.sd_deg == pytest.approx(math.sqrt(1.0 + 1.3**2 + 1.1**2))
    assert standing.probability_over_limit > lying.probability_over_limit


def test_simulated_population_is_rarely_judged_wrong():
    rng = np.random.default_rng(5)
    true = rng.normal(2.0, 6.0, 40000)
    sd = rng.uniform(0.5, 3.0, true.size)
    seen = true + sd * rng.standard_normal(true.size)
    over = norm.sf((10 - seen) / sd) + norm.cdf((-10 - seen) / sd)
    ok, exclude = over <= 0.025, over >= 0.975
    for i in (0, 17, 4242):
        assert probability_over(seen[i], sd[i], 10.0) == pytest.approx(over[i], abs=1e-12)
    outside = np.abs(true) > 10.0
    assert (ok & outside).sum() / outside.sum() <= 0.025
    assert (exclude & ~outside).sum() / (~outside).sum() <= 0.025


@pytest.mark.parametrize(
    ("mldfa", "mpta", "kind"),
    [(90, 84, "I"), (87, 87, "II"), (84, 90, "III"), (93, 87, "IV"), (90, 90, "V"), (87, 93, "VI"),
     (96, 90, "VII"), (93, 93, "VIII"), (90, 96, "IX")],
)  # fmt: skip
def test_cpak_types(mldfa, mpta, kind):
    assert cpak_type(mldfa, mpta) == kind


@pytest.mark.parametrize("bad", [{"limit_deg": math.nan}, {"limit_deg": -3.0}, {"load": "flying"}])
def test_senseless_options_are_bad_usage(bad):
    with pytest.raises(UsageError):
        measure_alignment_of_landmarks(marks(planar_leg()), "right", **bad)


def drawn(kind, rng, size):
    """Landmark errors of unit variance that are not the normal ones that the propagation assumes."""
    if kind == "voxels":  # rounding to a grid
        return rng.uniform(-np.sqrt(3.0), np.sqrt(3.0), size)
    if kind == "heavy tails":  # most raters near, some far off
        return rng.standard_t(5, size) / np.sqrt(5.0 / 3.0)
    return rng.choice([-1.0, 1.0], size)  # one of two edges


@pytest.mark.parametrize("kind", ["voxels", "heavy tails", "two edges"])
def test_scores_are_calibrated_for_errors_of_other_laws(kind):
    points = planar_leg(6.0, 87.0, 86.0, version=15.0, torsion=25.0)
    stated = measure_alignment_of_landmarks(marks(points, 1.5), "right")
    rng = np.random.default_rng(31)
    noisy = {n: p + 1.5 * drawn(kind, rng, (4000, 3)) for n, p in points.items()}
    got = angles_of(noisy, 1.0)
    for name, angle in stated.angles.items():
        if not angle.measure.known or name == "hka_3d_deg":  # a total angle near 180 is bounded, not normal
            continue
        z = (got[name] - angle.measure.value) / angle.measure.sd
        assert 0.8 <= z.std() <= 1.25, name
        assert abs(z.mean()) <= 0.3, name


@pytest.mark.parametrize("kind", ["voxels", "heavy tails"])
def test_a_population_of_legs_is_rarely_judged_wrong(kind):
    # legs of a clinic (varus on average, wide), landmarks off by each patient's own amount
    rng = np.random.default_rng(32)
    wrong = {"OK": 0, "EXCLUDE": 0}
    outside = inside = 0
    for sd_mm in (1.0, 2.5, 5.0):
        true = rng.normal(2.0, 7.0, 700)
        legs_ = [planar_leg(d) for d in true]
        stacked = {n: np.array([leg[n] for leg in legs_]) for n in legs_[0]}
        noisy = {n: p + sd_mm * drawn(kind, rng, p.shape) for n, p in stacked.items()}
        seen = 180.0 - angles_of(noisy, 1.0)["hka_deg"]
        sd = (
            measure_alignment_of_landmarks(marks(planar_leg(2.0), sd_mm), "right")
            .angles["hka_deg"]
            .measure.sd
        )
        for truth, deviation in zip(true, seen, strict=True):
            state = judge("hka_deg", float(deviation), sd).state
            over = abs(truth) > 10.0
            outside, inside = outside + over, inside + (not over)
            wrong["OK"] += state == "OK" and over
            wrong["EXCLUDE"] += state == "EXCLUDE" and not over
    assert wrong["OK"] / outside <= 0.025
    assert wrong["EXCLUDE"] / inside <= 0.025
