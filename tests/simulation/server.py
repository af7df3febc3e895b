"""A simulated server: weeks of samples under the real collectors' names, from causes a real host has.

Enters: a seed. Leaves: rows of values (T, S), the moment of each on the three clocks, and the runs of
its jobs. The same seed gives the same host, with or without a job that is left out. It knows nothing of
detectors; what is calibrated here is the world, never the answer.

The load is requests with a daily and weekly rhythm, noise that lasts from a minute to half a day, and
bursts. On top come jobs: a nightly backup, hourly jobs, log rotation, a weekly scrub, package lists at any
hour, deployments, one reboot after which the page cache is cold. A service may decay for days, or flap.

One piece, because every signal is a mix of the same causes.
"""

import time
import zlib
from dataclasses import dataclass

import numpy as np
from scipy.signal import lfilter

from daemon.clock import Instant
from daemon.continuity import hour_of_week
from daemon.signals import Kind, SignalSpec
from detectors.findings import Unit

INTERVAL = 30.0
DAY = 2880  # samples
HOUR = 120
SUFFIX = sorted((unit for unit in Unit if unit), key=lambda unit: -len(unit))
RATE_RATIOS = ("cpu.", "pressure.", "tcp.retransmits", "self.cpu")


@dataclass(frozen=True)
class Run:
    """One run of a job: which, its first sample, how many."""

    job: str
    start: int
    rows: int


