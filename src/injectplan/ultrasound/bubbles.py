"""Microbubbles that injected fluid carries: bright moving specks at first, then none."""

from __future__ import annotations

import math

import numpy as np

from injectplan.anatomy.model import FillState
from injectplan.frames import Pose
from injectplan.kernels.bvh import Bvh, contains
from injectplan.kernels.cast import Floats
from injectplan.kernels.chance import normals, uniforms

PER_MM3 = 0.5  # while the first drops arrive (assumed; facts: bright and moving, then none)
CLEARS_ML = 1.2  # volume in which their number falls to 1/e (assumed)
ECHO_DB, SPREAD_DB = -20.0, 4.0  # of a speck re a perfect mirror, mean and sd (assumed)
SLAB_MM = 1.5  # half thickness of the slab round the image that they are drawn in
MOST = 3000


def bubbles(
    state: FillState | None, fluid: Bvh, pose: Pose, width_mm: float, depth_mm: float, seed: int
) -> tuple[Floats, Floats]:
    """Places (n, 3) in patient mm and amplitudes (n,) of the specks in one frame; none where nothing flows.

    They move with the fluid: each injected volume has its own places.  fluid : tree of its closed surface.
    """
    none = np.zeros((0, 3)), np.zeros(0)
    if state is None or state.fluid is None or not state.jet_speed_mm_s > 0.0:
        return none
    low, high = np.array([-width_mm / 2, -SLAB_MM, 0.0]), np.array([width_mm / 2, SLAB_MM, depth_mm])
    # its box's corners, not its vertices: to turn a hundred thousand of these took longer than the frame
    ends = state.fluid.bounds_mm
    corners = np.stack(np.meshgrid(*ends.T, indexing="ij"), axis=-1).reshape(-1, 3)
    inside = pose.inverse().apply(corners)
    low, high = np.maximum(low, inside.min(axis=0)), np.minimum(high, inside.max(axis=0))
    if (high <= low).any():
        return none
    share = PER_MM3 * math.exp(-state.injected_ml / CLEARS_ML)
    count = min(MOST, round(float(np.prod(high - low)) * share))
    if count == 0:
        return none
    first = 3 * MOST * (1 + round(1000.0 * state.injected_ml))
    places = pose.apply(low + uniforms(seed, first, 3 * count).reshape(-1, 3) * (high - low))
    loud = 10.0 ** ((ECHO_DB + SPREAD_DB * normals(seed + 1, first, count)) / 20.0)
    kept = contains(fluid, places)
    return np.ascontiguousarray(places[kept]), np.ascontiguousarray(loud[kept])
