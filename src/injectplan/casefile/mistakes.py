"""Mistakes in a case file, each said with its place and the way out."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any, get_args

from pydantic import ValidationError

from injectplan.casefile.tables import Table
from injectplan.errors import CaseFileError


def _tables_in(annotation: Any) -> Iterator[type[Table]]:
    """Yield the table models that a field's annotation may hold."""
    if isinstance(annotation, type) and issubclass(annotation, Table):
        yield annotation
    for part in get_args(annotation):
        yield from _tables_in(part)


def refuse_unknown_keys(raw: Any, model: type[Table], file: str, place: str) -> None:
    """Raise CaseFileError at the first key that no table knows, naming the nearest known one."""
    if not isinstance(raw, Mapping):
        return
    known = {(f.alias or name): f for name, f in model.model_fields.items()}
    for key, value in raw.items():
        if key not in known:
            near = difflib.get_close_matches(key, list(known), 1, 0.0)
            raise CaseFileError(
                f"{file}: {place}{key}: unknown key; nearest known: {place}{near[0] if near else '(none)'}"
            )
        inner = next(_tables_in(known[key].annotation), None)
        if inner is None:
            continue
        free = str(known[key].annotation).startswith("dict[")
        children = value.items() if free and isinstance(value, Mapping) else [(None, value)]
        for name, child in children:
            here = f"{place}{key}." + (f"{name}." if name else "")
            for i, item in enumerate(child if isinstance(child, list) else [child]):
                label = here if not isinstance(child, list) else f"{place}{key}[{i}]."
                refuse_unknown_keys(item, inner, file, label)


_TYPE_NAMES = ("constrained-float", "constrained-int", "float", "str", "bool")  # pydantic's words for a union


def first_mistake(error: ValidationError) -> str:
    """Return the first mistake: its place in the file, what is wrong, and what stands there."""
    mistake = error.errors(include_url=False)[0]
    place = ""
    for part in mistake["loc"]:
        if isinstance(part, int):
            place += f"[{part}]"
        elif (
            part not in ("constrained-float", "constrained-int", "float", "str", "bool")
            and "literal" not in part
        ):
            place += f".{part}" if place else part
    given = mistake.get("input")
    shown = "" if isinstance(given, Mapping | list) else f" (has {given!r})"
    message = mistake["msg"].removeprefix("Value error, ")
    return f"{place}: {message[0].lower()}{message[1:]}{shown}"
