"""The named approaches: where on the skin each enters and which recess it aims at, in the joint's axes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from injectplan.anatomy.axes import femoral_head, femoral_neck
from injectplan.anatomy.model import JointModel
from injectplan.errors import EmptyStructureError, UsageError
from injectplan.frames import unit
from injectplan.kernels.bvh import first_hits, nearest_points
from injectplan.kernels.cast import Floats

Way: TypeAlias = tuple[float, float, float] | Callable[[JointModel], Floats]


@dataclass(frozen=True, slots=True)
class Approach:
    """One way in: a zone of skin about an anchor, and the recesses it aims at.

    anchor : joint → (a point inside the limb, the direction in which to look for the skin).
    radius_mm : how far from the skin anchor an entry may lie (assumed).
    recesses : parts of recess names, most wanted first; none matches: every recess.
    heading, cone_deg : which way the needle travels (lateral, anterior, proximal) and by how much it may
        deviate, hard (assumed after the sources' description).
    scan, beam : how the probe is held: a direction its image plane holds and the one it looks in, same axes;
        None: any. They order, and never gate. A direction may be a function of the joint (the neck's axis).
    """

    name: str
    kind: str
    anchor: Callable[[JointModel], tuple[Floats, Floats]]
    radius_mm: float
    recesses: tuple[str, ...]
    heading: Way
    cone_deg: float
    scan: Way | None
    beam: Way | None
    source: str

    def heading_in(self, joint: JointModel) -> Floats:
        """The needle's wanted direction of travel, patient RAS."""
        return unit(_toward(joint, self.heading))

    def scan_in(self, joint: JointModel) -> Floats:
        """The wanted directions of image plane and beam, (2, 3) patient RAS; zero where any serves."""
        rows = [np.zeros(3) if d is None else unit(_toward(joint, d)) for d in (self.scan, self.beam)]
        return np.stack(rows)


def _along(joint: JointModel, parts: tuple[float, float, float]) -> Floats:
    axes = joint.axes
    return parts[0] * axes.lateral + parts[1] * axes.anterior + parts[2] * axes.proximal


def _toward(joint: JointModel, way: Way) -> Floats:
    return way(joint) if callable(way) else _along(joint, way)


def _head(joint: JointModel) -> tuple[Floats, float]:
    """Centre and radius of the femoral head."""
    for name in ("femur", "hip_bone"):
        if name not in joint.structures:
            raise EmptyStructureError(
                f"the approach is found from the {name}, which the model lacks: choose 'any' or supply it"
            )
    return femoral_head(joint.structures["femur"].surface, joint.structures["hip_bone"].surface)


def _neck(joint: JointModel) -> Floats:
    """The femoral neck's direction out of the head, as seen from the front: across the anterior axis."""
    center, radius = _head(joint)
    neck = femoral_neck(joint.structures["femur"].surface, center, radius)
    return unit(neck - (neck @ joint.axes.anterior) * joint.axes.anterior)


def _up_the_neck(joint: JointModel) -> Floats:
    """The needle's way: back and towards the head in the plane of the neck, 50 degrees to the skin."""
    return -0.64 * _neck(joint) - 0.77 * joint.axes.anterior


def _head_neck_junction(joint: JointModel) -> tuple[Floats, Floats]:
    """Skin before a point 45 mm farther along the neck than the junction, which lies a head's radius out."""
    center, radius = _head(joint)
    return center + (radius + 45.0) * _neck(joint), joint.axes.anterior


def _beside_tendon(aside_mm: float, otherwise_mm: float) -> Callable[[JointModel], tuple[Floats, Floats]]:
    """Skin at the ankle's joint line, so far medial of the tibialis anterior tendon's edge."""

    def anchor(joint: JointModel) -> tuple[Floats, Floats]:
        axes, lateral = joint.axes, otherwise_mm
        if "tibialis_anterior_tendon" in joint.structures:
            points = joint.structures["tibialis_anterior_tendon"].surface.vertices_mm - axes.origin_mm
            near = points[np.abs(points @ axes.proximal) < 8.0] @ axes.lateral
            lateral = float(near.min()) - aside_mm if len(near) else otherwise_mm
        return axes.origin_mm + lateral * axes.lateral + 3.0 * axes.proximal, axes.anterior

    return anchor


def _support(joint: JointModel, name: str, direction: Floats) -> Floats:
    """Return the point of a structure farthest along a direction."""
    if name not in joint.structures:
        raise EmptyStructureError(
            f"the approach is found from the {name}, which the model lacks: choose 'any' or supply it"
        )
    vertices = joint.structures[name].surface.vertices_mm
    return np.asarray(vertices[int(np.argmax(vertices @ direction))])


def _out(joint: JointModel, lateral: float, anterior: float) -> Floats:
    return unit(lateral * joint.axes.lateral + anterior * joint.axes.anterior)


def _suprapatellar(sign: float) -> Callable[[JointModel], tuple[Floats, Floats]]:
    def anchor(joint: JointModel) -> tuple[Floats, Floats]:
        aside = sign * joint.axes.lateral
        corner = _support(joint, "patella", unit(aside + joint.axes.proximal))
        return corner + 10.0 * joint.axes.proximal + 10.0 * aside, _out(joint, sign, 0.6)

    return anchor


def _midpatellar(sign: float) -> Callable[[JointModel], tuple[Floats, Floats]]:
    def anchor(joint: JointModel) -> tuple[Floats, Floats]:
        edge = _support(joint, "patella", sign * joint.axes.lateral)
        return edge + 5.0 * sign * joint.axes.lateral, _out(joint, sign, 0.6)

    return anchor


def _anterior_knee(sign: float) -> Callable[[JointModel], tuple[Floats, Floats]]:
    def anchor(joint: JointModel) -> tuple[Floats, Floats]:
        axes = joint.axes
        top = float(_support(joint, "tibia", axes.proximal) @ axes.proximal)
        middle = axes.origin_mm + (top + 10.0 - float(axes.origin_mm @ axes.proximal)) * axes.proximal
        return middle + sign * 22.0 * axes.lateral, axes.anterior

    return anchor


def _from_origin(
    lateral: float, anterior: float, proximal: float, look: tuple[float, float]
) -> Callable[[JointModel], tuple[Floats, Floats]]:
    def anchor(joint: JointModel) -> tuple[Floats, Floats]:
        axes = joint.axes
        point = axes.origin_mm + lateral * axes.lateral + anterior * axes.anterior + proximal * axes.proximal
        return point, _out(joint, *look)

    return anchor


APPROACHES: dict[str, Approach] = {
    a.name: a
    for a in (
        Approach("suprapatellar-lateral", "knee", _suprapatellar(1.0), 30.0,
                 ("suprapatellar",),
                 (-0.94, -0.34, 0.0), 40.0, (1.0, 0.0, 0.0), (0.0, -1.0, 0.0),
                 "1 cm above and lateral of the superolateral patella corner, doi:10.1186/1758-2555-3-6"),
        Approach("suprapatellar-medial", "knee", _suprapatellar(-1.0), 30.0,
                 ("suprapatellar",),
                 (0.94, -0.34, 0.0), 40.0, (1.0, 0.0, 0.0), (0.0, -1.0, 0.0),
                 "the lateral one mirrored; ultrasound success by site: superolateral 100 %, medial 75 %"),
        Approach("midpatellar-lateral", "knee", _midpatellar(1.0), 20.0,
                 ("patellofemoral", "parapatellar", "lateral"),
                 (-0.9, -0.4, 0.0), 40.0, (1.0, 0.0, 0.0), (0.0, -1.0, 0.0),
                 "lateral edge at half patella height, under the patella, doi:10.1186/1758-2555-3-6"),
        Approach("midpatellar-medial", "knee", _midpatellar(-1.0), 20.0,
                 ("patellofemoral", "parapatellar", "medial"),
                 (0.9, -0.4, 0.0), 40.0, (1.0, 0.0, 0.0), (0.0, -1.0, 0.0),
                 "the lateral one mirrored"),
        Approach("anterolateral", "knee", _anterior_knee(1.0), 18.0,
                 ("femorotibial", "tibiofemoral", "notch", "central"),
                 (-0.4, -0.9, 0.0), 45.0, None, None,
                 "soft spot beside the patellar tendon, 10 mm above the joint line (assumed offset 22 mm)"),
        Approach("anteromedial", "knee", _anterior_knee(-1.0), 18.0,
                 ("femorotibial", "tibiofemoral", "notch", "central"),
                 (0.4, -0.9, 0.0), 45.0, None, None,
                 "soft spot beside the patellar tendon, 10 mm above the joint line (assumed offset 22 mm)"),
        Approach("hip-anterior-oblique", "hip", _head_neck_junction, 28.0,
                 ("anterior",),
                 _up_the_neck, 20.0, _neck, (0.0, -1.0, 0.0),
                 "along the neck from distal and lateral to the head-neck junction (Smith; entry assumed)"),
        Approach("hip-lateral", "hip", _from_origin(20.0, 0.0, 0.0, (1.0, 0.35)), 40.0,
                 ("anterior", "lateral", "superior"),
                 (-0.95, -0.2, 0.2), 45.0, None, None,
                 "above and before the greater trochanter (assumed zone)"),
        Approach("ankle-anteromedial", "ankle", _beside_tendon(4.0, -12.0), 18.0,
                 ("anterior",),
                 (0.1, -0.9, 0.4), 50.0, (0.0, 0.0, 1.0), (0.0, -1.0, 0.0),
                 "medial to tibialis anterior at the joint line (its edge; the 4 mm are assumed)"),
        Approach("ankle-anterolateral", "ankle", _from_origin(14.0, 0.0, 3.0, (0.3, 1.0)), 18.0,
                 ("anterior",),
                 (-0.2, -0.9, 0.4), 50.0, (0.0, 0.0, 1.0), (0.0, -1.0, 0.0),
                 "anterolateral sulcus, doi:10.1007/s00276-023-03282-w (assumed offset 14 mm)"),
        Approach("ankle-posterolateral", "ankle", _from_origin(14.0, 0.0, 3.0, (0.5, -1.0)), 20.0,
                 ("posterior",),
                 (-0.3, 0.9, 0.0), 50.0, (0.0, 0.0, 1.0), (0.0, 1.0, 0.0),
                 "lateral to the Achilles tendon (assumed offset 14 mm)"),
    )
}  # fmt: skip


def approach_named(name: str, kind: str) -> Approach | None:
    """Return the approach, None for "any"; one unknown or of another joint raises UsageError."""
    if name == "any":
        return None
    fitting = ", ".join([*(n for n, a in APPROACHES.items() if a.kind == kind), "any"])
    if name not in APPROACHES:
        raise UsageError(f"approach {name!r} is not known; a {kind} has: {fitting}")
    approach = APPROACHES[name]
    if approach.kind != kind:
        raise UsageError(f"approach {name!r} belongs to the {approach.kind}; a {kind} has: {fitting}")
    return approach


def skin_anchor(approach: Approach, joint: JointModel) -> Floats:
    """Where the approach's anchor meets the skin, (3,) mm."""
    point, look = approach.anchor(joint)
    tree = joint.structures["skin"].surface.bvh
    distance, _ = first_hits(tree, point[None], look[None])
    if np.isfinite(distance[0]) and distance[0] < 120.0:
        return np.asarray(point + distance[0] * look)
    return np.asarray(nearest_points(tree, point[None])[1][0])


def label_of(entry_mm: Floats, recess: str, joint: JointModel, anchors: dict[str, Floats]) -> str:
    """Return the named approach in whose zone an entry lies and whose recess it aims at, else "any"."""
    best, nearest = "any", np.inf
    for name, anchor in anchors.items():
        approach = APPROACHES[name]
        away = float(np.linalg.norm(entry_mm - anchor)) / approach.radius_mm
        aims = any(part in recess for part in approach.recesses)
        if away <= 1.0 and aims and away < nearest:
            best, nearest = name, away
    return best


def anchors_of(joint: JointModel) -> dict[str, Floats]:
    """Skin anchors of every approach that this joint's structures allow."""
    result = {}
    for name, approach in APPROACHES.items():
        if approach.kind != joint.kind:
            continue
        try:
            result[name] = skin_anchor(approach, joint)
        except EmptyStructureError:
            continue
    return result
