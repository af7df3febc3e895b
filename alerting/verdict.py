"""What an operator says of an alert: it was real, it was false, or it was expected.

Enters: a word, its author and the time. Leaves: the same, immutable; one that is undone stays, marked as such. What
a verdict changes is not decided here.
"""

from dataclasses import dataclass
from enum import StrEnum


class VerdictKind(StrEnum):
    """The three words there are."""

    REAL = "real"
    FALSE = "false"
    EXPECTED = "expected"


class Recurrence(StrEnum):
    """At which hours something is expected again; NONE is at any."""

    NONE = ""
    DAY = "day"
    WEEK = "week"


@dataclass(frozen=True, slots=True)
class Verdict:
    """One verdict on one occurrence; the newest that is not undone counts. Times are UTC milliseconds.

    `every`: what was expected comes again at its hour; only with EXPECTED.
    """

    id: str
    occurrence: str
    kind: VerdictKind
    author: str
    comment: str
    time_ms: int
    undone_ms: int | None = None
    every: Recurrence = Recurrence.NONE
