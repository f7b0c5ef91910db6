"""From a case file to a `Case`, with the defaults of its joint filled in."""

from __future__ import annotations

import difflib
import hashlib
import math
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from injectplan import phantoms
from injectplan.anatomy.model import Kind, Subject
from injectplan.casefile.mistakes import first_mistake, refuse_unknown_keys
from injectplan.casefile.tables import (
    CaseTable,
    InjectateTable,
    NeedleTable,
    ProbeTable,
    TissueTable,
    ViewTable,
)
from injectplan.casefile.values import AnatomySource, Case, DrawnDefect, View
from injectplan.errors import CaseFileError, FileError, UsageError
from injectplan.frames import Pose
from injectplan.instruments import Injectate, Needle, Probe, injectate_of, needle_of, probe_model
from injectplan.kernels.cast import Floats
from injectplan.planning.values import DEFAULT_MARGINS_MM, Constraints
from injectplan.structures import all_structures, read_additions
from injectplan.tissues import TISSUES, Tissue, tissue_of
from injectplan.ultrasound.values import Display

LARGEST_CASE_BYTES = 1_000_000
APPROACHES: Mapping[Kind, tuple[str, ...]] = {
    "knee": (
        "suprapatellar-lateral", "suprapatellar-medial", "midpatellar-lateral", "midpatellar-medial",
        "anterolateral", "anteromedial",
    ),
    "hip": ("hip-anterior-oblique", "hip-lateral"),
    "ankle": ("ankle-anteromedial", "ankle-anterolateral", "ankle-posterolateral"),
}  # fmt: skip


def read_case(path: Path) -> Case:
    """Read a case file; the first mistake raises CaseFileError with its path in the file."""
    path = Path(path)
    try:
        if path.is_dir():
            path = path / "case.toml"
        if not path.is_file():
            raise FileError(f"{path.name}: no such case file")
        if path.stat().st_size > LARGEST_CASE_BYTES:
            raise FileError(f"{path.name}: {path.stat().st_size} bytes, a case file has at most 1 MB")
        content = path.read_bytes()
        raw = tomllib.loads(content.decode("utf-8"))
    except OSError as error:
        why = (error.strerror or "it failed").lower()
        raise FileError(f"{path.name}: cannot be read ({why})") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise CaseFileError(f"{path.name}: not TOML: {error}") from error
    return case_of(raw, folder=path.parent, name=path.name, sha256=hashlib.sha256(content).hexdigest())


def case_of(raw: Mapping[str, Any], *, folder: Path, name: str = "case", sha256: str = "") -> Case:
    """Turn a case file's tables into a Case; paths are relative to `folder`."""
    refuse_unknown_keys(raw, CaseTable, name, "")
    try:
        table = CaseTable.model_validate(dict(raw))
    except ValidationError as error:
        raise CaseFileError(f"{name}: {first_mistake(error)}") from error
    try:
        return _case(table, raw, folder, sha256)
    except ValueError as error:
        raise CaseFileError(f"{name}: {error}") from error


def _case(table: CaseTable, raw: Mapping[str, Any], folder: Path, sha256: str) -> Case:
    kind = table.joint.kind
    planning = table.planning
    if planning.approach not in (*APPROACHES[kind], "any"):
        near = difflib.get_close_matches(planning.approach, [*APPROACHES[kind], "any"], 1, 0.0)[0]
        raise ValueError(
            f"[planning] approach: {planning.approach!r} is not one for the {kind}; nearest: {near}"
        )
    for risk in planning.margins_mm:
        if risk not in DEFAULT_MARGINS_MM and risk != "organ":
            near = difflib.get_close_matches(risk, list(DEFAULT_MARGINS_MM), 1, 0.0)[0]
            raise ValueError(f"[planning] margins_mm.{risk}: unknown risk class; nearest: {near}")
    _check_phantom(table)
    _check_defects(table)
    tissues = {n: _tissue(n, t) for n, t in table.tissues.items()}
    for added in table.structures.values():
        tissue_of(added.tissue, tissues)
    probe = _probe(table.probe, kind)
    needle = _needle(table.needle, kind)
    injectate = _injectate(table.injectate, kind)
    constraints = Constraints(
        approach=planning.approach,
        entries=planning.entries,
        targets=planning.targets,
        margins_mm={**DEFAULT_MARGINS_MM, **planning.margins_mm},
        targeting_sd_mm=planning.targeting_sd_mm,
        entry_mm=_point(planning.entry_mm),
        target_mm=_point(planning.target_mm),
        forbidden=tuple((np.array(s.center_mm), s.radius_mm) for s in planning.forbidden),
    )
    anatomy = table.anatomy
    source = AnatomySource(
        phantom=anatomy.phantom,
        parameters=anatomy.parameters,
        labelmap=_path(anatomy.labelmap, folder),
        labels=_labels(anatomy.labels, folder),
        image=_path(anatomy.image, folder),
        surfaces={n: folder / p for n, p in (anatomy.surfaces or {}).items()},
        units=anatomy.units,
        frame=anatomy.frame,
        model=_path(anatomy.model, folder),
        completion=anatomy.completion,
    )
    return Case(
        name=table.name or f"{kind}, {table.joint.side}",
        seed=table.seed,
        kind=kind,
        side=table.joint.side,
        subject=Subject(bmi=table.subject.bmi, sex=table.subject.sex),
        anatomy=source,
        defects=tuple(
            DrawnDefect(
                structure=d.structure,
                center_mm=np.array(d.center_mm),
                radii_mm=(d.radii_mm[0], d.radii_mm[1]),
            )
            for d in table.defects
        ),
        probe=probe,
        needle=needle,
        injectate=injectate,
        constraints=constraints,
        view=_view(table.view),
        display=Display(width_px=table.display.width_px, height_px=table.display.height_px),
        structures=read_additions({n: s.model_dump() for n, s in table.structures.items()}, "case"),
        tissues=tissues,
        effective=effective_values(table, raw, probe, needle, injectate, constraints),
        inputs_sha256={"case": sha256} if sha256 else {},
    )


