"""Triangle meshes from STL, PLY, OBJ and GLB bytes, bounded; and written as STL, PLY and GLB.

Our own readers, since these formats are a page each and hostile files must not crash the process; what
only VTK reads goes through a process of its own (`child`).
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from injectplan.errors import FileError
from injectplan.imaging import child
from injectplan.imaging._bounds import existing_file
from injectplan.imaging.vtp import read_vtp
from injectplan.kernels.cast import Floats, Ints

MAX_MESH_BYTES = 1_000_000_000
Mesh = tuple[Floats, Ints]
_PLY_TYPES = {
    "char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "i2", "int16": "i2", "ushort": "u2",
    "uint16": "u2", "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4", "float": "f4", "float32": "f4",
    "double": "f8", "float64": "f8",
}  # fmt: skip


def read_mesh(path: str | Path) -> Mesh:
    """Return vertices (n, 3) as the file holds them and triangles (m, 3); STL, PLY, OBJ, VTK, VTP or GLB.

    Raises FileError: missing, truncated, of another format, empty, vertices that are not finite.
    """
    path = existing_file(path)
    if path.stat().st_size > MAX_MESH_BYTES:
        raise FileError(
            f"{path}: {path.stat().st_size} bytes, at most {MAX_MESH_BYTES}; decimate the surface"
        )
    suffix = path.suffix.lower()
    if suffix in (".vtk", ".vtp"):
        ours = read_vtp(path) if suffix == ".vtp" else None
        if ours is None:
            arrays, _ = child.run("vtk_surface", [path], path)
            vertices, triangles = arrays["points"], arrays["triangles"]
        else:
            vertices, triangles, _ = ours
    else:
        reader = {".stl": _read_stl, ".ply": _read_ply, ".obj": _read_obj, ".glb": _read_glb}.get(suffix)
        if reader is None:
            raise FileError(f"{path}: is of no known surface format; give .stl .ply .obj .vtk .vtp or .glb")
        try:
            vertices, triangles = reader(path, path.read_bytes())
        except (
            ValueError,
            IndexError,
            KeyError,
            TypeError,
            OverflowError,
            struct.error,
            RecursionError,
        ) as error:
            short = " ".join(str(error).split())[:100]
            raise FileError(f"{path}: damaged {suffix} file ({short}); export it again") from error
    return _checked(path, vertices, triangles)


def _checked(path: Path, vertices: npt.NDArray[Any], triangles: npt.NDArray[Any]) -> Mesh:
    if len(vertices) == 0 or len(triangles) == 0:
        raise FileError(
            f"{path}: holds {len(vertices)} vertices, {len(triangles)} triangles; export it again"
        )
    with np.errstate(all="ignore"):
        vertices = np.asarray(vertices, dtype=np.float64)
    if not np.isfinite(vertices).all():
        bad = int((~np.isfinite(vertices)).any(axis=1).sum())
        raise FileError(f"{path}: {bad} of {len(vertices)} vertices are not finite; export the surface again")
    if np.abs(vertices).max() > 1e9:
        raise FileError(f"{path}: a coordinate is {np.abs(vertices).max():.3g}, at most 1e9; export it again")
    if triangles.min() < 0 or triangles.max() >= len(vertices):
        wrong = triangles.min() if triangles.min() < 0 else triangles.max()
        raise FileError(
            f"{path}: a triangle names vertex {wrong}, there are {len(vertices)}; export it again"
        )
    return vertices, np.asarray(triangles, dtype=np.int32)


def merged(corners: npt.NDArray[Any]) -> Mesh:
    """Return the mesh of triangle corners (m, 3, 3), corners of the same coordinates made one vertex."""
    flat = np.ascontiguousarray(corners.reshape(-1, 3)) + 0.0  # -0.0 is 0.0
    rows = flat.view(np.dtype((np.void, flat.dtype.itemsize * 3))).ravel()
    _, first, inverse = np.unique(rows, return_index=True, return_inverse=True)
    order = np.argsort(first)  # vertices in the order of their first use
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    triangles = rank[inverse.ravel()].reshape(-1, 3)
    whole = (triangles != np.roll(triangles, 1, axis=1)).all(axis=1)
    return flat[first[order]].astype(np.float64), triangles[whole].astype(np.int32)


def _read_stl(path: Path, data: bytes) -> Mesh:
    count = int.from_bytes(data[80:84], "little")
    if len(data) >= 84 and len(data) == 84 + 50 * count:
        return _binary_stl(data, count)
    if data[:5].lower() == b"solid" and b"facet" in data[:2000]:
        if b"endsolid" not in data[-2000:]:
            raise FileError(f"{path}: truncated, its text does not end with endsolid; copy it again")
        words = [line.split()[1:4] for line in data.split(b"\n") if line.lstrip()[:6].lower() == b"vertex"]
        corners = np.array(words, dtype=np.float64).reshape(-1, 3, 3)
        return merged(corners)
    if len(data) < 84:
        raise FileError(f"{path}: truncated, {len(data)} bytes are no STL; copy it again")
    if len(data) > 84 + 50 * count and not any(data[84 + 50 * count :]):
        return _binary_stl(data, count)  # padded with zeros
    raise FileError(
        f"{path}: claims {count} triangles ({84 + 50 * count} bytes), holds {len(data)}; copy it again"
    )


def _binary_stl(data: bytes, count: int) -> Mesh:
    facet = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
    return merged(np.frombuffer(data, facet, count, 84)["corners"])


def _read_ply(path: Path, data: bytes) -> Mesh:
    end = data.find(b"end_header")
    if not data.startswith(b"ply") or end < 0 or end > 1_000_000:
        raise FileError(f"{path}: is not PLY (no ply … end_header); export it again")
    start = data.index(b"\n", end) + 1
    form = ""
    elements: list[tuple[str, int, list[list[str]]]] = []
    for line in data[:end].decode("latin-1").splitlines():
        words = line.split()
        if words[:1] == ["format"]:
            form = words[1]
        elif words[:1] == ["element"]:
            elements.append((words[1], int(words[2]), []))
        elif words[:1] == ["property"]:
            elements[-1][2].append(words[1:])
    if form not in ("ascii", "binary_little_endian", "binary_big_endian"):
        raise FileError(f"{path}: PLY format '{form[:30]}' is not read; export it binary or as text")
    order = ">" if form == "binary_big_endian" else "<"
    body: Any = data[start:].split() if form == "ascii" else data
    place = 0 if form == "ascii" else start
    vertices: npt.NDArray[Any] | None = None
    triangles: npt.NDArray[Any] | None = None
    for name, count, properties in elements:
        if not 0 <= count <= len(data):
            raise FileError(f"{path}: claims {count} {name} elements, holds {len(data)} bytes; copy it again")
        lists = [p for p in properties if p[0] == "list"]
        if not lists:
            table, place = _ply_rows(path, body, place, name, count, properties, form, order)
            if name == "vertex":
                vertices = np.column_stack([table[axis] for axis in "xyz"])
        else:
            faces, place = _ply_lists(path, body, place, name, count, properties, form, order)
            if name == "face":
                triangles = faces
    if vertices is None or triangles is None:
        raise FileError(f"{path}: holds no vertex or no face element; export it again")
    return vertices, triangles


def _ply_rows(
    path: Path,
    body: Any,
    place: int,
    name: str,
    count: int,
    properties: list[list[str]],
    form: str,
    order: str,
) -> tuple[Any, int]:
    """Rows of plain properties, name → column."""
    if form == "ascii":
        size = count * len(properties)
        if len(body) < place + size:
            raise FileError(f"{path}: truncated within its {name} elements; copy it again")
        rows = np.array(body[place : place + size], dtype=np.float64).reshape(count, len(properties))
        return {p[-1]: rows[:, i] for i, p in enumerate(properties)}, place + size
    dtype = np.dtype([(p[-1], order + _PLY_TYPES[p[0]]) for p in properties])
    if len(body) < place + count * dtype.itemsize:
        raise FileError(f"{path}: truncated within its {name} elements; copy it again")
    return np.frombuffer(body, dtype, count, place), place + count * dtype.itemsize


def _ply_lists(
    path: Path,
    body: Any,
    place: int,
    name: str,
    count: int,
    properties: list[list[str]],
    form: str,
    order: str,
) -> tuple[npt.NDArray[Any], int]:
    """Triangles of the faces' vertex lists; other properties are passed over."""
    short = f"{path}: truncated within its {name} elements; copy it again"
    corners: list[list[int]] = []
    if form != "ascii" and count:
        fast = _ply_triangles(body, place, count, properties, order)
        if fast is not None:
            return fast
    for _ in range(count):
        for p in properties:
            wanted = p[0] == "list" and p[-1] in ("vertex_indices", "vertex_index")
            if form == "ascii":
                if place >= len(body):
                    raise FileError(short)
                n = int(body[place]) if p[0] == "list" else 0
                values = body[place + 1 : place + 1 + n]
                place += 1 + n
            elif p[0] == "list":
                size, item = np.dtype(order + _PLY_TYPES[p[1]]), np.dtype(order + _PLY_TYPES[p[2]])
                if len(body) < place + size.itemsize:
                    raise FileError(short)
                n = int(np.frombuffer(body, size, 1, place)[0])
                place += size.itemsize
                if n < 0 or len(body) < place + n * item.itemsize:
                    raise FileError(short)
                values = np.frombuffer(body, item, n, place)
                place += n * item.itemsize
            else:
                place += np.dtype(_PLY_TYPES[p[0]]).itemsize
                continue
            if wanted:
                if len(values) < n:
                    raise FileError(short)
                corners.extend([int(values[0]), int(values[i]), int(values[i + 1])] for i in range(1, n - 1))
    return np.array(corners, dtype=np.int64).reshape(-1, 3), place


