"""What given landmarks say of each other: units, one leg, one frame, medial and lateral, and the side."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np

from injectplan.alignment.values import Landmark
from injectplan.errors import ContradictionError, UnitsError
from injectplan.frames import unit
from injectplan.kernels.cast import Floats

Points = Mapping[str, Floats]

MOST_JLCA_DEG = 60.0  # no knee opens that far: a swap or two frames (assumed)
MOST_KNEE_GAP_MM = 80.0  # between the knee's centres on femur and tibia (assumed)
SMALLEST_EXTENT_MM, LEAST_APART_MM = 10.0, 1.0  # of a leg's landmarks (assumed)
MUST_DIFFER = (
    ("hip_center", "femoral_knee_center"), ("tibial_knee_center", "ankle_center"),
    ("hip_center", "ankle_center"), ("distal_medial_condyle", "distal_lateral_condyle"),
    ("posterior_medial_condyle", "posterior_lateral_condyle"), ("medial_plateau", "lateral_plateau"),
    ("medial_epicondyle", "lateral_epicondyle"), ("plafond_medial", "plafond_lateral"),
    ("posterior_medial_plateau", "posterior_lateral_plateau"), ("medial_malleolus", "lateral_malleolus"),
)  # fmt: skip

# Lines that run medially, and the two along the neck that do so on any femur: version turns them by less
# than 60°, tibial torsion the lower ones by as much, so that two of one leg never differ by 90°.
MEDIAL_LINES = (
    ("posterior_medial_condyle", "posterior_lateral_condyle"),
    ("distal_medial_condyle", "distal_lateral_condyle"),
    ("medial_epicondyle", "lateral_epicondyle"),
    ("medial_plateau", "lateral_plateau"),
    ("posterior_medial_plateau", "posterior_lateral_plateau"),
    ("hip_center", "femoral_neck_base"),
    ("hip_center", "femoral_neck_center"),
    ("medial_malleolus", "lateral_malleolus"),
    ("plafond_medial", "plafond_lateral"),
    ("talar_dome_medial", "talar_dome_lateral"),
    ("pilon_medial", "pilon_lateral"),
)
PROXIMAL_LINES = {
    "femur": (
        ("hip_center", "femoral_knee_center"), ("femoral_shaft_proximal", "femoral_shaft_distal"),
        ("hip_center", "intercondylar_notch"), ("hip_center", "distal_medial_condyle"),
        ("hip_center", "medial_epicondyle"), ("hip_center", "posterior_medial_condyle"),
    ),
    "tibia": (
        ("tibial_knee_center", "ankle_center"), ("tibial_shaft_proximal", "tibial_shaft_distal"),
        ("medial_plateau", "ankle_center"), ("posterior_medial_plateau", "ankle_center"),
    ),
    "leg": (("hip_center", "ankle_center"),),
}  # fmt: skip
LEAST_BEHIND_MM = 5.0  # by less than this nothing is said to lie behind (assumed; condyles lie 20 to 40)
LEAST_BENT_DEG = 25.0  # no knee bends forward by this much (assumed)


def refuse_impossible(points: Points) -> None:
    """Raise where points (name → (3,) mm) cannot be of one leg: units, coincident points, two frames, swaps.

    UnitsError for metres, ContradictionError for the rest.
    """

    def apart(one: str, other: str) -> float:
        both = one in points and other in points
        return float(np.linalg.norm(points[one] - points[other])) if both else math.nan

    if len(points) > 1:
        extent = float(np.ptp(np.array(list(points.values())), axis=0).max())
        if extent < SMALLEST_EXTENT_MM:
            raise UnitsError(
                f"the landmarks lie within {extent:.3g} mm (a knee's: {SMALLEST_EXTENT_MM:g} mm or more): "
                "are they in metres? give millimetres"
            )
    for one, other in MUST_DIFFER:
        if apart(one, other) < LEAST_APART_MM:
            raise ContradictionError(f"{one} and {other} lie at the same place; check the landmarks")
    gap = apart("femoral_knee_center", "tibial_knee_center")
    if gap > MOST_KNEE_GAP_MM:
        raise ContradictionError(
            f"the knee's centres of femur and tibia lie {gap:.0f} mm apart (limit {MOST_KNEE_GAP_MM:g} mm): "
            "the bones lie in two frames"
        )
    refuse_swapped(points)


def refuse_opening(jlca_deg: float) -> None:
    """Raise ContradictionError where plateau and condyles' lines stand further apart than any knee opens."""
    if math.isfinite(jlca_deg) and abs(jlca_deg) > MOST_JLCA_DEG:
        raise ContradictionError(
            f"the plateau line stands at {jlca_deg:.0f}° to the condyles' (limit {MOST_JLCA_DEG:g}°): "
            "medial and lateral are swapped at one bone, or the bones lie in two frames"
        )


