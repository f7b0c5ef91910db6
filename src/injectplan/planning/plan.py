"""From a joint to ranked, confirmed needle trajectories: `plan_injection`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from injectplan.anatomy.model import JointModel
from injectplan.errors import NoTrajectoryError, UnconfirmedPlanError, UsageError
from injectplan.frames import Pose, angle_deg
from injectplan.instruments import Needle, Probe
from injectplan.kernels import search as kernel
from injectplan.kernels.bvh import nearest_points, signed_distances
from injectplan.kernels.cast import Bytes, Floats, Ints
from injectplan.kernels.view import ProbeFace, blocked_lines, view_all
from injectplan.measure import Notice, Verdict
from injectplan.planning import robust, space
from injectplan.planning.approaches import Approach, anchors_of, approach_named, label_of
from injectplan.planning.recheck import Confirmation, Rechecker, clearances
from injectplan.planning.values import Constraints, Plan, Searched, Trajectory, UltrasoundView

Progress = Callable[[str, float], None]

GAPS_MM = (5.0, 8.0, 12.0, 17.0, 23.0, 30.0, 38.0)  # entry to the footprint's edge, tried in plane
HOUSING_MM = 6.0  # half the housing's width across the image plane (assumed)
PRESS_MM = 5.0  # how far the face may be pressed into the skin to meet it (assumed)
LEAST_WINDOW = 0.5  # share of the distal 20 mm that must be seen past bone (assumed)
LEAVES_AFTER_MM, OUTSIDE_MM = 4.0, 2.0
MOST = 6
APART_MM, APART_DEG = 15.0, 20.0  # trajectories nearer than both are one (assumed)
# Order of the front only, never a gate (assumed)
WEIGHTS = {"length_mm": 0.15, "nearness_mm": 0.2, "tip_shallowness_mm": 0.2, "ultrasound_cost": 0.45}
DOUBT_WEIGHT, DOUBT_MM = 0.2, 3.0  # added for a path DOUBT_MM short of one sd beyond a margin (assumed)
DOUBT_BOUND_MM = 0.05  # how far a path may fall short and still count as clear

ASSUMED = (
    "order of trajectories: first those a standard deviation clear of every completed structure, then "
    "0.15 length, 0.2 vessels and nerves, 0.2 depth in the cavity, 0.45 ultrasound",
    "directions of the named approaches and how the probe is held along them",
    f"skin angle at least {space.LEAST_SKIN_ANGLE_DEG:g} degrees, "
    f"{space.HUB_RESERVE_MM:g} mm of shaft outside",
    f"probe: face pressed in by up to {PRESS_MM:g} mm, housing {2 * HOUSING_MM:g} mm wide, "
    f"window at least {LEAST_WINDOW:g}",
    f"feedback: a miss is noticed with chance {robust.MISS_NOTICED:g} "
    f"and corrected up to {robust.CORRECTIONS} times",
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Found:
    """The feasible pairs of a search with their objectives, and the status of every pair.

    costs : (n, 4) in the order of WEIGHTS.  reserve_mm : (n,) least clearance − margin − placement sd where
        negative, else 0.  status : (entries, targets) uint8 of `kernels.search`.
    """

    candidates: space.Candidates
    field: space.Space
    status: Bytes
    which_entry: Ints
    which_tip: Ints
    costs: Floats
    reserve_mm: Floats
    technique: Ints
    poses: Floats
    views: Floats
    best_window: float = 0.0


def probe_face(probe: Probe) -> ProbeFace:
    """What the search needs of a probe."""
    if probe.kind == "curvilinear":
        half = np.radians(0.5 * probe.angle_deg)
        return ProbeFace(
            probe.radius_mm * float(np.sin(half)), probe.radius_mm, float(half), probe.depth_mm, HOUSING_MM,
            5.0, 40.0, PRESS_MM,
        )  # fmt: skip
    return ProbeFace(0.5 * probe.width_mm, 0.0, 0.0, probe.depth_mm, HOUSING_MM, 5.0, 40.0, PRESS_MM)


def reason_name(code: int) -> str:
    """Return the document's name of a status code."""
    names = (
        "feasible", "length", "skin-angle", "direction", "forbidden", "leaves-body", "ultrasound",
        "bone-on-the-way",
    )  # fmt: skip
    return names[code] if code < kernel.OBSTACLE else space.CLASSES[code - kernel.OBSTACLE]


