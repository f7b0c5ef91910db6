"""MetaImage (.mha, .mhd), read and written by ourselves, bounded before anything is allocated."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from injectplan.errors import FileError
from injectplan.frames import flip_affine_lps_ras
from injectplan.imaging._bounds import (
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

_TYPES = {
    "MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4",
    "MET_UINT": "u4", "MET_LONG": "i4", "MET_ULONG": "u4", "MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4", "MET_DOUBLE": "f8",
}  # fmt: skip
_LONGEST_HEADER = 1_000_000


def read_metaimage(path: str | Path) -> RawImage:
    """Read an .mha or .mhd file with two or three axes and any number of channels.

    Raises FileError (missing, truncated, hostile, of another format) and UnitsError (impossible spacing).
    """
    path = existing_file(path)
    fields, start = _parse_header(path)
    n = whole(path, fields.get("NDims", ""), "NDims", 2, 3)
    shape = [whole(path, word, "DimSize") for word in fields.get("DimSize", "").split()]
    if len(shape) != n:
        raise FileError(f"{path}: DimSize has {len(shape)} numbers, NDims says {n}; export it again")
    channels = whole(path, fields.get("ElementNumberOfChannels", "1"), "ElementNumberOfChannels", 1, 4096)
    code = _TYPES.get(fields.get("ElementType", "").upper().removesuffix("_ARRAY"))
    if code is None:
        raise FileError(
            f"{path}: ElementType '{fields.get('ElementType', '')[:40]}' is not read; export it again"
        )
    big = fields.get("BinaryDataByteOrderMSB", fields.get("ElementByteOrderMSB", "False")).lower() == "true"
    dtype = np.dtype(code).newbyteorder(">" if big else "<")
    check_shape(path, [channels, *shape], dtype.itemsize)
    affine = _geometry(path, fields, n)
    flat = _decode(path, fields, start, channels * int(np.prod(shape, dtype=np.int64)), dtype)
    values = flat.reshape([channels, *shape, *([1] * (3 - n))], order="F")
    values = values[0] if channels == 1 else np.moveaxis(values, 0, -1)
    keys = {key: value for key, value in fields.items() if key.startswith("Seq_")}
    return RawImage(values=values, affine=check_affine(path, affine), keys=keys)


def _parse_header(path: Path) -> tuple[dict[str, str], int]:
    block = head(path, _LONGEST_HEADER)
    fields: dict[str, str] = {}
    place = 0
    while place < len(block):
        end = block.find(b"\n", place)
        end = len(block) if end < 0 else end
        line = block[place:end].decode("latin-1").strip("\r")
        place = end + 1
        key, mark, value = line.partition("=")
        if not mark:
            if line.strip():
                break
            continue
        fields[key.strip()] = value.strip()
        if key.strip() == "ElementDataFile":
            if "NDims" not in fields:
                break
            return fields, place
    raise FileError(f"{path}: is not MetaImage (no NDims and ElementDataFile); give the format's own suffix")


def _geometry(path: Path, fields: dict[str, str], n: int) -> Floats:
    spacing = floats(
        path, fields.get("ElementSpacing", fields.get("ElementSize", "1 " * n)), n, "ElementSpacing"
    )
    origin = floats(
        path, fields.get("Offset", fields.get("Position", fields.get("Origin", "0 " * n))), n, "Offset"
    )
    identity = " ".join("1" if i % (n + 1) == 0 else "0" for i in range(n * n))
    text = fields.get("TransformMatrix", fields.get("Rotation", fields.get("Orientation", identity)))
    rows = np.array(floats(path, text, n * n, "TransformMatrix")).reshape(n, n)  # row a: direction of axis a
    affine = np.eye(4)
    affine[:n, :n] = rows.T * spacing
    affine[:n, 3] = origin
    return flip_affine_lps_ras(affine)


def _decode(
    path: Path, fields: dict[str, str], start: int, count: int, dtype: np.dtype[Any]
) -> npt.NDArray[Any]:
    size = count * dtype.itemsize
    name = fields["ElementDataFile"]
    if name.upper().startswith("LIST") or "%" in name:
        raise FileError(f"{path}: data in several files are not read; save it as one file")
    local = name.upper() == "LOCAL"
    source = path if local else beside(path, name)
    packed = fields.get("CompressedData", "False").lower() == "true"
    skip = whole(path, fields.get("HeaderSize", "0"), "HeaderSize", -1)
    with source.open("rb") as stream:
        if skip == -1:
            stream.seek(max(0, source.stat().st_size - size))
        else:
            stream.seek((start if local else 0) + skip)
        data = stream.read(-1 if packed else size)
    if packed:
        data = inflate(path, data, size)
    if fields.get("BinaryData", "True").lower() != "true":
        raise FileError(f"{path}: data as text are not read; save it binary")
    if len(data) < size:
        raise FileError(f"{path}: truncated, holds {len(data)} of {size} bytes; copy it again")
    return np.frombuffer(data, dtype, count)


def write_metaimage(path: Path, values: npt.NDArray[Any], affine: Floats) -> None:
    """Write values (i, j, k) or (i, j, k, component) as one compressed .mha; spacing × direction = affine."""
    lps = flip_affine_lps_ras(affine)
    values = np.asarray(values)
    names = {code: name for name, code in reversed(_TYPES.items())}
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    rows = (lps[:3, :3] / spacing).T
    channels = values.shape[3] if values.ndim == 4 else 1
    shape = values.shape[:3]
    data = np.moveaxis(values, -1, 0) if values.ndim == 4 else values
    packed = zlib.compress(data.astype(data.dtype.newbyteorder("<")).tobytes(order="F"), 4)
    lines = [
        "ObjectType = Image", "NDims = 3", "BinaryData = True", "BinaryDataByteOrderMSB = False",
        "CompressedData = True", f"CompressedDataSize = {len(packed)}",
        "TransformMatrix = " + " ".join(repr(float(v)) for v in rows.ravel()),
        "Offset = " + " ".join(repr(float(v)) for v in lps[:3, 3]), "CenterOfRotation = 0 0 0",
        "ElementSpacing = " + " ".join(repr(float(v)) for v in spacing),
        "DimSize = " + " ".join(map(str, shape)),
        *([f"ElementNumberOfChannels = {channels}"] if channels > 1 else []),
        f"ElementType = {names[values.dtype.str[1:]]}", "ElementDataFile = LOCAL",
    ]  # fmt: skip
    with path.open("wb") as stream:
        stream.write(("\n".join(lines) + "\n").encode())
        stream.write(packed)
