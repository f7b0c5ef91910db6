"""Bones, layers and further parts put on one grid: what the hip and ankle phantoms share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from injectplan.anatomy.model import Kind
from injectplan.imaging.values import LabelMap
from injectplan.kernels.cast import Floats
from injectplan.phantoms.grids import grid_over, side_matrix
from injectplan.phantoms.implicit import Distance, Solid, index_box, mesh, voxelise
from injectplan.phantoms.layers import Bone, layer_truth, moved_surface, paint_bone, shell
from injectplan.phantoms.values import Parameters, Phantom, Truth, grid_of, number, side_of, word

CRUMB = 0.02  # of an effusion's volume: smaller pieces, as in the clefts beside a talus, are not drawn


@dataclass(frozen=True, eq=False)
class Recipe:
    """A joint at size 1 in its right-hand frame.

    bones : written in order.  parts : further solids by structure name, which take free voxels only.
    lesion : structure name, the bone it lies in, and a value negative inside it.
    fluid : filling order (see `fill`) and the box it lies in, or None.  holds_ml : the most fluid that such a
    joint takes; more is a teaching phantom's right, and its truth says so.
    """

    kind: Kind
    bones: Sequence[Bone]
    low_mm: Floats
    high_mm: Floats
    parts: Mapping[str, Solid] = field(default_factory=dict)
    lesion: tuple[str, str, Solid] | None = None
    fluid: Solid | None = None
    holds_ml: float = np.inf

    @property
    def names(self) -> list[str]:
        """All structures in the order of their label values."""
        names = [n for bone in self.bones for n in (bone.name, *(layer.name for layer in bone.layers))]
        names += list(self.parts)
        return [*names, *([self.lesion[0]] if self.lesion else []), "synovial_fluid"]


def fill(
    labels: npt.NDArray[np.uint16],
    to_joint: Floats,
    order: Solid,
    value: int,
    volume_ml: float,
    voxel_ml: float,
) -> float:
    """Give free voxels to fluid, lowest `order` first, until the volume is reached; return it, mL."""
    if volume_ml <= 0:
        return 0.0
    low, high = index_box(order, to_joint, labels.shape)
    part = labels[low[0] : high[0], low[1] : high[1], low[2] : high[2]]
    index = np.argwhere(part == 0)
    rank = order((index + low) @ to_joint[:3, :3].T + to_joint[:3, 3])
    index, rank = index[np.isfinite(rank)], rank[np.isfinite(rank)]
    wanted = round(volume_ml / voxel_ml)
    chosen = _together(index, rank, wanted, part.shape)
    part[chosen[:, 0], chosen[:, 1], chosen[:, 2]] = value
    return len(chosen) * voxel_ml


def _together(
    index: npt.NDArray[np.int64], rank: Floats, wanted: int, shape: tuple[int, ...]
) -> npt.NDArray[np.int64]:
    """The voxels of lowest rank without crumbs: pieces of under a fiftieth of the volume are passed over."""
    index = index[np.argsort(rank, kind="stable")]
    for _ in range(4):
        chosen = index[:wanted]
        filled = np.zeros(shape, np.bool_)
        filled[tuple(chosen.T)] = True
        piece, _ = ndimage.label(filled)
        of = piece[tuple(chosen.T)]
        crumb = np.bincount(of, minlength=1)[of] < CRUMB * wanted
        if not crumb.any():
            break
        index = np.concatenate([chosen[~crumb], index[wanted:]])
    return index[:wanted]


def within(bone: Bone, value: Distance) -> Distance:
    """Intersection of a bone, in the joint's frame, with another value."""
    back = bone.to_joint.inverse()
    return lambda p: np.maximum(bone.solid(back.apply(p)), value(p))


def assemble(name: str, recipe: Recipe, p: Parameters, truth: dict[str, Truth]) -> Phantom:
    """Voxelise a recipe, mesh its parts and add the truth that follows from its construction."""
    size = number(p, "size")
    (a, _, c), oblique_deg = grid_of(p)
    to_joint, grid = grid_over(recipe.low_mm, recipe.high_mm, (a / size, a / size, c / size), oblique_deg)
    values = {n: i + 1 for i, n in enumerate(recipe.names)}
    labels = np.zeros(grid, np.uint16)
    for bone in recipe.bones:
        paint_bone(labels, to_joint, bone, values)
    if recipe.lesion is not None:
        structure, inside_of, solid = recipe.lesion
        inside = voxelise(solid, to_joint, grid) & (labels == values[inside_of])
        labels[inside] = values[structure]
    for structure, solid in recipe.parts.items():
        labels[voxelise(solid, to_joint, grid) & (labels == 0)] = values[structure]
    to_patient = side_matrix(word(p, "side")) @ np.diag([size, size, size, 1.0])
    if recipe.fluid is not None:
        voxel_ml = abs(float(np.linalg.det(to_joint[:3, :3]))) * size**3 / 1000.0
        wanted = number(p, "effusion_ml")
        held = fill(labels, to_joint, recipe.fluid, values["synovial_fluid"], wanted, voxel_ml)
        said = "labelled voxels × their volume"
        most = recipe.holds_ml * size**3
        if held > 1.01 * most:
            said += f" (over-distended for teaching: a joint of this size holds about {most:.0f} mL)"
        truth["effusion_ml"] = Truth(value=held, unit="mL", formula=said)
    surfaces = {}
    for bone in recipe.bones:
        to_ras = to_patient @ bone.to_joint.matrix
        surfaces[bone.name] = moved_surface(bone.surface, to_ras)
        for layer in bone.layers:
            surfaces[layer.name] = moved_surface(shell(bone, layer), to_ras)
            truth |= layer_truth(bone, layer, size)
    for structure, solid in recipe.parts.items():
        surfaces[structure] = moved_surface(mesh(solid, 0.8), to_patient)
    return Phantom(
        name=name, kind=recipe.kind, side=side_of(p), truth=truth, surfaces=surfaces, parameters=p,
        labelmap=LabelMap(
            affine=to_patient @ to_joint, labels=labels, names={v: n for n, v in values.items()}
        ),
    )  # fmt: skip
