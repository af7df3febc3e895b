"""What runs out at this moment raises the risk, and what ends by itself does not for long."""

from dataclasses import replace
from math import inf, isnan

import numpy as np
import pytest
from risky import capacity, estimate, registry_of

from daemon.failures.starts import Loop
from daemon.risk.exhaustion import UnitLimits, agreed, of_file_systems, of_loops
from daemon.risk.state import Reason, RiskState
from daemon.signals import Kind, SignalSpec
from detectors.exhaustion import Outlook
from detectors.findings import Unit

MEMORY = SignalSpec("units.web.service.memory_used", Unit.RATIO, Kind.GAUGE, "units", "web.service")
FILES = SignalSpec("units.web.service.descriptors_used", Unit.RATIO, Kind.GAUGE, "units", "web.service")
CALM = RiskState("", estimate(0.01), estimate(0.02), "simulated", 20, 0, (Reason("cpu", "", 1.0, "busy"),))


def followed(clock, levels, *, spec=MEMORY, seconds=1.0):
    limits = UnitLimits(registry_of([SignalSpec("cpu.busy", Unit.RATIO, Kind.GAUGE, "cpu"), spec]))
    for level in levels:
        limits.follow(np.array([0.5, level], np.float32), clock.advance(seconds))
    return list(limits.approaching())


@pytest.mark.parametrize("spec", [MEMORY, FILES])
@pytest.mark.parametrize("seconds", [1.0, 30.0])
def test_a_leak_is_more_likely_than_not_before_the_last_third(clock, spec, seconds):
    found = {share: followed(clock, np.arange(0.1, share, 0.01), spec=spec, seconds=seconds) for share in (0.3, 0.67)}
    assert found[0.3][0].hour < 0.5 < found[0.67][0].hour
    (one,) = found[0.67]
    assert one.hour <= one.day
    assert one.reason.about == "web.service"
    assert "headroom of web.service 3" in one.reason.text
    assert ": zero in " in one.reason.text


def test_a_slow_leak_is_of_the_day_and_not_of_the_hour(clock):
    (one,) = followed(clock, np.arange(0.1, 0.75, 0.001), seconds=30.0)
    assert one.hour < 0.02
    assert one.day > 0.5


@pytest.mark.parametrize(
    "levels",
    [
        np.full(100, 0.95),
        np.r_[np.full(30, 0.2), np.full(60, 0.9)],  # a program that starts
        0.5 + 0.3 * np.random.default_rng(1).random(100),
        np.tile(np.linspace(0.3, 0.9, 8), 12),  # collected garbage
    ],
)
def test_what_is_high_or_jumps_or_is_given_back_is_not_about_to_end(clock, levels):
    assert all(one.hour < 0.3 for one in followed(clock, levels))


def test_what_stopped_to_grow_is_soon_no_danger(clock):
    assert all(one.hour < 0.3 for one in followed(clock, np.r_[np.arange(0.1, 0.8, 0.01), np.full(30, 0.8)]))


def loop(restarts, left, every=10.0):
    return Loop("web.service", restarts, left, every, 0, int(1000 * every * (restarts - 1)))


def test_a_loop_is_more_likely_than_not_from_its_middle_on():
    chances = [next(of_loops([loop(count, 12 - count)], 10_000 * count)) for count in range(3, 12)]
    hours = [one.hour for one in chances]
    assert hours == sorted(hours)
    assert hours[0] < 0.4
    assert hours[4] > 0.5  # 7 of 12
    assert chances[4].reason.text == (
        "web.service was started again 7 times in 1 min 10 s; after 5 more times, in 40 s, systemd gives it up"
    )


def test_a_slow_loop_is_of_the_day():
    (one,) = of_loops([loop(8, 4, 3600.0)], 8 * 3_600_000)
    assert one.hour < 0.05
    assert one.day > 0.5


@pytest.mark.parametrize(("median", "share"), [(600.0, 1.0), (3600.0, 0.5), (10_800.0, 0.0), (inf, 0.0), (0.0, 1.0)])
def test_of_four_hours_of_a_file_system_the_first_has_its_share(median, share):
    outlook = Outlook((0.8, 0.9, 1.0, 1.0, 1.0), median / 1.2, median, median * 1.2)
    state = capacity(var=0.9)
    state = replace(state, resources=(replace(state.resources[0], outlook=outlook),))
    (one,) = of_file_systems(state)
    assert one.hour == pytest.approx(0.8 * share, abs=0.01)
    assert one.day == 0.9
    assert one.reason.text == ("/var is full in 9 h" if median < inf else "/var is full within a day with 90 %")


def test_memory_of_the_host_is_left_to_the_network():
    assert list(of_file_systems(capacity(memory=0.9))) == []


def test_the_risk_is_not_below_and_says_why_once(clock):
    found = followed(clock, np.arange(0.1, 0.8, 0.01))
    same = Reason("unit_memory", "web.service", 0.7, "the same by the network")
    state = agreed(replace(CALM, reasons=(same, *CALM.reasons)), found)
    assert state.hour.probability == found[0].hour
    assert state.hour.lo <= state.hour.probability <= state.hour.hi
    assert state.hour.probability <= state.day.probability
    assert [one.factor for one in state.reasons] == ["unit_memory", "cpu"]
    assert isnan(state.reasons[0].share)


def test_of_a_file_system_capacity_has_the_word():
    network = (
        Reason("space", "/var", 0.5, "5 %"),
        Reason("inodes", "/var", 0.3, "9 %"),
        Reason("space", "/", 0.2, "8 %"),
    )
    state = agreed(replace(CALM, reasons=tuple(network)), list(of_file_systems(capacity(var=0.9))))
    assert [(one.factor, one.about) for one in state.reasons] == [
        ("expected_full", "/var"), ("inodes", "/var"), ("space", "/")
    ]  # fmt: skip


def test_without_evidence_there_is_no_risk_and_a_higher_one_stands(clock):
    found = followed(clock, np.arange(0.1, 0.8, 0.01))
    nothing = RiskState("not enough evidence")
    assert agreed(nothing, found) is nothing
    high = replace(CALM, hour=estimate(0.97), day=estimate(0.97))
    assert agreed(high, found) == high
    assert agreed(CALM, []) is CALM
