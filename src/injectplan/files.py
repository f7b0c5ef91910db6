"""Atomic writes, packaged data and the checkout's, hashes of inputs."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from injectplan.errors import FileError

MARKER = (
    ".injectplan"  # lists, one a line, the files that the program wrote into a folder: hash, command, name
)


def _why(error: OSError) -> str:
    return (error.strerror or type(error).__name__).lower()


@dataclass(frozen=True, slots=True)
class _Written:
    """A file that the program wrote: by which command, and its hash (empty: not known)."""

    by: str
    hash: str

    def is_unchanged(self, path: Path) -> bool:
        """Whether a file still has the hash it was written with; True where that is not known."""
        return not self.hash or sha256(path) == self.hash


@contextmanager
def atomic_folder(path: str | Path, *, by: str = "") -> Iterator[Path]:
    """Give a folder to write into that appears at `path` as a whole when the block ends without an error.

    by : the command that writes; it is listed with each file's hash in the file `.injectplan`. Without one,
    the files' names alone are listed.

    Nothing is left behind on an error. In an existing folder what an earlier run of the same command wrote
    goes; what other commands wrote, files of other origin, and files changed since stay.
    Raises FileError when it cannot be written, or would take the place of a file that the program did not
    write, or that was changed since.
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
        _finish_folder(part, target, by)
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


def _finish_folder(part: Path, target: Path, by: str) -> None:
    """Move the written folder to its place; what stays of the old one moves into it."""
    ours = sorted(p.relative_to(part).as_posix() for p in part.rglob("*") if not p.is_dir())
    stale, kept = _sorted_out(target, ours, by) if target.is_dir() else (set(), {})
    listed = {**kept, **{name: _Written(by, _hash_of(part / name) if by else "") for name in ours}}
    (part / MARKER).write_text(
        "".join(_line(name, listed[name]) for name in sorted(listed)), encoding="utf-8"
    )
    part.chmod(0o777 & ~_umask())
    if not target.exists():
        os.rename(part, target)
        return
    if Path.cwd().is_relative_to(target):
        _fill_folder(part, target, stale)
        return
    _adopt(target, part, stale)
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


def _hash_of(path: Path) -> str:
    """Return a file's hash; none of documents that hold the wall clock, so that equal runs list the same."""
    timed = path.suffix in (".json", ".html") and not path.name.endswith(".mrk.json")
    return "" if timed else sha256(path)


def _line(name: str, written: _Written) -> str:
    return f"{written.hash or '-'} {written.by} {name}\n" if written.by else f"{name}\n"


def _written_in(folder: Path) -> dict[str, _Written]:
    """Return the files that earlier runs of the program wrote into a folder, by name."""
    marker = folder / MARKER
    found = {}
    for line in marker.read_text(encoding="utf-8").splitlines() if marker.is_file() else ():
        match = re.fullmatch(r"([0-9a-f]{64}|-) (\S+) (.+)", line)
        name = match[3] if match else line
        # a list that somebody else made must not lead out of the folder
        if not (Path(name).is_absolute() or ".." in Path(name).parts):
            found[name] = _Written(match[2], match[1].strip("-")) if match else _Written("", "")
    return found


def _sorted_out(target: Path, ours: list[str], by: str) -> tuple[set[str], dict[str, _Written]]:
    """Return which files of a folder go, and which of other commands stay listed.

    Raises FileError where a new file would take the place of one that is not the program's to replace.
    """
    written = {n: w for n, w in _written_in(target).items() if (target / n).is_file()}
    unchanged = {n: w for n, w in written.items() if w.is_unchanged(target / n)}
    for name in ours:
        if os.path.lexists(target / name) and name not in unchanged:
            _refuse_foreign(target / name, changed=name in written)
        for above in Path(name).parents:
            if (target / above).is_file() and above.as_posix() not in unchanged:
                _refuse_foreign(target / above)
    others = {n: w for n, w in unchanged.items() if w.by not in ("", by) and n not in ours}
    blocked = {a.as_posix() for name in ours for a in Path(name).parents}  # a file where a folder comes
    kept = {n: w for n, w in others.items() if n not in blocked}
    return (set(unchanged) - set(kept)) | {MARKER}, kept


def _refuse_foreign(name: Path, *, changed: bool = False) -> None:
    how = "was changed since this program wrote it" if changed else "was not written by this program"
    raise FileError(
        f"{name}: stands in the --out folder and {how}; it is not overwritten: give another --out"
    )


def _fill_folder(part: Path, target: Path, stale: set[str]) -> None:
    """Move the files one by one into the folder that the user stands in, which must stay the same folder."""
    ours = [p.relative_to(part) for p in sorted(part.rglob("*")) if not p.is_dir()]
    for old in stale:
        (target / old).unlink(missing_ok=True)
    for name in ours:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        os.replace(part / name, target / name)


def _adopt(old: Path, new: Path, stale: set[str]) -> None:
    """Copy (by hard link where possible) what stays of a folder."""
    for source in sorted(old.rglob("*")):
        name = source.relative_to(old)
        place = new / name
        if source.is_dir() and not source.is_symlink():
            if not any(source.iterdir()):
                place.mkdir(parents=True, exist_ok=True)
        elif name.as_posix() not in stale:
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
