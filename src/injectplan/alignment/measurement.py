"""`measure_alignment`: from bones, or from landmarks, to the leg's angles and the verdict."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from injectplan.alignment.angles import DEFINITIONS, LANDMARK_NAMES, cpak_type, missing_landmarks
from injectplan.alignment.consistency import handed_of, points_of, refuse_impossible, refuse_opening
from injectplan.alignment.flexion import AXIS_SD_DEG, crosstalk_deg, widen, widened
from injectplan.alignment.identity import contradiction
from injectplan.alignment.knee_only import Prediction, flexion_seen, predict
from injectplan.alignment.landmarks import BoneFits, fit_bones, landmarks_of
from injectplan.alignment.proportions import odd_proportions, refuse_disproportion, refuse_units
from injectplan.alignment.repeatability import Repeats, repeats_of
from injectplan.alignment.uncertainty import Spread, propagate
from injectplan.alignment.values import (
    Alignment,
    AlignmentVerdict,
    Angle,
    FieldOfView,
    Landmark,
    Load,
)  # fmt: skip
from injectplan.alignment.verdict import LIMIT_DEG, judge, refuse
from injectplan.anatomy.model import Kind, Side
from injectplan.errors import ContradictionError, NothingToMeasureError, UsageError
from injectplan.imaging.values import Surface
from injectplan.measure import Measure, Notice

NSA_NORMAL_DEG = 130.0  # 124 to 136 (Paley 2002, from memory)
VERSION_NORMAL_DEG = 15.0
MLDTA_NORMAL_DEG = 89.0  # 86 to 92
MOST_FLEXION_DEG = 45.0  # beyond it the frontal plane of the femur says nothing of the tibia (assumed)
FLEXION_WARN_DEG = 5.0  # the identity is off by 0.8° at 6° and 1.4° at 10° of flexion
# Landmarks whose absence another's reason tells.
MATES = (("lateral", "medial"), ("distal", "proximal"), ("_malleolus", ""))
GROUPS: Mapping[str, tuple[str, ...]] = {
    "knee_axis": ("posterior_medial_condyle",), "medial_epicondyle": ("posterior_medial_condyle",),
    "lateral_epicondyle": ("posterior_medial_condyle",),
    "upper_femoral_shaft_distal": ("upper_femoral_shaft_proximal",),
    "head_neck_departure": ("femoral_neck_center", "hip_center"), "pilon_lateral": ("lateral_malleolus",),
}  # fmt: skip
_MECHANICAL = ("hka_deg", "hka_3d_deg", "mad_mm")


def measure_alignment(
    bones: Mapping[str, Surface],
    side: Side | None,
    *,
    joint: Kind = "knee",
    limit_deg: float = LIMIT_DEG,
    load: Load = "supine",
    units: str = "auto",
    seed: int = 0,
) -> Alignment:
    """Measure the leg's axial alignment on bone surfaces.

    bones : structure name (femur, tibia, fibula, talus, hip_bone, …) → Surface in patient RAS, mm (or metres,
        which `units="auto"` recognises); closed or open, whole or cut by the field of view.
    side : left, right, or None to let the bones tell.
    joint : whose deformity the verdict judges: the knee's HKA, the hip's neck-shaft angle, the ankle's mLDTA.
    limit_deg : of the verdict.  load : "supine", or "standing" which adds what lying down hides.

    Returns every angle with method, plane, scatter and reason where it is missing. Bones of different frames
    give their own angles and a refused verdict. Raises LandmarkError where a bone is not what it is called
    or a fit fails, ContradictionError where the side is contradicted, NothingToMeasureError without femur,
    tibia or talus, UnitsError for lengths no bone has.
    """
    _check(limit_deg, load)
    _refuse_same(bones)
    fits = fit_bones(bones, side, units=units, seed=seed)
    landmarks = landmarks_of(fits)
    measured = _assemble(
        landmarks, fits.side, joint, limit_deg, load, seed, field_of_view=fits.field_of_view,
        notices=fits.notices, reasons=fits.missing, fits=fits,
    )  # fmt: skip
    if "frames" in fits.missing:
        return measured
    odd = odd_proportions(points_of(landmarks), measured.angles)
    return replace(measured, notices=measured.notices + odd)


def measure_alignment_of_landmarks(
    landmarks: Mapping[str, Landmark],
    side: Side | None,
    *,
    joint: Kind = "knee",
    limit_deg: float = LIMIT_DEG,
    load: Load = "supine",
    seed: int = 0,
) -> Alignment:
    """Measure the leg's axial alignment on given landmarks (names as in the result's `landmarks`).

    Closed form: the angles follow from the positions alone. ContradictionError where medial and lateral are
    swapped at one pair, where the bones lie in two frames or have no leg's proportions, or where what must
    lie behind (posterior condyles or plateaus, the hip behind the pelvic plane, the ankle of a bent knee)
    lies in front on the side given; UnitsError for another unit than millimetres; UsageError where no side is
    given and nothing tells it.
    """
    _check(limit_deg, load)
    if not landmarks:
        raise NothingToMeasureError("no landmark is given")
    points = points_of(landmarks)
    refuse_units(points)
    refuse_impossible(points)
    refuse_disproportion(points)
    told, what = handed_of(points)
    if side is None and told == 0.0:
        raise UsageError('the landmarks do not tell the side: give side = "left" or "right"')
    if side is not None and told not in (0.0, 1.0 if side == "right" else -1.0):
        other = "left" if side == "right" else "right"
        raise ContradictionError(
            f"side {side} is contradicted: {what} show{'s' * (not what.endswith('s'))} a {other} leg; "
            "check the side, or whether the file is LPS or RAS mirrored"
        )
    known: Side = side or ("right" if told > 0 else "left")
    seen = FieldOfView(
        hip_seen="hip_center" in landmarks, ankle_seen="ankle_center" in landmarks,
    )  # fmt: skip
    notices: tuple[Notice, ...] = ()
    if told == 0.0:
        notices = (Notice("side", f"side {known} is taken as given; the landmarks do not tell it"),)
    measured = _assemble(
        landmarks, known, joint, limit_deg, load, seed, field_of_view=seen, notices=notices
    )  # fmt: skip
    refuse_opening(measured.angles["jlca_deg"].measure.value)
    return replace(measured, notices=measured.notices + odd_proportions(points, measured.angles))


def _refuse_same(bones: Mapping[str, Surface]) -> None:
    """Raise ContradictionError where one surface was given under two names."""
    names = [name for name, surface in bones.items() if len(surface.vertices_mm)]
    for i, name in enumerate(names):
        for other in names[i + 1 :]:
            if np.array_equal(bones[name].vertices_mm, bones[other].vertices_mm):
                raise ContradictionError(f"{name} and {other} are the same surface; give each bone its own")


def _check(limit_deg: float, load: str) -> None:
    if not (math.isfinite(limit_deg) and 0.0 < limit_deg < 90.0):
        raise UsageError(f"limit {limit_deg} is not an angle between 0° and 90°")
    if load not in ("supine", "standing"):
        raise UsageError(f'load "{load}" is not "supine" or "standing"')


def _assemble(
    landmarks: Mapping[str, Landmark],
    side: Side,
    joint: Kind,
    limit_deg: float,
    load: Load,
    seed: int,
    *,
    field_of_view: FieldOfView,
    notices: tuple[Notice, ...] = (),
    reasons: Mapping[str, str] | None = None,
    fits: BoneFits | None = None,
) -> Alignment:
    handed = 1.0 if side == "right" else -1.0
    missing = dict(reasons or {})
    spreads = propagate(landmarks, handed, seed=seed)
    points = {n: lm.position_mm for n, lm in landmarks.items() if lm.position_mm is not None}
    apart = missing.get("frames", "")
    if apart:
        spreads = {name: s for name, s in spreads.items() if not _joins_bones(name)}
    by_shafts = fits is not None and not ("hip_center" in points and "ankle_center" in points)
    if fits is not None and by_shafts and "knee_flexion_deg" in spreads:
        spreads["knee_flexion_deg"] = flexion_seen(spreads["knee_flexion_deg"], fits)
    spreads = widened(spreads, points)
    again = Repeats() if fits is None else repeats_of(fits, handed, seed)
    spreads, repeats = _no_narrower(spreads, again, by_shafts)
    landmarks = {
        name: replace(lm, surface_sd_mm=again.landmarks.get(name, math.nan)) for name, lm in landmarks.items()
    }
    angles = {}
    for name, definition in DEFINITIONS.items():
        if name in spreads:
            angles[name] = replace(
                _angle(name, spreads[name], landmarks), surface_sd=repeats.get(name, math.nan)
            )
            if name == "knee_flexion_deg" and by_shafts:
                angles[name] = _leaning(angles[name])
            continue
        why = apart if apart and _joins_bones(name) else _why(missing_landmarks(name, points), missing)
        angles[name] = Angle(
            measure=Measure.missing(why, method=definition.method),
            plane=definition.plane,
            sign=definition.sign,
        )
    predicted: Prediction | str | None = None
    if fits is not None and not apart and "hka_deg" not in spreads:
        predicted = predict(points, fits, spreads)
    hka = angles["hka_deg"]
    if isinstance(predicted, Prediction):
        angles["hka_deg"] = predicted.hka
    elif predicted:
        angles["hka_deg"] = replace(hka, measure=replace(hka.measure, reason=predicted))
    residual = math.nan
    if all(n in spreads for n in ("hka_deg", "mldfa_deg", "mpta_deg", "jlca_deg")):
        s = {n: spreads[n].value for n in ("hka_deg", "mldfa_deg", "mpta_deg", "jlca_deg")}
        residual = (180.0 - s["hka_deg"]) - (s["mldfa_deg"] - s["mpta_deg"] + s["jlca_deg"])
    both = [angles[n].measure for n in ("mldfa_deg", "mpta_deg")]
    cpak = cpak_type(both[0].value, both[1].value) if both[0].known and both[1].known else None
    notes = list(notices) + _warnings(angles, residual)
    return Alignment(
        side=side, joint=joint, angles=angles, landmarks=dict(landmarks),
        missing=_absent(landmarks, missing, given=fits is None), field_of_view=field_of_view,
        verdict=_verdict(joint, angles, missing, limit_deg, load, notes, predicted, residual), cpak=cpak,
        identity_residual_deg=residual, notices=tuple(notes),
        assumed=angles["hka_deg"].measure.assumed + angles["knee_flexion_deg"].measure.assumed,
    )  # fmt: skip


def _absent(landmarks: Mapping[str, Landmark], reasons: Mapping[str, str], *, given: bool) -> dict[str, str]:
    """Every known landmark that is not there, and why; one of a pair may have its mate's reason."""
    result = {}
    for name in sorted(LANDMARK_NAMES - set(landmarks)):
        mates = [name, *(name.replace(a, b) for a, b in MATES if a in name), *GROUPS.get(name, ())]
        told = [reasons[mate] for mate in mates if mate in reasons]
        result[name] = "not among the landmarks given" if given else told[0] if told else "could not be found"
    return result


