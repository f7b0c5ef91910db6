"""Cartilage as pictures: maps on the bones, the femur's unrolled, and cuts with the thickness laid over.

One scale for a joint, in a perceptually uniform colour map, from 0 to the 98th percentile of all its
cartilage; bare bone inside the cartilage has a colour of its own, and so has what could not be measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke
from scipy.spatial import cKDTree

from injectplan.anatomy.model import COVERED, DENUDED, FAILED, OUTSIDE, CartilageMap, JointModel
from injectplan.anatomy.regions import condylar_arc
from injectplan.anatomy.zones import image_on_bone
from injectplan.imaging.values import Surface, Volume
from injectplan.kernels.bvh import contains
from injectplan.kernels.cast import Bools, Bytes, Floats
from injectplan.report.pictures import joint_views
from injectplan.report.planes import label_plane
from injectplan.report.raycast import Camera, Scenery, Solid, render
from injectplan.report.style import STYLE, array_of, colour_of

COLOURS = "viridis"
BONE = (0.87, 0.84, 0.78)
BARE = (0.80, 0.12, 0.16)
UNKNOWN = (0.55, 0.55, 0.55)
DIM = 0.38  # of the labels behind a cut's thickness
PIXELS = 420  # of a map's edge
_FEMORAL = ("femoral_cartilage", "femoral_lesion")
THICKNESS = "cartilage thickness, mm"


@dataclass(frozen=True, slots=True)
class _View:
    """A bone looked at: its cartilage, where from and what is up, in lateral, anterior, proximal."""

    title: str
    bone: str
    towards: tuple[float, float, float]
    up: tuple[float, float, float]


_VIEWS: Mapping[str, Sequence[_View]] = {
    "knee": (
        _View("femur from the front", "femur", (0.0, 1.0, 0.15), (0.0, 0.0, 1.0)),
        _View("femur from below", "femur", (0.0, -0.25, -1.0), (0.0, 1.0, 0.0)),
        _View("femur from behind", "femur", (0.0, -1.0, -0.25), (0.0, 0.0, 1.0)),
        _View("tibia from above", "tibia", (0.0, 0.0, 1.0), (0.0, 1.0, 0.0)),
        _View("patella from behind", "patella", (0.0, -1.0, 0.0), (0.0, 0.0, 1.0)),
    ),
    "hip": (
        _View("femoral head from the front", "femur", (-0.3, 1.0, 0.4), (0.0, 0.0, 1.0)),
        _View("femoral head from above", "femur", (-0.5, 0.0, 1.0), (0.0, 1.0, 0.0)),
        _View("femoral head from behind", "femur", (-0.3, -1.0, 0.4), (0.0, 0.0, 1.0)),
        _View("acetabulum from the side", "hip_bone", (1.0, 0.25, -0.5), (0.0, 0.0, 1.0)),
    ),
    "ankle": (
        _View("talus from the front", "talus", (0.0, 1.0, 0.6), (0.0, 0.0, 1.0)),
        _View("talus from above", "talus", (0.0, 0.0, 1.0), (0.0, 1.0, 0.0)),
        _View("talus from behind", "talus", (0.0, -1.0, 0.6), (0.0, 0.0, 1.0)),
        _View("plafond from below", "tibia", (0.0, 0.0, -1.0), (0.0, 1.0, 0.0)),
    ),
}  # fmt: skip
_WORDS = {
    "lateral": np.array([1.0, 0, 0]), "medial": np.array([-1.0, 0, 0]), "anterior": np.array([0, 1.0, 0]),
    "posterior": np.array([0, -1.0, 0]), "proximal": np.array([0, 0, 1.0]), "distal": np.array([0, 0, -1.0]),
}  # fmt: skip


def scale_of(joint: JointModel) -> Normalize:
    """Return the scale of a joint's thickness: from 0 to the 98th percentile of all of it, in half mm."""
    values = [m.thickness_mm[m.state == COVERED] for m in joint.cartilage.values()]
    found = np.concatenate(values) if values else np.zeros(0)
    top = float(np.quantile(found, 0.98)) if len(found) else 1.0
    return Normalize(0.0, max(0.5 * np.ceil(2.0 * top), 0.5))


