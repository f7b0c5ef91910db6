"""Where the injected fluid and its cells go: filling, settling, dose histograms, with an exact balance."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from injectplan.anatomy.cavity import fill_cavity
from injectplan.anatomy.model import Cavity, Defect, FillState, JointModel
from injectplan.documents import SCHEMA, plain
from injectplan.errors import NothingToMeasureError
from injectplan.frames import unit
from injectplan.imaging.values import Surface
from injectplan.injection.compliance import COMPLIANCE, Compliance
from injectplan.injection.flow import flow_numbers, flow_through_needle
from injectplan.injection.values import DoseEstimate
from injectplan.instruments import Injectate, Needle, Syringe, syringe_of
from injectplan.kernels.bvh import nearest_points
from injectplan.kernels.cast import Bools, Floats
from injectplan.kernels.spread import column_heights, columns_over
from injectplan.measure import NOT_A_DEVICE, Notice
from injectplan.planning.values import Trajectory

Progress = Callable[[str, float], None]
Filler = Callable[[Cavity, float, Floats], FillState]

UP = np.array([0.0, 1.0, 0.0])  # supine: gravity acts towards posterior, RAS −A
CELL_DIAMETER_UM = 17.5  # mesenchymal stromal cells in suspension, 15–20 µm (assumed)
CELL_EXCESS_KG_M3 = 55.0  # density above the medium (assumed)
REST_S = 600.0  # lying still after the injection (assumed; > 60 % attach in 10 min, Koga 2008)
GRAVITY_M_S2 = 9.81
LARGEST_SYRINGE_ML = 20.0  # more is given by several of these
STEPS = 4  # filling states kept along the injection
COLUMN_MM = 0.5  # spacing of the vertical lines that measure the fluid
ARTICULAR_MM = 0.6  # cartilage vertices nearer to bone than this are its deep side (assumed)
HISTOGRAM = 51


def settling_speed_mm_s(viscosity_mpa_s: float) -> float:
    """Stokes speed of one cell, Δρ g d²/(18 μ), mm/s. Stokes (1851)."""
    diameter = CELL_DIAMETER_UM * 1e-6
    return CELL_EXCESS_KG_M3 * GRAVITY_M_S2 * diameter**2 / (18.0 * viscosity_mpa_s * 1e-3) * 1e3


def settled_fraction(height_mm: Floats | float, speed_mm_s: float, time_s: float) -> Floats:
    """Share of a still column's cells that has reached its floor, min(1, v t/H); 0 for an empty column."""
    height = np.asarray(height_mm, dtype=float)
    fallen = np.full_like(height, speed_mm_s * time_s)
    return np.minimum(1.0, np.divide(fallen, height, out=np.zeros_like(height), where=height > 0))


def histogram(dose: Floats, area: Floats) -> dict[str, Floats | float]:
    """Cumulative dose–surface histogram: share of the area that gets at least a dose, and D95, D50, D2.

    dose : (n,) per cm²; area : (n,) any unit.  Dx is the dose that x % of the area exceeds or equals.
    """
    total = float(area.sum())
    order = np.argsort(-dose, kind="stable")
    reached = np.cumsum(area[order]) / total if total > 0 else np.zeros(len(dose))

    def at_least(percent: float) -> float:
        if total <= 0:
            return 0.0
        k = int(np.searchsorted(reached, percent / 100.0 - 1e-12))
        return float(dose[order][min(k, len(dose) - 1)])

    levels = np.linspace(0.0, float(dose.max(initial=0.0)), HISTOGRAM)
    ascending, tail = np.sort(dose), np.concatenate([np.cumsum(area[np.argsort(dose)][::-1])[::-1], [0.0]])
    reach = tail[np.searchsorted(ascending, levels - 1e-12 * levels[-1], side="left")]
    share = reach / total if total > 0 else 0.0 * levels
    return {
        "cells_per_cm2": levels, "area_fraction": np.clip(share, 0.0, 1.0),
        "d95": at_least(95.0), "d50": at_least(50.0), "d2": at_least(2.0), "area_cm2": total / 100.0,
    }  # fmt: skip


