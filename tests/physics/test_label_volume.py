"""A label volume without surfaces: its solids are meshed, and crossings lie within a fraction of a voxel."""

from dataclasses import replace

import numpy as np
import pytest

from injectplan.anatomy.build import structures_of
from injectplan.imaging import LabelMap
from injectplan.kernels.bvh import first_hits
from injectplan.ultrasound import Display
from oracles_ultrasound import LOSSLESS, PROBE, look, peak_db

RADIUS_MM = 18.0
CENTER_MM = np.array([0.37, -0.21, 28.43])  # on no voxel's middle or edge

MEAN, RMS = 0.05, 0.17  # voxels


def of_labels(spacing_mm, turn_deg):
    """The solids of a ball of bone in a label volume whose axes are turned and whose voxels are oblong."""
    c, s = np.cos(np.radians(turn_deg)), np.sin(np.radians(turn_deg))
    affine = np.eye(4)
    affine[:3, :3] = np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]]) * spacing_mm
    shape = np.ceil(2.6 * RADIUS_MM / np.array(spacing_mm)).astype(int)
    affine[:3, 3] = CENTER_MM - affine[:3, :3] @ (shape / 2.0)
    at = np.moveaxis(np.indices(shape), 0, -1) @ affine[:3, :3].T + affine[:3, 3]
    labels = (np.linalg.norm(at - CENTER_MM, axis=-1) < RADIUS_MM).astype(np.uint16)
    return structures_of(LabelMap(affine=affine, labels=labels, names={1: "femur"}))


VOLUMES = pytest.mark.parametrize(
    ("spacing_mm", "turn_deg"), [((0.5, 0.5, 0.5), 0.0), ((0.4, 0.4, 0.7), 17.0), ((1.0, 1.0, 1.0), 31.0)]
)


@VOLUMES
def test_rays_cross_a_label_volume_within_a_fraction_of_a_voxel(spacing_mm, turn_deg):
    """Crossings of straight rays with the ball against the closed form, out to 60 degrees of incidence."""
    surface = of_labels(spacing_mm, turn_deg)["femur"].surface
    grid = np.linspace(-0.85, 0.85, 81) * RADIUS_MM
    x, y = (a.ravel() for a in np.meshgrid(grid, grid))
    near = np.hypot(x, y) < RADIUS_MM * np.sin(np.radians(60.0))
    x, y = x[near], y[near]
    origins = np.stack([x + CENTER_MM[0], y + CENTER_MM[1], np.zeros_like(x)], axis=1)
    depth, _ = first_hits(surface.bvh, origins, np.tile([0.0, 0.0, 1.0], (len(x), 1)))
    off = (depth - (CENTER_MM[2] - np.sqrt(RADIUS_MM**2 - x**2 - y**2))) * np.sqrt(
        1.0 - (x**2 + y**2) / RADIUS_MM**2
    )  # along the surface's normal
    voxel = max(spacing_mm)
    assert abs(off.mean()) < MEAN * voxel
    assert np.sqrt((off**2).mean()) < RMS * voxel
    assert np.abs(off).max() < 0.5 * voxel


@VOLUMES
def test_a_frame_shows_a_label_volume_where_it_is(spacing_mm, turn_deg):
    """The ball's echo on the lines that meet it within 8 degrees, where a mirror echoes."""
    surface = of_labels(spacing_mm, turn_deg)["femur"].surface
    tissues = LOSSLESS | {"water": replace(LOSSLESS["water"], speed_m_s=1540.0)}
    frame = look(
        {"femur": (surface, "cortical_bone", 1)}, replace(PROBE, elevation_planes=1), background="water",
        tissues=tissues, display=Display(width_px=64, height_px=64),
    )  # fmt: skip
    off = []
    for line, x in enumerate(frame.line_origin_mm[:, 0] - CENTER_MM[0]):
        side = np.hypot(x, CENTER_MM[1])
        if side < RADIUS_MM * np.sin(np.radians(8.0)):
            true = CENTER_MM[2] - np.sqrt(RADIUS_MM**2 - side**2)
            off.append(peak_db(frame, true, 1.0, line=line)[1] - true)
    assert len(off) > 20
    assert np.abs(off).max() < 0.5 * max(spacing_mm)
