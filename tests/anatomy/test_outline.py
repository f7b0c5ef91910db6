"""The skin from an MR image: a limb of known radius under noise, coil fall-off and suppressed fat."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

from injectplan.anatomy.build import build_joint
from injectplan.anatomy.model import Subject
from injectplan.anatomy.outline import find_outline
from injectplan.anatomy.surfaces import mask_of_surface
from injectplan.errors import NothingToMeasureError
from injectplan.imaging.values import Volume
from injectplan.kernels.bvh import signed_distances
from injectplan.phantoms import make_phantom

RADIUS_MM = 48.0


def limb_image(
    spacing=(0.6, 0.6, 3.0), *, noise=0.03, fall_off=1.5, layers=(), turn_deg=20.0, muscle=1.0, voids=True
):
    """A cylinder along a tilted axis in an oblique image; layers: (depth mm, intensity), from the skin.

    fall_off : nepers of the coil's sensitivity across the image.  Returns the image and the axis.
    """
    spacing = np.array(spacing)
    shape = np.round(np.array([130.0, 130.0, 70.0]) / spacing).astype(int)
    t = np.radians(turn_deg)
    rotation = np.array([[np.cos(t), -np.sin(t), 0], [np.sin(t), np.cos(t), 0], [0, 0, 1.0]])
    affine = np.eye(4)
    affine[:3, :3] = rotation * spacing
    affine[:3, 3] = [12.0, -30.0, 7.0] - affine[:3, :3] @ (0.5 * (shape - 1.0))
    axis = np.array([0.12, -0.08, 1.0]) / np.linalg.norm([0.12, -0.08, 1.0])
    i, j, k = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
    points = np.stack([i, j, k], -1) @ affine[:3, :3].T + affine[:3, 3] - [12.0, -30.0, 7.0]
    away = np.linalg.norm(points - (points @ axis)[..., None] * axis, axis=-1)
    value = np.where(away < RADIUS_MM, muscle, 0.0)
    for depth, intensity in reversed(layers):
        value = np.where((away < RADIUS_MM) & (away > RADIUS_MM - depth), intensity, value)
    if voids:  # cortical bone gives no signal, and the image's ends cut it open
        value = np.where((away > 10.0) & (away < 14.0), 0.0, value)
    value = value * np.exp(-fall_off * points[..., 0] / 130.0) * 900.0
    rng = np.random.default_rng(3)
    seen = np.hypot(value + rng.normal(0, noise * 900, shape), rng.normal(0, noise * 900, shape))
    return Volume(affine, seen.astype(np.float32)), axis


def misses(outline, axis):
    """How far the surface's vertices lie outside of the true cylinder, where the image shows it."""
    points = outline.surface.vertices_mm
    points = points[outline.depth_in_view_mm(points) > 2.0] - [12.0, -30.0, 7.0]
    assert len(points) > 3000
    return np.linalg.norm(points - (points @ axis)[:, None] * axis, axis=1) - RADIUS_MM


@pytest.mark.parametrize("spacing", [(0.6, 0.6, 3.0), (1.0, 1.0, 1.0), (0.4, 0.4, 0.8)])
@pytest.mark.parametrize("fall_off", [0.0, 1.5])
def test_a_limb_of_known_radius(spacing, fall_off):
    image, axis = limb_image(spacing, fall_off=fall_off)
    found = find_outline(image)
    assert found.surface.closed
    assert found.surface.manifold
    away = misses(found, axis)
    assert abs(away.mean()) < 0.1
    assert away.std() < 0.25
    assert np.abs(away).max() < 1.2
    assert found.sd_mm >= away.std()  # what is stated covers what was done
    assert found.sd_mm < 1.5


@pytest.mark.parametrize(
    "layers",
    [((2.0, 0.35), (14.0, 2.0)), ((2.0, 0.3), (14.0, 0.12)), ((14.0, 0.12),), ((2.0, 0.6), (9.0, 0.2))],
    ids=["dim-skin-on-bright-fat", "suppressed-fat", "suppressed-to-the-rim", "half-suppressed"],
)
def test_dim_skin_and_suppressed_fat_belong_to_the_body(layers):
    """The outline is the skin's, not the muscle's 14 mm deeper."""
    image, axis = limb_image((0.6, 0.6, 2.0), layers=layers, noise=0.01, fall_off=0.7)
    found = find_outline(image)
    away = misses(found, axis)
    assert abs(away.mean()) < 0.3
    assert np.abs(away).max() < 1.5


