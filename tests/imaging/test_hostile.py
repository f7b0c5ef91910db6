from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fuzz_imaging import FAST, SLOW
from injectplan.errors import FileError
from injectplan.imaging import child

SCRIPT = Path(__file__).parents[1] / "fuzz_imaging.py"


def fuzz(folder: Path, seed: int, count: int, formats: tuple[str, ...]) -> tuple[int, int]:
    """Read damaged files in a process of their own; nothing but the error tree may come out."""
    environment = os.environ | {"PYTHONPATH": str(SCRIPT.parent)}
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(folder), str(seed), str(count), *formats],
        env=environment, timeout=1500, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert (folder / "bad.txt").read_text() == ""
    assert done.stderr == "", "readers must not print"
    read, refused = map(int, (folder / "counts.txt").read_text().split())
    assert read + refused == count
    return read, refused


def test_damaged_files_are_read_or_refused(tmp_path: Path) -> None:
    read, refused = fuzz(tmp_path, 20261123, 196, FAST)
    assert read > 10
    assert refused > 50


def test_damaged_files_of_readers_that_can_crash(tmp_path: Path) -> None:
    fuzz(tmp_path, 7, 6, SLOW)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(3))
def test_damaged_files_at_length(tmp_path: Path, seed: int) -> None:
    fuzz(tmp_path, seed, 2600, FAST)


@pytest.mark.soak
def test_damaged_files_of_readers_that_can_crash_at_length(tmp_path: Path) -> None:
    fuzz(tmp_path, 99, 300, SLOW)


def test_a_reader_that_dies_or_hangs_is_an_error_not_a_crash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "reader.py"
    monkeypatch.setattr(child, "_SCRIPT", script)
    script.write_text("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n")
    with pytest.raises(FileError, match=r"x.vtk: damaged, its reader ended with signal 11; export it again"):
        child.run("vtk_surface", [], "x.vtk")
    script.write_text("import time\ntime.sleep(60)\n")
    with pytest.raises(FileError, match="takes longer than 1 s to read"):
        child.run("vtk_surface", [], "x.vtk", seconds=1)


def test_a_child_has_bounds_of_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "MEMORY_BYTES", 150_000_000)
    (tmp_path / "x.vtp").write_text("<VTKFile/>")
    with pytest.raises(FileError):
        child.run("vtk_surface", [tmp_path / "x.vtp"], "x.vtp")
