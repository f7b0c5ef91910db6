"""What every joint's completion shares: what was made so far, and the cavity and capsule as structures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from injectplan.anatomy.completion import Completed, Mode
from injectplan.anatomy.completion.dimensions import Sizes
from injectplan.anatomy.completion.painting import paint_labels
from injectplan.anatomy.completion.solids import Frame, Grid
from injectplan.anatomy.model import PRIORITY, Cavity, Structure
from injectplan.errors import EmptyStructureError
from injectplan.imaging.values import Surface
from injectplan.kernels.cast import Floats32
from injectplan.structures import structure

DEEP_LAYERS = ("named_muscle", "tendon", "vessel", "nerve")
IN_THE_FAT = (
    "great_saphenous_vein", "small_saphenous_vein", "superficial_epigastric_artery", "saphenous_nerve",
    "lateral_femoral_cutaneous_nerve", "superficial_fibular_nerve", "sural_nerve", "infrapatellar_nerve",
)  # fmt: skip


def need(kind: str, names: Sequence[str], given: Mapping[str, Structure]) -> None:
    """Raise EmptyStructureError when a bone the completion stands on is missing."""
    missing = [n for n in names if n not in given or not len(given[n].surface.triangles)]
    if missing:
        raise EmptyStructureError(
            f"completing a {kind} needs {', '.join(names)}; missing: {', '.join(missing)}"
        )


@dataclass
class Making:
    """One joint under construction in its own coordinates: what was given and what has been made so far."""

    frame: Frame
    sizes: Sizes
    given: Mapping[str, Structure]
    made: dict[str, Structure] = field(default_factory=dict, kw_only=True)

    @property
    def soft_given(self) -> tuple[str, ...]:
        """The segmented muscles, tendons, vessels and nerves that lie under the deep fascia."""
        return tuple(n for n in self.given if structure(n).layer in DEEP_LAYERS and n not in IN_THE_FAT)

    def add(
        self,
        name: str,
        grid: Grid,
        values: Floats32,
        *,
        sd: float,
        bump: int = 0,
        fibres: npt.ArrayLike | None = None,
    ) -> None:
        """Make a structure of a solid unless it was segmented; fibres in joint coordinates."""
        if name in self.given:
            return
        info = structure(name)
        way = None
        if fibres is not None:
            way = self.frame.basis @ (np.asarray(fibres, float) / np.linalg.norm(fibres))
        self.made[name] = Structure(
            name=name, surface=grid.surface(values), tissue=info.tissue, risk=info.risk, source="completed",
            priority=PRIORITY[info.layer] + bump, placement_sd_mm=sd, fibres=way,
            assumed=("built from the bones and published sizes",),
        )  # fmt: skip


def add_cavity(
    structures: dict[str, Structure], cavity: Cavity, capsule_mm: float, *, capsule: bool, every: int = 1
) -> None:
    """Add the cavity as a structure, and the capsule as a layer of this thickness that holds it.

    every : take each so many points of the cavity's field for the capsule (a layer drawn around a cavity
        needs no finer grid than 1 mm).
    """

    def made(name: str, surface: Surface, sd: float, assumed: tuple[str, ...]) -> Structure:
        info = structure(name)
        return Structure(
            name=name, surface=surface, tissue=info.tissue, risk=info.risk, source=cavity.source,
            priority=PRIORITY[info.layer], placement_sd_mm=sd, assumed=assumed,
        )  # fmt: skip

    if "joint_cavity" not in structures:
        structures["joint_cavity"] = made("joint_cavity", cavity.surface, 1.0, cavity.assumed)
    if capsule and "joint_capsule" not in structures:
        held = cavity.field
        values = held.values[::every, ::every, ::every]
        still = Grid(Frame(np.zeros(3), np.eye(3)), held.origin_mm, every * held.spacing_mm, values.shape)
        said = (f"capsule and synovium {capsule_mm:g} mm thick around the cavity",)
        surface = still.surface(values - np.float32(capsule_mm))
        structures["joint_capsule"] = made("joint_capsule", surface, 1.5, said)


def finished(
    build: Making,
    cavity: Cavity,
    over: Grid,
    label_spacing_mm: float,
    *,
    mode: Mode,
    assumed: tuple[str, ...] = (),
    every: int = 1,
) -> Completed:
    """Return the joint made whole: all structures with the cavity, and their labels over a grid's extent.

    every : see `add_cavity`.
    """
    structures = dict(build.given) | build.made
    add_cavity(structures, cavity, build.sizes["capsule_thickness"], capsule=mode == "auto", every=every)
    return Completed(
        structures=structures,
        cavity=cavity,
        labels=paint_labels(structures, over, label_spacing_mm),
        assumed=(*build.sizes.assumed, *assumed, *cavity.assumed),
    )
