"""A back end against NumPy, in a few milliseconds, before it may serve."""

from dataclasses import replace
from math import prod

import numpy as np

from detectors.kernels.backend import Backend, BackendError
from detectors.kernels.plan import (
    BF16_ERROR,
    Activation,
    Float32,
    Loss,
    Plan,
    Precision,
    Rule,
    TrainSettings,
    TrainState,
    dense,
)
from detectors.kernels.reference import NUMPY

_TOLERANCE = 1e-5
_A = Activation
_PLANS = (
    Plan((19, 70, 70, 35, 3), (_A.RELU, _A.TANH, _A.GELU, _A.SOFTMAX), (False, True, False, False)),
    dense((5, 17, 1), _A.LEAKY_RELU, _A.SIGMOID),
)


class _Spread:
    """Numbers of mean 0 and variance 1, the same in every run; `numpy.random` would cost the daemon 4 MB."""

    def __init__(self) -> None:
        self._given = 0

    def __call__(self, *shape: int) -> Float32:
        places = np.arange(self._given, self._given + prod(shape))
        self._given += prod(shape)
        wave = np.sin(places + 1.0) * 43_758.5453
        spread: Float32 = ((wave - np.floor(wave) - 0.5) * np.sqrt(12)).astype(np.float32)
        return spread.reshape(shape)


def check(backend: Backend) -> None:
    """Raise BackendError where forward, training or KS differ from NumPy's."""
    spread = _Spread()
    for plan in (*_PLANS, replace(_PLANS[0], precision=Precision.BF16)):
        parameters = spread(plan.parameters) * np.float32(0.3)
        packed = backend.pack(plan, parameters)
        held = backend.unpack(plan, packed)
        _same(backend, "unpack", held, parameters, 0 if plan.precision is Precision.FLOAT32 else BF16_ERROR)
        for rows in (0, 1, 3, 13):
            inputs = spread(rows, plan.sizes[0])
            got, wanted = (np.zeros((rows, plan.sizes[-1]), np.float32) for _ in range(2))
            backend.forward(plan, packed, inputs, backend.scratch(plan, rows), got)
            NUMPY.forward(plan, NUMPY.pack(plan, held), inputs, NUMPY.scratch(plan), wanted)
            _same(backend, "forward", got, wanted, _TOLERANCE)
    _check_training(backend, _PLANS[1], spread)
    _check_ks(backend, spread)


def _check_training(backend: Backend, plan: Plan, spread: _Spread) -> None:
    inputs = spread(21, plan.sizes[0])
    targets = (spread(21, plan.sizes[-1]) < 0).astype(np.float32)
    settings = TrainSettings(rule=Rule.ADAM, loss=Loss.BCE, batch=8)
    got = spread(plan.parameters)
    wanted = got.copy()
    for which, block in ((backend, got), (NUMPY, wanted)):
        which.train(plan, block, inputs, targets, np.arange(21), settings, TrainState.start(plan))
    _same(backend, "train", got, wanted, 1e-4)


def _check_ks(backend: Backend, spread: _Spread) -> None:
    values, other = (spread(3, width).round(1) for width in (40, 30))
    ordered = backend.sorted(values)
    _same(backend, "sort", ordered.values, NUMPY.sorted(values).values, 0)
    _same(backend, "ks", backend.ks(ordered, other), NUMPY.ks(ordered, other), 1e-12)


def _same(
    backend: Backend, what: str, got: np.ndarray[tuple[int, ...], np.dtype[np.floating]],
    wanted: np.ndarray[tuple[int, ...], np.dtype[np.floating]], tolerance: float,
) -> None:  # fmt: skip
    if not np.allclose(got, wanted, rtol=tolerance, atol=tolerance, equal_nan=True):
        raise BackendError(f"{backend.name} computes another {what} than NumPy: it does not serve")
