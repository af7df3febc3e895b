"""The forward and the backward pass of a dense network in NumPy, as training and explanation need them.

Enters: views on a block of parameters (detectors.parameters), rows of inputs. Leaves: every layer's
values, and gradients by parameter and by input. Float32 and float64 alike; only running statistics
of batch normalisation are ever changed, and only in training.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from detectors.activations import BACKWARD, FORWARD, Floats
from detectors.parameters import NORM_EPSILON, Architecture, Layer, Norm

_NORM_MOMENTUM = 0.1  # share of a batch in the running statistics


@dataclass(frozen=True, slots=True)
class Training:
    """What a training pass does beyond inference: the layers that learn, and where dropout's chances come from."""

    learning: Sequence[bool]
    rng: "np.random.Generator"


@dataclass(frozen=True, slots=True)
class Trace:
    """One layer's values of one pass, for the way back. `deviation` and `spread` are batch normalisation's."""

    inputs: Floats  # (B, I)
    pre: Floats  # (B, O) before the activation
    activated: Floats  # (B, O) after it
    kept: Floats | None  # (B, O) dropout's factors
    deviation: Floats | None  # (B, O) normalised, before scale and shift
    spread: Floats | None  # (O,)
    by_batch: bool  # the statistics were this batch's


def forward_norm(norm: Norm, pre: Floats, *, by_batch: bool) -> tuple[Floats, Floats, Floats]:
    """Return scale x deviation + shift (B, O), the deviation (B, O) and the spread (O,).

    With `by_batch` the statistics are the batch's and the running ones follow by a tenth (Ioffe and
    Szegedy, "Batch Normalization", ICML 2015).
    """
    if by_batch:
        mean, variance = pre.mean(axis=0), pre.var(axis=0)  # (O,)
        rows = len(pre)
        norm.mean[:] += _NORM_MOMENTUM * (mean - norm.mean)
        norm.variance[:] += _NORM_MOMENTUM * (variance * (rows / max(rows - 1, 1)) - norm.variance)
    else:
        mean, variance = norm.mean, norm.variance
    spread = np.sqrt(variance + pre.dtype.type(NORM_EPSILON))  # (O,)
    deviation = (pre - mean) / spread  # (B, O)
    return norm.scale * deviation + norm.shift, deviation, spread


def backward_norm(norm: Norm, gradient: Floats, trace: Trace, out: Norm | None, *, squared: bool = False) -> Floats:
    """Fill `out` with the gradients of scale and shift; return d loss / d pre (B, O)."""
    assert trace.deviation is not None and trace.spread is not None  # noqa: S101, PT018 - forward_norm made both
    if out is not None:
        scale, shift = gradient * trace.deviation, gradient  # (B, O), row by row
        out.scale[:] = (scale * scale if squared else scale).sum(axis=0)
        out.shift[:] = (shift * shift if squared else shift).sum(axis=0)
    inner = gradient * norm.scale  # (B, O)
    if trace.by_batch:  # mean and variance move with the batch
        inner = inner - inner.mean(axis=0) - trace.deviation * (inner * trace.deviation).mean(axis=0)
    return inner / trace.spread


def forward(
    architecture: Architecture, layers: Sequence[Layer], inputs: Floats, training: Training | None = None
) -> list[Trace]:
    """Run `inputs` (B, I) through `layers`; the last trace holds the logits and the outputs.

    A layer that does not learn keeps its running statistics. Without `training` this is inference.
    """
    values: Floats = inputs  # (B, I)
    traces: list[Trace] = []
    last = architecture.layers - 1
    shapes = zip(layers, architecture.activations, architecture.residuals, strict=True)
    for index, (layer, activation, residual) in enumerate(shapes):
        pre: Floats = values @ layer.weights.T + layer.biases  # (B, O)
        by_batch = training is not None and training.learning[index]
        deviation: Floats | None = None
        spread: Floats | None = None
        if layer.norm is not None:
            pre, deviation, spread = forward_norm(layer.norm, pre, by_batch=by_batch)
        activated = FORWARD[activation](pre)  # (B, O)
        kept = None
        if training is not None and architecture.dropout and index < last:
            chance = training.rng.random(activated.shape, np.float32) >= architecture.dropout
            kept = chance.astype(pre.dtype) / pre.dtype.type(1 - architecture.dropout)  # (B, O)
        traces.append(Trace(values, pre, activated, kept, deviation, spread, by_batch))
        out = activated if kept is None else activated * kept
        values = out + values if residual else out
    return traces


def backward(
    architecture: Architecture,
    layers: Sequence[Layer],
    traces: Sequence[Trace],
    gradient: Floats,
    out: Sequence[Layer] | None,
    *,
    from_logits: bool,
    lowest: int = 0,
    squared: bool = False,
) -> Floats:
    """Fill `out` with d loss / d parameters of the layers from `lowest` up; return the gradient reached.

    `gradient` (B, O) is by the network's outputs, or by its logits with `from_logits`. Without `out`
    no parameter's gradient is computed, and d loss / d inputs (B, I) is what returns. With `squared`, `out`
    gets the sum over rows of each row's own gradient squared: of a row, that of a weight is one product, so
    its square is the product of two squares, and one matrix product sums them exactly.
    """
    for index in reversed(range(lowest, architecture.layers)):
        layer, trace = layers[index], traces[index]
        through = gradient if trace.kept is None else gradient * trace.kept  # (B, O)
        if not (from_logits and index == architecture.layers - 1):
            through = BACKWARD[architecture.activations[index]](through, trace.pre, trace.activated)  # (B, O)
        if layer.norm is not None:
            through = backward_norm(layer.norm, through, trace, out[index].norm if out else None, squared=squared)
        if out is not None:
            slopes, inputs = (through**2, trace.inputs**2) if squared else (through, trace.inputs)  # (B, O), (B, I)
            np.matmul(slopes.T, inputs, out=out[index].weights)  # (O, I)
            slopes.sum(axis=0, out=out[index].biases)  # (O,)
        if index > lowest or out is None:
            below = through @ layer.weights  # (B, I)
            gradient = below + gradient if architecture.residuals[index] else below
    return gradient


def input_gradient(architecture: Architecture, layers: Sequence[Layer], inputs: Floats, output: int) -> Floats:
    """Return d logit / d inputs (B, I) of the output number `output`, row by row."""
    traces = forward(architecture, layers, inputs)
    gradient = np.zeros_like(traces[-1].pre)  # (B, O)
    gradient[:, output] = 1
    return backward(architecture, layers, traces, gradient, None, from_logits=True)
