"""Days of history as the drift detector takes them: one sample for each slot of an even grid.

Enters: history.db. Leaves: the reference, made once and kept in a file of its own, since the raw samples that it comes
from are deleted before the model that learned from them; samples since. What was inside an incident, or in an hour in
which the clock jumped, is no reference.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from daemon.history import History
from daemon.samples import FLAG_DOUBTFUL, FLAGS_LEFT_OUT, Rows
from detectors.dependence import Dependence
from detectors.drift import HOURS, Reference, make_reference
from detectors.model_file import ModelError, read_arrays, read_record, write

Int64 = NDArray[np.int64]
Float32 = NDArray[np.float32]

DAY_MS, HOUR_MS = 86_400_000, 3_600_000
MOST_SIGNALS = 500  # those that are known longest: memory is bounded
MOST_A_DAY = 2880  # samples: at less than 30 s between two, some are passed over
LEAST_DAYS, MOST_DAYS = 3, 7  # of reference
REFERENCE = "reference"
AT_ONCE = 1000  # samples that are read
_MARKS: Mapping[str, object] = {"format": 1, "kind": "drift reference"}


@dataclass(frozen=True, slots=True)
class Span:
    """Whole days from `first_ms` on, UTC, for the model that was made at `learned_ms`, 0 = there was none.

    Its samples are those beyond `after`, `a_day` of them a day.
    """

    first_ms: int
    days: int
    learned_ms: int
    after: int
    a_day: int

    @property
    def end_ms(self) -> int:
        """When it ends."""
        return self.first_ms + self.days * DAY_MS


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """A reference with the `ids` (S,) of its signals, ascending."""

    span: Span
    ids: Int64
    reference: Reference


def days_before(first_ms: int, learned_ms: int | None) -> tuple[int, int]:
    """Return when the days to compare with end, and how many they are, of what is known since `first_ms`.

    They are the last 7 up to a day before the training, 3 at least: so the last day can be told from them as soon as
    there is a model, and no sample is on both sides.
    """
    end_ms = max((learned_ms or 0) - DAY_MS, first_ms + LEAST_DAYS * DAY_MS)
    return end_ms, min((end_ms - first_ms) // DAY_MS, MOST_DAYS)


def samples_a_day(interval_seconds: float) -> int:
    """Return how many slots a day has."""
    return max(HOURS, min(round(DAY_MS / 1000 / interval_seconds), MOST_A_DAY))


def hours_of(times_ms: Int64) -> Int64:
    """Return the hour of the day, UTC, of each time."""
    return times_ms // HOUR_MS % HOURS


def columns(rows: Rows, ids: Int64) -> Float32:
    """Return the values (T, S) of `ids` (S,), NaN where a signal was not there."""
    out = np.full((len(rows.seq), len(ids)), np.nan, np.float32)
    known = np.array(rows.signal_ids, np.int64)
    there = np.flatnonzero(np.isin(ids, known))
    out[:, there] = rows.values[:, np.searchsorted(known, ids[there])]
    return out


def read(history: History, ids: Sequence[int], span: Span) -> Kept:
    """Return the reference of `ids` in `span`; those with less than a day of samples are left out. Blocks."""
    wanted = np.sort(np.array(ids, np.int64))[:MOST_SIGNALS]
    grid = np.full((span.days * span.a_day, len(wanted)), np.nan, np.float32)
    taken = np.zeros(len(grid), np.bool_)
    ((after, last),) = history.read(
        "SELECT min(seq) - 1, max(seq) FROM samples WHERE seq > ? AND time_ms >= ? AND time_ms < ?",
        history.lineage_start(), span.first_ms, span.end_ms,
    )  # fmt: skip
    while after is not None and after < last:
        rows = history.following(after, AT_ONCE)
        if not len(rows.seq):  # the history was set aside meanwhile
            break
        after = int(rows.seq[-1])
        within = (rows.time_ms >= span.first_ms) & (rows.time_ms < span.end_ms)
        slots = np.where(within, (rows.time_ms - span.first_ms) * span.a_day // DAY_MS, 0)
        good = within & ((rows.flags & (FLAGS_LEFT_OUT | FLAG_DOUBTFUL)) == 0) & ~taken[slots]
        grid[slots[good][::-1]] = columns(rows, wanted)[good][::-1]  # the first of a slot stays
        taken[slots[good]] = True
    enough = np.flatnonzero((~np.isnan(grid)).sum(axis=0) >= span.a_day)
    times = span.first_ms + np.arange(len(grid)) * DAY_MS // span.a_day
    return Kept(span, wanted[enough], make_reference(grid[:, enough], hours_of(times), span.a_day))


def save(folder: Path, kept: Kept, name: str = REFERENCE) -> None:
    """Keep a reference in `folder`, in place of the former of that name. Raises OSError."""
    one, span = kept.reference, kept.span
    arrays: dict[str, NDArray[np.generic]] = {
        "ids": kept.ids, "values": one.values, "hours": one.hours, "counts": one.counts,
        "time": one.repeats.time, "freedom": one.repeats.freedom,
    }  # fmt: skip
    write(folder, name, arrays, {**_MARKS, **asdict(span)})


def load(folder: Path, name: str = REFERENCE) -> Kept | None:
    """Return what `save` has kept, None = nothing. Raises ModelError for what is broken."""
    place = folder / name
    if not place.exists():
        return None
    record = read_record(place, "a drift reference of format 1", _MARKS)
    arrays = read_arrays(place, record)
    try:
        span = Span(*(int(cast("int", record[one.name])) for one in fields(Span)))
        ids, hours, counts = (arrays[name].astype(np.int64) for name in ("ids", "hours", "counts"))
        time, freedom = (arrays[name].astype(np.float64) for name in ("time", "freedom"))
        values = arrays["values"].astype(np.float32)
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{place}: {type(error).__name__}: {error}") from error
    shapes = {one.shape for one in (ids, counts, time, freedom)}
    if shapes != {values.shape[1:]} or hours.shape != values.shape[:1] or not ((hours >= 0) & (hours < HOURS)).all():
        raise ModelError(f"{place}: its arrays do not belong together")
    return Kept(span, ids, Reference(values, hours, counts, Dependence(time, freedom)))
