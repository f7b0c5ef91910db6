"""The house itself: the order of imports, the error tree, and that nothing says how it was made."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

from injectplan import errors

ROOT = Path(__file__).resolve().parent.parent


def test_the_layers_hold() -> None:
    lint = Path(sys.executable).parent / "lint-imports"
    done = subprocess.run([str(lint)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:]


def test_every_error_has_its_exit_code_and_stands_in_the_drawn_tree() -> None:
    tree = inspect.getdoc(errors) or ""
    for name, kind in inspect.getmembers(errors, inspect.isclass):
        if issubclass(kind, errors.InjectplanError):
            assert name in tree
            if issubclass(kind, errors.BadInputError):
                assert kind.exit_code == 2
            if issubclass(kind, errors.RefusedError):
                assert kind.exit_code == 3


def _tracked(*patterns: str) -> list[Path]:
    done = subprocess.run(
        ["git", "ls-files", *patterns], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [ROOT / line for line in done.stdout.splitlines() if (ROOT / line).is_file()]


def test_only_frames_flips_between_lps_and_ras() -> None:
    flip = re.compile(r"diag\(\[?-1(\.0?)?, -1(\.0?)?, 1|\* *(np\.array\()?\[-1(\.0?)?, -1(\.0?)?, 1(\.0?)?")
    found = [p.name for p in _tracked("src/*.py") if flip.search(p.read_text()) and p.name != "frames.py"]
    assert found == []


def _undocumented(path: Path) -> list[str]:
    """Functions and classes of a module, and methods, that have a name of their own and no docstring."""
    found: list[str] = []
    within: list[ast.Module | ast.ClassDef] = [ast.parse(path.read_text())]
    while within:
        for one in within.pop().body:
            if isinstance(one, ast.ClassDef):
                within.append(one)
            if isinstance(one, ast.FunctionDef | ast.ClassDef) and not one.name.startswith("_"):
                found += [] if ast.get_docstring(one) else [f"{path.name}: {one.name}"]
    return found


def test_what_has_a_name_says_what_it_is() -> None:
    assert [said for path in _tracked("src/*.py") for said in _undocumented(path)] == []


def test_chance_comes_from_the_counter_only() -> None:
    found = [
        p.name
        for p in _tracked("src/*.py")
        if re.search(r"np\.random\.|import random\b|default_rng", p.read_text())
    ]
    assert found == []


@pytest.mark.parametrize("word", [r"\.\./shared", r"(?<![\w.])/(work|farm)/"])
def test_nothing_in_the_product_names_a_place_outside(word: str) -> None:
    files = [
        p
        for p in _tracked("src", "docs", "scenes", "phantoms", "*.md")
        if p.suffix not in (".png", ".gif", ".lock")
    ]
    assert [p.name for p in files if re.search(word, p.read_text(errors="ignore"))] == []


def test_no_lock_holds_an_address_and_every_package_its_hash() -> None:
    for name in ("requirements.lock", "requirements-dev.lock"):
        text = (ROOT / name).read_text()
        assert "://" not in text
        packages = re.findall(r"^([A-Za-z0-9_.-]+==\S+)", text, re.M)
        assert packages
        assert text.count("--hash=sha256:") >= len(packages)
