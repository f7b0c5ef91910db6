"""Fluid columns over surfaces: how much of a filled cavity stands above each point, along gravity."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from injectplan.kernels._jit import kernel, parallel_kernel, prange
from injectplan.kernels.bvh import Bvh, all_hits_of_ray
from injectplan.kernels.cast import Floats, cast, points

ROOM = 64  # crossings of one line with the fluid's surface that are kept


@kernel
def _column_over(fluid, x, y, z, ux, uy, uz, below, within, ts, which):
    """Height of the first stretch of fluid that begins within −below … +within mm above a point, 0: none."""
    found = all_hits_of_ray(
        fluid, x - below * ux, y - below * uy, z - below * uz, ux, uy, uz, np.inf, ts, which
    )
    found = min(found, ROOM)
    for k in range(0, found - 1, 2):
        if ts[k] <= below + within and ts[k + 1] > below:
            return ts[k + 1] - max(ts[k], below)
    return 0.0


@parallel_kernel
def _columns_over(fluid, where, up, below, within, height):
    for i in prange(where.shape[0]):
        ts, which = np.empty(ROOM), np.empty(ROOM, np.int32)
        height[i] = _column_over(
            fluid, where[i, 0], where[i, 1], where[i, 2], up[0], up[1], up[2], below, within, ts, which
        )


def columns_over(
    fluid: Bvh, points_mm: npt.ArrayLike, up: npt.ArrayLike, below_mm: float = 1.0, within_mm: float = 1.5
) -> Floats:
    """Height of fluid standing on each point (n, 3), measured along `up`, (n,) mm; 0 where none does.

    The fluid's lower side may lie up to `below_mm` under the point or `within_mm` above it: surfaces of
    neighbours touch only to within the grid they were made on.
    """
    where = points(points_mm)
    height = np.empty(len(where))
    _columns_over(fluid, where, cast(up, np.float64, (3,), "up"), float(below_mm), float(within_mm), height)
    return height


@parallel_kernel
def _stretches(fluid, starts, up, count, lengths):
    for i in prange(starts.shape[0]):
        ts, which = np.empty(ROOM), np.empty(ROOM, np.int32)
        found = all_hits_of_ray(
            fluid, starts[i, 0], starts[i, 1], starts[i, 2], up[0], up[1], up[2], np.inf, ts, which
        )
        found = min(found, ROOM)
        count[i] = found // 2
        for k in range(found // 2):
            lengths[i, k] = ts[2 * k + 1] - ts[2 * k]


def column_heights(fluid: Bvh, starts_mm: npt.ArrayLike, up: npt.ArrayLike) -> Floats:
    """Heights of all stretches of fluid along lines from `starts_mm` (n, 3) below it, in one array, mm."""
    starts = points(starts_mm)
    count = np.zeros(len(starts), np.int64)
    lengths = np.zeros((len(starts), ROOM // 2))
    _stretches(fluid, starts, cast(up, np.float64, (3,), "up"), count, lengths)
    return lengths[np.arange(ROOM // 2)[None, :] < count[:, None]]
