"""Closed surfaces on regular grids without a triangle tree: inside, signed distance, connected level sets.

All lengths are in grid steps: the caller maps vertices to grid indices and distances back to mm. Triangles
are sorted into slabs of grid planes, each slab one thread's, so any number of threads gives the same bytes.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from injectplan.kernels._jit import kernel, parallel_kernel, prange
from injectplan.kernels.bvh import _nearest_fractions
from injectplan.kernels.cast import Array, Bytes, Floats, Floats32, Ints, cast

SLAB = 8  # grid planes that one thread works on at a time
NEAR = 1.2  # distances up to here come from every triangle about; farther ones from the neighbours' triangles
FULL_LAYERS = 3  # layers that ask all 26 neighbours; farther ones ask 6


@kernel
def _slabs_of(vertices, triangles, t, grow, planes):
    """First and last slab that a triangle grown by `grow` touches; last < first where none."""
    a, b, c = vertices[triangles[t, 0], 0], vertices[triangles[t, 1], 0], vertices[triangles[t, 2], 0]
    low, high = math.ceil(min(a, b, c) - grow), math.floor(max(a, b, c) + grow)
    if high < 0 or low > planes - 1:
        return 0, -1
    return max(int(low), 0) // SLAB, min(int(high), planes - 1) // SLAB


@kernel
def _sorted_into_slabs(vertices, triangles, grow, planes):
    """Return (starts, members): the triangles of slab s are members[starts[s]:starts[s + 1]], ascending."""
    count = (planes + SLAB - 1) // SLAB
    starts = np.zeros(count + 1, np.int64)
    for t in range(triangles.shape[0]):
        first, last = _slabs_of(vertices, triangles, t, grow, planes)
        for s in range(first, last + 1):
            starts[s + 1] += 1
    for s in range(count):
        starts[s + 1] += starts[s]
    members, at = np.empty(starts[count], np.int32), starts[:-1].copy()
    for t in range(triangles.shape[0]):
        first, last = _slabs_of(vertices, triangles, t, grow, planes)
        for s in range(first, last + 1):
            members[at[s]] = t
            at[s] += 1
    return starts, members


@kernel
def _turn(x1, y1, x2, y2):
    """Sign and value of a turn; a tie is broken so that two triangles never both hold their common edge."""
    area = y1 * x2 - x1 * y2
    if area > 0.0:
        return 1, area
    if area < 0.0:
        return -1, area
    if y2 > y1:
        return 1, area
    if y2 < y1:
        return -1, area
    if x1 > x2:
        return 1, area
    if x1 < x2:
        return -1, area
    return 0, area


@kernel
def _flip_rows(vertices, triangles, t, i_low, i_high, flips, odd):
    """Toggle, in each row along k that meets a triangle, the first grid point beyond the crossing."""
    p, q, r = triangles[t, 0], triangles[t, 1], triangles[t, 2]
    _, ny, nz = flips.shape
    xs = (vertices[p, 0], vertices[q, 0], vertices[r, 0])
    ys = (vertices[p, 1], vertices[q, 1], vertices[r, 1])
    first, last = max(math.ceil(min(xs)), i_low), min(math.floor(max(xs)), i_high - 1)
    low, high = max(math.ceil(min(ys)), 0), min(math.floor(max(ys)), ny - 1)
    for i in range(first, last + 1):
        for j in range(low, high + 1):
            x1, x2, x3 = xs[0] - i, xs[1] - i, xs[2] - i
            y1, y2, y3 = ys[0] - j, ys[1] - j, ys[2] - j
            s1, a1 = _turn(x2, y2, x3, y3)
            s2, a2 = _turn(x3, y3, x1, y1)
            s3, a3 = _turn(x1, y1, x2, y2)
            if s1 == 0 or s1 != s2 or s1 != s3:
                continue
            total = a1 + a2 + a3
            if total == 0.0:
                a1 = a2 = a3 = 1.0
                total = 3.0
            z = (a1 * vertices[p, 2] + a2 * vertices[q, 2] + a3 * vertices[r, 2]) / total
            k = max(math.ceil(z), 0)
            odd[i, j] ^= np.uint8(1)
            if k < nz:
                flips[i, j, k] ^= np.uint8(1)


@parallel_kernel
def _fill_inside(vertices, triangles, starts, members, inside, odd):
    """Set inside (nx, ny, nz) to 1 where the crossings below a point are odd in number; it enters as 0.

    odd : (nx, ny) of 0; a row that crosses an odd number of times in all meets a hole and is left outside.
    """
    nx, ny, nz = inside.shape
    for s in prange(len(starts) - 1):
        low, high = s * SLAB, min(nx, s * SLAB + SLAB)
        for m in range(starts[s], starts[s + 1]):
            _flip_rows(vertices, triangles, members[m], low, high, inside, odd)
        for i in range(low, high):
            for j in range(ny):
                state = np.uint8(0)
                for k in range(nz):
                    state ^= inside[i, j, k]
                    inside[i, j, k] = state & (odd[i, j] ^ np.uint8(1))


@parallel_kernel
def _paint(inside, labels, i0, j0, k0, value):
    nx, ny, nz = inside.shape
    for i in prange(nx):
        for j in range(ny):
            for k in range(nz):
                if inside[i, j, k]:
                    labels[i0 + i, j0 + j, k0 + k] = value


@kernel
def _splat(vertices, triangles, t, i_low, i_high, best, owner):
    """Offer a triangle to every grid point within NEAR of it: squared distance and which triangle."""
    p, q, r = triangles[t, 0], triangles[t, 1], triangles[t, 2]
    ax, ay, az = vertices[p, 0], vertices[p, 1], vertices[p, 2]
    ux, uy, uz = vertices[q, 0] - ax, vertices[q, 1] - ay, vertices[q, 2] - az
    vx, vy, vz = vertices[r, 0] - ax, vertices[r, 1] - ay, vertices[r, 2] - az
    wx, wy, wz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
    square = wx * wx + wy * wy + wz * wz
    scale = 1.0 / square if square > 0.0 else 0.0
    _, ny, nz = best.shape
    i0 = max(math.ceil(ax + min(0.0, ux, vx) - NEAR), i_low)
    i1 = min(math.floor(ax + max(0.0, ux, vx) + NEAR), i_high - 1)
    j0 = max(math.ceil(ay + min(0.0, uy, vy) - NEAR), 0)
    j1 = min(math.floor(ay + max(0.0, uy, vy) + NEAR), ny - 1)
    k0 = max(math.ceil(az + min(0.0, uz, vz) - NEAR), 0)
    k1 = min(math.floor(az + max(0.0, uz, vz) + NEAR), nz - 1)
    for i in range(i0, i1 + 1):
        for j in range(j0, j1 + 1):
            for k in range(k0, k1 + 1):
                x, y, z = i - ax, j - ay, k - az
                limit = min(best[i, j, k], np.float32(NEAR * NEAR))
                off = x * wx + y * wy + z * wz
                if off * off * scale > limit:
                    continue
                v, w = _nearest_fractions(ux, uy, uz, vx, vy, vz, x, y, z)
                dx, dy, dz = x - v * ux - w * vx, y - v * uy - w * vy, z - v * uz - w * vz
                d = np.float32(dx * dx + dy * dy + dz * dz)
                if d < best[i, j, k] and d <= np.float32(NEAR * NEAR):
                    best[i, j, k] = d
                    owner[i, j, k] = t


@parallel_kernel
def _splat_all(vertices, triangles, starts, members, best, owner, layer):
    nx, ny, nz = best.shape
    for s in prange(len(starts) - 1):
        low, high = s * SLAB, min(nx, s * SLAB + SLAB)
        for i in range(low, high):
            for j in range(ny):
                for k in range(nz):
                    best[i, j, k] = np.inf
        for m in range(starts[s], starts[s + 1]):
            _splat(vertices, triangles, members[m], low, high, best, owner)
        for i in range(low, high):
            for j in range(ny):
                for k in range(nz):
                    layer[i, j, k] = 1 if best[i, j, k] < np.inf else 0


@parallel_kernel
def _row_spans(layer, spans):
    """First and last point of each row along k that is known; last < first where none is."""
    nx, ny, nz = layer.shape
    for i in prange(nx):
        for j in range(ny):
            first, last = nz, -1
            for k in range(nz):
                if layer[i, j, k] != 0:
                    first = k
                    break
            if first < nz:
                for k in range(nz - 1, first - 1, -1):
                    if layer[i, j, k] != 0:
                        last = k
                        break
            spans[i, j, 0], spans[i, j, 1] = first, last


@kernel
def _offer(vertices, triangles, t, x, y, z):
    """Squared distance of a point to a triangle, and the triangle's nearest point from (x, y, z)."""
    p, q, r = triangles[t, 0], triangles[t, 1], triangles[t, 2]
    ax, ay, az = vertices[p, 0], vertices[p, 1], vertices[p, 2]
    ux, uy, uz = vertices[q, 0] - ax, vertices[q, 1] - ay, vertices[q, 2] - az
    vx, vy, vz = vertices[r, 0] - ax, vertices[r, 1] - ay, vertices[r, 2] - az
    x, y, z = x - ax, y - ay, z - az
    v, w = _nearest_fractions(ux, uy, uz, vx, vy, vz, x, y, z)
    dx, dy, dz = v * ux + w * vx - x, v * uy + w * vy - y, v * uz + w * vz - z
    return np.float32(dx * dx + dy * dy + dz * dz), dx, dy, dz


