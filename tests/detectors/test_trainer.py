from dataclasses import replace

import numpy as np
import pytest

from detectors.kernels import Activation
from detectors.losses import Loss, LossName
from detectors.network import Network
from detectors.optimizers import OPTIMIZERS, Adam, AdamW, Optimizer, QuickProp, RmsProp, RProp, Sgd
from detectors.parameters import Architecture, initial, layers_of, weights_of
from detectors.schedules import Exponential
from detectors.trainer import DivergenceError, Settings, Trainer, _factors, evaluate, train

XOR = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
EITHER = np.array([[0], [1], [1], [0]], np.float32)
BCE = Loss(LossName.BCE)


def blobs(rows=300, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, rows)
    centres = np.array([[2, 0], [-2, 1], [0, -2], [3, 3]])[:classes]
    return (centres[labels] + 0.6 * rng.normal(size=(rows, 2))).astype(np.float32), labels


def curve(rows=200, seed=0):
    rng = np.random.default_rng(seed)
    inputs = rng.uniform(-1, 1, (rows, 2)).astype(np.float32)
    return inputs, (np.sin(3 * inputs[:, :1]) + 0.1 * rng.normal(size=(rows, 1))).astype(np.float32)


@pytest.mark.parametrize("optimizer", [Adam(rate=0.05), Sgd(rate=0.5), RProp(), QuickProp(rate=0.5)], ids=repr)
def test_xor_is_learned_by_three_hidden_units(optimizer):
    learned = 0
    for seed in range(5):
        network = Network(Architecture((2, 3, 1), Activation.TANH, Activation.SIGMOID, "xavier"), seed=seed)
        train(network, XOR, EITHER, Settings(BCE, optimizer, epochs=600, batch=4, seed=seed))
        learned += int((np.abs(network.predict(XOR) - EITHER) < 0.2).all())
    assert learned >= 3  # some starts end in the plain's one-sided minimum


def plain_loop(network, inputs, targets, *, epochs, batch, seed):
    """Adam on BCE of a relu network with weights that stay non-negative, written out."""
    sizes = network.architecture.sizes
    weights = [layer.weights.astype(np.float64) for layer in network.layers]
    biases = [layer.biases.astype(np.float64) for layer in network.layers]
    moments = [[np.zeros_like(array) for array in (*weights, *biases)] for _ in range(2)]
    order_of = np.random.default_rng([seed, 0])
    step = 0
    for _ in range(epochs):
        order = order_of.permutation(len(inputs))
        for start in range(0, len(inputs), batch):
            rows = order[start : start + batch]
            values = [inputs[rows].astype(np.float64)]
            for number in range(len(sizes) - 1):
                total = values[-1] @ weights[number].T + biases[number]
                values.append(total if number == len(sizes) - 2 else np.maximum(total, 0))
            delta = (1 / (1 + np.exp(-values[-1])) - targets[rows]) / values[-1].size
            slopes, levels = [], []
            for number in reversed(range(len(sizes) - 1)):
                slopes.insert(0, delta.T @ values[number] + 0.01 * weights[number])
                levels.insert(0, delta.sum(axis=0))
                delta = (delta @ weights[number]) * (values[number] > 0)
            step += 1
            for place, (array, slope) in enumerate(zip([*weights, *biases], [*slopes, *levels], strict=True)):
                first, second = moments[0][place], moments[1][place]
                first += 0.1 * (slope - first)
                second += 0.001 * (slope**2 - second)
                move = 0.03 * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
                np.subtract(array, move, out=array)
            for array in weights:
                array[array < 0] = 0
    return weights, biases


