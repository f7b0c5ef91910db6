"""What a frame needs that does not change from frame to frame: beam grid, widths, scan conversion."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from injectplan.instruments import Probe
from injectplan.kernels.beam import Focus, PlainScan, Scan
from injectplan.kernels.cast import Bools, Floats, Floats32, Ints
from injectplan.kernels.line_values import C0, Grid
from injectplan.ultrasound.values import Display

FWHM = math.sqrt(8.0 * math.log(2.0))  # full width at half maximum of a Gaussian in standard deviations
TWO_WAY = 0.886  # -6 dB two-way width in wavelengths times f-number: a sinc squared
DEFOCUS = 0.75  # elevation width of a defocused aperture re its geometric shadow (assumed; two-way)
FACE_LINE = ([0.0, 0.25, 0.5, 0.8, 1.2, 1.6], [9.0, 7.0, -3.0, -3.0, 2.0, 0.0])  # depth mm, dB (assumed)
UNHEARD = 1e-5  # amplitude of a plane re the sum of all, 100 dB under it
LATERAL_DEFOCUS = 0.75  # the same for the transmit aperture (assumed)


def axial_sigma_mm(probe: Probe) -> float:
    """Axial amplitude sd: c·sqrt(2 ln 2) / (2π·bandwidth·frequency), a Gaussian spectrum's."""
    return C0 * math.sqrt(2.0 * math.log(2.0)) / (2.0 * math.pi * probe.bandwidth * probe.frequency_mhz)


def lateral_fwhm_mm(probe: Probe, depth_mm: npt.ArrayLike) -> Floats:
    """Two-way -6 dB lateral width by depth: receive in focus everywhere, transmit at one depth.

    With equal f-numbers it is 0.886·λ·F at the focus.  Transmit adds its geometric spread away from it.
    """
    z = np.maximum(np.asarray(depth_mm, dtype=np.float64), 0.3)
    wavelength = probe.wavelength_mm
    one_way = math.sqrt(2.0) * TWO_WAY * wavelength
    receive = one_way * np.maximum(probe.f_number, z / probe.face_mm)
    aperture = min(probe.focus_mm / probe.transmit_f, probe.face_mm)
    spread = LATERAL_DEFOCUS * aperture * np.abs(1.0 - z / probe.focus_mm)
    transmit = np.hypot(one_way * z / aperture, spread)
    return np.asarray(1.0 / np.sqrt(1.0 / receive**2 + 1.0 / transmit**2))


def lobe_f_number(probe: Probe) -> float:
    """Return the one f-number that stands for both ways: that of the same two-way width."""
    return math.sqrt(2.0) / math.sqrt(1.0 / probe.f_number**2 + 1.0 / probe.transmit_f**2)


def elevation_fwhm_mm(probe: Probe, depth_mm: npt.ArrayLike) -> Floats:
    """Two-way -6 dB slice thickness by depth: 0.886·λ·z/H in focus, the lens's defocus added in square."""
    z = np.maximum(np.asarray(depth_mm, dtype=np.float64), 0.3)
    aperture = probe.elevation_aperture_mm
    focus = TWO_WAY * probe.wavelength_mm * z / aperture
    return np.asarray(np.hypot(focus, DEFOCUS * aperture * np.abs(1.0 - z / probe.elevation_focus_mm)))


def line_pitch_mm(probe: Probe, depth_mm: npt.ArrayLike) -> Floats:
    """Distance of neighbouring lines by depth."""
    z = np.asarray(depth_mm, dtype=np.float64)
    if probe.kind == "linear":
        pitch = probe.width_mm / probe.lines * math.cos(math.radians(probe.steer_deg))
        return np.asarray(np.full_like(z, pitch))
    return np.asarray((probe.radius_mm + z) * math.radians(probe.angle_deg) / probe.lines)


