"""Signed distance on an axis-aligned grid: building with an exact narrow band, sampling, gradient."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from injectplan.kernels._jit import kernel
from injectplan.kernels.cast import Floats, Floats32


class Field(NamedTuple):
    """Values (nx, ny, nz) float32 at origin + (i, j, k)·spacing, in RAS mm; distances negative inside."""

    origin_mm: Floats  # (3,)
    spacing_mm: float
    values: Floats32


@kernel
def sample(field, x, y, z):
    """Trilinear value at a point; outside the grid, the nearest grid face's value."""
    values = field.values
    nx, ny, nz = values.shape
    fx = min(max((x - field.origin_mm[0]) / field.spacing_mm, 0.0), nx - 1.000001)
    fy = min(max((y - field.origin_mm[1]) / field.spacing_mm, 0.0), ny - 1.000001)
    fz = min(max((z - field.origin_mm[2]) / field.spacing_mm, 0.0), nz - 1.000001)
    i, j, k = int(fx), int(fy), int(fz)
    u, v, w = fx - i, fy - j, fz - k
    c00 = values[i, j, k] * (1 - u) + values[i + 1, j, k] * u
    c10 = values[i, j + 1, k] * (1 - u) + values[i + 1, j + 1, k] * u
    c01 = values[i, j, k + 1] * (1 - u) + values[i + 1, j, k + 1] * u
    c11 = values[i, j + 1, k + 1] * (1 - u) + values[i + 1, j + 1, k + 1] * u
    return (c00 * (1 - v) + c10 * v) * (1 - w) + (c01 * (1 - v) + c11 * v) * w


def grid_points(field: Field) -> Floats:
    """Positions of a field's grid points, (nx, ny, nz, 3) RAS mm."""
    axes = [field.origin_mm[a] + field.spacing_mm * np.arange(field.values.shape[a]) for a in range(3)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)


def sample_at(field: Field, points_mm: npt.ArrayLike) -> Floats:
    """Trilinear values at points (n, 3), (n,)."""
    from injectplan.kernels.cast import points

    where = points(points_mm)
    return np.asarray(_sample_all(field, where))


@kernel
def _sample_all(field, where):
    result = np.empty(where.shape[0])
    for i in range(where.shape[0]):
        result[i] = sample(field, where[i, 0], where[i, 1], where[i, 2])
    return result
