"""The needle: tilt, slice, ring-down, and never lost."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from injectplan.instruments import GAUGES
from injectplan.ultrasound import Display, NeedlePose
from injectplan.ultrasound.tables import FWHM, elevation_fwhm_mm, lateral_fwhm_mm
from oracles_ultrasound import LOSSLESS, PROBE, look, peak_db

AT_1540 = LOSSLESS | {"water": replace(LOSSLESS["water"], speed_m_s=1540.0)}


def needle_through(centre, tilt_deg=0.0, gauge=22, azimuth_deg=0.0, length=120.0):
    """A needle whose axis passes through `centre`, tilted out of the face's plane; the tip far to +x."""
    t, a = np.radians(tilt_deg), np.radians(azimuth_deg)
    way = np.array([np.cos(t) * np.cos(a), np.cos(t) * np.sin(a), np.sin(t)])
    outer, inner = GAUGES[gauge]
    centre = np.asarray(centre, float)
    return NeedlePose(
        entry_mm=centre - way * length / 2, tip_mm=centre + way * length / 2, outer_mm=outer, inner_mm=inner
    )


def water(needle, probe=PROBE, **options):
    return look({}, probe, background="water", tissues=AT_1540, needle=needle, **options)


def shaft_db(tilt, probe=PROBE, gauge=22):
    return peak_db(water(needle_through([0, 0, 20], tilt, gauge), probe), 19.5, 1.5)[0]


def test_tilt_curve_of_an_f2_aperture():
    """A mirror's coherent response, computed: -2.4, -6.7, -16 dB at 4, 8, 12 degrees, then the floor."""
    facing = shaft_db(0.0)
    for tilt, expected in ((4.0, -2.4), (8.0, -6.7), (12.0, -16.0)):
        assert shaft_db(tilt) - facing == pytest.approx(expected, abs=2.0)
        assert shaft_db(-tilt) == pytest.approx(shaft_db(tilt), abs=0.3)
    floor = [shaft_db(t) - facing for t in (20.0, 30.0, 45.0, 60.0)]
    assert all(-35.0 < f < -18.0 for f in floor)
    assert floor == sorted(floor, reverse=True)


def test_the_peak_follows_the_steering():
    probe = replace(PROBE, steer_deg=10.0)
    tilts = np.arange(-13.0, 14.0, 1.0)
    level = []
    for tilt in tilts:
        frame = water(needle_through([3.5, 0, 20], tilt), probe)
        level.append(peak_db(frame, 20.0, 2.5)[0])
    best = tilts[int(np.argmax(level))]
    assert abs(abs(best) - 10.0) <= 0.5
    assert best < 0.0  # the beam leans towards +x, so the needle that faces it rises towards +x


def test_the_slice_fades_a_needle_beside_it():
    """Two-way Gaussian across the slice: -6 dB at half its thickness."""
    half = 0.5 * float(elevation_fwhm_mm(PROBE, 20.0))
    middle = peak_db(water(needle_through([0, 0, 20])), 19.6)[0]
    for part, expected in ((0.5, -1.505), (1.0, -6.02), (1.5, -13.5)):
        beside = peak_db(water(needle_through([0, part * half, 20])), 19.6)[0]
        assert beside - middle == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize(("gauge", "spacing"), [(18, 0.871), (22, 0.429)])
def test_ring_down_of_the_bore(gauge, spacing):
    probe = replace(PROBE, bandwidth=0.9, samples=2048)
    frame = water(needle_through([0, 0, 20], gauge=gauge), probe)
    line = frame.envelope_db[64].astype(float)
    z = np.arange(len(line)) * frame.sample_mm
    peaks = [
        k
        for k in range(1, len(line) - 1)
        if line[k] > line[k - 1] and line[k] >= line[k + 1] and line[k] > -60.0
    ]
    gaps = np.diff(z[peaks])[:3]
    assert np.abs(gaps - spacing).max() <= frame.sample_mm


def test_thicker_needles_are_brighter():
    levels = [shaft_db(0.0, gauge=g) for g in (18, 20, 22, 25)]
    assert levels == sorted(levels, reverse=True)


