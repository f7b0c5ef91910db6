"""Angles of the leg from landmarks: closed form, one definition each, over any leading batch axes.

A landmark is an array (..., 3). The anatomical directions come from the landmarks' own names (medial,
lateral); only torsion and version need the leg's side, because "anterior" is the handed direction.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from injectplan.kernels.cast import Floats

Points = Mapping[str, Floats]


@dataclass(frozen=True, slots=True)
class Definition:
    """What an angle is: the landmarks it needs, its plane, its construction and its sign."""

    needs: tuple[str, ...]
    plane: str
    method: str
    sign: str
    compute: Callable[[Points, float], Floats]
    unit: str = "deg"


def _dot(a: Floats, b: Floats) -> Floats:
    return np.asarray(np.sum(a * b, axis=-1))


def _unit(a: Floats) -> Floats:
    return np.asarray(a / np.linalg.norm(a, axis=-1, keepdims=True))


def _across(a: Floats, axis: Floats) -> Floats:
    """Part of a perpendicular to a unit axis."""
    return np.asarray(a - _dot(a, axis)[..., None] * axis)


def _between(a: Floats, b: Floats) -> Floats:
    """Angle between directions in degrees, by Kahan's form (accurate near 0 and 180)."""
    a, b = _unit(a), _unit(b)
    return np.asarray(
        np.degrees(2.0 * np.arctan2(np.linalg.norm(a - b, axis=-1), np.linalg.norm(a + b, axis=-1)))
    )


def _atan2(y: Floats, x: Floats) -> Floats:
    return np.asarray(np.degrees(np.arctan2(y, x)))


def _medial(p: Points) -> Floats:
    """Medial direction of the femur: posterior condylar line, else the distal one, else the axis."""
    for name in ("posterior", "distal"):
        if f"{name}_medial_condyle" in p and f"{name}_lateral_condyle" in p:
            return np.asarray(p[f"{name}_medial_condyle"] - p[f"{name}_lateral_condyle"])
    return np.asarray(p["medial_plateau"] - p["lateral_plateau"])


def _femur_axis(p: Points) -> Floats:
    """Unit femoral mechanical axis, pointing proximally."""
    return _unit(p["hip_center"] - p["femoral_knee_center"])


def _tibia_axis(p: Points) -> Floats:
    """Unit tibial mechanical axis, pointing distally."""
    return _unit(p["ankle_center"] - p["tibial_knee_center"])


def _shaft_axis(p: Points, bone: str) -> Floats:
    """Unit anatomical shaft axis, pointing proximally."""
    return _unit(p[f"{bone}_shaft_proximal"] - p[f"{bone}_shaft_distal"])


def _anterior(medial: Floats, proximal: Floats, handed: float) -> Floats:
    """Anterior direction; handed is +1 on a right leg, -1 on a left one."""
    return _unit(handed * np.cross(medial, proximal))


def frontal_frame(p: Points, *, shaft: bool = False) -> tuple[Floats, Floats]:
    """Medial and proximal unit vectors of the femur's frontal plane."""
    proximal = _shaft_axis(p, "femoral") if shaft else _femur_axis(p)
    return _unit(_across(_medial(p), proximal)), proximal


def _deviation(p: Points, *, shaft: bool = False) -> Floats:
    medial, proximal = frontal_frame(p, shaft=shaft)
    distal = -_shaft_axis(p, "tibial") if shaft else _tibia_axis(p)
    return _atan2(_dot(distal, medial), -_dot(distal, proximal))


def _hka(p: Points, handed: float) -> Floats:
    return 180.0 - _deviation(p)


def _hka_3d(p: Points, handed: float) -> Floats:
    return 180.0 - _between(-_femur_axis(p), _tibia_axis(p))


