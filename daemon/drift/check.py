"""One check of drift: the last day of history against the reference; what was counted stays counted until the next.

Enters: history.db, when the model on duty was made. Leaves: the verdict on every signal of the reference, or what is
lacking. It blocks, in one thread at a time. An hourly check reads two hours of history, not a day.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import structlog

from daemon.drift.days import (
    DAY_MS,
    HOUR_MS,
    Float32,
    Int64,
    Kept,
    Span,
    columns,
    hours_of,
    load,
    read,
    samples_a_day,
    save,
)
from daemon.drift.outputs import scores_drifted
from daemon.history import History
from detectors.drift import HOURS, DriftWindow, Flags, Verdict
from detectors.kernels import Backend
from detectors.model_file import ModelError

_log = structlog.get_logger()

LEAST_DAYS, MOST_DAYS = 3, 7  # of reference
_AT_ONCE = 1000  # samples that are read


@dataclass(frozen=True, slots=True, eq=False)
class Checked:
    """The `verdict` on the signals `ids` (S,), against the days of `span`.

    `scores`: whether what the anomaly model answers drifted, None = not known.
    """

    span: Span
    ids: Int64
    verdict: Verdict
    scores: bool | None


class DriftCheck:
    """The reference below `folder` and the window of the last day. `backend` says what computes."""

    def __init__(self, history: History, folder: Path, interval_seconds: float, backend: Callable[[], Backend]) -> None:
        self._history = history
        self._folder = folder
        self._a_day = samples_a_day(interval_seconds)
        self._backend = backend
        self._day: _LastDay | None = None

    def run(self, now_ms: int, learned_ms: int | None, model: int, ids: Sequence[int]) -> Checked | str:
        """Check now; returns what is lacking where it cannot. Raises sqlite3.Error.

        `learned_ms`: when the model on duty was made, None = there is none; `model`: its number; `ids`: the signals
        that are known.
        """
        day = self._day
        if day is not None and self._serves(day.span, learned_ms) and day.resets == self._history.resets:
            if not day.move(now_ms):
                day = self._begin(self._reference(day.span, ids), now_ms)
        else:
            self._day = day = None
            span = self._span(now_ms, learned_ms)
            if isinstance(span, str):
                return span
            day = self._begin(self._reference(span, ids), now_ms)
        scores = scores_drifted(self._history, self._backend(), model, self._a_day, now_ms)
        return Checked(day.span, day.ids, day.verdict(), scores)

    def _serves(self, span: Span, learned_ms: int | None) -> bool:
        return (span.learned_ms, span.after, span.a_day) == (
            learned_ms or 0,
            self._history.lineage_start(),
            self._a_day,
        )

    def _span(self, now_ms: int, learned_ms: int | None) -> Span | str:
        """Return the days to compare with, up to the last training, three at least; or what is lacking."""
        kept = self._stored()
        if kept is not None and self._serves(kept.span, learned_ms):
            span = kept.span
        else:
            after = self._history.lineage_start()
            first = self._history.following(max(after, -1), 1).time_ms  # what was imported comes before
            if not len(first):
                return "no history yet"
            first_ms = int(first[0])
            end_ms = max(learned_ms or 0, first_ms + LEAST_DAYS * DAY_MS)
            days = min((end_ms - first_ms) // DAY_MS, MOST_DAYS)
            span = Span(end_ms - days * DAY_MS, days, learned_ms or 0, after, self._a_day)
        left_ms = span.end_ms + DAY_MS - now_ms
        if left_ms > 0:
            return f"a whole day is needed after those that were learned from: {-(-left_ms // HOUR_MS)} h are missing"
        return span

    def _stored(self) -> Kept | None:
        try:
            return load(self._folder)
        except ModelError as error:
            _log.warning("drift_reference_refused", reason=str(error), effect="it is made anew")
            return None

    def _reference(self, span: Span, ids: Sequence[int]) -> Kept:
        """Return the reference of `span`, from its file or from history."""
        kept = self._stored()
        if kept is not None and kept.span == span:
            return kept
        kept = read(self._history, ids, span)
        try:
            save(self._folder, kept)
        except OSError as error:  # it is made again after a restart, while its days are there
            _log.warning("drift_reference_not_stored", reason=str(error))
        return kept

    def _begin(self, kept: Kept, now_ms: int) -> "_LastDay":
        self._day = _LastDay(self._history, self._backend(), kept, now_ms)
        return self._day


class _Thinned:
    """The samples that are the first of their slot, in the order of history, from one place in it on."""

    def __init__(self, history: History, after: int, a_day: int) -> None:
        self._history = history
        self._after = after
        self._a_day = a_day
        self._slot = -1

    def follow(self, ids: Int64, until_ms: int | None = None) -> Iterator[tuple[Int64, Float32]]:
        """Yield hours (k,) and values (k, S) of those that follow: of all, or until one that is not older."""
        while True:
            rows = self._history.following(self._after, _AT_ONCE)
            older = np.ones(len(rows.seq), np.bool_) if until_ms is None else rows.time_ms < until_ms
            many = len(older) if older.all() else int(older.argmin())
            if not many:
                return
            times = rows.time_ms[:many]
            mask = self.first(times)
            self._after = int(rows.seq[many - 1])
            yield hours_of(times[mask]), columns(rows, ids)[:many][mask]

    def first(self, times_ms: Int64) -> Flags:
        """Return which of the next samples are the first of their slot."""
        slots = times_ms * self._a_day // DAY_MS
        mask: Flags = np.diff(slots, prepend=self._slot) != 0
        self._slot = int(slots[-1]) if len(slots) else self._slot
        return mask


class _LastDay:
    """The window of one reference over the last 24 hours; what comes and what goes is the same, sample by sample."""

    def __init__(self, history: History, backend: Backend, kept: Kept, now_ms: int) -> None:
        self.span, self.ids, self.resets = kept.span, kept.ids, history.resets
        found = history.read(
            "SELECT min(seq) FROM samples WHERE seq > ? AND time_ms >= ?", kept.span.after, now_ms - DAY_MS
        )
        low = kept.span.after if found[0][0] is None else int(found[0][0]) - 1
        self._came, self._went = (_Thinned(history, low, kept.span.a_day) for _ in range(2))
        ahead = history.read("SELECT time_ms FROM samples WHERE seq > ? ORDER BY seq", low)
        times = np.array([time_ms for (time_ms,) in ahead], np.int64)
        self._hours = np.bincount(
            hours_of(times[_Thinned(history, low, kept.span.a_day).first(times)]), minlength=HOURS
        )
        usual = np.bincount(kept.reference.hours, minlength=HOURS)
        self._known = usual >= max(usual.max() / 2, 1)
        self._window = DriftWindow(backend, kept.reference, self._watched())
        self._hours[:] = 0
        self.move(now_ms)

    def _watched(self) -> Flags:
        """Return the hours that both the reference and the last day have."""
        per_hour = self.span.a_day / HOURS
        return np.asarray((self._hours >= max(per_hour / 2, 1.0)) & self._known)

    def move(self, now_ms: int) -> bool:
        """Take in what came, let go what is older than a day; False: the hours are others, it has to begin anew."""
        for hours, values in self._came.follow(self.ids):
            self._hours += np.bincount(hours, minlength=HOURS)
            self._window.add(values, hours)
        for hours, values in self._went.follow(self.ids, now_ms - DAY_MS):
            self._hours -= np.bincount(hours, minlength=HOURS)
            self._window.remove(values, hours)
        return bool((self._watched() == self._window.watched).all())

    def verdict(self) -> Verdict:
        """Judge the day."""
        return self._window.verdict()
