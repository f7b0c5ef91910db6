"""A needle's echo, computed once per line from where its axis passes, and its map; ideal points, too."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from injectplan.kernels._jit import kernel, prange
from injectplan.kernels.boundary import lobe, overlap_of
from injectplan.kernels.cast import Floats
from injectplan.kernels.line_values import C0, NEPER

GHOSTS = 6  # ring-down echoes drawn behind a needle's wall
# The first one re the wall's mirror echo, and each next one (assumed: public needle frames show one fainter
# line beside a shaft; through a plane wall of 22 gauge it would be -42 dB, and none would show).
GHOST_DB, GHOST_STEP_DB = -20.0, -10.0
WATER = 1.4823  # mm/µs in the bore
STEEL_R = 0.927  # muscle on steel, from the tissue table
# Fall of a needle's diffuse floor per degree of tilt, dB: medians of shaft contrast of 22 G Chiba needles
# against angle (MisitLab/needles-in-ultrasound, CC BY-SA 4.0).
FLOOR_DB_DEG = -0.13


class Steel(NamedTuple):
    """A needle for its echo: tip, unit axis to the hub, length, outer and inner radius, bevel in radians.

    floor_db : diffuse floor of the shaft re its facing echo.  tip_db : the tip's edges re a perfect mirror.
    gain_db : added to the shaft's echo.
    """

    tip: Floats
    axis: Floats
    length: float
    radius: float
    bore: float
    bevel: float
    floor_db: float
    tip_db: float
    gain_db: float


@kernel
def _sample_of(reach, path, step):
    """Displayed depth in mm of a true path in mm; infinite beyond the line's end."""
    n = reach.shape[0]
    k = min(n - 1, max(0, int(path / step)))
    while k > 0 and reach[k] > path:
        k -= 1
    while k < n - 1 and reach[k + 1] <= path:
        k += 1
    if k >= n - 1:
        return np.inf
    gap = reach[k + 1] - reach[k]
    return step * (k + (path - reach[k]) / gap) if gap > 0.0 else step * k


@kernel
def _pulse(re, im, depth, step, sigma, real, imag):
    first = max(0, math.ceil((depth - 4.0 * sigma) / step))
    last = min(re.shape[0], int((depth + 4.0 * sigma) / step) + 1)
    inverse = 1.0 / (2.0 * sigma * sigma)
    for n in range(first, last):
        off = n * step - depth
        g = math.exp(-off * off * inverse)
        re[n] += np.float32(g * real)
        im[n] += np.float32(g * imag)


@kernel
def shaft_amplitude(focus, n, tilt_sin, hx, hy, radius, floor_db, gain_db):
    """Mirror part and floor part of a shaft's echo re a perfect planar mirror, at grid depth n.

    tilt_sin : sine of the shaft's tilt out of the perpendicular to the beam.  hx, hy : the shaft's unit
    direction across the beam, lateral and elevation.  The cylinder spreads sound across its axis:
    a coherent strip of half-width of the first Fresnel zone against the beam's width.
    """
    tilt = math.asin(min(1.0, abs(tilt_sin)))
    across = (hy * focus.sigma_x[n]) ** 2 + (hx * focus.sigma_y[n]) ** 2
    spread = 2.0 * focus.wavenumber * across / max(radius, 1e-3)
    strip = (1.0 + spread * spread) ** -0.25 * math.exp(NEPER * gain_db)
    fx, fy = focus.f_lateral[n], focus.f_elevation[n]
    f = 1.0 / math.sqrt((hx / fx) ** 2 + (hy / fy) ** 2)
    mirror = lobe(overlap_of(math.tan(tilt), f)) if tilt < 0.78 else 0.0
    floor = math.exp(NEPER * (floor_db + FLOOR_DB_DEG * math.degrees(tilt)))
    return STEEL_R * strip * mirror, STEEL_R * strip * floor


