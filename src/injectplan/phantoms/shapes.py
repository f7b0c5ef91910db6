"""Closed-form shapes: exact inside tests for voxels, and fine meshes whose vertices lie on the shape."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from injectplan.imaging.values import Surface
from injectplan.kernels.cast import Floats

_AROUND = 256  # facets around an axis: a chord stays within 1e-4 of the radius


def revolve(profile: Floats, axis: str, center: Floats, *, loop: bool, around: int = _AROUND) -> Surface:
    """Closed surface of a profile turned about an axis.

    profile : (m, 2) radius and height, upwards with the solid towards the axis; its ends lie on the axis
    unless it is a loop.  axis : "x", "y" or "z".
    """
    angle = 2.0 * np.pi * np.arange(around) / around
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    rings = profile if loop else profile[1:-1]
    m = len(rings)
    wall = np.concatenate(
        [rings[:, None, :1] * circle[None], np.broadcast_to(rings[:, None, 1:], (m, around, 1))], axis=2
    ).reshape(-1, 3)
    i, j = np.meshgrid(np.arange(m if loop else m - 1), np.arange(around), indexing="ij")
    a, b = i * around + j, i * around + (j + 1) % around
    up = (i + 1) % m
    c, d = up * around + j, up * around + (j + 1) % around
    triangles = [np.stack([a, b, d], -1).reshape(-1, 3), np.stack([a, d, c], -1).reshape(-1, 3)]
    vertices = [wall]
    if not loop:
        south, north = m * around, m * around + 1
        vertices.append(np.array([[0.0, 0.0, profile[0, 1]], [0.0, 0.0, profile[-1, 1]]]))
        k = np.arange(around)
        following = (k + 1) % around
        triangles.append(np.stack([np.full(around, south), following, k], -1))
        last = (m - 1) * around
        triangles.append(np.stack([np.full(around, north), last + k, last + following], -1))
    points = np.vstack(vertices)
    order = {"x": [2, 0, 1], "y": [1, 2, 0], "z": [0, 1, 2]}[axis]
    return Surface(points[:, order] + center, np.vstack(triangles).astype(np.int32))


def arc(center: tuple[float, float], radius: float, start_deg: float, end_deg: float, n: int = 128) -> Floats:
    """Points (n, 2) on a circle of the profile plane, angles from the radial direction upwards."""
    angle = np.radians(np.linspace(start_deg, end_deg, n))
    return np.stack([center[0] + radius * np.cos(angle), center[1] + radius * np.sin(angle)], axis=1)


def _upright(p: Floats, axis: str) -> tuple[Floats, Floats]:
    index = "xyz".index(axis)
    across = np.delete(p, index, axis=1)
    return np.linalg.norm(across, axis=1), p[:, index]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shape:
    """One shape: kind and its numbers (mm, degrees), about its centre, its axis along x, y or z.

    Kinds and their numbers: box (x, y, z: edge lengths), sphere (radius), shell (inner, outer), cylinder
    (radius, length), torus (major, minor), shell_segment (inner, outer, angle of the half opening).
    """

    kind: str
    center: Floats
    axis: str
    sizes: dict[str, float]

    def inside(self, points_mm: Floats) -> Floats:
        """Value of points (n, 3), negative inside; its zero set is the shape."""
        p, s = points_mm - self.center, self.sizes
        if self.kind == "box":
            return np.asarray((np.abs(p) - 0.5 * np.array([s["x"], s["y"], s["z"]])).max(axis=1))
        distance = np.linalg.norm(p, axis=1)
        if self.kind == "sphere":
            return np.asarray(distance - s["radius"])
        if self.kind == "shell":
            return np.asarray(np.maximum(distance - s["outer"], s["inner"] - distance))
        radial, height = _upright(p, self.axis)
        if self.kind == "cylinder":
            return np.asarray(np.maximum(radial - s["radius"], np.abs(height) - 0.5 * s["length"]))
        if self.kind == "torus":
            return np.asarray(np.hypot(radial - s["major"], height) - s["minor"])
        cone = np.degrees(np.arctan2(radial, height)) - s["angle"]
        return np.maximum(np.maximum(distance - s["outer"], s["inner"] - distance), cone)

    def surface(self) -> Surface:
        """Fine closed mesh, counter-clockwise from outside."""
        s = self.sizes
        if self.kind == "box":
            return _box(self.center, np.array([s["x"], s["y"], s["z"]]))
        if self.kind == "shell":
            outer = revolve(arc((0, 0), s["outer"], -90, 90), self.axis, self.center, loop=False)
            inner = revolve(arc((0, 0), s["inner"], -90, 90), self.axis, self.center, loop=False)
            return Surface(
                np.vstack([outer.vertices_mm, inner.vertices_mm]),
                np.vstack([outer.triangles, inner.triangles[:, ::-1] + len(outer.vertices_mm)]),
            )
        loop = self.kind == "torus"
        return revolve(self._profile(), self.axis, self.center, loop=loop)

    def _profile(self) -> Floats:
        s = self.sizes
        if self.kind == "sphere":
            return arc((0, 0), s["radius"], -90, 90)
        if self.kind == "torus":
            return arc((s["major"], 0), s["minor"], 0, 360, 129)[:-1]
        if self.kind == "cylinder":
            half = 0.5 * s["length"]
            heights = np.linspace(-half, half, 33)
            wall = np.column_stack([np.full(33, s["radius"]), heights])
            return np.vstack([[[0, -half]], wall, [[0, half]]])
        low = 90.0 - s["angle"]
        inner, outer = arc((0, 0), s["inner"], 90, low), arc((0, 0), s["outer"], low, 90)
        return np.vstack([inner, outer])

    def bounds(self) -> tuple[Floats, Floats]:
        """Lowest and highest corner of a box that holds the shape."""
        s = self.sizes
        if self.kind == "box":
            half = 0.5 * np.array([s["x"], s["y"], s["z"]])
        elif self.kind == "torus":
            half = np.full(3, s["major"] + s["minor"])
            half["xyz".index(self.axis)] = s["minor"]
        elif self.kind == "cylinder":
            half = np.full(3, s["radius"])
            half["xyz".index(self.axis)] = 0.5 * s["length"]
        else:
            half = np.full(3, s.get("outer", s.get("radius", 0.0)))
        return self.center - half, self.center + half


KINDS = {
    "box": ("x", "y", "z"), "sphere": ("radius",), "shell": ("inner", "outer"),
    "cylinder": ("radius", "length"), "torus": ("major", "minor"),
    "shell_segment": ("inner", "outer", "angle"),
}  # fmt: skip


def _box(center: Floats, lengths: Floats) -> Surface:
    corners = np.array([[x, y, z] for z in (-0.5, 0.5) for y in (-0.5, 0.5) for x in (-0.5, 0.5)])
    quads = [(0, 2, 3, 1), (4, 5, 7, 6), (0, 1, 5, 4), (2, 6, 7, 3), (0, 4, 6, 2), (1, 3, 7, 5)]
    triangles = [t for a, b, c, d in quads for t in ((a, b, c), (a, c, d))]
    return Surface(corners * lengths + center, np.array(triangles, np.int32))
