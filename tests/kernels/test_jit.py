"""The compile policy: NaN survives, the cache follows the sources, threads may meet."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numba
import numpy as np
import pytest

from injectplan.kernels import _jit
from injectplan.kernels._jit import image_kernel, kernel, local_floats, local_ints, parallel_kernel, prange


@image_kernel
def _count_missing(values):
    missing = not_self = above = 0
    for i in range(values.shape[0]):
        missing += np.isnan(values[i])
        not_self += values[i] != values[i]
        above += values[i] > 0.0
    return missing, not_self, above


def test_not_a_number_survives_the_flags():
    """With `nnan` among the flags the compiler answers 0 of 2."""
    assert _count_missing(np.array([1.0, np.nan, 2.0, np.nan, -np.inf])) == (2, 2, 2)
    assert not {"nnan", "ninf", "fast"} & set(_jit.FLAGS)


@kernel
def _cross(ax, ay, bx, by):
    return ax * by - ay * bx


def test_a_kernel_rounds_as_written():
    """With a fused multiply-add, a·b − b·a is the rounding error of a·b and not 0."""
    rng = np.random.default_rng(1)
    for ax, ay, bx, by in rng.uniform(-1, 1, (500, 4)):
        assert _cross(ax, ay, bx, by) == ax * by - ay * bx
        assert _cross(ax, ay, bx, by) == -_cross(bx, by, ax, ay)


@kernel
def _local_sums(n):
    total = 0.0
    for k in range(n):
        floats, ints = local_floats(16), local_ints(16)
        for i in range(16):
            floats[i], ints[i] = 0.5 * i, k
        total += floats.sum() + ints.sum()
    return total, floats.shape[0]


def test_arrays_on_the_stack_behave_as_arrays():
    assert _local_sums(100) == (100 * 60.0 + 16 * 4950, 16)


def test_the_cache_s_folder_follows_the_sources(tmp_path, monkeypatch):
    folder = tmp_path / "kernels"
    shutil.copytree(Path(_jit.__file__).parent, folder, ignore=shutil.ignore_patterns("__pycache__"))
    before = _jit._sources_hash()
    monkeypatch.setattr(_jit, "__file__", str(folder / "_jit.py"))
    assert _jit._sources_hash() == before
    (folder / "chance.py").write_text((folder / "chance.py").read_text() + "\n# another\n")
    changed = _jit._sources_hash()
    assert changed != before
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert _jit._cache_folder() == str(tmp_path / "cache" / "injectplan" / f"kernels-{changed}")
    assert Path(_jit._cache_folder()).is_dir()


def test_a_cache_that_cannot_be_written_moves_to_the_temporary_folder(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(_jit.tempfile, "gettempdir", lambda: str(tmp_path / "tmp"))
    assert Path(_jit._cache_folder()).is_relative_to(tmp_path / "tmp")


@parallel_kernel
def _count_up(seen):
    for i in prange(seen.shape[0]):
        seen[i] = i


def test_the_number_of_threads_holds_in_every_python_thread():
    """Numba itself keeps the number for the calling Python thread only."""
    most = int(numba.config.NUMBA_NUM_THREADS)
    used = []

    def work():
        _count_up(np.zeros(4, np.int64))
        used.append(numba.get_num_threads())

    try:
        assert _jit.set_threads(10_000) == most
        assert _jit.set_threads(None) == most
        assert _jit.set_threads(0) == 1
        other = threading.Thread(target=work)
        other.start()
        other.join()
        assert used == [1]
    finally:
        _jit.set_threads(None)


MEETING = """
import threading
import numpy as np, numba
from injectplan.kernels.bvh import build_bvh, nearest_points
rng = np.random.default_rng(1)
tree = build_bvh(rng.uniform(-1, 1, (3000, 3)), np.arange(3000).reshape(-1, 3))
where = rng.uniform(-1, 1, (2000, 3))
want = nearest_points(tree, where)[0]
wrong = []
def work():
    for _ in range(40):
        wrong.append(np.any(nearest_points(tree, where)[0] != want))
threads = [threading.Thread(target=work) for _ in range(3)]
[t.start() for t in threads]
[t.join() for t in threads]
print(numba.threading_layer(), len(wrong), sum(wrong))
"""


@pytest.mark.parametrize("layer", ["workqueue", "default"])
def test_python_threads_may_call_parallel_kernels_at_once(layer):
    """The workqueue layer, which is what is left without libgomp, aborts the process without the lock."""
    environment = {**os.environ, "NUMBA_THREADING_LAYER": layer, "NUMBA_NUM_THREADS": "2"}
    child = subprocess.run(
        [sys.executable, "-c", MEETING],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert child.returncode == 0, child.stderr
    name, calls, wrong = child.stdout.split()
    assert (int(calls), int(wrong)) == (120, 0)
    assert layer == "default" or name == "workqueue"
