"""A joint's anatomical directions, found from the shape of its bones in any pose.

Nothing here trusts the scanner's axes: proximal comes from how the bones follow each other, anterior and
lateral from shape (patella, fibula, overhang of the condyles, malleolus, ischium and pubis). Whether the
three form a right leg or a left one is then a finding, which a stated side may contradict.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from injectplan.anatomy.model import JointAxes, Kind, Side
from injectplan.errors import ContradictionError, EmptyStructureError, UsageError
from injectplan.frames import unit
from injectplan.imaging.values import Surface
from injectplan.kernels.bvh import nearest_points
from injectplan.kernels.cast import Floats
from injectplan.measure import Notice

SLAB_MM = 4.0
COARSE_TRIANGLE_MM2 = 3.0
SHAFT_FROM_MM = 55.0  # the metaphyses of femur and tibia flare over about this length from the joint line
SHAFT_TO_MM = 200.0
SHORT_SHAFT_MM = 45.0
NEEDED: Mapping[Kind, tuple[str, str]] = {
    "knee": ("femur", "tibia"),
    "hip": ("femur", "hip_bone"),
    "ankle": ("tibia", "talus"),
}
ASSUMED_VERSION_DEG = 12.0  # neck before the condylar plane: 10-16 degrees in 375 dry and 1070 scanned femora
ASSUMED_PUBIS_DEG = 22.0  # symphysis before the frontal plane, seen from the head: 10-32 in three pelves


@dataclass(frozen=True)
class _Cloud:
    """Points spread over a bone's surface with their share of its area."""

    points: Floats
    weights: Floats

    @classmethod
    def of(cls, surface: Surface) -> _Cloud:
        """Spread points over the triangles, about one per 4 mm², so that coarse meshes count by area too."""
        corners = surface.vertices_mm[surface.triangles]
        parts = np.clip(np.ceil(np.sqrt(surface.triangle_areas_mm2) / 2.0), 1, 24).astype(int)
        points, weights = [], []
        for count in np.unique(parts):
            here = parts == count
            shares = spots(int(count))
            points.append(np.einsum("sc,tcx->tsx", shares, corners[here]).reshape(-1, 3))
            weights.append(np.repeat(surface.triangle_areas_mm2[here] / len(shares), len(shares)))
        return cls(np.concatenate(points), np.concatenate(weights))

    @property
    def center(self) -> Floats:
        """Mean of the points by area, (3,) mm."""
        return np.asarray(np.average(self.points, axis=0, weights=self.weights))

    def where(self, keep: np.ndarray) -> _Cloud:
        """Keep the points of a mask (n,)."""
        return _Cloud(self.points[keep], self.weights[keep])

    def principal(self, normal: Floats) -> tuple[Floats, float]:
        """Direction of greatest spread across `normal`, and the ratio of the two spreads."""
        flat = self.points - self.center
        flat = flat - np.outer(flat @ normal, normal)
        values, vectors = np.linalg.eigh((flat * self.weights[:, None]).T @ flat)
        return vectors[:, 2], float(np.sqrt(values[2] / max(values[1], 1e-12)))


def points_over(surface: Surface) -> Floats:
    """Points that cover a surface, (n, 3) mm: its vertices, or of a coarse mesh points over its triangles."""
    if float(np.mean(surface.triangle_areas_mm2)) < COARSE_TRIANGLE_MM2:
        return surface.vertices_mm
    return np.concatenate([surface.vertices_mm, _Cloud.of(surface).points])


def spots(count: int) -> Floats:
    """Barycentric centres of the count² equal triangles that a triangle splits into, (count², 3)."""
    upright = [(i + 1 / 3, j + 1 / 3) for i in range(count) for j in range(count - i)]
    upside = [(i + 2 / 3, j + 2 / 3) for i in range(count - 1) for j in range(count - 1 - i)]
    uv = np.array(upright + upside) / count
    return np.column_stack([1.0 - uv.sum(axis=1), uv])