@kernel
def _beside_foot(vertices, triangles, found, which, fx, fy, fz, x, y, z, owner, layer):
    """Offer the triangles of the eight grid points round a foot point; they know those near it exactly."""
    nx, ny, nz = layer.shape
    i, j, k = math.floor(x + fx), math.floor(y + fy), math.floor(z + fz)
    mine, asked = which, -1
    for a in range(i, i + 2):
        for b in range(j, j + 2):
            for c in range(k, k + 2):
                if 0 <= a < nx and 0 <= b < ny and 0 <= c < nz and layer[a, b, c] == 1:
                    t = owner[a, b, c]
                    if t in (mine, asked):
                        continue
                    asked = t
                    d = _offer(vertices, triangles, t, x, y, z)[0]
                    if d < found or (d == found and t < which):
                        found, which = d, t
    return found, which


@parallel_kernel
def _one_layer(vertices, triangles, now, wide, spans, best, owner, layer):
    """Give each unknown point beside a known one the nearest of its neighbours' triangles.

    Only points of earlier layers are asked, so the order of the threads does not matter.
    """
    nx, ny, nz = best.shape
    for i in prange(nx):
        for j in range(ny):
            first, last = nz, -1
            for di in range(-1, 2):
                for dj in range(-1, 2):
                    if 0 <= i + di < nx and 0 <= j + dj < ny and (wide or di == 0 or dj == 0):
                        first = min(first, spans[i + di, j + dj, 0])
                        last = max(last, spans[i + di, j + dj, 1])
            for k in range(max(first - 1, 0), min(last + 1, nz - 1) + 1):
                if layer[i, j, k] != 0:
                    continue
                found, which, asked = np.float32(np.inf), -1, -1
                fx = fy = fz = 0.0
                for di in range(-1, 2):
                    if not 0 <= i + di < nx:
                        continue
                    for dj in range(-1, 2):
                        if not 0 <= j + dj < ny:
                            continue
                        for dk in range(-1, 2):
                            if not 0 <= k + dk < nz or (not wide and abs(di) + abs(dj) + abs(dk) > 1):
                                continue
                            state = layer[i + di, j + dj, k + dk]
                            if state == 0 or state > now:
                                continue
                            t = owner[i + di, j + dj, k + dk]
                            if t in (asked, which):
                                continue
                            asked = t
                            d, dx, dy, dz = _offer(vertices, triangles, t, float(i), float(j), float(k))
                            if d < found or (d == found and t < which):
                                found, which, fx, fy, fz = d, t, dx, dy, dz
                if which >= 0:
                    found, which = _beside_foot(
                        vertices,
                        triangles,
                        found,
                        which,
                        fx,
                        fy,
                        fz,
                        float(i),
                        float(j),
                        float(k),
                        owner,
                        layer,
                    )
                    best[i, j, k] = found
                    owner[i, j, k] = which
                    layer[i, j, k] = now + 1


