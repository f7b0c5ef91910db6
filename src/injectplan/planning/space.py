"""What the search looks at: candidate entries and targets, fields and tree of what must be kept clear."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.ndimage import maximum_filter
from scipy.spatial import cKDTree

from injectplan.anatomy.model import JointModel
from injectplan.errors import EmptyStructureError, UsageError
from injectplan.frames import unit
from injectplan.imaging.values import Surface
from injectplan.instruments import Needle
from injectplan.kernels.bvh import build_bvh, nearest_points
from injectplan.kernels.cast import Floats
from injectplan.kernels.field import Field, distance_field, sample_many
from injectplan.kernels.search import Obstacles, gather_obstacles
from injectplan.measure import Notice
from injectplan.planning.approaches import Approach, skin_anchor
from injectplan.planning.values import DEFAULT_MARGINS_MM, Constraints

CLASSES = ("bone", "cartilage", "tendon", "artery", "vein", "nerve", "organ")  # class index = position
SOFT_CLASSES = ("artery", "vein", "nerve", "organ")  # keeping farther off than the margin is worth something
SOFT_CAP_MM = 10.0  # clearance beyond the margin that still counts as better (assumed)
ORGAN_MARGIN_MM = 5.0  # no organ lies in the built-in joints; as an artery (assumed)
SLACK_CAP_MM = 6.0  # the slack field's reach; must not exceed SOFT_CAP_MM
GRID_MM = 1.0
SKIN_GRID_MM = 2.0
HUB_RESERVE_MM = 2.0  # shaft kept outside the skin, so that the hub never reaches it (assumed)
LEAST_SKIN_ANGLE_DEG = 20.0  # to the tangent plane; flatter needles slide under the skin (assumed)
ENTRY_OFF_SKIN_MM = 5.0  # how far a fixed entry may lie off the skin before it is refused (assumed)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Candidates:
    """Entries with outward normals and targets with their recess, (n, 3) mm each."""

    entries_mm: Floats
    normals: Floats
    targets_mm: Floats
    depths_mm: Floats
    recess: tuple[str, ...]
    notices: tuple[Notice, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Space:
    """Fields over the region that paths may cross.

    slack : least of (distance − need) over all classes.  nearest_group : the class it belongs to.
    soft : the same over vessels, nerves and organs, up to SOFT_CAP_MM.  need_mm : class → margin + radius.
    """

    slack: Field
    nearest_group: npt.NDArray[np.int8]
    soft: Field
    bone: Field
    skin: Field
    obstacles: Obstacles
    need_mm: Mapping[str, float]
    present: tuple[str, ...]


def margins_of(constraints: Constraints) -> dict[str, float]:
    """Margins by class: the defaults, overridden by what was given; a negative or unknown one is refused."""
    margins = {**DEFAULT_MARGINS_MM, "organ": ORGAN_MARGIN_MM, **constraints.margins_mm}
    for name, value in margins.items():
        if name not in CLASSES:
            raise UsageError(f"margin for {name!r}: the risk classes are {', '.join(CLASSES)}")
        if not (np.isfinite(value) and value >= 0.0):
            raise UsageError(f"margin for {name} is {value} mm; it must be 0 or more")
    return margins


def skin_of(joint: JointModel) -> Surface:
    """Return the skin's surface; without one there is nothing to enter through."""
    if "skin" not in joint.structures or not len(joint.structures["skin"].surface.triangles):
        raise EmptyStructureError(
            "the model has no skin to enter through: supply it or let completion build it"
        )
    return joint.structures["skin"].surface


def smooth_normals(surface: Surface, rounds: int = 3) -> Floats:
    """Outward vertex normals averaged over their neighbours: the tangent plane a hand would feel."""
    normals = surface.vertex_normals.copy()
    ends = surface.triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    for _ in range(rounds):
        spread = normals.copy()
        for axis in range(3):
            spread[:, axis] += np.bincount(ends[:, 0], normals[ends[:, 1], axis], len(normals))
            spread[:, axis] += np.bincount(ends[:, 1], normals[ends[:, 0], axis], len(normals))
        size = np.linalg.norm(spread, axis=1, keepdims=True)
        normals = np.divide(spread, size, out=np.zeros_like(spread), where=size > 0)
    return normals


