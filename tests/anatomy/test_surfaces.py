"""Surfaces of masks: closed, true to the voxels, touching without a gap."""

from __future__ import annotations

import math

import numpy as np
import pytest

from injectplan.anatomy.repair import repair_surface
from injectplan.anatomy.surfaces import (
    SMOOTHING_MM,
    flying_edges,
    mask_of_surface,
    smooth_mask,
    solids_of_masks,
    surface_of_mask,
)
from injectplan.errors import EmptyStructureError, UnitsError
from injectplan.imaging.values import Surface
from injectplan.kernels.bvh import nearest_points
from oracles_anatomy import OAI_SPACING_MM, ball_ml, grid_around, shell, winding_numbers


def euler(surface):
    edges = np.sort(surface.triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    return len(surface.vertices_mm) - len(np.unique(edges, axis=0)) + len(surface.triangles)


@pytest.mark.parametrize("handed", [1, -1])
@pytest.mark.parametrize("seed", [1, 2])
def test_a_ball_keeps_its_volume_and_looks_outward(seed, handed):
    affine, points = grid_around(24.0, OAI_SPACING_MM, seed, handed=handed)
    mask = np.linalg.norm(points, axis=-1) <= 20.0
    surface = surface_of_mask(mask, affine)
    voxels_ml = mask.sum() * abs(np.linalg.det(affine[:3, :3])) / 1000.0
    assert surface.closed
    assert surface.manifold
    assert euler(surface) == 2
    assert surface.volume_ml == pytest.approx(voxels_ml, rel=5e-4)
    assert surface.volume_ml == pytest.approx(ball_ml(20.0), rel=1e-3)
    radial = np.einsum("ij,ij->i", surface.vertex_normals, surface.vertices_mm)
    assert (radial > 0).all()
    assert surface.area_mm2 == pytest.approx(4 * math.pi * 400.0, rel=0.01)


def test_smoothing_shifts_a_ball_by_sigma_squared_over_its_radius():
    """At one half, without keeping the volume: radius -σ²/R, volume -3σ²/R²."""
    affine, points = grid_around(26.0, (0.5, 0.5, 0.5), 3)
    smooth = smooth_mask(np.linalg.norm(points, axis=-1) <= 20.0, affine, sigma_mm=1.0)
    vertices, triangles = flying_edges(smooth.values, 0.5)
    surface = Surface((vertices + smooth.start) @ affine[:3, :3].T + affine[:3, 3], triangles)
    radius = np.average(np.linalg.norm(surface.vertices_mm, axis=1), weights=surface.vertex_areas_mm2)
    assert radius - 20.0 == pytest.approx(-1.0 / 20.0, abs=0.01)
    assert abs(surface.volume_ml) / ball_ml(20.0) - 1.0 == pytest.approx(-3.0 / 400.0, abs=1e-3)


def test_a_sheet_thinner_than_its_smoothing_fades_alone_but_not_on_its_bone():
    """Alone a slab of 0.6 mm never reaches one half under σ 0.5 (limit 1.349 σ); on its bone it stays."""
    affine, points = grid_around(14.0, (0.3, 0.3, 0.3), 5)
    box = (np.abs(points[..., :2]) < 9.0).all(axis=-1)
    bone = box & (points[..., 2] < 0.0) & (points[..., 2] > -8.0)
    sheet = box & (points[..., 2] >= 0.0) & (points[..., 2] < 0.6)
    assert smooth_mask(sheet, affine, sigma_mm=SMOOTHING_MM).values.max() < 0.5
    solids = solids_of_masks({"bone": bone, "sheet": sheet}, affine, {"sheet": "bone"})
    assert solids["sheet"].closed
    assert solids["sheet"].volume_ml * 1000 == pytest.approx(sheet.sum() * 0.027, rel=0.01)
    middle = np.abs(solids["sheet"].vertices_mm[:, :2]).max(axis=1) < 6.0
    heights = solids["sheet"].vertices_mm[middle, 2]
    assert np.median(heights[heights > 0.3]) - np.median(heights[heights <= 0.3]) == pytest.approx(
        0.6, abs=0.06
    )


def test_cartilage_and_bone_share_their_face_so_that_no_ray_finds_a_gap():
    made = shell(20.0, 2.0, seed=4)
    solids = solids_of_masks({"b": made.bone, "c": made.cartilage}, made.affine, {"c": "b"})
    inner = np.linalg.norm(solids["c"].vertices_mm, axis=1) < 21.0
    gap, _, _ = nearest_points(solids["b"].bvh, solids["c"].vertices_mm[inner])
    assert gap.max() < 1e-3


@pytest.mark.parametrize("thickness_mm", [1.0, 2.0, 3.0])
def test_a_shell_keeps_its_volume_at_the_oai_spacing(thickness_mm):
    made = shell(20.0, thickness_mm, seed=7)
    solids = solids_of_masks({"b": made.bone, "c": made.cartilage}, made.affine, {"c": "b"})
    assert solids["c"].closed
    assert solids["c"].manifold
    assert euler(solids["c"]) == 4  # two spheres
    assert solids["b"].volume_ml == pytest.approx(ball_ml(20.0), rel=2e-3)
    assert solids["c"].volume_ml == pytest.approx(made.cartilage_ml, rel=2e-3)


def test_a_mask_cut_by_the_grid_is_capped_at_the_border():
    mask = np.zeros((20, 20, 20), bool)
    mask[5:15, 5:15, 8:] = True
    surface = surface_of_mask(mask, np.eye(4))
    assert surface.closed
    assert surface.volume_ml == pytest.approx(1.2, rel=1e-3)
    assert surface.bounds_mm[1, 2] == pytest.approx(19.5, abs=0.1)


def test_holes_stay_as_topology_while_the_surface_stays_closed():
    mask = np.zeros((30, 30, 8), bool)
    mask[3:27, 3:27, 2:6] = True
    mask[8:12, 8:12, :] = False
    mask[18:22, 18:22, :] = False
    surface = surface_of_mask(mask, np.diag([0.5, 0.5, 0.5, 1.0]))
    assert surface.closed
    assert surface.manifold
    assert euler(surface) == 2 - 2 * 2


def test_noise_gives_closed_manifold_surfaces():
    """Random voxels hold every ambiguous case of the cutting tables."""
    mask = np.random.default_rng(11).random((24, 24, 24)) < 0.5
    surface = surface_of_mask(mask, np.diag([1.5, 1.5, 1.5, 1.0]))
    assert surface.closed
    assert surface.manifold


def test_a_value_equal_to_the_level_makes_no_doubled_vertex():
    values = np.zeros((6, 6, 6), np.float32)
    values[2:4, 2:4, 2:4] = 0.5
    values[2, 2, 2] = 1.0
    vertices, _ = flying_edges(values, 0.5)
    assert len(np.unique(vertices.round(5), axis=0)) == len(vertices)


def test_an_empty_mask_is_refused():
    with pytest.raises(EmptyStructureError):
        surface_of_mask(np.zeros((4, 4, 4), bool), np.eye(4))


def test_voxels_of_a_surface_are_those_it_winds_around():
    made = shell(6.0, 2.0, (0.8, 0.8, 0.8), seed=9)
    surface = surface_of_mask(made.cartilage, made.affine)
    found = mask_of_surface(surface, made.affine, made.cartilage.shape)
    ijk = np.argwhere(np.ones(found.shape, bool))[::23]
    inside = winding_numbers(surface, ijk @ made.affine[:3, :3].T + made.affine[:3, 3]) > 0.5
    assert (found[tuple(ijk.T)] == inside).all()


def test_repair_leaves_a_sound_mesh_alone():
    sound = surface_of_mask(np.pad(np.ones((5, 6, 7), bool), 2), np.eye(4))
    mended, done = repair_surface(sound)
    assert done == ()
    assert (mended.triangles == sound.triangles).all()


def test_repair_closes_holes_turns_triangles_and_says_so():
    sound = surface_of_mask(np.pad(np.ones((10, 12, 14), bool), 2), np.eye(4))
    rng = np.random.default_rng(1)
    broken = sound.triangles.copy()
    broken = np.delete(broken, [5, 200, 201, 900], axis=0)
    flipped = rng.random(len(broken)) < 0.3
    broken[flipped] = broken[flipped][:, ::-1]
    soup = Surface(sound.vertices_mm[broken].reshape(-1, 3), np.arange(broken.size).reshape(-1, 3))
    mended, done = repair_surface(soup)
    assert mended.closed
    assert mended.manifold
    assert mended.volume_ml == pytest.approx(sound.volume_ml, rel=2e-3)
    assert any("merged" in line for line in done)
    assert any("hole" in line for line in done)
    assert any("turned" in line for line in done)


def test_repair_rebuilds_what_is_not_manifold():
    one = surface_of_mask(np.pad(np.ones((10, 10, 10), bool), 2), np.eye(4))
    fin = Surface(
        np.vstack([one.vertices_mm, [[30.0, 7.0, 7.0]]]),
        np.vstack([one.triangles, [[one.triangles[0, 0], one.triangles[0, 1], len(one.vertices_mm)]]]),
    )
    assert not fin.manifold
    mended, done = repair_surface(fin)
    assert mended.closed
    assert mended.manifold
    assert mended.volume_ml == pytest.approx(one.volume_ml, rel=0.02)
    assert any("rebuilt" in line for line in done)


@pytest.mark.parametrize("scale", [1e-3, 1e4])
def test_a_mesh_of_a_size_no_bone_has_is_refused_by_unit(scale):
    ball = surface_of_mask(np.pad(np.ones((40, 40, 40), bool), 2), np.eye(4))
    with pytest.raises(UnitsError, match="unit"):
        repair_surface(Surface(ball.vertices_mm * scale, ball.triangles), "femur")
