"""The alignment's JSON Schema: every document fits it, and a document that says something else does not."""

import copy
import json

import jsonschema
import numpy as np
import pytest

from injectplan.alignment import (
    alignment_document,
    alignment_schema,
    measure_alignment,
    measure_alignment_of_landmarks,
    read_landmarks,
)
from injectplan.alignment.angles import DEFINITIONS, LANDMARK_NAMES
from injectplan.documents import json_schema, to_json
from injectplan.errors import LandmarkError
from injectplan.workflow.steps import refused
from oracles_alignment import femur, fibula, hip_bone, hip_bones, leg, tibia
from planar_leg import marks, planar_leg
from real_legs import cut

VALIDATOR = jsonschema.Draft202012Validator(json_schema("alignment"))

# What docs/reference.md and the house's contract promise, letter by letter.
CONTRACT_ANGLES = {
    "hka_deg", "mldfa_deg", "mpta_deg", "jlca_deg", "afta_deg", "nsa_deg", "nsa_projected_deg", "mldta_deg",
    "talar_tilt_deg", "lcea_deg", "acetabular_inclination_deg", "alpha_deg",
}  # fmt: skip
CONTRACT_LANDMARKS = {
    "hip_center", "femoral_knee_center", "tibial_knee_center", "ankle_center", "distal_medial_condyle",
    "distal_lateral_condyle", "posterior_medial_condyle", "posterior_lateral_condyle", "intercondylar_notch",
    "medial_plateau", "lateral_plateau", "knee_axis",
}  # fmt: skip
CONTRACT_VERDICT = {
    "state", "angle", "deviation_deg", "interval_deg", "limit_deg", "probability_over_limit", "load",
    "reasons",
}  # fmt: skip


def document(alignment):
    return json.loads(to_json(alignment_document(alignment)))


@pytest.fixture(scope="module")
def bones():
    parts = leg(femur(step=2.2), tibia(step=2.2), fibula_part=fibula(step=2.2))
    own, other = hip_bones(hip_bone(step=2.2))
    return parts | {"hip_bone": own, "opposite_hip_bone": other}


@pytest.fixture(scope="module")
def whole(bones):
    return document(measure_alignment(bones, "right"))


def of_landmarks(deviation, *, sd=1.0, without=(), **options):
    points = planar_leg(deviation, 88.0, 88.0)
    return document(
        measure_alignment_of_landmarks(
            marks({n: p for n, p in points.items() if n not in without}, sd), "right", **options
        )
    )


@pytest.mark.parametrize(
    ("state", "given"),
    [("OK", {"deviation": 1.0}), ("INDETERMINATE", {"deviation": 9.5}), ("EXCLUDE", {"deviation": 18.0}),
     ("REFUSED", {"deviation": 0.0, "without": ("hip_center",)}),
     ("OK", {"deviation": 1.0, "load": "standing"}), ("INDETERMINATE", {"deviation": 5.0, "limit_deg": 5.0}),
     ("REFUSED", {"deviation": 0.0, "joint": "hip"}), ("REFUSED", {"deviation": 0.0, "joint": "ankle"})],
)  # fmt: skip
def test_every_verdict_fits(state, given):
    given = dict(given)
    got = of_landmarks(given.pop("deviation"), **given)
    VALIDATOR.validate(got)
    assert got["verdict"]["state"] == state
    assert got["verdict"].keys() >= CONTRACT_VERDICT


@pytest.mark.parametrize("joint", ["knee", "hip", "ankle"])
def test_a_whole_leg_with_its_pelvis_fits_for_every_joint(bones, joint):
    got = document(measure_alignment(bones, "right", joint=joint))
    VALIDATOR.validate(got)
    assert got["angles"]["lcea_deg"]["value"] is not None
    assert got["angles"]["mldta_deg"]["value"] is not None


def test_a_partial_view_and_single_bones_fit(bones):
    knee = {
        n: cut(bones[n], [0.0, 0.0, z], [0.0, 0.0, s])
        for n, z, s in (("femur", 110.0, -1), ("tibia", -90.0, 1))
    }
    got = document(measure_alignment(knee, "right"))
    VALIDATOR.validate(got)
    assert got["angles"]["hka_deg"]["method"].startswith("predicted")
    for name in ("femur", "tibia"):
        VALIDATOR.validate(document(measure_alignment({name: bones[name]}, "right")))


def test_a_refused_measurement_fits():
    VALIDATOR.validate(json.loads(to_json(refused(LandmarkError("it is no femur")))))


def test_the_contracts_keys_are_all_there(whole):
    assert whole["angles"].keys() >= CONTRACT_ANGLES
    assert {"mechanical", "bergmann", "murphy"} == whole["femoral_version_deg"].keys()
    assert len(whole["tibial_torsion_deg"]) >= 2
    for name in ("mad_mm", "knee_flexion_deg"):
        assert whole[name] == whole["angles"][name]
    assert whole["landmarks"].keys() >= CONTRACT_LANDMARKS
    assert whole["field_of_view"].keys() >= {"femur_shaft_mm", "tibia_shaft_mm"}
    assert whole["cpak"] in ("I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX")
    for entry in [whole["angles"][n] for n in CONTRACT_ANGLES]:
        assert entry.keys() >= {"value", "sd", "method", "plane"}
    for name, entry in whole["landmarks"].items():
        assert entry.keys() >= {"sd_mm", "method"}, name
        assert ("position_mm" in entry) != ("direction" in entry), name


