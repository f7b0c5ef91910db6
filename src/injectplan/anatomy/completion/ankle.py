"""An ankle made whole: envelopes, tendons, vessels, nerves, fat pad, capsule and the cavity, from its bones.

Joint coordinates: x lateral, y anterior, z proximal of the top of the talar dome. Paths were drawn for a dome
28 mm wide and scale with the talus found.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from injectplan.anatomy.completion import STANDS_ON, Completed, Mode, Progress
from injectplan.anatomy.completion.ankleback import COURSES_MM, add_fat, add_hind_side
from injectplan.anatomy.completion.anklecavity import ankle_cavity
from injectplan.anatomy.completion.ankleskin import add_retinacula, add_saphenous
from injectplan.anatomy.completion.bearing import Side, bear
from injectplan.anatomy.completion.dimensions import BMI, Dimension, body_mass, front_fat, sizes_of
from injectplan.anatomy.completion.giving import covering, give_way
from injectplan.anatomy.completion.limb import Build, front_of, levelled
from injectplan.anatomy.completion.making import finished, need
from injectplan.anatomy.completion.skin import SeenSkin
from injectplan.anatomy.completion.solids import (
    Drafts,
    Frame,
    Grid,
    curve,
    ellipse,
    ramp,
    smooth_max,
    smooth_min,
    upsample,
)
from injectplan.anatomy.model import JointAxes, Structure, Subject
from injectplan.kernels.cast import Floats32

BONES = ("tibia", "talus", "fibula", "calcaneus")
COARSE_MM = 1.5
SOLE_MM = 9.0  # of the heel's pad lie under the plantar fascia's level, the rest is fat and skin (assumed)
DRAWN_WIDTH_MM = 44.0  # talus from its medial face to the tip of the lateral process
_D = Dimension

ANKLE: Mapping[str, Dimension] = {
    "skin_thickness": _D(1.7, 0.3, 1.0, 2.5, "1.5-2 mm over the ankle", True),
    "deep_fascia_thickness": _D(0.8, 0.3, 0.4, 2.0, "crural fascia and extensor retinaculum", True),
    "tibialis_anterior_width": _D(9.0, 1.0, 6.0, 13.0, "9 × 4.5 mm", True),
    "tibialis_anterior_thickness": _D(
        4.5, 0.6, 3.0, 7.0, "about twice the other extensors, Bianchi & Martinoli"
    ),
    "talar_cartilage_thickness": _D(
        1.23, 0.25, 0.6, 2.0, "men 1.35 ± 0.22, women 1.11 ± 0.28 mm, 29 cadaver ankles (qxmd 15800518)"
    ),
    "tibial_plafond_cartilage_thickness": _D(1.2, 0.25, 0.6, 2.0, "ankle means 1.0-1.62 mm", True),
    "dorsalis_pedis_diameter": _D(2.3, 0.4, 1.2, 3.5, "2.0-2.5 mm", True),
    "deep_fibular_nerve_diameter": _D(1.8, 0.3, 1.0, 3.0, "one branch", True),
    "superficial_fibular_nerve_diameter": _D(1.6, 0.3, 0.8, 3.0, "one branch", True),
    "superficial_fibular_from_lateral": _D(14.0, 8.4, 3.0, 25.0, "mm from the lateral border, 34 limbs"),
    "tibialis_posterior_tendon_thickness": _D(4.8, 0.7, 3.0, 7.0, "round, 18 mm² across", True),
    "flexor_digitorum_longus_tendon_thickness": _D(3.2, 0.5, 2.0, 5.0, "round, 8 mm² across", True),
    "flexor_hallucis_longus_tendon_thickness": _D(4.4, 0.7, 3.0, 7.0, "round, 15 mm² across", True),
    "fibularis_tendons_thickness": _D(4.6, 0.7, 3.0, 7.0, "longus round, 17 mm² across, brevis less", True),
    "posterior_tibial_artery_diameter": _D(2.5, 0.4, 1.5, 4.0, "2-3 mm", True),
    "posterior_tibial_vein_diameter": _D(2.4, 0.5, 1.2, 4.5, "one of the two beside the artery", True),
    "tibial_nerve_diameter": _D(4.4, 0.6, 3.0, 6.0, "10-20 mm² across behind the malleolus", True),
    "sural_nerve_diameter": _D(2.0, 0.4, 1.0, 3.5, "2-4 mm² across", True),
    "sural_nerve_behind_fibula": _D(12.0, 4.0, 4.0, 22.0, "mm behind the lateral malleolus's border", True),
    "small_saphenous_vein_diameter": _D(2.5, 0.6, 1.2, 4.5, "2-4 mm", True),
    "great_saphenous_vein_diameter": _D(3.8, 0.9, 1.8, 6.0, "3.8 mm in the leg, Ramya 2008; spread", True),
    "saphenous_nerve_diameter": _D(1.6, 0.3, 0.8, 3.0, "one or two branches", True),
    # no spread of its own: the whole 5 mm is the placement's, which the planner reads
    "saphenous_nerve_from_medial": _D(
        6.0, 0.0, -4.0, 16.0, "6 ± 5 mm medial of the joint's border, 77 ankles (ovid footak 199811000-00007)"
    ),
    "superior_extensor_retinaculum_thickness": _D(
        0.9, 0.2, 0.7, 2.0, "MRI 0.9 mm, 10 cadavers, doi:10.2214/AJR.05.1066; spread assumed"
    ),
    "inferior_extensor_retinaculum_thickness": _D(
        1.1, 0.2, 0.7, 2.5, "MRI 0.9-1.5 mm by root, doi:10.2214/AJR.05.1066; spread assumed"
    ),
    "flexor_retinaculum_thickness": _D(
        0.9, 0.2, 0.7, 2.0, "MRI 0.9 mm, doi:10.2214/AJR.05.1066; spread assumed"
    ),
    "superior_fibular_retinaculum_thickness": _D(
        1.0, 0.2, 0.7, 2.0, "MRI 1.0 mm, doi:10.2214/AJR.05.1066; spread assumed"
    ),
    "anterior_reflection": _D(
        12.0, 3.0, 5.0, 18.0, "capsule 9.8-13.5 mm above the rim, doi:10.1002/ca.23219"
    ),
    "posterior_reflection": _D(6.2, 2.5, 2.0, 12.0, "capsule 3.5-8.7 mm above the rim, doi:10.1002/ca.23219"),
    "recess_thickness": _D(2.5, 0.5, 0.8, 3.0, "normal fluid at most 2-3 mm: their middle", True),
    "capsule_thickness": _D(1.0, 0.3, 0.5, 2.5, "about 1 mm", True),
    "resting_fluid": _D(2.0, 0.7, 0.5, 4.0, "mL", True),
    "joint_capacity": _D(13.0, 2.5, 8.0, 20.0, "10-15 mL", True),
    "effusion_ml": _D(0.0, 0.0, 0.0, 20.0, "fluid beyond the resting volume, as given"),
}
TALAR_BY_SEX = {"male": (1.35, 0.22), "female": (1.11, 0.28)}
DOME_RADIUS_MM = 20.7  # American adults, PMC1888582; scaled with the talus
DOME_MARGIN_MM = 0.7  # where no plafond faces the dome: the least of 10 ankles, doi:10.1055/s-2007-965361
DOME_HALF_DEG = 52.0  # of the dome's arc that cartilage covers (assumed)
TIBIALIS_X_MM = -9.0  # of its middle at the joint: over the medial third, its edge within the dome's border
DOME_MIDDLE_MM = 2.0  # lateral of the origin, for which the courses before the joint were drawn
ANTERIOR_FAT_MM = (3.0, 4.5, 6.0, 8.0)  # by BMI 22/27/32/38: 3-8 mm (assumed)


def _core(build: Build, s: float, line: Callable[[float], float]) -> Floats32:
    """The leg and foot under the deep fascia."""
    g = build.grid
    rows = {90.0: (-14.0, 31.0, 34.0), 50.0: (-11.0, 28.0, 32.0), 20.0: (-8.0, 29.0, 31.0),
            0.0: (-6.0, 31.0, 31.0), -20.0: (-4.0, 30.0, 34.0), -45.0: (-2.0, 30.0, 44.0)}  # fmt: skip
    cy, a, b = (curve(g.z, {z * s: v[i] * s for z, v in rows.items()}) for i in range(3))
    core = ellipse(g.x - np.float32(2.0 * s), g.y - cy, a, b)
    bones = build.kept["bones"] = build.distance(BONES, g, 24.0)
    core = smooth_min(core, bones - np.float32(5.5), 14.0 * s)
    cord = (
        ellipse(g.x + np.float32(1.0), g.y + np.float32(48.0 * s), 10.0 * s, 6.0 * s) + 0.0 * g.z
    )  # Achilles
    core = smooth_min(core, np.asarray(cord, np.float32), 16.0 * s)
    # the extensor tendons and what fills the angle behind them
    deck = curve(g.z, [(z, line(z) + 7.5 * s) for z in np.linspace(-24 * s, float(g.high_mm[2]), 24)])
    filled = ellipse(g.x + np.float32(1.0), np.maximum(g.y, 0), 26.0 * s, deck)
    filled = np.maximum(filled, -g.y)
    core = smooth_min(core, np.asarray(filled, np.float32), 12.0 * s)
    if "calcaneus" in build.given:
        sole = float(build.vertices("calcaneus")[:, 2].min()) - SOLE_MM
        core = smooth_max(core, np.float32(sole) - g.z + 0.0 * g.x + 0.0 * g.y, 10.0 * s)
    soft = build.distance(build.soft_given, g, 24.0)
    core = smooth_min(core, soft - np.float32(1.0), 5.0)
    return np.minimum(levelled(core, g), np.minimum(bones - np.float32(2.0), soft - np.float32(0.8)))


def _of_person(subject: Subject) -> dict[str, Dimension]:
    """The ankle's table with the mean cartilage of this person's sex."""
    if subject.sex is None:
        return dict(ANKLE)
    mean, sd = TALAR_BY_SEX[subject.sex]
    name = "talar_cartilage_thickness"
    return {**ANKLE, name: replace(ANKLE[name], value=mean, sd=sd)}


def _cartilage(build: Build, s: float) -> None:
    """Cartilage of dome and plafond, unless segmented: the dome's goes on before and behind the plafond."""
    if "talar_cartilage" in build.given and "tibial_plafond_cartilage" in build.given:
        return
    grid = Grid.between(build.frame, (-22 * s, -24 * s, -20 * s), (22 * s, 24 * s, 8 * s), 0.5)
    radius = DOME_RADIUS_MM * s
    turn = np.degrees(np.arctan2(grid.y, grid.z + np.float32(radius))) + 0.0 * grid.x
    radial = np.sqrt(grid.y**2 + (grid.z + np.float32(radius)) ** 2)
    half = np.float32(12.5 * s) + np.float32(0.1) * grid.y  # 30 mm wide in front, 25 behind
    dome = np.maximum(np.abs(grid.x) - half, np.abs(radial - radius) - np.float32(4.0))
    dome = np.maximum(dome, (np.abs(turn - 2.0) - DOME_HALF_DEG) * np.float32(np.radians(radius)))
    bear(
        build,
        grid,
        Side(
            name="talar_cartilage", away=build.distance(("talus",), grid, 8.0),
            size=ANKLE["talar_cartilage_thickness"], margin_mm=DOME_MARGIN_MM,
            runs_on=np.asarray(dome, np.float32),
        ),
        Side(
            name="tibial_plafond_cartilage", away=build.distance(("tibia",), grid, 8.0),
            size=ANKLE["tibial_plafond_cartilage_thickness"], margin_mm=0.0,
        ),
    )  # fmt: skip


