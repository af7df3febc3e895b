"""The simulated host: what its units demand over the year, and what the collectors would have measured of it.

Enters: a seed, a number of days, the seconds between two samples, and what befalls it (`benchmarks.year.events`).
Leaves: samples under the real collectors' names, what each unit took, what systemd and the kernel would have said.
It knows nothing of detectors or of the policy: levels and paces are those of an ordinary small web server.

Demand comes first: each unit wants processor time, memory and disk, by requests with a daily, weekly and yearly
rhythm, and by jobs. Events change demand, room or the link. Then comes the physics: what is wanted beyond what there
is becomes queues, stalls, swap and slow answers. One piece of state, because every signal is a mix of the same causes.
"""

import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from os import environ

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from daemon.continuity import hour_of_week

Floats = NDArray[np.float64]

START_MS = 1_767_222_000_000  # 1 January 2026, 0 h in Berlin
ZONE = "Europe/Berlin"
GIB = 2.0**30
DAY_SECONDS = 86_400.0

WEB, APP, DATABASE, CACHE, QUEUE = (
    "nginx.service",
    "app.service",
    "postgresql.service",
    "redis.service",
    "queue.service",
)
LOG, BACKUP, ROTATE, LISTS = "systemd-journald.service", "backup.service", "logrotate.service", "apt-daily.service"
REPORT, HOURLY, SCRUB = "report.service", "collect-stats.service", "scrub.service"
UNITS = (WEB, APP, DATABASE, CACHE, QUEUE, LOG, BACKUP, ROTATE, LISTS, REPORT, HOURLY, SCRUB)
ROOT, VAR, DATA = "/", "/var", "/data"
FULL = 0.9995

# The share of the requests on public holidays (local day of the year, about), as they are every year.
_HOLIDAYS = {1: 0.4, 93: 0.5, 96: 0.5, 121: 0.5, 134: 0.6, 276: 0.6, 358: 0.4, 359: 0.35, 360: 0.35, 365: 0.45}


@contextmanager
def local_time(zone: str = ZONE) -> Iterator[None]:
    """Let local time be that of the host, which has a night of 23 and one of 25 hours."""
    before = environ.get("TZ")
    environ["TZ"] = zone
    time.tzset()
    try:
        yield
    finally:
        if before is None:
            del environ["TZ"]
        else:
            environ["TZ"] = before
        time.tzset()


@dataclass
class Said:
    """What systemd and the kernel said, by row: restarts and failures of units, kills, boots, other changes."""

    restarts: dict[int, list[tuple[str, float]]] = field(default_factory=dict)  # unit, seconds before the sample
    failed: dict[int, list[str]] = field(default_factory=dict)
    kills: dict[int, list[str]] = field(default_factory=dict)
    units: dict[int, list[tuple[str, str]]] = field(default_factory=dict)  # unit, "started", "stopped", "restarted"
    timers: dict[int, list[str]] = field(default_factory=dict)
    notes: dict[int, list[tuple[str, str]]] = field(default_factory=dict)  # kind of a change, its text


