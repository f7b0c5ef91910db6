"""Chance as an input: uniform and normal numbers from a counter-based hash of (seed, index).

The same (seed, index) gives the same number on any thread, in any order. Normal number i is made of the
uniform numbers 2i and 2i + 1 of its seed: draw the two kinds from different seeds.
"""

from __future__ import annotations

import math

import numpy as np

from injectplan.kernels._jit import kernel, wrapping_kernel


@wrapping_kernel
def hash64(seed, index):
    """Mix two integers into 64 random bits: two rounds of SplitMix64's finaliser.

    Steele, Lea & Flood (2014), doi:10.1145/2660193.2660195.
    """
    z = np.uint64(seed) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(index) + np.uint64(0x632BE59BD9B4E019)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    z += np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@kernel
def uniform_at(seed, index):
    """Return the uniform number in [0, 1) that belongs to (seed, index)."""
    return np.float64(hash64(seed, index) >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@kernel
def normal_at(seed, index):
    """Return the standard normal number that belongs to (seed, index), by Box & Muller (1958)."""
    u = 1.0 - uniform_at(seed, np.uint64(2) * np.uint64(index))
    v = uniform_at(seed, np.uint64(2) * np.uint64(index) + np.uint64(1))
    return math.sqrt(-2.0 * math.log(u)) * math.cos(2.0 * math.pi * v)


@kernel
def normals(seed, first, count):
    """Return the normal numbers of indices first … first + count - 1, (count,)."""
    result = np.empty(count, np.float64)
    for i in range(count):
        result[i] = normal_at(seed, first + i)
    return result


@kernel
def uniforms(seed, first, count):
    """Return the uniform numbers of indices first … first + count - 1, (count,)."""
    result = np.empty(count, np.float64)
    for i in range(count):
        result[i] = uniform_at(seed, np.uint64(first + i))
    return result
