"""One self-contained `report.html`: works offline, prints well, opens with the chosen trajectory."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
import numpy.typing as npt

from injectplan.alignment import Line
from injectplan.anatomy.model import JointModel
from injectplan.injection.values import DoseEstimate
from injectplan.kernels.cast import Bytes
from injectplan.planning.values import Plan
from injectplan.report import images, pictures
from injectplan.report.planes import three_planes
from injectplan.tissues import TISSUES
from injectplan.ultrasound.values import Frame

_SUBJECTS = ("Anatomy, completed", "Plan and injection", "Probe", "Tissues", "Models")
_TABLES = {
    "probe": "Probe", "needle": "Plan and injection", "injectate": "Plan and injection",
    "planning": "Plan and injection", "subject": "Anatomy, completed", "display": "Probe", "view": "Probe",
}  # fmt: skip
_UNITS = {  # longer endings before those that they end with
    "db_cm_mhz": "dB/cm/MHz", "kg_m3": "kg/m³", "mpa_s": "mPa·s", "pa_s_n": "Pa·sⁿ", "ml_s": "mL/s",
    "m_s": "m/s", "mm": "mm", "deg": "°", "db": "dB", "mhz": "MHz", "ml": "mL", "million": "million",
}  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Views:
    """The joint with trajectory 1: three planes through its tip, stills from the front and from lateral."""

    planes: Bytes
    stills: Sequence[Bytes]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ReportParts:
    """What the report draws beside the record's numbers; a part that was refused is None or empty."""

    frames: Sequence[Frame]
    captions: Sequence[str]
    dose: DoseEstimate | None
    drawing: Sequence[Line]
    views: Views
    cartilage: Bytes | None


def views(joint: JointModel, plan: Plan | None, probe_width_mm: float) -> Views:
    """Draw what depends on the joint and the plan alone."""
    best = plan.trajectories[0] if plan else None
    through = best.tip_mm if best is not None else joint.axes.origin_mm
    stills = pictures.scenes(joint, best, from_lateral_deg=(20.0, 80.0), probe_width_mm=probe_width_mm)
    return Views(three_planes(joint, through, best), stills)


def write_report(record: Mapping[str, Any], parts: ReportParts, path: Path) -> None:
    """Write the page. Texts are escaped; pictures are embedded."""
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=False)
    template = environment.from_string(
        files("injectplan.report").joinpath("report.html.j2").read_text("utf-8")
    )
    trajectories = record["plan"]["trajectories"]
    angles, refused = _angles(record["alignment"].get("angles", {}))
    structures = record["model"]["structures"]
    rejected = record["plan"]["searched"]["rejected_by"]
    page = template.render(
        record=record,
        best=trajectories[0] if trajectories else None,
        verdict=record["alignment"].get("verdict") or _no_verdict(record["alignment"]),
        angles=angles,
        refused_angles=_by_reason(refused),
        rejected=sorted(rejected.items(), key=lambda item: -item[1])[:8],
        segmented=[(n, s) for n, s in structures.items() if s["source"] == "segmented"],
        completed=[n for n, s in structures.items() if s["source"] == "completed"],
        assumed=by_subject(record["assumed"]),
        nearest=nearest,
        sentence=sentence,
        pictures=_pictures(parts),
    )
    path.write_text(page, encoding="utf-8")


def sentence(text: str) -> str:
    """Return a text as a sentence: a capital letter first, a full stop last."""
    text = text.strip()
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".") if text else ""


def by_subject(assumed: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Group assumptions by what they are about, as a person reads them.

    "muscle.echo_db = 0" is about tissue, "skin_thickness = 1.8 mm (…)" about the completed anatomy.
    """
    groups: dict[str, list[str]] = {subject: [] for subject in _SUBJECTS}
    for text in assumed:
        key, equals, value = text.partition(" = ")
        table, dot, name = key.partition(".")
        if equals and dot and table in _TABLES:
            groups[_TABLES[table]].append(f"{_words(name)}: {value}")
        elif equals and dot and table in TISSUES:
            groups["Tissues"].append(f"{_words(table)}, {_words(name)}: {value}")
        elif equals and re.fullmatch(r"\w+", key):
            groups["Anatomy, completed"].append(f"{_words(key)}: {value}")
        else:
            groups["Models"].append(text)
    return [(subject, found) for subject, found in groups.items() if found]


def _words(key: str) -> str:
    """Return a key as words, with its unit in brackets: "speed_m_s" is "speed (m/s)"."""
    for ending, unit in _UNITS.items():
        if key.endswith(f"_{ending}"):
            return f"{key.removesuffix(f'_{ending}').replace('_', ' ')} ({unit})"
    return key.replace("_", " ")


def nearest(trajectory: Mapping[str, Any], most: int = 4) -> list[tuple[str, float]]:
    """Return the structures nearest to a trajectory's needle, nearest first."""
    known = [(name, mm) for name, mm in trajectory["clearance_mm"].items() if mm is not None]
    return sorted(known, key=lambda item: item[1])[:most]


def flat_angles(angles: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, Mapping[str, Any]]]:
    """Return name and measure of each angle; an angle measured by several methods gives one for each."""
    flat: list[tuple[str, Mapping[str, Any]]] = []
    for name, entry in angles.items():
        if "value" in entry:
            flat.append((name, entry))
        else:
            flat += [(f"{name} ({method})", measure) for method, measure in entry.items()]
    return flat


def _angles(
    angles: Mapping[str, Mapping[str, Any]],
) -> tuple[list[tuple[str, Mapping[str, Any]]], list[tuple[str, str]]]:
    measured, refused = [], []
    for name, angle in flat_angles(angles):
        word = name.replace("_deg", "").replace("_", " ")
        if angle["value"] is not None:
            measured.append((word, angle))
        else:
            refused.append((word, angle.get("reason", "")))
    return measured, refused


def _by_reason(refused: list[tuple[str, str]]) -> list[tuple[str, list[str]]]:
    """Group the angles that could not be measured by why."""
    groups: dict[str, list[str]] = {}
    for name, why in refused:
        groups.setdefault(why, []).append(name)
    return list(groups.items())


def _no_verdict(document: Mapping[str, Any]) -> dict[str, Any]:
    return {"state": "REFUSED", "limit_deg": 10.0, "reasons": [document.get("refused", "")]}


def _embed(picture: npt.NDArray[Any]) -> str:
    return "data:image/png;base64," + base64.b64encode(images.png_bytes(picture)).decode("ascii")


def _pictures(parts: ReportParts) -> dict[str, Any]:
    result: dict[str, Any] = {
        "stills": [_embed(still) for still in parts.views.stills],
        "planes": _embed(parts.views.planes),
        "frames": [
            {"src": _embed(pictures.frame_panel(frame)), "caption": caption}
            for frame, caption in zip(parts.frames, parts.captions, strict=True)
        ],
        "cartilage": _embed(parts.cartilage) if parts.cartilage is not None else None,
        "alignment": _embed(pictures.alignment_drawing(parts.drawing)) if parts.drawing else None,
    }
    if parts.dose is not None:
        result["dose"] = _embed(pictures.dose_plots(parts.dose.dose_volume, parts.dose.dose_surface))
    return result
