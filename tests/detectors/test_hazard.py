"""The hazard of a host: never certain without evidence, taught by what foretells, unmoved by what does not."""

import numpy as np
import pytest

from detectors import hazard
from detectors.event_features import DAY, HOUR, TEMPO, memory, tempo, thinned
from detectors.event_simulator import within
from detectors.hazard import Hazard, platt, pretrained, shares


@pytest.fixture(scope="module")
def prior():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hazard, "_ROWS_EACH", 500)
        patch.setattr(hazard, "_DRAWS", 1)
        yield pretrained(histories=40)


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(hazard, "_DRAWS", 1)
    monkeypatch.setattr(hazard, "_LEAST_STEPS", 400)


def rows(failures, errors, days=120):
    at = np.arange(DAY, (days - 1) * DAY, 2 * HOUR)
    own = thinned(failures)
    told = tempo(own, own, 1, 0.0, at)
    return np.concatenate([told, memory([own, errors], at)], axis=1), at, within(failures, at)


def foretold(seed=0, days=120):
    rng = np.random.default_rng(seed)
    errors = np.sort(rng.uniform(0, days * DAY, days // 3))
    return errors + 20 * HOUR, errors


def test_without_learning_simulated_histories_answer(prior):
    inputs, _, _ = rows(*foretold())
    host = Hazard(prior)
    told = host.risk(inputs)
    assert np.allclose(told, host.simulated_risk(inputs))
    assert host.evidence == hazard.Evidence(0, (0.0, 0.0))
    assert ((told >= 0) & (told <= 1)).all()
    assert (told[:, 1] >= told[:, 0]).all()


def test_simulated_histories_teach_that_failures_beget_failures(prior):
    at = np.array([60 * DAY])
    burst = thinned(60 * DAY - HOUR * np.array([1.0, 3.0, 5.0, 8.0, 12.0]))
    old = burst - 50 * DAY
    host = Hazard(prior)
    after, long_after = (host.risk(tempo(times, times, 1, 0.0, at))[0] for times in (burst, old))
    assert (after > 2 * long_after).all()


@pytest.mark.usefixtures("quick")
def test_what_foretells_failures_is_learned(prior):
    inputs, at, came = rows(*foretold())
    host = Hazard(prior)
    host.learn(inputs, at, came, half_life_days=np.inf)
    assert host.evidence.shares[1] > 0
    assert host.evidence.days > 20
    new, _, happened = rows(*foretold(seed=1))
    told = host.risk(new)
    assert told[happened[:, 1] > 0, 1].mean() > 3 * told[happened[:, 1] == 0, 1].mean()
    assert (told[:, 1] >= told[:, 0]).all()
    assert (
        np.mean((told - happened) ** 2, axis=0)[1]
        < 0.8 * np.mean((host.simulated_risk(new) - happened) ** 2, axis=0)[1]
    )


@pytest.mark.usefixtures("quick")
def test_the_same_seed_learns_the_same(prior, monkeypatch):
    monkeypatch.setattr(hazard, "_LEAST_STEPS", 40)
    inputs, at, came = rows(*foretold(days=60), days=60)
    told = []
    for _ in range(2):
        host = Hazard(prior, seed=3)
        host.learn(inputs, at, came)
        told.append(host.risk(inputs[:50]))
    assert np.array_equal(*told)


@pytest.mark.usefixtures("quick")
def test_a_host_that_never_failed_is_told_so(prior):
    inputs, at, came = rows(np.zeros(0), np.zeros(0))
    host = Hazard(prior)
    host.learn(inputs, at, came)
    assert host.evidence == hazard.Evidence(0, (0.0, 0.0))
    assert np.isfinite(host.risk(inputs)).all()
    assert np.allclose(host.risk(inputs), host.simulated_risk(inputs), atol=0.02)  # no evidence moves nothing


def test_a_network_is_heard_where_it_is_better_in_every_block():
    rng = np.random.default_rng(0)
    came = (rng.random((4000, 2)) < 0.2).astype(np.float32)
    blocks = np.repeat(np.arange(10), 400)
    weights, prior = np.ones(4000), np.full((4000, 2), -1.4)
    knows, noise = 4 * came - 2.0, prior + rng.normal(0, 1, prior.shape)
    assert shares(prior, [noise, knows], came, blocks, weights).tolist() == [[0, 0], [1, 1]]
    assert not shares(prior, [noise, noise], came, blocks, weights).any()
    once = np.where((blocks == 3)[:, None], knows, noise)  # a burst that it had luck with
    assert not shares(prior, [once], came, blocks, weights).any()


def test_platt_finds_the_shift_with_evidence_and_stays_without():
    rng = np.random.default_rng(1)
    logits = rng.normal(-2, 1, 40_000)
    came = (rng.random(40_000) < 1 / (1 + np.exp(-(0.8 * logits + 1)))).astype(np.float32)
    ones = np.ones(len(logits))
    assert platt(logits, came, ones, firmness=1000.0) == pytest.approx([1.0, 0.8], abs=0.1)
    assert platt(logits, came, ones, firmness=0.001) == pytest.approx([0.0, 1.0], abs=0.05)


def test_platt_never_turns_a_ranking_around():
    logits = np.linspace(-3, 3, 500)
    came = (logits < 0).astype(np.float32)
    assert platt(logits, came, np.ones(500), firmness=1e6)[1] > 0


def test_inputs_begin_with_the_tempo(prior):
    inputs, _, _ = rows(*foretold())
    assert np.array_equal(Hazard(prior).risk(inputs), Hazard(prior).risk(inputs[:, :TEMPO]))
