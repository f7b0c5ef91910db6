"""What a new scan of the same bones would change: the part of each scatter that their surfaces tell.

Beside the raters' scatter, which says how far readers differ about where a landmark is, every angle and
landmark carries `surface_sd`. The bones fitted are scanned again a few times (`rescans`) and measured again
from where they were; the root mean square of what changes is the answer (decision 0062). The pelvis, which
takes too long for that, has shares of its roughness instead, measured (decision 0060).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from injectplan.alignment.angles import angles_of
from injectplan.alignment.ankle import measure_talus
from injectplan.alignment.bones import Bone
from injectplan.alignment.femur import remeasure_femur
from injectplan.alignment.landmarks import BoneFits, landmarks_of
from injectplan.alignment.rescans import (
    Grid,
    Model,
    blur_mm,
    find_grid,
    find_slices,
    level_mm,
    model_of,
    moved,
    noise_mm,
    steps_mm,
)  # fmt: skip
from injectplan.alignment.roughness import Roughness
from injectplan.alignment.tibia import remeasure_tibia
from injectplan.alignment.values import Landmark
from injectplan.errors import LandmarkError
from injectplan.kernels.cast import Floats

SCANS, LEAST_SCANS = 8, 4
FLOOR_MM = 0.05  # a smoothed or thinned surface shows less roughness than it has errors
# Scatter of errors of 2 mm length: at least this under a staircase and without one, and without one a share
# of the fine roughness; of 9 mm length: at least this, and a share of the shafts' waves. Chosen on
# staircased, smoothed and noisy copies of two CT legs (decision 0064).
STEPPED_MM, SHORT_FLOOR_MM, SHORT_SHARE = 0.04, 0.06, 0.3
LONG_FLOOR_MM, LONG_SHARE = 0.02, 1.4
# Of the difference that thinning and the staircase's smoothing make to this scan: how much it is in error.
SEEN = 0.5
TELLING = ("femur", "tibia")  # bones large enough to tell how rough all of one scan are
LIKE = 0.5  # a bone without a grid of its own, this rough against one that has one, was scanned on that one

# Degrees for each mm of the hip bones' fine roughness: from two CT legs, label maps of 0.7 x 0.7 x 1.5 and
# 1 x 1 x 3 mm in any orientation, three smoothings, two decimations.
PELVIC_ANGLES: Mapping[str, float] = {
    "lcea_deg": 2.8, "acetabular_inclination_deg": 2.7, "acetabular_version_deg": 2.7,
    "acetabular_murray_deg.radiographic_version": 2.0,
    "acetabular_murray_deg.anatomical_inclination": 2.6,
    "acetabular_murray_deg.operative_inclination": 2.5,
    "acetabular_murray_deg.operative_version": 2.8,
}  # fmt: skip
# The same for landmarks, mm in space over the root of 3.
PELVIC_LANDMARKS: Mapping[str, float] = {
    "acetabular_center": 0.47, "acetabular_opening_point": 0.6, "anterior_superior_iliac_spine": 4.0,
    "opposite_anterior_superior_iliac_spine": 4.0, "pubic_tubercle_midpoint": 3.7,
    "lateral_acetabular_edge": 1.6,
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeats:
    """Repeatability: of angles, degrees (mm for MAD); of landmarks, mm per axis."""

    angles: Mapping[str, float] = field(default_factory=dict)
    landmarks: Mapping[str, float] = field(default_factory=dict)


def repeats_of(fits: BoneFits, handed: float, seed: int = 0) -> Repeats:
    """Return what further scans of these bones would change.

    handed : +1 right, -1 left.  seed : of the errors under smooth surfaces. What fewer than four of the eight
    scans could measure, and landmarks without a position, are not in the result.
    """
    bones = {
        "femur": fits.femur.bone if fits.femur else None, "tibia": fits.tibia.bone if fits.tibia else None,
        "fibula": fits.fibula, "talus": fits.talus.bone if fits.talus else None,
    }  # fmt: skip
    given = {name: bone for name, bone in bones.items() if bone is not None}
    grids = _grids(given, fits.surfaces)
    models = {name: model_of(bone, grids[name]) for name, bone in given.items()}
    limb = replace(fits, extra={})
    pelvic = _pelvic(fits.surfaces)
    try:
        ref = landmarks_of(_measured(limb, {name: model.bone for name, model in models.items()}))
        smooth = {n: moved(m, blur_mm(m)) for n, m in models.items() if m.grid is None or m.grid.faired}
        blurred = landmarks_of(_measured(limb, {n: smooth.get(n, m.bone) for n, m in models.items()}))
    except LandmarkError:
        return pelvic
    drawn = []
    for number in range(SCANS):
        try:
            drawn.append(landmarks_of(_measured(limb, _scan(models, fits.surfaces, number, seed))))
        except LandmarkError:
            continue
    known = landmarks_of(limb)
    angles = _scatter([_angles(scan, handed) for scan in drawn],
                      *(_angles(found, handed) for found in (ref, blurred, known)))  # fmt: skip
    places = _scatter([_points(scan) for scan in drawn], _points(ref), _points(blurred), _points(known))
    return Repeats(
        angles={**angles, **pelvic.angles},
        landmarks={n: sd / math.sqrt(3.0) for n, sd in places.items()} | dict(pelvic.landmarks),
    )


def _scan(
    models: Mapping[str, Model], surfaces: Mapping[str, Roughness], number: int, seed: int
) -> dict[str, Bone]:
    """Every bone once more: on its grid begun elsewhere, or with other errors of its surface's size."""
    # one scan's bones are alike, and a shaft's shape may hide what another's shows
    told = [surfaces[name] for name in TELLING if name in models]
    grain = math.sqrt(sum(s.grain_mm**2 for s in told) / max(len(told), 1))
    long_mm = math.hypot(LONG_FLOOR_MM, LONG_SHARE * max((s.waves_mm for s in told), default=0.0))
    short_mm = math.hypot(SHORT_FLOOR_MM, SHORT_SHARE * grain)
    result = {}
    for i, (name, model) in enumerate(models.items()):
        chance = 101 * i + 7 * number + seed
        if model.grid is None:
            height = noise_mm(model, short_mm, long_mm, chance)
        else:
            height = steps_mm(model, model.grid, number + 3 * i)
            height = height + level_mm(model, model.grid, chance + 5000)
            height = height + noise_mm(model, STEPPED_MM, LONG_FLOOR_MM, chance)
        result[name] = moved(model, height)
    return result


