"""Landmark files: the project's JSON, Slicer's `.mrk.json` and `.fcsv`; all become RAS mm."""

from __future__ import annotations

import csv
import difflib
import json
import math
from collections.abc import Container, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from injectplan.alignment.angles import LANDMARK_NAMES
from injectplan.alignment.scatter import MOST_SD_MM, OTHER_SD_MM, RATER_SD_MM, center_point
from injectplan.alignment.schema import alignment_schema
from injectplan.alignment.values import Landmark
from injectplan.anatomy.model import Side
from injectplan.documents import read_text
from injectplan.errors import FileError
from injectplan.frames import flip_lps_ras
from injectplan.kernels.cast import Floats

FARTHEST_MM = 1e5
SAME_PLACE_MM = 1e-5  # an end that two exported axes share, as rounded in the file
LARGEST_BYTES = 20_000_000
UNITS_MM: Mapping[Any, float] = {"mm": 1.0, "cm": 10.0, "m": 1000.0}
SYSTEMS: Mapping[str, str] = {"LPS": "LPS", "RAS": "RAS", "0": "RAS", "1": "LPS"}
# Slicer's own columns, which it reads where a file does not name them.
FCSV_COLUMNS = [
    "id", "x", "y", "z", "ow", "ox", "oy", "oz", "vis", "sel", "lock", "label", "desc", "associatedNodeID",
]  # fmt: skip
# What a file of the project's JSON may hold: what a result holds, and how its coordinates are to be read.
FILE_KEYS = frozenset(alignment_schema()["oneOf"][0]["properties"]) | {"frame", "units"}
ENTRY_KEYS = frozenset(
    {"position_mm", "direction", "sd_mm", "covariance_mm2", "surface_sd_mm", "group", "method", "reason",
     "radius_mm", "residual_mm", "rim_residual_mm", "coverage", "length_mm"}
)  # fmt: skip
SD_AGREES = 0.01  # share by which sd_mm may differ from its covariance's, for rounding (assumed)


def read_landmarks(path: Path) -> tuple[dict[str, Landmark], Side | None]:
    """Read a landmark file by its name's ending; return the landmarks in RAS mm and the side, if told.

    `.json`: `{side, landmarks: {name: {position_mm, sd_mm}}}`, RAS unless `"frame": "LPS"`; `.mrk.json`:
    control points with a label and a position, in the file's coordinate system (LPS where it does not say)
    and units (mm, cm or m; mm where it does not say); `.fcsv`: the same as a table. A landmark without
    `sd_mm` gets the raters' scatter, one with `covariance_mm2` (a result's) that; a result's that is missing
    with a reason is passed over. FileError otherwise: a name or a key that is not known (the nearest is
    told), a coordinate that is no number, a name given twice (an end that two
    markups share is one landmark).
    """
    if path.is_file() and path.stat().st_size > LARGEST_BYTES:
        raise FileError(f"{path.name} is larger than {LARGEST_BYTES // 1_000_000} MB: not a landmark file")
    text = read_text(path).removeprefix("\ufeff")  # the mark that some editors put before UTF-8
    if path.name.endswith(".fcsv"):
        return _fcsv(text, path.name), None
    try:
        document = json.loads(text, object_pairs_hook=lambda pairs: _once(pairs, path.name))
    except (ValueError, RecursionError) as error:
        raise FileError(f"{path.name} is not JSON") from error
    if not isinstance(document, dict):
        raise FileError(f"{path.name} holds no landmarks: it is not a JSON object")
    if "markups" in document:
        return _markups(document, path.name), None
    return _own(document, path.name)


def _once(pairs: list[tuple[str, Any]], where: str) -> dict[str, Any]:
    """A JSON object of which no key stands twice (JSON's own rule would keep the last without a word)."""
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            raise FileError(f"{where}: {key} stands twice; keep one")
        result[key] = value
    return result


def _refuse_unknown(keys: Mapping[str, Any], known: frozenset[str], place: str) -> None:
    """Raise FileError at the first key that is not known, naming the nearest that is."""
    for key in keys:
        if key not in known:
            near = difflib.get_close_matches(key, sorted(known), 1, 0.0)[0]
            raise FileError(f"{place}{key}: unknown key; nearest known: {near}")


