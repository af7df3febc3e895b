import pytest
from failing import NOW_MS

from daemon.clock import Instant
from daemon.failures.reboot import running, stopped, unclean_reboot
from detectors.findings import FailureKind

NOW = Instant(NOW_MS, 60 * 10**9, 60 * 10**9, "b2")  # a minute after the boot
LAST_MS = NOW_MS - 200_000


def test_a_boot_without_a_clean_stop_is_a_failure():
    report = unclean_reboot(running("b1"), NOW, LAST_MS)
    assert (report.kind, report.mark, report.resource) == (FailureKind.UNCLEAN_REBOOT, "b2", "")
    assert (report.since_ms, report.time_ms) == (LAST_MS, NOW_MS - 60_000)


@pytest.mark.parametrize(
    "mark", [stopped("b1"), running("b2"), stopped("b2"), "", running("unknown"), "something else"]
)
def test_everything_else_is_none(mark):
    assert unclean_reboot(mark, NOW, LAST_MS) is None


def test_without_a_boot_id_nothing_is_known():
    assert unclean_reboot(running("b1"), Instant(NOW_MS, 1, 1, "unknown"), LAST_MS) is None


def test_a_clock_that_was_set_back_leaves_no_span_of_less_than_nothing():
    report = unclean_reboot(running("b1"), NOW, NOW_MS + 500_000)
    assert report.since_ms <= report.time_ms <= NOW_MS
    report = unclean_reboot(running("b1"), NOW, 0)
    assert report.since_ms == report.time_ms
