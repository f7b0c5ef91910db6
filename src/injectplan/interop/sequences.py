"""Sequence files of a guidance preview: `.igs.mha`, which 3D Slicer (SlicerIGSIO) and PLUS open.

A MetaImage of three dimensions, columns, rows and frames, with fields of their own for each frame: its time,
and where image, probe and needle stand in the patient (RAS mm).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from injectplan.errors import BadInputError
from injectplan.files import atomic_file
from injectplan.guidance import Preview
from injectplan.kernels.cast import Bytes, Floats
from injectplan.planning.values import Trajectory

FRAME_S = 0.08  # time between two frames of a preview, as in its animation


def needle_frame(entry_mm: Floats, tip_mm: Floats) -> Floats:
    """Return needle_to_patient (4, 4): the tip at the origin, the shaft along -z."""
    z = np.asarray(tip_mm, dtype=np.float64) - entry_mm
    z = z / np.linalg.norm(z)
    aside = np.eye(3)[int(np.argmin(np.abs(z)))]
    x = np.cross(aside, z)
    x = x / np.linalg.norm(x)
    matrix = np.eye(4)
    matrix[:3, :3] = np.stack([x, np.cross(z, x), z], axis=1)
    matrix[:3, 3] = tip_mm
    return matrix


def write_sequence(
    path: Path, frames: Sequence[Bytes], transforms: Mapping[str, Sequence[Floats]], times_s: Sequence[float]
) -> None:
    """Write grey frames (h, w) with poses per frame as `.igs.mha`; the file appears as a whole.

    transforms : name → one (4, 4) matrix a frame, named as IGSIO does ("ImageToReference": from column, row,
        0 to patient RAS mm).  times_s : one a frame.
    Raises BadInputError when there is no frame, frames differ in size, or a list has another length.
    """
    if not frames or len({f.shape for f in frames}) != 1 or frames[0].ndim != 2:
        raise BadInputError("a sequence needs one or more grey frames of one size")
    for name, list_of in [*transforms.items(), ("times", times_s)]:
        if len(list_of) != len(frames):
            raise BadInputError(f"a sequence of {len(frames)} frames has {len(list_of)} of {name}")
    packed = zlib.compress(np.ascontiguousarray(np.stack(frames), dtype=np.uint8).tobytes(), 6)
    header = "\n".join(_header(frames[0].shape, len(frames), transforms, times_s, len(packed)))
    with atomic_file(path) as part:
        part.write_bytes(header.encode("ascii") + b"\nElementDataFile = LOCAL\n" + packed)


def _header(
    shape: tuple[int, ...], count: int, transforms: Mapping[str, Sequence[Floats]], times_s: Sequence[float],
    size: int,
) -> Iterable[str]:  # fmt: skip
    height, width = shape
    yield from (
        "ObjectType = Image", "NDims = 3", "AnatomicalOrientation = RAI", "BinaryData = True",
        "BinaryDataByteOrderMSB = False", "CenterOfRotation = 0 0 0", "CompressedData = True",
        f"CompressedDataSize = {size}", f"DimSize = {width} {height} {count}", "ElementNumberOfChannels = 1",
        "ElementSpacing = 1 1 1", "ElementType = MET_UCHAR", "Kinds = domain domain list", "Offset = 0 0 0",
        "TransformMatrix = 1 0 0 0 1 0 0 0 1", "UltrasoundImageOrientation = MF",
        "UltrasoundImageType = BRIGHTNESS",
    )  # fmt: skip
    for k in range(count):
        key = f"Seq_Frame{k:04d}"
        yield f"{key}_FrameNumber = {k}"
        yield f"{key}_Timestamp = {times_s[k]:.6f}"
        yield f"{key}_UnfilteredTimestamp = {times_s[k]:.6f}"
        yield f"{key}_ImageStatus = OK"
        for name, matrices in transforms.items():
            yield f"{key}_{name}Transform = " + " ".join(repr(float(v)) for v in np.ravel(matrices[k]))
            yield f"{key}_{name}TransformStatus = OK"


def write_preview_sequence(preview: Preview, path: Path) -> None:
    """Write a preview's frames with the poses of image, probe and needle in the patient (RAS mm)."""
    frames = preview.frames
    write_sequence(
        path,
        [f.bmode for f in frames],
        {
            "ImageToReference": [f.pixel_to_patient for f in frames],
            "ProbeToReference": [f.probe_to_patient.matrix for f in frames],
            "NeedleToReference": [_needle(preview.trajectory, mm) for mm in preview.inserted_mm],
        },
        [FRAME_S * k for k in range(len(frames))],
    )


def _needle(trajectory: Trajectory, inserted_mm: float) -> Floats:
    entry = np.asarray(trajectory.entry_mm, dtype=np.float64)
    way = np.asarray(trajectory.tip_mm, dtype=np.float64) - entry
    return needle_frame(entry, entry + inserted_mm * way / np.linalg.norm(way))
