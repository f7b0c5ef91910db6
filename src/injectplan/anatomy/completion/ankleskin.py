"""What lies on an ankle's deep fascia and in it: great saphenous vein, saphenous nerve, the retinacula.

The nerve keeps to the medial border of the joint (published), the vein lies before it (Mercer 2011: nerve
behind the vein, its branches end above the tip of the malleolus while the vein goes on to the foot,
PMC3215141). Retinacula are thickenings of the crural fascia: their thickness is published, where they begin
and end is that of anatomy texts on the bones found (assumed).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from injectplan.anatomy.completion.ankleback import COURSES_MM
from injectplan.anatomy.completion.limb import Build
from injectplan.anatomy.completion.solids import Grid, evened, laid, rounded_path, smooth_max, upsample
from injectplan.kernels.cast import Floats, Floats32

SAPHENOUS_SD_MM = 5.0  # of the nerve beside the joint's border (77 ankles); the vein's as the nerve's
RETINACULUM_SD_MM = 3.0  # where a thickening of the fascia begins and ends (assumed)
Shape: TypeAlias = Callable[[Grid], Floats32]
EVEN_MM = 7.0  # along a vein's path, over which its turns are evened
NERVE_ENDS_MM = 8.0  # above the tip of the medial malleolus, 16 ankles (PMC3215141)


def _medial_border(build: Build, s: float) -> float:
    """The medial border of the joint in front: the innermost x of the dome's upper edge."""
    talus = build.vertices("talus")
    dome = talus[(talus[:, 2] > -6.0 * s) & (talus[:, 1] > -4.0 * s) & (talus[:, 1] < 14.0 * s)]
    return float(dome[:, 0].min()) if len(dome) else -14.0 * s


def _malleolus(build: Build, s: float) -> tuple[Floats, Floats]:
    """The medial malleolus: its tip, and the outermost x and foremost y of its lowest 12 mm."""
    tibia = build.vertices("tibia")
    medial = tibia[tibia[:, 0] < -6.0 * s]
    low = medial[medial[:, 2] < medial[:, 2].min() + 12.0]
    return low[int(low[:, 2].argmin())], np.array([low[:, 0].min(), low[:, 1].max()])


def add_saphenous(build: Build, s: float, fat: float) -> None:
    """Add the saphenous nerve and the great saphenous vein before it, in the deep layer of the fat."""
    size, core = build.sizes, build.kept["core"]
    top = float(build.grid.high_mm[2]) - 1.0
    low = max(float(build.grid.low_mm[2]), -COURSES_MM * s) + 1.0
    # laid on the fascia from before it and evened, a point ends 2.5 mm farther medial
    at = _medial_border(build, s) - size["saphenous_nerve_from_medial"] + 2.5
    tip, corner = _malleolus(build, s)

    def before(x: float, z: float) -> list[float]:
        return [x, build.front_at(core, x, z), z]

    # down the tibia's medial face, over the front of the malleolus, along the foot's medial border
    end = float(tip[2]) + NERVE_ENDS_MM
    knots = np.array([
        [-25.0 * s, -1.0 * s, top], [-25.0 * s, 6.0 * s, 0.5 * top], before(at - 1.5 * s, 14.0 * s),
        before(at, 0.0), before(corner[0] - 0.5, min(end, -4.0 * s)), before(corner[0], end - 8.0 * s),
        [corner[0] + 3.0, corner[1] + 18.0 * s, low],
    ])  # fmt: skip
    knots = knots[knots[:, 2] >= low]
    vein, nerve = (0.5 * size[f"{n}_diameter"] for n in ("great_saphenous_vein", "saphenous_nerve"))
    apart = vein + nerve + 0.6
    ahead = np.column_stack([np.full(len(knots), 0.6), np.full(len(knots), 0.8), np.zeros(len(knots))])
    for name, radius, path in (
        ("saphenous_nerve", nerve, knots), ("great_saphenous_vein", vein, knots + apart * ahead),
    ):  # fmt: skip
        deep = radius + min(0.6, 0.1 * fat)
        points = laid(build.grid, rounded_path(path), core, deep, push=False)
        # no vessel turns a corner: what laying it bent at a knot is evened, and laid again
        points = laid(build.grid, evened(points, EVEN_MM), core, deep, push=False)
        if name == "saphenous_nerve":
            points = points[points[:, 2] > end]
        build.cord(name, points, radius, sd=SAPHENOUS_SD_MM)


