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

# Lines that run medially, and the two along the neck that do so on any femur. At the knee they keep within
# 90° of each other; version turns the neck's and torsion the ankle's by up to 60°, and the knee itself
# rotates, so that the ankle's may stand further off and the neck's are not held against them.
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
AT_THE_ANKLE = ("medial_malleolus", "plafond_medial", "talar_dome_medial", "pilon_medial")
ALONG_THE_NECK = "hip_center"
OPPOSED = {"knee": 0.0, "ankle": -0.4}  # cosine under which two lines are opposed (assumed)
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


def _lines(points: Points) -> Iterator[tuple[str, str, Floats]]:
    """The medial lines at hand, each across its own bone's axis: where it lies, its name, its direction."""
    axes = {bone: _axis(points, bone) for bone in ("femur", "tibia")}
    for medial, lateral in MEDIAL_LINES:
        if medial not in points or lateral not in points:
            continue
        line = points[medial] - points[lateral]
        neck = medial == ALONG_THE_NECK
        axis = axes["femur" if neck or "condyle" in medial else "tibia"]
        if axis is not None:
            line = line - (line @ axis) * axis
        if np.linalg.norm(line) >= LEAST_APART_MM:
            where = "neck" if neck else "ankle" if medial in AT_THE_ANKLE else "knee"
            yield where, f"{lateral} to {medial}" if neck else f"{medial} and {lateral}", unit(line)


def _opposed(one: tuple[str, str, Floats], other: tuple[str, str, Floats]) -> bool:
    places = {one[0], other[0]}
    if "neck" in places and places != {"neck", "knee"}:
        return False  # two lines along the neck say nothing of names, and the ankle's are too far from it
    limit = OPPOSED["ankle" if places == {"knee", "ankle"} else "knee"]
    return bool(one[2] @ other[2] < limit)


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

    Lines from lateral to medial of one leg are compared along their bones: at the knee, the knee's with the
    neck's and with the ankle's, and the ankle's with each other.
    """
    lines = list(_lines(points))
    against = {line[1]: [other for other in lines if _opposed(line, other)] for line in lines}
    worst = max(lines, key=lambda line: len(against[line[1]]), default=None)
    if worst is None or not against[worst[1]]:
        return
    other = against[worst[1]][0]
    # the one that stands against most is to blame, where there is one
    alone = sum(1 for line in lines if len(against[line[1]]) == len(against[worst[1]])) == 1
    blamed = worst[1].replace(" and ", " or ") if alone and worst[0] != "neck" else "one of them"
    raise ContradictionError(
        f"{worst[1]} run against {other[1]}: medial and lateral are swapped at {blamed}; "
        "check these landmarks"
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


def _rear_tells(points: Points, bone: str, rear: str, fronts: tuple[tuple[str, ...], ...]) -> float:
    """What a bone's rear pair tells against the first of some landmarks ahead of it that are all there."""
    medial, lateral = f"posterior_medial_{rear}", f"posterior_lateral_{rear}"
    middle = _middle(points, medial, lateral)
    if middle is None:
        return 0.0
    across = unit(points[medial] - points[lateral])
    told = (_behind(points, bone, middle, f, across) for f in fronts if all(n in points for n in f))
    return next((t for t in told if t), 0.0)


def _femur_tells(points: Points) -> tuple[float, str]:
    fronts = (
        ("distal_medial_condyle", "distal_lateral_condyle"), ("medial_epicondyle", "lateral_epicondyle"),
        ("femoral_knee_center",),
    )  # fmt: skip
    told = _rear_tells(points, "femur", "condyle", fronts)
    return told, "the posterior condyles" if told else ""


def _tibia_tells(points: Points) -> tuple[float, str]:
    fronts = (("medial_plateau", "lateral_plateau"), ("tibial_knee_center",))
    told = _rear_tells(points, "tibia", "plateau", fronts)
    return told, "the posterior plateaus" if told else ""


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
