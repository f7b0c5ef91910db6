"""Cartilage pictures: what is drawn where, and in which colour, against closed forms."""

from __future__ import annotations

import dataclasses

import matplotlib as mpl
import numpy as np
import pytest

from injectplan.anatomy.build import build_joint
from injectplan.anatomy.model import COVERED, DENUDED, OUTSIDE, CartilageMap
from injectplan.imaging.values import LabelMap, Surface
from injectplan.kernels.bvh import contains
from injectplan.report.maps import (
    BARE,
    COLOURS,
    _crossings,
    _cut,
    _overlay,
    _painted,
    cartilage_maps,
    model_views,
    scale_of,
    thickness_planes,
    unroll,
)
from injectplan.report.pictures import CELL_MM, sunk
from injectplan.report.raycast import Camera, Solid, coarse, render
from oracles_anatomy import plain_axes, shell

RADIUS, THICK = 20.0, 2.0


@pytest.fixture(scope="module")
def joint():
    """A ball of bone under 2 mm of cartilage on its lower three quarters, with a bare patch below."""
    made = shell(RADIUS, THICK, (0.6, 0.6, 0.6), seed=3)
    index = np.stack(np.meshgrid(*[np.arange(n) for n in made.bone.shape], indexing="ij"), axis=-1)
    points = index @ made.affine[:3, :3].T + made.affine[:3, 3]
    height = points[..., 2] / np.maximum(np.linalg.norm(points, axis=-1), 1e-9)
    kept = made.cartilage & (height < 0.5) & (height > -0.97)
    labels = (2 * made.bone + kept).astype(np.uint16)
    given = LabelMap(affine=made.affine, labels=labels, names={1: "femoral_cartilage", 2: "femur"})
    return build_joint(given, kind="knee", side="right")


def test_a_vertex_s_colour_is_drawn_and_blends_between_vertices():
    square = Surface(
        np.array([[-1.0, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]]), np.array([[0, 1, 2], [0, 2, 3]])
    )
    red = np.array([[0.0, 0.4, 0.4], [0.8, 0.4, 0.4], [0.8, 0.4, 0.4], [0.0, 0.4, 0.4]])
    camera = Camera(
        center_mm=np.zeros(3), direction=np.array([0, 0, -1.0]), up=np.array([0, 1.0, 0]), height_mm=2.0
    )
    painted = render(
        [Solid(surface=square, colour=(0, 0, 0), vertex_colours=red)], camera, width=64, height=64
    )
    plain = render([Solid(surface=square, colour=(0.4, 0.4, 0.4))], camera, width=64, height=64)
    row = painted[32].astype(float)
    assert (np.diff(row[:, 0]) >= 0).all()
    middle = painted[32, 31:33].mean(axis=0)
    assert middle == pytest.approx(plain[32, 31:33].mean(axis=0), abs=2)  # halfway between 0 and 0.8
    assert (painted[..., 1:] == plain[..., 1:]).all()


def test_colours_say_covered_bare_and_outside(joint):
    measured = joint.cartilage["femoral_cartilage"]
    scale = scale_of(joint)
    assert scale.vmin == 0.0
    assert scale.vmax in (2.0, 2.5)
    colours = _painted(joint, "femur", scale)
    assert (measured.state == DENUDED).sum() > 50
    assert np.allclose(colours[measured.state == DENUDED], BARE)
    covered = measured.state == COVERED
    expected = mpl.colormaps[COLOURS](scale(measured.thickness_mm[covered]))[:, :3]
    assert np.allclose(colours[covered], expected)
    assert len(np.unique(colours[measured.state == OUTSIDE], axis=0)) == 1


