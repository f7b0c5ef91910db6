"""From a saved joint to the first frame: processor seconds of a whole process, its compile cache warm."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

LIMIT_S = 3.0  # what was asked for; 1.5 on a Zen 4
CHILD = """
import sys
import numpy as np
from injectplan import AcousticScene, NeedlePose, Pose, load_joint, probe_model, simulate_frame
joint = load_joint(sys.argv[1])
x, z = -joint.axes.lateral, -joint.axes.anterior
tip = next(r for r in joint.cavity.recesses if r.name == "suprapatellar").center_mm
pose = Pose.from_axes(x, np.cross(z, x), z, tip - 20.0 * z)
needle = NeedlePose(entry_mm=tip - 30.0 * x - 15.0 * z, tip_mm=tip)
scene = AcousticScene.of(joint, probe_model("linear-12")).around(pose)
frame = simulate_frame(scene, pose, needle=needle)
assert frame.bmode.any() and frame.needle.any() and frame.labels.any()
print([m for m in ("pyvista", "matplotlib", "SimpleITK", "scipy.optimize") if m in sys.modules])
"""


def _seconds(joint: Path) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(joint)], check=True, capture_output=True, text=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.stdout.strip() == "[]"  # nothing is imported that only builds, plans, plots or reads scans
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_the_first_frame_from_a_saved_joint_takes_three_seconds(demos):
    joint = demos[0][1] / "model"
    _seconds(joint)  # compiles, and makes the patterns, where that was not yet done
    assert min(_seconds(joint) for _ in range(3)) <= LIMIT_S
