"""The plan as a table (`plan.csv`) and as a quality map on the skin (`skin_map.vtp`)."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from injectplan.files import atomic_file
from injectplan.imaging import write_surface
from injectplan.measure import NOT_A_DEVICE
from injectplan.planning.documents import confirmed
from injectplan.planning.values import Plan

_COLUMNS = (
    "rank", "approach", "technique", "recess", "entry_r_mm", "entry_a_mm", "entry_s_mm", "tip_r_mm",
    "tip_a_mm", "tip_s_mm", "length_mm", "skin_angle_deg", "nearest_structure",
    "nearest_clearance_mm", "hit_probability",
    "hit_probability_with_feedback", "margin_to_failure_mm", "beam_needle_angle_deg", "window_fraction",
    "depth_mm", "visibility",
)  # fmt: skip


def write_plan_csv(plan: Plan, path: str | Path) -> None:
    """Write one row a trajectory, RAS mm; `clearance_<structure>_mm` columns follow the fixed ones.

    Raises UnconfirmedPlanError for a trajectory that the exact re-check did not confirm.
    """
    trajectories = confirmed(plan)
    structures = sorted({name for t in trajectories for name in t.clearance_mm})
    with atomic_file(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*_COLUMNS, *(f"clearance_{name}_mm" for name in structures), "purpose"])
        for t in trajectories:
            nearest = min(t.clearance_mm, key=lambda name: t.clearance_mm[name], default="")
            numbers = [
                *t.entry_mm, *t.tip_mm, t.length_mm, t.skin_angle_deg, nearest,
                t.clearance_mm.get(nearest, ""),
                t.hit_probability.value, t.hit_probability.with_feedback, t.margin_to_failure_mm,
                t.ultrasound.beam_needle_angle_deg, t.ultrasound.window_fraction, t.ultrasound.depth_mm,
                t.ultrasound.visibility, *(t.clearance_mm.get(name, "") for name in structures),
            ]  # fmt: skip
            row = [n if isinstance(n, str) else f"{float(n):.6g}" for n in numbers]
            writer.writerow([t.rank, t.approach, t.technique, t.recess, *row, NOT_A_DEVICE])


def write_skin_map(plan: Plan, path: str | Path) -> None:
    """Write the skin (RAS mm) with `entry_quality` on its vertices: 0 no way in, up to 1, NaN not tried."""
    confirmed(plan)
    quality = np.asarray(plan.skin_quality, dtype=np.float32)
    notes = {"purpose": NOT_A_DEVICE, "frame": "RAS mm"}
    write_surface(path, plan.skin, {"entry_quality": quality}, notes=notes)
