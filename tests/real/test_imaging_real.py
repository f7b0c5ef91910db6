"""Imaging on real files: every format sample reads or is refused with the reason."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from injectplan.anatomy.plausibility import check_labels
from injectplan.anatomy.t2 import fit_t2
from injectplan.errors import ContradictionError, FileError, UnitsError
from injectplan.imaging.surfaces import read_surface, read_surfaces
from injectplan.imaging.values import LabelMap
from injectplan.imaging.volumes import read_labelmap, read_volume, write_labelmap

pytestmark = pytest.mark.real
KNEE = "knee_dess/SAG_3D_DESS_RIGHT_bones_cart_men_fib-label.nrrd"
ECHOES_MS = tuple(6.312 * n for n in range(1, 9))


def test_the_real_knee_is_read_as_others_read_it(real_data: Path) -> None:
    knee = read_labelmap(real_data / KNEE, "pymskt", "right")
    image = sitk.ReadImage(str(real_data / KNEE))
    assert np.array_equal(knee.labels, sitk.GetArrayFromImage(image).T)
    for index in ((0, 0, 0), (383, 383, 159), (100, 17, 90)):
        lps = np.array(image.TransformIndexToPhysicalPoint(index))
        assert np.allclose(knee.to_patient(index), lps * [-1, -1, 1], atol=1e-6)
    volumes = {
        "femoral_cartilage": 11.85, "medial_tibial_cartilage": 1.92, "lateral_tibial_cartilage": 1.85,
        "patellar_cartilage": 1.18, "femur": 142.56, "tibia": 101.39, "patella": 13.36, "fibula": 10.39,
        "lateral_meniscus": 2.14, "medial_meniscus": 2.35,
    }  # fmt: skip
    assert {name: round(knee.volume_ml(name), 2) for name in knee.structures} == volumes


@pytest.mark.parametrize("suffix", ["nii.gz", "nrrd", "seg.nrrd", "mha"])
def test_the_real_oblique_affine_survives(real_data: Path, tmp_path: Path, suffix: str) -> None:
    knee = read_labelmap(real_data / KNEE, "pymskt", "right")
    write_labelmap(tmp_path / f"x.{suffix}", knee)
    back = read_labelmap(tmp_path / f"x.{suffix}", None if suffix.endswith("nrrd") else "pymskt", "right")
    corners = np.array([[i, j, k] for i in (0, 383) for j in (0, 383) for k in (0, 159)])
    assert np.abs(back.to_patient(corners) - knee.to_patient(corners)).max() < 1e-4
    assert np.array_equal(back.labels, knee.labels)
    assert {n: back.volume_ml(n) for n in back.structures} == {
        n: pytest.approx(knee.volume_ml(n), rel=1e-6) for n in knee.structures
    }


def test_the_real_knee_is_plausible_and_its_contradictions_are_not(real_data: Path) -> None:
    knee = read_labelmap(real_data / KNEE, "pymskt", "right")
    began = time.process_time()
    assert check_labels(knee, "knee", "right", ["femur", "tibia"]) == ()
    assert time.process_time() - began < 4.0
    with pytest.raises(ContradictionError, match=r"is a right one by fibula.*the side given is left"):
        check_labels(knee, "knee", "left")
    mirrored = LabelMap(affine=knee.affine, labels=knee.labels[:, :, ::-1], names=knee.names)
    assert check_labels(mirrored, "knee", "left") == ()
    with pytest.raises(ContradictionError, match="is a left one"):
        check_labels(mirrored, "knee", "right")
    swapped = read_labelmap(real_data / "knee_dess/test_seg_men_split.nrrd", "pymskt", "right")
    with pytest.raises(ContradictionError, match="medial_meniscus and lateral_meniscus are swapped"):
        check_labels(swapped, "knee", "right")
    for table in ("oai-zib", "oaizib-cm", "skm-tea", "oai-lesions"):
        with pytest.raises(ContradictionError, match="check --labels"):
            check_labels(read_labelmap(real_data / KNEE, table, "right"), "knee", "right")


def test_multi_echo_t2_agrees_with_the_published_count(real_data: Path) -> None:
    volume = read_volume(real_data / "knee_t2/MESE_8echo_deid.nrrd")
    seconds = []
    for _ in range(2):
        began = time.process_time()
        found = fit_t2(volume, ECHOES_MS)
        seconds.append(time.process_time() - began)
    assert found.overall.n == 486_086
    assert found.overall.mean_ms == pytest.approx(46.690, abs=0.001)
    assert found.overall.median_ms == pytest.approx(36.619, abs=0.001)
    assert found.overall.n + sum(found.overall.rejected.values()) == 256 * 256 * 24
    assert 256 * 256 * 24 - found.overall.rejected["no signal"] == 1_244_258
    assert min(seconds) < 2.0


def test_every_format_sample_reads_or_is_refused_with_the_reason(real_data: Path) -> None:
    formats = real_data / "formats"
    plain = read_labelmap(formats / "segnrrd/Segmentation.seg.nrrd")
    overlap = read_labelmap(formats / "segnrrd/SegmentationOverlapping.seg.nrrd")
    assert sorted(plain.counts) == list(range(1, 8))
    assert len(plain.notices) == 7
    assert overlap.labels.shape == (128, 128, 34)
    assert read_volume(formats / "segnrrd/CTChest4.nrrd").values.min() == -3024
    total = read_labelmap(formats / "other/example_seg.nii.gz", "totalsegmentator", "left")
    assert total.notices == (), "every value of its table is known"
    assert read_volume(formats / "other/example_mr_sm.nii.gz").values.shape == (117, 91, 20)
    knee = read_volume(formats / "other/DICOM_KNEE.dcm")
    assert knee.values.shape == (512, 512, 1)
    assert np.allclose(knee.to_patient([0, 0, 0]), [14.5101, 142.14, 84.7851])
    ct = read_volume(formats / "dicomseg/ct_image.dcm")
    assert np.allclose(ct.to_patient([0, 0, 0]), [158.135803, 179.035797, -75.699997])
    for name, count in (("binary", 638), ("binary_fractional", 638), ("true_fractional", 638)):
        seg = read_labelmap(formats / f"dicomseg/seg_image_ct_{name}.dcm")
        assert seg.counts[1] == count
        assert bool([n for n in seg.notices if n.code == "fractional-labels"]) == ("fractional" in name)
    assert read_labelmap(formats / "dicomseg/seg_image_ct_binary_overlap.dcm").counts
    with pytest.raises(FileError, match="segmentation of a slide, not of a body"):
        read_labelmap(formats / "dicomseg/seg_image_sm_control_labelmap.dcm")


def test_surfaces_in_their_several_units(real_data: Path) -> None:
    leg = {
        "femur": "femur_r",
        "tibia": "tibia_r",
        "talus": "talus_r",
        "hip_bone": "hip_r",
        "patella": "patella_r",
    }
    ct = read_surfaces({n: real_data / f"leg_vsd_z027/{f}.ply" for n, f in leg.items()}, frame="LPS")
    assert ct.mm_per_unit == 1.0
    assert all(s.closed and s.manifold and s.volume_ml > 0 for s in ct.surfaces.values())
    femur, patella = ct.surfaces["femur"].vertices_mm, ct.surfaces["patella"].vertices_mm.mean(axis=0)
    near = femur[np.linalg.norm(femur - patella, axis=1) < 60].mean(axis=0)
    assert patella[1] > near[1] + 20, "the kneecap is in front in RAS"
    model = read_surfaces({n: real_data / f"leg_myo_sim/r_{n}.stl" for n in ("femur", "tibia", "patella")})
    assert model.mm_per_unit == 1000.0
    atlas = {"femur": "femur_r__FJ3365", "tibia": "tibia_r__FJ3387", "hip_bone": "hip_bone_r__FJ3152",
             "femoral_artery": "femoral_artery_r__FJ2143"}  # fmt: skip
    man = read_surfaces({n: real_data / f"atlas_bodyparts3d/{f}.obj" for n, f in atlas.items()}, frame="LPS")
    assert man.mm_per_unit == pytest.approx(200.0, rel=0.03)
    assert [n.code for n in man.notices] == ["units-assumed"]
    with pytest.raises(UnitsError, match=r"femur is 0.4532 mm long in units 'mm'"):
        read_surface(real_data / "leg_myo_sim/r_femur.stl", units="mm", structure="femur")
    mesh = read_surface(real_data / "knee_meshes/femur_thickness_mm_10k_pts.vtk", structure="femur")
    assert len(mesh.vertices_mm) == 10_000


def test_every_surface_sample_reads(real_data: Path) -> None:
    files = [p for s in ("stl", "ply", "obj", "vtk") for p in sorted(real_data.rglob(f"*.{s}"))]
    assert len(files) > 60
    for path in files:
        surface = read_surface(path, units=1.0, structure="any") if "vsd" in path.parts[-2] else None
        if surface is None:
            from injectplan.imaging.meshes import read_mesh

            vertices, triangles = read_mesh(path)
            assert len(vertices)
            assert len(triangles)
