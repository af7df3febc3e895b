import numpy as np
import pytest

from detectors.architectures import CATALOGUE
from detectors.backpropagation import backward, forward
from detectors.consolidation import Elastic, Episodes, consolidated, importance, project
from detectors.kernels import NUMPY, Activation
from detectors.losses import Loss, LossName
from detectors.network import Network
from detectors.optimizers import Adam, Sgd
from detectors.parameters import Architecture, initial, layers_of
from detectors.trainer import Settings, Trainer, train

SHAPE = Architecture((6, 8, 5, 3), output=Activation.LINEAR)
LOSS = Loss(LossName.CROSS_ENTROPY)


def task(seed, rows=120, classes=3, width=6):
    """Rows around a centre for each class: another task for each seed."""
    centres = np.random.default_rng(seed).normal(size=(classes, width))
    rng = np.random.default_rng(1000 + seed)
    labels = rng.integers(classes, size=rows)
    inputs = (centres[labels] + 0.3 * rng.normal(size=(rows, width))).astype(np.float32)
    return inputs, np.eye(classes, dtype=np.float32)[labels]


def squares_one_by_one(architecture, block, loss, inputs, targets):
    """The naive way: one backward pass a row."""
    exact = block.astype(np.float64)
    total = np.zeros_like(exact)
    for row in range(len(inputs)):
        gradient = np.zeros_like(exact)
        layers = layers_of(architecture, exact)
        traces = forward(architecture, layers, inputs[row : row + 1].astype(np.float64))
        from_logits = loss.from_logits(architecture.output)
        predicted = traces[-1].pre if from_logits else traces[-1].activated
        slope = loss.backward(predicted, targets[row : row + 1].astype(np.float64))
        backward(architecture, layers, traces, slope, layers_of(architecture, gradient), from_logits=from_logits)
        total += gradient**2
    return total / len(inputs)


@pytest.mark.parametrize(
    ("architecture", "loss"),
    [
        (SHAPE, LOSS),
        (Architecture((6, 7, 7, 3), residual=True, batch_norm=True), Loss(LossName.MSE)),
        (Architecture((6, 5, 3), Activation.TANH, Activation.SIGMOID), Loss(LossName.BCE)),
    ],
    ids=["classes", "batch norm", "labels"],
)
def test_importance_is_of_each_row_alone(architecture, loss):
    inputs, targets = task(1, rows=300)  # more than are taken at once
    block = initial(architecture, 3)
    expected = squares_one_by_one(architecture, block, loss, inputs, targets)
    np.testing.assert_allclose(importance(architecture, block, loss, inputs, targets), expected, rtol=1e-9, atol=1e-15)
    assert expected.max() > 0


@pytest.mark.parametrize("name", ["anomaly", "capacity", "failure"])
def test_the_networks_of_the_daemon_keep_by_a_penalty_above_zero(name):
    entry = CATALOGUE[name]
    rng = np.random.default_rng(0)
    sizes = entry.architecture.sizes
    inputs = np.abs(rng.normal(size=(64, sizes[0]))).astype(np.float32)
    targets = rng.random((64, sizes[-1])).astype(np.float32)
    network = Network(entry.architecture, seed=1)
    found = importance(network.architecture, network.parameters, entry.training.loss, inputs, targets)
    elastic = consolidated(None, network.parameters, found, strength=1.0, decay=0.9)
    assert elastic.penalty(network.parameters) == 0
    settings = Settings(loss=entry.training.loss, optimizer=entry.training.optimizer, epochs=2, batch=16)
    other = np.abs(rng.normal(size=(64, sizes[0]))).astype(np.float32)
    blocks = []
    for kept in (None, elastic):
        trainer = Trainer(network, settings, elastic=kept)
        for _ in range(2):
            trainer.epoch(other, 1 - targets)
        blocks.append(trainer.block)
    free, held = (elastic.penalty(block) for block in blocks)
    assert 0 < held < free


def test_importance_does_not_hang_on_the_batch_and_a_mean_gradient_would():
    inputs, targets = task(2, rows=256)
    block = initial(SHAPE, 0)
    found = importance(SHAPE, block, LOSS, inputs, targets).mean()
    thrice = importance(SHAPE, block, LOSS, np.tile(inputs, (3, 1)), np.tile(targets, (3, 1))).mean()
    assert thrice == pytest.approx(found)
    gradient = np.zeros(SHAPE.count)
    layers = layers_of(SHAPE, block.astype(np.float64))
    traces = forward(SHAPE, layers, inputs.astype(np.float64))
    slope = LOSS.backward(traces[-1].pre, targets.astype(np.float64))
    backward(SHAPE, layers, traces, slope, layers_of(SHAPE, gradient), from_logits=True)
    assert (gradient**2).mean() < found / 4


def test_consolidation_is_a_mean_over_trainings_that_fades():
    ones, block = np.full(4, 7.0), np.zeros(4, np.float32)
    first = consolidated(None, block, ones, strength=2.0, decay=0.5)
    np.testing.assert_allclose(first.importance, 1)
    second = consolidated(first, block + 1, np.array([0.0, 0, 0, 8]), strength=2.0, decay=0.5)
    np.testing.assert_allclose(second.importance, [1 / 3, 1 / 3, 1 / 3, 3])
    assert second.trainings == 2
    np.testing.assert_array_equal(second.anchor, block + 1)
    assert second.penalty(np.zeros(4)) == pytest.approx(0.5 * 2 * 4)
    third = consolidated(second, block, np.array([0.0, 0, 0, 8]), strength=2.0, decay=0.5)
    np.testing.assert_allclose(third.importance, [1 / 7, 1 / 7, 1 / 7, 25 / 7], rtol=1e-6)
    for _ in range(30):  # however often a network is trained, the strength stays what it is
        third = consolidated(third, block, ones, strength=2.0, decay=0.95)
    assert third.importance.mean() == pytest.approx(1)
    with pytest.raises(ValueError, match="depends on nothing"):
        consolidated(None, block, np.zeros(4), strength=1.0, decay=0.5)


