"""What aiming errors do to a path: chance of ending in the cavity, of touching each class, room to spare."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from injectplan.anatomy.model import JointModel
from injectplan.kernels.cast import Floats
from injectplan.kernels.field import sample_many
from injectplan.kernels.search import scatter_tips
from injectplan.kernels.segment import strayed_distances
from injectplan.planning.values import HitProbability

ATTEMPTS = 20_000
TOUCH_ATTEMPTS = 1_000
FAR_MM = 15.0  # clearances beyond this are given as this
Z95 = 1.959963984540054
IN_PLANE_SD_MM = 1.63  # PMC5318157: mean distance 2.6 mm in plane, as an isotropic standard deviation
OUT_OF_PLANE_SD_MM = 2.76  # the same study: mean 4.4 mm out of plane
CORRECTIONS = 3  # how often an operator re-places a tip that was seen to miss (assumed)
MISS_NOTICED = 0.95  # chance that a miss is noticed, by the tip's picture or a small test bolus (assumed)


def wilson(hits: int, n: int, z: float = Z95) -> tuple[float, float]:
    """Interval of a proportion. Wilson (1927), doi:10.1080/01621459.1927.10502953."""
    p = hits / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    low = 0.0 if hits == 0 else middle - half
    high = 1.0 if hits == n else middle + half
    return max(0.0, low), min(1.0, high)


def with_feedback(p: float) -> float:
    """Chance of ending inside when a noticed miss is corrected, each correction aimed as the first.

    p·(1 + m + m² + …) over the corrections, m = (1 − p)·MISS_NOTICED. A recess of 3 mm (p = 0.64) comes to
    0.96, as published successes with ultrasound do (96–100 %).
    """
    again = (1.0 - p) * MISS_NOTICED
    return p * sum(again**k for k in range(CORRECTIONS + 1))


def technique_sd_mm(targeting_sd_mm: float, technique: str) -> float:
    """Targeting error of a technique: the given one in plane, out of plane larger in the published ratio."""
    return targeting_sd_mm * (OUT_OF_PLANE_SD_MM / IN_PLANE_SD_MM if technique == "out-of-plane" else 1.0)


def hit_probability(
    joint: JointModel, tip_mm: Floats, sd_mm: float, *, seed: int, stream: int = 0, attempts: int = ATTEMPTS
) -> HitProbability:
    """Chance that a tip aimed at a point ends in the resting cavity, isotropic normal error of `sd_mm`."""
    if sd_mm <= 0.0:
        inside = float(sample_many(joint.cavity.field, tip_mm[None])[0]) < 0.0
        return HitProbability(
            value=float(inside), low=float(inside), high=float(inside), with_feedback=float(inside)
        )
    tips = scatter_tips(seed, stream * attempts, tip_mm, sd_mm, attempts)
    field = joint.cavity.field
    low = field.origin_mm
    high = field.origin_mm + field.spacing_mm * (np.array(field.values.shape) - 1)
    inside_grid = ((tips >= low) & (tips <= high)).all(axis=1)
    hits = int(np.count_nonzero((sample_many(field, tips) < 0.0) & inside_grid))
    p = hits / attempts
    bounds = wilson(hits, attempts)
    return HitProbability(value=p, low=bounds[0], high=bounds[1], with_feedback=with_feedback(p))


def touch_probability(
    joint: JointModel,
    entry_mm: Floats,
    tip_mm: Floats,
    radius_mm: float,
    sd_mm: float,
    clearance_mm: Mapping[str, float],
    *,
    seed: int,
    stream: int = 0,
) -> tuple[dict[str, float], dict[str, float]]:
    """By risk class: chance that the needle's wall touches it, and the clearance 95 % of attempts exceed.

    The entry is seen and so exact; the tip errs by `sd_mm` in each direction.  clearance_mm : structure → of
    the needle's wall on the aimed path, as the re-check found it.
    """
    tips = scatter_tips(seed + 1, stream * TOUCH_ATTEMPTS, tip_mm, max(sd_mm, 0.0), TOUCH_ATTEMPTS)
    # A path whose tip strays by r comes nearer by r at most: what is farther than the nearest of its class by
    # twice the largest stray never is the nearest.
    stray = float(np.linalg.norm(tips - tip_mm, axis=1).max())
    aimed: dict[str, dict[str, float]] = {}
    for name, gap in clearance_mm.items():
        aimed.setdefault(joint.structures[name].risk, {})[name] = gap
    least: dict[str, Floats] = {}
    for risk, gaps in aimed.items():
        nearest = min(gaps.values())
        least[risk] = np.full(len(tips), FAR_MM)
        if nearest > FAR_MM + stray:
            continue
        for name, gap in gaps.items():
            if gap <= nearest + 2.0 * stray:
                tree = joint.structures[name].surface.bvh
                found = strayed_distances(tree, entry_mm, tip_mm, tips, FAR_MM + radius_mm) - radius_mm
                least[risk] = np.minimum(least[risk], found)
    touched = {risk: float(np.count_nonzero(gap <= 0.0)) / TOUCH_ATTEMPTS for risk, gap in least.items()}
    return touched, {risk: float(np.quantile(gap, 0.05)) for risk, gap in least.items()}


def margin_to_failure_mm(tip_depth_mm: float, clearance_mm: Mapping[str, float]) -> float:
    """How far the tip may stray, entry kept, before it leaves the cavity or touches anything.

    A tip that strays by r moves no point of the path by more than r.
    """
    return min([tip_depth_mm, *clearance_mm.values()])
