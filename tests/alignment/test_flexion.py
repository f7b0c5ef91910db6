"""A bent knee: part of its flexion is read as varus or valgus, and the scatter stated says by how much."""

import math

import numpy as np
import pytest

from injectplan.alignment import measure_alignment, measure_alignment_of_landmarks
from injectplan.alignment.angles import angles_of
from injectplan.alignment.flexion import AXIS_SD_DEG, crosstalk_deg, opened_deg
from oracles_alignment import femur, leg, tibia, true_angles
from planar_leg import marks, planar_leg

FLEXED = (0.0, 5.0, 10.0, 20.0, 30.0, 45.0)


def seen_askew(points, degrees):
    """The leg with its condylar lines turned about the thigh's axis (z): another frontal plane."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    r = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
    return {n: r @ p if "condyle" in n else p for n, p in points.items()}


@pytest.mark.parametrize("flexion", FLEXED)
@pytest.mark.parametrize("askew", [-8.0, 3.0])
def test_the_crosstalk_is_closed_form(flexion, askew):
    got = angles_of(seen_askew(planar_leg(flexion=flexion), askew), 1.0)
    assert abs(got["hka_deg"] - 180.0) == pytest.approx(abs(crosstalk_deg(flexion, askew)), abs=1e-9)
    assert abs(got["grood_suntay_deg.adduction"]) == pytest.approx(
        abs(crosstalk_deg(flexion, askew, projected=False)), abs=1e-9
    )


def test_the_crosstalk_by_hand():
    assert crosstalk_deg(0.0, 5.0) == 0.0
    assert crosstalk_deg(45.0, 5.0) == pytest.approx(math.degrees(math.atan(math.sin(math.radians(5.0)))))
    assert crosstalk_deg(30.0, 5.0, projected=False) == pytest.approx(
        math.degrees(math.asin(0.5 * math.sin(math.radians(5.0))))
    )


@pytest.mark.parametrize("flexion", FLEXED[2:])
def test_the_scatter_stated_is_what_a_population_of_askew_frames_shows(flexion):
    rng = np.random.default_rng(6)
    points = planar_leg(0.0, 87.0, 87.0, flexion=flexion)
    stated = measure_alignment_of_landmarks(marks(points, 0.02), "right")
    turned = [angles_of(seen_askew(points, d), 1.0) for d in AXIS_SD_DEG * rng.standard_normal(1500)]
    straight = stated.angles["hka_deg"].measure.value
    z = (np.array([t["hka_deg"] for t in turned]) - straight) / stated.angles["hka_deg"].measure.sd
    assert 0.8 <= z.std() <= 1.25
    mm = np.array([t["mad_mm"] for t in turned]) - stated.angles["mad_mm"].measure.value
    assert 0.8 <= (mm / stated.angles["mad_mm"].measure.sd).std() <= 1.25


def test_only_angles_across_the_knee_widen_and_the_straight_leg_does_not():
    bent, straight = (
        measure_alignment_of_landmarks(marks(planar_leg(3.0, version=15.0, flexion=f), 1.0), "right")
        for f in (30.0, 0.0)
    )
    for name in ("mldfa_deg", "mpta_deg", "femoral_version_deg.mechanical"):
        assert bent.angles[name].measure.sd == pytest.approx(straight.angles[name].measure.sd, rel=0.05), name
    more = bent.angles["hka_deg"].measure.sd
    assert more > straight.angles["hka_deg"].measure.sd + 0.8
    low, high = bent.angles["hka_deg"].interval
    assert high - low == pytest.approx(2 * 1.96 * more, rel=0.08)
    assert bent.angles["hka_deg"].sd_linear == pytest.approx(more, rel=0.1)
    assert any("flexed by 30°" in reason and "varus or valgus" in reason for reason in bent.verdict.reasons)


def test_a_bent_deviation_opens_on_the_frontal_plane():
    for flexion, varus in ((30.0, 10.0), (45.0, -8.0)):
        v, f = math.radians(varus), math.radians(flexion)
        seen = math.degrees(math.atan(math.tan(v) / math.cos(f)))
        assert opened_deg(flexion, seen) == pytest.approx(abs(seen) - abs(varus), abs=1e-9)
    assert opened_deg(0.0, 12.0) == pytest.approx(0.0, abs=1e-9)


def test_a_synthetic_leg_bent_to_45_degrees_keeps_its_deviation_within_what_is_stated():
    parts, sds = (femur(step=2.0), tibia(step=2.0)), []
    for flexion, varus in ((0.0, 0.0), (15.0, 10.0), (30.0, 10.0), (44.0, 0.0)):
        got = measure_alignment(leg(*parts, varus_deg=varus, flexion_deg=flexion), "right")
        hka = got.angles["hka_deg"].measure
        assert got.angles["knee_flexion_deg"].measure.value == pytest.approx(flexion, abs=4.0)
        assert abs(hka.value - true_angles(varus_deg=varus)["hka_deg"]) <= 1.96 * hka.sd, (flexion, hka)
        sds.append(hka.sd)
    assert sds == sorted(sds)
    assert sds[-1] > 2.5
