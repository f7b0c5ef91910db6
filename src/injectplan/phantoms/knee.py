"""The parametric knee: bones, cartilage, menisci, an effusion and a defect, on any grid, with their truth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import numpy.typing as npt

from injectplan.frames import Pose
from injectplan.imaging.values import LabelMap, Surface
from injectplan.kernels.cast import Bools, Floats, Floats32
from injectplan.phantoms import knee_bones, knee_cartilage
from injectplan.phantoms.effusion import bulge_order, shoulder
from injectplan.phantoms.grids import grid_over, rotation, side_matrix
from injectplan.phantoms.implicit import Curve, Solid, index_box, smooth_min, voxelise
from injectplan.phantoms.knee_cartilage import DEFAULT_MM, DefectShape
from injectplan.phantoms.layers import (
    Bone,
    Layer,
    area_mm2,
    build_bone,
    cartilage_points,
    clearance_to_cartilage,
    layer_truth,
    moved_surface,
    paint_bone,
    shell,
)
from injectplan.phantoms.values import (
    JOINT_GRID,
    Choice,
    Parameters,
    Phantom,
    Range,
    Truth,
    Value,
    effective,
    grid_of,
    icrs_grade,
    number,
    side_of,
    word,
)

VALUES = {
    "femoral_cartilage": 1, "medial_tibial_cartilage": 2, "lateral_tibial_cartilage": 3,
    "patellar_cartilage": 4, "femur": 5, "tibia": 6, "patella": 7, "fibula": 8, "lateral_meniscus": 9,
    "medial_meniscus": 10, "femoral_lesion": 11, "synovial_fluid": 12,
}  # fmt: skip

TABLE: dict[str, Range | Choice] = {
    "side": Choice(default="right", words=("left", "right")),
    "sex": Choice(default="female", words=("female", "male")),
    "bmi": Range(default=25.0, low=14.0, high=60.0),
    "size": Range(default=1.0, low=0.75, high=1.3),
    "flexion_deg": Range(default=0.0, low=0.0, high=60.0),
    "varus_deg": Range(default=0.0, low=-25.0, high=25.0),
    "mldfa_deg": Range(default=87.5, low=75.0, high=100.0),
    "mpta_deg": Range(default=87.5, low=75.0, high=100.0),
    "effusion_ml": Range(default=0.0, low=0.0, high=60.0),
    "cartilage_scale": Range(default=1.0, low=0.3, high=2.0),
    "shaft_mm": Range(default=90.0, low=40.0, high=150.0),
    "defect": Choice(default="none", words=("none", "ocd")),
    "defect_ap_mm": Range(default=9.0, low=2.0, high=16.0),
    "defect_ml_mm": Range(default=6.5, low=2.0, high=9.0),
    "defect_depth_mm": Range(default=4.0, low=0.0, high=10.0),
    "defect_cartilage_lost": Range(default=1.0, low=0.0, high=1.0),
    **JOINT_GRID,
}

BACKWARD = 2.5  # how much further the recess opens forward than backward (assumed)
_UNDER_POLE_MM, _POLE_EDGE_MM = 1.0, 10.0  # the pouch ends behind the pole, rounded over so much (assumed)
_GUTTER_MM = 2.4  # the gutters' fluid lies on synovium over bone and cartilage
_GUTTER_STIFF_MM = 12.0  # at which their wall gives half as readily as at rest (assumed)
_GUTTER_EDGE_MM = 22.0  # over which the gutters' wall turns over onto the bone (assumed)
# height of the gutters' upper edge by y, medial and lateral: in front, at the epicondyle, behind (MRI of 50
# knees and 20 cadavers, PMID 34829311; the lateral 65 mm in front is the pouch's)
_GUTTER_TOP = (
    Curve((-14.0, 2.0, 28.0), (19.9, 17.4, 45.7)),
    Curve((-14.0, 2.0, 28.0), (15.2, 27.4, 62.0)),
)
_CONTACT_MM = 0.35  # fluid film between touching cartilages (assumed), so that labels stay apart


@dataclass(frozen=True, eq=False)
class KneeShape:
    """The knee in its right-hand frame at size 1: what is voxelised."""

    femur: Bone
    tibia: Bone
    fibula: Bone
    patella: Bone
    mm: dict[str, float]
    defect: DefectShape | None
    size: float

    @cached_property
    def pole_mm(self) -> Floats:
        """The patella's upper pole in the joint's frame, (3,)."""
        points = self.patella.joint_surface().vertices_mm
        return np.asarray(points[int(np.argmax(points[:, 2]))])

    @property
    def bones(self) -> tuple[Bone, ...]:
        """All bones, in the order in which they are written."""
        return (self.femur, self.tibia, self.patella, self.fibula)


def flexion_pose(flexion_deg: float) -> Pose:
    """Motion of the tibia about the flexion axis, along x through the posterior condyles' centres."""
    center = np.array([0.0, *knee_bones.CONDYLE_AXIS])
    turn = rotation((1.0, 0.0, 0.0), -flexion_deg)
    return Pose(turn, center - turn @ center)


