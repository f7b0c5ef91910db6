"""The voxel grids phantoms are written on: any spacing and orientation, mirrored for a left joint."""

from __future__ import annotations

import numpy as np

from injectplan.kernels.cast import Floats

# Columns: where the grid's i, j, k run in the right-hand joint's frame (x lateral, y anterior, z proximal):
# posterior, distal, lateral, the order of a sagittal MR series.
SAGITTAL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])


# Grids do not lie symmetrically about a body: counted voxels would share its symmetry, and its chance error.
_SHIFT = np.array([0.31, 0.17, -0.23])


def rotation(axis: tuple[float, float, float], angle_deg: float) -> Floats:
    """Rotation matrix about an axis through the origin (Rodrigues)."""
    n = np.asarray(axis, float) / np.linalg.norm(axis)
    k = np.array([[0, -n[2], n[1]], [n[2], 0, -n[0]], [-n[1], n[0], 0]])
    angle = np.radians(angle_deg)
    return np.asarray(np.eye(3) + np.sin(angle) * k + (1.0 - np.cos(angle)) * (k @ k))


def grid_over(
    low_mm: Floats, high_mm: Floats, spacing_mm: tuple[float, float, float], oblique_deg: float
) -> tuple[Floats, tuple[int, int, int]]:
    """Affine (4, 4) from grid index to the joint's frame, and shape, of a grid over a box.

    The grid runs sagittally, turned by oblique_deg about a fixed slanting axis; its extents are the box's.
    """
    axes = rotation((0.4, 0.5, 0.77), oblique_deg) @ SAGITTAL
    lengths = np.abs(SAGITTAL.T @ (high_mm - low_mm))
    shape = tuple(int(np.ceil(n / s)) + 1 for n, s in zip(lengths, spacing_mm, strict=True))
    affine = np.eye(4)
    affine[:3, :3] = axes * np.asarray(spacing_mm)
    affine[:3, 3] = 0.5 * (low_mm + high_mm) - affine[:3, :3] @ (0.5 * (np.asarray(shape) - 1.0) + _SHIFT)
    return affine, shape  # type: ignore[return-value]


def side_matrix(side: str) -> Floats:
    """Map the right-hand joint's frame to patient RAS, (4, 4): the identity, or a mirror for a left joint."""
    return np.diag([1.0 if side == "right" else -1.0, 1.0, 1.0, 1.0])
