"""injectplan: plan, rehearse and simulate ultrasound-guided injections.

For rehearsal, training and research; not a medical device; not for treating a patient.

The names below are the public surface; each is imported when it is first used, so that
`import injectplan` stays quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from injectplan.alignment import Alignment, measure_alignment
    from injectplan.anatomy import (
        FillState,
        JointModel,
        Structure,
        Subject,
        build_joint,
        load_joint,
        save_joint,
    )
    from injectplan.casefile import Case, read_case
    from injectplan.errors import BadInputError, InjectplanError, RefusedError
    from injectplan.frames import Pose
    from injectplan.guidance import Preview, preview_guidance
    from injectplan.imaging import LabelMap, Surface, Volume, read_labelmap, read_surface, read_volume
    from injectplan.injection import DoseEstimate, estimate_dose, flow_through_needle
    from injectplan.instruments import Injectate, Needle, Probe, injectate_of, needle_of, probe_model
    from injectplan.measure import Measure, Notice, Verdict
    from injectplan.phantoms import make_phantom, phantom_names
    from injectplan.planning import Constraints, Plan, Trajectory, plan_injection
    from injectplan.ultrasound import AcousticScene, ColourMode, Display, Frame, NeedlePose, simulate_frame
    from injectplan.workflow import CaseResult, run_case

__version__ = "0.1.0"

_HOMES = {
    "alignment": ("Alignment", "measure_alignment"),
    "anatomy": (
        "FillState", "JointModel", "Structure", "Subject", "build_joint", "load_joint", "save_joint",
    ),
    "casefile": ("Case", "read_case"),
    "errors": ("BadInputError", "InjectplanError", "RefusedError"),
    "frames": ("Pose",),
    "guidance": ("Preview", "preview_guidance"),
    "imaging": ("LabelMap", "Surface", "Volume", "read_labelmap", "read_surface", "read_volume"),
    "injection": ("DoseEstimate", "estimate_dose", "flow_through_needle"),
    "instruments": ("Injectate", "Needle", "Probe", "injectate_of", "needle_of", "probe_model"),
    "measure": ("Measure", "Notice", "Verdict"),
    "phantoms": ("make_phantom", "phantom_names"),
    "planning": ("Constraints", "Plan", "Trajectory", "plan_injection"),
    "ultrasound": ("AcousticScene", "ColourMode", "Display", "Frame", "NeedlePose", "simulate_frame"),
    "workflow": ("CaseResult", "run_case"),
}  # fmt: skip
_HOME = {name: room for room, names in _HOMES.items() for name in names}

__all__ = [
    "AcousticScene",
    "Alignment",
    "BadInputError",
    "Case",
    "CaseResult",
    "ColourMode",
    "Constraints",
    "Display",
    "DoseEstimate",
    "FillState",
    "Frame",
    "Injectate",
    "InjectplanError",
    "JointModel",
    "LabelMap",
    "Measure",
    "Needle",
    "NeedlePose",
    "Notice",
    "Plan",
    "Pose",
    "Preview",
    "Probe",
    "RefusedError",
    "Structure",
    "Subject",
    "Surface",
    "Trajectory",
    "Verdict",
    "Volume",
    "__version__",
    "build_joint",
    "estimate_dose",
    "flow_through_needle",
    "injectate_of",
    "load_joint",
    "make_phantom",
    "measure_alignment",
    "needle_of",
    "phantom_names",
    "plan_injection",
    "preview_guidance",
    "probe_model",
    "read_case",
    "read_labelmap",
    "read_surface",
    "read_volume",
    "run_case",
    "save_joint",
    "simulate_frame",
]


def __getattr__(name: str) -> Any:
    """Import a public name's room when the name is first used."""
    if name not in _HOME:
        raise AttributeError(f"module 'injectplan' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"injectplan.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
