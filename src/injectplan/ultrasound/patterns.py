"""The periodic noise that tissue is made of: speckle, and amplitude patterns of fat, muscle, tendon.

It is the same in every run, takes half a second of a first frame's time to make, and is therefore kept in the
cache, named by what it depends on; `INJECTPLAN_KEEP_JOINTS=0` keeps nothing.
"""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from injectplan.errors import FileError
from injectplan.files import atomic_file, cache_folder
from injectplan.kernels import chance
from injectplan.kernels.cast import Bytes, Floats, Floats32
from injectplan.kernels.chance import normals
from injectplan.kernels.line_values import GRAIN, PATTERN

INT8_SIGMA = 32.0  # int8 steps per standard deviation: clipped at four
GAIN_STEP_DB = 0.125  # a pattern's uint8 is 128 + dB / step
STYLES = {"subcutaneous_fat": 1, "muscle": 2, "tendon": 3, "fat": 4, "skin": 5, "fascia": 3}
# Size of a pattern voxel in mm along its axes (first: along fibres or limb), by style.
VOXEL_MM = {
    1: (0.60, 0.13, 0.45), 2: (0.50, 0.13, 0.13), 3: (0.60, 0.10, 0.16), 4: (0.35, 0.16, 0.30),
    5: (0.50, 0.10, 0.30),
}  # fmt: skip
KEPT_FILES = 4  # of these arrays and versions; 2 to 8 MB each