@pytest.mark.parametrize("strength", [0.0, 1.0, 1e9])
def test_the_pull_follows_the_penalty_and_never_overshoots(strength):
    rng = np.random.default_rng(5)
    elastic = Elastic(np.zeros(50, np.float32), rng.random(50).astype(np.float32), strength)
    block = rng.normal(size=50).astype(np.float32)
    before = block.copy()
    elastic.pull(block, 0.01)
    assert (np.abs(block) <= np.abs(before)).all()
    assert (block * before >= 0).all()
    if strength == 1:
        np.testing.assert_allclose(before - block, 0.01 * elastic.importance * before, rtol=0.02, atol=1e-6)


def test_what_is_no_number_or_does_not_fit_is_refused():
    ones = np.ones(3, np.float32)
    for anchor, important, strength in ((ones, ones[:2], 1.0), (ones, -ones, 1.0), (ones, ones * np.nan, 1.0)):
        with pytest.raises(ValueError, match=r"fit each other|from 0 up"):
            Elastic(anchor, important, strength)
    with pytest.raises(ValueError, match="from 0 up"):
        Elastic(ones, ones, float("nan"))
    with pytest.raises(ValueError, match="one row at least"):
        importance(SHAPE, initial(SHAPE, 0), LOSS, np.zeros((0, 6), np.float32), np.zeros((0, 3), np.float32))


def accuracy(network, data):
    return float((network.logits(data[0]).argmax(axis=1) == data[1].argmax(axis=1)).mean())


def second_task(**kept):
    """Accuracy on the first task and on the second, once the second was learned too."""
    first, second = task(10), task(11)
    shape = Architecture((6, 32, 3), output=Activation.LINEAR)
    network = Network(shape, seed=4)
    settings = Settings(loss=LOSS, optimizer=Sgd(rate=0.05, momentum=0.0), epochs=25, batch=16, seed=1)
    train(network, *first, settings)
    assert accuracy(network, first) > 0.95
    if "strength" in kept:
        found = importance(shape, network.parameters, LOSS, *first)
        kept = {"elastic": consolidated(None, network.parameters, found, decay=1.0, **kept)}
    elif kept:
        kept = {"episodes": Episodes(first[0][:30], first[1][:30], np.arange(30) % 2)}
    train(network, *second, settings, **kept)
    return accuracy(network, first), accuracy(network, second)


def test_elastic_weights_and_episodes_forget_less_than_plain_training():
    plain, new = second_task()
    assert new > 0.95
    assert plain < 0.8
    elastic, new = second_task(strength=0.1)
    assert elastic > plain + 0.1
    assert new > 0.8
    episodes, new = second_task(episodes=True)
    assert episodes > plain + 0.1
    assert new > 0.8


def test_the_projected_gradient_is_the_nearest_that_undoes_nothing():
    rng = np.random.default_rng(8)
    for groups in (1, 3):
        earlier = rng.normal(size=(groups, 12)).astype(np.float32)
        gradient = (-earlier.sum(axis=0) + rng.normal(size=12)).astype(np.float32)
        turned = gradient.copy()
        project(turned, earlier)
        assert (earlier @ turned >= -1e-3).all()
        away = np.linalg.norm(turned - gradient)
        for _ in range(200):  # no other that is allowed lies nearer
            other = gradient + rng.normal(size=12) * away / 3
            if (earlier @ other >= 0).all():
                assert np.linalg.norm(other - gradient) >= away * 0.999
    one = np.array([1.0, 0], np.float32)
    gradient = np.array([-2.0, 3], np.float32)
    project(gradient, one[None])
    np.testing.assert_allclose(gradient, [0, 3], atol=1e-6)
    agrees = np.array([2.0, 3], np.float32)
    project(agrees, np.stack([one, np.zeros(2, np.float32)]))
    np.testing.assert_array_equal(agrees, [2, 3])


def test_a_layer_that_does_not_learn_keeps_every_bit_under_a_pull():
    inputs, targets = task(3)
    network = Network(SHAPE, seed=2)
    elastic = Elastic(np.zeros(SHAPE.count, np.float32), np.ones(SHAPE.count, np.float32), 10.0)
    episodes = Episodes(inputs[:20], targets[:20], np.zeros(20, np.int64), drawn=10)
    before = network.layers[0].weights.copy()
    settings = Settings(loss=LOSS, epochs=1, batch=32)
    train(network, inputs, targets, settings, learning=(False, True, True), elastic=elastic, episodes=episodes)
    np.testing.assert_array_equal(network.layers[0].weights, before)


def test_the_kernel_of_a_back_end_is_held_as_numpy_is(jit):
    entry = CATALOGUE["anomaly"]
    rng = np.random.default_rng(0)
    inputs = np.abs(rng.normal(size=(100, 256))).astype(np.float32)
    targets = (rng.random((100, 1)) < 0.5).astype(np.float32)
    blocks = []
    for one in (NUMPY, jit):
        network = Network(entry.architecture, seed=1, backend=one)
        elastic = Elastic(network.parameters + 0.02, np.full(network.parameters.shape, 3, np.float32), 40.0)
        trainer = Trainer(
            network, Settings(loss=entry.training.loss, optimizer=Adam(rate=1e-4), batch=32), elastic=elastic
        )
        trainer.epoch(inputs, targets)
        blocks.append(trainer.block)
        assert (trainer.block > network.parameters).mean() > 0.9
    np.testing.assert_allclose(*blocks, atol=1e-4)