def grain_voxel_mm(probe: Probe) -> float:
    """Return the speckle texture's voxel: coarse enough for lines and planes, fine enough for the pulse.

    Trilinear sampling adds h²/6 to each variance, so h ≤ sqrt(6)·sigma; h at least the line pitch, or motion
    decorrelates between lines; h ≤ 0.6 of the lateral width.
    """
    pitch = float(line_pitch_mm(probe, min(probe.focus_mm, probe.depth_mm)))
    fine = min(2.33 * axial_sigma_mm(probe), 0.6 * float(lateral_fwhm_mm(probe, probe.focus_mm)))
    return float(np.clip(fine, max(0.12, min(pitch, 0.25)), 0.5))


def plane_offsets_mm(probe: Probe) -> Floats:
    """Offsets of the elevation sub-planes: near the middle at most 1.17 texture voxels apart, then wider.

    The outermost reaches 0.6 of the widest slice, so that near field and far field keep their thickness.
    """
    count = probe.elevation_planes
    if count == 1:
        return np.zeros(1)
    half = (count - 1) // 2 if count % 2 else count / 2.0 - 0.5
    narrow = float(elevation_fwhm_mm(probe, probe.elevation_focus_mm))
    inner = min(1.17 * grain_voxel_mm(probe), 0.55 * narrow)
    if count <= 3:
        inner = 0.5 * narrow
    widest = 0.6 * DEFOCUS * probe.elevation_aperture_mm
    outer = min(max(widest, half * inner), 2.2 * half * inner)
    index = np.arange(count) - (count - 1) / 2.0
    bend = (outer - half * inner) / half**3 if half > 0 else 0.0
    offsets = index * inner + bend * index**3
    return np.asarray(offsets)


def _spline(distance: npt.ArrayLike) -> Floats:
    """Correlation of linearly interpolated white noise over a distance in voxels: the cubic B-spline."""
    d = np.abs(np.asarray(distance, dtype=np.float64))
    near = 2.0 / 3.0 - d**2 + d**3 / 2.0
    far = np.maximum(2.0 - d, 0.0) ** 3 / 6.0
    return np.asarray(np.where(d < 1.0, near, far) * 1.5)


def _power(weights: Any, offsets: Any) -> Floats:
    """Variance of sums of correlated noise: weights (..., n), offsets (n,) or (..., n) in voxels."""
    gap = offsets[..., :, None] - offsets[..., None, :]
    return np.asarray(np.einsum("...i,...ij,...j->...", weights, _spline(gap), weights))


@dataclass(frozen=True, eq=False)
class Tables:
    """All of it for one probe and one display; arrays are read-only."""

    grid: Grid
    focus: Focus
    scan: Scan
    plain_scan: PlainScan
    planes_mm: Floats
    voxel_mm: float
    depth_mm: Floats32
    inside: Bools
    pixel_to_probe: Floats
    pixel_mm: float
    half_slice_mm: Floats
    gain_db: Floats32
    pitch_mm: Floats32
    looks_deg: tuple[float, ...]
    look_line: tuple[Floats32, ...]
    look_sample: tuple[Floats32, ...]
    look_share: tuple[Floats32, ...]
    samples: int
    step_mm: float


def sample_count(probe: Probe) -> int:
    """Samples of a line: 2.5 an axial width for a picture, 5 where physics is read from single samples."""
    if probe.samples:
        return probe.samples
    width = FWHM * axial_sigma_mm(probe)
    return int(np.clip(math.ceil(probe.depth_mm / width * (5.0 if probe.raw else 2.5)), 256, 4096))


