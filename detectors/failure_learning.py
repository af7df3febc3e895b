"""Training of the failure network: moments of hosts in, a network and its calibrations out.

Enters: inputs (N, 512) of `detectors.factor_features` and targets (N, 2), failed within an hour and within a day.
Leaves: a network, deterministic by seed. Each epoch sees every moment changed twice over: factors are hidden at random,
for hosts differ in what they have sources for; and the blocks of factors that run out change places, for what is true
of memory that leaks is true of descriptors.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from detectors import beta_calibration
from detectors.architectures import CATALOGUE
from detectors.beta_calibration import BetaCalibration
from detectors.consolidation import Elastic
from detectors.factor_features import FEATURES
from detectors.factors import COUNT, PLACE
from detectors.kernels import NUMPY, Backend
from detectors.network import Float32, Network
from detectors.optimizers import AdamW
from detectors.schedules import Cosine
from detectors.trainer import Epoch, Settings, Trainer

Floats = NDArray[np.float64]

SETTINGS: Settings = replace(
    CATALOGUE["failure"].training,
    optimizer=AdamW(rate=1e-3, weight_decay=0.05),
    schedule=Cosine(warm_up=1),
    epochs=24,
    batch=128,
    validation=0.0,
    patience=None,
)
_KIN = tuple(
    np.array([PLACE[name] for name in names])
    for names in (
        ("memory", "unit_memory", "swap", "space", "inodes", "descriptors", "unit_descriptors", "threads"),
        ("kernel_errors", "journal_errors", "restarts", "interface_errors", "resets"),
        ("paging", "major_faults"),
        ("memory_pressure", "io_pressure"),
    )
)
_DROPOUT = 0.2
_MIXED = 0.5  # of the moments whose factors change places
_HIDDEN = 0.5  # of the moments that lose some, and the largest share that they lose


def changed(rows: Float32, random: np.random.Generator) -> Float32:
    """Return inputs (N, 512) of which some factors have changed places within their kind, and others are gone."""
    blocks = rows.reshape(len(rows), COUNT, FEATURES)
    order = np.tile(np.arange(COUNT), (len(rows), 1))
    for kin in _KIN:
        mixed = np.argsort(random.random((len(rows), len(kin))), axis=1)
        order[:, kin] = np.where(random.random((len(rows), 1)) < _MIXED, kin[mixed], kin)
    out = np.take_along_axis(blocks, order[:, :, None], axis=1)
    share = _HIDDEN * random.random((len(rows), 1)) * (random.random((len(rows), 1)) < _HIDDEN)
    out[random.random((len(rows), COUNT)) < share] = 0
    return np.asarray(out.reshape(rows.shape))


def learned(
    inputs: Float32,
    targets: Float32,
    settings: Settings = SETTINGS,
    *,
    weights: Float32 | None = None,
    base: Network | None = None,
    vary: bool = True,
    elastic: Elastic | None = None,
    backend: Backend = NUMPY,
    progress: Callable[[Epoch], None] | None = None,
) -> Network:
    """Return a network that learned from `inputs` (N, 512) and `targets` (N, 2), beginning with `base` if given.

    `weights` (N,) count moments; `vary` changes them as said above, every epoch anew; `elastic` holds the parameters.
    Raises DivergenceError.
    """
    architecture = replace(CATALOGUE["failure"].architecture, dropout=_DROPOUT if vary else 0.0)
    network = Network(architecture, None if base is None else base.parameters, seed=settings.seed, backend=backend)
    random = np.random.default_rng([settings.seed, 3])
    trainer = Trainer(network, settings, elastic=elastic)
    by_row = None if weights is None else weights[:, None]
    while trainer.epochs < settings.epochs:
        rate = trainer.rate()
        loss = trainer.epoch(changed(inputs, random) if vary else inputs, targets, by_row)
        if progress is not None:
            progress(Epoch(trainer.epochs, settings.epochs, loss, None, rate))
    trainer.store()
    return Network(CATALOGUE["failure"].architecture, network.parameters, backend=backend)


def calibrations(raw: Floats, targets: Float32, weights: Float32) -> tuple[BetaCalibration, ...]:
    """Return the calibration of each of the network's outputs `raw` (N, 2), by moments that it has not seen."""
    came = targets.astype(np.float64)
    counted = weights.astype(np.float64)
    return tuple(beta_calibration.fit(raw[:, place], came[:, place], counted) for place in range(raw.shape[1]))


def quality(risk: Floats, came: Floats, weights: Floats) -> dict[str, float]:
    """Return how good probabilities (N,) are at telling what `came` (N,): AUC-PR, Brier skill, ECE, base rate."""
    rate = float(np.average(came, weights=weights))
    brier = float(np.average((risk - came) ** 2, weights=weights))
    return {
        "auc_pr": average_precision(risk, came, weights),
        "skill": 1 - brier / max(rate * (1 - rate), 1e-12),
        "ece": calibration_error(risk, came, weights),
        "rate": rate,
    }


def average_precision(scores: Floats, came: Floats, weights: Floats) -> float:
    """Return the area under precision and recall, equal scores taken together (Davis and Goadrich, ICML 2006)."""
    order = np.argsort(-scores, kind="stable")
    hits, seen = np.cumsum((weights * came)[order]), np.cumsum(weights[order])
    last = np.r_[np.diff(scores[order]) != 0, True] & (seen > 0)
    hits, seen = hits[last], seen[last]
    if not len(hits) or hits[-1] == 0:
        return float("nan")
    return float(np.sum(np.diff(hits, prepend=0) * hits / seen) / hits[-1])


def calibration_error(risk: Floats, came: Floats, weights: Floats, bins: int = 10) -> float:
    """Return the expected calibration error over equal bins (Naeini et al., AAAI 2015)."""
    place = np.minimum((risk * bins).astype(np.int64), bins - 1)
    off = np.bincount(place, weights * (risk - came), minlength=bins)
    return float(np.abs(off).sum() / weights.sum())