@pytest.mark.parametrize("direction", [(0.0, 1.0, 0.4), (1.0, -0.3, 0.2), (-0.6, 0.2, 0.7)])
def test_bone_does_not_show_through_its_cartilage_in_a_still(joint, direction):
    """Vertices are merged for a still; where cartilage lies in front, its colour is what is seen."""
    camera = Camera(
        center_mm=np.zeros(3), direction=-np.array(direction), up=np.array([0.0, 0, 1.0]), height_mm=50.0
    )
    names = ("femur", "femoral_cartilage")
    colours = {"femur": (1.0, 0.0, 0.0), "femoral_cartilage": (0.0, 0.0, 1.0)}
    whole = {n: joint.structures[n].surface for n in names}
    drawn = {"femur": coarse(sunk(joint, "femur"), CELL_MM), names[1]: coarse(whole[names[1]], CELL_MM)}
    exact, still = (
        render(
            [Solid(surface=parts[n], colour=colours[n]) for n in names],
            camera,
            width=160,
            height=160,
            samples=1,
        )
        for parts in (whole, drawn)
    )
    covered = (exact[..., 2] > 60) & (exact[..., 0] < 30)
    inner = covered & np.roll(covered, 2, 0) & np.roll(covered, -2, 0)
    inner &= np.roll(inner, 2, 1) & np.roll(inner, -2, 1)
    assert inner.sum() > 3000
    assert (still[inner][:, 0] > still[inner][:, 2]).mean() < 0.001


def test_lightness_rises_evenly_with_thickness():
    """CIE L* of the colour map is a straight line: equal steps of thickness look equal."""
    rgb = mpl.colormaps[COLOURS](np.linspace(0, 1, 64))[:, :3]
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    y = linear @ [0.2126, 0.7152, 0.0722]
    lightness = 116 * np.cbrt(y) - 16
    straight = np.linspace(lightness[0], lightness[-1], 64)
    assert np.abs(lightness - straight).max() < 2.0


@pytest.mark.parametrize("height_mm", [-7.0, 0.0, 12.0])
def test_a_plane_cuts_a_ball_in_a_circle(joint, height_mm):
    ball = joint.structures["femur"].surface
    normal = np.array([0.6, 0.0, 0.8])
    cut = _cut(ball, height_mm * normal, normal)
    assert np.abs(cut.reshape(-1, 3) @ normal - height_mm).max() < 1e-6
    radius = np.sqrt(RADIUS**2 - height_mm**2)
    around = np.linalg.norm(cut.reshape(-1, 3) - height_mm * normal, axis=1)
    assert around == pytest.approx(radius, abs=0.3)  # half a voxel
    assert np.linalg.norm(cut[:, 0] - cut[:, 1], axis=1).sum() == pytest.approx(2 * np.pi * radius, rel=0.01)
    assert len(_cut(ball, 30.0 * normal, normal)) == 0


def test_the_overlay_lies_on_the_cartilage_and_nowhere_else(joint):
    steps = np.arange(-26, 26, 0.5) + 0.25
    across, up = np.array([1.0, 0, 0]), np.array([0, 0, 1.0])
    scale = scale_of(joint)
    drawn = _overlay(joint, np.zeros(3), across, up, steps, scale)
    points = (steps[None, :, None] * across + steps[::-1][:, None, None] * up).reshape(-1, 3)
    inside = contains(joint.structures["femoral_cartilage"].surface.bvh, points)
    assert ((drawn[..., 3].ravel() > 0) == inside).mean() > 0.999
    colours = drawn[drawn[..., 3] > 0][:, :3]
    two = mpl.colormaps[COLOURS](scale(THICK))[:3]
    assert np.median(np.abs(colours - two).max(axis=1)) < 0.05


def rolled():
    """A sheet of bone rolled about the lateral axis at 22 mm, from 70 degrees in front to 100 behind."""
    arc, across = np.radians(np.linspace(-70, 100, 171)), np.linspace(-30, 30, 61)
    a, x = np.meshgrid(arc, across, indexing="ij")
    points = np.stack([x, -22 * np.sin(a), -22 * np.cos(a)], axis=-1).reshape(-1, 3)
    i = (np.arange(170)[:, None] * 61 + np.arange(60)[None, :]).ravel()
    triangles = np.concatenate([np.stack([i, i + 1, i + 62], 1), np.stack([i, i + 62, i + 61], 1)])
    return Surface(points, triangles.astype(np.int32)), a.ravel(), x.ravel()


