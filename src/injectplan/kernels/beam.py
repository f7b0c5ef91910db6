"""From the lines' complex signal to the picture: focus, needle, detection, log, scan conversion.

One thread, the labels aside: each of these takes under a millisecond, and entering a parallel region was
measured at 4-5 ms on a busy machine.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from injectplan.kernels._jit import image_kernel, kernel, parallel_kernel, prange
from injectplan.kernels.cast import Bools, Floats, Floats32, Ints
from injectplan.kernels.chance import hash64
from injectplan.kernels.echo import C0, Mesh, Solids, best_of, cross, crossings, lobe, overlap_of

GHOSTS = 6  # ring-down echoes drawn behind a needle's wall
GHOST_DB = -10.0  # the first one re the wall's mirror echo (assumed)
GHOST_STEP_DB = -5.0  # each next one (assumed)
WATER = 1.4823  # mm/µs in the bore
STEEL_R = 0.927  # muscle on steel, from the tissue table
# Fall of a needle's diffuse floor per degree of tilt, dB: medians of shaft contrast of 22 G Chiba needles
# against angle (MisitLab/needles-in-ultrasound, CC BY-SA 4.0).
FLOOR_DB_DEG = -0.13
NEPER = 0.11512925464970229


class Focus(NamedTuple):
    """Lateral focus by depth, float32. weights (taps, samples): half of the symmetric filter, sum 1.

    sigma_x, sigma_y (samples): two-way amplitude sd.  f_lateral, f_elevation (samples).  sigma_z, step mm.
    wavenumber : 2π/λ per mm.
    """

    weights: Floats32
    sigma_x: Floats32
    sigma_y: Floats32
    f_lateral: Floats32
    f_elevation: Floats32
    sigma_z: float
    step: float
    wavenumber: float


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


class Scan(NamedTuple):
    """Scan conversion, (h, w): the cell's first corner in (lines, samples), -1 outside; fractions."""

    cell: Ints
    along: Floats32  # towards the next line
    deep: Floats32  # towards the next sample


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


@image_kernel
def focus_lines(focus, steel, points, amplitude, rays, walked, re_row, im_row, power, marks, envelope):
    """Filter across lines by depth, add needle and points, detect: power (lines, samples), envelope in dB.

    A line that touches no tissue stays black. Beyond the outer lines the field is mirrored.
    """
    lines, samples = power.shape
    taps = focus.weights.shape[0]
    for line in prange(lines):
        re, im = re_row[line], im_row[line]
        if not walked.contact[line]:
            power[line, :] = np.float32(0.0)
            envelope[line, :] = np.float32(-200.0)
            marks[line] = np.nan
            continue
        w = focus.weights[0]
        a, b = walked.re[line], walked.im[line]
        for k in range(samples):
            re[k] = w[k] * a[k]
            im[k] = w[k] * b[k]
        for t in range(1, taps):
            left, right = line - t, line + t
            left = -left - 1 if left < 0 else left
            right = 2 * lines - 1 - right if right >= lines else right
            left, right = max(0, min(lines - 1, left)), max(0, min(lines - 1, right))
            w = focus.weights[t]
            a, b, c, d = walked.re[left], walked.im[left], walked.re[right], walked.im[right]
            for k in range(samples):
                re[k] += w[k] * (a[k] + c[k])
                im[k] += w[k] * (b[k] + d[k])
        o, d3, lat = rays.origin[line], rays.direction[line], rays.lateral[line]
        needle_line(
            focus, steel, o, d3, lat, rays.elevation, walked.through[line], walked.reach[line], re, im,
            marks[line : line + 1],
        )  # fmt: skip
        points_line(
            focus,
            points,
            amplitude,
            o,
            d3,
            lat,
            rays.elevation,
            walked.through[line],
            walked.reach[line],
            re,
            im,
        )
        row, shown = power[line], envelope[line]
        for k in range(samples):
            row[k] = re[k] * re[k] + im[k] * im[k]
        for k in range(samples):
            shown[k] = np.float32(3.0102999566) * np.float32(math.log2(row[k] + np.float32(1e-20)))