def _ply_triangles(
    body: bytes, place: int, count: int, properties: list[list[str]], order: str
) -> tuple[npt.NDArray[Any], int] | None:
    """Return the faces at once where all are triangles and the only list; None otherwise."""
    if sum(p[0] == "list" for p in properties) != 1:
        return None
    fields: list[Any] = []
    for i, p in enumerate(properties):
        if p[0] == "list":
            fields += [("n", order + _PLY_TYPES[p[1]]), ("corners", order + _PLY_TYPES[p[2]], 3)]
            if p[-1] not in ("vertex_indices", "vertex_index"):
                return None
        else:
            fields.append((f"other{i}", order + _PLY_TYPES[p[0]]))
    dtype = np.dtype(fields)
    if len(body) < place + count * dtype.itemsize:
        return None
    rows = np.frombuffer(body, dtype, count, place)
    if not (rows["n"] == 3).all():
        return None
    return rows["corners"].astype(np.int64), place + count * dtype.itemsize


def _read_obj(path: Path, data: bytes) -> Mesh:
    vertices: list[list[bytes]] = []
    corners: list[tuple[int, int, int]] = []
    for line in data.replace(b"\\\n", b" ").split(b"\n"):
        words = line.split()
        if not words:
            continue
        if words[0] == b"v":
            if len(words) < 4:
                raise FileError(f"{path}: truncated within a vertex; copy it again")
            vertices.append(words[1:4])
        elif words[0] == b"f":
            place = [int(word.split(b"/", 1)[0]) for word in words[1:]]
            place = [p - 1 if p > 0 else len(vertices) + p for p in place]
            corners.extend((place[0], place[i], place[i + 1]) for i in range(1, len(place) - 1))
    points = np.array(vertices, dtype=np.float64).reshape(-1, 3)
    return points, np.array(corners, dtype="i4").reshape(-1, 3)


