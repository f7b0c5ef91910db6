"""What no frame may break: symmetry, conservation, determinism, fixed reference, labels."""

import gc
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from injectplan.errors import BadInputError
from injectplan.frames import Pose
from injectplan.imaging.values import Surface
from injectplan.kernels._jit import set_threads
from injectplan.tissues import TISSUES
from injectplan.ultrasound import AcousticScene, Display, FrameBuffers, NeedlePose, simulate_frame
from oracles_ultrasound import PROBE, SILENT, box, look, peak_db, sphere

SMALL = replace(PROBE, lines=48, width_mm=14.4, depth_mm=24.0, focus_mm=14.0, elevation_planes=3)
SHOWN = Display(width_px=160, height_px=160)
LAYERS = {
    "fat": (box([-50, -50, 0], [50, 50, 70]), "subcutaneous_fat", 1),
    "muscle": (box([-50, -50, 6], [50, 50, 70]), "muscle", 2),
    "bone": (sphere(9.0, [1.0, 0.5, 24.0], rings=32), "cortical_bone", 9),
}
NEEDLE = NeedlePose(entry_mm=[-9.0, 0.0, 2.0], tip_mm=[0.5, 0.2, 10.0])
QUICK = settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def moved(surface, turn, shift):
    triangles = surface.triangles if np.linalg.det(turn) > 0 else surface.triangles[:, ::-1]
    return Surface(surface.vertices_mm @ turn.T + shift, np.ascontiguousarray(triangles))


def rotation(a, b, c):
    def about(axis, angle):
        m = np.eye(3)
        i, j = [(1, 2), (2, 0), (0, 1)][axis]
        m[i, i] = m[j, j] = np.cos(angle)
        m[i, j], m[j, i] = -np.sin(angle), np.sin(angle)
        return m

    return about(0, a) @ about(1, b) @ about(2, c)


angle = st.floats(-3.0, 3.0)
place = st.floats(-200.0, 200.0)


def test_what_is_tested_here_is_the_physics_alone():
    assert PROBE.raw
    assert SMALL.raw
    assert not PROBE.refraction


@QUICK
@given(angle, angle, angle, place, place, place)
def test_moving_patient_and_probe_together_changes_nothing(a, b, c, x, y, z):
    turn, shift = rotation(a, b, c), np.array([x, y, z])
    motion = Pose(turn, shift)
    here = look(LAYERS, SMALL, needle=NEEDLE, display=SHOWN)
    there = look(
        {n: (moved(s, turn, shift), t, p) for n, (s, t, p) in LAYERS.items()},
        SMALL,
        needle=NeedlePose(entry_mm=motion.apply(NEEDLE.entry_mm), tip_mm=motion.apply(NEEDLE.tip_mm)),
        display=SHOWN,
        pose=motion,
        texture_to_patient=motion,
    )
    strong = here.envelope_db > -90.0
    assert np.abs(here.envelope_db - there.envelope_db)[strong].max() < 0.5
    assert np.abs(here.bmode.astype(int) - there.bmode).max() <= 2
    assert (here.labels != there.labels).mean() < 2e-3


@QUICK
@given(st.floats(-5.0, 5.0), st.floats(6.0, 18.0), st.integers(0, 99))
def test_a_mirrored_scene_gives_a_mirrored_frame(x, z, seed):
    """Left and right exchanged through the plane x = 0; the grain's frame is mirrored with it."""
    needle = NeedlePose(entry_mm=[-9.0, 0.0, 2.0], tip_mm=[x, 0.2, z])
    mirror = np.diag([-1.0, 1.0, 1.0])
    scene = AcousticScene.from_solids(LAYERS, SMALL)
    other = AcousticScene.from_solids(
        {n: (moved(s, mirror, 0.0), t, p) for n, (s, t, p) in LAYERS.items()}, SMALL
    )
    other = replace(other, texture_axes=other.texture_axes @ mirror)
    flipped = NeedlePose(entry_mm=needle.entry_mm * [-1, 1, 1], tip_mm=needle.tip_mm * [-1, 1, 1])
    a = simulate_frame(scene, Pose.identity(), needle=needle, display=SHOWN, seed=seed)
    b = simulate_frame(other, Pose.identity(), needle=flipped, display=SHOWN, seed=seed)
    strong = a.envelope_db > -90.0
    assert np.abs(a.envelope_db - b.envelope_db[::-1])[strong].max() < 0.5
    assert (a.labels != b.labels[:, ::-1]).mean() < 2e-3


