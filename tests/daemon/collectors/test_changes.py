import os
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.collectors.base import HostPaths, Noticed, Notices
from daemon.collectors.changes import MAX_ROUND, ChangesCollector
from daemon.collectors.package_log import LOGS, PackageLogs, _parsed
from detectors.findings import ChangeKind

MOUNTINFO = "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n"


@pytest.fixture
def host(tree):
    tree.write("proc/1/mountinfo", MOUNTINFO)
    for name in ("sda", "loop0"):
        (tree.top / "sys/block" / name).mkdir(parents=True)
    for name in ("lo", "eth0"):
        (tree.top / "sys/class/net" / name).mkdir(parents=True)
    return tree


@pytest.fixture
def collector(host):
    collector = ChangesCollector(paths=host.paths)
    yield collector
    collector.close()


def noticed(collector):
    assert collector.collect(0) == ()
    return [(one.kind, one.text) for one in collector.notices()]


def stamp(seconds):
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def append(path, text):
    with path.open("a") as file:
        file.write(text)


def test_what_was_there_is_no_news(collector):
    assert isinstance(collector, Notices)
    assert noticed(collector) == []
    assert noticed(collector) == []


def test_mounts_disks_and_interfaces_come_and_go(host, collector):
    noticed(collector)
    host.write("proc/1/mountinfo", MOUNTINFO + "30 22 8:17 / /srv/a\\040b rw - xfs /dev/sdb1 rw\n")
    for name in ("sdb", "loop1"):
        (host.top / "sys/block" / name).mkdir()
    for name in ("veth12", "wg0"):
        (host.top / "sys/class/net" / name).mkdir()
    assert noticed(collector) == [
        (ChangeKind.MOUNT, "/srv/a b was mounted"),
        (ChangeKind.DEVICE, "the disk sdb appeared"),
        (ChangeKind.INTERFACE, "the interface wg0 appeared"),
    ]
    host.write("proc/1/mountinfo", MOUNTINFO)
    (host.top / "sys/block/sdb").rmdir()
    (host.top / "sys/class/net/wg0").rmdir()
    assert [text for _, text in noticed(collector)] == [
        "/srv/a b was unmounted", "the disk sdb disappeared", "the interface wg0 disappeared",
    ]  # fmt: skip
    assert noticed(collector) == []


def test_a_timer_that_ran(host, collector):
    daily = host.write("root/var/lib/systemd/timers/stamp-backup.timer", "")
    host.write("root/var/lib/systemd/timers/other", "")
    assert noticed(collector) == []
    os.utime(daily, ns=(1, 1))
    assert noticed(collector) == [(ChangeKind.TIMER, "backup.timer ran")]
    assert noticed(collector) == []
    os.utime(daily, ns=(2, 2))
    collector.collect(0)
    assert [one.began for one in collector.notices()] == ["backup.service"]


def test_one_tick_tells_a_bounded_number(host, collector):
    noticed(collector)
    for number in range(300):
        (host.top / "sys/block" / f"sd{number}").mkdir()
    assert len(noticed(collector)) == MAX_ROUND


def test_packages_of_dpkg(host, collector):
    now = time.time()
    log = host.write(
        "root/var/log/dpkg.log",
        f"{stamp(now - 9000)} upgrade old:amd64 1 2\n{stamp(now - 600)} startup archives unpack\n"
        f"{stamp(now - 600)} upgrade postgresql-16:amd64 16.1 16.2\n{stamp(now - 599)} status unpacked postgresql-16\n"
        f"{stamp(now - 598)} upgrade libpq5:amd64 16.1 16.2\n{stamp(now - 500)} install htop:amd64 <none> 3\n",
    )
    collector.collect(0)
    first = collector.notices()
    assert [one.text for one in first] == ["dpkg upgraded postgresql-16 and 1 more", "dpkg installed htop"]
    assert first[0].time_ms == (int(now) - 598) * 1000
    append(log, f"{stamp(now)} remove htop:amd64 3")
    assert noticed(collector) == []  # the line is not whole yet
    append(log, " <none>\n")
    assert noticed(collector) == [(ChangeKind.PACKAGE, "dpkg removed htop")]
    log.rename(log.with_suffix(".1"))
    host.write("root/var/log/dpkg.log", f"{stamp(now)} purge a:all 3 <none>\n")
    assert noticed(collector) == [(ChangeKind.PACKAGE, "dpkg removed a")]
    host.write("root/var/log/dpkg.log", "")
    host.write("root/var/log/dpkg.log", f"{stamp(now)} install b:all\n")  # shorter than before: read from its start
    assert noticed(collector) == [(ChangeKind.PACKAGE, "dpkg installed b")]


@pytest.mark.parametrize(
    ("place", "lines", "texts"),
    [
        ("dnf.rpm.log", "2026-03-01T06:00:00+0000 SUBDEBUG Upgrade: postgresql-server-16.2-1.fc40.x86_64\n"
         "2026-03-01T06:00:01+0000 SUBDEBUG Upgraded: postgresql-server-16.1-1.fc40.x86_64\n"
         "2026-03-01T06:00:02Z INFO Installed: htop-3-1.x86_64\n",
         ["dnf upgraded postgresql-server", "dnf installed htop"]),
        ("yum.log", "Mar 01 06:00:00 Updated: 1:nginx-1.20-1.el7.x86_64\nFeb 30 06:00:00 Erased: a-1-1.x\n",
         ["yum upgraded nginx"]),
        ("pacman.log", "[2026-03-01T06:00:00+0000] [ALPM] upgraded linux (6.1 -> 6.2)\n"
         "[2026-03-01T06:00:00+0000] [PACMAN] Running 'pacman -Syu'\n", ["pacman upgraded linux"]),
    ],
)  # fmt: skip
def test_packages_of_others(host, place, lines, texts):
    log = host.write(f"root/var/log/{place}", "")
    logs = PackageLogs(host.paths.root)
    assert list(logs.new()) == []
    append(log, lines)
    assert [one.text for one in logs.new()] == texts


def test_of_a_huge_log_only_the_end_is_read(host):
    now = time.time()
    line = f"{stamp(now)} status half-configured x\n"
    host.write(
        "root/var/log/dpkg.log", f"{stamp(now)} install lost:all\n" + line * 20_000 + f"{stamp(now)} install a:all\n"
    )
    assert [one.text for one in PackageLogs(host.paths.root).new()] == ["dpkg installed a"]


@given(st.text(max_size=80), st.sampled_from(LOGS))
def test_no_line_breaks_the_reading(text, log):
    _parsed(log[2], text)
    _parsed(log[2], f"2026-99-99 99:99:99 install {text}")


@given(st.binary(max_size=400))
def test_no_log_breaks_the_reading(tmp_path_factory, content):
    root = tmp_path_factory.mktemp("root")
    (root / "var/log").mkdir(parents=True)
    for _, place, _ in LOGS:
        (root / place).write_bytes(content)
    assert all(isinstance(one, Noticed) for one in PackageLogs(root).new())


def test_on_this_host():
    collector = ChangesCollector(paths=HostPaths())
    collector.collect(0)
    collector.notices()
    seconds = []
    for _ in range(20):
        began = time.perf_counter()
        collector.collect(0)
        seconds.append(time.perf_counter() - began)
    print(f"changes: median {sorted(seconds)[10] * 1e3:.2f} ms")
    assert sorted(seconds)[10] < 0.01
    collector.close()
