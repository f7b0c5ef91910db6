"""Completion as a distribution: draws from the published spreads, and what the draws say together.

A draw changes two things. Sizes (thicknesses, widths, volumes) are drawn from each `Dimension`, a normal
cut off at the dimension's bounds. Then each completed structure, or bundle of structures that travel
together, is moved by a normal shift whose spread along every axis is its `placement_sd_mm`; where that would
lead into bone or out of the body it slides along them (`sliding`), which is told per structure. Envelopes,
cartilage, shafts and the cavity follow the drawn sizes and the bones and are not shifted.

Draws are built on grids 1.6 times as coarse as a plan's joint.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree
from scipy.special import ndtr, ndtri

from injectplan.anatomy.completion import complete_joint
from injectplan.anatomy.completion.ankle import ANKLE
from injectplan.anatomy.completion.courses import share_of_drawn
from injectplan.anatomy.completion.dimensions import KNEE, KNEE_FAT, Dimension
from injectplan.anatomy.completion.hip import HIP
from injectplan.anatomy.completion.making import lies_in_the_fat
from injectplan.anatomy.completion.sliding import MOVED_BACK_MM, Bones, Cover, kept_in, slid
from injectplan.anatomy.completion.solids import Drafts, Frame
from injectplan.anatomy.model import JointModel, Kind, Structure
from injectplan.errors import UsageError
from injectplan.kernels.bvh import nearest_points, signed_distances
from injectplan.kernels.cast import Floats, Floats32
from injectplan.kernels.chance import hash64, normal_at, uniform_at
from injectplan.kernels.solids import inside_grid
from injectplan.structures import CONTINUED, structure

TABLES: Mapping[Kind, Mapping[str, Dimension]] = {"knee": KNEE, "hip": HIP, "ankle": ANKLE}
# Fat over the joint scatters by 39 % about its mean at a given site (US, anterior thigh 10.4 ± 4.1 mm,
# doi:10.17987/jcsm-cr.v4i2.94).
FAT_SPREAD = 0.39
FATS: Mapping[Kind, tuple[str, ...]] = {
    "knee": tuple(KNEE_FAT), "hip": ("anterior_fat",), "ankle": ("anterior_fat",),
}  # fmt: skip
LEAST_FAT_MM = 1.5
NOT_DRAWN = ("effusion_ml", "limb_above", "limb_below")
BUNDLES = (
    ("femoral_artery", "femoral_vein", "femoral_nerve"),
    (
        "popliteal_artery",
        "popliteal_vein",
        "tibial_nerve",
        "posterior_tibial_artery",
        "posterior_tibial_vein",
    ),
    ("sural_nerve", "small_saphenous_vein"),
    ("great_saphenous_vein", "saphenous_nerve"),
    ("dorsalis_pedis_artery", "deep_fibular_nerve"),
)
ENVELOPES = ("skin", "subcutaneous_fat", "deep_fascia", "muscle")
# These follow the drawn sizes and the bones; a shift of their own would tear them off.
FILLERS = ("deep_fat", "popliteal_fat_pad", "intercondylar_fat_pad", "acetabular_fat_pad")
UNMOVED = (*ENVELOPES, *FILLERS, "joint_cavity", "joint_capsule")
UNMOVED_LAYERS = ("bone", "cartilage")
MEASURED_AT = 2500  # vertices of a structure at which the draws' distances are taken; others as the nearest
COARSER = 1.6  # a draw's grids against a plan's: a surface differs by less than 0.1 mm


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Completions:
    """Draws of a joint's completed structures and the maps they make.

    draws : n mappings name → completed Structure.  sizes : name → (n,) values drawn, mm or mL.
    affine : the maps' grid → patient RAS mm, (4, 4).
    probability : name → (nx, ny, nz) share of the draws whose structure holds the voxel.
    mean_mm, sd_mm : name → (v,) at the vertices of the joint's own surface: mean and standard deviation of
        how far the draws' surfaces lie outside it (positive) or inside (of a large surface at 2,500 vertices,
        at the others as at the nearest of those).
    slid : name → in how many draws it met bone or its cover and slid along them.
    """

    draws: tuple[Mapping[str, Structure], ...]
    sizes: Mapping[str, Floats]
    affine: Floats
    probability: Mapping[str, Floats32]
    mean_mm: Mapping[str, Floats]
    sd_mm: Mapping[str, Floats]
    slid: Mapping[str, int]


def _within(d: Dimension, uniform: float) -> float:
    """The quantile of a normal cut off at the dimension's bounds."""
    low, high = ndtr((d.low - d.value) / d.sd), ndtr((d.high - d.value) / d.sd)
    return float(np.clip(d.value + d.sd * ndtri(low + uniform * (high - low)), d.low, d.high))


