"""AcousticScene: closed surfaces with tissues, ready to be insonified."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from injectplan.anatomy.model import PRIORITY, FillState, JointModel
from injectplan.errors import BadInputError
from injectplan.frames import Pose
from injectplan.imaging.values import Surface
from injectplan.instruments import Probe
from injectplan.kernels.bvh import build_bvh
from injectplan.kernels.cast import Floats
from injectplan.kernels.line_values import Makeup, Medium, Mesh, Skin, Solids
from injectplan.lazy import lazy
from injectplan.tissues import MUSCLE_SPECKLE_DB, Tissue, assumptions, tissue_of
from injectplan.ultrasound.patterns import STYLES, VOXEL_MM
from injectplan.ultrasound.tables import plane_offsets_mm

CREASE_DEG = 35.0  # edges sharper than this keep the triangles' own normals
# Mirror echo of the thin sheets round structures, dB re a perfect mirror; fitted to the greys of public
# frames (fascia and aponeurosis 18-35 dB over muscle), used in pictures and not where physics is tested.
MEMBRANE_DB = {"deep_fascia": -12.0, "muscle": -18.0, "tendon": -24.0, "skin": -22.0, "fat": -30.0}
LAYERED = ("subcutaneous_fat", "skin")  # their patterns follow the skin
LIMB_MM = 45.0  # radius of the limb that patterns are unrolled on, where no joint gives it (assumed)
FILL = "fill"
MARGIN_MM = 2.0  # room round the rays of a pose; where rays refract, the picture's depth


@dataclass(frozen=True, slots=True, kw_only=True)
class _Piece:
    """One solid before the merge."""

    name: str
    surface: Surface
    tissue: str
    priority: int
    fibre: Floats | None = None
    radial: bool = False
    membrane_db: float = -math.inf


@dataclass(frozen=True, eq=False)
class _Shapes:
    """Surfaces and what they are made of; their tree is built on first use.

    reach : (pose, half thickness mm, depth mm), the slab that rays stay in, None for everywhere.
    """

    surfaces: tuple[Surface, ...]
    makeup: Makeup
    reach: tuple[Pose, float, float] | None = None

    @lazy
    def solids(self) -> Solids:
        """Return the tree over every surface that has triangles within reach."""
        return Solids(self.mesh_within_reach(self.surfaces), self.makeup)

    def mesh_within_reach(self, surfaces: Sequence[Surface]) -> Mesh:
        """Merge what rays reach of some surfaces."""
        if self.reach is None:
            return mesh_of(list(surfaces))
        return mesh_of([_within(s, *self.reach) for s in surfaces], _bounds_of(surfaces))

    @lazy
    def bounds_mm(self) -> Floats:
        """Lowest and highest corner of all surfaces, (2, 3) RAS mm."""
        return _bounds_of(self.surfaces)


def _bounds_of(surfaces: Sequence[Surface]) -> Floats:
    """Return the lowest and highest corner of surfaces, (2, 3); of none, (inf, -inf)."""
    if not surfaces:
        return np.array([np.full(3, np.inf), np.full(3, -np.inf)])
    bounds = np.stack([s.bounds_mm for s in surfaces])
    return np.stack([bounds[:, 0].min(axis=0), bounds[:, 1].max(axis=0)])


def _within(surface: Surface, pose: Pose, half_mm: float, depth_mm: float) -> Surface:
    """Keep the triangles that reach into a slab round an image plane and not below a depth.

    Their neighbours are kept too, so that normals stay what they are on the whole surface.
    """
    offset = surface.vertices_mm - pose.translation_mm
    across, deep = offset @ pose.rotation[:, 1], offset @ pose.rotation[:, 2]
    side = ((across > half_mm).astype(np.uint8) | ((across < -half_mm).astype(np.uint8) << 1)) | (
        (deep > depth_mm).astype(np.uint8) << 2
    )
    t = surface.triangles
    inner, used = np.zeros((2, len(offset)), np.bool_)
    inner[t[(side[t[:, 0]] & side[t[:, 1]] & side[t[:, 2]]) == 0]] = True
    kept = t[inner[t[:, 0]] | inner[t[:, 1]] | inner[t[:, 2]]]
    used[kept] = True
    number = np.cumsum(used, dtype=np.int32) - np.int32(1)
    return Surface(surface.vertices_mm[used], number[kept])


@dataclass(frozen=True, eq=False)
class AcousticScene:
    """Closed surfaces with tissues and a probe to look with.

    names : the solids, in the order of their indices; the last one is the injected fluid's place.
    background : tissue outside every solid.  texture_to_patient : the frame the speckle is fixed to (its
        axes may be left-handed: a mirrored patient has mirrored grain).  points_mm (n,
        3) with amplitudes (n,)
        re a perfect mirror: ideal point targets.
    """

    probe: Probe
    names: tuple[str, ...]
    tissue_names: tuple[str, ...]
    tissues: Mapping[str, Tissue]
    shapes: _Shapes
    background: int
    fill: FillState | None
    points_mm: Floats
    point_amplitude: Floats
    texture_axes: Floats
    texture_origin_mm: Floats
    limb_axes: Floats
    limb_origin_mm: Floats
    assumed: tuple[str, ...] = ()
    label_names: Mapping[int, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        joint: JointModel,
        probe: Probe,
        *,
        tissues: Mapping[str, Tissue] | None = None,
        fill: FillState | None = None,
    ) -> AcousticScene:
        """Make the scene of a joint: every structure a solid, air outside the skin."""
        if not joint.structures:
            raise BadInputError("the joint has no structures: nothing to look at")
        axes = np.stack([joint.axes.lateral, joint.axes.anterior, joint.axes.proximal])
        pieces = []
        for name, s in joint.structures.items():
            if not len(s.surface.triangles):
                continue
            fibre = s.fibres
            if fibre is None and s.tissue in ("muscle", "tendon", "fascia", "nerve"):
                fibre = _pennate(axes) if s.tissue == "muscle" else axes[2]
            kind = "deep_fascia" if name == "deep_fascia" else "skin" if name == "skin" else s.tissue
            pieces.append(
                _Piece(
                    name=name, surface=s.surface, tissue=s.tissue, priority=s.priority, fibre=fibre,
                    radial=s.tissue in LAYERED,
                    membrane_db=MEMBRANE_DB.get(kind, -math.inf),
                )
            )  # fmt: skip
        skin = joint.structures.get("skin")
        middle = skin.surface.bounds_mm.mean(axis=0) if skin is not None else joint.axes.origin_mm
        return _scene(
            pieces, probe, background="air", tissues=tissues, fill=fill, axes=axes,
            origin_mm=joint.axes.origin_mm, limb_axes=axes[[1, 0, 2]], limb_origin_mm=middle,
        )  # fmt: skip

    @classmethod
    def from_solids(
        cls,
        solids: Mapping[str, tuple[Surface, str, int]],
        probe: Probe,
        *,
        background: str = "water",
        tissues: Mapping[str, Tissue] | None = None,
        fill: FillState | None = None,
        texture_to_patient: Pose | None = None,
        fibres: Mapping[str, Floats] | None = None,
        membranes_db: Mapping[str, float] | None = None,
        points_mm: npt.ArrayLike = (),
        point_amplitude: npt.ArrayLike = 1.0,
    ) -> AcousticScene:
        """Make a scene of named closed surfaces with (surface, tissue, priority), for closed forms and tests.

        texture_to_patient : where grain and patterns are fixed; fat's layers lie across its z axis.
        membranes_db : mirror echo of a thin sheet round a solid, re a perfect mirror; in pictures only.
        points_mm (n, 3) : ideal point targets of `point_amplitude` re a perfect mirror.
        """
        pose = texture_to_patient or Pose.identity()
        pieces = [
            _Piece(
                name=name, surface=surface, tissue=tissue, priority=priority,
                fibre=(fibres or {}).get(name, pose.rotation[:, 0]),
                radial=tissue in LAYERED,
                membrane_db=(membranes_db or {}).get(name, -math.inf),
            )
            for name, (surface, tissue, priority) in solids.items()
        ]  # fmt: skip
        scene = _scene(
            pieces, probe, background=background, tissues=tissues, fill=fill, axes=pose.rotation.T,
            pattern_axes=pose.rotation.T[[0, 2, 1]],  # as a joint's: across, deep, along
            origin_mm=pose.translation_mm, limb_axes=pose.rotation.T[[2, 0, 1]],
            limb_origin_mm=pose.translation_mm - LIMB_MM * pose.rotation[:, 2],
        )  # fmt: skip
        points = np.asarray(points_mm, dtype=np.float64).reshape(-1, 3)
        amplitude = np.ascontiguousarray(np.broadcast_to(np.asarray(point_amplitude, float), (len(points),)))
        return replace(scene, points_mm=np.ascontiguousarray(points), point_amplitude=amplitude)

    def with_probe(self, probe: Probe) -> AcousticScene:
        """Return the same scene, seen by another probe or with other controls."""
        return replace(self, probe=probe)

    def around(self, probe_to_patient: Pose) -> AcousticScene:
        """Return the scene as frames at one pose see it: what no ray reaches is left out of its tree.

        Frames at this pose are those of the whole scene, to 45 degrees of refraction out of the plane;
        the tree is built in a fraction of the time.
        """
        probe = self.probe
        spare = probe.depth_mm if probe.refraction else MARGIN_MM
        widest = float(np.abs(plane_offsets_mm(probe)).max())
        reach = (probe_to_patient, widest + spare, 1.6 * probe.depth_mm + spare)
        return replace(self, shapes=replace(self.shapes, reach=reach))

    @property
    def solids(self) -> Solids:
        """The solids with the tree over their surfaces, built on first use."""
        return self.shapes.solids

    def medium(self) -> Medium:
        """Return the tissues' tables at the probe's frequency."""
        return _medium(self.tissue_names, tuple(self.tissues[n] for n in self.tissue_names), self.probe)

    @property
    def bounds_mm(self) -> Floats:
        """Lowest and highest corner of all solids, (2, 3); a scene of background alone has none (inf)."""
        return self.shapes.bounds_mm


def _pennate(axes: Floats) -> Floats:
    """Fibres 12 degrees off the limb's axis, towards the depth: a quadriceps' pennation (assumed)."""
    lean = math.radians(12.0)
    return np.asarray(math.cos(lean) * axes[2] + math.sin(lean) * axes[1])


@lru_cache(maxsize=64)
def _medium(names: tuple[str, ...], tissues: tuple[Tissue, ...], probe: Probe) -> Medium:
    f = probe.frequency_mhz

    def column(values: list[float]) -> Floats:
        array = np.array(values, dtype=np.float64)
        array.setflags(write=False)
        return array

    neper = math.log(10.0) / 20.0
    scale = 1.0 if probe.raw else probe.loss_scale
    air = np.array([t.name == "air" for t in tissues], dtype=np.uint8)
    air.setflags(write=False)
    return Medium(
        density=column([t.density_kg_m3 for t in tissues]),
        speed=column([t.speed_m_s / 1000.0 for t in tissues]),
        shear=column([t.shear_speed_m_s / 1000.0 for t in tissues]),
        loss=column([2.0 * scale * t.attenuation_db_cm(f) * neper / 10.0 for t in tissues]),
        echo=column([10.0 ** ((MUSCLE_SPECKLE_DB + t.echo_db) / 20.0) for t in tissues]),
        floor=column([10.0 ** (t.floor_db / 20.0) for t in tissues]),
        anisotropy=column([t.anisotropy_db for t in tissues]),
        air=air,
    )


def corner_normals(surface: Surface) -> Floats:
    """Unit normals at each triangle's corners, (m, 3, 3): smooth, but true at creases over CREASE_DEG."""
    v, t = surface.vertices_mm, surface.triangles
    cross = np.cross(v[t[:, 1]] - v[t[:, 0]], v[t[:, 2]] - v[t[:, 0]])
    size = np.linalg.norm(cross, axis=1, keepdims=True)
    face = np.divide(cross, size, out=np.zeros_like(cross), where=size > 0)
    corners = surface.vertex_normals[t]
    sharp = np.einsum("ijk,ik->ij", corners, face) < math.cos(math.radians(CREASE_DEG))
    return np.asarray(np.where(sharp[:, :, None], face[:, None, :], corners))


