"""Osteophytes where a tangent would rest: a bump on a condyle carries the line like any other bone.

About a resting point the bone is compared with a smooth surface laid through its wider surroundings, and what
stands above it is levelled before the line is laid anew (decision 0079).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from injectplan.alignment.bones import Bone, slice_mm
from injectplan.alignment.fits import tukey
from injectplan.kernels.cast import Floats

REACH_MM, INNER_MM = 13.0, 6.5  # of the surroundings, and of a bump's own foot within them (assumed)
# Clean condyles stand up to 0.4 mm over their surroundings, those on slices up to 0.9 mm more than a slice.
LEAST_MM = 1.0
WIDTHS_MM = (4.0, 2.5, 1.5, 1.2, 1.2)  # of the weights, narrowing
LEAST_POINTS = 30


def levelled(bone: Bone, rests: tuple[Floats, Floats], outward: Floats, along: Floats) -> tuple[Bone, float]:
    """Return the bone without the bumps on which a line laid against `outward` rests, and the highest, mm.

    rests : (3,) each.  outward, along : unit, perpendicular.  The bone itself and 0 where there is none.
    """
    third = np.cross(outward, along)
    highest, points = 0.0, bone.points
    for rest in rests:
        offset = points - rest
        near = np.flatnonzero(np.einsum("ij,ij->i", offset, offset) < REACH_MM**2)
        near = near[bone.normals[near] @ outward > 0.3]
        x, z, h = offset[near] @ along, offset[near] @ third, offset[near] @ outward
        fitted = _surroundings(x, z, h, bone.weights[near])
        if fitted is None:
            continue
        over = h - fitted
        top = float(np.max(over[np.hypot(x, z) < 0.5 * INNER_MM], initial=0.0))
        if top > LEAST_MM and top > LEAST_MM + slice_mm(bone, outward):
            points = points.copy()
            points[near] -= np.maximum(over, 0.0)[:, None] * outward
            highest = max(highest, top)
    return (replace(bone, points=points), highest) if highest else (bone, 0.0)


def _surroundings(x: Floats, z: Floats, h: Floats, area: Floats) -> Floats | None:
    """Height at every point of a paraboloid through those around the middle, and of these what fits it."""
    design = np.stack([np.ones_like(x), x, z, x * x, x * z, z * z], axis=1)
    aside = np.hypot(x, z) > INNER_MM
    if np.count_nonzero(aside) < LEAST_POINTS:
        return None
    w = area * aside
    fitted = np.zeros_like(h)
    for width in WIDTHS_MM:
        normal = design.T @ (design * w[:, None])
        fitted = design @ np.linalg.solve(normal + 1e-9 * np.trace(normal) * np.eye(6), design.T @ (w * h))
        w = area * tukey(h - fitted, width)
        if np.count_nonzero(w) < LEAST_POINTS:
            return None
    return fitted
