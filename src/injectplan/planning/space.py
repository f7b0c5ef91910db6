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
from injectplan.kernels.search import Obstacles, gather_obstacles, near_hull, settle
from injectplan.measure import Notice
from injectplan.planning.approaches import Approach, skin_anchor
from injectplan.planning.values import DEFAULT_MARGINS_MM, Constraints

CLASSES = ("bone", "cartilage", "tendon", "artery", "vein", "nerve", "organ")  # class index = position
SOFT_CLASSES = ("artery", "vein", "nerve", "organ")  # keeping farther off than the margin is worth something
SOFT_CAP_MM = 10.0  # clearance beyond the margin that still counts as better (assumed)
ORGAN_MARGIN_MM = 5.0  # no organ lies in the built-in joints; as an artery (assumed)
SLACK_CAP_MM = 4.0  # the slack field's reach
GRID_MM = 1.0
SOFT_GRID_MM = 2.0  # of the field that only ranks
BONE_GRID_MM = 1.5  # of the field that scan lines are traced in; the window is measured on the meshes again
BONE_CAP_MM = 6.0
BESIDE_MM = 12.0  # how far scan lines run outside the space between entries and targets (assumed)
SKIN_GRID_MM = 2.5
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
    ridge: Ridge | None = None  # what other targets there are, None for a fixed one
    notices: tuple[Notice, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Space:
    """Fields over the region that paths may cross.

    slack : least of (distance − need) over all classes.  nearest_group : the class it belongs to.
    soft : the same over vessels, nerves and organs, up to SOFT_CAP_MM.  need_mm : class → margin + radius.
    doubt : least of (distance − need − placement_sd_mm) where negative, else 0.
    """

    slack: Field
    nearest_group: npt.NDArray[np.int8]
    soft: Field
    doubt: Field
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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ridge:
    """The middle of the cavity's slit: positions (n, 3) mm, depths (n,), recess number (n,)."""

    positions_mm: Floats
    depths_mm: Floats
    recess: npt.NDArray[np.uint8]


def ridge_of(joint: JointModel, wanted: list[int]) -> Ridge:
    """Grid points of the wanted recesses that are about as deep as any within 3 mm."""
    cavity = joint.cavity
    h = cavity.field.spacing_mm
    inside = cavity.field.values < 0.0
    if cavity.recesses and len(wanted) < len(cavity.recesses):
        inside &= np.isin(cavity.recess_index, [i + 1 for i in wanted])
    if not inside.any():
        raise EmptyStructureError(
            "the cavity holds no point inside the recess asked for: check the model's cavity"
        )
    half = max(1, round(2.0 / h))
    part = []
    for axis in range(3):
        along = np.flatnonzero(inside.any(axis=tuple(a for a in range(3) if a != axis)))
        part.append(slice(max(0, int(along[0]) - half), int(along[-1]) + half + 1))
    box = tuple(part)
    depth = -cavity.field.values[box]
    where = np.argwhere(inside[box] & (depth >= 0.75 * maximum_filter(depth, size=2 * half + 1)))
    depths = depth[tuple(where.T)].astype(float)
    where += [s.start for s in part]
    return Ridge(
        positions_mm=cavity.field.origin_mm + h * where, depths_mm=depths,
        recess=cavity.recess_index[tuple(where.T)],
    )  # fmt: skip


def spread_targets(
    joint: JointModel, ridge: Ridge, count: int, clear: Field | None
) -> tuple[Floats, Floats, tuple[str, ...]]:
    """Return up to `count` tips in the middle of the cavity's slit, spread as far apart as they go.

    Those that a structure at risk forbids (`clear` well below 0) are left out while others are left. The
    first is the deepest, each next the farthest from those before.
    """
    positions, depths, index = ridge.positions_mm, ridge.depths_mm, ridge.recess
    if clear is not None:
        free = sample_many(clear, positions) > -0.8661 * clear.spacing_mm
        if free.any():
            positions, depths, index = positions[free], depths[free], index[free]
    chosen = [int(np.argmax(depths))]
    away = np.full(len(positions), np.inf)
    favour = 0.5 + 0.5 * depths / depths.max()
    for _ in range(min(count, len(positions)) - 1):
        apart = positions - positions[chosen[-1]]
        np.minimum(away, np.einsum("ij,ij->i", apart, apart), out=away)
        chosen.append(int(np.argmax(np.sqrt(away) * favour)))
    names = {0: "cavity", **{i + 1: r.name for i, r in enumerate(joint.cavity.recesses)}}
    return positions[chosen], depths[chosen], tuple(names[int(i)] for i in index[chosen])


def recess_at(joint: JointModel, tip_mm: Floats) -> str:
    """Name of the recess a point lies in, "cavity" when in none."""
    field = joint.cavity.field
    index = np.rint((np.asarray(tip_mm) - field.origin_mm) / field.spacing_mm).astype(int)
    index = np.clip(index, 0, np.array(field.values.shape) - 1)
    number = int(joint.cavity.recess_index[tuple(index)])
    return joint.cavity.recesses[number - 1].name if number else "cavity"


def _headed(
    entries: Floats, targets: Floats, heading: Floats, cone_deg: float, longest: float
) -> npt.NDArray[np.bool_]:
    """Which entries have a target within reach and within a cone about a heading."""
    result = np.zeros(len(entries), bool)
    least = np.cos(np.radians(cone_deg))
    for target in targets:
        way = target - entries
        length = np.linalg.norm(way, axis=1)
        result |= (length <= longest) & (way @ heading >= least * length)
    return result


def find_candidates(
    joint: JointModel,
    needle: Needle,
    constraints: Constraints,
    approach: Approach | None,
) -> Candidates:
    """Return where the search may enter and end; fixed points of the constraints stand alone."""
    skin = skin_of(joint)
    wanted, notices = _recesses_wanted(joint, approach)
    if constraints.target_mm is not None:
        targets = np.asarray(constraints.target_mm, dtype=float).reshape(1, 3)
        depths = -sample_many(joint.cavity.field, targets)
        recess: tuple[str, ...] = (recess_at(joint, targets[0]),)
        ridge = None
    else:
        ridge = ridge_of(joint, wanted)
        targets, depths, recess = spread_targets(joint, ridge, constraints.targets, None)
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
            depths_mm=depths, recess=recess, ridge=ridge, notices=tuple(notices),
        )  # fmt: skip
    centers = skin.vertices_mm[skin.triangles].mean(axis=1)
    allowed = ~_cut_faces(joint, skin)
    if approach is not None:
        anchor = skin_anchor(approach, joint)
        allowed &= np.linalg.norm(centers - anchor, axis=1) <= approach.radius_mm
    reach = np.asarray(cKDTree(targets).query(centers)[0])
    near = allowed & (reach <= longest + 2.0)
    if approach is not None and near.any():
        heading = approach.heading_in(joint)
        ahead = _headed(centers[near], targets, heading, approach.cone_deg + 5.0, longest + 2.0)
        if ahead.any():
            near[np.flatnonzero(near)[~ahead]] = False
    if not near.any():  # keep the nearest, so that the refusal can name how far the needle falls short
        if not allowed.any():
            raise EmptyStructureError(
                "no skin lies in the approach's entry zone: check the side and the skin"
            )
        near = allowed & (reach <= reach[allowed].min() + 10.0)
    entries, outward = spread_entries(skin, np.flatnonzero(near), constraints.entries, normals)
    return Candidates(
        entries_mm=entries, normals=outward, targets_mm=targets, depths_mm=depths, recess=recess, ridge=ridge,
        notices=tuple(notices),
    )  # fmt: skip


