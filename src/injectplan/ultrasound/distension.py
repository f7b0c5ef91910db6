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
from injectplan.frames import Pose
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
    filled = replace(scene, fill=fill)
    tissue = [scene.tissue_names[t] for t in scene.shapes.makeup.tissue]
    pieces = list(zip(scene.shapes.surfaces, tissue, strict=False))
    resting = [s for s, t in pieces if t == FLUID]
    skin = [s for s, t in pieces if t == "skin"]
    if fill.fluid is None or not len(fill.fluid.triangles) or not resting or not skin:
        return filled
    push = _Push(fill.fluid, resting, skin, scene.shapes.reach)
    moved = tuple(s if t in (*RIGID, FLUID, "skin") else push.moved(s) for s, t in pieces)
    return replace(filled, shapes=replace(scene.shapes, surfaces=moved))


def _distance(surfaces: list[Surface], at: Floats) -> Floats:
    """Distance of points to the nearest of some closed surfaces, (n,) mm."""
    return np.asarray(np.min([nearest_points(s.bvh, at)[0] for s in surfaces], axis=0))


class _Push:
    """How points move when a cavity at rest becomes a fluid."""

    def __init__(
        self, fluid: Surface, resting: list[Surface], skin: list[Surface],
        reach: tuple[Pose, float, float] | None,
    ) -> None:  # fmt: skip
        self.fluid, self.resting, self.skin, self.reach = fluid, resting, skin, reach
        self.low, self.high = fluid.bounds_mm[0] - FAR_MM, fluid.bounds_mm[1] + FAR_MM

    def moved(self, surface: Surface) -> Surface:
        """Return a surface after the push."""
        at = surface.vertices_mm
        near = np.flatnonzero(((at > self.low) & (at < self.high)).all(axis=1) & self._seen(at))
        if not len(near):
            return surface
        vertices = np.array(at)
        vertices[near] += self.by(at[near])
        return Surface(vertices, surface.triangles)

    def _seen(self, at: Floats) -> Bools:
        """Whether rays may reach the triangles round a point."""
        if self.reach is None:
            return np.ones(len(at), np.bool_)
        pose, half_mm, depth_mm = self.reach
        off = at - pose.translation_mm
        across, deep = off @ pose.rotation[:, 1], off @ pose.rotation[:, 2]
        return np.asarray((np.abs(across) < half_mm + EDGE_MM) & (deep < depth_mm + EDGE_MM))

    def by(self, at: Floats) -> Floats:
        """Displacement (n, 3) of points (n, 3), mm."""
        away = np.zeros((len(at), 3))
        off, foot, triangle = nearest_points(self.fluid.bvh, at, FAR_MM)
        near = triangle >= 0
        away[near] = self._away(at[near], off[near], foot[near], triangle[near])
        return away

    def _away(self, at: Floats, off: Floats, foot: Floats, triangle: npt.NDArray[np.int32]) -> Floats:
        inside = contains(self.fluid.bvh, at)
        out = self._outward(foot, triangle)
        wall, cover = _distance(self.resting, at), _distance(self.skin, at)
        held = np.any([contains(s.bvh, foot) for s in self.resting], axis=0)
        stood = np.where(held, 0.0, _distance(self.resting, foot))
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
