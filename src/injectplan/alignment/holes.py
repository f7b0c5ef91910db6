"""Slits and pinholes of a careless decimation, closed, so that they are not taken for the scan's edge."""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from injectplan.alignment.meshes import Indices, weld
from injectplan.imaging.values import Surface
from injectplan.kernels.cast import Floats

# Both bounds `assumed`, from the 42 holes of an atlas' four bones: slits of up to 15 mm where a corner of one
# triangle lies on another's edge, and single triangles left out. A condyle's tip cut off by 0.2 mm leaves a
# round hole of 25 mm², which stays open.
SMALL_MM2 = 15.0
SLIT_SHARE = 0.4
MOST_EDGES = 12


def close_slits(surface: Surface) -> tuple[Surface, int]:
    """Return the surface with its slits and pinholes closed by fans, and how many there were.

    A hole is closed where it has at most 12 edges and is either a slit (its width under 0.4 of its length) or
    smaller than 15 mm². What a plane of the field of view cuts off is larger and rounder, and stays open.
    """
    points, triangles = weld(surface.vertices_mm, surface.triangles.astype(np.int64))
    sides = triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    n = len(points)
    key = np.minimum(sides[:, 0], sides[:, 1]) * n + np.maximum(sides[:, 0], sides[:, 1])
    _, inverse, count = np.unique(key, return_inverse=True, return_counts=True)
    border = sides[count[inverse] == 1]
    if not len(border):
        return surface, 0
    graph = coo_array((np.ones(len(border), dtype=np.int8), (border[:, 0], border[:, 1])), shape=(n, n))
    label = connected_components(graph, directed=False)[1][border[:, 0]]
    fans: list[Indices] = []
    centers: list[Floats] = []
    for k in np.unique(label):
        loop = border[label == k]
        ring = points[loop[:, 0]]
        if len(loop) > MOST_EDGES or len(np.unique(loop[:, 0])) < len(loop) or not _thin(ring):
            continue
        # a fan about the middle, turned against the border, as its neighbours have the edges the other way
        middle = np.full(len(loop), n + len(centers))
        fans.append(np.stack([loop[:, 1], loop[:, 0], middle], axis=1))
        centers.append(ring.mean(axis=0))
    if not fans:
        return surface, 0
    return Surface(np.concatenate([points, centers]), np.concatenate([triangles, *fans])), len(fans)


def _thin(ring: Floats) -> bool:
    """Whether a hole's outline (k, 3) is a slit or a pinhole."""
    spread = np.linalg.svd(ring - ring.mean(axis=0), compute_uv=False) / np.sqrt(len(ring))
    # an ellipse's outline scatters by its half axes over sqrt(2)
    return bool(spread[1] < SLIT_SHARE * spread[0] or 2.0 * np.pi * spread[0] * spread[1] < SMALL_MM2)
