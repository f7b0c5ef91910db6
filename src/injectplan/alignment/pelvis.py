"""The pelvis' side of the hip: the socket's sphere, its rim, the anterior pelvic plane.

No template and no seed point: the socket is the largest hollow that faces its own centre; the rim is, in
every half plane through the socket's axis, where the bone turns away from the sphere; the pelvic plane is
the one on which both hip bones come to rest, laid on their front.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial import ConvexHull, KDTree, QhullError

from injectplan.alignment.bones import Bone
from injectplan.alignment.fits import Sphere, find_sphere, fit_line, fit_plane, tukey
from injectplan.alignment.meshes import edges_of
from injectplan.alignment.scatter import center_point, tangent_point
from injectplan.alignment.values import Landmark
from injectplan.errors import ContradictionError, LandmarkError
from injectplan.frames import angle_deg, unit
from injectplan.kernels.cast import Bools, Floats

_PLANE_NAMES = (
    "anterior_superior_iliac_spine", "opposite_anterior_superior_iliac_spine", "pubic_tubercle_midpoint",
)  # fmt: skip
_SOCKET_NAMES = ("acetabular_center", "acetabular_opening_point", "lateral_acetabular_edge")
PELVIS_LANDMARKS = (*_PLANE_NAMES, *_SOCKET_NAMES)
OPENING_MM = 25.0
# Scatter, assumed: rim plane 1.6 deg, its edge 3 deg of LCEA, spines as raters' landmarks on femora scatter
RIM_SD_MM, EDGE_SD_MM, SPINE_SD_MM, SPINE_ALONG_SD_MM = 0.5, 1.4, 1.0, 3.0

Region = Callable[[Floats, Floats], Bools]

SOCKET_RADIUS_MM = (18.0, 38.0)  # the bony socket is 2 to 5 mm wider than the head (15 to 34 mm)
RIM_BINS = 72  # even: the long axis may point either way
RIM_SCALE_MM = 5.0
START_LEAN_DEG = 15.0
RIM_REACH_MM = 6.0  # how far the crest of the rim may stand off the socket's sphere
SPINE_RATIO = (0.95, 1.75)  # distance of the spines over that of the sockets: 1.2 to 1.4
PLANE_HEIGHT_MM = (50.0, 150.0)  # spines above the pubic tubercles: 80 to 110


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SocketFit:
    """One acetabulum: its sphere, its rim and where it opens.

    rim : (k, 3) crest points in the order of their azimuth.  opening : unit normal of the rim's plane, away
    from the bone.  rim_center : the rim plane's point next to the sphere's centre.
    """

    bone: Bone
    sphere: Sphere
    rim: Floats
    rim_center: Floats
    opening: Floats
    rim_residual_mm: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PelvicPlane:
    """The anterior pelvic plane: both spines, the tubercles' midpoint, and its axes (unit)."""

    spine: Floats
    opposite_spine: Floats
    tubercles: Floats
    lateral: Floats
    anterior: Floats
    superior: Floats


def measure_socket(bone: Bone, head: Sphere | None = None, *, seed: int = 0) -> SocketFit:
    """Find the acetabulum of a hip bone; no hollow of a socket's size raises LandmarkError.

    head : the femoral head where it is known in the same frame; it must lie in the socket.
    """
    sphere, hollow = _socket_sphere(bone, seed) if head is None else _socket_around(bone, head)
    wall = bone.points[hollow]
    outward = unit(np.average(sphere.center - wall, axis=0, weights=bone.weights[hollow]))
    rim, (point, opening, residual) = _rim_plane(bone, sphere, outward)
    center = sphere.center + float((point - sphere.center) @ opening) * opening
    depth = float((sphere.center - center) @ opening)
    if residual > 4.0 or abs(depth) > 0.6 * sphere.radius_mm:
        raise LandmarkError(
            f"the rim of the socket of {bone.name} does not lie near one plane through the socket"
        )
    return SocketFit(
        bone=bone, sphere=sphere, rim=rim, rim_center=center, opening=opening, rim_residual_mm=residual
    )


