import math
import threading

import pytest

from daemon.collectors.errors import COUNTED, ErrorCounts, ErrorsCollector
from daemon.errors import NotAvailable
from daemon.signals import Kind
from detectors.findings import Unit

SECOND = 10**9


def test_counts_become_rates(tree):
    counts = ErrorCounts(lambda: "")
    errors = ErrorsCollector(counts=counts, gap_seconds=75)
    counts.add(["kernel.io", "kernel.error"])  # before the first round: whether it is new nobody knows
    with pytest.raises(NotAvailable, match="from now on"):
        errors.collect(100 * SECOND)
    counts.add(["kernel.io", "kernel.error"] * 6)
    values = tree.values(errors, 130)
    assert values.pop("errors.kernel.io_per_second") == values.pop("errors.kernel.error_per_second") == 0.2
    assert len(values) == len(COUNTED) - 2
    assert set(values.values()) == {0.0}
    assert set(tree.values(errors, 160).values()) == {0.0}


def test_the_signals_are_described():
    errors = ErrorsCollector(counts=ErrorCounts(lambda: ""), gap_seconds=75)
    with pytest.raises(NotAvailable):
        errors.collect(SECOND)
    measured = errors.collect(100 * SECOND)
    assert all(math.isnan(value) for _, value in measured)  # over a gap
    assert [spec.name for spec, _ in measured] == [f"errors.{name}_per_second" for name in COUNTED]
    assert {(spec.unit, spec.kind, spec.family) for spec, _ in measured} == {(Unit.PER_SECOND, Kind.RATE, "errors")}
    assert {spec.resource for spec, _ in measured} == {"kernel", "journal", "units"}


def test_without_a_journal_they_are_absent_with_the_reason(tree):
    with pytest.raises(NotAvailable, match="nobody follows the journal"):
        ErrorsCollector(counts=None, gap_seconds=75).collect(SECOND)
    problem = "it takes the group systemd-journal"
    counts = ErrorCounts(lambda: problem)
    errors = ErrorsCollector(counts=counts, gap_seconds=75)
    with pytest.raises(NotAvailable, match="systemd-journal"):
        errors.collect(SECOND)
    for problem in ("", "journalctl ended with code 1", ""):  # noqa: B007 - an attempt is not enough
        with pytest.raises(NotAvailable):
            errors.collect(10 * SECOND)
    counts.add(["units.failed"] * 30)
    assert tree.values(errors, 40)["errors.units.failed_per_second"] == 1.0


def test_a_name_that_is_not_counted_is_a_mistake():
    with pytest.raises(KeyError):
        ErrorCounts(lambda: "").add(["kernel.weather"])


def test_several_threads_lose_nothing():
    counts = ErrorCounts(lambda: "")
    threads = [
        threading.Thread(target=lambda: [counts.add(["kernel.io", "kernel.error"]) for _ in range(2000)])
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (counts.totals()["kernel.io"], counts.totals()["kernel.error"]) == (8000, 8000)
