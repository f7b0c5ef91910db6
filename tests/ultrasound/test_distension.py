"""Laws of a distended joint: fluid pushes tissue aside and lifts the skin, bone stays."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from injectplan.anatomy.model import FillState
from injectplan.frames import Pose
from injectplan.imaging.values import Surface
from injectplan.instruments import probe_model
from injectplan.kernels.bvh import build_bvh, contains, nearest_points
from injectplan.ultrasound import AcousticScene, Display, Distension, distend, simulate_frame
from oracles_ultrasound import box, sphere
from ultrasound.test_pressure import slab

PROBE = replace(probe_model("linear-12"), lines=64, elevation_planes=3, compounding_deg=())
DEEP = 14.0


def lens(half_thickness):
    """A flat recess under the tendon; filled it grows towards the skin alone, as bone lies below."""
    ball = sphere(9.0, [0.0, 0.0, 0.0], rings=32)
    v = ball.vertices_mm * [1.0, 1.0, half_thickness / 9.0]
    v[:, 2] = np.where(v[:, 2] < 0.0, v[:, 2], v[:, 2] * 0.2)
    return Surface(v + np.array([0.0, 0.0, DEEP]), ball.triangles)


SOLIDS = {
    "skin": (slab(0.0, step=1.0), "skin", 10),
    "subcutaneous_fat": (slab(2.0, step=1.0), "subcutaneous_fat", 20),
    "tendon": (slab(7.0, step=1.0), "tendon", 60), "fat_pad": (slab(10.0, step=1.0), "fat", 62),
    "recess": (lens(1.0), "synovial_fluid", 75), "femur": (slab(15.0, step=1.0), "cortical_bone", 90),
}  # fmt: skip
FULL = FillState(injected_ml=1.0, fluid=lens(6.0))


@pytest.fixture(scope="module")
def full():
    return distend(AcousticScene.from_solids(SOLIDS, PROBE, background="air"), FULL)


def named(scene):
    return dict(zip(scene.names, scene.shapes.surfaces, strict=False))


def test_without_fluid_nothing_moves():
    scene = AcousticScene.from_solids(SOLIDS, PROBE, background="air")
    for state in (FillState(), FillState(injected_ml=1.0, fluid=SOLIDS["recess"][0])):
        same = named(distend(scene, state))
        for name, (surface, _, _) in SOLIDS.items():
            assert np.abs(same[name].vertices_mm - surface.vertices_mm).max() < 0.05, name


def test_bone_and_the_resting_fluid_stay(full):
    after = named(full)
    for name in ("femur", "recess"):
        assert np.array_equal(after[name].vertices_mm, SOLIDS[name][0].vertices_mm)


@pytest.mark.parametrize("name", ["tendon", "fat_pad"])
def test_what_lay_outside_the_cavity_lies_outside_the_fluid(full, name):
    """Pushed aside and not covered: to the fluid's facets."""
    before, after = SOLIDS[name][0].vertices_mm, named(full)[name].vertices_mm
    tree = build_bvh(FULL.fluid.vertices_mm, FULL.fluid.triangles)
    was = contains(tree, before)
    if name == "fat_pad":
        assert was.sum() > 20  # the fluid has come to where it was
    still = contains(tree, after)
    depth = nearest_points(tree, after[still])[0] if still.any() else np.zeros(1)
    assert depth.max() < 0.1


def top_middle(surface):
    v = surface.vertices_mm
    top = np.flatnonzero(np.abs(v[:, 2] - v[:, 2].min()) < 1e-9)
    return top[np.argmin(np.linalg.norm(v[top, :2], axis=1))]


def test_layers_keep_their_order_and_rise_between_wall_and_skin(full):
    """Over the middle: the wall rises by what it stands off, the skin by its own rise, layers between."""
    after = named(full)
    rise = {}
    for name in ("skin", "subcutaneous_fat", "tendon", "fat_pad"):
        before = SOLIDS[name][0]
        middle = top_middle(before)
        rise[name] = before.vertices_mm[middle, 2] - after[name].vertices_mm[middle, 2]
    assert 0.5 < rise["skin"] < rise["subcutaneous_fat"] < rise["tendon"] < rise["fat_pad"] < 5.0
    # 5 mm at the wall 13 mm under the skin: its share at 7 mm, and of the rise there the rest, 8 mm off bone
    place = SOLIDS["tendon"][0].vertices_mm[top_middle(SOLIDS["tendon"][0])]
    own = -push().rise(place[None, :])[0, 2]
    assert rise["tendon"] == pytest.approx(5.0 * 7.0 / 13.0 + 0.8 * own * 6.0 / 13.0, rel=0.1)


def push():
    return Distension(AcousticScene.from_solids(SOLIDS, PROBE, background="air"))._push(FULL.fluid)


def came_mm3():
    return 1000.0 * (FULL.fluid.volume_ml - SOLIDS["recess"][0].volume_ml)


def test_the_skin_rises_by_the_volume_that_came_in():
    """Through a disc over a source d deep, s wide, passes V·(d / √(d² + s²) - d / √(d² + s² + R²))."""
    made = push()
    assert made.volumes.sum() == pytest.approx(came_mm3(), rel=0.02)
    n, radius = np.arange(-150.0, 150.5, 1.5), 150.0
    x, y = np.meshgrid(n, n, indexing="ij")
    at = np.stack([x.ravel(), y.ravel(), np.zeros(x.size)], axis=1)
    at = at[np.hypot(at[:, 0], at[:, 1]) < radius]
    lifted = -made.rise(at)[:, 2].sum() * 1.5**2
    deep = made.places[:, 2]
    wide = np.hypot(deep, made.patch_mm)
    through = (made.volumes * deep * (1.0 / wide - 1.0 / np.hypot(radius, wide))).sum()
    assert lifted == pytest.approx(through, rel=0.01)
    assert 0.85 * came_mm3() < lifted < came_mm3()


