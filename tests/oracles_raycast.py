"""The shaded picture done slowly: every ray against every triangle, one line of the recipe at a time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from injectplan.frames import unit
from injectplan.report.raycast import Camera, Solid

LAMPS = (np.array([-0.45, 0.55, 0.70]), np.array([0.80, 0.10, 0.45]))  # right, up, towards the viewer


def crossings(
    solids: Sequence[Solid], origin: np.ndarray, way: np.ndarray
) -> list[tuple[float, int, int, np.ndarray]]:
    """Every crossing of a ray with a triangle: (distance, solid, triangle, shares of its corners)."""
    found = []
    for s, solid in enumerate(solids):
        a, b, c = (solid.surface.vertices_mm[solid.surface.triangles[:, k]] for k in range(3))
        ab, ac = b - a, c - a
        across = np.cross(way, ac)
        volume = (ab * across).sum(1)
        volume = np.where(np.abs(volume) < 1e-12, np.nan, volume)
        off = origin - a
        v = (off * across).sum(1) / volume
        turned = np.cross(off, ab)
        w = turned @ way / volume
        t = (ac * turned).sum(1) / volume
        for i in np.flatnonzero((v >= 0) & (w >= 0) & (v + w <= 1)):
            found.append((float(t[i]), s, int(i), np.array([1 - v[i] - w[i], v[i], w[i]])))
    return sorted(found, key=lambda hit: hit[0])


def lit(solid: Solid, triangle: int, shares: np.ndarray, camera: Camera) -> tuple[np.ndarray, float]:
    """A point's lit colour and how far it faces the viewer."""
    right, up, forward = camera.axes()
    corners = solid.surface.triangles[triangle]
    normal = unit(shares @ solid.surface.vertex_normals[corners])
    colour = (
        np.array(solid.colour) if solid.vertex_colours is None else shares @ solid.vertex_colours[corners]
    )
    seen = np.array([normal @ right, normal @ up, -(normal @ forward)])
    seen = seen if seen[2] >= 0 else -seen
    key, fill = (max(seen @ unit(lamp), 0.0) for lamp in LAMPS)
    shine = max(seen @ unit(unit(LAMPS[0]) + np.array([0.0, 0.0, 1.0])), 0.0) ** 40
    light = (0.34 + 0.52 * key + 0.20 * fill) * (1 - 0.35 * (1 - seen[2]) ** 3)
    return np.clip(colour * light + 0.16 * shine, 0, 1), float(seen[2])


def slow_picture(solids: Sequence[Solid], camera: Camera, size: int) -> np.ndarray:
    """Draw a square picture, one ray a pixel, white behind."""
    right, up, forward = camera.axes()
    scale = camera.height_mm / size
    picture = np.ones((size, size, 3))
    for row in range(size):
        for column in range(size):
            origin = camera.center_mm - 2000 * forward
            origin = origin + scale * ((column + 0.5 - size / 2) * right + (size / 2 - row - 0.5) * up)
            hits = crossings(solids, origin, forward)
            opaque = [k for k, hit in enumerate(hits) if solids[hit[1]].opacity >= 1]
            pixel = picture[row, column]
            if opaque:
                _, s, triangle, shares = hits[opaque[0]]
                pixel[:] = lit(solids[s], triangle, shares, camera)[0]
            for t, s, triangle, shares in reversed(hits[: opaque[0]] if opaque else hits):
                a, b, c = solids[s].surface.vertices_mm[solids[s].surface.triangles[triangle]]
                if np.cross(b - a, c - a) @ forward < 0:
                    colour, facing = lit(solids[s], triangle, shares, camera)
                    cover = min(solids[s].opacity * (1 + 1.5 * (1 - facing) ** 2), 1)
                    cover *= min((hits[opaque[0]][0] - t) / 1.6, 1) if opaque else 1
                    pixel[:] = (1 - cover) * pixel + cover * colour
    return np.asarray(np.round(255 * picture), dtype=np.uint8)