def _sheet(build: Build, name: str, low: Floats, high: Floats, within: Shape, fibres: Floats) -> None:
    """A thickening of the deep fascia where a shape's signed values are negative."""
    grid = Grid.between(build.frame, np.maximum(low, build.grid.low_mm + 1.0),
                        np.minimum(high, build.grid.high_mm - 1.0), 0.5)  # fmt: skip
    half = 0.5 * np.float32(build.sizes[f"{name}_thickness"])
    sheet = np.abs(upsample(build.kept["core"], build.grid, grid) + half) - half
    solid = smooth_max(sheet, within(grid), 0.6)
    solid = np.maximum(solid, np.float32(0.3) - upsample(build.kept["bones"], build.grid, grid))
    if (solid < 0.0).any():
        build.add(name, grid, np.asarray(solid, np.float32), sd=RETINACULUM_SD_MM, fibres=fibres)


def _strip(a: Floats32, b: Floats32, knots: Floats, half_mm: float) -> Floats32:
    """Signed values of a strip about a polyline in two coordinates, (n, 2) knots."""
    result = None
    for start, end in itertools.pairwise(knots):
        along = end - start
        t = ((a - start[0]) * along[0] + (b - start[1]) * along[1]) / max(float(along @ along), 1e-9)
        t = np.clip(t, 0.0, 1.0)
        away = np.sqrt((a - start[0] - t * along[0]) ** 2 + (b - start[1] - t * along[1]) ** 2) - half_mm
        result = away if result is None else np.minimum(result, away)
    return np.asarray(result, np.float32)


def add_retinacula(build: Build, s: float) -> None:
    """Add the extensor retinacula, the flexor retinaculum and the upper one of the fibular tendons."""
    tip, _ = _malleolus(build, s)
    fibula = build.vertices("fibula") if "fibula" in build.given else np.array([[26.0, -14.0, -22.0]]) * s
    outer = fibula[fibula[:, 2] < fibula[:, 2].min() + 16.0]
    hind = outer[int(outer[:, 1].argmin())]
    side = float(build.grid.high_mm[0])
    ahead = float(build.grid.high_mm[1])

    def upper(g: Grid) -> Floats32:
        # three fingers' breadth above the joint, from the fibula's to the tibia's front border
        band = np.abs(g.z - np.float32(38.0 * s)) - np.float32(15.0 * s)
        return np.maximum(band, -np.float32(2.0 * s) - np.float32(0.15) * g.x - g.y)

    def lower(g: Grid) -> Floats32:
        # a Y on its side: a stem from the sinus of the tarsus, limbs to the malleolus and to the sole
        root, fork = (26.0 * s, -20.0 * s), (4.0 * s, -12.0 * s)
        limbs = np.minimum(
            _strip(g.x, g.z, np.array([root, fork, (tip[0] + 4.0, float(tip[2]) + 20.0 * s)]), 5.5 * s),
            _strip(g.x, g.z, np.array([fork, (-24.0 * s, -36.0 * s)]), 4.5 * s),
        )
        return np.maximum(limbs, np.float32(2.0 * s) - g.y)

    def flexor(g: Grid) -> Floats32:
        line = np.array([(tip[1] - 4.0 * s, float(tip[2]) + 6.0 * s), (-40.0 * s, -26.0 * s)])
        return np.maximum(_strip(g.y, g.z, line, 9.0 * s), g.x + np.float32(8.0 * s))

    def fibular(g: Grid) -> Floats32:
        line = np.array([(hind[1] + 1.0, float(hind[2]) + 6.0 * s), (-42.0 * s, -26.0 * s)])
        return np.maximum(_strip(g.y, g.z, line, 7.0 * s), np.float32(8.0 * s) - g.x)

    for name, low, high, shape, fibres in (
        ("superior_extensor_retinaculum", (-side, -8 * s, 20 * s), (side, ahead, 56 * s), upper, (1, 0, 0)),
        ("inferior_extensor_retinaculum", (-side, 0, -36 * s), (34 * s, ahead, 14 * s), lower, (1, 0, -0.3)),
        ("flexor_retinaculum", (-side, -50 * s, -36 * s), (-6 * s, 4 * s, 8 * s), flexor, (0, -1, -0.7)),
        ("superior_fibular_retinaculum", (6 * s, -50 * s, -36 * s), (side, 0, 8 * s), fibular, (0, -1, -0.8)),
    ):
        _sheet(build, name, np.array(low, float), np.array(high, float), shape, np.array(fibres, float))
