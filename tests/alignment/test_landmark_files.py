"""Landmark files: three formats give the same RAS positions; hostile ones one plain error."""

import json

import numpy as np
import pytest

from injectplan.alignment import alignment_document, measure_alignment_of_landmarks, read_landmarks
from injectplan.alignment.scatter import tangent_point
from injectplan.documents import to_json
from injectplan.errors import FileError
from planar_leg import planar_leg

POINTS = {"hip_center": [80.0, -12.0, 900.0], "ankle_center": [75.0, 3.0, 40.0]}


def own(frame):
    flip = -1.0 if frame == "LPS" else 1.0
    entries = {n: {"position_mm": [flip * x, flip * y, z], "sd_mm": 0.7} for n, (x, y, z) in POINTS.items()}
    return json.dumps({"side": "right", "frame": frame, "landmarks": entries})


def markups(system):
    flip = -1.0 if system == "LPS" else 1.0
    points = [{"label": n, "position": [flip * x, flip * y, z]} for n, (x, y, z) in POINTS.items()]
    return json.dumps(
        {"markups": [{"type": "Fiducial", "coordinateSystem": system, "controlPoints": points}]}
    )


def fcsv(system):
    flip = -1.0 if system in ("LPS", "1") else 1.0
    head = f"# Markups fiducial file version = 4.11\n# CoordinateSystem = {system}\n"
    head += "# columns = id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID\n"
    return head + "".join(
        f"{i},{flip * x},{flip * y},{z},0,0,0,1,1,1,0,{n},,\n"
        for i, (n, (x, y, z)) in enumerate(POINTS.items())
    )


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.json", own("RAS")), ("b.json", own("LPS")), ("c.mrk.json", markups("LPS")),
     ("d.mrk.json", markups("RAS")), ("e.fcsv", fcsv("LPS")), ("f.fcsv", fcsv("0")), ("g.fcsv", fcsv("1"))],
)  # fmt: skip
def test_all_formats_give_the_same_ras_positions(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    landmarks, side = read_landmarks(tmp_path / name)
    assert landmarks.keys() == POINTS.keys()
    for n, at in POINTS.items():
        np.testing.assert_allclose(landmarks[n].position_mm, at)
    assert landmarks["hip_center"].sd_mm == pytest.approx(0.7 if name in ("a.json", "b.json") else 0.5)
    assert side == ("right" if name in ("a.json", "b.json") else None)


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.json", "{"), ("a.json", "[]"), ("a.json", "{}"), ("a.json", '{"landmarks": {"hip_center": {}}}'),
     ("a.json", '{"landmarks": {"hip_center": {"position_mm": [1, 2]}}}'),
     ("a.json", '{"landmarks": {"hip_center": {"position_mm": [1, 2, NaN]}}}'),
     ("a.json", '{"landmarks": {"hip_center": {"position_mm": [1, 2, true]}}}'),
     ("a.json", '{"landmarks": {"hip_center": {"position_mm": ["1", "2", "3"]}}}'),
     ("a.json", '{"landmarks": {"hip_center": {"position_mm": "123"}}}'),
     ("a.json", '{"landmarks": {"hip_center": {"position_mm": [1, 2, null]}}}'),
     ("a.json", '{"landmarks": {"hip_center": {"position_mm": [1, 2, 1' + "0" * 400 + "]}}}"),
     ("a.json", '{"landmarks": {"hip_center": {"position_mm": [1, 2, 1' + "0" * 5000 + "]}}}"),
     ("a.json", '{"landmarks": {"hip_center": {"position_mm": [1, 2, 3], "sd_mm": -1}}}'),
     ("a.json", '{"landmarks": {"hip_center": {"position_mm": [1, 2, 3], "sd_mm": true}}}'),
     ("a.json", '{"side": "up", "landmarks": {"hip_center": {"position_mm": [1, 2, 3]}}}'),
     ("a.json", '{"units": "cm", "landmarks": {"hip_center": {"position_mm": [1, 2, 3]}}}'),
     ("a.mrk.json", '{"markups": [{"coordinateSystem": "XYZ"}]}'), ("a.mrk.json", '{"markups": []}'),
     ("a.mrk.json", '{"markups": [{"coordinateSystem": true}]}'), ("a.mrk.json", '{"markups": [7]}'),
     ("a.mrk.json", '{"markups": [{"coordinateUnits": "inch"}]}'),
     ("a.mrk.json", '{"markups": [{"coordinateUnits": null}]}'),
     ("a.mrk.json", '{"markups": [{"controlPoints": [{"label": "hip_center", "position": ["1", 2, 3]}]}]}'),
     ("a.fcsv", "# CoordinateSystem = 2\n# columns = id,x,y,z,label\n1,1,2,3,hip_center\n"),
     ("a.fcsv", "# columns = id,x,y,z,label\n1,1,nan,3,hip_center\n"),
     ("a.fcsv", "# columns = id,x,y,z,label\n1,a,b,c,hip_center\n"), ("a.fcsv", "")],
)  # fmt: skip
def test_a_bad_file_is_one_plain_error(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(FileError) as error:
        read_landmarks(tmp_path / name)
    assert "\n" not in str(error.value)


def test_a_missing_file_is_a_file_error(tmp_path):
    with pytest.raises(FileError):
        read_landmarks(tmp_path / "none.json")


@pytest.mark.parametrize(("units", "factor"), [("mm", 1.0), ("cm", 0.1), ("m", 0.001)])
def test_coordinate_units_are_honoured(tmp_path, units, factor):
    points = [{"label": n, "position": [factor * x for x in at]} for n, at in POINTS.items()]
    document = {"markups": [{"coordinateSystem": "RAS", "coordinateUnits": units, "controlPoints": points}]}
    (tmp_path / "a.mrk.json").write_text(json.dumps(document))
    (tmp_path / "a.fcsv").write_text(
        f"# coordinateUnits = {units}\n# columns = id,x,y,z,label\n"
        + "".join(f"1,{factor * x},{factor * y},{factor * z},{n}\n" for n, (x, y, z) in POINTS.items())
    )
    for name in ("a.mrk.json", "a.fcsv"):
        landmarks, _ = read_landmarks(tmp_path / name)
        for n, at in POINTS.items():
            np.testing.assert_allclose(landmarks[n].position_mm, at)


def test_a_misspelt_name_is_refused_with_the_nearest_known_one(tmp_path):
    texts = {"a.json": own("RAS"), "a.mrk.json": markups("LPS"), "a.fcsv": fcsv("LPS")}
    for name, text in texts.items():
        (tmp_path / name).write_text(text.replace("hip_center", "hip_centre"))
        with pytest.raises(FileError, match=r"hip_centre.*nearest known: hip_center"):
            read_landmarks(tmp_path / name)


def test_a_name_given_twice_is_refused(tmp_path):
    (tmp_path / "a.json").write_text(own("RAS").replace("ankle_center", "hip_center"))
    with pytest.raises(FileError, match="hip_center stands twice"):
        read_landmarks(tmp_path / "a.json")


@pytest.mark.parametrize("sd", [201.0, 1e6, 1e155, 1e300])
def test_a_scatter_wider_than_a_bone_is_refused_by_name(tmp_path, sd):
    (tmp_path / "a.json").write_text(own("RAS").replace("0.7", repr(sd)))
    with pytest.raises(FileError, match="sd_mm of hip_center"):
        read_landmarks(tmp_path / "a.json")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [('"sd_mm"', '"sd"', r"landmarks\.hip_center\.sd: unknown key; nearest known: sd_mm"),
     ('"side"', '"sides"', "sides: unknown key; nearest known: side"),
     ('"frame"', '"frames"', "frames: unknown key; nearest known: frame")],
)  # fmt: skip
def test_an_unknown_key_is_refused_with_the_nearest_known_one(tmp_path, old, new, words):
    (tmp_path / "a.json").write_text(own("RAS").replace(old, new))
    with pytest.raises(FileError, match=words):
        read_landmarks(tmp_path / "a.json")


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.json", "\ufeff" + own("LPS")), ("b.mrk.json", "\ufeff" + markups("LPS")),
     ("c.fcsv", "\ufeff" + fcsv("LPS")), ("d.json", own("LPS").replace('"LPS"', '"lps"')),
     ("e.mrk.json", markups("LPS").replace('"LPS"', '"lps"')), ("f.fcsv", fcsv("LPS").replace("LPS", "lps")),
     ("g.mrk.json", markups("LPS").replace('"hip_center"', '" hip_center "')),
     ("h.fcsv", fcsv("LPS").replace(",hip_center,", ", hip_center ,")),
     ("i.fcsv", "".join(line for line in fcsv("LPS").splitlines(True) if "columns" not in line))],
)  # fmt: skip
def test_what_other_programs_write_otherwise_is_read_the_same(tmp_path, name, text):
    (tmp_path / name).write_text(text, encoding="utf-8")
    landmarks, _ = read_landmarks(tmp_path / name)
    assert landmarks.keys() == POINTS.keys()
    for n, at in POINTS.items():
        np.testing.assert_allclose(landmarks[n].position_mm, at)


