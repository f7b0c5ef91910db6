"""Signed distance on an axis-aligned grid: exact building, sampling, gradient, tracing.

Kernel-level functions (`sample`, `gradient`, `sphere_trace`, `segment_minimum`) take coordinates and may be
called from other kernels; `distance_field`, `sample_at`, `sample_many` are for Python.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from injectplan.kernels._jit import kernel, parallel_kernel, prange
from injectplan.kernels.bvh import Bvh, all_hits_of_ray, nearest_point
from injectplan.kernels.cast import Bytes, Floats, Floats32, cast, points


class Field(NamedTuple):
    """Values (nx, ny, nz) float32 at origin + (i, j, k)·spacing, in RAS mm; distances negative inside."""

    origin_mm: Floats  # (3,)
    spacing_mm: float
    values: Floats32


@kernel
def _row_parity(bvh, start, direction, first, step, votes):
    """Add one vote to each grid point of a row that lies inside; votes (n,) uint8, a writable view.

    start : (3,) outside the surface's box; direction : unit axis; grid point k at distance first + k·step.
    """
    room = 32
    ts, which = np.empty(room), np.empty(room, np.int32)
    while True:
        found = all_hits_of_ray(
            bvh, start[0], start[1], start[2], direction[0], direction[1], direction[2], np.inf, ts, which
        )
        if found <= room:
            break
        room = found
        ts, which = np.empty(room), np.empty(room, np.int32)
    passed = 0
    for k in range(votes.shape[0]):
        while passed < found and ts[passed] < first + k * step:
            passed += 1
        votes[k] += np.uint8(passed & 1)


@parallel_kernel
def _inside_votes(bvh, origin, spacing, before, votes):
    """Count, for each grid point, along how many of the three grid axes the crossing parity says inside.

    before : (3,) a corner below both the grid and the surface.
    """
    nx, ny, nz = votes.shape
    for i in prange(nx):
        for j in range(ny):
            start = np.array([origin[0] + i * spacing, origin[1] + j * spacing, before[2]])
            _row_parity(bvh, start, np.array([0.0, 0.0, 1.0]), origin[2] - before[2], spacing, votes[i, j, :])
    for i in prange(nx):
        for k in range(nz):
            start = np.array([origin[0] + i * spacing, before[1], origin[2] + k * spacing])
            _row_parity(bvh, start, np.array([0.0, 1.0, 0.0]), origin[1] - before[1], spacing, votes[i, :, k])
    for j in prange(ny):
        for k in range(nz):
            start = np.array([before[0], origin[1] + j * spacing, origin[2] + k * spacing])
            _row_parity(bvh, start, np.array([1.0, 0.0, 0.0]), origin[0] - before[0], spacing, votes[:, j, k])


@parallel_kernel
def _fill_distances(bvh, origin, spacing, band, votes, values):
    """Write the exact distance of each grid point, ±band beyond the band.

    The distance changes by at most one spacing from point to point, which bounds the next search.
    """
    nx, ny, nz = values.shape
    for row in prange(nx * ny):
        i, j = row // ny, row % ny
        x, y = origin[0] + i * spacing, origin[1] + j * spacing
        reach = band
        for k in range(nz):
            limit = min(band, reach)
            d = nearest_point(bvh, x, y, origin[2] + k * spacing, limit)[0]
            if math.isnan(d):
                d = band
                reach = band
            else:
                reach = d + spacing * (1.0 + 1e-9) + 1e-9 * d
            values[i, j, k] = -d if votes[i, j, k] >= 2 else d


def inside_votes(
    surface: Bvh, origin_mm: npt.ArrayLike, spacing_mm: float, shape: tuple[int, int, int]
) -> Bytes:
    """Along how many of the grid's axes a point lies inside by the parity of crossings, (nx, ny, nz)."""
    origin = np.array(cast(origin_mm, np.float64, (3,), "origin_mm"))
    votes: Bytes = np.zeros(shape, np.uint8)
    if len(surface.triangle):
        low = np.minimum(origin, surface.a.min(axis=0))
        corners = np.minimum(np.minimum(surface.ab, surface.ac), 0.0).min(axis=0)
        _inside_votes(surface, origin, float(spacing_mm), low + corners - spacing_mm, votes)
    return votes


