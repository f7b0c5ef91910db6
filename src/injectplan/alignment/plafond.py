"""The lower end of a tibia: the joint surface above the talus, the medial malleolus beside it.

Surfaces are weighed by the area they show along the bone, triangle by triangle, so that neither the mesh's
density nor the steps of its voxels count. What the edge of the view took away is looked for, and refused.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from injectplan.alignment.bones import Bone, face_areas, flat_end, main_loop, section, sections, slice_mm
from injectplan.alignment.fits import tukey
from injectplan.errors import LandmarkError
from injectplan.frames import unit
from injectplan.kernels.cast import Floats

CORE_MM = 10.0  # half the width of the square of joint surface that is fitted; 25 x 30 mm are to be had
CORE_SHARE = 0.75  # of that square that must be in view
PILON_UP_MM = 15.0  # above the joint surface the bone is a pillar: its section tells where the surface lies
PILON_ABOVE_MM = 8.0
NEAR_MM = 12.0  # above and below the joint surface's level; a stepped shaft shows faces further up
EDGE_CLEAR_MM = 3.0  # from the edge of the view (assumed)
MALLEOLUS_BELOW_MM = np.array([6.5, 7.5, 8.5, 9.5])  # where it stands alone and has not yet ended
MALLEOLUS_MM2 = (20.0, 450.0)
FLAT_TIP_MM2 = 35.0  # a flat face ends the malleolus: near 1 mm of it is cut (assumed)
SCALE_MM = 2.5
EVEN_MM = 0.3  # residual of clean plafonds: 0.18 to 0.22 mm
MOST_SLOPE = 0.75  # of the joint surface against the shaft (37 degrees)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AnkleFit:
    """A tibia's lower end, mm; `missing` says why what is None is (landmark name → reason).

    center : centroid of the joint surface.  plafond : two points of its line towards the malleolus, the first
    along the plateau's +`across`.  beside : unit direction towards the malleolus.  residual_mm : of the fit.
    uneven_mm : what of it is neither a clean joint surface's nor the steps of slices.
    """

    center: Floats
    radius_mm: float
    residual_mm: float
    pilon_center: Floats
    plafond: tuple[Floats, Floats] | None
    beside: Floats | None
    malleolus: Floats | None
    missing: dict[str, str]
    uneven_mm: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Faces:
    """Triangles that look along one direction: middles (n, 3) and the area they show along it (n,) mm²."""

    middle: Floats
    shown: Floats


def faces_along(bone: Bone, direction: Floats) -> Faces:
    """The bone's triangles that face a unit direction, with the area they show along it."""
    middle, area = face_areas(bone)
    shown = area @ direction
    keep = shown > 0.0
    return Faces(middle=middle[keep], shown=shown[keep])


def fit_saddle(
    faces: Faces, at: Floats, up: Floats, across: Floats, half: float
) -> tuple[Floats, float, float]:
    """Fit height = c0 + c1 m + c2 a + c3 a² + c4 m² over the square |m|, |a| < half around a point.

    m runs along `across`, a square to it and to `up`. Returns c (5,), the share of the square that the faces
    cover, the residual in mm. Fewer than 8 faces raise LandmarkError.
    """
    fore = np.cross(across, up)
    offset = faces.middle - at
    m, a, h = offset @ across, offset @ fore, offset @ up
    inside = (np.abs(m) < half) & (np.abs(a) < half)
    if np.count_nonzero(inside) < 8:
        raise LandmarkError("the joint surface is not in view")
    m, a, h, shown = m[inside], a[inside], h[inside], faces.shown[inside]
    design = np.stack([np.ones_like(m), m, a, a * a - half**2 / 3.0, m * m - half**2 / 3.0], axis=1)
    c = np.array([_median(h, shown), 0.0, 0.0, 0.0, 0.0])
    width = 8.0
    for _ in range(40):
        w = shown * tukey(h - design @ c, width)
        if np.count_nonzero(w) < 8:
            raise LandmarkError("the joint surface is not in view")
        normal = design.T @ (design * w[:, None])
        move = np.linalg.solve(normal + 1e-6 * np.diag(np.diag(normal)), design.T @ (w * h)) - c
        c = c + move
        if width <= SCALE_MM and np.abs(move).max() < 1e-9:
            break
        width = max(SCALE_MM, 0.8 * width)
    off = np.abs(h - design @ c)
    near = off < SCALE_MM
    share = float(shown[near].sum()) / (4.0 * half * half)
    residual = float(np.sqrt(np.average(off[near] ** 2, weights=shown[near]))) if near.any() else np.inf
    return c, share, residual


