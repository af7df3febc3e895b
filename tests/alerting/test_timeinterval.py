from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest

from alerting.timeinterval import WEEKDAYS, Window

BERLIN = ZoneInfo("Europe/Berlin")
EVERY_DAY = frozenset(range(7))


def window(start, end, days=EVERY_DAY, zone="UTC"):
    return Window("w", frozenset(days), time.fromisoformat(start), time.fromisoformat(end), ZoneInfo(zone))


def ms(text, zone=UTC):
    return int(datetime.fromisoformat(text).replace(tzinfo=zone).timestamp() * 1000)


@pytest.mark.parametrize(
    ("at", "is_open"),
    [
        ("2026-03-04T01:59:59.999", False),
        ("2026-03-04T02:00:00", True),
        ("2026-03-04T03:59:59.999", True),
        ("2026-03-04T04:00:00", False),
        ("2026-03-05T03:00:00", False),  # a Thursday
    ],
)
def test_on_its_days_from_its_start_up_to_its_end(at, is_open):
    assert window("02:00", "04:00", {2}).is_open(ms(at)) is is_open


@pytest.mark.parametrize(
    ("at", "is_open"),
    [
        ("2026-03-06T21:59:59", False),  # Friday
        ("2026-03-06T22:00:00", True),
        ("2026-03-06T23:59:59.999", True),
        ("2026-03-07T00:00:00", True),  # Saturday, of Friday's window
        ("2026-03-07T01:59:59.999", True),
        ("2026-03-07T02:00:00", False),
        ("2026-03-07T23:00:00", False),
        ("2026-03-06T01:00:00", False),  # of Thursday's, which there is not
    ],
)
def test_over_midnight_it_belongs_to_the_day_on_which_it_opens(at, is_open):
    assert window("22:00", "02:00", {4}).is_open(ms(at)) is is_open


def test_from_sunday_into_monday():
    sunday = window("23:00", "01:00", {6})
    assert sunday.is_open(ms("2026-03-02T00:30:00"))
    assert not sunday.is_open(ms("2026-03-01T00:30:00"))


def test_equal_times_are_a_whole_day():
    whole = window("00:00", "00:00", {5})
    hours = [hour for hour in range(7 * 24) if whole.is_open(ms("2026-03-02T00:00:00") + hour * 3_600_000)]
    assert hours == list(range(5 * 24, 6 * 24))
    noon = window("12:00", "12:00", {5})
    hours = [hour for hour in range(7 * 24) if noon.is_open(ms("2026-03-02T00:00:00") + hour * 3_600_000)]
    assert hours == list(range(5 * 24 + 12, 6 * 24 + 12))


def test_each_window_has_its_time_zone():
    at = ms("2026-03-04T02:30:00")  # 03:30 in Berlin, 11:30 in Tokyo, on Tuesday 21:30 in New York
    assert window("02:00", "03:00").is_open(at)
    assert window("03:00", "04:00", zone="Europe/Berlin").is_open(at)
    assert window("11:00", "12:00", zone="Asia/Tokyo").is_open(at)
    assert window("21:00", "22:00", {1}, zone="America/New_York").is_open(at)
    assert not window("21:00", "22:00", {2}, zone="America/New_York").is_open(at)


def open_minutes(one, start, hours):
    begin = ms(start)
    return sum(one.is_open(begin + minute * 60_000) for minute in range(hours * 60))


def test_it_follows_the_clock_on_the_wall_in_summer_too():
    night = window("22:00", "06:00", zone="Europe/Berlin")
    assert night.is_open(ms("2026-01-15T21:00:00"))  # 22:00 in winter
    assert not night.is_open(ms("2026-01-15T20:59:59"))
    assert night.is_open(ms("2026-07-15T20:00:00"))  # 22:00 in summer
    assert not night.is_open(ms("2026-07-15T19:59:59"))


def test_the_nights_on_which_the_clock_is_changed():
    night = window("22:00", "06:00", zone="Europe/Berlin")
    assert open_minutes(night, "2026-03-27T12:00:00", 24) == 8 * 60
    assert open_minutes(night, "2026-03-28T12:00:00", 24) == 7 * 60  # an hour that never was
    assert open_minutes(night, "2026-10-24T12:00:00", 24) == 9 * 60  # an hour that was twice
    missing = window("02:00", "03:00", zone="Europe/Berlin")
    assert open_minutes(missing, "2026-03-28T12:00:00", 24) == 0
    assert open_minutes(missing, "2026-10-24T12:00:00", 24) == 120


def test_over_a_whole_year_it_opens_every_day_as_the_wall_clock_says():
    one = window("22:30", "01:15", {0, 4}, zone="Europe/Berlin")
    moment, step = datetime(2026, 1, 1, tzinfo=UTC), timedelta(minutes=45)
    while moment.year == 2026:
        local = moment.astimezone(BERLIN)
        clock = local.hour * 60 + local.minute
        evening = clock >= 22 * 60 + 30 and local.weekday() in {0, 4}
        morning = clock < 75 and local.weekday() in {1, 5}
        assert one.is_open(int(moment.timestamp() * 1000)) is (evening or morning), local
        moment += step


def test_the_week_begins_on_monday():
    assert WEEKDAYS.index("mon") == datetime(2026, 3, 2, tzinfo=UTC).weekday()
    assert len(WEEKDAYS) == 7
