import os

import pytest
from failing import NOW_MS

from daemon.collectors.base import HostPaths
from daemon.failures.smart import SmartdStates
from detectors.findings import FailureKind

# As smartd 7.3 writes it.
ATA = """# smartd state file
temperature-min = 21
temperature-max = 44
self-test-errors = {tests}
self-test-last-err-hour = 0
scheduled-test-next-check = 1763427600
ata-error-count = {errors}
ata-smart-attribute.0.id = 1
ata-smart-attribute.0.val = 100
ata-smart-attribute.0.raw = 99999
ata-smart-attribute.1.id = 5
ata-smart-attribute.1.val = 100
ata-smart-attribute.1.raw = {reallocated}
ata-smart-attribute.2.id = 197
ata-smart-attribute.2.raw = {pending}
"""


class Smartd:
    def __init__(self, folder):
        self.paths = HostPaths(root=folder)
        self.folder = folder / "var/lib/smartmontools"
        self.folder.mkdir(parents=True)
        self.states = SmartdStates(self.paths)

    def write(self, disk="WDC_X-WD1", kind="ata", at=0, **counts):
        path = self.folder / f"smartd.{disk}.{kind}.state"
        path.write_text(ATA.format(**{"tests": 0, "errors": 0, "reallocated": 0, "pending": 0, **counts}))
        os.utime(path, (NOW_MS / 1000 + at, NOW_MS / 1000 + at))

    def look(self):
        return self.states.observe(self.states.read())


@pytest.fixture
def smartd(tmp_path):
    return Smartd(tmp_path)


def test_a_count_that_grows_is_a_failure_of_that_disk(smartd):
    smartd.write(reallocated=3)
    assert smartd.look() == []
    smartd.write(reallocated=3, at=1800)
    assert smartd.look() == []
    smartd.write(reallocated=5, pending=8, at=3600)
    (report,) = smartd.look()
    assert (report.kind, report.resource) == (FailureKind.SMART, "WDC_X-WD1")
    assert report.detail == "WDC_X-WD1: 5 reallocated sectors, 3 before; 8 pending sectors, 0 before"
    assert report.since_ms == report.time_ms == NOW_MS + 3_600_000
    assert smartd.look() == []


@pytest.mark.parametrize("what", ["tests", "errors"])
def test_failed_tests_and_logged_errors_count(smartd, what):
    smartd.write()
    smartd.look()
    smartd.write(**{what: 1})
    assert len(smartd.look()) == 1


def test_a_count_that_falls_and_one_that_tells_nothing_are_none(smartd):
    smartd.write(pending=8)
    smartd.look()
    smartd.write(pending=0)
    assert smartd.look() == []


def test_a_restart_changes_nothing(smartd):
    smartd.write(pending=1)
    smartd.look()
    before = smartd.states.state
    smartd.states = SmartdStates(smartd.paths)
    smartd.states.restore(before)
    assert smartd.look() == []
    smartd.write(pending=2)
    assert len(smartd.look()) == 1


@pytest.mark.parametrize("state", ["", "[]", "3", '{"a": 1}', '{"a": {"b": "c"}}'])
def test_a_state_that_is_not_understood_is_left(smartd, state):
    smartd.states.restore(state)
    smartd.write()
    assert smartd.look() == []


def test_what_vendors_keep_above_is_left_out(smartd):
    smartd.write()
    smartd.look()
    smartd.write(reallocated=7 << 32)
    assert smartd.look() == []


def test_without_smartd_it_is_told(smartd):
    assert smartd.states.read() == {}
    assert "smartd leaves no state" in smartd.states.problem
    (smartd.folder / "attrlog.WDC_X-WD1.ata.csv").write_text("x")
    (smartd.folder / "smartd.broken.ata.state").write_bytes(b"\xff" * 100)
    smartd.write()
    assert set(smartd.states.read()) == {"WDC_X-WD1", "broken"}
    assert smartd.states.problem == ""


def test_a_closed_folder_is_told(smartd, monkeypatch):
    def refuse(_path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("daemon.failures.smart.os.listdir", refuse)
    assert smartd.states.read() == {}
    assert smartd.states.problem.endswith("Permission denied")
