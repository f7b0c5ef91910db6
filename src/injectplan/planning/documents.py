"""The plan as a document; an unconfirmed trajectory never leaves the program."""

from __future__ import annotations

from typing import Any

from injectplan.documents import SCHEMA, plain
from injectplan.errors import UnconfirmedPlanError
from injectplan.measure import NOT_A_DEVICE
from injectplan.planning.values import Plan, Trajectory


def confirmed(plan: Plan) -> tuple[Trajectory, ...]:
    """Return the plan's trajectories; one that the exact re-check did not confirm raises instead."""
    for trajectory in plan.trajectories:
        broken = [v for v in trajectory.margins.values() if v.known and not v.kept]
        if not trajectory.rechecked or broken:
            why = f"breaks {broken[0].constraint}" if broken else "was not re-checked"
            raise UnconfirmedPlanError(f"trajectory {trajectory.rank} {why}: plan again before exporting")
    return plan.trajectories


def _trajectory(t: Trajectory) -> dict[str, Any]:
    view = t.ultrasound
    return {
        "rank": t.rank,
        "approach": t.approach,
        "technique": t.technique,
        "entry_mm": t.entry_mm,
        "tip_mm": t.tip_mm,
        "length_mm": t.length_mm,
        "skin_angle_deg": t.skin_angle_deg,
        "clearance_mm": dict(t.clearance_mm),
        "margins": {name: verdict.state for name, verdict in t.margins.items()},
        "recess": t.recess,
        "hit_probability": {
            "value": t.hit_probability.value,
            "low": t.hit_probability.low,
            "high": t.hit_probability.high,
            "with_feedback": t.hit_probability.with_feedback,
        },
        "touch_probability": dict(t.touch_probability),
        "worst_clearance_mm": dict(t.worst_clearance_mm),
        "margin_to_failure_mm": t.margin_to_failure_mm,
        "ultrasound": {
            "probe_to_patient": view.probe_to_patient.matrix,
            "beam_needle_angle_deg": view.beam_needle_angle_deg,
            "out_of_plane_mm": view.out_of_plane_mm,
            "window_fraction": view.window_fraction,
            "depth_mm": view.depth_mm,
            "visibility": view.visibility,
        },
        "objectives": dict(t.objectives),
        "rechecked": t.rechecked,
    }


def plan_document(plan: Plan) -> dict[str, Any]:
    """Return the plan as the document `plan`: RAS mm, best first, `schema` 1.

    Raises UnconfirmedPlanError when a trajectory was not confirmed by the exact re-check.
    """
    searched = plan.searched
    document = {
        "schema": SCHEMA,
        "purpose": NOT_A_DEVICE,
        "searched": {
            "entries": searched.entries,
            "targets": searched.targets,
            "pairs": searched.pairs,
            "feasible": searched.feasible,
            "rejected_by": dict(searched.rejected_by),
        },
        "trajectories": [_trajectory(t) for t in confirmed(plan)],
        "pareto_size": plan.pareto_size,
        "warnings": [notice.to_json() for notice in plan.notices],
        "assumed": list(plan.assumed),
        "seconds": {key: plan.seconds.get(key, 0.0) for key in ("model", "search", "recheck", "total")},
    }
    result: dict[str, Any] = plain(document)
    return result
