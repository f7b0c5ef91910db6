"""Filling, settling and dose histograms: balances, closed forms, monotonicity."""

from __future__ import annotations

from dataclasses import replace

import jsonschema
import numpy as np
import pytest
import trimesh

from injectplan.anatomy.model import Defect, FillState
from injectplan.documents import json_schema
from injectplan.frames import Pose
from injectplan.imaging.values import Surface
from injectplan.injection import dose as room
from injectplan.injection import dose_document, estimate_dose
from injectplan.injection.compliance import COMPLIANCE, KPA_PER_MMHG
from injectplan.instruments import Injectate, Needle
from injectplan.kernels.spread import column_heights, columns_over
from injectplan.planning.values import HitProbability, Trajectory, UltrasoundView
from oracles_planning import cavity_of, joint_of, structure, surface_of

CELLS = Injectate(kind="cell suspension", volume_ml=4.0, flow_ml_s=0.2, cells_million=40.0)


def box(center, extents, divisions=4) -> Surface:
    mesh = trimesh.creation.box(extents)
    for _ in range(divisions):
        mesh = mesh.subdivide()
    mesh.apply_translation(center)
    return surface_of(mesh)


def tray(defects=(), area=40.0, height=2.5):
    """A flat cartilage of area×area mm under a slab of fluid of the same footprint; up is +A."""
    plate = box((0, -1, 0), (area, 2, area), 5)
    bone = box((0, -3.0, 0), (area, 2, area), 2)
    cavity = cavity_of(box((0, height / 2, 0), (area, height, area), 2), spacing=1.0)
    parts = [
        structure("skin", box((0, 0, 0), (120, 120, 120), 0), "none", "skin", 10),
        structure("femoral_cartilage", plate, "cartilage", "cartilage", 85),
        structure("femur", bone, "bone", "cortical_bone", 90),
    ]
    return replace(joint_of(parts, cavity), defects=tuple(defects))


def slab_filler(area=40.0, leak=0.0):
    """Fill the tray's slab evenly: height = volume/area."""

    def fill(cavity, volume_ml, tip_mm):
        kept = volume_ml * (1 - leak)
        height = kept * 1000.0 / area**2
        fluid = box((0, height / 2, 0), (area, height, area), 3)
        return FillState(
            injected_ml=volume_ml, in_cavity_ml=kept, leaked_ml=volume_ml * leak, fluid=fluid,
            recess_ml={"suprapatellar_recess": kept},
        )  # fmt: skip

    return fill


def some_trajectory() -> Trajectory:
    view = UltrasoundView(
        probe_to_patient=Pose.identity(), beam_needle_angle_deg=60.0, out_of_plane_mm=0.0,
        window_fraction=1.0, depth_mm=20.0, visibility=1.0,
    )  # fmt: skip
    return Trajectory(
        rank=1, approach="any", technique="in-plane", entry_mm=np.array([0.0, 30.0, 0.0]),
        tip_mm=np.array([0.0, 1.0, 0.0]), length_mm=29.0, skin_angle_deg=60.0, clearance_mm={}, margins={},
        recess="suprapatellar_recess",
        hit_probability=HitProbability(value=1, low=1, high=1, with_feedback=1),
        touch_probability={}, ultrasound=view, objectives={}, rechecked=True,
    )  # fmt: skip


def test_stokes_speed_of_the_facts():
    v = room.settling_speed_mm_s(1.0) * 1000  # µm/s at 17.5 µm
    assert v == pytest.approx(6.7 * (17.5 / 15) ** 2, rel=0.01)
    assert room.settling_speed_mm_s(100.0) == pytest.approx(v / 1000 / 100)


def test_settled_fraction_of_a_still_slab():
    assert room.settled_fraction(4.0, 0.01, 200.0) == pytest.approx(0.5)
    assert room.settled_fraction(np.array([4.0, 1.0, 0.0]), 0.01, 400.0) == pytest.approx([1.0, 1.0, 0.0])


def test_histogram_of_a_linear_ramp():
    n = 20_000
    dose = (np.arange(n) + 0.5) / n * 8.0
    h = room.histogram(dose, np.full(n, 2.0))
    levels = np.asarray(h["cells_per_cm2"])
    assert np.allclose(h["area_fraction"], 1 - levels / 8.0, atol=1e-3)
    assert h["d50"] == pytest.approx(4.0, abs=1e-3)
    assert h["d95"] == pytest.approx(0.4, abs=1e-3)
    assert h["d2"] == pytest.approx(7.84, abs=1e-3)
    assert h["area_cm2"] == pytest.approx(n * 2 / 100)


def test_histogram_weighs_by_area_and_takes_a_uniform_dose():
    h = room.histogram(np.array([1.0, 3.0]), np.array([90.0, 10.0]))
    assert (h["d95"], h["d50"], h["d2"]) == (1.0, 1.0, 3.0)
    uniform = room.histogram(np.full(7, 5.0), np.arange(1.0, 8.0))
    assert np.all(np.asarray(uniform["area_fraction"]) == 1.0)
    assert uniform["d2"] == uniform["d95"] == 5.0


def test_columns_of_a_slab():
    fluid = box((0, 3, 0), (20, 6, 20), 2)
    heights = column_heights(
        fluid.bvh, np.array([[1.3, -5.0, 2.1], [30.0, -5.0, 0.0]]), np.array([0, 1.0, 0])
    )
    assert heights == pytest.approx([6.0])
    over = columns_over(
        fluid.bvh,
        np.array([[1.3, 0.2, 2.1], [1.3, -1.2, 2.1], [1.3, -2.0, 2.1], [1.3, 7.0, 2.1]]),
        np.array([0, 1.0, 0]),
    )
    assert over == pytest.approx([5.8, 6.0, 0.0, 0.0])


