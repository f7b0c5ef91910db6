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
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from injectplan import files
from injectplan.anatomy.model import JointModel
from injectplan.anatomy.store import ARRAYS, read_arrays, write_arrays
from injectplan.errors import FileError

MOST_JOINTS = 6  # a joint takes 100 to 300 MB, and what was written of it as much again
_HASHES = "hashes.json"
_COMPUTES_WITH = ("numpy", "scipy", "numba", "vtk", "pyvista", "SimpleITK", "nibabel")


Recipe = Mapping[str, object]


def kept_joint(recipe: Recipe, build: Callable[[], JointModel]) -> JointModel:
    """Return the joint that this recipe gave before, or build it and keep it.

    recipe : all that `build` depends on beside the program itself; plain values only.
    """
    path = _place(recipe)
    if path is None:
        return build()
    try:
        joint = read_arrays(path)
        os.utime(path)
    except (FileError, OSError):
        joint = build()
        _keep(joint, path)
    return joint


def kept_files(recipe: Recipe | None, folder: Path, make: Callable[[Path], None]) -> None:
    """Fill an empty folder with what `make` wrote for this recipe before, or let it write and keep that.

    What is kept beside the joint is copied only if every file is there and unchanged. The joint's own arrays
    are not kept a second time.  recipe : None keeps nothing.
    """
    place = None if recipe is None else _place(recipe)
    if place is None:
        make(folder)
        return
    kept = place.with_suffix(".files")
    if not _copied(kept, place, folder):
        make(folder)
        _keep_files(folder, kept, place)


def _place(recipe: Recipe) -> Path | None:
    """Return where this recipe's joint is kept; None where nothing is to be kept."""
    if os.environ.get("INJECTPLAN_KEEP_JOINTS") == "0":
        return None
    try:
        return files.cache_folder("joints", or_temporary=False) / f"{_name_of(recipe)}.npz"
    except FileError:
        return None


def _keep(joint: JointModel, path: Path) -> None:
    """Write a joint, and let those go that were not used for longest; a full disk keeps nothing."""
    try:
        with files.atomic_file(path) as part:
            write_arrays(part, joint)
        kept = sorted(path.parent.glob("*.npz"), key=lambda p: p.stat().st_mtime)
        for old in kept[:-MOST_JOINTS]:
            old.unlink(missing_ok=True)
        for folder in path.parent.glob("*.files"):
            if not folder.with_suffix(".npz").exists():
                shutil.rmtree(folder, ignore_errors=True)
    except (FileError, OSError):
        return  # keeping is a convenience


def _keep_files(folder: Path, kept: Path, joint: Path) -> None:
    """Copy a folder's files with their hashes, but for the joint's arrays where they are those kept."""
    try:
        hashes = {p.relative_to(folder).as_posix(): files.sha256(p) for p in folder.rglob("*") if p.is_file()}
        same = hashes.get(ARRAYS) == files.sha256(joint)
        with files.atomic_folder(kept) as part:
            for name in hashes:
                if name != ARRAYS or not same:
                    (part / name).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(folder / name, part / name)
            (part / _HASHES).write_text(json.dumps(hashes), encoding="utf-8")
    except (FileError, OSError):
        shutil.rmtree(kept, ignore_errors=True)


def _copied(kept: Path, joint: Path, folder: Path) -> bool:
    """Copy kept files into a folder; whether all were there, unchanged. The folder is empty if not."""
    try:
        hashes: dict[str, str] = json.loads((kept / _HASHES).read_text(encoding="utf-8"))
        for name, hashed in hashes.items():
            source = kept / name
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source if source.exists() else joint, folder / name)
            if files.sha256(folder / name) != hashed:
                raise FileError(f"{name} was changed")
    except (FileError, OSError, ValueError):
        for path in folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        return False
    return True


def _name_of(recipe: Recipe) -> str:
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
