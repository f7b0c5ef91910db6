"""The first frame from a saved joint, whole processes, with a warm compile cache.

    python benchmarks/first_frame.py SAVED_JOINT [PASSES]

By the public names (load, scene, one frame of the catalogue's linear-12 with all its maps and a needle), and
by `injectplan frame`, which also times 30 warm frames and writes picture and arrays. CPU time of the whole
process, both cores, the interpreter's start included; that is its wall time on an idle machine. Median and
least of the passes; a pass before them compiles and is not counted.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

BY_NAMES = """
import json, sys
import numpy as np
from injectplan import AcousticScene, NeedlePose, Pose, load_joint, probe_model, simulate_frame
view = json.load(open(sys.argv[2]))
pose = Pose.from_matrix(np.array(view["pose"]))
needle = NeedlePose(entry_mm=view["entry"], tip_mm=view["tip"])
scene = AcousticScene.of(load_joint(sys.argv[1]), probe_model("linear-12")).around(pose)
frame = simulate_frame(scene, pose, needle=needle)
assert frame.bmode.any() and frame.needle.any()
"""


def spent(command: list[str]) -> tuple[float, float]:
    """Run a child: (its CPU time, its wall time) in seconds."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wall = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall


def commands(joint: Path, folder: Path) -> dict[str, list[str]]:
    """Both ways, over the suprapatellar recess of a saved knee."""
    import json

    from injectplan import load_joint
    from test_ultrasound import view

    model = load_joint(joint)
    pose, needle = view(model)
    rows = pose.matrix.tolist()
    entry, tip = needle.entry_mm.tolist(), needle.tip_mm.tolist()
    seen, case = folder / "view.json", folder / "case.toml"
    seen.write_text(json.dumps({"pose": rows, "entry": entry, "tip": tip}))
    case.write_text(
        f'schema = 1\nname = "first frame"\nseed = 7\n[joint]\nkind = "{model.kind}"\nside = "{model.side}"\n'
        f'[anatomy]\nmodel = "{joint.resolve()}"\n[view]\nprobe_to_patient = {rows}\n'
        f"needle = {{ entry_mm = {entry}, tip_mm = {tip} }}\n"
    )
    line = "from injectplan.cli import main; main()"
    return {
        "by names": [sys.executable, "-c", BY_NAMES, str(joint), str(seen)],
        "injectplan frame": [
            sys.executable, "-c", line, "frame", str(case), "--quiet",
            "--out", str(folder / "frame.npz"), "--png", str(folder / "frame.png"),
        ],
    }  # fmt: skip


def main() -> None:
    """Print one line a way."""
    joint, passes = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 5
    print(f"load of the machine {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as name:
        for way, command in commands(joint, Path(name)).items():
            spent(command)
            cpu, wall = zip(*(spent(command) for _ in range(passes)), strict=True)
            print(
                f"{way:18} CPU {median(cpu):.2f} s (least {min(cpu):.2f}), "
                f"wall {median(wall):.2f} s (least {min(wall):.2f})"
            )


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    main()
