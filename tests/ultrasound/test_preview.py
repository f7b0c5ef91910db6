"""The guidance preview, presets and fill states on a small layered limb."""

from dataclasses import replace

import numpy as np
import pytest

from injectplan.anatomy.model import FillState
from injectplan.errors import BadInputError
from injectplan.frames import Pose
from injectplan.guidance import needle_contrast, preview_guidance
from injectplan.instruments import needle_of, probe_model
from injectplan.planning.values import HitProbability, Trajectory, UltrasoundView
from injectplan.tissues import TISSUES
from injectplan.ultrasound import AcousticScene, Display, NeedlePose, simulate_frame
from oracles_ultrasound import box, sphere

PROBE = probe_model("linear-12", lines=64, compounding_deg=(), elevation_planes=3)
SHOWN = Display(width_px=240, height_px=180)
SOLIDS = {
    "fat": (box([-60, -60, 0], [60, 60, 80]), "subcutaneous_fat", 20),
    "muscle": (box([-60, -60, 7], [60, 60, 80]), "muscle", 35),
    "recess": (box([-60, -60, 13], [60, 60, 15]), "synovial_fluid", 75),
    "bone": (box([-60, -60, 22], [60, 60, 80]), "cortical_bone", 90),
}


@pytest.fixture(scope="module")
def scene():
    return AcousticScene.from_solids(SOLIDS, PROBE, background="air")


def trajectory(entry, tip):
    entry, tip = np.array(entry, float), np.array(tip, float)
    view = UltrasoundView(
        probe_to_patient=Pose.identity(),
        beam_needle_angle_deg=75.0,
        out_of_plane_mm=0.0,
        window_fraction=1.0,
        depth_mm=14.0,
        visibility=0.5,
    )
    return Trajectory(
        rank=1,
        approach="any",
        technique="in-plane",
        entry_mm=entry,
        tip_mm=tip,
        length_mm=float(np.linalg.norm(tip - entry)),
        skin_angle_deg=20.0,
        clearance_mm={},
        margins={},
        recess="recess",
        hit_probability=HitProbability(value=0.9, low=0.8, high=1.0, with_feedback=0.99),
        touch_probability={},
        ultrasound=view,
        objectives={},
        rechecked=True,
    )


def test_the_needle_advances_and_the_fluid_spreads(scene):
    blob = FillState(injected_ml=2.0, fluid=sphere(3.0, [0.0, 0.0, 14.0], rings=16))
    plan = trajectory([-22.0, 0.0, 8.0], [0.0, 0.0, 14.0])
    said = []
    preview = preview_guidance(
        plan,
        scene,
        needle=needle_of(22),
        frames=4,
        fill_states=[blob],
        display=SHOWN,
        progress=lambda label, part: said.append(part),
    )
    assert len(preview.frames) == 5 == len(preview.visibility)
    covered = [int((f.needle > 0).sum()) for f in preview.frames]
    assert covered[:4] == sorted(covered[:4])
    assert covered[3] > covered[0]
    assert preview.injected_ml[-1] == 2.0
    assert all(0.0 <= v <= 1.0 for v in preview.visibility)
    assert said[-1] == 1.0
    fluid = {name: value for value, name in preview.frames[-1].label_names.items()}
    assert (preview.frames[-1].labels == max(fluid.values())).sum() > 100
    with pytest.raises(BadInputError):
        preview_guidance(plan, scene, frames=0)


def test_a_flatter_needle_is_seen_better(scene):
    flat = preview_guidance(trajectory([-20, 0, 10], [0, 0, 10.5]), scene, frames=1, display=SHOWN)
    steep = preview_guidance(trajectory([-12, 0, 0.5], [0, 0, 17]), scene, frames=1, display=SHOWN)
    assert flat.contrasts[0].shaft > steep.contrasts[0].shaft


def test_a_preset_shows_what_a_sonographer_expects(scene):
    """Bone brightest and black below, fluid dark, fat over muscle; little of the frame is white."""
    frame = simulate_frame(scene, Pose.identity(), display=SHOWN)
    number = {name: value for value, name in frame.label_names.items()}
    grey = {name: float(np.median(frame.bmode[frame.labels == number[name]])) for name in SOLIDS}
    assert 0.3 <= grey["muscle"] / grey["fat"] <= 0.95
    assert grey["recess"] / grey["fat"] <= 0.3
    depth = frame.depth_mm
    line = np.where(np.abs(depth - 22.0) < 1.0, frame.bmode, 0).max(axis=0)
    inside = np.isfinite(depth).any(axis=0)
    assert np.median(line[inside]) >= 180
    assert np.median(frame.bmode[depth > 29.0]) < 40
    assert (frame.bmode[np.isfinite(depth)] >= 250).mean() < 0.0025 * 4


