"""Reflection, transmission, refraction and range error against closed forms."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from injectplan.kernels.boundary import fluid_fluid, fluid_solid, snell_cosine
from injectplan.tissues import CORTICAL_BONE_ITIS, TISSUES
from oracles_ultrasound import (
    LOSSLESS,
    PROBE,
    box,
    elastic_half_space_twin,
    fresnel_twin,
    look,
    peak_db,
    tilted_slab,
)

PAIRS = [
    ("subcutaneous_fat", "muscle"),
    ("muscle", "cortical_bone"),
    ("cartilage", "cortical_bone"),
    ("synovial_fluid", "cartilage"),
    ("muscle", "steel"),
    ("skin", "subcutaneous_fat"),
]
HALF_SPACE = ([-80, -80, 20], [80, 80, 120])


def impedance(name):
    return TISSUES[name].density_kg_m3 * TISSUES[name].speed_m_s


@pytest.mark.parametrize(("a", "b"), PAIRS)
def test_normal_reflection_is_the_impedance_step(a, b):
    expected = (impedance(b) - impedance(a)) / (impedance(b) + impedance(a))
    r = fluid_fluid(impedance(a), TISSUES[a].speed_m_s, impedance(b), TISSUES[b].speed_m_s, 1.0)
    assert r == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("a", "b"), PAIRS)
def test_a_boundary_in_a_frame_is_as_bright_as_its_coefficient(a, b):
    frame = look({"deep": (box(*HALF_SPACE), b, 1)}, background=a, tissues=LOSSLESS)
    expected = (impedance(b) - impedance(a)) / (impedance(b) + impedance(a))
    level, _ = peak_db(frame, 20.0 * 1540.0 / TISSUES[a].speed_m_s)
    assert level == pytest.approx(20 * np.log10(abs(expected)), abs=0.3)


def test_known_coefficients_of_the_table():
    def r(a, b):
        return (impedance(b) - impedance(a)) / (impedance(b) + impedance(a))

    assert r("subcutaneous_fat", "muscle") == pytest.approx(0.1256, abs=2e-4)
    assert r("muscle", "cortical_bone") == pytest.approx(0.5895, abs=2e-4)
    assert r("muscle", "steel") == pytest.approx(0.9270, abs=2e-4)
    assert r("skin", "subcutaneous_fat") == pytest.approx(-0.1448, abs=2e-4)


def test_oblique_fluid_boundary_follows_fresnel_up_to_total_reflection():
    m, c = TISSUES["muscle"], TISSUES["cortical_bone"]
    for theta in np.arange(0.0, 90.0, 0.5):
        r = fluid_fluid(
            impedance("muscle"),
            m.speed_m_s,
            impedance("cortical_bone"),
            c.speed_m_s,
            np.cos(np.radians(theta)),
        )
        twin = fresnel_twin(impedance("muscle"), impedance("cortical_bone"), m.speed_m_s, c.speed_m_s, theta)
        assert abs(r) == pytest.approx(abs(twin), abs=1e-6)
    at20 = fluid_fluid(
        impedance("muscle"), m.speed_m_s, impedance("cortical_bone"), c.speed_m_s, np.cos(np.radians(20))
    )
    # Without the transmitted angle's cosine it would be 0.3236, at normal incidence 0.3475.
    assert at20**2 == pytest.approx(0.4836, abs=1e-3)


def test_bone_reflects_as_an_elastic_solid():
    m, c = TISSUES["muscle"], TISSUES["cortical_bone"]
    for theta in np.arange(0.0, 89.25, 0.25):
        r = fluid_solid(
            m.density_kg_m3, m.speed_m_s, c.density_kg_m3, c.speed_m_s, 1800.0, np.cos(np.radians(theta))
        )
        twin = elastic_half_space_twin(
            m.density_kg_m3, m.speed_m_s, c.density_kg_m3, c.speed_m_s, 1800.0, theta
        )
        assert abs(r) == pytest.approx(abs(twin), abs=1e-6)
        assert abs(r) <= 1.0 + 1e-12
    for theta, expected in ((0.0, 0.589), (20.0, 0.580), (40.0, 0.377)):
        r = fluid_solid(
            m.density_kg_m3, m.speed_m_s, c.density_kg_m3, c.speed_m_s, 1800.0, np.cos(np.radians(theta))
        )
        assert abs(r) == pytest.approx(expected, abs=1e-3)


def test_energy_at_a_fluid_boundary_is_kept():
    rng = np.linspace(0.0, 26.0, 27)
    z1, z2 = impedance("muscle"), impedance("cortical_bone")
    c1, c2 = TISSUES["muscle"].speed_m_s, TISSUES["cortical_bone"].speed_m_s
    for theta in rng:
        cos1 = np.cos(np.radians(theta))
        cos2 = snell_cosine(c2 / c1, cos1)
        r = fluid_fluid(z1, c1, z2, c2, cos1)
        passed = (1 + r) ** 2 * z1 * cos2 / (z2 * cos1)
        assert r**2 + passed == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize(
    ("a", "b", "expected"), [("muscle", "cortical_bone", 49.187), ("subcutaneous_fat", "muscle", 21.581)]
)
def test_snell(a, b, expected):
    ratio = TISSUES[b].speed_m_s / TISSUES[a].speed_m_s
    assert np.degrees(np.arccos(snell_cosine(ratio, np.cos(np.radians(20.0))))) == pytest.approx(
        expected, abs=1e-3
    )


def test_critical_angle():
    """Found by halving: where the refracted ray ceases to be."""
    ratio = TISSUES["cortical_bone"].speed_m_s / TISSUES["muscle"].speed_m_s
    low, high = 0.0, 90.0
    for _ in range(50):
        middle = 0.5 * (low + high)
        passes = snell_cosine(ratio, np.cos(np.radians(middle))) > 0.0
        low, high = (middle, high) if passes else (low, middle)
    assert low == pytest.approx(26.866, abs=1e-3)
    assert low == pytest.approx(np.degrees(np.arcsin(1.0 / ratio)), abs=1e-9)


def behind(tissue, tilt_deg, probe=PROBE):
    """Two-way transmission 1 mm under a tilted half-space in muscle, all without loss, from the map."""
    slab = tilted_slab(tilt_deg, [0.0, 0.0, 15.0], thickness=200.0, size=200.0)
    frame = look({"slab": (slab, tissue, 1)}, probe, background="muscle", tissues=LOSSLESS)
    at = np.linalg.inv(frame.pixel_to_patient) @ [0.0, 0.0, 15.0 * 1540.0 / 1588.4 + 1.0, 1.0]
    return float(frame.shadow[round(at[1]), round(at[0])])


@pytest.mark.parametrize(("tilt", "r"), [(0.0, 0.589), (20.0, 0.580), (40.0, 0.377)])
def test_what_passes_into_tilted_bone_is_what_an_elastic_solid_lets_in(tilt, r):
    """In a frame: 1 - R² of the fluid-solid formula; a fluid would let nothing in at 40 degrees."""
    shear = LOSSLESS["cortical_bone"].shear_speed_m_s
    m, c = TISSUES["muscle"], TISSUES["cortical_bone"]
    twin = elastic_half_space_twin(m.density_kg_m3, m.speed_m_s, c.density_kg_m3, c.speed_m_s, shear, tilt)
    assert behind("cortical_bone", tilt) == pytest.approx(1.0 - abs(twin) ** 2, abs=1e-3)
    assert behind("cortical_bone", tilt) == pytest.approx(1.0 - r * r, abs=2e-3)


@pytest.mark.parametrize("tilt", [0.0, 20.0, 50.0, 62.0, 70.0])
def test_what_passes_between_tilted_soft_tissues_is_fresnels(tilt):
    """Muscle on tendon, to beyond the critical angle of 65.2 degrees, where a raw frame lets nothing in."""
    m, t = TISSUES["muscle"], TISSUES["tendon"]
    twin = fresnel_twin(impedance("muscle"), impedance("tendon"), m.speed_m_s, t.speed_m_s, tilt)
    assert behind("tendon", tilt) == pytest.approx(1.0 - min(1.0, abs(twin) ** 2), abs=1e-3)


def test_a_bent_ray_arrives_where_snell_sends_it():
    """Below a boundary tilted by 20° the ray leans by the angles' difference: a flat floor looks deeper."""
    fast = replace(LOSSLESS["muscle"], name="fast", speed_m_s=2200.0, floor_db=-300.0)
    rough = replace(LOSSLESS["muscle"], name="rough", density_kg_m3=9000.0, speed_m_s=2200.0, floor_db=0.0)
    tissues = LOSSLESS | {"fast": fast, "rough": rough}
    probe = replace(PROBE, refraction=True, depth_mm=60.0, elevation_planes=1)
    slab = tilted_slab(20.0, [0.0, 0.0, 15.0], thickness=200.0, size=200.0)
    floor = box([-150, -150, 30], [150, 150, 60])
    line = PROBE.lines // 2
    frame = look(
        {"slab": (slab, "fast", 1), "floor": (floor, "rough", 2)}, probe, background="muscle", tissues=tissues
    )
    x = -12.8 + (line + 0.5) * 0.2
    reached = 15.0 - x * np.tan(np.radians(20.0))
    bent = np.degrees(np.arcsin(np.sin(np.radians(20.0)) * 2200.0 / 1588.4)) - 20.0
    expected = reached * 1540.0 / 1588.4 + (30.0 - reached) / np.cos(np.radians(bent)) * 1540.0 / 2200.0
    _, depth = peak_db(frame, expected, 0.6, line=line)
    assert depth == pytest.approx(expected, abs=0.05)
    straight = reached * 1540.0 / 1588.4 + (30.0 - reached) * 1540.0 / 2200.0
    assert abs(expected - straight) > 0.1


