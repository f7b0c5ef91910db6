"""Running commands in tests, and what a command gave: its exit code and what it printed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str


Command = Callable[..., Done]


def run_as_user(folder: Path, *words: str, keep: str = "1") -> str:
    """Run injectplan in a process of its own, as a user does; give what it printed on stdout.

    keep : "0" builds the joint even if an earlier run kept it.
    """
    done = subprocess.run(
        [sys.executable, "-c", "import injectplan.cli as c; c.main()", *words],
        capture_output=True, text=True, cwd=folder, timeout=900,
        env={**os.environ, "INJECTPLAN_KEEP_JOINTS": keep},
    )  # fmt: skip
    assert done.returncode == 0, (done.returncode, done.stderr[-2000:])
    assert done.stderr == ""
    return done.stdout
