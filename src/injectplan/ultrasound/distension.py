"""Fluid in a joint pushes its walls aside: soft tissue gives way, and the skin rises over it.

Without it a fluid would be drawn over the tissue that lies where it now is.  How far the wall stands off at a
place is the distance from the fluid's surface there to the resting cavity.  The skin rises as the surface of
an incompressible half-space does over sources of volume (Mogi 1958, Bull. Earthq. Res. Inst. 36:99, with
Poisson's ratio 1/2): by the sum of V / 2π · (p - x) / |p - x|³ over the volumes V that the wall has swept at
places x, which under a flat skin lifts as much volume as came in.  Between wall and skin both are mixed by
the distances to them.  The probe rides on the skin: `Distension.riding`.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from injectplan.anatomy.model import FillState
from injectplan.frames import Pose
from injectplan.imaging.values import Surface
from injectplan.kernels.bvh import contains, nearest_points
from injectplan.kernels.cast import Bools, Floats
from injectplan.ultrasound.pressure import RIGID
from injectplan.ultrasound.scene import AcousticScene

REACH_MM = 12.0  # beside the fluid its push falls to 1/e over this (assumed)
FAR_MM = 2.5 * REACH_MM  # farther off nothing is pushed: a five-hundredth would be left
EDGE_MM = 5.0  # of a scene cut to a pose, what lies this far beside its rays moves too, with their triangles
CLEAR_MM = 0.02  # tissue comes to lie this far off the fluid
FLUID = "synovial_fluid"
SOURCE_MM, SOURCES = 3.0, 250  # patches of the wall at least so wide, and about so many, count as one source
HELD_MM = 10.0  # tissue nearer to bone follows the skin by its part of this (assumed)
MOST_READ = 3000  # triangles of the wall whose way is read
RISE_FROM_MM, RISE_TO_MM = 30.0, 50.0  # from the fluid's box; between them the rise fades to nothing


def distend(scene: AcousticScene, fill: FillState) -> AcousticScene:
    """Return the scene with a fill state's fluid in it and the soft tissue round its cavity pushed aside.

    Bone, cartilage and menisci stay; grain stays where it is.  A scene without a resting fluid of
    its own only takes the fluid.  Of a scene cut to a pose only what its frames see is moved, far faster.
    """
    return Distension(scene).filled(fill)


def _distance(surfaces: list[Surface], at: Floats) -> Floats:
    """Distance of points to the nearest of some closed surfaces, (n,) mm."""
    return np.asarray(np.min([nearest_points(s.bvh, at)[0] for s in surfaces], axis=0))


class _Known:
    """Distances of one surface's vertices to others, each computed the first time it is asked for."""

    def __init__(self, surface: Surface, others: list[Surface]) -> None:
        self.vertices, self.others = surface.vertices_mm, others
        self.mm = np.full(len(self.vertices), np.nan)

    def at(self, index: npt.NDArray[np.int64]) -> Floats:
        """Distances of these vertices, (n,) mm; index : which, (n,)."""
        missing = index[np.isnan(self.mm[index])]
        if len(missing):
            self.mm[missing] = _distance(self.others, self.vertices[missing])
        return self.mm[index]