def uneven_mm(bone: Bone, direction: Floats, residual_mm: float, even_mm: float) -> float:
    """How uneven a joint surface is beyond a clean one's `even_mm`; 0 where slices across it may be why."""
    if residual_mm <= even_mm or slice_mm(bone, direction) > 0.0:
        return 0.0
    return float(np.sqrt(residual_mm**2 - even_mm**2))


def _median(values: Floats, weights: Floats) -> float:
    order = np.argsort(values)
    share = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(share, 0.5 * share[-1])])


def measure_ankle(
    bone: Bone, y: Floats, across: Floats, knee: Floats, edge: Floats, known: Floats | None = None
) -> AnkleFit:
    """Find the joint surface above the talus, and the malleolus beside it.

    y : unit, proximal.  across : unit, roughly medial or lateral.  knee : the plateau's centre.
    edge : points (k, 3) on the edge of the view.  known : the joint surface's centre as it was found on
    nearly the same surface, whose ends are not looked at again.
    LandmarkError where the joint surface is not in view, or cut; the malleolus is told in `missing` then.
    """
    down = faces_along(bone, -y)
    at = knee + (float(((bone.points - knee) @ y).min()) + PILON_UP_MM) * y if known is None else known
    center, radius = at, 0.0
    for _ in range(12 if known is None else 2):
        pilon = main_loop(section(bone, center + PILON_UP_MM * y, y), center)
        if pilon is None or pilon.area_mm2 < 200.0:
            raise LandmarkError("its lower end could not be cut: it is not in view")
        radius = float(np.sqrt(pilon.area_mm2 / np.pi))
        before = center
        center = _level(down, pilon.centroid, y, radius)
        if np.linalg.norm(center - before) < 1e-6:
            break
    edge = edge[(edge - center) @ y < PILON_UP_MM]
    side = unit(across - (across @ y) * y)
    near = np.abs((down.middle - center) @ y) < NEAR_MM
    down = Faces(middle=down.middle[near], shown=down.shown[near])
    saddle, _, _ = fit_saddle(down, center, y, side, CORE_MM)
    center = _centroid(down, center, y, side, saddle, radius, edge)
    missing: dict[str, str] = {}
    flat_mm2 = max(FLAT_TIP_MM2, bone.edge_mm**2)  # one facet of a coarse mesh is no cut
    if known is None:
        edge = np.concatenate([edge, flat_end(bone, y, float(center @ y) - 2.0, flat_mm2)])
    # a joint surface that leans against the shaft by 10 degrees has its malleolus along its own normal
    leaning = unit(y - saddle[1] * side - saddle[2] * np.cross(side, y))
    beside = _malleolus_direction(bone, center, y, leaning, edge, missing)
    if beside is not None:
        side = beside
    saddle, share, residual = fit_saddle(down, center, y, side, CORE_MM)
    if share < CORE_SHARE or residual > 2.0 or np.hypot(saddle[1], saddle[2]) > MOST_SLOPE:
        raise LandmarkError(
            f"the joint surface above the talus is seen over {100 * share:.0f} % of its middle (needs "
            f"{100 * CORE_SHARE:.0f} %) or is too rough ({residual:.1f} mm)"
        )
    above = main_loop(section(bone, center + PILON_ABOVE_MM * y, y), center)
    if above is None:
        raise LandmarkError("its lower end could not be cut")
    tip = _tip(bone, center, y, edge, missing)
    first = 1.0 if side @ across > 0 else -1.0
    ends = [np.asarray(center + s * first * CORE_MM * (side + saddle[1] * y)) for s in (1.0, -1.0)]
    return AnkleFit(
        center=center, radius_mm=radius, residual_mm=residual,
        uneven_mm=uneven_mm(bone, -y, residual, EVEN_MM), pilon_center=above.centroid,
        plafond=None if beside is None else (ends[0], ends[1]), beside=beside, malleolus=tip, missing=missing,
    )  # fmt: skip


def _level(down: Faces, at: Floats, y: Floats, radius: float) -> Floats:
    """The point of the line through `at` along y on the first surface met from below: its median height."""
    offset = down.middle - at
    h = offset @ y
    aside = np.linalg.norm(offset - h[:, None] * y, axis=1)
    core = (aside < 0.6 * radius) & (h < 5.0)
    if down.shown[core].sum() < 0.4 * np.pi * (0.6 * radius) ** 2:
        raise LandmarkError("the joint surface above the talus is not in view")
    return np.asarray(at + _median(h[core], down.shown[core]) * y)


