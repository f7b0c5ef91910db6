"""Cartilage and its subregions beside an image: for what is measured on images, T2 for one."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from injectplan.anatomy.axes import NEEDED, joint_axes
from injectplan.anatomy.build import input_hash, map_all_cartilage, structures_of, uncompleted
from injectplan.anatomy.model import COVERED, CartilageMap, JointModel, Kind, Side
from injectplan.anatomy.plausibility import check_labels
from injectplan.anatomy.t2 import Zones
from injectplan.imaging.values import LabelMap, Surface, Volume
from injectplan.kernels.cast import Floats

SAMPLES = 5  # of an image along the way through cartilage: about a voxel of 0.4 mm each


def mapped_joint(labelmap: LabelMap, kind: Kind, side: Side) -> JointModel:
    """Build no more of a joint than its segmented structures and their cartilage: nothing is completed.

    Raises EmptyStructureError without the joint's bones, ContradictionError where labels or side contradict.
    """
    notices = check_labels(labelmap, kind, side, NEEDED[kind])
    structures = structures_of(labelmap)
    axes = joint_axes(kind, side, {n: s.surface for n, s in structures.items() if s.risk == "bone"})
    maps, warned = map_all_cartilage(
        structures,
        axes,
        coarsest_spacing_mm=float(labelmap.spacing_mm.max()),
        edges_mm=labelmap.affine[:3, :3],
    )
    bare = uncompleted(labelmap, structures)
    return JointModel(
        kind=kind, side=side, axes=axes, structures=structures, cavity=bare.cavity, labels=labelmap,
        cartilage=maps, notices=(*notices, *warned), input_sha256=input_hash(labelmap),
    )  # fmt: skip


def zones_of(measured: CartilageMap, bone: Surface, labelmap: LabelMap) -> Zones:
    """Give each voxel of a cartilage the region of its nearest vertex of the bone, (i, j, k) uint8."""
    result = np.zeros(labelmap.labels.shape, np.uint8)
    inside = measured.region > 0
    voxels = np.argwhere(labelmap.mask(measured.name))
    if inside.any() and len(voxels):
        _, nearest = cKDTree(bone.vertices_mm[inside]).query(labelmap.to_patient(voxels))
        result[tuple(voxels.T)] = measured.region[inside][nearest]
    return result, measured.regions


def cartilage_zones(joint: JointModel, labelmap: LabelMap) -> dict[str, Zones]:
    """Return the subregions of every cartilage of a joint on its segmentation's grid."""
    return {n: zones_of(m, joint.structures[m.bone].surface, labelmap) for n, m in joint.cartilage.items()}


def image_on_bone(image: Volume, measured: CartilageMap, bone: Surface) -> Floats:
    """Mean of an image through the cartilage over each vertex of the bone, (n,); NaN where it shows nothing.

    Nearest voxels at five places along the normal; values that are not finite are left out.
    """
    result = np.full(len(bone.vertices_mm), np.nan)
    covered = np.flatnonzero(measured.state == COVERED)
    if not len(covered):
        return result
    values = image.values if image.values.ndim == 3 else image.values[..., 0]
    total, count = np.zeros(len(covered)), np.zeros(len(covered))
    for k in range(SAMPLES):
        share = (k + 0.5) / SAMPLES * measured.thickness_mm[covered]
        points = bone.vertices_mm[covered] + share[:, None] * bone.vertex_normals[covered]
        index = np.rint(image.to_voxel(points)).astype(int)
        within = ((index >= 0) & (index < values.shape)).all(axis=1)
        found = np.full(len(covered), np.nan)
        found[within] = values[tuple(index[within].T)]
        known = np.isfinite(found)
        total[known] += found[known]
        count += known
    with np.errstate(invalid="ignore", divide="ignore"):
        result[covered] = np.where(count > 0, total / count, np.nan)
    return result
