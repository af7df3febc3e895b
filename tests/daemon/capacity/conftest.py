"""A host with a long past: rollups of months, written as the daemon would have, at once."""

from dataclasses import dataclass, field

import numpy as np
import pytest

from daemon.capacity.forecasts import Forecasting
from daemon.capacity.watch import CapacityWatch
from daemon.collectors.cpu import BUSY
from daemon.collectors.memory import AVAILABLE, SWAP_USED, SWAP_USED_BYTES, USED
from daemon.config import Capacity
from daemon.history import TIERS_SECONDS, History
from daemon.metrics import Metrics
from daemon.offload import Offload
from daemon.samples import STATISTICS
from daemon.signals import Kind, SignalRegistry, SignalSpec
from detectors.capacity import Forecasts, load_forecaster
from detectors.findings import Unit
from detectors.forecasts import Bands

GIB = 2.0**30
DAY = 86_400.0


def mount_specs(mount):
    """Return the signals of a file system as its collector names them."""
    prefix = f"filesystem.{mount}."
    return [
        SignalSpec(prefix + "used", Unit.RATIO, Kind.GAUGE, "filesystem", mount),
        SignalSpec(prefix + "free_bytes", Unit.BYTES, Kind.GAUGE, "filesystem", mount),
        SignalSpec(prefix + "inodes_used", Unit.RATIO, Kind.GAUGE, "filesystem", mount),
        SignalSpec(prefix + "read_only", Unit.RATIO, Kind.GAUGE, "filesystem", mount),
    ]


def link_specs(name):
    """Return the two signals of an interface that tell of bytes."""
    return [
        SignalSpec(f"network.{name}.{way}_bytes_per_second", Unit.BYTES_PER_SECOND, Kind.RATE, "network", name)
        for way in ("receive", "transmit")
    ]


def storage(used, size=100 * GIB, inodes=0.1, read_only=0.0):
    """Return the values of a mount's signals."""
    return [used / size, size - used, inodes + 0 * used, read_only + 0 * used]


@dataclass
class Past:
    """A history that is filled with what functions of the time, in seconds from its making, say of the signals."""

    directory: object
    clock: object
    interval: float = 30.0
    specs: list = field(default_factory=list)
    values: object = None  # of seconds (T,): rows (S, T)

    def __post_init__(self):
        self.origin_ms = self.clock.time_ms
        self.history = History(self.directory / "history.db")
        self.history.bind_interval(self.interval)

    @property
    def ids(self):
        return {spec.name: number for number, spec in enumerate(self.specs, 1)}

    def write(self, *, hours=0.0, days=0.0, months=0.0):
        """Write rollups up to now: of five minutes for so many hours, of an hour for so many days, and so on."""
        now_ms = self.clock.time_ms
        schema = np.arange(1, len(self.specs) + 1).astype("<i8").tobytes()
        self.history.write(("INSERT OR IGNORE INTO schemas (signal_ids) VALUES (?)", [(schema,)]))
        ((number,),) = self.history.read("SELECT id FROM schemas WHERE signal_ids = ?", schema)
        for tier, seconds in zip(TIERS_SECONDS, (hours * 3600, days * DAY, months * 30.4375 * DAY), strict=True):
            end = now_ms // (tier * 1000)
            starts = np.arange(end - int(seconds // tier), end) * tier * 1000
            rows = []
            for first in starts.tolist():
                at = (first - self.origin_ms) / 1000 + np.arange(0, tier, tier / 10)
                values = np.asarray(self.values(at), float)
                table = np.zeros((len(STATISTICS), len(self.specs)), "<f4")
                table[:5] = [np.mean(values, 1), values.min(1), values.max(1), values.max(1), values[:, -1]]
                table[5] = tier / self.interval
                seq = round((first + tier * 1000) / (self.interval * 1000))
                rows.append((tier, seq, first, number, int(tier / self.interval), table.tobytes()))
            self.history.write(("INSERT OR REPLACE INTO rollups VALUES (?, ?, ?, ?, ?, ?)", rows))

    def measured(self, seconds=0.0):
        """Return what the collectors would measure so many seconds from the making."""
        row = np.asarray(self.values(np.array([seconds])), float)[:, 0]
        return list(zip(self.specs, row.tolist(), strict=True))

    def registry(self):
        known = [(number, spec, 0) for number, spec in enumerate(self.specs, 1)]
        return SignalRegistry(known, lambda specs, _ms: {one.name: self.ids[one.name] for one in specs}, lambda _: None)


@pytest.fixture
def past(tmp_path, clock):
    made = []

    def build(specs, values, **more):
        one = Past(**{"directory": tmp_path, "clock": clock, "specs": list(specs), "values": values, **more})
        made.append(one)
        return one

    yield build
    for one in made:
        one.history.close()


@pytest.fixture
async def forecasting(clock):
    """Make the watch and the forecasts on a past, with the forecaster that is shipped."""
    doors = []

    def build(past, *, config=None, load=load_forecaster, links=lambda _names: {}):
        offload = Offload()
        doors.append(offload)
        watch = CapacityWatch(config or Capacity())
        metrics = Metrics("test", lambda: "numpy", 10)
        forecasts = Forecasting(
            interval_seconds=past.interval,
            history=past.history,
            registry=past.registry(),
            watch=watch,
            offload=offload,
            metrics=metrics,
            clock=clock,
            load=load,
            links=links,
        )
        return watch, forecasts, metrics

    yield build
    for one in doors:
        one.close()


@pytest.fixture
def mount():
    """A host that has one file system only, and what makes its values out of the bytes that are used."""
    return mount_specs("/var"), storage


HOST = [BUSY, USED, AVAILABLE, SWAP_USED, SWAP_USED_BYTES, *mount_specs("/"), *mount_specs("/var"), *link_specs("eth0")]


def host_values(at, var=lambda at: 60 * GIB + at / DAY * GIB):
    """Return a host whose processor is busy by day and whose /var grows by a GiB a day; it has 100 GiB."""
    day = np.sin(2 * np.pi * at / DAY)
    return [
        0.3 + 0.2 * day,
        0.5 + 0.05 * day,
        8 * GIB * (0.5 - 0.05 * day),
        0.1 + 0 * at,
        0.2 * GIB + 0 * at,
        *storage(40 * GIB + 0 * at),
        *storage(var(at)),
        1e6 * (2 + day),
        5e5 * (2 + day),
    ]


class Quick:
    """A forecaster that says the last value, and bounds of one and two in a hundred of the capacity around it."""

    problem = ""

    def forecast(self, rows, horizon, low, high, **more):
        mean = np.repeat(rows[:, -1:], 12, axis=1)
        wide = 0.01 * high[:, None]
        bands = Bands(mean, mean - wide, mean + wide, mean - 2 * wide, mean + 2 * wide)
        return Forecasts(bands, mean, (("last value",),) * len(rows), wide[:, 0])


@pytest.fixture
def quick():
    return Quick


@pytest.fixture
def host():
    """The signals of a usual host, and a function that makes its values."""
    return HOST, host_values
