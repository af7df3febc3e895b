"""The simulated year: its truth is one, its signals are those of the collectors, its figures are counted right."""

import json
import os
import time

import numpy as np
import pytest

from benchmarks.year import __main__ as year
from benchmarks.year import events, plot
from benchmarks.year.beside import Sent, robust, static_rules
from benchmarks.year.events import Oddity, Plan
from benchmarks.year.figures import judge, poisson, together, wilson
from benchmarks.year.host import APP, DATABASE, QUEUE, ZONE, local_time
from benchmarks.year.incidents import INCIDENTS, Incident
from benchmarks.year.oddities import ODDITIES
from daemon.collectors import CollectorContext, build_collectors
from daemon.errors import CollectorError, NotAvailable

INTERVAL = 900.0
DAY = 96
MINUTES = 15


@pytest.fixture(scope="module")
def crowded():
    """Sixty days in which all that may happen does."""
    with local_time():
        return events.play(3, 60, INTERVAL, 7.0)


def test_local_time_is_given_back():
    before, zone = os.environ.get("TZ"), time.tzname
    with local_time():
        assert os.environ["TZ"] == ZONE
    assert (os.environ.get("TZ"), time.tzname) == (before, zone)


def test_every_incident_hurts_after_it_began_and_before_it_was_mended(crowded):
    _, plan = crowded
    assert {one.kind for one in plan.incidents} == set(INCIDENTS)
    assert {one.kind for one in plan.oddities} == set(ODDITIES)
    assert all(0 < one.began <= one.hurt <= one.ended for one in plan.incidents)
    assert len(plan.hardware) >= 3
    assert plan.suspends


def test_no_oddity_hurts(crowded):
    world, plan = crowded
    harmless = np.ones(len(world.slow), bool)
    for one in plan.incidents:
        harmless[one.began : one.ended + 2] = False
    assert max(world.slow[harmless]) < events.SLOW * np.quantile(world.slow, 0.5)
    assert not any(full[harmless].any() for full in world.full.values())
    assert not [row for row in (*world.said.failed, *world.said.kills) if harmless[row]]


def test_the_same_seed_is_the_same_host_and_another_is_not():
    with local_time():
        one, again, other = (events.play(seed, 12, INTERVAL)[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.values, again.values)
    assert one.values.shape != other.values.shape or not np.array_equal(one.values, other.values, equal_nan=True)


def test_an_incident_that_hurts_nobody_is_refused(crowded):
    world, plan = crowded
    calm = Incident("nothing", APP, plan.incidents[0].began - 20, plan.incidents[0].began - 10)
    with pytest.raises(ValueError, match=r"nothing at row .* hurts nobody"):
        events._first_harm(calm, world, world.slow)


def test_the_signals_are_those_of_the_collectors(crowded):
    simulated = {spec.name: spec for spec in crowded[0].specs}
    real = {}
    for collector in build_collectors(CollectorContext(disabled=frozenset({"latency", "unit", "changes", "limits"}))):
        try:
            collector.collect(0)
            real |= {spec.name: spec for spec, _ in collector.collect(10**9)}
        except (NotAvailable, CollectorError):
            continue
        finally:
            collector.close()
    both = simulated.keys() & real.keys()
    assert {name: simulated[name] for name in both} == {name: real[name] for name in both}
    assert len(both) >= 30


def test_shares_are_of_what_all_take(crowded):
    world, _ = crowded
    assert world.shares.min() >= 0
    assert world.shares.max() <= 1
    assert (world.shares[:, [0, 2, 3]].sum(axis=0) <= 1.0001).all()


def test_the_clocks_of_a_host_that_sleeps_and_boots(crowded):
    world, plan = crowded
    slept = plan.suspends[0]
    before, after = world.instant(slept.began - 1), world.instant(slept.ended)
    wall = (after.time_ms - before.time_ms) / 1e3
    assert (after.boottime_ns - before.boottime_ns) / 1e9 == pytest.approx(wall)
    assert (after.monotonic_ns - before.monotonic_ns) / 1e9 == pytest.approx(INTERVAL)
    booted = int(np.flatnonzero(np.diff(world.boot))[0]) + 1
    assert world.instant(booted).monotonic_ns < world.instant(booted - 1).monotonic_ns


class FakeWorld:
    interval = INTERVAL
    time_ms = np.arange(40 * DAY)


@pytest.fixture
def plan():
    return Plan(
        (
            Incident("a", APP, 1000, 1040, 1020),
            Incident("b", DATABASE, 2000, 2040, 2010),
            Incident("c", "", 3000, 3040, 3004),
        ),
        (Oddity("copy", 1500, 1600),),
        (),
        (),
    )


def test_notifications_are_held_against_the_truth(plan):
    sent = [
        Sent(10, "while it learns"),
        Sent(1005, "x", f"web1: bad; {APP} takes all; it began 3 min after {QUEUE} started"),
        Sent(1042, "x", "within the hour after its end"),
        Sent(1550, "x", "a copy is no incident"),
        Sent(1700, "x", "nothing at all"),
        Sent(2012, "x", f"{QUEUE} takes all"),
    ]
    found = judge(sent, plan, FakeWorld, 7.0)
    assert (found.real, found.odd) == (3, ("copy", ""))
    assert [one.lead_minutes for one in found.told] == [15 * MINUTES, -2 * MINUTES, pytest.approx(np.nan, nan_ok=True)]
    assert (found.notified, found.before, found.named()) == (2, 1, (1, 2))
    assert found.days == pytest.approx(33)
    both = together([found, found])
    assert (both.real, both.false, both.notified, both.named(ever=True)) == (6, 4, 4, (2, 4))


def test_what_comes_only_after_the_mending_has_told_nobody_of_it(plan):
    found = judge([Sent(1041, "x", "late")], plan, FakeWorld, 7.0)
    assert (found.real, found.notified) == (1, 0)


def test_intervals_are_those_of_the_books():
    assert wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert wilson(0, 0) == (0.0, 1.0)
    assert poisson(3) == pytest.approx((0.6187, 8.7673), abs=1e-4)
    assert poisson(0)[0] == 0


def test_the_rules_of_the_mixin_fire_where_they_should(crowded):
    world, plan = crowded
    sent = static_rules(world, plan.incidents, 7.0)
    (failed,) = [one for one in plan.incidents if one.kind == "crash loop"][:1]
    assert any(one.name == "NodeSystemdServiceFailed" and failed.hurt <= one.row <= failed.ended for one in sent)
    assert any(one.name.startswith("NodeFilesystem") for one in sent)


@pytest.mark.parametrize("count", [5, 20])
def test_max_z_sends_no_more_than_it_may(crowded, count):
    assert 1 <= len(robust(crowded[0], count, 7.0)) <= count


def test_a_short_year_is_lived_reported_and_drawn(tmp_path, capsys):
    one = year.year_of(2, 4, INTERVAL)
    assert one.lived.clone_refused
    assert one.lived.files["history.db"] > 0
    assert np.isfinite(one.lived.raw).sum() > DAY
    year.report([one], tmp_path / "year.json", tmp_path / "year.svg")
    assert "incidents notified" in capsys.readouterr().out
    found = json.loads((tmp_path / "year.json").read_text())
    assert found["benchmark"] == "year"
    assert all(np.isfinite(row["ours"]) for row in found["rows"])
    text = plot.drawn([one])
    assert text.count("<svg") == text.count("</svg>") == 1
    assert one.plan.incidents[0].kind in text
