"""The talus and the fibula, as far as the ankle's angles need them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import theilslopes

from injectplan.alignment.bones import Bone, main_loop, section
from injectplan.alignment.tibia import TibiaFit
from injectplan.errors import LandmarkError
from injectplan.frames import unit
from injectplan.kernels.cast import Floats

MOST_SLOPE = 0.36  # tangent of 20 degrees


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TalusFit:
    """The talar dome: two points of the line along its top, the first along the tibia's +`across`."""

    dome: tuple[Floats, Floats]
    residual_mm: float
    edge_mm: float


def measure_talus(talus: Bone, tibia: TibiaFit) -> TalusFit:
    """Find the line along the top of the talar dome, seen along the tibia; not below: LandmarkError."""
    center = tibia.ankle_center
    assert center is not None
    assert tibia.plafond is not None
    across = unit(tibia.plafond[0] - tibia.plafond[1])
    offset = talus.points - center
    h = offset @ tibia.proximal
    m, a = offset @ tibia.across, offset @ tibia.posterior
    under = (np.abs(m) < 18.0) & (np.abs(a) < 14.0) & (h < 8.0) & (h > -14.0)
    if talus.weights[under & (talus.normals @ tibia.proximal > 0.7)].sum() < 80.0:
        raise LandmarkError("the talar dome does not lie under the plafond: another frame, or cut")
    # the dome is a barrel: along it only its top is straight, so the top of each slice counts
    m = offset @ across
    bins = np.arange(-12.0, 12.1, 2.0)
    tops = np.array(
        [_top(h[near]) if (near := under & (np.abs(m - b) < 1.5)).any() else np.nan for b in bins]
    )
    seen = np.isfinite(tops)
    if np.count_nonzero(seen) < 8:
        raise LandmarkError("the top of the talar dome is seen over less than 16 mm")
    slope, level, _, _ = theilslopes(tops[seen], bins[seen])
    residual = float(np.median(np.abs(tops[seen] - level - slope * bins[seen])))
    if abs(slope) > MOST_SLOPE or residual > 2.0:
        raise LandmarkError(
            f"the top of the talar dome stands {np.degrees(np.arctan(slope)):.0f}° askew (up to 20°): "
            "not a dome"
        )

    def end(side: float) -> Floats:
        x = side * 10.0
        return np.asarray(center + x * across + (level + slope * x) * tibia.proximal)

    return TalusFit(dome=(end(1.0), end(-1.0)), residual_mm=residual, edge_mm=talus.edge_mm)


def _top(heights: Floats) -> float:
    """Height of the highest tenth: a maximum would follow the noise."""
    return float(np.quantile(heights, 0.9))


def malleolus_tip(fibula: Bone, proximal: Floats) -> Floats | None:
    """Centroid of the fibula's lowest 8 mm; None where a cut face ends it."""
    s = fibula.points @ proximal
    low = s < s.min() + 8.0
    if np.ptp(s) < 150.0:
        return None
    return np.asarray(np.average(fibula.points[low], axis=0, weights=fibula.weights[low]))


def section_at(bone: Bone, at: Floats, normal: Floats) -> Floats | None:
    """Centroid of the bone's section through a point; None where the plane misses it."""
    loop = main_loop(section(bone, at, normal))
    return None if loop is None else loop.centroid
