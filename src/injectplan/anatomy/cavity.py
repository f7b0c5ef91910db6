"""The joint cavity: built from an implicit solid to a stated resting volume, sized up, and filled."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial import cKDTree

from injectplan.anatomy.model import Cavity, FillState, Recess
from injectplan.anatomy.surfaces import flying_edges, skewed_backwards
from injectplan.errors import EmptyStructureError
from injectplan.imaging.values import Surface
from injectplan.kernels.bvh import nearest_points
from injectplan.kernels.cast import Bools, Floats, Floats32
from injectplan.kernels.field import Field, sample_at
from injectplan.kernels.solids import reachable, signed_grid

FAR = np.float32(1e4)  # stands for "never" while contouring; the field itself holds infinity
BAND_MM = 3.0
STEEP = np.float32(60.0)
MOST_OPENING_MM = 45.0
STIFFENING_MM = 8.0  # a wall that stands off this far takes twice the opening per mm of a slack one (assumed)
RISE = 0.02  # opening per grid step behind a narrow, so that what lies behind it fills gradually
MOST_STEPS = 24
MOST_CUTS = 12
NEARNESS = np.float32(0.05)  # mm of opening per mm away from the tip
TIP_REACH_MM = 0.6  # a tip this far outside the resting cavity still opens it


def _cut(values: Floats32, level: float, origin_mm: Floats, spacing_mm: float) -> Surface:
    """The closed surface around {values < level} on an axis-aligned grid."""
    inside = values < level
    if not inside.any():
        return Surface(np.zeros((0, 3)), np.zeros((0, 3), np.int32))
    box = _box_of(inside)
    start = np.array([s.start - 1 for s in box])
    padded = np.empty([s.stop - s.start + 2 for s in box], np.float32)
    padded.fill(np.float32(level) + np.float32(spacing_mm))
    padded[1:-1, 1:-1, 1:-1] = values[box]
    # steep values outside must not draw the crossing inwards: a distance never exceeds one spacing there
    np.subtract(np.float32(level), padded, out=padded)
    np.clip(padded, -np.float32(spacing_mm), np.float32(spacing_mm), out=padded)
    # turned by its content, as every mask is (decision 0072): a mirror image is cut alike
    back = skewed_backwards(inside[box])
    turned = padded[tuple(slice(None, None, -1 if b else 1) for b in back)]
    # handed over axes reversed: the cutter wants the first axis to run fastest
    points, triangles = flying_edges(turned.T, 0.0)
    place = points[:, ::-1]
    place = np.where(back, np.array(padded.shape) - 1 - place, place)
    made = Surface(origin_mm + (place + start) * spacing_mm, triangles)
    return made if made.volume_ml >= 0 else Surface(made.vertices_mm, made.triangles[:, ::-1].copy())


def _box_of(inside: Bools, grow: int = 1) -> tuple[slice, slice, slice]:
    """The smallest box around a mask's true points, grown within the grid."""
    flat: Bools = np.any(inside, axis=2)
    found = []
    for axis, filled in enumerate((np.any(flat, axis=1), np.any(flat, axis=0), np.any(inside, axis=(0, 1)))):
        where = np.flatnonzero(filled)
        found.append(slice(max(int(where[0]) - grow, 0), min(int(where[-1]) + 1 + grow, inside.shape[axis])))
    return found[0], found[1], found[2]


def counted_ml(values: Floats32, level: float, spacing_mm: float) -> float:
    """Return the volume under a level by counting points, those within half a spacing of the wall in part."""
    part = np.clip(np.float32(0.5 + level / spacing_mm) - values * np.float32(1.0 / spacing_mm), 0, 1)
    return float(part.sum(dtype=np.float64)) * spacing_mm**3 / 1e3


