"""What each command computes: from paths and options to a value and its document."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from injectplan import anatomy, imaging
from injectplan.alignment import (
    Alignment,
    Load,
    alignment_document,
    measure_alignment,
    measure_alignment_of_landmarks,
    read_landmarks,
)
from injectplan.anatomy import build_joint, model_document
from injectplan.anatomy.model import JointModel, Kind, Side
from injectplan.casefile import Case, read_case
from injectplan.documents import SCHEMA, provenance
from injectplan.errors import RefusedError, UsageError
from injectplan.imaging.values import Surface
from injectplan.injection import (
    DoseEstimate,
    dose_document,
    estimate_dose,
    flow_document,
    flow_through_needle,
)
from injectplan.instruments import Needle, injectate_of, needle_of, syringe_of
from injectplan.measure import NOT_A_DEVICE, Notice
from injectplan.planning import Plan, plan_document, plan_injection
from injectplan.structures import structure
from injectplan.workflow.cases import Document, Progress, hashes_of_case, inspect, joint_of, refused, reseeded
from injectplan.workflow.origin import made_from
from injectplan.workflow.story import CaseResult


def check_case(path: Path) -> Document:
    """Return the effective case, every value with its source, and what is odd about the files it names.

    These are read and held against the case's joint and side, as a run would; nothing is built.
    """
    case = read_case(path)
    notices = inspect(case)
    return {
        "schema": SCHEMA, "assumed": list(case.assumed),
        "case": _nameless(case.effective, _provenance(case, hashes_of_case(case))),
        "warnings": [notice.to_json() for notice in notices], "purpose": NOT_A_DEVICE,
    }  # fmt: skip


def _provenance(case: Case, hashes: Mapping[str, str]) -> Document:
    """Return where a case's result comes from; `hashes` are those of the files of its anatomy."""
    return provenance(seed=case.seed, inputs={**case.inputs_sha256, **hashes})


def build_and_describe(
    *,
    labelmap: Path | None,
    surfaces: Mapping[str, Path],
    kind: Kind,
    side: Side,
    labels: str | None,
    image: Path | None,
    units: str | float,
    frame: Literal["RAS", "LPS"],
    completion: Literal["auto", "none"],
    seed: int = 0,
    progress: Progress | None = None,
) -> tuple[JointModel, Document]:
    """Build a joint from files and describe it."""
    started = time.perf_counter()
    given: Any
    notices: tuple[Notice, ...] = ()
    if labelmap is not None:
        given = imaging.read_labelmap(labelmap, labels, side)
    else:
        read = imaging.read_surfaces(surfaces, units=units, frame=frame)
        given, notices = read.surfaces, read.notices
    volume = imaging.read_volume(image, gaps=False) if image is not None else None
    read_s = time.perf_counter() - started
    joint = build_joint(
        given, kind=kind, side=side, completion=completion, image=volume, seed=seed, progress=progress
    )
    joint = replace(joint, notices=tuple(dict.fromkeys((*notices, *joint.notices))))
    document = model_document(joint)
    document["provenance"] = made_from(
        seed,
        labelmap=labelmap,
        labels=labels,
        image=image,
        **{f"surface {n}": p for n, p in surfaces.items()},
    )
    document["seconds"] = {
        "read": read_s, **document.get("seconds", {}), "total": time.perf_counter() - started
    }  # fmt: skip
    return joint, document


