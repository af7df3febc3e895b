"""Why: which signals a score is about, and which inputs a network's answer rests on.

Signals are ranked by plain surprise (on real servers better than integrated gradients); integrated
gradients say why the network fired, permutation importance what it needs at all.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.activations import Floats
from detectors.backpropagation import forward, input_gradient
from detectors.features import FEATURES, TOP_SIGNALS, Context
from detectors.network import Network
from detectors.parameters import layers_of

_STEPS = 32  # of the integral: shares are then right to a percent


def ranking(surprise: NDArray[np.float32], count: int) -> list[tuple[int, float]]:
    """Return (column, share of the score's cube) of the `count` most surprising signals of `surprise` (S,)."""
    cubes = surprise.astype(np.float64) ** 3
    total = float(cubes.sum())
    if total <= 0:
        return []
    order = np.argsort(-cubes, kind="stable")[:count]
    return [(int(column), float(cubes[column] / total)) for column in order if cubes[column] > 0]


def expected_range(context: Context, column: int, hour: int) -> tuple[float, float]:
    """Return what is usual for a signal at this hour of the week, in its unit: the middle 99 % of the reference."""
    low, high = float(context.low[column]), float(context.high[column])
    season = float(context.season[hour, column])
    if np.isfinite(season):
        move = season - float(context.centre[0, column])
        return low + move, high + move
    return low, high


@dataclass(frozen=True, slots=True)
class Attribution:
    """What each input adds to a logit: `parts` (B, I), and how far their sum (B,) misses the logit's change."""

    parts: NDArray[np.float64]
    completeness_error: NDArray[np.float64]


def integrated_gradients(
    network: Network, inputs: Floats, *, baseline: Floats | None = None, output: int = 0, steps: int = 64
) -> Attribution:
    """Attribute the logit number `output` of `inputs` (B, I) to the inputs, starting from `baseline` (I,), or 0.

    Sundararajan et al., "Axiomatic Attribution for Deep Networks", ICML 2017; the integral is taken at the
    middle of `steps` equal pieces, in float64. Raises ValueError for shapes that do not fit.
    """
    sizes = network.architecture.sizes
    if inputs.ndim != 2 or inputs.shape[1] != sizes[0]:  # noqa: PLR2004 - rows and columns
        raise ValueError(f"integrated gradients take inputs (rows, {sizes[0]}), not {inputs.shape}")
    if not 0 <= output < sizes[-1]:
        raise ValueError(f"outputs are 0 to {sizes[-1] - 1}, not {output}")
    start = np.zeros(sizes[0]) if baseline is None else np.asarray(baseline, np.float64)
    if start.shape != (sizes[0],):
        raise ValueError(f"the baseline is ({sizes[0]},), not {start.shape}")
    layers = layers_of(network.architecture, network.parameters.astype(np.float64))
    way = inputs.astype(np.float64) - start  # (B, I)
    along = (np.arange(steps)[:, None] + 0.5) / steps  # (N, 1)
    parts = np.empty_like(way)
    for row, one in enumerate(way):  # all steps of a row at once: an explanation is asked of one row, on the loop
        parts[row] = one * input_gradient(network.architecture, layers, start + along * one, output).mean(axis=0)
    ends = np.concatenate([inputs.astype(np.float64), start[None]])  # (B + 1, I)
    logit = forward(network.architecture, layers, ends)[-1].pre[:, output]
    return Attribution(parts, parts.sum(axis=1) - (logit[:-1] - logit[-1]))


def network_shares(network: Network, inputs: Floats) -> NDArray[np.float64]:
    """Return which share of the anomaly network's answer rests on each of the 31 signals (31,), by rank of surprise.

    `inputs` (1, 256) are those of `features.network_inputs`. Integrated gradients from a host at perfect rest;
    what rests on the pooled means is missing to 1. NaN where nothing raises the answer.
    """
    parts = integrated_gradients(network, inputs, steps=_STEPS).parts[0]
    whole = float(parts.sum())
    own = parts[: TOP_SIGNALS * len(FEATURES)].reshape(TOP_SIGNALS, len(FEATURES)).sum(axis=1)
    return np.asarray(own / whole if whole > 0 else np.full(TOP_SIGNALS, np.nan))


def permutation_importance(
    measure: Callable[[Floats], float],
    inputs: Floats,
    *,
    groups: Sequence[Sequence[int]] | None = None,
    repeats: int = 5,
    seed: int = 0,
) -> NDArray[np.float64]:
    """Return by how much a loss grows when a group of columns is shuffled, mean of `repeats` (G,).

    `measure` is the loss of `inputs` (B, I), its targets known to it; `groups` are columns that are
    shuffled together, one each by default. Breiman, "Random Forests", 2001; Fisher et al., JMLR 2019.
    """
    columns = [[column] for column in range(inputs.shape[1])] if groups is None else [list(group) for group in groups]
    rng = np.random.default_rng(seed)
    usual = measure(inputs)
    out = np.zeros(len(columns))
    for place, group in enumerate(columns):
        for _ in range(repeats):
            mixed = inputs.copy()
            mixed[:, group] = inputs[rng.permutation(len(inputs))][:, group]
            out[place] += (measure(mixed) - usual) / repeats
    return out
