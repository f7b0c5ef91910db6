"""The proximal femur: neck axis, upper shaft axis, base of the neck, head-neck departure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from injectplan.alignment.bones import Bone, main_loop, section, sections, shaft_line
from injectplan.alignment.fits import Sphere
from injectplan.errors import LandmarkError
from injectplan.frames import angle_deg, unit
from injectplan.kernels.cast import Floats

ALPHA_TOLERANCE_MM = 1.0  # 0.5 mm fails on MRI meshes
ALPHA_ARCS_DEG = (22.0, 120.0, 2.0)  # from the neck axis to the head's front, in steps
NECK_BASE_BELOW_MM = 10.0  # assumed: the lesser trochanter's upper edge lies about there


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ProximalFemur:
    """Landmarks of the hip's side of a femur, mm."""

    neck_center: Floats
    neck_area_mm2: float
    upper_shaft: tuple[Floats, Floats]
    neck_base: Floats
    alpha_point: Floats | None


def measure_proximal_femur(bone: Bone, head: Sphere, axis: Floats, anterior: Floats) -> ProximalFemur:
    """Find the neck and the upper shaft of a femur whose head is known.

    axis : unit direction of the whole shaft, proximal.  anterior : unit.
    """
    low = float((bone.points @ axis).min())
    length = float(head.center @ axis) - low
    center, up, _ = shaft_line(bone, axis, low + 0.58 * length, low + 0.80 * length)
    neck_center, area = _neck_center(bone, head, center, up)
    neck = unit(head.center - neck_center)
    angle = angle_deg(neck, -up)
    if not 95.0 < angle < 165.0:
        raise LandmarkError(f"the neck of {bone.name} stands at {angle:.0f}° to its shaft (95° to 165°)")
    gap = center - head.center
    b = float(neck @ up)
    along = (b * float(gap @ neck) - float(gap @ up)) / (1.0 - b * b)
    crossing = center + along * up
    base_at = crossing - NECK_BASE_BELOW_MM * up
    loop = main_loop(section(bone, base_at, up), base_at)
    if loop is None:
        raise LandmarkError(f"the base of the neck of {bone.name} could not be cut")
    half = 0.11 * length
    middle = center + float((crossing - center) @ up - 0.30 * length) * up
    return ProximalFemur(
        neck_center=neck_center, neck_area_mm2=area, neck_base=loop.centroid,
        upper_shaft=(middle + half * up, middle - half * up),
        alpha_point=_departure(bone, head, neck, up, anterior),
    )  # fmt: skip


def _neck_center(bone: Bone, head: Sphere, shaft_point: Floats, up: Floats) -> tuple[Floats, float]:
    """Centroid of the neck's narrowest section, the axis turned towards it until it settles."""
    offset = head.center - shaft_point
    aside = offset - (offset @ up) * up
    target = head.center - aside - 0.78 * float(np.linalg.norm(aside)) * up
    n = unit(target - head.center)
    r = head.radius_mm
    center, area = head.center, 0.0
    steps = np.linspace(0.75, 2.0, 26) * r
    for _ in range(12):
        areas, centers = [], []
        for t, loops in zip(steps, sections(bone, head.center, n, steps), strict=True):
            loop = main_loop(loops, head.center + t * n)
            if loop is not None and np.linalg.norm(loop.centroid - head.center - t * n) < 0.8 * r:
                areas.append(loop.area_mm2)
                centers.append(loop.centroid)
        if len(areas) < 6:
            raise LandmarkError(f"the neck of {bone.name} could not be followed")
        small = np.array(areas)
        weight = np.exp(-(((small / small.min() - 1.0) / 0.06) ** 2))
        center = np.average(np.array(centers), axis=0, weights=weight)
        area = float(small.min())
        before, n = n, unit(center - head.center)
        if np.linalg.norm(before - n) < 1e-7:
            break
    if not 0.2 < area / (np.pi * r * r) < 0.98:
        raise LandmarkError(f"the neck of {bone.name} is {area:.0f} mm² at its narrowest: not a neck")
    return center, area


def _departure(bone: Bone, head: Sphere, neck: Floats, up: Floats, anterior: Floats) -> Floats | None:
    """Anterior point where head and neck part: there the outline leaves the sphere."""
    front = np.cross(neck, up)
    front = unit(front if front @ anterior > 0 else -front)
    loops = section(bone, head.center, np.cross(neck, front))
    if not loops:
        return None
    offset = np.concatenate([loop.points for loop in loops]) - head.center
    angle = np.degrees(np.arctan2(offset @ front, -(offset @ neck)))
    off = np.linalg.norm(offset, axis=1) - head.radius_mm - ALPHA_TOLERANCE_MM
    # by medians of short arcs, coming up the neck: a bump of the noise on the head is no departure
    arcs = np.arange(*ALPHA_ARCS_DEG)
    middle = [
        np.median(off[m]) if (m := np.abs(angle - a) < ALPHA_ARCS_DEG[2]).any() else np.nan for a in arcs
    ]
    seen = np.flatnonzero(np.isfinite(middle))
    level = np.array(middle)[seen]
    if not len(seen) or level[0] <= 0.0 or (level > 0.0).all():
        return None
    k = int(np.argmax(level <= 0.0))
    last, first = arcs[seen[k - 1]], arcs[seen[k]]
    at = np.radians(last + (first - last) * level[k - 1] / (level[k - 1] - level[k]))
    return np.asarray(head.center + head.radius_mm * (np.sin(at) * front - np.cos(at) * neck))
