"""The story on one screen: a case becomes a joint, a plan, a rehearsed injection and a record."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from injectplan import files, imaging
from injectplan.alignment import Alignment, measure_alignment
from injectplan.anatomy import build_joint, load_joint
from injectplan.anatomy.model import JointModel
from injectplan.casefile import Case
from injectplan.documents import provenance
from injectplan.errors import RefusedError
from injectplan.guidance import Preview, preview_guidance
from injectplan.injection import DoseEstimate, estimate_dose
from injectplan.measure import Notice
from injectplan.phantoms import make_phantom
from injectplan.planning import Plan, plan_injection
from injectplan.ultrasound import AcousticScene, Frame, NeedlePose, simulate_frame

Progress = Callable[[str, float], None]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CaseResult:
    """All that one case gave. A step that was refused is None, and `refusals` says why, by step."""

    case: Case
    joint: JointModel
    alignment: Alignment | None
    plan: Plan | None
    preview: Preview | None
    dose: DoseEstimate | None
    provenance: Mapping[str, object]
    refusals: Mapping[str, RefusedError] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def assumed(self) -> tuple[str, ...]:
        """Every assumption that a part of the result used, once each."""
        found: list[str] = list(self.case.assumed)
        for part in (self.joint, self.alignment, self.plan, self.preview, self.dose):
            found += list(getattr(part, "assumed", ()))
        return tuple(dict.fromkeys(found))

    @property
    def notices(self) -> tuple[Notice, ...]:
        """Every warning of a part of the result, once each."""
        parts = (self.joint, self.alignment, self.plan, self.preview, self.dose)
        return tuple(dict.fromkeys(n for part in parts for n in getattr(part, "notices", ())))


def run_case(case: Case, *, progress: Progress | None = None) -> CaseResult:
    """Run a whole case. Refusals (exit 3) are kept in the result, so that what came before is not lost."""
    clock = _Clock(progress)
    refusals: dict[str, RefusedError] = {}
    alignment = plan = preview = dose = None
    with clock("joint"):
        joint, hashes = joint_of(case, progress=clock.within)
    with clock("alignment"), _kept(refusals, "alignment"):
        alignment = measure_alignment(joint.bones, joint.side, seed=case.seed)
    with clock("plan"), _kept(refusals, "plan"):
        plan = plan_injection(
            joint, case.needle, case.probe, case.constraints, seed=case.seed, progress=clock.within
        )
    if plan is not None:
        best = plan.trajectories[0]
        with clock("dose"), _kept(refusals, "dose"):
            dose = estimate_dose(best, joint, case.injectate, case.needle, seed=case.seed)
        with clock("preview"), _kept(refusals, "preview"):
            scene = AcousticScene.of(joint, case.probe)
            preview = preview_guidance(
                best,
                scene,
                case.needle,
                fills=dose.fill_states if dose else (),
                display=case.display,
                seed=case.seed,
                progress=clock.within,
            )
    return CaseResult(
        case=case,
        joint=joint,
        alignment=alignment,
        plan=plan,
        preview=preview,
        dose=dose,
        provenance=provenance(seed=case.seed, inputs={**case.inputs_sha256, **hashes}),
        refusals=refusals,
        seconds=clock.seconds,
    )


def joint_of(case: Case, *, progress: Progress | None = None) -> tuple[JointModel, dict[str, str]]:
    """Build, or load, the joint of a case; also the hashes of the files that it was read from."""
    source = case.anatomy
    if source.model is not None:
        return load_joint(source.model), {"model": files.sha256(source.model)}
    hashes: dict[str, str] = {}
    image = None
    given: Any
    if source.phantom is not None:
        phantom = make_phantom(source.phantom, {**source.parameters, "side": case.side})
        given = phantom.labelmap
    elif source.labelmap is not None:
        given = imaging.read_labelmap(source.labelmap, source.labels, case.side)
        hashes["labelmap"] = files.sha256(source.labelmap)
    else:
        given = imaging.read_surfaces(source.surfaces, units=source.units, frame=source.frame)
        hashes |= {f"surface {name}": files.sha256(path) for name, path in source.surfaces.items()}
    if source.image is not None:
        image = imaging.read_volume(source.image)
        hashes["image"] = files.sha256(source.image)
    joint = build_joint(
        given,
        kind=case.kind,
        side=case.side,
        subject=case.subject,
        completion=source.completion,
        parameters={k: v for k, v in source.parameters.items() if isinstance(v, int | float)},
        defects=case.defects,
        image=image,
        seed=case.seed,
        progress=progress,
    )
    return joint, hashes


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
    case: Case, *, progress: Progress | None = None, timer: FrameTimer | None = None
) -> tuple[Frame, JointModel]:
    """Return the frame a case's `[view]` asks for; without one, trajectory 1 with its probe and needle."""
    joint, _ = joint_of(case, progress=progress)
    scene = AcousticScene.of(joint, case.probe, tissues=case.tissues)
    if case.view is not None:
        pose, axis = case.view.probe_to_patient, case.view.needle
    else:
        plan = plan_injection(
            joint, case.needle, case.probe, case.constraints, seed=case.seed, progress=progress
        )
        best = plan.trajectories[0]
        pose, axis = best.ultrasound.probe_to_patient, (best.entry_mm, best.tip_mm)
    needle = None
    if axis is not None:
        needle = NeedlePose(
            entry_mm=np.asarray(axis[0]),
            tip_mm=np.asarray(axis[1]),
            outer_mm=case.needle.outer_mm,
            inner_mm=case.needle.inner_mm,
        )

    def simulate() -> Frame:
        return simulate_frame(scene, pose, needle=needle, display=case.display, seed=case.seed)

    frame = simulate()
    if timer is not None:
        timer.measure(simulate)
    return frame, joint


class _Clock:
    """Times the steps and hands their progress on under the step's name."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self._step = ""
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, step: str) -> Iterator[None]:
        self._step = step
        started = time.perf_counter()
        self.within("", 0.0)
        try:
            yield
        finally:
            self.seconds[step] = time.perf_counter() - started
            self.within("", 1.0)

    def within(self, label: str, fraction: float) -> None:
        """Report progress inside the present step."""
        if self._progress is not None:
            self._progress(f"{self._step}: {label}" if label else self._step, fraction)


@contextmanager
def _kept(refusals: dict[str, RefusedError], step: str) -> Iterator[None]:
    """Keep a refusal instead of losing what was computed before it."""
    try:
        yield
    except RefusedError as error:
        refusals[step] = error
