"""The triangle tree beside what a user would pick instead, all on the same rays in one run."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from injectplan.kernels.bvh import build_bvh, contains, nearest_points
from injectplan.kernels.field import distance_field, sample_many
from peers.raycasters import PEERS
from scenarios import points_around, rays_through


@functools.cache
def _caster(peer, name, find):
    return PEERS[peer][0](find(name))


def _run(benchmark, scene, peer, name, kind, call):
    from scenarios import scene as find

    mesh = scene(name)
    caster = _caster(peer, name, find)
    rays = rays_through(mesh, PEERS[peer][1], kind)
    benchmark.group = f"{call}, {name}, {kind}"
    benchmark.extra_info.update(items=len(rays.origins_mm), triangles=len(mesh.triangles), peer=peer)
    answer = benchmark.pedantic(getattr(caster, call), args=(rays,), rounds=3, warmup_rounds=1)
    if call == "all_hits":
        benchmark.extra_info["crossings_per_ray"] = float(np.mean(answer))
        benchmark.extra_info["odd_rays"] = float(np.mean(answer % 2))


@pytest.mark.parametrize("peer", PEERS)
@pytest.mark.parametrize(("name", "kind"), [("knee", "random"), ("knee", "fan"), ("balls", "core")])
def test_all_hits(benchmark, scene, peer, name, kind):
    _run(benchmark, scene, peer, name, kind, "all_hits")


@pytest.mark.parametrize("peer", [p for p in PEERS if p != "vtkOBBTree"])
@pytest.mark.parametrize(("name", "kind"), [("knee", "random"), ("knee", "fan")])
def test_first_hits(benchmark, scene, peer, name, kind):
    _run(benchmark, scene, peer, name, kind, "first_hits")


@pytest.mark.parametrize("name", ["knee", "balls"])
def test_build(benchmark, scene, name):
    mesh = scene(name)
    benchmark.group = f"build, {name}"
    benchmark.extra_info.update(items=len(mesh.triangles))
    benchmark.pedantic(build_bvh, args=mesh, rounds=3, warmup_rounds=1)


@pytest.mark.parametrize("call", [nearest_points, contains])
def test_points(benchmark, scene, call):
    mesh = scene("knee")
    where = points_around(mesh, 100_000)
    benchmark.group = "points, knee"
    benchmark.extra_info.update(items=len(where))
    benchmark.pedantic(call, args=(build_bvh(*mesh), where), rounds=3, warmup_rounds=1)


def test_distance_field(benchmark, scene):
    mesh = scene("knee")
    low, high = mesh.vertices_mm.min(axis=0) - 5.0, mesh.vertices_mm.max(axis=0) + 5.0
    shape = tuple(int(n) for n in np.ceil(high - low) + 1)
    benchmark.group = "field of 1 mm, knee"
    benchmark.extra_info.update(items=int(np.prod(shape)))
    benchmark.pedantic(
        distance_field, args=(build_bvh(*mesh), low, 1.0, shape, 8.0), rounds=3, warmup_rounds=1
    )


def test_sampling(benchmark, scene):
    mesh = scene("balls")
    field = distance_field(build_bvh(*mesh), [-45] * 3, 1.0, (91, 91, 91), 3.0)
    where = points_around(mesh, 1_000_000)
    benchmark.group = "sampling a field"
    benchmark.extra_info.update(items=len(where))
    benchmark.pedantic(sample_many, args=(field, where), rounds=3, warmup_rounds=1)
