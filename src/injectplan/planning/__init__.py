"""Needle trajectories: exhaustive search, Pareto front, robustness, exact re-check."""

from injectplan.planning.approaches import APPROACHES, Approach
from injectplan.planning.documents import plan_document
from injectplan.planning.plan import plan_injection
from injectplan.planning.values import (
    Constraints,
    HitProbability,
    Plan,
    Searched,
    Trajectory,
    UltrasoundView,
)

__all__ = [
    "APPROACHES",
    "Approach",
    "Constraints",
    "HitProbability",
    "Plan",
    "Searched",
    "Trajectory",
    "UltrasoundView",
    "plan_document",
    "plan_injection",
]
