"""What every joint's completion shares: what was made so far, and the cavity and capsule as structures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from injectplan.anatomy.completion import STANDS_ON, Completed, Mode
from injectplan.anatomy.completion.courses import OVERLAP_MM, Course, course_of
from injectplan.anatomy.completion.dimensions import Sizes
from injectplan.anatomy.completion.fluid import LEAST_SAID_ML, parted, said_of
from injectplan.anatomy.completion.painting import paint_labels
from injectplan.anatomy.completion.skin import NEAR_MM, SeenSkin, laid_over, skin_of_surface, under_skin
from injectplan.anatomy.completion.solids import (
    OUTSIDE,
    Frame,
    Grid,
    curve,
    ellipse,
    evened,
    laid,
    smooth_max,
    tube,
)
from injectplan.anatomy.model import PRIORITY, Cavity, Kind, Source, Structure
from injectplan.errors import EmptyStructureError
from injectplan.imaging.values import LabelMap, Surface
from injectplan.kernels.cast import Floats, Floats32
from injectplan.kernels.field import Field
from injectplan.measure import Notice
from injectplan.structures import CONTINUED, structure

SEEN_SHARE = 0.5  # from this share of the skin near the joint on, it counts as seen
WHOLE_SHARE = 0.98
EVEN_MM = 6.0  # along a cord's continuation, over which its turns are evened (assumed)
_NO_LABELS = LabelMap(affine=np.eye(4), labels=np.zeros((2, 2, 2), np.uint16), names={})  # of a draft
DEEP_LAYERS = ("named_muscle", "tendon", "vessel", "nerve")
IN_THE_FAT = (
    "great_saphenous_vein", "small_saphenous_vein", "superficial_epigastric_artery", "saphenous_nerve",
    "lateral_femoral_cutaneous_nerve", "superficial_fibular_nerve", "sural_nerve", "infrapatellar_nerve",
)  # fmt: skip


def lies_in_the_fat(name: str) -> bool:
    """Whether a vessel or nerve runs over the deep fascia; its continuation does as it does."""
    return name.removesuffix(CONTINUED) in IN_THE_FAT


def need(kind: Kind, given: Mapping[str, Structure]) -> None:
    """Raise EmptyStructureError when a bone the completion stands on is missing."""
    names = STANDS_ON[kind]
    missing = [n for n in names if n not in given or not len(given[n].surface.triangles)]
    if missing:
        raise EmptyStructureError(
            f"completing a {kind} needs {', '.join(names)}; missing: {', '.join(missing)} "
            "(without completion what is given is measured)"
        )


@dataclass
class Making:
    """One joint under construction in its own coordinates: what was given and what has been made so far."""

    frame: Frame
    sizes: Sizes
    given: Mapping[str, Structure]
    made: dict[str, Structure] = field(default_factory=dict, kw_only=True)
    skin: SeenSkin | None = field(default=None, kw_only=True)
    notices: list[Notice] = field(default_factory=list, kw_only=True)
    said: list[str] = field(default_factory=list, kw_only=True)

    def __post_init__(self) -> None:
        self.fluid = self.given.get("synovial_fluid")
        if self.skin is None and "skin" in self.given:
            self.skin = skin_of_surface(self.given["skin"].surface)

    def with_own_fluid(self, make: Callable[[], Cavity]) -> Cavity:
        """Build the cavity; segmented fluid that hangs together with nothing of it is left out, and said."""
        cavity = make()
        if self.fluid is None:
            return cavity
        kept, apart_ml = parted(self.fluid, cavity)
        if apart_ml <= LEAST_SAID_ML:
            return cavity
        self.notices.append(said_of(apart_ml, self.fluid.name))
        self.fluid = kept
        return make()

    def skin_and_core(
        self, grid: Grid, drawn: Floats32, core: Floats32, sd: float
    ) -> tuple[Floats32, Floats32]:
        """The skin's signed values and the limb under the deep fascia: as drawn, or shaped by a skin seen.

        drawn : the skin by geometry.  core : the limb under the fascia by geometry.  sd : of the drawn skin.
        """
        self.skin_sd_mm, self.skin_share = sd, 0.0
        if self.skin is None:
            return drawn, core
        values, share = laid_over(drawn, grid, self.skin)
        self.skin_share = share
        self.skin_sd_mm = float(np.sqrt(share * self.skin.sd_mm**2 + (1.0 - share) * sd**2))
        self.said.append(
            f"skin from {self.skin.source} over {share:.0%} of the {NEAR_MM:g} mm around the joint "
            f"(sd {self.skin.sd_mm:.1f} mm), by geometry beyond it"
        )
        if share < WHOLE_SHARE:
            self.notices.append(
                Notice(
                    "skin-beyond-view",
                    f"{self.skin.source} shows {share:.0%} of the skin within {NEAR_MM:g} mm of the joint; "
                    "the rest is completed by geometry",
                    "skin",
                )
            )
        return values, under_skin(core, values, self.sizes["skin_thickness"])

    def add_skin(self, grid: Grid, values: Floats32) -> None:
        """Make the skin a structure: seen where most of it was, else completed."""
        self.add("skin", grid, values, sd=self.skin_sd_mm)
        if "skin" in self.made and self.skin_share >= SEEN_SHARE:
            self.made["skin"] = replace(self.made["skin"], source="segmented", assumed=(self.said[-1],))

    @property
    def free(self) -> tuple[Grid, Floats32, Floats32]:
        """A grid, the limb under the deep fascia and the distance to the bones on it."""
        raise NotImplementedError

    @property
    def soft_given(self) -> tuple[str, ...]:
        """The segmented muscles, tendons, vessels and nerves that lie under the deep fascia."""
        return tuple(n for n in self.given if structure(n).layer in DEEP_LAYERS and not lies_in_the_fat(n))

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

    def course(self, name: str, drawn: Floats) -> Course | None:
        """The course of a cord that was segmented, joined to the one drawn; None where it was not segmented.

        drawn : points (n, 3) in joint coordinates, about evenly apart.
        """
        if name not in self.given:
            return None
        seen = self.given[name].surface
        return course_of(drawn, Surface(self.frame.to_joint(seen.vertices_mm), seen.triangles))

    def add_cord(
        self,
        name: str,
        paths: Sequence[Floats],
        radii_mm: Sequence[float],
        within: Grid,
        spacing_mm: float,
        *,
        sd: float,
        bump: int = 0,
        branch: bool = False,
    ) -> None:
        """Make a vessel, nerve or tendon of round cords along smooth paths (n, 3), inside a grid's extent.

        Of one that was segmented in part the missing part alone, as a structure beside it, which is said.
        branch : one that ends inside the view; how far a segmented one goes is the body's own.
        """
        course = None if branch or len(paths) > 1 else self.course(name, paths[0])
        if course is not None:
            seen_mm = np.nan_to_num(course.radius_mm, nan=radii_mm[0])
            radius = float(np.clip(seen_mm, 0.5 * radii_mm[0], 2.0 * radii_mm[0]))
            missing = course.missing(within.low_mm, within.high_mm)
            paths = [self.freed(name, path, radius) for path in missing]
            radii_mm = [radius] * len(paths)
            if paths:
                self._tell_of(name, paths)
            name += CONTINUED
        elif name in self.given:
            return
        if not paths:
            return
        reach = max(radii_mm) + 2.0
        low = np.maximum(np.min([p.min(axis=0) for p in paths], axis=0) - reach, within.low_mm)
        high = np.minimum(np.max([p.max(axis=0) for p in paths], axis=0) + reach, within.high_mm)
        grid = Grid.between(self.frame, low, high, spacing_mm)
        solid = np.min([tube(grid, p, r) for p, r in zip(paths, radii_mm, strict=True)], axis=0)
        if (solid < 0.0).any():
            self.add(name, grid, solid, sd=sd, bump=bump, fibres=paths[0][-1] - paths[0][0])

    def freed(self, name: str, path: Floats, radius_mm: float) -> Floats:
        """A cord's path moved off the bones and to its side of the deep fascia."""
        grid, core, bones = self.free
        if lies_in_the_fat(name):
            return laid(grid, path, core, radius_mm + 0.6, push=False)
        path = laid(grid, path, -core, radius_mm + 1.0, push=True)
        path = evened(laid(grid, path, bones, radius_mm + 0.5, push=True), EVEN_MM)
        return laid(grid, path, bones, radius_mm + 0.5, push=True)

    def _tell_of(self, name: str, paths: Sequence[Floats]) -> None:
        """Say that a cord was segmented in part, and how much was added."""
        added = sum(float(np.linalg.norm(np.diff(p, axis=0), axis=1).sum()) - OVERLAP_MM for p in paths)
        said = (
            f"{structure(name).label} was segmented over a part of this view: {added:.0f} mm of its course "
            "are completed from where it ends"
        )
        self.notices.append(Notice("segmented-in-part", said, name))
        self.said.append(said)

    def bands(
        self,
        name: str,
        heads: Sequence[Sequence[Sequence[float]]],
        within: Grid,
        *,
        sd: float,
        bump: int = 0,
        spacing_mm: float = 1.0,
        cut: Callable[[Grid], Floats32] | None = None,
    ) -> None:
        """Make a muscle or tendon whose heads run along z, inside a grid's extent.

        heads : of each the rows z, centre x, y and half widths across and deep.  cut : where it must end, as
        signed values on its grid.
        """
        if name in self.given:
            return
        tables = [np.asarray(rows, float) for rows in heads]
        tables = [t[np.argsort(t[:, 0])] for t in tables]
        every = np.concatenate(tables)
        reach = every[:, 3:5].max(axis=1)
        low = [(every[:, 1] - reach).min() - 3, (every[:, 2] - reach).min() - 3, every[:, 0].min()]
        high = [(every[:, 1] + reach).max() + 3, (every[:, 2] + reach).max() + 3, every[:, 0].max()]
        top, bottom = within.high_mm, within.low_mm
        grid = Grid.between(self.frame, np.maximum(low, bottom), np.minimum(high, top), spacing_mm)
        solid = np.full(grid.shape, OUTSIDE)
        for table in tables:
            z = table[:, 0]
            cx, cy, a, b = (curve(grid.z, list(zip(z, table[:, i], strict=True))) for i in range(1, 5))
            section = ellipse(grid.x - cx, grid.y - cy, a, b)
            ends = np.maximum(z[0] + 1.0 - grid.z, grid.z - z[-1] + 1.0) + 0.0 * grid.x
            if bottom[2] > z[0]:
                ends = grid.z - z[-1] + 1.0 + 0.0 * grid.x
            solid = np.minimum(solid, smooth_max(section, ends, 2.0))
        if cut is not None:
            solid = np.maximum(solid, cut(grid))
        fibres = tables[0][-1, [1, 2, 0]] - tables[0][0, [1, 2, 0]]
        self.add(name, grid, solid, sd=sd, bump=bump, fibres=fibres)