def _across(vector: Floats, axis: Floats) -> Floats:
    """The unit part of a vector across an axis."""
    return unit(vector - (vector @ axis) * axis)


def shaft_axis(
    surface: Surface, towards: Floats, from_mm: float, to_mm: float
) -> tuple[Floats, Floats, float]:
    """Fit a line through the centres of a long bone's sections.

    towards : rough direction along the bone, pointing away from the joint.  from_mm, to_mm : which stretch,
    measured from the bone's end at the joint.  A bone that ends sooner gives what it has of its last 40 %;
    where that is under 45 mm the flare would tilt the line of centres (20 degrees on a femur cut at 76 mm),
    so the direction is then the one most nearly along the surface (5 degrees).
    Returns a point (3,) mm, the unit direction (3,) along `towards`, and the length used in mm.
    """
    cloud = _Cloud.of(surface)
    axis, center, used = unit(towards), cloud.center, 0.0
    for _ in range(3):
        begin, end = _stretch(cloud.points @ axis, from_mm, to_mm)
        centers = _section_centers(cloud, axis, begin, end)
        if len(centers) < 3:
            break
        used, center = end - begin, centers.mean(axis=0)
        direction = _along_surface(surface, axis, begin, end) if used < SHORT_SHAFT_MM else _line(centers)
        axis = direction if direction @ axis > 0 else -direction
    return center, axis, used


def _stretch(along: Floats, from_mm: float, to_mm: float) -> tuple[float, float]:
    low, high = float(along.min()), float(along.max())
    last = high - 3.0 - 0.04 * (high - low)  # the cap of a bone cut by the scan is no section
    return min(low + from_mm, last - 0.4 * (high - low)), min(low + to_mm, last)


def _section_centers(cloud: _Cloud, axis: Floats, begin: float, end: float) -> Floats:
    along = cloud.points @ axis
    count = max(int((end - begin) / SLAB_MM), 1)
    index = np.floor((along - begin) / (end - begin) * count)
    slabs = [index == slab for slab in range(count)]
    return np.array([cloud.where(here).center for here in slabs if here.sum() >= 6]).reshape(-1, 3)


def _line(points: Floats) -> Floats:
    return np.asarray(np.linalg.svd(points - points.mean(axis=0))[2][0])


def _along_surface(surface: Surface, axis: Floats, begin: float, end: float) -> Floats:
    """The direction that the surface's normals avoid most, on the stretch's flanks."""
    height = surface.vertices_mm @ axis
    normals = surface.vertex_normals
    kept = (height > begin) & (height < end) & (np.abs(normals @ axis) < 0.6)
    flank, weights = normals[kept], surface.vertex_areas_mm2[kept]
    return np.asarray(np.linalg.eigh((flank * weights[:, None]).T @ flank)[1][:, 0])


@dataclass(frozen=True)
class _Frame:
    """Directions found so far; `right` is +1 for a right leg's handedness, -1 for a left's, 0 unknown."""

    origin: Floats
    proximal: Floats
    anterior: Floats
    right: float
    evidence: str
    flexion_deg: float = float("nan")
    notices: tuple[Notice, ...] = ()


def _condyles(femur: _Cloud, proximal: Floats, lateral: Floats, axis_point: Floats) -> tuple[_Cloud, _Cloud]:
    """Split the condylar part of a femur at its middle: (towards -lateral, towards +lateral)."""
    height = femur.points @ proximal
    low = femur.where(height < height.min() + 40.0)
    across = low.points @ lateral
    middle = 0.5 * (np.quantile(across, 0.02) + np.quantile(across, 0.98))
    return low.where(across < middle), low.where(across >= middle)


def _extreme(cloud: _Cloud, direction: Floats, share: float = 0.004) -> Floats:
    """Mean of the points that reach farthest along a direction."""
    reach = cloud.points @ direction
    return np.asarray(cloud.points[reach >= np.quantile(reach, 1.0 - share)].mean(axis=0))


