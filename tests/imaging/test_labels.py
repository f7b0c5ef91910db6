from __future__ import annotations

from pathlib import Path

import pytest

from injectplan.errors import FileError, UsageError
from injectplan.imaging.labels import label_table, recognised, shipped_tables
from injectplan.structures import all_structures

PROMISED = {
    "pymskt", "oai-zib", "skm-tea", "oai-lesions", "totalsegmentator", "totalsegmentator-mr",
    "totalsegmentator-appendicular", "mrsegmentator",
}  # fmt: skip


def test_the_promised_tables_name_known_structures() -> None:
    assert set(shipped_tables()) >= PROMISED
    for table in shipped_tables().values():
        names = table.names("left" if table.sided else None)
        assert names
        assert set(names.values()) <= set(all_structures())
        assert table.source


@pytest.mark.parametrize(
    ("table", "side", "value", "name"),
    [
        ("pymskt", None, 9, "lateral_meniscus"),
        ("pymskt", None, 7, "patella"),
        ("skm-tea", None, 5, "medial_meniscus"),
        ("oai-lesions", None, 7, "femoral_lesion"),
        ("totalsegmentator", "left", 75, "femur"),
        ("totalsegmentator", "right", 78, "hip_bone"),
        ("totalsegmentator-mr", "right", 37, "femur"),
        ("totalsegmentator-appendicular", None, 2, "tibia"),
        ("mrsegmentator", "left", 27, "hip_bone"),
    ],
)
def test_spot_checks(table: str, side: str | None, value: int, name: str) -> None:
    assert label_table(table).names(side)[value] == name


def test_sides_are_picked_and_needed() -> None:
    table = label_table("totalsegmentator")
    assert 75 not in table.names("right")
    assert {75, 76, 5, 0} <= table.known
    with pytest.raises(UsageError, match="tells left from right"):
        table.names(None)


def test_a_users_table(tmp_path: Path) -> None:
    path = tmp_path / "t.toml"
    path.write_text('[labels]\n3 = "femur"\n4 = "cyst"\n[structures.cyst]\ntissue = "water"\nrisk = "none"\n')
    table = label_table(path)
    assert table.names(None) == {3: "femur", 4: "cyst"}
    assert table.additions["cyst"].tissue == "water"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[labels]\n1 = "femurr"', r"\[labels\] 1: 'femurr' is not .* nearest: femur"),
        ('[labels]\nx = "femur"', "'x' is no label value"),
        ('[labels]\n70000 = "femur"', "'70000' is no label value"),
        ("[labels]\n1 = 2", "must name a structure"),
        ('[lables]\n1 = "femur"', "unknown key 'lables'; nearest: labels"),
        ("labels = 3", "labels must be a table"),
        ("", "names no label"),
    ],
)
def test_a_users_mistake_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "t.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=message):
        label_table(path)


def test_no_table(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'pymsk' is not known; nearest: pymskt"):
        label_table("pymsk")
    with pytest.raises(FileError, match="cannot be read"):
        label_table(tmp_path / "none.toml")
    (tmp_path / "x.toml").write_bytes(b"\xff\xfe[")
    with pytest.raises(FileError, match="is not TOML"):
        label_table(tmp_path / "x.toml")


@pytest.mark.parametrize(
    ("name", "side", "structure"),
    [
        ("Femur", None, "femur"),
        ("right femur", "right", "femur"),
        ("Femur, left", "right", None),
        ("Femoral Cartilage", None, "femoral_cartilage"),
        ("Patellar ligament", None, "patellar_tendon"),
        ("sartorius muscle", None, "sartorius"),
        ("ribs", None, None),
    ],
)
def test_segment_names_are_recognised(name: str, side: str | None, structure: str | None) -> None:
    assert recognised(name, side) == structure
