"""Flow through the needle against published and closed-form numbers."""

from __future__ import annotations

import math

import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from injectplan.documents import json_schema
from injectplan.errors import UsageError
from injectplan.injection import flow as physics
from injectplan.injection import flow_document, flow_through_needle
from injectplan.instruments import Injectate, Needle, Syringe

WATER = Injectate(kind="custom", volume_ml=2.0, flow_ml_s=0.2, density_kg_m3=1000.0)
BARREL = Syringe(barrel_mm=12.06)


def needle(inner_mm: float, length_mm: float = 38.0) -> Needle:
    return Needle(inner_mm=inner_mm, length_mm=length_mm)


def test_openinjectability_case():
    flow = flow_through_needle(needle(0.413, 38.1), WATER, BARREL)
    assert flow.pressure_kpa.value * 1000 == pytest.approx(10_671.24, abs=0.005)
    assert flow.force_n.value == pytest.approx(1.21899, abs=5e-6)
    assert flow.wall_shear_rate_1_s.value == pytest.approx(28_918.78, abs=0.005)
    assert flow.reynolds.value == pytest.approx(616.58, abs=0.005)
    assert flow.entrance_loss_kpa.value == pytest.approx(2.2287, abs=1e-3)  # ρU²
    total = flow.pressure_kpa.value + flow.entrance_loss_kpa.value
    assert flow.total_pressure_kpa.value == pytest.approx(total, rel=1e-15)


@pytest.mark.parametrize(
    ("inner_mm", "kpa", "wall_pa"),
    [(0.838, 0.63, 3.5), (0.603, 2.34, 9.3), (0.514, 4.44, 15), (0.413, 10.6, 29), (0.337, 24.0, 53),
     (0.260, 67.8, 116), (0.210, 159, 220)],
)  # fmt: skip
def test_water_through_the_gauges(inner_mm, kpa, wall_pa):
    flow = flow_through_needle(needle(inner_mm), WATER, BARREL)
    assert flow.pressure_kpa.value == pytest.approx(kpa, rel=0.01)
    assert flow.wall_shear_pa.value == pytest.approx(wall_pa, rel=0.03)


def test_spinal_needle():
    flow = flow_through_needle(
        needle(0.413, 90.0), Injectate(volume_ml=5.0, flow_ml_s=0.25, density_kg_m3=1000), BARREL
    )
    assert flow.pressure_kpa.value == pytest.approx(31.5, abs=0.05)


def test_power_law_case():
    fluid = Injectate(kind="custom", flow_ml_s=0.2, k_pa_s_n=5.0, n=0.4, density_kg_m3=1000)
    flow = flow_through_needle(needle(0.514), fluid, BARREL)
    assert flow.pressure_kpa.value * 1000 == pytest.approx(78_637, abs=0.5)
    assert flow.wall_shear_pa.value == pytest.approx(265.92, abs=0.005)
    assert flow.wall_shear_rate_1_s.value == pytest.approx(20_627, abs=0.5)


def test_a_power_law_of_index_one_is_newtonian():
    a = flow_through_needle(needle(0.413), WATER, BARREL)
    b = flow_through_needle(
        needle(0.413), Injectate(flow_ml_s=0.2, k_pa_s_n=1e-3, n=1.0, density_kg_m3=1000), BARREL
    )
    for name in ("pressure_kpa", "entrance_loss_kpa", "wall_shear_pa", "wall_shear_rate_1_s", "reynolds"):
        assert getattr(b, name).value == pytest.approx(getattr(a, name).value, rel=1e-12), name


def test_tolerance_of_the_bore_becomes_low_and_high():
    for inner, percent in ((0.514, 15), (0.260, 29)):
        flow = flow_through_needle(needle(inner), WATER, BARREL)
        p = flow.pressure_kpa
        assert p.low == pytest.approx(p.value * (inner / (inner + 0.019)) ** 4, rel=1e-12)
        assert p.high == pytest.approx(p.value * (inner / (inner - 0.019)) ** 4, rel=1e-12)
        assert 0.5 * (p.high - p.low) / p.value == pytest.approx(percent / 100, abs=0.03)
        assert flow.reynolds.low < flow.reynolds.value < flow.reynolds.high