@parallel_kernel
def _signed(best, inside, reach):
    nx, ny, nz = best.shape
    for i in prange(nx):
        for j in range(ny):
            for k in range(nz):
                d = min(np.float32(math.sqrt(best[i, j, k])), reach)
                best[i, j, k] = -d if inside[i, j, k] else d


def _checked(vertices: npt.ArrayLike, triangles: npt.ArrayLike) -> tuple[Floats, Ints]:
    return cast(vertices, np.float64, (None, 3), "vertices"), cast(
        triangles, np.int32, (None, 3), "triangles"
    )


def inside_grid(vertices: npt.ArrayLike, triangles: npt.ArrayLike, shape: tuple[int, int, int]) -> Bytes:
    """Which grid points lie inside a closed surface, (nx, ny, nz) uint8 of 0 and 1.

    vertices : (n, 3) in grid indices.  A row's crossings are counted exactly: an edge shared by two triangles
    is met once (ties broken by a fixed rule), so a closed surface never leaks. A row along the last axis that
    crosses an odd number of times in all (an open surface) counts as outside.
    """
    points, corners = _checked(vertices, triangles)
    inside: Bytes = np.zeros(shape, np.uint8)
    starts, members = _sorted_into_slabs(points, corners, 0.0, shape[0])
    _fill_inside(points, corners, starts, members, inside, np.zeros(shape[:2], np.uint8))
    return inside


