from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from injectplan.errors import FileError
from injectplan.files import MARKER, atomic_file, atomic_folder, packaged, sha256


def broken(folder: Path, name: str, text: str) -> None:
    with atomic_folder(folder) as part:
        (part / name).write_text(text)
        raise ZeroDivisionError


def broken_file(path: Path) -> None:
    with atomic_file(path) as part:
        part.write_text("x")
        raise ZeroDivisionError


def names(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if not p.is_dir()}


def test_a_folder_appears_whole(tmp_path: Path) -> None:
    target = tmp_path / "a" / "out"
    with atomic_folder(target) as part:
        (part / "frames").mkdir()
        (part / "frames" / "0.png").write_text("x")
        assert not target.exists()
    assert names(target) == {"frames/0.png", MARKER}
    assert names(tmp_path) == {f"a/out/{n}" for n in names(target)}


def test_nothing_is_left_behind_on_an_error(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        broken(tmp_path / "a" / "b" / "out", "x", "x")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ZeroDivisionError):
        broken_file(tmp_path / "deep" / "f.npz")
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_loses_the_earlier_run_and_keeps_the_users_files(tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.mkdir()
    (target / "notes.txt").write_text("mine")
    (target / "sub").mkdir()
    (target / "sub" / "scan.nrrd").write_text("mine too")
    with atomic_folder(target) as part:
        (part / "record.json").write_text("1")
        (part / "stale.png").write_text("1")
    assert (target / "record.json").read_text() == "1"
    with atomic_folder(target) as part:
        (part / "record.json").write_text("2")
    assert names(target) == {"record.json", "notes.txt", "sub/scan.nrrd", MARKER}
    assert (target / "record.json").read_text() == "2"
    assert (target / "notes.txt").read_text() == "mine"
    with pytest.raises(ZeroDivisionError):
        broken(target, "record.json", "3")
    assert (target / "record.json").read_text() == "2"
    assert {p.name for p in tmp_path.iterdir()} == {"out"}


def test_a_file_of_another_origin_is_never_overwritten(tmp_path: Path) -> None:
    """A segmentation that lies in the --out folder under the name of an output."""
    target = tmp_path / "out"
    target.mkdir()
    (target / "labels.nrrd").write_text("mine")
    with pytest.raises(FileError, match=r"labels\.nrrd.*not overwritten"), atomic_folder(target) as part:
        (part / "labels.nrrd").write_text("made")
    assert names(target) == {"labels.nrrd"}
    assert (target / "labels.nrrd").read_text() == "mine"
    assert {p.name for p in tmp_path.iterdir()} == {"out"}


def test_the_folder_one_stands_in_stays_the_same_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    inode = tmp_path.stat().st_ino
    for text in ("1", "2"):
        with atomic_folder(".") as part:
            (part / "surfaces").mkdir()
            (part / "surfaces" / "femur.vtp").write_text(text)
            (part / f"only_{text}").write_text(text)
    assert tmp_path.stat().st_ino == inode
    assert names(tmp_path) == {"notes.txt", "surfaces/femur.vtp", "only_2", MARKER}
    assert (tmp_path / "surfaces" / "femur.vtp").read_text() == "2"
    with pytest.raises(FileError, match="not overwritten"), atomic_folder(tmp_path) as part:
        (part / "notes.txt").write_text("made")
    assert names(tmp_path) == {"notes.txt", "surfaces/femur.vtp", "only_2", MARKER}


def test_a_file_where_a_folder_must_be_leaves_the_users_folder_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "surfaces").write_text("mine")

    def export() -> None:
        with atomic_folder(".") as part:
            (part / "surfaces").mkdir()
            (part / "a").write_text("1")
            (part / "surfaces" / "femur.vtp").write_text("1")

    with pytest.raises(FileError, match=r"surfaces.*not overwritten"):
        export()
    assert names(tmp_path) == {"surfaces"}


def test_a_list_of_files_never_leads_out_of_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim, out = tmp_path / "victim.txt", tmp_path / "out"
    victim.write_text("mine")
    out.mkdir()
    (out / MARKER).write_text(f"../victim.txt\n{victim}\n")
    monkeypatch.chdir(out)
    with atomic_folder(".") as part:
        (part / "a").write_text("1")
    assert victim.read_text() == "mine"
    assert names(out) == {"a", MARKER}


