"""What the alignment room gives: `Landmark`, `Angle`, `AlignmentVerdict`, `FieldOfView`, `Alignment`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from injectplan.anatomy.model import Kind, Side
from injectplan.kernels.cast import Floats
from injectplan.measure import Measure, Notice

State = Literal["OK", "INDETERMINATE", "EXCLUDE", "REFUSED"]
Load = Literal["supine", "standing"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Landmark:
    """A point of a bone (or a direction), with its scatter and how it was found.

    position_mm : (3,) patient RAS, None for a direction.  direction : (3,) unit vector, None for a point.
    covariance_mm2 : (3, 3) of the position; for a direction it is in radian² and `sd_mm` is NaN.
    group : landmarks of one group share a surface, so that their errors are correlated.
    surface_sd_mm : the part of `sd_mm` that a new scan of the same bone would show, told by how rough its
        surface is; NaN where no surface tells it.
    """

    position_mm: Floats | None = None
    direction: Floats | None = None
    covariance_mm2: Floats = field(default_factory=lambda: np.zeros((3, 3)))
    method: str = ""
    group: str = ""
    details: Mapping[str, float] = field(default_factory=dict)
    surface_sd_mm: float = math.nan

    @property
    def sd_mm(self) -> float:
        """Root mean square scatter per axis."""
        if self.position_mm is None:
            return math.nan
        return float(math.sqrt(np.trace(self.covariance_mm2) / 3.0))

    def to_json(self) -> dict[str, Any]:
        """Return the document form."""
        sd = self.sd_mm
        document: dict[str, Any] = {
            "sd_mm": sd if math.isfinite(sd) else None,
            "method": self.method,
        }
        if math.isfinite(self.surface_sd_mm):
            document["surface_sd_mm"] = self.surface_sd_mm
        if self.position_mm is not None:
            document["position_mm"] = [float(x) for x in self.position_mm]
            document["covariance_mm2"] = [[float(x) for x in row] for row in self.covariance_mm2]
            if self.group:
                document["group"] = self.group
        if self.direction is not None:
            document["direction"] = [float(x) for x in self.direction]
        document.update({name: float(value) for name, value in self.details.items()})
        return document


@dataclass(frozen=True, slots=True, kw_only=True)
class Angle:
    """An angle (or the axis deviation in mm) with its plane, its sign and its uncertainty.

    interval : 95 % interval by Monte Carlo, NaN where there is no value.
    sd_linear : the standard deviation by linear propagation, beside the Monte Carlo one in `measure.sd`.
    surface_sd : the part of it that a new scan of the same bone would show; NaN where no surface tells it.
    """

    measure: Measure
    plane: str
    sign: str = ""
    interval: tuple[float, float] = (math.nan, math.nan)
    sd_linear: float = math.nan
    surface_sd: float = math.nan

    def to_json(self) -> dict[str, Any]:
        """Return the document form."""
        document = self.measure.to_json() | {"plane": self.plane}
        if self.sign:
            document["sign"] = self.sign
        if all(math.isfinite(x) for x in self.interval):
            document["interval"] = list(self.interval)
        if math.isfinite(self.surface_sd):
            document["surface_sd"] = self.surface_sd
        return document


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldOfView:
    """What of the leg the bones show.

    femur_shaft_mm, tibia_shaft_mm : length of bone seen from the joint line to the end, NaN without the bone.
    """

    femur_shaft_mm: float = math.nan
    tibia_shaft_mm: float = math.nan
    hip_seen: bool = False
    ankle_seen: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the document form."""
        return {
            "femur_shaft_mm": self.femur_shaft_mm if math.isfinite(self.femur_shaft_mm) else None,
            "tibia_shaft_mm": self.tibia_shaft_mm if math.isfinite(self.tibia_shaft_mm) else None,
            "hip_seen": self.hip_seen,
            "ankle_seen": self.ankle_seen,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class AlignmentVerdict:
    """Whether the axial deformity exceeds the limit, as far as these bones can tell.

    angle : the angle judged.  deviation_deg : from its neutral value, varus positive at the knee.
    probability_over_limit : P(|deviation| > limit).  reasons : plain sentences.
    """

    state: State
    angle: str
    deviation_deg: float
    sd_deg: float
    interval_deg: tuple[float, float]
    limit_deg: float
    probability_over_limit: float
    load: Load
    reasons: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the document form."""

        def number(x: float) -> float | None:
            return float(x) if math.isfinite(x) else None

        return {
            "state": self.state,
            "angle": self.angle,
            "deviation_deg": number(self.deviation_deg),
            "sd_deg": number(self.sd_deg),
            "interval_deg": [number(x) for x in self.interval_deg],
            "limit_deg": self.limit_deg,
            "probability_over_limit": number(self.probability_over_limit),
            "load": self.load,
            "reasons": list(self.reasons),
        }


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Alignment:
    """The axial measurements of one leg.

    angles : name → Angle; every name of `definitions.DEFINITIONS` occurs, missing ones with their reason.
    landmarks : name → Landmark, patient RAS mm; what was found or given.
    missing : name → why that landmark is not among them; together they hold every name of `LANDMARK_NAMES`.
    cpak : coronal plane alignment type, I to IX, None when it cannot be told.
    identity_residual_deg : HKA deviation − (mLDFA − MPTA + JLCA), a self-check; NaN when not measurable.
    """

    side: Side
    joint: Kind
    angles: Mapping[str, Angle]
    landmarks: Mapping[str, Landmark]
    field_of_view: FieldOfView
    verdict: AlignmentVerdict
    missing: Mapping[str, str] = field(default_factory=dict)
    cpak: str | None = None
    identity_residual_deg: float = math.nan
    notices: tuple[Notice, ...] = ()
    assumed: tuple[str, ...] = ()
