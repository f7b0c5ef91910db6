"""The knee's joint cavity: films on the cartilage, gutters, posterior recesses, suprapatellar pouch."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from injectplan.anatomy.cavity import build_cavity
from injectplan.anatomy.completion.solids import Frame, Grid, curve, ramp, smooth_max, smooth_min
from injectplan.anatomy.model import Cavity
from injectplan.kernels.cast import Floats32

if TYPE_CHECKING:
    from injectplan.anatomy.completion.knee import Build

SPACING_MM = 0.5
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


def resampled(values: Floats32, source: Grid, target: Grid) -> Floats32:
    """Trilinear values of one grid at another's points, the frames turned against each other or not."""
    back = np.linalg.inv(source.affine) @ target.affine
    return ndimage.affine_transform(
        values,
        back[:3, :3],
        back[:3, 3],
        output_shape=target.shape,
        output=np.float32,
        order=1,
        mode="nearest",
    )


def coordinates(target: Grid, frame: Frame) -> tuple[Floats32, Floats32, Floats32]:
    """Joint coordinates of a grid's points, three arrays (nx, ny, nz)."""
    turn = frame.basis.T @ target.frame.basis
    start = frame.to_joint(target.frame.origin_mm)
    local = (target.x, target.y, target.z)
    made = [
        (sum(local[b] * np.float32(turn[a, b]) for b in range(3)) + np.float32(start[a])) for a in range(3)
    ]
    return (np.asarray(made[0]), np.asarray(made[1]), np.asarray(made[2]))


def _still_grid(frame: Frame, low: npt.ArrayLike, high: npt.ArrayLike) -> Grid:
    """The axis-aligned patient grid around a box of joint coordinates."""
    a, b = np.asarray(low, float), np.asarray(high, float)
    corners = np.array([[x, y, z] for x in (a[0], b[0]) for y in (a[1], b[1]) for z in (a[2], b[2])])
    patient = frame.to_patient(corners)
    return Grid.between(Frame(np.zeros(3), np.eye(3)), patient.min(axis=0), patient.max(axis=0), SPACING_MM)


