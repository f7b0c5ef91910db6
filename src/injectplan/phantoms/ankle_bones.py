"""The ankle's bones as implicit solids, right side: x lateral, y anterior, z proximal; dome's top at 0.

Talar dome of radius 20.7 mm, 29.9 mm wide in front and 25.2 mm behind (PMC1888582); the shapes between the
measured figures are assumed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from injectplan.kernels.cast import Floats
from injectplan.phantoms.implicit import (
    Loft,
    Solid,
    capsule,
    chain,
    ellipsoid,
    smooth_max,
    smooth_min,
    smooth_step,
)

DOME_RADIUS = 20.7
_FRONT_HALF, _BACK_HALF = 15.0, 12.6


def dome_half_width(y: Floats) -> Floats:
    """Half the dome's width, wider in front."""
    return _BACK_HALF + (_FRONT_HALF - _BACK_HALF) * np.clip((y + 16.0) / 32.0, 0.0, 1.0)


def _dome(p: Floats, grown: float = 0.0) -> Floats:
    """The trochlea: a roller with a shallow groove along its middle."""
    x, y, z = p.T
    groove = 0.9 * np.exp(-((x / 6.0) ** 2))
    rolling = np.hypot(y, z + DOME_RADIUS) - (DOME_RADIUS + grown - groove)
    return smooth_max(rolling, np.abs(x) - dome_half_width(y) - grown, 3.0)


def talus_solid() -> Solid:
    """Talus: dome, body, neck and head, lateral and posterior processes."""

    def distance(p: Floats) -> Floats:
        roller = smooth_max(_dome(p), -(p[:, 2] + 19.0), 4.0)
        body = ellipsoid(p, (0.0, -1.0, -19.0), (15.0, 20.0, 9.5))
        neck = capsule(p, (-1.0, 12.0, -17.0), (-6.0, 26.0, -19.0), 10.0, 9.0)
        head = ellipsoid(p, (-7.5, 31.0, -20.0), (12.5, 8.5, 10.0))
        lateral = capsule(p, (12.0, -1.0, -16.0), (19.5, -2.0, -21.5), 5.0, 2.6)
        rear = ellipsoid(p, (-1.0, -20.0, -20.0), (8.0, 6.0, 4.5))
        value = smooth_min(roller, body, 5.0)
        value = smooth_min(value, smooth_min(neck, head, 6.0), 5.0)
        value = smooth_min(value, smooth_min(lateral, rear, 3.0), 5.0)
        beneath = -(
            p[:, 2] + 28.0 - 3.0 * np.exp(-(((p[:, 1] + 6.0) / 12.0) ** 2))
        )  # posterior facet, concave
        return smooth_max(value, beneath, 3.0)

    return Solid(distance, np.array([-23.0, -30.0, -33.0]), np.array([25.0, 43.0, 3.0]))


def calcaneus_solid() -> Solid:
    """Calcaneus: heel, body, posterior facet, sustentaculum and anterior process."""

    def distance(points: Floats) -> Floats:
        p = points - np.array([0.0, 0.0, 2.2])
        body = chain(
            p, [(2.0, -44.0, -48.0), (3.0, -12.0, -45.0), (9.0, 22.0, -42.0)], [15.0, 12.0, 10.0], 6.0
        )
        body = smooth_max(body, np.abs(p[:, 0] - 4.0 - 0.12 * p[:, 1]) - 14.0, 5.0)
        heel = ellipsoid(p, (1.0, -50.0, -50.0), (13.5, 13.0, 20.0))
        facet = ellipsoid(p, (3.0, -7.0, -38.0), (11.0, 14.0, 7.5))
        shelf = capsule(p, (-4.0, 6.0, -38.0), (-15.0, 8.0, -35.5), 5.0, 4.0)
        value = smooth_min(smooth_min(body, heel, 12.0), facet, 6.0)
        value = smooth_min(value, shelf, 6.0)
        roof = p[:, 2] + 30.5 - 3.0 * np.exp(-(((p[:, 1] + 6.0) / 12.0) ** 2))
        return smooth_max(value, roof, 3.0)

    return Solid(distance, np.array([-24.0, -68.0, -74.0]), np.array([24.0, 38.0, -26.0]))


def _mortise(p: Floats, room_mm: float) -> Floats:
    return _dome(p, room_mm)


