"""The kernels in NumPy: the reference of every other back end, and what serves when none can.

Written for being right, not fast; the kernels' tests compare with it, in float32 and in float64.
"""

import math
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from detectors.kernels.backend import Backend, Counts, Float64, Int64, Packed, Sorted, check_training, check_weights
from detectors.kernels.plan import Activation, Float32, Loss, Plan, Precision, Rule, TrainSettings, TrainState

Floats = NDArray[np.floating]

_GELU_END = -14.0  # below it 0, the limit, where -inf * 0 would be NaN
_SMOOTH = {Activation.LINEAR, Activation.RELU, Activation.LEAKY_RELU, Activation.SIGMOID, Activation.TANH}


def activate(kind: Activation, z: Floats) -> Floats:  # noqa: PLR0911 - one a kind
    """Return the activation of `z` (B, n) in its own precision; NaN stays NaN, infinities become limits."""
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        if kind is Activation.RELU:
            return np.asarray(np.where(z < 0, z.dtype.type(0), z))
        if kind is Activation.LEAKY_RELU:
            return np.where(z < 0, z * z.dtype.type(0.01), z)
        if kind is Activation.SIGMOID:
            return np.asarray(1 / (1 + np.exp(-z)))
        if kind is Activation.TANH:
            return np.asarray(np.tanh(z))
        if kind is Activation.GELU:
            return gelu(z)
        if kind is Activation.SOFTMAX:
            raised = np.exp(z - z.max(axis=1, keepdims=True, initial=-np.inf))
            return np.asarray(raised / raised.sum(axis=1, keepdims=True))
    return z


def gelu(z: Floats) -> Floats:
    """Return z times the normal distribution's share below it, the exact form, PyTorch's `approximate="none"`.

    Hendrycks and Gimpel, "Gaussian Error Linear Units (GELUs)", arXiv:1606.08415, 2016.
    """
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(z < _GELU_END, z.dtype.type(0), z * normal_share(z)))


def normal_share(z: Floats) -> Floats:
    """Return the normal distribution's share below `z`, in its precision; NumPy has no erfc, SciPy is 20 MB."""
    halves = np.fromiter(map(math.erfc, (z * -math.sqrt(0.5)).ravel().tolist()), np.float64, z.size)
    return (0.5 * halves).reshape(z.shape).astype(z.dtype)


def slope(kind: Activation, y: Floats) -> Floats:
    """Return the derivative of an activation from its output `y`."""
    if kind is Activation.RELU:
        return (y > 0).astype(y.dtype)
    if kind is Activation.LEAKY_RELU:
        return np.where(y > 0, y.dtype.type(1), y.dtype.type(0.01))
    if kind is Activation.SIGMOID:
        return np.asarray(y * (1 - y))
    if kind is Activation.TANH:
        return np.asarray(1 - y * y)
    return np.ones_like(y)


def split(plan: Plan, flat: Floats) -> Iterator[tuple[Floats, Floats]]:
    """Yield views on the weights (out, in) and biases (out,) of each layer of a canonical block."""
    at = 0
    for wide, out in pairwise(plan.sizes):
        yield flat[at : at + wide * out].reshape(out, wide), flat[at + wide * out : at + wide * out + out]
        at += (wide + 1) * out


def outputs_of(plan: Plan, parameters: Floats, inputs: Floats) -> list[Floats]:
    """Return the inputs and the outputs (B, n) of every layer."""
    values = [inputs]
    for number, (weights, bias) in enumerate(split(plan, parameters)):
        y = activate(plan.activations[number], values[-1] @ weights.T + bias)
        values.append(y + values[-1] if plan.residual[number] else y)
    return values


