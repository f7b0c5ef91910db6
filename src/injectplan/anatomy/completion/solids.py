"""Implicit solids on a grid that lies along the joint's own axes.

A solid is an array of signed values (negative inside, about mm near the surface) on a `Grid`; a union is a
minimum, an intersection a maximum, and `surface` cuts it at zero by flying edges, closed and sub-voxel.
Joint coordinates: x lateral, y anterior, z proximal of the joint's centre, in mm; right and left legs share
them, so the same formulas build both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from injectplan.anatomy.model import JointAxes
from injectplan.anatomy.surfaces import flying_edges
from injectplan.errors import EmptyStructureError
from injectplan.imaging.values import Surface
from injectplan.kernels.cast import Floats, Floats32
from injectplan.kernels.solids import signed_grid

OUTSIDE = np.float32(1e3)


KEPT_AROUND_MM = 25.0  # of the grid that asked first: those of later draws are larger by their fat


@dataclass(frozen=True, eq=False)
class Drafts:
    """What many builds of one joint share: coarser grids, and the distances to what was given.

    given : the surfaces that stay the same from draw to draw.
    """

    coarser: float
    given: tuple[Surface, ...]
    _kept: dict[tuple[object, ...], tuple[npt.NDArray[np.int64], Floats32]] = field(default_factory=dict)

    def distance(self, surface: Surface, grid: Grid, band_mm: float) -> Floats32 | None:
        """The distance on a grid as `Grid.distance_to` makes it, computed once; None for other surfaces."""
        if not any(surface is one for one in self.given):
            return None
        first = np.round(grid.low_mm / grid.spacing_mm).astype(np.int64)
        last = first + np.array(grid.shape)
        key = (id(surface), grid.spacing_mm, band_mm, grid.frame.basis.tobytes())
        around = int(np.ceil(KEPT_AROUND_MM / grid.spacing_mm))
        start, values = self._kept.get(key, (last, np.empty((0, 0, 0), np.float32)))
        if (first < start).any() or (last > start + np.array(values.shape)).any():
            begin = first - around
            size = last + around - begin
            whole = Grid(
                Frame(grid.frame.origin_mm, grid.frame.basis),
                np.asarray(begin * grid.spacing_mm, np.float64),
                grid.spacing_mm,
                (int(size[0]), int(size[1]), int(size[2])),
            )
            start, values = begin, whole.distance_to([surface], band_mm)
            self._kept[key] = (start, values)
        i, j, k = (slice(int(a), int(b)) for a, b in zip(first - start, last - start, strict=True))
        return values[i, j, k].copy()


@dataclass(frozen=True, eq=False)
class Frame:
    """The joint's coordinates: p_patient = origin + basis @ (x, y, z); left-handed on a left leg.

    drafts : set where a joint is built many times over, for draws: every grid is then coarser.
    """

    origin_mm: Floats
    basis: Floats
    drafts: Drafts | None = None

    @classmethod
    def of(cls, axes: JointAxes, drafts: Drafts | None = None) -> Frame:
        """Return the frame of a joint's axes."""
        basis = np.column_stack([axes.lateral, axes.anterior, axes.proximal])
        return cls(np.asarray(axes.origin_mm), basis, drafts)

    @property
    def coarser(self) -> float:
        """How many times coarser than for a plan every grid in these coordinates is."""
        return 1.0 if self.drafts is None else self.drafts.coarser

    def to_joint(self, points_mm: npt.ArrayLike) -> Floats:
        """Map patient points (..., 3) to joint coordinates."""
        return (np.asarray(points_mm, dtype=np.float64) - self.origin_mm) @ self.basis

    def to_patient(self, xyz_mm: npt.ArrayLike) -> Floats:
        """Map joint coordinates (..., 3) to patient points."""
        return np.asarray(xyz_mm, dtype=np.float64) @ self.basis.T + self.origin_mm


