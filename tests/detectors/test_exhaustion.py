"""When something is full follows from bands that were drawn by hand."""

from dataclasses import replace
from math import inf

import numpy as np
import pytest

from detectors.exhaustion import WITHIN, YEAR_SECONDS, Outlook, Told, duration, outlook, say
from detectors.forecasts import DAYS, HOURS, MONTHS
from detectors.growth import make_run

DAY = 86_400.0
STEP = np.arange(1, 13)
LO95, LO80, HI80, HI95 = -1.959964, -1.281552, 1.281552, 1.959964


def told(horizon, mean, deviation, *, age=0.0, high=inf, floor=-inf):
    mean, deviation = np.broadcast_to(mean, 12), np.broadcast_to(deviation, 12)
    low95, low80, middle, high80, high95 = (
        np.minimum(mean + score * deviation, high) for score in (LO95, LO80, 0.0, HI80, HI95)
    )
    return Told(horizon, age, middle, low80, high80, low95, high95, floor)


def growing(rate, *, scale=0.0, past=(), amount=60.0, above=0.0, wait_seconds=0.0):
    return make_run(
        elapsed_seconds=amount / rate,
        amount=amount,
        rate=rate,
        spread=0.1,
        scale=scale or 0.3,
        past=np.array(past),
        above=above,
        wait_seconds=wait_seconds,
    )


def within(found, name):
    return found.probability[list(WITHIN).index(name)]


def test_each_bound_reaches_the_limit_at_its_share_of_the_futures():
    found = outlook(59.5, 50.0, [told(DAYS, 50 + STEP, 1.0)], None)
    assert found.median == pytest.approx(9.5 * DAY, rel=0.01)
    assert found.lo80 == pytest.approx((9.5 - HI80) * DAY, rel=0.01)
    assert found.hi80 == pytest.approx((9.5 + HI80) * DAY, rel=0.01)
    assert within(found, "7d") == pytest.approx(0.006, abs=0.002)
    assert within(found, "30d") > 0.999


def test_growth_goes_on_behind_the_last_step_but_not_for_ever():
    found = outlook(75.2, 50.0, [told(DAYS, 50 + STEP, 0.5)], None)
    assert found.median == pytest.approx(25.2 * DAY, rel=0.02)
    assert within(found, "30d") > 0.9
    later = outlook(90.2, 50.0, [told(DAYS, 50 + STEP, 0.5)], None)
    assert later.median == inf
    assert later.reach == pytest.approx(36 * DAY)


def test_a_morning_s_rise_is_not_continued_faster_than_the_whole_forecast_rises():
    rises = np.concatenate([np.full(6, 50.0), 50 + 2.0 * np.arange(1, 7)])
    found = outlook(90.0, 50.0, [told(HOURS, rises, 0.5)], None)
    assert found.median == inf or found.median > 35 * 3600


def test_what_is_flat_is_never_full():
    found = outlook(98.0, 50.0, [told(HOURS, 50.0, 0.2), told(DAYS, 50.0, 0.3), told(MONTHS, 50.0, 0.5)], None)
    assert found.probability == (0.0,) * 5
    assert (found.lo80, found.median, found.hi80) == (inf, inf, inf)
    assert say(found) == "never at this rate"


def test_the_nearer_horizon_rules_and_the_farther_only_raises():
    near = told(HOURS, 50 + 8.0 * STEP, 1.0)
    far = told(DAYS, 50.0, 1.0)
    alone = outlook(98.0, 50.0, [near], None)
    both = outlook(98.0, 50.0, [far, near], None)
    assert both.median == pytest.approx(alone.median)
    assert within(both, "7d") >= within(both, "24h") >= within(both, "4h")
    slow = outlook(98.0, 50.0, [told(HOURS, 50.0, 0.1), told(DAYS, 50 + 8.0 * STEP, 1.0)], None)
    assert slow.median == pytest.approx(6 * DAY, rel=0.02)


