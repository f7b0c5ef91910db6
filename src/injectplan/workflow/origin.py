"""Where the result of a command that was given files comes from; light: the quickest commands import it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from injectplan.documents import provenance
from injectplan.files import sha256


def made_from(seed: int, **paths: Path | str | None) -> dict[str, Any]:
    """Return where a result of files given on the command line comes from; a shipped table's name is none."""
    known = {role: Path(path) for role, path in paths.items() if path is not None}
    return provenance(seed=seed, inputs={r: sha256(p) for r, p in known.items() if p.exists()})
