"""The JSON Schema of an alignment's document: every key, type, bound and unit, from the definitions."""

from __future__ import annotations

from typing import Any

from injectplan.alignment.angles import DEFINITIONS, LANDMARK_NAMES, Definition
from injectplan.documents import PROVENANCE, SCHEMA, register_schema
from injectplan.measure import NOT_A_DEVICE

Schema = dict[str, Any]

_UNITS = {"deg": ("degrees", 360.0), "mm": ("millimetres", 1000.0)}
_TEXT: Schema = {"type": "string", "minLength": 1}
_NOTHING: Schema = {"type": "null"}
_NUMBER: Schema = {"type": "number"}
_LENGTH: Schema = {"type": "number", "minimum": 0, "description": "millimetres"}


def _strict(required: Schema, optional: Schema | None = None, **more: Any) -> Schema:
    """An object that holds the required keys, may hold the optional ones, and no other."""
    return {
        "type": "object", "required": list(required), "properties": {**required, **(optional or {})},
        "additionalProperties": False, **more,
    }  # fmt: skip


def _vector(bound: float, unit: str) -> Schema:
    number = {"type": "number", "minimum": -bound, "maximum": bound}
    return {"type": "array", "items": number, "minItems": 3, "maxItems": 3, "description": unit}


def _maybe(schema: Schema) -> Schema:
    return {"anyOf": [schema, _NOTHING]}


def _angle(definition: Definition) -> Schema:
    """A measure that is there, with its interval, or is missing, with its reason."""
    unit, bound = _UNITS[definition.unit]
    value = {"type": "number", "minimum": -bound, "maximum": bound, "description": unit}
    spread = {"type": "number", "minimum": 0, "description": unit}
    said = {"method": _TEXT, "plane": {"const": definition.plane}}
    if definition is DEFINITIONS["hka_deg"]:
        said["plane"] = _TEXT  # a predicted one names the plane of what was seen
    known = {"value": value, "sd": spread, "interval": {
        "type": "array", "items": _NUMBER, "minItems": 2, "maxItems": 2, "description": unit,
    }}  # fmt: skip
    optional = {"sign": {"const": definition.sign}} if definition.sign else {}
    surface = {"surface_sd": spread}
    assumed = {"assumed": {"type": "array", "items": _TEXT, "minItems": 1}}
    return {
        "oneOf": [
            _strict(known | said, optional | assumed | surface),
            _strict({"value": _NOTHING, "sd": _NOTHING, "reason": _TEXT} | said, optional),
        ]
    }


def _angles() -> tuple[Schema, Schema]:
    """The schemas of what stands in `angles`, and of what stands beside it as well."""
    single: Schema = {}
    groups: dict[str, Schema] = {}
    for name, definition in DEFINITIONS.items():
        if "." in name:
            group, method = name.split(".")
            groups.setdefault(group, {})[method] = _angle(definition)
        else:
            single[name] = _angle(definition)
    beside = {group: _strict(methods) for group, methods in groups.items()}
    beside |= {name: single[name] for name in ("mad_mm", "knee_flexion_deg")}
    return _strict(single | beside), beside


def _landmark(point: bool) -> Schema:
    """A landmark that is there, or is missing, with its reason."""
    where = (
        {"sd_mm": _LENGTH, "position_mm": _vector(1e6, "patient RAS, millimetres")}
        if point
        else {"sd_mm": _NOTHING, "direction": _vector(1.0, "unit vector, patient RAS")}
    )
    row = {"type": "array", "items": _NUMBER, "minItems": 3, "maxItems": 3}
    covariance = {
        "type": "array",
        "items": row,
        "minItems": 3,
        "maxItems": 3,
        "description": "mm², of the position",
    }
    details = {"^(?!position|sd|surface)[a-z_]+_mm$": _LENGTH, "^coverage$": {"type": "number", "minimum": 0}}
    beside = {"surface_sd_mm": _LENGTH, "covariance_mm2": covariance, "group": _TEXT} if point else {}
    absent = {
        ("position_mm" if point else "direction"): _NOTHING,
        "sd_mm": _NOTHING,
        "method": _TEXT,
        "reason": _TEXT,
    }
    found = _strict(where | {"method": _TEXT}, beside, patternProperties=details)
    return {"oneOf": [found, _strict(absent)]}


def _verdict() -> Schema:
    angle = {"enum": ["hka_deg", "nsa_deg", "mldta_deg"]}
    degrees = {"type": "number", "description": "degrees"}
    share = {"type": "number", "minimum": 0, "maximum": 1}
    common: Schema = {
        "angle": angle,
        "limit_deg": degrees | {"exclusiveMinimum": 0, "exclusiveMaximum": 90},
        "load": {"enum": ["supine", "standing"]},
        "reasons": {"type": "array", "items": _TEXT, "minItems": 1},
    }

    def pair(item: Schema) -> Schema:
        return {"type": "array", "items": item, "minItems": 2, "maxItems": 2}

    judged = {
        "state": {"enum": ["OK", "INDETERMINATE", "EXCLUDE"]}, "deviation_deg": degrees,
        "sd_deg": degrees | {"minimum": 0},
        "interval_deg": pair(degrees), "probability_over_limit": share,
    }  # fmt: skip
    refused = {
        "state": {"const": "REFUSED"}, "deviation_deg": _NOTHING, "sd_deg": _NOTHING,
        "interval_deg": pair(_NOTHING), "probability_over_limit": _NOTHING,
    }  # fmt: skip
    return {"oneOf": [_strict(judged | common), _strict(refused | common)]}


def alignment_schema() -> Schema:
    """Return the schema of what `alignment_document` gives, or of why the bones could not be measured."""
    angles, beside = _angles()
    shaft = _maybe(_LENGTH)
    warning = _strict({"code": _TEXT, "message": _TEXT}, {"structure": _TEXT})
    landmark = {name: _landmark(name != "knee_axis") for name in sorted(LANDMARK_NAMES)}
    measured = _strict(
        {
            "schema": {"const": SCHEMA},
            "purpose": {"const": NOT_A_DEVICE},
            "side": {"enum": ["left", "right"]},
            "joint": {"enum": ["knee", "hip", "ankle"]},
            "angles": angles,
            **beside,
            "cpak": _maybe({"enum": ["I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX"]}),
            "identity_residual_deg": _maybe(_NUMBER | {"description": "degrees"}),
            "landmarks": _strict(landmark),
            "field_of_view": _strict(
                {"femur_shaft_mm": shaft, "tibia_shaft_mm": shaft, "hip_seen": {"type": "boolean"},
                 "ankle_seen": {"type": "boolean"}},
            ),
            "verdict": _verdict(),
            "warnings": {"type": "array", "items": warning},
            "assumed": {"type": "array", "items": _TEXT},
        },
        {"provenance": PROVENANCE},
    )  # fmt: skip
    refused = _strict(
        {"schema": {"const": SCHEMA}, "refused": _TEXT, "purpose": {"const": NOT_A_DEVICE},
         "reason": {"enum": ["LandmarkError", "NothingToMeasureError"]}},
        {"provenance": PROVENANCE},
    )  # fmt: skip
    return {"oneOf": [measured, refused]}


register_schema("alignment", alignment_schema())
