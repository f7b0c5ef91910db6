"""The joint cavity: built from an implicit solid to a stated resting volume, measured, and filled.

Volumes come three ways that share nothing but the surface: counted voxels, the divergence theorem and the
chords of parallel rays through the triangle tree.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from injectplan.anatomy.model import Cavity, FillState, Recess, Source
from injectplan.anatomy.surfaces import flying_edges
from injectplan.errors import EmptyStructureError
from injectplan.imaging.values import Surface
from injectplan.kernels.bvh import all_hits, nearest_points
from injectplan.kernels.cast import Bools, Floats, Floats32
from injectplan.kernels.field import Field, distance_field, sample_at

FAR = np.float32(1e4)  # stands for "never" while contouring; the field itself holds infinity
BAND_MM = 3.0
STEEP = np.float32(40.0)
MOST_OPENING_MM = 30.0
MOST_STEPS = 24
TIP_REACH_MM = 0.6  # a tip this far outside the resting cavity still opens it


@dataclass(frozen=True, slots=True, kw_only=True)
class Volumes:
    """One closed surface's volume, three ways, in mL."""

    voxel_ml: float
    mesh_ml: float
    ray_ml: float


def _rays_through(surface: Surface, axis: int, spacing_mm: float) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Crossings of a lattice of parallel rays, all along +axis: distances and offsets.

    The lattice is shifted by an irrational part of its spacing, so that it does not run along mesh edges.
    """
    low, high = surface.bounds_mm
    others = [a for a in range(3) if a != axis]
    shift = {others[0]: 0.382 * spacing_mm, others[1]: 0.618 * spacing_mm}
    lines = [np.arange(low[a] - spacing_mm + shift[a], high[a] + spacing_mm, spacing_mm) for a in others]
    u, v = np.meshgrid(*lines, indexing="ij")
    origins = np.empty((u.size, 3))
    origins[:, others[0]], origins[:, others[1]] = u.ravel(), v.ravel()
    origins[:, axis] = low[axis] - 1.0
    way = np.zeros(3)
    way[axis] = 1.0
    offsets, distance, _ = all_hits(surface.bvh, origins, np.broadcast_to(way, origins.shape).copy())
    return distance, offsets


def volumes(surface: Surface, spacing_mm: float = 0.25) -> Volumes:
    """Return a closed surface's volume by counted voxels, by divergence and by ray chords."""
    distance, offsets = _rays_through(surface, 2, spacing_mm)
    # voxel centres along each ray: how many lie between each entry and the next exit
    steps = np.ceil(distance / spacing_mm - 0.5)
    odd = (np.arange(len(distance)) - np.repeat(offsets[:-1], np.diff(offsets))) % 2
    sign = np.where(odd == 1, 1.0, -1.0)
    voxel = float((sign * steps).sum()) * spacing_mm**3
    chord_mm, offsets_x = _rays_through(surface, 0, spacing_mm)
    odd = (np.arange(len(chord_mm)) - np.repeat(offsets_x[:-1], np.diff(offsets_x))) % 2
    chords = float((np.where(odd == 1, 1.0, -1.0) * chord_mm).sum()) * spacing_mm**2
    return Volumes(voxel_ml=voxel / 1e3, mesh_ml=surface.volume_ml, ray_ml=chords / 1e3)


def _cut(values: Floats32, level: float, origin_mm: Floats, spacing_mm: float) -> Surface:
    """The closed surface around {values < level} on an axis-aligned grid."""
    inside = values < level
    if not inside.any():
        return Surface(np.zeros((0, 3)), np.zeros((0, 3), np.int32))
    box = ndimage.find_objects(inside.astype(np.uint8))[0]
    grown = tuple(slice(max(s.start - 1, 0), s.stop + 1) for s in box)
    padded = np.pad(np.float32(level) - values[grown], 1, constant_values=-np.float32(spacing_mm))
    # steep values outside must not draw the crossing inwards: a distance never exceeds one spacing there
    points, triangles = flying_edges(np.clip(padded, -np.float32(spacing_mm), np.float32(spacing_mm)), 0.0)
    start = np.array([s.start - 1 for s in grown])
    made = Surface(origin_mm + (points + start) * spacing_mm, triangles)
    return made if made.volume_ml >= 0 else Surface(made.vertices_mm, made.triangles[:, ::-1].copy())