@kernel
def needle_line(focus, steel, o, d, lat, ele, through, reach, re, im, mark):
    """Add the needle's echo to one line: wall, ring-down of the bore, tip. mark[0] : the wall's depth."""
    mark[0] = np.nan
    if steel.radius <= 0.0:
        return
    px, py, pz = steel.tip[0] - o[0], steel.tip[1] - o[1], steel.tip[2] - o[2]
    a = steel.axis
    u0, v0 = px * lat[0] + py * lat[1] + pz * lat[2], px * ele[0] + py * ele[1] + pz * ele[2]
    w0 = px * d[0] + py * d[1] + pz * d[2]
    au, av = a[0] * lat[0] + a[1] * lat[1] + a[2] * lat[2], a[0] * ele[0] + a[1] * ele[1] + a[2] * ele[2]
    aw = a[0] * d[0] + a[1] * d[1] + a[2] * d[2]
    step, last = focus.step, re.shape[0] - 1
    s, n = 0.0, min(last, max(0, int(w0 / step)))
    for _ in range(4):
        sx, sy = focus.sigma_x[n], focus.sigma_y[n]
        bottom = (au / sx) ** 2 + (av / sy) ** 2
        s = -(u0 * au / (sx * sx) + v0 * av / (sy * sy)) / bottom if bottom > 1e-9 else 0.0
        s = min(max(s, 0.0), steel.length)
        n = min(last, max(0, int((w0 + s * aw) / step)))
    sx, sy = focus.sigma_x[n], focus.sigma_y[n]
    u, v, w = u0 + s * au, v0 + s * av, w0 + s * aw
    share = math.exp(-0.5 * ((u / sx) ** 2 + (v / sy) ** 2))
    flat = math.sqrt(au * au + av * av)
    if share > 1e-4 and w > 0.0 and flat > 1e-6:
        cos_tilt = max(0.2, flat)
        top = w - steel.radius / cos_tilt
        depth = _sample_of(reach, max(top, 0.0), step)
        if depth < step * last:
            k = max(0, min(last, int(depth / step)) - 1)
            level = through[k]
            mirror, floor = shaft_amplitude(
                focus, k, aw, au / flat, av / flat, steel.radius, steel.floor_db, steel.gain_db
            )
            lit = 1.0 / math.sqrt((au / sx) ** 2 + (av / sy) ** 2)
            sigma = math.sqrt(focus.sigma_z**2 + (aw * min(lit, steel.length)) ** 2)
            whole = math.sqrt(mirror * mirror + floor * floor)
            _pulse(re, im, depth, step, sigma, level * share * whole, 0.0)
            mark[0] = depth
            spacing = 2.0 * steel.bore * C0 / WATER
            ghost = level * share * mirror * math.exp(NEPER * GHOST_DB)
            fade = math.exp(NEPER * GHOST_STEP_DB)
            for g in range(1, GHOSTS + 1):
                turn = 2.4 * g
                _pulse(
                    re, im, depth + g * spacing, step, sigma, ghost * math.cos(turn), ghost * math.sin(turn)
                )
                ghost *= fade
    if w0 > 0.0:
        n = min(last, int(w0 / step))
        sx, sy = focus.sigma_x[n], focus.sigma_y[n]
        share = math.exp(-0.5 * ((u0 / sx) ** 2 + (v0 / sy) ** 2))
        if share > 1e-4:
            depth = _sample_of(reach, max(w0 - steel.radius, 0.0), step)
            if depth < step * last:
                k = max(0, int(depth / step) - 2)
                edge = math.exp(NEPER * steel.tip_db)
                if flat > 1e-6:
                    # The bevel faces the probe, as usual: its normal leans from the shaft's by its angle.
                    lean = math.sin(math.asin(min(1.0, max(-1.0, aw))) - steel.bevel)
                    facet, _ = shaft_amplitude(
                        focus, k, lean, au / flat, av / flat, steel.radius, steel.floor_db, steel.gain_db
                    )
                    edge = math.sqrt(edge * edge + facet * facet)
                _pulse(re, im, depth, step, focus.sigma_z, 0.0, through[k] * share * edge)


