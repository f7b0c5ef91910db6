"""The planner as a whole: closed forms, laws, refusals."""

from __future__ import annotations

import json
from dataclasses import replace

import jsonschema
import numpy as np
import pytest

from injectplan.documents import json_schema, to_json
from injectplan.errors import EmptyStructureError, NoTrajectoryError, UnconfirmedPlanError, UsageError
from injectplan.frames import Pose
from injectplan.instruments import Needle, Probe
from injectplan.kernels import search as kernel
from injectplan.kernels._jit import set_threads
from injectplan.kernels.bvh import nearest_points, signed_distances
from injectplan.kernels.segment import segment_distances
from injectplan.planning import APPROACHES, Constraints, plan_document, plan_injection, space
from injectplan.planning.plan import count_reasons, search
from injectplan.planning.recheck import FAR_MM, Rechecker, SecondEngine
from oracles_planning import capsule, ellipsoid, shell_joint, sphere, structure, toy_knee

NEEDLE = Needle()
PROBE = Probe()
SMALL = Constraints(entries=1500, targets=12)
NO_MARGIN = dict.fromkeys(("bone", "cartilage", "tendon", "artery", "vein", "nerve"), 0.0)


@pytest.fixture(scope="module")
def knee():
    return toy_knee()


@pytest.fixture(scope="module")
def plan(knee):
    return plan_injection(knee, NEEDLE, PROBE, SMALL, seed=3)


# ------------------------------------------------------------------------------------------- closed forms


@pytest.mark.parametrize(("radius", "away", "margin"), [(6.0, 20.0, 0.0), (3.0, 15.0, 5.0), (2.0, 25.0, 1.0)])
def test_blocked_skin_fraction(radius, away, margin):
    """A ball of radius r at distance d from the target blocks (1 − √(1 − (r/d)²))/2 of the skin around it."""
    ball = structure("femoral_artery", sphere(away * np.array([0.36, 0.48, 0.8]), radius, 5), "artery")
    joint = shell_joint([ball])
    margins = {**NO_MARGIN, "artery": margin}
    constraints = Constraints(entries=20_000, targets=1, margins_mm=margins, target_mm=np.zeros(3))
    found = search(joint, NEEDLE, None, constraints)
    reach = radius + margin + 0.5 * NEEDLE.outer_mm
    fraction = (1 - np.sqrt(1 - (reach / away) ** 2)) / 2
    blocked = count_reasons(found.status)["artery"] / found.status.size
    assert blocked == pytest.approx(fraction, rel=0.02, abs=3e-4)


def test_forbidden_sphere_blocks_the_same_fraction():
    constraints = Constraints(
        entries=20_000, targets=1, target_mm=np.zeros(3), forbidden=((np.array([0.0, 20.0, 0.0]), 6.0),)
    )
    found = search(shell_joint(), NEEDLE, None, constraints)
    reach = 6.0 + 0.5 * NEEDLE.outer_mm
    fraction = (1 - np.sqrt(1 - (reach / 20.0) ** 2)) / 2
    assert count_reasons(found.status)["forbidden"] / found.status.size == pytest.approx(fraction, rel=0.02)


def test_search_is_exactly_the_exact_distance_rule(knee):
    """The fields decide nothing that the meshes would decide otherwise: not one pair of 18 000 differs."""
    found = search(knee, NEEDLE, None, SMALL)
    c = found.candidates
    status = found.status
    judged = np.isin(status, [kernel.FEASIBLE, kernel.LEAVES_BODY]) | (status >= kernel.BONE_CROSSED)
    pairs = np.argwhere(judged)
    starts, ends = c.entries_mm[pairs[:, 0]], c.targets_mm[pairs[:, 1]]
    kept = np.ones(len(pairs), bool)
    margins = space.margins_of(SMALL)
    for item in knee.structures.values():
        if item.risk != "none":
            need = margins[item.risk] + 0.5 * NEEDLE.outer_mm
            kept &= segment_distances(item.surface.bvh, starts, ends) >= need
    free = np.isin(status[judged], [kernel.FEASIBLE, kernel.LEAVES_BODY])
    assert 0.1 < kept.mean() < 0.9
    assert np.array_equal(free, kept)


