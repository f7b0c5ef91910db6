"""DICOM series, multi-frame images and segmentations; only values and geometry are taken, no identity."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from injectplan.errors import FileError
from injectplan.frames import flip_affine_lps_ras
from injectplan.imaging import child
from injectplan.imaging._bounds import RawImage, check_affine, check_shape, existing_file, head
from injectplan.imaging.segments import Segment, Segmentation
from injectplan.measure import Notice

_MOST_FILES = 20_000


def looks_like_dicom(path: Path) -> bool:
    """Whether a file carries the DICOM mark after its preamble."""
    return head(path, 132)[128:] == b"DICM"


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [existing_file(path)]
    try:
        found = sorted(p for p in path.iterdir() if p.is_file())[: _MOST_FILES + 1]
        found = [p for p in found if looks_like_dicom(p)]
    except OSError as error:
        why = (error.strerror or "unreadable").lower()
        raise FileError(f"{path}: cannot be read ({why}); check the path") from error
    if not found:
        raise FileError(f"{path}: holds no DICOM file; give the folder of one series")
    if len(found) > _MOST_FILES:
        raise FileError(f"{path}: holds more than {_MOST_FILES} files; give the folder of one series")
    return found


def read_dicom(path: str | Path) -> RawImage | Segmentation:
    """Read a folder of one series, a single image, a multi-frame image or a DICOM SEG.

    A series whose images differ in echo time becomes one image with a component an echo, their times in
    keys["echo_times_ms"].  Raises FileError.
    """
    path = Path(path)
    arrays, meta = child.run("dicom", _files(path), path)
    values, affine = arrays["values"], check_affine(path, flip_affine_lps_ras(arrays["affine"]))
    check_shape(path, values.shape, values.dtype.itemsize)
    if meta["task"] == "image":
        keys = {}
        if meta["echo_times_ms"]:
            keys["echo_times_ms"] = " ".join(repr(float(t)) for t in meta["echo_times_ms"])
        return RawImage(values=values, affine=affine, keys=keys)
    segments = [
        Segment(name=label or meaning, meaning=meaning, mask=values[..., i].astype(np.bool_), value=number)
        for i, (number, (label, meaning)) in enumerate(zip(meta["numbers"], meta["names"], strict=True))
    ]
    notices: tuple[Notice, ...] = ()
    if meta["fractional"]:
        notices = (
            Notice("fractional-labels", "the segmentation is fractional; 0.5 and more was taken as inside"),
        )
    return Segmentation(segments=tuple(segments), affine=affine, shape=values.shape[:3], notices=notices)
