"""Smooth surfaces through the boundary of a voxel mask, patch by patch.

Where a surface runs along a grid plane, its voxels leave a terrace: they say where its edges are, not how
high the surface stands within. A quadric that parts the centres inside from those outside over a few
millimetres knows, because it must meet the terraces' edges. It is fitted by logistic loss of ever smaller
width, whose end is the hinge: what cannot be parted is balanced, as many centres too many as too few.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from injectplan.kernels._jit import kernel, parallel_kernel, prange
from injectplan.kernels.cast import Bools, Floats, Ints, cast, points

WIDTHS_MM = (0.2, 0.06, 0.02, 0.006)  # of the logistic: from half a voxel to a sixtieth of one
FIRST_STEPS, STEPS = 4, 8
FIRST_STRIDE = 2  # of the centres asked with the first width: most rough patches go no further
FARTHEST_MM = 1.6  # centres farther than this from the tangent plane belong to other surfaces
REACH = 9.0  # widths: beyond, a centre's pull is 1e-4
LONGEST_MM = 0.5  # of one step
DAMPING = 1e-3
HOPELESS_MM = 0.12  # strays by so much after the first width: a rough boundary, which no quadric follows


@kernel
def _solve(h, g):
    """Solve h x = g for a positive definite 6 × 6 matrix by Cholesky, in place; x replaces g."""
    for i in range(6):
        for j in range(i + 1):
            total = h[i, j]
            for k in range(j):
                total -= h[i, k] * h[j, k]
            h[i, j] = math.sqrt(max(total, 1e-12)) if i == j else total / h[j, j]
    for i in range(6):
        for k in range(i):
            g[i] -= h[i, k] * g[k]
        g[i] /= h[i, i]
    for i in range(5, -1, -1):
        for k in range(i + 1, 6):
            g[i] -= h[k, i] * g[k]
        g[i] /= h[i, i]


@kernel
def _terms(x, y, radius, b):
    u, v = x / radius, y / radius
    b[0], b[1], b[2], b[3], b[4], b[5] = 1.0, u, v, u * u, u * v, v * v


@kernel
def _height(w, b):
    return w[0] * b[0] + w[1] * b[1] + w[2] * b[2] + w[3] * b[3] + w[4] * b[4] + w[5] * b[5]


@kernel
def _centres_about(mask, to_index, to_mm, middle, frame, radius, place, inside):
    """Centres of voxels within a cylinder about `middle`, in its frame; returns how many."""
    box = np.empty((3, 2), np.int64)
    for a in range(3):
        at = 0.0
        grow = 0.0
        for c in range(3):
            at += to_index[a, c] * middle[c]
            grow += to_index[a, c] ** 2
        at += to_index[a, 3]
        reach = math.sqrt(grow) * math.sqrt(radius * radius + FARTHEST_MM * FARTHEST_MM)
        box[a, 0], box[a, 1] = max(0, math.ceil(at - reach)), min(mask.shape[a] - 1, math.floor(at + reach))
    count = 0
    offset = np.empty(3)
    for i in range(box[0, 0], box[0, 1] + 1):
        for j in range(box[1, 0], box[1, 1] + 1):
            for k in range(box[2, 0], box[2, 1] + 1):
                for c in range(3):
                    offset[c] = to_mm[c, 0] * i + to_mm[c, 1] * j + to_mm[c, 2] * k + to_mm[c, 3] - middle[c]
                z = frame[2, 0] * offset[0] + frame[2, 1] * offset[1] + frame[2, 2] * offset[2]
                if abs(z) > FARTHEST_MM:
                    continue
                x = frame[0, 0] * offset[0] + frame[0, 1] * offset[1] + frame[0, 2] * offset[2]
                y = frame[1, 0] * offset[0] + frame[1, 1] * offset[1] + frame[1, 2] * offset[2]
                if x * x + y * y > radius * radius or count >= place.shape[0]:
                    continue
                place[count, 0], place[count, 1], place[count, 2] = x, y, z
                inside[count] = mask[i, j, k]
                count += 1
    return count


@kernel
def _nearest_first(place, inside, count, radius, w, reach):
    """Bring the centres within `reach` of a quadric, or on its wrong side, to the front; returns how many."""
    b = np.empty(6)
    kept = 0
    for p in range(count):
        _terms(place[p, 0], place[p, 1], radius, b)
        over = place[p, 2] - _height(w, b)
        if abs(over) > reach and (over < 0.0) == (inside[p] != 0):
            continue
        for c in range(3):
            place[p, c], place[kept, c] = place[kept, c], place[p, c]
        inside[p], inside[kept] = inside[kept], inside[p]
        kept += 1
    return kept


@kernel
def _stray_mm(place, inside, count, radius, w, cell):
    """How far the mask's boundary strays from a quadric, root mean square, by the depths of wrong centres.

    Between two surfaces e apart lie centres whose depths sum to e² / 2 per area and cell.
    """
    b = np.empty(6)
    total = 0.0
    for p in range(count):
        _terms(place[p, 0], place[p, 1], radius, b)
        over = place[p, 2] - _height(w, b)
        if (over > 0.0) == (inside[p] != 0):
            total += abs(over)
    return math.sqrt(2.0 * total * cell / (math.pi * radius * radius))


@kernel
def _fit(place, inside, count, radius, w, cell):
    """Fit the quadric z = w · (1, u, v, u², uv, v²), u = x / radius, that has the inside centres under it."""
    b, g, h = np.empty(6), np.empty(6), np.empty((6, 6))
    w[:] = 0.0
    near = count
    for width in WIDTHS_MM:
        if width < WIDTHS_MM[0] and _stray_mm(place, inside, near, radius, w, cell) > HOPELESS_MM:
            break
        for _ in range(STEPS if width < WIDTHS_MM[0] else FIRST_STEPS):
            g[:] = 0.0
            h[:] = 0.0
            for p in range(0, near, FIRST_STRIDE if width == WIDTHS_MM[0] else 1):
                _terms(place[p, 0], place[p, 1], radius, b)
                t = (_height(w, b) - place[p, 2]) / width
                if abs(t) > REACH:
                    if (t > 0.0) == (inside[p] != 0):
                        continue
                    t = REACH if t > 0.0 else -REACH
                share = 1.0 / (1.0 + math.exp(-t))
                pull = (share - 1.0 if inside[p] else share) / width
                bend = share * (1.0 - share) / (width * width)
                for i in range(6):
                    g[i] += pull * b[i]
                    for j in range(i + 1):
                        h[i, j] += bend * b[i] * b[j]
            for i in range(6):
                h[i, i] += DAMPING * count + 1e-9
            _solve(h, g)
            longest = 0.0
            for i in range(6):
                longest = max(longest, abs(g[i]))
            less = min(1.0, LONGEST_MM / longest) if longest > 0.0 else 1.0
            for i in range(6):
                w[i] -= less * g[i]
            if longest < 1e-3 * width:
                break
        near = _nearest_first(place, inside, near, radius, w, REACH * width)


@parallel_kernel
def _offsets(mask, to_index, to_mm, vertices, starts, members, middles, frames, radius, most, offset, misfit):
    cell = abs(np.linalg.det(to_mm[:3, :3]))
    for patch in prange(middles.shape[0]):
        place, inside = np.empty((most, 3)), np.empty(most, np.uint8)
        w, b, q = np.empty(6), np.empty(6), np.empty(3)
        frame, middle = frames[patch], middles[patch]
        count = _centres_about(mask, to_index, to_mm, middle, frame, radius, place, inside)
        _fit(place, inside, count, radius, w, cell)
        stray = _stray_mm(place, inside, count, radius, w, cell)
        for m in range(starts[patch], starts[patch + 1]):
            v = members[m]
            for a in range(3):
                q[a] = 0.0
                for c in range(3):
                    q[a] += frame[a, c] * (vertices[v, c] - middle[c])
            _terms(q[0], q[1], radius, b)
            offset[v] = _height(w, b) - q[2]
            misfit[v] = stray


def offsets_to_quadrics(
    mask: Bools,
    affine: Floats,
    vertices_mm: Floats,
    owner: Ints,
    middles_mm: Floats,
    frames: Sequence[Floats] | Floats,
    radius_mm: float,
) -> tuple[Floats, Floats]:
    """How far each vertex lies under the quadric fitted to the mask about its patch, and how well that fits.

    mask (i, j, k), affine (4, 4) indices → mm.  vertices_mm (n, 3), owner (n,) the patch of each, middles_mm
    (p, 3) the patches' middles, frames (p, 3, 3) rows of two tangents and the outward normal.
    Returns (n,) mm along the patch's normal, outward positive, and (n,) mm: root mean square of what no
    quadric follows.
    """
    vertices = points(vertices_mm, "vertices_mm")
    middles = points(middles_mm, "middles_mm")
    order = np.argsort(owner, kind="stable").astype(np.int32)
    starts = np.searchsorted(np.asarray(owner)[order], np.arange(len(middles) + 1)).astype(np.int64)
    offset, misfit = np.zeros(len(vertices)), np.full(len(vertices), np.inf)
    matrix = np.asarray(affine, np.float64)
    cell = abs(np.linalg.det(matrix[:3, :3]))
    most = int(1.3 * math.pi * radius_mm**2 * 2.0 * FARTHEST_MM / cell) + 64
    _offsets(
        cast(mask, np.uint8, (None, None, None), "mask"),
        cast(np.linalg.inv(matrix), np.float64, (4, 4), "inverse"),
        cast(matrix, np.float64, (4, 4), "affine"),
        vertices,
        cast(starts, np.int64, (None,), "starts"),
        cast(order, np.int32, (None,), "members"),
        middles,
        cast(frames, np.float64, (None, 3, 3), "frames"),
        float(radius_mm),
        most,
        offset,
        misfit,
    )
    return offset, misfit
