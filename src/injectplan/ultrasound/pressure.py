"""Probe pressure: soft tissue thins over bone, and what is pressed away goes to the sides.

The tissue follows the flow of a field without sources, so that its volume is kept: the curl of a potential
that vanishes on bone.  Along the probe's short side tissue and fluid escape and rise beside the face; in the
image plane everything moves straight down.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np

from injectplan.anatomy.model import FillState
from injectplan.errors import BadInputError
from injectplan.frames import Pose
from injectplan.imaging.values import Surface
from injectplan.kernels.bvh import Bvh, all_hits, build_bvh, contains, nearest_points
from injectplan.kernels.cast import Floats
from injectplan.ultrasound.scene import AcousticScene

# Thinning of a tissue under a force F over about 40 × 10 mm: most · F / (F + half).  Through 10/25/40 % of
# fat and 5/15/25 % of muscle at light (1-2 N), normal (3-6 N) and firm (10-15 N) pressure; a resting recess
# closes under normal pressure (all assumed; forces as published: Sensors 2025;25:3415, PMC9711973).
THINNING: Mapping[str, tuple[float, float]] = MappingProxyType({
    "subcutaneous_fat": (0.60, 6.5), "fat": (0.60, 6.5), "muscle": (0.40, 8.0), "synovial_fluid": (0.95, 1.0),
    "blood": (0.60, 4.0), "synovium": (0.40, 8.0), "skin": (0.08, 8.0), "tendon": (0.08, 8.0),
    "fascia": (0.08, 8.0), "nerve": (0.20, 8.0), "vessel_wall": (0.20, 8.0), "water": (0.95, 1.0),
})  # fmt: skip
RIGID = ("cortical_bone", "cancellous_bone", "cartilage", "meniscus", "steel", "marrow_yellow", "marrow_red")
MOST_N = 40.0  # over what any study reports (34.5 N)
FACE_MM = 12.0  # across the probe's short side of 10 mm the dent falls to 1/e of its stream here (assumed)
EDGE_MM = 8.0  # the face's ends are rounded over this
STEPS_PER_MM = 4.0  # of the flow's integration, per mm that is pushed
CLING_MM = 0.6  # tissue this near to bone hardly slides on it
NO_BONE_MM = 40.0  # where there is no bone below, the depth that thins


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pressed:
    """A scene under pressure, the probe's pose in it, and how far the face sank, mm."""

    scene: AcousticScene
    probe_to_patient: Pose
    sunk_mm: float
    field: PressField

    def fill(self, state: FillState) -> FillState:
        """Return a fill state as the pressure leaves it: its fluid pushed aside."""
        if state.fluid is None:
            return state
        return replace(state, fluid=self.field.moved(state.fluid))


def thinning(tissue: str, force_n: float) -> float:
    """Share of its thickness that a tissue loses under a force; 0 for bone and cartilage."""
    most, half = THINNING.get(tissue, (0.0, 1.0))
    return most * force_n / (force_n + half)


@dataclass(frozen=True, eq=False)
class PressField:
    """The flow: its speed field in the probe's frame, of size `push` at the face.

    bone : tree of what does not move.  reach_mm : distance to bone from which on the field is whole.
    """

    pose: Pose
    push_mm: float
    half_face_mm: float
    reach_mm: float
    bone: Bvh | None

    def moved(self, surface: Surface) -> Surface:
        """Return a surface after the flow."""
        if self.push_mm == 0.0 or not len(surface.vertices_mm):
            return surface
        at = self.pose.inverse().apply(surface.vertices_mm)
        near = (np.abs(at[:, 0]) < self.half_face_mm + EDGE_MM) & (np.abs(at[:, 1]) < 4.5 * FACE_MM)
        if self.bone is not None and near.any():
            near[near] = ~contains(self.bone, surface.vertices_mm[near])
        vertices = np.array(surface.vertices_mm)
        vertices[near] = self.pose.apply(self.flow(at[near]))
        return Surface(vertices, surface.triangles)

    def flow(self, at: Floats, steps: int = 0) -> Floats:
        """Follow points (n, 3) of the probe's frame along the flow, by Runge and Kutta's fourth order.

        steps : 0 = as many as the push needs.
        """
        steps = steps or max(8, math.ceil(STEPS_PER_MM * self.push_mm))
        h = 1.0 / steps
        for _ in range(steps):
            a = self.speed(at)
            b = self.speed(at + 0.5 * h * a)
            c = self.speed(at + 0.5 * h * b)
            at = at + h / 6.0 * (a + 2.0 * b + 2.0 * c + self.speed(at + h * c))
        return at

    def speed(self, at: Floats) -> Floats:
        """Field (n, 3): the curl of (-push · X(x) · F(y) · χ(distance to bone), 0, 0)."""
        if not len(at):
            return np.zeros((0, 3))
        x, y = at[:, 0], at[:, 1]
        over = np.clip((self.half_face_mm + EDGE_MM - np.abs(x)) / EDGE_MM, 0.0, 1.0)
        across = over * over * (3.0 - 2.0 * over)
        s = y / FACE_MM
        fall = np.exp(-s * s)
        f, slope = y * fall, (1.0 - 2.0 * s * s) * fall
        chi, dchi_dy, dchi_dz = self.near_bone(at)
        size = self.push_mm * across
        return np.stack([np.zeros(len(at)), -size * f * dchi_dz, size * (slope * chi + f * dchi_dy)], axis=1)

    def near_bone(self, at: Floats) -> tuple[Floats, Floats, Floats]:
        """χ, 0 on bone and 1 from `reach` on, and its slopes along y and z."""
        if self.bone is None:
            d = np.clip(self.reach_mm - at[:, 2], 0.0, None)
            dy, dz = np.zeros(len(at)), -np.ones(len(at))
        else:
            off, foot, _ = nearest_points(self.bone, self.pose.apply(at))
            d = np.asarray(off, dtype=np.float64)
            away = (at - self.pose.inverse().apply(foot)) / np.maximum(d, 1e-9)[:, None]
            dy, dz = away[:, 1], away[:, 2]
        c = CLING_MM / self.reach_mm
        u = np.clip(d / self.reach_mm, 0.0, None)
        ramp = u * u / (u + c) * (1.0 + c)  # 0 with no slope on bone, 1 at the reach
        steep = (1.0 + c) * (u * u + 2.0 * u * c) / (u + c) ** 2 / self.reach_mm
        inside = u < 1.0
        chi, slope = np.where(inside, ramp, 1.0), np.where(inside, steep, 0.0)
        return chi, slope * dy, slope * dz


