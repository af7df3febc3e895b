"""The capacity network refined by the host's own past.

Enters: the network on duty, moments of the host's resources whose future is known, in their order, and how many
simulated ones to replay. Leaves: a refined network, or the reason why the one on duty stays. What the host
teaches is mixed with simulated resources, of which the network is to say what the shipped one says, and elastic weights
hold what matters to those (as for failures, see `detectors.failure_refinement`). Runs in the child.

Simulated series are half believed, a host's own are believed in full: its corrections are learned at twice their size,
for half of what the network says is taken (`capacity_inputs.SHARE`). The newest moments are kept back, and on them the
refined network must do better, by more than chance: the paired difference is judged by days, for the moments of one day
are one witness.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import nan, sqrt

import numpy as np
from numpy.typing import NDArray

from detectors.capacity_examples import ALONE, HOSTS, Examples, joined, simulated
from detectors.capacity_inputs import FARTHEST, SHARE
from detectors.consolidation import Elastic, consolidated, importance
from detectors.forecasts import HORIZONS, Floats
from detectors.losses import Loss, LossName
from detectors.network import Float32, Network
from detectors.optimizers import AdamW
from detectors.schedules import Cosine
from detectors.trainer import DivergenceError, Epoch, Settings, train

LEAST = 400  # moments of this host, of which something is to be learned
LEAST_DAYS = 7  # among those that judge: fewer are too few witnesses
REPLAYED = (2, 1)  # chunks of simulated resources to learn with, and to judge by
_FIRST_SEED = 900
_SHARE = 0.5  # of all weight that the host's own moments have
_STRENGTH = 0.01  # of the elastic weights: light, as for the other networks (docs/consolidation.md)
_IMPORTANT_ROWS = 1000
_SLOWER = (1.0, 0.5, 0.25)  # the largest steps that forget nothing
_TRAINED = 0.7  # of the host's time; by the newest moments it is judged
_APART_SECONDS = 86_400.0
_GAIN = 0.005  # of the error at the newest moments: what refinement is to bring at least
_LOSES = 0.01  # of the error of simulated resources, over each horizon: what it may cost
_T95 = 1.7  # one-sided, of Student's distribution with a few weeks of days
REFINING = Settings(
    loss=Loss(LossName.MAE),
    optimizer=AdamW(rate=5e-4, weight_decay=0.0),
    schedule=Cosine(warm_up=1),
    epochs=24,
    batch=256,
)


@dataclass(frozen=True, slots=True, eq=False)
class Lived:
    """Moments of this host: what they teach, and when each was forecast from (R,), in seconds."""

    examples: Examples
    seconds: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Refinement:
    """The network to serve from now on; `refused` says why it is the one from before, "" = it is refined.

    `before` and `after`: the mean absolute scaled error (MASE) at the host's newest moments; NaN = not tried.
    `retention`: the error of simulated resources before, in that after.
    """

    network: Network
    refused: str = ""
    before: float = nan
    after: float = nan
    retention: float = nan


def refine(
    network: Network,
    lived: Lived,
    settings: Settings = REFINING,
    *,
    anchor: Network | None = None,
    replayed: tuple[int, int] = REPLAYED,
    chunk: tuple[int, int] = (ALONE, HOSTS),
    progress: Callable[[Epoch], None] | None = None,
) -> Refinement:
    """Refine `network` by what the host lived through; `anchor`, else the network itself, says what is to be kept.

    With the shipped one as anchor, what a host forgets does not add up over refinements, and it may come back.
    `chunk`: simulated resources on their own, and hosts of four. Deterministic by the seed of `settings`.
    """
    older, newer = _parted(lived)
    days = _days(lived.seconds[newer])
    if older.sum() < LEAST or len(np.unique(days)) < LEAST_DAYS:
        return Refinement(
            network,
            f"{older.sum()} moments to learn from and {len(np.unique(days))} days to judge by are not enough:"
            f" {LEAST} and {LEAST_DAYS} are needed",
        )
    anchor = anchor or network
    seeds = range(_FIRST_SEED + 100 * settings.seed, _FIRST_SEED + 100 * settings.seed + sum(replayed))
    made = [joined(simulated(seed, place, *chunk) for place in range(len(HORIZONS))) for seed in seeds]
    known, judged = joined(made[: replayed[0]]), joined(made[replayed[0] :])
    lesson, elastic = _lesson(anchor, known, lived.examples.some(older)), _hold(network, known, settings)
    newest = lived.examples.some(newer)
    served, shipped = (newest.errors(_said(one, newest)) for one in (network, anchor))
    # where what served has come to do worse than the shipped one, that one is to be beaten, or serves again
    fallen = anchor is not network and not _no_better(served, shipped, days)
    rival, kept = shipped if fallen else served, judged.errors(_said(anchor, judged))
    first: Refinement | None = None
    for slower in _SLOWER:
        gentle = replace(settings, optimizer=replace(settings.optimizer, rate=slower * settings.optimizer.rate))
        refined = Network(network.architecture, network.parameters, seed=settings.seed, backend=network.backend)
        try:
            train(refined, *lesson[:2], gentle, weights=lesson[2], elastic=elastic, progress=progress)
        except DivergenceError as error:
            first = first or Refinement(network, str(error))
            continue
        after, found = newest.errors(_said(refined, newest)), judged.errors(_said(refined, judged))
        refused = _no_better(rival, after, days) or _forgets(judged, kept, found)
        measured = float(rival.mean()), float(after.mean()), float(kept.mean() / found.mean())
        if not refused:
            return Refinement(refined, "", *measured)
        first = first or Refinement(network, refused, *measured)
    if fallen or first is None:
        return Refinement(anchor, "", float(served.mean()), float(shipped.mean()), 1.0)
    return first


def _parted(lived: Lived) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which moments (R,) are learned from, and which judge: what came of the former ends before the latter."""
    if not len(lived.seconds):
        return np.zeros(0, np.bool_), np.zeros(0, np.bool_)
    steps = np.array([one.step_seconds for one in HORIZONS])[lived.examples.horizon]
    first, last = lived.seconds.min(), lived.seconds.max()
    cut = first + _TRAINED * (last - first)
    return lived.seconds + lived.examples.targets.shape[1] * steps <= cut, lived.seconds > cut


