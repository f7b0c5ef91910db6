"""Defects of cartilage and bone: from a lesion label, from thickness loss, or drawn as an ellipse.

Area is measured on the bone's surface, depth along its normal, volume by the prisms between what is left and
what is expected. A patch is given as an open surface where the cartilage ends (on bare bone where there is
none), which is what an injectate meets. What lies over one another is one finding, however many means saw it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from injectplan.anatomy.cartilage import LESIONS
from injectplan.anatomy.expected import EDGE_MM, edge_distances, expected_thickness, near_to
from injectplan.anatomy.model import (
    COVERED,
    DENUDED,
    FAILED,
    OUTSIDE,
    CartilageMap,
    Defect,
    JointAxes,
    Structure,
)
from injectplan.anatomy.prisms import patch_volume_mm3
from injectplan.anatomy.regions import weighted_quantile
from injectplan.errors import UsageError
from injectplan.frames import unit
from injectplan.imaging.values import Surface
from injectplan.kernels.bvh import contains, nearest_points
from injectplan.kernels.cast import Array, Bools, Floats

LOSS = 0.5  # thinner than this share of what surrounds it: ICRS grade 3 begins at half the depth
SEARCHED = 0.63  # of what is expected: less than this is looked for, so that a loss of 40 % is found
LEAST_LOSS_MM = 0.6  # about a voxel: less, in a sheet one or two voxels thick, is the voxels' own terraces
GROWN = 0.75  # ICRS grade 2 begins here: a patch grows over less; its ramp reaches up to half-way
RIM_MM = 4.0  # cartilage thins towards its edge; that is no defect
GROWN_RIM_MM = 2.0  # a patch that was found farther in may come so near to the edge
SMALLEST_MM2 = 20.0  # assumed: half the median osteochondral lesion of the talus
OVER_MM = 0.5  # a lesion lies this near under the bone's surface where cartilage rests on it
# A lesion lies under a place of the bone when it does so this deep. Smoothing takes the edge off its rim:
# 0.17 mm of it at a depth of 0.4 mm, 0.04 mm at 0.7 (decision 0089).
UNDER_MM = 0.6
DEEPEST = 0.98  # quantile of a lesion's surface: its farthest vertex sits on a voxel's corner
SHARED = 0.3  # of the smaller one's area: two defects that share so much are one finding (assumed)
FLOOR = 0.3  # quantile of what is left that counts as a patch's floor; a tenth follows the voxels' noise
REFITS = 2  # what was there is asked again without the loss; a third time moves nothing by over a hundredth
RAMP_MM = 1.2  # smoothing turns a step into a ramp; half of it lies outside of a border at half its height
FARTHEST_MM = 15.0  # a drawn centre farther from its cartilage is a mistake
LESION_OF = {
    "femoral_lesion": ("femoral_cartilage", "femoral_head_cartilage"),
    "tibial_lesion": (
        "tibial_cartilage", "medial_tibial_cartilage", "lateral_tibial_cartilage", "tibial_plafond_cartilage",
    ),
    "patellar_lesion": ("patellar_cartilage",),
    "talar_lesion": ("talar_cartilage",),
}  # fmt: skip


class Drawn(Protocol):
    """An ellipse that somebody drew on a cartilage."""

    @property
    def structure(self) -> str:
        """The cartilage."""

    @property
    def center_mm(self) -> Floats:
        """RAS mm, on the cartilage or near it."""

    @property
    def radii_mm(self) -> tuple[float, float]:
        """Along the surface, as one walks over it, mm: towards anterior, then towards lateral."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ellipse:
    """An ellipse drawn on a cartilage: centre in RAS mm, radii towards anterior and towards lateral, mm.

    Radii run along the surface of the bone under it, as one walks over it; not in a plane.
    """

    structure: str
    center_mm: Floats
    radii_mm: tuple[float, float]


@dataclass(frozen=True, eq=False)
class _Found:
    """A defect with the vertices of the bone that it lies on or over; none where no bone carries it."""

    defect: Defect
    bone: str = ""
    where: Bools | None = None


