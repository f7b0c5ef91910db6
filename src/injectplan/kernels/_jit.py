"""How kernels are compiled, said once.

- No fast-math, except in the picture's own loops (`image_kernel`). A kernel is compiled once for itself and
  again inside each caller; with `reassoc` or `contract` the copies may round differently, and which copy a
  process runs depends on whether it compiled or loaded them: plans differed in the last bit between a first
  run and the next. As written, the same expression gives the same bits everywhere, and neither the search nor
  a frame became measurably slower (docs/decisions/0010).
- The picture's flags are all of fast-math except `nnan` and `ninf`: NaN means "no hit" here, and those two
  let the compiler drop NaN tests.
- One lock around parallel kernels: without libgomp numba falls back to its workqueue layer, which aborts the
  process when two Python threads call at once.
- The cache's folder is keyed by a hash of all kernels' sources, numba's version and the compile policy,
  because numba does not notice a change of an inner kernel in another file.
"""

from __future__ import annotations

import functools
import hashlib
import os
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

_F = TypeVar("_F", bound=Callable[..., Any])

FLAGS = {"nsz", "arcp", "contract", "afn", "reassoc"}
PARALLEL_LOCK = threading.RLock()


def _sources_hash() -> str:
    import importlib.metadata

    digest = hashlib.sha256(importlib.metadata.version("numba").encode())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def _cache_folder() -> str:
    """Return a writable folder for compiled kernels, keyed by their sources."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = home / "injectplan" / f"kernels-{_sources_hash()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(folder)
    except OSError:
        folder = Path(tempfile.gettempdir()) / f"injectplan-{os.getuid()}" / f"kernels-{_sources_hash()}"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return str(folder)


CACHE_FOLDER = os.environ.setdefault("NUMBA_CACHE_DIR", _cache_folder())

import numba  # noqa: E402 - the cache's folder must be set before numba is read
import numpy as np  # noqa: E402
from numba.core import cgutils, types  # noqa: E402
from numba.extending import intrinsic  # noqa: E402
from numba.np import arrayobj  # noqa: E402

_POLICY: dict[str, Any] = {"error_model": "numpy", "nogil": True, "cache": True}


def kernel(function: _F) -> _F:
    """Compile a kernel that runs on one thread and may be called from other kernels; rounds as written."""
    return numba.njit(**_POLICY)(function)


def image_kernel(function: _F) -> _F:
    """Compile a loop over samples or pixels, called from one place, whose sums may be taken in any order."""
    return numba.njit(**_POLICY, fastmath=FLAGS)(function)


def bare_kernel(function: _F) -> _F:
    """Compile a kernel that makes no arrays, without counting references to those it is handed.

    A scan line's kernels are handed some sixty arrays; counting them took as long as the work
    (docs/decisions/0025).
    """
    return numba.njit(**_POLICY, _nrt=False)(function)


def tight_kernel(function: _F) -> _F:
    """Compile a kernel that makes no arrays into each of its callers, whatever its size.

    Those that a scan line calls at every crossing: as calls they cost a frame 4 % (docs/decisions/0069).
    """
    return numba.njit(**_POLICY, _nrt=False, forceinline=True)(function)


def inline_kernel(function: _F) -> _F:
    """Compile a kernel into its only caller, which spares the copies of the arrays it is handed."""
    return numba.njit(**_POLICY, inline="always")(function)


def wrapping_kernel(function: _F) -> _F:
    """Compile a kernel whose whole numbers wrap round on purpose; numpy would warn of it in plain Python."""
    if not numba.config.DISABLE_JIT:
        return kernel(function)

    @functools.wraps(function)
    def quiet(*arguments: Any) -> Any:
        with np.errstate(over="ignore"):
            return function(*arguments)

    return quiet  # type: ignore[return-value]


def parallel_kernel(function: _F) -> _F:
    """Compile a kernel whose `prange` loops use all threads; callable from Python only, one at a time."""
    compiled = numba.njit(**_POLICY, parallel=True)(function)

    @functools.wraps(function)
    def locked(*arguments: Any) -> Any:
        with PARALLEL_LOCK:
            # numba keeps the number per Python thread; here it is one for the process
            numba.set_num_threads(_threads)
            return compiled(*arguments)

    locked.compiled = compiled  # type: ignore[attr-defined]
    return locked  # type: ignore[return-value]


prange = numba.prange


def _on_stack(element: types.Type) -> Any:
    """Make `f(n)`: an uninitialised array of n elements (a literal) in the calling kernel's stack frame.

    `np.empty` takes 60 ns of the heap per call, a tenth of a first hit. The array must not leave its kernel.
    """

    @intrinsic(prefer_literal=True)
    def local(typing_context: Any, n: Any) -> Any:
        if not isinstance(n, types.IntegerLiteral):
            return None
        size = n.literal_value
        array = types.Array(element, 1, "C")

        def generate(context: Any, builder: Any, _signature: Any, _arguments: Any) -> Any:
            value_type = context.get_value_type(element)
            pointer = cgutils.alloca_once(builder, value_type, size=size)
            bytes_each = context.get_abi_sizeof(value_type)
            result = arrayobj.make_array(array)(context, builder)
            arrayobj.populate_array(
                result,
                data=builder.bitcast(pointer, result.data.type),
                shape=[context.get_constant(types.intp, size)],
                strides=[context.get_constant(types.intp, bytes_each)],
                itemsize=context.get_constant(types.intp, bytes_each),
                meminfo=None,
            )
            return result._getvalue()

        return array(n), generate

    return local


if numba.config.DISABLE_JIT:  # coverage runs the kernels as plain Python

    def local_floats(n: int) -> Any:
        """Return n uninitialised float64."""
        return np.empty(n, np.float64)

    def local_ints(n: int) -> Any:
        """Return n uninitialised int32."""
        return np.empty(n, np.int32)

else:
    local_floats, local_ints = _on_stack(types.float64), _on_stack(types.int32)


def set_threads(count: int | None) -> int:
    """Set how many threads parallel kernels use, at most what the machine has; return the number set.

    It holds for kernels called from any Python thread. None stands for all the machine has.
    """
    global _threads
    most = int(numba.config.NUMBA_NUM_THREADS)
    _threads = most if count is None else max(1, min(int(count), most))
    return _threads


_threads = int(numba.config.NUMBA_NUM_THREADS)
