"""What a frame costs against lines, planes, samples and triangles, as tables in Markdown.

    python benchmarks/curves.py [SAVED_JOINT]

CPU time of one thread, medians of 15 frames after a warm-up, all maps and a 22 G needle in view. The knee is
the completed real knee, or the joint saved in the folder named, so that it need not be built.
Beside each time stands the calibration kernel's: the walk's eight-gather samples and nothing else.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parent.parent / "tests")]

from injectplan.anatomy import JointModel, load_joint  # noqa: E402
from injectplan.frames import Pose  # noqa: E402
from injectplan.kernels import set_threads  # noqa: E402
from injectplan.kernels.speckle import calibrate  # noqa: E402
from injectplan.ultrasound import AcousticScene, FrameBuffers, NeedlePose, simulate_frame  # noqa: E402
from injectplan.ultrasound.patterns import speckle_texture  # noqa: E402
from oracles_ultrasound import sphere  # noqa: E402
from scenarios import scene  # noqa: E402
from test_ultrasound import DISPLAY, PROBE, view  # noqa: E402


def cpu_ms(call: Callable[[], object], rounds: int = 15) -> float:
    """Median CPU time of a call, ms."""
    call()
    spent = []
    for _ in range(rounds):
        begin = time.process_time()
        call()
        spent.append(time.process_time() - begin)
    return 1e3 * float(np.median(spent))


def frame_ms(acoustic: AcousticScene, pose: Pose, needle: NeedlePose) -> float:
    """One frame with its maps."""
    buffers = FrameBuffers(acoustic, DISPLAY)
    return cpu_ms(lambda: simulate_frame(acoustic, pose, needle=needle, display=DISPLAY, buffers=buffers))


def yardstick(acoustic: AcousticScene, room: FrameBuffers) -> Callable[[], object]:
    """As many eight-gather samples as the frame has, and nothing else."""
    tables, probe, grain = room.tables, acoustic.probe, speckle_texture()
    re, im = np.zeros((2, probe.lines, tables.samples), np.float32)
    step = np.float32(tables.step_mm / tables.voxel_mm)
    return lambda: calibrate(grain, step, tables.samples, probe.elevation_planes, re, im)


def the_knee() -> JointModel:
    """The saved joint that the command line names, else the completed real knee."""
    return load_joint(sys.argv[1]) if len(sys.argv) > 1 else scene("completed_knee")


def main() -> None:
    set_threads(1)
    joint = the_knee()
    pose, needle = view(joint)
    knee = AcousticScene.of(joint, PROBE)
    print("| lines × planes × samples | frame, ms | calibration, ms | ratio |\n|---|---|---|---|")
    rows = [(192, k, 640) for k in (1, 3, 5, 9, 17)]
    rows += [(n, 9, 640) for n in (96, 384)] + [(192, 9, n) for n in (320, 1280)]
    for lines, planes, samples in rows:
        probe = replace(PROBE, lines=lines, elevation_planes=planes, samples=samples)
        acoustic = knee.with_probe(probe)
        cost = frame_ms(acoustic, pose, needle)
        samples_alone = cpu_ms(yardstick(acoustic, FrameBuffers(acoustic, DISPLAY)))
        row = f"| {cost:.1f} | {samples_alone:.1f} | {cost / samples_alone:.2f} |"
        print(f"| {lines} × {planes} × {samples} {row}")
    print("\n| triangles of two balls | frame, ms |\n|---|---|")
    ahead = NeedlePose(entry_mm=[-18.0, 0.0, 2.0], tip_mm=[0.0, 0.0, 12.0])
    for rings in (16, 32, 64, 128, 256, 512):
        solids = {
            "flesh": (sphere(60.0, [0.0, 0.0, 59.5], rings), "muscle", 1),
            "bone": (sphere(20.0, [0.0, 0.0, 35.0], rings), "cortical_bone", 2),
        }
        acoustic = AcousticScene.from_solids(solids, PROBE, background="water")
        triangles = sum(len(s.triangles) for s, _, _ in solids.values())
        print(f"| {triangles} | {frame_ms(acoustic, Pose.identity(), ahead):.1f} |")


if __name__ == "__main__":
    main()
