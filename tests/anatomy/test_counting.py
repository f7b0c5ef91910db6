"""How unsure a voxel count is, and where smooth surfaces know better: against balls and shells."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from injectplan.anatomy.counting import counting_sd_ml, smooth_surplus_mm3
from injectplan.anatomy.surfaces import CARRIER_SMOOTHING_MM, solids_of_masks, surface_of_mask
from oracles_anatomy import OAI_SPACING_MM, Shell, ball_ml, shell

CELL_MM3 = math.prod(OAI_SPACING_MM)


def counted_ml(radius_mm: float, phase) -> float:
    """Volume of a ball by counting the points inside of a grid that lies `phase` steps off its centre."""
    h = np.array(OAI_SPACING_MM)
    reach = np.ceil((radius_mm + 1.0) / h).astype(int)
    x, y = ((np.arange(-reach[a], reach[a] + 1) + phase[a]) * h[a] for a in (0, 1))
    left = radius_mm**2 - (x[:, None] ** 2 + y[None] ** 2)
    half = np.sqrt(left[left > 0.0]) / h[2]
    return float((np.floor(half - phase[2]) - np.ceil(-half - phase[2]) + 1).sum()) * CELL_MM3 / 1000.0


def aligned_shell(thickness_mm: float, phase) -> Shell:
    """A shell of radius 20 mm along the grid's axes, its centre `phase` steps off a voxel's."""
    h = np.array(OAI_SPACING_MM)
    shape = np.ceil(2.0 * (20.0 + thickness_mm + 3.0) / h).astype(int)
    affine = np.diag([*h, 1.0])
    affine[:3, 3] = -h * (shape // 2) + h * np.asarray(phase)
    ijk = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), axis=-1)
    distance = np.linalg.norm(ijk * h + affine[:3, 3], axis=-1)
    bone = distance <= 20.0
    return Shell(affine, bone, (distance <= 20.0 + thickness_mm) & ~bone, 20.0, thickness_mm)


def test_the_spread_of_counts_is_porod_s():
    """Over 400 places of balls of several radii: a single ball's own waves may stand together or apart."""
    phases = np.random.default_rng(3).uniform(-0.5, 0.5, (400, 3))
    radii = np.arange(18.0, 23.0, 0.37)
    errors = [[counted_ml(r, p) - ball_ml(r) for p in phases[i :: len(radii)]] for i, r in enumerate(radii)]
    stated = [counting_sd_ml(4.0 * math.pi * r * r, np.diag([*OAI_SPACING_MM, 1.0])) for r in radii]
    shares = np.concatenate([np.array(e) / s for e, s in zip(errors, stated, strict=True)])
    assert np.sqrt((shares**2).mean()) == pytest.approx(1.0, abs=0.12)


def test_the_stated_spread_knows_no_direction_and_grows_with_the_surface():
    affine = np.diag([*OAI_SPACING_MM, 1.0])
    turned = affine.copy()
    turned[:3, :3] = Rotation.random(random_state=4).as_matrix() @ affine[:3, :3]
    assert counting_sd_ml(500.0, turned) == pytest.approx(counting_sd_ml(500.0, affine), rel=1e-12)
    assert counting_sd_ml(2000.0, affine) == pytest.approx(2.0 * counting_sd_ml(500.0, affine), rel=1e-12)
    assert counting_sd_ml(500.0, 2.0 * affine) == pytest.approx(
        4.0 * counting_sd_ml(500.0, affine), rel=1e-12
    )


@pytest.mark.parametrize(
    ("thickness_mm", "phase", "count_off"),
    [(1.0, (0.0, 0.0, 0.0), -0.00514), (1.0, (0.5, 0.5, 0.5), 0.00345), (1.5, (0.5, 0.5, 0.0), -0.00417),
     (2.0, (0.5, 0.5, 0.0), -0.00255)],
)  # fmt: skip
def test_a_shell_s_volume_where_its_voxels_miscount_most(thickness_mm, phase, count_off):
    """The count is off by what the closed form says; the surface cut from the same voxels is not."""
    made = aligned_shell(thickness_mm, phase)
    assert made.voxels_ml / made.cartilage_ml - 1.0 == pytest.approx(count_off, abs=2e-5)
    solid = solids_of_masks({"b": made.bone, "c": made.cartilage}, made.affine, {"c": "b"})["c"]
    assert solid.volume_ml == pytest.approx(made.cartilage_ml, rel=0.002)


def test_rough_boundaries_and_edges_keep_their_count():
    """A ball of jagged voxels and a box: no smooth surface parts their voxels, so nothing is added."""
    made = shell(12.0, 2.0, (0.5, 0.5, 0.5), seed=3)
    surface = surface_of_mask(made.bone, made.affine, sigma_mm=CARRIER_SMOOTHING_MM)
    ijk = np.argwhere(np.ones_like(made.bone))
    distance = np.linalg.norm(ijk @ made.affine[:3, :3].T + made.affine[:3, 3], axis=1)
    noise = np.random.default_rng(5).normal(0.0, 0.3, len(ijk))
    jagged = (distance + noise <= 12.0).reshape(made.bone.shape)

    def surplus(mask):
        parts = surface.vertices_mm, surface.vertex_normals, surface.vertex_areas_mm2
        return abs(smooth_surplus_mm3(*parts, mask, made.affine))

    assert surplus(jagged) < 0.1
    assert (
        surplus(made.bone) < 10.0
    )  # against 7238 mm³: on so small a ball a quadric is 0.1 mm off at its rim
    assert smooth_surplus_mm3(np.zeros((0, 3)), np.zeros((0, 3)), np.zeros(0), jagged, made.affine) == 0.0


@pytest.mark.parametrize("spacing_mm", [(0.8, 0.8, 0.8), (0.4, 0.4, 3.0), (1.5, 1.5, 1.5)])
def test_coarser_grids_are_no_worse_than_their_count(spacing_mm):
    made = shell(20.0, 2.0, spacing_mm, seed=1)
    solid = solids_of_masks({"b": made.bone, "c": made.cartilage}, made.affine, {"c": "b"})["c"]
    counted = abs(made.voxels_ml / made.cartilage_ml - 1.0)
    assert solid.volume_ml == pytest.approx(made.cartilage_ml, rel=counted + 0.002)


@pytest.mark.parametrize("outward_mm", [0.05, -0.03])
def test_the_surplus_is_the_volume_between_two_balls(outward_mm):
    """A mesh blown up by a known step: the mask takes the step back."""
    made = shell(20.0, 2.0, seed=9)
    surface = surface_of_mask(made.bone, made.affine, sigma_mm=CARRIER_SMOOTHING_MM)
    grown = 1.0 + outward_mm / 20.0

    def surplus(scale):
        areas = surface.vertex_areas_mm2 * scale**2
        return smooth_surplus_mm3(
            surface.vertices_mm * scale, surface.vertex_normals, areas, made.bone, made.affine
        )

    step = (ball_ml(20.0) - ball_ml(20.0 * grown)) * 1000.0
    assert surplus(grown) - surplus(1.0) == pytest.approx(step, rel=0.02)
    assert abs(surplus(1.0)) < 20.0  # 0.06 % of the ball, as much as a count may be off