def _painted(
    joint: JointModel, bone: str, scale: Normalize, values: Mapping[str, Floats] | None = None
) -> Floats:
    """Colour of each vertex of a bone, (n, 3)."""
    result = np.tile(np.array(BONE), (len(joint.structures[bone].surface.vertices_mm), 1))
    table = mpl.colormaps[COLOURS]
    for name, measured in joint.cartilage.items():
        if measured.bone != bone:
            continue
        shown = measured.thickness_mm if values is None else values[name]
        known = (measured.state == COVERED) & np.isfinite(shown)
        result[known] = table(scale(shown[known]))[:, :3]
        result[measured.state == DENUDED] = BARE
        unknown = (measured.state == FAILED) | ((measured.state == COVERED) & ~np.isfinite(shown))
        result[unknown] = UNKNOWN
    return result


def _to_patient(joint: JointModel, direction: tuple[float, float, float]) -> Floats:
    axes = joint.axes
    return np.asarray(np.array(direction) @ np.stack([axes.lateral, axes.anterior, axes.proximal]))


def _word(joint: JointModel, direction: Floats) -> str:
    """The anatomical word for a direction in RAS."""
    axes = joint.axes
    own = np.stack([axes.lateral, axes.anterior, axes.proximal]) @ direction
    return max(_WORDS, key=lambda word: float(_WORDS[word] @ own))


def _covered(joint: JointModel, bone: str) -> Bools:
    where = np.zeros(len(joint.structures[bone].surface.vertices_mm), bool)
    for measured in joint.cartilage.values():
        if measured.bone == bone:
            where |= measured.state != OUTSIDE
    return where


def _frame(axis: Axes, title: str, half_mm: float, words: Sequence[str], colour: str) -> None:
    """Finish a picture in mm: what lies left, right, above and below, and a bar of 10 mm."""
    style: dict[str, Any] = {"color": colour, "fontsize": 8, "ha": "center", "va": "center"}
    left, right, top, bottom = words
    axis.text(-0.96 * half_mm, 0, left, rotation=90, **style)
    axis.text(0.96 * half_mm, 0, right, rotation=90, **style)
    axis.text(0, 0.95 * half_mm, top, **style)
    axis.text(0, -0.95 * half_mm, bottom, **style)
    x, y = 0.88 * half_mm - 10.0, -0.88 * half_mm
    axis.plot([x, x + 10.0], [y, y], color=colour, lw=2, zorder=5)
    axis.text(x + 5.0, y + 0.03 * half_mm, "10 mm", color=colour, fontsize=7, ha="center")
    axis.set_title(title, fontsize=10)
    axis.set_xlim(-half_mm, half_mm)
    axis.set_ylim(-half_mm, half_mm)
    axis.set_axis_off()


def _draw_view(axis: Axes, joint: JointModel, view: _View, scenery: Scenery, *, pixels: int) -> None:
    points = joint.structures[view.bone].surface.vertices_mm[_covered(joint, view.bone)]
    camera = Camera(
        center_mm=np.zeros(3), direction=-_to_patient(joint, view.towards), up=_to_patient(joint, view.up),
        height_mm=1.0,
    )  # fmt: skip
    right, up, _ = camera.axes()
    low, high = points.min(axis=0), points.max(axis=0)
    across = np.stack([points @ right, points @ up])
    extent = float((across.max(axis=1) - across.min(axis=1)).max()) + 14.0
    middle = 0.5 * (across.max(axis=1) + across.min(axis=1))
    center = middle[0] * right + middle[1] * up
    center = center + ((0.5 * (low + high)) @ camera.axes()[2]) * camera.axes()[2]
    placed = Camera(center_mm=center, direction=camera.direction, up=camera.up, height_mm=extent)
    picture = render(scenery, placed, width=pixels, height=pixels)
    axis.imshow(picture, extent=(-extent / 2, extent / 2, -extent / 2, extent / 2))
    _frame(
        axis, view.title, extent / 2,
        (_word(joint, -right), _word(joint, right), _word(joint, up), _word(joint, -up)), "black",
    )  # fmt: skip


