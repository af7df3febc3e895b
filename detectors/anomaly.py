"""The anomaly detector: a model of what is usual, and the score of one sample or a month of them.

Enters: signal values by row, NaN = missing. Leaves: a raw score (comparable over time within one
model), its parts, and the evidence. The aggregate serves from the first samples; once a network has
been trained, the mean of both decides. The same rows give the same score one by one and in a batch.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from detectors import learner
from detectors.architectures import ANOMALY
from detectors.features import (
    INPUTS,
    SPAN,
    WINDOW,
    Context,
    aggregate,
    fit_context,
    network_inputs,
    signal_surprise,
    surprise,
    surprise_by_chunk,
)
from detectors.kernels import NUMPY, Backend
from detectors.network import Network

Float32 = NDArray[np.float32]
Hours = NDArray[np.int64]

MINIMUM_ROWS = 4 * SPAN  # two halves that each have rows left once the first 15 have been looked back on
_SCALES = (1, 3, 15)  # samples: smoothing alone loses short spikes, none alone loses faint long faults
SCORE_SCALES = len(_SCALES)
_TAIL = 0.995
_KEPT_SCORES = 20_160  # a week at 30 s


@dataclass(frozen=True, slots=True)
class Scales:
    """Where quiet rows lie: median and high quantile of the aggregate, high quantile of each of its means (3,)."""

    aggregate: tuple[float, float]
    means: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class AnomalyModel:
    """All that a score depends on. `signal_ids` (S,) name the columns; `network` is None before it is trained.

    `quiet_scores`: what rows of the reference score when their half has not been learned from; the
    first threshold comes from them.
    """

    signal_ids: tuple[int, ...]
    context: Context
    network: Network | None
    scales: Scales
    quiet_scores: Float32


@dataclass(frozen=True, slots=True)
class RowScores:
    """Scores of T rows: `raw` decides; `network` (T,) is the network's own in 0..1; `surprise` (T, S) the evidence."""

    raw: Float32
    network: Float32
    surprise: Float32


