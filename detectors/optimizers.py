"""Optimizers on one flat block, in NumPy: a gradient and a rate in, the block changed in place.

An optimizer is its settings; what it remembers between steps is a `State` that `start` makes. Same
state, same gradient, same step: nothing here draws a random number.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from detectors.activations import Floats

_RPROP_RATES = (1e-6, 50.0)  # smallest and largest step of one parameter


@dataclass(slots=True)
class State:
    """What an optimizer remembers: steps taken, slots as long as the block, and which values decay."""

    steps: int
    slots: tuple[Floats, ...]
    decayed: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Optimizer(ABC):
    """Settings of an optimizer; `rate` is the learning rate before its schedule."""

    SLOTS: ClassVar[int] = 0

    rate: float = 1e-3

    def __post_init__(self) -> None:
        if not self.rate > 0:
            raise ValueError(f"rate is above 0, not {self.rate}")

    def start(self, block: Floats, decayed: NDArray[np.bool_] | None = None) -> State:
        """Return the state before the first step on `block` (P,); `decayed` (P,) marks what AdamW decays."""
        mask = np.ones(block.shape, np.bool_) if decayed is None else decayed
        return State(0, tuple(np.zeros_like(block) for _ in range(self.SLOTS)), mask)

    def step(self, state: State, block: Floats, gradient: Floats, rate: float) -> None:
        """Change `block` (P,) by one step against `gradient` (P,) with the learning rate `rate`."""
        state.steps += 1
        self.move(state, block, gradient, rate)

    @abstractmethod
    def move(self, state: State, block: Floats, gradient: Floats, rate: float) -> None:
        """Do the same where `state` has counted the step already."""


@dataclass(frozen=True, slots=True)
class Sgd(Optimizer):
    """Gradient descent with momentum (Polyak, "Some methods of speeding up the convergence", 1964)."""

    SLOTS: ClassVar[int] = 1

    rate: float = 1e-2
    momentum: float = 0.9

    def move(self, state: State, block: Floats, gradient: Floats, rate: float) -> None:
        """Take the step; see `Optimizer.step`."""
        (velocity,) = state.slots
        velocity *= self.momentum
        velocity += gradient
        block -= rate * velocity


@dataclass(frozen=True, slots=True)
class RmsProp(Optimizer):
    """Steps over the root of the mean square (Tieleman and Hinton, Coursera lecture 6.5, 2012)."""

    SLOTS: ClassVar[int] = 1

    decay: float = 0.99
    epsilon: float = 1e-8

    def move(self, state: State, block: Floats, gradient: Floats, rate: float) -> None:
        """Take the step; see `Optimizer.step`."""
        (square,) = state.slots
        square += (1 - self.decay) * (gradient * gradient - square)
        block -= rate * gradient / (np.sqrt(square) + self.epsilon)


@dataclass(frozen=True, slots=True)
class Adam(Optimizer):
    """Adaptive moments with bias correction (Kingma and Ba, "Adam", ICLR 2015)."""

    SLOTS: ClassVar[int] = 2

    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8

    def move(self, state: State, block: Floats, gradient: Floats, rate: float) -> None:
        """Take the step; see `Optimizer.step`."""
        mean, square = state.slots
        mean += (1 - self.beta1) * (gradient - mean)
        square += (1 - self.beta2) * (gradient * gradient - square)
        step = rate / (1 - self.beta1**state.steps)
        root = (1 - self.beta2**state.steps) ** 0.5
        block -= step * mean / (np.sqrt(square) / root + self.epsilon)


@dataclass(frozen=True, slots=True)
class AdamW(Adam):
    """Adam whose decay of the weights is no part of the gradient (Loshchilov and Hutter, ICLR 2019)."""

    weight_decay: float = 1e-2

    def move(self, state: State, block: Floats, gradient: Floats, rate: float) -> None:
        """Take the step; see `Optimizer.step`."""
        np.subtract(block, rate * self.weight_decay * block, out=block, where=state.decayed)
        Adam.move(self, state, block, gradient, rate)


@dataclass(frozen=True, slots=True)
class RProp(Optimizer):
    """Steps by the gradient's sign alone, each its own size (Riedmiller and Braun, 1993).

    The form is iRprop- (Igel and Hüsken, "Improving the Rprop Learning Algorithm", 2000). `rate` is the first
    step's size. For whole batches: between mini-batches signs change by chance.
    """

    SLOTS: ClassVar[int] = 2

    rate: float = 1e-2
    grow: float = 1.2
    shrink: float = 0.5

    def move(self, state: State, block: Floats, gradient: Floats, rate: float) -> None:
        """Take the step; see `Optimizer.step`."""
        size, before = state.slots
        if state.steps == 1:
            size[:] = rate
        agree = gradient * before
        size *= np.where(agree > 0, self.grow, np.where(agree < 0, self.shrink, 1.0))
        np.clip(size, *_RPROP_RATES, out=size)
        before[:] = np.where(agree < 0, 0, gradient)  # after a change of sign the next step only restarts
        block -= np.sign(before) * size


@dataclass(frozen=True, slots=True)
class QuickProp(Optimizer):
    """Jumps to the minimum of a parabola through two gradients (Fahlman, CMU-CS-88-162, 1988).

    `growth` bounds a step by the one before. For whole batches.
    """

    SLOTS: ClassVar[int] = 2

    rate: float = 1e-2
    growth: float = 1.75

    def move(self, state: State, block: Floats, gradient: Floats, rate: float) -> None:
        """Take the step; see `Optimizer.step`."""
        move, before = state.slots
        way = -np.sign(move)
        slope, last = way * gradient, way * before  # above 0 where the last move's way is still downhill
        steep = slope >= self.growth / (1 + self.growth) * last  # no minimum ahead within the bound
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            parabola = np.nan_to_num(np.clip(slope / (last - slope), -self.growth, self.growth), nan=0.0)
        factor = np.where(steep, self.growth, parabola)
        downhill = np.where((slope > 0) | (move == 0), rate, 0.0) * gradient
        move *= factor
        move -= downhill
        before[:] = gradient
        block += move


OPTIMIZERS: dict[str, type[Optimizer]] = {
    "sgd": Sgd,
    "rmsprop": RmsProp,
    "adam": Adam,
    "adamw": AdamW,
    "rprop": RProp,
    "quickprop": QuickProp,
}


def clip_norm(gradient: Floats, most: float) -> float:
    """Scale `gradient` (P,) in place so that its norm is at most `most`; return the norm before.

    Pascanu et al., "On the difficulty of training recurrent neural networks", ICML 2013.
    """
    norm = float(np.linalg.norm(gradient))
    if norm > most:
        gradient *= most / norm
    return norm
