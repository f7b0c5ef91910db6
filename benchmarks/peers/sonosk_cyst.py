"""Contrast and gCNR of a darker disc in speckle by sonosk (GPL-3: only here, in an environment of its own).

    python -m venv /tmp/peers && /tmp/peers/bin/pip install sonosk==0.1.0
    /tmp/peers/bin/python benchmarks/peers/sonosk_cyst.py
It writes figures/sonosk.json, which tests/physics/test_peers.py reads. Scatterers lie in the image plane: the
disc of 3 mm radius at 20 mm depth has a lower rms amplitude. Twenty-one plane waves within ±atan(1/4),
coherently compounded, focus transmit as F/2 does; receive is F/2. The peer's own point response is measured
and kept, so that the same width can be set elsewhere.
"""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path

import numpy as np
from sonosk import imaging, quality, transducer

SPEED, DEPTH_MM, RADIUS_MM, SEEDS = 1540.0, 20.0, 3.0, 5
FREQUENCY_HZ, BANDWIDTH = 7.5e6, 0.3
INSIDE_MM, OUTSIDE_MM = 2.2, (3.8, 5.6)  # radii of the regions measured
X_MM, Z_MM = np.arange(-6.0, 6.01, 0.1), np.arange(14.0, 26.01, 0.05)
DENSITY = 120  # scatterers per mm², over ten in a resolution cell


def frame(place_mm: np.ndarray, amplitude: np.ndarray, x_mm: np.ndarray, z_mm: np.ndarray) -> np.ndarray:
    """Envelope (z, x) of point scatterers."""
    probe = transducer.linear_array(96, 0.2e-3, height=4e-3)
    pulse = imaging.Pulse(FREQUENCY_HZ, BANDWIDTH)
    image = 0.0
    for angle in np.linspace(-np.arctan(0.25), np.arctan(0.25), 21):
        wave = imaging.Transmit.plane(angle)
        rf, rate = imaging.simulate(probe, wave, place_mm * 1e-3, amplitude, pulse, c=SPEED)
        image = image + imaging.beamform(
            rf, rate, probe, wave, x_mm * 1e-3, z_mm * 1e-3, c=SPEED, f_number=2.0, window="boxcar"
        )
    return np.abs(image)


def point_response() -> tuple[float, float]:
    """Lateral and axial full widths at half maximum, mm."""
    x, z = np.arange(-1.0, 1.001, 0.02), np.arange(19.0, 21.0, 0.01)
    image = frame(np.array([[0.0, 0.0, DEPTH_MM]]), np.ones(1), x, z)
    row, column = np.unravel_index(image.argmax(), image.shape)
    lateral = quality.width(image[row] / image.max(), x)
    axial = quality.width(image[:, column] / image.max(), z)
    return float(lateral), float(axial)


def disc(contrast_db: float, seed: int) -> tuple[float, float]:
    """(contrast of mean power in dB, gCNR of 64 equal bins of the envelope) of one realisation."""
    rng = np.random.default_rng(seed)
    count = round(16.0 * 16.0 * DENSITY)
    place = np.stack([rng.uniform(-8, 8, count), np.zeros(count), rng.uniform(12, 28, count)], axis=1)
    amplitude = rng.normal(size=count)
    amplitude[np.hypot(place[:, 0], place[:, 2] - DEPTH_MM) < RADIUS_MM] *= 10.0 ** (contrast_db / 20.0)
    image = frame(place, amplitude, X_MM, Z_MM)
    radius = np.hypot(X_MM[None, :], Z_MM[:, None] - DEPTH_MM)
    inside = image[radius < INSIDE_MM]
    outside = image[(radius > OUTSIDE_MM[0]) & (radius < OUTSIDE_MM[1])]
    contrast = 10.0 * np.log10((inside**2).mean() / (outside**2).mean())
    return float(contrast), quality.gcnr(inside, outside, bins=64)


def main() -> None:
    lateral, axial = point_response()
    result = {
        "peer": "sonosk", "version": importlib.metadata.version("sonosk"), "licence": "GPL-3.0-or-later",
        "frequency_mhz": FREQUENCY_HZ / 1e6, "bandwidth": BANDWIDTH, "depth_mm": DEPTH_MM,
        "radius_mm": RADIUS_MM, "inside_mm": INSIDE_MM, "outside_mm": OUTSIDE_MM, "gcnr_bins": 64,
        "realisations": SEEDS, "lateral_fwhm_mm": round(lateral, 4), "axial_fwhm_mm": round(axial, 4),
        "discs": {},
    }  # fmt: skip
    for contrast in (-6.0, -12.0, -18.0):
        found = np.array([disc(contrast, seed) for seed in range(SEEDS)])
        result["discs"][f"{contrast:g}"] = {
            "contrast_db": round(float(found[:, 0].mean()), 3), "gcnr": round(float(found[:, 1].mean()), 4),
            "contrast_sd_db": round(float(found[:, 0].std(ddof=1)), 3),
        }  # fmt: skip
    path = Path(__file__).parent / "figures" / "sonosk.json"
    path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
