"""The story on one screen: a case becomes a joint, a plan, a rehearsed injection and a record."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from injectplan import files, imaging
from injectplan.alignment import Alignment, measure_alignment
from injectplan.anatomy import Ellipse, build_joint, check_given, load_joint, structures_of
from injectplan.anatomy.cavity import fill_cavity
from injectplan.anatomy.model import FillState, JointModel
from injectplan.casefile import Case
from injectplan.casefile.values import AnatomySource
from injectplan.documents import provenance
from injectplan.errors import BadInputError, ContradictionError, RefusedError
from injectplan.frames import Pose
from injectplan.guidance import Preview, preview_guidance
from injectplan.imaging import LabelMap, Surface
from injectplan.injection import DoseEstimate, estimate_dose
from injectplan.kernels.cast import Floats
from injectplan.measure import Notice
from injectplan.phantoms import make_phantom
from injectplan.planning import Plan, plan_injection
from injectplan.structures import structure
from injectplan.ultrasound import (
    AcousticScene,
    ColourMode,
    Frame,
    FrameBuffers,
    NeedlePose,
    distend,
    press,
    simulate_frame,
)
from injectplan.workflow.kept import kept_joint, kept_value

Progress = Callable[[str, float], None]
KINDS = ("knee", "hip", "ankle")  # phantoms of these names are joints; the others are test bodies


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
        recipe = _recipe(case, hashes) if case.anatomy.model is None else None
    if reached is not None:
        reached(joint, None)
    with ThreadPoolExecutor(max_workers=1) as beside:
        # The axes need one core for seconds and nothing waits for them: measured while the rest goes on.
        measuring = beside.submit(_aligned, case, joint, recipe)
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


def _aligned(case: Case, joint: JointModel, recipe: Mapping[str, object] | None) -> Alignment:
    """Measure a case's axes; a kept joint's are kept with it, as they follow from it and the seed alone."""
    return kept_value(
        recipe, "alignment",
        lambda: measure_alignment(joint.bones, joint.side, joint=joint.kind, seed=case.seed),
    )  # fmt: skip


def joint_of(case: Case, *, progress: Progress | None = None) -> tuple[JointModel, dict[str, str]]:
    """Build a joint, or load a saved or kept one; also the hashes of the files that it comes from."""
    source = case.anatomy
    if source.model is not None:
        return _saved(case, source.model), {"model": files.sha256(source.model)}
    hashes = hashes_of(source)
    joint = kept_joint(_recipe(case, hashes), lambda: _built(case, progress))
    return joint, hashes


def _saved(case: Case, folder: Path) -> JointModel:
    saved = load_joint(folder)
    if (saved.kind, saved.side) != (case.kind, case.side):
        raise ContradictionError(
            f"the saved joint is a {saved.side} {saved.kind}, the case says {case.side} {case.kind}: "
            "correct [joint], or give the other joint"
        )
    return saved


def inspect(case: Case) -> tuple[Notice, ...]:
    """Read the files that a case names and hold them against its joint and side; nothing is built.

    Returns what is odd about them. Raises what building would: files that cannot be read, an empty structure,
    a contradicted side.
    """
    source = case.anatomy
    if source.model is not None:
        return _saved(case, source.model).notices
    if source.phantom is not None:
        return ()
    given, notices = anatomy_of(case)
    if source.image is not None:
        imaging.read_volume(source.image)
    if not _shows_bare_solids(case):
        notices += check_given(given, case.kind, case.side)
    return tuple(dict.fromkeys(notices))


def recipe_of(case: Case) -> dict[str, object] | None:
    """Return all that a case's joint depends on, beside the program itself; None for a saved joint."""
    return _recipe(case, hashes_of(case.anatomy)) if case.anatomy.model is None else None


def hashes_of(source: AnatomySource) -> dict[str, str]:
    """Return the hashes of the files that an anatomy is read from, by role."""
    named = {"labelmap": source.labelmap, "image": source.image}
    named |= {f"surface {name}": path for name, path in source.surfaces.items()}
    return {role: files.sha256(path) for role, path in named.items() if path is not None}


