"""A new champion's first day: its predecessor scores beside it, and whether that one has to come back.

Enters: at its beginning, what both would have raised in the week before; of every sample, what both say of it; of
every hour, what both notice of injected faults. Leaves: a reason to roll back, or none. What both raise is an incident,
never a reason: an outage under a good champion changes nothing.
"""

import math
from collections import deque
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from detectors.anomaly import AnomalyModel
from detectors.calibration import MERGE_SECONDS, RELEASE_RATIO, WEEK_SECONDS

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

SHADOW_SECONDS = 86_400.0  # a challenger scores beside the champion before it is judged
PROBATION_SECONDS = 86_400.0
_HOUR_NS = 3_600 * 10**9
_EPISODES = 3  # within an hour that the predecessor does not raise
_STRANGE = 0.2  # share of the inputs outside of what was learned from
_STRANGE_TIME = 0.5  # of an hour
_LEAST_SEEN_NS = 900 * 10**9
_BLIND = 0.05  # share of injected strengths that it notices less
_BLIND_PART = 0.25  # of what its predecessor notices, where that is next to nothing itself
_USUAL = RELEASE_RATIO / 2  # of the predecessor's threshold: below, it finds nothing in what the champion raises
_RARE = 1e-3  # how seldom a champion that keeps its budget has as many hours with alarms of its own
_HOUR_SECONDS = 3600.0


class Reason(StrEnum):
    """Why a champion leaves; the value is how a sentence says it."""

    LOUD = "it raised three episodes within an hour that its predecessor did not"
    LOUD_BEFORE = "in the week before, it would have raised more alone than its budget allows"
    STRANGE = "more than a fifth of its inputs lay outside of what it has learned from"
    BROKEN = "its score was no number"
    BLIND = "it noticed less of injected faults than its predecessor"


@dataclass(frozen=True, slots=True)
class Beside:
    """One sample as both see it.

    `raised`: the champion's alarm; `before`: the predecessor's score over its threshold, 0 where it has none.
    `outside` and `outside_before`: share of the inputs out of the range of each; `finite`: the champion's score is a
    number, or there was nothing to score.
    """

    raised: bool
    before: float
    outside: float
    outside_before: float
    finite: bool

    @property
    def seconded(self) -> bool:
        """Whether the predecessor raises it too, or nearly: enough to hold an alarm up."""
        return self.before > RELEASE_RATIO


class Probation:
    """Counts over the last hour. It starts anew with the process: what was before is held against nobody."""

    def __init__(self) -> None:
        self._alone: deque[int] = deque()
        self._crossed_ns: int | None = None
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
        """Count episodes of the champion alone: crossings within 15 min are one.

        One that lasts counts again while the predecessor finds all as usual: else it may be a fault that the better
        of the two sees. What the predecessor raises within 15 min, before or after, is no longer alone.
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
        before, self._crossed_ns = self._crossed_ns, now_ns
        begins = before is None or now_ns - before > merged_ns
        counts_again = sample.before < _USUAL and (not self._alone or now_ns - self._alone[-1] > merged_ns)
        if begins or counts_again:
            self._alone.append(now_ns)

    @staticmethod
    def compare_weeks(
        champion: Float64, before: Float64, interval_seconds: float, episodes_per_week: float
    ) -> Reason | None:
        """Judge what both would have raised before the promotion (T,), each relative to its threshold."""
        hours = hours_alone(champion, before, interval_seconds)
        loud = too_many(hours, len(champion), interval_seconds, episodes_per_week)
        return Reason.LOUD_BEFORE if loud else None

    @staticmethod
    def compare(noticed: float, noticed_before: float) -> Reason | None:
        """Judge what champion and predecessor notice of the same injected faults, NaN = unknown."""
        return Reason.BLIND if noticed < max(noticed_before - _BLIND, _BLIND_PART * noticed_before) else None


def hours_alone(champion: Float64, before: Float64, interval_seconds: float) -> int:
    """Return in how many hours the champion raises what its predecessor does not, not even nearly within 15 min.

    `champion`, `before` (T,): scores over the threshold of each, NaN = none. Hours and not episodes: one that never
    ends has few of these, and a fault that only the better of the two sees has few hours.
    """
    near = np.flatnonzero(before > RELEASE_RATIO)
    merged = int(MERGE_SECONDS / interval_seconds)
    seconded = np.zeros(len(before) + 1, np.int64)
    np.add.at(seconded, np.maximum(near - merged, 0), 1)
    np.add.at(seconded, np.minimum(near + merged + 1, len(before)), -1)
    alone = np.flatnonzero((champion > 1) & (np.cumsum(seconded)[:-1] == 0))
    return len(np.unique(alone // max(1, round(_HOUR_SECONDS / interval_seconds))))


def too_many(hours: int, samples: int, interval_seconds: float, episodes_per_week: float) -> bool:
    """Tell whether `hours` with alarms of its own among `samples` are more than a budget explains.

    The budget is the mean of a Poisson distribution, which is generous: all that a good champion raises would have to
    be unknown to its predecessor. Where the budget is next to nothing, three are needed, as within the hour.
    """
    mean = episodes_per_week * samples * interval_seconds / WEEK_SECONDS
    term = below = math.exp(-mean)
    for count in range(1, hours):
        term *= mean / count
        below += term
    return hours >= _EPISODES and 1 - below < _RARE


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
