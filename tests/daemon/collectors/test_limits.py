import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest

from daemon.collectors.base import HostPaths
from daemon.collectors.limits import FOLLOWED, PASSING_ROUNDS, ROUNDS, LimitsCollector
from daemon.errors import NotAvailable
from detectors.findings import Unit

MEBIBYTE = 2**20
SHOP, TILL = "/system.slice/shop.service", "/system.slice/till.service"


class Host:
    """Processes in control groups of version 2; a process with open files has a folder of that size."""

    def __init__(self, tree):
        self.tree = tree
        self.top = "sys/fs/cgroup"
        tree.write(f"{self.top}/cgroup.controllers", "memory\n")

    def process(self, pid, group, *, comm="worker", limit="1024"):
        self.tree.write(f"proc/{pid}/cgroup", f"0::{group}\n")
        self.tree.write(f"proc/{pid}/comm", f"{comm}\n")
        self.tree.write(
            f"proc/{pid}/limits", f"Limit  Soft Limit  Hard Limit  Units\nMax open files   {limit}  4096  files\n"
        )
        (self.tree.top / f"proc/{pid}/fd").mkdir(exist_ok=True)

    def end(self, pid):
        folder = self.tree.top / f"proc/{pid}"
        (folder / "fd").rmdir()
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()

    def memory(self, group, used, limit, *, cache=0):
        self.tree.write(f"{self.top}{group}/memory.max", f"{limit}\n")
        self.tree.write(f"{self.top}{group}/memory.current", f"{used + cache}\n")
        stat = f"anon {used}\nfile {cache}\ninactive_file {cache // 2}\nactive_file {cache - cache // 2}\n"
        self.tree.write(f"{self.top}{group}/memory.stat", f"{stat}slab_reclaimable 0\n")


@pytest.fixture
def host(tree):
    return Host(tree)


def values_of(tree, limits, rounds=ROUNDS):
    """Return what is measured once all that is near a limit has been so for long enough."""
    for _ in range(rounds):
        values = tree.values(limits, 0)
    return values


@pytest.fixture
def files(monkeypatch):
    """How many files each process has open: what the kernel gives as the size of its folder."""
    counts = {}
    stat = os.stat

    def counted(path, *, dir_fd=None, follow_symlinks=True):
        found = stat(path, dir_fd=dir_fd, follow_symlinks=follow_symlinks)
        if not str(path).endswith("/fd"):
            return found
        values = list(found)
        values[6] = counts.get(int(str(path).partition("/")[0]), 3)
        return os.stat_result(values)

    monkeypatch.setattr("daemon.collectors.limits.os.stat", counted)
    return counts


def test_memory_of_units_with_a_limit_without_what_the_kernel_takes_back(tree, host, files):
    host.process(10, SHOP)
    host.process(11, TILL)
    host.process(12, "/system.slice/free.service")
    host.memory(SHOP, 60 * MEBIBYTE, 100 * MEBIBYTE, cache=39 * MEBIBYTE)
    host.memory(TILL, 5 * MEBIBYTE, 100 * MEBIBYTE, cache=94 * MEBIBYTE)
    host.memory("/system.slice/free.service", 500 * MEBIBYTE, "max")
    limits = LimitsCollector(paths=tree.paths)
    assert [tree.values(limits, 0) for _ in range(ROUNDS - 1)] == [{}] * (ROUNDS - 1)  # a job of a moment is none
    ((spec, value),) = limits.collect(0)
    assert (spec.name, spec.unit, spec.family, spec.resource, value) == (
        "units.shop.service.memory_used", Unit.RATIO, "units", "shop.service", 0.6,
    )  # fmt: skip
    host.memory(SHOP, 5 * MEBIBYTE, 100 * MEBIBYTE)  # one that is followed stays
    host.memory(TILL, 20 * MEBIBYTE, 100 * MEBIBYTE)
    for _ in range(4 + ROUNDS):
        values = tree.values(limits, 0)
    assert values == {"units.shop.service.memory_used": 0.05, "units.till.service.memory_used": 0.2}
    host.end(10)
    assert tree.values(limits, 0) == {"units.till.service.memory_used": 0.2}


def test_a_unit_that_has_gone_has_no_value_and_not_0(tree, host, files):
    """Its last process still stands in /proc."""
    host.process(10, SHOP)
    host.memory(SHOP, 60 * MEBIBYTE, 100 * MEBIBYTE)
    limits = LimitsCollector(paths=tree.paths)
    assert values_of(tree, limits) == {"units.shop.service.memory_used": 0.6}
    for file in (tree.top / f"{host.top}{SHOP}").iterdir():
        file.unlink()
    assert [tree.values(limits, 0) for _ in range(5)] == [{}] * 5


def test_a_round_makes_no_path(tree, host, files, monkeypatch):
    """Each part of a Path goes into Python's table of interned strings, which grows by all that ever were in it."""
    host.process(10, SHOP)
    host.memory(SHOP, 60 * MEBIBYTE, 100 * MEBIBYTE)
    limits = LimitsCollector(paths=tree.paths)

    def refuse(*names):
        raise AssertionError(f"a Path of {names}")

    monkeypatch.setattr("daemon.collectors.limits.Path", refuse)
    for _ in range(2 * ROUNDS):
        measured = limits.collect(0)
    assert [value for _, value in measured] == [0.6]