def halved(below: Callable[[float], bool], low: float, high: float, rounds: int) -> tuple[float, float]:
    """Narrow an interval about the place up to which `below` holds, to half of it a round."""
    for _ in range(rounds):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if below(middle) else (low, middle)
    return low, high


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
    counted_at: Callable[[float], float],
    cut_at: Callable[[float], Surface],
    wanted_ml: float,
    tolerance: float,
) -> tuple[float, Surface]:
    """Return the level whose cut encloses a volume (to `tolerance` of it), and that cut.

    The counted volume, cheap, leads; the few cuts only say by how much it is off.
    """
    aim_ml, level, low, high = wanted_ml, 0.0, -np.inf, np.inf
    best: tuple[float, float, Surface] | None = None
    for _ in range(MOST_CUTS):
        guess = _solve(partial(_off, counted_at, aim_ml), level, 0.2, 0.1 * tolerance * wanted_ml)
        level = guess if low < guess < high else 0.5 * (low + high)
        surface = cut_at(level)
        miss = surface.volume_ml - wanted_ml
        if best is None or abs(miss) < best[0]:
            best = (abs(miss), level, surface)
        if abs(miss) <= tolerance * wanted_ml:
            break
        low, high = (level, high) if miss < 0 else (low, level)
        aim_ml = counted_at(level) - miss
    assert best is not None
    return best[1], best[2]


def _off(counted_at: Callable[[float], float], aim_ml: float, level: float) -> float:
    return counted_at(level) - aim_ml


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
    capacity_ml: float = math.inf,
    segmented_ml: float = 0.0,
    assumed: tuple[str, ...] = (),
) -> Cavity:
    """Make the cavity from an implicit solid on an axis-aligned RAS grid.

    rest : (nx, ny, nz) signed values, about mm, negative inside the potential space.
    walls : signed distance to bone, cartilage and menisci (positive outside them); the cavity never enters.
    ease : 0 to 1, how readily the wall gives there; the distension of a point is its distance over this.
    allowed : negative where fluid may go when the cavity opens.
    recess_index : index + 1 into `recess_names` of every point, whether inside or not.
    resting_ml : met by thickening or thinning the space, most where it is easy; effusion_ml then opens it.
    segmented_ml : what of it is fluid that was seen.
    capacity_ml : all that the cavity can hold, where walls and `allowed` do not end it sooner.

    A recess of which nothing is left is not named. Raises EmptyStructureError when no space is left between
    the walls.
    """
    origin = np.asarray(origin_mm, dtype=np.float64)
    still = (np.asarray(rest, np.float32), np.asarray(walls, np.float32), np.asarray(allowed, np.float32))
    gives = np.broadcast_to(np.asarray(ease, np.float32), still[0].shape)
    space = _Space(*still, gives, origin, float(spacing_mm))
    base, surface = space.rested(resting_ml)
    opening = space.opening(base, max(capacity_ml, 1.25 * (surface.volume_ml + effusion_ml)))
    if effusion_ml > 0:
        level, surface = _opened(opening, surface.volume_ml + effusion_ml, origin, spacing_mm)
        opening = np.where(np.isfinite(opening), opening - np.float32(level), opening)
    # beyond the box of all that can fill, the field is the band's end and nothing opens
    box = _box_of(opening < np.inf, int(np.ceil(BAND_MM / spacing_mm)) + 1)
    origin = origin + spacing_mm * np.array([part.start for part in box])
    opening = np.ascontiguousarray(opening[box])
    held = _held(surface, origin, spacing_mm, opening.shape)
    index = np.where(opening < 0, recess_index[box], 0).astype(np.uint8)
    total = surface.volume_ml
    present = np.bincount(index.ravel(), minlength=len(recess_names) + 1)[1:] > 0
    kept = [i for i in range(len(recess_names)) if present[i]]
    renamed = np.zeros(256, np.uint8)
    renamed[np.array(kept, int) + 1] = np.arange(1, len(kept) + 1)
    index = renamed[index]
    shares = _shares_of(held, renamed[recess_index[box]], len(kept))
    return Cavity(
        surface=surface,
        field=held,
        distension=Field(held.origin_mm, held.spacing_mm, opening),
        recess_index=index,
        recesses=_recesses(held, index, [recess_names[i] for i in kept], shares * total),
        resting_volume_ml=total,
        source="segmented" if segmented_ml > 0.0 else "completed",
        assumed=assumed,
        segmented_ml=min(segmented_ml, total),
    )


