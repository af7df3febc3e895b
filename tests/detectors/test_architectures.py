import time
from dataclasses import FrozenInstanceError

import numpy as np
import pytest

from detectors.anomaly import ARCHITECTURE
from detectors.architectures import CATALOGUE, configure, create_network
from detectors.kernels import Activation
from detectors.losses import Loss, LossName
from detectors.optimizers import Adam, AdamW, Sgd
from detectors.schedules import Cosine, Schedule, Step
from detectors.trainer import Trainer, train

SHAPES = {
    "anomaly": ((256, 128, 64, 32, 1), {"RELU"}, "SIGMOID"),
    "capacity": ((384, 192, 96, 48, 12), {"RELU"}, "LINEAR"),
    "failure": ((512, 256, 128, 64, 2), {"RELU"}, "SIGMOID"),
    "load_predictor": ((128, 64, 32, 16, 8), {"TANH"}, "LINEAR"),
    "classifier_16": ((256, 128, 64, 32, 16), {"RELU"}, "SOFTMAX"),
    "classifier_32": ((512, 256, 128, 64, 32), {"RELU"}, "SIGMOID"),
    "classifier_20": ((768, 384, 192, 96, 20), {"LEAKY_RELU"}, "SOFTMAX"),
    "classifier_48": ((768, 384, 192, 96, 48), {"LEAKY_RELU"}, "SIGMOID"),
    "classifier_10": ((1024, 512, 256, 128, 10), {"RELU"}, "SOFTMAX"),
    "classifier_5": ((1024, 512, 256, 128, 5), {"LEAKY_RELU"}, "SOFTMAX"),
}


def test_the_catalogue_is_the_one_agreed_upon():
    found = {
        name: (
            entry.architecture.sizes,
            {one.name for one in entry.architecture.activations[:-1]},
            entry.architecture.output.name,
        )
        for name, entry in CATALOGUE.items()
    }
    assert found == SHAPES
    assert [name for name, entry in CATALOGUE.items() if entry.architecture.non_negative] == ["anomaly"]
    assert CATALOGUE["anomaly"].architecture.sizes == ARCHITECTURE.sizes


@pytest.mark.parametrize("name", CATALOGUE)
def test_every_entry_is_created_and_can_be_trained_as_it_stands(name):
    network = create_network(name, seed=1)
    sizes = network.architecture.sizes
    rng = np.random.default_rng(0)
    inputs, targets = rng.random((40, sizes[0])).astype(np.float32), np.zeros((40, sizes[-1]), np.float32)
    targets[:, 0] = 1
    assert network.predict(inputs).shape == (40, sizes[-1])
    entry = configure(name, training={"epochs": 1})
    assert train(network, inputs, targets, entry.training).best == 1


@pytest.mark.parametrize("name", ["anomaly", "capacity", "failure", "load_predictor"])
def test_the_kernel_takes_the_training_of_the_daemons_networks(name):
    assert Trainer(create_network(name), configure(name).training)._fused is not None


def test_creation_takes_about_a_millisecond():
    for name in ("anomaly", "capacity", "failure"):
        times = []
        for seed in range(20):
            start = time.perf_counter()
            create_network(name, seed=seed)
            times.append(time.perf_counter() - start)
        assert min(times) < 0.01, name  # the least: other work on the machine is not ours


def test_overrides_change_what_they_name_and_nothing_else():
    entry = configure("failure", architecture={"dropout": 0.3}, training={"optimizer": {"rate": 0.5}, "epochs": 3})
    before = CATALOGUE["failure"]
    assert entry.architecture.dropout == 0.3
    assert entry.architecture.sizes == before.architecture.sizes
    assert entry.training.optimizer == AdamW(rate=0.5)
    assert (entry.training.epochs, entry.training.batch) == (3, before.training.batch)
    assert before.training.optimizer == AdamW()
    assert before.architecture.dropout == 0


def test_a_name_chooses_another_kind_with_its_own_defaults():
    entry = configure("failure", training={"optimizer": {"name": "sgd", "momentum": 0.5}, "schedule": {"name": "step"}})
    assert entry.training.optimizer == Sgd(momentum=0.5)
    assert entry.training.schedule == Step()
    same = configure("failure", training={"optimizer": {"name": "adamw", "rate": 0.1}})
    assert same.training.optimizer == AdamW(rate=0.1)
    assert configure("capacity", training={"schedule": {"warm_up": 3}}).training.schedule == Cosine(warm_up=3)
    assert configure("capacity", training={"schedule": {"name": "constant"}}).training.schedule == Schedule()
    loss = configure("capacity", training={"loss": {"name": "pinball", "quantiles": [0.1]}}).training.loss
    assert loss == Loss(LossName.PINBALL, quantiles=(0.1,))
    assert configure("anomaly", training={"optimizer": Adam(rate=9)}).training.optimizer == Adam(rate=9)


def test_a_network_takes_overrides_as_plain_values():
    network = create_network("capacity", architecture={"sizes": [10, 6, 6, 2], "hidden": "gelu", "residual": True})
    assert network.architecture.sizes == (10, 6, 6, 2)
    assert network.architecture.activations[0] is Activation.GELU
    each = create_network("capacity", architecture={"sizes": [10, 6, 6, 2], "hidden": ["tanh", "relu"]})
    assert each.architecture.activations[:2] == (Activation.TANH, Activation.RELU)
    assert np.array_equal(create_network("anomaly", seed=4).parameters, create_network("anomaly", seed=4).parameters)


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        ("anomally", {}, "^no network is called 'anomally': the nearest is 'anomaly'; there are anomaly, capacity"),
        ("anomaly", {"trainning": {}}, "^trainning: no setting is called 'trainning': the nearest is 'training'"),
        ("anomaly", {"architecture": {"drop_out": 0.1}}, "^architecture.drop_out: .* the nearest is 'dropout'"),
        ("anomaly", {"training": {"optimizer": {"momentum": 1}}}, "^training.optimizer.momentum: .* is 'epsilon'|beta"),
        ("anomaly", {"training": {"optimizer": {"name": "adamm"}}}, "^training.optimizer: .* the nearest is 'adam'"),
        ("anomaly", {"training": {"schedule": {"name": "cos"}}}, "^training.schedule: .* the nearest is 'cosine'"),
        ("anomaly", {"training": {"loss": {"nam": "mse"}}}, "^training.loss.nam: .* the nearest is 'name'"),
        ("anomaly", {"training": 3}, "^training: settings come as a table, not as 3$"),
        ("anomaly", {"architecture": {"dropout": 2}}, "^architecture: dropout is a share from 0 to below 1, not 2$"),
        ("anomaly", {"architecture": {"hidden": "rulu"}}, "^architecture: no activation is called 'rulu'"),
        ("anomaly", {"training": {"optimizer": {"rate": -1}}}, "^training.optimizer: rate is above 0, not -1$"),
        ("anomaly", {"training": {"epochs": "many"}}, "^training: "),
    ],
    ids=range(12),
)
def test_what_is_unknown_or_does_not_fit_is_refused_where_it_stands(name, overrides, message):
    with pytest.raises(ValueError, match=message):
        create_network(name, **overrides)


def test_the_catalogue_cannot_be_changed():
    with pytest.raises(TypeError):
        CATALOGUE["anomaly"] = CATALOGUE["failure"]
    with pytest.raises(FrozenInstanceError):
        CATALOGUE["anomaly"].architecture.dropout = 0.5
