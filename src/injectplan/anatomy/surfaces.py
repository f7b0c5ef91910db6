"""Closed surfaces of voxel masks that keep the voxels' volume.

Each mask is smoothed by a Gaussian of half a millimetre and cut by flying edges at the level that gives the
mask's own volume: an iso-surface at one half alone would shrink a ball of radius R by σ²/R. A thin sheet
smoothed alone would fade (a slab thinner than 1.35 σ vanishes at one half), so cartilage is cut from the
solid of bone and cartilage together: outside it ends where the smoothed union does, inside exactly on the
bone's surface.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from vtkmodules.util.numpy_support import numpy_to_vtk, vtk_to_numpy
from vtkmodules.vtkCommonDataModel import vtkImageData
from vtkmodules.vtkFiltersCore import vtkFlyingEdges3D

from injectplan.anatomy.counting import counting_sd_ml, smooth_surplus_mm3
from injectplan.errors import EmptyStructureError
from injectplan.imaging.values import Surface
from injectplan.kernels.cast import Bools, Floats, Floats32, Ints
from injectplan.kernels.solids import inside_grid

SMOOTHING_MM = 0.5  # 1 mm would fade menisci
CARRIER_SMOOTHING_MM = (
    0.6  # bone with cartilage: 0.5 leaves 0.06 mm of spread on a 1 mm shell, 0.7 frays rims
)
PAD_VOXELS = 4
SHEET_LEVEL = 0.2  # 0.25 at the rim of thick cartilage, 0.23 at the faces of a sheet one 0.36 mm voxel thick
VOLUME_TOLERANCE = 2e-4
MOST_CUTS = 8
# A count is off by 4.2 of its own spreads at the worst of 1,500 places of a shell. What would move it farther
# is no knowledge of its voxels: two cartilages 0.4 mm apart on a grid of 0.8 mm took 4 % (12 spreads) away.
MOST_SURPLUS_SD = 5.0
MOST_SURPLUS = 0.009  # of the count: within a hundredth of it a mesh must stay
NUDGE = np.float32(1e-4)  # of a mask's value: 1e-4 mm on the surface


@dataclass(frozen=True, eq=False)
class SmoothMask:
    """A mask smoothed on a padded crop of its grid.

    values : smoothed mask on the crop, float32.  start : the crop's first voxel in the grid.
    volume_mm3 : the voxels' volume.
    """

    values: Floats32
    start: tuple[int, int, int]
    volume_mm3: float


def _crop(mask: Bools, pad: Sequence[int]) -> tuple[tuple[slice, ...], tuple[tuple[int, int], ...]]:
    """Slices of the mask's bounding box grown by `pad` within the grid, and the padding missing outside."""
    slices, missing = [], []
    for axis in range(3):
        others = tuple(a for a in range(3) if a != axis)
        filled = np.flatnonzero(mask.any(axis=others))
        low, high = int(filled[0]) - pad[axis], int(filled[-1]) + 1 + pad[axis]
        inside = slice(max(low, 0), min(high, mask.shape[axis]))
        slices.append(inside)
        missing.append((inside.start - low, high - inside.stop))
    return tuple(slices), tuple(missing)


def smooth_mask(mask: Bools, affine: Floats, *, sigma_mm: float = SMOOTHING_MM) -> SmoothMask:
    """Smooth a mask (i, j, k) by a Gaussian; beyond the grid lies nothing, so cut bones are capped.

    Raises EmptyStructureError for an empty mask.
    """
    if not mask.any():
        raise EmptyStructureError("the mask holds no voxel: nothing to make a surface of")
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    sigma = sigma_mm / spacing
    pad = [PAD_VOXELS + int(np.ceil(s)) for s in sigma]
    slices, missing = _crop(mask, pad)
    values = np.pad(mask[slices], missing).astype(np.float32)
    count = float(np.count_nonzero(mask))
    if sigma_mm > 0.0:
        ndimage.gaussian_filter(values, sigma, output=values, mode="constant", truncate=3.5)
    start = tuple(int(s.start - m[0]) for s, m in zip(slices, missing, strict=True))
    return SmoothMask(values, start, count * float(abs(np.linalg.det(affine[:3, :3]))))  # type: ignore[arg-type]


