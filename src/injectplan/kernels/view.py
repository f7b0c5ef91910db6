"""How a probe would be held for a path, and what it would show of it: poses rated, the best one found."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from injectplan.kernels._jit import kernel, parallel_kernel, prange
from injectplan.kernels.bvh import Bvh, first_hit
from injectplan.kernels.cast import Floats, Ints, cast, points
from injectplan.kernels.field import gradient, sample


class ProbeFace(NamedTuple):
    """What the search needs of a transducer. half_angle_rad is 0 for a linear one; widths in mm."""

    half_width_mm: float
    radius_mm: float
    half_angle_rad: float
    depth_mm: float
    half_elevation_mm: float
    gap_low_mm: float
    gap_high_mm: float
    press_mm: float


@kernel
def _to_skin(skin, x, y, z):
    """Move a point onto the skin along the field's slope; return the point and the outward unit normal."""
    nx, ny, nz = 0.0, 0.0, 1.0
    for _ in range(4):
        value = sample(skin, x, y, z)
        gx, gy, gz = gradient(skin, x, y, z)
        size = math.sqrt(gx * gx + gy * gy + gz * gz)
        if size < 1e-6:
            break
        nx, ny, nz = gx / size, gy / size, gz / size
        x, y, z = x - value * nx, y - value * ny, z - value * nz
    return x, y, z, nx, ny, nz


@kernel
def _line_is_free(bone, sx, sy, sz, ex, ey, ez):
    """Whether the segment from the face to a point stays out of bone."""
    dx, dy, dz = ex - sx, ey - sy, ez - sz
    length = math.sqrt(dx * dx + dy * dy + dz * dz)
    t = 0.0
    while t < length:
        f = t / length
        value = sample(bone, sx + f * dx, sy + f * dy, sz + f * dz)
        if value < 0.0:
            return False
        t += max(0.9 * value, 0.5 * bone.spacing_mm)
    return True


@kernel
def _face_point(face, angle_or_x):
    """Return (x, z) of a point on the face in the probe's frame."""
    if face.half_angle_rad > 0.0:
        return face.radius_mm * math.sin(angle_or_x), face.radius_mm * (math.cos(angle_or_x) - 1.0)
    return angle_or_x, 0.0


@kernel
def _line_to(face, x, z):
    """Return (start x, start z, along x, along z, depth, inside) of the scan line through (x, z)."""
    if face.half_angle_rad > 0.0:
        r = math.hypot(x, z + face.radius_mm)
        dx, dz = x / r, (z + face.radius_mm) / r
        sx, sz = face.radius_mm * dx, face.radius_mm * dz - face.radius_mm
        depth = r - face.radius_mm
        within = abs(math.atan2(x, z + face.radius_mm)) <= face.half_angle_rad
        return sx, sz, dx, dz, depth, within
    return x, 0.0, 0.0, 1.0, z, abs(x) <= face.half_width_mm


@kernel
def shown(steep_deg):
    """Share of a needle's brightness that is left when it runs `steep_deg` to the face, 0–1.

    Falls slowly to 30 degrees and linearly beyond, as measured in tissue (Schafhalter-Zoppoth 2004: best
    below 30 degrees, linear decrease with steepness); the two slopes are assumed.
    """
    return max(0.05, 1.0 - 0.15 * min(steep_deg, 30.0) / 30.0 - 0.75 * max(0.0, steep_deg - 30.0) / 45.0)


@kernel
def _turned(ya, za, scan):
    """How far a probe is held from how it should be, 0–1: 15 degrees are free, 60 are all."""
    away = math.asin(min(1.0, abs(ya[0] * scan[0, 0] + ya[1] * scan[0, 1] + ya[2] * scan[0, 2])))
    if (scan[1] != 0.0).any():
        along = za[0] * scan[1, 0] + za[1] * scan[1, 1] + za[2] * scan[1, 2]
        away = max(away, math.acos(min(1.0, max(-1.0, along))))
    return min(1.0, max(0.0, math.degrees(away) - 15.0) / 45.0)