def _centroid(
    down: Faces, center: Floats, y: Floats, side: Floats, saddle: Floats, radius: float, edge: Floats
) -> Floats:
    """Centroid of the faces on the surface fitted; cut by the edge of the view it raises LandmarkError."""
    fore = np.cross(side, y)
    offset = down.middle - center
    m, a, h = offset @ side, offset @ fore, offset @ y
    square = CORE_MM**2 / 3.0
    # beyond the square that was fitted the surface goes on straight
    bend_a, bend_m = (np.minimum(x * x, CORE_MM**2) - square for x in (a, m))
    level = saddle[0] + saddle[1] * m + saddle[2] * a + saddle[3] * bend_a + saddle[4] * bend_m
    weight = down.shown * tukey(h - level, SCALE_MM) * (np.hypot(m, a) < 1.25 * radius)
    seen = weight > 0.0
    if float(weight.sum()) < 150.0:
        raise LandmarkError(f"the plafond's fit covers {weight.sum():.0f} mm² (needs 150 mm²)")
    if len(edge):
        near = down.middle[seen & (np.hypot(m, a) < 1.25 * radius)]
        gap = float(np.sqrt(((near[:, None] - edge[None]) ** 2).sum(axis=2).min()))
        if gap < EDGE_CLEAR_MM:
            raise LandmarkError(
                f"the joint surface above the talus reaches the edge of the view ({gap:.1f} mm, needs "
                f"{EDGE_CLEAR_MM:g} mm): it is cut"
            )
    mean = np.average(down.middle[seen], axis=0, weights=weight[seen])
    aside = mean - center
    height = saddle[0] + saddle[1] * float(aside @ side) + saddle[2] * float(aside @ fore)
    return np.asarray(mean + (height - float(aside @ y)) * y)


def _malleolus_direction(
    bone: Bone, center: Floats, y: Floats, leaning: Floats, edge: Floats, missing: dict[str, str]
) -> Floats | None:
    """Unit direction square to y from the joint surface's centre to the malleolus beside and below it.

    leaning : the joint surface's normal; below along it the malleolus is looked for where it does not stand
    below along the shaft.
    """
    names = ("plafond_medial", "plafond_lateral", "pilon_axis")
    if len(edge):
        shown = -float(((edge - center) @ y).max())
        if shown < MALLEOLUS_BELOW_MM[-1] + 1.0:
            why = (
                f"the edge of the view cuts the medial malleolus {shown:.0f} mm below the joint surface "
                f"(needs {MALLEOLUS_BELOW_MM[-1] + 1.0:g} mm)"
            )
            missing.update(dict.fromkeys(names, why))
            return None
    for down in (y, leaning):
        found = []
        for loops in sections(bone, center, down, -MALLEOLUS_BELOW_MM):
            large = [p for p in loops if MALLEOLUS_MM2[0] < p.area_mm2 < MALLEOLUS_MM2[1]]
            if large:
                aside = large[0].centroid - center
                found.append(aside - (aside @ y) * y)
        if len(found) > 1:
            break
    if len(found) < 2:
        missing.update(dict.fromkeys(names, "the medial malleolus does not stand below the joint surface"))
        return None
    aside = np.mean(found, axis=0)
    if not 8.0 < np.linalg.norm(aside) < 50.0:
        missing.update(dict.fromkeys(names, "the medial malleolus does not stand beside the joint surface"))
        return None
    return unit(aside)


def _tip(bone: Bone, center: Floats, y: Floats, edge: Floats, missing: dict[str, str]) -> Floats | None:
    """Middle of the lowest 6 mm, beside the joint surface; None where it is cut or not there."""
    s = (bone.points - center) @ y
    low = float(s.min())
    if len(edge):
        missing["medial_malleolus"] = (
            "the tip of the medial malleolus is cut by the edge of the view (or flat by thick slices)"
        )
        return None
    tip = s < low + 6.0
    middle = np.average(bone.points[tip], axis=0, weights=bone.weights[tip])
    aside = middle - center
    aside = aside - (aside @ y) * y
    if not 8.0 < np.linalg.norm(aside) < 50.0 or low > -4.0:
        missing["medial_malleolus"] = "the medial malleolus does not stand beside the joint surface"
        return None
    return np.asarray(middle)
