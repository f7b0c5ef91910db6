"""T2 relaxation maps: multi-echo (log-linear and non-linear) and qDESS, with every rejected voxel counted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from injectplan.errors import NothingToMeasureError, UsageError
from injectplan.imaging.values import LabelMap, Volume
from injectplan.kernels.cast import Bools, Bytes, Floats, Floats32
from injectplan.measure import Notice

Zones = tuple[Bytes, tuple[str, ...]]  # index + 1 into the names on a segmentation's grid, 0 outside
Method = Literal["loglinear", "nonlinear", "qdess"]
METHODS: tuple[Method, ...] = ("loglinear", "nonlinear", "qdess")
LARGEST_T2_MS = 100.0  # beyond it is fluid, not cartilage
LEAST_R2 = 0.7
NO_SIGNAL, NO_DECAY, TOO_LONG, POOR_FIT = "no signal", "no decay", "above 100 ms", "poor fit"
REASONS = (NO_SIGNAL, NO_DECAY, TOO_LONG, POOR_FIT)
_CHUNK = 200_000

# Whose bone each cartilage lies on, for the deep and the superficial half.
BONE_OF: Mapping[str, str] = {
    "femoral_cartilage": "femur", "tibial_cartilage": "tibia", "medial_tibial_cartilage": "tibia",
    "lateral_tibial_cartilage": "tibia", "patellar_cartilage": "patella", "acetabular_cartilage": "hip_bone",
    "femoral_head_cartilage": "femur", "talar_cartilage": "talus", "tibial_plafond_cartilage": "tibia",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Qdess:
    """What the closed form of a double-echo steady state needs beside its two echoes.

    spoiler_g_us_cm : the spoiler's area in gauss/cm × µs, spoiler_us : its length; 0 leaves diffusion out.
    t1_ms and diffusivity_m2_s are of cartilage at 3 T.  Sveinsson 2017, doi:10.1016/j.mri.2016.12.018.
    """

    tr_ms: float = 25.0
    te_ms: float = 7.48
    flip_deg: float = 30.0
    t1_ms: float = 1200.0
    spoiler_g_us_cm: float = 3132.0
    spoiler_us: float = 1560.0
    diffusivity_m2_s: float = 1.25e-9

    @property
    def constants(self) -> tuple[float, float]:
        """The constants k and c1 of T2 = -2 (TR - TE) / (ln |S2 / S1 / k| + c1)."""
        gamma = 4258.0 * 2.0 * math.pi  # rad / (gauss s)
        wave = gamma * self.spoiler_g_us_cm * 1e-4  # rad / m
        spread = wave * wave * self.diffusivity_m2_s  # 1 / s
        tr = self.tr_ms / 1000.0
        angle = math.radians(self.flip_deg)
        decay = math.exp(-self.tr_ms / self.t1_ms - tr * spread)
        k = math.sin(angle / 2.0) ** 2 * (1.0 + decay) / (1.0 - math.cos(angle) * decay)
        return k, (tr - self.spoiler_us * 1e-6 / 3.0) * spread


@dataclass(frozen=True, slots=True, kw_only=True)
class T2Statistics:
    """T2 of one region: voxels kept, their mean, median and standard deviation in ms, the rest by reason."""

    n: int
    mean_ms: float
    median_ms: float
    sd_ms: float
    rejected: Mapping[str, int]

    def to_json(self) -> dict[str, Any]:
        """Return the document form: null and a reason where nothing was kept."""
        document: dict[str, Any] = {"n": self.n}
        for name in ("mean_ms", "median_ms", "sd_ms"):
            value = getattr(self, name)
            document[name] = value if math.isfinite(value) else None
        document["rejected"] = dict(self.rejected)
        if not self.n:
            document["reason"] = "no voxel could be fitted"
        return document


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class T2Map:
    """T2 (i, j, k) in ms on the image's grid, NaN where nothing was measured, and its statistics.

    regions : structure, and structure/deep and structure/superficial where its bone is known → statistics.
    """

    t2_ms: Floats32
    affine: Floats
    method: str
    overall: T2Statistics
    regions: Mapping[str, T2Statistics] = field(default_factory=dict)
    notices: tuple[Notice, ...] = ()
    assumed: tuple[str, ...] = ()

    def volume(self) -> Volume:
        """Return the map as an image, to be written."""
        return Volume(affine=self.affine, values=self.t2_ms)

    def to_json(self) -> dict[str, Any]:
        """Return the document of the `t2` command, without its schema and provenance."""
        return self.overall.to_json() | {
            "method": self.method,
            "regions": {name: region.to_json() for name, region in self.regions.items()},
            "assumed": list(self.assumed),
            "warnings": [notice.to_json() for notice in self.notices],
        }


def fit_t2(
    volume: Volume,
    echo_times_ms: Sequence[float] = (),
    *,
    method: Method = "loglinear",
    regions: LabelMap | None = None,
    zones: Mapping[str, Zones] | None = None,
    qdess: Qdess | None = None,
) -> T2Map:
    """Fit T2 voxel by voxel to echoes (the volume's components).

    echo_times_ms : one a component, or empty to take those that the file states.  regions : a segmentation,
    on any grid: the fit then keeps to it, with statistics for each structure and its two halves.
    zones : cartilage → its subregions on the segmentation's grid (`cartilage_zones`), for the same of each.
    method : "loglinear" (least squares of ln S), "nonlinear" (of S, bounded), "qdess" (closed form).
    A voxel counts where every echo is above 0, 0 < T2 ≤ 100 ms and R² ≥ 0.7.
    Raises UsageError (echo times, method), NothingToMeasureError (no voxel left).
    """
    if method not in METHODS:
        raise UsageError(f"method is '{method}'; give one of: {', '.join(METHODS)}")
    echoes = volume.values if volume.values.ndim == 4 else volume.values[..., None]
    times = _echo_times(
        echoes.shape[3], echo_times_ms if len(echo_times_ms) else volume.echo_times_ms, method
    )
    masks, notices = region_masks(regions, volume, zones) if regions is not None else ({}, ())
    if regions is not None and not _one_grid(regions, volume):
        message = "the mask lies on another grid than the image: it is sampled there; are both of one scan?"
        notices = (*notices, Notice("mask-grid", message))
    wanted = np.logical_or.reduce(list(masks.values())) if masks else np.ones(echoes.shape[:3], bool)
    signal = echoes[wanted]
    assumed: tuple[str, ...] = ()
    if method == "qdess":
        assumed = () if qdess else ("qdess sequence parameters",)
        t2, why = _qdess(signal, qdess or Qdess())
    else:
        t2, why = _multi_echo(signal, times, method)
    if not (why == 0).any():
        raise NothingToMeasureError(
            f"none of {len(signal)} voxels has a T2 ({_counted(why)}); check the echoes and --echo-times-ms"
        )
    full = np.full(echoes.shape[:3], np.nan, np.float32)
    full[wanted] = np.where(why == 0, t2, np.nan)
    reason = np.full(echoes.shape[:3], 255, np.uint8)
    reason[wanted] = why
    return T2Map(
        t2_ms=full,
        affine=volume.affine,
        method=method,
        overall=_statistics(t2, why),
        regions={name: _statistics(full[mask], reason[mask]) for name, mask in masks.items()},
        notices=notices,
        assumed=assumed,
    )


LONGEST_ECHO_MS = 1000.0  # no first echo of a T2 series comes later (assumed)


def _one_grid(mask: LabelMap, image: Volume) -> bool:
    return mask.labels.shape == image.values.shape[:3] and np.allclose(mask.affine, image.affine, atol=1e-2)


def _counted(why: npt.NDArray[np.uint8]) -> str:
    return ", ".join(f"{name}: {n}" for name, n in _rejected(why).items() if n)


def _echo_times(count: int, times: Sequence[float], method: str) -> Floats:
    if method == "qdess":
        if count != 2:
            raise UsageError(
                f"the image has {count} components, qdess needs its 2 echoes; give both as one image"
            )
        return np.zeros(2)
    if count < 2:
        raise UsageError("the image has 1 component, T2 needs at least 2 echoes; give the multi-echo series")
    result = np.array(times, dtype=np.float64)
    if len(result) != count:
        raise UsageError(
            f"{len(result)} echo times for {count} echoes; give --echo-times-ms once for each echo"
        )
    if not np.isfinite(result).all() or result.min() <= 0 or (np.diff(result) <= 0).any():
        raise UsageError(
            "echo times must be above 0 and rise; give --echo-times-ms in ms, in the file's order"
        )
    if result.max() < 1.0:
        raise UsageError(f"the last echo time is {result.max():g} ms, which looks like seconds; give ms")
    if result.min() > LONGEST_ECHO_MS:
        raise UsageError(
            f"the first echo time is {result.min():g} ms (at most {LONGEST_ECHO_MS:g}), which looks like "
            "microseconds; give ms"
        )
    return result


def _rejected(why: npt.NDArray[np.uint8]) -> dict[str, int]:
    counts = np.bincount(why, minlength=len(REASONS) + 1)
    return {name: int(counts[i + 1]) for i, name in enumerate(REASONS)}


def _statistics(t2: npt.NDArray[Any], why: npt.NDArray[np.uint8]) -> T2Statistics:
    kept = np.asarray(t2[why == 0], dtype=np.float64)
    if not len(kept):
        return T2Statistics(
            n=0, mean_ms=math.nan, median_ms=math.nan, sd_ms=math.nan, rejected=_rejected(why)
        )
    return T2Statistics(
        n=len(kept), mean_ms=float(kept.mean()), median_ms=float(np.median(kept)), sd_ms=float(kept.std()),
        rejected=_rejected(why),
    )  # fmt: skip


def _multi_echo(signal: npt.NDArray[Any], times: Floats, method: str) -> tuple[Floats, npt.NDArray[np.uint8]]:
    """T2 (n,) of signals (n, echoes), and 0 or the reason's number."""
    t2 = np.full(len(signal), np.nan)
    why = np.ones(len(signal), np.uint8)
    lit = np.flatnonzero((signal > 0).all(axis=1))
    for start in range(0, len(lit), _CHUNK):
        where = lit[start : start + _CHUNK]
        part = np.asarray(signal[where], dtype=np.float64)
        rate, first, r2 = _log_linear(part, times)
        if method == "nonlinear":
            rate, r2 = _non_linear(part, times, rate, first)
        with np.errstate(divide="ignore"):
            found = 1.0 / rate
        t2[where] = found
        code = np.zeros(len(where), np.uint8)
        code[~(r2 >= LEAST_R2)] = 4
        code[found > LARGEST_T2_MS] = 3
        code[~(rate > 0)] = 2
        why[where] = code
    return t2, why


def _rows(a: Floats, b: Floats) -> Floats:
    """Sum of products along each row; 4 times as fast as (a * b).sum(axis=1) on rows of eight."""
    return np.asarray(np.einsum("ij,ij->i", a, b))


def _log_linear(signal: Floats, times: Floats) -> tuple[Floats, Floats, Floats]:
    """Least squares of ln S = ln S0 - TE / T2: rate 1/T2 (n,), S0 (n,), R² (n,)."""
    logs = np.log(signal)
    centred = times - times.mean()
    mean = logs.mean(axis=1)
    slope = logs @ centred / (centred @ centred)
    rest = logs - mean[:, None] - slope[:, None] * centred
    spread = logs - mean[:, None]
    total = _rows(spread, spread)
    with np.errstate(divide="ignore", invalid="ignore"):
        r2 = 1.0 - _rows(rest, rest) / total
    with np.errstate(over="ignore"):
        first = np.exp(np.clip(mean - slope * times.mean(), -50.0, 50.0))
    return -slope, first, r2


def _non_linear(signal: Floats, times: Floats, rate: Floats, first: Floats) -> tuple[Floats, Floats]:
    """Least squares of S = S0 exp(-TE / T2), T2 within 1 to 1000 ms: rate (n,) and R² (n,).

    S0 is linear and is solved for at each step (variable projection, Golub & Pereyra 1973,
    doi:10.1137/0710036); the rate by Gauss-Newton with step halving.
    """
    low, high = 1.0 / 1000.0, 1.0
    rate = np.clip(np.where(np.isfinite(rate), rate, low), low, high)

    def amplitude_and_cost(r: Floats, s: Floats) -> tuple[Floats, Floats, Floats, Floats]:
        shape = np.exp(-times * r[:, None])
        a = _rows(s, shape) / _rows(shape, shape)
        rest = s - a[:, None] * shape
        return a, _rows(rest, rest), shape, rest

    a, cost, shape, rest = amplitude_and_cost(rate, signal)
    active = np.arange(len(rate))
    for _ in range(60):
        # Jacobian of the projected residual (Kaufman's simplification): the part of -a dE/dr across E
        s, e, x = signal[active], shape[active], a[active]
        change = -x[:, None] * times * e
        across = change - e * (_rows(change, e) / _rows(e, e))[:, None]
        bottom = _rows(across, across)
        with np.errstate(divide="ignore", invalid="ignore"):
            step = np.where(bottom > 0, _rows(across, rest[active]) / bottom, 0.0)
        size = np.ones(len(active))
        best = rate[active]
        better = np.zeros(len(active), bool)
        for _ in range(8):
            trial = np.clip(rate[active] + size * step, low, high)
            ta, tc, ts, tr = amplitude_and_cost(trial, s)
            gain = ~better & (tc <= cost[active])
            rows = active[gain]
            best[gain] = trial[gain]
            a[rows], cost[rows], shape[rows], rest[rows] = ta[gain], tc[gain], ts[gain], tr[gain]
            better |= gain
            if better.all():
                break
            size[~better] *= 0.5
        moved = np.abs(best - rate[active]) > 1e-7 * rate[active]
        rate[active] = best
        active = active[better & moved]
        if not len(active):
            break
    mean = signal.mean(axis=1, keepdims=True)
    spread = signal - mean
    total = _rows(spread, spread)
    with np.errstate(divide="ignore", invalid="ignore"):
        r2 = 1.0 - cost / total
    return np.where((rate <= low) | (rate >= high), np.where(rate >= high, rate, 0.0), rate), r2


def _qdess(signal: npt.NDArray[Any], given: Qdess) -> tuple[Floats, npt.NDArray[np.uint8]]:
    """T2 (n,) of the two echoes (n, 2) in closed form, and 0 or the reason's number."""
    if not (given.tr_ms > given.te_ms > 0 and 0 < given.flip_deg < 180 and given.t1_ms > 0):
        raise UsageError(
            f"qdess with TR {given.tr_ms:g}, TE {given.te_ms:g}, flip {given.flip_deg:g}, T1 {given.t1_ms:g} "
            f"cannot be; needs TR > TE > 0 ms and a flip angle of 0 to 180 degrees"
        )
    k, c1 = given.constants
    first, second = (np.asarray(signal[:, i], dtype=np.float64) for i in (0, 1))
    lit = (first > 0) & (second > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        bottom = np.log(second / first / k) + c1
        t2 = np.where(lit, -2.0 * (given.tr_ms - given.te_ms) / bottom, np.nan)
    why = np.zeros(len(first), np.uint8)
    why[t2 > LARGEST_T2_MS] = 3
    why[~(bottom < 0)] = 2
    why[~lit] = 1
    return t2, why


def region_masks(
    regions: LabelMap, volume: Volume, zones: Mapping[str, Zones] | None = None
) -> tuple[dict[str, Bools], tuple[Notice, ...]]:
    """Return each cartilage's mask on the image's grid, whole and in its deep and superficial half.

    The same for each subregion, as cartilage/subregion and cartilage/subregion/half, where zones are given.
    A region map without cartilage gives all its structures. Nearest voxel; the grids may differ.
    """
    occurring = [name for name in regions.structures if regions.volume_ml(name) > 0]
    names = [name for name in occurring if name in BONE_OF] or occurring
    same = regions.labels.shape == volume.values.shape[:3] and np.allclose(
        regions.affine, volume.affine, atol=1e-4
    )
    masks: dict[str, Bools] = {}
    notices = []
    for name in names:
        whole = regions.mask(name)
        parts = {name: whole}
        bone = BONE_OF.get(name)
        if bone in occurring and bone is not None:
            deep = whole & (relative_depth(whole, regions.mask(bone), regions.spacing_mm) < 0.5)
            parts |= {f"{name}/deep": deep, f"{name}/superficial": whole & ~deep}
        elif bone is not None:
            notices.append(Notice("no-halves", f"without {bone} the halves of {name} cannot be told", name))
        if zones is not None and name in zones:
            index, words = zones[name]
            for number, word in enumerate(words, start=1):
                for part, mask in list(parts.items()):
                    half = part[len(name) :]
                    if half in ("", "/deep", "/superficial"):
                        parts[f"{name}/{word}{half}"] = mask & (index == number)
        for part, mask in parts.items():
            masks[part] = mask if same else _on_grid(mask, regions, volume)
        if not masks[name].any():
            notices.append(Notice("outside-image", f"{name} does not meet the image", name))
    if not any(mask.any() for mask in masks.values()):
        raise NothingToMeasureError(
            "the regions do not meet the image; give a segmentation of the same patient"
        )
    return masks, tuple(notices)


def relative_depth(cartilage: Bools, bone: Bools, spacing_mm: Floats) -> Floats:
    """Depth of each cartilage voxel from the bone (0) to the joint's surface (1), (i, j, k); NaN elsewhere.

    From the distances to the bone and to what is neither, voxel centre to voxel centre.
    """
    result = np.full(cartilage.shape, np.nan)
    if not cartilage.any():
        return result
    margin = np.ceil(6.0 / spacing_mm).astype(int)
    found = np.nonzero(cartilage)
    box = tuple(
        slice(max(0, int(axis.min()) - m), int(axis.max()) + m + 1)
        for axis, m in zip(found, margin, strict=True)
    )
    inside, under = cartilage[box], bone[box]
    other = ~(inside | under)
    if not under.any() or not other.any():
        return result
    from scipy import ndimage  # a fifth of a second that a fit without regions does not need

    to_bone = ndimage.distance_transform_edt(~under, sampling=spacing_mm)
    to_surface = ndimage.distance_transform_edt(~other, sampling=spacing_mm)
    result[box] = np.where(inside, to_bone / (to_bone + to_surface), np.nan)
    return result


def _on_grid(mask: Bools, regions: LabelMap, volume: Volume) -> Bools:
    """Sample a mask at the image's voxel centres, nearest voxel."""
    matrix = np.linalg.inv(regions.affine) @ volume.affine
    from scipy import ndimage

    sampled = ndimage.affine_transform(
        mask.astype(np.uint8), matrix[:3, :3], matrix[:3, 3], output_shape=volume.values.shape[:3], order=0
    )
    return np.asarray(sampled > 0)
