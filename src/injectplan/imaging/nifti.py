"""NIfTI-1 and -2, by nibabel, with the header checked before anything is allocated."""

from __future__ import annotations

import logging
import struct
import zlib
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from injectplan.errors import FileError, UnitsError
from injectplan.imaging._bounds import RawImage, check_affine, check_shape, existing_file
from injectplan.kernels.cast import Floats
from injectplan.measure import Notice

_MM_PER_UNIT = {"mm": 1.0, "unknown": 1.0, "meter": 1000.0, "micron": 0.001}


@cache
def _nibabel() -> Any:
    """Import nibabel on first use (0.4 s), silent: what it would print on stderr, our messages say."""
    import nibabel
    from nibabel.imageglobals import logger

    logger.setLevel(logging.CRITICAL + 1)
    return nibabel


@cache
def _unreadable() -> tuple[type[BaseException], ...]:
    """Return everything that nibabel raises on a damaged file."""
    nib = _nibabel()
    return (
        nib.filebasedimages.ImageFileError, nib.spatialimages.HeaderDataError, nib.wrapstruct.WrapStructError,
        nib.spatialimages.ImageDataError, OSError, EOFError, ValueError, KeyError, IndexError, TypeError,
        OverflowError, MemoryError, struct.error, zlib.error,
    )  # fmt: skip


def read_nifti(path: str | Path) -> RawImage:
    """Read a NIfTI image of three axes, or four with components (echoes, times) last.

    Raises FileError (missing, truncated, hostile, of another format) and UnitsError (impossible spacing).
    """
    path = existing_file(path)
    try:
        image = _nibabel().load(path)
        header = image.header
        shape = tuple(int(n) for n in image.shape)
        dtype = np.dtype(header.get_data_dtype())
        unit = header.get_xyzt_units()[0] if hasattr(header, "get_xyzt_units") else "mm"
        stated = not hasattr(header, "get_sform") or bool(
            header["sform_code"] > 0 or header["qform_code"] > 0
        )
        affine = np.array(image.affine, dtype=np.float64)
    except _unreadable() as error:
        raise FileError(
            f"{path}: cannot be read as NIfTI ({_short(error)}); copy or export it again"
        ) from error
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) == 5 and shape[3] == 1:
        shape = (*shape[:3], shape[4])
    if len(shape) == 2:
        shape = (*shape, 1)
    check_shape(path, shape, dtype.itemsize)
    if len(shape) not in (3, 4) or dtype.kind not in "iuf":
        raise FileError(
            f"{path}: has {len(shape)} axes of {dtype}, needs 3 or 4 of plain numbers; export it again"
        )
    affine[:3] *= _MM_PER_UNIT.get(unit, 1.0)
    affine = check_affine(path, affine)
    try:
        values = np.asarray(image.dataobj).reshape(shape)
    except _unreadable() as error:
        raise FileError(f"{path}: truncated or damaged ({_short(error)}); copy it again") from error
    notices = () if stated else (
        Notice("no-geometry", "the file states no orientation; axes were taken as R, A, S"),
    )  # fmt: skip
    return RawImage(values=values, affine=affine, notices=notices)


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__


def write_nifti(path: Path, values: npt.NDArray[Any], affine: Floats) -> None:
    """Write values (i, j, k) or (i, j, k, component) with their full affine as NIfTI-1."""
    values = np.asarray(values)
    if max(values.shape) > 32767:
        raise UnitsError(f"{path}: an axis has {max(values.shape)} voxels, NIfTI-1 holds 32767; write .nrrd")
    image = _nibabel().Nifti1Image(values, np.asarray(affine))
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, code=1)
    _nibabel().save(image, path)
