"""A simulated host that is seen twice: by our own collectors through a /proc, and by Prometheus' node_exporter.

Enters: a seed and how long. Leaves: for each moment the files of /proc and /sys, and for all of them the series as
node_exporter exposes them, which divides jiffies by 100, multiplies sectors by 512, and so on. Both come from the
same whole numbers of the kernel, never from one another. It also writes them as OpenMetrics text with timestamps,
for `promtool tsdb create-blocks-from openmetrics`.

Its disks: sda with a partition, nvme0n1 that is away for a while, sdb that works only after some time. Its
interfaces: lo, eth0, wg0 that carries nothing for some time, and docker0 that nobody watches. Its mounts: a bind
mount, a tmpfs, one that is not to be watched, one that turns read-only.
"""

import os
from dataclasses import dataclass
from math import isnan

import numpy as np

from daemon.collectors.filesystem import Space
from daemon.imports.table import Series, SeriesKey

START_MS = 1_772_344_800_000  # 2026-03-01T06:00:00Z
DAY_SECONDS = 86400
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
BLOCK_BYTES = 4096
NS_OF_JIFFY = 10_000_000
MODES = {
    "user": 0.5,
    "nice": 0.02,
    "system": 0.25,
    "idle": 0,
    "iowait": 0.1,
    "irq": 0.03,
    "softirq": 0.07,
    "steal": 0.03,
}
MEMINFO = {
    "MemTotal": 16_264_548,
    "MemFree": 2_000_000,
    "MemAvailable": 9_000_000,
    "Buffers": 300_000,
    "Cached": 5_000_000,
    "SwapTotal": 2_097_148,
    "SwapFree": 1_900_000,
    "Dirty": 2_000,
    "Writeback": 10,
    "AnonPages": 4_000_000,
    "Slab": 600_000,
}
VMSTAT = {"pswpin": 2, "pswpout": 4, "pgfault": 9000, "pgmajfault": 3, "oom_kill": 0.0002}
PRESSURE = {"cpu": 0.2, "memory": 0.02, "io": 0.1}
TCP = {
    "ActiveOpens": 5,
    "PassiveOpens": 9,
    "EstabResets": 0.2,
    "InSegs": 900,
    "OutSegs": 800,
    "RetransSegs": 4,
    "OutRsts": 1,
}
DISKS = {"sda": "naa.5000c500a1b2c3d4", "nvme0n1": "eui.0025388b71b2e4f1", "sdb": "SN_0042"}
# reads completed, merged, sectors read, ms reading, writes completed, merged, sectors written, ms writing, busy ms
DISK_RATES = (20, 2, 900, 60, 40, 5, 1600, 200, 150)
# bytes, packets, errs, drop, received and then sent
NETWORK_RATES = (90_000, 120, 0.01, 0.05, 60_000, 100, 0.005, 0.01)
UNAME = {"domainname": "(none)", "machine": "x86_64", "release": "6.8.0", "sysname": "Linux", "version": "#1 SMP"}


@dataclass(frozen=True)
class Mount:
    """A mount: what mountinfo says, and the size of what is there; `files` 0 = it has no table of inodes."""

    path: str
    kind: str
    source: str
    device: tuple[int, int]
    blocks: int
    files: int


MOUNTS = (
    Mount("/proc", "proc", "proc", (0, 20), 0, 0),
    Mount("/", "ext4", "/dev/sda1", (8, 1), 10_000_000, 2_500_000),
    Mount("/boot/efi", "vfat", "/dev/sda2", (8, 2), 130_000, 0),
    Mount("/srv/data", "xfs", "/dev/nvme0n1p1", (259, 1), 50_000_000, 20_000_000),
    Mount("/mnt/with space", "ext4", "/dev/sdb1", (8, 17), 1_000_000, 60_000),
    Mount("/var/bind mounted", "ext4", "/dev/sda1", (8, 1), 10_000_000, 2_500_000),
    Mount("/run", "tmpfs", "tmpfs", (0, 25), 400_000, 400_000),
    Mount("/dev/shm", "tmpfs", "tmpfs", (0, 26), 400_000, 400_000),
)