def flying_edges(values: Floats32, level: float) -> tuple[Floats, Ints]:
    """Cut a grid (i, j, k) at a level: vertices in voxel indices (n, 3) and triangles (m, 3).

    The grid's border must lie below the level. A grid value that hardly differs from the level is moved
    above it, because it would give triangles of no area and doubled vertices.
    """
    flat = np.ascontiguousarray(values.ravel(order="F"))
    cut = np.float32(level)
    flat[np.abs(flat - cut) < NUDGE] = cut + NUDGE
    image = vtkImageData()
    image.SetDimensions(*values.shape)
    image.GetPointData().SetScalars(numpy_to_vtk(flat))
    cutter = vtkFlyingEdges3D()
    cutter.SetInputData(image)
    cutter.ComputeNormalsOff()
    cutter.ComputeScalarsOff()
    cutter.SetValue(0, float(cut))
    cutter.Update()
    result = cutter.GetOutput()
    if not result.GetNumberOfPolys():
        return np.zeros((0, 3)), np.zeros((0, 3), np.int32)
    points = vtk_to_numpy(result.GetPoints().GetData()).astype(np.float64)
    triangles = vtk_to_numpy(result.GetPolys().GetConnectivityArray()).reshape(-1, 3).astype(np.int32)
    return points, triangles


def _volume_in_voxels(points: Floats, triangles: Ints) -> float:
    if not len(triangles):
        return 0.0
    a, b, c = (points[triangles[:, i]] - points.mean(axis=0) for i in range(3))
    return float(np.einsum("ij,ij->", a, np.cross(b, c)) / 6.0)


def _to_surface(points: Floats, triangles: Ints, start: Sequence[int], affine: Floats) -> Surface:
    """Map a cut in voxel indices into the patient, normals outward for either handedness of the affine."""
    vertices = (points + np.asarray(start)) @ affine[:3, :3].T + affine[:3, 3]
    outward = _volume_in_voxels(points, triangles) * np.linalg.det(affine[:3, :3]) > 0
    return Surface(vertices, triangles if outward else np.ascontiguousarray(triangles[:, ::-1]))


def _level_keeping_volume(
    values: Floats32, wanted: float, low: float, high: float
) -> tuple[float, Floats, Ints]:
    """Return the level in [low, high] whose cut encloses `wanted` voxels, and that cut.

    Newton steps, with the derivative from how many voxels hold values near the level, kept in a bracket.
    """
    level = 0.5 if low < 0.5 < high else 0.5 * (low + high)
    points, triangles = flying_edges(values, level)
    for _ in range(MOST_CUTS):
        found = abs(_volume_in_voxels(points, triangles))
        if abs(found - wanted) <= VOLUME_TOLERANCE * wanted:
            break
        low, high = (level, high) if found > wanted else (low, level)
        band = 0.1
        near = np.count_nonzero((values > level - band) & (values < level + band)) / (2.0 * band)
        step = (found - wanted) / max(near, 1.0)
        level = level + step if low < level + step < high else 0.5 * (low + high)
        points, triangles = flying_edges(values, level)
    return level, points, triangles


def surface_of_smooth(smooth: SmoothMask, affine: Floats) -> tuple[Surface, float]:
    """Return the closed surface that encloses the voxels' volume, and its iso-level."""
    wanted = smooth.volume_mm3 / float(abs(np.linalg.det(affine[:3, :3])))
    top = float(smooth.values.max())
    level, points, triangles = _level_keeping_volume(smooth.values, wanted, 0.02 * top, 0.98 * top)
    return _to_surface(points, triangles, smooth.start, affine), level


def surface_of_mask(mask: Bools, affine: npt.ArrayLike, *, sigma_mm: float = SMOOTHING_MM) -> Surface:
    """Return the closed, manifold surface of a mask (i, j, k), sub-voxel and of the voxels' own volume.

    affine : (4, 4) voxel indices → RAS mm, of either handedness.  Normals point outward; a mask cut by the
    grid's border is capped there. Raises EmptyStructureError for an empty mask.
    """
    matrix = np.asarray(affine, dtype=np.float64)
    return surface_of_smooth(smooth_mask(np.asarray(mask, bool), matrix, sigma_mm=sigma_mm), matrix)[0]


