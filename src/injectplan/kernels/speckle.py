"""World-fixed speckle along one segment of a sub-ray, its patterns, and the pulses of boundaries.

Places in texture voxels are moved up by whole periods, so that truncation is floor and float32 suffices.
"""

from __future__ import annotations

import math

import numpy as np

from injectplan.kernels._jit import image_kernel, kernel, parallel_kernel, prange
from injectplan.kernels.line_values import C0, FAINT

# Echoes from just under a rough bone surface, in pictures: fitted to the width of public frames' bone lines.
TAIL, TAIL_STEP_MM, TAIL_FALL = 4, 0.13, 0.42


@image_kernel
def lerp_grain(grain, x, y, z, scale):
    """Complex speckle at a place in texture voxels (positive), of unit power wherever it is sampled."""
    i, j, k = int(x), int(y), int(z)
    u, v, w = x - i, y - j, z - k
    re = im = norm = 0.0
    for a in range(2):
        wa = u if a else 1.0 - u
        for b in range(2):
            wb = wa * (v if b else 1.0 - v)
            for c in range(2):
                weight = wb * (w if c else 1.0 - w)
                pair = grain[(((i + a) & 127) << 14) + (((j + b) & 127) << 7) + ((k + c) & 127)]
                re += weight * np.int8(pair & 255)
                im += weight * (pair >> 8)
                norm += weight * weight
    s = scale / math.sqrt(norm)
    return re * s, im * s


@image_kernel
def speckle_run(grain, x0, y0, z0, dx, dy, dz, first, last, level, fall, weight, re, im):
    """Add the speckle of samples first … last - 1 of one segment to re and im; return the level after.

    x0, y0, z0 : place of sample `first` in texture voxels, positive; dx, dy, dz : step.  level : amplitude
    at `first`, falling by the factor `fall` a sample; weight (samples) : elevation weights.  All float32.
    The eight corners are read again only when the voxel changes: about every third sample.
    """
    one, two = np.float32(1.0), np.float32(2.0)
    pi = pj = pk = -1
    r0 = r1 = r2 = r3 = r4 = r5 = r6 = r7 = np.float32(0.0)
    s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = np.float32(0.0)
    for n in range(first, last):
        m = np.float32(n - first)
        x, y, z = x0 + m * dx, y0 + m * dy, z0 + m * dz
        i, j, k = np.int32(x), np.int32(y), np.int32(z)
        u, v, w = x - np.float32(i), y - np.float32(j), z - np.float32(k)
        if i != pi or j != pj or k != pk:
            pi, pj, pk = i, j, k
            ia, ib = (i & 127) << 14, ((i + 1) & 127) << 14
            ja, jb = (j & 127) << 7, ((j + 1) & 127) << 7
            ka, kb = k & 127, (k + 1) & 127
            p0, p1 = grain[ia + ja + ka], grain[ia + ja + kb]
            p2, p3 = grain[ia + jb + ka], grain[ia + jb + kb]
            p4, p5 = grain[ib + ja + ka], grain[ib + ja + kb]
            p6, p7 = grain[ib + jb + ka], grain[ib + jb + kb]
            r0, s0 = np.float32(np.int8(p0 & 255)), np.float32(p0 >> 8)
            r1, s1 = np.float32(np.int8(p1 & 255)), np.float32(p1 >> 8)
            r2, s2 = np.float32(np.int8(p2 & 255)), np.float32(p2 >> 8)
            r3, s3 = np.float32(np.int8(p3 & 255)), np.float32(p3 >> 8)
            r4, s4 = np.float32(np.int8(p4 & 255)) - r0, np.float32(p4 >> 8) - s0
            r5, s5 = np.float32(np.int8(p5 & 255)) - r1, np.float32(p5 >> 8) - s1
            r6, s6 = np.float32(np.int8(p6 & 255)) - r2, np.float32(p6 >> 8) - s2
            r7, s7 = np.float32(np.int8(p7 & 255)) - r3, np.float32(p7 >> 8) - s3
        a, b, c, d = r0 + u * r4, r1 + u * r5, r2 + u * r6, r3 + u * r7
        a, b = a + v * (c - a), b + v * (d - b)
        real = a + w * (b - a)
        a, b, c, d = s0 + u * s4, s1 + u * s5, s2 + u * s6, s3 + u * s7
        a, b = a + v * (c - a), b + v * (d - b)
        imag = a + w * (b - a)
        norm = (one - two * u * (one - u)) * (one - two * v * (one - v)) * (one - two * w * (one - w))
        g = level * weight[n] / np.float32(math.sqrt(norm))
        re[n] += g * real
        im[n] += g * imag
        level *= fall
    return level


