import numpy as np
import pytest

from detectors.architectures import ANOMALY
from detectors.kernels import NUMPY
from detectors.network import Network


def test_the_parameters_are_one_block_and_the_rest_are_views():
    network = Network((4, 3, 2))
    assert network.parameters.shape == (4 * 3 + 3 + 3 * 2 + 2,)
    network.weights[0][2, 1] = 7
    network.biases[0][0] = 8
    network.weights[1][1, 2] = 9
    network.biases[1][1] = 10
    assert network.parameters[[9, 12, 20, 22]].tolist() == [7, 8, 9, 10]
    network.parameters[0] = 5
    assert network.weights[0][0, 0] == 5


def test_the_forward_pass_is_the_one_written_down():
    network = Network((2, 2, 1))
    network.weights[0][:] = [[1, 2], [-1, -1]]
    network.biases[0][:] = [0.5, 0.25]
    network.weights[1][:] = [[2, 100]]
    network.biases[1][:] = [-1]
    assert network.backend is NUMPY
    out = network.logits(np.array([[1, 1], [-1, 0.5]], np.float32))
    assert out.dtype == np.float32
    assert out.tolist() == [[2 * 3.5 - 1], [2 * 0.5 + 100 * 0.75 - 1]]  # the last layer has no relu


def test_inputs_are_brought_into_shape_or_refused():
    network = Network((3, 1))
    network.parameters[:] = 1
    column_order = np.asfortranarray(np.ones((5, 3)))  # float64, not contiguous
    assert network.logits(column_order).tolist() == [[4.0]] * 5
    assert network.logits(np.zeros((0, 3), np.float32)).shape == (0, 1)
    for wrong in (np.ones(3), np.ones((2, 4)), np.ones((1, 1, 3))):
        with pytest.raises(ValueError, match=r"takes inputs \(rows, 3\), not"):
            network.logits(wrong.astype(np.float32))


@pytest.mark.parametrize(
    "parameters", [np.zeros(7, np.float32), np.zeros(9, np.float32), np.zeros(8, np.float64), np.zeros((2, 4), "f4")]
)
def test_parameters_of_another_shape_or_type_are_refused(parameters):
    with pytest.raises(ValueError, match="a network 3-2 has 8 float32 parameters, not"):
        Network((3, 2), parameters)
    assert Network((3, 2), np.zeros(8, np.float32)).parameters.shape == (8,)


def test_the_catalogue_holds_the_anomaly_network():
    assert ANOMALY == (256, 128, 64, 32, 1)
    assert Network(ANOMALY).parameters.size == 256 * 128 + 128 + 128 * 64 + 64 + 64 * 32 + 32 + 32 + 1
