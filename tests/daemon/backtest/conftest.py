"""Backtests made by hand, for what is said of them."""

from dataclasses import dataclass, field

import numpy as np
import pytest

from alerting.occurrence import Occurrence, State, fingerprint_of
from alerting.policy import Kept, Severity
from alerting.render import rfc3339
from daemon.backtest.result import Backtest, Notification, Samples
from daemon.signals import Kind, SignalSpec
from detectors.findings import Contributor, Direction, Unit

START = 1_772_344_800_000
INTERVAL = 30.0
LOAD = SignalSpec("load.one_per_cpu", Unit.RATIO, Kind.GAUGE, "load")
DAY = 2880


@dataclass
class Scene:
    """A quiet host, into which a test writes; `row` says when, counted in samples."""

    days: float = 14.0
    learning_days: float = 7.0
    columns: dict = field(default_factory=dict)
    occurrences: list = field(default_factory=list)
    notifications: list = field(default_factory=list)
    name: str = "as it is"
    host: str = "web1"

    def __post_init__(self):
        self.rows = round(self.days * DAY)
        self.columns[LOAD] = np.full(self.rows, 0.2)
        self.time_ms = START + np.arange(self.rows, dtype=np.int64) * 30_000
        self.raw, self.threshold = np.full(self.rows, 0.5), np.full(self.rows, 2.0)
        self.raw[:60] = np.nan

    def at(self, row):
        return START + row * 30_000

    def alert(self, row, alertname="AnomalyWithImpact", severity=Severity.TICKET, **more):
        """An alert that began two minutes before it fires; its id ends with its number."""
        resource = more.pop("resource", "")
        part = Contributor(LOAD.name, LOAD.unit, LOAD.family, "", 3.0, 0.1, 0.4, 9.0, Direction.ABOVE)
        one = Occurrence(
            id=f"01AAAAAAAAAAAAAAAA{len(self.occurrences):06d}",
            fingerprint=fingerprint_of(alertname, "anomaly", resource),
            alertname=alertname,
            network="anomaly",
            resource=resource,
            severity=severity,
            state=State.RESOLVED,
            started_ms=self.at(row - 4),
            fired_ms=self.at(row),
            resolved_ms=self.at(row + 40),
            score=0.9,
            threshold=0.8,
            detail="unusual",
            sentence=more.pop("sentence", f"{self.host}: unusual: {LOAD.name} is 300 % (usually 10 % to 40 %)"),
            contributors=more.pop("contributors", (part,)),
            **more,
        )
        self.occurrences.append(one)
        return one

    def tell(self, row, *alerts, event="firing", reason="began", sink="mail"):
        """A notification of alerts."""
        document = {
            "event": event,
            "reason": reason,
            "alertname": alerts[0].alertname,
            "severity": alerts[0].severity.value,
            "resource": alerts[0].resource,
            "sentence": alerts[0].sentence,
            "started_at": rfc3339(alerts[0].started_ms),
        }
        self.notifications.append(Notification(self.at(row), sink, document, tuple(one.id for one in alerts)))

    def record(self, row, kept=Kept.RECORD, **more):
        return self.alert(row, "Anomaly", Severity.RECORD, kept=kept, **more)

    def harm(self, row, rows=100):
        """A rule fires at `row`: it has held for 15 minutes then."""
        self.columns[LOAD][row - 30 : row - 30 + rows] = 3.0

    def backtest(self):
        counts = np.zeros(self.rows, np.int64)
        values = np.stack(list(self.columns.values()), axis=1).astype(np.float32)
        samples = Samples(
            tuple(self.columns),
            tuple(range(len(self.columns))),
            values,
            np.arange(self.rows, dtype=np.int64) + 1,
            self.time_ms,
            np.arange(self.rows, dtype=np.int64) * 30_000_000_000,
            counts,
            counts,
            counts,
        )
        alarmed = self.raw > self.threshold
        starts = alarmed & ~np.r_[False, alarmed[:-1]]
        return Backtest(
            name=self.name,
            host=self.host,
            interval_seconds=INTERVAL,
            episodes_per_week=7.0,
            learning_days=self.learning_days,
            notify="with_impact",
            samples=samples,
            raw=self.raw,
            threshold=self.threshold,
            alarmed=alarmed,
            episodes=np.cumsum(starts),
            learned=np.arange(self.rows) >= self.learning_days * DAY,
            notifications=tuple(sorted(self.notifications, key=lambda one: one.time_ms)),
            occurrences=tuple(sorted(self.occurrences, key=lambda one: one.fired_ms)),
            models=2,
            seconds=3.0,
        )


@pytest.fixture
def scene():
    """Makes scenes."""
    return Scene