def _articular(joint: JointModel, surface: Surface) -> Bools:
    """Which vertices of a cartilage lie on its free side."""
    nearest = np.full(len(surface.vertices_mm), np.inf)
    for bone in joint.at_risk("bone").values():
        away = nearest_points(bone.surface.bvh, surface.vertices_mm, 10.0)[0]
        nearest = np.fmin(nearest, away)
    free: Bools = nearest > ARTICULAR_MM
    return free if free.any() else np.ones(len(nearest), bool)


def _within(defect: Defect, vertices: Floats) -> Bools:
    """Which vertices belong to a defect: near its surface when it has one, else within its equal circle."""
    if defect.surface is not None and len(defect.surface.triangles):
        away = nearest_points(defect.surface.bvh, vertices, 5.0)[0]
        near: Bools = away <= 1.0
        return near
    radius = max(math.sqrt(defect.area_mm2 / math.pi), 1.0)
    inside: Bools = np.linalg.norm(vertices - defect.center_mm, axis=1) <= radius
    return inside


def _columns(fluid: Surface) -> Floats:
    """Heights of the fluid's vertical stretches on a regular grid of lines, mm."""
    low, high = fluid.bounds_mm
    across = [np.arange(low[a] + 0.5 * COLUMN_MM, high[a], COLUMN_MM) for a in (0, 2)]
    r, s = (axis.ravel() for axis in np.meshgrid(*across, indexing="ij"))
    starts = np.stack([r, np.full_like(r, low[1] - 1.0), s], axis=1)
    return column_heights(fluid.bvh, starts, UP)


def deposit(
    joint: JointModel, fluid: Surface, cells: float, speed_mm_s: float, rest_s: float
) -> tuple[dict[str, float], dict[str, dict[str, Floats | float]]]:
    """Settle `cells` that float evenly in the fluid; return the balance and the dose–surface histograms.

    The cells of a column of height H reach its floor in the share min(1, v t/H). What stands on the free
    side of cartilage lands there, the rest of what settled on other surfaces. All parts sum to `cells`.
    """
    heights = _columns(fluid)
    volume = float(heights.sum())
    if volume <= 0.0:
        return {"on_cartilage": 0.0, "on_defect": 0.0, "on_other_surface": 0.0, "suspended": cells}, {}
    fallen = heights * settled_fraction(heights, speed_mm_s, rest_s)
    settled = cells * float(fallen.sum()) / volume
    per_mm3 = cells / (volume * COLUMN_MM**2)
    doses: dict[str, tuple[Floats, Floats, Surface, Bools]] = {}
    on_cartilage = 0.0
    for name, structure in joint.at_risk("cartilage").items():
        surface = structure.surface
        if not len(surface.triangles):
            continue
        free = _articular(joint, surface)
        facing = np.maximum(surface.vertex_normals @ UP, 0.0) * free
        height = np.zeros(len(facing))
        upward = facing > 0.0
        if upward.any():
            height[upward] = columns_over(fluid.bvh, surface.vertices_mm[upward], UP)
        area = surface.vertex_areas_mm2
        dose = per_mm3 * facing * np.minimum(height, speed_mm_s * rest_s)  # cells per mm²
        doses[name] = (dose, area, surface, free)
        on_cartilage += float(dose @ area)
    scale = min(1.0, settled / on_cartilage) if on_cartilage > 0.0 else 1.0
    on_cartilage *= scale
    histograms = {}
    for name, (dose, area, _, free) in doses.items():
        histograms[name] = histogram(scale * dose[free] * 100.0, area[free])
    reached: dict[str, Bools] = {}  # defects of one place, seen by two means, are counted once
    for number, defect in enumerate(joint.defects, start=1):
        if defect.structure in doses:
            dose, area, surface, free = doses[defect.structure]
            part = free & _within(defect, surface.vertices_mm)
            if part.any():
                key = f"defect_{number}_{defect.structure}"
                histograms[key] = histogram(scale * dose[part] * 100.0, area[part])
                reached[defect.structure] = part | reached.get(defect.structure, part)
    on_defect = sum(scale * float(doses[n][0][part] @ doses[n][1][part]) for n, part in reached.items())
    balance = {
        "on_cartilage": on_cartilage, "on_defect": min(on_defect, on_cartilage),
        "on_other_surface": settled - on_cartilage, "suspended": cells - settled,
    }  # fmt: skip
    return balance, histograms


