"""Which trainings a back end's own kernel can take over, and how they are said in its words.

Enters: an architecture and settings of a training. Leaves: the kernel's plan and settings, or nothing;
then `detectors.trainer` computes in NumPy. The two share their moments, so that either can go on where
the other stopped.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from detectors.kernels import Activation, Backend, Plan, Rule, TrainSettings, TrainState
from detectors.kernels import Loss as KernelLoss
from detectors.losses import Loss, LossName
from detectors.network import Float32, Network
from detectors.optimizers import Adam, AdamW, Optimizer, RmsProp, Sgd, State
from detectors.parameters import Architecture

Order = NDArray[np.int64]

_LOSSES = {LossName.MSE: KernelLoss.MSE, LossName.BCE: KernelLoss.BCE}


@dataclass(frozen=True, slots=True)
class Fused:
    """A training that the network's back end offers."""

    backend: Backend
    plan: Plan
    settings: TrainSettings
    state: TrainState

    def epoch(
        self, block: Float32, inputs: Float32, targets: Float32, order: Order, *, rate: float, weights: Float32 | None
    ) -> float:
        """Train `block` on the rows `order` (T,) of `inputs` (N, I) and `targets` (N, O); return the mean loss."""
        settings = replace(self.settings, learning_rate=rate)
        state = self.state
        return self.backend.train(self.plan, block, inputs, targets, order, settings, state, weights=weights)


def fused(network: Network, loss: Loss, optimizer: Optimizer, batch: int, state: State) -> Fused | None:
    """Return the training in the kernel's words, or None where `network.backend` does not offer it.

    `state` lends its slots: a step of the kernel is a step of the optimizer.
    """
    architecture = network.architecture
    kind = _LOSSES.get(loss.name)
    if kind is None or architecture.dropout or architecture.batch_norm:
        return None
    settings = _settings(optimizer, architecture, kind, batch)
    if settings is None:
        return None
    plan = architecture.plan()
    if kind is KernelLoss.BCE:  # it contains the sigmoid, whether the network ends with it or with the logit
        plan = Plan(plan.sizes, (*plan.activations[:-1], Activation.SIGMOID), plan.residual)
    if not network.backend.can_train(plan, settings):
        return None
    spare: Float32 = np.zeros(architecture.count, np.float32)
    slots = [np.asarray(slot, np.float32) for slot in state.slots]  # float32 already: the same arrays
    if settings.rule is Rule.SGD:
        slots = [*slots, spare]
    elif settings.rule is Rule.RMSPROP:
        slots = [spare, *slots]
    first, second = slots
    return Fused(network.backend, plan, settings, TrainState(first, second, state.steps))


def _settings(optimizer: Optimizer, architecture: Architecture, loss: KernelLoss, batch: int) -> TrainSettings | None:
    common = TrainSettings(
        loss=loss,
        batch=batch,
        learning_rate=optimizer.rate,
        l2=architecture.l2,
        non_negative=architecture.non_negative,
    )
    if isinstance(optimizer, Sgd):
        return replace(common, rule=Rule.SGD, momentum=optimizer.momentum)
    if isinstance(optimizer, RmsProp):
        return replace(common, rule=Rule.RMSPROP, decay_second=optimizer.decay, epsilon=optimizer.epsilon)
    if isinstance(optimizer, Adam):
        return replace(
            common,
            rule=Rule.ADAMW if isinstance(optimizer, AdamW) else Rule.ADAM,
            decay_first=optimizer.beta1,
            decay_second=optimizer.beta2,
            epsilon=optimizer.epsilon,
            weight_decay=optimizer.weight_decay if isinstance(optimizer, AdamW) else 0.0,
        )
    return None
