"""Landmarks of a tibia, whole or cut, and of the ankle's bones, from their shape alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import Delaunay

from injectplan.alignment.bones import (
    Bone,
    axis_candidates,
    bitangent,
    cut_facing,
    hull_area,
    hull_indices,
    main_loop,
    section,
    seen_until,
    shaft_line,
    smooth_rests,
    view_edge,
)  # fmt: skip
from injectplan.alignment.femur import CUT_MM, knee_end
from injectplan.alignment.fits import fit_plane, frame_of
from injectplan.alignment.plafond import AnkleFit, measure_ankle
from injectplan.alignment.roughness import shaft_roughness_mm
from injectplan.errors import LandmarkError
from injectplan.frames import unit
from injectplan.kernels.cast import Floats

PLATEAU_WIDTH_MM = (45.0, 105.0)  # 73.5 ± 5.6
# Section 0.40 of the width under the plateau over the one at 0.14: four tibiae, whole, cut obliquely or
# rough, 0.57 to 0.62; tali and patellae of any size 0.9 to 1.4.
NARROWS_FROM, NARROWS = (0.14, 0.40), 0.8
PLATEAU_ACROSS = (0.12, 0.42)  # of the width, from the middle: between the eminence and the rim
MOST_CUT = 0.3  # of a plateau: on two tibiae MPTA is 0.2 degrees off at 0.6 and below, 1.0 from 0.8 on
MOST_CHORD = 0.45  # of the width: 6 mm off one side, where MPTA is 0.3 degrees off (1.3 for 15 mm)
LEANING_MM = 8.0  # by which a cut face may lean against the line at the back (assumed)
NOTCH_SCORE = (
    0.035  # a femur's condyles score 0.07 to 0.10 (four bones), a tibia's plateau 0.004 to 0.018 (six)
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TibiaFit:
    """Everything found on a tibia; positions in the patient frame, mm.

    Pairs are ordered: the first lies along +`across`. `given_width_mm` is the plateau's as it was first seen,
    `edge` holds the points on the edge of the view; `back_missing` why the posterior points do not count.
    """

    bone: Bone
    proximal: Floats
    across: Floats
    posterior: Floats
    width_mm: float
    knee_center: Floats
    plateaus: tuple[Floats, Floats]
    plateau_normal: Floats
    plateau_residual_mm: float
    posterior_rests: tuple[Floats, Floats]
    shaft: tuple[Floats, Floats]
    shaft_residual_mm: float
    length_mm: float
    ankle_missing: str
    ankle: AnkleFit | None
    given_width_mm: float
    edge: Floats
    back_missing: str
    roughness_mm: float = 0.0

    @property
    def ankle_center(self) -> Floats | None:
        """Centroid of the joint surface above the talus, None where it is not in view."""
        return None if self.ankle is None else self.ankle.center


def _plateau_score(bone: Bone, axis: Floats) -> float:
    """How much this looks like a plateau on top of a shaft, 0 when it does not."""
    u, v = frame_of(axis)
    s = bone.points @ axis
    flat = np.stack([bone.points @ u, bone.points @ v], axis=1)
    near, low = s > s.max() - 25.0, s < s.min() + 12.0
    if near.sum() < 12 or low.sum() < 4:
        return 0.0
    area = hull_area(flat[near])
    narrow = 1.0 - hull_area(flat[low]) / max(area, 1e-9)
    up = (bone.normals @ axis > 0.85) & (s > s.max() - 18.0)
    return max(0.0, narrow) * float(bone.weights[up].sum()) / max(area, 1e-9)


def find_plateau(bone: Bone, toward: Floats | None) -> tuple[Floats, float]:
    """Return the rough proximal direction and the plateau's width; no plateau raises LandmarkError."""
    candidates = axis_candidates(bone, toward)
    if toward is not None and len(candidates) > 2:
        candidates = [axis for axis in candidates if axis @ unit(toward) > 0.0] or [unit(toward)]
    scores = [_plateau_score(bone, axis) for axis in candidates]
    best = int(np.argmax(scores))
    if scores[best] < 0.12:
        raise LandmarkError(f"{bone.name} shows no plateau above a shaft: it is not a tibia's knee end")
    axis = candidates[best]
    u, v = frame_of(axis)
    near = bone.points @ axis > float((bone.points @ axis).max()) - 25.0
    ring = np.stack([bone.points[near] @ u, bone.points[near] @ v], axis=1)
    width = float(max(np.ptp(ring @ np.array([np.cos(t), np.sin(t)])) for t in np.arange(0, np.pi, 0.05)))
    if not PLATEAU_WIDTH_MM[0] <= width <= PLATEAU_WIDTH_MM[1]:
        raise LandmarkError(
            f"the plateau of {bone.name} is {width:.0f} mm wide (a tibia's is {PLATEAU_WIDTH_MM[0]:.0f} to "
            f"{PLATEAU_WIDTH_MM[1]:.0f} mm): is it one tibia, in mm?"
        )
    return axis, width


