"""How rough a bone's surface is, told by its shaft, which is smooth by nature."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.spatial import KDTree

from injectplan.alignment.bones import Bone
from injectplan.alignment.fits import frame_of
from injectplan.kernels.cast import Floats

SHAFT = (0.3, 0.7)  # of the bone's length
HARMONICS, POWERS = 5, 3
# What the smooth shape leaves of four clean shafts from CT and four of an atlas: 0.16 to 0.29 mm.
CLEAN_MM = 0.25
PATCHES, PATCH_MM, LEAST_PATCHES, MOST_POINTS = 120, 7.0, 20, 20_000

# Of a shaft's roughness, what is its shape (tibiae from CT: up to 0.25 mm beyond a femur's) and what are the
# steps that the fine roughness counts already.
TIBIA_SHAPE_MM, STEPS = 0.25, 1.3
# What the shape itself leaves over patches of 7 mm on bones from CT, as they are and smoothed.
FINE_SHAPE_MM = {"femur": 0.05, "tibia": 0.08, "fibula": 0.12, "talus": 0.19}


@dataclass(frozen=True, slots=True, kw_only=True)
class Roughness:
    """A bone's fine roughness over patches of 7 mm, and its shaft's, mm (0 where no shaft is in view).

    shape_mm, fine_shape_mm : the parts of the shaft's and of the fine one that are its shape.
    """

    fine_mm: float
    shaft_mm: float = 0.0
    shape_mm: float = 0.0
    fine_shape_mm: float = 0.0

    @property
    def grain_mm(self) -> float:
        """The fine roughness beyond the shape's own; 0 where nothing tells it."""
        fine = self.fine_mm if math.isfinite(self.fine_mm) else 0.0
        return math.sqrt(max(fine**2 - self.fine_shape_mm**2, 0.0))

    @property
    def waves_mm(self) -> float:
        """What the shaft deviates by beyond its shape and its steps: errors of some millimetres' length."""
        fine = self.fine_mm if math.isfinite(self.fine_mm) else 0.0
        return math.sqrt(max(self.shaft_mm**2 - self.shape_mm**2 - (STEPS * fine) ** 2, 0.0))


def shaft_roughness_mm(bone: Bone, axis: Floats) -> float:
    """Rms deviation of the shaft's surface from a smooth tube, mm, less that of a clean bone.

    The distance from a curved centre line is fitted by harmonics around and powers along. A rough surface of
    1 mm and a correlation length of 5, 10, 20 mm gives 0.9, 0.8, 0.5 mm; white noise of 0.5 mm gives 0.55.
    axis : unit, along the shaft. Fewer than 200 vertices there tell nothing: 0.
    """
    height = bone.points @ axis
    low, length = float(height.min()), float(np.ptp(height))
    keep = (height > low + SHAFT[0] * length) & (height < low + SHAFT[1] * length)
    if np.count_nonzero(keep) < 200:
        return 0.0
    u, v = frame_of(axis)
    points, root = bone.points[keep], np.sqrt(bone.weights[keep])
    along = np.vander((height[keep] - low - length * np.mean(SHAFT)) / (0.5 * length), POWERS + 1)

    def rest(design: Floats, values: Floats) -> Floats:
        # columns of order one: the normal equations do, in a tenth of the time
        scaled = design * root[:, None]
        found = np.linalg.solve(scaled.T @ scaled, scaled.T @ (values * root))
        return np.asarray(values - design @ found)

    x, z = rest(along, points @ u), rest(along, points @ v)
    around = np.arctan2(z, x)
    waves = [np.ones_like(around)]
    waves += [wave(k * around) for k in range(1, HARMONICS + 1) for wave in (np.cos, np.sin)]
    tube = (np.stack(waves, axis=1)[:, :, None] * along[:, None, :]).reshape(len(around), -1)
    off = rest(tube, np.hypot(x, z))
    return float(np.sqrt(max(np.average(off**2, weights=root**2) - CLEAN_MM**2, 0.0)))


def fine_roughness_mm(bone: Bone) -> float:
    """Rms height of the surface over smooth patches of 7 mm radius: what voxels, facets and noise leave.

    Paraboloids are fitted to patches spread evenly over the bone; the quarter that fits worst (edges of the
    bone's own) is left out. Fewer than 20 patches tell nothing: NaN.
    """
    some = slice(None, None, max(1, len(bone.points) // MOST_POINTS))
    points, normals, weights = bone.points[some], bone.normals[some], bone.weights[some]
    share = np.cumsum(weights) / weights.sum()
    centers = np.unique(np.searchsorted(share, (np.arange(PATCHES) + 0.5) / PATCHES))
    squares = []
    around = KDTree(points).query_ball_point(points[centers], PATCH_MM)
    for i, near in zip(centers, around, strict=True):
        mates = np.array(near)
        mates = mates[normals[mates] @ normals[i] > 0.5]
        if len(mates) < 12:
            continue
        u, v = frame_of(normals[i])
        offset, root = points[mates] - points[i], np.sqrt(weights[mates])
        x, z, height = offset @ u, offset @ v, (offset @ normals[i]) * root
        design = np.stack([np.ones_like(x), x, z, x * x, x * z, z * z], axis=1) * root[:, None]
        off = height - design @ np.linalg.lstsq(design, height, rcond=None)[0]
        squares.append(float(off @ off) / float(root @ root))
    if len(squares) < LEAST_PATCHES:
        return float("nan")
    return float(np.sqrt(np.mean(np.sort(squares)[: int(0.75 * len(squares))])))