def _cut_faces(joint: JointModel, skin: Surface) -> npt.NDArray[np.bool_]:
    """Triangles of the flat ends where the limb leaves the model: no skin, so no entry.

    A cut is a plane near an end of the limb that fills a good part of its cross-section.
    """
    axes = joint.axes
    corner = skin.vertices_mm[skin.triangles]
    cross = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    size = np.linalg.norm(cross, axis=1)
    normal = np.divide(cross, size[:, None], out=np.zeros_like(cross), where=size[:, None] > 0)
    middle = corner.mean(axis=1)
    width, depth = (float(np.ptp(skin.vertices_mm @ axis)) for axis in (axes.lateral, axes.anterior))
    result = np.zeros(len(size), bool)
    for outward in (axes.proximal, -axes.proximal):
        along = middle @ outward
        end = (along > along.max() - 25.0) & (normal @ outward > np.cos(np.radians(40.0)))
        if not end.any():
            continue
        facing, here = outward, end
        for _ in range(3):  # settle on the plane that most of the end's area lies in
            facing = unit((normal[here] * size[here, None]).sum(axis=0))
            near = end & (normal @ facing > np.cos(np.radians(8.0)))
            here = near if near.any() else here
        order = np.argsort(middle[here] @ facing)
        weight = np.cumsum(size[here][order])
        offset = (middle[here] @ facing)[order][int(np.searchsorted(weight, 0.5 * weight[-1]))]
        flat = here & (np.abs(middle @ facing - offset) < 2.0)
        if 0.5 * size[flat].sum() > 0.25 * width * depth:
            result |= flat
    return result


def spread_entries(
    surface: Surface, triangles: npt.NDArray[np.int64], count: int, normals: Floats
) -> tuple[Floats, Floats]:
    """`count` points spread evenly by area over chosen triangles, with their normals; no chance involved.

    Every 1/count of the summed area gets one point, placed in its triangle by the R2 sequence (Roberts 2018).
    """
    areas = surface.triangle_areas_mm2[triangles]
    total = np.cumsum(areas)
    where = np.searchsorted(total, (np.arange(count) + 0.5) / count * total[-1], side="right")
    where = np.minimum(where, len(triangles) - 1)
    index = np.arange(1, count + 1)
    u, v = (0.7548776662466927 * index) % 1.0, (0.5698402909980532 * index) % 1.0
    fold = u + v > 1.0
    u, v = np.where(fold, 1.0 - u, u), np.where(fold, 1.0 - v, v)
    weights = np.stack([1.0 - u - v, u, v], axis=1)
    corners = surface.triangles[triangles[where]]
    positions = np.einsum("ij,ijk->ik", weights, surface.vertices_mm[corners])
    return positions, unit(np.einsum("ij,ijk->ik", weights, normals[corners]))


def _recesses_wanted(joint: JointModel, approach: Approach | None) -> tuple[list[int], list[Notice]]:
    names = [r.name for r in joint.cavity.recesses]
    everything = list(range(len(names)))
    if approach is None:
        return everything, []
    for part in approach.recesses:
        wanted = [i for i, name in enumerate(names) if part in name]
        if wanted:
            return wanted, []
    message = (
        f"the cavity names no recess for {approach.name} ({' or '.join(approach.recesses)}); all are searched"
    )
    return everything, [Notice("recess-unnamed", message)]


def spread_targets(
    joint: JointModel, wanted: list[int], count: int, clear: Field | None
) -> tuple[Floats, Floats, tuple[str, ...]]:
    """Return up to `count` tips in the middle of the cavity's slit, spread as far apart as they go.

    Grid points that are about as deep as any within 3 mm are candidates; those a structure at risk forbids
    (`clear` well below 0) are put last. The first is the deepest, each next the farthest from those before.
    """
    cavity = joint.cavity
    values = cavity.field.values
    depth = -values
    h = cavity.field.spacing_mm
    reach = 2 * max(1, round(2.0 / h)) + 1
    ridge = (depth > 0.0) & (depth >= 0.75 * maximum_filter(depth, size=reach))
    if joint.cavity.recesses and len(wanted) < len(joint.cavity.recesses):
        ridge &= np.isin(cavity.recess_index, [i + 1 for i in wanted])
    where = np.argwhere(ridge)
    if not len(where):
        raise EmptyStructureError(
            "the cavity holds no point inside the recess asked for: check the model's cavity"
        )
    positions = cavity.field.origin_mm + h * where
    depths = depth[tuple(where.T)].astype(float)
    if clear is not None:
        free = sample_many(clear, positions) > -0.8661 * clear.spacing_mm
        if free.any():
            where, positions, depths = where[free], positions[free], depths[free]
    chosen = [int(np.argmax(depths))]
    away = np.full(len(positions), np.inf)
    for _ in range(min(count, len(positions)) - 1):
        away = np.minimum(away, np.linalg.norm(positions - positions[chosen[-1]], axis=1))
        chosen.append(int(np.argmax(away * (0.5 + 0.5 * depths / depths.max()))))
    names = {0: "cavity", **{i + 1: r.name for i, r in enumerate(cavity.recesses)}}
    index = cavity.recess_index[tuple(where[chosen].T)]
    return positions[chosen], depths[chosen], tuple(names[int(i)] for i in index)


