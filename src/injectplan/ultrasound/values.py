"""What the ultrasound room takes and gives: `NeedlePose`, `Display`, `Frame`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from injectplan.frames import Pose
from injectplan.kernels.cast import Bools, Bytes, Floats, Floats32


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NeedlePose:
    """Where a needle's axis runs in the patient: a point towards the hub, and the tip, RAS mm."""

    entry_mm: Floats
    tip_mm: Floats
    outer_mm: float = 0.718
    inner_mm: float = 0.413


@dataclass(frozen=True, slots=True, kw_only=True)
class Display:
    """The picture's size in pixels."""

    width_px: int = 640
    height_px: int = 512


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Frame:
    """One B-mode frame with its registered maps; names, shapes and units are those of the frame file.

    bmode (h, w) uint8 · envelope_db (lines, samples) float32 · labels (h, w) uint16 · needle (h, w) uint8 ·
    shadow (h, w) float32 0–1 · trust (h, w) bool · depth_mm (h, w) float32, NaN outside the image ·
    pixel_to_patient (4, 4): (column, row, 0, 1) → RAS mm at the pixel's centre.
    """

    bmode: Bytes
    envelope_db: Floats32
    sample_mm: float
    line_origin_mm: Floats
    line_direction: Floats
    labels: npt.NDArray[np.uint16]
    label_names: Mapping[int, str]
    needle: Bytes
    shadow: Floats32
    trust: Bools
    depth_mm: Floats32
    pixel_to_patient: Floats
    probe_to_patient: Pose
    visibility: float = float("nan")
    assumed: tuple[str, ...] = ()
    extra: Mapping[str, float] = field(default_factory=dict)