def _fill_states(
    joint: JointModel, trajectory: Trajectory, injectate: Injectate, needle: Needle, compliance: Compliance,
    fill: Filler, say: Progress,
) -> tuple[FillState, ...]:  # fmt: skip
    """Fill the cavity step by step; what the capsule does not hold is leaked on top of what filling leaks."""
    bore_mm2 = math.pi * needle.inner_mm**2 / 4.0
    direction = unit(trajectory.tip_mm - trajectory.entry_mm)
    states = []
    for k in range(1, STEPS + 1):
        volume = injectate.volume_ml * k / STEPS
        kept, _ = compliance.split(volume)
        state = fill(joint.cavity, kept, trajectory.tip_mm)
        inside = max(0.0, kept - state.leaked_ml)
        states.append(
            replace(
                state, injected_ml=volume, in_cavity_ml=inside, leaked_ml=volume - inside,
                jet_origin_mm=trajectory.tip_mm, jet_direction=direction,
                jet_speed_mm_s=0.0 if k == STEPS else injectate.flow_ml_s * 1000.0 / bore_mm2,
            )
        )  # fmt: skip
        say("filling", 0.6 * k / STEPS)
    return tuple(states)


def _assumptions(
    joint: JointModel, injectate: Injectate, compliance: Compliance, cells: bool
) -> tuple[str, ...]:
    result = [
        *compliance.assumed,
        *joint.cavity.assumed,
        *(f"injectate.{name} = {getattr(injectate, name)}" for name in injectate.assumed),
    ]
    result.append("the person lies supine: gravity acts towards posterior")
    if cells:
        result += [
            f"cells of {CELL_DIAMETER_UM:g} µm, {CELL_EXCESS_KG_M3:g} kg/m³ denser than the fluid, mixed",
            f"{REST_S / 60:g} min at rest; a cell that reaches a surface stays there",
            "the fluid in the joint is as thin as the injectate; no cell is cleared while at rest",
        ]
    return tuple(dict.fromkeys(result))


