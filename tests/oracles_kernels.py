"""Slow, obvious twins of the kernels: every triangle, every time, no tree."""

from __future__ import annotations

import numpy as np

MASK = (1 << 64) - 1


def brute_crossings(vertices, triangles, origin, direction):
    """All (distance, triangle) of one ray, sorted: the plane is met, then three half-planes are asked."""
    a, b, c = (vertices[triangles[:, k]] for k in range(3))
    normal = np.cross(b - a, c - a)
    slope = normal @ direction
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.einsum("ij,ij->i", normal, a - origin) / slope
        p = origin + t[:, None] * direction
        inside = np.ones(len(t), bool)
        for u, v in ((a, b), (b, c), (c, a)):
            inside &= np.einsum("ij,ij->i", np.cross(v - u, p - u), normal) >= 0.0
    inside &= (slope != 0.0) & (t >= 0.0)
    which = np.flatnonzero(inside)
    order = np.argsort(t[which])
    return t[which][order], which[order]


def _segment_distance(p, a, b):
    along = b - a
    length2 = np.einsum("ij,ij->i", along, along)
    f = np.einsum("ij,ij->i", p - a, along) / np.where(length2 > 0.0, length2, 1.0)
    return np.linalg.norm(a + np.clip(f, 0.0, 1.0)[:, None] * along - p, axis=1)


def brute_distance(vertices, triangles, point):
    """Distance of one point to the nearest triangle: its plane where the foot lies inside, else its sides."""
    a, b, c = (vertices[triangles[:, k]] for k in range(3))
    best = np.minimum(np.minimum(*(_segment_distance(point, u, v) for u, v in ((a, b), (b, c)))),
                      _segment_distance(point, c, a))  # fmt: skip
    normal = np.cross(b - a, c - a)
    length = np.linalg.norm(normal, axis=1)
    unit = normal / np.where(length > 0.0, length, 1.0)[:, None]
    height = np.einsum("ij,ij->i", point - a, unit)
    foot = point - height[:, None] * unit
    inside = length > 0.0
    for u, v in ((a, b), (b, c), (c, a)):
        inside &= np.einsum("ij,ij->i", np.cross(v - u, foot - u), unit) >= 0.0
    return float(np.min(np.where(inside, np.abs(height), best)))


def winding_number(vertices, triangles, points):
    """How often a surface winds round each point: van Oosterom & Strackee (1983), solid angles summed."""
    result = np.empty(len(points))
    for i, point in enumerate(points):
        a, b, c = (vertices[triangles[:, k]] - point for k in range(3))
        la, lb, lc = (np.linalg.norm(x, axis=1) for x in (a, b, c))
        top = np.einsum("ij,ij->i", a, np.cross(b, c))
        under = la * lb * lc + np.einsum("ij,ij->i", a, b) * lc
        under += np.einsum("ij,ij->i", b, c) * la + np.einsum("ij,ij->i", c, a) * lb
        result[i] = np.arctan2(top, under).sum() / (2.0 * np.pi)
    return result


def box_distance(points, half):
    """Signed distance to the box |x| ≤ half, closed form (Quilez)."""
    q = np.abs(points) - half
    return np.linalg.norm(np.maximum(q, 0.0), axis=-1) + np.minimum(q.max(axis=-1), 0.0)


def _finalise(z):
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def hash64(seed, index):
    """Two rounds of SplitMix64's finaliser in whole numbers."""
    golden = 0x9E3779B97F4A7C15
    return _finalise((_finalise((seed * golden + index + 0x632BE59BD9B4E019) & MASK) + golden) & MASK)


def random_soup(seed, count, size=1.0):
    """A soup of `count` random triangles within a box of ±10."""
    rng = np.random.default_rng(seed)
    corners = rng.uniform(-10.0, 10.0, (count, 1, 3)) + rng.normal(0.0, size, (count, 3, 3))
    return corners.reshape(-1, 3), np.arange(3 * count).reshape(-1, 3)


def rays_at(seed, count, low, high):
    """Rays from a sphere round a box towards random points in it: origins, unit directions."""
    rng = np.random.default_rng(seed)
    way = rng.normal(size=(count, 3))
    center, radius = 0.5 * (low + high), 0.6 * np.linalg.norm(high - low)
    origins = center + radius * way / np.linalg.norm(way, axis=1, keepdims=True)
    way = rng.uniform(low, high, (count, 3)) - origins
    return origins, way / np.linalg.norm(way, axis=1, keepdims=True)


def rotation(quaternion):
    """The rotation matrix of a quaternion of any length but 0."""
    w, x, y, z = np.asarray(quaternion) / np.linalg.norm(quaternion)
    return np.array([
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ])  # fmt: skip
