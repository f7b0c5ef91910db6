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


@QUICK
@given(st.lists(st.floats(0.0, 1e6, width=32), min_size=1, max_size=70))
def test_decibels_are_ten_logarithms(powers):
    power = np.array(powers, np.float32)
    got, want = np.empty_like(power), np.empty(len(power))
    lanes.decibels(power, got)
    lanes.decibels_plain(power, want)
    assert got == pytest.approx(want, abs=2e-5)


def test_decibels_over_the_whole_range():
    power = np.float32(10.0) ** np.linspace(-20.0, 8.0, 5001, dtype=np.float32)
    got = np.empty_like(power)
    lanes.decibels(power, got)
    want = 10.0 * np.log10(power.astype(np.float64) + 1e-20)
    assert np.abs(got - want).max() < 2e-5


@QUICK
@given(ends, st.integers(0, 99))
def test_pixels_are_drawn_between_four_corners_and_nothing_beside(part, seed):
    rng = np.random.default_rng(seed)
    lines, samples = 9, 21
    greys = rng.uniform(0, 255, size=(lines, samples)).astype(np.float32)
    ways = rng.uniform(0, 1.2, size=(lines, samples)).astype(np.float32)
    trusts = rng.integers(0, 2, size=(lines, samples)).astype(np.uint8)
    x, y = rng.uniform(0, lines - 1.001, 90), rng.uniform(0, samples - 1.001, 90)
    cells = (x.astype(int) * samples + y.astype(int)).astype(np.int32)
    nearest = (np.rint(x).astype(int) * samples + np.rint(y).astype(int)).astype(np.int32)
    outside = rng.uniform(size=90) < 0.2
    cells[outside] = nearest[outside] = -1
    along, deep = (x % 1).astype(np.float32), (y % 1).astype(np.float32)
    results = []
    for draw in (lanes.convert, lanes.convert_plain):
        rows = np.full(90, 7, np.uint8), np.full(90, 7.0, np.float32), np.ones(90, np.bool_)
        flat = greys.ravel(), ways.ravel(), trusts.ravel()
        draw(*flat, cells, along, deep, nearest, samples, *part, *rows)
        results.append(rows)
    (grey, way, trust), (grey_plain, way_plain, trust_plain) = results
    assert np.abs(grey.astype(int) - grey_plain).max() <= 1  # a half may round either way
    assert (grey == grey_plain).mean() > 0.95
    assert way == pytest.approx(way_plain, abs=2e-6)
    assert (trust == trust_plain).all()
    beside = np.r_[0 : part[0], part[1] : 90]
    assert (grey[beside] == 7).all()
    assert (way[beside] == 7.0).all()
    assert trust[beside].all()
    inside = np.zeros(90, bool)
    inside[part[0] : part[1]] = True
    assert not grey[inside & outside].any()
    assert not way[inside & outside].any()
    assert not trust[inside & outside].any()
    inside &= ~outside
    i, j = x.astype(int)[inside], y.astype(int)[inside]
    u, v = x[inside] % 1, y[inside] % 1
    for grid, got, off in ((greys, grey, 0.51), (ways, way, 1e-5)):
        true = (1 - u) * ((1 - v) * grid[i, j] + v * grid[i, j + 1])
        true += u * ((1 - v) * grid[i + 1, j] + v * grid[i + 1, j + 1])
        true = np.minimum(true, 1.0) if grid is ways else true
        assert got[inside] == pytest.approx(true, abs=off)
    assert (trust[inside] == trusts.ravel()[nearest[inside]]).all()


@QUICK
@given(ends, st.integers(0, 99))
def test_a_row_at_one_depth_is_drawn_as_pixel_by_pixel(part, seed):
    rng = np.random.default_rng(seed)
    lines, samples = 9, 21
    greys = rng.uniform(0, 255, lines * samples).astype(np.float32)
    ways = rng.uniform(0, 1.2, lines * samples).astype(np.float32)
    trusts = rng.integers(0, 2, lines * samples).astype(np.uint8)
    x, deep = rng.uniform(0, lines - 1.001, 90), np.float32(rng.uniform())
    along, down = (x % 1).astype(np.float32), int(rng.integers(0, samples - 1))
    cells = (x.astype(int) * samples).astype(np.int32)
    nearest = (np.rint(x).astype(int) * samples).astype(np.int32)
    cells[rng.uniform(size=90) < 0.2] = -1
    nearest[rng.uniform(size=90) < 0.2] = -1
    rows = [(np.full(90, 7, np.uint8), np.full(90, 7.0, np.float32), np.ones(90, np.bool_)) for _ in range(3)]
    how = cells, along, nearest, down, deep, down + 1, samples, *part
    lanes.convert_row(greys, ways, trusts, *how, *rows[0])
    lanes.convert_row_plain(greys, ways, trusts, *how, *rows[1])
    moved = np.where(cells < 0, -1, cells + down).astype(np.int32)
    corner = np.where(nearest < 0, -1, nearest + down + 1).astype(np.int32)
    lanes.convert(greys, ways, trusts, moved, along, np.full(90, deep), corner, samples, *part, *rows[2])
    for got, same in zip(rows[0], rows[2], strict=True):
        assert (got == same).all()
    assert np.abs(rows[0][0].astype(int) - rows[1][0]).max() <= 1
    assert rows[0][1] == pytest.approx(rows[1][1], abs=2e-6)
    assert (rows[0][2] == rows[1][2]).all()