@settings(max_examples=40, deadline=None)
@given(d=st.floats(0.1, 1.5), q=st.floats(0.01, 2.0), scale=st.floats(1.1, 3.0))
def test_scaling_laws(d, q, scale):
    one = physics.newtonian_pressure_pa(1e-3, 0.04, q * 1e-6, d * 1e-3)
    assert physics.newtonian_pressure_pa(1e-3, 0.04, q * 1e-6, scale * d * 1e-3) == pytest.approx(
        one / scale**4
    )
    assert physics.newtonian_pressure_pa(1e-3, 0.04, scale * q * 1e-6, d * 1e-3) == pytest.approx(one * scale)
    n = 0.4
    thin = physics.power_law_pressure_pa(5.0, n, 0.04, q * 1e-6, d * 1e-3)
    assert physics.power_law_pressure_pa(5.0, n, 0.04, scale * q * 1e-6, d * 1e-3) == pytest.approx(
        thin * scale**n
    )


def test_carreau_limits_and_the_rabinowitsch_integral():
    flow, bore, length = 0.2e-6, 0.514e-3, 0.038
    newton = physics.generalised_pressure_pa(physics.carreau(2e-3, 2e-3, 1.0, 0.5), length, flow, bore)
    assert newton == pytest.approx(physics.newtonian_pressure_pa(2e-3, length, flow, bore), rel=1e-9)
    power = physics.generalised_pressure_pa(lambda g: 5.0 * g**0.4, length, flow, bore)
    assert power == pytest.approx(78_637, rel=1e-5)
    plateau = physics.generalised_pressure_pa(physics.carreau(50.0, 0.05, 1e-9, 0.4), length, flow, bore)
    assert plateau == pytest.approx(physics.newtonian_pressure_pa(50.0, length, flow, bore), rel=1e-3)
    thinnest = physics.generalised_pressure_pa(physics.carreau(50.0, 0.05, 1e9, 0.4), length, flow, bore)
    assert thinnest == pytest.approx(physics.newtonian_pressure_pa(0.05, length, flow, bore), rel=1e-2)


@pytest.mark.parametrize("n", [1.0, 0.4])
def test_flux_fraction_by_counting_rings(n):
    r = (np.arange(200_000) + 0.5) / 200_000
    flux = (1 - r ** ((n + 1) / n)) * r
    for x in (0.1, 0.5, 0.9):
        counted = flux[r > x].sum() / flux.sum()
        assert physics.flux_fraction_above(100.0, 100.0 * x, n) == pytest.approx(counted, abs=1e-5)
    assert physics.flux_fraction_above(100.0, 40.0) == pytest.approx((1 - 0.4**2) ** 2, rel=1e-12)
    assert physics.flux_fraction_above(100.0, 100.0) == 0.0


def test_residence_time_and_relaxing_compliance():
    assert physics.residence_time_s(38.0, 1500.0, 0.0) == pytest.approx(38.0 / 3000.0)
    assert physics.residence_time_s(38.0, 1500.0, 0.5) == pytest.approx(38.0 / (3000.0 * 0.75))
    v = physics.relaxing_volume_ml(10.0, 2.0, 3.0, 0.5, 1.5)
    assert v == pytest.approx(3.0 * 8.0 * (1 - math.exp(-1.0)))


def test_turbulence_and_bad_numbers_are_said():
    fast = flow_through_needle(needle(0.413), Injectate(flow_ml_s=2.0), BARREL)
    assert "not-laminar" in {notice.code for notice in fast.notices}
    with pytest.raises(UsageError, match="time_s"):
        flow_through_needle(needle(0.413), WATER, BARREL, time_s=0.0)
    with pytest.raises(UsageError, match="flow_ml_s"):
        flow_through_needle(needle(0.413), Injectate(flow_ml_s=float("nan")), BARREL)


def test_document_follows_its_schema():
    document = flow_document(flow_through_needle(needle(0.413, 38.1), WATER, BARREL, time_s=10.0))
    jsonschema.validate(document, json_schema("flow"))
    assert document["pressure_kpa"]["value"] == pytest.approx(10.67124, abs=1e-5)
    assert document["flux_fraction_above_pa"]["10"] == pytest.approx((1 - (10 / 28.92) ** 2) ** 2, abs=1e-3)