@kernel
def points_line(focus, points, amplitude, o, d, lat, ele, through, reach, re, im):
    """Add point targets to one line, each with the whole point-spread function."""
    step, last = focus.step, re.shape[0] - 1
    for p in range(points.shape[0]):
        px, py, pz = points[p, 0] - o[0], points[p, 1] - o[1], points[p, 2] - o[2]
        w = px * d[0] + py * d[1] + pz * d[2]
        if w <= 0.0:
            continue
        n = min(last, int(w / step))
        u = (px * lat[0] + py * lat[1] + pz * lat[2]) / focus.sigma_x[n]
        v = (px * ele[0] + py * ele[1] + pz * ele[2]) / focus.sigma_y[n]
        share = math.exp(-0.5 * (u * u + v * v))
        if share < 1e-6:
            continue
        depth = _sample_of(reach, w, step)
        if depth < step * last:
            _pulse(re, im, depth, step, focus.sigma_z, through[int(depth / step)] * share * amplitude[p], 0.0)


@kernel
def _in_picture(steel, m, pixel, s):
    """Column and row of the axis s mm from the tip, not rounded."""
    x = steel.tip[0] + s * steel.axis[0] - m[0, 3]
    y = steel.tip[1] + s * steel.axis[1] - m[1, 3]
    z = steel.tip[2] + s * steel.axis[2] - m[2, 3]
    column = (x * m[0, 0] + y * m[1, 0] + z * m[2, 0]) / (pixel * pixel)
    return column, (x * m[0, 1] + y * m[1, 1] + z * m[2, 1]) / (pixel * pixel)


@kernel
def _columns_near(c0, r0, c1, r1, row, reach):
    """Columns [first, last) of a row within `reach` pixels of the line from (c0, r0) to (c1, r1)."""
    low, high = min(r0, r1) - reach, max(r0, r1) + reach
    if row < low or row > high:
        return 0, 0
    a, b = 0.0, 1.0
    if abs(r1 - r0) > 1e-9:
        a, b = (row - reach - r0) / (r1 - r0), (row + reach - r0) / (r1 - r0)
        a, b = min(max(min(a, b), 0.0), 1.0), min(max(max(a, b), 0.0), 1.0)
    ca, cb = c0 + a * (c1 - c0), c0 + b * (c1 - c0)
    return int(min(ca, cb) - reach) - 1, int(max(ca, cb) + reach) + 2


@kernel
def mark_needle(steel, to_patient, half_slice, scan, depth, step, near, pixel, needle, trusted):
    """Mark the pixels the needle covers, and doubt those around it, within `near` mm.

    A pixel is covered when it lies within the wall's radius of the axis, seen across the slice, where the
    axis itself runs within the slice's half thickness (half_slice by sample, mm).
    """
    height, width = needle.shape
    c0, r0 = _in_picture(steel, to_patient, pixel, 0.0)
    c1, r1 = _in_picture(steel, to_patient, pixel, steel.length)
    reach = (steel.radius + near) / pixel
    e0, e1, e2 = to_patient[0, 2], to_patient[1, 2], to_patient[2, 2]
    a = steel.axis
    ae = a[0] * e0 + a[1] * e1 + a[2] * e2
    flat2 = 1.0 - ae * ae
    for row in prange(height):
        needle[row, :] = np.uint8(0)
        first, last = _columns_near(c0, r0, c1, r1, row, reach)
        if not steel.radius > 0.0:
            continue
        for column in range(max(0, first), min(width, last)):
            if scan.cell[row, column] < 0:
                continue
            px = to_patient[0, 0] * column + to_patient[0, 1] * row + to_patient[0, 3] - steel.tip[0]
            py = to_patient[1, 0] * column + to_patient[1, 1] * row + to_patient[1, 3] - steel.tip[1]
            pz = to_patient[2, 0] * column + to_patient[2, 1] * row + to_patient[2, 3] - steel.tip[2]
            pe = px * e0 + py * e1 + pz * e2
            pa = px * a[0] + py * a[1] + pz * a[2]
            s = (pa - pe * ae) / flat2 if flat2 > 1e-2 else pe / ae
            s = min(max(s, 0.0), steel.length)
            qx, qy, qz = px - s * a[0], py - s * a[1], pz - s * a[2]
            qe = qx * e0 + qy * e1 + qz * e2
            gap2 = qx * qx + qy * qy + qz * qz - qe * qe
            k = min(half_slice.shape[0] - 1, int(depth[row, column] / step))
            if abs(qe) <= half_slice[k] + steel.radius:
                if gap2 <= steel.radius * steel.radius:
                    needle[row, column] = 1
                if gap2 <= (steel.radius + near) * (steel.radius + near):
                    trusted[row, column] = False
