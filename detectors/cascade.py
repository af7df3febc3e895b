"""Networks that grow: one hidden unit at a time, each trained to follow what is still wrong, then frozen.

Enters: a small problem, all of it in every step. Leaves: a `Cascade`, as large as the problem asked
for. Fahlman and Lebiere, "The Cascade-Correlation Learning Architecture", NeurIPS 1990. Float64
inside; deterministic by seed.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from detectors.activations import FORWARD, Floats, backward_tanh, forward_tanh
from detectors.kernels import Activation
from detectors.losses import Loss
from detectors.optimizers import Optimizer, QuickProp
from detectors.trainer import DivergenceError

Float64 = NDArray[np.float64]

_SLOWEST = 1e-3  # a gain below this share, over the patience, ends a phase


@dataclass(frozen=True, slots=True)
class Growth:
    """How to grow: until the loss is at most `enough`, or `most_units` stand.

    `steps`: at most, of each phase; a phase also ends after `patience` steps without a gain of a
    thousandth. `candidates`: units tried for each that is installed. `output`: linear, sigmoid or softmax.
    """

    loss: Loss
    output: Activation = Activation.LINEAR
    enough: float = 1e-3
    most_units: int = 20
    candidates: int = 8
    steps: int = 300
    patience: int = 30
    optimizer: Optimizer = field(default_factory=lambda: QuickProp(rate=0.5))
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Cascade:
    """A grown network: every unit sees a 1, the inputs and all units before it.

    `units` holds the weights of unit k, (1 + I + k,), tanh; `outputs` (O, 1 + I + K) those of the outputs.
    """

    inputs: int
    units: tuple[Float64, ...]
    outputs: Float64
    output: Activation

    def predict(self, inputs: Floats) -> NDArray[np.float32]:
        """Return the outputs (B, O) of `inputs` (B, I). Raises ValueError for another shape."""
        logits = _values(self.inputs, self.units, inputs) @ self.outputs.T  # (B, O)
        return FORWARD[self.output](logits).astype(np.float32)


def grow(
    inputs: Floats,
    targets: Floats,
    growth: Growth,
    progress: Callable[[int, float], None] = lambda _units, _loss: None,
) -> tuple[Cascade, tuple[float, ...]]:
    """Return a cascade for `inputs` (B, I) and `targets` (B, O), and its loss with 0, 1, 2... units.

    `progress` is told the number of units and the loss. Raises ValueError for shapes that do not fit,
    and DivergenceError, whose epoch is the number of units.
    """
    if inputs.ndim != 2 or targets.ndim != 2 or len(inputs) != len(targets) or not len(inputs):  # noqa: PLR2004
        raise ValueError(f"growth takes inputs (rows, I) and targets (rows, O), not {inputs.shape} and {targets.shape}")
    from_logits = growth.loss.from_logits(growth.output)
    output = Activation.LINEAR if from_logits else growth.output
    if output is not Activation.LINEAR:
        raise ValueError(f"{growth.loss.name} grows with a linear output, not with {growth.output.name.lower()}")
    rng = np.random.default_rng(growth.seed)
    wanted = targets.astype(np.float64)  # (B, O)
    values = _values(inputs.shape[1], (), inputs)  # (B, 1 + I)
    weights = np.zeros((targets.shape[1], values.shape[1]))  # (O, 1 + I)
    units: list[Float64] = []
    losses: list[float] = []
    while True:
        weights, loss = _train_outputs(values, wanted, weights, growth)
        if not np.isfinite(loss):
            raise DivergenceError(len(units), f"the loss is {loss}")
        losses.append(loss)
        progress(len(units), loss)
        if loss <= growth.enough or len(units) >= growth.most_units:
            return Cascade(inputs.shape[1], tuple(units), weights, growth.output), tuple(losses)
        wrong = growth.loss.backward(values @ weights.T, wanted)  # (B, O)
        unit = _train_candidates(values, wrong.astype(np.float64), growth, rng)  # (N,)
        units.append(unit)
        values = np.column_stack([values, forward_tanh(values @ unit)])
        weights = np.column_stack([weights, np.zeros(len(weights))])


def _values(width: int, units: tuple[Float64, ...], inputs: Floats) -> Float64:
    """Return what the outputs see (B, 1 + I + K)."""
    if inputs.ndim != 2 or inputs.shape[1] != width:  # noqa: PLR2004 - rows and columns
        raise ValueError(f"this cascade takes inputs (rows, {width}), not {inputs.shape}")
    values = np.column_stack([np.ones(len(inputs)), inputs.astype(np.float64)])
    for unit in units:
        values = np.column_stack([values, forward_tanh(values @ unit)])
    return values


def _train_outputs(values: Float64, wanted: Float64, weights: Float64, growth: Growth) -> tuple[Float64, float]:
    """Return the best output weights (O, N) found from `weights`, and their loss."""
    block = weights.flatten()
    state = growth.optimizer.start(block)
    best, lowest, marked, since = block.copy(), np.inf, np.inf, 0
    for _ in range(growth.steps):
        predicted = values @ block.reshape(weights.shape).T  # (B, O)
        loss = growth.loss.forward(predicted, wanted)
        if loss < lowest:
            best, lowest = block.copy(), loss
        if loss < marked * (1 - _SLOWEST):
            marked, since = loss, 0
        since += 1
        if since > growth.patience or loss <= growth.enough:
            break
        slope = growth.loss.backward(predicted, wanted)  # (B, O)
        growth.optimizer.step(state, block, (slope.T @ values).reshape(-1), growth.optimizer.rate)
    return best.reshape(weights.shape), float(lowest)


def _train_candidates(values: Float64, wrong: Float64, growth: Growth, rng: np.random.Generator) -> Float64:
    """Return the weights (N,) of the candidate whose value varies most with what is wrong (B, O)."""
    error = wrong - wrong.mean(axis=0)  # (B, O)
    error = error / max(float(np.sqrt((error**2).sum())), 1e-300)
    block = rng.uniform(-1, 1, (growth.candidates, values.shape[1])).reshape(-1)
    state = growth.optimizer.start(block)
    best, highest = block[: values.shape[1]].copy(), -np.inf
    marked, since = 0.0, 0
    for _ in range(growth.steps):
        weights = block.reshape(growth.candidates, -1)  # (C, N)
        pre = values @ weights.T  # (B, C)
        active = forward_tanh(pre)  # (B, C)
        covariance = (active - active.mean(axis=0)).T @ error  # (C, O)
        score = np.abs(covariance).sum(axis=1)  # (C,)
        leader = int(score.argmax())
        if score[leader] > highest:
            best, highest = weights[leader].copy(), float(score[leader])
        if highest > marked * (1 + _SLOWEST):
            marked, since = highest, 0
        since += 1
        if since > growth.patience:
            break
        pull = backward_tanh(error @ np.sign(covariance).T, pre, active)  # (B, C)
        growth.optimizer.step(state, block, -(pull.T @ values).reshape(-1), growth.optimizer.rate)
    return best