def _mad(p: Points, handed: float) -> Floats:
    medial, proximal = frontal_frame(p)
    to_ankle = p["ankle_center"] - p["hip_center"]
    to_knee = p["femoral_knee_center"] - p["hip_center"]
    am, ap = _dot(to_ankle, medial), _dot(to_ankle, proximal)
    km, kp = _dot(to_knee, medial), _dot(to_knee, proximal)
    return np.asarray((kp * am - km * ap) / np.hypot(am, ap) * np.sign(ap))


def _mldfa(p: Points, handed: float) -> Floats:
    medial, proximal = frontal_frame(p)
    lateral = p["distal_lateral_condyle"] - p["distal_medial_condyle"]
    normal = np.cross(medial, proximal)
    return _between(proximal, _across(lateral, normal))


def _mpta(p: Points, handed: float) -> Floats:
    return _between(_tibia_axis(p), p["medial_plateau"] - p["lateral_plateau"])


def _jlca(p: Points, handed: float) -> Floats:
    whole = "hip_center" in p
    medial, proximal = frontal_frame(p, shaft=not whole)
    femur = p["distal_medial_condyle"] - p["distal_lateral_condyle"]
    tibia = p["medial_plateau"] - p["lateral_plateau"]
    return _atan2(_dot(tibia, proximal), _dot(tibia, medial)) - _atan2(
        _dot(femur, proximal), _dot(femur, medial)
    )


def _afta(p: Points, handed: float) -> Floats:
    return -_deviation(p, shaft=True)


def _neck(p: Points) -> Floats:
    return _unit(p["hip_center"] - p["femoral_neck_center"])


def _upper_shaft(p: Points) -> Floats:
    return _unit(p["upper_femoral_shaft_proximal"] - p["upper_femoral_shaft_distal"])


def _nsa(p: Points, handed: float) -> Floats:
    return _between(_neck(p), -_upper_shaft(p))


def _nsa_projected(p: Points, handed: float) -> Floats:
    medial, proximal = frontal_frame(p)
    normal = np.cross(medial, proximal)
    return _between(_across(_neck(p), normal), -_across(_upper_shaft(p), normal))


def _version_about(p: Points, neck: Floats, axis: Floats, handed: float) -> Floats:
    medial = _unit(_across(p["posterior_medial_condyle"] - p["posterior_lateral_condyle"], axis))
    return _atan2(_dot(neck, _anterior(medial, axis, handed)), _dot(neck, medial))


def _version_mechanical(p: Points, handed: float) -> Floats:
    return _version_about(p, _neck(p), _femur_axis(p), handed)


def neck_shaft_point(p: Points) -> Floats:
    """Return P1, the point of the upper shaft axis nearest to the neck axis."""
    n, s = _neck(p), _upper_shaft(p)
    gap = p["upper_femoral_shaft_distal"] - p["hip_center"]
    b = _dot(n, s)
    along = (b * _dot(gap, n) - _dot(gap, s)) / (1.0 - b * b)
    return np.asarray(p["upper_femoral_shaft_distal"] + along[..., None] * s)


def _version_bergmann(p: Points, handed: float) -> Floats:
    axis = _unit(neck_shaft_point(p) - p["intercondylar_notch"])
    return _version_about(p, _neck(p), axis, handed)


def _version_murphy(p: Points, handed: float) -> Floats:
    axis = _unit(p["femoral_neck_base"] - p["femoral_knee_center"])
    return _version_about(p, _unit(p["hip_center"] - p["femoral_neck_base"]), axis, handed)


def _knee_flexion(p: Points, handed: float) -> Floats:
    shaft = "hip_center" not in p or "ankle_center" not in p
    medial, proximal = frontal_frame(p, shaft=shaft)
    distal = -_shaft_axis(p, "tibial") if shaft else _tibia_axis(p)
    anterior = _anterior(medial, proximal, handed)
    return _atan2(-_dot(distal, anterior), -_dot(distal, proximal))


