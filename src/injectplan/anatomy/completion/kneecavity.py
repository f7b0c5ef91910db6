"""The knee's joint cavity: films on the cartilage, gutters, posterior recesses, suprapatellar pouch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from injectplan.anatomy.cavity import MOST_OPENING_MM, build_cavity, standing_off
from injectplan.anatomy.completion.fluid import FLUID_BAND_MM, holding, with_fluid
from injectplan.anatomy.completion.kneebuild import Build
from injectplan.anatomy.completion.kneefolds import folds, resting
from injectplan.anatomy.completion.solids import (
    Frame,
    Grid,
    coordinates,
    curve_of,
    ramp,
    smooth_max,
    smooth_min,
    still_grid,
)  # fmt: skip
from injectplan.anatomy.model import Cavity
from injectplan.kernels.cast import Array, Bools, Floats32
from injectplan.kernels.field import Field, sample_many

Tissue: TypeAlias = Callable[[Build, Grid], Floats32]
SPACING_MM = 0.5
BLOCK = 4  # points along a block's edge when looking for where the cavity may be
BAND_MM = 1.5
FILM_MM = 0.75
CLEFT_MM = 1.35
RECESSES = (
    "suprapatellar", "patellofemoral", "medial_tibiofemoral", "lateral_tibiofemoral",
    "medial_parapatellar", "lateral_parapatellar", "medial_posterior", "lateral_posterior",
)  # fmt: skip
CARTILAGES = (
    "femoral_cartilage", "medial_tibial_cartilage", "lateral_tibial_cartilage", "tibial_cartilage",
    "patellar_cartilage",
)  # fmt: skip
WALLS = ("femur", "tibia", "patella", "medial_meniscus", "lateral_meniscus", *CARTILAGES)


def coordinates_at(
    target: Grid, frame: Frame, where: npt.NDArray[np.int64]
) -> tuple[Floats32, Floats32, Floats32]:
    """Joint coordinates of the grid points with these flat indices, three arrays (n,)."""
    turn = (frame.basis.T @ target.frame.basis * target.spacing_mm).astype(np.float32)
    start = frame.to_joint(target.frame.to_patient(target.low_mm)).astype(np.float32)
    i, j, k = (a.astype(np.float32) for a in np.unravel_index(where, target.shape))
    x, y, z = (start[a] + turn[a, 0] * i + turn[a, 1] * j + turn[a, 2] * k for a in range(3))
    return x, y, z


@dataclass(frozen=True, eq=False)
class _Places:
    """Points with what the cavity's formulas ask of them: joint coordinates and distances."""

    x: Floats32
    y: Floats32
    z: Floats32
    femur: Floats32
    core: Floats32
    tendon: Floats32
    bones: Floats32

    @classmethod
    def at(cls, coarse: Mapping[str, Field], x: Floats32, y: Floats32, z: Floats32) -> _Places:
        """Return the places at joint coordinates (n,), distances read off the coarse grid."""
        where = np.column_stack([x, y, z])
        read = {name: sample_many(field, where).astype(np.float32) for name, field in coarse.items()}
        return cls(x=x, y=y, z=z, **read)


def _coarse_fields(build: Build, quadriceps: Tissue, patellar: Tissue) -> dict[str, Field]:
    tendons = np.minimum(quadriceps(build, build.coarse), patellar(build, build.coarse))
    grids = {
        "femur": build.femur, "core": build.solids["core"], "tendon": np.minimum(tendons, np.float32(20)),
        "bones": np.minimum(build.bones, np.float32(20)),
    }  # fmt: skip
    low, step = build.coarse.low_mm, build.coarse.spacing_mm
    return {n: Field(low, step, np.ascontiguousarray(v, np.float32)) for n, v in grids.items()}


def _slits(build: Build, p: _Places, crown: float) -> Floats32:
    """Pouch, gutters and posterior recesses together, the latter two as full as they get."""
    pouch = _pouch(build, p.femur, p.x, p.y, p.z, crown)
    return smooth_min(pouch, folds(build, p.femur, p.x, p.y, p.z).at_share(1.0), 1.0)


