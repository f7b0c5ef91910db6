"""Probes, needles, syringes and injectates, and their catalogues with sources."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# Filled in with the catalogues, see the functions at the end.


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """A transducer and the controls a sonographer has.

    Linear: `width_mm` is the face's width.  Curvilinear: `radius_mm` and `angle_deg` (full fan).
    bandwidth : pulse-echo, fraction.  f_number : receive; transmit_f_number : transmit, 0 = as receive.
    elevation_planes : sub-rays across the slice.  raw : the physics alone, one look.
    """

    name: str = "inline"
    kind: Literal["linear", "curvilinear"] = "linear"
    frequency_mhz: float = 10.0
    bandwidth: float = 0.6
    lines: int = 192
    width_mm: float = 38.0
    radius_mm: float = 60.0
    angle_deg: float = 60.0
    depth_mm: float = 40.0
    focus_mm: float = 20.0
    f_number: float = 2.0
    transmit_f_number: float = 0.0
    elevation_focus_mm: float = 20.0
    elevation_aperture_mm: float = 5.0
    elevation_planes: int = 9
    steer_deg: float = 0.0
    compounding_deg: tuple[float, ...] = ()
    gain_db: float = 0.0
    tgc_db: tuple[float, ...] = ()
    dynamic_range_db: float = 60.0
    raw: bool = True
    source: str = ""
    assumed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Needle:
    """A straight hollow steel needle."""

    gauge: float = 22
    length_mm: float = 50.0
    outer_mm: float = 0.718
    inner_mm: float = 0.413
    inner_tolerance_mm: float = 0.019
    bevel_deg: float = 18.0
    source: str = ""
    assumed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Syringe:
    """A syringe by its barrel's inner diameter."""

    volume_ml: float = 5.0
    barrel_mm: float = 12.06
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Injectate:
    """What is injected. Newtonian with `viscosity_mpa_s`, or a power law when `k_pa_s_n` is given."""

    kind: str = "saline"
    volume_ml: float = 5.0
    flow_ml_s: float = 0.25
    cells_million: float = 0.0
    viscosity_mpa_s: float = 1.0
    k_pa_s_n: float | None = None
    n: float = 1.0
    density_kg_m3: float = 1005.0
    tissue: str = "water"
    source: str = ""
    assumed: tuple[str, ...] = ()
