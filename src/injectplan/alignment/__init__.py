"""Axial deformity: bones' landmarks → axes → angles with their uncertainty → verdict."""

from injectplan.alignment.document import alignment_document
from injectplan.alignment.drawing import Line, alignment_drawing
from injectplan.alignment.landmark_files import read_landmarks
from injectplan.alignment.measurement import measure_alignment, measure_alignment_of_landmarks
from injectplan.alignment.schema import alignment_schema
from injectplan.alignment.values import Alignment, AlignmentVerdict, Angle, FieldOfView, Landmark, Load

__all__ = [
    "Alignment",
    "AlignmentVerdict",
    "Angle",
    "FieldOfView",
    "Landmark",
    "Line",
    "Load",
    "alignment_document",
    "alignment_drawing",
    "alignment_schema",
    "measure_alignment",
    "measure_alignment_of_landmarks",
    "read_landmarks",
]