@image_kernel
def pattern_weights(pattern, gains, a, b, c, da, db, dc, first, last, weight, out):
    """Multiply the weights of samples first … last - 1 by a pattern's amplitudes along (a, b, c)."""
    for n in range(first, last):
        m = np.float32(n - first)
        at = pattern[np.int32(a + m * da) & 63, np.int32(b + m * db) & 127, np.int32(c + m * dc) & 127]
        out[n] = weight[n] * gains[at]


@image_kernel
def add_pulse(re, im, depth, step, sigma, real, imag):
    """Add a Gaussian pulse of this peak at a depth to a line; four standard deviations each side."""
    first = max(0, math.ceil((depth - 4.0 * sigma) / step))
    last = min(re.shape[0], int((depth + 4.0 * sigma) / step) + 1)
    if first >= last:
        return
    inverse = 1.0 / (2.0 * sigma * sigma)
    off = first * step - depth
    g = math.exp(-off * off * inverse)
    ratio = math.exp(-(2.0 * off * step + step * step) * inverse)
    bend = math.exp(-2.0 * step * step * inverse)
    for n in range(first, last):
        re[n] += np.float32(g * real)
        im[n] += np.float32(g * imag)
        g *= ratio
        ratio *= bend


@kernel
def _turn(matrix, x, y, z):
    return (
        matrix[0, 0] * x + matrix[0, 1] * y + matrix[0, 2] * z,
        matrix[1, 0] * x + matrix[1, 1] * y + matrix[1, 2] * z,
        matrix[2, 0] * x + matrix[2, 1] * y + matrix[2, 2] * z,
    )


@kernel
def _pattern_place(axis_origin, axis, plane, radial, axes, x, y, z):
    """Place in pattern voxels: by the solid's axes; for layers under the skin (depth, arc, along the limb).

    plane : a point and the outward normal of the skin where the sub-ray enters it.
    """
    qx, qy, qz = x - axis_origin[0], y - axis_origin[1], z - axis_origin[2]
    if radial:
        a, b, c = _turn(axis, qx, qy, qz)
        deep = (plane[0] - x) * plane[3] + (plane[1] - y) * plane[4] + (plane[2] - z) * plane[5]
        qx, qy, qz = deep, 45.0 * math.atan2(b, a), c
    return _turn(axes, qx, qy, qz)


@kernel
def _wrap(x, period):
    """X modulo the period, moved up so that truncation is floor along a whole line (float32-safe)."""
    return x - math.floor(x / period) * period + 8.0 * period


