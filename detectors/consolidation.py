"""What a network has learned before, kept while it learns more: elastic weights, and gradients that undo nothing.

Enters: a trained network with rows that it was trained on. Leaves: how much each parameter matters to them, and
what a later training does about it, step by step (`detectors.trainer` asks). It never trains, and keeps no rows: those
are in `detectors.replay`.

Importance is the mean over rows of each row's own squared gradient (the empirical Fisher; Kirkpatrick et al.,
"Overcoming catastrophic forgetting in neural networks", PNAS 2017). The square of a batch's mean gradient is about
1/batch of it, and with that the strength of the penalty would hang on the batch size. Over many trainings it is one
decaying mean (Schwarz et al., "Progress & Compress", ICML 2018, have the sum: with that the strength would hang on how
often a network was trained, and after many times it could learn nothing more).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.activations import Floats
from detectors.backpropagation import backward, forward
from detectors.losses import Loss
from detectors.network import Float32
from detectors.parameters import Architecture, layers_of

_BATCH = 256  # rows at once: of memory, nothing else depends on it
_SWEEPS, _SETTLED = 200, 1e-6
_LEAST = 1e-12  # of the mean importance: less is none


@dataclass(frozen=True, slots=True)
class Elastic:
    """A penalty for leaving what was learned: strength / 2 x sum of importance x (parameter - anchor)^2.

    `anchor` and `importance` (P,); `importance` is relative: it has the mean 1 over the parameters, so that `strength`
    means the same for every loss, network and batch size. `trainings`: how many are in it.
    """

    anchor: Float32
    importance: Float32
    strength: float
    trainings: int = 1

    def __post_init__(self) -> None:
        if self.anchor.shape != self.importance.shape or self.anchor.ndim != 1:
            raise ValueError(f"anchor {self.anchor.shape} and importance {self.importance.shape} do not fit each other")
        if not self.strength >= 0 or not (np.isfinite(self.importance).all() and self.importance.min(initial=0) >= 0):
            raise ValueError("strength and importance are numbers from 0 up")

    def penalty(self, block: Floats) -> float:
        """Return what is added to the loss of `block` (P,)."""
        away = (block - self.anchor).astype(np.float64)
        return float(0.5 * self.strength * np.sum(self.importance * away**2))

    def pull(self, block: Floats, rate: float) -> None:
        """Bring `block` (P,) nearer to the anchor in place: the penalty's part of a step of `rate`.

        The step is the implicit one, (block + r anchor) / (1 + r), r = rate x strength x importance (Parikh and Boyd,
        "Proximal Algorithms", 2014): no strength makes it overshoot, as a step along the gradient does.
        """
        reach = np.float32(rate * self.strength) * self.importance
        block -= reach / (1 + reach) * (block - self.anchor)


def importance(
    architecture: Architecture, block: Float32, loss: Loss, inputs: Float32, targets: Float32
) -> NDArray[np.float64]:
    """Return the mean over rows of the squared gradient (P,) of each row's loss, at `block` (P,).

    `inputs` (T, I), `targets` (T, O), T >= 1. Every row is one of its own: no batch, dropout or batch statistics enter.
    In float64: squares of what a trained network has left to learn are too small for float32.
    """
    if not len(inputs):
        raise ValueError("importance is told by one row at least")
    exact = block.astype(np.float64)
    squares = np.zeros_like(exact)
    layers, out = layers_of(architecture, exact), layers_of(architecture, squares)
    from_logits = loss.from_logits(architecture.output)
    total = np.zeros_like(exact)
    for start in range(0, len(inputs), _BATCH):
        rows = slice(start, start + _BATCH)
        traces = forward(architecture, layers, inputs[rows].astype(np.float64))
        predicted = traces[-1].pre if from_logits else traces[-1].activated  # (B, O)
        slope = loss.backward(predicted, targets[rows].astype(np.float64))  # (B, O) of the batch's mean
        backward(architecture, layers, traces, slope * len(slope), out, from_logits=from_logits, squared=True)
        total += squares
    return np.asarray(total / len(inputs))


def consolidated(before: Elastic | None, block: Float32, found: Floats, *, strength: float, decay: float) -> Elastic:
    """Return the penalty that keeps `block` (P,) after a training in which `found` (P,) was its importance.

    What was important before counts `decay` times as much from now on, 0 to 1: parameters that no training has needed
    for long become free again. With 1 every training counts the same. Raises ValueError where no parameter matters:
    such a penalty would keep nothing.
    """
    mean = float(found.mean())
    if not (mean > 0 and np.isfinite(mean)):
        raise ValueError(f"the mean importance is {mean}: this network depends on nothing it was shown")
    now = np.where(found > _LEAST * mean, found / mean, 0.0)  # numbers too small for float32 cost a lot of time
    if before is None:
        return Elastic(block.copy(), now.astype(np.float32), strength)
    former = float(np.sum(decay ** np.arange(1, before.trainings + 1)))  # what those before count, beside 1
    whole = (former * before.importance + now) / (former + 1)
    return Elastic(block.copy(), whole.astype(np.float32), strength, before.trainings + 1)


@dataclass(frozen=True, slots=True)
class Episodes:
    """Rows of earlier regimes whose loss no step may raise: `inputs` (M, I), `targets` (M, O), `groups` (M,) from 0.

    Every group is a condition of its own (gradient episodic memory; Lopez-Paz and Ranzato, NeurIPS 2017); one group for
    all is A-GEM (Chaudhry et al., ICLR 2019). `drawn` rows of each are looked at before a step.
    """

    inputs: Float32
    targets: Float32
    groups: NDArray[np.int64]
    drawn: int = 64

    def draw(self, rng: "np.random.Generator") -> list[tuple[Float32, Float32]]:
        """Return inputs and targets of up to `drawn` rows of each group."""
        chosen = []
        for group in np.unique(self.groups):
            rows = np.flatnonzero(self.groups == group)
            if len(rows) > self.drawn:
                rows = rng.choice(rows, self.drawn, replace=False)
            chosen.append((self.inputs[rows], self.targets[rows]))
        return chosen


def project(gradient: Float32, earlier: Float32) -> None:
    """Turn `gradient` (P,) in place, as little as can be: no product with one of `earlier` (G, P) stays negative.

    The nearest such gradient is gradient + v earlier with v >= 0 from the dual, a quadratic programme of G unknowns
    (Lopez-Paz and Ranzato, NeurIPS 2017, eq. 11), solved one unknown after the other.
    """
    rows = earlier[(earlier * earlier).sum(axis=1) > 0].astype(np.float64)
    against = rows @ gradient.astype(np.float64)  # (G,)
    if not (against < 0).any():
        return
    inner = rows @ rows.T  # (G, G)
    v = np.zeros(len(rows))
    for _ in range(_SWEEPS):
        before = v.copy()
        for place in range(len(v)):
            v[place] = max(0.0, v[place] - (inner[place] @ v + against[place]) / inner[place, place])
        if np.abs(v - before).max() <= _SETTLED * np.abs(v).max():
            break
    gradient += (v @ rows).astype(np.float32)