def _grids(bones: Mapping[str, Bone], surfaces: Mapping[str, Roughness]) -> dict[str, Grid | None]:
    """Every bone's grid. One scan has one: a bone too small to show it, or as rough, has the large ones'."""
    own = {name: find_grid(bones[name]) or find_slices(bones[name]) for name in TELLING if name in bones}
    told = next(((name, grid) for name, grid in own.items() if grid is not None), None)
    result: dict[str, Grid | None] = {}
    for name, bone in bones.items():
        result[name] = own.get(name)
        if result[name] is None and told and surfaces[name].grain_mm > LIKE * surfaces[told[0]].grain_mm:
            result[name] = told[1]
        elif name not in own:
            result[name] = find_grid(bone)
    return result


def _measured(fits: BoneFits, bones: Mapping[str, Bone]) -> BoneFits:
    """The bones measured again; LandmarkError where a fit fails."""
    femur = remeasure_femur(fits.femur, bones["femur"]) if fits.femur else None
    tibia = remeasure_tibia(fits.tibia, bones["tibia"]) if fits.tibia else None
    talus = measure_talus(bones["talus"], tibia) if fits.talus and tibia and tibia.ankle else None
    return replace(fits, femur=femur, tibia=tibia, talus=talus, fibula=bones.get("fibula"))


def _points(landmarks: Mapping[str, Landmark]) -> dict[str, Floats]:
    return {n: lm.position_mm for n, lm in landmarks.items() if lm.position_mm is not None}


def _angles(landmarks: Mapping[str, Landmark], handed: float) -> dict[str, Floats]:
    return angles_of(_points(landmarks), handed)


def _scatter(
    drawn: Sequence[Mapping[str, Floats]],
    ref: Mapping[str, Floats],
    blurred: Mapping[str, Floats],
    known: Mapping[str, Floats],
) -> dict[str, float]:
    """Root mean square distance of drawn values or points from the reference's, with two biases.

    They are what blurring does to the reference, and a share of what making it did to the `known` value:
    the steps of this scan itself.
    """
    result = {}
    for name, at in ref.items():
        squares = [float(np.sum((scan[name] - at) ** 2)) for scan in drawn if name in scan]
        if len(squares) >= LEAST_SCANS:
            bias = float(np.sum((blurred[name] - at) ** 2)) if name in blurred else 0.0
            seen = float(np.sum((known[name] - at) ** 2)) if name in known else 0.0
            result[name] = math.sqrt(sum(squares) / len(squares) + bias + SEEN**2 * seen)
    return result


def _pelvic(surfaces: Mapping[str, Roughness]) -> Repeats:
    found = [surfaces[n] for n in ("hip_bone", "opposite_hip_bone") if n in surfaces]
    found = [surface for surface in found if math.isfinite(surface.fine_mm)]
    if not found:
        return Repeats()
    height = math.sqrt(sum(surface.fine_mm**2 + FLOOR_MM**2 for surface in found) / len(found))
    return Repeats(
        angles={n: share * height for n, share in PELVIC_ANGLES.items()},
        landmarks={n: share * height for n, share in PELVIC_LANDMARKS.items()},
    )
