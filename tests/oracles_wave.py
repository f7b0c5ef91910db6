"""A slow twin of sound: the 2-D acoustic wave equation on a staggered grid, finite differences in time.

Lengths in mm, times in µs, density in kg/m³ (only ratios matter), speed in mm/µs.  Pressure and velocity leap
over each other (Yee, Virieux 1984); the edges absorb by a layer of growing loss.
"""

from __future__ import annotations

import math

import numpy as np

EDGE = 40  # cells of the absorbing layer


def pulse(time, frequency, cycles=2.5):
    """A Gaussian pulse of a carrier, its middle at 1.5 of its length."""
    length = cycles / frequency
    middle = 1.5 * length
    return np.exp(-0.5 * ((time - middle) / (0.3 * length)) ** 2) * np.cos(
        2 * math.pi * frequency * (time - middle)
    )


def fields(density, speed, step, frequency, row, lasting):
    """Yield (time, pressure) while a plane pulse goes from `row` through maps (rows, columns).

    The source lies across all columns, so that a homogeneous medium sees the same everywhere.
    """
    rows, columns = density.shape
    dt = 0.45 * step / float(speed.max())
    p = np.zeros((rows, columns))
    vx, vz = np.zeros((rows, columns + 1)), np.zeros((rows + 1, columns))
    ax = dt / step / (0.5 * (density[:, 1:] + density[:, :-1]))
    az = dt / step / (0.5 * (density[1:] + density[:-1]))
    stiff = density * speed**2 * dt / step
    # Only above and below: to the sides the pulse is plane, and the edges mirror it as more of the same.
    depth = np.minimum(np.arange(rows), np.arange(rows)[::-1])
    most = 12.0 * float(speed.min()) / (EDGE * step)  # four nepers on the way through the layer
    damp = np.exp(-dt * most * (np.clip((EDGE - depth) / EDGE, 0.0, 1.0) ** 2))[:, None]
    for k in range(int(lasting / dt)):
        vx[:, 1:-1] -= ax * (p[:, 1:] - p[:, :-1])
        vz[1:-1] -= az * (p[1:] - p[:-1])
        p -= stiff * (vx[:, 1:] - vx[:, :-1] + vz[1:] - vz[:-1])
        p[row] += dt * pulse(k * dt, frequency)
        p *= damp
        vz[:-1] *= damp
        yield k * dt, p


def energy_below(density, speed, step, frequency, row):
    """Return ∫p² dt at every cell while a plane pulse passes."""
    energy, before = np.zeros(density.shape), 0.0
    lasting = len(density) * step / float(speed.min()) + 6.0 / frequency
    for time, p in fields(density, speed, step, frequency, row, lasting):
        energy += (time - before) * p * p
        before = time
    return energy