def _patella_pose(flexion_deg: float, out_mm: float) -> Pose:
    """The patella glides on the trochlear circle by 0.65 of the knee's flexion (assumed)."""
    angle = 14.0 - 0.65 * flexion_deg
    turn = rotation((1.0, 0.0, 0.0), angle - 8.0)
    c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    y, z = knee_bones.TROCHLEA_CENTER
    return Pose(turn, np.array([0.5, y + out_mm * c, z + out_mm * s]))


def _settled(bone: Bone, against: Bone, direction: Floats) -> Bone:
    """Move a bone along a direction until its cartilage comes within the contact film of the other's."""
    points = cartilage_points(bone)[::3]
    for _ in range(4):
        gap = float(clearance_to_cartilage(against, points).min())
        step = (_CONTACT_MM - gap) * direction
        points, bone = points + step, bone.moved(Pose(np.eye(3), step))
        if abs(gap - _CONTACT_MM) < 0.02:
            break
    return bone


def _defect(p: Parameters, size: float) -> DefectShape | None:
    if word(p, "defect") == "none":
        return None
    return DefectShape(
        angle_deg=12.0, x_mm=-19.5, radius_ml_mm=number(p, "defect_ml_mm") / size,
        radius_ap_mm=number(p, "defect_ap_mm") / size, cartilage_lost=number(p, "defect_cartilage_lost"),
        bone_depth_mm=number(p, "defect_depth_mm") / size,
    )  # fmt: skip


def knee_shape(p: Parameters) -> KneeShape:
    """Build the bones with their cartilage and put them together in the stated flexion."""
    size, flexion = number(p, "size"), number(p, "flexion_deg")
    mm = {zone: t * number(p, "cartilage_scale") / size for zone, t in DEFAULT_MM.items()}
    defect = _defect(p, size)
    reach = number(p, "shaft_mm") + 62.0
    top = max(mm.values())
    mechanical = 90.0 - number(p, "mldfa_deg")
    tibial_lean = 90.0 - number(p, "mpta_deg") + number(p, "varus_deg")
    femur = build_bone(
        "femur", knee_bones.femur_solid(top_mm=reach, lean_deg=mechanical + 5.5), 0.9,
        (Layer("femoral_cartilage", partial(knee_cartilage.femoral_thickness, mm=mm, defect=defect), top),),
    )  # fmt: skip
    plateaus = tuple(
        Layer(f"{s}_tibial_cartilage", partial(knee_cartilage.tibial_thickness, side=s, mm=mm), top)
        for s in ("medial", "lateral")
    )
    tibia = build_bone("tibia", knee_bones.tibia_solid(bottom_mm=reach, lean_deg=tibial_lean), 0.9, plateaus)
    fibula = build_bone("fibula", knee_bones.fibula_solid(bottom_mm=reach, lean_deg=tibial_lean), 0.9)
    layer = Layer("patellar_cartilage", partial(knee_cartilage.patellar_thickness, mm=mm), top)
    patella = build_bone("patella", knee_bones.patella_solid(), 0.8, (layer,))
    bend = flexion_pose(flexion)
    tibia = _settled(tibia.moved(bend), femur, bend.rotate(np.array([0.0, 0.0, -1.0])))
    fibula = fibula.moved(tibia.to_joint)
    pose = _patella_pose(flexion, 37.0 + mm["trochlea"] + mm["patella"] - 5.2)
    forward = rotation((1.0, 0.0, 0.0), 14.0 - 0.65 * flexion) @ np.array([0.0, 1.0, 0.0])
    patella = _settled(patella.moved(pose), femur, forward)
    return KneeShape(femur, tibia, fibula, patella, mm, defect, size)


