from __future__ import annotations

import gzip
import struct
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from injectplan.errors import EmptyStructureError, FileError, UnitsError, UsageError
from injectplan.imaging.values import LabelMap, Volume
from injectplan.imaging.volumes import read_labelmap, read_volume, write_labelmap, write_volume

TABLE = '[labels]\n1 = "femur"\n2 = "tibia"\n300 = "patella"\n'


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "labels.toml"
    path.write_text(TABLE)
    return path


def oblique(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    affine = np.eye(4)
    turn = Rotation.random(rng=rng).as_matrix() @ np.diag(rng.choice([-1.0, 1.0], 3))
    affine[:3, :3] = turn * rng.uniform(0.3, 3.0, 3)
    affine[:3, 3] = rng.uniform(-150, 150, 3)
    return affine


def labels(shape: tuple[int, int, int] = (7, 6, 5)) -> np.ndarray:
    result = np.zeros(shape, np.uint16)
    result[1:3, 1:4, 1:4] = 1
    result[4:6, 1:4, 1:4] = 2
    return result


@pytest.mark.parametrize("suffix", ["nii", "nii.gz", "nrrd", "seg.nrrd", "mha"])
@pytest.mark.parametrize("seed", range(4))
def test_label_maps_go_there_and_back_with_any_oblique_affine(
    tmp_path: Path, table: Path, suffix: str, seed: int
) -> None:
    given = LabelMap(affine=oblique(seed), labels=labels(), names={1: "femur", 2: "tibia"})
    path = tmp_path / f"x.{suffix}"
    write_labelmap(path, given)
    back = read_labelmap(path, table)
    assert np.array_equal(back.labels, given.labels)
    corners = np.array([[0, 0, 0], [6, 0, 0], [0, 5, 0], [0, 0, 4], [6, 5, 4]])
    assert np.abs(back.to_patient(corners) - given.to_patient(corners)).max() < 1e-4
    assert back.notices == ()
    again = tmp_path / f"y.{suffix}"
    write_labelmap(again, given)
    assert path.read_bytes() == again.read_bytes(), "the same map must give the same bytes"


@pytest.mark.parametrize("suffix", ["nii.gz", "nrrd", "mha"])
def test_what_we_write_others_read_in_the_same_place(tmp_path: Path, suffix: str) -> None:
    affine = oblique(11)
    if suffix == "nii.gz":  # ITK takes no mirrored axes from NIfTI's quaternion
        affine[:3, :3] = Rotation.from_euler("xyz", [10, -20, 30], degrees=True).as_matrix() * [0.5, 0.6, 0.7]
    values = np.random.default_rng(0).normal(size=(5, 6, 7)).astype(np.float32)
    path = tmp_path / f"x.{suffix}"
    write_volume(path, Volume(affine=affine, values=values))
    image = sitk.ReadImage(str(path))
    assert np.allclose(sitk.GetArrayFromImage(image).T, values)
    for index in ((0, 0, 0), (4, 5, 6), (1, 0, 3)):
        lps = np.array(image.TransformIndexToPhysicalPoint(index))
        ras = affine[:3, :3] @ index + affine[:3, 3]
        assert np.allclose(lps * [-1, -1, 1], ras, atol=1e-4)


@pytest.mark.parametrize("suffix", ["nrrd", "mha", "mhd", "nii.gz"])
@pytest.mark.parametrize("kind", [sitk.sitkUInt8, sitk.sitkInt16, sitk.sitkFloat64])
def test_what_others_write_we_read_in_the_same_place(tmp_path: Path, suffix: str, kind: int) -> None:
    image = sitk.Cast(sitk.GetImageFromArray(np.arange(210).reshape(5, 6, 7) % 97), kind)
    image.SetSpacing((0.3, 0.4, 2.0))
    image.SetOrigin((-12.0, 33.0, 5.5))
    image.SetDirection(Rotation.from_euler("xyz", [5, 25, -40], degrees=True).as_matrix().ravel().tolist())
    for packed in (True, False):
        sitk.WriteImage(image, str(tmp_path / f"x.{suffix}"), packed)
        ours = read_volume(tmp_path / f"x.{suffix}")
        assert np.array_equal(ours.values, sitk.GetArrayFromImage(image).T.astype(np.float32))
        for index in ((0, 0, 0), (6, 5, 4)):
            lps = np.array(image.TransformIndexToPhysicalPoint(index))
            assert np.allclose(ours.to_patient(index), lps * [-1, -1, 1], atol=1e-4)


def skewed(degrees: float) -> np.ndarray:
    """An oblique affine whose first and third axes lean towards one another."""
    affine = oblique(3)
    i, k = affine[:3, 0], affine[:3, 2]
    affine[:3, 2] = k + np.linalg.norm(k) / np.linalg.norm(i) * np.tan(np.radians(degrees)) * i
    return affine


@pytest.mark.parametrize("suffix", ["nii", "nii.gz", "nrrd", "seg.nrrd", "mha"])
def test_axes_that_are_not_perpendicular_are_refused_in_every_format(
    tmp_path: Path, table: Path, suffix: str
) -> None:
    for degrees in (17.0, -17.0, 0.11, 0.09):
        path = tmp_path / f"x{degrees}.{suffix}"
        write_labelmap(path, LabelMap(affine=skewed(degrees), labels=labels(), names={1: "femur"}))
        if abs(degrees) < 0.1:
            assert read_labelmap(path, table).counts
            continue
        said = rf"its axes i and k stand {90 - abs(degrees):.4g}° apart, must be 90° to within 0\.1°"
        with pytest.raises(FileError, match=said):
            read_labelmap(path, table)


def test_directions_of_three_decimals_are_still_read(tmp_path: Path, table: Path) -> None:
    for seed in range(200):
        affine = oblique(seed)
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
        affine[:3, :3] = np.round(affine[:3, :3] / spacing, 3) * spacing
        write_labelmap(tmp_path / "x.nrrd", LabelMap(affine=affine, labels=labels(), names={1: "femur"}))
        assert read_labelmap(tmp_path / "x.nrrd", table).counts


def test_components_come_last(tmp_path: Path) -> None:
    values = np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5)
    for suffix in ("nrrd", "mha", "nii"):
        write_volume(tmp_path / f"x.{suffix}", Volume(affine=np.eye(4), values=values))
        assert np.array_equal(read_volume(tmp_path / f"x.{suffix}").values, values)
        with pytest.raises(FileError, match="5 components a voxel, a label map holds 1"):
            read_labelmap(tmp_path / f"x.{suffix}", "pymskt")


