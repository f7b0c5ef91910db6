"""Robust least-squares fits of sphere, cylinder, plane and line to weighted points."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from injectplan.errors import LandmarkError
from injectplan.frames import unit
from injectplan.kernels.cast import Floats
from injectplan.kernels.chance import uniforms


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sphere:
    """A fitted sphere; coverage is the share of the full sphere that its points cover."""

    center: Floats
    radius_mm: float
    residual_mm: float
    coverage: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cylinder:
    """A fitted cylinder: a point of the axis, its unit direction, radius and residual."""

    center: Floats
    axis: Floats
    radius_mm: float
    residual_mm: float


def tukey(residuals: Floats, scale: float) -> Floats:
    """Tukey's biweight: 1 at zero residual, smoothly 0 beyond `scale`."""
    t = np.clip(residuals / scale, -1.0, 1.0)
    return np.asarray((1.0 - t * t) ** 2)


def fit_sphere(
    points: Floats, weights: Floats, center: Floats, radius: float, scale: float, *, known: bool = False
) -> Sphere:
    """Refine a sphere by iterated geometric least squares with Tukey weights of width `scale` mm.

    known : it starts where the sphere is, so that the width need not shrink.
    """
    center, width = np.array(center, dtype=np.float64), scale if known else max(scale, 0.15 * radius)
    for step in range(80):
        offset = points - center
        distance = np.linalg.norm(offset, axis=1)
        w = weights * tukey(distance - radius, width)
        if np.count_nonzero(w) < 8:
            raise LandmarkError(f"a sphere fit lost its points (radius {radius:.1f} mm)")
        direction = offset / np.maximum(distance, 1e-9)[:, None]
        design = np.column_stack([direction, np.ones(len(direction))])
        normal = design.T @ (design * w[:, None])
        move = np.linalg.solve(
            normal + 1e-9 * np.trace(normal) * np.eye(4), design.T @ (w * (distance - radius))
        )
        center, radius = center + move[:3], radius + float(move[3])
        if (known or step > 20) and np.abs(move).max() < (1e-4 if known else 1e-7):
            break
        width = max(scale, 0.8 * width)
    distance = np.linalg.norm(points - center, axis=1)
    w = weights * tukey(distance - radius, scale)
    residual = float(np.sqrt((w * (distance - radius) ** 2).sum() / max(w.sum(), 1e-12)))
    near = np.abs(distance - radius) < 0.6 * scale
    coverage = float(weights[near].sum() / (4.0 * np.pi * radius**2))
    return Sphere(center=center, radius_mm=float(radius), residual_mm=residual, coverage=coverage)


def find_sphere(
    points: Floats, weights: Floats, *, radii: tuple[float, float], scale: float, seed: int = 0,
    power: float = 2.0,
) -> Sphere:  # fmt: skip
    """Find the sphere that covers most of its own surface among the points, then refine it.

    Candidates pass through four nearby points drawn by the counter-based hash. None raises LandmarkError.
    power : 2 judges by the share of the sphere that is covered, 0 by the area on it.
    """
    n = len(points)
    if n < 12:
        raise LandmarkError("too few points for a sphere")
    draws, reach = 600, 1.6 * radii[1]
    chance = uniforms(seed, 0, draws * 4).reshape(draws, 4)
    share = np.cumsum(weights) / weights.sum()
    first = np.searchsorted(share, chance[:, 0])
    some = np.unique(np.searchsorted(share, (np.arange(1500) + 0.5) / 1500))
    best_score, best = 0.0, None
    for i, draw in zip(first, chance, strict=True):
        near = np.flatnonzero(np.linalg.norm(points - points[i], axis=1) < reach)
        picked = points[[i, *near[(draw[1:] * len(near)).astype(int)]]]
        matrix = 2.0 * (picked[1:] - picked[0])
        if abs(np.linalg.det(matrix)) < 1.0:
            continue
        center = np.linalg.solve(matrix, (picked[1:] ** 2).sum(1) - (picked[0] ** 2).sum())
        radius = float(np.linalg.norm(picked[0] - center))
        if not radii[0] <= radius <= radii[1]:
            continue
        close = np.abs(np.linalg.norm(points[some] - center, axis=1) - radius) < scale
        score = float(close.sum()) / radius**power
        if score > best_score:
            best_score, best = score, (center, radius)
    if best is None:
        raise LandmarkError(f"no sphere of {radii[0]:g} to {radii[1]:g} mm radius was found")
    return fit_sphere(points, weights, best[0], best[1], scale)


