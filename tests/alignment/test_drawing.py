"""The drawing: outlines are contours, lines lie where the landmarks are, arcs show the angles they name."""

import json

import numpy as np
import pytest

import oracles_alignment as legs
from injectplan.alignment import alignment_drawing, measure_alignment
from injectplan.alignment.drawing import contour, view_axes
from injectplan.imaging.values import Surface
from injectplan.interop.markups import read_lines, write_axes
from injectplan.report import pictures


@pytest.fixture(scope="module")
def bones():
    return legs.leg(legs.femur(step=2.6), legs.tibia(step=2.6), "right", varus_deg=6.0)


@pytest.fixture(scope="module")
def alignment(bones):
    return measure_alignment(bones, "right")


def test_the_contour_of_a_ball_is_its_great_circle():
    ball = Surface(*legs.mesh(lambda p: np.linalg.norm(p, axis=-1) - 30.0, (-34,) * 3, (34,) * 3, 2.0))
    outward = np.array([0.6, 0.0, 0.8])
    points = contour(ball, outward).reshape(-1, 3)
    np.testing.assert_allclose(np.linalg.norm(points, axis=1), 30.0, atol=0.15)
    np.testing.assert_allclose(points @ outward, 0.0, atol=1.0)
    length = np.linalg.norm(np.diff(points.reshape(-1, 2, 3), axis=1), axis=2).sum()
    circle = 2.0 * np.pi * 30.0  # closed once round; in zigzag, as vertex normals are
    assert 0.98 * circle <= length <= 1.15 * circle


def test_a_right_leg_has_its_lateral_side_on_the_pages_left(bones, alignment):
    right, up = view_axes(alignment)["frontal"]
    p = {n: lm.position_mm for n, lm in alignment.landmarks.items() if lm.position_mm is not None}
    assert (p["lateral_plateau"] - p["medial_plateau"]) @ right < 0
    assert (p["hip_center"] - p["ankle_center"]) @ up > 0
    side_right, side_up = view_axes(alignment)["sagittal"]
    anterior = np.cross(right, up)
    assert side_right @ anterior == pytest.approx(-1.0)
    assert np.allclose(side_up, up)


def test_arcs_open_as_wide_as_the_angles_they_show(bones, alignment):
    drawing = alignment_drawing(alignment, bones)
    assert {line.view for line in drawing} == {"frontal", "knee", "sagittal"}
    arcs = [
        line.points_mm for line in drawing if line.view == "knee" and line.kind == "arc" and not line.label
    ]
    wanted = [alignment.angles[n].measure.value for n in ("mldfa_deg", "mpta_deg")]
    for arc, degrees in zip(arcs, wanted, strict=True):
        radius = 19.0
        opened = np.degrees(np.linalg.norm(np.diff(arc, axis=0), axis=1).sum() / radius)
        assert opened == pytest.approx(degrees, abs=1.5)
    labels = " ".join(line.label for line in drawing)
    for word in ("HKA", "mLDFA", "MPTA", "JLCA", "mLDTA", "neck-shaft angle"):
        assert word in labels


def test_bones_whose_triangles_share_no_corner_have_outlines_too(bones, alignment):
    loose = {
        n: Surface(s.vertices_mm[s.triangles.ravel()], np.arange(3 * len(s.triangles)).reshape(-1, 3))
        for n, s in bones.items()
    }
    drawn = [
        [line.points_mm for line in alignment_drawing(alignment, given) if line.kind == "outline"]
        for given in (bones, loose)
    ]
    assert len(drawn[0]) == len(drawn[1])
    for a, b in zip(*drawn, strict=True):
        assert len(b) == pytest.approx(len(a), rel=0.02)


def test_the_neck_shaft_arc_opens_by_its_projected_angle_and_axes_run_through_the_bone(bones, alignment):
    drawing = alignment_drawing(alignment, bones)
    (arc,) = [line.points_mm for line in drawing if line.label.startswith("neck-shaft angle")]
    opened = np.degrees(np.linalg.norm(np.diff(arc, axis=0), axis=1).sum() / 26.0)
    assert opened == pytest.approx(alignment.angles["nsa_projected_deg"].measure.value, abs=1.0)
    (shaft,) = [
        line.points_mm for line in drawing if line.view == "frontal" and line.label == "femoral shaft axis"
    ]
    (axis,) = [
        line.points_mm
        for line in drawing
        if line.view == "frontal" and line.label == "femoral mechanical axis"
    ]
    assert np.linalg.norm(shaft[0] - shaft[1]) >= 0.95 * np.linalg.norm(axis[0] - axis[1])


def test_the_picture_is_written_twice_alike(bones, alignment):
    drawing = alignment_drawing(alignment, bones)
    assert pictures.alignment_svg(drawing) == pictures.alignment_svg(drawing)
    assert "HKA" in pictures.alignment_svg(drawing)
    picture = pictures.alignment_drawing(drawing)
    assert (picture == pictures.alignment_drawing(drawing)).all()
    assert (picture < 250).any(axis=2).mean() > 0.005


def test_the_axes_for_slicer_are_lps_lines_between_the_landmarks(alignment, tmp_path):
    write_axes(alignment, tmp_path / "axes.mrk.json")
    markups = json.loads((tmp_path / "axes.mrk.json").read_text())["markups"]
    assert {m["coordinateSystem"] for m in markups} == {"LPS"}
    first = markups[0]["controlPoints"][0]
    hip = alignment.landmarks["hip_center"].position_mm
    np.testing.assert_allclose(first["position"], hip * [-1.0, -1.0, 1.0], atol=1e-5)
    back = read_lines(tmp_path / "axes.mrk.json")
    wanted = {
        "femoral mechanical axis",
        "tibial mechanical axis",
        "load line",
        "femoral neck axis",
        "plafond",
    }
    assert wanted <= back.keys()
    np.testing.assert_allclose(
        back["load line"][1], alignment.landmarks["ankle_center"].position_mm, atol=1e-5
    )
