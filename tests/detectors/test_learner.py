import numpy as np
import pytest

from detectors import learner
from detectors.anomaly import ARCHITECTURE
from detectors.features import TOP_SIGNALS
from detectors.parameters import layers_of
from detectors.trainer import DivergenceError


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
    network = learner.train(rows, 10, ARCHITECTURE.sizes, 1, lambda share, text: told.append((share, text)))
    bad, _ = learner.negatives(quiet(seed=5), 10, np.random.default_rng(9))
    assert np.median(network.logits(bad)) > np.quantile(network.logits(quiet(seed=5)), 0.95)
    assert all((layer.weights >= 0).all() for layer in network.layers)
    shares = [share for share, _ in told]
    assert shares == pytest.approx([n / len(shares) for n in range(1, len(shares) + 1)])
    assert len(shares) * 5 >= 300  # five batches an epoch: a short history is gone through more often
    first, last = (float(text.rpartition(" ")[2]) for text in (told[0][1], told[-1][1]))
    assert last < first


def test_training_follows_its_seed(few_steps):
    one, same, other = (
        learner.train(quiet(300), 10, ARCHITECTURE.sizes, seed, silent).parameters for seed in (1, 1, 2)
    )
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_a_dead_network_is_started_anew(monkeypatch, few_steps):
    starts = []
    initial = learner._initial

    def first_is_dead(architecture, rows, rng):
        starts.append(initial(architecture, rows, rng))
        if len(starts) == 1:
            starts[0][:] = 0
            for layer in layers_of(architecture, starts[0])[:-1]:
                layer.biases[:] = -100  # no unit is ever active: no gradient brings it back
        return starts[-1]

    monkeypatch.setattr(learner, "_initial", first_is_dead)
    told = []
    learner.train(quiet(300), 10, ARCHITECTURE.sizes, 1, lambda _share, text: told.append(text))
    assert len(starts) == 2
    assert "start 1 gave a dead network: again" in told


def test_a_start_that_diverges_is_started_anew(monkeypatch):
    fits = []
    fit = learner._fit

    def first_diverges(network, *rest, **options):
        fits.append(network)
        if len(fits) == 1:
            raise DivergenceError(2, "the loss is nan")
        fit(network, *rest, **options)

    monkeypatch.setattr(learner, "_fit", first_diverges)
    told = []
    network = learner.train(quiet(300), 10, ARCHITECTURE.sizes, 1, lambda _share, text: told.append(text))
    assert network is fits[1]
    assert told[0] == "start 1: the training diverged in epoch 2: the loss is nan: again"


def test_when_every_start_is_dead_it_says_so(monkeypatch):
    def dead(architecture, _rows, _rng):
        return np.zeros(architecture.count, np.float32)

    monkeypatch.setattr(learner, "_initial", dead)
    monkeypatch.setattr(learner, "_fit", lambda *_arguments, **_options: None)
    with pytest.raises(learner.TrainingError, match="3 starts gave no network"):
        learner.train(quiet(100), 10, ARCHITECTURE.sizes, 1, silent)


def test_a_network_that_is_not_finite_is_dead_too(monkeypatch):
    def spoiled(network, *_rest, **_options):
        network.assign(np.full_like(network.parameters, np.nan))

    monkeypatch.setattr(learner, "_fit", spoiled)
    with np.errstate(invalid="ignore"), pytest.raises(learner.TrainingError):
        learner.train(quiet(100), 10, ARCHITECTURE.sizes, 1, silent)
