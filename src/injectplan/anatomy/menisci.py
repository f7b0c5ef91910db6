"""How far each meniscus stands out of its plateau, and how much of the plateau's cartilage it covers.

Both from geometry alone, in the tibia's own directions: "up" is the mean normal of the bone under the tibial
cartilage, "outwards" runs from the one plateau's middle to the other's, "forwards" across both.
Extrusion is the radiologist's: on frontal cuts through the middle fifth of the plateau, from the cartilage's
outer edge to the meniscus's, positive where the meniscus stands out; the mean of the cuts.
Coverage is the share of the plateau's cartilage (bare bone inside its outline included) that lies under the
meniscus, seen along "up".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from injectplan.anatomy.model import OUTSIDE, CartilageMap, JointAxes, Structure
from injectplan.frames import unit
from injectplan.imaging.values import Surface
from injectplan.kernels.bvh import first_hits
from injectplan.kernels.cast import Bools, Floats

MIDDLE_FIFTH = 0.2
CUT_MM = 1.0  # thickness of a frontal cut: a vertex or three of either edge
ABOVE_MM = 25.0  # a meniscus lies within this of its plateau's bone
SIDES = ("medial", "lateral")


@dataclass(frozen=True, slots=True, kw_only=True)
class MeniscusMeasures:
    """One meniscus on its plateau; NaN with a reason where a measure cannot be taken.

    extrusion_mm : mean of the middle cuts, positive outwards; extrusion_sd_mm : their spread.
    coverage_fraction : of the plateau's cartilage area, which covered_area_mm2 is.
    """

    extrusion_mm: float
    extrusion_sd_mm: float
    coverage_fraction: float
    covered_area_mm2: float
    reason: str = ""


@dataclass(frozen=True, slots=True)
class _Plateau:
    """The bone's vertices under one plateau's cartilage, with their areas."""

    points: Floats
    areas: Floats
    normals: Floats

    @property
    def center(self) -> Floats:
        """Mean of the vertices by area, (3,) mm."""
        return np.asarray(np.average(self.points, axis=0, weights=self.areas))


def _plateau(side: str, cartilage: Mapping[str, CartilageMap], tibia: Surface) -> _Plateau | None:
    where: Bools = np.zeros(len(tibia.vertices_mm), bool)
    for name in (f"{side}_tibial_cartilage", "tibial_cartilage"):
        measured = cartilage.get(name)
        if measured is None:
            continue
        own = [i for i, r in enumerate(measured.regions, start=1) if r.startswith(f"{side}_")]
        where |= (measured.state != OUTSIDE) & np.isin(measured.region, own)
    if not where.any():
        return None
    return _Plateau(tibia.vertices_mm[where], tibia.vertex_areas_mm2[where], tibia.vertex_normals[where])


def _directions(plateaus: Mapping[str, _Plateau], axes: JointAxes) -> tuple[Floats, Floats, Floats]:
    """Lateral, anterior and up of the tibia; with one plateau alone, lateral is the joint's."""
    up = unit(sum((p.normals * p.areas[:, None]).sum(axis=0) for p in plateaus.values()))
    lateral = axes.lateral
    if len(plateaus) == 2:
        lateral = plateaus["lateral"].center - plateaus["medial"].center
    lateral = unit(lateral - (lateral @ up) * up)
    anterior = np.cross(up, lateral)
    return lateral, anterior if anterior @ axes.anterior > 0 else -anterior, up


def _extrusion(
    plateau: _Plateau, meniscus: Floats, outwards: Floats, anterior: Floats
) -> tuple[float, float]:
    """Mean and spread, mm, of the meniscus's outer edge beyond the cartilage's, over the middle cuts."""
    # the cartilage ends between its last vertex and the next: half a vertex's own width beyond
    along, edge = plateau.points @ anterior, plateau.points @ outwards + 0.5 * np.sqrt(plateau.areas)
    other_along, other_edge = meniscus @ anterior, meniscus @ outwards
    low, high = float(along.min()), float(along.max())
    middle, half = 0.5 * (low + high), 0.5 * MIDDLE_FIFTH * (high - low)
    cuts = np.linspace(middle - half, middle + half, max(2, round(2.0 * half / CUT_MM) + 1))
    found = []
    for begin, end in pairwise(cuts):
        here = (along >= begin) & (along < end)
        there = (other_along >= begin) & (other_along < end)
        if here.any() and there.any():
            found.append(float(other_edge[there].max() - edge[here].max()))
    return (float(np.mean(found)), float(np.std(found))) if found else (float("nan"), float("nan"))


def _covered(plateau: _Plateau, meniscus: Surface, up: Floats) -> float:
    """Area of the plateau's cartilage under the meniscus, mm²."""
    start = plateau.points - 1.0 * up  # a meniscus may touch bare bone
    distance, _ = first_hits(meniscus.bvh, start, np.broadcast_to(up, start.shape), ABOVE_MM + 1.0)
    return float(plateau.areas[np.isfinite(distance)].sum())


def measure_menisci(
    structures: Mapping[str, Structure], cartilage: Mapping[str, CartilageMap], axes: JointAxes
) -> dict[str, MeniscusMeasures]:
    """Measure each meniscus that was segmented; empty where there is none."""
    given = {
        side: structures[f"{side}_meniscus"].surface
        for side in SIDES
        if f"{side}_meniscus" in structures and structures[f"{side}_meniscus"].source == "segmented"
    }
    if not given:
        return {}
    found = {}
    if "tibia" in structures:
        tibia = structures["tibia"].surface
        found = {side: p for side in SIDES if (p := _plateau(side, cartilage, tibia)) is not None}
    nothing = float("nan")
    result: dict[str, MeniscusMeasures] = {}
    for side, meniscus in given.items():
        plateau = found.get(side)
        if plateau is None:
            result[f"{side}_meniscus"] = MeniscusMeasures(
                extrusion_mm=nothing, extrusion_sd_mm=nothing, coverage_fraction=nothing,
                covered_area_mm2=nothing, reason=f"the {side} tibial cartilage is not measured",
            )  # fmt: skip
            continue
        lateral, anterior, up = _directions(found, axes)
        outwards = lateral if side == "lateral" else -lateral
        mean, sd = _extrusion(plateau, meniscus.vertices_mm, outwards, anterior)
        area = _covered(plateau, meniscus, up)
        result[f"{side}_meniscus"] = MeniscusMeasures(
            extrusion_mm=mean, extrusion_sd_mm=sd, covered_area_mm2=area,
            coverage_fraction=area / float(plateau.areas.sum()),
            reason="" if np.isfinite(mean) else "the meniscus does not reach the plateau's middle fifth",
        )  # fmt: skip
    return result
