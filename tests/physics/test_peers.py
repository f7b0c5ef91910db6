"""Against figures that other simulators gave: scripts and figures stand in benchmarks/peers."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from injectplan.frames import Pose
from injectplan.imaging.values import Surface
from injectplan.instruments import Probe
from injectplan.tissues import TISSUES
from injectplan.ultrasound import AcousticScene, simulate_frame
from oracles_ultrasound import LOSSLESS, PROBE, look, width_at_half

FIGURES = Path(__file__).parents[2] / "benchmarks" / "peers" / "figures"
ESDIVA = json.loads((FIGURES / "esdiva.json").read_text(encoding="utf-8"))
SONOSK = json.loads((FIGURES / "sonosk.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("depth", [10.0, 20.0, 30.0])
def test_lateral_profile_off_the_focus(depth):
    """Width at half amplitude of a point 10 mm before, in and behind the transmit focus, within 20 %."""
    probe = replace(
        PROBE, lines=512, elevation_planes=1, f_number=ESDIVA["f_number"], focus_mm=ESDIVA["focus_mm"],
        frequency_mhz=ESDIVA["frequency_mhz"],
    )  # fmt: skip
    water = LOSSLESS | {"water": replace(LOSSLESS["water"], speed_m_s=1540.0)}
    frame = look({}, probe, background="water", tissues=water, points_mm=[[0.0, 0.0, depth]])
    row = 10.0 ** (frame.envelope_db[:, round(depth / frame.sample_mm)] / 20.0)
    width = width_at_half(frame.line_origin_mm[:, 0], row)
    assert width == pytest.approx(ESDIVA["width_mm_at_depth_mm"][f"{depth:g}"], rel=0.20)


def cylinder(radius, z, half=20.0, n=96):
    """A closed cylinder along the elevation axis."""
    a = 2.0 * np.pi * np.arange(n) / n
    ring = np.stack([radius * np.cos(a), 0.0 * a, z + radius * np.sin(a)], axis=1)
    ends = np.array([[0.0, -half, z], [0.0, half, z]])
    vertices = np.concatenate([ring - half * np.eye(3)[1], ring + half * np.eye(3)[1], ends])
    i, j = np.arange(n), (np.arange(n) + 1) % n
    sides = np.concatenate([np.stack([i, i + n, j], axis=1), np.stack([j, i + n, j + n], axis=1)])
    caps = [np.stack([0 * i + 2 * n, i, j], axis=1), np.stack([0 * i + 2 * n + 1, j + n, i + n], axis=1)]
    return Surface(vertices, np.concatenate([sides, *caps]).astype(np.int32))


def disc_scene(contrast_db):
    """The peer's phantom, and a probe of the peer's point response and pixels."""
    wavelength = 1.54 / SONOSK["frequency_mhz"]
    probe = Probe(
        frequency_mhz=SONOSK["frequency_mhz"], bandwidth=SONOSK["bandwidth"], lines=256, width_mm=25.6,
        depth_mm=40.0, samples=801, focus_mm=SONOSK["depth_mm"],
        f_number=SONOSK["lateral_fwhm_mm"] / (0.886 * wavelength), elevation_focus_mm=SONOSK["depth_mm"],
        elevation_aperture_mm=4.0, elevation_planes=9,
    )  # fmt: skip
    medium = replace(
        TISSUES["muscle"], name="medium", speed_m_s=1540.0, attenuation_db_cm_mhz=0.0, anisotropy_db=0.0,
        echo_db=0.0, floor_db=-200.0,
    )  # fmt: skip
    tissues = {"medium": medium, "disc": replace(medium, name="disc", echo_db=contrast_db)}
    solids = {"disc": (cylinder(SONOSK["radius_mm"], SONOSK["depth_mm"]), "disc", 1)}
    return AcousticScene.from_solids(solids, probe, background="medium", tissues=tissues)


def gcnr(inside, outside, bins):
    """One minus the overlap of two histograms. Rodriguez-Molares 2020, doi:10.1109/TUFFC.2019.2956855."""
    edges = np.histogram_bin_edges(np.concatenate([inside, outside]), bins=bins)
    a, b = (np.histogram(v, bins=edges)[0] / len(v) for v in (inside, outside))
    return 1.0 - np.minimum(a, b).sum()


def test_the_point_response_is_the_peers():
    sigma_t = np.sqrt(2 * np.log(2)) / (np.pi * SONOSK["bandwidth"] * SONOSK["frequency_mhz"])
    assert SONOSK["axial_fwhm_mm"] == pytest.approx(1.54 * np.sqrt(2 * np.log(2)) * sigma_t, rel=0.10)


@pytest.mark.parametrize("contrast", sorted(SONOSK["discs"]))
def test_contrast_and_gcnr_of_a_darker_disc(contrast):
    scene, peer = disc_scene(float(contrast)), SONOSK["discs"][contrast]
    found = []
    for seed in range(SONOSK["realisations"]):
        frame = simulate_frame(scene, Pose.identity(), seed=seed)
        image = 10.0 ** (frame.envelope_db.astype(float) / 20.0)
        z = np.arange(image.shape[1]) * frame.sample_mm - SONOSK["depth_mm"]
        radius = np.hypot(frame.line_origin_mm[:, 0][:, None], z[None, :])
        inside = image[radius < SONOSK["inside_mm"]]
        outside = image[(radius > SONOSK["outside_mm"][0]) & (radius < SONOSK["outside_mm"][1])]
        found.append(
            [
                10.0 * np.log10((inside**2).mean() / (outside**2).mean()),
                gcnr(inside, outside, SONOSK["gcnr_bins"]),
            ]
        )
    ratio, overlap = np.mean(found, axis=0)
    assert ratio == pytest.approx(peer["contrast_db"], abs=1.5)
    assert overlap == pytest.approx(peer["gcnr"], abs=0.05)