def _recipe(case: Case, hashes: Mapping[str, str]) -> dict[str, object]:
    """Return all that a built joint depends on, beside the program itself."""
    source = case.anatomy
    table = source.labels
    return {
        "joint": (case.kind, case.side, case.seed, asdict(case.subject)),
        "phantom": (source.phantom, dict(source.parameters)),
        "files": dict(hashes),
        "labels": files.sha256(table) if table is not None and Path(table).is_file() else table,
        "reading": (source.units, source.frame, source.completion),
        "defects": [(d.structure, d.center_mm.tolist(), d.radii_mm) for d in case.defects],
        "structures": {name: asdict(info) for name, info in case.structures.items()},
    }


def _built(case: Case, progress: Progress | None) -> JointModel:
    source = case.anatomy
    given, notices = anatomy_of(case)
    joint = build_joint(
        given,
        kind=case.kind,
        side=case.side,
        subject=case.subject,
        completion=source.completion,
        parameters={k: float(v) for k, v in source.parameters.items() if not isinstance(v, str)},
        defects=[
            Ellipse(structure=d.structure, center_mm=d.center_mm, radii_mm=d.radii_mm) for d in case.defects
        ],
        image=imaging.read_volume(source.image) if source.image is not None else None,
        seed=case.seed,
        progress=progress,
    )
    return replace(joint, notices=tuple(dict.fromkeys((*notices, *joint.notices))))


def anatomy_of(case: Case) -> tuple[LabelMap | Mapping[str, Surface], tuple[Notice, ...]]:
    """Return what a case's anatomy is made from, and warnings on the way."""
    source = case.anatomy
    if source.phantom is not None:
        wanted = {**source.parameters} | ({"side": case.side} if source.phantom in KINDS else {})
        return make_phantom(source.phantom, wanted).labelmap, ()
    if source.labelmap is not None:
        labelmap = imaging.read_labelmap(source.labelmap, source.labels, case.side)
        labelmap = replace(labelmap, additions={**labelmap.additions, **case.structures})
        return labelmap, labelmap.notices
    read = imaging.read_surfaces(source.surfaces, units=source.units, frame=source.frame)
    return read.surfaces, read.notices


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
    if not (math.isfinite(injected_ml) and injected_ml >= 0.0):
        raise BadInputError(f"an injected volume of {injected_ml} mL: needs 0 or more")
    if _shows_bare_solids(case):
        if injected_ml > 0.0:
            raise BadInputError("an injected volume needs a joint with a cavity; this case shows bare solids")
        scene = AcousticScene.from_solids(
            bare_solids(case), case.probe, background="air", tissues=case.tissues
        )
        assert case.view is not None
        return scene, case.view.probe_to_patient, case.view.needle
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
    if injected_ml > 0.0:
        scene = distend(scene, _flowing(joint, case, injected_ml, axis))
    return scene, pose, axis


def _shows_bare_solids(case: Case) -> bool:
    """Whether a case's frame shows its solids as given, joint or not."""
    source = case.anatomy
    bare = source.completion == "none" or source.phantom not in (None, *KINDS)
    return case.view is not None and bare and source.model is None


def _flowing(
    joint: JointModel, case: Case, injected_ml: float, axis: tuple[Floats, Floats] | None
) -> FillState:
    """The cavity with so much in it, and the jet of the case's needle, if one is drawn."""
    if axis is None:
        return fill_cavity(joint.cavity, injected_ml)
    entry, tip = (np.asarray(p, dtype=np.float64) for p in axis)
    bore_mm2 = math.pi * case.needle.inner_mm**2 / 4.0
    return replace(
        fill_cavity(joint.cavity, injected_ml, tip), jet_origin_mm=tip,
        jet_direction=(tip - entry) / np.linalg.norm(tip - entry),
        jet_speed_mm_s=case.injectate.flow_ml_s * 1000.0 / bore_mm2,
    )  # fmt: skip


def bare_solids(case: Case) -> dict[str, tuple[Surface, str, int]]:
    """Return a case's solids as given: name → surface, tissue, priority (the smaller, the higher)."""
    source = case.anatomy
    given: LabelMap | Mapping[str, Surface]
    if source.phantom is not None and source.phantom not in KINDS:
        given = make_phantom(source.phantom, source.parameters).surfaces
    else:
        given, _ = anatomy_of(case)
    if isinstance(given, LabelMap):
        given = {name: s.surface for name, s in structures_of(given).items()}
    surfaces = given
    by_size = sorted(surfaces, key=lambda name: (-abs(surfaces[name].volume_ml), name))
    return {
        name: (surfaces[name], structure(name, case.structures).tissue, 1 + rank)
        for rank, name in enumerate(by_size)
    }


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