def _known(name: str, where: str) -> str:
    """The name without spaces round it; one that no angle and no result knows is refused."""
    name = name.strip()
    if name not in LANDMARK_NAMES:
        near = difflib.get_close_matches(name.lower(), sorted(LANDMARK_NAMES), 1, 0.0)[0]
        raise FileError(f"{where}: landmark {name!r} is not known; nearest known: {near}")
    return name


def _factor(units: Any, where: str) -> float:
    """Millimetres in one unit of a file's coordinates."""
    if not isinstance(units, str) or units not in UNITS_MM:
        raise FileError(f"{where}: coordinate units {units!r} are not mm, cm or m")
    return UNITS_MM[units]


def _system(system: Any, where: str) -> str:
    said = str(system).upper()
    if isinstance(system, bool) or not isinstance(system, (str, int)) or said not in SYSTEMS:
        raise FileError(f"{where}: coordinate system {system!r} is not LPS or RAS")
    return SYSTEMS[said]


def _position(value: Any, name: str, where: str, system: str = "RAS", factor: float = 1.0) -> Floats:
    """A position of the file as RAS mm (3,); numbers only: neither text nor yes and no."""
    numbers = value if isinstance(value, list) else []
    plain = all(isinstance(x, (int, float)) and not isinstance(x, bool) for x in numbers)
    if len(numbers) != 3 or not plain or not all(abs(x) < FARTHEST_MM / factor for x in numbers):
        raise FileError(f"{where}: the position of {name} is not three numbers within {FARTHEST_MM:g} mm")
    position = factor * np.array(numbers, dtype=np.float64)
    return flip_lps_ras(position) if system == "LPS" else position


def _landmark(name: str, position: Floats, sd: Any, where: str) -> Landmark:
    if sd is None:
        sd = RATER_SD_MM.get(name, OTHER_SD_MM)
    if isinstance(sd, bool) or not isinstance(sd, (int, float)) or not 0.0 <= sd <= MOST_SD_MM:
        raise FileError(f"{where}: sd_mm of {name} is not a number of 0 to {MOST_SD_MM:g} mm")
    return center_point(position, float(sd), "given", "")


def _scattered(landmark: Landmark, name: str, entry: Mapping[str, Any], frame: str, where: str) -> Landmark:
    """The landmark with the covariance and the group of its entry, where it has them."""
    group = entry.get("group", "")
    if not isinstance(group, str):
        raise FileError(f"{where}: group of {name} is not a name")
    rows = entry.get("covariance_mm2")
    if rows is None:
        return replace(landmark, group=group)
    numbers = [x for row in rows if isinstance(row, list) for x in row] if isinstance(rows, list) else []
    plain = all(isinstance(x, (int, float)) and not isinstance(x, bool) for x in numbers)
    if len(numbers) != 9 or not plain or not all(abs(x) <= MOST_SD_MM**2 for x in numbers):
        raise FileError(f"{where}: covariance_mm2 of {name} is not three rows of three numbers")
    matrix = np.array(numbers, dtype=np.float64).reshape(3, 3)
    least = float(np.linalg.eigvalsh(matrix).min())
    if not np.allclose(matrix, matrix.T) or least < -1e-9 * max(1.0, float(np.trace(matrix))):
        raise FileError(
            f"{where}: covariance_mm2 of {name} is no covariance (symmetric, no negative variance)"
        )
    sd = math.sqrt(max(float(np.trace(matrix)), 0.0) / 3.0)
    if entry.get("sd_mm") is not None and not math.isclose(landmark.sd_mm, sd, rel_tol=SD_AGREES):
        raise FileError(
            f"{where}: sd_mm of {name} is {landmark.sd_mm:.3g} mm, its covariance_mm2 says {sd:.3g} mm; "
            "give one"
        )
    if frame == "LPS":
        matrix = flip_lps_ras(flip_lps_ras(matrix).T)
    return replace(landmark, covariance_mm2=matrix, group=group)


def _refuse_twice(name: str, known: Container[str], where: str) -> None:
    if name in known:
        raise FileError(f"{where}: {name} stands twice; keep one")


