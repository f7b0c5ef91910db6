"""Which solids a sub-ray enters and leaves, in order, and where it passes a needle."""

from __future__ import annotations

import math

import numpy as np

from injectplan.kernels._jit import kernel
from injectplan.kernels.bvh import all_hits_of_ray


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
