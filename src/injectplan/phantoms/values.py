"""What the phantoms' builders give: `Phantom`, its truth, and how parameters are taken in."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TypedDict

from injectplan.anatomy.model import Kind, Side
from injectplan.errors import UsageError
from injectplan.imaging.values import LabelMap, Surface

Value = float | str | bool
Parameters = Mapping[str, Value]


class Truth(TypedDict):
    """A quantity known in closed form (or from the construction): value(s), unit and where it comes from."""

    value: float | list[float]
    unit: str
    formula: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Phantom:
    """A made-up joint or body whose answers are known.

    kind : the joint it imitates, or None for a test body.  surfaces : fine closed meshes, RAS mm.
    parameters : every effective parameter.
    """

    name: str
    kind: Kind | None
    side: Side
    labelmap: LabelMap
    truth: Mapping[str, Truth]
    surfaces: Mapping[str, Surface] = field(default_factory=dict)
    parameters: Parameters = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """A number parameter: its default, least and greatest value."""

    default: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A word parameter: its default and the words allowed."""

    default: str
    words: tuple[str, ...]


def effective(
    phantom: str, table: Mapping[str, Range | Choice], given: Parameters | None
) -> dict[str, Value]:
    """Fill defaults in and check ranges; a mistake raises UsageError that names the parameter."""
    result: dict[str, Value] = {name: entry.default for name, entry in table.items()}
    for name, value in (given or {}).items():
        if name not in table:
            near = get_close_matches(name, table, n=1)
            hint = f", did you mean {near[0]}?" if near else f": it knows {', '.join(table)}"
            raise UsageError(f"phantom {phantom} has no parameter {name!r}{hint}")
        entry = table[name]
        if isinstance(entry, Choice):
            if value not in entry.words:
                raise UsageError(
                    f"phantom {phantom}: {name} is {value!r}, must be one of {', '.join(entry.words)}"
                )
            result[name] = value
            continue
        if isinstance(value, str | bool) or not math.isfinite(value):
            raise UsageError(f"phantom {phantom}: {name} is {value!r}, must be a number")
        if not entry.low <= value <= entry.high:
            raise UsageError(
                f"phantom {phantom}: {name} is {value:g}, must lie in {entry.low:g} to {entry.high:g}"
            )
        result[name] = float(value)
    return result


def number(parameters: Parameters, name: str) -> float:
    """Return a number parameter."""
    return float(parameters[name])


def word(parameters: Parameters, name: str) -> str:
    """Return a word parameter."""
    return str(parameters[name])


def icrs_grade(cartilage_lost: float, bone_depth_mm: float) -> Truth:
    """ICRS grade of a made defect: 4 through the bone plate, 3 over half the depth, 2 under it, 0 none."""
    through = cartilage_lost >= 1.0 and bone_depth_mm > 0.0
    grade = 4.0 if through else 3.0 if cartilage_lost > 0.5 else 2.0 if cartilage_lost > 0.0 else 0.0
    formula = "4: bare and into bone; 3: over half of the depth lost; 2: up to half; 0: none"
    return Truth(value=grade, unit="ICRS grade", formula=formula)


GRID: Mapping[str, Range | Choice] = {
    "spacing_mm": Range(default=0.5, low=0.1, high=4.0),
    "slice_mm": Range(default=0.5, low=0.1, high=6.0),
    "oblique_deg": Range(default=0.0, low=-180.0, high=180.0),
}


# The joints' grid is oblique, as real scans are, with the slices of a knee's DESS series.
JOINT_GRID: Mapping[str, Range | Choice] = {
    "spacing_mm": Range(default=0.5, low=0.2, high=4.0),
    "slice_mm": Range(default=0.7, low=0.2, high=6.0),
    "oblique_deg": Range(default=5.0, low=-180.0, high=180.0),
}


def grid_of(parameters: Parameters) -> tuple[tuple[float, float, float], float]:
    """Spacing along the grid's axes and the grid's turn in degrees, as the parameters say."""
    within, between = number(parameters, "spacing_mm"), number(parameters, "slice_mm")
    return (within, within, between), number(parameters, "oblique_deg")


def side_of(parameters: Parameters) -> Side:
    """The side as the model's values name it."""
    return "left" if word(parameters, "side") == "left" else "right"