@image_kernel
def add_look(power, line_at, sample_at, share, out, first):
    """Add one look's amplitude to the compound's grid. line_at (lines, samples): its line, -1 = none."""
    lines, samples = out.shape
    for line in prange(lines):
        to = out[line]
        if first:
            to[:] = np.float32(0.0)
        for k in range(samples):
            x, y = line_at[line, k], sample_at[k]
            if x < 0.0 or y > samples - 1.001:
                continue
            i, j = int(x), int(y)
            u, v = x - np.float32(i), y - np.float32(j)
            i1 = min(i + 1, lines - 1)
            one = np.float32(1.0)
            p = (one - u) * ((one - v) * power[i, j] + v * power[i, j + 1]) + u * (
                (one - v) * power[i1, j] + v * power[i1, j + 1]
            )
            to[k] += share[line, k] * np.float32(math.sqrt(p))


@image_kernel
def grey_lines(amplitude, contact, gain, low_db, range_db, noise, chance, shift, out, squared):
    """Grey 0-255 (float32) of every sample: noise of the receiver, TGC and gain, log, range.

    squared : the input is power already.  gain (samples) dB.  chance : table of unit exponential numbers.
    """
    lines, samples = amplitude.shape
    scale = np.float32(255.0 / range_db)
    size = chance.shape[0]
    for line in prange(lines):
        row, to = amplitude[line], out[line]
        if not contact[line]:
            to[:] = np.float32(0.0)
            continue
        at = int(hash64(shift, line) % np.uint64(size))
        for k in range(samples):
            p = row[k] if squared else row[k] * row[k]
            if noise > 0.0:
                p += noise * chance[(at + k) % size]
            db = np.float32(3.0102999566) * np.float32(math.log2(p + np.float32(1e-20))) + gain[k]
            to[k] = min(np.float32(255.0), max(np.float32(0.0), (db - low_db) * scale))


@image_kernel
def smooth_lines(grey, wl, wd, out):
    """Three-tap smoothing of grey across lines (weight wl each side) and along depth (wd)."""
    lines, samples = grey.shape
    ml, md = np.float32(1.0) - wl - wl, np.float32(1.0) - wd - wd
    for line in prange(lines):
        a, b, c = grey[max(0, line - 1)], grey[line], grey[min(lines - 1, line + 1)]
        to = out[line]
        before = wl * (a[0] + c[0]) + ml * b[0]
        here = before
        for k in range(samples):
            n = min(samples - 1, k + 1)
            after = wl * (a[n] + c[n]) + ml * b[n]
            to[k] = md * here + wd * (before + after)
            before, here = here, after


@kernel
def scan_convert(grey, through, trust, scan, bmode, shadow, trusted):
    """Draw the beam grid into the picture: grey and transmission bilinear, trust by the nearest sample."""
    height, width = bmode.shape
    lines, samples = grey.shape
    flat, flat_t, flat_u = (
        grey.reshape(lines * samples),
        through.reshape(lines * samples),
        trust.reshape(lines * samples),
    )
    one, half = np.float32(1.0), np.float32(0.5)
    for row in prange(height):
        for column in range(width):
            i = scan.cell[row, column]
            if i < 0:
                bmode[row, column] = 0
                shadow[row, column] = np.float32(0.0)
                trusted[row, column] = False
                continue
            u, v = scan.along[row, column], scan.deep[row, column]
            j = i + samples
            a = (one - v) * flat[i] + v * flat[i + 1]
            b = (one - v) * flat[j] + v * flat[j + 1]
            bmode[row, column] = np.uint8((one - u) * a + u * b + half)
            a = (one - v) * flat_t[i] + v * flat_t[i + 1]
            b = (one - v) * flat_t[j] + v * flat_t[j + 1]
            shadow[row, column] = min(one, (one - u) * a + u * b)
            at = (j if u > half else i) + (1 if v > half else 0)
            trusted[row, column] = flat_u[at] != 0


