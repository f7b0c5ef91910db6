"""From fitted bones to named landmarks: what is medial, which bones share a frame, what scatters how."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from scipy.spatial import KDTree

from injectplan.alignment.ankle import TalusFit, malleolus_tip, measure_talus, section_at
from injectplan.alignment.bones import Bone, prepare
from injectplan.alignment.femur import FemurFit, measure_femur
from injectplan.alignment.fibula import part_fibula
from injectplan.alignment.holes import close_slits
from injectplan.alignment.meshes import split
from injectplan.alignment.pelvis import PELVIS_LANDMARKS, pelvis_landmarks
from injectplan.alignment.plafond import PILON_ABOVE_MM, AnkleFit
from injectplan.alignment.roughness import (
    FINE_SHAPE_MM,
    TIBIA_SHAPE_MM,
    Roughness,
    fine_roughness_mm,
)  # fmt: skip
from injectplan.alignment.scatter import (
    BUMP_TANGENT,
    PLAFOND_EDGE_SHARE,
    PLAFOND_SD_MM,
    PLATEAU_SD_MM,
    POSTERIOR_SD_MM,
    RATER_SD_MM,
    ROUGH_PLAFOND,
    ROUGH_PLANE,
    ROUGH_TANGENT,
    TANGENT_SD_MM,
    UNEVEN_PLAFOND,
    center_point,
    tangent_point,
)  # fmt: skip
from injectplan.alignment.tibia import TibiaFit, measure_tibia
from injectplan.alignment.values import FieldOfView, Landmark
from injectplan.anatomy.model import Side
from injectplan.errors import (
    ContradictionError,
    LandmarkError,
    NothingToMeasureError,
    UnitsError,
    UsageError,
)  # fmt: skip
from injectplan.frames import unit
from injectplan.imaging.values import Surface
from injectplan.kernels.cast import Floats
from injectplan.measure import Notice

PELVIS = ("hip_bone", "opposite_hip_bone")
MEASURED = ("femur", "tibia", "fibula", "talus", *PELVIS)
EXTENT_MM = (40.0, 750.0)  # of a femur or tibia, cut or whole
KNEE_ASIDE_MM = (
    25.0  # mediolateral: 0 to 5 on four knees, 10 in arthritis that pushes a tibia aside (assumed)
)
KNEE_GAP_MM = (5.0, 50.0)  # femoral condyles' axis to plateau: 21.9 to 24 on five knees
MOST_ROUGH_MM = 0.4  # of a femur whose alpha angle is measured: 0.55 mm moved it by 15 degrees
MOST_WAVY_MM = 0.39  # the same for the socket's rim: 1 mm turned it by up to 30 degrees, 0.5 mm by none
VALGUS_SHAFT_DEG = 4.0  # a distal joint line tilted this much against the shaft tells medial from lateral


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BoneFits:
    """The fitted bones of one leg, its side, and why landmarks are missing (landmark name → reason).

    surfaces : how rough each bone is.
    femur_medial, tibia_medial : +1 where the fit's `across` points medially, -1 where laterally.
    """

    side: Side
    femur: FemurFit | None
    tibia: TibiaFit | None
    fibula: Bone | None
    talus: TalusFit | None
    femur_medial: float
    tibia_medial: float
    missing: Mapping[str, str]
    field_of_view: FieldOfView
    notices: tuple[Notice, ...] = ()
    extra: Mapping[str, Landmark] = field(default_factory=dict)
    surfaces: Mapping[str, Roughness] = field(default_factory=dict)


def _scaled(bones: Mapping[str, Surface], units: str) -> tuple[dict[str, Surface], list[Notice]]:
    """Bring the surfaces to millimetres; `auto` tells metres by the bones' size."""
    sizes = [float(np.ptp(s.vertices_mm, axis=0).max()) for n, s in bones.items() if n in ("femur", "tibia")]
    sizes = sizes or [float(np.ptp(s.vertices_mm, axis=0).max()) for s in bones.values()]
    factor, notes = {"mm": 1.0, "m": 1000.0, "auto": 1.0}.get(units, 0.0), []
    if not factor:
        raise UsageError(f'units "{units}" is not "auto", "mm" or "m"')
    size = max(sizes)
    if units == "auto" and size < 1.0:
        factor = 1000.0
        notes.append(Notice("units", f"coordinates read as metres (the longest bone spans {size:.3f})"))
    if not EXTENT_MM[0] <= size * factor <= EXTENT_MM[1]:
        raise UnitsError(
            f"the longest bone spans {size * factor:.3g} mm (a leg's bones span {EXTENT_MM[0]:g} to "
            f"{EXTENT_MM[1]:g} mm): give the unit of the coordinates"
        )
    if factor == 1.0:
        return dict(bones), notes
    return {n: Surface(s.vertices_mm * factor, s.triangles) for n, s in bones.items()}, notes