def _socket_sphere(bone: Bone, seed: int) -> tuple[Sphere, Bools]:
    """The sphere whose hollow inner side the bone shows over the largest area, and the points on it."""
    points, normals, weights = bone.points, bone.normals, bone.weights
    share = np.cumsum(weights) / weights.sum()
    some = np.unique(np.searchsorted(share, (np.arange(1500) + 0.5) / 1500))
    tree = KDTree(points[some])
    best: tuple[float, Floats, float] = (0.0, np.zeros(3), 0.0)
    for radius in np.arange(20.0, 36.5, 2.0):
        centers = points[some] + radius * normals[some]
        shells = tree.query_ball_point(centers, radius + 2.0)
        for center, near in zip(centers, shells, strict=True):
            at = some[near]
            out = center - points[at]
            distance = np.linalg.norm(out, axis=1)
            facing = np.einsum("ij,ij->i", out, normals[at]) > 0.85 * distance
            good = facing & (distance > radius - 2.0)
            # nothing of the bone stands within a hollow
            score = (float(good.sum()) - 2.0 * float((distance < radius - 4.0).sum())) / radius**2
            if score > best[0]:
                best = (score, center, float(radius))
    _, center, radius = best
    if not radius:
        raise LandmarkError(f"{bone.name} shows no socket: it is not a hip bone, or the socket is cut")
    # the joint surface, not the fossa 3 to 5 mm behind it: the sphere that holds most of the hollow
    for _ in range(3):
        out = center - points
        distance = np.linalg.norm(out, axis=1)
        hollow = (np.abs(distance - radius) < 8.0) & ((out * normals).sum(axis=1) > 0.7 * distance)
        if hollow.sum() < 12:
            raise LandmarkError(f"{bone.name} shows no socket: it is not a hip bone, or the socket is cut")
        scale = max(1.0, 0.15 * bone.edge_mm)
        sphere = find_sphere(
            points[hollow], weights[hollow], radii=SOCKET_RADIUS_MM, scale=scale, seed=seed, power=0.0
        )
        center, radius = sphere.center, sphere.radius_mm
    out = center - points
    distance = np.linalg.norm(out, axis=1)
    hollow = (np.abs(distance - radius) < 2.0 * scale) & ((out * normals).sum(axis=1) > 0.7 * distance)
    if not SOCKET_RADIUS_MM[0] <= radius <= SOCKET_RADIUS_MM[1] or sphere.coverage < 0.13:
        raise LandmarkError(
            f"the best hollow of {bone.name} has a radius of {radius:.0f} mm, covered to "
            f"{100 * sphere.coverage:.0f} %: not a hip's socket (18 to 38 mm, 13 %)"
        )
    return sphere, hollow


def _socket_around(bone: Bone, head: Sphere) -> tuple[Sphere, Bools]:
    """The joint surface around a known femoral head: the shell about its centre that holds most bone.

    Its centre stays the head's, which the angles are drawn from; the fossa behind the surface is left out.
    """
    out = head.center - bone.points
    distance = np.linalg.norm(out, axis=1)
    facing = (out * bone.normals).sum(axis=1) > 0.75 * distance
    radii = np.arange(head.radius_mm - 1.0, head.radius_mm + 6.0, 0.25)
    half = max(0.8, 0.15 * bone.edge_mm)
    area = np.array([bone.weights[facing & (np.abs(distance - r) < half)].sum() for r in radii])
    radius = float(radii[int(np.argmax(area))])
    hollow = facing & (np.abs(distance - radius) < 2.0 * half)
    share = float(bone.weights[hollow].sum()) / (4.0 * np.pi * radius**2)
    if share < 0.15:
        raise LandmarkError(
            f"the socket of {bone.name} covers {100 * share:.0f} % of a sphere about the femoral head (needs "
            "15 %): give both bones of one scan, the socket whole"
        )
    residual = float(np.sqrt(np.average((distance[hollow] - radius) ** 2, weights=bone.weights[hollow])))
    return Sphere(center=head.center, radius_mm=radius, residual_mm=residual, coverage=share), hollow