def test_what_has_a_new_name_each_time_is_followed_after_an_hour_only(tree, host, files):
    container = f"/kubepods.slice/kubepods-pod1a.slice/cri-containerd-{7:064x}.scope"
    for number, path in enumerate((container, "/system.slice/run-u12.service", SHOP)):
        host.process(10 + number, path)
        host.memory(path, 60 * MEBIBYTE, 100 * MEBIBYTE)
    limits = LimitsCollector(paths=tree.paths)
    for _ in range(PASSING_ROUNDS - 1):
        assert tree.values(limits, 0).keys() <= {"units.shop.service.memory_used"}
    assert tree.values(limits, 0).keys() == {
        "units.shop.service.memory_used",
        "units.run-u12.service.memory_used",
        "units.cri-containerd 000000000000.memory_used",
    }


def test_a_limit_of_a_slice_counts_and_may_be_changed(tree, host, files):
    host.process(10, SHOP)
    host.memory("/system.slice", 50 * MEBIBYTE, 100 * MEBIBYTE)
    limits = LimitsCollector(paths=tree.paths)
    assert values_of(tree, limits) == {"units.system.slice.memory_used": 0.5}
    host.memory("/system.slice", 50 * MEBIBYTE, 200 * MEBIBYTE)
    for _ in range(20):
        values = tree.values(limits, 0)
    assert values == {"units.system.slice.memory_used": 0.25}


def test_version_1(tree, files):
    host = Host(tree)
    (tree.top / "sys/fs/cgroup/cgroup.controllers").unlink()
    host.process(10, "/")
    tree.write("proc/10/cgroup", "4:memory:/docker/" + "a" * 64 + "\n1:name=systemd:/docker/" + "a" * 64 + "\n0::/\n")
    folder = "sys/fs/cgroup/memory/docker/" + "a" * 64
    tree.write(f"{folder}/memory.limit_in_bytes", "1000\n")
    tree.write(f"{folder}/memory.usage_in_bytes", "900\n")
    tree.write(f"{folder}/memory.stat", "cache 400\ntotal_inactive_file 100\ntotal_active_file 300\n")
    tree.write("sys/fs/cgroup/memory/docker/memory.limit_in_bytes", "9223372036854771712\n")
    values = values_of(tree, LimitsCollector(paths=tree.paths), PASSING_ROUNDS)
    assert values == {"units.docker aaaaaaaaaaaa.memory_used": 0.5}


def test_open_files_of_the_fullest_process_of_a_unit(tree, host, files):
    host.process(10, SHOP)
    host.process(11, SHOP)
    host.process(12, "/", comm="daemon one")
    host.process(13, "/", comm="free", limit="unlimited")
    files.update({10: 100, 11: 512, 12: 1024, 13: 5000})
    limits = LimitsCollector(paths=tree.paths)
    assert values_of(tree, limits) == {
        "units.shop.service.descriptors_used": 0.5,
        "units.daemon one.descriptors_used": 1.0,
    }
    files[10], files[11] = 768, 3  # whoever is fullest
    assert tree.values(limits, 0)["units.shop.service.descriptors_used"] == 0.75


def test_the_fullest_eight_are_followed(tree, host, files):
    for number in range(FOLLOWED + 2):
        host.process(10 + number, f"/system.slice/{number}.service")
        files[10 + number] = 200 + number
    limits = LimitsCollector(paths=tree.paths)
    assert {name.split(".")[1] for name in values_of(tree, limits)} == {str(number) for number in range(2, 10)}
    files[10] = 900
    assert {name.split(".")[1] for name in values_of(tree, limits)} == {"0", *(str(number) for number in range(3, 10))}


def test_a_process_that_goes_while_it_is_looked_at_is_passed_over(tree, host, files):
    host.process(10, SHOP)
    (tree.top / "proc/11").mkdir()  # what is left of one
    files[10] = 512
    assert values_of(tree, LimitsCollector(paths=tree.paths)) == {"units.shop.service.descriptors_used": 0.5}


def test_a_path_that_leads_out_of_what_we_see_has_no_limit(tree, host, files):
    host.process(10, "/../../other")
    assert values_of(tree, LimitsCollector(paths=tree.paths)) == {}


def test_without_processes_it_is_not_available(tree):
    with pytest.raises(NotAvailable, match="No such file"):
        LimitsCollector(paths=tree.paths).collect(0)
    (tree.top / "proc").mkdir()
    with pytest.raises(NotAvailable, match="no processes"):
        LimitsCollector(paths=tree.paths).collect(0)


def test_thousands_of_processes_cost_a_bounded_time_and_all_are_looked_at(tree, host, files):
    for pid in range(100, 700):
        host.process(pid, f"/system.slice/{pid}.service")
    files[100] = 700  # the oldest comes last
    limits = LimitsCollector(paths=tree.paths)
    costs = []
    for _ in range(90):
        begin = time.thread_time()
        values = tree.values(limits, 0)
        costs.append(time.thread_time() - begin)
        if values:
            break
    assert len(costs) > 2
    assert statistics.median(costs) < 0.1  # a busy machine made one of them 0.2
    assert values == {"units.100.service.descriptors_used": 700 / 1024}


def test_a_real_process_that_opens_files():
    code = "import os,sys;[os.open('/dev/null',0) for _ in range(200)];print('ready',flush=True);sys.stdin.read()"
    limited = f"import resource;resource.setrlimit(resource.RLIMIT_NOFILE,(256,256));{code}"
    process = subprocess.Popen([sys.executable, "-c", limited], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        process.stdout.readline()
        if not Path(f"/proc/{process.pid}/fd").stat().st_size:
            pytest.skip("this kernel does not count open files")
        limits = LimitsCollector(paths=HostPaths(), budget_seconds=1.0)
        limits.collect(0)
        assert limits._known[process.pid].used > 0.75
    finally:
        process.communicate(b"")
