"""Cartilage on bone: thickness at every vertex of the bone's surface, and where it is missing.

From each vertex a ray leaves along the bone's normal; the cartilage's thickness is the way between entering
its solid and first leaving it, averaged over the neighbouring vertices. A vertex is COVERED with a
thickness, DENUDED where bone lies bare inside the cartilage's outline, FAILED where cartilage touches the
bone but no ray could measure it, and OUTSIDE. Only COVERED vertices hold a number; all else is NaN.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from injectplan.anatomy.model import COVERED, DENUDED, FAILED, OUTSIDE, CartilageMap, JointAxes
from injectplan.anatomy.regions import regions_of, weighted_quantile
from injectplan.imaging.values import Surface
from injectplan.kernels.bvh import all_hits, nearest_points
from injectplan.kernels.cast import Bools, Bytes, Floats, Floats32, Ints
from injectplan.measure import Notice

BEHIND_MM = 1.0  # how far the cartilage's inner face may lie inside the bone
GAP_MM = 1.5  # how far it may stand off: segmentations leave a voxel or two between bone and cartilage
THICKEST_MM = 9.0  # the thickest healthy patella measures 5.7 mm; what exceeds this is no thickness
# A wider gap than this and than a voxel still counts as covered (decision 0078) and is told over a tenth. On
# the real knee no vertex has one; its bones drawn one voxel smaller 0.2 % at most have, two voxels 5 to 26 %.
OFF_MM = 0.5
OFF_SHARE = 0.1
TOUCH_MM = 0.1
AVERAGING_STEPS = 2  # over neighbouring vertices, 0.7 mm: a slice's distance, in which voxels leave terraces
# Smoothing halves an abrupt rim: over the true edge the smoothed union of bone and cartilage stands half as
# high as the sheet beside it, and runs out 0.3 mm beyond. What is lower than half of that lies outside.
RIM_REACH_MM = 1.2  # two sigmas of the carrier's smoothing: there the sheet has its own height again
RIM_RUNS_OUT_MM = 0.7  # how far from bare bone what is too low can lie: a vertex or two
RIM_SHARE = 0.5
LARGEST_HOLE_MM2 = 600.0  # bare bone ringed by cartilage: beyond 6 cm² it is taken for the joint's own gap
FOVEA_MM2 = 300.0  # assumed: the head's bare pit is 10-15 mm across
FOVEA_DEG = 50.0  # from straight medial
BESIDE_MM = 4.0  # from bare bone: the sheet there tells how thick what is missing would be (assumed)
LESION_GAP_MM = 0.5  # a lesion lies this near to the bone's surface where it reaches it
BORDERED = 0.4  # of a patch's border along cartilage; assumed: a bay, not a lesion beside the cartilage
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
    distance, point, triangle = nearest_points(bone.bvh, middle, THICKEST_MM + GAP_MM)
    found = triangle >= 0
    # blended between the vertices' normals: which of two triangles an edge's point belongs to is chance
    normal, under = cartilage._crosses, _normals_at(bone, point, np.maximum(triangle, 0))
    with np.errstate(invalid="ignore", divide="ignore"):
        cosine = np.einsum("ij,ij->i", normal, under)
        cosine = cosine / (np.linalg.norm(normal, axis=1) * np.linalg.norm(under, axis=1))
    inner = found & (cosine < 0.0) & (distance <= GAP_MM)
    return inner, found & (cosine > 0.3)


def _normals_at(surface: Surface, points_mm: Floats, triangle: Ints) -> Floats:
    """Vertex normals blended at points of the surface's triangles, (n, 3)."""
    faces = surface.triangles[triangle]
    corners = [surface.vertices_mm[faces[:, i]] for i in range(3)]
    shares = [
        np.linalg.norm(np.cross(corners[i - 2] - points_mm, corners[i - 1] - points_mm), axis=1)
        for i in range(3)
    ]
    return np.asarray(sum(s[:, None] * surface.vertex_normals[faces[:, i]] for i, s in enumerate(shares)))


def _part(surface: Surface, keep: Bools) -> Surface:
    return Surface(surface.vertices_mm, surface.triangles[keep])