class NumpyBackend(Backend):
    """NumPy's own products; needs nothing else, and allocates as it goes."""

    name = "numpy"

    def pack(self, plan: Plan, parameters: Float32) -> Packed:
        """Return the parameters as they are: a copy, unless nobody can write into them."""
        if parameters.shape != (plan.parameters,) or parameters.dtype != np.float32:
            raise ValueError(f"parameters must be float32 ({plan.parameters},)")
        return Packed(parameters.copy() if parameters.flags.writeable else parameters)

    def unpack(self, plan: Plan, packed: Packed) -> Float32:  # noqa: ARG002 - one signature for every back end
        """Return a copy of the parameters as they are."""
        return packed.buffer.copy()

    def scratch(self, plan: Plan, batch: int = 1) -> Float32:  # noqa: ARG002 - one signature
        """Return nothing: NumPy allocates its own."""
        return np.empty(0, np.float32)

    def forward(self, plan: Plan, packed: Packed, inputs: Float32, scratch: Float32, outputs: Float32) -> None:  # noqa: ARG002
        """Fill `outputs` (B, O) from `inputs` (B, I)."""
        rows = len(inputs)
        for name, array, width in (("inputs", inputs, plan.sizes[0]), ("outputs", outputs, plan.sizes[-1])):
            if array.shape != (rows, width) or array.dtype != np.float32 or not array.flags.c_contiguous:
                raise ValueError(f"{name} must be contiguous float32 (rows, {width}), not {array.dtype} {array.shape}")
        with np.errstate(invalid="ignore", over="ignore"):
            outputs[:] = outputs_of(plan, packed.buffer, inputs)[-1]

    def can_train(self, plan: Plan, settings: TrainSettings) -> bool:
        """Say whether the loss fits; as every back end."""
        return can_train(plan, settings)

    def train(  # noqa: PLR0917 - the seam
        self,
        plan: Plan,
        parameters: Float32,
        inputs: Float32,
        targets: Float32,
        order: Int64,
        settings: TrainSettings,
        state: TrainState,
        *,
        weights: Float32 | None = None,
    ) -> float:
        """Train; see `Backend.train`."""
        check_training(plan, parameters, inputs, targets, order, state)
        check_weights(weights, len(inputs))
        total = 0.0
        for start in range(0, len(order), settings.batch):
            rows = order[start : start + settings.batch]
            factors = np.ones(len(rows), np.float32) if weights is None else weights[rows]
            loss, slopes = gradient(plan, parameters, inputs[rows], targets[rows], factors, settings.loss)
            total += loss * len(rows)
            state.step += 1
            step(plan, parameters, slopes, settings, state)
        return total / len(order)

    def sorted(self, values: Float32) -> Sorted:
        """Sort each row; see `Backend.sorted`."""
        return Sorted(np.sort(values + np.float32(0), axis=1), np.count_nonzero(~np.isnan(values), axis=1))

    def ks(self, reference: Sorted, sample: Float32) -> Float64:
        """Return the statistic of each row; see `Backend.ks`."""
        out = np.full(len(sample), np.nan)
        other = self.sorted(sample)
        for row in range(len(sample)):
            a = reference.values[row, : reference.numbers[row]]
            b = other.values[row, : other.numbers[row]]
            if len(a) and len(b):
                both = np.concatenate([a, b])
                shares = np.searchsorted(a, both, "right") / len(a), np.searchsorted(b, both, "right") / len(b)
                out[row] = np.abs(shares[0] - shares[1]).max()
        return out

    def ks_place(self, reference: Sorted, counts: Counts, values: Float32, sign: int) -> None:
        """Count samples; see `Backend.ks_place`."""
        for row, column in enumerate(np.atleast_2d(values).T):
            known = column[~np.isnan(column)]
            sorted_values = reference.values[row, : reference.numbers[row]]
            np.add.at(counts.below[row], np.searchsorted(sorted_values, known, "left"), np.int16(sign))
            np.add.at(counts.upto[row], np.searchsorted(sorted_values, known, "right"), np.int16(sign))
            counts.sizes[row] += sign * len(known)

    def ks_read(self, reference: Sorted, counts: Counts) -> Float64:
        """Return the statistic of the counters; see `Backend.ks_read`."""
        out, sizes = np.full(len(counts.sizes), np.nan), counts.sizes
        for row in np.flatnonzero((sizes > 0) & (reference.numbers > 0)):
            many = int(reference.numbers[row])
            values = reference.values[row, :many]
            reached, before = (each[row, :many].cumsum() / sizes[row] for each in (counts.below, counts.upto))
            first = np.searchsorted(values, values, "left") / many
            last = np.searchsorted(values, values, "right") / many
            out[row] = max(np.abs(first - before[np.searchsorted(values, values, "left")]).max(),
                           np.abs(last - reached).max())  # fmt: skip
        return out


