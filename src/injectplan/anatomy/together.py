"""Whether the bones that were given lie together as those of one leg."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from injectplan.anatomy.axes import points_over
from injectplan.imaging.values import Surface
from injectplan.kernels.bvh import nearest_points, signed_distances

_MEET = (
    ("femur", "tibia"), ("femur", "patella"), ("tibia", "fibula"), ("hip_bone", "femur"), ("tibia", "talus"),
)  # fmt: skip
MEETING = frozenset(name for pair in _MEET for name in pair)
_BEAR = (("femur", "tibia"), ("femur", "patella"), ("hip_bone", "femur"), ("tibia", "talus"))
# Bones modelled apart and put together by hand overlap a little: an atlas's hip by 1.3 mm, all else by less
# (two legs of CT scans not at all); bones each in its own frame by 6 to 14 mm.
MOST_INSIDE_MM = 5.0
WHOLE_TIBIA_MM = 250.0  # assumed: a shorter one may be cut and have but one end
END_MM = 25.0
MOST_GAP_MM = 40.0  # between bones that meet in a joint, a dislocated one included (assumed)
AT_POINTS = 2000  # of each bone


def apart(bones: Mapping[str, Surface]) -> str:
    """Say which two bones that meet in a joint do not lie together: two legs, or two frames; "" where all do.

    They lie far apart, one lies in the other, or the talus lies at the tibia's upper end.
    """
    for one, other in _MEET:
        if one not in bones or other not in bones:
            continue
        gap = min(_least_mm(bones[one], bones[other]), _least_mm(bones[other], bones[one]))
        if gap > MOST_GAP_MM:
            return (
                f"the {other} lies {gap:.0f} mm from the {one} (at most {MOST_GAP_MM:g}): bones of two "
                "legs, or of two frames; check the files and their frame"
            )
        if (one, other) in _BEAR and gap < -MOST_INSIDE_MM:
            return (
                f"{one} and {other} lie {-gap:.0f} mm deep in one another (at most {MOST_INSIDE_MM:g}): each "
                "bone seems to have a frame of its own; put them together in one first"
            )
    if "tibia" in bones and "talus" in bones:
        here, there = _tibia_widths_mm(bones["tibia"], bones["talus"])
        if here > there:
            return (
                f"the talus lies at the tibia's upper end ({here:.0f} mm wide, the other {there:.0f}): each "
                "bone seems to have a frame of its own; put them together in one first"
            )
    return ""


def _least_mm(one: Surface, other: Surface) -> float:
    """How near the points of one bone come to another; negative as deep as they lie in a closed one."""
    some = points_over(one)
    some = some[:: max(1, len(some) // AT_POINTS)]
    away = signed_distances(other.bvh, some) if other.closed else nearest_points(other.bvh, some)[0]
    return float(away.min())


def _tibia_widths_mm(tibia: Surface, talus: Surface) -> tuple[float, float]:
    """How wide a tibia is at the talus and at its other end; that is infinite where the shaft was cut."""
    points = points_over(tibia)
    off = points - points.mean(axis=0)
    axis = np.linalg.svd(off[:: max(1, len(off) // 5000)], full_matrices=False)[2][0]
    if (talus.vertices_mm.mean(axis=0) - points.mean(axis=0)) @ axis > 0.0:
        axis = -axis
    along = off @ axis
    low, high = float(along.min()), float(along.max())
    if high - low < WHOLE_TIBIA_MM:
        return 0.0, np.inf
    flat = off - np.outer(along, axis)
    ends = (flat[along < low + END_MM], flat[along > high - END_MM])
    here, there = (
        float(np.ptp((end - end.mean(axis=0)) @ np.linalg.svd(end, full_matrices=False)[2][0]))
        for end in ends
    )
    return here, there
