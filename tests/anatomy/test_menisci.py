"""Menisci as rings on round plateaus: extrusion and coverage in closed form, and how they must change."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from injectplan.anatomy.build import map_all_cartilage, structures_of
from injectplan.anatomy.menisci import measure_menisci
from injectplan.anatomy.model import JointAxes
from injectplan.imaging.values import LabelMap
from oracles_anatomy import plain_axes

NAMES = {
    1: "medial_tibial_cartilage", 2: "lateral_tibial_cartilage", 3: "tibia", 4: "medial_meniscus",
    5: "lateral_meniscus",
}  # fmt: skip
MIDDLE_MM, PLATEAU_MM = 20.0, 15.0
RING_MM = {"medial": (9.0, 16.0), "lateral": (7.0, 14.0)}


def tray(shift_mm=(0.0, 0.0), *, spacing_mm=0.5, pose=None, side="right", leave_out=()):
    """A block of bone with two round plateaus 15 mm wide and a ring on each; lateral is +x at the right.

    shift_mm : of the medial and of the lateral ring, outwards.  pose : a rotation of the whole.
    """
    outward = 1.0 if side == "right" else -1.0
    half = np.array([70.0, 20.0, 9.0])
    shape = np.ceil(2 * half / spacing_mm).astype(int) + 1
    index = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), axis=-1)
    x, y, z = np.moveaxis(index * spacing_mm - half + 0.11, -1, 0)
    labels = np.zeros(shape, np.uint16)
    labels[(np.abs(x) < 40) & (np.abs(y) < 18) & (z > -7) & (z < 0)] = 3
    for value, (name, shift) in enumerate(zip(("medial", "lateral"), shift_mm, strict=True), start=1):
        away = outward * (1.0 if name == "lateral" else -1.0)
        r = np.hypot(x - away * MIDDLE_MM, y)
        labels[(r < PLATEAU_MM) & (z >= 0) & (z < 2)] = value
        ring = np.hypot(x - away * (MIDDLE_MM + shift), y)
        low, high = RING_MM[name]
        labels[(ring > low) & (ring < high) & (z >= 2) & (z < 6) & (labels == 0)] = value + 3
    affine = np.diag([spacing_mm, spacing_mm, spacing_mm, 1.0])
    affine[:3, 3] = -half + 0.11
    axes = plain_axes(side)
    if pose is not None:
        turn = np.eye(4)
        turn[:3, :3] = pose
        affine = turn @ affine
        axes = JointAxes(
            side=side, origin_mm=np.zeros(3), lateral=pose @ axes.lateral, anterior=pose @ axes.anterior,
            proximal=pose @ axes.proximal,
        )  # fmt: skip
    names = {v: n for v, n in NAMES.items() if n not in leave_out}
    structures = structures_of(LabelMap(affine=affine, labels=labels, names=names))
    maps, _ = map_all_cartilage(structures, axes)
    return measure_menisci(structures, maps, axes)


def expected_extrusion(name, shift=0.0):
    """Mean over the middle fifth of the difference of the two outer edges, which are circles."""
    along = np.linspace(-0.2 * PLATEAU_MM, 0.2 * PLATEAU_MM, 2001)
    edge = np.sqrt(PLATEAU_MM**2 - along**2)
    return float(np.mean(shift + np.sqrt(RING_MM[name][1] ** 2 - along**2) - edge))


def lens(a, b, d):
    """Area that two circles of radii a and b share, d apart."""
    d = abs(d)
    if d <= abs(a - b):
        return math.pi * min(a, b) ** 2
    one = a * a * math.acos((d * d + a * a - b * b) / (2 * d * a))
    two = b * b * math.acos((d * d + b * b - a * a) / (2 * d * b))
    chord = 0.5 * math.sqrt((-d + a + b) * (d + a - b) * (d - a + b) * (d + a + b))
    return one + two - chord


def expected_coverage(name, shift=0.0):
    low, high = RING_MM[name]
    return (lens(PLATEAU_MM, high, shift) - lens(PLATEAU_MM, low, shift)) / (math.pi * PLATEAU_MM**2)


def agrees(found, shifts=(0.0, 0.0)):
    for name, shift in zip(("medial", "lateral"), shifts, strict=True):
        measured = found[f"{name}_meniscus"]
        assert measured.reason == ""
        assert measured.extrusion_mm == pytest.approx(expected_extrusion(name, shift), abs=0.25)
        # rims lie within 0.15 mm of the true ones: 2 % of the disc
        assert measured.coverage_fraction == pytest.approx(expected_coverage(name, shift), abs=0.02)
        assert measured.covered_area_mm2 == pytest.approx(
            expected_coverage(name, shift) * math.pi * PLATEAU_MM**2, rel=0.04
        )


def test_rings_on_round_plateaus_in_closed_form():
    agrees(tray())


@pytest.mark.parametrize("shift", [-3.0, 5.0])
def test_a_meniscus_that_moves_outwards_extrudes_by_as_much_and_its_fellow_by_nothing(shift):
    still = tray()
    moved = tray((shift, 0.0))
    agrees(moved, (shift, 0.0))
    rise = moved["medial_meniscus"].extrusion_mm - still["medial_meniscus"].extrusion_mm
    assert rise == pytest.approx(shift, abs=0.15)
    lateral = [m["lateral_meniscus"] for m in (still, moved)]
    assert lateral[1].extrusion_mm == pytest.approx(lateral[0].extrusion_mm, abs=0.02)
    assert lateral[1].coverage_fraction == pytest.approx(lateral[0].coverage_fraction, abs=1e-3)


def test_a_meniscus_off_its_plateau_covers_nothing():
    found = tray((32.0, 0.0))
    assert found["medial_meniscus"].coverage_fraction < 0.02
    assert found["medial_meniscus"].extrusion_mm > 25.0


@pytest.mark.parametrize("seed", [1, 2])
def test_the_pose_of_the_scan_changes_nothing(seed):
    agrees(tray((2.0, -1.0), pose=Rotation.random(random_state=seed).as_matrix()), (2.0, -1.0))


def test_a_left_knee_measures_as_its_mirror():
    here, there = tray((2.0, 0.0)), tray((2.0, 0.0), side="left")
    for name, measured in here.items():
        assert there[name].extrusion_mm == pytest.approx(measured.extrusion_mm, abs=0.1)
        assert there[name].coverage_fraction == pytest.approx(measured.coverage_fraction, abs=0.01)


def test_without_its_cartilage_a_meniscus_has_no_number_but_a_reason():
    found = tray(leave_out=("medial_tibial_cartilage",))
    assert math.isnan(found["medial_meniscus"].extrusion_mm)
    assert found["medial_meniscus"].reason == "the medial tibial cartilage is not measured"
    assert found["lateral_meniscus"].coverage_fraction == pytest.approx(
        expected_coverage("lateral"), abs=0.035
    )
    assert tray(leave_out=("medial_meniscus", "lateral_meniscus")) == {}