def header(**fields: str) -> bytes:
    base = {
        "type": "uchar", "dimension": "3", "space": "left-posterior-superior", "sizes": "4 4 4",
        "space directions": "(1,0,0) (0,1,0) (0,0,1)", "space origin": "(0,0,0)", "encoding": "raw",
    }  # fmt: skip
    base |= {key.replace("_", " "): value for key, value in fields.items()}
    return ("NRRD0004\n" + "".join(f"{k}: {v}\n" for k, v in base.items()) + "\n").encode()


DATA = bytes([0] * 32 + [1] * 32)


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (b"", FileError, "is empty"),
        (b"NRRD0004\ntype: uchar\n", FileError, "dimension is ''"),
        (header()[:60], FileError, "sizes has"),
        (header().rstrip(b"\n"), FileError, "truncated, ends within its header"),
        (header() + DATA[:50], FileError, "truncated, holds 50 of 64 bytes"),
        (header(encoding="gzip") + gzip.compress(DATA)[:20], FileError, "truncated|damaged"),
        (header(encoding="gzip") + b"nonsense", FileError, "compressed data are damaged"),
        (header(sizes="10000 10000 10000") + DATA, FileError, r"claims 10000×10000×10000 values \(1e\+12\)"),
        (header(sizes="4 0 4") + DATA, FileError, "needs at least one voxel"),
        (header(sizes="-4 4 4") + DATA, FileError, "sizes is '-4'"),
        (header(space_directions="(nan,0,0) (0,1,0) (0,0,1)") + DATA, FileError, "needs 3 finite numbers"),
        (header(space_directions="(1,0,0) (1,0,0) (0,0,1)") + DATA, FileError, "singular"),
        (
            header(space_directions="(.001,0,0) (0,.001,0) (0,0,.001)") + DATA,
            UnitsError,
            "voxel edge 0.001 mm",
        ),
        (
            header(space_directions="(1000,0,0) (0,1000,0) (0,0,1000)") + DATA,
            UnitsError,
            "voxel edge 1000 mm",
        ),
        (header(space="scanner-xyz") + DATA, FileError, "space 'scanner-xyz' is not read"),
        (header(type="block") + DATA, FileError, "type 'block' is not read"),
        (header(encoding="lzma") + DATA, FileError, "encoding 'lzma' is not read"),
        (header(data_file="/etc/passwd"), FileError, "outside its own folder"),
        (header(data_file="../x.raw"), FileError, "outside its own folder"),
        (header(data_file="LIST"), FileError, "several files"),
        (header() + bytes(64), EmptyStructureError, "only background"),
    ],
)
def test_bad_nrrd_is_refused_by_name(tmp_path: Path, content: bytes, error: type, message: str) -> None:
    path = tmp_path / "x.nrrd"
    path.write_bytes(content)
    with pytest.raises(error, match=message) as caught:
        read_labelmap(path, "pymskt")
    assert "\n" not in str(caught.value)
    assert ";" in str(caught.value), "a message ends with the way out"


