"""Attenuation, first-order statistics and motion of speckle."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage, stats

from injectplan.frames import Pose
from injectplan.tissues import TISSUES
from injectplan.ultrasound import AcousticScene, FrameBuffers, simulate_frame
from injectplan.ultrasound.tables import FWHM, axial_sigma_mm, elevation_fwhm_mm, lateral_fwhm_mm
from oracles_ultrasound import PROBE, envelope_correlation, look

EDGE = 10  # lines at each side that the aperture's end touches


def medium(alpha=0.0, power=1.0, **changes):
    return replace(
        TISSUES["muscle"], name="medium", speed_m_s=1540.0, attenuation_db_cm_mhz=alpha,
        attenuation_power=power,
        anisotropy_db=0.0, **changes,
    )  # fmt: skip


def frames(tissue, probe=PROBE, shifts=((0.0, 0.0, 0.0),), seed=0):
    """Amplitudes (n, lines, samples) of a homogeneous medium seen from shifted poses."""
    scene = AcousticScene.from_solids({}, probe, background="medium", tissues={"medium": tissue})
    buffers = FrameBuffers(scene)
    found = []
    for shift in shifts:
        frame = simulate_frame(scene, Pose(np.eye(3), np.array(shift)), seed=seed, buffers=buffers)
        found.append(10.0 ** (frame.envelope_db.astype(float) / 20.0))
    return np.array(found), frame.sample_mm


def slope_db_cm(alpha, power, frequency):
    probe = replace(PROBE, frequency_mhz=frequency)
    shifts = [(0.0, 4.0 * i, 0.0) for i in range(8)]
    a, step = frames(medium(alpha, power), probe, shifts)
    power_db = 10.0 * np.log10((a[:, EDGE:-EDGE] ** 2).mean(axis=(0, 1)))
    z = np.arange(len(power_db)) * step
    inside = (z > 3.0) & (z < 37.0)
    return np.polyfit(z[inside] / 10.0, power_db[inside], 1)[0]


def test_attenuation_slope():
    assert slope_db_cm(0.5, 1.0, 7.5) == pytest.approx(-7.50, rel=0.01)


def test_attenuation_power_is_recovered_from_three_frequencies():
    f = np.array([5.0, 7.5, 10.0])
    slopes = [-slope_db_cm(0.5, 1.1, x) for x in f]
    assert np.polyfit(np.log(f), np.log(slopes), 1)[0] == pytest.approx(1.1, abs=0.02)


def test_mean_level_of_muscle_is_the_anchor():
    shifts = [(0.0, 4.0 * i, 0.0) for i in range(6)]
    a, step = frames(medium(), shifts=shifts)
    z = np.arange(a.shape[2]) * step
    for low, high in ((4, 12), (16, 24), (28, 36)):
        part = a[:, EDGE:-EDGE, (z > low) & (z < high)]
        assert 10 * np.log10((part**2).mean()) == pytest.approx(-40.0, abs=0.5)


def test_first_order_statistics_are_rayleigh():
    """Mean over standard deviation 1.913, each depth divided by its own mean; Kolmogorov-Smirnov."""
    ratios, p_values = [], []
    for seed in range(10):
        a, step = frames(medium(), seed=seed)
        part = a[0, EDGE:-EDGE, int(8 / step) : int(34 / step)]
        part = part / part.mean(axis=0)
        ratios.append(part.mean() / part.std())
        apart = part[::6, :: int(0.9 / step)].ravel()
        p_values.append(stats.kstest(apart / np.sqrt((apart**2).mean() / 2.0), "rayleigh").pvalue)
    assert np.mean(ratios) == pytest.approx(1.913, abs=0.03)
    assert np.median(p_values) > 0.05


def motion(axis, distances, centre, seeds=(0, 1, 2), probe=PROBE):
    """Correlation of the envelope before and after the probe moved, near the focus."""
    found = []
    for d in distances:
        both = []
        for seed in seeds:
            step = np.zeros(3)
            step[axis] = d
            a, dz = frames(medium(), probe, [(0, 0, 0), tuple(step)], seed)
            part = slice(int((centre - 3.0) / dz), int((centre + 3.0) / dz))
            x, y = (f[EDGE:-EDGE, part] for f in a)
            both.append(np.corrcoef(x.ravel(), y.ravel())[0, 1])
        found.append(np.mean(both))
    return np.array(found)


@pytest.mark.parametrize("axis", [0, 1, 2], ids=["lateral", "elevation", "axial"])
def test_speckle_moves_with_the_tissue(axis):
    """The envelope decorrelates as the applied point spread says, not with the texture's voxels."""
    probe = replace(PROBE, lines=192)  # a pitch of 0.37 widths: coarser lines cannot follow
    z = probe.focus_mm
    window = np.linspace(z - 3.0, z + 3.0, 61)
    sigma = [
        lateral_fwhm_mm(probe, window) / FWHM,
        elevation_fwhm_mm(probe, window) / FWHM,
        np.full(61, axial_sigma_mm(probe)),
    ][axis]
    width = float(sigma[30]) * FWHM
    distances = np.array([0.1, 0.25, 0.5, 0.8, 1.1]) * width
    mu_squared = np.exp(-(distances[:, None] ** 2) / (2.0 * sigma**2))
    theory = envelope_correlation(mu_squared).mean(axis=1)  # the width changes over the window
    found = motion(axis, distances, z, probe=probe)
    limit = np.where(distances <= width / 2 + 1e-9, 0.05, 0.10)
    assert (np.abs(found - theory) <= limit).all(), (found.round(3), theory.round(3))


