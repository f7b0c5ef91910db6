"""Tissue patterns kept between runs are those made anew; a damaged file is made anew."""

from __future__ import annotations

import numpy as np
import pytest

from injectplan.ultrasound import patterns


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("INJECTPLAN_KEEP_JOINTS", raising=False)
    return tmp_path / "injectplan" / "patterns"


def _numbers():
    return np.arange(5, dtype=np.int32)


def _refuse():
    raise AssertionError("made again")


def test_what_is_kept_is_read_back_bit_for_bit(own_cache):
    made = patterns._kept("n", _numbers)
    read = patterns._kept("n", _refuse)
    assert np.array_equal(made, read)
    assert made.dtype == read.dtype
    assert not read.flags.writeable
    assert len(list(own_cache.iterdir())) == 1


def test_a_damaged_file_is_made_anew(own_cache):
    patterns._kept("n", _numbers)
    path = next(own_cache.iterdir())
    whole = path.read_bytes()
    at = whole.index(_numbers().tobytes()) + 4
    for damaged in (b"", whole[: len(whole) // 2], whole[:at] + b"\x07" + whole[at + 1 :]):
        path.write_bytes(damaged)
        assert np.array_equal(patterns._kept("n", _numbers), _numbers())
        assert np.array_equal(patterns._kept("n", _refuse), _numbers())


def test_nothing_is_kept_where_that_is_said(own_cache, monkeypatch):
    monkeypatch.setenv("INJECTPLAN_KEEP_JOINTS", "0")
    patterns._kept("n", _numbers)
    assert not own_cache.exists()


def test_few_versions_are_kept(own_cache):
    for n in range(patterns.KEPT_FILES + 3):
        own_cache.mkdir(parents=True, exist_ok=True)
        (own_cache / f"n-{n}.npz").write_bytes(b"old")
    patterns._kept("n", _numbers)
    assert len(list(own_cache.glob("n-*.npz"))) == patterns.KEPT_FILES
    assert np.array_equal(patterns._kept("n", _refuse), _numbers())


def test_kept_arrays_are_those_of_a_run_that_keeps_nothing(monkeypatch):
    pairs, volumes = patterns.speckle_pairs(), patterns.pattern_volumes()
    assert np.array_equal(pairs, patterns._pairs())
    assert np.array_equal(volumes, patterns._patterns())
