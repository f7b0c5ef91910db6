"""Joints kept between runs: what the same program built from the same input is read back, not built again.

With a joint stay the files written of it and the values measured on it alone (its axes).

A kept joint is named by a hash of all that it depends on: the input files' bytes, the parameters, the seed,
and every source file of the program with the versions of what it computes with. A change of any gives another
name, so a stale joint is never met. The file is whole or not there, and its arrays carry checksums; what
cannot be read is built anew. `INJECTPLAN_KEEP_JOINTS=0` keeps nothing and reads nothing.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import io
import json
import os
import pickle
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from injectplan import files
from injectplan.anatomy.model import JointModel
from injectplan.anatomy.store import ARRAYS, read_arrays, write_arrays
from injectplan.errors import FileError

MOST_JOINTS = 6  # a joint takes 100 to 300 MB, and what was written of it as much again
_HASHES = "hashes.json"
_COMPUTES_WITH = ("numpy", "scipy", "numba", "vtk", "SimpleITK", "nibabel")


Recipe = Mapping[str, object]
_V = TypeVar("_V")
_VALUES = ("injectplan.alignment.values", "injectplan.measure")  # whose classes a kept value is made of
_ARRAYS = {"_reconstruct", "ndarray", "dtype", "scalar", "_frombuffer"}  # of numpy


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


def kept_value(recipe: Recipe | None, name: str, make: Callable[[], _V]) -> _V:
    """Return what `make` gave for this recipe's joint before, or make it and keep it beside the joint.

    Only what follows from the joint alone may be kept so. What `make` raises is not kept.
    """
    place = None if recipe is None else _place(recipe)
    if place is None:
        return make()
    path = place.with_suffix(f".{name}")
    try:
        value: _V = _unpacked(path.read_bytes())
    except (FileError, OSError):
        value = make()
        if place.exists():
            _keep_value(path, value)
    return value


def _keep_value(path: Path, value: object) -> None:
    packed = pickle.dumps(value, protocol=5)
    try:
        with files.atomic_file(path) as part:
            part.write_bytes(hashlib.sha256(packed).digest() + packed)
    except (FileError, OSError):
        return  # keeping is a convenience


class _Unpickler(pickle.Unpickler):
    """Makes plain values, arrays and this program's records, and nothing else that a pickle may name."""

    def find_class(self, module: str, name: str) -> Any:
        """A class that may be named; FileError for any other."""
        if module in _VALUES or (module.partition(".")[0] == "numpy" and name in _ARRAYS):
            return super().find_class(module, name)
        raise FileError(f"a kept value names {module}.{name}")


def _unpacked(kept: bytes) -> Any:
    """Return a kept value.  Raises FileError where it was cut short, changed, or is none."""
    packed = kept[32:]
    if hashlib.sha256(packed).digest() != kept[:32]:
        raise FileError("a kept value was changed")
    return _Unpickler(io.BytesIO(packed)).load()


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
        for beside in path.parent.glob("[!.]*"):  # another run's unfinished files begin with a dot
            if beside.suffix != ".npz" and not beside.with_suffix(".npz").exists():
                _remove(beside)
    except (FileError, OSError):
        return  # keeping is a convenience


def _remove(path: Path) -> None:
    """Remove what was kept beside a joint that went, a folder or a file."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


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
            _remove(path)
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