def _key(name: str) -> int:
    """A number of a name, the same in every process."""
    return int.from_bytes(name.encode()[:64].ljust(8, b"."), "little") % (2**61 - 1)


def draw_sizes(joint: JointModel, index: int, seed: int) -> dict[str, float]:
    """Return the sizes of one draw, name → mm or mL; what the joint's parameters set is left to them.

    Each size has its own stream of chance, named by it, so that a new dimension changes no other.
    """
    result: dict[str, float] = {}
    for name, d in TABLES[joint.kind].items():
        if d.sd > 0.0 and name not in joint.parameters and name not in NOT_DRAWN:
            result[name] = _within(d, uniform_at(hash64(seed, _key(name)) >> np.uint64(1), index))
    about = _fat_of(joint)
    for name in FATS[joint.kind]:
        if name not in joint.parameters:
            u = normal_at(hash64(seed, _key(name)) >> np.uint64(1), index)
            result[name] = max(about[name] * (1.0 + FAT_SPREAD * float(np.clip(u, -2.0, 2.5))), LEAST_FAT_MM)
    return result


def _fat_of(joint: JointModel) -> dict[str, float]:
    """The fat's mean thicknesses, as the joint's own completion lists them."""
    found = {}
    for line in joint.assumed:
        name, _, rest = line.partition(" = ")
        if name in FATS[joint.kind]:
            found[name] = float(rest.split()[0])
    missing = [n for n in FATS[joint.kind] if n not in found and n not in joint.parameters]
    if missing:
        raise UsageError(
            f"this {joint.kind} was not completed (no {missing[0]} among its assumptions): build it with "
            'completion = "auto" to draw from its spreads'
        )
    return found


def shift_of(name: str, placement_sd_mm: float, index: int, seed: int) -> Floats:
    """The shift of one draw's structure, or of its bundle, (3,) mm in the joint's coordinates."""
    leader = next((b[0] for b in BUNDLES if name in b), name)
    stream = hash64(seed, _key("place of " + leader)) >> np.uint64(1)
    return placement_sd_mm * np.array([normal_at(stream, 3 * index + a) for a in range(3)])


def moves(one: Structure) -> bool:
    """Whether a draw moves a structure, beside drawing its size."""
    layer = structure(one.name).layer
    return (
        one.source == "completed" and one.placement_sd_mm > 0.0
        and one.name not in UNMOVED and layer not in UNMOVED_LAYERS
    )  # fmt: skip


def _placed(
    made: Mapping[str, Structure], given: Mapping[str, Structure], bones: Bones, index: int, seed: int
) -> tuple[dict[str, Structure], list[str]]:
    """Move each completed structure, or bundle, by its own shift; and the names of those that slid."""
    fat, fascia = (Cover.of(bones.frame, made[n].surface) for n in ("subcutaneous_fat", "deep_fascia"))
    result, touched = {}, []
    for name, one in made.items():
        if one.source != "completed" or name in ENVELOPES or not len(one.surface.triangles):
            result[name] = one
        elif moves(one):
            base = name.removesuffix(CONTINUED)
            shift = shift_of(base, one.placement_sd_mm, index, seed)
            cover = fat if lies_in_the_fat(name) else fascia
            share = None
            if base != name:  # where it joins what was segmented it is sure of its place
                away = nearest_points(given[base].surface.bvh, one.surface.vertices_mm)[0]
                share = share_of_drawn(away)
            surface, push = slid(one.surface, shift, bones, cover, fat, share)
            result[name] = replace(one, surface=surface)
            if push > MOVED_BACK_MM:
                touched.append(name)
        elif structure(name).layer == "bone":
            result[name] = one
        else:
            result[name] = replace(one, surface=kept_in(one.surface, bones, fat))
    return result, touched


