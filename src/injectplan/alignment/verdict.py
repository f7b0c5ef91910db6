"""The judgement: does the axial deformity exceed the limit, as far as one can tell?"""

from __future__ import annotations

import math

from scipy.special import ndtr

from injectplan.alignment.values import AlignmentVerdict, Load, State

LIMIT_DEG = 10.0
CERTAIN = 0.975
# Supine against standing HKA differs by 1.3 ± 1.1° in absolute value (doi:10.1186/s12891-022-06099-7): as an
# error of unknown sign that is a standard deviation of sqrt(1.3² + 1.1²).
STANDING_SD_DEG = math.hypot(1.3, 1.1)
QUANTILE = 1.959963984540054


def probability_over(deviation_deg: float, sd_deg: float, limit_deg: float) -> float:
    """Return P(|deviation| > limit) for a normal error; exact for sd 0."""
    if sd_deg <= 0.0:
        return float(abs(deviation_deg) > limit_deg)
    above = ndtr((deviation_deg - limit_deg) / sd_deg)
    below = ndtr((-deviation_deg - limit_deg) / sd_deg)
    return float(above + below)


def _state(over: float) -> State:
    return "EXCLUDE" if over >= CERTAIN else "OK" if over <= 1.0 - CERTAIN else "INDETERMINATE"


def judge(
    angle: str,
    deviation_deg: float,
    sd_deg: float,
    *,
    limit_deg: float = LIMIT_DEG,
    load: Load = "supine",
    reasons: tuple[str, ...] = (),
    alone: tuple[float, float] | None = None,
) -> AlignmentVerdict:
    """Return the verdict on one deviation.

    deviation_deg : from the neutral value (knee: 180 − HKA, varus positive).  sd_deg : its uncertainty.
    load : "standing" adds what lying down hides to the uncertainty.
    alone : deviation and scatter that this patient's bones alone tell, where `deviation_deg` was weighed with
        a population. The probability is then the less sure of both, so that a population acquits nobody.
    EXCLUDE when P(|deviation| > limit) ≥ 0.975, OK when ≤ 0.025, else INDETERMINATE.
    """
    if not (math.isfinite(deviation_deg) and math.isfinite(sd_deg)):
        return refuse(angle, reasons or ("the angle could not be measured",), limit_deg=limit_deg, load=load)
    if load == "standing":
        sd_deg = math.hypot(sd_deg, STANDING_SD_DEG)
    over = probability_over(deviation_deg, sd_deg, limit_deg)
    low, high = deviation_deg - QUANTILE * sd_deg, deviation_deg + QUANTILE * sd_deg
    words = {
        "EXCLUDE": f"the deviation of {deviation_deg:+.1f}° exceeds {limit_deg:g}° beyond its uncertainty",
        "OK": f"the deviation of {deviation_deg:+.1f}° stays within {limit_deg:g}° with its uncertainty",
        "INDETERMINATE": f"the 95 % interval {low:.1f}° to {high:.1f}° does not decide about {limit_deg:g}°",
    }
    if alone is not None:
        sd_alone = math.hypot(alone[1], STANDING_SD_DEG if load == "standing" else 0.0)
        bare = probability_over(alone[0], sd_alone, limit_deg)
        if abs(bare - 0.5) < abs(over - 0.5):
            if _state(over) != _state(bare):
                words["INDETERMINATE"] = (
                    f"the bones seen alone tell {alone[0]:+.1f}° ± {sd_alone:.1f}°, which does not decide "
                    f"about {limit_deg:g}°; weighed with what knees usually have it is {deviation_deg:+.1f}°"
                )
            over = bare
    state = _state(over)
    notes = [words[state], *reasons]
    if load == "supine":
        notes.append("measured lying down; standing may differ by 1.3 ± 1.1° (up to 6.5°)")
    return AlignmentVerdict(
        state=state, angle=angle, deviation_deg=deviation_deg, sd_deg=sd_deg, interval_deg=(low, high),
        limit_deg=limit_deg, probability_over_limit=over, load=load, reasons=tuple(notes),
    )  # fmt: skip


def refuse(
    angle: str, reasons: tuple[str, ...], *, limit_deg: float = LIMIT_DEG, load: Load = "supine"
) -> AlignmentVerdict:
    """Return the verdict that there is none, with the reasons."""
    return AlignmentVerdict(
        state="REFUSED", angle=angle, deviation_deg=math.nan, sd_deg=math.nan,
        interval_deg=(math.nan, math.nan), limit_deg=limit_deg, probability_over_limit=math.nan, load=load,
        reasons=reasons,
    )  # fmt: skip
