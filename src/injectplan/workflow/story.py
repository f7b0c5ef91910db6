"""The story on one screen: a case becomes a joint, a plan, a rehearsed injection and a record."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

from injectplan.alignment import Alignment, measure_alignment
from injectplan.anatomy.model import JointModel
from injectplan.casefile import Case
from injectplan.documents import provenance
from injectplan.errors import RefusedError
from injectplan.guidance import Preview, preview_guidance
from injectplan.injection import DoseEstimate, estimate_dose
from injectplan.measure import Notice
from injectplan.planning import Plan, plan_injection
from injectplan.ultrasound import (
    AcousticScene,
    ColourMode,
)
from injectplan.workflow.cases import Progress, joint_of, recipe_of
from injectplan.workflow.kept import kept_value


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


Reached = Callable[[JointModel, Plan | None], None]


def run_case(case: Case, *, progress: Progress | None = None, reached: Reached | None = None) -> CaseResult:
    """Run a whole case. Refusals (exit 3) are kept in the result, so that what came before is not lost.

    reached : called with the joint once it stands, and again with the plan: what can be written or drawn from
        them may begin while the rest goes on.
    """
    clock = _Clock(progress)
    refusals: dict[str, RefusedError] = {}
    alignment = plan = preview = dose = None
    with clock("joint"):
        joint, hashes = joint_of(case, progress=clock.within)
    if reached is not None:
        reached(joint, None)
    with ThreadPoolExecutor(max_workers=1) as beside:
        # The axes need one core for seconds and nothing waits for them: measured while the rest goes on.
        measuring = beside.submit(_aligned, case, joint)
        with clock("plan"), _kept(refusals, "plan"):
            plan = plan_injection(
                joint, case.needle, case.probe, case.constraints, seed=case.seed, progress=clock.within
            )
        if plan is not None:
            if reached is not None:
                reached(joint, plan)
            best = plan.trajectories[0]
            with clock("dose"), _kept(refusals, "dose"):
                dose = estimate_dose(best, joint, case.injectate, case.needle, seed=case.seed)
            with clock("preview"), _kept(refusals, "preview"):
                scene = AcousticScene.of(joint, case.probe, tissues=case.tissues)
                preview = preview_guidance(
                    best,
                    scene,
                    needle=case.needle,
                    fill_states=dose.fill_states if dose is not None else (),
                    display=case.display,
                    seed=case.seed,
                    colour=ColourMode(),
                    progress=clock.within,
                )
        with clock("alignment"), _kept(refusals, "alignment"):
            alignment = measuring.result()
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


def _aligned(case: Case, joint: JointModel) -> Alignment:
    """Measure a case's axes; a kept joint's are kept with it, as they follow from it and the seed alone."""
    return kept_value(
        recipe_of(case), "alignment",
        lambda: measure_alignment(joint.bones, joint.side, joint=joint.kind, seed=case.seed),
    )  # fmt: skip


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