def test_an_old_forecast_is_told_from_now_on():
    new = outlook(59.5, 50.0, [told(DAYS, 50 + STEP, 0.5)], None)
    old = outlook(59.5, 50.25, [told(DAYS, 50 + STEP, 0.5, age=DAY / 4)], None)
    assert new.median - old.median == pytest.approx(DAY / 4, rel=0.01)


def test_bands_that_end_at_the_capacity_lose_nothing_of_what_they_said():
    mean = 90 + 1.5 * STEP
    whole = outlook(98.0, 90.0, [told(DAYS, mean, 4.0)], None)
    cut = outlook(98.0, 90.0, [told(DAYS, mean, 4.0, high=100.0)], None)
    assert cut.probability == pytest.approx(whole.probability, abs=0.03)
    assert (cut.lo80, cut.median) == pytest.approx((whole.lo80, whole.median), rel=0.02)
    assert cut.hi80 == pytest.approx(whole.hi80, rel=0.1)


def test_a_cleanup_lowers_what_was_forecast_before_it():
    mean = 90 + STEP
    before = outlook(98.0, 90.0, [told(DAYS, mean, 0.5, floor=85.0)], None)
    rotated = outlook(98.0, 86.0, [told(DAYS, mean, 0.5, floor=85.0)], None)
    cleaned = outlook(98.0, 50.0, [told(DAYS, mean, 0.5, floor=85.0)], None)
    assert within(before, "30d") > 0.9
    assert rotated.median == pytest.approx(before.median, rel=0.05)
    assert within(cleaned, "30d") < 0.01


def test_what_has_risen_beyond_the_bands_lifts_them():
    bands = [told(DAYS, 50 + 0.5 * STEP, 0.3)]
    assert outlook(98.0, 50.0, bands, None).median == inf
    assert outlook(98.0, 90.0, bands, None).median == pytest.approx(17 * DAY, rel=0.2)


def test_no_forecast_is_a_certainty_before_its_time():
    found = outlook(60.0, 50.0, [told(DAYS, 50 + STEP, 0.0)], None)
    assert found.lo80 < found.median < found.hi80
    assert found.hi80 - found.lo80 == pytest.approx(0.05 * 10 * DAY, rel=0.2)


def test_what_is_full_is_full_now():
    found = outlook(98.0, 98.5, [told(DAYS, 50.0, 1.0)], None)
    assert found.probability == (1.0,) * 5
    assert found.median == 0.0
    assert say(found) == "full now"


def test_bands_that_are_not_there_say_nothing():
    assert outlook(98.0, 50.0, [], None).median == inf
    assert outlook(98.0, 50.0, [told(DAYS, np.nan, np.nan)], None).median == inf
    assert say(outlook(98.0, 50.0, [], None)) == "nothing known yet"


def test_growth_that_goes_on_has_its_share_of_the_futures():
    run = growing(0.01)
    flat = [told(HOURS, 60.0, 0.2), told(DAYS, 60.0, 0.3)]
    found = outlook(98.0, 60.0, flat, run)
    assert within(found, "4h") == pytest.approx(run.goes_on(38.0), abs=0.01)
    assert found.median == pytest.approx(3800.0, rel=0.02)
    assert found.hi80 == pytest.approx(3800.0 * np.exp(0.1 * HI80), rel=0.02)
    assert "if it goes on" not in say(outlook(98.0, 92.0, flat, run))


def test_a_run_that_is_likely_to_end_is_not_announced():
    run = growing(0.01, past=(70.0,) * 20, amount=60.0)
    found = outlook(98.0, 50.0, [told(DAYS, 50.0, 0.3)], run)
    assert within(found, "4h") < 0.3
    assert found.median == inf


def test_a_run_only_makes_it_sooner():
    soon = [told(HOURS, 60 + 10.0 * STEP, 0.5)]
    alone = outlook(98.0, 60.0, soon, None)
    slower = outlook(98.0, 60.0, soon, growing(1e-4))
    assert slower.probability == pytest.approx(alone.probability, abs=1e-6)
    assert slower.median == pytest.approx(alone.median, rel=0.01)


