"""VTK XML PolyData (.vtp): written, and read by ourselves so that a saved joint loads without starting VTK.

The reader takes one piece, little-endian, ascii, inline or appended binary, raw or zlib-compressed; for
anything else it returns None, and VTK reads the file in a process of its own.
Format: docs.vtk.org, "VTK File Formats", XML.
"""

from __future__ import annotations

import base64
import binascii
import re
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt

from injectplan.errors import FileError
from injectplan.imaging._bounds import MAX_VOXELS
from injectplan.kernels.cast import Floats, Ints

_TYPES = {
    "Int8": "<i1", "UInt8": "<u1", "Int16": "<i2", "UInt16": "<u2", "Int32": "<i4", "UInt32": "<u4",
    "Int64": "<i8", "UInt64": "<u8", "Float32": "<f4", "Float64": "<f8",
}  # fmt: skip
_NAMES = {code[1:]: name for name, code in _TYPES.items()}
Parts = tuple[npt.NDArray[Any], npt.NDArray[Any], dict[str, npt.NDArray[Any]]]


def read_vtp(path: Path) -> Parts | None:
    """Return points (n, 3), triangles (m, 3) and the arrays on the points, or None for what VTK must read.

    Raises FileError for a file that is damaged.
    """
    data = path.read_bytes()
    if b"<!DOCTYPE" in data[:4000] or b"<!ENTITY" in data[:4000]:
        raise FileError(f"{path}: declares XML entities, which no VTP needs; export it again")
    appended = re.search(rb'<AppendedData\s+encoding="(\w+)"\s*>\s*_', data)
    text = data if appended is None else data[: appended.start()] + b"</VTKFile>"
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise FileError(f"{path}: is damaged XML ({error}); export it again") from error
    pieces = root.findall("./PolyData/Piece")
    if len(pieces) != 1 or root.get("byte_order", "LittleEndian") != "LittleEndian":
        return None
    if root.get("compressor", "vtkZLibDataCompressor") != "vtkZLibDataCompressor":
        return None
    stream = _Stream(path, root, data[appended.end() :] if appended else b"", appended)
    try:
        return _piece(pieces[0], stream)
    except (ValueError, KeyError, IndexError, TypeError, binascii.Error, zlib.error, OverflowError) as error:
        short = " ".join(str(error).split())[:80]
        raise FileError(f"{path}: truncated or damaged ({short}); export it again") from error


def _piece(piece: ElementTree.Element, stream: _Stream) -> Parts | None:
    if any(int(piece.get(f"NumberOf{kind}", "0")) for kind in ("Strips", "Verts", "Lines")):
        return None
    count, cells = int(piece.get("NumberOfPoints", "0")), int(piece.get("NumberOfPolys", "0"))
    where = piece.find("./Points/DataArray")
    polygons = {str(a.get("Name")): a for a in piece.findall("./Polys/DataArray")}
    if where is None or "connectivity" not in polygons or "offsets" not in polygons:
        raise ValueError("no points or no polygons")
    points = stream.array(where).reshape(-1, 3)
    corners, ends = stream.array(polygons["connectivity"]), stream.array(polygons["offsets"])
    if len(points) != count or len(ends) != cells:
        raise ValueError(f"holds {len(points)} of {count} points, {len(ends)} of {cells} polygons")
    if cells and (np.diff(ends, prepend=0) != 3).any():
        return None
    arrays = {}
    for element in piece.findall("./PointData/DataArray"):
        values, width = stream.array(element), int(element.get("NumberOfComponents", "1"))
        arrays[str(element.get("Name"))] = values if width == 1 else values.reshape(-1, width)
        if len(arrays[str(element.get("Name"))]) != count:
            raise ValueError(f"array {element.get('Name')!s:.40} does not fit the points")
    return points, corners.reshape(-1, 3), arrays