def align(
    *,
    case: Path | None,
    surfaces: Mapping[str, Path],
    landmarks: Path | None,
    side: Side | None,
    frame: Literal["RAS", "LPS"],
    units: str | float,
    limit_deg: float,
    seed: int | None,
    joint: Kind | None = None,
    load: Load = "supine",
    progress: Progress | None = None,
) -> tuple[Document, tuple[Alignment, Mapping[str, Surface]]]:
    """Measure alignment from a case, surfaces or landmarks; the document, and what a drawing needs.

    joint : whose deformity is judged; the case's joint, else the knee, unless given.
    """
    bones: Mapping[str, Surface] = {}
    if landmarks is not None:
        points, read_side = read_landmarks(landmarks)
        made = made_from(seed or 0, landmarks=landmarks)
        if side is not None and read_side is not None and side != read_side:
            raise UsageError(f"--side {side}: {landmarks.name} says {read_side}; leave one out")
        alignment = measure_alignment_of_landmarks(
            points, side or read_side, joint=joint or "knee", limit_deg=limit_deg, load=load, seed=seed or 0
        )
    else:
        if case is not None:
            read = reseeded(read_case(case), seed)
            if side is not None and side != read.side:
                raise UsageError(f"--side {side}: {case.name} says {read.side}; leave one out")
            model, hashes = joint_of(read, progress=progress)
            made = _provenance(read, hashes)
            bones, side, seed, joint = model.bones, model.side, read.seed, joint or model.kind
        else:
            for name in surfaces:
                if name != "opposite_hip_bone":
                    structure(name)  # a misspelt bone is refused, with the nearest name
            bones = imaging.read_surfaces(surfaces, units=units, frame=frame).surfaces
            made = made_from(seed or 0, **{f"surface {name}": path for name, path in surfaces.items()})
        alignment = measure_alignment(
            bones, side, joint=joint or "knee", limit_deg=limit_deg, load=load, seed=seed or 0
        )
    problem = anatomy.apart(bones)
    if problem:
        alignment = replace(alignment, notices=(*alignment.notices, Notice("bones-apart", problem)))
    return alignment_document(alignment) | {"provenance": made}, (alignment, bones)


def plan_case(
    path: Path, *, seed: int | None, progress: Progress | None = None
) -> tuple[Plan | None, Document]:
    """Plan a case; when no trajectory keeps every constraint the document says why and the plan is None."""
    case = reseeded(read_case(path), seed)
    started = time.perf_counter()
    joint, hashes = joint_of(case, progress=progress)
    model_s = time.perf_counter() - started
    try:
        plan = plan_injection(
            joint, case.needle, case.probe, case.constraints, seed=case.seed, progress=progress
        )
    except RefusedError as error:
        return None, _refused_plan(error, joint) | {"provenance": _provenance(case, hashes)}
    document = plan_document(plan) | {"provenance": _provenance(case, hashes)}
    document["seconds"] = {**document["seconds"], "model": model_s, "total": time.perf_counter() - started}
    return plan, document


def _refused_plan(error: RefusedError, joint: JointModel) -> Document:
    searched = getattr(error, "searched", None)
    document = refused(error) | {"trajectories": [], "pareto_size": 0, "seconds": {}}
    document["warnings"] = [notice.to_json() for notice in joint.notices]
    document["searched"] = (
        {k: getattr(searched, k) for k in ("entries", "targets", "pairs", "feasible", "rejected_by")}
        if searched is not None
        else {"entries": 0, "targets": 0, "pairs": 0, "feasible": 0, "rejected_by": {}}
    )
    return document


def dose_case(
    path: Path, *, seed: int | None, progress: Progress | None = None
) -> tuple[DoseEstimate | None, Document]:
    """Estimate the dose of a case's best trajectory; None when there is none, and the document says why."""
    case = reseeded(read_case(path), seed)
    joint, hashes = joint_of(case, progress=progress)
    made = {"provenance": _provenance(case, hashes)}
    try:
        plan = plan_injection(
            joint, case.needle, case.probe, case.constraints, seed=case.seed, progress=progress
        )
        dose = estimate_dose(plan.trajectories[0], joint, case.injectate, case.needle, seed=case.seed)
    except RefusedError as error:
        return None, refused(error) | made
    return dose, dose_document(dose) | made


