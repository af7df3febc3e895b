import numpy as np
import pytest

from detectors.cascade import Growth, grow
from detectors.kernels import Activation
from detectors.losses import Loss, LossName
from detectors.trainer import DivergenceError

XOR = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
EITHER = np.array([[0], [1], [1], [0]], np.float32)
BINARY = Growth(Loss(LossName.BCE), Activation.SIGMOID, enough=0.02)


@pytest.mark.parametrize("seed", range(3))
def test_xor_needs_one_unit(seed):
    cascade, losses = grow(XOR, EITHER, Growth(Loss(LossName.BCE), Activation.SIGMOID, enough=0.02, seed=seed))
    assert len(cascade.units) == 1
    assert len(losses) == 2
    assert losses[0] == pytest.approx(np.log(2), rel=1e-3)
    assert np.abs(cascade.predict(XOR) - EITHER).max() < 0.1


def test_parity_of_four_grows_until_it_is_known():
    inputs = np.array([[number >> bit & 1 for bit in range(4)] for number in range(16)], np.float32)
    parity = inputs.sum(axis=1, keepdims=True) % 2
    told = []
    cascade, losses = grow(inputs, parity, BINARY, lambda units, loss: told.append((units, loss)))
    assert 2 <= len(cascade.units) <= 6
    assert losses[-1] <= 0.02
    assert told == list(enumerate(losses))
    assert ((cascade.predict(inputs) > 0.5) == (parity > 0.5)).all()
    assert [len(unit) for unit in cascade.units] == [5 + place for place in range(len(cascade.units))]
    assert cascade.outputs.shape == (1, 5 + len(cascade.units))


def test_what_is_linear_needs_no_unit():
    inputs = np.random.default_rng(0).normal(size=(50, 3))
    cascade, losses = grow(inputs, inputs @ [[1.0], [-2.0], [0.5]] + 3, Growth(Loss(LossName.MSE), enough=1e-3))
    assert cascade.units == ()
    assert losses[0] <= 1e-3


def test_more_units_leave_less_error_and_the_most_is_the_most():
    inputs = np.linspace(-1, 1, 100)[:, None]
    cascade, losses = grow(inputs, np.sin(5 * inputs), Growth(Loss(LossName.MSE), enough=0.0, most_units=4))
    assert len(cascade.units) == 4
    assert losses[-1] < 0.2 * losses[0]
    assert cascade.predict(inputs).dtype == np.float32


def test_growth_follows_its_seed():
    one, same, other = (
        grow(XOR, EITHER, Growth(Loss(LossName.BCE), Activation.SIGMOID, enough=0.02, seed=seed))[0]
        for seed in (1, 1, 2)
    )
    assert one.outputs.tobytes() == same.outputs.tobytes()
    assert one.outputs.tobytes() != other.outputs.tobytes()


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"growth takes inputs \(rows, I\) and targets \(rows, O\), not \(4, 2\) and"):
        grow(XOR, EITHER[:3], BINARY)
    with pytest.raises(ValueError, match=r"growth takes inputs"):
        grow(XOR[:0], EITHER[:0], BINARY)
    with pytest.raises(ValueError, match="mse grows with a linear output, not with sigmoid"):
        grow(XOR, EITHER, Growth(Loss(LossName.MSE), Activation.SIGMOID))
    with pytest.raises(ValueError, match=r"this cascade takes inputs \(rows, 2\), not \(4, 1\)"):
        grow(XOR, EITHER, BINARY)[0].predict(EITHER)
    with pytest.raises(DivergenceError, match="the loss is"):
        grow(XOR, EITHER + np.nan, Growth(Loss(LossName.MSE)))
