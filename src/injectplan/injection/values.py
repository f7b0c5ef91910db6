"""What the injection room gives: `Flow`, `Filling`, `DoseEstimate`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from injectplan.anatomy.model import FillState
from injectplan.kernels.cast import Floats
from injectplan.measure import Notice


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranged:
    """A value with what it becomes at the two ends of the bore's tolerance."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """Flow of the injectate through the needle."""

    pressure_kpa: Ranged
    entrance_loss_kpa: Ranged
    total_pressure_kpa: Ranged
    force_n: Ranged
    wall_shear_pa: Ranged
    wall_shear_rate_1_s: Ranged
    reynolds: Ranged
    flux_fraction_above_pa: Mapping[str, float] = field(default_factory=dict)
    notices: tuple[Notice, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DoseEstimate:
    """What the injection delivers and where it goes; the documents' names and units.

    fill_states : the cavity along the injection, for the guidance preview, first to last.
    dose_surface : structure or defect → {"cells_per_cm2": …, "area_fraction": …, "d95": …, …}.
    """

    flow: Flow
    fill_states: tuple[FillState, ...]
    pressure_kpa_end: float
    dose_volume: Mapping[str, Floats]
    cells: Mapping[str, float]
    dose_surface: Mapping[str, Mapping[str, Floats | float]]
    mass_balance_error: float
    assumed: tuple[str, ...] = ()
    notices: tuple[Notice, ...] = ()
