"""What must hold of the folds beside and behind a knee's condyles, on any knee."""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from injectplan.anatomy.cavity import fill_cavity
from injectplan.anatomy.model import Cavity, JointAxes
from injectplan.imaging import Surface
from injectplan.kernels.bvh import nearest_points
from whole_joints import joint_points

# the synovium's turn onto the femur at the epicondyle, knee distended (PMID 34829311)
MIDDLE_MM = {"lateral": 27.4, "medial": 17.4}
STANDARD_WIDTH_MM = 76.0  # of the femur at the knee, on which those heights were scaled


def assert_whole_at_rest(cavity: Cavity) -> None:
    """One piece holds nearly all, its sheets are not torn (a tear is a handle), no recess under the grid."""
    faces, count = cavity.surface.triangles, len(cavity.surface.vertices_mm)
    links = coo_matrix((np.ones(len(faces)), (faces[:, 0], faces[:, 1])), shape=(count, count))
    pieces, piece = connected_components(links, directed=False)
    parts = [Surface(cavity.surface.vertices_mm, faces[piece[faces[:, 0]] == k]) for k in range(pieces)]
    volumes = np.array([part.volume_ml for part in parts])
    # where cartilage lies on cartilage the film is broken, as in a joint
    assert volumes.max() >= 0.98 * cavity.resting_volume_ml
    handles = pieces - (count - len(faces) / 2) / 2
    assert handles <= 250  # films under the grid's step, striped, have 500 to 1200
    for recess in cavity.recesses:
        if "parapatellar" in recess.name or "posterior" in recess.name:
            assert recess.thickness_mm >= 0.6
            assert recess.volume_ml >= 0.2


def assert_edge_at_the_reflection(cavity: Cavity, axes: JointAxes, femur: Surface) -> None:
    """Filled, the fluid beside the epicondyles ends where the synovium turns over, and comes near it."""
    fluid = fill_cavity(cavity, 60.0, cavity.recesses[0].center_mm).fluid
    assert fluid is not None
    on_bone = nearest_points(femur.bvh, fluid.vertices_mm, 1.5)[2] >= 0
    at, bone = joint_points(axes, fluid)[on_bone], joint_points(axes, femur)
    bone = bone[bone[:, 2] < 45.0]
    scale, middle = np.ptp(bone[:, 0]) / STANDARD_WIDTH_MM, 0.5 * (bone[:, 0].min() + bone[:, 0].max())
    for side, sign in (("medial", -1.0), ("lateral", 1.0)):
        beside = (np.abs(at[:, 1] - 2.0 * scale) < 1.0) & (sign * (at[:, 0] - middle) > 18.0 * scale)
        top = float(at[beside, 2].max())
        # 60 mL stand the edge itself off by some millimetres
        assert -1.0 <= top - MIDDLE_MM[side] * scale <= 4.0
