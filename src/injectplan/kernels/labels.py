"""Which solid lies at each pixel: one ray down each pixel column."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from injectplan.kernels._jit import kernel, parallel_kernel, prange
from injectplan.kernels.cast import Bools, Floats, Ints
from injectplan.kernels.crossing import best_of, cross, crossings
from injectplan.kernels.line_values import Mesh, Solids


@kernel
def _label_column(solids, fill, x, y, z, dx, dy, dz, back, step, ts, which, counts, column, out):
    counts[:] = 0
    height = out.shape[0]
    total = crossings(solids.mesh, fill, x, y, z, dx, dy, dz, back + step * height, ts, which)
    row, best = 0, -1
    for h in range(total + 1):
        stop = height
        if h < total:
            stop = min(height, max(0, math.ceil((ts[h] - back) / step)))
        value = np.uint16(best + 1)
        while row < stop:
            out[row, column] = value
            row += 1
        if h < total:
            cross(solids.mesh.skin.solid, solids.mesh.skin.face, fill.skin.face, which[h], dx, dy, dz, counts)
            best = best_of(counts, solids.makeup.priority)


@parallel_kernel
def _label_columns(
    tree, skin, makeup, fill_tree, fill_skin, origins, d, back, step, ts, which, counts, inside, out
):  # fmt: skip
    height, width = out.shape
    for column in prange(width):
        _label_column(
            Solids(Mesh(tree, skin), makeup), Mesh(fill_tree, fill_skin), origins[column, 0],
            origins[column, 1],
            origins[column, 2], d[0], d[1], d[2], back, step, ts[column], which[column], counts[column],
            np.int64(column), out,
        )  # fmt: skip
    for row in prange(height):
        for column in range(width):
            if not inside[row, column]:
                out[row, column] = np.uint16(0)


def label_columns(
    solids: Solids, fill: Mesh, origins: Floats, d: Floats, back: float, step: float, ts: Floats, which: Ints,
    counts: Ints, inside: Bools, out: npt.NDArray[np.uint16],
) -> None:  # fmt: skip
    """Label every pixel by the solid of highest priority at its place: one ray down each pixel column.

    origins (w, 3) : `back` mm before the first row's centres.  inside (h, w) : pixels of the image.  A label
    is the solid's index + 1, 0 outside all.
    """
    _label_columns(
        *solids.mesh, solids.makeup, *fill, origins, d, back, step, ts, which, counts, inside, out
    )  # fmt: skip
