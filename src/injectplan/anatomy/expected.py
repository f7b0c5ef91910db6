"""How thick cartilage would be without a loss: a smooth fit of what surrounds each place.

A loss as wide as a condyle outweighs its surroundings in any mean or median, so the fit is robust on one
side: what lies far below it counts little, then not at all. It is linear in space, because cartilage thickens
by a millimetre over a plateau, and it follows how this cartilage thins out towards its own edge.
"""

from __future__ import annotations

import numpy as np
from scipy.interpolate import RBFInterpolator
from scipy.sparse import csr_matrix
from scipy.spatial import cKDTree

from injectplan.anatomy.model import COVERED, OUTSIDE, CartilageMap
from injectplan.imaging.values import Surface
from injectplan.kernels.cast import Array, Bools, Floats

SAMPLE_MM = 1.5
REACH_MM = 16.0  # assumed: wider than a loss worth treating
SIGMA_MM = 6.0
LOW_SHARE = 0.1  # weight of what lies under the fit, until it is found to be lost
LOST = (
    0.85  # of the fit: below this, a place says nothing of what was there; 0.75 lets the loss's own edge in
)
FIRST_PASSES, PASSES = 4, 7
RIDGE = 0.05  # of the weights: steadies the slope where all samples lie on a line
EDGE_MM = 6.0  # farther in, cartilage is taken to have its full thickness
BIN_MM = 0.5
SHOULDER_MM = 2.0  # the ramp's foot (decision 0075) and its averaging lie within it
RING_MM = 10.0  # what holds the plate over a loss; 6 gives the same within 0.2 %
PLATE_MM2 = 200.0  # smoothing: 10 follows the voxels' terraces (phantoms 6 % off), 400 bends too little
LEAST_HELD = 12
MOST_BEYOND = 1.25  # assumed: of the ring's thickest, so far may what was lost have risen above it
INNER_MM = 3.0  # the fit asks what lies farther from the edge than this


def edge_distances(measured: CartilageMap, bone: Surface) -> Floats:
    """Distance of each vertex to the nearest outside of the cartilage, (n,) mm; infinite beyond 6 mm."""
    outside = bone.vertices_mm[measured.state == OUTSIDE]
    result = np.full(len(bone.vertices_mm), np.inf)
    inside = measured.state != OUTSIDE
    if len(outside) and inside.any():
        tree = cKDTree(outside)
        result[inside] = tree.query(bone.vertices_mm[inside], distance_upper_bound=EDGE_MM)[0]
    return result


def expected_thickness(
    measured: CartilageMap, bone: Surface, edge_mm: Floats | None = None, lost: Bools | None = None
) -> Floats:
    """Thickness that its surroundings and its distance from the edge let expect, (n,) mm; NaN outside.

    edge_mm : what `edge_distances` returns, to spare finding it again.
    lost : a known loss, (n,), which with the shoulder that smoothing makes of its border is not asked.
    """
    result = np.full(len(bone.vertices_mm), np.nan)
    covered = measured.state == COVERED
    if lost is not None:
        covered &= ~near_to(bone, lost, measured.state != OUTSIDE, SHOULDER_MM)
    wanted = np.flatnonzero(measured.state != OUTSIDE)
    if not covered.any():
        return result
    edge = edge_distances(measured, bone) if edge_mm is None else edge_mm
    inner = covered & (edge > INNER_MM)
    basis = _thinned(bone, inner if inner.sum() > 0.2 * covered.sum() else covered)
    spots = _thinned(bone, measured.state != OUTSIDE)
    points, values = bone.vertices_mm, measured.thickness_mm
    plane = _robust_planes(points[basis], values[basis], points[spots])
    _, own = cKDTree(points[spots]).query(points[wanted])
    offset = points[wanted] - points[spots][own]
    flat = plane[own, 0] + np.einsum("ij,ij->i", plane[own, 1:], offset)
    low, high = np.quantile(values[basis], (0.02, 0.98))
    result[wanted] = np.clip(flat, low, high)
    profile = _thinning(edge, values / result, covered)
    if lost is not None:
        ring = inner & near_to(bone, lost, inner, SHOULDER_MM + RING_MM)
        # near the edge the ring does not close, and the plate would lean out
        trust = np.clip((edge - INNER_MM) / (EDGE_MM - INNER_MM), 0.0, 1.0)
        _bridge(result, bone, lost, ring, values / profile, trust)
    return result * profile


