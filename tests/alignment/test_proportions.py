"""Sets of landmarks that no leg has, by unit, length, width and place; and those that legs have."""

import numpy as np
import pytest

from injectplan.alignment import measure_alignment_of_landmarks
from injectplan.alignment.proportions import knee_gap
from injectplan.errors import ContradictionError, UnitsError
from planar_leg import marks, planar_leg

TIBIA = ("tibial", "plateau", "ankle", "malleolus")


def leg(gap_mm=22.0, **of):
    """A leg whose two knee centres lie apart along it, with what the neck and the upper shaft need."""
    points = planar_leg(**of)
    away = points["ankle_center"] / np.linalg.norm(points["ankle_center"])
    for name in points:
        if any(part in name for part in TIBIA):
            points[name] = points[name] + gap_mm * away
    hip = points["hip_center"]
    points["femoral_neck_base"] = hip + 1.6 * (points["femoral_neck_center"] - hip)
    points["upper_femoral_shaft_proximal"] = hip + np.array([30.0, 0.0, -70.0])
    points["upper_femoral_shaft_distal"] = hip + np.array([28.0, 0.0, -130.0])
    points["intercondylar_notch"] = np.array([0.0, -5.0, -8.0])
    return points


def measure(points):
    return measure_alignment_of_landmarks(marks(points), "right")


def codes(points):
    return [notice.message for notice in measure(points).notices if notice.code == "proportions"]


@pytest.mark.parametrize("size", [0.7, 1.0, 1.3])
@pytest.mark.parametrize(
    "of", [{}, {"deviation": 20.0}, {"deviation": -20.0, "mldfa": 75.0, "mpta": 95.0}, {"flexion": 44.0}]
)
def test_legs_of_all_sizes_pass(size, of):
    points = {name: size * at for name, at in leg(**of).items()}
    assert measure(points).angles["hka_deg"].measure.known


@pytest.mark.parametrize("flexion", [0.0, 30.0, 60.0, 90.0, 120.0])
def test_a_bent_knees_centres_face_each_other(flexion):
    across, along = knee_gap(leg(flexion=flexion))
    half = np.radians(flexion / 2.0)
    assert (across, along) == pytest.approx((22.0 * np.sin(half), 22.0 * np.cos(half)), abs=1e-9)


@pytest.mark.parametrize(
    ("factor", "word"),
    [(0.1, "centimetres"), (1 / 25.4, "inches"), (0.001, "metres"), (10.0, "tenths of a millimetre")],
)
@pytest.mark.parametrize("part", ["whole", "knee"])
def test_another_unit_is_named(factor, word, part):
    points = leg()
    if part == "knee":
        points = {n: at for n, at in points.items() if "condyle" in n or "plateau" in n}
    with pytest.raises(UnitsError, match=word if part == "whole" or word == "metres" else "seem to be in"):
        measure({name: factor * at for name, at in points.items()})


@pytest.mark.parametrize(
    ("one", "other"),
    [("femoral_neck_center", "hip_center"), ("femoral_neck_base", "hip_center"),
     ("upper_femoral_shaft_proximal", "upper_femoral_shaft_distal")],
)  # fmt: skip
def test_two_ends_at_one_place_are_named(one, other):
    points = leg()
    points[one] = points[other].copy()
    with pytest.raises(ContradictionError, match=f"{one} and {other} lie at the same place"):
        measure(points)


def test_an_angle_whose_landmarks_span_no_plane_is_missing_with_a_reason():
    """Bergmann's axis through two axes that never meet: a neck along the shaft."""
    points = leg()
    points["femoral_neck_center"] = points["hip_center"] + np.array([0.0, 0.0, -30.0])
    points["upper_femoral_shaft_distal"] = points["upper_femoral_shaft_proximal"] - [0.0, 0.0, 60.0]
    angle = measure_alignment_of_landmarks(marks(points, 0.0), "right").angles["femoral_version_deg.bergmann"]
    assert not angle.measure.known
    assert angle.measure.reason


def shifted(points, names, by):
    return {n: at + by if any(part in n for part in names) else at for n, at in points.items()}


def stretched(points, end, start, factor):
    return points | {end: points[start] + factor * (points[end] - points[start])}


@pytest.mark.parametrize(
    ("change", "words"),
    [(lambda p: shifted(p, TIBIA, np.array([60.0, 0.0, 0.0])), "apart across the leg"),
     (lambda p: stretched(p, "ankle_center", "tibial_knee_center", 5.0), "tibia is 1850 mm long"),
     (lambda p: shifted(p, ("malleolus",), np.array([0.0, 0.0, 120.0])), "mm from ankle_center"),
     (lambda p: stretched(p, "hip_center", "femoral_knee_center", 0.3), "femur is 129 mm long"),
     (lambda p: shifted(p, ("hip_center",), np.array([-200.0, 0.0, 0.0])), "from hip_center"),
     (lambda p: p | {"femoral_knee_center": p["tibial_knee_center"],
                     "tibial_knee_center": p["femoral_knee_center"]}, "swapped")],
)  # fmt: skip
def test_what_no_leg_has_is_refused(change, words):
    with pytest.raises(ContradictionError, match=words):
        measure(change(leg()))


def test_what_legs_rarely_have_is_told():
    assert codes(leg()) == []
    (said,) = codes(shifted(leg(), TIBIA, np.array([24.0, 0.0, 0.0])))
    assert "24 mm apart across the leg" in said
    steep = leg()
    steep["distal_medial_condyle"] = steep["distal_medial_condyle"] + [0.0, 0.0, 25.0]
    told = codes(steep)
    assert any("JLCA is -2" in said for said in told)
    assert any("mLDFA is 11" in said for said in told)
