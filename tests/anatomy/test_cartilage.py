"""Thickness against closed forms; covered, bare, failed and outside kept apart; regions sum to the whole."""

from __future__ import annotations

import math

import numpy as np
import pytest

from injectplan.anatomy.cartilage import (
    averaged,
    map_cartilage,
    statistics,
    thickness_along,
    thickness_volume,
)
from injectplan.anatomy.measures import cartilage_document
from injectplan.anatomy.model import COVERED, DENUDED, FAILED, OUTSIDE
from injectplan.anatomy.regions import weighted_quantile
from injectplan.anatomy.surfaces import mask_of_surface, solids_of_masks
from injectplan.anatomy.zones import mapped_joint
from injectplan.kernels.bvh import nearest_points
from injectplan.phantoms import make_phantom
from injectplan.phantoms.knee_cartilage import DEFAULT_MM, ZONE_CENTER, femoral_thickness
from injectplan.phantoms.shapes import Shape
from oracles_anatomy import ball_ml, mirrored, nearest_by_search, plain_axes, shell


def measured(made, *, name="femoral_cartilage", **keywords):
    solids = solids_of_masks({"b": made.bone, "c": made.cartilage}, made.affine, {"c": "b"})
    spacing = float(np.linalg.norm(made.affine[:3, :3], axis=0).max())
    found, notices = map_cartilage(
        name,
        solids["c"],
        "femur",
        solids["b"],
        plain_axes(),
        coarsest_spacing_mm=spacing,
        edges_mm=made.affine[:3, :3],
        **keywords,
    )
    return found, solids["b"], solids["c"], notices


def agrees_with_its_closed_form(made):
    """Bias within 0.02 mm and spread within 0.05 mm, every vertex covered; volume within 0.2 %."""
    found, bone, cartilage, notices = measured(made)
    assert (found.state == COVERED).all()
    result = statistics(found.thickness_mm, bone.vertex_areas_mm2, found.state == COVERED)
    assert abs(result.mean - made.thickness_mm) <= 0.02
    assert result.sd <= 0.05
    nearest = statistics(found.nearest_mm, bone.vertex_areas_mm2, found.state == COVERED)
    assert abs(nearest.mean - made.thickness_mm) <= 0.02
    assert found.trustworthy
    assert notices == ()
    # the voxels' count itself is up to 0.53 % off on a 1 mm shell; the surface knows better (decision 0070)
    assert cartilage.volume_ml == pytest.approx(made.cartilage_ml, rel=0.002)
    assert found.volume_ml == cartilage.volume_ml
    assert bone.volume_ml == pytest.approx(ball_ml(20.0), rel=0.002)


@pytest.mark.parametrize(("thickness_mm", "seed", "handed"), [(1.0, 1, 1), (2.0, 2, -1), (3.0, 5, 1)])
def test_a_shell_s_thickness_and_volume_at_the_oai_spacing(thickness_mm, seed, handed):
    agrees_with_its_closed_form(shell(20.0, thickness_mm, seed=seed, handed=handed))


@pytest.mark.parametrize("thickness_mm", [1.0, 3.0])
def test_a_grid_along_the_axes_is_no_exception(thickness_mm):
    """Where all slices cut the ball alike, terraces do not average out."""
    agrees_with_its_closed_form(shell(20.0, thickness_mm, seed=None))


@pytest.mark.soak
@pytest.mark.parametrize("thickness_mm", [1.0, 1.5, 2.0, 2.5, 3.0])
@pytest.mark.parametrize("seed", range(11, 21))
def test_any_orientation_gives_the_shell_s_thickness(thickness_mm, seed):
    agrees_with_its_closed_form(shell(20.0, thickness_mm, seed=seed, handed=1 if seed % 2 else -1))


def test_three_millimetre_slices_say_that_they_are_not_to_be_trusted():
    found, _, _, notices = measured(shell(20.0, 2.0, (0.4, 0.4, 3.0)))
    assert not found.trustworthy
    assert [n.code for n in notices] == ["thickness-not-trustworthy"]


@pytest.mark.parametrize("spacing_mm", [(0.4, 0.4, 3.0), (0.4, 3.0, 0.4), (0.4, 0.4, 2.0)])
@pytest.mark.parametrize("thickness_mm", [1.0, 1.5, 2.0, 3.0])
@pytest.mark.parametrize("seed", [None, 1, 2])
def test_a_whole_sheet_that_falls_between_slices_is_not_bare_bone(spacing_mm, thickness_mm, seed):
    found, _, _, notices = measured(shell(20.0, thickness_mm, spacing_mm, seed=seed))
    assert (found.state != DENUDED).all()
    missed = (found.state == FAILED).mean()
    assert missed > 0.15 if thickness_mm < max(spacing_mm) / 2 else missed < 0.25
    assert np.isnan(found.thickness_mm[found.state != COVERED]).all()
    assert {n.code for n in notices} <= {"thickness-not-trustworthy", "bare-bone-not-resolved"}