@QUICK
@given(st.floats(0.0, 4.0), st.floats(0.05, 2.0))
def test_more_attenuation_never_brightens(alpha, more):
    def run(value):
        tissue = replace(TISSUES["muscle"], attenuation_db_cm_mhz=value)
        return look(LAYERS, SMALL, tissues={"muscle": tissue}, display=SHOWN)

    weak, strong = run(alpha), run(alpha + more)
    assert (strong.shadow <= weak.shadow + 1e-6).all()
    power = [(10.0 ** (f.envelope_db.astype(float) / 10.0)).mean() for f in (strong, weak)]
    assert power[0] <= power[1] * (1.0 + 1e-6)


@QUICK
@given(st.sampled_from(sorted(set(TISSUES) - {"air"})), st.sampled_from(sorted(set(TISSUES) - {"air"})))
def test_transmission_never_exceeds_one_and_never_rises_with_depth(a, b):
    solids = {"a": (box([-50, -50, 4], [50, 50, 9]), a, 1), "b": (box([-50, -50, 9], [50, 50, 14]), b, 2)}
    frame = look(solids, SMALL, background="muscle", display=SHOWN)
    middle = frame.shadow[:, 80][np.isfinite(frame.depth_mm[:, 80])]
    assert middle.max() <= 1.0
    assert (np.diff(middle) <= 1e-6).all()


SOFT = ("subcutaneous_fat", "muscle", "tendon", "cartilage", "synovial_fluid", "skin", "nerve", "blood")


@QUICK
@given(st.sampled_from(SOFT), st.sampled_from(SOFT), st.floats(4.0, 12.0))
def test_what_a_boundary_reflects_is_missing_behind_it(a, b, z):
    """Reflected + transmitted = incident at the boundary, absorbed in between: echo against shadow map.

    Amplitudes both ways are energies one way: the shadow falls by 1 - R², and by the loss alone elsewhere.
    """
    probe = replace(SMALL, samples=1024)
    frame = look(
        {"deep": (box([-80, -80, z], [80, 80, 90]), b, 1)}, probe, background=a, tissues=SILENT, display=SHOWN
    )
    column = 80
    depth, shadow = frame.depth_mm[:, column], frame.shadow[:, column].astype(float)
    at = z * 1540.0 / TISSUES[a].speed_m_s
    inside = np.isfinite(depth)

    def before(name, from_mm, to_mm):
        """Energy left at `to_mm` of displayed depth of what is left at `from_mm` in one tissue."""
        path_cm = (to_mm - from_mm) / 10.0 * TISSUES[name].speed_m_s / 1540.0
        return 10.0 ** (-2.0 * TISSUES[name].attenuation_db_cm(7.5) * path_cm / 20.0)

    shown = [float(np.interp(d, depth[inside], shadow[inside])) for d in (at - 1.0, at + 1.0)]
    incident, behind = shown[0] * before(a, at - 1.0, at), shown[1] / before(b, at, at + 1.0)
    assert incident == pytest.approx(before(a, 0.0, at), rel=5e-3)
    level, _ = peak_db(frame, at)
    reflected = (10.0 ** (level / 20.0) / incident) ** 2 if a != b else 0.0
    assert behind / incident + reflected == pytest.approx(1.0, abs=3e-3)


def test_surfaces_that_lie_on_each_other_are_one():
    """A solid within another, sharing its upper face: no layer of the outer one echoes in between."""
    inner = (box([-60, -60, 10], [60, 60, 60]), "muscle", 2)
    outer = (box([-70, -70, 10], [70, 70, 80]), "cortical_bone", 1)
    both = look({"inner": inner, "outer": outer}, SMALL, background="subcutaneous_fat", tissues=SILENT)
    alone = look({"inner": inner}, SMALL, background="subcutaneous_fat", tissues=SILENT)
    at = 10.0 * 1540.0 / TISSUES["subcutaneous_fat"].speed_m_s
    assert peak_db(both, at)[0] == pytest.approx(peak_db(alone, at)[0], abs=1e-3)


