"""Moments of this host to learn from: what was known at each, and whether the host failed within an hour and a day.

Enters: history.db, the signals that are factors, when the host failed. Leaves: inputs (N, 512) as the daemon itself
would have made them, through the same `FactorSamples`, targets and weights. Runs in the child, one stretch of history
after the other: a month is never in memory at once.

The hours before a failure are drawn more often than their share of time; `weights` say how much time each moment
stands for, or a host that fails once a week would be learned as one that fails every day.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan

import numpy as np
from numpy.typing import NDArray

from daemon.clock import Instant
from daemon.history import History
from daemon.risk.samples import FactorSamples
from daemon.signals import SignalRegistry
from detectors.calibration import shown_score
from detectors.factor_features import FEATURES, INPUTS, PRESENT, features
from detectors.factors import COUNT
from detectors.failing_hosts import HORIZONS
from detectors.failure import LEAST_FACTORS, LEAST_SAMPLES
from detectors.learner import Progress

Float32 = NDArray[np.float32]
Times = NDArray[np.int64]

KEPT_SECONDS = 28 * 86_400.0
MOST_SAMPLES = 500_000  # at less than 5 s between two the past is shorter: time and memory are bounded
_HOUR_MS, _DAY_MS = (int(1000 * horizon) for horizon in HORIZONS)
_STRETCH = 4_000  # samples
_WATCHED = 0.5  # of the day after a moment: what was not watched may have failed unseen
# Of the last hour before failures, and of the day before that: moments for each failure, at most which share of `most`.
_BEFORE_FAILURE = ((15, 0.4), (25, 0.6))


@dataclass(frozen=True, slots=True, eq=False)
class OwnMoments:
    """N moments, oldest first: `inputs` (N, 512), `targets` (N, 2), `weights` (N,) of mean 1, `time_ms` (N,).

    `failed_ms` (E,): when the host failed in that time, and within a day after it.
    """

    inputs: Float32
    targets: Float32
    weights: Float32
    failed_ms: Times
    time_ms: Times


@dataclass(frozen=True, slots=True, eq=False)
class _Drawn:
    """Samples `seq` (N,) of their own numbers, when they were taken, and how much time each stands for."""

    seq: Times
    time_ms: Times
    weights: Float32


def own_moments(
    history: History,
    registry: SignalRegistry,
    interval_seconds: float,
    failed_ms: Sequence[int],
    now_ms: int,
    *,
    since_ms: int,
    most: int,
    score_threshold: float,
    progress: Progress,
) -> OwnMoments:
    """Return about twice `most` moments at most. `failed_ms`: every failure from `since_ms` to `now_ms`.

    `score_threshold`: where the threshold stands on the shown anomaly score.
    """
    failed = np.sort(np.array(failed_ms, np.int64))
    first, times = _stored(history, interval_seconds)
    drawn = _drawn(times[times[:, 1] >= since_ms], failed, now_ms, interval_seconds, most)
    samples = FactorSamples(registry, interval_seconds)
    inputs = np.zeros((len(drawn.seq), INPUTS), np.float32)
    at = dict(zip(drawn.seq.tolist(), range(len(drawn.seq)), strict=True))
    after, last = first - 1, int(drawn.seq[-1]) if len(drawn.seq) else first - 1
    while after < last:
        rows = history.following(after, _STRETCH)
        if not len(rows.seq):
            break
        values = _columns(rows.values, rows.signal_ids, registry)
        scores = _scores(history, int(rows.seq[0]), int(rows.seq[-1]), score_threshold)
        for place, (seq, time_ms) in enumerate(zip(rows.seq.tolist(), rows.time_ms.tolist(), strict=True)):
            # stored time goes by the wall clock, as it does when a start takes up what is stored
            samples.push(values[place], Instant(time_ms, 0, time_ms * 1_000_000, ""), scores.get(seq, nan), nan)
            if seq in at:
                found = samples.reading(failed_ms, time_ms)()
                inputs[at[seq]] = features(found.values, interval_seconds)
        after = int(rows.seq[-1])
        progress(min((after - first + 1) / (last - first + 1), 1.0), "reading what came before failures")
    return _told(inputs, drawn, failed)


def _told(inputs: Float32, drawn: _Drawn, failed: Times) -> OwnMoments:
    """Return the moments at which a risk would have been told, with what came of them."""
    present = inputs.reshape(-1, COUNT, FEATURES)[:, :, PRESENT].sum(axis=1)
    keep = present >= LEAST_FACTORS
    left = _until_failure(drawn.time_ms[keep], failed)
    targets = np.stack([left <= _HOUR_MS, left <= _DAY_MS], axis=1).astype(np.float32)
    weights, time_ms = drawn.weights[keep], drawn.time_ms[keep]
    if not len(time_ms):
        return OwnMoments(inputs[keep], targets, weights, failed[:0], time_ms)
    about = failed[(failed > time_ms[0]) & (failed <= time_ms[-1] + _DAY_MS)]
    return OwnMoments(inputs[keep], targets, weights / weights.mean(), about, time_ms)


def _stored(history: History, interval_seconds: float) -> tuple[int, Times]:
    """Return the number of the first sample that is looked at, and numbers and times (T, 2) of the own ones.

    What was imported is seen by what follows it and is no moment: no failure was recorded then.
    """
    count = min(int(KEPT_SECONDS / interval_seconds), MOST_SAMPLES)
    rows = history.read(
        "SELECT seq, time_ms FROM samples WHERE seq > ? ORDER BY seq DESC LIMIT ?", history.lineage_start(), count
    )
    times = np.array(rows[::-1], np.int64).reshape(-1, 2)
    return int(times[0, 0]) if len(times) else 0, times[LEAST_SAMPLES:][times[LEAST_SAMPLES:, 0] > 0]


def _drawn(times: Times, failed: Times, now_ms: int, interval_seconds: float, most: int) -> _Drawn:
    """Choose among samples (T, 2), evenly within each of: the last hour, the last day before a failure, the rest.

    What is not known yet is left out: a day that is not over, or that was not watched and brought no failure.
    """
    random = np.random.default_rng([len(times), len(failed)])
    time_ms = np.maximum.accumulate(times[:, 1])  # the clock may have been set back
    left = _until_failure(times[:, 1], failed)
    watched = np.searchsorted(time_ms, time_ms + _DAY_MS, side="right") - np.arange(1, len(times) + 1)
    known = times[:, 1] + _DAY_MS <= now_ms
    known &= (watched * interval_seconds * 1000 >= _WATCHED * _DAY_MS) | (left <= _DAY_MS)
    parts = [known & (left <= _HOUR_MS), known & (left > _HOUR_MS) & (left <= _DAY_MS), known & (left > _DAY_MS)]
    counts = [min(each * len(failed), int(share * most)) for each, share in _BEFORE_FAILURE]
    chosen, weights = [np.zeros(0, np.int64)], [np.zeros(0, np.float32)]
    for part, count in zip(parts, [*counts, most], strict=True):
        there = np.flatnonzero(part)
        taken = random.choice(there, min(count, len(there)), replace=False)
        chosen.append(taken)
        weights.append(np.full(len(taken), len(there) / max(len(taken), 1), np.float32))
    rows = np.concatenate(chosen)
    order = np.argsort(rows)
    rows = rows[order]
    return _Drawn(times[rows, 0], times[rows, 1], np.concatenate(weights)[order])


def _until_failure(time_ms: Times, failed: Times) -> Times:
    """Return how long after each moment (N,) the next of the failures (F,) came, in milliseconds; far = never."""
    ends = np.append(failed, np.iinfo(np.int64).max // 2)
    return np.asarray(ends[np.searchsorted(failed, time_ms, side="right")] - time_ms)


def _columns(values: Float32, ids: Sequence[int], registry: SignalRegistry) -> Float32:
    """Return values (T, S) in the order of the registry's signals; NaN for those that are not stored."""
    column = {number: place for place, number in enumerate(ids)}
    places = np.array([column.get(number, len(ids)) for number in registry.ids.tolist()], np.int64)
    return np.asarray(np.pad(values, ((0, 0), (0, 1)), constant_values=np.nan)[:, places])


def _scores(history: History, first: int, last: int, at_threshold: float) -> dict[int, float]:
    """Return the anomaly score that was shown at each sample that had one."""
    rows = history.read(
        "SELECT seq, raw_score, raw_threshold FROM samples WHERE seq BETWEEN ? AND ? AND raw_score IS NOT NULL"
        " AND raw_threshold IS NOT NULL",
        first,
        last,
    )
    return {seq: shown_score(raw, threshold, at_threshold) for seq, raw, threshold in rows}