def _torsion(proximal_line: str, distal_line: tuple[str, str]) -> Callable[[Points, float], Floats]:
    def compute(p: Points, handed: float) -> Floats:
        proximal = -_tibia_axis(p)
        top = p[f"{proximal_line}medial_plateau"] - p[f"{proximal_line}lateral_plateau"]
        medial = _unit(_across(top, proximal))
        bottom = p[distal_line[0]] - p[distal_line[1]]
        return _atan2(_dot(bottom, _anterior(medial, proximal, handed)), _dot(bottom, medial))

    return compute


def _mldta(p: Points, handed: float) -> Floats:
    return _between(-_tibia_axis(p), p["plafond_lateral"] - p["plafond_medial"])


def _talar_tilt(p: Points, handed: float) -> Floats:
    proximal = -_tibia_axis(p)
    plafond = p["plafond_medial"] - p["plafond_lateral"]
    talus = p["talar_dome_medial"] - p["talar_dome_lateral"]
    medial = _unit(_across(plafond, proximal))
    return _atan2(_dot(talus, proximal), _dot(talus, medial)) - _atan2(
        _dot(plafond, proximal), _dot(plafond, medial)
    )


def _grood_suntay(which: int) -> Callable[[Points, float], Floats]:
    def compute(p: Points, handed: float) -> Floats:
        # Femur: flexion axis e1 = lateral-medial; tibia: long axis e3; e2 = e3 x e1 floats between them.
        medial, proximal = frontal_frame(p)
        anterior = _anterior(medial, proximal, handed)
        long_axis = -_tibia_axis(p)
        top = p["medial_plateau"] - p["lateral_plateau"]
        t_medial = _unit(_across(top, long_axis))
        t_anterior = _anterior(t_medial, long_axis, handed)
        floating = _anterior(medial, _unit(_across(long_axis, medial)), handed)
        if which == 0:
            return _atan2(-_dot(floating, proximal), _dot(floating, anterior))
        if which == 1:
            return _between(medial, long_axis) - 90.0
        return _atan2(_dot(floating, t_medial), _dot(floating, t_anterior))

    return compute


def _pelvic_frame(p: Points) -> tuple[Floats, Floats, Floats]:
    """Lateral, anterior and superior unit vectors of the anterior pelvic plane."""
    lateral = _unit(p["anterior_superior_iliac_spine"] - p["opposite_anterior_superior_iliac_spine"])
    middle = 0.5 * (p["anterior_superior_iliac_spine"] + p["opposite_anterior_superior_iliac_spine"])
    superior = _unit(_across(middle - p["pubic_tubercle_midpoint"], lateral))
    inward = p["hip_center"] - middle
    anterior = np.cross(lateral, superior)
    anterior = -anterior * np.sign(_dot(anterior, inward))[..., None]
    return lateral, anterior, superior


def _lcea(p: Points, handed: float) -> Floats:
    lateral, _, superior = _pelvic_frame(p)
    edge = p["lateral_acetabular_edge"] - p["hip_center"]
    return _atan2(_dot(edge, lateral), _dot(edge, superior))


def _opening(p: Points) -> tuple[Floats, Floats, Floats]:
    lateral, anterior, superior = _pelvic_frame(p)
    normal = _unit(p["acetabular_opening_point"] - p["acetabular_center"])
    return _dot(normal, lateral), _dot(normal, anterior), _dot(normal, superior)


def _murray(which: str) -> Callable[[Points, float], Floats]:
    """One of the six angles of Murray (1993) between the rim plane's normal and the pelvis."""

    def compute(p: Points, handed: float) -> Floats:
        x, y, z = _opening(p)
        match which:
            case "radiographic_inclination":  # projected on the frontal plane, from the body's long axis
                return _atan2(x, -z)
            case "radiographic_version":  # out of the frontal plane
                return _atan2(y, np.hypot(x, z))
            case "anatomical_inclination":  # in space, from the body's long axis
                return _atan2(np.hypot(x, y), -z)
            case "anatomical_version":  # in the transverse plane
                return _atan2(y, x)
            case "operative_inclination":  # out of the sagittal plane
                return _atan2(x, np.hypot(y, z))
            case _:  # operative version: projected on the sagittal plane, from the body's long axis
                return _atan2(y, -z)

    return compute


