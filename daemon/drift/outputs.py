"""Whether what the anomaly network answers still follows its own first days: inputs may drift and mean nothing to it.

Enters: the raw scores that a model gave, out of history.db. Leaves: a verdict, or none where it has not served for four
days. Capacity and failure answer forecasts and probabilities that are judged by what came of them, not here.
"""

import numpy as np

from daemon.drift.days import DAY_MS, hours_of
from daemon.history import FLAG_DOUBTFUL, FLAGS_LEFT_OUT, History
from detectors.drift import HOURS, compare, make_reference
from detectors.kernels import Backend

_LEAST_DAYS, _MOST_DAYS = 3, 7


def scores_drifted(history: History, backend: Backend, model: int, a_day: int, now_ms: int) -> bool | None:
    """Return whether the raw scores of `model` of the last day drifted from its first days, None = not known. Blocks.

    `a_day`: slots of a day.
    """
    found = history.read(
        "SELECT time_ms, raw_score, flags FROM samples WHERE model = ? AND raw_score IS NOT NULL AND time_ms <= ?"
        " AND seq > ? ORDER BY seq",
        model,
        now_ms,
        history.lineage_start(),
    )
    times = np.array([row[0] for row in found], np.int64)
    if not len(times):
        return None
    days = int(min((now_ms - DAY_MS - times[0]) // DAY_MS, _MOST_DAYS))
    if days < _LEAST_DAYS:
        return None
    scores = np.array([row[1] for row in found], np.float32)
    usual = (np.array([row[2] for row in found], np.int64) & (FLAGS_LEFT_OUT | FLAG_DOUBTFUL)) == 0
    first_ms = int(times[0])
    known = usual & (times >= first_ms) & (times < first_ms + days * DAY_MS)
    grid = np.full((days * a_day, 1), np.nan, np.float32)
    grid[((times[known] - first_ms) * a_day // DAY_MS)[::-1], 0] = scores[known][::-1]
    hours = hours_of(first_ms + np.arange(len(grid)) * DAY_MS // a_day)
    late = times > now_ms - DAY_MS
    late[late] = np.diff(times[late] * a_day // DAY_MS, prepend=-1) != 0
    verdict = compare(
        backend, make_reference(grid, hours, a_day), scores[late][:, None], hours_of(times[late]), a_day / HOURS
    )
    return bool(verdict.drifted[0]) if verdict.judged[0] else None
