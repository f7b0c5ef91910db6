"""What lies behind and beside a knee: hamstrings, calf, popliteus, ligaments, iliotibial tract, deep fat.

Courses are those of anatomy texts, drawn for a knee 76 mm wide (assumed) and scaled; attachments of the
ligaments and the tract's thickness are measured ones (`dimensions.KNEE`). Fat fills what is left between
bones and fascia at the joint's height, where no muscle has its belly: the notch, the popliteal fossa, the
sides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from injectplan.anatomy.completion.kneebuild import Build
from injectplan.anatomy.completion.solids import Grid, curve, laid, rounded_path, smooth_max, smooth_min, tube
from injectplan.anatomy.model import PRIORITY
from injectplan.kernels.cast import Floats, Floats32

# As one atlas's muscles lie from those drawn, root mean square (docs/explanation/joint.md): its medial ones
# run up to 30 mm farther in front than axial anatomy has them. The others as the worse of the hamstrings.
SARTORIUS_SD_MM, TRACT_SD_MM, POPLITEUS_SD_MM, MUSCLE_SD_MM = 26.0, 4.0, 8.0, 14.0
LIGAMENT_SD_MM = 2.5  # assumed
FILLING = PRIORITY["muscle"] + 2 - PRIORITY["fat_pad"]  # over muscle without a name, under everything else
MUSCLE_MM = 1.8  # grid of bellies

# Rows of each head: z, centre x, y, half widths across and deep.
Rows = Sequence[Sequence[float]]
MUSCLES: Mapping[str, tuple[Rows, ...]] = {
    "semimembranosus": (((150, -20, -34, 19, 14), (80, -23, -35, 16, 11), (40, -24, -33, 11, 7),
                         (10, -25, -29, 7, 4.5), (-10, -24, -24, 5, 3.5)),),
    # these three end at the pes anserinus, which follows the tuberosity: see `_to_pes`
    "semitendinosus": (((150, -16, -50, 12, 8), (80, -26, -46, 6, 4), (40, -29, -40, 2.8, 2.6),
                        (5, -33, -31, 2.5, 2.5)),),
    "gracilis": (((150, -42, -26, 8, 8), (80, -38, -33, 4, 4), (40, -36, -32, 2.5, 2.5),
                  (5, -38, -24, 2.2, 2.4)),),
    "sartorius": (((150, -46, -4, 8, 14), (80, -43, -16, 6, 12), (40, -41, -18, 4, 10),
                  (5, -41, -12, 3, 9)),),
    "biceps_femoris": (((150, 22, -44, 17, 13), (80, 30, -36, 12, 10), (40, 34, -31, 8, 7),
                        (5, 38, -27, 5, 5), (-12, 41, -23, 4, 4)),),
    "gastrocnemius": (((28, -20, -25, 7, 3), (5, -20, -32, 12, 6), (-30, -18, -38, 18, 11),
                       (-100, -16, -45, 20, 15)),
                      ((26, 22, -24, 6, 3), (5, 21, -31, 10, 6), (-30, 18, -38, 15, 10),
                       (-100, 17, -45, 17, 14))),
}  # fmt: skip
# Of the pes anserinus from the tuberosity: 20 mm medial, 22 below (texts: 5-7 cm below the joint); and the
# half widths across and deep of the flat tendon, sartorius foremost, semitendinosus lowest (assumed).
PES_MM = np.array([-20.0, -9.0, -22.0])
PES: Mapping[str, tuple[tuple[float, float, float], tuple[float, float]]] = {
    "sartorius": ((0.0, 0.0, 0.0), (2.2, 7.0)), "gracilis": ((-1.5, -3.0, -4.0), (2.0, 3.0)),
    "semitendinosus": ((-2.0, -4.0, -10.0), (2.2, 3.0)),
}  # fmt: skip


def _to_pes(build: Build, name: str, rows: list[list[float]]) -> list[list[float]]:
    """A muscle's rows led on, over the tibia's medial face, to its place in the pes anserinus."""
    s, (aside, (across, deep)) = build.marks.scale, PES[name]
    end = build.marks.tuberosity + s * (PES_MM + np.array(aside))
    last = np.array([rows[-1][1], rows[-1][2], rows[-1][0]])
    share = np.array([0.3, 0.55, 0.8, 1.0])[:, None]
    # round the condyle: forward late
    path = last + share * (end - last) - s * np.array([5.0, 6.0, 0.0]) * np.sin(np.pi * share)
    path = laid(build.coarse, path, build.bones, across + 1.0, push=True)
    return [*rows, *([z, x, y, across, deep] for x, y, z in path if z < last[2] - 2.0)]


def _inside(build: Build, grid: Grid, by_mm: float) -> Floats32:
    """Signed values of the limb under the deep fascia, drawn in by a distance."""
    return np.asarray(build.on(grid, build.solids["core"]) + np.float32(by_mm), np.float32)


def add_hind_muscles(build: Build) -> None:
    """Add hamstrings, sartorius, gracilis, gastrocnemius and popliteus."""
    s, under = build.marks.scale, build.sizes["deep_fascia_thickness"] + 0.4
    for i, (name, heads) in enumerate(MUSCLES.items()):
        scaled = [[[v * s for v in row] for row in rows] for rows in heads]
        if name in PES:
            scaled = [_to_pes(build, name, rows) for rows in scaled]
        build.bands(
            name, scaled, build.coarse, bump=i % 3, spacing_mm=MUSCLE_MM,
            sd=SARTORIUS_SD_MM if name == "sartorius" else MUSCLE_SD_MM,
            cut=lambda grid: _inside(build, grid, under),
        )  # fmt: skip
    grid = build.fine((-26 * s, -40 * s, -75 * s), (34 * s, 0.0, -4 * s), MUSCLE_MM)
    tibia = build.on(grid, build.distance("tibia"))
    thick = curve(grid.z, {-72 * s: 2.0, -45 * s: 8.0 * s, -18 * s: 6.0 * s, -6 * s: 2.0})
    # from the tibia's hind face up and out to the lateral condyle
    upper = grid.z + np.float32(14.0 * s) - np.float32(0.35) * (grid.x + np.float32(10.0 * s))
    belly = smooth_max(tibia - thick, upper, 4.0)
    belly = np.maximum(np.maximum(belly, grid.y + np.float32(8.0 * s)), _inside(build, grid, under))
    belly = np.maximum(np.maximum(belly, -tibia - 1.0), np.abs(grid.x - 2.0 * s) - 22.0 * s)
    if (belly < 0.0).any():
        build.add(
            "popliteus", grid, np.asarray(belly, np.float32), sd=POPLITEUS_SD_MM, fibres=(1.0, 0.0, 0.8)
        )


def add_ligaments(build: Build) -> None:
    """Add both collateral and both cruciate ligaments, and the iliotibial tract."""
    m, s, size = build.marks, build.marks.scale, build.sizes
    femur, tibia = build.vertices["femur"], build.vertices["tibia"]
    side = femur[(femur[:, 2] > 12.0 * s) & (femur[:, 2] < 38.0 * s)]
    medial, lateral = side[side[:, 0].argmin()], side[side[:, 0].argmax()]
    start = medial + np.array([-1.0, -4.8, 3.2])
    low = max(-61.2 * s, float(build.coarse.low_mm[2]) + 8.0)
    near = tibia[np.abs(tibia[:, 2] - max(low, float(tibia[:, 2].min()) + 6.0)) < 3.0]
    end = np.array([near[:, 0].min() - 1.0, near[near[:, 0].argmin(), 1] + 4.0, low])
    thick, wide = size["medial_collateral_ligament_thickness"], size["medial_collateral_ligament_width"]
    _strap(build, "medial_collateral_ligament", np.array([start, 0.5 * (start + end), end]), thick, wide)
    neck = m.fibula_neck
    head = neck + np.array([-2.0 * s, 3.0 * s, 14.0 * s])
    if "fibula" in build.vertices:
        fibula = build.vertices["fibula"]
        cap = fibula[fibula[:, 2] > fibula[:, 2].max() - 14.0 * s]
        head = np.array([cap[:, 0].max() - 1.0, cap[:, 1].max() - 8.2, float(cap[:, 2].mean())])
    outer = lateral + np.array([1.0, -3.1, 1.4])
    r = 0.5 * size["lateral_collateral_ligament_thickness"]
    _cord(build, "lateral_collateral_ligament", np.array([outer, head]), r)
    wall = 9.0 * s
    _cord(build, "anterior_cruciate_ligament",
          np.array([[wall, -12.0 * s, 20.0 * s], [4.0, -2.0 * s, 10.0 * s], [0.0, 9.0 * s, 0.0]]),
          0.5 * size["anterior_cruciate_ligament_thickness"])  # fmt: skip
    back = float(m.back(-6.0)) + 2.0
    _cord(build, "posterior_cruciate_ligament",
          np.array([[-wall, 2 * s, 16 * s], [-3 * s, -10 * s, 9 * s], [0.0, back, -6.0 * s]]),
          0.5 * size["posterior_cruciate_ligament_thickness"])  # fmt: skip
    _tract(build)


def _cord(build: Build, name: str, path: Floats, radius: float) -> None:
    """A round ligament kept out of the bones, its ends on them."""
    inner = laid(build.coarse, rounded_path(path), build.bones, 0.4 * radius, push=True)
    grid = build.fine(inner.min(axis=0) - radius - 2.0, inner.max(axis=0) + radius + 2.0, 0.8)
    build.add(name, grid, tube(grid, inner, radius), sd=LIGAMENT_SD_MM, fibres=inner[-1] - inner[0])


def _strap(build: Build, name: str, knots: Floats, thick: float, wide: float) -> None:
    """A flat ligament beside the limb, thin across x and wide along y, laid on the bones."""
    path = laid(build.coarse, rounded_path(knots), build.bones, 0.5 * thick + 0.3, push=True)
    path = path[np.argsort(path[:, 2])]
    rows = [[p[2], p[0], p[1], 0.5 * thick, 0.5 * wide] for p in path[::4]]
    if rows[-1][0] < path[-1, 2] - 0.5:
        rows.append([path[-1, 2], path[-1, 0], path[-1, 1], 0.5 * thick, 0.5 * wide])
    build.bands(name, [rows], build.coarse, sd=LIGAMENT_SD_MM, spacing_mm=0.8)


def _tract(build: Build) -> None:
    """The iliotibial tract: the fascia's thick lateral strip, down to Gerdy's tubercle."""
    s, size = build.marks.scale, build.sizes
    top = float(build.coarse.high_mm[2]) - 2.0
    grid = build.fine((18 * s, -34 * s, -26 * s), (84 * s, 40 * s, top), 1.0)
    core = build.on(grid, build.solids["core"])
    half = 0.5 * curve(grid.z, {-24 * s: size["iliotibial_tract_thickness"] * 1.7,
                                10 * s: size["iliotibial_tract_thickness"]})  # fmt: skip
    middle = curve(grid.z, {-24 * s: 16 * s, 0.0: 9 * s, 40 * s: 1 * s, 120 * s: -4 * s})
    wide = curve(grid.z, {-24 * s: 6 * s, 0.0: 9 * s, 40 * s: 15 * s, 120 * s: 20 * s})
    sheet = np.abs(core + half + np.float32(size["deep_fascia_thickness"])) - half
    solid = smooth_max(sheet, np.abs(grid.y - middle) - wide, 1.0)
    solid = np.maximum(solid, np.maximum(np.float32(-22.0 * s) - grid.z, np.float32(20.0 * s) - grid.x))
    solid = np.maximum(solid, 0.3 - build.on(grid, build.bones))
    if (solid < 0.0).any():
        build.add(
            "iliotibial_tract", grid, np.asarray(solid, np.float32), sd=TRACT_SD_MM, fibres=(0.0, -0.1, 1.0)
        )


def add_deep_fat(build: Build) -> None:
    """Add fat in the notch, in the popliteal fossa, and where else at the joint no muscle lies."""
    m, s, g = build.marks, build.marks.scale, build.coarse
    inner = build.solids["core"] + np.float32(build.sizes["deep_fascia_thickness"] - 0.1)
    off = np.float32(0.2) - build.bones
    top = float(m.patella_top[2])
    # bellies begin above the patella in front, a hand's breadth above the joint behind; the calf's below it
    above = curve(g.y, {-36.0 * s: 44.0 * s, -10.0 * s: 58.0 * s, 8.0 * s: top - 2.0, 34.0 * s: top + 9.0})
    below = curve(g.y, {-34.0 * s: 4.0 * s, -14.0 * s: -14.0 * s, 6.0 * s: -22.0 * s, 26.0 * s: -34.0 * s})
    arch = np.float32(7.0 * s) * (g.x / np.float32(40.0 * s)) ** 2  # bellies end in tongues, not at a line
    height = smooth_max(g.z - above - arch, below + arch - g.z, 12.0)
    # a diamond between the hamstrings above and the heads of the gastrocnemius below, its corners round
    up = np.where(g.z > 20.0 * s, (g.z - 20.0 * s) / (94.0 * s), (20.0 * s - g.z) / (66.0 * s))
    aside = np.abs(g.x - np.float32(1.0 * s)) / np.float32(29.0 * s)
    deep = np.abs(g.y + np.float32(32.0 * s)) / np.float32(50.0 * s)
    diamond = (np.float32(up) ** 1.5 + aside**1.5 + deep**2) ** np.float32(1 / 1.5)
    fossa = smooth_max((diamond - 1) * np.float32(26.0 * s), g.y + np.float32(8.0 * s), 16.0)
    fat = smooth_max(inner, smooth_min(height, fossa, 14.0 * s), 6.0)
    build.add("deep_fat", g, np.maximum(fat, off), sd=3.0, bump=FILLING)
    fossa = smooth_max(inner, fossa, 6.0)
    build.add("popliteal_fat_pad", g, np.maximum(fossa, off), sd=3.0, bump=FILLING + 1)
    grid = build.fine((-19 * s, -28 * s, -14 * s), (19 * s, 22 * s, 38 * s), 1.2)
    femur = build.on(grid, build.femur)
    # an oval in the notch, within the femur's reach: what lies between its condyles, not behind both
    parts = ((grid.x, 0.0, 17.0), (grid.y, -4.0, 22.0), (grid.z, 12.0, 22.5))
    oval = sum((np.abs(at - np.float32(c * s)) / np.float32(r * s)) ** 3 for at, c, r in parts)
    notch = (np.asarray(oval, np.float32) ** np.float32(1 / 3) - 1) * np.float32(18.0 * s)
    notch = np.maximum(smooth_max(notch, femur - 13.0 * s, 4.0), 0.2 - build.on(grid, build.bones))
    if (notch < 0.0).any():
        build.add("intercondylar_fat_pad", grid, np.asarray(notch, np.float32), sd=1.5, bump=FILLING + 2)
