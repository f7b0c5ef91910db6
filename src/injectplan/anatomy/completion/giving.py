"""Soft tissue gives way to an effusion that was segmented: it stands off, bulges, and nothing lies in it.

The tissues are drawn for a joint at rest. Where the fluid's wall stands off the bone by h, what lay on the
joint's resting wall comes to lie on the fluid, and what lay at w from the bone moves the less the farther out
it lay: by s exp(-w / L), s what the wall has moved. L is so long that no layer is thinned by more than
two fifths. Tendons, vessels and nerves move stiffly, so that they stay as round as they were drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from injectplan.anatomy.completion.making import Making, lies_in_the_fat
from injectplan.anatomy.completion.sliding import carried, pushed
from injectplan.anatomy.completion.solids import Frame, Grid
from injectplan.imaging.values import Surface
from injectplan.kernels.bvh import nearest_points, signed_distances
from injectplan.kernels.cast import Bools, Floats, Floats32
from injectplan.structures import structure

RESTING_MM = 2.5  # of a resting joint's wall from the bone (assumed)
LEAST_REACH_MM = 30.0  # over which the push fades outwards (assumed)
THINNED = 0.4  # most of its thickness that a layer loses (assumed)
BESIDE_MM = 8.0  # beside the fluid the push falls to 1/e over this (assumed)
EVEN_MM = 3.0  # over which the push is evened
FAR_MM, SPACING_MM = 40.0, 2.0  # the push's grid: how far around the fluid, and its steps
STIFF_MM = 6.0  # over which a cord moves as one piece (assumed)
NODES, ROUNDS = 700, 10
# how far off the fluid's wall each layer stays at least: the capsule and what lies under it (assumed)
CLEAR_MM = {"skin": 12.0, "subcutaneous_fat": 10.3, "deep_fascia": 5.4, "muscle": 4.6, "deep_fat": 4.7}
FAT_CLEAR_MM, CORD_CLEAR_MM, OTHER_CLEAR_MM = 6.2, 2.0, 1.2
UNDER_SKIN_MM = 0.8  # of a cord's wall, where it was no nearer
CORDS = ("tendon", "vessel", "nerve")
STAY = ("bone", "cartilage", "meniscus", "cavity", "fill", "capsule")


@dataclass(frozen=True, eq=False)
class _Push:
    """Displacement of tissue by where it lay at rest, (nx, ny, nz, 3) mm, and the fluid's signed distance."""

    grid: Grid
    shift: Floats32
    fluid: Floats32
    slope: Floats32

    def read(self, values: Floats32, xyz: Floats) -> Floats:
        """Values at joint coordinates (n, 3): (n,) or (n, 3)."""
        at = ((xyz - self.grid.low_mm) / self.grid.spacing_mm).T
        if values.ndim == 3:
            return np.asarray(ndimage.map_coordinates(values, at, order=1, mode="nearest"), np.float64)
        parts = [ndimage.map_coordinates(values[..., a], at, order=1, mode="nearest") for a in range(3)]
        return np.stack(parts, axis=1).astype(np.float64)

    def out(self, xyz: Floats, clear_mm: float) -> Floats:
        """What moves points off the fluid, to a distance from its wall, (n, 3)."""
        miss = np.maximum(clear_mm - self.read(self.fluid, xyz), 0.0)
        slope = self.read(self.slope, xyz)
        return np.asarray(miss[:, None] * slope / np.maximum(np.linalg.norm(slope, axis=1), 0.3)[:, None])


def _away(inside: Bools, spacing_mm: float, on: Bools | None = None) -> Floats32:
    """Signed distance to a body on a grid, from its voxels.

    on : what it lies on; within the body the way out is then not the one into that.
    """
    out = ndimage.distance_transform_edt(~inside)
    within = ndimage.distance_transform_edt(inside if on is None else inside | on)
    signed = np.where(inside, 0.5 - within, out - 0.5) * spacing_mm
    return np.asarray(ndimage.gaussian_filter(signed.astype(np.float32), 0.7), np.float32)


def _slope(values: Floats32, spacing_mm: float) -> Floats32:
    parts = [np.gradient(values, spacing_mm, axis=a) for a in range(3)]
    return np.stack(parts, axis=-1).astype(np.float32)


def _push_of(fluid: Surface, bones: Sequence[Surface], frame: Frame) -> _Push:
    """The push of a fluid on what lay on bones; its grid ends where nothing is pushed any more."""
    box = frame.to_joint(fluid.vertices_mm)
    grid = Grid.between(frame, box.min(axis=0) - FAR_MM, box.max(axis=0) + FAR_MM, SPACING_MM)
    step = grid.spacing_mm
    filled = grid.distance(fluid, 2.0 * step) < 0.0
    bone = grid.distance_to(bones, 2.0 * step) < 0.0
    away, off = _away(filled, step, bone), np.maximum(_away(bone, step), 0.0)
    shift = _lift(filled, away, off, step)
    return _Push(grid, shift, away, _slope(away, step))