def _largest(inside: Bools) -> Bools:
    """The largest connected part of a mask (26 neighbours)."""
    labels, count = ndimage.label(inside, structure=np.ones((3, 3, 3), bool))
    if count < 2:
        return inside
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return np.asarray(labels == int(sizes.argmax()))


def _solve(off_at: Callable[[float], float], guess: float, step: float, tolerance: float) -> float:
    """Where a rising function meets zero: bracketed outwards from a guess, then by the Illinois rule."""
    low = high = guess
    off_low = off_high = off_at(guess)
    while off_low > 0 and step < MOST_OPENING_MM:
        high, off_high, low = low, off_low, low - step
        off_low, step = off_at(low), 2 * step
    while off_high < 0 and step < MOST_OPENING_MM:
        low, off_low, high = high, off_high, high + step
        off_high, step = off_at(high), 2 * step
    level = high if abs(off_high) < abs(off_low) else low
    for _ in range(MOST_STEPS):
        if min(abs(off_low), abs(off_high)) <= tolerance or off_high == off_low:
            break
        level = low + (high - low) * off_low / (off_low - off_high)
        off = off_at(level)
        if abs(off) <= tolerance or high - low < 1e-9:
            break
        if off < 0:
            low, off_low, off_high = level, off, 0.5 * off_high
        else:
            high, off_high, off_low = level, off, 0.5 * off_low
    return level


def _level_of_volume(
    values: Floats32, wanted_ml: float, origin_mm: Floats, spacing_mm: float
) -> tuple[float, Surface]:
    """Return the level whose cut encloses a volume (to 1e-6 of it), and that cut."""

    def off_at(level: float) -> float:
        return _cut(values, level, origin_mm, spacing_mm).volume_ml - wanted_ml

    level = _solve(off_at, 0.3, 0.3, 1e-6 * wanted_ml)
    return level, _cut(values, level, origin_mm, spacing_mm)


