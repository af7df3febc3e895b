"""A new champion's first day: its predecessor scores beside it, and whether that one has to come back.

Enters: of every sample, what both say of it; of every hour, what both notice of injected faults. Leaves: a reason to
roll back, or none. What both raise is an incident, never a reason: an outage under a good champion changes nothing.
"""

from collections import deque
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from detectors.anomaly import AnomalyModel
from detectors.calibration import MERGE_SECONDS

Float32 = NDArray[np.float32]

SHADOW_SECONDS = 86_400.0  # a challenger scores beside the champion before it is judged
PROBATION_SECONDS = 86_400.0
_HOUR_NS = 3_600 * 10**9
_EPISODES = 3  # within an hour that the predecessor does not raise
_STRANGE = 0.2  # share of the inputs outside of what was learned from
_STRANGE_TIME = 0.5  # of an hour
_LEAST_SEEN_NS = 900 * 10**9
_BLIND = 0.05  # share of injected strengths that it notices less


class Reason(StrEnum):
    """Why a champion leaves; the value is how a sentence says it."""

    LOUD = "it raised three episodes within an hour that its predecessor did not"
    STRANGE = "more than a fifth of its inputs lay outside of what it has learned from"
    BROKEN = "its score was no number"
    BLIND = "it noticed less of injected faults than its predecessor"


@dataclass(frozen=True, slots=True)
class Beside:
    """One sample as both see it.

    `raised`: the champion's alarm; `seconded`: the predecessor's, or its score is near enough to hold one up.
    `outside` and `outside_before`: share of the inputs out of the range of each; `finite`: the champion's score is a
    number, or there was nothing to score.
    """

    raised: bool
    seconded: bool
    outside: float
    outside_before: float
    finite: bool


class Probation:
    """Counts over the last hour. It starts anew with the process: what was before is held against nobody."""

    def __init__(self) -> None:
        self._alone: deque[int] = deque()
        self._seconded_ns: int | None = None
        self._strange: deque[tuple[int, bool]] = deque()

    def observe(self, now_ns: int, sample: Beside) -> Reason | None:
        """Take in one sample at `now_ns`, monotonic."""
        if not sample.finite:
            return Reason.BROKEN
        self._count(now_ns, sample)
        if len(self._alone) >= _EPISODES:
            return Reason.LOUD
        strange = sample.outside > _STRANGE >= sample.outside_before and not sample.seconded
        self._strange.append((now_ns, strange))
        while self._strange and now_ns - self._strange[0][0] >= _HOUR_NS:
            self._strange.popleft()
        seen_ns = now_ns - self._strange[0][0]
        share = sum(one for _, one in self._strange) / len(self._strange)
        return Reason.STRANGE if seen_ns >= _LEAST_SEEN_NS and share > _STRANGE_TIME else None

    def _count(self, now_ns: int, sample: Beside) -> None:
        """Count episodes of the champion alone: crossings within 15 min are one, and one that lasts counts again.

        What the predecessor raises within 15 min, before or after, is no longer alone.
        """
        merged_ns = int(MERGE_SECONDS * 1e9)
        while self._alone and now_ns - self._alone[0] >= _HOUR_NS:
            self._alone.popleft()
        if sample.seconded:
            self._seconded_ns = now_ns
            while self._alone and now_ns - self._alone[-1] <= merged_ns:
                self._alone.pop()
            return
        recently = self._seconded_ns is not None and now_ns - self._seconded_ns <= merged_ns
        if not sample.raised or recently:
            return
        if not self._alone or now_ns - self._alone[-1] > merged_ns:
            self._alone.append(now_ns)

    @staticmethod
    def compare(noticed: float, noticed_before: float) -> Reason | None:
        """Judge what champion and predecessor notice of the same injected faults, NaN = unknown."""
        return Reason.BLIND if noticed < noticed_before - _BLIND else None


def outside(model: AnomalyModel, row: Float32) -> float:
    """Return which share of the present values of `row` (S,) lies out of the range that `model` has learned from.

    That range holds 99 % of what was seen; what is nearer to it than the floor of the signal is within.
    """
    context = model.context
    known = np.isfinite(row)
    if not known.any():
        return 0.0
    beyond = (row < context.low - context.floor) | (row > context.high + context.floor)
    return float((beyond & known).sum() / known.sum())
