"""Pictures of a rehearsal as RGB arrays: three planes, 3-D stills, frames with overlay, angles, dose."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from injectplan.alignment import Line
from injectplan.anatomy.cartilage import CARRIERS
from injectplan.anatomy.model import JointModel
from injectplan.imaging.values import Surface
from injectplan.kernels.bvh import nearest_points
from injectplan.kernels.cast import Bytes, Floats
from injectplan.planning.values import Trajectory
from injectplan.report.planes import three_planes
from injectplan.report.raycast import Camera, Scenery, Solid, box, coarse, render, tube
from injectplan.report.style import NEEDLE_COLOUR, STYLE, array_of, colour_of
from injectplan.ultrasound.values import Frame

CELL_MM = 0.9  # vertices nearer than this are one in a still; a pixel is about 0.4 mm
SUNK_MM = 0.8  # bone is drawn so much lower under cartilage: merged vertices would come through it
LEGEND_COLUMNS = 6  # the longest names of an ankle, side by side, are as wide as a page
LEGEND_LETTERS = 240  # side by side on a page, six for a key's patch
PROBE_COLOUR = (0.35, 0.45, 0.60)
# Envelopes that would hide what lies inside; the skin alone is drawn, see-through.
_HIDDEN = ("skin", "subcutaneous_fat", "deep_fascia", "muscle")


# --- 3-D stills ---------------------------------------------------------------------------------------------


def sunk(joint: JointModel, bone: str) -> Surface:
    """Return a bone's surface, lowered by 0.8 mm where cartilage rests on it."""
    surface = joint.structures[bone].surface
    under = np.zeros(len(surface.vertices_mm), bool)
    for name, structure in joint.structures.items():
        if CARRIERS.get(name) == bone and len(structure.surface.triangles):
            gap, _, _ = nearest_points(structure.surface.bvh, surface.vertices_mm, 0.3)
            under |= np.isfinite(gap)
    if not under.any():
        return surface
    lowered = surface.vertices_mm - SUNK_MM * under[:, None] * surface.vertex_normals
    return Surface(lowered, surface.triangles)


def _solids(joint: JointModel, *, skin: bool) -> list[Solid]:
    solids = []
    for name, structure in joint.structures.items():
        if name in _HIDDEN or not len(structure.surface.triangles):
            continue
        opacity = 1.0
        if structure.risk not in ("bone", "cartilage", "artery", "vein", "nerve"):
            opacity = 0.28 if structure.risk == "tendon" else 0.0
        if structure.tissue == "meniscus":
            opacity = 1.0
        if opacity:
            surface = sunk(joint, name) if structure.risk == "bone" else structure.surface
            solids.append(Solid(surface=surface, colour=colour_of(name), opacity=opacity))
    if len(joint.cavity.surface.triangles):
        solids.append(Solid(surface=joint.cavity.surface, colour=(0.25, 0.60, 0.95), opacity=0.45))
    if skin and "skin" in joint.structures:
        solids.append(
            Solid(surface=joint.structures["skin"].surface, colour=(0.93, 0.76, 0.66), opacity=0.16)
        )
    return solids


def _camera(joint: JointModel, from_lateral: float, height_mm: float, center_mm: Floats) -> Camera:
    """Look at the joint from the front, turned towards its lateral side by an angle in degrees."""
    turn = np.radians(from_lateral)
    axes = joint.axes
    towards = np.cos(turn) * axes.anterior + np.sin(turn) * axes.lateral + 0.25 * axes.proximal
    return Camera(center_mm=center_mm, direction=-towards, up=axes.proximal, height_mm=height_mm)


def needle_solids(trajectory: Trajectory, probe_width_mm: float) -> list[Solid]:
    """Return the needle with its hub, and the probe's housing at its planned pose."""
    along = (trajectory.entry_mm - trajectory.tip_mm) / np.linalg.norm(
        trajectory.entry_mm - trajectory.tip_mm
    )
    hub = trajectory.entry_mm + 25.0 * along
    half = probe_width_mm / 2
    pose = trajectory.ultrasound.probe_to_patient.matrix
    return [
        Solid(surface=tube(trajectory.tip_mm, hub, 0.8), colour=NEEDLE_COLOUR),
        Solid(surface=tube(hub, hub + 14.0 * along, 2.6), colour=NEEDLE_COLOUR),
        Solid(surface=box([-half, -4, -26], [half, 4, -0.5], pose), colour=PROBE_COLOUR, opacity=0.55),
    ]


