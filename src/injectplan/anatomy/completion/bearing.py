"""Cartilage that was not segmented, from the gap between two bones that bear on each other.

Where the bones face each other their gap is cartilage, a film of fluid and cartilage; each side takes the
share that its published mean has in the sum, and no more than two standard deviations above that mean. Where
a bearing surface runs on without a partner, cartilage has its published thickness at the margin. Where the
gap is wider than both could fill (the acetabular fossa, a joint pulled apart) the concave side gets none.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from injectplan.anatomy.completion.dimensions import Dimension
from injectplan.anatomy.completion.making import Making
from injectplan.anatomy.completion.solids import Grid, ramp, smooth_max
from injectplan.kernels.cast import Floats32

FILM_MM = 0.3  # of fluid between the two, assumed
LEAST_MM = 0.3  # bones that nearly touch in a coarse segmentation still bear cartilage
INTO_BONE_MM = 0.03  # the bone has priority over it: no ray finds a gap between
WIDEST = (
    1.6  # times both means: a wider gap holds something else (the fossa is 3 mm and more deeper; assumed)
)
TAPER_MM = 0.8  # over which it runs out to nothing at its edge
SMOOTHING_MM = 1.5  # of the gap: cartilage does not follow every voxel of the other bone


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Side:
    """One of two bearing surfaces.

    name : of its cartilage.  away : signed distance to its bone on the grid.  size : its thickness.
    margin_mm : thickness where it runs on unpartnered.  runs_on : negative where it does; None: nowhere.
    """

    name: str
    away: Floats32
    size: Dimension
    margin_mm: float
    runs_on: Floats32 | None = None


def bear(build: Making, grid: Grid, one: Side, other: Side) -> None:
    """Make the two cartilages between two bones, each unless it was segmented."""
    if one.name in build.given and other.name in build.given:
        return
    means = [build.sizes[f"{side.name}_thickness"] for side in (one, other)]
    limit = np.float32(WIDEST * sum(means) + FILM_MM)
    gap = np.asarray(one.away + other.away, np.float32)  # signed: the same within the bones as between
    gap = ndimage.gaussian_filter(gap, SMOOTHING_MM / grid.spacing_mm, mode="nearest")
    for side, mean in zip((one, other), means, strict=True):
        if side.name in build.given:
            continue
        most = mean + 2.0 * side.size.sd
        thickness = np.clip((gap - FILM_MM) * np.float32(mean / sum(means)), LEAST_MM, most)
        edge = gap - limit
        if side.runs_on is not None:
            partnered = ramp(gap, float(limit), float(limit) - 1.5)
            thickness = partnered * thickness + (1.0 - partnered) * np.float32(side.margin_mm)
            edge = np.minimum(edge, side.runs_on)
        thickness = thickness * ramp(edge, 0.0, -TAPER_MM)
        sheet = np.maximum(side.away - thickness, -INTO_BONE_MM - side.away)
        solid = smooth_max(sheet, edge, 0.3)
        if (solid < 0.0).any():
            # what the one gets the other lacks: both are as uncertain as the less certain
            build.add(side.name, grid, solid, sd=max(one.size.sd, other.size.sd))
            build.said.append(
                f"{side.name} from the gap between the bones, shared by published means ({mean:.3g} mm)"
            )
