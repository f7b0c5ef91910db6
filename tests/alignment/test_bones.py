"""Landmarks from bones: synthetic legs with imposed angles, laws, and traps."""

import functools

import numpy as np
import pytest

import oracles_alignment as legs
from injectplan.alignment import measure_alignment
from injectplan.errors import ContradictionError, LandmarkError, NothingToMeasureError, UnitsError
from injectplan.frames import flip_lps_ras
from injectplan.imaging.values import Surface


@functools.cache
def femur(version=15.0, step=2.2):
    return legs.femur(version, step)


@functools.cache
def tibia(torsion=25.0, plateau=0.0, step=2.2):
    return legs.tibia(torsion, plateau, step)


@functools.cache
def fibula(torsion=25.0):
    return legs.fibula(torsion, 2.2)


def values(alignment):
    return {n: a.measure.value for n, a in alignment.angles.items() if a.measure.known}


def moved(surface, rotation, shift):
    return Surface(surface.vertices_mm @ rotation.T + shift, surface.triangles)


def plain(side="right", **kwargs):
    return legs.leg(femur(), tibia(), side, fibula_part=fibula(), **kwargs)


@pytest.fixture(scope="module")
def base():
    return measure_alignment(plain(), "right")


ANY_TURN = np.linalg.qr(np.array([[1.0, 2.0, 3.0], [-2.0, 1.0, 0.5], [0.3, -1.0, 2.0]]))[0]
ANY_TURN = ANY_TURN * np.sign(np.linalg.det(ANY_TURN))


VARUS = np.arange(-20.0, 21.0, 5.0)
VERSIONS = np.arange(-20.0, 61.0, 10.0)
TORSIONS = np.arange(-10.0, 61.0, 10.0)


@pytest.mark.parametrize("varus", VARUS)
def test_imposed_varus_is_measured(varus):
    got = values(measure_alignment(plain(varus_deg=varus), "right"))
    want = legs.true_angles(varus_deg=varus)
    assert len(want) == 6
    for name, value in want.items():
        assert got[name] == pytest.approx(value, abs=0.1), name


@pytest.mark.parametrize("plateau", [-15.0, -10.0, -5.0, 8.0, 15.0])
def test_an_imposed_plateau_tilt_is_the_mpta(plateau):
    got = values(measure_alignment(legs.leg(femur(), tibia(plateau=plateau)), "right"))
    assert got["mpta_deg"] == pytest.approx(90.0 + plateau, abs=0.1)
    assert got["hka_deg"] == pytest.approx(legs.true_angles()["hka_deg"], abs=0.1)


@pytest.mark.parametrize("version", VERSIONS)
def test_imposed_version_is_measured(version):
    got = values(measure_alignment(legs.leg(femur(version), tibia()), "right"))
    want = legs.true_angles(version)
    for name in ("femoral_version_deg.mechanical", "nsa_deg", "hka_deg", "mldfa_deg"):
        assert got[name] == pytest.approx(want[name], abs=0.1), name


@pytest.mark.parametrize("torsion", TORSIONS)
def test_imposed_torsion_is_measured(torsion):
    got = values(measure_alignment(legs.leg(femur(), tibia(torsion), fibula_part=fibula(torsion)), "right"))
    for method in ("bimalleolar", "pilon", "plateau_bimalleolar"):
        assert got[f"tibial_torsion_deg.{method}"] == pytest.approx(torsion, abs=0.1), method


@pytest.mark.parametrize(
    ("version", "varus", "torsion", "side"),
    [(-20.0, -20.0, 60.0, "left"), (-20.0, 20.0, -10.0, "right"), (60.0, -20.0, -10.0, "right"),
     (60.0, 20.0, 60.0, "left")],
)  # fmt: skip
def test_the_corners_of_all_ranges_are_measured_together(version, varus, torsion, side):
    bones = legs.leg(femur(version), tibia(torsion), side, varus, fibula_part=fibula(torsion))
    got = values(measure_alignment(bones, side))
    for name, value in legs.true_angles(version, varus, torsion_deg=torsion).items():
        assert got[name] == pytest.approx(value, abs=0.1), name


def test_the_frontal_identity_holds_on_a_straight_leg(base):
    assert abs(base.identity_residual_deg) <= 0.01


def test_a_rigid_motion_changes_nothing(base):
    shift = np.array([400.0, -900.0, 77.0])
    again = measure_alignment({n: moved(s, ANY_TURN, shift) for n, s in plain().items()}, "right")
    for name, value in values(base).items():
        assert values(again)[name] == pytest.approx(value, abs=0.01), name
    hip, there = (a.landmarks["hip_center"].position_mm for a in (base, again))
    np.testing.assert_allclose(ANY_TURN @ hip + shift, there, atol=1e-3)


def test_the_mirror_image_is_the_other_side_with_the_same_angles(base):
    other = measure_alignment(plain("left"), "left")
    for name, value in values(base).items():
        assert values(other)[name] == pytest.approx(value, abs=0.05), name
    with pytest.raises(ContradictionError, match="right"):
        measure_alignment(plain("left"), "right")
    assert measure_alignment(plain("left"), None).side == "left"


def test_the_order_of_vertices_and_faces_does_not_matter(base):
    rng = np.random.default_rng(1)
    shuffled = {}
    for name, s in plain().items():
        order = rng.permutation(len(s.vertices_mm))
        place = np.argsort(order)
        triangles = place[s.triangles][rng.permutation(len(s.triangles))]
        shuffled[name] = Surface(s.vertices_mm[order], np.roll(triangles, 1, axis=1))
    for name, value in values(measure_alignment(shuffled, "right")).items():
        assert value == pytest.approx(values(base)[name], abs=0.01), name