def fit_bones(
    bones: Mapping[str, Surface], side: Side | None, *, units: str = "auto", seed: int = 0
) -> BoneFits:
    """Fit the leg's bones and settle medial and lateral. See `measure_alignment` for the errors."""
    bones = {n: s for n, s in bones.items() if n in MEASURED}
    if not any(n in bones for n in ("femur", "tibia")):
        raise NothingToMeasureError("alignment needs a femur or a tibia; neither is among the bones")
    bones, notes = _scaled(bones, units)
    ready = {}
    for name, surface in bones.items():
        if name in PELVIS:
            continue
        whole, closed = close_slits(surface)
        ready[name] = prepare(whole, name)
        if closed:
            notes.append(Notice("slits", f"{closed} slit(s) or pinhole(s) of {name} were closed", name))
    parted = False
    if "tibia" in ready and (parts := part_fibula(ready["tibia"])) is not None:
        ready["tibia"] = prepare(parts[0], "tibia")
        parted = "fibula" not in ready
        ready.setdefault("fibula", prepare(parts[1], "fibula"))
        notes.append(
            Notice("fibula", "the fibula was grown together with the tibia and parted from it", "tibia")
        )
    for bone in ready.values():
        notes += bone.notices
    centers = {n: np.average(b.points, axis=0, weights=b.weights) for n, b in ready.items()}
    toward = None
    if "femur" in ready and "tibia" in ready and _neighbours(ready["femur"], ready["tibia"]):
        toward = unit(centers["femur"] - centers["tibia"])
    femur = measure_femur(ready["femur"], toward=toward, seed=seed) if "femur" in ready else None
    anterior = None if femur is None or toward is None else -femur.posterior
    tibia = measure_tibia(ready["tibia"], toward=toward, anterior_hint=anterior) if "tibia" in ready else None
    missing: dict[str, str] = {}
    together = femur is not None and tibia is not None
    if together:
        assert femur is not None
        assert tibia is not None
        apart = _apart(femur, tibia)
        if apart:
            missing["frames"] = apart
            notes.append(Notice("frames", apart))
            together = False
    fibula = ready.get("fibula")
    if fibula is not None and tibia is not None and not _beside(fibula, tibia):
        notes.append(Notice("frames", "the fibula does not lie beside the tibia and was left out", "fibula"))
        fibula = None
    told = _femur_tells(femur, fibula if together else None)
    shin = _tibia_tells(tibia, fibula)
    if parted and tibia is not None:  # it tells the side; where the two bones met, neither has landmarks
        fibula = None
        if tibia.ankle is not None:
            tibia = replace(tibia, ankle=replace(tibia.ankle, plafond=None, malleolus=None, beside=None))
        names = ("lateral_malleolus", "medial_malleolus", "plafond_medial", "plafond_lateral", "pilon_medial")
        missing |= dict.fromkeys(names, "tibia and fibula are grown together: their lower ends are not told")
    found = _side(side, told, shin, together, notes)
    handed = 1.0 if found == "right" else -1.0
    femur_medial = tibia_medial = 0.0
    if femur is not None:
        femur_medial = _sign(femur.across, handed * np.cross(femur.proximal, -femur.posterior))
    if tibia is not None:
        tibia_medial = _sign(tibia.across, handed * np.cross(tibia.proximal, -tibia.posterior))
    talus = None
    if "talus" in ready and tibia is not None and tibia.ankle is not None:
        try:
            talus = measure_talus(ready["talus"], tibia)
        except LandmarkError as error:
            missing["talar_dome_medial"] = str(error)
    notes += _bumps(femur, tibia, talus)
    pelvis = [prepare(piece, n) for n in PELVIS if n in bones for piece in split(bones[n], 0.6)]
    surfaces = _surfaces(ready, pelvis, femur, tibia)
    extra, absent = _pelvis(pelvis, femur, handed, seed)
    waves = surfaces["femur"].waves_mm if femur else 0.0
    if waves > MOST_WAVY_MM and extra:
        why = f"the femur's surface is rough by {waves:.1f} mm: the rim of a socket of this scan is not told"
        extra = {name: lm for name, lm in extra.items() if "acetabular" not in name}
        rim = ("acetabular_center", "acetabular_opening_point", "lateral_acetabular_edge")
        absent = absent | dict.fromkeys(rim, why)
    return BoneFits(
        side=found, extra=extra, femur=femur, tibia=tibia, fibula=fibula, talus=talus,
        femur_medial=femur_medial, tibia_medial=tibia_medial,
        missing=missing | absent | _missing(femur, tibia, ready),
        field_of_view=FieldOfView(
            femur_shaft_mm=femur.length_mm if femur else float("nan"),
            tibia_shaft_mm=tibia.length_mm if tibia else float("nan"),
            hip_seen=bool(femur and femur.head), ankle_seen=bool(tibia and tibia.ankle_center is not None),
        ),
        notices=tuple(notes), surfaces=surfaces,
    )  # fmt: skip


