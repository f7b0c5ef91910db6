"""Closed solids from meshes that are not: merged, turned, their holes filled, or rebuilt from a grid."""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from vtkmodules.util.numpy_support import numpy_to_vtk, numpy_to_vtkIdTypeArray, vtk_to_numpy
from vtkmodules.vtkCommonCore import vtkPoints
from vtkmodules.vtkCommonDataModel import vtkCellArray, vtkPolyData
from vtkmodules.vtkFiltersCore import vtkPolyDataNormals

from injectplan.anatomy.surfaces import mask_of_surface, surface_of_mask
from injectplan.errors import EmptyStructureError, UnitsError
from injectplan.imaging.values import Surface
from injectplan.kernels.cast import Bools, Floats, Ints

MERGE_MM = 1e-4
LONGEST_MM = 2500.0
SHORTEST_MM = 0.5
GRID_CELLS = 200  # along the longest edge of a mesh that must be rebuilt; assumed


def repair_surface(surface: Surface, name: str = "surface") -> tuple[Surface, tuple[str, ...]]:
    """Return a closed, outward solid, and what had to be done to get it.

    Raises EmptyStructureError for a mesh without area, UnitsError for one no body part can have the size of.
    """
    done: list[str] = []
    vertices, triangles = _clean(surface, done)
    if len(triangles) < 4:
        raise EmptyStructureError(f"{name}: the mesh encloses nothing ({len(triangles)} triangles with area)")
    size = float((vertices.max(axis=0) - vertices.min(axis=0)).max())
    if not SHORTEST_MM <= size <= LONGEST_MM:
        raise UnitsError(
            f"{name}: the mesh is {size:.4g} mm long (expected {SHORTEST_MM:g} to {LONGEST_MM:g} mm): "
            "state its unit (--units mm, m, or mm per unit)"
        )
    result = Surface(vertices, triangles)
    if not result.manifold:
        return _rebuilt(result, done), tuple(done)
    result = _oriented(result, done)
    loops = _border_loops(result.triangles)
    if loops is None:
        return _rebuilt(result, done), tuple(done)
    if loops:
        result = _filled(result, loops)
        done.append(f"filled {len(loops)} hole{'s' if len(loops) > 1 else ''}")
    result = _outward(result, done)
    if not (result.closed and result.manifold):
        return _rebuilt(result, done), tuple(done)
    return result, tuple(done)


def _clean(surface: Surface, done: list[str]) -> tuple[Floats, Ints]:
    """Merge vertices that coincide; drop triangles without area and doubled ones."""
    keys = np.round(surface.vertices_mm / MERGE_MM).astype(np.int64)
    _, first, index = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    vertices, triangles = surface.vertices_mm, surface.triangles
    if len(first) < len(vertices):
        done.append(f"merged {len(vertices) - len(first)} doubled vertices")
        vertices, triangles = vertices[first], index.reshape(-1)[triangles].astype(np.int32)
    a, b, c = triangles.T
    whole = (a != b) & (b != c) & (c != a)
    triangles = triangles[whole]
    _, kept = np.unique(np.sort(triangles, axis=1), axis=0, return_index=True)
    if len(kept) < len(surface.triangles):
        done.append(f"dropped {len(surface.triangles) - len(kept)} empty or doubled triangles")
    return vertices, triangles[np.sort(kept)].astype(np.int32)


def _polydata(surface: Surface) -> vtkPolyData:
    points = vtkPoints()
    points.SetData(numpy_to_vtk(np.array(surface.vertices_mm), deep=True))
    cells = vtkCellArray()
    offsets = np.arange(0, 3 * len(surface.triangles) + 1, 3, dtype=np.int64)
    flat = surface.triangles.astype(np.int64).ravel()
    cells.SetData(numpy_to_vtkIdTypeArray(offsets, deep=True), numpy_to_vtkIdTypeArray(flat, deep=True))
    data = vtkPolyData()
    data.SetPoints(points)
    data.SetPolys(cells)
    return data


