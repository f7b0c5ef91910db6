from __future__ import annotations

import contextlib
import tomllib
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from injectplan.casefile import Case, read_case
from injectplan.documents import json_schema
from injectplan.errors import BadInputError
from injectplan.files import packaged

HEAD = 'schema = 1\n[joint]\nkind = "knee"\nside = "right"\n[anatomy]\nphantom = "knee"\n'


def case_of(folder: Path, text: str) -> Case:
    path = folder / "case.toml"
    path.write_text(text, encoding="utf-8")
    return read_case(path)


def test_the_least_case_has_a_value_for_everything(tmp_path: Path) -> None:
    case = case_of(tmp_path, HEAD)
    assert (case.kind, case.side, case.seed) == ("knee", "right", 0)
    assert case.needle.gauge == 22
    assert case.constraints.margins_mm["artery"] == 5.0
    assert case.effective["joint"]["kind"] == {"value": "knee", "source": "given"}
    assert case.effective["planning"]["entries"] == {"value": 20000, "source": "default"}
    assert any(a.startswith("planning.margins_mm = ") for a in case.assumed)
    assert "subject.bmi: not given" in case.assumed
    assert case.view is None


def test_what_is_given_is_said_to_be_given(tmp_path: Path) -> None:
    case = case_of(tmp_path, HEAD + "[needle]\ngauge = 25\nlength_mm = 38.0\n[planning]\nentries = 100\n")
    assert case.effective["needle"]["gauge"] == {"value": 25.0, "source": "given"}
    assert case.effective["needle"]["outer_mm"]["source"] == "default"
    assert case.constraints.entries == 100


def test_margins_given_change_only_themselves(tmp_path: Path) -> None:
    case = case_of(tmp_path, HEAD + "[planning]\nmargins_mm = { artery = 7.5 }\n")
    assert case.constraints.margins_mm["artery"] == 7.5
    assert case.constraints.margins_mm["nerve"] == 5.0


def test_an_inline_probe_is_raw_unless_it_says_otherwise(tmp_path: Path) -> None:
    inline = '[probe]\nkind = "linear"\nfrequency_mhz = 7.5\nwidth_mm = 40.0\n'
    assert case_of(tmp_path, HEAD + inline).probe.raw
    assert not case_of(tmp_path, HEAD + inline + "raw = false\n").probe.raw
    assert not case_of(tmp_path, HEAD + "[probe]\ndepth_mm = 33.0\n").probe.raw
    fan = case_of(tmp_path, HEAD + "[probe]\nradius_mm = 60.0\nangle_deg = 60.0\n").probe
    assert fan.kind == "curvilinear"


def test_a_view_with_three_or_four_rows_is_a_pose(tmp_path: Path) -> None:
    rows = "[[0, 1, 0, 5], [1, 0, 0, 6], [0, 0, -1, 7], [0, 0, 0, 1]]"
    view = case_of(tmp_path, f"{HEAD}[view]\nprobe_to_patient = {rows}\n").view
    assert view is not None
    assert view.needle is None
    np.testing.assert_array_equal(view.probe_to_patient.translation_mm, [5, 6, 7])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[probe]\nwidht_mm = 3", ["probe.widht_mm", "probe.width_mm"]),
        ("[planing]\nx = 1", ["planing", "planning"]),
        ("[[defects]]\nstructure = 'a'\ncentre_mm = [1, 2, 3]", ["defects[0].centre_mm", "center_mm"]),
        ("[structures.foo]\ntisue = 'x'", ["structures.foo.tisue", "tissue"]),
        ("[probe]\ndepth_mm = nan", ["probe.depth_mm", "finite"]),
        ("[probe]\ndepth_mm = -1.0", ["probe.depth_mm", "greater"]),
        ("[probe]\ndepth_mm = '30'", ["probe.depth_mm", "number"]),
        ("[probe]\nmodel = 'linear-13'", ["linear-13", "linear-12"]),
        ("[needle]\ngauge = 22.5", ["22.5"]),
        ("[planning]\napproach = 'supra'", ["approach", "suprapatellar"]),
        ("[planning]\napproach = 'hip-lateral'", ["approach", "knee"]),
        ("[planning]\nmargins_mm = { artry = 1.0 }", ["artry", "artery"]),
        ("[planning]\nentries = 0", ["planning.entries"]),
        ("[view]\nprobe_to_patient = [[1, 2]]", ["probe_to_patient"]),
        (
            "[view]\nprobe_to_patient = [[2, 0, 0, 0], [0, 2, 0, 0], [0, 0, 2, 0]]",
            ["ortho"],
        ),
        ("seed = -1", ["seed"]),
    ],
)
def test_a_mistake_is_named_with_its_place(tmp_path: Path, text: str, words: list[str]) -> None:
    whole = text + "\n" + HEAD if text.startswith("seed") else HEAD + text
    with pytest.raises(BadInputError) as caught:
        case_of(tmp_path, whole)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    "text",
    [
        "",
        "schema = 1",
        HEAD.replace("schema = 1", "schema = 2"),
        HEAD.replace('"right"', '"up"'),
        HEAD + 'labelmap = "x.nrrd"\n',
        HEAD.replace('phantom = "knee"\n', ""),
        "schema = [",
        'schema = 1\njoint = 3\n[anatomy]\nphantom = "knee"',
    ],
)
def test_a_file_that_is_no_case_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(BadInputError):
        case_of(tmp_path, text)


def test_a_missing_or_huge_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="no such"):
        read_case(tmp_path / "no.toml")
    (tmp_path / "big.toml").write_bytes(b"#" * 1_000_001)
    with pytest.raises(BadInputError, match="1 MB"):
        read_case(tmp_path / "big.toml")


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_give_a_case_or_bad_input(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "case.toml"
    path.write_bytes(HEAD.encode() + content)
    with contextlib.suppress(BadInputError):
        assert read_case(path).kind == "knee"


def test_the_shipped_scenes_fit_the_schema_and_read() -> None:
    scenes = packaged("scenes")
    files = sorted(scenes.glob("*/case.toml"))
    assert any(f.parent.name == "knee_suprapatellar" for f in files)
    for file in files:
        jsonschema.validate(tomllib.loads(file.read_text()), json_schema("case"))
        assert read_case(file).kind in ("knee", "hip", "ankle")
        assert (file.parent / "SOURCE.md").is_file()
