"""Where a drawn structure may go: off the bones and under the skin, sliding along both.

A structure that is moved by chance would end in bone or outside the body. It is therefore moved in small
steps, and wherever it meets bone or its cover it is pushed back along the slope of the distance to them. The
push is shared by what lies within 15 mm, so that a cord bends round a bone and a muscle keeps its thickness;
along free directions the whole shift stays. What is still too deep at a single vertex is moved to the bone's
face, exactly.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from injectplan.anatomy.completion.solids import Frame, Grid
from injectplan.anatomy.model import Structure
from injectplan.imaging.values import Surface
from injectplan.kernels.bvh import nearest_points, signed_distances
from injectplan.kernels.cast import Bools, Floats, Floats32

STEP_MM = 2.0  # of one move: under half of the thinnest plate of bone, whose far side would pull
STIFF_MM = 15.0  # how far a push is shared along a structure (assumed)
NODES = 400  # vertices of a structure that stand for it while it slides
ROUNDS = 4  # of pushing back after each move
INTO_BONE_MM = 0.3  # what touches a bone overlaps it by this at most: no ray finds a gap between
BAND_MM = 12.0
GRID_MM = 1.5
COVER_GRID_MM = 3.0
UNDER_SKIN_MM = 0.2
ENDS_MM = 0.6  # inside the flat ends of the limb that is built
MOVED_BACK_MM = 0.5  # from this push on a structure counts as slid
EXACT_MM = 0.7  # the grid's distance is off by less


@dataclass(frozen=True, eq=False)
class _Slope:
    """A signed distance on a grid in joint coordinates, with its slope: (nx, ny, nz, 4)."""

    grid: Grid
    values: Floats32

    @classmethod
    def to(cls, frame: Frame, surfaces: list[Surface], spacing_mm: float) -> _Slope:
        """The distance to the nearest of several closed surfaces, clamped at a band."""
        points = [frame.to_joint(s.vertices_mm) for s in surfaces]
        low = np.min([p.min(axis=0) for p in points], axis=0) - BAND_MM
        high = np.max([p.max(axis=0) for p in points], axis=0) + BAND_MM
        grid = Grid.between(Frame(frame.origin_mm, frame.basis), low, high, spacing_mm)
        away = grid.distance_to(surfaces, BAND_MM)
        return cls(grid, np.stack([away, *np.gradient(away, grid.spacing_mm)], axis=-1))

    def at(self, xyz: Floats) -> tuple[Floats, Floats]:
        """Distance (n,) and slope (n, 3) at points of joint coordinates (n, 3)."""
        top = np.array(self.grid.shape) - 1
        where = np.clip((xyz - self.grid.low_mm) / self.grid.spacing_mm, 0.0, top - 1e-6)
        first = where.astype(np.int64)
        part = where - first
        found = np.zeros((len(xyz), 4))
        for corner in np.ndindex(2, 2, 2):
            weight = np.prod(np.where(corner, part, 1.0 - part), axis=1)
            i, j, k = (first + np.array(corner)).T
            found += weight[:, None] * self.values[i, j, k]
        return found[:, 0], found[:, 1:]


@dataclass(frozen=True, eq=False)
class Bones:
    """The bones of a joint as what no draw may enter."""

    frame: Frame
    surfaces: tuple[Surface, ...]
    slope: _Slope

    @classmethod
    def of(cls, frame: Frame, structures: Mapping[str, Structure]) -> Bones:
        """The bones among a joint's structures, their shafts beyond the scan with them."""
        surfaces = [s.surface for s in structures.values() if s.risk == "bone" and len(s.surface.triangles)]
        return cls(frame, tuple(surfaces), _Slope.to(frame, surfaces, GRID_MM))

    def cleared(self, xyz: Floats, least_mm: Floats) -> Floats:
        """Points of joint coordinates, those deeper in bone than the least distance moved to it, exactly."""
        away = self.slope.at(xyz)[0]
        near = np.flatnonzero(away < least_mm + EXACT_MM)
        if not len(near):
            return xyz
        moved = self.frame.to_patient(xyz[near])
        least = least_mm[near]
        for _ in range(2):  # out of one bone a point may come to lie in its neighbour
            for surface in self.surfaces:
                low, high = surface.bounds_mm
                inside = np.flatnonzero(((moved > low - 1.0) & (moved < high + 1.0)).all(axis=1))
                if not len(inside):
                    continue
                points = moved[inside]
                signed = signed_distances(surface.bvh, points)
                deep = signed < least[inside] - 1e-9
                if deep.any():
                    chosen = inside[deep]
                    moved[chosen] = _to_face(surface, points[deep], signed[deep], least[chosen])
        result = xyz.copy()
        result[near] = self.frame.to_joint(moved)
        return result


def _to_face(surface: Surface, points: Floats, signed: Floats, least_mm: Floats) -> Floats:
    """Points moved along their own normal to a closed surface to a signed distance from it."""
    foot = nearest_points(surface.bvh, points)[1]
    out = (foot - points) * np.where(signed < 0.0, 1.0, -1.0)[:, None]
    length = np.linalg.norm(out, axis=1, keepdims=True)
    return np.asarray(foot + out / np.maximum(length, 1e-9) * least_mm[:, None])