@lru_cache(maxsize=16)
def tables_of(probe: Probe, display: Display) -> Tables:
    """Compute the tables of a probe and display once."""
    samples = sample_count(probe)
    step = probe.depth_mm / (samples - 1)
    z = step * np.arange(samples)
    sigma_z = axial_sigma_mm(probe)
    voxel = grain_voxel_mm(probe)
    blur = voxel**2 / 6.0  # what the texture's own sampling already adds to each variance
    planes = plane_offsets_mm(probe)

    axial_sigma = math.sqrt(max(sigma_z**2 - blur, 0.0))
    half = np.exp(
        -0.5 * (np.arange(max(1, math.ceil(3.5 * axial_sigma / step))) * step / max(axial_sigma, 1e-9)) ** 2
    )
    half /= half[0] + 2.0 * half[1:].sum()
    taps = np.concatenate([half[:0:-1], half])
    axial_power = float(_power(taps, np.arange(len(taps)) * step / voxel))

    sigma_y = elevation_fwhm_mm(probe, z) / FWHM
    smear_y = np.sqrt(np.maximum(sigma_y**2 - blur, (0.02) ** 2))
    cell = np.gradient(planes) if len(planes) > 1 else np.ones(1)
    weight = cell[:, None] * np.exp(-0.5 * (planes[:, None] / smear_y) ** 2)
    weight /= weight.sum(axis=0)
    plane_power = _power(weight.T, planes / voxel)

    pitch = line_pitch_mm(probe, z)
    sigma_x = lateral_fwhm_mm(probe, z) / FWHM
    smear_x = np.sqrt(np.maximum(sigma_x**2 - blur, (0.02) ** 2))
    reach = min(max(1, math.ceil(float((3.0 * smear_x / pitch).max()))), 40, probe.lines - 1)
    lateral = np.exp(-0.5 * (np.arange(reach + 1)[:, None] * pitch / smear_x) ** 2)
    lateral /= lateral[0] + 2.0 * lateral[1:].sum(axis=0)
    both = np.concatenate([lateral[:0:-1], lateral]).T
    across = np.arange(-reach, reach + 1)[None, :] * (pitch / voxel)[:, None]
    lateral_power = _power(both, across)

    rough = 1.0 / np.sqrt(plane_power * lateral_power)
    grain = weight * (rough / math.sqrt(axial_power))
    f_lateral = np.maximum(lobe_f_number(probe), z / probe.face_mm)
    f_elevation = np.maximum(z, 1.0) / probe.elevation_aperture_mm

    def single(a: npt.ArrayLike) -> Floats32:
        array = np.ascontiguousarray(a, dtype=np.float32)
        array.setflags(write=False)
        return array

    grid = Grid(
        step, sigma_z, np.ascontiguousarray(grain, dtype=np.float32), single(weight), single(rough),
        single(smear_x), single(smear_y), single(f_lateral), single(f_elevation), single(half),
        _deaf(weight),
    )  # fmt: skip
    focus = Focus(
        single(lateral), single(sigma_x), single(sigma_y), single(f_lateral), single(f_elevation), sigma_z,
        step, 2.0 * math.pi / probe.wavelength_mm,
    )  # fmt: skip
    picture = _picture(probe, display, samples, step)
    looks, *spread = _looks(probe, samples, step)
    return Tables(
        grid=grid, focus=focus, planes_mm=planes, voxel_mm=voxel,
        half_slice_mm=np.asarray(0.5 * FWHM * sigma_y), pitch_mm=single(pitch),
        gain_db=single(probe.gain_db + _tgc(probe, z)),
        looks_deg=looks, look_line=spread[0], look_sample=spread[1], look_share=spread[2],
        samples=samples, step_mm=step, **picture,
    )  # fmt: skip


def _deaf(weight: Floats) -> Ints:
    """First and last + 1 of the samples at which a plane weighs less than UNHEARD of all, (planes, 2).

    Near the lens's focus the outer planes do: 3 to 6 % of a frame's samples need no speckle and no echoes.
    """
    unheard = weight < UNHEARD
    first = np.argmax(unheard, axis=1)
    after = np.argmax(~unheard & (np.arange(weight.shape[1]) > first[:, None]), axis=1)
    last = np.where(unheard.any(axis=1), np.where(after == 0, weight.shape[1], after), first)
    result = np.ascontiguousarray(np.stack([first, last], axis=1), dtype=np.int32)
    result.setflags(write=False)
    return result


