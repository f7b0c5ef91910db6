"""Fixtures of all benchmarks."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))


@pytest.fixture
def scene():
    """Return a function name → scene, which skips the benchmark where the scene's data are missing."""
    from scenarios import SceneMissingError
    from scenarios import scene as find

    def get(name: str):
        try:
            return find(name)
        except SceneMissingError as error:
            pytest.skip(str(error))

    return get