def _check_phantom(table: CaseTable) -> None:
    """Refuse a phantom that is not there, is another joint, or has no such parameters."""
    name, kind = table.anatomy.phantom, table.joint.kind
    if name is None:
        return
    if name in APPROACHES and name != kind:
        raise ValueError(f"[anatomy] phantom: is {name!r}, but [joint] kind is {kind!r}; correct one of them")
    side = table.anatomy.parameters.get("side", table.joint.side)
    if side != table.joint.side:
        raise ValueError(f"[anatomy] parameters.side: is {side!r}, but [joint] side is {table.joint.side!r}")
    try:
        phantoms.phantom_parameters(name, table.anatomy.parameters)
    except UsageError as error:
        raise ValueError(f"[anatomy] {error}") from error


def _check_defects(table: CaseTable) -> None:
    """Refuse defects drawn on what is no cartilage, or on a joint that was built before."""
    if table.anatomy.model is not None:
        if table.defects:
            raise ValueError(
                "[[defects]]: a saved joint (model) keeps those it was built with; draw them there"
            )
        for name in ("labels", "image"):
            if getattr(table.anatomy, name) is not None:
                raise ValueError(f"anatomy.{name}: goes with labelmap, not with model; leave it out")
    if table.anatomy.phantom is not None or table.anatomy.surfaces is not None:
        source = "phantom" if table.anatomy.phantom is not None else "surfaces"
        for name in ("labels", "image") if source == "phantom" else ("labels",):
            if getattr(table.anatomy, name) is not None:
                raise ValueError(f"anatomy.{name}: goes with labelmap, not with {source}; leave it out")
    added = {n: s.risk for n, s in table.structures.items()}
    known = [n for n, s in all_structures().items() if s.risk == "cartilage"]
    known += [n for n, risk in added.items() if risk == "cartilage"]
    for i, defect in enumerate(table.defects):
        if defect.structure not in known:
            near = difflib.get_close_matches(defect.structure, known, 1, 0.0)[0]
            raise ValueError(
                f"[[defects]][{i}] structure: {defect.structure!r} is no cartilage; nearest known: {near}"
            )


def _point(values: list[float] | None) -> Floats | None:
    return None if values is None else np.array(values, dtype=np.float64)


def _path(text: str | None, folder: Path) -> Path | None:
    return None if text is None else folder / text


def _labels(text: str | None, folder: Path) -> str | None:
    """Return a label table's name, or the path of a user's own beside the case file."""
    return text if text is None or not text.endswith(".toml") else str(folder / text)


def _view(table: ViewTable | None) -> View | None:
    if table is None:
        return None
    try:
        matrix = np.array(table.probe_to_patient, dtype=np.float64)
        if matrix.shape not in ((4, 4), (3, 4)):
            raise ValueError(f"has shape {matrix.shape}, needs 4 rows of 4")
        pose = Pose.from_matrix(matrix)
    except ValueError as error:
        raise ValueError(f"[view] probe_to_patient: {error}") from error
    if table.needle is None:
        return View(probe_to_patient=pose)
    entry, tip = np.array(table.needle.entry_mm), np.array(table.needle.tip_mm)
    if np.linalg.norm(tip - entry) < 1e-6:
        raise ValueError("[view] needle: entry_mm and tip_mm are the same point, the axis has no direction")
    return View(probe_to_patient=pose, needle=(entry, tip))