# --- the femur's cartilage, unrolled -------------------------------------------------------------------


def _crossings(values: Floats, uv: Floats, triangles: Any) -> Floats:
    """Segments (m, 2, 2) along which a whole-numbered value changes between the corners of triangles."""
    segments = []
    v = values[triangles]
    for apex, one, other in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        alone = (v[:, one] == v[:, other]) & (v[:, apex] != v[:, one])
        t = triangles[alone]
        a, b, c = uv[t[:, apex]], uv[t[:, one]], uv[t[:, other]]
        segments.append(np.stack([0.5 * (a + b), 0.5 * (a + c)], axis=1))
    return np.concatenate(segments)


@dataclass(frozen=True, eq=False)
class Unrolled:
    """The femoral cartilage laid flat: x (n,) and y (n,) mm of the bone's vertices, triangles shown (m, 3).

    x runs as one sees a patient's knee (lateral on the left of a right knee), y along the running surface:
    0 straight down, the trochlea above, the posterior condyles below. The length along is that of the mean
    profile seen from the side, so it is true where the surface lies at its mean distance from the axis.
    """

    uv: Floats
    triangles: Any


def _along_profile(arc_deg: Floats, radius_mm: Floats, areas: Floats) -> Floats:
    """Length along the mean profile from straight down to each point, (n,) mm, positive behind."""
    step = 3.0
    edges = np.arange(np.floor(arc_deg.min() / step), np.ceil(arc_deg.max() / step) + 1.0) * step
    index = np.clip(((arc_deg - edges[0]) / step).astype(int), 0, len(edges) - 2)
    mass = np.bincount(index, weights=areas, minlength=len(edges) - 1)
    mean = np.bincount(index, weights=areas * radius_mm, minlength=len(edges) - 1)
    middle = 0.5 * (edges[1:] + edges[:-1])
    known = mass > 0
    profile = np.interp(middle, middle[known], mean[known] / mass[known])
    length = np.concatenate([[0.0], np.cumsum(profile * np.radians(step))])
    return np.asarray(np.interp(arc_deg, edges, length - np.interp(0.0, edges, length)))


def unroll(measured: CartilageMap, bone: Surface, joint: JointModel) -> Unrolled:
    """Lay a femur's cartilage flat about the condyles' axis."""
    inside = measured.state != OUTSIDE
    areas = bone.vertex_areas_mm2[inside]
    lateral, arc, radius = condylar_arc(bone.vertices_mm[inside], areas, joint.axes)
    uv = np.full((len(bone.vertices_mm), 2), np.nan)
    uv[inside, 0] = lateral if joint.side == "left" else -lateral
    uv[inside, 1] = -_along_profile(arc, radius, areas)
    kept = bone.triangles[inside[bone.triangles].all(axis=1)]
    height = uv[kept, 1]
    return Unrolled(uv, kept[height.max(axis=1) - height.min(axis=1) < 20.0])  # not across the seam


