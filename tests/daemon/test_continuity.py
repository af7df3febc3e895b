import os
import time

import pytest

from daemon.clock import Instant, SystemClock
from daemon.continuity import UNKNOWN_HOUR, Continuity, hour_of_week

HOUR = 3600.0
YEAR = 365 * 86_400.0


@pytest.fixture
def utc(monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def passing(clock):
    """A continuity that has seen a quiet while, and the clock it is asked with."""
    continuity = Continuity(30.0)
    for _ in range(3):
        continuity.step(clock.advance(30))
    return continuity


def test_time_that_goes_on_as_expected(clock, utc):
    continuity = Continuity(30.0)
    for place in range(300):
        passage = continuity.step(clock.advance(30))
        assert (passage.gap, passage.jump_seconds, passage.suspended_seconds, passage.doubtful) == (False, 0, 0, False)
        assert passage.hour == (6 * 24 + 6 + (place + 1) * 30 // 3600) % 168  # from Sunday 06:00 on


def test_a_late_tick_is_no_gap_and_a_missing_one_is(passing, clock):
    assert not passing.step(clock.advance(74)).gap
    passage = passing.step(clock.advance(76))
    assert passage.gap
    assert not passage.doubtful
    assert passage.hour != UNKNOWN_HOUR
    assert not passing.step(clock.advance(30)).gap


def test_a_suspend_is_a_gap_and_nothing_more(passing, clock):
    clock.suspend(8 * HOUR)
    passage = passing.step(clock.advance(30))
    assert passage.gap
    assert passage.suspended_seconds == pytest.approx(8 * HOUR)
    assert (passage.jump_seconds, passage.doubtful) == (0, False)
    assert passage.hour == hour_of_week(clock.time_ms)


@pytest.mark.parametrize("seconds", [HOUR, -HOUR, YEAR, -YEAR, 61.0, -61.0])
def test_a_jump_restarts_and_makes_the_hour_doubtful(passing, clock, seconds):
    clock.set_wall(seconds)
    passage = passing.step(clock.advance(30))
    assert passage.gap
    assert passage.jump_seconds == pytest.approx(seconds)
    assert (passage.doubtful, passage.hour, passage.suspended_seconds) == (True, UNKNOWN_HOUR, 0)
    for _ in range(119):
        passage = passing.step(clock.advance(30))
        assert (passage.gap, passage.jump_seconds) == (False, 0)
        assert (passage.doubtful, passage.hour) == (True, UNKNOWN_HOUR)
    passage = passing.step(clock.advance(30))  # an hour later
    assert not passage.doubtful
    assert passage.hour == hour_of_week(clock.time_ms)


def test_another_jump_begins_the_hour_anew(passing, clock):
    clock.set_wall(HOUR)
    passing.step(clock.advance(30))
    for _ in range(60):
        passing.step(clock.advance(30))
    clock.set_wall(-HOUR)
    passing.step(clock.advance(30))
    for _ in range(119):
        assert passing.step(clock.advance(30)).doubtful
    assert not passing.step(clock.advance(30)).doubtful


@pytest.mark.parametrize("interval", [1.0, 30.0])
@pytest.mark.parametrize("seconds", [0.5, -0.5])
def test_an_ntp_step_is_no_jump(clock, interval, seconds):
    continuity = Continuity(interval)
    continuity.step(clock.advance(interval))
    clock.set_wall(seconds)
    passage = continuity.step(clock.advance(interval))
    assert (passage.gap, passage.doubtful, passage.jump_seconds) == (False, False, 0)


def test_a_suspend_during_which_the_clock_was_set_is_both(passing, clock):
    clock.suspend(HOUR)
    clock.set_wall(2 * HOUR)
    passage = passing.step(clock.advance(30))
    assert passage.gap
    assert passage.doubtful
    assert passage.jump_seconds == pytest.approx(2 * HOUR)
    assert passage.suspended_seconds == pytest.approx(HOUR)


def test_another_boot_is_a_gap(passing, clock):
    clock.reboot()
    passage = passing.step(clock.advance(30))
    assert (passage.gap, passage.doubtful, passage.jump_seconds) == (True, False, 0)
    assert not passing.step(clock.advance(30)).gap


def resumed(now: Instant) -> Continuity:
    continuity = Continuity(30.0)
    continuity.resume(Instant(now.time_ms, now.monotonic_ns, 0, now.boot_id))
    return continuity


def test_a_quick_restart_is_no_gap_and_a_slow_one_is(clock):
    continuity = resumed(clock.now())
    assert not continuity.step(clock.advance(40)).gap
    continuity = resumed(clock.now())
    assert continuity.step(clock.advance(600)).gap
    continuity = resumed(clock.now())
    clock.reboot()
    assert continuity.step(clock.advance(30)).gap


@pytest.mark.parametrize("seconds", [HOUR, -HOUR, YEAR])
def test_a_clock_that_was_set_while_we_were_away_is_only_a_gap(clock, seconds):
    continuity = resumed(clock.now())
    clock.set_wall(seconds)
    passage = continuity.step(clock.advance(30))
    assert (passage.gap, passage.doubtful, passage.jump_seconds) == (True, False, 0)
    assert not continuity.step(clock.advance(30)).gap


def test_the_first_sample_of_all_is_no_gap(clock):
    assert not Continuity(30.0).step(clock.now()).gap


@pytest.mark.parametrize(
    ("zone", "time_ms", "hour"),
    [
        ("UTC", 1_772_409_599_000, 6 * 24 + 23),  # Sunday 23:59:59
        ("UTC", 1_772_409_600_000, 0),  # Monday
        ("Europe/Berlin", 1_772_409_600_000, 1),
        ("America/New_York", 1_772_409_600_000, 6 * 24 + 19),
        ("Europe/Berlin", 1_774_745_999_000, 6 * 24 + 1),  # 29 March 2026: 01:59:59, then it is 03:00
        ("Europe/Berlin", 1_774_746_000_000, 6 * 24 + 3),
    ],
)
def test_the_hour_of_the_week_is_local(monkeypatch, zone, time_ms, hour):
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    if zone != "UTC" and not os.path.exists(f"/usr/share/zoneinfo/{zone}"):  # noqa: PTH110 - a name, not a path of ours
        pytest.skip(f"this machine does not know the time zone {zone}")
    try:
        assert hour_of_week(time_ms) == hour
    finally:
        monkeypatch.undo()
        time.tzset()


def test_the_clocks_of_the_kernel():
    clock = SystemClock()
    first, second = clock.now(), clock.now()
    assert second.monotonic_ns > first.monotonic_ns
    assert second.boottime_ns >= second.monotonic_ns
    assert first.boot_id == second.boot_id != "unknown"
    assert abs(first.time_ms / 1000 - time.time()) < 5
