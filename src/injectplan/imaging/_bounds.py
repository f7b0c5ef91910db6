"""What every reader checks before it believes a file: presence, size, affine, spacing."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from injectplan.errors import FileError, UnitsError
from injectplan.kernels.cast import Floats
from injectplan.measure import Notice

MAX_VOXELS = 1_000_000_000  # a whole-body CT at 0.7 mm has 0.5e9
MAX_BYTES = 8_000_000_000  # uncompressed
MAX_HEADER_BYTES = 4_000_000
SPACING_MM = (0.005, 30.0)  # from micro-CT to a scout image
MOST_SKEW_DEG = (
    0.1  # of two axes from a right angle: three decimals put them off by up to 0.0992° (decision 0088)
)
FARTHEST_MM = 100_000.0  # an origin farther than 100 m from the scanner's is a slip


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RawImage:
    """An image as a file holds it: values (i, j, k) or (i, j, k, component), affine to RAS mm, text keys."""

    values: npt.NDArray[Any]
    affine: Floats
    keys: Mapping[str, str] = field(default_factory=dict)
    notices: tuple[Notice, ...] = ()


def existing_file(path: str | Path) -> Path:
    """Return the path of a readable file; a missing, empty or unreadable one raises FileError."""
    path = Path(path)
    try:
        size = path.stat().st_size
        if path.is_dir():
            raise FileError(f"{path}: is a folder, needs a file; give the file itself")
        if not path.is_file():
            raise FileError(f"{path}: is no plain file; give a file")
        if size == 0:
            raise FileError(f"{path}: is empty (0 bytes); copy it again")
        if size > MAX_BYTES:
            raise FileError(f"{path}: {size} bytes, at most {MAX_BYTES} are read; crop the image")
        with path.open("rb"):
            pass
    except (OSError, ValueError) as error:
        why = (getattr(error, "strerror", None) or str(error)).lower()
        raise FileError(f"{path}: cannot be read ({why}); check the path") from error
    return path


def head(path: Path, size: int = MAX_HEADER_BYTES) -> bytes:
    """Return a file's first bytes."""
    with path.open("rb") as stream:
        return stream.read(size)


def check_shape(path: Path, shape: Sequence[int], itemsize: int) -> None:
    """Refuse a shape that is empty or too large, before anything is allocated."""
    text = "×".join(map(str, shape))
    if len(shape) == 0 or any(n <= 0 for n in shape):
        raise FileError(f"{path}: has size {text}, needs at least one voxel along each axis; export it again")
    count = math.prod(shape)
    if count > MAX_VOXELS or count * itemsize > MAX_BYTES:
        raise FileError(
            f"{path}: claims {text} values ({count:.3g}), at most {MAX_VOXELS:.0e} are read; crop it"
        )


def check_affine(path: Path, affine: npt.ArrayLike) -> Floats:
    """Return the affine (4, 4) of a grid that is a grid: finite, of possible spacing, its axes perpendicular.

    Raises FileError, for another unit than millimetres UnitsError.
    """
    result = np.array(affine, dtype=np.float64)
    if not np.isfinite(result).all():
        raise FileError(f"{path}: its affine holds a value that is not finite; export it again")
    spacing = np.linalg.norm(result[:3, :3], axis=0)
    with np.errstate(all="ignore"):
        skew = abs(np.linalg.det(result[:3, :3])) / max(float(np.prod(spacing)), 1e-300)
    if not skew > 1e-3:
        raise FileError(f"{path}: its affine is singular (axes do not span space); export it again")
    off_deg, pair = _off_a_right_angle(result[:3, :3] / spacing)
    if off_deg > MOST_SKEW_DEG:
        raise FileError(
            f"{path}: its axes {pair} stand {90.0 - off_deg:.4g}° apart, must be 90° to within "
            f"{MOST_SKEW_DEG:g}° (a tilted gantry, or a transform left in the header): resample it onto "
            "perpendicular axes"
        )
    low, high = SPACING_MM
    if spacing.min() < low or spacing.max() > high:
        worst = spacing.min() if spacing.min() < low else spacing.max()
        raise UnitsError(
            f"{path}: voxel edge {worst:.4g} mm, must be {low} to {high} mm; "
            f"the file seems to use another unit: export it in mm"
        )
    if np.abs(result[:3, 3]).max() > FARTHEST_MM:
        raise UnitsError(
            f"{path}: origin lies {np.abs(result[:3, 3]).max():.4g} mm off, at most {FARTHEST_MM:.0f}; "
            f"export it in mm"
        )
    return result


def _off_a_right_angle(directions: Floats) -> tuple[float, str]:
    """By how many degrees the worst two of three unit columns miss a right angle, and which two."""
    pairs = ((0, 1), (0, 2), (1, 2))
    cosines = [abs(float(directions[:, a] @ directions[:, b])) for a, b in pairs]
    worst = int(np.argmax(cosines))
    off_deg = float(np.degrees(np.arcsin(min(cosines[worst], 1.0))))
    return off_deg, " and ".join("ijk"[axis] for axis in pairs[worst])


def inflate(path: Path, data: bytes | memoryview, size: int, wbits: int = 47) -> bytes:
    """Decompress (gzip or zlib) exactly `size` bytes and no more; damage or shortage raises FileError."""
    parts: list[bytes] = []
    missing, rest = size, data
    try:
        while missing > 0 and len(rest):
            engine = zlib.decompressobj(wbits)
            part = engine.decompress(rest, missing)
            parts.append(part)
            missing -= len(part)
            if missing == 0 and not engine.eof:
                more = engine.decompress(engine.unconsumed_tail, 1)  # checks the trailing sum
                if not more and not engine.eof:
                    raise FileError(f"{path}: truncated, its compressed data have no end; copy it again")
            if not engine.eof:
                break
            rest = engine.unused_data
    except zlib.error as error:
        raise FileError(f"{path}: its compressed data are damaged ({error}); copy it again") from error
    if missing > 0:
        raise FileError(f"{path}: truncated, holds {size - missing} of {size} bytes; copy it again")
    return parts[0] if len(parts) == 1 else b"".join(parts)


def beside(path: Path, name: str) -> Path:
    """Return a data file that a header names, which must lie in the header's own folder."""
    if not name or Path(name).name != name or name in (".", "..") or "\0" in name:
        raise FileError(f"{path}: names data file '{name}' outside its own folder; put both into one folder")
    data = path.parent / name
    if data.is_symlink():
        raise FileError(f"{path}: its data file '{name}' is a link; put the file itself beside the header")
    return existing_file(data)


def floats(path: Path, text: str, count: int, what: str, *, gaps: bool = False) -> list[float]:
    """Return `count` numbers of a header field, NaN among them only with `gaps`, else raise FileError."""
    try:
        values = [float(word) for word in text.replace(",", " ").split()]
    except ValueError:
        values = []
    sound = all(abs(v) < 1e12 or (gaps and math.isnan(v)) for v in values)
    if len(values) != count or not sound:
        raise FileError(f"{path}: {what} is '{text[:60]}', needs {count} finite numbers; export it again")
    return values


def whole(path: Path, text: str, what: str, low: int = 0, high: int = 2**62) -> int:
    """Return a whole number of a header field within bounds, else raise FileError."""
    try:
        value = int(text)
    except ValueError:
        value = low - 1
    if not low <= value <= high:
        raise FileError(f"{path}: {what} is '{text[:60]}', needs a whole number from {low}; export it again")
    return value