class Distension:
    """One scene that several fill states are put into: what does not depend on them is computed once."""

    def __init__(self, scene: AcousticScene) -> None:
        self.scene = scene
        tissue = [scene.tissue_names[t] for t in scene.shapes.makeup.tissue]
        self.pieces = list(zip(scene.shapes.surfaces, tissue, strict=False))
        self.resting = [s for s, t in self.pieces if t == FLUID]
        self.skin = [s for s, t in self.pieces if t == "skin"]
        self.walls = {id(s): _Known(s, self.resting) for s, _ in self.pieces}
        self.covers = {id(s): _Known(s, self.skin) for s, _ in self.pieces}
        rigid = [s for s, t in self.pieces if t in RIGID and len(s.triangles)]
        self.bones = scene.shapes.mesh_within_reach(rigid).tree if self.resting and rigid else None
        self._pushes: dict[int, _Push] = {}

    def filled(self, fill: FillState) -> AcousticScene:
        """Return the scene with this fill state; see `distend`."""
        filled = replace(self.scene, fill=fill)
        if fill.fluid is None or not len(fill.fluid.triangles) or not self.resting or not self.skin:
            return filled
        push = self._push(fill.fluid)
        moved = tuple(s if t in (*RIGID, FLUID) else push.moved(s) for s, t in self.pieces)
        return replace(filled, shapes=replace(self.scene.shapes, surfaces=moved))

    def riding(self, fill: FillState, probe_to_patient: Pose) -> Pose:
        """Return where a probe comes to stand that rides on the skin as the fluid raises it."""
        if fill.fluid is None or not len(fill.fluid.triangles) or not self.resting or not self.skin:
            return probe_to_patient
        half = 0.5 * min(self.scene.probe.face_mm, self.scene.probe.width_mm)
        face = np.stack([np.linspace(-half, half, 9), np.zeros(9), np.zeros(9)], axis=1)
        back = -probe_to_patient.rotation[:, 2]
        push, at = self._push(fill.fluid), probe_to_patient.apply(face)
        rise = push.loose(at) * (push.rise(at) @ back)
        moved = probe_to_patient.translation_mm + max(0.0, float(rise.mean())) * back
        return Pose(probe_to_patient.rotation, moved)

    def _push(self, fluid: Surface) -> _Push:
        """The push of a fluid, made once; it holds the fluid, so that its id stays its own."""
        if id(fluid) not in self._pushes:
            self._pushes[id(fluid)] = _Push(fluid, self)
        return self._pushes[id(fluid)]


