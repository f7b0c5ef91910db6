"""Whether a label map can be what it says: side, medial and lateral, who touches whom, volumes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from injectplan.anatomy.model import Kind, Side
from injectplan.anatomy.t2 import BONE_OF
from injectplan.errors import ContradictionError, EmptyStructureError
from injectplan.frames import unit
from injectplan.imaging.values import LabelMap
from injectplan.kernels.cast import Floats
from injectplan.measure import Notice

# Volumes in mL between which a structure can lie. Low ends of bones are what a joint's scan shows at least;
# high ends are whole bones of large men, and large effusions. Assumed: ranges wide enough for any adult,
# narrow enough that another table's structure falls outside.
VOLUME_ML: Mapping[str, tuple[float, float]] = {
    "femur": (20, 900), "tibia": (15, 700), "fibula": (0, 160), "patella": (4, 45), "hip_bone": (40, 700),
    "sacrum": (0, 450), "talus": (5, 80), "calcaneus": (5, 150), "femoral_cartilage": (1.5, 40),
    "tibial_cartilage": (0.5, 16), "medial_tibial_cartilage": (0.2, 9), "lateral_tibial_cartilage": (0.2, 9),
    "patellar_cartilage": (0.2, 9), "acetabular_cartilage": (0.4, 14), "femoral_head_cartilage": (0.6, 16),
    "talar_cartilage": (0.3, 9), "tibial_plafond_cartilage": (0.2, 8), "medial_meniscus": (0.4, 9),
    "lateral_meniscus": (0.4, 9), "synovial_fluid": (0.0, 400), "femoral_lesion": (0.0, 60),
    "tibial_lesion": (0.0, 60), "patellar_lesion": (0.0, 15), "talar_lesion": (0.0, 15),
}  # fmt: skip
_BONES = ("femur", "tibia", "patella", "fibula", "hip_bone", "talus", "calcaneus", "sacrum")
_NEAR_JOINT_MM = 70.0  # of long bones, only this much next to the joint is looked at
_UNDECIDED_MM = 4.0  # a lateral offset smaller than this tells nothing
Points = Mapping[str, Floats]


def check_labels(
    labelmap: LabelMap, kind: Kind, side: Side, needed: Iterable[str] = ()
) -> tuple[Notice, ...]:
    """Return what is odd about a label map, its own notices included; what cannot be raises.

    needed : structures that the command cannot do without.
    Raises EmptyStructureError (a needed structure is empty), ContradictionError (side, medial and lateral
    swapped, a cartilage on another bone, a volume that structure cannot have).
    """
    for name in needed:
        if not labelmap.volume_ml(name) > 0:
            raise EmptyStructureError(
                f"{name} is empty (0 voxels), the {kind} needs it; segment it, or check --labels"
            )
    notices = [*labelmap.notices, *_volumes(labelmap)]
    faces = contacts(labelmap)
    notices += _touching(faces, {name for name in labelmap.structures if labelmap.volume_ml(name) > 0})
    _menisci_on_their_plateaus(faces)
    notices += _side(points_of(labelmap), kind, side)
    return tuple(dict.fromkeys(notices))


def _volumes(labelmap: LabelMap) -> list[Notice]:
    notices = []
    for name in labelmap.structures:
        volume = labelmap.volume_ml(name)
        low, high = VOLUME_ML.get(name, (0.0, np.inf))
        if volume > high or (0 < volume < low and name in _BONES):
            raise ContradictionError(
                f"{name} has {volume:.3g} mL, can have {low:g} to {high:g} mL: another structure carries its "
                f"label; check --labels"
            )
        if 0 < volume < low:
            notices.append(
                Notice("small-structure", f"{name} has {volume:.2g} mL, usual is {low:g} mL and more", name)
            )
    return notices


def contacts(labelmap: LabelMap) -> dict[tuple[str, str], int]:
    """Return how many voxel faces each pair of structures shares, both orders."""
    names = [name for name in labelmap.structures if labelmap.volume_ml(name) > 0]
    index = np.zeros(max([*labelmap.names, *labelmap.counts, 0]) + 1, np.uint8)
    for value, name in labelmap.names.items():
        if name in names and names.index(name) < 255:
            index[value] = names.index(name) + 1
    compact = index[labelmap.labels]
    n = len(names) + 1
    table = np.zeros(n * n, np.int64)
    for axis in range(3):
        first = compact[tuple(slice(None, -1) if a == axis else slice(None) for a in range(3))]
        second = compact[tuple(slice(1, None) if a == axis else slice(None) for a in range(3))]
        differ = (first != second) & (first > 0) & (second > 0)
        table += np.bincount(first[differ].astype(np.int64) * n + second[differ], minlength=n * n)
    square = table.reshape(n, n)
    square = square + square.T
    return {
        (a, b): int(square[i + 1, j + 1])
        for i, a in enumerate(names)
        for j, b in enumerate(names)
        if i != j and square[i + 1, j + 1]
    }


def _touching(faces: Mapping[tuple[str, str], int], occurring: set[str]) -> list[Notice]:
    """Each cartilage lies on its own bone."""
    notices = []
    for name in sorted(occurring & set(BONE_OF)):
        own = BONE_OF[name]
        touched = {b: faces.get((name, b), 0) for b in _BONES if faces.get((name, b), 0)}
        if own not in occurring:
            continue
        other = max(touched, key=lambda b: touched[b], default="")
        if other and other != own and touched[other] > 2 * touched.get(own, 0):
            raise ContradictionError(
                f"{name} lies on the {other} ({touched[other]} voxel faces), not on the {own} "
                f"({touched.get(own, 0)}): their labels are exchanged; check --labels"
            )
        if not touched.get(own):
            notices.append(Notice("no-contact", f"{name} does not touch the {own}", name))
    return notices


def _menisci_on_their_plateaus(faces: Mapping[tuple[str, str], int]) -> None:
    """A meniscus lies on its own side's tibial cartilage, whatever the patient's orientation."""
    right = sum(faces.get((f"{s}_meniscus", f"{s}_tibial_cartilage"), 0) for s in ("medial", "lateral"))
    wrong = sum(
        faces.get((f"{a}_meniscus", f"{b}_tibial_cartilage"), 0)
        for a, b in (("medial", "lateral"), ("lateral", "medial"))
    )
    if wrong > 2 * right:
        raise ContradictionError(
            f"medial_meniscus and lateral_meniscus are swapped against medial_tibial_cartilage and "
            f"lateral_tibial_cartilage ({wrong} voxel faces on the other plateau, {right} on the own); "
            f"check --labels"
        )


def points_of(labelmap: LabelMap, most: int = 20_000) -> dict[str, Floats]:
    """Return the voxel centres of each structure that occurs, RAS mm, at most so many, evenly taken."""
    where = np.flatnonzero(labelmap.labels)
    values = labelmap.labels.ravel()[where]
    result: dict[str, Floats] = {}
    for name in labelmap.structures:
        if name in labelmap.overlaps:
            found: npt.NDArray[np.int64] = np.flatnonzero(labelmap.overlaps[name])
        else:
            found = where[np.isin(values, [v for v, n in labelmap.names.items() if n == name])]
        if len(found):
            found = found[:: max(1, len(found) // most)]
            result[name] = labelmap.to_patient(
                np.column_stack(np.unravel_index(found, labelmap.labels.shape))
            )
    return result


def _first(points: Points, *names: str) -> Floats | None:
    return next((points[name] for name in names if name in points), None)


def _near(points: Floats, direction: Floats, upper: bool, reach: float = _NEAR_JOINT_MM) -> Floats:
    """Keep what lies within reach of the joint: the end of an upper bone below, of a lower one above."""
    along = points @ direction
    keep = along < along.min() + reach if upper else along > along.max() - reach
    return points[keep]


def lateral_offsets(points: Points, kind: Kind) -> dict[str, float]:
    """Return, by cue, how far to the anatomical right-leg-lateral side it points, mm: positive says right.

    The axis is anterior × proximal; anterior comes from the patella (knee) or heel (ankle), else from RAS.
    """
    finder = {"knee": _knee_cues, "hip": _hip_cues, "ankle": _ankle_cues}[kind]
    return {name: round(offset, 3) for name, offset in finder(points).items()}


def _axis(proximal: Floats, front: Floats | None, rear: Floats) -> Floats:
    """Unit axis anterior × proximal."""
    anterior = np.array([0.0, 1.0, 0.0]) if front is None else front.mean(axis=0) - rear.mean(axis=0)
    across = anterior - (anterior @ proximal) * proximal
    if np.linalg.norm(across) < 1e-6:
        across = np.array([1e-6, 1.0, 0.0])
    return np.asarray(np.cross(unit(across), proximal))


def _knee_cues(points: Points) -> dict[str, float]:
    upper = _first(points, "femur", "femoral_cartilage")
    lower = _first(points, "tibia", "tibial_cartilage", "medial_tibial_cartilage")
    if upper is None or lower is None:
        return {}
    rough = unit(upper.mean(axis=0) - lower.mean(axis=0))
    upper, lower = _near(upper, rough, True), _near(lower, rough, False)
    proximal = unit(upper.mean(axis=0) - lower.mean(axis=0))
    axis = _axis(proximal, _first(points, "patella", "patellar_cartilage"), upper)
    cues = {}
    if "fibula" in points and "tibia" in points:
        fibula = points["fibula"]
        top = fibula[fibula @ rough > (lower @ rough).min() - 40.0]
        if len(top):
            cues["fibula"] = float((top.mean(axis=0) - lower.mean(axis=0)) @ axis)
    for name in ("tibial_cartilage", "meniscus"):
        pair = points.get(f"medial_{name}"), points.get(f"lateral_{name}")
        if pair[0] is not None and pair[1] is not None:
            cues[f"medial_{name} and lateral_{name}"] = float(
                (pair[1].mean(axis=0) - pair[0].mean(axis=0)) @ axis
            )
    return cues


def _hip_cues(points: Points) -> dict[str, float]:
    cues = {}
    if "femur" in points and "hip_bone" in points:
        up = np.array([0.0, 0.0, 1.0])
        femur = points["femur"][points["femur"] @ up > (points["femur"] @ up).max() - 100.0]
        cues["hip_bone and femur"] = float(femur.mean(axis=0)[0] - points["hip_bone"].mean(axis=0)[0])
    if "sacrum" in points and ("hip_bone" in points or "femur" in points):
        bone = _first(points, "femur", "hip_bone")
        assert bone is not None
        cues["sacrum"] = float(bone.mean(axis=0)[0] - points["sacrum"].mean(axis=0)[0])
    return cues


def _ankle_cues(points: Points) -> dict[str, float]:
    if "tibia" not in points or "fibula" not in points or "talus" not in points:
        return {}
    talus = points["talus"]
    rough = unit(points["tibia"].mean(axis=0) - talus.mean(axis=0))
    tibia, fibula = _near(points["tibia"], rough, True), _near(points["fibula"], rough, True)
    axis = _axis(rough, talus if "calcaneus" in points else None, points.get("calcaneus", talus))
    return {"fibula": float((fibula.mean(axis=0) - tibia.mean(axis=0)) @ axis)}


def _side(points: Points, kind: Kind, side: Side) -> list[Notice]:
    """Hold the side against what the structures say, and these against one another."""
    cues = {
        name: offset for name, offset in lateral_offsets(points, kind).items() if abs(offset) > _UNDECIDED_MM
    }
    if not cues:
        return [
            Notice(
                "side-undecided",
                f"nothing in the label map tells a right {kind} from a left one; {side} is taken",
            )
        ]
    says: dict[str, Side] = {name: "right" if offset > 0 else "left" for name, offset in cues.items()}
    if any(a != b for a, b in pairwise(says.values())):
        # the bone cannot be swapped with its fellow; then the side asked for; labels in pairs can
        trusted = says.get("fibula", side)
        odd = next(name for name, said in says.items() if said != trusted)
        witness = "the fibula" if "fibula" in says else f"the side given ({side})"
        raise ContradictionError(
            f"{odd} are swapped: they lie {abs(cues[odd]):.0f} mm the wrong way for a {trusted} {kind}, "
            f"which {witness} shows; check the label table and the side"
        )
    found = next(iter(says.values()))
    if found != side:
        raise ContradictionError(
            f"the {kind} is a {found} one by {', '.join(says)} ({abs(next(iter(cues.values()))):.0f} mm), "
            f"the side given is {side}; give {found}, or check that the file is not mirrored"
        )
    return []
