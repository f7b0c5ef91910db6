#!/usr/bin/env python3
"""Draw real frames beside ours, and one table of what the same estimators read from both.

Usage: python tools/side_by_side.py [--data ../shared/data] [--out out/side_by_side]
Writes page.html, the pictures and statistics.json.  Real frames keep their own licences (credits below each).
"""

from __future__ import annotations

import argparse
import html
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import frame_stats
import look_scenes
import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

Grey = npt.NDArray[np.uint8]
Boxes = dict[str, list[tuple[int, int, int, int]]]
TILTS = ((0, 8), (8, 16), (16, 25), (25, 35))
# Range of each figure as read from the frames that presets were fitted to (18 public ones: Clarius, Lumify,
# GE E9, Telemed, Philips, Ultrasonix, UltraBones): medians of tissues over subcutaneous fat; bone's grey by
# tilt; shadow; grain; whole frame.  Frames that no preset was fitted to stand in held_out.py.
RANGES: dict[str, tuple[float, float]] = {
    "fat_pad": (1.2, 1.3), "muscle": (0.3, 0.8), "fascia": (1.4, 2.1), "cartilage": (0.3, 0.35),
    "fluid": (0.0, 0.3), "lumen_over_ring": (0.25, 0.56), "below_over_beside": (1.1, 2.3),
    "bone_0_8": (216, 234), "bone_8_16": (175, 227), "bone_16_25": (136, 230), "bone_25_35": (120, 219),
    "bone_width_mm": (0.5, 1.35), "shadow_2": (32, 79), "shadow_5": (8, 72), "shadow_10": (1, 66),
    "grain_axial_mm": (0.2, 0.67), "grain_lateral_mm": (0.5, 1.9), "lateral_over_axial": (2.0, 4.0),
    "local_sd": (11, 28), "p50": (4, 126), "p99": (148, 233), "white": (0, 0.0025),
}  # fmt: skip


@dataclass(frozen=True)
class Counterpart:
    """A real frame: file, crop, mm a pixel (None: unknown), hand-drawn boxes and ridge in cropped pixels."""

    title: str
    file: str
    credit: str
    crop: tuple[int, int, int, int]
    pixel_mm: float | None
    boxes: Boxes
    ridge: tuple[tuple[int, int], ...] = ()

    def grey(self, data: Path) -> Grey:
        return np.asarray(Image.open(data / "ultrasound_real" / self.file).convert("L").crop(self.crop))


def _shifted(boxes: Boxes, dx: int, dy: int) -> Boxes:
    return {n: [(a - dx, b - dy, c - dx, d - dy) for a, b, c, d in v] for n, v in boxes.items()}


TROCHLEA_RIDGE = (
    (112, 352), (130, 351), (150, 353), (200, 357), (225, 364), (250, 381), (275, 397), (300, 409),
    (330, 417), (355, 420), (380, 417), (400, 411), (425, 401), (450, 388), (475, 375), (500, 360),
    (525, 351), (550, 342), (575, 337), (605, 334),
)  # fmt: skip
ARC_RIDGE = (
    (320, 165), (335, 145), (360, 127), (400, 113), (450, 107), (520, 109), (580, 117), (640, 133),
    (690, 160), (715, 190),
)  # fmt: skip
REAL: dict[str, Counterpart] = {
    "trochlea": Counterpart(
        "Trochlea, suprapatellar transverse, knee bent (3 cm)",
        "kimbowa_knee/clarius_L15_knee_trochlea.png", "alvinkimbowa/cartilage_seg, MIT", (107, 223, 693, 577),
        10 / 118.0,
        _shifted(
            {
                "subcutaneous_fat": [(140, 230, 360, 248)], "fat_pad": [(300, 362, 390, 386)],
                "muscle": [(150, 275, 260, 310), (480, 262, 580, 290)], "fluid": [(340, 302, 395, 318)],
                "cartilage": [(340, 401, 372, 411), (495, 338, 512, 350), (540, 318, 590, 328)],
            },
            107, 223,
        ),
        tuple((x - 107, y - 223) for x, y in TROCHLEA_RIDGE),
    ),
    "bone_arc": Counterpart(
        "A bone across the limb (4.4 cm)", "ultrabones/10_9_ultrasound.png",
        "luohwu/UltraBones100k, CC BY 4.0", (0, 0, 884, 829), 0.054, {"muscle": [(120, 180, 230, 380)]},
        ARC_RIDGE,
    ),
    "muscle": Counterpart(
        "Muscle along its length (4 cm)", "timtrack/ge_rom182.png",
        "timvanderzee/ultrasound-automated-algorithm, CC0", (112, 62, 690, 520), 10 / 115.5,
        _shifted(
            {
                "subcutaneous_fat": [(355, 122, 500, 146)], "muscle": [(150, 185, 640, 290)],
                "fascia": [(125, 135, 160, 141), (390, 159, 460, 166), (560, 171, 640, 177)],
            },
            112, 62,
        ),
    ),
    "vessels": Counterpart(
        "Vessels across the limb (scale unknown)", "usgra_seg/0215.png", "tmkand/usgra-seg, CC BY 4.0",
        (0, 0, 534, 478), None, {},
    ),
}  # fmt: skip


