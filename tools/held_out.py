#!/usr/bin/env python3
"""Compare our frames with real ones that no preset was fitted to and no published range was read from.

Usage: python tools/held_out.py [--data ../shared/data]
Prints each figure of ours beside the least and the greatest of the held-out frames of its kind.  There is but
one public trochlea, so that view has none.  Boxes and ridges are hand-drawn, in pixels of the whole file.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import side_by_side
from PIL import Image
from scipy import ndimage
from side_by_side import Counterpart

ULTRABONES = "luohwu/UltraBones100k, CC BY 4.0"
BONES = (
    Counterpart(
        "bone", "ultrabones/8_7_ultrasound.png", ULTRABONES, (0, 0, 950, 811), 0.054, {},
        ((590, 435), (603, 420), (634, 389), (675, 368), (716, 370), (767, 385), (815, 405)),
    ),
    Counterpart(
        "bone", "ultrabones/11_3_ultrasound.png", ULTRABONES, (0, 0, 884, 829), 0.054, {},
        ((15, 291), (73, 249), (130, 214), (188, 197), (245, 193), (293, 209), (331, 239)),
    ),
    Counterpart(
        "bone", "pluslib/plus_BoneUltrasound_L14_00.png", "PlusToolkit/PlusLibData, BSD-3",
        (178, 4, 640, 610), 38 / 467.0, {"muscle": [(102, 96, 442, 186)]},
        ((5, 365), (27, 324), (56, 292), (93, 268), (137, 262), (181, 268), (225, 283), (261, 296),
         (298, 324), (320, 358), (342, 402)),
    ),
)  # fmt: skip
MUSCLES = (
    Counterpart(
        "muscle", "timtrack/vl_S4_R20_step_425.png", "timvanderzee/ultrasound-automated-algorithm, CC0",
        (0, 0, 514, 458), None,
        {"subcutaneous_fat": [(120, 26, 480, 48)], "muscle": [(30, 180, 480, 330)],
         "fascia": [(180, 108, 240, 120)]},
    ),
    Counterpart(
        "muscle", "dltrack/apo_00001.tif", "njcronin/DL_Track, Apache-2.0", (52, 132, 594, 600), None,
        {"subcutaneous_fat": [(20, 18, 300, 44)], "muscle": [(20, 110, 520, 260)],
         "fascia": [(60, 52, 120, 58), (250, 70, 330, 76)]},
    ),
    Counterpart(
        "muscle", "dltrack/apo_00300.tif", "njcronin/DL_Track, Apache-2.0", (98, 46, 560, 496), None,
        {"subcutaneous_fat": [(20, 14, 300, 34)], "muscle": [(100, 130, 440, 200)],
         "fascia": [(40, 42, 120, 50), (180, 54, 240, 64)]},
    ),
)  # fmt: skip
VESSELS = (
    "0048",
    "0130",
    "0161",
    "0172",
    "0184",
    "0192",
    "0202",
    "0211",
    "0213",
    "0219",
    "0222",
    "0229",
    "0233",
)


def of_vessels(data: Path, name: str) -> dict[str, float]:
    """Figures of the largest vessel of a masked frame, and of the frame."""
    path = data / "ultrasound_real" / "usgra_seg" / f"{name}.png"
    grey = np.asarray(Image.open(path).convert("L"))
    parts, _ = ndimage.label(side_by_side.vessel_masks(data, name)[: grey.shape[0]])
    vessel = parts == 1 + int(np.argmax(np.bincount(parts.ravel())[1:]))
    return side_by_side.figures(grey, None, {}, None, vessel)


def held_out(data: Path) -> dict[str, list[dict[str, float]]]:
    """Figures of every held-out frame by the view of ours that they stand beside."""
    return {
        "bone_arc": [side_by_side.figures_of(real, data) for real in BONES],
        "muscle": [side_by_side.figures_of(real, data) for real in MUSCLES],
        "vessels": [of_vessels(data, name) for name in VESSELS],
    }


def spans(frames: list[dict[str, float]]) -> dict[str, tuple[float, float]]:
    """Least and greatest of each figure that two of the frames or more show."""
    keys = dict.fromkeys(key for frame in frames for key in frame)
    read = {key: [f[key] for f in frames if np.isfinite(f.get(key, np.nan))] for key in keys}
    return {key: (min(v), max(v)) for key, v in read.items() if len(v) > 1}


def outside(
    ours: dict[str, float], span: dict[str, tuple[float, float]]
) -> dict[str, tuple[float, float, float]]:
    """Our figures that lie beyond all held-out frames: value, least, greatest."""
    return {k: (ours[k], *span[k]) for k in span if k in ours and not span[k][0] <= ours[k] <= span[k][1]}


def main(data: Path) -> None:
    for name, frames in held_out(data).items():
        _, ours = side_by_side.ours(name, data)
        span = spans(frames)
        off = outside(ours, span)
        for key, (low, high) in span.items():
            if key in ours:
                mark = "  <-- outside" if key in off else ""
                print(f"{name:10} {key:20} {ours[key]:8.3f}   {low:.3f} - {high:.3f}{mark}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data", type=Path, default=Path(__file__).resolve().parents[1].parent / "shared" / "data"
    )
    main(parser.parse_args().data)