class _Push:
    """How points move when a cavity at rest becomes a fluid."""

    def __init__(self, fluid: Surface, known: Distension) -> None:
        self.fluid, self.known, self.reach = fluid, known, known.scene.shapes.reach
        self.low, self.high = fluid.bounds_mm[0] - RISE_TO_MM, fluid.bounds_mm[1] + RISE_TO_MM
        self.patch_mm = max(SOURCE_MM, float(np.sqrt(fluid.area_mm2 / SOURCES)))
        self.places, self.volumes = self._sources()

    def _sources(self) -> tuple[Floats, Floats]:
        """Places (n, 3) and volumes mm³ (n,) that the wall has swept, patch by patch; in all what came in."""
        every = max(1, len(self.fluid.triangles) // MOST_READ)
        v, t = self.fluid.vertices_mm, self.fluid.triangles[::every]
        a, b, c = v[t[:, 0]], v[t[:, 1]], v[t[:, 2]]
        middle, area = (a + b + c) / 3.0, 0.5 * every * np.linalg.norm(np.cross(b - a, c - a), axis=1)
        outside = ~np.any([contains(s.bvh, middle) for s in self.known.resting], axis=0)
        middle = middle[outside]
        each = area[outside] * _distance(self.known.resting, middle) if len(middle) else area[:0]
        cell = np.floor((middle - self.fluid.bounds_mm[0]) / self.patch_mm).astype(np.int64)
        key, patch = np.unique(cell @ np.array([1, 1 << 20, 1 << 40]), return_inverse=True)
        swept = np.bincount(patch, each, len(key))
        sums = [np.bincount(patch, each * middle[:, k], len(key)) for k in range(3)]
        places = np.stack(sums, axis=1) / np.maximum(swept, 1e-12)[:, None]
        came = 1000.0 * max(0.0, self.fluid.volume_ml - sum(s.volume_ml for s in self.known.resting))
        share = min(1.0, came / max(float(swept.sum()), 1e-9))
        kept = swept > 0.0
        return places[kept], np.asarray(swept[kept] * share)

    def rise(self, at: Floats) -> Floats:
        """Displacement (n, 3) of the skin at points, mm; each source is spread over its patch's width."""
        if not len(self.places):
            return np.zeros_like(at)
        x, p = self.places - self.places.mean(axis=0), at - self.places.mean(axis=0)
        square = (p**2).sum(axis=1)[:, None] + (x**2).sum(axis=1) - 2.0 * p @ x.T
        weight = self.volumes / (2.0 * np.pi) * (np.maximum(square, 0.0) + self.patch_mm**2) ** -1.5
        return np.asarray(p * weight.sum(axis=1)[:, None] - weight @ x)

    def moved(self, surface: Surface) -> Surface:
        """Return a surface after the push."""
        at = surface.vertices_mm
        boxed = np.flatnonzero(((at > self.low) & (at < self.high)).all(axis=1) & self._seen(at))
        if not len(boxed):
            return surface
        low, high = self.fluid.bounds_mm
        aside = np.linalg.norm(np.maximum(np.maximum(low - at[boxed], at[boxed] - high), 0.0), axis=1)
        fade = np.clip((RISE_TO_MM - aside) / (RISE_TO_MM - RISE_FROM_MM), 0.0, 1.0)
        index, fade = boxed[fade > 0.0], fade[fade > 0.0]
        wall, cover = (known[id(surface)].at(index) for known in (self.known.walls, self.known.covers))
        under = wall / np.maximum(cover + wall, 1e-9)  # 1 at the skin, 0 at the wall
        off, foot, triangle = nearest_points(self.fluid.bvh, at[index], FAR_MM)
        near = np.flatnonzero(triangle >= 0)
        inside = contains(self.fluid.bvh, at[index[near]])
        # within the fluid, where the sources' pull turns round, that of the place mirrored at the wall
        place = np.array(at[index])
        place[near[inside]] = 2.0 * foot[near[inside]] - place[near[inside]]
        lift = (under * fade * self.loose(at[index]))[:, None] * self.rise(place)
        lift[near] += self._away(
            off[near], foot[near], triangle[near], wall[near], cover[near], inside, lift[near]
        )
        vertices = np.array(at)
        vertices[index] += lift
        return Surface(vertices, surface.triangles)

    def loose(self, at: Floats) -> Floats:
        """How far tissue at points may follow the skin, 0 on bone, 1 from HELD_MM off it, (n,)."""
        if self.known.bones is None:
            return np.ones(len(at))
        off, _, _ = nearest_points(self.known.bones, at, HELD_MM)
        return np.where(np.isnan(off), 1.0, off / HELD_MM)

    def _seen(self, at: Floats) -> Bools:
        """Whether rays may reach the triangles round a point."""
        if self.reach is None:
            return np.ones(len(at), np.bool_)
        pose, half_mm, depth_mm = self.reach
        off = at - pose.translation_mm
        across, deep = off @ pose.rotation[:, 1], off @ pose.rotation[:, 2]
        return np.asarray((np.abs(across) < half_mm + EDGE_MM) & (deep < depth_mm + EDGE_MM))

    def _away(
        self, off: Floats, foot: Floats, triangle: npt.NDArray[np.int32], wall: Floats, cover: Floats,
        inside: Bools, lift: Floats,
    ) -> Floats:  # fmt: skip
        """Displacement (n, 3) besides `lift` of points `off` the fluid, their nearest ones on it `foot`."""
        resting = self.known.resting
        out = self._outward(foot, triangle)
        held = np.any([contains(s.bvh, foot) for s in resting], axis=0)
        stood = np.zeros(len(foot))
        if not held.all():
            stood[~held] = _distance(resting, foot[~held])
        share = cover / np.maximum(cover + wall, 1e-9)
        beside = np.where(inside, 1.0, np.exp(-((off / REACH_MM) ** 2)))
        size = stood * share * beside
        # A point within the fluid at least leaves it, by the shortest way
        least = off + CLEAR_MM - np.einsum("ij,ij->i", lift, out)
        size = np.where(inside, np.maximum(size, least), size)
        return np.asarray(size[:, None] * out)

    def _outward(self, foot: Floats, triangle: npt.NDArray[np.int32]) -> Floats:
        """Outward normals of the fluid at points of its triangles, between those at their corners."""
        corners = self.fluid.triangles[triangle]
        a, b, c = (self.fluid.vertices_mm[corners[:, k]] for k in range(3))
        whole = np.cross(b - a, c - a)
        size = np.maximum(np.einsum("ij,ij->i", whole, whole), 1e-18)
        v = np.einsum("ij,ij->i", np.cross(foot - a, c - a), whole) / size
        w = np.einsum("ij,ij->i", np.cross(b - a, foot - a), whole) / size
        share = np.stack([1.0 - v - w, v, w], axis=1)
        n = np.einsum("ij,ijk->ik", share, self.fluid.vertex_normals[corners])
        return np.asarray(n / np.maximum(np.linalg.norm(n, axis=1, keepdims=True), 1e-9))
