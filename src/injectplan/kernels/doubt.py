"""Where ray theory is not to be trusted, beyond what the walk itself knows; on the beam grid."""

from __future__ import annotations

import numpy as np

from injectplan.kernels._jit import image_kernel

FAR = np.float32(1e6)


@image_kernel
def _doubt_lines(through, marks, step, faint, trust, tops):
    """Doubt what lies behind a needle and what no sound reaches; note where doubt begins in each line."""
    lines, samples = trust.shape
    for line in range(lines):
        sure, way, mark = trust[line], through[line], marks[line]
        wall = mark / step if mark >= 0.0 else np.inf
        for k in range(samples):
            sure[k] &= np.uint8(way[k] >= faint) & np.uint8(not k > wall)
        first = 0
        while first < samples and sure[first]:
            first += 1
        tops[line] = first * step if first < samples else FAR


@image_kernel
def _pass_by(sure, top, step, wavelength, pitch, away, edge, aside):
    """Go on by one line: how far the last doubted one lies, where it begins, and whether it is near."""
    for k in range(sure.shape[0]):
        doubted = sure[k] == 0
        away[k] = np.float32(0.0) if doubted else away[k] + pitch[k]
        edge[k] = top if doubted else edge[k]
        aside[k] |= np.uint8(away[k] * away[k] < wavelength * (np.float32(k) * step - edge[k]))


@image_kernel
def doubt_more(through, marks, step, faint, wavelength, pitch, trust, tops, away, edge, aside):
    """Doubt what lies behind a needle, what no sound reaches, and the edges of what stands in the way.

    through (lines, samples) : two-way transmission, under `faint` it is lost.  marks (lines) : depth of the
    needle's wall in mm, NaN where a line meets none.  Sound bends round a thin needle, and a ray core's
    shadow of it has sharp edges and no rings.  pitch (samples) : between lines, mm.  Beside an edge waves
    ring and leak over √(wavelength × way below).
    trust (lines, samples) uint8 : changed in place.  tops (lines), away, edge (samples) float32, aside
    (lines, samples) uint8 : room to work in.
    """
    lines = trust.shape[0]
    _doubt_lines(through, marks, step, faint, trust, tops)
    aside[:, :] = np.uint8(0)
    for back in range(2):
        away[:] = FAR
        edge[:] = FAR
        for n in range(lines):
            line = lines - 1 - n if back else n
            _pass_by(trust[line], tops[line], step, wavelength, pitch, away, edge, aside[line])
    for line in range(lines):
        sure, near = trust[line], aside[line]
        for k in range(sure.shape[0]):
            sure[k] &= np.uint8(near[k] == 0)
