"""Colour mode: the phase that a moving fluid turns between two pulses, pixel by pixel; no packets.

Lengths in mm, speeds in mm/s; towards the probe is positive.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from injectplan.kernels._jit import kernel
from injectplan.kernels.cast import Floats
from injectplan.kernels.chance import normal_at


class Jet(NamedTuple):
    """A round jet: origin (3,), unit direction (3,), radius and speed at the bore, spread per mm of way."""

    origin: Floats
    direction: Floats
    radius: float
    speed: float
    spread: float


class Pulses(NamedTuple):
    """How colour is measured: radians per mm/s, sd of the phase's noise, speeds below `filter` not shown."""

    radians: float
    noise: float
    filter: float


@kernel
def jet_speed(jet, x, y, z):
    """Speed at a place: Gaussian across the jet, its momentum the same at every distance from the bore.

    Width sd √(a² + (k·s)²), axis speed v·a/width. Far away that is the round jet's 6·d·v/s with k = 1/12
    (Pope 2000, Turbulent Flows, section 5.1).  Nothing flows behind the bore.
    """
    px, py, pz = x - jet.origin[0], y - jet.origin[1], z - jet.origin[2]
    s = px * jet.direction[0] + py * jet.direction[1] + pz * jet.direction[2]
    if s < 0.0:
        return 0.0
    across = px * px + py * py + pz * pz - s * s
    width = jet.radius * jet.radius + (jet.spread * s) ** 2
    return jet.speed * jet.radius / math.sqrt(width) * math.exp(-0.5 * across / width)


@kernel
def wrapped(phase):
    """A phase brought into (-π, π]: what lies beyond is aliased."""
    return phase - 2.0 * math.pi * math.ceil((phase - math.pi) / (2.0 * math.pi))


@kernel
def draw_colour(jet, pulses, to_patient, scan, samples, directions, labels, fluid, shadow, faint, seed, out):
    """Speed along the beam as lag-1 phase tells it, (h, w) float32; NaN where no colour is shown.

    directions (lines, 3) : the lines'.  labels (h, w) with `fluid` the injectate's value.  shadow (h, w) :
    transmission, under `faint` nothing is received.  scan : the picture's place on the beam grid.
    """
    height, width = out.shape
    for row in range(height):
        for column in range(width):
            out[row, column] = np.float32(np.nan)
            cell = scan.cell[row, column]
            if cell < 0 or labels[row, column] != fluid or shadow[row, column] < faint:
                continue
            x = to_patient[0, 0] * column + to_patient[0, 1] * row + to_patient[0, 3]
            y = to_patient[1, 0] * column + to_patient[1, 1] * row + to_patient[1, 3]
            z = to_patient[2, 0] * column + to_patient[2, 1] * row + to_patient[2, 3]
            line = cell // samples
            near, far = directions[line], directions[line + 1]
            u = scan.along[row, column]
            toward = 0.0
            for a in range(3):
                toward -= jet.direction[a] * ((1.0 - u) * near[a] + u * far[a])
            speed = jet_speed(jet, x, y, z) * toward
            phase = pulses.radians * speed + pulses.noise * normal_at(seed, row * width + column)
            shown = wrapped(phase) / pulses.radians
            if abs(shown) >= pulses.filter:
                out[row, column] = np.float32(shown)
