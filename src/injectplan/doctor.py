"""What this machine can do: versions, threads, OpenGL (asked in a child), compile cache, self-check."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import sys
import time
from typing import Any

import numpy as np

from injectplan.documents import SCHEMA
from injectplan.kernels import CACHE_FOLDER, set_threads
from injectplan.kernels.bvh import build_bvh, signed_distances

PACKAGES = (
    "injectplan", "numpy", "scipy", "numba", "llvmlite", "vtk", "SimpleITK", "nibabel",
    "pydicom", "highdicom",
)  # fmt: skip

# A machine without libEGL ends VTK's window with a segmentation fault, not an exception: ask in a child.
_PROBE = """
import os
os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")
from vtkmodules.vtkRenderingCore import vtkRenderWindow
import vtkmodules.vtkRenderingOpenGL2
window = vtkRenderWindow()
window.SetOffScreenRendering(1)
window.SetMultiSamples(0)
window.SetSize(16, 16)
window.Render()
print(window.GetClassName() if window.SupportsOpenGL() else "")
"""


def opengl_window() -> str:
    """Return the class of VTK's working off-screen window, "" when this machine has none."""
    try:
        child = subprocess.run([sys.executable, "-c", _PROBE], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return child.stdout.strip() if child.returncode == 0 else ""


def self_check() -> tuple[bool, str]:
    """Measure a known sphere with the kernels: distance of its centre and of a point outside."""
    started = time.perf_counter()
    angle = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    height = -np.cos(np.linspace(0, np.pi, 33)[1:-1])
    ring = np.sqrt(1 - height**2)
    body = np.stack(
        [
            np.outer(ring, np.cos(angle)).ravel(),
            np.outer(ring, np.sin(angle)).ravel(),
            np.repeat(height, 64),
        ],
        axis=1,
    )
    vertices = 10.0 * np.concatenate([body, [[0, 0, -1], [0, 0, 1]]])
    i, j = np.meshgrid(np.arange(30), np.arange(64), indexing="ij")
    a, b = i * 64 + j, i * 64 + (j + 1) % 64
    k = np.arange(64)
    triangles = np.concatenate(
        [
            np.stack([a, b, b + 64], -1).reshape(-1, 3),
            np.stack([a, b + 64, a + 64], -1).reshape(-1, 3),
            np.stack([(k + 1) % 64, k, np.full(64, 31 * 64)], -1),
            np.stack([30 * 64 + k, 30 * 64 + (k + 1) % 64, np.full(64, 31 * 64 + 1)], -1),
        ]
    )
    found = signed_distances(
        build_bvh(vertices, triangles.astype(np.int32)), np.array([[0, 0, 0], [0, 0, 15.0]])
    )
    good = bool(abs(found[0] + 10) < 0.15 and abs(found[1] - 5) < 0.05)
    seconds = time.perf_counter() - started
    return good, f"a sphere of 10 mm reads {-found[0]:.2f} mm, {seconds:.1f} s"


def examine() -> dict[str, Any]:
    """Return the doctor's document."""
    window = opengl_window()
    good, detail = self_check()
    threads = set_threads(None)
    writable = os.access(CACHE_FOLDER, os.W_OK)
    cache = "writable" if writable else "not writable: compiles each run"
    python = tuple(map(int, platform.python_version_tuple()[:2]))
    return {
        "schema": SCHEMA,
        "versions": {"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in PACKAGES},
        "threads": threads,
        "opengl": window,
        "checks": [
            _check("python", python >= (3, 11), platform.python_version(), True),
            _check("threads", True, str(threads), True),
            _check("compile cache", writable, cache, False),
            _check("opengl", bool(window), window or "none: stills are drawn by the ray caster", False),
            _check("kernels", good, detail, True),
        ],
    }


def _check(name: str, ok: bool, detail: str, needed: bool) -> dict[str, Any]:
    return {"name": name, "ok": ok, "detail": detail, "needed": needed}