# Lesions lie in their bone: its solid holds them, so that cartilage over one still lies on bone.
LESIONS = {
    "femoral_lesion": "femur", "tibial_lesion": "tibia", "patellar_lesion": "patella",
    "talar_lesion": "talus",
}  # fmt: skip


def _patch_numbers(bone: Surface, where: Bools) -> Ints:
    """Number of the connected patch of `where` that each vertex belongs to, (n,); others have their own."""
    edges = bone.triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    edges = edges[where[edges].all(axis=1)]
    n = len(where)
    graph = coo_matrix((np.ones(len(edges), np.int8), (edges[:, 0], edges[:, 1])), shape=(n, n))
    return np.asarray(connected_components(graph, directed=False)[1])


def _holes(bone: Surface, bare: Bools) -> Bools:
    """Bare vertices ringed by covered ones: every connected patch that is not too large."""
    patch = _patch_numbers(bone, bare)
    area = np.bincount(patch[bare], weights=bone.vertex_areas_mm2[bare], minlength=int(patch.max()) + 1)
    return np.asarray(bare & (area <= LARGEST_HOLE_MM2)[patch])


def _too_narrow(bone: Surface, holes: Bools, covered: Bools, voxel_mm: float) -> Bools:
    """Bare vertices that lie within a voxel of cartilage together with all of their patch: no finding.

    Where cartilage is about as thin as a voxel, its voxels leave such gaps between slices.
    """
    found = np.flatnonzero(holes)
    result = np.zeros(len(holes), bool)
    if not len(found) or voxel_mm <= 0.0 or not covered.any():
        return result
    gap, _ = cKDTree(bone.vertices_mm[covered]).query(bone.vertices_mm[found])
    patch = _patch_numbers(bone, holes)[found]
    widest = np.zeros(int(patch.max()) + 1)
    np.maximum.at(widest, patch, gap)
    result[found] = widest[patch] <= voxel_mm
    return result


def _may_be_missed(bone: Surface, bare: Bools, measured: Floats, extent_mm: Floats) -> Bools:
    """Bare vertices, or their whole patch, where voxels may have missed a sheet like the one beside, (n,).

    A sheet's voxels close up where it is at least as thick as a voxel is long along the normal: the largest
    of the three edges' shares in it (a digital plane has no tunnel from there on: Andres, Acharya & Sibata
    1997, doi:10.1006/gmip.1997.0427); a thinner one passes between two slices. How thick the sheet is, voxels
    tell to within one: what reads as less than two may be less than one.
    measured : thickness at every vertex, NaN where there is none.  extent_mm : of a voxel along the normals.
    """
    found, known = np.flatnonzero(bare), np.flatnonzero(np.isfinite(measured))
    result = np.zeros(len(bare), bool)
    if not len(found) or not len(known):
        return result
    patch = np.unique(_patch_numbers(bone, bare)[found], return_inverse=True)[1]
    tree = cKDTree(bone.vertices_mm[found])
    gap, nearest = tree.query(bone.vertices_mm[known], distance_upper_bound=BESIDE_MM)
    beside = np.isfinite(gap)
    owner, heights = patch[np.asarray(nearest)[beside]], measured[known[beside]]
    for number in range(int(patch.max()) + 1):
        sheet = heights[owner == number]
        mine = found[patch == number]
        doubted = 2.0 * extent_mm[mine] > (np.median(sheet) if len(sheet) else 0.0)
        areas = bone.vertex_areas_mm2[mine]
        # a terrace's own normal says little: where most of a patch is doubted, all of it is
        result[mine] = doubted | (areas[doubted].sum() > 0.5 * areas.sum())
    return result


def _extent_mm(normals: Floats, edges_mm: Floats | None, coarsest_spacing_mm: float) -> Floats:
    """How long a voxel is along each normal, (n,): the largest of its edges' shares (columns of edges_mm)."""
    if edges_mm is None:
        return np.full(len(normals), coarsest_spacing_mm)
    return np.asarray(np.abs(normals @ edges_mm).max(axis=1))


