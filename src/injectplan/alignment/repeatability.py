"""What a new scan of the same bone would change: the part of each scatter that its surface tells.

Beside the raters' scatter, which says how far readers differ about where a landmark is, every angle and
landmark carries `surface_sd`. It grows with the fine roughness of its bones, and with what a whole
bone's shaft deviates from a smooth tube; the shares are measured, one for each angle and landmark (decision
0060).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from injectplan.alignment.values import Landmark

FLOOR_MM = 0.05  # a smoothed or thinned surface shows less roughness than it has errors


@dataclass(frozen=True, slots=True, kw_only=True)
class Roughness:
    """A bone's fine roughness over patches of 7 mm, and its shaft's, mm (0 where no shaft is in view)."""

    fine_mm: float
    shaft_mm: float = 0.0


# Degrees (mm for MAD) for each mm of fine roughness and of the shaft's. From two CT legs and two synthetic:
# label maps of 0.7 x 0.7 x 1.5 and 1 x 1 x 3 mm in any orientation, three smoothings, two decimations; the
# second figure from correlated noise of 0.5 and 1 mm.
ANGLES: Mapping[str, tuple[float, float]] = {
    "hka_deg": (0.46, 0.2), "hka_3d_deg": (0.33, 0.4), "mad_mm": (1.7, 1.3), "mldfa_deg": (1.4, 1.0),
    "mpta_deg": (0.94, 2.5), "jlca_deg": (1.8, 3.4), "afta_deg": (0.17, 0.4), "nsa_deg": (0.29, 1.9),
    "nsa_projected_deg": (0.29, 3.5), "femoral_version_deg.mechanical": (0.45, 6.0),
    "femoral_version_deg.bergmann": (1.2, 4.6), "femoral_version_deg.murphy": (0.59, 3.3),
    "knee_flexion_deg": (0.35, 0.5), "tibial_torsion_deg.pilon": (1.3, 4.2), "mldta_deg": (6.8, 4.4),
    "talar_tilt_deg": (3.9, 10.0), "grood_suntay_deg.flexion": (0.35, 0.5),
    "grood_suntay_deg.adduction": (0.45, 0.2), "grood_suntay_deg.external_rotation": (2.0, 2.4),
    "lcea_deg": (2.9, 0.0), "acetabular_inclination_deg": (2.8, 0.0), "acetabular_version_deg": (2.3, 0.0),
    "acetabular_murray_deg.radiographic_version": (1.6, 0.0),
    "acetabular_murray_deg.anatomical_inclination": (2.7, 0.0),
    "acetabular_murray_deg.operative_inclination": (2.6, 0.0),
    "acetabular_murray_deg.operative_version": (2.4, 0.0), "alpha_deg": (7.4, 31.0),
    "tibial_torsion_deg.bimalleolar": (2.4, 4.1), "tibial_torsion_deg.plateau_bimalleolar": (2.3, 3.0),
}  # fmt: skip
# The same for landmarks, mm in space over the root of 3.
LANDMARKS: Mapping[str, tuple[float, float]] = {
    "hip_center": (0.13, 0.6), "femoral_knee_center": (1.1, 3.1), "distal_condyle": (8.8, 3.0),
    "posterior_condyle": (2.9, 3.9), "epicondyle": (9.0, 1.7), "intercondylar_notch": (6.0, 2.1),
    "femoral_shaft": (0.38, 0.5), "femoral_neck_center": (0.79, 1.4), "femoral_neck_base": (0.55, 1.9),
    "upper_femoral_shaft": (0.6, 1.8), "head_neck_departure": (1.7, 7.6), "tibial_knee_center": (0.47, 0.5),
    "plateau": (0.83, 1.0), "posterior_plateau": (19.0, 0.0), "tibial_shaft": (0.51, 0.5),
    "ankle_center": (2.1, 1.3), "plafond": (2.2, 1.2), "malleolus": (1.8, 1.7), "pilon": (0.93, 1.1),
    "talar_dome": (1.4, 0.0), "acetabular_center": (0.47, 0.0), "acetabular_opening_point": (0.56, 0.0),
    "anterior_superior_iliac_spine": (3.9, 0.0), "pubic_tubercle_midpoint": (3.4, 0.0),
    "acetabular_edge": (1.1, 0.0),
}  # fmt: skip

_FEMUR, _TIBIA, _PELVIS = ("femur",), ("tibia",), ("hip_bone", "opposite_hip_bone")


def bones_of_angle(name: str) -> tuple[str, ...]:
    """Return the bones whose surfaces an angle rests on."""
    if name.startswith(("mldfa", "nsa", "femoral_version", "alpha")):
        return _FEMUR
    if name.startswith(("mpta", "mldta", "tibial_torsion")):
        return _TIBIA
    if name.startswith(("lcea", "acetabular")):
        return _PELVIS
    return ("tibia", "talus") if name.startswith("talar_tilt") else ("femur", "tibia")


def _bones_of_landmark(name: str) -> tuple[str, ...]:
    if any(part in name for part in ("condyle", "femoral", "hip_center", "notch", "head_neck")):
        return _FEMUR
    if name in ("lateral_malleolus", "pilon_lateral"):
        return ("fibula",)
    if any(part in name for part in ("iliac_spine", "acetabular", "pubic")):
        return _PELVIS
    return ("talus",) if "dome" in name else _FEMUR if "epicondyle" in name else _TIBIA


def _sd(shares: tuple[float, float], bones: tuple[str, ...], surfaces: Mapping[str, Roughness]) -> float:
    found = [surfaces[bone] for bone in bones if bone in surfaces and math.isfinite(surfaces[bone].fine_mm)]
    if not found:
        return math.nan
    fine = sum(r.fine_mm**2 + FLOOR_MM**2 for r in found) / len(found)
    shaft = sum(r.shaft_mm**2 for r in found) / len(found)
    return math.sqrt(shares[0] ** 2 * fine + shares[1] ** 2 * shaft)


def angle_surface_sd(name: str, surfaces: Mapping[str, Roughness]) -> float:
    """Return the repeatability of an angle, degrees (mm for MAD); NaN where no surface tells it.

    surfaces : structure name → its roughness.
    """
    return _sd(ANGLES[name], bones_of_angle(name), surfaces)


def landmark_surface_sd(name: str, landmark: Landmark, surfaces: Mapping[str, Roughness]) -> float:
    """Return the repeatability of a landmark's position, mm per axis; NaN for a direction."""
    if landmark.position_mm is None:
        return math.nan
    kind = name.replace("opposite_", "")
    for word in ("medial", "lateral", "proximal", "distal"):
        if word != "distal" or not kind.startswith("distal"):
            kind = kind.replace(f"{word}_", "").replace(f"_{word}", "")
    return _sd(LANDMARKS[kind], _bones_of_landmark(name), surfaces)