def test_what_lies_on_bone_is_not_lifted_off_it():
    """As over a patella: what rises is the skin, by its distance to the bone."""
    solids = SOLIDS | {"patella": (box([12.0, -8.0, 4.0], [26.0, 8.0, 9.0]), "cortical_bone", 95)}
    scene = AcousticScene.from_solids(solids, PROBE, background="air")
    v, after = SOLIDS["skin"][0].vertices_mm, named(distend(scene, FULL))["skin"].vertices_mm
    over = np.flatnonzero((np.abs(v - [19.0, 0.0, 0.0]) < 1e-6).all(axis=1))
    own = Distension(scene)._push(FULL.fluid).rise(v[over])
    assert after[over] - v[over] == pytest.approx(0.4 * own, rel=1e-6)  # 4 mm off it


def test_far_from_the_fluid_nothing_moves(full):
    before, after = SOLIDS["skin"][0].vertices_mm, named(full)["skin"].vertices_mm
    far = np.linalg.norm(before - [0.0, 0.0, DEEP], axis=1) > 75.0
    assert np.array_equal(before[far], after[far])
    assert (before[:, 2] - after[:, 2])[before[:, 2] < 1e-9].min() >= 0.0


def test_a_probe_rides_on_the_skin():
    """Its face stands on the skin as before, and no fluid leaves it where it was."""
    distension = Distension(AcousticScene.from_solids(SOLIDS, PROBE, background="air"))
    pose = distension.riding(FULL, Pose.identity())
    skin = named(distension.filled(FULL))["skin"].vertices_mm
    face = (np.abs(skin[:, 0]) < PROBE.width_mm / 2) & (np.abs(skin[:, 1]) < 1.0) & (skin[:, 2] < 1.0)
    assert pose.translation_mm[2] < -0.3
    assert skin[face, 2].mean() == pytest.approx(pose.translation_mm[2], abs=0.1)
    assert np.array_equal(distension.riding(FillState(), pose).matrix, pose.matrix)


def test_no_triangle_of_a_layer_turns_over(full):
    for name in ("subcutaneous_fat", "tendon"):
        before, after = SOLIDS[name][0], named(full)[name]

        def normals(surface):
            v, t = surface.vertices_mm, surface.triangles
            return np.cross(v[t[:, 1]] - v[t[:, 0]], v[t[:, 2]] - v[t[:, 0]])

        assert (np.einsum("ij,ij->i", normals(before), normals(after)) > 0.0).all()
        assert after.closed


def test_of_a_scene_cut_to_a_pose_what_is_seen_moves_the_same(full):
    size = Display(width_px=100, height_px=120)
    cut = distend(AcousticScene.from_solids(SOLIDS, PROBE, background="air").around(Pose.identity()), FULL)
    a, b = (simulate_frame(s, Pose.identity(), display=size) for s in (full, cut))
    assert np.array_equal(a.labels, b.labels)
    assert np.array_equal(a.bmode, b.bmode)


def test_turned_with_the_patient_it_is_the_same(full):
    """But for feet that fall on another facet of the fluid."""
    turn = Pose(np.array([[0.8, 0.6, 0.0], [-0.6, 0.8, 0.0], [0.0, 0.0, 1.0]]), np.array([4.0, 9.0, 1.0]))

    def moved(surface):
        return Surface(turn.apply(surface.vertices_mm), surface.triangles)

    scene = AcousticScene.from_solids(
        {n: (moved(s), t, p) for n, (s, t, p) in SOLIDS.items()}, PROBE, background="air",
        texture_to_patient=turn,
    )  # fmt: skip
    other = named(distend(scene, FillState(injected_ml=1.0, fluid=moved(FULL.fluid))))
    for name, surface in named(full).items():
        assert np.abs(turn.apply(surface.vertices_mm) - other[name].vertices_mm).max() < 0.05, name


def test_the_frame_shows_the_layers_over_the_fluid(full):
    """Down the middle: every layer is still there, in order, and the fluid ends where its surface does."""
    on_skin = Distension(AcousticScene.from_solids(SOLIDS, PROBE, background="air")).riding(
        FULL, Pose.identity()
    )
    frame = simulate_frame(full, on_skin, display=Display(width_px=100, height_px=120))
    column = frame.labels[:, 50]
    order = [frame.label_names[v] for v in dict.fromkeys(column[column > 0])]
    assert order == ["skin", "subcutaneous_fat", "tendon", "fat_pad", "synovial_fluid", "femur"]
    plain = AcousticScene.from_solids(SOLIDS, PROBE, background="air")
    covered = simulate_frame(plain, Pose.identity(), fill=FULL, display=Display(width_px=100, height_px=120))
    names = {n: v for v, n in frame.label_names.items()}
    pad = [(f.labels == names["fat_pad"])[:, 50].sum() for f in (frame, covered)]
    assert pad[0] > 1.5 * pad[1]  # without the push the fluid has eaten it
