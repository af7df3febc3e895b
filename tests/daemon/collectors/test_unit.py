import math
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.collectors.base import HostPaths
from daemon.collectors.unit import MAX_UNITS, REST, RESTARTS, SHOWN_UNITS, UnitCollector
from daemon.collectors.unit_name import cgroup_path, is_group, name_of, unit_of
from daemon.errors import CollectorError, NotAvailable
from detectors.findings import WAITS, Resource

ID = "3f2a91bc77de" + "0" * 52
POD = "pod0a1b2c3d-0000-1111-2222-333344445555"


class Groups:
    """A cgroup 2 tree of our own."""

    def __init__(self, tree):
        self.tree = tree
        self.top = tree.top / "sys/fs/cgroup"
        tree.write("sys/fs/cgroup/cgroup.controllers", "cpu io memory\n")
        tree.write("proc/meminfo", "MemTotal:       1000 kB\nMemFree: 1 kB\n")

    def set(self, path, *, cpu=0.0, memory=0, read=0, written=0, kills=0):
        text = f"usage_usec {int(cpu * 1e6)}\nuser_usec 1\nsystem_usec 2\n"
        self.tree.write(f"sys/fs/cgroup/{path}/cpu.stat", text)
        self.tree.write(f"sys/fs/cgroup/{path}/memory.current", f"{memory}\n")
        io = f"8:0 rbytes={read} wbytes={written} rios=1 wios=1 dbytes=0 dios=0\n8:16 rbytes=0 wbytes=0 rios=0 wios=0\n"
        self.tree.write(f"sys/fs/cgroup/{path}/io.stat", io)
        self.tree.write(f"sys/fs/cgroup/{path}/memory.events", f"low 0\nmax 0\noom 0\noom_kill {kills}\n")

    def wait(self, path, **shares):
        for name, share in shares.items():
            for kind in ("some", "full"):
                avg = f"avg10={100 * share if kind == 'some' else 1:.2f} avg60=3.00 avg300=2.00 total=12345"
                mode = "w" if kind == "some" else "a"
                where = f"{self.top}/{path}/{name}.pressure" if path else f"{self.tree.paths.proc}/pressure/{name}"
                Path(where).parent.mkdir(parents=True, exist_ok=True)
                with Path(where).open(mode) as file:
                    file.write(f"{kind} {avg}\n")

    def remove(self, path):
        folder = self.top / path
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()


@pytest.fixture
def groups(tree):
    return Groups(tree)


@pytest.fixture
def collector(tree):
    collector = UnitCollector(paths=tree.paths, gap_seconds=60.0)
    yield collector
    collector.close()


def test_shares_of_the_hosts_use(groups, collector):
    for second, cpu, read, written in ((0, 0.0, 0, 0), (10, 6.0, 500, 7_100)):
        groups.set("system.slice", cpu=cpu + second * 0.2, read=read * 2, written=written + second * 290)
        groups.set("system.slice/db.service", cpu=cpu, memory=512_000, read=read, written=written)
        groups.set("system.slice/web.service", cpu=second * 0.1, memory=102_400, read=0, written=second * 145)
        assert [spec for spec, _ in collector.collect(second * 10**9)] == [RESTARTS]
    shares, totals = collector.latest.shares, collector.latest.totals
    assert shares["db.service"][Resource.CPU] == pytest.approx(0.75)
    assert shares["db.service"][Resource.MEMORY] == 0.5
    assert shares["db.service"][Resource.READS] == 0.5
    assert shares["db.service"][Resource.WRITES] == pytest.approx(0.71)
    assert shares["web.service"][Resource.WRITES] == pytest.approx(0.145)
    assert shares[REST][Resource.CPU] == pytest.approx(0.125)
    assert totals[Resource.CPU] == pytest.approx(0.8)
    assert totals[Resource.WRITES] == 1000.0


def test_a_slice_that_has_just_come_takes_nothing_from_the_others(groups, collector):
    for second, cpu in ((0, 0.0), (10, 6.0), (20, 12.0)):
        groups.set("system.slice", cpu=cpu)
        groups.set("system.slice/db.service", cpu=cpu)
        if second == 20:
            groups.set("machine.slice", cpu=3.0)
        collector.collect(second * 10**9)
    assert collector.latest.totals[Resource.CPU] == pytest.approx(0.6)
    assert collector.latest.shares["db.service"][Resource.CPU] == pytest.approx(1.0)


def test_where_nothing_is_used_nobody_has_a_share(groups, collector):
    for second in (0, 10):
        groups.set("system.slice")
        groups.set("system.slice/db.service")
        collector.collect(second * 10**9)
    assert collector.latest.shares["db.service"][Resource.CPU] == 0.0