def test_a_frame_allocates_next_to_nothing():
    """With buffers, memory does not grow from frame to frame, and no image is made anew."""
    scene = AcousticScene.from_solids(LAYERS, SMALL)
    buffers = FrameBuffers(scene, SHOWN)
    arrays = tracemalloc.DomainFilter(inclusive=True, domain=np.lib.tracemalloc_domain)
    held = []
    tracemalloc.start()
    try:
        for frames in (20, 50):
            for _ in range(frames):
                simulate_frame(scene, Pose.identity(), needle=NEEDLE, buffers=buffers)
            gc.collect()
            traces = tracemalloc.take_snapshot().filter_traces([arrays]).traces
            held.append(sum(trace.size for trace in traces))
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        simulate_frame(scene, Pose.identity(), needle=NEEDLE, buffers=buffers)
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert abs(held[1] - held[0]) < 4_000
    assert peak < SHOWN.width_px * SHOWN.height_px  # bytes: less than the smallest of the maps


def test_one_thread_or_two_the_same_bytes():
    frames = []
    for threads in (1, 2):
        set_threads(threads)
        frames.append(look(LAYERS, SMALL, needle=NEEDLE, display=SHOWN, seed=5))
    set_threads(None)
    for name in ("bmode", "envelope_db", "labels", "needle", "shadow", "trust"):
        assert getattr(frames[0], name).tobytes() == getattr(frames[1], name).tobytes()


def test_the_reference_is_fixed():
    """Bone that enters at the side leaves the greys elsewhere as they were."""
    probe = replace(SMALL, lines=96, width_mm=28.8)
    side = {"bone": (box([8, -50, 12], [50, 50, 70]), "cortical_bone", 9)}
    soft = {n: LAYERS[n] for n in ("fat", "muscle")}
    a, b = look(soft, probe, display=SHOWN), look(soft | side, probe, display=SHOWN)
    assert (a.bmode[:, :80] == b.bmode[:, :80]).all()
    assert (a.bmode != b.bmode).any()


def test_seed_changes_the_grain_and_nothing_else():
    a, b = look(LAYERS, SMALL, display=SHOWN, seed=1), look(LAYERS, SMALL, display=SHOWN, seed=2)
    assert (a.envelope_db != b.envelope_db).any()
    assert (a.labels == b.labels).all()
    assert np.array_equal(a.shadow, b.shadow)


def test_labels_agree_with_the_analytic_scene():
    frame = look(LAYERS, PROBE)
    rows, columns = np.indices(frame.labels.shape)
    at = frame.pixel_to_patient @ np.stack([columns, rows, 0 * rows, 1 + 0 * rows], axis=0).reshape(4, -1)
    x, y, z = at[:3].reshape(3, *frame.labels.shape)
    inside = np.isfinite(frame.depth_mm)
    ball = ((x - 1.0) ** 2 + (y - 0.5) ** 2 + (z - 24.0) ** 2 < 81.0) & inside
    truth = {"bone": ball, "fat": (z < 6.0) & ~ball & inside, "muscle": (z >= 6.0) & ~ball & inside}
    number = {name: value for value, name in frame.label_names.items()}
    for name, mask in truth.items():
        drawn = frame.labels == number[name]
        assert (drawn & mask).sum() / (drawn | mask).sum() >= 0.99
    assert (frame.labels[~inside] == 0).all()


def test_lines_off_the_skin_stay_black():
    half = {"muscle": (box([-50, -50, 0], [0, 50, 70]), "muscle", 1)}
    frame = look(half, SMALL, background="air", display=SHOWN)
    off = frame.line_origin_mm[:, 0] > 0.0
    assert (frame.envelope_db[off] <= -190.0).all()
    assert frame.envelope_db[~off].mean() > -80.0
    assert frame.extra["contact_fraction"] == pytest.approx(0.5, abs=0.02)


def test_trust_ends_at_bone():
    frame = look(LAYERS, SMALL, display=SHOWN)
    column = np.argmin(np.abs(np.arange(160) - 80))
    depth = frame.depth_mm[:, column]
    assert frame.trust[(depth > 1) & (depth < 14), column].all()
    assert not frame.trust[(depth > 17) & (depth < 23), column].any()


def test_buffers_are_used_again_and_checked():
    scene = AcousticScene.from_solids(LAYERS, SMALL)
    buffers = FrameBuffers(scene, SHOWN)
    a = simulate_frame(scene, Pose.identity(), buffers=buffers)
    kept = a.bmode.copy()
    b = simulate_frame(scene, Pose.identity(), buffers=buffers, needle=NEEDLE)
    assert b.bmode is a.bmode
    c = simulate_frame(scene, Pose.identity(), buffers=buffers)
    assert (c.bmode == kept).all()
    with pytest.raises(BadInputError, match="buffers"):
        simulate_frame(scene.with_probe(replace(SMALL, lines=50)), Pose.identity(), buffers=buffers)