def _on(smooth: SmoothMask, start: Sequence[int], shape: Sequence[int]) -> Floats32:
    """A smoothed mask's values on another crop of the same grid, zero where it has none."""
    result = np.zeros(tuple(shape), np.float32)
    into, out = [], []
    for axis in range(3):
        shift = smooth.start[axis] - start[axis]
        low, high = max(shift, 0), min(shift + smooth.values.shape[axis], shape[axis])
        into.append(slice(low, max(high, low)))
        out.append(slice(low - shift, max(high, low) - shift))
    result[tuple(into)] = smooth.values[tuple(out)]
    return result


def sheet_surface(
    sheet: SmoothMask,
    bone: SmoothMask,
    bone_level: float,
    affine: Floats,
    masks: tuple[Bools, Bools] | None = None,
) -> Surface:
    """Return the closed surface of cartilage on a bone: what the union holds and the bone does not.

    Its inner face is cut at the bone's own level, so that it shares the bone surface's vertices and a ray
    finds no gap; the outer face is the smoothed union's, at the level that keeps the sheet's voxel volume.
    masks : of the bone, and of bone and sheet together, on the whole grid. With them the volume kept is what
        the voxels say of smooth surfaces, which is nearer the truth than their count (decision 0070).
    """
    own = sheet.values
    base = _on(bone, sheet.start, own.shape)
    inner = np.minimum(np.float32(bone_level) - base, own - np.float32(SHEET_LEVEL))
    wanted = sheet.volume_mm3 / float(abs(np.linalg.det(affine[:3, :3])))
    union = base + own
    level, found, cut = _cut_of_volume(inner, union, wanted, bone_level)
    if masks is not None:
        made = _to_surface(*cut, sheet.start, affine)
        off = np.stack([
            np.abs(ndimage.map_coordinates(values, cut[0].T, order=1) - np.float32(at))
            for values, at in ((own, SHEET_LEVEL), (base, bone_level), (union, level))
        ])  # fmt: skip
        more = _surplus_voxels(made, np.argmin(off, axis=0), masks, affine)
        voxel_ml = float(abs(np.linalg.det(affine[:3, :3]))) / 1000.0
        most = MOST_SURPLUS_SD * counting_sd_ml(made.area_mm2, affine) / voxel_ml
        most = min(most, MOST_SURPLUS * wanted)
        if VOLUME_TOLERANCE * wanted < abs(more) <= most:
            _, _, cut = _cut_of_volume(inner, union, found + more, level)
    return _to_surface(*cut, sheet.start, affine)


def _cut_of_volume(
    inner: Floats32, union: Floats32, wanted: float, level: float
) -> tuple[float, float, tuple[Floats, Ints]]:
    """Return the union's level at which the sheet holds `wanted` voxels, what it holds there, and its cut."""
    low, high = 0.05, 0.95
    tried: list[tuple[float, float]] = []
    for _ in range(MOST_CUTS):
        cut = flying_edges(np.minimum(inner, union - np.float32(level)), 0.0)
        found = abs(_volume_in_voxels(*cut))
        tried.append((level, found))
        if abs(found - wanted) <= VOLUME_TOLERANCE * wanted:
            break
        low, high = (level, high) if found > wanted else (low, level)
        level = _next_level(tried, wanted, low, high)
    return tried[-1][0], found, cut


def _surplus_voxels(
    made: Surface, face: npt.NDArray[np.int64], masks: tuple[Bools, Bools], affine: Floats
) -> float:
    """How many voxels the sheet between smooth surfaces holds more than the one made.

    face : of each vertex, 1 on the bone, 2 on the union's outside, 0 on the rim.
    """
    outward, areas = made.vertex_normals, made.vertex_areas_mm2
    total = 0.0
    for number, mask, sign in ((1, masks[0], -1.0), (2, masks[1], 1.0)):
        on = face == number
        surplus = smooth_surplus_mm3(made.vertices_mm[on], sign * outward[on], areas[on], mask, affine)
        total += sign * surplus
    return total / float(abs(np.linalg.det(affine[:3, :3])))


def _next_level(tried: Sequence[tuple[float, float]], wanted: float, low: float, high: float) -> float:
    """Secant through the last two tries, the middle of the bracket where it leaves it."""
    if len(tried) == 1:
        level, found = tried[0]
        guess = level + 0.25 * (found - wanted) / wanted  # 0.25 of level: 0.3 mm of thickness
    else:
        (a, fa), (b, fb) = tried[-2], tried[-1]
        guess = b + (wanted - fb) * (b - a) / (fb - fa) if fb != fa else low
    return guess if low < guess < high else 0.5 * (low + high)


