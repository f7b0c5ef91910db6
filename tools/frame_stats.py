#!/usr/bin/env python3
"""Estimators of a musculoskeletal B-mode frame's look: the same for a scanner's frames and simulated ones.

Grey values are display values 0-255, regions boolean masks of the frame's shape, lengths mm.  Ratios, widths
and shapes can be compared between scanners, absolute greys cannot.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Grey = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]


def ratio(grey: Grey, region: Mask, reference: Mask) -> float:
    """Median grey of a region over that of another."""
    return float(np.median(grey[region]) / np.median(grey[reference]))


def percentiles(grey: Grey) -> dict[str, float]:
    """Whole-frame median and 99th percentile, and the share that is all but white."""
    p50, p99 = np.percentile(grey, (50, 99))
    return {"p50": float(p50), "p99": float(p99), "white": float((grey >= 250).mean())}


def local_sd(grey: Grey, region: Mask, pixel_mm: float, window_mm: float = 3.0) -> float:
    """Median over a region of the grey's deviation from its local mean."""
    size = max(3, round(window_mm / pixel_mm))
    values = grey.astype(np.float64)
    mean = ndimage.uniform_filter(values, size)
    square = ndimage.uniform_filter(values**2, size)
    inside = ndimage.binary_erosion(region, iterations=size // 2)
    where = inside if inside.any() else region
    return float(np.sqrt(np.maximum(square - mean**2, 0.0))[where].mean())


def grain_mm(grey: Grey, region: Mask, pixel_mm: float) -> tuple[float, float]:
    """Axial and lateral width at half maximum of the grey's autocorrelation in a region's bounding box."""
    rows, columns = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
    patch = grey[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].astype(np.float64)
    patch = patch - ndimage.gaussian_filter(patch, 1.5 / pixel_mm)
    power = np.abs(np.fft.fft2(patch, [2 * n for n in patch.shape])) ** 2
    correlation = np.fft.ifft2(power).real
    return tuple(_width(line / line[0], pixel_mm) for line in (correlation[:, 0], correlation[0]))


def grain_over(
    grey: Grey, region: Mask, pixel_mm: float, window_mm: float = 4.0
) -> tuple[float, float] | None:
    """Median grain of the windows that lie in a region, or None where none does; half of a window apart.

    The lowest window is 1.2 mm, for layers thinner than `window_mm`.
    """
    wide = round(window_mm / pixel_mm)
    for tall in (wide, wide // 2, round(1.2 / pixel_mm)):
        inside = ndimage.uniform_filter(region.astype(np.float64), (tall, wide)) > 0.995
        found = []
        for y in range(tall // 2, grey.shape[0] - tall // 2, max(1, tall // 2)):
            for x in range(wide // 2, grey.shape[1] - wide // 2, max(1, wide // 2)):
                if inside[y, x]:
                    box = np.zeros(grey.shape, bool)
                    box[y - tall // 2 : y + tall // 2, x - wide // 2 : x + wide // 2] = True
                    found.append(grain_mm(grey, box, pixel_mm))
        if found:
            axial, lateral = np.median(found, axis=0)
            return float(axial), float(lateral)
    return None


def _width(falling: npt.NDArray[np.float64], pixel_mm: float) -> float:
    below = int(np.argmax(falling < 0.5))
    before = falling[below - 1]
    return 2.0 * pixel_mm * (below - 1 + (before - 0.5) / (before - falling[below]))


def bone_line(
    grey: Grey, ridge: npt.NDArray[np.float64], pixel_mm: float, search_mm: float = 0.8
) -> dict[str, npt.NDArray[np.float64]]:
    """Measure a bone's line at each column of a ridge (n, 2) of (column, row).

    Returns tilt_deg, peak grey, width_mm at half of the peak over the greater of its surroundings, and the
    grey of the shadow 2, 5 and 10 mm below.  NaN where it cannot be read.
    """
    columns, rows = ridge[:, 0].astype(int), ridge[:, 1]
    tilt = np.degrees(np.arctan(np.gradient(ndimage.gaussian_filter1d(rows, 4.0), ridge[:, 0])))
    reach = round(search_mm / pixel_mm)
    out: dict[str, list[float]] = {k: [] for k in ("peak", "width_mm", "shadow_2", "shadow_5", "shadow_10")}
    for column, row in zip(columns, rows, strict=True):
        first = max(0, round(row) - reach)
        line = grey[first : round(row) + reach + 1, column].astype(np.float64)
        at = int(np.argmax(line))
        peak = line[at]
        over = line >= peak / 2.0
        up, down = at, at
        while up > 0 and over[up - 1]:
            up -= 1
        while down < len(line) - 1 and over[down + 1]:
            down += 1
        out["peak"].append(float(peak))
        out["width_mm"].append((down - up + 1) * pixel_mm if up > 0 and down < len(line) - 1 else np.nan)
        for depth in (2, 5, 10):
            below = first + at + round(depth / pixel_mm)
            box = grey[below - 2 : below + 3, max(0, column - 4) : column + 5]
            out[f"shadow_{depth}"].append(float(np.median(box)) if below + 3 <= len(grey) else np.nan)
    return {"tilt_deg": tilt} | {key: np.array(values) for key, values in out.items()}
