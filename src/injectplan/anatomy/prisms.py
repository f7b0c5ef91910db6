"""Volume of a layer on a surface: prisms along the vertices' normals, which widen where it is convex.

Thickness times the area underneath is 12 to 20 % too little on a condyle of 20 mm radius.
"""

from __future__ import annotations

import numpy as np

from injectplan.imaging.values import Surface
from injectplan.kernels.cast import Bools, Floats


def prism_volumes_mm3(surface: Surface, low_mm: Floats, high_mm: Floats) -> Floats:
    """Volume between two heights over a surface, shared among its vertices, (n,) mm³.

    low_mm, high_mm : heights along the vertex normals, (n,), finite where they matter: a triangle with a
    height that is not finite holds nothing.  Each triangle's prism is swept exactly: with corners
    x(s) = a + s d its volume is ∫ mean(d) · ½ (x₂ - x₁)×(x₃ - x₁) ds over s from 0 to 1.
    """
    faces, normals = surface.triangles, surface.vertex_normals
    known = np.isfinite(low_mm[faces]).all(axis=1) & np.isfinite(high_mm[faces]).all(axis=1)
    faces = faces[known]
    way = (high_mm - low_mm)[:, None] * normals
    start = surface.vertices_mm + np.where(np.isfinite(low_mm), low_mm, 0.0)[:, None] * normals
    a, d = start[faces], way[faces]
    e1, e2, f1, f2 = a[:, 1] - a[:, 0], a[:, 2] - a[:, 0], d[:, 1] - d[:, 0], d[:, 2] - d[:, 0]
    cross = np.cross(e1, e2) + 0.5 * (np.cross(e1, f2) + np.cross(f1, e2)) + np.cross(f1, f2) / 3.0
    volume = 0.5 * np.einsum("ij,ij->i", d.mean(axis=1), cross)
    return np.bincount(faces.ravel(), np.repeat(volume / 3.0, 3), len(normals)).astype(np.float64)


def patch_volume_mm3(surface: Surface, low_mm: Floats, high_mm: Floats, where: Bools) -> float:
    """Volume between two heights over a patch of vertices, mm³; what has no height has the patch's mean.

    low_mm, high_mm : (n,) mm.  where : the patch, (n,).  NaN where nothing of it has heights.
    """
    known = where & np.isfinite(low_mm) & np.isfinite(high_mm)
    if not known.any():
        return float("nan")
    weights = surface.vertex_areas_mm2[known]
    rest = ~np.isfinite(low_mm) | ~np.isfinite(high_mm)
    low = np.where(rest, np.average(low_mm[known], weights=weights), low_mm)
    high = np.where(rest, np.average(high_mm[known], weights=weights), high_mm)
    near = np.zeros(len(where), bool)
    near[surface.triangles[where[surface.triangles].any(axis=1)]] = True
    return float(prism_volumes_mm3(surface, np.where(near, low, np.nan), high)[where].sum())