def test_slices_engines_and_users_are_walked_and_services_are_not(groups, collector):
    for path in (
        "init.scope",
        "system.slice/ssh.service/payload/deep.service",
        f"system.slice/docker-{ID}.scope",
        f"docker/{ID}",
        f"kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1.slice/cri-containerd-{ID}.scope",
        f"kubepods/besteffort/{POD}/{ID}",
        "user.slice/user-1000.slice/session-3.scope",
        "user.slice/user-1000.slice/user@1000.service/app.slice/app-editor.service",
    ):
        groups.set(path)
    collector.collect(0)
    assert set(collector.latest.shares) - {REST} == {
        "init.scope", "ssh.service", "docker 3f2a91bc77de", "cri-containerd 3f2a91bc77de", "container 3f2a91bc77de",
        "session-3.scope", "app-editor.service",
    }  # fmt: skip


def test_the_twenty_that_take_most_are_told_and_the_rest_is_one(groups, collector):
    for second in (0, 10):
        groups.set("system.slice", cpu=second * 6.0)
        for number in range(60):
            groups.set(f"system.slice/s{number}.service", cpu=second * number / 300)
        collector.collect(second * 10**9)
    names = set(collector.latest.shares) - {REST}
    assert names == {f"s{number}.service" for number in range(60 - SHOWN_UNITS, 60)}
    told = sum(collector.latest.shares[name][Resource.CPU] for name in names)
    assert collector.latest.shares[REST][Resource.CPU] == pytest.approx(1 - told)


def test_how_long_each_unit_waits_is_asked_when_the_host_waits(groups, collector):
    groups.set("system.slice/db.service")
    groups.set("system.slice/web.service")
    groups.wait("system.slice/db.service", cpu=0.2, memory=0.1, io=0.4)
    groups.wait("system.slice/web.service", io=0.02)
    groups.wait("", cpu=0.04, memory=0.3, io=0.5)
    collector.collect(0)
    db, web, rest = (collector.latest.shares[name] for name in ("db.service", "web.service", REST))
    assert [db[wait] for wait in WAITS] == [0.0, 0.1, 0.4]  # the host hardly waits for a processor
    assert web[Resource.DISK_WAIT] == 0.02
    assert math.isnan(web[Resource.MEMORY_WAIT])  # nothing tells of it
    assert not set(rest) & set(WAITS)
    assert [collector.latest.totals[wait] for wait in WAITS] == [1.0] * 3
    groups.wait("system.slice/db.service", io=0.9)
    collector.collect(10**9)
    assert collector.latest.shares["db.service"][Resource.DISK_WAIT] == 0.9


def test_without_pressure_in_the_kernel_nobody_waits(groups, collector):
    groups.set("system.slice/db.service")
    collector.collect(0)
    assert not set(collector.latest.totals) & set(WAITS)
    assert not set(collector.latest.shares["db.service"]) & set(WAITS)


def test_a_unit_that_waits_long_is_among_the_twenty(groups, collector):
    for second in (0, 10):
        groups.set("system.slice", cpu=second * 6.0)
        for number in range(30):
            groups.set(f"system.slice/s{number}.service", cpu=second * number / 30)
        groups.wait("", io=0.5)
        groups.wait("system.slice/s0.service", io=0.4)
        collector.collect(second * 10**9)
    assert collector.latest.shares["s0.service"][Resource.DISK_WAIT] == 0.4


def test_units_beyond_the_bound_are_counted_and_not_read(groups, collector):
    for number in range(MAX_UNITS + 7):
        groups.set(f"system.slice/s{number}.service")
    collector.collect(0)
    assert len(collector._units) == MAX_UNITS
    assert collector.dropped_units == 7
    groups.set("system.slice/one-more.service")
    for second in range(12):
        collector.collect(second * 10**9)
    assert collector.notices() == []


def test_what_came_went_and_came_back_is_noticed(groups, collector):
    groups.set("system.slice/db.service")
    groups.set("system.slice/web.service")
    collector.collect(0)
    assert collector.notices() == []  # what was there before us did not start now
    groups.set("system.slice/new.service")
    groups.set("user.slice/session-4.scope")
    collector.collect(10**9)
    assert [(one.text, one.began) for one in collector.notices()] == [("new.service started", "new.service")]
    groups.remove("system.slice/new.service")
    (groups.top / "system.slice/web.service").rename(groups.tree.top / "kept")  # its inode is not given again
    groups.set("system.slice/web.service")
    collector.collect(2 * 10**9)
    noticed = collector.notices()
    assert [one.text for one in noticed] == ["new.service stopped", "web.service restarted"]
    assert not any(one.began for one in noticed)  # a service that is restarted is no job that runs
    assert collector.notices() == []


