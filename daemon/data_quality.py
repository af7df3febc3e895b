"""How good the stored history is to learn from: what is there, what is missing, and what never moves.

Enters: samples. Leaves: figures, the longest gaps, and the signals to look at. It judges the data, never the host.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alerting.render import amount, rfc3339
from daemon.backtest.result import Samples
from daemon.continuity import GAP_INTERVALS
from daemon.samples import FLAG_ALARMED, FLAG_DOUBTFUL, FLAG_OWN_WORK

Bools = NDArray[np.bool_]

LONGEST_GAPS = 10
FLAT_HOURS = 24.0
MOSTLY = 0.5  # below this share of its samples a signal is missing for most of the span

_FLAT_TIMES = 4.0  # as long as it ever stood still before: what seldom moves is not flat yet
_HOUR_MS = 3_600_000
_FEWEST = 2


@dataclass(frozen=True, slots=True)
class Gap:
    """Time without a sample, UTC milliseconds of the samples around it; `booted`: the host was started anew."""

    from_ms: int
    to_ms: int
    booted: bool


@dataclass(frozen=True, slots=True)
class Constant:
    """A signal that had one value over the whole span."""

    signal: str
    value: float
    said: str


@dataclass(frozen=True, slots=True)
class Flat:
    """A signal that used to move and does not since `since_ms`."""

    signal: str
    value: float
    said: str
    since_ms: int
    hours: float


@dataclass(frozen=True, slots=True)
class Missing:
    """A signal that most samples do not have. `last_ms`: when it was last seen, None = never."""

    signal: str
    share: float
    last_ms: int | None


@dataclass(frozen=True, slots=True)
class DataQuality:
    """What there is of a span. `share` is of the samples that were to be expected in it, `filled` of their values.

    `typical_seconds` is the median of what lies between two samples: another than the interval tells of another
    configuration. Without a sample `from_ms` and `to_ms` are None. `gap_seconds` is the length of all gaps, `longest`
    are the longest ten, longest first.
    """

    interval_seconds: float
    typical_seconds: float | None
    from_ms: int | None
    to_ms: int | None
    own_from_ms: int | None
    samples: int
    expected: int
    share: float
    filled: float
    own: int
    imported: int
    boots: int
    signals: int
    gaps: int
    gap_seconds: float
    longest: tuple[Gap, ...]
    doubtful_hours: int
    alarmed_share: float
    own_work_share: float
    constant: tuple[Constant, ...]
    flat: tuple[Flat, ...]
    missing: tuple[Missing, ...]


def assess(samples: Samples, interval_seconds: float) -> DataQuality:
    """Return how good `samples` are, of which one was to be taken every `interval_seconds`."""
    clock = samples.clock
    count = len(clock)
    known = np.isfinite(samples.values)
    own = samples.seq >= 0
    span_ms = int(clock[-1] - clock[0]) if count else 0
    expected = max(count, round(span_ms / 1000 / interval_seconds) + 1) if count else 0
    gaps = list(_gaps(samples, clock, interval_seconds))
    constant, flat = _still(samples, clock, known)
    return DataQuality(
        interval_seconds=interval_seconds,
        typical_seconds=float(np.median(np.diff(clock))) / 1000 if count >= _FEWEST else None,
        from_ms=int(clock[0]) if count else None,
        to_ms=int(clock[-1]) if count else None,
        own_from_ms=int(clock[own][0]) if own.any() else None,
        samples=count,
        expected=expected,
        share=count / expected if expected else 0.0,
        filled=float(known.mean()) if known.size else 0.0,
        own=int(own.sum()),
        imported=int((~own).sum()),
        boots=len(np.unique(samples.boot[own])),
        signals=len(samples.specs),
        gaps=len(gaps),
        gap_seconds=sum(one.to_ms - one.from_ms for one in gaps) / 1000,
        longest=tuple(sorted(gaps, key=lambda one: one.from_ms - one.to_ms)[:LONGEST_GAPS]),
        doubtful_hours=len(np.unique(clock[samples.flags & FLAG_DOUBTFUL != 0] // _HOUR_MS)),
        alarmed_share=_share(samples.flags & FLAG_ALARMED != 0),
        own_work_share=_share(samples.flags & FLAG_OWN_WORK != 0),
        constant=tuple(constant),
        flat=tuple(flat),
        missing=tuple(_missing(samples, clock, known)),
    )


def _share(flagged: Bools) -> float:
    return float(flagged.mean()) if len(flagged) else 0.0


def _gaps(samples: Samples, clock: NDArray[np.int64], interval_seconds: float) -> Iterator[Gap]:
    before = np.flatnonzero(np.diff(clock) > GAP_INTERVALS * interval_seconds * 1000)
    for row in before.tolist():
        booted = bool(samples.boot[row] != samples.boot[row + 1])
        yield Gap(int(clock[row]), int(clock[row + 1]), booted)


def _still(samples: Samples, clock: NDArray[np.int64], known: Bools) -> tuple[list[Constant], list[Flat]]:
    """Return the signals that never moved, and those that ceased to."""
    constant: list[Constant] = []
    flat: list[Flat] = []
    for column, spec in enumerate(samples.specs):
        seen = np.flatnonzero(known[:, column])
        if len(seen) < _FEWEST:
            continue
        values, times = samples.values[seen, column], clock[seen]
        moved = np.flatnonzero(values[1:] != values[:-1]) + 1
        last, said = float(values[-1]), amount(float(values[-1]), spec.unit)
        if len(moved) == 0:
            constant.append(Constant(spec.name, last, said))
            continue
        stood = np.diff(np.concatenate([times[:1], times[moved], times[-1:]]))  # how long after each move
        hours = float(stood[-1]) / _HOUR_MS
        if hours >= FLAT_HOURS and stood[-1] >= _FLAT_TIMES * stood[:-1].max():
            flat.append(Flat(spec.name, last, said, int(times[moved[-1]]), hours))
    return constant, sorted(flat, key=lambda one: -one.hours)


def _missing(samples: Samples, clock: NDArray[np.int64], known: Bools) -> Iterator[Missing]:
    if not len(clock):
        return
    shares = known.mean(axis=0)
    for column in np.flatnonzero(shares < MOSTLY).tolist():
        seen = np.flatnonzero(known[:, column])
        last = int(clock[seen[-1]]) if len(seen) else None
        yield Missing(samples.specs[column].name, 1.0 - float(shares[column]), last)


def to_json(quality: DataQuality) -> dict[str, object]:
    """Return the figures as JSON values: lasting keys, times as RFC 3339 in UTC."""
    return {
        "version": 1,
        "interval_seconds": quality.interval_seconds,
        "typical_seconds": quality.typical_seconds,
        "from": _time(quality.from_ms),
        "to": _time(quality.to_ms),
        "own_from": _time(quality.own_from_ms),
        "samples": quality.samples,
        "expected": quality.expected,
        "share": quality.share,
        "values_share": quality.filled,
        "own": quality.own,
        "imported": quality.imported,
        "boots": quality.boots,
        "signals": quality.signals,
        "gaps": {
            "count": quality.gaps,
            "seconds": quality.gap_seconds,
            "longest": [
                {
                    "from": _time(gap.from_ms),
                    "to": _time(gap.to_ms),
                    "seconds": (gap.to_ms - gap.from_ms) / 1000,
                    "booted": gap.booted,
                }
                for gap in quality.longest
            ],
        },
        "doubtful_hours": quality.doubtful_hours,
        "alarmed_share": quality.alarmed_share,
        "own_work_share": quality.own_work_share,
        "constant": [{"signal": one.signal, "value": one.value} for one in quality.constant],
        "flat": [
            {"signal": one.signal, "value": one.value, "since": _time(one.since_ms), "hours": one.hours}
            for one in quality.flat
        ],
        "missing": [
            {"signal": one.signal, "share": one.share, "last_seen": _time(one.last_ms)} for one in quality.missing
        ],
    }


def _time(time_ms: int | None) -> str | None:
    return None if time_ms is None else rfc3339(time_ms)
