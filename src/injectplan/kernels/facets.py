"""Sums over a surface's triangles: their vector areas, what gathers at a vertex, the volume they enclose."""

from __future__ import annotations

import numpy as np

from injectplan.kernels._jit import kernel
from injectplan.kernels.cast import Floats, Ints


@kernel
def _crosses(vertices, triangles, result):
    for i in range(triangles.shape[0]):
        a, b, c = triangles[i, 0], triangles[i, 1], triangles[i, 2]
        x, y, z = vertices[a, 0], vertices[a, 1], vertices[a, 2]
        px, py, pz = vertices[b, 0] - x, vertices[b, 1] - y, vertices[b, 2] - z
        qx, qy, qz = vertices[c, 0] - x, vertices[c, 1] - y, vertices[c, 2] - z
        result[i, 0] = py * qz - pz * qy
        result[i, 1] = pz * qx - px * qz
        result[i, 2] = px * qy - py * qx


def crosses(vertices: Floats, triangles: Ints) -> Floats:
    """Return each triangle's edges' cross product, twice its area long and outward, (m, 3)."""
    result = np.empty((len(triangles), 3))
    _crosses(vertices, triangles, result)
    return result


@kernel
def _gathered(triangles, values, result):
    for corner in range(3):  # a corner at a time, as numpy would add them
        for i in range(triangles.shape[0]):
            for k in range(values.shape[1]):
                result[triangles[i, corner], k] += values[i, k]


def gathered(triangles: Ints, values: Floats, vertices: int) -> Floats:
    """Return the sum, at each of so many vertices, of the values (m, k) of the triangles around it."""
    result = np.zeros((vertices, values.shape[1]))
    _gathered(triangles, values, result)
    return result


@kernel
def _enclosed(vertices, triangles, crosses, origin):
    total = 0.0
    for i in range(triangles.shape[0]):
        a = triangles[i, 0]
        for k in range(3):
            total += (vertices[a, k] - origin[k]) * crosses[i, k]
    return total / 6.0


def enclosed(vertices: Floats, triangles: Ints, crosses: Floats) -> float:
    """Return the volume that closed triangles enclose, by the divergence theorem about the vertices' mean."""
    return float(_enclosed(vertices, triangles, crosses, vertices.mean(axis=0)))
