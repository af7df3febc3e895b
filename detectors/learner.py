"""Training of the anomaly network: monotone in surprise, against negatives drawn in feature space.

Enters: the network's inputs of quiet time (T, 256). Leaves: a network whose logit grows with
surprise. Negatives are drawn among the features, not injected into signals (Sipple, "Interpretable,
Multidimensional, Multimodal Anomaly Detection with Negative Sampling", ICML 2020): realistic
injections teach a network to fire on benign change. Weights never fall below zero, so that more
surprise never lowers the score. Runs in the child.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from detectors.activations import FORWARD
from detectors.architectures import CATALOGUE
from detectors.checkpoint import Checkpoint, Checkpoints
from detectors.consolidation import Elastic
from detectors.features import FEATURES, TOP_SIGNALS
from detectors.kernels import NUMPY, Backend
from detectors.network import Float32, Network
from detectors.parameters import Architecture, layers_of
from detectors.trainer import DivergenceError, Settings, Trainer

Progress = Callable[[float, str], None]

_LEAST_STEPS = 300  # a short history is gone through more often: six steps train nothing
ROWS = 20_000  # what a training wants at most, evenly spaced over the history
_RESTARTS = 3
_REPLAYED = 0.5  # share of the weight that rows of earlier regimes have together, however few are kept
_DENSITY = 0.25  # share of a unit's inputs that start connected: units that differ learn apart
_KEEP_SECONDS = 1.0  # less is not worth a write: epochs of a short history take milliseconds
_WIDTH = len(FEATURES)
_STRENGTH = np.float32(6.0)  # log surprise of the strongest negatives: about 400 scales


class TrainingError(Exception):
    """No usable network came out: why, in one sentence."""


def negatives(normals: Float32, signals: int, rng: "np.random.Generator") -> tuple[Float32, Float32]:
    """Return rows (T, 256) made abnormal from `normals` (T, 256), and their targets (T,) in 0..1.

    Some of a row's signals (log-uniform in number) are raised to random surprise; half of the targets
    are soft: the share of the full strength that was drawn.
    """
    rows = len(normals)
    slots = min(max(signals, 1), TOP_SIGNALS)
    block = normals[:, : TOP_SIGNALS * _WIDTH].reshape(rows, TOP_SIGNALS, _WIDTH)[:, :slots].copy()
    touched = np.exp(rng.uniform(0, np.log(slots + 1), rows)).astype(np.int64).clip(1, slots)
    place = rng.random((rows, slots)).argsort(axis=1) < touched[:, None]
    strength = rng.uniform(0.1, 1.0, rows).astype(np.float32)
    drawn = rng.random((rows, slots, _WIDTH), np.float32) * (_STRENGTH * strength)[:, None, None]
    before = block.sum(axis=1)
    block = np.where(place[:, :, None], np.maximum(block, drawn), block)
    out = normals.copy()
    order = np.argsort(-(block**3).mean(axis=2), axis=1, kind="stable")
    out[:, : slots * _WIDTH] = np.take_along_axis(block, order[:, :, None], axis=1).reshape(rows, -1)
    out[:, TOP_SIGNALS * _WIDTH :] += (block.sum(axis=1) - before) / max(signals, 1)
    soft = rng.random(rows) < 0.5  # noqa: PLR2004 - half
    return out, np.where(soft, strength, np.float32(1.0)).astype(np.float32)


def train(
    normals: Float32,
    signals: int,
    sizes: Sequence[int],
    seed: int,
    progress: Progress,
    *,
    backend: Backend = NUMPY,
    replayed: Float32 | None = None,
    checkpoints: Checkpoints | None = None,
) -> Network:
    """Train on `normals` (T, 256), T <= 20,000, of a host with `signals` signals; a dead network is started anew.

    `replayed` (M, 256) are quiet rows of earlier regimes, learned from beside them. With `checkpoints`, what was cut
    off goes on. Raises TrainingError when no start gives a network that tells the two apart.
    """
    entry = CATALOGUE["anomaly"]
    architecture = replace(entry.architecture, sizes=tuple(sizes))
    for start in range(_RESTARTS):
        rng = np.random.default_rng([seed, start])
        network = Network(architecture, _initial(architecture, normals, rng), backend=backend)
        settings = replace(entry.training, seed=seed + start)
        try:
            _fit(
                network, settings, normals, signals,
                rng=rng, progress=progress, replayed=replayed, checkpoints=checkpoints,
            )  # fmt: skip
        except DivergenceError as error:
            progress(0.0, f"start {start + 1}: {error}: again")
            continue
        bad, _ = negatives(normals, signals, rng)
        quiet, loud = network.logits(normals)[:, 0], network.logits(bad)[:, 0]
        if np.isfinite(loud).all() and quiet.std() > 0 and np.median(loud) > np.quantile(quiet, 0.9):
            return network
        progress(0.0, f"start {start + 1} gave a dead network: again")
    raise TrainingError(f"{_RESTARTS} starts gave no network that tells quiet rows from raised ones")


def train_on(
    elastic: Elastic,
    normals: Float32,
    signals: int,
    seed: int,
    progress: Progress,
    *,
    backend: Backend = NUMPY,
    replayed: Float32 | None = None,
    checkpoints: Checkpoints | None = None,
) -> Network:
    """Go on from the network that `elastic` holds, as `train` otherwise. Raises TrainingError where it diverges."""
    entry = CATALOGUE["anomaly"]
    network = Network(entry.architecture, elastic.anchor, backend=backend)
    rng, settings = np.random.default_rng([seed, _RESTARTS]), replace(entry.training, seed=seed)
    try:
        _fit(
            network, settings, normals, signals,
            rng=rng, progress=progress, replayed=replayed, elastic=elastic, checkpoints=checkpoints,
        )  # fmt: skip
    except DivergenceError as error:
        raise TrainingError(str(error)) from error
    return network


def _initial(architecture: Architecture, rows: Float32, rng: "np.random.Generator") -> Float32:
    """Random non-negative weights, scaled and centred layer by layer on `rows`.

    Without it every unit starts active on these non-negative inputs, the first steps push all
    weights to zero, and the network is dead (data-dependent initialisation: Kraehenbuehl et al., ICLR 2016).
    """
    block = np.zeros(architecture.count, np.float32)
    values = rows[rng.permutation(len(rows))[:2048]]
    for layer, activation in zip(layers_of(architecture, block), architecture.activations, strict=True):
        drawn = np.abs(rng.normal(size=layer.weights.shape)) * (rng.random(layer.weights.shape) < _DENSITY)
        layer.weights[:] = drawn / np.maximum((values @ drawn.T).std(axis=0), 1e-3)[:, None]
        pre = values @ layer.weights.T
        layer.biases[:] = -np.quantile(pre, rng.uniform(0.2, 0.9, len(layer.biases)), axis=0).diagonal()
        values = FORWARD[activation](pre + layer.biases).astype(np.float32, copy=False)
    return block


def _fit(
    network: Network,
    settings: Settings,
    rows: Float32,
    signals: int,
    *,
    rng: "np.random.Generator",
    progress: Progress,
    replayed: Float32 | None = None,
    elastic: Elastic | None = None,
    checkpoints: Checkpoints | None = None,
) -> None:
    """Train against negatives that are drawn anew for every epoch; `checkpoints` has what came of the last one.

    Raises DivergenceError, OSError.
    """
    weights = None
    if replayed is not None and len(replayed):
        each = _REPLAYED / (1 - _REPLAYED) * len(rows) / len(replayed)
        by_row = np.repeat(np.array([1, each], np.float32), [len(rows), len(replayed)])
        by_row /= by_row.mean()
        weights = np.concatenate([by_row, by_row])[:, None]  # (2 T, 1): of quiet rows, and of those raised from them
        rows = np.concatenate([rows, replayed])
    steps = -(-2 * len(rows) // settings.batch)
    settings = replace(settings, epochs=max(settings.epochs, -(-_LEAST_STEPS // steps)))
    trainer = Trainer(network, settings, elastic=elastic)
    checkpoint = None
    if checkpoints is not None:
        held = () if elastic is None else (elastic.anchor, elastic.importance, elastic.strength)
        began = rows, weights, signals, network.parameters, rng.bit_generator.state
        checkpoint = checkpoints.of(*began, settings, network.architecture, network.backend.name, *held)
        if _go_on(checkpoint, trainer, rng):
            progress(trainer.epochs / settings.epochs, f"goes on after epoch {trainer.epochs} of {settings.epochs}")
    written = time.monotonic()
    for epoch in range(trainer.epochs + 1, settings.epochs + 1):
        bad, targets = negatives(rows, signals, rng)
        inputs = np.concatenate([rows, bad])
        wanted = np.concatenate([np.zeros(len(rows), np.float32), targets])[:, None]
        loss = trainer.epoch(inputs, wanted, weights)
        if checkpoint is not None and (epoch == settings.epochs or time.monotonic() - written >= _KEEP_SECONDS):
            arrays, told = trainer.kept()
            checkpoint.save(arrays, {**told, "drawn": rng.bit_generator.state})
            written = time.monotonic()
        progress(epoch / settings.epochs, f"epoch {epoch} of {settings.epochs}, loss {loss:.4f}")
    trainer.store()


def _go_on(checkpoint: Checkpoint, trainer: Trainer, rng: "np.random.Generator") -> bool:
    """Take up what was kept of this training; False where there is nothing."""
    found = checkpoint.load()
    if found is None:
        return False
    arrays, told = found
    trainer.go_on(arrays, told)
    rng.bit_generator.state = told["drawn"]
    return True
