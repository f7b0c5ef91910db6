"""Osteochondritis dissecans of the femoral condyle and the talar dome: what is measured against the truth."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from injectplan.anatomy.build import map_all_cartilage, structures_of
from injectplan.anatomy.defects import find_defects
from injectplan.anatomy.zones import mapped_joint
from injectplan.phantoms import make_phantom
from oracles_anatomy import deepest_of, worn_away

# A sheet's rim lies within 0.15 mm of the true one: a hole of radii a and b measures up to this much smaller.
RIM_MM = 0.15
# Area and volume of a loss 4 mm or more inside the cartilage's edge, where none or over a voxel is left.
WITHIN = 0.10


def found_in(kind, **parameters):
    phantom = make_phantom(kind, {"defect": "ocd", **parameters})
    joint = mapped_joint(phantom.labelmap, kind, phantom.side)
    defects = find_defects(joint.structures, joint.cartilage, joint.axes)
    truth = {name: entry["value"] for name, entry in phantom.truth.items()}
    return defects, truth, joint


def lost_ml(kind, parameters):
    """What the phantom's cartilage holds less than one without the defect, counted."""
    cartilage = "femoral_cartilage" if kind == "knee" else "talar_cartilage"
    whole = {name: value for name, value in parameters.items() if not name.startswith("defect")}
    counted = [make_phantom(kind, p).labelmap.volume_ml(cartilage)
               for p in (whole, {"defect": "ocd", **parameters})]  # fmt: skip
    return counted[0] - counted[1]


def smaller(a, b):
    return (1 - RIM_MM / a) * (1 - RIM_MM / b)


@pytest.mark.parametrize(
    ("kind", "radii_mm", "zone", "parameters"),
    [
        ("knee", (9.0, 6.5), "medial_central", {}),
        ("ankle", (4.0, 3.05), "zone_4", {}),
        ("ankle", (5.0, 4.0), "zone_6", {"defect_zone": "lateral", "defect_ap_mm": 10.0, "defect_ml_mm": 8.0,
                                         "side": "left"}),
    ],
)  # fmt: skip
def test_a_loose_piece_is_one_finding_by_its_label_and_by_the_bare_bone(kind, radii_mm, zone, parameters):
    defects, truth, joint = found_in(kind, **parameters)
    (lesion,) = [d for d in defects if d.source == "label"]
    (bare,) = [d for d in defects if d.source == "thickness"]
    assert {lesion.zone, bare.zone} == {zone}
    assert truth["defect_icrs_grade"] == 4.0
    assert lesion.grade == "4"
    assert bare.grade == "4"  # the lesion under it tells of the broken bone plate, which thickness does not
    assert lesion.finding == bare.finding == 1
    assert lesion.depth_mm == pytest.approx(truth["lesion_depth_mm"], abs=0.15)
    assert lesion.area_mm2 == pytest.approx(truth["defect_bone_area_mm2"], rel=0.05)
    least = smaller(*radii_mm) * truth["defect_area_mm2"]
    assert 0.97 * least <= bare.area_mm2 <= 1.1 * truth["defect_area_mm2"]
    thickness = truth["medial_condyle_thickness_mm" if kind == "knee" else "talar_thickness_mm"]
    assert bare.depth_mm == pytest.approx(thickness, abs=0.2)
    measured = joint.cartilage["femoral_cartilage" if kind == "knee" else "talar_cartilage"]
    assert bare.structure == measured.name
    assert bare.volume_ml == pytest.approx(lost_ml(kind, parameters), rel=WITHIN)


def test_worn_cartilage_without_a_bed_is_found_by_its_thickness():
    defects, truth, _ = found_in(
        "knee", defect_depth_mm=0.0, defect_cartilage_lost=0.7, cartilage_scale=1.3, defect_ap_mm=10.0,
        defect_ml_mm=8.0,
    )  # fmt: skip
    assert truth["defect_icrs_grade"] == 3.0
    (worn,) = defects
    assert worn.grade == "3"
    assert worn.zone == "medial_central"
    assert worn.depth_mm == pytest.approx(truth["defect_depth_mm"], abs=0.25)
    # its medial edge lies 3 mm inside the cartilage's, where thinning and wear cannot be told apart
    assert 0.7 * truth["defect_area_mm2"] < worn.area_mm2 < 1.05 * truth["defect_area_mm2"]
    volume = truth["defect_area_mm2"] * truth["defect_depth_mm"] / 1000.0
    assert 0.6 * volume < worn.volume_ml < 1.05 * volume