def _bone_line(build: Build, s: float) -> Callable[[float], float]:
    """Front of tibia, talus and its cartilage by height, bridged over the hollow of the joint."""
    there = [n for n in ("tibia", "talus", "talar_cartilage") if n in build.given or n in build.made]
    points = np.concatenate([build.vertices(n) for n in there])
    middle = points[(np.abs(points[:, 0]) < 11.0 * s) & (points[:, 2] > -24.0 * s)]
    front = front_of(middle, 4.0, -24.0 * s, float(build.grid.high_mm[2]))
    return lambda z: float(np.max(front(np.linspace(z - 3.5 * s, z + 3.5 * s, 7))))


def _cords_and_tendons(
    build: Build, s: float, fat: float, line: Callable[[float], float], core: Floats32
) -> None:
    points = np.concatenate([build.vertices(n) for n in ("tibia", "talus")])
    size = build.sizes
    top, low = float(build.grid.high_mm[2]), max(-15.0 * s, float(build.grid.low_mm[2]))
    heights = [top + 8, 0.5 * top, 14 * s, 0.0, -9 * s, low]

    dome = build.vertices("talus")
    dome = dome[(np.abs(dome[:, 2]) < 3.0) & (np.abs(dome[:, 1]) < 8.0 * s)][:, 0]
    middle = 0.5 * float(dome.min() + dome.max()) - DOME_MIDDLE_MM * s if len(dome) else 0.0

    def aside(z: float) -> float:
        """How far the dome's middle lies aside of the one that the courses were drawn for."""
        return middle * float(ramp(z, top, 10.0 * s))

    def y_at(z: float, deep: float) -> float:
        """Depth of a middle line this far before the bones; the tendons bow over the joint's front."""
        return line(z) + 3.0 * s + deep

    def run(name: str, xs: tuple[float, float, float], width: float, thick: float, deep: float) -> None:
        rows = []
        for z in heights:
            x = float(np.interp(z, [low, 0.0, top], [xs[2] * s, xs[1] * s, xs[0] * s])) + aside(z)
            rows.append([z, x, y_at(z, deep + 0.5 * thick), 0.5 * width, 0.5 * thick])
        build.band(name, rows, sd=2.0, spacing_mm=0.6)

    run(
        "tibialis_anterior_tendon",
        (-5.0, TIBIALIS_X_MM, -14.0),
        size["tibialis_anterior_width"],
        size["tibialis_anterior_thickness"],
        1.2,
    )
    run("extensor_hallucis_longus_tendon", (3.0, -1.6, -4.0), 5.0, 2.5, 1.6)
    run("extensor_digitorum_longus_tendon", (11.0, 10.2, 10.0), 10.0, 3.0, 1.4)
    rows = [
        [z, -1.0, -46.0 * s + 0.05 * min(z, 0), 6.5 * s, 2.8 * s] for z in (top + 8, 20 * s, -10 * s, -30 * s)
    ]
    build.band("achilles_tendon", rows, sd=2.0, spacing_mm=0.8)
    for name, x, deep, key in (
        ("dorsalis_pedis_artery", 3.6, 0.6, "dorsalis_pedis_diameter"),
        ("deep_fibular_nerve", 6.6, 0.4, "deep_fibular_nerve_diameter"),
    ):
        radius = 0.5 * size[key]
        knots = [[x * s + aside(z), y_at(z, deep), z] for z in (top + 2, 0.5 * top, 14 * s, 0.0, -9 * s, low)]
        build.cord(name, knots, radius, sd=2.5)
    lateral = float(points[(points[:, 2] > -6.0 * s) & (points[:, 2] < 12.0 * s)][:, 0].max())
    if "fibula" in build.given:
        fibula = build.vertices("fibula")
        near = fibula[np.abs(fibula[:, 2]) < 10.0 * s]
        lateral = float(near[:, 0].max()) if len(near) else lateral
    x = lateral - size["superficial_fibular_from_lateral"]
    radius = 0.5 * size["superficial_fibular_nerve_diameter"]
    off = max(0.4 * fat, radius + 0.4)
    places = ((x + 2 * s, top), (x, 0.4 * top), (x - 1, 0.0), (x - 3, low))
    knots = [[px, build.front_at(core, px, pz) + off, pz] for px, pz in places]
    build.cord("superficial_fibular_nerve", knots, radius, sd=4.0)


