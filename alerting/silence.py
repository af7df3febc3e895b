"""Silences: an operator's word that some alerts are not to be told until a time.

Enters: an alert and the wall clock. Leaves: whether it is silenced, and by what. A silence ends by itself; one
that is expired early ends now. What was told before a silence is still told when it is over.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from alerting.occurrence import Occurrence


@dataclass(frozen=True, slots=True)
class Match:
    """Which alerts are meant; "" means any. `alertname` and `resource` may be patterns, like "/srv/*"."""

    alertname: str = ""
    resource: str = ""
    severity: str = ""
    network: str = ""

    def takes(self, occurrence: Occurrence) -> bool:
        """Tell whether `occurrence` is meant."""
        return (
            (not self.alertname or fnmatchcase(occurrence.alertname, self.alertname))
            and (not self.resource or fnmatchcase(occurrence.resource, self.resource))
            and self.severity in {"", occurrence.severity.value}
            and self.network in {"", occurrence.network}
        )

    def __str__(self) -> str:
        """Return the match as people read it."""
        parts = {
            "": self.alertname,
            "on ": self.resource,
            "of severity ": self.severity,
            "of network ": self.network,
        }
        return " ".join(f"{word}{value}" for word, value in parts.items() if value) or "every alert"


@dataclass(frozen=True, slots=True)
class Silence:
    """One silence, from `starts_ms` up to `ends_ms` (UTC milliseconds, wall clock)."""

    id: str
    match: Match
    starts_ms: int
    ends_ms: int
    author: str
    comment: str

    def is_active(self, time_ms: int) -> bool:
        """Tell whether it silences at `time_ms`."""
        return self.starts_ms <= time_ms < self.ends_ms


def silence_of(occurrence: Occurrence, silences: Iterable[Silence], time_ms: int) -> Silence | None:
    """Return the silence that keeps `occurrence` quiet at `time_ms`, None without one."""
    return next((one for one in silences if one.is_active(time_ms) and one.match.takes(occurrence)), None)