def find_defects(
    structures: Mapping[str, Structure],
    cartilage: Mapping[str, CartilageMap],
    axes: JointAxes,
    drawn: Sequence[Drawn] = (),
) -> tuple[Defect, ...]:
    """Return all defects: labelled lesions, then patches of thickness loss, then those drawn.

    Those that lie over one another bear the same `finding`, and the gravest grade that one of them shows: a
    bare patch over a lesion of the bone is grade 4, which its thickness alone does not tell.
    """
    found = [_labelled(structures[name], cartilage, structures) for name in LESION_OF if name in structures]
    for measured in cartilage.values():
        if measured.trustworthy:
            found += _by_thickness(measured, structures[measured.bone].surface)
    found += [_drawn(ellipse, structures, cartilage, axes) for ellipse in drawn]
    return _joined(found, structures)


def _joined(found: Sequence[_Found], structures: Mapping[str, Structure]) -> tuple[Defect, ...]:
    """Number the findings and give each one's defects its gravest grade."""
    pairs = [(i, j) for i, one in enumerate(found) for j in range(i) if _same(one, found[j], structures)]
    links = np.array(pairs, np.int64).reshape(-1, 2)
    graph = coo_matrix((np.ones(len(links)), (links[:, 0], links[:, 1])), shape=(len(found), len(found)))
    number = connected_components(graph, directed=False)[1] if found else np.zeros(0, int)
    _, first = np.unique(number, return_index=True)
    order = {int(number[at]): place for place, at in enumerate(sorted(first), start=1)}
    result = []
    for one, own in zip(found, number, strict=True):
        grades = [f.defect.grade for f, n in zip(found, number, strict=True) if n == own]
        gravest = max((g for g in grades if g is not None), default=None)
        result.append(replace(one.defect, finding=order[int(own)], grade=gravest))
    return tuple(result)


def _same(one: _Found, other: _Found, structures: Mapping[str, Structure]) -> bool:
    """Whether two defects lie over one another: they share 0.3 of the smaller one's area."""
    if one.where is None or other.where is None or one.bone != other.bone:
        return False
    areas = structures[one.bone].surface.vertex_areas_mm2
    smaller = min(float(areas[one.where].sum()), float(areas[other.where].sum()))
    return smaller > 0.0 and float(areas[one.where & other.where].sum()) >= SHARED * smaller


def _zone(measured: CartilageMap, where: Bools, areas: Floats) -> str:
    """The region that holds most of the area."""
    mass = np.bincount(measured.region[where], weights=areas[where], minlength=len(measured.regions) + 1)
    mass[0] = 0.0
    return measured.regions[int(np.argmax(mass)) - 1] if mass.any() else "outside"


def _patch(measured: CartilageMap, bone: Surface, where: Bools) -> Surface:
    """The patch's triangles, lifted by the thickness to where the cartilage ends."""
    lift = np.nan_to_num(measured.thickness_mm, nan=0.0)[:, None] * bone.vertex_normals
    kept = bone.triangles[where[bone.triangles].all(axis=1)]
    used, index = np.unique(kept, return_inverse=True)
    return Surface((bone.vertices_mm + lift)[used], index.reshape(-1, 3).astype(np.int32))


def _own_size(lesion: Surface, direction: Floats | None = None) -> tuple[float, float]:
    """Area of a lesion's shadow along a direction, mm², and its length along it, mm; None: along z."""
    along = np.array([0.0, 0.0, 1.0]) if direction is None else direction
    height = lesion.vertices_mm @ along
    return float(0.25 * np.abs(lesion._crosses @ along).sum()), float(np.ptp(height))