def _tgc(probe: Probe, z: Any) -> Floats:
    """Gain by depth in dB: the sliders, and in pictures the bright line of the face and the skin on it."""
    gain = np.zeros_like(z)
    if probe.tgc_db:
        gain = np.interp(z, np.linspace(0.0, probe.depth_mm, len(probe.tgc_db)), probe.tgc_db)
    if not probe.raw and probe.texture:
        gain = gain + np.interp(z, *FACE_LINE)
    return np.asarray(gain)


@lru_cache(maxsize=32)
def line_frames(probe: Probe, steer_deg: float) -> tuple[Floats, Floats, Floats]:
    """Origins, directions and lateral axes (lines, 3) of the lines in the probe's frame; read-only."""
    origins, directions = _lines_of(probe, steer_deg)
    frames = origins, directions, np.cross([0.0, 1.0, 0.0], directions)
    for array in frames:
        array.setflags(write=False)
    return frames


def _lines_of(probe: Probe, steer_deg: float) -> tuple[Floats, Floats]:
    index = np.arange(probe.lines) - (probe.lines - 1) / 2.0
    zero = np.zeros(probe.lines)
    if probe.kind == "linear":
        s = math.radians(steer_deg)
        origins = np.stack([index * probe.width_mm / probe.lines, zero, zero], axis=1)
        directions = np.tile([math.sin(s), 0.0, math.cos(s)], (probe.lines, 1))
        return origins, directions
    theta = index * math.radians(probe.angle_deg) / probe.lines
    lean = theta + math.radians(steer_deg)
    origins = np.stack([np.sin(theta), zero, np.cos(theta) - 1.0], axis=1) * probe.radius_mm
    return origins, np.stack([np.sin(lean), zero, np.cos(lean)], axis=1)


def _picture(probe: Probe, display: Display, samples: int, step: float) -> dict[str, Any]:
    """Pixels are square and Cartesian, the image is centred and begins at its highest point."""
    w, h = display.width_px, display.height_px
    depth = probe.depth_mm
    steer = math.radians(probe.steer_deg)
    to_beam: Callable[[Floats, Floats], tuple[Floats, Floats]]
    if probe.kind == "linear":
        pitch = probe.width_mm / probe.lines
        shift = depth * math.sin(steer)
        low = min(-probe.width_mm / 2, -probe.width_mm / 2 + shift)
        high = max(probe.width_mm / 2, probe.width_mm / 2 + shift)
        top, bottom = 0.0, depth * math.cos(steer)

        def to_beam(x: Floats, z: Floats) -> tuple[Floats, Floats]:
            return (x - z * math.tan(steer)) / pitch + (probe.lines - 1) / 2.0, z / math.cos(steer)
    else:
        half = math.radians(probe.angle_deg) / 2
        radius = probe.radius_mm
        side = (radius + depth) * math.sin(min(half, math.pi / 2))
        low, high = -side, side
        top, bottom = radius * (math.cos(half) - 1.0), depth

        def to_beam(x: Floats, z: Floats) -> tuple[Floats, Floats]:
            theta = np.arctan2(x, z + radius)
            line = theta / (math.radians(probe.angle_deg) / probe.lines) + (probe.lines - 1) / 2.0
            return line, np.hypot(x, z + radius) - radius

    pixel = max((high - low) / w, (bottom - top) / h)
    x0 = (low + high) / 2 - pixel * (w - 1) / 2
    z0 = top + pixel / 2
    x = (x0 + pixel * np.arange(w))[None, :] + np.zeros((h, 1))
    z = (z0 + pixel * np.arange(h))[:, None] + np.zeros((1, w))
    line, deep = to_beam(x, z)
    inside = (line >= -0.5) & (line <= probe.lines - 0.5) & (deep >= 0.0) & (deep <= depth)
    line = np.clip(line, 0.0, probe.lines - 1.0)
    sample = np.clip(deep / step, 0.0, samples - 1.0)
    i = np.minimum(line.astype(np.int32), probe.lines - 2)
    j = np.minimum(sample.astype(np.int32), samples - 2)
    index = np.where(inside, i * samples + j, -1).astype(np.int32)
    matrix = np.eye(4)
    matrix[:3, :] = np.array([[pixel, 0.0, 0.0, x0], [0.0, 0.0, 1.0, 0.0], [0.0, pixel, 0.0, z0]])
    depth_mm = np.where(inside, deep, np.nan).astype(np.float32)
    along, deeper = (line - i).astype(np.float32), (sample - j).astype(np.float32)
    nearest = np.where(inside, index + samples * (along > 0.5) + (deeper > 0.5), -1).astype(np.int32)
    scan = Scan(index, along, deeper, nearest)
    plain = _plain_scan(scan, inside, samples)
    frozen: list[Any] = [*scan, *plain, depth_mm, inside]
    for array in frozen:
        array.setflags(write=False)
    return {
        "scan": scan, "plain_scan": plain, "depth_mm": depth_mm, "inside": inside,
        "pixel_to_probe": matrix, "pixel_mm": pixel,
    }  # fmt: skip


