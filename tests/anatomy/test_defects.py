"""Defects: labelled, found by loss of thickness, drawn; areas and depths in closed form."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from injectplan.anatomy.build import map_all_cartilage, segmented, structures_of
from injectplan.anatomy.defects import Ellipse, drawn_defect, find_defects
from injectplan.anatomy.expected import expected_thickness
from injectplan.errors import UsageError
from injectplan.imaging.values import LabelMap, Surface
from oracles_anatomy import plain_axes, shell

NAMES = {1: "femoral_cartilage", 5: "femur", 7: "femoral_lesion"}


def joint_of(made, labels):
    structures = structures_of(LabelMap(affine=made.affine, labels=labels.astype(np.uint16), names=NAMES))
    maps, _ = map_all_cartilage(structures, plain_axes())
    return structures, maps


def coordinates(made):
    ijk = np.stack(np.meshgrid(*[np.arange(n) for n in made.bone.shape], indexing="ij"), axis=-1)
    points = ijk @ made.affine[:3, :3].T + made.affine[:3, 3]
    return points, np.linalg.norm(points, axis=-1)


@pytest.fixture(scope="module")
def made():
    return shell(20.0, 3.0, (0.5, 0.5, 0.5), seed=3)


@pytest.fixture(scope="module")
def whole(made):
    return joint_of(made, 5 * made.bone + made.cartilage)


def cone_ml(half_deg, inner_mm, outer_mm):
    """Volume of a spherical layer within a cone."""
    return 2.0 * math.pi / 3.0 * (1.0 - math.cos(math.radians(half_deg))) * (outer_mm**3 - inner_mm**3) / 1e3


def cap_mm2(half_deg, radius=20.0):
    return 2.0 * math.pi * radius**2 * (1.0 - math.cos(math.radians(half_deg)))


def test_a_whole_shell_has_no_defect(whole):
    assert find_defects(*whole, plain_axes()) == ()


@pytest.mark.parametrize("radius_mm", [6.0, 8.0, 10.0])
@pytest.mark.parametrize("towards", [(0.0, 0.0, 1.0), (0.5, 0.4, 0.77), (0.9, -0.3, 0.3)])
def test_a_circle_drawn_on_a_ball_is_a_cap_as_wide_as_one_walks(whole, radius_mm, towards):
    """Radius r along a ball of radius R: 2πR²(1 - cos(r/R)); in projection 3 to 9 % more."""
    center = 22.0 * np.array(towards) / np.linalg.norm(towards)
    drawn = Ellipse(structure="femoral_cartilage", center_mm=center, radii_mm=(radius_mm, radius_mm))
    found = drawn_defect(drawn, *whole, plain_axes())
    assert found.area_mm2 == pytest.approx(cap_mm2(math.degrees(radius_mm / 20.0)), rel=0.02)


@pytest.mark.parametrize("radii_mm", [(8.0, 6.0), (6.0, 8.0), (10.0, 10.0)])
@pytest.mark.parametrize("radius_mm", [12.0, 20.0, 30.0])
def test_an_ellipse_drawn_on_a_roller_has_the_area_of_one_on_a_sheet(radii_mm, radius_mm):
    """A cylinder unrolls: the area is π a b, and the outline reaches a along it and b/R about it."""
    turns, levels = 720, 241
    angle = 2 * np.pi * np.arange(turns) / turns
    height = np.linspace(-24.0, 24.0, levels)
    ring = np.stack([radius_mm * np.sin(angle), np.zeros(turns), radius_mm * np.cos(angle)], axis=1)
    vertices = (ring[None] + height[:, None, None] * [0.0, 1.0, 0.0]).reshape(-1, 3)
    here, after = np.arange(turns), np.roll(np.arange(turns), -1)
    corners = [(here, after, here + turns), (after, after + turns, here + turns)]
    strip = np.concatenate([np.stack(c, axis=1) for c in corners])
    faces = (strip[None] + turns * np.arange(levels - 1)[:, None, None]).reshape(-1, 3)
    surface = Surface(vertices, faces.astype(np.int32))
    if surface.vertex_normals[turns * (levels // 2)][2] < 0.0:
        surface = Surface(vertices, faces[:, ::-1].astype(np.int32))
    sheet = segmented("femoral_cartilage", surface)
    drawn = Ellipse(
        structure="femoral_cartilage", center_mm=np.array([0.0, 0.0, radius_mm]), radii_mm=radii_mm
    )
    found = drawn_defect(drawn, {"femoral_cartilage": sheet}, {}, plain_axes())
    assert found.area_mm2 == pytest.approx(math.pi * radii_mm[0] * radii_mm[1], rel=0.02)
    points = found.surface.vertices_mm[np.unique(found.surface.triangles)]
    reach = (np.abs(points[:, 1]).max(), radius_mm * np.arctan2(points[:, 0], points[:, 2]).max())
    assert reach == pytest.approx(radii_mm, abs=0.3)


def test_what_is_drawn_on_whole_cartilage_lost_nothing(whole):
    drawn = Ellipse(structure="femoral_cartilage", center_mm=np.array([0.0, 0.0, 23.0]), radii_mm=(6.0, 6.0))
    found = drawn_defect(drawn, *whole, plain_axes())
    assert found.source == "drawn"
    # whole cartilage: nothing is lost in it, and the grade says the same
    assert found.left_mm == pytest.approx(3.0, abs=0.1)
    assert found.grade == "0-1"
    assert found.depth_mm < 0.15
    assert found.volume_ml < 0.03 * found.area_mm2 * 3.0 / 1000.0
    assert found.surface is not None
    outer = np.linalg.norm(found.surface.vertices_mm, axis=1)
    assert outer == pytest.approx(23.0, abs=0.3)
    assert np.linalg.norm(found.center_mm - [0, 0, 20.0]) < 1.0


def test_the_first_radius_runs_to_the_front(whole):
    drawn = Ellipse(structure="femoral_cartilage", center_mm=np.array([0.0, 0.0, 23.0]), radii_mm=(8.0, 3.0))
    reach = np.abs(drawn_defect(drawn, *whole, plain_axes()).surface.vertices_mm).max(axis=0)
    assert reach[1] > 2.0 * reach[0]


def test_a_drawing_off_the_cartilage_is_refused(whole):
    far = Ellipse(structure="femoral_cartilage", center_mm=np.array([0.0, 0.0, 80.0]), radii_mm=(6.0, 6.0))
    with pytest.raises(UsageError, match="mm from"):
        drawn_defect(far, *whole, plain_axes())
    other = Ellipse(structure="talar_cartilage", center_mm=np.zeros(3), radii_mm=(6.0, 6.0))
    with pytest.raises(UsageError, match="femoral_cartilage"):
        drawn_defect(other, *whole, plain_axes())


@pytest.mark.parametrize(
    ("half_deg", "left_mm", "grade"), [(20.0, 1.0, "3"), (26.0, 1.0, "3"), (14.0, 1.0, "3"), (20.0, 1.8, "2")]
)
def test_partial_loss_is_found_with_its_area_depth_and_volume(made, half_deg, left_mm, grade):
    """A round dent: area of the cap on the bone, depth along the normal, and the cone's own volume above what
    is left, which on this ball is a fifth more than area times depth. A loss of 40 % is found as grade 2."""
    points, distance = coordinates(made)
    dent = points[..., 2] / np.maximum(distance, 1e-9) > math.cos(math.radians(half_deg))
    dent &= distance > 20.0 + left_mm
    structures, maps = joint_of(made, 5 * made.bone + (made.cartilage & ~dent))
    (found,) = find_defects(structures, maps, plain_axes())
    assert found.source == "thickness"
    assert found.grade == grade
    assert found.area_mm2 == pytest.approx(cap_mm2(half_deg), rel=0.1)
    assert found.depth_mm == pytest.approx(3.0 - left_mm, abs=0.15)
    assert found.volume_ml == pytest.approx(cone_ml(half_deg, 20.0 + left_mm, 23.0), rel=0.08)
    drawn = Ellipse(structure="femoral_cartilage", center_mm=np.array([0.0, 0.0, 22.0]), radii_mm=(3.0, 3.0))
    patch, ellipse = find_defects(structures, maps, plain_axes(), (drawn,))
    assert ellipse.depth_mm == pytest.approx(3.0 - left_mm, abs=0.15)
    assert ellipse.left_mm == pytest.approx(left_mm, abs=0.1)
    assert patch.finding == ellipse.finding == 1


def test_bare_bone_is_found_as_a_defect_of_full_depth(made):
    points, distance = coordinates(made)
    hole = points[..., 2] / np.maximum(distance, 1e-9) > math.cos(math.radians(18.0))
    structures, maps = joint_of(made, 5 * made.bone + (made.cartilage & ~hole))
    (found,) = find_defects(structures, maps, plain_axes())
    assert found.area_mm2 == pytest.approx(cap_mm2(18.0), rel=0.12)
    assert found.depth_mm == pytest.approx(3.0, abs=0.2)
    assert found.volume_ml == pytest.approx(cone_ml(18.0, 20.0, 23.0), rel=0.03)
    assert found.grade == "3"


def test_two_losses_apart_are_two_findings(made):
    points, distance = coordinates(made)
    holes = np.abs(points[..., 2]) / np.maximum(distance, 1e-9) > math.cos(math.radians(15.0))
    structures, maps = joint_of(made, 5 * made.bone + (made.cartilage & ~holes))
    one, other = find_defects(structures, maps, plain_axes())
    assert (one.finding, other.finding) == (1, 2)


@pytest.mark.parametrize("half_deg", [9.0, 16.0, 25.0])
def test_a_labelled_lesion_has_its_area_on_the_bone_and_its_depth(made, half_deg):
    """A cone of bone, 4 mm deep: its area is the cap's, which on a plane casts a smaller shadow."""
    points, distance = coordinates(made)
    core = made.bone & (distance > 16.0)
    core &= points[..., 2] / np.maximum(distance, 1e-9) > math.cos(math.radians(half_deg))
    structures, maps = joint_of(made, 5 * (made.bone & ~core) + made.cartilage + 7 * core)
    for kept in (maps, {}):  # with the cartilage's map and without it
        (found,) = [d for d in find_defects(structures, kept, plain_axes()) if d.source == "label"]
        assert found.area_mm2 == pytest.approx(cap_mm2(half_deg), rel=0.05)
        assert found.depth_mm == pytest.approx(4.0, abs=0.15)


