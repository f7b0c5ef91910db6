"""Subregions on bodies whose regions have a closed-form area, and on the phantoms in any pose and mirror."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from injectplan.anatomy.axes import joint_axes
from injectplan.anatomy.build import map_all_cartilage, segmented
from injectplan.anatomy.model import OUTSIDE, JointAxes
from injectplan.anatomy.regions import DOME, FEMORAL, GUTTERS, HIP, regions_of
from injectplan.phantoms import knee_cartilage, make_phantom
from injectplan.structures import structure
from oracles_anatomy import plain_axes

LEFT = np.array([-1.0, 1.0, 1.0])


def turned(axes: JointAxes, pose, translation_mm=0.0, *, side=None) -> JointAxes:
    return JointAxes(
        side=side or axes.side, origin_mm=pose @ axes.origin_mm + translation_mm, lateral=pose @ axes.lateral,
        anterior=pose @ axes.anterior, proximal=pose @ axes.proximal,
    )  # fmt: skip


def shares(name, points, normals, areas, axes):
    """Area of each region as a share of the whole, by name."""
    region, names = regions_of(name, points, normals, areas, np.ones(len(points), bool), axes)
    assert region.min() >= 1
    assert region.max() <= len(names)
    return {n: areas[region == i].sum() / areas.sum() for i, n in enumerate(names, start=1)}


def everywhere(name, points, normals, areas, expected, abs_=0.01):
    """Hold the shares against the expected ones: as given, in random poses, and mirrored on a left leg."""
    for seed in (None, 1, 2):
        pose = np.eye(3) if seed is None else Rotation.random(random_state=seed).as_matrix()
        for side, mirror in (("right", np.ones(3)), ("left", LEFT)):
            axes = turned(plain_axes(side), pose)
            found = shares(name, (points * mirror) @ pose.T, (normals * mirror) @ pose.T, areas, axes)
            assert found.keys() == expected.keys()
            for region, share in expected.items():
                assert found[region] == pytest.approx(share, abs=abs_), region


def roller(radius, half_width, low_deg, high_deg, *, n=241):
    """A roller about the lateral axis: points, normals, areas; 0 degrees is up, positive forwards."""
    angle = np.radians(low_deg + (np.arange(n) + 0.5) / n * (high_deg - low_deg))
    across = (np.arange(n) + 0.5) / n * 2 * half_width - half_width
    a, x = (v.ravel() for v in np.meshgrid(angle, across, indexing="ij"))
    normals = np.column_stack([np.zeros_like(a), np.sin(a), np.cos(a)])
    points = radius * normals + np.column_stack([x, np.zeros_like(a), np.zeros_like(a)])
    return points, normals, np.ones(len(a))


@pytest.mark.parametrize("pointed_deg", [0.0, 20.0, 45.0])
def test_a_roller_has_nine_equal_zones_however_the_foot_points(pointed_deg):
    points, normals, areas = roller(20.7, 14.0, -55.0 + pointed_deg, 60.0 + pointed_deg)
    everywhere("talar_cartilage", points, normals, areas, dict.fromkeys(DOME, 1 / 9))
    region, _ = regions_of("talar_cartilage", points, normals, areas, np.ones(len(areas), bool), plain_axes())
    turn = Rotation.from_euler("x", pointed_deg, degrees=True).as_matrix()
    front_medial, back_lateral = (points[region == i] @ turn.T for i in (1, 9))
    assert front_medial[:, 0].max() < -4.0
    assert back_lateral[:, 0].min() > 4.0
    assert front_medial[:, 1].min() > 0 > back_lateral[:, 1].max()


def test_what_faces_the_malleoli_is_no_zone_of_the_dome():
    points, normals, areas = roller(20.7, 14.0, -55.0, 60.0)
    y, z = (v.ravel() for v in np.meshgrid(np.linspace(-12, 12, 40), np.linspace(6, 18, 40)))
    walls = [np.column_stack([np.full(1600, s * 14.0), y, z]) for s in (-1.0, 1.0)]
    sideways = [np.tile([s, 0.0, 0.0], (1600, 1)) for s in (-1.0, 1.0)]
    everywhere(
        "talar_cartilage", np.vstack([points, *walls]), np.vstack([normals, *sideways]),
        np.concatenate([areas, np.full(1600, 2.0), np.full(1600, 4.0)]),
        dict.fromkeys(DOME, len(areas) / 9 / (len(areas) + 9600))
        | dict(zip(GUTTERS, (3200 / (len(areas) + 9600), 6400 / (len(areas) + 9600)), strict=True)),
        abs_=3e-3,  # rows of 241 lines
    )  # fmt: skip


def disc(a, b, *, n=401):
    """A flat ellipse facing up, half axes a across and b along."""
    x, y = (v.ravel() for v in np.meshgrid(np.linspace(-a, a, n), np.linspace(-b, b, n)))
    kept = (x / a) ** 2 + (y / b) ** 2 <= 1.0
    points = np.column_stack([x[kept], y[kept], np.zeros(kept.sum())])
    return points, np.tile([0.0, 0.0, 1.0], (len(points), 1)), np.ones(len(points))


def middle_third():
    """Share of an ellipse between its thirds of length: (2/π)(asin u + u sqrt(1-u²)) for u = 1/3."""
    u = 1.0 / 3.0
    return 2.0 / math.pi * (math.asin(u) + u * math.sqrt(1.0 - u * u))


@pytest.mark.parametrize("flexion_deg", [0.0, 30.0, 90.0, 120.0])
def test_a_plateau_is_cut_into_thirds_of_its_length_however_the_knee_is_bent(flexion_deg):
    points, normals, areas = disc(14.0, 22.0)
    bend = Rotation.from_euler("x", -flexion_deg, degrees=True).as_matrix()
    rest = 0.5 * (1.0 - middle_third())
    for side in ("medial", "lateral"):
        everywhere(
            f"{side}_tibial_cartilage", points @ bend.T + [0, 3, -5], normals @ bend.T, areas,
            {f"{side}_posterior": rest, f"{side}_central": middle_third(), f"{side}_anterior": rest},
        )  # fmt: skip
    region, names = regions_of(
        "medial_tibial_cartilage", points @ bend.T, normals @ bend.T, areas, np.ones(len(areas), bool),
        plain_axes(),
    )  # fmt: skip
    assert points[region == 1 + names.index("medial_anterior"), 1].min() > 6.9


def test_both_plateaus_under_one_label_are_told_apart():
    points, normals, areas = disc(10.0, 20.0)
    both = np.vstack([points - np.array([14, 0, 0]), points + np.array([14, 0, 0])])
    rest = 0.25 * (1.0 - middle_third())
    expected = {
        f"{side}_{part}": 0.5 * middle_third() if part == "central" else rest
        for side in ("medial", "lateral")
        for part in ("posterior", "central", "anterior")
    }
    everywhere("tibial_cartilage", both, np.vstack([normals] * 2), np.tile(areas, 2), expected)


def test_a_femoral_head_s_zones_are_quarters_about_the_medial_lateral_axis():
    rng = np.random.default_rng(4)
    normals = rng.normal(size=(60_000, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    everywhere(
        "femoral_head_cartilage", 24.0 * normals, normals, np.ones(len(normals)), dict.fromkeys(HIP, 0.25)
    )
    region, names = regions_of(
        "acetabular_cartilage", 24.0 * normals, normals, np.ones(len(normals)), normals[:, 2] > -0.7,
        plain_axes(),
    )  # fmt: skip
    assert normals[region == 1 + names.index("superior"), 2].min() > 0.0
    assert normals[region == 1 + names.index("anterior"), 1].min() > 0.0


def femur_of_rollers():
    """Two condyles and a groove of one radius: 22 mm, notch from 30 degrees ahead of straight down."""
    points, normals, areas = roller(22.0, 30.0, 70.0, 290.0, n=441)  # 180 is straight down
    behind = np.degrees(np.arctan2(-points[:, 1], -points[:, 2]))  # 0 down, 90 behind
    kept = (np.abs(points[:, 0]) > 8.0) | (behind < -30.0)
    return points[kept], normals[kept], areas[kept], behind[kept]


def test_a_femur_of_rollers_is_divided_at_the_notch_and_behind():
    points, normals, areas, behind = femur_of_rollers()
    row = np.select([behind <= -30.0, behind <= 50.0], [0, 1], 2)
    cell = 2 * row + (points[:, 0] > 0)
    expected = {name: float((cell == i).mean()) for i, name in enumerate(FEMORAL)}
    everywhere("femoral_cartilage", points, normals, areas, expected, abs_=0.015)


def test_a_patella_s_facets_meet_at_its_slanting_ridge():
    n = 200
    x, z = (v.ravel() for v in np.meshgrid(np.linspace(-22, 22, n), np.linspace(-15, 15, n)))
    kept = (x / 22) ** 2 + (z / 15) ** 2 <= 1.0
    x, z = x[kept], z[kept]
    ridge = -3.0 + 0.1 * z  # the lateral facet is the broader
    points = np.column_stack([x, -8.0 + 0.4 * np.abs(x - ridge), z])
    normals = np.tile([0.0, -1.0, 0.0], (len(x), 1))
    share = float((x <= ridge).mean())
    everywhere(
        "patellar_cartilage", points, normals, np.ones(len(x)),
        {"medial_facet": share, "lateral_facet": 1.0 - share},
    )  # fmt: skip


def measured(surfaces, axes):
    structures = {n: segmented(n, s) for n, s in surfaces.items()}  # unrepaired: a repair has its own grid
    return structures, map_all_cartilage(structures, axes)[0]


def axes_of(phantom):
    bones = {n: s for n, s in phantom.surfaces.items() if structure(n).risk == "bone"}
    return joint_axes(phantom.kind, phantom.side, bones)


@pytest.mark.parametrize(
    ("kind", "parameters"),
    [("knee", {"flexion_deg": 30.0}), ("hip", {}), ("ankle", {"plantarflexion_deg": 15.0})],
)
def test_a_phantom_s_regions_stay_with_their_vertices_in_any_pose_and_mirror(kind, parameters):
    phantom = make_phantom(kind, {**parameters, "spacing_mm": 4.0, "slice_mm": 6.0})
    axes = axes_of(phantom)
    structures, maps = measured(phantom.surfaces, axes)
    pose = Rotation.from_euler("xyz", [25.0, -40.0, 70.0], degrees=True).as_matrix()
    shift = np.array([30.0, -20.0, 500.0])
    assert len(maps) >= 2
    for name, found in maps.items():
        bone = structures[found.bone].surface
        here = (bone.vertex_areas_mm2, found.state != OUTSIDE)
        assert len(np.unique(found.region[here[1]])) >= len(found.regions) - 1  # the cup is open below
        for turn, side, offset in ((pose, "right", shift), (np.diag(LEFT), "left", 0.0)):
            region, names = regions_of(
                name, bone.vertices_mm @ turn.T + offset, bone.vertex_normals @ turn.T, *here,
                turned(axes, turn, offset, side=side),
            )  # fmt: skip
            assert names == found.regions
            assert (region != found.region).sum() <= 3, name  # on a border, where rounding decides


def test_the_phantom_knee_s_zones_fall_into_the_regions_of_their_names():
    phantom = make_phantom("knee", {"spacing_mm": 4.0, "slice_mm": 6.0})
    structures, maps = measured(phantom.surfaces, axes_of(phantom))
    for zone, cartilage, region in (
        ("medial_condyle", "femoral_cartilage", "medial_central"),
        ("lateral_condyle", "femoral_cartilage", "lateral_central"),
    ):
        found = maps[cartilage]
        bone = structures[found.bone].surface
        gap = np.linalg.norm(bone.vertices_mm - knee_cartilage.ZONE_CENTER[zone], axis=1)
        near = (found.state != OUTSIDE) & (gap < 4.0)
        assert near.sum() > 5
        assert {found.regions[i - 1] for i in found.region[near]} == {region}
    found = maps["femoral_cartilage"]
    bone = structures["femur"].surface
    gap = np.linalg.norm(bone.vertices_mm - knee_cartilage.ZONE_CENTER["trochlea"], axis=1)
    near = (found.state != OUTSIDE) & (gap < 6.0)
    assert {found.regions[i - 1] for i in found.region[near]} <= {"medial_trochlea", "lateral_trochlea"}
