"""Draw the README's picture from a case: the planned needle in 3-D, and the frame with the tip at its target.

Usage: python tools/opening_picture.py CASE PICTURE.png
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from injectplan.casefile import read_case
from injectplan.guidance import preview_guidance
from injectplan.planning import plan_injection
from injectplan.report import images, pictures
from injectplan.ultrasound import AcousticScene
from injectplan.workflow import joint_of

HEIGHT = 560


def main(case_path: Path, out: Path) -> None:
    case = read_case(case_path)
    joint, _ = joint_of(case)
    plan = plan_injection(joint, case.needle, case.probe, case.constraints, seed=case.seed)
    best = plan.trajectories[0]
    scene = AcousticScene.of(joint, case.probe)
    frame = preview_guidance(best, scene, needle=case.needle, frames=2, display=case.display).frames[-1]
    stills = pictures.scenes(
        joint,
        best,
        from_lateral_deg=(20.0, 70.0),
        probe_width_mm=case.probe.width_mm,
        width=430,
        height=HEIGHT,
    )
    rows = int(np.flatnonzero(np.isfinite(frame.depth_mm).any(axis=1)).max()) + 1
    grey = Image.fromarray(frame.bmode[:rows])
    grey = grey.resize((round(grey.width * HEIGHT / grey.height), HEIGHT), Image.Resampling.BILINEAR)
    picture = np.concatenate([*stills, np.asarray(grey.convert("RGB"))], axis=1)
    out.parent.mkdir(parents=True, exist_ok=True)
    images.save(picture, out)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
