"""Shaded pictures of triangle trees by parallel rays: opaque solids, and see-through ones blended over them.

One ray goes through each pixel's middle; where a pixel differs from a neighbour it is drawn anew from several
(adaptive supersampling: Whitted 1980, doi:10.1145/358876.358882), a third of the rays for the same picture.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from injectplan.kernels._jit import kernel
from injectplan.kernels.bvh import Bvh, all_hits_of_ray, first_hit
from injectplan.kernels.cast import Bytes, Floats, Ints

ROOM = 64  # crossings of see-through surfaces by one ray, at first
DIFFERS = 0.03  # of a neighbour's colour, 0-1, from which a pixel is drawn from several rays
# Unit vectors to the right, up, towards the viewer: two lights, and halfway from the first to the viewer
KEY = (-0.45112924, 0.55138018, 0.70175659)
FILL = (0.86644858, 0.10830607, 0.48737732)
HALF = (-0.24453288, 0.29887351, 0.92243065)
NEAR_MM = 1.6  # a see-through surface this close over a solid one thins out, as far as they nearly touch
AMBIENT, OF_KEY, OF_FILL, GLOSS, EDGE = 0.34, 0.52, 0.20, 0.16, 0.35


class Painted(NamedTuple):
    """Solids as one tree: each triangle's vertices and opacity, each vertex's unit normal and colour 0-1."""

    tree: Bvh
    corners: Ints  # (m, 3), in the surface's own order of triangles
    opacity: Floats  # (m,)
    solid: Ints  # (m,)
    normals: Floats  # (n, 3)
    colours: Floats  # (n, 3)


class Eye(NamedTuple):
    """A parallel projection: the picture's middle, well before all solids, and unit vectors."""

    middle: Floats
    right: Floats
    up: Floats
    forward: Floats
    pixel_mm: float


@kernel
def _weights(tree, k, x, y, z):
    """Share of each corner of a triangle at a point on it, each 0-1."""
    px, py, pz = x - tree.a[k, 0], y - tree.a[k, 1], z - tree.a[k, 2]
    d00 = d01 = d11 = d20 = d21 = 0.0
    for i in range(3):
        p = px if i == 0 else (py if i == 1 else pz)
        ab, ac = tree.ab[k, i], tree.ac[k, i]
        d00 += ab * ab
        d01 += ab * ac
        d11 += ac * ac
        d20 += p * ab
        d21 += p * ac
    area = max(d00 * d11 - d01 * d01, 1e-18)
    v, w = (d11 * d20 - d01 * d21) / area, (d00 * d21 - d01 * d20) / area
    return min(max(1.0 - v - w, 0.0), 1.0), min(max(v, 0.0), 1.0), min(max(w, 0.0), 1.0)


@kernel
def _along(v, x, y, z):
    return v[0] * x + v[1] * y + v[2] * z


@kernel
def _lit(painted, k, x, y, z, eye, colour):
    """Write the lit colour of a point on a triangle of the tree; return how far it faces the viewer, 0-1.

    Ambient light, two lamps, a soft highlight and darker silhouettes; both sides of a surface are lit.
    """
    t = painted.tree.triangle[k]
    u, v, w = _weights(painted.tree, k, x, y, z)
    a, b, c = painted.corners[t, 0], painted.corners[t, 1], painted.corners[t, 2]
    nx = u * painted.normals[a, 0] + v * painted.normals[b, 0] + w * painted.normals[c, 0]
    ny = u * painted.normals[a, 1] + v * painted.normals[b, 1] + w * painted.normals[c, 1]
    nz = u * painted.normals[a, 2] + v * painted.normals[b, 2] + w * painted.normals[c, 2]
    length = max(math.sqrt(nx * nx + ny * ny + nz * nz), 1e-12)
    nx, ny, nz = nx / length, ny / length, nz / length
    ahead = -_along(eye.forward, nx, ny, nz)
    side = 1.0 if ahead >= 0.0 else -1.0
    r, s, ahead = side * _along(eye.right, nx, ny, nz), side * _along(eye.up, nx, ny, nz), side * ahead
    key = max(KEY[0] * r + KEY[1] * s + KEY[2] * ahead, 0.0)
    fill = max(FILL[0] * r + FILL[1] * s + FILL[2] * ahead, 0.0)
    shine = GLOSS * max(HALF[0] * r + HALF[1] * s + HALF[2] * ahead, 0.0) ** 40
    light = (AMBIENT + OF_KEY * key + OF_FILL * fill) * (1.0 - EDGE * (1.0 - ahead) ** 3)
    for i in range(3):
        own = u * painted.colours[a, i] + v * painted.colours[b, i] + w * painted.colours[c, i]
        colour[i] = min(max(own * light + shine, 0.0), 1.0)
    return ahead


