"""Counter-based chance: known values, uniformity, independence of indices, seeds and threads."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

import oracles_kernels
from injectplan.kernels._jit import parallel_kernel, prange, set_threads
from injectplan.kernels.chance import hash64, normal_at, normals, uniform_at, uniforms

N = 200_000
KNOWN = [17716442196862346550, 15921765919291713, 4267280833719288273]


@pytest.mark.parametrize("seed", [0, 1, 7, 2**31, 2**62])
@pytest.mark.parametrize("index", [0, 1, 12345, 2**40])
def test_the_hash_is_the_one_in_whole_numbers(seed, index):
    assert int(np.uint64(hash64(seed, index))) == oracles_kernels.hash64(seed, index)


def test_known_values_stay():
    """Records are replayed from their seed: these numbers must never change."""
    assert [int(np.uint64(hash64(s, i))) for s, i in ((0, 0), (7, 0), (7, 1))] == KNOWN


def test_numbers_along_indices_and_along_seeds_are_uniform():
    along_seeds = np.array([uniform_at(seed, 5) for seed in range(20_000)])
    for numbers in (uniforms(3, 0, N), uniforms(3, 10**12, N), along_seeds):
        assert numbers.min() >= 0.0
        assert numbers.max() < 1.0
        counts = np.histogram(numbers, 256, (0.0, 1.0))[0]
        assert stats.chisquare(counts).pvalue > 1e-4


def test_neighbouring_indices_and_seeds_are_independent():
    """A correlation of n independent pairs has a standard error of 1/√n; 4.5 of them is p = 7e-6."""
    a = uniforms(3, 0, N)
    others = [uniforms(3, lag, N) for lag in (1, 2, 64, 4096)] + [
        uniforms(s, 0, N) for s in (2, 4, 3 + 2**32)
    ]
    for other in others:
        assert abs(np.corrcoef(a, other)[0, 1]) < 4.5 / np.sqrt(N)
        joint = np.histogram2d(a, other, 16, [[0, 1], [0, 1]])[0].ravel()
        assert stats.chisquare(joint).pvalue > 1e-4


def test_every_bit_is_set_half_of_the_time():
    words = np.array([hash64(11, i) for i in range(4000)], dtype=np.uint64)
    share = ((words[:, None] >> np.arange(64, dtype=np.uint64)) & np.uint64(1)).mean(axis=0)
    assert np.abs(share - 0.5).max() < 4.5 * 0.5 / np.sqrt(4000)


def test_normal_numbers_are_normal():
    numbers = normals(5, 0, N)
    assert stats.kstest(numbers, "norm").pvalue > 1e-4
    assert np.abs(np.corrcoef(numbers[:-1], numbers[1:])[0, 1]) < 4.5 / np.sqrt(N)
    assert numbers[17] == normal_at(5, 17)


@parallel_kernel
def _fill(seed, result):
    for i in prange(result.shape[0]):
        result[i] = normal_at(seed, i)


def test_threads_and_order_leave_the_numbers():
    results = []
    for count in (1, 2):
        set_threads(count)
        result = np.empty(10_001)
        _fill(9, result)
        results.append(result.tobytes())
    set_threads(None)
    assert results[0] == results[1] == np.concatenate([normals(9, 0, 5000), normals(9, 5000, 5001)]).tobytes()
