"""The ankle's end of real tibiae: cuts by the field of view, coarse bones, what is no tibia."""

import functools

import numpy as np
import pytest

from injectplan.alignment import measure_alignment
from injectplan.alignment.bones import prepare, view_edge
from injectplan.alignment.plafond import measure_ankle
from injectplan.errors import LandmarkError
from injectplan.frames import angle_deg, unit
from real_legs import ct_leg, cut, mesh_of, rough, surface_of, turn, voxelised

pytestmark = pytest.mark.real

TORSION = ("tibial_torsion_deg.bimalleolar", "tibial_torsion_deg.pilon")


@functools.cache
def lower_leg(data, side):
    bones = ct_leg(data, side, ("tibia", "fibula"))
    whole = measure_alignment(bones, side)
    p = {n: lm.position_mm for n, lm in whole.landmarks.items() if lm.position_mm is not None}
    up = unit(p["tibial_knee_center"] - p["ankle_center"])
    return bones, whole, p, up, unit(p["plafond_medial"] - p["plafond_lateral"])


def closed_cut(surface, at, normal):
    return surface_of(mesh_of(surface).clip_closed_surface(normal=normal, origin=at).triangulate())


@pytest.mark.parametrize("tilt", [(0, 0.0), (0, -15.0), (0, 15.0), (1, -15.0), (1, 15.0)])
@pytest.mark.parametrize("side", ["left", "right"])
def test_every_cut_about_the_plafond_is_seen_or_does_not_matter(real_data, side, tilt):
    bones, _, p, up, medial = lower_leg(real_data, side)
    knee, center = p["tibial_knee_center"], p["ankle_center"]
    normal = turn((medial, np.cross(medial, up))[tilt[0]], tilt[1]) @ up
    # the lower half alone: what is above does not count, and goes faster
    half = cut(bones["tibia"], center + 150.0 * up, -up)

    def ankle(surface):
        bone = prepare(surface, "tibia")
        return measure_ankle(bone, up, medial, knee, view_edge(bone, up))

    def line_deg(fit):
        return angle_deg(up, fit.plafond[1] - fit.plafond[0])

    def malleolus_deg(fit):
        return np.degrees(np.arctan2((fit.malleolus - center) @ np.cross(up, medial),
                                     (fit.malleolus - center) @ medial))  # fmt: skip

    base = ankle(half)
    measured, refused = {"center": 0, "line": 0, "tip": 0}, []
    for height in np.arange(-30.0, 40.5, 1.0):
        # both a closed face and an open outline, in turn
        at = center + height * up
        part = closed_cut(bones["tibia"], at, normal) if height % 2 else cut(half, at, normal)
        try:
            got = ankle(part)
        except LandmarkError as error:
            refused.append(str(error))
            continue
        measured["center"] += 1
        # one degree of the tibia's axis is 6 mm at the ankle
        assert np.linalg.norm(got.center - base.center) < 3.0, height
        if got.plafond is None:
            assert "view" in got.missing["plafond_medial"]
        else:
            measured["line"] += 1
            assert abs(line_deg(got) - line_deg(base)) < 1.0, height
        if got.malleolus is None:
            assert got.missing["medial_malleolus"]
        else:
            measured["tip"] += 1
            assert abs(malleolus_deg(got) - malleolus_deg(base)) < 2.0, height
    assert all("in view" in why or "edge of the view" in why for why in refused)
    # not by refusing everything: a cut that leaves the bone whole is no cut
    assert min(measured.values()) >= 8, measured


@pytest.mark.parametrize("height", [-11.0, -8.0, -3.0, 0.0, 4.0, 20.0])
def test_a_cut_ankle_has_its_reasons_in_the_result(real_data, height):
    bones, whole, p, up, _ = lower_leg(real_data, "left")
    scan = bones | {"tibia": closed_cut(bones["tibia"], p["ankle_center"] + height * up, up)}
    got = measure_alignment(scan, "left", joint="ankle")
    for name in ("mpta_deg", "mldta_deg", *TORSION):
        measure = got.angles[name].measure
        if measure.known:
            assert measure.value == pytest.approx(whole.angles[name].measure.value, abs=1.0), name
        else:
            assert "view" in measure.reason, name
    if height > -10.5:
        assert not got.angles["tibial_torsion_deg.bimalleolar"].measure.known
    if height > -8.5:
        assert got.verdict.state == "REFUSED"


@pytest.mark.parametrize("vertices", [132, 200, 400])
@pytest.mark.parametrize("side", ["left", "right"])
def test_a_coarse_leg_is_right_or_says_how_unsure_it_is(real_data, side, vertices):
    names = ("femur", "tibia", "fibula", "talus")
    bones = ct_leg(real_data, side, names)
    whole = measure_alignment(bones, side)
    coarse = {
        n: surface_of(mesh_of(s).decimate(1.0 - 2.0 * vertices / len(s.triangles))) for n, s in bones.items()
    }
    got = measure_alignment(coarse, side)
    for name in ("hka_deg", "mldfa_deg", "mpta_deg", "nsa_deg", "mldta_deg", "talar_tilt_deg", *TORSION):
        measure = got.angles[name].measure
        off = abs(measure.value - whole.angles[name].measure.value)
        assert off <= 3.0 or off <= measure.sd, (name, off, measure.sd)


def test_a_talus_is_no_tibia_though_a_rough_cut_tibia_is(real_data):
    for side in ("left", "right"):
        talus = ct_leg(real_data, side, ("talus",))["talus"]
        with pytest.raises(LandmarkError):
            measure_alignment({"tibia": talus}, side)
        bones, _, p, up, _ = lower_leg(real_data, side)
        knee = closed_cut(bones["tibia"], p["tibial_knee_center"] - 70.0 * up, up)
        knee = voxelised([knee], (1.0, 1.0, 1.0))
        got = measure_alignment({"tibia": rough(knee, np.random.default_rng(2), 1.0, 8.0)}, side)
        assert "medial_plateau" in got.landmarks