def _lesson(anchor: Network, known: Examples, own: Examples) -> tuple[Float32, Float32, Float32]:
    """Return inputs (N, 384), targets (N, 12), weights (N,): of simulated resources what `anchor` says, and own."""
    said = np.clip(anchor.predict(known.inputs), -FARTHEST, FARTHEST)
    weight = _SHARE / (1 - _SHARE) * len(known.inputs) / len(own.inputs)
    return (
        np.concatenate([known.inputs, own.inputs]),
        np.concatenate([said, np.clip(own.targets / SHARE, -FARTHEST, FARTHEST)]).astype(np.float32),
        np.concatenate([np.ones(len(known.inputs)), np.full(len(own.inputs), weight)]).astype(np.float32),
    )


def _hold(network: Network, known: Examples, settings: Settings) -> Elastic:
    """Return elastic weights that hold `network` by simulated resources."""
    some = known.some(np.random.default_rng(settings.seed).permutation(len(known.inputs))[:_IMPORTANT_ROWS])
    targets = np.clip(some.targets, -FARTHEST, FARTHEST)
    found = importance(network.architecture, network.parameters, settings.loss, some.inputs, targets)
    return consolidated(None, network.parameters, found, strength=_STRENGTH, decay=1.0)


def _said(network: Network, rows: Examples) -> Floats:
    """Return the corrections (R, 12) that a forecast with `network` contains, in units."""
    return np.asarray(SHARE * np.clip(network.predict(rows.inputs), -FARTHEST, FARTHEST), np.float64)


def _no_better(before: Floats, after: Floats, days: NDArray[np.int64]) -> str:
    """Say that the newest moments are told no better, "" = they are, by more than chance."""
    _, place = np.unique(days, return_inverse=True)
    by_day = np.bincount(place, after - before) / np.bincount(place)
    bound = float(by_day.mean() + _T95 * by_day.std(ddof=1) / sqrt(len(by_day)))
    told = f"error {before.mean():.4f} to {after.mean():.4f} at the newest moments of this host"
    if after.mean() > (1 - _GAIN) * before.mean():
        return f"it tells what comes no better: {told}"
    return "" if bound < 0 else f"it may be better by chance alone: {told}, on {len(by_day)} days"


def _forgets(rows: Examples, before: Floats, after: Floats) -> str:
    """Say what it has forgotten of simulated resources, "" = nothing that counts."""
    for place, horizon in enumerate(HORIZONS):
        here = rows.horizon == place
        if here.any() and after[here].mean() > (1 + _LOSES) * before[here].mean():
            told = f"error {before[here].mean():.4f} to {after[here].mean():.4f}"
            return f"it forgets what is known of {horizon.name}: {told} of simulated resources"
    return ""


def _days(seconds: Floats) -> NDArray[np.int64]:
    return np.asarray(seconds // _APART_SECONDS, np.int64)
