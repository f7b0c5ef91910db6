"""What a knee-only scan says of the whole leg: the mechanical axes predicted from the shafts seen.

A shaft's axis differs from the mechanical one by an angle that depends on how much of the shaft is seen; the
scatter about its mean grows as the piece gets shorter.
"""

from __future__ import annotations

import numpy as np

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

# Scatter of a prediction from both shafts: 95 % half-widths of 4.0° at 120 mm and 5.7° at 70 mm, so that 90
# to 99 % of cut legs lie within (measured 92 % of 145 cuts of four legs; 3.5° and 5.5° on 14 legs elsewhere).
SD_AT_120_DEG = 2.1
SD_POWER = 0.84
SHORT_SHARE = 0.5
SD_FLOOR_DEG = 0.7  # of the anatomical-mechanical angle with the whole shaft (5.4 ± 0.7, Jamali 2017)


def femur_offset_deg(length_mm: float) -> float:
    """Mean frontal angle of the femur's mechanical axis against its shaft axis, this length seen."""
    return float(np.interp(length_mm, LENGTH_MM, FEMUR_OFFSET_DEG))


def tibia_offset_deg(length_mm: float) -> float:
    """Mean frontal angle of the tibia's mechanical axis against its shaft axis, this length seen."""
    return float(np.interp(length_mm, LENGTH_MM, TIBIA_OFFSET_DEG))


def shin_axis(shaft: tuple[Floats, Floats], knee_center: Floats, length_mm: float) -> Floats:
    """Proximal direction (3,) of a tibia seen over this length, from its shaft's line and its knee centre.

    Where little is seen the line runs through the flare: there a bend of the metaphysis turns the line too
    far and the line from the knee's centre too little, so that their mean is used.
    """
    point, direction = shaft
    share = SHORT_SHARE * float(np.clip((130.0 - length_mm) / 30.0, 0.0, 1.0))
    return unit((1.0 - share) * direction + share * unit(knee_center - point))


def bone_sd_deg(length_mm: float) -> float:
    """Scatter of one bone's mechanical axis about its prediction."""
    return max(SD_AT_120_DEG / np.sqrt(2.0) * (120.0 / length_mm) ** SD_POWER, SD_FLOOR_DEG)
