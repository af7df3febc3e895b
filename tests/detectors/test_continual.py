from functools import partial

import numpy as np
import pytest

from detectors import continual, learner
from detectors.anomaly import fit_model
from detectors.continual import Knowledge, Sight
from detectors.features import TOP_SIGNALS
from detectors.model_file import ModelError
from detectors.network import Network


def quiet(rows=400, level=0.7, seed=0, signals=10):
    rng = np.random.default_rng(seed)
    out = np.zeros((rows, 256), np.float32)
    block = -np.sort(-np.abs(rng.normal(size=(rows, signals, 8))).astype(np.float32) * level, axis=1)
    out[:, : signals * 8] = block.reshape(rows, -1)
    out[:, TOP_SIGNALS * 8 :] = block.mean(axis=1)
    return out


def silent(_share, _text):
    pass


def learn(normals, first, known=None, seed=1, progress=silent):
    stamps = np.arange(first, first + len(normals))
    return continual.learn(normals, stamps, 10, known=known, seed=seed, progress=progress)


@pytest.fixture
def few_steps(monkeypatch):
    monkeypatch.setattr(learner, "_LEAST_STEPS", 60)


@pytest.fixture
def first(few_steps):
    return learn(quiet(), 0)


def test_the_first_training_is_anew_and_leaves_what_the_next_goes_on_from(first):
    assert first.figures == {
        "regimes_known": 0, "regimes_new": 1, "replay_rows": 0, "relearned": 1, "continued": 0, "trainings": 1
    }  # fmt: skip
    np.testing.assert_array_equal(first.knowledge.elastic.anchor, first.network.parameters)
    assert first.knowledge.elastic.importance.mean() == pytest.approx(1, rel=1e-3)
    assert first.knowledge.elastic.penalty(first.network.parameters + np.float32(0.1)) > 0
    assert len(first.knowledge.memory.rows()[0]) == 400
    again = learner.train(quiet(), 10, continual.ARCHITECTURE.sizes, 1, silent)
    np.testing.assert_array_equal(first.network.parameters, again.parameters)


def test_a_regime_that_comes_again_is_kept_not_relearned(first, monkeypatch):
    monkeypatch.setattr(learner, "train", None)  # a call would fail
    told = []
    again = learn(quiet(seed=5), 400, first.knowledge, progress=lambda _share, text: told.append(text))
    np.testing.assert_array_equal(again.network.parameters, first.network.parameters)
    assert (again.figures["relearned"], again.figures["regimes_known"], again.figures["regimes_new"]) == (0, 1, 0)
    assert again.figures["retention"] == 1
    assert again.knowledge.elastic.trainings == 1
    assert again.knowledge.memory.regimes[0].offered == 800
    assert "kept" in told[-1]
    monkeypatch.undo()
    monkeypatch.setattr(learner, "_LEAST_STEPS", 30)
    again.knowledge.memory.most = 1
    assert learn(quiet(level=1.1), 800, again.knowledge).figures["relearned"] == 1  # no room, yet not known


def test_a_new_regime_is_learned_and_the_one_before_is_not_forgotten(first):
    shares = []
    louder = quiet(level=1.1, seed=3)
    after = learn(louder, 400, first.knowledge, progress=lambda share, _text: shares.append(share))
    figures = after.figures
    assert (figures["relearned"], figures["regimes_new"], figures["replay_rows"]) == (1, 1, 400)
    assert figures["continued"] in (0, 1)
    assert figures["ewc_lambda"] == figures["continued"] * continual.STRENGTH
    assert figures["retention"] > 0.9
    assert figures["trainings"] == 2
    assert all((layer.weights >= 0).all() for layer in after.network.layers)
    before = Sight.of(first.network, louder, [quiet(seed=9)], 10)
    now = Sight.of(after.network, louder, [quiet(seed=9)], 10)
    assert now.whole > before.whole - 0.02
    assert now.kept_of(before) > 0.9
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert len(after.knowledge.memory.regimes) == 2


def test_the_better_of_both_ways_serves(first, monkeypatch):
    louder = quiet(level=1.1, seed=3)

    def blind(*_arguments, **_options):
        return Network(first.network.architecture, np.zeros_like(first.network.parameters))

    with monkeypatch.context() as patched:
        patched.setattr(learner, "train", blind)
        assert learn(louder, 400, first.knowledge).figures["continued"] == 1
    patched = monkeypatch
    patched.setattr(learner, "train_on", blind)
    first.knowledge.memory.regimes.pop()  # the new one, from just before
    first.knowledge.memory.until = 399
    figures = learn(louder, 400, first.knowledge).figures
    assert (figures["continued"], figures["ewc_lambda"]) == (0, 0)


