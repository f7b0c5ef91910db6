"""Slicer markups, table and skin map: written, read back, refused."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import pyvista as pv

from injectplan.errors import FileError, UnconfirmedPlanError
from injectplan.instruments import Needle, Probe
from injectplan.interop import read_lines, write_markups, write_plan_csv, write_skin_map
from injectplan.planning import Constraints, plan_injection
from oracles_planning import toy_knee


@pytest.fixture(scope="module")
def plan():
    return plan_injection(toy_knee(), Needle(), Probe(), Constraints(entries=400, targets=6))


def test_markups_are_slicer_lines_in_lps(plan, tmp_path):
    path = tmp_path / "plan.mrk.json"
    write_markups(plan, path)
    document = json.loads(path.read_text())
    assert document["@schema"].endswith("markups-schema-v1.0.3.json#")
    assert len(document["markups"]) == len(plan.trajectories)
    for markup, t in zip(document["markups"], plan.trajectories, strict=True):
        assert (markup["type"], markup["coordinateSystem"], markup["coordinateUnits"]) == (
            "Line",
            "LPS",
            "mm",
        )
        first, second = markup["controlPoints"]
        assert first["positionStatus"] == second["positionStatus"] == "defined"
        assert np.allclose(first["position"], t.entry_mm * [-1, -1, 1], atol=1e-6)
        assert np.allclose(second["position"], t.tip_mm * [-1, -1, 1], atol=1e-6)
        assert markup["measurements"][0]["value"] == pytest.approx(t.length_mm)
        assert "not a medical device" in markup["description"]
    for line, t in zip(read_lines(path).values(), plan.trajectories, strict=True):
        assert np.allclose(line, [t.entry_mm, t.tip_mm], atol=1e-6)


def test_table_holds_one_row_a_trajectory(plan, tmp_path):
    path = tmp_path / "plan.csv"
    write_plan_csv(plan, path)
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert [int(row["rank"]) for row in rows] == [t.rank for t in plan.trajectories]
    best = plan.trajectories[0]
    assert float(rows[0]["tip_a_mm"]) == pytest.approx(best.tip_mm[1], rel=1e-5)
    assert float(rows[0]["clearance_femur_mm"]) == pytest.approx(best.clearance_mm["femur"], rel=1e-5)
    assert all("not a medical device" in row["purpose"] for row in rows)
    assert float(rows[0]["nearest_clearance_mm"]) == pytest.approx(min(best.clearance_mm.values()), rel=1e-5)


def test_skin_map_reads_back(plan, tmp_path):
    path = tmp_path / "skin_map.vtp"
    write_skin_map(plan, path)
    mesh = pv.read(path)
    assert "not a medical device" in str(mesh.field_data["purpose"][0])
    assert np.allclose(mesh.points, plan.skin.vertices_mm, atol=1e-4)
    assert np.allclose(mesh.point_data["entry_quality"], plan.skin_quality, equal_nan=True)


def test_nothing_unconfirmed_is_written(plan, tmp_path):
    doubtful = replace(plan, trajectories=(replace(plan.trajectories[0], rechecked=False),))
    for write in (write_markups, write_plan_csv, write_skin_map):
        with pytest.raises(UnconfirmedPlanError):
            write(doubtful, tmp_path / "out")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"markups": [{"type": "Line"}]}', '{"markups": 3}'])
def test_bad_markups_are_one_line(text, tmp_path):
    path = tmp_path / "bad.mrk.json"
    path.write_text(text)
    with pytest.raises(FileError) as caught:
        read_lines(path)
    assert "\n" not in str(caught.value)
    with pytest.raises(FileError, match="no such file"):
        read_lines(tmp_path / "none.json")


def test_points_not_defined_are_refused(plan, tmp_path):
    path = tmp_path / "plan.mrk.json"
    write_markups(plan, path)
    path.write_text(path.read_text().replace('"defined"', '"undefined"', 1))
    with pytest.raises(FileError, match="defined"):
        read_lines(path)
