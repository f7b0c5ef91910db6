"""The public surface is short, and this test holds it."""

from __future__ import annotations

import subprocess
import sys

import pytest

import injectplan

PUBLIC = set(injectplan.__all__)


def test_the_surface_is_what_the_contract_names() -> None:
    contract = {
        "read_labelmap", "build_joint", "JointModel", "measure_alignment", "plan_injection", "AcousticScene",
        "simulate_frame", "preview_guidance", "estimate_dose", "read_case", "run_case",
    }  # fmt: skip
    assert contract <= PUBLIC
    assert PUBLIC - {"__version__"} == set(injectplan._HOME)
    assert len(PUBLIC) <= 60


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_every_public_name_is_there_and_documented(name: str) -> None:
    value = getattr(injectplan, name)
    if name != "__version__":
        assert (value.__doc__ or "").strip(), f"{name} has no docstring"


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nothing_of_this_name"):
        injectplan.nothing_of_this_name  # noqa: B018


def test_the_bare_import_pulls_in_nothing_heavy() -> None:
    code = (
        "import injectplan, sys; print([m for m in ('numba', 'vtk', 'scipy', 'pyvista') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
