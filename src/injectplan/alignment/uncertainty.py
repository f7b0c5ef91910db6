"""From the landmarks' scatter to the angles': linear propagation and Monte Carlo over one covariance.

Landmarks of one group share a surface: their errors have the correlation `SHARED`. Both ways use the same
factor F of the covariance (Σ = F Fᵀ), so that they differ by the angles' curvature and by chance alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from injectplan.alignment.angles import angles_of
from injectplan.alignment.values import Landmark
from injectplan.kernels.cast import Floats
from injectplan.kernels.chance import normals

SHARED = 0.3  # assumed: correlation of errors on one surface (a segmentation's common bias)
DRAWS = 4000
STEP_MM = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """An angle's value with its scatter by both ways and its central 95 % interval."""

    value: float
    sd_linear: float
    sd: float
    low: float
    high: float


def covariance_factor(names: list[str], landmarks: Mapping[str, Landmark]) -> Floats:
    """Return F (3 n, k) with F Fᵀ the covariance of the stacked landmark positions, mm²."""
    groups = sorted({landmarks[n].group for n in names if landmarks[n].group})
    factor = np.zeros((3 * len(names), 3 * (len(names) + len(groups))))
    for i, name in enumerate(names):
        landmark = landmarks[name]
        values, vectors = np.linalg.eigh(landmark.covariance_mm2)
        # the symmetric root, so that landmarks of one group move the same way along the same axes
        root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
        rows = slice(3 * i, 3 * i + 3)
        share = SHARED if landmark.group else 0.0
        factor[rows, rows] = np.sqrt(1.0 - share) * root
        if landmark.group:
            at = 3 * (len(names) + groups.index(landmark.group))
            factor[rows, at : at + 3] = np.sqrt(share) * root
    return factor


def _batch(names: list[str], stacked: Floats) -> dict[str, Floats]:
    return {name: stacked[..., 3 * i : 3 * i + 3] for i, name in enumerate(names)}


def propagate(
    landmarks: Mapping[str, Landmark], handed: float, *, seed: int = 0, draws: int = DRAWS
) -> dict[str, Spread]:
    """Return each measurable angle's value and scatter; one whose landmarks span no plane is left out.

    landmarks : the points; directions are left out.  handed : +1 right, -1 left.
    seed : of the Monte Carlo draws, counter-based; the same bytes on any machine with the same libm.
    """
    names = [n for n, landmark in landmarks.items() if landmark.position_mm is not None]
    center = np.concatenate([np.asarray(landmarks[n].position_mm, dtype=np.float64) for n in names])
    factor = covariance_factor(names, landmarks)
    steps = np.eye(len(center)) * STEP_MM
    noise = normals(seed, 0, draws * factor.shape[1]).reshape(draws, -1)
    with np.errstate(divide="ignore", invalid="ignore"):  # what has no value is left out below
        value, up, down, drawn = (
            angles_of(_batch(names, at), handed)
            for at in (center, center + steps, center - steps, center + noise @ factor.T)
        )
    result = {}
    for name, at in value.items():
        slope = (up[name] - down[name]) / (2.0 * STEP_MM)
        sample = drawn[name]
        if not (np.isfinite(at) and np.isfinite(sample).all()):
            continue  # its landmarks lie on one line or at one point: no plane, no angle
        low, high = np.quantile(sample, [0.025, 0.975])
        result[name] = Spread(
            value=float(at), sd_linear=float(np.linalg.norm(slope @ factor)), sd=float(sample.std()),
            low=float(low), high=float(high),
        )  # fmt: skip
    return result
