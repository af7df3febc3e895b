import numpy as np
import pytest

from detectors.factor_features import FEATURES, PRESENT
from detectors.factors import COUNT, PLACE
from detectors.failing_hosts import KINDS, hosts, line_rule, moments, simulated
from detectors.failing_kinds import FAULTS
from detectors.harmless_kinds import HARMLESS

EXHAUSTED = {
    "memory": 0.94, "unit_memory": 0.98, "space": 0.98, "inodes": 0.98, "descriptors": 0.98,
    "unit_descriptors": 0.98, "threads": 0.98,
}  # fmt: skip


def test_a_seed_says_what_comes_and_another_something_else():
    first, again, other = (hosts(seed, 6) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.values, again.values)
    assert first.kinds == again.kinds
    assert not np.allclose(np.nan_to_num(first.values), np.nan_to_num(other.values))
    assert not np.allclose(np.nan_to_num(hosts(1, 6, 1.0).values), np.nan_to_num(first.values))


@pytest.mark.parametrize("interval", [1.0, 30.0])
def test_every_fault_ends_in_a_failure_after_it_began(interval):
    made = hosts(3, 2 * len(FAULTS), interval, only=tuple(FAULTS))
    for values, episode, kind in zip(made.values, made.episodes, made.kinds, strict=True):
        assert 0 < episode.begin < episode.failed < len(values)
        known = values[np.isfinite(values)]
        assert known.min() >= 0
        if kind in EXHAUSTED:
            assert np.nanmax(values[int(episode.failed) - 3 :, PLACE[kind]]) > EXHAUSTED[kind]


@pytest.mark.parametrize("interval", [1.0, 30.0])
def test_what_is_harmless_fails_never_and_fills_nothing_from_when_on_it_is_looked_at(interval):
    made = hosts(4, 2 * len(HARMLESS), interval, only=tuple(HARMLESS))
    for values, episode, kind in zip(made.values, made.episodes, made.kinds, strict=True):
        assert episode.failed == np.inf
        assert 0 <= episode.begin < episode.end < len(values)
        since = episode.begin if kind == "recovered" else 0
        for name in EXHAUSTED:
            assert not (values[since:, PLACE[name]] > 0.995).any(), (kind, name)


def test_a_fault_is_seen_where_it_happens_and_not_before():
    made = hosts(5, 12, 1.0, only=["unit_descriptors"])
    for values, episode in zip(made.values, made.episodes, strict=True):
        column = values[:, PLACE["unit_descriptors"]]
        assert np.isfinite(column[episode.begin + (episode.failed - episode.begin) // 2 :]).mean() > 0.9
        before, after = column[: episode.begin], column[int(episode.failed) - 1]
        assert not before[np.isfinite(before)].size or np.nanmedian(before) < after


def test_kinds_that_are_left_out_do_not_come():
    without = ("memory", "unit_memory", "space", "inodes", "thermal")
    kinds = set(hosts(6, 64, 30.0, without).kinds)
    assert not kinds & set(without)
    assert kinds & set(FAULTS)
    assert kinds & set(HARMLESS)


def test_moments_know_what_came_after_them():
    made = hosts(7, 20, 30.0)
    found = moments(made, 7, first=100)
    assert found.inputs.shape == (len(found.targets), COUNT * FEATURES)
    assert (found.targets[:, 1] >= found.targets[:, 0]).all()
    assert set(found.host.tolist()) == set(range(100, 120))
    for host, kind in enumerate(made.kinds):
        of_host = found.host == 100 + host
        assert {KINDS[one] for one in found.kind[of_host].tolist()} == {kind}
        if kind in HARMLESS:
            assert not found.targets[of_host].any()
            assert (found.weights[of_host] > 1).all()


def test_an_hour_is_an_hour_at_either_interval():
    slow = moments(hosts(8, 24, 30.0, only=["space"]), 8)
    fast = moments(hosts(8, 24, 1.0, only=["space"]), 8)
    assert slow.targets[:, 0].mean() < slow.targets[:, 1].mean()  # a run-up at 30 s may take a day
    within = fast.weights > 0.5
    assert fast.targets[within, 0].mean() > 0.95  # and at 1 s it takes no more than an hour


def test_hosts_differ_in_what_they_have_sources_for():
    found = simulated(9, 48)
    present = found.inputs.reshape(-1, COUNT, FEATURES)[:, :, PRESENT]
    assert 10 < np.quantile(present.sum(axis=1), 0.05) < np.quantile(present.sum(axis=1), 0.95) <= COUNT
    for name in ("cpu_pressure", "temperature", "kernel_errors", "unit_memory"):
        assert 0.1 < present[:, PLACE[name]].mean() < 0.95


def test_most_weight_is_harmless():
    found = simulated(10, 72)
    hour, day = np.average(found.targets, axis=0, weights=found.weights)
    assert 0.01 < hour <= day < 0.15


def test_the_rule_of_straight_lines_sees_what_fills():
    values = np.full((1, 2880, COUNT), np.nan)
    values[0, :, PLACE["space"]] = np.linspace(0.1, 0.9, 2880)
    filling = line_rule(values, 30.0)[0]
    values[0, :, PLACE["space"]] = 0.9
    assert line_rule(values, 30.0)[0] < 1e-6
    values[0, :, PLACE["space"]] = np.linspace(0.9, 0.1, 2880)
    assert line_rule(values, 30.0)[0] < 1e-6
    assert 0.2 < filling < 0.3  # three hours are left
