"""The drawing: outlines are contours, lines lie where the landmarks are, arcs show the angles they name."""

import json

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

import oracles_alignment as legs
from injectplan.alignment import alignment_drawing, measure_alignment, measure_alignment_of_landmarks
from injectplan.alignment.drawing import contour, view_axes
from injectplan.imaging.values import Surface
from injectplan.interop.markups import read_lines, write_axes
from injectplan.report import pictures
from planar_leg import marks, planar_leg


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
        line.points_mm
        for line in drawing
        if line.view == "knee" and line.kind == "arc" and line.label.startswith(("mLDFA", "MPTA"))
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


def page_angle(line, other):
    """Angle on the page between two lines' directions, degrees, 0 to 90."""
    a, b = (
        np.diff(points, axis=0)[0] / np.linalg.norm(np.diff(points, axis=0)[0]) for points in (line, other)
    )
    return np.degrees(np.arccos(min(1.0, abs(float(a @ b)))))


def one(drawing, view, start):
    (line,) = [
        line for line in drawing if line.view == view and line.kind != "note" and line.label.startswith(start)
    ]
    return line


@pytest.mark.parametrize("flexion", [0.0, 30.0])
@pytest.mark.parametrize("side", ["right", "left"])
def test_the_plafond_stands_at_mldta_to_the_tibial_axis_in_a_bent_knee_too(side, flexion):
    """An ankle turned out by 25° of torsion slopes on the femur's plane where the knee is bent."""
    points = planar_leg(side=side, flexion=flexion, torsion=25.0)
    across = points["medial_malleolus"] - points["lateral_malleolus"]
    shin = points["tibial_knee_center"] - points["ankle_center"]
    across = across - (across @ shin) / (shin @ shin) * shin
    tilt = 3.0 / 57.29578 * np.linalg.norm(across) * shin / np.linalg.norm(shin)  # 3° up medially
    points["plafond_medial"] = points["ankle_center"] + 0.3 * (across + tilt)
    points["plafond_lateral"] = points["ankle_center"] - 0.3 * (across + tilt)
    measured = measure_alignment_of_landmarks(marks(points), side)
    mldta = measured.angles["mldta_deg"].measure.value
    assert abs(mldta - 90.0) == pytest.approx(3.0, abs=0.01)
    drawing = alignment_drawing(measured, {})
    line = one(drawing, "frontal", "mLDTA").points_mm
    axis = one(drawing, "frontal", "tibial mechanical axis").points_mm
    assert page_angle(line, axis) == pytest.approx(87.0, abs=0.01)
    medial, lateral = line
    assert (medial[1] > lateral[1]) == (mldta > 90.0)
    assert (medial[0] > lateral[0]) == (side == "right")


def knee_only(bones, alignment, *, ankle=False):
    """The same leg cut 110 mm above the knee, and as far below it unless the ankle is seen."""
    at = alignment.landmarks["femoral_knee_center"].position_mm
    up = alignment.landmarks["hip_center"].position_mm - at
    up = up / np.linalg.norm(up)

    def cut(surface, low, high):
        height = (surface.vertices_mm - at) @ up
        keep = ((height > low) & (height < high))[surface.triangles].all(axis=1)
        return Surface(surface.vertices_mm, surface.triangles[keep])

    low = -1000.0 if ankle else -135.0
    return {n: cut(s, low, 110.0) for n, s in bones.items() if n in ("femur", "tibia")}


@pytest.mark.parametrize("ankle", [False, True])
def test_a_predicted_axis_is_drawn_at_the_predicted_angle_with_its_interval(bones, alignment, ankle):
    seen = knee_only(bones, alignment, ankle=ankle)
    measured = measure_alignment(seen, "right")
    hka = measured.angles["hka_deg"]
    assert hka.measure.method.startswith("predicted")
    drawing = alignment_drawing(measured, seen)
    femur = one(drawing, "frontal", "femoral mechanical axis, predicted").points_mm
    name = "tibial mechanical axis" if ankle else "tibial mechanical axis, predicted"
    tibia = one(drawing, "frontal", name).points_mm
    assert page_angle(femur, tibia) == pytest.approx(abs(180.0 - hka.measure.value), abs=0.05)
    limits = [line.points_mm for line in drawing if line.kind == "predicted limit"]
    fixed = tibia if ankle else femur
    wanted = sorted(abs(180.0 - x) for x in hka.interval)
    assert sorted(page_angle(fixed, limit) for limit in limits) == pytest.approx(wanted, abs=0.05)
    arc = one(drawing, "frontal", "HKA").points_mm
    opened = np.degrees(np.linalg.norm(np.diff(arc, axis=0), axis=1).sum() / 40.0)
    assert opened == pytest.approx(hka.measure.value, abs=0.2)


def test_labels_at_the_knee_lie_apart_and_in_order(bones, alignment):
    drawing = alignment_drawing(alignment, bones)
    femur, gap, tibia = (
        line.anchor_mm for line in (one(drawing, "knee", word) for word in ("mLDFA", "JLCA", "MPTA"))
    )
    assert femur[1] > gap[1] + 8.0
    assert gap[1] > tibia[1] + 8.0


def test_no_two_labels_of_a_picture_overlap(bones, alignment):
    figure = pictures._alignment_figure(alignment_drawing(alignment, bones))
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    for axis in figure.axes:
        boxes = [text.get_window_extent(renderer) for text in axis.texts]
        for i, box in enumerate(boxes):
            assert not any(box.overlaps(other) for other in boxes[i + 1 :])


def test_the_hka_arc_opens_by_hka_on_the_medial_side(bones, alignment):
    arc = one(alignment_drawing(alignment, bones), "frontal", "HKA").points_mm
    opened = np.degrees(np.linalg.norm(np.diff(arc, axis=0), axis=1).sum() / 60.0)
    assert opened == pytest.approx(alignment.angles["hka_deg"].measure.value, abs=0.2)
    assert arc[24, 0] > 50.0  # a right leg's medial side lies on the page's right
