"""Range error evened over the aperture: where layers end side by side a needle bends, it does not break."""

from __future__ import annotations

import math

import numpy as np

from injectplan.kernels._jit import kernel

BLOCK = 16  # samples at once: a cache line of float32


@kernel
def _pitch(origin, direction, depth):
    """Distance of the middle lines at a depth."""
    i = origin.shape[0] // 2
    total = 0.0
    for axis in range(3):
        gap = origin[i, axis] - origin[i - 1, axis] + depth * (direction[i, axis] - direction[i - 1, axis])
        total += gap * gap
    return math.sqrt(total)


@kernel
def even_reach(reach, contact, origin, direction, f_number, step, room):
    """Replace each line's path at a depth by the mean over the lines under the aperture, in place.

    A line's echo is the sum over an aperture z / F wide, whose rays close in on the line: half-way to z they
    lie z / 2F wide, and each has its own layers' speed.  reach (lines, samples) : path in mm.  contact
    (lines,) : lines without are left out.  f_number (samples).  room : at least (lines + 1) · 16 float32.
    """
    lines, samples = reach.shape
    if lines < 3:
        return
    count = 0
    for first in range(0, samples, BLOCK):
        last = min(samples, first + BLOCK)
        depth = step * (first + 0.5 * (last - first))
        half = int(0.25 * depth / f_number[first] / max(_pitch(origin, direction, depth), 1e-6))
        half = min(half, lines // 2)
        if half < 1:
            continue
        # Running sums of the error along the lines: that of line n less that of line m is what lies between
        for k in range(BLOCK):
            room[k] = np.float32(0.0)
        for line in range(lines):
            to, before = (line + 1) * BLOCK, line * BLOCK
            for k in range(last - first):
                off = reach[line, first + k] - np.float32(step * (first + k)) if contact[line] else 0.0
                room[to + k] = room[before + k] + np.float32(off)
        for line in range(lines):
            if not contact[line]:
                continue
            low, high = max(0, line - half), min(lines, line + half + 1)
            count = 0
            for n in range(low, high):
                count += contact[n]
            scale = np.float32(1.0 / count)
            for k in range(last - first):
                mean = (room[high * BLOCK + k] - room[low * BLOCK + k]) * scale
                reach[line, first + k] = np.float32(step * (first + k)) + mean