@dataclass(frozen=True, eq=False)
class Grid:
    """Points low + spacing·(i, j, k) in joint coordinates; `x`, `y`, `z` broadcast against each other."""

    frame: Frame
    low_mm: Floats
    spacing_mm: float
    shape: tuple[int, int, int]

    @classmethod
    def between(cls, frame: Frame, low_mm: npt.ArrayLike, high_mm: npt.ArrayLike, spacing_mm: float) -> Grid:
        """Return the grid from one corner to at least the other, as much coarser as the frame says."""
        spacing_mm = float(spacing_mm) * frame.coarser
        low, high = np.asarray(low_mm, dtype=np.float64), np.asarray(high_mm, dtype=np.float64)
        if frame.drafts is not None:  # on one lattice, so that draws share distances
            low = np.floor(low / spacing_mm) * spacing_mm
        count = np.maximum(np.ceil((high - low) / spacing_mm - 1e-9).astype(int) + 1, 2)
        return cls(frame, low, spacing_mm, (int(count[0]), int(count[1]), int(count[2])))

    def _axis(self, a: int) -> Floats32:
        values = (self.low_mm[a] + self.spacing_mm * np.arange(self.shape[a])).astype(np.float32)
        return values.reshape([-1 if b == a else 1 for b in range(3)])

    @cached_property
    def x(self) -> Floats32:
        """Lateral coordinate, (nx, 1, 1)."""
        return self._axis(0)

    @cached_property
    def y(self) -> Floats32:
        """Anterior coordinate, (1, ny, 1)."""
        return self._axis(1)

    @cached_property
    def z(self) -> Floats32:
        """Proximal coordinate, (1, 1, nz)."""
        return self._axis(2)

    @property
    def high_mm(self) -> Floats:
        """The last point."""
        return self.low_mm + self.spacing_mm * (np.array(self.shape) - 1)

    @property
    def affine(self) -> Floats:
        """Grid indices → patient RAS mm, (4, 4)."""
        result = np.eye(4)
        result[:3, :3] = self.frame.basis * self.spacing_mm
        result[:3, 3] = self.frame.to_patient(self.low_mm)
        return result

    def box(self, low_mm: npt.ArrayLike, high_mm: npt.ArrayLike) -> tuple[Grid, tuple[slice, slice, slice]]:
        """Return the part of this grid between two corners, and its slices in this grid."""
        low = (np.asarray(low_mm, dtype=np.float64) - self.low_mm) / self.spacing_mm
        high = (np.asarray(high_mm, dtype=np.float64) - self.low_mm) / self.spacing_mm
        top = np.array(self.shape)
        first = np.clip(np.floor(low).astype(int), 0, top - 2)
        last = np.clip(np.ceil(high).astype(int), first + 1, top - 1)
        part = Grid(
            self.frame,
            self.low_mm + first * self.spacing_mm,
            self.spacing_mm,
            tuple(int(n) for n in last - first + 1),  # type: ignore[arg-type]
        )
        i, j, k = (slice(int(a), int(b) + 1) for a, b in zip(first, last, strict=True))
        return part, (i, j, k)

    def distance(self, surface: Surface, band_mm: float) -> Floats32:
        """Signed distance to a closed surface in patient mm, ±band beyond the band.

        Exact within a spacing of the surface, elsewhere right to about a hundredth of one; see `signed_grid`.
        """
        return self.distance_to([surface], band_mm)

    def distance_to(self, surfaces: Sequence[Surface], band_mm: float) -> Floats32:
        """Signed distance to the nearest of several closed surfaces, the least of each one's own."""
        result = np.full(self.shape, np.float32(band_mm))
        for surface in surfaces:
            kept = None if self.frame.drafts is None else self.frame.drafts.distance(surface, self, band_mm)
            if kept is not None:
                np.minimum(result, kept, out=result)
                continue
            vertices = (self.frame.to_joint(surface.vertices_mm) - self.low_mm) / self.spacing_mm
            reach = band_mm / self.spacing_mm
            low = np.clip(np.floor(vertices.min(axis=0) - reach), 0, np.array(self.shape) - 1).astype(int)
            high = (
                np.clip(np.ceil(vertices.max(axis=0) + reach), -1, np.array(self.shape) - 1).astype(int) + 1
            )
            if (high <= low).any():
                continue
            shape = (int(high[0] - low[0]), int(high[1] - low[1]), int(high[2] - low[2]))
            steps = signed_grid(vertices - low, surface.triangles, shape, reach)
            steps *= np.float32(self.spacing_mm)
            part = result[low[0] : high[0], low[1] : high[1], low[2] : high[2]]
            np.minimum(part, steps, out=part)
        return result

    def surface(self, values: Floats32) -> Surface:
        """Cut a solid at zero: closed (capped at the grid's border), normals outward, patient mm.

        Raises EmptyStructureError when nothing lies inside.
        """
        inside = values < 0
        if not inside.any():
            raise EmptyStructureError("an implicit solid is empty: its dimensions leave nothing inside")
        lows, highs = [], []
        for a in range(3):
            filled = np.flatnonzero(inside.any(axis=tuple(b for b in range(3) if b != a)))
            lows.append(max(int(filled[0]) - 1, 0))
            highs.append(min(int(filled[-1]) + 2, self.shape[a]))
        crop = values[lows[0] : highs[0], lows[1] : highs[1], lows[2] : highs[2]]
        padded = np.full([n + 2 for n in crop.shape], -np.float32(self.spacing_mm), np.float32)
        padded[1:-1, 1:-1, 1:-1] = -crop
        points, triangles = flying_edges(padded, 0.0)
        xyz = self.low_mm + (points - 1.0 + np.array(lows)) * self.spacing_mm
        if np.linalg.det(self.frame.basis) < 0:
            triangles = np.ascontiguousarray(triangles[:, ::-1])
        made = Surface(self.frame.to_patient(xyz), triangles)
        return made if made.volume_ml > 0 else Surface(made.vertices_mm, made.triangles[:, ::-1])


