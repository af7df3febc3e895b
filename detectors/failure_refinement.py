"""The failure network refined by what a host itself has gone through.

Enters: a forecaster, inputs (N, 512) of moments of this host, oldest first, and whether it failed after each (N, 2).
Leaves: a refined forecaster, or the same one and the reason. A host fails seldom: what it teaches is mixed with
replayed simulated hosts, of which the network is to say what it said before, so that it is added to what was known, and
little is forgotten (Robins, "Catastrophic forgetting, rehearsal and pseudorehearsal", 1995; Li and Hoiem, "Learning
without forgetting", ECCV 2016). Runs in the child.

The host's own moments are learned from without the age and the number of past failures: in the few weeks of a log both
only grow with time, and what would be learned is that time goes by.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product
from math import nan

import numpy as np
from numpy.typing import NDArray

from detectors.consolidation import Elastic, consolidated, importance
from detectors.factor_features import FEATURES, INPUTS
from detectors.factors import COUNT, PLACE
from detectors.failing_hosts import Moments, simulated
from detectors.failure import CHECKABLE, FailureForecaster
from detectors.failure_learning import SETTINGS, calibrations, learned, quality
from detectors.network import Float32, Network
from detectors.optimizers import AdamW
from detectors.trainer import DivergenceError, Epoch, Settings

Floats = NDArray[np.float64]

# Simulated hosts to learn with, to calibrate by, to judge by: of 240 hosts AUC-PR is off by more than it may lose.
REPLAYED = (240, 240, 720)
_FIRST_SEED = 900
_SLOWER = (1.0, 0.5, 0.25)  # the largest steps that forget nothing
_SHARE = 0.25  # of all weight that the host's own moments have
_EARLIER = 1 / 6  # of that: those kept from before, where there are any
STRENGTH = 0.01  # of the elastic weights: light, as for the anomaly network (docs/consolidation.md)
_IMPORTANT_ROWS = 1000  # by which importance is told
_TRAINED = 0.7  # of the host's moments; by the newest it is judged
_LOSES = 0.03  # of AUC-PR on simulated hosts: what refinement may cost
_WORSE = 0.02  # of ECE
_GAIN = 0.02  # of the error at the host's newest moments: what refinement is to bring at least
_HIDDEN = [PLACE["failure_age"], PLACE["failures"]]
REFINING: Settings = replace(SETTINGS, optimizer=AdamW(rate=2e-4, weight_decay=0.01), epochs=24)


@dataclass(frozen=True, slots=True)
class Refinement:
    """The forecaster to serve from now on; `refused` says why it is the one from before, "" = it is refined.

    `before` and `after`: the mean squared error at the host's newest moments, of both horizons; NaN = not tried.
    """

    forecaster: FailureForecaster
    refused: str = ""
    before: float = nan
    after: float = nan


@dataclass(frozen=True, slots=True, eq=False)
class Lived:
    """Moments (M, 512) of this host, what came of them (M, 2), and their weights (M,)."""

    inputs: Float32
    targets: Float32
    weights: Float32


_NOTHING = Lived(np.zeros((0, INPUTS), np.float32), np.zeros((0, 2), np.float32), np.zeros(0, np.float32))


def refine(
    forecaster: FailureForecaster,
    inputs: Float32,
    targets: Float32,
    events: int,
    settings: Settings = REFINING,
    *,
    weights: Float32 | None = None,
    anchor: FailureForecaster | None = None,
    replayed: tuple[int, int, int] = REPLAYED,
    earlier: Lived | None = None,
    progress: Callable[[Epoch], None] | None = None,
) -> Refinement:
    """Refine `forecaster` by moments `inputs` (N, 512), oldest first, of a host that recorded `events` failures.

    `targets` (N, 2): whether it failed within an hour, and within a day; `weights` (N,): how much time each moment
    stands for. `anchor`, else the forecaster itself, says what is to be known of simulated hosts: with the shipped one,
    what a host forgets does not add up from one refinement to the next. `earlier`: moments of this host from before
    these, which are learned from beside them, or not where that is refused. Deterministic by the seed of `settings`.
    """
    anchor = anchor or forecaster
    if forecaster.network is None or anchor.network is None:
        return Refinement(forecaster, "there is no network to refine")
    cut = round(_TRAINED * len(inputs))
    if events < CHECKABLE or not targets[:cut].any() or not targets[cut:].any():
        return Refinement(forecaster, f"{events} events of this host are not enough: {CHECKABLE} are needed, apart")
    seeds = (_FIRST_SEED + settings.seed + 10 * place for place in range(3))
    known, unseen, judged = (simulated(seed, count) for seed, count in zip(seeds, replayed, strict=True))
    counted = np.ones(len(inputs), np.float32) if weights is None else weights
    own = Lived(inputs[:cut], targets[:cut], counted[:cut])
    said = anchor.network.predict(known.inputs)
    lessons = [_lesson(known, said, own, lived) for lived in (earlier, _NOTHING) if lived is not None]
    elastic = _hold(forecaster.network, known, earlier or _NOTHING)
    newest = inputs[cut:], targets[cut:], counted[cut:]
    before, after, refused = _errors(forecaster, *newest), np.full(2, nan), ""
    for (rows, wanted, by_row), slower in product(lessons, _SLOWER):
        gentle = replace(settings, optimizer=replace(settings.optimizer, rate=slower * settings.optimizer.rate))
        try:
            # not varied: the signs of one host are its own
            network = learned(
                rows, wanted, gentle, weights=by_row, base=forecaster.network, backend=forecaster.network.backend,
                vary=False, elastic=elastic, progress=progress,
            )  # fmt: skip
        except DivergenceError as error:
            refused = str(error)
            continue
        beta = calibrations(network.predict(unseen.inputs).astype(np.float64), unseen.targets, unseen.weights)
        refined = FailureForecaster(network, beta, forecaster.base, taught=events)
        after = _errors(refined, *newest)
        refused = _worse(anchor, refined, judged) or _no_better(before, after)
        if not refused:
            return Refinement(refined, "", float(before.mean()), float(after.mean()))
    return Refinement(forecaster, refused, float(before.mean()), float(after.mean()))


def _lesson(known: Moments, said: Float32, own: Lived, before_these: Lived) -> tuple[Float32, Float32, Float32]:
    """Return inputs (N, 512), targets (N, 2), weights (N,): simulated hosts with what was `said` of them, and own."""
    whole = _SHARE / (1 - _SHARE) * known.weights.sum()
    share = _EARLIER if len(before_these.inputs) else 0.0
    weights = [
        part * whole / max(float(one.weights.sum()), 1e-9) * one.weights
        for one, part in ((own, 1 - share), (before_these, share))
    ]
    of_host = _without_past_failures(np.concatenate([own.inputs, before_these.inputs]))
    return (
        np.concatenate([known.inputs, of_host]),
        np.concatenate([said, own.targets, before_these.targets]),
        np.concatenate([known.weights, *weights]).astype(np.float32),
    )


def _hold(network: Network, known: Moments, before_these: Lived) -> Elastic:
    """Return elastic weights that hold `network` by simulated hosts and by what this one taught it before.

    All that it learned from before this host's newest moments is at hand, so importance is told anew each time.
    """
    inputs = np.concatenate([known.inputs, _without_past_failures(before_these.inputs)])
    targets = np.concatenate([known.targets, before_these.targets])
    rows = np.random.default_rng(_FIRST_SEED).permutation(len(inputs))[:_IMPORTANT_ROWS]
    found = importance(network.architecture, network.parameters, SETTINGS.loss, inputs[rows], targets[rows])
    return consolidated(None, network.parameters, found, strength=STRENGTH, decay=1.0)


def _without_past_failures(inputs: Float32) -> Float32:
    """Return inputs (N, 512) in which the host has no log of failures."""
    blocks = inputs.reshape(len(inputs), COUNT, FEATURES).copy()
    blocks[:, _HIDDEN] = 0
    return blocks.reshape(inputs.shape)


def _worse(before: FailureForecaster, after: FailureForecaster, judged: Moments) -> str:
    """Say what the refined one has forgotten of simulated hosts, "" = nothing that counts."""
    for place, name in enumerate(("1 h", "24 h")):
        came, counted = judged.targets[:, place].astype(np.float64), judged.weights.astype(np.float64)
        old, new = (quality(one.probabilities(judged.inputs)[:, place], came, counted) for one in (before, after))
        if new["auc_pr"] < old["auc_pr"] - _LOSES or new["ece"] > old["ece"] + _WORSE:
            return (
                f"it forgets what is known of failures within {name}: AUC-PR {old['auc_pr']:.3f} to "
                f"{new['auc_pr']:.3f}, calibration error {old['ece']:.3f} to {new['ece']:.3f}"
            )
    return ""


def _errors(forecaster: FailureForecaster, inputs: Float32, targets: Float32, counted: Float32) -> Floats:
    """Return the mean squared error (2,) of what is told of moments, for each horizon (Brier, 1950)."""
    squares = (forecaster.probabilities(inputs) - targets) ** 2
    return np.asarray(np.average(squares, axis=0, weights=counted))


def _no_better(before: Floats, after: Floats) -> str:
    """Say that the host's newest moments are told no better, "" = they are: both together, and neither worse."""
    if (after <= before).all() and after.sum() < (1 - _GAIN) * before.sum():
        return ""
    told = (f"{old:.4f} to {new:.4f}" for old, new in zip(before, after, strict=True))
    return "it tells the newest moments of this host no better: error within 1 h {}, within 24 h {}".format(*told)
