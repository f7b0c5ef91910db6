"""NRRD, read and written by ourselves: bounded before anything is allocated, and no reader that can crash.

Format: teem.sourceforge.net/nrrd/format.html. Attached and detached headers; raw, gzip, bzip2, text and hex.
"""

from __future__ import annotations

import binascii
import bz2
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from injectplan.errors import FileError
from injectplan.frames import flip_affine_lps_ras
from injectplan.imaging._bounds import (
    MAX_HEADER_BYTES,
    RawImage,
    beside,
    check_affine,
    check_shape,
    existing_file,
    floats,
    head,
    inflate,
    whole,
)
from injectplan.kernels.cast import Floats
from injectplan.measure import Notice

_TYPES = {
    "i1": ("signed char", "int8", "int8_t"),
    "u1": ("uchar", "unsigned char", "uint8", "uint8_t"),
    "i2": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
    "u2": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
    "i4": ("int", "signed int", "int32", "int32_t"),
    "u4": ("uint", "unsigned int", "uint32", "uint32_t"),
    "i8": ("longlong", "long long", "long long int", "signed long long", "int64", "int64_t"),
    "u8": ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"),
    "f4": ("float",),
    "f8": ("double",),
}
_TYPE_OF_NAME = {name: code for code, names in _TYPES.items() for name in names}
_NAME_OF_TYPE = {code: names[-1] if code[0] == "f" else names[-2] for code, names in _TYPES.items()}
_SPACES_LPS = ("left-posterior-superior", "lps")
_SPACES_RAS = ("right-anterior-superior", "ras")


def read_nrrd(path: str | Path) -> RawImage:
    """Read an NRRD file; the first three spatial axes become i, j, k and one other axis the components.

    Raises FileError (missing, truncated, hostile, of another format) and UnitsError (impossible spacing).
    """
    path = existing_file(path)
    fields, keys, start = _parse_header(path)
    dimension = whole(path, fields.get("dimension", ""), "dimension", 1, 16)
    sizes = [whole(path, text, "sizes") for text in fields.get("sizes", "").split()]
    if len(sizes) != dimension:
        raise FileError(
            f"{path}: sizes has {len(sizes)} numbers, dimension says {dimension}; export it again"
        )
    code = _TYPE_OF_NAME.get(" ".join(fields.get("type", "").lower().split()))
    if code is None:
        raise FileError(f"{path}: type '{fields.get('type', '')[:40]}' is not read; save it as whole numbers")
    endian = fields.get("endian", "little").strip().lower()
    if endian not in ("little", "big"):
        raise FileError(f"{path}: endian '{endian[:40]}' is not read; needs little or big; export it again")
    dtype = np.dtype(code).newbyteorder("<" if endian == "little" else ">")
    check_shape(path, sizes, dtype.itemsize)
    affine, other, notices = _geometry(path, fields, sizes)
    flat = _decode(path, fields, start, sizes, dtype)
    values = flat.reshape(sizes, order="F")
    if other is not None:
        values = np.moveaxis(values, other, -1)
    if values.ndim == 2:
        values = values[:, :, None]
    return RawImage(values=values, affine=check_affine(path, affine), keys=keys, notices=notices)


def _parse_header(path: Path) -> tuple[dict[str, str], dict[str, str], int]:
    """Return fields, key/value pairs and where the data begin (0 for a detached header)."""
    block = head(path)
    if not block.startswith(b"NRRD000"):
        raise FileError(f"{path}: is not NRRD (no NRRD000 at its start); give the format's own suffix")
    end = block.find(b"\n\n")
    end_windows = block.find(b"\r\n\r\n")
    if 0 <= end_windows < (end if end >= 0 else len(block)):
        end, start = end_windows, end_windows + 4
    else:
        start = end + 2
    if end < 0:
        if len(block) >= MAX_HEADER_BYTES:
            raise FileError(f"{path}: its header has no end within {MAX_HEADER_BYTES} bytes; export it again")
        end, start = len(block), 0
    fields: dict[str, str] = {}
    keys: dict[str, str] = {}
    for line in block[:end].decode("utf-8", "replace").splitlines()[1:]:
        if line.startswith("#"):
            continue
        key, mark, value = line.partition(":=")
        name, colon, text = line.partition(":")
        if mark and len(key) <= len(name):
            keys[key.strip()] = value.strip()
        elif colon:
            fields[name.strip().lower().replace("centers", "centerings")] = text.strip()
    return fields, keys, start


