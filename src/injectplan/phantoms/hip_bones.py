"""The hip's bones as implicit solids, right side: x lateral, y anterior, z proximal, mm, head centre at 0.

Head diameter 46 (women 43, men 48), centre to shaft axis 48, neck-shaft angle 129° and version 12° by default
(PMC2650061, PMC4775021), acetabular anteversion 18.8° (PMC4616413); the shapes between are assumed.
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
    plate,
    smooth_max,
    smooth_min,
    smooth_step,
    sphere,
)

HEAD_RADIUS = 23.0
NECK_LENGTH = 48.0
RIM_DEPTH = 6.0  # the rim's plane lies this far inside the head's centre (centre-edge angle about 37°)
ASIS = np.array([27.0, 36.0, 76.0])
_FOVEA = np.array([-0.86, -0.10, -0.50]) / np.linalg.norm([-0.86, -0.10, -0.50])


def neck_axis(nsa_deg: float, version_deg: float) -> Floats:
    """Unit direction from the shaft to the head's centre; the shaft runs along z."""
    nsa, version = np.radians(nsa_deg), np.radians(version_deg)
    return np.array([-np.sin(nsa) * np.cos(version), np.sin(nsa) * np.sin(version), -np.cos(nsa)])


def cup_axis(inclination_deg: float = 40.0, anteversion_deg: float = 18.0) -> Floats:
    """Unit direction out of the acetabulum: lateral, distal and a little anterior."""
    i, a = np.radians(inclination_deg), np.radians(anteversion_deg)
    return np.array([np.sin(i) * np.cos(a), np.sin(a), -np.cos(i) * np.cos(a)])


