"""The triangle tree against brute force, closed forms and laws."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st

from injectplan.kernels._jit import kernel, local_floats, set_threads
from injectplan.kernels._wide import (
    lowest,
    lowest_plain,
    point_boxes,
    point_boxes_plain,
    ray_boxes,
    ray_boxes_plain,
)
from injectplan.kernels.bvh import (
    all_hits,
    build_bvh,
    contains,
    first_hits,
    nearest_points,
    self_check,
    signed_distances,
)
from oracles_kernels import (
    box_distance,
    brute_crossings,
    brute_distance,
    random_soup,
    rays_at,
    rotation,
    winding_number,
)


def _closed(seed=0):
    """Three closed bodies that overlap: a ball, a box and a ring."""
    ball = trimesh.creation.icosphere(3, radius=5.0)
    box = trimesh.creation.box((6.0, 4.0, 3.0))
    ring = trimesh.creation.torus(6.0, 1.5)
    box.apply_translation([4.0, 1.0, 0.5])
    return np.concatenate([ball.vertices, box.vertices, ring.vertices]), np.concatenate(
        [
            ball.faces,
            box.faces + len(ball.vertices),
            ring.faces + len(ball.vertices) + len(box.vertices),
        ]
    )


@pytest.fixture(scope="module")
def bodies():
    vertices, faces = _closed()
    return vertices, faces, build_bvh(vertices, faces)


@pytest.mark.parametrize(("count", "size"), [(1, 1.0), (4, 1.0), (5, 1.0), (300, 0.3), (300, 6.0)])
def test_all_crossings_of_a_soup_are_those_of_brute_force(count, size):
    vertices, faces = random_soup(count, count, size)
    tree = build_bvh(vertices, faces)
    assert self_check(tree) == []
    origins, way = rays_at(1, 400, vertices.min(0), vertices.max(0))
    offsets, ts, which = all_hits(tree, origins, way)
    first, triangle = first_hits(tree, origins, way)
    met = 0
    for i in range(len(origins)):
        want_ts, want_which = brute_crossings(vertices, faces, origins[i], way[i])
        part = slice(offsets[i], offsets[i + 1])
        np.testing.assert_array_equal(which[part], want_which)
        np.testing.assert_allclose(ts[part], want_ts, atol=1e-10)
        assert triangle[i] == (want_which[0] if len(want_which) else -1)
        assert np.isnan(first[i]) if not len(want_ts) else first[i] == ts[offsets[i]]
        met += len(want_ts)
    assert met > 0


def test_far_limits_hits_and_leaves_the_nearer_ones(bodies):
    _, _, tree = bodies
    origins, way = rays_at(2, 2000, np.full(3, -8.0), np.full(3, 8.0))
    offsets, ts, _ = all_hits(tree, origins, way)
    far = 15.0
    near_offsets, near_ts, _ = all_hits(tree, origins, way, far)
    np.testing.assert_array_equal(near_ts, ts[ts <= far])
    first, triangle = first_hits(tree, origins, way, far)
    assert np.all(np.isnan(first) == (np.diff(near_offsets) == 0))
    assert np.all((triangle < 0) == np.isnan(first))
    assert 0 < len(near_ts) < len(ts)
    assert offsets[-1] == len(ts)


def test_more_crossings_than_the_buffer_holds_come_out_whole():
    sheets = 100
    z = np.repeat(np.arange(sheets, dtype=float), 3)
    vertices = np.c_[np.tile([[-9.0, -9.0], [9.0, -9.0], [0.0, 9.0]], (sheets, 1)), z]
    tree = build_bvh(vertices, np.arange(3 * sheets).reshape(-1, 3))
    offsets, ts, which = all_hits(tree, [[0.1, 0.2, -1.0]] * 3, [[0.0, 0.0, 1.0]] * 3)
    np.testing.assert_array_equal(np.diff(offsets), sheets)
    np.testing.assert_array_equal(ts.reshape(3, -1)[1], np.arange(sheets) + 1.0)
    np.testing.assert_array_equal(which.reshape(3, -1)[2], np.arange(sheets))


@pytest.mark.parametrize("way", [(0, 0, 1), (0, 0, -1), (1, 0, 0), (0, -1, 0), (1, 1, 1), (1, -1, 0)])
def test_rays_through_edges_and_vertices_of_a_lattice_count_once(way):
    """A closed box whose faces are unit squares cut in two: whole coordinates lie on edges and vertices."""
    n = 6
    grid = np.stack(np.meshgrid(np.arange(n + 1), np.arange(n + 1), indexing="ij"), -1).reshape(-1, 2)
    index = np.arange((n + 1) ** 2).reshape(n + 1, n + 1)
    low, high = index[:-1, :-1].ravel(), index[1:, 1:].ravel()
    halves = np.concatenate(
        [np.c_[low, index[1:, :-1].ravel(), high], np.c_[low, high, index[:-1, 1:].ravel()]]
    )
    vertices, faces = [], []
    for axis in range(3):
        for side in (0, n):
            vertices.append(np.insert(grid.astype(float), axis, side, axis=1))
            faces.append(halves + (2 * axis + (side > 0)) * len(grid))
    tree = build_bvh(np.concatenate(vertices), np.concatenate(faces))
    inner = np.stack(np.meshgrid(*[np.arange(2, 2 * n - 1) / 2.0] * 3, indexing="ij"), -1).reshape(-1, 3)
    direction = np.array(way, float)
    offsets, ts, _ = all_hits(tree, inner, np.broadcast_to(direction, inner.shape))
    np.testing.assert_array_equal(np.diff(offsets), 1)
    with np.errstate(divide="ignore"):
        leaves = np.where(
            direction > 0, (n - inner) / direction, np.where(direction < 0, -inner / direction, np.inf)
        )
    np.testing.assert_allclose(ts, leaves.min(axis=1), rtol=1e-15)
    outside = inner - 20.0 * direction
    offsets, _, _ = all_hits(tree, outside, np.broadcast_to(direction, inner.shape))
    np.testing.assert_array_equal(np.diff(offsets), 2)


def test_rays_to_every_vertex_and_edge_of_a_convex_body_leave_it_once():
    ball = trimesh.creation.icosphere(4, radius=7.0)
    tree = build_bvh(ball.vertices, ball.faces)
    aims = np.concatenate([ball.vertices, ball.vertices[ball.edges_unique].mean(axis=1)])
    rng = np.random.default_rng(3)
    for origin in ([0.0, 0.0, 0.0], [1.0, 2.0, -3.0], rng.uniform(-3, 3, 3)):
        way = aims - origin
        offsets, ts, _ = all_hits(tree, np.broadcast_to(origin, aims.shape), way)
        np.testing.assert_array_equal(np.diff(offsets), 1)
        np.testing.assert_allclose(ts, 1.0, atol=1e-12)


def test_a_closed_surface_is_crossed_an_even_number_of_times(bodies):
    """50 thousand lines, aimed at vertices, along edges, in the planes of faces and along the axes."""
    vertices, faces, tree = bodies
    rng = np.random.default_rng(4)
    n = 10_000
    origins, way = rays_at(5, n, vertices.min(0), vertices.max(0))
    chosen = faces[rng.integers(0, len(faces), n)]
    a, b, c = (vertices[chosen[:, k]] for k in range(3))
    axis = np.eye(3)[rng.integers(0, 3, n)] * rng.choice([-1.0, 1.0], (n, 1))
    f = rng.uniform(-1, 2, (n, 2))
    flat = (b - a) * f[:, :1] + (c - a) * f[:, 1:]
    edge = b - a
    for o, d in (
        (origins, way),
        (origins, vertices[rng.integers(0, len(vertices), n)] - origins),
        (a - 40.0 * axis, axis),
        (a - 200.0 * edge, edge),
        (a - 30.0 * flat / np.linalg.norm(flat, axis=1, keepdims=True), flat),
    ):
        offsets, _, _ = all_hits(tree, o, d)
        assert np.all(np.diff(offsets) % 2 == 0)


def test_nearest_point_is_that_of_brute_force():
    vertices, faces = random_soup(7, 200, 2.0)
    faces = np.concatenate([faces, [[0, 0, 0], [1, 1, 2]]])  # a point and a segment
    tree = build_bvh(vertices, faces)
    where = np.random.default_rng(8).uniform(-14, 14, (300, 3))
    distance, nearest, triangle = nearest_points(tree, where)
    want = [brute_distance(vertices, faces, p) for p in where]
    np.testing.assert_allclose(distance, want, atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(nearest - where, axis=1), distance, atol=1e-12)
    on_it = [brute_distance(vertices, faces[t : t + 1], p) for t, p in zip(triangle, nearest, strict=True)]
    np.testing.assert_allclose(on_it, 0.0, atol=1e-12)
    limited, _, which = nearest_points(tree, where, 1.5)
    np.testing.assert_array_equal(np.isnan(limited), distance > 1.5)
    np.testing.assert_array_equal(which < 0, distance > 1.5)


def test_inside_agrees_with_the_winding_number(bodies):
    vertices, faces, _ = bodies
    ball = trimesh.creation.torus(6.0, 2.0)
    where = np.random.default_rng(9).uniform(-9, 9, (2000, 3))
    winding = winding_number(ball.vertices, ball.faces, where)
    assert np.abs(winding - np.round(winding)).max() < 1e-9
    np.testing.assert_array_equal(
        contains(build_bvh(ball.vertices, ball.faces), where), np.round(winding) == 1
    )
    # overlapping bodies: inside an odd number of them
    odd = np.round(winding_number(vertices, faces, where[:500])) % 2 == 1
    np.testing.assert_array_equal(contains(build_bvh(vertices, faces), where[:500]), odd)


def test_signed_distance_of_a_box_is_the_closed_form():
    """Most points are nearest to an edge or a vertex, where the normal of a face may give the wrong sign."""
    half = np.array([3.0, 2.0, 1.0])
    box = trimesh.creation.box(2 * half)
    where = np.random.default_rng(10).uniform(-6, 6, (20_000, 3))
    where[:1000] = half * np.random.default_rng(11).uniform(1.0, 1.001, (1000, 3))
    got = signed_distances(build_bvh(box.vertices, box.faces), where)
    np.testing.assert_allclose(got, box_distance(where, half), atol=1e-12)


def test_inside_of_a_needle_thin_spike_is_right():
    """A cone of 0.1° opening: all faces meet at its tip, seen from points just off it."""
    cone = trimesh.creation.cone(radius=0.1, height=100.0, sections=64)
    tree = build_bvh(cone.vertices, cone.faces)
    z = np.linspace(1.0, 99.99, 500)
    r = 0.1 * (1 - z / 100.0) * np.cos(np.pi / 64)
    assert contains(tree, np.c_[0.99 * r, 0 * r, z]).all()
    assert not contains(tree, np.c_[1.02 * r / np.cos(np.pi / 64), 0 * r, z]).any()
    assert not contains(tree, [[0.0, 0.0, 100.0 + 1e-9], [1e-9, 1e-9, 100.001]]).any()


@pytest.mark.parametrize("shape", ["same", "points", "segments", "spread", "far", "tiny", "huge"])
def test_degenerate_input_gives_a_sound_tree(shape):
    n = 100_000 if shape == "same" else 2000
    triangle = np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    rng = np.random.default_rng(12)
    corners = {
        "same": np.broadcast_to(triangle, (n, 3, 3)),
        "points": np.repeat(rng.normal(size=(n, 1, 3)), 3, axis=1),
        "segments": np.repeat(rng.normal(size=(n, 2, 3)), [1, 2], axis=1),
        "spread": triangle + np.geomspace(1e-3, 1e9, n)[:, None, None],
        "far": triangle + rng.normal(size=(n, 1, 3)) + 1e7,
        "tiny": 1e-12 * (triangle + 3 * rng.normal(size=(n, 1, 3))),
        "huge": 1e25 * (triangle + 3 * rng.normal(size=(n, 1, 3))),
    }[shape]
    vertices, faces = corners.reshape(-1, 3), np.arange(3 * n).reshape(-1, 3)
    tree = build_bvh(vertices, faces)
    assert self_check(tree) == []
    if shape in ("points", "segments"):
        origins, way = rays_at(13, 300, vertices.min(0), vertices.max(0))
        assert all_hits(tree, origins, way)[0][-1] == 0
        assert nearest_points(tree, corners[:50, 1])[0].max() < 1e-14
        return
    middle = corners.mean(axis=1)[:: n // 20]
    size = np.linalg.norm(corners[0, 1] - corners[0, 0])
    origins = middle + size * np.array([0.01, 0.02, 3.0])
    way = np.broadcast_to([0.0, 0.0, -1.0], origins.shape)
    offsets, ts, which = all_hits(tree, origins, way)
    for i in range(len(origins) if shape != "same" else 1):
        _, want = brute_crossings(vertices / size, faces, origins[i] / size, way[i])
        assert sorted(which[offsets[i] : offsets[i + 1]]) == sorted(want)
    assert np.all(np.diff(offsets) >= 1)
    assert np.isfinite(ts).all()
    assert np.isfinite(first_hits(tree, origins, way)[0]).all()
    assert np.isfinite(nearest_points(tree, origins)[0]).all()


def test_a_ray_that_starts_on_the_surface_crosses_it_at_zero():
    tree = build_bvh([[0, 0, 0], [4, 0, 0], [0, 4, 0]], [[0, 1, 2]])
    for z in (1.0, -1.0):
        np.testing.assert_array_equal(all_hits(tree, [[1, 1, 0]], [[0.3, 0.2, z]])[1], [0.0])
    assert len(all_hits(tree, [[1, 1, 1e-9]], [[0.3, 0.2, 1.0]])[1]) == 0
    # a ray within the triangle's own plane does not cross it
    assert len(all_hits(tree, [[-1, 1, 0]], [[1.0, 0.0, 0.0]])[1]) == 0


def test_nothing_is_hit_where_there_is_nothing():
    tree = build_bvh(np.zeros((0, 3)), np.zeros((0, 3), int))
    assert self_check(tree) == []
    origins, way = np.zeros((3, 3)), np.eye(3)
    assert np.isnan(first_hits(tree, origins, way)[0]).all()
    assert all_hits(tree, origins, way)[0].tolist() == [0, 0, 0, 0]
    assert np.isnan(nearest_points(tree, origins)[0]).all()
    assert not contains(tree, origins).any()
    assert all_hits(build_bvh(*random_soup(0, 3)), np.zeros((0, 3)), np.zeros((0, 3)))[0].tolist() == [0]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda t: build_bvh([[0, 0, np.nan]] * 3, [[0, 1, 2]]), "not finite"),
        (lambda t: build_bvh(np.eye(3), [[0, 1, 3]]), "vertices 0 to 3 of 3"),
        (lambda t: build_bvh(1e31 * np.eye(3), [[0, 1, 2]]), "at most 1e\\+30"),
        (lambda t: first_hits(t, [[0, 0, 0]], [[0, 0, 0]]), "zero vector"),
        (lambda t: first_hits(t, [[0, 0, 0]], [[0, 0, np.inf]]), "not finite"),
        (lambda t: all_hits(t, [[0, 0, 0]] * 2, [[0, 0, 1]]), "2 origins and 1"),
        (lambda t: contains(t, [[0, 0]]), "shape"),
    ],
)
def test_what_cannot_be_asked_is_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call(build_bvh(np.eye(3), [[0, 1, 2]]))


@settings(max_examples=25, deadline=None)
@given(
    quaternion=st.tuples(*[st.floats(-1, 1)] * 4).filter(lambda q: sum(x * x for x in q) > 0.01),
    shift=st.tuples(*[st.floats(-500, 500)] * 3),
)
def test_rigid_motion_of_all_changes_nothing(bodies, quaternion, shift):
    vertices, faces, tree = bodies
    turn, shift = rotation(quaternion), np.array(shift)
    origins, way = rays_at(14, 300, vertices.min(0), vertices.max(0))
    moved = build_bvh(vertices @ turn.T + shift, faces)
    offsets, ts, which = all_hits(tree, origins, way)
    moved_offsets, moved_ts, moved_which = all_hits(moved, origins @ turn.T + shift, way @ turn.T)
    np.testing.assert_array_equal(offsets, moved_offsets)
    np.testing.assert_allclose(ts, moved_ts, atol=1e-9)
    np.testing.assert_array_equal(np.sort(which), np.sort(moved_which))
    np.testing.assert_allclose(
        signed_distances(moved, origins @ turn.T * 0.5 + shift),
        signed_distances(tree, origins * 0.5),
        atol=1e-9,
    )


def test_one_thread_or_two_the_same_bytes(bodies):
    vertices, _, tree = bodies
    origins, way = rays_at(15, 40_000, vertices.min(0), vertices.max(0))
    results = []
    for count in (1, 2):
        set_threads(count)
        answers = (
            *all_hits(tree, origins, way),
            *first_hits(tree, origins, way),
            *nearest_points(tree, origins),
        )
        results.append([answer.tobytes() for answer in answers])
    set_threads(None)
    assert results[0] == results[1]


def test_self_check_names_what_is_wrong(bodies):
    _, _, tree = bodies
    box, child, triangle = tree.box.copy(), tree.child.copy(), tree.triangle.copy()
    node, slot = np.argwhere(child < -1)[0]
    box[node, 3, slot] -= 1.0
    assert "does not hold" in self_check(tree._replace(box=box))[0]
    child[node, slot] = -1
    assert "in no leaf" in self_check(tree._replace(child=child))[-1]
    triangle[0] = triangle[1]
    assert "no permutation" in self_check(tree._replace(triangle=triangle))[0]
    child = tree.child.copy()
    inner = np.argwhere(child > 0)
    child[tuple(inner[0])] = child[tuple(inner[1])]
    assert any("no parent or by two" in line for line in self_check(tree._replace(child=child)))


@kernel
def _ray_boxes_of(box, node, p, inverse, rows, far, out):
    entry = local_floats(8)
    bits = ray_boxes(
        box, node, p[0], p[1], p[2], inverse[0], inverse[1], inverse[2], rows[0], rows[1], rows[2], far, entry
    )
    out[:] = entry
    return bits


@kernel
def _point_boxes_of(box, node, p, limit, out):
    entry = local_floats(8)
    bits = point_boxes(box, node, p[0], p[1], p[2], limit, entry)
    out[:] = entry
    return bits


@kernel
def _lowest_of(bits):
    return lowest(bits)


def test_eight_boxes_at_once_are_eight_boxes_one_by_one(bodies):
    tree = bodies[2]
    rng = np.random.default_rng(16)
    for _ in range(300):
        node, far = int(rng.integers(0, len(tree.box))), float(rng.uniform(1, 20))
        p, way = rng.uniform(-9, 9, 3), rng.normal(size=3)
        rows = np.where(way > 0, [0, 1, 2], [3, 4, 5]).astype(np.int64)
        got, want = np.empty(8), np.empty(8)
        bits = _ray_boxes_of(tree.box, node, p, 1 / way, rows, far, got)
        assert bits == ray_boxes_plain(tree.box, node, *p, *(1 / way), *rows, far, want)
        np.testing.assert_array_equal(got, want)
        bits = _point_boxes_of(tree.box, node, p, far, got)
        assert bits == point_boxes_plain(tree.box, node, *p, far, want)
        np.testing.assert_allclose(got, want, rtol=1e-14)
    assert (
        [_lowest_of(b) for b in (1, 6, 8, 128)] == [lowest_plain(b) for b in (1, 6, 8, 128)] == [0, 1, 3, 7]
    )