def test_a_cyst_under_the_surface_has_the_area_of_its_shadow(made):
    points, _ = coordinates(made)
    core = np.linalg.norm(points - [0.0, 0.0, 13.0], axis=-1) <= 4.0
    structures, maps = joint_of(made, 5 * (made.bone & ~core) + made.cartilage + 7 * core)
    (found,) = [d for d in find_defects(structures, maps, plain_axes()) if d.source == "label"]
    assert found.area_mm2 == pytest.approx(16.0 * math.pi, rel=0.04)
    assert found.depth_mm == pytest.approx(11.0, abs=0.3)


def test_a_lesion_with_upright_walls_has_the_area_of_its_mouth_and_its_depth(made):
    """A cylinder of bone 5 mm wide reaching 4 mm under the bone's surface."""
    points, _ = coordinates(made)
    core = made.bone & (np.hypot(points[..., 0], points[..., 1]) <= 5.0) & (points[..., 2] > 16.0)
    labels = 5 * (made.bone & ~core) + made.cartilage + 7 * core
    structures, maps = joint_of(made, labels)
    lesions = [d for d in find_defects(structures, maps, plain_axes()) if d.source == "label"]
    (found,) = lesions
    assert found.structure == "femoral_lesion"
    assert found.area_mm2 == pytest.approx(2 * math.pi * 400 * (1 - math.sqrt(1 - 25 / 400)), rel=0.08)
    assert found.depth_mm == pytest.approx(4.0, abs=0.15)
    assert found.volume_ml == pytest.approx(core.sum() * 0.125 / 1000.0, rel=1e-6)