def masks_of(boxes: Boxes, shape: tuple[int, ...]) -> dict[str, npt.NDArray[np.bool_]]:
    out = {}
    for name, rectangles in boxes.items():
        out[name] = np.zeros(shape, bool)
        for a, b, c, d in rectangles:
            out[name][b:d, a:c] = True
    return out


def vessel_masks(data: Path, name: str) -> npt.NDArray[np.bool_]:
    path = data / "ultrasound_real" / "usgra_seg" / f"{name}_mask.png"
    return np.asarray(Image.open(path)) == 2


def regions_of(frame: Any, px: float) -> dict[str, npt.NDArray[np.bool_]]:
    """Our regions from the label map, away from their edges, under names of the table."""
    names = {"gastrocnemius": "muscle", "tendon": "muscle", "recess": "fluid", "deep_fascia": "fascia"}
    out = {}
    seen = (frame.depth_mm < 22.0) & (frame.bmode.max(axis=0) > 0)[None, :]  # deeper, gain decides
    for value, name in frame.label_names.items():
        edge = 1 if name in ("deep_fascia", "recess") else round(0.4 / px)
        inside = ndimage.binary_erosion((frame.labels == value) & seen, iterations=edge)
        if inside.any():
            out[names.get(name, name)] = inside
    return out


def ridge_under(frame: Any, name: str) -> npt.NDArray[np.float64]:
    """The bone's upper edge in each column that holds it, (n, 2), two millimetres off the frame's sides."""
    value = {n: v for v, n in frame.label_names.items()}[name]
    bone = frame.labels == value
    columns = np.flatnonzero(bone.any(axis=0))
    lit = frame.bmode[:, columns].max(axis=0) > 0
    columns = columns[lit][20:-20]
    return np.stack([columns, np.argmax(bone[:, columns], axis=0)], axis=1).astype(float)