class Host:
    """Demand (T,) of each unit before the physics; events write into it.

    `cpu` is in cores, `memory` in bytes, `reads` and `writes` in bytes a second; `filled` bytes and `inodes` shares
    beyond the ordinary use of a mount; `loss` the share of segments that the link loses; `cut` 1 where the site answers
    nobody; `open_files` and `limited` the share that a unit has of a limit of its own.
    """

    def __init__(self, seed: int, days: int, interval: float) -> None:
        self.seed, self.days, self.interval = seed, days, interval
        self.rows = int(days * DAY_SECONDS / interval)
        self.hour = round(3600 / interval)  # rows
        self.day = 24 * self.hour
        self.traits = self.rng("traits")
        self.time_ms = START_MS + (np.arange(self.rows) * interval * 1000).astype(np.int64)
        self.hours = np.array([hour_of_week(int(at)) for at in self.time_ms[:: self.hour]], np.int64)
        self.hours = np.repeat(self.hours, self.hour)[: self.rows]  # whole hours begin at samples
        self.clock = self.hours % 24 + (np.arange(self.rows) % self.hour) / self.hour
        self.weekend = self.hours // 24 >= 5
        self.day_of_year = (self.time_ms - START_MS) / (DAY_SECONDS * 1000)
        self.down = np.zeros(self.rows, np.bool_)
        self.boot = np.zeros(self.rows, np.int64)
        self.asleep = np.zeros(self.rows, np.int64)  # rows of suspend so far
        self.said = Said()
        self.cores = np.full(self.rows, float(self.traits.choice([2, 4])))
        self.ram = np.full(self.rows, float(self.traits.choice([8, 16])) * GIB)
        self.swap_bytes = 2 * GIB
        self.disk_speed = self.traits.uniform(120e6, 500e6)
        self.sizes = {ROOT: 40e9, VAR: 200e9, DATA: 500e9}
        self.data_from = self.rows  # the third disk comes with an event
        self.other_link_from = self.rows
        self.requests = self._requests()
        self.traffic = np.ones(self.rows)  # what events make of the requests
        zeros = self._zeros
        self.cpu, self.memory = {unit: zeros() for unit in UNITS}, {unit: zeros() for unit in UNITS}
        self.reads, self.writes = {unit: zeros() for unit in UNITS}, {unit: zeros() for unit in UNITS}
        self.filled = {mount: zeros() for mount in self.sizes}
        self.inodes = {mount: zeros() for mount in self.sizes}
        self.loss, self.cut, self.io_errors = zeros(), zeros(), zeros()
        self.read_only = {mount: zeros() for mount in self.sizes}
        self.open_files = {APP: zeros()}
        self.limited = {QUEUE: zeros()}
        self.jobs: dict[str, Floats] = {}
        self.skipped: set[tuple[str, int]] = set()  # runs that an event moves

    def _zeros(self) -> Floats:
        return np.zeros(self.rows)

    def rng(self, name: str) -> np.random.Generator:
        """Return a stream of its own for each cause: leaving one event out changes no other."""
        return np.random.default_rng([self.seed, zlib.crc32(name.encode())])

    def wander(self, name: str, seconds: float) -> Floats:
        """Return noise of unit variance (T,) that forgets in `seconds`: a first-order autoregression."""
        keep = float(np.exp(-self.interval / seconds))
        drawn = self.rng(name).normal(size=self.rows) * np.sqrt(1 - keep**2)
        drawn[0] /= np.sqrt(1 - keep**2)
        return np.asarray(lfilter([1.0], [1.0, -keep], drawn))

    def noise(self, name: str, relative: float) -> Floats:
        """Return a factor (T,) around 1 that is new at each sample."""
        return np.exp(relative * self.rng(name).normal(size=self.rows))

    def smooth(self, values: Floats, seconds: float) -> Floats:
        """Return what a gauge with a memory of `seconds` shows of `values` (T,)."""
        keep = float(np.exp(-self.interval / seconds))
        return np.asarray(lfilter([1 - keep], [1.0, -keep], values, zi=[keep * values[0]])[0])

    def at(self, day: int, hour: float) -> int:
        """Return the row of a local hour of a day; clocks that are set move it by one hour at most."""
        row = day * self.day + round(hour * self.hour)
        if row >= self.rows:
            return self.rows
        shift = round((hour - float(self.clock[row]) + 12) % 24 - 12)
        return min(row + shift * self.hour, self.rows)

    def _requests(self) -> Floats:
        """Return requests a second: night, morning, afternoon, weekend, season; noise of many lengths; bursts."""
        hour, traits = self.clock, self.traits
        shape = np.exp(-((hour - 11) ** 2) / 8) + 0.9 * np.exp(-((hour - 15.5) ** 2) / 10)
        shape += 0.45 * np.exp(-((hour - 20.5) ** 2) / 5)
        night = traits.uniform(0.1, 0.3)
        shape = night + (1 - night) * np.minimum(shape, 1.2) * np.where(self.weekend, traits.uniform(0.3, 0.8), 1.0)
        year = 2 * np.pi * self.day_of_year / 365.25
        season = 1 + traits.uniform(0.1, 0.25) * np.sin(year + traits.uniform(0, 2 * np.pi))
        season *= 1 + traits.uniform(0.1, 0.3) * np.exp(-((self.day_of_year - 345) ** 2) / 200)  # before Christmas
        season *= 1 + traits.uniform(-0.05, 0.2) * self.day_of_year / 365
        for day, share in _HOLIDAYS.items():
            season = np.where(self.day_of_year.astype(int) + 1 == day, season * share, season)
        lasting = 0.06 * self.wander("half a day", 43_200) + 0.07 * self.wander("half an hour", 1_800)
        out = traits.uniform(40, 200) * shape * season * np.exp(lasting + 0.10 * self.wander("a minute", 60))
        bursts, rng = self._zeros(), self.rng("bursts")
        for start in rng.integers(0, self.rows, rng.poisson(5 * self.rows / self.day)):
            bursts[start] += rng.lognormal(-1.0, 0.6)
        lasts = rng.uniform(45, 240)
        bursts *= min(lasts / self.interval, 1.0)  # a sample is the mean of its interval
        keep = np.exp(-self.interval / lasts)
        return np.asarray(out * (1 + lfilter([1.0], [1.0, -keep], bursts)))

    # --- what its units want on ordinary days

    def settle(self) -> None:
        """Draw the jobs and set the demand of every unit; after the events that move jobs or requests."""
        self.requests = self.requests * self.traffic
        self._draw_jobs()
        traits, requests, cores = self.rng("demand"), self.requests, self.cores[0]
        cost = cores * traits.uniform(0.25, 0.5) / np.quantile(requests, 0.95)
        deploy = self.jobs["deploy"]
        released = np.cumsum(self._ends("deploy") * 0.01 * self.rng("release").normal(size=self.rows))
        for unit, share in ((WEB, 0.15), (APP, 0.5), (DATABASE, 0.25), (CACHE, 0.04), (QUEUE, 0.06)):
            released_here = 1 + released * (unit == APP)
            self.cpu[unit] += requests * cost * share * released_here * self.noise(f"cpu {unit}", 0.06)
        self.cpu[LOG] += 0.004 + requests * cost * 0.01
        self.cpu[APP] += 0.9 * deploy
        for unit, job, share in ((BACKUP, "backup", 0.3), (ROTATE, "rotate", 0.3), (LISTS, "lists", 0.15)):
            self.cpu[unit] += share * self.jobs[job]
        self.cpu[HOURLY] += 0.05 * self.jobs["hourly"]
        self.cpu[SCRUB] += 0.15 * self.jobs["scrub"]
        self._settle_memory(deploy)
        self._settle_disk()

    def _settle_memory(self, deploy: Floats) -> None:
        traits, ram, requests = self.rng("memory"), float(self.ram[0]), self.requests
        since = np.arange(self.rows) - np.maximum.accumulate(
            np.where(self._ends("deploy") > 0, np.arange(self.rows), -self.day)
        )
        heap = ram * (0.24 + 0.01 * self.wander("heap", 21_600)) * (1 - 0.25 * np.exp(-since / (2 * self.hour)))
        self.memory[APP] += heap + 2e5 * self.smooth(requests, 300) + 5e7 * deploy
        self.memory[DATABASE] += ram * traits.uniform(0.14, 0.2) * (1 + 0.004 * self.wander("shared", 43_200))
        self.memory[CACHE] += ram * 0.04 * (1 + 0.02 * self.wander("keys", 86_400))
        self.memory[WEB] += 0.01 * ram + 4e4 * self.smooth(requests, 120)
        self.memory[QUEUE] += 0.35 * GIB * (1 + 0.05 * self.wander("queue", 7200))
        self.limited[QUEUE] += self.memory[QUEUE] / GIB
        self.memory[LOG] += 0.1 * GIB * (1 + 0.05 * self.wander("log", 14_400))
        self.memory[BACKUP] += 0.15 * GIB * (self.jobs["backup"] > 0)
        self.memory[LISTS] += 0.08 * GIB * (self.jobs["lists"] > 0)
        self.open_files[APP] += 0.12 + 1e-4 * self.smooth(requests, 120)

    def _settle_disk(self) -> None:
        traits, requests = self.rng("disk"), self.requests
        speed = min(self.disk_speed * 0.5, 150e6)
        self.writes[DATABASE] += 30e3 + requests * traits.uniform(500, 4000) * self.noise("write", 0.15)
        self.writes[LOG] += requests * traits.uniform(100, 400) * self.noise("log write", 0.2)
        self.writes[APP] += requests * 50 + 25e6 * self.jobs["deploy"]
        self.reads[DATABASE] += requests * traits.uniform(20, 400) * self.noise("read", 0.5)
        self.reads[BACKUP] += speed * self.jobs["backup"] * traits.uniform(0.3, 0.7)
        self.writes[BACKUP] += 1e6 * self.jobs["backup"]
        self.reads[SCRUB] += 0.6 * speed * self.jobs["scrub"]
        self.reads[ROTATE] += 15e6 * self.jobs["rotate"]
        self.writes[ROTATE] += 8e6 * self.jobs["rotate"]
        self.writes[LISTS] += 1e6 * self.jobs["lists"]
        self.reads[HOURLY] += 0.6e6 * self.jobs["hourly"]
        logs = np.cumsum(self.writes[LOG]) * self.interval
        for row in self._starts["rotate"]:  # an eighth of yesterday's stays, for a fortnight
            logs[row:] -= 0.99 * logs[row]
        self.filled[VAR] += logs
        self.filled[ROOT] += 3e6 * self.wander("root", 7200) + 1e6 * np.cumsum(self.jobs["deploy"])

    def _draw_jobs(self) -> None:
        """Draw when every job runs: how strongly (T,), 0 or around 1."""
        traits = self.rng("jobs")
        at, minutes = traits.uniform(1.0, 4.0), traits.uniform(25, 60)
        rotate, weekly, minute = traits.uniform(0, 0.4), traits.uniform(4.5, 6.5), int(traits.integers(0, self.hour))
        deploys = traits.uniform(0.2, 0.5)
        self.jobs = {name: self._zeros() for name in ("backup", "rotate", "lists", "scrub", "deploy", "hourly")}
        self._starts: dict[str, list[int]] = {name: [] for name in self.jobs}
        self._stops: dict[str, list[int]] = {name: [] for name in self.jobs}
        for day in range(self.days):
            rng = self.rng(f"day {day}")
            weekday = (int(self.hours[0]) // 24 + day) % 7
            full = 2.0 if weekday == 6 else 1.0  # the full backup of the week
            late, length = rng.uniform(0, 5 / 60), minutes * full * rng.normal(1, 0.07)
            if ("backup", day) not in self.skipped:
                self.run("backup", self.at(day, at + late), length)
            self.run("rotate", self.at(day, rotate), rng.uniform(1, 3))
            self.run("lists", self.at(day, rng.uniform(0, 24)), rng.uniform(1, 3))
            if weekday == 6:
                self.run("scrub", self.at(day, weekly), 72 * rng.normal(1, 0.05))
            if weekday < 5 and rng.random() < deploys:
                self.run("deploy", self.at(day, rng.uniform(9.5, 17.5)), rng.uniform(1, 4))
        for start in range(minute, self.rows, self.hour):
            self.jobs["hourly"][start] = 0.5 * 60 / self.interval * self.rng(f"hourly {start}").lognormal(0, 0.4)
        for job, start, length in self._moved:
            self.run(job, start, length)

    _moved: tuple[tuple[str, int, float], ...] = ()

    def move(self, job: str, start: int, minutes: float) -> None:
        """Let a job run at another time, for so long."""
        self._moved = (*self._moved, (job, start, minutes))

    def run(self, job: str, start: int, minutes: float) -> None:
        """Let a job work for so long; a part of a sample at its end. Its unit starts and stops."""
        rows = minutes * 60 / self.interval
        end = min(start + int(np.ceil(rows)), self.rows)
        if not 0 <= start < end:
            return
        level = np.exp(0.1 * self.rng(f"{job} {start}").normal(size=end - start))
        level[-1] *= min(rows - int(np.ceil(rows)) + 1, 1.0)
        self.jobs[job][start:end] += level
        self._starts[job].append(start)
        self._stops[job].append(end)
        unit = {"backup": BACKUP, "rotate": ROTATE, "lists": LISTS, "scrub": SCRUB}.get(job)
        if unit is not None:
            self.said.timers.setdefault(start, []).append(unit.replace(".service", ".timer"))
            if end - start > 1:
                self.said.units.setdefault(start, []).append((unit, "started"))
                self.said.units.setdefault(min(end, self.rows - 1), []).append((unit, "stopped"))
        if job == "deploy":
            self.said.units.setdefault(min(end, self.rows - 1), []).append((APP, "restarted"))

    def _ends(self, job: str) -> Floats:
        out = self._zeros()
        out[[min(row, self.rows - 1) for row in self._stops[job]]] = 1
        return out

    # --- what the hardware does

    def reboot(self, row: int, minutes: float) -> None:
        """Let the host be down for so long and begin anew."""
        rows = max(1, round(minutes * 60 / self.interval))
        self.down[row : row + rows] = True
        self.boot[row:] += 1

    def suspend(self, row: int, rows: int) -> None:
        """Let the host sleep: nothing is sampled, the monotonic clock stands still."""
        self.down[row : row + rows] = True
        self.asleep[row + rows :] += rows
