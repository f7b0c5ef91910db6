"""One frame of a case: from its view, or from the best trajectory where it fixes none."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import IO

import numpy as np

from injectplan import anatomy, phantoms, planning
from injectplan.anatomy.model import FillState, JointModel
from injectplan.casefile import Case, read_case
from injectplan.documents import SCHEMA, to_json
from injectplan.errors import BadInputError, RefusedError
from injectplan.files import atomic_file
from injectplan.frames import Pose
from injectplan.imaging.values import LabelMap, Surface
from injectplan.kernels.cast import Floats
from injectplan.measure import NOT_A_DEVICE, Notice
from injectplan.report import images
from injectplan.structures import structure
from injectplan.ultrasound import (
    AcousticScene,
    ColourMode,
    Distension,
    Frame,
    FrameBuffers,
    NeedlePose,
    press,
    simulate_frame,
)
from injectplan.workflow.cases import (
    KINDS,
    Document,
    Progress,
    anatomy_of,
    joint_of,
    refused,
    reseeded,
    shows_bare_solids,
)

MOST_INJECTED_ML = 250.0  # twice what any joint here is taken to hold (assumed)
NO_CONTACT = Notice(
    "no-contact", "the probe meets no tissue: the frame is empty; move [view] probe_to_patient"
)


class FrameTimer:
    """Times a frame, pose to all maps, over warm repeats."""

    def __init__(self, repeats: int) -> None:
        self.repeats = repeats
        self.median_p95_ms = (math.nan, math.nan)

    def measure(self, simulate: Callable[[], object]) -> None:
        """Run `simulate` so often and keep the median and the 95th percentile."""
        taken = []
        for _ in range(self.repeats):
            started = time.perf_counter()
            simulate()
            taken.append(1000.0 * (time.perf_counter() - started))
        self.median_p95_ms = (float(np.median(taken)), float(np.percentile(taken, 95)))


def frame_of(
    case: Case, *, injected_ml: float = 0.0, force_n: float = 0.0, colour: ColourMode | None = None,
    progress: Progress | None = None, timer: FrameTimer | None = None,
) -> Frame:  # fmt: skip
    """Return the frame a case's `[view]` asks for; without one, trajectory 1 with its probe and needle.

    injected_ml : fluid given by then, flowing as the case's injectate does.  force_n : the probe is pressed
    on with.  colour : colour the fluid.
    """
    scene, pose, axis = scene_of(case, injected_ml=injected_ml, progress=progress)
    if force_n != 0.0:
        pressed = press(scene, pose, force_n)
        fill = scene.fill if scene.fill is None else pressed.fill(scene.fill)
        scene, pose = replace(pressed.scene, fill=fill), pressed.probe_to_patient
    scene = scene.around(pose)
    needle = None
    if axis is not None:
        needle = NeedlePose(
            entry_mm=np.asarray(axis[0]),
            tip_mm=np.asarray(axis[1]),
            outer_mm=case.needle.outer_mm,
            inner_mm=case.needle.inner_mm,
        )

    frame = simulate_frame(scene, pose, needle=needle, display=case.display, seed=case.seed, colour=colour)
    if timer is not None:
        room = FrameBuffers(scene, case.display)
        timer.measure(
            lambda: simulate_frame(
                scene, pose, needle=needle, display=case.display, seed=case.seed, buffers=room
            )
        )
    return frame


def scene_of(
    case: Case, *, injected_ml: float = 0.0, progress: Progress | None = None
) -> tuple[AcousticScene, Pose, tuple[Floats, Floats] | None]:
    """Return the acoustic scene of a case, where its probe stands, and the axis of its needle, if any.

    With a fixed view and `completion = "none"` the case's own solids are the scene, joint or not; the smaller
    of two that overlap holds.  injected_ml : fluid in the joint's cavity, for joints only.
    """
    if not 0.0 <= injected_ml <= MOST_INJECTED_ML:
        raise BadInputError(f"an injected volume of {injected_ml:g} mL: needs 0 to {MOST_INJECTED_ML:g}")
    if case.view is not None and shows_bare_solids(case):
        if injected_ml > 0.0:
            raise BadInputError("an injected volume needs a joint with a cavity; this case shows bare solids")
        scene = AcousticScene.from_solids(
            bare_solids(case), case.probe, background="air", tissues=case.tissues
        )
        return scene, case.view.probe_to_patient, case.view.needle
    joint, _ = joint_of(case, progress=progress)
    scene = AcousticScene.of(joint, case.probe, tissues=case.tissues)
    if case.view is not None:
        pose, axis = case.view.probe_to_patient, case.view.needle
    else:
        plan = planning.plan_injection(
            joint, case.needle, case.probe, case.constraints, seed=case.seed, progress=progress
        )
        best = plan.trajectories[0]
        pose, axis = best.ultrasound.probe_to_patient, (best.entry_mm, best.tip_mm)
    if injected_ml > 0.0:
        fill, distension = _flowing(joint, case, injected_ml, axis), Distension(scene)
        scene, pose = distension.filled(fill), distension.riding(fill, pose)
    return scene, pose, axis


def _flowing(
    joint: JointModel, case: Case, injected_ml: float, axis: tuple[Floats, Floats] | None
) -> FillState:
    """The cavity with so much in it, and the jet of the case's needle, if one is drawn."""
    if axis is None:
        return anatomy.fill_cavity(joint.cavity, injected_ml)
    entry, tip = (np.asarray(p, dtype=np.float64) for p in axis)
    bore_mm2 = math.pi * case.needle.inner_mm**2 / 4.0
    return replace(
        anatomy.fill_cavity(joint.cavity, injected_ml, tip), jet_origin_mm=tip,
        jet_direction=(tip - entry) / np.linalg.norm(tip - entry),
        jet_speed_mm_s=case.injectate.flow_ml_s * 1000.0 / bore_mm2,
    )  # fmt: skip


