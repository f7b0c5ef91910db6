"""What a knee-only scan says of the whole leg: the mechanical axes predicted from the shafts seen.

A shaft's axis differs from the mechanical one by an angle that depends on how much of the shaft is seen; the
scatter about its mean grows as the piece gets shorter.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np

from injectplan.alignment.bones import Bone, seen_until
from injectplan.frames import unit
from injectplan.kernels.cast import Floats

# Mean angle in the frontal plane between the mechanical axis and the axis of the shaft seen, against the
# length seen from the joint line; positive where the shaft's axis makes the leg look more valgus.
# Together 5.5° with whole shafts (aTFA 4.8° valgus, mTFA 0.7° varus, n = 87, Jamali 2017), 5.2° with 100 mm
# (5.0 to 7.0° in varus, 3.7 to 5.0° in valgus knees, Sheehy 2011). The course towards shorter shafts is
# `assumed`: the mean of three subjects (five femora, five tibiae: CT, atlas, model), who differ there by
# up to 6°, shrunk half way to the published sum.
LENGTH_MM = (60.0, 70.0, 80.0, 90.0, 105.0, 120.0, 150.0, 300.0, 440.0)
FEMUR_OFFSET_DEG = (3.4, 3.9, 4.2, 4.4, 4.6, 4.7, 4.8, 5.2, 5.4)
TIBIA_OFFSET_DEG = (2.8, 2.5, 2.1, 1.7, 1.1, 0.5, 0.4, 0.1, 0.1)

# How far the line through a short shaft leans forward against the mechanical axis, seen from the side: the
# femur's flare grows backwards, the tibia's forwards. `assumed`: the mean of two subjects (CT, atlas; four
# legs), 3° apart at 60 mm.
LEAN_MM = (60.0, 70.0, 80.0, 90.0, 105.0, 120.0, 150.0)
FEMUR_LEAN_DEG = (11.5, 9.8, 8.0, 5.6, 2.7, 0.7, -0.5)
TIBIA_LEAN_DEG = (-7.4, -4.4, -1.4, 0.3, 0.7, 0.7, 0.7)
LEAN_SD_DEG = 4.0

# Scatter of both bones' axes about their prediction from the shafts alone, 2.0° with 120 mm and 3.2° with
# 70 mm: `assumed`, from cuts of four legs. A weighed prediction states nine tenths of it at least: 95 %
# half-widths of 3.6° and 5.5°, where 14 legs elsewhere showed that 3.5° and 5.5° are the least.
SD_AT_120_DEG = 1.97
SD_POWER = 0.885
LEAST_SHARE = 0.9
# How much of a tibia's line from the knee's centre counts beside its shaft's line, against the length seen:
# a bend of the metaphysis turns the shaft's line too far while it runs through the flare (80 to 120 mm), the
# knee's line too little. Zero of both errors, bent by ±15°: 0.7 at 95 mm, none at 66 mm (four legs).
SHARE_MM, SHARE = (66.0, 95.0, 105.0, 130.0), (0.0, 0.6, 0.5, 0.0)
SD_FLOOR_DEG = 0.7  # of the anatomical-mechanical angle with the whole shaft (5.4 ± 0.7, Jamali 2017)
LANDMARK_SD_DEG = 0.6  # of HKA by the landmarks alone, whole leg in view

# What is known of a knee before its shafts are seen. mLDFA: the middle of 85.6 ± 2.3 (Jamali 2017) and
# 87.5 ± 2.5 (Paley); MPTA: 86.1 ± 2.8 (Jamali). They go together, as their difference scatters by 2.54° only
# (arithmetic HKA, n = 500, MacDessi): 2.54² = 2.3² + 2.8² − 2 r 2.3 2.8 gives r = 0.52. JLCA: 0 to 2 (Paley),
# its spread `assumed`.
MLDFA_DEG, MPTA_DEG, JLCA_DEG = (86.6, 2.3), (86.1, 2.8), (1.0, 1.5)
TOGETHER = 0.52
# Deformed femora, deformed tibiae and lax knees among those who are measured, `assumed`; by 10° either way.
DEFORMED_SHARE = (0.03, 0.15, 0.03)
DEFORMED_SD_DEG = 10.0
LEAST_SEEN_MM = 50.0  # of a shaft, from the joint line: cuts to 60 mm were tried, a femur bent by 12 degrees
# over 5 to 55 mm above its knee's centre and cut there looks like a straight one
MOST_OFF_DEG = 20.0  # a shaft that stands further from its usual angle to the condyles is none (assumed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """An angle as the piece shows it, degrees, and its scatter: of a bone's axis, of JLCA's two lines."""

    angle_deg: float
    sd_deg: float


def weighed(femur: Evidence, tibia: Evidence, opening: Evidence) -> tuple[float, float]:
    """Return what the population adds: the change of the HKA deviation, and its scatter, degrees.

    femur, tibia : mLDFA and MPTA as the shafts tell them, with the scatter of the shafts' axes.
    opening : JLCA, with the scatter of the two joint lines, which enter the other two angles as well, half of
    its variance each.
    Deviation = mLDFA − MPTA + JLCA. Bayes' rule with a mixture of eight normal laws (each bone usual or
    deformed, the knee firm or lax): a deformed bone is believed where the shaft says so, a usual one is drawn
    towards what knees have.
    """
    line = 0.5 * opening.sd_deg**2
    known = (MLDFA_DEG, MPTA_DEG, JLCA_DEG)
    seen = np.array([femur.angle_deg, tibia.angle_deg, opening.angle_deg]) - [mean for mean, _ in known]
    noise = np.array(
        [[femur.sd_deg**2 + line, 0.0, -line], [0.0, tibia.sd_deg**2 + line, line], [-line, line, 2.0 * line]]
    )
    deviation = np.array([1.0, -1.0, 1.0])
    weights, means, variances = [], [], []
    for deformed in product((False, True), repeat=3):
        prior = np.diag(
            [(DEFORMED_SD_DEG if d else sd) ** 2 for d, (_, sd) in zip(deformed, known, strict=True)]
        )
        if not (deformed[0] or deformed[1]):
            prior[0, 1] = prior[1, 0] = TOGETHER * MLDFA_DEG[1] * MPTA_DEG[1]
        gain = prior @ np.linalg.inv(prior + noise)
        common = np.prod([q if d else 1.0 - q for d, q in zip(deformed, DEFORMED_SHARE, strict=True)])
        fits = np.exp(-0.5 * seen @ np.linalg.solve(prior + noise, seen))
        weights.append(float(common * fits / np.sqrt(np.linalg.det(prior + noise))))
        means.append(float(deviation @ gain @ seen))
        variances.append(float(deviation @ (prior - gain @ prior) @ deviation))
    share = np.array(weights) / sum(weights)
    mean = float(share @ means)
    scatter = float(share @ (np.array(variances) + np.square(means))) - mean**2
    return mean - float(deviation @ seen), float(np.sqrt(scatter))


def seen_mm(bone: Bone, away: Floats) -> float:
    """Length of whole bone from the joint's end along `away` (3,), up to where an oblique cut begins."""
    return seen_until(bone, away) - float((bone.points @ away).min())