def _bumps(femur: FemurFit | None, tibia: TibiaFit | None, talus: TalusFit | None) -> list[Notice]:
    """What stands on the bones' ends and makes a line less sure."""
    notes = []
    if femur is not None and femur.bump_mm > 0.0:
        why = (
            f"bumps of up to {femur.bump_mm:.1f} mm on the femur's condyles were levelled under its tangents"
        )
        notes.append(Notice("bumps", why, "femur"))
    ankle = None if tibia is None else tibia.ankle
    for name, found in (("tibia", ankle), ("talus", talus)):
        if found is not None and found.uneven_mm > 0.0:
            why = f"the joint surface of the {name} at the ankle is uneven (by {found.residual_mm:.1f} mm): "
            notes.append(Notice("bumps", why + "its line is less sure, which is counted in", name))
    return notes


def _surfaces(
    ready: Mapping[str, Bone], pelvis: Sequence[Bone], femur: FemurFit | None, tibia: TibiaFit | None
) -> dict[str, Roughness]:
    shafts = {"femur": femur.roughness_mm if femur else 0.0, "tibia": tibia.roughness_mm if tibia else 0.0}
    bones = dict(ready) | dict(zip(PELVIS, pelvis[:2], strict=False))
    return {
        name: Roughness(
            fine_mm=fine_roughness_mm(bone),
            shaft_mm=shafts.get(name, 0.0),
            shape_mm=TIBIA_SHAPE_MM if name == "tibia" else 0.0,
            fine_shape_mm=FINE_SHAPE_MM.get(name, 0.0),
        )
        for name, bone in bones.items()
    }


def _pelvis(
    given: Sequence[Bone], femur: FemurFit | None, handed: float, seed: int
) -> tuple[dict[str, Landmark], dict[str, str]]:
    """Landmarks of the hip bones, which may share one file, and why they are missing."""
    if not given:
        return {}, dict.fromkeys(PELVIS_LANDMARKS, "no hip bone is among the bones")
    if femur is None or femur.head is None:
        why = "the femoral head, about which the pelvis is measured, is not in view"
        return {}, dict.fromkeys(PELVIS_LANDMARKS, why)
    return pelvis_landmarks(given, femur.head, handed, seed)


def _sign(a: Floats, b: Floats) -> float:
    return 1.0 if float(a @ b) > 0 else -1.0