def _size_in(bone: Surface, lesion: Surface) -> tuple[float, float]:
    """Area of the bone's surface under which a lesion lies, mm², and how deep it reaches, mm.

    Of a flake too shallow to be met 0.6 mm deep, half as deep; of a cyst that does not come near the surface,
    its shadow on the plane across the bone's normal.
    """
    depths = nearest_points(bone.bvh, lesion.vertices_mm)[0]
    depth = weighted_quantile(depths, lesion.vertex_areas_mm2, DEEPEST)
    low, high = lesion.bounds_mm + np.array([[-2.0], [2.0]])
    near = np.flatnonzero(((bone.vertices_mm > low) & (bone.vertices_mm < high)).all(axis=1))
    for under_mm in (UNDER_MM, 0.5 * UNDER_MM):
        points = bone.vertices_mm[near] - under_mm * bone.vertex_normals[near]
        area = float(bone.vertex_areas_mm2[near[contains(lesion.bvh, points)]].sum())
        if area > 0.0:
            return area, depth
    _, nearest = cKDTree(bone.vertices_mm).query(lesion.vertices_mm)
    return _own_size(lesion, unit(bone.vertex_normals[np.unique(nearest)].sum(axis=0)))[0], depth


def labelled_defect(
    lesion: Structure, cartilage: Mapping[str, CartilageMap], structures: Mapping[str, Structure]
) -> Defect:
    """Measure a labelled lesion by itself; see `find_defects`."""
    return _labelled(lesion, cartilage, structures).defect


def _labelled(
    lesion: Structure, cartilage: Mapping[str, CartilageMap], structures: Mapping[str, Structure]
) -> _Found:
    """Measure a labelled lesion: area on the bone, how deep it reaches under its surface, volume, zone.

    It is ICRS grade 4 where most of the bone over it is bare, else ungraded. Without its bone area and depth
    are its own, across and along z.
    """
    surface = lesion.surface
    center = np.average(surface.vertices_mm, axis=0, weights=surface.vertex_areas_mm2)
    zone, grade = "unknown", None
    carrier, over, left = "", None, float("nan")
    area, depth = _own_size(surface)
    if LESIONS[lesion.name] in structures:
        area, depth = _size_in(structures[LESIONS[lesion.name]].surface, surface)
    near = [cartilage[n] for n in LESION_OF[lesion.name] if n in cartilage]
    if near:
        measured = min(near, key=lambda m: _gap(m, structures, center))
        bone = structures[measured.bone].surface
        inside = measured.state != OUTSIDE
        over = inside.copy()
        gap, _, _ = nearest_points(surface.bvh, bone.vertices_mm[inside], OVER_MM)
        over[inside] = np.isfinite(gap)
        if over.any():
            zone, carrier = _zone(measured, over, bone.vertex_areas_mm2), measured.bone
            left = _left(measured, bone, over)
            bare = bone.vertex_areas_mm2[over & (measured.state == DENUDED)].sum()
            grade = "4" if bare > 0.5 * bone.vertex_areas_mm2[over].sum() else None
    volume = lesion.voxel_volume_ml if np.isfinite(lesion.voxel_volume_ml) else surface.volume_ml
    defect = Defect(
        structure=lesion.name, zone=zone, center_mm=center, area_mm2=area,
        depth_mm=depth, volume_ml=volume, grade=grade, source="label", left_mm=left,
        surface=surface,
    )  # fmt: skip
    return _Found(defect, carrier, over if carrier else None)


def _left(measured: CartilageMap, bone: Surface, where: Bools) -> float:
    """Mean thickness of what is left over a patch, bare bone as none; NaN where nothing is known."""
    left = np.where(measured.state == DENUDED, 0.0, measured.thickness_mm)[where]
    known = np.isfinite(left)
    if not known.any():
        return float("nan")
    return float(np.average(left[known], weights=bone.vertex_areas_mm2[where][known]))


def _gap(measured: CartilageMap, structures: Mapping[str, Structure], center: Floats) -> float:
    points = structures[measured.bone].surface.vertices_mm[measured.state != OUTSIDE]
    return float(np.linalg.norm(points - center, axis=1).min()) if len(points) else np.inf


def thickness_defects(measured: CartilageMap, bone: Surface) -> list[Defect]:
    """Patches of bare bone, or of cartilage worn to under 0.63 of what is expected there.

    A patch is looked for where that much is lost (at the rim bare bone alone counts) and grows over all that
    lies lower than half-way between its floor and what is expected. ICRS grade 2 for loss of up to half the
    depth, 3 for more, down to bare bone; whether the bone plate itself is broken (4) does not show in
    thickness.
    """
    return [found.defect for found in _by_thickness(measured, bone)]