def draw_unrolled(axis: Axes, joint: JointModel, scale: Normalize, values: Floats | None = None) -> None:
    """Draw the femoral cartilage unrolled, with its regions' borders and means, and its defects' outlines."""
    measured = joint.cartilage["femoral_cartilage"]
    bone = joint.structures[measured.bone].surface
    flat = unroll(measured, bone, joint)
    shown = measured.thickness_mm if values is None else values
    known = np.isfinite(shown) & (measured.state == COVERED)
    clear = flat.triangles[known[flat.triangles].all(axis=1)]
    rest = flat.triangles[~known[flat.triangles].all(axis=1)]
    if len(rest):
        bare = (measured.state == DENUDED)[rest].any(axis=1)
        uv = np.nan_to_num(flat.uv)
        for part, colour in ((rest[~bare], UNKNOWN), (rest[bare], BARE)):
            if len(part):
                axis.tripcolor(
                    uv[:, 0], uv[:, 1], part, facecolors=np.zeros(len(part)), rasterized=True,
                    cmap=mpl.colors.ListedColormap([colour]), edgecolors="face", linewidth=0.3,
                )  # fmt: skip
    if len(clear):
        used, index = np.unique(clear, return_inverse=True)
        axis.tripcolor(
            flat.uv[used, 0], flat.uv[used, 1], index.reshape(-1, 3), shown[used], shading="gouraud",
            cmap=COLOURS, norm=scale, rasterized=True,
        )  # fmt: skip
    borders = _crossings(measured.region.astype(float), flat.uv, flat.triangles)
    axis.add_collection(LineCollection(list(borders), colors="white", linewidths=1.0))
    _name_regions(axis, measured, bone, flat, shown)
    for defect in joint.defects:
        if defect.surface is not None and defect.structure in _FEMORAL:
            _outline(axis, defect.surface, flat, bone)
    inside = flat.uv[np.isfinite(flat.uv[:, 0])]
    (left, low), (right, high) = inside.min(axis=0) - 4.0, inside.max(axis=0) + 4.0
    axis.set_xlim(left, right)
    axis.set_ylim(low, high)
    axis.set_aspect("equal")
    sides = ("lateral", "medial") if joint.side == "right" else ("medial", "lateral")
    axis.set_xlabel(f"{sides[0]}     across, mm     {sides[1]}", fontsize=8)
    axis.set_ylabel("behind     along the running surface, mm     in front", fontsize=8)
    axis.tick_params(labelsize=7)
    axis.set_title("femoral cartilage, unrolled", fontsize=10)


def _name_regions(axis: Axes, measured: CartilageMap, bone: Surface, flat: Unrolled, shown: Floats) -> None:
    for number, name in enumerate(measured.regions, start=1):
        here = (measured.region == number) & np.isfinite(flat.uv[:, 0])
        known = here & np.isfinite(shown) & (measured.state == COVERED)
        if not known.any():
            continue
        areas = bone.vertex_areas_mm2
        x, y = np.average(flat.uv[here], axis=0, weights=areas[here])
        mean = float(np.average(shown[known], weights=areas[known]))
        side, _, part = name.partition("_")
        axis.text(
            x, y, f"{side}\n{part}\n{mean:.1f}", fontsize=7, ha="center", va="center", color="white",
            path_effects=[withStroke(linewidth=1.8, foreground="0.15")],
        )  # fmt: skip


