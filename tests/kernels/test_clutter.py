"""The haze of a scanner's picture, against a plain sum over each sample's neighbourhood."""

from __future__ import annotations

import numpy as np
import pytest

from injectplan.kernels.clutter import add_clutter


def plain(power, cap, share, keep, reach):
    lines, samples = power.shape
    trail = np.zeros_like(power)
    for line in range(lines):
        state = 0.0
        for k in range(samples):
            state = keep * state + (1 - keep) * min(power[line, k], cap)
            trail[line, k] = state
    out = power.copy()
    for line in range(lines):
        near = trail[max(0, line - reach) : min(lines, line + reach + 1)]
        out[line] += share * near.mean(axis=0)
    return out


@pytest.mark.parametrize("reach", [1, 4, 40])
@pytest.mark.parametrize("squared", [True, False])
def test_haze_is_a_share_of_the_neighbourhoods_mean(reach, squared):
    power = np.random.default_rng(1).exponential(1.0, (24, 50)).astype(np.float32)
    expected = plain(power.astype(float), 1.5, 0.02, 0.9, reach)
    picture = (power if squared else np.sqrt(power)).copy()
    ones = np.ones(64, np.float32)
    add_clutter(
        picture, squared, np.float32(1.5), 0.02, np.float32(0.9), reach, ones, 3,
        np.zeros_like(power), np.zeros(50, np.float32),
    )  # fmt: skip
    np.testing.assert_allclose(picture if squared else picture**2, expected, rtol=2e-5)


def test_bone_does_not_smear_more_than_the_cap_allows():
    power = np.zeros((9, 40), np.float32)
    power[4, 5] = 1e6
    add_clutter(
        power, True, np.float32(1.0), 0.1, np.float32(0.5), 2, np.ones(64, np.float32), 0,
        np.zeros_like(power), np.zeros(40, np.float32),
    )  # fmt: skip
    beside = np.delete(power, 4, axis=0)
    assert 0 < beside.max() <= 0.1
    assert not power[:2].any()
    assert not power[:, :5].any()