def needle_flow(
    *,
    gauge: float | None,
    id_mm: float | None,
    length_mm: float,
    volume_ml: float,
    time_s: float,
    viscosity_mpa_s: float | None,
    k_pa_s_n: float | None,
    n: float | None,
    barrel_mm: float | None,
) -> Document:
    """Return the flow's document for a needle and a fluid given by numbers."""
    if (gauge is None) == (id_mm is None):
        raise UsageError("give --gauge or --id-mm: one needle")
    if (viscosity_mpa_s is None) == (k_pa_s_n is None):
        raise UsageError("give --viscosity-mpa-s, or --k-pa-s-n with --n: one fluid")
    if (k_pa_s_n is None) != (n is None):
        raise UsageError("--k-pa-s-n and --n go together: a power-law fluid needs both")
    for name, value in (("length-mm", length_mm), ("volume-ml", volume_ml), ("time-s", time_s)):
        if not (np.isfinite(value) and value > 0):
            raise UsageError(f"--{name} {value:g}: needs a positive number")
    if gauge is not None:
        needle = needle_of(gauge, length_mm)
    else:
        assert id_mm is not None
        if not 0.05 <= id_mm <= 5:
            raise UsageError(f"--id-mm {id_mm:g}: needs 0.05 to 5 mm")
        needle = Needle(gauge=0, length_mm=length_mm, inner_mm=id_mm, outer_mm=1.5 * id_mm, source="given")
    changes: dict[str, float] = {"volume_ml": volume_ml, "flow_ml_s": volume_ml / time_s}
    if viscosity_mpa_s is not None:
        changes["viscosity_mpa_s"] = viscosity_mpa_s
    else:
        assert k_pa_s_n is not None
        assert n is not None
        changes |= {"k_pa_s_n": k_pa_s_n, "n": n}
    syringe = syringe_of(volume_ml, barrel_mm=barrel_mm)
    return flow_document(flow_through_needle(needle, injectate_of("custom", **changes), syringe))


def record_of(result: CaseResult, *, model: Document | None = None) -> Document:
    """Return the record of a whole run: every part's document, the assumptions, the provenance.

    model : the joint's document, where it was made before.
    """
    refusals = result.refusals
    plan: Document = (
        plan_document(result.plan)
        if result.plan is not None
        else _refused_plan(refusals["plan"], result.joint)
    )
    return {
        "schema": SCHEMA,
        "name": result.case.name,
        "purpose": NOT_A_DEVICE,
        "case": _nameless(result.case.effective, result.provenance),
        "model": model if model is not None else model_document(result.joint),
        "alignment": alignment_document(result.alignment)
        if result.alignment
        else refused(refusals["alignment"]),
        "plan": plan,
        "dose": dose_document(result.dose) if result.dose is not None else None,
        "preview": _preview_document(result),
        "refused": {step: str(error) for step, error in refusals.items()},
        "warnings": [notice.to_json() for notice in result.notices],
        "assumed": list(result.assumed),
        "provenance": {**result.provenance},
        "seconds": dict(result.seconds),
    }


def _nameless(effective: Mapping[str, Any], made: Mapping[str, Any]) -> Document:
    """Return a case's values with hashes for its files' paths: a file may bear a person's name."""
    hashes: Mapping[str, str] = made["inputs_sha256"]
    anatomy = dict(effective["anatomy"])
    for role in ("labelmap", "image", "model", "surfaces", "labels"):
        entry = anatomy.get(role)
        if entry is None or entry["value"] is None:
            continue
        value = entry["value"]
        if isinstance(value, Mapping):
            named = {name: f"sha256 {hashes.get(f'surface {name}', '')[:16]}" for name in value}
            anatomy[role] = {**entry, "value": named}
        elif role != "labels":
            anatomy[role] = {**entry, "value": f"sha256 {hashes.get(role, '')[:16]}"}
        elif str(value).endswith(".toml"):
            anatomy[role] = {**entry, "value": "a table of its own"}
    return {**effective, "anatomy": anatomy}


def _preview_document(result: CaseResult) -> Document:
    if result.preview is None:
        return {"frames": 0}
    return {
        "frames": len(result.preview.frames),
        "inserted_mm": list(result.preview.inserted_mm),
        "injected_ml": list(result.preview.injected_ml),
        "visibility": [contrast.score for contrast in result.preview.contrasts],
        "probe": result.case.probe.name,
    }
