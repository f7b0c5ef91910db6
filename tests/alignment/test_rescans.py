"""Scanning a bone once more: the grid read off its staircase, its steps, smooth errors, measuring again."""

import numpy as np
import pytest
import pyvista as pv
from scipy.spatial.transform import Rotation

import oracles_alignment as legs
from injectplan.alignment.bones import prepare
from injectplan.alignment.femur import measure_femur, remeasure_femur
from injectplan.alignment.rescans import Grid, blur_mm, find_grid, model_of, moved, noise_mm, steps_mm
from injectplan.alignment.tibia import measure_tibia, remeasure_tibia
from injectplan.frames import angle_deg
from injectplan.imaging.values import Surface
from real_legs import voxelised


def egg(radius_mm=30.0, fine=120):
    mesh = pv.Sphere(radius=radius_mm, theta_resolution=fine, phi_resolution=fine)
    points = np.asarray(mesh.points, float) * [1.0, 0.8, 1.6]
    return Surface(points, mesh.faces.reshape(-1, 4)[:, 1:])


def slab(normal):
    """A board of 60 x 60 x 10 mm whose upper face has this normal."""
    points, triangles = legs.mesh(
        lambda p: np.max(np.abs(p) - [30.0, 30.0, 5.0], axis=-1), (-33.0, -33.0, -8.0), (33.0, 33.0, 8.0), 1.2
    )
    turn = Rotation.align_vectors([normal], [[0.0, 0.0, 1.0]])[0].as_matrix()
    return Surface(points @ turn.T, triangles)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 3.0), (0.7, 0.7, 1.5), (1.5, 1.5, 1.5), (0.7, 0.4, 0.4)])
@pytest.mark.parametrize("seed", [1, 2])
def test_a_staircase_in_any_orientation_shows_its_grid(spacing, seed):
    turn = Rotation.random(random_state=seed).as_matrix()
    body = egg()
    steps = voxelised([Surface(body.vertices_mm @ turn.T, body.triangles)], spacing, shift=0.3)
    grid = find_grid(prepare(Surface(steps.vertices_mm @ turn, steps.triangles), "egg"))
    assert grid is not None
    np.testing.assert_allclose(sorted(grid.spacing_mm), sorted(spacing), atol=0.01)
    along = np.abs(grid.axes @ turn.T)  # of each axis found, its share of each true axis
    np.testing.assert_allclose(along[along > 0.5], 1.0, atol=1e-4)
    found = [grid.spacing_mm[i] for i in np.argmax(along, axis=0)]
    np.testing.assert_allclose(found, spacing, atol=0.01)


def test_a_smooth_surface_shows_no_grid():
    assert find_grid(prepare(egg(), "egg")) is None
    assert find_grid(prepare(legs.surface(legs.femur(15.0, 2.0), "right"), "femur")) is None


def mean_shift(normal, spacing_mm):
    """The upper face's mean height over 64 scans of one grid along the axes: (64,) mm."""
    model = model_of(prepare(slab(normal), "slab"))
    grid = Grid(axes=np.eye(3), spacing_mm=np.array(spacing_mm))
    up = model.bone.normals @ normal > 0.99
    weights = model.bone.weights[up]
    return np.array([np.average(steps_mm(model, grid, k)[up], weights=weights) for k in range(64)])


def test_slices_along_a_face_move_it_as_one_and_slices_askew_move_it_hardly():
    along = mean_shift(np.array([0.0, 0.0, 1.0]), (1.0, 1.0, 3.0))
    # rounding to the next slice: uniform over one slice
    assert np.abs(along).max() <= 1.5 + 1e-9
    assert np.std(along) == pytest.approx(3.0 / np.sqrt(12.0), rel=0.05)
    askew = mean_shift(np.array([np.sin(0.5), 0.0, np.cos(0.5)]), (1.0, 1.0, 3.0))
    assert np.std(askew) < 0.15 * np.std(along)


def test_smooth_errors_have_their_scatter_and_blurring_shrinks_a_ball():
    model = model_of(prepare(egg(), "egg"))
    drawn = np.array([noise_mm(model, 0.3, 0.0, k)[::50] for k in range(200)])
    assert drawn.std(axis=0).mean() == pytest.approx(0.3, rel=0.1)
    both = np.array([noise_mm(model, 0.3, 0.4, k)[::50] for k in range(200)])
    assert both.std(axis=0).mean() == pytest.approx(0.5, rel=0.1)
    np.testing.assert_array_equal(noise_mm(model, 0.3, 0.4, 5), noise_mm(model, 0.3, 0.4, 5))
    assert np.average(blur_mm(model), weights=model.bone.weights) < 0.0
    radius = np.linalg.norm(moved(model, np.full(len(model.bone.points), 0.5)).points, axis=1)
    assert np.average(radius - np.linalg.norm(model.bone.points, axis=1)) == pytest.approx(0.5, abs=0.05)


def test_the_same_surface_measured_again_is_where_it_was():
    femur = measure_femur(prepare(legs.surface(legs.femur(15.0, 2.0), "right"), "femur"))
    again = remeasure_femur(femur, femur.bone)
    for name in ("knee_center", "notch"):
        np.testing.assert_allclose(getattr(again, name), getattr(femur, name), atol=0.05)
    np.testing.assert_allclose(again.head.center, femur.head.center, atol=1e-3)
    np.testing.assert_allclose(again.distal, femur.distal, atol=0.05)
    necks = [fit.hip.neck_center - fit.head.center for fit in (femur, again)]
    assert angle_deg(*(neck / np.linalg.norm(neck) for neck in necks)) < 0.3
    tibia = measure_tibia(prepare(legs.surface(legs.tibia(20.0, 0.0, 2.0), "right"), "tibia"))
    anew = remeasure_tibia(tibia, tibia.bone)
    np.testing.assert_allclose(anew.knee_center, tibia.knee_center, atol=0.01)
    np.testing.assert_allclose(anew.ankle.center, tibia.ankle.center, atol=0.01)
    np.testing.assert_allclose(anew.plateaus, tibia.plateaus, atol=0.01)


def test_a_third_of_the_triangles_wound_the_other_way_changes_nothing():
    whole = legs.surface(legs.femur(15.0, 2.0), "right")
    over = np.random.default_rng(3).random(len(whole.triangles)) < 0.3
    mixed = Surface(whole.vertices_mm, np.where(over[:, None], whole.triangles[:, ::-1], whole.triangles))
    one, other = prepare(whole, "femur"), prepare(mixed, "femur")
    np.testing.assert_allclose(other.points, one.points, atol=1e-9)
    np.testing.assert_allclose(other.normals, one.normals, atol=1e-6)