def _oriented(surface: Surface, done: list[str]) -> Surface:
    """Turn triangles so that neighbours agree."""
    directed = surface.triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    if len(np.unique(directed, axis=0)) == len(directed):
        return surface
    turner = vtkPolyDataNormals()
    turner.SetInputData(_polydata(surface))
    turner.ConsistencyOn()
    turner.SplittingOff()
    turner.AutoOrientNormalsOff()
    turner.Update()
    polys = turner.GetOutput().GetPolys().GetConnectivityArray()
    done.append("turned triangles to agree")
    return Surface(surface.vertices_mm, vtk_to_numpy(polys).reshape(-1, 3).astype(np.int32))


def _border_loops(triangles: Ints) -> list[list[int]] | None:
    """The loops of edges that have one triangle, running as their triangles do; None if they do not close.

    Where several loops meet in a vertex each is walked until it returns to a vertex already on it.
    """
    directed = triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    kept = {(int(a), int(b)) for a, b in directed}
    follow: dict[int, list[int]] = {}
    for a, b in sorted(kept, reverse=True):
        if (b, a) not in kept:
            follow.setdefault(a, []).append(b)
    loops = []
    while follow:
        path = [min(follow)]
        while path:
            onward = follow.get(path[-1])
            if not onward:
                if len(path) > 1:
                    return None
                break
            reached = onward.pop()
            if not onward:
                del follow[path[-1]]
            if reached in path:
                begin = path.index(reached)
                loops.append(path[begin:])
                path = path[: begin + 1] if begin else []
            else:
                path.append(reached)
    return loops


def _filled(surface: Surface, loops: list[list[int]]) -> Surface:
    """Close each loop by a fan about its middle."""
    vertices, triangles = [surface.vertices_mm], [surface.triangles]
    for number, loop in enumerate(loops):
        middle = len(surface.vertices_mm) + number
        vertices.append(surface.vertices_mm[loop].mean(axis=0)[None])
        ring = np.array(loop, np.int32)
        triangles.append(np.column_stack([np.roll(ring, -1), ring, np.full(len(ring), middle, np.int32)]))
    return Surface(np.concatenate(vertices), np.concatenate(triangles))


def _outward(surface: Surface, done: list[str]) -> Surface:
    """Turn each connected piece so that it encloses a positive volume."""
    faces = surface.triangles
    n = len(surface.vertices_mm)
    graph = coo_matrix(
        (np.ones(2 * len(faces)), (faces[:, [0, 1]].ravel(), faces[:, [1, 2]].ravel())), (n, n)
    )
    count, piece = connected_components(graph, directed=False)
    of_face = piece[faces[:, 0]]
    origin = surface.vertices_mm.mean(axis=0)
    corner = surface.vertices_mm[faces[:, 0]] - origin
    signed = np.einsum("ij,ij->i", corner, surface._crosses)
    volume = np.bincount(of_face, weights=signed, minlength=count)
    inward = volume[of_face] < 0.0
    if not inward.any():
        return surface
    done.append("turned inside out")
    return Surface(surface.vertices_mm, np.where(inward[:, None], faces[:, ::-1], faces))


def _rebuilt(surface: Surface, done: list[str]) -> Surface:
    """Rebuild the solid on a grid: inside is where most of three rays, one along each axis, say so."""
    low, high = surface.bounds_mm
    spacing = float((high - low).max()) / GRID_CELLS
    shape = tuple(int(s) + 2 for s in np.ceil((high - low) / spacing))
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = low - 0.5 * spacing
    votes = np.zeros(shape, np.int8)
    for axis in range(3):
        turned = [(axis + 1) % 3, (axis + 2) % 3, axis]
        some = mask_of_surface(surface, affine[:, [*turned, 3]], [shape[a] for a in turned])
        votes += np.transpose(some, np.argsort(turned))
    mask: Bools = votes >= 2
    if not mask.any():
        raise EmptyStructureError("the mesh is open and encloses nothing: close it, or give a label map")
    done.append(
        f"rebuilt on a {spacing:.2f} mm grid: edges with more than two triangles, or crossing borders"
    )
    return surface_of_mask(mask, affine, sigma_mm=spacing)