def holed(thickness_mm, spacing_mm, seed, half_deg, from_slices_deg):
    """A shell with a round hole this far from where the surface faces the slices, and the hole's area."""
    made = shell(20.0, thickness_mm, spacing_mm, seed=seed)
    across, along = (made.affine[:3, axis] / np.linalg.norm(made.affine[:3, axis]) for axis in (2, 0))
    turn = math.radians(from_slices_deg)
    ijk = np.argwhere(made.cartilage)
    points = ijk @ made.affine[:3, :3].T + made.affine[:3, 3]
    cosine = points @ (math.cos(turn) * across + math.sin(turn) * along) / np.linalg.norm(points, axis=1)
    kept = made.cartilage.copy()
    kept[tuple(ijk[cosine > math.cos(math.radians(half_deg))].T)] = False
    area = 2.0 * math.pi * 400.0 * (1.0 - math.cos(math.radians(half_deg)))
    return type(made)(made.affine, made.bone, kept, 20.0, thickness_mm), area


@pytest.mark.parametrize("seed", [1, 2])
def test_bare_bone_across_thick_slices_is_found_and_bare_bone_that_faces_them_is_not_claimed(seed):
    """Three millimetre slices cut a bare patch of two millimetre cartilage from the side, or miss it."""
    for from_slices_deg, least, most in ((90.0, 0.8, 1.0), (75.0, 0.6, 1.0), (0.0, 0.0, 0.0)):
        made, area = holed(2.0, (0.4, 0.4, 3.0), seed, 25.0, from_slices_deg)
        found, bone, _, notices = measured(made)
        bare = bone.vertex_areas_mm2[found.state == DENUDED].sum()
        assert least * area <= bare <= most * area
        failed = bone.vertex_areas_mm2[found.state == FAILED].sum()
        (said,) = [n.message for n in notices if n.code == "bare-bone-not-resolved"]
        assert "3.0 mm apart" in said
        assert failed > (0.8 * area if from_slices_deg == 0.0 else 0.0)


@pytest.mark.parametrize("from_slices_deg", [90.0, 45.0, 0.0])
@pytest.mark.parametrize("thickness_mm", [1.0, 2.0, 3.0])
def test_bare_bone_at_the_oai_spacing_is_found_wherever_it_faces(thickness_mm, from_slices_deg):
    made, area = holed(thickness_mm, (0.3646, 0.3646, 0.7), 2, 25.0, from_slices_deg)
    found, bone, _, notices = measured(made)
    assert bone.vertex_areas_mm2[found.state == DENUDED].sum() == pytest.approx(area, rel=0.07)
    assert (found.state != FAILED).all()
    assert notices == ()


def capped(made, cosine):
    """Leave cartilage only where the direction's z is above `cosine`; the rest of the ball lies outside."""
    ijk = np.argwhere(made.cartilage)
    points = ijk @ made.affine[:3, :3].T + made.affine[:3, 3]
    cap = points[:, 2] / np.linalg.norm(points, axis=1)
    kept = made.cartilage.copy()
    kept[tuple(ijk[cap < cosine].T)] = False
    return kept, points, ijk, cap


def test_bare_bone_inside_the_outline_is_denuded_and_never_zero():
    """A cap of 120 degrees with a hole of 30 degrees: areas in closed form."""
    made = shell(20.0, 2.0, seed=3)
    kept, _, ijk, cap = capped(made, math.cos(math.radians(60.0)))
    kept[tuple(ijk[cap > math.cos(math.radians(15.0))].T)] = False
    found, bone, _, _ = measured(type(made)(made.affine, made.bone, kept, 20.0, 2.0))
    areas = bone.vertex_areas_mm2

    def cap_mm2(half_deg):
        return 2.0 * math.pi * 400.0 * (1.0 - math.cos(math.radians(half_deg)))

    assert areas[found.state == DENUDED].sum() == pytest.approx(cap_mm2(15.0), rel=0.05)  # 0.13 mm of rim
    assert areas[found.state == COVERED].sum() == pytest.approx(cap_mm2(60.0) - cap_mm2(15.0), rel=0.015)
    assert areas[found.state == OUTSIDE].sum() == pytest.approx(1600 * math.pi - cap_mm2(60.0), rel=0.02)
    assert (found.state == FAILED).sum() < 5
    assert np.isnan(found.thickness_mm[found.state != COVERED]).all()
    assert np.nanmin(found.thickness_mm) > 0.0
    document = cartilage_document(found, bone)
    assert document["denuded_area_mm2"] == pytest.approx(cap_mm2(15.0), rel=0.05)  # 0.13 mm of rim
    assert document["covered_fraction"] == pytest.approx(1 - cap_mm2(15.0) / cap_mm2(60.0), abs=0.02)


