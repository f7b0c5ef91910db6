"""The talus and the fibula, as far as the ankle's angles need them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from injectplan.alignment.bones import Bone, main_loop, section
from injectplan.alignment.fits import fit_plane
from injectplan.alignment.tibia import TibiaFit
from injectplan.errors import LandmarkError
from injectplan.frames import unit
from injectplan.kernels.cast import Floats


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
    offset = talus.points - center
    h = offset @ tibia.proximal
    m, a = offset @ tibia.across, offset @ tibia.posterior
    under = (np.abs(m) < 18.0) & (np.abs(a) < 10.0) & (h < 8.0) & (h > -14.0)
    facing = under & (talus.normals @ tibia.proximal > 0.8)
    if facing.sum() < 5 or talus.weights[facing].sum() < 80.0:
        raise LandmarkError("the talar dome does not lie under the plafond: another frame, or cut")
    point, normal, residual = fit_plane(talus.points[facing], talus.weights[facing], tibia.proximal, 2.0)

    assert tibia.plafond is not None
    across = unit(tibia.plafond[0] - tibia.plafond[1])

    def end(side: float) -> Floats:
        at = center + side * 10.0 * across
        return np.asarray(at - float((at - point) @ normal) / float(tibia.proximal @ normal) * tibia.proximal)

    return TalusFit(dome=(end(1.0), end(-1.0)), residual_mm=residual, edge_mm=talus.edge_mm)


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