def _outline(axis: Axes, patch: Surface, flat: Unrolled, bone: Surface) -> None:
    """Draw a defect's border, through the bone's vertices nearest to it."""
    inside = np.isfinite(flat.uv[:, 0])
    _, nearest = cKDTree(bone.vertices_mm[inside]).query(patch.vertices_mm)
    uv = flat.uv[inside][nearest]
    edges = np.sort(patch.triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    border, count = np.unique(edges, axis=0, return_counts=True)
    axis.add_collection(LineCollection(list(uv[border[count == 1]]), colors="#ff4fa3", linewidths=1.6))


# --- the page of maps ----------------------------------------------------------------------------------


def _bar(figure: Figure, where: Sequence[float], scale: Normalize, label: str) -> None:
    axis = figure.add_axes((where[0], where[1], where[2], where[3]))
    figure.colorbar(
        ScalarMappable(norm=scale, cmap=COLOURS), cax=axis, orientation="horizontal", extend="max"
    ).set_label(label, fontsize=8)
    axis.tick_params(labelsize=8)


def _warn(figure: Figure, joint: JointModel, height: float) -> None:
    """Say in the picture itself that maps of thick slices are not to be trusted point by point."""
    if any(not m.trustworthy for m in joint.cartilage.values()):
        text = "thick slices: thickness at single points is not to be trusted"
        figure.text(0.98, height, text, color=BARE, fontsize=10, weight="bold", ha="right", va="center")


def _legend(figure: Figure, joint: JointModel) -> None:
    handles = []
    if any((m.state == DENUDED).any() for m in joint.cartilage.values()):
        handles.append(Patch(color=BARE, label="bare bone within the cartilage"))
    if any((m.state == FAILED).any() for m in joint.cartilage.values()):
        handles.append(Patch(color=UNKNOWN, label="not measured"))
    if any(d.structure in _FEMORAL and d.surface is not None for d in joint.defects):
        handles.append(Patch(facecolor="white", edgecolor="#ff4fa3", label="defect (unrolled map)"))
    if handles:
        figure.legend(handles=handles, loc="lower right", ncols=len(handles), fontsize=8, frameon=False)


def cartilage_maps(
    joint: JointModel,
    *,
    values: Mapping[str, Floats] | None = None,
    label: str = THICKNESS,
    scale: Normalize | None = None,
    pixels: int = PIXELS,
) -> Bytes | None:
    """Draw the cartilage on each bone, and a knee's femur unrolled; None where no cartilage was measured.

    values : cartilage → (n,) of its bone's vertices, drawn instead of thickness (T2, say).
    """
    scale = scale or scale_of(joint)
    bones = {m.bone for m in joint.cartilage.values() if (m.state != OUTSIDE).any()}
    views = [v for v in _VIEWS[joint.kind] if v.bone in bones]
    femoral = joint.cartilage.get("femoral_cartilage")
    flat = joint.kind == "knee" and femoral is not None and bool((femoral.state != OUTSIDE).any())
    if not views and not flat:
        return None
    sceneries = {}
    for bone in sorted({v.bone for v in views}):
        painted = _painted(joint, bone, scale, values)
        surface = joint.structures[bone].surface
        sceneries[bone] = Scenery.of([Solid(surface=surface, colour=BONE, vertex_colours=painted)])
    with mpl.rc_context(STYLE):
        columns = 3
        rows = int(np.ceil((len(views) + flat) / columns))
        figure = Figure(figsize=(13.2, 4.3 * rows + 0.9), dpi=100)
        grid = figure.subplots(rows, columns, squeeze=False).ravel()
        for axis, view in zip(grid, views, strict=False):
            _draw_view(axis, joint, view, sceneries[view.bone], pixels=pixels)
        if flat:
            draw_unrolled(
                grid[len(views)], joint, scale, None if values is None else values["femoral_cartilage"]
            )
        for axis in grid[len(views) + flat :]:
            axis.set_axis_off()
        foot = 0.9 / (4.3 * rows + 0.9)
        figure.subplots_adjust(left=0.02, right=0.98, top=0.96, bottom=foot + 0.02, wspace=0.06, hspace=0.14)
        _bar(figure, (0.06, 0.62 * foot, 0.36, 0.2 * foot), scale, label)
        _legend(figure, joint)
        _warn(figure, joint, 0.72 * foot)
        return array_of(figure)


def t2_maps(joint: JointModel, t2_ms: Volume) -> Bytes | None:
    """Draw each bone's cartilage and the unrolled femur coloured by T2; None where no T2 meets cartilage."""
    values = {
        name: image_on_bone(t2_ms, measured, joint.structures[measured.bone].surface)
        for name, measured in joint.cartilage.items()
    }
    known = np.concatenate([v[np.isfinite(v)] for v in values.values()] or [np.zeros(0)])
    if not len(known):
        return None
    low, high = np.quantile(known, [0.02, 0.98])
    scale = Normalize(5.0 * np.floor(low / 5.0), 5.0 * np.floor(high / 5.0) + 5.0)
    return cartilage_maps(joint, values=values, label="T2 of cartilage, ms", scale=scale)


# --- cuts ----------------------------------------------------------------------------------------------


def _cut(surface: Surface, through_mm: Floats, normal: Floats) -> Floats:
    """Segments (m, 2, 3) in which a plane cuts a surface."""
    height = (surface.vertices_mm - through_mm) @ normal
    height = np.where(height == 0.0, 1e-9, height)
    above = height > 0
    part = surface.triangles[(above[surface.triangles].sum(axis=1) % 3) != 0]
    if not len(part):
        return np.zeros((0, 2, 3))
    up = above[part]
    odd = np.where(up.sum(axis=1) == 1, up.argmax(axis=1), (~up).argmax(axis=1))
    rows = np.arange(len(part))
    apex, one, other = part[rows, odd], part[rows, (odd + 1) % 3], part[rows, (odd + 2) % 3]
    ends = []
    for end in (one, other):
        t = (height[apex] / (height[apex] - height[end]))[:, None]
        ends.append(surface.vertices_mm[apex] * (1 - t) + surface.vertices_mm[end] * t)
    return np.stack(ends, axis=1)


# Whose middle a plane passes through; any other plane lies where it cuts the most cartilage.
_THROUGH: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("knee", "frontal"): ("medial_tibial_cartilage", "lateral_tibial_cartilage", "tibial_cartilage"),
    ("knee", "axial"): ("patellar_cartilage",),
    ("ankle", "frontal"): ("talar_cartilage",),
}


