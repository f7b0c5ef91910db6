"""Fluid that was segmented, made part of the joint cavity."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from injectplan.anatomy.cavity import counted_ml, halved
from injectplan.anatomy.completion.solids import Frame
from injectplan.anatomy.model import Cavity, Structure
from injectplan.imaging.values import Surface
from injectplan.kernels.bvh import contains, nearest_points
from injectplan.kernels.cast import Floats, Floats32
from injectplan.measure import Notice

FLUID_BAND_MM = 3.0
REACHED_MM = 1.0  # a piece of fluid lies in the cavity whose wall follows most of its own
LEAST_SAID_ML = 0.1
FARTHEST_MM = 25.0  # assumed: fluid farther from where a joint's cavity ends is a bursa's or a wrong label


def holding(
    frame: Frame, low: npt.ArrayLike, high: npt.ArrayLike, fluid: Structure | None
) -> tuple[Floats, Floats]:
    """Grow a box of joint coordinates to hold segmented fluid, by 25 mm a side at most."""
    least, most = np.asarray(low, np.float64), np.asarray(high, np.float64)
    if fluid is None:
        return least, most
    where = frame.to_joint(fluid.surface.vertices_mm)
    return (
        np.clip(where.min(axis=0) - FLUID_BAND_MM, least - FARTHEST_MM, least),
        np.clip(where.max(axis=0) + FLUID_BAND_MM, most, most + FARTHEST_MM),
    )


def with_fluid(
    rest: Floats32, seen: Floats32, walls: Floats32, ease: Floats32, resting_ml: float, spacing_mm: float
) -> tuple[Floats32, float, float]:
    """Join the folds, thinned to a normal joint's volume, with the fluid seen; what both, and it, hold in mL.

    rest, seen : signed values of folds and segmented fluid.  walls : distance to bone and cartilage.
    ease : where the folds are thinned most.  All of one shape, on a grid of spacing_mm.
    """
    free = np.float32(0.05) - walls
    share = np.float32(0.1) + np.float32(0.9) * ease

    def thinned(by_mm: float) -> Floats32:
        return np.asarray(np.maximum(rest + np.float32(by_mm) * share, free), np.float32)

    by_mm = halved(lambda by: counted_ml(thinned(by), 0.0, spacing_mm) > resting_ml, 0.0, 2.5, 8)[1]
    joined = np.minimum(rest + np.float32(by_mm) * share, seen)
    both, alone = (counted_ml(np.maximum(values, free), 0.0, spacing_mm) for values in (joined, seen))
    return joined, max(resting_ml, both), alone


def parted(fluid: Structure, cavity: Cavity) -> tuple[Structure | None, float]:
    """Part segmented fluid into what lies in the cavity (None for nothing) and the volume of the rest, mL."""
    vertices, faces = fluid.surface.vertices_mm, fluid.surface.triangles
    if not len(faces):
        return fluid, 0.0
    links = coo_matrix(
        (np.ones(2 * len(faces), np.int8), (faces[:, [0, 1]].ravel(), faces[:, [1, 2]].ravel())),
        shape=(len(vertices), len(vertices)),
    )
    piece = connected_components(links, directed=False)[1]
    inside = nearest_points(cavity.surface.bvh, vertices, REACHED_MM)[2] >= 0
    inside |= contains(cavity.surface.bvh, vertices)
    reached = np.bincount(piece, inside) > 0.5 * np.bincount(piece)
    kept = Surface(vertices, faces[reached[piece[faces[:, 0]]]])
    apart_ml = fluid.surface.volume_ml - kept.volume_ml
    return (replace(fluid, surface=kept) if len(kept.triangles) else None), apart_ml


def said_of(apart_ml: float, name: str) -> Notice:
    """Say how much segmented fluid is no part of the joint's cavity."""
    said = f"{apart_ml:.2g} mL of segmented fluid hang together with nothing of the joint (a bursa, a cyst, "
    return Notice("fluid-apart", f"{said}or a label astray) and are not part of its cavity", name)