def _spheres(constraints: Constraints, radius_mm: float) -> Floats:
    rows = []
    for center, size in constraints.forbidden:
        if not (np.isfinite(np.asarray(center)).all() and np.isfinite(size) and size >= 0.0):
            raise UsageError(
                f"forbidden zone at {center} with radius {size} mm: both must be finite, radius ≥ 0"
            )
        rows.append([*np.asarray(center, dtype=float), size + radius_mm])
    return np.array(rows).reshape(-1, 4)


def _judge(
    joint: JointModel, candidates: space.Candidates, field: space.Space, needle: Needle,
    constraints: Constraints, approach: Approach | None,
) -> Bytes:  # fmt: skip
    """Status of all pairs before ultrasound. A path given at both ends need not keep its approach's cone."""
    heading, cone = np.array([0.0, 0.0, 1.0]), 180.0
    if approach is not None and (constraints.entry_mm is None or constraints.target_mm is None):
        heading, cone = approach.heading_in(joint), approach.cone_deg
    return kernel.judge_all(
        candidates.entries_mm, candidates.normals, candidates.targets_mm,
        needle.length_mm - space.HUB_RESERVE_MM, space.LEAST_SKIN_ANGLE_DEG, heading, cone,
        _spheres(constraints, 0.5 * needle.outer_mm), field.slack, field.nearest_group, field.bone,
        space.CLASSES.index("bone"), field.obstacles,
    )  # fmt: skip


def search(
    joint: JointModel,
    needle: Needle,
    probe: Probe | None,
    constraints: Constraints,
    *,
    progress: Progress | None = None,
) -> Found:
    """Judge every entry × target; a probe of None leaves ultrasound out (for checks against closed forms)."""
    say = progress or (lambda label, fraction: None)
    approach: Approach | None = approach_named(constraints.approach, joint.kind)
    margins = space.margins_of(constraints)
    say("candidates", 0.0)
    first = space.find_candidates(joint, needle, constraints, approach)
    corners = np.concatenate([first.entries_mm, first.targets_mm])
    say("distance fields", 0.05)
    field = space.build_space(joint, needle, margins, corners)
    candidates = space.clear_targets(joint, constraints, field.slack, first)
    say("search", 0.5)
    status = _judge(joint, candidates, field, needle, constraints, approach)
    pairs: Ints = np.argwhere(status == kernel.FEASIBLE).astype(np.int32)
    paths = (candidates.entries_mm, candidates.targets_mm)
    outside = kernel.most_outside(field.skin, *paths, pairs[:, 0], pairs[:, 1], LEAVES_AFTER_MM) > OUTSIDE_MM
    status[tuple(pairs[outside].T)] = kernel.LEAVES_BODY
    pairs = pairs[~outside]
    n = len(pairs)
    cost, technique, poses, views = np.zeros(n), np.zeros(n, np.int32), np.zeros((n, 9)), np.zeros((n, 8))
    best_window = 0.0
    if probe is not None:
        say("ultrasound", 0.6)
        cost, technique, poses, views = view_all(
            probe_face(probe), field.skin, field.bone, candidates.entries_mm, candidates.normals,
            candidates.targets_mm, pairs[:, 0], pairs[:, 1], np.array(GAPS_MM),
            np.zeros((2, 3)) if approach is None else approach.scan_in(joint),
        )  # fmt: skip
        best_window = float(np.nanmax(views[:, 4], initial=0.0)) if n else 0.0
        seen = np.isfinite(cost) & (views[:, 4] >= LEAST_WINDOW)
        status[tuple(pairs[~seen].T)] = kernel.ULTRASOUND
        pairs, cost, technique = pairs[seen], cost[seen], technique[seen]
        poses, views = poses[seen], views[seen]
    lengths = np.linalg.norm(paths[0][pairs[:, 0]] - paths[1][pairs[:, 1]], axis=1)
    soft = kernel.least_along(field.soft, *paths, pairs[:, 0], pairs[:, 1])
    costs = np.stack([lengths, space.SOFT_CAP_MM - soft, -candidates.depths_mm[pairs[:, 1]], cost], axis=1)
    return Found(
        candidates=candidates, field=field, status=status, which_entry=pairs[:, 0], which_tip=pairs[:, 1],
        costs=costs, reserve_mm=kernel.least_along(field.doubt, *paths, pairs[:, 0], pairs[:, 1]),
        technique=technique, poses=poses, views=views, best_window=best_window,
    )  # fmt: skip