def _by_thickness(measured: CartilageMap, bone: Surface) -> list[_Found]:
    edge = edge_distances(measured, bone)
    expected = expected_thickness(measured, bone, edge)
    lost = _lost(measured, bone, expected, edge)
    for _ in range(REFITS):
        if not lost:
            return []
        expected = expected_thickness(measured, bone, edge, np.any(lost, axis=0))
        lost = _lost(measured, bone, expected, edge)
    found = [_loss(measured, bone, where, expected) for where in lost]
    return sorted(found, key=lambda f: -f.defect.area_mm2)


def _share(measured: CartilageMap, expected: Floats) -> Floats:
    """How much of the expected thickness is left, (n,); NaN where it is not known."""
    return np.where(measured.state == DENUDED, 0.0, measured.thickness_mm / expected)


def _seeds(measured: CartilageMap, expected: Floats, edge: Floats) -> Bools:
    """Where a loss begins: bare bone, and cartilage far enough from its edge that lost enough, (n,)."""
    share = _share(measured, expected)
    thin = (share < SEARCHED) & (expected - measured.thickness_mm > LEAST_LOSS_MM)
    # a shallow one begins only where cartilage has its full thickness: on the real knee two bands of its rim
    # under the menisci were found otherwise
    return (measured.state == DENUDED) | (thin & (edge > np.where(share < LOSS, RIM_MM, EDGE_MM - 1e-6)))


def _lost(measured: CartilageMap, bone: Surface, expected: Floats, edge: Floats) -> list[Bools]:
    """Patches of lost cartilage, grown from their seeds to half-way between floor and what is expected."""
    share, seed = _share(measured, expected), _seeds(measured, expected, edge)
    inner, unknown = edge > GROWN_RIM_MM, measured.state == FAILED
    result: list[Bools] = []
    for where in _patches(bone, seed | ((share < GROWN) & inner) | unknown, seed):
        floor = weighted_quantile(share[where & np.isfinite(share)], _finite(bone, where, share), FLOOR)
        half = 0.5 * (1.0 + floor)
        around = where | (near_to(bone, where, inner, RAMP_MM) & inner)
        result += _patches(bone, _filled(bone, around & ((share < half) | unknown)), seed)
    return result


def _finite(bone: Surface, where: Bools, share: Floats) -> Floats:
    return bone.vertex_areas_mm2[where & np.isfinite(share)]


def _filled(bone: Surface, where: Bools) -> Bools:
    """A patch with what it rings, up to 20 mm²."""
    rest = ~where
    return where | ~_of_least_area(bone, rest, SMALLEST_MM2) & rest


def _loss(measured: CartilageMap, bone: Surface, where: Bools, expected: Floats) -> _Found:
    """Measure a patch of lost cartilage; where no ray measured what is left, it says nothing of the depth."""
    areas = bone.vertex_areas_mm2
    left = np.where(measured.state == DENUDED, 0.0, measured.thickness_mm)
    depth = np.maximum(expected - left, 0.0)
    known = where & np.isfinite(depth)
    share = weighted_quantile((left / expected)[known], areas[known], 0.1)
    defect = Defect(
        structure=measured.name, zone=_zone(measured, where, areas),
        center_mm=np.average(bone.vertices_mm[where], axis=0, weights=areas[where]),
        area_mm2=float(areas[where].sum()), depth_mm=float(depth[known].max()),
        volume_ml=_lost_ml(measured, bone, where, left, expected),
        grade="3" if share < LOSS else "2", source="thickness", left_mm=_left(measured, bone, where),
        surface=_patch(measured, bone, where),
    )  # fmt: skip
    return _Found(defect, measured.bone, where)


