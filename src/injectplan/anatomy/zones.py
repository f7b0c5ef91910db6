"""The subregions of cartilage as voxels: for what is measured on images, T2 for one."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from injectplan.anatomy.axes import NEEDED, joint_axes
from injectplan.anatomy.build import map_all_cartilage, structures_of
from injectplan.anatomy.model import CartilageMap, Kind, Side
from injectplan.anatomy.plausibility import check_labels
from injectplan.anatomy.t2 import Zones
from injectplan.imaging.values import LabelMap, Surface


def zones_of(measured: CartilageMap, bone: Surface, labelmap: LabelMap) -> Zones:
    """Give each voxel of a cartilage the region of its nearest vertex of the bone, (i, j, k) uint8."""
    result = np.zeros(labelmap.labels.shape, np.uint8)
    inside = measured.region > 0
    voxels = np.argwhere(labelmap.mask(measured.name))
    if inside.any() and len(voxels):
        _, nearest = cKDTree(bone.vertices_mm[inside]).query(labelmap.to_patient(voxels))
        result[tuple(voxels.T)] = measured.region[inside][nearest]
    return result, measured.regions


def cartilage_zones(labelmap: LabelMap, kind: Kind, side: Side) -> dict[str, Zones]:
    """Find the subregions of every cartilage of a joint's segmentation, on its grid.

    Raises EmptyStructureError without the joint's bones, ContradictionError where labels or side contradict.
    """
    check_labels(labelmap, kind, side, NEEDED[kind])
    structures = structures_of(labelmap)
    axes = joint_axes(kind, side, {n: s.surface for n, s in structures.items() if s.risk == "bone"})
    maps, _ = map_all_cartilage(structures, axes, coarsest_spacing_mm=float(labelmap.spacing_mm.max()))
    return {name: zones_of(m, structures[m.bone].surface, labelmap) for name, m in maps.items()}
