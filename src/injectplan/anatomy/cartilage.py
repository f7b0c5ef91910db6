"""Cartilage on bone: thickness at every vertex of the bone's surface, and where it is missing.

From each vertex a ray leaves along the bone's normal; the cartilage's thickness is the way between entering
its solid and first leaving it, averaged over the neighbouring vertices. A vertex is COVERED with a
thickness, DENUDED where bone lies bare inside the cartilage's outline, FAILED where cartilage touches the
bone but no ray could measure it, and OUTSIDE. Only COVERED vertices hold a number; all else is NaN.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from injectplan.anatomy.model import COVERED, DENUDED, FAILED, OUTSIDE, CartilageMap, JointAxes
from injectplan.anatomy.regions import regions_of, weighted_quantile
from injectplan.imaging.values import Surface
from injectplan.kernels.bvh import all_hits, nearest_points
from injectplan.kernels.cast import Bools, Bytes, Floats, Floats32
from injectplan.measure import Notice

BEHIND_MM = 1.0  # how far the cartilage's inner face may lie inside the bone
GAP_MM = 1.5  # how far it may stand off: segmentations leave a voxel or two between bone and cartilage
THICKEST_MM = 9.0  # the thickest healthy patella measures 5.7 mm; what exceeds this is no thickness
TOUCH_MM = 0.1
AVERAGING_STEPS = 2  # over neighbouring vertices, 0.7 mm: a slice's distance, in which voxels leave terraces
LARGEST_HOLE_MM2 = 600.0  # bare bone ringed by cartilage: beyond 6 cm² it is taken for the joint's own gap
COARSE_SPACING_MM = 1.5  # on 3 mm slices a ray's thickness is 0.1-0.5 mm off with 0.5-1.1 mm spread
CARRIERS = {
    "femoral_cartilage": "femur", "tibial_cartilage": "tibia", "medial_tibial_cartilage": "tibia",
    "lateral_tibial_cartilage": "tibia", "patellar_cartilage": "patella", "acetabular_cartilage": "hip_bone",
    "femoral_head_cartilage": "femur", "talar_cartilage": "talus", "tibial_plafond_cartilage": "tibia",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class ThicknessStatistics:
    """Area-weighted statistics over covered vertices; NaN where there are none."""

    mean: float
    median: float
    p95: float
    sd: float
    n: int


def statistics(values_mm: Floats, areas_mm2: Floats, where: Bools) -> ThicknessStatistics:
    """Area-weighted mean, median, 95th percentile and spread of the finite values in `where`, all (n,)."""
    kept = where & np.isfinite(values_mm)
    values, weights = values_mm[kept], areas_mm2[kept]
    if not len(values) or weights.sum() <= 0.0:
        nothing = float("nan")
        return ThicknessStatistics(nothing, nothing, nothing, nothing, 0)
    mean = float(np.average(values, weights=weights))
    return ThicknessStatistics(
        mean,
        weighted_quantile(values, weights, 0.5),
        weighted_quantile(values, weights, 0.95),
        float(np.sqrt(np.average((values - mean) ** 2, weights=weights))),
        len(values),
    )


def _sideways(normals: Floats) -> Floats:
    """A unit vector across each normal."""
    axis = np.eye(3)[np.argmin(np.abs(normals), axis=1)]
    across = np.cross(normals, axis)
    return np.asarray(across / np.linalg.norm(across, axis=1, keepdims=True))


def thickness_along(points_mm: Floats, normals: Floats, cartilage: Surface) -> Floats:
    """Way through the cartilage along each normal, (n,) mm, NaN where the ray meets none next to its start.

    points_mm, normals : (n, 3), on the bone and outward.  The cartilage counts when the ray enters it between
    1 mm inside the bone and 1.5 mm above it.
    """
    # shared vertices would send rays through corners, so they start a ten-thousandth of a mm aside; on either
    # side, so that a vertex of the rim is judged alike in the mirror
    one, other = (_way_through(points_mm, normals, cartilage, aside) for aside in (1e-4, -1e-4))
    return np.where(np.isnan(one), other, np.where(np.isnan(other), one, 0.5 * (one + other)))


def _way_through(points_mm: Floats, normals: Floats, cartilage: Surface, aside_mm: float) -> Floats:
    start = points_mm - BEHIND_MM * normals + aside_mm * _sideways(normals)
    offsets, ts, triangle = all_hits(cartilage.bvh, start, normals, BEHIND_MM + GAP_MM + THICKEST_MM)
    ray = np.repeat(np.arange(len(points_mm)), np.diff(offsets))
    faces = cartilage.triangles[triangle]
    a, b, c = (cartilage.vertices_mm[faces[:, i]] for i in range(3))
    enters = np.einsum("ij,ij->i", np.cross(b - a, c - a), normals[ray]) < 0.0
    entry = np.full(len(points_mm), np.inf)
    near = enters & (ts <= BEHIND_MM + GAP_MM)
    np.minimum.at(entry, ray[near], ts[near])
    leaving = np.full(len(points_mm), np.inf)
    after = ~enters & (ts > entry[ray])
    np.minimum.at(leaving, ray[after], ts[after])
    thickness = leaving - np.where(np.isfinite(entry), entry, np.nan)
    thickness[~(thickness <= THICKEST_MM)] = np.nan
    return np.asarray(thickness)


def averaged(values: Floats, surface: Surface, steps: int = AVERAGING_STEPS) -> Floats:
    """Area-weighted means of each vertex's finite value with its neighbours', in steps; NaN stays NaN."""
    known = np.isfinite(values)
    faces = surface.triangles[known[surface.triangles].any(axis=1)]
    edges = faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    n, weights = len(values), surface.vertex_areas_mm2 * known
    graph = coo_matrix((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(n, n)).tocsr()
    graph = (graph + graph.T).sign()
    mass = graph @ weights + weights
    result = np.where(known, values, 0.0)
    for _ in range(steps):
        total = graph @ (weights * result) + weights * result
        result = np.divide(total, mass, out=np.zeros(n), where=known & (mass > 0.0))
    return np.where(known, result, np.nan)


def _faces(cartilage: Surface, bone: Surface) -> tuple[Bools, Bools]:
    """Which triangles of the cartilage form its inner face, on the bone, and which its outer face."""
    middle = cartilage.vertices_mm[cartilage.triangles].mean(axis=1)
    distance, _, triangle = nearest_points(bone.bvh, middle, THICKEST_MM + GAP_MM)
    found = triangle >= 0
    normal, under = cartilage._crosses, bone._crosses[np.maximum(triangle, 0)]
    with np.errstate(invalid="ignore", divide="ignore"):
        cosine = np.einsum("ij,ij->i", normal, under)
        cosine = cosine / (np.linalg.norm(normal, axis=1) * np.linalg.norm(under, axis=1))
    inner = found & (cosine < 0.0) & (distance <= GAP_MM)
    return inner, found & (cosine > 0.3)


def _part(surface: Surface, keep: Bools) -> Surface:
    return Surface(surface.vertices_mm, surface.triangles[keep])


def _holes(bone: Surface, bare: Bools) -> Bools:
    """Bare vertices ringed by covered ones: every connected patch that is not too large."""
    edges = bone.triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    edges = edges[bare[edges].all(axis=1)]
    n = len(bare)
    graph = coo_matrix((np.ones(len(edges), np.int8), (edges[:, 0], edges[:, 1])), shape=(n, n))
    _, patch = connected_components(graph, directed=False)
    area = np.bincount(patch[bare], weights=bone.vertex_areas_mm2[bare], minlength=int(patch.max()) + 1)
    return np.asarray(bare & (area <= LARGEST_HOLE_MM2)[patch])


def map_cartilage(
    name: str,
    cartilage: Surface,
    bone_name: str,
    bone: Surface,
    axes: JointAxes,
    *,
    coarsest_spacing_mm: float = 0.0,
    lesion: Surface | None = None,
    volume_ml: float | None = None,
) -> tuple[CartilageMap, tuple[Notice, ...]]:
    """Measure a cartilage at every vertex of its bone.

    coarsest_spacing_mm : the input's largest voxel edge; above 1.5 mm the map is marked not trustworthy.
    volume_ml : of the voxels; None takes the mesh's.
    Returns the map and the warnings it raises.
    """
    points, normals = bone.vertices_mm, bone.vertex_normals
    low, high = cartilage.bounds_mm + np.array([[-3.0], [3.0]])
    near = np.flatnonzero(((points > low) & (points < high)).all(axis=1) & (normals != 0.0).any(axis=1))
    thickness, nearest = np.full(len(points), np.nan), np.full(len(points), np.nan)
    state = np.full(len(points), OUTSIDE, np.uint8)
    if len(near):
        thickness[near] = thickness_along(points[near], normals[near], cartilage)
        inner, outer = _faces(cartilage, bone)
        covered = np.isfinite(thickness)
        thickness = averaged(thickness, bone)
        state[covered] = COVERED
        rest = near[~covered[near]]
        if len(rest) and inner.any():
            touch, _, _ = nearest_points(_part(cartilage, inner).bvh, points[rest], TOUCH_MM)
            state[rest[np.isfinite(touch)]] = FAILED
        _forgive_the_rim(bone, state)
        state[_holes(bone, state == OUTSIDE)] = DENUDED
        if outer.any() and covered.any():
            nearest[covered] = nearest_points(_part(cartilage, outer).bvh, points[covered])[0]
    region, names = regions_of(name, points, normals, bone.vertex_areas_mm2, state != OUTSIDE, axes)
    trustworthy = coarsest_spacing_mm <= COARSE_SPACING_MM
    notices = () if trustworthy else (_coarse(name, coarsest_spacing_mm),)
    result = CartilageMap(
        name=name, bone=bone_name, thickness_mm=thickness, nearest_mm=nearest, state=state, region=region,
        regions=names, volume_ml=cartilage.volume_ml if volume_ml is None else volume_ml,
        trustworthy=trustworthy,
    )  # fmt: skip
    return result, notices


def _forgive_the_rim(bone: Surface, state: Bytes) -> None:
    """Turn FAILED vertices that border the outside into OUTSIDE: there the wedge ends, nothing failed."""
    edges = bone.triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    for _ in range(2):
        rim = np.zeros(len(state), bool)
        for one, other in ((0, 1), (1, 0)):
            rim[edges[state[edges[:, other]] == OUTSIDE, one]] = True
        state[rim & (state == FAILED)] = OUTSIDE


def _coarse(name: str, spacing_mm: float) -> Notice:
    return Notice(
        "thickness-not-trustworthy",
        f"the slices are {spacing_mm:.1f} mm apart (over {COARSE_SPACING_MM:g} mm): thickness at single "
        "vertices is off by up to 1 mm and not to be trusted; volumes are",
        name,
    )


def thickness_volume(cartilage: CartilageMap, bone: Surface, mask: Bools, affine: Floats) -> Floats32:
    """Thickness written back to the input grid: each voxel of `mask` takes its nearest covered vertex's.

    mask (i, j, k), affine (4, 4) of the grid.  NaN elsewhere, and where nothing was measured.
    """
    result = np.full(mask.shape, np.nan, np.float32)
    covered = cartilage.state == COVERED
    if not covered.any() or not mask.any():
        return result
    voxels = np.argwhere(mask)
    _, index = cKDTree(bone.vertices_mm[covered]).query(voxels @ affine[:3, :3].T + affine[:3, 3])
    result[tuple(voxels.T)] = cartilage.thickness_mm[covered][index]
    return result
