"""Solids as functions: signed distances (nearly) of points, joined smoothly, voxelised and meshed sparsely.

A solid maps points (n, 3) in mm to values (n,) that are negative inside, zero on the surface and grow by at
most `STEEPEST` per mm, so that a block of points far from the surface need not be looked at twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.interpolate import PchipInterpolator

from injectplan.imaging.values import Surface
from injectplan.kernels.cast import Bools, Floats

Distance = Callable[[Floats], Floats]
STEEPEST = 1.6


@dataclass(frozen=True, eq=False)
class Solid:
    """A distance function with the box that holds its inside, `low_mm` and `high_mm` (3,)."""

    distance: Distance
    low_mm: Floats
    high_mm: Floats

    def __call__(self, points_mm: Floats) -> Floats:
        """Return the values at points (n, 3), (n,)."""
        return self.distance(points_mm)


def smooth_min(a: Floats, b: Floats, k: float) -> Floats:
    """Union of two solids, blended over k mm (quadratic polynomial)."""
    h = np.maximum(k - np.abs(a - b), 0.0)
    return np.minimum(a, b) - h * h * (0.25 / k)


def smooth_max(a: Floats, b: Floats, k: float) -> Floats:
    """Intersection of two solids, blended over k mm."""
    h = np.maximum(k - np.abs(a - b), 0.0)
    return np.maximum(a, b) + h * h * (0.25 / k)


def smooth_step(t: Floats) -> Floats:
    """Ramp of 0 to 1 for t of 0 to 1 with level ends, constant outside."""
    t = np.clip(t, 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def soft_abs(x: Floats, k: float) -> Floats:
    """|x| with its corner rounded over about k mm."""
    return np.sqrt(x * x + k * k) - k


def sphere(p: Floats, center: npt.ArrayLike, radius: float) -> Floats:
    """Signed distance to a sphere."""
    return np.asarray(np.linalg.norm(p - np.asarray(center, float), axis=1) - radius)


def ellipsoid(p: Floats, center: npt.ArrayLike, radii: npt.ArrayLike) -> Floats:
    """Distance-like value of an axis-parallel ellipsoid, exact to first order at the surface."""
    q = p - np.asarray(center, float)
    r = np.asarray(radii, float)
    x, y, z = ((q[:, a] / r[a]) ** 2 for a in range(3))
    k0 = np.sqrt(x + y + z)
    k1 = np.sqrt(x / r[0] ** 2 + y / r[1] ** 2 + z / r[2] ** 2)
    return np.asarray(np.where(k1 > 1e-9, k0 * (k0 - 1.0) / np.maximum(k1, 1e-9), -float(r.min())))


def capsule(p: Floats, a: npt.ArrayLike, b: npt.ArrayLike, ra: float, rb: float | None = None) -> Floats:
    """Distance to a segment a–b thickened by a radius that runs linearly from ra to rb."""
    start, end = np.asarray(a, float), np.asarray(b, float)
    ab = end - start
    t = np.clip((p - start) @ ab / float(ab @ ab), 0.0, 1.0)
    radius = ra + t * ((ra if rb is None else rb) - ra)
    x, y, z = ((p[:, a] - start[a] - t * ab[a]) ** 2 for a in range(3))
    return np.asarray(np.sqrt(x + y + z) - radius)


def round_cone_2d(
    u: Floats, v: Floats, a: tuple[float, float], ra: float, b: tuple[float, float], rb: float
) -> Floats:
    """Exact signed distance in a plane to the hull of two circles."""
    du, dv = b[0] - a[0], b[1] - a[1]
    length = float(np.hypot(du, dv))
    along = ((u - a[0]) * du + (v - a[1]) * dv) / length
    across = np.abs((u - a[0]) * dv - (v - a[1]) * du) / length
    slope = (ra - rb) / length
    cosine = float(np.sqrt(1.0 - slope * slope))
    k = along * cosine - across * slope
    at_a = np.hypot(along, across) - ra
    at_b = np.hypot(along - length, across) - rb
    between = across * cosine + along * slope - ra
    return np.where(k < 0, at_a, np.where(k > length * cosine, at_b, between))


class Curve:
    """A smooth curve through knots, tabulated finely: monotone cubic, constant beyond its ends."""

    def __init__(self, knots: npt.ArrayLike, values: npt.ArrayLike) -> None:
        knots_, values_ = np.asarray(knots, float), np.asarray(values, float)
        self._at = np.linspace(knots_[0], knots_[-1], 513)
        self._values = np.asarray(PchipInterpolator(knots_, values_)(self._at))

    def __call__(self, t: Floats) -> Floats:
        """Return the values at t, of its shape."""
        return np.interp(t, self._at, self._values)


class Loft:
    """A tube along z whose cross-section is a (super-)ellipse; rows are z, centre x, y, half widths a, b.

    power : 2 for ellipses, more for boxier sections.  round_mm : how the flat ends are rounded.
    """

    def __init__(self, rows: Sequence[Sequence[float]], *, power: float = 2.0, round_mm: float = 3.0) -> None:
        table = np.asarray(rows, float)
        table = table[np.argsort(table[:, 0])]
        self.low, self.high = float(table[0, 0]), float(table[-1, 0])
        self._x, self._y, self._a, self._b = (Curve(table[:, 0], table[:, i]) for i in range(1, 5))
        self._power, self._round = power, round_mm

    def __call__(self, p: Floats) -> Floats:
        """Return the tube's values at points (n, 3), (n,)."""
        z = p[:, 2]
        a, b = self._a(z), self._b(z)
        u, v = np.abs(p[:, 0] - self._x(z)) / a, np.abs(p[:, 1] - self._y(z)) / b
        if self._power == 2.0:
            rho = np.hypot(u, v)
        else:
            rho = (u**self._power + v**self._power) ** (1.0 / self._power)
        side = (rho - 1.0) * np.minimum(a, b)
        ends = np.abs(z - 0.5 * (self.low + self.high)) - 0.5 * (self.high - self.low)
        return smooth_max(side, ends, self._round)


