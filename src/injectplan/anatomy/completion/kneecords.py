"""The knee's vessels and nerves: paths from the bones, kept off them, drawn as tubes."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from injectplan.anatomy.completion.kneebuild import BAND_MM, Build
from injectplan.anatomy.completion.solids import evened, laid, rounded_path
from injectplan.kernels.cast import Floats

# As an atlas's vessels lie from those drawn, root mean square (docs/explanation/joint.md). The courses follow
# the published means; that body's vein lies beside its artery, as in 8 of 100. The nerve runs behind the vein
# and is as uncertain (cadavers: 5-13 mm from the epicondyle, Anat Cell Biol 2021;54(1)).
ARTERY_SD_MM, VEIN_SD_MM = 11.0, 17.0
SAPHENOUS_SD_MM = 10.0  # of the great saphenous vein and the nerve beside it (assumed)
ADDUCTOR_TUBERCLE_MM = 38.0  # above the joint's centre on a knee 76 mm wide (assumed)


def _cord(
    build: Build, name: str, path: Floats, diameter_mm: float, sd: float, *, branch: bool = False
) -> None:
    spacing = min(1.0, max(diameter_mm / 4.0, 0.35))
    build.add_cord(
        name, [rounded_path(path)], [0.5 * diameter_mm], build.coarse, spacing, sd=sd, branch=branch
    )


def _within(build: Build, path: Floats, depth_mm: float) -> Floats:
    """Keep a path at least this deep under the deep fascia."""
    return laid(build.coarse, path, -build.solids["core"], depth_mm, push=True)


def add_cords(build: Build) -> None:
    """Vessels and nerves: paths from the bones, kept off them, drawn as tubes."""
    m, size, s = build.marks, build.sizes, build.marks.scale
    top, low, high = float(m.patella_top[2]), -size["limb_below"] + 3.0, size["limb_above"] - 3.0
    radius = 0.5 * size["popliteal_artery_diameter"]
    gap = size["popliteal_artery_behind_bone"]

    def deep(z: float, x: float, more: float) -> list[float]:
        return [x, float(m.back(z)) - gap - radius - more, z]

    # behind the tibia, before the backs of the condyles: the artery runs into the fossa between them
    tibia = build.vertices["tibia"]
    plateau = tibia[(np.abs(tibia[:, 0]) < 24.0 * s) & (np.abs(tibia[:, 2] + 4.0) < 6.0)]
    joint = float(plateau[:, 1].min()) if len(plateau) else float(m.back(0.0))
    artery = np.array([
        [-13 * s, -15 * s, high], [-11 * s, -17 * s, 110 * s], deep(66 * s, -5 * s, 5),
        [-0.5 * s, joint - gap - radius, 22 * s], [2.8 * s, joint - gap - radius, 0.0],
        deep(-20 * s, 3 * s, 1.5), deep(-48 * s, 4 * s, 7), [5 * s, float(m.back(-55 * s)) - 14 * s, low],
    ])  # fmt: skip
    artery = laid(build.coarse, rounded_path(artery), build.bones, radius + 0.8 * gap, push=True)
    _cord(build, "popliteal_artery", artery, 2 * radius, sd=ARTERY_SD_MM)
    vein_radius = 0.5 * size["popliteal_vein_diameter"]
    spread = radius + vein_radius + 0.8
    vein = artery + np.array([0.3, -0.95, 0.0]) * spread
    _cord(build, "popliteal_vein", vein, 2 * vein_radius, sd=VEIN_SD_MM)
    nerve = vein + np.array([3.0, -(vein_radius + 0.5 * size["tibial_nerve_diameter"] + 1.5), 0.0])
    nerve = _within(build, nerve, 3.5)
    _cord(build, "tibial_nerve", nerve, size["tibial_nerve_diameter"], sd=VEIN_SD_MM)
    n = m.fibula_neck
    split = nerve[int(np.argmin(np.abs(nerve[:, 2] - 72 * s)))]
    fibular = np.array([
        split + np.array([2.0, 1.0, 0.0]), [20 * s, -38 * s, 45 * s], [31 * s, -36 * s, 15 * s],
        [n[0] + 0.0, n[1] - 8.0, n[2] + 18.0], [n[0] + 3.5, n[1] - 2.0, n[2] + 3.0],
        [n[0] + 3.0, n[1] + 6.0, n[2] - 9.0], [n[0] - 4.0, n[1] + 13.0, n[2] - 30.0],
    ])  # fmt: skip
    # under the fascia first, off the bone last: at the fibula's neck the two leave little room
    fibular = _within(build, rounded_path(fibular), 2.5)
    fibular = laid(build.coarse, fibular, build.bones, 2.4, push=True)
    _cord(
        build,
        "common_fibular_nerve",
        fibular,
        size["common_fibular_nerve_diameter"],
        sd=4.0,
    )
    corner = np.array([m.patella_high[0] - 3.0, float(m.patella_top[1]) - 6.0, top - 8.0])
    around = np.array([
        [3 * s, -12 * s, 42 * s], [20 * s, -8 * s, 42 * s], [31 * s, 6 * s, 42 * s], [31 * s, 20 * s, 43 * s],
    ])  # fmt: skip
    around = laid(build.coarse, rounded_path(around, 3.0), build.femur, 1.8, push=False)
    path = laid(build.coarse, np.vstack([around, corner]), build.bones, 1.6, push=True)
    path = _over_fluid(build, path, 0.5 * size["superior_lateral_genicular_artery_diameter"] + 3.0)
    _cord(
        build,
        "superior_lateral_genicular_artery",
        path,
        size["superior_lateral_genicular_artery_diameter"],
        sd=4.0,
        branch=True,
    )
    # under the skin: 31 mm medial of A (lower pole × tendon edge), 17 at the joint line, then across
    edge = m.patella_bottom + np.array([-0.5 * size["patellar_tendon_width"], 0.0, 0.0])
    branch = edge + np.array(
        [[-52, -30, 22], [-31, -8, 0], [-17.2, 0, -15], [-6, 0, -26], [14, 0, -33], [30, -10, -36.0]]
    )
    branch = laid(build.coarse, rounded_path(branch), build.solids["core"], 2.2, push=False)
    _cord(build, "infrapatellar_nerve", branch, size["infrapatellar_nerve_diameter"], sd=6.0, branch=True)
    _saphenous(build, low, high)


def _over_fluid(build: Build, path: Floats, off_mm: float) -> Floats:
    """A path on the capsule, lifted off the femur where segmented fluid has lifted that."""
    if "synovial_fluid" not in build.given:
        return path
    g, fluid, result = build.coarse, build.distance("synovial_fluid"), rounded_path(path)
    for height in np.arange(2.0, BAND_MM - 2.0, 1.0):
        at = ((result - g.low_mm) / g.spacing_mm).T
        low = ndimage.map_coordinates(fluid, at, order=1, mode="nearest") < off_mm
        if not low.any():
            break
        result[low] = laid(g, result[low], build.femur, height, push=True)
    return evened(result, 3.0)


def _saphenous(build: Build, low: float, high: float) -> None:
    """The great saphenous vein in the fat, and the saphenous nerve that comes to it from under sartorius.

    The vein passes behind the medial condyles (anatomy texts). The nerve pierces the fascia alone, 5 to 6 cm
    below the adductor tubercle, 70 mm from the tuberosity (95 limbs, Int. J. Morphol. 31(2):432, 2013).
    """
    size, s, core = build.sizes, build.marks.scale, build.solids["core"]
    vein, nerve = (0.5 * size[f"{n}_diameter"] for n in ("great_saphenous_vein", "saphenous_nerve"))
    course = np.array([
        [-52, -2, high / s], [-48, -12, 90], [-44, -20, 45], [-42, -23, 15], [-39, -18, -10], [-35, -8, -35],
        [-33, -3, -65], [-32, 0, low / s],
    ]) * s  # fmt: skip
    path = laid(build.coarse, rounded_path(course), core, vein + 1.2, push=False)
    _cord(build, "great_saphenous_vein", path, 2.0 * vein, sd=SAPHENOUS_SD_MM)
    pierces = ADDUCTOR_TUBERCLE_MM * s - 55.0
    beside = path[path[:, 2] < pierces - 10.0] + np.array([1.0, -1.0, 0.0]) * (vein + nerve + 0.5)
    beside = laid(build.coarse, beside, core, nerve + 0.8, push=False)
    # in the adductor canal first, then under sartorius to its hind border
    hidden = np.array([[-30, -2, high / s], [-32, -12, 100], [-35, -20, 60], [-38, -22, 25],
                       [-39, -21, 0.0]]) * s  # fmt: skip
    hidden = hidden[hidden[:, 2] > pierces + 8.0]
    course = rounded_path(np.vstack([hidden, beside[:: max(1, len(beside) // 6)]]))
    course = laid(build.coarse, course, build.bones, nerve + 1.0, push=True)
    _cord(build, "saphenous_nerve", course, 2.0 * nerve, sd=SAPHENOUS_SD_MM)
