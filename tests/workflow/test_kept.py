"""Kept joints: the same joint comes back, and a stale or damaged one never does."""

from __future__ import annotations

import hashlib
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from injectplan.alignment.values import Landmark
from injectplan.anatomy.model import JointModel
from injectplan.anatomy.store import ARRAYS, write_arrays
from injectplan.errors import RefusedError
from injectplan.workflow import kept
from injectplan.workflow.kept import MOST_JOINTS, kept_files, kept_joint, kept_value
from oracles_planning import shell_joint

RECIPE: dict[str, object] = {"seed": 1, "files": {"labelmap": "ab"}}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("INJECTPLAN_KEEP_JOINTS", raising=False)
    return tmp_path / "injectplan" / "joints"


class Builder:
    """Builds a joint and counts how often it was asked to."""

    def __init__(self) -> None:
        self.built = 0

    def __call__(self) -> JointModel:
        self.built += 1
        return shell_joint()


def digest(joint: JointModel, path: Path) -> str:
    write_arrays(path, joint)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_second_time_the_same_joint_is_read_back(folder: Path, tmp_path: Path) -> None:
    build = Builder()
    first, second = (kept_joint(RECIPE, build) for _ in range(2))
    assert build.built == 1
    assert digest(first, tmp_path / "a.npz") == digest(second, tmp_path / "b.npz")


@pytest.mark.parametrize("change", [{"seed": 2}, {"files": {"labelmap": "ac"}}, {"labels": "pymskt"}])
def test_another_recipe_is_another_joint(folder: Path, change: dict[str, object]) -> None:
    build = Builder()
    kept_joint(RECIPE, build)
    kept_joint({**RECIPE, **change}, build)
    assert build.built == 2


