"""Along one scan line: boundaries, attenuation, world-fixed speckle, needle shadow.

Lengths in mm, speeds in mm/µs (= km/s), angles by their cosine; amplitudes are re a perfect planar mirror.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from injectplan.kernels._jit import bare_kernel, inline_kernel, parallel_kernel, prange
from injectplan.kernels._lanes import add_decay, grains, lay
from injectplan.kernels._scalar import swift_exp
from injectplan.kernels._wide import fetch_two
from injectplan.kernels.boundary import (
    at_boundary,
    diffuse_part,
    eased,
    facets_facing,
    mirror_part,
    normal_at,
    reflection,
    snell_cosine,
)
from injectplan.kernels.bvh import ray_tree
from injectplan.kernels.crossing import cross, crossings, distance_behind, rod_passage
from injectplan.kernels.even import even_reach
from injectplan.kernels.labels import label_group
from injectplan.kernels.line_values import (
    C0,
    COLUMNS,
    FAINT,
    NEPER,
    Columns,
    Desk,
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
from injectplan.kernels.speckle import (
    add_echo,
    filter_depth,
    lay_pattern,
    lay_speckle,
    samples_between,
    texture_place,
    turn,
)

BONE_SPREAD_MM = 0.3
BONE_GAIN = 2.0  # of a bone's line in pictures: facing bone is the brightest thing in public frames
SHEET_FLOOR = 0.3  # diffuse part of fascia and epimysium in pictures: seen when tilted, too (assumed)
WALL_PASSED = 0.1407 * 0.1407  # a needle's wall is crossed four times each way; two of them are counted
VEIL_ASIDE = 0.15  # of the veil, under bone that sends nothing back to be reflected again (assumed)
ELSEWHERE_MM = 37.0  # the veil's grain is that of another place
SAME_MM = 1e-7  # surfaces this close lie on each other: no layer between them echoes
GUESS_MM = 2.0  # sub-rays of a line end within this of each other, nearly always


class Ray(NamedTuple):
    """A place and a unit direction in mm, and the same in texture voxels."""

    x: float
    y: float
    z: float
    dx: float
    dy: float
    dz: float
    gx: float
    gy: float
    gz: float
    tx: float
    ty: float
    tz: float


@bare_kernel
def _ray(texture, x, y, z, dx, dy, dz):
    gx, gy, gz = texture_place(texture.matrix, texture.origin, texture.shift, x, y, z)
    tx, ty, tz = turn(texture.matrix, dx, dy, dz)
    return Ray(x, y, z, dx, dy, dz, gx, gy, gz, tx, ty, tz)


@bare_kernel
def _forward(ray, s):
    """The ray, begun s mm later."""
    x, y, z, dx, dy, dz, gx, gy, gz, tx, ty, tz = ray
    return Ray(
        x + s * dx, y + s * dy, z + s * dz, dx, dy, dz, gx + s * tx, gy + s * ty, gz + s * tz, tx, ty, tz
    )


@bare_kernel
def _entry_plane(corner, normals, i, t, ray):
    """Where a sub-ray enters triangle i, and the surface's outward normal there; against the beam if none."""
    x, y, z = ray.x + t * ray.dx, ray.y + t * ray.dy, ray.z + t * ray.dz
    nx, ny, nz = normal_at(corner, normals, i, x, y, z)
    if nx * ray.dx + ny * ray.dy + nz * ray.dz > -0.1:
        nx, ny, nz = -ray.dx, -ray.dy, -ray.dz
    return x, y, z, nx, ny, nz


@inline_kernel
def _submerge(solids, fill, medium, options, ray, back, total, ts, which, counts):
    """Cross what lies before the face and the gel on it: (next crossing, the entry's, solid, tissue)."""
    corner, solid_of, fill_corner = solids.mesh.tree.corner, solids.mesh.skin.solid, fill.tree.corner
    priority, tissue_of = solids.makeup.priority, solids.makeup.tissue
    counts[:] = 0
    h, inside, entry, solid = 0, 0, -1, -1
    while h < total and ts[h] <= back + 1e-6:
        if inside == 0:
            entry = h
        enters, solid = cross(
            corner, solid_of, fill_corner, priority, which[h], ray.dx, ray.dy, ray.dz, counts, solid
        )
        inside += 1 if enters else -1
        h += 1
    tissue = tissue_of[solid] if solid >= 0 else options.background
    while medium.air[tissue] and h < total and ts[h] <= back + options.film:
        _, solid = cross(
            corner, solid_of, fill_corner, priority, which[h], ray.dx, ray.dy, ray.dz, counts, solid
        )
        entry = h
        h += 1
        tissue = tissue_of[solid] if solid >= 0 else options.background
    return h, entry, solid, tissue