def _rim_plane(bone: Bone, sphere: Sphere, outward: Floats) -> tuple[Floats, tuple[Floats, Floats, float]]:
    """The rim and its plane (point, normal, residual), found in turn from several starts.

    The crest found depends on the direction it is looked for from, so that one start may settle on one of
    several planes. Of those the one that holds most of the crest counts (sum of Tukey's weights).
    """
    edges = _near_edges(bone, sphere)
    long_axis = fit_line(bone.points, bone.weights)[1]
    u = unit(long_axis - (long_axis @ outward) * outward)
    v = np.cross(outward, u)
    best, found = -1.0, None
    for lean in (np.zeros(3), u, v, -u, -v):
        opening = unit(outward + np.tan(np.radians(START_LEAN_DEG)) * lean)
        for step in range(60):
            rim = _rim(edges, sphere, opening, long_axis)
            if len(rim) < 0.5 * RIM_BINS:
                break
            plane = fit_plane(rim, np.ones(len(rim)), opening, RIM_SCALE_MM)
            # later steps grow shorter: two crests of like height would be taken in turn for ever
            share = 1.0 / max(1.0, step - 12.0)
            before, opening = opening, unit(share * plane[1] + (1.0 - share) * opening)
            if np.linalg.norm(before - plane[1]) < 1e-9:
                break
        if len(rim) >= 0.5 * RIM_BINS:
            held = float(tukey((rim - plane[0]) @ plane[1], RIM_SCALE_MM).sum())
            if held > best + 1e-6:
                best, found = held, (rim, plane)
    if found is None:
        raise LandmarkError(
            f"the rim of the socket of {bone.name} is seen over {100 * len(rim) / RIM_BINS:.0f} % of its "
            "round (needs 50 %)"
        )
    return found


def _near_edges(bone: Bone, sphere: Sphere) -> Floats:
    """Ends (k, 2, 3) from the sphere's centre of the bone's edges near it."""
    offset = bone.points - sphere.center
    near = np.abs(np.linalg.norm(offset, axis=1) - sphere.radius_mm) < RIM_REACH_MM
    pairs = edges_of(bone.triangles)
    return np.asarray(offset[pairs[near[pairs].any(axis=1)]])


def _rim(edges: Floats, sphere: Sphere, opening: Floats, long_axis: Floats) -> Floats:
    """Crest of the rim in each of the half planes around the opening that has one, ordered by azimuth.

    The half planes are counted from the bone's own long axis; the crest is where the outline of the cut
    surface comes furthest around the sphere.
    """
    u = unit(long_axis - (long_axis @ opening) * opening)
    v = np.cross(opening, u)
    x, y = edges @ u, edges @ v
    turns = np.arctan2(y, x) * (RIM_BINS / (2.0 * np.pi))
    step = turns[:, 1] - turns[:, 0]
    step -= RIM_BINS * np.round(step / RIM_BINS)  # the short way round
    start = np.where(step >= 0.0, turns[:, 0], turns[:, 0] + step)
    first = np.ceil(start).astype(np.int64)
    count = np.floor(start + np.abs(step)).astype(np.int64) - first + 1
    edge = np.repeat(np.arange(len(edges)), np.maximum(count, 0))
    k = first[edge] + np.arange(len(edge)) - np.repeat(np.cumsum(np.maximum(count, 0)), np.maximum(count, 0))
    k = (k + np.maximum(count, 0)[edge]) % RIM_BINS
    azimuth = k * (2.0 * np.pi / RIM_BINS)
    side = y[edge] * np.cos(azimuth)[:, None] - x[edge] * np.sin(azimuth)[:, None]
    t = side[:, 0] / np.where(side[:, 0] == side[:, 1], 1.0, side[:, 0] - side[:, 1])
    at = edges[edge, 0] + t[:, None] * (edges[edge, 1] - edges[edge, 0])
    distance = np.linalg.norm(at, axis=1)
    height = at @ opening
    polar = np.degrees(np.arctan2(np.linalg.norm(at - height[:, None] * opening, axis=1), -height))
    kept = np.flatnonzero(
        (np.abs(distance - sphere.radius_mm) < RIM_REACH_MM) & (polar > 50.0) & (polar < 130.0)
    )
    order = kept[np.lexsort((-polar[kept], k[kept]))]
    crest = order[np.unique(k[order], return_index=True)[1]]
    return np.asarray(sphere.center + at[crest])


