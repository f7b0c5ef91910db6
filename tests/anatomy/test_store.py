"""A joint is read back as it was written, the same bytes each time, or refused."""

from __future__ import annotations

import dataclasses
import filecmp
import json
import time

import nibabel
import numpy as np
import pytest

from injectplan.anatomy import load_joint, save_joint, store
from injectplan.anatomy.build import build_joint
from injectplan.anatomy.measures import model_document
from injectplan.anatomy.model import Cavity, Recess, Subject
from injectplan.anatomy.surfaces import surface_of_mask
from injectplan.anatomy.threeways import chord_volume_ml, voxel_volume_ml
from injectplan.errors import FileError
from injectplan.imaging import read_volume
from injectplan.imaging.values import LabelMap
from injectplan.kernels.field import Field
from oracles_anatomy import plain_axes, shell


@pytest.fixture(scope="module")
def joint():
    made = shell(18.0, 2.0, (0.8, 0.8, 0.9), seed=2)
    labels = (5 * made.bone + made.cartilage).astype(np.uint16)
    ball = surface_of_mask(made.cartilage, made.affine)
    field = Field(np.zeros(3), 1.0, np.linspace(-1, 1, 60, dtype=np.float32).reshape(3, 4, 5))
    recess = Recess(
        name="suprapatellar", center_mm=np.ones(3), normal=np.array([0.0, 1.0, 0.0]), volume_ml=2.0,
        thickness_mm=1.5, extent_mm=np.array([40.0, 30.0, 3.0]),
    )  # fmt: skip
    built = build_joint(
        LabelMap(affine=made.affine, labels=labels, names={1: "femoral_cartilage", 5: "femur"}),
        kind="knee", side="left", subject=Subject(bmi=27.0), parameters={"effusion_ml": 3.0},
    )  # fmt: skip
    return dataclasses.replace(
        built,
        cavity=Cavity(
            surface=ball, field=field, distension=field, recess_index=np.ones((3, 4, 5), np.uint8),
            recesses=(recess,), resting_volume_ml=7.0, source="completed", assumed=("resting volume",),
        ),
    )  # fmt: skip


@pytest.fixture
def saved(joint, tmp_path):
    save_joint(joint, tmp_path)
    return tmp_path


def same(a, b):
    if dataclasses.is_dataclass(a):
        return type(a) is type(b) and all(
            same(getattr(a, f.name), getattr(b, f.name))
            for f in dataclasses.fields(a)
            if f.name not in ("seconds", "labels_cache")
        )
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, tuple | list):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if hasattr(a, "items"):
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    return a == b or (a != a and b != b)


def test_a_joint_comes_back_bit_for_bit(joint, saved):
    started = time.perf_counter()
    loaded = load_joint(saved)
    assert time.perf_counter() - started < 1.0
    assert same(joint, loaded)
    assert loaded.seconds == {}


def test_what_is_met_twice_is_written_once_and_is_one_again(joint, saved):
    """A cavity stands among the structures too: its tree must not be built twice."""
    cavity = joint.structures["femoral_cartilage"].surface
    twice = dataclasses.replace(joint, cavity=dataclasses.replace(joint.cavity, surface=cavity))
    store.write_arrays(saved / "twice.npz", twice)
    loaded = store.read_arrays(saved / "twice.npz")
    assert same(twice, loaded)
    assert loaded.cavity.surface is loaded.structures["femoral_cartilage"].surface
    assert loaded.cavity.field.values is loaded.cavity.distension.values


@pytest.mark.parametrize("rest", [np.float32(np.inf), np.float32(np.nan), np.float32(-0.0), np.float32(3.0)])
def test_an_array_that_is_mostly_one_value_takes_little_room_and_keeps_every_bit(joint, tmp_path, rest):
    values = np.full((40, 50, 60), rest, np.float32)
    values[3:9, 4:20, 5:25] = np.linspace(-1, 1, 6 * 16 * 20, dtype=np.float32).reshape(6, 16, 20)
    values[3, 4, 5:8] = np.nan, -0.0, 0.0
    field = Field(np.zeros(3), 1.0, values)
    kept = dataclasses.replace(joint, cavity=dataclasses.replace(joint.cavity, field=field))
    store.write_arrays(tmp_path / "sparse.npz", kept)
    store.write_arrays(tmp_path / "dense.npz", joint)
    assert same(kept, store.read_arrays(tmp_path / "sparse.npz"))
    more = (tmp_path / "sparse.npz").stat().st_size - (tmp_path / "dense.npz").stat().st_size
    assert more < values.nbytes / 8


