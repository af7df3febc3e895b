import numpy as np
import pytest

from daemon.capacity.grades import Grades, seasonal_error
from daemon.capacity.points import Reader
from daemon.capacity.resources import find_resources
from daemon.capacity.state import Made
from detectors.forecasts import DAYS, HOURS, POINTS

GIB, DAY = 2.0**30, 86_400.0


@pytest.fixture
def one(past, host):
    return past(*host)


def made_at(time_ms, mean, half80, half95, horizon=HOURS):
    """Return a forecast of `mean` (12,) with bounds so far from it."""
    mean = np.asarray(mean, float)
    bands = np.stack([mean, mean - half80, mean + half80, mean - half95, mean + half95])
    points = 60 * GIB + GIB * (np.arange(POINTS) % 2)  # "as the step before" is wrong by a GiB
    return Made(horizon, time_ms, 0, points, "", bands)


def judge(one, horizon=HOURS, names=("/var",), now_ms=None):
    resources = [found for found in find_resources(one.specs) if found.name in names]
    uses = Reader(one.history, resources, one.ids, 30.0).uses(horizon, np.full(len(resources), 100 * GIB))
    grades = Grades(one.history)
    grades.judge(horizon, [found.name for found in resources], uses, one.clock.time_ms if now_ms is None else now_ms)
    return grades.accuracy(horizon)


def truth(hours):
    """Return what /var holds at the end of an hour, the most of it."""
    return 60 * GIB + np.asarray(hours) / 24 * GIB


def kept(one):
    return one.history.read("SELECT resource, made_ms, known, judged FROM forecasts ORDER BY made_ms, resource")


def test_a_forecast_is_judged_by_what_came(one, clock):
    made_ms = clock.time_ms - 12 * 3_600_000
    right = truth(np.arange(-11, 1))
    mean = right + 0.5 * GIB  # always half a GiB too high
    mean[0] = right[0] + 3 * GIB
    Grades(one.history).keep(HOURS, {"/var": made_at(made_ms, mean, 0.6 * GIB, 0.8 * GIB)})
    one.write(hours=30)
    got = judge(one)["/var"]
    assert got.forecasts == 1
    # the seasonal naive method: a day before, on a zigzag of a GiB and a period of two: nothing, so the season is even
    assert (got.coverage80, got.coverage95) == (pytest.approx(11 / 12), pytest.approx(11 / 12))
    assert np.isnan(got.mase)
    assert [row[2:] for row in kept(one)] == [(12, 12)]


def test_it_is_judged_step_by_step_and_again_as_more_is_known(one, clock):
    now_ms = clock.time_ms
    Grades(one.history).keep(HOURS, {"/var": made_at(now_ms - 12 * 3_600_000, truth(np.arange(-11, 1)), GIB, GIB)})
    one.write(hours=30)
    assert judge(one, now_ms=now_ms - 12 * 3_600_000 + 60_000) == {}
    judge(one, now_ms=now_ms - 7 * 3_600_000)
    assert [row[2:] for row in kept(one)] == [(5, 5)]
    judge(one)
    assert [row[2:] for row in kept(one)] == [(12, 12)]


def test_what_was_not_measured_is_not_judged(one, clock):
    made_ms = clock.time_ms - 12 * 3_600_000
    Grades(one.history).keep(HOURS, {"/var": made_at(made_ms, truth(np.arange(-11, 1)), GIB, GIB)})
    one.write(hours=30)
    away = [(clock.time_ms - 8 * 3_600_000 - 1, clock.time_ms - 4 * 3_600_000 - 1)]
    one.history.write(("DELETE FROM rollups WHERE tier = 300 AND time_ms BETWEEN ? AND ?", away))
    judge(one)
    assert [row[2:] for row in kept(one)] == [(12, 8)]


def test_the_error_is_told_in_those_of_the_seasonal_naive_method(one, clock):
    made_ms = clock.time_ms - 12 * 3_600_000
    forecast = made_at(made_ms, truth(np.arange(-11, 1)) + 0.5 * GIB, GIB, GIB)
    forecast.points[:] = np.r_[np.full(POINTS - 10, np.nan), 60 * GIB + GIB * (np.arange(10) % 2)]
    Grades(one.history).keep(HOURS, {"/var": forecast})
    one.write(hours=30)
    got = judge(one)["/var"]
    assert got.mase == pytest.approx(0.5, rel=0.02)
    assert (got.coverage80, got.coverage95) == (1.0, 1.0)


def test_seasonal_error():
    wave = np.tile(np.arange(7.0), 6)
    assert seasonal_error(wave, 7) is None  # it repeats exactly
    assert seasonal_error(wave + np.arange(42) * 0.1, 7) == pytest.approx(0.7)
    assert seasonal_error(np.r_[np.nan, 1.0, 2.0, 4.0], 7) == pytest.approx(1.5)  # too short for a season
    assert seasonal_error(np.full(96, 5.0), 7) is None
    assert seasonal_error(np.full(96, np.nan), 7) is None
    assert seasonal_error(np.r_[np.nan, 1.0], 7) is None


def test_one_forecast_a_step_is_kept_however_often_it_is_made(one, clock):
    grades = Grades(one.history)
    for minutes in (0, 20, 40, 58, 60, 118):
        grades.keep(HOURS, {"/var": made_at(clock.time_ms + minutes * 60_000, np.ones(12), 1, 1)})
    assert [(row[1] - clock.time_ms) // 60_000 for row in kept(one)] == [0, 58, 118]


def test_what_says_nothing_is_not_kept(one, clock):
    Grades(one.history).keep(HOURS, {"/var": Made(HOURS, clock.time_ms, 0, np.zeros(POINTS), "needs 3 more hours")})
    assert kept(one) == []


def test_old_ones_are_forgotten_and_what_a_wrong_clock_dated(one, clock):
    grades = Grades(one.history)
    day_ms = 86_400_000
    for days in (-5, -3, 1, 0):  # the clock was a day fast, and is set back
        grades.keep(HOURS, {"/var": made_at(clock.time_ms + days * day_ms, np.ones(12), 1, 1)})
    assert [(row[1] - clock.time_ms) // day_ms for row in kept(one)] == [-3, 0]


def test_horizons_and_resources_are_judged_apart(one, clock):
    grades = Grades(one.history)
    one.write(hours=30, days=30)
    hours = clock.time_ms - 12 * 3_600_000
    days = clock.time_ms - 12 * 86_400_000
    grades.keep(
        HOURS, {"/var": made_at(hours, truth(np.arange(-11, 1)), GIB, GIB), "/": made_at(hours, np.ones(12), 1, 1)}
    )
    grades.keep(DAYS, {"/var": made_at(days, np.zeros(12), 1, 1, DAYS)})
    got = judge(one, names=("/", "/var"))
    assert (got["/var"].coverage80, got["/"].coverage80) == (1.0, 0.0)
    assert judge(one, DAYS)["/var"].coverage95 == 0.0


def test_a_flat_series_that_is_forecast_flat_lies_within_bounds_of_no_width(one, clock):
    """History keeps float32, and so do forecasts: the last digit is no miss."""
    made_ms = clock.time_ms - 12 * 3_600_000
    Grades(one.history).keep(HOURS, {"/": made_at(made_ms, np.full(12, 40 * GIB), 0, 0)})
    one.write(hours=30)
    assert judge(one, names=("/",))["/"].coverage80 == 1.0