@pytest.mark.parametrize(
    "name",
    ["femoral_cartilage", "tibial_cartilage", "medial_tibial_cartilage", "patellar_cartilage",
     "acetabular_cartilage", "talar_cartilage", "tibial_plafond_cartilage", "other_cartilage"],
)  # fmt: skip
def test_regions_sum_to_the_whole(name):
    made = shell(15.0, 2.0, (0.7, 0.7, 0.7), seed=3)
    kept, *_ = capped(made, 0.3)
    found, bone, cartilage, _ = measured(type(made)(made.affine, made.bone, kept, 15.0, 2.0), name=name)
    document = cartilage_document(found, bone)
    parts = document["regions"].values()
    assert sum(p["area_mm2"] for p in parts) == pytest.approx(document["area_mm2"], rel=1e-9)
    assert sum(p["volume_ml"] for p in parts) == pytest.approx(cartilage.volume_ml, rel=1e-9)
    assert sum(p["thickness_mm"]["n"] for p in parts) == document["thickness_mm"]["n"]
    assert ((found.region > 0) == (found.state != OUTSIDE)).all()
    assert len(set(found.regions)) == len(found.regions)


def test_a_mirrored_joint_gives_the_same_numbers():
    made = shell(18.0, 2.0, seed=6)
    kept, *_ = capped(made, 0.2)
    found, bone, cartilage, _ = measured(type(made)(made.affine, made.bone, kept, 18.0, 2.0))
    other, _ = map_cartilage(
        "femoral_cartilage", mirrored(cartilage), "femur", mirrored(bone), plain_axes("left")
    )
    here, there = cartilage_document(found, bone), cartilage_document(other, mirrored(bone))
    assert there["thickness_mm"]["mean"] == pytest.approx(here["thickness_mm"]["mean"], rel=1e-3)
    for name, part in here["regions"].items():
        assert there["regions"][name]["area_mm2"] == pytest.approx(part["area_mm2"], rel=1e-3, abs=0.5)
        assert there["regions"][name]["volume_ml"] == pytest.approx(part["volume_ml"], rel=1e-3, abs=1e-3)


def test_nearest_agrees_with_a_search():
    _, bone, cartilage, _ = measured(shell(8.0, 2.0, (0.9, 0.9, 0.9)))
    spots = bone.vertices_mm[::150]
    outer = np.linalg.norm(cartilage.vertices_mm[cartilage.triangles], axis=2).min(axis=1) > 9.0
    face = type(cartilage)(cartilage.vertices_mm, cartilage.triangles[outer])
    exact = nearest_points(face.bvh, spots)[0]
    searched = nearest_by_search(face, spots)
    assert (exact <= searched + 1e-9).all()
    assert exact == pytest.approx(searched, abs=0.01)


def test_a_ray_that_meets_no_cartilage_is_nan():
    _, _, cartilage, _ = measured(shell(8.0, 2.0, (0.9, 0.9, 0.9)))
    where, up = np.array([[0.0, 0.0, 30.0]]), np.array([[0.0, 0.0, 1.0]])
    assert np.isnan(thickness_along(where, up, cartilage)).all()


def test_averaging_keeps_constants_and_nan():
    _, bone, _, _ = measured(shell(8.0, 2.0, (0.9, 0.9, 0.9)))
    values = np.full(len(bone.vertices_mm), 2.0)
    values[:100] = np.nan
    result = averaged(values, bone)
    assert np.isnan(result[:100]).all()
    assert result[100:] == pytest.approx(2.0)


def test_statistics_weigh_by_area():
    values, areas = np.array([1.0, 3.0, np.nan]), np.array([3.0, 1.0, 50.0])
    found = statistics(values, areas, np.ones(3, bool))
    assert found.mean == pytest.approx(1.5)
    assert found.median == 1.0
    assert found.sd == pytest.approx(math.sqrt(0.75))
    assert found.n == 2
    assert math.isnan(statistics(values, areas, np.zeros(3, bool)).mean)
    assert weighted_quantile(np.array([5.0, 1.0]), np.array([1.0, 9.0]), 0.95) == 5.0


def test_thickness_goes_back_to_the_grid_it_came_from():
    made = shell(12.0, 2.0, (0.5, 0.5, 0.7), seed=8)
    found, bone, cartilage, _ = measured(made)
    mask = mask_of_surface(cartilage, made.affine, made.cartilage.shape)
    volume = thickness_volume(found, bone, mask, made.affine)
    assert volume.shape == made.cartilage.shape
    assert (np.isfinite(volume) == mask).all()
    assert (mask != made.cartilage).sum() < 0.1 * made.cartilage.sum()
    assert volume[mask].mean() == pytest.approx(2.0, abs=0.05)