@pytest.mark.parametrize("radii_mm", [(7.0, 5.0), (13.0, 6.0)])
def test_a_worn_patch_inside_the_cartilage_has_its_area_and_volume(radii_mm):
    taken = {"defect_depth_mm": 0.0, "defect_cartilage_lost": 0.65, "cartilage_scale": 1.3,
                 "defect_ap_mm": radii_mm[0], "defect_ml_mm": radii_mm[1]}  # fmt: skip
    (worn,), truth, _ = found_in("knee", **taken)
    assert worn.area_mm2 == pytest.approx(truth["defect_area_mm2"], rel=WITHIN)
    assert worn.volume_ml == pytest.approx(lost_ml("knee", taken), rel=WITHIN)
    assert worn.grade == "3"


@functools.cache
def whole_joint(kind, scale):
    phantom = make_phantom(kind, {"cartilage_scale": scale} if kind == "knee" else {})
    return phantom.labelmap, mapped_joint(phantom.labelmap, kind, phantom.side)


@pytest.mark.parametrize(
    ("kind", "name", "zone", "radii_mm", "lost", "scale"),
    [
        ("knee", "femoral_cartilage", "medial_central", (5.0, 4.0), 0.45, 1.0),
        ("knee", "femoral_cartilage", "lateral_central", (9.0, 6.5), 0.65, 1.3),
        ("knee", "femoral_cartilage", "medial_posterior", (7.0, 5.0), 0.45, 1.0),
        ("knee", "femoral_cartilage", "medial_trochlea", (9.0, 6.5), 0.65, 1.3),
        ("knee", "femoral_cartilage", "lateral_trochlea", (7.0, 5.0), 1.0, 1.0),
        ("knee", "medial_tibial_cartilage", "medial_central", (5.0, 4.0), 0.65, 1.3),
        ("knee", "lateral_tibial_cartilage", "lateral_central", (7.0, 5.0), 0.65, 1.0),
        ("knee", "patellar_cartilage", "medial_facet", (5.0, 4.0), 0.45, 1.3),
        ("knee", "patellar_cartilage", "lateral_facet", (7.0, 5.0), 1.0, 1.0),
        ("ankle", "talar_cartilage", "zone_5", (5.0, 4.0), 1.0, 1.0),
        ("ankle", "talar_cartilage", "zone_6", (4.0, 3.0), 1.0, 1.0),
    ],
)
def test_losses_of_every_joint_surface_have_their_area_and_volume(kind, name, zone, radii_mm, lost, scale):
    """An ellipse carved out of whole cartilage, against the voxels carved and the bone under it."""
    labelmap, joint = whole_joint(kind, scale)
    measured = joint.cartilage[name]
    bone = joint.structures[measured.bone].surface
    center = deepest_of(measured, bone, zone)
    worn, carved_ml, area_mm2 = worn_away(labelmap, measured, bone, center, radii_mm, lost, joint.axes)
    structures = structures_of(worn)
    (found,) = find_defects(structures, map_all_cartilage(structures, joint.axes)[0], joint.axes)
    assert np.linalg.norm(found.center_mm - center) < 1.0
    assert found.area_mm2 == pytest.approx(area_mm2, rel=WITHIN)
    assert found.volume_ml == pytest.approx(carved_ml, rel=WITHIN)
    assert found.grade == ("2" if lost < 0.5 else "3")


@pytest.mark.parametrize("scale", [1.0, 1.3])
def test_a_loss_of_40_percent_is_found_as_grade_2(scale):
    taken = {"defect_depth_mm": 0.0, "defect_cartilage_lost": 0.4, "cartilage_scale": scale}
    (worn,), truth, _ = found_in("knee", **taken)
    assert worn.grade == "2"
    assert truth["defect_icrs_grade"] == 2.0
    assert worn.depth_mm == pytest.approx(truth["defect_depth_mm"], abs=0.15)
    # its medial edge lies within 3 mm of the cartilage's, where thinning and wear cannot be told apart
    assert 0.7 * truth["defect_area_mm2"] < worn.area_mm2 < 1.05 * truth["defect_area_mm2"]
    assert 0.75 * lost_ml("knee", taken) < worn.volume_ml < 1.05 * lost_ml("knee", taken)


def test_a_quarter_lost_is_not_looked_for():
    defects, _, _ = found_in("knee", defect_depth_mm=0.0, defect_cartilage_lost=0.25, cartilage_scale=1.3)
    assert defects == ()


@pytest.mark.parametrize("kind", ["knee", "hip", "ankle"])
def test_a_whole_joint_has_no_defect(kind):
    phantom = make_phantom(kind)
    joint = mapped_joint(phantom.labelmap, kind, "right")
    assert find_defects(joint.structures, joint.cartilage, joint.axes) == ()