def test_training_is_the_loop_written_out():
    rng = np.random.default_rng(1)
    inputs = rng.random((90, 6)).astype(np.float32)
    targets = rng.random((90, 2)).astype(np.float32)
    shape = Architecture((6, 8, 5, 2), Activation.RELU, Activation.SIGMOID, non_negative=True, l2=0.01)
    network = Network(shape, seed=4)
    weights, biases = plain_loop(network, inputs, targets, epochs=5, batch=16, seed=7)
    train(network, inputs, targets, Settings(BCE, Adam(rate=0.03), epochs=5, batch=16, seed=7))
    for layer, weight, bias in zip(network.layers, weights, biases, strict=True):
        np.testing.assert_allclose(layer.weights, weight, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(layer.biases, bias, rtol=1e-4, atol=1e-5)
        assert (layer.weights >= 0).all()
    assert any((layer.weights == 0).any() for layer in network.layers)


def in_float64(trainer, block):
    """Let `trainer` go on from `block` (count,) float64, in its precision."""
    trainer.block, trainer._gradient = block, np.zeros_like(block)
    trainer._layers, trainer._gradients = (
        layers_of(trainer._architecture, each) for each in (block, trainer._gradient)
    )
    trainer._state = trainer.settings.optimizer.start(block)


@pytest.mark.parametrize("extras", [{}, {"residual": True}, {"batch_norm": True}, {"dropout": 0.3}], ids=str)
@pytest.mark.parametrize(
    ("loss", "output", "class_weights"),
    [
        (LossName.BCE, "sigmoid", (1.0, 4.0, 0.5)),
        (LossName.CROSS_ENTROPY, "softmax", (1.0, 4.0, 0.5)),
        (LossName.HUBER, "linear", None),
    ],
)
def test_a_step_goes_by_the_slope_of_the_whole_loss(loss, output, class_weights, extras):
    """Soft targets, weights of rows and of classes, and the penalty of l2, against central differences."""
    rng = np.random.default_rng(3)
    shape = Architecture((4, 5, 5, 3), "gelu", output, l2=0.125, **extras)
    inputs, targets = rng.normal(size=(6, 4)), rng.random((6, 3))
    weights = _factors(Loss(loss), targets, rng.random(6) + 0.5, class_weights).astype(np.float64)
    block = initial(shape, 1).astype(np.float64) + 0.2 * rng.normal(size=shape.count)
    penalised = weights_of(shape, range(shape.layers))
    for layer in layers_of(shape, block):
        if layer.norm is not None:
            layer.norm.variance[:] = 1
    settings = Settings(Loss(loss), Sgd(), seed=7)

    def trainer_at(values):
        trainer = Trainer(Network(shape), settings)  # a new one: it draws the same dropout, its statistics are fresh
        in_float64(trainer, values.copy())
        return trainer

    def whole_loss(values):
        return trainer_at(values)._step(inputs, targets, weights, 1.0) + 0.0625 * (values[penalised] ** 2).sum()

    trainer = trainer_at(block)
    trainer._step(inputs, targets, weights, 1.0)
    expected = np.zeros_like(block)
    for place in range(len(block)):
        step = np.zeros_like(block)
        step[place] = 1e-6
        expected[place] = (whole_loss(block + step) - whole_loss(block - step)) / 2e-6
    of_loss = np.ones(shape.count, np.bool_)
    for layer in layers_of(shape, of_loss):
        if layer.norm is not None:  # running statistics are no parameters of the loss
            layer.norm.mean[:] = layer.norm.variance[:] = False
    assert np.abs(trainer._gradient - expected)[of_loss].max() < 1e-6 * np.abs(expected[of_loss]).max()


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("loss", [Loss(LossName.MSE), BCE], ids=lambda one: one.name)
@pytest.mark.parametrize("optimizer", [Sgd(), RmsProp(), Adam(), AdamW(weight_decay=0.1)], ids=repr)
def test_the_kernels_training_is_the_same_as_without(optimizer, loss, weighted):
    """A bound on the gradient that nothing reaches keeps the back end's own training out."""
    rng = np.random.default_rng(1)
    inputs, targets = rng.normal(size=(70, 5)).astype(np.float32), rng.random((70, 2)).astype(np.float32)
    weights = rng.random(70).astype(np.float32) if weighted else None
    shape = Architecture((5, 7, 6, 2), ("tanh", "leaky_relu"), "sigmoid", non_negative=True, l2=0.01)
    trainings = []
    for clip in (None, 1e30):
        network = Network(shape, seed=3)
        settings = Settings(loss, optimizer, Exponential(decay=0.8), epochs=4, batch=16, clip=clip)
        assert (Trainer(network, settings)._fused is None) == (clip is not None)
        record = train(network, inputs, targets, settings, weights=weights)
        trainings.append((network.parameters, [epoch.loss for epoch in record.epochs]))
    np.testing.assert_allclose(trainings[0][0], trainings[1][0], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(trainings[0][1], trainings[1][1], rtol=1e-5)


@pytest.mark.parametrize(
    ("extras", "settings"),
    [
        ({"dropout": 0.1}, {}),
        ({"batch_norm": True}, {}),
        ({"residual": True}, {}),
        ({"hidden": "gelu"}, {}),
        ({}, {"loss": Loss(LossName.HUBER)}),
        ({}, {"optimizer": RProp()}),
        ({}, {"clip": 1.0}),
    ],
    ids=range(7),
)
def test_what_no_kernel_offers_is_trained_in_numpy(extras, settings):
    inputs, targets = curve(40)
    network = Network(Architecture(**{"sizes": (2, 4, 4, 1), "hidden": "relu", **extras}), seed=1)
    settings = Settings(epochs=2, **settings)
    assert Trainer(network, settings)._fused is None
    assert train(network, inputs, targets, settings).best == 2


def test_the_two_share_their_moments():
    """An epoch that the kernel cannot take, between two that it takes, is still one training."""
    inputs, targets = curve(64)
    ones = np.ones((64, 1), np.float32)
    blocks = []
    for kernel in (True, False):
        trainer = Trainer(Network(Architecture((2, 4, 1)), seed=1), Settings(seed=2))
        trainer.epoch(inputs, targets)
        keep, trainer._fused = trainer._fused, trainer._fused if kernel else None
        trainer.epoch(inputs, targets, ones)
        trainer._fused = keep
        trainer.epoch(inputs, targets)
        blocks.append(trainer.block)
    np.testing.assert_allclose(blocks[0], blocks[1], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_fits_a_curve(name):
    inputs, targets = curve()
    network = Network(Architecture((2, 12, 1), Activation.TANH, initialisation="xavier"), seed=2)
    before = evaluate(network, Loss(LossName.MSE), inputs, targets)
    rate = {"sgd": 0.02, "quickprop": 0.05, "rprop": 0.01}.get(name, 0.01)
    batch = len(inputs) if name in ("rprop", "quickprop") else 16
    record = train(network, inputs, targets, Settings(optimizer=OPTIMIZERS[name](rate=rate), epochs=80, batch=batch))
    after = evaluate(network, Loss(LossName.MSE), inputs, targets)
    assert after < 0.2 * before
    assert record.best == len(record.epochs) == 80
    assert record.epochs[-1].loss < record.epochs[0].loss


@pytest.mark.parametrize("extras", [{}, {"dropout": 0.2, "batch_norm": True, "residual": True}])
def test_the_same_seed_gives_the_same_bits(extras):
    inputs, labels = blobs()
    shape = Architecture((2, 8, 8, 3), output=Activation.SOFTMAX, **extras)
    settings = Settings(Loss(LossName.CROSS_ENTROPY), epochs=3, validation=0.2, seed=5)
    blocks = []
    for seed in (5, 5, 6):
        network = Network(shape, seed=1)
        train(network, inputs, labels, replace(settings, seed=seed))
        blocks.append(network.parameters.tobytes())
    assert blocks[0] == blocks[1] != blocks[2]


def test_classes_and_soft_targets_are_the_same_thing():
    inputs, labels = blobs()
    shape = Architecture((2, 8, 3), output=Activation.SOFTMAX)
    settings = Settings(Loss(LossName.CROSS_ENTROPY), Adam(rate=0.02), epochs=10)
    hard, soft = Network(shape, seed=1), Network(shape, seed=1)
    train(hard, inputs, labels, settings)
    train(soft, inputs, np.eye(3, dtype=np.float32)[labels], settings)
    assert np.array_equal(hard.parameters, soft.parameters)
    assert (hard.predict(inputs).argmax(axis=1) == labels).mean() > 0.95
    smooth = Network(shape, seed=1)
    train(smooth, inputs, np.eye(3)[labels] * 0.7 + 0.1, replace(settings, epochs=60))
    assert np.quantile(smooth.predict(inputs).max(axis=1), 0.5) == pytest.approx(0.8, abs=0.06)


def test_class_weights_move_the_border():
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(400, 1)).astype(np.float32)
    labels = (inputs[:, 0] + rng.normal(size=400) > 1.5).astype(np.int64)
    shape = Architecture((1, 2), output=Activation.SOFTMAX)
    settings = Settings(Loss(LossName.CROSS_ENTROPY), Adam(rate=0.05), epochs=40)
    shares = []
    for class_weights in (None, (1.0, 8.0)):
        network = Network(shape, seed=1)
        train(network, inputs, labels, settings, class_weights=class_weights)
        shares.append((network.predict(inputs).argmax(axis=1) == 1).mean())
    assert shares[1] > 2 * shares[0]


@pytest.mark.parametrize(("loss", "output"), [(LossName.CROSS_ENTROPY, "softmax"), (LossName.BCE, "sigmoid")])
def test_a_class_weight_of_two_is_the_class_seen_twice(loss, output):
    inputs, labels = blobs(60, classes=2)
    targets = np.eye(2, dtype=np.float32)[labels] if output == "softmax" else labels[:, None].astype(np.float32)
    network = Network(Architecture((2, 4, targets.shape[1]), output=output), seed=1)
    twice = np.concatenate([np.arange(60), np.flatnonzero(labels == 1)])
    whole = evaluate(network, Loss(loss), inputs[twice], targets[twice]) * len(twice)
    weights = (1.0, 2.0) if output == "softmax" else (2.0,)
    assert evaluate(network, Loss(loss), inputs, targets, weights) * 60 == pytest.approx(whole, rel=1e-5)


def test_rows_of_weight_zero_teach_nothing():
    inputs, targets = curve()
    weights = (np.arange(200) < 150).astype(np.float32)
    other = targets.copy()
    other[150:] = 99
    networks = [Network(Architecture((2, 6, 1)), seed=1) for _ in range(2)]
    for network, wanted in zip(networks, (targets, other), strict=True):
        train(network, inputs, wanted, Settings(epochs=3), weights=weights)
    assert np.array_equal(networks[0].parameters, networks[1].parameters)


def test_early_stopping_brings_back_the_best_weights():
    inputs, targets = curve(40)
    judged = curve(200, seed=9)
    network = Network(Architecture((2, 40, 40, 1), Activation.TANH, initialisation="xavier"), seed=3)
    blocks = []
    settings = Settings(optimizer=Adam(rate=0.03), epochs=400, batch=8, patience=12)
    record = train(
        network, inputs, targets, settings, validation=judged, progress=lambda _: blocks.append(network.parameters)
    )
    assert record.stopped_early
    assert len(record.epochs) == record.best + 12 < 400
    losses = [epoch.validation_loss for epoch in record.epochs]
    assert record.best == int(np.argmin(losses)) + 1
    assert np.array_equal(network.parameters, blocks[record.best - 1])
    assert not np.array_equal(network.parameters, blocks[-1])
    assert evaluate(network, Loss(LossName.MSE), *judged) == pytest.approx(min(losses), rel=1e-6)


def test_without_validation_patience_watches_the_loss_itself():
    inputs = np.ones((8, 1), np.float32)
    network = Network(Architecture((1, 1)), np.array([1, 0], np.float32))
    record = train(network, inputs, inputs, Settings(optimizer=Sgd(rate=0.01), epochs=50, patience=3))
    assert (record.best, len(record.epochs), record.stopped_early) == (1, 4, True)
    assert record.epochs[0].validation_loss is None


def test_a_share_is_held_out_and_never_learned_from():
    inputs, targets = curve(50)
    seen = []

    network = Network(Architecture((2, 3, 1)), seed=1)
    step = Trainer._step

    def spying(self, rows, *rest):
        seen.extend(map(tuple, rows.tolist()))
        return step(self, rows, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "_step", spying)
        record = train(network, inputs, targets, Settings(epochs=2, batch=7, validation=0.2, seed=1, clip=9.0))
    assert len(seen) == 2 * 40
    assert len(set(seen)) == 40
    assert all(epoch.validation_loss is not None for epoch in record.epochs)


def test_the_rate_follows_the_schedule_and_progress_is_told():
    told = []
    inputs, targets = curve(30)
    settings = Settings(optimizer=Adam(rate=0.08), schedule=Exponential(decay=0.5), epochs=4)
    record = train(Network(Architecture((2, 3, 1)), seed=1), inputs, targets, settings, progress=told.append)
    assert [epoch.rate for epoch in told] == pytest.approx([0.08, 0.04, 0.02, 0.01])
    assert [epoch.number for epoch in told] == [1, 2, 3, 4]
    assert tuple(told) == record.epochs


def test_weight_decay_and_l2_shrink_weights_not_biases():
    inputs = np.zeros((4, 2), np.float32)
    start = np.array([1, 1, 1], np.float32)
    targets = np.ones((4, 1), np.float32)  # reached: the only pull is the penalty
    for shape, optimizer in (
        (Architecture((2, 1)), AdamW(rate=0.1, weight_decay=0.5)),
        (Architecture((2, 1), l2=0.5), Sgd(rate=0.1, momentum=0)),
    ):
        network = Network(shape, start)
        train(network, inputs, targets, Settings(optimizer=optimizer, epochs=1))
        assert network.parameters.tolist() == pytest.approx([0.95, 0.95, 1.0])


def test_clipping_bounds_a_step():
    network = Network(Architecture((1, 1)), np.zeros(2, np.float32))
    far = np.full((4, 1), 1e6, np.float32)
    train(network, np.ones((4, 1)), far, Settings(optimizer=Sgd(rate=1.0, momentum=0), epochs=1, clip=0.5))
    assert np.linalg.norm(network.parameters) == pytest.approx(0.5, rel=1e-5)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_non_negative_weights_never_fall_below_zero(name):
    inputs, labels = blobs(classes=2)
    shape = Architecture((2, 6, 5, 1), output="sigmoid", non_negative=True, batch_norm=True)
    network = Network(shape, seed=1)

    def look(_epoch):
        for layer in network.layers:
            assert (layer.weights >= 0).all()
            assert layer.norm is None or (layer.norm.scale >= 0).all()

    settings = Settings(BCE, OPTIMIZERS[name](rate=0.02), epochs=10, validation=0.1)
    train(network, inputs, labels[:, None].astype(np.float32), settings, progress=look)
    assert any((layer.weights == 0).any() for layer in network.layers)
    low, high = np.sort(np.random.default_rng(0).normal(size=(2, 100, 2)), axis=0)
    assert (network.logits(high) >= network.logits(low) - 1e-4).all()


def test_divergence_says_when_and_how():
    inputs, targets = curve()
    network = Network(Architecture((2, 8, 1)), seed=1)
    before = network.parameters.copy()
    with pytest.raises(DivergenceError, match=r"^the training diverged in epoch 1: the loss is ") as caught:
        train(network, inputs, targets, Settings(optimizer=Sgd(rate=1e6), epochs=5))
    assert caught.value.epoch == 1
    assert caught.value.reason.startswith("the loss is ")
    assert np.array_equal(network.parameters, before)  # what it came with


def test_a_loss_that_runs_away_is_divergence_and_the_best_is_kept():
    inputs = np.ones((4, 1), np.float32)
    network = Network(Architecture((1, 1)), np.array([0, 0], np.float32))
    kept = []
    settings = Settings(optimizer=Sgd(rate=1.5, momentum=0), epochs=50, batch=4)
    with pytest.raises(DivergenceError, match=r"the loss grew from 1 to") as caught:
        train(network, inputs, inputs, settings, validation=(inputs, inputs), progress=lambda e: kept.append(e.number))
    assert caught.value.epoch == len(kept) + 1 > 3


def test_a_single_epoch_can_diverge_too():
    inputs = np.ones((40, 1), np.float32)
    network = Network(Architecture((1, 1)), np.array([0, 0], np.float32))
    settings = Settings(optimizer=Sgd(rate=3.0, momentum=0), epochs=1, batch=8)
    with pytest.raises(DivergenceError, match=r"epoch 1: the loss grew from 1 to"):
        train(network, inputs, inputs, settings)
    assert network.parameters.tolist() == [0, 0]


def test_a_parameter_that_is_not_finite_is_divergence():
    class Wild(Optimizer):
        def move(self, state, block, gradient, rate):
            block[0] = np.inf

    network = Network(Architecture((1, 1)), np.zeros(2, np.float32))
    with pytest.raises(DivergenceError, match="a parameter is not finite"):
        train(network, np.ones((2, 1)), np.ones((2, 1)), Settings(optimizer=Wild(), epochs=1, batch=2))


def test_layers_that_do_not_learn_keep_every_bit():
    inputs, labels = blobs()
    shape = Architecture((2, 6, 6, 3), output="softmax", batch_norm=True, dropout=0.1, non_negative=True, l2=0.1)
    rng = np.random.default_rng(0)
    start = rng.normal(size=shape.count).astype(np.float32)
    for layer in layers_of(shape, start):
        if layer.norm is not None:
            layer.norm.variance[:] = 1
    for optimizer in (AdamW(weight_decay=0.3), RProp(), QuickProp(), Sgd()):
        network = Network(shape, start)
        settings = Settings(Loss(LossName.CROSS_ENTROPY), optimizer, epochs=2)
        train(network, inputs, labels, settings, learning=(False, True, False))
        after = network.layers
        for index, (old, new) in enumerate(zip(layers_of(shape, start), after, strict=True)):
            same = np.array_equal(old.weights, new.weights) and np.array_equal(old.biases, new.biases)
            assert same == (index != 1)
            if index == 0:
                for part in ("scale", "shift", "mean", "variance"):
                    assert np.array_equal(getattr(old.norm, part), getattr(new.norm, part))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inputs": np.ones((3, 5))}, r"^this network learns from inputs \(rows, 2\), not \(3, 5\)$"),
        ({"inputs": np.ones(3)}, r"^this network learns from inputs \(rows, 2\), not \(3,\)$"),
        ({"targets": np.ones((3, 2))}, r"^this network learns from targets \(rows, 3\), not \(3, 2\)$"),
        ({"targets": np.ones((4, 3))}, "^3 rows of inputs and 4 of targets"),
        ({"inputs": np.ones((0, 2)), "targets": np.ones((0, 3))}, "^0 rows of inputs and 0 of targets"),
        ({"inputs": np.full((3, 2), np.nan)}, "^the inputs hold values that are not finite$"),
        ({"targets": np.full((3, 3), np.inf)}, "^the targets hold values that are not finite$"),
        ({"targets": np.array([0, 1, 3])}, "^classes run from 0 to 2, not from 0 to 3$"),
        ({"targets": np.array([0, -1, 2])}, "^classes run from 0 to 2, not from -1 to 2$"),
        ({"weights": np.ones((3, 1))}, r"^weights of rows are \(3,\), not \(3, 1\)$"),
        ({"class_weights": (1.0, 2.0)}, r"^class weights are \(3,\), not \(2,\)$"),
        ({"learning": (True,)}, "^learning says of 2 layers which learn, one at least"),
        ({"learning": (False, False)}, "^learning says of 2 layers which learn, one at least"),
        ({"settings": Settings(BCE)}, "^bce needs the output activation sigmoid or linear, not softmax$"),
        (
            {"settings": Settings(), "class_weights": (1, 1, 1)},
            "^class weights belong to bce and cross_entropy, not to mse$",
        ),
    ],
    ids=range(15),
)
def test_what_does_not_fit_is_refused_with_what_would(change, message):
    network = Network(Architecture((2, 4, 3), output="softmax"))
    words = {"inputs": np.ones((3, 2)), "targets": np.ones((3, 3)), "settings": Settings(Loss("cross_entropy"))}
    with pytest.raises(ValueError, match=message):
        train(network, **(words | change))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"epochs": 0}, "epochs and batch are 1 or more, not 0 and 32"),
        ({"validation": 1.0}, "validation is a share from 0 to below 1"),
        ({"clip": 0.0}, "clip is above 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(words, message):
    with pytest.raises(ValueError, match=message):
        Settings(**words)
