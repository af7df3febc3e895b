"""Training of the anomaly network: monotone in surprise, against negatives drawn in feature space.

Enters: the network's inputs of quiet time (T, 256). Leaves: a network whose logit grows with
surprise. Negatives are drawn among the features, not injected into signals (Sipple, "Interpretable,
Multidimensional, Multimodal Anomaly Detection with Negative Sampling", ICML 2020): realistic
injections teach a network to fire on benign change. Weights never fall below zero, so that more
surprise never lowers the score. Runs in the child; NumPy only.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from detectors.features import FEATURES, TOP_SIGNALS
from detectors.network import Network

Float32 = NDArray[np.float32]
Progress = Callable[[float, str], None]

EPOCHS = 6
_LEAST_STEPS = 300  # a short history is gone through more often: six steps train nothing
_BATCH = 256
ROWS = 20_000  # what a training wants at most, evenly spaced over the history
_RATE = 2e-3
_RESTARTS = 3
_DENSITY = 0.25  # share of a unit's inputs that start connected: units that differ learn apart
_WIDTH = len(FEATURES)
_STRENGTH = np.float32(6.0)  # log surprise of the strongest negatives: about 400 scales


class TrainingError(Exception):
    """No usable network came out: why, in one sentence."""


def negatives(normals: Float32, signals: int, rng: np.random.Generator) -> tuple[Float32, Float32]:
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


def train(normals: Float32, signals: int, sizes: Sequence[int], seed: int, progress: Progress) -> Network:
    """Train on `normals` (T, 256), T <= 20,000, of a host with `signals` signals; a dead network is started anew.

    Raises TrainingError when no start gives a network that tells the two apart.
    """
    for start in range(_RESTARTS):
        rng = np.random.default_rng([seed, start])
        network = _initial(sizes, normals, rng)
        _fit(network, normals, signals, rng, progress)
        bad, _ = negatives(normals, signals, rng)
        quiet, loud = network.logits(normals)[:, 0], network.logits(bad)[:, 0]
        if np.isfinite(loud).all() and quiet.std() > 0 and np.median(loud) > np.quantile(quiet, 0.9):
            return network
        progress(0.0, f"start {start + 1} gave a dead network: again")
    raise TrainingError(f"{_RESTARTS} starts gave no network that tells quiet rows from raised ones")


def _initial(sizes: Sequence[int], rows: Float32, rng: np.random.Generator) -> Network:
    """Random non-negative weights, scaled and centred layer by layer on `rows`.

    Without it every unit starts active on these non-negative inputs, the first steps push all
    weights to zero, and the network is dead (data-dependent initialisation: Kraehenbuehl et al., ICLR 2016).
    """
    network = Network(sizes)
    values = rows[rng.permutation(len(rows))[:2048]]
    for weights, bias in zip(network.weights, network.biases, strict=True):
        weights[:] = np.abs(rng.normal(size=weights.shape)) * (rng.random(weights.shape) < _DENSITY)
        pre = values @ weights.T
        weights[:] = weights / np.maximum(pre.std(axis=0), 1e-3)[:, None]
        pre = values @ weights.T
        bias[:] = -np.quantile(pre, rng.uniform(0.2, 0.9, len(bias)), axis=0).diagonal()
        values = np.maximum(pre + bias, np.float32(0))
    return network


def _fit(network: Network, rows: Float32, signals: int, rng: np.random.Generator, progress: Progress) -> None:
    """Adam (Kingma and Ba, 2015) on binary cross-entropy, weights projected to >= 0 after each step."""
    moment = np.zeros_like(network.parameters)
    square = np.zeros_like(network.parameters)
    gradient = Network(network.sizes)
    step = 0
    epochs = max(EPOCHS, -(-_LEAST_STEPS // -(-2 * len(rows) // _BATCH)))
    for epoch in range(epochs):
        bad, targets = negatives(rows, signals, rng)
        inputs = np.concatenate([rows, bad])
        wanted = np.concatenate([np.zeros(len(rows), np.float32), targets])
        order = rng.permutation(len(inputs))
        loss = 0.0
        for start in range(0, len(order), _BATCH):
            batch = order[start : start + _BATCH]
            loss += _gradient(network, gradient, inputs[batch], wanted[batch]) * len(batch)
            step += 1
            moment += 0.1 * (gradient.parameters - moment)
            square += 0.001 * (gradient.parameters**2 - square)
            scale = _RATE * np.sqrt(1 - 0.999**step) / (1 - 0.9**step)
            network.parameters -= (scale * moment / (np.sqrt(square) + 1e-8)).astype(np.float32)
            for weights in network.weights:
                np.maximum(weights, 0, out=weights)
        progress((epoch + 1) / epochs, f"epoch {epoch + 1} of {epochs}, loss {loss / len(inputs):.4f}")


def _gradient(network: Network, gradient: Network, inputs: Float32, wanted: Float32) -> float:
    """Fill `gradient` with d loss / d parameters of one batch (B, 256) and return the mean loss."""
    values = [inputs]  # (B, layer) each
    for layer, (weights, bias) in enumerate(zip(network.weights, network.biases, strict=True)):
        pre = values[-1] @ weights.T + bias
        values.append(pre if layer == len(network.weights) - 1 else np.maximum(pre, np.float32(0)))
    logit = values[-1][:, 0]
    probability = 1 / (1 + np.exp(-np.clip(logit, -30, 30)))
    loss = np.mean(np.logaddexp(0, logit) - wanted * logit)
    delta = ((probability - wanted) / len(inputs)).astype(np.float32)[:, None]  # (B, 1)
    for layer in reversed(range(len(network.weights))):
        gradient.weights[layer][:] = delta.T @ values[layer]
        gradient.biases[layer][:] = delta.sum(axis=0)
        if layer:
            delta = (delta @ network.weights[layer]) * (values[layer] > 0)
    return float(loss)