def femur_solid(*, nsa_deg: float, version_deg: float, shaft_mm: float) -> Solid:
    """Proximal femur down to shaft_mm below the neck's base."""
    u = neck_axis(nsa_deg, version_deg)
    base = -NECK_LENGTH * u
    bottom = base[2] - shaft_mm
    x, y = float(base[0]), float(base[1])
    shaft = Loft(
        [[base[2] + 8, x - 1, y - 3, 13, 12], [base[2] - 10, x - 1, y - 2, 17, 14.5],
         [base[2] - 32, x - 1, y, 17, 15.5], [base[2] - 55, x, y + 1.5, 15, 14.5],
         [base[2] - 90, x, y + 3, 14, 14], [bottom, x, y + 5, 13.6, 14]],
        power=2.2, round_mm=3.0,
    )  # fmt: skip
    great = base + np.array([6.0, -8.0, 8.0])
    tip = base + np.array([4.0, -13.0, 20.0])
    lesser = base + np.array([-13.0, -12.0, -36.0])

    def distance(p: Floats) -> Floats:
        body = smooth_min(shaft(p), capsule(p, base, -14.0 * u, 17.5, 14.0), 12.0)
        body = smooth_min(body, ellipsoid(p, great, (12.0, 15.0, 17.0)), 9.0)
        body = smooth_min(body, ellipsoid(p, tip, (9.0, 11.0, 10.0)), 7.0)
        body = smooth_min(body, ellipsoid(p, lesser, (8.0, 7.5, 10.0)), 9.0)
        return smooth_min(body, sphere(p, (0, 0, 0), HEAD_RADIUS), 5.0)

    return Solid(distance, np.array([-30.0, -50.0, bottom - 1]), np.array([x + 30.0, 34.0, 30.0]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Cup:
    """The acetabulum: radius of its bony socket and the direction out of it."""

    radius_mm: float
    axis: tuple[float, float, float]


def hip_bone_solid(cup: Cup) -> Solid:
    """Hip bone: socket with its fossa, iliac wing, pubis and ischium around the obturator foramen."""
    n = np.asarray(cup.axis)
    fossa = _FOVEA * 10.5
    roof, sciatic = np.array([-2.0, -6.0, 34.0]), np.array([-24.0, -48.0, 22.0])
    tubercle, top, rear = (
        np.array([40.0, 6.0, 100.0]),
        np.array([20.0, -40.0, 112.0]),
        np.array([-46.0, -92.0, 74.0]),
    )
    inner_roof = np.array([-26.0, -18.0, 30.0])

    def wing_of(p: Floats) -> Floats:
        wing = plate(p, roof, ASIS, tubercle, 4.5)
        wing = smooth_min(wing, plate(p, roof, tubercle, top, 4.0), 12.0)
        wing = smooth_min(wing, plate(p, roof, top, rear, 4.5), 12.0)
        wing = smooth_min(wing, plate(p, roof, rear, sciatic, 6.5), 12.0)
        crest = chain(p, [ASIS, tubercle, top, rear], [5.5, 6.5, 5.5, 8.0], 6.0)
        wing = smooth_min(wing, crest, 9.0)
        return smooth_min(
            wing, capsule(p, (4, 22, 26), (8, 30, 38), 9.0, 6.5), 9.0
        )  # anterior inferior spine

    def distance(p: Floats) -> Floats:
        wing = np.full(len(p), 60.0)
        high = p[:, 2] > -35.0
        wing[high] = wing_of(p[high])
        cupped = sphere(p, (0, 0, 0), cup.radius_mm + 6.0)
        cupped = smooth_max(cupped, p @ n + RIM_DEPTH, 3.0)
        body = smooth_min(cupped, wing, 14.0)
        body = smooth_min(body, capsule(p, inner_roof, sciatic, 9.0, 9.0), 10.0)
        pubis = chain(
            p, [(-24, 16, -2), (-50, 38, -14), (-72, 42, -24), (-80, 34, -44)], [9.5, 7.0, 8.5, 8.5], 6.0
        )
        ischium = chain(p, [(-16, -24, -6), (-10, -36, -34), (-14, -34, -58), (-44, -4, -74), (-76, 26, -54)],
                        [14.0, 13.0, 13.5, 6.5, 7.0], 8.0)  # fmt: skip
        body = smooth_min(body, smooth_min(pubis, ischium, 6.0), 9.0)
        hollow = smooth_min(sphere(p, (0, 0, 0), cup.radius_mm), sphere(p, fossa, 20.0), 1.5)
        mouth = np.maximum(np.linalg.norm(p - (p @ n)[:, None] * n, axis=1) - cup.radius_mm * 0.96, -(p @ n))
        return smooth_max(body, -np.minimum(hollow, mouth), 1.5)

    return Solid(distance, np.array([-92.0, -104.0, -90.0]), np.array([52.0, 56.0, 122.0]))


def head_thickness(foot: Floats, most_mm: float, least_mm: float, axis: Floats) -> Floats:
    """Cartilage on the head: thickest above and in front, none at the fovea and beyond the equator's edge."""
    radius = np.maximum(np.linalg.norm(foot, axis=1), 1e-6)
    d = foot / radius[:, None]
    pole = np.array([0.30, 0.25, 0.92]) / np.linalg.norm([0.30, 0.25, 0.92])
    weight = smooth_step((d @ pole - 0.2) / 0.7)
    edge = HEAD_RADIUS * (np.radians(103.0) - np.arccos(np.clip(d @ axis, -1, 1)))
    fovea = HEAD_RADIUS * np.arccos(np.clip(d @ _FOVEA, -1, 1)) - 6.0
    off = 2.0 - np.abs(radius - HEAD_RADIUS) * 4.0  # the head only, not the neck
    margin = np.minimum.reduce([edge, fovea, off])
    return (least_mm + (most_mm - least_mm) * weight) * smooth_step(margin / 2.5)


def acetabular_thickness(foot: Floats, most_mm: float, least_mm: float, cup: Cup) -> Floats:
    """Cartilage of the lunate surface: a horseshoe open below, around the fossa."""
    n = np.asarray(cup.axis)
    radius = np.maximum(np.linalg.norm(foot, axis=1), 1e-6)
    d = foot / radius[:, None]
    pole = np.array([0.45, 0.1, 0.88]) / np.linalg.norm([0.45, 0.1, 0.88])
    weight = smooth_step((d @ pole - 0.1) / 0.7)
    rim = -(foot @ n) - RIM_DEPTH - 1.0
    fossa = np.linalg.norm(foot - _FOVEA * 10.5, axis=1) - 20.0
    below = 20.0 * (d[:, 2] + 0.62)
    off = 2.0 - np.abs(radius - cup.radius_mm) * 4.0
    margin = np.minimum.reduce([rim, fossa - 1.0, off, np.maximum(below, 26.0 * (np.abs(d[:, 1]) - 0.45))])
    return (least_mm + (most_mm - least_mm) * weight) * smooth_step(margin / 2.5)


def labrum_value(p: Floats, cup: Cup) -> Floats:
    """Labrum: a triangular ring, 7 mm wide, on the rim, open at the notch below; negative inside."""
    n = np.asarray(cup.axis)
    height = p @ n + RIM_DEPTH
    radial = np.linalg.norm(p - (p @ n)[:, None] * n, axis=1)
    ring = float(np.sqrt(cup.radius_mm**2 - RIM_DEPTH**2))
    half = 2.6 * (1.0 - np.clip(height, 0.0, 6.5) / 9.5)
    wall = np.abs(radial - ring - 1.2 + 0.10 * height) - half
    value = smooth_max(wall, np.abs(height - 3.0) - 3.6, 1.2)
    below = -p[:, 2] / np.maximum(np.linalg.norm(p, axis=1), 1e-6)
    return smooth_max(value, (below - 0.80) * 26.0, 2.0)