def clear_targets(joint: JointModel, constraints: Constraints, clear: Field, first: Candidates) -> Candidates:
    """Return the candidates with targets chosen anew among those that no structure at risk forbids."""
    if first.ridge is None:
        return first
    targets, depths, recess = spread_targets(joint, first.ridge, constraints.targets, clear)
    return replace(first, targets_mm=targets, depths_mm=depths, recess=recess)


_FACES = np.array(
    [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [1, -1, 0], [1, 0, 1], [1, 0, -1], [0, 1, 1], [0, 1, -1],
     [1, 1, 1], [1, 1, -1], [1, -1, 1], [-1, 1, 1]], float,
)  # fmt: skip
_FACES /= np.linalg.norm(_FACES, axis=1, keepdims=True)


class _Hull:
    """A convex body of 26 faces about all entries and targets: every path lies in it."""

    def __init__(self, points_mm: Floats) -> None:
        along = points_mm @ _FACES.T
        self.low, self.high = along.min(axis=0), along.max(axis=0)
        self.box = np.stack([points_mm.min(axis=0), points_mm.max(axis=0)])

    def triangles(self, surface: Surface, reach_mm: float) -> npt.NDArray[np.bool_]:
        """Which triangles may come within `reach_mm`: none is left out that does."""
        if not len(surface.triangles) or np.any(surface.bounds_mm[0] > self.box[1] + reach_mm):
            return np.zeros(len(surface.triangles), bool)
        return near_hull(surface.vertices_mm, surface.triangles, _FACES, self.low, self.high, reach_mm)