def test_a_bone_holds_its_lesion_and_the_cartilage_over_it_stays_covered(made):
    """A lesion under whole cartilage is no bare bone: the bone's surface runs on over it."""
    points, _ = coordinates(made)
    core = made.bone & (np.hypot(points[..., 0], points[..., 1]) <= 5.0) & (points[..., 2] > 16.0)
    structures, maps = joint_of(made, 5 * (made.bone & ~core) + made.cartilage + 7 * core)
    femur = structures["femur"]
    assert femur.voxel_volume_ml == pytest.approx(made.bone.sum() * 0.125 / 1000.0)
    assert femur.surface.volume_ml == pytest.approx(femur.voxel_volume_ml, rel=5e-4)
    assert structures["femoral_lesion"].priority > femur.priority
    found = maps["femoral_cartilage"]
    assert (found.state == 1).all()
    (lesion,) = [d for d in find_defects(structures, maps, plain_axes()) if d.source == "label"]
    assert lesion.grade is None


@pytest.mark.parametrize("bay_deg", [0.0, 25.0])
def test_a_lesion_laid_bare_is_grade_4_even_open_to_the_rim(made, bay_deg):
    """Cartilage gone over a lesion; with a bay as wide as the lesion, the hole is no closed ring."""
    points, distance = coordinates(made)
    unit = points / np.maximum(distance, 1e-9)[..., None]
    over = unit[..., 2] > math.cos(math.radians(17.0))
    core = made.bone & over & (distance > 16.0)
    turn = np.degrees(np.arctan2(unit[..., 0], unit[..., 1]))
    polar = np.degrees(np.arccos(np.clip(unit[..., 2], -1, 1)))
    bay = (np.abs(turn) < bay_deg) & (polar < 41.0)
    kept = made.cartilage & (polar < 40.0) & ~over & ~bay
    structures, maps = joint_of(made, 5 * (made.bone & ~core) + kept + 7 * core)
    defects = find_defects(structures, maps, plain_axes())
    (lesion,) = [d for d in defects if d.source == "label"]
    assert lesion.grade == "4"
    (bare,) = [d for d in defects if d.source == "thickness"]
    assert bare.area_mm2 == pytest.approx(cap_mm2(17.0), rel=0.06)
    assert bare.depth_mm == pytest.approx(3.0, abs=0.3)
    assert lesion.finding == bare.finding == 1
    assert bare.grade == "4"  # as the lesion under it tells