@dataclass(frozen=True, eq=False)
class Cover:
    """What a draw's structures lie under: a closed surface of it, and the box that holds it."""

    slope: _Slope
    low_mm: Floats
    high_mm: Floats

    @classmethod
    def of(cls, frame: Frame, surface: Surface) -> Cover:
        """A cover of its surface."""
        points = frame.to_joint(surface.vertices_mm)
        slope = _Slope.to(frame, [surface], COVER_GRID_MM)
        return cls(slope, points.min(axis=0) + ENDS_MM, points.max(axis=0) - ENDS_MM)

    def held(self, xyz: Floats) -> Floats:
        """Points within the box: what runs off the end of the limb still ends there."""
        return np.clip(xyz, self.low_mm, self.high_mm)

    def cleared(self, xyz: Floats, least_mm: Floats | float) -> Floats:
        """Points moved inwards to lie at least so deep."""
        result = xyz
        for _ in range(4):
            away, slope = self.slope.at(result)
            miss = np.maximum(away + least_mm, 0.0)
            if not (miss > 0.0).any():
                break
            length = np.maximum(np.linalg.norm(slope, axis=1), 0.3)
            result = result - (1.05 * miss / length**2)[:, None] * slope
        return result


def pushed(nodes: Floats, push: Floats, kernel: Floats) -> Floats:
    """A push at some nodes, shared by those near them: its mean, weighted by its size, fading with distance.

    kernel : (n, n) weights of nodes for one another, 1 on the diagonal.
    """
    size = np.linalg.norm(push, axis=1)
    on = np.flatnonzero(size > 0.0)
    weight = kernel[:, on] * size[on]
    total = np.maximum(weight.sum(axis=1), 1e-12)
    # no matrix product of the library's: its bytes may hang on the number of threads
    mean = np.einsum("ij,jk->ik", weight, push[on]) / total[:, None]
    return np.asarray(mean * kernel[:, on].max(axis=1, initial=0.0)[:, None])


def slid(
    surface: Surface,
    shift_mm: npt.ArrayLike,
    bones: Bones,
    over: Cover,
    skin: Cover,
    share: Floats | None = None,
) -> tuple[Surface, float]:
    """Move a surface by a shift (joint coordinates) along bones and cover; and the greatest push, mm.

    over : what the structure lies under (fascia, or the fat's surface); skin : what nothing may leave (the
    fat's surface).  share : (v,) of the shift at each vertex; None for the whole.
    """
    frame = bones.frame
    start = frame.to_joint(surface.vertices_mm)
    stride = max(1, -(-len(start) // NODES))
    nodes = start[::stride]
    move = np.asarray(shift_mm, np.float64)
    steps = max(1, int(np.ceil(np.linalg.norm(move) / STEP_MM)))
    if share is not None:
        move = share[::stride, None] * move
    floor = np.clip(bones.slope.at(nodes)[0], -INTO_BONE_MM, 0.0)
    roof = np.maximum(over.slope.at(nodes)[0], 0.0)  # what stood out of its cover may do so still
    apart = nodes[:, None, :] - nodes[None, :, :]
    kernel = np.exp(-0.5 * np.einsum("ijk,ijk->ij", apart, apart) / STIFF_MM**2)
    gone, back_sum = np.zeros_like(nodes), np.zeros_like(nodes)
    for _ in range(steps):
        gone = gone + move / steps
        for _ in range(ROUNDS):
            here = over.held(nodes + gone)
            away, slope = bones.slope.at(here)
            above, lean = over.slope.at(here)
            push = np.maximum(floor - away, 0.0)[:, None] * slope
            push -= np.maximum(above - roof, 0.0)[:, None] * lean
            if np.abs(push).max() < 0.05:
                break
            back = pushed(nodes, push, kernel)
            gone, back_sum = gone + back, back_sum + back
    made = start + carried(start, nodes, gone)
    made = _settled(over.held(made), np.clip(bones.slope.at(start)[0], -INTO_BONE_MM, 0.0), bones, skin)
    result = Surface(frame.to_patient(made), surface.triangles)
    return result, float(np.linalg.norm(back_sum, axis=1).max())


def _settled(points: Floats, least_mm: Floats, bones: Bones, skin: Cover) -> Floats:
    """Points under the skin and out of the bones; sideways at the limb's ends, where bones end too."""
    made = points
    for _ in range(2):
        made = bones.cleared(skin.held(skin.cleared(made, UNDER_SKIN_MM)), least_mm)
    held = skin.held(made)
    back = np.flatnonzero(np.abs(held - made).max(axis=1) > 0.0)
    for _ in range(8):
        away, slope = bones.slope.at(held[back])
        slope[:, 2] = 0.0
        miss = np.maximum(least_mm[back] - away, 0.0)
        held[back] += (miss / np.maximum((slope**2).sum(axis=1), 0.1))[:, None] * slope
    made = bones.cleared(held, least_mm)
    inside = (skin.held(made) == made).all(axis=1)
    return np.where(inside[:, None], made, held)


def carried(points: Floats, nodes: Floats, moves: Floats) -> Floats:
    """The nodes' moves at points between them: of the four nearest, weighted by their closeness."""
    if np.ptp(moves, axis=0).max() < 1e-9:
        return np.broadcast_to(moves[0], points.shape)
    away, which = cKDTree(nodes).query(points, k=[1, 2, 3, 4][: len(nodes)])
    weight = 1.0 / (np.asarray(away) + 1.0) ** 2
    weight /= weight.sum(axis=1, keepdims=True)
    return np.asarray(np.einsum("ij,ijk->ik", weight, moves[np.asarray(which)]))


def kept_in(surface: Surface, bones: Bones, skin: Cover) -> Surface:
    """A surface that was not moved, out of bone and under the skin where it was not."""
    start = bones.frame.to_joint(surface.vertices_mm)
    made = _settled(start, np.full(len(start), -INTO_BONE_MM), bones, skin)
    unmoved: Bools = (made == start).all(axis=1)
    if unmoved.all():
        return surface
    return Surface(bones.frame.to_patient(made), surface.triangles)
