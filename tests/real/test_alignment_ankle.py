"""The ankle's end of real tibiae: cuts by the field of view, coarse bones, what is no tibia."""

import functools

import numpy as np
import pytest
from scipy.spatial import KDTree

from injectplan.alignment import measure_alignment
from injectplan.alignment.bones import prepare, view_edge
from injectplan.alignment.plafond import measure_ankle
from injectplan.errors import LandmarkError, UnitsError
from injectplan.frames import angle_deg, unit
from injectplan.imaging.values import Surface
from real_legs import atlas_leg, ct_leg, cut, mesh_of, rough, surface_of, turn, voxelised

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


@pytest.mark.parametrize("step_mm", [5.0, pytest.param(1.0, marks=pytest.mark.soak)])
@pytest.mark.parametrize("tilt", [(0, 0.0), (0, -15.0), (0, 15.0), (1, -15.0), (1, 15.0)])
@pytest.mark.parametrize("side", ["left", "right"])
def test_every_cut_about_the_plafond_is_seen_or_does_not_matter(real_data, side, tilt, step_mm):
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
    for height in np.arange(-30.0, 40.5, step_mm):
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
    assert step_mm * min(measured.values()) >= 8.0, measured


PILON = "tibial_torsion_deg.pilon"
ALL = ("mpta_deg", "mldta_deg", *TORSION)


@pytest.mark.parametrize(
    ("height", "told"),
    [(-12.0, ALL), (-11.0, ALL), (-10.0, ("mpta_deg", PILON)), (-8.0, ("mpta_deg", PILON)),
     (-3.0, ()), (0.0, ()), (4.0, ()), (20.0, ())],
)  # fmt: skip
@pytest.mark.parametrize("side", ["left", "right"])
def test_a_cut_ankle_has_its_reasons_in_the_result(real_data, side, height, told):
    bones, whole, p, up, _ = lower_leg(real_data, side)
    scan = bones | {"tibia": closed_cut(bones["tibia"], p["ankle_center"] + height * up, up)}
    got = measure_alignment(scan, side, joint="ankle")
    for name in ALL:
        measure = got.angles[name].measure
        assert measure.known == (name in told), name
        if measure.known:
            assert measure.value == pytest.approx(whole.angles[name].measure.value, abs=1.0), name
        else:
            assert "view" in measure.reason, name
    assert got.verdict.state == ("OK" if "mldta_deg" in told else "REFUSED")


@pytest.mark.parametrize("vertices", [132, 200, 400])
@pytest.mark.parametrize("side", ["left", "right"])
def test_a_coarse_leg_is_right_within_what_it_states(real_data, side, vertices):
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
        assert off <= measure.sd, (name, off, measure.sd)
        assert off <= 4.0, (name, off)


def test_a_talus_is_no_tibia_though_a_rough_cut_tibia_is(real_data):
    for side in ("left", "right"):
        talus, patella = ct_leg(real_data, side, ("talus", "patella")).values()
        for size in (1.0, 1.15, 1.3, 1.5):  # 45 to 74 mm long
            for bone in (talus, patella):
                larger = Surface(bone.vertices_mm * size, bone.triangles)
                with pytest.raises((LandmarkError, UnitsError)):
                    measure_alignment({"tibia": larger}, side)
        bones, _, p, up, _ = lower_leg(real_data, side)
        knee = closed_cut(bones["tibia"], p["tibial_knee_center"] - 70.0 * up, up)
        knee = voxelised([knee], (1.0, 1.0, 1.0))
        got = measure_alignment({"tibia": rough(knee, np.random.default_rng(2), 1.0, 8.0)}, side)
        assert "medial_plateau" in got.landmarks


@pytest.mark.parametrize("source", [ct_leg, atlas_leg])
@pytest.mark.parametrize("side", ["left", "right"])
def test_the_ankles_centre_is_the_middle_of_what_faces_the_talus(real_data, source, side):
    bones = source(real_data, side, ("femur", "tibia", "fibula", "talus"))
    marks = measure_alignment(bones, side).landmarks
    knee, center = (marks[n].position_mm for n in ("tibial_knee_center", "ankle_center"))
    up = unit(knee - center)
    back = 0.5 * sum(marks[f"posterior_{s}_plateau"].position_mm for s in ("medial", "lateral")) - knee
    fore = -unit(back - (back @ up) * up)
    surface, talus = bones["tibia"], bones["talus"]
    corners, dome = surface.vertices_mm[surface.triangles], talus.vertices_mm[talus.triangles]
    area = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    middle = corners.mean(axis=1)
    area *= np.sign(np.einsum("ij,ij->", middle - middle.mean(axis=0), area))
    shares = np.random.default_rng(0).dirichlet((1.0, 1.0, 1.0), 6)
    spread = np.concatenate([np.einsum("c,ncj->nj", share, dome) for share in shares])
    down = -(area @ up)
    facing = (KDTree(spread).query(middle)[0] < 4.0) & (down > 0.7 * np.linalg.norm(area, axis=1))
    off = np.average(middle[facing], axis=0, weights=down[facing]) - center
    assert abs(off @ fore) < 2.5
    assert np.linalg.norm(off - (off @ up) * up) < 3.5


@pytest.mark.parametrize("degrees", [-18.0, -13.0, 10.0, 13.0, 18.0])
@pytest.mark.parametrize("side", ["right", "left"])
def test_a_supramalleolar_deformity_is_measured(real_data, side, degrees):
    """Tibia, fibula and talus turned 30 mm above the joint line, blended over 40: mLDTA follows."""
    _, whole, p, up, inward = lower_leg(real_data, side)
    center, axis = p["ankle_center"] + 30.0 * up, np.cross(up, inward)
    bones = {}
    for name, s in ct_leg(real_data, side, ("femur", "tibia", "fibula", "talus")).items():
        moved = s.vertices_mm - center
        share = np.clip((20.0 - moved @ up) / 40.0, 0.0, 1.0)
        share = share**3 * (share * (6.0 * share - 15.0) + 10.0)
        moved = np.einsum("nij,nj->ni", turn(axis, degrees * share), moved)
        bones[name] = Surface(moved + center, s.triangles) if name != "femur" else s
    found = measure_alignment(bones, side, joint="ankle")
    change = found.angles["mldta_deg"].measure.value - whole.angles["mldta_deg"].measure.value
    assert abs(change) == pytest.approx(abs(degrees), abs=2.0)
    assert found.verdict.state in ("INDETERMINATE", "EXCLUDE")