def _no_narrower(
    spreads: Mapping[str, Spread], repeats: Repeats, by_shafts: bool
) -> tuple[dict[str, Spread], dict[str, float]]:
    """Return the spreads, none narrower than a new scan makes it, and what a new scan would change.

    Axes of shafts cut short are not among what the repeatability was measured on.
    """
    result, shown = dict(spreads), {}
    for name, spread in spreads.items():
        if name not in repeats.angles or (by_shafts and name in ("afta_deg", "knee_flexion_deg")):
            continue
        shown[name] = repeats.angles[name]
        if shown[name] > spread.sd:
            result[name] = widen(spread, math.sqrt(shown[name] ** 2 - spread.sd**2))
    return result, shown


def _joins_bones(name: str) -> bool:
    return name in (*_MECHANICAL, "jlca_deg", "afta_deg", "knee_flexion_deg") or name.startswith("grood")


def _angle(name: str, spread: Spread, landmarks: Mapping[str, Landmark]) -> Angle:
    definition = DEFINITIONS[name]
    shafts = ""
    if name == "afta_deg":
        lengths = [
            f"{bone} {landmarks[f'{bone}_shaft_proximal'].details['length_mm']:.0f} mm"
            for bone in ("femoral", "tibial")
            if "length_mm" in landmarks[f"{bone}_shaft_proximal"].details
        ]
        shafts = f" ({', '.join(lengths)} of shaft)" if lengths else ""
    return Angle(
        measure=Measure(value=spread.value, sd=spread.sd, method=definition.method + shafts),
        plane=definition.plane, sign=definition.sign, interval=(spread.low, spread.high),
        sd_linear=spread.sd_linear,
    )  # fmt: skip


