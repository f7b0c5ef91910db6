"""Vessels segmented over a part of the view: what is missing is drawn on from where they end, and said."""

from __future__ import annotations

import numpy as np
import pytest

from injectplan.anatomy.completion import complete_joint
from injectplan.anatomy.completion.courses import (
    FADES_MM,
    LEAST_GAP_MM,
    OVERLAP_MM,
    course_of,
    share_of_drawn,
)
from injectplan.anatomy.completion.solids import Drafts, Frame, Grid, tube
from injectplan.anatomy.model import Structure, Subject
from injectplan.anatomy.repair import repair_surface
from injectplan.imaging.values import Surface
from injectplan.kernels.bvh import nearest_points, signed_distances
from injectplan.structures import structure
from whole_joints import completed, joint_points

STILL = Frame(np.zeros(3), np.eye(3))
Z = np.arange(-100.0, 100.5, 2.0)
DRAWN = np.column_stack([0 * Z, 0 * Z, Z])
BOX = ([-50.0, -50.0, -100.0], [50.0, 50.0, 100.0])


def _tube(path, radius):
    path = np.asarray(path, float)
    grid = Grid.between(STILL, path.min(axis=0) - radius - 2, path.max(axis=0) + radius + 2, 0.7)
    return grid.surface(tube(grid, path, radius))


def _straight(low, high, x=0.0, y=0.0):
    z = np.arange(low, high + 0.5, 2.0)
    return np.column_stack([np.full_like(z, x), np.full_like(z, y), z])


def test_a_cord_segmented_over_the_whole_view_lacks_nothing():
    course = course_of(DRAWN, _tube(_straight(-120.0, 120.0, 6.0, -4.0), 4.0))
    assert course.missing(*BOX) == []
    assert np.abs(course.path_mm[:, 0] - 6.0).max() < 0.2
    assert np.abs(course.path_mm[:, 1] + 4.0).max() < 0.2
    assert course.radius_mm == pytest.approx(4.0, abs=0.15)


def test_the_missing_end_starts_where_the_segmented_one_stops_and_comes_back_to_the_drawn_course():
    course = course_of(DRAWN, _tube(_straight(-120.0, -20.0, 8.0), 3.0))
    (path,) = course.missing(*BOX)
    end = -20.0 + 3.0  # of the round tip
    assert path[0, 2] == pytest.approx(end - OVERLAP_MM, abs=3.0)
    assert path[-1, 2] == 100.0
    assert path[0, 0] == pytest.approx(8.0, abs=0.2)
    along = path[path[:, 2] > end + 2.0]
    assert np.abs(along[:, 0] - 8.0 * np.exp(-(along[:, 2] - end) / FADES_MM)).max() < 0.3


def test_a_hole_between_two_pieces_is_bridged_in_a_straight_line():
    low, high = _tube(_straight(-120.0, -30.0, 6.0), 3.0), _tube(_straight(30.0, 120.0, -6.0), 3.0)
    both = Surface(
        np.vstack([low.vertices_mm, high.vertices_mm]),
        np.vstack([low.triangles, high.triangles + len(low.vertices_mm)]),
    )
    (path,) = course_of(DRAWN, both).missing(*BOX)
    between = path[np.abs(path[:, 2]) < 26.0]
    assert np.abs(between[:, 0] + 6.0 * between[:, 2] / 27.0).max() < 0.4


def test_a_short_gap_and_what_lies_outside_of_the_view_do_not_count():
    low, high = _tube(_straight(-120.0, -3.0), 2.0), _tube(_straight(3.0, 60.0), 2.0)
    both = Surface(
        np.vstack([low.vertices_mm, high.vertices_mm]),
        np.vstack([low.triangles, high.triangles + len(low.vertices_mm)]),
    )
    assert LEAST_GAP_MM > 2.0
    assert course_of(DRAWN, both).missing(BOX[0], [50.0, 50.0, 60.0]) == []


def test_a_coarse_mesh_of_long_triangles_is_covered_all_along():
    rings = [[4.0 * np.cos(t), 4.0 * np.sin(t), z] for z in (-90.0, -10.0) for t in np.arange(6) * np.pi / 3]
    sides = [[i, (i + 1) % 6, 6 + i] for i in range(6)] + [
        [(i + 1) % 6, 6 + (i + 1) % 6, 6 + i] for i in range(6)
    ]
    course = course_of(DRAWN, Surface(np.array(rings), np.array(sides)))
    (path,) = course.missing([*BOX[0][:2], -90.0], BOX[1])
    assert path[0, 2] == pytest.approx(-10.0 - OVERLAP_MM, abs=3.0)


def test_a_continuation_is_sure_at_the_join_and_as_unsure_as_a_drawn_course_far_off():
    share = share_of_drawn([0.0, FADES_MM, 20.0 * FADES_MM])
    assert share == pytest.approx([0.0, np.sqrt(1.0 - np.exp(-2.0)), 1.0], abs=1e-9)


def _again(kind, axes, given):
    return complete_joint(kind, "right", axes, given, Subject(bmi=25.0, sex="female"), drafts=Drafts(1.6, ()))


def _lower_part(axes, whole, cut):
    """What of a structure lies below a height, its hole closed."""
    low = joint_points(axes, whole.surface)[:, 2] < cut
    kept = whole.surface.triangles[low[whole.surface.triangles].all(axis=1)]
    part, _ = repair_surface(Surface(whole.surface.vertices_mm, kept), whole.name)
    return Structure(
        name=whole.name, surface=part, tissue=whole.tissue, risk=whole.risk, source="segmented",
        priority=whole.priority,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "cuts"),
    [
        ("hip", {"femoral_vein": 0.0}),
        ("hip", {"femoral_artery": 20.0}),
        ("ankle", {"dorsalis_pedis_artery": 15.0, "posterior_tibial_artery": 15.0}),
        ("knee", {"popliteal_artery": 10.0, "great_saphenous_vein": -10.0}),
    ],
)
def test_a_vessel_cut_in_two_is_completed_where_it_was(kind, cuts):
    axes, whole = completed(kind, "right", 25.0)
    given = {n: s for n, s in whole.structures.items() if s.source == "segmented"}
    parts = {name: _lower_part(axes, whole.structures[name], cut) for name, cut in cuts.items()}
    made = _again(kind, axes, given | parts)
    assert sorted(n.structure for n in made.notices if n.code == "segmented-in-part") == sorted(cuts)
    for name, part in parts.items():
        rest = made.structures[f"{name}_continued"]
        assert (rest.source, rest.risk) == ("completed", structure(name).risk)
        assert rest.placement_sd_mm == whole.structures[name].placement_sd_mm
        # no needle passes between the two, and what was cut off is back
        wall = whole.structures[name].surface.vertices_mm
        away = np.minimum(signed_distances(part.surface.bvh, wall), signed_distances(rest.surface.bvh, wall))
        assert away.max() < 1.0, name
        assert nearest_points(part.surface.bvh, rest.surface.vertices_mm)[0].min() < 0.3, name


def test_a_branch_is_left_as_long_as_it_was_segmented():
    axes, whole = completed("hip", "right", 25.0)
    given = {n: s for n, s in whole.structures.items() if s.source == "segmented"}
    name = "lateral_circumflex_femoral_artery"
    made = _again("hip", axes, given | {name: _lower_part(axes, whole.structures[name], -35.0)})
    assert f"{name}_continued" not in made.structures
