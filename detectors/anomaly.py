"""The anomaly detector: a model of what is usual, and the score of one sample or a month of them.

Enters: signal values by row, NaN = missing. Leaves: a raw score (comparable over time within one
model), its parts, and the evidence. The aggregate decides from the first samples; a network, once
trained, runs beside it. The same rows give the same score one by one and in a batch.
"""

from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from detectors.features import (
    FEATURES,
    INPUTS,
    SPAN,
    TAIL,
    WINDOW,
    Context,
    aggregate,
    fit_context,
    network_inputs,
    noise,
    signal_surprise,
    surprise,
    surprise_by_chunk,
)
from detectors.kernels import NUMPY, Activation, Backend
from detectors.network import Network
from detectors.parameters import Architecture

if TYPE_CHECKING:  # what learns networks stays out of a process that only scores
    from detectors.continual import Learn, Learned
    from detectors.learner import Progress

Float32 = NDArray[np.float32]
Hours = NDArray[np.int64]

# 31 signals x 8 surprise features in order of surprise, plus 8 pooled means, to one logit
ARCHITECTURE = Architecture((INPUTS, 128, 64, 32, 1), Activation.RELU, Activation.SIGMOID, non_negative=True)
MINIMUM_ROWS = 4 * SPAN  # two halves that each have rows left once the first 15 have been looked back on
_SCALES = (1, 3, 15)  # samples: smoothing alone loses short spikes, none alone loses faint long faults
SCORE_SCALES = len(_SCALES)
SCORE_SPAN = _SCALES[-1]  # rows that a score looks back on
_TAIL = 0.995
_KEPT_SCORES = 20_160  # a week at 30 s
# The least that quiet time spreads: real servers have 0.5 to 2.5 and 0.5 to 1.1. On a host at rest, and after an hour
# of history, it can be next to nothing, and a whisper would be many times the threshold.
_LEAST_SPREAD = 0.45
_LEAST_MEAN = 0.5
_JUDGED_CELLS = 1_000_000  # values that noise is learned from at most
_LATELY = 360  # samples: what has surprised for longer is what a signal is used to
# How many of the parts decide: 1 is the aggregate, 2 its mean with the network. On the development machines the sum
# leads by 0.005 VUS-PR, and the interval of that holds 0 (docs/anomaly.md).
_DECIDING = 1
NETWORK_DECIDES = _DECIDING > 1


@dataclass(frozen=True, slots=True)
class Scale:
    """Where quiet rows of one part of the score lie: median, high quantile, and that of each of its means (3,)."""

    median: float
    high: float
    means: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class AnomalyModel:
    """All that a score depends on. `signal_ids` (S,) name the columns; `network` is None before it is trained.

    `scales`: of the aggregate, and of the network's logit once there is one. `quiet_scores`: what rows of
    the reference score when their half has not been learned from; the first threshold comes from them.
    `tails` (S,): the surprise that each signal reaches in quiet time, once in a hundred rows. `learned`: how the
    network came about and what is kept for the next one; None without a network, and in a model read from its file.
    """

    signal_ids: tuple[int, ...]
    context: Context
    network: Network | None
    scales: tuple[Scale, ...]
    quiet_scores: Float32
    tails: Float32
    learned: "Learned | None" = None

    @property
    def least_threshold(self) -> float:
        """The score that no threshold may be below: that of the least spread.

        A host at perfect rest has no score above 0, and a threshold of 0 would be crossed by a whisper.
        """
        return max(_LEAST_SPREAD / (scale.high - scale.median) for scale in self.scales[:_DECIDING])


@dataclass(frozen=True, slots=True)
class RowScores:
    """Scores of T rows: `raw` decides; `network` (T,) is the network's own in 0..1; `surprise` (T, S) the evidence.

    `attribution` (T, S): the surprise relative to what the signal is used to, in quiet time and lately: who it is.
    `parts` (T, P): the aggregate, and the network's logit, each over its scales and relative to quiet time;
    `raw` is the mean of those that decide. `single` (T, P): the same of the row alone.
    """

    raw: Float32
    network: Float32
    surprise: Float32
    attribution: Float32
    parts: Float32
    single: Float32


