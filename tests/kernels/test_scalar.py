"""The exponential compiled in place, against one of more digits."""

from __future__ import annotations

import math

import numpy as np

from injectplan.kernels import _scalar


def test_it_is_the_exponential_to_the_last_bits():
    x = np.concatenate([np.linspace(_scalar.LEAST, 709.0, 20001), np.linspace(-1, 1, 5001), [0.0, -1e-300]])
    got = np.array([_scalar.swift_exp(value) for value in x])
    true = np.exp(x.astype(np.longdouble))
    assert np.abs(got / true - 1).max() < 4.5e-16
    assert _scalar.swift_exp(0.0) == 1.0


def test_what_underflows_is_nothing_to_speak_of_and_nan_stays():
    for value in (-709.0, -1e9, -math.inf):
        assert 0.0 <= _scalar.swift_exp(value) < 1e-307
    assert math.isnan(_scalar.swift_exp(math.nan))
