"""Closed solids from meshes that are not: merged, turned, their holes filled, or rebuilt from a grid."""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from vtkmodules.util.numpy_support import numpy_to_vtk, numpy_to_vtkIdTypeArray, vtk_to_numpy
from vtkmodules.vtkCommonCore import vtkPoints
from vtkmodules.vtkCommonDataModel import vtkCellArray, vtkPolyData
from vtkmodules.vtkFiltersCore import vtkPolyDataNormals

from injectplan.anatomy.surfaces import surface_of_mask
from injectplan.errors import EmptyStructureError, UnitsError
from injectplan.imaging.values import Surface
from injectplan.kernels.cast import Bools, Floats, Ints

MERGE_MM = 1e-4
LONGEST_MM = 2500.0
SHORTEST_MM = 0.5
GRID_CELLS = 120  # along the longest edge of a mesh that must be rebuilt; assumed
WORK = 4e8  # triangle-point pairs that the rebuilding may cost, about 20 s


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
    vertices, triangles = surface.vertices_mm[first], index.reshape(-1)[surface.triangles]
    if len(vertices) < len(surface.vertices_mm):
        done.append(f"merged {len(surface.vertices_mm) - len(vertices)} doubled vertices")
    a, b, c = triangles.T
    whole = (a != b) & (b != c) & (c != a)
    triangles = triangles[whole]
    _, first = np.unique(np.sort(triangles, axis=1), axis=0, return_index=True)
    if len(first) < len(surface.triangles):
        done.append(f"dropped {len(surface.triangles) - len(first)} empty or doubled triangles")
    return vertices, triangles[np.sort(first)].astype(np.int32)


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
    """The loops of edges that have one triangle, running as their triangles do; None if they cross."""
    directed = triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    kept = {(int(a), int(b)) for a, b in directed}
    follow: dict[int, int] = {}
    for a, b in sorted(kept):
        if (b, a) not in kept:
            if a in follow:
                return None
            follow[a] = b
    loops = []
    while follow:
        start = min(follow)
        loop, at = [start], follow.pop(start)
        while at != start:
            loop.append(at)
            if at not in follow:
                return None
            at = follow.pop(at)
        loops.append(loop)
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
    """Rebuild the solid on a grid from the generalised winding number (Jacobson 2013), above one half."""
    low, high = surface.bounds_mm
    spacing = float((high - low).max()) / GRID_CELLS
    cells = np.prod(np.ceil((high - low) / spacing) + 1.0)
    spacing *= max(1.0, float((cells * len(surface.triangles) / WORK) ** (1.0 / 3.0)))
    shape = tuple(int(s) + 1 for s in np.ceil((high - low) / spacing))
    axes = [low[a] + spacing * np.arange(shape[a]) for a in range(3)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    inside = winding_numbers(surface, points).reshape(shape)
    mask: Bools = np.abs(inside) > 0.5
    if not mask.any():
        raise EmptyStructureError("the mesh is open and encloses nothing: close it, or give a label map")
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = low
    done.append(f"rebuilt on a {spacing:.2f} mm grid: the mesh was not manifold")
    return surface_of_mask(mask, affine)


def winding_numbers(surface: Surface, points_mm: Floats) -> Floats:
    """How often the surface winds about each point, (n,): 1 inside a closed solid, 0 outside.

    The solid angles of the triangles (Van Oosterom & Strackee 1983) sum to it.
    """
    corners = surface.vertices_mm[surface.triangles]
    result = np.empty(len(points_mm))
    step = max(1, int(2e6 / len(corners)))
    for begin in range(0, len(points_mm), step):
        a, b, c = (corners[None, :, i] - points_mm[begin : begin + step, None] for i in range(3))
        la, lb, lc = (np.linalg.norm(v, axis=2) for v in (a, b, c))
        top = np.einsum("pti,pti->pt", a, np.cross(b, c))
        bottom = la * lb * lc
        for one, other, length in ((a, b, lc), (b, c, la), (c, a, lb)):
            bottom = bottom + np.einsum("pti,pti->pt", one, other) * length
        result[begin : begin + step] = 2.0 * np.arctan2(top, bottom).sum(axis=1) / (4.0 * np.pi)
    return result
