"""Landmark files: three formats give the same RAS positions; hostile ones one plain error."""

import json

import numpy as np
import pytest

from injectplan.alignment import read_landmarks
from injectplan.errors import FileError

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