def tibia_solid(*, top_mm: float, room_mm: float) -> Solid:
    """Distal tibia: shaft, plafond and medial malleolus; room_mm lies between its bone and the dome's."""
    shaft = Loft(
        [[-8, -1, -1, 18, 15], [0, -1.5, -1, 21, 18], [8, -1.5, -1, 21.5, 18.5], [18, -1, -1, 18.5, 16.5],
         [34, -1, -1, 14.5, 14], [60, 0, 0, 12.2, 12.6], [top_mm, 0, 1, 11.8, 13.2]],
        power=2.6, round_mm=4.0,
    )  # fmt: skip

    def distance(p: Floats) -> Floats:
        malleolus = capsule(p, (-20.0, 1.0, 4.0), (-21.0, 2.0, -8.5), 9.0, 6.2)
        colliculus = capsule(p, (-20.5, 6.0, -2.0), (-21.0, 7.0, -11.0), 5.5, 4.5)
        lip = np.maximum(-(p[:, 2] + 6.0 + 0.12 * p[:, 1]), -50.0)
        body = smooth_max(shaft(p), lip, 2.0)
        body = smooth_min(body, smooth_min(malleolus, colliculus, 5.0), 6.0)
        value = smooth_max(body, -_mortise(p, room_mm), 1.2)
        notch = capsule(p, (27.5, -4.0, -20.0), (27.0, -6.0, 60.0), 9.4)  # incisura, where the fibula lies
        return smooth_max(value, -notch, 3.0)

    return Solid(distance, np.array([-33.0, -23.0, -18.0]), np.array([24.0, 22.0, top_mm + 1]))


def fibula_solid(*, top_mm: float, room_mm: float) -> Solid:
    """Distal fibula: shaft and lateral malleolus, which reaches lower than the medial one."""
    body = Loft(
        [[-26, 21.5, -6, 3, 4], [-22, 22.5, -5.5, 5.5, 7.5], [-12, 23.5, -4.5, 7, 9.5],
         [0, 25, -5, 7, 9], [16, 26, -6, 6, 7.5], [40, 26, -7, 5.4, 6.2], [top_mm, 25, -8, 5.6, 6.4]],
        power=2.3, round_mm=3.0,
    )  # fmt: skip

    def distance(p: Floats) -> Floats:
        return smooth_max(body(p), -_mortise(p, room_mm), 1.2)

    return Solid(distance, np.array([10.0, -20.0, -27.0]), np.array([36.0, 8.0, top_mm + 1]))


@dataclass(frozen=True, slots=True, kw_only=True)
class DomeDefect:
    """An elliptic lesion of the dome: middle, radii, lost share of cartilage, depth in bone, mm."""

    x_mm: float
    y_mm: float
    radius_ml_mm: float
    radius_ap_mm: float
    cartilage_lost: float
    bone_depth_mm: float

    def rho(self, foot: Floats) -> Floats:
        """Normalised radius of points by their place across and along the dome, (n,)."""
        arc = DOME_RADIUS * np.arctan2(foot[:, 1], foot[:, 2] + DOME_RADIUS)
        middle = DOME_RADIUS * np.arcsin(self.y_mm / DOME_RADIUS)
        return np.hypot((foot[:, 0] - self.x_mm) / self.radius_ml_mm, (arc - middle) / self.radius_ap_mm)


def talar_thickness(foot: Floats, thickness_mm: float, defect: DomeDefect | None) -> Floats:
    """Cartilage of the dome's roller."""
    x, y, z = foot.T
    turn = np.degrees(np.arctan2(y, z + DOME_RADIUS))
    margin = np.minimum.reduce(
        [DOME_RADIUS * np.radians(58.0 - np.abs(turn - 2.0)), dome_half_width(y) - 0.6 - np.abs(x), z + 17.0]
    )
    t = thickness_mm * smooth_step(margin / 2.0)
    if defect is not None:
        t = np.where(defect.rho(foot) <= 1.0, t * (1.0 - defect.cartilage_lost), t)
    return t


def plafond_thickness(foot: Floats, thickness_mm: float, room_mm: float) -> Floats:
    """Cartilage of the plafond, the roof of the mortise."""
    x, y, z = foot.T
    turn = np.degrees(np.arctan2(y, z + DOME_RADIUS))
    radial = np.hypot(y, z + DOME_RADIUS)
    margin = np.minimum.reduce(
        [DOME_RADIUS * np.radians(44.0 - np.abs(turn)), dome_half_width(y) - np.abs(x),
         DOME_RADIUS + room_mm + 2.6 - radial, z + 8.0]
    )  # fmt: skip
    return thickness_mm * smooth_step(margin / 2.0)