class _Stream:
    """Decodes the data arrays of one file."""

    def __init__(
        self, path: Path, root: ElementTree.Element, appended: bytes, mark: re.Match[bytes] | None
    ) -> None:
        self.header = np.dtype("<u8" if root.get("header_type") == "UInt64" else "<u4")
        self.packed = root.get("compressor") is not None
        self.appended = appended
        self.raw = mark is not None and mark.group(1) == b"raw"

    def array(self, element: ElementTree.Element) -> npt.NDArray[Any]:
        """Return one array, flat."""
        dtype = np.dtype(_TYPES[element.get("type", "")])
        form = element.get("format", "ascii")
        if form == "ascii":
            return np.array((element.text or "").split(), dtype=np.float64).astype(dtype)
        if form == "appended":
            block = self.appended[int(element.get("offset", "-1")) :] if self.appended else b""
            content = self._blocks(block, self.raw)
        else:
            content = self._blocks((element.text or "").strip().encode("ascii"), False)
        return np.frombuffer(content, dtype)

    def _take(self, block: bytes, place: int, size: int, raw: bool) -> tuple[bytes, int]:
        """Return `size` bytes encoded from `place` on, and where the next encoding begins."""
        length = size if raw else -(-size // 3) * 4
        piece = block[place : place + length]
        content = piece if raw else base64.b64decode(piece)
        if len(content) < size:
            raise ValueError("ends within an array")
        return content[:size], place + length

    def _blocks(self, block: bytes, raw: bool) -> bytes:
        step = self.header.itemsize
        if not self.packed:
            head, place = self._take(block, 0, step, raw)
            size = int(np.frombuffer(head, self.header)[0])
            if size > MAX_VOXELS * 8:
                raise ValueError(f"claims {size} bytes")
            if raw or block[place - 1 : place] == b"=":
                return self._take(block, place, size, raw)[0]
            return self._take(block, 0, step + size, raw)[0][step:]  # length and data encoded as one
        head, _ = self._take(block, 0, step, raw)
        count = int(np.frombuffer(head, self.header)[0])
        if count == 0:
            return b""
        if count > len(block):
            raise ValueError(f"claims {count} blocks")
        head, place = self._take(block, 0, step * (3 + count), raw)
        numbers = [int(n) for n in np.frombuffer(head, self.header)]
        size, last, sizes = numbers[1], numbers[2], numbers[3:]
        if count * size > MAX_VOXELS * 8 or last > size:
            raise ValueError(f"claims {count} blocks of {size} bytes")
        content, _ = self._take(block, place, sum(sizes), raw)
        parts, start = [], 0
        for i, packed in enumerate(sizes):
            want = last if i == count - 1 and last else size
            part = zlib.decompressobj().decompress(content[start : start + packed], want)
            if len(part) != want:
                raise ValueError("ends within a compressed block")
            parts.append(part)
            start += packed
        return b"".join(parts)


def _note(name: str, text: str) -> str:
    """A text as field data: VTK writes one as its characters' codes, ended by a 0."""
    codes = " ".join(str(code) for code in (*text.encode(), 0))
    return f'<DataArray type="String" Name="{name}" NumberOfTuples="1" format="ascii">{codes}</DataArray>'


def write_vtp(
    path: Path, vertices: Floats, triangles: Ints, point_data: Mapping[str, npt.NDArray[Any]] | None = None,
    notes: Mapping[str, str] | None = None,
) -> None:  # fmt: skip
    """Write points, triangles and arrays on the points, zlib-compressed; opens in ParaView and 3D Slicer.

    notes : field data, short texts about the whole.
    """

    def block(name: str, array: npt.NDArray[Any], width: int = 1) -> str:
        array = np.ascontiguousarray(array)
        data = array.astype(array.dtype.newbyteorder("<")).tobytes()
        packed = zlib.compress(data, 4)
        # one block of the whole length; the header counts blocks, block size, last partial size, packed sizes
        head = np.array([1, len(data), 0, len(packed)] if data else [0], "<u8").tobytes()
        text = base64.b64encode(head) + (base64.b64encode(packed) if data else b"")
        return (
            f'<DataArray type="{_NAMES[array.dtype.str[1:]]}" Name="{name}" NumberOfComponents="{width}" '
            f'format="binary">{text.decode()}</DataArray>'
        )

    arrays = "".join(
        block(name, array, array.shape[1] if array.ndim == 2 else 1)
        for name, array in (point_data or {}).items()
    )
    told = "".join(_note(name, text) for name, text in (notes or {}).items())
    field_data = f"<FieldData>{told}</FieldData>\n" if told else ""
    offsets = np.arange(1, len(triangles) + 1, dtype=np.int64) * 3
    polygons = block("connectivity", triangles.astype(np.int64).ravel()) + block("offsets", offsets)
    path.write_text(
        '<?xml version="1.0"?>\n<VTKFile type="PolyData" version="1.0" byte_order="LittleEndian" '
        'header_type="UInt64" compressor="vtkZLibDataCompressor">\n<PolyData>\n'
        f'{field_data}<Piece NumberOfPoints="{len(vertices)}" NumberOfVerts="0" NumberOfLines="0" '
        f'NumberOfStrips="0" NumberOfPolys="{len(triangles)}">\n<PointData>{arrays}</PointData>\n'
        f"<Points>{block('Points', vertices.astype(np.float64), 3)}</Points>\n"
        f"<Polys>{polygons}</Polys>\n</Piece>\n</PolyData>\n</VTKFile>\n",
        encoding="utf-8",
    )
