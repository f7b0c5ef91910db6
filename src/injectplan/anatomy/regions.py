"""Which part of the cartilage a vertex belongs to, from geometry and the joint's axes alone.

Every vertex that carries (or should carry) cartilage gets exactly one region, so areas and volumes of the
regions sum to the whole. The rules use medians, thirds and angles in the joint's own directions; nothing is
registered to a template, and a mirrored joint gives mirrored regions. A bone that the joint's pose turns
(the tibia of a bent knee, the talus of a pointed foot) is divided in its own directions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise

import numpy as np

from injectplan.anatomy.model import JointAxes
from injectplan.frames import unit
from injectplan.kernels.cast import Bools, Bytes, Floats

Found = tuple[Bytes, tuple[str, ...]]

FEMORAL = (
    "medial_trochlea", "lateral_trochlea", "medial_central", "lateral_central",
    "medial_posterior", "lateral_posterior",
)  # fmt: skip
PATELLAR = ("medial_facet", "lateral_facet")
HIP = ("anterior", "superior", "posterior", "inferior")
DOME = tuple(f"zone_{i}" for i in range(1, 10))
GUTTERS = ("medial_gutter", "lateral_gutter")
GUTTER_COSINE = np.sqrt(0.5)  # a face turned more than 45 degrees to the side is no longer the dome
POSTERIOR_FROM_DEG = (
    50.0  # of condylar arc behind the distal point; assumed: about where the meniscus's horn ends
)


def weighted_quantile(values: Floats, weights: Floats, q: float) -> float:
    """Value below which a share q of the weight lies; NaN for no values."""
    if not len(values):
        return float("nan")
    order = np.argsort(values, kind="stable")
    mass = np.cumsum(weights[order])
    place = np.searchsorted(mass, q * mass[-1])
    return float(values[order[min(int(place), len(order) - 1)]])


def _coordinates(points: Floats, axes: JointAxes) -> tuple[Floats, Floats, Floats]:
    offset = points - axes.origin_mm
    return offset @ axes.lateral, offset @ axes.anterior, offset @ axes.proximal


def _groove(lateral: Floats) -> Bools:
    middle = np.abs(lateral) < 4.0
    return middle if middle.sum() >= 10 else np.abs(lateral) < 10.0


def condylar_arc(points: Floats, areas: Floats, axes: JointAxes) -> tuple[Floats, Floats, Floats]:
    """Unroll femoral cartilage about the condyles: lateral mm, arc degrees, distance from the axis mm, (n,).

    The arc runs about the centre of the circle through the condyles seen from the side: 0 straight down,
    positive behind, negative in front up to the trochlea's upper edge.
    """
    lateral, anterior, proximal = _coordinates(points, axes)
    condyle = (np.abs(lateral) >= 4.0) & (anterior < weighted_quantile(anterior, areas, 0.6))
    a, p = _circle(anterior[condyle], proximal[condyle])
    arc = np.degrees(np.arctan2(a - anterior, p - proximal))
    return lateral, arc, np.hypot(anterior - a, proximal - p)


def _femoral(points: Floats, normals: Floats, areas: Floats, axes: JointAxes) -> Found:
    """Trochlea ahead of the notch; behind it each condyle, central and posterior by its arc.

    The trochlea ends where cartilage ends on the middle line: the notch's front. The arc is measured about
    the centre of the circle through the condyles seen from the side.
    """
    lateral, arc, _ = condylar_arc(points, areas, axes)
    groove = _groove(lateral)
    notch = weighted_quantile(arc[groove], areas[groove], 0.98) if groove.any() else -30.0
    row = np.where(arc <= notch, 0, np.where(arc <= POSTERIOR_FROM_DEG, 1, 2))
    return (1 + 2 * row + (lateral > 0)).astype(np.uint8), FEMORAL


def _circle(x: Floats, y: Floats) -> tuple[float, float]:
    """Centre of the least-squares circle."""
    if len(x) < 3:
        return 0.0, 20.0
    system = np.column_stack([2.0 * x, 2.0 * y, np.ones(len(x))])
    solution = np.linalg.lstsq(system, x * x + y * y, rcond=None)[0]
    return float(solution[0]), float(solution[1])


def _thirds(values: Floats) -> Bytes:
    """0, 1, 2 by thirds of the extent (2 the highest), the outermost 0.05 % of points left out of it."""
    low, high = np.quantile(values, 5e-4), np.quantile(values, 1.0 - 5e-4)
    return np.clip(np.floor(3.0 * (values - low) / max(high - low, 1e-9)), 0, 2).astype(np.uint8)


def _forwards(normals: Floats, areas: Floats, axes: JointAxes) -> Floats:
    """The anterior direction along a plateau, whatever the knee's flexion, which turns about lateral."""
    up = (normals * areas[:, None]).sum(axis=0)
    up = up - (up @ axes.lateral) * axes.lateral
    if np.linalg.norm(up) < 0.2 * areas.sum():  # no plateau faces anywhere: keep the joint's direction
        return axes.anterior
    return np.asarray(np.cross(unit(up), axes.lateral) * (1.0 if axes.side == "right" else -1.0))


def _plateau(prefix: str) -> Callable[[Floats, Floats, Floats, JointAxes], Found]:
    def find(points: Floats, normals: Floats, areas: Floats, axes: JointAxes) -> Found:
        along = (points - axes.origin_mm) @ _forwards(normals, areas, axes)
        names = tuple(f"{prefix}_{part}" for part in ("posterior", "central", "anterior"))
        return (1 + _thirds(along)).astype(np.uint8), names

    return find