def _leaning(flexion: Angle) -> Angle:
    method = "axes of the shafts seen, less what shafts of their lengths lean"
    assumed = ("lean of short shafts seen from the side",)
    return replace(flexion, measure=replace(flexion.measure, method=method, assumed=assumed))


def _why(missing: tuple[str, ...], reasons: Mapping[str, str]) -> str:
    for name in missing:
        if name in reasons:
            return reasons[name]
    return f"needs {', '.join(missing)}" if missing else "could not be measured"


def _bent(flexion_deg: float) -> str:
    if flexion_deg < 0.0:
        return f"extended by {-flexion_deg:.0f}° beyond straight"
    return f"flexed by {flexion_deg:.0f}°"


def _warnings(angles: Mapping[str, Angle], residual: float) -> list[Notice]:
    notes = []
    flexion = angles["knee_flexion_deg"].measure
    if flexion.known and abs(flexion.value) > FLEXION_WARN_DEG:
        notes.append(
            Notice(
                "knee_flexion",
                f"the knee is {_bent(flexion.value)}, which may look like "
                f"{abs(crosstalk_deg(flexion.value, AXIS_SD_DEG)):.1f}° of varus or valgus (1 SD, counted "
                f"in); frontal angles grow unreliable beyond {FLEXION_WARN_DEG:g}°",
            )
        )
    if math.isfinite(residual) and abs(residual) > 2.0:
        notes.append(
            Notice(
                "identity",
                f"HKA deviation differs from mLDFA − MPTA + JLCA by {residual:.1f}°: bones rotated or flexed "
                "against each other",
            )
        )
    return notes


