"""What an operator says of an alert: it was real, it was false, or it was expected.

Enters: a word, its author and the time. Leaves: the same, immutable; one that is undone stays, marked as such.
"""

from dataclasses import dataclass
from enum import StrEnum


class VerdictKind(StrEnum):
    """The three words there are."""

    REAL = "real"
    FALSE = "false"
    EXPECTED = "expected"


@dataclass(frozen=True, slots=True)
class Verdict:
    """One verdict on one occurrence; the newest that is not undone counts. Times are UTC milliseconds."""

    id: str
    occurrence: str
    kind: VerdictKind
    author: str
    comment: str
    time_ms: int
    undone_ms: int | None = None