def _both_plateaus(points: Floats, normals: Floats, areas: Floats, axes: JointAxes) -> Found:
    lateral, _, _ = _coordinates(points, axes)
    split = 0.5 * (np.quantile(lateral, 0.005) + np.quantile(lateral, 0.995))
    region, names = np.zeros(len(points), np.uint8), []
    for number, (side, here) in enumerate((("medial", lateral <= split), ("lateral", lateral > split))):
        if here.any():
            index, _ = _plateau(side)(points[here], normals[here], areas[here], axes)
            region[here] = index + 3 * number
        names += [f"{side}_{part}" for part in ("posterior", "central", "anterior")]
    return region, tuple(names)


def _patellar(points: Floats, normals: Floats, areas: Floats, axes: JointAxes) -> Found:
    """Facets on either side of the ridge: the line through the hindmost points at each height."""
    lateral, anterior, proximal = _coordinates(points, axes)
    edges = np.linspace(np.quantile(proximal, 0.15), np.quantile(proximal, 0.85), 9)
    heights, places = [], []
    for low, high in pairwise(edges):
        here = (proximal >= low) & (proximal < high)
        if here.sum() >= 8:
            hindmost = anterior[here] <= np.quantile(anterior[here], 0.05)
            heights.append(0.5 * (low + high))
            places.append(float(np.median(lateral[here][hindmost])))
    if len(heights) < 3:
        ridge = np.full(len(points), float(np.median(lateral)))
    else:
        slope, offset = np.polyfit(heights, places, 1)
        ridge = slope * proximal + offset
    return (1 + (lateral > ridge)).astype(np.uint8), PATELLAR


def _about_head(points: Floats, normals: Floats, areas: Floats, axes: JointAxes) -> Found:
    """By the angle about the medial-lateral axis through the head: superior within 45 degrees of upright."""
    _, anterior, proximal = _coordinates(points, axes)
    angle = np.degrees(np.arctan2(anterior, proximal))
    row = np.select([np.abs(angle) <= 45.0, np.abs(angle) > 135.0, angle > 0], [1, 3, 0], 2)
    return (1 + row).astype(np.uint8), HIP


def _nine_zones(points: Floats, normals: Floats, areas: Floats, axes: JointAxes) -> Found:
    """The talar dome's nine zones of equal area: zone 1 front and medial, zone 9 back and lateral.

    Rows follow the angle about the roller's own axis, so that a pointed foot has the same zones; what faces
    the malleoli is kept apart as the gutters.  Elias et al. 2007, doi:10.3113/FAI.2007.0154.
    """
    aside = normals @ axes.lateral
    dome = np.abs(aside) <= GUTTER_COSINE
    region = np.where(aside > 0, 11, 10).astype(np.uint8)
    if not dome.any():
        return region, (*DOME, *GUTTERS)
    lateral, anterior, proximal = _coordinates(points[dome], axes)
    center_a, center_p = _circle(anterior, proximal)
    angle = np.arctan2(anterior - center_a, proximal - center_p)
    weights = areas[dome]
    middle = np.arctan2((weights * np.sin(angle)).sum(), (weights * np.cos(angle)).sum())
    forwards = np.angle(np.exp(1j * (angle - middle)))
    row = _equal_areas(-forwards, weights)
    column = np.zeros(len(lateral), np.uint8)
    for r in range(3):
        here = row == r
        column[here] = _equal_areas(lateral[here], weights[here])
    region[dome] = 1 + 3 * row + column
    return region, DOME if dome.all() else (*DOME, *GUTTERS)


def _equal_areas(values: Floats, areas: Floats) -> Bytes:
    first, second = (weighted_quantile(values, areas, q) for q in (1 / 3, 2 / 3))
    return ((values > first).astype(np.uint8) + (values > second)).astype(np.uint8)


def _plafond(points: Floats, normals: Floats, areas: Floats, axes: JointAxes) -> Found:
    lateral, anterior, _ = _coordinates(points, axes)
    side = lateral > weighted_quantile(lateral, areas, 0.5)
    names = tuple(f"{s}_{p}" for p in ("posterior", "central", "anterior") for s in ("medial", "lateral"))
    return (1 + 2 * _thirds(anterior) + side).astype(np.uint8), names


_RULES: Mapping[str, Callable[[Floats, Floats, Floats, JointAxes], Found]] = {
    "femoral_cartilage": _femoral,
    "medial_tibial_cartilage": _plateau("medial"),
    "lateral_tibial_cartilage": _plateau("lateral"),
    "tibial_cartilage": _both_plateaus,
    "patellar_cartilage": _patellar,
    "acetabular_cartilage": _about_head,
    "femoral_head_cartilage": _about_head,
    "talar_cartilage": _nine_zones,
    "tibial_plafond_cartilage": _plafond,
}


def regions_of(
    cartilage: str, points: Floats, normals: Floats, areas: Floats, where: Bools, axes: JointAxes
) -> tuple[Bytes, tuple[str, ...]]:
    """Assign a region to the vertices `where` holds: index + 1 into the names, 0 elsewhere.

    points (n, 3) mm, normals (n, 3) outward, areas (n,) mm², where (n,).
    A cartilage without a rule is one region, "all".
    """
    region = np.zeros(len(points), np.uint8)
    rule = _RULES.get(cartilage)
    if not where.any() or rule is None:
        region[where] = 1
        return region, ("all",)
    region[where], names = rule(points[where], normals[where], areas[where], axes)
    return region, names
