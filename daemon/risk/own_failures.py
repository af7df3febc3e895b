"""What the failure log says of the next failure, computed when the log changed or a minute has passed.

Enters: the host's own failures, since when they are recorded. Leaves: probabilities of a history, and a sentence. One
event is one failure, however often it was reported; what an operator marked is one too. Nothing is learned from them
here: an ordinary host has too few.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from daemon.clock import Instant
from daemon.failures.record import FailureEvent
from daemon.risk_words import span
from detectors.failure_history import FailureHistory, Past

_EVERY_SECONDS = 60.0
_WINDOWS = ((3600, "hour"), (7200, "2 h"), (21_600, "6 h"), (86_400, "24 h"), (604_800, "7 d"), (2_419_200, "28 d"))
_IN_A_ROW = 3


@dataclass(frozen=True, slots=True)
class OwnFailures:
    """The failures so far, the newest last, of a host whose failures are recorded since `since_ms`; `now_ms` UTC."""

    events: tuple[FailureEvent, ...]
    since_ms: int
    now_ms: int

    @property
    def about(self) -> str:
        """Return the unit, mount or disk that all failures of the sentence are about, "" = several, or the host."""
        found = {event.resource for event in self._told()[0]}
        return found.pop() if len(found) == 1 else ""

    @property
    def text(self) -> str:
        """Return "3 failures in the last 2 h, the newest 4 min ago (unit_failed web.service)"; there is one at least.

        The shortest time that holds the newest three of four weeks, or all where there are fewer, is told.
        """
        events, within = self._told()
        newest = events[-1]
        ago = span((self.now_ms - newest.time_ms) / 1000)
        what = f"({newest.kind.value} {newest.resource})" if newest.resource else f"({newest.kind.value})"
        if len(events) == 1:
            return f"a failure {ago} ago {what}"
        return f"{len(events)} failures in the last {within}, the newest {ago} ago {what}"

    def _told(self) -> tuple[tuple[FailureEvent, ...], str]:
        """Return the events that the sentence is about, and the time that holds them; where all are old, the last."""
        lately = self._within(_WINDOWS[-1][0]) or self.events[-1:]
        third = lately[-min(_IN_A_ROW, len(lately))]
        for seconds, name in _WINDOWS:
            found = self._within(seconds)
            if third in found:
                return found, name
        return lately, ""

    def _within(self, seconds: int) -> tuple[FailureEvent, ...]:
        return tuple(one for one in self.events if one.time_ms > self.now_ms - 1000 * seconds)


def own_failures(events: Sequence[FailureEvent], since_ms: int, now_ms: int) -> OwnFailures:
    """Return those of `events` that lie before now, in order: a log is in the order in which it was told."""
    past = sorted((one for one in events if one.time_ms <= now_ms), key=lambda one: one.time_ms)
    return OwnFailures(tuple(past), since_ms, now_ms)


class HistoryReader:
    """Asks the networks, which `load` brings; keeps the answer. Called off the loop, one at a time."""

    def __init__(self, load: Callable[[], FailureHistory]) -> None:
        self._load = load
        self._history: FailureHistory | None = None
        self._asked: tuple[tuple[int, ...], int] | None = None
        self._asked_ns = 0
        self._past: Past | None = None

    @property
    def problem(self) -> str:
        """Return what could not be read, "" = nothing."""
        return self._history.problem if self._history else ""

    def past(self, own: OwnFailures, now: Instant) -> Past | None:
        """Return what the failures say, None where there are none, or no networks. Blocks."""
        if self._history is None:
            self._history = self._load()
        times = tuple(one.time_ms for one in own.events)
        if self._asked != (times, own.since_ms) or now.boottime_ns - self._asked_ns >= _EVERY_SECONDS * 1e9:
            failed = np.array(times, np.float64) / 1000
            self._past = self._history.past(failed, own.since_ms / 1000, own.now_ms / 1000)
            self._asked, self._asked_ns = (times, own.since_ms), now.boottime_ns
        return self._past
