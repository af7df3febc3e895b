"""What a dense network is made of: its architecture, the layout of its one flat block, and its first values.

The block holds, layer after layer, weights (out, in) row by row and then biases (out): the canonical
part that back ends take. Where there is batch normalisation, scale, shift, running mean and running
variance (out each) of every hidden layer follow at the end, and `fold` leaves the canonical part alone.
"""

import math
import operator
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from detectors.activations import Floats
from detectors.kernels import Activation, Plan

Float32 = NDArray[np.float32]

NORM_EPSILON = 1e-5
_WIDEST = 1 << 16


class Initialisation(StrEnum):
    """How weights begin, uniform within ± a limit by the layer's width; biases begin at 0."""

    XAVIER = "xavier"  # sqrt(6 / (in + out)), Glorot and Bengio, AISTATS 2010: tanh, sigmoid, linear
    HE = "he"  # sqrt(6 / in), He et al., ICCV 2015: the relu family


def activation(name: Activation | str) -> Activation:
    """Return the activation of that name ("relu"). Raises ValueError with the names that there are."""
    if isinstance(name, Activation):
        return name
    try:
        return Activation[name.upper()]
    except KeyError:
        known = ", ".join(member.name.lower() for member in Activation)
        raise ValueError(f"no activation is called {name!r}: there are {known}") from None


@dataclass(frozen=True, slots=True)
class Architecture:
    """The shape of a network and what training does to it.

    `sizes` are the widths from the inputs to the outputs; `hidden` is one activation, or one for each
    hidden layer. `residual`: a hidden layer as wide as its input adds it to its output (He et al., CVPR
    2016). `batch_norm`: before every hidden activation (Ioffe and Szegedy, ICML 2015). `dropout`: share of
    hidden units that a training step leaves out (Srivastava et al., JMLR 2014). `l2`: factor of half the
    squared weights in the loss. `non_negative`: no weight falls below 0, so with rising activations no
    output falls when an input rises. Raises ValueError for what cannot be built,
    TypeError for a width that is no whole number.
    """

    sizes: tuple[int, ...]
    hidden: Activation | tuple[Activation, ...] = Activation.RELU
    output: Activation = Activation.LINEAR
    initialisation: Initialisation = Initialisation.HE
    non_negative: bool = False
    residual: bool = False
    batch_norm: bool = False
    dropout: float = 0.0
    l2: float = 0.0

    def __post_init__(self) -> None:
        sizes = tuple(operator.index(size) for size in self.sizes)
        object.__setattr__(self, "sizes", sizes)
        hidden = self.hidden
        if isinstance(hidden, tuple | list):
            object.__setattr__(self, "hidden", tuple(activation(name) for name in hidden))
        else:
            object.__setattr__(self, "hidden", activation(hidden))
        object.__setattr__(self, "output", activation(self.output))
        object.__setattr__(self, "initialisation", Initialisation(self.initialisation))
        if len(sizes) < 2 or not all(1 <= size <= _WIDEST for size in sizes):  # noqa: PLR2004 - inputs and outputs
            raise ValueError(f"sizes are two or more widths from 1 to {_WIDEST}, not {sizes}")
        if len(self.activations) != self.layers:
            raise ValueError(
                f"{self.layers - 1} hidden layers need as many activations, not {len(self.activations) - 1}"
            )
        if Activation.SOFTMAX in self.activations[:-1]:
            raise ValueError("softmax is an output activation: no hidden layer can have it")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is a share from 0 to below 1, not {self.dropout}")
        if self.l2 < 0:
            raise ValueError(f"l2 is 0 or more, not {self.l2}")

    @property
    def layers(self) -> int:
        """Number of layers with weights."""
        return len(self.sizes) - 1

    @property
    def activations(self) -> tuple[Activation, ...]:
        """The activation of each layer, the output's last."""
        hidden = self.hidden if isinstance(self.hidden, tuple) else (self.hidden,) * (len(self.sizes) - 2)
        return (*hidden, self.output)

    @property
    def residuals(self) -> tuple[bool, ...]:
        """Whether each layer adds its input to its output."""
        same = [wide == out for wide, out in pairwise(self.sizes)]
        return (*(self.residual and equal for equal in same[:-1]), False)

    @property
    def canonical_count(self) -> int:
        """Number of weights and biases: the length of what a back end packs."""
        return sum(wide * out + out for wide, out in pairwise(self.sizes))

    @property
    def count(self) -> int:
        """Length of the whole block."""
        return self.canonical_count + (4 * sum(self.sizes[1:-1]) if self.batch_norm else 0)

    def plan(self, *, logits: bool = False) -> Plan:
        """Return what a back end needs to know; with `logits` the last layer has no activation."""
        activations = (*self.activations[:-1], Activation.LINEAR) if logits else self.activations
        return Plan(self.sizes, activations, self.residuals)

    def __str__(self) -> str:
        return "-".join(map(str, self.sizes))


