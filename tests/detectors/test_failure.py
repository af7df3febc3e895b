import shutil
import time

import numpy as np
import pytest

from detectors import failure
from detectors.beta_calibration import BetaCalibration
from detectors.factor_features import FEATURES, INPUTS, PRESENT, features
from detectors.factors import COUNT, NAMES, PLACE
from detectors.failing_hosts import hosts, simulated, window
from detectors.failure import CEILING, SHIPPED, FailureForecaster, load_forecaster, save, shipped
from detectors.failure_learning import average_precision, quality
from detectors.network import Network


def host(samples=600, seed=1, **changed):
    """A host that has a dozen factors and does nothing, but for what is `changed`."""
    random = np.random.default_rng(seed)
    values = np.full((samples, COUNT), np.nan)
    quiet = {
        "memory": 0.4, "cpu": 0.1, "load": 0.2, "cpu_pressure": 0.01, "memory_pressure": 0.0, "io_pressure": 0.0,
        "space": 0.5, "inodes": 0.1, "descriptors": 0.02, "threads": 0.02, "disk": 0.05, "retransmits": 0.0,
        "restarts": 0.0, "unit_memory": 0.3, "unit_descriptors": 0.1, "paging": 0.0, "major_faults": 0.0,
    }  # fmt: skip
    for name, level in quiet.items():
        values[:, PLACE[name]] = level * (1 + 0.01 * random.normal(size=samples))
    for name, series in changed.items():
        values[:, PLACE[name]] = series
    return values


def leak(to, of=180, samples=600):
    return np.concatenate([np.full(samples - of, 0.3), np.linspace(0.3, to, of)])


def test_a_leak_near_its_end_is_a_risk_and_a_quiet_host_is_none():
    forecaster = shipped()
    assert forecaster.problem == ""
    quiet = forecaster.risk(host(), 1.0)
    leaking = forecaster.risk(host(unit_memory=leak(0.9)), 1.0, about=["x.service"] * COUNT)
    assert quiet.hour.probability < 0.1
    assert leaking.hour.probability > 0.5
    first = leaking.causes[0]
    assert (first.factor, first.about) == ("unit_memory", "x.service")
    assert first.share > 0.4
    assert first.projection.level == pytest.approx(0.9, abs=0.01)
    assert first.projection.seconds == pytest.approx(0.1 / (0.6 / 180), rel=0.1)


def test_the_risk_grows_as_the_end_comes_nearer():
    forecaster = shipped()
    told = [forecaster.risk(host(unit_memory=leak(to)), 1.0).hour.probability for to in (0.32, 0.6, 0.95)]
    assert told == sorted(told)
    assert told[0] < 0.3 < told[-1]


def test_of_samples_farther_apart_than_it_has_learned_from_it_tells_the_base_rate_and_says_so():
    forecaster, leaking = shipped(), host(unit_memory=leak(0.95), space=leak(0.99))
    known, far = (forecaster.risk(leaking, interval) for interval in (60.0, 61.0))
    assert known.hour.probability > 0.5
    assert (far.hour.probability, far.day.probability) == pytest.approx(forecaster.base)
    assert (far.missing, far.causes, far.factors) == ("", (), known.factors)
    assert "61 s apart" in far.basis
    assert far.hour.lo < far.hour.probability < far.hour.hi
    of_host = FailureForecaster(forecaster.network, forecaster.calibrations, forecaster.base, taught=5)
    assert of_host.risk(leaking, 600.0).hour.probability > 0.5


@pytest.mark.parametrize("interval", [1.0, 30.0])
def test_a_day_is_never_safer_than_its_hour_and_nothing_is_certain(interval):
    found = simulated(50, 24)
    told = shipped().probabilities(found.inputs)
    assert (told[:, 1] >= told[:, 0]).all()
    assert 0 <= told.min() <= told.max() < CEILING
    risk = shipped().risk(host(memory=leak(0.99), space=leak(0.99), oom_kills=1.0), interval)
    assert risk.hour.lo < risk.hour.probability < risk.hour.hi < 1
    assert risk.day.probability >= risk.hour.probability


