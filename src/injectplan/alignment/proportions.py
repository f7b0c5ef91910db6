"""What given landmarks say of their bones' sizes: lengths, widths, what lies at which joint, and units."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from injectplan.alignment.values import Angle
from injectplan.errors import ContradictionError, UnitsError
from injectplan.frames import unit
from injectplan.kernels.cast import Floats
from injectplan.measure import Notice

Points = Mapping[str, Floats]

# Adult femora measure 350 to 520 mm from head to knee, tibiae 290 to 440 mm to the ankle; a school child's
# and a very tall man's lie within (assumed).
LENGTH_MM = (250.0, 650.0)
BONES = (
    ("femur", "hip_center", "femoral_knee_center"), ("tibia", "tibial_knee_center", "ankle_center"),
)  # fmt: skip
# Of a line between two landmarks across a knee: condyles' and plateaus' middles lie 35 to 60 mm apart,
# epicondyles 65 to 100 mm (assumed).
WIDTH_MM = (15.0, 140.0)
WIDTHS = (
    ("distal_medial_condyle", "distal_lateral_condyle"),
    ("posterior_medial_condyle", "posterior_lateral_condyle"),
    ("medial_epicondyle", "lateral_epicondyle"),
    ("medial_plateau", "lateral_plateau"),
    ("posterior_medial_plateau", "posterior_lateral_plateau"),
)
# A unit, and the millimetres in it, for which lengths may have been written.
UNITS = (("centimetres", 10.0), ("inches", 25.4), ("metres", 1000.0), ("tenths of a millimetre", 0.1))
# What lies at one joint, and how far from its centre it may (assumed: the widest knee is 110 mm wide, and a
# lesser trochanter, under which the upper shaft is taken, lies 70 to 150 mm from the head).
AT_JOINT = {
    "femoral_knee_center": (100.0, (*(n for pair in WIDTHS[:3] for n in pair), "intercondylar_notch")),
    "tibial_knee_center": (100.0, tuple(n for pair in WIDTHS[3:] for n in pair)),
    "hip_center": (100.0, ("femoral_neck_center", "femoral_neck_base", "head_neck_departure",
                           "lateral_acetabular_edge", "acetabular_center", "acetabular_opening_point")),
    "ankle_center": (100.0, ("plafond_medial", "plafond_lateral", "talar_dome_medial", "talar_dome_lateral",
                             "pilon_medial", "pilon_lateral", "medial_malleolus", "lateral_malleolus")),
}  # fmt: skip
# Ends of one line, without which it has no direction.
LEAST_APART_MM = 1.0  # assumed
MUST_DIFFER = (
    ("femoral_neck_center", "hip_center"), ("femoral_neck_base", "hip_center"),
    ("head_neck_departure", "hip_center"), ("lateral_acetabular_edge", "hip_center"),
    ("upper_femoral_shaft_proximal", "upper_femoral_shaft_distal"),
    ("femoral_shaft_proximal", "femoral_shaft_distal"), ("tibial_shaft_proximal", "tibial_shaft_distal"),
    ("talar_dome_medial", "talar_dome_lateral"), ("pilon_medial", "pilon_lateral"),
    ("acetabular_opening_point", "acetabular_center"),
    ("anterior_superior_iliac_spine", "opposite_anterior_superior_iliac_spine"),
    ("anterior_superior_iliac_spine", "pubic_tubercle_midpoint"),
)  # fmt: skip
# The knee's two centres. By their definitions here (roof of the notch, middle of the spines) they lie
# 15 to 25 mm apart along the leg and a few across it; a knee bent by 45° moves 18 of these across.
MOST_ACROSS_MM, WARN_ACROSS_MM = 30.0, 20.0  # assumed
MOST_OVERLAP_MM = 10.0  # by which the femur's centre may lie beyond the tibia's (assumed)
WARN_JLCA_DEG = 10.0  # usual: 0 to 2 (Paley 2002); arthritis and torn ligaments open a knee so far (assumed)
# Joint lines beyond which a deformity is rarer than a misplaced landmark: 15° off Paley's 87 (assumed).
WARN_LINE_DEG = (72.0, 102.0)


def _apart(points: Points, one: str, other: str) -> float:
    both = one in points and other in points
    return float(np.linalg.norm(points[one] - points[other])) if both else math.nan


def _sizes(points: Points) -> list[tuple[str, float, tuple[float, float]]]:
    """The lengths and widths that the points tell: what is said of each, mm, and the bounds of a leg's."""
    sizes = [(bone, _apart(points, one, two), LENGTH_MM) for bone, one, two in BONES]
    sizes += [(f"{one} and {two}", _apart(points, one, two), WIDTH_MM) for one, two in WIDTHS]
    result = []
    for what, size, (least, most) in sizes:
        if not math.isfinite(size):
            continue
        shown = f"{size:.3g}" if size < 1.0 else f"{size:.0f}"
        said = f"{what} lie {shown} mm apart" if " and " in what else f"the {what} is {shown} mm long"
        result.append((f"{said} (a leg's: {least:g} to {most:g} mm)", size, (least, most)))
    return result


