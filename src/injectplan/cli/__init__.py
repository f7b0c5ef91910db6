"""The command line: one thin file per command, no logic."""

from __future__ import annotations

import sys

from injectplan.cli._app import app, run


def main() -> None:
    """Run the command line and leave with its exit code."""
    sys.exit(run(sys.argv[1:]))


__all__ = ["app", "main", "run"]
