"""The ankle's joint cavity: a film on the dome, gutters beside it, recesses in front and behind."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from injectplan.anatomy.completion.limb import Build, Space, cavity_of
from injectplan.anatomy.completion.solids import curve_of, ramp, smooth_max, smooth_min
from injectplan.anatomy.model import Cavity
from injectplan.kernels.cast import Floats32

RECESSES = ("anterior", "posterior", "central")
# how high the capsule turns over above the plafond's rim: medial, middle, lateral (13 and 22 cadavers,
# doi:10.1002/ca.23219, PMC6890913); the ankle's table gives the heights, these their shape
FRONT_SHAPE, BACK_SHAPE = (10.3 / 12.0, 13.5 / 12.0, 9.8 / 12.0), (8.7 / 6.2, 1.0, 3.5 / 6.2)
TALAR_MM = 12.0  # below the dome's top: 5-10 mm below its front rim (assumed)
GUTTER_MM = 1.7  # assumed: half the widest gap between talus and malleolus that fluid bridges
MOUTH_MM = 3.0  # assumed: how far the recesses reach before the malleoli, beyond the dome
OUT_MM = 16.0  # assumed: the same line, ahead of or behind the plafond's rim
BEHIND = 0.85  # assumed: thickness of the fluid behind, of that in front
MOST_MM = 7.5  # assumed: how far the capsule gives


@dataclass(frozen=True, eq=False)
class _Recess:
    """A recess over the joint's line: how far points lie beyond its outline; 1 in its middle, 0 there."""

    beyond: Floats32
    middle: Floats32


def _recess(build: Build, space: Space, s: float, front: bool) -> _Recess:
    """An oval whose top follows the published reflections, as wide as the mortise, open to the joint."""
    x, y, z = space.x, space.y, space.z
    height = build.sizes["anterior_reflection" if front else "posterior_reflection"]
    medial, middle, lateral = FRONT_SHAPE if front else BACK_SHAPE
    rim_y, rim = _rim(build, s, front)
    across, half = _width(build, s)
    x = x - np.float32(across)
    top = np.float32(height) * curve_of(x, {-0.8 * half: medial, 0.0: middle, 0.8 * half: lateral})
    low = np.float32(rim + TALAR_MM * s)
    up = np.where(z > rim, (z - np.float32(rim)) / top, (np.float32(rim) - z) / low)
    ahead = np.maximum((y - rim_y if front else rim_y - y) / np.float32(OUT_MM * s), 0)
    out = (np.abs(x / np.float32(half)) ** 3 + np.abs(up) ** 3 + ahead**3) ** np.float32(1 / 3)
    depth = (7.0 * s - y) if front else (y + 8.0 * s)
    beyond = smooth_max((out - 1) * np.minimum(top, np.float32(half)), depth, 1.5)
    return _Recess(beyond, np.asarray(1 - np.minimum(out, 1) ** 3, np.float32))


def _film(build: Build, space: Space, s: float, tibia: Floats32, talus: Floats32) -> Floats32:
    """The film between plafond and dome, and the clefts between the talus and both malleoli."""
    x, z = space.x, space.z
    inside = np.maximum(np.abs(x) - 16.0 * s, -(z + 14.0 * s))
    dome = np.maximum(np.maximum(np.maximum(tibia, talus) - 1.4, np.minimum(tibia, talus) - 0.6), inside)
    malleoli = tibia
    if "fibula" in build.given:
        malleoli = np.minimum(tibia, build.distance(("fibula",), space.grid, 4.0))
    beside = np.maximum(
        np.float32(10.0 * s) - np.abs(x), np.maximum(-(z + 14.0 * s), z - np.float32(_rim(build, s, True)[1]))
    )
    return smooth_min(dome, np.maximum(np.maximum(malleoli, talus) - np.float32(GUTTER_MM), beside), 0.8)


def ankle_cavity(build: Build, s: float) -> Cavity:
    """Build the resting cavity and how it opens; s : the talus's size over the drawn one."""
    size = build.sizes
    space = Space.between(build.frame, (-24 * s, -34 * s, -24 * s), (24 * s, 36 * s, 22 * s), build.fluid)
    y = space.y
    tibia = build.distance(("tibia", "tibial_plafond_cartilage"), space.grid, 8.0)
    talus = build.distance(("talus", "talar_cartilage"), space.grid, 8.0)
    others = build.distance(("fibula", "calcaneus"), space.grid, 8.0)
    bones = np.minimum(tibia, talus)
    ahead, behind = (_recess(build, space, s, front) for front in (True, False))
    rest = _film(build, space, s, tibia, talus)
    for one, share in ((ahead, 1.0), (behind, BEHIND)):
        # a meniscus of fluid, thickest in its middle
        thick = np.float32(0.5 * share * size["recess_thickness"]) * (1 + one.middle)
        slit = bones - thick
        rest = smooth_min(rest, smooth_max(slit, one.beyond, 1.5), 0.8)
    before, after = ramp(y, 5.0 * s, 11.0 * s), ramp(y, -6.0 * s, -12.0 * s)
    # a recess stands off most in its middle and ends at its outline
    ease = np.maximum(np.maximum(before * ahead.middle, 0.55 * after * behind.middle), 0.08)
    edge = np.where(y > 0, ahead.beyond, behind.beyond)
    allowed = np.maximum(
        bones - np.float32(MOST_MM), np.where(np.abs(y) > 7.0 * s, edge - 1.0, np.float32(-1.0))
    )
    index = np.where(y > 7.0 * s, 1, np.where(y < -9.0 * s, 2, 3)).astype(np.uint8)
    said = (f"ankle cavity built from the bones: resting volume {size['resting_fluid']:g} mL (assumed)",)
    walls = np.minimum(bones, others)
    return cavity_of(build, space, rest, walls, ease, allowed, index, RECESSES, size, said)


def _width(build: Build, s: float) -> tuple[float, float]:
    """Middle and half width of the recesses: of the talar dome and the mouths of the clefts beside it."""
    talus = build.vertices("talus")
    middle = talus[np.abs(talus[:, 1]) < 8.0 * s]
    dome = middle[middle[:, 2] > middle[:, 2].max() - 6.0 * s]
    low, high = (float(np.quantile(dome[:, 0], q)) for q in (0.01, 0.99))
    return 0.5 * (low + high), float(np.clip(0.5 * (high - low) + MOUTH_MM * s, 13.0 * s, 20.0 * s))


def _rim(build: Build, s: float, front: bool) -> tuple[float, float]:
    """Place ahead and height of the plafond's rim: the tibia's lowest points before or behind the dome."""
    tibia = build.vertices("tibia")
    out = tibia[:, 1] > 9.0 * s if front else tibia[:, 1] < -9.0 * s
    rim = tibia[(np.abs(tibia[:, 0]) < 8.0 * s) & out & (tibia[:, 2] < 15.0 * s)]
    if not len(rim):
        return (12.0 * s if front else -12.0 * s), 0.0
    height = float(np.quantile(rim[:, 2], 0.05))
    return float(np.median(rim[rim[:, 2] < height + 2.0 * s][:, 1])), height
