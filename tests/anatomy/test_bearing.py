"""Cartilage completed from the gap between bones: concentric balls, and the phantoms' known thickness."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from injectplan.anatomy.axes import joint_axes
from injectplan.anatomy.build import structures_of_surfaces
from injectplan.anatomy.cartilage import CARRIERS, thickness_along
from injectplan.anatomy.completion import complete_joint
from injectplan.anatomy.completion.bearing import FILM_MM, Side, bear
from injectplan.anatomy.completion.dimensions import Dimension, Sizes
from injectplan.anatomy.completion.making import Making
from injectplan.anatomy.completion.solids import Frame, Grid
from injectplan.anatomy.model import Subject
from injectplan.kernels.bvh import contains
from injectplan.phantoms import make_phantom
from injectplan.structures import structure

MEANS = {"femoral_head_cartilage_thickness": 1.8, "acetabular_cartilage_thickness": 1.2}


def between_balls(gap_mm: float, sd_mm: float = 0.3):
    """Bearing surfaces of a ball of 20 mm and a hollow around it; radii of the made shells' vertices."""
    frame = Frame(np.zeros(3), np.eye(3))
    grid = Grid.between(frame, [-28.0] * 3, [28.0] * 3, 0.5)
    r = np.sqrt(grid.x**2 + grid.y**2 + grid.z**2)
    build = Making(frame, Sizes(MEANS), {})
    size = Dimension(1.5, sd_mm, 0.5, 3.0, "")
    bear(
        build,
        grid,
        Side(name="femoral_head_cartilage", away=r - np.float32(20.0), size=size, margin_mm=0.0),
        Side(name="acetabular_cartilage", away=np.float32(20.0 + gap_mm) - r, size=size, margin_mm=0.0),
    )
    return {
        n: np.linalg.norm(s.surface.vertices_mm, axis=1) for n, s in build.made.items() if s.surface.closed
    }


@pytest.mark.parametrize("gap_mm", [1.5, 2.5, 3.3])
def test_two_balls_share_their_gap_by_the_published_means(gap_mm):
    radii = between_balls(gap_mm)
    head, cup = radii["femoral_head_cartilage"], radii["acetabular_cartilage"]
    assert head[head > 20.4].mean() - 20.0 == pytest.approx(0.6 * (gap_mm - FILM_MM), abs=0.03)
    inner = cup[cup < 20.0 + gap_mm - 0.3]
    assert 20.0 + gap_mm - inner.mean() == pytest.approx(0.4 * (gap_mm - FILM_MM), abs=0.03)
    assert inner.min() - head[head > 20.4].max() > 0.5 * FILM_MM  # the film stays open


def test_no_thicker_than_two_deviations_above_the_mean_and_none_in_a_gap_too_wide():
    radii = between_balls(4.2, sd_mm=0.2)  # an even share would be 2.34 mm
    head = radii["femoral_head_cartilage"]
    assert head[head > 20.4].mean() - 20.0 == pytest.approx(2.2, abs=0.05)
    assert between_balls(6.0) == {}


@cache
def completed(kind, sex="female"):
    phantom = make_phantom(kind, {"spacing_mm": 3.0, "slice_mm": 3.0})
    bones = {n: s for n, s in phantom.surfaces.items() if structure(n).risk == "bone"}
    axes = joint_axes(kind, "right", bones)
    given = structures_of_surfaces(bones)
    return axes, complete_joint(kind, "right", axes, given, Subject(bmi=25.0, sex=sex)), phantom


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("hip", ("femoral_head_cartilage", "acetabular_cartilage")),
        ("ankle", ("talar_cartilage", "tibial_plafond_cartilage")),
    ],
)
def test_the_phantom_s_cartilage_comes_back_where_it_bears(kind, names):
    """Within the spread stated, over the weight-bearing roof, from the bones alone."""
    axes, made, phantom = completed(kind)
    for name in names:
        one, bone = made.structures[name], made.structures[CARRIERS[name]].surface
        assert one.source == "completed"
        assert one.surface.closed
        assert one.surface.manifold
        assert 0.2 <= one.placement_sd_mm <= 0.4
        local = (bone.vertices_mm - axes.origin_mm) @ np.column_stack(
            [axes.lateral, axes.anterior, axes.proximal]
        )
        roof = (np.abs(local[:, :2]) < 9.0).all(axis=1) & (np.abs(local[:, 2]) < 30.0)
        roof &= np.abs(bone.vertex_normals @ axes.proximal) > 0.9
        true = thickness_along(bone.vertices_mm[roof], bone.vertex_normals[roof], phantom.surfaces[name])
        found = thickness_along(bone.vertices_mm[roof], bone.vertex_normals[roof], one.surface)
        both = np.isfinite(true) & np.isfinite(found)
        bearing = both & (true > 0.9 * np.nanmax(true))
        assert bearing.sum() > 50
        away = found[bearing] - true[bearing]
        assert abs(away.mean()) < one.placement_sd_mm
        covered = np.isfinite(true).sum()
        assert both.sum() > 0.95 * covered  # nothing that bears stays bare


def test_no_completed_cartilage_reaches_into_the_other_bone():
    for kind, pairs in (
        ("hip", (("femoral_head_cartilage", "hip_bone"), ("acetabular_cartilage", "femur"))),
        ("ankle", (("talar_cartilage", "tibia"), ("tibial_plafond_cartilage", "talus"))),
    ):
        _, made, _ = completed(kind)
        for name, bone in pairs:
            points = made.structures[name].surface.vertices_mm
            assert contains(made.structures[bone].surface.bvh, points).mean() < 0.002, (name, bone)


def test_what_was_segmented_stays():
    phantom = make_phantom("ankle", {"spacing_mm": 3.0, "slice_mm": 3.0})
    kept = {
        n: s for n, s in phantom.surfaces.items() if structure(n).risk == "bone" or n == "talar_cartilage"
    }
    given = structures_of_surfaces(kept)
    axes = joint_axes("ankle", "right", {n: s for n, s in kept.items() if structure(n).risk == "bone"})
    made = complete_joint("ankle", "right", axes, given, Subject(bmi=25.0))
    assert made.structures["talar_cartilage"] is given["talar_cartilage"]
    assert made.structures["tibial_plafond_cartilage"].source == "completed"


def test_a_man_s_dome_margin_is_thicker_than_a_woman_s():
    """29 ankles: 1.35 against 1.11 mm; where the plafond does not face the dome, the mean counts."""
    volume = {}
    for sex in ("male", "female"):
        volume[sex] = completed("ankle", sex)[1].structures["talar_cartilage"].surface.volume_ml
    assert volume["male"] > 1.03 * volume["female"]
