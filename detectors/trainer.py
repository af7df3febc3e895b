"""Training of a network by mini-batches: rows and targets in, better parameters and a record out.

Deterministic by seed. Where the network's back end has a fused kernel for the combination, that one
takes the steps, and NumPy otherwise; nothing else depends on which. What is not a number ends a
training as a `DivergenceError`, never as a network.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.activations import Floats
from detectors.backpropagation import Training, backward, forward
from detectors.consolidation import Elastic, Episodes, project
from detectors.fused import Fused, fused
from detectors.losses import Loss, LossName
from detectors.network import Float32, Network, as_float32
from detectors.optimizers import Adam, Optimizer, clip_norm
from detectors.parameters import Architecture, Layer, layers_of, weights_of
from detectors.schedules import Schedule

_BLOWN_UP = 1e4  # times the loss before the first step, or 1 where that was below

Labels = NDArray[np.int64]


class DivergenceError(Exception):
    """A training left the numbers: in which epoch (from 1), and how it showed."""

    def __init__(self, epoch: int, reason: str) -> None:
        super().__init__(f"the training diverged in epoch {epoch}: {reason}")
        self.epoch = epoch
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Settings:
    """How to train.

    `clip`: the gradient's largest norm. `validation`: share of the rows held out. `patience`: epochs
    without a gain of `least_gain` in the watched loss (validation's, else training's) before it stops.
    """

    loss: Loss = field(default_factory=lambda: Loss(LossName.MSE))
    optimizer: Optimizer = field(default_factory=Adam)
    schedule: Schedule = field(default_factory=Schedule)
    epochs: int = 10
    batch: int = 32
    clip: float | None = None
    validation: float = 0.0
    patience: int | None = None
    least_gain: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch < 1:
            raise ValueError(f"epochs and batch are 1 or more, not {self.epochs} and {self.batch}")
        if not 0 <= self.validation < 1:
            raise ValueError(f"validation is a share from 0 to below 1, not {self.validation}")
        if self.clip is not None and self.clip <= 0:
            raise ValueError(f"clip is above 0, not {self.clip}")


@dataclass(frozen=True, slots=True)
class Epoch:
    """What came of one epoch, numbered from 1: mean losses without the penalty of l2, and the rate it used."""

    number: int
    epochs: int
    loss: float
    validation_loss: float | None
    rate: float


@dataclass(frozen=True, slots=True)
class Record:
    """A training: its epochs, the number of the one whose parameters were kept, and whether it stopped early."""

    epochs: tuple[Epoch, ...]
    best: int
    stopped_early: bool


class Trainer:
    """Takes epochs on a block of its own; `store` hands the block to the network.

    `learning` says of each layer whether it learns; the others keep every bit. `elastic` pulls the parameters to
    where they were, and no step raises the loss of `episodes`: what was learned before is kept. Raises ValueError for
    a loss that the network's output does not fit.
    """

    def __init__(
        self,
        network: Network,
        settings: Settings,
        learning: Sequence[bool] | None = None,
        *,
        elastic: Elastic | None = None,
        episodes: Episodes | None = None,
    ) -> None:
        architecture = network.architecture
        self.network = network
        self.settings = settings
        self.epochs = 0
        self.block: Float32 = network.parameters.copy()
        self._architecture = architecture
        self._from_logits = settings.loss.from_logits(architecture.output)
        self._learning = (True,) * architecture.layers if learning is None else tuple(map(bool, learning))
        if len(self._learning) != architecture.layers or not any(self._learning):
            raise ValueError(f"learning says of {architecture.layers} layers which learn, one at least: {learning}")
        self._order = np.random.default_rng([settings.seed, 0])
        self._training = Training(self._learning, np.random.default_rng([settings.seed, 1]))
        self._layers = layers_of(architecture, self.block)
        self._gradient = np.zeros_like(self.block)
        self._gradients = layers_of(architecture, self._gradient)
        chosen = [index for index, learns in enumerate(self._learning) if learns]
        self._state = settings.optimizer.start(self.block, weights_of(architecture, chosen))
        self._elastic = elastic if elastic is None else _where_it_learns(elastic, architecture, self._learning)
        self._episodes = episodes
        self._drawing = np.random.default_rng([settings.seed, 4])
        self._fused = None
        if all(self._learning) and settings.clip is None and episodes is None:
            self._fused = fused(network, settings.loss, settings.optimizer, settings.batch, self._state)
        self._first_loss = 0.0

    def rate(self) -> float:
        """Return the rate of the epoch to come."""
        return self.settings.optimizer.rate * self.settings.schedule.factor(self.epochs, self.settings.epochs)

    def epoch(self, inputs: Float32, targets: Float32, weights: Float32 | None = None) -> float:
        """Take one pass over `inputs` (T, I) and `targets` (T, O) in a new order; return the mean loss.

        `weights` (T, 1) or (T, O) multiply the loss. Raises DivergenceError.
        """
        if self.epochs == 0:
            self._first_loss = self.settings.loss.forward(
                _predicted(self.network, self.settings.loss, inputs), targets, weights
            )
        rate = self.rate()
        self.epochs += 1
        order = self._order.permutation(len(inputs))
        with np.errstate(over="ignore", invalid="ignore"):
            mean = self._pass(inputs, targets, weights, order, rate)
        if not np.isfinite(mean):
            raise DivergenceError(self.epochs, f"the loss is {mean}")
        if mean > _BLOWN_UP * max(self._first_loss, 1.0):
            raise DivergenceError(self.epochs, f"the loss grew from {self._first_loss:.3g} to {mean:.3g}")
        if not np.isfinite(self.block).all():
            raise DivergenceError(self.epochs, "a parameter is not finite")
        return mean

    def store(self) -> None:
        """Hand the parameters as they are now to the network."""
        self.network.assign(self.block)

    def kept(self) -> tuple[dict[str, NDArray[np.generic]], dict[str, object]]:
        """Return all that the epochs to come depend on: arrays, and what JSON can hold."""
        arrays: dict[str, NDArray[np.generic]] = {"block": self.block}
        arrays |= {f"slot{place}": slot for place, slot in enumerate(self._state.slots)}
        draws = [draw.bit_generator.state for draw in self._draws]
        told = {"epochs": self.epochs, "steps": self._state.steps, "first_loss": self._first_loss, "draws": draws}
        return arrays, told

    def go_on(self, arrays: Mapping[str, NDArray[np.generic]], told: Mapping[str, Any]) -> None:
        """Take up what `kept` returned of a training that began as this one did. Raises KeyError, ValueError."""
        self.block[:] = arrays["block"]
        for place, slot in enumerate(self._state.slots):  # in place: a kernel holds the same arrays
            slot[:] = arrays[f"slot{place}"]
        self.epochs, self._state.steps, self._first_loss = told["epochs"], told["steps"], told["first_loss"]
        for draw, state in zip(self._draws, told["draws"], strict=True):
            draw.bit_generator.state = state

    @property
    def _draws(self) -> tuple["np.random.Generator", ...]:
        return self._order, self._training.rng, self._drawing

    def _pass(self, inputs: Float32, targets: Float32, weights: Float32 | None, order: Labels, rate: float) -> float:
        """Take the batches of one epoch, in `order` (T,); return the mean loss, not finite when they diverge."""
        if self._fused is not None and (weights is None or (weights.shape[1] == 1 and weights.min() >= 0)):
            by_row = None if weights is None else np.ascontiguousarray(weights[:, 0])
            return self._fused_pass(self._fused, inputs, targets, order, rate=rate, weights=by_row)
        total = 0.0
        for start in range(0, len(order), self.settings.batch):
            rows = order[start : start + self.settings.batch]
            loss = self._step(inputs[rows], targets[rows], None if weights is None else weights[rows], rate)
            total += loss * len(rows)
            if not np.isfinite(loss):
                return loss
        return total / len(order)

    def _fused_pass(
        self,
        kernel: Fused,
        inputs: Float32,
        targets: Float32,
        order: Labels,
        *,
        rate: float,
        weights: Float32 | None,
    ) -> float:
        """Do the same in the kernel: the whole epoch in one call, or a batch each where what was learned pulls."""
        kernel.state.step = self._state.steps
        at_once = len(order) if self._elastic is None else self.settings.batch
        total = 0.0
        for start in range(0, len(order), at_once):
            rows = order[start : start + at_once]
            total += kernel.epoch(self.block, inputs, targets, rows, rate=rate, weights=weights) * len(rows)
            if self._elastic is not None:
                self._elastic.pull(self.block, rate)
            if not np.isfinite(total):
                break
        self._state.steps = kernel.state.step
        return total / len(order)

    def _step(self, inputs: Float32, targets: Float32, weights: Float32 | None, rate: float) -> float:
        """Take one step on a batch (B, I); return its loss."""
        settings, architecture = self.settings, self._architecture
        earlier = [] if self._episodes is None else self._earlier_gradients(self._episodes)
        loss = self._differentiate(inputs, targets, weights)
        for layer, gradient, learns in zip(self._layers, self._gradients, self._learning, strict=True):
            if not learns:
                _clear(gradient)
            elif architecture.l2:
                gradient.weights[:] += np.float32(architecture.l2) * layer.weights
        if earlier:
            project(self._gradient, np.stack(earlier))
        if settings.clip is not None:
            clip_norm(self._gradient, settings.clip)
        settings.optimizer.step(self._state, self.block, self._gradient, rate)
        if self._elastic is not None:
            self._elastic.pull(self.block, rate)
        if architecture.non_negative:
            for layer, learns in zip(self._layers, self._learning, strict=True):
                if learns:
                    _project(layer)
        return loss

    def _differentiate(self, inputs: Float32, targets: Float32, weights: Float32 | None) -> float:
        """Leave the gradient of a batch (B, I) in `_gradients`; return its loss."""
        traces = forward(self._architecture, self._layers, inputs, self._training)
        last = traces[-1]
        predicted = last.pre if self._from_logits else last.activated  # (B, O)
        slope = self.settings.loss.backward(predicted, targets, weights)  # (B, O)
        backward(
            self._architecture, self._layers, traces, slope, self._gradients,
            from_logits=self._from_logits, lowest=self._learning.index(True),
        )  # fmt: skip
        return self.settings.loss.forward(predicted, targets, weights)

    def _earlier_gradients(self, episodes: Episodes) -> list[Float32]:
        """Return the gradient (P,) of each group of episodes, 0 where nothing learns."""
        found = []
        for inputs, targets in episodes.draw(self._drawing):
            self._differentiate(inputs, targets, None)
            for gradient, learns in zip(self._gradients, self._learning, strict=True):
                if not learns:
                    _clear(gradient)
            found.append(self._gradient.copy())
        return found


def _where_it_learns(elastic: Elastic, architecture: Architecture, learning: Sequence[bool]) -> Elastic:
    """Return `elastic` without a hold on layers that do not learn: those keep every bit."""
    if all(learning):
        return elastic
    held = elastic.importance.copy()
    for layer, learns in zip(layers_of(architecture, held), learning, strict=True):
        if not learns:
            _clear(layer)
    return replace(elastic, importance=held)


def _clear(gradient: Layer) -> None:
    gradient.weights[:] = 0
    gradient.biases[:] = 0
    if gradient.norm is not None:
        gradient.norm.scale[:] = 0
        gradient.norm.shift[:] = 0


def _project(layer: Layer) -> None:
    """Bring what fell below 0 back to it: the nearest point that is allowed."""
    np.maximum(layer.weights, 0, out=layer.weights)
    if layer.norm is not None:
        np.maximum(layer.norm.scale, 0, out=layer.norm.scale)


def train(
    network: Network,
    inputs: Floats,
    targets: Floats | Labels,
    settings: Settings,
    *,
    weights: Floats | None = None,
    class_weights: Sequence[float] | None = None,
    validation: tuple[Floats, Floats | Labels] | None = None,
    learning: Sequence[bool] | None = None,
    elastic: Elastic | None = None,
    episodes: Episodes | None = None,
    progress: Callable[[Epoch], None] | None = None,
) -> Record:
    """Train `network` on `inputs` (T, I) and leave the best parameters in it.

    `targets` (T, O) may be soft; for cross-entropy (T,) integers are classes. `weights` (T,) are of
    rows, `class_weights` (O,) of classes: the row's class with cross-entropy, the positive side of each
    output with BCE. `elastic` and `episodes` keep what was learned before. The best epoch is the one with the
    lowest validation loss (`validation`, or the share that the settings hold out); without validation and
    patience the last one. `progress` is called after every epoch. Raises ValueError for shapes and numbers that do not
    fit, and DivergenceError; the network then holds the best parameters so far, or those it came with.
    """
    rows, wanted = _rows(network, inputs), _wanted(network, settings.loss, targets)
    if len(rows) != len(wanted) or not len(rows):
        raise ValueError(f"{len(rows)} rows of inputs and {len(wanted)} of targets: as many of each, one at least")
    factors = _factors(settings.loss, wanted, weights, class_weights)
    if validation is not None:
        judged = _rows(network, validation[0]), _wanted(network, settings.loss, validation[1])
    else:
        order = np.random.default_rng([settings.seed, 2]).permutation(len(rows))
        held = order[: round(settings.validation * len(rows))]
        kept = np.sort(order[len(held) :])
        judged = rows[held], wanted[held]
        if len(held):
            rows, wanted, factors = rows[kept], wanted[kept], None if factors is None else factors[kept]
    trainer = Trainer(network, settings, learning, elastic=elastic, episodes=episodes)
    watches = bool(len(judged[0])) or settings.patience is not None
    best, lowest, kept_block = 0, np.inf, network.parameters
    epochs: list[Epoch] = []
    try:
        while trainer.epochs < settings.epochs:
            rate = trainer.rate()
            loss = trainer.epoch(rows, wanted, factors)
            trainer.store()
            judgement = evaluate(network, settings.loss, *judged, class_weights) if len(judged[0]) else None
            epochs.append(Epoch(trainer.epochs, settings.epochs, loss, judgement, rate))
            seen = loss if judgement is None else judgement
            if not watches or seen < lowest - settings.least_gain:
                best, lowest, kept_block = trainer.epochs, seen, network.parameters
            if progress is not None:
                progress(epochs[-1])
            if settings.patience is not None and trainer.epochs - best >= settings.patience:
                break
    finally:
        network.assign(kept_block)
    return Record(tuple(epochs), best, len(epochs) < settings.epochs)


def evaluate(
    network: Network,
    loss: Loss,
    inputs: Floats,
    targets: Floats | Labels,
    class_weights: Sequence[float] | None = None,
) -> float:
    """Return the mean loss of `network` on `inputs` (T, I) and `targets` (T, O), as `train` measures it."""
    wanted = _wanted(network, loss, targets)
    return loss.forward(_predicted(network, loss, inputs), wanted, _factors(loss, wanted, None, class_weights))


def _predicted(network: Network, loss: Loss, inputs: Floats) -> Float32:
    return network.logits(inputs) if loss.from_logits(network.architecture.output) else network.predict(inputs)


def _rows(network: Network, inputs: Floats) -> Float32:
    width = network.architecture.sizes[0]
    if inputs.ndim != 2 or inputs.shape[1] != width:  # noqa: PLR2004 - rows and columns
        raise ValueError(f"this network learns from inputs (rows, {width}), not {inputs.shape}")
    rows = as_float32(inputs)
    if not np.isfinite(rows).all():
        raise ValueError("the inputs hold values that are not finite")
    return rows


def _wanted(network: Network, loss: Loss, targets: Floats | Labels) -> Float32:
    outputs = network.architecture.sizes[-1]
    if loss.name is LossName.CROSS_ENTROPY and targets.ndim == 1 and targets.dtype.kind in "iu":
        if len(targets) and not 0 <= targets.min() <= targets.max() < outputs:
            raise ValueError(f"classes run from 0 to {outputs - 1}, not from {targets.min()} to {targets.max()}")
        return np.eye(outputs, dtype=np.float32)[targets]
    if targets.ndim != 2 or targets.shape[1] != outputs:  # noqa: PLR2004 - rows and columns
        raise ValueError(f"this network learns from targets (rows, {outputs}), not {targets.shape}")
    wanted = as_float32(targets)
    if not np.isfinite(wanted).all():
        raise ValueError("the targets hold values that are not finite")
    return wanted


def _factors(
    loss: Loss, wanted: Float32, weights: Floats | None, class_weights: Sequence[float] | None
) -> Float32 | None:
    """Return what each value's loss is multiplied by, (T, 1) or (T, O)."""
    rows, outputs = wanted.shape
    factors: Float32 | None = None
    if weights is not None:
        if weights.shape != (rows,):
            raise ValueError(f"weights of rows are ({rows},), not {weights.shape}")
        factors = weights.astype(np.float32)[:, None]
    if class_weights is None:
        return factors
    by_class = np.asarray(class_weights, np.float32)
    if by_class.shape != (outputs,):
        raise ValueError(f"class weights are ({outputs},), not {by_class.shape}")
    if loss.name is LossName.CROSS_ENTROPY:
        of_class = np.broadcast_to(by_class, wanted.shape)
    elif loss.name is LossName.BCE:
        of_class = 1 + (by_class - 1) * wanted
    else:
        raise ValueError(f"class weights belong to bce and cross_entropy, not to {loss.name}")
    return of_class if factors is None else of_class * factors
