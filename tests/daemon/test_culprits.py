"""Who is named: over units and processes of our own, and over the real /proc."""

import itertools
import math
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon import process_scan
from daemon.collectors.unit import REST, UnitRound
from daemon.culprits import _MOST_UNITS, Culprits, UsualUse
from daemon.process_scan import BUDGET_SECONDS, ProcessScan
from detectors.findings import Contributor, Culprit, Resource, Unit

CPU, MEMORY, READS, WRITES = Resource.CPU, Resource.MEMORY, Resource.READS, Resource.WRITES
DISK_WAIT = Resource.DISK_WAIT


def units(shares, totals):
    """A round with the `shares` of one resource a unit; what is not named is 0."""
    return UnitRound({**{unit: {r: use.get(r, 0.0) for r in totals} for unit, use in shares.items()}, REST: {}}, totals)


def part(family, surprise=5.0, signal="x"):
    return Contributor(signal, Unit.RATIO, family, "", 1.0, 0.0, 0.1, surprise)


class Proc:
    """A /proc of our own."""

    def __init__(self, top):
        self.top = top

    def set(self, pid, name="sleep", *, ticks=0, pages=1, written=0, cgroup="/", started=5, state="S"):
        folder = self.top / str(pid)
        (folder / "fd").mkdir(parents=True, exist_ok=True)
        fields = [state, "1", *["0"] * 9, str(ticks), "0", *["0"] * 6, str(started), "0", str(pages), "0"]
        (folder / "stat").write_text(f"{pid} ({name}) {' '.join(fields)}\n")
        (folder / "io").write_text(f"rchar: 1\nread_bytes: 0\nwrite_bytes: {written}\ncancelled_write_bytes: 0\n")
        (folder / "cgroup").write_text(f"0::{cgroup}\n")


@pytest.fixture
def proc(tmp_path):
    (tmp_path / "self").mkdir()
    return Proc(tmp_path)


@pytest.fixture
def culprits(proc):
    return Culprits(ProcessScan(proc.top, 1.0))


@pytest.fixture
def slow_clock(monkeypatch):
    """The thread's clock goes by a millisecond a look at it, which is once in four processes."""
    milliseconds = itertools.count()
    monkeypatch.setattr(process_scan.time, "thread_time", lambda: next(milliseconds) / 1000)


CALM = units({"db.service": {WRITES: 0.09, CPU: 0.5}, "log.service": {WRITES: 0.91, CPU: 0.2}}, {WRITES: 1e5, CPU: 0.2})


def test_the_unit_that_grew_is_named_with_its_usual_share_and_its_process(proc, culprits):
    for _ in range(30):
        culprits.calm(CALM)
    now = units({"db.service": {WRITES: 0.71}, "log.service": {WRITES: 0.29}}, {WRITES: 5e7, CPU: 0.2})
    for second, written in ((1, 0), (2, 10**7)):
        proc.set(77, "postgres", written=written, cgroup="/system.slice/db.service")
        proc.set(78, "rsyslogd", written=written * 2, cgroup="/system.slice/log.service")
        found = culprits.name([part("disk")], now, second * 10**9)
    assert found == (
        Culprit("db.service", "postgres", WRITES, 0.71, pytest.approx(0.09), pytest.approx(0.71 * 5e7 / 0.09e5)),
    )


def test_who_always_takes_most_is_nobodys_culprit(culprits):
    for _ in range(30):
        culprits.calm(CALM)
    assert culprits.name([part("disk")], CALM, 1) == ()


def test_a_unit_that_is_new_used_to_take_nothing(culprits):
    for _ in range(30):
        culprits.calm(CALM)
    now = units({"new.service": {CPU: 0.9}, "db.service": {CPU: 0.1}}, {CPU: 2.0})
    assert culprits.name([part("load")], now, 1) == (Culprit("new.service", "", CPU, 0.9, 0.0),)


def test_who_fills_a_resource_is_named_by_units_alone_and_nobody_without_growth_or_units(culprits):
    for _ in range(30):
        culprits.calm(CALM)
    now = units({"db.service": {WRITES: 0.71}, "log.service": {WRITES: 0.29}}, {WRITES: 5e7, CPU: 0.2})
    (found,) = culprits.taking(WRITES, now)
    assert (found.unit, found.process, found.share) == ("db.service", "", 0.71)
    assert culprits.taking(WRITES, CALM) == culprits.taking(WRITES, None) == ()


def test_before_anything_is_usual_only_a_clear_majority_is_named(culprits):
    most, some = (units({"a.service": {CPU: share}}, {CPU: 2.0}) for share in (0.8, 0.4))
    (found,) = culprits.name([part("cpu")], most, 1)
    assert (found.unit, found.share) == ("a.service", 0.8)
    assert math.isnan(found.usual)
    assert culprits.name([part("cpu")], some, 2) == ()


