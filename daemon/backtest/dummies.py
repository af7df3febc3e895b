"""The simple methods beside ours: static thresholds, a line into the future, max|z| at the same budget.

Enters: samples. Leaves: when each method would have fired, and which could not be judged, with the reason. It knows
nothing of what we found. Thresholds and waits are those of the node-exporter mixin of Prometheus, at its defaults.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from alerting.policy import Severity
from daemon.backtest.result import Samples
from daemon.collectors.cpu import BUSY, LOAD_ONE
from daemon.collectors.kernel import DESCRIPTORS
from daemon.collectors.memory import USED
from detectors.calibration import MERGE_SECONDS, budget_threshold, count_episodes, runs
from detectors.features import FLOORS

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Times = NDArray[np.int64]

ROBUST_NAME = "max|z|"
LINE_NAME = "NodeFilesystemSpaceFillingUp"
NETWORK_NAME = "NodeNetworkReceiveErrs/TransmitErrs"

_HOUR = 3600.0
_DAY = 86_400.0
_LINE_SECONDS = 6 * _HOUR
_LOOKBACK_SECONDS = 300.0  # as long a value stands for what is not seen; after that a wait begins anew
_RATE_SECONDS = 120.0
_SMOOTHED = 5  # samples
_MAD_TO_DEVIATION = 1.4826  # of a normal distribution
_BEYOND = np.float32(1e30)  # a greater surprise could not be added to another
_BLOCK = 4096
_FEWEST = 2  # samples make a line
_ABSENT = "this host has no such signal"


class Method(StrEnum):
    """What kind of simple method it is."""

    STATIC = "static"
    LINE = "predict_linear"
    ROBUST = "max|z|"


@dataclass(frozen=True, slots=True)
class Interval:
    """From the first sample at which something fired to the last, UTC milliseconds."""

    from_ms: int
    to_ms: int


@dataclass(frozen=True, slots=True)
class Dummy:
    """One simple method on one resource ("" = the host), and when it would have fired, oldest first.

    `counted`: its firings, for max|z| its episodes as our budget counts them. `judged_seconds`: of how much time.
    """

    name: str
    method: Method
    severity: Severity
    resource: str
    firings: tuple[Interval, ...]
    counted: int
    judged_seconds: float


@dataclass(frozen=True, slots=True)
class Dummies:
    """All that were judged, and the names of those that were not, with the reason."""

    judged: tuple[Dummy, ...]
    skipped: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class _Level:
    """A static threshold: the mean of the last `mean_seconds` is above `above` for `for_seconds`."""

    name: str
    severity: Severity
    signal: str
    above: float
    for_seconds: float
    mean_seconds: float = 0.0


_OF_HOST = (
    _Level("NodeCPUHighUsage", Severity.RECORD, BUSY.name, 0.9, 900.0, _RATE_SECONDS),
    _Level("NodeSystemSaturation", Severity.TICKET, LOAD_ONE.name, 2.0, 900.0),
    _Level("NodeMemoryHighUtilization", Severity.TICKET, USED.name, 0.9, 900.0),
    _Level("NodeMemoryMajorPagesFaults", Severity.TICKET, "memory.major_faults_per_second", 500.0, 900.0, 300.0),
    _Level("NodeFileDescriptorLimit", Severity.TICKET, DESCRIPTORS.name, 0.7, 900.0),
    _Level("NodeFileDescriptorLimit", Severity.PAGE, DESCRIPTORS.name, 0.9, 900.0),
)
# `signal` is the last part of the name, after the mount point
_OF_MOUNT = (
    _Level("NodeFilesystemAlmostOutOfSpace", Severity.TICKET, "used", 0.95, 1800.0),
    _Level("NodeFilesystemAlmostOutOfSpace", Severity.PAGE, "used", 0.97, 1800.0),
    _Level("NodeFilesystemAlmostOutOfFiles", Severity.TICKET, "inodes_used", 0.95, _HOUR),
    _Level("NodeFilesystemAlmostOutOfFiles", Severity.PAGE, "inodes_used", 0.97, _HOUR),
)
# severity, full within, share that is left at most
_LINES = ((Severity.TICKET, 24 * _HOUR, 0.40), (Severity.PAGE, 4 * _HOUR, 0.20))


def dummies(
    samples: Samples, *, interval_seconds: float, episodes_per_week: float, learning_days: float = 7.0
) -> Dummies:
    """Return what the simple methods make of `samples`; max|z| learns the first `learning_days`, half at the most."""
    table = _Table(samples, interval_seconds)
    judged = [*_of_host(table), *_of_mounts(table), *_of_interfaces(table)]
    robust = _robust(table, episodes_per_week, learning_days)
    names = {one.name for one in judged}
    known = [*dict.fromkeys(level.name for level in (*_OF_MOUNT, *_OF_HOST)), LINE_NAME, NETWORK_NAME]
    skipped = [(name, _ABSENT) for name in known if name not in names]
    if robust is None:
        skipped.append((ROBUST_NAME, "it learns for a day at least, and there is no sample after that"))
    else:
        judged.append(robust)
    return Dummies(tuple(judged), tuple(skipped))


def predict_linear(time_ms: Times, values: Floats, ahead_seconds: float, window_seconds: float) -> Floats:
    """Return where the least squares line through the window before each sample is `ahead_seconds` later (T,).

    `time_ms` (T,) never falls; the window is open on its left; NaN in `values` (T,) is left out, and NaN leaves for
    it and where fewer than two samples are in the window. It is what `predict_linear` of Prometheus computes.
    """
    out = np.full(len(values), np.nan)
    seen = np.flatnonzero(np.isfinite(values))
    seconds, known = time_ms[seen] / 1000.0, values[seen]
    first = np.searchsorted(seconds, seconds - window_seconds, side="right")
    for begin in range(0, len(seen), _BLOCK):  # sums over months would lose the digits that the slope is made of
        rows = np.arange(begin, min(begin + _BLOCK, len(seen)))
        low = int(first[begin])
        x, y = seconds[low : rows[-1] + 1] - seconds[low], known[low : rows[-1] + 1] - known[low]
        count = (rows + 1 - first[rows]).astype(np.float64)
        sum_x, sum_y, sum_xy, sum_xx = (
            sums[rows + 1 - low] - sums[first[rows] - low]
            for sums in (np.concatenate([[0.0], np.cumsum(part)]) for part in (x, y, x * y, x * x))
        )
        variance = sum_xx - sum_x**2 / count
        line = (count >= _FEWEST) & (variance > 0)
        slope = np.divide(sum_xy - sum_x * sum_y / count, variance, out=np.zeros(len(rows)), where=line)
        predicted = known[low] + sum_y / count + slope * (x[rows - low] + ahead_seconds - sum_x / count)
        out[seen[rows]] = np.where(line, predicted, np.nan)
    return out


class _Table:
    """The samples with a clock that never falls, and their columns by name."""

    def __init__(self, samples: Samples, interval_seconds: float) -> None:
        self.samples = samples
        self.interval_seconds = interval_seconds
        self.clock = samples.clock
        self.seconds = len(samples.time_ms) * interval_seconds
        self._columns: Mapping[str, int] = {spec.name: column for column, spec in enumerate(samples.specs)}

    def column(self, name: str) -> Floats | None:
        """Return the values (T,) of a signal, None where there is none of this name."""
        column = self._columns.get(name)
        return None if column is None else self.samples.values[:, column].astype(np.float64)

    def resources(self, family: str) -> list[str]:
        """Return the resources that the signals of a family are about."""
        return list(dict.fromkeys(spec.resource for spec in self.samples.specs if spec.family == family))

    def mean(self, values: Floats, seconds: float) -> Floats:
        """Return the mean of the last `seconds` (T,), NaN where the present value is missing."""
        known = np.isfinite(values)
        first = np.searchsorted(self.clock, self.clock - int(seconds * 1000), side="right")
        sums = np.concatenate([[0.0], np.cumsum(np.where(known, values, 0.0))])
        counts = np.concatenate([[0], np.cumsum(known)])
        last = np.arange(len(values)) + 1
        number = np.maximum(counts[last] - counts[first], 1)
        return np.where(known, (sums[last] - sums[first]) / number, np.nan)

    def dummy(
        self, name: str, method: Method, severity: Severity, resource: str, *, holds: Bools, wait: float
    ) -> Dummy:
        """Return the firings of a condition that must hold (T,) for `wait` seconds."""
        firings = self._firings(holds, wait)
        return Dummy(name, method, severity, resource, firings, len(firings), self.seconds)

    def _firings(self, holds: Bools, wait: float) -> tuple[Interval, ...]:
        starts, ends = self.runs(holds, max(_LOOKBACK_SECONDS, 2 * self.interval_seconds), 1)
        fires = np.searchsorted(self.clock, self.clock[starts] + int(wait * 1000))
        return tuple(
            Interval(int(self.clock[begin]), int(self.clock[end]))
            for begin, end in zip(fires.tolist(), ends.tolist(), strict=True)
            if begin <= end
        )

    def runs(self, holds: Bools, apart_seconds: float, apart_rows: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Return the first and last rows of the runs of `holds` (T,), which end where the next is too far away."""
        at = np.flatnonzero(holds)
        return runs(at, (np.diff(self.clock[at]) > apart_seconds * 1000) | (np.diff(at) > apart_rows))


