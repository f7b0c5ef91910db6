"""The proximal femur: neck axis, upper shaft axis, base of the neck, head-neck departure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from injectplan.alignment.bones import (
    Bone,
    main_loop,
    section,
    sections,
    shaft_line,
    side_middles,
)
from injectplan.alignment.fits import Sphere, fit_sphere
from injectplan.errors import LandmarkError
from injectplan.frames import angle_deg, unit
from injectplan.kernels.cast import Floats

NECK_WIDER = 0.3  # sections wider than the narrowest by more than this share hardly count (assumed)
ALPHA_TOLERANCE_MM = 1.0  # 0.5 mm fails on MRI meshes
ALPHA_ARCS_DEG = (22.0, 120.0, 1.0)  # from the neck axis to the head's front, in steps
ALPHA_WEDGE_DEG, ALPHA_SMOOTH_DEG = 25.0, 4.0  # half a wedge about the plane; smoothing along it (assumed)
ALPHA_REACH = 1.7  # of the head's radius: what lies further is no head and no upper neck
NECK_BASE_BELOW_MM = 10.0  # assumed: the lesser trochanter's upper edge lies about there


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ProximalFemur:
    """Landmarks of the hip's side of a femur, mm."""

    neck_center: Floats
    neck_area_mm2: float
    upper_shaft: tuple[Floats, Floats]
    neck_base: Floats
    alpha_point: Floats | None


def measure_proximal_femur(
    bone: Bone, head: Sphere, axis: Floats, anterior: Floats, known: Floats | None = None
) -> ProximalFemur:
    """Find the neck and the upper shaft of a femur whose head is known.

    axis : unit direction of the whole shaft, proximal.  anterior : unit.  known : the neck's centre as it was
    found on nearly the same surface.
    """
    low = float((bone.points @ axis).min())
    length = float(head.center @ axis) - low
    center, up, _ = shaft_line(bone, axis, low + 0.58 * length, low + 0.80 * length)
    neck_center, area = _neck_center(bone, head, center, up, known)
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


def _neck_center(
    bone: Bone, head: Sphere, shaft_point: Floats, up: Floats, known: Floats | None = None
) -> tuple[Floats, float]:
    """Centroid of the neck about its narrowest section, the axis turned towards it until it settles.

    Sections up to about 1.3 times the narrowest count: one of them alone turns with each bump of the surface.
    """
    offset = head.center - shaft_point
    aside = offset - (offset @ up) * up
    target = head.center - aside - 0.78 * float(np.linalg.norm(aside)) * up
    n = unit((target if known is None else known) - head.center)
    r = head.radius_mm
    center, area = head.center, 0.0
    steps = np.linspace(0.75, 2.0, 26 if known is None else 12) * r
    for _ in range(12 if known is None else 1):
        areas, centers = [], []
        for t, loops in zip(steps, sections(bone, head.center, n, steps), strict=True):
            loop = main_loop(loops, head.center + t * n)
            if loop is not None and np.linalg.norm(loop.centroid - head.center - t * n) < 0.8 * r:
                areas.append(loop.area_mm2)
                centers.append(loop.centroid)
        if len(areas) < 6:
            raise LandmarkError(f"the neck of {bone.name} could not be followed")
        small = np.array(areas)
        weight = np.exp(-(((small / small.min() - 1.0) / NECK_WIDER) ** 2))
        center = np.average(np.array(centers), axis=0, weights=weight)
        area = float(small.min())
        before, n = n, unit(center - head.center)
        if np.linalg.norm(before - n) < 1e-6:
            break
    if not 0.2 < area / (np.pi * r * r) < 0.98:
        raise LandmarkError(f"the neck of {bone.name} is {area:.0f} mm² at its narrowest: not a neck")
    return center, area


def _departure(bone: Bone, head: Sphere, neck: Floats, up: Floats, anterior: Floats) -> Floats | None:
    """Anterior point where head and neck part: there the surface leaves the sphere.

    The height over the sphere is averaged over a wedge about the oblique axial plane and smoothed along it by
    straight lines, so that one facet or one bump of the noise does not tell.
    """
    front = np.cross(neck, up)
    front = unit(front if front @ anterior > 0 else -front)
    beside = np.cross(neck, front)
    middles, areas = side_middles(bone, head.center, ALPHA_REACH * head.radius_mm)
    near = np.linalg.norm(middles - head.center, axis=1) < ALPHA_REACH * head.radius_mm
    offset, areas = middles[near] - head.center, areas[near]
    radius = fit_sphere(
        middles[near], areas, head.center, head.radius_mm, max(1.2, 0.12 * bone.edge_mm)
    ).radius_mm  # fmt: skip
    far = np.linalg.norm(offset, axis=1)
    height = far - radius - ALPHA_TOLERANCE_MM
    turned = np.degrees(np.arctan2(offset @ beside, offset @ front)) / ALPHA_WEDGE_DEG
    angle = np.degrees(np.arccos(np.clip(-(offset @ neck) / far, -1.0, 1.0)))
    keep = (np.abs(turned) < 1.0) & (height < 0.5 * radius)
    angle, height, areas = angle[keep], height[keep], (areas * (1.0 - turned**2))[keep]
    arcs = np.arange(*ALPHA_ARCS_DEG)
    close = np.exp(-0.5 * ((angle - arcs[:, None]) / ALPHA_SMOOTH_DEG) ** 2) * areas
    mass = close.sum(axis=1)
    if (mass <= 1e-9).any():
        return None
    middle, level = close @ angle / mass, close @ height / mass
    spread = np.maximum(close @ angle**2 / mass - middle**2, 1e-9)
    slope = (close @ (angle * height) / mass - middle * level) / spread
    level = level + slope * (arcs - middle)
    if level[0] <= 0.0 or (level > 0.0).all():
        return None
    k = int(np.argmax(level <= 0.0))
    at = np.radians(arcs[k - 1] + (arcs[k] - arcs[k - 1]) * level[k - 1] / (level[k - 1] - level[k]))
    return np.asarray(head.center + head.radius_mm * (np.sin(at) * front - np.cos(at) * neck))