def _kept(name: str, make: Callable[[], npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """Return a read-only array as made and kept before by the same sources and numpy, or make and keep it."""
    array = _read(name)
    if array is None:
        array = make()
        _keep(name, array)
    array.setflags(write=False)
    return array


@lru_cache(maxsize=1)
def _version() -> str:
    digest = hashlib.sha256(np.__version__.encode())
    for source in (__file__, chance.__file__):
        digest.update(Path(source).read_bytes())
    return digest.hexdigest()[:16]


def _read(name: str) -> npt.NDArray[Any] | None:
    """Return a kept array, None where there is none or its checksum fails."""
    if os.environ.get("INJECTPLAN_KEEP_JOINTS") == "0":
        return None
    try:
        folder = cache_folder("patterns", or_temporary=False)
        stream = io.BytesIO((folder / f"{name}-{_version()}.npz").read_bytes())
        with np.load(stream, allow_pickle=False) as kept:
            return np.asarray(kept["array"])
    except (FileError, OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):
        return None


def _keep(name: str, array: npt.NDArray[Any]) -> None:
    """Keep an array and let those of other versions go that were made first; a full disk keeps nothing."""
    if os.environ.get("INJECTPLAN_KEEP_JOINTS") == "0":
        return
    try:
        folder = cache_folder("patterns", or_temporary=False)
        with atomic_file(folder / f"{name}-{_version()}.npz") as part, part.open("wb") as stream:
            np.savez(stream, array=array)
        made = sorted(folder.glob(f"{name}-*.npz"), key=lambda p: p.stat().st_mtime)
        for old in made[:-KEPT_FILES]:
            old.unlink(missing_ok=True)
    except (FileError, OSError):
        return  # keeping is a convenience


@lru_cache(maxsize=1)
def speckle_texture() -> npt.NDArray[np.int16]:
    """Complex normal noise, flat (GRAIN³,) int16: two int8, the real part low and the imaginary high."""
    count = 2 * GRAIN**3
    noise = np.clip(np.rint(normals(20_240_001, 0, count) * INT8_SIGMA), -127, 127).astype(np.int8)
    parts = noise.astype(np.int16).reshape(-1, 2)
    packed = np.ascontiguousarray((parts[:, 1] << 8) | (parts[:, 0] & 255))
    packed.setflags(write=False)
    return packed


@lru_cache(maxsize=1)
def speckle_pairs() -> npt.NDArray[np.int32]:
    """The speckle texture with each voxel's neighbour along the last axis, flat (GRAIN³,) int32.

    One read then serves two of the eight corners of a sample.
    """
    return _kept("pairs", _pairs)


def _pairs() -> npt.NDArray[np.int32]:
    voxels = speckle_texture().view(np.uint16).astype(np.uint32).reshape(GRAIN, GRAIN, GRAIN)
    return np.ascontiguousarray((voxels | np.roll(voxels, -1, axis=2) << 16).view(np.int32).reshape(-1))


@lru_cache(maxsize=1)
def exponential_table() -> Floats32:
    """Unit exponential numbers, (65536 + 1,): the power of the receiver's noise."""
    pairs = normals(20_240_002, 0, 2 * 65537).reshape(-1, 2)
    table = (0.5 * (pairs**2).sum(axis=1)).astype(np.float32)
    table.setflags(write=False)
    return table


@lru_cache(maxsize=1)
def circle_table() -> Floats32:
    """Cosines and sines of 128 angles round a circle, (256,)."""
    angle = 2.0 * np.pi * np.arange(GRAIN) / GRAIN
    table = np.concatenate([np.cos(angle), np.sin(angle)]).astype(np.float32)
    table.setflags(write=False)
    return table


def gain_table() -> Floats32:
    """Amplitude factor of each pattern value, (256,)."""
    table = (10.0 ** ((np.arange(256) - 128.0) * GAIN_STEP_DB / 20.0)).astype(np.float32)
    table.setflags(write=False)
    return table


def _smooth(seed: int, widths: tuple[float, float, float]) -> Floats:
    """Periodic Gaussian noise of unit variance with these correlation widths (sd of the filter, voxels)."""
    noise = normals(seed, 0, int(np.prod(PATTERN))).reshape(PATTERN)
    spectrum = np.fft.rfftn(noise)
    for axis, width in enumerate(widths):
        f = np.fft.rfftfreq(PATTERN[axis]) if axis == 2 else np.fft.fftfreq(PATTERN[axis])
        shape = [1, 1, 1]
        shape[axis] = len(f)
        spectrum *= np.exp(-2.0 * (np.pi * f * width) ** 2).reshape(shape)
    field = np.fft.irfftn(spectrum, PATTERN, axes=(0, 1, 2))
    return np.asarray((field - field.mean()) / field.std())


def _layers(seed: int, count: int, undulation: float, width: float) -> Floats:
    """Thin sheets across the second axis, `count` in its period, 1 on them and `width` voxels (sd) thick."""
    place = count * np.arange(PATTERN[1]) / PATTERN[1]
    phase = place[None, :, None] + undulation * _smooth(seed, (10.0, 9.0, 18.0))
    steep = 0.5 * np.abs(np.roll(phase, -1, axis=1) - np.roll(phase, 1, axis=1))
    steep = np.where(steep > 0.25 * count, count / PATTERN[1], steep)  # the period's seam
    off = np.abs(phase - np.rint(phase)) / np.maximum(steep, 1e-3)
    return np.asarray(np.exp(-0.5 * (off / width) ** 2))


def _couplet() -> Floats:
    """Gain of the skin by depth under its surface: a bright line, a darker one, the dermis; dB, (1, n, 1)."""
    size = VOXEL_MM[STYLES["skin"]][1]
    depth = np.arange(PATTERN[1]) * size
    depth = np.minimum(depth, PATTERN[1] * size - depth)
    return np.asarray(np.interp(depth, [0.0, 0.3, 0.55, 0.75, 1.1, 2.5], [9.0, 8.0, -6.0, -5.0, 3.0, 0.0]))[
        None, :, None
    ]


@lru_cache(maxsize=1)
def pattern_volumes() -> Bytes:
    """All styles' patterns, (styles, *PATTERN) uint8; smooth fields stretched along fibres or skin.

    Shapes are judged by eye beside public frames: thin septa along the skin in fat, perimysium 0.3-0.5 mm
    thick and 1-3 mm apart in muscle, fibrils in tendon, mottled fat pads.
    """
    return _kept("patterns", _patterns)


def _patterns() -> Bytes:
    fat = (
        17.0 * _layers(11, 4, 0.30, 0.9) * np.clip(1.6 * _smooth(12, (8.0, 3.0, 10.0)) - 0.1, 0.0, 1.2)
        + 7.0 * np.maximum(_smooth(13, (3.0, 1.2, 4.0)) - 0.8, 0.0)
        + 1.3 * _smooth(14, (5.0, 7.0, 9.0))
        - 2.2
    )
    muscle = (
        9.0 * np.maximum(_smooth(21, (1.8, 0.65, 1.6)) - 0.55, 0.0)
        + 9.0 * np.maximum(_smooth(22, (3.6, 0.75, 3.0)) - 0.8, 0.0)
        + 2.0 * _smooth(23, (6.0, 9.0, 9.0))
        - 3.2
    )
    tendon = 5.0 * _smooth(31, (14.0, 1.6, 3.0)) - 1.0
    pad = 3.6 * _smooth(41, (3.0, 0.9, 4.0)) + 8.0 * np.maximum(_smooth(42, (4.5, 0.7, 6.0)) - 0.8, 0.0) - 3.2
    skin = 2.0 * _smooth(51, (6.0, 1.5, 5.0)) + _couplet()
    stack = np.stack([fat, muscle, tendon, pad, skin])
    return np.clip(np.rint(128.0 + stack / GAIN_STEP_DB), 0, 255).astype(np.uint8)
