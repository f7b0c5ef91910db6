"""Shaded 3-D stills on the triangle tree: the same picture on every machine, with or without graphics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from injectplan.frames import unit
from injectplan.imaging.values import Surface
from injectplan.kernels.bvh import build_bvh
from injectplan.kernels.cast import Bytes, Floats
from injectplan.kernels.shade import Eye, Painted, draw


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Solid:
    """One surface to draw: colour (3,) 0–1, opacity 0–1.

    vertex_colours : (n, 3) 0–1, drawn instead of the colour on an opaque surface.
    """

    surface: Surface
    colour: tuple[float, float, float]
    opacity: float = 1.0
    vertex_colours: Floats | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Camera:
    """A parallel projection: looks along `direction`, `up` is up, `center_mm` is in the middle."""

    center_mm: Floats
    direction: Floats
    up: Floats
    height_mm: float

    def axes(self) -> tuple[Floats, Floats, Floats]:
        """Return right, up and forward unit vectors."""
        forward = unit(self.direction)
        right = unit(np.cross(forward, self.up))
        return right, np.cross(right, forward), forward

    def project(self, points_mm: npt.ArrayLike, width: int, height: int) -> Floats:
        """Map points (..., 3) to pixel (column, row), (..., 2)."""
        right, up, _ = self.axes()
        offset = np.asarray(points_mm, dtype=np.float64) - self.center_mm
        scale = height / self.height_mm
        return np.stack([width / 2 + offset @ right * scale, height / 2 - offset @ up * scale], axis=-1)


def _painted(solids: Sequence[Solid]) -> Painted:
    """Several solids as one tree, with smooth normals, colours and the solid of each triangle."""
    offsets = np.cumsum([0] + [len(s.surface.vertices_mm) for s in solids])
    empty = np.zeros((0, 3))
    vertices = np.concatenate([s.surface.vertices_mm for s in solids] or [empty])
    corners = np.concatenate(
        [s.surface.triangles + o for s, o in zip(solids, offsets, strict=False)] or [empty]
    ).astype(np.int32)
    count = [len(s.surface.triangles) for s in solids]
    return Painted(
        tree=build_bvh(vertices, corners), corners=corners,
        opacity=np.repeat(np.array([s.opacity for s in solids], dtype=np.float64), count),
        solid=np.repeat(np.arange(len(solids), dtype=np.int32), count),
        normals=np.concatenate([s.surface.vertex_normals for s in solids] or [empty]),
        colours=np.concatenate([_colours(s) for s in solids] or [empty]),
    )  # fmt: skip


def _colours(solid: Solid) -> Floats:
    """Colour of each vertex, (n, 3)."""
    if solid.vertex_colours is not None:
        return solid.vertex_colours
    return np.broadcast_to(np.array(solid.colour), (len(solid.surface.vertices_mm), 3))


def coarse(surface: Surface, cell_mm: float) -> Surface:
    """Return a surface with its vertices merged in cells: enough for a still, and several times quicker.

    Rossignac & Borrel (1993), doi:10.1007/978-3-642-78114-8_29. Not closed in general.
    """
    low = surface.vertices_mm.min(axis=0)
    cells = np.floor((surface.vertices_mm - low) / cell_mm).astype(np.int64)
    ny, nz = cells[:, 1].max() + 1, cells[:, 2].max() + 1
    _, index = np.unique((cells[:, 0] * ny + cells[:, 1]) * nz + cells[:, 2], return_inverse=True)
    count = np.bincount(index)
    merged = np.stack([np.bincount(index, surface.vertices_mm[:, k]) / count for k in range(3)], axis=1)
    triangles = index[surface.triangles]
    a, b, c = triangles.T
    return Surface(merged, triangles[(a != b) & (b != c) & (c != a)].astype(np.int32))


@dataclass(frozen=True, slots=True, eq=False)
class Scenery:
    """Solids ready to be drawn from several sides: one tree of the opaque ones, one of the others."""

    opaque: Painted
    clear: Painted

    @classmethod
    def of(cls, solids: Sequence[Solid]) -> Scenery:
        """Build the trees."""
        return cls(
            _painted([s for s in solids if s.opacity >= 1.0]),
            _painted([s for s in solids if s.opacity < 1.0]),
        )


def render(
    solids: Sequence[Solid] | Scenery,
    camera: Camera,
    *,
    width: int = 640,
    height: int = 640,
    background: tuple[float, float, float] = (1.0, 1.0, 1.0),
    samples: int = 2,
) -> Bytes:
    """Draw solids, nearest in front, see-through ones blended; (height, width, 3) uint8.

    samples : rays per pixel and direction along edges.
    """
    scenery = solids if isinstance(solids, Scenery) else Scenery.of(solids)
    right, up, forward = camera.axes()
    middle = np.asarray(camera.center_mm, dtype=np.float64) - 2000.0 * forward
    eye = Eye(middle, right, up, forward, camera.height_mm / height)
    return draw(
        scenery.opaque, scenery.clear, eye, width=width, height=height, samples=samples,
        background=np.array(background, dtype=np.float64),
    )  # fmt: skip


def tube(start_mm: npt.ArrayLike, end_mm: npt.ArrayLike, radius_mm: float, sides: int = 16) -> Surface:
    """Return a closed cylinder between two points, to draw needles and axes with."""
    start, end = np.asarray(start_mm, dtype=np.float64), np.asarray(end_mm, dtype=np.float64)
    along = unit(end - start)
    across = unit(np.cross(along, [1.0, 0, 0] if abs(along[0]) < 0.9 else [0, 1.0, 0]))
    angle = 2 * np.pi * np.arange(sides) / sides
    ring = radius_mm * (np.cos(angle)[:, None] * across + np.sin(angle)[:, None] * np.cross(along, across))
    vertices = np.concatenate([start + ring, end + ring, [start], [end]])
    i, j = np.arange(sides), (np.arange(sides) + 1) % sides
    triangles = np.concatenate(
        [
            np.stack([i, j, i + sides], 1),
            np.stack([j, j + sides, i + sides], 1),
            np.stack([j, i, np.full(sides, 2 * sides)], 1),
            np.stack([i + sides, j + sides, np.full(sides, 2 * sides + 1)], 1),
        ]
    )
    return Surface(vertices, triangles.astype(np.int32))


def box(low_mm: npt.ArrayLike, high_mm: npt.ArrayLike, to_patient: Floats) -> Surface:
    """Return a closed box given in its own frame, placed by a matrix (4, 4); draws the probe's housing."""
    ends = np.stack([np.asarray(low_mm, dtype=np.float64), np.asarray(high_mm, dtype=np.float64)])
    x, y, z = np.meshgrid(ends[:, 0], ends[:, 1], ends[:, 2], indexing="ij")
    corners = np.stack([x, y, z], axis=-1).reshape(-1, 3)
    vertices = corners @ to_patient[:3, :3].T + to_patient[:3, 3]
    faces = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    triangles = [t for a, b, c, d in faces for t in ((a, b, c), (a, c, d))]
    return Surface(vertices, np.array(triangles, dtype=np.int32))