def _fovea(bone: Surface, holes: Bools, axes: JointAxes) -> Bools:
    """The bare pit of a femoral head, from which its ligament springs: the largest patch about medial."""
    found = np.flatnonzero(holes)
    result = np.zeros(len(holes), bool)
    if not len(found):
        return result
    patch = _patch_numbers(bone, holes)[found]
    areas, offset = bone.vertex_areas_mm2[found], bone.vertices_mm[found] - axes.origin_mm
    total = np.maximum(np.bincount(patch, weights=areas), 1e-12)
    middle = np.stack([np.bincount(patch, weights=areas * offset[:, k]) / total for k in range(3)], axis=1)
    cosine = -(middle @ axes.lateral) / np.maximum(np.linalg.norm(middle, axis=1), 1e-12)
    total[(total > FOVEA_MM2) | (cosine < np.cos(np.radians(FOVEA_DEG)))] = 0.0
    if total.any():
        result[found[patch == np.argmax(total)]] = True
    return result


def _over_lesion(bone: Surface, state: Bytes, lesion: Surface) -> Bools:
    """Bare vertices over a lesion that cartilage borders: lost, even where they lie open to the rim."""
    bare = state == OUTSIDE
    low, high = lesion.bounds_mm + np.array([[-LESION_GAP_MM], [LESION_GAP_MM]])
    near = np.flatnonzero(bare & ((bone.vertices_mm > low) & (bone.vertices_mm < high)).all(axis=1))
    result = np.zeros(len(bare), bool)
    if not len(near):
        return result
    gap, _, _ = nearest_points(lesion.bvh, bone.vertices_mm[near], LESION_GAP_MM)
    result[near[np.isfinite(gap)]] = True
    patch = _patch_numbers(bone, result)
    edges = bone.triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    leaving = edges[result[edges[:, 0]] & ~result[edges[:, 1]]]
    n = int(patch.max()) + 1
    border = np.bincount(patch[leaving[:, 0]], minlength=n)
    covered = np.bincount(patch[leaving[:, 0]], weights=state[leaving[:, 1]] == COVERED, minlength=n)
    return result & (covered >= BORDERED * np.maximum(border, 1))[patch]


def map_cartilage(
    name: str,
    cartilage: Surface,
    bone_name: str,
    bone: Surface,
    axes: JointAxes,
    *,
    coarsest_spacing_mm: float = 0.0,
    edges_mm: Floats | None = None,
    lesion: Surface | None = None,
) -> tuple[CartilageMap, tuple[Notice, ...]]:
    """Measure a cartilage at every vertex of its bone.

    coarsest_spacing_mm : the input's largest voxel edge; above 1.5 mm the map is marked not trustworthy, and
        bone is not called bare where a sheet like the one beside may lie between two slices.
    edges_mm : the input's voxel edges as columns, (3, 3); None: as long in every direction as the coarsest.
    lesion : of the bone; where it comes to the surface bare, beside cartilage, the cartilage is lost.
    Returns the map and the warnings it raises.
    """
    points, normals = bone.vertices_mm, bone.vertex_normals
    low, high = cartilage.bounds_mm + np.array([[-3.0], [3.0]])
    near = np.flatnonzero(((points > low) & (points < high)).all(axis=1) & (normals != 0.0).any(axis=1))
    thickness, nearest = np.full(len(points), np.nan), np.full(len(points), np.nan)
    state = np.full(len(points), OUTSIDE, np.uint8)
    missed = np.zeros(len(points), bool)
    if len(near):
        thickness[near] = thickness_along(points[near], normals[near], cartilage)
        inner, outer = _faces(cartilage, bone)
        rim = _beyond_the_edge(points, thickness, near.astype(np.int32))
        thickness[rim] = np.nan
        covered = np.isfinite(thickness)
        thickness = averaged(thickness, bone)
        state[covered] = COVERED
        rest = near[~covered[near] & ~rim[near]]
        if len(rest) and inner.any():
            touch, _, _ = nearest_points(_part(cartilage, inner).bvh, points[rest], TOUCH_MM)
            state[rest[np.isfinite(touch)]] = FAILED
        _forgive_the_rim(bone, state)
        holes = _holes(bone, state == OUTSIDE)
        if name == "femoral_head_cartilage":
            holes &= ~_fovea(bone, holes, axes)
        narrow = _too_narrow(bone, holes, covered, coarsest_spacing_mm)
        state[holes] = np.where(narrow[holes], FAILED, DENUDED)
        if lesion is not None and len(lesion.triangles):
            state[_over_lesion(bone, state, lesion)] = DENUDED
        if coarsest_spacing_mm > COARSE_SPACING_MM:
            extent = _extent_mm(normals, edges_mm, coarsest_spacing_mm)
            missed = _may_be_missed(bone, state == DENUDED, thickness, extent)
            state[missed] = FAILED
        if outer.any() and covered.any():
            nearest[covered] = nearest_points(_part(cartilage, outer).bvh, points[covered])[0]
    region, names = regions_of(name, points, normals, bone.vertex_areas_mm2, state != OUTSIDE, axes)
    trustworthy = coarsest_spacing_mm <= COARSE_SPACING_MM
    notices: tuple[Notice, ...] = () if trustworthy else (_coarse(name, coarsest_spacing_mm),)
    if missed.any():
        notices += (_unresolved(name, float(bone.vertex_areas_mm2[missed].sum()), coarsest_spacing_mm),)
    if len(near) and inner.any() and covered.any():
        notices += _off_the_bone(name, points[covered], _part(cartilage, inner), coarsest_spacing_mm)
    result = CartilageMap(
        name=name, bone=bone_name, thickness_mm=thickness, nearest_mm=nearest, state=state, region=region,
        regions=names, volume_ml=cartilage.volume_ml, trustworthy=trustworthy,
    )  # fmt: skip
    return result, notices