class _Grid:
    """Slack, its class and the doubt on a grid, lowered by one structure after another."""

    def __init__(self, hull: _Hull, spacing_mm: float, beside_mm: float, cap_mm: float, reach: float) -> None:
        low, high = hull.box[0] - beside_mm, hull.box[1] + beside_mm
        self.origin, self.spacing = low, spacing_mm
        shape = np.maximum(np.ceil((high - low) / spacing_mm).astype(int) + 1, 2)
        self.slack = np.full(shape, cap_mm, np.float32)
        self.nearest = np.full(shape, -1, np.int8)
        self.doubt = np.zeros(shape, np.float32)
        self.wanted = np.ones(shape, bool)
        axes = [low[a] + spacing_mm * np.arange(shape[a]) for a in range(3)]
        reach = reach + 1.8 * spacing_mm  # the corners of every cell that a path meets
        for face, least, most in zip(_FACES, hull.low - reach, hull.high + reach, strict=True):
            x, y, z = (face[a] * axes[a] for a in range(3))
            along = x[:, None, None] + y[None, :, None] + z[None, None, :]
            self.wanted &= (along >= least) & (along <= most)

    def lower(self, surface: Surface, need_mm: float, sd_mm: float, group: int, cap_mm: float) -> None:
        """Take a structure into account."""
        reach = need_mm + max(cap_mm, sd_mm)
        low, high = surface.bounds_mm
        last_point = np.array(self.slack.shape) - 1
        first = np.floor((low - reach - self.origin) / self.spacing).astype(int)
        last = np.ceil((high + reach - self.origin) / self.spacing).astype(int)
        if np.any(first > last_point) or np.any(last < 0):
            return
        first, last = np.clip(first, 0, last_point - 1), np.clip(last, 1, last_point)
        part = tuple(slice(int(a), int(b) + 1) for a, b in zip(first, last, strict=True))
        settle(
            surface.bvh, need_mm, sd_mm, group, self.origin + first * self.spacing, self.spacing,
            self.wanted[part], self.slack[part], self.nearest[part], self.doubt[part],
        )  # fmt: skip

    def field(self, values: npt.NDArray[np.float32]) -> Field:
        """Return one of the arrays as a field."""
        values.setflags(write=False)
        return Field(self.origin, float(self.spacing), values)


def build_space(joint: JointModel, needle: Needle, margins: Mapping[str, float], points_mm: Floats) -> Space:
    """Build the fields over the hull of all entries and targets (n, 3) and the exact tree of what is at risk.

    Structures and triangles that no path within the hull can come near are left out.
    """
    hull = _Hull(points_mm)
    radius = 0.5 * needle.outer_mm
    need = {name: margins[name] + radius for name in CLASSES}
    main = _Grid(hull, GRID_MM, 3.0, SLACK_CAP_MM, 0.0)
    soft = _Grid(hull, SOFT_GRID_MM, 3.0, SOFT_CAP_MM, 0.0)
    bone = _Grid(hull, BONE_GRID_MM, BESIDE_MM, BONE_CAP_MM, BESIDE_MM)
    corners, triangles, needs, groups = [np.zeros((0, 3))], [np.zeros((0, 3), np.int32)], [], []
    used, present = 0, []
    for group, name in enumerate(CLASSES):
        members = joint.at_risk(name)
        if members:
            present.append(name)
        for structure in members.values():
            surface, sd = structure.surface, structure.placement_sd_mm
            if name == "bone" and hull.triangles(surface, BESIDE_MM + BONE_CAP_MM).any():
                bone.lower(surface, 0.0, 0.0, group, BONE_CAP_MM)
            if name in SOFT_CLASSES and hull.triangles(surface, need[name] + SOFT_CAP_MM).any():
                soft.lower(surface, need[name], 0.0, group, SOFT_CAP_MM)
            if not hull.triangles(surface, need[name] + max(SLACK_CAP_MM, sd)).any():
                continue
            main.lower(surface, need[name], sd, group, SLACK_CAP_MM)
            chosen = hull.triangles(surface, need[name])
            corners.append(surface.vertices_mm)
            triangles.append(surface.triangles[chosen] + np.int32(used))
            used += len(surface.vertices_mm)
            needs.append(np.full(int(chosen.sum()), need[name]))
            groups.append(np.full(int(chosen.sum()), group, np.int32))
    obstacles = gather_obstacles(
        build_bvh(np.concatenate(corners), np.concatenate(triangles)),
        np.concatenate(needs) if needs else np.zeros(0),
        np.concatenate(groups) if groups else np.zeros(0, np.int32),
    )
    low, high = hull.box[0] - 23.0, hull.box[1] + 23.0
    shape = tuple(int(n) for n in np.ceil((high - low) / SKIN_GRID_MM).astype(int) + 1)
    skin = distance_field(skin_of(joint).bvh, low, SKIN_GRID_MM, shape, 40.0)  # type: ignore[arg-type]
    main.nearest.setflags(write=False)
    return Space(
        slack=main.field(main.slack), nearest_group=main.nearest, soft=soft.field(soft.slack),
        doubt=main.field(main.doubt), bone=bone.field(bone.slack), skin=skin, obstacles=obstacles,
        need_mm=need, present=tuple(present),
    )  # fmt: skip