def _knee(bones: Mapping[str, Surface]) -> _Frame:
    femur, tibia = _Cloud.of(bones["femur"]), _Cloud.of(bones["tibia"])
    rough = _rough_proximal(bones["femur"], bones["tibia"])
    shaft_point, proximal, femur_used = shaft_axis(bones["femur"], rough, SHAFT_FROM_MM, SHAFT_TO_MM)
    _, down, tibia_used = shaft_axis(bones["tibia"], -rough, SHAFT_FROM_MM, SHAFT_TO_MM)
    height = tibia.points @ -down
    plateau = tibia.where(height > height.max() - 25.0)
    line, _ = plateau.principal(proximal)
    anterior = np.cross(line, proximal)
    low = femur.where(femur.points @ proximal < (femur.points @ proximal).min() + 40.0)
    overhang = (low.center - shaft_point) @ anterior  # the condyles stand behind the shaft's line
    if overhang > 0:
        anterior = -anterior
    notices: list[Notice] = []
    if "patella" in bones:
        ahead = float((_Cloud.of(bones["patella"]).center - low.center) @ anterior)
        if ahead < 0:
            anterior = -anterior
    # the posterior condylar line replaces the plateau's long axis
    line = np.cross(anterior, proximal)
    for _ in range(2):
        one, other = _condyles(femur, proximal, line, shaft_point)
        line = _across(_extreme(other, -anterior) - _extreme(one, -anterior), proximal)
        anterior = np.cross(proximal, line)
    one, other = _condyles(femur, proximal, line, shaft_point)
    origin = 0.5 * (_extreme(one, -proximal) + _extreme(other, -proximal))
    right, evidence = _knee_handedness(bones, one, other, proximal, anterior, line, shaft_point)
    flexion = float("nan")
    if min(femur_used, tibia_used) >= 15.0:
        up = -down
        flexion = float(np.degrees(np.arctan2(up @ anterior, up @ proximal)))
    return _Frame(origin, proximal, anterior, right, evidence, flexion, tuple(notices))


def _rough_proximal(upper: Surface, lower: Surface) -> Floats:
    """From the lower bone's middle to the upper's."""
    return unit(_Cloud.of(upper).center - _Cloud.of(lower).center)


def _knee_handedness(
    bones: Mapping[str, Surface],
    one: _Cloud,
    other: _Cloud,
    proximal: Floats,
    anterior: Floats,
    line: Floats,
    shaft_point: Floats,
) -> tuple[float, str]:
    """Whether +line (anterior × proximal, lateral on a right leg) is lateral: fibula first, else shape.

    Shape: the lateral ridge of the trochlea stands farther forward, and the shaft leans to the lateral side
    going up from the distal condylar tangent (aLDFA 81 ± 2 degrees).
    """
    if "fibula" in bones:
        offset = float((_Cloud.of(bones["fibula"]).center - _Cloud.of(bones["tibia"]).center) @ line)
        return float(np.sign(offset)), "fibula"
    ridge = float((_extreme(other, anterior) - _extreme(one, anterior)) @ anterior)
    tangent = unit(_extreme(other, -proximal) - _extreme(one, -proximal))
    lean = float(np.degrees(np.arcsin(np.clip(tangent @ proximal, -1, 1))))
    score = ridge / 3.0 + lean / 5.0
    return (float(np.sign(score)) if abs(score) > 0.5 else 0.0), "shape of the femoral condyles"


def _sphere(points: Floats) -> tuple[Floats, float]:
    """Least-squares sphere, trimmed: centre and radius."""
    keep = np.ones(len(points), bool)
    center, radius = points.mean(axis=0), 0.0
    for _ in range(8):
        p = points[keep]
        system = np.column_stack([2.0 * p, np.ones(len(p))])
        solution = np.linalg.lstsq(system, (p * p).sum(axis=1), rcond=None)[0]
        center = solution[:3]
        radius = float(np.sqrt(max(solution[3] + center @ center, 0.0)))
        off = np.abs(np.linalg.norm(points - center, axis=1) - radius)
        keep = off <= max(1.0, 1.5 * float(np.median(off)))
    return center, radius