def _plain_scan(scan: Scan, inside: Bools, samples: int) -> PlainScan:
    """Scan conversion by columns and rows, where lines run straight down the picture; else without rows."""
    rows, columns = np.asarray(inside.any(axis=1)), np.asarray(inside.any(axis=0))
    r, c = int(np.argmax(rows)), int(np.argmax(columns))
    line, corner_line = scan.cell[r] // samples, scan.nearest[r] // samples
    down, beside = scan.cell[:, c] % samples, scan.nearest[:, c] % samples
    plain = PlainScan(
        cell=np.where(columns, line * samples, -1).astype(np.int32), along=scan.along[r].copy(),
        nearest=np.where(columns, corner_line * samples, -1).astype(np.int32),
        down=np.where(rows, down, -1).astype(np.int32), deep=scan.deep[:, c].copy(),
        beside=np.where(rows, beside, -1).astype(np.int32),
    )  # fmt: skip
    same = (
        np.array_equal(inside, rows[:, None] & columns)
        and np.array_equal(scan.cell, np.where(inside, plain.cell + plain.down[:, None], -1))
        and np.array_equal(scan.nearest, np.where(inside, plain.nearest + plain.beside[:, None], -1))
        and np.array_equal(scan.along[inside], np.broadcast_to(plain.along, inside.shape)[inside])
        and np.array_equal(scan.deep[inside], np.broadcast_to(plain.deep[:, None], inside.shape)[inside])
    )
    if same:
        return plain
    nothing: Any = (np.zeros(0, part.dtype) for part in plain)
    return PlainScan(*nothing)


def _looks(probe: Probe, samples: int, step: float) -> tuple[tuple[float, ...], Any, Any, Any]:
    """The looks' steering, and where each one's grid lies under the middle one's."""
    if probe.raw or not probe.compounding_deg or probe.kind != "linear":
        return (probe.steer_deg,), (), (), ()
    looks = tuple(probe.compounding_deg)
    pitch = probe.width_mm / probe.lines
    origin = (np.arange(probe.lines) - (probe.lines - 1) / 2.0) * pitch
    base = math.radians(probe.steer_deg)
    along = step * np.arange(samples)
    x = origin[:, None] + along[None, :] * math.sin(base)
    z = along * math.cos(base)
    lines: list[Any] = []
    sampled: list[Any] = []
    seen: list[Any] = []
    for angle in looks:
        s = math.radians(angle)
        line = (x - z[None, :] * math.tan(s)) / pitch + (probe.lines - 1) / 2.0
        ok = (line >= -0.5) & (line <= probe.lines - 0.5)
        line = np.where(ok, np.clip(line, 0.0, probe.lines - 1.0), -1.0)
        sample = z / math.cos(s) / step
        lines.append(line.astype(np.float32))
        sampled.append(sample.astype(np.float32))
        seen.append((ok & (sample <= samples - 1.001)[None, :]).astype(np.float64))
    total = np.maximum(np.sum(np.stack(seen), axis=0), 1.0)
    return looks, tuple(lines), tuple(sampled), tuple((s / total).astype(np.float32) for s in seen)
