"""Bones with cartilage of exactly known thickness: offsets of a bone's surface over stated zones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from injectplan.anatomy.axes import spots
from injectplan.frames import Pose
from injectplan.imaging.values import Surface
from injectplan.kernels.bvh import nearest_points
from injectplan.kernels.cast import Bools, Floats
from injectplan.phantoms.implicit import Solid, gradient, index_box, mesh, sample_sparsely
from injectplan.phantoms.values import Truth

Thickness = Callable[[Floats], Floats]  # foot points on the bone (n, 3) → cartilage thickness (n,) mm


@dataclass(frozen=True, eq=False)
class Layer:
    """Cartilage on a bone: along the bone's normal its thickness is exactly thickness(foot), 0 outside."""

    name: str
    thickness: Thickness
    greatest_mm: float


@dataclass(frozen=True, eq=False)
class Bone:
    """A bone in its own frame with its fine surface, its cartilage and where it stands in the joint."""

    name: str
    solid: Solid
    surface: Surface
    layers: tuple[Layer, ...] = ()
    to_joint: Pose = field(default_factory=Pose.identity)

    def moved(self, pose: Pose) -> Bone:
        """Return the bone moved by a further pose in the joint's frame."""
        return Bone(self.name, self.solid, self.surface, self.layers, pose @ self.to_joint)

    def joint_surface(self) -> Surface:
        """The bone's surface in the joint's frame."""
        return Surface(self.to_joint.apply(self.surface.vertices_mm), self.surface.triangles)


def build_bone(name: str, solid: Solid, spacing_mm: float, layers: tuple[Layer, ...] = ()) -> Bone:
    """Mesh a bone's solid; its vertices lie on the solid's surface."""
    return Bone(name, solid, mesh(solid, spacing_mm), layers)


def shell(bone: Bone, layer: Layer) -> Surface:
    """Closed surface of a cartilage layer in the bone's frame: the bone's face, its offset, joined at rims.

    Triangles whose corners all have no cartilage are left out; a corner of thickness 0 is shared by both
    sheets, which closes the shell.
    """
    surface = bone.surface
    t = layer.thickness(surface.vertices_mm)
    kept = surface.triangles[(t[surface.triangles] > 0).any(axis=1)]
    used = np.unique(kept)
    normals = gradient(bone.solid, surface.vertices_mm[used])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    inner = surface.vertices_mm[used]
    raised = t[used] > 0
    outer = (inner + t[used][:, None] * normals)[raised]
    place = np.full(len(surface.vertices_mm), -1)
    place[used] = np.arange(len(used))
    top = place.copy()
    top[used[raised]] = len(used) + np.arange(int(raised.sum()))
    triangles = np.vstack([top[kept], place[kept][:, ::-1]]).astype(np.int32)
    return Surface(np.vstack([inner, outer]), triangles)


COVERED_MM = 0.5  # thinner than about a voxel no segmentation shows a rim that runs out, nor does a model


def layer_truth(bone: Bone, layer: Layer, size: float) -> dict[str, Truth]:
    """What is known of a layer: mean thickness and area where a model can find it, and with its whole rim.

    size : of the joint, by which the bone's frame is scaled.  The volume is the whole layer's.
    """
    t = layer.thickness(bone.surface.vertices_mm) * size
    area = bone.surface.vertex_areas_mm2 * size**2
    result = {}
    for part, least, said in (
        ("", COVERED_MM, f"area integral over the construction where it is {COVERED_MM:g} mm or more"),
        ("whole_", 1e-9, "area integral over the construction, the rim that runs out included"),
    ):
        here = t >= least
        total = float(area[here].sum())
        mean = float((t * area)[here].sum() / total) if total else 0.0
        result[f"{layer.name}_{part}mean_mm"] = Truth(value=mean, unit="mm", formula=said)
        result[f"{layer.name}_{part}area_mm2"] = Truth(value=total, unit="mm2", formula=said)
    volume = shell(bone, layer).volume_ml * size**3 if (t > 0.0).any() else 0.0
    said = "between the construction's two surfaces"
    result[f"{layer.name}_volume_ml"] = Truth(value=volume, unit="mL", formula=said)
    return result


def area_mm2(surface: Surface, inside: Callable[[Floats], Bools], parts: int = 6) -> float:
    """Area of what of a surface lies inside an outline, mm².

    inside : tells of points (n, 3) whether they do.  parts : each triangle's edges are cut into so many, and
    its parts counted by their middles.
    """
    corners = surface.vertices_mm[surface.triangles]
    share = np.zeros(len(corners))
    for a, b, c in spots(parts):
        share += inside(a * corners[:, 0] + b * corners[:, 1] + c * corners[:, 2])
    return float((surface.triangle_areas_mm2 * share).sum() / parts**2)


