"""Axial deformity: bones' landmarks → axes → angles with their uncertainty → verdict."""

from injectplan.alignment.document import alignment_document
from injectplan.alignment.measurement import measure_alignment, measure_alignment_of_landmarks
from injectplan.alignment.values import Alignment, AlignmentVerdict, Angle, FieldOfView, Landmark

__all__ = [
    "Alignment",
    "AlignmentVerdict",
    "Angle",
    "FieldOfView",
    "Landmark",
    "alignment_document",
    "measure_alignment",
    "measure_alignment_of_landmarks",
]