def test_metres_are_recognised_and_implausible_lengths_refused(base):
    metres = {n: Surface(s.vertices_mm / 1000.0, s.triangles) for n, s in plain().items()}
    again = measure_alignment(metres, "right")
    assert any(n.code == "units" for n in again.notices)
    assert values(again)["hka_deg"] == pytest.approx(values(base)["hka_deg"], abs=0.01)
    with pytest.raises(UnitsError):
        measure_alignment(metres, "right", units="mm")
    with pytest.raises(UnitsError):
        measure_alignment(plain(), "right", units="m")


def test_lps_for_ras_keeps_angles_and_flips_positions(base):
    flipped = {n: Surface(flip_lps_ras(s.vertices_mm), s.triangles) for n, s in plain().items()}
    again = measure_alignment(flipped, "right")
    for name in ("hka_deg", "mpta_deg", "femoral_version_deg.mechanical"):
        assert values(again)[name] == pytest.approx(values(base)[name], abs=0.01)
    np.testing.assert_allclose(
        again.landmarks["ankle_center"].position_mm,
        flip_lps_ras(base.landmarks["ankle_center"].position_mm), atol=1e-2,
    )  # fmt: skip


@pytest.mark.parametrize("flexion", [10.0, 30.0])
def test_a_flexed_knee_is_measured_and_said(base, flexion):
    bones = legs.leg(femur(), tibia(), varus_deg=5.0, flexion_deg=flexion)
    got = measure_alignment(bones, "right")
    start = values(measure_alignment(legs.leg(femur(), tibia(), varus_deg=5.0), "right"))
    assert values(got)["knee_flexion_deg"] - start["knee_flexion_deg"] == pytest.approx(flexion, abs=0.5)
    assert values(got)["hka_deg"] == pytest.approx(start["hka_deg"], abs=3.0)
    assert any(n.code == "knee_flexion" for n in got.notices)
    assert any("flexed" in r for r in got.verdict.reasons)


def test_a_fibula_in_the_tibias_file_and_loose_crumbs_change_nothing(base):
    bones = legs.leg(femur(), tibia())
    shin, calf = bones["tibia"], plain()["fibula"]
    crumb = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1.0]]) + shin.vertices_mm.max(axis=0)
    n, m = len(shin.vertices_mm), len(calf.vertices_mm)
    merged = Surface(
        np.vstack([shin.vertices_mm, calf.vertices_mm, crumb]),
        np.vstack(
            [
                shin.triangles,
                calf.triangles + n,
                np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [0, 3, 2]]) + n + m,
            ]
        ),
    )
    got = measure_alignment({"femur": bones["femur"], "tibia": merged}, "right")
    assert values(got)["hka_deg"] == pytest.approx(values(base)["hka_deg"], abs=0.01)
    assert any(notice.code == "loose_pieces" for notice in got.notices)


def test_bones_of_different_frames_give_their_own_angles_and_no_verdict(base):
    bones = plain()
    bones["tibia"] = moved(bones["tibia"], np.eye(3), np.array([0.0, 0.0, 380.0]))
    got = measure_alignment({n: bones[n] for n in ("femur", "tibia")}, "right")
    assert got.verdict.state == "REFUSED"
    assert "frame" in got.verdict.reasons[0]
    assert "hka_deg" not in values(got)
    assert values(got)["mpta_deg"] == pytest.approx(values(base)["mpta_deg"], abs=0.2)


def test_a_femur_alone_gives_its_own_angles():
    got = measure_alignment({"femur": plain()["femur"]}, "right")
    assert {"mldfa_deg", "nsa_deg", "femoral_version_deg.murphy"} <= values(got).keys()
    assert got.verdict.state == "REFUSED"
    assert "tibia" in got.verdict.reasons[0]


def test_what_is_no_femur_and_no_tibia_is_refused():
    bones = plain()
    with pytest.raises(LandmarkError):
        measure_alignment({"femur": bones["tibia"]}, "right")
    with pytest.raises(LandmarkError):
        measure_alignment({"femur": bones["fibula"]}, "right")
    with pytest.raises(LandmarkError):
        measure_alignment({"tibia": bones["femur"]}, "right")
    ball = legs.mesh(lambda p: np.linalg.norm(p, axis=-1) - 40.0, (-45,) * 3, (45,) * 3, 3.0)
    for name in ("femur", "tibia"):
        with pytest.raises(LandmarkError):
            measure_alignment({name: Surface(*ball)}, "right")
    with pytest.raises(NothingToMeasureError):
        measure_alignment({"patella": Surface(*ball)}, "right")


@pytest.mark.parametrize("noise", [0.5])
def test_white_noise_is_survived_without_a_silent_failure(base, noise):
    rng = np.random.default_rng(4)
    rough = {
        n: Surface(s.vertices_mm + noise * rng.standard_normal(s.vertices_mm.shape), s.triangles)
        for n, s in plain().items()
    }
    got = values(measure_alignment(rough, "right"))
    assert got["hka_deg"] == pytest.approx(values(base)["hka_deg"], abs=1.0)
    assert got["mldfa_deg"] == pytest.approx(values(base)["mldfa_deg"], abs=2.0)