def _held(surface: Surface, origin: Floats, spacing_mm: float, shape: tuple[int, ...]) -> Field:
    """The signed distance to the resting cavity on its grid, clamped at the band."""
    at = (surface.vertices_mm - origin) / spacing_mm
    low = np.maximum(np.floor(at.min(axis=0) - BAND_MM / spacing_mm), 0).astype(int)
    high = np.minimum(np.ceil(at.max(axis=0) + BAND_MM / spacing_mm) + 1, shape).astype(int)
    part = (int(high[0] - low[0]), int(high[1] - low[1]), int(high[2] - low[2]))
    values = np.full(shape, np.float32(BAND_MM))
    steps = signed_grid(at - low, surface.triangles, part, BAND_MM / spacing_mm)
    values[low[0] : high[0], low[1] : high[1], low[2] : high[2]] = steps * np.float32(spacing_mm)
    origin = origin.copy()
    origin.setflags(write=False)
    values.setflags(write=False)
    return Field(origin, float(spacing_mm), values)


def standing_off(opening_mm: float, ease: npt.ArrayLike) -> Floats32:
    """How far a wall of this ease stands off at an opening: slack walls first, then each stiffens."""
    slack = np.float32(opening_mm) * np.asarray(ease, np.float32)
    half = np.float32(0.5 * STIFFENING_MM)
    return np.asarray(half * (np.sqrt(1 + 2 * slack / half) - 1), np.float32)


@dataclass(frozen=True, eq=False)
class _Space:
    """What a cavity is made of, on its grid; see `build_cavity`."""

    rest: Floats32
    walls: Floats32
    allowed: Floats32
    gives: Floats32
    origin: Floats
    spacing: float

    def rested(self, resting_ml: float) -> tuple[Floats32, Surface]:
        """The space thickened or thinned to its resting volume (a grid of values), and its surface.

        Thickening works on `rest` alone and most where the wall gives: the walls stay, films stay thin.
        """
        h = np.float32(self.spacing)
        free = np.float32(0.05) - self.walls
        space = np.maximum(self.rest, free)
        thin = space < np.float32(0.35) * h
        if not thin.any():
            raise EmptyStructureError("no joint cavity is left between the bones: check the scan's labels")
        box = _box_of(thin, 3)
        # pieces apart go with their surroundings; what merely lies together beside the largest one stays
        apart = np.zeros(space.shape, np.bool_)
        largest = _largest(thin[box])
        around = [ndimage.binary_dilation(part, iterations=2) for part in (thin[box] & ~largest, largest)]
        apart[box] = around[0] & ~around[1] & (space[box] <= h)
        space[apart] = h
        if not (space < 0).any():
            raise EmptyStructureError("no joint cavity is left between the bones: check the scan's labels")
        blocked = np.where(apart, FAR, free)
        share = np.float32(0.1) + np.float32(0.9) * self.gives
        where = np.flatnonzero(space < np.float32(3.0))
        near, stop, much = space.ravel()[where], blocked.ravel()[where], share.ravel()[where]
        made = np.full(space.size, np.float32(FAR))

        def thick_at(more_mm: float) -> Floats32:
            return np.maximum(near - np.float32(more_mm) * much, stop)

        def cut_at(more_mm: float) -> Surface:
            made[where] = thick_at(more_mm)
            return _cut(made.reshape(space.shape), 0.0, self.origin, self.spacing)

        more, surface = _level_of_volume(
            lambda level: counted_ml(thick_at(level), 0.0, self.spacing), cut_at, resting_ml, 3e-4
        )
        return np.maximum(space - np.float32(more) * share, blocked), surface

    def opening(self, base: Floats32, capacity: float) -> Floats32:
        """How far the walls must give for fluid to come to each point; infinity where it never does.

        At or below zero in the resting cavity. Steep rather than infinite at the walls, so that level sets
        meet them smoothly: 0.13 mm in at 8 mm open. Every level set hangs together with the resting cavity.
        """
        result = np.full(base.shape, np.float32(np.inf))
        easy = np.maximum(self.gives, np.float32(0.02))
        where = np.flatnonzero(base < standing_off(MOST_OPENING_MM, easy))
        value, wall = base.ravel()[where], np.float32(0.05) - self.walls.ravel()[where]
        out = value > 0
        barrier = STEEP * np.maximum(wall, self.allowed.ravel()[where])
        stretched = value * (1 + value * np.float32(1.0 / STIFFENING_MM)) / easy.ravel()[where]
        away = np.where(out, np.maximum(stretched, barrier), value)
        result.ravel()[where] = np.where(away > MOST_OPENING_MM, np.float32(np.inf), away)
        box = _box_of(result < np.inf)
        result[box] = reachable(result[box], MOST_OPENING_MM, rise=RISE)
        held = result[result < np.inf]
        if counted_ml(held, MOST_OPENING_MM, self.spacing) > capacity:
            counted = partial(counted_ml, held, spacing_mm=self.spacing)
            full = _solve(partial(_off, counted, capacity), 5.0, 2.0, 1e-3)
            result[result > full] = np.inf
        return result