def _of_host(table: _Table) -> Iterator[Dummy]:
    for level in _OF_HOST:
        values = table.column(level.signal)
        if values is not None:
            yield _judged(table, level, "", values)


def _judged(table: _Table, level: _Level, resource: str, values: Floats, writable: Bools | None = None) -> Dummy:
    mean = table.mean(values, level.mean_seconds) if level.mean_seconds else values
    holds = mean > level.above
    if writable is not None:
        holds &= writable
    return table.dummy(level.name, Method.STATIC, level.severity, resource, holds=holds, wait=level.for_seconds)


def _of_mounts(table: _Table) -> Iterator[Dummy]:
    for mount in table.resources("filesystem"):
        prefix = f"filesystem.{mount}."
        read_only = table.column(prefix + "read_only")
        writable = np.ones(len(table.clock), np.bool_) if read_only is None else read_only == 0.0
        for level in _OF_MOUNT:
            values = table.column(prefix + level.signal)
            if values is not None:
                yield _judged(table, level, mount, values, writable)
        used, free = table.column(prefix + "used"), table.column(prefix + "free_bytes")
        if used is None or free is None:
            continue
        for severity, ahead, left in _LINES:
            full = predict_linear(table.clock, free, ahead, _LINE_SECONDS) < 0
            holds = full & (1.0 - used < left) & writable
            yield table.dummy(LINE_NAME, Method.LINE, severity, mount, holds=holds, wait=_HOUR)


