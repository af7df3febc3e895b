import math

import pytest
from failing import NOW_MS

from daemon.failures.mounts import FilesystemFailures
from daemon.signals import Kind, SignalSpec
from detectors.findings import FailureKind, Finding, Strength, Unit

GIB = 2**30


def measured(mount="/srv", used=0.5, free=GIB, inodes=0.1):
    units = {"used": Unit.RATIO, "free_bytes": Unit.BYTES, "inodes_used": Unit.RATIO}
    return [
        (SignalSpec(f"filesystem.{mount}.{name}", units[name], Kind.GAUGE, "filesystem", mount), value)
        for name, value in (("used", used), ("free_bytes", free), ("inodes_used", inodes))
        if value is not None
    ]


def read_only(mount="/srv"):
    return [Finding("FilesystemReadOnly", "host", mount, Strength.RAISED, "")]


@pytest.fixture
def failures():
    one = FilesystemFailures()
    one.observe(measured(), [], NOW_MS, NOW_MS)
    return one


def look(failures, values=(), findings=()):
    return failures.observe(values or measured(), findings, NOW_MS + 30_000, NOW_MS)


@pytest.mark.parametrize(
    ("values", "detail"),
    [
        ({"used": 0.9995, "free": 0}, "/srv has no space left"),
        ({"used": 0.9995, "free": 1_000_000}, "/srv has no space left"),
        ({"used": 0.97, "free": 1024}, "/srv has no space left"),
        ({"inodes": 1.0}, "/srv has no inodes left"),
        ({"used": 1.0, "free": None, "inodes": None}, "/srv has no space left"),
    ],
)
def test_becoming_full_is_told_once(failures, values, detail):
    (report,) = look(failures, measured(**values))
    assert (report.kind, report.resource, report.detail) == (FailureKind.FILESYSTEM_FULL, "/srv", detail)
    assert (report.since_ms, report.time_ms) == (NOW_MS, NOW_MS + 30_000)
    assert look(failures, measured(**values)) == []


def test_a_thousandth_of_a_large_disk_is_room(failures):
    assert look(failures, measured(used=0.9995, free=10 * GIB)) == []


def test_it_is_full_again_only_after_it_had_room(failures):
    full = measured(used=1.0, free=0)
    assert len(look(failures, full)) == 1
    assert look(failures, measured(used=0.995, free=1_000_000)) == []
    assert look(failures, full) == []
    assert look(failures, measured(used=math.nan, free=math.nan)) == []
    assert look(failures, full) == []
    assert look(failures, measured(used=0.9)) == []
    assert len(look(failures, full)) == 1


def test_one_that_was_always_full_is_no_failure():
    failures = FilesystemFailures()
    for _ in range(2):
        assert look(failures, measured("/image", used=1.0, free=0)) == []


def test_becoming_read_only_is_told_once_and_is_not_full(failures):
    (report,) = look(failures, measured(used=1.0, free=0), read_only())
    assert (report.kind, report.resource) == (FailureKind.FILESYSTEM_READ_ONLY, "/srv")
    assert look(failures, measured(), read_only()) == []
    assert look(failures, measured()) == []
    assert len(look(failures, measured(), read_only())) == 1


def test_a_restart_changes_nothing(failures):
    look(failures, [*measured(used=1.0, free=0), *measured("/home")], read_only("/var"))
    again = FilesystemFailures()
    again.restore(failures.state)
    assert look(again, [*measured(used=1.0, free=0), *measured("/home")], read_only("/var")) == []
    assert len(look(again, measured("/home", used=1.0, free=0))) == 1


@pytest.mark.parametrize("state", ["", "[]", "{", "[1, 2, 3]", "null", '[["/a"], []]'])
def test_a_state_that_is_not_understood_is_left(state):
    failures = FilesystemFailures()
    failures.restore(state)
    assert look(failures) == []


def test_other_signals_and_findings_are_nobodys_business(failures):
    other = [(SignalSpec("memory.used", Unit.RATIO, Kind.GAUGE, "memory"), 1.0)]
    assert look(failures, other, [Finding("Anomaly", "anomaly", "", Strength.RAISED, "")]) == []
