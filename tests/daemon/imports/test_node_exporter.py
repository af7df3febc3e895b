"""Samples that come from node_exporter's series are those that our own collectors would have taken."""

import time

import numpy as np
import pytest
from collected import TOGETHER, collect
from exporter import START_MS, Host
from hypothesis import given
from hypothesis import strategies as st

from daemon.imports.node_exporter import METRICS, convert, names_of_disks
from daemon.imports.table import Series, SeriesKey

ROWS = 300
REBOOT = 170
JIFFIES_OFF = 6 / 3000


@pytest.fixture(scope="module")
def host():
    return Host(7, ROWS, reboots=(REBOOT,), pauses={100: 300, REBOOT: 90, 220: 45}, away=(60, 90))


def test_imported_samples_are_those_of_our_own_collectors(host, tmp_path):
    specs, rows = collect(host, tmp_path, (0, REBOOT))
    table = convert(host.scrapes(), gap_seconds=60.0, names=names_of_disks(tmp_path / "sys"))
    assert {spec.name: spec for spec in table.specs} == specs
    assert table.time_ms.tolist() == host.time_ms.tolist()
    for place, spec in enumerate(table.specs):
        own = np.array([row.get(spec.name, np.nan) for row in rows])
        imported = table.values[:, place]
        assert np.array_equal(np.isnan(own), np.isnan(imported)), spec.name
        off = JIFFIES_OFF if spec.name in TOGETHER else 0
        np.testing.assert_allclose(imported, own, rtol=1e-6, atol=off, err_msg=spec.name)
    assert len(set(table.boot[:REBOOT])) == len(set(table.boot[REBOOT:])) == 1
    assert table.boot[0] != table.boot[-1]


def test_every_series_of_use_is_one_that_the_exporter_exposes(host):
    assert {name for name, _, _ in host.families()} >= METRICS


def gauge(name, values, *, seconds=None, **labels):
    """Return one series as (key, series), a sample every 30 s unless `seconds` says otherwise."""
    seconds = np.arange(len(values)) * 30 if seconds is None else np.array(seconds)
    times = START_MS + np.rint(seconds * 1000).astype(np.int64)
    return SeriesKey(name, tuple(sorted(labels.items()))), Series(times, np.array(values, float))


def converted(*series, **arguments):
    table = convert(dict(series), **{"gap_seconds": 60.0, **arguments})
    return table, {spec.name: table.values[:, place].tolist() for place, spec in enumerate(table.specs)}


def counters(device, prefix="node_disk", values=(1, 2, 3), **labels):
    names = [name for name in METRICS if name.startswith(prefix)]
    return [gauge(name, values, device=device, **labels) for name in names]


def same(values, expected):
    np.testing.assert_array_equal(np.array(values), np.array(expected, np.float32))
    return True


def test_nothing_gives_an_empty_table():
    for series in ([], [gauge("go_goroutines", [1, 2])], [gauge("node_load1", [])]):
        table, values = converted(*series)
        assert (len(table.time_ms), table.specs, values) == (0, (), {})
        assert table.values.shape == (0, 0)


def test_series_of_one_scrape_share_a_row_though_their_times_differ_by_a_second():
    table, values = converted(
        gauge("node_procs_running", [1, 2, 3], seconds=[0.0, 30.0, 60.0]),
        gauge("node_procs_blocked", [4, 5, 6], seconds=[0.9, 30.4, 61.5]),
    )
    assert ((table.time_ms - START_MS) / 1000).tolist() == [0, 30, 60, 61.5]
    assert same(values["processes.running_count"], [1, 2, 3, np.nan])
    assert same(values["processes.blocked_count"], [4, 5, np.nan, 6])


def test_scrapes_once_a_second_stay_apart():
    table, _ = converted(gauge("node_procs_running", [1, 2, 3, 4], seconds=[0, 1, 2, 3]))
    assert len(table.time_ms) == 4


def test_a_series_that_one_scrape_lacks_is_missing_there_and_its_rate_once_more():
    _, values = converted(
        gauge("node_procs_running", [1, 1, 1, 1, 1]),
        gauge("node_procs_blocked", [7, 7], seconds=[0, 90]),
        gauge("node_forks_total", [0, 30, 90, 120], seconds=[0, 30, 90, 120]),
        gauge("node_intr_total", [0, np.nan, 60, np.inf, 120]),
    )
    assert same(values["processes.blocked_count"], [7, np.nan, np.nan, 7, np.nan])
    assert same(values["processes.forks_per_second"], [np.nan, 1, np.nan, np.nan, 1])
    assert "cpu.interrupts_per_second" not in values  # never two readings in a row