def test_a_gzip_bomb_is_read_no_further_than_the_header_says(tmp_path: Path) -> None:
    path = tmp_path / "x.nrrd"
    path.write_bytes(header(encoding="gzip") + gzip.compress(DATA + bytes(50_000_000)))
    assert read_labelmap(path, "pymskt").counts == {1: 32}


@pytest.mark.parametrize("encoding", ["raw", "gzip", "ascii", "hex", "bzip2"])
def test_encodings_and_detached_headers(tmp_path: Path, encoding: str) -> None:
    import bz2

    data = {
        "raw": DATA, "gzip": gzip.compress(DATA), "bzip2": bz2.compress(DATA),
        "ascii": " ".join(map(str, DATA)).encode(), "hex": DATA.hex().encode(),
    }[encoding]  # fmt: skip
    (tmp_path / "x.nrrd").write_bytes(header(encoding=encoding) + data)
    assert read_labelmap(tmp_path / "x.nrrd", "pymskt").counts == {1: 32}
    (tmp_path / "x.bin").write_bytes(data)
    (tmp_path / "x.nhdr").write_bytes(header(encoding=encoding, data_file="x.bin"))
    assert read_labelmap(tmp_path / "x.nhdr", "pymskt").counts == {1: 32}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.full((3, 3, 3), 0.37, np.float32), "holds 0.37 .27 values not whole."),
        (np.full((3, 3, 3), np.nan, np.float32), "not finite"),
        (np.full((3, 3, 3), -2, np.int16), "holds -2, labels are 0 to 65535"),
        (np.full((3, 3, 3), 70000, np.int32), "holds 70000"),
    ],
)
def test_what_is_no_label_is_refused(tmp_path: Path, values: np.ndarray, message: str) -> None:
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), tmp_path / "x.nii")
    with pytest.raises(FileError, match=message):
        read_labelmap(tmp_path / "x.nii", "pymskt")


def test_whole_numbers_as_floats_are_labels(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(labels().astype(np.float64), np.eye(4)), tmp_path / "x.nii")
    assert read_labelmap(tmp_path / "x.nii", "pymskt").counts == {1: 18, 2: 18}


def nifti(**changes: tuple[int, bytes]) -> bytes:
    image = nibabel.Nifti1Image(labels().astype(np.uint8), np.eye(4))
    image.header.set_xyzt_units("mm")
    data = bytearray(image.to_bytes())
    for place, new in changes.values():
        data[place : place + len(new)] = new
    return bytes(data)


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (nifti()[:400], FileError, "truncated or damaged"),
        (nifti()[:100], FileError, "cannot be read as NIfTI"),
        (nifti(dim=(42, struct.pack("<3h", 30000, 30000, 30000))), FileError, "claims 30000×30000×30000"),
        (nifti(dim=(40, struct.pack("<h", 99))), FileError, "cannot be read as NIfTI|has size"),
        (nifti(sform=(280, struct.pack("<f", np.nan))), FileError, "not finite"),
        (nifti(sform=(280, struct.pack("<f", 0.0))), FileError, "singular"),
        (nifti(unit=(123, b"\x01")), UnitsError, "voxel edge 1000 mm"),
    ],
)
def test_bad_nifti_is_refused_by_name(tmp_path: Path, content: bytes, error: type, message: str) -> None:
    path = tmp_path / "x.nii"
    path.write_bytes(content)
    with pytest.raises(error, match=message) as caught:
        read_labelmap(path, "pymskt")
    assert "\n" not in str(caught.value)


def test_missing_folder_unknown_and_nameless_files(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"cannot be read .no such file"):
        read_labelmap(tmp_path / "none.nrrd", "pymskt")
    with pytest.raises(FileError, match="holds no DICOM file"):
        read_volume(tmp_path)
    (tmp_path / "x.txt").write_text("hello")
    with pytest.raises(FileError, match="no known image format"):
        read_volume(tmp_path / "x.txt")
    write_volume(tmp_path / "v.nrrd", Volume(affine=np.eye(4), values=np.ones((2, 2, 2), np.float32)))
    with pytest.raises(UsageError, match="carries no names for its labels; give --labels"):
        read_labelmap(tmp_path / "v.nrrd")
    with pytest.raises(UsageError, match="side is 'up'"):
        read_labelmap(tmp_path / "v.nrrd", "pymskt", "up")
    (tmp_path / "nan.mha").write_bytes(b"")
    with pytest.raises(FileError, match="is empty"):
        read_volume(tmp_path / "nan.mha")


