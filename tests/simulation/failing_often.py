"""A host of three weeks that fails every third day, as history.db and state.db: its processor is busy hours before."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from daemon.clock import Instant
from daemon.failures.record import FailureEvent, Source
from daemon.history import History
from daemon.samples import StoredSample
from daemon.signals import Kind, SignalSpec
from daemon.state import StateDatabase
from detectors.findings import FailureKind, Unit

BEGIN_MS = 1_772_344_800_000
INTERVAL = 60.0
SPECS = [
    SignalSpec("memory.used", Unit.RATIO, Kind.GAUGE, "memory"),
    SignalSpec("cpu.busy", Unit.RATIO, Kind.GAUGE, "cpu"),
    SignalSpec("filesystem./var.used", Unit.RATIO, Kind.GAUGE, "filesystem", "/var"),
    SignalSpec("filesystem./var.inodes_used", Unit.RATIO, Kind.GAUGE, "filesystem", "/var"),
    SignalSpec("filesystem./var.read_only", Unit.RATIO, Kind.GAUGE, "filesystem", "/var"),
    SignalSpec("load.one_per_cpu", Unit.RATIO, Kind.GAUGE, "load"),
    SignalSpec("disk.sda.busy", Unit.RATIO, Kind.RATE, "disk", "sda"),
    SignalSpec("kernel.descriptors_used", Unit.RATIO, Kind.GAUGE, "kernel"),
    SignalSpec("network.eth0.receive_bytes_per_second", Unit.BYTES_PER_SECOND, Kind.RATE, "network", "eth0"),
]
_CPU = 1
_USUAL = (0.4, 0.2, 0.5, 0.1, 0.0, 0.4, 0.4, 0.05, 1e6)
_NOISE = (0.02, 0.03, 0.001, 0.0, 0.0, 0.02, 0.02, 0.0, 1e5)
_BUSY = 0.97


@dataclass(frozen=True, slots=True)
class Recorded:
    """What was written: when it failed, and when it ends."""

    directory: Path
    failed_ms: list[int]
    now_ms: int

    @property
    def history(self):
        return self.directory / "history.db"


def recorded(directory, *, days=21.0, every_days=3.0, lead_hours=6.0, interval=INTERVAL, seed=3, failed_days=None):
    """Write the host below `directory`. `failed_days`: when it failed, instead of every so often."""
    random = np.random.default_rng(seed)
    count = int(days * 86_400 / interval)
    values = random.normal(_USUAL, _NOISE, (count, len(SPECS))).astype(np.float32)
    failed = _drawn(random, days, every_days) if failed_days is None else failed_days
    at = [int(day * 86_400 / interval) for day in failed]
    for one in at:
        values[max(one - int(lead_hours * 3600 / interval), 0) : one, _CPU] = _BUSY
    directory.mkdir(exist_ok=True)
    failed_ms = [int(BEGIN_MS + one * interval * 1000 - 500) for one in at]
    _write(directory, values, failed_ms, interval)
    return Recorded(directory, failed_ms, int(BEGIN_MS + count * interval * 1000))


def _drawn(random, days, every_days):
    found, day = [], 0.6 * every_days
    while day < days - 0.2:
        found.append(day)
        day += every_days * random.uniform(0.7, 1.3)
    return found


def _write(directory, values, failed_ms, interval):
    state, history = StateDatabase(directory / "state.db"), History(directory / "history.db")
    given = state.assign_signals(SPECS, BEGIN_MS)
    ids = np.array([given[spec.name] for spec in SPECS])
    history.bind_interval(interval)
    history.add(
        [
            StoredSample(
                row + 1,
                Instant(int(BEGIN_MS + row * interval * 1000), int(row * interval * 1e9), 0, "boot-1"),
                0, 0, 0, None, None, ids, one,
            )
            for row, one in enumerate(values)
        ]
    )  # fmt: skip
    kind = FailureKind.OPERATOR
    state.record_failures(
        [
            FailureEvent(number, kind, Source.OPERATOR, one, one, one, 1, "", "", {Source.OPERATOR: str(one)})
            for number, one in enumerate(failed_ms, 1)
        ],
        {},
    )
    history.close()
    state.close()
