"""A tibia whose label or file holds the fibula as well, grown together with it: how the two are parted."""

from __future__ import annotations

import numpy as np

from injectplan.alignment.bones import Bone, axis_candidates, sections
from injectplan.alignment.fits import fit_line
from injectplan.imaging.values import Surface

# Along the middle of the leg the two bones stand apart in every section: the fibula's outline, its share of
# the tibia's, and how far it lies off.
OUTLINE_MM2 = (25.0, 400.0)
APART_MM = (12.0, 55.0)
BELOW_TOP_MM = 16.0  # the fibula's tip lies some 10 mm below the plateau, the eminence 8 mm above it
FIBULA_RADIUS_MM = 12.5  # of its head and its malleolus; the shaft's is 6 to 7


def part_fibula(bone: Bone) -> tuple[Surface, Surface] | None:
    """Return the tibia without its fibula and the fibula, None where one bone is all that there is.

    Only a whole leg is parted: a short piece shows no stretch where the two bones stand apart for certain.
    """
    candidates = axis_candidates(bone)
    if len(candidates) > 2:
        return None
    axis = candidates[0]
    s = bone.points @ axis
    low, length = float(s.min()), float(np.ptp(s))
    centers = []
    for loops in sections(bone, np.zeros(3), axis, low + length * np.linspace(0.3, 0.7, 15)):
        if len(loops) < 2 or not OUTLINE_MM2[0] < loops[1].area_mm2 < OUTLINE_MM2[1]:
            continue
        gap = float(np.linalg.norm(loops[1].centroid - loops[0].centroid))
        if APART_MM[0] < gap < APART_MM[1] and loops[1].area_mm2 < 0.6 * loops[0].area_mm2:
            centers.append(loops[1].centroid)
    if len(centers) < 10:
        return None
    center, direction, residual = fit_line(np.array(centers))
    if residual > 6.0:
        return None
    offset = bone.points - center
    aside = np.linalg.norm(offset - (offset @ direction)[:, None] * direction, axis=1)
    # its line runs on through the plateau, above which there is no fibula
    area = [max((loop.area_mm2 for loop in loops), default=0.0) for loops in
            sections(bone, np.zeros(3), axis, low + length * np.array([0.06, 0.94]))]  # fmt: skip
    below_top = low + length - s if area[1] > area[0] else s - low
    near = (aside < FIBULA_RADIUS_MM) & (below_top > BELOW_TOP_MM)
    near = near[bone.triangles]
    if near.all(axis=1).sum() < 40:
        return None
    return (
        Surface(bone.points, bone.triangles[~near.any(axis=1)]),
        Surface(bone.points, bone.triangles[near.all(axis=1)]),
    )
