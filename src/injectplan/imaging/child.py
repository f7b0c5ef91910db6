"""Run a reader that may crash in a process of its own, with bounds of memory and time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from injectplan.errors import FileError
from injectplan.kernels.cast import Array

MEMORY_BYTES = 8_000_000_000
SECONDS = 120
_SCRIPT = Path(__file__).with_name("_untrusted.py")


def run(
    task: str, paths: Sequence[Path], what: str | Path, *, seconds: int = SECONDS
) -> tuple[dict[str, Array], dict[str, Any]]:
    """Run a task of `_untrusted.py` on files; return its arrays and what else it found.

    what : the name to use in messages.  Whatever goes wrong, a crash and a hang included, raises FileError.
    """
    environment = {"PATH": os.environ.get("PATH", ""), "HOME": os.environ.get("HOME", "/")} | {
        f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL", "ITK")
    }
    with tempfile.TemporaryDirectory(prefix="injectplan-read-") as folder:
        command = [sys.executable, "-I", str(_SCRIPT), task, folder, str(MEMORY_BYTES), str(seconds)]
        try:
            done = subprocess.run(
                [*command, *(os.path.abspath(path) for path in paths)],
                timeout=seconds, env=environment, check=False,
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            raise FileError(f"{what}: takes longer than {seconds} s to read; export it again") from error
        said = Path(folder) / "error.txt"
        if said.is_file():
            raise FileError(f"{what}: {said.read_text(encoding='utf-8')}")
        if done.returncode != 0:
            how = f"signal {-done.returncode}" if done.returncode < 0 else f"status {done.returncode}"
            raise FileError(f"{what}: damaged, its reader ended with {how}; export it again")
        meta = json.loads((Path(folder) / "meta.json").read_text(encoding="utf-8"))
        arrays = {p.stem: np.load(p, allow_pickle=False) for p in sorted(Path(folder).glob("*.npy"))}
    return arrays, meta
