"""The triangle tree on the surfaces of a real knee, beside brute force, Embree and VTK."""

from __future__ import annotations

import numpy as np
import pytest
import pyvista as pv
import SimpleITK as sitk
import trimesh
from vtkmodules.vtkCommonCore import reference as vtk_reference
from vtkmodules.vtkCommonCore import vtkIdList, vtkPoints
from vtkmodules.vtkCommonDataModel import vtkGenericCell, vtkStaticCellLocator

from injectplan.kernels.bvh import Bvh, all_hits, build_bvh, contains, first_hits, nearest_points, self_check
from oracles_kernels import brute_crossings, brute_distance, rays_at

pytestmark = pytest.mark.real


class Knee:
    """All segmented structures as one soup of closed surfaces, with what each label's voxels say."""

    def __init__(self, labels: np.ndarray, spacing: np.ndarray) -> None:
        vertices, faces, self.parts = [], [], []
        total = 0
        for label in range(1, 11):
            mask = np.pad(labels == label, 2)
            soft = sitk.SmoothingRecursiveGaussian(sitk.GetImageFromArray(mask.astype(np.float32)), 0.8)
            grid = pv.ImageData(dimensions=mask.shape[::-1], spacing=spacing, origin=-2 * spacing)
            grid["soft"] = sitk.GetArrayFromImage(soft).ravel()
            mesh = grid.contour([0.5], scalars="soft", method="flying_edges")
            part = (np.asarray(mesh.points, np.float64), mesh.faces.reshape(-1, 4)[:, 1:].astype(np.int32))
            self.parts.append(part)
            vertices.append(part[0])
            faces.append(part[1] + total)
            total += len(part[0])
        self.vertices, self.faces = np.concatenate(vertices), np.concatenate(faces)
        self.low, self.high = self.vertices.min(axis=0), self.vertices.max(axis=0)
        self.tree: Bvh = build_bvh(self.vertices, self.faces)

    def closed(self) -> bool:
        edges = np.sort(self.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1).astype(np.int64)
        _, count = np.unique(edges[:, 0] * len(self.vertices) + edges[:, 1], return_counts=True)
        return bool(np.all(count % 2 == 0))


@pytest.fixture(scope="module")
def knee(real_data):
    image = sitk.ReadImage(str(real_data / "knee_dess" / "SAG_3D_DESS_RIGHT_bones_cart_men_fib-label.nrrd"))
    # every other voxel: a fifth of the triangles, as ragged as the whole
    array = sitk.GetArrayFromImage(image)[:, ::2, ::2]
    return Knee(array, np.array(image.GetSpacing()) * [2, 2, 1])


@pytest.fixture(scope="module")
def locator(knee):
    mesh = pv.PolyData.from_regular_faces(knee.vertices, knee.faces)
    result = vtkStaticCellLocator()
    result.SetDataSet(mesh)
    result.BuildLocator()
    return result, mesh


