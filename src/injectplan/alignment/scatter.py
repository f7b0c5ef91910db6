"""How far landmarks scatter: the default standard deviations, with their sources.

A tangent point slides easily along the flat surface it rests on and hardly across it, so most landmarks have
two figures: along the direction that the angle depends on, and across it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from injectplan.alignment.values import Landmark
from injectplan.frames import unit
from injectplan.kernels.cast import Floats

# Isotropic defaults, mm, for a landmark given without its scatter. Centres: an automatic method against a
# manual one on four legs (hip 0.14-0.50, knee 1.07-2.52, ankle 0.93-1.19 mm, STAPLE). Others: rms
# scatter of five raters on 19 femora, 2.4 to 5.2 mm in space.
RATER_SD_MM: Mapping[str, float] = {
    "hip_center": 0.5, "femoral_knee_center": 2.4, "tibial_knee_center": 2.2, "ankle_center": 1.5,
    "femoral_neck_center": 0.7, "femoral_neck_base": 1.5, "intercondylar_notch": 2.4,
}  # fmt: skip
OTHER_SD_MM = 2.4
MOST_SD_MM = 200.0  # of a landmark that is given: half a bone's length says nothing of it any more (assumed)

# Fitted tangents: across the surface, chosen so that they give the raters' 0.77° for mLDFA, and their 2.9°
# for posterior against epicondylar line as the larger part of version's 2.98°; along it the raters' scatter.
TANGENT_SD_MM = 0.5
POSTERIOR_SD_MM = 0.8
PLATEAU_SD_MM = 0.4
PLAFOND_SD_MM = 0.35
PLAFOND_EDGE_SHARE = 0.2  # assumed: 0.5 mm of white noise turned a plafond with 3 mm edges by 5°
ALONG_SD_MM = 2.4
# How far a rough surface moves a landmark across it, as a share of its roughness: measured on both CT legs
# with correlated noise of 1 mm and 5, 10, 20 mm of correlation length. The plafond's line is short.
ROUGH_TANGENT, ROUGH_PLANE, ROUGH_PLAFOND = 1.3, 0.9, 1.7
# The same for each mm of a bump that was levelled under a tangent, and of an uneven joint surface at the
# ankle: 16 copies of two CT legs with bumps of 4 mm at their ends.
BUMP_TANGENT, UNEVEN_PLAFOND = 0.4, 2.0
EDGE_SHARE = 0.05  # assumed: a landmark's share of a coarse mesh's edge length


@dataclass(frozen=True, slots=True, kw_only=True)
class Scatter:
    """Standard deviations across (`normal_mm`) and along (`along_mm`) the surface of one landmark."""

    normal_mm: float
    along_mm: float


def covariance(scatter: Scatter, normal: Floats, edge_mm: float = 0.0) -> Floats:
    """Return the (3, 3) covariance of a landmark whose surface faces `normal`; a mesh's grain is added."""
    grain = (EDGE_SHARE * edge_mm) ** 2
    n = unit(normal)
    outer = np.outer(n, n)
    return np.asarray(
        (scatter.normal_mm**2 + grain) * outer + (scatter.along_mm**2 + grain) * (np.eye(3) - outer)
    )


def tangent_point(
    position: Floats, normal: Floats, normal_sd_mm: float, method: str, group: str, edge_mm: float,
    along_sd_mm: float = ALONG_SD_MM,
) -> Landmark:  # fmt: skip
    """Return a landmark that rests on a surface."""
    scatter = Scatter(normal_mm=normal_sd_mm, along_mm=along_sd_mm)
    return Landmark(
        position_mm=np.array(position, dtype=np.float64), method=method, group=group,
        covariance_mm2=covariance(scatter, normal, edge_mm),
    )  # fmt: skip


def center_point(position: Floats, sd_mm: float, method: str, group: str, edge_mm: float = 0.0) -> Landmark:
    """Return a landmark that scatters alike in all directions."""
    variance = sd_mm**2 + (EDGE_SHARE * edge_mm) ** 2
    return Landmark(
        position_mm=np.array(position, dtype=np.float64), method=method, group=group,
        covariance_mm2=variance * np.eye(3),
    )  # fmt: skip
