from math import isnan

import pytest

from daemon.collectors.disk import DiskCollector
from daemon.collectors.disk_name import lasting_names
from daemon.errors import CollectorError, NotAvailable


def line(name, *, reads=10, sectors_read=100, read_ms=20, writes=5, sectors_written=50, write_ms=10, busy_ms=25):
    return (
        f"   8       0 {name} {reads} 1 {sectors_read} {read_ms} {writes} 2 {sectors_written} {write_ms} 0 {busy_ms} 30"
        " 0 0 0 0 0 0\n"
    )


@pytest.fixture
def build(tree):
    built = []

    def build(**arguments):
        built.append(DiskCollector(paths=tree.paths, gap_seconds=60, **arguments))
        return built[-1]

    yield build
    for collector in built:
        collector.close()


def add_disk(tree, name, **files):
    tree.write(f"sys/block/{name}/size", "1\n")
    for place, content in files.items():
        tree.write(f"sys/block/{name}/{place.replace('__', '/')}", content)


def test_known_counters_give_exact_values_under_the_serial(tree, build):
    add_disk(tree, "sda", device__serial="  WD-Abc 123 \n")
    tree.write("proc/diskstats", line("sda"))
    disk = build()
    assert all(map(isnan, tree.values(disk, 100).values()))
    later = {"reads": 40, "sectors_read": 700, "read_ms": 320, "writes": 20, "sectors_written": 1250}
    tree.write("proc/diskstats", line("sda", **later, write_ms=1510, busy_ms=15025))
    assert tree.values(disk, 130) == pytest.approx(
        {
            "disk.wd-abc_123.read_bytes_per_second": 600 * 512 / 30,
            "disk.wd-abc_123.write_bytes_per_second": 1200 * 512 / 30,
            "disk.wd-abc_123.reads_per_second": 1.0,
            "disk.wd-abc_123.writes_per_second": 0.5,
            "disk.wd-abc_123.read_await_seconds": 0.01,
            "disk.wd-abc_123.write_await_seconds": 0.1,
            "disk.wd-abc_123.busy": 0.5,
        }
    )
    assert disk.aliases == {"WD-Abc_123": "sda"}


def test_partitions_loops_and_idle_disks_give_nothing(tree, build):
    for name in ("sda", "loop0", "ram0", "zram0", "sr0", "sdb"):
        add_disk(tree, name)
    tree.write("sys/class/block/sda1/partition", "1\n")
    names = ("sda", "sda1", "loop0", "ram0", "zram0", "sr0")
    tree.write("proc/diskstats", "".join(map(line, names)) + line("sdb", reads=0, writes=0))
    disk = build()
    tree.values(disk, 100)
    tree.values(disk, 130)
    assert disk.aliases == {"sda": "sda"}


def test_a_reboot_that_swaps_kernel_names_keeps_the_identity(tree, build):
    add_disk(tree, "sda", device__wwid="naa.5000")
    add_disk(tree, "sdb", device__wwid="naa.6000")
    tree.write("proc/diskstats", line("sda") + line("sdb"))
    before = build()
    tree.values(before, 100)
    tree.write("sys/block/sda/device/wwid", "naa.6000")
    tree.write("sys/block/sdb/device/wwid", "naa.5000")
    after = build()
    tree.values(after, 100)
    assert before.aliases == {"naa.5000": "sda", "naa.6000": "sdb"}
    assert after.aliases == {"naa.5000": "sdb", "naa.6000": "sda"}


def test_a_removed_disk_gives_nothing_and_another_under_its_name_starts_anew(tree, build):
    add_disk(tree, "sda", serial="old")
    add_disk(tree, "sdb", serial="stays")
    tree.write("proc/diskstats", line("sda") + line("sdb"))
    disk = build()
    tree.values(disk, 100)
    tree.write("proc/diskstats", line("sdb"))
    assert {name.split(".")[1] for name in tree.values(disk, 130)} == {"stays"}
    tree.write("sys/block/sda/serial", "new")
    tree.write("proc/diskstats", line("sda") + line("sdb"))
    values = tree.values(disk, 160)
    assert isnan(values["disk.new.reads_per_second"])
    assert values["disk.stays.reads_per_second"] == 0.0


