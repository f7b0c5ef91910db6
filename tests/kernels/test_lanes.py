"""The vector loops against their plain twins."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from injectplan.kernels import _lanes as lanes
from injectplan.ultrasound.patterns import circle_table, speckle_pairs

QUICK = settings(max_examples=60, deadline=None)
ends = st.tuples(st.integers(0, 90), st.integers(0, 90)).map(sorted)


@QUICK
@given(ends, st.floats(-300.0, 300.0), st.floats(-3.0, 3.0))
def test_lay_writes_a_ramp_and_nothing_beside(part, start, stride):
    got = np.full(90, 7.0, np.float32)
    want = got.copy()
    lanes.lay(got, *part, start, stride)
    lanes.lay_plain(want, *part, start, stride)
    assert got == pytest.approx(want, rel=1e-6, abs=1e-4)
    outside = np.r_[0 : part[0], part[1] : 90]
    assert (got[outside] == 7.0).all()


@QUICK
@given(ends, st.floats(0.0, 1.0), st.floats(0.2, 1.0))
def test_decay_falls_by_one_factor(part, level, fall):
    for kernel, plain in (
        (lanes.decay, lanes.decay_plain),
        (lanes.add_decay, lanes.add_decay_plain),
    ):
        got = np.full(90, 0.5, np.float32)
        want = got.copy()
        kernel(got, *part, level, fall)
        plain(want, *part, level, fall)
        assert got == pytest.approx(want, rel=1e-5, abs=1e-12)
        assert (got[np.r_[0 : part[0], part[1] : 90]] == 0.5).all()


@QUICK
@given(ends, st.integers(0, 2**32 - 1), st.tuples(*[st.integers(-300, 300)] * 3))
def test_grains_are_the_turned_corners_interpolated(part, seed, turns):
    rng = np.random.default_rng(seed)
    places = rng.uniform(0.0, 1500.0, (3, 90)).astype(np.float32)
    amplitude, weight = rng.uniform(0.0, 1.0, (2, 90)).astype(np.float32)
    found = []
    for kernel in (lanes.grains, lanes.grains_plain):
        out = np.full((2, 90), 3.0, np.float32)
        kernel(
            speckle_pairs(), np.array(turns, np.int32), circle_table(), *places, amplitude, weight, *out,
            *part,
        )  # fmt: skip
        found.append(out)
    assert np.abs(found[0] - found[1]).max() < 2e-3  # of numbers up to 180
    assert (found[0][:, np.r_[0 : part[0], part[1] : 90]] == 3.0).all()


def test_grains_have_unit_power_wherever_they_are_sampled():
    rng = np.random.default_rng(0)
    for fraction in (0.0, 0.25, 0.5):
        places = (rng.integers(1000, 1120, (3, 40_000)) + fraction).astype(np.float32)
        out, one = np.zeros((2, 40_000), np.float32), np.ones(40_000, np.float32)
        lanes.grains(
            speckle_pairs(), np.array([5, 90, -33], np.int32), circle_table(), *places, one, one, *out, 0,
            40_000,
        )  # fmt: skip
        assert (out**2).sum(axis=0).mean() == pytest.approx(2 * 32.0**2, rel=0.03)
