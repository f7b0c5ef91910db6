"""What a knee-only scan says of the whole leg: the mechanical axes predicted from the shafts seen.

A shaft's axis differs from the mechanical one by an angle that depends on how much of the shaft is seen; the
scatter about its mean grows as the piece gets shorter.
"""

from __future__ import annotations

import numpy as np

# Mean angle in the frontal plane between the mechanical axis and the axis of the shaft seen, against the
# length seen from the joint line; positive where the shaft's axis makes the leg look more valgus.
# Together 5.5° with whole shafts (aTFA 4.8° valgus, mTFA 0.7° varus, n = 87, Jamali 2017) and 3.7 to 5.0°
# with short ones (Sheehy 2011); the course between was measured on two real legs, hence `assumed`.
LENGTH_MM = (60.0, 70.0, 90.0, 120.0, 150.0, 300.0, 440.0)
FEMUR_OFFSET_DEG = (2.5, 3.4, 4.2, 4.0, 3.9, 5.0, 5.4)
TIBIA_OFFSET_DEG = (1.7, 0.6, -0.6, -0.8, -0.8, 0.0, 0.1)

# Scatter of a prediction from both shafts: 95 % half-widths of 3.5° at 120 mm and 5.5° at 70 mm on 14 legs.
SD_AT_120_DEG = 1.9
SD_POWER = 0.84
SD_FLOOR_DEG = 0.7  # of the anatomical-mechanical angle with the whole shaft (5.4 ± 0.7, Jamali 2017)


def femur_offset_deg(length_mm: float) -> float:
    """Mean frontal angle of the femur's mechanical axis against its shaft axis, this length seen."""
    return float(np.interp(length_mm, LENGTH_MM, FEMUR_OFFSET_DEG))


def tibia_offset_deg(length_mm: float) -> float:
    """Mean frontal angle of the tibia's mechanical axis against its shaft axis, this length seen."""
    return float(np.interp(length_mm, LENGTH_MM, TIBIA_OFFSET_DEG))


def bone_sd_deg(length_mm: float) -> float:
    """Scatter of one bone's mechanical axis about its prediction."""
    return max(SD_AT_120_DEG / np.sqrt(2.0) * (120.0 / length_mm) ** SD_POWER, SD_FLOOR_DEG)
