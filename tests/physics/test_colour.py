"""Row 23: colour mode recovers v·cosθ and aliases at c·PRF/(4·f·cosθ)."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from injectplan.anatomy.model import FillState
from injectplan.errors import BadInputError
from injectplan.frames import Pose
from injectplan.imaging.values import Surface
from injectplan.ultrasound import AcousticScene, ColourMode, Display, NeedlePose, simulate_frame
from oracles_ultrasound import PROBE, box

SIZE = Display(width_px=192, height_px=256)
PLAIN = replace(PROBE, lines=64, elevation_planes=1)
WIDE_BORE = {"outer_mm": 4.0, "inner_mm": 3.6}  # a jet wide enough to hold many pixels


def coloured(speed, lean_deg, mode, probe=PLAIN, seed=0, shadow=False):
    """A jet at 15 mm depth, `lean_deg` from straight up to the probe, in a block of fluid."""
    lean = math.radians(lean_deg)
    way = np.array([math.sin(lean), 0.0, -math.cos(lean)])
    state = FillState(
        injected_ml=1.0, fluid=box([-10, -8, 6], [10, 8, 30]), jet_origin_mm=np.array([0.0, 0.0, 22.0]),
        jet_direction=way, jet_speed_mm_s=speed,
    )  # fmt: skip
    solids = {"muscle": (box([-60, -60, 0], [60, 60, 60]), "muscle", 10)}
    if shadow:
        solids["bone"] = (box([-60, -60, 1], [60, 60, 5.9]), "cortical_bone", 90)
    scene = AcousticScene.from_solids(solids, probe)
    far = NeedlePose(entry_mm=[0, 300, 20], tip_mm=[0, 200, 20], **WIDE_BORE)
    frame = simulate_frame(
        scene, Pose.identity(), needle=far, fill=state, display=SIZE, seed=seed, colour=mode
    )
    return frame, way


def exact(frame, way, speed, bore_mm=3.6):
    """v·cosθ from the jet's formula, written anew; the beam runs along +z."""
    h, w = frame.labels.shape
    column, row = np.meshgrid(np.arange(w), np.arange(h))
    at = np.stack([column, row, np.zeros_like(row), np.ones_like(row)], axis=-1) @ frame.pixel_to_patient.T
    off = at[..., :3] - [0.0, 0.0, 22.0]
    s = off @ way
    a = bore_mm / 2
    width2 = a**2 + (s / 12.0) ** 2
    v = speed * a / np.sqrt(width2) * np.exp(-((off**2).sum(-1) - s**2) / (2 * width2))
    return np.where(s >= 0, v, 0.0) * -way[2]


@pytest.mark.parametrize("lean", [0.0, 30.0, 60.0, 120.0, 150.0])
def test_the_speed_along_the_beam_is_recovered(lean):
    mode = ColourMode(prf_hz=5000.0, wall_filter_mm_s=0.0, steer_deg=0.0)
    speed = 0.6 * mode.nyquist_mm_s(PLAIN) / abs(math.cos(math.radians(lean)))
    frame, way = coloured(speed, lean, mode)
    read, truth = frame.colour.velocity_mm_s, exact(frame, way, speed)
    shown = np.isfinite(read) & (np.abs(truth) > 0.1 * mode.nyquist_mm_s(PLAIN))
    assert shown.sum() > 200
    slope = (read[shown] * truth[shown]).sum() / (truth[shown] ** 2).sum()
    assert slope == pytest.approx(1.0, abs=0.02)
    noise = (read - truth)[shown].std() / mode.nyquist_mm_s(PLAIN) * math.pi
    assert noise == pytest.approx(mode.noise_rad, rel=0.15)


@pytest.mark.parametrize("lean", [0.0, 45.0])
def test_colour_wraps_beyond_the_nyquist_speed(lean):
    quiet = ColourMode(prf_hz=4000.0, wall_filter_mm_s=0.0, noise_rad=0.0, steer_deg=0.0)
    cos = math.cos(math.radians(lean))
    limit = 1.54e6 * 4000.0 / (4.0 * 7.5e6 * cos)
    assert quiet.nyquist_mm_s(PLAIN) / cos == pytest.approx(limit, rel=1e-9)
    for factor, sign in ((0.98, 1), (1.02, -1)):
        frame, way = coloured(limit * factor, lean, quiet)
        at = exact(frame, way, limit * factor)
        fastest = np.nanargmax(np.where(np.isfinite(frame.colour.velocity_mm_s), at, np.nan))
        assert at.flat[fastest] == pytest.approx(limit * factor * cos, rel=0.01)
        read = frame.colour.velocity_mm_s.flat[fastest]
        assert np.sign(read) == sign
        turn = 2 * limit * cos
        assert read == pytest.approx(at.flat[fastest] - (turn if sign < 0 else 0.0), rel=1e-3)


