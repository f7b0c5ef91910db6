"""The knee's fat pads and the quadriceps' four muscles."""

from __future__ import annotations

import numpy as np

from injectplan.anatomy.completion.kneebuild import FINE_MM, Build
from injectplan.anatomy.completion.kneetendons import quadriceps_tendon, tendon_line
from injectplan.anatomy.completion.solids import curve, ellipse, ramp, smooth_max

# Of the infrapatellar pad: its sagittal section (MRI, n = 216); the share of its box that it fills and half
# its width (assumed).
HOFFA_MM2, HOFFA_FILLS, HOFFA_HALF_MM = 690.0, 0.85, 27.0


def add_fat_pads(build: Build) -> None:
    """Add the prefemoral, suprapatellar and infrapatellar fat pads."""
    m, size, s = build.marks, build.sizes, build.marks.scale
    top, trochlea = float(m.patella_top[2]), m.trochlea_top
    g = build.fine((-42 * s, -2, trochlea - 4), (44 * s, 60, top + 62), FINE_MM)
    d, core = build.on(g, build.femur), build.on(g, build.solids["core"])
    crown = trochlea + size["recess_height_above_trochlea"]
    thick = size["prefemoral_fat_pad_thickness"] + size["recess_thickness"] * 0.5
    cover = np.float32(thick) * ramp(g.z, crown + 16, crown - 6) * ramp(g.z, trochlea - 2, trochlea + 16)
    side = np.abs(g.x - np.float32(0.5 * m.patella_x)) - np.float32(29.0 * s)
    ahead = np.float32(12.0 * s) - g.y
    pad = smooth_max(smooth_max(d - cover, side, 4.0), np.maximum(ahead, core + np.float32(2.0)), 3.0)
    build.add("prefemoral_fat_pad", g, np.maximum(pad, -d - 1.5), sd=2.0)
    high = top + size["suprapatellar_fat_pad_height"]
    behind = tendon_line(build)(g.z) - 0.5 * np.float32(size["quadriceps_tendon_thickness"])
    wedge = np.maximum(g.y - behind - 0.8, np.float32(top - 3.0) - g.z)
    deepest = behind - np.float32(size["suprapatellar_fat_pad_thickness"])
    wedge = smooth_max(wedge, deepest - g.y, 3.0)  # behind it the recess, and then the prefemoral pad
    wedge = smooth_max(wedge, g.z - np.float32(high) + 0.4 * (behind - g.y), 3.0)
    wedge = smooth_max(wedge, np.abs(g.x - np.float32(m.patella_top[0])) - np.float32(17.0 * s), 4.0)
    wedge = np.maximum(wedge, np.float32(0.6) - d)
    build.add("suprapatellar_fat_pad", g, wedge, sd=1.5, bump=1)
    _hoffa(build, tendon_gap=0.5)


def _hoffa(build: Build, tendon_gap: float) -> None:
    m, s = build.marks, build.marks.scale
    # the deep bursa keeps the pad off the tendon's lowest third
    tendon = float(m.patella_bottom[2] - m.tuberosity[2])
    low_z, high_z = float(m.tuberosity[2]) + max(8.0, 0.3 * tendon), float(m.patella_bottom[2]) + 12.0
    half = 0.5 * (high_z - low_z)
    deep = HOFFA_MM2 * s * s / (HOFFA_FILLS * 2.0 * half)
    g = build.fine((m.patella_x - 34 * s, -4, low_z - 4), (m.patella_x + 34 * s, 66, high_z + 4), FINE_MM)
    a, b = m.patella_bottom, m.tuberosity
    line = curve(g.z, {float(b[2]): float(b[1]) + 1.0, float(a[2]) + 4.0: float(a[1]) - 1.5})
    front = g.y - line - np.float32(tendon_gap) + 0.010 * (g.x - np.float32(m.patella_x)) ** 2
    # half an ellipsoid behind the tendon, to the notch, but no thicker than a pad is: under a high patella
    # the gap is wide, the pad is not
    reach = np.minimum(np.float32(deep), np.maximum(line - np.float32(m.femur_high[1] * 0.35), 4.0))
    up = (g.z - np.float32(low_z + half)) / np.float32(half)
    back = np.maximum(line - g.y, 0) / reach
    aside = (g.x - np.float32(0.8 * m.patella_x)) / np.float32(HOFFA_HALF_MM * s)
    round_ = np.sqrt(np.abs(up) ** 2.6 + back**2.6 + np.abs(aside) ** 2.6) ** np.float32(2.0 / 2.6)
    pad = smooth_max(front, (round_ - 1) * reach, 4.0)
    pad = smooth_max(pad, build.on(g, build.solids["core"]) + np.float32(1.5), 2.0)
    build.add("infrapatellar_fat_pad", g, np.maximum(pad, -build.on(g, build.bones) - 1.0), sd=2.0)


