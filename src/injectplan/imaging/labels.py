"""Label tables: which value of a label map is which structure, shipped by name or read from a user's TOML."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import Any

from injectplan.errors import FileError, UsageError
from injectplan.structures import (
    StructureInfo,
    all_structures,
    nearest_names,
    read_additions,
    structure,
)

LARGEST_LABEL = 65535
_LONGEST_TABLE_BYTES = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelTable:
    """What the values of a label map mean.

    labels : value → structure, on either side.  sided : "left"/"right" → value → that side's structure.
    others : values that the table defines and that are no structure of the vocabulary.
    additions : structures that the table's file defines beside the vocabulary.
    """

    name: str
    labels: Mapping[int, str]
    sided: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
    others: frozenset[int] = frozenset()
    additions: Mapping[str, StructureInfo] = field(default_factory=dict)
    source: str = ""

    def names(self, side: str | None) -> dict[int, str]:
        """Return value → structure for one side; a table that tells sides apart needs it."""
        if side is None and self.sided:
            raise UsageError(f"label table '{self.name}' tells left from right; give --side left or right")
        return dict(sorted((dict(self.labels) | dict(self.sided.get(side or "", {}))).items()))

    @property
    def known(self) -> frozenset[int]:
        """Every value that the table defines, background included."""
        values = {0} | set(self.labels) | set(self.others)
        for names in self.sided.values():
            values |= set(names)
        return frozenset(values)


@cache
def shipped_tables() -> Mapping[str, LabelTable]:
    """Return the tables that come with the program, by name."""
    text = files("injectplan.imaging").joinpath("labels.toml").read_text(encoding="utf-8")
    return MappingProxyType(
        {name: _table(name, entry, name, shipped=True) for name, entry in tomllib.loads(text).items()}
    )


def label_table(name_or_path: str | Path) -> LabelTable:
    """Return the table of this name, or read it from a TOML file with `[labels] 1 = "structure"`.

    Raises UsageError for an unknown name or structure, FileError for a file that cannot be read.
    """
    name = str(name_or_path)
    if name in shipped_tables():
        return shipped_tables()[name]
    path = Path(name_or_path)
    if path.suffix.lower() != ".toml" and not path.is_file():
        near = nearest_names(name, shipped_tables())
        hint = f"nearest: {', '.join(near)}" if near else f"known: {', '.join(shipped_tables())}"
        raise UsageError(f"label table '{name}' is not known; {hint}; or give a TOML file")
    try:
        if path.stat().st_size > _LONGEST_TABLE_BYTES:
            raise FileError(f"{name}: {path.stat().st_size} bytes are no label table; give a TOML file")
        document = tomllib.loads(path.read_bytes().decode("utf-8"))
    except OSError as error:
        why = (error.strerror or "unreadable").lower()
        raise FileError(f"{name}: label table cannot be read ({why}); check the path") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FileError(f"{name}: is not TOML ({error}); mend the label table") from error
    return _table(path.name, document, path.name, shipped=False)


def _table(name: str, entry: Mapping[str, Any], where: str, *, shipped: bool) -> LabelTable:
    unknown = set(entry) - {"labels", "left", "right", "others", "source", "structures", "schema"}
    if unknown:
        near = nearest_names(min(unknown), ["labels", "left", "right", "others", "structures"])
        raise UsageError(f"{where}: unknown key '{min(unknown)}'; {_nearest(near)}")
    additions = read_additions(_mapping(entry, "structures", where), where)
    parts = {
        key: _values(_mapping(entry, key, where), f"{where}: [{key}]", additions)
        for key in ("labels", "left", "right")
    }
    if not any(parts.values()):
        raise UsageError(f'{where}: names no label; give [labels] with lines such as 1 = "femur"')
    others: set[int] = set()
    if shipped:
        for low, high in entry.get("others", []):
            others |= set(range(low, high + 1))
    return LabelTable(
        name=name,
        labels=MappingProxyType(parts["labels"]),
        sided=MappingProxyType({s: MappingProxyType(parts[s]) for s in ("left", "right") if parts[s]}),
        others=frozenset(others),
        additions=MappingProxyType(additions),
        source=str(entry.get("source", "")),
    )  # fmt: skip


def _nearest(near: list[str]) -> str:
    return f"nearest: {', '.join(near)}" if near else "known: labels, left, right, structures"


def _mapping(entry: Mapping[str, Any], key: str, where: str) -> Mapping[str, Any]:
    value = entry.get(key, {})
    if not isinstance(value, Mapping):
        raise UsageError(f'{where}: {key} must be a table; write [{key}] and lines such as 1 = "femur"')
    return value


def _values(table: Mapping[str, Any], where: str, additions: Mapping[str, StructureInfo]) -> dict[int, str]:
    result = {}
    for key, name in table.items():
        if not key.isascii() or not key.isdecimal() or not 0 < int(key) <= LARGEST_LABEL:
            raise UsageError(f"{where} '{key}' is no label value; give a whole number 1 to {LARGEST_LABEL}")
        if not isinstance(name, str):
            raise UsageError(f'{where} {key} must name a structure, such as {key} = "femur"')
        try:
            structure(name, additions)
        except UsageError as error:
            raise UsageError(f"{where} {key}: {error}") from error
        result[int(key)] = name
    return result


# Words by which files that carry names say what the vocabulary says; after lower case and underscores.
_SYNONYMS = {
    "femoral_bone": "femur", "tibial_bone": "tibia", "knee_cap": "patella", "kneecap": "patella",
    "innominate_bone": "hip_bone", "hip": "hip_bone", "pelvis": "hip_bone", "calcaneum": "calcaneus",
    "femur_cartilage": "femoral_cartilage", "fem_cart": "femoral_cartilage",
    "femoral_articular_cartilage": "femoral_cartilage", "tibia_cartilage": "tibial_cartilage",
    "patella_cartilage": "patellar_cartilage", "pat_cart": "patellar_cartilage",
    "medial_tibia_cartilage": "medial_tibial_cartilage", "tibial_cartilage_medial": "medial_tibial_cartilage",
    "lateral_tibia_cartilage": "lateral_tibial_cartilage",
    "tibial_cartilage_lateral": "lateral_tibial_cartilage", "med_tib_cart": "medial_tibial_cartilage",
    "lat_tib_cart": "lateral_tibial_cartilage", "meniscus_medial": "medial_meniscus",
    "meniscus_lateral": "lateral_meniscus", "med_men": "medial_meniscus", "lat_men": "lateral_meniscus",
    "effusion": "synovial_fluid", "joint_effusion": "synovial_fluid", "fluid": "synovial_fluid",
    "cavity": "joint_cavity", "capsule": "joint_capsule", "fat": "subcutaneous_fat",
    "subcutaneous_fatty_tissue": "subcutaneous_fat", "subcutaneous_tissue": "subcutaneous_fat",
    "muscles": "muscle", "skeletal_muscle": "muscle", "patellar_ligament": "patellar_tendon",
    "hoffa_fat_pad": "infrapatellar_fat_pad", "hoffas_fat_pad": "infrapatellar_fat_pad",
    "acl": "anterior_cruciate_ligament", "pcl": "posterior_cruciate_ligament",
    "mcl": "medial_collateral_ligament", "lcl": "lateral_collateral_ligament",
    "peroneal_nerve": "common_fibular_nerve", "common_peroneal_nerve": "common_fibular_nerve",
}  # fmt: skip


def recognised(name: str, side: str | None = None) -> str | None:
    """Return the structure that a segment's own name means, None for none.

    Case, blanks and punctuation do not count; "left"/"right" at either end must agree with `side` when given.
    """
    words = "".join(c if c.isalnum() else " " for c in name.lower()).split()
    spoken = {"left": "left", "l": "left", "right": "right", "r": "right"}
    for end in (0, -1):
        if len(words) > 1 and words[end] in spoken:
            if side is not None and spoken[words[end]] != side:
                return None
            words.pop(end)
            break
    key = "_".join(words)
    key = _SYNONYMS.get(key, key)
    for form in (key, key.removesuffix("_bone"), key.removesuffix("_muscle"), key.removeprefix("musculus_")):
        if form in all_structures():
            return form
    return None