def _vectors(path: Path, text: str, count: int) -> list[list[float] | None]:
    words: list[list[float] | None] = []
    for word in text.replace("(", " (").replace(")", ") ").replace(", ", ",").split():
        words.append(
            None if word.lower() == "none" else floats(path, word.strip("()"), 3, "space directions")
        )
    if len(words) != count:
        raise FileError(
            f"{path}: space directions has {len(words)} entries for {count} axes; export it again"
        )
    return words


def _geometry(
    path: Path, fields: dict[str, str], sizes: list[int]
) -> tuple[Floats, int | None, tuple[Notice, ...]]:
    """Return the affine to RAS mm, the axis that is not spatial, and what was assumed."""
    n = len(sizes)
    notices: list[Notice] = []
    if "space directions" in fields:
        directions = _vectors(path, fields["space directions"], n)
    else:
        spacings = (
            floats(path, fields["spacings"], n, "spacings", gaps=True) if "spacings" in fields else [1.0] * n
        )
        first = 1 if n == 4 else 0  # as other readers take it: four axes, the first of components
        directions = [None] * n
        for axis, place in zip(range(first, min(n, first + 3)), range(3), strict=False):
            step = spacings[axis] if np.isfinite(spacings[axis]) else 1.0
            directions[axis] = [step if i == place else 0.0 for i in range(3)]
        notices.append(Notice("no-geometry", "the file states no directions; axes were taken as L, P, S"))
    spatial = [i for i, d in enumerate(directions) if d is not None]
    others = [i for i in range(n) if i not in spatial]
    if len(spatial) not in (2, 3) or len(others) > 1:
        raise FileError(
            f"{path}: has {len(spatial)} spatial and {len(others)} other axes, needs 3 and at most 1"
        )
    affine = np.eye(4)
    for column, axis in enumerate(spatial):
        affine[:3, column] = directions[axis]
    if len(spatial) == 2:
        normal = np.cross(affine[:3, 0], affine[:3, 1])
        affine[:3, 2] = normal / max(float(np.linalg.norm(normal)), 1e-300)
    if "space origin" in fields:
        affine[:3, 3] = floats(path, fields["space origin"].strip("() "), 3, "space origin")
    space = fields.get("space", "").lower()
    if space in _SPACES_RAS:
        return affine, others[0] if others else None, tuple(notices)
    if space and space not in _SPACES_LPS:
        raise FileError(f"{path}: space '{space[:40]}' is not read; export it in LPS or RAS")
    if not space and not notices:
        notices.append(Notice("no-geometry", "the file states no space; it was taken as LPS"))
    return flip_affine_lps_ras(affine), others[0] if others else None, tuple(notices)


