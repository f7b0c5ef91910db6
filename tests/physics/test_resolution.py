"""Widths of the point spread, and where points are drawn."""

from dataclasses import replace

import numpy as np
import pytest

from injectplan.frames import Pose
from injectplan.instruments import Probe, probe_model
from injectplan.ultrasound import Display
from injectplan.ultrasound.tables import elevation_fwhm_mm
from oracles_ultrasound import LOSSLESS, PROBE, look, sphere, width_at_half

WATER = LOSSLESS["water"]
AT_1540 = LOSSLESS | {"water": replace(WATER, speed_m_s=1540.0)}
FINE = replace(PROBE, lines=512, elevation_planes=1)
SMALL = Display(width_px=64, height_px=64)


def points(at, probe=FINE, **options):
    return look({}, probe, background="water", tissues=AT_1540, points_mm=at, **options)


@pytest.mark.parametrize("f_number", [1.5, 2.0, 3.0])
def test_lateral_width_at_the_focus(f_number):
    probe = replace(FINE, f_number=f_number)
    frame = points([[0.0, 0.0, 20.0]], probe)
    row = frame.envelope_db[:, round(20.0 / frame.sample_mm)]
    width = width_at_half(frame.line_origin_mm[:, 0], 10.0 ** (row / 20.0))
    assert width == pytest.approx(0.886 * 1.54 / 7.5 * f_number, rel=0.05)


@pytest.mark.parametrize("bandwidth", [0.3, 0.6])
def test_axial_width(bandwidth):
    probe = replace(FINE, bandwidth=bandwidth, samples=4096)
    frame = points([[0.0, 0.0, 20.0]], probe)
    line = 10.0 ** (frame.envelope_db[256] / 20.0)
    width = width_at_half(np.arange(len(line)) * frame.sample_mm, line)
    sigma_t = np.sqrt(2 * np.log(2)) / (np.pi * bandwidth * 7.5)
    assert width == pytest.approx(1.54 * np.sqrt(2 * np.log(2)) * sigma_t, rel=0.05)


def elevation_width(probe, depth):
    y = np.linspace(-2.0, 2.0, 41)
    level = []
    for at in y:
        frame = points(
            [[0.0, at, depth]], replace(probe, lines=9, width_mm=1.8, elevation_planes=1), display=SMALL
        )
        level.append(10.0 ** (frame.envelope_db[4].max() / 20.0))
    return width_at_half(y, np.array(level))


def test_slice_thickness_at_the_lens_focus():
    assert elevation_width(PROBE, 20.0) == pytest.approx(0.886 * 1.54 / 7.5 * 20.0 / 4.0, rel=0.05)


def test_slice_thickness_lies_in_the_measured_range():
    """Handheld and cart probes: linear about 1 mm at 15-35 mm and 1-4 mm superficially; curved over 5 mm
    at 20 mm and 1.4-3.8 mm in focus (Scholten, WFUMB Ultrasound Open)."""
    for name in ("linear-12", "linear-9"):
        probe = probe_model(name)
        assert 0.4 <= float(elevation_fwhm_mm(probe, probe.elevation_focus_mm)) <= 1.4
        assert 1.0 <= float(elevation_fwhm_mm(probe, 3.0)) <= 4.0
    for name in ("curvilinear-3", "curvilinear-5"):
        curved = probe_model(name)
        assert 27.0 <= curved.elevation_focus_mm <= 73.0
        assert 1.4 <= float(elevation_fwhm_mm(curved, curved.elevation_focus_mm)) <= 3.8
        assert float(elevation_fwhm_mm(curved, 20.0)) > 5.0


CURVED = Probe(
    kind="curvilinear", frequency_mhz=5.0, bandwidth=0.6, lines=256, radius_mm=50.0, angle_deg=60.0,
    depth_mm=80.0,
    focus_mm=40.0, elevation_focus_mm=40.0, elevation_aperture_mm=10.0,
)  # fmt: skip
STEERED = replace(FINE, steer_deg=15.0)