def fit_model(
    values: Float32,
    hours: Hours,
    signal_ids: Sequence[int],
    floor: NDArray[np.float64],
    *,
    with_network: bool,
    seed: int = 0,
    progress: learner.Progress = lambda _share, _text: None,
    backend: Backend = NUMPY,
) -> AnomalyModel:
    """Learn from `values` (T, S), T >= 60, a NaN row at each gap, `hours` (T,) and scale floors (S,).

    Each half is scored in the context of the other (cross-fitting): scores of rows that were learned
    from are too low to set a threshold or train a network by. `backend` trains the network.
    """
    if len(values) < MINIMUM_ROWS:
        raise ValueError(f"{len(values)} samples are too few to learn from: {MINIMUM_ROWS} are needed")
    progress(0.0, "learning what is usual")
    half = len(values) // 2
    present = _present(values)
    present = np.concatenate([present[SPAN:half], present[half + SPAN :]])
    if not present.any():
        raise ValueError("there is no sample with a value in it to learn from")
    inputs = np.empty((len(present), INPUTS), np.float32)
    cut = max(0, half - SPAN)
    for learn, judge, into in (
        (slice(half, None), slice(None, half), inputs[:cut]),
        (slice(None, half), slice(half, None), inputs[cut:]),
    ):
        context = fit_context(values[learn], hours[learn], floor)
        for place, features in surprise_by_chunk(context, values[judge], hours[judge]):
            into[place] = network_inputs(features)
    network = None
    if with_network:
        rows = np.flatnonzero(present)
        rows = rows[:: max(1, -(-len(rows) // learner.ROWS))]
        network = learner.train(inputs[rows], len(signal_ids), ANOMALY, seed, progress, backend=backend)
    simple = aggregate(inputs, len(signal_ids))
    low, high = np.quantile(simple[present], [0.5, _TAIL])
    scales = Scales((float(low), float(max(high, low + 1e-3))), (1.0,) * len(_SCALES))
    means = _trailing_means(_relative(scales, simple), ~present)
    scales = replace(scales, means=tuple(max(float(np.quantile(mean[present], _TAIL)), 1e-3) for mean in means))
    scores = _fold(scales, means)[present][-_KEPT_SCORES:]
    return AnomalyModel(tuple(signal_ids), fit_context(values, hours, floor), network, scales, scores)


def score_rows(model: AnomalyModel, values: Float32, hours: Hours) -> RowScores:
    """Score the rows 15... of `values` (T, S); a row with nothing in it scores NaN and starts the means anew."""
    inputs, evidence = _inputs(model.context, values, hours)
    absent = ~_present(values[SPAN:])
    raw = _relative(model.scales, aggregate(inputs, len(model.signal_ids)))
    score = _fold(model.scales, _trailing_means(raw, absent))
    score[absent] = np.nan
    return RowScores(score, _network_score(model, inputs), evidence)


class LiveScorer:
    """Scores one sample at a time. It remembers 15 numbers; everything else is in the model and the window."""

    def __init__(self, model: AnomalyModel) -> None:
        self.model = model
        self._raw: deque[float] = deque(maxlen=_SCALES[-1])

    def restart(self) -> None:
        """Forget the last scores: time has a gap here."""
        self._raw.clear()

    def score(self, window: Float32, hour: int) -> RowScores:
        """Score the last row of `window` (16, S); all arrays of the answer have one row.

        A row with nothing in it scores NaN and starts the means anew, as in `score_rows`.
        """
        features = surprise(self.model.context, window, np.full(WINDOW, hour))
        inputs = network_inputs(features)
        if not _present(window[-1:]).all():
            self.restart()
            nothing = np.full(1, np.nan, np.float32)
            return RowScores(nothing, nothing, signal_surprise(features))
        raw = _relative(self.model.scales, aggregate(inputs, len(self.model.signal_ids)))
        self._raw.append(float(raw[0]))
        recent = np.array(self._raw, np.float64)
        means = [np.array([recent[-span:].mean()]) for span in _SCALES]
        score = _fold(self.model.scales, means)
        return RowScores(score, _network_score(self.model, inputs), signal_surprise(features))


def _inputs(context: Context, values: Float32, hours: Hours) -> tuple[Float32, Float32]:
    """Return the network's inputs (T - 15, 256) and the surprise of each signal (T - 15, S)."""
    rows = max(0, len(values) - SPAN)
    inputs, evidence = np.empty((rows, INPUTS), np.float32), np.empty((rows, context.signals), np.float32)
    for place, features in surprise_by_chunk(context, values, hours):
        inputs[place], evidence[place] = network_inputs(features), signal_surprise(features)
    return inputs, evidence


def _present(values: Float32) -> NDArray[np.bool_]:
    return np.asarray(np.isfinite(values).any(axis=1))


def _network_score(model: AnomalyModel, inputs: Float32) -> Float32:
    if model.network is None:
        return np.full(len(inputs), np.nan, np.float32)
    logit = np.clip(model.network.logits(inputs)[:, 0], -30, 30)
    return np.asarray(1 / (1 + np.exp(-logit)), np.float32)


def _relative(scales: Scales, simple: Float32) -> NDArray[np.float64]:
    low, high = scales.aggregate
    return np.asarray(np.maximum((simple.astype(np.float64) - low) / (high - low), 0.0))


def _trailing_means(raw: NDArray[np.float64], absent: NDArray[np.bool_]) -> list[NDArray[np.float64]]:
    """Means over the last 1, 3 and 15 rows, never across an absent row."""
    rows = np.arange(len(raw))
    start = np.maximum.accumulate(np.where(absent, rows + 1, 0))
    total = np.concatenate([[0.0], np.cumsum(raw)])
    out = []
    for span in _SCALES:
        first = np.minimum(np.maximum(start, rows - span + 1), rows)
        out.append((total[rows + 1] - total[first]) / (rows + 1 - first))
    return out


def _fold(scales: Scales, means: Sequence[NDArray[np.float64]]) -> Float32:
    columns = np.stack([column / high for column, high in zip(means, scales.means, strict=True)])
    out: Float32 = columns.max(axis=0).astype(np.float32)
    return out
