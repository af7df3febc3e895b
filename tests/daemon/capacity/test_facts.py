import numpy as np
import pytest

from daemon.capacity.facts import facts_of
from daemon.capacity.points import Points
from daemon.capacity.resources import Resource, ResourceKind
from detectors.findings import Unit
from detectors.forecasts import DAYS, HOURS, POINTS

GIB, SIZE = 2.0**30, 100 * 2.0**30
VAR = Resource("/var", ResourceKind.STORAGE, Unit.BYTES, ("a", "b"), mount="/var")
SWAP = Resource("swap", ResourceKind.SWAP, Unit.BYTES, ("a", "b"))


def facts(hours, days=(), *, resource=VAR, sizes=None):
    """Return the facts of a resource with these last points, in GiB of 100."""

    def padded(values):
        out = np.full((1, POINTS), np.nan)
        if len(values):
            out[0, -len(values) :] = values
        return out * GIB

    def points(values, size):
        used = padded(values)
        capacity = np.where(np.isnan(used), np.nan, SIZE) if size is None else padded(size)
        return Points(used, capacity, used * 0)

    told = {HOURS.name: points(np.asarray(hours, float), sizes), DAYS.name: points(np.asarray(days, float), None)}
    return facts_of(resource, 0, told, SIZE, 0.02)


def test_a_file_system_that_was_never_seen_with_room_is_no_news_after_a_day():
    full = np.full(23, 99.5)
    assert not facts(full).accustomed  # it might have filled up just before
    assert facts([*full, 99.5]).accustomed
    assert facts([*full, 99.5], np.full(9, 99.5)).accustomed
    assert not facts([*full, 99.5], [*np.full(8, 90.0), 99.5]).accustomed  # it had room
    assert not facts([*full[:-1], 98.1, 99.9]).accustomed  # it moves: somebody uses it
    assert not facts([*full, 97.0]).accustomed


def test_full_swap_is_told_for_a_day_and_not_where_it_was_full_from_the_first():
    filled = [*np.full(40, 20.0), *np.full(10, 99.0)]
    assert not facts(filled, resource=SWAP).accustomed
    assert facts([*filled, *np.full(14, 99.0)], resource=SWAP).accustomed
    assert facts([99.0], resource=SWAP).accustomed
    assert not facts(filled, resource=VAR).accustomed
    assert not facts([*filled, *np.full(40, 99.0)], resource=VAR).accustomed  # until it has room again


def test_a_full_disk_that_grew_and_is_full_again_had_room():
    """What was full is told by the size that it had then."""
    sizes = np.r_[np.full(30, 50.0), np.full(40, 100.0)]
    used = np.r_[np.full(30, 49.9), np.full(40, 99.9)]
    assert facts(used, sizes=sizes).accustomed
    assert not facts([*used[:30], 60.0, *used[30:]], sizes=[*sizes, 100.0]).accustomed


def test_nothing_known_is_no_fact():
    got = facts([])
    assert (got.explanation, got.floor, got.accustomed) == ((), -np.inf, False)


def test_the_floor_is_of_the_last_days_and_needs_a_day():
    assert facts(np.arange(40.0, 50.0)).floor == -np.inf
    assert facts(np.arange(40.0, 70.0)).floor == 40 * GIB


def test_what_is_recognised_is_said_of_days_and_hours_together():
    hour, day = np.arange(-95.0, 1.0), np.arange(-59.0, 1.0)
    rhythm = 3 * np.sin(2 * np.pi * hour / 24)
    got = facts(60 + hour / 24 + rhythm, 63 + day).explanation
    assert got == ("grows by 1 GiB a day", "repeats every 24 hours")
    cleaned = facts(
        60 + hour / 24 + np.where(hour < -48, 20.0, 0.0), 63 + day + np.where(day < -2, 20.0, 0.0)
    ).explanation
    assert "20 GiB were cleaned up 2 days ago" in cleaned
    assert len([sentence for sentence in cleaned if "cleaned" in sentence]) == 1


def test_daily_rotation_is_said_of_hours_and_where_it_goes_of_days():
    hour, day = np.arange(-95.0, 1.0), np.arange(-59.0, 1.0)
    got = facts(60 + (hour % 24) / 2, 72 + day / 4).explanation
    assert got == ("grows by 256 MiB a day", "falls back every 24 h (by 12 GiB)")


def test_amounts_that_would_be_said_as_nothing_are_not_said():
    hour = np.arange(-95.0, 1.0)
    inodes = Resource("/var inodes", ResourceKind.INODES, Unit.RATIO, ("a",), mount="/var")
    assert facts((0.1 + 1e-7 * (hour % 24)) / GIB, resource=inodes).explanation == ()
    said = facts((0.1 + 1e-3 * (hour % 24)) / GIB, resource=inodes).explanation
    assert said == ("falls back every 24 h (by 2.3 %)",)


def test_a_grown_disk_is_said():
    sizes = np.r_[np.full(48, 100.0), np.full(48, 200.0)]
    assert "its capacity grew from 100 GiB to 200 GiB 2 days ago" in facts(np.full(96, 60.0), sizes=sizes).explanation


@pytest.mark.parametrize("count", [1, 11])
def test_few_points_say_nothing(count):
    assert facts(np.linspace(10, 50, count)).explanation == ()


def test_a_leak_that_is_younger_than_the_history_is_a_trend_and_a_nightly_job_is_none():
    daily = 3 * (np.arange(96) % 24 == 2)
    leak = 40 + daily + np.maximum(np.arange(96) - 50, 0) * 0.5
    (found,) = facts(leak).trends
    assert found.rate == pytest.approx(0.5 * GIB / 3600, rel=0.1)
    assert facts(40 + daily).trends == ()
    cpu = Resource("cpu", ResourceKind.CPU, Unit.RATIO, ("a",))
    assert facts(leak, resource=cpu).trends == ()
