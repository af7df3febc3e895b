"""The risk at every tick: what factors and past failures say of the host, in agreement with capacity; whether to tell.

Enters: one sample, the state of capacity, the anomaly score, the host's own failures. Leaves: the state of the risk and
findings. The networks decide alone over a ticket at most, and over none where an alert of capacity, or of a file
system that is read-only, tells of the same already. How the two kinds of networks make one risk says
`detectors.failure_history.joined`.

It is computed beside the event loop: at every tick, and every three seconds at most, while anything stirs; every
five minutes on a host where nothing does. In between the last one stands.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from math import isnan, nan

import structlog

from alerting.occurrence import Occurrence, State
from daemon.capacity.state import CapacityState
from daemon.capacity.watch import EXPECTED, IMMINENT
from daemon.clock import Instant
from daemon.errors import PresagedError
from daemon.failures.record import FailureEvent
from daemon.failures.starts import Loop
from daemon.history import History
from daemon.metrics import Metrics
from daemon.offload import Offload
from daemon.risk.exhaustion import UnitLimits, agreed, of_file_systems, of_loops
from daemon.risk.own_failures import HistoryReader, OwnFailures, own_failures
from daemon.risk.samples import FactorSamples
from daemon.risk.state import Grade, Reason, RiskState
from daemon.risk_words import said
from daemon.signals import SignalRegistry
from daemon.window import Float32
from detectors.exhaustion import WITHIN
from detectors.failure import FailureForecaster, Risk
from detectors.failure_history import FailureHistory, joined, load_history
from detectors.findings import Finding, Strength

_log = structlog.get_logger()

HIGH = "FailureRiskHigh"
READ_ONLY = "FilesystemReadOnly"

# Raised from the first on, held up to the second. Of the hour: harmless load is to stay below 0.3.
_HOUR, _STILL_HOUR = 0.5, 0.35
_DAY, _STILL_DAY = 0.7, 0.5
_DECIDED_ELSEWHERE = 0.5  # of what raises the risk
_EVERY_SECONDS = 3.0  # 3 ms of work
_QUIET_SECONDS = 300.0
_STIRS_SCORE, _STIRS_HOUR = 0.3, 0.1  # anomaly as shown, and risk: from there on each sample may matter
_MOVED = 0.01  # of the chance that a resource is full within a day
_CALL_SECONDS = 5.0
_NUMERICS = (ArithmeticError, ValueError, IndexError)
_A_DAY = list(WITHIN).index("24h")
_OF_HOST = {
    "memory": "memory",
    "memory_pressure": "memory",
    "paging": "memory",
    "major_faults": "memory",
    "swap": "swap",
}


class RiskWatch:
    """Follows the risk of this host.

    `events` are its own failures, recorded since `since` (UTC, ms); `loops` are units that are started again and again,
    as of a time (UTC, ms). `load` and `load_past` bring networks, and block; `every_seconds`: no sooner is it computed.
    """

    def __init__(
        self,
        *,
        interval_seconds: float,
        registry: SignalRegistry,
        offload: Offload,
        metrics: Metrics,
        events: Callable[[], Sequence[FailureEvent]],
        since: Callable[[], int],
        loops: Callable[[int], Sequence[Loop]],
        load: Callable[[], FailureForecaster],
        load_past: Callable[[], FailureHistory] = load_history,
        every_seconds: float = _EVERY_SECONDS,
    ) -> None:
        self._interval = interval_seconds
        self._every = every_seconds
        self._registry = registry
        self._offload = offload
        self._metrics = metrics
        self._events = events
        self._since = since
        self._loops = loops
        self._limits = UnitLimits(registry)
        self._load = load
        self._reader = HistoryReader(load_past)
        self._samples = FactorSamples(registry, interval_seconds)
        self._forecaster: FailureForecaster | None = None
        self._state = RiskState()
        self._computed_ns: int | None = None
        self._computed_of: tuple[int, float] = (0, 0.0)
        self._problem = ""
        self._grade = Grade()

    @property
    def told(self) -> RiskState:
        """Return what the networks alone say."""
        return self._state

    def take_grade(self, grade: Grade) -> None:
        """Tell from the next tick on how well what was told came true."""
        self._grade = grade

    def adopt(self, forecaster: FailureForecaster) -> None:
        """Let `forecaster` tell the risk from the next time on."""
        self._forecaster = forecaster

    async def forecaster(self) -> FailureForecaster:
        """Return what tells the risk, for questions beside its own work. Raises PresagedError."""

        def work() -> FailureForecaster:
            if self._forecaster is None:
                self._forecaster = self._load()
            return self._forecaster.own()

        return await self._offload.run(work, deadline_seconds=_CALL_SECONDS, what="failure model")

    def restored(self, history: History) -> Callable[[], None]:
        """Return what takes up the last day of samples as it is stored; that blocks. After a start, and an import."""
        fresh = FactorSamples(self._registry, self._interval)

        def work() -> None:
            fresh.restore(history)
            self._samples = fresh

        return work

    async def observe(
        self,
        values: Float32,
        now: Instant,
        *,
        capacity: CapacityState,
        findings: Sequence[Finding],
        alerts: Sequence[Occurrence],
        anomaly: float | None,
    ) -> tuple[RiskState, tuple[Finding, ...]]:
        """Take one sample (S,); return what is known now, and what is to be told.

        `findings`: what else holds; `alerts`: what pends or fires.
        """
        full = max(
            (one.outlook.probability[_A_DAY] for one in capacity.resources if one.resource.is_exhaustible), default=nan
        )
        self._samples.push(values, now, nan if anomaly is None else anomaly, full)
        of = (len(self._events()), full)
        stirs = bool(findings or alerts) or (anomaly or 0.0) >= _STIRS_SCORE or self._has_moved(*of)
        if self._is_due(now, stirs=stirs):
            self._computed_ns, self._computed_of = now.boottime_ns, of
            await self._compute(now)
        self._limits.follow(values, now)
        of_units = [*self._limits.approaching(), *of_loops(self._loops(now.time_ms), now.time_ms)]
        state = agreed(replace(self._state, grade=self._grade), of_units)
        told = tuple(self._findings(state, findings, alerts))
        return agreed(state, list(of_file_systems(capacity))), told

    def _has_moved(self, events: int, full: float) -> bool:
        """Tell whether a failure was recorded since the last time, or what may be full is another, or risk is high."""
        hour = self._state.hour
        before_events, before_full = self._computed_of
        return (
            events != before_events
            or abs(full - before_full) >= _MOVED
            or isnan(full) != isnan(before_full)
            or (hour is not None and hour.probability >= _STIRS_HOUR)
        )

    def _is_due(self, now: Instant, *, stirs: bool) -> bool:
        if self._computed_ns is None:
            return True
        every = self._every if stirs or self._state.hour is None else max(self._every, _QUIET_SECONDS)
        return now.boottime_ns - self._computed_ns >= (every - self._interval / 2) * 1e9

    async def _compute(self, now: Instant) -> None:
        events = self._events()
        failed_ms = [event.time_ms for event in events]
        gather = self._samples.reading(failed_ms, now.time_ms)
        own = own_failures(events, self._since(), now.time_ms)

        def work() -> RiskState:
            if self._forecaster is None:
                self._forecaster = self._load()
            found = gather()
            risk = self._forecaster.risk(found.values, self._interval, events=len(failed_ms), about=found.about)
            whole, share = joined(risk, self._reader.past(own, now), self._forecaster.base)
            said = None if risk.hour is None or risk.day is None else (risk.hour.probability, risk.day.probability)
            return replace(_state(whole, share, own), said=said, taught=self._forecaster.taught)

        try:
            self._state = await self._offload.run(work, deadline_seconds=_CALL_SECONDS, what="failure risk")
        except (PresagedError, *_NUMERICS) as error:
            self._state = RiskState(f"it could not be computed: {error}", time_ms=now.time_ms)
            self._fail(str(error))
        else:
            self._fail((self._forecaster.problem if self._forecaster else "") or self._reader.problem)

    def _fail(self, problem: str) -> None:
        """Count what went wrong and say it, once as long as it stays the same; "" = nothing did."""
        if problem and problem != self._problem:
            self._metrics.failures.labels("failure_risk").inc()
            _log.warning("no_failure_risk", reason=problem)
        self._problem = problem

    def _findings(
        self, risk: RiskState, findings: Sequence[Finding], alerts: Sequence[Occurrence]
    ) -> Iterator[Finding]:
        """Yield the risk where networks or a unit at its limit make it high; what capacity adds to it, capacity tells.

        What another alert tells raises none; one that fires already is kept up.
        """
        if risk.hour is None or risk.day is None:
            return
        hour, day = risk.hour.probability, risk.day.probability
        if hour < _STILL_HOUR and day < _STILL_DAY:
            return
        others = {(one.alertname, one.resource) for one in findings} | {(one.alertname, one.resource) for one in alerts}
        is_told = _is_told_elsewhere(risk.reasons, others)
        if is_told and not any(one.alertname == HIGH and one.state is State.FIRING for one in alerts):
            return  # nor may one that pends come to fire
        raised = (hour >= _HOUR or day >= _DAY) and not is_told
        text = f"a failure is {hour:.0%} likely within an hour and {day:.0%} within a day".replace("%", " %")
        reasons = f": {'; '.join(one.text for one in risk.reasons)}" if risk.reasons else ""
        strength = Strength.RAISED if raised else Strength.HOLDING
        yield Finding(HIGH, "failure", "", strength, f"{text}{reasons} ({risk.basis})")


def _is_told_elsewhere(reasons: Sequence[Reason], others: Collection[tuple[str, str]]) -> bool:
    """Tell whether most of what raises the risk is about what another alert is about."""
    full = {resource for name, resource in others if name in (IMMINENT, EXPECTED)}
    read_only = {resource for name, resource in others if name == READ_ONLY}
    if any(isnan(one.share) for one in reasons):  # a unit at its limit: nobody else tells
        return False
    whole = sum(one.share for one in reasons)
    elsewhere = sum(one.share for one in reasons if _is_about(one, full, read_only))
    return whole > 0 and elsewhere >= _DECIDED_ELSEWHERE * whole


def _is_about(reason: Reason, full: set[str], read_only: set[str]) -> bool:
    match reason.factor:
        case "space":
            return reason.about in full
        case "inodes":
            return f"{reason.about} inodes" in full
        case "read_only":
            return reason.about in read_only
        case "expected_full":
            return bool(full)
        case "history":
            return reason.about in full | read_only
        case factor:
            return _OF_HOST.get(factor) in full


def _state(risk: Risk, share: float, own: OwnFailures) -> RiskState:
    """Return the risk in words; the host's own failures have `share` of what raises it."""
    reasons = [Reason(one.factor, one.about, one.share, said(one)) for one in risk.causes]
    if share:
        reasons.append(Reason("history", own.about, share, own.text))
    return RiskState(
        missing=risk.missing,
        hour=risk.hour,
        day=risk.day,
        basis=risk.basis,
        factors=risk.factors,
        events=risk.events,
        reasons=tuple(sorted(reasons, key=lambda one: -one.share)),
        time_ms=own.now_ms,
    )
