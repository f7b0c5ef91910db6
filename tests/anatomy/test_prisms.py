"""Layers on curved surfaces hold what closed forms say, convex, hollow and flat."""

from __future__ import annotations

import math

import numpy as np
import pytest

from injectplan.anatomy.prisms import patch_volume_mm3, prism_volumes_mm3
from injectplan.phantoms.shapes import Shape


@pytest.mark.parametrize(
    ("radius_mm", "low_mm", "high_mm"), [(20.0, 0.0, 3.0), (20.0, 1.0, 2.5), (9.0, -2.0, 2.0)]
)
def test_a_layer_on_a_ball_is_a_shell(radius_mm, low_mm, high_mm):
    ball = Shape(
        kind="sphere", center=np.array([3.0, 1.0, 0.0]), axis="z", sizes={"radius": radius_mm}
    ).surface()
    n = len(ball.vertices_mm)
    found = prism_volumes_mm3(ball, np.full(n, low_mm), np.full(n, high_mm)).sum()
    exact = 4.0 / 3.0 * math.pi * ((radius_mm + high_mm) ** 3 - (radius_mm + low_mm) ** 3)
    assert found == pytest.approx(exact, rel=1e-3)
    # less what lies under it as the flat reckoning would have it
    assert (found > (high_mm - low_mm) * ball.area_mm2) == (low_mm + high_mm > 0.0) or low_mm + high_mm == 0.0


def test_a_patch_counts_its_own_vertices_and_fills_what_is_not_measured():
    ball = Shape(kind="sphere", center=np.zeros(3), axis="z", sizes={"radius": 20.0}).surface()
    n = len(ball.vertices_mm)
    upper = ball.vertices_mm[:, 2] > 10.0
    high = np.where(upper, 3.0, np.nan)
    high[np.flatnonzero(upper)[::7]] = np.nan
    found = patch_volume_mm3(ball, np.zeros(n), high, upper)
    cap = 2.0 * math.pi / 3.0 * (1.0 - 0.5) * (23.0**3 - 20.0**3)
    assert found == pytest.approx(cap, rel=0.02)
    assert math.isnan(patch_volume_mm3(ball, np.zeros(n), np.full(n, np.nan), upper))
