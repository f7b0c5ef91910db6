"""Which unit a surface's coordinates are in, told from how long the bone is that they should show."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from injectplan.errors import UnitsError
from injectplan.kernels.cast import Floats
from injectplan.measure import Notice

Units = str | float


@dataclass(frozen=True, slots=True)
class _Size:
    """Lengths along a bone's longest axis, mm: least that a scan shows of it, whole bone, its middle.

    width : the least extent across, where a whole bone in centimetres could pass for a part in millimetres.
    """

    part: float
    low: float
    nominal: float
    high: float
    width: float = 0.0


# Whole-bone ranges of adults with a margin for the small and the tall, all assumed: they only have to tell
# one unit from another. `part` is the least that a joint's scan shows.
_SIZES = {
    "femur": _Size(40, 330, 445, 580, 25), "tibia": _Size(35, 270, 370, 480, 20),
    "fibula": _Size(12, 270, 360, 470), "hip_bone": _Size(60, 170, 215, 270),
    "sacrum": _Size(40, 80, 110, 150), "patella": _Size(20, 28, 44, 62),
    "talus": _Size(25, 40, 58, 78), "calcaneus": _Size(30, 55, 80, 105),
}  # fmt: skip
_ANYTHING_MM = (0.5, 2500.0)  # of structures that are no bone: a small vessel's piece to the skin of a leg
_NAMED = {"mm": 1.0, "cm": 10.0, "m": 1000.0}
_TRIED = ("mm", "m", "cm")


def extents(points: Floats) -> tuple[float, float]:
    """Longest and second extent of points (n, 3) along their principal axes, in their own unit."""
    if len(points) < 2:
        return 0.0, 0.0
    centred = points - points.mean(axis=0)
    axes = np.linalg.eigh(centred.T @ centred)[1]
    sizes = np.sort(np.ptp(centred @ axes, axis=0))
    return float(sizes[2]), float(sizes[1])


def _plausible(name: str, sizes: tuple[float, float], scale: float) -> bool:
    size = _SIZES.get(name)
    low, high = (size.part, 1.15 * size.high) if size else _ANYTHING_MM
    return low <= sizes[0] * scale <= high and sizes[1] * scale >= (size.width if size else 0.0)


def mm_per_unit(points: Mapping[str, Floats], units: Units = "auto") -> tuple[float, tuple[Notice, ...]]:
    """Return the millimetres a unit for surfaces of one frame, and what was recognised.

    points : structure name → vertices (n, 3).  units : "auto", "mm", "cm", "m" or millimetres a unit.
    Explicit and implausible raises UnitsError, and so does "auto" where nothing fits.
    """
    sizes_of = {name: extents(where) for name, where in points.items() if len(where)}
    if units == "auto":
        return _recognise(sizes_of)
    scale = _NAMED.get(units) if isinstance(units, str) else float(units)
    if scale is None and isinstance(units, str):
        try:
            scale = float(units)
        except ValueError:
            scale = math.nan
    if scale is None or not math.isfinite(scale) or scale <= 0:
        raise UnitsError(
            f"units '{units}' are not known; give auto, mm, cm, m or millimetres a unit, as 200.0"
        )
    for name, sizes in sizes_of.items():
        if not _plausible(name, sizes, scale):
            size = _SIZES.get(name)
            limits = f"{size.part:g} to {size.high:g}" if size else "{:g} to {:g}".format(*_ANYTHING_MM)
            raise UnitsError(
                f"{name} is {sizes[0] * scale:.4g} mm long in units '{units}', must be {limits} mm; "
                f"give --units auto or the right unit"
            )
    return scale, ()


def _recognise(lengths: Mapping[str, tuple[float, float]]) -> tuple[float, tuple[Notice, ...]]:
    known = {name: length for name, length in lengths.items() if name in _SIZES} or dict(lengths)
    bones = any(name in _SIZES for name in known)
    for unit in _TRIED:
        if all(_plausible(name, sizes, _NAMED[unit]) for name, sizes in known.items()):
            if unit == "cm" and not bones:
                continue
            said = "; ".join(f"{n} {v[0] * _NAMED[unit]:.0f} mm long" for n, v in list(known.items())[:3])
            return _NAMED[unit], (Notice("units-recognised", f"coordinates taken as {unit}: {said}"),)
    longest = next((name for name in _SIZES if name in known), None)
    if longest is None or known[longest][0] <= 0:
        name, (length, _) = next(iter(known.items()), ("the surface", (0.0, 0.0)))
        raise UnitsError(f"{name} is {length:.4g} units long, which fits no unit; give --units")
    size = _SIZES[longest]
    scale = size.nominal / known[longest][0]
    for name, sizes in known.items():
        if not _plausible(name, sizes, scale):
            raise UnitsError(
                f"{name} is {sizes[0] * scale / size.nominal:.3g} times as long as the {longest}, no unit "
                f"fits both; give the surfaces in one unit"
            )
    return scale, (
        Notice(
            "units-assumed",
            f"no unit fits: taken as {scale:.1f} mm a unit, with the {longest} {size.nominal:.0f} mm long",
            longest,
        ),
    )
