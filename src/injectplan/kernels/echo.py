"""Along one scan line: boundaries, attenuation, world-fixed speckle, needle shadow.

Lengths in mm, speeds in mm/µs (= km/s), angles by their cosine; amplitudes are re a perfect planar mirror.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from injectplan.kernels._jit import image_kernel, kernel, parallel_kernel, prange
from injectplan.kernels.bvh import Bvh, all_hits_of_ray
from injectplan.kernels.cast import Bytes, Floats, Floats32, Ints

GRAIN = 128  # edge of the periodic speckle texture in voxels
ROOM = 128  # boundary crossings kept per sub-ray
PATTERN = (64, 128, 128)  # edges of the periodic amplitude patterns
C0 = 1.54  # displayed speed, mm/µs
NEPER = 0.11512925464970229  # nepers a dB
# Echoes from just under a rough bone surface, in pictures: fitted to the width of public frames' bone lines.
TAIL, TAIL_STEP_MM, TAIL_FALL = 4, 0.13, 0.42
ROUGH_DB, ROUGH_DB_DEG, STEEP_DEG = 30.0, 1.0, 45.0  # steeper flanks fade by another dB a degree
BONE_SPREAD_MM = 0.3
BONE_GAIN = 3.16  # of a bone's line in pictures: facing bone is the brightest thing in public frames
FAINT = 1.0e-6  # amplitude below which nothing is followed or drawn


class Medium(NamedTuple):
    """Tissues at the probe's frequency, one entry each, float64.

    loss : two-way amplitude loss, nepers per mm.  echo : rms speckle.  floor : diffuse part of a boundary.
    anisotropy : dB the speckle falls when the beam runs along the fibres.  air : whether it is air.
    """

    density: Floats
    speed: Floats
    shear: Floats
    loss: Floats
    echo: Floats
    floor: Floats
    anisotropy: Floats
    air: Bytes


class Skin(NamedTuple):
    """Closed surfaces' triangles; rows follow their tree's order.

    a, ab, ac (m, 3): a corner and two edges · face (m, 3): outward normal, any length · normals (m, 9): unit
    normals at the corners · solid (m,): whose triangle it is · low, high (3,): bounds, inf when empty.
    """

    a: Floats
    ab: Floats
    ac: Floats
    face: Floats
    normals: Floats32
    solid: Ints
    low: Floats
    high: Floats


class Makeup(NamedTuple):
    """What each solid is made of (n of them, the last one the injected fluid's place).

    tissue, priority, style (0 = plain), fibre (n, 3), axes (n, 3, 3) rows that turn a place into pattern
    voxels, radial (n,), membrane amplitude.
    """

    tissue: Ints
    priority: Ints
    style: Ints
    fibre: Floats
    axes: Floats
    radial: Bytes
    membrane: Floats


class Mesh(NamedTuple):
    """Closed surfaces in one tree."""

    tree: Bvh
    skin: Skin


class Solids(NamedTuple):
    """A mesh and its solids. Parallel kernels take the parts, since numba unpacks one level only."""

    mesh: Mesh
    makeup: Makeup


class Rays(NamedTuple):
    """One look: line origins, directions, lateral axes (n, 3), elevation axis (3,), plane offsets (k,)."""

    origin: Floats
    direction: Floats
    lateral: Floats
    elevation: Floats
    planes: Floats


class Grid(NamedTuple):
    """The beam grid's tables along depth (samples), float32 where the inner loops read them.

    step : mm of displayed depth.  sigma_z : axial amplitude sd.
    grain_weight, plane_weight (planes, samples): elevation weights for speckle, with its normalisation, and
    for boundaries.  rough (samples): speckle's normalisation on a surface.  smear_x, smear_y : sd that the
    filters apply.  f_lateral, f_elevation.  axial (taps): half of the symmetric axial filter.
    """

    step: float
    sigma_z: float
    grain_weight: Floats32
    plane_weight: Floats32
    rough: Floats32
    smear_x: Floats32
    smear_y: Floats32
    f_lateral: Floats32
    f_elevation: Floats32
    axial: Floats32


class Texture(NamedTuple):
    """Speckle (GRAIN³,) int16, two int8 (real low, imaginary high), with its place:
    voxel = matrix @ (p - origin) + shift; and the patterns.

    scale turns them into a complex normal number of unit power.  patterns (styles, *PATTERN) uint8 index
    `gains` (256,), amplitude factors.  axis_origin, axis (3, 3): rows e1, e2, along, for radial patterns.
    """

    grain: npt.NDArray[np.int16]
    matrix: Floats
    origin: Floats
    shift: Floats
    scale: float
    patterns: Bytes
    gains: Floats32
    axis_origin: Floats
    axis: Floats


class Options(NamedTuple):
    """What the walk is to do. veil : amplitude re the bone's echo, 0 = none; veil_loss : nepers per mm."""

    background: int
    film: float
    refract: bool
    patterned: bool
    veil: float
    veil_loss: float


class Rod(NamedTuple):
    """A needle: tip, unit axis towards the hub, length, outer radius; radius 0 = none."""

    tip: Floats
    axis: Floats
    length: float
    radius: float


class Walked(NamedTuple):
    """What the walk writes, (lines, samples) float32 unless said.

    re, im : complex signal after the axial filter.  through : two-way amplitude transmission.
    reach : true path in mm at each sample, middle plane.  trust uint8.  contact (lines,) uint8.
    The rest is room to work in.
    """

    re: Floats32
    im: Floats32
    through: Floats32
    reach: Floats32
    trust: Bytes
    contact: Bytes
    work: Floats32  # (lines, 3, samples)
    ts: Floats  # (lines, ROOM)
    which: Ints
    counts: Ints  # (lines, solids)


@kernel
def fluid_fluid(z1, c1, z2, c2, cos1):
    """Pressure reflection coefficient at a fluid-fluid boundary; ±1 beyond the critical angle.

    z1, z2 : impedances.  cos1 : cosine of the angle of incidence.  Kinsler & Frey, section 6.4.
    """
    sin2 = c2 / c1 * math.sqrt(max(0.0, 1.0 - cos1 * cos1))
    if sin2 >= 1.0:
        return 1.0
    cos2 = math.sqrt(1.0 - sin2 * sin2)
    return (z2 * cos1 - z1 * cos2) / (z2 * cos1 + z1 * cos2)


@kernel
def fluid_solid(rho1, c1, rho2, cl, cs, cos1):
    """Complex pressure reflection coefficient from a fluid onto an elastic half-space.

    Brekhovskikh (1980), Waves in Layered Media, section 7: the solid acts as the impedance
    Z_L cos²(2θ_S) + Z_S sin²(2θ_S), evanescent waves by complex cosines.
    """
    sin1 = math.sqrt(max(0.0, 1.0 - cos1 * cos1))
    sin_l = cl / c1 * sin1
    sin_s = cs / c1 * sin1
    cos_l = (
        complex(math.sqrt(1.0 - sin_l * sin_l), 0.0)
        if sin_l <= 1.0
        else complex(0.0, math.sqrt(sin_l * sin_l - 1.0))
    )
    cos_s = (
        complex(math.sqrt(1.0 - sin_s * sin_s), 0.0)
        if sin_s <= 1.0
        else complex(0.0, math.sqrt(sin_s * sin_s - 1.0))
    )
    cos_2s = 1.0 - 2.0 * sin_s * sin_s
    sin_2s_squared = 4.0 * sin_s * sin_s * (1.0 - sin_s * sin_s)
    # Z_L cos²2θ + Z_S sin²2θ over Z_1, each multiplied through by the cosines to stay finite at grazing
    top = rho2 * cl * cos_2s * cos_2s * cos_s + rho2 * cs * sin_2s_squared * cos_l
    bottom = rho1 * c1 * cos_l * cos_s
    return (top * cos1 - bottom) / (top * cos1 + bottom)


@kernel
def reflection(rho1, c1, shear1, rho2, c2, shear2, cos1):
    """Signed reflection coefficient between two tissues; from a soft tissue onto a solid, with shear."""
    if shear2 > 0.0 and shear1 == 0.0:
        return abs(fluid_solid(rho1, c1, rho2, c2, shear2, cos1))
    return fluid_fluid(rho1 * c1, c1, rho2 * c2, c2, cos1)


@kernel
def snell_cosine(ratio, cos1):
    """Cosine of the angle of refraction, ratio = c2 / c1; NaN beyond the critical angle."""
    under = 1.0 - ratio * ratio * (1.0 - cos1 * cos1)
    return math.sqrt(under) if under > 0.0 else np.nan


# A tilted mirror's coherent response, dB, over F·tan(2·tilt): computed for F/1.5, F/2 and F/3 apertures at
# 7.5 MHz and a focus of 20 mm; the three fall on one curve, as the overlap of the aperture with its image.
_LOBE_AT = np.array([0.0, 0.281, 0.425, 0.573, 0.866, 0.890, 1.092, 1.155, 1.678, 3.0])
_LOBE_DB = np.array([0.0, -2.4, -4.25, -6.7, -14.2, -16.0, -25.0, -30.0, -50.0, -90.0])


@kernel
def lobe(overlap):
    """Amplitude that a mirror keeps when tilted: overlap = F·tan(2·tilt), 0 = facing."""
    if overlap >= 3.0:
        return 0.0
    i = 1
    while _LOBE_AT[i] < overlap:
        i += 1
    f = (overlap - _LOBE_AT[i - 1]) / (_LOBE_AT[i] - _LOBE_AT[i - 1])
    db = _LOBE_DB[i - 1] + f * (_LOBE_DB[i] - _LOBE_DB[i - 1])
    return math.exp(NEPER * db)


@kernel
def overlap_of(slope, f_number):
    """F·tan(2·tilt) of a surface of this slope (tangent of the tilt); infinite from 45 degrees on."""
    s = abs(slope)
    return f_number * 2.0 * s / (1.0 - s * s) if s < 1.0 else np.inf


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
def rod_passage(rod, ox, oy, oz, dx, dy, dz, spread):
    """Where a sub-ray passes a needle, and which share of it is covered: (path mm or inf, cover 0-1).

    The edge is softened over `spread`, the distance of neighbouring sub-rays, so that no needle falls
    between them.
    """
    if rod.radius <= 0.0:
        return np.inf, 0.0
    ax, ay, az = rod.axis[0], rod.axis[1], rod.axis[2]
    px, py, pz = rod.tip[0] - ox, rod.tip[1] - oy, rod.tip[2] - oz
    ad = ax * dx + ay * dy + az * dz
    pd = px * dx + py * dy + pz * dz
    pa = px * ax + py * ay + pz * az
    down = 1.0 - ad * ad
    s = (ad * pd - pa) / down if down > 1e-9 else 0.0
    s = min(max(s, 0.0), rod.length)
    t = pd + s * ad
    qx, qy, qz = px + s * ax - t * dx, py + s * ay - t * dy, pz + s * az - t * dz
    gap = math.sqrt(qx * qx + qy * qy + qz * qz)
    soft = max(spread, 1e-3)
    cover = min(1.0, max(0.0, (rod.radius - gap) / soft + 0.5)) * min(1.0, 2.0 * rod.radius / soft)
    if cover <= 0.0 or t <= 0.0:
        return np.inf, 0.0
    return t, cover


@kernel
def crossings(mesh, fill, ox, oy, oz, dx, dy, dz, far, ts, which):
    """All crossings of a ray with the solids and the fill, sorted; return how many are kept.

    The fill's triangles are numbered after the solids'.  More than the room holds: the ray is given up, none.
    """
    room = ts.shape[0]
    found = all_hits_of_ray(mesh.tree, ox, oy, oz, dx, dy, dz, far, ts, which)
    if found > room:
        return 0
    base = mesh.skin.solid.shape[0]
    if fill.skin.solid.shape[0] > 0:
        more = all_hits_of_ray(fill.tree, ox, oy, oz, dx, dy, dz, far, ts[found:], which[found:])
        if found + more > room:
            return found
        for n in range(found, found + more):
            t, i = ts[n], which[n] + base
            place = n
            while place > 0 and ts[place - 1] > t:
                ts[place], which[place] = ts[place - 1], which[place - 1]
                place -= 1
            ts[place], which[place] = t, i
        found += more
    return found


@kernel
def best_of(counts, priority):
    """Return the solid of highest priority that contains the place, -1 outside all."""
    best = -1
    for s in range(counts.shape[0]):
        if counts[s] > 0 and (best < 0 or priority[s] > priority[best]):
            best = s
    return best


@kernel
def _normal_at(corner, ab, ac, n, i, x, y, z):
    """Unit normal of triangle i at a point, from its corners' normals."""
    abx, aby, abz = ab[i, 0], ab[i, 1], ab[i, 2]
    acx, acy, acz = ac[i, 0], ac[i, 1], ac[i, 2]
    px, py, pz = x - corner[i, 0], y - corner[i, 1], z - corner[i, 2]
    d00 = abx * abx + aby * aby + abz * abz
    d01 = abx * acx + aby * acy + abz * acz
    d11 = acx * acx + acy * acy + acz * acz
    d20 = px * abx + py * aby + pz * abz
    d21 = px * acx + py * acy + pz * acz
    det = d00 * d11 - d01 * d01
    v = (d11 * d20 - d01 * d21) / det if det > 0.0 else 0.0
    w = (d00 * d21 - d01 * d20) / det if det > 0.0 else 0.0
    u = 1.0 - v - w
    nx = u * n[i, 0] + v * n[i, 3] + w * n[i, 6]
    ny = u * n[i, 1] + v * n[i, 4] + w * n[i, 7]
    nz = u * n[i, 2] + v * n[i, 5] + w * n[i, 8]
    length = math.sqrt(nx * nx + ny * ny + nz * nz)
    if not length > 0.0:
        return 0.0, 0.0, 0.0
    return nx / length, ny / length, nz / length


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
def _segment(
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
def _pattern(
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
def _record(step, share, middle, begin, end, travelled, speed, level, loss, through, reach):
    """Write transmission, and on the middle plane the true path, of the samples between begin and end."""
    first = math.ceil(begin / step - 1e-9)
    last = min(through.shape[0], math.ceil(end / step - 1e-9))
    if first >= last:
        return
    stretch = speed / C0
    ahead = (first * step - begin) * stretch
    now = np.float32(share * level * math.exp(-loss * ahead))
    fall = np.float32(math.exp(-loss * step * stretch))
    for n in range(first, last):
        through[n] += now
        now *= fall
    if middle:
        at, stride = np.float32(travelled + ahead), np.float32(step * stretch)
        for n in range(first, last):
            reach[n] = at
            at += stride


@kernel
def _boundary(
    corner, ab, ac, normals, i, lat, ele, x, y, z, dx, dy, dz, rho1, c1, shear1, rho2, c2, shear2, same,
    membrane
):  # fmt: skip
    """Return a boundary's coefficient, normal towards the beam, cosine, and slopes."""
    nx, ny, nz = _normal_at(corner, ab, ac, normals, i, x, y, z)
    along = nx * dx + ny * dy + nz * dz
    if along > 0.0:
        nx, ny, nz, along = -nx, -ny, -nz, -along
    cos1 = min(1.0, max(-along, 1e-3))
    r = 0.0 if same else reflection(rho1, c1, shear1, rho2, c2, shear2, cos1)
    gx = (nx * lat[0] + ny * lat[1] + nz * lat[2]) / cos1
    gy = (nx * ele[0] + ny * ele[1] + nz * ele[2]) / cos1
    return r, nx, ny, nz, cos1, gx, gy


@kernel
def _mirror_part(gx, gy, f_lateral, f_elevation, smear_x, smear_y, sigma_z):
    """Return (lobe, peak): what a mirror of slopes gx, gy keeps re facing, and what to add to keep it.

    The filters across lines and planes smear a tilted surface; the lobe already holds that loss.
    """
    ux, uy = overlap_of(gx, f_lateral), overlap_of(gy, f_elevation)
    facing = lobe(math.sqrt(ux * ux + uy * uy))
    sx, sy = gx * smear_x, gy * smear_y
    return facing, facing * min(math.sqrt(1.0 + (sx * sx + sy * sy) / (sigma_z * sigma_z)), 12.0)


@kernel
def _diffuse_part(floor, solid, facing, cos1):
    """Amplitude of a boundary's diffuse echo re its mirror echo; none where the mirror part is whole.

    A solid's rough surface first falls by ROUGH_DB_DEG a degree, from ROUGH_DB over its floor: the grey of
    bone lines against tilt in public frames.
    """
    part = floor * math.sqrt(max(0.0, 1.0 - facing * facing))
    if solid:
        tilt = math.degrees(math.acos(min(1.0, cos1)))
        raised = max(0.0, ROUGH_DB - ROUGH_DB_DEG * tilt) - max(0.0, tilt - STEEP_DEG)
        return min(0.9, part * math.exp(NEPER * raised))
    return part * cos1


@kernel
def _echo_of(
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


@image_kernel
def _axial(re, im, half, out_re, out_im):
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


@kernel
def distance_behind(low, high, fill_low, fill_high, ox, oy, oz, dx, dy, dz):
    """How far behind its origin a ray must begin to lie outside every solid, by their bounds."""
    far = 0.0
    if low[0] <= high[0]:
        x = max(-(low[0] - ox) * dx, -(high[0] - ox) * dx)
        y = max(-(low[1] - oy) * dy, -(high[1] - oy) * dy)
        far = x + y + max(-(low[2] - oz) * dz, -(high[2] - oz) * dz)
    if fill_low[0] <= fill_high[0]:
        x = max(-(fill_low[0] - ox) * dx, -(fill_high[0] - ox) * dx)
        y = max(-(fill_low[1] - oy) * dy, -(fill_high[1] - oy) * dy)
        far = max(far, x + y + max(-(fill_low[2] - oz) * dz, -(fill_high[2] - oz) * dz))
    return max(far, 0.0) + 1.0


@kernel
def cross(solid_of, face, fill_face, i, dx, dy, dz, counts):
    """Enter or leave the solid of crossing i; return +1 when entering, -1 when leaving.

    Arrays and not whole meshes: a call copies every array it is handed, and this one is made per crossing.
    """
    base = solid_of.shape[0]
    if i < base:
        solid = solid_of[i]
        along = face[i, 0] * dx + face[i, 1] * dy + face[i, 2] * dz
    else:
        solid = counts.shape[0] - 1
        along = fill_face[i - base, 0] * dx + fill_face[i - base, 1] * dy + fill_face[i - base, 2] * dz
    sign = 1 if along < 0.0 else -1
    counts[solid] += sign
    return sign


@kernel
def _entry_plane(skin, i, t, ox, oy, oz, dx, dy, dz):
    """Where a sub-ray enters triangle i, and the surface's outward normal there; against the beam if none."""
    x, y, z = ox + t * dx, oy + t * dy, oz + t * dz
    nx, ny, nz = _normal_at(skin.a, skin.ab, skin.ac, skin.normals, i, x, y, z)
    if nx * dx + ny * dy + nz * dz > -0.1:
        nx, ny, nz = -dx, -dy, -dz
    return x, y, z, nx, ny, nz


@kernel
def walk_sub_ray(
    solids, fill, medium, texture, options, grid, rays, rod, line, plane, out, re, im, spec_re, spec_im
):  # fmt: skip
    """Follow one sub-ray from the face into the depth; return whether its face touches tissue."""
    count = rays.planes.shape[0]
    middle = plane == count // 2
    # Transmission is kept for the three planes in the middle: they carry most of the beam.
    share = 1.0 if count < 3 else (0.5 if middle else (0.25 if abs(plane - count // 2) == 1 else 0.0))
    if count < 3 and not middle:
        share = 0.0
    d = rays.direction[line]
    dx, dy, dz = d[0], d[1], d[2]
    y = rays.planes[plane]
    ox = rays.origin[line, 0] + y * rays.elevation[0]
    oy = rays.origin[line, 1] + y * rays.elevation[1]
    oz = rays.origin[line, 2] + y * rays.elevation[2]
    counts = out.counts[line]
    counts[:] = 0
    ts, which, room = out.ts[line], out.which[line], out.work[line, 2]
    solid_of, face, fill_face = solids.mesh.skin.solid, solids.mesh.skin.face, fill.skin.face
    tissue_of, priority = solids.makeup.tissue, solids.makeup.priority
    back = distance_behind(
        solids.mesh.skin.low, solids.mesh.skin.high, fill.skin.low, fill.skin.high, ox, oy, oz, dx, dy, dz
    )
    far = back + 1.5 * re.shape[0] * grid.step
    total = crossings(
        solids.mesh, fill, ox - back * dx, oy - back * dy, oz - back * dz, dx, dy, dz, far, ts, which
    )
    h, inside, entry = 0, 0, -1
    while h < total and ts[h] <= back + 1e-6:
        if inside == 0:
            entry = h
        inside += cross(solid_of, face, fill_face, which[h], dx, dy, dz, counts)
        h += 1
    solid = best_of(counts, priority)
    tissue = tissue_of[solid] if solid >= 0 else options.background
    while medium.air[tissue] and h < total and ts[h] <= back + options.film:
        cross(solid_of, face, fill_face, which[h], dx, dy, dz, counts)
        entry = h
        h += 1
        solid = best_of(counts, priority)
        tissue = tissue_of[solid] if solid >= 0 else options.background
    if medium.air[tissue]:
        return False
    top = (ox, oy, oz, -dx, -dy, -dz)
    if options.patterned and entry >= 0 and which[entry] < solid_of.shape[0]:
        top = _entry_plane(solids.mesh.skin, which[entry], ts[entry] - back, ox, oy, oz, dx, dy, dz)
    spread = 2.0 * rays.planes[-1] / max(1, rays.planes.shape[0] - 1)
    rod_at, cover = rod_passage(rod, ox, oy, oz, dx, dy, dz, max(spread, 0.1))
    deepest = re.shape[0] * grid.step
    level, depth, travelled, trusted = 1.0, 0.0, 0.0, deepest
    qx, qy, qz = ox, oy, oz
    base = back  # path of the present segment's beginning in the crossing list
    while depth < deepest and level > FAINT:
        following = h < total
        t = ts[h] if following else np.inf
        length = t - base
        passing = rod_at - travelled < length
        if passing:
            length = max(rod_at - travelled, 0.0)
        stretch = medium.speed[tissue] / C0
        loss = medium.loss[tissue]
        end = min(deepest, depth + length / stretch)
        echo = medium.echo[tissue]
        if medium.anisotropy[tissue] > 0.0 and solid >= 0:
            f = solids.makeup.fibre[solid]
            lean = f[0] * dx + f[1] * dy + f[2] * dz
            drop = medium.anisotropy[tissue] * min(1.0, abs(lean) * 2.0)
            echo *= math.exp(-NEPER * drop)
        weight = grid.grain_weight[plane]
        style = solids.makeup.style[solid] if solid >= 0 and options.patterned else 0
        if style > 0:
            _pattern(
                texture.patterns[style - 1], texture.gains, texture.axis_origin, texture.axis, top,
                solids.makeup.radial[solid], solids.makeup.axes[solid], weight, grid.step, qx, qy, qz,
                dx, dy, dz,
                depth, end, medium.speed[tissue], room,
            )  # fmt: skip
            weight = room
        _segment(
            texture.grain, texture.matrix, texture.origin, texture.shift, texture.scale, weight, grid.step,
            qx, qy, qz, dx, dy, dz, depth, end, medium.speed[tissue], level, loss, echo, re, im,
        )  # fmt: skip
        if share > 0.0:
            _record(
                grid.step, share, middle, depth, end, travelled, medium.speed[tissue], level, loss,
                out.through[line], out.reach[line],
            )  # fmt: skip
        if end >= deepest:
            depth = deepest
            break
        level *= math.exp(-loss * length)
        depth, travelled = end, travelled + length
        qx, qy, qz = qx + length * dx, qy + length * dy, qz + length * dz
        base += length
        if passing:
            # The wall is crossed four times each way; two of them are counted, the bore's water passes on.
            level *= 1.0 - cover * (1.0 - 0.1407 * 0.1407)
            rod_at = np.inf
            continue
        sign = cross(solid_of, face, fill_face, which[h], dx, dy, dz, counts)
        i = which[h]
        h += 1
        now = best_of(counts, priority)
        if now == solid:
            continue
        after = tissue_of[now] if now >= 0 else options.background
        membrane = 0.0
        if options.patterned:
            membrane = max(
                solids.makeup.membrane[now] if now >= 0 else 0.0,
                solids.makeup.membrane[solid] if solid >= 0 else 0.0,
            )
        r, nx, ny, nz, cos1 = 0.0, 0.0, 0.0, 0.0, 1.0
        if after != tissue or membrane > 0.0:
            mesh = solids.mesh.skin if i < solid_of.shape[0] else fill.skin
            r, nx, ny, nz, cos1, gx, gy = _boundary(
                mesh.a, mesh.ab, mesh.ac, mesh.normals, i if i < solid_of.shape[0] else i - solid_of.shape[0],
                rays.lateral[line], rays.elevation, qx, qy, qz, dx, dy, dz, medium.density[tissue],
                medium.speed[tissue], medium.shear[tissue], medium.density[after], medium.speed[after],
                medium.shear[after], after == tissue, membrane,
            )  # fmt: skip
            n = int(depth / grid.step + 0.5)
            mirror = level * (abs(r) + membrane)
            if mirror > FAINT and n < re.shape[0]:
                facing, kept = _mirror_part(
                    gx, gy, grid.f_lateral[n], grid.f_elevation[n], grid.smear_x[n], grid.smear_y[n],
                    grid.sigma_z,
                )  # fmt: skip
                hard_wall = medium.shear[after] > 0.0
                floor = medium.floor[after] if hard_wall else max(medium.floor[after], medium.floor[tissue])
                diffuse = _diffuse_part(floor, hard_wall, facing, cos1) * grid.rough[n]
                mirror *= grid.plane_weight[plane, n]
                sigma = grid.sigma_z
                if hard_wall and options.patterned:
                    mirror *= BONE_GAIN
                    # a steep surface spreads over the beam's width in depth: its line thickens, without beads
                    sigma = math.hypot(sigma, min(BONE_SPREAD_MM, 0.4 * abs(gx) * grid.smear_x[n]))
                # One phase per surface and side, so that neighbours neither cancel nor add systematically.
                outer = now if sign > 0 else solid
                phase = 2.0 * math.pi * 0.6180339887 * (2 * outer + (1 if sign > 0 else 0))
                _echo_of(
                    texture.grain, texture.matrix, texture.origin, texture.shift, texture.scale, qx, qy, qz,
                    mirror * kept, mirror * diffuse, phase, depth, grid.step, sigma,
                    hard_wall and options.patterned, spec_re, spec_im,
                )  # fmt: skip
        hard = medium.shear[after] > 0.0 or medium.air[after] > 0
        if hard and middle:
            trusted = min(trusted, depth)
        if hard and options.veil > 0.0 and not medium.air[after]:
            # Sound that goes to and fro between bone and probe: a grey veil, then black.
            _segment(
                texture.grain, texture.matrix, texture.origin, texture.shift, texture.scale,
                grid.grain_weight[plane], grid.step, qx + 37.0, qy, qz, dx, dy, dz, depth, deepest,
                medium.speed[tissue], level * abs(r) * (0.3 + 0.7 * cos1), options.veil_loss,
                options.veil, re, im,
            )  # fmt: skip
        if options.refract and after != tissue and not medium.air[after]:
            ratio = medium.speed[after] / medium.speed[tissue]
            cos2 = snell_cosine(ratio, cos1)
            if not cos2 > 0.0:
                level = 0.0
                break
            k = ratio * cos1 - cos2
            dx, dy, dz = ratio * dx + k * nx, ratio * dy + k * ny, ratio * dz + k * nz
            total = crossings(
                solids.mesh,
                fill,
                qx + 1e-6 * dx,
                qy + 1e-6 * dy,
                qz + 1e-6 * dz,
                dx,
                dy,
                dz,
                4.0 * deepest,
                ts,
                which,
            )
            h, base, rod_at = 0, 0.0, np.inf
        level *= 1.0 - r * r
        solid, tissue = now, after
    if middle:
        n = int(trusted / grid.step) + 1
        out.trust[line, :n] = 1
        if depth < deepest:
            at, stride = np.float32(travelled), np.float32(grid.step)
            for k in range(max(0, math.ceil(depth / grid.step - 1e-9)), re.shape[0]):
                out.reach[line, k] = at
                at += stride
    return True


@kernel
def walk_line(solids, fill, medium, texture, options, grid, rays, rod, line, out):
    """All sub-rays of one line: speckle filtered along depth, plus the boundaries."""
    re, im = out.work[line, 0], out.work[line, 1]
    spec_re, spec_im = out.re[line], out.im[line]
    re[:] = np.float32(0.0)
    im[:] = np.float32(0.0)
    spec_re[:] = np.float32(0.0)
    spec_im[:] = np.float32(0.0)
    out.through[line, :] = np.float32(0.0)
    out.reach[line, :] = np.float32(np.inf)
    out.trust[line, :] = 0
    touching = False
    for plane in range(rays.planes.shape[0]):
        if walk_sub_ray(
            solids,
            fill,
            medium,
            texture,
            options,
            grid,
            rays,
            rod,
            line,
            plane,
            out,
            re,
            im,
            spec_re,
            spec_im,
        ):
            touching = True
    out.contact[line] = touching
    _axial(re, im, grid.axial, spec_re, spec_im)


@parallel_kernel
def _walk_lines(
    tree, skin, makeup, fill_tree, fill_skin, medium, texture, options, grid, rays, rod, out
):  # fmt: skip
    for line in prange(rays.origin.shape[0]):
        walk_line(
            Solids(Mesh(tree, skin), makeup), Mesh(fill_tree, fill_skin), medium, texture, options, grid,
            rays, rod,
            np.int64(line), out,  # a prange's own index is unsigned and would compile the walk a second time
        )  # fmt: skip


def walk_lines(
    solids: Solids, fill: Mesh, medium: Medium, texture: Texture, options: Options, grid: Grid, rays: Rays,
    rod: Rod, out: Walked,
) -> None:  # fmt: skip
    """One look: every line, independent of the others."""
    _walk_lines(
        *solids.mesh, solids.makeup, *fill, medium, texture, options, grid, rays, rod, out
    )  # fmt: skip


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
