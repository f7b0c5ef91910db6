"""What all tests share: where the real data are, and what "everything required" means."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest
from hypothesis import settings

from command_line import run_as_user

ROOT = Path(__file__).resolve().parent.parent
REAL_DATA = ROOT.parent / "shared" / "data"
# A first call compiles, so a time limit on an example would fail at random; in CI the examples are fixed.
settings.register_profile("injectplan", deadline=None, derandomize=os.environ.get("CI") == "true")
settings.load_profile("injectplan")
REQUIRE_ALL = os.environ.get("INJECTPLAN_REQUIRE_ALL") == "1"


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Return the folder of real data; without it the test skips, or fails when everything is required."""
    if not REAL_DATA.is_dir():
        message = "the real data are not beside the project (../shared/data)"
        if REQUIRE_ALL:
            pytest.fail(message)
        pytest.skip(message)
    return REAL_DATA


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the soak tests unless they are asked for by marker."""
    if "soak" in (config.option.markexpr or ""):
        return
    kept = [item for item in items if "soak" not in item.keywords]
    config.hook.pytest_deselected(items=[item for item in items if "soak" in item.keywords])
    items[:] = kept


@pytest.fixture(scope="session")
def demos(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, Path]]:
    """Run the demo three times: on one thread, on two, and on two with the joint that was kept.

    What each printed, and its folder. All workers of a run share them: the first one here runs them.
    """
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "demos"
    folder.mkdir(exist_ok=True)
    runs = [("1", "0"), ("2", "1"), ("2", "1")]
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return [_demo(folder, f"demo{n + 1}", threads, keep) for n, (threads, keep) in enumerate(runs)]


def _demo(folder: Path, name: str, threads: str, keep: str) -> tuple[str, Path]:
    out, printed = folder / name, folder / f"{name}.json"
    if not printed.exists():
        words = ("demo", "--json", "--quiet", "--threads", threads, "--out", str(out))
        printed.write_text(run_as_user(folder, *words, keep=keep))
    return printed.read_text(), out