def _decode(
    path: Path, fields: dict[str, str], start: int, sizes: list[int], dtype: np.dtype[Any]
) -> npt.NDArray[Any]:
    count = int(np.prod(sizes, dtype=np.int64))
    size = count * dtype.itemsize
    name = fields.get("data file", fields.get("datafile"))
    if name is not None and (name.upper().startswith("LIST") or (len(name.split()) > 1 and "%" in name)):
        raise FileError(f"{path}: data in several files are not read; save it as one file")
    if name is None and start == 0:
        raise FileError(f"{path}: truncated, ends within its header; copy it again")
    source = path if name is None else beside(path, name)
    with source.open("rb") as stream:
        stream.seek(start if name is None else 0)
        for _ in range(whole(path, fields.get("line skip", fields.get("lineskip", "0")), "line skip")):
            if not stream.readline():
                break
        encoding = fields.get("encoding", "").strip().lower()
        skip = whole(path, fields.get("byte skip", fields.get("byteskip", "0")), "byte skip", -1)
        if skip == -1 and encoding == "raw":
            stream.seek(max(0, source.stat().st_size - size))
            skip = 0
        packed = encoding in ("gzip", "gz", "bzip2", "bz2")
        if skip > 0 and not packed:
            stream.seek(skip, 1)
        limit = size if encoding == "raw" else min(source.stat().st_size, 40 * size + 1000)
        data = stream.read(limit)
    skip = max(skip, 0) if packed else 0
    if encoding in ("gzip", "gz"):
        data = inflate(path, data, size + skip)[skip:]
    elif encoding in ("bzip2", "bz2"):
        data = _bunzip(path, data, size + skip)[skip:]
    elif encoding in ("txt", "text", "ascii"):
        return _from_text(path, data, count, dtype)
    elif encoding == "hex":
        try:
            data = binascii.unhexlify(b"".join(data.split())[: 2 * size])
        except binascii.Error as error:
            raise FileError(f"{path}: its hex data are damaged ({error}); copy it again") from error
    elif encoding != "raw":
        raise FileError(f"{path}: encoding '{encoding[:40]}' is not read; save it raw or gzip")
    if len(data) < size:
        raise FileError(f"{path}: truncated, holds {len(data)} of {size} bytes; copy it again")
    return np.frombuffer(data, dtype, count)


def _bunzip(path: Path, data: bytes, size: int) -> bytes:
    try:
        result = bz2.BZ2Decompressor().decompress(data, size)
    except (OSError, EOFError, ValueError) as error:
        raise FileError(f"{path}: its compressed data are damaged ({error}); copy it again") from error
    if len(result) < size:
        raise FileError(f"{path}: truncated, holds {len(result)} of {size} bytes; copy it again")
    return result


def _from_text(path: Path, data: bytes, count: int, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    words = data.split()[:count]
    try:
        values = np.array(words, dtype=np.float64)
    except ValueError as error:
        raise FileError(f"{path}: its text data hold something that is no number; copy it again") from error
    if len(values) < count:
        raise FileError(f"{path}: truncated, holds {len(values)} of {count} values; copy it again")
    if dtype.kind != "f" and not (np.isfinite(values).all() and (np.abs(values) < 2**53).all()):
        raise FileError(f"{path}: its text data do not fit its type; export it again")
    with np.errstate(all="ignore"):
        return values.astype(dtype)


def write_nrrd(
    path: Path,
    values: npt.NDArray[Any],
    affine: Floats,
    keys: Mapping[str, str] | None = None,
    *,
    component_kind: str = "vector",
) -> None:
    """Write values (i, j, k[, component]) and an affine to RAS mm; gzip, LPS, components first."""
    lps = flip_affine_lps_ras(affine)
    values = np.asarray(values)
    code = values.dtype.str[1:]
    if code not in _NAME_OF_TYPE:
        raise ValueError(f"values of type {values.dtype} cannot be written")
    directions = ["({})".format(",".join(repr(float(v)) for v in lps[:3, c])) for c in range(3)]
    kinds = ["domain"] * 3
    if values.ndim == 4:
        values = np.moveaxis(values, -1, 0)
        directions, kinds = ["none", *directions], [component_kind, *kinds]
    lines = [
        "NRRD0005",
        f"type: {_NAME_OF_TYPE[code]}",
        f"dimension: {values.ndim}",
        "space: left-posterior-superior",
        f"sizes: {' '.join(map(str, values.shape))}",
        f"space directions: {' '.join(directions)}",
        f"kinds: {' '.join(kinds)}",
        "endian: little",
        "encoding: gzip",
        "space origin: ({})".format(",".join(repr(float(v)) for v in lps[:3, 3])),
        *(f"{key}:={value}" for key, value in (keys or {}).items()),
    ]
    engine = zlib.compressobj(4, zlib.DEFLATED, 31)  # no time and no name in the gzip header: same bytes
    data = values.astype(values.dtype.newbyteorder("<")).tobytes(order="F")
    with path.open("wb") as stream:
        stream.write(("\n".join(lines) + "\n\n").encode())
        stream.write(engine.compress(data))
        stream.write(engine.flush())