def test_the_limb_runs_straight_on_beyond_the_image():
    image, axis = limb_image()
    found = find_outline(image)
    along = (found.surface.vertices_mm - [12.0, -30.0, 7.0]) @ axis
    assert along.max() > 55.0
    assert along.min() < -55.0
    assert found.depth_in_view_mm([[12.0, -30.0, 7.0]])[0] == pytest.approx(35.0 - 3.0 - 1.5, abs=0.6)
    assert found.depth_in_view_mm([[12.0, -30.0, 57.0]])[0] < 0.0


def test_no_body_no_outline():
    image, _ = limb_image(noise=0.2)
    rng = np.random.default_rng(4)
    noise = np.hypot(*rng.normal(0, 30, (2, *image.values.shape))).astype(np.float32)
    for values in (noise, np.zeros_like(noise), np.full_like(noise, 7.0)):
        with pytest.raises(NothingToMeasureError):
            find_outline(Volume(image.affine, values))


# ------------------------------------------------------------------ a knee completed with its image


@pytest.fixture(scope="module")
def knee():
    """A phantom knee's bones, a lean skin around them, and an image of both that ends 55 mm off the joint."""
    labels = make_phantom("knee", {"spacing_mm": 1.6, "slice_mm": 1.6}).labelmap
    lean = build_joint(labels, kind="knee", side="right", subject=Subject(bmi=22.0, sex="male"))
    skin = lean.structures["skin"].surface
    low, high = skin.bounds_mm
    middle, reach = lean.axes.origin_mm, np.array([200.0, 200.0, 55.0])
    low, high = (
        np.maximum(low - 14.0, middle - reach),
        np.minimum(high + 14.0, middle + reach),
    )
    affine = np.diag([1.5, 1.5, 1.5, 1.0])
    affine[:3, 3] = low
    shape = np.ceil((high - low) / 1.5).astype(int)
    body = mask_of_surface(skin, affine, shape)
    values = np.where(body, 500.0, 0.0)
    for bone in ("femur", "tibia"):
        values[mask_of_surface(lean.structures[bone].surface, affine, shape)] = 30.0
    rng = np.random.default_rng(5)
    values = np.hypot(values + rng.normal(0, 12, shape), rng.normal(0, 12, shape)).astype(np.float32)
    return labels, Volume(affine, values), skin


@pytest.fixture(scope="module")
def built(knee):
    labels, image, _ = knee
    return build_joint(labels, kind="knee", side="right", subject=Subject(bmi=38.0), image=image)


def test_the_knee_s_skin_is_the_image_s(knee, built):
    """Geometry for a woman of BMI 38 would put the skin a centimetre further out."""
    _, image, truth = knee
    outline = find_outline(image)
    skin = built.structures["skin"]
    points = skin.surface.vertices_mm
    seen = points[outline.depth_in_view_mm(points) > 9.0]
    away = signed_distances(truth.bvh, seen)
    assert len(seen) > 3000
    assert abs(np.median(away)) < 0.4
    assert np.quantile(np.abs(away), 0.95) < 1.5
    assert skin.source == "segmented"
    assert 0.2 < skin.placement_sd_mm < 3.0
    assert any(line.startswith("skin from the MR image") for line in built.assumed)
    plain = build_joint(knee[0], kind="knee", side="right", subject=Subject(bmi=38.0))
    drawn = plain.structures["skin"].surface.vertices_mm
    drawn = drawn[outline.depth_in_view_mm(drawn) > 9.0]
    assert np.median(signed_distances(truth.bvh, drawn)) > 4.0


def test_beyond_the_image_the_limb_goes_on_and_says_so(built):
    skin = built.structures["skin"].surface
    z = (skin.vertices_mm - built.axes.origin_mm) @ built.axes.proximal
    assert z.max() > 140.0
    assert skin.closed
    assert skin.manifold
    assert any(n.code == "skin-beyond-view" for n in built.notices)


def test_layers_stay_nested_under_the_skin_that_was_seen(built):
    chain = ("skin", "subcutaneous_fat", "deep_fascia", "muscle")
    for outer, inner in itertools.pairwise(chain):
        points = built.structures[inner].surface.vertices_mm[::11]
        inside = signed_distances(built.structures[outer].surface.bvh, points) < 0.0
        assert inside.mean() > 0.995, (outer, inner)


def test_an_image_of_another_place_is_left_out_with_a_notice(knee):
    labels, image, _ = knee
    for shift, word in (([400.0, 0, 0], "elsewhere"), ([45.0, 0, 0], "outside"), ([0, 0, 12.0], "edges")):
        affine = image.affine.copy()
        affine[:3, 3] += shift
        made = build_joint(labels, kind="knee", side="right", image=dataclasses.replace(image, affine=affine))
        notice = next(n for n in made.notices if n.code == "image-unused")
        assert word in notice.message
        assert made.structures["skin"].source == "completed"