def test_what_another_command_wrote_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A phantom's export into a folder, then a fit of its echoes into the same one."""
    for target in (tmp_path / "away", tmp_path / "here"):
        with atomic_folder(target, by="phantom") as part:
            (part / "echoes.nrrd").write_text("echoes")
            (part / "truth.json").write_text("truth")
        if target.name == "here":
            monkeypatch.chdir(target)
        for text in ("1", "2"):
            with atomic_folder(target, by="t2") as part:
                (part / "t2.json").write_text(text)
                (part / f"only_{text}").write_text(text)
        assert names(target) == {"echoes.nrrd", "truth.json", "t2.json", "only_2", MARKER}
        with atomic_folder(target, by="phantom") as part:
            (part / "t2.json").write_text("3")  # a name that both write is the later one's
        assert names(target) == {"t2.json", "only_2", MARKER}
        assert (target / "t2.json").read_text() == "3"


def test_an_output_changed_by_hand_is_not_overwritten(tmp_path: Path) -> None:
    target = tmp_path / "out"

    def write(*named: str) -> None:
        with atomic_folder(target, by="model") as part:
            for name in named:
                (part / name).write_text("made")

    write("labels.nrrd", "views.png")
    (target / "labels.nrrd").write_text("made, then painted in")
    with pytest.raises(FileError, match=r"labels\.nrrd.*changed since.*not overwritten"):
        write("labels.nrrd")
    assert (target / "views.png").read_text() == "made"
    write("model.json")
    assert names(target) == {"labels.nrrd", "model.json", MARKER}
    assert (target / "labels.nrrd").read_text() == "made, then painted in"


def test_a_link_of_the_users_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.mkdir()
    (target / "a").symlink_to(tmp_path / "nowhere")
    with pytest.raises(FileError, match="not overwritten"), atomic_folder(target, by="x") as part:
        (part / "a").write_text("1")
    assert not (tmp_path / "nowhere").exists()


def test_what_cannot_be_written_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(FileError, match="is a file, not a folder"), atomic_folder(tmp_path / "file"):
        pass
    with pytest.raises(FileError, match="cannot be written"), atomic_folder(tmp_path / "file" / "out"):
        pass
    with pytest.raises(FileError, match="is a folder"), atomic_file(tmp_path):
        pass
    with pytest.raises(FileError, match="cannot be written"), atomic_file(tmp_path / "file" / "x.npz"):
        pass


def test_atomic_file_keeps_the_suffix_and_obeys_the_umask(tmp_path: Path) -> None:
    with atomic_file(tmp_path / "x.seg.nrrd") as part:
        assert part.name.endswith(".seg.nrrd")
        part.write_text("x")
    mask = os.umask(0)
    os.umask(mask)
    assert (tmp_path / "x.seg.nrrd").stat().st_mode & 0o777 == 0o666 & ~mask
    assert {p.name for p in tmp_path.iterdir()} == {"x.seg.nrrd"}


def test_hashes(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "a").write_bytes(b"1")
    (tmp_path / "s" / "b").write_bytes(b"2")
    assert sha256(tmp_path / "s" / "a") == hashlib.sha256(b"1").hexdigest()
    first = sha256(tmp_path / "s")
    (tmp_path / "s" / "b").rename(tmp_path / "s" / "c")
    assert sha256(tmp_path / "s") == first, "names may identify a patient and do not count"
    (tmp_path / "s" / "c").write_bytes(b"3")
    assert sha256(tmp_path / "s") != first
    with pytest.raises(FileError, match="cannot be read"):
        sha256(tmp_path / "missing")


@pytest.mark.parametrize(
    "path", ["src/injectplan", "../scenes", "scenes/../pyproject.toml", "/etc/passwd", ""]
)
def test_only_packaged_folders_are_found(path: str) -> None:
    with pytest.raises(FileError, match="only scenes/ and phantoms/"):
        packaged(path)


def test_packaged_data_are_found() -> None:
    assert packaged("scenes").is_dir()
    with pytest.raises(FileError, match="not among the packaged data"):
        packaged("scenes/nothing")
