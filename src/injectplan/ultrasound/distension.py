"""Fluid in a joint pushes its walls aside: soft tissue gives way between the resting cavity and the skin.

Without it a fluid would be drawn over the tissue that lies where it now is.  How far the wall stands off at a
place is the distance from the fluid's surface there to the resting cavity; the tissue over it thins evenly to
nothing at the skin, under which the probe rests.  What thins escapes along the limb, which is not computed.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from injectplan.anatomy.model import FillState
from injectplan.imaging.values import Surface
from injectplan.kernels.bvh import contains, nearest_points
from injectplan.kernels.cast import Bools, Floats
from injectplan.ultrasound.pressure import RIGID
from injectplan.ultrasound.scene import AcousticScene

REACH_MM = 12.0  # beside the fluid its push falls to 1/e over this (assumed)
FAR_MM = 3.0 * REACH_MM  # farther off nothing moves: a ten-thousandth of the push is left
EDGE_MM = 5.0  # of a scene cut to a pose, what lies this far beside its rays moves too, with their triangles
CLEAR_MM = 0.02  # tissue comes to lie this far off the fluid
FLUID = "synovial_fluid"


def distend(scene: AcousticScene, fill: FillState) -> AcousticScene:
    """Return the scene with a fill state's fluid in it and the soft tissue round its cavity pushed aside.

    Bone, cartilage, menisci and the skin stay; grain stays where it is.  A scene without a resting fluid of
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

    def filled(self, fill: FillState) -> AcousticScene:
        """Return the scene with this fill state; see `distend`."""
        filled = replace(self.scene, fill=fill)
        if fill.fluid is None or not len(fill.fluid.triangles) or not self.resting or not self.skin:
            return filled
        push = _Push(fill.fluid, self)
        moved = tuple(s if t in (*RIGID, FLUID, "skin") else push.moved(s) for s, t in self.pieces)
        return replace(filled, shapes=replace(self.scene.shapes, surfaces=moved))


class _Push:
    """How points move when a cavity at rest becomes a fluid."""

    def __init__(self, fluid: Surface, known: Distension) -> None:
        self.fluid, self.known, self.reach = fluid, known, known.scene.shapes.reach
        self.low, self.high = fluid.bounds_mm[0] - FAR_MM, fluid.bounds_mm[1] + FAR_MM

    def moved(self, surface: Surface) -> Surface:
        """Return a surface after the push."""
        at = surface.vertices_mm
        boxed = np.flatnonzero(((at > self.low) & (at < self.high)).all(axis=1) & self._seen(at))
        if not len(boxed):
            return surface
        off, foot, triangle = nearest_points(self.fluid.bvh, at[boxed], FAR_MM)
        close = triangle >= 0
        index = boxed[close]
        vertices = np.array(at)
        wall, cover = (known[id(surface)].at(index) for known in (self.known.walls, self.known.covers))
        vertices[index] += self._away(at[index], off[close], foot[close], triangle[close], wall, cover)
        return Surface(vertices, surface.triangles)

    def _seen(self, at: Floats) -> Bools:
        """Whether rays may reach the triangles round a point."""
        if self.reach is None:
            return np.ones(len(at), np.bool_)
        pose, half_mm, depth_mm = self.reach
        off = at - pose.translation_mm
        across, deep = off @ pose.rotation[:, 1], off @ pose.rotation[:, 2]
        return np.asarray((np.abs(across) < half_mm + EDGE_MM) & (deep < depth_mm + EDGE_MM))

    def _away(
        self, at: Floats, off: Floats, foot: Floats, triangle: npt.NDArray[np.int32], wall: Floats,
        cover: Floats,
    ) -> Floats:  # fmt: skip
        """Displacement (n, 3) of points `off` the fluid, whose nearest points on it are `foot`, mm."""
        resting = self.known.resting
        inside = contains(self.fluid.bvh, at)
        out = self._outward(foot, triangle)
        held = np.any([contains(s.bvh, foot) for s in resting], axis=0)
        stood = np.zeros(len(foot))
        if not held.all():
            stood[~held] = _distance(resting, foot[~held])
        share = cover / np.maximum(cover + wall, 1e-9)
        beside = np.where(inside, 1.0, np.exp(-((off / REACH_MM) ** 2)))
        size = stood * share * beside
        # A point within the fluid at least leaves it, by the shortest way
        size = np.where(inside, np.maximum(size, off + CLEAR_MM), size)
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