def test_an_end_that_two_lines_share_is_one_landmark(tmp_path):
    def document(second):
        return json.dumps(
            {"markups": [{"type": "Line", "coordinateSystem": "RAS",
                          "controlPoints": [{"label": "hip_center", "position": at},
                                            {"label": other, "position": [1.0, 2.0, 3.0 + 90 * i]}]}
                         for i, (other, at) in enumerate(
                             [("ankle_center", [80.0, -12.0, 900.0]), ("femoral_neck_center", second)])]}
        )  # fmt: skip

    path = tmp_path / "a.mrk.json"
    path.write_text(document([80.0, -12.0, 900.0]))
    landmarks, _ = read_landmarks(path)
    assert set(landmarks) == {"hip_center", "ankle_center", "femoral_neck_center"}
    path.write_text(document([80.0, -12.0, 900.1]))
    with pytest.raises(FileError, match="hip_center stands twice"):
        read_landmarks(path)


def slanted(normal_sd_mm, group):
    """Landmarks of a leg that scatter across and along a slanted surface otherwise."""
    normal = np.array([0.6, 0.0, 0.8])
    return {
        n: tangent_point(np.array(at), normal, normal_sd_mm, "tangent", group, 0.0)
        for n, at in planar_leg(deviation=6.0, mldfa=86.0, mpta=87.0).items()
    }