def test_a_swap_between_two_ticks_is_noticed_by_counters_that_fall(tree, build):
    add_disk(tree, "sda", serial="old")
    tree.write("proc/diskstats", line("sda", reads=1000))
    disk = build()
    tree.values(disk, 100)
    tree.write("sys/block/sda/serial", "new")
    tree.write("proc/diskstats", line("sda", reads=3))
    assert all(map(isnan, tree.values(disk, 130).values()))
    assert disk.aliases == {"new": "sda"}


def test_a_wrapped_counter_is_missing_and_the_others_stay(tree, build):
    add_disk(tree, "sda")
    tree.write("proc/diskstats", line("sda", busy_ms=2**32 - 10))
    disk = build()
    tree.values(disk, 100)
    tree.write("proc/diskstats", line("sda", reads=70, busy_ms=500))
    values = tree.values(disk, 130)
    assert isnan(values["disk.sda.busy"])
    assert values["disk.sda.reads_per_second"] == 2.0


def test_two_disks_of_one_serial_are_told_apart(tree, build):
    add_disk(tree, "nvme0n1", device__serial="S1", wwid="eui.1")
    add_disk(tree, "nvme0n2", device__serial="S1", wwid="eui.2")
    add_disk(tree, "sda", device__wwid="naa.1")
    add_disk(tree, "sdb", device__wwid="naa.1")
    tree.write("proc/diskstats", "".join(map(line, ("nvme0n1", "nvme0n2", "sda", "sdb"))))
    disk = build()
    tree.values(disk, 100)
    assert disk.aliases == {"eui.1": "nvme0n1", "eui.2": "nvme0n2", "naa.1": "sda", "sdb": "sdb"}


def test_exclusions_hold_for_kernel_and_lasting_names(tree, build):
    for name in ("sda", "sdb", "dm-0"):
        add_disk(tree, name)
    tree.write("sys/block/dm-0/dm/name", "vg-scratch\n")
    tree.write("proc/diskstats", "".join(map(line, ("sda", "sdb", "dm-0"))))
    disk = build(exclude=("sdb", "vg-*"))
    tree.values(disk, 100)
    assert disk.aliases == {"sda": "sda"}


def test_disks_beyond_the_bound_are_counted(tree, build):
    names = [f"sd{n}" for n in range(70)]
    for name in names:
        add_disk(tree, name)
    tree.write("proc/diskstats", "".join(map(line, names)))
    disk = build()
    assert len(tree.values(disk, 100)) == 64 * 7
    assert disk.dropped_disks == 6


def test_names_come_from_device_mapper_page_83_and_a_folder_with_a_bang(tree):
    add_disk(tree, "dm-0", dm__name="vg-root\n", serial="x")
    assert lasting_names(tree.paths.sys, "dm-0")[0] == "vg-root"
    port = bytes([0x61, 0x93, 0, 8]) + bytes(8)  # association 1: the port's name must not be taken
    unit = bytes([0x01, 0x03, 0, 8]) + bytes.fromhex("5000c500a1b2c3d4")
    add_disk(tree, "cciss!c0d0", device__vpd_pg83=bytes([0, 0x83, 0, 24]) + port + unit)
    assert lasting_names(tree.paths.sys, "cciss/c0d0") == ["naa.5000c500a1b2c3d4"]
    add_disk(tree, "sdz", device__vpd_pg83=b"\x00\x83\x00\x18\x01")
    assert lasting_names(tree.paths.sys, "sdz") == []


def test_a_source_that_vanishes_or_makes_no_sense_is_said(tree, build):
    with pytest.raises(NotAvailable):
        build().collect(0)
    tree.write("proc/diskstats", "8 0 sda one two\n")
    with pytest.raises(CollectorError, match="diskstats: not understood"):
        build().collect(0)
