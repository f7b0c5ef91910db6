"""The ankle's hind side: tendons and bundle behind the malleoli, sural nerve, Kager's fat, fat for filling.

Places follow the bones: the hind border of the fibula, the hind face of the medial malleolus, the hindmost
line of tibia and talus. The order behind the medial malleolus is that of anatomy texts: tibialis posterior,
flexor digitorum longus, artery with vein, nerve, flexor hallucis longus. No number of theirs stands in the
facts but where it says so; sizes and spreads are assumed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from injectplan.anatomy.completion.limb import Build
from injectplan.anatomy.completion.solids import (
    Grid,
    curve,
    laid,
    ramp,
    rounded_path,
    smooth_max,
    upsample,
)
from injectplan.anatomy.model import PRIORITY
from injectplan.kernels.cast import Floats

TENDON_SD_MM, BUNDLE_SD_MM, SURAL_SD_MM = 2.5, 4.0, 4.0  # assumed: no ankle with known ones was at hand
ACHILLES_Y_MM = -46.0
COURSES_MM = 36.0  # below the dome's top, tendons, vessels and nerves are followed no farther
MEDIAL_BACK = np.array([-0.6, -0.8])  # towards the hind face of the medial malleolus
FILLING = PRIORITY["muscle"] + 2 - PRIORITY["fat_pad"]  # over muscle without a name, under everything else


def _hind_lines(build: Build, s: float, heights: Floats) -> dict[str, Floats]:
    """Points on the bones by height: behind the fibula, the medial malleolus and the middle, (n, 2) each."""
    fibula = build.vertices("fibula") if "fibula" in build.given else None
    tibia = build.vertices("tibia")
    talus = build.vertices("talus")
    medial = tibia[tibia[:, 0] < -4.0 * s]
    tip = float(medial[:, 2].min()) + 3.0
    found: dict[str, list[Floats]] = {"fibula": [], "medial": [], "middle": []}
    for z in heights:
        if fibula is not None:
            end = float(fibula[:, 2].min()) + 3.0
            near = fibula[np.abs(fibula[:, 2] - max(z, end)) < 3.0]
            back = near[near[:, 1] < near[:, 1].min() + 1.5].mean(axis=0)
            found["fibula"].append(back[:2])
        else:
            found["fibula"].append(np.array([25.0, -20.0]) * s)
        near = medial[np.abs(medial[:, 2] - max(z, tip)) < 3.0]
        found["medial"].append(near[int(np.argmax(near[:, :2] @ MEDIAL_BACK))][:2])
        both = np.concatenate([tibia, talus[talus[:, 2] > -22.0 * s]])
        near = both[(np.abs(both[:, 2] - max(z, -18.0 * s)) < 3.0) & (np.abs(both[:, 0] - 1.0) < 9.0 * s)]
        found["middle"].append(np.array([2.0 * s, float(near[:, 1].min())]))
    return {name: np.array(rows) for name, rows in found.items()}


def _tubes(
    build: Build, name: str, paths: Sequence[npt.ArrayLike], radii: Sequence[float], *, sd: float
) -> list[Floats]:
    """Make one structure of round cords, each off the bones and within the fascia; and their paths."""
    core, bones = build.kept["core"], build.kept["bones"]
    smooth = []
    for path, radius in zip(paths, radii, strict=True):
        points = laid(build.grid, rounded_path(path), -core, radius + 1.0, push=True)
        smooth.append(laid(build.grid, points, bones, radius + 0.5, push=True))
    build.add_cord(name, smooth, radii, build.grid, 0.6, sd=sd)
    return smooth


def add_hind_side(build: Build, s: float) -> None:
    """Add what lies behind an ankle, from medial to lateral, and the fat between."""
    size = build.sizes
    top = float(build.grid.high_mm[2]) - 1.0
    low = max(float(build.grid.low_mm[2]), -COURSES_MM * s) + 1.0
    heights = np.array([top, 0.6 * top, 0.3 * top, 5.0 * s, -8.0 * s, -20.0 * s, low])
    heights = heights[heights >= low]
    line = _hind_lines(build, s, heights)
    drop = np.maximum(-12.0 * s - heights, 0.0)[:, None]  # under the malleoli they turn forward

    def path(plane: Floats) -> Floats:
        return np.column_stack([plane + drop * np.array([0.0, 0.8]), heights])

    half = {n: 0.5 * size[f"{n}_thickness"] for n in
            ("tibialis_posterior_tendon", "flexor_digitorum_longus_tendon", "flexor_hallucis_longus_tendon",
             "fibularis_tendons")}  # fmt: skip
    first = line["medial"] + MEDIAL_BACK * (half["tibialis_posterior_tendon"] + 0.6)
    last = line["middle"] + np.array([0.0, -half["flexor_hallucis_longus_tendon"] - 1.2])
    along = last - first
    out = np.column_stack([along[:, 1], -along[:, 0]])
    out /= np.linalg.norm(out, axis=1, keepdims=True)
    out[(out @ MEDIAL_BACK) < 0.0] *= -1.0

    def between(share: float, off_mm: float) -> Floats:
        return path(first + share * along + off_mm * s * out)

    _tubes(build, "tibialis_posterior_tendon", [path(first)], [half["tibialis_posterior_tendon"]],
           sd=TENDON_SD_MM)  # fmt: skip
    _tubes(build, "flexor_digitorum_longus_tendon", [between(0.26, 1.8)],
           [half["flexor_digitorum_longus_tendon"]], sd=TENDON_SD_MM)  # fmt: skip
    _tubes(build, "flexor_hallucis_longus_tendon", [np.column_stack([last, heights])],
           [half["flexor_hallucis_longus_tendon"]], sd=TENDON_SD_MM)  # fmt: skip
    for name, share, off, key in (
        ("posterior_tibial_artery", 0.46, 5.0, "posterior_tibial_artery_diameter"),
        ("posterior_tibial_vein", 0.44, 7.6, "posterior_tibial_vein_diameter"),
        ("tibial_nerve", 0.66, 6.2, "tibial_nerve_diameter"),
    ):
        _tubes(build, name, [between(share, off)], [0.5 * size[key]], sd=BUNDLE_SD_MM)
    outer = half["fibularis_tendons"]
    brevis = line["fibula"] + np.array([0.0, -0.8 * outer - 0.4])
    longus = brevis + np.array([0.5, -1.7 * outer])
    _tubes(build, "fibularis_tendons", [path(longus), path(brevis)], [outer, 0.8 * outer], sd=TENDON_SD_MM)
    _sural(build, s, line["fibula"], heights)


def _sural(build: Build, s: float, fibula: Floats, heights: Floats) -> None:
    """The sural nerve and the small saphenous vein, in the fat between fibula and Achilles tendon."""
    size = build.sizes
    top = float(heights[0])
    behind = size["sural_nerve_behind_fibula"]
    at = fibula + np.array([-1.0, 0.0])
    beside = np.array([9.0, ACHILLES_Y_MM + 4.0]) * s  # higher up it comes to the Achilles tendon's border
    high = ramp(heights, 0.2 * top, top)[:, None]
    plane = (1.0 - 0.6 * high) * (at + np.array([0.0, -behind])) + 0.6 * high * beside
    plane = plane + np.maximum(-10.0 * s - heights, 0.0)[:, None] * np.array([0.15, 0.9])
    for name, off, sd in (("sural_nerve", 0.0, SURAL_SD_MM), ("small_saphenous_vein", -4.0, SURAL_SD_MM)):
        radius = 0.5 * size[f"{name}_diameter"]
        knots = np.column_stack([plane + np.array([0.5 * off, off]), heights])
        points = laid(build.grid, rounded_path(knots), build.kept["core"], radius + 0.6, push=False)
        build.cord(name, points, radius, sd=sd)


def add_fat(build: Build, s: float) -> None:
    """Add Kager's fat before the Achilles tendon, and fat where no belly of a muscle reaches down to."""
    g, core = build.grid, build.kept["core"]
    inner = core + np.float32(build.sizes["deep_fascia_thickness"] - 0.1)
    # bellies end two to three fingers above the joint, that of the flexor hallucis lowest
    end = curve(g.y, {-40.0 * s: 62.0 * s, -24.0 * s: 14.0 * s, -6.0 * s: 22.0 * s, 20.0 * s: 34.0 * s})
    # bellies end in tongues, not at a line; none comes down beside the malleoli
    arch = np.float32(4.0 * s) * np.minimum((g.x / np.float32(20.0 * s)) ** 2, 1)
    end = np.minimum(end - arch, np.float32(float(g.high_mm[2]) - 3.0))
    filled = smooth_max(inner, g.z - end, 8.0)
    if (filled < 0.0).any():
        build.add("deep_fat", g, filled, sd=3.0, bump=FILLING)
    middle = _hind_lines(build, s, np.array([0.0]))["middle"][0, 1]
    back = np.float32((ACHILLES_Y_MM + 1.0) * s)
    grid = Grid.between(build.frame, (-20 * s, ACHILLES_Y_MM * s, -30 * s),
                        (20 * s, middle + 4.0, min(64.0 * s, float(g.high_mm[2]) - 1.0)), 0.9)  # fmt: skip
    front = curve(grid.z, {-26.0 * s: middle - 2.0, 4.0 * s: middle - 7.0 * s,
                           62.0 * s: (ACHILLES_Y_MM + 2.0) * s})  # fmt: skip
    wide = curve(grid.z, {-26.0 * s: 15.0 * s, 20.0 * s: 12.0 * s, 62.0 * s: 6.0 * s})
    pad = smooth_max(smooth_max(grid.y - front, back - grid.y, 3.0), np.abs(grid.x) - wide, 6.0)
    pad = np.maximum(pad, np.float32(-28.0 * s) - grid.z)
    pad = np.maximum(pad, upsample(inner, g, grid))
    pad = np.maximum(pad, -upsample(build.kept["bones"], g, grid) - 0.5)
    if (pad < 0.0).any():
        build.add("kager_fat_pad", grid, np.asarray(pad, np.float32), sd=2.5)