def bare_solids(case: Case) -> dict[str, tuple[Surface, str, int]]:
    """Return a case's solids as given: name → surface, tissue, priority (the smaller, the higher)."""
    source = case.anatomy
    given: LabelMap | Mapping[str, Surface]
    if source.phantom is not None and source.phantom not in KINDS:
        given = phantoms.make_phantom(source.phantom, source.parameters).surfaces
    else:
        given, _ = anatomy_of(case)
    if isinstance(given, LabelMap):
        given = {name: s.surface for name, s in anatomy.structures_of(given).items()}
    surfaces = given
    by_size = sorted(surfaces, key=lambda name: (-abs(surfaces[name].volume_ml), name))
    return {
        name: (surfaces[name], structure(name, case.structures).tissue, 1 + rank)
        for rank, name in enumerate(by_size)
    }


def simulate_case_frame(
    path: Path, *, seed: int | None, injected_ml: float = 0.0, force_n: float = 0.0,
    colour: bool = False, progress: Progress | None = None,
) -> tuple[Frame | None, Document]:  # fmt: skip
    """Simulate a case's frame, timed over 30 warm repeats; None when no trajectory could show one.

    injected_ml, force_n, colour : fluid in the cavity, the probe's force, and whether flow is coloured; the
    timing is without colour.
    """
    case = reseeded(read_case(path), seed)
    timer = FrameTimer(repeats=30)
    try:
        frame = frame_of(
            case, injected_ml=injected_ml, force_n=force_n, colour=ColourMode() if colour else None,
            progress=progress, timer=timer,
        )  # fmt: skip
    except RefusedError as error:
        return None, refused(error)
    return frame, {**frame_document(frame), "frame_ms": list(timer.median_p95_ms)}


def frame_document(frame: Frame) -> Document:
    """Return a frame's numbers; its arrays go into the frame file."""
    height, width = frame.bmode.shape
    return {
        "schema": SCHEMA,
        "width_px": width,
        "height_px": height,
        "lines": frame.envelope_db.shape[0],
        "samples": frame.envelope_db.shape[1],
        "sample_mm": frame.sample_mm,
        "pixel_to_patient": frame.pixel_to_patient,
        "probe_to_patient": frame.probe_to_patient.matrix,
        "label_names": {str(value): name for value, name in frame.label_names.items()},
        "visibility": frame.visibility,
        "assumed": list(frame.assumed),
        "warnings": [] if frame.labels.any() else [NO_CONTACT.to_json()],
        "purpose": NOT_A_DEVICE,
    }


FRAME_ARRAYS = (
    "bmode", "envelope_db", "line_origin_mm", "line_direction", "labels", "needle", "shadow", "trust",
    "depth_mm", "pixel_to_patient",
)  # fmt: skip


def write_frame(
    frame: Frame, document: Document, out: Path | None, png: Path | None, *, trust: bool = False
) -> None:
    """Write a frame's arrays and its picture; each file appears as a whole.

    trust : tint in the picture what ray theory does not hold for.
    """
    with ExitStack() as whole:  # both files stand ready before either appears
        if out is not None:
            path = whole.enter_context(atomic_file(out))
            with path.open("wb") as stream:
                _save_arrays(frame, document, stream)
        if png is not None:
            picture = images.shown(frame, trust=trust)
            images.save(picture, whole.enter_context(atomic_file(png)), format="PNG")


def _save_arrays(frame: Frame, document: Document, stream: IO[bytes]) -> None:
    arrays = {name: getattr(frame, name) for name in FRAME_ARRAYS}
    if frame.colour is not None:
        arrays["colour_mm_s"] = frame.colour.velocity_mm_s
        arrays["colour_nyquist_mm_s"] = np.float64(frame.colour.nyquist_mm_s)
    np.savez_compressed(
        stream,
        **arrays,
        sample_mm=np.float64(frame.sample_mm),
        frame_ms=np.array(document["frame_ms"]),
        label_names=np.array(to_json({str(k): v for k, v in frame.label_names.items()})),
    )