@dataclass(frozen=True, slots=True)
class Norm:
    """Views on the batch normalisation of one layer, each (out,)."""

    scale: Floats
    shift: Floats
    mean: Floats
    variance: Floats


@dataclass(frozen=True, slots=True)
class Layer:
    """Views on one layer: `weights` (out, in), `biases` (out,), and the normalisation where there is one."""

    weights: Floats
    biases: Floats
    norm: Norm | None


def layers_of(architecture: Architecture, block: Floats) -> tuple[Layer, ...]:
    """Return views on `block` (count,), any float type; a change to one is a change to the block."""
    plain, at = [], 0
    for wide, out in pairwise(architecture.sizes):
        weights = block[at : at + wide * out].reshape(out, wide)
        at += wide * out
        plain.append((weights, block[at : at + out]))
        at += out
    norms: list[Norm | None] = [None] * architecture.layers
    if architecture.batch_norm:
        for index, out in enumerate(architecture.sizes[1:-1]):
            norms[index] = Norm(*(block[at + part * out : at + (part + 1) * out] for part in range(4)))
            at += 4 * out
    return tuple(Layer(weights, biases, norm) for (weights, biases), norm in zip(plain, norms, strict=True))


def weights_of(architecture: Architecture, layers: Iterable[int]) -> NDArray[np.bool_]:
    """Return which values (count,) are weights of `layers`, counted from 0."""
    mark = np.zeros(architecture.count, np.float32)
    views = layers_of(architecture, mark)
    for index in layers:
        views[index].weights[:] = 1
    return mark > 0


def initial(architecture: Architecture, seed: int) -> Float32:
    """Return a first block: the same for the same architecture and seed.

    Weights that may not be negative are uniform from 0 to 2 / in: a layer hands on the mean of what it sees.
    """
    rng = np.random.Generator(np.random.SFC64(seed))
    block = np.zeros(architecture.count, np.float32)
    for layer in layers_of(architecture, block):
        out, wide = layer.weights.shape
        he = architecture.initialisation is Initialisation.HE
        limit = math.sqrt(6 / (wide if he else wide + out))
        weights = layer.weights
        rng.random(dtype=np.float32, out=weights)
        if architecture.non_negative:
            weights *= np.float32(2 / wide)
        else:
            weights -= np.float32(0.5)
            weights *= np.float32(2 * limit)
        if layer.norm is not None:
            layer.norm.scale[:] = 1
            layer.norm.variance[:] = 1
    return block


def fold(architecture: Architecture, block: Floats) -> Floats:
    """Return the canonical weights and biases (canonical_count,) that compute what `block` (count,) computes.

    scale x (Wx + b - mean) / sqrt(variance + 1e-5) + shift is again a weight and a bias.
    """
    if not architecture.batch_norm:
        return block
    whole = block.astype(np.float64)  # a copy, and no rounding before the last
    for layer in layers_of(architecture, whole):
        if layer.norm is not None:
            factor = layer.norm.scale / np.sqrt(layer.norm.variance + NORM_EPSILON)  # (out,)
            layer.weights[:] *= factor[:, None]
            layer.biases[:] = (layer.biases - layer.norm.mean) * factor + layer.norm.shift
    return whole[: architecture.canonical_count].astype(block.dtype)