def test_two_way_transmission_into_bone():
    """The far face of a lossless plate lies 3.71 dB under the near one."""
    frame = look(
        {"plate": (box([-80, -80, 10], [80, 80, 20]), "cortical_bone", 1)},
        background="muscle",
        tissues=LOSSLESS,
    )
    near, _ = peak_db(frame, 10.0 * 1540 / 1588.4)
    far, _ = peak_db(frame, 10.0 * 1540 / 1588.4 + 10.0 * 1540 / 3514.9)
    assert far - near == pytest.approx(-3.71, abs=0.05)


def test_shadow_behind_a_plate_of_bone():
    """5 mm with IT'IS's own loss: 35.5 dB of it and two passages of each face."""
    bone = replace(CORTICAL_BONE_ITIS, echo_db=-200.0, floor_db=-200.0)
    tissues = LOSSLESS | {"cortical_bone": bone}
    target = {"mirror": (box([-80, -80, 28], [80, 80, 90]), "steel", 5)}
    plate = {"plate": (box([-80, -80, 10], [80, 80, 15]), "cortical_bone", 1)}
    clear, _ = peak_db(look(target, background="muscle", tissues=tissues), 28.0 * 1540 / 1588.4)
    shown = (23.0 / 1588.4 + 5.0 / 3514.9) * 1540.0
    dark, _ = peak_db(look(target | plate, background="muscle", tissues=tissues), shown)
    assert clear - dark == pytest.approx(43.0, abs=1.0)


