"""What a bent knee does to the frontal angles: they take some of the flexion for varus or valgus."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from injectplan.alignment.uncertainty import Spread
from injectplan.kernels.cast import Floats

# About which axis a knee bends is known to this: scatter of the epicondylar against the posterior condylar
# line, five raters on 19 femora.
AXIS_SD_DEG = 2.9

# The shin's direction, bent by f in the true sagittal plane, is (0, -sin f, -cos f) in (medial, anterior,
# proximal). In a frame turned by d about the thigh's axis its medial part is sin f sin d. Projected on the
# frontal plane that is an angle of atan(tan f sin d); in space (Grood & Suntay's floating axis, the plateau's
# line) it is asin(sin f sin d). Both are 0 on a straight leg.
PROJECTED = ("hka_deg", "afta_deg", "mad_mm")
IN_SPACE = ("jlca_deg", "grood_suntay_deg.adduction")


def crosstalk_deg(flexion_deg: float, axis_deg: float, *, projected: bool = True) -> float:
    """Return the frontal angle that a bend looks like when seen from this far off its axis, degrees."""
    f, d = math.radians(flexion_deg), math.radians(axis_deg)
    if projected:
        return math.degrees(math.atan2(math.sin(f) * math.sin(d), math.cos(f)))
    return math.degrees(math.asin(math.sin(f) * math.sin(d)))


def opened_deg(flexion_deg: float, deviation_deg: float) -> float:
    """Return by how much a deviation seen on the frontal plane exceeds the one in space.

    A shin that deviates by v and is bent by f is seen at atan(tan v / cos f).
    """
    seen = math.radians(deviation_deg)
    return abs(deviation_deg) - abs(
        math.degrees(math.atan(math.tan(seen) * math.cos(math.radians(flexion_deg))))
    )


def frontal_sd_deg(flexion_deg: float, deviation_deg: float) -> float:
    """Return what a bend of the knee adds to the scatter of HKA: the unknown axis, and the opening."""
    return math.hypot(crosstalk_deg(flexion_deg, AXIS_SD_DEG), opened_deg(flexion_deg, deviation_deg))


def widened(spreads: Mapping[str, Spread], points: Mapping[str, Floats]) -> dict[str, Spread]:
    """Return the spreads with what the knee's flexion adds to those of the frontal angles that cross it.

    points : landmarks, name → (3,) mm; thigh's and shin's lengths turn degrees into the axis deviation's mm.
    """
    bend = spreads.get("knee_flexion_deg")
    if bend is None:
        return dict(spreads)
    result = dict(spreads)
    for name in (*PROJECTED, *IN_SPACE):
        if name not in spreads:
            continue
        more = abs(crosstalk_deg(bend.value, AXIS_SD_DEG, projected=False))
        if name in PROJECTED:
            seen = {"hka_deg": "hka_deg", "mad_mm": "hka_deg"}.get(name, name)
            off = spreads[seen].value - (180.0 if seen == "hka_deg" else 0.0)
            more = frontal_sd_deg(bend.value, off)
        if name == "mad_mm":
            more = math.radians(more) * _lever_mm(points)
        result[name] = widen(spreads[name], more)
    return result


def widen(spread: Spread, more: float) -> Spread:
    """Return the spread with an independent error of this standard deviation; the interval grows alike."""
    sd = math.hypot(spread.sd, more)
    growth = sd / spread.sd if spread.sd > 0.0 else 1.0
    middle = 0.5 * (spread.low + spread.high)
    half = 0.5 * (spread.high - spread.low) * growth if spread.sd > 0.0 else 1.959963984540054 * more
    return Spread(
        value=spread.value, sd=sd, sd_linear=math.hypot(spread.sd_linear, more), low=middle - half,
        high=middle + half,
    )  # fmt: skip


def _lever_mm(points: Mapping[str, Floats]) -> float:
    """Millimetres of axis deviation per radian at the knee: a b / (a + b) of both bones' lengths."""
    thigh = float(np.linalg.norm(points["hip_center"] - points["femoral_knee_center"]))
    shin = float(np.linalg.norm(points["ankle_center"] - points["tibial_knee_center"]))
    return thigh * shin / (thigh + shin)
