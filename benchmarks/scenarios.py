"""One table of scenes that all benchmarks run on.

To add one: write a function that returns the scene's value (built once per run and kept), and put its name in
SCENES with a sentence. Benchmarks ask by name through the `scene` fixture, so a scene that needs the real
data skips by itself where they are missing.
"""

from __future__ import annotations

import functools
import hashlib
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
REAL_DATA = ROOT.parent / "shared" / "data"


class SceneMissingError(Exception):
    """The data of a scene are not on this machine."""


class Mesh(NamedTuple):
    """Triangles (m, 3) of vertices (n, 3) mm."""

    vertices_mm: np.ndarray
    triangles: np.ndarray


class Rays(NamedTuple):
    """Origins and unit directions (n, 3)."""

    origins_mm: np.ndarray
    directions: np.ndarray


def _knee_meshes() -> Mesh:
    """All ten structures of the real knee at full resolution, closed; kept in the temporary folder."""
    path = REAL_DATA / "knee_dess" / "SAG_3D_DESS_RIGHT_bones_cart_men_fib-label.nrrd"
    if not path.is_file():
        raise SceneMissingError("the real knee is not beside the project (../shared/data/knee_dess)")
    source = Path(__file__).read_bytes() + path.read_bytes()
    kept = Path(tempfile.gettempdir()) / f"injectplan-bench-{hashlib.sha256(source).hexdigest()[:16]}.npz"
    if kept.is_file():
        with np.load(kept) as arrays:
            return Mesh(arrays["vertices"], arrays["triangles"])
    import pyvista as pv
    import SimpleITK as sitk

    image = sitk.ReadImage(str(path))
    labels, spacing = sitk.GetArrayFromImage(image), np.array(image.GetSpacing())
    vertices, triangles, total = [], [], 0
    for label in range(1, 11):
        mask = np.pad(labels == label, 2)
        soft = sitk.SmoothingRecursiveGaussian(sitk.GetImageFromArray(mask.astype(np.float32)), 1.0)
        grid = pv.ImageData(dimensions=mask.shape[::-1], spacing=spacing, origin=-2 * spacing)
        grid["soft"] = sitk.GetArrayFromImage(soft).ravel()
        mesh = grid.contour([0.5], scalars="soft", method="flying_edges")
        vertices.append(np.asarray(mesh.points, np.float64))
        triangles.append(mesh.faces.reshape(-1, 4)[:, 1:].astype(np.int32) + total)
        total += len(vertices[-1])
    result = Mesh(np.concatenate(vertices), np.concatenate(triangles))
    np.savez(kept, vertices=result.vertices_mm, triangles=result.triangles)
    return result


def _ball_nest() -> Mesh:
    """Eight balls one in another, 655 thousand triangles: 16 crossings through the middle; needs no data."""
    import trimesh

    ball = trimesh.creation.icosphere(6)
    vertices = [ball.vertices * (10.0 + 4.0 * k) for k in range(8)]
    triangles = [ball.faces + k * len(ball.vertices) for k in range(8)]
    return Mesh(np.concatenate(vertices), np.concatenate(triangles).astype(np.int32))


def _real_labels() -> Any:
    """The real knee's label map."""
    path = REAL_DATA / "knee_dess" / "SAG_3D_DESS_RIGHT_bones_cart_men_fib-label.nrrd"
    if not path.is_file():
        raise SceneMissingError("the real knee is not beside the project (../shared/data/knee_dess)")
    from injectplan.imaging import read_labelmap

    return read_labelmap(path, "pymskt", "right")


def _completed_knee() -> Any:
    """The real knee as a joint, its soft tissue completed."""
    from injectplan.anatomy import build_joint

    return build_joint(_real_labels(), kind="knee", side="right")


SCENES: dict[str, tuple[str, Callable[[], Any]]] = {
    "knee": ("all ten structures of the real knee, about 800 thousand triangles", _knee_meshes),
    "knee_labels": ("the real knee's label map, 23.6 M voxels", _real_labels),
    "completed_knee": ("the real knee as a joint with completed soft tissue", _completed_knee),
    "balls": ("eight balls one in another, 655 thousand triangles", _ball_nest),
}


@functools.cache
def scene(name: str) -> Any:
    """Return the scene of this name, built once; SceneMissingError where its data are missing."""
    return SCENES[name][1]()


def rays_through(mesh: Mesh, count: int, kind: str) -> Rays:
    """Cast `count` rays through a mesh.

    random: from all around to points within its box; fan: scan lines of a curved probe beside it, swept,
    which is what the ultrasound preview casts; core: from all around to near its centre.
    """
    rng = np.random.default_rng(0)
    low, high = mesh.vertices_mm.min(axis=0), mesh.vertices_mm.max(axis=0)
    center, radius = 0.5 * (low + high), 0.55 * float(np.linalg.norm(high - low))
    if kind == "fan":
        lines, frames = 128, max(1, count // 128)
        angle = np.tile(np.linspace(-0.5, 0.5, lines), frames)
        lift = np.repeat(np.linspace(low[2], high[2], frames + 2)[1:-1], lines)
        way = np.c_[np.sin(angle), np.cos(angle), np.zeros(len(angle))]
        origins = np.c_[np.full(len(angle), center[0]), np.full(len(angle), low[1] - 20.0), lift] + 10.0 * way
        return Rays(origins, way)
    way = rng.normal(size=(count, 3))
    origins = center + radius * way / np.linalg.norm(way, axis=1, keepdims=True)
    targets = (
        rng.uniform(low, high, (count, 3)) if kind == "random" else center + rng.normal(0, 3, (count, 3))
    )
    way = targets - origins
    return Rays(origins, way / np.linalg.norm(way, axis=1, keepdims=True))


def points_around(mesh: Mesh, count: int) -> np.ndarray:
    """`count` points within a mesh's box, (count, 3) mm."""
    low, high = mesh.vertices_mm.min(axis=0), mesh.vertices_mm.max(axis=0)
    return np.random.default_rng(1).uniform(low, high, (count, 3))
