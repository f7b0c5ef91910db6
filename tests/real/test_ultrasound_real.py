"""A simulated trochlea beside a scanner's frame of one: the same estimators, inside the range of real frames.

The bone and cartilage are the real knee's; the layers over them are laid flat, as a probe presses them.
Ranges are those of public musculoskeletal frames (Clarius L15, Lumify, GE E9, Telemed, Ultrasonix L14,
UltraBones).
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from injectplan.anatomy.build import structures_of
from injectplan.frames import Pose
from injectplan.imaging import read_labelmap
from injectplan.imaging.values import Surface
from injectplan.instruments import PROBES
from injectplan.ultrasound import AcousticScene, Display, simulate_frame
from oracles_ultrasound import box

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))
import frame_stats

pytestmark = pytest.mark.real

SIZE = Display(width_px=586, height_px=354)
PIXEL_MM = 50.0 / 586.0
# Column, row on the bone of the frame, drawn by hand; its image is columns 107-692, rows 223-576
RIDGE = np.array(
    [(112, 352), (130, 351), (150, 353), (200, 357), (225, 364), (250, 381), (275, 397), (300, 409),
     (330, 417), (355, 420), (380, 417), (400, 411), (425, 401), (450, 388), (475, 375), (500, 360),
     (525, 351), (550, 342), (575, 337), (605, 334)], dtype=float,
)  # fmt: skip


def view_of(femur, cartilage):
    """The probe faces the trochlea from in front, as with a bent knee."""
    v = cartilage.vertices_mm
    front = v[v[:, 1] > np.percentile(v[:, 1], 70)]
    z = np.percentile(front[:, 2], 60)
    ring = v[np.abs(v[:, 2] - z) < 1.0]
    x = (ring[:, 0].min() + ring[:, 0].max()) / 2
    at, normal = femur.vertices_mm, femur.vertex_normals
    near = (np.abs(at[:, 2] - z) < 2) & (np.abs(at[:, 0] - x) < 12) & (normal[:, 1] > 0.5)
    down = -normal[near].mean(axis=0) * [0, 1, 1]
    down /= np.linalg.norm(down)
    lateral = np.array([1.0, 0.0, 0.0])
    axes = np.stack([lateral, np.cross(down, lateral), down], axis=1)
    return Pose(axes, np.array([x, ring[:, 1].max() + 6.5, z]))


@pytest.fixture(scope="module")
def trochlea(real_data):
    path = real_data / "knee_dess" / "SAG_3D_DESS_RIGHT_bones_cart_men_fib-label.nrrd"
    structures = structures_of(read_labelmap(path, "pymskt", "right"))
    femur, cartilage = structures["femur"].surface, structures["femoral_cartilage"].surface
    cartilage = Surface(cartilage.vertices_mm + 0.3 * cartilage.vertex_normals, cartilage.triangles)
    pose = view_of(femur, cartilage)

    def layer(top, half=80.0):
        block = box([-half, -80, top], [half, 80, 60])
        return Surface(pose.apply(block.vertices_mm), block.triangles)

    solids = {
        "skin": (layer(0.0), "skin", 10),
        "subcutaneous_fat": (layer(1.6), "subcutaneous_fat", 20),
        "muscle": (layer(4.8), "muscle", 35),
        "fat_pad": (layer(7.2), "fat", 40),
        "cartilage": (cartilage, "cartilage", 80),
        "femur": (femur, "cortical_bone", 90),
    }
    scene = AcousticScene.from_solids(
        solids, PROBES["linear-12"], background="air", texture_to_patient=pose,
        fibres={"muscle": pose.rotation @ [0.3, 0.93, 0.2]},
    )  # fmt: skip
    frame = simulate_frame(scene.around(pose), pose, display=SIZE)
    regions = {name: frame.labels == value for value, name in frame.label_names.items()}
    return frame.bmode, regions


@pytest.fixture(scope="module")
def scanner(real_data):
    path = real_data / "ultrasound_real" / "kimbowa_knee" / "clarius_L15_knee_trochlea.png"
    return np.asarray(Image.open(path).convert("L"))[223:577, 107:693]


def ridge_of(grey, femur):
    columns = np.flatnonzero(femur.any(axis=0))[60:-20]
    rows = np.argmax(femur[:, columns], axis=0)
    return frame_stats.bone_line(grey, np.stack([columns, rows], axis=1).astype(float), PIXEL_MM)


def by_tilt(line, key, low, high):
    tilt = np.abs(line["tilt_deg"])
    return float(np.nanmedian(line[key][(tilt >= low) & (tilt < high)]))


def test_tissues_keep_their_brightness_to_each_other(trochlea):
    grey, regions = trochlea
    fat = regions["subcutaneous_fat"]
    for name, low, high in (("fat_pad", 1.1, 1.4), ("muscle", 0.3, 0.8), ("cartilage", 0.2, 0.42)):
        inside = ndimage.binary_erosion(regions[name], iterations=3)
        assert low <= frame_stats.ratio(grey, inside, fat) <= high, name
    assert 80 <= np.median(grey[fat]) <= 130


def test_facing_bone_is_the_brightest_and_fades_with_tilt(trochlea):
    grey, regions = trochlea
    line = ridge_of(grey, regions["femur"])
    facing = by_tilt(line, "peak", 0, 8)
    assert 200 <= facing <= 240
    assert 170 <= by_tilt(line, "peak", 8, 16) <= 227
    assert 136 <= by_tilt(line, "peak", 16, 25) <= 204
    assert 100 <= by_tilt(line, "peak", 25, 35) <= 160
    assert facing / np.median(grey[regions["subcutaneous_fat"]]) > 1.8


def test_the_bone_line_is_as_thin_and_its_shadow_as_grey_as_in_frames(trochlea):
    grey, regions = trochlea
    line = ridge_of(grey, regions["femur"])
    assert 0.45 <= by_tilt(line, "width_mm", 0, 8) <= 1.3
    two, five, ten = (by_tilt(line, f"shadow_{d}", 0, 12) for d in (2, 5, 10))
    assert 25 <= two <= 60
    assert 12 <= five <= 45
    assert ten <= 30
    assert two > five > ten


def test_grain_is_fine_longer_across_the_beam_and_softened(trochlea):
    grey, regions = trochlea
    patch = grey[90:150, 5:135]  # nothing but fat pad
    axial, lateral = frame_stats.grain_mm(patch, np.ones(patch.shape, bool), PIXEL_MM)
    assert 0.2 <= axial <= 0.5
    assert 0.4 <= lateral <= 1.3
    assert 1.3 <= lateral / axial <= 4.5
    assert 8 <= frame_stats.local_sd(grey, regions["fat_pad"], PIXEL_MM) <= 20


def test_the_frame_is_dark_and_hardly_ever_white(trochlea, scanner):
    ours, theirs = frame_stats.percentiles(trochlea[0]), frame_stats.percentiles(scanner)
    assert 18 <= theirs["p50"] <= 78, "the estimators on the scanner's frame"
    assert 18 <= ours["p50"] <= 78
    assert 148 <= ours["p99"] <= 233
    assert ours["white"] <= 0.0025


def test_the_estimators_read_the_scanners_bone_as_published(scanner):
    columns = np.arange(115, 600)
    rows = np.interp(columns, *RIDGE.T)
    line = frame_stats.bone_line(scanner, np.stack([columns - 107.0, rows - 223.0], axis=1), PIXEL_MM)
    assert 200 <= by_tilt(line, "peak", 0, 8) <= 255
    assert 0.3 <= by_tilt(line, "width_mm", 0, 8) <= 1.3
    assert 25 <= by_tilt(line, "shadow_2", 0, 12) <= 70
