import pytest
from failing import NOW_MS

from daemon.failures.facts import facts, failed_lately
from daemon.failures.record import FailureEvent, Source
from detectors.findings import FailureKind, Strength

MINUTE_MS = 60_000
WEB = {"web.service": "web.service failed: it crashed"}


def event(kind, resource="", *, minutes_ago=0.0, last=None, times=1, detail="so it is"):
    at = NOW_MS - int(minutes_ago * MINUTE_MS)
    last_ms = at if last is None else NOW_MS - int(last * MINUTE_MS)
    return FailureEvent(1, kind, Source.KERNEL_LOG, at, at, last_ms, times, resource, detail)


def kills(unit, *minutes):
    return [event(FailureKind.OOM_KILL, unit, minutes_ago=one) for one in minutes]


def told(events=(), failed=None, named=()):
    found = list(facts(events, failed or {}, named, NOW_MS))
    assert all(one.strength is Strength.RAISED and one.network == "host" for one in found)
    return [(one.alertname, one.resource, one.detail) for one in found]


@pytest.mark.parametrize("named", [["web.service"], ["db*", "web*.service"], ["*"]])
def test_a_unit_that_the_operator_named_is_told_while_it_is_failed(named):
    assert told(failed=WEB, named=named) == [("UnitFailed", "web.service", "web.service failed: it crashed")]
    assert told(failed={}, named=named) == []


@pytest.mark.parametrize("named", [[], ["web"], ["Web.service"], ["web.timer"]])
def test_a_unit_that_nobody_named_is_recorded_and_not_told(named):
    assert told(failed=WEB, named=named) == []


def test_where_systemd_cannot_be_asked_a_failure_is_told_for_a_quarter_of_an_hour():
    events = [
        event(FailureKind.UNIT_FAILED, "a.service", minutes_ago=14, detail="a.service failed: it crashed"),
        event(FailureKind.UNIT_FAILED, "b.service", minutes_ago=16),
        event(FailureKind.IO_ERROR, "sda", minutes_ago=1),
    ]
    assert failed_lately(events, NOW_MS) == {"a.service": "a.service failed: it crashed"}


def test_the_third_kill_of_a_unit_within_an_hour_is_told_and_the_second_not():
    assert told(kills("app.service", 50, 1)) == []
    assert told(kills("app.service", 61, 50, 1)) == []
    (one,) = told(kills("app.service", 50, 20, 1))
    assert one == (
        "RepeatedOOMKills",
        "app.service",
        "the kernel killed app.service 3 times within an hour for want of memory",
    )


def test_kills_that_ended_are_over():
    assert told(kills("app.service", 50, 20, 6)) == []


def test_kills_of_several_units_are_told_once_for_the_host():
    (one,) = told([*kills("a.service", 50), *kills("", 20), *kills("b.service", 1)])
    assert one == (
        "RepeatedOOMKills",
        "",
        "the kernel killed 3 times within an hour for want of memory, of a.service, b.service",
    )


def test_a_unit_that_is_killed_again_and_again_tells_for_the_others_too():
    found = told([*kills("a.service", 50, 40, 1), *kills("b.service", 30)])
    assert [one[:2] for one in found] == [("RepeatedOOMKills", "a.service")]


def test_a_disk_that_reports_failures_is_told_for_a_day():
    lost = event(FailureKind.SMART, "DISK-1", minutes_ago=3000, last=1000, detail="DISK-1: 8 more pending sectors")
    assert told([lost]) == [("DiskHealth", "DISK-1", "DISK-1: 8 more pending sectors")]
    assert told([event(FailureKind.SMART, "DISK-1", minutes_ago=3000)]) == []


@pytest.mark.parametrize("kind", [one for one in FailureKind if one not in {FailureKind.OOM_KILL, FailureKind.SMART}])
def test_other_failures_are_no_facts_of_their_own(kind):
    assert told([event(kind, "x")] * 5, named=["*"]) == []