def test_clearances_of_a_plan_are_the_capsule_formula():
    rod_a, rod_b = np.array([-24.0, -10, -40]), np.array([-20.0, 4, 80])
    plan = plan_injection(toy_knee(), NEEDLE, PROBE, replace(SMALL, entries=500))
    for t in plan.trajectories[:3]:
        s = np.linspace(0, 1, 2001)[:, None]
        line = t.entry_mm + s * (t.tip_mm - t.entry_mm)
        along = np.clip((line - rod_a) @ (rod_b - rod_a) / np.dot(rod_b - rod_a, rod_b - rod_a), 0, 1)
        exact = np.linalg.norm(line - (rod_a + along[:, None] * (rod_b - rod_a)), axis=1).min() - 3.0
        assert t.clearance_mm["femoral_artery"] == pytest.approx(exact - 0.5 * NEEDLE.outer_mm, abs=0.03)


# --------------------------------------------------------------------------------------------- what a plan is


def test_every_trajectory_keeps_every_constraint(plan, knee):
    margins = space.margins_of(SMALL)
    assert 1 <= len(plan.trajectories) <= 6
    assert [t.rank for t in plan.trajectories] == list(range(1, len(plan.trajectories) + 1))
    for t in plan.trajectories:
        assert t.rechecked
        assert np.linalg.norm(t.entry_mm - t.tip_mm) == pytest.approx(t.length_mm)
        assert t.length_mm <= NEEDLE.length_mm
        assert 20.0 <= t.skin_angle_deg <= 90.0
        for name, gap in t.clearance_mm.items():
            assert gap >= margins[knee.structures[name].risk]
        assert {n: v.state for n, v in t.margins.items()} == {
            "bone": "kept", "cartilage": "unknown", "tendon": "kept", "artery": "kept", "vein": "unknown",
            "nerve": "unknown",
        }  # fmt: skip
        assert 0 < t.margin_to_failure_mm <= min(t.clearance_mm.values())
        assert t.recess == "suprapatellar_recess"


def test_trajectories_are_distinct_and_on_the_front(plan):
    for i, a in enumerate(plan.trajectories):
        for b in plan.trajectories[:i]:
            far = np.linalg.norm(a.entry_mm - b.entry_mm) >= 15.0
            turned = np.dot(
                a.tip_mm - a.entry_mm, b.tip_mm - b.entry_mm
            ) / a.length_mm / b.length_mm < np.cos(np.radians(20))
            assert far or turned or a.approach != b.approach or a.recess != b.recess
            costs_a, costs_b = np.array([*a.objectives.values()]), np.array([*b.objectives.values()])
            assert not (np.all(costs_a <= costs_b) and np.any(costs_a < costs_b))
            assert not (np.all(costs_b <= costs_a) and np.any(costs_b < costs_a))


def test_reasons_and_feasible_add_up(plan):
    s = plan.searched
    assert s.pairs == s.entries * s.targets == s.feasible + sum(s.rejected_by.values())
    assert s.entries == 1500
    assert plan.pareto_size <= s.feasible


def test_probe_pose_shows_the_needle(plan, knee):
    for t in plan.trajectories:
        view = t.ultrasound
        pose = view.probe_to_patient
        entry, tip = pose.inverse().apply(t.entry_mm), pose.inverse().apply(t.tip_mm)
        assert 0 < tip[2] < PROBE.depth_mm
        assert abs(tip[0]) <= PROBE.width_mm / 2
        assert tip[2] == pytest.approx(view.depth_mm)
        if t.technique == "in-plane":
            assert abs(entry[1]) < 1e-6
            assert abs(tip[1]) < 1e-6
            gap = abs(entry[0]) - PROBE.width_mm / 2
            assert 5.0 - 1e-3 <= gap <= 40.0
            assert entry[0] < 0, "the needle comes from the image's left"
            along = (tip - entry) / np.linalg.norm(tip - entry)
            assert view.beam_needle_angle_deg == pytest.approx(np.degrees(np.arccos(abs(along[2]))))
        assert 0.5 <= view.window_fraction <= 1.0
        assert 0.0 < view.visibility <= 1.0
        face = pose.apply(np.stack([np.linspace(-19, 19, 9), np.zeros(9), np.zeros(9)], axis=1))
        assert signed_distances(knee.structures["skin"].surface.bvh, face).max() < 1.0


