"""Slow, obvious twins of anatomy's fast ways, and bodies with a closed-form answer."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from injectplan.anatomy.model import OUTSIDE, JointAxes
from injectplan.imaging.values import LabelMap, Surface
from injectplan.kernels.bvh import nearest_points

OAI_SPACING_MM = (0.3646, 0.3646, 0.7)


def ball_ml(radius_mm: float) -> float:
    return 4.0 / 3.0 * math.pi * radius_mm**3 / 1000.0


def grid_around(reach_mm, spacing_mm, seed, *, handed=1):
    """An affine of random orientation and sub-voxel phase around the origin, and the voxels' centres.

    seed None: along the axes, centred on a voxel.
    """
    spacing = np.asarray(spacing_mm)
    turn = np.eye(3) if seed is None else Rotation.random(random_state=seed).as_matrix()
    phase = np.zeros(3) if seed is None else np.random.default_rng(seed).uniform(-0.5, 0.5, 3)
    affine = np.eye(4)
    affine[:3, :3] = turn * spacing
    affine[:3, 0] *= handed
    shape = np.ceil(2.0 * reach_mm / spacing).astype(int)
    affine[:3, 3] = -affine[:3, :3] @ ((shape - 1) / 2.0) + phase * spacing
    ijk = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), axis=-1)
    return affine, ijk @ affine[:3, :3].T + affine[:3, 3]


@dataclass(frozen=True)
class Shell:
    affine: np.ndarray
    bone: np.ndarray
    cartilage: np.ndarray
    radius_mm: float
    thickness_mm: float

    @property
    def voxels_ml(self):
        return self.cartilage.sum() * abs(np.linalg.det(self.affine[:3, :3])) / 1000.0

    @property
    def cartilage_ml(self):
        return ball_ml(self.radius_mm + self.thickness_mm) - ball_ml(self.radius_mm)


def shell(radius_mm, thickness_mm, spacing_mm=OAI_SPACING_MM, *, seed=1, handed=1):
    """A ball of bone under cartilage of one thickness, voxelised by the voxels' centres."""
    affine, points = grid_around(radius_mm + thickness_mm + 3.0, spacing_mm, seed, handed=handed)
    distance = np.linalg.norm(points, axis=-1)
    bone = distance <= radius_mm
    return Shell(affine, bone, (distance <= radius_mm + thickness_mm) & ~bone, radius_mm, thickness_mm)


def winding_numbers(surface: Surface, points_mm):
    """How often a surface winds about each point: solid angles summed (Van Oosterom & Strackee 1983)."""
    corners = surface.vertices_mm[surface.triangles]
    result = np.empty(len(points_mm))
    for i, point in enumerate(points_mm):
        a, b, c = (corners[:, k] - point for k in range(3))
        la, lb, lc = (np.linalg.norm(v, axis=1) for v in (a, b, c))
        top = np.einsum("ij,ij->i", a, np.cross(b, c))
        bottom = la * lb * lc + (a * b).sum(1) * lc + (b * c).sum(1) * la + (c * a).sum(1) * lb
        result[i] = 2.0 * np.arctan2(top, bottom).sum() / (4.0 * np.pi)
    return result


def nearest_by_search(surface: Surface, points_mm, samples=12):
    """Distance to the nearest of many points spread over each triangle; an upper bound of the true one."""
    corners = surface.vertices_mm[surface.triangles]
    u, v = (g.ravel() for g in np.meshgrid(*[np.linspace(0, 1, samples)] * 2))
    kept = u + v <= 1.0
    weights = np.column_stack([1 - u - v, u, v])[kept]
    cloud = np.einsum("sc,tcx->tsx", weights, corners).reshape(-1, 3)
    return np.array([np.linalg.norm(cloud - p, axis=1).min() for p in points_mm])


def mirrored(surface: Surface) -> Surface:
    """The surface seen in a mirror across the sagittal plane."""
    return Surface(surface.vertices_mm * [-1.0, 1.0, 1.0], surface.triangles[:, ::-1])


def in_the_mirror(labels: LabelMap, *, turned: bool = False) -> LabelMap:
    """The labels seen in a mirror across the sagittal plane; turned: their array written from the far end."""
    affine, values = np.diag([-1.0, 1.0, 1.0, 1.0]) @ labels.affine, labels.labels
    if turned:
        affine[:3, 3] += (len(values) - 1) * affine[:3, 0]
        affine[:3, 0] *= -1.0
        values = np.ascontiguousarray(values[::-1])
    return LabelMap(affine=affine, labels=values, names=labels.names)


