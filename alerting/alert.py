"""The state machine of alerts: pending -> firing -> resolved. Pure: no I/O, no clock of its own.

Enters: at each real tick, all findings that hold, and the moment. Leaves: the transitions of that
tick, and the alerts that are open. Durations are monotonic time that was observed: a gap between two
ticks proves neither that a finding held nor that it was clear, so it lets nothing fire or resolve.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Protocol

from alerting.occurrence import Occurrence, State, fingerprint_of
from alerting.policy import PolicySettings, rule_of, timing_of
from detectors.findings import Finding, Strength

_NS = 1_000_000_000


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
    """What happened to an occurrence at a tick."""

    FIRING = "firing"
    PEAK = "peak"
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
        self._last_ns: int | None = None

    @property
    def active(self) -> tuple[Occurrence, ...]:
        """The pending and firing occurrences."""
        return tuple(entry.occurrence for entry in self._open.values())

    def reconfigure(self, settings: PolicySettings) -> None:
        """Follow changed settings from the next tick on."""
        self._settings = settings

    def restore(self, occurrences: Iterable[Occurrence]) -> None:
        """Take up the firing occurrences that were open before a restart, under their ids.

        They resolve only after their full time of clear observation from now on.
        """
        for occurrence in occurrences:
            self._open[occurrence.fingerprint] = _Open(occurrence, held_ns=0, clear_ns=None)

    def mark_told(self, fingerprint: str, sinks: tuple[str, ...]) -> Occurrence:
        """Note which sinks are given the firing of an open occurrence, and return it as it then stands."""
        entry = self._open[fingerprint]
        entry.occurrence = replace(entry.occurrence, told=sinks)
        return entry.occurrence

    def observe(self, findings: Sequence[Finding], now: Moment) -> list[Transition]:
        """Advance every alert by one tick at which exactly `findings` hold.

        Raises UnknownAlert for a finding whose name is not in the policy table.
        """
        now_ns = now.monotonic_ns
        if self._last_ns is not None and now_ns - self._last_ns > self._gap_ns:
            self._forget_watches(now_ns)
        self._last_ns = now_ns

        holding = _strongest(findings)
        transitions = [
            transition
            for fingerprint in list(self._open)
            if fingerprint not in holding and (transition := self._clear(fingerprint, now)) is not None
        ]
        for fingerprint, finding in holding.items():
            transition = self._hold(fingerprint, finding, now)
            if transition is not None:
                transitions.append(transition)
        return transitions

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
            entry = _Open(self._begin(fingerprint, finding, now), held_ns=now.monotonic_ns, clear_ns=None)
            self._open[fingerprint] = entry
        wait_ns = int(timing_of(finding.alertname, self._settings).for_seconds * _NS)
        if now.monotonic_ns - entry.held_ns < wait_ns:
            entry.occurrence = self._with_evidence(entry.occurrence, finding)
            return None
        # A wall clock that was set back must not make an alert fire before it began.
        fired_ms = max(now.time_ms, entry.occurrence.started_ms)
        firing = replace(entry.occurrence, state=State.FIRING, fired_ms=fired_ms)
        entry.occurrence = self._with_evidence(firing, finding)
        return Transition(Event.FIRING, entry.occurrence)

    def _follow_peak(self, entry: _Open, finding: Finding) -> Transition | None:
        if not _exceeds(finding.score, entry.occurrence.score):
            return None
        entry.occurrence = self._with_evidence(entry.occurrence, finding)
        return Transition(Event.PEAK, entry.occurrence)

    def _clear(self, fingerprint: str, now: Moment) -> Transition | None:
        entry = self._open[fingerprint]
        if entry.occurrence.state is State.PENDING:
            del self._open[fingerprint]
            return None
        if entry.clear_ns is None:
            entry.clear_ns = now.monotonic_ns
        wait_ns = int(timing_of(entry.occurrence.alertname, self._settings).keep_firing_seconds * _NS)
        if now.monotonic_ns - entry.clear_ns < wait_ns:
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


def _strongest(findings: Sequence[Finding]) -> dict[str, Finding]:
    """Return one finding a fingerprint: a raised one before one that only holds."""
    chosen: dict[str, Finding] = {}
    for finding in findings:
        fingerprint = fingerprint_of(finding.alertname, finding.network, finding.resource)
        rule_of(finding.alertname)
        known = chosen.get(fingerprint)
        if known is None or (known.strength is Strength.HOLDING and finding.strength is Strength.RAISED):
            chosen[fingerprint] = finding
    return chosen


def _exceeds(score: float | None, peak: float | None) -> bool:
    if score is None or math.isnan(score):
        return False
    return peak is None or math.isnan(peak) or score > peak