def _paint_menisci(labels: npt.NDArray[np.uint16], to_joint: Floats, shape: KneeShape) -> None:
    to_tibia = shape.tibia.to_joint.inverse().matrix @ to_joint
    for side in ("medial", "lateral"):
        value = partial(knee_cartilage.meniscus_value, side=side, cartilage_mm=shape.mm[f"{side}_plateau"])
        solid = Solid(value, np.array([-42.0, -40.0, -10.0]), np.array([42.0, 16.0, 14.0]))
        inside = voxelise(solid, to_tibia, labels.shape)
        labels[inside & (labels == 0)] = VALUES[f"{side}_meniscus"]


def _paint_lesion(labels: npt.NDArray[np.uint16], to_joint: Floats, shape: KneeShape) -> None:
    """Osteochondritis dissecans: the bone bed under the defect, half an ellipsoid deep."""
    if shape.defect is None or shape.defect.bone_depth_mm <= 0:
        return
    bed = _lesion_box(shape)
    low, high = index_box(bed, to_joint, labels.shape)
    part = labels[low[0] : high[0], low[1] : high[1], low[2] : high[2]]
    index = np.argwhere(part == VALUES["femur"])
    where = (index + low) @ to_joint[:3, :3].T + to_joint[:3, 3]
    rho = shape.defect.rho(where)
    depth = -shape.femur.solid(where)
    inside = (rho < 1.0) & (where[:, 2] < 20.0)
    inside &= depth < shape.defect.bone_depth_mm * np.sqrt(np.maximum(1.0 - rho * rho, 0.0))
    chosen = index[inside]
    part[chosen[:, 0], chosen[:, 1], chosen[:, 2]] = VALUES["femoral_lesion"]


def _lesion_box(shape: KneeShape) -> Solid:
    return Solid(shape.femur.solid, np.array([-34.0, -40.0, 0.0]), np.array([-8.0, 4.0, 24.0]))


def effusion_order(p: Floats, shape: KneeShape) -> Floats:
    """When fluid reaches a point as the recess fills: smaller first, infinite where it never comes, (n,).

    A lens before the distal femur above the patella (the suprapatellar recess) and gutters beside the
    condyles, which open lateral first (AJR 1992;159:361) and end where the synovium turns over onto the
    femur (PMID 34829311); the shape between the figures is assumed.
    """
    x, y, z = p.T
    middle = 26.0 + 0.02 * (z - 50.0) - x * x / 60.0
    across, along = x / 27.0, (z - 68.0) / 31.0
    # the prefemoral fat pad yields less than the tendon before it, so the lens grows forward (assumed)
    off = y - middle
    lens = np.where(off > 0, off, -BACKWARD * off) / np.maximum(1.0 - across**2 - along**2, 1e-6)
    # under the tendon, which comes down to the patella's upper pole
    _, pole_y, pole_z = shape.pole_mm
    lens /= np.maximum(shoulder(pole_y - _UNDER_POLE_MM + 1.6 * (z - pole_z) - y, _POLE_EDGE_MM), 1e-3)
    lens[across**2 + along**2 > 0.98] = np.inf
    gutter = np.full(len(p), np.inf)
    beside = _beside(x, y, z)
    if beside.any():
        q = p[beside]
        depth = (shape.femur.solid(q) - _GUTTER_MM) * np.where(q[:, 0] > 0, 1.1, 1.5)
        depth = depth * (1.0 + np.maximum(depth, 0.0) / _GUTTER_STIFF_MM)
        order = bulge_order(depth, _within_gutter(q), _GUTTER_EDGE_MM, 0.0)
        gutter[beside] = np.where(depth < 0, np.inf, order)
    return np.minimum(lens, gutter)


def _beside(x: Floats32, y: Floats32, z: Floats32) -> Bools:
    """Whether points may lie in a gutter's outline."""
    near: Bools = (np.abs(x) > 20.0) & (np.abs(x) < 56.0) & (z > 3.0) & (z < 63.0) & (y > -17.0) & (y < 38.0)
    return near


def _within_gutter(q: Floats) -> Floats:
    """Distance of points (n, 3) to the gutters' outline, positive inside, (n,): rounded at its corners."""
    x, y, z = q.T
    top = np.where(x > 0, _GUTTER_TOP[1](y), _GUTTER_TOP[0](y))
    ends = smooth_min(37.0 - y, y + 16.0, _GUTTER_EDGE_MM)
    return smooth_min(smooth_min(top - z, z - 4.0, _GUTTER_EDGE_MM), ends, _GUTTER_EDGE_MM)


