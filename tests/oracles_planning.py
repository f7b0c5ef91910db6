"""Synthetic joints with closed forms, and slow obvious twins of the planner's kernels."""

from __future__ import annotations

import numpy as np
import trimesh

from injectplan.anatomy.model import Cavity, JointAxes, JointModel, Recess, Structure
from injectplan.imaging.values import LabelMap, Surface
from injectplan.kernels.field import distance_field


def surface_of(mesh: trimesh.Trimesh) -> Surface:
    return Surface(np.array(mesh.vertices), np.array(mesh.faces))


def sphere(center, radius, subdivisions=4) -> Surface:
    mesh = trimesh.creation.icosphere(subdivisions=subdivisions, radius=radius)
    return Surface(np.array(mesh.vertices) + np.asarray(center, float), np.array(mesh.faces))


def ellipsoid(center, radii, subdivisions=5) -> Surface:
    mesh = trimesh.creation.icosphere(subdivisions=subdivisions, radius=1.0)
    return Surface(
        np.array(mesh.vertices) * np.asarray(radii) + np.asarray(center, float), np.array(mesh.faces)
    )


def capsule(start, end, radius) -> Surface:
    start, end = np.asarray(start, float), np.asarray(end, float)
    length = float(np.linalg.norm(end - start))
    mesh = trimesh.creation.capsule(height=length, radius=radius, count=[32, 32])
    turn = trimesh.geometry.align_vectors([0.0, 0.0, 1.0], (end - start) / length)
    vertices = (np.array(mesh.vertices)) @ turn[:3, :3].T
    vertices += 0.5 * (start + end) - vertices.mean(axis=0)
    return Surface(vertices, np.array(mesh.faces))


def structure(name, surface, risk, tissue="muscle", priority=60, **more) -> Structure:
    return Structure(
        name=name, surface=surface, tissue=tissue, risk=risk, source="segmented", priority=priority, **more
    )


def cavity_of(surface: Surface, name="suprapatellar_recess", spacing=0.5) -> Cavity:
    low, high = surface.bounds_mm
    low = low - 4.0
    shape = tuple(int(n) for n in np.ceil((high + 4.0 - low) / spacing).astype(int) + 1)
    field = distance_field(surface.bvh, low, spacing, shape, 6.0)
    inside = (field.values < 0).astype(np.uint8)
    middle = surface.vertices_mm.mean(axis=0)
    extent = high - surface.bounds_mm[0]
    recess = Recess(
        name=name, center_mm=middle, normal=np.array([0.0, 1.0, 0.0]), volume_ml=surface.volume_ml,
        thickness_mm=float(extent[1]), extent_mm=extent,
    )  # fmt: skip
    return Cavity(
        surface=surface, field=field, distension=field, recess_index=inside, recesses=(recess,),
        resting_volume_ml=surface.volume_ml, source="completed",
    )  # fmt: skip


def joint_of(structures, cavity, kind="knee", side="right", mirror=False) -> JointModel:
    axes = JointAxes(
        side=side,
        origin_mm=np.zeros(3),
        lateral=np.array([-1.0 if mirror else 1.0, 0.0, 0.0]),
        anterior=np.array([0.0, 1.0, 0.0]),
        proximal=np.array([0.0, 0.0, 1.0]),
    )
    labels = LabelMap(np.eye(4), np.zeros((2, 2, 2), np.uint16))
    return JointModel(
        kind=kind,
        side=side,
        axes=axes,
        structures={s.name: s for s in structures},
        cavity=cavity,
        labels=labels,
    )


def toy_knee(*, size=1.0, mirror=False, move=None, artery=True, extra=()) -> JointModel:
    """A knee-like limb: ellipsoid skin, capsule femur, patella, tendon, artery, a thin recess."""
    flip = -1.0 if mirror else 1.0

    def place(surface: Surface) -> Surface:
        vertices = surface.vertices_mm * np.array([flip, 1.0, 1.0]) * size
        triangles = surface.triangles[:, ::-1] if mirror else surface.triangles
        if move is not None:
            vertices = move.apply(vertices)
        return Surface(vertices, triangles)

    parts = [
        structure("skin", place(ellipsoid((0, 0, 0), (55, 55, 110))), "none", "skin", 10),
        structure("femur", place(capsule((0, 0, 5), (0, 0, 90), 14.0)), "bone", "cortical_bone", 90),
        structure("patella", place(ellipsoid((0, 38, -5), (20, 9, 18), 3)), "bone", "cortical_bone", 90),
        structure(
            "quadriceps_tendon", place(ellipsoid((0, 36, 45), (14, 3.5, 35), 3)), "tendon", "tendon", 60
        ),
    ]
    if artery:
        parts.append(
            structure(
                "femoral_artery", place(capsule((-24, -10, -40), (-20, 4, 80), 3.0)), "artery", "blood", 65
            )
        )
    parts.extend(structure(s.name, place(s.surface), s.risk) for s in extra)
    cavity = cavity_of(place(ellipsoid((0, 24, 40), (22, 2.0, 20), 4)))
    joint = joint_of(parts, cavity, mirror=mirror, side="left" if mirror else "right")
    if move is not None:
        axes = JointAxes(
            side=joint.side,
            origin_mm=move.apply(joint.axes.origin_mm),
            lateral=move.rotate(joint.axes.lateral),
            anterior=move.rotate(joint.axes.anterior),
            proximal=move.rotate(joint.axes.proximal),
        )
        joint = JointModel(
            kind=joint.kind, side=joint.side, axes=axes, structures=joint.structures, cavity=joint.cavity,
            labels=joint.labels,
        )  # fmt: skip
    return joint


def shell_joint(obstacles=(), skin_radius=40.0, cavity_radius=4.0) -> JointModel:
    """A sphere of skin with a small spherical cavity at its centre: every path is radial."""
    skin = structure("skin", sphere((0, 0, 0), skin_radius, 5), "none", "skin", 10)
    return joint_of([skin, *obstacles], cavity_of(sphere((0, 0, 0), cavity_radius, 3), "center"))


def front_by_pairs(costs) -> np.ndarray:
    """Non-dominated rows by comparing every pair."""
    kept = np.ones(len(costs), bool)
    for i in range(len(costs)):
        for j in range(len(costs)):
            if np.all(costs[j] <= costs[i]) and np.any(costs[j] < costs[i]):
                kept[i] = False
    return kept


def segment_mesh_distance(start, end, surface: Surface, steps=2001) -> float:
    """Distance of a segment to a mesh by dense sampling of both: an upper bound, near the truth."""
    t = np.linspace(0, 1, steps)[:, None]
    line = start + t * (end - start)
    _, distance, _ = trimesh.proximity.closest_point_naive(
        trimesh.Trimesh(surface.vertices_mm, surface.triangles, process=False), line
    )
    return float(distance.min())
