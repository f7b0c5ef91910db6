"""Atomic writes, packaged data and the checkout's, hashes of inputs."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from injectplan.errors import FileError

MARKER = ".injectplan"  # lists, one a line, the files that the program wrote into a folder


def _why(error: OSError) -> str:
    return (error.strerror or type(error).__name__).lower()


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Give a folder to write into that appears at `path` as a whole when the block ends without an error.

    Nothing is left behind on an error. An existing folder is replaced: what an earlier run wrote there goes
    (the file `.injectplan` lists it), files of other origin stay.
    Raises FileError when it cannot be written, or would take a file's place that the program did not write.
    """
    target = Path(os.path.abspath(path))
    if target.exists() and not target.is_dir():
        raise FileError(f"{path}: is a file, not a folder; give another --out")
    made = _make_parents(target.parent, path)
    try:
        part = Path(tempfile.mkdtemp(prefix=f".{target.name}.part-", dir=target.parent))
    except OSError as error:
        _remove_empty(made)
        raise FileError(f"{path}: cannot be written ({_why(error)}); give another --out") from error
    try:
        yield part
        _finish_folder(part, target)
    except OSError as error:
        raise FileError(f"{path}: cannot be written ({_why(error)}); give another --out") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
        _remove_empty(made)


def check_place(path: str | Path, *, folder: bool = True, starts: bytes = b"") -> None:
    """Raise FileError where a result could not be written to, before the work for it is done.

    folder : whether the result is a folder or one file.  starts : how a file begins that may be replaced.
    """
    if Path(path).is_file() and not folder and starts:
        with Path(path).open("rb") as stream:
            if not stream.read(len(starts)).startswith(starts):
                raise FileError(
                    f"{path}: is a file of another kind; it is not overwritten: give another name"
                )
    if Path(path).exists() and Path(path).is_dir() != folder:
        wrong = "a file, not a folder" if folder else "a folder, not a file"
        raise FileError(f"{path}: is {wrong}; give another --out")
    above = Path(os.path.abspath(path)).parent
    while not above.exists():
        above = above.parent
    try:
        Path(tempfile.mkdtemp(prefix=".injectplan-", dir=above)).rmdir()
    except OSError as error:
        raise FileError(f"{path}: cannot be written ({_why(error)}); give another --out") from error


def _make_parents(folder: Path, path: str | Path) -> list[Path]:
    """Create the missing folders above; return those created, deepest first."""
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    try:
        for parent in reversed(missing):
            parent.mkdir()
    except OSError as error:
        raise FileError(f"{path}: cannot be written ({_why(error)}); give another --out") from error
    return missing


def _remove_empty(folders: list[Path]) -> None:
    for folder in folders:
        try:
            folder.rmdir()
        except OSError:
            return  # it holds the result


def _finish_folder(part: Path, target: Path) -> None:
    """Move the written folder to its place; the old one's foreign files move into it."""
    ours = sorted(p.relative_to(part).as_posix() for p in part.rglob("*") if not p.is_dir())
    (part / MARKER).write_text("".join(f"{name}\n" for name in ours), encoding="utf-8")
    part.chmod(0o777 & ~_umask())
    if not target.exists():
        os.rename(part, target)
        return
    if Path.cwd().is_relative_to(target):
        _fill_folder(part, target)
        return
    _adopt_foreign(target, part)
    old = Path(tempfile.mkdtemp(prefix=f".{target.name}.old-", dir=target.parent))
    try:
        os.rename(target, old)  # onto an empty folder: atomic on POSIX
        try:
            os.rename(part, target)
        except OSError:
            os.rename(old, target)
            raise
    finally:
        shutil.rmtree(old, ignore_errors=True)


def _written_in(folder: Path) -> set[str]:
    """Return the names of the files that an earlier run of the program wrote into a folder."""
    marker = folder / MARKER
    written = set(marker.read_text(encoding="utf-8").splitlines()) if marker.is_file() else set()
    # a list that somebody else made must not lead out of the folder
    return {name for name in written if not (Path(name).is_absolute() or ".." in Path(name).parts)} | {MARKER}


