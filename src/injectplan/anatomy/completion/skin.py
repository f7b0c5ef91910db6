"""Skin that was seen, in an image or as a label, laid over the limb that geometry draws."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from injectplan.anatomy.completion.solids import Grid
from injectplan.anatomy.outline import Outline
from injectplan.imaging.values import Surface
from injectplan.kernels.cast import Floats, Floats32

BAND_MM = 26.0
JOIN_MM = 8.0  # over which what was seen passes into what is drawn
CARRY_MM = 15.0  # how far beyond the view the difference between seen and drawn skin is carried on
LEAST_UNDER_SKIN_MM = 1.0  # of fat between skin and fascia
NEAR_MM = 80.0  # from the joint's centre: where needles enter


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SeenSkin:
    """Skin that was seen.

    surface : closed, patient mm.  sd_mm : of its place where it was seen.
    outline : of an image, which bounds the view; None for a skin that was segmented.
    source : in words, for the list of assumptions.
    """

    surface: Surface
    sd_mm: float
    outline: Outline | None
    source: str

    def view_mm(self, points_mm: npt.ArrayLike, proximal: Floats) -> Floats:
        """How far points (..., 3) lie inside what was seen; a segmented skin ends at its own ends."""
        if self.outline is not None:
            return self.outline.depth_in_view_mm(points_mm)
        along = self.surface.vertices_mm @ proximal
        at = np.asarray(points_mm, np.float64) @ proximal
        return np.asarray(np.minimum(at - along.min(), along.max() - at) - 3.0)


def skin_of_outline(outline: Outline) -> SeenSkin:
    """The skin that an image shows."""
    return SeenSkin(surface=outline.surface, sd_mm=outline.sd_mm, outline=outline, source="the MR image")


def skin_of_surface(surface: Surface) -> SeenSkin:
    """The skin that was segmented."""
    return SeenSkin(surface=surface, sd_mm=0.0, outline=None, source="the segmentation")


def laid_over(drawn: Floats32, grid: Grid, seen: SeenSkin) -> tuple[Floats32, float]:
    """Signed values of the skin: as seen inside the view, as drawn far from it, joined in between.

    drawn : the skin by geometry, about a distance.  Beyond the view the difference between the two is carried
    on for some 15 mm and fades.  Returns the values and the share of the skin near the joint that was seen.
    """
    truth = grid.distance(seen.surface, BAND_MM)
    drawn = np.clip(drawn, -BAND_MM, BAND_MM)
    i, j, k = np.meshgrid(*(np.arange(n) for n in grid.shape), indexing="ij", sparse=True)
    affine = grid.affine
    points = np.stack(
        np.broadcast_arrays(*(affine[a, 0] * i + affine[a, 1] * j + affine[a, 2] * k + affine[a, 3]
                              for a in range(3))), axis=-1)  # fmt: skip
    view = seen.view_mm(points, grid.frame.basis[:, 2]).astype(np.float32)
    known = (view > 0.0) & ((np.abs(truth) < 0.9 * BAND_MM) | (np.abs(drawn) < 0.9 * BAND_MM))
    weight = known.astype(np.float32)
    sigma = CARRY_MM / grid.spacing_mm
    mass = ndimage.gaussian_filter(weight, sigma, truncate=3.0)
    carried = ndimage.gaussian_filter((truth - drawn) * weight, sigma, truncate=3.0)
    carried = carried / np.maximum(mass, 1e-3)
    carried *= np.clip(mass / np.float32(0.15), 0.0, 1.0)
    t = np.clip(view / np.float32(JOIN_MM), 0.0, 1.0)
    share = t * t * (3.0 - 2.0 * t)
    values = np.asarray(share * truth + (1.0 - share) * (drawn + carried), np.float32)
    away = np.sqrt(grid.x**2 + grid.y**2 + grid.z**2)
    near = (np.abs(values) < grid.spacing_mm) & (away < NEAR_MM)
    return values, float((view[near] > 0.0).mean()) if near.any() else 0.0


def under_skin(core: Floats32, skin: Floats32, thickness_mm: float) -> Floats32:
    """The limb under the deep fascia, drawn in where the skin that was seen leaves it no room."""
    return np.asarray(np.maximum(core, skin + np.float32(thickness_mm + LEAST_UNDER_SKIN_MM)), np.float32)
