"""Which solids a sub-ray enters and leaves, in order, and where it passes a needle."""

from __future__ import annotations

import math

import numpy as np

from injectplan.kernels._jit import bare_kernel, tight_kernel
from injectplan.kernels.bvh import all_hits_of_ray


@bare_kernel
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


@tight_kernel
def crossings(tree, base, fill_tree, filled, ox, oy, oz, dx, dy, dz, far, ts, which):
    """All crossings of a ray with the solids and the fill, sorted; return how many are kept.

    The fill's triangles are numbered after the solids' `base`.  More than the room holds: the ray is given
    up, none.
    """
    room = ts.shape[0]
    found = all_hits_of_ray(tree, ox, oy, oz, dx, dy, dz, far, ts, which)
    if found > room:
        return 0
    if filled:
        more = all_hits_of_ray(fill_tree, ox, oy, oz, dx, dy, dz, far, ts[found:], which[found:])
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


@bare_kernel
def _best_of(counts, priority):
    """Return the solid of highest priority that contains the place, -1 outside all; of equals the first."""
    best = -1
    for s in range(counts.shape[0]):
        if counts[s] > 0 and (best < 0 or priority[s] > priority[best]):
            best = s
    return best


@bare_kernel
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


@tight_kernel
def _enters(corner, i, dx, dy, dz):
    """Whether a ray that crosses triangle i goes against its outward normal."""
    ax, ay, az = corner[i, 0], corner[i, 1], corner[i, 2]
    ux, uy, uz = corner[i, 3] - ax, corner[i, 4] - ay, corner[i, 5] - az
    vx, vy, vz = corner[i, 6] - ax, corner[i, 7] - ay, corner[i, 8] - az
    return (uy * vz - uz * vy) * dx + (uz * vx - ux * vz) * dy + (ux * vy - uy * vx) * dz < 0.0


@tight_kernel
def cross(corner, solid_of, fill_corner, priority, i, dx, dy, dz, counts, best):
    """Enter or leave the solid of crossing i; return (whether it is entered, the solid of highest priority).

    best : that before.  Arrays and not whole meshes, and the corners that the tree's walk has just read: a
    call copies every array it is handed, and this one is made per crossing.
    """
    base = solid_of.shape[0]
    if i < base:
        solid, enters = solid_of[i], _enters(corner, i, dx, dy, dz)
    else:
        solid, enters = counts.shape[0] - 1, _enters(fill_corner, i - base, dx, dy, dz)
    counts[solid] += 1 if enters else -1
    if counts[solid] > 0:
        if (
            best < 0
            or priority[solid] > priority[best]
            or (priority[solid] == priority[best] and solid < best)
        ):
            best = solid
    elif solid == best:
        best = _best_of(counts, priority)
    return enters, best