def test_an_oom_kill_is_noticed_with_its_unit(groups, collector):
    for kills in (3, 3, 4, 6):
        groups.set("system.slice", kills=kills + 1)
        groups.set("system.slice/db.service", kills=kills)
        groups.set("system.slice/web.service", kills=1)
        collector.collect(kills * 10**9)
    one, two = collector.notices()
    assert one.text == two.text == "the kernel killed a process of db.service for memory"
    assert [(one.about, one.times), (two.about, two.times)] == [("db.service", 1), ("db.service", 2)]


def test_without_units_there_is_no_such_source(tree, collector):
    with pytest.raises(NotAvailable):
        collector.collect(0)
    tree.write("sys/fs/cgroup/cgroup.controllers", "")
    with pytest.raises(NotAvailable):
        collector.collect(0)


def test_a_unit_that_is_back_at_once_was_restarted_and_one_that_a_timer_starts_was_not(groups, collector, tree):
    def collect(second):
        return tree.values(collector, second)["units.restarts_per_second"]

    groups.set("system.slice/db.service")
    groups.set("system.slice/shop.service")
    assert math.isnan(collect(0))
    groups.remove("system.slice/shop.service")
    assert collect(10) == 0.0
    groups.set("system.slice/shop.service")
    assert collect(20) == 0.1
    groups.remove("system.slice/shop.service")
    assert [collect(second) for second in (30, 40)] == [0.0, 0.0]
    groups.set("system.slice/shop.service")
    assert collect(50) == 0.0
    (groups.top / "system.slice/shop.service").rename(groups.top / "system.slice/old.service")  # it keeps its inode
    groups.set("system.slice/shop.service")
    groups.remove("system.slice/old.service")
    rates = [collect(second) for second in range(60, 170, 10)]  # a walk at the tenth round sees it
    assert sorted(rates) == [0.0] * 10 + [0.1]
    assert sum(one.text == "shop.service restarted" for one in collector.notices()) == 1


def test_when_the_last_unit_goes_the_source_has_not_failed(groups, collector):
    groups.set(f"docker/{ID}")
    collector.collect(0)
    groups.remove(f"docker/{ID}")
    for second in (1, 2, 3):
        assert collector.collect(second * 10**9) == ()
    assert collector.latest is None
    assert [one.text for one in collector.notices()] == ["docker 3f2a91bc77de stopped"]


def test_beside_version_1_the_folder_unified_is_read(tree, collector):
    tree.write("sys/fs/cgroup/unified/system.slice/db.service/cpu.stat", "usage_usec 1\n")
    collector.collect(0)
    assert "db.service" in collector.latest.shares


def test_a_controller_that_is_off_leaves_its_resource_out(tree, groups, collector):
    tree.write("sys/fs/cgroup/system.slice/db.service/cpu.stat", "usage_usec 1\n")
    collector.collect(0)
    assert set(collector.latest.shares["db.service"]) == set(collector.latest.totals) == {Resource.CPU}


def test_what_is_not_understood_is_a_failure(tree, groups, collector):
    groups.set("system.slice/db.service")
    tree.write("sys/fs/cgroup/system.slice/db.service/memory.current", "many\n")
    with pytest.raises(CollectorError):
        collector.collect(0)


def test_descriptors_are_given_back(groups, collector):
    groups.set("system.slice/db.service")
    collector.collect(0)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for second in range(1, 30):
        groups.set(f"system.slice/s{second}.service")
        collector.collect(second * 10**9)
        groups.remove(f"system.slice/s{second}.service")
    collector.collect(31 * 10**9)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    collector.close()
    assert len(list(Path("/proc/self/fd").iterdir())) < before


@pytest.mark.parametrize(
    ("path", "unit"),
    [
        ("/system.slice/postgresql.service", "postgresql.service"),
        ("/system.slice/postgresql.service/worker", "postgresql.service"),
        ("/system.slice/system-getty.slice/getty@tty1.service", "getty@tty1.service"),
        ("/user.slice/user-0.slice/user@0.service/app.slice/dbus.service", "dbus.service"),
        (f"/system.slice/docker-{ID}.scope", "docker 3f2a91bc77de"),
        (f"/machine.slice/libpod-{ID}.scope/container", "podman 3f2a91bc77de"),
        (f"/docker/{ID}", "docker 3f2a91bc77de"),
        (f"/kubepods/burstable/{POD}/{ID}", "container 3f2a91bc77de"),
        ("/system.slice/dev-disk-by\\x2dlabel.swap", "dev-disk-by-label.swap"),
        ("/", ""),
        ("", ""),
        ("/user.slice", ""),
    ],
)
def test_units_of_paths(path, unit):
    assert unit_of(path) == unit


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="/"), min_size=1)))
def test_any_path_gives_a_name_that_can_be_printed(parts):
    name = unit_of("/".join(parts))
    assert name.isprintable()
    assert bool(name) == any(not is_group(part) for part in parts)


