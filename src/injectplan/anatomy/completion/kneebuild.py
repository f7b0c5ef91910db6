"""A knee under construction: its grids, distances to its bones, shafts drawn on beyond the scan."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from injectplan.anatomy.axes import points_over, shaft_axis
from injectplan.anatomy.completion.kneemarks import Landmarks, by_slab, find_landmarks
from injectplan.anatomy.completion.making import Making
from injectplan.anatomy.completion.solids import Grid, ellipse, ramp, upsample
from injectplan.kernels.cast import Floats, Floats32

COARSE_MM, FINE_MM = 2.0, 1.0
BAND_MM = 26.0


@dataclass
class Build(Making):
    """One knee under construction: grids, distances and what has been made so far."""

    solids: dict[str, Floats32] = field(default_factory=dict)

    @cached_property
    def vertices(self) -> dict[str, Floats]:
        """Points over the segmented structures in joint coordinates."""
        return {n: self.frame.to_joint(points_over(s.surface)) for n, s in self.given.items()}

    @cached_property
    def marks(self) -> Landmarks:
        """The bones' landmarks."""
        return find_landmarks(self.vertices)

    @cached_property
    def coarse(self) -> Grid:
        """The whole limb at 2 mm, for envelopes and distances."""
        s, size = self.marks.scale, self.sizes.values
        room = 86.0 * s + size["medial_fat"]
        return Grid.between(
            self.frame,
            (-room, -room - 4.0, -size["limb_below"]),
            (room, room, size["limb_above"]),
            COARSE_MM,
        )

    def fine(self, low: npt.ArrayLike, high: npt.ArrayLike, spacing_mm: float = FINE_MM) -> Grid:
        """A local grid between two corners in joint coordinates."""
        return Grid.between(self.frame, low, high, spacing_mm)

    def distance(self, name: str) -> Floats32:
        """Distance to a segmented structure on the coarse grid, clamped at the band."""
        if name not in self.solids:
            if name in self.given:
                self.solids[name] = self.coarse.distance(self.given[name].surface, BAND_MM)
            else:
                self.solids[name] = np.full(self.coarse.shape, np.float32(BAND_MM))
        return self.solids[name]

    @cached_property
    def femur(self) -> Floats32:
        """Distance to the femur, its cartilage and its continued shaft."""
        whole = np.minimum(self.distance("femur"), self.distance("femoral_cartilage"))
        return np.minimum(whole, self.shaft("femur")[0])

    @cached_property
    def bones(self) -> Floats32:
        """Distance to the nearest bone."""
        result = np.minimum(self.femur, self.distance("patella"))
        result = np.minimum(result, np.minimum(self.distance("tibia"), self.shaft("tibia")[0]))
        return np.minimum(result, np.minimum(self.distance("fibula"), self.shaft("fibula")[0]))

    @property
    def free(self) -> tuple[Grid, Floats32, Floats32]:
        """The coarse grid, the limb under the deep fascia and the distance to the bones."""
        return self.coarse, self.solids["core"], self.bones

    @cached_property
    def _fluid_fronts(self) -> list[tuple[float, float]]:
        if "synovial_fluid" not in self.given:
            return []
        points = self.vertices["synovial_fluid"]
        middle = np.abs(points[:, 0] - self.marks.patella_x) < 15.0 * self.marks.scale
        above = points[:, 2] > float(self.marks.patella_top[2]) - 4.0
        return by_slab(points[middle & above], 4.0, lambda q: float(q[:, 1].max()))

    def fluid_front(self, z: float) -> float:
        """Foremost y of the segmented fluid in the middle above the patella; -inf where there is none."""
        fronts = self._fluid_fronts
        if not fronts or not fronts[0][0] - 6.0 <= z <= fronts[-1][0] + 6.0:
            return -np.inf
        return float(np.interp(z, *np.array(fronts).T))

    def shaft(self, bone: str) -> tuple[Floats32, bool]:
        """A bone's shaft beyond the scan, its last section drawn on and rounded; whether there is any."""
        key = f"{bone}+shaft"
        if key not in self.solids:
            self.solids[key] = _continued(self, bone)
        return self.solids[key], bool((self.solids[key] < 0).any())

    def on(self, grid: Grid, values: Floats32) -> Floats32:
        """Coarse values on a local grid."""
        return upsample(values, self.coarse, grid)


def _continued(build: Build, bone: str) -> Floats32:
    grid = build.coarse
    nothing = np.full(grid.shape, np.float32(BAND_MM))
    if bone not in build.given:
        return nothing
    up = 1.0 if bone == "femur" else -1.0
    points = build.vertices[bone]
    end = float((points[:, 2] * up).max()) * up
    limit = float(grid.high_mm[2] if up > 0 else grid.low_mm[2])
    if (limit - end) * up < 6.0:
        return nothing
    # 6 mm short of the scan's edge the smoothed cap no longer bends the section
    cut = end - 6.0 * up
    section_at = int(np.clip(round((cut - grid.low_mm[2]) / grid.spacing_mm), 0, grid.shape[2] - 1))
    section = build.distance(bone)[:, :, section_at]
    here = points[np.abs(points[:, 2] - cut) < 2.0]
    middle = 0.5 * (here.min(axis=0) + here.max(axis=0))
    surface = build.given[bone].surface
    axis = shaft_axis(surface, build.frame.basis[:, 2] * up, 55.0, 200.0)[1] @ build.frame.basis
    if bone == "fibula" or abs(axis[2]) < 0.9:
        axis = np.array([0.0, 0.0, up])
    slope = axis[:2] / abs(axis[2])
    radius = {"femur": 13.5, "tibia": 12.5, "fibula": 6.0}[bone] * build.marks.scale
    result = nothing
    for k in range(grid.shape[2]):
        beyond = (float(grid.z[0, 0, k]) - cut) * up
        if beyond < 0.0 or abs(float(grid.z[0, 0, k]) - limit) < 3.0:
            continue
        move = slope * beyond
        moved = ndimage.shift(section, move / grid.spacing_mm, order=1, mode="nearest")
        round_ = ellipse(
            grid.x[:, :, 0] - np.float32(middle[0] + move[0]),
            grid.y[:, :, 0] - np.float32(middle[1] + move[1]),
            radius,
            radius,
        )
        w = ramp(beyond, 0.0, 55.0)
        result[:, :, k] = np.minimum((1 - w) * moved + w * round_, np.float32(BAND_MM))
    return result


def add_shafts(build: Build) -> None:
    """Add the shafts beyond the scan's edge."""
    for bone in ("femur", "tibia", "fibula"):
        values, any_ = build.shaft(bone)
        if any_:
            build.add(f"{bone}_shaft", build.coarse, values, sd=3.0, bump=-1)