@kernel
def speckle_segment(
    grain, matrix, origin, shift, scale, weight, step, x, y, z, dx, dy, dz, begin, end, speed, level,
    loss, echo,
    re, im,
):  # fmt: skip
    """Speckle of one segment between displayed depths begin and end; (x, y, z) is where it begins."""
    first = math.ceil(begin / step - 1e-9)
    last = min(re.shape[0], math.ceil(end / step - 1e-9))
    if first >= last or level * echo < FAINT:
        return
    stretch = speed / C0
    ahead = (first * step - begin) * stretch
    stride = step * stretch
    if loss > 0.0:  # the end of what can be seen: bone absorbs within millimetres
        last = min(last, first + 1 + int(math.log(level * echo / FAINT) / (loss * stride)))
    x, y, z = x + ahead * dx, y + ahead * dy, z + ahead * dz
    gx, gy, gz = _turn(matrix, x - origin[0], y - origin[1], z - origin[2])
    sx, sy, sz = _turn(matrix, dx * stride, dy * stride, dz * stride)
    gx = np.float32(_wrap(gx + shift[0], 128.0))
    gy = np.float32(_wrap(gy + shift[1], 128.0))
    gz = np.float32(_wrap(gz + shift[2], 128.0))
    start = level * math.exp(-loss * ahead) * echo
    fall = math.exp(-loss * stride)
    speckle_run(
        grain, gx, gy, gz, np.float32(sx), np.float32(sy), np.float32(sz), first, last,
        np.float32(start * scale), np.float32(fall), weight, re, im,
    )  # fmt: skip


@kernel
def pattern_segment(
    pattern, gains, axis_origin, axis, plane, radial, axes, weight, step, x, y, z, dx, dy, dz, begin, end,
    speed, room
):  # fmt: skip
    """Write the weights of one segment's samples, multiplied by a pattern, into `room`."""
    first = math.ceil(begin / step - 1e-9)
    last = min(room.shape[0], math.ceil(end / step - 1e-9))
    if first >= last:
        return
    stretch = speed / C0
    ahead = (first * step - begin) * stretch
    run = (last - first) * step * stretch
    x, y, z = x + ahead * dx, y + ahead * dy, z + ahead * dz
    a0, b0, c0 = _pattern_place(axis_origin, axis, plane, radial, axes, x, y, z)
    a1, b1, c1 = _pattern_place(
        axis_origin, axis, plane, radial, axes, x + run * dx, y + run * dy, z + run * dz
    )
    n = float(last - first)
    pattern_weights(
        pattern, gains, np.float32(_wrap(a0, 64.0)), np.float32(_wrap(b0, 128.0)),
        np.float32(_wrap(c0, 128.0)),
        np.float32((a1 - a0) / n), np.float32((b1 - b0) / n), np.float32((c1 - c0) / n), first, last,
        weight, room,
    )  # fmt: skip


@kernel
def add_echo(
    grain, matrix, origin, shift, scale, x, y, z, mirror, diffuse, phase, depth, step, sigma_z, tail, re, im
):  # fmt: skip
    """Add a boundary's pulse: its mirror part with one phase, its diffuse part with the speckle's.

    tail : whether weaker pulses follow, as from the rough and porous outside of cortex.
    """
    gx, gy, gz = _turn(matrix, x - origin[0], y - origin[1], z - origin[2])
    a, b = lerp_grain(
        grain, _wrap(gx + shift[0], 128.0), _wrap(gy + shift[1], 128.0), _wrap(gz + shift[2], 128.0), scale
    )
    real = mirror * math.cos(phase) + diffuse * a
    imag = mirror * math.sin(phase) + diffuse * b
    add_pulse(re, im, depth, step, sigma_z, real, imag)
    if tail:
        for _ in range(TAIL):
            # each a third of a turn on, so that they neither build up nor cancel
            real, imag = TAIL_FALL * (-0.5 * real - 0.866 * imag), TAIL_FALL * (0.866 * real - 0.5 * imag)
            depth += TAIL_STEP_MM
            add_pulse(re, im, depth, step, sigma_z, real, imag)


@kernel
def filter_depth(re, im, half, out_re, out_im):
    """Filter a line along depth by a symmetric kernel, half of it given; ends count as zero."""
    n, taps = re.shape[0], half.shape[0]
    for k in range(n):
        out_re[k] += half[0] * re[k]
        out_im[k] += half[0] * im[k]
    for t in range(1, taps):
        h = half[t]
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