@kernel
def _seen(opaque, clear, eye, right_mm, up_mm, ts, which, lit, pixel):
    """Draw one ray over the background in `pixel`: (what it meets, as a number; its see-through crossings).

    Of see-through surfaces only the faces turned to the viewer count, farthest first; slanting ones cover
    more. One that all but lies on the solid behind it fades: which is in front where two touch is chance, and
    drew a film of fluid as specks. Nothing is drawn of a ray that crosses more of them than `ts` holds.
    """
    x = eye.middle[0] + right_mm * eye.right[0] + up_mm * eye.up[0]
    y = eye.middle[1] + right_mm * eye.right[1] + up_mm * eye.up[1]
    z = eye.middle[2] + right_mm * eye.right[2] + up_mm * eye.up[2]
    dx, dy, dz = eye.forward[0], eye.forward[1], eye.forward[2]
    limit, k = first_hit(opaque.tree, x, y, z, dx, dy, dz, np.inf)
    mark = 0
    if k >= 0:
        _lit(opaque, k, x + limit * dx, y + limit * dy, z + limit * dz, eye, pixel)
        mark = 1 + opaque.solid[opaque.tree.triangle[k]]
    else:
        limit = np.inf
    count = all_hits_of_ray(clear.tree, x, y, z, dx, dy, dz, limit, ts, which)
    if count > ts.shape[0]:
        return mark, count
    for h in range(count - 1, -1, -1):
        k, t = which[h], ts[h]
        if not t < limit or _along(clear.tree.normal[k], dx, dy, dz) >= 0.0:
            continue
        facing = _lit(clear, k, x + t * dx, y + t * dy, z + t * dz, eye, lit)
        triangle = clear.tree.triangle[k]
        cover = min(clear.opacity[triangle] * (1.0 + 1.5 * (1.0 - facing) ** 2), 1.0)
        cover *= min((limit - t) / NEAR_MM, 1.0)
        for i in range(3):
            pixel[i] = (1.0 - cover) * pixel[i] + cover * lit[i]
        mark = (31 * mark + 1 + clear.solid[triangle]) & 0xFFFFFFF
    return mark, count


@kernel
def _differs(marks, colours, row, column):
    """Whether a pixel differs from one of its four neighbours in what it shows or in its colour."""
    for way in range(4):
        r = row + (1 if way == 0 else (-1 if way == 1 else 0))
        c = column + (1 if way == 2 else (-1 if way == 3 else 0))
        if r < 0 or c < 0 or r >= marks.shape[0] or c >= marks.shape[1]:
            continue
        if marks[r, c] != marks[row, column]:
            return True
        for i in range(3):
            if abs(colours[r, c, i] - colours[row, column, i]) > DIFFERS:
                return True
    return False


@kernel
def _draw(opaque, clear, eye, background, samples, ts, which, marks, coarse, picture):
    height, width = marks.shape
    lit, pixel, most = np.empty(3), np.empty(3), 0
    for row in range(height):
        for column in range(width):
            coarse[row, column, :] = background
            right, up = (column + 0.5 - 0.5 * width), (0.5 * height - row - 0.5)
            mark, count = _seen(
                opaque,
                clear,
                eye,
                right * eye.pixel_mm,
                up * eye.pixel_mm,
                ts,
                which,
                lit,
                coarse[row, column],
            )
            marks[row, column] = mark
            most = max(most, count)
    for row in range(height):
        for column in range(width):
            if samples < 2 or not _differs(marks, coarse, row, column):
                picture[row, column, :] = coarse[row, column]
                continue
            picture[row, column, :] = 0.0
            for part in range(samples * samples):
                pixel[:] = background
                right = column + (part % samples + 0.5) / samples - 0.5 * width
                up = 0.5 * height - row - (part // samples + 0.5) / samples
                _, count = _seen(
                    opaque, clear, eye, right * eye.pixel_mm, up * eye.pixel_mm, ts, which, lit, pixel
                )
                most = max(most, count)
                picture[row, column, :] += pixel / (samples * samples)
    return most


def draw(
    opaque: Painted, clear: Painted, eye: Eye, *, width: int, height: int, samples: int, background: Floats
) -> Bytes:
    """Draw a picture (height, width, 3) uint8 over a background colour (3,) 0-1; rays run on one thread.

    samples : rays per pixel and direction where neighbours differ.
    """
    coarse, picture = np.empty((height, width, 3)), np.empty((height, width, 3))
    marks, room = np.empty((height, width), np.int64), ROOM
    while True:
        ts, which = np.empty(room), np.empty(room, np.int32)
        most = _draw(opaque, clear, eye, background, samples, ts, which, marks, coarse, picture)
        if most <= room:
            break
        room = most
    return np.asarray(np.round(255.0 * picture), dtype=np.uint8)