def pelvic_plane(side: SocketFit, opposite: SocketFit) -> PelvicPlane:
    """The anterior pelvic plane on which both hip bones rest; a pelvis cut short raises LandmarkError."""
    across = side.sphere.center - opposite.sphere.center
    width = float(np.linalg.norm(across))
    if not 120.0 < width < 280.0:
        raise LandmarkError(f"the sockets lie {width:.0f} mm apart (120 to 280 mm): not one pelvis")
    middle = 0.5 * (side.sphere.center + opposite.sphere.center)
    lateral = across / width
    forward = side.opening + opposite.opening  # forwards and down, what the two openings share
    forward = unit(forward - (forward @ lateral) * lateral)
    points = np.concatenate([side.bone.points, opposite.bone.points])
    spine, other, pubis = _resting_triangle(points, middle, lateral, forward, width)
    plane = _plane(spine, other, pubis, middle)
    for _ in range(8):
        spine, other = (
            _foremost(s.bone, plane, sign * lateral, middle, lambda m, h: (m > 0.3 * width) & (h > 0.0))
            for s, sign in ((side, 1.0), (opposite, -1.0))
        )
        tubercles = [
            _foremost(
                s.bone, plane, lateral, middle, lambda m, h: (abs(m) < 0.28 * width) & (h < 0.1 * width)
            )
            for s in (side, opposite)
        ]
        before, plane = plane, _plane(spine, other, 0.5 * (tubercles[0] + tubercles[1]), middle)
        if np.linalg.norm(before.anterior - plane.anterior) < 1e-9:
            break
    _check_plane(plane, (side, opposite), middle, width)
    return plane


def _resting_triangle(
    points: Floats, middle: Floats, lateral: Floats, forward: Floats, width: float
) -> tuple[Floats, Floats, Floats]:
    """The hull's facet on two far points of different sides above and one near the middle in front."""
    try:
        hull = ConvexHull(points)
    except QhullError as error:
        raise LandmarkError("the hip bones are flat") from error
    best, found = 0.0, None
    for corners in hull.simplices:
        p = points[corners]
        m = (p - middle) @ lateral
        order = np.argsort(m)
        low, mid, high = p[order[0]], p[order[1]], p[order[2]]
        gap = float(m[order[2]] - m[order[0]])
        if not SPINE_RATIO[0] * width < gap < SPINE_RATIO[1] * width or abs(m[order[1]]) > 0.28 * width:
            continue
        if m[order[0]] > -0.3 * width or m[order[2]] < 0.3 * width or (mid - middle) @ forward < 0.0:
            continue
        area = float(np.linalg.norm(np.cross(high - low, mid - low)))
        if area > best:
            best, found = area, (high, low, mid)
    if found is None:
        raise LandmarkError("the pelvis does not show both anterior superior iliac spines and the pubis")
    return found


def _plane(spine: Floats, other: Floats, pubis: Floats, behind: Floats) -> PelvicPlane:
    lateral = unit(spine - other)
    up = 0.5 * (spine + other) - pubis
    superior = unit(up - (up @ lateral) * lateral)
    anterior = np.cross(lateral, superior)
    anterior = anterior if (pubis - behind) @ anterior > 0 else -anterior
    return PelvicPlane(
        spine=spine, opposite_spine=other, tubercles=pubis, lateral=lateral, anterior=anterior,
        superior=superior,
    )  # fmt: skip


def _foremost(bone: Bone, plane: PelvicPlane, lateral: Floats, middle: Floats, keep: Region) -> Floats:
    """The foremost point of the part of a bone that `keep` picks by its lateral and superior coordinates."""
    offset = bone.points - middle
    part = np.flatnonzero(keep(offset @ lateral, offset @ plane.superior))
    if not len(part):
        raise LandmarkError(f"{bone.name} does not show its anterior superior iliac spine and its pubis")
    return bone.points[part[np.argmax(bone.points[part] @ plane.anterior)]]


def _check_plane(plane: PelvicPlane, sockets: Sequence[SocketFit], middle: Floats, width: float) -> None:
    """Refuse a plane no pelvis has, or one that rests on the edge of the field of view."""
    height = float((0.5 * (plane.spine + plane.opposite_spine) - plane.tubercles) @ plane.superior)
    lean = abs(90.0 - angle_deg(plane.lateral, middle - plane.tubercles))
    tilt = angle_deg(plane.lateral, sockets[0].sphere.center - sockets[1].sphere.center)
    if not PLANE_HEIGHT_MM[0] < height < PLANE_HEIGHT_MM[1] or tilt > 12.0 or lean > 25.0:
        raise LandmarkError(
            f"the spines stand {height:.0f} mm above the pubic tubercles, {tilt:.0f}° askew: "
            "not a whole pelvis"
        )
    for socket, spine in zip(sockets, (plane.spine, plane.opposite_spine), strict=True):
        cap = socket.bone.cap
        if cap is not None and abs((spine - cap[1][0]) @ cap[0]) < 3.0:
            raise LandmarkError(
                f"the anterior superior iliac spine of {socket.bone.name} lies on the edge of the view"
            )


