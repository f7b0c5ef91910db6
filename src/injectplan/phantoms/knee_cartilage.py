"""Where the knee's cartilage lies and how thick it is, and the menisci: functions on the bones' own frames.

Thicknesses default to medial/lateral femoral condyle 2.0/2.1, medial/lateral plateau 1.8/2.3, trochlea 2.4,
patella 2.8 mm (assumed, near the means of PMID 11237657); each zone is of constant thickness inside and
tapers to nothing over `TAPER_MM` at its margin.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from injectplan.kernels.cast import Bools, Floats
from injectplan.phantoms.implicit import smooth_max, smooth_step
from injectplan.phantoms.knee_bones import (
    CONDYLE_AXIS,
    PLATEAU,
    TROCHLEA_CENTER,
    condyle_x,
    plateau_height,
)

DEFAULT_MM = {
    "medial_condyle": 2.0, "lateral_condyle": 2.1, "medial_plateau": 1.8, "lateral_plateau": 2.3,
    "trochlea": 2.4, "patella": 2.8,
}  # fmt: skip
TAPER_MM = 3.0
# Middle of each zone, where the thickness is exactly the stated one (own frame of the bone).
ZONE_CENTER = {
    "medial_condyle": (-23.0, -14.0, 2.2), "lateral_condyle": (22.5, -14.0, 2.8),
    "trochlea": (0.0, 20.0, 34.0), "medial_plateau": (-17.0, -12.0, -3.0),
    "lateral_plateau": (18.5, -12.0, -3.0), "patella": (-2.0, -10.6, 2.0),
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class DefectShape:
    """An elliptic defect of the medial condyle: its middle on the running surface, radii and depths in mm."""

    angle_deg: float  # from straight down towards the back, about the flexion axis
    x_mm: float
    radius_ml_mm: float
    radius_ap_mm: float
    cartilage_lost: float  # fraction of the thickness
    bone_depth_mm: float

    def rho(self, foot: Floats) -> Floats:
        """Normalised radius of points by their place across and along the running surface, (n,)."""
        y, z = foot[:, 1] - CONDYLE_AXIS[0], foot[:, 2] - CONDYLE_AXIS[1]
        angle = np.arctan2(-y, -z)
        arc = 22.0 * (angle - np.radians(self.angle_deg))
        return np.hypot((foot[:, 0] - self.x_mm) / self.radius_ml_mm, arc / self.radius_ap_mm)

    def covers(self, foot: Floats) -> Bools:
        """Whether points of the femur lie in the outline, on the condyle's lower half, (n,)."""
        return np.asarray((foot[:, 2] < CONDYLE_AXIS[1]) & (self.rho(foot) <= 1.0))


def _femoral_margin(foot: Floats) -> tuple[Floats, Floats]:
    """Distance inside the cartilage's margin, and how far a point belongs to the trochlea (0–1)."""
    x, y, z = foot.T
    v, w = y - CONDYLE_AXIS[0], z - CONDYLE_AXIS[1]
    back = np.arctan2(-v, -w)  # 0 straight down, positive towards the back
    condyles = np.full(len(foot), -50.0)
    for side in ("medial", "lateral"):
        across = 11.0 - np.abs(x - condyle_x(side, y))
        around = 21.5 * (np.radians(118.0) - back)
        front = 21.5 * (back + np.radians(75.0))
        radius = 7.0 - np.abs(np.hypot(v, w) - 21.0) + 6.0 * (v > 0)
        condyles = np.maximum(condyles, np.minimum.reduce([across, around, front, radius]))
    fv, fw = y - TROCHLEA_CENTER[0], z - TROCHLEA_CENTER[1]
    up = np.arctan2(fw, fv)  # 0 straight ahead, positive upwards
    top = 21.0 * (np.radians(44.0) + 0.05 * np.sign(x) - up) - 0.003 * x * x
    trochlea = np.minimum.reduce(
        [25.0 * (up + np.radians(66.0)), top, np.where(x > 0, 25.5, 23.5) - np.abs(x), fv - 2.0]
    )
    forward = smooth_step((np.degrees(up) + 42.0) / 12.0) * (fv > 0)
    return np.maximum(condyles, trochlea), forward