def test_a_joint_of_the_first_version_is_still_read(joint, tmp_path, monkeypatch):
    """It held every array whole."""
    monkeypatch.setattr(store, "VERSION", 1)
    monkeypatch.setattr(store, "LITTLE", 10**12)
    store.write_arrays(tmp_path / "first.npz", joint)
    monkeypatch.undo()
    assert same(joint, store.read_arrays(tmp_path / "first.npz"))


def test_the_same_joint_gives_the_same_bytes(joint, saved, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    save_joint(load_joint(saved), other)
    names = [p.relative_to(saved) for p in sorted(saved.rglob("*")) if p.is_file()]
    assert names == [p.relative_to(other) for p in sorted(other.rglob("*")) if p.is_file()]
    for name in names:
        if name.name == "model.json":
            one, two = (json.loads((folder / name).read_text()) for folder in (saved, other))
            one.pop("seconds"), two.pop("seconds")
            assert one == two
        else:
            assert filecmp.cmp(saved / name, other / name, shallow=False), name


def test_the_names_of_the_contract_are_there(joint, saved):
    for name in ("model.json", "labels.nrrd", "surfaces/femur.vtp", "thickness_femoral_cartilage.nii.gz"):
        assert (saved / name).is_file()
    image = nibabel.load(saved / "thickness_femoral_cartilage.nii.gz")
    own = read_volume(saved / "thickness_femoral_cartilage.nii.gz")
    assert np.array_equal(own.values, np.asarray(image.dataobj), equal_nan=True)
    assert np.isnan(own.values).any()
    assert image.shape == joint.input_shape
    assert image.affine == pytest.approx(joint.input_affine, abs=1e-4)
    assert np.nanmean(np.asarray(image.dataobj)) == pytest.approx(2.0, abs=0.1)


@pytest.mark.parametrize("name", ["joint.npz", "labels.nrrd", "surfaces/femur.vtp", "joint.sha256"])
@pytest.mark.parametrize("harm", ["cut", "edited", "gone"])
def test_a_harmed_joint_is_refused(saved, name, harm):
    path = saved / name
    data = path.read_bytes()
    if harm == "gone":
        path.unlink()
    elif harm == "cut":
        path.write_bytes(data[: len(data) // 2])
    else:
        middle = len(data) // 2
        path.write_bytes(data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])
    with pytest.raises(FileError) as caught:
        load_joint(saved)
    assert "\n" not in str(caught.value)


def test_a_folder_that_holds_no_joint_is_refused(tmp_path):
    with pytest.raises(FileError, match="not a saved joint"):
        load_joint(tmp_path)
    with pytest.raises(FileError):
        load_joint(tmp_path / "nothing")


def test_the_document_holds_no_nan_and_what_the_contract_names(joint):
    document = model_document(joint)
    json.dumps(document, allow_nan=False)
    bone = document["structures"]["femur"]
    assert bone["closed"]
    assert bone["manifold"]
    assert bone["source"] == "segmented"
    assert bone["label"] == 5
    assert bone["mesh_volume_ml"] == pytest.approx(bone["voxel_volume_ml"], rel=1e-3)
    assert set(document["cavity"]) >= {"voxel_volume_ml", "mesh_volume_ml", "ray_volume_ml", "recesses"}
    assert set(document["seconds"]) >= {"surfaces", "thickness", "completion", "total"}


def test_three_ways_to_a_cavity_s_volume_agree():
    """A thin shell, which is as hard as a slit: within 0.5 % of each other and 1 % of the closed form."""
    made = shell(15.0, 1.5, (0.5, 0.5, 0.5), seed=4)
    surface = surface_of_mask(made.cartilage, made.affine)
    ways = [surface.volume_ml, chord_volume_ml(surface), voxel_volume_ml(surface)]
    assert max(ways) / min(ways) - 1.0 < 0.005
    assert ways == pytest.approx([made.cartilage_ml] * 3, rel=0.01)
    assert plain_axes().side == "right"
