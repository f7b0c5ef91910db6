"""Landmarks of a femur, whole or cut, from its shape alone.

The way: the knee end is recognised by its intercondylar notch; the posterior and the distal condylar lines
are tangents that rest on both condyles (edges of a silhouette's convex hull, so no seed point is chosen);
the head is the sphere that covers most of itself; axes and lines are then found in turn until they settle.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from injectplan.alignment.bones import (
    Bone,
    axis_candidates,
    bitangent,
    hull_area,
    hull_indices,
    sections,
    seen_until,
    shaft_line,
    smooth_rests,
)
from injectplan.alignment.bumps import levelled
from injectplan.alignment.fits import (
    Cylinder,
    Sphere,
    find_sphere,
    fit_cylinder,
    fit_sphere,
    frame_of,
    tukey,
)  # fmt: skip
from injectplan.alignment.hip import ProximalFemur, measure_proximal_femur
from injectplan.alignment.roughness import shaft_roughness_mm
from injectplan.errors import LandmarkError
from injectplan.frames import unit
from injectplan.kernels.cast import Floats

# Bounds of the human adult and adolescent bone, mm; wider than the published means ± 4 SD.
CUT_MM = 1.0  # a resting point nearer than this (and an edge) to a cut lies on it (assumed)
KNEE_WIDTH_MM = (48.0, 115.0)  # epicondylar width 72.5 ± 3.5 (F), 82.7 ± 4.0 (M)
HEAD_RADIUS_MM = (15.0, 34.0)  # head diameter 43 to 48
NOTCH_DEPTH_SHARE = 0.11
NOTCH_HEIGHTS = np.array([0.12, 0.18, 0.24, 0.30, 0.36, 0.42])  # of the width, above the lowest point

CONDYLE_RADIUS_MM = (12.0, 34.0)
MOST_TURNS = 45  # of the search for a cut shaft's axis
MOST_BUMPS = 6  # turns in which bumps under a tangent are levelled
RUN_OFF = 0.02  # radians: steps that were smaller than this and grow again run off (assumed)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class KneeEnd:
    """The knee end seen along an axis: how deep its notch is and where "posterior" points."""

    axis: Floats
    posterior: Floats
    middle: Floats
    width_mm: float
    depth_share: float
    score: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FemurFit:
    """Everything found on a femur; positions in the patient frame, mm.

    The two ends of condylar lines carry the suffixes a and b: a lies along +`across`. `bone` is without the
    bumps on which its tangents would have rested; `bump_mm` the highest of them.
    """

    bone: Bone
    proximal: Floats
    across: Floats
    posterior: Floats
    width_mm: float
    knee_center: Floats
    notch: Floats
    distal: tuple[Floats, Floats]
    condyles: tuple[Floats, Floats]
    epicondyles: tuple[Floats, Floats]
    cylinder: Cylinder
    shaft: tuple[Floats, Floats]
    shaft_residual_mm: float
    length_mm: float
    head: Sphere | None
    head_missing: str
    hip: ProximalFemur | None = None
    hip_missing: str = ""
    roughness_mm: float = 0.0
    bump_mm: float = 0.0


def knee_end(bone: Bone, axis: Floats) -> KneeEnd | None:
    """Look at the far end along -axis: return its notch, None where there is none to speak of."""
    u, v = frame_of(axis)
    s = bone.points @ axis
    low = float(s.min())
    flat = np.stack([bone.points @ u, bone.points @ v], axis=1)
    near = s < low + 45.0
    if near.sum() < 20:
        return None
    ring = flat[near][hull_indices(flat[near])]
    width = float(np.linalg.norm(ring[:, None] - ring[None], axis=2).max())
    best = _deepest_notch(bone, axis, u, v, low, width)
    if best is None or best[1] <= 0.02:
        return None
    outward, depth, length, middle = best
    top = s > s.max() - 12.0
    narrow = 1.0
    if top.sum() >= 4:
        narrow = hull_area(flat[top]) / max(hull_area(flat[near]), 1e-9)
    return KneeEnd(
        axis=axis, posterior=outward[0] * u + outward[1] * v,
        middle=middle[0] * u + middle[1] * v + (low + 0.2 * width) * axis,
        width_mm=width, depth_share=depth, score=depth * (length / width) * max(0.0, 1.0 - narrow),
    )  # fmt: skip


def _deepest_notch(
    bone: Bone, axis: Floats, u: Floats, v: Floats, low: float, width: float
) -> tuple[Floats, float, float, Floats] | None:
    """The notch that sections at several heights show: outward normal, depth share, length, middle.

    Far down the condyles stand apart in front as well; only behind does the gap last through all heights.
    """
    found = []
    heights = low + width * NOTCH_HEIGHTS
    for loops in sections(bone, np.zeros(3), axis, heights):
        if not loops:
            continue
        outline = np.concatenate([loop.points for loop in loops])
        points = np.stack([outline @ u, outline @ v], axis=1)
        if len(points) < 12:
            continue
        ring = points[hull_indices(points)]
        edges = np.roll(ring, -1, axis=0) - ring
        length = np.linalg.norm(edges, axis=1)
        for i in np.argsort(-length)[:4]:
            along = edges[i] / length[i]
            t = (points - ring[i]) @ along / length[i]
            inside = (t > 0.4) & (t < 0.6)
            if length[i] < 0.25 * width or not inside.any():
                continue
            # under the edge's middle the nearest bone lies as deep as the notch
            depth = float(((points[inside] - ring[i]) @ np.array([-along[1], along[0]])).min()) / width
            found.append((np.array([along[1], -along[0]]), depth, float(length[i]), ring[i] + 0.5 * edges[i]))
    if not found:
        return None
    normals = np.array([f[0] for f in found])
    merit = np.array([f[1] * f[2] for f in found])
    alike = normals @ normals.T > 0.85
    k = int(np.argmax((alike * merit).sum(axis=1)))
    mates = np.flatnonzero(alike[k])
    best = found[mates[int(np.argmax(merit[mates]))]]
    return best[0], best[1], float(merit[mates].sum()) / (best[1] * len(NOTCH_HEIGHTS)), best[3]


def find_knee_ends(bone: Bone, toward: Floats | None) -> list[KneeEnd]:
    """Rank the axes along which the notch is deep and the bone narrows into a shaft, best first."""
    candidates = axis_candidates(bone, toward)
    ends = [knee_end(bone, axis) for axis in candidates]
    found = [end for end in ends if end is not None]
    sized = [end for end in found if KNEE_WIDTH_MM[0] <= end.width_mm <= KNEE_WIDTH_MM[1]]
    found = sized or found
    if toward is not None and len(candidates) > 2:  # a long bone tells its own direction
        found = [end for end in found if end.axis @ unit(toward) > 0.0]
    if not found:
        raise LandmarkError(f"{bone.name} shows no intercondylar notch: it is not a femur's knee end")
    best = max(found, key=lambda end: end.score)
    if best.depth_share < NOTCH_DEPTH_SHARE:
        raise LandmarkError(
            f"the notch of the {bone.name} is {best.depth_share * best.width_mm:.1f} mm deep (needs "
            f"{NOTCH_DEPTH_SHARE * best.width_mm:.1f} mm): this is not a femur, or its condyles are cut"
        )
    if not KNEE_WIDTH_MM[0] <= best.width_mm <= KNEE_WIDTH_MM[1]:
        raise LandmarkError(
            f"the knee end of {bone.name} is {best.width_mm:.0f} mm wide (a femur's is "
            f"{KNEE_WIDTH_MM[0]:.0f} to {KNEE_WIDTH_MM[1]:.0f} mm): is it one femur, in mm?"
        )
    order = sorted(found, key=lambda end: -end.score)
    return [end for end in order if end.depth_share >= NOTCH_DEPTH_SHARE and end.score > 0.25 * best.score]


def find_head(bone: Bone, axis: Floats, seed: int) -> Sphere:
    """Find the femoral head at the proximal end; a bad or cut head raises LandmarkError."""
    s = bone.points @ axis
    length = float(np.ptp(s))
    top = s > s.max() - max(0.16 * length, 60.0)
    points, weights = bone.points[top], bone.weights[top]
    scale = max(1.2, 0.12 * bone.edge_mm)
    sphere = find_sphere(points, weights, radii=HEAD_RADIUS_MM, scale=scale, seed=seed)
    if not HEAD_RADIUS_MM[0] <= sphere.radius_mm <= HEAD_RADIUS_MM[1]:
        raise LandmarkError(f"the best sphere has a radius of {sphere.radius_mm:.1f} mm, no femoral head's")
    if sphere.coverage < 0.38:
        raise LandmarkError(
            f"the best sphere is covered to {100 * sphere.coverage:.0f} % (a head needs 38 %): "
            "the femoral head is not in view"
        )
    return sphere


def _condyle_cylinder(
    bone: Bone, proximal: Floats, across: Floats, posterior: Floats,
    condyles: tuple[Floats, Floats], width: float, notch: Floats, again: Cylinder | None = None,
) -> tuple[Cylinder, float]:  # fmt: skip
    """Cylinder through both posterior condyles (only their crests count, not their flanks), and their middle.

    The middle is the coordinate along the axis, from its point, half way between the two crests' centroids.
    """
    radius = 0.26 * width
    center = 0.5 * (condyles[0] + condyles[1]) - radius * posterior
    axis = across
    if again is not None:
        radius, center, axis = again.radius_mm, again.center, again.axis
    fit = None
    for _ in range(6 if again is None else 1):
        offset = bone.points - center
        along = offset @ axis
        radial = offset - along[:, None] * axis
        back = unit(posterior - (posterior @ axis) * axis)
        down = np.cross(axis, back)
        down = down if down @ proximal < 0 else -down
        angle = np.degrees(np.arctan2(radial @ down, radial @ back))
        distance = np.linalg.norm(radial, axis=1)
        crest = np.abs(bone.normals @ axis) < 0.45
        facing = (bone.normals * radial).sum(axis=1) > 0.7 * distance
        keep = (
            (angle > -20.0) & (angle < 80.0) & crest & facing
            & (np.abs(along) < 0.62 * width) & (np.abs(distance - radius) < 0.35 * radius)
        )  # fmt: skip
        if keep.sum() < 12:
            raise LandmarkError(f"the posterior condyles of the {bone.name} could not be fitted")
        fit = fit_cylinder(
            bone.points[keep], bone.weights[keep], center, axis, radius, max(1.5, 0.2 * bone.edge_mm),
            known=again is not None,
        )  # fmt: skip
        center, axis, radius = fit.center, fit.axis, fit.radius_mm
        axis = axis if axis @ across > 0 else -axis
    assert fit is not None
    if not CONDYLE_RADIUS_MM[0] <= fit.radius_mm <= CONDYLE_RADIUS_MM[1]:
        raise LandmarkError(f"the condyles' cylinder has a radius of {fit.radius_mm:.1f} mm, no femur's")
    offset = bone.points[keep] - center
    radial = offset - (offset @ axis)[:, None] * axis
    w = bone.weights[keep] * tukey(np.linalg.norm(radial, axis=1) - radius, 2.0)
    m = offset @ axis
    divide = float((notch - center) @ axis)
    inner, outer = m < divide, m >= divide
    if w[inner].sum() <= 0.0 or w[outer].sum() <= 0.0:
        raise LandmarkError(f"only one posterior condyle of the {bone.name} is in view")
    middle = 0.5 * sum(float(np.average(m[side], weights=w[side])) for side in (inner, outer))
    return Cylinder(center=center, axis=axis, radius_mm=radius, residual_mm=fit.residual_mm), middle


def _notch_point(points: Floats, proximal: Floats, across: Floats, left: Floats, right: Floats) -> Floats:
    """The saddle of the distal outline between the condyles: where its lowest point is highest."""
    a, b = float(left @ across), float(right @ across)
    m, y = points @ across, points @ proximal
    bins = np.linspace(a + 0.2 * (b - a), b - 0.2 * (b - a), 25)
    half = max(0.06 * abs(b - a), 1.5)
    lowest = np.full(len(bins), np.nan)
    index = np.zeros(len(bins), dtype=np.int64)
    for k, at in enumerate(bins):
        near = np.flatnonzero(np.abs(m - at) < half)
        if len(near):
            index[k] = near[np.argmin(y[near])]
            lowest[k] = y[index[k]]
    if not np.isfinite(lowest).any():
        raise LandmarkError("the intercondylar notch could not be found")
    # the parabola through the saddle is less ragged than its highest bin
    k = int(np.nanargmax(lowest))
    around = [i for i in range(max(0, k - 4), min(len(bins), k + 5)) if np.isfinite(lowest[i])]
    at = bins[k]
    if len(around) >= 5:
        c2, c1, _ = np.polyfit(bins[around] - bins[k], lowest[around], 2)
        if c2 < 0 and abs(c1 / (2 * c2)) < 4.0:
            at = bins[k] - c1 / (2 * c2)
    point = points[index[k]]
    return point + (at - point @ across) * across


def measure_femur(bone: Bone, *, toward: Floats | None = None, seed: int = 0) -> FemurFit:
    """Find a femur's landmarks.

    toward : roughly proximal, where the tibia says so; it guides a short piece of bone.
    LandmarkError where the shape is no femur's knee end or a fit fails; a head outside the view is told in
    `head_missing` instead.
    """
    failure: LandmarkError | None = None
    for end in find_knee_ends(bone, toward)[:4]:
        try:
            return _measure_from(bone, end, seed)
        except LandmarkError as error:
            failure = failure or error
    assert failure is not None
    raise failure


def remeasure_femur(fit: FemurFit, bone: Bone) -> FemurFit:
    """Measure nearly the same surface again, from what was found on it before: nothing is searched for."""
    start = KneeEnd(
        axis=fit.proximal, posterior=fit.posterior, middle=fit.notch + 0.25 * fit.width_mm * fit.proximal,
        width_mm=fit.width_mm, depth_share=0.0, score=0.0,
    )  # fmt: skip
    head = None
    if fit.head is not None:
        near = np.linalg.norm(bone.points - fit.head.center, axis=1) < 1.5 * fit.head.radius_mm
        scale = max(1.2, 0.12 * bone.edge_mm)
        head = fit_sphere(
            bone.points[near], bone.weights[near], fit.head.center, fit.head.radius_mm, scale, known=True
        )  # fmt: skip
    return _measure_from(bone, start, 0, head=head, again=fit)


def _measure_from(
    bone: Bone, end: KneeEnd, seed: int, *, head: Sphere | None = None, again: FemurFit | None = None
) -> FemurFit:
    """Refine everything from one rough view of the knee end.

    again : an earlier fit of nearly the same surface, whose head (or none) is known.
    """
    axis, width = end.axis, end.width_mm
    missing = "" if again is None else again.head_missing
    length = float(np.ptp(bone.points @ axis))
    if again is not None:
        pass
    elif length < 2.4 * width:
        missing = f"the femur is seen over {length:.0f} mm only; its head is outside the view"
    else:
        try:
            head = find_head(bone, axis, seed)
        except LandmarkError as error:
            missing = f"no femoral head: {error}"
    proximal, posterior, middle = axis, end.posterior, end.middle
    if again is None:
        shaft = _femur_shaft(bone, proximal, width, whole=head is not None)
    else:
        shaft = _femur_shaft(bone, again.shaft[1], width, whole=head is not None, turns=1)
    bump = 0.0 if again is None else again.bump_mm
    for turn in range(MOST_BUMPS + 8 if again is None else 2):
        y = unit(head.center - middle) if head is not None else shaft[1]
        across, posterior, condyles = _posterior_line(bone, y, posterior, middle, width)
        distal = _distal_line(bone, y, across, middle, width)
        if again is None and turn < MOST_BUMPS:
            before = bone
            bone, behind = levelled(bone, condyles, posterior, across)
            bone, below = levelled(bone, distal, -y, across)
            bump = max(bump, behind, below)
            if bone is not before:
                continue
        region = bone.points[bone.points @ y < float((bone.points @ y).min()) + 0.6 * width]
        # the notch is the condyles' own: looked at square to their distal line, not to the leg's axis
        line = unit(distal[0] - distal[1] - ((distal[0] - distal[1]) @ posterior) * posterior)
        square = np.cross(line, posterior)
        square = square if square @ y > 0 else -square
        notch = _notch_point(region, square, line, distal[1], distal[0])
        last = middle
        middle = notch + 0.25 * width * y
        if np.linalg.norm(middle - last) < 1e-3 and np.linalg.norm(y - proximal) < 1e-5:
            break
        proximal = y
    condyles = smooth_rests(bone, condyles, posterior, across)
    line = condyles[0] - condyles[1]
    across = unit(line - (line @ proximal) * proximal)
    new = np.cross(across, proximal)
    posterior = new if new @ posterior > 0 else -new
    distal = smooth_rests(bone, distal, -proximal, across)
    known = None if again is None else again.cylinder
    cylinder, crests = _condyle_cylinder(bone, proximal, across, posterior, condyles, width, notch, known)
    knee_center = _knee_center(cylinder, notch, crests)
    if head is not None and again is None:
        shaft = _femur_shaft(bone, shaft[1], width, whole=True)
    near = bone.points @ proximal < float((bone.points @ proximal).min()) + 0.6 * width
    m = bone.points[near] @ cylinder.axis
    epicondyles = (bone.points[near][int(np.argmax(m))], bone.points[near][int(np.argmin(m))])
    hip, hip_missing = None, missing
    if head is not None:
        try:
            neck = None if again is None or again.hip is None else again.hip.neck_center
            hip = measure_proximal_femur(bone, head, shaft[1], -posterior, neck)
        except LandmarkError as error:
            hip_missing = str(error)
    return FemurFit(
        bone=bone, proximal=proximal, across=across, posterior=posterior, width_mm=width,
        knee_center=knee_center, notch=notch, distal=distal, condyles=condyles, epicondyles=epicondyles,
        cylinder=cylinder, shaft=shaft[:2], shaft_residual_mm=shaft[2],
        length_mm=float(np.ptp(bone.points @ proximal)), head=head,
        head_missing=missing, hip=hip, hip_missing=hip_missing,
        bump_mm=bump, roughness_mm=again.roughness_mm
        if again is not None
        else 0.0
        if head is None
        else shaft_roughness_mm(bone, shaft[1]),
    )  # fmt: skip


def _femur_shaft(
    bone: Bone, axis: Floats, width: float, *, whole: bool, turns: int | None = None
) -> tuple[Floats, Floats, float]:
    """Shaft axis: the whole diaphysis, or above the condyles' flare as far as a cut bone reaches.

    A few millimetres of flare lean the axis, which moves the window, which leans the axis more: where the
    steps grow again the turn where they were smallest is kept.
    """
    direction, least = axis, np.inf
    found = (np.zeros(3), axis, 0.0)
    for _ in range(turns or (5 if whole else MOST_TURNS)):
        s = bone.points @ direction
        low, high = float(s.min()), float(s.max())
        if whole:
            bottom, top = low + 0.28 * (high - low), low + 0.75 * (high - low)
        else:
            top = seen_until(bone, direction) - 2.0
            bottom = max(low + 0.46 * width, min(low + 0.95 * width, top - 45.0))
        if top - bottom < 5.0:
            if least < RUN_OFF:
                break
            raise LandmarkError(
                f"the {bone.name} shows {max(top - bottom, 0):.0f} mm of shaft "
                "above the condyles (needs 5 mm)"
            )
        line = shaft_line(bone, direction, bottom, top)
        step = float(np.linalg.norm(line[1] - direction))
        if not whole and least < RUN_OFF and step > 2.0 * least:
            break
        direction = line[1]
        if step < least or whole:
            found, least = line, step
        if step < 1e-9:
            break
    return found


def _posterior_line(
    bone: Bone, y: Floats, posterior: Floats, middle: Floats, width: float
) -> tuple[Floats, Floats, tuple[Floats, Floats]]:
    """The tangent on both posterior condyles, seen along y; returns across, posterior and its two rests."""
    s = bone.points @ y
    region = bone.points[s < s.min() + 0.5 * width]
    back = unit(posterior - (posterior @ y) * y)
    side = np.cross(y, back)
    for _ in range(4):
        flat = np.stack([region @ side, region @ back], axis=1)
        i, j = bitangent(flat, np.array([0.0, 1.0]), float(middle @ side))
        line = region[j] - region[i]
        side = unit(line - (line @ y) * y)
        new = np.cross(side, y)
        back = new if new @ back > 0 else -new
    gap = float((region[j] - region[i]) @ side)
    if not 0.30 * width < gap < 0.95 * width:
        raise LandmarkError(
            f"the posterior condyles of {bone.name} lie {gap:.0f} mm apart, {width:.0f} mm wide"
        )
    for rest in (region[i], region[j]):
        _refuse_cut(bone, rest, "posterior")
    return side, back, (region[j], region[i])


def _refuse_cut(bone: Bone, rest: Floats, which: str) -> None:
    """Raise LandmarkError where a condyle's resting point lies on the edge of the field of view.

    A tangent to a cut is a line of the cut, and looks like any other: 90 degrees under a level one.
    """
    faces = [bone.border] + ([bone.cap[1]] if bone.cap is not None else [])
    nearest = min((float(np.linalg.norm(f - rest, axis=1).min()) for f in faces if len(f)), default=np.inf)
    if nearest < CUT_MM + bone.edge_mm:
        raise LandmarkError(
            f"a {which} condyle of {bone.name} is cut by the scan's edge ({nearest:.1f} mm from where it "
            "would rest): its tangent cannot be drawn; a scan that holds both condyles is needed"
        )


def _distal_line(
    bone: Bone, y: Floats, across: Floats, middle: Floats, width: float
) -> tuple[Floats, Floats]:
    """The tangent under both distal condyles, seen from the front; first the rest along +across."""
    s = bone.points @ y
    region = bone.points[s < s.min() + 0.6 * width]
    flat = np.stack([region @ across, region @ y], axis=1)
    i, j = bitangent(flat, np.array([0.0, -1.0]), float(middle @ across))
    for rest in (region[i], region[j]):
        _refuse_cut(bone, rest, "distal")
    return region[j], region[i]


def _knee_center(cylinder: Cylinder, notch: Floats, crests: float) -> Floats:
    """The point of the condyles' axis half way between the notch and the middle of the crests."""
    at = 0.5 * (crests + float((notch - cylinder.center) @ cylinder.axis))
    return np.asarray(cylinder.center + at * cylinder.axis)
