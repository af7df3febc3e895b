"""Gradients of whole networks against central differences in float64: nothing but the forward pass is trusted."""

import itertools

import numpy as np
import pytest

from detectors.backpropagation import Training, backward, forward, input_gradient
from detectors.kernels import Activation
from detectors.losses import Loss, LossName
from detectors.parameters import Architecture, initial, layers_of

HIDDEN = [one for one in Activation if one is not Activation.SOFTMAX]
FITTING = {LossName.BCE: Activation.SIGMOID, LossName.CROSS_ENTROPY: Activation.SOFTMAX}
PAIRS = [(loss, FITTING.get(loss, output)) for loss in LossName for output in (Activation.LINEAR, Activation.SOFTMAX)]
STEP = 1e-6


def problem(architecture, seed=0):
    rng = np.random.default_rng(seed)
    block = initial(architecture, seed).astype(np.float64)
    block += rng.normal(size=block.shape) * 0.3
    for layer in layers_of(architecture, block):
        if layer.norm is not None:
            layer.norm.variance[:] = rng.random(layer.norm.variance.shape) + 0.5
    inputs = rng.normal(size=(6, architecture.sizes[0]))
    targets = rng.random((6, architecture.sizes[-1]))
    return block, inputs, targets


def loss_of(architecture, loss, inputs, targets, learning):
    from_logits = loss.from_logits(architecture.output)

    def measure(block):
        block = block.copy()  # running statistics move
        training = None if learning is None else Training(learning, np.random.default_rng(1))
        last = forward(architecture, layers_of(architecture, block), inputs, training)[-1]
        return loss.forward(last.pre if from_logits else last.activated, targets)

    return measure


def gradient_of(architecture, loss, block, rows, learning):
    inputs, targets = rows
    layers = layers_of(architecture, block.copy())
    training = None if learning is None else Training(learning, np.random.default_rng(1))
    traces = forward(architecture, layers, inputs, training)
    from_logits = loss.from_logits(architecture.output)
    slope = loss.backward(traces[-1].pre if from_logits else traces[-1].activated, targets)
    out = np.zeros_like(block)
    backward(architecture, layers, traces, slope, layers_of(architecture, out), from_logits=from_logits)
    return out


def check(architecture, loss, learning=None, seed=0):
    block, inputs, targets = problem(architecture, seed)
    got = gradient_of(architecture, loss, block, (inputs, targets), learning)
    measure = loss_of(architecture, loss, inputs, targets, learning)
    expected = np.empty_like(block)
    for place in range(len(block)):
        step = np.zeros_like(block)
        step[place] = STEP
        expected[place] = (measure(block + step) - measure(block - step)) / (2 * STEP)
    if architecture.batch_norm:  # running statistics are no parameters of the loss
        statistics = np.ones_like(block)
        for layer in layers_of(architecture, statistics):
            if layer.norm is not None:
                layer.norm.mean[:] = layer.norm.variance[:] = 0
        expected *= statistics
    assert np.abs(expected).max() > 1e-3
    assert np.abs(got - expected).max() / np.abs(expected).max() < 1e-6


@pytest.mark.parametrize(("hidden", "pair"), list(itertools.product(HIDDEN, PAIRS)), ids=str)
def test_every_activation_with_every_loss(hidden, pair):
    loss, output = pair
    check(Architecture((4, 5, 3, 2), hidden, output), Loss(loss))


@pytest.mark.parametrize("output", Activation, ids=lambda one: one.name)
@pytest.mark.parametrize("loss", [LossName.MSE, LossName.MAE, LossName.HUBER, LossName.PINBALL])
def test_every_output_with_every_loss_that_takes_it(loss, output):
    check(Architecture((4, 5, 3), Activation.TANH, output), Loss(loss, delta=0.3, quantiles=(0.2, 0.5, 0.9)))


