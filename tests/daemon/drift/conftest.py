"""Days of a host that repeats itself, written into real databases; five minutes between two samples."""

import numpy as np
import pytest

from daemon.config import Drift
from daemon.drift.check import Asked, DriftCheck
from daemon.drift.outputs import NetworkAnswers
from daemon.drift.watch import DriftWatch, Learned
from daemon.history import History
from daemon.offload import Offload
from daemon.samples import FLAG_ALARMED, StoredSample
from daemon.signals import Kind, SignalRegistry, SignalSpec
from daemon.state import StateDatabase
from detectors.findings import Unit
from detectors.kernels import NUMPY

INTERVAL = 300.0
A_DAY = 288
DAY_MS = 86_400_000
SIGNALS = 10


class Days:
    """A host with `SIGNALS` signals; `live` writes what it measures, and moves the clock."""

    def __init__(self, directory, clock):
        self.directory, self.clock = directory, clock
        self.first_ms = clock.time_ms
        self.rng = np.random.default_rng(7)
        self.level = self.rng.normal(size=SIGNALS)
        self.seq = 0
        self.model = 0
        self.shift = np.zeros(SIGNALS)
        self.score_shift = 0.0
        self.answers = NetworkAnswers()
        self.specs = [SignalSpec(f"host.s{number}", Unit.RATIO, Kind.GAUGE, "host") for number in range(SIGNALS)]
        self.open()

    def open(self):
        self.history = History(self.directory / "history.db")
        self.history.bind_interval(INTERVAL)
        self.state = StateDatabase(self.directory / "state.db")
        self.offload = Offload()
        known = [(10 + number, spec, 0) for number, spec in enumerate(self.specs)]
        self.registry = SignalRegistry(known, self.state.assign_signals, self.state.remove_signals)

    def close(self):
        self.offload.close()
        self.history.close()
        self.state.close()

    def live(self, days, *, flags=0, missing=(), hours=range(24)):
        """Let time pass; only in `hours` (UTC) is anything measured."""
        samples = []
        for _ in range(round(days * A_DAY)):
            now = self.clock.advance(INTERVAL)
            self.level = 0.6 * self.level + 0.8 * self.rng.normal(size=SIGNALS)
            if now.time_ms // 3_600_000 % 24 not in hours:
                continue
            self.seq += 1
            values = (self.level + self.shift).astype(np.float32)
            values[list(missing)] = np.nan
            score = float(np.exp(0.2 * self.rng.normal() + self.score_shift))
            scored = score if self.model else None
            samples.append(StoredSample(self.seq, now, 0, flags, self.model, scored, None, self.registry.ids, values))
        self.history.add(samples)

    def check(self):
        return DriftCheck(self.history, self.directory / "drift", INTERVAL, lambda: NUMPY)

    def watch(self, *, learned_ms=None, **config):
        self.learned_ms = learned_ms
        ids = self.registry.ids.tolist()
        return DriftWatch(
            Drift(**config),
            self.check(),
            registry=self.registry,
            state=self.state,
            offload=self.offload,
            clock=self.clock,
            learned=lambda: Learned(
                self.learned_ms, self.model, {"anomaly": frozenset(ids), "capacity": frozenset(ids[:2])}
            ),
        )

    def run(self, check, learned_ms=None):
        ids = self.registry.ids.tolist()
        return check.run(self.clock.time_ms, Asked(learned_ms, self.model, ids, 0.1, self.answers.copied()))


@pytest.fixture
def days(tmp_path, clock):
    host = Days(tmp_path, clock)
    yield host
    host.close()


@pytest.fixture
def alarmed():
    return FLAG_ALARMED
