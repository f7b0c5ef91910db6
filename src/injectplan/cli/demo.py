"""`injectplan demo`: the main job on the built-in knee phantom."""

from __future__ import annotations

from injectplan.cli._common import DEFAULT, Common
from injectplan.cli.run import run_and_show


def command(*, common: Common = DEFAULT) -> int:
    """Run the main job on the built-in knee phantom."""
    from injectplan.files import packaged

    return run_and_show(packaged("scenes/knee_suprapatellar/case.toml"), common)