def estimate_dose(
    trajectory: Trajectory,
    joint: JointModel,
    injectate: Injectate,
    needle: Needle,
    *,
    syringe: Syringe | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    fill: Filler = fill_cavity,
) -> DoseEstimate:
    """Estimate what an injection along a trajectory delivers and where it goes.

    Flow through the needle, filling of the cavity from the tip, leak beyond the capsule's limit, cells
    settling by Stokes onto what faces up. Injected = in the cavity + leaked, and cells likewise, exactly.
    seed : kept for the day a step needs chance; nothing here does.  Raises NothingToMeasureError when the
    cavity takes up no fluid.
    """
    say = progress or (lambda label, fraction: None)
    compliance = COMPLIANCE[joint.kind]
    flow = flow_through_needle(
        needle, injectate, syringe or syringe_of(min(injectate.volume_ml, LARGEST_SYRINGE_ML))
    )
    states = _fill_states(joint, trajectory, injectate, needle, compliance, fill, say)
    last = states[-1]
    cells = float(injectate.cells_million)
    leaked = cells * last.leaked_ml / last.injected_ml
    inside = cells - leaked
    if last.fluid is None and inside > 0.0:
        raise NothingToMeasureError(
            f"the cavity takes up none of {injectate.volume_ml:g} mL: the tip lies outside it; plan again"
        )
    say("settling", 0.7)
    viscosity = injectate.viscosity_mpa_s if injectate.k_pa_s_n is None else injectate.k_pa_s_n * 1e3
    if last.fluid is not None:
        balance, histograms = deposit(joint, last.fluid, inside * 1e6, settling_speed_mm_s(viscosity), REST_S)
    else:
        balance = dict.fromkeys(("on_cartilage", "on_defect", "on_other_surface", "suspended"), 0.0)
        histograms = {}
    millions = {name: value / 1e6 for name, value in balance.items()}
    table = {"injected": cells, **millions, "leaked": leaked, "cleared": 0.0}
    parts = sum(table[k] for k in ("on_cartilage", "on_other_surface", "suspended", "leaked", "cleared"))
    volume_error = abs(last.injected_ml - last.in_cavity_ml - last.leaked_ml) / last.injected_ml
    notices = list(flow.notices)
    if last.leaked_ml > 0.0:
        notices.append(
            Notice("leak", f"{last.leaked_ml:.2f} of {last.injected_ml:.2f} mL leave the cavity", None)
        )
    say("dose", 1.0)
    return DoseEstimate(
        flow=flow,
        fill_states=states,
        pressure_kpa_end=compliance.pressure_kpa(last.in_cavity_ml),
        dose_volume=_dose_volume(joint.cavity, states, compliance),
        cells=table,
        dose_surface=histograms,
        mass_balance_error=max(volume_error, abs(cells - parts) / cells if cells > 0.0 else 0.0),
        assumed=_assumptions(joint, injectate, compliance, cells > 0.0),
        notices=tuple(notices),
    )


def _dose_volume(
    cavity: Cavity, states: tuple[FillState, ...], compliance: Compliance
) -> Mapping[str, Floats]:
    """Return the filling along the injection: columns of one length, injected volume first.

    Recesses hold their resting fluid at the start, and with it at every later step.
    """
    resting = {recess.name: recess.volume_ml for recess in cavity.recesses}
    names = sorted({name for state in states for name in state.recess_ml})
    rows: dict[str, list[float]] = {"injected_ml": [0.0], "in_cavity_ml": [0.0], "leaked_ml": [0.0]}
    rows |= {f"{name}_ml": [resting.get(name, 0.0)] for name in names}
    rows["pressure_kpa"] = [compliance.pressure_kpa(0.0)]
    for state in states:
        rows["injected_ml"].append(state.injected_ml)
        rows["in_cavity_ml"].append(state.in_cavity_ml)
        rows["leaked_ml"].append(state.leaked_ml)
        for name in names:
            rows[f"{name}_ml"].append(float(state.recess_ml.get(name, 0.0)))
        rows["pressure_kpa"].append(compliance.pressure_kpa(state.in_cavity_ml))
    return {name: np.array(values) for name, values in rows.items()}


def dose_document(dose: DoseEstimate) -> dict[str, Any]:
    """Return the dose as the document `dose`; cells in millions, doses in cells/cm²."""
    last = dose.fill_states[-1]
    document = {
        "schema": SCHEMA,
        "purpose": NOT_A_DEVICE,
        "flow": flow_numbers(dose.flow),
        "filling": {
            "injected_ml": last.injected_ml,
            "in_cavity_ml": last.in_cavity_ml,
            "leaked_ml": last.leaked_ml,
            "pressure_kpa_end": dose.pressure_kpa_end,
            "recesses": dict(last.recess_ml),
        },
        "dose_volume": dict(dose.dose_volume),
        "cells": dict(dose.cells),
        "dose_surface": {name: dict(entry) for name, entry in dose.dose_surface.items()},
        "mass_balance_error": dose.mass_balance_error,
        "assumed": list(dose.assumed),
        "warnings": [notice.to_json() for notice in dose.notices],
    }
    result: dict[str, Any] = plain(document)
    return result
