"""How an effusion fills a recess: a rounded bulge on the bone that grows out of its outline.

An effusion is given by an order, by which voxels are filled until the volume asked for is reached: the level
sets of the order are the capsule at rising volumes.
"""

from __future__ import annotations

import numpy as np

from injectplan.kernels.cast import Floats

MOST_MM = 80.0  # no recess opens so far


def shoulder(inside_mm: Floats, width_mm: float) -> Floats:
    """Share of its thickness that a bulge has this far inside its outline: a quarter round, then level."""
    out = 1.0 - np.clip(inside_mm / width_mm, 0.0, 1.0)
    return np.sqrt(1.0 - out * out)


def bulge_order(depth_mm: Floats, inside_mm: Floats, width_mm: float, spread: float) -> Floats:
    """Thickness at which a growing bulge reaches points, (n,) mm; infinite where it never comes.

    depth_mm : distance to the bone, divided by how readily the wall gives there.  inside_mm : distance to the
    outline, positive inside.  width_mm : over which its edge is rounded.  spread : how far the outline moves
    outwards per mm of thickness (0: it holds).
    """
    depth, inside = np.maximum(depth_mm, 0.0), inside_mm
    if spread <= 0.0:
        share = shoulder(inside, width_mm)
        return np.where(share > 1e-3, depth / np.maximum(share, 1e-3), np.inf)
    low, high = np.zeros(len(depth)), np.full(len(depth), MOST_MM)
    for _ in range(14):
        middle = 0.5 * (low + high)
        reached = depth <= middle * shoulder(inside + spread * middle, width_mm)
        low, high = np.where(reached, low, middle), np.where(reached, middle, high)
    return np.where(high < MOST_MM, high, np.inf)