def _of_interfaces(table: _Table) -> Iterator[Dummy]:
    """Errors among packets; our errors are of both directions, and so are the packets that they are among."""
    for interface in table.resources("network"):
        prefix = f"network.{interface}."
        names = ("errors_per_second", "receive_packets_per_second", "transmit_packets_per_second")
        errors, received, sent = (table.column(prefix + name) for name in names)
        if errors is None or received is None or sent is None:
            continue
        holds = table.mean(errors, _RATE_SECONDS) > 0.01 * table.mean(received + sent, _RATE_SECONDS)
        yield table.dummy(NETWORK_NAME, Method.STATIC, Severity.TICKET, interface, holds=holds, wait=_HOUR)


def _robust(table: _Table, episodes_per_week: float, learning_days: float) -> Dummy | None:
    """The greatest robust z of any signal, a mean of 5 samples, above the threshold that our budget allows it."""
    values, interval = table.samples.values, table.interval_seconds
    learned = max(int(_DAY / interval), min(int(learning_days * _DAY / interval), len(values) // 2))
    if len(values) <= learned:
        return None
    center, spread = _learned(values[:learned])
    floors = np.array([FLOORS[spec.unit] for spec in table.samples.specs], np.float32)
    scale = np.fmax(spread, floors)
    score = np.full(len(values), np.nan)
    for begin in range(0, len(values), _BLOCK):
        with np.errstate(over="ignore"):
            z = np.minimum(np.abs(values[begin : begin + _BLOCK] - center) / scale, _BEYOND)
        score[begin : begin + _BLOCK] = np.fmax.reduce(z, axis=1, initial=np.nan)
    score = _smooth(score)
    threshold = budget_threshold(score[:learned], interval, episodes_per_week)
    crossed = score > threshold
    crossed[:learned] = False
    starts, ends = table.runs(crossed, MERGE_SECONDS, int(MERGE_SECONDS / interval) + 1)
    clock = table.clock
    return Dummy(
        ROBUST_NAME,
        Method.ROBUST,
        Severity.RECORD,
        "",
        tuple(Interval(int(clock[first]), int(clock[last])) for first, last in zip(starts, ends, strict=True)),
        count_episodes(crossed[learned:], interval),
        (len(values) - learned) * interval,
    )


def _learned(values: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return median and spread (S,) of `values` (T, S), NaN for a signal that was never seen."""
    center = np.full(values.shape[1], np.nan)
    spread = center.copy()
    for column, known in enumerate(np.isfinite(values).T):
        part = values[known, column].astype(np.float64)
        if len(part):
            center[column] = np.median(part)
            spread[column] = np.median(np.abs(part - center[column]))
    with np.errstate(over="ignore"):
        return center.astype(np.float32), (_MAD_TO_DEVIATION * spread).astype(np.float32)


def _smooth(score: Floats) -> Floats:
    """Return the mean of the last 5 that are known (T,), NaN where none is."""
    known = np.isfinite(score)
    padding = np.zeros(_SMOOTHED - 1)
    windows = np.lib.stride_tricks.sliding_window_view
    total = windows(np.concatenate([padding, np.where(known, score, 0.0)]), _SMOOTHED).sum(axis=1)
    number = windows(np.concatenate([padding, known]), _SMOOTHED).sum(axis=1)
    out = np.full(len(score), np.nan)
    np.divide(total, number, out=out, where=number > 0)
    return out
