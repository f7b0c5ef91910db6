"""World-fixed speckle along one segment of a sub-ray, its patterns, and the pulses of boundaries.

Places in texture voxels are moved up by whole periods, so that truncation is floor and float32 suffices.
"""

from __future__ import annotations

import math

import numpy as np

from injectplan.kernels._jit import bare_kernel, image_kernel, parallel_kernel, prange, tight_kernel
from injectplan.kernels._lanes import decay, lay
from injectplan.kernels._scalar import swift_exp

# Echoes from just under a rough bone surface, in pictures: fitted to the width of public frames' bone lines.
TAIL, TAIL_STEP_MM, TAIL_FALL = 4, 0.13, 0.42
TURNS = 4096  # phases kept: solids times two at most
TURN_RE = np.cos(2.0 * math.pi * 0.6180339887 * np.arange(TURNS))  # golden, so that none are alike
TURN_IM = np.sin(2.0 * math.pi * 0.6180339887 * np.arange(TURNS))


@tight_kernel
def lerp_grain(grain, x, y, z, scale):
    """Complex speckle at a place in texture voxels (positive), of unit power wherever it is sampled."""
    i, j, k = int(x), int(y), int(z)
    u, v, w = x - i, y - j, z - k
    re = im = norm = 0.0
    for a in range(2):
        wa = u if a else 1.0 - u
        for b in range(2):
            wb = wa * (v if b else 1.0 - v)
            pair = grain[(((i + a) & 127) << 14) + (((j + b) & 127) << 7) + (k & 127)]
            near, far = wb * (1.0 - w), wb * w
            re += near * np.int8(pair & 255) + far * np.int8((pair >> 16) & 255)
            im += near * np.int8((pair >> 8) & 255) + far * np.int8((pair >> 24) & 255)
            norm += near * near + far * far
    s = scale / math.sqrt(norm)
    return re * s, im * s


@bare_kernel
def samples_between(begin, end, step, count):
    """First sample of the displayed depths [begin, end), and the one after its last."""
    return math.ceil(begin / step - 1e-9), min(count, math.ceil(end / step - 1e-9))


@bare_kernel
def texture_place(matrix, origin, shift, x, y, z):
    """Place in texture voxels, not wrapped."""
    gx, gy, gz = turn(matrix, x - origin[0], y - origin[1], z - origin[2])
    return gx + shift[0], gy + shift[1], gz + shift[2]


@tight_kernel
def lay_speckle(rows, gx, gy, gz, tx, ty, tz, first, last, level, fall):
    """Write place and amplitude of samples first … last - 1 for `grains`.

    (gx, gy, gz) : place of the first one in texture voxels.  (tx, ty, tz) : step to the next.
    """
    lay(rows[0], first, last, _wrap(gx, 128.0), tx)
    lay(rows[1], first, last, _wrap(gy, 128.0), ty)
    lay(rows[2], first, last, _wrap(gz, 128.0), tz)
    decay(rows[3], first, last, level, fall)


@bare_kernel
def lay_pattern(
    pattern, gains, axis_origin, axis, plane, radial, axes, x, y, z, sx, sy, sz, first, last, amplitude
):  # fmt: skip
    """Multiply the amplitudes of samples first … last - 1 by a pattern's; see `lay_speckle`."""
    n = float(last - first)
    a, b, c = _pattern_place(axis_origin, axis, plane, radial, axes, x, y, z)
    a1, b1, c1 = _pattern_place(axis_origin, axis, plane, radial, axes, x + n * sx, y + n * sy, z + n * sz)
    da, db, dc = np.float32((a1 - a) / n), np.float32((b1 - b) / n), np.float32((c1 - c) / n)
    a0, b0, c0 = np.float32(_wrap(a, 64.0)), np.float32(_wrap(b, 128.0)), np.float32(_wrap(c, 128.0))
    for k in range(first, last):
        m = np.float32(k - first)
        at = pattern[np.int32(a0 + m * da) & 63, np.int32(b0 + m * db) & 127, np.int32(c0 + m * dc) & 127]
        amplitude[k] *= gains[at]


@tight_kernel
def add_pulse(re, im, depth, step, sigma, real, imag):
    """Add a Gaussian pulse of this peak at a depth to a line; four standard deviations each side."""
    first = max(0, math.ceil((depth - 4.0 * sigma) / step))
    last = min(re.shape[0], int((depth + 4.0 * sigma) / step) + 1)
    if first >= last:
        return
    inverse = 1.0 / (2.0 * sigma * sigma)
    off = first * step - depth
    g = swift_exp(-off * off * inverse)
    ratio = swift_exp(-(2.0 * off * step + step * step) * inverse)
    bend = swift_exp(-2.0 * step * step * inverse)
    for n in range(first, last):
        re[n] += np.float32(g * real)
        im[n] += np.float32(g * imag)
        g *= ratio
        ratio *= bend


@bare_kernel
def turn(matrix, x, y, z):
    """A matrix times a vector."""
    return (
        matrix[0, 0] * x + matrix[0, 1] * y + matrix[0, 2] * z,
        matrix[1, 0] * x + matrix[1, 1] * y + matrix[1, 2] * z,
        matrix[2, 0] * x + matrix[2, 1] * y + matrix[2, 2] * z,
    )