def _refuse_short(bone: Bone, knee: Floats, up: Floats, width: float) -> None:
    """Raise LandmarkError where the bone does not narrow under its plateau: a talus or a patella does not."""
    areas = []
    for share in NARROWS_FROM:
        loop = main_loop(section(bone, knee - share * width * up, up))
        areas.append(0.0 if loop is None else loop.area_mm2)
    if areas[0] <= 0.0 or areas[1] > NARROWS * areas[0]:
        raise LandmarkError(
            f"the {bone.name} does not narrow into a shaft under its plateau ({areas[1]:.0f} mm² "
            f"{NARROWS_FROM[1] * width:.0f} mm down, {areas[0]:.0f} mm² under it): a short bone (a talus?), "
            "not a tibia's knee end"
        )


def _refuse_cut(bone: Bone, knee: Floats, up: Floats, across: Floats, width: float) -> None:
    """Raise LandmarkError where the edge of the view takes a part of a plateau away.

    A cut face is level as a plateau is, and a plane fits it better: MPTA would be that of the scan's edge.
    """
    back = np.cross(up, across)
    m, b = (a.ravel() for a in np.meshgrid(np.linspace(*PLATEAU_ACROSS, 13), np.linspace(-0.2, 0.2, 17)))
    gone = 0.0
    face = cut_facing(bone, up, float(knee @ up) - 0.3 * width)
    if len(face) > 3:
        flat = np.stack([(face - knee) @ across, (face - knee) @ back], axis=1) / width
        hull = Delaunay(flat, qhull_options="QJ")
        gone = max(
            float((hull.find_simplex(np.stack([side * m, b], axis=1)) >= 0).mean()) for side in (1.0, -1.0)
        )
    if gone > MOST_CUT:
        raise LandmarkError(
            f"a plateau of {bone.name} is cut by the scan's edge (about {gone:.0%} of it is gone): its plane "
            "cannot be fitted; a scan that holds both plateaus is needed"
        )
    for side in (across, -across):
        face = cut_facing(bone, side, float(knee @ side) + PLATEAU_ACROSS[0] * width)
        face = face[np.abs((face - knee) @ up) < 0.3 * width]
        long = float(np.ptp(face @ back)) if len(face) else 0.0
        if long > MOST_CHORD * width:
            raise LandmarkError(
                f"one side of the plateau of {bone.name} is cut by the scan's edge over {long:.0f} mm: its "
                "middle and its plane are not told; a scan that holds both plateaus is needed"
            )


def _on_cut(bone: Bone, rests: tuple[Floats, Floats], back: Floats) -> bool:
    """Whether one of the hindmost points lies where the edge of the view cuts the bone."""
    face = cut_facing(bone, back, float(min(rest @ back for rest in rests)) - LEANING_MM)
    return any(
        len(face) and float(np.linalg.norm(face - rest, axis=1).min()) < CUT_MM + bone.edge_mm
        for rest in rests
    )


