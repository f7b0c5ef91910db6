"""The exact re-check: two engines measure every chosen path on the meshes; unconfirmed ones are dropped."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from vtkmodules.util.numpy_support import numpy_to_vtk, numpy_to_vtkIdTypeArray
from vtkmodules.vtkCommonCore import mutable, vtkPoints
from vtkmodules.vtkCommonDataModel import vtkCellArray, vtkGenericCell, vtkPolyData, vtkStaticCellLocator
from vtkmodules.vtkFiltersCore import vtkImplicitPolyDataDistance

from injectplan.anatomy.model import JointModel
from injectplan.imaging.values import Surface
from injectplan.kernels.bvh import contains, first_hits, signed_distances
from injectplan.kernels.cast import Floats
from injectplan.kernels.segment import segment_distances

AGREEMENT_MM = 0.02  # two engines farther apart than this do not confirm each other (assumed)
FAR_MM = 15.0  # beyond it the engines need agree only that it is beyond it
TOLERANCE_MM = 0.01  # to which the second engine closes in on the least distance
SURFACING_MM = 1.5  # the path may meet the skin only this near to its entry (assumed)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Confirmation:
    """What the re-check found on one path. clearance_mm : structure → mm from the needle's wall."""

    clearance_mm: Mapping[str, float]
    tip_depth_mm: float
    disagreement_mm: float
    broken: str  # why it is not confirmed, empty when it is


def clearances(joint: JointModel, entry_mm: Floats, tip_mm: Floats, radius_mm: float) -> dict[str, float]:
    """Distance of the needle's wall to every structure at risk, by the triangle tree; negative: touched."""
    return {
        name: float(segment_distances(s.surface.bvh, entry_mm, tip_mm)[0]) - radius_mm
        for name, s in joint.structures.items()
        if s.risk != "none" and len(s.surface.triangles)
    }


def _polydata(surface: Surface) -> vtkPolyData:
    points = vtkPoints()
    points.SetData(numpy_to_vtk(np.array(surface.vertices_mm), deep=True))
    cells = vtkCellArray()
    flat = surface.triangles.astype(np.int64).ravel()
    cells.SetData(3, numpy_to_vtkIdTypeArray(flat, deep=True))
    result = vtkPolyData()
    result.SetPoints(points)
    result.SetPolys(cells)
    return result


def _enters(surface: Surface, entry_mm: Floats) -> bool:
    low, high = surface.bounds_mm
    if np.any(entry_mm < low) or np.any(entry_mm > high):
        return False
    return bool(contains(surface.bvh, entry_mm[None])[0])


class SecondEngine:
    """Distances by VTK's cell locator. Knows points only, so a segment's least distance is closed in on.

    The distance to a surface changes by no more than one walks, so between two points d apart with values
    f and g nothing is below (f + g − d)/2 (Piyavskii 1972, doi:10.1016/0041-5553(72)90115-2).
    """

    def __init__(self, surface: Surface) -> None:
        self._data = _polydata(surface)
        self._locator = vtkStaticCellLocator()
        self._locator.SetDataSet(self._data)
        self._locator.BuildLocator()
        self._cell = vtkGenericCell()

    def point_distance(self, point_mm: Floats) -> float:
        """Distance of one point to the surface, mm."""
        nearest: list[float] = [0.0, 0.0, 0.0]
        cell: Any = mutable(0)
        sub: Any = mutable(0)
        squared: Any = mutable(0.0)
        self._locator.FindClosestPoint([float(v) for v in point_mm], nearest, self._cell, cell, sub, squared)
        return float(np.sqrt(float(squared)))

    def segment_distance(self, start_mm: Floats, end_mm: Floats) -> float:
        """Least distance of a segment to the surface, mm, to TOLERANCE_MM; past FAR_MM, a bound past it."""
        length = float(np.linalg.norm(end_mm - start_mm))

        def at(s: float) -> float:
            return self.point_distance(start_mm + (s / length) * (end_mm - start_mm))

        f, g = at(0.0), at(length)
        best = min(f, g)
        heap = [((f + g - length) / 2.0, 0.0, length, f, g)]
        while heap and heap[0][0] < min(best - TOLERANCE_MM, FAR_MM + 1.0):
            _, a, b, f, g = heapq.heappop(heap)
            middle = float(np.clip(0.5 * (a + b) + 0.5 * (f - g), a + 0.1 * (b - a), b - 0.1 * (b - a)))
            value = at(middle)
            best = min(best, value)
            heapq.heappush(heap, ((f + value - (middle - a)) / 2.0, a, middle, f, value))
            heapq.heappush(heap, ((value + g - (b - middle)) / 2.0, middle, b, value, g))
        return best


class Rechecker:
    """Confirms paths in one joint; keeps the second engine's locators between paths."""

    def __init__(self, joint: JointModel, radius_mm: float, margins_mm: Mapping[str, float]) -> None:
        self.joint, self.radius_mm, self.margins_mm = joint, radius_mm, margins_mm
        self._engines: dict[str, SecondEngine] = {}
        self._cavity = vtkImplicitPolyDataDistance()
        self._cavity.SetInput(_polydata(joint.cavity.surface))

    def _engine(self, name: str) -> SecondEngine:
        if name not in self._engines:
            self._engines[name] = SecondEngine(self.joint.structures[name].surface)
        return self._engines[name]

    def confirm(self, entry_mm: Floats, tip_mm: Floats) -> Confirmation:
        """Measure one path with both engines and say what, if anything, speaks against it."""
        found = clearances(self.joint, entry_mm, tip_mm, self.radius_mm)
        reasons: list[str] = []
        apart = 0.0
        for name, gap in found.items():
            structure = self.joint.structures[name]
            other = self._engine(name).segment_distance(entry_mm, tip_mm) - self.radius_mm
            between = abs(other - gap) if min(gap, other) < FAR_MM else 0.0
            apart = max(apart, between)
            if between > AGREEMENT_MM:
                reasons.append(f"the engines find {gap:.3f} and {other:.3f} mm to the {name}")
            elif gap < self.margins_mm[structure.risk]:
                reasons.append(
                    f"passes the {name} at {gap:.2f} mm (needs {self.margins_mm[structure.risk]:g} mm)"
                )
            elif _enters(structure.surface, entry_mm):
                reasons.append(f"enters inside the {name}")
        depth = -float(signed_distances(self.joint.cavity.surface.bvh, tip_mm[None])[0])
        other_depth = -float(self._cavity.EvaluateFunction(tip_mm.tolist()))
        if depth <= 0.0 or other_depth <= 0.0:
            reasons.append(f"the tip lies {-min(depth, other_depth):.2f} mm outside the cavity")
        elif abs(depth - other_depth) > AGREEMENT_MM:
            reasons.append(
                f"the engines find the tip {depth:.3f} and {other_depth:.3f} mm deep in the cavity"
            )
        length = float(np.linalg.norm(entry_mm - tip_mm))
        surfaced = first_hits(
            self.joint.structures["skin"].surface.bvh, tip_mm[None], (entry_mm - tip_mm)[None] / length
        )[0][0]
        if surfaced < length - SURFACING_MM:
            reasons.append(f"the path leaves the body {length - surfaced:.1f} mm from its entry")
        return Confirmation(
            clearance_mm=found,
            tip_depth_mm=depth,
            disagreement_mm=apart,
            broken=reasons[0] if reasons else "",
        )
