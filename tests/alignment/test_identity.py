"""Bones that contradict each other are refused, and told why."""

import numpy as np
import pytest

import oracles_alignment as legs
from injectplan.alignment import measure_alignment
from injectplan.alignment.bones import prepare
from injectplan.alignment.identity import contradiction
from injectplan.alignment.roughness import shaft_roughness_mm
from injectplan.imaging.values import Surface


@pytest.mark.parametrize(
    ("identity", "flexion", "rotation", "refused"),
    [
        (3.9, 0.0, 10.0, False), (-4.1, 0.0, 10.0, True), (8.4, 27.0, 18.0, False), (9.6, 27.0, 18.0, True),
        (0.0, 0.0, 36.5, True), (0.0, 0.0, -12.5, True), (0.0, 0.0, -11.0, False),
        (np.nan, np.nan, np.nan, False), (4.1, np.nan, np.nan, True),
    ],
)  # fmt: skip
def test_the_limits_are_the_stated_ones(identity, flexion, rotation, refused):
    assert bool(contradiction(identity, flexion, rotation)) == refused


@pytest.mark.parametrize("degrees", [-45.0, -30.0, 40.0, 50.0])
def test_a_tibia_turned_about_its_axis_is_refused(degrees):
    femur, tibia = legs.femur(step=2.2), legs.tibia(step=2.2)
    turned = (tibia[0] @ legs.turn_y(degrees).T, tibia[1])
    got = measure_alignment(legs.leg(femur, turned), "right")
    assert got.verdict.state == "REFUSED"
    assert any("rotated" in r or "turned" in r for r in got.verdict.reasons)
    assert measure_alignment(legs.leg(femur, tibia), "right").verdict.state != "REFUSED"


@pytest.mark.parametrize("sd_mm", [0.5, 1.0])
def test_a_tubes_roughness_is_measured(sd_mm):
    # an elliptic, bent tube: smooth it has none, with white noise across its surface that noise
    h, f = np.meshgrid(np.arange(0.0, 400.0, 2.0), np.linspace(0.0, 2.0 * np.pi, 48, endpoint=False))
    noise = np.random.default_rng(7).normal(0.0, sd_mm, h.shape)
    found = []
    for rough in (np.zeros_like(h), noise):
        r = 13.0 + 1.5 * np.cos(2.0 * f) + rough
        points = np.stack([r * np.cos(f) + 6.0 * np.sin(h / 130.0), r * np.sin(f), h], axis=-1)
        i = np.arange(h.size).reshape(h.shape)
        a, b = i[:, :-1], i[:, 1:]
        c, d = np.roll(a, -1, axis=0), np.roll(b, -1, axis=0)
        triangles = np.concatenate([np.stack(t, axis=-1).reshape(-1, 3) for t in ((a, b, c), (b, d, c))])
        bone = prepare(Surface(points.reshape(-1, 3), triangles), "tube")
        found.append(shaft_roughness_mm(bone, np.array([0.0, 0.0, 1.0])))
    assert found[0] < 0.05
    assert found[1] == pytest.approx(sd_mm, rel=0.2)