def test_skin_map_follows_the_search(plan):
    assert plan.skin_quality.shape == (len(plan.skin.vertices_mm),)
    tried = np.isfinite(plan.skin_quality)
    assert tried.any()
    assert not tried.all()
    assert plan.skin_quality[tried].min() == 0.0
    best = plan.trajectories[0].entry_mm
    near = np.argmin(np.linalg.norm(plan.skin.vertices_mm - best, axis=1))
    assert plan.skin_quality[near] > 0.3


def test_document_follows_its_schema(plan):
    document = plan_document(plan)
    jsonschema.validate(document, json_schema("plan"))
    assert json.loads(to_json(document))["trajectories"][0]["rechecked"] is True
    assert {w["code"] for w in document["warnings"]} >= {"vein-unknown", "nerve-unknown", "cartilage-unknown"}


# --------------------------------------------------------------------------------------------------- laws


def test_one_thread_or_two_the_same_bytes(knee):
    texts = []
    for threads in (1, 2):
        set_threads(threads)
        document = plan_document(plan_injection(knee, NEEDLE, PROBE, SMALL, seed=3))
        document["seconds"] = {}
        texts.append(to_json(document))
    set_threads(None)
    assert texts[0] == texts[1]


def test_rigid_motion_of_the_patient_changes_nothing(knee):
    turn = np.linalg.qr(np.random.default_rng(5).normal(size=(3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))
    move = Pose(turn, np.array([30.0, -80.0, 12.0]))
    target = np.array([3.0, 24.0, 42.0])
    here = search(knee, NEEDLE, None, replace(SMALL, target_mm=target))
    there = search(toy_knee(move=move), NEEDLE, None, replace(SMALL, target_mm=move.apply(target)))
    # entries are the same points of the skin, verdicts the same but where rounding sits on a limit
    assert np.allclose(move.apply(here.candidates.entries_mm), there.candidates.entries_mm, atol=1e-9)
    assert np.mean(here.status != there.status) < 2e-3


def test_mirror_image_plans_the_mirror_image(knee):
    target = np.array([3.0, 24.0, 42.0])
    here = search(knee, NEEDLE, None, replace(SMALL, approach="suprapatellar-lateral", target_mm=target))
    other = search(
        toy_knee(mirror=True), NEEDLE, None,
        replace(SMALL, approach="suprapatellar-lateral", target_mm=target * [-1, 1, 1]),
    )  # fmt: skip
    assert here.candidates.entries_mm[:, 0].mean() > 5.0
    assert other.candidates.entries_mm[:, 0].mean() == pytest.approx(
        -here.candidates.entries_mm[:, 0].mean(), abs=0.5
    )
    feasible = (np.mean(here.status == 0), np.mean(other.status == 0))
    assert feasible[0] == pytest.approx(feasible[1], abs=0.02)


def test_more_obstacles_and_larger_margins_never_add_a_path(knee):
    extra = structure("femoral_nerve", capsule((22, 20, -40), (22, 34, 90), 2.0), "nerve")
    fixed = replace(SMALL, target_mm=np.array([3.0, 24.0, 42.0]))
    plain = search(knee, NEEDLE, None, fixed).status == 0
    more = search(toy_knee(extra=(extra,)), NEEDLE, None, fixed).status == 0
    wider = search(knee, NEEDLE, None, replace(fixed, margins_mm={"tendon": 4.0, "artery": 12.0})).status == 0
    thicker = search(knee, replace(NEEDLE, outer_mm=3.0), None, fixed).status == 0
    for other in (more, wider, thicker):
        assert not np.any(other & ~plain)
        assert other.sum() < plain.sum()


def test_entries_are_spread_evenly():
    skin = ellipsoid((0, 0, 0), (55, 55, 110), 4)
    positions, normals = space.spread_entries(
        skin, np.arange(len(skin.triangles)), 4000, space.smooth_normals(skin)
    )
    share = np.histogram(positions[:, 2], 7, (-110, 110))[0] / 4000
    area = np.histogram(
        skin.vertices_mm[skin.triangles].mean(axis=1)[:, 2], 7, (-110, 110), weights=skin.triangle_areas_mm2
    )[0]
    assert np.allclose(share, area / area.sum(), atol=0.01)
    gradient = positions / np.array([55, 55, 110.0]) ** 2
    cosine = np.sum(gradient * normals, axis=1) / np.linalg.norm(gradient, axis=1)
    assert cosine.min() > np.cos(np.radians(2.0))


def test_fixed_entry_and_target(knee):
    free = plan_injection(knee, NEEDLE, PROBE, SMALL).trajectories[0]
    fixed = Constraints(entry_mm=free.entry_mm, target_mm=free.tip_mm)
    again = plan_injection(knee, NEEDLE, PROBE, fixed)
    assert again.searched.pairs == 1
    assert np.allclose(again.trajectories[0].entry_mm, free.entry_mm, atol=1e-6)
    assert np.array_equal(again.trajectories[0].tip_mm, free.tip_mm)


def test_named_approaches_enter_where_they_say(knee):
    for name, side in (("suprapatellar-lateral", 1), ("suprapatellar-medial", -1)):
        plan = plan_injection(knee, NEEDLE, PROBE, replace(SMALL, approach=name))
        for t in plan.trajectories:
            assert t.approach == name
            assert side * t.entry_mm[0] > 0
            assert t.entry_mm[1] > 0
            assert 0 < t.entry_mm[2] < 70
            approach = APPROACHES[name]
            way, heading = (t.tip_mm - t.entry_mm) / t.length_mm, approach.heading_in(knee)
            assert np.degrees(np.arccos(way @ heading)) <= approach.cone_deg + 1e-6
        assert plan.searched.rejected_by["direction"] > 0


def test_what_stays_clear_of_a_doubtful_structure_comes_first(knee):
    """A tendon known to ±6 mm: the first path stays margin + 6 mm off it, and the front is what it was."""
    tendon = replace(knee.structures["quadriceps_tendon"], placement_sd_mm=6.0, source="completed")
    doubtful = replace(knee, structures={**knee.structures, "quadriceps_tendon": tendon})
    sure, unsure = (plan_injection(j, NEEDLE, PROBE, SMALL, seed=3) for j in (knee, doubtful))
    assert unsure.pareto_size == sure.pareto_size
    assert unsure.searched.feasible == sure.searched.feasible
    gaps = [t.clearance_mm["quadriceps_tendon"] for t in unsure.trajectories]
    assert gaps[0] >= 1.0 + 6.0 - 0.2
    far = [gap >= 7.2 for gap in gaps]
    assert far == sorted(far, reverse=True) or min(gaps[: sum(far)]) > 6.8


# ---------------------------------------------------------------------------------------------- refusals


def test_a_needle_too_short_is_named(knee):
    with pytest.raises(
        NoTrajectoryError, match=r"shortest path is .* mm \(the needle reaches 13 mm\)"
    ) as caught:
        plan_injection(knee, replace(NEEDLE, length_mm=15.0), PROBE, SMALL)
    assert caught.value.searched.rejected_by == {"length": 18_000}


def test_the_nearest_miss_names_structure_value_limit_and_way_out(knee):
    with pytest.raises(
        NoTrajectoryError, match=r"nearest passes the femur at [\d.]+ mm \(needs 25 mm\): choose"
    ):
        plan_injection(knee, NEEDLE, PROBE, replace(SMALL, margins_mm={"bone": 25.0}))


def test_a_view_no_probe_has_is_named(knee):
    with pytest.raises(NoTrajectoryError, match="no probe pose"):
        plan_injection(knee, NEEDLE, replace(PROBE, depth_mm=6.0), SMALL)


def test_forbidden_everywhere(knee):
    with pytest.raises(NoTrajectoryError, match="forbidden"):
        plan_injection(knee, NEEDLE, PROBE, replace(SMALL, forbidden=((np.array([0, 24.0, 40]), 30.0),)))


def test_target_outside_the_cavity(knee):
    with pytest.raises(NoTrajectoryError, match=r"lies \d+\.\d mm outside the joint cavity"):
        plan_injection(knee, NEEDLE, PROBE, replace(SMALL, target_mm=np.array([0.0, 45.0, 40.0])))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"approach": "suprapatelar"}, "not known; a knee has"),
        ({"approach": "hip-lateral"}, "belongs to the hip"),
        ({"margins_mm": {"artery": -1.0}}, "must be 0 or more"),
        ({"margins_mm": {"arterial": 1.0}}, "risk classes are"),
        ({"entry_mm": np.array([0.0, 200.0, 0.0])}, "off the skin"),
        ({"entries": 0}, "at least 1"),
        ({"forbidden": ((np.array([0.0, np.nan, 0.0]), 1.0),)}, "finite"),
    ],
)
def test_constraints_that_make_no_sense(knee, change, message):
    with pytest.raises(UsageError, match=message):
        plan_injection(knee, NEEDLE, PROBE, replace(SMALL, **change))