@pytest.mark.parametrize("hidden", HIDDEN, ids=lambda one: one.name)
def test_every_activation_with_residual_dropout_and_normalisation(hidden):
    everything = Architecture((4, 5, 5, 5, 2), hidden, residual=True, batch_norm=True, dropout=0.3)
    check(everything, Loss(LossName.MSE), learning=(True,) * 4)


@pytest.mark.parametrize("loss", list(LossName))
def test_residual_dropout_and_normalisation_together(loss):
    output = FITTING.get(loss, Activation.TANH)
    everything = Architecture((4, 5, 5, 5, 2), Activation.TANH, output, residual=True, batch_norm=True, dropout=0.3)
    check(everything, Loss(loss), learning=(True,) * 4)


@pytest.mark.parametrize("learning", [None, (True, True, True), (False, True, True)])
def test_normalisation_by_batch_by_running_statistics_and_frozen(learning):
    check(Architecture((3, 4, 4, 2), Activation.GELU, batch_norm=True, residual=True), Loss(LossName.MSE), learning)


def test_layers_below_the_lowest_are_not_touched():
    architecture = Architecture((3, 4, 4, 2), Activation.TANH)
    block, inputs, targets = problem(architecture)
    layers = layers_of(architecture, block)
    out = np.full_like(block, 7.0)
    traces = forward(architecture, layers, inputs)
    views = layers_of(architecture, out)
    backward(architecture, layers, traces, targets, views, from_logits=False, lowest=2)
    assert (views[0].weights == 7).all()
    assert (views[1].biases == 7).all()
    assert (views[2].weights != 7).all()


@pytest.mark.parametrize("residual", [False, True])
def test_the_inputs_gradient_is_the_slope_of_a_logit(residual):
    architecture = Architecture((4, 5, 5, 3), Activation.GELU, Activation.SOFTMAX, batch_norm=True, residual=residual)
    block, inputs, _ = problem(architecture)
    layers = layers_of(architecture, block)
    got = input_gradient(architecture, layers, inputs, 1)
    expected = np.empty_like(inputs)
    for place in np.ndindex(inputs.shape):
        step = np.zeros_like(inputs)
        step[place] = STEP
        above, below = (forward(architecture, layers, inputs + sign * step)[-1].pre for sign in (1, -1))
        expected[place] = (above[place[0], 1] - below[place[0], 1]) / (2 * STEP)
    assert np.abs(got - expected).max() / np.abs(expected).max() < 1e-6


def test_dropout_keeps_the_mean_and_leaves_out_its_share():
    architecture = Architecture((1, 2000, 1), Activation.LINEAR, dropout=0.25)
    block = np.ones(architecture.count)
    training = Training((True, True), np.random.default_rng(0))
    trace = forward(architecture, layers_of(architecture, block), np.ones((5, 1)), training)[0]
    assert set(np.unique(trace.kept)) == {0, 1 / 0.75}
    assert (trace.kept == 0).mean() == pytest.approx(0.25, abs=0.02)
    assert (trace.activated * trace.kept).mean() == pytest.approx(2, rel=0.03)
    assert forward(architecture, layers_of(architecture, block), np.ones((5, 1)))[0].kept is None


def test_running_statistics_follow_the_batches_of_layers_that_learn():
    architecture = Architecture((2, 3, 3, 1), Activation.RELU, batch_norm=True)
    block, _, _ = problem(architecture)
    layers = layers_of(architecture, block)
    inputs = np.random.default_rng(3).normal(size=(50, 2))
    frozen = layers[0].norm.mean.copy()
    for _ in range(200):
        traces = forward(architecture, layers, inputs, Training((False, True, True), np.random.default_rng(0)))
    assert np.array_equal(layers[0].norm.mean, frozen)
    sums = traces[1].inputs @ layers[1].weights.T + layers[1].biases
    np.testing.assert_allclose(layers[1].norm.mean, sums.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(layers[1].norm.variance, sums.var(axis=0, ddof=1), rtol=1e-6)