def _beyond_the_edge(points: Floats, thickness: Floats, near: Ints) -> Bools:
    """Which vertices at the rim stand less than half as high as the sheet beside them, (n,)."""
    result = np.zeros(len(points), bool)
    covered, bare = near[np.isfinite(thickness[near])], near[np.isnan(thickness[near])]
    if not len(covered) or not len(bare):
        return result
    gap, _ = cKDTree(points[bare]).query(points[covered], distance_upper_bound=RIM_RUNS_OUT_MM)
    edge = covered[np.isfinite(gap)]
    if not len(edge):
        return result
    beside: Any = cKDTree(points[covered]).query_ball_point(points[edge], RIM_REACH_MM)
    counts = np.array([len(b) for b in beside])
    heights = thickness[covered[np.concatenate([np.asarray(b, int) for b in beside])]]
    # the sheet's own height: the mean of the upper half, steadier against a spike than the highest
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    mean = np.add.reduceat(heights, starts) / counts
    upper = heights >= np.repeat(mean, counts)
    full = np.add.reduceat(np.where(upper, heights, 0.0), starts) / np.add.reduceat(upper, starts)
    result[edge[thickness[edge] < RIM_SHARE * full]] = True
    return result


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


def _unresolved(name: str, area_mm2: float, spacing_mm: float) -> Notice:
    return Notice(
        "bare-bone-not-resolved",
        f"{name}: over {area_mm2:.0f} mm² there is none, but a sheet as thick as beside may lie between two "
        f"slices, {spacing_mm:.1f} mm apart: counted as not measured, not as bare bone",
        name,
    )


def _off_the_bone(
    name: str, points: Floats, inner: Surface, coarsest_spacing_mm: float
) -> tuple[Notice, ...]:
    """Say where the cartilage's inner face stands off its bone by more than contours leave, over a tenth."""
    limit = max(OFF_MM, coarsest_spacing_mm)
    gap = nearest_points(inner.bvh, points[::5], GAP_MM)[0]
    share = float(np.mean(~(gap <= limit)))
    if share <= OFF_SHARE:
        return ()
    said = f"{name} stands over {limit:.1f} mm off its bone at {share:.0%} of its vertices: its thickness is "
    return (
        Notice(
            "cartilage-off-bone", f"{said}the cartilage's alone; are bone and cartilage of one scan?", name
        ),
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