def fit_model(
    values: Float32,
    hours: Hours,
    signal_ids: Sequence[int],
    floor: NDArray[np.float64],
    *,
    with_network: bool,
    seed: int = 0,
    progress: "Progress" = lambda _share, _text: None,
    backend: Backend = NUMPY,
    without: Collection[str] = (),
    learn: "Learn | None" = None,
    stamps: Hours | None = None,
) -> AnomalyModel:
    """Learn from `values` (T, S), T >= 60, a NaN row at each gap, `hours` (T,) and scale floors (S,).

    Each half is scored in the context of the other (cross-fitting): scores of rows that were learned
    from are too low to set a threshold or train a network by. `backend` trains the network, and
    `learn` says how. `stamps` (T,), rising, number the rows: some may have been learned from before.
    """
    if len(values) < MINIMUM_ROWS:
        raise ValueError(f"{len(values)} samples are too few to learn from: {MINIMUM_ROWS} are needed")
    progress(0.0, "learning what is usual")
    half = len(values) // 2
    present = _present(values)
    present = np.concatenate([present[SPAN:half], present[half + SPAN :]])
    if not present.any():
        raise ValueError("there is no sample with a value in it to learn from")
    first, second = slice(None, half), slice(half, None)
    halves = [
        (fit_context(values[learn], hours[learn], floor, without), values[judge], hours[judge])
        for learn, judge in ((second, first), (first, second))
    ]
    context = fit_context(values, hours, floor, without)
    judged = _judged(halves)
    context = replace(context, noise=noise(context, judged, hours))
    damped = (judged / context.noise.T).astype(np.float32)
    tails = np.quantile(signal_surprise(damped), TAIL, axis=0).astype(np.float32)
    inputs = _quiet_inputs(halves, context.noise)
    learned = None
    if with_network:
        from detectors import continual, learner  # noqa: PLC0415 - half a megabyte, for the child

        learn = learn or continual.learn
        rows = np.flatnonzero(present)
        rows = rows[:: max(1, -(-len(rows) // learner.ROWS))]
        when = np.arange(len(values)) if stamps is None else stamps
        when = np.concatenate([when[SPAN:half], when[half + SPAN :]])[rows]
        learned = learn(inputs[rows], when, context.moving, seed=seed, progress=progress, backend=backend)
    network = None if learned is None else learned.network
    raw = _raw(inputs, network)
    scales = tuple(_scale(column, present) for column in raw.T)
    scores = _decision(_parts(scales, _relative(scales, raw), ~present))
    return AnomalyModel(tuple(signal_ids), context, network, scales, scores[present][-_KEPT_SCORES:], tails, learned)


def score_rows(model: AnomalyModel, values: Float32, hours: Hours) -> RowScores:
    """Score the rows 15... of `values` (T, S); a row with nothing in it scores NaN and starts the means anew."""
    inputs, evidence = _inputs(model.context, values, hours)
    absent = ~_present(values[SPAN:])
    raw = _raw(inputs, model.network)
    relative = _relative(model.scales, raw)
    parts = _parts(model.scales, relative, absent)
    parts[absent] = np.nan
    used_to = np.zeros(evidence.shape)
    for row in range(1, len(evidence)):
        used_to[row] = used_to[row - 1] if absent[row - 1] else _used_to(used_to[row - 1], evidence[row - 1])
    attribution = _attribution(model, evidence, used_to)
    return RowScores(_decision(parts), _ratio(raw), evidence, attribution, parts, relative.astype(np.float32))


def decision_scores(model: AnomalyModel, values: Float32, hours: Hours) -> Float32:
    """Return what decides of the rows 15... of `values` (T, S), `RowScores.raw`, and nothing else: a quarter faster."""
    if NETWORK_DECIDES:
        return score_rows(model, values, hours).raw
    inputs, _ = _inputs(model.context, values, hours)
    absent = ~_present(values[SPAN:])
    parts = _parts(model.scales[:_DECIDING], _relative(model.scales[:_DECIDING], _raw(inputs, None)), absent)
    parts[absent] = np.nan
    return _decision(parts)


class LiveScorer:
    """Scores one sample at a time. It remembers 15 pairs of numbers, and how much each signal surprised lately.

    The rest is in the model and the window. What a signal is used to starts anew with the scorer: it
    ranks signals, and moves no score. `features` (1, S, 8) is the surprise of the row that was scored
    last, for what explains it.
    """

    def __init__(self, model: AnomalyModel) -> None:
        self.model = model
        self.features: Float32 = np.zeros((1, model.context.signals, len(FEATURES)), np.float32)
        self._relative: deque[NDArray[np.float64]] = deque(maxlen=_SCALES[-1])
        self._used_to = np.zeros(model.context.signals)

    def restart(self) -> None:
        """Forget the last scores: time has a gap here."""
        self._relative.clear()

    def warm(self, values: Float32, hours: Hours) -> None:
        """Take in the last rows (16 + T, S), the last T of them scored, at `hours` (T,): as if it had been on duty."""
        for back, hour in enumerate(hours.tolist(), 1):
            window = values[back : back + WINDOW]
            if np.isfinite(window[-1]).any():
                self.score(window, hour)
            else:
                self.restart()

    def score(self, window: Float32, hour: int) -> RowScores:
        """Score the last row of `window` (16, S); all arrays of the answer have one row.

        A row with nothing in it scores NaN and starts the means anew, as in `score_rows`.
        """
        context = self.model.context
        self.features = features = surprise(context, window, np.full(WINDOW, hour))
        evidence = signal_surprise(features)
        attribution = _attribution(self.model, evidence, self._used_to)
        if not _present(window[-1:]).all():
            self.restart()
            nothing = np.full((1, len(self.model.scales)), np.nan, np.float32)
            return RowScores(nothing[:, 0], nothing[:, 0], evidence, attribution, nothing, nothing)
        self._used_to = _used_to(self._used_to, evidence[0])
        raw = _raw(network_inputs(features, context.moving), self.model.network)
        relative = _relative(self.model.scales, raw)
        self._relative.append(relative[0])
        recent = np.array(self._relative)
        means = np.array([np.add.reduce(recent[-span:]) / min(span, len(recent)) for span in _SCALES])
        parts = _fold(self.model.scales, means[:, None])
        return RowScores(_decision(parts), _ratio(raw), evidence, attribution, parts, relative.astype(np.float32))


def _judged(halves: Sequence[tuple[Context, Float32, Hours]]) -> Float32:
    """Return surprise (T, S, 8) of rows with something in them, each in a context that it was not learned from."""
    keep = 1 + sum(values.size for _, values, _ in halves) // _JUDGED_CELLS
    judged = []
    for context, values, hours in halves:
        present = _present(values[SPAN:])
        judged += [part[present[place]][::keep] for place, part in surprise_by_chunk(context, values, hours)]
    return np.concatenate(judged)


def _quiet_inputs(halves: Sequence[tuple[Context, Float32, Hours]], noise_of: NDArray[np.float64]) -> Float32:
    """Return the network's inputs (T, 256) of the same rows, those with nothing in them too."""
    inputs = []
    for context, values, hours in halves:
        damped = replace(context, noise=noise_of)
        parts = surprise_by_chunk(damped, values, hours)
        inputs += [network_inputs(part, damped.moving) for _, part in parts]
    return np.concatenate(inputs)


def _used_to(before: NDArray[np.float64], surprise: Float32) -> NDArray[np.float64]:
    return np.asarray(before + (surprise - before) / _LATELY)


def _attribution(model: AnomalyModel, evidence: Float32, used_to: NDArray[np.float64]) -> Float32:
    """Return `evidence` (T, S) over what each signal reaches in quiet time and what it has done lately (T, S)."""
    return np.asarray(evidence / (1 + model.tails + used_to), np.float32)


def _inputs(context: Context, values: Float32, hours: Hours) -> tuple[Float32, Float32]:
    """Return the network's inputs (T - 15, 256) and the surprise of each signal (T - 15, S)."""
    rows = max(0, len(values) - SPAN)
    inputs, evidence = np.empty((rows, INPUTS), np.float32), np.empty((rows, context.signals), np.float32)
    for place, features in surprise_by_chunk(context, values, hours):
        inputs[place], evidence[place] = network_inputs(features, context.moving), signal_surprise(features)
    return inputs, evidence


def _present(values: Float32) -> NDArray[np.bool_]:
    return np.asarray(np.isfinite(values).any(axis=1))


def _raw(inputs: Float32, network: Network | None) -> NDArray[np.float64]:
    """Return the parts as they come (T, P): the aggregate, and the network's logit, which does not saturate."""
    raw = np.empty((len(inputs), 1 if network is None else 2))
    raw[:, 0] = aggregate(inputs)
    if network is not None:
        raw[:, 1] = np.minimum(np.maximum(network.logits(inputs)[:, 0], -30), 30)
    return raw


def _ratio(raw: NDArray[np.float64]) -> Float32:
    """Return the network's own score in 0..1, for people."""
    logit = raw[:, 1] if raw.shape[1] > 1 else np.full(len(raw), np.nan)
    return np.asarray(1 / (1 + np.exp(-logit)), np.float32)


def _scale(raw: NDArray[np.float64], present: NDArray[np.bool_]) -> Scale:
    """Learn where `raw` (T,) lies in quiet time."""
    median, high = (float(value) for value in np.quantile(raw[present], [0.5, _TAIL]))
    bare = Scale(median, max(high, median + _LEAST_SPREAD), (1.0,) * SCORE_SCALES)
    means = _trailing_means(_relative((bare,), raw[:, None]), ~present)[:, present, 0]
    highs = np.maximum(np.quantile(means, _TAIL, axis=1), _LEAST_MEAN)
    return Scale(bare.median, bare.high, tuple(highs.tolist()))


def _relative(scales: Sequence[Scale], raw: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return `raw` (T, P) with quiet time at 0 to 1."""
    medians, highs = np.array([[scale.median, scale.high] for scale in scales]).T
    return np.asarray(np.maximum((raw - medians) / (highs - medians), 0.0))


def _parts(scales: Sequence[Scale], relative: NDArray[np.float64], absent: NDArray[np.bool_]) -> Float32:
    return _fold(scales, _trailing_means(relative, absent))


def _trailing_means(relative: NDArray[np.float64], absent: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Means (3, T, P) over the last 1, 3 and 15 rows of `relative` (T, P), never across an absent row."""
    rows = np.arange(len(relative))
    start = np.maximum.accumulate(np.where(absent, rows + 1, 0))
    total = np.concatenate([np.zeros((1, relative.shape[1])), np.cumsum(relative, axis=0)])
    out = []
    for span in _SCALES:
        first = np.minimum(np.maximum(start, rows - span + 1), rows)
        out.append((total[rows + 1] - total[first]) / (rows + 1 - first)[:, None])
    return np.stack(out)


def _decision(parts: Float32) -> Float32:
    return np.asarray(parts[:, :_DECIDING].mean(axis=1), np.float32)


def _fold(scales: Sequence[Scale], means: NDArray[np.float64]) -> Float32:
    """Return the largest of the means (3, T, P), each relative to its own quiet time (T, P)."""
    highs = np.array([scale.means for scale in scales]).T  # (3, P)
    return np.asarray((means / highs[:, None]).max(axis=0), np.float32)
