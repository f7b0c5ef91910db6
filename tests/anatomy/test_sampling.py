"""Completion as a distribution: the draws keep the published spreads, and chance is an input."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from scipy import stats

from injectplan.anatomy.build import build_joint
from injectplan.anatomy.completion import complete_joint
from injectplan.anatomy.completion.ankle import ANKLE
from injectplan.anatomy.completion.sampling import (
    COARSER,
    ENVELOPES,
    UNMOVED,
    Completions,
    draw_sizes,
    sample_completions,
    shift_of,
    with_spread,
)
from injectplan.anatomy.completion.sliding import Bones, Cover, slid
from injectplan.anatomy.completion.solids import Drafts, Frame, Grid, ball
from injectplan.anatomy.model import JointModel, Structure, Subject
from injectplan.anatomy.repair import repair_surface
from injectplan.errors import UsageError
from injectplan.imaging.values import Surface
from injectplan.kernels.bvh import signed_distances
from injectplan.phantoms import make_phantom


@cache
def _ankle() -> JointModel:
    phantom = make_phantom("ankle", {"spacing_mm": 1.5, "slice_mm": 1.5})
    return build_joint(
        phantom.labelmap, kind="ankle", side="right", subject=Subject(bmi=25.0, sex="female"),
        parameters={"recess_thickness": 2.0},
    )  # fmt: skip


@cache
def _drawn(n: int, seed: int = 5) -> Completions:
    return sample_completions(_ankle(), n, seed, spacing_mm=2.5)


def test_sizes_follow_their_normal_cut_off_at_the_bounds():
    drawn = [draw_sizes(_ankle(), i, 11) for i in range(400)]
    for name in ("tibialis_anterior_width", "superficial_fibular_from_lateral", "skin_thickness"):
        d = ANKLE[name]
        values = np.array([one[name] for one in drawn])
        low, high = (d.low - d.value) / d.sd, (d.high - d.value) / d.sd
        law = stats.truncnorm(low, high, loc=d.value, scale=d.sd)
        assert stats.kstest(values, law.cdf).pvalue > 1e-3
        assert values.min() >= d.low
        assert values.max() <= d.high
    # two sizes of one draw are independent of each other
    pair = np.array([[o["tibialis_anterior_width"], o["skin_thickness"]] for o in drawn])
    assert abs(np.corrcoef(pair.T)[0, 1]) < 0.15


def test_what_was_stated_is_not_drawn():
    assert "recess_thickness" not in draw_sizes(_ankle(), 0, 1)
    assert "effusion_ml" not in draw_sizes(_ankle(), 0, 1)


def test_draws_depend_on_seed_and_index_alone():
    two, three, other = _drawn(2), _drawn(3), _drawn(2, 6)
    for a, b in zip(two.draws, three.draws, strict=False):
        assert a.keys() == b.keys()
        for name in a:
            assert a[name].surface.vertices_mm.tobytes() == b[name].surface.vertices_mm.tobytes()
    name = "tibialis_anterior_tendon"
    assert not np.array_equal(two.draws[0][name].surface.bounds_mm, other.draws[0][name].surface.bounds_mm)


def test_probability_is_a_share_of_the_draws_and_holds_their_volume():
    drawn = _drawn(3)
    voxel_ml = abs(np.linalg.det(drawn.affine[:3, :3])) / 1e3
    for name in ("deep_fascia", "tibialis_anterior_tendon"):
        shares = drawn.probability[name]
        assert set(np.unique(np.round(shares * 3.0, 4))) <= {0.0, 1.0, 2.0, 3.0}
        inside = np.mean([d[name].surface.volume_ml for d in drawn.draws])
        assert shares.sum() * voxel_ml == pytest.approx(inside, rel=0.12)


def test_the_planner_s_uncertainty_is_that_of_the_draws_and_never_less_than_stated():
    joint, drawn = _ankle(), _drawn(3)
    spread = with_spread(joint, drawn)
    grown = 0
    for name, one in joint.structures.items():
        new = spread.structures[name].placement_sd_mm
        if one.source != "completed":
            assert new == one.placement_sd_mm
            continue
        assert new >= one.placement_sd_mm
        away = np.concatenate([drawn.mean_mm[name] ** 2 + drawn.sd_mm[name] ** 2])
        assert new == pytest.approx(max(one.placement_sd_mm, np.sqrt(away.mean())))
        grown += new > one.placement_sd_mm
    assert grown > 0


def _hip() -> JointModel:
    phantom = make_phantom("hip", {"spacing_mm": 2.0, "slice_mm": 2.0})
    return build_joint(phantom.labelmap, kind="hip", side="right", subject=Subject(bmi=25.0, sex="male"))


def _knee() -> JointModel:
    phantom = make_phantom("knee", {"spacing_mm": 2.0, "slice_mm": 2.0, "shaft_mm": 60.0})
    return build_joint(phantom.labelmap, kind="knee", side="right", subject=Subject(bmi=25.0, sex="male"))


def _depth_in(surface: Surface, points_mm: np.ndarray) -> float:
    """How deep the deepest of some points lies in a closed surface, mm; 0 where none does."""
    low, high = surface.bounds_mm
    near = points_mm[((points_mm > low) & (points_mm < high)).all(axis=1)]
    return max(0.0, -float(signed_distances(surface.bvh, near).min())) if len(near) else 0.0


@pytest.mark.parametrize("kind", ["ankle", "hip", "knee"])
def test_no_draw_lies_in_bone_or_outside_of_the_skin(kind):
    joint = {"ankle": _ankle, "hip": _hip, "knee": _knee}[kind]()
    drawn = _drawn(6) if kind == "ankle" else sample_completions(joint, 4, 5, spacing_mm=4.0)
    bones = {n: s.surface for n, s in joint.structures.items() if s.risk == "bone"}
    for one in drawn.draws:
        skin = one["skin"].surface
        for name, made in one.items():
            if name in (*ENVELOPES, *bones):
                continue
            points = made.surface.vertices_mm
            for bone, surface in bones.items():
                assert _depth_in(surface, points) < 0.5, (name, bone)
            assert signed_distances(skin.bvh, points).max() < 0.0, name
    assert drawn.slid  # what would have left its room is told
    assert max(drawn.slid.values()) <= len(drawn.draws)


def test_a_vessel_s_place_spreads_as_stated_where_it_is_free():
    """Across the limb before the ankle nothing is in the way of the deep fibular nerve."""
    joint = _ankle()
    frame = Frame.of(joint.axes)
    bones = Bones.of(frame, joint.structures)
    nerve = joint.structures["deep_fibular_nerve"]
    fascia = Cover.of(frame, joint.structures["deep_fascia"].surface)
    fat = Cover.of(frame, joint.structures["subcutaneous_fat"].surface)
    middle = nerve.surface.vertices_mm.mean(axis=0)
    found = []
    for i in range(150):
        shift = shift_of(nerve.name, nerve.placement_sd_mm, i, 3)
        made, _ = slid(nerve.surface, shift, bones, fascia, fat)
        found.append((made.vertices_mm.mean(axis=0) - middle) @ joint.axes.lateral)
    assert stats.kstest(found, stats.norm(0.0, nerve.placement_sd_mm).cdf).pvalue > 1e-2
    assert np.std(found) == pytest.approx(nerve.placement_sd_mm, rel=0.12)


def _ball(center: tuple[float, float, float], radii: tuple[float, float, float]) -> Surface:
    grid = Grid.between(Frame(np.zeros(3), np.eye(3)), np.subtract(center, radii) - 3.0,
                        np.add(center, radii) + 3.0, 1.0)  # fmt: skip
    return grid.surface(ball(grid, center, radii))


def test_a_ball_slides_along_a_bone_and_keeps_what_is_free_of_its_way():
    """Moved 12 mm along a flat bone and 9 into it from 2 above, it goes 12 mm along it and 2 down."""
    frame = Frame(np.zeros(3), np.eye(3))
    bone = _ball((0.0, 0.0, -20.0), (150.0, 150.0, 20.0))
    info = Structure(name="femur", surface=bone, tissue="cortical_bone", risk="bone", source="segmented",
                     priority=90)  # fmt: skip
    room = Cover.of(frame, _ball((0.0, 0.0, 0.0), (90.0, 90.0, 90.0)))
    cord = _ball((-6.0, 0.0, 4.0), (2.0, 2.0, 2.0))
    flat = Bones.of(frame, {"femur": info})
    free, none = slid(cord, (12.0, 0.0, 5.0), flat, room, room)
    assert np.abs(free.vertices_mm - cord.vertices_mm - [12.0, 0.0, 5.0]).max() < 1e-6
    assert none == 0.0
    made, push = slid(cord, (12.0, 0.0, -9.0), flat, room, room)
    gone = (made.vertices_mm - cord.vertices_mm).mean(axis=0)
    assert gone[0] == pytest.approx(12.0, abs=0.5)
    assert gone[2] == pytest.approx(-2.0, abs=0.5)
    assert push == pytest.approx(7.0, abs=0.6)
    assert made.volume_ml == pytest.approx(cord.volume_ml, rel=0.05)  # it is not flattened
    assert signed_distances(bone.bvh, made.vertices_mm).min() > -0.05
    # and a body's cover holds what is moved out through it
    out, _ = slid(cord, (0.0, 0.0, 150.0), flat, room, room)
    assert np.linalg.norm(out.vertices_mm, axis=1).max() < 90.0


def test_a_continuation_stays_where_it_joins_what_was_segmented_and_moves_far_from_it():
    """An artery segmented below the joint: draws move its completed part by its share of the shift."""
    joint = _ankle()
    nothing, name = joint.axes.origin_mm, "dorsalis_pedis_artery"
    whole = joint.structures[name]
    height = (whole.surface.vertices_mm - nothing) @ joint.axes.proximal
    low = (height < 0.0)[whole.surface.triangles].all(axis=1)
    part, _ = repair_surface(Surface(whole.surface.vertices_mm, whole.surface.triangles[low]), name)
    given = {n: s for n, s in joint.structures.items() if s.source == "segmented"}
    cut = replace(whole, surface=part, source="segmented", placement_sd_mm=0.0)
    made = complete_joint("ankle", "right", joint.axes, given | {name: cut}, joint.subject,
                          drafts=Drafts(COARSER, ()))  # fmt: skip
    partly = replace(joint, structures=made.structures)
    drawn = sample_completions(partly, 6, 3, spacing_mm=4.0)
    rest = partly.structures[f"{name}_continued"].surface.vertices_mm
    away = (rest - nothing) @ joint.axes.proximal
    spread = drawn.sd_mm[f"{name}_continued"]
    assert spread[away < away.min() + 3.0].max() < 0.4
    assert spread[away > away.max() - 10.0].mean() > 0.8


def test_segmented_bones_do_not_move_and_no_draws_are_refused():
    joint, drawn = _ankle(), _drawn(2)
    assert not {"tibia", "talus"} & set(drawn.draws[0])
    assert {*ENVELOPES, "deep_fat", "joint_cavity"} <= set(joint.structures) & set(UNMOVED)
    with pytest.raises(UsageError, match="at least one"):
        sample_completions(joint, 0, 1)
