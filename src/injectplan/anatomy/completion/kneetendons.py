"""The knee's extensor: quadriceps tendon, patellar tendon and the retinacula beside the patella."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from injectplan.anatomy.completion.kneebuild import FINE_MM, Build
from injectplan.anatomy.completion.solids import Grid, curve, ramp, smooth_max
from injectplan.kernels.cast import Floats32


def tendon_line(build: Build) -> Callable[[npt.ArrayLike], Floats32]:
    """The quadriceps tendon's middle y by height: from the patella's upper pole to before the femur."""
    m, size = build.marks, build.sizes
    top = float(m.patella_top[2])
    half = 0.5 * size["quadriceps_tendon_thickness"]
    pole = float(m.patella_top[1]) - half
    stack = size["prefemoral_fat_pad_thickness"] + size["recess_thickness"] + half

    def front(z: float) -> float:
        return float(m.front(z))

    def clear(z: float) -> float:
        """Before the fluid that was segmented, if any: an effusion lifts the tendon off the femur."""
        return max(build.fluid_front(z + off) for off in (-8.0, 0.0, 8.0)) + half + 1.6

    reach = min(build.sizes.values["limb_above"], 150.0)
    above = top + 45.0
    knots = {
        top - 12.0: pole + 0.5,
        top - 4.0: pole - 1.2,
        top + 14.0: max(front(top + 14.0) + stack + 1.5, pole - 6.5, clear(top + 14.0)),
        top + 32.0: max(front(top + 32.0) + stack + 1.0, pole - 11.0, clear(top + 32.0)),
        above: max(front(top + 20.0) + stack + 1.0, pole - 11.5, clear(above)),
        reach + 20.0: max(front(top + 20.0) + stack + 6.0, pole - 2.0),
    }
    between = [(a, 0.5 * (a + b), b) for a, b in zip(sorted(knots)[1:-2], sorted(knots)[2:-1], strict=True)]
    for a, z, b in between:  # over a large effusion they would run through it
        if clear(z) > 0.5 * (knots[a] + knots[b]):
            knots[z] = clear(z)
    return lambda z: curve(z, knots)


def quadriceps_tendon(build: Build, g: Grid) -> Floats32:
    """Signed values of the quadriceps tendon on a grid."""
    m, size = build.marks, build.sizes
    top = float(m.patella_top[2])
    y = g.y - tendon_line(build)(g.z)
    wide = 0.5 * curve(g.z, {top - 8: size["quadriceps_tendon_width"] * 0.72,
                             top + 6: size["quadriceps_tendon_width"],
                             top + 35: 0.7 * size["quadriceps_tendon_width"],
                             top + 80: 0.55 * size["quadriceps_tendon_width"]})  # fmt: skip
    thick = 0.5 * curve(g.z, {top - 8: size["quadriceps_tendon_thickness"] * 1.05,
                              top + 20: size["quadriceps_tendon_thickness"],
                              top + 55: 0.85 * size["quadriceps_tendon_thickness"],
                              top + 85: 0.4 * size["quadriceps_tendon_thickness"]})  # fmt: skip
    x = g.x - np.float32(m.patella_top[0]) * ramp(g.z, top + 90, top)
    sag = 0.006 * x * x  # the tendon wraps the femur's front
    flat = smooth_max(np.abs(y + sag) - thick, np.abs(x) - wide, 4.0)
    ends = np.maximum(np.float32(top - 7.0) - g.z, g.z - np.float32(top + size["quadriceps_tendon_length"]))
    return smooth_max(flat, ends, 2.0)


def patellar_tendon(build: Build, g: Grid) -> Floats32:
    """Signed values of the patellar tendon on a grid."""
    m, size = build.marks, build.sizes
    half = 0.5 * size["patellar_tendon_thickness"]
    a, b = m.patella_bottom + np.array([0, 2.0, 6.0]), m.tuberosity + np.array([0, half - 1.0, -2.0])
    knots = {float(a[2]): (a[0], a[1]), float(b[2]): (b[0], b[1])}
    cx = curve(g.z, {z: v[0] for z, v in knots.items()})
    cy = curve(g.z, {z: v[1] for z, v in knots.items()})
    tilt = np.cos(np.arctan2(a[1] - b[1], a[2] - b[2]))
    wide = 0.5 * size["patellar_tendon_width"] * curve(g.z, {float(a[2]): 1.15, float(b[2]): 0.9})
    flat = smooth_max(np.abs(g.y - cy) * np.float32(tilt) - half, np.abs(g.x - cx) - wide, 3.0)
    return smooth_max(flat, np.maximum(np.float32(b[2]) - g.z, g.z - np.float32(a[2])), 2.0)


def add_tendons(build: Build) -> None:
    """Add both tendons."""
    m = build.marks
    top = float(m.patella_top[2])
    g = build.fine((m.patella_x - 32, 5, top - 12), (m.patella_x + 32, 75, top + 92), FINE_MM)
    tendon = np.maximum(quadriceps_tendon(build, g), -build.on(g, build.distance("patella")) - 2.0)
    build.add("quadriceps_tendon", g, tendon, sd=1.5, bump=1, fibres=(0, 0, 1))
    low = m.tuberosity - np.array([24.0, 16.0, 12.0])
    high = m.patella_bottom + np.array([24.0, 22.0, 14.0])
    g = build.fine(np.minimum(low, high), np.maximum(low, high), 0.8)
    along = m.patella_bottom - m.tuberosity
    build.add("patellar_tendon", g, patellar_tendon(build, g), sd=1.5, bump=1, fibres=along)


def add_retinacula(build: Build) -> None:
    """Add the retinacula on both sides of the patella, under the deep fascia."""
    m, size, s = build.marks, build.sizes, build.marks.scale
    middle = 0.5 * (m.patella_low + m.patella_high)
    for name, sign in (("lateral_retinaculum", 1.0), ("medial_retinaculum", -1.0)):
        edge = float(m.patella_high[0] if sign > 0 else m.patella_low[0]) - sign * 2.0
        far = float(m.femur_high[0] if sign > 0 else m.femur_low[0])
        ends = sorted((edge, far + sign * 12.0))
        g = build.fine((ends[0], -2, m.patella_low[2] - 4), (ends[1], 62, m.patella_high[2] + 6), 0.7)
        core = build.on(g, build.solids["core"])
        half = 0.5 * np.float32(size["retinaculum_thickness"])
        sheet = np.abs(core + half + np.float32(size["deep_fascia_thickness"])) - half
        height = np.abs(g.z - np.float32(middle[2])) - np.float32(
            0.5 * (m.patella_high[2] - m.patella_low[2])
        )
        inside = np.maximum(
            np.float32(edge) - g.x if sign > 0 else g.x - np.float32(edge), np.float32(6 * s) - g.y
        )
        solid = np.maximum(np.maximum(sheet, height), np.maximum(inside, 0.4 - build.on(g, build.bones)))
        if (solid < 0).any():
            build.add(name, g, solid, sd=1.5, fibres=(1, -0.5, 0))