TURNING = replace(PROBE, lines=192, width_mm=25.6)


def seen(scene, pose, where, seed, steer_deg=0.0):
    """Amplitudes of a frame at places (n, 3) in the patient, between its samples."""
    frame = simulate_frame(scene.with_probe(replace(scene.probe, steer_deg=steer_deg)), pose, seed=seed)
    x, _, z = pose.inverse().apply(where).T
    s = np.radians(steer_deg)
    line = (x - z * np.tan(s)) / (TURNING.width_mm / TURNING.lines) + (TURNING.lines - 1) / 2.0
    amplitude = 10.0 ** (frame.envelope_db.astype(float) / 20.0)
    return ndimage.map_coordinates(amplitude, [line, z / np.cos(s) / frame.sample_mm], order=3)


def turned(angle_deg, pivot):
    t = np.radians(angle_deg)
    turn = np.array([[np.cos(t), 0.0, np.sin(t)], [0.0, 1.0, 0.0], [-np.sin(t), 0.0, np.cos(t)]])
    return Pose(turn, pivot - turn @ pivot)


def patch():
    """Places round the focus, and the medium to look at."""
    x, z = np.meshgrid(np.linspace(-5.0, 5.0, 41), np.linspace(17.5, 22.5, 26))
    where = np.stack([x.ravel(), 0.0 * x.ravel(), z.ravel()], axis=1)
    return where, AcousticScene.from_solids({}, TURNING, background="medium", tissues={"medium": medium()})


def lateral_mu_squared(angle_deg):
    """By depth over the patch, as the beam is wider off its focus."""
    sigma = lateral_fwhm_mm(TURNING, np.linspace(17.5, 22.5, 26)) / FWHM
    return np.exp(-((4.0 * np.pi / TURNING.wavelength_mm * sigma * np.sin(np.radians(angle_deg))) ** 2) / 2.0)


def test_half_of_the_correlation_is_lost_at_five_degrees():
    """For 0.5 mm of lateral width at 7.5 MHz: the formula that the next test holds the frames to."""
    sigma, k = 0.5 / FWHM, 2.0 * np.pi * 7.5 / 1.54
    half = np.degrees(np.arcsin(np.sqrt(2.0 * np.log(2.0)) / (2.0 * k * sigma)))
    assert half == pytest.approx(5.2, abs=0.05)


@pytest.mark.parametrize("angle_deg", [2.0, 4.0, 7.0, 12.0])
def test_speckle_changes_as_the_probe_turns(angle_deg):
    """Seen from another direction, places keep their tissue and lose their speckle."""
    where, scene = patch()
    found = []
    for seed in range(5):
        pair = [seen(scene, turned(a, np.array([0.0, 0.0, 20.0])), where, seed) for a in (0.0, angle_deg)]
        found.append(np.corrcoef(*pair)[0, 1])
    theory = float(envelope_correlation(lateral_mu_squared(angle_deg)).mean())
    assert np.mean(found) == pytest.approx(theory, abs=0.05)


def test_steered_looks_see_other_speckle():
    """Looks 8 and 10 degrees apart do not correlate, and three of them smooth by the root of three."""
    where, scene = patch()
    ratio, apart = [], []
    for seed in range(5):
        looks = np.array([seen(scene, Pose.identity(), where, seed, s) for s in (-8.0, 0.0, 10.0)])
        apart.append(np.corrcoef(looks)[np.triu_indices(3, 1)])
        together = looks.mean(axis=0)
        ratio.append(together.mean() / together.std())
    assert np.abs(np.mean(apart, axis=0)).max() < 0.10
    assert np.mean(ratio) == pytest.approx(np.sqrt(3.0) * 1.913, rel=0.07)


def test_no_speckle_in_a_fluid_and_none_without_contact():
    frame = look({}, background="synovial_fluid")
    assert frame.envelope_db[EDGE:-EDGE].mean() < -80.0
    frame = look({}, background="air")
    assert (frame.bmode == 0).all()
    assert frame.extra["contact_fraction"] == 0.0