def test_the_phantom_knee_s_cartilage_at_the_oai_spacing():
    """Middle of each zone, and thickness integrated over the bone, against the construction.

    The integral, not the mean: cartilage that runs out to nothing has a rim thinner than any voxel, which
    counts in the construction's area and not in the segmentation's.
    """
    phantom = make_phantom("knee", {"spacing_mm": 0.3646, "slice_mm": 0.7})
    joint = mapped_joint(phantom.labelmap, "knee", "right")
    for name, found in joint.cartilage.items():
        areas = joint.structures[found.bone].surface.vertex_areas_mm2
        integral = np.nansum(found.thickness_mm * areas)
        whole = [phantom.truth[f"{name}_whole_{part}"]["value"] for part in ("mean_mm", "area_mm2")]
        truth = whole[0] * whole[1]
        assert integral == pytest.approx(truth, rel=0.012), name
        assert found.volume_ml == pytest.approx(phantom.truth[f"{name}_volume_ml"]["value"], rel=0.005), name
        # where the model finds it, mean and area are the construction's where that is half a millimetre thick
        document = cartilage_document(found, joint.structures[found.bone].surface)
        mean, area = (phantom.truth[f"{name}_{part}"]["value"] for part in ("mean_mm", "area_mm2"))
        assert document["thickness_mm"]["mean"] == pytest.approx(mean, rel=0.03), name
        assert document["covered_area_mm2"] == pytest.approx(area, rel=0.03), name
        assert (found.state != DENUDED).all()
    femur, found = joint.structures["femur"].surface, joint.cartilage["femoral_cartilage"]
    for zone in ("medial_condyle", "lateral_condyle", "trochlea"):
        gap = np.linalg.norm(femur.vertices_mm - np.array(ZONE_CENTER[zone]), axis=1)
        near = (found.state == COVERED) & (gap < 4.0)
        assert near.sum() > 100
        thickness = found.thickness_mm[near].mean()
        # a zone of 8 mm holds two or three terraces of a slice: on other grids the same zones are 0.06 mm too
        # thin or exact, so the voxels are at fault, neither phantom nor measure (the next test)
        assert thickness == pytest.approx(phantom.truth[f"{zone}_thickness_mm"]["value"], abs=0.07), zone
    # over all that has its full depth, terraces average out
    areas = femur.vertex_areas_mm2
    exact = femoral_thickness(femur.vertices_mm, DEFAULT_MM, None)
    full = (found.state == COVERED) & (exact > 1.95)
    error = np.average((found.thickness_mm - exact)[full], weights=areas[full])
    assert error == pytest.approx(0.0, abs=0.02)


def test_on_the_phantom_s_own_mesh_every_zone_is_as_thick_as_stated():
    phantom = make_phantom("knee", {"spacing_mm": 3.0, "slice_mm": 3.0})
    bone, sheet = phantom.surfaces["femur"], phantom.surfaces["femoral_cartilage"]
    found, _ = map_cartilage("femoral_cartilage", sheet, "femur", bone, plain_axes())
    for zone in ("medial_condyle", "lateral_condyle", "trochlea"):
        gap = np.linalg.norm(bone.vertices_mm - np.array(ZONE_CENTER[zone]), axis=1)
        thickness = found.thickness_mm[(found.state == COVERED) & (gap < 4.0)].mean()
        assert thickness == pytest.approx(phantom.truth[f"{zone}_thickness_mm"]["value"], abs=0.003), zone


@pytest.mark.parametrize(("gap_mm", "told"), [(0.0, False), (0.3, False), (0.8, True), (1.2, True)])
def test_cartilage_that_stands_off_its_bone_is_covered_and_told(gap_mm, told):
    """What is there is measured, its own thickness; bone under it is not bare (decision 0078)."""
    bone = Shape(kind="sphere", center=np.zeros(3), axis="z", sizes={"radius": 20.0}).surface()
    sheet = Shape(
        kind="shell_segment", center=np.zeros(3), axis="z",
        sizes={"inner": 20.0 + gap_mm, "outer": 22.0 + gap_mm, "angle": 50.0},
    ).surface()  # fmt: skip
    found, notices = map_cartilage("femoral_cartilage", sheet, "femur", bone, plain_axes())
    middle = bone.vertices_mm[:, 2] > 15.0
    assert (found.state[middle] == COVERED).all()
    assert found.thickness_mm[middle] == pytest.approx(2.0, abs=0.02)
    assert (found.state != DENUDED).all()
    assert ("cartilage-off-bone" in {n.code for n in notices}) == told
