"""One ultrasound frame of a completed knee, beside what PLUS does."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from injectplan.frames import Pose, unit
from injectplan.instruments import Probe
from injectplan.kernels.speckle import calibrate
from injectplan.ultrasound import AcousticScene, Display, FrameBuffers, NeedlePose, simulate_frame
from injectplan.ultrasound.patterns import speckle_texture
from peers.plus_like import plus_like

PROBE = Probe(frequency_mhz=10.0, lines=192, width_mm=38.0, depth_mm=50.0, samples=640)
DISPLAY = Display(width_px=640, height_px=512)


def view(joint) -> tuple[Pose, NeedlePose]:
    """Stand over the suprapatellar recess, short axis, with a needle from lateral at 25 degrees."""
    axes = joint.axes
    recess = next(r for r in joint.cavity.recesses if r.name == "suprapatellar")
    x, z = -axes.lateral, -axes.anterior
    z = unit(z - (z @ x) * x)
    face = recess.center_mm - 20.0 * z
    pose = Pose.from_axes(x, np.cross(z, x), z, face)
    tip = recess.center_mm
    entry = tip - 40.0 * (np.cos(np.radians(25)) * x + np.sin(np.radians(25)) * z)
    return pose, NeedlePose(entry_mm=entry, tip_mm=tip)


@pytest.mark.parametrize("planes", [1, 3, 9])
def test_frame(benchmark, scene, planes: int) -> None:
    joint = scene("completed_knee")
    pose, needle = view(joint)
    acoustic = AcousticScene.of(joint, replace(PROBE, elevation_planes=planes))
    buffers = FrameBuffers(acoustic, DISPLAY)
    benchmark.extra_info.update(items=1, peer=f"injectplan, {planes} planes", planes=planes)
    benchmark.group = "frame"
    simulate_frame(acoustic, pose, needle=needle, display=DISPLAY, buffers=buffers)
    benchmark.pedantic(
        lambda: simulate_frame(acoustic, pose, needle=needle, display=DISPLAY, buffers=buffers), rounds=30
    )


@pytest.mark.parametrize("planes", [1, 3, 9])
def test_calibration(benchmark, planes: int) -> None:
    """The yardstick: as many eight-gather samples as a frame has, and nothing else."""
    acoustic = AcousticScene.from_solids({}, replace(PROBE, elevation_planes=planes))
    tables = FrameBuffers(acoustic, DISPLAY).tables
    re, im = np.zeros((2, PROBE.lines, tables.samples), np.float32)
    step = np.float32(tables.step_mm / tables.voxel_mm)
    benchmark.extra_info.update(items=1, peer=f"calibration kernel, {planes} planes", planes=planes)
    benchmark.group = "frame"
    benchmark.pedantic(
        calibrate, args=(speckle_texture(), step, tables.samples, planes, re, im), rounds=30, warmup_rounds=1
    )


def test_small_frame(benchmark, scene) -> None:
    """256 lines, one plane, 500 × 500 pixels: what NVIDIA publishes 136 frames a second for."""
    joint = scene("completed_knee")
    pose, needle = view(joint)
    acoustic = AcousticScene.of(joint, replace(PROBE, lines=256, elevation_planes=1))
    display = Display(width_px=500, height_px=500)
    buffers = FrameBuffers(acoustic, display)
    benchmark.extra_info.update(items=1, peer="injectplan", planes=1)
    benchmark.group = "frame of 256 lines"
    simulate_frame(acoustic, pose, needle=needle, display=display, buffers=buffers)
    benchmark.pedantic(
        lambda: simulate_frame(acoustic, pose, needle=needle, display=display, buffers=buffers), rounds=30
    )


def test_frame_plus_like(benchmark, scene) -> None:
    joint = scene("completed_knee")
    pose, _ = view(joint)
    frame = plus_like(
        [s.surface for s in joint.structures.values()],
        pose, lines=192, width_mm=38.0, depth_mm=50.0, samples=640, size=(512, 640),
    )  # fmt: skip
    benchmark.extra_info.update(items=1, peer="PLUS-like on VTK", planes=1)
    benchmark.group = "frame"
    benchmark.pedantic(frame, rounds=3)