def _fat_pad(build: Build, s: float, core: Floats32) -> None:
    """The fat between the extensor tendons and the joint's front; tendons and capsule lie in it."""
    top = min(34.0 * s, float(build.grid.high_mm[2]) - 2.0)
    low, high = (-20.0 * s, 2.0 * s, -24.0 * s), (20.0 * s, 44.0 * s, top)
    grid = Grid.between(build.frame, low, high, 0.8)
    bones = build.distance(BONES, grid, 10.0)
    inner = upsample(core, build.grid, grid) + np.float32(build.sizes["deep_fascia_thickness"] + 0.3)
    # a wedge that points into the joint: thick over the hollow, thin up on the tibia and out on the neck
    cover = curve(grid.z, {-22.0 * s: 2.5, -8.0 * s: 9.0, 6.0 * s: 9.0, top: 1.5})
    cover = cover * (1.0 - ramp(np.abs(grid.x), 8.0 * s, 19.0 * s))
    box = np.maximum(np.float32(6.0 * s) - grid.y, np.maximum(-22.0 * s - grid.z, grid.z - top + 2.0))
    pad = smooth_max(smooth_max(inner, box, 4.0), bones - cover, 4.0)
    pad = smooth_max(pad, -bones - 0.5, 1.0)
    if (pad < 0).any():
        build.add("anterior_ankle_fat_pad", grid, pad, sd=2.0)


