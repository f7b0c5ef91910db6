"""Lateral two-way profiles by eSDIva (BSD-3-Clause), a spatial-impulse-response simulator.

Run in an environment of its own, which injectplan never imports:
    python -m venv /tmp/peers && /tmp/peers/bin/pip install esdiva==0.3.0
    /tmp/peers/bin/python benchmarks/peers/esdiva_profiles.py
It writes figures/esdiva.json, which tests/physics/test_peers.py reads. Transmit is focused at 20 mm by F/2 of
its aperture, receive at the depth looked at by F/2 of its own; the two-way profile is the product of both
fields at 7.5 MHz, λ = 0.2053 mm.
"""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path

import esdiva
import numpy as np

FREQUENCY_MHZ, SPEED, FOCUS_MM, F_NUMBER = 7.5, 1540.0, 20.0, 2.0


def field(focus_mm: float, depth_mm: float) -> tuple[np.ndarray, np.ndarray]:
    """x in mm and pressure amplitude there at a depth, of an aperture focus/F wide focused at `focus_mm`."""
    count = round(focus_mm / F_NUMBER / 0.1)
    probe = esdiva.transducers.LinearArrayTransducer(
        n_elements=count, element_width_mm=0.09, element_height_mm=4.0, kerf_mm=0.01, no_sub_x=1, no_sub_y=16,
        frequency_Hz=FREQUENCY_MHZ * 1e6,
    )  # fmt: skip
    probe.compute_delays(focus_mm=[0, 0, focus_mm])
    points = {
        "x_extent": [-2.0, 2.0], "y_extent": [0.0, 0.0], "z_extent": [depth_mm, depth_mm], "dx": 0.01,
        "dy": 1.0, "dz": 1.0,
    }  # fmt: skip
    pressure, where = esdiva.Emission(probe, monochromatic=True)(points)
    x = np.asarray(where["x"] if "x" in where else where["x_mm"], dtype=float).reshape(-1)
    return x * (1e3 if np.abs(x).max() < 0.1 else 1.0), np.abs(np.asarray(pressure)).reshape(-1)


def width_mm(x: np.ndarray, y: np.ndarray) -> float:
    """Full width at half of the maximum, by linear interpolation."""
    y = y / y.max()
    k = int(np.argmax(y))
    left, right = k - int(np.argmax(y[k::-1] < 0.5)), k + int(np.argmax(y[k:] < 0.5))
    a = np.interp(0.5, [y[left], y[left + 1]], [x[left], x[left + 1]])
    b = np.interp(0.5, [y[right], y[right - 1]], [x[right], x[right - 1]])
    return float(b - a)


def main() -> None:
    found = {}
    for depth in (10.0, 20.0, 30.0):
        x, transmit = field(FOCUS_MM, depth)
        _, receive = field(depth, depth)
        found[f"{depth:g}"] = round(width_mm(x, transmit * receive), 4)
    result = {
        "peer": "esdiva", "version": importlib.metadata.version("esdiva"), "licence": "BSD-3-Clause",
        "frequency_mhz": FREQUENCY_MHZ, "speed_m_s": SPEED, "focus_mm": FOCUS_MM, "f_number": F_NUMBER,
        "width_mm_at_depth_mm": found,
    }  # fmt: skip
    path = Path(__file__).parent / "figures" / "esdiva.json"
    path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