def paint_inside(
    vertices: npt.ArrayLike, triangles: npt.ArrayLike, labels: npt.NDArray[np.uint16], value: int
) -> None:
    """Write a value into a label grid (nx, ny, nz) wherever a closed surface holds the point."""
    points, corners = _checked(vertices, triangles)
    if not len(corners):
        return
    low = np.clip(np.floor(points.min(axis=0)), 0, np.array(labels.shape) - 1).astype(int)
    high = np.clip(np.ceil(points.max(axis=0)), 0, np.array(labels.shape) - 1).astype(int) + 1
    box = (int(high[0] - low[0]), int(high[1] - low[1]), int(high[2] - low[2]))
    inside = inside_grid(points - low, corners, box)
    _paint(inside, labels, int(low[0]), int(low[1]), int(low[2]), np.uint16(value))


def signed_grid(
    vertices: npt.ArrayLike, triangles: npt.ArrayLike, shape: tuple[int, int, int], reach: float
) -> Floats32:
    """Signed distance of grid points to a closed surface in grid steps, ±reach beyond it, float32.

    Exact within NEAR steps. Farther out each point takes the nearest of its known neighbours' triangles,
    layer by layer, and asks those round its foot: on average right to 0.001 steps within three, 0.01 within
    twelve; where two sides of a surface are equally far the wrong one may win, by less than a step.
    Bridson (2007), Fluid Simulation, section 4.
    """
    points, corners = _checked(vertices, triangles)
    best: Floats32 = np.empty(shape, np.float32)
    owner, layer = np.empty(shape, np.int32), np.empty(shape, np.uint8)
    spans = np.empty((shape[0], shape[1], 2), np.int32)
    starts, members = _sorted_into_slabs(points, corners, NEAR, shape[0])
    _splat_all(points, corners, starts, members, best, owner, layer)
    for now in range(1, min(max(math.ceil(reach), 1), 250)):
        _row_spans(layer, spans)
        _one_layer(points, corners, now, now <= FULL_LAYERS, spans, best, owner, layer)
    inside: Bytes = layer
    inside[...] = 0
    starts, members = _sorted_into_slabs(points, corners, 0.0, shape[0])
    _fill_inside(points, corners, starts, members, inside, np.zeros(shape[:2], np.uint8))
    _signed(best, inside, np.float32(reach))
    return best


@kernel
def _flood(values, limit, step, rise, result):
    """Least highest value on a way from the points at or below zero, by 6 neighbours; see `reachable`."""
    nx, ny, nz = values.shape
    flat, out = values.reshape(-1), result.reshape(-1)
    buckets = int(limit / step) + 2
    head = np.full(buckets, -1, np.int64)
    room, used = 1 << 16, 0
    item, following = np.empty(room, np.int64), np.empty(room, np.int64)
    for at in range(flat.shape[0]):
        if flat[at] <= 0.0:
            out[at] = flat[at]
            if used == room:
                item, following = (
                    np.append(item, np.empty(room, np.int64)),
                    np.append(following, np.empty(room, np.int64)),
                )
                room *= 2
            item[used], following[used] = at, head[0]
            head[0] = used
            used += 1
    moves = np.array([ny * nz, -ny * nz, nz, -nz, 1, -1])
    for bucket in range(buckets):
        while head[bucket] >= 0:
            slot = head[bucket]
            head[bucket] = following[slot]
            at = item[slot]
            i, j, k = at // (ny * nz), (at // nz) % ny, at % nz
            for m in range(6):
                if (
                    (m == 0 and i == nx - 1) or (m == 1 and i == 0) or (m == 2 and j == ny - 1)
                    or (m == 3 and j == 0) or (m == 4 and k == nz - 1) or (m == 5 and k == 0)
                ):  # fmt: skip
                    continue
                there = at + moves[m]
                if flat[there] > limit or out[there] < np.inf:
                    continue
                level = max(out[at], np.float32(0.0))
                level = flat[there] if flat[there] >= level else level + rise
                out[there] = level
                if used == room:
                    item, following = (
                        np.append(item, np.empty(room, np.int64)),
                        np.append(following, np.empty(room, np.int64)),
                    )
                    room *= 2
                place = min(max(int(level / step), bucket), buckets - 1)
                item[used], following[used] = there, head[place]
                head[place] = used
                used += 1


def reachable(values: Array, limit: float, step: float = 0.05, rise: float = 0.0) -> Floats32:
    """Raise a grid's values so that every level set hangs together with the points at or below zero.

    A point's new value is the least, over all ways from the zero set, of the highest value on the way (to
    within `step`); infinity where that exceeds `limit` or no way leads. values : (nx, ny, nz).
    rise : added for each grid step downhill, so that what lies behind a narrow fills gradually.
    """
    given = cast(values, np.float32, (None, None, None), "values")
    result: Floats32 = np.full(given.shape, np.inf, np.float32)
    _flood(given, float(limit), float(step), np.float32(rise), result)
    return result
