from __future__ import annotations

import json
import math
import re
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from injectplan.documents import json_schema, plain, provenance, read_json, read_text, schema_names, to_json
from injectplan.errors import FileError, UsageError
from injectplan.measure import NOT_A_DEVICE


def test_json_never_holds_nan_and_keeps_numpy_values() -> None:
    document = {
        "a": np.float32(1.5),
        "b": np.array([1.0, math.nan]),
        "c": np.int64(3),
        "d": math.inf,
        "e": np.bool_(True),
        "f": {2, 1},
    }
    text = to_json(document)
    assert "NaN" not in text
    assert "Infinity" not in text
    assert json.loads(text) == {"a": 1.5, "b": [1.0, None], "c": 3, "d": None, "e": True, "f": [1, 2]}


def test_a_path_loses_its_folders() -> None:
    assert plain(Path("/home/somebody/name_of_patient/scan.nrrd")) == "scan.nrrd"


def test_what_has_no_document_form_is_refused() -> None:
    with pytest.raises(TypeError, match="no document form"):
        plain(object())


@pytest.mark.parametrize("name", schema_names())
def test_every_schema_is_valid_and_says_what_the_program_is_for(name: str) -> None:
    schema = json_schema(name)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert NOT_A_DEVICE in schema["description"]


def test_an_unknown_schema_names_the_known_ones() -> None:
    with pytest.raises(UsageError, match="alignment"):
        json_schema("plann")


def test_provenance_holds_hashes_and_no_paths() -> None:
    document = provenance(seed=7, inputs={"labelmap": "ab" * 32})
    assert document["seed"] == 7
    assert document["inputs_sha256"] == {"labelmap": "ab" * 32}
    assert not re.search(r"/(home|root|tmp|work)\b", json.dumps(document))
    assert "thread" not in json.dumps(document)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000])
def test_what_is_not_json_is_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(FileError) as caught:
        read_json(path)
    assert "\n" not in str(caught.value)
    with pytest.raises(FileError, match="no such file"):
        read_json(tmp_path / "y.json")


@pytest.mark.parametrize(
    ("made", "words"), [("missing", "no such file"), ("folder", "is a directory"), ("bytes", "not text")]
)
def test_a_text_that_cannot_be_read_is_said_in_plain_words(tmp_path: Path, made: str, words: str) -> None:
    path = tmp_path / "points.json"
    if made == "folder":
        path.mkdir()
    elif made == "bytes":
        path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FileError, match=words) as caught:
        read_text(path)
    assert "Error" not in str(caught.value)
