"""A phantom as files: labels.nrrd, labels.toml, surfaces/, truth.json."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from injectplan.imaging.values import Surface
from injectplan.imaging.volumes import write_labelmap
from injectplan.phantoms.values import Phantom


def export_phantom(phantom: Phantom, folder: str | Path) -> None:
    """Write labels.nrrd, labels.toml, surfaces/NAME.ply (RAS mm) and truth.json into an existing folder."""
    folder = Path(folder)
    write_labelmap(folder / "labels.nrrd", phantom.labelmap)
    present = set(np.unique(phantom.labelmap.labels).tolist())
    rows = [f'{v} = "{n}"' for v, n in sorted(phantom.labelmap.names.items()) if v in present]
    (folder / "labels.toml").write_text("[labels]\n" + "\n".join(rows) + "\n", encoding="utf-8")
    (folder / "surfaces").mkdir(exist_ok=True)
    for name, surface in phantom.surfaces.items():
        _write_ply(folder / "surfaces" / f"{name}.ply", surface)
    text = json.dumps(dict(phantom.truth), indent=2, allow_nan=False)
    (folder / "truth.json").write_text(text + "\n", encoding="utf-8")


def _write_ply(path: Path, surface: Surface) -> None:
    """Write a surface as binary PLY, little endian, coordinates as float32 RAS mm."""
    header = (
        "ply\nformat binary_little_endian 1.0\ncomment frame RAS, unit mm\n"
        f"element vertex {len(surface.vertices_mm)}\nproperty float x\nproperty float y\nproperty float z\n"
        f"element face {len(surface.triangles)}\nproperty list uchar int vertex_indices\nend_header\n"
    )
    faces = np.empty(len(surface.triangles), np.dtype([("count", "u1"), ("corners", "<i4", 3)]))
    faces["count"], faces["corners"] = 3, surface.triangles
    path.write_bytes(header.encode() + surface.vertices_mm.astype("<f4").tobytes() + faces.tobytes())
