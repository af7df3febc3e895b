"""The failure network refined by what a host itself has gone through.

Enters: a forecaster, inputs (N, 512) of moments of this host, oldest first, and whether it failed after each (N, 2).
Leaves: a refined forecaster, or the same one and the reason. A host fails seldom: what it teaches is mixed with
replayed simulated hosts, of which the network is to say what it said before, so that it is added to what was known, and
little is forgotten (Robins, "Catastrophic forgetting, rehearsal and pseudorehearsal", 1995; Li and Hoiem, "Learning
without forgetting", ECCV 2016). Runs in the child.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from detectors.failing_hosts import Moments, simulated
from detectors.failure import CHECKABLE, FailureForecaster
from detectors.failure_learning import SETTINGS, calibrations, learned, quality
from detectors.network import Float32
from detectors.optimizers import AdamW
from detectors.trainer import DivergenceError, Settings

Floats = NDArray[np.float64]

REPLAYED = 240  # simulated hosts to learn with, as many to calibrate by, and to judge by
_FIRST_SEED = 900
_SLOWER = (1.0, 0.5, 0.25)  # the largest steps that forget nothing
_SHARE = 0.25  # of all weight that the host's own moments have
_TRAINED = 0.7  # of the host's moments; by the newest it is judged
_LOSES = 0.03  # of AUC-PR on simulated hosts: what refinement may cost
_WORSE = 0.02  # of ECE
REFINING: Settings = replace(SETTINGS, optimizer=AdamW(rate=2e-4, weight_decay=0.01), epochs=8)


@dataclass(frozen=True, slots=True)
class Refinement:
    """The forecaster to serve from now on; `refused` says why it is the one from before, "" = it is refined."""

    forecaster: FailureForecaster
    refused: str = ""


def refine(
    forecaster: FailureForecaster, inputs: Float32, targets: Float32, events: int, settings: Settings = REFINING
) -> Refinement:
    """Refine `forecaster` by moments `inputs` (N, 512), oldest first, of a host that recorded `events` failures.

    `targets` (N, 2): whether it failed within an hour, and within a day. Deterministic by the seed of `settings`.
    """
    if forecaster.network is None:
        return Refinement(forecaster, "there is no network to refine")
    cut = round(_TRAINED * len(inputs))
    if events < CHECKABLE or not targets[:cut].any() or not targets[cut:].any():
        return Refinement(forecaster, f"{events} events of this host are not enough: {CHECKABLE} are needed, apart")
    replayed, unseen, judged = (simulated(_FIRST_SEED + settings.seed + 10 * place, REPLAYED) for place in range(3))
    before = forecaster.network
    own = np.full(cut, _SHARE / (1 - _SHARE) * replayed.weights.sum() / cut, np.float32)
    rows = np.concatenate([replayed.inputs, inputs[:cut]])
    wanted = np.concatenate([before.predict(replayed.inputs), targets[:cut]])
    weights = np.concatenate([replayed.weights, own])
    refused = ""
    for slower in _SLOWER:
        gentle = replace(settings, optimizer=replace(settings.optimizer, rate=slower * settings.optimizer.rate))
        try:
            # not varied: the signs of one host are its own
            network = learned(rows, wanted, gentle, weights=weights, base=before, backend=before.backend, vary=False)
        except DivergenceError as error:
            refused = str(error)
            continue
        beta = calibrations(network.predict(unseen.inputs).astype(np.float64), unseen.targets, unseen.weights)
        refined = FailureForecaster(network, beta, forecaster.base, taught=events)
        refused = _worse(forecaster, refined, judged) or _no_better(forecaster, refined, inputs[cut:], targets[cut:])
        if not refused:
            return Refinement(refined)
    return Refinement(forecaster, refused)


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


def _no_better(before: FailureForecaster, after: FailureForecaster, inputs: Float32, targets: Float32) -> str:
    """Say that the host's newest moments are told no better, "" = they are: by the mean squared error (Brier, 1950)."""
    old, new = (float(np.mean((one.probabilities(inputs) - targets) ** 2)) for one in (before, after))
    return "" if new < old else f"it tells the newest moments of this host no better: {old:.4f} before, {new:.4f} after"