def test_the_fewer_factors_the_nearer_to_the_base_rate_and_the_wider_the_interval():
    forecaster = shipped()
    many = host(unit_memory=leak(0.95))
    few = many.copy()
    few[
        :, [at for at in range(COUNT) if NAMES[at] not in ("memory", "unit_memory", "cpu", "load", "space", "disk")]
    ] = np.nan
    sure, unsure = forecaster.risk(many, 1.0), forecaster.risk(few, 1.0)
    assert (sure.factors, unsure.factors) == (17, 6)
    assert unsure.hour.probability < 0.85

    def width(estimate):
        logits = [np.log(one / (1 - one)) for one in (estimate.lo, estimate.hi)]
        return logits[1] - logits[0]

    assert width(unsure.hour) > width(sure.hour)


def test_the_hosts_own_events_are_evidence():
    forecaster = shipped()
    values = host(unit_memory=leak(0.97))
    none, some = forecaster.risk(values, 1.0), forecaster.risk(values, 1.0, events=4)
    assert some.hour.probability > none.hour.probability
    assert none.basis == "calibrated on simulated hosts; this host: 0 events, not enough to check"
    assert "this host: 1 event, not" in forecaster.risk(values, 1.0, events=1).basis
    assert "this host: 7 events, not learned from" in forecaster.risk(values, 1.0, events=7).basis


def test_a_network_alone_with_equal_calibrations_is_drawn_to_the_base_rate():
    network = Network(shipped().network.architecture, seed=1)
    forecaster = FailureForecaster(network, [BetaCalibration()] * 2, (0.02, 0.03))
    nothing = np.zeros((1, INPUTS), np.float32)
    assert forecaster.probabilities(nothing)[0] == pytest.approx([0.02, 0.03])


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.zeros((0, COUNT)), "0 samples"),
        (np.full((100, COUNT), np.nan), "0 of 32 factors"),
        (host()[:10], "10 samples"),
    ],
)
def test_where_there_is_not_enough_evidence_nothing_is_said_but_why(values, reason):
    risk = shipped().risk(values, 30.0)
    assert risk.hour is None
    assert risk.day is None
    assert risk.missing.startswith("not enough evidence")
    assert reason in risk.missing
    assert risk.causes == ()


@pytest.mark.parametrize("how", ["gone", "altered", "foreign", "untrained", "other factors"])
@pytest.mark.parametrize("part", ["network", "calibration"])
def test_a_file_that_is_broken_gives_no_risk_and_the_reason(tmp_path, how, part, monkeypatch):
    folder = tmp_path / "failure"
    shutil.copytree(SHIPPED, folder)
    if how == "gone":
        shutil.rmtree(folder / part)
    elif how == "altered":
        file = folder / part / "model.safetensors"
        file.write_bytes(file.read_bytes()[:-3])
    elif how == "foreign":
        shutil.rmtree(folder / part)
        shutil.copytree(folder / ({"network", "calibration"} - {part}).pop(), folder / part)
    elif how == "untrained":
        shutil.rmtree(folder)
    else:
        monkeypatch.setattr(failure, "VERSION", failure.VERSION + 1)
        monkeypatch.setattr(failure, "NAMES", NAMES[::-1])
    risk = load_forecaster(folder).risk(host(), 30.0)
    assert risk.hour is None
    assert str(folder) in risk.missing


def test_a_network_that_gives_no_number_is_not_believed():
    network = Network(shipped().network.architecture, seed=1)
    network.assign(np.full_like(network.parameters, np.nan))
    risk = FailureForecaster(network, [BetaCalibration()] * 2, (0.02, 0.03)).risk(host(), 30.0)
    assert risk.hour is None
    assert risk.missing == "the network gave no number"


