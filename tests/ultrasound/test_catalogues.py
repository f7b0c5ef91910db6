"""Tissues, probes, needles, syringes and injectates: sourced, checked, and named when unknown."""

import pytest

from injectplan.errors import BadInputError
from injectplan.instruments import (
    GAUGES,
    INJECTATES,
    PROBES,
    Probe,
    injectate_of,
    needle_of,
    probe_model,
    syringe_of,
)
from injectplan.tissues import TISSUES, assumptions, tissue_of


def test_every_entry_names_its_source():
    assert all(t.source for t in TISSUES.values())
    assert all(p.source for p in PROBES.values())
    assert all(i.source for i in INJECTATES.values())
    assert all(needle_of(g).source for g in GAUGES)


def test_what_a_preset_assumes_is_marked_and_not_the_rest():
    for probe in PROBES.values():
        assert {"bandwidth", "tgc_db", "compounding_deg", "haze_db"} <= set(probe.assumed)
        assert set(probe.assumed) <= set(Probe.__dataclass_fields__)
    assert "gain_db" in PROBES["linear-12-vessel"].assumed


def test_presets_of_a_body_part_are_picked_by_name():
    limb, vessel = probe_model("linear-7-limb"), probe_model("linear-12-vessel", depth_mm=40.0)
    assert max(limb.compounding_deg) == 17.0
    assert vessel.depth_mm == 40.0
    assert vessel.haze_db > probe_model("linear-12").haze_db
    assert not limb.raw
    assert not vessel.raw


def test_impedances_are_those_of_the_table():
    for name, z in (("skin", 1.801), ("muscle", 1.732), ("cortical_bone", 6.706), ("water", 1.473)):
        assert TISSUES[name].impedance_mrayl == pytest.approx(z, abs=1e-3)


def test_loss_at_the_frequency_of_the_table():
    for name, loss in (("subcutaneous_fat", 4.6), ("muscle", 5.5), ("tendon", 13.4), ("cortical_bone", 65.0)):
        assert TISSUES[name].attenuation_db_cm(7.5) == pytest.approx(loss, abs=0.1)
    assert TISSUES["cortical_bone"].attenuation_db_cm(5.0) == pytest.approx(52.0, abs=0.1)


def test_assumed_values_are_listed():
    assert "cartilage.attenuation_db_cm_mhz = 1.0" in assumptions(["cartilage", "muscle"])


def test_unknown_names_are_answered_with_the_nearest():
    with pytest.raises(BadInputError, match="muscle"):
        tissue_of("musle")
    with pytest.raises(BadInputError, match="linear-12"):
        probe_model("linear12")
    with pytest.raises(BadInputError, match="saline"):
        injectate_of("salin")


@pytest.mark.parametrize(
    "change",
    [
        {"frequency_mhz": 0.0},
        {"frequency_mhz": float("nan")},
        {"bandwidth": -0.1},
        {"lines": 1},
        {"depth_mm": 1000.0},
        {"steer_deg": 80.0},
        {"compounding_deg": (90.0,)},
        {"tgc_db": (float("inf"),)},
        {"kind": "phased"},
    ],
)
def test_impossible_probes_are_refused(change):
    with pytest.raises(BadInputError):
        Probe(**change)


def test_needles_and_syringes():
    assert needle_of(22).outer_mm == 0.718
    assert needle_of(25).inner_mm == 0.260
    for bad in ({"gauge": 17}, {"gauge": 22, "length_mm": 1.0}, {"gauge": 22, "inner_mm": 0.8}):
        with pytest.raises(BadInputError):
            needle_of(**bad)
    assert syringe_of(5.0).barrel_mm == 12.06
    with pytest.raises(BadInputError):
        syringe_of(-1.0)


def test_a_given_value_is_no_longer_assumed():
    given = injectate_of("hyaluronic acid", k_pa_s_n=7.0, n=0.5)
    assert given.assumed == ()
    assert injectate_of("hyaluronic acid", viscosity_mpa_s=50.0).k_pa_s_n is None
    with pytest.raises(BadInputError):
        injectate_of("saline", volume_ml=-2.0)
