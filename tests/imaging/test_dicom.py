from __future__ import annotations

from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, generate_uid

from injectplan.errors import FileError
from injectplan.imaging.volumes import read_labelmap, read_volume, write_volume
from oracles_imaging import NAME, dicom_slice

TURN = (0.96, 0.28, 0.0, -0.28, 0.96, 0.0)
NORMAL = np.cross(TURN[:3], TURN[3:])


def series(folder: Path, count: int = 4, skip: int = -1, **kw: object) -> np.ndarray:
    folder.mkdir()
    rng = np.random.default_rng(5)
    stack = rng.integers(-300, 1000, (count, 6, 5)).astype(np.int16)
    for k in range(count):
        if k != skip:
            position = np.array([10.0, 20.0, 30.0]) + k * 3.0 * NORMAL
            name = folder / f"{(k * 7) % count}.dcm"  # names in another order than the slices
            dicom_slice(name, stack[k], position=position, orientation=TURN, **kw)  # type: ignore[arg-type]
    return stack


@pytest.mark.parametrize("big", [False, True])
def test_a_series_is_read_in_place_whatever_its_byte_order(tmp_path: Path, big: bool) -> None:
    syntax = ExplicitVRBigEndian if big else ExplicitVRLittleEndian
    stack = series(tmp_path / "s", syntax=syntax, big=big)
    volume = read_volume(tmp_path / "s")
    assert np.array_equal(volume.values, stack.transpose(2, 1, 0))
    lps = (
        np.array([10.0, 20, 30])
        + 2 * 0.4 * np.array(TURN[:3])
        + 3 * 0.5 * np.array(TURN[3:])
        + 1 * 3.0 * NORMAL
    )
    assert np.allclose(volume.to_patient([2, 3, 1]), lps * [-1, -1, 1], atol=1e-4)
    image = sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(tmp_path / "s")))
    assert np.array_equal(sitk.GetArrayFromImage(image).T, volume.values)
    for index in ((0, 0, 0), (4, 5, 3)):
        there = np.array(image.TransformIndexToPhysicalPoint(index)) * [-1, -1, 1]
        assert np.allclose(volume.to_patient(index), there, atol=1e-4)


def test_a_tilted_gantry_is_refused_and_rounded_positions_are_not(tmp_path: Path) -> None:
    for name, degrees in (("tilted", 17.0), ("rounded", 0.05)):
        (tmp_path / name).mkdir()
        for k in range(4):
            aside = k * 3.0 * np.tan(np.radians(degrees)) * np.array(TURN[3:])
            position = np.array([10.0, 20.0, 30.0]) + k * 3.0 * NORMAL + aside
            stack = np.full((6, 5), k, np.int16)
            dicom_slice(tmp_path / name / f"{k}.dcm", stack, position=position, orientation=TURN)
    with pytest.raises(FileError, match=r"tilted: its axes j and k stand 73° apart, must be 90° to within"):
        read_volume(tmp_path / "tilted")
    assert read_volume(tmp_path / "rounded").values[0, 0].tolist() == [0, 1, 2, 3]


def test_nothing_identifying_comes_through(tmp_path: Path) -> None:
    series(tmp_path / "s")
    volume = read_volume(tmp_path / "s")
    for suffix in ("nrrd", "nii", "mha"):
        write_volume(tmp_path / f"out.{suffix}", volume)
        data = (tmp_path / f"out.{suffix}").read_bytes()
        for word in (NAME, "4711", "Elsewhere", str(tmp_path)):
            assert word.encode() not in data


