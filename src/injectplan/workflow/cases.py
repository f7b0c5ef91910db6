"""A case's joint, and what every command does with a case.

Rooms are named whole (`anatomy.build_joint`), so that a saved joint is read without what builds one.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from injectplan import anatomy, files, imaging, phantoms
from injectplan.anatomy.model import JointModel
from injectplan.casefile import Case
from injectplan.casefile.values import AnatomySource
from injectplan.documents import SCHEMA
from injectplan.errors import ContradictionError, RefusedError, UsageError
from injectplan.imaging.values import LabelMap, Surface
from injectplan.kernels.cast import Floats
from injectplan.measure import NOT_A_DEVICE, Notice
from injectplan.workflow.kept import kept_joint

Progress = Callable[[str, float], None]
Document = dict[str, Any]
KINDS = ("knee", "hip", "ankle")  # phantoms of these names are joints; the others are test bodies


def reseeded(case: Case, seed: int | None) -> Case:
    """Return the case with another seed, when one was given."""
    return case if seed is None else replace(case, seed=seed)


def refused(error: RefusedError) -> Document:
    """Return the document of a step that was refused: it says why."""
    return {"schema": SCHEMA, "refused": str(error), "reason": type(error).__name__, "purpose": NOT_A_DEVICE}


def joint_of(case: Case, *, progress: Progress | None = None) -> tuple[JointModel, dict[str, str]]:
    """Build a joint, or load a saved or kept one; also the hashes of the files that it comes from."""
    source = case.anatomy
    if source.model is not None:
        return _saved(case, source.model), hashes_of_case(case)
    hashes = hashes_of(source)
    joint = kept_joint(_recipe(case, hashes), lambda: _built(case, progress))
    return joint, hashes


def _saved(case: Case, folder: Path) -> JointModel:
    saved = anatomy.load_joint(folder)
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
        saved = _saved(case, source.model)
        _check_places(case, {name: s.surface for name, s in saved.structures.items()})
        return saved.notices
    if source.phantom is not None and not _places_of(case):
        return ()
    given, notices = anatomy_of(case)
    _check_places(case, given)
    if source.phantom is not None:
        return notices
    if source.image is not None:
        imaging.read_volume(source.image, gaps=False)
    if not shows_bare_solids(case):
        notices += anatomy.check_given(given, case.kind, case.side)
    return tuple(dict.fromkeys(notices))


ENTRY_REACH_MM, TARGET_REACH_MM, DEFECT_REACH_MM = 150.0, 50.0, 5.0  # the skin may lie outside the scan


def _places_of(case: Case) -> list[tuple[str, str, Floats, float]]:
    """Return the points that a case places by hand: key, structure ("" for all), point, reach."""
    fixed = case.constraints
    places = [
        ("planning.entry_mm", "", fixed.entry_mm, ENTRY_REACH_MM),
        ("planning.target_mm", "", fixed.target_mm, TARGET_REACH_MM),
    ]
    placed = [(key, name, point, reach) for key, name, point, reach in places if point is not None]
    return placed + [
        (f"[[defects]][{i}] center_mm", d.structure, d.center_mm, DEFECT_REACH_MM)
        for i, d in enumerate(case.defects)
    ]


def _check_places(case: Case, given: LabelMap | Mapping[str, Surface]) -> None:
    """Refuse a point that a case places far from the anatomy: most often it is in another frame or unit."""
    for key, name, point, reach in _places_of(case):
        box = _box_of(given, [name] if name else None)
        if box is None:
            continue  # a cartilage that will be completed
        low, high = box
        away = float(np.linalg.norm(np.maximum(np.maximum(low - point, point - high), 0.0)))
        if away > reach:
            raise UsageError(
                f"{key} lies {away:.0f} mm from {name or 'the anatomy'} (at most {reach:g} mm), which spans "
                f"{_triple(low)} to {_triple(high)} RAS mm: check its frame and unit"
            )


def _triple(point: Floats) -> str:
    return "[" + ", ".join(f"{value:.0f}" for value in point) + "]"


def _box_of(given: LabelMap | Mapping[str, Surface], names: list[str] | None) -> tuple[Floats, Floats] | None:
    """Return the lowest and highest corner of the named structures together, of all without names."""
    if isinstance(given, LabelMap):
        values = [v for v, n in given.names.items() if names is None or n in names]
        places = np.argwhere(np.isin(given.labels, values))
        if not len(places):
            return None
        ends = np.stack([places.min(axis=0), places.max(axis=0)])
        corners = given.to_patient(np.array(list(itertools.product(*ends.T)), dtype=float))
    else:
        found = [s.bounds_mm for n, s in given.items() if names is None or n in names]
        if not found:
            return None
        corners = np.concatenate(found)
    return corners.min(axis=0), corners.max(axis=0)


def shows_bare_solids(case: Case) -> bool:
    """Whether a case's frame shows its solids as given, joint or not."""
    source = case.anatomy
    bare = source.completion == "none" or source.phantom not in (None, *KINDS)
    return case.view is not None and bare and source.model is None


def recipe_of(case: Case) -> dict[str, object] | None:
    """Return all that a case's joint depends on, beside the program itself; None for a saved joint."""
    return _recipe(case, hashes_of(case.anatomy)) if case.anatomy.model is None else None


def hashes_of(source: AnatomySource) -> dict[str, str]:
    """Return the hashes of the files that an anatomy is read from, by role."""
    named = {"labelmap": source.labelmap, "image": source.image}
    named |= {f"surface {name}": path for name, path in source.surfaces.items()}
    return {role: files.sha256(path) for role, path in named.items() if path is not None}


def hashes_of_case(case: Case) -> dict[str, str]:
    """Return the hashes of the files of a case's anatomy, a saved joint's included."""
    saved = case.anatomy.model
    return hashes_of(case.anatomy) if saved is None else {"model": files.sha256(saved)}


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
    joint = anatomy.build_joint(
        given,
        kind=case.kind,
        side=case.side,
        subject=case.subject,
        completion=source.completion,
        parameters={k: float(v) for k, v in source.parameters.items() if not isinstance(v, str)},
        defects=[
            anatomy.Ellipse(structure=d.structure, center_mm=d.center_mm, radii_mm=d.radii_mm)
            for d in case.defects
        ],
        image=imaging.read_volume(source.image, gaps=False) if source.image is not None else None,
        seed=case.seed,
        progress=progress,
    )
    return replace(joint, notices=tuple(dict.fromkeys((*notices, *joint.notices))))


def anatomy_of(case: Case) -> tuple[LabelMap | Mapping[str, Surface], tuple[Notice, ...]]:
    """Return what a case's anatomy is made from, and warnings on the way."""
    source = case.anatomy
    if source.phantom is not None:
        wanted = {**source.parameters} | ({"side": case.side} if source.phantom in KINDS else {})
        return phantoms.make_phantom(source.phantom, wanted).labelmap, ()
    if source.labelmap is not None:
        labelmap = imaging.read_labelmap(source.labelmap, source.labels, case.side)
        labelmap = replace(labelmap, additions={**labelmap.additions, **case.structures})
        return labelmap, labelmap.notices
    read = imaging.read_surfaces(source.surfaces, units=source.units, frame=source.frame)
    return read.surfaces, read.notices
