"""How well what was learned here would have held in time it was not learned from: walk-forward and k-fold.

Enters: the rows that a training learns from. Leaves: figures for the manifest. The history is divided into four blocks
of time, of each at most the last 2,880 rows. *Walk-forward*: learn from all blocks before one, judge that one; what the
host would have had, had it been trained then. *K-fold*: learn from the three others, earlier or later. Each time a
model without a network is learned, for that decides; it serves nobody and is thrown away. Judged are the share of
injected faults that it notices and the episodes that it raises a week, at the threshold that it would begin with.
Neighbours in time resemble each other, so that single rows held out would flatter: blocks are held out whole.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from detectors import fault_suite
from detectors.anomaly import MINIMUM_ROWS, AnomalyModel, decision_scores, fit_model
from detectors.calibration import WEEK_SECONDS, budget_threshold, count_episodes
from detectors.learner import Progress

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Hours = NDArray[np.int64]
Block = tuple[Float32, Hours]

FOLDS = 4
ROWS = 2880  # of one block: a day at 30 s
LEAST = 240  # rows of a block that tell something
_FAULTS = 20  # put into each block


def validate(
    values: Float32,
    hours: Hours,
    floor: Float64,
    *,
    interval_seconds: float,
    episodes_per_week: float,
    seed: int = 0,
    progress: Progress = lambda _share, _text: None,
) -> Mapping[str, float]:
    """Return figures by name for `values` (T, S), a NaN row at each gap, `hours` (T,) and scale floors (S,).

    "noticed" is a mean over blocks, "noticed_least" the worst block's. Of too short a history there are none.
    """
    ends = np.linspace(0, len(values), FOLDS + 1).astype(int)
    blocks = [
        (values[max(first, end - ROWS) : end], hours[max(first, end - ROWS) : end])
        for first, end in pairwise(ends.tolist())
    ]
    if min(len(block) for block, _ in blocks) < max(LEAST, MINIMUM_ROWS):
        progress(1.0, "too short a history to be validated")
        return {}
    ways: Mapping[str, Sequence[tuple[Sequence[int], int]]] = {
        "walk_forward": [(range(place), place) for place in range(1, FOLDS)],
        "k_fold": [([other for other in range(FOLDS) if other != place], place) for place in range(FOLDS)],
    }
    judged: dict[tuple[tuple[int, ...], int], tuple[float, float]] = {}
    for learned, place in dict.fromkeys((tuple(learned), place) for way in ways.values() for learned, place in way):
        progress(len(judged) / (2 * FOLDS - 2), f"validation: block {place + 1} by {len(learned)} others")
        try:
            model = fit_model(
                *_joined([blocks[one] for one in learned]), range(values.shape[1]), floor, with_network=False
            )
        except ValueError:  # nothing was measured in those blocks
            continue
        threshold = budget_threshold(model.quiet_scores, interval_seconds, episodes_per_week, model.least_threshold)
        judged[learned, place] = _judge(model, threshold, blocks[place], floor, interval_seconds, seed=seed + place)
    progress(1.0, "validated")
    figures: dict[str, float] = {}
    for name, way in ways.items():
        found = np.array([judged[tuple(learned), place] for learned, place in way if (tuple(learned), place) in judged])
        if len(found):
            figures |= _figures(name, found)
    return {name: value for name, value in figures.items() if np.isfinite(value)}


def _judge(
    model: AnomalyModel, threshold: float, block: Block, floor: Float64, interval_seconds: float, *, seed: int
) -> tuple[float, float]:
    """Return the share of injected faults that `model` notices in `block`, NaN = unknown, and its episodes a week."""
    values, hours = block
    usable = np.asarray(np.isfinite(values).any(axis=1))
    suite = fault_suite.build(values, hours, floor, usable, seed=seed, faults=_FAULTS)
    found = fault_suite.noticed(suite, lambda rows, at: decision_scores(model, rows, at), threshold)
    episodes = count_episodes(decision_scores(model, values, hours) > threshold, interval_seconds)
    weeks = max(int(usable.sum()), 1) * interval_seconds / WEEK_SECONDS
    return float(found.mean()) if len(found) else float("nan"), episodes / weeks


def _figures(name: str, found: Float64) -> dict[str, float]:
    """Return the figures of one way from its blocks (K, 2)."""
    known = found[np.isfinite(found[:, 0]), 0]
    out = {f"{name}_episodes_per_week": float(found[:, 1].mean())}
    if len(known):
        out |= {f"{name}_noticed": float(known.mean()), f"{name}_noticed_least": float(known.min())}
    return out


def _joined(blocks: list[Block]) -> Block:
    """Return blocks as one, a row of nothing between each."""
    gap = np.full((1, blocks[0][0].shape[1]), np.nan, np.float32)
    values = np.concatenate([part for one, _ in blocks for part in (one, gap)][:-1])
    return values, np.concatenate([part for _, one in blocks for part in (one, one[-1:])][:-1])
