"""Losses and their gradients, in NumPy: predictions and wanted values in, one number or a gradient out.

Every loss is a mean over all B x O values, or over the B rows for cross-entropy, each times its
weight; the sum is divided by the count, not by the sum of the weights, so that batches add up.
Targets may be soft. BCE and cross-entropy take logits: the value before sigmoid or softmax.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from detectors.activations import Floats, forward_sigmoid, forward_softmax
from detectors.kernels import Activation


class LossName(StrEnum):
    """The losses there are."""

    MSE = "mse"
    MAE = "mae"
    HUBER = "huber"
    PINBALL = "pinball"
    BCE = "bce"
    CROSS_ENTROPY = "cross_entropy"


@dataclass(frozen=True, slots=True)
class Loss:
    """A loss with its constants: `delta` is Huber's, `quantiles` pinball's (one for all outputs, or one each)."""

    name: LossName
    delta: float = 1.0
    quantiles: tuple[float, ...] = (0.5,)

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", LossName(self.name))
        object.__setattr__(self, "quantiles", tuple(self.quantiles))
        if self.delta <= 0:
            raise ValueError(f"delta is above 0, not {self.delta}")
        if not self.quantiles or not all(0 < quantile < 1 for quantile in self.quantiles):
            raise ValueError(f"quantiles lie between 0 and 1, not {self.quantiles}")

    def from_logits(self, output: Activation) -> bool:
        """Say whether this loss takes a network's logits; its `output` is then the activation that it contains.

        Raises ValueError where the two do not fit each other.
        """
        contained = {LossName.BCE: Activation.SIGMOID, LossName.CROSS_ENTROPY: Activation.SOFTMAX}.get(self.name)
        if contained is None:
            return False
        if output not in (contained, Activation.LINEAR):
            right = contained.name.lower()
            raise ValueError(f"{self.name} needs the output activation {right} or linear, not {output.name.lower()}")
        return True

    def forward(self, predicted: Floats, targets: Floats, weights: Floats | None = None) -> float:
        """Return the loss of `predicted` (B, O) against `targets` (B, O); `weights` (B, 1) or (B, O)."""
        return float(_FORWARD[self.name](self, predicted, targets, _ones(predicted, weights)))

    def backward(self, predicted: Floats, targets: Floats, weights: Floats | None = None) -> Floats:
        """Return d loss / d predicted (B, O), in the type of `predicted`."""
        gradient = _BACKWARD[self.name](self, predicted, targets, _ones(predicted, weights))
        return gradient.astype(predicted.dtype, copy=False)


def _ones(predicted: Floats, weights: Floats | None) -> Floats:
    return np.ones((1, 1), predicted.dtype) if weights is None else weights


def forward_mse(loss: Loss, predicted: Floats, targets: Floats, weights: Floats) -> float:  # noqa: ARG001 - as all
    """Mean of weight x (predicted - target)²."""
    return float(np.mean(weights * (predicted - targets) ** 2))  # (B, O)


def backward_mse(loss: Loss, predicted: Floats, targets: Floats, weights: Floats) -> Floats:  # noqa: ARG001 - as all
    """2 weight (predicted - target) / count."""
    return weights * (predicted - targets) * (2 / predicted.size)  # (B, O)


def forward_mae(loss: Loss, predicted: Floats, targets: Floats, weights: Floats) -> float:  # noqa: ARG001 - as all
    """Mean of weight x |predicted - target|."""
    return float(np.mean(weights * np.abs(predicted - targets)))  # (B, O)


def backward_mae(loss: Loss, predicted: Floats, targets: Floats, weights: Floats) -> Floats:  # noqa: ARG001 - as all
    """Weight x sign / count; 0 where they are equal."""
    return weights * np.sign(predicted - targets) / predicted.size  # (B, O)


def forward_huber(loss: Loss, predicted: Floats, targets: Floats, weights: Floats) -> float:
    """Half the square within delta, a line beyond (Huber, "Robust Estimation of a Location Parameter", 1964)."""
    size = np.abs(predicted - targets)  # (B, O)
    inside = np.minimum(size, loss.delta)  # (B, O)
    return float(np.mean(weights * (0.5 * inside**2 + loss.delta * (size - inside))))


def backward_huber(loss: Loss, predicted: Floats, targets: Floats, weights: Floats) -> Floats:
    """The difference, held within ± delta, / count."""
    return weights * np.clip(predicted - targets, -loss.delta, loss.delta) / predicted.size  # (B, O)


def forward_pinball(loss: Loss, predicted: Floats, targets: Floats, weights: Floats) -> float:
    """The loss whose minimum is a quantile (Koenker and Bassett, "Regression Quantiles", 1978)."""
    above = targets - predicted  # (B, O)
    level = np.asarray(loss.quantiles, predicted.dtype)  # (O,) or (1,)
    return float(np.mean(weights * np.maximum(level * above, (level - 1) * above)))


def backward_pinball(loss: Loss, predicted: Floats, targets: Floats, weights: Floats) -> Floats:
    """-quantile below the target, 1 - quantile above it, 0 on it; / count."""
    level = np.asarray(loss.quantiles, predicted.dtype)  # (O,) or (1,)
    slope = np.where(predicted < targets, -level, np.where(predicted > targets, 1 - level, 0))  # (B, O)
    return weights * slope / predicted.size


def forward_bce(loss: Loss, predicted: Floats, targets: Floats, weights: Floats) -> float:  # noqa: ARG001 - as all
    """Binary cross-entropy of logits: log(1 + e^x) - target x x, which overflows nowhere."""
    return float(np.mean(weights * (np.logaddexp(0, predicted) - targets * predicted)))  # (B, O)


def backward_bce(loss: Loss, predicted: Floats, targets: Floats, weights: Floats) -> Floats:  # noqa: ARG001 - as all
    """(sigmoid(x) - target) / count."""
    return weights * (forward_sigmoid(predicted) - targets) / predicted.size  # (B, O)


def forward_cross_entropy(
    loss: Loss,  # noqa: ARG001 - one signature for all
    predicted: Floats,
    targets: Floats,
    weights: Floats,
) -> float:
    """Mean over rows of -sum target x log softmax(x); a row of soft targets need not sum to 1."""
    top = predicted.max(axis=1, keepdims=True)  # (B, 1)
    logs = predicted - top - np.log(np.exp(predicted - top).sum(axis=1, keepdims=True))  # (B, O)
    return float(-np.sum(weights * targets * logs) / len(predicted))


def backward_cross_entropy(
    loss: Loss,  # noqa: ARG001 - one signature for all
    predicted: Floats,
    targets: Floats,
    weights: Floats,
) -> Floats:
    """(softmax(x) x sum of the row's weighted targets - weighted target) / rows."""
    wanted = weights * targets  # (B, O)
    whole = wanted.sum(axis=1, keepdims=True)  # (B, 1)
    return np.asarray((forward_softmax(predicted) * whole - wanted) / len(predicted))  # (B, O)


_FORWARD: Mapping[LossName, Callable[[Loss, Floats, Floats, Floats], float]] = {
    LossName.MSE: forward_mse,
    LossName.MAE: forward_mae,
    LossName.HUBER: forward_huber,
    LossName.PINBALL: forward_pinball,
    LossName.BCE: forward_bce,
    LossName.CROSS_ENTROPY: forward_cross_entropy,
}
_BACKWARD: Mapping[LossName, Callable[[Loss, Floats, Floats, Floats], Floats]] = {
    LossName.MSE: backward_mse,
    LossName.MAE: backward_mae,
    LossName.HUBER: backward_huber,
    LossName.PINBALL: backward_pinball,
    LossName.BCE: backward_bce,
    LossName.CROSS_ENTROPY: backward_cross_entropy,
}