def _lines(points: Points) -> Iterator[tuple[str, Floats, int]]:
    """The medial lines at hand, each across its own bone's axis, with how many landmarks name it."""
    axes = {bone: _axis(points, bone) for bone in ("femur", "tibia")}
    for medial, lateral in MEDIAL_LINES:
        if medial not in points or lateral not in points:
            continue
        line = points[medial] - points[lateral]
        neck = medial == "hip_center"
        axis = axes["femur" if neck or "condyle" in medial else "tibia"]
        if axis is not None:
            line = line - (line @ axis) * axis
        if np.linalg.norm(line) >= LEAST_APART_MM:
            name = f"{lateral} to {medial}" if neck else f"{medial} and {lateral}"
            yield name, unit(line), 1 if neck else 2


def _axis(points: Points, bone: str) -> Floats | None:
    """Unit proximal direction of a bone, the other's or the leg's where its own is not told."""
    for which in (bone, "tibia" if bone == "femur" else "femur", "leg"):
        for top, bottom in PROXIMAL_LINES[which]:
            if top not in points or bottom not in points:
                continue
            ends = [points[n] for n in (bottom, bottom.replace("medial", "lateral")) if n in points]
            if top.startswith(("medial", "posterior")):
                other = top.replace("medial", "lateral")
                if other in points:
                    return np.asarray(unit(0.5 * (points[top] + points[other]) - points[bottom]))
            return np.asarray(unit(points[top] - np.mean(ends, axis=0)))
    return None


def refuse_swapped(points: Points) -> None:
    """Raise ContradictionError where one medial-lateral pair runs against the others.

    Every line from lateral to medial of one leg, looked at along its bone, keeps within 90° of the others.
    """
    lines = list(_lines(points))
    for i, (name, line, named) in enumerate(lines):
        for other, against, also in lines[i + 1 :]:
            if line @ against >= 0.0:
                continue
            # the one that stands alone is to blame, where a third line says so
            votes = [sum(1 for _, third, _ in lines if third @ x > 0.0) for x in (line, against)]
            blamed = name if votes[0] < votes[1] else other if votes[1] < votes[0] else ""
            if named + also == 2:
                continue  # two lines along the neck say nothing of names
            raise ContradictionError(
                f"{name} run against {other}: medial and lateral are swapped at "
                + (blamed.replace(" and ", " or ") if blamed else "one of them")
                + "; check these landmarks"
            )


def points_of(landmarks: Mapping[str, Landmark]) -> dict[str, Floats]:
    """The landmarks that are points, name → (3,) mm; directions are left out."""
    return {
        n: np.asarray(lm.position_mm, dtype=np.float64)
        for n, lm in landmarks.items()
        if lm.position_mm is not None
    }


def handed_of(points: Points) -> tuple[float, str]:
    """Return the side that the points show (+1 right, -1 left, 0 where nothing tells), and what shows it.

    Medial and proximal come from the names; the side follows from anything known to lie behind or in front:
    the posterior condyles or plateaus behind the joint's other points, the hip behind the pelvic plane, the
    ankle of a bent knee behind the thigh.
    """
    for look in (_femur_tells, _tibia_tells, _bend_tells, _pelvis_tells):
        told, what = look(points)
        if told:
            return told, what
    return 0.0, ""