def _opened(opening: Floats32, wanted_ml: float, origin: Floats, spacing_mm: float) -> tuple[float, Surface]:
    """The level of an opening whose cut encloses a volume, and that cut."""
    where = np.flatnonzero(opening < FAR)
    values = opening.ravel()[where]
    bounded = np.where(opening < FAR, opening, FAR)
    return _level_of_volume(
        lambda level: counted_ml(values, level, spacing_mm),
        lambda level: _cut(bounded, level, origin, spacing_mm),
        wanted_ml,
        1e-4,
    )


def _shares_of(field: Field, place: npt.NDArray[np.uint8], count: int) -> Floats:
    """Share of the cavity in each named part, (count,), which sum to 1.

    place : index + 1 of the part at every point. Points within half a spacing of the wall count in part.
    """
    where = np.flatnonzero(field.values < 0.5 * field.spacing_mm)
    part = np.minimum(0.5 - field.values.ravel()[where].astype(np.float64) / field.spacing_mm, 1.0)
    mass = np.bincount(place.ravel()[where], weights=part, minlength=count + 1)[1:]
    return np.asarray(mass / max(mass.sum(), 1e-12))


def _recesses(
    field: Field, index: npt.NDArray[np.uint8], names: Sequence[str], volumes_ml: Floats
) -> tuple[Recess, ...]:
    """Size up each named part from its voxels."""
    result, deep_mm = [], _depths(field)
    for i, name in enumerate(names):
        where = np.argwhere(index == i + 1)
        depth = deep_mm[tuple(where.T)].astype(np.float64)
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
                volume_ml=float(volumes_ml[i]),
                thickness_mm=float(-2.0 * depth[deep].mean()),
                extent_mm=np.sort(np.ptp(along, axis=0))[::-1] + field.spacing_mm,
            )
        )
    return tuple(result)


def _depths(field: Field) -> Floats32:
    """The field, carried on beyond its band by a distance transform where the cavity is wider than that."""
    values = field.values
    beyond = values < np.float32(0.02 - BAND_MM)
    if not beyond.any():
        return values
    box = _box_of(beyond, int(np.ceil(BAND_MM / field.spacing_mm)))
    away, nearest = ndimage.distance_transform_edt(beyond[box], return_indices=True)
    inner = values[box][tuple(nearest)] - away.astype(np.float32) * np.float32(field.spacing_mm)
    result = values.copy()
    result[box] = np.where(beyond[box], inner, values[box])
    return result


