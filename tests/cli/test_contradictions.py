"""What contradicts itself is refused in one line, before anything is written."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from command_line import Command, run_as_user

COARSE = 'phantom = "knee"\nparameters = { spacing_mm = 1.5, slice_mm = 1.5, shaft_mm = 45.0 }'


def refused(done, *words: str) -> None:
    assert done.code == 2, (done.out, done.err)
    line = done.err.strip()
    assert line.startswith("error:")
    assert "\n" not in line
    for word in words:
        assert word in line


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run a coarse knee; the folder of what it wrote."""
    folder = tmp_path_factory.mktemp("coarse")
    case = folder / "case.toml"
    case.write_text(f'schema = 1\n[joint]\nkind = "knee"\nside = "right"\n[anatomy]\n{COARSE}\n')
    run_as_user(folder, "run", str(case), "--json", "--quiet", "--out", str(folder / "out"))
    return folder / "out"


@pytest.mark.parametrize(("kind", "side"), [("knee", "left"), ("hip", "right")])
def test_a_saved_joint_of_another_side_or_kind(
    command: Command, tmp_path: Path, record: Path, kind: str, side: str
) -> None:
    case = tmp_path / "case.toml"
    case.write_text(
        f'schema = 1\n[joint]\nkind = "{kind}"\nside = "{side}"\n[anatomy]\nmodel = "{record / "model"}"\n'
    )
    refused(command("plan", case, "--json", "--out", tmp_path / "out"), "right knee", f"{side} {kind}")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["plan", "dose"])
def test_a_part_says_what_it_was_made_of(command: Command, tmp_path: Path, record: Path, name: str) -> None:
    """By hashes, not by names."""
    case = tmp_path / "case.toml"
    case.write_text(
        f'schema = 1\n[joint]\nkind = "knee"\nside = "right"\n[anatomy]\nmodel = "{record / "model"}"\n'
    )
    done = command(name, case, "--json", "--quiet", "--seed", "5")
    assert done.code == 0, done.err
    made = json.loads(done.out)["provenance"]
    assert made["inputs_sha256"]["case"] == hashlib.sha256(case.read_bytes()).hexdigest()
    assert set(made["inputs_sha256"]) == {"case", "model"}
    assert made["seed"] == 5
    assert str(tmp_path) not in done.out


def test_a_record_names_no_file(command: Command, tmp_path: Path, record: Path) -> None:
    case = tmp_path / "case.toml"
    labels = tmp_path / "jane_doe.nrrd"
    labels.write_bytes((record / "model" / "labels.nrrd").read_bytes())
    (tmp_path / "table.toml").write_text('[labels]\n1 = "femur"\n')
    case.write_text(
        'schema = 1\n[joint]\nkind = "knee"\nside = "right"\n[anatomy]\n'
        'labelmap = "jane_doe.nrrd"\nlabels = "table.toml"\n'
    )
    done = command("run", case, "--json")
    assert done.code in (0, 2, 3)
    assert "jane_doe" not in done.out
    if done.code != 2:
        assert json.loads(done.out)["case"]["anatomy"]["labelmap"]["value"].startswith("sha256 ")


def test_a_knee_called_a_hip(command: Command, tmp_path: Path, record: Path) -> None:
    names = json.loads((record / "model" / "model.json").read_text())["structures"]
    table = tmp_path / "table.toml"
    wanted = [(s["label"], n) for n, s in names.items() if s["source"] == "segmented" and s["label"]]
    assert wanted
    surfaces = [f"{n}={record / 'model' / 'surfaces' / f'{n}.vtp'}" for n in ("femur", "patella", "tibia")]
    out = tmp_path / "out"
    done = command(
        "model", "--surfaces", *surfaces, "--joint", "hip", "--side", "right", "--quiet", "--out", out
    )
    refused(done, "hip", "patella", "knee")
    assert not out.exists()
    assert not table.exists()


@pytest.mark.parametrize(
    ("tables", "words"),
    [
        ('[structures.foo]\ntissue = "musle"', ("musle", "muscle")),
        ("[tissues.muscle]\nspeed_m_s = 1.58", ("speed_m_s",)),
        ("[tissues.muscle]\ndensity_kg_m3 = 1.0e6", ("density_kg_m3",)),
    ],
)
def test_a_tissue_that_is_none(
    command: Command, case_file: Callable[..., Path], tables: str, words: tuple[str, ...]
) -> None:
    refused(command("check", case_file(tables)), *words)


@pytest.mark.parametrize("anatomy", ['labelmap = "gone.nrrd"\nlabels = "pymskt"', 'model = "gone"'])
def test_check_misses_a_file(command: Command, case_file: Callable[..., Path], anatomy: str) -> None:
    refused(command("check", case_file("", anatomy=anatomy)), "gone")


def test_a_seed_beyond_what_counts(command: Command, case_file: Callable[..., Path]) -> None:
    refused(command("plan", case_file(""), "--seed", str(2**63)), "seed")


