import numpy as np
import pytest

from detectors.kernels import Activation
from detectors.losses import Loss, LossName

LOSSES = [
    Loss(LossName.MSE),
    Loss(LossName.MAE),
    Loss(LossName.HUBER, delta=0.7),
    Loss(LossName.PINBALL, quantiles=(0.1, 0.5, 0.9)),
    Loss(LossName.PINBALL, quantiles=(0.8,)),
    Loss(LossName.BCE),
    Loss(LossName.CROSS_ENTROPY),
]


def name(loss):
    return f"{loss.name}-{len(loss.quantiles)}"


@pytest.mark.parametrize("weighted", ["no", "rows", "values"])
@pytest.mark.parametrize("loss", LOSSES, ids=name)
def test_every_gradient_is_the_slope(loss, weighted):
    rng = np.random.default_rng(4)
    predicted = rng.normal(size=(6, 3)) * 2
    targets = rng.random((6, 3))  # soft
    weights = {"no": None, "rows": rng.random((6, 1)) + 0.5, "values": rng.random((6, 3)) + 0.5}[weighted]
    got = loss.backward(predicted, targets, weights)
    expected = np.empty_like(predicted)
    for place in np.ndindex(predicted.shape):
        step = np.zeros_like(predicted)
        step[place] = 1e-6
        above, below = (loss.forward(predicted + sign * step, targets, weights) for sign in (1, -1))
        expected[place] = (above - below) / 2e-6
    assert np.abs(expected).max() > 0.01
    assert np.abs(got - expected).max() / np.abs(expected).max() < 1e-6
    assert got.dtype == np.float64


def test_values_by_hand():
    predicted, targets = np.array([[1.0, -2.0]]), np.array([[0.0, 1.0]])
    assert Loss(LossName.MSE).forward(predicted, targets) == 5.0
    assert Loss(LossName.MAE).forward(predicted, targets) == 2.0
    assert Loss(LossName.HUBER).forward(predicted, targets) == pytest.approx((0.5 + 2.5) / 2)
    assert Loss(LossName.PINBALL, quantiles=(0.9,)).forward(predicted, targets) == pytest.approx((0.1 + 2.7) / 2)
    bce = -(np.log(1 - 1 / (1 + np.exp(-1))) + np.log(1 / (1 + np.exp(2)))) / 2
    assert Loss(LossName.BCE).forward(predicted, targets) == pytest.approx(bce)
    assert Loss(LossName.CROSS_ENTROPY).forward(predicted, targets) == pytest.approx(np.log(1 + np.exp(3)))


def test_weights_multiply_and_are_not_divided_out():
    predicted, targets = np.array([[1.0], [3.0]]), np.zeros((2, 1))
    loss = Loss(LossName.MSE)
    assert loss.forward(predicted, targets, np.array([[2.0], [0.0]])) == 1.0
    whole = loss.backward(predicted, targets)
    assert loss.backward(predicted, targets, np.array([[2.0], [0.0]])).ravel().tolist() == [2 * whole[0, 0], 0]


@pytest.mark.parametrize("which", [LossName.BCE, LossName.CROSS_ENTROPY])
def test_logits_of_any_size_are_stable(which):
    logits = np.array([[1e4, -1e4], [-1e38, 1e38]], np.float32)
    targets = np.array([[1, 0], [0, 1]], np.float32)
    loss = Loss(which)
    assert loss.forward(logits, targets) == 0
    assert np.abs(loss.backward(logits, targets)).max() == 0
    assert loss.forward(logits[:1], targets[1:]) == pytest.approx(1e4 if which == "bce" else 2e4)


def test_the_type_is_kept():
    for loss in LOSSES:
        predicted = np.ones((2, 3), np.float32)
        weights = np.ones((2, 1), np.float32)
        assert loss.backward(predicted, np.zeros((2, 3), np.float32), weights).dtype == np.float32


def test_pinball_is_least_at_the_quantile():
    values = np.arange(1, 102, dtype=np.float64)[:, None]
    for quantile, best in ((0.1, 11), (0.5, 51), (0.9, 91)):
        loss = Loss(LossName.PINBALL, quantiles=(quantile,))
        found = min(range(1, 102), key=lambda guess: loss.forward(np.full_like(values, guess), values))
        assert found == best


def test_a_loss_says_which_output_it_needs():
    assert Loss(LossName.BCE).from_logits(Activation.SIGMOID)
    assert Loss(LossName.BCE).from_logits(Activation.LINEAR)
    assert not Loss(LossName.MSE).from_logits(Activation.SOFTMAX)
    with pytest.raises(ValueError, match=r"^bce needs the output activation sigmoid or linear, not relu$"):
        Loss(LossName.BCE).from_logits(Activation.RELU)
    with pytest.raises(ValueError, match=r"^cross_entropy needs the output activation softmax or linear, not sigmoid$"):
        Loss(LossName.CROSS_ENTROPY).from_logits(Activation.SIGMOID)


def test_constants_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="delta is above 0, not 0"):
        Loss(LossName.HUBER, delta=0)
    with pytest.raises(ValueError, match="quantiles lie between 0 and 1"):
        Loss(LossName.PINBALL, quantiles=(0.5, 1.0))
    with pytest.raises(ValueError, match="'mea' is not a valid LossName"):
        Loss("mea")