def knee_cavity(
    build: Build,
    quadriceps: Callable[[Build, Grid], Floats32],
    patellar: Callable[[Build, Grid], Floats32],
    tendon_line: Callable[[npt.ArrayLike], Floats32],
) -> Cavity:
    """Build the resting cavity and how it opens; every part is a slit beside the femur's own surface."""
    m, size, s, frame = build.marks, build.sizes, build.marks.scale, build.frame
    crown = m.trochlea_top + size["recess_height_above_trochlea"]
    low = np.array([m.femur_low[0] - 10, m.femur_low[1] - 12, -16 * s])
    high = np.array([m.femur_high[0] + 10, m.patella_high[1] + 4, crown + 12])
    grid = _still_grid(frame, low, high)
    x, y, z = coordinates(grid, frame)
    near = {n: grid.distance(build.given[n].surface, BAND_MM) for n in WALLS if n in build.given}
    walls = np.minimum.reduce(list(near.values()))
    films = [v for n, v in near.items() if n in CARTILAGES]
    film = np.minimum.reduce(films) if films else walls
    # only where the femur faces tibia, meniscus or patella: a film on all cartilage would hold 7 mL alone
    other = np.minimum.reduce([v for n, v in near.items() if n not in ("femur", "femoral_cartilage")])
    fine = np.minimum(near["femur"], near.get("femoral_cartilage", near["femur"]))
    d = np.where(
        fine < BAND_MM * 0.9, fine, np.maximum(resampled(build.femur, build.coarse, grid), 0.9 * BAND_MM)
    )
    # beyond its band the film's distance is a clamp, not a distance: nothing opens from there
    cleft = np.maximum(film - np.float32(FILM_MM), np.maximum(fine, other) - np.float32(CLEFT_MM))
    facing = np.maximum(film, np.maximum(fine, other)) < 0.97 * BAND_MM
    rest = np.where(facing, cleft, np.float32(30.0)).astype(np.float32)
    rest = np.minimum(rest, _pouch(build, d, x, y, z, crown))
    rest = smooth_min(rest, _gutters(build, d, x, y, z), 1.0)
    rest = smooth_min(rest, _behind(build, d, x, y, z), 1.0)
    core = resampled(build.solids["core"], build.coarse, grid)
    tendons = np.minimum(quadriceps(build, build.coarse), patellar(build, build.coarse))
    tendon = resampled(np.minimum(tendons, np.float32(20)), build.coarse, grid)
    bones = resampled(np.minimum(build.bones, np.float32(20)), build.coarse, grid)
    # fluid stays out of tendon and other bones, deep to the retinacula, behind the extensor's back face
    front = y - tendon_line(z) - 0.004 * x * x
    allowed = np.maximum(np.maximum(0.3 - tendon, core + np.float32(3.5)), 0.2 - np.maximum(bones, walls))
    allowed = np.where(z > m.patella_top[2], np.maximum(allowed, front), allowed)
    rest = np.maximum(rest, 0.1 - tendon)
    return build_cavity(
        grid.low_mm,
        grid.spacing_mm,
        np.asarray(rest, np.float32),
        walls=np.asarray(
            np.minimum(walls, np.maximum(bones, np.where(walls < BAND_MM, walls, BAND_MM))), np.float32
        ),
        ease=_ease(build, x, y, z, crown),
        allowed=np.asarray(allowed, np.float32),
        recess_index=_which(build, x, y, z),
        recess_names=RECESSES,
        resting_ml=size["resting_fluid"],
        effusion_ml=size["effusion_ml"],
        assumed=(
            f"joint cavity built from the bones: resting volume {size['resting_fluid']:g} mL "
            "(normal 5-8 mL, other texts 2-4), suprapatellar recess open to the joint (so in about 85 %)",
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
    ahead = np.float32(8.0 * s) - y
    return smooth_max(slit, np.maximum(np.maximum(across, below), ahead), 1.2)


def curve_of(z: Floats32, knots: dict[float, float]) -> Floats32:
    """`curve` on a full array by a table of 0.1 mm steps."""
    low, high = min(knots), max(knots)
    table_z = np.arange(low, high + 0.1, 0.1)
    table = curve(table_z, knots)
    index = np.clip((z - np.float32(low)) * np.float32(10.0), 0, len(table) - 1.001)
    whole = index.astype(np.int32)
    part = index - whole
    return np.asarray(table[whole] * (1 - part) + table[whole + 1] * part, np.float32)


def _gutters(build: Build, d: Floats32, x: Floats32, y: Floats32, z: Floats32) -> Floats32:
    """The parapatellar gutters on both sides of the condyles."""
    m, s = build.marks, build.marks.scale
    slit = np.abs(d - 0.7) - 0.55
    middle = 0.5 * (float(m.femur_low[0]) + float(m.femur_high[0]))
    aside = np.float32(18.0 * s) - np.abs(x - np.float32(middle))
    height = np.maximum(np.float32(4.0 * s) - z, z - np.float32(m.trochlea_top + 14.0 * s))
    upper = np.maximum(height, np.float32(4.0 * s) - y)
    # above the menisci the space runs on backwards under the collateral ligaments
    lane = np.maximum(np.abs(z - np.float32(9.0 * s)) - np.float32(6.0 * s), np.float32(-18.0 * s) - y)
    return smooth_max(slit, np.maximum(aside, np.minimum(upper, lane)), 1.0)


def _behind(build: Build, d: Floats32, x: Floats32, y: Floats32, z: Floats32) -> Floats32:
    """The posterior recesses, under the capsule behind both condyles."""
    m, s = build.marks, build.marks.scale
    slit = np.abs(d - 0.7) - 0.55
    middle = 0.5 * (float(m.femur_low[0]) + float(m.femur_high[0]))
    condyle = np.abs(np.abs(x - np.float32(middle)) - np.float32(21.0 * s)) - np.float32(14.0 * s)
    height = np.maximum(np.float32(4.0 * s) - z, z - np.float32(31.0 * s))
    return smooth_max(slit, np.maximum(np.maximum(condyle, height), y + np.float32(5.0 * s)), 1.0)


def _ease(build: Build, x: Floats32, y: Floats32, z: Floats32, crown: float) -> Floats32:
    """How readily the wall gives: lateral pouch first, its midline, gutters, behind; hardly the joint."""
    m, s = build.marks, build.marks.scale
    pouch = ramp(z, m.trochlea_top + 2.0, float(m.patella_top[2]) + 6.0) * ramp(y, 5.0 * s, 12.0 * s)
    lateral = 0.5 + 0.5 * ramp(x, -20.0 * s, 18.0 * s)
    middle = 0.5 * (float(m.femur_low[0]) + float(m.femur_high[0]))
    side = ramp(np.abs(x - middle), 22 * s, 32 * s) * ramp(z, 2 * s, 12 * s) * ramp(y, 0.0, 10.0 * s)
    back = ramp(y, -8.0 * s, -18.0 * s) * ramp(z, 0.0, 10.0 * s)
    most = np.maximum(np.maximum(0.08, pouch * lateral), np.maximum(0.45 * side * lateral, 0.25 * back))
    return np.asarray(most, np.float32)


def _which(build: Build, x: Floats32, y: Floats32, z: Floats32) -> npt.NDArray[np.uint8]:
    """Which recess each point belongs to: index + 1 into RECESSES, by place alone."""
    m, s = build.marks, build.marks.scale
    middle = 0.5 * (float(m.femur_low[0]) + float(m.femur_high[0]))
    lateral = x > 0.0
    side = np.abs(x - middle) > 28.0 * s
    result = np.where(lateral, 4, 3).astype(np.uint8)
    result = np.where((y > 18.0 * s) & (z > 4.0 * s), 2, result)
    result = np.where(side & (z > 4.0 * s) & (y > -4.0 * s), np.where(lateral, 6, 5), result)
    result = np.where((y < -4.0 * s) & (z > 6.0 * s), np.where(lateral, 8, 7), result)
    result = np.where((z > m.trochlea_top + 1.0) & (y > 4.0 * s), 1, result)
    return np.asarray(result, np.uint8)