def _alpha(p: Points, handed: float) -> Floats:
    return _between(-_neck(p), p["head_neck_departure"] - p["hip_center"])


_MECHANICAL_FEMUR = ("hip_center", "femoral_knee_center", "distal_medial_condyle", "distal_lateral_condyle")
_MECHANICAL_TIBIA = ("tibial_knee_center", "ankle_center", "medial_plateau", "lateral_plateau")
_CONDYLES = ("posterior_medial_condyle", "posterior_lateral_condyle")
_AXES = ("hip_center", "femoral_knee_center", "tibial_knee_center", "ankle_center")
_FEMUR_FRONTAL = "frontal plane of the femur: its mechanical axis and the projected posterior condylar line"
_NECK = ("hip_center", "femoral_neck_center", "femoral_knee_center")
_UPPER = ("upper_femoral_shaft_proximal", "upper_femoral_shaft_distal")
_PELVIS = (
    "hip_center", "anterior_superior_iliac_spine", "opposite_anterior_superior_iliac_spine",
    "pubic_tubercle_midpoint",
)  # fmt: skip
_SOCKET = (*_PELVIS, "acetabular_center", "acetabular_opening_point")
_ANKLE_FRONTAL = (
    "frontal plane of the ankle: tibial mechanical axis and the direction of the medial malleolus"
)
_TORSION_PLANE = "perpendicular to the tibial mechanical axis"
_EXTERNAL = "external torsion positive"
_ANTEVERSION = "anteversion positive"
_APP = "anterior pelvic plane: both anterior superior iliac spines and the pubic tubercles"