def _allowed(build: Build, p: _Places, tendon_line: Callable[[npt.ArrayLike], Floats32]) -> Floats32:
    """Fluid stays out of tendon and bone, deep to the retinacula, behind the extensor's back face."""
    m = build.marks
    table = np.arange(float(build.coarse.low_mm[2]), float(build.coarse.high_mm[2]), 0.25)
    line = np.interp(p.z, table, tendon_line(table)).astype(np.float32)
    result = np.maximum(np.maximum(0.3 - p.tendon, p.core + np.float32(3.5)), 0.2 - p.bones)
    front = p.y - line - np.float32(0.004) * p.x * p.x
    return np.asarray(np.where(p.z > m.patella_top[2], np.maximum(result, front), result), np.float32)


def _nearby(build: Build, grid: Grid) -> tuple[Floats32, Floats32, Floats32]:
    """Distances on the fine grid: to the femur and its cartilage, to what faces it, to any cartilage."""

    def to(names: Sequence[str]) -> Floats32:
        return grid.distance_to([build.given[n].surface for n in names if n in build.given], BAND_MM)

    fine, own = to(("femur",)), to(("femoral_cartilage",))
    other, film = to([n for n in WALLS if n not in (*CARTILAGES, "femur")]), to(CARTILAGES[1:])
    np.minimum(other, film, out=other)
    np.minimum(fine, own, out=fine)
    np.minimum(film, own, out=film)
    if not any(n in build.given for n in CARTILAGES):
        film = np.minimum(fine, other)
    return fine, other, film


def _segmented_fluid(build: Build, grid: Grid) -> Floats32 | None:
    """Distance to the fluid that was segmented, None where there is none."""
    fluid = build.fluid
    return None if fluid is None else grid.distance(fluid.surface, FLUID_BAND_MM)