def _medial(points: Points, names: tuple[tuple[str, str], ...]) -> Floats | None:
    for medial, lateral in names:
        if medial in points and lateral in points:
            return np.asarray(unit(points[medial] - points[lateral]))
    return None


def _behind(points: Points, bone: str, rear: Floats, fronts: tuple[str, ...], medial: Floats) -> float:
    """The side on which `rear` lies behind the middle of the joint's points; 0 where too near to tell."""
    axis = _axis(points, bone)
    front = [points[n] for n in fronts if n in points]
    if axis is None or not front:
        return 0.0
    rear_of = float((rear - np.mean(front, axis=0)) @ unit(np.cross(axis, medial)))
    return 0.0 if abs(rear_of) < LEAST_BEHIND_MM else float(np.sign(rear_of))


def _middle(points: Points, medial: str, lateral: str) -> Floats | None:
    if medial in points and lateral in points:
        return np.asarray(0.5 * (points[medial] + points[lateral]))
    return None


def _femur_tells(points: Points) -> tuple[float, str]:
    rear = _middle(points, "posterior_medial_condyle", "posterior_lateral_condyle")
    if rear is None:
        return 0.0, ""
    medial = points["posterior_medial_condyle"] - points["posterior_lateral_condyle"]
    for fronts in (
        ("distal_medial_condyle", "distal_lateral_condyle"), ("medial_epicondyle", "lateral_epicondyle"),
        ("femoral_knee_center",), ("tibial_knee_center",), ("medial_plateau", "lateral_plateau"),
    ):  # fmt: skip
        if all(n in points for n in fronts):
            told = _behind(points, "femur", rear, fronts, unit(medial))
            if told:
                return told, "the posterior condyles"
    return 0.0, ""


def _tibia_tells(points: Points) -> tuple[float, str]:
    rear = _middle(points, "posterior_medial_plateau", "posterior_lateral_plateau")
    if rear is None:
        return 0.0, ""
    medial = points["posterior_medial_plateau"] - points["posterior_lateral_plateau"]
    for fronts in (("medial_plateau", "lateral_plateau"), ("tibial_knee_center",)):
        if all(n in points for n in fronts):
            told = _behind(points, "tibia", rear, fronts, unit(medial))
            if told:
                return told, "the posterior plateaus"
    return 0.0, ""


def _bend_tells(points: Points) -> tuple[float, str]:
    thigh, shin = _axis(points, "femur"), _axis(points, "tibia")
    medial = _medial(points, MEDIAL_LINES[:5])
    if thigh is None or shin is None or medial is None:
        return 0.0, ""
    backwards = np.cross(thigh, unit(medial - (medial @ thigh) * thigh))  # on a right leg
    bend = math.degrees(math.atan2(float(-shin @ backwards), float(shin @ thigh)))
    if abs(bend) < LEAST_BENT_DEG:
        return 0.0, ""
    return float(np.sign(bend)), f"a knee bent by {abs(bend):.0f}°"


def _pelvis_tells(points: Points) -> tuple[float, str]:
    names = ("anterior_superior_iliac_spine", "opposite_anterior_superior_iliac_spine")
    middle = _middle(points, *names)
    if middle is None or "pubic_tubercle_midpoint" not in points or "hip_center" not in points:
        return 0.0, ""
    lateral = unit(points[names[0]] - points[names[1]])
    backwards = unit(np.cross(points["pubic_tubercle_midpoint"] - middle, lateral))  # on a right leg
    behind = float((points["hip_center"] - middle) @ backwards)
    return (0.0, "") if abs(behind) < LEAST_BEHIND_MM else (float(np.sign(behind)), "the pelvis")
