"""One check of drift: the last day of history against the reference; what was counted stays counted until the next.

Enters: history.db, when the model on duty was made. Leaves: the verdict on every signal of the reference, or what is
lacking. It blocks, in one thread at a time. An hourly check reads two hours of history, not a day; until the next one
the day is folded up, and the reference stands in its file alone.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import structlog

from daemon.drift.days import (
    AT_ONCE,
    DAY_MS,
    HOUR_MS,
    Float32,
    Int64,
    Kept,
    Span,
    columns,
    days_before,
    hours_of,
    load,
    read,
    samples_a_day,
    save,
)
from daemon.drift.earlier import EarlierDays
from daemon.drift.outputs import Answers, Outputs, answers_drifted, scores_drifted
from daemon.drift.outputs import save as save_answers
from daemon.history import History
from detectors.drift import HOURS, DriftWindow, Flags, Verdict
from detectors.kernels import Backend
from detectors.model_file import ModelError

_log = structlog.get_logger()

_AS_MANY = 0.5  # of the signals that are judged otherwise, for a way of before to be recognised by


@dataclass(frozen=True, slots=True, eq=False)
class Checked:
    """The `verdict` on the signals `ids` (S,), against the days of `span`; of what each network answers the `outputs`.

    `earlier`: they are days of a model before, for the host runs again as it did then.
    """

    span: Span
    ids: Int64
    verdict: Verdict
    outputs: Mapping[str, Outputs]
    earlier: bool = False


@dataclass(frozen=True, slots=True)
class Asked:
    """What a check rests on: when the model on duty was made, None = there is none, its number; the signals there are.

    `unlike`: the share of drifted signals from which on a day is unlike others. `answers`: what networks said lately.
    """

    learned_ms: int | None
    model: int
    ids: Sequence[int]
    unlike: float
    answers: Mapping[str, Answers]


class DriftCheck:
    """The reference below `folder` and the window of the last day. `backend` says what computes."""

    def __init__(self, history: History, folder: Path, interval_seconds: float, backend: Callable[[], Backend]) -> None:
        self._history = history
        self.folder = folder
        self._a_day = samples_a_day(interval_seconds)
        self._backend = backend
        self._earlier = EarlierDays(folder)
        self._day: _LastDay | None = None
        self._is_stored = False  # the reference of this day

    def run(self, now_ms: int, asked: Asked) -> Checked | str:
        """Check now; returns what is lacking where it cannot. Raises sqlite3.Error."""
        self._remember(asked.answers)
        day = self._day
        if day is not None and self._serves(day.span, asked.learned_ms) and day.resets == self._history.resets:
            if not (day.unfold(self._stored()) and day.move(now_ms)):
                day = self._begin(self._reference(day.span, asked), now_ms)
        else:
            self._day = day = None
            span = self._span(now_ms, asked.learned_ms)
            if isinstance(span, str):
                return span
            day = self._begin(self._reference(span, asked), now_ms)
        outputs = {
            "anomaly": scores_drifted(self._history, self._backend(), asked.model, self._a_day, now_ms),
            **answers_drifted(asked.answers, self._backend(), asked.learned_ms, now_ms),
        }
        verdict = day.verdict()
        if self._is_stored:
            day.fold()
        score = verdict.score()
        if score is not None and score >= asked.unlike:
            known = self._known(now_ms, verdict, asked.unlike)
            if known is not None:
                return Checked(known.span, known.ids, known.verdict(), outputs, earlier=True)
        return Checked(day.span, day.ids, verdict, outputs)

    def _remember(self, answers: Mapping[str, Answers]) -> None:
        try:
            save_answers(self.folder, answers)
        except OSError as error:  # they are known until the next start
            _log.warning("network_answers_not_stored", reason=str(error))

    def _known(self, now_ms: int, verdict: Verdict, unlike: float) -> "_LastDay | None":
        """Return the last day against earlier days that it follows, None = there are none."""
        for place, kept in self._earlier.all():
            if (kept.span.after, kept.span.a_day) != (self._history.lineage_start(), self._a_day):
                continue
            day = _LastDay(self._history, self._backend(), kept, now_ms)
            told = day.verdict()
            score = told.score()
            if score is not None and score < unlike and told.judged.sum() >= _AS_MANY * verdict.judged.sum():
                try:
                    self._earlier.seen(place)
                except OSError as error:
                    _log.warning("earlier_days_not_marked", reason=str(error))
                return day
        return None

    def _serves(self, span: Span, learned_ms: int | None) -> bool:
        return (span.learned_ms, span.after, span.a_day) == (
            learned_ms or 0,
            self._history.lineage_start(),
            self._a_day,
        )

    def _span(self, now_ms: int, learned_ms: int | None) -> Span | str:
        """Return the days to compare with, or what is lacking."""
        stored = (self._stored(), *(kept for _, kept in self._earlier.all()))  # a model may come back
        spans = [one.span for one in stored if one is not None and self._serves(one.span, learned_ms)]
        if spans:
            span = spans[0]
        else:
            after = self._history.lineage_start()
            first = self._history.following(max(after, -1), 1).time_ms  # what was imported comes before
            if not len(first):
                return "no history yet"
            end_ms, days = days_before(int(first[0]), learned_ms)
            span = Span(end_ms - days * DAY_MS, days, learned_ms or 0, after, self._a_day)
        left_ms = span.end_ms + DAY_MS - now_ms
        if left_ms > 0:
            return f"a whole day is needed after those that were learned from: {-(-left_ms // HOUR_MS)} h are missing"
        return span

    def _stored(self) -> Kept | None:
        try:
            return load(self.folder)
        except ModelError as error:
            _log.warning("drift_reference_refused", reason=str(error), effect="it is made anew")
            return None

    def _reference(self, span: Span, asked: Asked) -> Kept:
        """Return the reference of `span`, from its file or from history; the one before is kept if it is unlike."""
        former = self._stored()
        self._is_stored = former is not None and former.span == span
        if former is not None and self._is_stored:
            return former
        again = [kept for _, kept in self._earlier.all() if kept.span == span]
        kept = again[0] if again else read(self._history, asked.ids, span)
        try:
            if former is not None:
                self._earlier.keep(self._backend(), former, kept, asked.unlike)
            save(self.folder, kept)
            self._is_stored = True
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
            rows = self._history.following(self._after, AT_ONCE)
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
        times = history.table("i8,", "SELECT time_ms FROM samples WHERE seq > ? ORDER BY seq", low)["f0"]
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

    def fold(self) -> None:
        """Let go of what the next check can take from the file of the reference."""
        self._window.fold()

    def unfold(self, stored: Kept | None) -> bool:
        """Go on; False: what is `stored` is not what this day was counted against, and it has to begin anew."""
        if not self._window.is_folded:
            return True
        if stored is None or stored.span != self.span or not np.array_equal(stored.ids, self.ids):
            return False
        return self._window.unfold(stored.reference)

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