def complete_ankle(
    axes: JointAxes,
    segmented: Mapping[str, Structure],
    subject: Subject,
    *,
    mode: Mode = "auto",
    parameters: Mapping[str, float] | None = None,
    skin: SeenSkin | None = None,
    drafts: Drafts | None = None,
    progress: Progress | None = None,
) -> Completed:
    """Build an ankle's unsegmented tissues and its cavity; see `complete_joint`.

    Raises EmptyStructureError when tibia or talus is missing.
    """
    need("ankle", segmented)
    say = progress or (lambda label, share: None)
    given = dict(parameters or {})
    bmi, said = body_mass(subject)
    by_person = float(np.interp(bmi, BMI, ANTERIOR_FAT_MM))
    sizes = front_fat(sizes_of(_of_person(subject), given), by_person, said, given)
    frame = Frame.of(axes, drafts)
    talus = frame.to_joint(segmented["talus"].surface.vertices_mm)
    scale = float(np.clip(np.ptp(talus[:, 0]) / DRAWN_WIDTH_MM, 0.7, 1.4))
    tibia = frame.to_joint(segmented["tibia"].surface.vertices_mm)
    room = sizes.values["anterior_fat"] + 8.0
    top = min(80.0 * scale, float(tibia[:, 2].max()) - 4.0)
    low = np.array([-40.0 * scale - room, -72.0 * scale - room, -COURSES_MM * scale])
    if "calcaneus" in segmented:  # the view holds the heel and its sole
        heel = frame.to_joint(segmented["calcaneus"].surface.vertices_mm).min(axis=0)
        low[1:] = np.minimum(low[1:], heel[1:] - SOLE_MM - room)
    grid = Grid.between(frame, low, (40 * scale + room, 48 * scale + room, top), COARSE_MM)
    build = Build(frame, sizes, segmented, grid, skin=skin)
    if mode == "auto":
        say("ankle: skin, fat and fascia", 0.1)
        _cartilage(build, scale)
        line = _bone_line(build, scale)
        core = _core(build, scale, line)
        fat = sizes["anterior_fat"]
        shaped = build.envelopes(core, fat, sizes["skin_thickness"], sizes["deep_fascia_thickness"])
        if build.skin is not None:
            core = shaped
        say("ankle: tendons, vessels and nerves", 0.3)
        build.kept["core"] = core
        add_fat(build, scale)
        _fat_pad(build, scale, core)
        add_hind_side(build, scale)
        _cords_and_tendons(build, scale, fat, line, core)
        add_saphenous(build, scale, fat)
        add_retinacula(build, scale)
    say("ankle: joint cavity", 0.6)
    cavity = build.with_own_fluid(lambda: ankle_cavity(build, scale))
    if mode == "auto":
        give_way(build, STANDS_ON["ankle"])
    say("ankle: labels", 0.9)
    return finished(build, cavity, covering(build, grid), 0.8, mode=mode)
