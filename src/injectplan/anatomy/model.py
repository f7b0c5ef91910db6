"""The joint as a value: structures, cavity, cartilage, defects and axes, all in patient RAS mm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from injectplan.imaging.values import LabelMap, Surface
from injectplan.kernels.cast import Bytes, Floats
from injectplan.kernels.field import Field
from injectplan.measure import Notice

Kind = Literal["knee", "hip", "ankle"]
Side = Literal["left", "right"]
Source = Literal["segmented", "completed"]

# Priorities by tissue layer, where solids overlap; structures of one layer may be spread by a unit or two.
PRIORITY: Mapping[str, int] = {
    "skin": 10, "subcutaneous_fat": 20, "deep_fascia": 30, "muscle": 35, "named_muscle": 40, "fat_pad": 50,
    "capsule": 55, "tendon": 60, "nerve": 64, "vessel": 65, "cavity": 75, "fill": 78, "meniscus": 80,
    "cartilage": 85, "bone": 90,
}  # fmt: skip

COVERED, DENUDED, FAILED, OUTSIDE = 1, 2, 3, 0  # states of a cartilage map's vertices


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is known of the person; steers completion and phantoms. None: a default, marked `assumed`."""

    bmi: float | None = None
    sex: Literal["female", "male"] | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class JointAxes:
    """A joint's anatomical directions, found from its bones.

    lateral, anterior, proximal : unit vectors in patient RAS ("lateral" is away from the body's midline, so
        the three are right-handed on a right leg and left-handed on a left).
    origin_mm : the joint's centre (knee: between the condyles; hip: head centre; ankle: talar dome's top).
    flexion_deg : the pose the joint was scanned in, NaN when it cannot be told.
    """

    side: Side
    origin_mm: Floats
    lateral: Floats
    anterior: Floats
    proximal: Floats
    flexion_deg: float = float("nan")
    notices: tuple[Notice, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Structure:
    """One anatomical structure: its closed surface, what it is made of, and how it came to be known.

    priority : where structures overlap, the tissue of the higher priority holds.
    placement_sd_mm : how far a completed surface may lie from the true one (one standard deviation).
    fibres : unit direction of the fibres in patient RAS, or None.
    """

    name: str
    surface: Surface
    tissue: str
    risk: str
    source: Source
    priority: int
    placement_sd_mm: float = 0.0
    label: int | None = None
    voxel_volume_ml: float = float("nan")
    fibres: Floats | None = None
    repaired: tuple[str, ...] = ()
    assumed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Recess:
    """A named part of the joint cavity: where a needle may end, and what is known of its size."""

    name: str
    center_mm: Floats
    normal: Floats
    volume_ml: float
    thickness_mm: float
    extent_mm: Floats


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cavity:
    """The joint cavity at rest, and how it opens when filled.

    field : signed distance to the resting cavity, negative inside, on an axis-aligned RAS grid.
    distension : same grid; the injected fluid reaches a voxel when the fill level exceeds its value
        (infinite where bone, cartilage or ligament forbids it). Level sets of it are the filled cavity.
    recess_index : same grid, index + 1 into `recesses`, 0 outside every recess.
    resting_volume_ml : the fluid it holds before the injection.
    source : "segmented" where fluid was given, though folds of a normal joint were added to it.
    segmented_ml : how much of the resting volume is fluid that was segmented.
    """

    surface: Surface
    field: Field
    distension: Field
    recess_index: npt.NDArray[np.uint8]
    recesses: tuple[Recess, ...]
    resting_volume_ml: float
    source: Source
    assumed: tuple[str, ...] = ()
    segmented_ml: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FillState:
    """Which part of the cavity holds fluid: what injection hands to ultrasound.

    fluid : closed surface of the fluid, None while there is none.
    displacement_mm : how far the capsule stands off its resting place at most.
    jet_origin_mm, jet_direction, jet_speed_mm_s : the jet at the needle's tip, speed 0 when at rest.
    """

    injected_ml: float = 0.0
    in_cavity_ml: float = 0.0
    leaked_ml: float = 0.0
    fluid: Surface | None = None
    displacement_mm: float = 0.0
    recess_ml: Mapping[str, float] = field(default_factory=dict)
    jet_origin_mm: Floats | None = None
    jet_direction: Floats | None = None
    jet_speed_mm_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CartilageMap:
    """Cartilage on a bone's surface, vertex by vertex; NaN where there is none or the measurement failed.

    bone : name of the bone structure whose surface's vertices the arrays follow.
    thickness_mm : along the bone's normal, (n,).  nearest_mm : to the nearest cartilage surface, (n,).
    state : OUTSIDE, COVERED, DENUDED or FAILED, (n,).  region : index + 1 into `regions`, 0 outside, (n,).
    """

    name: str
    bone: str
    thickness_mm: Floats
    nearest_mm: Floats
    state: Bytes
    region: Bytes
    regions: tuple[str, ...]
    volume_ml: float
    trustworthy: bool = True


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Defect:
    """A cartilage defect or bone lesion: where, how large, how deep.

    left_mm : mean thickness of the cartilage that is left in it, NaN where that is not measured.
    finding : defects of one number are one finding, seen by different means; 0 where nobody asked.
    """

    structure: str
    zone: str
    center_mm: Floats
    area_mm2: float
    depth_mm: float
    volume_ml: float
    grade: str | None
    source: Literal["label", "thickness", "drawn"]
    surface: Surface | None = None
    left_mm: float = float("nan")
    finding: int = 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class JointModel:
    """A joint one can plan in.

    structures : name → Structure, each a closed solid. The tissue at a point is that of the containing solid
        of highest `priority`; a point in none lies outside the body. Skin, fat, fascia and muscle are nested.
    axes : the joint's anatomical directions and centre.
    labels : the completed label map on its own grid, names of the vocabulary.
    seconds : how long each step of the building took; never saved.
    """

    kind: Kind
    side: Side
    axes: JointAxes
    structures: Mapping[str, Structure]
    cavity: Cavity
    labels: LabelMap
    cartilage: Mapping[str, CartilageMap] = field(default_factory=dict)
    defects: tuple[Defect, ...] = ()
    subject: Subject = field(default_factory=Subject)
    notices: tuple[Notice, ...] = ()
    assumed: tuple[str, ...] = ()
    parameters: Mapping[str, float | str] = field(default_factory=dict)
    input_sha256: str = ""
    input_affine: Floats | None = None
    input_shape: tuple[int, int, int] | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def bones(self) -> dict[str, Surface]:
        """The segmented bones, which alignment measures."""
        return {
            n: s.surface for n, s in self.structures.items() if s.risk == "bone" and s.source == "segmented"
        }

    def at_risk(self, risk: str) -> dict[str, Structure]:
        """Return the structures of one risk class."""
        return {n: s for n, s in self.structures.items() if s.risk == risk}
