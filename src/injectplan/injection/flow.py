"""Flow of the injectate through the needle: pressure, entrance loss, force, wall shear, Reynolds number."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy.integrate import quad
from scipy.optimize import brentq

from injectplan.documents import SCHEMA, plain
from injectplan.errors import UsageError
from injectplan.injection.values import Flow, Ranged
from injectplan.instruments import Injectate, Needle, Syringe
from injectplan.measure import NOT_A_DEVICE, Notice

LAMINAR_REYNOLDS = 2000.0  # above it the developed laminar formulas do not hold
WALL_STRESSES_PA = (1.0, 10.0, 50.0, 100.0)  # thresholds whose share of flux is given


def _check(value: float, name: str) -> float:
    if not (math.isfinite(value) and value > 0.0):
        raise UsageError(f"{name} is {value:g}: it must be above 0")
    return float(value)


def newtonian_pressure_pa(viscosity_pa_s: float, length_m: float, flow_m3_s: float, bore_m: float) -> float:
    """Developed laminar pressure drop 128 μ L Q / (π d⁴). Hagen 1839, Poiseuille 1840."""
    return 128.0 * viscosity_pa_s * length_m * flow_m3_s / (math.pi * bore_m**4)


def power_law_pressure_pa(
    k_pa_s_n: float, n: float, length_m: float, flow_m3_s: float, bore_m: float
) -> float:
    """Pressure drop of a power-law fluid, (2KL/R)[((3n + 1)/n) Q/(πR³)]ⁿ; n = 1 is Hagen–Poiseuille.

    Bird, Armstrong & Hassager (1987), Dynamics of Polymeric Liquids 1, table 4.2-1.
    """
    radius = 0.5 * bore_m
    return 2.0 * k_pa_s_n * length_m / radius * power_law_wall_rate_1_s(n, flow_m3_s, bore_m) ** n


def power_law_wall_rate_1_s(n: float, flow_m3_s: float, bore_m: float) -> float:
    """Shear rate at the wall ((3n + 1)/n) Q/(πR³), Rabinowitsch's correction included."""
    return (3.0 * n + 1.0) / n * flow_m3_s / (math.pi * (0.5 * bore_m) ** 3)


def generalised_pressure_pa(
    stress_of_rate: Callable[[float], float], length_m: float, flow_m3_s: float, bore_m: float
) -> float:
    """Pressure drop of any shear-thinning law τ(γ), rising in γ, by the Rabinowitsch integral.

    Q = (πR³/τw³) ∫ τ² γ dτ from 0 to τw, solved for the wall's rate. Rabinowitsch (1929).
    """
    radius = 0.5 * bore_m
    tiny = 1e-9

    def flow_at(wall_rate: float) -> float:
        wall = stress_of_rate(wall_rate)
        # by parts: ∫ τ² γ dτ = τw³ γw/3 − (1/3)∫ τ³ dγ
        inner, _ = quad(lambda g: stress_of_rate(g) ** 3, 0.0, wall_rate, limit=200)
        return math.pi * radius**3 * (wall_rate - inner / wall**3) / 3.0

    guess = 4.0 * flow_m3_s / (math.pi * radius**3)
    low, high = guess * tiny, guess
    while flow_at(high) < flow_m3_s:
        high *= 4.0
    rate = brentq(lambda g: flow_at(g) - flow_m3_s, low, high, xtol=tiny * guess, rtol=1e-12)
    return 2.0 * length_m * stress_of_rate(float(rate)) / radius


def flux_fraction_above(wall_stress_pa: float, stress_pa: float, n: float = 1.0) -> float:
    """Share of the flux, so of the cells, that passes where the shear stress exceeds a value.

    Stress grows linearly from the axis, speed is 1 − r^((n + 1)/n); Newtonian: (1 − x²)², x = τ/τw.
    """
    x = stress_pa / wall_stress_pa
    if x >= 1.0:
        return 0.0
    m = (n + 1.0) / n
    return 1.0 - (x * x / 2.0 - x ** (m + 2.0) / (m + 2.0)) / (0.5 - 1.0 / (m + 2.0))


def kinetic_factor(n: float) -> float:
    """Kinetic loss over ρU², by the flux of kinetic energy: 3(3n + 1)²/(2(2n + 1)(5n + 3)); 1 for n = 1."""
    return 3.0 * (3.0 * n + 1.0) ** 2 / (2.0 * (2.0 * n + 1.0) * (5.0 * n + 3.0))


def _at_bore(
    bore_mm: float, needle: Needle, injectate: Injectate, flow_ml_s: float, barrel_mm: float
) -> dict[str, float]:
    """All quantities for one bore, in the document's units."""
    bore, length, flow = bore_mm * 1e-3, needle.length_mm * 1e-3, flow_ml_s * 1e-6
    speed = flow / (math.pi * bore**2 / 4.0)
    n = injectate.n if injectate.k_pa_s_n is not None else 1.0
    k = injectate.k_pa_s_n if injectate.k_pa_s_n is not None else injectate.viscosity_mpa_s * 1e-3
    pressure = power_law_pressure_pa(k, n, length, flow, bore)
    entrance = kinetic_factor(n) * injectate.density_kg_m3 * speed**2
    # Metzner & Reed (1955), doi:10.1002/aic.690010409; for n = 1 it is ρUd/μ
    reynolds = (
        injectate.density_kg_m3 * speed ** (2.0 - n) * bore**n
        / (8.0 ** (n - 1.0) * k * ((3.0 * n + 1.0) / (4.0 * n)) ** n)
    )  # fmt: skip
    return {
        "pressure_kpa": pressure / 1000.0,
        "entrance_loss_kpa": entrance / 1000.0,
        "total_pressure_kpa": (pressure + entrance) / 1000.0,
        "force_n": pressure * math.pi * (barrel_mm * 1e-3) ** 2 / 4.0,
        "wall_shear_pa": pressure * bore / (4.0 * length),
        "wall_shear_rate_1_s": power_law_wall_rate_1_s(n, flow, bore),
        "reynolds": reynolds,
    }