def _place(joint: JointModel, plane: str, normal: Floats) -> float:
    """Where along a normal a plane shall lie, in mm from the frame's origin."""
    through = [joint.cartilage[n] for n in _THROUGH.get((joint.kind, plane), ()) if n in joint.cartilage]
    places, lengths = [], []
    for measured in through or joint.cartilage.values():
        bone = joint.structures[measured.bone].surface
        where = measured.state != OUTSIDE
        slant = np.sqrt(np.clip(1.0 - (bone.vertex_normals[where] @ normal) ** 2, 0.0, 1.0))
        places.append(bone.vertices_mm[where] @ normal)
        lengths.append(bone.vertex_areas_mm2[where] * slant)
    place, length = np.concatenate(places), np.concatenate(lengths)
    if through and len(place):
        return float(np.average(place, weights=length))
    low = float(place.min())
    bins = np.bincount(np.floor(place - low).astype(int), weights=length)
    return low + int(np.argmax(np.convolve(bins, np.ones(7), mode="same"))) + 0.5


def _middle(joint: JointModel, place: float, normal: Floats, across: Floats, up: Floats) -> Floats:
    """The middle of the cartilage that a plane meets, on the plane, RAS mm."""
    points = np.concatenate(
        [joint.structures[m.bone].surface.vertices_mm[m.state != OUTSIDE] for m in joint.cartilage.values()]
    )
    met = np.abs(points @ normal - place) < 5.0
    flat = np.stack([points @ across, points @ up])[:, met if met.any() else slice(None)]
    x, y = 0.5 * (flat.min(axis=1) + flat.max(axis=1))
    return np.asarray(place * normal + x * across + y * up)


