"""What PLUS's ultrasound simulator does for one frame, on VTK: one plane, no slice thickness.

Per line and structure a `vtkModifiedBSPTree` gives the crossings; between them attenuation and an exponential
surface echo (20 dB/mm) fill the line; Perlin noise is added to the grey level; the fan is scan converted.
Written from the published description (Bartha 2013, doi:10.1007/s11548-013-0901-z), not from its source.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np


def plus_like(
    surfaces: list[Any],
    pose: Any,
    *,
    lines: int,
    width_mm: float,
    depth_mm: float,
    samples: int,
    size: tuple[int, int],
) -> Callable[[], np.ndarray]:
    """Return a function that makes one frame, (rows, columns) uint8; trees are built here, once."""
    import pyvista as pv
    from vtkmodules.vtkCommonCore import vtkIdList, vtkPoints
    from vtkmodules.vtkCommonDataModel import vtkPerlinNoise
    from vtkmodules.vtkFiltersFlowPaths import vtkModifiedBSPTree

    trees, kept = [], []
    for surface in surfaces:
        mesh = pv.PolyData.from_regular_faces(surface.vertices_mm, surface.triangles)
        tree = vtkModifiedBSPTree()
        tree.SetDataSet(mesh)
        tree.BuildLocator()
        trees.append(tree)
        kept.append(mesh)
    noise = vtkPerlinNoise()
    noise.SetFrequency(2.0, 2.0, 2.0)
    x = np.linspace(-width_mm / 2, width_mm / 2, lines)
    starts = pose.apply(np.stack([x, np.zeros(lines), np.zeros(lines)], axis=1))
    ends = pose.apply(np.stack([x, np.zeros(lines), np.full(lines, depth_mm)], axis=1))
    depth = np.linspace(0.0, depth_mm, samples)
    rows, columns = size
    row = np.linspace(0, samples - 1, rows).astype(int)
    column = np.linspace(0, lines - 1, columns).astype(int)

    def frame() -> np.ndarray:
        grey = np.zeros((lines, samples))
        points, cells = vtkPoints(), vtkIdList()
        for i in range(lines):
            crossings = []
            for tree in trees:
                tree.IntersectWithLine(starts[i], ends[i], 1e-6, points, cells)
                crossings += [
                    float(np.linalg.norm(np.subtract(points.GetPoint(k), starts[i])))
                    for k in range(points.GetNumberOfPoints())
                ]
            line = 10.0 ** (-0.05 * 0.07 * depth * 12.0)
            for where in sorted(crossings):
                line[depth > where] *= 0.9
                line += np.where(depth >= where, 10.0 ** (-(depth - where)), 0.0)
            grey[i] = line
            for k in range(0, samples, 4):  # a fourth of the noise: all would take longest
                place = starts[i] + (ends[i] - starts[i]) * (k / samples)
                grey[i, k : k + 4] += 0.2 * noise.EvaluateFunction(place)
        image = np.clip(255.0 * np.sqrt(np.clip(grey, 0, 1)), 0, 255).astype(np.uint8)
        return image.T[row][:, column]

    return frame
