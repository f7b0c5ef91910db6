"""What a knee's bones tell of it: the landmarks that its completion stands on, in joint coordinates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from injectplan.anatomy.completion import STANDS_ON
from injectplan.anatomy.completion.solids import curve
from injectplan.kernels.cast import Floats, Floats32

WHOLE_SCALE_MM = 76.0  # width of the epicondyles that the knee's sections were drawn for


@dataclass(frozen=True)
class Landmarks:
    """What the bones tell, in joint coordinates."""

    scale: float
    patella_x: float
    patella_top: Floats
    patella_bottom: Floats
    patella_front: float
    patella_low: Floats
    patella_high: Floats
    tuberosity: Floats
    trochlea_top: float
    femur_low: Floats
    femur_high: Floats
    back: Callable[[npt.ArrayLike], Floats32]
    front: Callable[[npt.ArrayLike], Floats32]
    fibula_neck: Floats


def by_slab(points: Floats, step: float, pick: Callable[[Floats], float]) -> list[tuple[float, float]]:
    """One figure per slab of heights, (middle height, figure); slabs of few points are left out."""
    slabs = np.floor(points[:, 2] / step).astype(int)
    return [((k + 0.5) * step, pick(points[slabs == k])) for k in np.unique(slabs) if (slabs == k).sum() > 20]


def find_landmarks(vertices: Mapping[str, Floats]) -> Landmarks:
    """Measure the bones; vertices by structure in joint coordinates."""
    femur, tibia, patella = (vertices[n] for n in STANDS_ON["knee"])
    low, high = femur[femur[:, 2] < 45].min(axis=0), femur[femur[:, 2] < 45].max(axis=0)
    scale = float(high[0] - low[0]) / WHOLE_SCALE_MM
    top, bottom = patella[patella[:, 2].argmax()], patella[patella[:, 2].argmin()]
    near_top = patella[patella[:, 2] > top[2] - 6.0]
    near_bottom = patella[patella[:, 2] < bottom[2] + 5.0]
    front = tibia[(tibia[:, 2] < -25.0 * scale) & (tibia[:, 2] > -48.0 * scale)]
    if not len(front):
        front = tibia
    tuberosity = front[front[:, 1] >= np.quantile(front[:, 1], 0.995)].mean(axis=0)
    if "femoral_cartilage" in vertices:
        ahead = vertices["femoral_cartilage"]
        trochlea = float(ahead[ahead[:, 1] > 0.6 * high[1]][:, 2].max())
    else:
        trochlea = 36.0 * scale
    both = np.concatenate([femur, tibia])
    # away from the scan's edges, where a cap would count as a slab
    both = both[(both[:, 2] < femur[:, 2].max() - 5.0) & (both[:, 2] > tibia[:, 2].min() + 3.0)]
    middle = both[np.abs(both[:, 0]) < 24.0 * scale]
    shaft = femur[(np.abs(femur[:, 0]) < 9.0 * scale) & (femur[:, 2] > 8.0)]
    shaft = shaft[shaft[:, 2] < femur[:, 2].max() - 5.0]
    backs = by_slab(middle, 5.0, lambda q: float(q[:, 1].min()))
    fronts = by_slab(shaft, 4.0, lambda q: float(q[:, 1].max()))
    if "fibula" in vertices:
        fibula = vertices["fibula"]
        neck = fibula[np.abs(fibula[:, 2] - (fibula[:, 2].max() - 18.0 * scale)) < 3.0]
        neck_at = np.array([neck[:, 0].max(), neck[:, 1].mean(), neck[:, 2].mean()])
    else:
        neck_at = np.array([40.0, -22.0, -28.0]) * scale
    return Landmarks(
        scale=scale,
        patella_x=float(0.5 * (patella[:, 0].min() + patella[:, 0].max())),
        patella_top=np.array([near_top[:, 0].mean(), near_top[:, 1].max(), top[2]]),
        patella_bottom=np.array([near_bottom[:, 0].mean(), near_bottom[:, 1].mean(), bottom[2]]),
        patella_front=float(patella[:, 1].max()),
        patella_low=patella.min(axis=0),
        patella_high=patella.max(axis=0),
        tuberosity=tuberosity,
        trochlea_top=trochlea,
        femur_low=low,
        femur_high=high,
        back=lambda z: curve(z, backs),
        front=lambda z: curve(z, fronts),
        fibula_neck=neck_at,
    )
