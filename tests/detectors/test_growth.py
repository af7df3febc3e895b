"""Runs of growth in raw samples: fills are told in time, what ends by itself is not."""

import json

import numpy as np
import pytest

from detectors.exhaustion import outlook
from detectors.growth import KEPT, NOTABLE_MEMORY, GrowthWatch

LIMIT = 98.0


def follow(watch, levels, *, name="disk", seconds=1.0, limit=LIMIT, notable=0.003):
    for level in levels:
        watch.follow([name], np.array([level]), np.array([limit]), seconds, notable)
    return watch.run(name)


def chance(run, level, limit=LIMIT):
    return outlook(limit, level, (), run).probability[0] if run else 0.0


def night(watch, top, *, base=30.0, samples=60):
    """Write from `base` to `top`, stay a while, delete."""
    follow(watch, np.linspace(base, top, samples), seconds=30.0)
    follow(watch, np.full(30, top), seconds=30.0)
    return follow(watch, np.full(5, base), seconds=30.0)


@pytest.mark.parametrize("seconds", [60, 90, 600])
@pytest.mark.parametrize("burst", [1, 5])
def test_a_constant_fill_pages_a_third_of_its_time_ahead_and_says_when(seconds, burst):
    watch = GrowthWatch()
    rng = np.random.default_rng(seconds)
    rate = LIMIT / seconds
    for second in range(seconds):
        written = rate * (second // burst * burst) + rate * 0.2 * rng.random()
        run = follow(watch, [written])
        left = seconds - second
        if left <= seconds / 3:
            found = outlook(LIMIT, written, (), run)
            assert found.probability[0] >= 0.9
            if left > burst + 5:
                assert found.median == pytest.approx(left, rel=0.2, abs=burst + 1)


def test_it_takes_ten_samples_of_growth():
    watch = GrowthWatch()
    assert follow(watch, range(10)) is None
    assert follow(watch, [10.0]) is not None


def test_a_run_knows_its_rate_and_its_amount():
    run = follow(GrowthWatch(), 10 + 0.5 * np.arange(41), seconds=30.0)
    assert run.rate == pytest.approx(0.5 / 30.0)
    assert run.rate_lo < run.rate < run.rate_hi
    assert run.amount == pytest.approx(20.0 - 0.5)  # the largest step is not counted
    assert run.elapsed_seconds == pytest.approx(1200.0)


def test_the_rate_is_that_of_the_last_samples():
    fast = 10 + 0.5 * np.arange(60)
    run = follow(GrowthWatch(), np.concatenate([fast, fast[-1] + 0.05 * np.arange(1, 200)]))
    assert run.rate == pytest.approx(0.05, rel=0.25)


def test_a_pause_ends_a_run_gracefully():
    watch = GrowthWatch()
    assert follow(watch, np.linspace(0, 50, 100), seconds=30.0).alive == 1.0
    paused = follow(watch, np.full(5, 50.0), seconds=30.0)
    assert 0 < paused.alive < 0.5
    assert chance(paused, 50.0) < 0.5
    assert follow(watch, np.full(10, 50.0)) is None
    assert watch.remember()["disk"]["amounts"] == [pytest.approx(50.0, rel=0.03)]


def test_the_kernel_s_write_back_is_no_pause():
    watch = GrowthWatch()
    follow(watch, np.linspace(0, 70, 70))
    assert follow(watch, np.full(6, 70.0)).alive == 1.0
    assert follow(watch, np.full(3, 70.0)).alive < 0.7


def test_a_run_that_writes_every_tenth_sample_is_one():
    levels = 20 + 2.0 * (np.arange(400) // 10)
    assert follow(GrowthWatch(), levels, limit=500.0) is not None


def test_a_fall_ends_a_run():
    watch = GrowthWatch()
    follow(watch, np.linspace(0, 50, 100))
    assert follow(watch, [40.0]) is None
    assert watch.remember()["disk"]["amounts"] == [pytest.approx(50.0)]


def test_a_step_is_no_growth():
    watch = GrowthWatch()
    run = follow(watch, [10.0, 60.0, *(60 + 0.01 * np.arange(1, 20))], seconds=30.0)
    assert chance(run, 60.2) < 0.1
    run = follow(watch, 60.2 + 0.01 * np.arange(1, 100), seconds=30.0)
    assert run.amount < 1.5
    assert chance(run, 61.2) < 0.1


def test_a_fill_is_seen_soon_in_what_grows_slowly():
    watch = GrowthWatch()
    follow(watch, 20 + 0.001 * np.arange(500), seconds=30.0)
    run = follow(watch, 20.5 + 0.3 * np.arange(1, 14), seconds=30.0)
    assert run.rate == pytest.approx(0.01, rel=0.1)


def test_the_nightly_backup_pages_neither_tonight_nor_later():
    watch, highest = GrowthWatch(), 0.0
    rng = np.random.default_rng(1)
    for _ in range(8):
        top = 60.0 + rng.uniform(-1, 1)
        for level in np.linspace(30.0, top, 60):
            highest = max(highest, chance(follow(watch, [level], seconds=30.0), level))
        night(watch, top)
    assert highest < 0.9
    run = follow(watch, np.linspace(30.0, 59.0, 60), seconds=30.0)
    assert chance(run, 59.0) < 0.3  # known by now
    far = follow(watch, np.linspace(59.0, 92.0, 60), seconds=30.0)
    assert chance(far, 92.0) > chance(run, 59.0)


def test_a_fill_far_larger_than_anything_before_pages_well_before_the_end():
    watch = GrowthWatch()
    rng = np.random.default_rng(2)
    for _ in range(40):
        night(watch, 30.0 + rng.uniform(0.5, 3.0), samples=20)
    run = follow(watch, np.linspace(30.5, 75.0, 90), seconds=30.0)
    assert chance(run, 75.0) >= 0.9


def test_a_program_that_starts_takes_half_of_the_memory():
    run = follow(GrowthWatch(), np.linspace(5.0, 60.0, 30), seconds=30.0, notable=NOTABLE_MEMORY)
    assert chance(run, 60.0) < 0.8
    run = follow(GrowthWatch(), np.linspace(5.0, 95.0, 60), seconds=30.0, notable=NOTABLE_MEMORY)
    assert chance(run, 95.0) >= 0.9


@pytest.mark.parametrize("kind", ["noise", "random walk", "slow wave"])
def test_what_only_moves_does_not_page(kind):
    rng = np.random.default_rng(3)
    steps = rng.normal(size=(2000, 20))
    at = np.arange(2000)[:, None]
    levels = {
        "noise": 50 + steps,
        "random walk": 50 + 0.2 * np.cumsum(steps, axis=0),
        "slow wave": 50 + 15 * np.sin(at / 100 + np.arange(20)) + 0.1 * steps,
    }[kind]
    watch, names, pages = GrowthWatch(), [str(one) for one in range(20)], 0
    for row in levels:
        watch.follow(names, row, np.full(20, LIMIT), 30.0)
        pages += sum(chance(watch.run(name), float(row[place])) >= 0.9 for place, name in enumerate(names))
    assert pages == 0


def test_resources_come_go_and_change_places():
    watch = GrowthWatch()
    for at in range(15):
        watch.follow(["a", "b"], np.array([float(at), 50.0]), np.full(2, LIMIT), 1.0)
    for at in range(15, 30):
        watch.follow(["c", "b", "a"], np.array([80.0, 50.0, float(at)]), np.full(3, LIMIT), 1.0)
    assert watch.run("a").amount == pytest.approx(28.0)
    assert watch.run("b") is None
    assert watch.run("c") is None
    watch.follow(["c"], np.array([80.0]), np.array([LIMIT]), 1.0)
    assert watch.run("a") is None
    assert watch.run("nobody") is None


def test_a_missing_sample_is_no_pause_and_no_end():
    levels = np.arange(40.0)
    levels[[11, 20, 21, 22]] = np.nan
    run = follow(GrowthWatch(), levels, seconds=30.0)
    assert run.rate == pytest.approx(1 / 30.0, rel=0.01)
    assert run.elapsed_seconds == pytest.approx(39 * 30.0)


def test_what_is_remembered_can_be_restored():
    watch = GrowthWatch()
    for _ in range(3):
        night(watch, 60.0)
    other = GrowthWatch()
    other.restore(json.loads(json.dumps(watch.remember())))
    assert other.remember() == watch.remember()
    assert len(watch.remember()["disk"]["amounts"]) == 3


def test_nonsense_is_not_restored():
    watch = GrowthWatch()
    watch.restore(
        {"a": 3, "b": {"amounts": ["x", -1.0, float("nan"), 2.0], "full": "many"}, "c": {"amounts": 5}, "d": {}}
    )
    assert watch.remember() == {"b": {"amounts": [2.0], "full": 0}}


def test_a_fill_to_the_end_makes_the_next_one_more_likely():
    watch = GrowthWatch()
    fresh = follow(watch, np.linspace(30.0, 60.0, 60), seconds=30.0).runaway
    follow(watch, [*np.linspace(60.0, 99.0, 60), 99.0, 30.0], seconds=30.0)
    assert watch.remember()["disk"] == {"amounts": [], "full": 1}
    assert follow(watch, np.linspace(30.0, 60.0, 60), seconds=30.0).runaway > fresh


def test_many_small_runs_do_not_push_out_the_largest():
    watch = GrowthWatch()
    night(watch, 80.0)
    for _ in range(2 * KEPT):
        follow(watch, [*np.linspace(30.0, 31.0, 12), 30.0], seconds=30.0)
    amounts = watch.remember()["disk"]["amounts"]
    assert len(amounts) == KEPT
    assert max(amounts) == pytest.approx(50.0)
