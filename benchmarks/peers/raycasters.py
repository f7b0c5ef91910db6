"""Ray casters: each peer is a function mesh → functions `all_hits(rays)` and `first_hits(rays)`.

all_hits returns the number of crossings of each ray, first_hits the distance of the first, NaN for none.
Loops over rays are Python's, since that is how VTK is used from Python; the loop itself costs 0.4 µs a ray.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np


class Caster(NamedTuple):
    all_hits: Callable[[Any], np.ndarray]
    first_hits: Callable[[Any], np.ndarray]


def injectplan(mesh: Any) -> Caster:
    from injectplan.kernels.bvh import all_hits, build_bvh, first_hits

    tree = build_bvh(mesh.vertices_mm, mesh.triangles)
    return Caster(
        lambda rays: np.diff(all_hits(tree, rays.origins_mm, rays.directions)[0]),
        lambda rays: first_hits(tree, rays.origins_mm, rays.directions)[0],
    )


def trimesh_embreex(mesh: Any) -> Caster:
    import trimesh

    surface = trimesh.Trimesh(mesh.vertices_mm, mesh.triangles, process=False)
    intersector = trimesh.ray.ray_pyembree.RayMeshIntersector(surface)

    def every(rays: Any) -> np.ndarray:
        _, ray, _ = intersector.intersects_location(rays.origins_mm, rays.directions, multiple_hits=True)
        return np.bincount(ray, minlength=len(rays.origins_mm))

    def first(rays: Any) -> np.ndarray:
        place, ray, _ = intersector.intersects_location(rays.origins_mm, rays.directions, multiple_hits=False)
        distance = np.full(len(rays.origins_mm), np.nan)
        distance[ray] = np.linalg.norm(place - rays.origins_mm[ray], axis=1)
        return distance

    return Caster(every, first)


def _vtk(name: str) -> Callable[[Any], Caster]:
    def make(mesh: Any) -> Caster:
        import pyvista as pv
        from vtkmodules import vtkCommonDataModel, vtkFiltersFlowPaths, vtkFiltersGeneral
        from vtkmodules.vtkCommonCore import reference, vtkIdList, vtkPoints

        surface = pv.PolyData.from_regular_faces(mesh.vertices_mm, mesh.triangles)
        room = next(
            m for m in (vtkCommonDataModel, vtkFiltersGeneral, vtkFiltersFlowPaths) if hasattr(m, name)
        )
        locator = getattr(room, name)()
        locator.SetDataSet(surface)
        locator.BuildLocator()
        far = 3.0 * surface.length
        points, cells = vtkPoints(), vtkIdList()

        def every(rays: Any) -> np.ndarray:
            count = np.zeros(len(rays.origins_mm), np.int64)
            ends = rays.origins_mm + far * rays.directions
            for i, (start, end) in enumerate(zip(rays.origins_mm.tolist(), ends.tolist(), strict=True)):
                if name == "vtkOBBTree":
                    locator.IntersectWithLine(start, end, points, None)
                else:
                    locator.IntersectWithLine(start, end, 0.0, points, cells)
                count[i] = points.GetNumberOfPoints()
            return count

        def first(rays: Any) -> np.ndarray:
            distance = np.full(len(rays.origins_mm), np.nan)
            ends = rays.origins_mm + far * rays.directions
            t, x, local, sub = reference(0.0), [0.0] * 3, [0.0] * 3, reference(0)
            for i, (start, end) in enumerate(zip(rays.origins_mm.tolist(), ends.tolist(), strict=True)):
                if locator.IntersectWithLine(start, end, 0.0, t, x, local, sub):
                    distance[i] = t.get() * far
            return distance

        return Caster(every, first)

    return make


PEERS: dict[str, tuple[Callable[[Any], Caster], int]] = {
    # name: (maker, how many rays one round casts, so that a round stays near a second)
    "injectplan": (injectplan, 200_000),
    "trimesh+embreex": (trimesh_embreex, 50_000),
    "vtkStaticCellLocator": (_vtk("vtkStaticCellLocator"), 5_000),
    "vtkModifiedBSPTree": (_vtk("vtkModifiedBSPTree"), 500),
    "vtkOBBTree": (_vtk("vtkOBBTree"), 500),
}