def add_cavity(
    structures: dict[str, Structure], cavity: Cavity, capsule_mm: float | None, *, every: int = 1
) -> None:
    """Add the cavity as a structure, and the capsule as a layer that holds it.

    capsule_mm : its thickness; None for no capsule.
    every : take each so many points of the cavity's field for the capsule (a layer drawn around a cavity
        needs no finer grid than 1 mm).
    """

    def made(
        name: str, surface: Surface, sd: float, assumed: tuple[str, ...], source: Source = "completed"
    ) -> Structure:
        info = structure(name)
        return Structure(
            name=name, surface=surface, tissue=info.tissue, risk=info.risk, source=source,
            priority=PRIORITY[info.layer], placement_sd_mm=sd, assumed=assumed,
        )  # fmt: skip

    if "joint_cavity" not in structures:
        structures["joint_cavity"] = made("joint_cavity", cavity.surface, 1.0, cavity.assumed, cavity.source)
    if capsule_mm is not None:
        still, values = _thinned(cavity.field, every)
        said = (f"capsule and synovium {capsule_mm:g} mm thick around the cavity",)
        surface = still.surface(values - np.float32(capsule_mm))
        structures["joint_capsule"] = made("joint_capsule", surface, 1.5, said)


def _thinned(field: Field, every: int) -> tuple[Grid, Floats32]:
    """Every so many points of a field along each axis, and their grid about the field's own middle."""
    values, low = field.values, np.array(field.origin_mm)
    for axis, n in enumerate(field.values.shape):
        spare = (n - 1) % every
        steps: list[slice] = [slice(None)] * 3
        steps[axis] = slice(spare // 2, None, every)
        part = values[tuple(steps)]
        if spare % 2:  # the middle lies between two points
            steps[axis] = slice(spare // 2 + 1, None, every)
            part = np.float32(0.5) * (part + values[tuple(steps)])
        values, low[axis] = part, low[axis] + 0.5 * spare * field.spacing_mm
    i, j, k = values.shape
    return Grid(Frame(np.zeros(3), np.eye(3)), low, every * field.spacing_mm, (i, j, k)), values


def finished(
    build: Making,
    cavity: Cavity,
    over: Grid,
    label_spacing_mm: float,
    *,
    mode: Mode,
    every: int = 1,
) -> Completed:
    """Return the joint made whole: all structures with the cavity, and their labels over a grid's extent.

    every : see `add_cavity`.
    """
    structures = dict(build.given) | build.made
    drawn = mode == "auto" and "joint_capsule" not in structures
    add_cavity(structures, cavity, build.sizes["capsule_thickness"] if drawn else None, every=every)
    return Completed(
        structures=structures,
        cavity=cavity,
        labels=_NO_LABELS if over.frame.drafts else paint_labels(structures, over, label_spacing_mm),
        notices=tuple(build.notices),
        assumed=(*build.sizes.assumed, *build.said, *cavity.assumed),
    )