class Host:
    """State (T,) of one host at `time_ms` (T,), whole numbers as the kernel has them.

    `reboots` are rows at which it has just started. `pauses`: row to seconds that pass unseen before it. `away`:
    the rows [first, end) in which nvme0n1 is not there. `late`: the row from which sdb and wg0 work.
    """

    def __init__(
        self,
        seed,
        rows,
        *,
        interval_seconds=30,
        cpus=4,
        start_ms=START_MS,
        nodename="web-1",
        reboots=(),
        pauses=None,
        away=(0, 0),
        late=40,
        jitter_ms=20,
    ):
        self.rng = np.random.default_rng(seed)
        self.rows, self.cpus, self.nodename = rows, cpus, nodename
        steps = np.full(rows, float(interval_seconds))
        for row, seconds in (pauses or {}).items():
            steps[row] += seconds
        self.time_ms = start_ms + np.cumsum(steps).astype(np.int64) * 1000 + self.rng.integers(0, jitter_ms + 1, rows)
        self.steps = np.diff(self.time_ms, prepend=self.time_ms[0] - interval_seconds * 1000) / 1000
        self.began = np.zeros(rows, int)  # the row of the last reboot
        for row in sorted(reboots):
            self.began[row:] = row
        hour = self.time_ms / 3_600_000 % 24
        noise = np.cumsum(self.rng.normal(size=rows))
        noise = noise - np.convolve(noise, np.full(60, 1 / 60), "same")[:rows] if rows > 60 else noise * 0
        self.activity = np.clip(0.3 + 0.2 * np.sin((hour - 9) / 24 * 2 * np.pi) + 0.02 * noise, 0.02, 0.9)
        self.boot_time = np.where(self.began > 0, self.time_ms[self.began] // 1000 - 12, start_ms // 1000 - 987_654)
        present = np.arange(rows)
        self.there = ~((present >= away[0]) & (present < away[1]))
        self.working = present >= late
        self._cpu()
        self._memory()
        self._disks(away)
        self._network()
        self._rest()

    def counter(self, per_second, began=None):
        """Return a counter (T,) that grows with the host's activity and starts again at each reboot."""
        growth = self.rng.poisson(per_second * 2 * self.activity * self.steps)
        return self.since_boot(np.cumsum(growth) + 100_000, began)

    def since_boot(self, total, began=None):
        """Return the running total without what it was before the last reboot, or before the row it `began` at."""
        began = self.began if began is None else began
        return total - np.where(began > 0, total[np.maximum(began - 1, 0)], 0)

    def wander(self, middle, share=0.1):
        """Return a gauge (T,) around `middle`."""
        wave = self.activity - 0.3 + 0.05 * self.rng.normal(size=self.rows)
        return np.maximum(np.rint(middle * (1 + share * wave)), 0).astype(np.int64)

    def _cpu(self):
        steps_ns = (self.steps * 1e9).astype(np.int64)
        self.cpu_ns = {}
        for core in range(self.cpus):
            left = steps_ns.copy()
            for mode, share in MODES.items():
                if mode != "idle":
                    spent = (steps_ns * self.activity * share * self.rng.uniform(0.5, 1.5, self.rows)).astype(np.int64)
                    self.cpu_ns[core, mode] = self.since_boot(np.cumsum(spent) + 10**12)
                    left -= spent
            self.cpu_ns[core, "idle"] = self.since_boot(np.cumsum(np.maximum(left, 0)) + 10**13)
        self.interrupts = self.counter(3000)
        self.switches = self.counter(9000)
        self.forks = self.counter(4)
        self.load = [np.round(self.activity * self.cpus * factor, 2) for factor in (1.1, 1.0, 0.9)]
        self.running = self.wander(2, 1) + 1
        self.blocked = self.rng.poisson(0.2, self.rows)
        self.threads = self.wander(900)

    def _memory(self):
        self.meminfo = {name: self.wander(middle) for name, middle in MEMINFO.items()}
        for name in ("MemTotal", "SwapTotal"):
            self.meminfo[name][:] = MEMINFO[name]
        self.vmstat = {name: self.counter(rate) for name, rate in VMSTAT.items()}
        self.pressure = {}
        for name, share in PRESSURE.items():
            for word, part in (("some", 1), ("full", 0.4)):
                growth = self.steps * 1e6 * share * part * self.activity * self.rng.uniform(0.5, 1.5, self.rows)
                self.pressure[name, word] = self.since_boot(np.cumsum(growth.astype(np.int64)) + 5_000_000)

    def _disks(self, away):
        self.disks = {}
        back = np.where(np.arange(self.rows) >= away[1], np.maximum(self.began, away[1]), self.began)
        for kernel in ("loop0", "sda", "sda1", "nvme0n1", "nvme0n1p1", "sdb"):
            counters = [self.counter(rate, back if kernel.startswith("nvme") else None) for rate in DISK_RATES]
            if kernel == "sdb":
                counters = [np.where(self.working, total, 0) for total in counters]
            self.disks[kernel] = counters

    def _network(self):
        self.interfaces = {name: [self.counter(rate) for rate in NETWORK_RATES] for name in ("lo", "eth0", "docker0")}
        self.interfaces["wg0"] = [np.where(self.working, self.counter(rate), 0) for rate in NETWORK_RATES]

    def _rest(self):
        self.tcp = {name: self.counter(rate) for name, rate in TCP.items()}
        self.established = self.wander(120)
        self.udp_errors = self.counter(0.1)
        self.listen_drops = self.counter(0.05)
        self.sockets = {name: self.wander(middle, 0.5) for name, middle in (("used", 300), ("orphan", 3), ("tw", 40))}
        self.socket_pages = self.wander(200)
        self.files = self.wander(4000)
        self.space = {}
        for mount in MOUNTS:
            if mount.blocks:
                free = np.minimum(self.wander(mount.blocks * 0.6), mount.blocks)
                self.space[mount.path] = (
                    free,
                    np.maximum(free - mount.blocks // 20, 0),
                    self.wander(mount.files * 0.7),
                )
        self.space["/var/bind mounted"] = self.space["/"]
        self.read_only = {mount.path: np.zeros(self.rows, bool) for mount in MOUNTS}
        self.read_only["/srv/data"][self.rows // 2 : self.rows // 2 + 20] = True

    def is_mounted(self, mount):
        """Return (T,) whether it is: what is on a disk that is away is not."""
        return self.there if "nvme" in mount.source else np.ones(self.rows, bool)

    def _disk_is_there(self, kernel):
        return self.there if kernel.startswith("nvme") else np.ones(self.rows, bool)

    # as our collectors see it

    def write_sys(self, sys):
        """Write /sys below `sys`: which disks there are, and by what name they last."""
        for kernel, name in (("loop0", ""), *DISKS.items()):
            (sys / "block" / kernel).mkdir(parents=True)
            if name:
                (sys / "block" / kernel / "wwid").write_text(name + "\n")
        for kernel in ("sda1", "nvme0n1p1"):
            (sys / "class" / "block" / kernel).mkdir(parents=True)
            (sys / "class" / "block" / kernel / "partition").write_text("1\n")

    def write_proc(self, proc, row):
        """Write the files of /proc below `proc` as they read at this row."""
        for name, text in self.proc(row).items():
            path = proc / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
            with path.open("r+") as file:  # a file that is emptied first waits for the disk
                file.write(text)
                file.truncate()

    def proc(self, row):
        """Return file of /proc to its text."""
        limits = {"sys/kernel/pid_max": "4194304\n", "sys/kernel/threads-max": "127000\n"}
        texts = {"stat": self._stat(row), "loadavg": self._loadavg(row), "1/mountinfo": self._mountinfo(row), **limits}
        texts["meminfo"] = "".join(f"{name}: {values[row]:>12} kB\n" for name, values in self.meminfo.items())
        texts["vmstat"] = "nr_free_pages 1\n" + "".join(f"{n} {values[row]}\n" for n, values in self.vmstat.items())
        for name in PRESSURE:
            texts[f"pressure/{name}"] = "".join(
                f"{word} avg10=0.00 avg60=0.00 avg300=0.00 total={self.pressure[name, word][row]}\n"
                for word in ("some", "full")
            )
        texts["diskstats"] = "".join(
            f"   8       0 {kernel} {' '.join(str(total[row]) for total in totals[:8])} 0 {totals[8][row]} 77\n"
            for kernel, totals in self.disks.items()
            if self._disk_is_there(kernel)[row]
        )
        texts["sys/fs/file-nr"] = f"{self.files[row]}\t0\t1000000\n"
        return texts | self._net(row)

    def _stat(self, row):
        def line(name, ns):
            return f"{name} {' '.join(str(ns(mode) // NS_OF_JIFFY) for mode in MODES)} 0 0\n"

        cores = range(self.cpus)
        text = line("cpu ", lambda mode: sum(int(self.cpu_ns[core, mode][row]) for core in cores))
        for core in cores:
            text += line(f"cpu{core}", lambda mode, core=core: int(self.cpu_ns[core, mode][row]))
        return (
            f"{text}intr {self.interrupts[row]} 0 9\nctxt {self.switches[row]}\nbtime {self.boot_time[row]}\n"
            f"processes {self.forks[row]}\nprocs_running {self.running[row]}\nprocs_blocked {self.blocked[row]}\n"
        )

    def _loadavg(self, row):
        one, five, fifteen = (load[row] for load in self.load)
        return f"{one:.2f} {five:.2f} {fifteen:.2f} {self.running[row]}/{self.threads[row]} 4242\n"

    def _mountinfo(self, row):
        text = ""
        for mount in MOUNTS:
            if self.is_mounted(mount)[row]:
                options = "ro" if self.read_only[mount.path][row] else "rw"
                path, (major, minor) = mount.path.replace(" ", r"\040"), mount.device
                text += f"22 27 {major}:{minor} / {path} {options} shared:1 - {mount.kind} {mount.source} rw\n"
        return text

    def _net(self, row):
        header = "Inter-|   Receive  |  Transmit\n face |bytes packets errs drop | bytes packets errs drop\n"
        for name, totals in self.interfaces.items():
            received, sent = ([str(total[row]) for total in half] for half in (totals[:4], totals[4:]))
            header += f"{name:>6}: {' '.join(received)} 0 0 0 0 {' '.join(sent)} 0 0 0 0\n"
        tcp = {"CurrEstab": self.established, **self.tcp}
        snmp = f"Tcp: {' '.join(tcp)}\nTcp: {' '.join(str(values[row]) for values in tcp.values())}\n"
        snmp += f"Udp: InDatagrams InErrors\nUdp: 5 {self.udp_errors[row]}\n"
        used, orphan, waiting = (self.sockets[name][row] for name in ("used", "orphan", "tw"))
        sockets = f"sockets: used {used}\n"
        sockets += f"TCP: inuse 1 orphan {orphan} tw {waiting} alloc 1 mem {self.socket_pages[row]}\n"
        return {
            "1/net/dev": header,
            "1/net/snmp": snmp,
            "1/net/netstat": f"TcpExt: ListenDrops\nTcpExt: {self.listen_drops[row]}\n",
            "1/net/sockstat": sockets,
        }

    def ask(self, root, row):
        """Return what answers `statvfs` for FilesystemCollector at this row; `root` is its HostPaths.root."""
        mounts = {os.fsencode(root).rstrip(b"/") + (b"" if m.path == "/" else m.path.encode()): m for m in MOUNTS}

        def ask_mount(path):
            mount = mounts[path]
            free, available, inodes = (int(values[row()]) for values in self.space[mount.path])
            sizes = (BLOCK_BYTES, BLOCK_BYTES, mount.blocks, free, available, mount.files, inodes, inodes, 0, 255)
            return Space(mount.device, os.statvfs_result(sizes))

        return ask_mount

    # as node_exporter exposes it

    def families(self):
        """Yield (name, type, [(labels, values (T,) float64)]), NaN = not exposed at that row."""
        cores = range(self.cpus)
        seconds = [({"cpu": str(c), "mode": m}, self.cpu_ns[c, m] // NS_OF_JIFFY / 100) for c in cores for m in MODES]
        yield "node_cpu_seconds_total", "counter", seconds
        ones = np.ones(self.rows)
        yield "node_boot_time_seconds", "gauge", [({}, self.boot_time)]
        yield "node_uname_info", "gauge", [({**UNAME, "nodename": self.nodename}, ones)]
        for name, values in (("intr", self.interrupts), ("context_switches", self.switches), ("forks", self.forks)):
            yield f"node_{name}_total", "counter", [({}, values)]
        for name, values in zip(("load1", "load5", "load15"), self.load, strict=True):
            yield f"node_{name}", "gauge", [({}, values)]
        yield "node_procs_running", "gauge", [({}, self.running)]
        yield "node_procs_blocked", "gauge", [({}, self.blocked)]
        for name, values in (
            ("threads", self.threads),
            ("max_threads", ones * 127000),
            ("max_processes", ones * 2**22),
        ):
            yield f"node_processes_{name}", "gauge", [({}, values)]
        for name, values in self.meminfo.items():
            yield f"node_memory_{name}_bytes", "gauge", [({}, values * 1024.0)]
        for name, values in self.vmstat.items():
            yield f"node_vmstat_{name}", "unknown", [({}, values)]
        for (name, word), values in self.pressure.items():
            if (name, word) != ("cpu", "full"):
                verb = "waiting" if word == "some" else "stalled"
                yield f"node_pressure_{name}_{verb}_seconds_total", "counter", [({}, values / 1000.0 / 1000.0)]
        yield from self._disk_families()
        yield from self._network_families()
        yield from self._filesystem_families()
        for name, values in (*self.tcp.items(), ("CurrEstab", self.established)):
            yield f"node_netstat_Tcp_{name}", "unknown", [({}, values)]
        yield "node_netstat_Udp_InErrors", "unknown", [({}, self.udp_errors)]
        yield "node_netstat_TcpExt_ListenDrops", "unknown", [({}, self.listen_drops)]
        yield "node_sockstat_sockets_used", "gauge", [({}, self.sockets["used"])]
        for name in ("orphan", "tw"):
            yield f"node_sockstat_TCP_{name}", "gauge", [({}, self.sockets[name])]
        yield "node_sockstat_TCP_mem", "gauge", [({}, self.socket_pages)]
        yield "node_sockstat_TCP_mem_bytes", "gauge", [({}, self.socket_pages * PAGE_BYTES)]
        yield "node_filefd_allocated", "gauge", [({}, self.files)]
        yield "node_filefd_maximum", "gauge", [({}, ones * 1_000_000)]

    def _disk_families(self):
        # by default the exporter leaves out loop devices and partitions: here it was told not to
        names = (
            ("reads_completed_total", 1),
            ("reads_merged_total", 1),
            ("read_bytes_total", 512),
            ("read_time_seconds_total", 1 / 1000),
            ("writes_completed_total", 1),
            ("writes_merged_total", 1),
            ("written_bytes_total", 512),
            ("write_time_seconds_total", 1 / 1000),
            ("io_time_seconds_total", 1 / 1000),
        )
        for place, (name, factor) in enumerate(names):
            yield (
                f"node_disk_{name}",
                "counter",
                [
                    ({"device": kernel}, np.where(self._disk_is_there(kernel), totals[place] * factor, np.nan))
                    for kernel, totals in self.disks.items()
                ],
            )

    def _network_families(self):
        names = [
            f"{way}_{what}_total" for way in ("receive", "transmit") for what in ("bytes", "packets", "errs", "drop")
        ]
        for place, name in enumerate(names):
            yield f"node_network_{name}", "counter", [({"device": d}, t[place]) for d, t in self.interfaces.items()]

    def _filesystem_families(self):
        shown = [mount for mount in MOUNTS if mount.blocks]

        def family(name, values_of):
            samples = []
            for mount in shown:
                labels = {"device": mount.source, "device_error": "", "fstype": mount.kind, "mountpoint": mount.path}
                samples.append((labels, np.where(self.is_mounted(mount), values_of(mount), np.nan)))
            return f"node_filesystem_{name}", "gauge", samples

        yield family("size_bytes", lambda mount: float(mount.blocks) * BLOCK_BYTES)
        yield family("free_bytes", lambda mount: self.space[mount.path][0] * float(BLOCK_BYTES))
        yield family("avail_bytes", lambda mount: self.space[mount.path][1] * float(BLOCK_BYTES))
        yield family("files", lambda mount: float(mount.files))
        yield family("files_free", lambda mount: self.space[mount.path][2] * 1.0)
        yield family("readonly", lambda mount: self.read_only[mount.path] * 1.0)

    def scrapes(self):
        """Return the series as daemon.imports.table has them."""
        series = {}
        for name, _, samples in self.families():
            for labels, values in samples:
                exposed = np.asarray(values, float)
                known = ~np.isnan(exposed)
                series[SeriesKey(name, tuple(sorted(labels.items())))] = Series(self.time_ms[known], exposed[known])
        return series


def write_openmetrics(path, host, *, instance="web-1:9100", job="node", series=None, families=()):
    """Write the series of `host`, the first `series` of them, as OpenMetrics text with timestamps in seconds.

    `families` limits them to some names. Returns the number of lines with a sample. For promtool: one family after
    the other, `# EOF` at the end. Several hosts in one file: hand over a list of (host, instance).
    """
    hosts = host if isinstance(host, list) else [(host, instance)]
    lines = written = 0
    several = [(one.families(), [f"{ms / 1000:.3f}" for ms in one.time_ms.tolist()], where) for one, where in hosts]
    with path.open("w") as file:
        while (series is None or written < series) and (heads := [next(one, None) for one, _, _ in several])[0]:
            name, kind, _ = heads[0]
            if families and name not in families:
                continue
            file.write(f"# TYPE {name.removesuffix('_total') if kind == 'counter' else name} {kind}\n")
            for (_, stamps, where), (_, _, samples) in zip(several, heads, strict=True):
                for labels, values in samples:
                    if series is not None and written >= series:
                        break
                    written += 1
                    text = ",".join(f'{key}="{_escaped(labels[key])}"' for key in sorted(labels))
                    text = f'{name}{{{text}{"," if text else ""}instance="{where}",job="{job}"}} '
                    exposed = zip(_numbers(values), stamps, strict=True)
                    kept = [f"{text}{value} {at}\n" for value, at in exposed if not isnan(value)]
                    lines += len(kept)
                    file.write("".join(kept))
        file.write("# EOF\n")
    return lines


def _numbers(values):
    """Return the values as Python's numbers, whole ones without a fraction."""
    exact = np.asarray(values)
    if exact.dtype.kind == "f" and np.all(np.isfinite(exact)) and np.all(exact == np.rint(exact)):
        exact = exact.astype(np.int64)
    return exact.tolist()


def _escaped(label):
    return label.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
