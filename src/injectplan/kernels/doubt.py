"""Where ray theory is not to be trusted, beyond what the walk itself knows."""

from __future__ import annotations

import numpy as np

from injectplan.kernels._jit import kernel


@kernel
def _near_edge(last, column, tops, z, wavelength, pixel):
    """Whether a pixel lies within a Fresnel width of the doubted one at `last`, below what stands there."""
    if last < 0 or not z > tops[last]:
        return False
    aside = abs(column - last) * pixel
    return aside * aside < wavelength * (z - tops[last])


@kernel
def doubt_more(scan, samples, marks, depth, shadow, faint, wavelength, pixel, tops, aside, trusted):
    """Doubt what lies behind a needle, what no sound reaches, and the edges of what stands in the way.

    marks (lines) : depth of the needle's wall in mm, NaN where a line meets none.  Sound bends round a thin
    needle, and a ray core's shadow of it has sharp edges and no rings.  shadow (h, w) : two-way
    transmission, under `faint` it is lost.  Beside an edge waves ring and leak over
    √(wavelength × way below).
    tops (w) float32, aside (w) uint8 : room to work in.
    """
    height, width = trusted.shape
    tops[:] = np.float32(np.inf)
    for row in range(height):
        for column in range(width):
            cell = scan.cell[row, column]
            if cell < 0:
                continue
            line = cell // samples + (1 if scan.along[row, column] > 0.5 else 0)
            z = depth[row, column]
            if shadow[row, column] < faint or z > marks[line]:
                trusted[row, column] = False
            if not trusted[row, column] and z < tops[column]:
                tops[column] = z
    for row in range(height):
        aside[:] = np.uint8(0)
        last = -1
        for column in range(width):
            if scan.cell[row, column] < 0:
                continue
            if not trusted[row, column]:
                last = column
            elif _near_edge(last, column, tops, depth[row, column], wavelength, pixel):
                aside[column] = np.uint8(1)
        last = -1
        for back in range(width):
            column = width - 1 - back
            if scan.cell[row, column] < 0:
                continue
            if not trusted[row, column]:
                last = column
            elif _near_edge(last, column, tops, depth[row, column], wavelength, pixel):
                aside[column] = np.uint8(1)
        for column in range(width):
            if aside[column]:
                trusted[row, column] = False
