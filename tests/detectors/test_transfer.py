import numpy as np
import pytest

from detectors.kernels import Activation
from detectors.losses import Loss, LossName
from detectors.network import Network
from detectors.optimizers import AdamW
from detectors.parameters import Architecture
from detectors.trainer import Settings, train
from detectors.transfer import feature_extraction, fine_tuning, train_gradually, unfreezing, with_head


@pytest.fixture
def base():
    architecture = Architecture((6, 8, 7, 5, 3), Activation.TANH, Activation.SOFTMAX, batch_norm=True, dropout=0.1)
    network = Network(architecture, seed=1)
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(120, 6)).astype(np.float32)
    settings = Settings(Loss(LossName.CROSS_ENTROPY), epochs=2)
    train(network, inputs, rng.integers(0, 3, 120), settings)
    return network


def task(outputs=2, rows=100):
    rng = np.random.default_rng(5)
    inputs = rng.normal(size=(rows, 6)).astype(np.float32)
    return inputs, (inputs[:, :outputs] > 0).astype(np.float32)


def parts(layer):
    norm = layer.norm
    more = () if norm is None else (norm.scale, norm.shift, norm.mean, norm.variance)
    return [part.tobytes() for part in (layer.weights, layer.biases, *more)]


def test_a_new_head_keeps_all_below(base):
    before = base.parameters.copy()
    network = with_head(base, 2, Activation.SIGMOID, seed=3)
    assert network.architecture.sizes == (6, 8, 7, 5, 2)
    assert network.architecture.output is Activation.SIGMOID
    assert network.architecture.batch_norm
    for old, new in zip(base.layers[:-1], network.layers[:-1], strict=True):
        assert parts(old) == parts(new)
    assert network.layers[-1].weights.std() > 0
    assert (network.layers[-1].biases == 0).all()
    assert np.array_equal(base.parameters, before)


def test_feature_extraction_trains_the_last_two_layers_and_not_a_bit_more(base):
    start = feature_extraction(base, 2, Activation.SIGMOID)
    assert start.learning == (False, False, True, True)
    inputs, targets = task()
    settings = Settings(Loss(LossName.BCE), AdamW(rate=0.01, weight_decay=0.1), epochs=3)
    record = train(start.network, inputs, targets, settings, learning=start.learning)
    assert record.epochs[-1].loss < record.epochs[0].loss
    head = with_head(base, 2, Activation.SIGMOID)
    for index, (old, new) in enumerate(zip(head.layers, start.network.layers, strict=True)):
        same = [one == other for one, other in zip(parts(old), parts(new), strict=True)]
        assert all(same) if index < 2 else not any(same)


def test_fine_tuning_moves_every_layer_of_a_copy(base):
    before = base.parameters.copy()
    start = fine_tuning(base)
    assert start.learning == (True,) * 4
    inputs, targets = task(3)
    settings = Settings(Loss(LossName.CROSS_ENTROPY), AdamW(rate=1e-4), epochs=1)
    train(start.network, inputs, targets, settings, learning=start.learning)
    assert np.array_equal(base.parameters, before)
    for old, new in zip(base.layers, start.network.layers, strict=True):
        assert not any(one == other for one, other in zip(parts(old), parts(new), strict=True))


def test_a_network_of_one_layer_has_only_a_head():
    start = feature_extraction(Network(Architecture((4, 2))), 3, Activation.LINEAR)
    assert start.learning == (True,)


def test_unfreezing_goes_from_the_head_down():
    assert list(unfreezing(3)) == [(False, False, True), (False, True, True), (True, True, True)]


def test_gradual_training_unfreezes_one_layer_a_stage(base):
    network = with_head(base, 2, Activation.SIGMOID)
    inputs, targets = task()
    lowest = []
    stages = [parts(network.layers[index]) for index in range(4)]

    def look(stage, epoch):
        assert epoch.epochs == 2
        changed = [parts(network.layers[index]) != stages[index] for index in range(4)]
        lowest.append((stage, changed.index(True)))

    records = train_gradually(network, inputs, targets, Settings(Loss(LossName.BCE), epochs=2), progress=look)
    assert len(records) == 4
    assert lowest == [(1, 3), (1, 3), (2, 2), (2, 2), (3, 1), (3, 1), (4, 0), (4, 0)]
    assert train_gradually(network, inputs, targets, Settings(Loss(LossName.BCE), epochs=1))[0].best == 1
