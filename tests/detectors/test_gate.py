from dataclasses import replace

import numpy as np
import pytest

from detectors import fault_suite
from detectors.anomaly import fit_model
from detectors.calibration import budget_threshold
from detectors.gate import Evidence, Stretch, judge, performance

SIGNALS = 10
INTERVAL = 60.0
LEARNED, WEEK, DAY = 4000, 3000, 1000  # rows of a host whose days are short


@pytest.fixture(autouse=True)
def few_faults(monkeypatch, scale):
    """Judge by sixteen faults in place of a hundred: what is looked for here is larger than their interval."""
    monkeypatch.setattr(fault_suite, "FAULTS", min(100, 16 * scale))


@pytest.fixture(scope="module")
def host(quiet_host):
    return quiet_host(LEARNED + WEEK + DAY, SIGNALS, 5)


def hours(values):
    return np.arange(len(values)) // 60 % 168


def learned(values):
    return fit_model(values, hours(values), range(SIGNALS), np.full(SIGNALS, 0.01), with_network=False)


def seen(values, alarmed=None):
    alarmed = np.zeros(len(values), np.bool_) if alarmed is None else alarmed
    cuts = [slice(LEARNED + WEEK, None), slice(LEARNED, LEARNED + WEEK), slice(0, LEARNED)]
    parts = [Stretch(values[cut], hours(values)[cut], alarmed[cut]) for cut in cuts]
    return Evidence(range(SIGNALS), np.full(SIGNALS, 0.01), *parts, INTERVAL, 7.0)


def in_force(model):
    return budget_threshold(model.quiet_scores, INTERVAL, 7, model.least_threshold)


def deafened(model, factor):
    """The model with scores `factor` times as high."""
    scales = tuple(replace(one, means=tuple(mean / factor for mean in one.means)) for one in model.scales)
    return replace(model, scales=scales)


@pytest.fixture(scope="module")
def champion(host):
    return learned(host[:LEARNED])


def test_a_model_does_not_win_against_itself(host, champion):
    verdict = judge(champion, in_force(champion), champion, seen(host))
    assert not verdict.passes
    assert verdict.metrics["recent"] == verdict.metrics["champion_recent"]
    assert verdict.metrics["retention"] == 1
    assert any("not better on recent data" in reason for reason in verdict.reasons)


def test_a_deaf_champion_loses_to_one_that_hears_and_not_the_other_way(host, champion):
    deaf = deafened(champion, 0.25)
    verdict = judge(deaf, 4 * in_force(champion), champion, seen(host))
    assert verdict.metrics["champion_recent"] < verdict.metrics["recent"]
    assert not judge(champion, in_force(champion), deaf, seen(host)).passes


def test_a_challenger_that_is_too_loud_breaks_the_budget(host, champion):
    verdict = judge(champion, in_force(champion), deafened(champion, 20.0), seen(host))
    assert not verdict.passes
    assert any("episodes in the recent rows" in reason for reason in verdict.reasons)


def test_a_poisoned_week_is_told_by_the_incident_that_is_no_longer_raised(host, champion):
    values = host.copy()
    values[LEARNED + 500 : LEARNED + 1700, :4] += 0.8
    verdict = judge(champion, in_force(champion), learned(values[: LEARNED + WEEK]), seen(values))
    assert not verdict.passes
    assert any("incidents would no longer be raised" in reason for reason in verdict.reasons)
    assert verdict.metrics["incidents"] == 1
    assert verdict.metrics["incidents_kept"] == 0
    kept = judge(champion, in_force(champion), learned(host[: LEARNED + WEEK]), seen(values))
    assert kept.metrics["incidents_kept"] == 1


def test_where_the_champion_is_out_of_budget_a_clean_challenger_passes(host, champion):
    values = host.copy()
    values[LEARNED:, :5] = 1.0 + 3 * (values[LEARNED:, :5] - 0.4)
    challenger = learned(values[: LEARNED + WEEK])
    verdict = judge(champion, in_force(champion), challenger, seen(values))
    assert verdict.metrics["champion_out_of_budget"] == 1
    assert verdict.metrics["champion_recent"] == 0
    assert verdict.passes, verdict.reasons


def test_an_incident_of_hours_is_no_other_host(host, champion):
    values = host.copy()
    values[LEARNED + WEEK + 300 : LEARNED + WEEK + 560, :5] += 0.6
    verdict = judge(champion, in_force(champion), learned(values[: LEARNED + WEEK]), seen(values))
    assert verdict.metrics["champion_out_of_budget"] == 0


def test_an_incident_of_a_day_and_a_half_is_no_other_host_and_who_learned_from_it_does_not_win(host, champion):
    values = host.copy()
    values[LEARNED + WEEK - 1100 :, :5] = 1.0 + 3 * (values[LEARNED + WEEK - 1100 :, :5] - 0.4)
    verdict = judge(champion, in_force(champion), learned(values[: LEARNED + WEEK]), seen(values))
    assert verdict.metrics["champion_out_of_budget"] == 0
    assert not verdict.passes
    assert verdict.metrics["incidents_kept"] < verdict.metrics["incidents"]


def test_with_nothing_recent_there_is_no_verdict(host, champion):
    evidence = replace(seen(host), recent=Stretch(host[:50], hours(host)[:50], np.zeros(50, np.bool_)))
    verdict = judge(champion, 1.0, champion, evidence)
    assert (verdict.passes, verdict.reasons) == (False, ("50 recent samples tell too little",))


def test_a_score_that_is_no_number_never_passes(host, champion):
    broken = replace(champion, scales=tuple(replace(one, median=np.nan) for one in champion.scales))
    verdict = judge(deafened(champion, 0.25), 4 * in_force(champion), broken, seen(host))
    assert not verdict.passes
    assert "scores that are not finite" in verdict.reasons


def test_columns_are_matched_by_signal_and_what_a_model_does_not_know_is_missing(host, champion):
    evidence = seen(host)
    turned = replace(
        evidence,
        signal_ids=[99, *range(SIGNALS - 1, 0, -1)],
        recent=replace(evidence.recent, values=np.c_[host[LEARNED + WEEK :, :1], host[LEARNED + WEEK :, :0:-1]]),
    )
    assert np.isfinite(performance(champion, in_force(champion), turned))
    assert performance(champion, in_force(champion), evidence) > 0.2
    assert performance(champion, np.inf, evidence) == 0


def test_performance_falls_when_the_host_becomes_another(host, champion):
    values = host.copy()
    values[LEARNED:, :5] += 0.6
    before = performance(champion, in_force(champion), seen(host))
    assert performance(champion, in_force(champion), seen(values)) < before - 0.05
