"""What the main job prints and writes, held against the contract."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from command_line import Command
from injectplan.documents import json_schema
from injectplan.imaging.volumes import read_labelmap
from injectplan.measure import NOT_A_DEVICE
from injectplan.phantoms import make_phantom, phantom_names, phantom_parameters

WRITTEN = {
    "record.json", "report.html", "alignment.json", "plan.json", "plan.mrk.json", "dose.json", "preview.gif",
    "frames/rank1_000.png", "model/model.json", "model/labels.nrrd", "model/surfaces/femur.vtp",
}  # fmt: skip


@pytest.fixture(scope="module")
def record(demos: list[tuple[str, Path]]) -> dict[str, Any]:
    return json.loads(demos[1][0])


def nulls(value: Any, place: str = "") -> Iterator[str]:
    """Yield where a `value` is null without a reason beside it."""
    if isinstance(value, Mapping):
        if "value" in value and value["value"] is None and "source" not in value and not value.get("reason"):
            yield place
        for key, inner in value.items():
            yield from nulls(inner, f"{place}.{key}")
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            yield from nulls(inner, f"{place}[{i}]")


def test_the_record_fits_its_schema_and_every_part_its_own(
    record: dict[str, Any], demos: list[tuple[str, Path]]
) -> None:
    jsonschema.validate(record, json_schema("record"))
    for name in ("alignment", "plan", "dose"):
        document = json.loads((demos[1][1] / f"{name}.json").read_text())
        jsonschema.validate(document, json_schema(name))
        assert document == record[name] | {"provenance": record["provenance"]}
    jsonschema.validate(json.loads((demos[1][1] / "model" / "model.json").read_text()), json_schema("model"))


def test_the_folder_holds_what_the_contract_names(demos: list[tuple[str, Path]]) -> None:
    out = demos[1][1]
    written = {p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()}
    assert written >= WRITTEN
    assert any(re.fullmatch(r"model/thickness_\w+\.nii\.gz", name) for name in written)


def test_what_is_missing_has_its_reason(record: dict[str, Any], demos: list[tuple[str, Path]]) -> None:
    assert list(nulls(record)) == []
    assert "NaN" not in demos[1][0]


def test_the_plan_keeps_its_margins(record: dict[str, Any]) -> None:
    plan = record["plan"]
    assert 1 <= len(plan["trajectories"]) <= 6
    searched = plan["searched"]
    assert searched["pairs"] == searched["feasible"] + sum(searched["rejected_by"].values())
    risks = {"artery": 5.0, "vein": 3.0, "nerve": 5.0, "tendon": 1.0, "cartilage": 1.0, "bone": 1.0}
    for trajectory in plan["trajectories"]:
        assert trajectory["approach"] == "suprapatellar-lateral"
        assert trajectory["rechecked"] is True
        assert set(trajectory["margins"]) >= set(risks)
        length = np.linalg.norm(np.subtract(trajectory["entry_mm"], trajectory["tip_mm"]))
        assert length == pytest.approx(trajectory["length_mm"], abs=1e-6)
        pose = np.array(trajectory["ultrasound"]["probe_to_patient"])
        np.testing.assert_allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3), atol=1e-9)


def test_injected_is_what_is_in_the_cavity_and_what_leaked(record: dict[str, Any]) -> None:
    filling, cells = record["dose"]["filling"], record["dose"]["cells"]
    assert filling["injected_ml"] == pytest.approx(filling["in_cavity_ml"] + filling["leaked_ml"], abs=1e-9)
    parts = ("on_cartilage", "on_other_surface", "suspended", "leaked", "cleared")
    assert cells["injected"] == pytest.approx(sum(cells[p] for p in parts), rel=1e-9)
    assert cells["on_defect"] <= cells["on_cartilage"] + 1e-12


def test_completed_anatomy_says_so(record: dict[str, Any]) -> None:
    structures = record["model"]["structures"]
    assert structures["femur"]["source"] == "segmented"
    assert structures["skin"]["source"] == "completed"
    assert record["assumed"]


def timeless(value: Any) -> Any:
    """Leave out what may differ between two runs: timings and the wall clock."""
    if isinstance(value, Mapping):
        left_out = ("seconds", "frame_ms", "made_at")
        return {k: timeless(v) for k, v in value.items() if k not in left_out}
    return [timeless(v) for v in value] if isinstance(value, list) else value


@pytest.mark.parametrize("other", [1, 2], ids=["two threads", "the kept joint"])
def test_threads_and_a_kept_joint_give_the_same(demos: list[tuple[str, Path]], other: int) -> None:
    (one, one_out), (two, two_out) = demos[0], demos[other]
    assert timeless(json.loads(one)) == timeless(json.loads(two))
    names = sorted(p.relative_to(one_out) for p in one_out.rglob("*") if p.is_file())
    assert names == sorted(p.relative_to(two_out) for p in two_out.rglob("*") if p.is_file())
    for name in names:
        first, second = (one_out / name).read_bytes(), (two_out / name).read_bytes()
        if name.suffix == ".json":
            assert timeless(json.loads(first)) == timeless(json.loads(second)), name
        elif name.name == "report.html":
            wall_clock = re.compile(rb"Made [^.]+\.")
            assert wall_clock.sub(b"", first) == wall_clock.sub(b"", second)
        else:
            assert first == second, name


def test_no_path_and_no_name_enters_an_output(demos: list[tuple[str, Path]]) -> None:
    text, out = demos[1]
    for content in [text, *(p.read_text() for p in out.rglob("*.json"))]:
        assert str(out.parent) not in content
        assert not re.search(r'"/[a-z]+/', content)


def test_everything_a_person_reads_says_what_it_is_for(demos: list[tuple[str, Path]]) -> None:
    report = (demos[1][1] / "report.html").read_text()
    assert NOT_A_DEVICE.capitalize() in report
    assert json.loads(demos[1][0])["purpose"] == NOT_A_DEVICE


def test_the_report_is_self_contained(demos: list[tuple[str, Path]]) -> None:
    report = (demos[1][1] / "report.html").read_text()
    assert not re.search(r"""(src|href)\s*=\s*["'](?!data:|#)""", report)
    # a picture's own letters are no address: four of them come together by chance
    assert "http" not in re.sub(r"base64,[A-Za-z0-9+/=]+", "", report)
    assert report.count("<img") >= 5