@given(st.text())
def test_a_unit_that_can_be_printed_and_is_not_escaped_keeps_its_name(name):
    if name.isprintable() and "\\x" not in name and len(name) < 64:
        assert name_of(name) == name


@pytest.mark.parametrize(
    ("text", "path"),
    [
        (b"0::/system.slice/a.service\n", "/system.slice/a.service"),
        (b"8:pids:/x\n1:name=systemd:/system.slice/a.service\n0::/\n", "/system.slice/a.service"),
        (b"1:name=systemd:/\n0::/\n", "/"),
        (b"0::/../../system.slice/a.service\n", "/system.slice/a.service"),  # from a cgroup namespace of our own
        (b"1:name=systemd:/../../init.scope\n0::/../..\n", "/init.scope"),
        (b"", "/"),
    ],
)
def test_the_path_of_a_process(text, path):
    assert cgroup_path(text) == path


def test_on_this_host():
    collector = UnitCollector(paths=HostPaths(), gap_seconds=60.0)
    try:
        collector.collect(time.monotonic_ns())
        collector.collect(time.monotonic_ns())
    except NotAvailable as error:
        pytest.skip(str(error))
    else:
        for use in collector.latest.shares.values():
            assert all(not 0 > share > 1 for share in use.values())
    finally:
        collector.close()


def test_a_round_over_sixty_units_costs_about_a_millisecond(groups, collector):
    """Printed; the bound is five times the target, for machines with other work."""
    groups.set("system.slice")
    for number in range(60):
        groups.set(f"system.slice/s{number}.service", cpu=number, memory=4096, read=1, written=2)
    seconds = []
    for second in range(100):
        began = time.perf_counter()
        collector.collect(second * 10**9)
        seconds.append(time.perf_counter() - began)
    print(f"60 units: median {statistics.median(seconds) * 1e3:.2f} ms")
    assert statistics.median(seconds) < 0.005


def real_top():
    """Return where this host keeps cgroup version 2."""
    for place in ("/sys/fs/cgroup", "/sys/fs/cgroup/unified"):
        if Path(place, "cgroup.controllers").exists():
            return Path(place)
    return pytest.skip("there is no cgroup version 2 here")


@pytest.mark.skipif(os.geteuid() != 0, reason="control groups of one's own need root")
def test_a_real_unit_waits_for_a_processor():
    """The kernel's own PSI by group, which is there without any controller: beside version 1 too."""
    group = real_top() / f"presaged-busy-{os.getpid()}.service"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"no control group can be made here: {error.strerror}")
    collector = UnitCollector(paths=HostPaths(), gap_seconds=60.0)
    busy = []
    try:
        if not (group / "cpu.pressure").exists() or not Path("/proc/pressure/cpu").exists():
            pytest.skip("this kernel tells no pressure by group")
        for _ in range(2 * (os.cpu_count() or 1)):
            busy.append(subprocess.Popen(["nice", "-n", "19", sys.executable, "-c", "while True: pass"]))
            (group / "cgroup.procs").write_text(str(busy[-1].pid))
        until = time.monotonic() + 15
        waited = 0.0
        while waited < 0.1 and time.monotonic() < until:
            time.sleep(0.5)
            collector.collect(time.monotonic_ns())
            waited = collector.latest.shares.get(group.name, {}).get(Resource.CPU_WAIT, 0.0)
        print(f"{group.name} waits {waited:.0%} of the time for a processor")
        assert 0.1 <= waited <= 1.0
    finally:
        for process in busy:
            process.kill()
            process.wait()
        collector.close()
        group.rmdir()


@pytest.mark.skipif(os.geteuid() != 0, reason="control groups of one's own need root")
def test_a_real_group_that_goes_is_noticed():
    """The kernel's own tree: a descriptor of a group that has gone answers ENODEV."""
    top = real_top()
    group, kept = top / f"presaged-test-{os.getpid()}.service", top / f"presaged-kept-{os.getpid()}.service"
    made = []
    collector = UnitCollector(paths=HostPaths(), gap_seconds=60.0)
    try:
        try:
            for folder in (kept, group):
                folder.mkdir()
                made.append(folder)
        except OSError as error:
            pytest.skip(f"no control group can be made here: {error.strerror}")
        collector.collect(0)
        assert group.name in collector._units
        group.rmdir()
        made.remove(group)
        collector.collect(10**9)
        collector.collect(2 * 10**9)
        assert f"{group.name} stopped" in [one.text for one in collector.notices()]
        assert kept.name in collector._units
    finally:
        collector.close()
        for folder in made:
            folder.rmdir()
