"""What simple methods would have sent in the same year: the static rules of the node mixin, and max|z| at our budget.

Enters: the world, and how many notifications were ours. Leaves: notifications, each with its moment. Thresholds and
waits of the rules are those of the node-exporter mixin of Prometheus (github.com/prometheus/node_exporter,
docs/node-mixin/alerts/alerts.libsonnet) at its defaults; most are judged by `daemon.backtest.dummies`, here come those
that need more than a backtest has. Only what pages or asks for a ticket counts, as with ours.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alerting.policy import Severity
from benchmarks.year.incidents import Incident
from benchmarks.year.physics import World
from daemon.backtest.dummies import Method, dummies, predict_linear
from detectors.calibration import runs
from detectors.features import FLOORS

_FOR_FAILED, _FOR_DISK, _FOR_FILES = 300.0, 1800.0, 3600.0
_QUEUE = 10.0  # requests that wait: NodeDiskIOSaturation
_WINDOW = 6 * 3600.0
_APART_SECONDS = 3600.0  # crossings of max|z| that are nearer are one notification
_SMOOTHED = 5
_LEVELS = 400
_MAD = 1.4826

Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Sent:
    """One notification: at which row, what it is called, and what is said (for ours)."""

    row: int
    name: str
    text: str = ""


def static_rules(world: World, incidents: Sequence[Incident], learning_days: float) -> list[Sent]:
    """Return what the rules of the mixin would have sent."""
    samples = world.samples()
    found = dummies(samples, interval_seconds=world.interval, episodes_per_week=7.0, learning_days=learning_days).judged
    sent = [
        Sent(int(np.searchsorted(world.time_ms, firing.from_ms)), one.name)
        for one in found
        if one.method is not Method.ROBUST and one.severity is not Severity.RECORD
        for firing in one.firings
    ]
    return sorted([*sent, *_more(world, incidents)], key=lambda one: one.row)


def _more(world: World, incidents: Sequence[Incident]) -> Iterator[Sent]:
    """Yield what NodeSystemdServiceFailed, NodeDiskIOSaturation and NodeFilesystemFilesFillingUp would have sent."""
    failed = np.zeros(len(world.time_ms), np.bool_)
    for row in world.said.failed:
        ended = next((one.ended for one in incidents if one.began <= row <= one.ended), row)
        failed[row:ended] = True
    yield from _firings(world, failed, _FOR_FAILED, "NodeSystemdServiceFailed")
    column = {spec.name: place for place, spec in enumerate(world.specs)}
    values = world.values.astype(np.float64)
    for disk in sorted({spec.resource for spec in world.specs if spec.family == "disk"}):
        read, written, takes, puts = (
            values[:, column[f"disk.{disk}.{name}"]]
            for name in ("reads_per_second", "writes_per_second", "read_await_seconds", "write_await_seconds")
        )
        yield from _firings(world, read * takes + written * puts > _QUEUE, _FOR_DISK, "NodeDiskIOSaturation")
    for mount in sorted({spec.resource for spec in world.specs if spec.family == "filesystem"}):
        left = 1 - values[:, column[f"filesystem.{mount}.inodes_used"]]
        for hours, least in ((24, 0.40), (4, 0.20)):
            told = predict_linear(world.time_ms, left, hours * 3600.0, _WINDOW)
            yield from _firings(world, (told < 0) & (left < least), _FOR_FILES, "NodeFilesystemFilesFillingUp")


def _firings(world: World, holds: Bools, seconds: float, name: str) -> Iterator[Sent]:
    holds = holds & ~world.down
    at = np.flatnonzero(holds)
    for first, last in zip(*runs(at, np.diff(at) > 1), strict=True):
        fires = int(first) + int(np.ceil(seconds / world.interval))
        if fires <= last:
            yield Sent(fires, name)


def robust(world: World, count: int, learning_days: float) -> list[Sent]:
    """Return what max|z| would have sent: the most, but not more than `count`, that one threshold gives.

    The threshold is chosen afterwards, with the whole year known, which no monitor could: it flatters the method.
    """
    learned = int(learning_days * 86_400 / world.interval)
    rows = ~world.down
    known = np.isfinite(world.values[:learned]).any(axis=0)  # what comes later it has not learned
    values = world.values[:, known]
    center = np.nanmedian(values[:learned], axis=0)
    spread = _MAD * np.nanmedian(np.abs(values[:learned] - center), axis=0)
    scale = np.fmax(spread, np.array([FLOORS[spec.unit] for spec in world.specs])[known])
    z = np.fmax.reduce(np.abs(values - center) / scale, axis=1, initial=0.0)
    z[~rows] = 0.0
    score = np.convolve(z, np.ones(_SMOOTHED) / _SMOOTHED)[: len(z)]
    score[:learned] = 0.0
    best: list[int] = []
    for level in np.unique(np.quantile(score[learned:], 1 - np.geomspace(1e-5, 0.5, _LEVELS))):
        at = np.flatnonzero(score > level)
        starts, _ = runs(at, np.diff(at) * world.interval > _APART_SECONDS)
        if len(best) < len(starts) <= count:
            best = [int(row) for row in starts]
    return [Sent(row, "max|z|") for row in best]
