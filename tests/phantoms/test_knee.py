"""The parametric knee holds what its truth says, on any grid and on both sides."""

from __future__ import annotations

import json

import numpy as np
import pytest

from injectplan.errors import UsageError
from injectplan.imaging.volumes import read_labelmap
from injectplan.kernels.bvh import nearest_points
from injectplan.phantoms import export_phantom, make_phantom

COARSE = {"spacing_mm": 1.0, "slice_mm": 1.0}
WHOLE = {**COARSE, "effusion_ml": 12.0, "flexion_deg": 20.0, "defect": "ocd"}


@pytest.fixture(scope="module")
def knee():
    return make_phantom("knee", WHOLE)


@pytest.fixture(scope="module")
def straight():
    return make_phantom("knee", {**COARSE, "varus_deg": 8.0})


def voxel_ml(phantom, structure):
    return float(phantom.labelmap.mask(structure).sum()) * phantom.labelmap.voxel_volume_mm3 / 1000.0


def test_left_is_the_mirror_image_of_right(knee):
    left = make_phantom("knee", {**WHOLE, "side": "left"})
    assert np.array_equal(left.labelmap.labels, knee.labelmap.labels)
    mirror = np.diag([-1.0, 1.0, 1.0, 1.0])
    assert left.labelmap.affine == pytest.approx(mirror @ knee.labelmap.affine)
    for name, surface in knee.surfaces.items():
        assert left.surfaces[name].volume_ml == pytest.approx(surface.volume_ml, rel=1e-9)


def test_bones_have_the_published_dimensions(straight):
    def extent(name, low, high, axis):
        vertices = straight.surfaces[name].vertices_mm
        part = vertices[(vertices[:, 2] > low) & (vertices[:, 2] < high)]
        return np.ptp(part[:, axis])

    assert 72.5 - 3.5 < extent("femur", 15, 45, 0) < 82.7 + 4.0  # epicondylar width, female to male
    assert 54.5 - 3.6 < extent("femur", 0, 60, 1) < 64.7 + 4.5 + 4  # condylar depth with the trochlea
    assert 73.5 - 5.6 < extent("tibia", -12, -4, 0) < 73.5 + 5.6
    assert 47.3 - 3.8 < extent("tibia", -12, -4, 1) < 47.3 + 3.8 + 3
    patella = np.ptp(straight.surfaces["patella"].vertices_mm, axis=0)
    assert patella == pytest.approx([44.8, 22.4, 40.0], abs=4.8)
    lowest = straight.surfaces["patella"].bounds_mm[0, 2]
    assert 10 <= lowest <= 20  # lower pole above the joint line in extension


def test_shafts_run_on_past_the_scan(straight):
    labels = straight.labelmap
    for bone, direction in (("femur", 1.0), ("tibia", -1.0)):
        where = labels.to_patient(np.argwhere(labels.mask(bone)))[:, 2] * direction
        assert where.max() > 140.0
    edge = labels.labels[:, [0, -1], :]
    assert set(np.unique(edge)) >= {5, 6}


def test_cartilage_is_exactly_as_thick_as_stated(straight):
    """From points of the zone's middle the outer sheet lies at the stated distance along the normal."""
    cartilage, femur = straight.surfaces["femoral_cartilage"], straight.surfaces["femur"]
    distance, _, _ = nearest_points(femur.bvh, cartilage.vertices_mm)
    assert distance.max() == pytest.approx(2.4, abs=0.01)
    outer = cartilage.vertices_mm[distance > 0.05]
    x, y, z = outer.T
    crest = (np.abs(x + 23) < 3) & (z < 3) & (y < -12) & (y > -22)
    assert crest.sum() > 10
    assert nearest_points(femur.bvh, outer[crest])[0] == pytest.approx(2.0, abs=0.01)
    trochlea = (np.abs(x) < 5) & (y > 18) & (np.abs(z - 32) < 4)
    assert np.median(nearest_points(femur.bvh, outer[trochlea])[0]) == pytest.approx(2.4, abs=0.01)


def test_voxels_hold_the_cartilages_volume():
    phantom = make_phantom("knee", {"shaft_mm": 40.0})
    for name in ("femoral_cartilage", "medial_tibial_cartilage", "patellar_cartilage"):
        truth = phantom.truth[f"{name}_volume_ml"]["value"]
        assert voxel_ml(phantom, name) == pytest.approx(truth, rel=0.01)
    assert voxel_ml(phantom, "patella") == pytest.approx(phantom.surfaces["patella"].volume_ml, rel=0.003)


