"""What planning takes and gives: `Constraints`, `Trajectory`, `Plan`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from injectplan.frames import Pose
from injectplan.imaging.values import Surface
from injectplan.kernels.cast import Floats
from injectplan.measure import Notice, Verdict

DEFAULT_MARGINS_MM: Mapping[str, float] = {
    "artery": 5.0, "vein": 3.0, "nerve": 5.0, "tendon": 1.0, "cartilage": 1.0, "bone": 1.0,
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Constraints:
    """What the search must keep, and how finely it looks.

    margins_mm : risk class → least distance from the needle's wall, hard.
    entry_mm, target_mm : fix one, patient RAS.  forbidden : (center (3,) mm, radius mm) spheres.
    """

    approach: str = "any"
    entries: int = 20000
    targets: int = 64
    margins_mm: Mapping[str, float] = field(default_factory=lambda: dict(DEFAULT_MARGINS_MM))
    targeting_sd_mm: float = 1.63
    entry_mm: Floats | None = None
    target_mm: Floats | None = None
    forbidden: tuple[tuple[Floats, float], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HitProbability:
    """Chance that the tip lies in the cavity: without feedback, its 95 % interval, and with feedback."""

    value: float
    low: float
    high: float
    with_feedback: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class UltrasoundView:
    """How the guiding probe stands and what it will show of the needle."""

    probe_to_patient: Pose
    beam_needle_angle_deg: float
    out_of_plane_mm: float
    window_fraction: float
    depth_mm: float
    visibility: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trajectory:
    """One way of the needle from skin to cavity.

    clearance_mm : structure → least distance from the needle's wall.  margins : risk class → Verdict.
    objectives : name → value, smaller is better; what the Pareto front is made of.
    margin_to_failure_mm : how far the tip may stray before it leaves the cavity or touches anything at risk.
    worst_clearance_mm : risk class → clearance that 95 of 100 attempts exceed.
    """

    rank: int
    approach: str
    technique: Literal["in-plane", "out-of-plane"]
    entry_mm: Floats
    tip_mm: Floats
    length_mm: float
    skin_angle_deg: float
    clearance_mm: Mapping[str, float]
    margins: Mapping[str, Verdict]
    recess: str
    hit_probability: HitProbability
    touch_probability: Mapping[str, float]
    ultrasound: UltrasoundView
    objectives: Mapping[str, float]
    rechecked: bool
    margin_to_failure_mm: float = float("nan")
    worst_clearance_mm: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Searched:
    """What the search looked at, and why pairs were rejected."""

    entries: int
    targets: int
    pairs: int
    feasible: int
    rejected_by: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Plan:
    """The ranked trajectories, at most six distinct ones, each confirmed by the exact re-check.

    skin_quality : per vertex of `skin`, 0 no way in, up to 1; NaN where no entry was tried.
    """

    trajectories: tuple[Trajectory, ...]
    searched: Searched
    pareto_size: int
    skin: Surface
    skin_quality: Floats
    notices: tuple[Notice, ...] = ()
    assumed: tuple[str, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