def _ring_axes(bone: Bone, y: Floats, at: Floats) -> tuple[Floats, Floats, float, float]:
    """Centroid, major axis, full widths (major, minor) of the bone's filled hull in the plane at `at`."""
    loop = main_loop(section(bone, at, y))
    if loop is None:
        raise LandmarkError(f"the {bone.name} could not be cut below its plateau")
    u, v = frame_of(y)
    flat = np.stack([(loop.points - at) @ u, (loop.points - at) @ v], axis=1)
    ring = flat[hull_indices(flat)]
    nxt = np.roll(ring, -1, axis=0)
    cross = ring[:, 0] * nxt[:, 1] - nxt[:, 0] * ring[:, 1]
    area = cross.sum() / 2.0
    center = ((ring + nxt) * cross[:, None]).sum(axis=0) / (6.0 * area)
    p, q = ring - center, nxt - center
    second = (np.einsum("ki,kj->kij", p, p) + np.einsum("ki,kj->kij", q, q)) * 2.0
    second = second + np.einsum("ki,kj->kij", p, q) + np.einsum("ki,kj->kij", q, p)
    moment = (second * cross[:, None, None]).sum(axis=0) / 24.0
    major = np.linalg.eigh(moment)[1][:, 1]
    minor = np.array([-major[1], major[0]])
    return (
        at + center[0] * u + center[1] * v, major[0] * u + major[1] * v,
        float(np.ptp(ring @ major)), float(np.ptp(ring @ minor)),
    )  # fmt: skip


def _plateau_plane(
    bone: Bone, y: Floats, across: Floats, center: Floats, width: float
) -> tuple[Floats, Floats, float]:
    """The plane on both plateaus, the eminence between them and the rims left out."""
    offset = bone.points - center
    m, h = offset @ across, offset @ y
    facing = (bone.normals @ y > 0.75) & (np.abs(h) < 0.30 * width)
    sides = [
        facing & (m > PLATEAU_ACROSS[0] * width) & (m < PLATEAU_ACROSS[1] * width),
        facing & (m < -PLATEAU_ACROSS[0] * width) & (m > -PLATEAU_ACROSS[1] * width),
    ]
    if min(int(side.sum()) for side in sides) < 5:
        raise LandmarkError(f"the plateaus of {bone.name} hold too few points")
    weights = np.zeros(len(bone.points))
    for side in sides:
        # only the top of each side counts: below it are the flanks and the fibula's facet
        order = np.flatnonzero(side)
        cut = np.average(h[order], weights=bone.weights[order])
        top = order[h[order] > cut - 6.0]
        weights[top] = bone.weights[top] / bone.weights[top].sum()
    keep = weights > 0
    return fit_plane(bone.points[keep], weights[keep], y, 2.5)


def measure_tibia(
    bone: Bone, *, toward: Floats | None = None, anterior_hint: Floats | None = None
) -> TibiaFit:
    """Find a tibia's landmarks.

    toward : roughly proximal, where the femur says so.  anterior_hint : roughly anterior, likewise; without
    it the plateau's overhang behind the shaft tells.
    LandmarkError where the shape is no tibia's knee end or a fit fails; an ankle outside the view is told in
    `ankle_missing` instead.
    """
    axis, width = find_plateau(bone, toward)
    notch = knee_end(bone, -axis)
    if notch is not None and notch.score > NOTCH_SCORE:
        raise LandmarkError(
            f"the {bone.name} has an intercondylar notch of {notch.depth_share * notch.width_mm:.0f} mm: "
            "it is a femur"
        )
    return _measure_from(bone, axis, width, anterior_hint)


def remeasure_tibia(fit: TibiaFit, bone: Bone) -> TibiaFit:
    """Measure nearly the same surface again, from what was found on it before: nothing is searched for."""
    return _measure_from(bone, fit.shaft[1], fit.given_width_mm, -fit.posterior, fit)