@pytest.mark.parametrize("probe", [FINE, CURVED, STEERED], ids=["linear", "curvilinear", "steered"])
def test_points_are_drawn_where_they_lie(probe):
    """Grid of points, found again in the picture through pixel_to_patient, from an oblique pose."""
    tilt = np.radians(25.0)
    turn = np.array([[np.cos(tilt), -np.sin(tilt), 0], [np.sin(tilt), np.cos(tilt), 0], [0, 0, 1.0]])
    pose = Pose(turn, np.array([30.0, -20.0, 10.0]))
    grid = [[x, 0.0, z] for x in (-6.0, 0.0, 6.0) for z in (12.0, 20.0, 28.0)]
    at = pose.apply(np.array(grid))
    frame = points(
        at, replace(probe, dynamic_range_db=40.0), pose=pose, display=Display(width_px=900, height_px=900)
    )
    pixel = np.linalg.norm(frame.pixel_to_patient[:3, 0])
    inverse = np.linalg.inv(frame.pixel_to_patient)
    found = []
    for p in at:
        column, row, _, _ = inverse @ np.append(p, 1.0)
        reach = int(1.2 / pixel)
        r0, c0 = round(row), round(column)
        part = frame.bmode[r0 - reach : r0 + reach + 1, c0 - reach : c0 + reach + 1].astype(float)
        # Weighed by the amplitude above half of the peak, which is symmetric about the point
        weight = np.maximum(10.0 ** ((part - 255.0) / 255.0 * 40.0 / 20.0), 0.0)
        weight = np.where(weight > 0.5 * weight.max(), weight, 0.0)
        rows, columns = np.indices(part.shape)
        centre = [
            c0 - reach + (weight * columns).sum() / weight.sum(),
            r0 - reach + (weight * rows).sum() / weight.sum(),
        ]
        found.append(frame.pixel_to_patient[:3] @ np.array([*centre, 0.0, 1.0]))
    limit = max(0.1, 0.5 * pixel)
    assert np.linalg.norm(np.array(found) - at, axis=1).max() <= limit
    spread = np.linalg.norm(np.array(found)[0] - np.array(found)[-1])
    assert spread == pytest.approx(np.linalg.norm(at[0] - at[-1]), rel=0.002)


@pytest.mark.parametrize("probe", [FINE, CURVED, STEERED], ids=["linear", "curvilinear", "steered"])
def test_pixel_to_patient_agrees_with_depth(probe):
    """Depth map, line origins and pixel_to_patient tell the same place: a round trip under 1e-3 pixel."""
    frame = points([[0.0, 0.0, 20.0]], probe)
    rows, columns = np.nonzero(np.isfinite(frame.depth_mm))
    pick = np.linspace(0, len(rows) - 1, 500).astype(int)
    rows, columns = rows[pick], columns[pick]
    at = np.stack([columns, rows, 0 * rows, 0 * rows + 1.0]).astype(float)
    place = (frame.pixel_to_patient @ at)[:3].T
    line = frame.line_direction[:, None, :]
    along = np.einsum(
        "lpk,lpk->lp",
        place[None] - frame.line_origin_mm[:, None],
        np.broadcast_to(line, (len(line), len(place), 3)),
    )
    foot = frame.line_origin_mm[:, None] + along[..., None] * line
    off = np.linalg.norm(place[None] - foot, axis=2)
    nearest = off.argmin(axis=0)
    depth = along[nearest, np.arange(len(place))]
    # between two lines of a fan the chord is not the arc: allow that sagitta
    assert np.abs(depth - frame.depth_mm[rows, columns]).max() < 2e-2
    back = np.linalg.inv(frame.pixel_to_patient) @ np.append(place, np.ones((len(place), 1)), axis=1).T
    assert np.abs(back[:2] - at[:2]).max() < 1e-3


def test_area_of_a_circle_in_the_labels():
    frame = look({"ball": (sphere(6.0, [0.0, 0.0, 20.0]), "cartilage", 1)}, background="muscle")
    pixel = np.linalg.norm(frame.pixel_to_patient[:3, 0])
    label = {v: k for k, v in frame.label_names.items()}["ball"]
    assert (frame.labels == label).sum() * pixel**2 == pytest.approx(np.pi * 36.0, rel=0.02)