def add_muscles(build: Build) -> None:
    """Add the quadriceps' four heads, each on what lies deep to it."""
    m, size, s = build.marks, build.sizes, build.marks.scale
    top, high = float(m.patella_top[2]), size["limb_above"] - 2.7
    room = 82.0 * s
    g = build.fine((-room, -room, top - 6), (room, room * 0.95, size["limb_above"] - 0.5), 1.5)
    d, core = build.on(g, build.femur), build.on(g, build.solids["core"])
    crown = m.trochlea_top + size["recess_height_above_trochlea"]
    inner = core + np.float32(size["deep_fascia_thickness"] + 0.6)
    end = g.z - np.float32(high)
    middle_y = float(m.front(top + 15.0)) - 13.0 * s
    deep = np.float32(size["vastus_intermedius_thickness"]) * ramp(g.z, crown - 12, crown + 22)
    tendon = quadriceps_tendon(build, g)
    vi = smooth_max(d - deep, np.maximum(np.float32(middle_y - 4) - g.y, -tendon), 3.0)
    vi = np.maximum(np.maximum(vi, inner), np.maximum(end, np.float32(crown - 10) - g.z))
    vi = np.maximum(vi, -d - 1.5)
    build.add("vastus_intermedius", g, vi, sd=2.5, fibres=(0, 0.1, 1))
    line = tendon_line(build)(g.z)
    start = top + 38.0
    rf_half = curve(g.z, {start: 6 * s, start + 35: 15 * s, start + 75: 21 * s})
    rf_deep = curve(g.z, {start: 2.2, start + 35: 6.5 * s, start + 75: 9.5 * s})
    rf = ellipse(g.x - np.float32(1.5 * s), g.y - line - rf_deep * 0.75, rf_half, rf_deep)
    rf = np.maximum(np.maximum(rf, inner), np.maximum(np.float32(start) - g.z, end))
    build.add("rectus_femoris", g, rf, sd=2.5, bump=2, fibres=(0, 0.05, 1))
    angle = np.degrees(np.arctan2(g.x - np.float32(2.0 * s), g.y - np.float32(middle_y)))
    radius = np.sqrt((g.x - np.float32(2.0 * s)) ** 2 + (g.y - np.float32(middle_y)) ** 2)
    for name, sign, near, far, lowest, lean in (
        (
            "vastus_lateralis",
            1.0,
            16.0,
            128.0,
            ((16.0, 34.0), (45.0, 16.0), (75.0, 12.0), (128.0, 40.0)),
            0.25,
        ),
        (
            "vastus_medialis",
            -1.0,
            16.0,
            112.0,
            ((16.0, 22.0), (40.0, 4.0), (70.0, 0.0), (112.0, 24.0)),
            -0.55,
        ),
    ):
        turned = angle * np.float32(sign)
        across = (
            np.maximum(np.float32(near) - turned, turned - np.float32(far)) * radius * np.float32(0.01745)
        )
        bottom = np.float32(top) + curve(turned, lowest) - g.z
        shape = smooth_max(smooth_max(across, bottom, 6.0), np.float32(2.0) - (d - deep) - 1.5, 4.0)
        shape = np.maximum(np.maximum(shape, inner), np.maximum(end, np.maximum(-tendon, -rf)))
        build.add(
            name, g, shape, sd=10.0 if sign < 0 else 5.0, bump=1, fibres=(lean, -0.1 if sign > 0 else 0.15, 1)
        )