def smooth_min(a: npt.ArrayLike, b: npt.ArrayLike, blend_mm: float) -> Floats32:
    """Union whose seam is rounded over `blend_mm` (quadratic blend; deepens the seam by blend/4)."""
    a, b = np.asarray(a, np.float32), np.asarray(b, np.float32)
    h = np.maximum(np.float32(blend_mm) - np.abs(a - b), 0)
    return np.asarray(np.minimum(a, b) - h * h * np.float32(0.25 / blend_mm))


def smooth_max(a: npt.ArrayLike, b: npt.ArrayLike, blend_mm: float) -> Floats32:
    """Intersection whose edge is rounded over `blend_mm`."""
    return -smooth_min(-np.asarray(a, np.float32), -np.asarray(b, np.float32), blend_mm)


def ramp(t: npt.ArrayLike, low: float, high: float) -> Floats32:
    """Smooth step: 0 below `low`, 1 above `high` (either order)."""
    u = np.clip((np.asarray(t, np.float32) - np.float32(low)) / np.float32(high - low), 0, 1)
    return np.asarray(u * u * (3 - 2 * u))


def ellipse(x: npt.ArrayLike, y: npt.ArrayLike, half_x: npt.ArrayLike, half_y: npt.ArrayLike) -> Floats32:
    """Signed value of a section x²/a² + y²/b² = 1, first-order distance; the halves may vary."""
    x, y = np.asarray(x, np.float32), np.asarray(y, np.float32)
    a, b = np.asarray(half_x, np.float32), np.asarray(half_y, np.float32)
    u, v = x / a, y / b
    r = np.sqrt(u * u + v * v) + np.float32(1e-6)
    slope = np.sqrt((u / a) ** 2 + (v / b) ** 2) / r + np.float32(1e-6)
    return np.asarray(np.maximum((r - 1) / slope, -np.minimum(a, b)))


