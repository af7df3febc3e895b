"""Growth in points is seen through daily patterns, and only where it goes on."""

import numpy as np
import pytest

from detectors.forecasts import DAYS, HOURS
from detectors.growth import NOTABLE_MEMORY
from detectors.trend import trends

LIMIT = 98.0
AT = np.arange(96)
HOUR, DAY = 3600.0, 86_400.0


def hours(points):
    return trends(LIMIT, [(HOURS, points)])


def leak(since, rate, at=AT):
    return 40 + rate * np.maximum(at - since, 0)


@pytest.mark.parametrize("since", [0, 50, 75])
def test_a_leak_has_its_rate_its_age_and_its_amount(since):
    (run,) = hours(leak(since, 0.3))
    assert run.rate == pytest.approx(0.3 / HOUR)
    if since:
        assert run.elapsed_seconds == pytest.approx((95 - since) * HOUR)
        assert run.amount == pytest.approx((95 - since) * 0.3)


def test_a_daily_rotation_is_no_growth_and_hides_none():
    teeth = 5.0 * (AT % 24) / 24
    assert hours(40 + teeth) == ()
    (run,) = hours(leak(50, 0.3) + teeth)
    assert run.rate == pytest.approx(0.3 / HOUR, rel=0.02)


def test_where_it_is_full_first_is_the_daily_peak():
    (run,) = hours(leak(0, 0.01) + 5.0 * ((AT - 20) % 24) / 24)
    assert run.above == pytest.approx(5.0 * 20 / 24, abs=0.3)
    assert run.wait_seconds == 20 * HOUR


@pytest.mark.parametrize("kind", ["noise", "season", "stopped", "falling", "flat"])
def test_what_does_not_grow_has_no_run(kind):
    rng = np.random.default_rng(1)
    points = {
        "noise": 50 + rng.normal(size=96),
        "season": 50 + 10 * np.sin(2 * np.pi * AT / 24) + 0.1 * rng.normal(size=96),
        "stopped": np.minimum(leak(20, 0.5), 60.0) - 1e-6 * AT,
        "falling": 90 - 0.2 * AT,
        "flat": np.full(96, 50.0),
    }[kind]
    assert hours(points) == ()


def test_days_are_compared_with_the_week_before():
    weekly = 6.0 * (AT % 7 < 5)
    (run,) = trends(LIMIT, [(DAYS, leak(60, 0.5) + weekly)])
    assert run.rate == pytest.approx(0.5 / DAY, rel=0.05)


def test_what_came_down_before_makes_it_likely_to_end():
    again = np.concatenate([np.linspace(40, 60, 24), np.linspace(40, 60, 24), np.linspace(40, 59, 24)])
    (known,) = trends(LIMIT, [(DAYS, again)])
    (fresh,) = trends(LIMIT, [(DAYS, again[48:])])
    assert known.past == pytest.approx([20.0, 20.0])
    assert known.goes_on(30.0) < 0.35 < fresh.goes_on(30.0)


def test_a_leak_that_was_stopped_is_no_trend_for_the_rest_of_the_day():
    leaking = leak(30, 0.3)
    (run,) = hours(leaking)
    assert run.alive == 1.0
    stopped = np.minimum(leaking, leaking[90])
    assert all(run.alive < 0.3 for run in hours(stopped))
    rotated = stopped + 3.0 * (AT % 24) / 24
    assert all(run.alive < 0.3 for run in hours(rotated))


def test_the_memory_of_a_program_is_ordinary_when_it_is_large():
    points = [(HOURS, leak(50, 0.3))]
    (of_disk,), (of_memory,) = trends(LIMIT, points), trends(LIMIT, points, NOTABLE_MEMORY)
    assert of_memory.runaway < of_disk.runaway


def test_points_before_a_gap_do_not_count():
    points = leak(0, 0.3)
    points[:90] = np.nan
    assert hours(points) == ()
    points = leak(0, 0.3)
    points[50] = np.nan
    (run,) = hours(points)
    assert run.elapsed_seconds <= 45 * HOUR


def test_each_horizon_has_its_own():
    found = trends(LIMIT, [(HOURS, leak(50, 0.3)), (DAYS, leak(80, 7.2, AT) - 30)])
    assert len(found) == 2
    assert trends(LIMIT, []) == ()
    assert trends(LIMIT, [(HOURS, np.full(96, np.nan))]) == ()