def scenes(
    joint: JointModel,
    trajectory: Trajectory | None = None,
    *,
    from_lateral_deg: Sequence[float],
    probe_width_mm: float = 38.0,
    width: int = 520,
    height: int = 600,
) -> list[Bytes]:
    """Draw the joint in 3-D from several sides, with the needle and the probe of a trajectory."""
    film = joint.cavity.surface  # thinner than a cell: merging would tear it
    solids = [
        s if s.surface is film else replace(s, surface=coarse(s.surface, CELL_MM))
        for s in _solids(joint, skin=True)
    ]
    if trajectory is not None:
        solids += needle_solids(trajectory, probe_width_mm)
    scenery = Scenery.of(solids)
    bones = [s.surface.bounds_mm for s in joint.structures.values() if s.risk == "bone"]
    extent = np.concatenate([*bones, [joint.axes.origin_mm]]) @ joint.axes.proximal
    height_mm = float(np.clip(1.05 * (extent.max() - extent.min()), 120.0, 260.0))
    return [
        render(scenery, _camera(joint, angle, height_mm, joint.axes.origin_mm), width=width, height=height)
        for angle in from_lateral_deg
    ]


def joint_views(joint: JointModel) -> Bytes:
    """Draw a joint for `views.png`: three planes above, two 3-D stills below."""
    planes = three_planes(joint, joint.axes.origin_mm)
    half = planes.shape[1] // 2
    stills = scenes(joint, from_lateral_deg=(15.0, 75.0), width=half, height=560)
    below = np.concatenate(stills, axis=1)
    pad = planes.shape[1] - below.shape[1]
    below = np.pad(below, ((0, 0), (0, pad), (0, 0)), constant_values=255)
    return np.concatenate([planes, below], axis=0)


# --- ultrasound ---------------------------------------------------------------------------------------------


