"""`surface_sd`: what a new scan of the same bone changes, against label maps, smoothing and thinning."""

import functools

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

import oracles_alignment as legs
from injectplan.alignment import measure_alignment
from injectplan.imaging.values import Surface
from real_legs import ct_leg, ct_pelvis, mesh_of, rough, surface_of, voxelised

pytestmark = pytest.mark.real

WHOLE = ("femur", "tibia", "fibula", "talus")


@functools.cache
def bones_of(data, leg):
    if leg in ("left", "right"):
        return ct_leg(data, leg, WHOLE) | ct_pelvis(data, leg), leg
    parts = legs.femur(leg[0], 2.0), legs.tibia(leg[1], 0.0, 2.0), legs.fibula(leg[1], 2.0)
    return legs.leg(parts[0], parts[1], "right", leg[2], fibula_part=parts[2]), "right"


def scanned(surface, spacing_mm, seed, part, aligned=False):
    """A label map of the bone, along the patient's axes or in one orientation for all of a scan, and back."""
    turn = np.eye(3) if aligned else Rotation.random(random_state=seed).as_matrix()
    turned = Surface(surface.vertices_mm @ turn.T, surface.triangles)
    found = voxelised([turned], spacing_mm, shift=np.random.default_rng([seed, part]).uniform())
    return Surface(found.vertices_mm @ turn, found.triangles)


def voxels(*spacing_mm, aligned=False):
    return lambda s, seed, part: scanned(s, spacing_mm, seed, part, aligned)


def noise(sd_mm, reach_mm):
    return lambda s, seed, part: rough(s, np.random.default_rng([seed, part]), sd_mm, reach_mm)


def taubin(steps, band, before=lambda s, seed, part: s):
    return lambda s, seed, part: surface_of(
        mesh_of(before(s, seed, part)).smooth_taubin(n_iter=steps, pass_band=band)
    )


def laplace(steps, before):
    return lambda s, seed, part: surface_of(
        mesh_of(before(s, seed, part)).smooth(n_iter=steps, relaxation_factor=0.1)
    )


def thinned(share):
    return lambda s, seed, part: surface_of(mesh_of(s).decimate(share))


thick = voxels(1.0, 1.0, 3.0)
# None of these settings was used to choose the errors' sizes (decision 0064 names those that were).
FAMILIES = {
    "voxels": {
        "slices of 2.5 mm": voxels(0.8, 0.8, 2.5),
        "slices of 3 mm along the axes": voxels(0.6, 0.6, 3.0, aligned=True),
        "slices of 1.25 mm": voxels(0.6, 0.6, 1.25),
        "cubes of 1.2 mm": voxels(1.2, 1.2, 1.2),
        "cubes of 0.5 mm": voxels(0.5, 0.5, 0.5),
    },
    # as users meet it: a label map's or a noisy scan's surface, faired by 15 to 50 passes
    "faired label maps": {
        "slices of 1.25 mm, Taubin 15": taubin(15, 0.1, voxels(0.6, 0.6, 1.25)),
        "slices of 2 mm, Laplace 30": laplace(30, voxels(1.0, 1.0, 2.0)),
        "cubes of 0.9 mm, Taubin 40": taubin(40, 0.05, voxels(0.9, 0.9, 0.9)),
        "slices of 3 mm along the axes, Taubin 25": taubin(25, 0.05, voxels(0.5, 0.5, 3.0, aligned=True)),
        "slices of 2.5 mm along the axes, Laplace 50": laplace(50, voxels(1.0, 1.0, 2.5, aligned=True)),
    },
    "faired noise": {
        "noise of 0.25 mm, Taubin 25": taubin(25, 0.05, noise(0.25, 3.0)),
        "noise of 0.35 mm, Laplace 15": laplace(15, noise(0.35, 5.0)),
    },
    "smoothing alone": {"Taubin 25": taubin(25, 0.06), "Taubin 12": taubin(12, 0.1)},
    "thinning": {"a fifth of the triangles": thinned(0.8), "a seventh of the triangles": thinned(0.86)},
}
MODELS = {name: model for family in FAMILIES.values() for name, model in family.items()}


@functools.cache
def base(data, leg):
    return measure_alignment(*bones_of(data, leg))