def femoral_head(femur: Surface, hip_bone: Surface) -> tuple[Floats, float]:
    """Centre (3,) mm and radius of the femoral head: the sphere through what faces the hip bone nearest."""
    points = _Cloud.of(femur).points
    distance, _, _ = nearest_points(hip_bone.bvh, points)
    near = distance < max(6.0, float(np.quantile(distance, 0.002)) + 5.0)
    center, radius = _sphere(points[near])
    for _ in range(3):
        ball = np.linalg.norm(points - center, axis=1) < radius + 1.5
        center, radius = _sphere(points[ball])
    return center, radius


def femoral_neck(femur: Surface, center_mm: Floats, radius_mm: float) -> Floats:
    """Unit direction along the femoral neck, from the head's centre (3,) mm outwards.

    The mean direction, by area, of what lies 1.13 to 1.5 head radii from the centre, where the neck stands
    alone; of a coarse mesh as of a fine one. A second look leaves out what lies 60 degrees off the first (the
    trochanter's tip).
    """
    cloud = _Cloud.of(femur)
    away = cloud.points - center_mm
    length = np.linalg.norm(away, axis=1)
    near = (length > 1.13 * radius_mm) & (length < 1.5 * radius_mm)
    ways, weights = away[near] / length[near, None], cloud.weights[near]
    neck = unit(np.average(ways, axis=0, weights=weights))
    for _ in range(3):
        kept = ways @ neck > 0.5
        neck = unit(np.average(ways[kept], axis=0, weights=weights[kept]))
    return neck


def _turned(vector: Floats, axis: Floats, angle_deg: float) -> Floats:
    """Turn a vector across an axis about it."""
    angle = np.radians(angle_deg)
    return np.asarray(np.cos(angle) * vector + np.sin(angle) * np.cross(axis, vector))


def _hip(bones: Mapping[str, Surface]) -> _Frame:
    femur, pelvis = _Cloud.of(bones["femur"]), _Cloud.of(bones["hip_bone"])
    head, _ = femoral_head(bones["femur"], bones["hip_bone"])
    point, down, _ = shaft_axis(bones["femur"], unit(femur.center - head), 90.0, 300.0)
    proximal = -down
    medial = _across(head - point, proximal)
    anterior = np.cross(medial, proximal)
    inner = _extreme(pelvis, medial, 0.03)  # the pubis
    lowest = _extreme(pelvis, -proximal, 0.05)  # the ischial tuberosity
    if (inner - lowest) @ anterior < 0:
        anterior = -anterior
    right = float(np.sign(np.cross(-medial, anterior) @ proximal))
    along = femur.points @ proximal
    notices: tuple[Notice, ...] = ()
    if along.max() - along.min() > 330.0:  # the condyles are there
        line, _ = femur.where(along < along.min() + 30.0).principal(proximal)
        line = line if line @ medial < 0 else -line
        anterior = unit(np.cross(line, proximal) * -right)
    else:
        necks = _turned(anterior, proximal, ASSUMED_VERSION_DEG * right)
        across = np.cross(_across(inner - head, proximal), proximal)
        pubis = _turned(across, proximal, ASSUMED_PUBIS_DEG * right)
        anterior = unit(necks + (pubis if pubis @ necks > 0 else -pubis))
        notices = (
            Notice(
                "version-assumed",
                f"the femoral condyles are not in the scan: the hip's anterior direction assumes "
                f"{ASSUMED_VERSION_DEG:g} degrees of femoral version (it may be 20 degrees off)",
                "femur",
            ),
        )
    return _Frame(head, proximal, anterior, right, "neck, pubis and ischium", notices=notices)


