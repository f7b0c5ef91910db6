"""How the command line is run in tests: in this process, with its output caught."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from command_line import Command, Done
from injectplan.cli import run


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    """Run a command; give its exit code and what it printed."""

    def call(*arguments: str | Path) -> Done:
        capsys.readouterr()
        code = run([str(a) for a in arguments])
        printed = capsys.readouterr()
        return Done(code, printed.out, printed.err)

    return call


@pytest.fixture
def case_file(tmp_path: Path) -> Callable[[str], Path]:
    """Write a case file: the knee phantom, and whatever tables follow."""

    def write(tables: str = "", anatomy: str = 'phantom = "knee"', side: str = "right") -> Path:
        path = tmp_path / "case.toml"
        path.write_text(
            f'schema = 1\n[joint]\nkind = "knee"\nside = "{side}"\n[anatomy]\n{anatomy}\n{tables}\n'
        )
        return path

    return write