def test_compounding_smooths_the_grain():
    one = AcousticScene.from_solids({}, replace(PROBE, texture=False), background="muscle")
    many = one.with_probe(replace(PROBE, texture=False, compounding_deg=(-8.0, 0.0, 8.0)))
    sd = [
        simulate_frame(s, Pose.identity(), display=SHOWN).bmode[40:120, 60:180].astype(float).std()
        for s in (one, many)
    ]
    assert sd[1] < 0.75 * sd[0]


def test_needles_that_make_no_sense_are_refused():
    with pytest.raises(BadInputError):
        NeedlePose(entry_mm=[0, 0, 0], tip_mm=[0, 0, 0])
    with pytest.raises(BadInputError):
        NeedlePose(entry_mm=[0, 0, np.nan], tip_mm=[0, 0, 1])
    with pytest.raises(BadInputError):
        NeedlePose(entry_mm=[0, 0, 1], tip_mm=[0, 0, 0], outer_mm=0.3, inner_mm=0.4)


def test_an_open_surface_is_refused():
    whole = box([0, 0, 0], [10, 10, 10])
    broken = replace_triangles(whole, whole.triangles[:-1])
    with pytest.raises(BadInputError, match="not closed"):
        AcousticScene.from_solids({"a": (broken, "muscle", 1)}, PROBE)


def replace_triangles(surface, triangles):
    from injectplan.imaging.values import Surface

    return Surface(surface.vertices_mm, np.ascontiguousarray(triangles))


def test_the_scene_around_a_pose_gives_the_same_bytes():
    balls = {
        f"ball{i}": (sphere([-20.0 + 9.0 * i, -50.0 + 17.0 * i, 10.0], 4.0 + i), "tendon", 40 + i)
        for i in range(6)
    }
    whole = AcousticScene.from_solids(SOLIDS | balls, PROBE, background="air")
    turned = Pose(np.array([[0.8, 0.6, 0.0], [-0.6, 0.8, 0.0], [0.0, 0.0, 1.0]]), np.array([4.0, 9.0, 1.0]))
    for place in (Pose.identity(), turned):
        near = whole.around(place)
        a = simulate_frame(whole, place, display=SHOWN)
        b = simulate_frame(near, place, display=SHOWN)
        assert np.array_equal(a.envelope_db, b.envelope_db)
        assert np.array_equal(a.labels, b.labels)
        assert len(near.solids.mesh.skin.solid) < 0.8 * len(whole.solids.mesh.skin.solid)


def test_a_pressed_convex_probe_couples_over_its_whole_face_and_a_raw_one_where_it_touches():
    flat = {"muscle": (box([-90, -90, 0], [90, 90, 120]), "muscle", 35)}
    probe = replace(probe_model("curvilinear-5"), lines=64)
    for raw, low, high in ((False, 1.0, 1.0), (True, 0.02, 0.2)):
        scene = AcousticScene.from_solids(flat, replace(probe, raw=raw), background="air")
        frame = simulate_frame(scene, Pose.identity(), display=SHOWN)
        assert low <= frame.extra["contact_fraction"] <= high


def test_a_line_that_slow_tissue_has_moved_is_found_where_it_lies():
    shafts = []
    for speed in (1540.0, 1440.0):  # the latter draws what lies 26 mm deep 1.8 mm deeper
        tissue = replace(TISSUES["subcutaneous_fat"], speed_m_s=speed, source="given")
        solids = {"fat": (box([-60, -60, 0], [60, 60, 80]), "subcutaneous_fat", 20)}
        scene = AcousticScene.from_solids(
            solids, PROBE, background="air", tissues={"subcutaneous_fat": tissue}
        )
        way = trajectory([-16, 0, 1], [14, 0, 26])
        made = preview_guidance(way, scene, frames=1, display=SHOWN)
        shafts.append(made.contrasts[0].shaft)
    assert shafts[0] > 0.1
    assert shafts[1] == pytest.approx(shafts[0], rel=0.25)


def test_speckle_alone_is_no_needle():
    scene = AcousticScene.from_solids(
        {"fat": (box([-60, -60, 0], [60, 60, 80]), "subcutaneous_fat", 20)}, PROBE, background="air"
    )
    drawn = preview_guidance(trajectory([-16, 0, 1], [14, 0, 16]), scene, frames=1, display=SHOWN).frames[0]
    bare = simulate_frame(scene, Pose.identity(), display=SHOWN)
    needle = NeedlePose(entry_mm=np.array([-16.0, 0, 1]), tip_mm=np.array([14.0, 0, 16]))
    with_needle = needle_contrast(drawn, needle)
    without = needle_contrast(replace(bare, needle=drawn.needle), needle)
    assert without.shaft < 0.5 * with_needle.shaft
