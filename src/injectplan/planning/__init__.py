"""Needle trajectories: exhaustive search, Pareto front, robustness, exact re-check.

Each name is imported when it is first used.
"""

from typing import TYPE_CHECKING

from injectplan.lazy import names_on_use

if TYPE_CHECKING:
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

__getattr__ = names_on_use(
    __name__,
    {
        "approaches": ("APPROACHES", "Approach"),
        "documents": ("plan_document",),
        "plan": ("plan_injection",),
        "values": ("Constraints", "HitProbability", "Plan", "Searched", "Trajectory", "UltrasoundView"),
    },
)
