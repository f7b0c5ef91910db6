"""Slices of a label map, told by the even heights at which a surface lies level, smoothed since or not.

Fairing takes the steps of voxels, but the terraces that slices leave stay where they were (decision 0086).
"""

from __future__ import annotations

import numpy as np

from injectplan.alignment.fits import frame_of
from injectplan.frames import unit
from injectplan.kernels.cast import Floats

BIN_MM, SPECTRUM = 0.05, 1 << 15
THINNEST_MM, THICKEST_MM = 0.6, 4.0  # slices looked for (assumed)
# Least share of level surface in step: smooth, thinned, noisy and cut bones 0.31 at most, slices of 1.25 and
# 2 mm along the axes smoothed by 50 passes of Laplace 0.45, of 3 mm 0.77.
IN_STEP = 0.36
ALIKE, MOST_TIMES = 0.97, 6  # parts of a distance are as much in step, where terraces are sharp
# Power at distances so many times longer must be less than this share of a line's (assumed).
LONGER, FALLING = (1.2, 1.5), 0.7
LEVEL, LEAST_FACES, MOST_FACES = 0.8, 50, 15_000  # least cosine of surface that tells slices (assumed)
TURNS_DEG = (1.5, 0.8, 0.4, 0.2, 0.1)

_AROUND = np.stack([f(np.arange(8) * np.pi / 4.0) for f in (np.cos, np.sin)], axis=1)


def period_mm(height: Floats, weight: Floats) -> tuple[float, float]:
    """Even distance (mm) of the heights (n,) at which most weight (n,) lies, and the share of it in step.

    The periodogram's strongest line between 0.6 and 4 mm, where it stands out: a shape's own spectrum rises
    towards longer distances. Where whole multiples are as good the largest counts. 0 and 0 without a line.
    """
    place = ((height - height.min()) / BIN_MM).astype(np.int64)
    counts = np.bincount(place, weight)
    power = np.abs(np.fft.rfft(counts, max(SPECTRUM, 2 * len(counts)))) / counts.sum()
    n = 2 * (len(power) - 1)
    first, last = int(np.ceil(n * BIN_MM / THICKEST_MM)), int(n * BIN_MM / THINNEST_MM)
    inside = power[first : last + 1]
    peaks = np.flatnonzero((inside >= power[first - 1 : last]) & (inside > power[first + 1 : last + 2]))
    if not len(peaks):
        return 0.0, 0.0
    near = first + int(peaks[np.argmax(inside[peaks])])
    for times in range(MOST_TIMES, 1, -1):
        longer = round(near / times)
        if longer >= first and power[longer - 1 : longer + 2].max() > ALIKE * power[near]:
            near = longer - 1 + int(np.argmax(power[longer - 1 : longer + 2]))
            break
    slower = power[int(near / LONGER[1]) : int(near / LONGER[0]) + 1]
    if slower.max() > FALLING * power[near]:
        return 0.0, 0.0
    return n * BIN_MM / near, float(power[near])


def slices_along(middle: Floats, normal: Floats, size: Floats, axis: Floats) -> tuple[Floats, float, float]:
    """Slices across roughly a unit axis (3,): their normal, distance (mm) and the share in step with them.

    middle, normal, size : (m, 3), (m, 3) unit and (m,) of a surface's faces. The axis is turned, by two
    degrees or so, until most is in step. Share 0 where too few faces lie across it.
    """
    some = slice(None, None, max(1, len(size) // MOST_FACES))
    middle, normal, size = middle[some], normal[some], size[some]

    def in_step(axis: Floats) -> tuple[float, float]:
        level = np.abs(normal @ axis)
        near = level > LEVEL
        if np.count_nonzero(near) < LEAST_FACES:
            return 0.0, 0.0
        return period_mm(middle[near] @ axis, size[near] * level[near] ** 6)

    step, share = in_step(axis)
    for degrees in TURNS_DEG:
        lean = np.tan(np.radians(degrees)) * (_AROUND @ np.stack(frame_of(axis)))
        tried = [unit(axis + by) for by in lean]
        for other, (distance, part) in zip(tried, map(in_step, tried), strict=True):
            if part > share:
                axis, step, share = other, distance, part
    return axis, step, share
