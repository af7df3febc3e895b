"""What a host's own failures say: more in a burst, nothing without one failure, and never alone."""

import json
import shutil

import numpy as np
import pytest

from detectors import failure, failure_history, hazard, history_pretraining
from detectors.event_features import DAY, HOUR
from detectors.event_simulator import history
from detectors.factors import COUNT
from detectors.failure import CEILING, SHIPPED, Cause, Estimate, Risk
from detectors.failure_history import BASIS, HISTORY, FailureHistory, Past, joined, load_history, shipped_history
from detectors.history_pretraining import pretrain
from detectors.projection import Projection

NOW = 1.76e9
BURST = NOW - 60 * np.array([45.0, 20.0, 1.0])
BASE = (0.02, 0.05)


def ago(*hours):
    return np.sort(NOW - HOUR * np.array(hours))


def past(failed, days=90.0):
    return shipped_history().past(np.asarray(failed, float), NOW - days * DAY, NOW)


def spread(one):
    return np.subtract(*(np.log(bound / (1 - bound)) for bound in (one.hi, one.lo)))


def test_failures_beget_failures_and_fade():
    told = [past(failed) for failed in (BURST, ago(0.1), ago(2), ago(24), ago(30 * 24))]
    for one in ([each.hour.probability for each in told], [each.day.probability for each in told]):
        assert one == sorted(one, reverse=True)
    assert told[0].hour.probability > 0.3
    assert told[0].day.probability > 0.5
    assert told[-1].hour.probability < failure.shipped().base[0]


@pytest.mark.parametrize("days", [0.003, 1, 30, 700])
def test_a_host_that_never_failed_is_told_nothing_and_would_be_told_less_than_the_base_rate(days):
    assert past([], days) is None
    none = np.zeros(0)
    assert (shipped_history().probabilities(none, NOW - days * DAY, np.array([NOW]))[0] <= failure.shipped().base).all()


def test_only_a_burst_within_the_hour_takes_the_hour_above_thirty_percent():
    bursts = 0
    for seed in range(60):
        own = failure_history.thinned(history(np.random.default_rng(seed)).times)
        if not len(own):
            continue
        at = np.sort(np.r_[own[:50] + 1, own[:50] + 1800])
        told = shipped_history().probabilities(own, 0.0, at)
        is_calm = np.array([((own <= one) & (own > one - HOUR)).sum() < 3 for one in at])
        assert (told[is_calm, 0] <= 0.3).all()
        assert (told[:, 1] >= told[:, 0]).all()
        assert told.max() < CEILING
        bursts += (told[~is_calm, 0] > 0.3).sum()
    assert bursts > 20


def test_five_minutes_of_watching_are_not_taken_for_a_rate():
    first, week = past(ago(0.05), 5 / 1440), past(ago(0.05), 7)
    assert first == week
    assert first.day.probability < 0.7  # one failure is no ticket
    assert past(ago(0.05), 60).day.probability < week.day.probability


def test_what_lies_before_the_watch_counts_and_what_lies_ahead_does_not():
    long_ago, recent = ago(24 * 20, 24 * 10), ago(1)
    assert past(np.r_[long_ago, recent], 1).day.probability > past(recent, 1).day.probability
    assert past(np.r_[recent, NOW + 5]) == past(recent)
    assert past([NOW + 5]) is None