@kernel
def rate_view(face, skin, bone, entry, tip, c, xa, za, in_plane, scan, lifted, best, view):
    """Rate one probe pose for one path; return its cost 0–1, or infinity when the pose does not serve or
    cannot cost less than `best`.  lifted : how many of seven points of the face may stand off the skin.

    c : face centre on the skin; xa, za : the probe's unit axes.  scan : (2, 3) direction the image plane
    should hold and the one the beam should look in (zero: any).  Writes view: 0–2 pressed centre, 3 angle
    between beam and needle, 4 window fraction, 5 tip depth, 6 visibility, 7 largest distance of the distal
    20 mm from the plane.
    """
    ya = np.array([
        za[1] * xa[2] - za[2] * xa[1], za[2] * xa[0] - za[0] * xa[2], za[0] * xa[1] - za[1] * xa[0],
    ])  # fmt: skip
    turned = _turned(ya, za, scan) if in_plane else 0.0
    if 0.2 * turned >= best:
        return np.inf
    # contact: press until the whole face lies in tissue, as far as tissue gives way
    worst, outside = 0.0, 0
    half = face.half_angle_rad if face.half_angle_rad > 0.0 else face.half_width_mm
    for k in range(7):
        fx, fz = _face_point(face, half * (k / 3.0 - 1.0))
        x = c[0] + fx * xa[0] + fz * za[0]
        y = c[1] + fx * xa[1] + fz * za[1]
        z = c[2] + fx * xa[2] + fz * za[2]
        gap = sample(skin, x, y, z)
        if gap > face.press_mm:
            outside += 1
        worst = max(worst, gap)
    if outside > lifted:
        return np.inf
    press = min(worst, face.press_mm)
    cx, cy, cz = c[0] + press * za[0], c[1] + press * za[1], c[2] + press * za[2]
    ux, uy, uz = tip[0] - entry[0], tip[1] - entry[1], tip[2] - entry[2]
    length = math.sqrt(ux * ux + uy * uy + uz * uz)
    ux, uy, uz = ux / length, uy / length, uz / length
    # the needle's hub side must stay clear of the housing
    ex, ey, ez = entry[0] - cx, entry[1] - cy, entry[2] - cz
    if in_plane:
        gap = abs(ex * xa[0] + ey * xa[1] + ez * xa[2]) - face.half_width_mm
    else:
        gap = abs(ex * ya[0] + ey * ya[1] + ez * ya[2]) - face.half_elevation_mm
    if gap < face.gap_low_mm - 1e-6 or gap > face.gap_high_mm + 1e-6:
        return np.inf
    tx, ty, tz = tip[0] - cx, tip[1] - cy, tip[2] - cz
    px = tx * xa[0] + ty * xa[1] + tz * xa[2]
    pz = tx * za[0] + ty * za[1] + tz * za[2]
    _, _, along_x, along_z, depth, within = _line_to(face, px, pz)
    if not within or depth < 3.0 or depth > face.depth_mm - 2.0:
        return np.inf
    bx = along_x * xa[0] + along_z * za[0]
    by = along_x * xa[1] + along_z * za[1]
    bz = along_x * xa[2] + along_z * za[2]
    angle = math.degrees(math.acos(min(1.0, abs(ux * bx + uy * by + uz * bz))))
    steep = 90.0 - angle
    visible = shown(steep)
    if not in_plane:  # only the tip's spot shows
        visible = 0.3
    rest = 0.2 * depth / face.depth_mm + 0.2 * turned
    if 0.6 * (1.0 - visible) + rest >= best:
        return np.inf
    free = 0
    out = 0.0
    for k in range(6):
        back = min(4.0 * k, length)
        x, y, z = tx - back * ux, ty - back * uy, tz - back * uz
        qx = x * xa[0] + y * xa[1] + z * xa[2]
        qy = x * ya[0] + y * ya[1] + z * ya[2]
        qz = x * za[0] + y * za[1] + z * za[2]
        out = max(out, abs(qy))
        sx, sz, _, _, _, inside = _line_to(face, qx, qz)
        ok = inside and _line_is_free(
            bone,
            cx + sx * xa[0] + qy * ya[0] + sz * za[0],
            cy + sx * xa[1] + qy * ya[1] + sz * za[1],
            cz + sx * xa[2] + qy * ya[2] + sz * za[2],
            cx + x, cy + y, cz + z,
        )  # fmt: skip
        if ok:
            free += 1
        elif k == 0:
            return np.inf  # bone over the target
    window = free / 6.0
    visible *= window
    view[0], view[1], view[2] = cx, cy, cz
    view[3], view[4], view[5], view[6], view[7] = angle, window, depth, visible, out
    return 0.6 * (1.0 - visible) + rest