_GLTF_TYPES = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}


def _read_glb(path: Path, data: bytes) -> Mesh:
    """Read all triangle meshes of a binary glTF, placed by its nodes. Khronos glTF 2.0, section 4."""
    if data[:4] != b"glTF" or struct.unpack_from("<I", data, 4)[0] != 2:
        raise FileError(f"{path}: is not GLB version 2; export it again")
    if struct.unpack_from("<I", data, 8)[0] > len(data):
        raise FileError(f"{path}: truncated; copy it again")
    length = struct.unpack_from("<I", data, 12)[0]
    document = json.loads(data[20 : 20 + length])
    binary = data[28 + length :]
    nodes = document.get("nodes", [])
    ours = document.get("asset", {}).get("extras", {}).get("frame") == "RAS mm"  # its pose is for viewers
    roots = document.get("scenes", [{}])[document.get("scene", 0)].get("nodes", range(len(nodes)))
    points: list[Floats] = []
    corners: list[npt.NDArray[Any]] = []
    stack = [(int(root), np.eye(4)) for root in roots]
    seen = 0
    while stack:
        index, above = stack.pop()
        seen += 1
        if index < 0 or seen > len(nodes):
            raise FileError(f"{path}: its nodes form a loop; export it again")
        node = nodes[index]
        pose = above if ours else above @ _gltf_pose(node)
        stack.extend((int(kid), pose) for kid in node.get("children", []))
        if "mesh" not in node:
            continue
        for part in document["meshes"][node["mesh"]]["primitives"]:
            if part.get("mode", 4) != 4:
                continue
            where = _gltf_array(path, document, binary, part["attributes"]["POSITION"], 3).astype(np.float64)
            part_faces = (
                _gltf_array(path, document, binary, part["indices"], 1).astype(np.int64).reshape(-1, 3)
                if "indices" in part
                else np.arange(len(where) // 3 * 3).reshape(-1, 3)
            )
            corners.append(part_faces + sum(len(p) for p in points))
            points.append(where @ pose[:3, :3].T + pose[:3, 3])
    if not points:
        raise FileError(f"{path}: holds no triangle mesh; export it again")
    return np.concatenate(points), np.concatenate(corners).astype("i4")


def _gltf_pose(node: Mapping[str, Any]) -> Floats:
    if "matrix" in node:
        return np.array(node["matrix"], dtype=np.float64).reshape(4, 4).T
    x, y, z, w = (float(v) for v in node.get("rotation", (0, 0, 0, 1)))
    turn = np.array([
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ])  # fmt: skip
    pose = np.eye(4)
    pose[:3, :3] = turn * np.array(node.get("scale", (1, 1, 1)), dtype=np.float64)
    pose[:3, 3] = np.array(node.get("translation", (0, 0, 0)), dtype=np.float64)
    return pose


def _gltf_array(
    path: Path, document: Mapping[str, Any], binary: bytes, index: int, width: int
) -> npt.NDArray[Any]:
    accessor = document["accessors"][index]
    view = document["bufferViews"][accessor["bufferView"]]
    if "uri" in document["buffers"][view.get("buffer", 0)] or "sparse" in accessor:
        raise FileError(f"{path}: keeps its data outside the file or sparse; export it as one plain GLB")
    dtype = np.dtype(_GLTF_TYPES[accessor["componentType"]])
    count, offset = (
        int(accessor["count"]),
        int(view.get("byteOffset", 0)) + int(accessor.get("byteOffset", 0)),
    )
    step = int(view.get("byteStride", 0)) or width * dtype.itemsize
    if count <= 0 or offset < 0 or step < width * dtype.itemsize:
        raise FileError(f"{path}: has an accessor of {count} elements; export it again")
    if offset + (count - 1) * step + width * dtype.itemsize > len(binary):
        raise FileError(f"{path}: truncated within its buffer; copy it again")
    rows = np.lib.stride_tricks.as_strided(
        np.frombuffer(binary, np.uint8)[offset:], (count, width * dtype.itemsize), (step, 1)
    )
    return np.ascontiguousarray(rows).view(dtype)


def write_stl(path: Path, vertices: Floats, triangles: Ints) -> None:
    """Write binary STL."""
    facets = np.zeros(
        len(triangles), [("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")]
    )
    facets["corners"] = vertices[triangles]
    cross = np.cross(
        vertices[triangles[:, 1]] - vertices[triangles[:, 0]],
        vertices[triangles[:, 2]] - vertices[triangles[:, 0]],
    )
    length = np.linalg.norm(cross, axis=1, keepdims=True)
    facets["normal"] = np.divide(cross, length, out=np.zeros_like(cross), where=length > 0)
    head = b"injectplan, RAS, mm".ljust(80) + struct.pack("<I", len(triangles))
    path.write_bytes(head + facets.tobytes())


def write_ply(path: Path, vertices: Floats, triangles: Ints) -> None:
    """Write binary little-endian PLY, coordinates in double precision."""
    head = (
        f"ply\nformat binary_little_endian 1.0\ncomment injectplan, RAS, mm\nelement vertex {len(vertices)}\n"
        "property double x\nproperty double y\nproperty double z\n"
        f"element face {len(triangles)}\nproperty list uchar int vertex_indices\nend_header\n"
    )
    faces = np.empty(len(triangles), [("n", "u1"), ("corners", "<i4", 3)])
    faces["n"], faces["corners"] = 3, triangles
    path.write_bytes(head.encode() + vertices.astype("<f8").tobytes() + faces.tobytes())


def write_glb(path: Path, vertices: Floats, triangles: Ints, color: tuple[int, int, int]) -> None:
    """Write binary glTF in metres, y up, as its standard says: a root node turns and scales RAS mm."""
    where = vertices.astype("<f4")
    faces = triangles.astype("<u4").tobytes()
    body = faces + where.tobytes()
    linear = [((c / 255.0) + 0.055) ** 2.4 / 1.055**2.4 if c > 10 else c / 255.0 / 12.92 for c in color]
    document = {
        "asset": {"version": "2.0", "generator": "injectplan", "extras": {"frame": "RAS mm"}},
        "scene": 0, "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "rotation": [-math.sqrt(0.5), 0, 0, math.sqrt(0.5)], "scale": [0.001] * 3}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 1}, "indices": 0, "material": 0}]}],
        "materials": [{"pbrMetallicRoughness": {"baseColorFactor": [*linear, 1.0], "metallicFactor": 0.0}}],
        "buffers": [{"byteLength": len(body)}],
        "bufferViews": [{"buffer": 0, "byteOffset": 0, "byteLength": len(faces), "target": 34963},
                        {"buffer": 0, "byteOffset": len(faces), "byteLength": where.nbytes, "target": 34962}],
        "accessors": [{"bufferView": 0, "componentType": 5125, "count": triangles.size, "type": "SCALAR"},
                      {"bufferView": 1, "componentType": 5126, "count": len(where), "type": "VEC3",
                       "min": where.min(axis=0).tolist(), "max": where.max(axis=0).tolist()}],
    }  # fmt: skip
    text = json.dumps(document, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    body += b"\0" * (-len(body) % 4)
    total = 12 + 8 + len(text) + 8 + len(body)
    path.write_bytes(
        struct.pack("<4sII", b"glTF", 2, total)
        + struct.pack("<I4s", len(text), b"JSON") + text
        + struct.pack("<I4s", len(body), b"BIN\0") + body
    )  # fmt: skip