def press(scene: AcousticScene, probe_to_patient: Pose, force_n: float) -> Pressed:
    """Press a probe on with a force in N: the scene's tissue moved, and the face where it has sunk to.

    How far is the sum of what the tissues under the middle of the face thin by.  Grain stays where it is.
    Raises BadInputError for a force outside 0 to 40 N.
    """
    if not (math.isfinite(force_n) and 0.0 <= force_n <= MOST_N):
        raise BadInputError(f"a probe force of {force_n} N: must lie in 0 to {MOST_N:g}")
    rigid, names = _rigid(scene)
    thick, sunk = _under(scene, probe_to_patient, force_n, rigid)
    bone = build_bvh(*_merged(rigid)) if rigid else None
    if force_n == 0.0 or sunk <= 0.0:
        still = PressField(probe_to_patient, 0.0, 0.0, 1.0, bone)
        return Pressed(scene=scene, probe_to_patient=probe_to_patient, sunk_mm=0.0, field=still)
    half = 0.5 * scene.probe.face_mm

    # The middle of the face moves straight down with push · χ: sunk after a time of 1 when push = ∫ dz / χ.
    way = np.linspace(0.0, sunk, 401)
    places = np.stack([np.zeros_like(way), np.zeros_like(way), way], axis=1)
    chi, _, _ = PressField(probe_to_patient, 1.0, half, thick, bone).near_bone(places)
    push = float(np.trapezoid(1.0 / np.maximum(chi, 1e-3), way))
    field = PressField(probe_to_patient, push, half, thick, bone)
    surfaces = tuple(
        s if name in names else field.moved(s)
        for s, name in zip(scene.shapes.surfaces, scene.names, strict=False)
    )
    pressed = replace(scene, shapes=replace(scene.shapes, surfaces=surfaces, reach=None))
    lower = Pose(
        probe_to_patient.rotation, probe_to_patient.translation_mm + sunk * probe_to_patient.rotation[:, 2]
    )
    return Pressed(scene=pressed, probe_to_patient=lower, sunk_mm=sunk, field=field)


def _rigid(scene: AcousticScene) -> tuple[list[Surface], set[str]]:
    tissue = [scene.tissue_names[t] for t in scene.shapes.makeup.tissue]
    hard = [(s, n) for s, n, t in zip(scene.shapes.surfaces, scene.names, tissue, strict=False) if t in RIGID]
    return [s for s, _ in hard], {n for _, n in hard}


def _merged(surfaces: list[Surface]) -> tuple[Floats, Floats]:
    base = np.cumsum([0, *(len(s.vertices_mm) for s in surfaces)])
    vertices = np.concatenate([s.vertices_mm for s in surfaces])
    return vertices, np.concatenate([s.triangles + b for s, b in zip(surfaces, base, strict=False)])


def _under(scene: AcousticScene, pose: Pose, force_n: float, rigid: list[Surface]) -> tuple[float, float]:
    """Thickness of soft tissue under the middle of the face, and how much of it goes under the force, mm."""
    down = pose.rotation[:, 2]
    makeup = scene.shapes.makeup
    crossings: list[tuple[float, int, int]] = []
    for index, surface in enumerate(scene.shapes.surfaces):
        if not len(surface.triangles):
            continue
        _, ts, *_ = all_hits(
            surface.bvh,
            (pose.translation_mm - 300.0 * down)[None],
            down[None],
        )
        crossings += [(float(t) - 300.0, index, 1 if k % 2 == 0 else -1) for k, t in enumerate(np.sort(ts))]
    inside: set[int] = set()
    place = sunk = 0.0
    for t, index, way in sorted(crossings):
        if t > place:
            thick = min(t, NO_BONE_MM) - place
            tissue = scene.background
            if inside:
                tissue = int(makeup.tissue[max(inside, key=lambda i: (int(makeup.priority[i]), i))])
            name = scene.tissue_names[tissue]
            if name in RIGID or place >= NO_BONE_MM:
                break
            sunk += thick * thinning(name, force_n)
            place += thick
        inside = inside | {index} if way > 0 else inside - {index}
    return max(place, 1.0), sunk