def ball(grid: Grid, center_mm: npt.ArrayLike, radii_mm: npt.ArrayLike) -> Floats32:
    """An ellipsoid along the joint's axes, first-order distance."""
    c = np.asarray(center_mm, np.float32)
    r3 = np.broadcast_to(np.asarray(radii_mm, np.float32), (3,))
    parts = [(g - c[a]) / r3[a] for a, g in enumerate((grid.x, grid.y, grid.z))]
    r = np.sqrt(parts[0] ** 2 + parts[1] ** 2 + parts[2] ** 2) + np.float32(1e-6)
    slope = np.sqrt((parts[0] / r3[0]) ** 2 + (parts[1] / r3[1]) ** 2 + (parts[2] / r3[2]) ** 2) / r
    return np.asarray((r - 1) / (slope + np.float32(1e-6)))


def tube(grid: Grid, path_mm: npt.ArrayLike, radius_mm: npt.ArrayLike) -> Floats32:
    """A round tube along a polyline of points (n, 3), its radius one number or one per point."""
    path = np.asarray(path_mm, np.float64)
    radii = np.broadcast_to(np.asarray(radius_mm, np.float64), (len(path),))
    result = np.full(grid.shape, OUTSIDE)
    reach = float(radii.max()) + 3.0 * grid.spacing_mm
    for a, b, ra, rb in zip(path[:-1], path[1:], radii[:-1], radii[1:], strict=True):
        low, high = np.minimum(a, b) - reach, np.maximum(a, b) + reach
        if (low > grid.high_mm).any() or (high < grid.low_mm).any():
            continue
        part, where = grid.box(low, high)
        along = b - a
        p = [np.asarray(g - np.float32(a[i])) for i, g in enumerate((part.x, part.y, part.z))]
        t = sum(p[i] * np.float32(along[i]) for i in range(3)) / np.float32(max(along @ along, 1e-9))
        t = np.clip(t, 0, 1)
        d = np.sqrt(sum((p[i] - t * np.float32(along[i])) ** 2 for i in range(3)))
        np.minimum(result[where], d - (np.float32(ra) + t * np.float32(rb - ra)), out=result[where])
    return result


def rounded_path(knots_mm: npt.ArrayLike, step_mm: float = 2.0) -> Floats:
    """A smooth curve through knots (n, 3), as points about `step_mm` apart (monotone cubics)."""
    from scipy.interpolate import PchipInterpolator

    knots = np.asarray(knots_mm, np.float64)
    s = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(knots, axis=0), axis=1))])
    count = max(int(np.ceil(s[-1] / step_mm)) + 1, 2)
    return np.asarray(PchipInterpolator(s, knots)(np.linspace(0.0, s[-1], count)))


def laid(grid: Grid, path: npt.ArrayLike, values: Floats32, distance_mm: float, *, push: bool) -> Floats:
    """Move a path's points along a field's slope to a distance: exactly (push False), or at least (True)."""
    points = np.array(path, np.float64)
    half = 0.5 * np.eye(3)
    for _ in range(12):
        at = ((points - grid.low_mm) / grid.spacing_mm).T

        def read(where: Floats) -> Floats:
            return np.asarray(ndimage.map_coordinates(values, where, order=1, mode="nearest"), np.float64)

        slope = np.stack(
            [read(at + half[a][:, None]) - read(at - half[a][:, None]) for a in range(3)], axis=1
        )
        length = np.linalg.norm(slope, axis=1, keepdims=True)
        miss = distance_mm - read(at)
        step = np.clip(np.maximum(miss, 0.0) if push else miss, -3.0, 3.0)
        points = points + step[:, None] * slope / np.maximum(length, 1e-6)
    return points


