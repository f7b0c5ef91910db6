"""Closed-form phantoms, read from their definitions in `phantoms/*.toml`.

A definition holds parameters (default, low, high), solids in the order in which they are written (later ones
lie on top), and the truth as formulas of the parameters.
"""

from __future__ import annotations

import tomllib
from functools import cache
from typing import Any

import numpy as np

from injectplan.anatomy.model import PRIORITY, Structure
from injectplan.errors import BadInputError
from injectplan.files import packaged
from injectplan.imaging.values import LabelMap
from injectplan.phantoms.expressions import evaluate
from injectplan.phantoms.grids import grid_over, side_matrix
from injectplan.phantoms.implicit import Solid, index_box, sample_sparsely
from injectplan.phantoms.layers import moved_surface
from injectplan.phantoms.shapes import KINDS, Shape
from injectplan.phantoms.values import (
    GRID,
    Choice,
    Parameters,
    Phantom,
    Range,
    Truth,
    effective,
    grid_of,
    side_of,
    word,
)
from injectplan.structures import read_additions, structure

NAMES = ("slab", "sphere", "shell", "wire", "cyst", "recess")


@cache
def definition(name: str) -> dict[str, Any]:
    """Read a phantom's definition."""
    path = packaged(f"phantoms/{name}.toml")
    return tomllib.loads(path.read_text(encoding="utf-8"))


def table_of(name: str) -> dict[str, Range | Choice]:
    """Parameters of a closed-form phantom, with defaults and ranges."""
    rows = definition(name)["parameters"]
    own = {k: Range(default=v["default"], low=v["low"], high=v["high"]) for k, v in rows.items()}
    return {"side": Choice(default="right", words=("left", "right")), **own, **GRID}


def _shape(entry: dict[str, Any], numbers: dict[str, float]) -> Shape:
    kind = entry["shape"]
    if kind not in KINDS:
        raise BadInputError(f"shape {kind!r} is not one of {', '.join(KINDS)}")
    center = np.array([evaluate(c, numbers) for c in entry.get("center_mm", [0.0, 0.0, 0.0])])
    sizes = {key: evaluate(entry[key], numbers) for key in KINDS[kind]}
    return Shape(kind=kind, center=center, axis=entry.get("axis", "z"), sizes=sizes)


def _solids(name: str, p: Parameters) -> list[tuple[str, Shape]]:
    numbers = {k: float(v) for k, v in p.items() if not isinstance(v, str)}
    return [(entry["structure"], _shape(entry, numbers)) for entry in definition(name)["solids"]]


def analytic_phantom(name: str, parameters: Parameters | None = None) -> Phantom:
    """Build a closed-form phantom: voxels on any grid, exact meshes, and the truth in closed form."""
    p = effective(name, table_of(name), parameters)
    solids = _solids(name, p)
    to_patient = side_matrix(word(p, "side"))
    names = list(dict.fromkeys(s for s, _ in solids))
    values = {s: i + 1 for i, s in enumerate(names)}
    low = np.min([shape.bounds()[0] for _, shape in solids], axis=0) - 3.0
    high = np.max([shape.bounds()[1] for _, shape in solids], axis=0) + 3.0
    spacing, oblique_deg = grid_of(p)
    to_body, grid = grid_over(low, high, spacing, oblique_deg)
    labels = np.zeros(grid, np.uint16)
    for s, shape in solids:
        solid = Solid(shape.inside, *shape.bounds())
        first, last = index_box(solid, to_body, grid)
        moved = to_body.copy()
        moved[:3, 3] += to_body[:3, :3] @ first
        inside = sample_sparsely(solid, moved, tuple(int(n) for n in last - first)) < 0  # type: ignore[arg-type]
        labels[first[0] : last[0], first[1] : last[1], first[2] : last[2]][inside] = values[s]
    additions = read_additions(definition(name).get("structures", {}), f"phantoms/{name}.toml")
    labelmap = LabelMap(
        affine=to_patient @ to_body,
        labels=labels,
        names={v: s for s, v in values.items()},
        additions=additions,
    )
    return Phantom(
        name=name, kind=None, side=side_of(p), labelmap=labelmap, truth=_truth(name, p), parameters=p,
        surfaces={_unique(solids, i): moved_surface(shape.surface(), to_patient)
                  for i, (_, shape) in enumerate(solids)},
    )  # fmt: skip


def _unique(solids: list[tuple[str, Shape]], i: int) -> str:
    """Name of a solid: its structure's, numbered from the second on where several share it."""
    before = sum(s == solids[i][0] for s, _ in solids[:i])
    return solids[i][0] if not before else f"{solids[i][0]}_{before + 1}"


def _truth(name: str, p: Parameters) -> dict[str, Truth]:
    numbers = {k: float(v) for k, v in p.items() if not isinstance(v, str)}
    return {
        key: Truth(value=evaluate(entry["formula"], numbers), unit=entry["unit"], formula=entry["formula"])
        for key, entry in definition(name)["truth"].items()
    }


def analytic_structures(name: str, parameters: Parameters | None = None) -> dict[str, Structure]:
    """Return a closed-form phantom's solids as a joint model holds them: tissue, risk, priority.

    Several solids of one structure are numbered (`wire`, `wire_2`, …).
    """
    phantom = analytic_phantom(name, {**(parameters or {}), "spacing_mm": 3.0, "slice_mm": 3.0})
    result = {}
    for key, surface in phantom.surfaces.items():
        base = key if key in phantom.labelmap.names.values() else key.rsplit("_", 1)[0]
        info = structure(base, phantom.labelmap.additions)
        result[key] = Structure(
            name=key, surface=surface, tissue=info.tissue, risk=info.risk, source="segmented",
            priority=PRIORITY[info.layer] ,
        )  # fmt: skip
    return result