def distance_field(
    surface: Bvh,
    origin_mm: npt.ArrayLike,
    spacing_mm: float,
    shape: tuple[int, int, int],
    band_mm: float = math.inf,
) -> Field:
    """Signed distance to a closed surface on a grid: exact within `band_mm`, ±`band_mm` beyond it.

    The sign is the majority of crossing parities along the grid's three axes, so a small hole misleads one
    axis and not the vote. A value clamped to the band is still a lower bound of the distance.
    origin_mm : (3,) of grid point (0, 0, 0).  Raises ValueError for a shape under 2 or a spacing not above 0.
    """
    origin = np.array(cast(origin_mm, np.float64, (3,), "origin_mm"))
    if min(shape) < 2 or not spacing_mm > 0.0 or not band_mm > 0.0:
        raise ValueError(f"a field needs shape ≥ 2, spacing and band > 0: {shape}, {spacing_mm}, {band_mm}")
    values = np.empty(shape, np.float32)
    votes = inside_votes(surface, origin, spacing_mm, shape)
    _fill_distances(surface, origin, float(spacing_mm), float(band_mm), votes, values)
    origin.setflags(write=False)
    values.setflags(write=False)
    return Field(origin, float(spacing_mm), values)


@kernel
def sample(field, x, y, z):
    """Trilinear value at a point; outside the grid, the nearest grid face's value."""
    values = field.values
    nx, ny, nz = values.shape
    fx = min(max((x - field.origin_mm[0]) / field.spacing_mm, 0.0), nx - 1.0)
    fy = min(max((y - field.origin_mm[1]) / field.spacing_mm, 0.0), ny - 1.0)
    fz = min(max((z - field.origin_mm[2]) / field.spacing_mm, 0.0), nz - 1.0)
    i, j, k = min(int(fx), nx - 2), min(int(fy), ny - 2), min(int(fz), nz - 2)
    u, v, w = fx - i, fy - j, fz - k
    c00 = values[i, j, k] * (1 - u) + values[i + 1, j, k] * u
    c10 = values[i, j + 1, k] * (1 - u) + values[i + 1, j + 1, k] * u
    c01 = values[i, j, k + 1] * (1 - u) + values[i + 1, j, k + 1] * u
    c11 = values[i, j + 1, k + 1] * (1 - u) + values[i + 1, j + 1, k + 1] * u
    return (c00 * (1 - v) + c10 * v) * (1 - w) + (c01 * (1 - v) + c11 * v) * w


@kernel
def gradient(field, x, y, z):
    """Return (gx, gy, gz): the field's slope at a point, by differences over one spacing."""
    h = 0.5 * field.spacing_mm
    s = 1.0 / field.spacing_mm
    return (
        (sample(field, x + h, y, z) - sample(field, x - h, y, z)) * s,
        (sample(field, x, y + h, z) - sample(field, x, y - h, z)) * s,
        (sample(field, x, y, z + h) - sample(field, x, y, z - h)) * s,
    )


@kernel
def _inside_span(field, ox, oy, oz, dx, dy, dz, far):
    """Return (from, to): the part of a ray within the grid; from > to when there is none."""
    near, away = 0.0, far
    for axis in range(3):
        o = ox if axis == 0 else (oy if axis == 1 else oz)
        d = dx if axis == 0 else (dy if axis == 1 else dz)
        low = field.origin_mm[axis]
        high = low + (field.values.shape[axis] - 1) * field.spacing_mm
        if d == 0.0:
            if o < low or o > high:
                return 1.0, 0.0
        else:
            t0, t1 = (low - o) / d, (high - o) / d
            near, away = max(near, min(t0, t1)), min(away, max(t0, t1))
    return near, away


