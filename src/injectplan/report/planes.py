"""A joint cut by three planes, as radiologists hang them, with each structure numbered where it lies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke
from scipy import ndimage

from injectplan.anatomy.model import JointModel
from injectplan.imaging.values import LabelMap
from injectplan.kernels.cast import Bytes, Floats
from injectplan.planning.values import Trajectory
from injectplan.report.style import NEEDLE_COLOUR, STYLE, array_of, colour_of
from injectplan.structures import all_structures

Labels = npt.NDArray[np.uint16]

EDGE_SHADE = 0.72  # a border between two structures is drawn this much darker
ROOM_MM = 2.6  # a number stands inside what is this wide around it, else beside it
ASIDE_MM = 6.0
WIDE_MM, HIGH_MM = 6.5, 4.5  # between the middles of two numbers, across and up


def label_plane(
    joint: JointModel, through_mm: Floats, across: Floats, up: Floats, half_mm: float, step_mm: float
) -> tuple[Labels, Bytes]:
    """Sample the completed labels on a plane: values, and their colours as RGB with darker borders."""
    steps = np.arange(-half_mm, half_mm, step_mm)
    points = through_mm + steps[None, :, None] * across + steps[::-1][:, None, None] * up
    values = sample_labels(joint.labels, points)
    table = np.full((int(values.max(initial=0)) + 1, 3), 16, np.uint8)
    for value, name in joint.labels.names.items():
        if value < len(table):
            table[value] = np.round(255 * np.array(colour_of(name)))
    picture = table[values]
    edge = np.zeros(values.shape, bool)
    edge[:, 1:] |= values[:, 1:] != values[:, :-1]
    edge[1:] |= values[1:] != values[:-1]
    picture[edge] = np.round(EDGE_SHADE * picture[edge])
    return values, picture


def sample_labels(labels: LabelMap, points_mm: Floats) -> Labels:
    """Return the label with the greatest trilinear share at each point (…, 3), 0 outside the grid.

    Borders come out smooth where the nearest voxel alone would draw its steps.
    """
    place = labels.to_voxel(points_mm)
    low = np.floor(place).astype(int)
    part = place - low
    size = np.array(labels.labels.shape)
    corners, weights = [], []
    for offset in np.ndindex(2, 2, 2):
        index = low + np.array(offset)
        inside = ((index >= 0) & (index < size)).all(axis=-1)
        index[~inside] = 0
        corners.append(np.where(inside, labels.labels[tuple(np.moveaxis(index, -1, 0))], 0))
        weights.append(np.where(offset, part, 1.0 - part).prod(axis=-1))
    shares = np.zeros((8, *place.shape[:-1]))
    for own, share in zip(corners, shares, strict=True):
        for other, weight in zip(corners, weights, strict=True):
            share += np.where(other == own, weight, 0.0)
    best = np.argmax(shares, axis=0)
    return np.take_along_axis(np.stack(corners), best[None], axis=0)[0].astype(np.uint16)


def three_planes(
    joint: JointModel,
    through_mm: Floats,
    trajectory: Trajectory | None = None,
    *,
    half_mm: float = 75.0,
    step_mm: float = 0.4,
) -> Bytes:
    """Draw the sagittal, axial and frontal plane through a point, with the needle and a numbered legend."""
    lateral, anterior, proximal = joint.axes.lateral, joint.axes.anterior, joint.axes.proximal
    # As radiologists hang them: patient's right on the left of the picture, anterior left in the sagittal.
    to_left = lateral if joint.side == "left" else -lateral
    views = (
        ("sagittal", -anterior, proximal, ("anterior", "posterior", "proximal", "distal")),
        ("axial", to_left, anterior, (*_sides(joint.side), "anterior", "posterior")),
        ("frontal", to_left, proximal, (*_sides(joint.side), "proximal", "distal")),
    )
    cut = [label_plane(joint, through_mm, across, up, half_mm, step_mm) for _, across, up, _ in views]
    names = _in_order(joint, [values for values, _ in cut])
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(13.2, 5.6), dpi=100)
        axes = figure.subplots(1, 3)
        for axis, (title, across, up, words), (values, picture) in zip(axes, views, cut, strict=True):
            axis.imshow(picture, extent=(-half_mm, half_mm, -half_mm, half_mm), interpolation="nearest")
            if trajectory is not None:
                ends = np.stack([trajectory.entry_mm, trajectory.tip_mm]) - through_mm
                axis.plot(ends @ across, ends @ up, color="white", lw=3.2, solid_capstyle="round")
                axis.plot(ends @ across, ends @ up, color=NEEDLE_COLOUR, lw=1.8, solid_capstyle="round")
                axis.plot(ends[1] @ across, ends[1] @ up, "o", ms=4, mfc="white", mec=NEEDLE_COLOUR)
            numbers = {value: str(number) for number, value in enumerate(names, start=1)}
            for value, place in places_of(values, list(names), half_mm, step_mm).items():
                _number(axis, place, numbers[value])
            _decorate(axis, title, words, half_mm)
        handles = [
            Patch(facecolor=colour_of(n), edgecolor="0.4", lw=0.4, label=f"{i} {n.replace('_', ' ')}")
            for i, n in enumerate(names.values(), start=1)
        ]
        figure.legend(handles=handles, loc="lower center", ncols=7, fontsize=7, frameon=False)
        figure.subplots_adjust(left=0.02, right=0.98, top=0.94, bottom=0.2, wspace=0.06)
        return array_of(figure)


def _in_order(joint: JointModel, cut: list[Labels]) -> dict[int, str]:
    """Return the structures that the planes show, value → name, in the order of the vocabulary."""
    order = {name: i for i, name in enumerate(all_structures())}
    seen = {int(v) for values in cut for v in np.unique(values)}
    shown = [(v, joint.labels.names[v]) for v in seen if v in joint.labels.names]
    return dict(sorted(shown, key=lambda item: (order.get(item[1], len(order)), item[1])))


@dataclass(frozen=True)
class Place:
    """Where a structure's number stands, mm right and up of the picture's middle.

    at : a point of the structure.  text : where the number is written, at `at` or beside it.
    """

    at: tuple[float, float]
    text: tuple[float, float]


def places_of(cut: Labels, values: Sequence[int], half_mm: float, step_mm: float) -> dict[int, Place]:
    """Return where the numbers of structures stand in a cut, the widest structures first; none over another.

    cut : (rows, columns) of a square picture 2·half_mm wide.  A structure without a free place is left out:
    its colour stands in the legend.
    """
    depths = {}
    for value in values:
        where = cut == value
        if where.any():
            depths[value] = ndimage.distance_transform_edt(np.pad(where, 1))[1:-1, 1:-1] * step_mm
    # the words at the picture's sides and its scale are there already
    taken = [(0.0, 0.94 * half_mm), (0.0, -0.94 * half_mm), (0.7 * half_mm, -0.86 * half_mm)]
    found: dict[int, Place] = {}
    for value in sorted(depths, key=lambda v: (-float(depths[v].max()), v)):
        place = _free(depths[value], taken, half_mm, step_mm)
        if place is not None:
            found[value] = place
            taken.append(place.text)
    return found


def _free(
    depth: Floats, taken: Sequence[tuple[float, float]], half_mm: float, step_mm: float
) -> Place | None:
    """The widest free place of a structure for its number, or a free one beside it."""
    rows, columns = depth.shape
    x = -half_mm + step_mm * np.arange(columns)[None, :]
    y = half_mm - step_mm * np.arange(rows)[:, None]
    apart = np.min([np.hypot((x - a) / WIDE_MM, (y - b) / HIGH_MM) for a, b in taken], axis=0)
    inside = np.where(apart >= 1.0, depth, 0.0)
    row, column = np.unravel_index(int(np.argmax(inside)), depth.shape)
    if inside[row, column] >= ROOM_MM:
        at = (float(x[0, column]), float(y[row, 0]))
        return Place(at, at)
    row, column = np.unravel_index(int(np.argmax(depth)), depth.shape)
    at = (float(x[0, column]), float(y[row, 0]))
    turn = 1.0 if at[0] > 0 else -1.0  # towards the picture's middle first, so that it stays in view
    for far in (1.0, 1.5, 2.0):
        for angle in (150.0, 210.0, 100.0, 260.0, 60.0, 300.0, 0.0):
            a = at[0] + far * ASIDE_MM * turn * np.cos(np.radians(angle))
            b = at[1] + far * ASIDE_MM * np.sin(np.radians(angle))
            near = min(np.hypot((a - p) / WIDE_MM, (b - q) / HIGH_MM) for p, q in taken)
            if near >= 1.0 and max(abs(a), abs(b)) < half_mm - HIGH_MM:
                return Place(at, (float(a), float(b)))
    return None


def _number(axis: Axes, place: Place, number: str) -> None:
    """Write a structure's number at its place, with a line to the structure where it stands beside."""
    style: dict[str, Any] = {
        "color": "white", "fontsize": 6.5, "ha": "center", "va": "center", "clip_on": True,
        "path_effects": [withStroke(linewidth=1.8, foreground="black")],
    }  # fmt: skip
    if place.at == place.text:
        axis.text(*place.text, number, **style)
        return
    axis.annotate(
        number, place.at, place.text,
        arrowprops={"arrowstyle": "-", "color": "white", "lw": 0.6, "shrinkA": 2, "shrinkB": 0}, **style,
    )  # fmt: skip


def _sides(side: str) -> tuple[str, str]:
    return ("lateral", "medial") if side == "right" else ("medial", "lateral")


def _decorate(axis: Axes, title: str, words: tuple[str, ...], half_mm: float) -> None:
    left, right, top, bottom = words
    outlined = [withStroke(linewidth=2.5, foreground="black")]  # to be read over fat as well
    style: dict[str, Any] = {
        "color": "white", "fontsize": 8, "ha": "center", "va": "center", "path_effects": outlined
    }  # fmt: skip
    axis.text(-0.95 * half_mm, 0, left, rotation=90, **style)
    axis.text(0.95 * half_mm, 0, right, rotation=90, **style)
    axis.text(0, 0.94 * half_mm, top, **style)
    axis.text(0, -0.94 * half_mm, bottom, **style)
    x, y = 0.55 * half_mm, -0.86 * half_mm
    axis.plot([x, x + 20], [y, y], color="white", lw=2, path_effects=outlined)
    axis.text(x + 10, y + 3, "20 mm", color="white", fontsize=7, ha="center", path_effects=outlined)
    axis.set_title(title, fontsize=10)
    axis.set_xlim(-half_mm, half_mm)
    axis.set_ylim(-half_mm, half_mm)
    axis.set_axis_off()