def test_what_no_float32_holds_is_missing():
    _, values = converted(gauge("node_procs_running", [1e39, 1, -1e39, np.inf]))
    assert same(values["processes.running_count"], [np.nan, 1, np.nan, np.nan])


def test_a_boot_time_that_rises_by_more_than_a_minute_is_a_reboot():
    boots = [1000, 1059, 1118, 1200, np.nan, 1199, 1300]
    running = gauge("node_procs_running", [1] * 7)
    forks = gauge("node_forks_total", [0, 30, 60, 90, 120, 150, 180])
    table, values = converted(running, forks, gauge("node_boot_time_seconds", boots))
    assert table.boot.tolist() == [1000, 1000, 1000, 1200, 1200, 1200, 1300]
    assert same(values["processes.forks_per_second"], [np.nan, 1, 1, np.nan, 1, 1, np.nan])
    assert converted(running)[0].boot.tolist() == [0] * 7
    late = gauge("node_boot_time_seconds", [1000], seconds=[60])
    assert converted(running, late)[0].boot.tolist() == [0, 0, *[1000] * 5]


def resources(*series, **arguments):
    return sorted({spec.resource for spec in converted(*series, **arguments)[0].specs})


@pytest.mark.parametrize(
    ("device", "kept"),
    [
        ("sda", True),
        ("sdab", True),
        ("nvme0n1", True),
        ("md127", True),
        ("dm-0", True),
        ("mmcblk0", True),
        ("cciss/c0d0", True),
        ("sda1", False),
        ("vdb12", False),
        ("xvda1", False),
        ("nvme0n1p1", False),
        ("mmcblk0p2", False),
        ("md127p1", False),
        ("cciss/c0d0p1", False),
        ("loop3", False),
        ("sr0", False),
        ("zram0", False),
    ],
)
def test_whole_disks_only(device, kept):
    assert resources(*counters(device)) == ([device] if kept else [])


def test_disks_have_their_lasting_names_and_exclusions_of_both_kinds():
    both = [*counters("sda"), *counters("sdb")]
    assert resources(*both, names={"sda": "WD-1"}) == ["WD-1", "sdb"]
    assert resources(*both, names={"sda": "WD-1", "sdb": "WD-1"}) == ["WD-1", "sdb"]
    assert resources(*both, names={"sda": "WD-1"}, exclude_disks=("WD*",)) == ["sdb"]
    assert resources(*both, names={"sda": "WD-1"}, exclude_disks=("sda",)) == ["sdb"]
    assert resources(*counters("xvda1"), names={"xvda1": "xvda1"}) == ["xvda1"]  # a cloud's disk without a whole one
    assert resources(*counters("sdc", values=(0, 0, 0))) == []
    assert "disk.wd-1.busy" in converted(*both, names={"sda": "WD-1"})[1]


def test_interfaces_of_containers_and_silent_ones_give_nothing():
    prefix = "node_network"
    many = [series for name in ("eth0", "veth12", "wg0") for series in counters(name, prefix)]
    assert resources(*many, *counters("tun0", prefix, values=(0, 0, 0))) == ["eth0", "wg0"]
    assert resources(*many, exclude_interfaces=("wg*",)) == ["eth0"]


def mounted(path, device, kind="ext4", *, seconds=(0, 30, 60), size=100, free=50):
    labels = {"mountpoint": path, "device": device, "fstype": kind}
    exposed = {"size_bytes": size, "free_bytes": free, "avail_bytes": free - 10, "files": 10, "files_free": 4}
    names = {**exposed, "readonly": 0}
    rows = [[value] * len(seconds) for value in names.values()]
    return [
        gauge(f"node_filesystem_{name}", row, seconds=seconds, **labels) for name, row in zip(names, rows, strict=True)
    ]


def test_a_mount_gives_what_df_shows():
    _, values = converted(*mounted("/", "/dev/sda1"))
    assert same(values["filesystem./.used"], [50 / 90] * 3)
    assert same(values["filesystem./.free_bytes"], [40] * 3)
    assert same(values["filesystem./.inodes_used"], [0.6] * 3)
    assert same(values["filesystem./.read_only"], [0] * 3)
    empty = mounted("/x", "zero", size=0, free=0)[:-1]
    assert [name for name in converted(*empty)[1] if name != "filesystem./x.inodes_used"] == []


