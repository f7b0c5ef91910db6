"""Attenuation, first-order statistics and motion of speckle."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

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


def test_no_speckle_in_a_fluid_and_none_without_contact():
    frame = look({}, background="synovial_fluid")
    assert frame.envelope_db[EDGE:-EDGE].mean() < -80.0
    frame = look({}, background="air")
    assert (frame.bmode == 0).all()
    assert frame.extra["contact_fraction"] == 0.0