def _ankle(bones: Mapping[str, Surface]) -> _Frame:
    tibia, talus = _Cloud.of(bones["tibia"]), _Cloud.of(bones["talus"])
    point, proximal, _ = shaft_axis(bones["tibia"], tibia.center - talus.center, 40.0, 160.0)
    length, _ = talus.principal(proximal)
    reach = (talus.points - _extreme(talus, proximal, 0.1)) @ length  # the head reaches farther from the dome
    anterior = length if reach.max() > -reach.min() else -length
    anterior = _across(anterior, proximal)
    line = np.cross(anterior, proximal)
    along = tibia.points @ proximal
    end = tibia.where(along < along.min() + 5.0)  # the medial malleolus
    evidence = "medial malleolus"
    offset = -float((end.center - talus.center) @ line)
    if "fibula" in bones:
        fibula = _Cloud.of(bones["fibula"])
        height = fibula.points @ proximal
        offset = float((fibula.where(height < along.min() + 40.0).center - talus.center) @ line)
        evidence = "fibula"
    middle = talus.where(np.abs((talus.points - point) @ line) < 6.0)
    middle = middle.where(np.abs((middle.points - point) @ anterior) < 20.0)
    origin = _extreme(middle, proximal, 0.02)
    return _Frame(origin, proximal, anterior, float(np.sign(offset)) if abs(offset) > 3.0 else 0.0, evidence)


_FINDERS: Mapping[Kind, Callable[[Mapping[str, Surface]], _Frame]] = {
    "knee": _knee,
    "hip": _hip,
    "ankle": _ankle,
}


def _pose_notices(frame: _Frame, lateral: Floats, side: Side) -> list[Notice]:
    """Warn where the directions do not lie as in a patient lying on the back in RAS."""
    outward = 1.0 if side == "right" else -1.0
    lies = {"upwards": frame.proximal[2], "forwards": frame.anterior[1], "outwards": outward * lateral[0]}
    odd = [name for name, value in lies.items() if value < 0.0]
    if not odd:
        return []
    return [
        Notice(
            "frame-unusual",
            f"the {side} leg does not point {' and '.join(odd)} in the patient's RAS frame: "
            "check the file's frame (LPS read as RAS?) or the patient's position",
        )
    ]


def joint_axes(kind: Kind, side: Side | None, bones: Mapping[str, Surface]) -> JointAxes:
    """Find a joint's directions and centre from its bones' surfaces, in any pose, cut bones too.

    Knee: femur and tibia (patella, fibula help); proximal is the femur's shaft, the origin the middle of the
    two most distal points of the condyles. Hip: femur and hip bone; origin the head's centre. Ankle: tibia
    and talus (fibula helps); origin the top of the talar dome.
    side None: found from the bones.

    Raises EmptyStructureError for a missing bone, ContradictionError when the bones are those of the other
    side, UsageError when no side is given and the bones do not tell it.
    """
    missing = [name for name in NEEDED[kind] if name not in bones or not len(bones[name].triangles)]
    if missing:
        raise EmptyStructureError(
            f"a {kind} needs {' and '.join(NEEDED[kind])}; {', '.join(missing)} is empty or not given"
        )
    frame = _FINDERS[kind](bones)
    notices = list(frame.notices)
    found: Side | None = None if frame.right == 0 else "right" if frame.right > 0 else "left"
    if side is None:
        if found is None:
            raise UsageError(f"the bones of this {kind} do not tell its side: state it (left or right)")
        side = found
    elif found is None:
        notices.append(
            Notice(
                "side-undecided", f"the bones do not tell whether this is a {side} {kind}; taken as stated"
            )
        )
    elif found != side:
        raise ContradictionError(
            f"the {kind} is said to be a {side} one, but its bones are those of a {found} "
            f"({frame.evidence}): "
            "state the other side, or check that the images are not mirrored"
        )
    lateral = np.cross(frame.anterior, frame.proximal) * (1.0 if side == "right" else -1.0)
    notices += _pose_notices(frame, lateral, side)
    return JointAxes(
        side=side,
        origin_mm=np.asarray(frame.origin),
        lateral=unit(lateral),
        anterior=unit(frame.anterior),
        proximal=unit(frame.proximal),
        flexion_deg=frame.flexion_deg,
        notices=tuple(notices),
    )