DEFINITIONS: Mapping[str, Definition] = {
    "hka_deg": Definition(
        _AXES, _FEMUR_FRONTAL, "hip centre to knee centre against knee centre to ankle centre",
        "180 is straight, less is varus", _hka),
    "hka_3d_deg": Definition(
        _AXES, "in space", "angle between the two mechanical axes", "180 is straight", _hka_3d),
    "mad_mm": Definition(
        _AXES, _FEMUR_FRONTAL, "distance of the line from hip to ankle centre from the knee centre",
        "medial (varus) positive", _mad, "mm"),
    "mldfa_deg": Definition(
        _MECHANICAL_FEMUR, _FEMUR_FRONTAL, "lateral angle of mechanical axis and distal condylar tangent",
        "less than 90: the joint line rises laterally", _mldfa),
    "mpta_deg": Definition(
        _MECHANICAL_TIBIA, "frontal plane of the tibia: its mechanical axis and the plateau line",
        "medial angle of mechanical axis and plateau line", "less than 90 is varus", _mpta),
    "jlca_deg": Definition(
        ("distal_medial_condyle", "distal_lateral_condyle", "medial_plateau", "lateral_plateau"),
        _FEMUR_FRONTAL, "distal condylar tangent against plateau line", "opening laterally positive", _jlca),
    "afta_deg": Definition(
        ("femoral_shaft_proximal", "femoral_shaft_distal", "tibial_shaft_proximal", "tibial_shaft_distal",
         *_CONDYLES),
        "frontal plane of the femoral shaft axis and the projected posterior condylar line",
        "distal femoral shaft axis against proximal tibial shaft axis", "valgus positive", _afta),
    "nsa_deg": Definition(
        (*_NECK, *_UPPER), "in space", "neck axis against upper shaft axis", "", _nsa),
    "nsa_projected_deg": Definition(
        (*_NECK, *_UPPER, *_CONDYLES), _FEMUR_FRONTAL, "neck axis against upper shaft axis, both projected",
        "", _nsa_projected),
    "femoral_version_deg.mechanical": Definition(
        (*_NECK, *_CONDYLES), "perpendicular to the femoral mechanical axis",
        "neck axis (head centre to isthmus) against posterior condylar line", _ANTEVERSION,
        _version_mechanical),
    "femoral_version_deg.bergmann": Definition(
        (*_NECK, *_CONDYLES, *_UPPER, "intercondylar_notch"),
        "perpendicular to the line from the notch to where neck and shaft axes meet (Bergmann 2016)",
        "neck axis against posterior condylar line", _ANTEVERSION, _version_bergmann),
    "femoral_version_deg.murphy": Definition(
        (*_NECK, *_CONDYLES, "femoral_neck_base"),
        "perpendicular to the line from the knee centre to the base of the neck (Murphy 1987)",
        "head centre to base of neck against posterior condylar line", _ANTEVERSION, _version_murphy),
    "knee_flexion_deg": Definition(
        _CONDYLES, "sagittal plane of the femur", "femoral axis against tibial axis", "flexion positive",
        _knee_flexion),
    "tibial_torsion_deg.bimalleolar": Definition(
        ("tibial_knee_center", "ankle_center", "posterior_medial_plateau", "posterior_lateral_plateau",
         "medial_malleolus", "lateral_malleolus"),
        _TORSION_PLANE, "posterior tibial condylar line against bimalleolar axis", _EXTERNAL,
        _torsion("posterior_", ("medial_malleolus", "lateral_malleolus"))),
    "tibial_torsion_deg.pilon": Definition(
        ("tibial_knee_center", "ankle_center", "posterior_medial_plateau", "posterior_lateral_plateau",
         "pilon_medial", "pilon_lateral"),
        _TORSION_PLANE, "posterior tibial condylar line against the pilon axis 8 mm above the plafond",
        _EXTERNAL, _torsion("posterior_", ("pilon_medial", "pilon_lateral"))),
    "tibial_torsion_deg.plateau_bimalleolar": Definition(
        (*_MECHANICAL_TIBIA, "medial_malleolus", "lateral_malleolus"),
        _TORSION_PLANE, "line of the plateau centres against bimalleolar axis", _EXTERNAL,
        _torsion("", ("medial_malleolus", "lateral_malleolus"))),
    "mldta_deg": Definition(
        ("tibial_knee_center", "ankle_center", "plafond_medial", "plafond_lateral"), _ANKLE_FRONTAL,
        "lateral angle of mechanical axis and plafond line", "less than 90 is valgus", _mldta),
    "talar_tilt_deg": Definition(
        ("tibial_knee_center", "ankle_center", "plafond_medial", "plafond_lateral", "talar_dome_medial",
         "talar_dome_lateral"), _ANKLE_FRONTAL,
        "plafond line against talar dome line", "opening laterally positive", _talar_tilt),
    "grood_suntay_deg.flexion": Definition(
        (*_AXES, *_CONDYLES, "medial_plateau", "lateral_plateau"), "about the femur's mediolateral axis",
        "Grood & Suntay (1983)", "flexion positive", _grood_suntay(0)),
    "grood_suntay_deg.adduction": Definition(
        (*_AXES, *_CONDYLES, "medial_plateau", "lateral_plateau"), "about the floating axis",
        "Grood & Suntay (1983)", "varus positive", _grood_suntay(1)),
    "grood_suntay_deg.external_rotation": Definition(
        (*_AXES, *_CONDYLES, "medial_plateau", "lateral_plateau"), "about the tibia's long axis",
        "Grood & Suntay (1983)", "tibia external positive", _grood_suntay(2)),
    "lcea_deg": Definition(
        (*_PELVIS, "lateral_acetabular_edge"), _APP,
        "vertical through the head centre against the lateral acetabular edge (Wiberg)",
        "lateral positive", _lcea),
    "acetabular_inclination_deg": Definition(
        _SOCKET, _APP, "rim plane's normal projected on the pelvic plane, from the body's long axis "
        "(radiographic, Murray 1993)", "", _murray("radiographic_inclination")),
    "acetabular_version_deg": Definition(
        _SOCKET, _APP, "rim plane's normal in the transverse plane of the pelvis (anatomical, Murray 1993)",
        _ANTEVERSION, _murray("anatomical_version")),
    "acetabular_murray_deg.radiographic_version": Definition(
        _SOCKET, _APP, "rim plane's normal out of the pelvic plane (Murray 1993)", _ANTEVERSION,
        _murray("radiographic_version")),
    "acetabular_murray_deg.anatomical_inclination": Definition(
        _SOCKET, _APP, "rim plane's normal in space, from the body's long axis (Murray 1993)", "",
        _murray("anatomical_inclination")),
    "acetabular_murray_deg.operative_inclination": Definition(
        _SOCKET, _APP, "rim plane's normal out of the sagittal plane (Murray 1993)", "",
        _murray("operative_inclination")),
    "acetabular_murray_deg.operative_version": Definition(
        _SOCKET, _APP, "rim plane's normal projected on the sagittal plane, from the body's long axis "
        "(Murray 1993)", _ANTEVERSION, _murray("operative_version")),
    "alpha_deg": Definition(
        (*_NECK, "head_neck_departure"), "oblique axial plane through the neck axis",
        "neck axis against the first anterior point that leaves the head sphere by 1 mm", "", _alpha),
}  # fmt: skip