def recess_at(joint: JointModel, tip_mm: Floats) -> str:
    """Name of the recess a point lies in, "cavity" when in none."""
    field = joint.cavity.field
    index = np.rint((np.asarray(tip_mm) - field.origin_mm) / field.spacing_mm).astype(int)
    index = np.clip(index, 0, np.array(field.values.shape) - 1)
    number = int(joint.cavity.recess_index[tuple(index)])
    return joint.cavity.recesses[number - 1].name if number else "cavity"


def find_candidates(
    joint: JointModel,
    needle: Needle,
    constraints: Constraints,
    approach: Approach | None,
    clear: Field | None,
) -> Candidates:
    """Return where the search may enter and end; fixed points of the constraints stand alone."""
    skin = skin_of(joint)
    wanted, notices = _recesses_wanted(joint, approach)
    if constraints.target_mm is not None:
        targets = np.asarray(constraints.target_mm, dtype=float).reshape(1, 3)
        depths = -sample_many(joint.cavity.field, targets)
        recess: tuple[str, ...] = (recess_at(joint, targets[0]),)
    else:
        targets, depths, recess = spread_targets(joint, wanted, constraints.targets, clear)
    normals = smooth_normals(skin)
    longest = needle.length_mm - HUB_RESERVE_MM
    if constraints.entry_mm is not None:
        entry = np.asarray(constraints.entry_mm, dtype=float).reshape(1, 3)
        distance, nearest, triangle = nearest_points(skin.bvh, entry)
        if distance[0] > ENTRY_OFF_SKIN_MM:
            raise UsageError(
                f"planning.entry_mm lies {distance[0]:.1f} mm off the skin (at most "
                f"{ENTRY_OFF_SKIN_MM:g} mm): move it onto the skin"
            )
        corners = skin.triangles[triangle]
        return Candidates(
            entries_mm=nearest, normals=unit(normals[corners].sum(axis=1)), targets_mm=targets,
            depths_mm=depths, recess=recess, notices=tuple(notices),
        )  # fmt: skip
    centers = skin.vertices_mm[skin.triangles].mean(axis=1)
    allowed = ~_cut_faces(joint, skin)
    if approach is not None:
        anchor = skin_anchor(approach, joint)
        allowed &= np.linalg.norm(centers - anchor, axis=1) <= approach.radius_mm
    reach = np.asarray(cKDTree(targets).query(centers)[0])
    near = allowed & (reach <= longest + 2.0)
    if not near.any():  # keep the nearest, so that the refusal can name how far the needle falls short
        if not allowed.any():
            raise EmptyStructureError(
                "no skin lies in the approach's entry zone: check the side and the skin"
            )
        near = allowed & (reach <= reach[allowed].min() + 10.0)
    entries, outward = spread_entries(skin, np.flatnonzero(near), constraints.entries, normals)
    return Candidates(
        entries_mm=entries, normals=outward, targets_mm=targets, depths_mm=depths, recess=recess,
        notices=tuple(notices),
    )  # fmt: skip


def clear_targets(
    joint: JointModel, approach: Approach | None, constraints: Constraints, clear: Field, first: Candidates
) -> Candidates:
    """Return the candidates with targets chosen anew among those that no structure at risk forbids."""
    wanted, _ = _recesses_wanted(joint, approach)
    targets, depths, recess = spread_targets(joint, wanted, constraints.targets, clear)
    return replace(first, targets_mm=targets, depths_mm=depths, recess=recess)


