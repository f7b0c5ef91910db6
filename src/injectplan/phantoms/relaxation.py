"""What a T2 sequence would see of a phantom: cartilage of known T2, echoes in closed form, Rician noise.

T2 rises linearly from the bone to the joint's surface, by the exact depth between the construction's two
faces, not by counting voxels. The other tissues have one value each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from injectplan.anatomy.t2 import BONE_OF, Qdess
from injectplan.errors import UsageError
from injectplan.imaging.values import Surface, Volume
from injectplan.kernels.bvh import nearest_points
from injectplan.kernels.cast import Floats, Floats32
from injectplan.kernels.chance import normals
from injectplan.phantoms.values import Phantom, Truth

# T2 in ms and signal at echo time 0; all assumed, in the order of 3 T knee series.
TISSUES: Mapping[str, tuple[float, float]] = {
    "other": (55.0, 700.0), "meniscus": (14.0, 500.0), "fluid": (450.0, 1500.0), "cartilage": (40.0, 1000.0),
}  # fmt: skip


ON_BONE_MM = 0.02  # two meshes of one curved face differ by less


@dataclass(frozen=True, slots=True, kw_only=True)
class Relaxation:
    """T2 of cartilage in ms at the bone and at the joint's surface (assumed: 3 T, healthy adults)."""

    deep_ms: float = 30.0
    superficial_ms: float = 46.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RelaxationTruth:
    """What is known of a phantom's relaxation, on its label map's grid.

    t2_ms (i, j, k), 0 where nothing gives a signal.  signal (i, j, k), at echo time 0.
    depth (i, j, k) : 0 at the bone, 1 at the joint's surface, NaN outside cartilage.  truth : the means.
    """

    affine: Floats
    t2_ms: Floats32
    signal: Floats32
    depth: Floats32
    truth: Mapping[str, Truth]


def _tissue(name: str) -> str:
    if name.endswith("cartilage"):
        return "cartilage"
    if name.endswith(("meniscus", "labrum")):
        return "meniscus"
    return "fluid" if name == "synovial_fluid" else "other"


def _outer_face(cartilage: Surface, bone: Surface) -> Surface:
    """The triangles of a cartilage's shell that do not lie on its bone."""
    gap, _, _ = nearest_points(bone.bvh, cartilage.vertices_mm)
    off = gap > ON_BONE_MM
    return Surface(cartilage.vertices_mm, cartilage.triangles[off[cartilage.triangles].any(axis=1)])


def depth_within(points_mm: Floats, cartilage: Surface, bone: Surface) -> Floats:
    """Depth of points in a cartilage, from the bone (0) to the joint's surface (1), (n,)."""
    below, _, _ = nearest_points(bone.bvh, points_mm)
    above, _, _ = nearest_points(_outer_face(cartilage, bone).bvh, points_mm)
    return np.asarray(below / np.maximum(below + above, 1e-9))


def relaxation_of(phantom: Phantom, relaxation: Relaxation | None = None) -> RelaxationTruth:
    """Give a phantom its T2: cartilage by depth, the other tissues one value each.

    Raises UsageError for a phantom without cartilage, or T2 values that cannot be.
    """
    given = relaxation or Relaxation()
    if not (0.0 < given.deep_ms < 1000.0 and 0.0 < given.superficial_ms < 1000.0):
        raise UsageError(
            f"T2 of {given.deep_ms:g} and {given.superficial_ms:g} ms cannot be; give 0 to 1000 ms"
        )
    grid = phantom.labelmap
    t2, signal = np.zeros(grid.labels.shape, np.float32), np.zeros(grid.labels.shape, np.float32)
    depth = np.full(grid.labels.shape, np.nan, np.float32)
    truth: dict[str, Truth] = {}
    rule = f"{given.deep_ms:g} + {given.superficial_ms - given.deep_ms:g} depth, over the labelled voxels"
    for name in grid.structures:
        mask = grid.mask(name)
        if not mask.any():
            continue
        t2[mask], signal[mask] = TISSUES[_tissue(name)]
        bone = phantom.surfaces.get(BONE_OF.get(name, ""))
        if bone is None or name not in phantom.surfaces:
            continue
        index = np.argwhere(mask)
        found = depth_within(grid.to_patient(index), phantom.surfaces[name], bone)
        values = given.deep_ms + (given.superficial_ms - given.deep_ms) * found
        t2[tuple(index.T)], depth[tuple(index.T)] = values, found
        for part, here in (("mean", found >= 0.0), ("deep", found < 0.5), ("superficial", found >= 0.5)):
            mean = float(values[here].mean()) if here.any() else 0.0
            truth[f"{name}_t2_{part}_ms"] = Truth(value=mean, unit="ms", formula=rule)
    if not truth:
        raise UsageError(f"phantom {phantom.name} has no cartilage to give a T2; take knee, hip or ankle")
    return RelaxationTruth(affine=grid.affine, t2_ms=t2, signal=signal, depth=depth, truth=truth)


def _rician(clean: Floats32, noise_sd: float, seed: int, first: int) -> Floats32:
    """Magnitude of a signal with normal noise in both channels.  Gudbjartsson & Patz 1995,
    doi:10.1002/mrm.1910340618.
    """
    if noise_sd <= 0.0:
        return clean
    count = clean.size
    noise = noise_sd * normals(seed, 2 * first * count, 2 * count)
    real, other = (noise[i::2].reshape(clean.shape) for i in (0, 1))
    return np.hypot(clean + real, other).astype(np.float32)


def multi_echo(
    truth: RelaxationTruth, echo_times_ms: Sequence[float], *, noise_sd: float = 0.0, seed: int = 0
) -> Volume:
    """Image of echoes S = S0 exp(-TE / T2), one component each, with Rician noise of `noise_sd` if wanted."""
    times = np.asarray(echo_times_ms, dtype=np.float64)
    if not len(times) or not np.isfinite(times).all() or times.min() <= 0.0 or (np.diff(times) <= 0.0).any():
        raise UsageError("echo times must be above 0 ms and rise; give --echo-times-ms in ms")
    with np.errstate(divide="ignore"):
        rate = np.where(truth.t2_ms > 0.0, 1.0 / truth.t2_ms, 0.0)
    echoes = [
        _rician((truth.signal * np.exp(-time * rate)).astype(np.float32), noise_sd, seed, number)
        for number, time in enumerate(times)
    ]
    return Volume(
        affine=truth.affine, values=np.stack(echoes, axis=-1), echo_times_ms=tuple(float(t) for t in times)
    )


def double_echo(
    truth: RelaxationTruth, qdess: Qdess | None = None, *, noise_sd: float = 0.0, seed: int = 0
) -> Volume:
    """Image of a qDESS pair, whose ratio is S2 / S1 = k exp(-(2 (TR - TE) / T2 + c1))."""
    given = qdess or Qdess()
    k, c1 = given.constants
    with np.errstate(divide="ignore"):
        ratio = k * np.exp(-2.0 * (given.tr_ms - given.te_ms) / truth.t2_ms.astype(np.float64) - c1)
    pair = [truth.signal, (truth.signal * ratio).astype(np.float32)]
    values = [_rician(echo, noise_sd, seed, number) for number, echo in enumerate(pair)]
    return Volume(affine=truth.affine, values=np.stack(values, axis=-1))