def evened(path: npt.ArrayLike, over_mm: float) -> Floats:
    """A path with its turns spread over a length (Gaussian, SD over_mm), its ends kept: a vessel bends."""
    points = np.array(path, np.float64)
    step = max(float(np.median(np.linalg.norm(np.diff(points, axis=0), axis=1))), 1e-6)
    even = ndimage.gaussian_filter1d(points, over_mm / step, axis=0, mode="nearest")
    even[[0, -1]] = points[[0, -1]]
    return np.asarray(even)


def curve(z: npt.ArrayLike, knots: Sequence[tuple[float, float]] | Mapping[float, float]) -> Floats32:
    """A smooth function of one coordinate through (position, value) knots, constant beyond them."""
    from scipy.interpolate import PchipInterpolator

    pairs = sorted(knots.items() if isinstance(knots, Mapping) else knots)
    at, value = np.array(pairs, np.float64).T
    where = np.clip(np.asarray(z, np.float64), at[0], at[-1])
    return np.asarray(PchipInterpolator(at, value)(where)).astype(np.float32)


def curve_of(z: Floats32, knots: dict[float, float]) -> Floats32:
    """`curve` on a full array by a table of 0.1 mm steps."""
    low, high = min(knots), max(knots)
    table_z = np.arange(low, high + 0.1, 0.1)
    table = curve(table_z, knots)
    index = np.clip((z - np.float32(low)) * np.float32(10.0), 0, len(table) - 1.001)
    whole = index.astype(np.int32)
    part = index - whole
    return np.asarray(table[whole] * (1 - part) + table[whole + 1] * part, np.float32)


def upsample(values: Floats32, source: Grid, target: Grid) -> Floats32:
    """Trilinear values of one grid at the points of another of the same frame (edge values beyond)."""
    result = np.asarray(values, np.float32)
    for a in range(3):
        at = target.low_mm[a] + target.spacing_mm * np.arange(target.shape[a]) - source.low_mm[a]
        at = np.clip(at / source.spacing_mm, 0, source.shape[a] - 1)
        i = np.minimum(at.astype(int), source.shape[a] - 2)
        w = (at - i).astype(np.float32).reshape([-1 if b == a else 1 for b in range(3)])
        result = np.take(result, i, axis=a) * (1 - w) + np.take(result, i + 1, axis=a) * w
    return result


def still_grid(
    frame: Frame, low_mm: npt.ArrayLike, high_mm: npt.ArrayLike, spacing_mm: float, *, block: int = 1
) -> Grid:
    """Return the axis-aligned patient grid around a box of joint coordinates.

    It stands about the box's own middle and holds whole blocks of `block` points along each axis, so that the
    grid of a body's mirror image is the mirrored grid, and its blocks the mirrored blocks.
    """
    a, b = np.asarray(low_mm, float), np.asarray(high_mm, float)
    corners = np.array([[x, y, z] for x in (a[0], b[0]) for y in (a[1], b[1]) for z in (a[2], b[2])])
    patient = frame.to_patient(corners)
    box = patient.min(axis=0), patient.max(axis=0)
    grid = Grid.between(Frame(np.zeros(3), np.eye(3), frame.drafts), *box, spacing_mm)
    i, j, k = (block * -(-n // block) for n in grid.shape)
    whole = replace(grid, shape=(i, j, k))
    return replace(whole, low_mm=whole.low_mm + 0.5 * (box[1] - whole.high_mm))


def coordinates(target: Grid, frame: Frame) -> tuple[Floats32, Floats32, Floats32]:
    """Joint coordinates of a grid's points, three arrays (nx, ny, nz)."""
    turn = frame.basis.T @ target.frame.basis
    start = frame.to_joint(target.frame.origin_mm)
    local = (target.x, target.y, target.z)
    made = [
        (sum(local[b] * np.float32(turn[a, b]) for b in range(3)) + np.float32(start[a])) for a in range(3)
    ]
    return (np.asarray(made[0]), np.asarray(made[1]), np.asarray(made[2]))
