"""The one vocabulary of structures: tissue, risk class, colour and code of each."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any

from injectplan.errors import UsageError

RISK_CLASSES = ("none", "bone", "cartilage", "tendon", "artery", "vein", "nerve", "organ")

# The layer that a structure of one's own gets from its risk class or tissue (keys of anatomy.model.PRIORITY).
_LAYER_OF_RISK = {
    "bone": "bone", "cartilage": "cartilage", "tendon": "tendon", "artery": "vessel", "vein": "vessel",
    "nerve": "nerve", "organ": "named_muscle",
}  # fmt: skip
_LAYER_OF_TISSUE = {
    "skin": "skin", "subcutaneous_fat": "subcutaneous_fat", "fat": "fat_pad", "muscle": "named_muscle",
    "synovial_fluid": "fill", "water": "fill", "air": "fill", "synovium": "capsule",
}  # fmt: skip
CORD_LAYERS = ("vessel", "nerve", "tendon")
CONTINUED = "_continued"  # after the name of a cord: what completion adds to one that was segmented in part
_NO_ADDITIONS: Mapping[str, StructureInfo] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class StructureInfo:
    """One structure of the vocabulary.

    risk : one of RISK_CLASSES.  layer : a key of `anatomy.model.PRIORITY`.  color : sRGB, 0 to 255.
    code, meaning : SNOMED CT code and its meaning, which may be a broader term; None where none was verified.
    given : True for a structure that a case file or label table added.
    """

    name: str
    tissue: str
    risk: str
    layer: str
    color: tuple[int, int, int] = (160, 160, 160)
    code: str | None = None
    meaning: str | None = None
    given: bool = False

    @property
    def label(self) -> str:
        """The name as a person reads it."""
        return self.name.replace("_", " ")


@cache
def all_structures() -> Mapping[str, StructureInfo]:
    """Return the whole vocabulary, name → structure, in the order of the file.

    Beside every cord stands its continuation: what was completed of one that was segmented in part.
    """
    table = tomllib.loads(files("injectplan").joinpath("structures.toml").read_text(encoding="utf-8"))
    result = {}
    for name, entry in table.items():
        info = StructureInfo(name=name, **(entry | {"color": tuple(entry["color"])}))
        result[name] = info
        if info.layer in CORD_LAYERS:
            result[name + CONTINUED] = replace(info, name=name + CONTINUED)
    return MappingProxyType(result)


def nearest_names(name: str, names: Iterable[str], n: int = 3) -> list[str]:
    """Return up to n known names that resemble this one, the nearest first."""
    return difflib.get_close_matches(name.lower().replace(" ", "_").replace("-", "_"), list(names), n, 0.5)


def structure(name: str, additions: Mapping[str, StructureInfo] = _NO_ADDITIONS) -> StructureInfo:
    """Return what is known of a structure; an unknown name raises UsageError with the nearest known ones.

    additions : structures that a case file or label table defines beside the vocabulary; they win.
    """
    if name in additions:
        return additions[name]
    if name in all_structures():
        return all_structures()[name]
    near = nearest_names(name, [*additions, *all_structures()])
    hint = f"nearest: {', '.join(near)}" if near else "see `structures.toml` for all"
    raise UsageError(
        f"'{name}' is not a structure of the vocabulary; {hint}; "
        f'or define it: [structures.{name}] tissue = "muscle", risk = "none"'
    )


def read_additions(table: Mapping[str, Any], where: str) -> dict[str, StructureInfo]:
    """Return the structures that a `[structures.NAME]` table defines, checked.

    where : the file's name, for the message.  Raises UsageError, which names the key.
    """
    result = {}
    for name, entry in table.items():
        path = f"{where}: [structures.{name}]"
        if not isinstance(entry, Mapping):
            raise UsageError(f'{path} must be a table with tissue and risk, such as tissue = "muscle"')
        unknown = set(entry) - {"tissue", "risk", "layer", "color"}
        if unknown:
            raise UsageError(f"{path} has unknown key '{min(unknown)}'; known: tissue, risk, layer, color")
        result[name] = _addition(name, entry, path)
    return result


def _addition(name: str, entry: Mapping[str, Any], path: str) -> StructureInfo:
    known = all_structures().get(name)
    tissue = entry.get("tissue", known.tissue if known else None)
    risk = entry.get("risk", known.risk if known else None)
    if not isinstance(tissue, str):
        raise UsageError(f'{path} needs tissue, such as tissue = "muscle"')
    if risk not in RISK_CLASSES:
        raise UsageError(f"{path} risk is {risk!r}; give one of: {', '.join(RISK_CLASSES)}")
    layers = {info.layer for info in all_structures().values()}
    layer = entry.get("layer") or _LAYER_OF_RISK.get(risk) or _LAYER_OF_TISSUE.get(tissue, "named_muscle")
    if layer not in layers:
        raise UsageError(f"{path} layer is {layer!r}; give one of: {', '.join(sorted(layers))}")
    color = entry.get("color", known.color if known else (160, 160, 160))
    if (
        not isinstance(color, list | tuple)
        or len(color) != 3
        or not all(isinstance(part, int) and 0 <= part <= 255 for part in color)
    ):
        raise UsageError(f"{path} color is {color!r}; give three whole numbers from 0 to 255")
    red, green, blue = color
    return StructureInfo(
        name=name, tissue=tissue, risk=risk, layer=layer, color=(red, green, blue), given=True
    )