def sample_completions(
    joint: JointModel,
    n: int,
    seed: int,
    *,
    spacing_mm: float = 2.0,
    progress: Callable[[str, float], None] | None = None,
) -> Completions:
    """Draw n completions of a joint from the spreads of its sizes and places; the same seed, the same draws.

    Draw i depends on (seed, i) alone, so the first ten of twenty are those of ten.

    Raises UsageError for n below 1 or a joint that was not completed.
    """
    if n < 1:
        raise UsageError(f"n = {n}: draw at least one completion")
    given = {k: s for k, s in joint.structures.items() if s.source != "completed"}
    fixed = {k: float(v) for k, v in joint.parameters.items() if isinstance(v, int | float)}
    bones = Bones.of(Frame.of(joint.axes), joint.structures)
    drafts = Drafts(COARSER, tuple(s.surface for s in given.values()))
    draws, sizes, slides = [], [], Counter[str]()
    for i in range(n):
        if progress is not None:
            progress(f"draw {i + 1} of {n}", i / n)
        drawn = draw_sizes(joint, i, seed)
        made = complete_joint(joint.kind, joint.side, joint.axes, given, joint.subject,
                              parameters={**fixed, **drawn}, drafts=drafts)  # fmt: skip
        moved, touched = _placed(made.structures, given, bones, i, seed)
        slides.update(touched)
        draws.append({k: s for k, s in moved.items() if s.source == "completed"})
        sizes.append(drawn)
    affine, probability = _probability(joint, draws, spacing_mm)
    mean, sd = _spread(joint, draws)
    return Completions(
        draws=tuple(draws), sizes={k: np.array([s[k] for s in sizes]) for k in sizes[0]}, affine=affine,
        probability=probability, mean_mm=mean, sd_mm=sd, slid=dict(slides),
    )  # fmt: skip


def _probability(
    joint: JointModel, draws: list[dict[str, Structure]], spacing_mm: float
) -> tuple[Floats, dict[str, Floats32]]:
    """Count on one grid, as the joint's labels lie but coarser, which share of the draws hold each voxel."""
    labels = joint.labels
    step = float(np.mean(labels.spacing_mm))
    affine = labels.affine.copy()
    affine[:3, :3] *= spacing_mm / step
    shape = tuple(int(np.ceil(m * step / spacing_mm)) + 1 for m in labels.labels.shape)
    to_grid = np.linalg.inv(affine)
    counts: dict[str, npt.NDArray[np.uint16]] = {}
    top = np.array(shape)
    for draw in draws:
        for name, one in draw.items():
            total = counts.setdefault(name, np.zeros(shape, np.uint16))
            if not len(one.surface.triangles):
                continue
            vertices = one.surface.vertices_mm @ to_grid[:3, :3].T + to_grid[:3, 3]
            low = np.clip(np.floor(vertices.min(axis=0)), 0, top - 1).astype(int)
            high = np.clip(np.ceil(vertices.max(axis=0)) + 1, low + 1, top).astype(int)
            box = (int(high[0] - low[0]), int(high[1] - low[1]), int(high[2] - low[2]))
            held = inside_grid(vertices - low, one.surface.triangles, box)
            total[low[0] : high[0], low[1] : high[1], low[2] : high[2]] += held
    share = np.float32(len(draws))
    return affine, {name: total.astype(np.float32) / share for name, total in counts.items()}


def _spread(
    joint: JointModel, draws: list[dict[str, Structure]]
) -> tuple[dict[str, Floats], dict[str, Floats]]:
    """How far the draws' surfaces lie from the joint's own, at its vertices: means, standard deviations."""
    mean, sd = {}, {}
    for name, one in joint.structures.items():
        if one.source != "completed" or not len(one.surface.triangles):
            continue
        vertices = one.surface.vertices_mm
        chosen = vertices[:: max(1, len(vertices) // MEASURED_AT)]
        away = [
            -signed_distances(d[name].surface.bvh, chosen)
            for d in draws
            if name in d and len(d[name].surface.triangles)
        ]
        if away:
            nearest = cKDTree(chosen).query(vertices)[1]
            mean[name], sd[name] = np.mean(away, axis=0)[nearest], np.std(away, axis=0)[nearest]
    return mean, sd


def with_spread(joint: JointModel, completions: Completions) -> JointModel:
    """Return the joint with each completed structure's placement uncertainty as the draws show it.

    The root mean square of the distances, never less than was stated: the planner keeps that far off.
    """
    structures = {}
    for name, one in joint.structures.items():
        if name in completions.sd_mm:
            away = completions.mean_mm[name] ** 2 + completions.sd_mm[name] ** 2
            one = replace(one, placement_sd_mm=max(one.placement_sd_mm, float(np.sqrt(away.mean()))))
        structures[name] = one
    return replace(joint, structures=structures)
