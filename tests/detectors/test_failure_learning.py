from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from detectors import failure_pretraining, failure_refinement
from detectors.factor_features import FEATURES, INPUTS, PRESENT
from detectors.factors import COUNT, NAMES, PLACE
from detectors.failing_hosts import simulated
from detectors.failure import FailureForecaster, load_forecaster, shipped
from detectors.failure_learning import (
    SETTINGS,
    average_precision,
    calibration_error,
    calibrations,
    changed,
    learned,
    quality,
)
from detectors.failure_pretraining import pretrain
from detectors.failure_refinement import REFINING, Lived, refine

QUICK = replace(SETTINGS, epochs=3)
FEW = (240, 240, 240)  # simulated hosts; judged by fewer, what is forgotten is a matter of luck


def rows(count=600, seed=1):
    """Moments that fail where the fourth feature of `space` is high."""
    random = np.random.default_rng(seed)
    inputs = random.random((count, COUNT, FEATURES)).astype(np.float32)
    inputs[:, :, PRESENT] = 1
    inputs = inputs.reshape(count, INPUTS)
    fails = (inputs[:, PLACE["space"] * FEATURES + 3] > 0.8).astype(np.float32)
    return inputs, np.stack([fails, fails], axis=1)


def test_factors_change_places_with_their_kind_alone_and_some_are_hidden():
    inputs = np.zeros((4000, COUNT, FEATURES), np.float32)
    inputs[:, :, PRESENT] = 1
    inputs[:, PLACE["memory"], 0] = 1
    out = changed(inputs.reshape(-1, INPUTS), np.random.default_rng(1)).reshape(-1, COUNT, FEATURES)
    found = {NAMES[at]: share for at, share in enumerate(out[:, :, 0].mean(axis=0).tolist()) if share}
    assert set(found) == {
        "memory", "unit_memory", "swap", "space", "inodes", "descriptors", "unit_descriptors", "threads",
    }  # fmt: skip
    assert found["memory"] == max(found.values())
    assert 0.7 < out[:, :, PRESENT].mean() < 0.95
    assert not out[out[:, :, PRESENT] == 0].any()


def test_a_training_repeats_itself_and_finds_what_there_is():
    inputs, targets = rows()
    first, again = learned(inputs, targets, QUICK), learned(inputs, targets, QUICK)
    np.testing.assert_array_equal(first.parameters, again.parameters)
    assert first.architecture.dropout == 0
    better = learned(inputs, targets, replace(SETTINGS, epochs=8, batch=32))
    came = targets[:, 0].astype(float)
    worth = [
        average_precision(one.predict(inputs)[:, 0].astype(float), came, np.ones(len(came))) for one in (first, better)
    ]
    assert came.mean() + 0.1 < worth[1]
    assert worth[0] < worth[1]


def test_a_training_goes_on_from_a_network():
    inputs, targets = rows(200)
    base = shipped().network
    still = replace(QUICK, optimizer=replace(SETTINGS.optimizer, rate=1e-12))
    np.testing.assert_allclose(learned(inputs, targets, still, base=base).parameters, base.parameters, atol=1e-6)


def test_quality_is_what_it_says():
    came = np.array([1.0, 0.0, 1.0, 0.0])
    right, wrong, flat = np.array([0.9, 0.1, 0.8, 0.2]), np.array([0.1, 0.9, 0.2, 0.8]), np.full(4, 0.5)
    one = np.ones(4)
    assert average_precision(right, came, one) == 1
    assert average_precision(flat, came, one) == 0.5  # ties help nobody
    assert average_precision(wrong, came, one) < 0.5
    assert calibration_error(flat, came, one) == 0
    assert calibration_error(wrong, came, one) == pytest.approx(0.85)
    assert quality(flat, came, one)["skill"] == 0
    assert quality(right, came, one)["skill"] == pytest.approx(0.9)
    weights = np.array([3.0, 1.0, 0.0, 1.0])
    repeated = quality(np.repeat(right, [3, 1, 0, 1]), np.repeat(came, [3, 1, 0, 1]), np.ones(5))
    assert quality(right, came, weights) == pytest.approx(repeated)
    assert np.isnan(average_precision(right, np.zeros(4), one))