def test_gaps_narrower_than_a_voxel_are_not_bare_bone_but_not_measured():
    made = shell(20.0, 2.0, (0.6, 0.6, 0.9), seed=6)
    points, distance = coordinates(made)
    slit = np.abs(points[..., 0]) < 0.35
    wide = points[..., 2] / np.maximum(distance, 1e-9) > math.cos(math.radians(12.0))
    for gone, state in ((slit, 3), (wide, 2)):
        structures = structures_of(
            LabelMap(
                affine=made.affine, names=NAMES,
                labels=(5 * made.bone + (made.cartilage & ~gone)).astype(np.uint16),
            )
        )  # fmt: skip
        found = map_all_cartilage(structures, plain_axes(), coarsest_spacing_mm=0.9)[0]["femoral_cartilage"]
        counts = np.bincount(found.state, minlength=4)
        assert counts[state] > 20 or (state == 3 and counts[2] == 0)
        assert counts[5 - state] < 5


@pytest.mark.parametrize(("left_mm", "grade"), [(3.0, "0-1"), (2.0, "2"), (1.0, "3"), (0.0, "3")])
def test_a_drawn_defect_is_graded_by_the_thickness_that_is_left(made, left_mm, grade):
    points, distance = coordinates(made)
    dent = points[..., 2] / np.maximum(distance, 1e-9) > math.cos(math.radians(18.0))
    gone = dent & (distance > 20.0 + left_mm)
    structures, maps = joint_of(made, 5 * made.bone + (made.cartilage & ~gone))
    drawn = Ellipse(structure="femoral_cartilage", center_mm=np.array([0.0, 0.0, 22.0]), radii_mm=(5.0, 5.0))
    assert drawn_defect(drawn, structures, maps, plain_axes()).grade == grade


def test_expected_thickness_is_the_neighbourhood_s(whole):
    structures, maps = whole
    expected = expected_thickness(maps["femoral_cartilage"], structures["femur"].surface)
    assert expected == pytest.approx(3.0, abs=0.1)


def test_expected_thickness_sees_through_a_wide_loss_and_follows_a_slope(whole):
    """Thickness that grows by 0.04 mm per mm, with a third left within 10 mm of a pole (320 mm²)."""
    structures, maps = whole
    bone, flat = structures["femur"].surface, maps["femoral_cartilage"]
    slope = 2.5 + 0.04 * bone.vertices_mm[:, 0]
    worn = np.linalg.norm(bone.vertices_mm - [0.0, 0.0, 20.0], axis=1) < 10.0
    noise = np.random.default_rng(2).normal(0.0, 0.05, len(slope))
    measured = replace(flat, thickness_mm=np.where(worn, slope / 3.0, slope) + noise)
    expected = expected_thickness(measured, bone)
    assert np.abs(expected - slope)[worn].max() < 0.35
    assert np.abs(expected - slope)[worn].mean() < 0.12
    inner = np.abs(bone.vertices_mm[:, 0]) < 14.0  # at its ends a plane through half a neighbourhood bends
    assert np.abs(expected - slope)[inner & ~worn].mean() < 0.06
    assert find_defects(structures, {"femoral_cartilage": measured}, plain_axes())[
        0
    ].area_mm2 == pytest.approx(bone.vertex_areas_mm2[worn].sum(), rel=0.03)
