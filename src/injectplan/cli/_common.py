"""What all commands share: their common options, progress on stderr, and how a result leaves."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from injectplan.documents import to_json
from injectplan.errors import UsageError
from injectplan.measure import NOT_A_DEVICE

Report = Callable[[str, float], None]


@Parameter(name="*")
@dataclass(frozen=True)
class Common:
    """Options that every command has."""

    json: Annotated[bool, Parameter(negative="", help="Print the result as JSON, alone, on stdout.")] = False
    out: Annotated[Path | None, Parameter(help="Folder to write into; without it nothing is written.")] = None
    quiet: Annotated[bool, Parameter(negative="", help="No progress on stderr.")] = False
    threads: Annotated[int | None, Parameter(help="Threads to use; results do not depend on it.")] = None
    seed: Annotated[int | None, Parameter(help="Seed of all chance; default: the case's, else 0.")] = None
    debug: Annotated[bool, Parameter(negative="", help="Show a traceback instead of one line.")] = False

    def begin(self, *, folder: bool = True) -> None:
        """Check the options and set the threads.

        folder : whether --out names a folder or a single file.
        """
        from injectplan.files import check_place
        from injectplan.kernels import set_threads

        if self.threads is not None and self.threads < 1:
            raise UsageError(f"--threads {self.threads}: needs at least 1")
        if self.seed is not None and not 0 <= self.seed < 2**63:
            raise UsageError(f"--seed {self.seed}: needs 0 to 2^63 - 1")
        if self.out is not None:
            check_place(self.out, folder=folder, starts=b"" if folder else b"PK")
        set_threads(self.threads)


DEFAULT = Common()
SHORT_S = 2.0  # what takes less shows no progress before it is done


def out_console() -> Console:
    """Return the console that tables go to."""
    return Console(no_color="NO_COLOR" in os.environ or None, highlight=False)


@contextmanager
def progress(common: Common) -> Iterator[Report]:
    """Give a callback that shows progress on stderr: a bar for people, a line per step for a log."""
    if common.quiet:
        yield lambda label, fraction: None
    elif sys.stderr.isatty():
        with _bar() as report:
            yield report
    else:
        with _lines() as report:
            yield report


@contextmanager
def _bar() -> Iterator[Report]:
    shown = Console(stderr=True, no_color="NO_COLOR" in os.environ or None)
    columns = (TextColumn("{task.description:32}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=shown, transient=False) as bar:
        tasks: dict[str, Any] = {}

        def report(label: str, fraction: float) -> None:
            step = label.split(":")[0]
            if step not in tasks:
                tasks[step] = bar.add_task(step, total=1.0)
            bar.update(tasks[step], completed=fraction, description=label[:32])

        yield report


class _Held:
    """Lines for stderr that wait until the work has taken a while; an error before then stands alone."""

    def __init__(self) -> None:
        self._waiting: list[str] | None = []
        self._lock = threading.Lock()
        self._timer = threading.Timer(SHORT_S, self.show)
        self._timer.daemon = True
        self._timer.start()

    def say(self, line: str) -> None:
        """Print a line, or keep it while lines still wait."""
        with self._lock:
            if self._waiting is not None:
                self._waiting.append(line)
            else:
                print(line, file=sys.stderr, flush=True)

    def show(self) -> None:
        """Print what waits; from now on nothing does."""
        with self._lock:
            for line in self._waiting or ():
                print(line, file=sys.stderr, flush=True)
            self._waiting = None

    def drop(self) -> None:
        """Forget what waits: the work is done or has failed."""
        self._timer.cancel()
        with self._lock:
            self._waiting = None


@contextmanager
def _lines() -> Iterator[Report]:
    begun: dict[str, float] = {}
    done: set[str] = set()
    held = _Held()

    def report(label: str, fraction: float) -> None:
        step, inner = label.split(":")[0], ":" in label
        if step not in begun:
            begun[step] = time.perf_counter()
            held.say(f"{step} …")
        elif fraction >= 1.0 and not inner and step not in done:
            done.add(step)
            held.say(f"{step} done in {time.perf_counter() - begun[step]:.1f} s")

    try:
        yield report
        held.show()
    finally:
        held.drop()


def as_json(document: Mapping[str, Any], name: str) -> Callable[[Path], None]:
    """Return what writes a document into a folder under a name."""

    def write(folder: Path) -> None:
        (folder / name).write_text(to_json(document), encoding="utf-8")

    return write


def finish(
    document: Mapping[str, Any],
    common: Common,
    *,
    by: str = "",
    table: Callable[[Console], None] | None = None,
    write: Callable[[Path], None] | None = None,
) -> None:
    """Write the outputs, then print: JSON alone with --json, else a table for people.

    by : the command; it may replace what it wrote into the folder before.
    """
    if common.out is not None and write is not None:
        from injectplan.files import atomic_folder

        with atomic_folder(common.out, by=by) as folder:
            write(folder)
    if common.json:
        sys.stdout.write(to_json(document))
        return
    shown = out_console()
    for warning in document.get("warnings", ()):
        shown.print(f"[yellow]warning[/yellow] {warning['message']}")
    if table is not None:
        table(shown)
    shown.print(f"[dim]{NOT_A_DEVICE}[/dim]")
