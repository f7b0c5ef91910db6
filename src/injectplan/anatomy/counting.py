"""What a voxel count says of a volume: how unsure it is, and where a smooth surface knows better.

A body counted on a grid has a volume that depends on where the grid lies. Porod's law gives the spread over
all places and directions: a body's spectrum falls as 2πA/k⁴, A its surface, and each of the grid's own waves
adds its share. On a shell of radius 20 and thickness 1 mm at 0.3646 × 0.3646 × 0.7 mm that is 0.12 %; single
places of that ball are up to 0.53 % off, because both of its faces lie alike to the grid.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from injectplan.kernels.cast import Bools, Floats
from injectplan.kernels.patches import offsets_to_quadrics

PATCH_MM = 6.0  # distance of patches
REACH_MM = (
    6.5  # of a quadric: a terrace of a 0.7 mm slice on a 20 mm ball is 5 mm wide; 5 mm left 0.24 % of a shell
)
FOLLOWED_MM = 0.008  # a surface that strays so little from its quadric is taken to be smooth
ROUGH_MM = (
    0.016  # one that strays so much is not: there the count stands; 0.08 took 0.4 % off a knee at its rims
)
COARSEST_MM = 1.2  # within 1.6 mm of a surface coarser grids have too few centres on either side
WAVES = 8


def counting_sd_ml(area_mm2: float, affine: npt.ArrayLike) -> float:
    """Spread of a voxel count over all places and directions of its grid, in mL.

    area_mm2 : the body's surface.  √(2πA Σ 1/k⁴) over the waves k = 2πB⁻ᵀn of a grid with edges B (Porod's
    law, Kolloid-Z. 124:83, 1951; for balls Kendall, Q. J. Math. 19:1, 1948).
    """
    edges = np.asarray(affine, dtype=np.float64)[:3, :3]
    n = np.array([v for v in itertools.product(range(-WAVES, WAVES + 1), repeat=3) if any(v)])
    k = 2.0 * math.pi * np.linalg.norm(n @ np.linalg.inv(edges), axis=1)
    return float(np.sqrt(2.0 * math.pi * max(area_mm2, 0.0) * (k**-4.0).sum())) / 1000.0


def smooth_surplus_mm3(
    points: Floats, normals: Floats, areas_mm2: Floats, mask: Bools, affine: Floats
) -> float:
    """Volume between a surface and the smooth one that the mask's voxels allow, mm³.

    points in mm, outward unit normals (n, 3), areas (n,) : vertices of the surface, or of a part of it.
    Positive where the smooth one lies outside. Nothing is added where the mask's boundary is no smooth
    surface (rims, rough drawings), or on coarse grids: there the count is all that is known.
    """
    if not len(points) or np.linalg.norm(affine[:3, :3], axis=0).max() > COARSEST_MM:
        return 0.0
    _, first = np.unique(np.floor(points / PATCH_MM).astype(np.int64), axis=0, return_index=True)
    middles = points[first]
    owner = np.asarray(cKDTree(middles).query(points)[1], np.int32)
    upward = np.stack([np.bincount(owner, normals[:, a], len(middles)) for a in range(3)], axis=1)
    length = np.linalg.norm(upward, axis=1, keepdims=True)
    upward = np.where(length > 0.0, upward / np.maximum(length, 1e-12), [0.0, 0.0, 1.0])
    across = np.cross(upward, np.eye(3)[np.argmin(np.abs(upward), axis=1)])
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    frames = np.stack([across, np.cross(upward, across), upward], axis=1)
    offset, misfit = offsets_to_quadrics(mask, affine, points, owner, middles, frames, REACH_MM)
    trust = np.clip((ROUGH_MM - misfit) / (ROUGH_MM - FOLLOWED_MM), 0.0, 1.0)
    projected = areas_mm2 * np.abs(np.einsum("ij,ij->i", normals, upward[owner]))
    return float((trust * offset * projected).sum())