def scores(costs: Floats, needle: Needle) -> Floats:
    """Weighted sum of the objectives, each scaled to about 0–1, smaller better; orders the front, no more.

    Depth in the cavity counts relative to the deepest tip there is: recesses are 1 to 4 mm thin.
    """
    scaled = np.stack(
        [
            costs[:, 0] / needle.length_mm,
            costs[:, 1] / space.SOFT_CAP_MM,
            1.0 - costs[:, 2] / min(float(costs[:, 2].min()), -1e-6),
            costs[:, 3],
        ],
        axis=1,
    )
    return np.asarray(scaled @ np.array(list(WEIGHTS.values())))


def count_reasons(status: Bytes) -> dict[str, int]:
    """How many pairs each reason rejected; reasons that rejected none are left out."""
    codes, counts = np.unique(status, return_counts=True)
    return {reason_name(int(c)): int(k) for c, k in zip(codes, counts, strict=True) if c != kernel.FEASIBLE}


def _nearest_miss(joint: JointModel, found: Found, needle: Needle, margins: dict[str, float]) -> str:
    """Name what stands in the way of the pair that came closest: thing, value, limit."""
    status, c = found.status, found.candidates

    def pairs_of(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
        chosen = np.argwhere(mask)
        return chosen[:: max(1, len(chosen) // 100_000)]

    if (status == kernel.ULTRASOUND).any():
        return (
            f"the nearest is clear of every structure, but no probe pose shows its distal 20 mm "
            f"(best window {found.best_window:.0%}, needs {LEAST_WINDOW:.0%}): choose another "
            "probe, a greater depth or another approach"
        )
    if (status == kernel.LEAVES_BODY).any():
        return "the nearest leaves the body on its way: choose another approach"
    blocked = pairs_of((status >= kernel.OBSTACLE) | (status == kernel.BONE_CROSSED))
    if len(blocked):
        least = kernel.least_along(
            found.field.slack, c.entries_mm, c.targets_mm, blocked[:, 0], blocked[:, 1]
        )
        entry, tip = blocked[int(np.argmax(least))]
        gaps = clearances(joint, c.entries_mm[entry], c.targets_mm[tip], 0.5 * needle.outer_mm)
        name = min(gaps, key=lambda n: gaps[n] - margins[joint.structures[n].risk])
        limit = margins[joint.structures[name].risk]
        return (
            f"the nearest passes the {name} at {max(gaps[name], 0.0):.1f} mm (needs {limit:g} mm): "
            f"choose another approach, or lower planning.margins_mm.{joint.structures[name].risk}"
        )
    if (status == kernel.FORBIDDEN).any():
        return "every path of fitting length and angle crosses a zone of planning.forbidden: make it smaller"
    ends = c.entries_mm[:, None, :], c.targets_mm[None, :, :]
    away = ends[0] - ends[1]
    length = np.linalg.norm(away, axis=2)
    if (status == kernel.DIRECTION).any():
        return (
            "every path of fitting length and angle runs another way than the approach does: choose another "
            "approach or 'any'"
        )
    if (status == kernel.SKIN_ANGLE).any():
        sine = np.einsum("ijk,ik->ij", away, c.normals) / length
        steepest = float(np.degrees(np.arcsin(np.clip(sine[status == kernel.SKIN_ANGLE].max(), -1.0, 1.0))))
        return (
            f"the nearest meets the skin at {steepest:.0f} degrees (needs {space.LEAST_SKIN_ANGLE_DEG:g}): "
            "choose another entry or approach"
        )
    return (
        f"the shortest path is {length.min():.1f} mm (the needle reaches "
        f"{needle.length_mm - space.HUB_RESERVE_MM:g} mm): choose a longer needle"
    )


def _exact_window(
    joint: JointModel, pose: Floats, view: Floats, probe: Probe, entry: Floats, tip: Floats
) -> float:
    """Share of six scan lines to the distal 20 mm that meet no bone, on the meshes."""
    x, z = pose[3:6], pose[6:9]
    frame = Pose.from_axes(x, np.cross(z, x), z, pose[:3])
    back = np.minimum(4.0 * np.arange(6), np.linalg.norm(tip - entry))[:, None]
    ends = tip + back * (entry - tip) / np.linalg.norm(tip - entry)
    local = frame.inverse().apply(ends)
    starts = local.copy()
    if probe.kind == "curvilinear":
        ray = local[:, [0, 2]] + np.array([0.0, probe.radius_mm])
        r = np.linalg.norm(ray, axis=1, keepdims=True)
        starts[:, [0, 2]] = probe.radius_mm * ray / r - np.array([0.0, probe.radius_mm])
        inside = np.abs(np.arctan2(ray[:, 0], ray[:, 1])) <= np.radians(0.5 * probe.angle_deg)
    else:
        starts[:, 2] = 0.0
        inside = np.abs(local[:, 0]) <= 0.5 * probe.width_mm
    blocked = ~inside
    for structure in joint.at_risk("bone").values():
        blocked |= blocked_lines(structure.surface.bvh, frame.apply(starts), ends)
    return float(np.mean(~blocked))


def _trajectory(
    joint: JointModel, needle: Needle, probe: Probe, constraints: Constraints, found: Found, k: int,
    rank: int, label: str, confirmed: Confirmation, margins: dict[str, float], seed: int,
) -> Trajectory:  # fmt: skip
    """Dress one confirmed pair with everything the document says of it."""
    c = found.candidates
    entry, tip = c.entries_mm[found.which_entry[k]], c.targets_mm[found.which_tip[k]]
    normal = c.normals[found.which_entry[k]]
    technique: Literal["in-plane", "out-of-plane"] = "in-plane" if found.technique[k] == 0 else "out-of-plane"
    pose, view = found.poses[k], found.views[k]
    window = _exact_window(joint, pose, view, probe, entry, tip)
    verdicts = {}
    for name in space.CLASSES:
        gaps = [g for n, g in confirmed.clearance_mm.items() if joint.structures[n].risk == name]
        if name == "organ" and not gaps:
            continue
        least = min(gaps, default=float("nan"))
        verdicts[name] = Verdict(
            constraint=f"distance to {name}", value=least, limit=margins[name], known=bool(gaps)
        )
    sd = robust.technique_sd_mm(constraints.targeting_sd_mm, technique)
    touched, worst = robust.touch_probability(
        joint, entry, tip, 0.5 * needle.outer_mm, sd, confirmed.clearance_mm, seed=seed, stream=rank
    )
    x, z = pose[3:6], pose[6:9]
    return Trajectory(
        rank=rank,
        approach=label,
        technique=technique,
        entry_mm=entry,
        tip_mm=tip,
        length_mm=float(np.linalg.norm(entry - tip)),
        skin_angle_deg=90.0 - angle_deg(entry - tip, normal),
        clearance_mm=dict(sorted(confirmed.clearance_mm.items())),
        margins=verdicts,
        recess=c.recess[found.which_tip[k]],
        hit_probability=robust.hit_probability(joint, tip, sd, seed=seed, stream=rank),
        touch_probability=touched,
        ultrasound=UltrasoundView(
            probe_to_patient=Pose.from_axes(x, np.cross(z, x), z, pose[:3]),
            beam_needle_angle_deg=float(view[3]),
            out_of_plane_mm=float(view[7]),
            window_fraction=window,
            depth_mm=float(view[5]),
            visibility=float(view[6]) * (window / float(view[4]) if view[4] > 0 else 0.0),
        ),
        objectives=dict(zip(WEIGHTS, (float(v) for v in found.costs[k]), strict=True)),
        rechecked=True,
        margin_to_failure_mm=robust.margin_to_failure_mm(confirmed.tip_depth_mm, confirmed.clearance_mm),
        worst_clearance_mm=worst,
    )


def _order(found: Found, front: npt.NDArray[np.int64], needle: Needle) -> npt.NDArray[np.int64]:
    """Sort the front: first what stays one sd clear of every completed structure, then by the score.

    When no path of the front stays clear but others do, the front of those is put before.
    """
    clear = found.reserve_mm >= -DOUBT_BOUND_MM
    if clear.any() and not clear[front].any():
        among = np.flatnonzero(clear)
        front = np.concatenate([front, among[kernel.pareto_front(found.costs[among])]])
    doubt = DOUBT_WEIGHT * np.minimum(-found.reserve_mm[front] / DOUBT_MM, 1.0)
    return front[np.lexsort([front, scores(found.costs[front], needle) + doubt, ~clear[front]])]


def _choose(
    joint: JointModel, needle: Needle, probe: Probe, constraints: Constraints, found: Found,
    front: npt.NDArray[np.int64], margins: dict[str, float], seed: int,
) -> tuple[list[Trajectory], list[str]]:  # fmt: skip
    """Walk the front from the best score, keep what is distinct and confirmed, at most MOST."""
    c = found.candidates
    order = _order(found, front, needle)
    anchors = anchors_of(joint)
    checker = Rechecker(joint, 0.5 * needle.outer_mm, margins)
    chosen: list[Trajectory] = []
    dropped: list[str] = []
    for k in order:
        entry, tip = c.entries_mm[found.which_entry[k]], c.targets_mm[found.which_tip[k]]
        recess = c.recess[found.which_tip[k]]
        label = constraints.approach
        if label == "any":
            label = label_of(entry, recess, joint, anchors)
        if any(_same(t, label, recess, entry, tip) for t in chosen):
            continue
        confirmed = checker.confirm(entry, tip)
        if confirmed.broken:
            dropped.append(confirmed.broken)
            if len(dropped) >= 200:
                break
            continue
        chosen.append(
            _trajectory(
                joint,
                needle,
                probe,
                constraints,
                found,
                int(k),
                len(chosen) + 1,
                label,
                confirmed,
                margins,
                seed,
            )
        )
        if len(chosen) == MOST:
            break
    return chosen, dropped


def _same(t: Trajectory, label: str, recess: str, entry: Floats, tip: Floats) -> bool:
    return (
        t.approach == label
        and t.recess == recess
        and float(np.linalg.norm(t.entry_mm - entry)) < APART_MM
        and angle_deg(t.tip_mm - t.entry_mm, tip - entry) < APART_DEG
    )


def _skin_quality(joint: JointModel, found: Found, needle: Needle) -> Floats:
    """Per skin vertex: 0 where tried entries reach nothing, up to 1; NaN where none was tried nearby."""
    c = found.candidates
    quality = np.zeros(len(c.entries_mm))
    if len(found.which_entry):
        np.maximum.at(quality, found.which_entry, np.clip(1.0 - scores(found.costs, needle), 0.01, 1.0))
    vertices = space.skin_of(joint).vertices_mm
    tree = cKDTree(c.entries_mm)
    some = c.entries_mm[:: max(1, len(c.entries_mm) // 500)]
    spacing = float(np.median(np.asarray(tree.query(some, k=2)[0])[:, 1])) if len(c.entries_mm) > 1 else 1.0
    reach = max(4.0 * spacing, 2.5)
    low, high = c.entries_mm.min(axis=0) - reach, c.entries_mm.max(axis=0) + reach
    near = np.flatnonzero(((vertices >= low) & (vertices <= high)).all(axis=1))
    away, nearest = (np.asarray(a) for a in tree.query(vertices[near], distance_upper_bound=reach))
    result = np.full(len(vertices), np.nan)
    found_near = away < reach
    result[near[found_near]] = quality[nearest[found_near]]
    return result


def _notices(
    joint: JointModel, found: Found, chosen: list[Trajectory], dropped: list[str],
    margins: Mapping[str, float],
) -> list[Notice]:  # fmt: skip
    notices = list(found.candidates.notices)
    for name in space.CLASSES:
        if name not in found.field.present and name != "organ":
            message = f"the model has no {name}: its margin is unknown, not kept"
            notices.append(Notice(f"{name}-unknown", message))
    for trajectory in chosen[:1]:
        notices += _in_doubt(joint, trajectory, margins)
    if dropped:
        notices.append(
            Notice(
                "recheck-dropped",
                f"the exact re-check dropped {len(dropped)} candidates; first: {dropped[0]}",
            )
        )
    return notices


def _in_doubt(joint: JointModel, trajectory: Trajectory, margins: Mapping[str, float]) -> list[Notice]:
    """Warn of completed structures that, within two deviations of their place, break a margin."""
    doubts = []
    for name, gap in trajectory.clearance_mm.items():
        structure, sd = joint.structures[name], joint.structures[name].placement_sd_mm
        spare = gap - margins[structure.risk]
        if structure.source == "completed" and sd > 0.0 and spare < 2.0 * sd:
            message = (
                f"the {name} was completed, not segmented: its place is known to ±{sd:.2g} mm, trajectory 1 "
                f"passes at {gap:.1f} mm (margin {margins[structure.risk]:g})"
            )
            doubts.append((spare / sd, Notice("clearance-to-completed", message, name)))
    # the likeliest first
    return [notice for _, notice in sorted(doubts, key=lambda doubt: doubt[0])]


def _fixed_target_inside(joint: JointModel, constraints: Constraints) -> None:
    if constraints.target_mm is None:
        return
    target = np.asarray(constraints.target_mm, dtype=float)[None]
    away = float(signed_distances(joint.cavity.surface.bvh, target)[0])
    if away > 0.0:
        nearest = nearest_points(joint.cavity.surface.bvh, target)[1][0]
        raise NoTrajectoryError(
            f"planning.target_mm lies {away:.1f} mm outside the joint cavity (needs to be inside): "
            f"its nearest point is [{nearest[0]:.1f}, {nearest[1]:.1f}, {nearest[2]:.1f}]"
        )


def plan_injection(
    joint: JointModel,
    needle: Needle,
    probe: Probe,
    constraints: Constraints,
    *,
    seed: int = 0,
    progress: Progress | None = None,
) -> Plan:
    """Search all entries × targets, keep the Pareto front's distinct best, confirm each exactly.

    Returns at most six trajectories, best first.  Raises NoTrajectoryError when no pair keeps every hard
    constraint (it names the nearest miss), UnconfirmedPlanError when the exact re-check confirms none,
    UsageError for constraints that make no sense, EmptyStructureError without skin or cavity.
    """
    started = time.perf_counter()
    say = progress or (lambda label, fraction: None)
    if constraints.entries < 1 or constraints.targets < 1:
        raise UsageError(
            f"entries {constraints.entries} and targets {constraints.targets} must be at least 1"
        )
    margins = space.margins_of(constraints)
    _fixed_target_inside(joint, constraints)
    found = search(joint, needle, probe, constraints, progress=progress)
    pairs = int(found.status.size)
    searched = Searched(
        entries=found.status.shape[0], targets=found.status.shape[1], pairs=pairs,
        feasible=len(found.which_entry), rejected_by=count_reasons(found.status),
    )  # fmt: skip
    if not searched.feasible:
        error = NoTrajectoryError(
            f"none of {pairs} candidates keeps every constraint; "
            + _nearest_miss(joint, found, needle, margins)
        )
        error.searched = searched
        raise error
    say("pareto front", 0.8)
    front = np.flatnonzero(kernel.pareto_front(found.costs))
    searched_at = time.perf_counter()
    say("exact re-check", 0.85)
    chosen, dropped = _choose(joint, needle, probe, constraints, found, front, margins, seed)
    if not chosen:
        raise UnconfirmedPlanError(
            f"the exact re-check confirms none of {len(front)} candidates; the first {dropped[0]}: "
            "check the model's surfaces, or raise planning.entries"
        )
    quality = _skin_quality(joint, found, needle)
    done = time.perf_counter()
    say("plan", 1.0)
    return Plan(
        trajectories=tuple(chosen),
        searched=searched,
        pareto_size=len(front),
        skin=space.skin_of(joint),
        skin_quality=quality,
        notices=tuple(_notices(joint, found, chosen, dropped, margins)),
        assumed=ASSUMED,
        seconds={"search": searched_at - started, "recheck": done - searched_at, "total": done - started},
    )