def test_the_foremost_contributor_decides_who_comes_first(culprits):
    for _ in range(30):
        culprits.calm(units({"a.service": {CPU: 0.1, MEMORY: 0.1}}, {CPU: 0.1, MEMORY: 1e9}))
    now = units({"a.service": {CPU: 0.9}, "b.service": {MEMORY: 0.5}}, {CPU: 2.0, MEMORY: 1e9})
    for first, second in (("cpu", "memory"), ("memory", "cpu")):
        found = culprits.name([part(second, 5.0), part(first, 9.0), part("swap", 20.0)], now, 1)
        assert [who.unit for who in found] == [{"cpu": "a.service", "memory": "b.service"}[f] for f in (first, second)]


@pytest.mark.parametrize(
    ("signal", "resource"),
    [("pressure.cpu_some", CPU), ("pressure.memory_full", MEMORY), ("pressure.io_some", WRITES)],
)
def test_pressure_asks_for_its_resource(culprits, signal, resource):
    now = units({"a.service": {resource: 0.9}}, {resource: 2.0})
    assert [who.resource for who in culprits.name([part("pressure", signal=signal)], now, 1)] == [resource]


def test_under_pressure_who_takes_and_who_waits_are_named(culprits):
    """The victim is not who did it, and waits far longer than it used to."""
    calm = {"db.service": {DISK_WAIT: 0.01}, "old.service": {DISK_WAIT: 0.5}, "backup.service": {}}
    for _ in range(30):
        culprits.calm(units(calm, {WRITES: 1e5, DISK_WAIT: 1.0}))
    now = units(
        {
            "backup.service": {WRITES: 0.9, DISK_WAIT: 0.8},
            "db.service": {WRITES: 0.1, DISK_WAIT: 0.4},
            "old.service": {DISK_WAIT: 0.55},
        },
        {WRITES: 5e7, DISK_WAIT: 1.0},
    )
    found = culprits.name([part("pressure", signal="pressure.io_full")], now, 1)
    assert found == (
        Culprit("backup.service", "", WRITES, 0.9, 0.0),
        Culprit("db.service", "", DISK_WAIT, 0.4, pytest.approx(0.01), pytest.approx(40)),
    )
    assert [who.resource for who in culprits.name([part("disk")], now, 2)] == [WRITES]  # no pressure, no victim
    nobody = units({"db.service": {DISK_WAIT: 0.05}}, {WRITES: 0.0, DISK_WAIT: 1.0})
    assert culprits.name([part("pressure", signal="pressure.io_full")], nobody, 3) == ()


def test_the_processes_of_the_unit_that_grew_are_looked_at_first(proc, tmp_path, slow_clock):
    """The oldest process of a hundred, of which a scan sees some forty."""
    group = tmp_path / "old.service"
    (group / "inside").mkdir(parents=True)
    (group / "inside" / "cgroup.procs").write_text("1\n")
    culprits = Culprits(ProcessScan(proc.top, 0.022))
    now = UnitRound({"old.service": {CPU: 0.9}, "web.service": {CPU: 0.1}}, {CPU: 2.0}, {"old.service": group})
    for second in (1, 2):
        for pid in range(1, 101):
            cgroup = "/system.slice/old.service/inside" if pid == 1 else "/system.slice/web.service"
            proc.set(pid, f"p{pid}", ticks=100 * second if pid == 1 else 0, cgroup=cgroup)
        found = culprits.name([part("cpu")], now, second * 10**9)
    assert [(who.unit, who.process) for who in found] == [("old.service", "p1")]