def _measure_from(
    bone: Bone, axis: Floats, width: float, anterior_hint: Floats | None, again: TibiaFit | None = None
) -> TibiaFit:
    """Refine everything from a rough direction; again : an earlier fit of nearly the same surface."""
    length = float(np.ptp(bone.points @ axis))
    whole = length > 2.7 * width
    ankle: AnkleFit | None = None
    if again is None:
        missing = (
            "" if whole else f"the tibia is seen over {length:.0f} mm only; the ankle is outside the view"
        )
        y = axis = _tibia_shaft(bone, axis, width, whole=whole)[1]
        top = bone.points[int(np.argmax(bone.points @ y))]
        at, up, edge, turns = top - 0.25 * width * y, y, view_edge(bone, y), 14
    else:
        missing, y, up, edge = again.ankle_missing, again.proximal, again.plateau_normal, again.edge
        at, turns = again.knee_center - 0.14 * again.width_mm * up, 2
    # the plateau is cut square to itself, so that its centre does not depend on where the ankle went
    for _ in range(turns):
        center, across, full, deep = _ring_axes(bone, up, at)
        if not 1.12 < full / deep < 2.4:
            raise LandmarkError(
                f"the plateau of {bone.name} is {full:.0f} x {deep:.0f} mm: not a tibia's outline"
            )
        plane_point, normal, plane_residual = _plateau_plane(
            bone, up, across, center + 0.15 * width * up, full
        )
        knee = center + float((plane_point - center) @ normal) / float(up @ normal) * up
        before = at
        up = normal
        at = knee - 0.14 * full * up
        if whole and not missing:
            try:
                known = None if again is None or again.ankle is None else again.ankle.center
                ankle = measure_ankle(bone, y, across, knee, edge, known)
                y = unit(knee - ankle.center)
            except LandmarkError as error:
                missing = f"no ankle: {error}"
        if np.linalg.norm(at - before) < 1e-8:
            break
    across = unit(across - (across @ y) * y)
    if normal @ y < np.cos(np.radians(32.0)):
        raise LandmarkError(
            f"the plateau of {bone.name} slopes by more than 32°: the fit is not to be trusted"
        )
    if again is None:
        _refuse_short(bone, knee, normal, full)
        _refuse_cut(bone, knee, normal, across, full)
    shaft_center, shaft_axis, residual = _tibia_shaft(
        bone, axis, width, whole=whole, turns=5 if again is None else 1
    )
    overhang = knee - shaft_center
    overhang = overhang - (overhang @ shaft_axis) * shaft_axis
    back = np.cross(across, y)
    hint = overhang if anterior_hint is None else -anterior_hint
    back = back if back @ hint > 0 else -back
    flat = np.stack([bone.points @ across, bone.points @ back], axis=1)
    s = (bone.points - knee) @ y
    slab = np.flatnonzero((s > -0.22 * width) & (s < 0.0))
    i, j = bitangent(flat[slab], np.array([0.0, 1.0]), float(knee @ across))
    rests = smooth_rests(bone, (bone.points[slab[j]], bone.points[slab[i]]), back, across)
    back_missing = "" if again is None else again.back_missing
    if again is None and _on_cut(bone, rests, back):
        back_missing = f"the back of {bone.name} is cut by the scan's edge where its condyles would rest"

    def on_plane(side: float) -> Floats:
        point = knee + side * 0.24 * full * across
        return np.asarray(point + float((plane_point - point) @ normal) / float(y @ normal) * y)

    return TibiaFit(
        bone=bone, proximal=y, across=across, posterior=back, width_mm=full, knee_center=knee,
        plateaus=(on_plane(1.0), on_plane(-1.0)), plateau_normal=normal, plateau_residual_mm=plane_residual,
        posterior_rests=rests, shaft=(shaft_center, shaft_axis), shaft_residual_mm=residual,
        length_mm=float(np.ptp(bone.points @ y)), ankle_missing=missing, ankle=ankle,
        roughness_mm=again.roughness_mm if again is not None
        else shaft_roughness_mm(bone, shaft_axis) if whole else 0.0,
        given_width_mm=width, edge=edge, back_missing=back_missing,
    )  # fmt: skip


def _tibia_shaft(
    bone: Bone, axis: Floats, width: float, *, whole: bool, turns: int = 5
) -> tuple[Floats, Floats, float]:
    """Shaft axis: the whole diaphysis, or below the flare as far as a cut bone reaches."""
    direction, center, residual = axis, np.zeros(3), 0.0
    for _ in range(turns):
        s = bone.points @ direction
        low, high = float(s.min()), float(s.max())
        if whole:
            bottom, top = low + 0.22 * (high - low), low + 0.72 * (high - low)
        else:
            bottom = -seen_until(bone, -direction) + 2.0
            top = min(high - 0.40 * width, max(high - 0.75 * width, bottom + 40.0))
        if top - bottom < 8.0:
            raise LandmarkError(
                f"the {bone.name} shows {max(top - bottom, 0):.0f} mm of shaft below the plateau (needs 8 mm)"
            )
        before = direction
        center, direction, residual = shaft_line(bone, direction, bottom, top)
        if np.linalg.norm(direction - before) < 1e-9:
            break
    return center, direction, residual