def test_a_flow_that_overflows_is_told(command: Command) -> None:
    words = ("--length-mm", "50", "--volume-ml", "5", "--time-s", "20", "--viscosity-mpa-s", "1e308")
    done = command("flow", "--gauge", "22", *words)
    assert done.code in (0, 2)
    assert "Traceback" not in done.err


def leg(**changes: list[float]) -> dict[str, list[float]]:
    return {
        "hip_center": [0, 0, 420], "femoral_knee_center": [0, 0, 0], "tibial_knee_center": [0, 0, -5],
        "ankle_center": [0, 0, -380], "distal_medial_condyle": [-22, 0, -20],
        "distal_lateral_condyle": [22, 0, -20], "posterior_medial_condyle": [-22, -25, 0],
        "posterior_lateral_condyle": [22, -25, 0], "medial_plateau": [-22, 0, -25],
        "lateral_plateau": [22, 0, -25],
    } | changes  # fmt: skip


@pytest.mark.parametrize(
    ("points", "words"),
    [
        (leg(ankle_center=[0, 0, 420]), ("hip_center", "ankle_center")),
        (leg(distal_medial_condyle=[22, 0, -20]), ("distal_medial_condyle",)),
        (leg(medial_plateau=[22, 0, -25], lateral_plateau=[-22, 0, -25]), ("swapped",)),
        (leg(tibial_knee_center=[0, 0, -5000], ankle_center=[0, 0, -5375]), ("two frames",)),
        ({n: [0.001 * c for c in p] for n, p in leg().items()}, ("metres",)),
        (leg(hip_center=[0, 0, 1e300]), ("hip_center",)),
    ],
    ids=["coincident", "one condyle", "swapped", "two frames", "metres", "far"],
)
def test_landmarks_of_no_leg(
    command: Command, tmp_path: Path, points: dict[str, list[float]], words: tuple[str, ...]
) -> None:
    path = tmp_path / "l.json"
    landmarks = {n: {"position_mm": p, "sd_mm": 1.0} for n, p in points.items()}
    path.write_text(json.dumps({"side": "right", "landmarks": landmarks}))
    refused(command("alignment", "--landmarks", path, "--json"), *words)


