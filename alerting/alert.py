"""The state machine of alerts: pending -> firing -> resolved. Pure: no I/O, no clock of its own.

Enters: at each real tick, all findings that hold, and the moment. Leaves: the transitions of that
tick, and the alerts that are open. Durations are monotonic time that was observed: a gap between two
ticks proves neither that a finding held nor that it was clear, so it lets nothing fire or resolve.

An alert that comes and goes is held: from its third firing within an hour on it must be clear for half an
hour, if somebody was told of it; records come and go as they do. What comes in thousands is bounded: beyond a
thousand open alerts they are only counted. Half of that room is for pages, and a few of each name are followed in
any case.
"""

import math
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Protocol

from alerting.occurrence import Occurrence, State, fingerprint_of
from alerting.policy import FLAPPING_FIRINGS, GRAVEST, PolicySettings, Severity, rule_of, timing_of
from detectors.findings import Finding, Strength

MOST_OPEN = 1_000
_ALWAYS_FOLLOWED = 10  # of each name: a thousand failed units must not hide the one file system

_NS = 1_000_000_000
_FLAPPING_NS = 3_600 * _NS
_FLAPPING_CLEAR_SECONDS = 1_800.0
_MOST_PASTS = 2 * MOST_OPEN


class Moment(Protocol):
    """One moment on the wall clock and on the clock that never goes back."""

    @property
    def time_ms(self) -> int:
        """UTC milliseconds; may jump."""
        ...

    @property
    def monotonic_ns(self) -> int:
        """Nanoseconds that only rise."""
        ...


class Event(StrEnum):
    """What happened to an occurrence at a tick. GRAVITY: an update of the table changed its severity."""

    FIRING = "firing"
    PEAK = "peak"
    GRAVITY = "gravity"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True)
class Transition:
    """One change that is worth keeping; `occurrence` is as it stands after it."""

    event: Event
    occurrence: Occurrence


@dataclass(slots=True)
class _Open:
    """An open occurrence with its two stop watches; `clear_ns` is None while its finding holds."""

    occurrence: Occurrence
    held_ns: int
    clear_ns: int | None


