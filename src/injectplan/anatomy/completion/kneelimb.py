"""The limb around a knee: its section under the deep fascia; skin, fat, fascia and muscle around it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy import ndimage

from injectplan.anatomy.completion.kneebuild import Build
from injectplan.anatomy.completion.kneetendons import patellar_tendon, quadriceps_tendon, tendon_line
from injectplan.anatomy.completion.solids import ball, curve, ellipse, ramp, smooth_max, smooth_min, tube
from injectplan.kernels.cast import Floats32

# The limb's section under the deep fascia by height z: (centre y, half width, half depth) of an ellipse.
SECTIONS: Mapping[float, tuple[float, float, float]] = {
    150.0: (3.0, 66.0, 62.0), 110.0: (2.0, 59.0, 56.0), 80.0: (1.0, 51.0, 49.5), 52.0: (-1.0, 45.5, 45.0),
    25.0: (-3.0, 44.0, 43.0), 0.0: (-4.0, 43.0, 42.0), -25.0: (-10.0, 42.0, 38.0), -60.0: (-19.0, 43.0, 39.0),
    -100.0: (-23.0, 45.0, 42.0),
}  # fmt: skip
OVER_FLUID_MM = 4.2  # capsule, and beside the knee the iliotibial tract, lie between fluid and fascia
FAR_MM = 14.0  # from here on outwards a distance transform tells how far the fascia is


def limb_core(build: Build) -> Floats32:
    """The limb under the deep fascia, on the coarse grid; about a distance."""
    g, s = build.coarse, build.marks.scale
    table = {z * s: v for z, v in SECTIONS.items()}
    cy, a, b = (curve(g.z, {z: v[i] * s for z, v in table.items()}) for i in range(3))
    # squarer in front and behind at the thigh than an ellipse would be: the quadriceps' shoulders
    core = ellipse(g.x - np.float32(0.5 * s), g.y - cy, a, b)
    core = smooth_max(core, _lid(build), 8.0 * s)
    fossa = ball(g, (1.0 * s, -62.0 * s, 18.0 * s), (17.0 * s, 17.0 * s, 40.0 * s))
    core = smooth_max(core, -fossa, 14.0 * s)
    for x, y, top, size in ((-23.0, -33.0, 30.0, 9.0), (24.0, -32.0, 30.0, 9.0)):  # hamstring tendons
        cord = tube(g, np.array([[x, y, top + 60], [x * 1.05, y - 2, top], [x, y, -30]]) * s, size * s)
        core = smooth_min(core, cord, 12.0 * s)
    for x in (-15.0, 17.0):  # heads of the gastrocnemius
        head = ball(g, np.array([x, -34.0, -70.0]) * s, np.array([20.0, 24.0, 62.0]) * s)
        core = smooth_min(core, head, 14.0 * s)
    teardrop = ball(g, np.array([-27.0, 25.0, 68.0]) * s, np.array([19.0, 20.0, 26.0]) * s)
    core = smooth_min(core, teardrop, 12.0 * s)
    core = smooth_min(core, build.bones - np.float32(0.6), 5.0 * s)
    if "synovial_fluid" in build.given:  # an effusion lifts the fascia
        core = smooth_min(core, build.distance("synovial_fluid") - np.float32(OVER_FLUID_MM), 5.0 * s)
    for name in build.soft_given:
        core = smooth_min(core, build.distance(name) - np.float32(1.2), 5.0 * s)
    core = smooth_min(core, quadriceps_tendon(build, g) - np.float32(0.2), 5.0 * s)
    core = smooth_min(core, patellar_tendon(build, g) - np.float32(0.2), 5.0 * s)
    core = ndimage.gaussian_filter(core, 0.9 / g.frame.coarser, mode="nearest")
    slope = np.sqrt(sum(d * d for d in np.gradient(core, g.spacing_mm)))
    core = core / np.clip(slope, 0.5, 1.5)
    # smoothing may not bring a bone or tendon out
    held = build.bones - np.float32(1.0)
    for name in build.soft_given:
        held = np.minimum(held, build.distance(name) - np.float32(0.8))
    return np.asarray(np.minimum(core, held), np.float32)


def _lid(build: Build) -> Floats32:
    """How far a point lies before the extensor: the fascia rests on tendon, then muscle."""
    g, size = build.coarse, build.sizes
    top = float(build.marks.patella_top[2])
    line = tendon_line(build)(g.z) + 0.5 * np.float32(size["quadriceps_tendon_thickness"]) + np.float32(1.0)
    belly = curve(g.z, {top + 32.0: 0.0, top + 73.0: 7.5, top + 113.0: 13.0}) * np.float32(build.marks.scale)
    x = g.x - np.float32(build.marks.patella_x)
    lid = g.y - line - belly - np.float32(0.007) * x * x  # both vasti bulge beside the tendon
    return np.asarray(lid - 60.0 * ramp(g.z, top + 2.0, top - 10.0), np.float32)


def fat_over_limb(build: Build) -> Floats32:
    """Thickness of the subcutaneous fat over the limb, coarse grid."""
    g, m, size, s = build.coarse, build.marks, build.sizes, build.marks.scale
    thigh = ramp(g.z, 50.0 * s, 120.0 * s)
    base = (1 - thigh) * np.float32(size["superolateral_fat"]) + thigh * np.float32(
        size["suprapatellar_fat"] * 1.15
    )
    medial = ramp(g.x, -8.0 * s, -38.0 * s) * ramp(np.abs(g.z - 5.0 * s), 80.0 * s, 20.0 * s)
    base = base + medial * np.float32(size["medial_fat"] - size["superolateral_fat"])
    center = 0.5 * (m.patella_low + m.patella_high)
    away = np.sqrt((g.x - center[0]) ** 2 + (g.y - m.patella_front) ** 2 + (g.z - center[2] + 6.0) ** 2)
    near = ramp(away, 52.0 * s, 16.0 * s)
    shin = ramp(g.z, -15.0 * s, -45.0 * s) * ramp(g.y, 5.0 * s, 25.0 * s)
    base = base + near * (np.float32(size["patella_fat"]) - base)
    return np.asarray(base + shin * (np.float32(0.8 * size["superolateral_fat"]) - base), np.float32)


def shape_limb(build: Build, *, skin: bool) -> None:
    """Draw skin and limb, and fit both to a skin that was seen: `solids` get "skin" and "core".

    skin : False draws the limb alone, unless a skin was seen.
    """
    size = build.sizes
    core = limb_core(build)
    if not skin and build.skin is None:
        build.solids["core"] = core
        return
    fat = ndimage.gaussian_filter(fat_over_limb(build), 3.0 / build.frame.coarser, mode="nearest")
    # the core's values end at the bones' band: under thick fat the limb would fill the grid
    away = ndimage.distance_transform_edt(core >= 0.0) - 0.5
    away = ndimage.gaussian_filter(
        (away * build.coarse.spacing_mm).astype(np.float32), 1.0 / build.frame.coarser, mode="nearest"
    )
    near = ramp(core, FAR_MM + 6.0, FAR_MM)
    outer = core * near + away * (1.0 - near) - fat
    outer = ndimage.gaussian_filter(outer, 1.0 / build.frame.coarser, mode="nearest")
    drawn = np.minimum(outer, core - np.float32(1.5)) - np.float32(size["skin_thickness"])
    build.solids["skin"], build.solids["core"] = build.skin_and_core(build.coarse, drawn, core, 4.0)


def add_envelopes(build: Build) -> None:
    """Skin, fat, fascia, muscle: each within the one before."""
    g, size = build.coarse, build.sizes
    core, skin = build.solids["core"], build.solids["skin"]
    # caps one behind the other, so that no two end faces coincide
    for name, values, inset, sd in (
        ("skin", skin, 0.3, 4.0),
        ("subcutaneous_fat", skin + np.float32(size["skin_thickness"]), 0.9, 4.0),
        ("deep_fascia", core, 1.5, 2.5),
        ("muscle", core + np.float32(size["deep_fascia_thickness"]), 2.1, 2.5),
    ):
        ends = np.maximum(np.float32(g.low_mm[2] + inset) - g.z, g.z - np.float32(g.high_mm[2] - inset))
        solid = np.maximum(values, ends)
        build.solids[name] = solid
        if name == "skin":
            build.add_skin(g, solid)
        else:
            build.add(name, g, solid, sd=sd)
