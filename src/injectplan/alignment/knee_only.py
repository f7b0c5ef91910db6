"""HKA where hip or ankle lies outside the view: from the shafts seen, weighed with what knees have."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from injectplan.alignment.angles import DEFINITIONS
from injectplan.alignment.flexion import frontal_sd_deg, widen
from injectplan.alignment.landmarks import BoneFits
from injectplan.alignment.prediction import (
    LANDMARK_SD_DEG,
    LEAN_SD_DEG,
    LEAST_SEEN_MM,
    LEAST_SHARE,
    MLDFA_DEG,
    MOST_OFF_DEG,
    Evidence,
    bone_sd_deg,
    femur_offset_deg,
    lean_deg,
    seen_mm,
    shin_axis,
    tibia_offset_deg,
    weighed,
)
from injectplan.alignment.uncertainty import Spread
from injectplan.alignment.values import Angle
from injectplan.alignment.verdict import QUANTILE
from injectplan.frames import unit
from injectplan.kernels.cast import Floats
from injectplan.measure import Measure

SEEN_AXIS_SD_DEG = 0.4  # of a mechanical axis with its whole bone in view
JLCA_SD_DEG = 1.4  # where it is not told


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """A predicted HKA, and the deviation (180° − HKA) with its scatter that the shafts alone would tell."""

    hka: Angle
    alone_deg: float
    alone_sd_deg: float


def flexion_seen(bend: Spread, fits: BoneFits) -> Spread:
    """Return the knee's flexion told by two shafts, with what shafts of these lengths lean taken off."""
    if fits.femur is None or fits.tibia is None:
        return bend
    femur, tibia = fits.femur, fits.tibia
    off = lean_deg(seen_mm(femur.bone, femur.proximal), seen_mm(tibia.bone, -tibia.shaft[1]))
    moved = replace(bend, value=bend.value + off, low=bend.low + off, high=bend.high + off)
    return widen(moved, LEAN_SD_DEG)


def _too_short(name: str, length_mm: float) -> str:
    return (
        f"{length_mm:.0f} mm of the {name} are seen (needs {LEAST_SEEN_MM:g} mm): a shaft so short does not "
        "tell its axis, a longer view is needed"
    )


def predict(
    points: Mapping[str, Floats], fits: BoneFits, spreads: Mapping[str, Spread]
) -> Prediction | str | None:
    """Predict HKA from the shafts seen, where hip or ankle lies outside the view.

    points : landmarks, name → (3,) mm.  spreads : of JLCA and of the knee's flexion, where they are told.
    Returns why there is no prediction where a shaft is too short for an axis, None without both bones.
    """
    femur, tibia = fits.femur, fits.tibia
    if femur is None or tibia is None:
        return None
    variance, offset, used = 0.0, [0.0, 0.0], []
    sd = [SEEN_AXIS_SD_DEG, SEEN_AXIS_SD_DEG]
    if "hip_center" in points:
        upper = unit(points["hip_center"] - points["femoral_knee_center"])
    else:
        upper, length = femur.shaft[1], seen_mm(femur.bone, femur.proximal)
        if length < LEAST_SEEN_MM:
            return _too_short("femur", length)
        offset[0], sd[0] = femur_offset_deg(length), bone_sd_deg(length)
        variance += sd[0] ** 2
        used.append(f"{length:.0f} mm of femur")
    if "ankle_center" in points:
        lower = unit(points["ankle_center"] - points["tibial_knee_center"])
    else:
        length = seen_mm(tibia.bone, -tibia.shaft[1])
        if length < LEAST_SEEN_MM:
            return _too_short("tibia", length)
        lower = -shin_axis(tibia.shaft, points["tibial_knee_center"], length)
        offset[1], sd[1] = tibia_offset_deg(length), bone_sd_deg(length)
        variance += sd[1] ** 2
        used.append(f"{length:.0f} mm of tibia")
    line = points["posterior_medial_condyle"] - points["posterior_lateral_condyle"]
    medial = unit(line - (line @ upper) * upper)
    condyles = points["distal_medial_condyle"] - points["distal_lateral_condyle"]
    plateau = unit(points["medial_plateau"] - points["lateral_plateau"])
    mldfa = 90.0 + math.degrees(math.atan2(condyles @ upper, condyles @ medial)) + offset[0]
    mpta = math.degrees(math.acos(float(lower @ plateau))) - offset[1]
    if "hip_center" not in points and abs(mldfa - MLDFA_DEG[0]) > MOST_OFF_DEG:
        return (
            f"the femur's short shaft would make mLDFA {mldfa:.0f}° (limit {MLDFA_DEG[0]:.0f}° ± "
            f"{MOST_OFF_DEG:g}°): too little of it is seen, a longer view is needed"
        )
    alone = math.degrees(math.atan2(lower @ medial, -(lower @ upper))) + sum(offset)
    opened = spreads["jlca_deg"].sd if "jlca_deg" in spreads else JLCA_SD_DEG
    shift, scatter = weighed(
        Evidence(angle_deg=mldfa, sd_deg=sd[0]),
        Evidence(angle_deg=mpta, sd_deg=sd[1]),
        Evidence(angle_deg=alone - mldfa + mpta, sd_deg=opened),
    )
    deviation = alone + shift
    bend = spreads.get("knee_flexion_deg")
    more = frontal_sd_deg(bend.value, deviation) if bend else 0.0
    # hardly surer than the shafts alone: what knees usually have could not narrow this one's limits
    least = math.hypot(LEAST_SHARE * math.sqrt(variance), LANDMARK_SD_DEG)
    spread = math.hypot(max(least, math.hypot(scatter, LANDMARK_SD_DEG)), more)
    alone_sd = math.hypot(math.hypot(math.sqrt(variance), LANDMARK_SD_DEG), more)
    measure = Measure(
        value=180.0 - deviation, sd=spread,
        method=f"predicted from the knee: {' and '.join(used)} seen, weighed with what knees usually have",
        assumed=("mechanical axis predicted from the shaft",),
    )  # fmt: skip
    angle = Angle(
        measure=measure, plane="frontal plane of the femoral shaft and the posterior condylar line",
        sign=DEFINITIONS["hka_deg"].sign, sd_linear=spread,
        interval=(measure.value - QUANTILE * spread, measure.value + QUANTILE * spread),
    )  # fmt: skip
    return Prediction(hka=angle, alone_deg=alone, alone_sd_deg=alone_sd)