def _verdict(
    joint: Kind, angles: Mapping[str, Angle], missing: Mapping[str, str], limit_deg: float, load: Load,
    notes: list[Notice], predicted: Prediction | str | None,
    residual: float,
) -> AlignmentVerdict:  # fmt: skip
    name, normal, sign = {
        "knee": ("hka_deg", 180.0, -1.0), "hip": ("nsa_deg", NSA_NORMAL_DEG, 1.0),
        "ankle": ("mldta_deg", MLDTA_NORMAL_DEG, 1.0),
    }[joint]  # fmt: skip
    measure = angles[name].measure
    if not measure.known:
        return refuse(name, (measure.reason or "could not be measured",), limit_deg=limit_deg, load=load)
    flexion = angles["knee_flexion_deg"].measure
    if joint == "knee" and flexion.known and abs(flexion.value) > MOST_FLEXION_DEG:
        bent = f"the knee is {_bent(flexion.value)} (limit {MOST_FLEXION_DEG:g}°)"
        why = f"{bent}: HKA needs a straighter leg"
        return refuse(name, (why,), limit_deg=limit_deg, load=load)
    rotation = angles["grood_suntay_deg.external_rotation"].measure
    why = contradiction(residual, flexion.value, rotation.value) if joint == "knee" else ""
    if why:
        told = [note.message for note in notes if note.code == "knee_flexion"]
        return refuse(name, (why, *told), limit_deg=limit_deg, load=load)
    reasons = []
    if measure.method.startswith("predicted"):
        outside = [missing[n] for n in ("hip_center", "ankle_center") if n in missing]
        reasons += [*outside, f"the angle is {measure.method}"]
    if joint == "hip":
        version = angles["femoral_version_deg.mechanical"].measure
        if version.known:
            reasons.append(f"femoral version {version.value:.0f}° (about {VERSION_NORMAL_DEG:g}° is usual)")
    if joint == "ankle" and angles["talar_tilt_deg"].measure.known:
        reasons.append(f"talar tilt {angles['talar_tilt_deg'].measure.value:+.1f}°")
    reasons += [note.message for note in notes if note.code in ("knee_flexion", "identity")]
    alone = None
    if joint == "knee" and isinstance(predicted, Prediction):
        alone = (predicted.alone_deg, predicted.alone_sd_deg)
    return judge(
        name, sign * (measure.value - normal), measure.sd, limit_deg=limit_deg, load=load,
        reasons=tuple(reasons), alone=alone,
    )  # fmt: skip