def can_train(plan: Plan, settings: TrainSettings) -> bool:
    """Say whether a fused training serves: no residual layer, slopes that follow from outputs, a loss that fits."""
    known = not any(plan.residual) and set(plan.activations) <= _SMOOTH and plan.precision is Precision.FLOAT32
    return known and (settings.loss is Loss.MSE or plan.activations[-1] is Activation.SIGMOID)


def gradient(  # noqa: PLR0917 - one batch and how it is judged
    plan: Plan, parameters: Floats, inputs: Floats, targets: Floats, factors: Floats, loss: Loss
) -> tuple[float, Floats]:
    """Return the mean loss of one batch and its gradient in canonical order."""
    values = outputs_of(plan, parameters, inputs)
    y = values[-1]
    scale = (factors / (len(inputs) * y.shape[1]))[:, None].astype(y.dtype)
    if loss is Loss.BCE:
        *_, (weights, bias) = split(plan, parameters)
        z = values[-2] @ weights.T + bias
        each = np.maximum(z, 0) - z * targets + np.log1p(np.exp(-np.abs(z)))
        delta = (y - targets) * scale
    else:
        each = (y - targets) ** 2
        delta = 2 * (y - targets) * slope(plan.activations[-1], y) * scale
    out = np.zeros_like(parameters)
    layers = list(zip(split(plan, parameters), split(plan, out), values[:-1], strict=True))
    for number, ((weights, _), (slopes, bias_slopes), x) in reversed(list(enumerate(layers))):
        slopes[:] = delta.T @ x
        bias_slopes[:] = delta.sum(axis=0)
        if number:
            delta = (delta @ weights) * slope(plan.activations[number - 1], x)
    return float((each.mean(axis=1) * factors).mean()), out


def step(plan: Plan, parameters: Floats, slopes: Floats, settings: TrainSettings, state: TrainState) -> None:
    """Spend one gradient, as PyTorch's optimizers do; `state.step` counts this one already."""
    s, rate = settings, settings.learning_rate
    matrices = zip(split(plan, parameters), split(plan, slopes), strict=True)
    for (weights, _), (weight_slopes, _) in matrices:
        weight_slopes[:] += s.l2 * weights
        if s.rule is Rule.ADAMW:
            weights[:] -= rate * s.weight_decay * weights
    if s.rule is Rule.SGD:
        state.first[:] = s.momentum * state.first + slopes
        parameters -= rate * state.first
    elif s.rule is Rule.RMSPROP:
        state.second[:] = s.decay_second * state.second + (1 - s.decay_second) * slopes**2
        parameters -= rate * slopes / (np.sqrt(state.second) + s.epsilon)
    else:
        state.first[:] = s.decay_first * state.first + (1 - s.decay_first) * slopes
        state.second[:] = s.decay_second * state.second + (1 - s.decay_second) * slopes**2
        root = np.sqrt(state.second) / np.sqrt(1 - s.decay_second**state.step)
        parameters -= rate / (1 - s.decay_first**state.step) * state.first / (root + s.epsilon)
    if s.non_negative:
        for weights, _ in split(plan, parameters):
            np.maximum(weights, 0, out=weights)


NUMPY: Backend = NumpyBackend()
