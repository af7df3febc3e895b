"""Learning rates over time: an epoch in, the factor of the optimizer's rate out."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Schedule:
    """Constant: the factor is 1 in every epoch."""

    def factor(self, epoch: int, epochs: int) -> float:  # noqa: ARG002 - one signature for all
        """Return the factor of epoch `epoch` (from 0) of `epochs`."""
        return 1.0


@dataclass(frozen=True, slots=True)
class Exponential(Schedule):
    """decay^epoch."""

    decay: float = 0.95

    def factor(self, epoch: int, epochs: int) -> float:  # noqa: ARG002 - one signature for all
        """Return the factor of epoch `epoch` (from 0)."""
        return float(self.decay**epoch)


@dataclass(frozen=True, slots=True)
class Step(Schedule):
    """decay^(epoch // every): a step down every `every` epochs."""

    every: int = 10
    decay: float = 0.5

    def factor(self, epoch: int, epochs: int) -> float:  # noqa: ARG002 - one signature for all
        """Return the factor of epoch `epoch` (from 0)."""
        return float(self.decay ** (epoch // self.every))


@dataclass(frozen=True, slots=True)
class Cosine(Schedule):
    """A line up over `warm_up` epochs, then half a cosine down to `lowest` (Loshchilov and Hutter, SGDR, ICLR 2017)."""

    warm_up: int = 0
    lowest: float = 0.0

    def factor(self, epoch: int, epochs: int) -> float:
        """Return the factor of epoch `epoch` (from 0) of `epochs`; the last epoch has the lowest."""
        if epoch < self.warm_up:
            return (epoch + 1) / (self.warm_up + 1)
        span = max(epochs - 1 - self.warm_up, 1)
        share = min((epoch - self.warm_up) / span, 1.0)
        return self.lowest + (1 - self.lowest) * 0.5 * (1 + math.cos(math.pi * share))


SCHEDULES: dict[str, type[Schedule]] = {
    "constant": Schedule,
    "exponential": Exponential,
    "step": Step,
    "cosine": Cosine,
}