@bare_kernel
def _ask_for(solid_of, normals, which, total):
    """Ask the memory for what each crossing will need: a tenth of the walk was spent waiting for it."""
    for h in range(total):
        i = which[h]
        if i < solid_of.shape[0]:
            fetch_two(solid_of, i)
            fetch_two(normals, 9 * i)


@bare_kernel
def _share_of(plane, count):
    """A plane's part in the transmission map: the three planes in the middle carry most of the beam."""
    off = abs(plane - count // 2)
    if count < 3:
        return 1.0 if off == 0 else 0.0
    return 0.5 if off == 0 else (0.25 if off == 1 else 0.0)


@inline_kernel
def _speckle_echo(medium, makeup, tissue, solid, ray):
    """Rms speckle of a tissue, less where the beam runs along its fibres."""
    echo, drop = medium.echo[tissue], medium.anisotropy[tissue]
    if drop > 0.0 and solid >= 0:
        f = makeup.fibre[solid]
        lean = f[0] * ray.dx + f[1] * ray.dy + f[2] * ray.dz
        echo *= swift_exp(-NEPER * drop * min(1.0, abs(lean) * 2.0))
    return echo


@bare_kernel
def _record(step, share, middle, first, last, travelled, stretch, level, fall, through, reach):
    """Write transmission, and on the middle plane the true path, of samples first … last - 1."""
    if share > 0.0:
        add_decay(through, first, last, share * level, fall)
    if middle:
        lay(reach, first, last, travelled, step * stretch)


@bare_kernel
def _pour(grain, turns, circle, rows, weight, begun, end):
    """Add the speckle of the samples laid since `begun`, if any."""
    if begun >= 0 and begun < end:
        grains(grain, turns, circle, rows[0], rows[1], rows[2], rows[3], weight, rows[4], rows[5], begun, end)


@inline_kernel
def _lay_pattern(texture, makeup, solid, top, at, stride, first, last, amplitude):
    """Draw the pattern of a solid's style over the speckle laid."""
    style = makeup.style[solid]
    if style > 0:
        lay_pattern(
            texture.patterns[style - 1], texture.gains, texture.axis_origin, texture.axis, top,
            makeup.radial[solid], makeup.axes[solid], at.x, at.y, at.z, at.dx * stride, at.dy * stride,
            at.dz * stride, first, last, amplitude,
        )  # fmt: skip


@bare_kernel
def _end_of_sight(first, last, level, after, fall_off):
    """The sample after the last that can be seen: bone absorbs within millimetres. fall_off : a sample."""
    if after >= FAINT:
        return last
    return min(last, first + 1 + int(math.log(level / FAINT) / fall_off))


@bare_kernel
def _veil(grain, turns, circle, matrix, grid_step, veil, veil_loss, rows, weight, ray, stretch, depth, level):
    """Sound that goes to and fro between bone and probe: a grey veil under bone, then black."""
    first, last = samples_between(depth, rows.shape[1] * grid_step, grid_step, rows.shape[1])
    level *= veil
    if first >= last or level < FAINT:
        return
    ahead = (first * grid_step - depth) * stretch
    stride = grid_step * stretch
    if veil_loss > 0.0:
        last = _end_of_sight(first, last, level, 0.0, veil_loss * stride)
    at = _forward(ray, ahead)
    lay_speckle(
        rows, at.gx + ELSEWHERE_MM * matrix[0, 0], at.gy + ELSEWHERE_MM * matrix[1, 0],
        at.gz + ELSEWHERE_MM * matrix[2, 0], at.tx * stride, at.ty * stride, at.tz * stride, first, last,
        level * swift_exp(-veil_loss * ahead), swift_exp(-veil_loss * stride),
    )  # fmt: skip
    _pour(grain, turns, circle, rows, weight, first, last)


@inline_kernel
def _draw_boundary(
    texture, grid, patterned, plane, ray, depth, mirror, gx, gy, cos1, hard, floor, side, re, im
):
    """Add a boundary's echo: its mirror part by its slopes gx and gy, its diffuse part."""
    n = int(depth / grid.step + 0.5)
    if mirror > FAINT and n < re.shape[0] and not grid.deaf[plane, 0] <= n < grid.deaf[plane, 1]:
        facing, kept = mirror_part(
            gx, gy, grid.f_lateral[n], grid.f_elevation[n], grid.smear_x[n], grid.smear_y[n], grid.sigma_z
        )
        diffuse = diffuse_part(floor, hard, facing, cos1) * grid.rough[n]
        mirror *= grid.plane_weight[plane, n]
        sigma = grid.sigma_z
        if hard and patterned:
            mirror *= BONE_GAIN
            # a steep surface spreads over the beam's width in depth: its line thickens, without beads
            sigma = math.hypot(sigma, min(BONE_SPREAD_MM, 0.4 * abs(gx) * grid.smear_x[n]))
        add_echo(
            texture.grain, ray.gx, ray.gy, ray.gz, texture.scale, mirror * kept, mirror * diffuse, side,
            depth, grid.step, sigma, hard and patterned, re, im,
        )  # fmt: skip


@bare_kernel
def _membrane(membrane, solid, now):
    """Mirror echo of the sheet between two solids, -1 standing for none."""
    a = membrane[now] if now >= 0 else 0.0
    return max(a, membrane[solid] if solid >= 0 else 0.0)


@bare_kernel
def _settle(step, depth, travelled, trusted, trust, reach):
    """Finish the middle plane: what can be trusted; beyond the ray's end its path goes on at 1540 m/s."""
    trust[: int(trusted / step) + 1] = 1
    first = max(0, math.ceil(depth / step - 1e-9))
    if first < reach.shape[0]:
        lay(reach, first, reach.shape[0], travelled, step)


@inline_kernel
def walk_sub_ray(
    solids, fill, medium, texture, options, grid, rays, rod, out, rows, ts, which, counts, falls, line, plane,
    back, guess
):  # fmt: skip
    """Follow one sub-ray from the face into the depth: (whether its face touches tissue, path to its end).

    back : mm before the face that lie outside every solid.  guess : path within which the ray is likely to
    end, up to which crossings are sought first.  falls : see `Desk.fall`.
    """
    makeup, count, y = solids.makeup, rays.planes.shape[0], rays.planes[plane]
    tree, fill_tree, normals, fill_normals = (
        solids.mesh.tree,
        fill.tree,
        solids.mesh.skin.normals,
        fill.skin.normals,
    )
    solid_of, filled = solids.mesh.skin.solid, fill.skin.solid.shape[0] > 0
    many = solid_of.shape[0]
    d, o, e, lat = rays.direction[line], rays.origin[line], rays.elevation, rays.lateral[line]
    ray = _ray(texture, o[0] + y * e[0], o[1] + y * e[1], o[2] + y * e[2], d[0], d[1], d[2])
    weight, through, reach = grid.grain_weight[plane], out.through[line], out.reach[line]
    samples, step = through.shape[0], grid.step
    deepest = samples * step
    widest, far = back + 1.5 * deepest, back + guess
    px, py, pz = ray.x - back * ray.dx, ray.y - back * ray.dy, ray.z - back * ray.dz
    total = crossings(tree, many, fill_tree, filled, px, py, pz, ray.dx, ray.dy, ray.dz, far, ts, which)
    _ask_for(solid_of, normals, which, total)
    h, entry, solid, tissue = _submerge(solids, fill, medium, options, ray, back, total, ts, which, counts)
    if medium.air[tissue]:
        return False, guess
    top = (ray.x, ray.y, ray.z, -ray.dx, -ray.dy, -ray.dz)
    if options.patterned and entry >= 0 and which[entry] < many:
        top = _entry_plane(tree.corner, normals, which[entry], ts[entry] - back, ray)
    spread = 2.0 * rays.planes[-1] / max(1, count - 1)
    rod_at, cover = rod_passage(rod, ray.x, ray.y, ray.z, ray.dx, ray.dy, ray.dz, max(spread, 0.1))
    middle, share = plane == count // 2, _share_of(plane, count)
    level, depth, travelled, trusted = 1.0, 0.0, 0.0, deepest
    base, begun = back, -1  # path of the present piece's beginning in the crossing list; speckle laid
    while depth < deepest and level > FAINT:
        stretch, loss = medium.speed[tissue] / C0, medium.loss[tissue]
        if h >= total and far < widest and base + (deepest - depth) * stretch > far:
            far = widest
            total = crossings(
                tree, many, fill_tree, filled, px, py, pz, ray.dx, ray.dy, ray.dz, far, ts, which
            )
        length = ts[h] - base if h < total else np.inf
        passing = rod_at - travelled < length
        if passing:
            length = max(rod_at - travelled, 0.0)
        end = min(deepest, depth + length / stretch)
        after = level * swift_exp(-loss * min(length, (deepest - depth) * stretch))
        first, last = samples_between(depth, end, step, samples)
        if first < last:
            ahead, stride = (first * step - depth) * stretch, step * stretch
            now_level, fall = level * swift_exp(-loss * ahead), falls[tissue]
            _record(
                step, share, middle, first, last, travelled + ahead, stretch, now_level, fall, through, reach
            )
            echo = _speckle_echo(medium, makeup, tissue, solid, ray)
            stop = first
            deaf = grid.deaf[plane, 0] <= first and last <= grid.deaf[plane, 1]
            if level * echo >= FAINT and not deaf:
                stop = _end_of_sight(first, last, level * echo, after * echo, loss * stride)
                at = _forward(ray, ahead)
                lay_speckle(
                    rows, at.gx, at.gy, at.gz, at.tx * stride, at.ty * stride, at.tz * stride, first, stop,
                    now_level * echo, fall,
                )  # fmt: skip
                if options.patterned and solid >= 0:
                    _lay_pattern(texture, makeup, solid, top, at, stride, first, stop, rows[3])
                begun = first if begun < 0 else begun
            if stop < last:
                _pour(texture.grain, texture.turns, texture.circle, rows, weight, begun, stop)
                begun = -1
        depth = end
        if end >= deepest:
            break
        level, travelled, base = after, travelled + length, base + length
        ray = _forward(ray, length)
        if passing:
            level *= 1.0 - cover * (1.0 - WALL_PASSED)  # the bore's water passes sound on
            rod_at = np.inf
            continue
        i = which[h]
        enters, now = cross(
            tree.corner, solid_of, fill_tree.corner, makeup.priority, i, ray.dx, ray.dy, ray.dz, counts, solid
        )
        h += 1
        while h < total and ts[h] - base <= SAME_MM:
            _, now = cross(
                tree.corner, solid_of, fill_tree.corner, makeup.priority, which[h], ray.dx, ray.dy, ray.dz,
                counts, now,
            )  # fmt: skip
            h += 1
        if now == solid:
            continue
        beyond = makeup.tissue[now] if now >= 0 else options.background
        membrane = _membrane(makeup.membrane, solid, now) if options.patterned else 0.0
        hard, air = medium.shear[beyond] > 0.0, medium.air[beyond] > 0
        soft = options.patterned and not (hard or air or medium.shear[tissue] > 0.0)
        r, nx, ny, nz, cos1 = 0.0, 0.0, 0.0, 0.0, 1.0
        if beyond != tissue or membrane > 0.0:
            if i < many:
                nx, ny, nz, cos1 = at_boundary(
                    tree.corner, normals, i, ray.x, ray.y, ray.z, ray.dx, ray.dy, ray.dz
                )
            else:
                nx, ny, nz, cos1 = at_boundary(
                    fill_tree.corner, fill_normals, i - many, ray.x, ray.y, ray.z, ray.dx, ray.dy, ray.dz
                )
            if beyond != tissue:
                r = reflection(
                    medium.density[tissue], medium.speed[tissue], medium.shear[tissue],
                    medium.density[beyond], medium.speed[beyond], medium.shear[beyond], cos1,
                )  # fmt: skip
                r = eased(r) if soft else r
            gx = (nx * lat[0] + ny * lat[1] + nz * lat[2]) / cos1
            gy = (nx * e[0] + ny * e[1] + nz * e[2]) / cos1
            floor = medium.floor[beyond] if hard else max(medium.floor[beyond], medium.floor[tissue])
            if membrane > 0.0 and not hard:
                floor = max(floor, SHEET_FLOOR)
            side = 2 * now + 1 if enters else 2 * solid
            _draw_boundary(
                texture, grid, options.patterned, plane, ray, depth, level * (abs(r) + membrane), gx, gy,
                cos1, hard, floor, side, out.re[line], out.im[line],
            )  # fmt: skip
        if (hard or air) and middle:
            trusted = min(trusted, depth)
        if hard and options.veil > 0.0:
            _pour(
                texture.grain,
                texture.turns,
                texture.circle,
                rows,
                weight,
                begun,
                samples_between(0.0, depth, step, samples)[1],
            )
            begun = -1
            _veil(
                texture.grain, texture.turns, texture.circle, texture.matrix, step, options.veil,
                options.veil_loss, rows, weight, ray,
                stretch, depth, level * abs(r) * (VEIL_ASIDE + (1.0 - VEIL_ASIDE) * facets_facing(cos1)),
            )  # fmt: skip
        if options.refract and beyond != tissue and not air:
            ratio = medium.speed[beyond] / medium.speed[tissue]
            cos2 = snell_cosine(ratio, cos1)
            if not cos2 > 0.0 and not soft:
                break
            if not cos2 > 0.0:
                ratio, cos2 = 1.0, cos1  # goes on straight, by what the aperture sees past the edge
            k = ratio * cos1 - cos2
            ray = _ray(
                texture, ray.x, ray.y, ray.z, ratio * ray.dx + k * nx, ratio * ray.dy + k * ny,
                ratio * ray.dz + k * nz,
            )  # fmt: skip
            total = crossings(
                tree, many, fill_tree, filled, ray.x + 1e-6 * ray.dx, ray.y + 1e-6 * ray.dy,
                ray.z + 1e-6 * ray.dz, ray.dx, ray.dy, ray.dz, 4.0 * deepest, ts, which,
            )  # fmt: skip
            h, base, rod_at, far = 0, 0.0, np.inf, widest
        level *= 1.0 - r * r
        solid, tissue = now, beyond
    _pour(
        texture.grain,
        texture.turns,
        texture.circle,
        rows,
        weight,
        begun,
        samples_between(0.0, depth, step, samples)[1],
    )
    if middle:
        _settle(step, depth, travelled, trusted, out.trust[line], reach)
    return True, travelled


@bare_kernel
def walk_line(solids, fill, medium, texture, options, grid, rays, rod, out, desk, place, line):
    """All sub-rays of one line: speckle filtered along depth, plus the boundaries."""
    rows, falls = desk.rows[place], desk.fall[place]
    rows[4, :] = np.float32(0.0)
    rows[5, :] = np.float32(0.0)
    out.re[line, :] = np.float32(0.0)
    out.im[line, :] = np.float32(0.0)
    out.through[line, :] = np.float32(0.0)
    out.reach[line, :] = np.float32(np.inf)
    out.trust[line, :] = 0
    o, d, skin = rays.origin[line], rays.direction[line], solids.mesh.skin
    for k in range(medium.loss.shape[0]):
        falls[k] = swift_exp(-medium.loss[k] * grid.step * medium.speed[k] / C0)
    back = abs(rays.planes[0]) + distance_behind(
        skin.low, skin.high, fill.skin.low, fill.skin.high, o[0], o[1], o[2], d[0], d[1], d[2]
    )
    touching, widest = False, 1.5 * rows.shape[1] * grid.step
    guess = widest
    for plane in range(rays.planes.shape[0]):
        touches, travelled = walk_sub_ray(
            solids, fill, medium, texture, options, grid, rays, rod, out, rows, desk.ts[place],
            desk.which[place], desk.counts[place], falls, line, plane, back, guess,
        )  # fmt: skip
        touching = touching or touches
        guess = min(widest, travelled + GUESS_MM)
    out.contact[line] = touching
    filter_depth(rows[4], rows[5], grid.axial, texture.scale, out.re[line], out.im[line])


@parallel_kernel
def _walk_lines(
    tree, skin, makeup, fill_tree, fill_skin, medium, texture, options, grid, rays, rod, out, desk, columns
):  # fmt: skip
    places, lines = desk.rows.shape[0], rays.origin.shape[0]
    groups = (columns.last - columns.first + COLUMNS - 1) // COLUMNS
    for index in prange(places):
        place = np.int64(index)  # a prange's own index is unsigned and would compile the walk a second time
        solids, fill = Solids(Mesh(tree, skin), makeup), Mesh(fill_tree, fill_skin)
        for line in range(place, lines, places):
            walk_line(solids, fill, medium, texture, options, grid, rays, rod, out, desk, place, line)
        for group in range(place, groups, places):
            label_group(solids, fill, columns, desk, place, group)


def walk_lines(
    solids: Solids, fill: Mesh, medium: Medium, texture: Texture, options: Options, grid: Grid, rays: Rays,
    rod: Rod, out: Walked, desk: Desk, columns: Columns,
) -> None:  # fmt: skip
    """One look: every line, independent of the others; and the labels of the pixel columns, if any."""
    _walk_lines(
        ray_tree(solids.mesh.tree), solids.mesh.skin, solids.makeup, ray_tree(fill.tree), fill.skin, medium,
        texture, options, grid, rays, rod, out, desk, columns,
    )  # fmt: skip
    if options.patterned and rod.radius > 0.0:
        even_reach(
            out.reach, out.contact, rays.origin, rays.direction, grid.f_lateral, grid.step,
            desk.rows.reshape(-1),
        )  # fmt: skip
