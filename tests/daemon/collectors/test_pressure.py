from math import isnan

import pytest

from daemon.collectors.pressure import PressureCollector
from daemon.errors import CollectorError, NotAvailable


def psi(some, full):
    return f"some avg10=0.00 avg60=0.00 avg300=0.00 total={some}\nfull avg10=0.00 avg60=0.00 avg300=0.00 total={full}\n"


@pytest.fixture
def pressure(tree):
    for name in ("cpu", "memory", "io"):
        tree.write(f"proc/pressure/{name}", psi(1_000_000, 500_000))
    collector = PressureCollector(paths=tree.paths, gap_seconds=60)
    yield collector
    collector.close()


def test_totals_give_the_share_of_the_time(tree, pressure):
    assert all(map(isnan, tree.values(pressure, 100).values()))
    tree.write("proc/pressure/cpu", psi(4_000_000, 500_000))
    tree.write("proc/pressure/memory", psi(7_000_000, 3_500_000))
    tree.write("proc/pressure/io", psi(99_000_000, 500_000))
    assert tree.values(pressure, 130) == pytest.approx(
        {
            "pressure.cpu_some": 0.1,
            "pressure.memory_some": 0.2,
            "pressure.memory_full": 0.1,
            "pressure.io_some": 1.0,  # more than the time that passed is jitter of the reading
            "pressure.io_full": 0.0,
        }
    )


def test_a_kernel_without_it_has_none(tree):
    with pytest.raises(NotAvailable):
        PressureCollector(paths=tree.paths, gap_seconds=60).collect(0)


def test_one_that_is_missing_does_not_hide_the_others(tree, pressure):
    (tree.paths.proc / "pressure" / "io").unlink()
    assert set(tree.values(pressure, 100)) == {"pressure.cpu_some", "pressure.memory_some", "pressure.memory_full"}


def test_a_content_that_makes_no_sense_is_a_failure(tree, pressure):
    tree.write("proc/pressure/memory", "some\n")
    with pytest.raises(CollectorError, match="memory: not understood"):
        pressure.collect(0)
