from math import isnan

import pytest

from daemon.collectors.kernel import KernelCollector
from daemon.collectors.process import ProcessCollector
from daemon.errors import CollectorError, NotAvailable


@pytest.fixture
def tables(tree):
    tree.write("proc/sys/fs/file-nr", "400\t100\t3000\n")
    tree.write("proc/sys/kernel/pid_max", "32768\n")
    tree.write("proc/sys/kernel/threads-max", "8300\n")
    tree.write("proc/loadavg", "0.07 0.09 0.06 3/83 4221\n")
    return tree


def test_tables_are_used_by_shares_of_the_nearer_limit(tables):
    kernel = KernelCollector(paths=tables.paths)
    assert tables.values(kernel, 100) == pytest.approx(
        {"kernel.descriptors_count": 300, "kernel.descriptors_used": 0.1, "kernel.threads": 0.01}
    )
    kernel.close()


def test_without_a_limit_of_descriptors_only_their_count_remains(tables):
    tables.write("proc/sys/fs/file-nr", f"400\t0\t{2**63 - 1}\n")
    kernel = KernelCollector(paths=tables.paths)
    values = tables.values(kernel, 100)
    assert values["kernel.descriptors_count"] == 400
    assert "kernel.descriptors_used" not in values
    kernel.close()


def test_a_kernel_table_that_vanishes_is_said(tables):
    (tables.paths.proc / "sys" / "kernel" / "pid_max").unlink()
    with pytest.raises(NotAvailable):
        KernelCollector(paths=tables.paths).collect(0)


def stat(forks, running=2, blocked=1):
    return (
        f"cpu  1 1\nctxt 1\nbtime 1\nprocesses {forks}\nprocs_running {running}\nprocs_blocked {blocked}\nsoftirq 1\n"
    )


def test_tasks_are_counted_and_forks_are_a_rate(tables):
    tables.write("proc/stat", stat(1000))
    process = ProcessCollector(paths=tables.paths, gap_seconds=60)
    assert isnan(tables.values(process, 100)["processes.forks_per_second"])
    tables.write("proc/stat", stat(1060, running=4, blocked=3))
    assert tables.values(process, 130) == {
        "processes.running_count": 4,
        "processes.blocked_count": 3,
        "processes.total_count": 83,
        "processes.forks_per_second": 2.0,
    }
    tables.write("proc/stat", "cpu  1\nprocesses\n")
    with pytest.raises(CollectorError, match="stat: not understood"):
        process.collect(0)
    process.close()
