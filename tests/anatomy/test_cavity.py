"""The cavity's volumes against closed forms, and the laws of filling."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial.transform import Rotation

from injectplan.anatomy.cavity import build_cavity, capacity_ml, fill_cavity
from injectplan.anatomy.model import Cavity
from injectplan.anatomy.threeways import volumes
from injectplan.errors import EmptyStructureError
from injectplan.imaging import Surface

SPACING = 0.5


def _grid(half: float):
    axis = np.arange(-half, half + 1e-9, SPACING) + 0.137  # off the grid's symmetry
    x, y, z = np.meshgrid(axis, axis, axis, indexing="ij")
    return x.astype(np.float32), y.astype(np.float32), z.astype(np.float32), np.full(3, axis[0])


def _build(rest, origin, resting_ml, **more) -> Cavity:
    far = np.full(rest.shape, np.float32(5.0))
    options = {
        "walls": far, "ease": np.float32(1.0), "allowed": -far,
        "recess_index": np.ones(rest.shape, np.uint8), "recess_names": ("whole",),
    } | more  # fmt: skip
    return build_cavity(origin, SPACING, rest.astype(np.float32), resting_ml=resting_ml, **options)


def _shell_segment(half_angle_deg: float):
    """A spherical shell of radii 16 and 19 mm within a cone: 2π/3 (1 - cos α)(R³ - r³)."""
    x, y, z, origin = _grid(22.0)
    r = np.sqrt(x * x + y * y + z * z)
    alpha = np.radians(half_angle_deg)
    cone = np.sqrt(x * x + y * y) * np.cos(alpha) - z * np.sin(alpha)
    exact = 2 * np.pi / 3 * (1 - np.cos(alpha)) * (19.0**3 - 16.0**3) / 1e3
    return np.maximum(np.abs(r - 17.5) - 1.5, cone), origin, exact


def _torus():
    """A torus of radii 15 and 3.5 mm: 2π² R a²."""
    x, y, z, origin = _grid(22.0)
    return (
        np.sqrt((np.sqrt(x * x + y * y) - 15.0) ** 2 + z * z) - 3.5,
        origin,
        2 * np.pi**2 * 15 * 3.5**2 / 1e3,
    )


@pytest.mark.parametrize("shape", [lambda: _shell_segment(50.0), lambda: _shell_segment(75.0), _torus])
def test_three_ways_agree_with_closed_form(shape):
    rest, origin, exact = shape()
    cavity = _build(rest, origin, exact)
    found = volumes(cavity.surface)
    for value in (found.voxel_ml, found.mesh_ml, found.ray_ml):
        assert value == pytest.approx(exact, rel=0.01)
        assert value == pytest.approx(found.mesh_ml, rel=0.005)
    # built to the closed form's volume, it had hardly to move: the measure itself is right, not the fit
    start = np.round((cavity.field.origin_mm - origin) / SPACING).astype(int)
    same = rest[tuple(slice(a, a + n) for a, n in zip(start, cavity.field.values.shape, strict=True))]
    deep = same < -0.6
    assert deep.sum() == (rest < -0.6).sum()
    assert float(np.abs(cavity.field.values[deep] - same[deep]).max()) < 0.45
    assert cavity.surface.closed
    assert cavity.surface.manifold


def _ring(big_mm: float, small_mm: float) -> Surface:
    """A triangulated torus about z, small radius's polygon of 96 corners."""
    u, v = (np.arange(n) * 2 * np.pi / n for n in (240, 96))
    around, tube = np.meshgrid(u, v, indexing="ij")
    away = big_mm + small_mm * np.cos(tube)
    points = np.stack([away * np.cos(around), away * np.sin(around), small_mm * np.sin(tube)], -1)
    i, j = (g.ravel() for g in np.meshgrid(np.arange(240), np.arange(96), indexing="ij"))
    corner = [((i + a) % 240) * 96 + (j + b) % 96 for a, b in ((0, 0), (1, 0), (1, 1), (0, 1))]
    triangles = np.concatenate([np.stack([corner[0], corner[k], corner[k + 1]], 1) for k in (1, 2)])
    return Surface(points.reshape(-1, 3), triangles.astype(np.int32))


@pytest.mark.parametrize("tilted", [False, True])
@pytest.mark.parametrize("small_mm", [1.0, 2.0, 3.0])
def test_three_ways_agree_on_slender_rings(small_mm, tilted):
    ring = _ring(18.0, small_mm)
    if tilted:
        ring = Surface(
            Rotation.from_rotvec([0.4, 0.9, 0.2]).apply(np.array(ring.vertices_mm)), ring.triangles
        )
    found = volumes(ring)
    exact = 2 * np.pi**2 * 18.0 * small_mm**2 / 1e3
    assert found.mesh_ml == pytest.approx(exact, rel=2e-3)
    assert found.voxel_ml == pytest.approx(found.mesh_ml, rel=5e-3)
    assert found.ray_ml == pytest.approx(found.mesh_ml, rel=5e-3)


def test_a_recess_wider_than_the_field_s_band_has_its_width():
    x, y, z, origin = _grid(12.0)
    cavity = _build(np.sqrt(x * x + y * y + z * z) - 9.0, origin, 4 / 3 * np.pi * 9.0**3 / 1e3)
    # the deepest tenth of a ball is a ball of 0.46 of its radius, on average three quarters of that out
    assert cavity.recesses[0].thickness_mm == pytest.approx(2 * 9.0 * (1 - 0.75 * 0.1 ** (1 / 3)), abs=0.3)