def vessel_figures(grey: Grey, vessel: npt.NDArray[np.bool_]) -> dict[str, float]:
    """Lumen over the ring round it, and below over beside it."""
    rows, columns = np.nonzero(vessel)
    wide, tall = np.ptp(columns) + 1, np.ptp(rows) + 1
    inner = ndimage.binary_erosion(vessel, iterations=max(2, tall // 8))
    near = ndimage.binary_dilation(vessel, iterations=max(4, tall // 4))
    ring = near & ~ndimage.binary_dilation(vessel, iterations=3)
    middle, low = int(columns.mean()), rows.max()
    below = grey[low + 6 : low + 6 + tall // 2, middle - wide // 5 : middle + wide // 5]
    right = middle + wide // 2 + 6
    beside = grey[low + 6 : low + 6 + tall // 2, right : right + wide // 2]
    return {
        "lumen_over_ring": float(np.median(grey[inner]) / np.median(grey[ring])),
        "below_over_beside": float(np.median(below) / max(1.0, float(np.median(beside)))),
    }


def figures(
    grey: Grey, px: float | None, regions: dict[str, npt.NDArray[np.bool_]], ridge: Any = None,
    vessel: npt.NDArray[np.bool_] | None = None,
) -> dict[str, float]:  # fmt: skip
    """All figures of one frame; what it does not show is left out."""
    out: dict[str, float] = {}
    fat = regions.get("subcutaneous_fat")
    for name in ("fat_pad", "muscle", "fascia", "cartilage", "fluid"):
        if name in regions and fat is not None and np.median(grey[fat]) > 0.0:
            out[name] = frame_stats.ratio(grey, regions[name], fat)
    if ridge is not None and len(ridge) and px:
        line = frame_stats.bone_line(grey, np.asarray(ridge, float), px)
        tilt = np.abs(line["tilt_deg"])
        for low, high in TILTS:
            where = (tilt >= low) & (tilt < high)
            if where.sum() >= 12:
                out[f"bone_{low}_{high}"] = float(np.nanmedian(line["peak"][where]))
        facing = tilt < 12
        wide = line["width_mm"][tilt < 8]
        if np.isfinite(wide).any():
            out["bone_width_mm"] = float(np.nanmedian(wide))
        for depth in (2, 5, 10):
            out[f"shadow_{depth}"] = float(np.nanmedian(line[f"shadow_{depth}"][facing]))
    for name in ("fat_pad", "muscle"):
        if px and name in regions and "grain_axial_mm" not in out:
            grain = frame_stats.grain_over(grey, regions[name], px)
            if grain is not None:
                out["grain_axial_mm"], out["grain_lateral_mm"] = grain
                out["lateral_over_axial"] = grain[1] / grain[0]
                out["local_sd"] = frame_stats.local_sd(grey, regions[name], px)
    if vessel is not None:
        out |= vessel_figures(grey, vessel)
    return out | frame_stats.percentiles(grey)


def ours(name: str, data: Path) -> tuple[Grey, dict[str, float]]:
    """Our frame and its figures."""
    view = getattr(look_scenes, name)(data)
    frame = view.frame()
    bone = next((n for n in ("femur", "bone") if n in frame.label_names.values()), None)
    ridge = ridge_under(frame, bone) if bone else None
    vessel = frame.labels == {n: v for v, n in frame.label_names.items()}.get("artery", -1)
    regions = regions_of(frame, view.pixel_mm)
    return frame.bmode, figures(frame.bmode, view.pixel_mm, regions, ridge, vessel if vessel.any() else None)


def figures_of(
    real: Counterpart, data: Path, vessel: npt.NDArray[np.bool_] | None = None
) -> dict[str, float]:
    """The figures of a real frame, by its boxes and ridge."""
    grey = real.grey(data)
    ridge = None
    if real.ridge:
        columns = np.arange(real.ridge[0][0] + 3, real.ridge[-1][0] - 5)
        ridge = np.stack([columns, np.interp(columns, *np.array(real.ridge, float).T)], axis=1)
    return figures(grey, real.pixel_mm, masks_of(real.boxes, grey.shape), ridge, vessel)


def theirs(name: str, data: Path) -> tuple[Grey, dict[str, float]]:
    """The real frame and its figures."""
    real = REAL[name]
    grey = real.grey(data)
    vessel = None
    if name == "vessels":
        parts, _ = ndimage.label(vessel_masks(data, "0215")[: grey.shape[0]])
        vessel = parts == 1 + int(np.argmax(np.bincount(parts.ravel())[1:]))
    return grey, figures_of(real, data, vessel)


def _row(key: str, a: float | None, b: float | None) -> str:
    low, high = RANGES[key]
    good = b is None or low <= b <= high
    cells = ["" if v is None else f"{v:.4f}" if key == "white" else f"{v:.2f}" for v in (a, b)]
    mark = "" if good else ' class="off"'
    return f"<tr><td>{key}</td><td>{cells[0]}</td><td{mark}>{cells[1]}</td><td>{low:g} – {high:g}</td></tr>"


def main(data: Path, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    parts, numbers = [], {}
    for name, real in REAL.items():
        (left, a), (right, b) = theirs(name, data), ours(name, data)
        for side, grey in (("real", left), ("ours", right)):
            Image.fromarray(grey).save(out / f"{name}_{side}.png")
        rows = "".join(_row(k, a.get(k), b.get(k)) for k in RANGES if k in a or k in b)
        parts.append(
            f"<h2>{html.escape(real.title)}</h2><div class=pair><figure><img src={name}_real.png><figcaption>"
            f"real: {html.escape(real.credit)}</figcaption></figure><figure><img src={name}_ours.png>"
            "<figcaption>ours</figcaption></figure></div><table><tr><th>figure<th>real<th>ours<th>range of "
            f"real frames</tr>{rows}</table>"
        )
        numbers[name] = {"real": a, "ours": b}
    style = (
        "body{font:15px sans-serif;max-width:1250px;margin:2em auto;background:#181818;color:#ddd}"
        ".pair{display:flex;gap:12px}figure{margin:0;flex:1}img{width:100%}td,th{padding:2px 14px}"
        ".off{color:#f77}"
    )
    page = f"<!doctype html><meta charset=utf-8><title>real and ours</title><style>{style}</style>"
    (out / "page.html").write_text(page + "".join(parts), encoding="utf-8")
    (out / "statistics.json").write_text(json.dumps(numbers, indent=1), encoding="utf-8")
    for name, both in numbers.items():
        for key in RANGES:
            a, b = both["real"].get(key), both["ours"].get(key)
            if a is not None or b is not None:
                low, high = RANGES[key]
                flag = "" if b is None or low <= b <= high else "  <-- outside"
                print(f"{name:10} {key:20} {a if a is None else round(a, 3)!s:>8} "
                      f"{b if b is None else round(b, 3)!s:>8}   {low:g}-{high:g}{flag}")  # fmt: skip


if __name__ == "__main__":
    root = Path(__file__).resolve().parents[1]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=root.parent / "shared" / "data")
    parser.add_argument("--out", type=Path, default=root / "out" / "side_by_side")
    chosen = parser.parse_args()
    main(chosen.data, chosen.out)