def _lost_ml(measured: CartilageMap, bone: Surface, where: Bools, left: Floats, expected: Floats) -> float:
    """Volume between what is left and what is expected, over a patch and the foot of the ramp around it.

    Bare bone ends in a step: the map ends a rim where its ramp is half as high, so the hole has its own size.
    """
    high = np.where(where, np.maximum(expected, left), expected)
    ring = np.flatnonzero((measured.state == COVERED) & ~where & np.isfinite(expected))
    patch = np.flatnonzero(where)
    gap, nearest = cKDTree(bone.vertices_mm[patch]).query(
        bone.vertices_mm[ring], distance_upper_bound=RAMP_MM
    )
    near = np.isfinite(gap)
    ring, bare = ring[near], measured.state[patch[np.asarray(nearest)[near]]] == DENUDED
    low = left.copy()
    low[ring[bare]] = 0.0
    volume = patch_volume_mm3(bone, low, high, where)
    foot = np.zeros(len(where), bool)
    foot[ring[~bare]] = True
    if foot.any():
        volume += max(patch_volume_mm3(bone, low, high, foot), 0.0)
    return volume / 1000.0


def thickness_grade(measured: CartilageMap, bone: Surface, where: Bools) -> str | None:
    """ICRS-style grade of a patch by its deepest tenth, as far as thickness tells; None where it cannot.

    "3" for a loss of more than half of what surrounds it, "2" for more than a quarter, else "0-1": fissures
    and softening do not show in thickness, nor does a broken bone plate (4).
    """
    if not measured.trustworthy:
        return None
    expected = expected_thickness(measured, bone)[where]
    left = np.where(measured.state == DENUDED, 0.0, measured.thickness_mm)[where]
    known = np.isfinite(left) & np.isfinite(expected) & (expected > 0.0)
    if not known.any():
        return None
    share = weighted_quantile((left / expected)[known], bone.vertex_areas_mm2[where][known], 0.1)
    return "3" if share < LOSS else "2" if share < 0.75 else "0-1"


def _numbered(bone: Surface, where: Bools) -> Array:
    """Number of the connected patch that each vertex belongs to, (n,)."""
    edges = bone.triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    edges = edges[where[edges].all(axis=1)]
    n = len(where)
    graph = coo_matrix((np.ones(len(edges), np.int8), (edges[:, 0], edges[:, 1])), shape=(n, n))
    return np.asarray(connected_components(graph, directed=False)[1])


def _of_least_area(bone: Surface, where: Bools, least_mm2: float) -> Bools:
    """What of a mask of vertices lies in patches of an area or more."""
    patch = _numbered(bone, where)
    area = np.bincount(patch, weights=bone.vertex_areas_mm2 * where)
    return where & (area >= least_mm2)[patch]


def _patches(bone: Surface, where: Bools, seed: Bools) -> Iterable[Bools]:
    """Connected patches of vertices of 20 mm² or more that hold seeds of a quarter of that, as masks."""
    patch = _numbered(bone, where)
    areas = bone.vertex_areas_mm2
    area = np.bincount(patch, weights=areas * where)
    seeded = np.bincount(patch, weights=areas * (where & seed), minlength=len(area))
    for number in np.flatnonzero((area >= SMALLEST_MM2) & (seeded >= 0.25 * SMALLEST_MM2)):
        yield where & (patch == number)


def _ellipse(surface: Surface, ellipse: Drawn, axes: JointAxes, allowed: Bools) -> tuple[Bools, Floats]:
    """Vertices inside an ellipse on a surface, and the vertex at its centre."""
    center = np.asarray(ellipse.center_mm, dtype=np.float64)
    distance = np.where(allowed, np.linalg.norm(surface.vertices_mm - center, axis=1), np.inf)
    middle = int(np.argmin(distance))
    if not distance[middle] <= FARTHEST_MM:
        raise UsageError(
            f"the defect drawn at {center.round(1).tolist()} lies {distance[middle]:.0f} mm from "
            f"{ellipse.structure} (at most {FARTHEST_MM:g} mm): give a centre on that cartilage, in RAS mm"
        )
    around = allowed & (distance < distance[middle] + 3.0)
    normal = unit(surface.vertex_normals[around].sum(axis=0))
    along = axes.anterior - (axes.anterior @ normal) * normal
    if np.linalg.norm(along) < 0.3:  # a surface that faces forwards: its ellipse stands upright
        along = axes.proximal - (axes.proximal @ normal) * normal
    along = unit(along)
    offset = surface.vertices_mm - surface.vertices_mm[middle]
    a, b = ellipse.radii_mm
    ahead, aside = _along_surface(offset, surface.vertex_normals, normal, along)
    within = (ahead / a) ** 2 + (aside / b) ** 2 <= 1.0
    within &= (np.abs(offset @ normal) < max(a, b)) & (surface.vertex_normals @ normal > 0.0)
    return within & allowed, surface.vertices_mm[middle]