@bare_kernel
def _pattern_place(axis_origin, axis, plane, radial, axes, x, y, z):
    """Place in pattern voxels: by the solid's axes; for layers under the skin (depth, arc, along the limb).

    plane : a point and the outward normal of the skin where the sub-ray enters it.
    """
    qx, qy, qz = x - axis_origin[0], y - axis_origin[1], z - axis_origin[2]
    if radial:
        a, b, c = turn(axis, qx, qy, qz)
        deep = (plane[0] - x) * plane[3] + (plane[1] - y) * plane[4] + (plane[2] - z) * plane[5]
        qx, qy, qz = deep, 45.0 * math.atan2(b, a), c
    return turn(axes, qx, qy, qz)


@bare_kernel
def _wrap(x, period):
    """X modulo the period, moved up so that truncation is floor along a whole line (float32-safe)."""
    return x - math.floor(x / period) * period + 8.0 * period


@tight_kernel
def add_echo(
    grain, gx, gy, gz, scale, mirror, diffuse, side, depth, step, sigma_z, tail, re, im
):  # fmt: skip
    """Add a boundary's pulse: its mirror part with one phase, its diffuse part with the speckle's.

    (gx, gy, gz) : place in texture voxels.  side : a number of the surface and which side of it, whence the
    phase: one for all, so that neighbours neither cancel nor add systematically.  tail : whether weaker
    pulses follow, as from the rough and porous outside of cortex.
    """
    a = b = 0.0
    if diffuse > 0.0:
        a, b = lerp_grain(grain, _wrap(gx, 128.0), _wrap(gy, 128.0), _wrap(gz, 128.0), scale)
    real = mirror * TURN_RE[side & (TURNS - 1)] + diffuse * a
    imag = mirror * TURN_IM[side & (TURNS - 1)] + diffuse * b
    add_pulse(re, im, depth, step, sigma_z, real, imag)
    if tail:
        for _ in range(TAIL):
            # each a third of a turn on, so that they neither build up nor cancel
            real, imag = TAIL_FALL * (-0.5 * real - 0.866 * imag), TAIL_FALL * (0.866 * real - 0.5 * imag)
            depth += TAIL_STEP_MM
            add_pulse(re, im, depth, step, sigma_z, real, imag)


@bare_kernel
def filter_depth(re, im, half, scale, out_re, out_im):
    """Filter a line along depth by a symmetric kernel, half of it given, times scale; ends count as zero."""
    n, taps = re.shape[0], half.shape[0]
    h = half[0] * np.float32(scale)
    for k in range(n):
        out_re[k] += h * re[k]
        out_im[k] += h * im[k]
    for t in range(1, taps):
        h = half[t] * np.float32(scale)
        for k in range(n - t):
            out_re[k] += h * re[k + t]
            out_im[k] += h * im[k + t]
            out_re[k + t] += h * re[k]
            out_im[k + t] += h * im[k]


@image_kernel
def _calibrate_line(grain, step, samples, planes, line, re, im):
    one, two = np.float32(1.0), np.float32(2.0)
    re[:] = np.float32(0.0)
    im[:] = np.float32(0.0)
    for p in range(planes):
        x0, y0 = np.float32(1024.3 + 0.79 * line), np.float32(1024.7 + 1.17 * p)
        for n in range(samples):
            m = np.float32(n)
            x, y, z = x0 + np.float32(0.01) * m, y0, np.float32(1024.1) + m * step
            i, j, k = np.int32(x), np.int32(y), np.int32(z)
            u, v, w = x - np.float32(i), y - np.float32(j), z - np.float32(k)
            ia, ib = (i & 127) << 14, ((i + 1) & 127) << 14
            ja, jb = (j & 127) << 7, ((j + 1) & 127) << 7
            ka, kb = k & 127, (k + 1) & 127
            p0, p1 = grain[ia + ja + ka], grain[ia + ja + kb]
            p2, p3 = grain[ia + jb + ka], grain[ia + jb + kb]
            p4, p5 = grain[ib + ja + ka], grain[ib + ja + kb]
            p6, p7 = grain[ib + jb + ka], grain[ib + jb + kb]
            w0, w1, w2, w3 = (one - u) * (one - v), (one - u) * v, u * (one - v), u * v
            a = w0 * np.float32(np.int8(p0 & 255)) + w1 * np.float32(np.int8(p2 & 255))
            a += w2 * np.float32(np.int8(p4 & 255)) + w3 * np.float32(np.int8(p6 & 255))
            b = w0 * np.float32(np.int8(p1 & 255)) + w1 * np.float32(np.int8(p3 & 255))
            b += w2 * np.float32(np.int8(p5 & 255)) + w3 * np.float32(np.int8(p7 & 255))
            real = (one - w) * a + w * b
            a = (
                w0 * np.float32(p0 >> 8)
                + w1 * np.float32(p2 >> 8)
                + w2 * np.float32(p4 >> 8)
                + w3 * np.float32(p6 >> 8)
            )
            b = (
                w0 * np.float32(p1 >> 8)
                + w1 * np.float32(p3 >> 8)
                + w2 * np.float32(p5 >> 8)
                + w3 * np.float32(p7 >> 8)
            )
            imag = (one - w) * a + w * b
            norm = (one - two * u * (one - u)) * (one - two * v * (one - v)) * (one - two * w * (one - w))
            g = one / np.float32(math.sqrt(norm))
            re[n] += g * real
            im[n] += g * imag


@parallel_kernel
def calibrate(grain, step, samples, planes, re, im):
    """The walk's eight-gather samples and nothing else: the yardstick that frame times are divided by.

    step : of depth in texture voxels.  re, im (lines, samples).
    """
    for line in prange(re.shape[0]):
        _calibrate_line(grain, step, samples, planes, line, re[line], im[line])