def scores(data, leg, name, seed):
    """Errors over what is stated, angle → z, of one leg scanned once more."""
    bones, side = bones_of(data, leg)
    copies = {n: MODELS[name](s, seed, part) for part, (n, s) in enumerate(bones.items())}
    got = measure_alignment(copies, side)
    result = {}
    for angle, true in base(data, leg).angles.items():
        seen = got.angles[angle]
        if true.measure.known and seen.measure.known:
            assert 0.0 < seen.surface_sd <= seen.measure.sd * (1.0 + 1e-9), angle
            result[angle] = (seen.measure.value - true.measure.value) / seen.surface_sd
    return result


def rms(values):
    return float(np.sqrt(np.mean(np.square(values))))


def test_scans_of_one_leg_scatter_as_its_surface_says(real_data):
    z = {}
    for leg, seed in (("left", 41), ("right", 43)):
        for name in ("slices of 2.5 mm", "slices of 2 mm, Laplace 30", "a fifth of the triangles"):
            for angle, score in scores(real_data, leg, name, seed).items():
                z.setdefault(angle, []).append(score)
    assert len(z) >= 28
    assert 0.8 <= rms([x for scores in z.values() for x in scores]) <= 1.25


LEGS = ("left", "right", (5.0, 40.0, 12.0), (20.0, 10.0, -4.0))


SOCKET = ("lcea", "acetabular")


def tables(data, families):
    """Scores by setting, by angle, and of the limb's angles by setting, printed."""
    by_model, by_angle, of_limb = {}, {}, {}
    for k, leg in enumerate(LEGS):
        for family in families:
            for j, name in enumerate(FAMILIES[family]):
                for angle, score in scores(data, leg, name, 9000 + 100 * k + 1000 * j).items():
                    by_model.setdefault(name, []).append(score)
                    by_angle.setdefault(angle, []).append(score)
                    if not angle.startswith(SOCKET):
                        of_limb.setdefault(name, []).append(score)
    for table in (by_model, by_angle, of_limb):
        print({name: (len(z), round(rms(z), 2)) for name, z in table.items()})
    return by_model, by_angle, of_limb


@pytest.mark.soak
def test_label_maps_scatter_as_the_surface_says(real_data):
    by_model, by_angle, _ = tables(real_data, ["voxels"])
    assert {name: rms(z) for name, z in by_model.items() if not 0.8 <= rms(z) <= 1.25} == {}
    # 20 scans of an angle, 10 of a talus' or a pelvis'; the socket's have a table of shares
    limb = {angle: rms(z) for angle, z in by_angle.items() if not angle.startswith(SOCKET)}
    assert {angle: z for angle, z in limb.items() if not 0.3 <= z <= 1.6} == {}


@pytest.mark.soak
def test_faired_label_maps_scatter_no_more_than_their_slices_say(real_data):
    # the socket's angles have shares of the roughness, which fairing hides: TECH_DEBT.md
    _, _, of_limb = tables(real_data, ["faired label maps"])
    assert {name: rms(z) for name, z in of_limb.items() if not 0.3 <= rms(z) <= 1.25} == {}


@pytest.mark.soak
def test_smooth_surfaces_thinned_or_smoothed_scatter_no_more_than_they_say(real_data):
    # of surfaces that were noisy before they were faired this does not hold: TECH_DEBT.md
    by_model, _, _ = tables(real_data, ["smoothing alone", "thinning"])
    assert rms([x for z in by_model.values() for x in z]) <= 1.25


def test_a_rougher_surface_repeats_worse_and_a_given_landmark_tells_nothing(real_data):
    bones, side = bones_of(real_data, "left")
    clean = base(real_data, "left")
    coarse = measure_alignment({n: thick(s, 7, part) for part, (n, s) in enumerate(bones.items())}, side)
    noisy = measure_alignment(
        {n: rough(s, np.random.default_rng(3), 0.5, 8.0) for n, s in bones.items()}, side
    )
    for name in ("mldfa_deg", "mpta_deg", "hka_deg", "femoral_version_deg.mechanical", "mldta_deg"):
        # a clean surface may have been smoothed, which is in its figure and not in a staircase's
        assert coarse.angles[name].surface_sd > 1.5 * clean.angles[name].surface_sd, name
        assert noisy.angles[name].surface_sd > clean.angles[name].surface_sd, name
    for name in ("hip_center", "distal_medial_condyle", "ankle_center"):
        assert coarse.landmarks[name].surface_sd_mm > 1.5 * clean.landmarks[name].surface_sd_mm > 0.0, name