def _orders_within(
    labels: npt.NDArray[np.uint16], to_joint: Floats, shape: KneeShape, within: float
) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.int64], Floats]:
    """Free voxels that fluid reaches up to an order: the labels' part they lie in, indices there and orders.

    A first, generous look in single precision leaves out most voxels.
    """
    box = Solid(shape.femur.solid, np.array([-56.0, -10.0, 8.0]), np.array([56.0, 58.0, 104.0]))
    low, high = index_box(box, to_joint, labels.shape)
    part = labels[low[0] : high[0], low[1] : high[1], low[2] : high[2]]
    start = (to_joint[:3, :3] @ low + to_joint[:3, 3]).astype(np.float32)
    i, j, k = np.ix_(*(np.arange(n, dtype=np.float32) for n in part.shape))
    m = to_joint[:3, :3].astype(np.float32)
    x, y, z = (start[a] + m[a, 0] * i + (m[a, 1] * j + m[a, 2] * k) for a in range(3))
    thick = np.maximum(1.0 - (x / 27.0) ** 2 - ((z - 68.0) / 31.0) ** 2, -1e-3)
    off = y - (np.float32(26.0) + np.float32(0.02) * (z - 50.0) - x * x / 60.0)
    likely = (
        np.where(off > 0, off, np.float32(-BACKWARD) * off) < np.float32(within) * (thick + np.float32(2e-3))
    ) & (thick > 0)
    likely |= _beside(x, y, z)
    likely &= part == 0
    index = np.argwhere(likely)
    order = effusion_order((index + low) @ to_joint[:3, :3].T + to_joint[:3, 3], shape)
    kept = order <= within
    return part, index[kept], order[kept]


def _paint_effusion(
    labels: npt.NDArray[np.uint16], to_joint: Floats, shape: KneeShape, volume_ml: float
) -> float:
    """Fill the recess, lowest order first, until the voxels hold the volume; return what they hold, mL."""
    if volume_ml <= 0:
        return 0.0
    voxel_ml = abs(float(np.linalg.det(to_joint[:3, :3]))) * shape.size**3 / 1000.0
    wanted = round(volume_ml / voxel_ml)
    within = 3.0 + volume_ml / shape.size**3  # the order at which the recess alone would hold far more
    while True:
        part, index, order = _orders_within(labels, to_joint, shape, within)
        if len(index) >= wanted or within > 500.0:
            break
        within *= 3.0
    wanted = min(wanted, len(index))
    chosen = index[np.argsort(order, kind="stable")[:wanted]]
    part[chosen[:, 0], chosen[:, 1], chosen[:, 2]] = VALUES["synovial_fluid"]
    return wanted * voxel_ml


def _field_of_view(shape: KneeShape, effusion_ml: float) -> tuple[Floats, Floats]:
    """Box of the scan in the joint's frame: whole bones across, shafts cut 4 mm before they end."""
    bounds = np.stack([bone.joint_surface().bounds_mm for bone in shape.bones])
    low, high = bounds[:, 0].min(axis=0), bounds[:, 1].max(axis=0)
    # beyond 20 mL the pouch bulges before the patella
    ahead = 8.0 + max(0.0, effusion_ml / shape.size**3 - 20.0) / 5.0
    return low + np.array([-6.0, -6.0, 6.0]), high + np.array([6.0, ahead, -6.0])


def knee_phantom(
    parameters: Parameters | None = None,
    *,
    progress: Callable[[str, float], None] | None = None,
) -> Phantom:
    """Build the parametric knee.

    parameters : see `TABLE`; a mistake raises UsageError.  The grid runs sagittally: spacing_mm within the
    slices, slice_mm between them, turned by oblique_deg from the joint's axes.
    """
    p = effective("knee", TABLE, parameters)
    tell = progress or (lambda _label, _fraction: None)
    tell("knee phantom: bones", 0.0)
    shape = knee_shape(p)
    size = shape.size
    low, high = _field_of_view(shape, number(p, "effusion_ml"))
    (within, _, between), oblique_deg = grid_of(p)
    to_joint, grid = grid_over(low, high, (within / size, within / size, between / size), oblique_deg)
    labels = np.zeros(grid, np.uint16)
    for i, bone in enumerate(shape.bones):
        tell(f"knee phantom: {bone.name}", 0.3 + 0.12 * i)
        paint_bone(labels, to_joint, bone, VALUES)
    tell("knee phantom: menisci and fluid", 0.8)
    _paint_lesion(labels, to_joint, shape)
    _paint_menisci(labels, to_joint, shape)
    fluid_ml = _paint_effusion(labels, to_joint, shape, number(p, "effusion_ml"))
    to_patient = side_matrix(word(p, "side")) @ np.diag([size, size, size, 1.0])
    labelmap = LabelMap(affine=to_patient @ to_joint, labels=labels, names={v: n for n, v in VALUES.items()})
    return Phantom(
        name="knee", kind="knee", side=side_of(p), labelmap=labelmap, parameters=p,
        surfaces=_surfaces(shape, to_patient), truth=_truth(p, shape, to_patient, fluid_ml),
    )  # fmt: skip