# What a joint is guided and injected with when the file does not say (clinical texts; see docs/reference).
_PROBES: Mapping[Kind, str] = {"knee": "linear-12", "hip": "curvilinear-5", "ankle": "linear-12"}
_NEEDLES: Mapping[Kind, tuple[float, float]] = {"knee": (22, 50.0), "hip": (22, 90.0), "ankle": (25, 38.0)}
_VOLUMES_ML: Mapping[Kind, float] = {"knee": 5.0, "hip": 5.0, "ankle": 3.0}


# With one of these and no model a probe is inline; other keys turn the controls of the default model.
_INLINE_KEYS = frozenset(
    ("kind", "frequency_mhz", "bandwidth", "lines", "width_mm", "radius_mm", "angle_deg", "raw", "f_number")
)


def _probe(table: ProbeTable, kind: Kind) -> Probe:
    """Return a catalogue's probe with the keys that were given, or an inline one."""
    given = table.model_dump(exclude_none=True, exclude={"model"})
    for key in ("compounding_deg", "tgc_db"):
        if key in given:
            given[key] = tuple(given[key])
    if table.model is None and not _INLINE_KEYS.isdisjoint(given):
        kind_of = "curvilinear" if {"radius_mm", "angle_deg"} & given.keys() else "linear"
        stands = tuple(k for k in ("frequency_mhz", "bandwidth", "width_mm", "f_number") if k not in given)
        return replace(Probe(), **{"kind": kind_of, **given}, assumed=stands)
    model = probe_model(table.model or _PROBES[kind])
    if table.kind is not None and table.kind != model.kind:
        raise ValueError(f"[probe] kind: {table.kind!r}, but model {model.name!r} is {model.kind}")
    return replace(model, **given)


def _needle(table: NeedleTable, kind: Kind) -> Needle:
    gauge, length_mm = _NEEDLES[kind]
    bevel = {} if table.bevel_deg is None else {"bevel_deg": table.bevel_deg}
    return needle_of(table.gauge or gauge, table.length_mm or length_mm, inner_mm=table.id_mm, **bevel)


def _tissue(name: str, table: TissueTable) -> Tissue:
    """Return a tissue of the table with the given values changed, or a new one, which needs three of them."""
    given = table.model_dump(exclude_none=True)
    if name in TISSUES:
        return replace(TISSUES[name], **given, source="given")
    for key in ("density_kg_m3", "speed_m_s", "attenuation_db_cm_mhz"):
        if key not in given:
            raise ValueError(f"[tissues.{name}] {key}: a new tissue needs it")
    return Tissue(name=name, source="given", **given)


def _injectate(table: InjectateTable, kind: Kind) -> Injectate:
    given = table.model_dump(exclude_none=True, exclude={"kind", "power_law"})
    given.setdefault("volume_ml", _VOLUMES_ML[kind])
    if table.power_law is not None:
        given |= {"k_pa_s_n": table.power_law.k_pa_s_n, "n": table.power_law.n}
    return injectate_of(table.kind or "saline", **given)


def effective_values(
    table: CaseTable,
    raw: Mapping[str, Any],
    probe: Probe,
    needle: Needle,
    injectate: Injectate,
    constraints: Constraints,
) -> dict[str, Any]:
    """Return every value that the case runs with, each {value, source}."""

    def said(place: str, values: Mapping[str, Any], assumed: tuple[str, ...] = ()) -> dict[str, Any]:
        given = raw.get(place, {})
        return {
            key: {
                "value": value if not (isinstance(value, float) and not math.isfinite(value)) else None,
                "source": "given" if key in given else "assumed" if key in assumed else "default",
            }
            for key, value in values.items()
        }

    def of(value: Any, *leave_out: str) -> dict[str, Any]:
        return {k: getattr(value, k) for k in value.__slots__ if k not in {"source", "assumed", *leave_out}}

    subject = {"bmi": table.subject.bmi, "sex": table.subject.sex}
    return {
        "name": {"value": table.name, "source": "given" if "name" in raw else "default"},
        "seed": {"value": table.seed, "source": "given" if "seed" in raw else "default"},
        "joint": said("joint", table.joint.model_dump()),
        "subject": said("subject", subject, tuple(k for k, v in subject.items() if v is None)),
        "anatomy": said("anatomy", table.anatomy.model_dump(exclude_none=True)),
        "probe": said("probe", of(probe), probe.assumed),
        "needle": said("needle", of(needle), needle.assumed),
        "injectate": said("injectate", of(injectate), injectate.assumed),
        "planning": said(
            "planning",
            of(constraints, "forbidden", "entry_mm", "target_mm")
            | {
                k: v
                for k, v in table.planning.model_dump().items()
                if k in ("entry_mm", "target_mm", "forbidden")
            },
            ("margins_mm",),
        ),
        "view": said("view", table.view.model_dump() if table.view else {}),
        "display": said("display", table.display.model_dump()),
    }