@kernel
def _label_column(solids, fill, x, y, z, dx, dy, dz, back, step, ts, which, counts, column, out):
    counts[:] = 0
    height = out.shape[0]
    total = crossings(solids.mesh, fill, x, y, z, dx, dy, dz, back + step * height, ts, which)
    row, best = 0, -1
    for h in range(total + 1):
        stop = height
        if h < total:
            stop = min(height, max(0, math.ceil((ts[h] - back) / step)))
        value = np.uint16(best + 1)
        while row < stop:
            out[row, column] = value
            row += 1
        if h < total:
            cross(solids.mesh.skin.solid, solids.mesh.skin.face, fill.skin.face, which[h], dx, dy, dz, counts)
            best = best_of(counts, solids.makeup.priority)


@parallel_kernel
def _label_columns(
    tree, skin, makeup, fill_tree, fill_skin, origins, d, back, step, ts, which, counts, inside, out
):  # fmt: skip
    height, width = out.shape
    for column in prange(width):
        _label_column(
            Solids(Mesh(tree, skin), makeup), Mesh(fill_tree, fill_skin), origins[column, 0],
            origins[column, 1],
            origins[column, 2], d[0], d[1], d[2], back, step, ts[column], which[column], counts[column],
            np.int64(column), out,
        )  # fmt: skip
    for row in prange(height):
        for column in range(width):
            if not inside[row, column]:
                out[row, column] = np.uint16(0)


def label_columns(
    solids: Solids, fill: Mesh, origins: Floats, d: Floats, back: float, step: float, ts: Floats, which: Ints,
    counts: Ints, inside: Bools, out: npt.NDArray[np.uint16],
) -> None:  # fmt: skip
    """Label every pixel by the solid of highest priority at its place: one ray down each pixel column.

    origins (w, 3) : `back` mm before the first row's centres.  inside (h, w) : pixels of the image.  A label
    is the solid's index + 1, 0 outside all.
    """
    _label_columns(
        *solids.mesh, solids.makeup, *fill, origins, d, back, step, ts, which, counts, inside, out
    )  # fmt: skip


@kernel
def _span(steel, m, pixel, reach):
    """Columns and rows that a needle can touch: its ends in the picture, `reach` mm around."""
    low_c, high_c, low_r, high_r = 1 << 30, -(1 << 30), 1 << 30, -(1 << 30)
    for end in range(2):
        x = steel.tip[0] + end * steel.length * steel.axis[0] - m[0, 3]
        y = steel.tip[1] + end * steel.length * steel.axis[1] - m[1, 3]
        z = steel.tip[2] + end * steel.length * steel.axis[2] - m[2, 3]
        c = (x * m[0, 0] + y * m[1, 0] + z * m[2, 0]) / (pixel * pixel)
        r = (x * m[0, 1] + y * m[1, 1] + z * m[2, 1]) / (pixel * pixel)
        low_c, high_c = min(low_c, int(c - reach / pixel) - 1), max(high_c, int(c + reach / pixel) + 2)
        low_r, high_r = min(low_r, int(r - reach / pixel) - 1), max(high_r, int(r + reach / pixel) + 2)
    return low_c, high_c, low_r, high_r


@kernel
def mark_needle(steel, to_patient, half_slice, scan, depth, step, near, pixel, needle, trusted):
    """Mark the pixels the needle covers, and doubt those around it, within `near` mm.

    A pixel is covered when it lies within the wall's radius of the axis, seen across the slice, where the
    axis itself runs within the slice's half thickness (half_slice by sample, mm).
    """
    height, width = needle.shape
    low_c, high_c, low_r, high_r = 0, 0, 0, 0
    if steel.radius > 0.0:
        low_c, high_c, low_r, high_r = _span(steel, to_patient, pixel, steel.radius + near)
    e0, e1, e2 = to_patient[0, 2], to_patient[1, 2], to_patient[2, 2]
    a = steel.axis
    ae = a[0] * e0 + a[1] * e1 + a[2] * e2
    flat2 = 1.0 - ae * ae
    for row in prange(height):
        needle[row, :] = np.uint8(0)
        if row < low_r or row > high_r:
            continue
        for column in range(max(0, low_c), min(width, high_c)):
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
