import numpy as np
import pytest

from detectors import learner
from detectors.architectures import ANOMALY
from detectors.features import TOP_SIGNALS
from detectors.network import Network


def quiet(rows=600, signals=10, seed=0):
    rng = np.random.default_rng(seed)
    out = np.zeros((rows, 256), np.float32)
    block = -np.sort(-np.abs(rng.normal(size=(rows, signals, 8))).astype(np.float32) * 0.7, axis=1)
    out[:, : signals * 8] = block.reshape(rows, -1)
    out[:, TOP_SIGNALS * 8 :] = block.mean(axis=1)
    return out


@pytest.fixture
def few_steps(monkeypatch):
    """Enough to tell quiet from raised, not enough to serve: a tenth of a second instead of two."""
    monkeypatch.setattr(learner, "_LEAST_STEPS", 90)


def silent(_share, _text):
    pass


def test_the_gradient_is_the_slope_of_the_loss(seed):
    """Central differences in float64: the backward pass is checked against the forward pass alone."""
    rng = np.random.default_rng(seed)
    network, gradient = Network((6, 5, 4, 1)), Network((6, 5, 4, 1))
    network.parameters[:] = rng.normal(size=network.parameters.size) * 0.7
    inputs = rng.normal(size=(9, 6)).astype(np.float32)
    wanted = rng.random(9).astype(np.float32)

    def loss(parameters):
        values, at = inputs.astype(np.float64), 0
        for wide, out in ((6, 5), (5, 4), (4, 1)):
            weights = parameters[at : at + wide * out].reshape(out, wide)
            values = values @ weights.T + parameters[at + wide * out : at + wide * out + out]
            values = np.maximum(values, 0) if out > 1 else values
            at += wide * out + out
        logit = values[:, 0]
        return np.mean(np.logaddexp(0, logit) - wanted * logit)

    got = learner._gradient(network, gradient, inputs, wanted)
    at = network.parameters.astype(np.float64)
    assert got == pytest.approx(loss(at), rel=1e-5)
    slopes = np.empty_like(at)
    for place in range(len(at)):
        step = np.zeros_like(at)
        step[place] = 1e-5
        slopes[place] = (loss(at + step) - loss(at - step)) / 2e-5
    assert np.abs(slopes).max() > 0.01
    np.testing.assert_allclose(gradient.parameters, slopes, atol=2e-6, rtol=1e-4)


def test_negatives_are_more_surprising_and_stay_sorted():
    rows = quiet()
    bad, targets = learner.negatives(rows, 10, np.random.default_rng(0))
    assert bad.shape == rows.shape
    assert ((targets > 0) & (targets <= 1)).all()
    assert 0.3 < (targets == 1).mean() < 0.7  # half are soft
    power = (bad[:, : 10 * 8].reshape(-1, 10, 8) ** 3).mean(axis=2)
    assert (np.diff(power, axis=1) <= 1e-5).all()
    before = (rows[:, : 10 * 8].reshape(-1, 10, 8) ** 3).mean(axis=2)
    assert (power.sum(axis=1) >= before.sum(axis=1) - 1e-4).all()
    assert (bad[:, 10 * 8 : TOP_SIGNALS * 8] == 0).all()  # a host of ten signals has no eleventh
    np.testing.assert_allclose(
        bad[:, TOP_SIGNALS * 8 :], bad[:, :80].reshape(-1, 10, 8).mean(axis=1), rtol=1e-4, atol=1e-5
    )
    assert learner.negatives(rows, 0, np.random.default_rng(0))[0].shape == rows.shape


def test_training_tells_quiet_from_raised_and_is_monotone():
    told = []
    rows = quiet()
    network = learner.train(rows, 10, ANOMALY, 1, lambda share, text: told.append((share, text)))
    bad, _ = learner.negatives(quiet(seed=5), 10, np.random.default_rng(9))
    assert np.median(network.logits(bad)) > np.quantile(network.logits(quiet(seed=5)), 0.95)
    assert all((weights >= 0).all() for weights in network.weights)
    shares = [share for share, _ in told]
    assert shares == pytest.approx([n / len(shares) for n in range(1, len(shares) + 1)])
    assert len(shares) * 5 >= 300  # five batches an epoch: a short history is gone through more often
    first, last = (float(text.rpartition(" ")[2]) for text in (told[0][1], told[-1][1]))
    assert last < first


def test_training_follows_its_seed(few_steps):
    one, same, other = (learner.train(quiet(300), 10, ANOMALY, seed, silent).parameters for seed in (1, 1, 2))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_a_dead_network_is_started_anew(monkeypatch, few_steps):
    starts = []
    initial = learner._initial

    def first_is_dead(sizes, rows, rng):
        starts.append(initial(sizes, rows, rng))
        if len(starts) == 1:
            starts[0].parameters[:] = 0
            for bias in starts[0].biases[:-1]:
                bias[:] = -100  # no unit is ever active: no gradient brings it back
        return starts[-1]

    monkeypatch.setattr(learner, "_initial", first_is_dead)
    told = []
    network = learner.train(quiet(300), 10, ANOMALY, 1, lambda _share, text: told.append(text))
    assert len(starts) == 2
    assert network is starts[1]
    assert "start 1 gave a dead network: again" in told


def test_when_every_start_is_dead_it_says_so(monkeypatch):
    monkeypatch.setattr(learner, "_initial", lambda sizes, _rows, _rng: Network(sizes))
    monkeypatch.setattr(learner, "_fit", lambda *_arguments: None)
    with pytest.raises(learner.TrainingError, match="3 starts gave no network"):
        learner.train(quiet(100), 10, ANOMALY, 1, silent)


def test_a_network_that_is_not_finite_is_dead_too(monkeypatch):
    monkeypatch.setattr(learner, "_fit", lambda network, *_rest: network.parameters.fill(np.nan))
    with np.errstate(invalid="ignore"), pytest.raises(learner.TrainingError):
        learner.train(quiet(100), 10, ANOMALY, 1, silent)