@kernel
def _dress(skin, c, reach, t):
    """Return the mean outward unit normal under a footprint of half-length `reach` along t."""
    sx = sy = sz = 0.0
    for k in range(-1, 2):
        gx, gy, gz = gradient(skin, c[0] + k * reach * t[0], c[1] + k * reach * t[1], c[2] + k * reach * t[2])
        sx, sy, sz = sx + gx, sy + gy, sz + gz
    size = math.sqrt(sx * sx + sy * sy + sz * sz)
    if size < 1e-6:
        return 0.0, 0.0, 0.0
    return sx / size, sy / size, sz / size


@kernel
def _along_skin(u, normal):
    """Return the needle's direction along the skin, of length 1; straight down, any direction serves."""
    t = u - (u * normal).sum() * normal
    flat = math.sqrt((t * t).sum())
    if flat < 1e-3:
        k = 0
        if abs(normal[1]) < abs(normal[0]):
            k = 1
        if abs(normal[2]) < abs(normal[k]):
            k = 2
        t = -normal[k] * normal
        t[k] += 1.0
        flat = math.sqrt((t * t).sum())
    return t / flat


@kernel
def _cross(a, b):
    return np.array([a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]])


@kernel
def _stand_in_plane(face, skin, entry, u, t, away, place):
    """Write place (9,), face centre, x and z axis, of a face `away` mm from the entry along t, its plane
    through the needle and the skin's mean normal; False where these two leave the plane open.
    """
    aside = entry + away * t
    px, py, pz, _, _, _ = _to_skin(skin, aside[0], aside[1], aside[2])
    c = np.array([px, py, pz])
    nx, ny, nz = _dress(skin, c, 0.7 * face.half_width_mm, t)
    n = np.array([nx, ny, nz])
    y = _cross(u, n)
    size = math.sqrt((y * y).sum())
    if size < 1e-3:
        y = _cross(t, n)
        y -= (y * u).sum() * u
        size = math.sqrt((y * y).sum())
        if size < 1e-6:
            return False
    y /= size
    z = -n
    z -= (z * y).sum() * y
    z /= math.sqrt((z * z).sum())
    x = _cross(y, z)
    if (x * t).sum() < 0.0:
        x = -x
    c -= ((c - entry) * y).sum() * y
    c += sample(skin, c[0], c[1], c[2]) * z
    place[0:3], place[3:6], place[6:9] = c, x, z
    return True


@kernel
def _stand_across(skin, tip, t, place):
    """Write place (9,) of a face over the tip, across the needle; False where the skin leaves it open."""
    px, py, pz, nx, ny, nz = _to_skin(skin, tip[0], tip[1], tip[2])
    n = np.array([nx, ny, nz])
    x = _cross(n, t)
    size = math.sqrt((x * x).sum())
    if size <= 1e-3:
        return False
    place[0], place[1], place[2] = px, py, pz
    place[3:6], place[6:9] = x / size, -n
    return True


