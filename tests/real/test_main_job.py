"""The main job on a real knee: from a segmentation to a feasible, re-checked superolateral trajectory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from command_line import run_as_user
from injectplan.documents import json_schema

CASE = Path(__file__).parent / "case_knee.toml"


@pytest.fixture(scope="module")
def runs(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[dict[str, Any], Path]]:
    """Run the whole case on one and on two threads."""
    folder = tmp_path_factory.mktemp("real")
    found = []
    for threads in ("1", "2"):
        out = folder / threads
        words = ("run", str(CASE), "--json", "--quiet", "--threads", threads, "--out", str(out))
        found.append((json.loads(run_as_user(folder, *words)), out))
    return found


@pytest.mark.real
def test_a_superolateral_trajectory_keeps_every_margin(runs: list[tuple[dict[str, Any], Path]]) -> None:
    record = runs[1][0]
    jsonschema.validate(record, json_schema("record"))
    assert record["plan"]["trajectories"]
    for trajectory in record["plan"]["trajectories"]:
        assert trajectory["approach"] == "suprapatellar-lateral"
        assert trajectory["recess"] == "suprapatellar"
        assert trajectory["rechecked"]
        assert set(trajectory["margins"].values()) == {"kept"}


@pytest.mark.real
def test_the_chosen_needle_comes_from_lateral_and_shows(runs: list[tuple[dict[str, Any], Path]]) -> None:
    best = runs[1][0]["plan"]["trajectories"][0]
    way = np.subtract(best["tip_mm"], best["entry_mm"])
    assert best["technique"] == "in-plane"
    assert way[0] < 0  # a right knee: from lateral (patient's right, +x) towards medial
    assert best["ultrasound"]["beam_needle_angle_deg"] >= 55
    assert best["ultrasound"]["window_fraction"] > 0.5


@pytest.mark.real
def test_meshes_agree_with_the_voxels(runs: list[tuple[dict[str, Any], Path]]) -> None:
    structures = runs[1][0]["model"]["structures"]
    segmented = {n: s for n, s in structures.items() if s["source"] == "segmented"}
    assert len(segmented) == 10
    for name, s in structures.items():
        assert s["closed"], name
        assert s["manifold"], name
    for name, s in segmented.items():
        limit = 0.005 if name in ("femur", "tibia", "patella", "fibula") else 0.01
        assert abs(s["mesh_volume_ml"] / s["voxel_volume_ml"] - 1) < limit, name


@pytest.mark.real
def test_a_knee_only_scan_says_what_it_cannot_tell(runs: list[tuple[dict[str, Any], Path]]) -> None:
    alignment = runs[1][0]["alignment"]
    assert alignment["angles"]["mldfa_deg"]["value"] is None
    assert "outside" in alignment["angles"]["mldfa_deg"]["reason"]
    assert alignment["field_of_view"]["femur_shaft_mm"] == pytest.approx(76, abs=6)
    assert alignment["verdict"]["state"] in ("OK", "INDETERMINATE")
    low, high = alignment["verdict"]["interval_deg"]
    assert high - low > 7  # about 70 mm of shaft cannot tell better than that


@pytest.mark.real
def test_one_and_two_threads_write_the_same_bytes(runs: list[tuple[dict[str, Any], Path]]) -> None:
    (_, one), (_, two) = runs
    names = sorted(p.relative_to(one) for p in one.rglob("*") if p.is_file())
    assert names == sorted(p.relative_to(two) for p in two.rglob("*") if p.is_file())
    binary = [n for n in names if n.suffix not in (".json", ".html")]
    assert len(binary) > 20
    assert [n for n in binary if (one / n).read_bytes() != (two / n).read_bytes()] == []
