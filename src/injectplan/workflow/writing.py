"""What each command writes, into a folder that appears as a whole."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from injectplan.alignment import Alignment, alignment_drawing
from injectplan.anatomy import model_document, model_seconds, save_joint
from injectplan.anatomy.model import JointModel
from injectplan.casefile import Case
from injectplan.documents import to_json
from injectplan.guidance import Preview
from injectplan.imaging.values import Surface
from injectplan.interop import (
    has_video,
    write_axes,
    write_markups,
    write_mp4,
    write_plan_csv,
    write_preview_sequence,
    write_skin_map,
)
from injectplan.kernels.cast import Bytes
from injectplan.planning import Plan
from injectplan.report import images, pictures
from injectplan.report.html import ReportParts, Views, views, write_report
from injectplan.report.maps import cartilage_maps, model_views
from injectplan.workflow.cases import recipe_of
from injectplan.workflow.kept import kept_files
from injectplan.workflow.steps import record_of
from injectplan.workflow.story import CaseResult, run_case

Document = Mapping[str, Any]
Progress = Callable[[str, float], None]


def _write_json(document: Document, path: Path) -> None:
    path.write_text(to_json(document), encoding="utf-8")


def write_model(joint: JointModel, document: Document, folder: Path) -> None:
    """Write the saved joint, its document and its picture."""
    save_joint(joint, folder)
    _write_json(document, folder / "model.json")
    images.save(model_views(joint), folder / "views.png")


def write_alignment(document: Document, drawn: tuple[Alignment, Mapping[str, Surface]], folder: Path) -> None:
    """Write the angles, the axes for 3D Slicer, and the drawing."""
    alignment, bones = drawn
    _write_json(document, folder / "alignment.json")
    write_axes(alignment, folder / "axes.mrk.json")
    drawing = alignment_drawing(alignment, bones)
    images.save(pictures.alignment_drawing(drawing), folder / "alignment.png")
    (folder / "alignment.svg").write_text(pictures.alignment_svg(drawing), encoding="utf-8")


def write_plan(plan: Plan | None, document: Document, folder: Path) -> None:
    """Write the plan; a refused one leaves its reasons only."""
    _write_json(document, folder / "plan.json")
    if plan is not None:
        write_markups(plan, folder / "plan.mrk.json")
        write_plan_csv(plan, folder / "plan.csv")
        write_skin_map(plan, folder / "skin_map.vtp")


def write_dose(document: Document, folder: Path) -> None:
    """Write the dose document."""
    _write_json(document, folder / "dose.json")


def run_into(
    case: Case, folder: Path, *, progress: Progress | None = None
) -> tuple[CaseResult, dict[str, Any]]:
    """Run a case and write all it gives: record, report, model, plan, alignment, dose, frames, preview.

    The joint is packed and the report's stills are drawn on the second core while the rest of the case runs;
    what depends on the joint alone is kept with it.
    """
    packing: list[Future[tuple[dict[str, Any], Bytes | None]]] = []
    drawing: list[Future[Views]] = []
    with ThreadPoolExecutor(max_workers=1) as beside:

        def reached(joint: JointModel, plan: Plan | None) -> None:
            if plan is None:
                beside.submit(_grow_trees, joint)
                packing.append(beside.submit(_pack, case, joint, folder / "model"))
            else:
                drawing.append(beside.submit(views, joint, plan, case.probe.width_mm))

        result = run_case(case, progress=progress, reached=reached)
        say = progress or (lambda label, fraction: None)
        say("report", 0.0)
        model, mapped = packing[0].result()
        record = record_of(result, model=model)
        _write_parts(result, record, folder)
        preview = result.preview
        filming = beside.submit(_write_preview, preview, folder) if preview is not None else None
        say("report: pictures", 0.4)
        drawn = drawing[0].result() if drawing else views(result.joint, None, case.probe.width_mm)
        write_report(record, _report_parts(result, drawn, mapped), folder / "report.html")
        if filming is not None:
            filming.result()
    _write_json(record, folder / "record.json")
    say("report", 1.0)
    return result, record


def _grow_trees(joint: JointModel) -> None:
    """Build the large triangle trees that later steps ask for, ahead of their turn."""
    structures = joint.structures.values()
    for surface in (joint.cavity.surface, *(s.surface for s in structures if s.risk != "none")):
        surface.bvh  # noqa: B018 - built on first use


def _pack(case: Case, joint: JointModel, folder: Path) -> tuple[dict[str, Any], Bytes | None]:
    """Write the joint's folder; return its document and the picture of its cartilage, if it has any."""

    def make(inner: Path) -> None:
        (inner / "model").mkdir()
        document = model_document(joint)
        save_joint(joint, inner / "model", document=document)
        mapped = cartilage_maps(joint, pixels=300)
        if mapped is not None:
            images.save(mapped, inner / "cartilage.png")

    with tempfile.TemporaryDirectory(prefix="pack-", dir=folder.parent) as name:
        inner = Path(name)
        kept_files(recipe_of(case), inner, make)
        os.replace(inner / "model", folder)
        picture = inner / "cartilage.png"
        mapped = images.read(picture) if picture.exists() else None
    document = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    document["seconds"] = model_seconds(joint)
    return document, mapped


def _write_parts(result: CaseResult, record: Document, folder: Path) -> None:
    """Write the record's parts as their own commands do: each says where it comes from."""
    made = {"provenance": record["provenance"]}
    _write_json(record["model"] | made, folder / "model" / "model.json")
    _write_json(record["alignment"] | made, folder / "alignment.json")
    write_plan(result.plan, record["plan"] | made, folder)
    if record["dose"] is not None:
        write_dose(record["dose"] | made, folder)


def _report_parts(result: CaseResult, drawn: Views, mapped: Bytes | None) -> ReportParts:
    preview = result.preview
    chosen = _highlights(preview) if preview is not None else []
    return ReportParts(
        frames=[preview.frames[i] for i, _ in chosen] if preview is not None else [],
        captions=[caption for _, caption in chosen],
        dose=result.dose,
        drawing=alignment_drawing(result.alignment, result.joint.bones) if result.alignment else [],
        views=drawn,
        cartilage=mapped,
    )


def _highlights(preview: Preview) -> list[tuple[int, str]]:
    """Choose the frames that the report shows: the needle at its target, and the end of the injection."""
    dry = [i for i, ml in enumerate(preview.injected_ml) if not ml > 0]
    wet = [i for i, ml in enumerate(preview.injected_ml) if ml > 0]
    chosen = []
    if dry:
        contrast = preview.contrasts[dry[-1]].score
        seen = f"The tip at its target; visibility of the needle {contrast:.2f} of 1."
        chosen.append((dry[-1], f"{seen} Pink: where it is; its echo lies where 1540 m/s would put it."))
    if wet:
        chosen.append((wet[-1], f"After {preview.injected_ml[wet[-1]]:.1f} mL: fluid opens the recess."))
    return chosen


def _write_preview(preview: Preview, folder: Path) -> None:
    (folder / "frames").mkdir()
    for i, frame in enumerate(preview.frames):
        images.save(frame.bmode, folder / "frames" / f"rank1_{i:03d}.png")
    shown = [images.shown(frame) for frame in preview.frames]
    images.save_gif(shown, folder / "preview.gif")
    write_preview_sequence(preview, folder / "preview.igs.mha")
    if has_video():  # the extra `video`
        write_mp4(images.same_depth(shown), folder / "preview.mp4")