def _turned_by_content(masks: Mapping[str, Bools], affine: Floats) -> tuple[Mapping[str, Bools], Floats]:
    """Masks and affine with each voxel axis running the way in which the largest mask is skewed.

    The cutter chooses diagonals by the axes' directions; so a copy whose array is flipped, as another program
    may write it, or whose body is mirrored, is cut alike (medians of regions differed by 1.2 %).
    """
    turned = affine.copy()
    if not masks:
        return masks, affine
    largest = masks[max(sorted(masks), key=lambda name: np.count_nonzero(masks[name]))]
    back = skewed_backwards(largest)
    for axis in np.flatnonzero(back):
        turned[:3, 3] += (largest.shape[axis] - 1) * turned[:3, axis]
        turned[:3, axis] *= -1.0
    steps = tuple(slice(None, None, -1 if b else 1) for b in back)
    return {name: m[steps] for name, m in masks.items()}, turned


def skewed_backwards(mask: Bools) -> tuple[bool, bool, bool]:
    """Whether a mask (i, j, k) is skewed against each of its axes, so that a mirror image turns with it."""
    over, along = np.count_nonzero(mask, axis=2), np.count_nonzero(mask, axis=(0, 1))
    result = []
    for filled in (over.sum(axis=1), over.sum(axis=0), along):
        n = len(filled)
        at = np.arange(n) - np.average(np.arange(n), weights=filled) if filled.any() else np.zeros(n)
        result.append(bool(float((filled * at**3).sum()) < 0.0))
    return result[0], result[1], result[2]


def solids_of_masks(
    masks: Mapping[str, Bools], affine: npt.ArrayLike, carried_by: Mapping[str, str]
) -> dict[str, Surface]:
    """Closed surfaces of many masks of one grid; a mask named in `carried_by` is a sheet on that bone.

    Empty masks are left out. Touching sheet and bone share vertices; all else is cut on its own.
    """
    masks, matrix = _turned_by_content(masks, np.asarray(affine, dtype=np.float64))
    bones = {carried_by[n] for n in masks if n in carried_by}
    smooth = {
        n: smooth_mask(
            m, matrix, sigma_mm=CARRIER_SMOOTHING_MM if n in carried_by or n in bones else SMOOTHING_MM
        )
        for n, m in masks.items()
        if m.any()
    }
    result: dict[str, Surface] = {}
    levels: dict[str, float] = {}
    for name, values in smooth.items():
        if carried_by.get(name) not in smooth:
            result[name], levels[name] = surface_of_smooth(values, matrix)
    for name, values in smooth.items():
        bone = carried_by.get(name)
        if bone in smooth and bone is not None:
            both = (masks[bone], masks[bone] | masks[name])
            result[name] = sheet_surface(values, smooth[bone], levels[bone], matrix, both)
    return {name: result[name] for name in masks if name in result}


def mask_of_surface(surface: Surface, affine: npt.ArrayLike, shape: Sequence[int]) -> Bools:
    """Return the voxels (i, j, k) of a grid whose centres lie inside a closed surface.

    The crossings of each column of voxels along k are counted; a column that crosses an odd number of times
    (an open surface) counts as outside.
    """
    mask = np.zeros(tuple(shape), bool)
    if not len(surface.triangles):
        return mask
    inverse = np.linalg.inv(np.asarray(affine, dtype=np.float64))
    vertices = surface.vertices_mm @ inverse[:3, :3].T + inverse[:3, 3]
    low = np.maximum(np.ceil(vertices.min(axis=0)), 0).astype(int)
    high = np.minimum(np.floor(vertices.max(axis=0)), np.asarray(shape) - 1).astype(int)
    if (high < low).any():
        return mask
    box = (int(high[0] - low[0]) + 1, int(high[1] - low[1]) + 1, int(high[2] - low[2]) + 1)
    part = mask[low[0] : high[0] + 1, low[1] : high[1] + 1, low[2] : high[2] + 1]
    part[...] = inside_grid(vertices - low, surface.triangles, box)
    return mask
