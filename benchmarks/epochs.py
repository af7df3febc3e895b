"""Epochs of Adam over 20,000 rows of the daemon's three networks: here, or in another environment's process.

`python -P benchmarks/epochs.py BACKEND CACHE` says which back end serves, then answers every line "NETWORK
BATCH" with the seconds of one epoch. It imports only `detectors`: those of the environment that runs it.
"""

import sys
from pathlib import Path
from time import perf_counter
from typing import get_args

import numpy as np

from detectors import kernels
from detectors.kernels import Activation, Backend, Loss, Plan, TrainSettings, TrainState, dense
from detectors.kernels.plan import Float32
from detectors.kernels.reference import split

PLANS = {
    "anomaly": dense((256, 128, 64, 32, 1), Activation.RELU, Activation.SIGMOID),
    "capacity": dense((384, 192, 96, 48, 12), Activation.RELU, Activation.LINEAR),
    "failure": dense((512, 256, 128, 64, 2), Activation.RELU, Activation.SIGMOID),
}
ROWS = 20_000


def parameters_of(plan: Plan, seed: int = 0) -> Float32:
    """Return random canonical parameters (He), small biases."""
    rng = np.random.default_rng(seed)
    flat = np.zeros(plan.parameters, np.float32)
    for weights, bias in split(plan, flat):
        weights[:] = rng.normal(size=weights.shape) * np.sqrt(2 / weights.shape[1])
        bias[:] = rng.normal(size=bias.shape) * 0.1
    return flat


def data(plan: Plan) -> tuple[Float32, Float32]:
    """Return inputs and targets."""
    rng = np.random.default_rng(2)
    inputs = rng.normal(size=(ROWS, plan.sizes[0])).astype(np.float32)
    return inputs, (rng.random((ROWS, plan.sizes[-1])) < 0.3).astype(np.float32)


class Epoch:
    """An epoch in a new random order each time it is called."""

    def __init__(self, backend: Backend, plan: Plan, batch: int) -> None:
        self._backend, self._plan = backend, plan
        self._inputs, self._targets = data(plan)
        self._flat, self._state = parameters_of(plan), TrainState.start(plan)
        loss = Loss.BCE if plan.activations[-1] is Activation.SIGMOID else Loss.MSE
        self._settings = TrainSettings(loss=loss, batch=batch)
        self._rng = np.random.default_rng(3)

    def __call__(self) -> float:
        """Train and return the mean loss."""
        order = self._rng.permutation(ROWS)
        return self._backend.train(
            self._plan, self._flat, self._inputs, self._targets, order, self._settings, self._state
        )


def main() -> int:
    """Answer until standard input ends."""
    preference, cache = sys.argv[1], Path(sys.argv[2])
    if preference not in get_args(kernels.Preference):
        return 2
    backend, reasons = kernels.load(preference, cache)
    print(backend.name, *reasons, flush=True)
    epochs: dict[str, Epoch] = {}
    for line in sys.stdin:
        if line not in epochs:
            name, batch = line.split()
            epochs[line] = Epoch(backend, PLANS[name], int(batch))
        started = perf_counter()
        epochs[line]()
        print(perf_counter() - started, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