def frame_panel(frame: Frame, *, title: str = "") -> Bytes:
    """Draw a frame as a sonographer sees it, and beside it the same with what lies where."""
    mm = float(np.linalg.norm(frame.pixel_to_patient[:3, 1]))
    seen = np.isfinite(frame.depth_mm)
    rows = slice(0, int(np.flatnonzero(seen.any(axis=1)).max(initial=15)) + 1)  # without the empty margin
    grey, visible, labels, steel = frame.bmode[rows], seen[rows], frame.labels[rows], frame.needle[rows]
    height, width = grey.shape
    with mpl.rc_context(STYLE):
        figure = Figure(dpi=100)
        (plain_axis, named_axis) = figure.subplots(1, 2)
        for axis in (plain_axis, named_axis):
            axis.imshow(grey, cmap="gray", vmin=0, vmax=255, interpolation="bilinear")
            axis.set_axis_off()
            _depth_scale(axis, mm, height, width)
        named = {frame.label_names.get(int(v), "") for v in np.unique(labels[visible])} - {""}
        handles = []
        overlay = np.zeros((height, width, 4))
        for name in sorted(named):
            where = np.isin(labels, [v for v, n in frame.label_names.items() if n == name]) & visible
            if where.mean() < 0.001:
                continue
            overlay[where] = (*colour_of(name), 0.32)
            handles.append(Patch(color=colour_of(name), label=name.replace("_", " ")))
        overlay[steel > 0] = (*NEEDLE_COLOUR, 0.9)
        named_axis.imshow(overlay, interpolation="nearest")
        if steel.any():
            handles.append(Patch(color=NEEDLE_COLOUR, label="needle"))
        longest = max((len(str(h.get_label())) for h in handles), default=0)
        columns = max(1, min(LEGEND_COLUMNS, LEGEND_LETTERS // (longest + 6)))
        legend_inches = 0.2 + 0.16 * math.ceil(len(handles) / columns)
        inches = 13.2 * 0.47 * height / width + 0.6 + legend_inches
        figure.set_size_inches(13.2, inches)
        figure.legend(handles=handles, loc="lower center", ncols=columns, fontsize=7, frameon=False)
        if title:
            figure.suptitle(title, fontsize=10)
        bottom = (legend_inches + 0.1) / inches
        figure.subplots_adjust(left=0.04, right=0.99, top=0.96, bottom=bottom, wspace=0.10)
        return array_of(figure)


def _depth_scale(axis: Axes, mm: float, height: int, width: int) -> None:
    """Draw ticks each 5 mm of depth down the left edge, and a 10 mm bar."""
    style: dict[str, Any] = {"fontsize": 7, "ha": "right", "va": "center", "clip_on": False}
    for depth in np.arange(0, height * mm, 5.0):
        long = depth % 10 == 0
        axis.plot(
            [-width * (0.02 if long else 0.01), 0], [depth / mm] * 2, color="black", lw=1, clip_on=False
        )
        if long:
            axis.text(
                -width * 0.025,
                depth / mm,
                f"{depth / 10:.0f}",
                fontsize=7,
                ha="right",
                va="center",
                clip_on=False,
            )
    axis.text(-width * 0.025, height * 1.02, "cm", **style)
    right = width - 0.03 * width
    axis.plot([right - 10 / mm, right], [height * 0.965] * 2, color="white", lw=2)
    axis.text(right - 5 / mm, height * 0.945, "10 mm", color="white", fontsize=7, ha="center")
    axis.set_xlim(-0.5, width - 0.5)  # the ticks outside must not make room for themselves
    axis.set_ylim(height - 0.5, -0.5)


# --- plots --------------------------------------------------------------------------------------------------


def alignment_drawing(drawing: Sequence[Line]) -> Bytes:
    """Draw the leg's outlines, axes, arcs and labels, frontal and sagittal, as surgeons draw them."""
    figure = _alignment_figure(drawing)
    with mpl.rc_context(STYLE):
        return array_of(figure)


def alignment_svg(drawing: Sequence[Line]) -> str:
    """Draw the same as SVG: the same bytes for the same leg."""
    text = io.StringIO()
    with mpl.rc_context(
        STYLE | {"svg.hashsalt": "injectplan", "svg.fonttype": "none", "path.simplify": True}
    ):
        _alignment_figure(drawing).savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    return text.getvalue()


VIEW_IN = (4.6, 8.0)  # of a view, inches
LABEL_GAP_IN = 0.22  # between two labels' lines: 8 points of text, twice
_VIEWS = {"frontal": "from the front", "knee": "the knee from the front", "sagittal": "from the side"}


def _alignment_figure(drawing: Sequence[Line]) -> Figure:
    views = list(dict.fromkeys(line.view for line in drawing))
    figure = Figure(figsize=(VIEW_IN[0] * max(2, len(views)), VIEW_IN[1]), dpi=100)
    with mpl.rc_context(STYLE):
        axes = figure.subplots(1, max(1, len(views)), squeeze=False)[0]
        for axis, view in zip(axes, views, strict=False):
            lines = [line for line in drawing if line.view == view]
            for line in lines:
                _draw_line(axis, line)
            _label_lines(axis, lines)
            axis.set_aspect("equal")
            axis.set_title(_VIEWS[view], fontsize=10)
            axis.set_axis_off()
        figure.tight_layout()
    return figure


_LINES: dict[str, dict[str, Any]] = {
    "outline": {"color": "0.62", "lw": 0.7},
    "mechanical axis": {"color": "#1f5fa8", "lw": 1.6},
    "predicted axis": {"color": "#1f5fa8", "lw": 1.4, "ls": (0, (6, 3))},
    "predicted limit": {"color": "#1f5fa8", "lw": 0.8, "ls": (0, (1, 2))},
    "load line": {"color": "0.35", "lw": 0.9, "ls": ":"},
    "shaft axis": {"color": "#1f5fa8", "lw": 1.1, "ls": "--"},
    "joint line": {"color": "#b5502c", "lw": 1.4},
    "arc": {"color": "#2c7a3f", "lw": 1.2},
    "point": {"color": "black", "marker": "o", "ms": 3, "lw": 0},
    "note": {"color": "0.25"},
}


def _draw_line(axis: Axes, line: Line) -> None:
    if line.kind == "note":
        x, y = line.points_mm[0]
        size = 16 if len(line.label) == 1 else 8
        axis.text(x, y, line.label, fontsize=size, color=_LINES["note"]["color"], va="top", ha="left")
        return
    axis.plot(line.points_mm[:, 0], line.points_mm[:, 1], **_LINES[line.kind])


def _middle(line: Line) -> npt.NDArray[np.float64]:
    """Where a label's leader ends: its anchor, else half way along a line, at a point itself."""
    if line.anchor_mm is not None:
        return line.anchor_mm
    n = len(line.points_mm)
    return np.asarray(0.5 * (line.points_mm[(n - 1) // 2] + line.points_mm[n // 2]))


def _label_lines(axis: Axes, lines: Sequence[Line]) -> None:
    """Write the labels in one column beside the leg, in the order of their height, with leaders."""
    everything = np.concatenate([line.points_mm for line in lines])
    (left, bottom), (right, top) = np.nanmin(everything, axis=0), np.nanmax(everything, axis=0)
    named = [line for line in lines if line.label and line.kind not in ("outline", "note")]
    column = right + 0.06 * (top - bottom)
    # the longest label takes a third of a view's width, whether height or width sets the scale
    room = max(0.22 * (top - bottom), 0.5 * (column - left))
    gap = LABEL_GAP_IN * max((top - bottom) / VIEW_IN[1], (column + room - left) / VIEW_IN[0])
    marks = sorted(((_middle(line), line) for line in named), key=lambda mark: -mark[0][1])
    heights = np.array([where[1] for where, _ in marks])
    for i in range(1, len(heights)):
        heights[i] = min(heights[i], heights[i - 1] - gap)
    if len(heights) and heights[-1] < bottom:
        heights[-1] = bottom
        for i in range(len(heights) - 2, -1, -1):
            heights[i] = max(heights[i], heights[i + 1] + gap)
    axis.set_xlim(left - 0.02 * (top - bottom), column + (room if named else 0.0))
    for (where, line), height in zip(marks, heights, strict=True):
        colour = _LINES[line.kind]["color"]
        axis.plot([where[0], column], [where[1], height], color=colour, lw=0.5, alpha=0.6)
        axis.text(column + 0.01 * (top - bottom), height, line.label, fontsize=8, va="center", color=colour)


def dose_plots(
    dose_volume: Mapping[str, npt.ArrayLike], dose_surface: Mapping[str, Mapping[str, npt.ArrayLike]]
) -> Bytes:
    """Draw where the fluid lies against what was injected, the joint's pressure, and cells per area."""
    series = {key: np.asarray(values, dtype=float) for key, values in dose_volume.items()}
    doses = {
        name: (
            np.asarray(entry["cells_per_cm2"], dtype=float),
            np.asarray(entry["area_fraction"], dtype=float),
        )
        for name, entry in dose_surface.items()
    }
    doses = {name: pair for name, pair in doses.items() if pair[0].size and pair[0].max() > 0}
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(13.2 if doses else 9.0, 3.9), dpi=100)
        axes = figure.subplots(1, 3 if doses else 2)
        _draw_filling(axes[0], series)
        injected = series.get("injected_ml", np.zeros(0))
        pressure = series.get("pressure_kpa", np.full(injected.shape, np.nan))
        axes[1].plot(injected, pressure, color="#1f5fa8", lw=2)
        axes[1].axhline(0.0, color="0.8", lw=0.8, zorder=0)
        axes[1].set_xlabel("injected mL")
        axes[1].set_ylabel("kPa over the air's")
        axes[1].set_title("pressure in the joint", fontsize=10)
        if doses:
            for name, (cells, share) in doses.items():
                axes[2].plot(cells / 1e6, 100 * share, label=name.replace("_", " "), color=colour_of(name))
            axes[2].set_xlabel("million cells per cm², at least")
            axes[2].set_ylabel("% of the surface")
            axes[2].set_title("dose on surfaces", fontsize=10)
            axes[2].legend(fontsize=7.5, frameon=False)
        figure.tight_layout()
        return array_of(figure)


def _draw_filling(axis: Axes, series: Mapping[str, Floats]) -> None:
    """Stack the recesses' volumes over the volume injected."""
    injected = series.get("injected_ml", np.zeros(0))
    others = ("injected_ml", "in_cavity_ml", "leaked_ml")
    parts = [k for k, v in series.items() if k.endswith("_ml") and k not in others and v.max(initial=0) > 0]
    parts.sort(key=lambda k: -series[k][-1])
    if parts:
        colours = mpl.colormaps["Blues"](np.linspace(0.85, 0.25, len(parts)))
        names = [k.removesuffix("_ml").replace("_", " ") for k in parts]
        heights = np.stack([series[k] for k in parts])
        known = slice(int(heights[:, 0].sum() == 0.0), None)  # before the first drop no state is given
        axis.stackplot(injected[known], *heights[:, known], labels=names, colors=colours)
        axis.set_ylim(0, 1.65 * heights.sum(axis=0).max())
        axis.legend(fontsize=7, frameon=False, loc="upper left", ncols=2)
    axis.set_xlabel("injected mL")
    axis.set_ylabel("mL, resting fluid included")
    axis.set_title("where the fluid lies", fontsize=10)
