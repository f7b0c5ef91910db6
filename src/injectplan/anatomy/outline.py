"""The body's outline in an MR image: where the skin is, and how sure that is.

Air and body part in the valley of the histogram of log intensities: the coil's fall-off, a factor, shifts
tissue only within its own mode. The edge itself is where the signal has risen half-way from the air beside it
to the tissue just under it: a fall-off over centimetres moves it by nothing, and a dim rim (skin, or fat that
was suppressed) has a half-way level of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from injectplan.anatomy.surfaces import flying_edges
from injectplan.errors import NothingToMeasureError
from injectplan.imaging.values import Surface, Volume
from injectplan.kernels.cast import Bools, Floats, Floats32

WORK_MM = 1.5  # voxels are averaged up to this edge: noise falls, a smooth edge keeps its place to 0.1 mm
BLUR_MM = 0.6
RUN_ON_MM = (
    30.0  # the body is drawn straight on beyond the image's edge, so that distances are right up to it
)
EDGE_MM = (
    3.0  # rows next to the image's edge are shaded by the scanner's filters: left out, never counted as seen
)
RIM_MM = 2.0  # only so near the edge does intensity place it; inside lie voids, outside lies noise
# Where the tissue's level is taken, in mm under the edge found so far, and the share of its rise that is the
# edge. The first round finds where signal begins, be it a dim rim; the next two take the level in that rim,
# where the blurred rise has come to five sixths of the tissue's own: 0.6 of it is half-way.
ROUNDS = (((0.9, 2.6), 0.15), ((0.4, 1.3), 0.6), ((0.4, 1.3), 0.6))
LEVEL_SIGMA_MM = 4.0
LEAST_CONTRAST = np.log(3.0)  # of tissue's mean log intensity above air's
STEADY = 3.0  # mean over deviation among neighbours: 1.9 in air (Rayleigh), beyond 4 in the dimmest tissue
NOTCH_MM = 3.0  # narrower notches are dark tendons and vessels under a thin rim, not folds of skin (assumed)
SHIFT_MM = 6.0
EDGE_HALF_MM = 1.5  # contrast is taken so far to either side of a bone's surface
FLOOR = 1e-3  # of the image's 99th percentile: below it intensities are one


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outline:
    """The body's outline.

    surface : closed, patient mm; drawn straight on for 30 mm where the image's edge cuts the body.
    patient_to_box, shape : (4, 4) into voxel indices of the image, whose box is what was seen, less `margin`.
    sd_mm : of the surface's place along its normal, where it was seen.
    contrast : tissue's intensity over air's.
    """

    surface: Surface
    patient_to_box: Floats
    shape: tuple[int, int, int]
    margin: Floats
    sd_mm: float
    contrast: float

    def depth_in_view_mm(self, points_mm: npt.ArrayLike) -> Floats:
        """How far points (..., 3) lie inside the part of the image that counts as seen; negative outside."""
        turn, shift = self.patient_to_box[:3, :3], self.patient_to_box[:3, 3]
        box = np.asarray(points_mm, np.float64) @ turn.T + shift
        spacing = 1.0 / np.linalg.norm(turn, axis=1)
        high = np.asarray(self.shape) - 1.0
        inner = np.minimum(box - self.margin, high - self.margin - box) * spacing
        return np.asarray(inner.min(axis=-1))


def find_outline(image: Volume) -> Outline:
    """Find the body's outline in an MR image; of several components the first counts, the shortest echo.

    Raises NothingToMeasureError where no body stands out of the air, or none is in the image.
    """
    values, affine = _working(image)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    smooth = ndimage.gaussian_filter(values, BLUR_MM / spacing, truncate=3.0, mode="nearest")
    body, contrast = _body(values, smooth, spacing)
    edge = np.zeros(0, np.float32)
    for depth_mm, share in ROUNDS:
        edge = _edge(smooth, body, spacing, depth_mm, share)
        body = edge > 0.0
    surface = _cut(edge, affine, spacing)
    original = image.values.shape[:3]
    inverse = np.asarray(np.linalg.inv(image.affine), np.float64)
    margin = np.maximum(1.0, EDGE_MM / image.spacing_mm)
    return Outline(
        surface=surface, patient_to_box=inverse, shape=(original[0], original[1], original[2]),
        margin=margin, sd_mm=_uncertainty(edge, smooth, body, spacing), contrast=float(np.exp(contrast)),
    )  # fmt: skip


def _working(image: Volume) -> tuple[Floats32, Floats]:
    """The image's first component, averaged in blocks up to the working edge, and its affine."""
    values = image.values if image.values.ndim == 3 else image.values[..., 0]
    values = np.abs(np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0))
    if min(values.shape) < 4:
        raise NothingToMeasureError(
            f"the image is {values.shape} voxels large: too thin to hold a body's outline"
        )
    shaded = np.floor(EDGE_MM / image.spacing_mm + 0.5).astype(int)
    shaded = np.minimum(shaded, (np.array(values.shape) - 4) // 2)
    values = values[tuple(slice(int(a), int(n - a)) for a, n in zip(shaded, values.shape, strict=True))]
    block = np.maximum(np.floor(WORK_MM / image.spacing_mm + 0.01).astype(int), 1)
    block = np.minimum(block, np.array(values.shape) // 4)
    kept = np.array(values.shape) // block
    cut = values[tuple(slice(0, int(n * b)) for n, b in zip(kept, block, strict=True))]
    i, j, k = kept
    mean = cut.reshape(i, block[0], j, block[1], k, block[2]).mean(axis=(1, 3, 5), dtype=np.float32)
    affine = image.affine.copy()
    affine[:3, 3] = image.affine[:3, :3] @ (shaded + 0.5 * (block - 1)) + image.affine[:3, 3]
    affine[:3, :3] = image.affine[:3, :3] * block
    return np.asarray(mean, np.float32), affine


def _valley(logs: Floats32) -> tuple[float, float]:
    """The threshold between two modes (Otsu 1979, then the valley between the means); their distance."""
    count, edges = np.histogram(logs, 256)
    middle = 0.5 * (edges[1:] + edges[:-1])
    below = np.cumsum(count).astype(float)
    above = below[-1] - below
    first = np.cumsum(count * middle)
    low = first / np.maximum(below, 1.0)
    high = (first[-1] - first) / np.maximum(above, 1.0)
    best = int(np.argmax(below * above * (high - low) ** 2))
    bins = np.searchsorted(middle, [low[best], high[best]])
    rough = ndimage.gaussian_filter1d(count.astype(float), 4.0)
    between = slice(int(bins[0]), max(int(bins[1]), int(bins[0]) + 1))
    return float(middle[between][int(np.argmin(rough[between]))]), float(high[best] - low[best])


def _body(values: Floats32, smooth: Floats32, spacing: Floats) -> tuple[Bools, float]:
    """Where the body is, and by how much its mean log intensity exceeds the air's."""
    top = float(np.quantile(smooth, 0.99))
    if top <= 0.0:
        raise NothingToMeasureError("the image is empty: every value is zero")
    logs = np.log(smooth + np.float32(FLOOR * top))
    level, contrast = _valley(logs)
    if contrast < LEAST_CONTRAST:
        raise NothingToMeasureError(
            f"no body stands out in the image: its two kinds of voxels differ {np.exp(contrast):.1f}-fold "
            f"(needs {np.exp(LEAST_CONTRAST):.0f}-fold)"
        )
    body = _largest(logs > level, spacing)
    lower = _dim_tissue(values, logs, level, body)
    if lower is not None:
        body = _largest(logs > lower, spacing)
    share = float(body.mean())
    if not 0.02 < share < 0.98:
        raise NothingToMeasureError(f"the body fills {share:.0%} of the image: its outline is not in it")
    return body, contrast


def _dim_tissue(values: Floats32, logs: Floats32, level: float, body: Bools) -> float | None:
    """A lower threshold where tissue as dim as suppressed fat borders the body; None where there is only air.

    The voxels below the first threshold are parted again; the brighter of them are tissue when they are
    steady (noise scatters by half of its mean) and the valley between is one.
    """
    dark = ~body & (logs < level)
    if dark.sum() < 1000:
        return None
    lower, apart = _valley(logs[dark])
    brighter = ndimage.binary_opening(dark & (logs > lower), iterations=1)
    if apart < LEAST_CONTRAST or brighter.sum() < 0.03 * body.sum():
        return None
    mean = ndimage.uniform_filter(values, 3)
    spread = np.sqrt(np.maximum(ndimage.uniform_filter(values * values, 3) - mean * mean, 0.0))
    steady = mean[brighter] / np.maximum(spread[brighter], 1e-6 * mean[brighter] + 1e-12)
    return lower if float(np.median(steady)) > STEADY else None


def _largest(mask: Bools, spacing: Floats) -> Bools:
    """The largest piece of a mask, notches closed and holes filled, also those that the edge opens."""
    opened = ndimage.binary_opening(mask, iterations=1)
    pieces, n = ndimage.label(opened)
    if n == 0:
        raise NothingToMeasureError("no body stands out in the image: only single voxels are bright")
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    kept = ndimage.binary_dilation(pieces == int(sizes.argmax()), iterations=1) & mask
    closed = np.pad(_without_notches(kept, spacing), 1)
    for axis in range(3):  # faces filled in their own plane seal the voids that end there
        for here, inner in ((0, 1), (-1, -2)):
            face = ndimage.binary_fill_holes(np.take(closed, inner, axis=axis))
            where: list[slice | int] = [slice(None)] * 3
            where[axis] = here
            closed[tuple(where)] = face
    filled = ndimage.binary_fill_holes(np.pad(closed, 1))
    return np.asarray(filled[2:-2, 2:-2, 2:-2], bool)


def _without_notches(mask: Bools, spacing: Floats) -> Bools:
    """A mask closed by a ball; beyond the image's edge it runs on, so that the edge opens nothing."""
    reach = np.floor(NOTCH_MM / spacing).astype(int)
    offsets = np.meshgrid(
        *(np.arange(-n, n + 1) * d for n, d in zip(reach, spacing, strict=True)), indexing="ij"
    )
    ball = sum(o * o for o in offsets) <= NOTCH_MM**2
    held = np.pad(mask, [(int(n), int(n)) for n in reach], mode="edge")
    held = ndimage.binary_closing(held, ball)
    inner = tuple(slice(int(n), int(n) + m) for n, m in zip(reach, mask.shape, strict=True))
    return np.asarray(held[inner], bool)


def _mean_near(values: Floats32, where: Bools, spacing: Floats) -> Floats32:
    """Mean of the values in `where`, weighted by nearness, at every voxel."""
    sigma = LEVEL_SIGMA_MM / spacing
    total = ndimage.gaussian_filter(np.where(where, values, 0.0).astype(np.float32), sigma, truncate=3.0)
    weight = ndimage.gaussian_filter(where.astype(np.float32), sigma, truncate=3.0)
    overall = float(values[where].mean()) if where.any() else 0.0
    return np.asarray(np.where(weight > 1e-4, total / np.maximum(weight, 1e-4), overall), np.float32)


def _edge(
    smooth: Floats32, body: Bools, spacing: Floats, depth_mm: tuple[float, float], share: float
) -> Floats32:
    """Signed values that cross zero at a share of the rise from air to tissue; ±1/2 away from the edge.

    depth_mm : where the tissue's level is taken, under the body's present edge.
    """
    depth = ndimage.distance_transform_edt(body, sampling=spacing) - 0.5 * spacing.min()
    height = ndimage.distance_transform_edt(~body, sampling=spacing) - 0.5 * spacing.min()
    low, high = depth_mm
    tissue = _mean_near(
        smooth, body & (depth > low) & (depth < max(high, low + float(spacing.min()))), spacing
    )
    air = _mean_near(smooth, ~body & (height > 2.0) & (height < 8.0 + float(spacing.max())), spacing)
    edge = (smooth - air) / np.maximum(tissue - air, 1e-6 * float(smooth.max())) - np.float32(share)
    rim = max(RIM_MM, float(spacing.max()))
    edge = np.clip(edge, -0.5, 0.5)
    edge[body & (depth > rim)] = 0.5
    edge[~body & (height > rim)] = -0.5
    kept = _largest(edge > 0.0, spacing)  # noise beside the edge makes no islands, voids under it no holes
    edge[~kept] = np.minimum(edge[~kept], np.float32(-0.01))
    edge[kept] = np.maximum(edge[kept], np.float32(0.01))
    return np.asarray(edge, np.float32)


def _cut(edge: Floats32, affine: Floats, spacing: Floats) -> Surface:
    """The closed surface at zero, the body drawn straight on beyond the image's edge."""
    more = np.ceil(RUN_ON_MM / spacing).astype(int)
    grown = np.pad(edge, [(int(n), int(n)) for n in more], mode="edge")
    grown = np.pad(grown, 1, constant_values=np.float32(-0.5))
    points, triangles = flying_edges(grown, 0.0)
    vertices = (points - 1.0 - more) @ affine[:3, :3].T + affine[:3, 3]
    made = Surface(vertices, triangles)
    return made if made.volume_ml > 0 else Surface(vertices, np.ascontiguousarray(triangles[:, ::-1]))


def _uncertainty(edge: Floats32, smooth: Floats32, body: Bools, spacing: Floats) -> float:
    """Standard deviation of the edge's place.

    Assumed: the level is off by a tenth of the rise (what lies under the skin varies). Beside it stand noise
    over slope, and an even error over the voxel's width along the edge's normal.
    """
    slopes = np.gradient(edge, *spacing.astype(np.float32))
    slope = np.asarray(np.sqrt(sum(s * s for s in slopes)))
    near = (np.abs(edge) < 0.25) & (slope > 1e-3)
    if not near.any():
        return float(spacing.max())
    height = ndimage.distance_transform_edt(~body, sampling=spacing)
    away = (height > 4.0) & (height < 14.0)
    inside = smooth[body & ndimage.binary_erosion(body, iterations=3)]
    scale = float(np.median(inside)) if inside.size else float(smooth.max())
    noise = float(smooth[away].std()) / max(scale, 1e-12) if away.any() else 0.05
    steep = float(np.median(slope[near]))
    normal = np.stack([np.asarray(s)[near] for s in slopes]) / slope[near]
    voxel = float(np.sqrt(np.mean((normal**2 * spacing[:, None] ** 2).sum(axis=0)) / 12.0))
    return float(np.sqrt((0.1 / steep) ** 2 + (noise / steep) ** 2 + voxel**2))


def step_of_edges_mm(image: Volume, points_mm: Floats, normals: Floats) -> float:
    """How far an image must be moved for its edges to lie best on a surface; 0 where they lie on it already.

    points_mm, normals : (n, 3), of the bones. The contrast across the surface is averaged for every shift of
    up to 12 mm, in steps of 6: of one frame, the bones' own place has the most.
    """
    values, affine = _working(image)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    smooth = ndimage.gaussian_filter(values, 1.0 / spacing, truncate=3.0)
    logs = np.log(smooth + np.float32(0.02) * np.float32(np.quantile(smooth, 0.99)) + np.float32(1e-12))
    turn = np.linalg.inv(affine[:3, :3])

    def seen(at: Floats) -> Floats:
        return np.asarray(
            ndimage.map_coordinates(logs, turn @ (at - affine[:3, 3]).T, order=1, mode="nearest"), np.float64
        )

    steps = np.arange(-2, 3) * SHIFT_MM
    shifts = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), -1).reshape(-1, 3)
    across = EDGE_HALF_MM * normals
    contrast = np.array(
        [np.abs(seen(points_mm + s + across) - seen(points_mm + s - across)).mean() for s in shifts]
    )
    return float(np.linalg.norm(shifts[int(np.argmax(contrast))]))