def test_repeats_within_five_minutes_are_one_failure():
    begin = (NOW // 300 - 1) * 300
    assert past(begin + np.arange(100.0)) == past([begin])


def test_the_more_failures_there_were_the_narrower_the_interval_and_never_sure():
    few, many = past(ago(5)), past(ago(*(5 + 30 * np.arange(40))))
    for one, other in ((few.hour, many.hour), (few.day, many.day)):
        assert spread(one) > spread(other) > 1.5
        assert one.lo < one.probability < one.hi < 1
    assert past(NOW - 301 * np.arange(300.0)).day.probability < CEILING


def cause(factor, share):
    return Cause(factor, "", share, Projection(0.5, np.nan, 0.0, np.inf))


def estimate(probability):
    return Estimate(probability, probability / 2, min(2 * probability, 1.0))


def by_factors(hour=0.1, day=0.2, *causes):
    return Risk(estimate(hour), estimate(day), "simulated", 20, 3, "", causes)


def test_the_higher_of_both_is_the_risk():
    risk, share = joined(by_factors(0.1, 0.6), Past(Estimate(0.4, 0.01, 0.9), estimate(0.5)), BASE)
    assert (risk.hour, risk.day) == (Estimate(0.4, 0.05, 0.9), Estimate(0.6, 0.3, 1.0))
    assert share > 0.5
    assert risk.basis == f"simulated; {BASIS}"
    assert (risk.factors, risk.events) == (20, 3)


def test_what_raises_nothing_changes_nothing():
    risk = by_factors(0.1, 0.2, cause("memory", 1.0))
    for nothing in (None, Past(estimate(0.05), estimate(0.2))):
        assert joined(risk, nothing, BASE) == (risk, 0.0)


def test_a_history_alone_gives_no_figure():
    lacking = Risk(None, None, "simulated", 3, 3, "not enough evidence: 3 of 32 factors")
    assert joined(lacking, Past(estimate(0.4), estimate(0.5)), BASE) == (lacking, 0.0)


def test_shares_are_those_of_the_way_from_the_base_rate():
    odds = [1 / 99, 1 / 9, 1.0]  # the base rate, what factors say, what the history says: equal steps but for 11 and 9
    base, hour, whole = (one / (1 + one) for one in odds)
    risk, share = joined(
        by_factors(hour, 0.6, cause("memory", 0.7), cause("failure_age", 0.2)),
        Past(estimate(whole), estimate(0.5)),
        (base, base),
    )
    factors = np.log(11) / np.log(99)
    assert [(one.factor, one.share) for one in risk.causes] == [("memory", pytest.approx(0.7 * factors))]
    assert share == pytest.approx(1 - factors + 0.2 * factors)


def test_where_factors_calm_the_history_alone_raises():
    risk, share = joined(by_factors(0.01, 0.02, cause("memory", 1.0)), Past(estimate(0.3), estimate(0.4)), BASE)
    assert (risk.causes, share) == ((), 1.0)


@pytest.mark.parametrize("how", ["gone", "altered", "foreign", "other version", "other sizes", "not finite", "empty"])
def test_a_file_that_is_broken_leaves_no_network_and_says_why(tmp_path, how, monkeypatch):
    shutil.copytree(SHIPPED / HISTORY, tmp_path / HISTORY)
    ensemble = shipped_history().ensemble
    match how:
        case "gone":
            shutil.rmtree(tmp_path / HISTORY)
        case "altered":
            (tmp_path / HISTORY / "model.safetensors").write_bytes(b"x")
        case "foreign":
            shutil.rmtree(tmp_path / HISTORY)
            shutil.copytree(SHIPPED / "calibration", tmp_path / HISTORY)
        case "other version":
            monkeypatch.setattr(failure_history, "VERSION", failure_history.VERSION + 1)
        case "other sizes":
            monkeypatch.setattr(failure_history, "TEMPO", failure_history.TEMPO + 1)
        case "not finite" | "empty":
            numbers = np.stack([network.parameters for network in ensemble.networks])
            numbers = np.full_like(numbers, np.nan) if how == "not finite" else numbers[:0]
            record = json.loads((tmp_path / HISTORY / "manifest.json").read_text())
            kept = {name: value for name, value in record.items() if "sha256" not in name}
            failure_history.write(tmp_path, HISTORY, {"parameters": numbers}, kept)
    found = load_history(tmp_path)
    assert found.ensemble is None
    assert str(tmp_path) in found.problem
    assert found.past(BURST, NOW - DAY, NOW) is None
    assert np.isnan(found.probabilities(BURST, NOW - DAY, np.array([NOW]))).all()


def test_networks_that_give_no_number_are_not_believed(monkeypatch):
    ensemble = shipped_history().ensemble
    monkeypatch.setattr(ensemble, "each", lambda inputs: np.full((3, len(inputs), 2), np.nan))
    assert FailureHistory(ensemble).past(BURST, NOW - DAY, NOW) is None


def test_what_is_pretrained_serves_and_comes_out_the_same_again(tmp_path, monkeypatch):
    for name, value in (("_ROWS_EACH", 200), ("_DRAWS", 2)):
        monkeypatch.setattr(hazard, name, value)
    monkeypatch.setattr(history_pretraining, "ROWS_EACH", 200)
    told = [pretrain(tmp_path / name, histories=8, judged=4) for name in ("first", "again")]
    assert told[0] == told[1]
    assert set(told[0]) == {f"{one}.{what}" for one in ("1h", "24h") for what in ("auc_pr", "skill", "ece", "rate")}
    for file in ("manifest.json", "model.safetensors"):
        first, again = ((tmp_path / name / HISTORY / file).read_bytes() for name in ("first", "again"))
        assert first == again
    served = load_history(tmp_path / "first")
    assert served.problem == ""
    assert len(served.ensemble.networks) == 2
    assert json.loads((tmp_path / "first" / HISTORY / "manifest.json").read_text())["metrics"] == told[0]


def test_the_two_factors_that_are_about_the_same_are_factors():
    assert len(failure_history.SELF) == 2 < COUNT
    assert set(failure_history.SELF) <= set(failure.NAMES)