def refuse_units(points: Points) -> None:
    """Raise UnitsError where the points (name → (3,) mm) have no leg's sizes, and in another unit have."""
    sizes = _sizes(points)
    wrong = [what for what, size, (least, most) in sizes if not least <= size <= most]
    for name, factor in UNITS if wrong else ():
        if all(least <= factor * size <= most for _, size, (least, most) in sizes):
            raise UnitsError(f"{wrong[0]}: the landmarks seem to be in {name}; give millimetres")


def refuse_disproportion(points: Points) -> None:
    """Raise where points (name → (3,) mm) have the sizes of no leg.

    ContradictionError for two ends of a line at one place, for a bone too short or too long, for a landmark
    far from its joint, and for a knee whose centres do not face each other.
    """
    for one, other in MUST_DIFFER:
        if _apart(points, one, other) < LEAST_APART_MM:
            raise ContradictionError(f"{one} and {other} lie at the same place; check the landmarks")
    wrong = [what for what, size, (least, most) in _sizes(points) if not least <= size <= most]
    if wrong:
        raise ContradictionError(f"{wrong[0]}; check the landmarks")
    for center, (most, names) in AT_JOINT.items():
        for name in names:
            if _apart(points, center, name) > most:
                raise ContradictionError(
                    f"{name} lies {_apart(points, center, name):.0f} mm from {center} (limit {most:g} mm); "
                    "check these landmarks"
                )
    across, along = knee_gap(points)
    if across > MOST_ACROSS_MM:
        raise ContradictionError(
            f"the knee's centres of femur and tibia lie {across:.0f} mm apart across the leg (limit "
            f"{MOST_ACROSS_MM:g} mm): one of them is misplaced, or the bones lie in two frames"
        )
    if along < -MOST_OVERLAP_MM:
        raise ContradictionError(
            f"femoral_knee_center lies {-along:.0f} mm beyond tibial_knee_center (limit {MOST_OVERLAP_MM:g} "
            "mm), inside the tibia: are the two swapped?"
        )


def knee_gap(points: Points) -> tuple[float, float]:
    """Return how far the tibia's knee centre lies from the femur's, across the leg and distally, mm.

    NaN without both centres and a bone's axis. Distal is half way between the bones' axes, as in a bent knee
    the tibia's centre lies there, or along the one that is told.
    """
    femur, tibia = points.get("femoral_knee_center"), points.get("tibial_knee_center")
    if femur is None or tibia is None:
        return math.nan, math.nan
    axes = [unit(femur - points["hip_center"])] if "hip_center" in points else []
    axes += [unit(points["ankle_center"] - tibia)] if "ankle_center" in points else []
    if not axes or np.linalg.norm(np.sum(axes, axis=0)) < 0.1:  # folded onto itself: no direction is distal
        return math.nan, math.nan
    distal = unit(np.sum(axes, axis=0))
    gap = tibia - femur
    along = float(gap @ distal)
    return float(np.linalg.norm(gap - along * distal)), along


def odd_proportions(points: Points, angles: Mapping[str, Angle]) -> tuple[Notice, ...]:
    """Return warnings of what a leg may show, but a misplaced landmark shows more often."""
    notes = []
    across, _ = knee_gap(points)
    if across > WARN_ACROSS_MM:
        notes.append(
            f"the knee's centres of femur and tibia lie {across:.0f} mm apart across the leg (usual: less "
            f"than {WARN_ACROSS_MM:g} mm): a dislocated knee, a misplaced centre, or a bone out of its place"
        )
    jlca = angles["jlca_deg"].measure.value
    if abs(jlca) > WARN_JLCA_DEG:
        notes.append(
            f"JLCA is {jlca:.0f}° (usual: less than {WARN_JLCA_DEG:g}°): a misplaced landmark, or a bone "
            "out of its place, does that more often than a knee"
        )
    low, high = WARN_LINE_DEG
    for name, short in (("mldfa_deg", "mLDFA"), ("mpta_deg", "MPTA")):
        value = angles[name].measure.value
        if math.isfinite(value) and not low <= value <= high:
            notes.append(f"{short} is {value:.0f}° (usual: {low:g}° to {high:g}°): check its landmarks")
    return tuple(Notice("proportions", note) for note in notes)
