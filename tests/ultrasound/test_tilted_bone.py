"""Bone that slopes away, across the picture or out of it, as the presets show it."""

import numpy as np
import pytest

from injectplan.frames import Pose
from injectplan.instruments import PROBES
from injectplan.ultrasound import AcousticScene, Display, simulate_frame
from oracles_ultrasound import box, tilted_slab

SIZE = Display(width_px=400, height_px=240)


def line_and_fat(tilt_deg, across):
    """Median of the bone line's peak grey, and of the fat over it, between 8 and 22 mm of depth."""
    bone = tilted_slab(tilt_deg, [0.0, 0.0, 15.0], thickness=12.0, about="y" if across else "x")
    solids = {
        "fat": (box([-80, -80, -1], [80, 80, 80]), "subcutaneous_fat", 10),
        "bone": (bone, "cortical_bone", 90),
    }
    scene = AcousticScene.from_solids(solids, PROBES["linear-12"], background="air")
    frame = simulate_frame(scene, Pose.identity(), display=SIZE, seed=3)
    value = {name: label for label, name in frame.label_names.items()}["bone"]
    pixel = float(np.linalg.norm(frame.pixel_to_patient[:3, 1]))
    peaks, over = [], []
    for column in np.flatnonzero((frame.labels == value).any(axis=0)):
        row = int(np.argmax(frame.labels[:, column] == value))
        if 8.0 < frame.depth_mm[row, column] < 22.0:
            part = frame.bmode[row - round(0.8 / pixel) : row + round(0.8 / pixel) + 1, column]
            peaks.append(part.max())
            over.append(np.median(frame.bmode[row - round(4.0 / pixel) : row - round(1.5 / pixel), column]))
    assert len(peaks) > 60
    return float(np.median(peaks)), float(np.median(over))


@pytest.mark.parametrize("across", [True, False])
def test_bone_at_a_slant_stays_a_line_and_fades_as_in_real_frames(across):
    """Public frames: 216-235 facing, 120-235 at 25-35 degrees (165-235 where none was fitted to)."""
    greys = []
    for tilt in (2.0, 12.0, 20.0, 30.0):
        line, fat = line_and_fat(tilt, across)
        greys.append(line)
        assert line > 1.25 * fat, tilt
    assert greys == sorted(greys, reverse=True)
    assert 216.0 <= greys[0] <= 250.0  # flat and wide, brighter than an arc's top
    assert 165.0 <= greys[-1] <= 219.0
    assert line_and_fat(58.0, across)[0] < 0.65 * greys[0]  # gone on steep flanks: fat's own brightest grain
