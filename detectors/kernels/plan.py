"""What a kernel is told: the shape of a network, how it is trained, and where a training stands.

Pure values; every back end takes the same. Canonical parameters are, layer after layer, the weights
(out, in) row by row and then the biases (out), all float32.
"""

from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]

BF16_ERROR = 2.0**-8  # largest relative difference of a weight from the float32 it was


class Activation(IntEnum):
    """What a layer does with its sums; LEAKY_RELU has slope 0.01, GELU is the exact form with erf, everywhere.

    What is not a number stays none: NaN gives NaN, and in SOFTMAX to its whole row. Infinities give the limits:
    RELU and GELU 0 and inf, SIGMOID 0 and 1, TANH -1 and 1, LEAKY_RELU and LINEAR -inf and inf. SOFTMAX gives 0
    for -inf, and NaN to the row that holds inf, or -inf alone.
    """

    LINEAR = 0
    RELU = 1
    LEAKY_RELU = 2
    SIGMOID = 3
    TANH = 4
    GELU = 5
    SOFTMAX = 6


class Loss(IntEnum):
    """Mean over rows and outputs; BCE wants a SIGMOID at the end and works on its logit."""

    MSE = 0
    BCE = 1


class Rule(IntEnum):
    """How gradients become steps, each as PyTorch's optimizer of that name defines it."""

    SGD = 0
    RMSPROP = 1
    ADAM = 2
    ADAMW = 3


class Precision(IntEnum):
    """How a back end may hold weights; biases, inputs and sums are float32 always.

    BF16 halves what a single sample has to read. A back end that gains nothing by it holds FLOAT32.
    """

    FLOAT32 = 0
    BF16 = 1


@dataclass(frozen=True, slots=True)
class Plan:
    """All that a kernel needs to know of a network's shape.

    `sizes` are the widths from inputs to outputs; `activations` and `residual` have one entry a layer.
    A residual layer adds its input (of the same width) to its activated output.
    """

    sizes: tuple[int, ...]
    activations: tuple[Activation, ...]
    residual: tuple[bool, ...]
    precision: Precision = Precision.FLOAT32

    def __post_init__(self) -> None:
        layers = len(self.sizes) - 1
        if layers < 1 or min(self.sizes) < 1:
            raise ValueError(f"a network needs two widths or more, all above 0, not {self.sizes}")
        if len(self.activations) != layers or len(self.residual) != layers:
            raise ValueError(f"{layers} layers need as many activations and residual marks")
        for layer, residual in enumerate(self.residual):
            if residual and self.sizes[layer] != self.sizes[layer + 1]:
                raise ValueError(f"layer {layer} cannot add {self.sizes[layer]} inputs to {self.sizes[layer + 1]}")

    @property
    def parameters(self) -> int:
        """Number of weights and biases."""
        return sum((wide + 1) * out for wide, out in zip(self.sizes[:-1], self.sizes[1:], strict=True))


def dense(sizes: tuple[int, ...], hidden: Activation, output: Activation) -> Plan:
    """Return the plan of a plain network: `hidden` between the layers, `output` at the end."""
    layers = len(sizes) - 1
    return Plan(sizes, (hidden,) * (layers - 1) + (output,), (False,) * layers)


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """One way to train. `l2` is added to the gradient, `weight_decay` (AdamW) shrinks the weight itself.

    Both, and `non_negative` (weights below 0 become 0 after each step), concern weights, never biases.
    `momentum` is SGD's; `decay_first` and `decay_second` are Adam's betas, `decay_second` is RMSprop's alpha.
    """

    rule: Rule = Rule.ADAM
    loss: Loss = Loss.MSE
    batch: int = 32
    learning_rate: float = 1e-3
    momentum: float = 0.9
    decay_first: float = 0.9
    decay_second: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 0.0
    l2: float = 0.0
    non_negative: bool = False


@dataclass(slots=True)
class TrainState:
    """Where a training stands: steps done and the optimizer's two moments, in canonical order."""

    first: Float32
    second: Float32
    step: int = field(default=0)

    @classmethod
    def start(cls, plan: Plan) -> "TrainState":
        """Return the state before the first step."""
        return cls(np.zeros(plan.parameters, np.float32), np.zeros(plan.parameters, np.float32))
