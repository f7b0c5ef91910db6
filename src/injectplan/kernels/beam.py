"""From the lines' complex signal to the picture: focus, detection, log, scan conversion.

One thread: each of these takes under a millisecond, and entering a parallel region was measured at 4-5 ms on
a busy machine.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from injectplan.kernels._jit import image_kernel, kernel, prange
from injectplan.kernels._lanes import convert, convert_row, decibels
from injectplan.kernels.cast import Floats32, Ints
from injectplan.kernels.chance import hash64
from injectplan.kernels.needle import needle_line, points_line


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


class Scan(NamedTuple):
    """Scan conversion (h, w): a cell's first corner in (lines, samples), fractions in it, the nearest corner.

    -1 stands for a pixel outside the image.
    """

    cell: Ints
    along: Floats32  # towards the next line
    deep: Floats32  # towards the next sample
    nearest: Ints


class PlainScan(NamedTuple):
    """Scan conversion where each column lies on one line and each row at one depth; else it has no rows.

    cell, along, nearest (w) : a column's cell and corner in the first sample, -1 outside; see `Scan`.  down,
    deep, beside (h) : a row's sample, fraction, nearest sample; -1 outside.  `Scan` takes 3 MB that are read
    anew for every frame.
    """

    cell: Ints
    along: Floats32
    nearest: Ints
    down: Ints
    deep: Floats32
    beside: Ints


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
        decibels(row, shown)


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
def grey_lines(amplitude, contact, gain, low_db, range_db, noise, chance, shift, envelope, out, squared):
    """Grey 0-255 (float32) of every sample: noise of the receiver, TGC and gain, log, range.

    squared : the input is power already, and `envelope` is it in dB.  gain (samples) dB.  chance : table of
    unit exponential numbers.
    """
    lines, samples = amplitude.shape
    scale = np.float32(255.0 / range_db)
    size = chance.shape[0]
    for line in prange(lines):
        row, to = amplitude[line], out[line]
        if not contact[line]:
            to[:] = np.float32(0.0)
            continue
        if squared and not noise > 0.0:
            shown = envelope[line]
            for k in range(samples):
                to[k] = min(np.float32(255.0), max(np.float32(0.0), (shown[k] + gain[k] - low_db) * scale))
            continue
        at = int(hash64(shift, line) % np.uint64(size))
        for k in range(samples):
            to[k] = row[k] if squared else row[k] * row[k]
        if noise > 0.0:
            for k in range(samples):
                to[k] += noise * chance[(at + k) % size]
        decibels(to, to)
        for k in range(samples):
            to[k] = min(np.float32(255.0), max(np.float32(0.0), (to[k] + gain[k] - low_db) * scale))


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
def scan_convert(grey, through, trust, scan, plain, first, last, bmode, shadow, trusted):
    """Draw the beam grid into the picture: grey and transmission bilinear, trust by the nearest sample.

    plain : if it has no rows, the picture is drawn by `scan`, pixel by pixel.  first, last : the columns that
    hold a part of the image; the others are not touched.
    """
    lines, samples = grey.shape
    size = lines * samples
    greys, ways, trusts = grey.reshape(size), through.reshape(size), trust.reshape(size)
    rows = plain.down.shape[0]
    for row in range(rows):
        if plain.down[row] < 0:
            bmode[row, first:last] = np.uint8(0)
            shadow[row, first:last] = np.float32(0.0)
            trusted[row, first:last] = False
            continue
        convert_row(
            greys, ways, trusts, plain.cell, plain.along, plain.nearest, plain.down[row], plain.deep[row],
            plain.beside[row], samples, first, last, bmode[row], shadow[row], trusted[row],
        )  # fmt: skip
    for row in range(rows, bmode.shape[0]):
        convert(
            greys, ways, trusts, scan.cell[row], scan.along[row], scan.deep[row], scan.nearest[row], samples,
            first, last, bmode[row], shadow[row], trusted[row],
        )  # fmt: skip