def build_cavity(
    origin_mm: npt.ArrayLike,
    spacing_mm: float,
    rest: Floats32,
    *,
    walls: Floats32,
    ease: npt.ArrayLike,
    allowed: Floats32,
    recess_index: npt.NDArray[np.uint8],
    recess_names: Sequence[str],
    resting_ml: float,
    effusion_ml: float = 0.0,
    source: Source = "completed",
    assumed: tuple[str, ...] = (),
) -> Cavity:
    """Make the cavity from an implicit solid on an axis-aligned RAS grid.

    rest : (nx, ny, nz) signed values, about mm, negative inside the potential space.
    walls : signed distance to bone, cartilage and menisci (positive outside them); the cavity never enters.
    ease : 0 to 1, how readily the wall gives there; the distension of a point is its distance over this.
    allowed : negative where fluid may go when the cavity opens.
    recess_index : index + 1 into `recess_names` of every point, whether inside or not.
    resting_ml : met by thickening or thinning the space, most where it is easy; effusion_ml then opens it.

    Raises EmptyStructureError when no space is left between the walls.
    """
    origin = np.asarray(origin_mm, dtype=np.float64)
    free = np.float32(0.05) - walls
    space = np.maximum(rest, free)
    kept = ndimage.binary_dilation(_largest(space < 0.35 * spacing_mm), iterations=2)
    space = np.where(kept | (space > spacing_mm), space, np.float32(spacing_mm))
    if not (space < 0).any():
        raise EmptyStructureError("no joint cavity is left between the bones: check the scan's labels")
    # thickening works on `rest` alone and most where the wall gives: the walls stay, films stay thin
    gives = np.broadcast_to(np.asarray(ease, np.float32), rest.shape)
    share = np.float32(0.1) + np.float32(0.9) * gives
    blocked = np.maximum(free, np.where(kept | (rest > spacing_mm), np.float32(-FAR), FAR))

    def thickened(more_mm: float) -> Floats32:
        return np.asarray(np.maximum(space - np.float32(more_mm) * share, blocked))

    near = ndimage.find_objects((space < 2.0).astype(np.uint8))[0]
    crop_origin = origin + spacing_mm * np.array([part.start for part in near])

    def off_at(more_mm: float) -> float:
        thick = np.maximum(space[near] - np.float32(more_mm) * share[near], blocked[near])
        return _cut(thick, 0.0, crop_origin, spacing_mm).volume_ml - resting_ml

    base = thickened(_solve(off_at, 0.0, 0.1, 1e-4 * resting_ml))
    easy = np.maximum(gives, np.float32(0.02))
    opening = np.where(base > 0, base / easy, base)
    # steep rather than infinite at the walls, so that level sets meet them smoothly: 0.2 mm in at 8 mm open
    barrier = np.maximum(STEEP * free, np.where(base > 0, STEEP * allowed, -FAR))
    opening = np.where(base > 0, np.maximum(opening, barrier), opening)
    opening = np.where(opening > MOST_OPENING_MM, FAR, opening).astype(np.float32)
    # the resting wall is cut from the distance itself: steep openings beside it would draw it inwards
    surface = _cut(base, 0.0, origin, spacing_mm)
    resting = surface.volume_ml
    if effusion_ml > 0:
        level, surface = _level_of_volume(opening, resting + effusion_ml, origin, spacing_mm)
        opening = np.where(opening >= FAR, FAR, opening - np.float32(level))
    held = distance_field(surface.bvh, origin, spacing_mm, opening.shape, BAND_MM)
    distension = np.where(opening >= FAR, np.float32(np.inf), opening)
    index = np.where(opening < 0, recess_index, 0).astype(np.uint8)
    total = surface.volume_ml
    return Cavity(
        surface=surface,
        field=held,
        distension=Field(held.origin_mm, held.spacing_mm, np.ascontiguousarray(distension, np.float32)),
        recess_index=index,
        recesses=_recesses(held, index, recess_names, total),
        resting_volume_ml=total,
        source=source,
        assumed=assumed,
    )


def _recesses(
    field: Field, index: npt.NDArray[np.uint8], names: Sequence[str], total_ml: float
) -> tuple[Recess, ...]:
    """Size up each named part from its voxels; their volumes sum to the cavity's."""
    count = np.bincount(index.ravel(), minlength=len(names) + 1)[1:]
    result = []
    for i, name in enumerate(names):
        where = np.argwhere(index == i + 1)
        if not len(where):
            result.append(
                Recess(
                    name=name,
                    center_mm=np.full(3, np.nan),
                    normal=np.full(3, np.nan),
                    volume_ml=0.0,
                    thickness_mm=0.0,
                    extent_mm=np.zeros(3),
                )
            )
            continue
        depth = field.values[tuple(where.T)].astype(np.float64)
        points = field.origin_mm + where * field.spacing_mm
        mean = points.mean(axis=0)
        _, vectors = np.linalg.eigh(np.cov((points - mean).T) if len(points) > 3 else np.eye(3))
        deep = depth <= np.quantile(depth, 0.1)
        nearest = np.argmin(np.linalg.norm(points - mean, axis=1) + 3.0 * (depth - depth.min()))
        center = points[nearest]
        along = (points - mean) @ vectors
        result.append(
            Recess(
                name=name,
                center_mm=center,
                normal=vectors[:, 0],
                volume_ml=float(count[i] / max(count.sum(), 1) * total_ml),
                thickness_mm=float(-2.0 * depth[deep].mean()),
                extent_mm=np.ptp(along, axis=0)[::-1] + field.spacing_mm,
            )
        )
    return tuple(result)


