"""What the hip's and the ankle's completion share: envelopes, bands and cords, the cavity's grid."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from injectplan.anatomy.axes import points_over
from injectplan.anatomy.cavity import build_cavity
from injectplan.anatomy.completion.dimensions import Sizes
from injectplan.anatomy.completion.fluid import FLUID_BAND_MM, holding, with_fluid
from injectplan.anatomy.completion.making import Making
from injectplan.anatomy.completion.solids import (
    Frame,
    Grid,
    coordinates,
    curve,
    ramp,
    rounded_path,
    still_grid,
)  # fmt: skip
from injectplan.anatomy.model import Cavity, Structure
from injectplan.kernels.cast import Floats, Floats32

CAVITY_SPACING_MM = 0.7


@dataclass
class Build(Making):
    """A hip or an ankle under construction in its own coordinates."""

    grid: Grid
    kept: dict[str, Floats32] = field(default_factory=dict, kw_only=True)

    def vertices(self, name: str) -> Floats:
        """Points over a structure that is there in joint coordinates."""
        known = self.given.get(name) or self.made[name]
        return self.frame.to_joint(points_over(known.surface))

    def distance(self, names: Sequence[str], grid: Grid, band_mm: float) -> Floats32:
        """Distance to the nearest of the structures named that are there, clamped at the band."""
        result = np.full(grid.shape, np.float32(band_mm))
        for name in names:
            known = self.given.get(name) or self.made.get(name)
            if known is not None:
                np.minimum(result, grid.distance(known.surface, band_mm), out=result)
        return result

    @property
    def free(self) -> tuple[Grid, Floats32, Floats32]:
        """The grid, the limb under the deep fascia and the distance to the bones."""
        return self.grid, self.kept["core"], self.kept["bones"]

    def band(
        self, name: str, rows: Sequence[Sequence[float]], *, sd: float, bump: int = 0, spacing_mm: float = 1.0
    ) -> None:
        """A muscle or tendon that runs along z; see `Making.bands`."""
        self.bands(name, [rows], self.grid, sd=sd, bump=bump, spacing_mm=spacing_mm)

    def cord(
        self, name: str, knots: npt.ArrayLike, radius_mm: float, *, sd: float, branch: bool = False
    ) -> None:
        """A vessel or nerve: a round tube along a smooth path through knots (n, 3); see `Making.add_cord`."""
        fine = max(min(0.5 * radius_mm, 0.8), 0.35)
        self.add_cord(name, [rounded_path(knots)], [radius_mm], self.grid, fine, sd=sd, branch=branch)

    def front_at(self, core: Floats32, x: float, z: float) -> float:
        """Foremost y inside the core at a place x, z of the joint's coordinates."""
        low, high, step = self.grid.low_mm, self.grid.high_mm, self.grid.spacing_mm
        i = int(np.clip(round((x - low[0]) / step), 0, core.shape[0] - 1))
        k = int(np.clip(round((z - low[2]) / step), 0, core.shape[2] - 1))
        line = core[i, :, k]
        inside = np.flatnonzero(line < 0)
        if not len(inside):
            return float(high[1])
        j = int(inside[-1])
        if j + 1 == len(line):
            return float(high[1])
        part = float(line[j] / (line[j] - line[j + 1]))
        return float(low[1] + step * (j + part))

    def envelopes(
        self, core: Floats32, fat_mm: Floats32 | float, skin_mm: float, fascia_mm: float
    ) -> Floats32:
        """Skin ⊃ fat ⊃ fascia ⊃ muscle around the limb's core; returns the core as a skin seen leaves it."""
        fat = np.asarray(fat_mm, np.float32)
        away = ndimage.distance_transform_edt(core >= 0) * self.grid.spacing_mm - 0.5 * self.grid.spacing_mm
        far = ndimage.gaussian_filter(away.astype(np.float32), 1.0 / self.frame.coarser, mode="nearest")
        near = ramp(core, 6.0, 2.0)  # an implicit value is mm near its surface only
        core = np.asarray(core * near + far * (1 - near), np.float32)
        skin, core = self.skin_and_core(self.grid, core - fat - np.float32(skin_mm), core, 3.0)
        self.add_skin(self.grid, skin)
        self.add("subcutaneous_fat", self.grid, skin + np.float32(skin_mm), sd=3.0)
        self.add("deep_fascia", self.grid, core, sd=2.0)
        self.add("muscle", self.grid, core + np.float32(fascia_mm), sd=2.0)
        return core


def levelled(core: Floats32, grid: Grid) -> Floats32:
    """Smooth an envelope and scale it to about mm near its surface."""
    core = ndimage.gaussian_filter(core, 1.0 / grid.frame.coarser, mode="nearest")
    slope = np.sqrt(sum(d * d for d in np.gradient(core, grid.spacing_mm)))
    return np.asarray(core / np.clip(slope, 0.5, 1.6), np.float32)


@dataclass(frozen=True, eq=False)
class Space:
    """The axis-aligned patient grid of a cavity, with its points' joint coordinates."""

    grid: Grid
    x: Floats32
    y: Floats32
    z: Floats32

    @classmethod
    def between(
        cls, frame: Frame, low: npt.ArrayLike, high: npt.ArrayLike, fluid: Structure | None = None
    ) -> Space:
        """Return the space around a box of joint coordinates, and around the fluid that was segmented."""
        grid = still_grid(frame, *holding(frame, low, high, fluid), CAVITY_SPACING_MM)
        return cls(grid, *coordinates(grid, frame))


def cavity_of(
    build: Build,
    space: Space,
    rest: Floats32,
    walls: Floats32,
    ease: Floats32,
    allowed: Floats32,
    index: npt.NDArray[np.uint8],
    names: Sequence[str],
    sizes: Sizes,
    assumed: tuple[str, ...],
) -> Cavity:
    """Build the cavity on its grid, with the fluid that was segmented; see `anatomy.cavity.build_cavity`."""
    resting_ml, seen_ml, fluid = sizes["resting_fluid"], 0.0, build.fluid
    rest, walls, ease = (np.asarray(a, np.float32) for a in (rest, walls, ease))
    if fluid is not None:
        seen = space.grid.distance(fluid.surface, FLUID_BAND_MM)
        held = with_fluid(rest, seen, walls, ease, resting_ml, space.grid.spacing_mm)
        rest, resting_ml, seen_ml = held
        assumed = (*assumed, f"the fluid that was segmented and normal folds hold {resting_ml:.3g} mL")
    return build_cavity(
        space.grid.low_mm, space.grid.spacing_mm, np.asarray(rest, np.float32),
        walls=np.asarray(walls, np.float32), ease=np.asarray(ease, np.float32),
        allowed=np.asarray(allowed, np.float32), recess_index=index, recess_names=names,
        resting_ml=resting_ml, effusion_ml=sizes["effusion_ml"],
        capacity_ml=sizes["joint_capacity"], segmented_ml=seen_ml, assumed=assumed,
    )  # fmt: skip


def front_of(
    points: Floats, step_mm: float, z_low: float, z_high: float
) -> Callable[[npt.ArrayLike], Floats32]:
    """Foremost y of points by height, as a smooth function of z."""
    slabs = np.floor(points[:, 2] / step_mm).astype(int)
    rows = [
        ((k + 0.5) * step_mm, float(points[slabs == k][:, 1].max()))
        for k in np.unique(slabs)
        if (slabs == k).sum() > 8 and z_low <= (k + 0.5) * step_mm <= z_high
    ]
    return lambda z: curve(z, rows)
