"""Routes: which sinks an alert is for, how often it is repeated, and who is told when nobody takes it in hand.

Enters: an alert. Leaves: the names of sinks. The first route that takes an alert decides; without any that
does, every sink is told.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from alerting.occurrence import Occurrence, State
from alerting.policy import Severity


@dataclass(frozen=True, slots=True)
class Route:
    """Sends what it takes to `sinks`; an empty list takes any. `alertnames` and `resources` may be patterns."""

    sinks: tuple[str, ...]
    severities: frozenset[str] = frozenset()
    networks: frozenset[str] = frozenset()
    alertnames: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()

    def takes(self, occurrence: Occurrence) -> bool:
        """Tell whether `occurrence` goes this way."""
        return (
            (not self.severities or occurrence.severity.value in self.severities)
            and (not self.networks or occurrence.network in self.networks)
            and _fits(occurrence.alertname, self.alertnames)
            and _fits(occurrence.resource, self.resources)
        )


def _fits(value: str, patterns: Sequence[str]) -> bool:
    return not patterns or any(fnmatchcase(value, pattern) for pattern in patterns)


@dataclass(frozen=True, slots=True)
class Escalation:
    """`sinks` are told of a page that nobody has acknowledged `after_seconds` after it was told; 0 = never."""

    after_seconds: float
    sinks: tuple[str, ...]


def sinks_of(
    occurrence: Occurrence, routes: Sequence[Route], escalation: Escalation, *, every: Sequence[str], now_ms: int
) -> tuple[str, ...]:
    """Return the sinks that are to know of `occurrence` at `now_ms` (the outbox's clock), of `every` there is.

    Without a route for it, those that are kept for escalation wait for that, unless there is nobody else to tell.
    """
    route = next((one for one in routes if one.takes(occurrence)), None)
    if route is None:
        reserved = escalation.sinks if escalation.after_seconds else ()
        names = tuple(name for name in every if name not in reserved) or tuple(every)
    else:
        names = route.sinks
    if _is_left_lying(occurrence, escalation, now_ms):
        names = (*names, *escalation.sinks)
    return tuple(name for name in dict.fromkeys(names) if name in every)


def _is_left_lying(occurrence: Occurrence, escalation: Escalation, now_ms: int) -> bool:
    return (
        escalation.after_seconds > 0
        and occurrence.severity is Severity.PAGE
        and occurrence.state is State.FIRING
        and occurrence.acknowledged is None
        and occurrence.first_told_ms is not None
        and abs(now_ms - occurrence.first_told_ms) >= escalation.after_seconds * 1000  # as with repeats
    )