def capacity_ml(cavity: Cavity, most_opening_mm: float = MOST_OPENING_MM) -> float:
    """How much more the cavity takes before its walls forbid it."""
    field = cavity.distension
    values = np.where(np.isfinite(field.values), field.values, FAR)
    surface = _cut(values, most_opening_mm, field.origin_mm, field.spacing_mm)
    return max(surface.volume_ml - cavity.resting_volume_ml, 0.0)


def fill_cavity(cavity: Cavity, volume_ml: float, tip_mm: npt.ArrayLike | None = None) -> FillState:
    """Fill a cavity by level sets of its distension; injected = in_cavity + leaked, exactly.

    The fluid's surface encloses the resting fluid and the injected one together. The wall gives way where it
    does so most easily, with a tip nearest to it first (half a millimetre of opening per centimetre away).
    A tip outside the cavity fills nothing: all leaks. What exceeds the capacity leaks.
    volume_ml : injected, ≥ 0 (ValueError).  tip_mm : (3,) RAS or None.
    """
    if not volume_ml >= 0.0:
        raise ValueError(f"an injected volume cannot be {volume_ml}")
    if volume_ml == 0.0:
        return FillState()
    field = cavity.distension
    if tip_mm is not None:
        tip = np.asarray(tip_mm, dtype=np.float64)
        if float(sample_at(cavity.field, tip[None])[0]) > TIP_REACH_MM:
            return FillState(injected_ml=volume_ml, leaked_ml=volume_ml)
    opening = _opening(field, tip_mm)
    room = capacity_ml(cavity)
    inside = min(volume_ml, room)
    if inside <= 0.0:
        return FillState(injected_ml=volume_ml, leaked_ml=volume_ml)
    base = cavity.resting_volume_ml
    level, fluid = _level_of_volume(opening, base + inside, field.origin_mm, field.spacing_mm)
    filled = opening < level
    away, _, _ = nearest_points(cavity.surface.bvh, fluid.vertices_mm[::3])
    return FillState(
        injected_ml=volume_ml,
        in_cavity_ml=inside,
        leaked_ml=volume_ml - inside,
        fluid=fluid,
        displacement_mm=float(away.max(initial=0.0)),
        recess_ml=_shares(cavity, filled, base + inside),
    )


def _opening(field: Field, tip_mm: npt.ArrayLike | None) -> Floats32:
    """The distension with the tip's nearness added outside the resting cavity."""
    values = np.where(np.isfinite(field.values), field.values, FAR)
    if tip_mm is None:
        return np.asarray(values, np.float32)
    tip = np.asarray(tip_mm, dtype=np.float64)
    axes = [
        (field.origin_mm[a] + field.spacing_mm * np.arange(values.shape[a]) - tip[a]).astype(np.float32)
        for a in range(3)
    ]
    away = np.sqrt(axes[0][:, None, None] ** 2 + axes[1][None, :, None] ** 2 + axes[2][None, None, :] ** 2)
    near = np.float32(0.05) * away * np.clip(values, 0, 1)
    return np.asarray(np.where(values >= FAR, FAR, values + near), np.float32)


def _shares(cavity: Cavity, filled: Bools, total_ml: float) -> Mapping[str, float]:
    """How the fluid is shared among the recesses: each filled voxel belongs to the nearest named one."""
    box = ndimage.find_objects(filled.astype(np.uint8))[0]
    index = cavity.recess_index[box]
    _, nearest = ndimage.distance_transform_edt(index == 0, return_indices=True)
    owner = index[tuple(nearest)][filled[box]]
    count = np.bincount(owner, minlength=len(cavity.recesses) + 1)[1:].astype(float)
    share = count / max(count.sum(), 1.0) * total_ml
    return {r.name: float(s) for r, s in zip(cavity.recesses, share, strict=True)}
