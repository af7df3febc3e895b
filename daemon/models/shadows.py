"""Models that score beside the champion: its predecessor on the champion's first day, and at most two challengers.

Enters: the window after each tick, and what the champion said. Leaves: a reason to roll back, and what each has raised
so far. They raise no alarm and decide nothing.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from daemon.models.state import ModelState
from daemon.window import RingWindow
from detectors.anomaly import SCORE_SPAN, AnomalyModel, LiveScorer
from detectors.calibration import MERGE_SECONDS
from detectors.features import WINDOW
from detectors.probation import Beside, Probation, Reason, outside

MOST_CHALLENGERS = 2


@dataclass(frozen=True, slots=True)
class Moment:
    """One tick as the champion saw it: its model, raw score (None: no number came) and alarm; `rise`: of thresholds."""

    model: AnomalyModel
    raw: float | None
    alarmed: bool
    rise: float
    hour: int
    gap: bool
    now_ns: int


@dataclass
class _Shadow:
    """One model beside the champion; `broken`: it gave something that is no number."""

    scorer: LiveScorer
    threshold: float
    episodes: int = 0
    broken: bool = False
    raised_ns: int | None = field(default=None)

    def score(self, window: RingWindow, moment: Moment) -> float | None:
        """Return its score of the newest row, None where it knows nothing of it; counts episodes."""
        if moment.gap:
            self.scorer.restart()
        rows = window.recent(self.scorer.model.signal_ids, WINDOW)
        raw = float(self.scorer.score(rows, moment.hour).raw[0])
        if not math.isfinite(raw):
            self.broken |= bool(np.isfinite(rows[-1]).any())
            return None
        if raw > self.threshold * moment.rise:
            before, self.raised_ns = self.raised_ns, moment.now_ns
            self.episodes += before is None or (moment.now_ns - before) / 1e9 > MERGE_SECONDS
        return raw


class Shadows:
    """At most one predecessor and two challengers, by name."""

    def __init__(self) -> None:
        self._predecessor: tuple[str, _Shadow] | None = None
        self._challengers: dict[str, _Shadow] = {}
        self._probation = Probation()
        self._until_ms = 0
        self._seconds_at = math.inf

    @property
    def challengers(self) -> Mapping[str, bool]:
        """Return the challengers, oldest first, and whether each still gives numbers."""
        return {name: not shadow.broken for name, shadow in self._challengers.items()}

    @property
    def states(self) -> tuple[ModelState, ...]:
        """Return who scores beside the champion."""
        beside = [("shadow", name, shadow) for name, shadow in self._challengers.items()]
        if self._predecessor is not None:
            beside.insert(0, ("predecessor", *self._predecessor))
        return tuple(ModelState(name, role, shadow.episodes) for role, name, shadow in beside)

    @property
    def predecessor(self) -> tuple[str, AnomalyModel, float] | None:
        """Return name, model and threshold of the predecessor while the champion is on probation."""
        if self._predecessor is None:
            return None
        name, shadow = self._predecessor
        return name, shadow.scorer.model, shadow.threshold

    def watch_over(
        self, name: str, model: AnomalyModel, thresholds: tuple[float, float], until_ms: int, window: RingWindow
    ) -> None:
        """Let the predecessor `name` score beside a new champion until `until_ms`, wall time.

        `thresholds`: the one it had last, and the one it began with. The lower one says what it seconds: one that a
        change of the host has driven up would let it miss an outage that its successor is right about.
        """
        self._predecessor = name, _warmed(model, thresholds[0], window)
        self._seconds_at = min(thresholds)
        self._probation, self._until_ms = Probation(), until_ms

    def end_probation(self) -> None:
        """Let the predecessor rest."""
        self._predecessor = None

    def add(self, name: str, model: AnomalyModel, threshold: float, window: RingWindow) -> str | None:
        """Let a challenger score beside the champion; returns who has to make room, if anybody."""
        self._challengers[name] = _warmed(model, threshold, window)
        if len(self._challengers) <= MOST_CHALLENGERS:
            return None
        first = next(iter(self._challengers))
        del self._challengers[first]
        return first

    def remove(self, name: str) -> None:
        """Let a challenger rest."""
        self._challengers.pop(name, None)

    def observe(self, window: RingWindow, moment: Moment, now_ms: int) -> Reason | None:
        """Score the newest row with all, and say whether the champion has to leave."""
        for shadow in self._challengers.values():
            shadow.score(window, moment)
        row = window.recent(moment.model.signal_ids, 1)[0]
        known = bool(np.isfinite(row).any())
        finite = not known or (moment.raw is not None and math.isfinite(moment.raw))
        if self._predecessor is None:
            return None if finite else Reason.BROKEN
        _, before = self._predecessor
        raw = before.score(window, moment)
        if not known:
            return None
        sample = Beside(
            raised=moment.alarmed,
            before=0.0 if raw is None else raw / (self._seconds_at * moment.rise),
            outside=outside(moment.model, row),
            outside_before=outside(before.scorer.model, window.recent(before.scorer.model.signal_ids, 1)[0]),
            finite=finite,
        )
        reason = self._probation.observe(moment.now_ns, sample)
        if reason is None and now_ms >= self._until_ms:
            self.end_probation()
        return reason


def _warmed(model: AnomalyModel, threshold: float, window: RingWindow) -> _Shadow:
    # what its threshold came from is in its file, and grows with the history: it is read again when it serves
    scorer = LiveScorer(replace(model, quiet_scores=np.zeros(0, np.float32)))
    rows = window.recent(model.signal_ids, WINDOW + SCORE_SPAN)
    scorer.warm(rows, np.array(window.recent_hours(SCORE_SPAN)))
    return _Shadow(scorer, threshold)
