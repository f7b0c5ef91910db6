"""What the ultrasound room takes and gives: `NeedlePose`, `Display`, `Frame`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from injectplan.errors import BadInputError
from injectplan.frames import Pose
from injectplan.kernels.cast import Bools, Bytes, Floats, Floats32
from injectplan.ultrasound.colour import ColourMap


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NeedlePose:
    """Where a needle's axis runs in the patient: a point towards the hub, and the tip, RAS mm."""

    entry_mm: Floats
    tip_mm: Floats
    outer_mm: float = 0.718
    inner_mm: float = 0.413
    bevel_deg: float = 18.0

    def __post_init__(self) -> None:
        entry = np.array(self.entry_mm, dtype=np.float64).reshape(-1)
        tip = np.array(self.tip_mm, dtype=np.float64).reshape(-1)
        if entry.shape != (3,) or tip.shape != (3,) or not np.isfinite([*entry, *tip]).all():
            raise BadInputError("a needle needs entry_mm and tip_mm, three finite numbers each")
        if np.linalg.norm(entry - tip) < 1e-6:
            raise BadInputError("a needle's entry_mm and tip_mm are the same point")
        if not 0.0 < self.inner_mm < self.outer_mm < 5.0:
            raise BadInputError(
                f"needle of {self.outer_mm} mm with a bore of {self.inner_mm} mm: needs 0 < bore < outer < 5"
            )
        entry.setflags(write=False)
        tip.setflags(write=False)
        object.__setattr__(self, "entry_mm", entry)
        object.__setattr__(self, "tip_mm", tip)

    @property
    def length_mm(self) -> float:
        """Length of the drawn part."""
        return float(np.linalg.norm(self.entry_mm - self.tip_mm))

    @property
    def axis(self) -> Floats:
        """Unit direction from the tip towards the hub."""
        return np.asarray((self.entry_mm - self.tip_mm) / self.length_mm)


@dataclass(frozen=True, slots=True, kw_only=True)
class Display:
    """The picture's size in pixels."""

    width_px: int = 640
    height_px: int = 512

    def __post_init__(self) -> None:
        for key in ("width_px", "height_px"):
            value = getattr(self, key)
            if not (isinstance(value, int) and 16 <= value <= 8192):
                raise BadInputError(f"display {key} is {value}, must be a whole number from 16 to 8192")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Frame:
    """One B-mode frame with its registered maps; names, shapes and units are those of the frame file.

    bmode (h, w) uint8 · envelope_db (lines, samples) float32 · labels (h, w) uint16 · needle (h, w) uint8 ·
    shadow (h, w) float32 0–1 · trust (h, w) bool · depth_mm (h, w) float32, NaN outside the image ·
    pixel_to_patient (4, 4): (column, row, 0, 1) → RAS mm at the pixel's centre.  colour : speed along the
    beam where colour mode was asked for, else None.
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
    colour: ColourMap | None = None
    extra: Mapping[str, float] = field(default_factory=dict)
