from __future__ import annotations

import math

import pytest

from injectplan.measure import Measure, Notice, Verdict


def test_a_missing_value_needs_its_reason_and_becomes_null() -> None:
    with pytest.raises(ValueError, match="reason"):
        Measure(value=math.nan)
    missing = Measure.missing("the hip lies outside the scan")
    assert not missing.known
    assert missing.to_json() == {
        "value": None,
        "sd": None,
        "method": "",
        "reason": "the hip lies outside the scan",
    }


def test_a_negative_spread_is_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        Measure(value=1.0, sd=-0.1)


@pytest.mark.parametrize(
    ("value", "limit", "at_least", "state"),
    [(6.0, 5.0, True, "kept"), (4.0, 5.0, True, "broken"), (4.0, 5.0, False, "kept"),
     (6.0, 5.0, False, "broken"), (5.0, 5.0, True, "kept")],
)  # fmt: skip
def test_a_verdict_is_judged_with_its_margin(value: float, limit: float, at_least: bool, state: str) -> None:
    verdict = Verdict(constraint="artery", value=value, limit=limit, at_least=at_least)
    assert verdict.state == state
    assert abs(verdict.margin) == abs(value - limit)


def test_an_unknown_verdict_is_never_kept() -> None:
    verdict = Verdict(constraint="nerve", value=99.0, limit=5.0, known=False)
    assert verdict.state == "unknown"
    assert not verdict.kept
    assert math.isnan(verdict.margin)


def test_a_notice_names_its_structure_only_when_it_has_one() -> None:
    assert Notice("a", "b").to_json() == {"code": "a", "message": "b"}
    assert Notice("a", "b", "femur").to_json()["structure"] == "femur"