def test_each_output_has_its_own_calibration():
    random = np.random.default_rng(1)
    raw = random.random((4000, 2))
    targets = (random.random((4000, 2)) < raw * [0.1, 1.0]).astype(np.float32)
    hour, day = calibrations(raw, targets, np.ones(4000, np.float32))
    assert hour(np.array([0.5]))[0] == pytest.approx(0.05, abs=0.02)
    assert day(np.array([0.5]))[0] == pytest.approx(0.5, abs=0.05)


def test_what_is_pretrained_serves_and_a_run_that_broke_off_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(failure_pretraining, "HOSTS", 24)
    told = pretrain(tmp_path / "failure", tmp_path, chunks=1, settings=QUICK)
    forecaster = load_forecaster(tmp_path / "failure")
    assert forecaster.problem == ""
    assert set(told) == {f"{one}.{what}" for one in ("1h", "24h") for what in ("auc_pr", "skill", "ece", "rate")}
    assert 0 < forecaster.base[0] <= forecaster.base[1] < 0.5
    monkeypatch.setattr(failure_pretraining, "simulated", None)  # nothing is made again
    assert pretrain(tmp_path / "again", tmp_path, chunks=1, settings=QUICK) == told


def host_that_fails_by_its_own_sign(count=300):
    """A host whose failures are announced by a file system that turns read-only, which says little elsewhere."""
    random = np.random.default_rng(1)
    quiet = simulated(70, 24)
    inputs = np.resize(quiet.inputs[quiet.targets[:, 1] == 0], (count, INPUTS)).copy()
    block = slice(PLACE["read_only"] * FEATURES, (PLACE["read_only"] + 1) * FEATURES)
    fails = random.random(count) < 0.08
    inputs[:, block] = 0.0
    inputs[fails, block] = 0.6
    inputs[:, block.stop - 1] = 1
    return inputs, np.repeat(fails[:, None], 2, axis=1).astype(np.float32)


@pytest.fixture(scope="module")
def remembered():
    return cache(simulated)  # the same hosts are replayed each time


@pytest.fixture
def _kept(monkeypatch, remembered):
    monkeypatch.setattr(failure_refinement, "simulated", remembered)


@pytest.mark.usefixtures("_kept")
def test_a_host_that_fails_in_its_own_way_is_learned_and_nothing_is_forgotten():
    inputs, targets = host_that_fails_by_its_own_sign()
    found = refine(shipped(), inputs, targets, events=9, replayed=FEW)
    assert found.refused == ""
    assert found.forecaster.taught == 9
    before, after = (one.probabilities(inputs, 9)[:, 0] for one in (shipped(), found.forecaster))
    fails = targets[:, 0] > 0
    assert after[fails].mean() > 2 * before[fails].mean()
    assert after[~fails].mean() < 0.3 * after[fails].mean()
    judged = simulated(71, 24)
    came, weights = judged.targets[:, 0].astype(float), judged.weights.astype(float)
    old, new = (quality(one.probabilities(judged.inputs)[:, 0], came, weights) for one in (shipped(), found.forecaster))
    assert new["auc_pr"] > old["auc_pr"] - 0.1


@pytest.mark.usefixtures("_kept")
def test_a_refinement_that_forgets_is_refused():
    inputs, targets = host_that_fails_by_its_own_sign()
    wild = replace(REFINING, optimizer=replace(REFINING.optimizer, rate=0.05), epochs=2)
    found = refine(shipped(), inputs, targets, 9, wild, replayed=FEW)
    assert found.forecaster is shipped()
    assert found.refused


@pytest.mark.usefixtures("_kept")
def test_a_refinement_that_does_not_help_the_host_is_refused():
    inputs, targets = host_that_fails_by_its_own_sign()
    targets[210:] = np.roll(targets[210:], 1, axis=0)  # what was true before is no more
    found = refine(shipped(), inputs, targets, 9, replace(REFINING, epochs=8), replayed=FEW)
    assert found.forecaster is shipped()
    assert found.refused.startswith("it tells the newest moments of this host no better: error within 1 h 0.")


@pytest.mark.usefixtures("_kept")
def test_a_refinement_that_helps_one_horizon_at_the_cost_of_the_other_is_refused():
    inputs, targets = host_that_fails_by_its_own_sign()
    targets[210:, 0] = 0  # no failure within the hour, from now on
    assert refine(shipped(), inputs, targets, 9, replace(REFINING, epochs=8), replayed=FEW).refused