def _bridge(full: Floats, bone: Surface, lost: Bools, ring: Bools, values: Floats, trust: Floats) -> None:
    """Put a thin plate over a loss, held by the ring around it, in place: it keeps the ring's slopes.

    Cartilage is thickest in the middle of a plateau or a facet, where a plane falls short by up to a fifth.
    """
    spots, held = np.flatnonzero(lost), _thinned(bone, ring)
    if len(held) < LEAST_HELD:
        return
    plate = RBFInterpolator(
        bone.vertices_mm[held], values[held], kernel="thin_plate_spline", smoothing=PLATE_MM2, degree=1
    )
    lowest, highest = values[held].min() / MOST_BEYOND, values[held].max() * MOST_BEYOND
    # rounded, so that it does not depend on how many threads solved it
    bridged = np.clip(plate(bone.vertices_mm[spots]), lowest, highest)
    full[spots] = (trust[spots] * bridged + (1.0 - trust[spots]) * full[spots]).round(6)


def near_to(bone: Surface, where: Bools, among: Bools, reach_mm: float) -> Bools:
    """Vertices of a mask that lie within a reach of another mask's, (n,)."""
    result = np.zeros(len(where), bool)
    if where.any():
        index = np.flatnonzero(among)
        gap, _ = cKDTree(bone.vertices_mm[where]).query(
            bone.vertices_mm[index], distance_upper_bound=reach_mm
        )
        result[index] = np.isfinite(gap)
    return result


def _thinned(bone: Surface, where: Bools) -> Array:
    """One vertex of `where` per cube of 1.5 mm, their indices."""
    index = np.flatnonzero(where)
    cube = np.floor(bone.vertices_mm[index] / SAMPLE_MM).astype(np.int64)
    return np.asarray(index[np.unique(cube, axis=0, return_index=True)[1]])


def _robust_planes(points: Floats, values: Floats, spots: Floats) -> Floats:
    """Value and slope (p, 4) at each spot of the plane through the values about it, robust against losses."""
    pairs = cKDTree(spots).sparse_distance_matrix(cKDTree(points), REACH_MM, output_type="coo_matrix")
    weight = np.exp(-0.5 * (pairs.data / SIGMA_MM) ** 2)
    near = csr_matrix((weight, (pairs.row, pairs.col)), shape=(len(spots), len(points)))
    own = _nearest(spots, points)
    offset = points - spots[own]
    counts = np.ones(len(points))
    plane = np.zeros((len(spots), 4))
    for step in range(PASSES):
        plane = _planes(near, points, values, counts, spots)
        fit = plane[own, 0] + np.einsum("ij,ij->i", plane[own, 1:], offset)
        if step < FIRST_PASSES:
            counts = np.where(values < fit, LOW_SHARE, 1.0 - LOW_SHARE)
        else:
            counts = np.where(values < LOST * fit, 1e-3, 1.0)
    return plane


def _nearest(spots: Floats, points: Floats) -> Array:
    return np.asarray(cKDTree(spots).query(points)[1])


def _planes(near: csr_matrix, points: Floats, values: Floats, counts: Floats, spots: Floats) -> Floats:
    """Weighted planes about each spot by their moments, (p, 4)."""
    x, y, z = (points - points.mean(axis=0)).T
    middle = spots - points.mean(axis=0)
    columns = np.stack([np.ones(len(x)), x, y, z, x * x, x * y, x * z, y * y, y * z, z * z, values,
                        values * x, values * y, values * z], axis=1)  # fmt: skip
    s = near @ (counts[:, None] * columns)
    total = np.maximum(s[:, 0], 1e-12)
    mean = s[:, 1:4] / total[:, None]
    level = s[:, 10] / total
    second = s[:, [4, 5, 6, 5, 7, 8, 6, 8, 9]].reshape(-1, 3, 3) / total[:, None, None]
    spread = second - mean[:, :, None] * mean[:, None, :]
    spread += RIDGE * np.trace(spread, axis1=1, axis2=2)[:, None, None] * np.eye(3) + 1e-6 * np.eye(3)
    with_value = s[:, 11:14] / total[:, None] - mean * level[:, None]
    slope = np.linalg.solve(spread, with_value[:, :, None])[:, :, 0]
    at_spot = level + np.einsum("ij,ij->i", slope, middle - mean)
    return np.column_stack([at_spot, slope])


def _thinning(edge_mm: Floats, share: Floats, covered: Bools) -> Floats:
    """How much of the full thickness this cartilage has at each distance from its edge, (n,), at most 1."""
    step = np.minimum(edge_mm / BIN_MM, EDGE_MM / BIN_MM).astype(np.int64)
    bins = int(EDGE_MM / BIN_MM)
    profile = np.ones(bins + 1)
    for number in range(bins):
        here = share[covered & (step == number)]
        here = here[np.isfinite(here)]
        if len(here) > 10:
            profile[number] = min(1.0, float(np.median(here)))
    return np.asarray(np.maximum.accumulate(profile)[step])