def flow_through_needle(
    needle: Needle,
    injectate: Injectate,
    syringe: Syringe,
    *,
    time_s: float | None = None,
    stresses_pa: Sequence[float] = WALL_STRESSES_PA,
) -> Flow:
    """Developed laminar flow of the injectate through the needle, with the bore's tolerance as low and high.

    time_s : in which `injectate.volume_ml` is pushed; without it `injectate.flow_ml_s` counts.
    `pressure_kpa` and `force_n` are those of developed flow; `entrance_loss_kpa` is the kinetic loss ρU² (by
    the fluid's profile), and the total their sum.  Raises UsageError for numbers that are not above 0.
    """
    flow = injectate.flow_ml_s
    if time_s is not None:
        flow = injectate.volume_ml / _check(time_s, "time_s")
    _check(flow, "flow_ml_s")
    for given, name in ((needle.inner_mm, "needle inner_mm"), (needle.length_mm, "needle length_mm"),
                        (syringe.barrel_mm, "barrel_mm")):  # fmt: skip
        _check(given, name)
    tolerance = min(needle.inner_tolerance_mm, 0.9 * needle.inner_mm)
    bores = (needle.inner_mm, needle.inner_mm - tolerance, needle.inner_mm + tolerance)
    value, narrow, wide = (_at_bore(d, needle, injectate, flow, syringe.barrel_mm) for d in bores)
    ranged = {
        name: Ranged(value=v, low=min(narrow[name], wide[name]), high=max(narrow[name], wide[name]))
        for name, v in value.items()
    }
    n = injectate.n if injectate.k_pa_s_n is not None else 1.0
    notices = []
    if ranged["reynolds"].high > LAMINAR_REYNOLDS:
        message = (
            f"Reynolds number up to {ranged['reynolds'].high:.0f} (laminar below {LAMINAR_REYNOLDS:g}): "
            "the pressure is underestimated; push slower or take a wider needle"
        )
        notices.append(Notice("not-laminar", message))
    entry = 0.06 * ranged["reynolds"].value * needle.inner_mm
    if entry > 0.5 * needle.length_mm:
        notices.append(
            Notice(
                "entrance-length", f"flow develops over {entry:.0f} mm of a {needle.length_mm:g} mm needle"
            )
        )
    wall = ranged["wall_shear_pa"].value
    return Flow(
        **ranged,
        flux_fraction_above_pa={f"{s:g}": flux_fraction_above(wall, s, n) for s in stresses_pa},
        notices=tuple(notices),
    )


def flow_numbers(flow: Flow) -> dict[str, Any]:
    """Return the flow's values as `{value, low, high}` each."""
    names = ("pressure_kpa", "entrance_loss_kpa", "total_pressure_kpa", "force_n", "wall_shear_pa",
             "wall_shear_rate_1_s", "reynolds")  # fmt: skip
    result: dict[str, Any] = {}
    for name in names:
        ranged: Ranged = getattr(flow, name)
        result[name] = {"value": ranged.value, "low": ranged.low, "high": ranged.high}
    result["flux_fraction_above_pa"] = dict(flow.flux_fraction_above_pa)
    return result


def flow_document(flow: Flow) -> dict[str, Any]:
    """Return the flow as the document `flow`."""
    warnings = [notice.to_json() for notice in flow.notices]
    result: dict[str, Any] = plain(
        {"schema": SCHEMA, "purpose": NOT_A_DEVICE, **flow_numbers(flow), "warnings": warnings}
    )
    return result


def carreau(eta0: float, eta_inf: float, time_s: float, n: float) -> Callable[[float], float]:
    """Shear stress of a Carreau fluid over rate, Pa: (η∞ + (η0 − η∞)(1 + (λγ)²)^((n − 1)/2)) γ."""

    def stress(rate: float) -> float:
        thinning = (1.0 + (time_s * rate) ** 2) ** ((n - 1.0) / 2.0)
        return float((eta_inf + (eta0 - eta_inf) * thinning) * rate)

    return stress


def residence_time_s(length_mm: float, mean_speed_mm_s: float, radius_fraction: float) -> float:
    """Time that a cell at r/R spends in the needle, L/(2U(1 − (r/R)²)), Newtonian."""
    return length_mm / (2.0 * mean_speed_mm_s * (1.0 - radius_fraction**2))


def relaxing_volume_ml(
    drive_kpa: float, rest_kpa: float, compliance_ml_kpa: float, resistance_kpa_s_ml: float, time_s: float
) -> float:
    """Volume pushed by a constant pressure into a linear compliance, C(Pd − P0)(1 − exp(−t/RC))."""
    return float(
        compliance_ml_kpa
        * (drive_kpa - rest_kpa)
        * -np.expm1(-time_s / (resistance_kpa_s_ml * compliance_ml_kpa))
    )