class AlertBook:
    """Every open alert, at most one a fingerprint.

    `gap_seconds` is the longest distance of two ticks that still counts as having watched between
    them. `new_id` makes occurrence ids from UTC milliseconds, `describe` the sentence of an occurrence.
    """

    def __init__(
        self,
        settings: PolicySettings,
        *,
        gap_seconds: float,
        new_id: Callable[[int], str],
        describe: Callable[[Occurrence], str],
    ) -> None:
        self._settings = settings
        self._gap_ns = int(gap_seconds * _NS)
        self._new_id = new_id
        self._describe = describe
        self._open: dict[str, _Open] = {}
        self._fired: dict[str, deque[int]] = {}  # when an alert fired within the hour, by fingerprint
        self._last_ns: int | None = None
        self._followed: Counter[str] = Counter()  # open ones, by name
        self.not_followed: Counter[str] = Counter()  # findings of this tick beyond the bound, by name

    @property
    def active(self) -> tuple[Occurrence, ...]:
        """The pending and firing occurrences."""
        return tuple(entry.occurrence for entry in self._open.values())

    def reconfigure(self, settings: PolicySettings) -> None:
        """Follow changed settings from the next tick on."""
        self._settings = settings

    def restore(self, occurrences: Iterable[Occurrence], now: Moment) -> None:
        """Take up the occurrences of before a restart: those that fire under their ids, all as a past.

        They resolve only after their full time of clear observation from now on.
        """
        for occurrence in occurrences:
            if occurrence.state is State.FIRING:
                self._open[occurrence.fingerprint] = _Open(occurrence, held_ns=0, clear_ns=None)
            if occurrence.fired_ms is not None:
                ago_ns = max(0, now.time_ms - occurrence.fired_ms) * 1_000_000
                self._remember(occurrence.fingerprint, now.monotonic_ns - ago_ns, now.monotonic_ns)

    def update(self, occurrence: Occurrence) -> None:
        """Put `occurrence` in the place of the open one of the same id; without effect when that is over."""
        entry = self._open.get(occurrence.fingerprint)
        if entry is not None and entry.occurrence.id == occurrence.id:
            entry.occurrence = occurrence

    def observe(self, findings: Sequence[Finding], now: Moment) -> list[Transition]:
        """Advance every alert by one tick at which exactly `findings` hold.

        Raises UnknownAlert for a finding whose name is not in the policy table.
        """
        return [transition for transition in self.steps(findings, now) if transition is not None]

    def steps(self, findings: Sequence[Finding], now: Moment) -> Iterator[Transition | None]:
        """Do what `observe` does an alert at a time, so that a caller with thousands can let others run between."""
        now_ns = now.monotonic_ns
        if self._last_ns is not None and now_ns - self._last_ns > self._gap_ns:
            self._forget_watches(now_ns)
        self._last_ns = now_ns

        holding: dict[str, Finding] = {}
        for finding in findings:
            _keep_strongest(holding, finding)
            yield None
        for fingerprint in list(self._open):
            if fingerprint not in holding:
                yield self._clear(fingerprint, now)
        self.not_followed.clear()
        self._followed = Counter(entry.occurrence.alertname for entry in self._open.values())
        for severity in GRAVEST:
            for fingerprint, finding in holding.items():
                if rule_of(finding.alertname).severity is severity:
                    yield self._hold(fingerprint, finding, now)

    def _forget_watches(self, now_ns: int) -> None:
        for entry in self._open.values():
            entry.held_ns = now_ns
            if entry.clear_ns is not None:
                entry.clear_ns = now_ns

    def _hold(self, fingerprint: str, finding: Finding, now: Moment) -> Transition | None:
        entry = self._open.get(fingerprint)
        if entry is not None and entry.occurrence.state is State.FIRING:
            entry.clear_ns = None
            return self._follow_peak(entry, finding)
        if finding.strength is Strength.HOLDING:  # the band below the threshold starts nothing
            self._open.pop(fingerprint, None)
            return None
        if entry is None:
            room = MOST_OPEN if rule_of(finding.alertname).severity is Severity.PAGE else MOST_OPEN // 2
            if len(self._open) >= room and self._followed[finding.alertname] >= _ALWAYS_FOLLOWED:
                self.not_followed[finding.alertname] += 1
                return None
            self._followed[finding.alertname] += 1
            entry = _Open(self._begin(fingerprint, finding, now), held_ns=now.monotonic_ns, clear_ns=None)
            self._open[fingerprint] = entry
        wait_ns = int(timing_of(finding.alertname, self._settings).for_seconds * _NS)
        if now.monotonic_ns - entry.held_ns < wait_ns:
            entry.occurrence = self._with_evidence(entry.occurrence, finding)
            return None
        # A wall clock that was set back must not make an alert fire before it began.
        fired_ms = max(now.time_ms, entry.occurrence.started_ms)
        firings = self._remember(fingerprint, now.monotonic_ns, now.monotonic_ns)
        firing = replace(entry.occurrence, state=State.FIRING, fired_ms=fired_ms, firings=firings)
        entry.occurrence = self._with_evidence(firing, finding)
        return Transition(Event.FIRING, entry.occurrence)

    def _remember(self, fingerprint: str, fired_ns: int, now_ns: int) -> int:
        """Keep when an alert fired, and return how often it did within the hour."""
        past = self._fired.pop(fingerprint, None) or deque(maxlen=100)
        past.append(fired_ns)
        while past and now_ns - past[0] > _FLAPPING_NS:
            past.popleft()
        self._fired[fingerprint] = past  # the one that fired last stands last
        if len(self._fired) > _MOST_PASTS:
            del self._fired[next(iter(self._fired))]
        return max(1, len(past))

    def _follow_peak(self, entry: _Open, finding: Finding) -> Transition | None:
        severity = rule_of(finding.alertname).severity
        graver = severity is not entry.occurrence.severity
        if not graver and not _exceeds(finding.score, entry.occurrence.score):
            return None
        entry.occurrence = self._with_evidence(replace(entry.occurrence, severity=severity), finding)
        return Transition(Event.GRAVITY if graver else Event.PEAK, entry.occurrence)

    def _clear(self, fingerprint: str, now: Moment) -> Transition | None:
        entry = self._open[fingerprint]
        if entry.occurrence.state is State.PENDING:
            del self._open[fingerprint]
            return None
        if entry.clear_ns is None:
            entry.clear_ns = now.monotonic_ns
        wait_seconds = timing_of(entry.occurrence.alertname, self._settings).keep_firing_seconds
        flapping = entry.occurrence.firings >= FLAPPING_FIRINGS
        if wait_seconds and flapping and entry.occurrence.told:
            wait_seconds = max(wait_seconds, _FLAPPING_CLEAR_SECONDS)
        if now.monotonic_ns - entry.clear_ns < int(wait_seconds * _NS):
            return None
        del self._open[fingerprint]
        fired_ms = entry.occurrence.fired_ms or entry.occurrence.started_ms
        resolved = replace(entry.occurrence, state=State.RESOLVED, resolved_ms=max(now.time_ms, fired_ms))
        return Transition(Event.RESOLVED, self._described(resolved))

    def _begin(self, fingerprint: str, finding: Finding, now: Moment) -> Occurrence:
        return Occurrence(
            id=self._new_id(now.time_ms),
            fingerprint=fingerprint,
            alertname=finding.alertname,
            network=finding.network,
            resource=finding.resource,
            severity=rule_of(finding.alertname).severity,
            state=State.PENDING,
            started_ms=now.time_ms,
            fired_ms=None,
            resolved_ms=None,
            score=None,
            threshold=None,
            detail=finding.detail,
            sentence="",
            contributors=(),
        )

    def _with_evidence(self, occurrence: Occurrence, finding: Finding) -> Occurrence:
        """Return `occurrence` with the finding's score, words and evidence in place of its own.

        What was changed after it began is not what it came from, so the change of the beginning stays.
        """
        late = finding.change is None or finding.change.time_ms > occurrence.started_ms
        return self._described(
            replace(
                occurrence,
                score=finding.score,
                threshold=finding.threshold,
                detail=finding.detail,
                contributors=finding.contributors,
                culprits=finding.culprits or occurrence.culprits,
                change=occurrence.change if late else finding.change,
                precedent=finding.precedent or occurrence.precedent,
            )
        )

    def _described(self, occurrence: Occurrence) -> Occurrence:
        return replace(occurrence, sentence=self._describe(occurrence))


def _keep_strongest(holding: dict[str, Finding], finding: Finding) -> None:
    """Keep one finding a fingerprint: a raised one before one that only holds."""
    rule_of(finding.alertname)
    fingerprint = fingerprint_of(finding.alertname, finding.network, finding.resource)
    known = holding.get(fingerprint)
    if known is None or (known.strength is Strength.HOLDING and finding.strength is Strength.RAISED):
        holding[fingerprint] = finding


def _exceeds(score: float | None, peak: float | None) -> bool:
    if score is None or math.isnan(score):
        return False
    return peak is None or math.isnan(peak) or score > peak
