"""Colour mode: how fast the injectate moves along the beam, as a scanner's lag-1 estimator would say."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from injectplan.anatomy.model import FillState
from injectplan.errors import BadInputError
from injectplan.instruments import Probe
from injectplan.kernels import colour as kernels
from injectplan.kernels.cast import Floats, Floats32
from injectplan.kernels.line_values import C0

JET_SPREAD = 1.0 / 12.0  # width of a round jet per way, so that its axis keeps 6·d·v/s (Pope 2000, 5.1)
FAINT = 1e-3  # two-way transmission under which no colour is received (assumed)


@dataclass(frozen=True, slots=True, kw_only=True)
class ColourMode:
    """A scanner's colour settings.

    prf_hz : pulses a second.  frequency_mhz : 0 = the probe's.  noise_rad : sd of the estimated phase
    (assumed).  wall_filter_mm_s : slower than this is not coloured (assumed).  steer_deg : of the colour
    beams of a linear probe, towards +x, so that a needle along the skin has flow to show (assumed).
    """

    prf_hz: float = 5000.0
    frequency_mhz: float = 0.0
    noise_rad: float = 0.1
    wall_filter_mm_s: float = 25.0
    steer_deg: float = 15.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.prf_hz) and 100.0 <= self.prf_hz <= 50_000.0):
            raise BadInputError(f"colour prf_hz is {self.prf_hz}, must lie in 100 to 50000")
        for key, limit in (("frequency_mhz", 30.0), ("noise_rad", 3.0), ("wall_filter_mm_s", 1e4)):
            value = getattr(self, key)
            if not 0.0 <= value <= limit:
                raise BadInputError(f"colour {key} is {value}, must lie in 0 to {limit:g}")

        if not abs(self.steer_deg) <= 30.0:
            raise BadInputError(f"colour steer_deg is {self.steer_deg}, must lie in -30 to 30")

    def radians_per_mm_s(self, probe: Probe) -> float:
        """Phase between two pulses for 1 mm/s along the beam: 4π·f/(c·PRF)."""
        f_hz = 1e6 * (self.frequency_mhz or probe.frequency_mhz)
        return 4.0 * math.pi * f_hz / (1e6 * C0 * self.prf_hz)

    def nyquist_mm_s(self, probe: Probe) -> float:
        """Speed along the beam beyond which colour wraps: c·PRF/(4·f)."""
        return math.pi / self.radians_per_mm_s(probe)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ColourMap:
    """Speed along the beam per pixel: velocity_mm_s (h, w) float32, towards the probe positive, NaN: none."""

    velocity_mm_s: Floats32
    nyquist_mm_s: float


def colour_map(
    state: FillState | None, mode: ColourMode, probe: Probe, *, bore_mm: float, to_patient: Floats,
    scan: Any, samples: int, directions: Floats, labels: Any, fluid: int, shadow: Floats32, seed: int,
) -> ColourMap:  # fmt: skip
    """Colour one frame from a fill state's jet; without a jet nothing is coloured.

    bore_mm : inner diameter that the jet leaves.  The rest is the frame's: see `draw_colour`.
    """
    velocity = np.full(labels.shape, np.nan, np.float32)
    radians = mode.radians_per_mm_s(probe)
    jet = _jet(state, bore_mm)
    if jet is not None:
        kernels.draw_colour(
            jet, kernels.Pulses(radians, float(mode.noise_rad), float(mode.wall_filter_mm_s)), to_patient,
            scan, samples, directions, labels, fluid, shadow, FAINT, seed, velocity,
        )  # fmt: skip
    velocity.setflags(write=False)
    return ColourMap(velocity_mm_s=velocity, nyquist_mm_s=mode.nyquist_mm_s(probe))


def _jet(state: FillState | None, bore_mm: float) -> kernels.Jet | None:
    if state is None or state.jet_origin_mm is None or state.jet_direction is None:
        return None
    if not state.jet_speed_mm_s > 0.0:
        return None
    way = np.array(state.jet_direction, dtype=np.float64)
    origin = np.array(state.jet_origin_mm, dtype=np.float64)
    return kernels.Jet(
        origin, way / np.linalg.norm(way), bore_mm / 2.0, float(state.jet_speed_mm_s), JET_SPREAD
    )
