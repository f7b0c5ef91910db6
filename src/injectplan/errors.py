"""Every error that injectplan raises on purpose, in one small tree.

::

    InjectplanError
    ├── BadInputError                 exit 2: what was given cannot be used
    │   ├── UsageError                an option or a combination of options
    │   ├── FileError                 missing, truncated, of another format, hostile
    │   ├── CaseFileError             a key or value of a case file, named with its path in the file
    │   ├── UnitsError                a length no joint can have
    │   ├── ContradictionError        side, handedness or labels that the anatomy contradicts
    │   └── EmptyStructureError       a structure the command needs has no voxel or triangle
    └── RefusedError                  exit 3: the question was sound, the answer cannot be given
        ├── NoTrajectoryError         no candidate keeps every hard constraint
        ├── LandmarkError             a fit failed or cannot be trusted
        ├── NothingToMeasureError     the data hold nothing of what was asked for
        └── UnconfirmedPlanError      the exact re-check disagrees with the search

A message names the thing, the value, the limit and the way out, in one line.
"""

from __future__ import annotations


class InjectplanError(Exception):
    """Base of all errors raised on purpose; `exit_code` is what the command line returns."""

    exit_code = 1


class BadInputError(InjectplanError):
    """What was given cannot be used."""

    exit_code = 2


class UsageError(BadInputError):
    """An option, or a combination of options, that makes no sense."""


class FileError(BadInputError):
    """A file that is missing, truncated, hostile or not of the format it claims."""


class CaseFileError(BadInputError):
    """A mistake in a case file, named with its path in the file."""


class UnitsError(BadInputError):
    """Coordinates that no joint can have in the stated unit."""


class ContradictionError(BadInputError):
    """A side, a frame's handedness or labels that the anatomy contradicts."""


class EmptyStructureError(BadInputError):
    """A structure that the command needs and that is empty."""


class RefusedError(InjectplanError):
    """The question was sound, but the answer cannot be given; the result says why."""

    exit_code = 3


class NoTrajectoryError(RefusedError):
    """No candidate trajectory keeps every hard constraint; `searched` says what was looked at, when known."""

    searched: object | None = None


class LandmarkError(RefusedError):
    """A landmark fit failed, or its result cannot be trusted."""


class NothingToMeasureError(RefusedError):
    """The data hold nothing of what was asked for."""


class UnconfirmedPlanError(RefusedError):
    """The exact re-check does not confirm what the search found."""
