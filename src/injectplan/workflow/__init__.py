"""The workflow: the whole story (`run_case`), and each command's part of it as documents and files."""

from injectplan.workflow.steps import (
    align,
    build_and_describe,
    check_case,
    dose_case,
    measure_t2,
    needle_flow,
    plan_case,
    record_of,
    reseeded,
    simulate_case_frame,
)
from injectplan.workflow.story import CaseResult, frame_of, joint_of, run_case
from injectplan.workflow.writing import (
    run_into,
    write_alignment,
    write_dose,
    write_frame,
    write_model,
    write_plan,
    write_t2,
)

__all__ = [
    "CaseResult",
    "align",
    "build_and_describe",
    "check_case",
    "dose_case",
    "frame_of",
    "joint_of",
    "measure_t2",
    "needle_flow",
    "plan_case",
    "record_of",
    "reseeded",
    "run_case",
    "run_into",
    "simulate_case_frame",
    "write_alignment",
    "write_dose",
    "write_frame",
    "write_model",
    "write_plan",
    "write_t2",
]
