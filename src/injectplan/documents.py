"""The result documents: JSON in and out, provenance, and a JSON Schema for each.

Every document carries `schema` (an integer). JSON never holds NaN: what is missing is null beside a reason.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import math
import platform
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from injectplan.errors import FileError, UsageError
from injectplan.measure import NOT_A_DEVICE, Measure, Notice, Verdict

SCHEMA = 1
_Schema = dict[str, Any]


def plain(value: Any) -> Any:
    """Turn values of the project and of numpy into what JSON can hold; NaN and infinity become null."""
    if isinstance(value, Measure | Notice):
        return plain(value.to_json())
    if isinstance(value, Verdict):
        return value.state
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str | int | bool) or value is None:
        return value
    if isinstance(value, Sequence | set | frozenset):
        return [plain(v) for v in (sorted(value) if isinstance(value, set | frozenset) else value)]
    if isinstance(value, Path):
        return value.name
    raise TypeError(f"{type(value).__name__} has no document form")


def to_json(document: Mapping[str, Any]) -> str:
    """Return a document's text; the same document gives the same bytes."""
    return json.dumps(plain(document), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def read_text(path: Path) -> str:
    """Read a text file; what cannot be read raises FileError in one line."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise FileError(f"{path.name}: no such file") from error
    except OSError as error:
        why = (error.strerror or "it failed").lower()
        raise FileError(f"{path}: cannot be read ({why})") from error
    except UnicodeDecodeError as error:
        raise FileError(f"{path.name}: is not text (UTF-8)") from error


def read_json(path: Path) -> Any:
    """Read a JSON file; what cannot be read raises FileError in one line."""
    text = read_text(path)
    try:
        return json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise FileError(f"{path.name}: not JSON ({error})") from error


def provenance(*, seed: int, inputs: Mapping[str, str], assumed: Sequence[str] = ()) -> dict[str, Any]:
    """Return where a result comes from: versions, platform, seed, hashes of inputs; no paths, no names.

    inputs : role ("case", "labelmap", "image", …) → SHA-256 of the file's bytes.
    """
    return {
        "made_by": "injectplan",
        "version": importlib.metadata.version("injectplan"),
        "made_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "seed": seed,
        "inputs_sha256": dict(sorted(inputs.items())),
        "python": platform.python_version(),
        "platform": f"{sys.platform}-{platform.machine()}",
        "packages": {name: importlib.metadata.version(name) for name in ("numpy", "scipy", "numba", "vtk")},
        "purpose": NOT_A_DEVICE,
        "assumed": sorted(set(assumed)),
    }


# --- schemas: a few words that build them, then one table -------------------------------------------------

_NUMBER: _Schema = {"type": "number"}
_MAYBE: _Schema = {"type": ["number", "null"]}
_INTEGER: _Schema = {"type": "integer", "minimum": 0}
_TEXT: _Schema = {"type": "string"}
_FLAG: _Schema = {"type": "boolean"}
_VECTOR: _Schema = {"type": "array", "items": _NUMBER, "minItems": 3, "maxItems": 3}
_MATRIX: _Schema = {
    "type": "array", "minItems": 4, "maxItems": 4,
    "items": {"type": "array", "items": _NUMBER, "minItems": 4, "maxItems": 4},
}  # fmt: skip


def _object(required: Mapping[str, _Schema], optional: Mapping[str, _Schema] | None = None) -> _Schema:
    return {
        "type": "object",
        "required": list(required),
        "properties": {**required, **(optional or {})},
        "additionalProperties": True,
    }


def _map(value: _Schema) -> _Schema:
    return {"type": "object", "additionalProperties": value}


def _list(value: _Schema, **limits: Any) -> _Schema:
    return {"type": "array", "items": value, **limits}


def _enum(*values: str) -> _Schema:
    return {"enum": list(values)}


_RANGED = _object({"value": _MAYBE, "low": _MAYBE, "high": _MAYBE})
_WARNINGS = _list(_object({"code": _TEXT, "message": _TEXT}, {"structure": _TEXT}))
_SECONDS = _map(_NUMBER)
_ASSUMED = _list(_TEXT)
_SOURCE = _enum("segmented", "completed")
_STATISTICS = _object(dict.fromkeys(("mean", "median", "p95", "sd"), _MAYBE) | {"n": _INTEGER})
_DEFECT = _object(
    {"structure": _TEXT, "zone": _TEXT, "area_mm2": _MAYBE, "depth_mm": _MAYBE, "volume_ml": _MAYBE,
     "center_mm": _VECTOR},
    {"left_mm": _MAYBE, "finding": _INTEGER},
)  # fmt: skip
PROVENANCE = _object(
    {"version": _TEXT, "made_at": _TEXT, "seed": _INTEGER, "inputs_sha256": _map(_TEXT), "purpose": _TEXT}
)
_MODEL = _object(
    {
        "schema": _INTEGER,
        "structures": _map(
            _object(
                {"voxel_volume_ml": _MAYBE, "mesh_volume_ml": _MAYBE, "closed": _FLAG, "manifold": _FLAG,
                 "source": _SOURCE, "label": {"type": ["integer", "null"]}, "repaired": _list(_TEXT)},
                {"voxel_volume_sd_ml": _MAYBE},
            )
        ),
        "cartilage": _map(
            _object(
                {"thickness_mm": _STATISTICS, "covered_fraction": _MAYBE, "denuded_area_mm2": _MAYBE,
                 "volume_ml": _MAYBE, "regions": {"type": "object"}},
                {"volume_sd_ml": _MAYBE},
            )
        ),
        "cavity": {"type": ["object", "null"]},
        "defects": _list(_DEFECT),
        "warnings": _WARNINGS,
        "seconds": _SECONDS,
    },
    {
        "provenance": PROVENANCE,
        "menisci": _map(
            _object(
                dict.fromkeys(
                    ("extrusion_mm", "extrusion_sd_mm", "coverage_fraction", "covered_area_mm2"), _MAYBE
                ),
                {"reason": _TEXT},
            )
        ),
    },
)  # fmt: skip
_ALIGNMENT = {"type": "object", "required": ["schema"]}  # injectplan.alignment registers its own
_TRAJECTORY = _object(
    {
        "approach": _TEXT,
        "technique": _enum("in-plane", "out-of-plane"),
        "entry_mm": _VECTOR,
        "tip_mm": _VECTOR,
        "length_mm": _NUMBER,
        "skin_angle_deg": _NUMBER,
        "clearance_mm": _map(_MAYBE),
        "margins": _map(_enum("kept", "unknown")),
        "recess": _TEXT,
        "hit_probability": _object(dict.fromkeys(("value", "low", "high", "with_feedback"), _NUMBER)),
        "touch_probability": {"type": "object"},
        "ultrasound": _object(
            {"probe_to_patient": _MATRIX}
            | dict.fromkeys(
                ("beam_needle_angle_deg", "out_of_plane_mm", "window_fraction", "depth_mm", "visibility"),
                _MAYBE,
            )
        ),
        "objectives": _map(_MAYBE),
        "rechecked": {"const": True},
    }
)
_PLAN = _object(
    {
        "schema": _INTEGER,
        "searched": _object(
            dict.fromkeys(("entries", "targets", "pairs", "feasible"), _INTEGER)
            | {"rejected_by": _map(_INTEGER)}
        ),
        "trajectories": _list(_TRAJECTORY, maxItems=6),
        "pareto_size": _INTEGER,
        "seconds": _SECONDS,
    },
    {"warnings": _WARNINGS, "assumed": _ASSUMED, "provenance": PROVENANCE},
)
_FLOW_KEYS = (
    "pressure_kpa", "entrance_loss_kpa", "total_pressure_kpa", "force_n", "wall_shear_pa",
    "wall_shear_rate_1_s", "reynolds",
)  # fmt: skip
_FLOW = _object(
    {"schema": _INTEGER} | dict.fromkeys(_FLOW_KEYS, _RANGED), {"flux_fraction_above_pa": _map(_NUMBER)}
)
_DOSE = _object(
    {
        "schema": _INTEGER,
        "flow": _object(dict.fromkeys(_FLOW_KEYS, _RANGED)),
        "filling": _object(
            dict.fromkeys(("injected_ml", "in_cavity_ml", "leaked_ml", "pressure_kpa_end"), _MAYBE)
        ),
        "dose_volume": {"type": "object"},
        "cells": _map(_MAYBE),
        "dose_surface": {"type": "object"},
        "mass_balance_error": _NUMBER,
        "assumed": _ASSUMED,
    },
    {"provenance": PROVENANCE},
)
_FRAME = _object(
    {"schema": _INTEGER, "width_px": _INTEGER, "height_px": _INTEGER, "sample_mm": _NUMBER,
     "pixel_to_patient": _MATRIX, "probe_to_patient": _MATRIX, "label_names": _map(_TEXT),
     "frame_ms": _list(_NUMBER, minItems=2, maxItems=2), "assumed": _ASSUMED},
    {"visibility": _MAYBE, "warnings": _WARNINGS},
)  # fmt: skip
_T2 = _object(
    {"schema": _INTEGER, "n": _INTEGER, "mean_ms": _MAYBE, "median_ms": _MAYBE, "sd_ms": _MAYBE,
     "rejected": _map(_INTEGER)},
    {"provenance": PROVENANCE},
)  # fmt: skip
_TRUTH = _object({"schema": _INTEGER}) | {
    "additionalProperties": _object({"value": {}, "unit": _TEXT, "formula": _TEXT})
}
_RECORD_PARTS = ("alignment",)  # whose rooms know them better than this table
_RECORD = _object(
    {
        "schema": _INTEGER,
        "name": _TEXT,
        "case": {"type": "object"},
        "model": _MODEL,
        "alignment": _ALIGNMENT,
        "plan": _PLAN,
        "dose": {"anyOf": [_DOSE, {"type": "null"}]},
        "preview": {"type": "object"},
        "assumed": _ASSUMED,
        "provenance": PROVENANCE,
        "purpose": _TEXT,
        "seconds": _SECONDS,
    },
    {"refused": _map(_TEXT), "warnings": _WARNINGS},
) | {"additionalProperties": False}
_DOCTOR = _object({"schema": _INTEGER, "versions": _map(_TEXT), "checks": _list({"type": "object"})})

_SCHEMAS: dict[str, _Schema] = {
    "model": _MODEL, "alignment": _ALIGNMENT, "plan": _PLAN, "flow": _FLOW, "dose": _DOSE, "frame": _FRAME,
    "t2": _T2, "truth": _TRUTH, "record": _RECORD, "doctor": _DOCTOR,
}  # fmt: skip


def register_schema(name: str, schema: _Schema) -> None:
    """Add a schema that a room above owns (the case file's, the alignment's), to a record's part as well."""
    _SCHEMAS[name] = schema
    if name in _RECORD_PARTS:
        _RECORD["properties"][name] = schema


def schema_names() -> tuple[str, ...]:
    """Return the names `json_schema` knows."""
    return tuple(sorted(_SCHEMAS))


def json_schema(name: str) -> _Schema:
    """Return the JSON Schema (draft 2020-12) of a document; an unknown name raises UsageError."""
    if name not in _SCHEMAS:
        raise UsageError(f"schema {name!r} is not known: one of {', '.join(schema_names())}")
    schema = _SCHEMAS[name]
    return {
        **schema,
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"injectplan {name}",
        "description": f"{schema.get('description', '')} For {NOT_A_DEVICE}.".strip(),
    }
