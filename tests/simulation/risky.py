"""What the tests of the risk share: a host of which every sample is told, and a network that says what it is told."""

from dataclasses import dataclass, field

import numpy as np

from alerting.occurrence import Occurrence
from alerting.policy import Severity
from daemon.capacity.resources import Resource, ResourceKind
from daemon.capacity.state import CapacityState, ResourceState
from daemon.failures.record import FailureEvent, Source
from daemon.metrics import Metrics
from daemon.risk.watch import RiskWatch
from daemon.samples import Rows
from daemon.signals import Kind, SignalRegistry, SignalSpec
from detectors.exhaustion import Outlook
from detectors.factor_features import SPAN
from detectors.failure import Cause, Estimate, Risk
from detectors.failure_history import Past
from detectors.findings import FailureKind, Unit
from detectors.projection import Projection

SPECS = [
    SignalSpec("memory.used", Unit.RATIO, Kind.GAUGE, "memory"),
    SignalSpec("cpu.busy", Unit.RATIO, Kind.GAUGE, "cpu"),
    SignalSpec("filesystem./var.used", Unit.RATIO, Kind.GAUGE, "filesystem", "/var"),
    SignalSpec("network.eth0.receive_bytes_per_second", Unit.BYTES_PER_SECOND, Kind.RATE, "network", "eth0"),
]


def registry_of(specs):
    numbers = {spec.name: number for number, spec in enumerate(specs, 1)}
    known = [(number, spec, 0) for number, spec in enumerate(specs, 1)]
    return SignalRegistry(
        known, lambda new, _ms: {one.name: len(numbers) + at for at, one in enumerate(new, 1)}, lambda _: None
    )


def estimate(probability):
    return Estimate(probability, probability / 2, min(2 * probability, 1.0))


def cause(factor="memory", about="", share=1.0):
    return Cause(factor, about, share, Projection(0.94, np.nan, 0.011 / 60, 330.0))


def told(hour=0.1, day=0.2, *causes, missing=""):
    if missing:
        return Risk(None, None, "simulated", 3, 0, missing)
    return Risk(estimate(hour), estimate(day), "simulated", 20, 2, "", causes)


@dataclass
class Said:
    """A forecaster that says `answer`, and keeps what it was asked."""

    answer: Risk = field(default_factory=told)
    problem: str = ""
    asked: list = field(default_factory=list)
    error: Exception | None = None
    base = (0.02, 0.05)
    taught = 0

    def risk(self, values, interval_seconds, *, events, about):
        self.asked.append((values, interval_seconds, events, about))
        if self.error is not None:
            raise self.error
        return self.answer


def event(time_ms, kind=FailureKind.OOM_KILL, resource="", times=1):
    return FailureEvent(1, kind, Source.KERNEL_LOG, time_ms, time_ms, time_ms, times, resource, "", {})


@dataclass
class Remembered:
    """Networks of histories that say `answer` of every history with a failure, and keep what they were asked."""

    answer: Past = field(default_factory=lambda: Past(estimate(0.01), estimate(0.02)))
    problem: str = ""
    asked: list = field(default_factory=list)

    def past(self, failed, since, at):
        self.asked.append((failed.tolist(), since, at))
        return self.answer if len(failed) else None


def capacity(**chances):
    """The chance within a day of each resource, by name."""
    kinds = {"var": ResourceKind.STORAGE, "inodes": ResourceKind.INODES, "memory": ResourceKind.MEMORY}
    states = []
    for name, chance in chances.items():
        outlook = Outlook((0.0, chance, 1.0, 1.0, 1.0), 1.0, 2.0, 3.0)
        one = Resource(f"/{name}" if name == "var" else name, kinds[name], Unit.BYTES, ("a", "b"), mount="/var")
        states.append(ResourceState(one, 0.02, outlook, 0, "full in 9 h", outlook))
    return CapacityState(tuple(states), (1.0,) * len(states), (2.0,) * len(states))


def alert(name, resource, state):
    return Occurrence(
        id="01", fingerprint="f", alertname=name, network="", resource=resource, severity=Severity.TICKET, state=state,
        started_ms=0, fired_ms=0, resolved_ms=None, score=None, threshold=None, detail="", sentence="", contributors=(),
    )  # fmt: skip


@dataclass
class Followed:
    """A risk watch with a clock; `take` adds one sample of all signals."""

    watch: RiskWatch
    network: Said
    registry: SignalRegistry
    metrics: Metrics
    events: list
    clock: object
    interval: float

    async def take(self, *values, seconds=None, capacity=None, findings=(), alerts=(), anomaly=None):
        now = self.clock.advance(self.interval if seconds is None else seconds)
        row = np.array(values or (0.5, 0.1, 0.2, 1e6), np.float32)
        return await self.watch.observe(
            row, now, capacity=capacity or CapacityState(), findings=findings, alerts=alerts, anomaly=anomaly
        )


@dataclass
class Stored:
    """A history of so many rows."""

    rows: Rows

    def last_rows(self, count):
        assert count == SPAN
        return self.rows
