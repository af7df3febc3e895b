"""What collectors measure of a host: its demand against what there is, as signals under the real collectors' names.

Enters: a `Host` with all that befalls it. Leaves: a `World`: samples (T, S), who took what, and how many times slower
than usual the site answered, which no signal shows directly.
"""

from dataclasses import dataclass
from math import nan

import numpy as np
from numpy.typing import NDArray

from benchmarks.year.host import APP, DATA, FULL, QUEUE, ROOT, UNITS, VAR, WEB, Floats, Host, Said
from daemon.backtest.result import Samples
from daemon.clock import Instant
from daemon.collectors.errors import COUNTED
from daemon.collectors.unit import REST, RESTARTS, UnitRound
from daemon.continuity import hour_of_week
from daemon.samples import FLAG_GAP
from daemon.signals import Kind, SignalSpec
from detectors.findings import WAITS, Resource, Unit

_SUFFIXES = sorted((unit for unit in Unit if unit), key=lambda unit: -len(unit))
_RATES = ("cpu.", "pressure.", "tcp.retransmits", "self.cpu", "disk.")
_NAMED = ("disk", "filesystem", "network", "latency", "sensors", "units", "errors")
_WORDS = (  # of those that are counted; the others are 0 all year
    "kernel.io", "kernel.memory", "kernel.network", "kernel.error", "kernel.warning", "journal.error",
    "journal.warning", "journal.exhausted", "units.failed", "units.restarted",
)  # fmt: skip
_QUEUED = 0.9  # of the processors: from here on a queue grows as what is wanted does, not as 1 / (1 - busy)
_LIMITS = {ROOT: 0.30, VAR: 0.42, DATA: 0.2}  # what is used of each mount on the first day


@dataclass(frozen=True, slots=True, eq=False)
class World:
    """All that happens, by row (T,): `values` (T, S) of `specs`, NaN = not there; rows of `down` have no sample.

    `shares` (U, 4, T): what each unit takes of processor, memory, reads and writes; `totals` (4, T) in their units;
    `waits` (3, T) of the host. `slow`: how many times as long as on a usual day an answer of the site takes.
    """

    interval: float
    specs: tuple[SignalSpec, ...]
    values: NDArray[np.float32]
    time_ms: NDArray[np.int64]
    down: NDArray[np.bool_]
    boot: NDArray[np.int64]
    asleep: NDArray[np.int64]
    shares: NDArray[np.float32]
    totals: NDArray[np.float32]
    waits: NDArray[np.float32]
    slow: Floats
    full: dict[str, NDArray[np.bool_]]
    said: Said

    def instant(self, row: int) -> Instant:
        """Return the moment of a row on the three clocks."""
        first = int(np.searchsorted(self.boot, self.boot[row]))
        up = int((60 + (row - first) * self.interval) * 1e9)
        slept = int((self.asleep[row] - self.asleep[first]) * self.interval * 1e9)
        return Instant(int(self.time_ms[row]), up - slept, up, f"boot-{self.boot[row]}")

    def units(self, row: int) -> UnitRound:
        """Return who takes what at a row, as the unit collector does."""
        resources = (Resource.CPU, Resource.MEMORY, Resource.READS, Resource.WRITES)
        totals = dict(zip(resources, self.totals[:, row].tolist(), strict=True))
        table = self.shares[:, :, row].tolist()
        taken = {
            unit: dict(zip(resources, part, strict=True)) for unit, part in zip(UNITS, table, strict=True) if any(part)
        }
        waits = self.waits[:, row].tolist()
        for resource, wait in zip(WAITS, waits, strict=True):
            totals[resource] = 1.0
            for unit, use in taken.items():
                use[resource] = (0.9 if unit in (WEB, APP) else 0.5) * wait if wait >= 0.05 else 0.0
        taken[REST] = {
            one: max(0.0, 1 - sum(use[one] for use in taken.values())) for one in resources if one != "memory"
        }
        return UnitRound(taken, totals)

    def samples(self) -> Samples:
        """Return what was sampled as stored history, for the methods beside ours."""
        rows = np.flatnonzero(~self.down)
        moments = [self.instant(int(row)) for row in rows]
        gap = np.diff(rows, prepend=rows[:1]) > 1
        return Samples(
            specs=self.specs,
            signal_ids=tuple(range(1, len(self.specs) + 1)),
            values=self.values[rows],
            seq=np.arange(1, len(rows) + 1),
            time_ms=self.time_ms[rows],
            monotonic_ns=np.array([one.monotonic_ns for one in moments], np.int64),
            boot=self.boot[rows],
            hours=np.array([hour_of_week(int(at)) for at in self.time_ms[rows]], np.int64),
            flags=np.where(gap, FLAG_GAP, 0),
        )