def test_echoes_become_components(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    folder.mkdir()
    for e, echo in enumerate((20.0, 10.0)):
        for k in range(3):
            dicom_slice(
                folder / f"{e}{k}.dcm",
                np.full((4, 4), 100 * e + k, np.int16),
                position=(0, 0, 2.0 * k),
                echo_ms=echo,
            )
    volume = read_volume(folder)
    assert volume.echo_times_ms == (10.0, 20.0)
    assert volume.values[0, 0, :, 0].tolist() == [100, 101, 102]
    (folder / "11.dcm").unlink()
    with pytest.raises(FileError, match="different number of slices for each echo"):
        read_volume(folder)


def test_a_series_that_is_none_is_refused(tmp_path: Path) -> None:
    series(tmp_path / "gap", skip=1)
    with pytest.raises(FileError, match="some are missing or occur twice"):
        read_volume(tmp_path / "gap")
    series(tmp_path / "two")
    dicom_slice(tmp_path / "two" / "x.dcm", np.zeros((6, 5), np.int16), series="9.9")
    with pytest.raises(FileError, match=r"holds 2 series .of"):
        read_volume(tmp_path / "two")
    dicom_slice(tmp_path / "cut.dcm", np.zeros((6, 5), np.int16))
    whole = (tmp_path / "cut.dcm").read_bytes()
    (tmp_path / "cut.dcm").write_bytes(whole[:-20])
    with pytest.raises(FileError, match="cannot be read"):
        read_volume(tmp_path / "cut.dcm")
    data = pydicom.dcmread(tmp_path / "two" / "x.dcm")
    data.Rows = data.Columns = 65535
    data.NumberOfFrames = 1000
    data.save_as(tmp_path / "huge.dcm")
    with pytest.raises(FileError, match="claims 65535×65535×1000 values"):
        read_volume(tmp_path / "huge.dcm")


def write_seg(path: Path, folder: Path, masks: np.ndarray, kind: str) -> None:
    """Write a DICOM SEG of masks (slice, row, column, segment) on a series, by highdicom."""
    sources = sorted(
        (pydicom.dcmread(p) for p in folder.iterdir()),
        key=lambda d: float(np.dot(d.ImagePositionPatient, NORMAL)),
    )
    for data in sources:
        data.FrameOfReferenceUID = "1.2.3.4"
        data.StudyInstanceUID = "1.2.3.5"
        data.StudyDate = data.StudyTime = data.AccessionNumber = data.StudyID = ""
        data.PatientBirthDate = data.PatientSex = ""
        data.InstanceNumber = 1
    algorithm = highdicom.AlgorithmIdentificationSequence("x", codes.DCM.ArtificialIntelligence, "1")
    segments = [
        highdicom.seg.SegmentDescription(
            n + 1, name, codes.SCT.Tissue,
            codes.SCT.Bone, "AUTOMATIC", algorithm,
        )
        for n, name in enumerate(("Femur", "Tibia"))
    ]  # fmt: skip
    highdicom.seg.Segmentation(
        sources, masks, kind, segments, generate_uid(), 1, generate_uid(), 1, "x", "x", "1", "1",
        max_fractional_value=200, omit_empty_frames=True,
    ).save_as(path)  # fmt: skip


@pytest.mark.parametrize("kind", ["BINARY", "FRACTIONAL", "LABELMAP"])
def test_a_dicom_segmentation_lies_where_its_image_lies(tmp_path: Path, kind: str) -> None:
    series(tmp_path / "s", count=6)
    masks = np.zeros((6, 6, 5, 2), np.uint8)
    masks[1:4, 1:3, 1:4, 0] = 1  # the first and last slices are empty: highdicom drops them
    masks[2:4, 3:5, 1:4, 1] = 1
    if kind == "BINARY":
        masks[3, 2:4, 2, :] = 1  # overlap
    write_seg(
        tmp_path / "seg.dcm", tmp_path / "s", masks.astype(float) if kind == "FRACTIONAL" else masks, kind
    )
    found = read_labelmap(tmp_path / "seg.dcm")
    image = read_volume(tmp_path / "s")
    assert set(found.structures) == {"femur", "tibia"}
    assert bool(found.overlaps) == (kind == "BINARY")
    for n, name in enumerate(("femur", "tibia")):
        ours = found.to_patient(np.argwhere(found.mask(name)))
        truth = image.to_patient(np.argwhere(masks[..., n].transpose(2, 1, 0)))
        assert len(ours) == len(truth)
        assert np.allclose(ours[np.lexsort(ours.round(3).T)], truth[np.lexsort(truth.round(3).T)], atol=1e-3)
    if kind == "FRACTIONAL":
        assert [n.code for n in found.notices] == ["fractional-labels"]
    with pytest.raises(FileError, match="is a segmentation, needs an image"):
        read_volume(tmp_path / "seg.dcm")
