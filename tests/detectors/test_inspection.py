import numpy as np
import pytest

from detectors.inspection import gradient_norms, health
from detectors.kernels import Activation
from detectors.losses import Loss, LossName
from detectors.network import Network
from detectors.parameters import Architecture, initial, layers_of


def built(hidden, biases):
    """Inputs 0 to 1 pass one unit each for every bias."""
    architecture = Architecture((1, len(biases), 1), hidden, Activation.SIGMOID)
    block = np.zeros(architecture.count, np.float32)
    layer = layers_of(architecture, block)[0]
    layer.weights[:] = 1
    layer.biases[:] = biases
    return Network(architecture, block), np.linspace(0, 1, 11, dtype=np.float32)[:, None]


def test_dead_units_are_counted():
    network, rows = built(Activation.RELU, [-2, -1, -0.5, 0, 3])
    hidden, output = health(network, rows)
    assert hidden.dead.tolist() == [True, True, False, False, False]  # 1 - 1 is 0: still nothing passes
    assert not hidden.saturated.any()
    assert not output.dead.any()
    assert (hidden.activation, output.activation) == (Activation.RELU, Activation.SIGMOID)


@pytest.mark.parametrize(
    ("activation", "biases", "expected"),
    [
        (Activation.SIGMOID, [-20, -5, 0, 5, 20], [True, False, False, False, True]),
        (Activation.TANH, [-20, -3.5, 0, 2, 20], [True, False, False, False, True]),
        (Activation.GELU, [-20, 20], [False, False]),
        (Activation.LEAKY_RELU, [-20, 20], [False, False]),
    ],
)
def test_saturated_units_are_counted(activation, biases, expected):
    hidden, output = health(*built(activation, biases))
    assert hidden.saturated.tolist() == expected
    assert not hidden.dead.any()
    assert not output.saturated.any()  # sigmoid of 0


def test_gradient_norms_vanish_below_saturated_layers():
    architecture = Architecture((3, 4, 4, 2), Activation.TANH)
    block = initial(architecture, 1)
    rows = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    targets = np.ones((20, 2), np.float32)
    usual = gradient_norms(Network(architecture, block), rows, targets, Loss(LossName.MSE))
    assert len(usual) == 3
    assert min(usual) > 0.01
    layers_of(architecture, block)[1].biases[:] = 50
    stuck = gradient_norms(Network(architecture, block), rows, targets, Loss(LossName.MSE))
    assert stuck[0] == stuck[1] == 0 < stuck[2]


def test_a_norm_by_hand():
    network = Network(Architecture((2, 1)), np.array([1, 1, 0], np.float32))
    norms = gradient_norms(network, np.array([[3.0, 4.0]]), np.array([[6.0]]), Loss(LossName.MSE))
    assert norms == pytest.approx([2 * 1 * 5])


def test_shapes_that_do_not_fit_are_refused():
    network = Network(Architecture((2, 1)))
    for rows in (np.zeros((0, 2)), np.zeros((3, 3)), np.zeros(2)):
        with pytest.raises(ValueError, match=r"^inspection takes inputs \(rows, 2\), at least one row, not \("):
            health(network, rows)
    with pytest.raises(ValueError, match=r"^targets are \(3, 1\), not \(3,\)$"):
        gradient_norms(network, np.zeros((3, 2)), np.zeros(3), Loss(LossName.MSE))