def test_a_25_gauge_needle_is_never_lost():
    """Whatever the phase against samples, lines and planes: an echo on every line the shaft crosses."""
    for shift in np.linspace(0.0, 0.2, 4):
        for tilt in (0.0, 13.0, 37.0, 60.0):
            for lift in (0.0, 0.17):
                needle = needle_through([shift, lift, 20.0 + shift], tilt, 25)
                frame = water(needle)
                x = frame.line_origin_mm[:, 0]
                depth = 20.0 + shift + (x - shift) * np.tan(np.radians(tilt))
                lit = (depth > 2.0) & (depth < 38.0)
                rows = np.round(depth[lit] / frame.sample_mm).astype(int)
                lines = frame.envelope_db[lit]
                reach = int(1.2 / np.cos(np.radians(tilt)) / frame.sample_mm)
                found = [lines[i, max(0, r - reach) : r + reach].max() for i, r in enumerate(rows)]
                assert min(found) > -60.0


@settings(max_examples=60, deadline=None)
@given(
    st.floats(-11.0, 11.0), st.floats(-0.4, 0.4), st.floats(5.0, 35.0), st.floats(-75.0, 75.0),
    st.floats(-180.0, 180.0), st.floats(10.0, 120.0), st.sampled_from([0.1, 0.2, 0.35]),
)  # fmt: skip
def test_a_25_gauge_needle_shows_on_every_line_it_passes_at_any_pose(x, y, z, tilt, azimuth, length, pitch):
    """Its axis, laid out in steps of 0.01 mm, against every line: within one sigma of the beam it echoes."""
    probe = replace(PROBE, lines=round(25.6 / pitch), elevation_planes=3)
    needle = needle_through([x, y, z], tilt, 25, azimuth, length)
    frame = water(needle, probe, display=Display(width_px=64, height_px=64))
    axis = np.asarray(needle.tip_mm) + np.arange(0.0, length, 0.01)[:, None] * np.asarray(needle.axis)
    axis = axis[(axis[:, 2] > 2.0) & (axis[:, 2] < 37.0)]
    radius = needle.outer_mm / 2.0
    for line in range(probe.lines) if len(axis) else ():
        off = axis[:, 0] - frame.line_origin_mm[line, 0]
        u = off * FWHM / lateral_fwhm_mm(probe, axis[:, 2])
        v = axis[:, 1] * FWHM / elevation_fwhm_mm(probe, axis[:, 2])
        close = u * u + v * v < 1.0
        if not close.any():
            continue
        first, last = axis[close, 2].min() - 1.0 - 3.0 * radius, axis[close, 2].max() + 1.0
        part = slice(max(0, int(first / frame.sample_mm)), int(last / frame.sample_mm) + 1)
        assert frame.envelope_db[line, part].max() > -60.0


@settings(max_examples=15, deadline=None)
@given(st.floats(0.0, 70.0), st.floats(0.0, 70.0), st.sampled_from([18, 20, 22, 25]))
def test_steeper_needles_are_never_brighter_nor_thinner_ones(a, b, gauge):
    """Visibility falls with angle and with gauge (Schafhalter-Zoppoth 2004), at whatever angle."""
    probe = replace(PROBE, lines=33, width_mm=6.6, elevation_planes=3)
    flat, steep = sorted((a, b))
    assert shaft_db(steep, probe, gauge) <= shaft_db(flat, probe, gauge) + 0.1
    levels = [shaft_db(steep, probe, g) for g in (18, 20, 22, 25)]
    assert levels == sorted(levels, reverse=True)


def test_a_needle_across_the_slice_is_a_dot():
    frame = water(needle_through([0, 0, 20], azimuth_deg=90.0))
    amplitude = frame.envelope_db.max(axis=1)
    assert amplitude[64] > -25.0
    assert amplitude[20] < amplitude[64] - 40.0


def test_the_needle_map_follows_the_axis():
    needle = needle_through([0.03, 0, 20.02], 20.0)
    frame = water(needle)
    inverse = np.linalg.inv(frame.pixel_to_patient)
    columns = np.flatnonzero(frame.needle.any(axis=0))
    assert len(columns) > 200
    rows = np.array([np.flatnonzero(frame.needle[:, c]).mean() for c in columns])
    a = inverse @ np.append(needle.entry_mm, 1.0)
    b = inverse @ np.append(needle.tip_mm, 1.0)
    axis = a[1] + (columns - a[0]) * (b[1] - a[1]) / (b[0] - a[0])
    inside = slice(15, -15)
    assert np.abs(rows - axis)[inside].max() <= 0.5


def test_a_needle_throws_a_shadow():
    near = look({}, background="muscle", needle=needle_through([0, 0, 10], gauge=18))
    clear = look({}, background="muscle")
    below = np.isfinite(near.depth_mm) & (near.depth_mm > 14.0)
    assert near.shadow[below].mean() < 0.7 * clear.shadow[below].mean()
