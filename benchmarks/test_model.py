"""The joint model of a real knee: surfaces and thickness, and the whole."""

from __future__ import annotations

from injectplan.anatomy import build_joint, joint_axes, structures_of
from injectplan.anatomy.build import map_all_cartilage


def test_surfaces_and_thickness(benchmark, scene) -> None:
    labels = scene("knee_labels")

    def measure():
        solids = structures_of(labels)
        axes = joint_axes("knee", "right", {n: s.surface for n, s in solids.items() if s.risk == "bone"})
        return map_all_cartilage(solids, axes)

    benchmark.group = "model"
    benchmark.extra_info.update(items=1, peer="injectplan")
    maps, _ = benchmark.pedantic(measure, rounds=3, warmup_rounds=1)
    assert len(maps) == 4


def test_whole_model(benchmark, scene) -> None:
    labels = scene("knee_labels")
    benchmark.group = "model"
    benchmark.extra_info.update(items=1, peer="injectplan, with completion and cavity")
    joint = benchmark.pedantic(
        lambda: build_joint(labels, kind="knee", side="right"), rounds=2, warmup_rounds=1
    )
    assert "skin" in joint.structures
