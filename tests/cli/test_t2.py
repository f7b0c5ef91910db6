"""A phantom's T2 series written and measured by the commands: the means it was made with come back."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from command_line import Command
from injectplan.documents import json_schema

TIMES = ("10", "25", "40", "55")


def test_a_phantom_s_t2_comes_back_by_subregion(command: Command, tmp_path: Path) -> None:
    made, out = tmp_path / "ankle", tmp_path / "t2"
    done = command("phantom", "export", "ankle", "--echo-times-ms", *TIMES, "--out", made, "--json")
    assert done.code == 0, done.err
    truth = json.loads((made / "truth.json").read_text())
    jsonschema.validate(truth, json_schema("truth"))
    words = ("--mask", made / "labels.nrrd", "--labels", made / "labels.toml", "--side", "right")
    done = command(
        "t2",
        made / "echoes.nrrd",
        "--echo-times-ms",
        *TIMES,
        *words,
        "--joint",
        "ankle",
        "--out",
        out,
        "--json",
    )
    assert done.code == 0, done.err
    document = json.loads(done.out)
    jsonschema.validate(document, json_schema("t2"))
    regions = document["regions"]
    dome = regions["talar_cartilage"]
    assert dome["mean_ms"] == pytest.approx(truth["talar_cartilage_t2_mean_ms"]["value"], rel=1e-3)
    assert sum(regions[f"talar_cartilage/zone_{i}"]["n"] for i in range(1, 10)) >= 0.9 * dome["n"]
    for i in range(1, 10):
        deep, top = (regions[f"talar_cartilage/zone_{i}/{h}"]["mean_ms"] for h in ("deep", "superficial"))
        assert top - deep > 4.0
    assert {"t2.nii.gz", "t2.json", "t2_maps.png"} <= {p.name for p in out.iterdir()}


def test_subregions_need_to_know_the_joint(command: Command, tmp_path: Path) -> None:
    done = command("t2", tmp_path / "x.nrrd", "--echo-times-ms", "10", "20", "--joint", "knee", "--json")
    assert done.code == 2
    assert "subregions need --mask and --side" in done.err


UNUSED = ("injectplan.planning", "injectplan.ultrasound", "injectplan.report", "vtkmodules", "scipy.ndimage")
ASKED = """
import sys, injectplan.cli, injectplan.imaging as imaging, injectplan.workflow as workflow
workflow.measure_t2, imaging.read_volume
print(*sorted(sys.modules))
"""


def test_a_fit_imports_neither_planning_nor_pictures() -> None:
    """The whole process on the real series takes under 2 s because of what it leaves out (1.2 s were it)."""
    done = subprocess.run([sys.executable, "-c", ASKED], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "injectplan.workflow.relaxation" in loaded
    assert not loaded & set(UNUSED)
