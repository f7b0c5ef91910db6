"""A phantom as files: labels.nrrd, labels.toml, surfaces/, truth.json, and echoes.nrrd with t2.nii.gz."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from injectplan.documents import SCHEMA
from injectplan.imaging.values import LabelMap, Surface, Volume
from injectplan.imaging.volumes import write_labelmap, write_volume
from injectplan.phantoms.relaxation import multi_echo, relaxation_of
from injectplan.phantoms.values import Phantom


def export_phantom(
    phantom: Phantom,
    folder: str | Path,
    *,
    echo_times_ms: Sequence[float] = (),
    noise_sd: float = 0.0,
    seed: int = 0,
    tissues: LabelMap | None = None,
) -> None:
    """Write labels.nrrd, labels.toml, surfaces/NAME.ply (RAS mm) and truth.json into an existing folder.

    With echo times also echoes.nrrd, one component each, and t2.nii.gz, the T2 that they were made with; with
    tissues (see `tissues_of`) tissues.nrrd and tissues.toml.
    """
    folder = Path(folder)
    truth = dict(phantom.truth)
    if len(echo_times_ms):
        relaxation = relaxation_of(phantom)
        echoes = multi_echo(relaxation, echo_times_ms, noise_sd=noise_sd, seed=seed)
        write_volume(folder / "echoes.nrrd", echoes)
        write_volume(folder / "t2.nii.gz", Volume(affine=relaxation.affine, values=relaxation.t2_ms))
        truth |= relaxation.truth
    _write_labels(folder, "labels", phantom.labelmap)
    if tissues is not None:
        _write_labels(folder, "tissues", tissues)
    (folder / "surfaces").mkdir(exist_ok=True)
    for name, surface in phantom.surfaces.items():
        _write_ply(folder / "surfaces" / f"{name}.ply", surface)
    text = json.dumps({"schema": SCHEMA, **truth}, indent=2, allow_nan=False)
    (folder / "truth.json").write_text(text + "\n", encoding="utf-8")


def _write_labels(folder: Path, stem: str, labelmap: LabelMap) -> None:
    """Write a label map and the table that names the values that occur in it."""
    write_labelmap(folder / f"{stem}.nrrd", labelmap)
    present = set(np.unique(labelmap.labels).tolist())
    rows = [f'{v} = "{n}"' for v, n in sorted(labelmap.names.items()) if v in present]
    (folder / f"{stem}.toml").write_text("[labels]\n" + "\n".join(rows) + "\n", encoding="utf-8")


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