def test_a_map_with_gaps_is_read_and_an_image_with_gaps_refused(tmp_path: Path) -> None:
    """NaN says "not measured" in a map; an image that is to be measured may not hold it, nothing infinity."""
    values = np.ones((3, 3, 3), np.float32)
    values[1, 1, 1] = np.nan
    for name in ("x.nii.gz", "x.nrrd", "x.mha"):
        write_volume(tmp_path / name, Volume(affine=np.eye(4), values=values))
        assert np.array_equal(read_volume(tmp_path / name).values, values, equal_nan=True)
        with pytest.raises(FileError, match="1 values are not finite"):
            read_volume(tmp_path / name, gaps=False)
    endless = np.where(np.isnan(values), np.float32(np.inf), values)
    write_volume(tmp_path / "y.nii", Volume(affine=np.eye(4), values=endless))
    with pytest.raises(FileError, match="1 values are not finite"):
        read_volume(tmp_path / "y.nii")
    nibabel.save(nibabel.Nifti1Image(np.full((2, 2, 2), 1e300), np.eye(4)), tmp_path / "z.nii")
    with pytest.raises(FileError, match="beyond 3e38"):
        read_volume(tmp_path / "z.nii")


def test_a_value_that_the_table_does_not_name_is_a_notice(tmp_path: Path, table: Path) -> None:
    given = labels()
    given[0, 0, 0] = 42
    write_labelmap(tmp_path / "x.nii", LabelMap(affine=np.eye(4), labels=given))
    back = read_labelmap(tmp_path / "x.nii", table)
    assert [n.code for n in back.notices] == ["unnamed-label"]
    assert "label 42 occurs (1 voxels)" in back.notices[0].message
    assert back.volume_ml("patella") == 0, "a table may name what does not occur"


def test_segments_overlap_and_keep_names_and_colours(tmp_path: Path) -> None:
    base = labels()
    mask = np.zeros(base.shape, bool)
    mask[2:5, 1:4, 1:4] = True
    given = LabelMap(
        affine=oblique(3), labels=base, names={1: "femur", 2: "tibia"}, overlaps={"synovial_fluid": mask}
    )
    write_labelmap(tmp_path / "x.seg.nrrd", given)
    back = read_labelmap(tmp_path / "x.seg.nrrd")
    assert set(back.structures) == {"femur", "tibia", "synovial_fluid"}
    for name in back.structures:
        assert np.array_equal(back.mask(name), given.mask(name)), name
        assert back.volume_ml(name) == pytest.approx(given.volume_ml(name))
    image = sitk.ReadImage(str(tmp_path / "x.seg.nrrd"))
    assert image.GetNumberOfComponentsPerPixel() == 2
    assert image.GetMetaData("Segment0_Name") == "femur"
    assert image.GetMetaData("Segment0_Color") == "0.941176 0.921569 0.870588"
    assert "SCT^71341001^Femur" in image.GetMetaData("Segment0_Tags")
    assert [image.GetMetaData(f"Segment{i}_Layer") for i in range(3)] == ["0", "0", "1"]
    assert image.GetMetaData("Segment0_Extent") == "0 6 0 5 0 4"


def test_label_values_that_repeat_across_layers_stay_apart(tmp_path: Path) -> None:
    from injectplan.imaging.nrrd import write_nrrd

    layers = np.zeros((4, 4, 4, 2), np.uint8)
    layers[:2, ..., 0] = 1
    layers[1:3, ..., 1] = 1
    keys = {}
    for n, name in enumerate(("Femur", "Tibia")):
        keys |= {f"Segment{n}_ID": name, f"Segment{n}_Name": name, f"Segment{n}_LabelValue": "1",
                 f"Segment{n}_Layer": str(n)}  # fmt: skip
    write_nrrd(tmp_path / "x.seg.nrrd", layers, np.eye(4), keys, component_kind="list")
    back = read_labelmap(tmp_path / "x.seg.nrrd")
    assert np.array_equal(back.mask("femur"), layers[..., 0] == 1)
    assert np.array_equal(back.mask("tibia"), layers[..., 1] == 1)
    with pytest.raises(FileError, match="repeat across layers"):
        read_labelmap(tmp_path / "x.seg.nrrd", "pymskt")
    keys["Segment1_Layer"] = "7"
    write_nrrd(tmp_path / "y.seg.nrrd", layers, np.eye(4), keys, component_kind="list")
    with pytest.raises(FileError, match="layer '7' of 2"):
        read_labelmap(tmp_path / "y.seg.nrrd")