def fit_cylinder(
    points: Floats, weights: Floats, center: Floats, axis: Floats, radius: float, scale: float, *,
    known: bool = False,
) -> Cylinder:  # fmt: skip
    """Refine a cylinder by Gauss-Newton with Tukey weights; points (n, 3), all parameters in mm.

    known : it starts where the cylinder is, so that the width need not shrink.
    """
    center, axis = np.array(center, dtype=np.float64), unit(axis)
    width = scale if known else max(scale, 0.25 * radius)
    middle = np.average(points, axis=0, weights=weights)
    for step in range(80):
        u, v = frame_of(axis)
        offset = points - center
        along = offset @ axis
        across = offset - along[:, None] * axis
        distance = np.linalg.norm(across, axis=1)
        w = weights * tukey(distance - radius, width)
        if np.count_nonzero(w) < 10:
            raise LandmarkError("a cylinder fit lost its points")
        direction = across / np.maximum(distance, 1e-9)[:, None]
        du, dv = direction @ u, direction @ v
        design = np.column_stack([du, dv, along * du, along * dv, np.ones(len(du))])
        normal = design.T @ (design * w[:, None])
        move = np.linalg.solve(
            normal + 1e-10 * np.diag(np.diag(normal)), design.T @ (w * (distance - radius))
        )
        center = center + move[0] * u + move[1] * v
        axis = unit(axis + move[2] * u + move[3] * v)
        center = center + ((middle - center) @ axis) * axis
        radius += float(move[4])
        still = np.abs(move[[0, 1, 4]]).max() < 1e-7 and np.abs(move[2:4]).max() < 1e-9
        near = known and np.abs(move[[0, 1, 4]]).max() < 1e-4 and np.abs(move[2:4]).max() < 1e-6
        if (step > 20 and still) or near:
            break
        width = max(scale, 0.85 * width)
    offset = points - center
    distance = np.linalg.norm(offset - (offset @ axis)[:, None] * axis, axis=1)
    w = weights * tukey(distance - radius, scale)
    residual = float(np.sqrt((w * (distance - radius) ** 2).sum() / max(w.sum(), 1e-12)))
    return Cylinder(center=center, axis=axis, radius_mm=float(radius), residual_mm=residual)


def fit_plane(points: Floats, weights: Floats, normal: Floats, scale: float) -> tuple[Floats, Floats, float]:
    """Robust plane through points: its point, unit normal (towards `normal`) and residual in mm."""
    center, normal = np.average(points, axis=0, weights=weights), unit(normal)
    width = max(scale, 4.0)
    for _ in range(60):
        w = weights * tukey((points - center) @ normal, width)
        if np.count_nonzero(w) < 6:
            raise LandmarkError("a plane fit lost its points")
        center = np.average(points, axis=0, weights=w)
        offset = points - center
        found = np.linalg.eigh(offset.T @ (offset * w[:, None]))[1][:, 0]
        found = found if found @ normal > 0 else -found
        change, normal = float(np.abs(found - normal).max()), found
        if change < 1e-10 and width <= scale:
            break
        width = max(scale, 0.8 * width)
    height = (points - center) @ normal
    w = weights * tukey(height, scale)
    return center, normal, float(np.sqrt((w * height**2).sum() / max(w.sum(), 1e-12)))


def fit_line(points: Floats, weights: Floats | None = None) -> tuple[Floats, Floats, float]:
    """Total least-squares line: its point, unit direction and residual in mm."""
    center = np.average(points, axis=0, weights=weights)
    offset = points - center
    w = np.ones(len(points)) if weights is None else weights
    values, vectors = np.linalg.eigh(offset.T @ (offset * w[:, None]))
    return center, vectors[:, 2], float(np.sqrt(max(values[0] + values[1], 0.0) / w.sum()))


def frame_of(axis: Floats) -> tuple[Floats, Floats]:
    """Two unit vectors perpendicular to a unit axis and to each other; u x v = axis."""
    helper = np.zeros(3)
    helper[int(np.argmin(np.abs(axis)))] = 1.0
    u = unit(np.cross(helper, axis))
    return u, np.cross(axis, u)