def _pattern_axes(style: int, piece: _Piece, axes: Floats) -> Floats:
    """Rows that turn a place in mm into pattern voxels: along the fibres, then two across."""
    size = np.array(VOXEL_MM[style])
    if piece.radial:  # unrolled place is (radius, arc, along)
        return np.asarray(np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]) / size[:, None])
    along = axes[2] if piece.fibre is None else np.asarray(piece.fibre, dtype=np.float64)
    along = along / np.linalg.norm(along)
    deep = axes[1] - along * float(axes[1] @ along)
    if np.linalg.norm(deep) < 0.1:
        deep = axes[0] - along * float(axes[0] @ along)
    deep = deep / np.linalg.norm(deep)
    side = axes[0] - along * float(axes[0] @ along) - deep * float(axes[0] @ deep)
    if np.linalg.norm(side) < 1e-3:
        side = np.cross(along, deep)
    side = side / np.linalg.norm(side)
    return np.asarray(np.stack([along, deep, side]) / size[:, None])


def mesh_of(surfaces: list[Surface], bounds_mm: Floats | None = None) -> Mesh:
    """Merge closed surfaces into one mesh; a triangle's solid is its surface's index.

    bounds_mm : (2, 3) lowest and highest corner, if not that of the surfaces.
    """
    if not any(len(s.triangles) for s in surfaces):
        none, nowhere = np.zeros((0, 3)), np.array([np.full(3, np.inf), np.full(3, -np.inf)])
        low, high = nowhere if bounds_mm is None else bounds_mm
        tree = build_bvh(none, np.zeros((0, 3), np.int32))
        parts: list[Any] = [np.zeros((0, 9), np.float32), np.zeros(0, np.int32), low, high]
    else:
        base = np.cumsum([0, *(len(s.vertices_mm) for s in surfaces)])
        vertices = np.concatenate([s.vertices_mm for s in surfaces])
        triangles = np.concatenate([s.triangles + b for s, b in zip(surfaces, base, strict=False)])
        tree = build_bvh(vertices, triangles)
        order = tree.triangle
        normals = np.concatenate([corner_normals(s).reshape(-1, 9) for s in surfaces]).astype(np.float32)
        solid = np.repeat(np.arange(len(surfaces), dtype=np.int32), [len(s.triangles) for s in surfaces])
        low, high = (vertices.min(axis=0), vertices.max(axis=0)) if bounds_mm is None else bounds_mm
        parts = [normals[order], solid[order], low, high]
    parts = [np.array(part) if part.base is not None else np.ascontiguousarray(part) for part in parts]
    for part in parts:
        part.setflags(write=False)
    return Mesh(tree, Skin(*parts))