class _Region:
    """A grid over a box."""

    def __init__(self, low: Floats, high: Floats, spacing: float) -> None:
        self.origin = np.asarray(low, dtype=float)
        self.spacing = spacing
        self.shape = tuple(int(n) for n in np.maximum(np.ceil((high - low) / spacing).astype(int) + 1, 2))

    def lay(self, surface: Surface, reach: float) -> tuple[tuple[slice, ...], Floats] | None:
        """Return the part of the grid within `reach` of a surface, and the distances there."""
        if not len(surface.triangles):
            return None
        low, high = surface.bounds_mm
        first = np.clip(
            np.floor((low - reach - self.origin) / self.spacing).astype(int), 0, np.array(self.shape) - 2
        )
        last = np.clip(
            np.ceil((high + reach - self.origin) / self.spacing).astype(int), 1, np.array(self.shape) - 1
        )
        if np.any(first > last) or np.any(high + reach < self.origin):
            return None
        last = np.maximum(last, first + 1)
        shape = tuple(int(n) for n in last - first + 1)
        near = distance_field(
            surface.bvh, self.origin + first * self.spacing, self.spacing, shape, reach  # type: ignore[arg-type]
        )  # fmt: skip
        part = tuple(slice(int(a), int(b) + 1) for a, b in zip(first, last, strict=True))
        return part, near.values.astype(float)

    def field(self, values: Floats) -> Field:
        origin = self.origin.copy()
        result = np.ascontiguousarray(values, dtype=np.float32)
        origin.setflags(write=False)
        result.setflags(write=False)
        return Field(origin, float(self.spacing), result)


def build_space(joint: JointModel, needle: Needle, margins: Mapping[str, float], box_mm: Floats) -> Space:
    """Build the fields over a box (2, 3) mm and the exact tree of everything at risk in the joint."""
    low, high = box_mm[0] - 3.0, box_mm[1] + 3.0
    region = _Region(low, high, GRID_MM)
    radius = 0.5 * needle.outer_mm
    need = {name: margins[name] + radius for name in CLASSES}
    slack = np.full(region.shape, SLACK_CAP_MM)  # a lower bound: what lies beyond is farther than this
    nearest = np.full(region.shape, -1, np.int8)
    soft = np.full(region.shape, SOFT_CAP_MM)
    bone = np.full(region.shape, need["bone"] + SLACK_CAP_MM)
    corners, triangles, needs, groups = [np.zeros((0, 3))], [np.zeros((0, 3), np.int32)], [], []
    used, present = 0, []
    for group, name in enumerate(CLASSES):
        members = joint.at_risk(name)
        if members:
            present.append(name)
        for structure in members.values():
            surface = structure.surface
            corners.append(surface.vertices_mm)
            triangles.append(surface.triangles + np.int32(used))
            used += len(surface.vertices_mm)
            needs.append(np.full(len(surface.triangles), need[name]))
            groups.append(np.full(len(surface.triangles), group, np.int32))
            laid = region.lay(surface, need[name] + (SOFT_CAP_MM if name in SOFT_CLASSES else SLACK_CAP_MM))
            if laid is None:
                continue
            part, distance = laid
            closer = distance - need[name] < slack[part]
            slack[part] = np.where(closer, distance - need[name], slack[part])
            nearest[part] = np.where(closer, group, nearest[part])
            if name in SOFT_CLASSES:
                soft[part] = np.minimum(soft[part], distance - need[name])
            if name == "bone":
                bone[part] = np.minimum(bone[part], distance)
    whole = build_bvh(np.concatenate(corners), np.concatenate(triangles))
    obstacles = gather_obstacles(
        whole,
        np.concatenate(needs) if needs else np.zeros(0),
        np.concatenate(groups) if groups else np.zeros(0, np.int32),
    )
    body = _Region(low - 20.0, high + 20.0, SKIN_GRID_MM)
    skin = distance_field(skin_of(joint).bvh, body.origin, SKIN_GRID_MM, body.shape, 40.0)  # type: ignore[arg-type]
    nearest.setflags(write=False)
    return Space(
        slack=region.field(slack), nearest_group=nearest, soft=region.field(soft), bone=region.field(bone),
        skin=skin, obstacles=obstacles, need_mm=need, present=tuple(present),
    )  # fmt: skip