def gradient(solid: Distance, points_mm: Floats, step_mm: float = 0.02) -> Floats:
    """Gradient of a solid's value by central differences, (n, 3)."""
    result = np.empty_like(points_mm)
    for axis in range(3):
        step = np.zeros(3)
        step[axis] = step_mm
        result[:, axis] = (solid(points_mm + step) - solid(points_mm - step)) / (2.0 * step_mm)
    return result


def _blocks(shape: tuple[int, int, int], size: int) -> tuple[npt.NDArray[np.int64], Floats]:
    counts = [-(-n // size) for n in shape]
    grids = np.meshgrid(*[np.arange(c, dtype=np.int64) * size for c in counts], indexing="ij")
    first = np.stack(grids, -1).reshape(-1, 3)
    return first, np.asarray(first + 0.5 * (size - 1), np.float64)


def sample_sparsely(
    solid: Distance, index_to_solid: Floats, shape: tuple[int, int, int], *, block: int = 4
) -> npt.NDArray[np.float32]:
    """Values of a solid on a grid, computed point by point only near the surface, (i, j, k) float32.

    index_to_solid : affine (4, 4) from grid index to the solid's own mm. Far from the surface a whole block
    of `block`³ points, or of half that edge, carries the value of its centre, whose sign is right.
    """
    matrix, offset = index_to_solid[:3, :3], index_to_solid[:3, 3]
    values = np.empty(tuple(-(-n // block) * block for n in shape), np.float32)
    reach = 0.5 * float(np.linalg.norm(matrix)) * STEEPEST
    first, centers = _blocks(shape, block)
    coarse = solid(centers @ matrix.T + offset)
    counts = [n // block for n in values.shape]
    view = values.reshape(counts[0], block, counts[1], block, counts[2], block)
    view[...] = coarse.reshape(counts)[:, None, :, None, :, None]
    chosen = first[np.abs(coarse) <= block * reach]
    half = block // 2
    chosen = (chosen[:, None, :] + half * _corners(2)[None]).reshape(-1, 3)
    for start in range(0, len(chosen), 32768):
        part = chosen[start : start + 32768]
        middle = solid((part + 0.5 * (half - 1)) @ matrix.T + offset)
        near = np.abs(middle) <= half * reach
        _put(values, part[~near], half, np.repeat(middle[~near], half**3))
        index = (part[near][:, None, :] + _corners(half)[None]).reshape(-1, 3)
        _put(values, part[near], half, solid(index @ matrix.T + offset))
    return values[: shape[0], : shape[1], : shape[2]]


def _corners(size: int) -> npt.NDArray[np.int64]:
    return np.stack(np.meshgrid(*[np.arange(size)] * 3, indexing="ij"), -1).reshape(-1, 3)


def _put(values: npt.NDArray[np.float32], first: npt.NDArray[np.int64], size: int, made: Floats) -> None:
    """Write cubes of size³ values, each given from its first index on, into a grid."""
    _, ny, nz = values.shape
    flat = (first[:, 0] * ny + first[:, 1]) * nz + first[:, 2]
    steps = _corners(size) @ np.array([ny * nz, nz, 1])
    values.reshape(-1)[(flat[:, None] + steps[None]).ravel()] = made


def index_box(
    solid: Solid, index_to_solid: Floats, shape: tuple[int, int, int]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Lowest and one past the highest grid index whose point may lie inside the solid."""
    corners = np.array(np.meshgrid(*zip(solid.low_mm, solid.high_mm, strict=True), indexing="ij"))
    inverse = np.linalg.inv(index_to_solid)
    index = corners.reshape(3, -1).T @ inverse[:3, :3].T + inverse[:3, 3]
    low = np.clip(np.floor(index.min(axis=0)), 0, shape).astype(np.int64)
    high = np.clip(np.ceil(index.max(axis=0)) + 1, 0, shape).astype(np.int64)
    return low, high


def voxelise(solid: Solid, index_to_solid: Floats, shape: tuple[int, int, int]) -> Bools:
    """Which grid points lie inside a solid, (i, j, k) bool."""
    result = np.zeros(shape, np.bool_)
    low, high = index_box(solid, index_to_solid, shape)
    if (high <= low).any():
        return result
    moved = index_to_solid.copy()
    moved[:3, 3] += index_to_solid[:3, :3] @ low
    values = sample_sparsely(solid, moved, tuple(int(n) for n in high - low))  # type: ignore[arg-type]
    result[low[0] : high[0], low[1] : high[1], low[2] : high[2]] = values < 0
    return result


def settle(solid: Distance, points_mm: Floats, rounds: int = 3) -> Floats:
    """Move points onto the solid's surface by Newton's steps along its gradient."""
    for _ in range(rounds):
        slope = gradient(solid, points_mm)
        steep = np.maximum((slope * slope).sum(axis=1), 0.05)
        points_mm = points_mm - (np.clip(solid(points_mm), -1.0, 1.0) / steep)[:, None] * slope
    return points_mm


def mesh(solid: Solid, spacing_mm: float) -> Surface:
    """Closed surface of a solid whose vertices lie on its zero set, from a grid of this spacing.

    Lorensen & Cline (1987), doi:10.1145/37402.37422, in VTK's flying-edges form.
    """
    from vtkmodules.util.numpy_support import numpy_to_vtk, vtk_to_numpy
    from vtkmodules.vtkCommonDataModel import vtkImageData
    from vtkmodules.vtkFiltersCore import vtkFlyingEdges3D

    low = np.asarray(solid.low_mm) - 2.0 * spacing_mm
    shape = tuple(int(n) for n in np.ceil((np.asarray(solid.high_mm) - low) / spacing_mm) + 3)
    affine = np.diag([spacing_mm, spacing_mm, spacing_mm, 1.0])
    affine[:3, 3] = low
    values = sample_sparsely(solid, affine, shape)  # type: ignore[arg-type]
    image = vtkImageData()
    image.SetDimensions(*shape)
    image.SetSpacing(spacing_mm, spacing_mm, spacing_mm)
    image.SetOrigin(*low)
    image.GetPointData().SetScalars(numpy_to_vtk(np.ascontiguousarray(values.ravel(order="F"))))
    edges = vtkFlyingEdges3D()
    edges.SetInputData(image)
    edges.SetValue(0, 0.0)
    edges.ComputeNormalsOff()
    edges.ComputeScalarsOff()
    edges.Update()
    output = edges.GetOutput()
    vertices = np.array(vtk_to_numpy(output.GetPoints().GetData()), np.float64)
    triangles = np.array(vtk_to_numpy(output.GetPolys().GetConnectivityArray()), np.int32).reshape(-1, 3)
    surface = Surface(settle(solid, vertices), triangles)
    return surface if surface.volume_ml > 0 else Surface(surface.vertices_mm, triangles[:, ::-1])


def chain(p: Floats, path: npt.ArrayLike, radii: npt.ArrayLike, blend_mm: float) -> Floats:
    """Union of capsules along a path of points (n, 3) with a radius at each, blended where they meet."""
    knots, radius = np.asarray(path, float), np.asarray(radii, float)
    value = capsule(p, knots[0], knots[1], radius[0], radius[1])
    for i in range(1, len(knots) - 1):
        value = smooth_min(value, capsule(p, knots[i], knots[i + 1], radius[i], radius[i + 1]), blend_mm)
    return value


def plate(p: Floats, a: npt.ArrayLike, b: npt.ArrayLike, c: npt.ArrayLike, half_mm: float) -> Floats:
    """Exact distance to a triangle, thickened to both sides by half_mm with round edges."""
    corners = [np.asarray(v, float) for v in (a, b, c)]
    normal = np.cross(corners[1] - corners[0], corners[2] - corners[0])
    normal /= np.linalg.norm(normal)
    inside = np.ones(len(p), np.bool_)
    best = np.full(len(p), np.inf)
    for i in range(3):
        start, end = corners[i], corners[(i + 1) % 3]
        inside &= (p - start) @ np.cross(normal, end - start) >= 0.0
        best = np.minimum(best, capsule(p, start, end, 0.0))
    return np.where(inside, np.abs((p - corners[0]) @ normal), best) - half_mm
