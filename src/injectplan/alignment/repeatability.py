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
# Of a shaft's roughness, what is its shape (tibiae from CT: up to 0.25 mm beyond a femur's) and what are the
# steps that the fine roughness counts already.
SHAPE_MM, STEPS = 0.25, 1.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Roughness:
    """A bone's fine roughness over patches of 7 mm, and its shaft's, mm (0 where no shaft is in view)."""

    fine_mm: float
    shaft_mm: float = 0.0

    @property
    def waves_mm(self) -> float:
        """What the shaft deviates by beyond its shape and its steps: errors of some millimetres' length."""
        fine = self.fine_mm if math.isfinite(self.fine_mm) else 0.0
        return math.sqrt(max(self.shaft_mm**2 - SHAPE_MM**2 - (STEPS * fine) ** 2, 0.0))


# Degrees (mm for MAD) for each mm of fine roughness and of the shaft's. From two CT legs and two synthetic:
# label maps of 0.7 x 0.7 x 1.5 and 1 x 1 x 3 mm in any orientation, three smoothings, two decimations; the
# second figure from correlated noise of 0.5 and 1 mm.
ANGLES: Mapping[str, tuple[float, float]] = {
    "hka_deg": (0.39, 0.3), "hka_3d_deg": (0.32, 0.5), "mad_mm": (1.5, 1.7), "mldfa_deg": (1.1, 1.2),
    "mpta_deg": (0.8, 3.4), "jlca_deg": (1.4, 3.8), "afta_deg": (0.15, 0.4), "nsa_deg": (0.32, 2.3),
    "nsa_projected_deg": (0.33, 4.9), "femoral_version_deg.mechanical": (0.43, 6.8),
    "femoral_version_deg.bergmann": (3.3, 5.9), "femoral_version_deg.murphy": (0.51, 2.5),
    "knee_flexion_deg": (0.31, 0.5), "tibial_torsion_deg.pilon": (1.1, 5.0), "mldta_deg": (5.8, 5.3),
    "talar_tilt_deg": (3.5, 24.0), "grood_suntay_deg.flexion": (0.31, 0.5),
    "grood_suntay_deg.adduction": (0.38, 0.3), "grood_suntay_deg.external_rotation": (1.9, 2.7),
    "lcea_deg": (2.8, 0.0), "acetabular_inclination_deg": (2.7, 0.0), "acetabular_version_deg": (2.7, 0.0),
    "acetabular_murray_deg.radiographic_version": (2.0, 0.0),
    "acetabular_murray_deg.anatomical_inclination": (2.6, 0.0),
    "acetabular_murray_deg.operative_inclination": (2.5, 0.0),
    "acetabular_murray_deg.operative_version": (2.8, 0.0), "alpha_deg": (8.1, 78.0),
    "tibial_torsion_deg.bimalleolar": (2.0, 6.1), "tibial_torsion_deg.plateau_bimalleolar": (2.0, 4.0),
}  # fmt: skip
# The same for landmarks, mm in space over the root of 3.
LANDMARKS: Mapping[str, tuple[float, float]] = {
    "hip_center": (0.14, 0.7), "femoral_knee_center": (0.95, 3.0), "distal_condyle": (8.4, 3.5),
    "posterior_condyle": (3.0, 3.5), "epicondyle": (9.2, 1.5), "intercondylar_notch": (19.0, 0.0),
    "femoral_shaft": (0.35, 0.6), "femoral_neck_center": (0.85, 1.9), "femoral_neck_base": (0.54, 1.4),
    "upper_femoral_shaft": (0.56, 1.5), "head_neck_departure": (1.9, 19.0),
    "tibial_knee_center": (0.53, 0.7), "plateau": (0.85, 1.5), "posterior_plateau": (19.0, 0.0),
    "tibial_shaft": (0.52, 0.6), "ankle_center": (1.8, 1.8), "plafond": (1.9, 1.4), "malleolus": (1.8, 1.9),
    "pilon": (0.84, 1.5), "talar_dome": (1.1, 0.0), "acetabular_center": (0.47, 0.0),
    "acetabular_opening_point": (0.6, 0.0), "anterior_superior_iliac_spine": (4.0, 0.0),
    "pubic_tubercle_midpoint": (3.7, 0.0), "acetabular_edge": (1.6, 0.0),
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
    shaft = sum(r.waves_mm**2 for r in found) / len(found)
    return math.sqrt(shares[0] ** 2 * fine + shares[1] ** 2 * shaft)


def angle_surface_sd(name: str, surfaces: Mapping[str, Roughness]) -> tuple[float, float]:
    """Return the repeatability of an angle by fine roughness alone and in all, degrees (mm for MAD).

    surfaces : structure name → its roughness.  NaN where no surface tells it.
    """
    fine, shaft = ANGLES[name]
    bones = bones_of_angle(name)
    return _sd((fine, 0.0), bones, surfaces), _sd((fine, shaft), bones, surfaces)


def landmark_surface_sd(name: str, landmark: Landmark, surfaces: Mapping[str, Roughness]) -> float:
    """Return the repeatability of a landmark's position, mm per axis; NaN for a direction."""
    if landmark.position_mm is None:
        return math.nan
    kind = name.replace("opposite_", "")
    for word in ("medial", "lateral", "proximal", "distal"):
        if word != "distal" or not kind.startswith("distal"):
            kind = kind.replace(f"{word}_", "").replace(f"_{word}", "")
    return _sd(LANDMARKS[kind], _bones_of_landmark(name), surfaces)
