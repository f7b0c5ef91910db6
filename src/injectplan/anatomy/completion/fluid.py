"""Fluid that was segmented, made part of the joint cavity."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from injectplan.anatomy.cavity import counted_ml
from injectplan.anatomy.completion.solids import Frame
from injectplan.anatomy.model import Structure
from injectplan.kernels.cast import Floats, Floats32

FLUID_BAND_MM = 3.0
FARTHEST_MM = 25.0  # assumed: fluid farther from where a joint's cavity ends is a bursa's or a wrong label


def holding(
    frame: Frame, low: npt.ArrayLike, high: npt.ArrayLike, fluid: Structure | None
) -> tuple[Floats, Floats]:
    """Grow a box of joint coordinates to hold segmented fluid, by 25 mm a side at most."""
    least, most = np.asarray(low, np.float64), np.asarray(high, np.float64)
    if fluid is None:
        return least, most
    where = frame.to_joint(fluid.surface.vertices_mm)
    return (
        np.clip(where.min(axis=0) - FLUID_BAND_MM, least - FARTHEST_MM, least),
        np.clip(where.max(axis=0) + FLUID_BAND_MM, most, most + FARTHEST_MM),
    )


def with_fluid(
    rest: Floats32, seen: Floats32, walls: Floats32, ease: Floats32, resting_ml: float, spacing_mm: float
) -> tuple[Floats32, float]:
    """Join the folds, thinned to a normal joint's volume, with the fluid seen; and what both hold, mL.

    rest, seen : signed values of folds and segmented fluid.  walls : distance to bone and cartilage.
    ease : where the folds are thinned most.  All of one shape, on a grid of spacing_mm.
    """
    free = np.float32(0.05) - walls
    share = np.float32(0.1) + np.float32(0.9) * ease

    def thinned(by_mm: float) -> Floats32:
        return np.asarray(np.maximum(rest + np.float32(by_mm) * share, free), np.float32)

    low, high = 0.0, 2.5
    for _ in range(8):
        middle = 0.5 * (low + high)
        full = counted_ml(thinned(middle), 0.0, spacing_mm) > resting_ml
        low, high = (middle, high) if full else (low, middle)
    joined = np.minimum(rest + np.float32(high) * share, seen)
    return joined, max(resting_ml, counted_ml(np.maximum(joined, free), 0.0, spacing_mm))