def test_another_program_is_another_joint(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build = Builder()
    kept_joint(RECIPE, build)
    monkeypatch.setattr(kept, "_program", lambda: "edited")
    kept_joint(RECIPE, build)
    assert build.built == 2


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def one_bit_turned(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def emptied(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [cut_short, one_bit_turned, emptied])
def test_a_damaged_joint_is_built_anew(folder: Path, tmp_path: Path, damage: Callable[[Path], None]) -> None:
    build = Builder()
    first = kept_joint(RECIPE, build)
    damage(next(folder.glob("*.npz")))
    second = kept_joint(RECIPE, build)
    assert build.built == 2
    assert digest(first, tmp_path / "a.npz") == digest(second, tmp_path / "b.npz")
    kept_joint(RECIPE, build)
    assert build.built == 2


def test_only_the_last_used_are_kept(folder: Path) -> None:
    build = Builder()
    for seed in range(MOST_JOINTS + 3):
        kept_joint({"seed": seed}, build)
    assert len(list(folder.glob("*.npz"))) == MOST_JOINTS
    assert not list(folder.glob(".part-*"))


def test_nothing_is_kept_where_that_is_not_wanted_or_not_possible(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = Builder()
    monkeypatch.setenv("INJECTPLAN_KEEP_JOINTS", "0")
    kept_joint(RECIPE, build)
    assert not folder.exists()
    monkeypatch.delenv("INJECTPLAN_KEEP_JOINTS")
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    joint = kept_joint(RECIPE, build)
    assert build.built == 2
    assert np.isfinite(joint.structures["skin"].surface.vertices_mm).all()


class Writer:
    """Writes a folder as a joint's is written, and counts how often it was asked to."""

    def __init__(self) -> None:
        self.written = 0

    def __call__(self, folder: Path) -> None:
        self.written += 1
        (folder / "model").mkdir()
        (folder / "model" / "a.vtp").write_bytes(b"a surface")
        (folder / ARRAYS).write_bytes(b"arrays")


def filled(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def fill(
    tmp_path: Path, name: str, write: Writer, recipe: dict[str, object] | None = RECIPE
) -> dict[str, bytes]:
    (tmp_path / name).mkdir()
    kept_files(recipe, tmp_path / name, write)
    return filled(tmp_path / name)


def test_what_was_written_of_a_joint_is_copied_the_next_time(folder: Path, tmp_path: Path) -> None:
    kept_joint(RECIPE, Builder())
    write = Writer()
    assert fill(tmp_path, "one", write) == fill(tmp_path, "two", write)
    assert write.written == 1
    fill(tmp_path, "three", write, {"seed": 5})
    fill(tmp_path, "four", write, None)
    assert write.written == 3


@pytest.mark.parametrize("harm", ["changed", "missing", "half a list"])
def test_a_damaged_copy_is_written_anew(folder: Path, tmp_path: Path, harm: str) -> None:
    kept_joint(RECIPE, Builder())
    write = Writer()
    first = fill(tmp_path, "one", write)
    (kept_surface,) = folder.rglob("a.vtp")
    if harm == "changed":
        kept_surface.write_bytes(b"another")
    elif harm == "missing":
        kept_surface.unlink()
    else:
        (kept_surface.parents[1] / "hashes.json").write_text('{"model/a.v')
    assert fill(tmp_path, "two", write) == first
    assert write.written == 2
    assert fill(tmp_path, "three", write) == first
    assert write.written == 2


def test_the_joints_own_arrays_are_kept_once(folder: Path, tmp_path: Path) -> None:
    kept_joint(RECIPE, Builder())
    (arrays,) = folder.glob("*.npz")

    def write(inner: Path) -> None:
        (inner / ARRAYS).write_bytes(arrays.read_bytes())

    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        kept_files(RECIPE, tmp_path / name, write)
        assert (tmp_path / name / ARRAYS).read_bytes() == arrays.read_bytes()
    assert not list(folder.rglob(ARRAYS))


def test_copies_go_with_their_joint(folder: Path, tmp_path: Path) -> None:
    for seed in range(MOST_JOINTS + 2):
        kept_joint({"seed": seed}, Builder())
        fill(tmp_path, str(seed), Writer(), {"seed": seed})
        for k, path in enumerate(sorted(folder.glob("*.npz"), key=lambda p: p.stat().st_mtime)):
            os.utime(path, (1000 + k, 1000 + k))
    kept_joint({"seed": "last"}, Builder())
    assert {p.stem for p in folder.glob("*.files")} <= {p.stem for p in folder.glob("*.npz")}
    assert len(list(folder.glob("*.files"))) == MOST_JOINTS - 1


class Measurer:
    """Gives a value that follows from a joint alone, and counts how often it was asked to."""

    def __init__(self, error: Exception | None = None) -> None:
        self.asked, self.error = 0, error

    def __call__(self) -> Landmark:
        self.asked += 1
        if self.error is not None:
            raise self.error
        return Landmark(position_mm=np.array([1.0, 2.0, 3.0]), method="fit", details={"rms_mm": 0.1})


def test_a_value_measured_on_a_kept_joint_is_kept_with_it(folder: Path) -> None:
    kept_joint(RECIPE, Builder())
    measure = Measurer()
    first, second = (kept_value(RECIPE, "axes", measure) for _ in range(2))
    assert measure.asked == 1
    assert first.to_json() == second.to_json()
    for recipe in ({**RECIPE, "seed": 2}, None):
        kept_value(recipe, "axes", measure)
    assert measure.asked == 3
    assert len(list(folder.glob("*.axes"))) == 1, "nothing is kept beside a joint that is not there"


def test_a_refusal_is_not_kept(folder: Path) -> None:
    kept_joint(RECIPE, Builder())
    refuse = Measurer(RefusedError("no femur"))
    for _ in range(2):
        with pytest.raises(RefusedError):
            kept_value(RECIPE, "axes", refuse)
    assert refuse.asked == 2


def test_a_damaged_value_is_measured_anew(folder: Path) -> None:
    kept_joint(RECIPE, Builder())
    measure = Measurer()
    kept_value(RECIPE, "axes", measure)
    (path,) = folder.glob("*.axes")
    whole = path.read_bytes()
    for damaged in (whole[:-7], whole[:20], b"", whole[:40] + b"?" + whole[41:]):
        path.write_bytes(damaged)
        kept_value(RECIPE, "axes", measure)
        assert path.read_bytes() == whole
    assert measure.asked == 5


def test_a_value_that_names_anything_else_is_never_made(folder: Path, tmp_path: Path) -> None:
    """A pickle can name any function; a kept one may name arrays and this program's records alone."""

    class Hostile:
        def __reduce__(self) -> tuple[object, tuple[object, ...]]:
            return os.mkdir, (str(tmp_path / "made"),)

    kept_joint(RECIPE, Builder())
    measure = Measurer()
    kept_value(RECIPE, "axes", measure)
    (path,) = folder.glob("*.axes")
    packed = pickle.dumps(Hostile())
    path.write_bytes(hashlib.sha256(packed).digest() + packed)
    kept_value(RECIPE, "axes", measure)
    assert measure.asked == 2
    assert not (tmp_path / "made").exists()


def test_values_go_with_their_joint(folder: Path) -> None:
    for seed in range(MOST_JOINTS + 2):
        kept_joint({"seed": seed}, Builder())
        kept_value({"seed": seed}, "axes", Measurer())
    kept_joint({"seed": "last"}, Builder())
    assert {p.stem for p in folder.glob("*.axes")} <= {p.stem for p in folder.glob("*.npz")}
