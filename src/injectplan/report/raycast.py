"""Shaded 3-D stills on the triangle tree: the same picture on every machine, with or without graphics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from injectplan.frames import unit
from injectplan.imaging.values import Surface
from injectplan.kernels.bvh import all_hits, build_bvh, first_hits
from injectplan.kernels.cast import Bytes, Floats

KEY_LIGHT = np.array([-0.45, 0.55, 0.70])  # in view space: right, up, towards the viewer
FILL_LIGHT = np.array([0.80, 0.10, 0.45])


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


class _Merged:
    """Several solids as one tree, with smooth normals and the solid of each triangle."""

    def __init__(self, solids: Sequence[Solid]) -> None:
        offsets = np.cumsum([0] + [len(s.surface.vertices_mm) for s in solids])
        empty = np.zeros((0, 3))
        self.normals = np.concatenate([s.surface.vertex_normals for s in solids] or [empty])
        self.vertices = np.concatenate([s.surface.vertices_mm for s in solids] or [empty])
        self.triangles = np.concatenate(
            [s.surface.triangles + o for s, o in zip(solids, offsets, strict=False)] or [empty]
        ).astype(np.int32)
        self.colours = np.concatenate([_colours(s) for s in solids] or [empty])
        self.solid = np.repeat(np.arange(len(solids)), [len(s.surface.triangles) for s in solids])
        a, b, c = (self.vertices[self.triangles[:, i]] for i in range(3))
        self.towards = np.cross(b - a, c - a)
        self.bvh = build_bvh(self.vertices, self.triangles)

    def at(self, triangle: npt.NDArray[np.int32], where_mm: Floats) -> tuple[Floats, Floats]:
        """Return the interpolated normal and colour at points on triangles, (n, 3) each."""
        corners = self.triangles[triangle]
        a, b, c = (self.vertices[corners[:, i]] for i in range(3))
        ab, ac, ap = b - a, c - a, where_mm - a
        d00, d01, d11 = (ab * ab).sum(1), (ab * ac).sum(1), (ac * ac).sum(1)
        d20, d21 = (ap * ab).sum(1), (ap * ac).sum(1)
        determinant = np.maximum(d00 * d11 - d01 * d01, 1e-18)
        v, w = (d11 * d20 - d01 * d21) / determinant, (d00 * d21 - d01 * d20) / determinant
        weights = np.clip(np.stack([1 - v - w, v, w], axis=1), 0, 1)
        blended = np.einsum("ni,nij->nj", weights, self.normals[corners])
        colour = np.einsum("ni,nij->nj", weights, self.colours[corners])
        return blended / np.maximum(np.linalg.norm(blended, axis=1, keepdims=True), 1e-12), colour


def _colours(solid: Solid) -> Floats:
    """Colour of each vertex, (n, 3)."""
    if solid.vertex_colours is not None:
        return solid.vertex_colours
    return np.broadcast_to(np.array(solid.colour), (len(solid.surface.vertices_mm), 3))


def _shade(colour: Floats, normal: Floats, right: Floats, up: Floats, forward: Floats) -> Floats:
    """Return lit colours (n, 3): ambient, two lights, a soft highlight and darker silhouettes."""
    view = np.stack([normal @ right, normal @ up, -(normal @ forward)], axis=1)
    view *= np.sign(view[:, 2:3] + 1e-12)  # both sides of a surface are lit
    key = np.clip(view @ unit(KEY_LIGHT), 0, 1)
    fill = np.clip(view @ unit(FILL_LIGHT), 0, 1)
    half = np.clip(view @ unit(unit(KEY_LIGHT) + np.array([0.0, 0.0, 1.0])), 0, 1) ** 40
    rim = 1.0 - 0.35 * (1.0 - view[:, 2]) ** 3
    lit = (0.34 + 0.52 * key + 0.20 * fill) * rim
    return np.clip(colour * lit[:, None] + 0.16 * half[:, None], 0, 1)


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

    opaque: _Merged
    clear: _Merged
    opaque_solids: Sequence[Solid]
    clear_solids: Sequence[Solid]

    @classmethod
    def of(cls, solids: Sequence[Solid]) -> Scenery:
        """Build the trees."""
        opaque = [s for s in solids if s.opacity >= 1.0]
        clear = [s for s in solids if s.opacity < 1.0]
        return cls(_Merged(opaque), _Merged(clear), opaque, clear)


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

    samples : rays per pixel and direction.
    """
    scenery = solids if isinstance(solids, Scenery) else Scenery.of(solids)
    w, h = width * samples, height * samples
    right, up, forward = camera.axes()
    scale = camera.height_mm / h
    columns = (np.arange(w) - (w - 1) / 2) * scale
    rows = ((h - 1) / 2 - np.arange(h)) * scale
    origins = (
        camera.center_mm - 2000.0 * forward + rows[:, None, None] * up + columns[None, :, None] * right
    ).reshape(-1, 3)
    directions = np.broadcast_to(forward, origins.shape)
    picture = np.tile(np.array(background), (len(origins), 1))

    opaque = scenery.opaque
    distance, triangle = first_hits(opaque.bvh, origins, directions)
    hit = np.flatnonzero(triangle >= 0)
    if len(hit):
        where = origins[hit] + distance[hit, None] * forward
        normal, colour = opaque.at(triangle[hit], where)
        picture[hit] = _shade(colour, normal, right, up, forward)

    if scenery.clear_solids:
        nearest = np.nan_to_num(distance, nan=np.inf)
        _blend(picture, scenery.clear, scenery.clear_solids, origins, (right, up, forward), nearest)
    image = picture.reshape(height, samples, width, samples, 3).mean(axis=(1, 3))
    return np.asarray(np.round(255 * image), dtype=np.uint8)


def _blend(
    picture: Floats,
    merged: _Merged,
    solids: Sequence[Solid],
    origins: Floats,
    axes: tuple[Floats, Floats, Floats],
    limit: Floats,
) -> None:
    """Blend see-through surfaces over the picture, farthest first; only faces turned to the viewer count."""
    forward = axes[2]
    offsets, distance, triangle = all_hits(merged.bvh, origins, np.broadcast_to(forward, origins.shape))
    count = np.diff(offsets)
    opacity = np.array([s.opacity for s in solids])
    for rank in range(int(count.max(initial=0)) - 1, -1, -1):
        rays = np.flatnonzero(count > rank)
        hits = offsets[rays] + rank
        seen = distance[hits] < limit[rays]
        rays, hits = rays[seen], hits[seen]
        if not len(rays):
            continue
        facing = merged.towards[triangle[hits]] @ forward < 0
        rays, hits = rays[facing], hits[facing]
        where = origins[rays] + distance[hits, None] * forward
        normal, colour = merged.at(triangle[hits], where)
        solid = merged.solid[triangle[hits]]
        slant = 1.0 - np.abs(normal @ forward)
        cover = np.clip(opacity[solid] * (1.0 + 1.5 * slant**2), 0, 1)[:, None]
        picture[rays] = (1 - cover) * picture[rays] + cover * _shade(colour, normal, *axes)


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