def _lift(filled: Bools, away: Floats32, off: Floats32, step: float) -> Floats32:
    """Displacement of what lay at `off` from the bone, by the place it lay at, (nx, ny, nz, 3)."""
    wall = np.where(filled, off - away, 0.0)  # how far the wall stands off the bone, over each point
    index = ndimage.distance_transform_edt(~filled, return_distances=False, return_indices=True)
    nearest = wall[tuple(index)]
    above = np.maximum(off - nearest, 0.0)
    beside = np.sqrt(np.maximum(np.maximum(away, 0.0) ** 2 - above**2, 0.0))
    stood = np.maximum(nearest - RESTING_MM, 0.0) * np.exp(-((beside / BESIDE_MM) ** 2))
    stood = ndimage.gaussian_filter(stood.astype(np.float32), EVEN_MM / step)
    reach = np.maximum(LEAST_REACH_MM, stood / THINNED)
    size = stood * np.exp(-np.maximum(off - RESTING_MM, 0.0) / reach)
    way = _slope(ndimage.gaussian_filter(off, EVEN_MM / step), step)
    way /= np.maximum(np.linalg.norm(way, axis=-1, keepdims=True), 0.2)
    return np.asarray(size[..., None] * way, np.float32)


@dataclass(frozen=True, eq=False)
class _Cord:
    """A cord's nodes, of which neighbours move together."""

    start: Floats
    nodes: Floats
    kernel: Floats

    @classmethod
    def of(cls, start: Floats) -> _Cord:
        """A cord of its surface's points, (n, 3) in joint coordinates."""
        nodes = start[:: max(1, -(-len(start) // NODES))]
        apart = nodes[:, None, :] - nodes[None, :, :]
        return cls(start, nodes, np.exp(-0.5 * np.einsum("ijk,ijk->ij", apart, apart) / STIFF_MM**2))

    def moved(self, push: _Push, clear_mm: float, skin: Callable[[Floats], Floats]) -> Floats:
        """The cord's points after the push, off the fluid and under the skin."""
        gone = push.read(push.shift, self.nodes)
        gone = np.einsum("ij,jk->ik", self.kernel, gone) / self.kernel.sum(axis=1, keepdims=True)
        for _ in range(ROUNDS):
            more = push.out(self.nodes + gone, clear_mm)
            if np.abs(more).max(initial=0.0) > 0.05:
                gone = gone + pushed(self.nodes, more, self.kernel)
        if not np.abs(gone).max(initial=0.0) > 1e-6:
            return self.start
        for _ in range(ROUNDS):
            more = skin(self.nodes + gone)
            if np.abs(more).max(initial=0.0) < 0.05:
                break
            gone = gone + pushed(self.nodes, more, self.kernel)
        return np.asarray(self.start + carried(self.start, self.nodes, gone))


def _inwards(frame: Frame, skin: Surface | None) -> Callable[[Floats], Floats]:
    """What moves joint coordinates (n, 3) under a skin."""

    def needed(xyz: Floats) -> Floats:
        if skin is None:
            return np.zeros_like(xyz)
        points = frame.to_patient(xyz)
        signed = signed_distances(skin.bvh, points)
        miss = np.maximum(signed + UNDER_SKIN_MM, 0.0)
        way = nearest_points(skin.bvh, points)[1] - points
        way *= np.where(signed > 0.0, 1.0, -1.0)[:, None] / np.maximum(np.abs(signed), 1e-3)[:, None]
        way = way @ frame.basis
        way[:, 2] = 0.0  # at the limb's ends too
        return np.asarray(miss[:, None] * way)

    return needed


def give_way(build: Making, on: Sequence[str]) -> None:
    """Move what was made off the fluid that was segmented; what was given stays.

    on : the bones that the fluid lies on.
    """
    if build.fluid is None or not len(build.fluid.surface.triangles):
        return
    bones = [build.given[n].surface for n in on if n in build.given]
    push = _push_of(build.fluid.surface, bones, build.frame)
    skin: Surface | None = None
    for name in sorted(build.made, key=lambda n: n != "skin"):
        made, layer = build.made[name], structure(name).layer
        if layer in STAY or not len(made.surface.triangles):
            continue
        start = build.frame.to_joint(made.surface.vertices_mm)
        if layer in CORDS:
            clear = FAT_CLEAR_MM if lies_in_the_fat(name) else CORD_CLEAR_MM
            moved = _Cord.of(start).moved(push, clear, _inwards(build.frame, skin))
        else:
            moved = start + push.read(push.shift, start)
            for _ in range(ROUNDS):
                moved = moved + push.out(moved, CLEAR_MM.get(name, OTHER_CLEAR_MM))
        if np.abs(moved - start).max() > 1e-6:
            surface = Surface(build.frame.to_patient(moved), made.surface.triangles)
            build.made[name] = replace(made, surface=surface)
        if name == "skin":
            skin = build.made[name].surface


def covering(build: Making, grid: Grid) -> Grid:
    """The grid, grown on whole steps to hold a skin that has risen beyond it."""
    if build.fluid is None or "skin" not in build.made:
        return grid
    points = build.frame.to_joint(build.made["skin"].surface.vertices_mm)
    low, high = points.min(axis=0) - 1.0, points.max(axis=0) + 1.0
    low[2], high[2] = grid.low_mm[2], grid.high_mm[2]  # the limb's ends are the view's
    low, high = np.minimum(grid.low_mm, low), np.maximum(grid.high_mm, high)
    if (low == grid.low_mm).all() and (high == grid.high_mm).all():
        return grid
    return Grid.between(build.frame, low, high, grid.spacing_mm / build.frame.coarser)