@kernel
def best_view(face, skin, bone, entry, normal, tip, gaps, scan, pose, view):
    """Find the cheapest probe pose for one path; return (cost, technique):
    0 in-plane, 1 out-of-plane (only where no pose in plane serves), -1 none.

    In plane the face stands along the skin's mean normal; the best place is then tried rocked as well.

    Writes pose (9,): face centre, x axis (in-plane: away from the entry), z axis; view as `rate_view`.
    """
    u = tip - entry
    u /= math.sqrt((u * u).sum())
    t = _along_skin(u, normal)
    best, technique = np.inf, -1
    trial, place, chosen = np.empty(8), np.empty(9), np.empty(9)
    for k in range(gaps.shape[0]):
        if not _stand_in_plane(face, skin, entry, u, t, gaps[k] + face.half_width_mm, place):
            continue
        c, x, z = place[0:3], place[3:6], place[6:9]
        cost = rate_view(face, skin, bone, entry, tip, c, x, z, True, scan, 1, best, trial)
        if cost < best:
            best, technique = cost, 0
            view[:] = trial
            pose[0:3], pose[3:6], pose[6:9] = trial[0:3], x, z
            chosen[:] = place
    if technique == 0:
        for k in range(4):
            rock = math.radians((-16.0, -8.0, 8.0, 16.0)[k])
            x = math.cos(rock) * chosen[3:6] + math.sin(rock) * chosen[6:9]
            z = math.cos(rock) * chosen[6:9] - math.sin(rock) * chosen[3:6]
            bar = best - 0.01  # held straight unless it is worth it
            cost = rate_view(face, skin, bone, entry, tip, chosen[0:3], x, z, True, scan, 0, bar, trial)
            if cost < best:
                best = cost
                view[:] = trial
                pose[0:3], pose[3:6], pose[6:9] = trial[0:3], x, z
        return best, technique
    if _stand_across(skin, tip, t, place):
        c, x, z = place[0:3], place[3:6], place[6:9]
        cost = rate_view(face, skin, bone, entry, tip, c, x, z, False, scan, 1, best, trial)
        if cost < best:
            best, technique = cost, 1
            view[:] = trial
            pose[0:3], pose[3:6], pose[6:9] = trial[0:3], x, z
    return best, technique


@parallel_kernel
def _view_all(
    face, skin, bone, entries, normals, tips, which_entry, which_tip, gaps, scan, cost, technique, poses,
    views,
):  # fmt: skip
    for i in prange(which_entry.shape[0]):
        e, t = which_entry[i], which_tip[i]
        cost[i], technique[i] = best_view(
            face, skin, bone, entries[e], normals[e], tips[t], gaps, scan, poses[i], views[i]
        )


def view_all(
    face: ProbeFace, skin, bone, entries_mm, normals, tips_mm, which_entry, which_tip, gaps_mm, scan
) -> tuple[Floats, Ints, Floats, Floats]:
    """Best probe pose of each chosen pair: cost (n,), technique (n,), poses (n, 9), views (n, 8)."""
    n = len(which_entry)
    cost, technique = np.empty(n), np.empty(n, np.int32)
    poses, views = np.full((n, 9), np.nan), np.full((n, 8), np.nan)
    _view_all(
        face, skin, bone, points(entries_mm), points(normals), points(tips_mm),
        cast(which_entry, np.int32, (None,), "which_entry"), cast(which_tip, np.int32, (None,), "which_tip"),
        cast(gaps_mm, np.float64, (None,), "gaps_mm"), cast(scan, np.float64, (2, 3), "scan"), cost,
        technique, poses, views,
    )  # fmt: skip
    return cost, technique, poses, views


@parallel_kernel
def _bone_over(tree, starts, ends, result):
    for i in prange(starts.shape[0]):
        dx, dy, dz = ends[i, 0] - starts[i, 0], ends[i, 1] - starts[i, 1], ends[i, 2] - starts[i, 2]
        length = math.sqrt(dx * dx + dy * dy + dz * dz)
        result[i] = not math.isnan(
            first_hit(
                tree, starts[i, 0], starts[i, 1], starts[i, 2], dx / length, dy / length, dz / length, length
            )[0]
        )


def blocked_lines(tree: Bvh, starts_mm: npt.ArrayLike, ends_mm: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Whether a surface lies between the ends of each segment, exactly, (n,)."""
    starts, ends = points(starts_mm), points(ends_mm)
    result = np.zeros(len(starts), np.bool_)
    _bone_over(tree, starts, ends, result)
    return result