def _own(document: Mapping[str, Any], where: str) -> tuple[dict[str, Landmark], Side | None]:
    entries = document.get("landmarks")
    if "landmarks" in document:
        _refuse_unknown(document, FILE_KEYS, f"{where}: ")
    if not isinstance(entries, dict) or not entries:
        raise FileError(f'{where} holds no "landmarks"')
    side = document.get("side")
    if side not in (None, "left", "right"):
        raise FileError(f'{where}: side {side!r} is not "left" or "right"')
    told = document.get("frame", "RAS")
    frame = told.upper() if isinstance(told, str) else told
    if frame not in ("RAS", "LPS"):
        raise FileError(f'{where}: frame {told!r} is not "RAS" or "LPS"')
    units = document.get("units", "mm")
    if units != "mm":
        raise FileError(f'{where}: units {units!r} contradict "position_mm"; give millimetres')
    result: dict[str, Landmark] = {}
    for label, entry in entries.items():
        name = _known(label, where)
        _refuse_twice(name, result, where)
        if isinstance(entry, dict):
            _refuse_unknown(entry, ENTRY_KEYS, f"{where}: landmarks.{name}.")
        if isinstance(entry, dict) and "reason" in entry and entry.get("position_mm") is None:
            continue  # a result's landmark that its scan did not show
        if not isinstance(entry, dict) or "position_mm" not in entry:
            if isinstance(entry, dict) and "direction" in entry:
                continue  # a result's direction, such as the knee axis, enters no angle
            raise FileError(f"{where}: {name} has no position_mm")
        position = _position(entry["position_mm"], name, where, frame)
        landmark = _landmark(name, position, entry.get("sd_mm"), where)
        result[name] = _scattered(landmark, name, entry, frame, where)
    return result, cast("Side | None", side)


def _markups(document: Mapping[str, Any], where: str) -> dict[str, Landmark]:
    result: dict[str, Landmark] = {}
    markups = document["markups"]
    if not isinstance(markups, list):
        raise FileError(f'{where}: "markups" is not a list')
    for markup in markups:
        if not isinstance(markup, dict):
            raise FileError(f'{where}: an entry of "markups" is not an object')
        system = _system(markup.get("coordinateSystem", "LPS"), where)
        factor = _factor(markup.get("coordinateUnits", "mm"), where)
        points, here = markup.get("controlPoints", []), set[str]()
        if not isinstance(points, list):
            raise FileError(f'{where}: "controlPoints" is not a list')
        for point in points:
            name = point.get("label") if isinstance(point, dict) else None
            if not isinstance(name, str) or not name:
                raise FileError(f"{where}: a control point has no label")
            if point.get("positionStatus", "defined") != "defined":
                continue
            name = _known(name, where)
            position = _position(point.get("position"), name, where, system, factor)
            _refuse_twice(name, here, where)
            here.add(name)
            result.setdefault(name, _landmark(name, position, None, where))
            # two axes may share an end, as those that a result is exported as do
            if np.abs(position - np.asarray(result[name].position_mm)).max() > SAME_PLACE_MM:
                raise FileError(f"{where}: {name} stands twice, at two places; keep one")
    if not result:
        raise FileError(f"{where} holds no control point")
    return result


def _fcsv(text: str, where: str) -> dict[str, Landmark]:
    system, factor, columns = "RAS", 1.0, FCSV_COLUMNS
    result: dict[str, Landmark] = {}
    rows = []
    for line in text.splitlines():
        if line.startswith("#"):
            key, _, value = line[1:].partition("=")
            if key.strip() == "CoordinateSystem":
                system = _system(value.strip(), where)
            elif key.strip() == "coordinateUnits":
                factor = _factor(value.strip(), where)
            elif key.strip() == "columns":
                columns = [c.strip() for c in value.split(",")]
        elif line.strip():
            rows.append(line)
    if not {"x", "y", "z", "label"} <= set(columns):
        raise FileError(f"{where}: the columns {', '.join(columns)} hold no x, y, z and label")
    for row in csv.reader(rows):
        entry = dict(zip(columns, row, strict=False))
        name = entry.get("label", "").strip()
        try:
            numbers = [float(entry[axis]) for axis in "xyz"]
        except (KeyError, ValueError) as error:
            raise FileError(f"{where}: the position of {name or 'a point'} is not three numbers") from error
        position = _position(numbers, _known(name, where), where, system, factor)
        _refuse_twice(name, result, where)
        result[name] = _landmark(name, position, None, where)
    if not result:
        raise FileError(f"{where} holds no point")
    return result