class Server:
    """`values` (T, S) of `specs`, `time_ms` (T,); rows of `down` were never sampled, NaN is missing.

    `without` names runs that do not happen: {("backup", 9)} is the backup of the tenth day.
    """

    def __init__(
        self, seed, days=30, *, start_ms=1_772_344_800_000, reboot_day=None, without=(), decaying=(), flapping=()
    ):
        self.seed, self.rows, self.without = seed, days * DAY, frozenset(without)
        self.traits = self.rng("traits")
        self.time_ms = start_ms + np.arange(self.rows, dtype=np.int64) * int(INTERVAL * 1000)
        self.hours = np.array([hour_of_week(int(at)) for at in self.time_ms])
        minutes = np.array([time.localtime(at / 1000).tm_min for at in self.time_ms.tolist()])
        self.clock_hour = self.hours % 24 + minutes / 60
        self.weekend = self.hours // 24 >= 5
        self.down = np.zeros(self.rows, bool)
        self.boot = np.zeros(self.rows, np.int64)
        self.asleep = np.zeros(self.rows, np.int64)  # rows of suspend so far
        self.runs: list[Run] = []
        self.planned: dict[tuple[str, int], int] = {}  # first samples, of runs that do not happen too
        self.table: dict[str, np.ndarray] = {}
        self.decay, self.cut = np.zeros(self.rows), np.zeros(self.rows, bool)
        if decaying:
            self._decay(*decaying)
        if flapping:
            self._flap(*flapping)
        self.reboot = None
        if reboot_day is None:
            reboot_day = int(self.traits.integers(9, 24))
        if reboot_day < days:
            self.reboot = self.at(reboot_day, float(self.traits.choice([4.6, 13.2, 22.3])))
            self.down[self.reboot : self.reboot + int(self.traits.integers(3, 9))] = True
            self.boot[self.reboot :] = 1
        self._build()
        self.names = tuple(self.table)
        self.specs = tuple(_spec(name) for name in self.names)
        self.values = np.stack(list(self.table.values()), axis=1).astype(np.float32)
        self._hide_first_rates()

    def rng(self, name):
        """A stream of its own for each cause: leaving one job out changes no other."""
        return np.random.default_rng([self.seed, zlib.crc32(name.encode())])

    def at(self, day, hour):
        """The row of a local hour on the `day`-th calendar day."""
        midnights = np.r_[0, 1 + np.flatnonzero(np.diff(self.hours // 24)), self.rows]
        if day + 1 >= len(midnights):
            return self.rows
        first, end = midnights[day], midnights[day + 1]
        if hour < self.clock_hour[first]:  # the first day began later
            return -1
        return int(first + np.searchsorted(self.clock_hour[first:end], hour))

    @property
    def calendar_days(self):
        return int((np.diff(self.hours // 24) != 0).sum()) + 1

    def instant(self, row):
        """The moment of a row on the three clocks."""
        up = row - (self.reboot or 0) * int(self.boot[row])
        base = 4_000_000 if not self.boot[row] else 60
        boottime = int((base + up * INTERVAL) * 1e9)
        slept = int(self.asleep[row] * INTERVAL * 1e9)
        return Instant(int(self.time_ms[row]), boottime - slept, boottime, f"boot-{self.boot[row]}")

    def suspend(self, first, rows):
        """Let the host sleep: nothing is sampled, the monotonic clock stands still."""
        self.down[first : first + rows] = True
        self.asleep[first + rows :] += rows

    def column(self, name):
        """The values (T,) of a signal, to write a fault into."""
        return self.values[:, self.names.index(name)]

    def wander(self, name, seconds):
        """Noise of unit variance that forgets in `seconds`: a first-order autoregression."""
        keep = np.exp(-INTERVAL / seconds)
        rng = self.rng(name)
        drawn = rng.normal(size=self.rows) * np.sqrt(1 - keep**2)
        drawn[0] = rng.normal()
        return lfilter([1.0], [1.0, -keep], drawn)

    def noise(self, name, relative):
        """A factor around 1 that is new at each sample."""
        return np.exp(relative * self.rng(name).normal(size=self.rows))

    def _jobs(self):
        """Draw when every job runs."""
        traits = self.rng("jobs")
        at, length = traits.uniform(1.0, 4.0), traits.uniform(18, 45)
        rotate, weekly, hourly = traits.uniform(0, 0.4), traits.uniform(4.5, 6.5), int(traits.integers(0, 60))
        deploys = traits.uniform(0.3, 0.7)
        for day in range(self.calendar_days):
            rng = self.rng(f"day {day}")
            weekday = (int(self.hours[0]) // 24 + day) % 7
            full = 2.0 if weekday == 6 else 1.0  # the full backup of the week
            late = rng.uniform(0, 5 / 60)
            self._run("backup", day, self.at(day, at + late), 2 * length * full * rng.normal(1, 0.07))
            self._run("rotate", day, self.at(day, rotate), rng.integers(2, 5))
            self._run("lists", day, self.at(day, rng.uniform(0, 24)), rng.integers(1, 4))
            if weekday == 6:
                self._run("scrub", day, self.at(day, weekly), HOUR * rng.normal(1.2, 0.05))
            for _ in range(int(rng.random() < deploys) + int(rng.random() < deploys / 4)) if weekday < 5 else ():
                self._run("deploy", day, self.at(day, rng.uniform(9.5, 17.5)), rng.integers(2, 8))
        for start in range(hourly, self.rows, HOUR):
            self._run("hourly", start // DAY, start, 1)

    def _run(self, job, day, start, rows):
        self.planned[job, day] = int(start)
        if (job, day) not in self.without and 0 <= start < self.rows and not self.down[start]:
            self.runs.append(Run(job, int(start), max(1, int(rows))))

    def during(self, job, relative=0.1):
        """How strongly a job works (T,): 0, or around 1 while it runs; part of a sample at both ends."""
        out = np.zeros(self.rows)
        for run in self.runs:
            if run.job == job:
                rng = self.rng(f"{job} {run.start // HOUR}")
                level = np.exp(relative * rng.normal(size=run.rows))
                level[0] *= rng.uniform(0.2, 1)
                level[-1] *= rng.uniform(0.2, 1)
                end = min(self.rows, run.start + run.rows)
                out[run.start : end] += level[: end - run.start]
        return out

    def _decay(self, first, days):
        """A service decays from day `first`, linearly over `days`, until the host swaps and a request costs tenfold."""
        self.decay = np.clip((np.arange(self.rows) / DAY - first) / days, 0, 1)

    def _flap(self, first, days):
        """The service crashes every 10 to 40 minutes and takes 2 to 5 to come up again: the work of a deployment."""
        rng, at, end = self.rng("flap"), round(first * DAY), round((first + days) * DAY)
        while at < end:
            down = int(rng.uniform(120, 300) / INTERVAL)
            self.cut[at : min(at + down, end)] = True
            at += down + int(rng.uniform(600, 2400) / INTERVAL)

    def _requests(self):
        """Requests a second: night, morning, afternoon, weekend; noise of many lengths; bursts."""
        hour, traits = self.clock_hour, self.traits
        shape = np.exp(-((hour - 11) ** 2) / 8) + 0.9 * np.exp(-((hour - 15.5) ** 2) / 10)
        shape += 0.45 * np.exp(-((hour - 20.5) ** 2) / 5)
        night = traits.uniform(0.08, 0.3)
        shape = night + (1 - night) * np.minimum(shape, 1.2) * np.where(self.weekend, traits.uniform(0.3, 0.8), 1.0)
        growth = 1 + traits.uniform(-0.05, 0.1) * np.arange(self.rows) / (30 * DAY)
        lasting = 0.06 * self.wander("half a day", 43_200) + 0.07 * self.wander("half an hour", 1_800)
        out = traits.uniform(20, 200) * shape * growth * np.exp(lasting + 0.10 * self.wander("a minute", 60))
        bursts = np.zeros(self.rows)
        rng = self.rng("bursts")
        for start in rng.integers(0, self.rows, rng.poisson(5 * self.rows / DAY)):
            bursts[start] += rng.lognormal(-1.0, 0.6)
        out *= 1 - 0.97 * self.cut
        return out * (1 + lfilter([1.0], [1.0, -np.exp(-INTERVAL / rng.uniform(45, 240))], bursts))

    def _build(self):  # noqa: PLR0915 - a host has many signals
        self._jobs()
        traits, put = self.traits, self.table
        cores, memory = int(traits.choice([2, 4, 8])), float(traits.choice([4, 8, 16, 32])) * 2**30
        requests = self._requests()
        backup, scrub, rotate = self.during("backup"), self.during("scrub"), self.during("rotate", 0.3)
        lists, deploy, hourly = self.during("lists", 0.4), self.during("deploy", 0.3), self.during("hourly", 0.5)
        deploy += self.cut * self.noise("crash", 0.3)
        released = np.cumsum(self._at_ends("deploy") * 0.03 * self.rng("release").normal(size=self.rows))
        cost = cores * traits.uniform(0.1, 0.55) / np.quantile(requests, 0.95)
        warm, cold = self._warmth()

        jobs = 0.25 * backup + 0.15 * scrub + 0.7 * rotate + 0.15 * lists + 1.1 * deploy + 0.06 * hourly + 0.3 * cold
        busy = (
            0.02 * cores + requests * cost * (1 + released + 9 * self.decay) * self.noise("cost", 0.05) + jobs
        ) / cores
        busy = np.clip(busy, 0.004, 0.97)
        system = busy * 0.25 * self.noise("system", 0.06)
        disk_speed = traits.uniform(120e6, 900e6)
        written = 40e3 + requests * traits.uniform(200, 4000) * self.noise("write", 0.15)
        written += (
            traits.uniform(2e6, 10e6) * (np.arange(self.rows) % 10 == traits.integers(10)) * self.noise("flush", 0.3)
        )
        written += 8e6 * rotate + 25e6 * deploy + 1e6 * lists + 0.4e6 * hourly + 1e6 * backup
        rate = min(disk_speed * 0.5, 200e6)
        read = requests * traits.uniform(20, 400) * self.noise("read", 0.5) + 0.6e6 * hourly
        read += rate * (backup * traits.uniform(0.3, 0.8) + 0.7 * scrub + 0.25 * cold) + 15e6 * rotate + 0.5e6 * lists
        utilised = np.clip((read + written) / disk_speed, 0, 0.97)
        iowait = np.clip(utilised * 0.3 * self.noise("iowait", 0.3), 0, 0.5) * (1 - busy)

        put["cpu.busy"], put["cpu.system"] = busy, system
        put["cpu.user"] = np.maximum(busy - system, 0)
        put["cpu.iowait"], put["cpu.steal"] = iowait, 0.002 * self.noise("steal", 0.8)
        put["cpu.irq"] = 0.003 * busy * self.noise("irq", 0.3)
        for number in range(cores):
            put[f"cpu.{number}.busy"] = np.clip(busy * (1 + 0.12 * self.wander(f"core {number}", 90)), 0, 1)
        network_in = 300 + requests * traits.uniform(500, 3000) * self.noise("in", 0.1) + 0.6e6 * lists + 12e6 * deploy
        upload = traits.uniform(5e6, 60e6)
        network_out = 400 + requests * traits.uniform(3e3, 3e4) * self.noise("out", 0.12) + upload * backup
        packets_in = network_in / 700 + network_out / 2800
        packets_out = network_out / 1200 + network_in / 1500
        reads, writes = read / 50e3, 2 + written / 18e3
        put["cpu.interrupts_per_second"] = (
            250 + 0.6 * packets_in + reads + writes + 900 * busy * self.noise("int", 0.05)
        )
        put["cpu.context_switches_per_second"] = 600 + 14 * requests + 2 * (reads + writes) + 500 * jobs
        load = (busy + iowait) * self.noise("load", 0.08)
        put["load.one_per_cpu"], put["load.five_per_cpu"] = _smooth(load, 60), _smooth(load, 300)
        self._memory(memory, warm, requests=requests, written=written, read=read, deploy=deploy)
        put["pressure.cpu_some"] = np.clip((0.001 + 0.35 * busy**3) * self.noise("psi cpu", 0.25), 0, 1)
        put["pressure.memory_some"] = 0.3 * self.decay * self.noise("psi memory", 0.3)
        put["pressure.memory_full"] = 0.5 * put["pressure.memory_some"]
        put["pressure.io_some"] = np.clip(0.4 * utilised * self.noise("psi io", 0.3), 0, 1)
        put["pressure.io_full"] = 0.6 * put["pressure.io_some"] * self.noise("psi full", 0.1)
        disk = "disk.nvme-S4EMNX0R."
        put[disk + "read_bytes_per_second"], put[disk + "write_bytes_per_second"] = read, written
        put[disk + "reads_per_second"], put[disk + "writes_per_second"] = reads, writes
        waits = (1 + utilised / (1 - utilised)) * traits.uniform(1e-4, 8e-4)
        put[disk + "read_await_seconds"] = np.where(reads > 0.03, waits * self.noise("wait r", 0.15), 0)
        put[disk + "write_await_seconds"] = 1.6 * waits * self.noise("wait w", 0.15)
        put[disk + "busy"] = np.clip(utilised * self.noise("util", 0.05), 0, 1)
        self._filesystem("/", 40e9, 0.35, 3.0 * np.cumsum(deploy) * 1e6)
        logs = np.cumsum(requests) * INTERVAL * traits.uniform(20, 150)
        self._filesystem("/var", 200e9, 0.5, logs - self._rotated(logs))
        for name, into, out in (("eth0", network_in, network_out), ("lo", 0.2 * network_in, 0.2 * network_in)):
            prefix = f"network.{name}."
            put[prefix + "receive_bytes_per_second"], put[prefix + "transmit_bytes_per_second"] = into, out
            share = 1.0 if name == "eth0" else 0.2
            put[prefix + "receive_packets_per_second"] = share * packets_in
            put[prefix + "transmit_packets_per_second"] = share * packets_out
            put[prefix + "errors_per_second"] = np.zeros(self.rows)
            put[prefix + "drops_per_second"] = np.where(self.rng(prefix).random(self.rows) < 5e-5, 1 / 30, 0.0)
        self._connections(requests, network_out, backup, memory)
        put["processes.running_count"] = 1.0 + self.rng("running").poisson(busy * cores)
        put["processes.blocked_count"] = self.rng("blocked").poisson(utilised * 2.5).astype(float)
        put["processes.total_count"] = np.rint(170 + 0.1 * _smooth(requests, 120) + 6 * (backup > 0) + 9 * (deploy > 0))
        put["processes.forks_per_second"] = 0.6 + 0.01 * requests + 12 * deploy + 4 * lists + 3 * hourly + 5 * rotate
        put["processes.forks_per_second"] *= self.noise("forks", 0.12)
        put["self.cpu"] = 2.5e-4 * self.noise("self", 0.08)
        put["self.resident_bytes"] = 54e6 + 4096 * np.cumsum(self.rng("rss").poisson(0.01, self.rows))
        put["self.descriptors_count"], put["self.threads_count"] = np.full(self.rows, 27.0), np.full(self.rows, 4.0)
        put["sensors.coretemp_celsius"] = np.rint(38 + 30 * _smooth(busy, 120) + 1.5 * self.wander("room", 14_400))
        slow = self.rng("latency").random(self.rows) < 0.002
        put["latency.gateway.connect_seconds"] = 4e-4 * self.noise("gateway", 0.2) * (1 + 0.3 * utilised + 4 * slow)
        put["latency.gateway.reachable"] = np.ones(self.rows)

    def _at_ends(self, job):
        out = np.zeros(self.rows)
        for run in self.runs:
            if run.job == job:
                out[min(run.start + run.rows, self.rows - 1)] = 1
        return out

    def _warmth(self):
        """How full the page cache is (T,), 0 to 1, and how hard the disk works to fill it."""
        warm, cold = np.ones(self.rows), np.zeros(self.rows)
        if self.reboot is not None:
            since = np.arange(self.rows - self.reboot)
            warm[self.reboot :] = 1 - 0.9 * np.exp(-since / (self.traits.uniform(1, 4) * HOUR))
            cold[self.reboot :] = np.exp(-since / 40) * self.noise("cold", 0.3)[self.reboot :]
        return warm, cold

    def _memory(self, memory, warm, *, requests, written, read, deploy):
        traits, put = self.traits, self.table
        grown = np.arange(self.rows) % int(traits.uniform(40, 160))  # a collector of garbage has its sawtooth
        heap = memory * (0.3 + 0.01 * self.wander("heap", 21_600)) + memory * 0.04 * grown / grown.max()
        since = np.arange(self.rows) - np.maximum.accumulate(
            np.where(self._at_ends("deploy") > 0, np.arange(self.rows), -DAY)
        )
        heap *= 1 - 0.25 * np.exp(-since / (2 * HOUR))  # a new release starts with an empty heap
        heap *= 0.6 + 0.4 * warm
        anonymous = heap + 2e5 * _smooth(requests, 300) + 0.5 * memory * self.decay
        slab = memory * 0.03 * (0.5 + 0.5 * warm) * (1 + 0.02 * self.wander("slab", 28_800))
        streamed = _smooth(read, 1800)
        cached = memory * 0.42 * warm * (1 + 0.015 * self.wander("cache", 14_400)) + memory * 0.05 * streamed / (
            streamed + 40e6
        )
        used = (anonymous + slab + 0.04 * memory) / memory
        used = np.minimum(used, 0.97)
        cached = np.minimum(cached, (1 - used) * memory)
        put["memory.used"], put["memory.available_bytes"] = used, (1 - used) * memory
        put["memory.dirty_bytes"] = _smooth(written, 30) * 12 * self.noise("dirty", 0.25)
        put["memory.cached_bytes"], put["memory.slab_bytes"] = cached, slab
        put["memory.anonymous_bytes"] = anonymous
        put["memory.page_faults_per_second"] = (300 + 18 * requests + 6000 * deploy) * self.noise("faults", 0.1)
        put["memory.major_faults_per_second"] = self.rng("major").poisson(0.01 + 30 * (1 - warm)) / 30.0 + 2 * deploy
        put["memory.oom_kills_per_second"] = np.zeros(self.rows)
        swapped = 3e6 * self.decay * self.noise("swap", 0.5)
        put["memory.swap_in_bytes_per_second"], put["memory.swap_out_bytes_per_second"] = swapped, 1.2 * swapped

    def _rotated(self, logs):
        """What log rotation has given back so far: yesterday's log shrinks to an eighth, a fortnight old goes."""
        out = np.zeros(self.rows)
        for run in self.runs:
            if run.job == "rotate":
                out[run.start :] = 0.97 * logs[run.start]
        return out

    def _filesystem(self, mount, size, share, grown):
        prefix, put = f"filesystem.{mount}.", self.table
        used = size * share + grown + 3e6 * self.wander(mount, 7200)
        put[prefix + "used"], put[prefix + "free_bytes"] = used / size, size - used
        put[prefix + "inodes_used"] = 0.08 + 0.02 * used / size
        put[prefix + "read_only"] = np.zeros(self.rows)

    def _connections(self, requests, network_out, backup, memory):
        put, rng = self.table, self.rng("tcp")
        opened = requests * 0.3 * self.noise("opens", 0.08)
        put["tcp.established_count"] = np.rint(
            15 + _smooth(requests, 120) * 0.8 * (1 + 9 * self.decay) + 3 * (backup > 0)
        )
        put["tcp.retransmits"] = 4e-4 * self.noise("retransmits", 0.5) * (1 + backup)
        put["tcp.listen_drops_per_second"] = put["udp.in_errors_per_second"] = np.zeros(self.rows)
        put["tcp.active_opens_per_second"] = 0.4 + 0.1 * opened * self.noise("active", 0.1)
        put["tcp.passive_opens_per_second"] = opened
        put["tcp.resets_per_second"] = rng.poisson(0.3 * opened) / 30.0
        put["tcp.resets_sent_per_second"] = rng.poisson(0.2 * opened) / 30.0
        put["tcp.orphan_count"] = rng.poisson(0.2, self.rows).astype(float)
        put["tcp.time_wait_count"] = np.rint(60 * _smooth(opened, 60))
        put["tcp.memory_bytes"] = 4096 * np.rint(20 + put["tcp.established_count"] * 1.5 + network_out / 4e5)
        put["sockets.used_count"] = np.rint(140 + 1.1 * put["tcp.established_count"])
        descriptors = np.rint(1900 + 1.3 * put["tcp.established_count"] + 30 * (backup > 0))
        put["kernel.descriptors_count"], put["kernel.descriptors_used"] = descriptors, descriptors / 9.2e18
        put["kernel.threads"] = (260 + 0.2 * _smooth(requests, 120)) / 32_768

    def _hide_first_rates(self):
        """The first reading after a start has no reading before it."""
        first = np.flatnonzero(np.diff(self.boot, prepend=-1))
        for row in first + [int(np.argmin(self.down[row:])) for row in first]:
            for column, spec in enumerate(self.specs):
                if spec.kind is Kind.RATE:
                    self.values[row, column] = np.nan


def _spec(name):
    unit = next((unit for unit in SUFFIX if name.endswith(unit)), Unit.RATIO)
    parts = name.split(".")
    rate = unit in (Unit.PER_SECOND, Unit.BYTES_PER_SECOND) or name.startswith((*RATE_RATIOS, "disk."))
    named = parts[0] in ("disk", "filesystem", "network", "latency") or len(parts) == 3
    resource = f"cpu{parts[1]}" if parts[0] == "cpu" and len(parts) == 3 else parts[1] if named else ""
    if parts[0] == "filesystem":
        resource = name.split(".")[1]
    return SignalSpec(name, unit, Kind.RATE if rate else Kind.GAUGE, parts[0], resource)


def _smooth(values, seconds):
    """What a gauge with a memory of `seconds` shows of `values` (T,)."""
    keep = np.exp(-INTERVAL / seconds)
    return lfilter([1 - keep], [1.0, -keep], values, zi=[keep * values[0]])[0]
