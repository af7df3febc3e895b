"""What ails a network: units that never speak, units that always shout, gradients that vanish or explode.

Enters: a network and rows that are usual for it. Leaves: counts and norms, layer by layer. Changes nothing.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.activations import Floats
from detectors.backpropagation import Trace, backward, forward
from detectors.kernels import Activation
from detectors.losses import Loss
from detectors.network import Network
from detectors.parameters import layers_of

_FLAT = 0.01  # of the steepest slope: below it a bounded unit learns next to nothing


@dataclass(frozen=True, slots=True)
class LayerHealth:
    """One hidden or output layer: which units (O,) are dead and which are saturated.

    Dead: relu, at or below 0 before it on every row. Saturated: sigmoid or tanh, with a slope under
    a hundredth of its steepest on every row. Other activations can be neither.
    """

    activation: Activation
    dead: NDArray[np.bool_]
    saturated: NDArray[np.bool_]


def health(network: Network, inputs: Floats) -> tuple[LayerHealth, ...]:
    """Return the state of each layer's units on `inputs` (B, I), B >= 1."""
    rows = _rows(network, inputs)
    traces = forward(network.architecture, network.layers, rows)
    return tuple(
        _layer(activation, trace) for activation, trace in zip(network.architecture.activations, traces, strict=True)
    )


def gradient_norms(network: Network, inputs: Floats, targets: Floats, loss: Loss) -> tuple[float, ...]:
    """Return the norm of d loss / d weights of each layer for one batch (B, I) and targets (B, O)."""
    rows = _rows(network, inputs)
    architecture = network.architecture
    if targets.shape != (len(rows), architecture.sizes[-1]):
        raise ValueError(f"targets are ({len(rows)}, {architecture.sizes[-1]}), not {targets.shape}")
    from_logits = loss.from_logits(architecture.output)
    traces = forward(architecture, network.layers, rows)
    slope = loss.backward(traces[-1].pre if from_logits else traces[-1].activated, targets)
    gradients = layers_of(architecture, np.zeros(architecture.count, np.float32))
    backward(architecture, network.layers, traces, slope, gradients, from_logits=from_logits)
    return tuple(float(np.linalg.norm(layer.weights)) for layer in gradients)


def _rows(network: Network, inputs: Floats) -> Floats:
    width = network.architecture.sizes[0]
    if inputs.ndim != 2 or inputs.shape[1] != width or not len(inputs):  # noqa: PLR2004 - rows and columns
        raise ValueError(f"inspection takes inputs (rows, {width}), at least one row, not {inputs.shape}")
    return inputs.astype(np.float32)


def _layer(activation: Activation, trace: Trace) -> LayerHealth:
    dead = saturated = np.zeros(trace.pre.shape, np.bool_)  # (B, O)
    if activation is Activation.RELU:
        dead = trace.pre <= 0
    elif activation is Activation.SIGMOID:
        saturated = 4 * trace.activated * (1 - trace.activated) < _FLAT
    elif activation is Activation.TANH:
        saturated = 1 - trace.activated**2 < _FLAT
    return LayerHealth(activation, np.all(dead, axis=0), np.all(saturated, axis=0))
