"""Scores to decisions: the threshold that keeps the budget of episodes, and the score that is shown.

Enters: raw scores of quiet time, oldest first. Leaves: a threshold in raw units. Labels never enter.
"""

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float32] | NDArray[np.float64]

WEEK_SECONDS = 604_800.0
RELEASE_RATIO = 0.7  # below this share of the threshold an episode is over; between the two it holds
MERGE_SECONDS = 900.0  # crossings less than 15 min apart are one episode
RENOTIFY_SECONDS = 3600.0  # each started hour of an episode counts again: a detector always on is not one alarm
_HEADROOM = 1.1
_SHORT_HISTORY = 30.0  # samples' worth of extra headroom while the maximum seen is of few samples
_TAIL_FACTOR = 1.0  # median + 1 x (q99 - median): what one sample in a hundred reaches is no alarm
_STEP_DOWN, _STEP_UP = 0.8, 1.5
_DAY_SECONDS = 86_400.0
REFERENCE_DAYS = 28
_RISE, _USUAL = 1.2, 0.6
_NONE = np.zeros(0)


def runs(at: NDArray[np.intp], far: NDArray[np.bool_]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the first and the last of each run of the rows `at` (N,), ascending; `far` (N - 1,) parts neighbours."""
    if len(at) == 0:
        return at, at
    breaks = np.flatnonzero(far)
    return at[np.r_[0, breaks + 1]], at[np.r_[breaks, len(at) - 1]]


def count_episodes(crossed: NDArray[np.bool_], interval_seconds: float) -> int:
    """Count episodes in one row a sample: runs merged below 15 min, each started hour counted."""
    at = np.flatnonzero(crossed)
    starts, ends = runs(at, np.diff(at) * interval_seconds > MERGE_SECONDS)
    return int(np.ceil((ends - starts + 1) * interval_seconds / RENOTIFY_SECONDS).sum())


def budget_threshold(scores: Scores, interval_seconds: float, episodes_per_week: float, least: float = 0.0) -> float:
    """Return the threshold that `scores` (T,) allow: max(budget quantile, tail floor, `least`).

    Where the history is too short to allow a single episode, it is 1.1 times the maximum seen, and
    more while that maximum is one of few samples.
    """
    scores = np.asarray(scores, np.float64)
    scores = scores[np.isfinite(scores)]
    if len(scores) == 0:
        return float("inf")
    allowed = int(episodes_per_week * len(scores) * interval_seconds / WEEK_SECONDS)
    median, high, top = np.quantile(scores, [0.5, 0.99, 1.0])
    floor = max(least, float(median + _TAIL_FACTOR * (high - median)))
    if allowed == 0:
        return max(floor, float(top) * (_HEADROOM + _SHORT_HISTORY / len(scores)))
    levels = np.unique(scores)[::-1]
    low, right = 0, len(levels) - 1  # the count grows as the level falls, but for merges: bisection is near enough
    while low < right:
        middle = (low + right + 1) // 2
        if count_episodes(scores > levels[middle], interval_seconds) <= allowed:
            low = middle
        else:
            right = middle - 1
    return max(floor, float(levels[low]))


def next_threshold(
    current: float,
    scores: Scores,
    interval_seconds: float,
    episodes_per_week: float,
    quiet: Scores = _NONE,
    *,
    least: float = 0.0,
) -> float:
    """Re-set a threshold on the last 7 days of `scores` (T,), oldest first, up to 28 days of them.

    One step is bounded, and so is the way: no higher than 1.2 times what six in ten of the last 28 days
    are content with, or a decay that is slower than the steps, or a fault that flaps for days, would become
    normal. `quiet`: scores of the model's reference, which stand for the days before it served. `least`:
    what no threshold falls below.
    """
    history = np.concatenate([np.asarray(part, np.float64) for part in (quiet, scores)])
    history = history[np.isfinite(history)][-int(REFERENCE_DAYS * _DAY_SECONDS / interval_seconds) :]
    recent = history[-int(WEEK_SECONDS / interval_seconds) :]
    wanted = budget_threshold(recent, interval_seconds, episodes_per_week)
    days = np.array_split(history, max(1, round(len(history) * interval_seconds / _DAY_SECONDS)))
    usual = np.quantile([budget_threshold(day, interval_seconds, episodes_per_week) for day in days], _USUAL)
    wanted = min(wanted, _RISE * float(usual))
    if np.isfinite(current):
        wanted = float(np.clip(wanted, _STEP_DOWN * current, _STEP_UP * current))
    return max(least, wanted)


def shown_score(raw: float, threshold: float, at_threshold: float) -> float:
    """Map a raw score to 0..1 so that the threshold shows as `at_threshold`: r / (r + t (1 - s) / s). Display only."""
    if not np.isfinite(threshold):
        return 0.0
    return raw / (raw + threshold * (1.0 - at_threshold) / at_threshold) if raw > 0 else 0.0