@kernel
def sphere_trace(field, ox, oy, oz, dx, dy, dz, far, level):
    """Distance along a ray to the first point whose value falls to `level` mm, NaN where none does.

    Only the part of the ray within the grid counts. Steps by the value itself, at least a quarter spacing,
    then halves the last step to 1e-6 mm: what is thinner than a quarter spacing may be missed.
    Sphere tracing: doi:10.1007/s003710050084.
    """
    t, end = _inside_span(field, ox, oy, oz, dx, dy, dz, far)
    if t > end:
        return np.nan
    least = 0.25 * field.spacing_mm
    value = sample(field, ox + t * dx, oy + t * dy, oz + t * dz) - level
    if value <= 0.0:
        return t
    while t < end:
        before = t
        # 0.9: a trilinear patch may be steeper than 1 across a cell's diagonal
        t = min(end, t + max(0.9 * value, least))
        value = sample(field, ox + t * dx, oy + t * dy, oz + t * dz) - level
        if value <= 0.0:
            low, high = before, t
            while high - low > 1e-6:
                middle = 0.5 * (low + high)
                if middle <= low or middle >= high:
                    break
                if sample(field, ox + middle * dx, oy + middle * dy, oz + middle * dz) <= level:
                    high = middle
                else:
                    low = middle
            return high
    return np.nan


@kernel
def segment_minimum(field, ax, ay, az, bx, by, bz):
    """Return (smallest value, its fraction 0–1) along the segment a → b.

    Sampled at half spacing or closer, then narrowed round the least sample by golden sections. Where the
    value exceeds the smallest so far by more, the step grows by that much: a distance cannot fall faster than
    it is walked.
    """
    ux, uy, uz = bx - ax, by - ay, bz - az
    length = math.sqrt(ux * ux + uy * uy + uz * uz)
    if length == 0.0:
        return sample(field, ax, ay, az), 0.0
    ux, uy, uz = ux / length, uy / length, uz / length
    best, where, t = np.inf, 0.0, 0.0
    step = 0.5 * field.spacing_mm
    while True:
        value = sample(field, ax + t * ux, ay + t * uy, az + t * uz)
        if value < best:
            best, where = value, t
        if t >= length:
            break
        t = min(length, t + max(step, 0.9 * (value - best)))
    low, high = max(0.0, where - step), min(length, where + step)
    for _ in range(10):
        p, q = high - 0.618034 * (high - low), low + 0.618034 * (high - low)
        at_p = sample(field, ax + p * ux, ay + p * uy, az + p * uz)
        at_q = sample(field, ax + q * ux, ay + q * uy, az + q * uz)
        if at_p < at_q:
            high, value, t = q, at_p, p
        else:
            low, value, t = p, at_q, q
        if value < best:
            best, where = value, t
    return best, where / length


@parallel_kernel
def _sample_all(field, where, result):
    for i in prange(where.shape[0]):
        result[i] = sample(field, where[i, 0], where[i, 1], where[i, 2])


def sample_many(field: Field, points_mm: npt.ArrayLike) -> Floats:
    """Trilinear values at points (n, 3), (n,); outside the grid, the nearest grid face's value."""
    where = points(points_mm)
    result = np.empty(len(where))
    _sample_all(field, where, result)
    return result


def sample_at(field: Field, points_mm: npt.ArrayLike) -> Floats:
    """Trilinear values at points (n, 3), (n,); the same as `sample_many`."""
    return sample_many(field, points_mm)


def grid_points(field: Field) -> Floats:
    """Positions of a field's grid points, (nx, ny, nz, 3) RAS mm."""
    axes = [field.origin_mm[a] + field.spacing_mm * np.arange(field.values.shape[a]) for a in range(3)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
