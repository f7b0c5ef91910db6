"""The speed gates of an ultrasound frame, as ratios within one run; the exit code is 1 where one is missed.

    python benchmarks/gates.py [SAVED_JOINT]

A frame of the completed real knee (192 lines × 9 planes × 640 samples over 50 mm, 22 G needle, all maps,
640 × 512 pixels) costs at most 1.2 times the calibration kernel, which makes as many eight-gather samples and
nothing else, and less than half of a PLUS-like frame of one plane. CPU time of one thread, turn and turn
about, so that a machine that is busy for a while slows both; medians, and the least of each beside them.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))

from curves import the_knee, yardstick
from injectplan.kernels import set_threads
from injectplan.ultrasound import AcousticScene, FrameBuffers, simulate_frame
from peers.plus_like import plus_like
from test_ultrasound import DISPLAY, PROBE, view

ROUNDS = 60


def turns(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """CPU time of this thread for each call, ms, one call after the other."""
    spent: dict[str, list[float]] = {name: [] for name in calls}
    for n in range(rounds + 3):
        for name, call in calls.items():
            begin = time.thread_time()
            call()
            if n >= 3:
                spent[name].append(1e3 * (time.thread_time() - begin))
    return spent


def main() -> int:
    """Print each gate; return the exit code."""
    set_threads(1)
    joint = the_knee()
    pose, needle = view(joint)
    knee = AcousticScene.of(joint, PROBE)
    room = FrameBuffers(knee, DISPLAY)
    plus = plus_like(
        [s.surface for s in joint.structures.values()],
        pose, lines=192, width_mm=38.0, depth_mm=50.0, samples=640, size=(512, 640),
    )  # fmt: skip

    def frame() -> object:
        return simulate_frame(knee, pose, needle=needle, display=DISPLAY, buffers=room)

    both = turns({"frame": frame, "calibration": yardstick(knee, room)}, ROUNDS)
    peer = turns({"frame": frame, "PLUS-like": plus}, 3)
    missed = 0
    for own, other, limit in (
        (both["frame"], both["calibration"], 1.2), (peer["frame"], peer["PLUS-like"], 0.5)
    ):  # fmt: skip
        ratio, least = float(np.median(own) / np.median(other)), min(own) / min(other)
        missed += ratio > limit
        print(
            f"frame {np.median(own):.1f} ms (least {min(own):.1f}), other {np.median(other):.1f} "
            f"({min(other):.1f}): ratio {ratio:.3f} (of the least {least:.3f}), at most {limit}"
        )
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
