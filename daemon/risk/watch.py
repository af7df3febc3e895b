"""The risk at every tick: what the failure network says of the host, in agreement with capacity, and whether to tell.

Enters: one sample, the state of capacity, the anomaly score, the host's own failures. Leaves: the state of the risk and
findings. The network decides alone over a ticket at most, and over none where an alert of capacity, or of a file
system that is read-only, tells of the same already.

It is computed beside the event loop, at every tick and every three seconds at most; in between the last one stands.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from math import nan

import structlog

from alerting.occurrence import Occurrence, State
from daemon.capacity.resources import ResourceKind
from daemon.capacity.state import CapacityState, ResourceState
from daemon.capacity.watch import EXPECTED, IMMINENT
from daemon.clock import Instant
from daemon.errors import PresagedError
from daemon.failures.record import FailureEvent
from daemon.history import History
from daemon.metrics import Metrics
from daemon.offload import Offload
from daemon.risk.samples import FactorSamples
from daemon.risk.state import Reason, RiskState
from daemon.risk_words import said, sentence
from daemon.signals import SignalRegistry
from daemon.window import Float32
from detectors.exhaustion import WITHIN
from detectors.failure import Cause, Estimate, FailureForecaster, Risk
from detectors.findings import Finding, Strength

_log = structlog.get_logger()

HIGH = "FailureRiskHigh"
READ_ONLY = "FilesystemReadOnly"

# Raised from the first on, held up to the second. Of the hour: harmless load is to stay below 0.3.
_HOUR, _STILL_HOUR = 0.5, 0.35
_DAY, _STILL_DAY = 0.7, 0.5
_DECIDED_ELSEWHERE = 0.5  # of what raises the risk
_EVERY_SECONDS = 3.0  # 5 ms of work
_CALL_SECONDS = 5.0
_NUMERICS = (ArithmeticError, ValueError, IndexError)
_A_DAY = list(WITHIN).index("24h")
_SPACE = frozenset((ResourceKind.STORAGE, ResourceKind.INODES))  # a file system without is a failure: filesystem_full
_OF_HOST = {
    "memory": "memory",
    "memory_pressure": "memory",
    "paging": "memory",
    "major_faults": "memory",
    "swap": "swap",
}


class RiskWatch:
    """Follows the risk of this host. `events` are its own failures, `load` brings the network and blocks."""

    def __init__(
        self,
        *,
        interval_seconds: float,
        registry: SignalRegistry,
        offload: Offload,
        metrics: Metrics,
        events: Callable[[], Sequence[FailureEvent]],
        load: Callable[[], FailureForecaster],
    ) -> None:
        self._interval = interval_seconds
        self._registry = registry
        self._offload = offload
        self._metrics = metrics
        self._events = events
        self._load = load
        self._samples = FactorSamples(registry, interval_seconds)
        self._forecaster: FailureForecaster | None = None
        self._risk: Risk | None = None
        self._state = RiskState()
        self._computed_ns: int | None = None
        self._problem = ""

    def adopt(self, forecaster: FailureForecaster) -> None:
        """Let `forecaster` tell the risk from the next time on."""
        self._forecaster = forecaster

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
        full = [one.outlook.probability[_A_DAY] for one in capacity.resources if one.resource.is_exhaustible]
        self._samples.push(values, now, nan if anomaly is None else anomaly, max(full, default=nan))
        early = _EVERY_SECONDS - self._interval / 2
        if self._computed_ns is None or now.boottime_ns - self._computed_ns >= early * 1e9:
            self._computed_ns = now.boottime_ns
            await self._compute(now)
        return agreed(self._state, capacity), tuple(self._findings(findings, alerts))

    async def _compute(self, now: Instant) -> None:
        failed_ms = [event.time_ms for event in self._events()]
        gather = self._samples.reading(failed_ms, now.time_ms)

        def work() -> Risk:
            if self._forecaster is None:
                self._forecaster = self._load()
            found = gather()
            return self._forecaster.risk(found.values, self._interval, events=len(failed_ms), about=found.about)

        try:
            risk = await self._offload.run(work, deadline_seconds=_CALL_SECONDS, what="failure risk")
        except (PresagedError, *_NUMERICS) as error:
            self._risk, self._state = None, RiskState(f"it could not be computed: {error}", time_ms=now.time_ms)
            self._fail(str(error))
        else:
            self._risk, self._state = risk, _state(risk, now)
            self._fail(self._forecaster.problem if self._forecaster else "")

    def _fail(self, problem: str) -> None:
        """Count what went wrong and say it, once as long as it stays the same; "" = nothing did."""
        if problem and problem != self._problem:
            self._metrics.failures.labels("failure_risk").inc()
            _log.warning("no_failure_risk", reason=problem)
        self._problem = problem

    def _findings(self, findings: Sequence[Finding], alerts: Sequence[Occurrence]) -> Iterator[Finding]:
        """Yield the risk where the network itself holds it for high; what capacity adds to it, capacity tells.

        What another alert tells raises none; one that fires already is kept up.
        """
        risk = self._risk
        if risk is None or risk.hour is None or risk.day is None:
            return
        hour, day = risk.hour.probability, risk.day.probability
        if hour < _STILL_HOUR and day < _STILL_DAY:
            return
        others = {(one.alertname, one.resource) for one in findings} | {(one.alertname, one.resource) for one in alerts}
        is_told = _is_told_elsewhere(risk.causes, others)
        if is_told and not any(one.alertname == HIGH and one.state is State.FIRING for one in alerts):
            return  # nor may one that pends come to fire
        raised = (hour >= _HOUR or day >= _DAY) and not is_told
        text = f"a failure is {hour:.0%} likely within an hour and {day:.0%} within a day".replace("%", " %")
        reasons = f": {sentence(risk)}" if risk.causes else ""
        strength = Strength.RAISED if raised else Strength.HOLDING
        yield Finding(HIGH, "failure", "", strength, f"{text}{reasons} ({risk.basis})")


def agreed(state: RiskState, capacity: CapacityState) -> RiskState:
    """Return the risk, of a day not below the chance that a file system is full by then: that is one of its failures.

    Where there is no risk for want of evidence there is none; capacity speaks for itself.
    """
    if state.hour is None or state.day is None:
        return state
    found = [one for one in capacity.resources if one.resource.kind in _SPACE]
    worst = max(found, key=lambda one: one.outlook.probability[_A_DAY], default=None)
    if worst is None or worst.outlook.probability[_A_DAY] <= state.day.probability:
        return state
    least = worst.outlook.probability[_A_DAY]
    day = Estimate(least, min(state.day.lo, least), max(state.day.hi, least))
    return replace(state, day=day, reasons=(_of_capacity(worst), *state.reasons))


def _of_capacity(one: ResourceState) -> Reason:
    return Reason("expected_full", one.resource.name, nan, f"{one.resource.subject} is {one.text}")


def _is_told_elsewhere(causes: Sequence[Cause], others: Collection[tuple[str, str]]) -> bool:
    """Tell whether most of what raises the risk is about what another alert is about."""
    full = {resource for name, resource in others if name in (IMMINENT, EXPECTED)}
    read_only = {resource for name, resource in others if name == READ_ONLY}
    whole = sum(cause.share for cause in causes)
    elsewhere = sum(cause.share for cause in causes if _is_about(cause, full, read_only))
    return whole > 0 and elsewhere >= _DECIDED_ELSEWHERE * whole


def _is_about(cause: Cause, full: set[str], read_only: set[str]) -> bool:
    match cause.factor:
        case "space":
            return cause.about in full
        case "inodes":
            return f"{cause.about} inodes" in full
        case "read_only":
            return cause.about in read_only
        case "expected_full":
            return bool(full)
        case factor:
            return _OF_HOST.get(factor) in full


def _state(risk: Risk, now: Instant) -> RiskState:
    reasons = tuple(Reason(one.factor, one.about, one.share, said(one)) for one in risk.causes)
    return RiskState(
        missing=risk.missing,
        hour=risk.hour,
        day=risk.day,
        basis=risk.basis,
        factors=risk.factors,
        events=risk.events,
        reasons=reasons,
        time_ms=now.time_ms,
    )
