"""Scores of a replay: those of every sample, computed for the next hours at once, because they are known.

Enters: the rows before and after the present one. Leaves: what `LiveScorer` would say of each, to 1e-5, at a
small part of its cost.
"""

from collections.abc import Callable
from dataclasses import fields

import numpy as np
from numpy.typing import NDArray

from detectors.anomaly import SCORE_SPAN, AnomalyModel, RowScores, score_rows
from detectors.features import SPAN, WINDOW, surprise

Float32 = NDArray[np.float32]
Hours = NDArray[np.int64]
Rows = tuple[Float32, Hours]

_AHEAD = 1440
_BEHIND = SPAN + SCORE_SPAN  # rows that the first score ahead looks back on, its means included


class AheadScorer:
    """In the place of `LiveScorer`.

    `behind(n)` gives the newest n rows (n, S) of the model's signals, the present one last, and their hours (n,);
    `coming(n)` at most n rows after the present one, up to the next gap in time. `restart` says that what comes is
    not what `coming` gave: the next score looks ahead anew.
    """

    def __init__(self, model: AnomalyModel, behind: Callable[[int], Rows], coming: Callable[[int], Rows]) -> None:
        self.model = model
        self._behind = behind
        self._coming = coming
        self._scores: RowScores | None = None
        self._next = self._left = 0
        self._window: Rows = (np.full((WINDOW, len(model.signal_ids)), np.nan, np.float32), np.zeros(WINDOW, np.int64))

    @property
    def features(self) -> Float32:
        """The evidence of the row that was scored last (1, S, 8)."""
        return surprise(self.model.context, *self._window)

    def restart(self) -> None:
        """Forget what was computed ahead."""
        self._next = self._left

    def warm(self, values: Float32, hours: Hours) -> None:
        """Do nothing: the rows before are looked back on anyway."""

    def score(self, window: Float32, hour: int) -> RowScores:
        """Score the present row, the last of `window` (16, S); all arrays of the answer have one row."""
        self._window = (window, np.full(len(window), hour))
        if self._next == self._left or self._scores is None:
            self._look_ahead()
        at, self._next = slice(self._next, self._next + 1), self._next + 1
        return RowScores(**{one.name: getattr(self._scores, one.name)[at] for one in fields(RowScores)})

    def _look_ahead(self) -> None:
        before, hours_before = self._behind(_BEHIND + 1)
        after, hours_after = self._coming(_AHEAD)
        scores = score_rows(self.model, np.concatenate([before, after]), np.concatenate([hours_before, hours_after]))
        skipped = _BEHIND - SPAN
        self._scores = RowScores(**{one.name: getattr(scores, one.name)[skipped:] for one in fields(RowScores)})
        self._next, self._left = 0, len(self._scores.raw)