def test_only_the_injectate_is_coloured_and_only_where_it_is_seen():
    mode = ColourMode(steer_deg=0.0)
    frame, _ = coloured(100.0, 0.0, mode)
    fluid = max(frame.label_names)
    assert np.isfinite(frame.colour.velocity_mm_s).any()
    assert np.isnan(frame.colour.velocity_mm_s[frame.labels != fluid]).all()
    hidden, _ = coloured(100.0, 0.0, mode, replace(PLAIN, depth_mm=40.0), shadow=True)
    assert np.isnan(hidden.colour.velocity_mm_s).all()
    still, _ = coloured(0.0, 0.0, mode)
    assert np.isnan(still.colour.velocity_mm_s).all()


def test_the_wall_filter_hides_slow_flow_and_across_the_beam_nothing_moves():
    fast = ColourMode(wall_filter_mm_s=40.0, noise_rad=0.0, steer_deg=0.0)
    frame, _ = coloured(100.0, 0.0, fast)
    assert np.nanmin(np.abs(frame.colour.velocity_mm_s)) >= 40.0
    frame, _ = coloured(100.0, 90.0, ColourMode(wall_filter_mm_s=1e-3, noise_rad=0.0, steer_deg=0.0))
    assert np.isnan(frame.colour.velocity_mm_s).all()


def test_steered_colour_sees_flow_along_the_skin():
    quiet = ColourMode(prf_hz=20_000.0, noise_rad=0.0, wall_filter_mm_s=1.0, steer_deg=20.0)
    frame, _ = coloured(100.0, 90.0, quiet)
    assert np.nanmin(frame.colour.velocity_mm_s) == pytest.approx(
        -100.0 * math.sin(math.radians(20)), rel=0.01
    )


def test_colour_comes_when_asked_and_follows_its_seed():
    mode = ColourMode()
    a, _ = coloured(100.0, 20.0, mode, seed=4)
    b, _ = coloured(100.0, 20.0, mode, seed=4)
    c, _ = coloured(100.0, 20.0, mode, seed=5)
    same = np.array_equal(a.colour.velocity_mm_s, b.colour.velocity_mm_s, equal_nan=True)
    assert same
    assert not np.array_equal(a.colour.velocity_mm_s, c.colour.velocity_mm_s, equal_nan=True)
    off, _ = coloured(100.0, 20.0, None, seed=4)
    assert off.colour is None
    assert np.array_equal(off.bmode, a.bmode)


def test_the_jets_momentum_is_the_same_everywhere():
    from injectplan.kernels.colour import Jet, jet_speed

    jet = Jet(np.zeros(3), np.array([0.0, 0.0, 1.0]), 0.2, 1500.0, 1 / 12)
    r = np.linspace(0.0, 40.0, 40001)
    for s in (0.0, 1.0, 10.0, 50.0):
        v = np.array([jet_speed(jet, x, 0.0, s) for x in r])
        flux = 2 * math.pi * np.trapezoid(v**2 * r, r)
        assert flux == pytest.approx(1500.0**2 * math.pi * 0.2**2, rel=1e-4)
    assert jet_speed(jet, 0.0, 0.0, -0.1) == 0.0


@pytest.mark.parametrize("bad", [{"prf_hz": 0.0}, {"prf_hz": math.nan}, {"noise_rad": -1.0}])
def test_settings_that_make_no_sense_are_refused(bad):
    with pytest.raises(BadInputError):
        ColourMode(**bad)


def test_a_fluid_without_surface_is_not_coloured():
    empty = Surface(np.zeros((0, 3)), np.zeros((0, 3), np.int32))
    state = FillState(fluid=empty, jet_origin_mm=np.zeros(3), jet_direction=[0, 0, 1], jet_speed_mm_s=10.0)
    scene = AcousticScene.from_solids({}, PLAIN, background="muscle")
    frame = simulate_frame(scene, Pose.identity(), fill=state, display=SIZE, colour=ColourMode())
    assert np.isnan(frame.colour.velocity_mm_s).all()
