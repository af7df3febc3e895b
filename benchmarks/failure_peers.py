"""Risk of a cluster's run from host metrics alone: how far each node is from its peers and from its own past.

Enters: one file of a run: `x` + `base` (T, nodes, metrics), one row a minute. Leaves: risks (T, 2). Nothing is fitted
on the runs; what a surprise means is a fixed rule, stated below. A host alone has no peers: `peers=False` shows
what is left of it then.

Of every metric the distance to the median of the nodes at that minute is taken, and its surprise against the node's
own past (median and spread, never below half of what is usual among the nodes). A node's score is the power mean
(p = 3, as in `detectors.anomaly`) of log surprise, less half of the median node's score: what all nodes do at once is
load, not a fault of one. The median over nine minutes holds, so that a spike is none. The risk is a logistic of the
most surprising node's score, one half where it reaches `_EVEN`, or `_EVEN_ALONE` without peers. Both were set by
the five development runs: from 0.46 to 0.58 all five are warned, of a quiet minute in 11 down to one in 22.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_WARM_MINUTES = 10
_HELD_MINUTES = 9
_USUAL, _SIGMAS = 0.9, 1.645  # nine tenths of a normal's deviations lie within
_POOLED = 0.5
_FLOOR = 0.01  # of a metric's usual level
_MOST = 10.0  # a surprise above it says nothing more
_POWER = 3
_COMMON = 0.5
_EVEN, _EVEN_ALONE = 0.5, 0.78
_STEEP = 12.0


def cluster_risk(file: Path, *, peers: bool = True) -> Floats:
    """Return the risks (T, 2) of the run in `file`."""
    scores = run_scores(metrics(file), peers=peers)
    near = 1 / (1 + np.exp(-_STEEP * (scores - (_EVEN if peers else _EVEN_ALONE))))
    return np.column_stack([near, near])


def metrics(file: Path) -> Floats:
    """Return the values (T, nodes, metrics) of a run; what only counts up as its growth a minute."""
    with np.load(file) as run:
        values = run["x"].astype(np.float64) + run["base"].astype(np.float64)
        counts = np.array([str(name).startswith("system.network.") for name in run["metrics"]])
    growth = np.diff(values, axis=0, prepend=values[:1])
    values[:, :, counts] = np.maximum(growth[:, :, counts], 0)
    return np.asarray(values)


def run_scores(values: Floats, *, peers: bool = True) -> Floats:
    """Return the score (T,) of the most surprising node of `values` (T, nodes, metrics), 0 while it is warming up."""
    away = values - np.median(values, axis=1, keepdims=True) if peers else values
    nodes = np.zeros(values.shape[:2])
    for minute in range(_WARM_MINUTES, len(values)):
        past = away[:minute]
        centre = np.median(past, axis=0)
        off = np.abs(past - centre)
        spread = np.maximum(1.4826 * np.median(off, axis=0), np.quantile(off, _USUAL, axis=0) / _SIGMAS)
        spread = np.maximum(spread, _POOLED * np.median(spread, axis=0))
        level = np.median(np.abs(values[:minute]), axis=(0, 1))
        surprise = np.abs(away[minute] - centre) / np.maximum(spread, _FLOOR * level + 1e-9)
        nodes[minute] = (np.log1p(np.minimum(surprise, _MOST)) ** _POWER).mean(axis=1) ** (1 / _POWER)
    held = np.stack([np.median(nodes[max(0, end - _HELD_MINUTES) : end], axis=0) for end in range(1, len(nodes) + 1)])
    if peers:
        held = held - _COMMON * np.median(held, axis=1, keepdims=True)
    return np.asarray(held.max(axis=1))