@pytest.mark.usefixtures("_kept")
def test_what_grows_with_time_alone_is_not_learned():
    inputs, targets = host_that_fails_by_its_own_sign()
    log = inputs.reshape(-1, COUNT, FEATURES)[:, [PLACE["failure_age"], PLACE["failures"]]]
    seen = []

    def spied(rows, *more, **named):
        seen.append(rows[-210:].reshape(-1, COUNT, FEATURES))
        return learned(rows, *more, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(failure_refinement, "learned", spied)
        refine(shipped(), inputs, targets, 9, replace(REFINING, epochs=1), replayed=FEW)
    assert log.any()
    assert not seen[0][:, [PLACE["failure_age"], PLACE["failures"]]].any()
    np.testing.assert_array_equal(seen[0][:, PLACE["memory"]], inputs[:210].reshape(210, COUNT, -1)[:, PLACE["memory"]])


@pytest.mark.usefixtures("_kept")
def test_what_the_shipped_one_knew_is_kept_over_refinements():
    inputs, targets = host_that_fails_by_its_own_sign()
    network = learned(*rows(100), QUICK)  # it knows nothing of simulated hosts
    strange = FailureForecaster(network, shipped().calibrations, shipped().base, taught=5)
    quick = replace(REFINING, epochs=1)
    assert refine(strange, inputs, targets, 9, quick, replayed=FEW).refused == ""
    found = refine(strange, inputs, targets, 9, quick, replayed=FEW, anchor=shipped())
    assert found.refused.startswith("it forgets what is known of failures within 1 h: AUC-PR ")
    assert found.forecaster is strange


@pytest.mark.usefixtures("_kept")
def test_what_the_host_taught_before_is_learned_beside_and_held(monkeypatch):
    inputs, targets = host_that_fails_by_its_own_sign()
    earlier = Lived(*host_that_fails_by_its_own_sign(40), np.linspace(0.5, 1.5, 40, dtype=np.float32))
    seen = []

    def spied(rows, wanted, settings, *, weights, elastic, **named):
        seen.append((rows, wanted, weights, elastic))
        return learned(rows, wanted, settings, weights=weights, elastic=elastic, **named)

    monkeypatch.setattr(failure_refinement, "learned", spied)
    refine(shipped(), inputs, targets, 9, replace(REFINING, epochs=1), replayed=FEW, earlier=earlier)
    rows, wanted, weights, elastic = seen[0]
    np.testing.assert_array_equal(wanted[-40:], earlier.targets)
    np.testing.assert_array_equal(rows[-40:, -1], 0)  # how often it had failed then is no reason
    assert weights[-40:].sum() == pytest.approx(0.2 * weights[-250:-40].sum(), rel=1e-4)
    assert weights[-250:].sum() == pytest.approx(0.25 * weights.sum(), rel=1e-4)
    np.testing.assert_allclose(weights[-40:] / weights[-1], earlier.weights / 1.5, rtol=1e-4)
    np.testing.assert_array_equal(elastic.anchor, shipped().network.parameters)
    assert elastic.strength == failure_refinement.STRENGTH
    assert elastic.importance.mean() == pytest.approx(1, rel=1e-3)
    seen.clear()
    monkeypatch.setattr(failure_refinement, "_worse", lambda *_: "it forgets")
    assert refine(shipped(), inputs, targets, 9, replace(REFINING, epochs=1), replayed=FEW, earlier=earlier).refused
    assert [len(one[0]) for one in seen] == [len(rows)] * 3 + [len(rows) - 40] * 3  # without them it may be better


@pytest.mark.usefixtures("_kept")
def test_a_moment_counts_for_the_time_that_it_stands_for():
    inputs, targets = host_that_fails_by_its_own_sign()
    weights = np.random.default_rng(1).random(300).astype(np.float32)
    found = refine(shipped(), inputs, targets, 9, replace(REFINING, epochs=1), replayed=FEW, weights=weights)
    squares = (shipped().probabilities(inputs[210:]) - targets[210:]) ** 2
    assert found.before == pytest.approx(np.average(squares, axis=0, weights=weights[210:]).mean())
    assert np.isfinite(found.after)


def test_few_events_and_no_network_are_no_reason_to_refine():
    inputs, targets = host_that_fails_by_its_own_sign(100)
    assert refine(shipped(), inputs, targets, 4).refused.startswith("4 events of this host are not enough")
    assert refine(shipped(), inputs, np.zeros_like(targets), 9).refused
    nothing = FailureForecaster()
    assert refine(nothing, inputs, targets, 9).forecaster is nothing