def test_what_is_written_is_read_bit_for_bit(tmp_path):
    before = FailureForecaster(shipped().network, shipped().calibrations, shipped().base, taught=6)
    save(tmp_path, before, {"x": 1.0})
    after = load_forecaster(tmp_path)
    rows = simulated(51, 24).inputs
    np.testing.assert_array_equal(before.probabilities(rows), after.probabilities(rows))
    assert after.risk(host(), 30.0).basis == "calibrated on simulated hosts, refined by 6 events of this host"
    with pytest.raises(ValueError, match="without a network"):
        save(tmp_path, FailureForecaster(), {})


def test_what_is_shipped_beats_the_rule_of_straight_lines_and_is_calibrated_on_hosts_it_has_not_seen():
    found = simulated(777, 168)
    told = shipped().probabilities(found.inputs)
    weights = found.weights.astype(float)
    for place in (0, 1):
        came = found.targets[:, place].astype(float)
        got = quality(told[:, place], came, weights)
        assert got["auc_pr"] > average_precision(found.rule, came, weights) + 0.15
        assert got["skill"] > 0.3
        assert got["ece"] < 0.05
    assert (SHIPPED / "network" / "model.safetensors").stat().st_size < 1_200_000


@pytest.mark.parametrize("kind", ["unit_memory", "space", "unit_descriptors", "restart_loop"])
def test_a_run_up_at_1_s_is_told_with_a_quarter_of_it_left(kind):
    made = hosts(60, 7, 1.0, only=[kind])
    left = []
    for values, episode in zip(made.values, made.episodes, strict=True):
        at = np.linspace(episode.begin + 2, episode.failed - 1, 20).astype(int)
        seen = features(np.stack([window(values, one) for one in at.tolist()]), 1.0)
        over = np.flatnonzero(shipped().probabilities(seen)[:, 0] > 0.5)
        left.append((episode.failed - at[over[0]]) / (episode.failed - episode.begin) if len(over) else 0)
    assert np.median(left) > 0.25


@pytest.mark.parametrize("kind", ["quiet", "stress", "stirs"])
def test_what_is_quiet_or_merely_loud_is_seldom_suspected(kind):
    made = hosts(61, 8, 1.0, only=[kind])
    top = []
    for values, episode in zip(made.values, made.episodes, strict=True):
        at = np.linspace(max(episode.begin, 30), episode.end, 25).astype(int)
        seen = features(np.stack([window(values, one) for one in at.tolist()]), 1.0)
        top.append(shipped().probabilities(seen)[:, 0].max())
    assert np.median(top) < 0.1
    assert np.mean(np.array(top) > 0.3) <= 0.25


@pytest.mark.parametrize(("name", "little"), [("disk_latency", 0.0007), ("resets", 0.05), ("interface_errors", 0.01)])
def test_what_was_at_rest_and_stirs_a_little_is_no_risk(name, little):
    random = np.random.default_rng(11)
    quiet = hosts(62, 12, 1.0, only=["quiet"]).values
    top = []
    for samples in (200, 900, 2880):
        for moved in (3, 20, 60):
            seen = quiet[:, -samples:].copy()
            seen[:, :, PLACE[name]] = 0
            seen[:, -moved:, PLACE[name]] = little * random.gamma(3, 1 / 3, (len(seen), moved))
            top.append(shipped().probabilities(features(seen, 1.0))[:, 0])
    assert np.mean(np.array(top) > 0.3) <= 0.01


def test_a_tick_costs_milliseconds():
    values, forecaster = host(2880), shipped()
    forecaster.risk(values, 30.0)
    taken = []
    for _ in range(10):
        begun = time.thread_time()
        forecaster.risk(values, 30.0)
        taken.append(time.thread_time() - begun)
    assert min(taken) < 0.03


def test_absent_factors_do_not_count_as_present():
    inputs = features(host(), 30.0).reshape(COUNT, FEATURES)
    assert inputs[:, PRESENT].sum() == shipped().risk(host(), 30.0).factors == 17