def _needed(
    build: Build, grid: Grid, coarse: Mapping[str, Field], crown: float,
    tendon_line: Callable[[npt.ArrayLike], Floats32],
) -> Bools:  # fmt: skip
    """Blocks of BLOCK³ points in which the cavity or its opening may lie, judged at their centres."""
    count = [-(-n // BLOCK) for n in grid.shape]
    middle = grid.low_mm + 0.5 * (BLOCK - 1) * grid.spacing_mm
    centers = Grid(grid.frame, middle, BLOCK * grid.spacing_mm, (count[0], count[1], count[2]))
    p = _Places.at(coarse, *(a.ravel() for a in coordinates(centers, build.frame)))
    room = np.float32(0.5 * np.sqrt(3) * BLOCK * grid.spacing_mm * 1.4)
    most = standing_off(MOST_OPENING_MM, _ease(build, p.x, p.y, p.z, crown))
    opens = _slits(build, p, crown) < room + most
    free = (_allowed(build, p, tendon_line) < room + 1) & (p.femur > -room)
    return (opens & free).reshape(count)


def _points_of(blocks: Bools, facing: Bools) -> npt.NDArray[np.int64]:
    """Flat indices of the grid points in chosen blocks or facing one another across the joint."""
    wide = facing.copy()
    _, ny, nz = facing.shape
    for a in range(BLOCK):
        row = np.repeat(np.repeat(blocks, BLOCK, axis=1)[:, :ny], BLOCK, axis=2)[:, :, :nz]
        part = wide[a::BLOCK]
        part |= row[: len(part)]
    return np.flatnonzero(wide)


def knee_cavity(
    build: Build, quadriceps: Tissue, patellar: Tissue, tendon_line: Callable[[npt.ArrayLike], Floats32]
) -> Cavity:
    """Build the resting cavity and how it opens; every part is a slit beside the femur's own surface."""
    m, size, s, frame = build.marks, build.sizes, build.marks.scale, build.frame
    crown = m.trochlea_top + size["recess_height_above_trochlea"]
    low = np.array([m.femur_low[0] - 10, m.femur_low[1] - 12, -16 * s])
    high = np.array([m.femur_high[0] + 10, m.patella_high[1] + 4, crown + 12])
    held = holding(frame, low, high, build.fluid)
    grid = still_grid(frame, *held, SPACING_MM, block=BLOCK)
    coarse = _coarse_fields(build, quadriceps, patellar)
    fine, other, film = _nearby(build, grid)
    # only where the femur faces tibia, meniscus or patella: a film on all cartilage would hold 7 mL alone.
    # Beyond its band the film's distance is a clamp, not a distance: nothing opens from there.
    apart = np.maximum(fine, other)
    facing = np.maximum(film, apart) < np.float32(0.97 * BAND_MM)
    seen = _segmented_fluid(build, grid)
    if seen is not None:
        facing |= seen < np.float32(0.9 * FLUID_BAND_MM)
    where = _points_of(_needed(build, grid, coarse, crown, tendon_line), facing)
    x, y, z = coordinates_at(grid, frame, where)
    p = _Places.at(coarse, x, y, z)
    near = fine.ravel()[where]
    p = replace(p, femur=np.where(near < BAND_MM * 0.9, near, np.maximum(p.femur, np.float32(0.9 * BAND_MM))))
    walls = np.minimum(near, other.ravel()[where])
    cleft = np.maximum(film.ravel()[where] - np.float32(FILM_MM), apart.ravel()[where] - np.float32(CLEFT_MM))
    resting_ml, seen_ml, said = size["resting_fluid"], 0.0, "normal 5-8 mL, other texts 2-4"
    rest = np.where(facing.ravel()[where], cleft, np.float32(30.0))
    rest = np.minimum(rest, _pouch(build, p.femur, p.x, p.y, p.z, crown))
    free = np.maximum(np.float32(0.05) - walls, np.float32(0.1) - p.tendon)
    found = folds(build, p.femur, p.x, p.y, p.z)
    rest = resting(found, rest, _ease(build, x, y, z, crown), free, resting_ml, grid.spacing_mm)
    rest = np.maximum(rest, np.float32(0.1) - p.tendon)
    if seen is not None:
        rest, resting_ml, seen_ml = with_fluid(
            rest, seen.ravel()[where], walls, _ease(build, x, y, z, crown), resting_ml, grid.spacing_mm
        )
        said = "the fluid that was segmented, and normal folds beside it"
    clear = np.where(walls < BAND_MM, walls, np.maximum(p.bones, np.float32(BAND_MM)))

    def spread(values: npt.ArrayLike, otherwise: float, dtype: npt.DTypeLike = np.float32) -> Array:
        made = np.full(grid.shape, otherwise, dtype)
        made.ravel()[where] = values
        return made

    return build_cavity(
        grid.low_mm,
        grid.spacing_mm,
        spread(rest, 30.0),
        walls=spread(clear, BAND_MM),
        ease=spread(_ease(build, x, y, z, crown), 0.02),
        allowed=spread(np.maximum(_allowed(build, p, tendon_line), 0.2 - np.maximum(p.bones, walls)), 1.0),
        recess_index=spread(_which(build, x, y, z), 0, np.uint8),
        recess_names=RECESSES,
        resting_ml=resting_ml,
        effusion_ml=size["effusion_ml"],
        capacity_ml=size["joint_capacity"],
        segmented_ml=seen_ml,
        assumed=(
            f"joint cavity built from the bones: resting volume {resting_ml:.3g} mL ({said}), suprapatellar "
            "recess open to the joint (so in about 85 %)",
        ),
    )


def _pouch(build: Build, d: Floats32, x: Floats32, y: Floats32, z: Floats32, crown: float) -> Floats32:
    """The suprapatellar recess: a slit that leaves the trochlea and rides on the prefemoral fat pad."""
    m, size, s = build.marks, build.sizes, build.marks.scale
    pad = np.float32(size["prefemoral_fat_pad_thickness"])
    top, start = float(m.patella_top[2]), m.trochlea_top
    rise = {
        start - 6: 0.0,
        start + 3: 0.25,
        top: 0.7,
        top + 4: 1.6,
        top + 14: 0.92 * float(pad),
        crown: float(pad),
    }
    off = curve_of(z, rise)
    thick = np.float32(size["recess_thickness"]) * (0.45 + 0.55 * ramp(z, start - 2, top + 4))
    slit = np.abs(d - off - 0.5 * thick) - 0.5 * thick
    wide = np.float32(size["recess_half_width"])
    center = 0.2 * m.patella_x
    # a dome above, open below where it meets the trochlea
    up = np.maximum(z - np.float32(crown - 0.95 * wide), 0)
    across = np.sqrt((x - np.float32(center)) ** 2 + up * up) - wide
    below = np.float32(start - 8.0) - z
    # its back edge leans forwards as it rises off the shaft
    ahead = np.float32(13.0 * s) + np.float32(0.25) * np.maximum(z - np.float32(start - 8.0), 0) - y
    return smooth_max(slit, np.maximum(smooth_max(across, ahead, 6.0), below), 1.2)


def _ease(build: Build, x: Floats32, y: Floats32, z: Floats32, crown: float) -> Floats32:
    """How readily the wall gives: lateral pouch first, its midline, gutters, behind; hardly the joint."""
    m, s = build.marks, build.marks.scale
    pouch = ramp(z, m.trochlea_top + 2.0, float(m.patella_top[2]) + 6.0) * ramp(y, 5.0 * s, 12.0 * s)
    # 4 mL stand 4 mm thick in the midline and 10-12.5 mm beside it (MRI, three cadavers, AJR 1992;159:361)
    lateral = 0.3 + 0.7 * ramp(x, 2.0 * s, 16.0 * s) + 0.15 * ramp(x, -4.0 * s, -16.0 * s)
    middle = 0.5 * (float(m.femur_low[0]) + float(m.femur_high[0]))
    side = ramp(np.abs(x - middle), 22 * s, 32 * s) * ramp(z, 2 * s, 12 * s) * ramp(y, 0.0, 10.0 * s)
    back = ramp(y, -2.0 * s, -14.0 * s) * ramp(z, 0.0, 10.0 * s)
    most = np.maximum(np.maximum(0.08, pouch * lateral), np.maximum(0.8 * side * lateral, 0.35 * back))
    return np.asarray(most, np.float32)


def _which(build: Build, x: Floats32, y: Floats32, z: Floats32) -> npt.NDArray[np.uint8]:
    """Which recess each point belongs to: index + 1 into RECESSES, by place alone."""
    m, s = build.marks, build.marks.scale
    middle = 0.5 * (float(m.femur_low[0]) + float(m.femur_high[0]))
    lateral = x > 0.0
    side = np.abs(x - middle) > 28.0 * s
    result = np.where(lateral, 4, 3).astype(np.uint8)
    # above the joint's cleft nothing is tibiofemoral: an effusion beside the shaft is the gutters'
    result = np.where(z > 14.0 * s, np.where(lateral, 6, 5), result)
    result = np.where((y > 18.0 * s) & (z > 4.0 * s), 2, result)
    result = np.where(side & (z > 4.0 * s) & (y > -4.0 * s), np.where(lateral, 6, 5), result)
    result = np.where((y < -4.0 * s) & (z > 6.0 * s), np.where(lateral, 8, 7), result)
    # the pouch is as wide as it is drawn; what hangs down from it beside the trochlea are the gutters' tops
    above = (z > m.trochlea_top + 1.0) & (y > 4.0 * s)
    wide = np.abs(x - np.float32(0.2 * m.patella_x)) > np.float32(build.sizes["recess_half_width"] + 1.0)
    result = np.where(above, np.where(wide, np.where(lateral, 6, 5), 1), result)
    return np.asarray(result, np.uint8)