def _along_surface(
    offset_mm: Floats, normals: Floats, normal: Floats, along: Floats
) -> tuple[Floats, Floats]:
    """Places on a surface as one walks to them from its origin: along a direction, across it, (n,) mm each.

    offset_mm, normals : (n, 3), from the origin, unit.  normal, along : (3,), at the origin, unit.
    A place's direction is that of its chord in the tangent plane, its distance the chord's arc: over an angle
    f between the normals it is longer by (f/2) / sin(f/2). Exact on a ball; on a cylinder of 20 mm radius an
    ellipse of 8 × 6 mm has its area, π a b, within 0.4 %.
    """
    half = 0.5 * np.arccos(np.clip(normals @ normal, -1.0, 1.0))
    arc = np.linalg.norm(offset_mm, axis=1) / np.sinc(half / np.pi)
    flat = np.stack([offset_mm @ along, offset_mm @ np.cross(normal, along)], axis=1)
    way = arc / np.maximum(np.linalg.norm(flat, axis=1), 1e-12)
    return way * flat[:, 0], way * flat[:, 1]


def drawn_defect(
    ellipse: Drawn,
    structures: Mapping[str, Structure],
    cartilage: Mapping[str, CartilageMap],
    axes: JointAxes,
) -> Defect:
    """Measure an ellipse drawn on a cartilage: what is lost in it; on whole cartilage that is nothing.

    depth_mm : of the deepest tenth, as the grade goes by it.  left_mm : the cartilage that is there.
    Raises UsageError when the cartilage is not in the model or the centre lies far from it.
    """
    return _drawn(ellipse, structures, cartilage, axes).defect


def _drawn(
    ellipse: Drawn,
    structures: Mapping[str, Structure],
    cartilage: Mapping[str, CartilageMap],
    axes: JointAxes,
) -> _Found:
    name = ellipse.structure
    if name not in structures:
        known = ", ".join(sorted(n for n, s in structures.items() if s.risk == "cartilage")) or "none"
        raise UsageError(
            f"a defect is drawn on '{name}', which this joint does not have (cartilage: {known})"
        )
    if name not in cartilage:
        surface = structures[name].surface
        where, center = _ellipse(surface, ellipse, axes, np.ones(len(surface.vertices_mm), bool))
        kept = surface.triangles[where[surface.triangles].all(axis=1)]
        return _Found(Defect(
            structure=name, zone="all", center_mm=center,
            area_mm2=float(surface.vertex_areas_mm2[where].sum()),
            depth_mm=float("nan"), volume_ml=float("nan"), grade=None, source="drawn",
            surface=Surface(surface.vertices_mm, kept),
        ))  # fmt: skip
    measured = cartilage[name]
    bone = structures[measured.bone].surface
    where, center = _ellipse(bone, ellipse, axes, measured.state != OUTSIDE)
    left = np.where(measured.state == DENUDED, 0.0, measured.thickness_mm)
    lost = expected_thickness(measured, bone) - left
    measurable = where & np.isfinite(lost)
    areas = bone.vertex_areas_mm2
    # signed: what scatters about what is expected is no loss; whole cartilage has none
    volume = patch_volume_mm3(bone, left, left + lost, where) / 1000.0
    defect = Defect(
        structure=name, zone=_zone(measured, where, areas), center_mm=center,
        area_mm2=float(areas[where].sum()),
        depth_mm=max(weighted_quantile(lost[measurable], areas[measurable], 0.9), 0.0)
        if measurable.any() else np.nan,
        volume_ml=max(volume, 0.0) if measurable.any() else np.nan, source="drawn",
        grade=thickness_grade(measured, bone, where), left_mm=_left(measured, bone, where),
        surface=_patch(measured, bone, where),
    )  # fmt: skip
    return _Found(defect, measured.bone, where)
