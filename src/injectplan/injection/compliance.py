"""Pressure in the joint against injected volume, and how much the capsule holds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

KPA_PER_MMHG = 0.133322387


@dataclass(frozen=True, slots=True, kw_only=True)
class Compliance:
    """P(V) = P0 + A (exp(k (V − V0)) − 1) for V > V0, else P0; V is the volume injected into the joint.

    limit_kpa : where fluid leaves through the capsule.
    """

    rest_kpa: float
    scale_kpa: float
    rate_1_ml: float
    flat_ml: float
    limit_kpa: float
    source: str
    assumed: tuple[str, ...]

    def pressure_kpa(self, volume_ml: float) -> float:
        """Pressure after a volume went in."""
        beyond = volume_ml - self.flat_ml
        return self.rest_kpa + (self.scale_kpa * math.expm1(self.rate_1_ml * beyond) if beyond > 0.0 else 0.0)

    def volume_ml(self, pressure_kpa: float) -> float:
        """Volume at a pressure above the resting one: the inverse of `pressure_kpa`."""
        return self.flat_ml + math.log1p((pressure_kpa - self.rest_kpa) / self.scale_kpa) / self.rate_1_ml

    @property
    def capacity_ml(self) -> float:
        """Volume at which the capsule's limit is reached."""
        return self.volume_ml(self.limit_kpa)

    def split(self, volume_ml: float) -> tuple[float, float]:
        """Return (kept, leaked) of an injected volume; they sum to it exactly."""
        kept = min(volume_ml, self.capacity_ml)
        return kept, volume_ml - kept


COMPLIANCE: Mapping[str, Compliance] = {
    "knee": Compliance(
        rest_kpa=-5.0 * KPA_PER_MMHG, scale_kpa=64.2 * KPA_PER_MMHG, rate_1_ml=0.015, flat_ml=0.0,
        limit_kpa=300.0 * KPA_PER_MMHG,
        source="rest −5 ± 1.5 mmHg and 0 after 5 mL (Wood 1988); rate so that 19.5 mL give the 17 mmHg of an "
        "osteoarthritic effusion (doi:10.1136/ard.56.11.686)",
        assumed=("knee pressure-volume curve between and beyond two published points",
                 "knee capsule's limit of 300 mmHg"),
    ),
    "hip": Compliance(
        rest_kpa=0.0, scale_kpa=10.0 * KPA_PER_MMHG, rate_1_ml=0.12, flat_ml=10.0,
        limit_kpa=150.0 * KPA_PER_MMHG,
        source="flat to 10 mL, then exponential (Yen 2009); capsular volume 33 mL",
        assumed=("hip pressure-volume curve's scale and rate", "hip capsule's limit of 150 mmHg"),
    ),
    "ankle": Compliance(
        rest_kpa=0.0, scale_kpa=10.0 * KPA_PER_MMHG, rate_1_ml=math.log1p(14.2) / 18.9, flat_ml=2.0,
        limit_kpa=142.0 * KPA_PER_MMHG,
        source="20.9 mL at 142 mmHg (Draeger 2009)",
        assumed=("ankle pressure-volume curve below its published end point",),
    ),
}  # fmt: skip