def test_the_joint_written_is_loaded_in_under_a_second(demos: list[tuple[str, Path]]) -> None:
    from injectplan.anatomy import load_joint

    joint = load_joint(demos[1][1] / "model")
    assert joint.kind == "knee"
    assert "skin" in joint.structures


def test_check_prints_the_source_of_every_value(command: Command) -> None:
    from injectplan.files import packaged

    done = command("check", packaged("scenes/knee_suprapatellar/case.toml"), "--json")
    assert done.code == 0
    document = json.loads(done.out)

    def sources(value: Any) -> Iterator[str]:
        for inner in value.values():
            if isinstance(inner, Mapping) and "source" in inner and "value" in inner:
                yield inner["source"]
            elif isinstance(inner, Mapping):
                yield from sources(inner)

    found = set(sources(document["case"]))
    assert found == {"given", "default", "assumed"}


@pytest.mark.parametrize(
    ("words", "file"),
    [
        (("check", "CASE"), "check.json"), (("schema", "plan"), "plan.schema.json"),
        (("doctor",), "doctor.json"), (("phantom", "list"), "phantoms.json"),
        (
            ("flow", "--gauge", "22", "--length-mm", "38", "--volume-ml", "2", "--time-s", "10",
             "--viscosity-mpa-s", "1"),
            "flow.json",
        ),
    ],
)  # fmt: skip
def test_what_a_command_prints_is_written_where_asked(
    command: Command, tmp_path: Path, words: tuple[str, ...], file: str
) -> None:
    from injectplan.files import packaged

    case = str(packaged("scenes/knee_suprapatellar/case.toml"))
    done = command(*(case if w == "CASE" else w for w in words), "--json", "--out", tmp_path / "out")
    assert done.code == 0, done.err
    assert (tmp_path / "out" / file).read_text() == done.out


@pytest.mark.parametrize("name", ["slab", "sphere", "shell", "wire", "cyst"])
def test_phantoms_export_what_they_are(command: Command, tmp_path: Path, name: str) -> None:
    done = command("phantom", "export", name, "--out", tmp_path / name, "--json")
    assert done.code == 0, done.err
    folder = tmp_path / name
    for file in ("labels.nrrd", "labels.toml", "truth.json"):
        assert (folder / file).is_file()
    assert list((folder / "surfaces").iterdir())
    jsonschema.validate(json.loads((folder / "truth.json").read_text()), json_schema("truth"))


def test_a_phantom_exports_with_the_parameters_given_as_python_makes_it(
    command: Command, tmp_path: Path
) -> None:
    given = {"effusion_ml": 9.0, "side": "left", "spacing_mm": 2.0, "slice_mm": 2.0, "shaft_mm": 50.0}
    words = [f"{name}={value}" for name, value in given.items()]
    done = command("phantom", "export", "ankle", "--set", *words, "--out", tmp_path / "ankle", "--quiet")
    assert done.code == 0, done.err
    made = make_phantom("ankle", given)
    truth = json.loads((tmp_path / "ankle" / "truth.json").read_text())
    assert {name: truth[name] for name in made.truth} == dict(made.truth)
    assert truth["dome_axis"]["value"] == [-1.0, 0.0, 0.0]
    written = read_labelmap(tmp_path / "ankle" / "labels.nrrd", tmp_path / "ankle" / "labels.toml")
    assert written.affine == pytest.approx(made.labelmap.affine)
    assert (written.labels == made.labelmap.labels).all()


def test_what_the_list_offers_is_what_a_phantom_takes(command: Command) -> None:
    document = json.loads(command("phantom", "list", "--json").out)
    assert set(document["parameters"]) == set(document["phantoms"]) == set(phantom_names())
    for name, entries in document["parameters"].items():
        assert {p: entry["default"] for p, entry in entries.items()} == phantom_parameters(name)
        for parameter, entry in entries.items():
            ends = entry["words"] if "words" in entry else (entry["low"], entry["high"])
            for end in ends:
                assert phantom_parameters(name, {parameter: end})[parameter] == end
    shown = command("phantom", "list").out
    assert "effusion_ml" in shown
    assert "left | right" in shown


def test_flow_gives_the_known_numbers(command: Command) -> None:
    words = ("--length-mm", "38.1", "--volume-ml", "2", "--time-s", "10", "--viscosity-mpa-s", "1")
    done = command("flow", "--gauge", "22", *words, "--barrel-mm", "12.06", "--json")
    document = json.loads(done.out)
    jsonschema.validate(document, json_schema("flow"))
    assert document["pressure_kpa"]["value"] == pytest.approx(10.67124, rel=1e-5)
    assert document["force_n"]["value"] == pytest.approx(1.21899, rel=1e-4)
    assert document["wall_shear_rate_1_s"]["value"] == pytest.approx(28918.78, rel=1e-5)


def test_help_of_every_command_has_an_example(command: Command) -> None:
    names = re.findall(r"│ ([a-z0-9]+) ", command("--help").out)
    assert {"run", "demo", "model", "plan", "frame", "dose", "alignment", "phantom", "doctor"} <= set(names)
    for name in names:
        text = command(name, "--help").out
        assert "xample" in text or name == "phantom", name