def test_mounts_are_picked_by_the_rules_of_the_collector():
    series = [
        *mounted("/", "/dev/sda1"),
        *mounted("/home/sub", "/dev/sda1"),  # the same device, a longer path
        *mounted("/tmp", "tmpfs", "tmpfs"),
        *mounted("/run", "tmpfs", "tmpfs"),
        *mounted("/run/user/1000", "tmpfs", "tmpfs"),
        *mounted("/snap/core/1", "/dev/loop1", "squashfs"),
        *mounted("/mnt/nfs", "server:/x", "nfs4"),
        *mounted("/mnt/sshfs", "you@there:", "fuse.sshfs"),
        *mounted("/mnt/a b\\134c", "/dev/sdb1"),  # the exporter resolves spaces and tabs only
        *mounted("/backup", "/dev/sdc1"),
    ]
    assert resources(*series) == ["/", "/backup", "/mnt/a b\\c", "/run", "/tmp"]
    assert resources(*series, exclude_mounts=("/backup", "/mnt/a b*")) == ["/", "/run", "/tmp"]


def test_of_one_device_the_shortest_path_that_is_there_counts():
    _, values = converted(*mounted("/long/path", "/dev/sda1"), *mounted("/a", "/dev/sda1", seconds=(30,)))
    assert same(values["filesystem./a.read_only"], [np.nan, 0, np.nan])
    assert same(values["filesystem./long/path.read_only"], [0, np.nan, 0])


def test_a_mount_point_stays_one_resource_when_another_device_takes_it():
    _, values = converted(
        *mounted("/data", "/dev/sda1", seconds=(0, 30)), *mounted("/data", "/dev/sdb1", "xfs", seconds=(60,), free=80)
    )
    assert same(values["filesystem./data.free_bytes"], [40, 40, 70])


def test_labels_that_a_server_adds_or_changes_split_no_series():
    _, values = converted(
        gauge("node_forks_total", [0, 30], seconds=[0, 30], zone="a"),
        gauge("node_forks_total", [60, 90], seconds=[60, 90], zone="b"),
    )
    assert same(values["processes.forks_per_second"], [np.nan, 1, 1, 1])


def processor(number, busy, *, seconds):
    rows = {mode: np.zeros(len(seconds)) for mode in ("nice", "system", "irq", "softirq", "steal", "iowait")}
    rows |= {"user": np.array(busy), "idle": 9000 + np.array(seconds) - np.array(busy)}
    return [
        gauge("node_cpu_seconds_total", values, seconds=seconds, cpu=str(number), mode=mode)
        for mode, values in rows.items()
    ]


def test_processors_that_come_or_go_are_no_burst_of_work():
    _, values = converted(
        *processor(0, [0, 3, 6, 9, 12], seconds=[0, 30, 60, 90, 120]),
        *processor(1, [900, 915], seconds=[30, 60]),
        gauge("node_load1", [2, 2, 2, 2, 2]),
    )
    assert same(values["cpu.0.busy"], [np.nan, 0.1, 0.1, 0.1, 0.1])
    assert same(values["cpu.1.busy"], [np.nan, np.nan, 0.5, np.nan, np.nan])
    assert same(values["cpu.busy"], [np.nan, np.nan, 0.3, np.nan, 0.1])
    assert same(values["load.one_per_cpu"], [2, 1, 1, 2, 2])


# every metric of a small host, and of each what an exporter or a proxy that has gone mad may say
EVERY = [
    (name, labels) for name, _, samples in Host(1, 1, cpus=2).families() for labels, _ in samples if name in METRICS
]


@given(st.integers(0, 2**32 - 1), st.integers(0, 12))
def test_no_values_whatever_make_more_than_numbers_or_missing(seed, rows):
    rng = np.random.default_rng(seed)
    odd = np.array([0, 1, -1, 5e-324, 1e-300, 1e39, 1.7e308, -1.7e308, np.nan, np.inf, -np.inf, 2.0**53])
    seconds = np.cumsum(rng.choice([0.5, 30, 61], rows))
    series = []
    for name, labels in EVERY:
        some = rng.random(rows) < 0.8
        series.append(gauge(name, rng.choice(odd, rows)[some], seconds=seconds[some], **labels))
    table, _ = converted(*series, gap_seconds=60.0)
    assert not np.isinf(table.values).any()
    assert len({spec.name for spec in table.specs}) == len(table.specs)
    assert np.all(np.diff(table.time_ms) > 0)


def test_a_month_is_converted_in_seconds():
    month = Host(3, 86_400, reboots=(40_000,), away=(1000, 2000))
    scrapes = month.scrapes()
    began = time.perf_counter()
    table = convert(scrapes, gap_seconds=60.0)
    spent = time.perf_counter() - began
    print(f"{len(scrapes)} series of 30 days: {spent:.1f} s, {table.values.shape}")
    assert len(table.time_ms) == 86_400
    assert spent < 20  # 0.6 s on two quiet cores
