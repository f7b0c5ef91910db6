"""Joints kept between runs: what the same program built from the same input is read back, not built again.

A kept joint is named by a hash of all that it depends on: the input files' bytes, the parameters, the seed,
and every source file of the program with the versions of what it computes with. A change of any gives another
name, so a stale joint is never met. The file is whole or not there, and its arrays carry checksums; what
cannot be read is built anew. `INJECTPLAN_KEEP_JOINTS=0` keeps nothing and reads nothing.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from injectplan import files
from injectplan.anatomy.model import JointModel
from injectplan.anatomy.store import read_arrays, write_arrays
from injectplan.errors import FileError

MOST_JOINTS = 6  # a joint takes 100 to 300 MB
_COMPUTES_WITH = ("numpy", "scipy", "numba", "vtk", "pyvista", "SimpleITK", "nibabel")


def kept_joint(recipe: Mapping[str, object], build: Callable[[], JointModel]) -> JointModel:
    """Return the joint that this recipe gave before, or build it and keep it.

    recipe : all that `build` depends on beside the program itself; plain values only.
    """
    if os.environ.get("INJECTPLAN_KEEP_JOINTS") == "0":
        return build()
    try:
        path = files.cache_folder("joints", or_temporary=False) / f"{_name_of(recipe)}.npz"
    except FileError:
        return build()
    try:
        joint = read_arrays(path)
        os.utime(path)
    except (FileError, OSError):
        joint = build()
        _keep(joint, path)
    return joint


def _keep(joint: JointModel, path: Path) -> None:
    """Write a joint, and let those go that were not used for longest; a full disk keeps nothing."""
    try:
        with files.atomic_file(path) as part:
            write_arrays(part, joint)
        kept = sorted(path.parent.glob("*.npz"), key=lambda p: p.stat().st_mtime)
        for old in kept[:-MOST_JOINTS]:
            old.unlink(missing_ok=True)
    except (FileError, OSError):
        return  # keeping is a convenience


def _name_of(recipe: Mapping[str, object]) -> str:
    text = json.dumps([_program(), recipe], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


@functools.cache
def _program() -> str:
    """Return a hash of the program: its sources, its packaged data, the versions of what it computes with."""
    digest = hashlib.sha256()
    package = Path(__file__).resolve().parents[1]
    for path in sorted(p for p in package.rglob("*") if p.suffix in (".py", ".toml", ".json")):
        digest.update(path.relative_to(package).as_posix().encode() + b"\0" + path.read_bytes())
    digest.update(files.sha256(files.packaged("phantoms")).encode())
    for name in _COMPUTES_WITH:
        digest.update(f"{name} {importlib.metadata.version(name)}\n".encode())
    return digest.hexdigest()
