"""The pelvis from bones: a synthetic pelvis of known angles, laws, and views that do not suffice."""

import functools

import numpy as np
import pytest

import oracles_alignment as legs
from injectplan.alignment import measure_alignment
from injectplan.alignment.angles import angles_of
from injectplan.errors import ContradictionError
from injectplan.frames import unit
from injectplan.imaging.values import Surface

NAMES = tuple(legs.true_pelvis())


@functools.cache
def femur():
    return legs.femur(step=2.2)


@functools.cache
def hip(inclination=45.0, version=15.0):
    return legs.hip_bone(inclination, version)


def bones(inclination=45.0, version=15.0, side="right"):
    own, other = legs.hip_bones(hip(inclination, version), side)
    return {"femur": legs.surface(femur(), side), "hip_bone": own, "opposite_hip_bone": other}


def values(alignment):
    return {n: alignment.angles[n].measure.value for n in NAMES if alignment.angles[n].measure.known}


def clipped(surface, keep):
    """The triangles whose corners are all kept: an open mesh at the field of view's edge."""
    return Surface(
        surface.vertices_mm, surface.triangles[keep(surface.vertices_mm)[surface.triangles].all(1)]
    )


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize(("inclination", "version"), [(45.0, 15.0), (35.0, 25.0), (55.0, -5.0)])
def test_the_sockets_angles_are_measured(side, inclination, version):
    got = values(measure_alignment(bones(inclination, version, side), side))
    want = legs.true_pelvis(inclination, version)
    for name in NAMES:
        assert got[name] == pytest.approx(want[name], abs=1.0), name


def test_every_angle_of_the_pelvis_says_plane_method_and_scatter():
    got = measure_alignment(bones(), "right")
    for name in NAMES:
        angle = got.angles[name]
        assert "pelvic plane" in angle.plane
        assert "Murray 1993" in angle.measure.method or "Wiberg" in angle.measure.method
        assert 0.5 < angle.measure.sd < 6.0
        assert angle.measure.sd == pytest.approx(angle.sd_linear, rel=0.1)


def test_a_rigid_motion_and_a_shared_file_change_nothing():
    base = values(measure_alignment(bones(), "right"))
    q = np.linalg.qr(np.array([[1.0, 2.0, 3.0], [-2.0, 1.0, 0.5], [0.3, -1.0, 2.0]]))[0]
    q *= np.sign(np.linalg.det(q))
    parts = {n: Surface(s.vertices_mm @ q.T + [50.0, -70.0, 900.0], s.triangles) for n, s in bones().items()}
    a, b = parts.pop("hip_bone"), parts.pop("opposite_hip_bone")
    n = len(b.vertices_mm)
    both = Surface(np.vstack([b.vertices_mm, a.vertices_mm]), np.vstack([b.triangles, a.triangles + n]))
    again = values(measure_alignment(parts | {"hip_bone": both}, "right"))
    for name in NAMES:
        assert again[name] == pytest.approx(base[name], abs=0.3), name


def test_one_hip_bone_has_no_pelvic_plane_and_says_so():
    given = bones()
    del given["opposite_hip_bone"]
    got = measure_alignment(given, "right")
    assert not values(got)
    for name in NAMES:
        assert "both hip bones" in got.angles[name].measure.reason
    assert got.landmarks["acetabular_center"].details["coverage"] > 0.3


@pytest.mark.parametrize(("part", "why"), [("spine", "spine"), ("socket", "socket"), ("all", "no hip bone")])
def test_a_pelvis_cut_by_the_field_of_view_is_refused_with_its_reason(part, why):
    given = bones()
    head = measure_alignment(given, "right").landmarks["hip_center"].position_mm
    for name in ("hip_bone", "opposite_hip_bone"):
        if part == "all":
            del given[name]
            continue
        keep = {
            "spine": lambda p: p[:, 2] - head[2] < 45.0,
            "socket": lambda p: np.linalg.norm(p - head, axis=1) > 38.0,
        }[part]
        given[name] = clipped(given[name], keep)
    got = measure_alignment(given, "right")
    assert "lcea_deg" not in values(got)
    assert why in got.angles["lcea_deg"].measure.reason
    assert got.angles["nsa_deg"].measure.known


def test_a_pelvis_of_the_other_handedness_is_contradicted():
    given = bones()
    center = measure_alignment(given, "right").landmarks["hip_center"].position_mm
    for name in ("hip_bone", "opposite_hip_bone"):  # front to back: what a mirrored file shows
        p = np.array(given[name].vertices_mm)
        p[:, 1] = 2.0 * center[1] - p[:, 1]
        given[name] = Surface(p, given[name].triangles[:, ::-1])
    with pytest.raises(ContradictionError, match="mirrored"):
        measure_alignment(given, "right")


@pytest.mark.parametrize(("inclination", "version"), [(45.0, 15.0), (38.0, 22.0)])
def test_murrays_six_angles_hang_together(inclination, version):
    # Murray (1993): the conversions between the radiographic, anatomical and operative definitions
    n = legs.cup_axis(inclination, version)
    points = {
        "hip_center": np.zeros(3), "anterior_superior_iliac_spine": np.array([30.0, 45.0, 80.0]),
        "opposite_anterior_superior_iliac_spine": np.array([-210.0, 45.0, 80.0]),
        "pubic_tubercle_midpoint": np.array([-90.0, 45.0, -10.0]),
        "acetabular_center": np.zeros(3), "acetabular_opening_point": 25.0 * n,
    }  # fmt: skip
    got = angles_of(points, 1.0)
    ri, ra = np.radians([inclination, version])
    ai, aa, oi, oa = (
        np.radians(got[f])
        for f in ("acetabular_murray_deg.anatomical_inclination", "acetabular_version_deg",
                  "acetabular_murray_deg.operative_inclination", "acetabular_murray_deg.operative_version")
    )  # fmt: skip
    assert got["acetabular_inclination_deg"] == pytest.approx(inclination, abs=1e-9)
    assert got["acetabular_murray_deg.radiographic_version"] == pytest.approx(version, abs=1e-9)
    assert np.cos(ai) == pytest.approx(np.cos(ri) * np.cos(ra))
    assert np.tan(aa) == pytest.approx(np.tan(ra) / np.sin(ri))
    assert np.sin(oi) == pytest.approx(np.sin(ri) * np.cos(ra))
    assert np.tan(oa) == pytest.approx(np.tan(ra) / np.cos(ri))
    assert unit(n) == pytest.approx(n)