def test_another_grid_shows_the_same_knee(knee):
    turned = make_phantom("knee", {**WHOLE, "oblique_deg": 30.0})
    for name in ("patella", "femoral_cartilage", "medial_meniscus", "synovial_fluid"):
        assert voxel_ml(turned, name) == pytest.approx(voxel_ml(knee, name), rel=0.03)


def test_effusion_fills_to_the_stated_volume(knee):
    assert voxel_ml(knee, "synovial_fluid") == pytest.approx(12.0, abs=0.001)
    assert voxel_ml(make_phantom("knee", {**COARSE, "effusion_ml": 60.0}), "synovial_fluid") == pytest.approx(
        60
    )
    assert voxel_ml(make_phantom("knee", COARSE), "synovial_fluid") == 0


def test_varus_bends_the_tibia_towards_the_midline(straight):
    truth = straight.truth
    assert truth["hka_deg"]["value"] == pytest.approx(172.0)
    vertices = straight.surfaces["tibia"].vertices_mm
    high = vertices[(vertices[:, 2] < -95) & (vertices[:, 2] > -100)].mean(axis=0)
    low = vertices[(vertices[:, 2] < -135) & (vertices[:, 2] > -140)].mean(axis=0)
    lean = np.degrees(np.arctan2(high[0] - low[0], high[2] - low[2]))
    assert lean == pytest.approx(8.0 + 2.5, abs=0.7)  # the right knee's midline lies towards -x
    f, t = (np.array(truth[f"{n}_mechanical_axis"]["value"]) for n in ("femoral", "tibial"))
    assert np.degrees(np.arccos(f @ t)) == pytest.approx(8.0, abs=1e-6)


def test_flexion_turns_the_tibia_back(knee):
    axis = np.array(knee.truth["tibial_mechanical_axis"]["value"])
    assert np.degrees(np.arctan2(axis[1], axis[2])) == pytest.approx(20.0, abs=0.1)


def test_defect_lies_on_the_medial_condyle(knee):
    lesion = knee.labelmap.to_patient(np.argwhere(knee.labelmap.mask("femoral_lesion")))
    center = lesion.mean(axis=0)
    assert center[0] < -15
    assert center[2] < 10
    assert voxel_ml(knee, "femoral_lesion") == pytest.approx(2 / 3 * np.pi * 9 * 6.5 * 4 / 1000, rel=0.25)
    whole = make_phantom("knee", {**WHOLE, "defect": "none"})
    lost = voxel_ml(whole, "femoral_cartilage") - voxel_ml(knee, "femoral_cartilage")
    assert lost == pytest.approx(knee.truth["defect_area_mm2"]["value"] * 2.0 / 1000, rel=0.12)


def test_structures_do_not_press_into_each_other(straight):
    """Cartilages come near but never meet; menisci lie between femur and tibia."""
    a, b = straight.surfaces["femoral_cartilage"], straight.surfaces["medial_tibial_cartilage"]
    gap = nearest_points(a.bvh, b.vertices_mm)[0].min()
    assert 0.2 < gap < 1.0
    for side in ("medial", "lateral"):
        assert 1.5 < voxel_ml(straight, f"{side}_meniscus") < 4.5
    surfaces = straight.surfaces
    assert all(s.closed for s in surfaces.values())


def test_size_scales_lengths_but_not_cartilage():
    big = make_phantom("knee", {**COARSE, "size": 1.15})
    assert np.ptp(big.surfaces["patella"].vertices_mm[:, 0]) == pytest.approx(1.15 * 44.8, abs=0.6)
    assert big.truth["trochlea_thickness_mm"]["value"] == pytest.approx(2.4)


def test_export_is_read_back(knee, tmp_path):
    export_phantom(knee, tmp_path)
    back = read_labelmap(tmp_path / "labels.nrrd", str(tmp_path / "labels.toml"), "right")
    assert np.array_equal(back.labels, knee.labelmap.labels)
    assert back.affine == pytest.approx(knee.labelmap.affine, abs=1e-6)
    assert json.loads((tmp_path / "truth.json").read_text())["hka_deg"]["value"] == 180.0
    assert (tmp_path / "surfaces" / "femoral_cartilage.ply").stat().st_size > 1000


def test_mistakes_are_named():
    with pytest.raises(UsageError, match="did you mean effusion_ml"):
        make_phantom("knee", {"effusion": 3.0})
    with pytest.raises(UsageError, match="none, ocd"):
        make_phantom("knee", {"defect": "hole"})