@pytest.mark.parametrize("side", ["right", "left"])
def test_a_roller_unrolls_into_a_rectangle_of_its_length(joint, side):
    surface, arc, x = rolled()
    n = len(arc)
    measured = CartilageMap(
        name="femoral_cartilage", bone="femur", thickness_mm=np.full(n, 2.0), nearest_mm=np.full(n, 2.0),
        state=np.full(n, COVERED, np.uint8), region=np.ones(n, np.uint8), regions=("all",), volume_ml=1.0,
    )  # fmt: skip
    flat = unroll(measured, surface, dataclasses.replace(joint, side=side, axes=plain_axes(side)))
    outward = x if side == "right" else -x  # lateral lies on the left of a right knee's picture
    lateral = outward if side == "left" else -outward
    assert flat.uv[:, 0] == pytest.approx(lateral, abs=1e-9)
    assert flat.uv[:, 1] == pytest.approx(-22.0 * arc, abs=0.05)
    assert len(flat.triangles) == len(surface.triangles)
    a, b, c = (flat.uv[flat.triangles[:, k]] for k in range(3))
    area = 0.5 * np.abs((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]).sum()
    assert area == pytest.approx(surface.area_mm2, rel=2e-3)


def test_borders_run_where_the_region_changes():
    uv = np.array([[0.0, 0], [2, 0], [0, 2], [2, 2]])
    triangles = np.array([[0, 1, 2], [1, 3, 2]])
    borders = _crossings(np.array([1.0, 2, 1, 2]), uv, triangles)
    assert len(borders) == 2
    assert borders[..., 0] == pytest.approx(1.0)
    assert len(_crossings(np.ones(4), uv, triangles)) == 0


def test_pages_are_drawn_and_nothing_is_drawn_of_nothing(joint):
    maps, planes = cartilage_maps(joint, pixels=80), thickness_planes(joint, step_mm=0.8)
    assert maps.shape[1] == planes.shape[1] == 1320
    red = np.abs(maps.astype(int) - np.round(255 * np.array(BARE))).max(axis=-1) < 70
    assert red.any()
    bare = dataclasses.replace(joint, cartilage={})
    assert cartilage_maps(bare) is None
    assert thickness_planes(bare) is None
    page = model_views(joint)
    assert page.shape[1] == 1320
    assert page.shape[0] > maps.shape[0]


def test_maps_of_thick_slices_say_so_in_red(joint):
    coarse = {n: dataclasses.replace(m, trustworthy=False) for n, m in joint.cartilage.items()}
    warned = dataclasses.replace(joint, cartilage=coarse)
    for draw in (lambda j: cartilage_maps(j, pixels=80), lambda j: thickness_planes(j, step_mm=0.8)):
        plain, said = draw(joint).astype(int), draw(warned).astype(int)
        changed = (plain != said).any(axis=-1)
        assert 200 < changed.sum() < 20_000
        rows = np.flatnonzero(changed.any(axis=1))
        assert rows.min() > 0.7 * plain.shape[0]  # under the pictures, not over them
        red = np.abs(said[changed] - np.round(255 * np.array(BARE))).max(axis=-1) < 30
        assert red.sum() > 100


def test_other_values_take_the_place_of_thickness(joint):
    bone = joint.structures["femur"].surface
    warm = {"femoral_cartilage": np.full(len(bone.vertices_mm), 40.0)}
    t2 = cartilage_maps(joint, values=warm, label="T2, ms", scale=mpl.colors.Normalize(20.0, 60.0), pixels=80)
    assert t2 is not None
    assert (t2 != cartilage_maps(joint, pixels=80)).any()
