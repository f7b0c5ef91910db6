"""Clutter of a scanner's picture: the haze that fills vessels and effusions, drawn in presets only."""

from __future__ import annotations

import math

import numpy as np

from injectplan.kernels._jit import kernel
from injectplan.kernels.chance import hash64


@kernel
def _trail(row, cap, keep, squared, out):
    """Power of one line, no more than `cap`, drawn out into the depth: reverberation in the layers above."""
    one = np.float32(1.0)
    state = np.float32(0.0)
    for k in range(row.shape[0]):
        p = row[k] if squared else row[k] * row[k]
        state = keep * state + (one - keep) * min(p, cap)
        out[k] = state


@kernel
def add_clutter(picture, squared, cap, share, keep, reach, chance, shift, trails, total):
    """Add to every sample a share of what its neighbourhood sends back, in place.

    picture (lines, samples) : power if `squared`, else amplitude.  cap : power that counts at most, so that
    bone and steel do not smear.  share : of the neighbourhood's mean power.  keep : factor a sample of the
    trail into the depth.  reach : lines each side of the mean.  chance : table of unit exponential numbers.
    trails (lines, samples), total (samples) : room to work in.
    """
    lines, samples = picture.shape
    for line in range(lines):
        _trail(picture[line], cap, keep, squared, trails[line])
    total[:] = np.float32(0.0)
    for line in range(min(reach, lines)):
        total += trails[line]
    size, third = chance.shape[0], np.float32(1.0 / 3.0)
    for line in range(lines):
        first, last = line - reach, line + reach
        if last < lines:
            total += trails[last]
        if first > 0:
            total -= trails[first - 1]
        count = min(last, lines - 1) - max(first, 0) + 1
        scale = np.float32(share / count)
        row = picture[line]
        at = int(hash64(shift, line) % np.uint64(size))
        for k in range(samples):
            # the mean of three: as soft as a compound, and grained along the depth
            n = (at + k) % (size - 2)
            grain = third * (chance[n] + chance[n + 1] + chance[n + 2])
            more = scale * max(total[k], np.float32(0.0)) * grain
            if squared:
                row[k] += more
            else:
                row[k] = np.float32(math.sqrt(row[k] * row[k] + more))
