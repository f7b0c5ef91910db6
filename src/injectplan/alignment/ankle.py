"""The talus and the fibula, as far as the ankle's angles need them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from injectplan.alignment.bones import Bone, main_loop, section
from injectplan.alignment.plafond import CORE_MM, CORE_SHARE, Faces, faces_along, fit_saddle, uneven_mm
from injectplan.alignment.tibia import TibiaFit
from injectplan.errors import LandmarkError
from injectplan.frames import unit
from injectplan.kernels.cast import Floats

MOST_SLOPE = 0.36  # tangent of 20 degrees
EVEN_DOME_MM = 0.52  # residual of clean domes, which are ridged: 0.45 to 0.50 mm


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TalusFit:
    """The talar dome: two points of the line along its top, the first along the tibia's +`across`."""

    bone: Bone
    dome: tuple[Floats, Floats]
    residual_mm: float
    edge_mm: float
    uneven_mm: float = 0.0


def measure_talus(talus: Bone, tibia: TibiaFit) -> TalusFit:
    """Find the line along the top of the talar dome, seen along the tibia; not below: LandmarkError."""
    ankle = tibia.ankle
    assert ankle is not None
    if ankle.plafond is None:
        raise LandmarkError(ankle.missing.get("plafond_medial", "the tibial plafond is not told"))
    center, up = ankle.center, tibia.proximal
    ends = ankle.plafond
    across = unit(ends[0] - ends[1] - float((ends[0] - ends[1]) @ up) * up)
    faces = faces_along(talus, up)
    h = (faces.middle - center) @ up
    faces = Faces(middle=faces.middle[(h < 8.0) & (h > -14.0)], shown=faces.shown[(h < 8.0) & (h > -14.0)])
    try:
        saddle, share, residual = fit_saddle(faces, center, up, across, CORE_MM)
    except LandmarkError as error:
        raise LandmarkError("the talar dome does not lie under the plafond: another frame, or cut") from error
    if share < CORE_SHARE:
        raise LandmarkError(
            f"the talar dome is seen over {100 * share:.0f} % of its middle (needs "
            f"{100 * CORE_SHARE:.0f} %): another frame, or cut"
        )
    if abs(saddle[1]) > MOST_SLOPE or residual > 2.0:
        raise LandmarkError(
            f"the top of the talar dome stands {np.degrees(np.arctan(saddle[1])):.0f}° askew (up to 20°): "
            "not a dome"
        )

    def end(side: float) -> Floats:
        x = side * CORE_MM
        return np.asarray(center + x * across + (saddle[0] + saddle[1] * x) * up)

    return TalusFit(
        bone=talus, dome=(end(1.0), end(-1.0)), residual_mm=residual, edge_mm=talus.edge_mm,
        uneven_mm=uneven_mm(talus, up, residual, EVEN_DOME_MM),
    )  # fmt: skip


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
