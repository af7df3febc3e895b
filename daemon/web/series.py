"""The past of signals as a chart needs it: few points, read from the tier that is just fine enough.

Enters: signals, a span of time, and how many points are wanted. Leaves: mean, least and greatest of each bucket, NaN
where nothing was measured. It reads through a connection of its own, in a thread, and writes nothing: the tick never
waits for a chart.
"""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from daemon.history import TIERS_SECONDS, History
from daemon.samples import FLAG_ALARMED, STATISTICS

Float64 = NDArray[np.float64]

# What people divide time by, in seconds; every one from five minutes on is made of whole rollups.
_STEPS = (
    1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400,
    172_800, 604_800, 1_209_600, 2_592_000, 7_776_000, 31_536_000,
)  # fmt: skip
_MOST_SAMPLES = 20_000  # that are read one by one; a longer span is read from rollups
_MEAN, _MIN, _MAX, _COUNT = (STATISTICS.index(name) for name in ("mean", "min", "max", "count"))
_MEAN_OF, _MIN_OF, _MAX_OF, _COUNT_OF = range(4)  # places in the table of pieces
_ALL = (-(2**62), 2**62)
_NOTHING = "-9e999"  # minus infinity, where SQLite has no value: a field of an array has no None

SCORE, RAW_SCORE, RAW_THRESHOLD, ALARMED = (
    "anomaly.score", "anomaly.raw_score", "anomaly.raw_threshold", "anomaly.alarmed",
)  # fmt: skip
DERIVED = (SCORE, RAW_SCORE, RAW_THRESHOLD, ALARMED)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What of the past is asked for: [from_ms, to_ms) in at most `points` buckets; `scores` are names of DERIVED."""

    signals: tuple[int, ...]
    scores: tuple[str, ...]
    from_ms: int
    to_ms: int
    points: int


@dataclass(frozen=True, slots=True)
class Buckets:
    """The past in buckets of `step_ms`, read from the tier `source_seconds`, 0 = samples.

    `times_ms` (B,) are their starts, ascending; mean, least and greatest are (B, K): signals first, then scores.
    """

    step_ms: int
    source_seconds: int
    times_ms: NDArray[np.int64]
    mean: Float64
    least: Float64
    greatest: Float64


@dataclass(frozen=True, slots=True)
class _Pieces:
    """Samples or rollups: their starts (T,), and mean, least, greatest, count (4, T, K)."""

    times_ms: NDArray[np.int64]
    table: Float64
    last_seq: int


def read_series(path: Path, wanted: Wanted, interval_seconds: float, score_threshold: float) -> Buckets:
    """Return what is wanted of history.db; blocks. Raises sqlite3.Error."""
    with closing(History(path, read_only=True)) as history:
        step_ms, tier = _resolution(history, wanted, interval_seconds)
        first_ms = wanted.from_ms // step_ms * step_ms
        pieces = _gather(history, wanted, tier, first_ms)
        scores = _scores(history, wanted, first_ms, step_ms, score_threshold)
    return _bucketed(pieces, scores, wanted, step_ms, tier)


def _resolution(history: History, wanted: Wanted, interval_seconds: float) -> tuple[int, int]:
    """Return the width of a bucket in milliseconds and the tier to read, 0 = samples."""
    oldest = {tier: _oldest(history, tier) for tier in (0, *TIERS_SECONDS)}
    # a host that was met an hour ago fills the chart of a day with its hour
    begin_ms = max(wanted.from_ms, min((one for one in oldest.values() if one is not None), default=wanted.from_ms))
    span = max(wanted.to_ms - begin_ms, 0) / 1000
    least = max(span / wanted.points, interval_seconds)
    step = next((step for step in _STEPS if step >= least), _STEPS[-1] * (1 + int(least / _STEPS[-1])))
    if step < TIERS_SECONDS[0] and span / interval_seconds > _MOST_SAMPLES:
        step = TIERS_SECONDS[0]
    tier = max((tier for tier in TIERS_SECONDS if tier <= step), default=0)
    # what is older than the samples that are kept is there in rollups
    for coarser in TIERS_SECONDS:
        here, there = oldest[tier], oldest[coarser]
        lacking = here is None or here > wanted.from_ms
        if coarser > tier and lacking and there is not None and (here is None or there < here - 2 * coarser * 1000):
            tier = coarser
    return max(step, tier) * 1000, tier


def _oldest(history: History, tier: int) -> int | None:
    rows = history.read(f"SELECT time_ms FROM {_table(tier)} ORDER BY seq LIMIT 1")  # noqa: S608 - our own names
    return int(rows[0][0]) if rows else None


def _table(tier: int) -> str:
    """Return where the rows of a tier are, 0 = samples, ready for more conditions."""
    return f"rollups WHERE tier = {tier}" if tier else "samples WHERE true"


def _gather(history: History, wanted: Wanted, tier: int, first_ms: int) -> list[_Pieces]:
    """Return the rollups of `tier`, and behind the last of them what only finer tiers and samples hold yet."""
    pieces: list[_Pieces] = []
    after = _ALL[0]
    if not wanted.signals:
        return pieces
    for finer in (*(one for one in reversed(TIERS_SECONDS) if one <= tier), 0):
        found = (
            _rollups(history, wanted, finer, after, first_ms) if finer else _samples(history, wanted, after, first_ms)
        )
        if found is not None:
            pieces.append(found)
            after = found.last_seq
    return pieces


def _seqs(history: History, tier: int, wanted: Wanted, after: int, first_ms: int) -> tuple[int, int]:
    """Return the first and the last number whose time may be within the span: they grow with time, nearly always."""
    table = _table(tier)
    ((low, high),) = history.read(  # each by itself, or SQLite looks at every row
        f"SELECT (SELECT min(seq) FROM {table}), (SELECT max(seq) FROM {table})"  # noqa: S608 - our own names
    )
    if low is None:
        return 1, 0
    first = _search(history, table, range(max(int(low), after + 1), int(high)), first_ms)
    return first, _search(history, table, range(first, int(high)), wanted.to_ms)


def _search(history: History, table: str, numbers: range, time_ms: int) -> int:
    """Return the first of the numbers that is not before `time_ms`, the one behind them where none is."""
    low, high = numbers.start, max(numbers.start, numbers.stop)
    while low < high:
        middle = (low + high) // 2
        rows = history.read(
            f"SELECT time_ms FROM {table} AND seq >= ? ORDER BY seq LIMIT 1",  # noqa: S608 - our own names
            middle,
        )
        if rows and rows[0][0] < time_ms:
            low = middle + 1
        else:
            high = middle
    return low


def _rollups(history: History, wanted: Wanted, tier: int, after: int, first_ms: int) -> _Pieces | None:
    first, last = _seqs(history, tier, wanted, after, first_ms)
    times, seqs, found = history.rolled_between(tier, wanted.signals, (first, last), first_ms, wanted.to_ms)
    if not len(times):
        return None
    table = np.stack([found[:, statistic].astype(np.float64) for statistic in (_MEAN, _MIN, _MAX, _COUNT)])
    return _Pieces(times, table, int(seqs[-1]))


def _samples(history: History, wanted: Wanted, after: int, first_ms: int) -> _Pieces | None:
    first, last = _seqs(history, 0, wanted, after, first_ms)
    rows = history.sampled_between(wanted.signals, (first, last), first_ms, wanted.to_ms)
    if not len(rows.seq):
        return None
    wide = rows.values.astype(np.float64)
    table = np.stack([wide, wide, wide, np.isfinite(wide).astype(np.float64)])
    return _Pieces(rows.time_ms, table, int(rows.seq[-1]))


def _scores(
    history: History, wanted: Wanted, first_ms: int, step_ms: int, score_threshold: float
) -> tuple[NDArray[np.int64], Float64]:
    """Return the buckets (B,) that have scores, and mean, least and greatest of these (B, K, 3).

    Rollups have none, so samples are read.
    """
    figures = 3 * len(wanted.scores)
    if not figures:
        return np.zeros(0, np.int64), np.zeros((0, 0, 3))
    first, last = _seqs(history, 0, wanted, _ALL[0], first_ms)
    # the scale that people see, as `detectors.calibration.shown_score` makes it
    scale = (1.0 - score_threshold) / score_threshold
    shown = (
        "CASE WHEN raw_score IS NULL THEN NULL WHEN raw_score > 0 AND raw_threshold < 1e300"
        f" THEN raw_score / (raw_score + raw_threshold * {scale!r}) ELSE 0.0 END"
    )
    expressions = {
        SCORE: shown,
        RAW_SCORE: "raw_score",
        RAW_THRESHOLD: "CASE WHEN raw_threshold < 1e300 THEN raw_threshold END",
        ALARMED: f"(flags & {FLAG_ALARMED}) / {FLAG_ALARMED}",
    }
    asked = ", ".join(
        f"ifnull({kind}({expressions[name]}), {_NOTHING})" for name in wanted.scores for kind in ("avg", "min", "max")
    )
    rows = history.table(
        "i8" + ",f8" * figures,
        f"SELECT time_ms / ? AS bucket, {asked} FROM samples INDEXED BY samples_scores"  # noqa: S608 - our own names
        " WHERE seq BETWEEN ? AND ? AND time_ms >= ? AND time_ms < ? GROUP BY bucket",
        step_ms, first, last, first_ms, wanted.to_ms,
    )  # fmt: skip
    table = np.stack([rows[f"f{column}"] for column in range(1, 1 + figures)], axis=1)
    table[np.isneginf(table)] = np.nan
    return rows["f0"], table.reshape(len(rows), len(wanted.scores), 3)


def _bucketed(
    pieces: Sequence[_Pieces],
    scores: tuple[NDArray[np.int64], Float64],
    wanted: Wanted,
    step_ms: int,
    tier: int,
) -> Buckets:
    """Fold pieces and scores into the same buckets."""
    signals, width = len(wanted.signals), len(wanted.signals) + len(wanted.scores)
    times = np.concatenate([one.times_ms for one in pieces]) if pieces else np.zeros(0, np.int64)
    bucket_of = times // step_ms
    buckets = np.union1d(bucket_of, scores[0])
    mean, least, greatest = (np.full((len(buckets), width), np.nan) for _ in range(3))
    if len(times):
        table = np.concatenate([one.table for one in pieces], axis=1)
        order = np.argsort(bucket_of, kind="stable")  # a clock that was set back comes twice
        starts = np.flatnonzero(np.diff(bucket_of[order], prepend=bucket_of[order[0]] - 1))
        rows = np.searchsorted(buckets, bucket_of[order][starts])
        values, count = table[_MEAN_OF][order], np.nan_to_num(table[_COUNT_OF][order])
        total = np.add.reduceat(np.nan_to_num(values) * count, starts)
        seen = np.add.reduceat(count, starts)
        mean[rows, :signals] = np.divide(total, seen, out=np.full_like(total, np.nan), where=seen > 0)
        least[rows, :signals] = np.fmin.reduceat(table[_MIN_OF][order], starts)
        greatest[rows, :signals] = np.fmax.reduceat(table[_MAX_OF][order], starts)
    scored = np.searchsorted(buckets, scores[0])
    for place, told in enumerate((mean, least, greatest)):
        told[scored, signals:] = scores[1][:, :, place]
    return Buckets(step_ms, tier, buckets * step_ms, mean, least, greatest)
