"""Sizes by person, implicit solids against closed forms, and what completion refuses."""

from __future__ import annotations

import numpy as np
import pytest

from injectplan.anatomy.completion import complete_joint
from injectplan.anatomy.completion.dimensions import KNEE, KNEE_FAT, knee_sizes
from injectplan.anatomy.completion.solids import Frame, Grid, ball, smooth_min, tube
from injectplan.anatomy.model import JointAxes, Subject
from injectplan.errors import ContradictionError, EmptyStructureError, UsageError


def _axes(side: str = "right") -> JointAxes:
    lateral = np.array([1.0 if side == "right" else -1.0, 0.0, 0.0])
    return JointAxes(
        side=side,
        origin_mm=np.array([5.0, -3.0, 40.0]),
        lateral=lateral,
        anterior=np.array([0.0, 1.0, 0.0]),
        proximal=np.array([0.0, 0.0, 1.0]),
    )


@pytest.mark.parametrize("side", ["right", "left"])
def test_solids_have_their_closed_volumes_on_either_side(side):
    grid = Grid.between(Frame.of(_axes(side)), (-20, -20, -20), (20, 20, 20), 0.8)
    sphere = grid.surface(ball(grid, (1.0, 2.0, 3.0), 10.0))
    assert sphere.volume_ml == pytest.approx(4 / 3 * np.pi, rel=0.01)
    assert sphere.closed
    assert sphere.manifold
    center = grid.frame.to_patient(np.array([1.0, 2.0, 3.0]))
    np.testing.assert_allclose(sphere.bounds_mm.mean(axis=0), center, atol=0.1)
    rod = grid.surface(tube(grid, [[-8.0, 0, 0], [8.0, 0, 0]], 4.0))
    assert rod.volume_ml == pytest.approx((np.pi * 16 * 16 + 4 / 3 * np.pi * 64) / 1e3, rel=0.02)


def test_smooth_union_holds_both_and_deepens_the_seam_by_a_quarter_of_the_blend():
    a, b = np.float32(1.0), np.float32(1.0)
    assert smooth_min(a, b, 4.0) == pytest.approx(0.0)
    assert smooth_min(np.float32(-2.0), np.float32(9.0), 4.0) == pytest.approx(-2.0)


def test_fat_grows_with_weight_and_is_thicker_in_women():
    for name, table in KNEE_FAT.items():
        by_bmi = [knee_sizes(Subject(bmi=b, sex="male"), {})[name] for b in (22.0, 27.0, 32.0, 38.0)]
        assert by_bmi == pytest.approx(table)
        woman = knee_sizes(Subject(bmi=27.0, sex="female"), {})[name]
        assert woman == pytest.approx(1.3 * table[1])


def test_every_default_that_was_read_is_listed_and_a_given_value_is_not():
    sizes = knee_sizes(Subject(), {"recess_thickness": 3.0})
    assert sizes["recess_thickness"] == 3.0
    assert sizes.assumed == ()
    assert sizes["patella_fat"] == sizes.values["patella_fat"]
    fat, *why = (line.split(" ")[0] for line in reversed(sizes.assumed))
    assert (fat, why) == ("patella_fat", ["sex", "bmi"])
    for name in sizes.values:
        assert sizes[name] > 0.0 or name == "effusion_ml"
    text = "\n".join(sizes.assumed)
    assert "recess_thickness" not in text
    assert "bmi" in text
    for name in KNEE.keys() - {"recess_thickness", "effusion_ml"}:
        assert name in text


def test_a_size_outside_its_bounds_is_refused():
    with pytest.raises(UsageError, match="effusion_ml = 500"):
        knee_sizes(Subject(), {"effusion_ml": 500.0})


def test_missing_bones_and_another_side_are_refused():
    with pytest.raises(EmptyStructureError, match="femur, tibia, patella"):
        complete_joint("knee", "right", _axes(), {}, Subject())
    with pytest.raises(ContradictionError, match="left knee"):
        complete_joint("knee", "left", _axes(), {}, Subject())
