"""The door to the kernels: one caster for every array that enters, and the array types' names."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Floats32 = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int32]
Bytes = npt.NDArray[np.uint8]
Bools = npt.NDArray[np.bool_]
Array = npt.NDArray[Any]


def cast(array: npt.ArrayLike, dtype: npt.DTypeLike, shape: tuple[int | None, ...], name: str) -> Array:
    """Return the array C-contiguous, writable-flag cleared, of this dtype and shape, else raise ValueError.

    A read-only and a writable array would compile two versions of each kernel, so all enter read-only.
    shape : None stands for any length.
    """
    result = np.ascontiguousarray(array, dtype=dtype)
    if result.ndim != len(shape) or any(
        want is not None and have != want for have, want in zip(result.shape, shape, strict=True)
    ):
        raise ValueError(f"{name} has shape {result.shape}, needs {shape}")
    result = result.view()
    result.setflags(write=False)
    return result


def points(array: npt.ArrayLike, name: str = "points_mm") -> Floats:
    """Return points (n, 3) as the kernels take them; NaN and infinity raise ValueError."""
    result: Floats = cast(np.atleast_2d(np.asarray(array, dtype=np.float64)), np.float64, (None, 3), name)
    if not np.isfinite(result).all():
        raise ValueError(f"{name} holds a value that is not finite")
    return result