def _refuse_foreign(name: Path) -> None:
    raise FileError(
        f"{name}: stands in the --out folder and was not written by this program; it is not overwritten: "
        "give another --out"
    )


def _fill_folder(part: Path, target: Path) -> None:
    """Move the files one by one into the folder that the user stands in, which must stay the same folder."""
    written = _written_in(target)
    ours = [p.relative_to(part) for p in sorted(part.rglob("*")) if not p.is_dir()]
    for name in ours:
        if name.as_posix() not in written and (target / name).exists():
            _refuse_foreign(name)
        for above in name.parents:
            if (target / above).is_file():
                _refuse_foreign(above)
    for old in written:
        if (target / old).is_file():
            (target / old).unlink()
    for name in ours:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        os.replace(part / name, target / name)


def _adopt_foreign(old: Path, new: Path) -> None:
    """Copy (by hard link where possible) what an earlier run of the program did not write."""
    written = _written_in(old)
    for source in sorted(old.rglob("*")):
        name = source.relative_to(old)
        place = new / name
        if source.is_dir() and not source.is_symlink():
            if not any(source.iterdir()):
                place.mkdir(parents=True, exist_ok=True)
        elif name.as_posix() not in written:
            if place.exists():
                _refuse_foreign(name)
            place.parent.mkdir(parents=True, exist_ok=True)
            if source.is_symlink():
                place.symlink_to(os.readlink(source))
            else:
                try:
                    os.link(source, place)
                except OSError:
                    shutil.copy2(source, place)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@contextmanager
def atomic_file(path: str | Path) -> Iterator[Path]:
    """Give a path to write to (same suffix, same folder) that replaces `path` when the block ends well.

    Nothing is left behind on an error.  Raises FileError when it cannot be written.
    """
    target = Path(os.path.abspath(path))
    if target.is_dir():
        raise FileError(f"{path}: is a folder, not a file; give another --out")
    made = _make_parents(target.parent, path)
    try:
        handle, name = tempfile.mkstemp(prefix=".part-", suffix=f".{target.name}", dir=target.parent)
    except OSError as error:
        _remove_empty(made)
        raise FileError(f"{path}: cannot be written ({_why(error)}); give another --out") from error
    os.close(handle)
    part = Path(name)
    try:
        yield part
        part.chmod(0o666 & ~_umask())
        os.replace(part, target)
    except OSError as error:
        raise FileError(f"{path}: cannot be written ({_why(error)}); give another --out") from error
    finally:
        part.unlink(missing_ok=True)
        _remove_empty(made)


def sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file's bytes; of a folder, that of its files' sorted hashes."""
    path = Path(path)
    try:
        if path.is_dir():
            parts = sorted(sha256(p) for p in path.rglob("*") if p.is_file() and p.name != MARKER)
            return hashlib.sha256("\n".join(parts).encode()).hexdigest()
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise FileError(f"{path}: cannot be read ({_why(error)}); check the path") from error


def packaged(relative: str) -> Path:
    """Return where packaged data lie, such as "scenes/knee_suprapatellar": in the wheel or in the checkout.

    Only `scenes/` and `phantoms/` are packaged.  Raises FileError for what is not there.
    """
    parts = Path(relative).parts
    if not parts or parts[0] not in ("scenes", "phantoms") or ".." in parts:
        raise FileError(f"{relative}: only scenes/ and phantoms/ are packaged")
    package = Path(__file__).resolve().parent
    checkout = package.parent.parent
    places = [package / "_packaged"]
    if (checkout / "pyproject.toml").is_file() and package.parent.name == "src":
        places.append(checkout)
    for place in places:
        if (place / relative).exists():
            return place / relative
    raise FileError(f"{relative}: not among the packaged data; reinstall injectplan")


def cache_folder(name: str, *, or_temporary: bool = True) -> Path:
    """Return a folder for what can be made again, under XDG_CACHE_HOME.

    Where that cannot be written: a temporary folder, or FileError when a temporary one would be of no use.
    """
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = home / "injectplan" / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return folder
    except OSError:
        pass
    if not or_temporary:
        raise FileError(f"{folder}: cannot be written; set XDG_CACHE_HOME to a folder that can")
    return Path(tempfile.mkdtemp(prefix="injectplan-"))
