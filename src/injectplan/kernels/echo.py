"""Along one scan line: boundaries, attenuation, world-fixed speckle, needle shadow.

Lengths in mm, speeds in mm/µs (= km/s), angles by their cosine; amplitudes are re a perfect planar mirror.
"""

from __future__ import annotations

import math

import numpy as np

from injectplan.kernels._jit import kernel, parallel_kernel, prange
from injectplan.kernels.boundary import at_boundary, diffuse_part, mirror_part, normal_at, snell_cosine
from injectplan.kernels.crossing import best_of, cross, crossings, distance_behind, rod_passage
from injectplan.kernels.line_values import (
    C0,
    FAINT,
    NEPER,
    Grid,
    Medium,
    Mesh,
    Options,
    Rays,
    Rod,
    Solids,
    Texture,
    Walked,
)
from injectplan.kernels.speckle import add_echo, filter_depth, pattern_segment, speckle_segment

BONE_SPREAD_MM = 0.3
BONE_GAIN = 3.16  # of a bone's line in pictures: facing bone is the brightest thing in public frames


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
def _entry_plane(skin, i, t, ox, oy, oz, dx, dy, dz):
    """Where a sub-ray enters triangle i, and the surface's outward normal there; against the beam if none."""
    x, y, z = ox + t * dx, oy + t * dy, oz + t * dz
    nx, ny, nz = normal_at(skin.a, skin.ab, skin.ac, skin.normals, i, x, y, z)
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
            pattern_segment(
                texture.patterns[style - 1], texture.gains, texture.axis_origin, texture.axis, top,
                solids.makeup.radial[solid], solids.makeup.axes[solid], weight, grid.step, qx, qy, qz,
                dx, dy, dz,
                depth, end, medium.speed[tissue], room,
            )  # fmt: skip
            weight = room
        speckle_segment(
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
            r, nx, ny, nz, cos1, gx, gy = at_boundary(
                mesh.a, mesh.ab, mesh.ac, mesh.normals, i if i < solid_of.shape[0] else i - solid_of.shape[0],
                rays.lateral[line], rays.elevation, qx, qy, qz, dx, dy, dz, medium.density[tissue],
                medium.speed[tissue], medium.shear[tissue], medium.density[after], medium.speed[after],
                medium.shear[after], after == tissue, membrane,
            )  # fmt: skip
            n = int(depth / grid.step + 0.5)
            mirror = level * (abs(r) + membrane)
            if mirror > FAINT and n < re.shape[0]:
                facing, kept = mirror_part(
                    gx, gy, grid.f_lateral[n], grid.f_elevation[n], grid.smear_x[n], grid.smear_y[n],
                    grid.sigma_z,
                )  # fmt: skip
                hard_wall = medium.shear[after] > 0.0
                floor = medium.floor[after] if hard_wall else max(medium.floor[after], medium.floor[tissue])
                diffuse = diffuse_part(floor, hard_wall, facing, cos1) * grid.rough[n]
                mirror *= grid.plane_weight[plane, n]
                sigma = grid.sigma_z
                if hard_wall and options.patterned:
                    mirror *= BONE_GAIN
                    # a steep surface spreads over the beam's width in depth: its line thickens, without beads
                    sigma = math.hypot(sigma, min(BONE_SPREAD_MM, 0.4 * abs(gx) * grid.smear_x[n]))
                # One phase per surface and side, so that neighbours neither cancel nor add systematically.
                outer = now if sign > 0 else solid
                phase = 2.0 * math.pi * 0.6180339887 * (2 * outer + (1 if sign > 0 else 0))
                add_echo(
                    texture.grain, texture.matrix, texture.origin, texture.shift, texture.scale, qx, qy, qz,
                    mirror * kept, mirror * diffuse, phase, depth, grid.step, sigma,
                    hard_wall and options.patterned, spec_re, spec_im,
                )  # fmt: skip
        hard = medium.shear[after] > 0.0 or medium.air[after] > 0
        if hard and middle:
            trusted = min(trusted, depth)
        if hard and options.veil > 0.0 and not medium.air[after]:
            # Sound that goes to and fro between bone and probe: a grey veil, then black.
            speckle_segment(
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
    filter_depth(re, im, grid.axial, spec_re, spec_im)


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