def paint_bone(
    labels: npt.NDArray[np.uint16], index_to_joint: Floats, bone: Bone, values: dict[str, int]
) -> None:
    """Write a bone and its cartilage into a label grid; earlier bones and cartilage keep their voxels.

    values : structure name → label value.  The bone holds the points inside its solid, cartilage those
    outside it whose distance to the nearest bone point is at most the thickness there.
    """
    index_to_bone = bone.to_joint.inverse().matrix @ index_to_joint
    reach = max([layer.greatest_mm for layer in bone.layers], default=0.0)
    grown = Solid(bone.solid.distance, bone.solid.low_mm - reach, bone.solid.high_mm + reach)
    low, high = index_box(grown, index_to_bone, labels.shape)
    if (high <= low).any():
        return
    moved = index_to_bone.copy()
    moved[:3, 3] += index_to_bone[:3, :3] @ low
    shape = tuple(int(n) for n in high - low)
    distance = sample_sparsely(bone.solid, moved, shape)  # type: ignore[arg-type]
    part = labels[low[0] : high[0], low[1] : high[1], low[2] : high[2]]
    part[distance < 0] = values[bone.name]
    if not bone.layers:
        return
    box = _covered_box(bone, reach)
    if box is None:
        return
    first, last = index_box(box, moved, shape)  # type: ignore[arg-type]
    inner = tuple(slice(a, b) for a, b in zip(first, last, strict=True))
    near = (distance[inner] >= 0) & (distance[inner] < 1.7 * reach + 0.5) & (part[inner] == 0)
    candidates = np.argwhere(near) + first
    where = candidates @ moved[:3, :3].T + moved[:3, 3]
    gap, foot = feet(bone, where, reach)
    for layer in bone.layers:
        inside = np.zeros(len(where), np.bool_)
        known = np.isfinite(gap)
        inside[known] = gap[known] <= layer.thickness(foot[known])
        chosen = candidates[inside]
        part[chosen[:, 0], chosen[:, 1], chosen[:, 2]] = values[layer.name]


def _covered_box(bone: Bone, reach_mm: float) -> Solid | None:
    """The box that holds all of a bone's cartilage, None where it has none."""
    covered = np.zeros(len(bone.surface.vertices_mm), np.bool_)
    for layer in bone.layers:
        covered |= layer.thickness(bone.surface.vertices_mm) > 0
    if not covered.any():
        return None
    points = bone.surface.vertices_mm[covered]
    return Solid(bone.solid.distance, points.min(axis=0) - reach_mm, points.max(axis=0) + reach_mm)


def feet(bone: Bone, points_mm: Floats, limit_mm: float) -> tuple[Floats, Floats]:
    """Distance (n,) and nearest bone point (n, 3) in the bone's frame; NaN beyond limit_mm."""
    gap, foot = np.full(len(points_mm), np.nan), np.full((len(points_mm), 3), np.nan)
    box = _covered_box(bone, limit_mm)
    if box is None or not len(points_mm):
        return gap, foot
    low, high = box.low_mm, box.high_mm
    inside = (points_mm >= low) & (points_mm <= high)
    close: Bools = inside[:, 0] & inside[:, 1] & inside[:, 2]
    if close.any():
        gap[close], foot[close], _ = nearest_points(bone.surface.bvh, points_mm[close], limit_mm)
    return gap, foot


def clearance_to_cartilage(bone: Bone, points_joint_mm: Floats) -> Floats:
    """Distance of points in the joint's frame to a bone with its cartilage, negative inside, (n,) mm."""
    where = bone.to_joint.inverse().apply(points_joint_mm)
    gap, foot, _ = nearest_points(bone.surface.bvh, where)
    thickness = np.max([layer.thickness(foot) for layer in bone.layers], axis=0)
    return np.where(bone.solid(where) < 0, -gap, gap) - thickness


def cartilage_points(bone: Bone) -> Floats:
    """Points on the outer face of a bone's cartilage, in the joint's frame, (n, 3)."""
    found = []
    for layer in bone.layers:
        t = layer.thickness(bone.surface.vertices_mm)
        at = bone.surface.vertices_mm[t > 0]
        normals = gradient(bone.solid, at)
        normals /= np.linalg.norm(normals, axis=1, keepdims=True)
        found.append(at + t[t > 0][:, None] * normals)
    return bone.to_joint.apply(np.vstack(found))


def moved_surface(surface: Surface, matrix: Floats) -> Surface:
    """A surface under an affine map (4, 4); a mirror turns its triangles round."""
    turned = surface.triangles[:, ::-1] if np.linalg.det(matrix[:3, :3]) < 0 else surface.triangles
    return Surface(surface.vertices_mm @ matrix[:3, :3].T + matrix[:3, 3], turned)