def lateral_edge(socket: SocketFit, plane: PelvicPlane, center: Floats) -> Floats:
    """The rim's point above and beside the head in the frontal section through its centre (3,) mm."""
    offset = socket.rim - center
    a, lateral, up = offset @ plane.anterior, offset @ plane.lateral, offset @ plane.superior
    nxt = np.roll(np.arange(len(a)), -1)
    best, found = -np.inf, None
    for i in np.flatnonzero(a * a[nxt] <= 0.0):
        j = nxt[i]
        gap = float(np.linalg.norm(socket.rim[i] - socket.rim[j]))
        if gap > 12.0 or up[i] < 0.0:
            continue
        t = a[i] / (a[i] - a[j]) if a[i] != a[j] else 0.5
        if lateral[i] + up[i] > best:
            best, found = lateral[i] + up[i], socket.rim[i] + t * (socket.rim[j] - socket.rim[i])
    if found is None:
        raise LandmarkError(f"the rim of {socket.bone.name} does not pass above the femoral head")
    return np.asarray(found)


def pelvis_landmarks(
    hip_bones: Sequence[Bone], head: Sphere, handed: float, seed: int = 0
) -> tuple[dict[str, Landmark], dict[str, str]]:
    """Return the landmarks of the pelvis beside a femoral head, and why others are missing.

    hip_bones : one or two, in any order; the one whose socket holds the head is this leg's.
    handed : +1 on a right leg, -1 on a left one.  Raises ContradictionError where the pelvis is of the other
    handedness (mirrored, or the hip bone of the other side).
    """
    try:
        near = sorted(hip_bones, key=lambda b: KDTree(b.points).query(head.center)[0])
        own = measure_socket(near[0], head, seed=seed)
    except LandmarkError as error:
        return {}, dict.fromkeys(PELVIS_LANDMARKS, str(error))
    edge = own.bone.edge_mm
    method = "plane through the crest of the socket's rim"
    found = {
        "acetabular_center": Landmark(
            position_mm=own.rim_center, covariance_mm2=RIM_SD_MM**2 * np.eye(3), method=method,
            details={"radius_mm": own.sphere.radius_mm, "coverage": own.sphere.coverage,
                     "rim_residual_mm": own.rim_residual_mm},
        ),
        "acetabular_opening_point": center_point(
            own.rim_center + OPENING_MM * own.opening, RIM_SD_MM, "normal of that plane, 25 mm out", "", edge
        ),
    }  # fmt: skip
    try:
        if len(near) < 2:
            raise LandmarkError(
                "the pelvic plane needs both hip bones: give opposite_hip_bone, or both in one file"
            )
        plane = pelvic_plane(own, measure_socket(near[1], seed=seed))
    except LandmarkError as error:
        return found, dict.fromkeys((*_PLANE_NAMES, "lateral_acetabular_edge"), str(error))
    if handed * float(np.cross(plane.lateral, plane.anterior) @ plane.superior) < 0.0:
        raise ContradictionError(
            f"the pelvis beside this {'right' if handed > 0 else 'left'} femoral head is of the other side: "
            "check the side and whether the data are mirrored"
        )
    rests = (("anterior_superior_iliac_spine", plane.spine), ("pubic_tubercle_midpoint", plane.tubercles),
             ("opposite_anterior_superior_iliac_spine", plane.opposite_spine))  # fmt: skip
    for name, at in rests:
        found[name] = tangent_point(
            at, plane.anterior, SPINE_SD_MM, "foremost point of the pelvis laid on its front", "", edge,
            along_sd_mm=SPINE_ALONG_SD_MM,
        )  # fmt: skip
    try:
        found["lateral_acetabular_edge"] = center_point(
            lateral_edge(own, plane, head.center), EDGE_SD_MM,
            "the rim's crest in the frontal section through the head's centre", "", edge)  # fmt: skip
    except LandmarkError as error:
        return found, {"lateral_acetabular_edge": str(error)}
    return found, {}