def _scene(
    pieces: list[_Piece], probe: Probe, *, background: str, tissues: Mapping[str, Tissue] | None,
    fill: FillState | None, axes: Floats, origin_mm: Floats, limb_axes: Floats, limb_origin_mm: Floats,
    pattern_axes: Floats | None = None,
) -> AcousticScene:  # fmt: skip
    pieces = [piece for piece in pieces if len(piece.surface.triangles)]
    for piece in pieces:
        if not piece.surface.closed:
            raise BadInputError(
                f"the surface of {piece.name!r} is not closed: repair it before insonifying it"
            )
    tissue_names = tuple(dict.fromkeys([background, *(p.tissue for p in pieces), "synovial_fluid"]))
    table = {name: tissue_of(name, tissues) for name in tissue_names}
    all_pieces = [
        *pieces,
        _Piece(name=FILL, surface=_NOTHING, tissue="synovial_fluid", priority=PRIORITY["fill"]),
    ]
    styles = [STYLES.get(p.tissue, 0) for p in all_pieces]

    def frozen(values: npt.ArrayLike, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        array = np.ascontiguousarray(values, dtype=dtype)
        array.setflags(write=False)
        return array

    makeup = Makeup(
        tissue=frozen([tissue_names.index(p.tissue) for p in all_pieces], np.int32),
        priority=frozen([p.priority for p in all_pieces], np.int32),
        style=frozen(styles, np.int32),
        fibre=frozen([p.fibre if p.fibre is not None else axes[2] for p in all_pieces], np.float64),
        axes=frozen(
            [
                _pattern_axes(s, p, axes if pattern_axes is None else pattern_axes) if s else np.eye(3)
                for s, p in zip(styles, all_pieces, strict=True)
            ],
            np.float64,
        ),
        radial=frozen([p.radial for p in all_pieces], np.uint8),
        membrane=frozen([10.0 ** (p.membrane_db / 20.0) for p in all_pieces], np.float64),
    )
    shapes = _Shapes(tuple(p.surface for p in pieces), makeup)
    names = tuple(p.name for p in all_pieces)
    labels = {i + 1: name for i, name in enumerate(names[:-1])} | {len(names): "synovial_fluid"}
    return AcousticScene(
        probe=probe, names=names, tissue_names=tissue_names, tissues=table, shapes=shapes,
        background=tissue_names.index(background), fill=fill,
        points_mm=np.zeros((0, 3)), point_amplitude=np.zeros(0),
        texture_axes=np.ascontiguousarray(axes, dtype=np.float64),
        texture_origin_mm=np.array(origin_mm, dtype=np.float64),
        limb_axes=np.ascontiguousarray(limb_axes, dtype=np.float64),
        limb_origin_mm=np.array(limb_origin_mm, dtype=np.float64),
        assumed=tuple(sorted({
            *assumptions(table, table), *(f"probe.{a} = {getattr(probe, a)}" for a in probe.assumed)
        })),
        label_names=labels,
    )  # fmt: skip


_NOTHING = Surface(np.zeros((0, 3)), np.zeros((0, 3), np.int32))