def _neighbours(femur: Bone, tibia: Bone) -> bool:
    """Whether the two bones' boxes come as near to each other as a knee's do."""
    low = np.maximum(femur.points.min(axis=0), tibia.points.min(axis=0))
    high = np.minimum(femur.points.max(axis=0), tibia.points.max(axis=0))
    if np.linalg.norm(np.maximum(low - high, 0.0)) > 40.0:
        return False
    some = femur.points[:: max(1, len(femur.points) // 1500)]
    other = tibia.points[:: max(1, len(tibia.points) // 1500)]
    return bool(np.min(KDTree(other).query(some)[0]) < 30.0)


def _apart(femur: FemurFit, tibia: TibiaFit) -> str:
    """Why the two bones cannot belong to one knee in one frame; empty where they can."""
    gap = femur.knee_center - tibia.knee_center
    height, size = float(gap @ tibia.proximal), float(np.linalg.norm(gap))
    scale = femur.width_mm / 80.0
    if not KNEE_GAP_MM[0] * scale <= height or size > KNEE_GAP_MM[1] * scale:
        return (
            f"femur and tibia are not in one frame: the plateau lies {size:.0f} mm from the condyles' axis "
            f"(a knee's 15 to {KNEE_GAP_MM[1] * scale:.0f} mm): give both bones of one scan"
        )
    aside = abs(float(gap @ tibia.across))
    if aside > KNEE_ASIDE_MM * scale:
        return (
            f"femur and tibia are not in one frame: their middles lie {aside:.0f} mm aside of each other "
            f"(limit {KNEE_ASIDE_MM * scale:.0f} mm): give both bones of one scan"
        )
    if abs(float(femur.across @ tibia.across)) < 0.5:
        return "femur and tibia are not in one frame: their mediolateral axes differ by more than 60°"
    return ""


def _beside(fibula: Bone, tibia: TibiaFit) -> bool:
    center = np.average(fibula.points, axis=0, weights=fibula.weights) - tibia.knee_center
    along = float(center @ tibia.proximal)
    aside = float(np.linalg.norm(center - along * tibia.proximal))
    return -1.2 * max(tibia.length_mm, 60.0) < along < 20.0 and 10.0 < aside < 90.0


def _handed(medial: Floats, proximal: Floats, posterior: Floats) -> float:
    return 1.0 if float(np.cross(medial, proximal) @ -posterior) > 0 else -1.0


def _femur_tells(femur: FemurFit | None, fibula: Bone | None) -> tuple[float, float]:
    """The side a femur shows (+1 right, -1 left, 0 unknown) and how sure (1 certain, 0.5 likely)."""
    if femur is None:
        return 0.0, 0.0
    if femur.head is not None:
        point, axis = femur.shaft
        aside = femur.head.center - point
        aside = aside - (aside @ axis) * axis
        if abs(aside @ femur.across) > 6.0:
            medial = _sign(femur.across, aside) * femur.across
            return _handed(medial, femur.proximal, femur.posterior), 1.0
    if fibula is not None:
        center = np.average(fibula.points, axis=0, weights=fibula.weights)
        inward = float((femur.knee_center - center) @ femur.across)
        if abs(inward) > 8.0:
            return _handed(np.sign(inward) * femur.across, femur.proximal, femur.posterior), 1.0
    line = femur.distal[0] - femur.distal[1]
    tilt = np.degrees(np.arctan2(line @ femur.shaft[1], line @ femur.across))
    if abs(tilt) > VALGUS_SHAFT_DEG:  # the medial condyle reaches further down along the shaft
        return _handed(-np.sign(tilt) * femur.across, femur.proximal, femur.posterior), 0.5
    return 0.0, 0.0


def _tibia_tells(tibia: TibiaFit | None, fibula: Bone | None) -> tuple[float, float]:
    if tibia is None:
        return 0.0, 0.0
    if fibula is not None:
        center = np.average(fibula.points, axis=0, weights=fibula.weights)
        aside = float((tibia.knee_center - center) @ tibia.across)
        if abs(aside) > 8.0:
            return _handed(np.sign(aside) * tibia.across, tibia.proximal, tibia.posterior), 1.0
    if tibia.ankle is not None and tibia.ankle.beside is not None:
        aside = float(tibia.ankle.beside @ tibia.across)
        if abs(aside) > 0.25:
            return _handed(np.sign(aside) * tibia.across, tibia.proximal, tibia.posterior), 0.9
    return 0.0, 0.0


def _side(
    side: Side | None, femur: tuple[float, float], tibia: tuple[float, float], together: bool,
    notes: list[Notice],
) -> Side:  # fmt: skip
    """Settle the side: what the bones tell for certain must agree with each other and with what is given."""
    votes = [("femur", *femur), ("tibia", *tibia)]
    certain = [(n, v) for n, v, w in votes if w >= 0.9]
    if together and len({v for _, v in certain}) > 1:
        raise ContradictionError(
            "femur and tibia tell different sides: they are not of one leg, or one of them is mirrored"
        )
    best = max(votes, key=lambda vote: vote[2])
    told: Side | None = None if best[1] == 0.0 else "right" if best[1] > 0 else "left"
    if side is None:
        if told is None:
            raise UsageError('the bones do not tell the side: give side = "left" or "right"')
        if best[2] < 0.9:
            notes.append(Notice("side", f"side {told} is only likely, from the joint line's tilt"))
        return told
    if told is not None and told != side:
        if best[2] >= 0.9:
            raise ContradictionError(
                f"side {side} is contradicted by the {best[0]}, which is of a {told} leg: check the side and "
                "whether the data are mirrored"
            )
        notes.append(Notice("side", f"side {side} could not be confirmed: the joint line's tilt is unusual"))
    elif told is None:
        notes.append(Notice("side", f"side {side} is taken as given; the bones seen do not tell it"))
    return side


def _missing(femur: FemurFit | None, tibia: TibiaFit | None, ready: Mapping[str, Bone]) -> dict[str, str]:
    """Why each group of landmarks is missing."""
    result: dict[str, str] = {}
    femoral = (
        "femoral_knee_center", "distal_medial_condyle", "posterior_medial_condyle", "intercondylar_notch",
        "femoral_shaft_proximal", "femoral_neck_center", "hip_center", "femoral_neck_base",
        "upper_femoral_shaft_proximal", "posterior_lateral_condyle", "distal_lateral_condyle",
    )  # fmt: skip
    tibial = (
        "tibial_knee_center", "ankle_center", "medial_plateau", "lateral_plateau", "tibial_shaft_proximal",
        "posterior_medial_plateau", "plafond_medial", "medial_malleolus", "pilon_medial",
    )  # fmt: skip
    if femur is None:
        result |= dict.fromkeys(femoral, "no femur is among the bones")
    else:
        if femur.head is None:
            result["hip_center"] = femur.head_missing
        if femur.hip is None:
            upper = ("femoral_neck_center", "femoral_neck_base", "upper_femoral_shaft_proximal")
            result |= dict.fromkeys(upper, femur.hip_missing)
        elif femur.roughness_mm > MOST_ROUGH_MM:
            result["head_neck_departure"] = (
                f"the femur's surface is rough by {femur.roughness_mm:.1f} mm (limit {MOST_ROUGH_MM:g} mm): "
                "where it leaves the head sphere by 1 mm is not told"
            )
        elif femur.hip.alpha_point is None:
            result["head_neck_departure"] = "the contour nowhere leaves the head sphere by 1 mm"
    if tibia is None:
        result |= dict.fromkeys(tibial, "no tibia is among the bones")
    elif tibia.ankle is None:
        names = ("ankle_center", "plafond_medial", "medial_malleolus", "pilon_medial")
        result |= dict.fromkeys(names, tibia.ankle_missing)
    else:
        result |= tibia.ankle.missing
    if tibia is not None and tibia.back_missing:
        result["posterior_medial_plateau"] = tibia.back_missing
    if "fibula" not in ready:
        result["lateral_malleolus"] = "no fibula is among the bones"
    elif tibia is not None and tibia.ankle is None:
        result["lateral_malleolus"] = tibia.ankle_missing
    else:
        result["lateral_malleolus"] = "the fibula's tip is outside the view, or it is not beside the tibia"
    if "talus" not in ready:
        result["talar_dome_medial"] = "no talus is among the bones"
    return result


def landmarks_of(fits: BoneFits) -> dict[str, Landmark]:
    """Return every landmark found, named by medial and lateral, with its scatter and method."""
    result: dict[str, Landmark] = {}
    if fits.femur is not None:
        result |= _femur_landmarks(fits.femur, fits.femur_medial)
    if fits.tibia is not None:
        result |= _tibia_landmarks(fits.tibia, fits.tibia_medial, fits.fibula)
    if fits.talus is not None and fits.tibia is not None:
        ends = fits.talus.dome if fits.tibia_medial > 0 else fits.talus.dome[::-1]
        for name, at in zip(("talar_dome_medial", "talar_dome_lateral"), ends, strict=True):
            # the talus has no shaft to tell its roughness: one scan's bones are alike
            parts = [ROUGH_PLAFOND * fits.tibia.roughness_mm, UNEVEN_PLAFOND * fits.talus.uneven_mm]
            sd = float(np.linalg.norm([PLATEAU_SD_MM, *parts]))
            result[name] = tangent_point(
                at, fits.tibia.proximal, sd, "line along the dome's top", "talus", fits.talus.edge_mm
            )  # fmt: skip
    return result | dict(fits.extra)


def _femur_landmarks(f: FemurFit, medial: float) -> dict[str, Landmark]:
    edge = f.bone.edge_mm
    result: dict[str, Landmark] = {}

    def pair(name: str, ends: tuple[Floats, Floats], normal: Floats, sd: float, method: str) -> None:
        ends = ends if medial > 0 else ends[::-1]
        for side, at in zip(("medial", "lateral"), ends, strict=True):
            moved = float(np.linalg.norm([sd, ROUGH_TANGENT * f.roughness_mm, BUMP_TANGENT * f.bump_mm]))
            result[name.format(side)] = tangent_point(at, normal, moved, method, "femoral condyles", edge)

    if f.head is not None:
        head = center_point(
            f.head.center, RATER_SD_MM["hip_center"], "centre of the sphere on the femoral head", "", edge
        )
        result["hip_center"] = Landmark(
            position_mm=head.position_mm, covariance_mm2=head.covariance_mm2, method=head.method,
            details={"radius_mm": f.head.radius_mm, "residual_mm": f.head.residual_mm,
                     "coverage": f.head.coverage},
        )  # fmt: skip
    result["femoral_knee_center"] = center_point(
        f.knee_center, RATER_SD_MM["femoral_knee_center"],
        "on the condyles' axis, half way between the notch and the middle of the condyles", "knee center",
        edge)  # fmt: skip
    pair("distal_{}_condyle", f.distal, f.proximal, TANGENT_SD_MM, "distal tangent resting on both condyles")
    pair("posterior_{}_condyle", f.condyles, f.posterior, POSTERIOR_SD_MM,
         "posterior tangent resting on both condyles")  # fmt: skip
    pair("{}_epicondyle", f.epicondyles, f.across, 2.4, "outermost point along the condyles' axis")
    result["intercondylar_notch"] = center_point(
        f.notch, RATER_SD_MM["intercondylar_notch"], "saddle of the distal outline between the condyles", ""
    )
    result["knee_axis"] = Landmark(
        direction=f.cylinder.axis * np.sign(f.cylinder.axis @ f.across) * medial,
        covariance_mm2=np.eye(3) * np.radians(1.0) ** 2, method="cylinder through both posterior condyles",
        details={"radius_mm": f.cylinder.radius_mm, "residual_mm": f.cylinder.residual_mm},
    )  # fmt: skip
    point, axis = f.shaft
    result |= _shaft("femoral_shaft", point, axis, f.length_mm, f.shaft_residual_mm)
    if f.hip is not None:
        result["femoral_neck_center"] = center_point(
            f.hip.neck_center, RATER_SD_MM["femoral_neck_center"], "centroid of the neck's narrowest section",
            "", edge)  # fmt: skip
        result["femoral_neck_base"] = center_point(
            f.hip.neck_base, RATER_SD_MM["femoral_neck_base"],
            "centroid of the shaft 10 mm below the crossing of neck and shaft axes", "", edge)  # fmt: skip
        for end, at in zip(("proximal", "distal"), f.hip.upper_shaft, strict=True):
            result[f"upper_femoral_shaft_{end}"] = center_point(at, 1.0, "axis of the upper shaft", "")
        if f.hip.alpha_point is not None and f.roughness_mm <= MOST_ROUGH_MM:
            result["head_neck_departure"] = center_point(
                f.hip.alpha_point, 1.5, "first anterior point off the head sphere", "", edge)  # fmt: skip
    return result


def _shaft(name: str, point: Floats, axis: Floats, length: float, residual: float) -> dict[str, Landmark]:
    half = 0.5 * min(max(0.4 * length, 25.0), 150.0)
    sd = float(np.hypot(0.6, 0.5 * residual))
    result = {}
    for end, sign in (("proximal", 1.0), ("distal", -1.0)):
        lm = center_point(point + sign * half * axis, sd, "line through the sections' centroids", "")
        result[f"{name}_{end}"] = Landmark(
            position_mm=lm.position_mm, covariance_mm2=lm.covariance_mm2, method=lm.method,
            details={"length_mm": length, "residual_mm": residual},
        )  # fmt: skip
    return result


def _tibia_landmarks(t: TibiaFit, medial: float, fibula: Bone | None) -> dict[str, Landmark]:
    edge = t.bone.edge_mm
    result: dict[str, Landmark] = {}

    def pair(
        name: str, ends: tuple[Floats, Floats], normal: Floats, sd: float, method: str, group: str
    ) -> None:
        ends = ends if medial > 0 else ends[::-1]
        for side, at in zip(("medial", "lateral"), ends, strict=True):
            moved = float(np.hypot(sd, ROUGH_PLANE * t.roughness_mm))
            result[name.format(side)] = tangent_point(at, normal, moved, method, group, edge)

    result["tibial_knee_center"] = center_point(
        t.knee_center,
        RATER_SD_MM["tibial_knee_center"],
        "centre of the plateau's outline, on its plane",
        "knee center",
        edge,
    )
    pair("{}_plateau", t.plateaus, t.plateau_normal, PLATEAU_SD_MM, "plane on both plateaus", "plateau")
    if not t.back_missing:
        pair("posterior_{}_plateau", t.posterior_rests, t.posterior, 1.2,
             "posterior tangent resting on both tibial condyles", "plateau")  # fmt: skip
    point, axis = t.shaft
    result |= _shaft("tibial_shaft", point, axis, t.length_mm, t.shaft_residual_mm)
    return result if t.ankle is None else result | _ankle_landmarks(t, t.ankle, medial, fibula)


def _ankle_landmarks(t: TibiaFit, ankle: AnkleFit, medial: float, fibula: Bone | None) -> dict[str, Landmark]:
    edge = t.bone.edge_mm
    result = {
        "ankle_center": center_point(
            ankle.center, RATER_SD_MM["ankle_center"], "centroid of the tibial plafond", "", edge
        )
    }
    if ankle.plafond is not None:
        # some 400 mm² of surface: few vertices of a coarse mesh
        parts = [PLAFOND_EDGE_SHARE * edge, ROUGH_PLAFOND * t.roughness_mm, UNEVEN_PLAFOND * ankle.uneven_mm]
        sd = float(np.linalg.norm([PLAFOND_SD_MM, *parts]))
        ends = ankle.plafond if medial > 0 else ankle.plafond[::-1]
        for name, at in zip(("plafond_medial", "plafond_lateral"), ends, strict=True):
            result[name] = tangent_point(
                at, t.proximal, sd, "line of the plafond's middle towards the malleolus", "plafond", edge
            )
    if ankle.malleolus is not None:
        result["medial_malleolus"] = center_point(
            ankle.malleolus, 2.4, "tip of the medial malleolus", "", edge
        )
    if fibula is not None:
        beside = section_at(fibula, ankle.center + PILON_ABOVE_MM * t.proximal, t.proximal)
        tip = malleolus_tip(fibula, t.proximal)
        if tip is not None:
            result["lateral_malleolus"] = center_point(tip, 2.4, "tip of the lateral malleolus", "", edge)
        if beside is not None:
            result["pilon_medial"] = center_point(
                ankle.pilon_center, 1.2, "centroid of the tibia 8 mm above the plafond", "", edge
            )
            result["pilon_lateral"] = center_point(
                beside, 1.2, "centroid of the fibula 8 mm above the plafond", "", edge
            )
    elif ankle.beside is not None:
        towards = ankle.beside if ankle.beside @ t.across * medial > 0 else -ankle.beside
        for name, sign in (("pilon_medial", 1.0), ("pilon_lateral", -1.0)):
            result[name] = center_point(
                ankle.pilon_center + sign * 18.0 * towards, 2.0,
                "from the tibia's centroid 8 mm above the plafond towards the malleolus",
                "", edge)  # fmt: skip
    return result
