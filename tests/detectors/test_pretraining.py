from dataclasses import replace

import numpy as np
import pytest

from detectors import pretraining
from detectors.capacity import NETWORK, SHIPPED, load_forecaster
from detectors.capacity_examples import Examples, resources, simulated
from detectors.capacity_inputs import methods
from detectors.forecasts import DAYS, HORIZONS, STEPS
from detectors.model_file import load_network
from detectors.pretraining import SETTINGS, gains, gathered, learned_from, pretrain
from detectors.synthetic import groups


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr(pretraining, "ALONE", 50)
    monkeypatch.setattr(pretraining, "HOSTS", 5)
    monkeypatch.setattr(pretraining, "INTERVAL_CHUNKS", 1)
    monkeypatch.setattr(pretraining, "SETTINGS", replace(SETTINGS, epochs=2))


def test_examples_are_those_of_their_seed_and_hold_what_came():
    first, again, other = (simulated(seed, 1, 30, 5) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.inputs, again.inputs)
    np.testing.assert_array_equal(first.targets, again.targets)
    assert not np.allclose(first.inputs[:20], other.inputs[:20])
    assert first.inputs.shape == (len(first.targets), 384)
    assert np.isfinite(first.targets).all()
    assert (first.steps > 0).all()
    assert 0.1 < np.median(np.abs(first.targets)) < 3  # an error is about as large as those before it


def test_companions_are_the_three_others_of_the_same_host():
    rows, companions, truth = resources(6, DAYS, 10, 4)
    hosts = groups(6, 4, rows.shape[1], DAYS)
    assert np.isnan(companions[:10]).all()
    np.testing.assert_array_equal(rows[10 + 4 * 2 + 1], hosts[2, 1, :-STEPS])
    np.testing.assert_array_equal(companions[10 + 4 * 2 + 1], hosts[2, [0, 2, 3], :-STEPS])
    np.testing.assert_array_equal(truth[10 + 4 * 2 + 1], hosts[2, 1, -STEPS:])


def test_a_run_that_broke_off_goes_on(tmp_path, monkeypatch):
    whole = gathered([7], tmp_path)
    monkeypatch.setattr(pretraining, "simulated", None)  # nothing is made again
    again = gathered([7], tmp_path)
    np.testing.assert_array_equal(whole.inputs, again.inputs)
    np.testing.assert_array_equal(whole.horizon, again.horizon)
    assert set(whole.horizon.tolist()) == {0, 1, 2}


def test_learning_finds_what_there_is_to_find_and_the_same_again():
    random = np.random.default_rng(1)
    rows = Examples(
        random.normal(size=(1000, 384)).astype(np.float32),
        np.zeros((1000, STEPS), np.float32),
        np.ones(1000),
        np.arange(1000) % 3,
    )
    rows.targets[:] = 0.5 * np.sign(rows.inputs[:, 96:97]) + 0.1 * random.standard_t(2, (1000, STEPS))
    settings = replace(SETTINGS, epochs=8, batch=64)
    first, again = learned_from(rows, settings), learned_from(rows, settings)
    np.testing.assert_array_equal(first.parameters, again.parameters)
    told = gains(first, rows)
    for horizon in HORIZONS:
        assert told[f"{horizon.name}.change"] < -0.2 * told[f"{horizon.name}.simple"]
        assert told[f"{horizon.name}.doubt"] < 0.05


def test_without_any_learning_nothing_is_corrected():
    rows = simulated(2, 0, 30, 0)
    network = learned_from(rows, replace(SETTINGS, epochs=1, optimizer=replace(SETTINGS.optimizer, rate=1e-12)))
    assert np.abs(network.predict(rows.inputs)).max() < 1e-6


def test_what_is_written_serves(tmp_path):
    told = pretrain(tmp_path / "capacity", tmp_path, chunks=2, held_out=1)
    forecaster = load_forecaster(tmp_path / "capacity")
    assert forecaster.problem == ""
    assert set(forecaster.tables) == {horizon.name for horizon in HORIZONS}
    assert set(told) == {f"{horizon.name}.{what}" for horizon in HORIZONS for what in ("simple", "change", "doubt")}


def test_what_is_shipped_learned_from_the_methods_there_are_and_is_better_on_what_it_has_not_seen():
    network, card = load_network(SHIPPED / NETWORK)
    assert card.features == methods()
    assert (SHIPPED / NETWORK / "model.safetensors").stat().st_size < 500_000
    told = gains(network, gathered([50]))
    changes = [told[f"{horizon.name}.change"] / told[f"{horizon.name}.simple"] for horizon in HORIZONS]
    assert sum(changes) < 0
    for horizon in HORIZONS:
        assert card.metrics[f"{horizon.name}.change"] < -card.metrics[f"{horizon.name}.doubt"]
