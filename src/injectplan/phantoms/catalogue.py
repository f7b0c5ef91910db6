"""All phantoms by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from functools import partial

from injectplan.errors import UsageError
from injectplan.imaging.values import Surface
from injectplan.phantoms import ankle, hip, knee
from injectplan.phantoms.analytic import NAMES, analytic_phantom, table_of
from injectplan.phantoms.ankle import ankle_phantom
from injectplan.phantoms.hip import hip_phantom
from injectplan.phantoms.knee import knee_phantom
from injectplan.phantoms.values import Choice, Parameters, Phantom, Range, Value, effective

_JOINTS = {"knee": knee.TABLE, "hip": hip.TABLE, "ankle": ankle.TABLE}
_BUILDERS: Mapping[str, Callable[[Parameters], Phantom]] = {
    "knee": knee_phantom,
    "hip": hip_phantom,
    "ankle": ankle_phantom,
    **{name: partial(analytic_phantom, name) for name in NAMES},
}


def phantom_names() -> tuple[str, ...]:
    """Names that `make_phantom` knows."""
    return tuple(_BUILDERS)


def make_phantom(name: str, parameters: Parameters | None = None) -> Phantom:
    """Build a phantom by name; an unknown name or parameter raises UsageError."""
    _refuse_unknown(name)
    return _BUILDERS[name](parameters or {})


def phantom_parameters(name: str, parameters: Parameters | None = None) -> dict[str, Value]:
    """Return every parameter a phantom would be built with; a mistake in them raises UsageError."""
    _refuse_unknown(name)
    return effective(name, phantom_table(name), parameters)


def phantom_table(name: str) -> Mapping[str, Range | Choice]:
    """Return a phantom's parameters with their defaults and ranges; an unknown name raises UsageError."""
    _refuse_unknown(name)
    return _JOINTS.get(name) or table_of(name)


def read_parameters(name: str, words: Sequence[str]) -> dict[str, Value]:
    """Turn words NAME=VALUE into a phantom's parameters; a mistake in one raises UsageError that names it.

    What is not a number stays a word, which `effective` refuses where a number is wanted.
    """
    result: dict[str, Value] = {}
    for pair in words:
        parameter, equals, text = pair.partition("=")
        if not (parameter and equals and text):
            raise UsageError(f"--set {pair}: needs the form NAME=VALUE, such as effusion_ml=20")
        if parameter in result:
            raise UsageError(f"--set {parameter}: named twice")
        try:
            result[parameter] = float(text)
        except ValueError:
            result[parameter] = text
    phantom_parameters(name, result)
    return result


def _refuse_unknown(name: str) -> None:
    if name not in _BUILDERS:
        near = get_close_matches(name, _BUILDERS, n=1)
        hint = f", did you mean {near[0]}?" if near else ""
        raise UsageError(f"no phantom {name!r}{hint} (there are {', '.join(_BUILDERS)})")


def phantom_surfaces(name: str, parameters: Parameters | None = None) -> dict[str, Surface]:
    """Fine closed surfaces of a phantom's structures, RAS mm."""
    return dict(make_phantom(name, parameters).surfaces)
