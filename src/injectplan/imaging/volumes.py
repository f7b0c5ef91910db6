"""Label maps and images: read from NIfTI, NRRD, .seg.nrrd, MetaImage and DICOM, and written back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from injectplan.errors import EmptyStructureError, FileError, UsageError
from injectplan.files import atomic_file
from injectplan.imaging._bounds import RawImage, existing_file, head
from injectplan.imaging.dicom import looks_like_dicom, read_dicom
from injectplan.imaging.labels import LARGEST_LABEL, LabelTable, label_table
from injectplan.imaging.metaimage import read_metaimage, write_metaimage
from injectplan.imaging.nifti import read_nifti, write_nifti
from injectplan.imaging.nrrd import read_nrrd, write_nrrd
from injectplan.imaging.segments import (
    Segmentation,
    has_segments,
    keys_of_segments,
    labelmap_of_segments,
    segments_of_nrrd,
)
from injectplan.imaging.values import LabelMap, Volume
from injectplan.measure import Notice

FORMATS = ".nii .nii.gz .nrrd .seg.nrrd .nhdr .mha .mhd, DICOM"


def _read(path: str | Path) -> RawImage | Segmentation:
    """Read any image format, told by content first and by name second."""
    path = Path(path)
    if path.is_dir():
        return read_dicom(path)
    existing_file(path)
    start, name = head(path, 348), path.name.lower()
    if start.startswith(b"NRRD000") or name.endswith((".nrrd", ".nhdr")):
        return read_nrrd(path)
    if name.endswith((".mha", ".mhd")):
        return read_metaimage(path)
    if name.endswith((".nii", ".nii.gz", ".hdr", ".img")):
        return read_nifti(path)
    if looks_like_dicom(path):
        return read_dicom(path)
    raise FileError(f"{path}: is of no known image format; give one of {FORMATS}")


def read_volume(path: str | Path, *, gaps: bool = True) -> Volume:
    """Read an image with its full affine to RAS mm; echoes or times become components (i, j, k, component).

    gaps : whether it may hold NaN, as maps do where nothing was measured; infinite values are refused anyhow.
    Raises FileError (missing, truncated, hostile, of another format), UnitsError (impossible spacing).
    """
    raw = _read(path)
    if isinstance(raw, Segmentation):
        raise FileError(f"{path}: is a segmentation, needs an image; give it as the label map")
    # a sum is read faster than each value is tested
    if raw.values.dtype.kind in "fc" and not np.isfinite(raw.values.sum(dtype=np.float64)):
        refused = np.isinf(raw.values) if gaps else ~np.isfinite(raw.values)
        bad = int(refused.sum())
        if bad:
            raise FileError(f"{path}: {bad} values are not finite; export the image again")
    times = tuple(float(t) for t in raw.keys.get("echo_times_ms", "").split())
    with np.errstate(over="ignore"):
        values = raw.values.astype(np.float32)
    if raw.values.dtype.kind == "f" and raw.values.dtype.itemsize > 4 and np.isinf(values).any():
        raise FileError(f"{path}: holds values beyond 3e38; export the image again")
    return Volume(affine=raw.affine, values=values, notices=raw.notices, echo_times_ms=times)


def read_labelmap(
    path: str | Path, labels: str | Path | LabelTable | None = None, side: str | None = None
) -> LabelMap:
    """Read a segmentation with its full affine to RAS mm, its values named by a label table or by the file.

    labels : name of a shipped table, a TOML file, or a LabelTable; None for a file that carries names.
    side : "left" or "right": the side to take from a table that names both.

    Values that occur and are not named become notices.  Raises FileError (missing, truncated, hostile, values
    that are no labels), UsageError (no table, no side), EmptyStructureError (only background).
    """
    if side not in (None, "left", "right"):
        raise UsageError(f"side is '{side}', needs left or right")
    table = labels if labels is None or isinstance(labels, LabelTable) else label_table(labels)
    names = None if table is None else table.names(side)
    raw = _read(path)
    if isinstance(raw, RawImage) and has_segments(raw) and (table is None or raw.values.ndim == 4):
        raw = segments_of_nrrd(raw, str(path))
    if isinstance(raw, Segmentation):
        result = labelmap_of_segments(raw, str(path), names, side)
    elif table is None or names is None:
        raise UsageError(f"{path}: carries no names for its labels; give --labels TABLE")
    else:
        values = _label_values(Path(path), raw.values)
        result = LabelMap(affine=raw.affine, labels=values, names=names, notices=raw.notices)
    if not result.counts:
        raise EmptyStructureError(f"{path}: holds no label, only background; give the segmentation")
    if table is None:
        return result
    unnamed = tuple(
        Notice(
            "unnamed-label", f"label {value} occurs ({n} voxels) and table '{table.name}' does not name it"
        )
        for value, n in result.counts.items()
        if value not in table.known
    )
    return LabelMap(
        affine=result.affine, labels=result.labels, names=result.names, overlaps=result.overlaps,
        additions=table.additions, notices=result.notices + unnamed,
    )  # fmt: skip


def _label_values(path: Path, values: npt.NDArray[Any]) -> npt.NDArray[np.uint16]:
    """Return values as labels, refusing what cannot be a label."""
    if values.ndim != 3:
        raise FileError(
            f"{path}: holds {values.shape[3]} components a voxel, a label map holds 1; give one label a voxel"
        )
    if values.dtype.kind == "f":
        if not np.isfinite(values).all():
            raise FileError(
                f"{path}: holds values that are not finite, labels are whole numbers; export again"
            )
        broken = values != np.rint(values)
        if broken.any():
            raise FileError(
                f"{path}: holds {values[broken].flat[0]:.6g} ({int(broken.sum())} values not whole), labels "
                f"are whole numbers; save the labels, not the image or a resampled map"
            )
    low, high = values.min(), values.max()
    if low < 0 or high > LARGEST_LABEL:
        raise FileError(
            f"{path}: holds {low if low < 0 else high:.0f}, labels are 0 to {LARGEST_LABEL}; "
            f"save the labels, not the image"
        )
    return values.astype(np.uint16)


def write_volume(path: str | Path, volume: Volume) -> None:
    """Write an image as .nii, .nii.gz, .nrrd or .mha with its full affine."""
    _write(Path(path), volume.values, volume, {})


def write_labelmap(path: str | Path, labelmap: LabelMap) -> None:
    """Write a label map as .nii(.gz), .mha, .nrrd or .seg.nrrd with its full affine.

    The last two carry names, colours and codes as 3D Slicer reads them; only .seg.nrrd keeps overlaps.
    """
    path = Path(path)
    values = labelmap.labels
    if values.max(initial=0) < 256:
        values = values.astype(np.uint8)
    places = {v: (n, 0) for v, n in labelmap.names.items() if labelmap.counts.get(v)}
    name = path.name.lower()
    if name.endswith(".seg.nrrd") and labelmap.overlaps:
        values, places = _layers(labelmap, places)
    keys = {}
    if name.endswith(".nrrd"):
        keys = keys_of_segments(places, values.shape, labelmap.additions)
    _write(path, values, labelmap, keys)


def _layers(
    labelmap: LabelMap, places: dict[int, tuple[str, int]]
) -> tuple[npt.NDArray[Any], dict[int, tuple[str, int]]]:
    """Give each structure that overlaps others a layer of its own; label values stay unique."""
    base = labelmap.labels.copy()
    whole = {v: n for v, (n, _) in places.items() if n in labelmap.overlaps}
    base[np.isin(base, list(whole))] = 0
    kept = {v: entry for v, entry in places.items() if v not in whole}
    layers = [base]
    free = max(places, default=0)
    for layer, (structure, mask) in enumerate(labelmap.overlaps.items(), start=1):
        value = next((v for v, n in whole.items() if n == structure), 0)
        if not value:
            free += 1
            value = free
        kept[value] = (structure, layer)
        layers.append(np.where(mask, value, 0).astype(base.dtype))
    return np.stack(layers, axis=-1), kept


def _write(path: Path, values: npt.NDArray[Any], grid: LabelMap | Volume, keys: dict[str, str]) -> None:
    name = path.name.lower()
    with atomic_file(path) as part:
        if name.endswith(".nrrd"):
            kind = "list" if keys else "vector"
            write_nrrd(part, values, grid.affine, keys, component_kind=kind)
        elif name.endswith((".nii", ".nii.gz")):
            write_nifti(part, values, grid.affine)
        elif name.endswith(".mha"):
            write_metaimage(part, values, grid.affine)
        else:
            raise UsageError(f"{path}: images are written as .nii, .nii.gz, .nrrd or .mha; rename it")
