"""Values that carry where they come from: `Measure`, `Sourced`, `Verdict`, `Notice`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

NOT_A_DEVICE = "rehearsal, training and research; not a medical device; not for treating a patient"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """A measured or computed number with its standard deviation and method.

    value, sd : in the unit that the name of the field holding this measure ends with; `sd` is NaN where
        no uncertainty can be stated, and `reason` then says why.
    method : how it was found, in a few words.
    assumed : names of the assumptions that entered.
    reason : why the value, or its sd, is missing.
    """

    value: float
    sd: float = math.nan
    method: str = ""
    assumed: tuple[str, ...] = ()
    reason: str | None = None

    def __post_init__(self) -> None:
        if not math.isfinite(self.value) and not self.reason:
            raise ValueError("a missing value needs its reason")
        if self.sd < 0:
            raise ValueError(f"standard deviation {self.sd} is negative")

    @classmethod
    def missing(cls, reason: str, *, method: str = "") -> Measure:
        """Return the measure that could not be taken, with why."""
        return cls(value=math.nan, method=method, reason=reason)

    @property
    def known(self) -> bool:
        """Whether there is a value."""
        return math.isfinite(self.value)

    def to_json(self) -> dict[str, Any]:
        """Return the document form: null and a reason for what is missing, never NaN."""
        document: dict[str, Any] = {
            "value": self.value if self.known else None,
            "sd": self.sd if math.isfinite(self.sd) else None,
            "method": self.method,
        }
        if self.assumed:
            document["assumed"] = list(self.assumed)
        if self.reason:
            document["reason"] = self.reason
        return document


@dataclass(frozen=True, slots=True)
class Sourced:
    """A constant with its source; `assumed` marks a judgement rather than a finding.

    `name` identifies it in the report's list of assumptions.
    """

    value: float
    source: str
    assumed: bool = False
    name: str = ""

    def __float__(self) -> float:
        return float(self.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A judgement with its margin: a constraint's name, the value met and the limit it is held against.

    at_least : True when the value must not fall below the limit, False when it must not exceed it.
    known : False when nothing in the model lets the constraint be judged; it then never counts as kept.
    """

    constraint: str
    value: float
    limit: float
    unit: str = "mm"
    at_least: bool = True
    known: bool = True

    @property
    def margin(self) -> float:
        """Distance to the limit, positive when kept, NaN when unknown."""
        if not self.known:
            return math.nan
        return self.value - self.limit if self.at_least else self.limit - self.value

    @property
    def kept(self) -> bool:
        """Whether the constraint holds; an unknown one does not."""
        return self.known and self.margin >= 0.0

    @property
    def state(self) -> str:
        """One of "kept", "broken", "unknown"."""
        return "unknown" if not self.known else "kept" if self.kept else "broken"


@dataclass(frozen=True, slots=True)
class Notice:
    """A warning that a result carries: a stable code, one sentence, and the structure concerned."""

    code: str
    message: str
    structure: str | None = None

    def to_json(self) -> dict[str, str]:
        """Return the document form."""
        document = {"code": self.code, "message": self.message}
        return document | {"structure": self.structure} if self.structure else document