def test_of_several_the_fastest_that_goes_on_counts():
    flat = [told(DAYS, 60.0, 0.3)]
    slow, fast = growing(1e-4), growing(1e-3)
    both = outlook(98.0, 60.0, flat, slow, [fast])
    assert both.median == pytest.approx(outlook(98.0, 60.0, flat, fast).median, rel=0.02)


def test_daily_peaks_are_full_before_the_level_is():
    flat = [told(DAYS, 60.0, 0.3)]
    assert outlook(98.0, 60.0, flat, None, [growing(1e-3, above=19.0)]).median == pytest.approx(19_000.0, rel=0.02)
    later = growing(1e-3, above=19.0, wait_seconds=30_000.0)
    assert outlook(98.0, 60.0, flat, None, [later]).median == pytest.approx(30_000.0, rel=0.02)
    every_day = growing(1e-4, above=50.0, wait_seconds=20_000.0)
    assert outlook(98.0, 60.0, flat, None, [every_day]).median == pytest.approx(20_000.0, rel=0.02)
    by_itself = growing(0.1, above=0.1, wait_seconds=20_000.0)
    assert outlook(98.0, 60.0, flat, None, [by_itself]).median == pytest.approx(380.0, rel=0.02)


@pytest.mark.parametrize("seed", range(20))
def test_probabilities_grow_with_time_and_agree_with_the_times(seed):
    rng = np.random.default_rng(seed)
    bands = [
        told(one, 50 + np.cumsum(rng.normal(rng.uniform(-1, 3), 2, 12)), rng.uniform(0, 5) * np.sqrt(STEP), high=100.0)
        for one in (HOURS, DAYS, MONTHS)
        if rng.random() < 0.7
    ]
    run = growing(10 ** rng.uniform(-6, -2)) if rng.random() < 0.5 else None
    found = outlook(98.0, rng.uniform(40, 97.9), bands, run)
    assert all(0 <= early <= late <= 1 for early, late in zip(found.probability, found.probability[1:], strict=False))
    assert found.lo80 <= found.median <= found.hi80
    for chance, seconds in zip(found.probability, WITHIN.values(), strict=True):
        assert chance >= 0.5 - 1e-9 or found.median >= seconds or run is not None
        assert chance <= 0.5 + 1e-9 or found.median <= seconds + 1


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (40.0, "40 s"),
        (2400.0, "40 min"),
        (3600.0 * 5, "5 h"),
        (DAY, "24 h"),
        (3 * DAY, "3 days"),
        (100 * DAY, "3 months"),
        (400 * DAY, "13 months"),
        (5 * YEAR_SECONDS, "5 years"),
    ],
)
def test_a_duration_is_said_in_its_unit(seconds, words):
    assert duration(seconds) == words


SURE = Outlook((0.0, 0.0, 0.3, 0.97, 1.0), 7 * DAY, 9 * DAY, 12 * DAY, 36 * DAY)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "full in 9 days (80 %: 7 to 12)"),
        ({"lo80": 1800.0, "median": 2400.0, "hi80": 7200.0}, "full in 40 min (80 %: 30 min to 2 h)"),
        ({"lo80": 50 * DAY, "hi80": 120 * DAY, "median": 70 * DAY}, "full in 2 months (80 %: 50 days to 4 months)"),
        ({"hi80": inf}, "full in 9 days (80 %: 7 days or later)"),
        ({"lo80": 8.9 * DAY, "hi80": 9.2 * DAY}, "full in 9 days"),
        ({"probability": (0.0, 0.0, 0.3, 0.6, 0.6)}, "full in 9 days (80 %: 7 to 12), if it goes on"),
        ({"median": inf, "hi80": inf}, "likely not within 36 days, 7 days at the earliest"),
        ({"lo80": inf, "median": inf, "hi80": inf}, "not within 36 days"),
        ({"lo80": inf, "median": inf, "hi80": inf, "reach": 3 * YEAR_SECONDS}, "never at this rate"),
    ],
)
def test_an_outlook_is_said_in_one_piece(changes, words):
    assert say(replace(SURE, **changes)) == words