def test_the_same_leg_without_a_fault_is_measured(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "l.json"
    landmarks = {n: {"position_mm": p, "sd_mm": 1.0} for n, p in leg().items()}
    path.write_text(json.dumps({"side": "right", "landmarks": landmarks}))
    done = command("alignment", "--landmarks", path, "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["angles"]["hka_deg"]["value"] == pytest.approx(180.0, abs=1e-9)


def test_a_bent_knee_gets_no_verdict(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "l.json"
    points = leg(ankle_center=[0, -375, -10])
    landmarks = {n: {"position_mm": p, "sd_mm": 1.0} for n, p in points.items()}
    path.write_text(json.dumps({"side": "right", "landmarks": landmarks}))
    done = command("alignment", "--landmarks", path, "--json")
    assert done.code == 3, done.err
    verdict = json.loads(done.out)["verdict"]
    assert verdict["state"] == "REFUSED"
    assert "flexed" in verdict["reasons"][0]


@pytest.mark.parametrize(
    ("one", "other"),
    [("femoral_neck_center", "hip_center"), ("femoral_neck_base", "hip_center"),
     ("upper_femoral_shaft_proximal", "upper_femoral_shaft_distal")],
)  # fmt: skip
def test_two_ends_of_an_axis_at_one_place(command: Command, tmp_path: Path, one: str, other: str) -> None:
    path = tmp_path / "l.json"
    points = leg(femoral_neck_center=[25, 0, 400], upper_femoral_shaft_distal=[-40, 0, 300])
    points[one] = points[other]
    landmarks = {n: {"position_mm": p, "sd_mm": 1.0} for n, p in points.items()}
    path.write_text(json.dumps({"side": "right", "landmarks": landmarks}))
    refused(command("alignment", "--landmarks", path, "--json", "--out", tmp_path / "out"), one, other)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("option", [("--frame", "LPS"), ("--frame", "RAS"), ("--units", "m")])
def test_options_of_surfaces_are_refused_beside_another_input(
    command: Command, case_file: Callable[..., Path], tmp_path: Path, option: tuple[str, str]
) -> None:
    path = tmp_path / "l.json"
    landmarks = {n: {"position_mm": p, "sd_mm": 1.0} for n, p in leg().items()}
    path.write_text(json.dumps({"side": "right", "landmarks": landmarks}))
    refused(command("alignment", "--landmarks", path, *option), option[0], "landmark file", "its own")
    refused(command("alignment", case_file(""), *option), option[0], "case", "its own")


def test_a_side_that_the_case_contradicts(command: Command, case_file: Callable[..., Path]) -> None:
    refused(command("alignment", case_file(""), "--side", "left"), "--side left", "says right")


def test_the_help_of_surfaces_names_every_bone(command: Command) -> None:
    told = command("alignment", "--help").out
    for name in ("femur", "tibia", "fibula", "talus", "patella", "hip_bone", "opposite_hip_bone"):
        assert name in told


def test_the_package_runs_as_a_module(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "injectplan", "--version"], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_markups_that_are_none_or_stand_twice(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "l.mrk.json"
    for points, word in ((None, "controlPoints"), (5, "controlPoints")):
        path.write_text(json.dumps({"markups": [{"coordinateSystem": "LPS", "controlPoints": points}]}))
        refused(command("alignment", "--landmarks", path, "--side", "right"), word)
    point = {"label": "hip_center", "position": [0, 0, 1], "positionStatus": "defined"}
    path.write_text(json.dumps({"markups": [{"coordinateSystem": "LPS", "controlPoints": [point, point]}]}))
    refused(command("alignment", "--landmarks", path, "--side", "right"), "hip_center", "twice")


KNEE = 'schema = 1\n[joint]\nkind = "knee"\nside = "right"\n[anatomy]\n'
DEFECT = 'phantom = "knee"\n[[defects]]\ncenter_mm = [0, 0, 0]\nradii_mm = [4, 4]\n'


@pytest.mark.parametrize(
    ("anatomy", "words"),
    [
        ('phantom = "kneee"', ("kneee", "did you mean knee")),
        ('phantom = "hip"', ("'hip'", "'knee'", "[joint]")),
        ('phantom = "knee"\nparameters = { spacng_mm = 1.0 }', ("spacng_mm", "did you mean spacing_mm")),
        ('phantom = "knee"\nparameters = { spacing_mm = 0 }', ("spacing_mm", "must lie in")),
        ('phantom = "knee"\nparameters = { spacing_mm = 1200 }', ("spacing_mm", "must lie in")),
        ('phantom = "knee"\nparameters = { effusion_ml = -20 }', ("effusion_ml", "must lie in 0 to")),
        ('phantom = "knee"\nparameters = { flexion_deg = 500 }', ("flexion_deg", "must lie in")),
        ('phantom = "knee"\nparameters = { flexion_deg = "much" }', ("flexion_deg", "must be a number")),
        ('phantom = "knee"\nparameters = { side = "left" }', ("parameters.side", "'left'", "'right'")),
        ('phantom = "sphere"\nparameters = { spacing = 1.0 }', ("sphere", "spacing_mm")),
        (DEFECT + 'structure = "femoral_cartilige"', ("femoral_cartilige", "femoral_cartilage")),
        (DEFECT + 'structure = "femur"', ("'femur'", "no cartilage")),
    ],
)
@pytest.mark.parametrize("name", ["check", "run"])
def test_what_a_case_asks_of_its_phantom(
    command: Command, tmp_path: Path, anatomy: str, words: tuple[str, ...], name: str
) -> None:
    case = tmp_path / "case.toml"
    case.write_text(KNEE + anatomy + "\n")
    refused(command(name, case, "--json", *(("--out", tmp_path / "out") if name == "run" else ())), *words)
    assert not (tmp_path / "out").exists()


def test_an_empty_argument_is_no_folder(command: Command) -> None:
    refused(command("model", "", "--joint", "knee", "--side", "right"), "empty")


@pytest.mark.parametrize("name", ["run", "plan", "frame"])
def test_a_place_that_cannot_be_written_to_is_said_before_the_work(
    command: Command, tmp_path: Path, name: str
) -> None:
    case = tmp_path / "case.toml"
    case.write_text(KNEE + 'phantom = "knee"\n')
    (tmp_path / "file").write_text("not a folder")
    done = command(name, case, "--out", tmp_path / "file" / "out")
    refused(done, "cannot be written")  # one line: no step had begun
    assert sorted(p.name for p in tmp_path.iterdir()) == ["case.toml", "file"]


@pytest.mark.parametrize(
    ("tables", "words"),
    [
        ("[planning]\ntarget_mm = [0.0, 0.0, 900.0]", ("planning.target_mm", "frame")),
        ("[planning]\nentry_mm = [0.0, -700.0, 0.0]", ("planning.entry_mm", "frame")),
        (
            '[[defects]]\nstructure = "femoral_cartilage"\ncenter_mm = [300.0, 0.0, 0.0]\nradii_mm = [8, 6]',
            ("[[defects]][0] center_mm", "femoral_cartilage"),
        ),
    ],
)
def test_check_places_points(
    command: Command, case_file: Callable[..., Path], tables: str, words: tuple[str, ...]
) -> None:
    """Metres for millimetres, or another frame: told without building the joint."""
    refused(command("check", case_file(tables)), *words)


@pytest.mark.parametrize("key", ['labels = "pymskt"', 'image = "mr.nrrd"'])
def test_what_a_phantom_does_not_use_is_refused(
    command: Command, case_file: Callable[..., Path], tmp_path: Path, key: str
) -> None:
    (tmp_path / "mr.nrrd").write_text("")
    refused(command("check", case_file("", anatomy=f'phantom = "knee"\n{key}')), "labelmap", "phantom")
