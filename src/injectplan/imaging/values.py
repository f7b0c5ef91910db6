"""What imaging gives to the rooms above: `LabelMap`, `Volume` and `Surface`, all in patient RAS mm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from injectplan.kernels.bvh import Bvh, build_bvh
from injectplan.kernels.cast import Floats, Ints, cast
from injectplan.kernels.facets import crosses, enclosed, gathered
from injectplan.lazy import lazy
from injectplan.measure import Notice
from injectplan.structures import StructureInfo


def mixed64(numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.uint64]:
    """Hash whole numbers to 64 bits each, in place: SplitMix64's finaliser (doi:10.1145/2660193.2660195).

    Sums and exclusive ors of such names tell without sorting which numbers pair off.
    """
    mixed = numbers.view(np.uint64)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed ^= mixed >> np.uint64(shift)
        mixed *= np.uint64(factor)
    mixed ^= mixed >> np.uint64(31)
    return mixed


def _frozen_affine(affine: npt.ArrayLike) -> Floats:
    result = np.array(affine, dtype=np.float64).reshape(4, 4)
    if not np.isfinite(result).all() or abs(np.linalg.det(result[:3, :3])) < 1e-9:
        raise ValueError("an affine must be finite and invertible")
    result.setflags(write=False)
    return result


@dataclass(frozen=True, eq=False)
class _Grid:
    """What label maps and volumes share: voxel (i, j, k)'s centre lies at affine @ (i, j, k, 1)."""

    affine: Floats

    @lazy
    def spacing_mm(self) -> Floats:
        """Voxel edge lengths along i, j, k, (3,)."""
        return np.asarray(np.linalg.norm(self.affine[:3, :3], axis=0))

    @lazy
    def voxel_volume_mm3(self) -> float:
        """Volume of one voxel."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))

    def to_patient(self, ijk: npt.ArrayLike) -> Floats:
        """Map voxel indices (..., 3) to RAS mm."""
        return np.asarray(ijk, dtype=np.float64) @ self.affine[:3, :3].T + self.affine[:3, 3]

    def to_voxel(self, points_mm: npt.ArrayLike) -> Floats:
        """Map RAS mm (..., 3) to continuous voxel indices."""
        inverse = np.linalg.inv(self.affine)
        return np.asarray(points_mm, dtype=np.float64) @ inverse[:3, :3].T + inverse[:3, 3]


@dataclass(frozen=True, eq=False)
class LabelMap(_Grid):
    """A segmentation: labels (i, j, k) uint16 with full affine, and the structure name of each label value.

    names : label value → structure name (the project's vocabulary); values without a name stay unnamed.
    overlaps : structure name → mask (i, j, k) bool, for segments that overlap others in the file.
    additions : structures beside the vocabulary that the label table defines.
    notices : what reading found worth a warning.
    """

    labels: npt.NDArray[np.uint16]
    names: Mapping[int, str] = field(default_factory=dict)
    overlaps: Mapping[str, npt.NDArray[np.bool_]] = field(default_factory=dict)
    additions: Mapping[str, StructureInfo] = field(default_factory=dict)
    notices: tuple[Notice, ...] = ()

    def __post_init__(self) -> None:
        labels = cast(self.labels, np.uint16, (None, None, None), "labels")
        object.__setattr__(self, "affine", _frozen_affine(self.affine))
        object.__setattr__(self, "labels", labels)
        object.__setattr__(self, "names", MappingProxyType(dict(self.names)))
        object.__setattr__(self, "overlaps", MappingProxyType(dict(self.overlaps)))
        object.__setattr__(self, "additions", MappingProxyType(dict(self.additions)))

    @property
    def structures(self) -> tuple[str, ...]:
        """The names that the table gives, each once, whether or not they occur."""
        return tuple(dict.fromkeys([*self.names.values(), *self.overlaps]))

    @lazy
    def counts(self) -> Mapping[int, int]:
        """Label value → number of voxels, for the values that occur; background left out."""
        found = np.bincount(self.labels.ravel(order="K"), minlength=1)
        return MappingProxyType({int(v): int(found[v]) for v in np.flatnonzero(found) if v})

    def volume_ml(self, structure: str) -> float:
        """Volume of a structure's voxels, 0 when it does not occur."""
        if structure in self.overlaps:
            count = int(self.overlaps[structure].sum())
        else:
            count = sum(self.counts.get(value, 0) for value, name in self.names.items() if name == structure)
        return count * self.voxel_volume_mm3 / 1000.0

    def mask(self, structure: str) -> npt.NDArray[np.bool_]:
        """Return where this structure lies, (i, j, k) bool; all False when it does not occur."""
        if structure in self.overlaps:
            return self.overlaps[structure]
        values = [value for value, name in self.names.items() if name == structure]
        return np.isin(self.labels, values)


@dataclass(frozen=True, eq=False)
class Volume(_Grid):
    """An image: values (i, j, k) or (i, j, k, component) float32, with full affine.

    echo_times_ms : of the components, where the file states them.
    """

    values: npt.NDArray[np.float32]
    notices: tuple[Notice, ...] = ()
    echo_times_ms: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        values = np.ascontiguousarray(self.values, dtype=np.float32)
        if values.ndim not in (3, 4):
            raise ValueError(f"an image has 3 or 4 axes, not {values.ndim}")
        values.setflags(write=False)
        object.__setattr__(self, "affine", _frozen_affine(self.affine))
        object.__setattr__(self, "values", values)


@dataclass(frozen=True, eq=False)
class Surface:
    """A triangle surface in RAS mm: vertices (n, 3), triangles (m, 3), counter-clockwise from outside."""

    vertices_mm: Floats
    triangles: Ints

    def __post_init__(self) -> None:
        vertices = cast(self.vertices_mm, np.float64, (None, 3), "vertices_mm")
        triangles = cast(self.triangles, np.int32, (None, 3), "triangles")
        if not np.isfinite(vertices).all():
            raise ValueError("a surface's vertices must be finite")
        if triangles.size and (triangles.min() < 0 or triangles.max() >= len(vertices)):
            raise ValueError("a triangle names a vertex that does not exist")
        object.__setattr__(self, "vertices_mm", vertices)
        object.__setattr__(self, "triangles", triangles)

    @lazy
    def bvh(self) -> Bvh:
        """The triangle tree over this surface, built on first use."""
        return build_bvh(self.vertices_mm, self.triangles)

    @lazy
    def _crosses(self) -> Floats:
        return crosses(self.vertices_mm, self.triangles)

    @lazy
    def triangle_areas_mm2(self) -> Floats:
        """Area of each triangle, (m,)."""
        return np.asarray(0.5 * np.linalg.norm(self._crosses, axis=1))

    @lazy
    def area_mm2(self) -> float:
        """Total area."""
        return float(self.triangle_areas_mm2.sum())

    @lazy
    def vertex_areas_mm2(self) -> Floats:
        """A third of the area of the triangles around each vertex, (n,)."""
        thirds = self.triangle_areas_mm2[:, None] / 3.0
        return gathered(self.triangles, thirds, len(self.vertices_mm))[:, 0]

    @lazy
    def vertex_normals(self) -> Floats:
        """Area-weighted outward unit normals, (n, 3); zero where a vertex belongs to no triangle."""
        result = gathered(self.triangles, self._crosses, len(self.vertices_mm))
        length = np.linalg.norm(result, axis=1, keepdims=True)
        return np.asarray(np.divide(result, length, out=np.zeros_like(result), where=length > 0))

    @lazy
    def volume_ml(self) -> float:
        """Enclosed volume by the divergence theorem; meaningful for a closed surface only."""
        if not len(self.triangles):
            return 0.0
        return enclosed(self.vertices_mm, self.triangles, self._crosses) / 1000.0

    def _edges(self) -> npt.NDArray[np.int64]:
        """A number for each edge of each triangle, the same for the same two vertices; (3m,)."""
        one, other = self.triangles[:, [0, 1, 2]].ravel(), self.triangles[:, [1, 2, 0]].ravel()
        low = np.minimum(one, other).astype(np.int64)
        low *= len(self.vertices_mm)
        low += np.maximum(one, other)
        return low

    @lazy
    def _edge_counts(self) -> npt.NDArray[np.int64]:
        return np.unique(self._edges(), return_counts=True)[1]

    @lazy
    def closed(self) -> bool:
        """Whether every edge belongs to an even number of triangles, at least two.

        Each edge's number is hashed to 64 bits: those met an even number of times cancel in the exclusive or,
        and others cancel by chance once in 2^64. Counting them took a third of a second on a whole knee.
        """
        mixed = mixed64(self._edges())
        return bool(len(self.triangles)) and int(np.bitwise_xor.reduce(mixed)) == 0

    @lazy
    def manifold(self) -> bool:
        """Whether every edge belongs to exactly two triangles, or one at a border."""
        return bool(len(self.triangles)) and bool((self._edge_counts <= 2).all())

    @lazy
    def bounds_mm(self) -> Floats:
        """Lowest and highest corner, (2, 3)."""
        return np.stack([self.vertices_mm.min(axis=0), self.vertices_mm.max(axis=0)])
