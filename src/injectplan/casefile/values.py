"""What a case file becomes: `Case` and its parts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from injectplan.anatomy.model import Kind, Side, Subject
from injectplan.frames import Pose
from injectplan.instruments import Injectate, Needle, Probe
from injectplan.kernels.cast import Floats
from injectplan.planning.values import Constraints
from injectplan.structures import StructureInfo
from injectplan.tissues import Tissue
from injectplan.ultrasound.values import Display


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AnatomySource:
    """Where the anatomy comes from; exactly one of phantom, labelmap, surfaces, model is set."""

    phantom: str | None = None
    parameters: Mapping[str, float | str | bool] = field(default_factory=dict)
    labelmap: Path | None = None
    labels: str | None = None
    image: Path | None = None
    surfaces: Mapping[str, Path] = field(default_factory=dict)
    units: str | float = "auto"
    frame: Literal["RAS", "LPS"] = "RAS"
    model: Path | None = None
    completion: Literal["auto", "none"] = "auto"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DrawnDefect:
    """An ellipse the user drew on a cartilage surface."""

    structure: str
    center_mm: Floats
    radii_mm: tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class View:
    """A probe pose fixed by the user, and the needle to draw, if any."""

    probe_to_patient: Pose
    needle: tuple[Floats, Floats] | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Case:
    """One rehearsal, ready to run.

    origins : "table.key" → "given", "default" or "assumed", for every effective value.
    inputs_sha256 : role → hash of the case file's bytes (files it names are added when they are read).
    """

    name: str
    seed: int
    kind: Kind
    side: Side
    subject: Subject
    anatomy: AnatomySource
    defects: tuple[DrawnDefect, ...]
    probe: Probe
    needle: Needle
    injectate: Injectate
    constraints: Constraints
    view: View | None
    display: Display
    structures: Mapping[str, StructureInfo]
    tissues: Mapping[str, Tissue]
    effective: Mapping[str, Any]
    inputs_sha256: Mapping[str, str]

    @property
    def assumed(self) -> tuple[str, ...]:
        """The effective values that are assumptions, as "table.key = value"."""
        return tuple(
            f"{path} = {entry['value']}" if entry["value"] is not None else f"{path}: not given"
            for path, entry in entries_of(self.effective)
            if entry["source"] == "assumed"
        )


def entries_of(effective: Mapping[str, Any], place: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield "table.key" and its {value, source}, for every effective value."""
    for key, entry in effective.items():
        if isinstance(entry, Mapping) and "source" in entry and "value" in entry:
            yield f"{place}{key}", entry
        elif isinstance(entry, Mapping):
            yield from entries_of(entry, f"{place}{key}.")
