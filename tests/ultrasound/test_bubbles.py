"""Specks in injected fluid: inside it, in the slice, fewer as it clears, none at rest or in raw frames."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import ndimage

from injectplan.anatomy.model import FillState
from injectplan.frames import Pose
from injectplan.instruments import probe_model
from injectplan.kernels.bvh import build_bvh, contains
from injectplan.ultrasound import AcousticScene, Display, simulate_frame
from injectplan.ultrasound.bubbles import SLAB_MM, bubbles
from oracles_ultrasound import box

POOL = box([-12, -9, 8], [12, 9, 20])
TREE = build_bvh(POOL.vertices_mm, POOL.triangles)
TURNED = Pose(np.array([[0.8, 0.6, 0.0], [-0.6, 0.8, 0.0], [0.0, 0.0, 1.0]]), np.array([1.0, 2.0, 3.0]))


def state(volume, speed=1000.0):
    return FillState(
        injected_ml=volume, fluid=POOL, jet_origin_mm=np.array([0.0, 0.0, 14.0]),
        jet_direction=np.array([1.0, 0.0, 0.0]), jet_speed_mm_s=speed,
    )  # fmt: skip


def test_specks_lie_in_the_fluid_and_in_the_slice():
    for pose in (Pose.identity(), TURNED):
        places, loud = bubbles(state(0.2), TREE, pose, 38.0, 30.0, 3)
        assert len(places) == len(loud) > 30
        assert contains(TREE, places).all()
        assert (np.abs(pose.inverse().apply(places)[:, 1]) <= SLAB_MM + 1e-9).all()


def test_specks_move_and_clear_with_the_volume():
    early, late = (bubbles(state(v), TREE, Pose.identity(), 38.0, 30.0, 3)[0] for v in (0.2, 3.0))
    assert len(late) < 0.3 * len(early)
    moved = bubbles(state(0.25), TREE, Pose.identity(), 38.0, 30.0, 3)[0]
    n = min(len(early), len(moved))
    assert (np.linalg.norm(early[:n] - moved[:n], axis=1) > 0.1).mean() > 0.9
    again = bubbles(state(0.2), TREE, Pose.identity(), 38.0, 30.0, 3)[0]
    assert np.array_equal(early, again)
    assert not len(bubbles(state(0.2, speed=0.0), TREE, Pose.identity(), 38.0, 30.0, 3)[0])
    assert not len(bubbles(None, TREE, Pose.identity(), 38.0, 30.0, 3)[0])


def test_fluid_is_specked_then_dark_and_raw_frames_have_none():
    probe = replace(probe_model("linear-12"), lines=64, elevation_planes=3, compounding_deg=())
    scene = AcousticScene.from_solids({"muscle": (box([-90, -90, 0], [90, 90, 60]), "muscle", 10)}, probe)
    shown = Display(width_px=200, height_px=160)

    def bright(s, moment):
        frame = simulate_frame(s, Pose.identity(), fill=moment, display=shown)
        inner = ndimage.binary_erosion(frame.labels == max(frame.label_names), iterations=6)
        return float((frame.bmode[inner] > 120).mean())

    assert bright(scene, state(0.2)) > 0.01
    assert bright(scene, state(0.2, speed=0.0)) < 0.002
    raw = scene.with_probe(replace(probe, raw=True))
    a, b = (simulate_frame(raw, Pose.identity(), fill=state(0.2, v), display=shown) for v in (1000.0, 0.0))
    assert np.array_equal(a.envelope_db, b.envelope_db)
