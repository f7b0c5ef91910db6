"""The workflow: the whole story (`run_case`), and each command's part of it as documents and files.

Each name is imported when it is first used, so that a command imports its own part only.
"""

from typing import TYPE_CHECKING

from injectplan.lazy import names_on_use

if TYPE_CHECKING:
    from injectplan.workflow.cases import joint_of, reseeded
    from injectplan.workflow.framing import frame_of, simulate_case_frame, write_frame
    from injectplan.workflow.relaxation import measure_t2, write_t2
    from injectplan.workflow.steps import (
        align,
        build_and_describe,
        check_case,
        dose_case,
        needle_flow,
        plan_case,
        record_of,
    )
    from injectplan.workflow.story import CaseResult, run_case
    from injectplan.workflow.writing import (
        run_into,
        write_alignment,
        write_dose,
        write_model,
        write_plan,
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

__getattr__ = names_on_use(
    __name__,
    {
        "cases": ("joint_of", "reseeded"),
        "framing": ("frame_of", "simulate_case_frame", "write_frame"),
        "relaxation": ("measure_t2", "write_t2"),
        "steps": (
            "align", "build_and_describe", "check_case", "dose_case", "needle_flow",
            "plan_case", "record_of",
        ),
        "story": ("CaseResult", "run_case"),
        "writing": (
            "run_into", "write_alignment", "write_dose", "write_model", "write_plan",
        ),
    },
)  # fmt: skip