def test_resting_volume_is_met_by_moving_the_wall():
    rest, origin, exact = _torus()
    cavity = _build(rest, origin, 0.8 * exact)
    assert cavity.resting_volume_ml == pytest.approx(0.8 * exact, rel=1e-3)
    # a torus of 0.8 the volume has √0.8 the small radius
    assert cavity.field.values.min() == pytest.approx(-3.5 * np.sqrt(0.8), abs=0.3)


def test_filling_keeps_the_volume_and_is_monotone():
    rest, origin, exact = _torus()
    cavity = _build(rest, origin, exact)
    steps = [fill_cavity(cavity, v) for v in (0.5, 1.0, 2.0, 4.0)]
    for volume, state in zip((0.5, 1.0, 2.0, 4.0), steps, strict=True):
        assert state.in_cavity_ml + state.leaked_ml == pytest.approx(volume, abs=1e-12)
        assert state.leaked_ml == 0.0
        assert state.fluid is not None
        assert state.fluid.closed
        assert state.fluid.volume_ml == pytest.approx(exact + volume, rel=1e-3)
        assert sum(state.recess_ml.values()) == pytest.approx(cavity.resting_volume_ml + volume, rel=1e-9)
        # a torus opened evenly: 2π² R (a + t)²
        small = np.sqrt((exact + volume) * 1e3 / (2 * np.pi**2 * 15.0))
        assert state.displacement_mm == pytest.approx(small - 3.5, abs=0.1)
    assert [s.displacement_mm for s in steps] == sorted(s.displacement_mm for s in steps)
    for less, more in itertools.pairwise(steps):
        assert (less.fluid.bounds_mm[0] >= more.fluid.bounds_mm[0] - 1e-6).all()
        assert (less.fluid.bounds_mm[1] <= more.fluid.bounds_mm[1] + 1e-6).all()


def test_the_wall_nearest_the_tip_gives_first():
    rest, origin, exact = _torus()
    state = fill_cavity(_build(rest, origin, exact), 2.0, tip_mm=np.array([15.0, 0.0, 0.0]))
    low, high = state.fluid.bounds_mm
    assert high[0] - 18.5 > 2.0 * (-18.5 - low[0]) > 0.0


def test_a_tip_outside_leaks_everything_and_no_volume_is_no_fluid():
    rest, origin, exact = _torus()
    cavity = _build(rest, origin, exact)
    state = fill_cavity(cavity, 3.0, tip_mm=np.zeros(3))
    assert (state.in_cavity_ml, state.leaked_ml, state.fluid) == (0.0, 3.0, None)
    assert fill_cavity(cavity, 0.0).fluid is None
    with pytest.raises(ValueError, match="cannot be"):
        fill_cavity(cavity, -1.0)


def test_beyond_the_capacity_it_leaks():
    rest, origin, exact = _torus()
    allowed = np.where(rest < 1.0, np.float32(-1.0), np.float32(1.0)).astype(np.float32)
    cavity = _build(rest, origin, exact, allowed=allowed)
    room = capacity_ml(cavity)
    assert room == pytest.approx(2 * np.pi**2 * 15 * (4.5**2 - 3.5**2) / 1e3, rel=0.08)
    state = fill_cavity(cavity, 2.0 * room)
    assert state.in_cavity_ml == pytest.approx(room)
    assert state.leaked_ml == pytest.approx(room)


def test_a_joint_holds_its_capacity_and_no_more():
    rest, origin, exact = _torus()
    cavity = _build(rest, origin, exact, capacity_ml=exact + 4.0)
    assert capacity_ml(cavity) == pytest.approx(4.0, abs=0.05)
    state = fill_cavity(cavity, 10.0)
    assert state.in_cavity_ml == pytest.approx(4.0, abs=0.05)
    assert state.fluid.volume_ml == pytest.approx(exact + 4.0, rel=0.02)


def test_fluid_hangs_together_and_empty_recesses_are_not_named():
    rest, origin, exact = _torus()
    x, y, z, _ = _grid(22.0)
    # a pocket of easy wall that no way leads to but through what is hard to open
    pocket = np.sqrt(x * x + y * y + z * z) < 4.0
    index = np.where(x > 100.0, 2, np.where(y > 0, 3, 1)).astype(np.uint8)
    cavity = _build(
        rest, origin, exact, ease=np.where(pocket, np.float32(1.0), np.float32(0.1)),
        recess_index=index, recess_names=("one", "none", "other"),
    )  # fmt: skip
    assert [r.name for r in cavity.recesses] == ["one", "other"]
    assert all(r.volume_ml > 0 and np.isfinite(r.center_mm).all() for r in cavity.recesses)
    for volume in (3.0, 12.0):
        fluid = fill_cavity(cavity, volume).fluid
        a, b = fluid.triangles[:, [0, 1, 2]].ravel(), fluid.triangles[:, [1, 2, 0]].ravel()
        n = len(fluid.vertices_mm)
        parts, _ = connected_components(coo_matrix((np.ones(len(a)), (a, b)), shape=(n, n)))
        assert parts == 1


def test_walls_are_never_entered_and_nothing_left_is_said():
    rest, origin, exact = _torus()
    x, _, _, _ = _grid(22.0)
    cavity = _build(rest, origin, 0.45 * exact, walls=np.clip(-x, -4, 4))
    assert cavity.surface.bounds_mm[1, 0] < 0.05
    with pytest.raises(EmptyStructureError, match="no joint cavity"):
        _build(rest, origin, exact, walls=np.full(rest.shape, np.float32(-1.0)))


def test_an_effusion_opens_the_resting_cavity():
    rest, origin, exact = _torus()
    cavity = _build(rest, origin, exact, effusion_ml=5.0)
    assert cavity.resting_volume_ml == pytest.approx(exact + 5.0, rel=1e-3)
    assert cavity.surface.volume_ml == pytest.approx(exact + 5.0, rel=1e-3)