def _surfaces(shape: KneeShape, to_patient: Floats) -> dict[str, Surface]:
    result = {}
    for bone in shape.bones:
        to_ras = to_patient @ bone.to_joint.matrix
        result[bone.name] = moved_surface(bone.surface, to_ras)
        for layer in bone.layers:
            result[layer.name] = moved_surface(shell(bone, layer), to_ras)
    return result


def _truth(p: dict[str, Value], shape: KneeShape, to_patient: Floats, fluid_ml: float) -> dict[str, Truth]:
    size, result = shape.size, {}
    varus = number(p, "varus_deg")
    mldfa, mpta = number(p, "mldfa_deg"), number(p, "mpta_deg") - varus
    result["mldfa_deg"] = Truth(value=mldfa, unit="deg", formula="as given (parameter mldfa_deg)")
    result["mpta_deg"] = Truth(value=mpta, unit="deg", formula="parameters mpta_deg - varus_deg")
    result["hka_deg"] = Truth(value=180 - mldfa + mpta, unit="deg", formula="180 - mLDFA + MPTA, JLCA = 0")
    result["knee_flexion_deg"] = Truth(
        value=number(p, "flexion_deg"), unit="deg", formula="as given (flexion_deg)"
    )
    a, b = np.radians(90.0 - mldfa), np.radians(90.0 - mpta)
    axes = {
        "femoral_mechanical_axis": np.array([np.sin(a), 0.0, np.cos(a)]),
        "tibial_mechanical_axis": shape.tibia.to_joint.rotate(np.array([np.sin(b), 0.0, np.cos(b)])),
        "flexion_axis": np.array([1.0, 0.0, 0.0]),
    }
    mirror = np.sign(np.diag(to_patient)[:3])
    for name, axis in axes.items():
        direction = [float(v) for v in mirror * axis]
        result[name] = Truth(value=direction, unit="direction, RAS", formula="proximal, or lateral (flexion)")
    for s in ("medial", "lateral"):
        center = np.array(
            [knee_bones.CONDYLE_X[s] + (-0.07 if s == "medial" else 0.07) * 10.0, *knee_bones.CONDYLE_AXIS]
        )
        where = [float(v) for v in to_patient[:3, :3] @ center]
        result[f"{s}_posterior_condyle_center_mm"] = Truth(
            value=where, unit="mm, RAS", formula="centre of the circle"
        )
        result[f"{s}_posterior_condyle_radius_mm"] = Truth(
            value=knee_bones.CONDYLE_RADIUS[s] * size, unit="mm", formula="radius of the circle, bone"
        )
    for zone, t in shape.mm.items():
        result[f"{zone}_thickness_mm"] = Truth(value=t * size, unit="mm", formula="middle of the zone")
    for bone in shape.bones:
        for layer in bone.layers:
            result |= layer_truth(bone, layer, size)
    if fluid_ml:
        result["effusion_ml"] = Truth(value=fluid_ml, unit="mL", formula="labelled voxels × their volume")
    if shape.defect is not None:
        d = shape.defect
        femur = next(bone for bone in shape.bones if bone.name == "femur")
        area = area_mm2(femur.surface, d.covers) * size**2
        result["defect_area_mm2"] = Truth(
            value=float(np.pi * d.radius_ap_mm * d.radius_ml_mm * size**2), unit="mm2",
            formula="π a b, along the running surface and straight across it",
        )  # fmt: skip
        result["defect_bone_area_mm2"] = Truth(
            value=area, unit="mm2", formula="area integral over the bone inside the defect's outline"
        )
        result["defect_depth_mm"] = Truth(
            value=(d.cartilage_lost * shape.mm["medial_condyle"]) * size, unit="mm", formula="lost cartilage"
        )
        result["lesion_depth_mm"] = Truth(
            value=d.bone_depth_mm * size, unit="mm", formula="as given (defect_depth_mm)"
        )
        result["defect_icrs_grade"] = icrs_grade(d.cartilage_lost, d.bone_depth_mm)
    return result
