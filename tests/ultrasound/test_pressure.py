"""Laws of probe pressure: volume is kept, no force changes nothing, bone stays, more force sinks deeper."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from injectplan.anatomy.model import FillState
from injectplan.errors import BadInputError
from injectplan.frames import Pose
from injectplan.imaging.values import Surface
from injectplan.instruments import probe_model
from injectplan.ultrasound import AcousticScene, Display, press, simulate_frame
from injectplan.ultrasound.pressure import FACE_MM, PressField, thinning
from oracles_ultrasound import sphere

PROBE = replace(probe_model("linear-12"), lines=64, elevation_planes=3, compounding_deg=())
TURNED = Pose(np.array([[0.8, 0.6, 0.0], [-0.6, 0.8, 0.0], [0.0, 0.0, 1.0]]), np.array([4.0, 9.0, 1.0]))


def slab(top, bottom=60.0, half=60.0, step=2.0):
    """Closed block with a fine grid on every face, so that it can bend."""
    x = np.arange(-half, half + 0.1, step)
    n = len(x)
    gx, gy = np.meshgrid(x, x, indexing="ij")
    up = np.stack([gx, gy, np.full_like(gx, top)], -1).reshape(-1, 3)
    low = np.stack([gx, gy, np.full_like(gx, bottom)], -1).reshape(-1, 3)
    i, j = np.meshgrid(np.arange(n - 1), np.arange(n - 1), indexing="ij")
    a = (i * n + j).ravel()
    lid = np.concatenate([np.stack([a, a + 1, a + n], 1), np.stack([a + 1, a + n + 1, a + n], 1)])
    parts = [lid, lid[:, ::-1] + n * n]
    edge = np.arange(n - 1)
    for first, stride, flip in ((0, 1, True), (n * (n - 1), 1, False), (0, n, False), (n - 1, n, True)):
        p = first + edge * stride
        q = p + stride
        quad = np.concatenate([np.stack([p, q, p + n * n], 1), np.stack([q, q + n * n, p + n * n], 1)])
        parts.append(quad[:, ::-1] if flip else quad)
    return Surface(np.concatenate([up, low]), np.concatenate(parts).astype(np.int32))


def scene_at(pose=None):
    place = pose or Pose.identity()
    solids = {
        "skin": (slab(0.0), "skin", 10), "subcutaneous_fat": (slab(2.0), "subcutaneous_fat", 20),
        "muscle": (slab(8.0), "muscle", 35), "recess": (sphere(3.0, [0.0, 0.0, 16.0]), "synovial_fluid", 75),
        "femur": (slab(22.0), "cortical_bone", 90),
    }  # fmt: skip
    moved = {n: (Surface(place.apply(s.vertices_mm), s.triangles), t, p) for n, (s, t, p) in solids.items()}
    return AcousticScene.from_solids(moved, PROBE, background="air", texture_to_patient=place), place


def named(scene):
    return dict(zip(scene.names, scene.shapes.surfaces, strict=False))


def test_no_force_changes_nothing():
    scene, pose = scene_at()
    pressed = press(scene, pose, 0.0)
    assert pressed.sunk_mm == 0.0
    assert pressed.scene is scene
    assert np.array_equal(pressed.probe_to_patient.matrix, pose.matrix)


@pytest.mark.parametrize("force", [2.0, 6.0, 15.0])
def test_volume_is_kept_and_bone_does_not_move(force):
    scene, pose = scene_at()
    before, after = named(scene), named(press(scene, pose, force).scene)
    assert np.array_equal(before["femur"].vertices_mm, after["femur"].vertices_mm)
    for name in ("skin", "subcutaneous_fat", "muscle", "recess"):
        assert after[name].closed
        assert after[name].volume_ml == pytest.approx(before[name].volume_ml, rel=0.01), name
    flat = np.ptp(after["recess"].vertices_mm, axis=0) / np.ptp(before["recess"].vertices_mm, axis=0)
    assert flat[2] < 0.98
    assert flat[1] > 1.01, "fluid goes to the sides"


def test_the_flow_has_no_sources():
    scene, pose = scene_at()
    field = press(scene, pose, 6.0).field
    at = np.random.default_rng(3).uniform([-20, -18, 1], [20, 18, 21], (400, 3))
    h = 1e-4
    divergence = sum(
        (field.speed(at + h * e) - field.speed(at - h * e))[:, k] / (2 * h) for k, e in enumerate(np.eye(3))
    )
    size = np.abs(field.speed(at)).max() / FACE_MM
    assert np.abs(divergence).max() < 1e-4 * size * 100
    assert np.abs(field.speed(np.array([[0.0, 3.0, 22.0]]))).max() < 1e-9, "nothing moves at the bone"
    assert np.array_equal(field.speed(np.array([[3.0, 0.0, 10.0]]))[0, :2], [0.0, 0.0])


def test_steps_converge():
    scene, pose = scene_at()
    field = press(scene, pose, 5.0).field
    at = np.random.default_rng(4).uniform([-20, -15, 1], [20, 15, 20], (200, 3))
    assert np.abs(field.flow(at) - field.flow(at, 300)).max() < 0.02


def test_more_force_sinks_deeper_and_thins_every_layer_more():
    scene, pose = scene_at()
    sunk, fat = [], []
    for force in (0.5, 1.5, 4.5, 12.5, 30.0):
        pressed = press(scene, pose, force)
        sunk.append(pressed.sunk_mm)
        middle = {
            n: s.vertices_mm[np.linalg.norm(s.vertices_mm[:, :2], axis=1) < 0.1, 2].min()
            for n, s in named(pressed.scene).items()
            if n in ("skin", "subcutaneous_fat", "muscle")
        }
        fat.append(middle["muscle"] - middle["subcutaneous_fat"])
        assert middle["skin"] == pytest.approx(pressed.sunk_mm, abs=0.02)
    assert sunk == sorted(sunk)
    assert sunk[0] > 0
    assert fat == sorted(fat, reverse=True)
    assert sunk[2] == pytest.approx(
        2 * thinning("skin", 4.5) + 6 * thinning("subcutaneous_fat", 4.5) + 8 * thinning("muscle", 4.5)
        + 6 * thinning("synovial_fluid", 4.5), rel=1e-6,
    )  # fmt: skip


def test_published_thinning_is_met():
    for force, fat, muscle in ((1.5, 0.10, 0.05), (4.5, 0.25, 0.15), (12.5, 0.40, 0.25)):
        assert thinning("subcutaneous_fat", force) == pytest.approx(fat, abs=0.02)
        assert thinning("muscle", force) == pytest.approx(muscle, abs=0.02)
    assert thinning("cortical_bone", 10.0) == 0.0


def test_patient_and_probe_turned_together_are_pressed_alike():
    a, b = (press(*scene_at(pose), 6.0) for pose in (None, TURNED))
    assert a.sunk_mm == pytest.approx(b.sunk_mm, abs=1e-9)
    there = TURNED.apply(named(a.scene)["muscle"].vertices_mm)
    assert np.abs(there - named(b.scene)["muscle"].vertices_mm).max() < 1e-6


def test_a_pressed_frame_shows_bone_nearer_and_injected_fluid_moves_along():
    scene, pose = scene_at()
    pressed = press(scene, pose, 8.0)
    display = Display(width_px=160, height_px=128)
    depth = []
    for s, p in ((scene, pose), (pressed.scene, pressed.probe_to_patient)):
        frame = simulate_frame(s, p, display=display)
        bone = frame.labels == {n: v for v, n in frame.label_names.items()}["femur"]
        depth.append(float(np.nanmin(np.where(bone, frame.depth_mm, np.nan)[:, 80])))
    assert depth[0] - depth[1] == pytest.approx(pressed.sunk_mm, abs=0.6)
    pool = FillState(injected_ml=1.0, fluid=sphere(2.0, [0.0, 0.0, 12.0]))
    moved = pressed.fill(pool)
    assert moved.fluid.vertices_mm[:, 2].mean() > pool.fluid.vertices_mm[:, 2].mean() + 0.3
    assert moved.fluid.volume_ml == pytest.approx(pool.fluid.volume_ml, rel=0.01)


@pytest.mark.parametrize("force", [-1.0, 41.0, float("nan")])
def test_forces_out_of_range_are_refused(force):
    scene, pose = scene_at()
    with pytest.raises(BadInputError, match="probe force"):
        press(scene, pose, force)


def test_without_bone_the_field_ends_at_its_reach():
    field = PressField(Pose.identity(), 2.0, 25.0, 30.0, None)
    assert field.speed(np.array([[0.0, 0.0, 30.5]]))[0, 2] == 0.0
    assert field.speed(np.array([[0.0, 0.0, 0.0]]))[0, 2] == pytest.approx(2.0)