def femoral_thickness(foot: Floats, mm: dict[str, float], defect: DefectShape | None) -> Floats:
    """Thickness of femoral cartilage at points of the bone, (n,) mm."""
    margin, forward = _femoral_margin(foot)
    lateral = smooth_step((foot[:, 0] + 6.0) / 12.0)
    condyle = mm["medial_condyle"] + (mm["lateral_condyle"] - mm["medial_condyle"]) * lateral
    full = condyle + (mm["trochlea"] - condyle) * forward
    t = full * smooth_step(margin / TAPER_MM)
    if defect is not None:
        t = np.where(defect.covers(foot), t * (1.0 - defect.cartilage_lost), t)
    return t


def _ellipse_margin(x: Floats, y: Floats, side: str, shrink: float) -> Floats:
    (cx, cy), (a, b) = PLATEAU[side]
    rho = np.hypot((x - cx) / a, (y - cy) / b)
    return (1.0 - rho) * min(a, b) - shrink


def tibial_thickness(foot: Floats, side: str, mm: dict[str, float]) -> Floats:
    """Thickness of one plateau's cartilage, (n,) mm."""
    x, y, z = foot.T
    outward = -x if side == "medial" else x
    margin = np.minimum.reduce(
        [_ellipse_margin(x, y, side, 0.8), outward - 4.0, z - plateau_height(x, y) + 2.5]
    )
    return mm[f"{side}_plateau"] * smooth_step(margin / TAPER_MM)


def patellar_thickness(foot: Floats, mm: dict[str, float]) -> Floats:
    """Thickness of patellar cartilage, (n,) mm: the upper three quarters of the back."""
    x, y, z = foot.T
    outline = (1.0 - np.hypot(x / 21.0, (z - 3.0) / 15.0)) * 15.0
    margin = np.minimum(outline, -y - 1.0)
    return mm["patella"] * smooth_step(margin / TAPER_MM)


# Width and height of the menisci in front, beside and behind (doi: Biomed J Feb 2014, MRI of 40 knees).
@dataclass(frozen=True, slots=True, kw_only=True)
class MeniscusShape:
    """Width and height in front, beside and behind, mm; the C stays open by open_deg either way."""

    width_mm: tuple[float, float, float]
    height_mm: tuple[float, float, float]
    open_deg: float


MENISCUS = {
    "medial": MeniscusShape(width_mm=(10.5, 7.8, 13.9), height_mm=(6.3, 5.2, 6.9), open_deg=42.0),
    "lateral": MeniscusShape(width_mm=(11.8, 8.6, 12.0), height_mm=(4.8, 6.4, 7.0), open_deg=24.0),
}


def meniscus_value(p: Floats, side: str, cartilage_mm: float) -> Floats:
    """Value of a meniscus in the tibia's frame: a C-shaped wedge on the plateau, negative inside."""
    (cx, cy), (a, b) = PLATEAU[side]
    table = MENISCUS[side]
    outward = -1.0 if side == "medial" else 1.0
    x, y, z = p.T
    u, v = (x - cx) / a * outward, (y - cy) / b
    rho = np.hypot(u, v)
    angle = np.degrees(np.arctan2(v, u))  # 0 towards the joint's side, ±180 towards the notch
    ahead, behind = smooth_step(angle / 100.0), smooth_step(-angle / 100.0)
    width, height = (
        t[1] + (t[0] - t[1]) * ahead + (t[2] - t[1]) * behind for t in (table.width_mm, table.height_mm)
    )
    inward = (0.97 - rho) * 0.5 * (a + b)
    base = plateau_height(x, y) + cartilage_mm * smooth_step(_ellipse_margin(x, y, side, 0.8) / TAPER_MM)
    above = z - base
    slope = height / width
    wedge = (above - 0.4 - slope * (width - inward)) / np.hypot(1.0, slope)
    bow = np.maximum(0.0, 1.2 - np.abs(above - 0.5 * height) * 0.25)  # the rim bulges a little
    value = smooth_max(wedge, -inward - bow, 1.5)
    value = smooth_max(value, inward - width, 1.0)
    horn = (np.abs(angle) - (180.0 - table.open_deg)) * np.pi / 180.0 * rho * 0.5 * (a + b)
    value = smooth_max(value, horn, 2.0)
    return np.maximum(value, -above - 0.8)