def test_still_slab_over_flat_cartilage_has_the_closed_form():
    joint = tray()
    dose = estimate_dose(some_trajectory(), joint, CELLS, Needle(), fill=slab_filler())
    height = 4000.0 / 40.0**2  # 2.5 mm: less than a cell falls in 10 min, so all settle
    speed = room.settling_speed_mm_s(CELLS.viscosity_mpa_s)
    assert speed * room.REST_S > height
    # the outermost columns rest on the plate's rim vertices, whose normals slope
    assert dose.cells["on_cartilage"] == pytest.approx(40.0, rel=0.04)
    assert dose.cells["suspended"] == pytest.approx(0.0, abs=1e-9)
    flat = dose.dose_surface["femoral_cartilage"]
    assert flat["d2"] == pytest.approx(40e6 / 16.0, rel=0.02)  # 40 million on 16 cm²
    thick = replace(CELLS, viscosity_mpa_s=CELLS.viscosity_mpa_s * 10)
    slow = estimate_dose(some_trajectory(), joint, thick, Needle(), fill=slab_filler())
    settled = slow.cells["on_cartilage"] + slow.cells["on_other_surface"]
    assert settled == pytest.approx(40.0 * speed / 10 * room.REST_S / height, rel=1e-9)


@pytest.mark.parametrize("leak", [0.0, 0.3, 1 / 3])
def test_everything_injected_is_accounted_for(leak):
    defect = Defect(
        structure="femoral_cartilage", zone="", center_mm=np.array([3.0, 0.0, 4.0]), area_mm2=80.0,
        depth_mm=1.0, volume_ml=0.08, grade=None, source="drawn",
    )  # fmt: skip
    dose = estimate_dose(some_trajectory(), tray([defect]), CELLS, Needle(), fill=slab_filler(leak=leak))
    c = dose.cells
    parts = c["on_cartilage"] + c["on_other_surface"] + c["suspended"] + c["leaked"] + c["cleared"]
    assert parts == pytest.approx(c["injected"], rel=1e-12)
    assert dose.mass_balance_error < 1e-12
    assert 0 < c["on_defect"] <= c["on_cartilage"]
    assert c["leaked"] == pytest.approx(40.0 * leak)
    last = dose.fill_states[-1]
    assert last.in_cavity_ml + last.leaked_ml == pytest.approx(last.injected_ml, rel=1e-12)
    entry = dose.dose_surface["defect_1_femoral_cartilage"]
    assert entry["area_cm2"] == pytest.approx(0.8, rel=0.1)
    assert entry["d50"] == pytest.approx((1 - leak) * 40e6 / 16.0, rel=0.05)


def test_document_follows_its_schema_and_lists_what_is_assumed():
    dose = estimate_dose(some_trajectory(), tray(), CELLS, Needle(), fill=slab_filler())
    document = dose_document(dose)
    jsonschema.validate(document, json_schema("dose"))
    assert any("supine" in text for text in document["assumed"])
    assert any("knee pressure" in text for text in document["assumed"])
    lengths = {len(column) for column in document["dose_volume"].values()}
    assert len(lengths) == 1
    assert document["dose_volume"]["injected_ml"][-1] == 4.0
    resting = {f"{recess.name}_ml": recess.volume_ml for recess in tray().cavity.recesses}
    for name, column in document["dose_volume"].items():
        if name in resting:
            assert column[0] == resting[name]


def test_without_cells_nothing_is_deposited_and_the_volume_still_balances():
    dose = estimate_dose(some_trajectory(), tray(), Injectate(), Needle(), fill=slab_filler())
    assert dose.cells["injected"] == 0.0
    assert dose.cells["on_cartilage"] == 0.0
    assert dose.mass_balance_error == 0.0


@pytest.mark.parametrize("kind", ["knee", "hip", "ankle"])
def test_pressure_volume_curves(kind):
    curve = COMPLIANCE[kind]
    volumes = np.linspace(0, curve.capacity_ml, 50)
    pressures = [curve.pressure_kpa(v) for v in volumes]
    assert np.all(np.diff(pressures) >= 0)
    assert curve.pressure_kpa(curve.capacity_ml) == pytest.approx(curve.limit_kpa, rel=1e-12)
    kept, leaked = curve.split(curve.capacity_ml + 7.0)
    assert (kept, leaked) == pytest.approx((curve.capacity_ml, 7.0))
    assert curve.split(1.0) == (1.0, 0.0)


def test_published_points_of_the_curves():
    assert COMPLIANCE["knee"].pressure_kpa(0.0) == pytest.approx(-5 * KPA_PER_MMHG)
    assert COMPLIANCE["knee"].pressure_kpa(5.0) == pytest.approx(0.0, abs=0.1 * KPA_PER_MMHG)
    assert COMPLIANCE["knee"].pressure_kpa(19.5) == pytest.approx(17 * KPA_PER_MMHG, rel=0.05)
    assert COMPLIANCE["hip"].pressure_kpa(10.0) == COMPLIANCE["hip"].pressure_kpa(0.0)
    assert COMPLIANCE["ankle"].pressure_kpa(20.9) == pytest.approx(142 * KPA_PER_MMHG, rel=1e-6)


def test_too_much_for_the_capsule_leaks():
    joint = replace(tray(), kind="ankle")
    much = replace(CELLS, volume_ml=25.0)
    dose = estimate_dose(some_trajectory(), joint, much, Needle(), fill=slab_filler())
    last = dose.fill_states[-1]
    assert last.leaked_ml == pytest.approx(25.0 - COMPLIANCE["ankle"].capacity_ml)
    assert dose.pressure_kpa_end == pytest.approx(COMPLIANCE["ankle"].limit_kpa)
    assert "leak" in {notice.code for notice in dose.notices}