def test_without_units_a_process_may_be_named(proc, culprits):
    for second, ticks in ((1, 0), (2, 150)):
        proc.set(7, "yes", ticks=ticks)
        proc.set(8, "sleep", ticks=ticks // 100)
        found = culprits.name([part("cpu")], None, second * 10**9)
    assert [(who.unit, who.process, who.resource) for who in found] == [("", "yes", CPU)]
    assert found[0].share == pytest.approx(150 / 151)


def test_where_units_tell_nothing_of_a_resource_a_process_may(proc, culprits):
    """Beside version 1 only the processor is counted by unit."""
    now = units({"a.service": {CPU: 0.1}}, {CPU: 2.0})
    proc.set(7, "big", pages=900)
    proc.set(8, "small", pages=100)
    assert culprits.name([part("memory")], now, 1) == (
        Culprit("", "big", MEMORY, 0.9, pytest.approx(math.nan, nan_ok=True)),
    )


@given(st.lists(st.dictionaries(st.sampled_from("abcdefgh"), st.floats(0, 1)), min_size=20, max_size=60))
def test_what_is_usual_lies_within_what_was_seen(rounds):
    usual = UsualUse()
    for one in rounds:
        usual.learn(units({unit: {CPU: share} for unit, share in one.items()}, {CPU: 2.0}))
    for unit in "abcdefgh":
        seen = [one.get(unit, 0.0) for one in rounds]
        assert min(seen) - 1e-9 <= usual.share(unit, CPU) <= max(seen) + 1e-9
        assert usual.amount(unit, CPU) == pytest.approx(2 * usual.share(unit, CPU))
        assert usual.share(unit, CPU) == pytest.approx(sum(seen) / len(seen))


def test_the_memory_is_bounded():
    usual = UsualUse()
    for number in range(3 * _MOST_UNITS):
        usual.learn(units({f"u{number}": {CPU: 0.1}, "big": {CPU: 0.9}}, {CPU: 1.0}))
    assert len(usual._shares) <= _MOST_UNITS
    assert usual.share("big", CPU) == pytest.approx(0.9)


def test_a_missing_total_teaches_nothing():
    usual = UsualUse()
    for _ in range(30):
        usual.learn(units({"a": {CPU: 0.5}}, {CPU: math.nan}))
    assert math.isnan(usual.share("a", CPU))


def test_what_is_usual_outlasts_a_restart():
    usual = UsualUse()
    for _ in range(30):
        usual.learn(CALM)
    again = UsualUse()
    again.take_up(usual.to_json())
    assert again.share("db.service", WRITES) == usual.share("db.service", WRITES)
    assert again.to_json() == usual.to_json()
    for wrong in ("", "[]", "{}", '{"rounds": {"x": 1}, "shares": {}, "amounts": {}}',
                  '{"rounds": {}, "shares": {"a": {}}, "amounts": {}}'):  # fmt: skip
        with pytest.raises(ValueError, match=r"\S"):
            again.take_up(wrong)
    assert again.to_json() == usual.to_json()


# The scan


def test_the_top_five_and_their_units(proc):
    scan = ProcessScan(proc.top, 1.0)
    for second in (1, 2):
        for pid in range(10, 20):
            proc.set(pid, f"p{pid}", ticks=pid * second, pages=pid, cgroup=f"/system.slice/s{pid}.service/deep")
        found = scan.scan(second * 10**9)
    assert found.complete == {CPU, MEMORY, READS, WRITES, Resource.DESCRIPTORS}
    assert (found.looked, found.processes) == (10, 10)
    assert [one.name for one in found.top[CPU]] == ["p19", "p18", "p17", "p16", "p15"]
    assert found.top[CPU][0].unit == "s19.service"
    assert found.top[CPU][0].amount == pytest.approx(19 / os.sysconf("SC_CLK_TCK"))
    assert found.top[MEMORY][0].share == pytest.approx(19 / sum(range(10, 20)))
    assert found.top[WRITES] == ()


def test_the_first_scan_knows_no_rates_and_neither_does_one_after_calm(proc):
    scan = ProcessScan(proc.top, 1.0)
    proc.set(7, ticks=10)
    assert scan.scan(1).top[CPU] == ()
    proc.set(7, ticks=30)
    scan.forget()
    assert scan.scan(2).top[CPU] == ()


def test_a_number_that_is_given_again_is_another_process(proc):
    scan = ProcessScan(proc.top, 1.0)
    proc.set(7, ticks=10)
    scan.scan(10**9)
    proc.set(7, ticks=5000, started=9)
    assert scan.scan(2 * 10**9).top[CPU] == ()


@pytest.mark.parametrize("name", ["a b) (c", "", "tab\there", "\\", "Ω"])
def test_a_name_may_be_anything(proc, name):
    scan = ProcessScan(proc.top, 1.0)
    proc.set(7, name)
    (found,) = scan.scan(1).top[MEMORY]
    assert found.name.isprintable()
    assert found.name


def test_what_is_not_understood_is_passed_over(proc):
    proc.set(7)
    (proc.top / "8").mkdir()
    (proc.top / "9").mkdir()
    (proc.top / "9" / "stat").write_text("nonsense")
    assert [one.name for one in ProcessScan(proc.top, 1.0).scan(1).top[MEMORY]] == ["sleep"]


def test_it_stops_when_its_budget_is_over_and_goes_on_there(proc, slow_clock):
    for pid in range(1, 101):
        proc.set(pid, f"p{pid}", pages=pid)
    scan = ProcessScan(proc.top, 0.022)
    found = scan.scan(1)
    assert 40 <= found.looked < 50
    assert found.processes == 100
    assert not found.complete
    assert [one.name for one in found.top[MEMORY]] == ["p100", "p99", "p98", "p97", "p96"]  # the newest came first
    proc.set(1, "p1", pages=1000)  # the oldest is the last to be seen
    for now in (2, 3):
        assert found.top[MEMORY][0].name != "p1"
        found = scan.scan(now)
    assert MEMORY in found.complete
    assert found.top[MEMORY][0].name == "p1"


def test_who_was_running_is_looked_at_again_before_the_others(proc, slow_clock):
    scan = ProcessScan(proc.top, 0.022)
    for second in range(1, 5):
        for pid in range(1, 101):
            proc.set(pid, f"p{pid}", ticks=100 * second if pid == 1 else 0, state="R" if pid == 1 else "S")
        found = scan.scan(second * 10**9)
    assert [one.name for one in found.top[CPU]] == ["p1"]  # first seen by the third scan


def test_of_a_young_process_its_life_is_the_measure(proc):
    hertz = os.sysconf("SC_CLK_TCK")
    proc.set(7, "old", ticks=10**6)
    proc.set(8, "young", ticks=10 * hertz, started=int((time.clock_gettime(time.CLOCK_BOOTTIME) - 20) * hertz))
    found = ProcessScan(proc.top).scan(1)
    assert [(one.name, one.amount) for one in found.top[CPU]] == [("young", pytest.approx(0.5, abs=0.05))]
    assert CPU not in found.complete  # of the other nothing is known yet


def test_without_the_right_to_see_others_traffic_no_share_of_it_is_known(proc, monkeypatch):
    """What is known of our own processes alone would name ourselves."""
    read = process_scan.read_whole

    def refused(path, root):
        if path == "8/io":
            raise PermissionError
        return read(path, root)

    monkeypatch.setattr(process_scan, "read_whole", refused)
    scan = ProcessScan(proc.top, 1.0)
    for second in (1, 2):
        proc.set(8, "theirs", written=second * 10**9, ticks=second)
        proc.set(9, "ours", written=second * 100)
        found = scan.scan(second * 10**9)
    assert WRITES not in found.complete
    assert Culprits(scan).name([part("disk")], None, 3 * 10**9) == ()


def test_the_traffic_of_the_idle_need_not_be_asked_for(proc, slow_clock):
    """Of eight processes there is time to ask four: the busy one, and three that are as idle as the rest."""
    scan = ProcessScan(proc.top, 0.022)
    for second in (1, 2, 3):
        for pid in range(1, 25):
            busy = pid == 3
            proc.set(pid, f"p{pid}", ticks=50 * second * busy, written=10**6 * second * busy)
        found = scan.scan(second * 10**9)
    assert WRITES in found.complete
    assert [(one.name, one.share) for one in found.top[WRITES]] == [("p3", 1.0)]


def test_who_has_gone_is_forgotten(proc):
    scan = ProcessScan(proc.top, 1.0)
    proc.set(7, "short")
    proc.set(8, "long")
    scan.scan(1)
    shutil.rmtree(proc.top / "7")
    found = scan.scan(2)
    assert [one.name for one in found.top[MEMORY]] == ["long"]
    assert found.top[MEMORY][0].share == 1.0


def test_the_real_proc_shows_who_is_busy():
    burner = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        scan = ProcessScan(Path("/proc"), 1.0)
        scan.scan(time.monotonic_ns())
        time.sleep(0.5)
        found = scan.scan(time.monotonic_ns())
    finally:
        burner.kill()
        burner.wait()
    assert any(one.name.startswith("python") for one in found.top[CPU])
    assert found.top[MEMORY]


_SLEEPERS = """
import os, signal, sys
for _ in range(int(sys.argv[1])):
    if os.fork() == 0:
        os.close(0)
        signal.pause()
print("ready", flush=True)
sys.stdin.read()
os.killpg(0, signal.SIGKILL)
"""


@pytest.mark.parametrize("count", [100, 300, 1000])
def test_a_real_scan_keeps_to_its_budget_and_sees_everybody_in_turn(count):
    """Printed; the bound on the time is twice the budget, for machines with other work."""
    sleepers = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _SLEEPERS, str(count)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        process_group=0,
    )
    try:
        assert sleepers.stdout.readline() == b"ready\n"
        scan, looked, seconds = ProcessScan(Path("/proc")), [], []
        complete_after = None
        for number in range(1, 301):
            began = time.thread_time()
            found = scan.scan(time.monotonic_ns())
            seconds.append(time.thread_time() - began)
            looked.append(found.looked)
            if {CPU, MEMORY} <= found.complete:
                complete_after = number
                break
    finally:
        sleepers.communicate()
    print(
        f"{found.processes} processes: first scan {seconds[0] * 1e3:.1f} ms, "
        f"median {statistics.median(seconds) * 1e3:.1f} ms, "
        f"{statistics.median(looked):.0f} looked at in one, all known after {complete_after}"
    )
    assert statistics.median(seconds) < 2 * BUDGET_SECONDS
    assert complete_after is not None
