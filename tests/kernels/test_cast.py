"""The door to the kernels."""

from __future__ import annotations

import numpy as np
import pytest

from injectplan.kernels.cast import cast, points


def test_what_enters_is_contiguous_read_only_and_of_the_dtype():
    given = np.asfortranarray(np.arange(12, dtype=np.int64).reshape(4, 3))
    got = cast(given, np.float64, (None, 3), "x")
    assert got.dtype == np.float64
    assert got.flags.c_contiguous
    assert not got.flags.writeable
    np.testing.assert_array_equal(got, given)


def test_the_caller_s_own_array_stays_writable():
    given = np.zeros((4, 3))
    assert not points(given).flags.writeable
    given[0, 0] = 1.0
    assert points(given)[0, 0] == 1.0


def test_one_point_is_a_list_of_one():
    assert points([1.0, 2.0, 3.0]).shape == (1, 3)


@pytest.mark.parametrize(
    "bad", [[[1.0, 2.0]], [[1.0, 2.0, np.nan]], [[np.inf, 0.0, 0.0]], np.zeros((2, 2, 3))]
)
def test_what_is_no_point_is_refused_by_name(bad):
    with pytest.raises(ValueError, match="where_mm"):
        points(bad, "where_mm")