@pytest.mark.parametrize("frame", ["RAS", "LPS"])
def test_a_result_that_is_read_again_is_the_same_result(tmp_path, frame):
    first = measure_alignment_of_landmarks(slanted(0.4, "femur"), "right")
    document = alignment_document(first)
    if frame == "LPS":
        flip = np.diag([-1.0, -1.0, 1.0])
        document["frame"] = "LPS"
        for entry in document["landmarks"].values():
            if entry.get("position_mm") is not None:
                entry["position_mm"] = (flip @ entry["position_mm"]).tolist()
                entry["covariance_mm2"] = (flip @ np.array(entry["covariance_mm2"]) @ flip).tolist()
    (tmp_path / "alignment.json").write_text(to_json(document))
    landmarks, side = read_landmarks(tmp_path / "alignment.json")
    again = measure_alignment_of_landmarks(landmarks, side)
    measured = [n for n, angle in first.angles.items() if angle.measure.known]
    assert {"hka_deg", "mldfa_deg", "mpta_deg"} <= set(measured)
    for name in measured:
        assert again.angles[name].measure.value == pytest.approx(first.angles[name].measure.value, abs=1e-9)
        assert again.angles[name].measure.sd == pytest.approx(first.angles[name].measure.sd, rel=1e-9)


@pytest.mark.parametrize(
    ("covariance", "words"),
    [([[1, 0], [0, 1]], "three rows"), ([[1, 0, 0], [0, -1, 0], [0, 0, 1]], "no covariance"),
     ([[1, 9, 0], [9, 1, 0], [0, 0, 1]], "no covariance"),
     ([[1, 1, 0], [0, 1, 0], [0, 0, 1]], "no covariance"),
     ([[9, 0, 0], [0, 9, 0], [0, 0, 9]], "give one"), ("x", "three rows"),
     ([[True, 0, 0], [0, 1, 0], [0, 0, 1]], "three rows")],
)  # fmt: skip
def test_a_bad_covariance_is_refused_by_name(tmp_path, covariance, words):
    entry = {"position_mm": [1, 2, 3], "sd_mm": 1.0, "covariance_mm2": covariance}
    (tmp_path / "a.json").write_text(json.dumps({"landmarks": {"hip_center": entry}}))
    with pytest.raises(FileError, match=f"hip_center.*{words}"):
        read_landmarks(tmp_path / "a.json")