def _parity(knee, seed, count):
    """How many of `count` lines cross the closed surfaces an odd number of times; half aim at vertices."""
    origins, way = rays_at(seed, count, knee.low, knee.high)
    rng = np.random.default_rng(seed)
    half = count // 2
    way[:half] = knee.vertices[rng.integers(0, len(knee.vertices), half)] - origins[:half]
    way[: half // 2] = np.eye(3)[rng.integers(0, 3, half // 2)]
    at = knee.vertices[rng.integers(0, len(knee.vertices), half // 2)]
    origins[: half // 2] = at - 500.0 * way[: half // 2]
    offsets, _, _ = all_hits(knee.tree, origins, way)
    crossed = np.diff(offsets)
    assert crossed.max() >= 10
    assert np.mean(crossed > 0) > 0.5
    return int(np.count_nonzero(crossed % 2))


def test_closed_surfaces_are_crossed_an_even_number_of_times(knee):
    assert self_check(knee.tree) == []
    assert knee.closed()
    assert _parity(knee, 1, 50_000) == 0


@pytest.mark.soak
def test_a_million_lines_cross_closed_surfaces_an_even_number_of_times(knee):
    assert knee.closed()
    assert _parity(knee, 2, 1_000_000) == 0


def test_embree_sees_the_same_crossings_or_brute_force_says_ours(knee):
    """Embree counts in float32 and steps past each crossing, so it may lose one: brute force decides."""
    origins, way = rays_at(3, 20_000, knee.low, knee.high)
    offsets, ts, _ = all_hits(knee.tree, origins, way)
    mesh = trimesh.Trimesh(knee.vertices, knee.faces, process=False)
    intersector = trimesh.ray.ray_pyembree.RayMeshIntersector(mesh)
    _, ray, _ = intersector.intersects_location(origins, way, multiple_hits=True)
    theirs = np.bincount(ray, minlength=len(origins))
    differ = np.flatnonzero(theirs != np.diff(offsets))
    assert len(differ) < 0.05 * len(origins)
    for i in differ[:60]:
        want, _ = brute_crossings(knee.vertices, knee.faces, origins[i], way[i])
        np.testing.assert_allclose(ts[offsets[i] : offsets[i + 1]], want, atol=1e-9)
    first, _ = first_hits(knee.tree, origins, way)
    place, ray, _ = intersector.intersects_location(origins, way, multiple_hits=False)
    their_first = np.linalg.norm(place - origins[ray], axis=1)
    apart = np.abs(first[ray] - their_first)
    assert np.mean(apart < 1e-2) > 0.999
    assert np.count_nonzero(np.isfinite(first)) == pytest.approx(len(np.unique(ray)), abs=5)


def test_vtk_s_static_locator_sees_the_same_crossings_or_brute_force_says_ours(knee, locator):
    origins, way = rays_at(4, 3000, knee.low, knee.high)
    offsets, ts, which = all_hits(knee.tree, origins, way)
    far = 2.5 * np.linalg.norm(knee.high - knee.low)
    hits, cells, differ = vtkPoints(), vtkIdList(), 0
    for i in range(len(origins)):
        locator[0].IntersectWithLine(origins[i], origins[i] + far * way[i], 0.0, hits, cells)
        theirs = sorted(cells.GetId(k) for k in range(cells.GetNumberOfIds()))
        if theirs != sorted(which[offsets[i] : offsets[i + 1]]):
            differ += 1
            want, _ = brute_crossings(knee.vertices, knee.faces, origins[i], way[i])
            np.testing.assert_allclose(ts[offsets[i] : offsets[i + 1]], want, atol=1e-9)
    assert differ < 0.01 * len(origins)


def test_nearest_points_are_vtk_s_and_those_of_brute_force(knee, locator):
    where = np.random.default_rng(5).uniform(knee.low - 10.0, knee.high + 10.0, (1500, 3))
    distance, _, _ = nearest_points(knee.tree, where)
    point, cell, part, squared = [0.0] * 3, vtkGenericCell(), vtk_reference(0), vtk_reference(0.0)
    theirs = np.empty(len(where))
    for i, p in enumerate(where):
        locator[0].FindClosestPoint(p, point, cell, vtk_reference(0), part, squared)
        theirs[i] = np.sqrt(squared.get())
    np.testing.assert_allclose(distance, theirs, atol=1e-5)
    for p, d in zip(where[:20], distance[:20], strict=True):
        assert d == pytest.approx(brute_distance(knee.vertices, knee.faces, p), abs=1e-10)


def test_inside_the_femur_agrees_with_its_voxels(knee, real_data):
    """The femur's own surface at the voxels' centres: those away from the boundary by a voxel must agree."""
    vertices, faces = knee.parts[4]
    tree = build_bvh(vertices, faces)
    where = np.random.default_rng(6).uniform(vertices.min(0), vertices.max(0), (20_000, 3))
    image = sitk.ReadImage(str(real_data / "knee_dess" / "SAG_3D_DESS_RIGHT_bones_cart_men_fib-label.nrrd"))
    array = sitk.GetArrayFromImage(image)[:, ::2, ::2] == 5
    spacing = np.array(image.GetSpacing()) * [2, 2, 1]
    index = np.round(where / spacing).astype(int)[:, ::-1]
    inside_voxels = np.all((index >= 0) & (index < array.shape), axis=1)
    inside_voxels[inside_voxels] = array[tuple(index[inside_voxels].T)]
    sure = nearest_points(tree, where)[0] > 1.2
    assert np.count_nonzero(sure & inside_voxels) > 3000
    np.testing.assert_array_equal(contains(tree, where)[sure], inside_voxels[sure])