def lived(host: Host) -> World:
    """Let a year pass. Takes seconds."""
    return _Physics(host).world()


class _Physics:
    def __init__(self, host: Host) -> None:
        self.host = host
        self.put: dict[str, Floats] = {}
        self.full: dict[str, NDArray[np.bool_]] = {}

    def world(self) -> World:
        host = self.host
        self._processor()
        self._memory()
        self._disk()
        self._link()
        self._mounts()
        self._others()
        specs = tuple(_spec(name) for name in self.put)
        values = np.stack([column.astype(np.float32) for column in self.put.values()], axis=1)
        fresh = np.diff(host.down.astype(int), prepend=1) == -1  # a rate needs a reading before it
        for column, spec in enumerate(specs):
            if spec.kind is Kind.RATE:
                values[fresh, column] = nan
        slow = self.wait_cpu * (1 + 8 * self.put["pressure.io_full"]) * (1 + 20 * self.put["pressure.memory_full"])
        slow *= 1 + 30 * host.loss
        shares, totals = self._taken()
        return World(
            interval=host.interval,
            specs=specs,
            values=values,
            time_ms=host.time_ms,
            down=host.down,
            boot=host.boot,
            asleep=host.asleep,
            shares=shares,
            totals=totals,
            waits=np.stack([self.put[f"pressure.{one}_some"] for one in ("cpu", "memory", "io")]).astype(np.float32),
            slow=slow,
            full=self.full,
            said=host.said,
        )

    def _processor(self) -> None:
        host, put = self.host, self.put
        wanted = (0.02 * host.cores + sum(host.cpu.values())) / host.cores * (1 - 0.9 * host.cut)
        self.wanted = wanted
        busy = np.clip(wanted, 0.004, 1.0)
        over = np.maximum(wanted / _QUEUED, 1.0)
        self.wait_cpu = over / (1 - np.minimum(busy, _QUEUED))
        put["cpu.busy"] = np.clip(busy * host.noise("busy", 0.01), 0, 1)
        put["cpu.system"] = put["cpu.busy"] * 0.25 * host.noise("system", 0.06)
        put["cpu.user"] = np.maximum(put["cpu.busy"] - put["cpu.system"], 0)
        put["cpu.steal"] = 0.002 * host.noise("steal", 0.8)
        for number in range(int(host.cores.max())):
            put[f"cpu.{number}.busy"] = np.clip(
                busy * (1 + 0.12 * (1 - busy) * host.wander(f"core {number}", 90)), 0, 1
            )
        stalled = 0.35 * busy**3 + 0.6 * np.clip(wanted - 0.9, 0, 1)
        put["pressure.cpu_some"] = np.clip((0.001 + stalled) * host.noise("psi cpu", 0.15), 0, 0.99)

    def _memory(self) -> None:
        host, put = self.host, self.put
        anonymous = np.sum(list(host.memory.values()), axis=0)
        slab = 0.03 * host.ram * (1 + 0.02 * host.wander("slab", 28_800))
        need = (anonymous + slab + 0.04 * host.ram) / host.ram
        short = np.maximum(need - 0.94, 0.0)
        self.thrash = np.clip(6 * short, 0, 0.9)
        self.swap_flow = 60e6 * self.thrash * host.noise("swap", 0.3)
        swapped = np.minimum(short * host.ram + 5e7, host.swap_bytes)
        used = np.minimum(need, 0.97)
        put["memory.used"], put["memory.available_bytes"] = used, (1 - used) * host.ram
        cached = np.minimum(host.ram * 0.42 * (1 + 0.015 * host.wander("cached", 14_400)), (1 - used) * host.ram)
        put["memory.cached_bytes"], put["memory.slab_bytes"] = cached, slab
        put["memory.anonymous_bytes"] = np.minimum(anonymous, 0.95 * host.ram)
        put["memory.page_faults_per_second"] = (300 + 18 * host.requests) * host.noise("faults", 0.1)
        major = host.rng("major").poisson(0.05, host.rows) / 30.0
        put["memory.major_faults_per_second"] = major + 4000 * self.thrash * host.noise("thrash", 0.3)
        kills = np.zeros(host.rows)
        for row, units in host.said.kills.items():
            kills[row] += len(units) / host.interval
        put["memory.oom_kills_per_second"] = kills
        put["memory.swap_in_bytes_per_second"] = self.swap_flow
        put["memory.swap_out_bytes_per_second"] = 1.2 * self.swap_flow
        put["swap.used"], put["swap.used_bytes"] = swapped / host.swap_bytes, swapped
        put["pressure.memory_some"] = np.clip(self.thrash * host.noise("psi memory", 0.2), 0, 0.95)
        put["pressure.memory_full"] = 0.6 * put["pressure.memory_some"]

    def _disk(self) -> None:
        host, put = self.host, self.put
        read = sum(host.reads.values()) + self.swap_flow + 200.0
        written = sum(host.writes.values()) + 1.2 * self.swap_flow + 2e3
        self.read, self.written = np.asarray(read), np.asarray(written)
        wanted = (self.read + self.written) / host.disk_speed + 0.3 * np.minimum(host.io_errors, 3.0)
        granted = np.minimum(1.0, 0.98 / np.maximum(wanted, 1e-9))
        self.read, self.written = self.read * granted, self.written * granted
        busy = np.minimum(wanted, 0.98)
        self.utilised = busy
        beyond = np.clip(wanted - 0.9, 0, 1.5)
        some = np.clip((0.3 * busy + 0.5 * beyond) * host.noise("psi io", 0.25), 0, 0.97)
        put["pressure.io_some"] = some
        put["pressure.io_full"] = np.clip(
            some * (0.4 + 0.3 * np.minimum(beyond, 1)) * host.noise("psi full", 0.1), 0, 0.9
        )
        put["cpu.iowait"] = np.clip(0.3 * some * host.noise("iowait", 0.2), 0, 0.6) * (1 - put["cpu.busy"])
        reads, writes = self.read / 50e3, 2 + self.written / 18e3
        waits = (1 + busy / (1 - busy)) * 3e-4 * (1 + 3 * beyond) + 0.05 * host.io_errors
        for name, share, since in (("sda", 1.0, 0), ("sdb", 0.02, host.data_from)):
            disk, there = f"disk.{name}.", np.where(np.arange(host.rows) >= since, 1.0, nan)
            part = share * there
            put[disk + "read_bytes_per_second"] = self.read * part
            put[disk + "write_bytes_per_second"] = self.written * part
            put[disk + "reads_per_second"], put[disk + "writes_per_second"] = reads * part, writes * part
            await_seconds = waits if since == 0 else np.full(host.rows, 4e-4)
            put[disk + "read_await_seconds"] = await_seconds * host.noise(f"wait r {name}", 0.15) * there
            put[disk + "write_await_seconds"] = 1.6 * await_seconds * host.noise(f"wait w {name}", 0.15) * there
            put[disk + "busy"] = np.clip(busy * host.noise(f"util {name}", 0.05) * part, 0, 1)

    def _link(self) -> None:
        host, put = self.host, self.put
        backup, traits = host.jobs["backup"], host.rng("link")
        into = (300 + host.requests * traits.uniform(500, 3000) * host.noise("in", 0.1)) * (1 - 0.95 * host.cut)
        into += 0.6e6 * host.jobs["lists"] + 12e6 * host.jobs["deploy"]
        out = (400 + host.requests * traits.uniform(3e3, 3e4) * host.noise("out", 0.12)) * (1 - 0.95 * host.cut)
        out += traits.uniform(5e6, 40e6) * backup
        through = 1 / (1 + 10 * host.loss)
        into, out = into * through, out * through
        received, sent = into / 700 + out / 2800, out / 1200 + into / 1500
        at = np.arange(host.rows)
        dropped = np.where(host.rng("drops").random(host.rows) < 5e-5, 1 / 30, 0.0)
        for name, there in (("eth0", at < host.other_link_from), ("ens3", at >= host.other_link_from), ("lo", None)):
            share = np.full(host.rows, 0.2) if there is None else np.where(there, 1.0, nan)
            bad = 0.0 if there is None else host.loss
            prefix = f"network.{name}."
            put[prefix + "receive_bytes_per_second"], put[prefix + "transmit_bytes_per_second"] = (
                into * share,
                out * share,
            )
            put[prefix + "receive_packets_per_second"] = received * share
            put[prefix + "transmit_packets_per_second"] = sent * share
            put[prefix + "errors_per_second"] = 0.6 * bad * (received + sent) * share
            put[prefix + "drops_per_second"] = (dropped + 0.2 * bad * received) * share
        self._connections(out)
        put["cpu.interrupts_per_second"] = (250 + 0.6 * received + self.read / 50e3) * host.noise("int", 0.05)
        put["cpu.context_switches_per_second"] = (600 + 14 * host.requests * (1 - 0.9 * host.cut)) * host.noise(
            "ctx", 0.06
        )

    def _connections(self, out: Floats) -> None:
        host, put, rng = self.host, self.put, self.host.rng("tcp")
        opened = host.requests * 0.3 * host.noise("opens", 0.08) * (1 - 0.9 * host.cut)
        lasts = np.minimum(self.wait_cpu / 2, 12) * (1 + 8 * put["pressure.io_full"]) * (1 + 20 * host.loss)
        put["tcp.established_count"] = np.rint(15 + host.smooth(opened * 2.6 * lasts, 120))
        put["tcp.retransmits"] = 4e-4 * host.noise("retransmits", 0.5) * (1 + host.jobs["backup"]) + host.loss
        overflow = np.clip(self.wait_cpu - 15, 0, 60) / 60
        put["tcp.listen_drops_per_second"] = opened * overflow
        put["udp.in_errors_per_second"] = np.zeros(host.rows)
        put["tcp.active_opens_per_second"] = 0.4 + 0.1 * opened * host.noise("active", 0.1)
        put["tcp.passive_opens_per_second"] = opened
        put["tcp.resets_per_second"] = rng.poisson(0.3 * opened) / 30.0 + 0.3 * host.requests * host.cut
        put["tcp.resets_sent_per_second"] = rng.poisson(0.2 * opened) / 30.0 + 0.3 * host.requests * host.cut
        put["tcp.orphan_count"] = rng.poisson(0.2, host.rows).astype(float)
        put["tcp.time_wait_count"] = np.rint(60 * host.smooth(opened, 60))
        put["tcp.memory_bytes"] = 4096 * np.rint(20 + put["tcp.established_count"] * 1.5 + out / 4e5)
        put["sockets.used_count"] = np.rint(140 + 1.1 * put["tcp.established_count"])
        leaked = np.maximum(host.open_files[APP] - 0.2, 0) * 65_536
        files = np.rint(1900 + 1.3 * put["tcp.established_count"] + leaked)
        put["kernel.descriptors_count"], put["kernel.descriptors_used"] = files, files / 9.2e18
        put["kernel.threads"] = (260 + 0.2 * host.smooth(host.requests, 120)) / 32_768
        gateway, site = host.rng("gateway"), host.rng("site")
        lost = gateway.random(host.rows) < host.loss
        put["latency.gateway.connect_seconds"] = 4e-4 * host.noise("gateway", 0.2) + 1.0 * lost
        put["latency.gateway.reachable"] = np.ones(host.rows)
        waits = 1.5e-4 * host.noise("site", 0.2) * np.minimum(self.wait_cpu, 40) * (1 + 5 * put["pressure.memory_full"])
        refused = (host.cut > 0) & (site.random(host.rows) < host.cut)
        again = site.random(host.rows) < overflow  # the queue of the listener is full: the SYN is sent again
        put["latency.site.connect_seconds"] = np.where(refused, nan, waits + 1.0 * again)
        put["latency.site.reachable"] = np.where(refused, 0.0, 1.0)

    def _mounts(self) -> None:
        host, put = self.host, self.put
        for mount, size in host.sizes.items():
            since = host.data_from if mount == DATA else 0
            there = np.where(np.arange(host.rows) >= since, 1.0, nan)
            used = np.clip(_LIMITS[mount] + host.filled[mount] / size, 0, 1)
            inodes = np.clip(0.06 + 0.1 * _LIMITS[mount] + host.inodes[mount], 0, 1)
            self.full[mount] = (np.maximum(used, inodes) >= FULL) & np.isfinite(there)
            prefix = f"filesystem.{mount}."
            put[prefix + "used"], put[prefix + "free_bytes"] = used * there, (1 - used) * size * there
            put[prefix + "inodes_used"], put[prefix + "read_only"] = inodes * there, host.read_only[mount] * there

    def _others(self) -> None:
        host, put = self.host, self.put
        jobs, deploy = host.jobs, host.jobs["deploy"]
        waiting = np.maximum(self.wanted - 1, 0) * host.cores
        put["processes.running_count"] = 1.0 + host.rng("running").poisson(put["cpu.busy"] * host.cores + waiting)
        blocked = 2 * self.utilised + 20 * put["pressure.io_full"] + 20 * self.thrash
        put["processes.blocked_count"] = host.rng("blocked").poisson(blocked).astype(float)
        put["processes.total_count"] = np.rint(170 + 0.1 * host.smooth(host.requests, 120) + 6 * (jobs["backup"] > 0))
        forks = 0.6 + 0.01 * host.requests + 12 * deploy + 4 * jobs["lists"] + 3 * jobs["hourly"] + 5 * jobs["rotate"]
        put["processes.forks_per_second"] = forks * host.noise("forks", 0.12)
        load = (self.wanted + put["cpu.iowait"] + blocked / host.cores * 0.3) * host.noise("load", 0.08)
        put["load.one_per_cpu"], put["load.five_per_cpu"] = host.smooth(load, 60), host.smooth(load, 300)
        put["self.cpu"] = 2.5e-4 * host.noise("self", 0.08)
        put["self.resident_bytes"] = 54e6 + 4096 * np.cumsum(host.rng("rss").poisson(0.005, host.rows)) % 8e6
        put["self.descriptors_count"], put["self.threads_count"] = np.full(host.rows, 27.0), np.full(host.rows, 4.0)
        summer = 4 * np.sin(2 * np.pi * (host.day_of_year - 105) / 365.25)
        room = summer + 1.5 * host.wander("room", 14_400)
        put["sensors.coretemp_celsius"] = np.rint(38 + 30 * host.smooth(put["cpu.busy"], 120) + room)
        put[f"units.{QUEUE}.memory_used"] = np.clip(host.limited[QUEUE], 0, 1)
        put[f"units.{APP}.descriptors_used"] = np.clip(host.open_files[APP], 0, 1)
        self._words()

    def _words(self) -> None:
        """What was counted of the journal and of units, a second."""
        host, said = self.host, self.host.said
        counts = {name: np.zeros(host.rows) for name in COUNTED}
        counts["journal.warning"] += host.rng("warnings").poisson(0.3, host.rows)
        counts["journal.error"] += host.rng("errors").poisson(0.03, host.rows)
        io = host.rng("io errors").poisson(host.io_errors * host.interval / 60)
        counts["kernel.io"] += io
        counts["kernel.error"] += io
        link = host.rng("link errors").poisson(20 * host.loss)
        counts["kernel.network"] += link
        counts["kernel.warning"] += link
        counts["journal.error"] += host.rng("full").poisson(10.0 * np.logical_or.reduce(list(self.full.values())))
        counts["journal.exhausted"] += host.rng("full").poisson(10.0 * np.logical_or.reduce(list(self.full.values())))
        restarts = np.zeros(host.rows)
        for row, units in said.restarts.items():
            counts["units.restarted"][row] += len(units)
            counts["journal.warning"][row] += len(units)
            restarts[row] += len(units)
        for row, moves in said.units.items():
            restarts[row] += sum(verb == "restarted" for _, verb in moves)
        for row, failed in said.failed.items():
            counts["units.failed"][row] += len(failed)
        for row, killed in said.kills.items():
            counts["kernel.memory"][row] += len(killed)
            counts["kernel.error"][row] += len(killed)
        for name in _WORDS:
            column = counts[name]
            self.put[f"errors.{name}_per_second"] = column / host.interval
        self.put[RESTARTS.name] = restarts / host.interval

    def _taken(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the shares (U, 4, T) of what all take, and that (4, T)."""
        host = self.host
        kinds = (host.cpu, host.memory, host.reads, host.writes)
        floors = (0.02 * host.cores, host.ram, np.full(host.rows, 200.0), np.full(host.rows, 2e3))
        shares = np.empty((len(UNITS), 4, host.rows), np.float32)
        totals = np.empty((4, host.rows), np.float32)
        for number, (wants, floor) in enumerate(zip(kinds, floors, strict=True)):
            every = floor if wants is host.memory else floor + np.sum(list(wants.values()), axis=0)
            for place, unit in enumerate(UNITS):
                shares[place, number] = np.clip(wants[unit] / every, 0, 1)
            totals[number] = every
        totals[0] = np.minimum(totals[0], host.cores)
        return shares, totals


def _spec(name: str) -> SignalSpec:
    unit = next((one for one in _SUFFIXES if name.endswith(one)), Unit.RATIO)
    parts = name.split(".")
    rate = unit in (Unit.PER_SECOND, Unit.BYTES_PER_SECOND) or name.startswith(_RATES)
    resource = parts[1] if parts[0] in _NAMED and len(parts) > 2 else ""
    if parts[0] == "cpu" and len(parts) == 3:
        resource = f"cpu{parts[1]}"
    elif parts[0] == "units" and len(parts) > 2:
        resource = ".".join(parts[1:-1])
    elif parts[0] == "sensors":
        resource = parts[1].removesuffix("_celsius")
    return SignalSpec(name, unit, Kind.RATE if rate else Kind.GAUGE, parts[0], resource)