# Every name a landmark may have: what the angles need, and what a result names beside.
LANDMARK_NAMES = frozenset(need for definition in DEFINITIONS.values() for need in definition.needs) | {
    "medial_epicondyle", "lateral_epicondyle", "knee_axis",
}  # fmt: skip


def missing_landmarks(name: str, points: Points) -> tuple[str, ...]:
    """Return the landmarks that an angle needs and that are not among the points."""
    missing = [need for need in DEFINITIONS[name].needs if need not in points]
    if name == "hka_deg" or name in ("hka_3d_deg", "mad_mm"):
        has_line = all(f"distal_{s}_condyle" in points for s in ("medial", "lateral")) or all(
            f"posterior_{s}_condyle" in points for s in ("medial", "lateral")
        )
        if not has_line and not all(f"{s}_plateau" in points for s in ("medial", "lateral")):
            missing += ["posterior_medial_condyle", "posterior_lateral_condyle"]
    if name == "jlca_deg" and not ("hip_center" in points and "femoral_knee_center" in points):
        missing += [n for n in ("femoral_shaft_proximal", "femoral_shaft_distal") if n not in points]
    if name == "knee_flexion_deg" and not all(n in points for n in _AXES):
        missing += [n for n in DEFINITIONS["afta_deg"].needs if n not in points and n not in missing]
    return tuple(missing)


def angle_of(name: str, points: Points, handed: float) -> Floats:
    """Return one angle from its landmarks; leading axes of the points are kept."""
    return DEFINITIONS[name].compute(points, handed)


def angles_of(points: Points, handed: float) -> dict[str, Floats]:
    """Return every angle that the points suffice for.

    points : landmark name → (..., 3) mm.  handed : +1 for a right leg, -1 for a left one.
    Returns name → (...) degrees, millimetres for `mad_mm`.
    """
    return {
        name: angle_of(name, points, handed) for name in DEFINITIONS if not missing_landmarks(name, points)
    }


def cpak_type(mldfa_deg: float, mpta_deg: float) -> str:
    """Return the coronal plane alignment type, I to IX.

    Columns: arithmetic HKA = MPTA − LDFA, varus below −2°, valgus above 2°. Rows: joint line obliquity =
    MPTA + LDFA, apex distal below 177°, apex proximal above 183°. MacDessi et al. (2021),
    doi:10.1302/0301-620X.103B2.BJJ-2020-1050.R1.
    """
    arithmetic, obliquity = mpta_deg - mldfa_deg, mpta_deg + mldfa_deg
    column = 0 if arithmetic < -2.0 else 2 if arithmetic > 2.0 else 1
    row = 0 if obliquity < 177.0 else 2 if obliquity > 183.0 else 1
    return ("I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX")[3 * row + column]
