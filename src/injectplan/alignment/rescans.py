"""What other scans of the same bone would look like: other voxels under the same surface, noise, smoothing.

The grid of a label map is read off its staircase; without one, the surface carries a smooth random error as
large as its roughness tells. The bone is thinned first, so that a dozen scans cost less than one measurement
(decision 0062).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array, csr_array

from injectplan.alignment.bones import Bone, face_areas, terrace_mm
from injectplan.alignment.fits import frame_of
from injectplan.alignment.meshes import edges_of, vertex_normals
from injectplan.alignment.terraces import IN_STEP, slices_along
from injectplan.frames import unit
from injectplan.kernels.cast import Floats
from injectplan.kernels.chance import normals, uniforms

NEAR_COS = math.cos(math.radians(3.0))
LEAST_SHARE = 0.03  # of the surface on the faces across a grid's axis
MOST_FACES, SPIKE_FACES = 60_000, 3000  # that the grid is read from, and its directions
WIDEST_MM = 8.0  # of a grid's voxels; wider terraces are no slices (assumed)
CELL_MM, MOST_VERTICES = 2.0, 8_000  # vertices of a finer bone that share a cell are one
WAVES = 16
SHORT_MM, LONG_MM = 2.0, 9.0  # correlation lengths: of voxels smoothed away, and of a segmentation's waves
TERRACE_MM = 8.0  # terraces longer than this hide what lies on them (assumed)
LEVEL_SHARE = 0.5  # of half a slice's scatter
WITHIN_MM = 1.0  # a thick slice's voxels within it (assumed)
FAIRED = 10  # steps that smooth a staircase away
BLUR_MM = 2.5
# Irrational steps that spread few phases evenly over the unit cube: powers of the root of x^4 = x + 1.
EVENLY = np.array([0.8191725134, 0.6710436067, 0.5497004779])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Grid:
    """The voxels that a staircase shows: axes (3, 3), rows of unit length, and spacing (3,) mm.

    faired : the steps were smoothed before the surface was given.
    """

    axes: Floats
    spacing_mm: Floats
    faired: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Model:
    """A bone made ready to be scanned again.

    bone : thinned, its staircase smoothed away.  fine : (n, 3) the vertices as given, laid onto it.
    cell : (n,) the thinned bone's vertex that each belongs to.  share : (n,) its part of that vertex.
    mean : averages over a vertex and its neighbours.
    """

    bone: Bone
    fine: Floats
    cell: npt.NDArray[np.int64]
    share: Floats
    mean: csr_array
    grid: Grid | None


def find_grid(bone: Bone) -> Grid | None:
    """Return the voxel grid whose staircase this surface is; None for a smooth one.

    Faces of a label map's surface crowd about a few directions. Of three at right angles to each other, those
    with the widest terraces are the grid's: diagonal ones lie nearer to each other.
    """
    middle, normal, size = _faces(bone)
    some = slice(None, None, max(1, len(size) // SPIKE_FACES))
    spikes = _spikes(normal[some], size[some] / size[some].sum())
    steps = {i: terrace_mm(middle, normal, size, spike) for i, spike in enumerate(spikes)}
    found, largest = None, 0.0
    for i, j in combinations([i for i, step in steps.items() if step], 2):
        a, b = spikes[i], spikes[j]
        if abs(float(a @ b)) > 0.05 or steps[i] * steps[j] * max(steps.values()) < largest:
            continue
        third = unit(np.cross(a, b))
        axes = np.stack([a, np.cross(third, a), third])
        spacing = np.array([steps[i], steps[j], terrace_mm(middle, normal, size, third)])
        if spacing.max() <= WIDEST_MM and float(np.prod(spacing)) > 1.2 * largest:
            found, largest = Grid(axes=axes, spacing_mm=spacing), float(np.prod(spacing))
    return found


def find_slices(bone: Bone) -> Grid | None:
    """Return the slices of a label map whose staircase was smoothed; None where nothing tells them.

    Fairing takes the voxels' steps, but terraces of thick slices stay at even heights: level surface lies in
    step with them along one direction. It is looked for along the patient's axes and where faces crowd, and
    turned until most is in step. Within the slices voxels of 1 mm, or cubes, are taken (assumed).
    """
    middle, normal, size = _faces(bone)
    some = slice(None, None, max(1, len(size) // SPIKE_FACES))
    spikes = _spikes(normal[some], size[some] / size[some].sum())[:4]
    found = [slices_along(middle, normal, size, axis) for axis in (*np.eye(3), *spikes)]
    axis, step, share = max(found, key=lambda one: one[2])
    if share < IN_STEP:
        return None
    return Grid(
        axes=np.stack([*frame_of(axis), axis]),
        spacing_mm=np.array([min(step, WITHIN_MM), min(step, WITHIN_MM), step]), faired=True,
    )  # fmt: skip


def _faces(bone: Bone) -> tuple[Floats, Floats, Floats]:
    """Middles (m, 3), unit normals (m, 3) and shares of the area (m,) of a bone's faces."""
    middle, area = face_areas(bone)
    size = np.linalg.norm(area, axis=1)
    keep = np.flatnonzero(size > 1e-6)
    keep = keep[:: max(1, len(keep) // MOST_FACES)]
    return middle[keep], area[keep] / size[keep, None], size[keep] / size[keep].sum()


def _spikes(normal: Floats, size: Floats) -> list[Floats]:
    """Directions about which unit normals (n, 3) of these sizes (n,) crowd, the most crowded first."""
    spikes = []
    left = np.ones(len(normal), dtype=bool)
    for _ in range(9):
        tried = np.flatnonzero(left)[:: max(1, int(left.sum()) // 80)]
        if not len(tried):
            break
        shares = (np.abs(normal[tried] @ normal.T) > NEAR_COS) @ (size * left)
        along = normal @ normal[tried[int(np.argmax(shares))]]
        mates = np.abs(along) > NEAR_COS
        if float(size[mates].sum()) < LEAST_SHARE:
            break
        spikes.append(unit((size * mates * np.sign(along)) @ normal))
        left &= ~mates
    return spikes


def model_of(bone: Bone, grid: Grid | None = None) -> Model:
    """Return the bone thinned to cells of 2 mm; `grid` : its staircase's, which is smoothed away."""
    points, triangles = bone.points, bone.triangles
    cell, share = np.arange(len(points)), np.ones(len(points))
    if len(points) > MOST_VERTICES:
        place = np.floor((points - points.min(axis=0)) / CELL_MM).astype(np.int64)
        cell = np.unique(place @ [1 << 42, 1 << 21, 1], return_inverse=True)[1]
        weight = np.maximum(bone.weights, 1e-9)
        share = weight / np.bincount(cell, weight)[cell]
        triangles = cell[triangles]
        a, b, c = triangles.T
        triangles = triangles[(a != b) & (b != c) & (c != a)]
        points = _gathered(points, cell, share)
    ends = edges_of(triangles)
    n, k = len(points), len(ends)
    rows = np.concatenate([ends[:, 0], ends[:, 1], np.arange(n)])
    columns = np.concatenate([ends[:, 1], ends[:, 0], np.arange(n)])
    mean = coo_array((np.ones(2 * k + n), (rows, columns)), shape=(n, n)).tocsr()
    mean = csr_array(mean.multiply(1.0 / mean.sum(axis=1)[:, None]))
    if grid is not None:
        points = _faired(points, mean)
    thin = _with_points(replace(bone, triangles=triangles), points, mean)
    lift = ((bone.points - points[cell]) * thin.normals[cell]).sum(axis=1)
    fine = bone.points - lift[:, None] * thin.normals[cell]
    return Model(bone=thin, fine=fine, cell=cell, share=share, mean=mean, grid=grid)


def _gathered(values: Floats, cell: npt.NDArray[np.int64], share: Floats) -> Floats:
    if values.ndim == 1:
        return np.asarray(np.bincount(cell, share * values), dtype=np.float64)
    return np.stack([np.bincount(cell, share * values[:, i]) for i in range(values.shape[1])], axis=1)


def _faired(points: Floats, mean: csr_array) -> Floats:
    """Taubin (1995): steps inwards and outwards in turn, which take the staircase and leave the shape."""
    for _ in range(FAIRED):
        points = points + 0.9 * (mean @ points - points)
        points = points - 0.93 * (mean @ points - points)
    return points


def _with_points(bone: Bone, points: Floats, mean: csr_array) -> Bone:
    weights, direct = vertex_normals(points, bone.triangles)
    smooth = mean @ (mean @ direct)
    length = np.linalg.norm(smooth, axis=1, keepdims=True)
    return replace(bone, points=points, weights=weights, normals=smooth / np.maximum(length, 1e-12))


def steps_mm(model: Model, grid: Grid, number: int) -> Floats:
    """Return how far the same grid, begun elsewhere, moves each vertex (n,): to first order, its label map.

    A point is inside where its voxel's centre is, so that the surface shifts against its normal by the
    offset from the centre along it.  number : of the scan; few of them are spread evenly over a voxel.
    """
    turns = (model.fine @ grid.axes.T) / grid.spacing_mm - (number + 1.0) * EVENLY
    offset = (turns - np.round(turns)) * grid.spacing_mm
    shift = -((model.bone.normals @ grid.axes.T)[model.cell] * offset).sum(axis=1)
    return _gathered(shift, model.cell, model.share)


def noise_mm(model: Model, short_mm: float, long_mm: float, seed: int) -> Floats:
    """Return errors of a smooth kind, one for each vertex (n,): of 2 mm length and of 9 mm, scatter in mm."""
    height = short_mm * _waves(model, SHORT_MM, 4 * seed)
    if long_mm > 0.0:
        height = height + long_mm * _waves(model, LONG_MM, 4 * seed + 2)
    return height


def level_mm(model: Model, grid: Grid, seed: int) -> Floats:
    """Return errors of what this scan hid, one for each vertex (n,): where a surface lies along the slices.

    There one terrace may hold a whole joint surface: the staircase tells neither its tilt nor its curve, only
    that it lies within half a slice, and the same grid begun elsewhere would shift the level face as one.
    """
    along = np.abs(model.bone.normals @ grid.axes.T)
    tangent = np.sqrt(np.maximum(1.0 - along**2, 0.0)) / np.maximum(along, 1e-9)
    hidden = np.exp(-((tangent * TERRACE_MM / grid.spacing_mm) ** 2)) @ (grid.spacing_mm / math.sqrt(12.0))
    return np.asarray(LEVEL_SHARE * hidden * _waves(model, LONG_MM, 4 * seed))


def blur_mm(model: Model) -> Floats:
    """Return how far smoothing over some 2.5 mm moves each vertex (n,)."""
    bone = model.bone
    ends = bone.points[bone.triangles[:, :2]]
    edge = float(np.linalg.norm(ends[:, 0] - ends[:, 1], axis=1).mean())
    points = bone.points
    for _ in range(round(np.clip((BLUR_MM / edge) ** 2, 1.0, 12.0))):
        points = model.mean @ points
    return np.asarray(((points - bone.points) * bone.normals).sum(axis=1))


def _waves(model: Model, reach_mm: float, seed: int) -> Floats:
    """Return a smooth random field over the thinned vertices (n,), scatter 1, correlation length `reach_mm`.

    A sum of plane waves whose wave vectors are normal: its covariance is exp(-d²/(2 reach²)).
    """
    wave = normals(seed, 0, 3 * WAVES).reshape(WAVES, 3) / reach_mm
    phase = 2.0 * np.pi * uniforms(seed + 1, 0, WAVES)
    turns = (model.bone.points @ wave.T + phase).astype(np.float32)  # half the time of double precision
    return np.asarray(np.sqrt(2.0 / WAVES) * np.cos(turns).sum(axis=1), dtype=np.float64)


def moved(model: Model, height: Floats) -> Bone:
    """Return the bone moved along its normals by these heights (n,), mm."""
    bone = model.bone
    return _with_points(bone, bone.points + height[:, None] * bone.normals, model.mean)