def test_a_continuation_that_diverges_leaves_what_was_learned_anew(first, monkeypatch):
    def diverges(*_arguments, **_options):
        raise learner.TrainingError("the loss is nan")

    monkeypatch.setattr(learner, "train_on", diverges)
    assert learn(quiet(level=1.1), 400, first.knowledge).figures["continued"] == 0
    monkeypatch.setattr(learner, "train", diverges)
    first.knowledge.memory.regimes.pop()
    first.knowledge.memory.until = 399
    with pytest.raises(learner.TrainingError, match="neither anew nor on"):
        learn(quiet(level=1.1), 400, first.knowledge)


def test_going_on_starts_from_the_champion_and_is_held(first):
    louder = quiet(level=1.1, seed=3)
    elastic = first.knowledge.elastic
    on = learner.train_on(elastic, louder, 10, 1, silent)
    free = learner.train_on(continual.Elastic(elastic.anchor, elastic.importance, 0.0), louder, 10, 1, silent)
    assert 0 < elastic.penalty(on.parameters) < elastic.penalty(free.parameters)
    broken = continual.Elastic(np.full_like(elastic.anchor, np.nan), elastic.importance, 1.0)
    with np.errstate(invalid="ignore"), pytest.raises(learner.TrainingError, match="diverged"):
        learner.train_on(broken, louder, 10, 1, silent)


def test_replayed_rows_have_their_share_however_few_they_are(first):
    few = quiet(10, level=1.1, seed=3)
    with_few = learner.train_on(first.knowledge.elastic, quiet(), 10, 1, silent, replayed=few)
    without = learner.train_on(first.knowledge.elastic, quiet(), 10, 1, silent)
    with_none = learner.train_on(first.knowledge.elastic, quiet(), 10, 1, silent, replayed=few[:0])
    np.testing.assert_array_equal(without.parameters, with_none.parameters)
    held_out = quiet(300, level=1.1, seed=4)
    # what it replays it takes for quiet
    assert np.median(with_few.logits(held_out)) < np.median(without.logits(held_out))


def test_what_is_known_is_read_as_it_was_written(first, tmp_path):
    continual.save(tmp_path, first.knowledge)
    read = continual.load(tmp_path)
    np.testing.assert_array_equal(read.elastic.anchor, first.knowledge.elastic.anchor)
    np.testing.assert_array_equal(read.elastic.importance, first.knowledge.elastic.importance)
    assert (read.elastic.strength, read.elastic.trainings) == (continual.STRENGTH, 1)
    new = quiet(level=1.1, seed=3)
    one, other = (learn(new, 400, known) for known in (first.knowledge, read))
    np.testing.assert_array_equal(one.network.parameters, other.network.parameters)
    with pytest.raises(ModelError):
        continual.load(tmp_path / "older")  # a model from before anything was kept
    wrong = continual.Elastic(np.ones(3, np.float32), np.ones(3, np.float32), 1.0)
    continual.save(tmp_path, Knowledge(read.memory, wrong))
    with pytest.raises(ModelError, match="does not fit"):
        continual.load(tmp_path)


def test_a_model_goes_on_from_the_one_before(few_steps, quiet_host):
    values, hours = quiet_host(500, 8), np.full(500, 5)
    floor, stamps = np.full(8, 0.01), np.arange(1000, 1500)
    model = fit_model(values, hours, range(8), floor, with_network=True, stamps=stamps)
    assert model.learned is not None
    kept = np.concatenate([regime.stamps for regime in model.learned.knowledge.memory.regimes])
    assert kept.min() >= 1000 + 15
    assert kept.max() == 1499
    again = fit_model(
        values,
        hours,
        range(8),
        floor,
        with_network=True,
        stamps=stamps,
        learn=partial(continual.learn, known=model.learned.knowledge),
        seed=7,
    )
    assert again.learned.figures["relearned"] == 0  # nothing new was seen
    np.testing.assert_array_equal(again.network.parameters, model.network.parameters)
    assert fit_model(values, hours, range(8), floor, with_network=False).learned is None
