"""Landmarks that contradict each other: one pair swapped, the wrong side, whatever set of them is given."""

import itertools

import numpy as np
import pytest

from injectplan.alignment import measure_alignment_of_landmarks
from injectplan.alignment.consistency import MEDIAL_LINES, handed_of, points_of
from injectplan.errors import ContradictionError, UsageError
from planar_leg import marks, planar_leg

AXES = ("hip_center", "femoral_knee_center", "tibial_knee_center", "ankle_center")
PAIRS = {
    "distal": ("distal_medial_condyle", "distal_lateral_condyle"),
    "posterior": ("posterior_medial_condyle", "posterior_lateral_condyle"),
    "epicondyles": ("medial_epicondyle", "lateral_epicondyle"),
    "plateau": ("medial_plateau", "lateral_plateau"),
    "rear": ("posterior_medial_plateau", "posterior_lateral_plateau"),
    "malleoli": ("medial_malleolus", "lateral_malleolus"),
}


def leg(side="right", **deformity):
    points = planar_leg(side=side, **deformity)
    sign = -1.0 if side == "right" else 1.0
    points["medial_epicondyle"] = np.array([sign * 40.0, 0.0, 2.0])
    points["lateral_epicondyle"] = np.array([-sign * 40.0, 1.0, 0.0])
    return points


def only(points, *names):
    return {n: points[n] for n in (*AXES, *names)}


def swapped(points, pair):
    a, b = PAIRS[pair]
    return points | {a: points[b], b: points[a]}


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("deformity", [{}, {"deviation": 18.0}, {"torsion": 55.0, "version": 50.0}])
@pytest.mark.parametrize("one", list(PAIRS))
def test_one_swapped_pair_is_caught_by_any_other(side, deformity, one):
    whole = leg(side, **deformity)
    for other in PAIRS:
        if other == one:
            continue
        points = only(whole, *PAIRS[one], *PAIRS[other])
        measure_alignment_of_landmarks(marks(points), side)
        with pytest.raises(ContradictionError, match="swapped"):
            measure_alignment_of_landmarks(marks(swapped(points, one)), side)


def test_the_pair_that_stands_alone_is_blamed():
    with pytest.raises(
        ContradictionError, match="swapped at distal_medial_condyle or distal_lateral_condyle"
    ):
        measure_alignment_of_landmarks(marks(swapped(leg(mldfa=87.0), "distal")), "right")


def test_a_distal_swap_that_reads_as_an_ordinary_angle_is_caught_by_the_neck():
    # the condyles alone, swapped: mLDFA 87 reads 93; the head lies medial of the neck on every femur
    points = leg(mldfa=87.0)
    femur = {
        n: points[n] for n in ("hip_center", "femoral_knee_center", "femoral_neck_center", *PAIRS["distal"])
    }
    measure_alignment_of_landmarks(marks(femur), "right")
    with pytest.raises(ContradictionError, match="distal_medial_condyle"):
        measure_alignment_of_landmarks(marks(swapped(femur, "distal")), "right")


TELLING = {
    "condyles before condyles": (*PAIRS["posterior"], *PAIRS["distal"]),
    "condyles before epicondyles": (*PAIRS["posterior"], *PAIRS["epicondyles"]),
    "condyles before the knee's centre": PAIRS["posterior"],
    "plateaus": (*PAIRS["rear"], *PAIRS["plateau"]),
    "plateaus before the knee's centre": PAIRS["rear"],
}


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("names", TELLING.values(), ids=TELLING)
def test_any_set_that_tells_the_side_contradicts_the_wrong_one(side, names):
    other = "left" if side == "right" else "right"
    points = only(leg(side, flexion=4.0), *names)
    assert measure_alignment_of_landmarks(marks(points), None).side == side
    with pytest.raises(ContradictionError, match=f"side {other}"):
        measure_alignment_of_landmarks(marks(points), other)


@pytest.mark.parametrize("version", [-20.0, 60.0])
@pytest.mark.parametrize("torsion", [-10.0, 60.0])
@pytest.mark.parametrize("spin", [-20.0, 25.0])
def test_twisted_bones_and_a_rotated_knee_are_no_swap(version, torsion, spin):
    points = leg(version=version, torsion=torsion, flexion=10.0)
    c, s = np.cos(np.radians(spin)), np.sin(np.radians(spin))
    r = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
    tibial = ("plateau", "malleolus")
    turned = {n: r @ p if n.endswith(tibial) else p for n, p in points.items()}
    assert measure_alignment_of_landmarks(marks(turned), "right").side == "right"


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_shin_alone_and_a_bent_leg_alone_tell_the_side(side):
    points = leg(side, flexion=40.0)
    shin = {n: points[n] for n in ("tibial_knee_center", "ankle_center", *PAIRS["rear"])}
    bent = only(points, *PAIRS["distal"])
    for given in (shin, bent):
        assert measure_alignment_of_landmarks(marks(given), None).side == side


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_pelvis_tells_the_side(side):
    sign = 1.0 if side == "right" else -1.0
    points = {
        "hip_center": np.array([sign * 90.0, -50.0, 0.0]),
        "anterior_superior_iliac_spine": np.array([sign * 120.0, 0.0, 80.0]),
        "opposite_anterior_superior_iliac_spine": np.array([-sign * 120.0, 0.0, 80.0]),
        "pubic_tubercle_midpoint": np.array([0.0, 0.0, -10.0]),
    }
    assert handed_of(points) == (sign, "the pelvis")


def test_a_set_that_does_not_tell_the_side_says_so():
    points = only(leg(), *PAIRS["distal"], *PAIRS["plateau"])
    got = measure_alignment_of_landmarks(marks(points), "left")
    assert any(n.code == "side" and "taken as given" in n.message for n in got.notices)
    with pytest.raises(UsageError, match="side"):
        measure_alignment_of_landmarks(marks(points), None)


def test_a_rigid_motion_changes_neither_side_nor_peace():
    rng = np.random.default_rng(8)
    for side, flexion in itertools.product(("left", "right"), (0.0, 45.0)):
        points = leg(side, flexion=flexion, version=30.0, torsion=40.0)
        q, _ = np.linalg.qr(rng.standard_normal((3, 3)))
        q *= np.sign(np.linalg.det(q))
        moved = {n: q @ p + [50.0, 900.0, -300.0] for n, p in points.items()}
        assert measure_alignment_of_landmarks(marks(moved), None).side == side


def test_every_medial_line_is_of_known_landmarks():
    from injectplan.alignment.angles import LANDMARK_NAMES

    assert {n for pair in MEDIAL_LINES for n in pair} <= LANDMARK_NAMES
    assert points_of(marks(leg())).keys() <= LANDMARK_NAMES
