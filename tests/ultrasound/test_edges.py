"""Where soft tissue is grazed a picture's edge shadow is faint; where layers end a needle does not break."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from injectplan.frames import Pose
from injectplan.instruments import probe_model
from injectplan.kernels.boundary import EDGE_MOST, eased
from injectplan.tissues import TISSUES
from injectplan.ultrasound import AcousticScene, Display, NeedlePose, simulate_frame
from oracles_ultrasound import LOSSLESS, box, look, sphere

PICTURE = replace(probe_model("linear-12"), compounding_deg=(), elevation_planes=3)
RAW = replace(PICTURE, raw=True)
BALL = {"tendon": (sphere(6.0, [0.0, 0.0, 12.0]), "tendon", 2)}


def shadow_under_the_edge(probe):
    """Least transmission 8 mm under a ball of tendon in fat, grazed at ±6 mm."""
    frame = look(BALL, probe, background="subcutaneous_fat", tissues=LOSSLESS)
    at = np.linalg.inv(frame.pixel_to_patient) @ [6.0, 0.0, 26.0, 1.0]
    row, column = round(at[1]), round(at[0])
    reach = round(0.8 / np.linalg.norm(frame.pixel_to_patient[:3, 0]))
    return float(frame.shadow[row, column - reach : column + reach].min())


def test_an_edge_shadow_is_faint_in_a_picture_and_whole_in_physics():
    """Raw, rays past the critical angle (57.6° from fat to tendon) are lost; shown, two edges take 6 dB."""
    assert np.degrees(np.arcsin(1477.0 / 1750.0)) == pytest.approx(57.6, abs=0.1)
    assert shadow_under_the_edge(RAW) < 1e-3
    least = (1.0 - EDGE_MOST**2) ** 2
    assert shadow_under_the_edge(PICTURE) >= least - 1e-3
    assert shadow_under_the_edge(PICTURE) < 0.9  # the edge still throws one


def test_no_soft_pair_is_eased_where_the_beam_meets_it_squarely():
    """The cap changes nothing but grazing edges: the strongest soft step reflects a fifth of it."""
    z = {
        n: t.density_kg_m3 * t.speed_m_s
        for n, t in TISSUES.items()
        if t.name != "air" and not t.shear_speed_m_s
    }
    steps = [(a - b) / (a + b) for a in z.values() for b in z.values()]
    assert all(eased(r) == r for r in steps)
    assert eased(1.0) == EDGE_MOST
    assert eased(-1.0) == -EDGE_MOST


def test_bone_is_not_eased():
    solids = {"bone": (sphere(6.0, [0.0, 0.0, 12.0]), "cortical_bone", 2)}
    frame = look(solids, PICTURE, background="muscle")
    below = frame.shadow[(frame.depth_mm > 24.0)]
    assert below.min() < 1e-3


def needle_heights(probe):
    """Displayed depth of a needle's brightest sample, line by line, under fat beside tendon, mm."""
    layers = {
        "fat": (box([-60, -60, 0], [0.3, 60, 9]), "subcutaneous_fat", 1),
        "tendon": (box([0.3, -60, 0], [60, 60, 9]), "tendon", 1),
        "muscle": (box([-60, -60, 9], [60, 60, 60]), "muscle", 1),
    }
    scene = AcousticScene.from_solids(layers, probe, background="air", tissues=LOSSLESS)
    needle = NeedlePose(entry_mm=[-40.0, 0.0, 15.0], tip_mm=[40.0, 0.0, 15.0])
    frame = simulate_frame(
        scene, Pose.identity(), needle=needle, display=Display(width_px=160, height_px=120)
    )
    z = np.arange(frame.envelope_db.shape[1]) * frame.sample_mm
    near = (z > 12.0) & (z < 17.0)
    return frame.line_origin_mm[:, 0], z[near][frame.envelope_db[:, near].argmax(axis=1)]


def test_a_needle_under_the_end_of_a_layer_bends_and_does_not_break():
    """9 mm of fat or of tendon shift a shaft by 1.5 mm: within a line in physics, over the aperture shown."""
    step = 9.0 * 1.54 * (1.0 / 1.477 - 1.0 / 1.750)
    jump = {}
    for name, probe in (("raw", RAW), ("picture", PICTURE)):
        x, depth = needle_heights(replace(probe, samples=1500))
        inner = np.abs(x) < 18.0
        assert np.ptp(depth[inner]) == pytest.approx(step, abs=0.1)
        jump[name] = np.abs(np.diff(depth[inner])).max()
    assert jump["raw"] > 0.8 * step
    assert jump["picture"] < 0.35