def _overlay(
    joint: JointModel, through: Floats, across: Floats, up: Floats, steps: Floats, scale: Normalize
) -> Floats:
    """Colours (rows, columns, 4) of the cartilage that a plane cuts, clear elsewhere."""
    normal = np.cross(across, up)
    points = through + steps[None, :, None] * across + steps[::-1][:, None, None] * up
    result = np.zeros((*points.shape[:2], 4))
    flat = points.reshape(-1, 3)
    for name, measured in joint.cartilage.items():
        bone = joint.structures[measured.bone].surface
        known = (measured.state == COVERED) & (np.abs((bone.vertices_mm - through) @ normal) < 9.0)
        if not known.any():
            continue
        tree = cKDTree(bone.vertices_mm[known])
        distance, nearest = (np.asarray(found) for found in tree.query(flat, distance_upper_bound=9.0))
        near = np.flatnonzero(np.isfinite(distance))
        inside = near[contains(joint.structures[name].surface.bvh, flat[near])]
        colours = mpl.colormaps[COLOURS](scale(measured.thickness_mm[known][nearest[inside]]))
        result.reshape(-1, 4)[inside] = colours
    return result


def thickness_planes(
    joint: JointModel, *, half_mm: float | None = None, step_mm: float = 0.25
) -> Bytes | None:
    """Draw three planes through the cartilage: dim labels, outlines, and the thickness laid over."""
    if not any((m.state == COVERED).any() for m in joint.cartilage.values()):
        return None
    half = half_mm or {"knee": 52.0, "hip": 45.0, "ankle": 34.0}[joint.kind]
    axes, scale = joint.axes, scale_of(joint)
    to_left = axes.lateral if joint.side == "left" else -axes.lateral
    planes = (
        ("sagittal", -axes.anterior, axes.proximal), ("axial", to_left, axes.anterior),
        ("frontal", to_left, axes.proximal),
    )  # fmt: skip
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(13.2, 5.2), dpi=100)
        for axis, (title, across, up) in zip(figure.subplots(1, 3), planes, strict=True):
            normal = np.cross(across, up)
            place = _place(joint, title, normal)
            through = _middle(joint, place, normal, across, up)
            _draw_plane(axis, joint, through, across, up, half, step_mm, scale)
            _frame(
                axis, title, half,
                (_word(joint, -across), _word(joint, across), _word(joint, up), _word(joint, -up)), "white",
            )  # fmt: skip
        figure.subplots_adjust(left=0.02, right=0.98, top=0.93, bottom=0.16, wspace=0.06)
        _bar(figure, (0.06, 0.085, 0.36, 0.03), scale, THICKNESS)
        _warn(figure, joint, 0.1)
        return array_of(figure)


def _draw_plane(
    axis: Axes,
    joint: JointModel,
    through: Floats,
    across: Floats,
    up: Floats,
    half: float,
    step_mm: float,
    scale: Normalize,
) -> None:
    normal = np.cross(across, up)
    steps = np.arange(-half, half, step_mm)
    _, labels = label_plane(joint, through, across, up, half, 0.4)
    axis.imshow(labels / 255.0 * DIM, extent=(-half, half, -half, half), interpolation="bilinear")
    for name, structure in joint.structures.items():
        if structure.risk not in ("bone", "cartilage") and structure.tissue != "meniscus":
            continue
        cut = _cut(structure.surface, through, normal) - through
        if not len(cut):
            continue
        lines = np.stack([cut @ across, cut @ up], axis=-1)
        colour = (0.75, 0.72, 0.66) if structure.risk == "bone" else colour_of(name)
        axis.add_collection(LineCollection(list(lines), colors=[colour], linewidths=0.9))
    overlay = _overlay(joint, through, across, up, steps + 0.5 * step_mm, scale)
    axis.imshow(overlay, extent=(-half, half, -half, half), interpolation="nearest", zorder=3)


def model_views(joint: JointModel) -> Bytes:
    """Draw a joint for `views.png`: planes, stills, cuts and maps of its cartilage, one over another."""
    parts = [joint_views(joint), thickness_planes(joint), cartilage_maps(joint)]
    pictures = [p for p in parts if p is not None]
    width = max(p.shape[1] for p in pictures)
    padded = [np.pad(p, ((0, 0), (0, width - p.shape[1]), (0, 0)), constant_values=255) for p in pictures]
    return np.concatenate(padded, axis=0)