def femur_offset_deg(length_mm: float) -> float:
    """Mean frontal angle of the femur's mechanical axis against its shaft axis, this length seen."""
    return float(np.interp(length_mm, LENGTH_MM, FEMUR_OFFSET_DEG))


def tibia_offset_deg(length_mm: float) -> float:
    """Mean frontal angle of the tibia's mechanical axis against its shaft axis, this length seen."""
    return float(np.interp(length_mm, LENGTH_MM, TIBIA_OFFSET_DEG))


def lean_deg(femur_mm: float, tibia_mm: float) -> float:
    """Return how much less bent than it is a knee looks by its shafts, these lengths seen."""
    femur = float(np.interp(femur_mm, LEAN_MM, FEMUR_LEAN_DEG))
    return femur - float(np.interp(tibia_mm, LEAN_MM, TIBIA_LEAN_DEG))


def shin_axis(shaft: tuple[Floats, Floats], knee_center: Floats, length_mm: float) -> Floats:
    """Proximal direction (3,) of a tibia seen over this length, from its shaft's line and its knee centre.

    Where little is seen the line runs through the flare: there a bend of the metaphysis turns the line too
    far and the line from the knee's centre too little, so that both are used.
    """
    point, direction = shaft
    share = float(np.interp(length_mm, SHARE_MM, SHARE))
    return unit((1.0 - share) * direction + share * unit(knee_center - point))


def bone_sd_deg(length_mm: float) -> float:
    """Scatter of one bone's mechanical axis about its prediction."""
    return max(SD_AT_120_DEG / np.sqrt(2.0) * (120.0 / length_mm) ** SD_POWER, SD_FLOOR_DEG)
