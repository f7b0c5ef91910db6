"""Sequence files and films are read back by other programs, equal."""

from __future__ import annotations

import importlib.util
import os
import subprocess

import numpy as np
import pytest
import SimpleITK as sitk

from injectplan.errors import BadInputError
from injectplan.interop.sequences import needle_frame, write_sequence
from injectplan.interop.video import has_video, write_mp4


def frames_and_poses(count=5, height=40, width=52):
    rng = np.random.default_rng(7)
    frames = [rng.integers(0, 256, (height, width), dtype=np.uint8) for _ in range(count)]
    poses = []
    for k in range(count):
        matrix = np.eye(4)
        matrix[:3, :3] = np.linalg.qr(rng.normal(size=(3, 3)))[0] * 0.1
        matrix[:3, 3] = [k, -k / 3.0, 100.0]
        poses.append(matrix)
    return frames, poses


def test_simpleitk_reads_the_sequence_equal(tmp_path):
    frames, poses = frames_and_poses()
    path = tmp_path / "preview.igs.mha"
    write_sequence(path, frames, {"ImageToReference": poses}, [0.08 * k for k in range(5)])
    read = sitk.ReadImage(str(path))
    assert read.GetSize() == (52, 40, 5)
    assert np.array_equal(sitk.GetArrayFromImage(read), np.stack(frames))
    for k, pose in enumerate(poses):
        key = f"Seq_Frame{k:04d}_"
        values = [float(v) for v in read.GetMetaData(key + "ImageToReferenceTransform").split()]
        assert np.array_equal(np.reshape(values, (4, 4)), pose)
        assert read.GetMetaData(key + "ImageToReferenceTransformStatus") == "OK"
        assert float(read.GetMetaData(key + "Timestamp")) == pytest.approx(0.08 * k)
    assert read.GetMetaData("UltrasoundImageOrientation") == "MF"


def test_the_same_frames_give_the_same_bytes(tmp_path):
    frames, poses = frames_and_poses()
    for name in ("a", "b"):
        write_sequence(tmp_path / f"{name}.igs.mha", frames, {"ImageToReference": poses}, [0.0] * 5)
    assert (tmp_path / "a.igs.mha").read_bytes() == (tmp_path / "b.igs.mha").read_bytes()


def test_a_needles_frame_has_its_tip_at_the_origin_and_its_shaft_behind():
    entry, tip = np.array([10.0, -4.0, 3.0]), np.array([-2.0, 7.0, 1.0])
    matrix = needle_frame(entry, tip)
    assert np.allclose(matrix[:3, :3].T @ matrix[:3, :3], np.eye(3))
    assert np.linalg.det(matrix[:3, :3]) == pytest.approx(1.0)
    assert np.allclose(matrix @ [0, 0, 0, 1], [*tip, 1])
    assert np.allclose(matrix @ [0, 0, -np.linalg.norm(entry - tip), 1], [*entry, 1])


def test_lists_that_do_not_fit_are_refused(tmp_path):
    frames, poses = frames_and_poses()
    with pytest.raises(BadInputError):
        write_sequence(tmp_path / "x.igs.mha", [], {}, [])
    with pytest.raises(BadInputError):
        write_sequence(tmp_path / "x.igs.mha", frames, {"ImageToReference": poses[:2]}, [0.0] * 5)
    assert not list(tmp_path.iterdir())


def _ffmpeg():
    return importlib.import_module("imageio_ffmpeg")


needs_video = pytest.mark.skipif(
    not has_video() and os.environ.get("INJECTPLAN_REQUIRE_ALL") != "1",
    reason="needs the extra `video` (imageio-ffmpeg)",
)


@needs_video
@pytest.mark.parametrize("colour", [False, True])
def test_a_film_is_read_back_alike_and_is_the_same_twice(tmp_path, colour):
    x, y = np.meshgrid(np.arange(91), np.arange(61))
    grey = [np.uint8(127 + 100 * np.sin((x + 4 * k) / 14.0) * np.cos(y / 9.0)) for k in range(6)]
    frames = [np.repeat(g[:, :, None], 3, axis=2) for g in grey] if colour else grey
    for name in ("a", "b"):
        write_mp4(frames, tmp_path / f"{name}.mp4")
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()
    exe = _ffmpeg().get_ffmpeg_exe()
    asked = [exe, "-i", str(tmp_path / "a.mp4")]
    said = subprocess.run(asked, capture_output=True, text=True, check=False).stderr
    assert "h264" in said
    assert "92x62" in said
    assert "12.50 fps" in said
    raw = subprocess.run(
        [exe, "-loglevel", "error", "-i", str(tmp_path / "a.mp4"), "-f", "rawvideo", "-pix_fmt", "gray", "-"],
        capture_output=True, check=True,
    ).stdout  # fmt: skip
    read = np.frombuffer(raw, np.uint8).reshape(-1, 62, 92)[:, :61, :91].astype(float)
    assert len(read) == 6
    for a, b in zip(read, grey, strict=True):
        assert np.abs(a - b).mean() < 4.0


def test_without_the_extra_a_film_is_refused_with_the_way_out(tmp_path, monkeypatch):
    monkeypatch.setattr("injectplan.interop.video.has_video", lambda: False)
    with pytest.raises(BadInputError, match=r"injectplan\[video\]"):
        write_mp4([np.zeros((8, 8), np.uint8)], tmp_path / "x.mp4")