def test_a_landmark_that_no_bone_shows_is_null_with_its_reason_and_reads_back(bones, whole, tmp_path):
    partial = document(measure_alignment({"femur": bones["femur"]}, "right"))
    for got in (whole, partial, of_landmarks(0.0, without=("hip_center",))):
        assert got["landmarks"].keys() == LANDMARK_NAMES
        for name, entry in got["landmarks"].items():
            at = entry["position_mm" if name != "knee_axis" else "direction"]
            assert (at is None) == ("reason" in entry), name
    told = {name: entry.get("reason", "") for name, entry in partial["landmarks"].items()}
    assert told["ankle_center"] == told["lateral_plateau"] == "no tibia is among the bones"
    assert told["lateral_acetabular_edge"] == "no hip bone is among the bones"
    assert told["hip_center"] == told["femoral_neck_center"] == ""
    assert whole["landmarks"]["talar_dome_lateral"]["reason"] == "no talus is among the bones"
    path = tmp_path / "again.json"
    path.write_text(json.dumps(partial))
    again, side = read_landmarks(path)
    assert side == "right"
    assert again.keys() == {n for n, why in told.items() if not why} - {"knee_axis"}


def altered(whole, path, value):
    """The document with one value changed, or taken out (None-value: a key's absence)."""
    result = copy.deepcopy(whole)
    *way, last = path
    at = result
    for step in way:
        at = at[step]
    if value is KeyError:
        del at[last]
    else:
        at[last] = value
    return result


WRONG = [
    (("surplus",), 1), (("schema",), 2), (("side",), "both"), (("joint",), "elbow"), (("cpak",), "X"),
    (("angles",), KeyError), (("angles", "hka_deg"), KeyError), (("angles", "hka"), {"value": 1.0}),
    (("angles", "hka_deg", "value"), "178"), (("angles", "hka_deg", "value"), 3.1e3),
    (("angles", "hka_deg", "value"), None), (("angles", "hka_deg", "sd"), -0.1),
    (("angles", "hka_deg", "interval"), [170.0]), (("angles", "hka_deg", "unit"), "rad"),
    (("angles", "mldfa_deg", "plane"), "another"), (("angles", "mldfa_deg", "method"), KeyError),
    (("femoral_version_deg", "murphy"), KeyError), (("tibial_torsion_deg", "mine"), {"value": 2.0}),
    (("mad_mm",), KeyError), (("knee_flexion_deg", "value"), True),
    (("landmarks", "hip_centre"), {"sd_mm": 1.0, "method": "x", "position_mm": [0.0, 0.0, 0.0]}),
    (("landmarks", "hip_center", "position_mm"), [0.0, 1.0]), (("landmarks", "hip_center", "sd_mm"), None),
    (("landmarks", "hip_center", "position"), [0.0, 0.0, 1.0]),
    (("landmarks", "knee_axis", "direction"), [0.0, 0.0, 40.0]),
    (("landmarks", "talar_dome_medial"), KeyError), (("landmarks", "talar_dome_medial", "reason"), KeyError),
    (("landmarks", "talar_dome_medial", "position_mm"), [0.0, 0.0, 1.0]),
    (("field_of_view", "hip_seen"), "yes"), (("field_of_view", "femur_shaft_mm"), -3.0),
    (("verdict", "state"), "MAYBE"), (("verdict", "state"), "REFUSED"), (("verdict", "reasons"), []),
    (("verdict", "probability_over_limit"), 1.5), (("verdict", "deviation_deg"), None),
    (("verdict", "load"), "sitting"), (("verdict", "interval_deg"), [1.0, 2.0, 3.0]),
    (("verdict", "surplus"), 0), (("warnings",), [{"code": "x"}]), (("assumed",), "nothing"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "value"), WRONG, ids=[f"{'.'.join(p)}={v!s:.20}" for p, v in WRONG])
def test_a_document_that_says_something_else_does_not_fit(whole, path, value):
    VALIDATOR.validate(whole)
    with pytest.raises(jsonschema.ValidationError):
        VALIDATOR.validate(altered(whole, path, value))


def test_a_missing_angle_without_its_reason_does_not_fit():
    got = of_landmarks(0.0, without=("hip_center",))
    assert got["angles"]["hka_deg"]["value"] is None
    with pytest.raises(jsonschema.ValidationError):
        VALIDATOR.validate(altered(got, ("angles", "hka_deg", "reason"), KeyError))


def test_the_records_part_is_the_same_schema_and_units_are_said():
    assert json_schema("record")["properties"]["alignment"] == alignment_schema()
    angles = alignment_schema()["oneOf"][0]["properties"]["angles"]["properties"]
    for name, definition in DEFINITIONS.items():
        entry = angles
        for step in name.split("."):
            entry = entry[step] if step in entry else entry["properties"][step]
        known = entry["oneOf"][0]["properties"]["value"]
        assert known["description"] == {"deg": "degrees", "mm": "millimetres"}[definition.unit]
    assert np.isfinite(known["maximum"])