def capacity_ml(cavity: Cavity, most_opening_mm: float = MOST_OPENING_MM) -> float:
    """How much more the cavity takes before its walls forbid it."""
    field = cavity.distension
    values = field.values[field.values <= most_opening_mm + field.spacing_mm]
    room = counted_ml(values, most_opening_mm, field.spacing_mm) - counted_ml(values, 0.0, field.spacing_mm)
    return max(room, 0.0)


def fill_cavity(cavity: Cavity, volume_ml: float, tip_mm: npt.ArrayLike | None = None) -> FillState:
    """Fill a cavity by level sets of its distension; injected = in_cavity + leaked, exactly.

    The fluid's surface encloses the resting fluid and the injected one together, and hangs together. The wall
    gives way where it does so most easily, with a tip nearest to it first (half a millimetre of opening per
    centimetre away). A tip outside the cavity fills nothing: all leaks. What exceeds the capacity leaks.
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
    inside = min(volume_ml, capacity_ml(cavity))
    if inside <= 0.0:
        return FillState(injected_ml=volume_ml, leaked_ml=volume_ml)
    wanted = cavity.resting_volume_ml + inside
    crop = _box_of(field.values <= np.float32(MOST_OPENING_MM))
    start = field.origin_mm + field.spacing_mm * np.array([part.start for part in crop])
    opening = _opening(field.values[crop], start, field.spacing_mm, tip_mm)
    level, fluid = _opened(opening, wanted, start, field.spacing_mm)
    return FillState(
        injected_ml=volume_ml,
        in_cavity_ml=inside,
        leaked_ml=volume_ml - inside,
        fluid=fluid,
        displacement_mm=_farthest(cavity, fluid.vertices_mm),
        recess_ml=_shares(cavity, cavity.recess_index[crop], opening < level, wanted),
    )


def _farthest(cavity: Cavity, points_mm: Floats) -> float:
    """How far points stand off the resting cavity at most: by its field, beyond its band by the surface."""
    away = sample_at(cavity.field, points_mm)
    far = away > BAND_MM - 0.05
    if not far.any():
        return float(away.max(initial=0.0))
    return float(nearest_points(cavity.surface.bvh, points_mm[far][::3])[0].max())


def _opening(values: Floats32, start: Floats, spacing_mm: float, tip_mm: npt.ArrayLike | None) -> Floats32:
    """The distension with the tip's nearness added outside the resting cavity."""
    if tip_mm is None:
        return values
    tip = np.asarray(tip_mm, dtype=np.float64)
    where = np.flatnonzero((values > 0) & (values < np.inf))
    place = np.unravel_index(where, values.shape)
    away = np.sqrt(sum((start[a] + spacing_mm * place[a].astype(np.float32) - tip[a]) ** 2 for a in range(3)))
    result = values.copy()
    result.ravel()[where] += NEARNESS * away * np.minimum(values.ravel()[where], 1)
    return result


def _shares(
    cavity: Cavity, index: npt.NDArray[np.uint8], filled: Bools, total_ml: float
) -> Mapping[str, float]:
    """How the fluid is shared among the recesses: each filled voxel belongs to the nearest named one."""
    points = np.argwhere(filled)
    owner = index[tuple(points.T)]
    named, loose = owner > 0, owner == 0
    if loose.any() and named.any():
        _, nearest = cKDTree(points[named][::4]).query(points[loose])
        owner[loose] = owner[named][::4][nearest]
    count = np.bincount(owner, minlength=len(cavity.recesses) + 1)[1:].astype(float)
    share = count / max(count.sum(), 1.0) * total_ml
    return {r.name: float(s) for r, s in zip(cavity.recesses, share, strict=True)}