def numbers_of(document, path="", *, leave_out=()) -> dict[str, float]:
    """Every number of a document by its path, those under the names left out aside."""
    if isinstance(document, bool) or document is None or isinstance(document, str):
        return {}
    if isinstance(document, int | float):
        return {path: float(document)}
    inner = document.items() if isinstance(document, dict) else enumerate(document)
    found: dict[str, float] = {}
    for key, value in inner:
        if key not in leave_out:
            found |= numbers_of(value, f"{path}/{key}", leave_out=leave_out)
    return found


def moved(surface: Surface, rotation, translation_mm) -> Surface:
    return Surface(surface.vertices_mm @ np.asarray(rotation).T + translation_mm, surface.triangles)


def plain_axes(side="right") -> JointAxes:
    """The axes of a patient lying on the back, centred at the origin."""
    outward = 1.0 if side == "right" else -1.0
    return JointAxes(
        side=side,
        origin_mm=np.zeros(3),
        lateral=np.array([outward, 0.0, 0.0]),
        anterior=np.array([0.0, 1.0, 0.0]),
        proximal=np.array([0.0, 0.0, 1.0]),
    )


def sheared_tube(bottom_mm, top_mm, center, radii):
    """A closed tube along z whose centre and radii are functions of z; for bones of simple shape."""
    levels = np.linspace(bottom_mm, top_mm, 60)
    angle = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    rings = []
    for z in levels:
        (cx, cy), (rx, ry) = center(z), radii(z)
        rings.append(np.column_stack([cx + rx * np.cos(angle), cy + ry * np.sin(angle), np.full(48, z)]))
    vertices = np.concatenate([*rings, rings[0].mean(0)[None], rings[-1].mean(0)[None]])
    around = np.arange(48)
    after = (around + 1) % 48
    triangles = []
    for level in range(59):
        low, high = 48 * level, 48 * (level + 1)
        triangles += [np.column_stack([low + around, low + after, high + after])]
        triangles += [np.column_stack([low + around, high + after, high + around])]
    n = len(vertices)
    triangles += [np.column_stack([after, around, np.full(48, n - 2)])]
    triangles += [np.column_stack([48 * 59 + around, 48 * 59 + after, np.full(48, n - 1)])]
    return Surface(vertices, np.concatenate(triangles).astype(np.int32))


def deepest_of(measured, bone, zone):
    """The place of a zone that lies farthest from the cartilage's edge."""
    inside = np.flatnonzero(measured.region == measured.regions.index(zone) + 1)
    edge = cKDTree(bone.vertices_mm[measured.state == OUTSIDE]).query(bone.vertices_mm[inside])[0]
    return bone.vertices_mm[inside[np.argmax(edge)]]


def worn_away(labelmap, measured, bone, center_mm, radii_mm, lost, axes):
    """Carve the outer share `lost` of a whole cartilage's thickness out of an ellipse on its bone.

    Returns the label map of bone and cartilage alone, what was carved, mL, and the area on the bone, mm².
    """
    code = next(c for c, name in labelmap.names.items() if name == measured.name)
    ijk = np.argwhere(labelmap.labels == code)
    height, foot, _ = nearest_points(bone.bvh, labelmap.to_patient(ijk))
    covered = np.isfinite(measured.thickness_mm)
    thickness = measured.thickness_mm[covered][cKDTree(bone.vertices_mm[covered]).query(foot)[1]]
    normal = bone.vertex_normals[np.linalg.norm(bone.vertices_mm - center_mm, axis=1) < 3.0].sum(axis=0)
    normal /= np.linalg.norm(normal)
    along = axes.anterior if abs(axes.anterior @ normal) < 0.9 else axes.proximal
    along = along - (along @ normal) * normal
    along /= np.linalg.norm(along)
    a, b = radii_mm

    def within(points):
        off = points - center_mm
        rho = np.hypot(off @ along / a, off @ np.cross(normal, along) / b)
        return (rho <= 1.0) & (np.abs(off @ normal) < a)

    gone = within(foot) & (height > (1.0 - lost) * thickness)
    labels = labelmap.labels.copy()
    labels[tuple(ijk[gone].T)] = 0
    names = {c: name for c, name in labelmap.names.items() if name in (measured.name, measured.bone)}
    labels[~np.isin(labels, list(names))] = 0
    voxel_ml = abs(np.linalg.det(labelmap.affine[:3, :3])) / 1000.0
    area = bone.vertex_areas_mm2[within(bone.vertices_mm) & (measured.state != OUTSIDE)].sum()
    return LabelMap(affine=labelmap.affine, labels=labels, names=names), gone.sum() * voxel_ml, area