def test_the_far_cortex_does_not_show():
    """With the default cortex nothing comes back from the far side of 5 mm of bone within 60 dB."""
    frame = look({"plate": (box([-80, -80, 10], [80, 80, 15]), "cortical_bone", 1)}, background="muscle")
    near, depth = peak_db(frame, 10.0 * 1540 / 1588.4)
    below = frame.envelope_db[:, int((depth + 1.0) / frame.sample_mm) :]
    assert near > -25.0
    assert below.max() < near - 60.0


@settings(max_examples=12, deadline=None)
@given(
    st.floats(5.0, 15.0), st.floats(-30.0, 30.0), st.floats(4.0, 16.0), st.floats(7.5, 12.0),
    st.sampled_from(["muscle", "fat", "subcutaneous_fat", "cartilage", "synovial_fluid"]),
)  # fmt: skip
def test_no_far_cortex_shows_under_any_plate(thickness, tilt, depth, frequency, over):
    """From 5 mm of bone on, however it lies: nothing from below within 60 dB of a facing cortex."""
    probe = replace(PROBE, frequency_mhz=frequency, lines=32, width_mm=6.4, elevation_planes=3)
    plate = tilted_slab(tilt, [0.0, 0.0, depth], thickness=thickness)
    frame = look({"plate": (plate, "cortical_bone", 1)}, probe, background=over)
    lossless = look({"plate": (plate, "cortical_bone", 1)}, probe, background=over, tissues=LOSSLESS)
    line = probe.lines // 2
    x = float(frame.line_origin_mm[line, 0])
    shown = (depth - x * np.tan(np.radians(tilt))) * 1540.0 / TISSUES[over].speed_m_s
    first = int((shown + 1.5 + 0.2 * abs(tilt) / 10.0) / frame.sample_mm)
    facing = 20.0 * np.log10(
        abs(impedance("cortical_bone") - impedance(over)) / (impedance("cortical_bone") + impedance(over))
    )
    lost = 2.0 * TISSUES[over].attenuation_db_cm(frequency) * shown / 10.0 * TISSUES[over].speed_m_s / 1540.0
    assert frame.envelope_db[line, first:].max() < facing - lost - 60.0
    if abs(tilt) < 5.0:  # the plate's own far face is there when bone takes nothing: the test can see it
        far = shown + thickness / np.cos(np.radians(tilt)) * 1540.0 / TISSUES["cortical_bone"].speed_m_s
        assert peak_db(lossless, far, 1.0, line=line)[0] > -40.0


def test_enhancement_behind_fluid():
    """10 mm of synovial fluid in muscle: what lies behind is 9.0 dB brighter at 7.5 MHz."""
    quiet = {
        n: replace(TISSUES[n], echo_db=-200.0, floor_db=-200.0) for n in ("muscle", "synovial_fluid", "steel")
    }
    target = {"mirror": (box([-80, -80, 30], [80, 80, 90]), "steel", 5)}
    cyst = {"cyst": (box([-80, -80, 10], [80, 80, 20]), "synovial_fluid", 1)}
    without, _ = peak_db(look(target, background="muscle", tissues=quiet), 30.0 * 1540 / 1588.4)
    behind, _ = peak_db(
        look(target | cyst, background="muscle", tissues=quiet), (20 / 1588.4 + 10 / 1544) * 1540
    )
    assert behind - without == pytest.approx(9.0, abs=0.4)


@pytest.mark.parametrize(("tissue", "expected"), [("subcutaneous_fat", 10.427), ("tendon", 8.800)])
def test_range_error(tissue, expected):
    frame = look(
        {"deep": (box([-80, -80, 10], [80, 80, 90]), "steel", 1)}, background=tissue, tissues=LOSSLESS
    )
    _, depth = peak_db(frame, expected)
    assert depth == pytest.approx(expected, abs=0.02)
