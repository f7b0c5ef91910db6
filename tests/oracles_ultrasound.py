"""Slow, obvious twins and closed-form scenes for the ultrasound tests."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from injectplan.frames import Pose
from injectplan.imaging.values import Surface
from injectplan.instruments import Probe
from injectplan.tissues import TISSUES
from injectplan.ultrasound import AcousticScene, simulate_frame

PROBE = Probe(
    frequency_mhz=7.5, bandwidth=0.3, lines=128, width_mm=25.6, depth_mm=40.0, focus_mm=20.0, f_number=2.0,
    elevation_focus_mm=20.0, elevation_aperture_mm=4.0, elevation_planes=9,
)  # fmt: skip
# Tissues without speckle or diffuse floor, so that boundaries stand alone; and without loss, too.
SILENT = {name: replace(t, echo_db=-200.0, floor_db=-200.0) for name, t in TISSUES.items()}
LOSSLESS = {name: replace(t, attenuation_db_cm_mhz=0.0) for name, t in SILENT.items()}


def look(solids, probe=PROBE, *, needle=None, pose=None, seed=0, display=None, fill=None, **options):
    """Simulate named solids with a raw probe, by default at the origin looking along +z."""
    scene = AcousticScene.from_solids(solids, probe, **options)
    return simulate_frame(
        scene, pose or Pose.identity(), needle=needle, seed=seed, display=display, fill=fill
    )


def peak_db(frame, near_mm, within_mm=1.0, line=None):
    """Peak of the envelope near a depth, dB, and its depth, mm, by a parabola through three samples.

    A Gaussian pulse is a parabola in dB, so nothing is lost between samples.
    """
    e = frame.envelope_db[frame.envelope_db.shape[0] // 2 if line is None else line].astype(float)
    z = np.arange(len(e)) * frame.sample_mm
    inside = np.flatnonzero(np.abs(z - near_mm) <= within_mm)
    k = int(np.clip(inside[e[inside].argmax()], 1, len(e) - 2))
    a, b, c = e[k - 1], e[k], e[k + 1]
    bend = a - 2 * b + c
    shift = 0.5 * (a - c) / bend if bend else 0.0
    return b - 0.25 * (a - c) * shift, (k + shift) * frame.sample_mm


def width_at_half(x, y):
    """Full width at half of the maximum of samples y(x), by linear interpolation."""
    y = np.asarray(y, float) / np.max(y)
    k = int(np.argmax(y))
    left = k - int(np.argmax(y[k::-1] < 0.5))
    right = k + int(np.argmax(y[k:] < 0.5))
    a = np.interp(0.5, [y[left], y[left + 1]], [x[left], x[left + 1]])
    b = np.interp(0.5, [y[right], y[right - 1]], [x[right], x[right - 1]])
    return b - a


def envelope_correlation(mu_squared):
    """Correlation of two Rayleigh envelopes whose complex signals correlate by mu (Goodman, 2007)."""
    from scipy.special import hyp2f1

    return (hyp2f1(-0.5, -0.5, 1.0, mu_squared) - 1.0) * (np.pi / 4) / (1.0 - np.pi / 4)


def box(low, high) -> Surface:
    """Axis-aligned box of twelve triangles, outward."""
    low, high = np.array(low, float), np.array(high, float)
    corners = np.array([[(high if c >> k & 1 else low)[k] for k in range(3)] for c in range(8)])
    triangles = []
    for axis in range(3):
        u, w = (axis + 1) % 3, (axis + 2) % 3
        for side in range(2):
            c = [(side << axis) | (a << u) | (b << w) for a, b in ((0, 0), (1, 0), (1, 1), (0, 1))]
            c = c if side else c[::-1]
            triangles += [[c[0], c[1], c[2]], [c[0], c[2], c[3]]]
    return Surface(corners, np.array(triangles, np.int32))


def tilted_slab(tilt_deg, centre, thickness=20.0, size=80.0, about="y") -> Surface:
    """A slab whose upper face passes through `centre`, turned about the elevation or the lateral axis."""
    flat = box([-size, -size, 0.0], [size, size, thickness])
    t = np.radians(tilt_deg)
    c, s = np.cos(t), np.sin(t)
    turn = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    if about == "x":
        turn = np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    return Surface(flat.vertices_mm @ turn.T + np.asarray(centre), flat.triangles)


def sphere(radius, centre, rings=64) -> Surface:
    """A sphere by rings and segments, closed."""
    n = 2 * rings
    theta = np.pi * np.arange(1, rings) / rings
    phi = 2 * np.pi * np.arange(n) / n
    ring = np.stack(
        [
            np.outer(np.sin(theta), np.cos(phi)),
            np.outer(np.sin(theta), np.sin(phi)),
            np.outer(np.cos(theta), np.ones(n)),
        ],
        axis=-1,
    ).reshape(-1, 3)
    vertices = np.vstack([[[0, 0, 1]], ring, [[0, 0, -1]]]) * radius + np.asarray(centre)
    last = len(vertices) - 1
    triangles = []
    for j in range(n):
        k = (j + 1) % n
        triangles.append([0, 1 + j, 1 + k])
        for i in range(rings - 2):
            a, b = 1 + i * n + j, 1 + i * n + k
            triangles += [[a, a + n, b + n], [a, b + n, b]]
        a = 1 + (rings - 2) * n
        triangles.append([last, a + k, a + j])
    return Surface(vertices, np.array(triangles, np.int32))


def fresnel_twin(z1, z2, c1, c2, theta_deg):
    """Reflection of pressure at a fluid-fluid boundary, by continuity of pressure and normal velocity."""
    a = np.radians(theta_deg)
    b = np.arcsin(np.sin(a) * c2 / c1 + 0j)
    # p_i + p_r = p_t ; (p_i - p_r) cos a / z1 = p_t cos b / z2
    system = np.array([[1.0, -1.0], [-np.cos(a) / z1, -np.cos(b) / z2]])
    r, _ = np.linalg.solve(system, np.array([-1.0, -np.cos(a) / z1]))
    return r


def elastic_half_space_twin(rho1, c1, rho2, cl, cs, theta_deg):
    """Reflection from a fluid onto an elastic solid by solving the four boundary conditions numerically.

    Unknowns: reflected pressure potential, longitudinal and shear potentials. Conditions at the plane:
    normal displacement continuous, normal stress equals the pressure, shear stress vanishes.
    """
    omega = 1.0
    k1, kl, ks = omega / c1, omega / cl, omega / cs
    kx = k1 * np.sin(np.radians(theta_deg))
    q1 = np.sqrt(k1**2 - kx**2 + 0j)
    ql, qs = np.sqrt(kl**2 - kx**2 + 0j), np.sqrt(ks**2 - kx**2 + 0j)
    mu = rho2 * cs**2
    lam = rho2 * cl**2 - 2 * mu
    # fluid: phi = exp(i q1 z) + R exp(-i q1 z); solid: phi = A exp(i ql z), psi_y = B exp(i qs z)
    rows = np.array(
        [
            [-q1, -ql, -kx],  # u_z
            [-rho1 * omega**2, (lam * kl**2 + 2 * mu * ql**2), 2 * mu * kx * qs],  # sigma_zz
            [0.0, -2 * kx * ql * mu, mu * (qs**2 - kx**2)],  # sigma_xz
        ],
        dtype=complex,
    )
    right = np.array([-q1, rho1 * omega**2, 0.0], dtype=complex)
    return np.linalg.solve(rows, right)[0]