def test_no_skin_no_plan(knee):
    bare = replace(knee, structures={n: s for n, s in knee.structures.items() if n != "skin"})
    with pytest.raises(EmptyStructureError, match="skin"):
        plan_injection(bare, NEEDLE, PROBE, SMALL)


def test_an_unconfirmed_trajectory_is_not_exported(plan):
    doubtful = replace(plan, trajectories=(replace(plan.trajectories[0], rechecked=False),))
    with pytest.raises(UnconfirmedPlanError, match="not re-checked"):
        plan_document(doubtful)
    verdicts = {n: replace(v, limit=v.value + 1.0) for n, v in plan.trajectories[0].margins.items()}
    broken = replace(plan, trajectories=(replace(plan.trajectories[0], margins=verdicts),))
    with pytest.raises(UnconfirmedPlanError, match="breaks"):
        plan_document(broken)


# --------------------------------------------------------------------------------------------- exact re-check


def test_two_engines_agree_to_micrometres(knee):
    rng = np.random.default_rng(8)
    for name in ("femur", "femoral_artery", "patella"):
        surface = knee.structures[name].surface
        engine = SecondEngine(surface)
        for _ in range(15):
            a, b = rng.uniform(-60, 60, (2, 3))
            ours, theirs = segment_distances(surface.bvh, a, b)[0], engine.segment_distance(a, b)
            if min(ours, theirs) < FAR_MM:
                assert ours == pytest.approx(theirs, abs=0.012)
            else:
                assert max(ours, theirs) >= FAR_MM


def test_the_recheck_says_what_is_wrong(knee):
    checker = Rechecker(knee, 0.359, space.margins_of(SMALL))
    tip = np.array([0.0, 24.0, 40.0])
    entry = nearest_points(knee.structures["skin"].surface.bvh, np.array([[30.0, 38.0, 50.0]]))[1][0]
    good = checker.confirm(entry, tip)
    assert good.broken == ""
    assert good.disagreement_mm < 0.01
    assert "femur" in checker.confirm(np.array([0.0, -54.0, 20.0]), tip).broken
    assert "leaves the body" in checker.confirm(1.2 * entry, tip).broken
    assert "outside the cavity" in checker.confirm(entry, tip - np.array([0, 4.0, 0])).broken


def test_a_search_that_lied_ends_in_refusal(knee, monkeypatch):
    monkeypatch.setattr("injectplan.planning.recheck.AGREEMENT_MM", -1.0)
    with pytest.raises(UnconfirmedPlanError, match="confirms none"):
        plan_injection(knee, NEEDLE, PROBE, replace(SMALL, entries=200, targets=2))
