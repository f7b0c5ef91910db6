"""Bad input on every command: one clear line, exit 2, no file left behind."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import trimesh

from command_line import Command, Done

HEAD = 'schema = 1\n[joint]\nkind = "knee"\nside = "right"\n[anatomy]\n'


def check(done: Done, folder: Path, before: set[Path], *words: str) -> None:
    """One line on stderr, exit 2, nothing on stdout, no new file."""
    assert done.code == 2, (done.code, done.out[-500:], done.err[-500:])
    lines = done.err.splitlines()
    assert len(lines) == 1, done.err
    assert lines[0].startswith("error:")
    assert "Traceback" not in done.err
    assert done.out == ""
    for word in words:
        assert word in lines[0], lines[0]
    assert set(folder.rglob("*")) == before


@pytest.fixture
def label_file(tmp_path: Path) -> Callable[..., Path]:
    """Write a small label map that says it is a knee: two boxes, femur above tibia."""

    def write(name: str = "seg.nrrd", *, dtype: type = np.uint8, empty: bool = False) -> Path:
        labels = np.zeros((24, 24, 48), dtype)
        if not empty:
            labels[6:18, 6:18, 26:44] = 5
            labels[6:18, 6:18, 4:22] = 6
        if dtype is np.float32:
            labels = labels + 0.25
        image = sitk.GetImageFromArray(np.transpose(labels))
        image.SetSpacing((3.0, 3.0, 3.0))
        path = tmp_path / name
        sitk.WriteImage(image, str(path))
        return path

    return write


CASE_COMMANDS = ("run", "check", "plan", "frame", "dose")


@pytest.mark.parametrize("name", [*CASE_COMMANDS, "alignment"])
def test_a_missing_case(command: Command, tmp_path: Path, name: str) -> None:
    check(command(name, tmp_path / "none.toml", "--out", tmp_path / "out"), tmp_path, set(), "none.toml")


@pytest.mark.parametrize("name", CASE_COMMANDS)
def test_a_typo_in_a_key(command: Command, case_file: Callable[..., Path], tmp_path: Path, name: str) -> None:
    case = case_file("[needle]\ngague = 22")
    done = command(name, case, "--out", tmp_path / "out", "--quiet")
    check(done, tmp_path, {case}, "needle.gague", "needle.gauge")


@pytest.mark.parametrize(
    "arguments",
    [
        ("demo",), ("run", "x.toml"), ("check", "x.toml"), ("plan", "x.toml"), ("frame", "x.toml"),
        ("dose", "x.toml"), ("doctor",), ("schema", "plan"), ("phantom", "list"),
        ("model", "x.nrrd", "--joint", "knee", "--side", "left"),
        ("alignment", "--surfaces", "femur=f.ply", "--side", "left"),
        ("t2", "x.nrrd", "--echo-times-ms", "10", "20"),
        ("flow", "--gauge", "22", "--length-mm", "38", "--volume-ml", "2", "--time-s", "10"),
    ],
    ids=lambda a: a[0],
)  # fmt: skip
def test_a_misspelt_option(command: Command, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    check(command(*arguments, "--thread", "2", "--jsn"), tmp_path, set())


def test_an_unknown_command(command: Command, tmp_path: Path) -> None:
    check(command("plna"), tmp_path, set(), "plan")


@pytest.mark.parametrize("joint", ["elbow", ""])
def test_an_unknown_joint(command: Command, tmp_path: Path, joint: str) -> None:
    check(command("model", "x.nrrd", "--joint", joint, "--side", "left"), tmp_path, set())


def test_a_missing_label_map(command: Command, tmp_path: Path) -> None:
    arguments = ("--labels", "pymskt", "--joint", "knee", "--side", "right", "--out", tmp_path / "out")
    done = command("model", tmp_path / "none.nrrd", *arguments, "--quiet")
    check(done, tmp_path, set(), "none.nrrd")


def test_a_truncated_label_map(command: Command, label_file: Callable[..., Path], tmp_path: Path) -> None:
    path = label_file()
    path.write_bytes(path.read_bytes()[:-40])
    done = command(
        "model", path, "--labels", "pymskt", "--joint", "knee", "--side", "right", "--quiet", "--out",
        tmp_path / "out",
    )  # fmt: skip
    check(done, tmp_path, {path}, path.name)


def as_case(path: Path) -> Path:
    case = path.with_name("case.toml")
    case.write_text(f'{HEAD}labelmap = "{path.name}"\nlabels = "pymskt"\n')
    return case


@pytest.mark.parametrize("name", CASE_COMMANDS)
def test_a_case_whose_label_map_is_cut_short(
    command: Command, label_file: Callable[..., Path], tmp_path: Path, name: str
) -> None:
    """Without --quiet too: what shows progress is silent until the work takes long."""
    path = label_file()
    path.write_bytes(path.read_bytes()[:-40])
    case = as_case(path)
    done = command(name, case, "--out", tmp_path / "out")
    check(done, tmp_path, {path, case}, path.name)
    assert done.err.count("\n") == 1, done.err


@pytest.mark.parametrize("what", ["label map", "image", "surface", "saved joint"])
def test_check_opens_what_a_case_names(
    command: Command, label_file: Callable[..., Path], tmp_path: Path, what: str
) -> None:
    path = label_file()
    case = as_case(path)
    if what == "label map":  # named structures that are not there
        case.write_text(case.read_text().replace("pymskt", "totalsegmentator"))
    elif what == "image":
        (tmp_path / "mr.nrrd").write_bytes(b"NRRD0004\ntype: short\n")
        case.write_text(case.read_text() + 'image = "mr.nrrd"\n')
    elif what == "surface":
        (tmp_path / "femur.ply").write_bytes(b"ply\nformat ascii 1.0\nelement vertex 9\n")
        case.write_text(f'{HEAD}surfaces = {{ femur = "femur.ply" }}\n')
    else:
        (tmp_path / "model").mkdir()
        case.write_text(f'{HEAD}model = "model"\n')
    check(command("check", case), tmp_path, set(tmp_path.rglob("*")))


def test_check_says_what_is_odd(command: Command, label_file: Callable[..., Path]) -> None:
    """Two boxes do not tell a side: a warning, as a run would give it."""
    done = command("check", as_case(label_file()), "--json")
    assert done.code == 0, done.err
    assert {w["code"] for w in json.loads(done.out)["warnings"]} >= {"side-undecided"}


@pytest.mark.parametrize("spoilt", ["nan", "zero", "huge"])
def test_a_header_that_lies(
    command: Command, label_file: Callable[..., Path], tmp_path: Path, spoilt: str
) -> None:
    path = label_file()
    head, data = path.read_bytes().split(b"\n\n", 1)
    if spoilt == "nan":
        head = head.replace(b"(3,0,0)", b"(nan,0,0)")
    else:
        sizes = b"0 0 0" if spoilt == "zero" else b"100000 100000 100000"
        head = head.replace(b"sizes: 24 24 48", b"sizes: " + sizes)
    path.write_bytes(head + b"\n\n" + data)
    done = command("model", path, "--labels", "pymskt", "--joint", "knee", "--side", "right", "--quiet")
    check(done, tmp_path, {path}, path.name)


def test_labels_that_are_not_whole(command: Command, label_file: Callable[..., Path], tmp_path: Path) -> None:
    path = label_file(dtype=np.float32)
    done = command("model", path, "--labels", "pymskt", "--joint", "knee", "--side", "right", "--quiet")
    check(done, tmp_path, {path}, "whole")


def test_an_empty_label_map(command: Command, label_file: Callable[..., Path], tmp_path: Path) -> None:
    path = label_file(empty=True)
    done = command("model", path, "--labels", "pymskt", "--joint", "knee", "--side", "right", "--quiet")
    check(done, tmp_path, {path})


def test_an_unknown_label_table(command: Command, label_file: Callable[..., Path], tmp_path: Path) -> None:
    path = label_file()
    done = command("model", path, "--labels", "pymsk", "--joint", "knee", "--side", "right", "--quiet")
    check(done, tmp_path, {path}, "pymsk")


def test_a_contradicted_side(command: Command, case_file: Callable[..., Path], tmp_path: Path) -> None:
    exported = tmp_path / "phantom"
    assert command("phantom", "export", "knee", "--out", exported, "--quiet").code == 0
    case = case_file(anatomy='labelmap = "phantom/labels.nrrd"\nlabels = "phantom/labels.toml"', side="left")
    before = set(tmp_path.rglob("*"))
    for name in ("run", "plan", "dose"):
        check(command(name, case, "--out", tmp_path / "out", "--quiet"), tmp_path, before, "left")


@pytest.mark.parametrize("units", ["m", "1000"])
def test_units_wrong_by_a_thousand(command: Command, tmp_path: Path, units: str) -> None:
    exported = tmp_path / "phantom"
    assert command("phantom", "export", "knee", "--out", exported, "--quiet").code == 0
    before = set(tmp_path.rglob("*"))
    femur, tibia = exported / "surfaces" / "femur.ply", exported / "surfaces" / "tibia.ply"
    options = ("--side", "right", "--units", units, "--quiet", "--out", tmp_path / "out")
    done = command("alignment", "--surfaces", f"femur={femur}", f"tibia={tibia}", *options)
    check(done, tmp_path, before)
    done = command("model", "--joint", "knee", "--surfaces", f"femur={femur}", f"tibia={tibia}", *options)
    check(done, tmp_path, before)


@pytest.mark.parametrize(
    "words",
    [
        (), ("--surfaces", "femur"), ("--surfaces", "femur=a.ply", "femur=b.ply"),
        ("--landmarks", "none.json"),
        ("--surfaces", "femur=none.ply", "--limit-deg", "-3"),
    ],
)  # fmt: skip
def test_bad_words_for_alignment(command: Command, tmp_path: Path, words: tuple[str, ...]) -> None:
    check(command("alignment", *words, "--side", "right", "--quiet"), tmp_path, set())


@pytest.mark.parametrize(
    "words",
    [
        (), ("--gauge", "22", "--viscosity-mpa-s", "1", "--k-pa-s-n", "5", "--n", "0.4"),
        ("--gauge", "99", "--viscosity-mpa-s", "1"), ("--id-mm", "-1", "--viscosity-mpa-s", "1"),
        ("--gauge", "22", "--k-pa-s-n", "5"), ("--gauge", "22", "--id-mm", "0.5", "--viscosity-mpa-s", "1"),
        ("--gauge", "22", "--viscosity-mpa-s", "nan"), ("--gauge", "22", "--viscosity-mpa-s", "0"),
        ("--gauge", "22", "--viscosity-mpa-s", "0.001"),  # water in Pa s
        ("--gauge", "22", "--viscosity-mpa-s", "1", "--n", "0.4"),
    ],
)  # fmt: skip
def test_bad_words_for_flow(command: Command, tmp_path: Path, words: tuple[str, ...]) -> None:
    done = command("flow", "--length-mm", "38", "--volume-ml", "2", "--time-s", "10", *words)
    check(done, tmp_path, set())


@pytest.mark.parametrize("name", ["spher", "../knee", ""])
def test_an_unknown_phantom(command: Command, tmp_path: Path, name: str) -> None:
    check(command("phantom", "export", name, "--out", tmp_path / "out"), tmp_path, set())


def test_a_phantom_parameter_out_of_range(
    command: Command, case_file: Callable[..., Path], tmp_path: Path
) -> None:
    case = case_file(anatomy='phantom = "knee"\nparameters = { effusion_ml = 1e6 }')
    check(command("plan", case, "--quiet", "--out", tmp_path / "out"), tmp_path, {case}, "effusion_ml")


@pytest.mark.parametrize("option", ["--out", "--png"])
def test_a_frame_that_a_folder_is_in_the_way_of(command: Command, tmp_path: Path, option: str) -> None:
    """Found before the case is even read."""
    (tmp_path / "taken").mkdir()
    done = command("frame", tmp_path / "none.toml", option, tmp_path / "taken")
    check(done, tmp_path, {tmp_path / "taken"}, "a folder, not a file")


@pytest.mark.parametrize("option", ["--out", "--png"])
def test_a_frame_does_not_take_the_place_of_its_case(
    command: Command, case_file: Callable[..., Path], tmp_path: Path, option: str
) -> None:
    case = case_file()
    before = case.read_bytes()
    check(command("frame", case, option, case), tmp_path, {case}, "not overwritten")
    assert case.read_bytes() == before


def test_a_frame_and_its_picture_are_two_files(command: Command, tmp_path: Path) -> None:
    one = tmp_path / "f.npz"
    check(command("frame", tmp_path / "none.toml", "--out", one, "--png", one), tmp_path, set(), "--png")


def test_the_users_own_segmentation_is_not_overwritten(command: Command, tmp_path: Path) -> None:
    """`phantom export` and `model` write a labels.nrrd of their own."""
    own = tmp_path / "labels.nrrd"
    own.write_bytes(b"days of work")
    done = command("phantom", "export", "sphere", "--out", tmp_path)
    check(done, tmp_path, {own}, "labels.nrrd", "not overwritten")
    assert own.read_bytes() == b"days of work"


def ball_file(folder: Path, name: str, center: tuple[float, float, float]) -> Path:
    mesh = trimesh.creation.icosphere(subdivisions=3, radius=40.0)
    mesh.apply_translation(center)
    mesh.export(folder / f"{name}.ply")
    return folder / f"{name}.ply"


@pytest.mark.parametrize(
    ("joint", "one", "other"),
    [("knee", "femur", "tibia"), ("hip", "hip_bone", "femur"), ("ankle", "tibia", "talus")],
)
def test_bones_of_two_legs(command: Command, tmp_path: Path, joint: str, one: str, other: str) -> None:
    """All of stderr is one line: nothing is computed on a joint that is none."""
    files = [ball_file(tmp_path, one, (0.0, 0.0, 42.0)), ball_file(tmp_path, other, (200.0, 0.0, -42.0))]
    named = [f"{path.stem}={path}" for path in files]
    done = command("model", "--surfaces", *named, "--joint", joint, "--side", "right", "--units", "mm")
    check(done, tmp_path, set(files), one, other, "two legs")
    assert done.err.count("\n") == 1, done.err


def test_a_misspelt_bone_of_a_leg(command: Command, tmp_path: Path) -> None:
    path = ball_file(tmp_path, "femur", (0.0, 0.0, 35.0))
    done = command("alignment", "--surfaces", f"femurr={path}", "--side", "right", "--out", tmp_path / "out")
    check(done, tmp_path, {path}, "femurr", "femur")


def test_defects_and_labels_go_with_what_is_built(command: Command, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    case = tmp_path / "case.toml"
    drawn = (
        '[[defects]]\nstructure = "femoral_cartilage"\ncenter_mm = [0.0, 0.0, 0.0]\nradii_mm = [8.0, 6.0]\n'
    )
    for more, word in ((drawn, "defects"), ('labels = "pymskt"\n', "labels")):
        case.write_text(f'{HEAD}model = "model"\n{more}')
        check(command("check", case), tmp_path, {case, tmp_path / "model"}, word)


@pytest.mark.parametrize("volume", ["1000000", "-1", "nan"])
def test_a_volume_no_joint_takes(
    command: Command, case_file: Callable[..., Path], tmp_path: Path, volume: str
) -> None:
    case = case_file()
    done = command("frame", case, f"--injected={volume}", "--out", tmp_path / "f.npz", "--quiet")
    check(done, tmp_path, {case}, "mL")


@pytest.mark.parametrize("words", [("--noise-sd=-4",), ("--noise-sd=nan",)])
def test_bad_words_for_a_phantom(command: Command, tmp_path: Path, words: tuple[str, ...]) -> None:
    done = command("phantom", "export", "sphere", *words, "--out", tmp_path / "out")
    check(done, tmp_path, set(), "noise-sd")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("radius=3",), "did you mean radius_mm"), (("radius_mm=x",), "must be a number"),
        (("radius_mm=nan",), "must be a number"), (("radius_mm=900",), "must lie in 2 to 60"),
        (("radius_mm",), "NAME=VALUE"), (("=3",), "NAME=VALUE"), (("radius_mm=",), "NAME=VALUE"),
        (("radius_mm=9", "radius_mm=10"), "named twice"), (("side=up",), "left, right"),
    ],
)  # fmt: skip
def test_bad_parameters_of_a_phantom(
    command: Command, tmp_path: Path, words: tuple[str, ...], says: str
) -> None:
    done = command("phantom", "export", "sphere", "--set", *words, "--out", tmp_path / "out")
    check(done, tmp_path, set(), says)


def test_an_out_folder_that_is_a_file(command: Command, tmp_path: Path) -> None:
    place = tmp_path / "taken"
    place.write_text("mine")
    done = command("phantom", "export", "sphere", "--out", place)
    check(done, tmp_path, {place})
    assert place.read_text() == "mine"


@pytest.mark.parametrize(
    "options", [("--threads", "0"), ("--threads", "two"), ("--seed", "-1"), ("--seed", "x")]
)
def test_bad_common_options(command: Command, tmp_path: Path, options: tuple[str, ...]) -> None:
    check(command("doctor", *options), tmp_path, set())


@pytest.mark.parametrize("times", [("10",), ("10", "10"), ("-1", "20"), ("nan", "20"), ("10", "20", "30")])
def test_echo_times_that_do_not_fit(
    command: Command, label_file: Callable[..., Path], tmp_path: Path, times: tuple[str, ...]
) -> None:
    path = label_file()
    check(command("t2", path, "--echo-times-ms", *times), tmp_path, {path})
