"""Parts of the daemon on real databases with sources and a clock of our own."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from alerting.alert import AlertBook
from alerting.outbox import Outbox
from alerting.pipeline import Pipeline, PipelineSettings
from alerting.policy import PolicySettings
from alerting.ulid import UlidSource
from daemon.alert_store import OffloadedState
from daemon.capacity.watch import CapacityWatch
from daemon.changes import ChangeLog
from daemon.child import Child
from daemon.config import Config
from daemon.culprits import Culprits
from daemon.evidence import Evidence
from daemon.history import History
from daemon.learning import Learning
from daemon.metrics import Metrics
from daemon.offload import Offload
from daemon.precedents import Precedents
from daemon.process_scan import ProcessScan
from daemon.routines import Routines
from daemon.sampler import Sampler
from daemon.signals import Kind, SignalRegistry, SignalSpec
from daemon.state import StateDatabase
from daemon.tick import Tick
from daemon.verdicts.counting import Verdicts
from daemon.watch import AnomalyWatch
from detectors.findings import Unit
from detectors.registry import Registry

INTERVAL = 30.0


class FakeCollector:
    """A source that says what it is told: values by name, an error to raise, or a function to call."""

    def __init__(self, name="fake", values=None, *, deadline_seconds=5.0):
        self.name = name
        self.deadline_seconds = deadline_seconds
        self.values = dict(values or {})
        self.error = None
        self.before = lambda: None
        self.rounds = []
        self.closed = False

    def collect(self, monotonic_ns):
        self.rounds.append(monotonic_ns)
        self.before()
        if self.error is not None:
            raise self.error
        values = self.values() if callable(self.values) else self.values
        return [(SignalSpec(name, Unit.RATIO, Kind.GAUGE, self.name), value) for name, value in values.items()]

    def close(self):
        self.closed = True


class QuietCollector(FakeCollector):
    """A host at rest: wandering values of `signals` signals, the same for the same seed."""

    def __init__(self, signals=12, seed=0, name="quiet"):
        super().__init__(name)
        rng = np.random.default_rng(seed)
        self.level = np.zeros(3)
        self.mixing = rng.normal(size=(3, signals)) * 0.05
        self.shift = np.zeros(signals)

        def values():
            self.level = 0.9 * self.level + rng.normal(size=3)
            row = 0.4 + self.level @ self.mixing + 0.02 * rng.normal(size=signals) + self.shift
            return {f"s{number:02d}": float(value) for number, value in enumerate(row)}

        self.values = values


@dataclass
class Host:
    """A daemon without its loop and listener: databases, tick and learning, put together as `App` does."""

    directory: Path
    clock: object
    collectors: list
    config: Config = field(default_factory=Config)
    interval: float = INTERVAL
    proc: Path = Path("/proc")
    jumps: list = field(default_factory=list)
    published: list = field(default_factory=list)

    def open(self):
        self.offload = Offload()
        self.state = StateDatabase(self.directory / "state.db")
        self.history = History(self.directory / "history.db")
        self.history.bind_interval(self.interval)
        known = [(one.id, one.spec, one.last_seen_ms) for one in self.state.load_signals()]
        self.registry = SignalRegistry(known, self.state.assign_signals, self.state.remove_signals)
        self.metrics = Metrics("test", lambda: self.learning.backend, 200, resets=lambda: self.history.resets)
        self.watch = AnomalyWatch(self.config.anomaly, self.interval)
        self.child = Child()
        self.models = Registry(self.directory / "models")
        self.learning = Learning(
            config=self.config,
            interval_seconds=self.interval,
            history=self.history,
            state=self.state,
            models=self.models,
            registry=self.registry,
            watch=self.watch,
            child=self.child,
            offload=self.offload,
            metrics=self.metrics,
            cache=self.directory / "cache",
            clock=self.clock,
            sys=self.directory,
        )
        settings = PolicySettings("always", 60.0, 300.0)
        store = OffloadedState(self.state, self.offload)
        self.outbox = Outbox(store, (), now_ms=lambda: self.clock.now().time_ms)
        ids = UlidSource()
        book = AlertBook(settings, gap_seconds=3 * self.interval + 1, new_id=ids, describe=lambda one: one.detail)
        self.pipeline = Pipeline(
            "web1", PipelineSettings(settings), book=book, store=store, outbox=self.outbox, new_id=ids
        )
        self.sampler = Sampler(self.collectors)
        self.changes = ChangeLog(
            state=self.state,
            offload=self.offload,
            clock=self.clock,
            grace_seconds=lambda: float(self.config.alerting.change_grace_seconds),
            failed=lambda: self.metrics.failures.labels("change_log").inc(),
        )
        self.capacity = CapacityWatch(self.config.capacity)
        self.precedents = Precedents()
        self.evidence = Evidence(
            culprits=Culprits(ProcessScan(self.proc)),
            changes=self.changes,
            precedents=self.precedents,
            offload=self.offload,
        )
        self.verdicts = Verdicts(
            table=self.state, history=self.history, offload=self.offload, threshold=lambda: self.watch.threshold
        )
        self.tick = Tick(
            interval_seconds=self.interval,
            clock=self.clock,
            offload=self.offload,
            sampler=self.sampler,
            registry=self.registry,
            history=self.history,
            watch=self.watch,
            evidence=self.evidence,
            routines=Routines(self.interval),
            pipeline=self.pipeline,
            metrics=self.metrics,
            publish=self.published.append,
            jumped=lambda: self.jumps.append(self.clock.now().monotonic_ns),
            capacity=self.capacity,
            models=self.learning.promotion,
            said=self.verdicts.at,
        )
        return self

    async def start(self):
        self.open()
        await self.pipeline.restore(self.clock.now())
        self.changes.restore(self.proc)
        self.verdicts.restore()
        self.precedents.learn(reversed(self.state.recent_occurrences(500)))
        self.learning.restore()
        last = self.history.last()
        if last is not None:
            from daemon.clock import Instant  # noqa: PLC0415

            self.tick.resume(last[0], Instant(last[1], last[2], 0, last[3]))
        return self

    async def take(self, count=1, *, learn=True):
        """Take samples one interval apart; learn from the window whenever it is time."""
        for _ in range(count):
            self.clock.advance(self.interval)
            snapshot = await self.tick.once()
            if learn and self.watch.wants_to_learn():
                await self.learning._learn_from_window()
        return snapshot

    def count(self, name, **labels):
        return self.metrics._registry.get_sample_value(name, labels or None) or 0.0

    def close(self):
        self.sampler.close()
        self.offload.close()
        self.history.close()
        self.state.close()


@pytest.fixture
async def hosts(tmp_path, clock):
    """Make hosts on one state folder, one after the other; whatever is open at the end is closed."""
    made = []

    async def build(*collectors, **more):
        if made:
            made[-1].close()
        directory = more.pop("directory", tmp_path / "state")
        directory.mkdir(exist_ok=True)
        host = Host(directory, clock, list(collectors), **more)
        made.append(host)
        return await host.start()

    yield build
    if made:
        made[-1].close()


@pytest.fixture
def fake_collector():
    return FakeCollector


@pytest.fixture
def quiet_collector():
    return QuietCollector


class Daemon:
    """A presaged in a process of its own, on a state folder below `directory`."""

    def __init__(self, directory, *, program=("-m", "daemon"), text="", environment=None):
        self.directory = directory
        self.config = directory / "config.toml"
        self.state = directory / "state"
        self.port = free_port()
        self.program = program
        self.environment = environment or {}
        self.process = None
        self.log = directory / "log"
        self.configure(text)

    def configure(self, text=""):
        self.config.write_text(
            f'[storage]\ndirectory = "{self.state}"\n[http]\nlisten = "127.0.0.1:{self.port}"\n{text}\n'
        )

    def start(self):
        self.started = time.monotonic()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, *self.program, "--config", str(self.config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **self.environment},
            )
        return self

    def get(self, path):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
            return answer.read().decode()

    def status(self):
        return json.loads(self.get("/api/v1/status"))

    def wait(self, until, seconds=15.0):
        """Wait until `until(status)` is true; returns that status."""
        give_up = time.monotonic() + seconds
        while time.monotonic() < give_up:
            if self.process.poll() is not None:
                raise AssertionError(f"it ended with {self.process.returncode}: {self.words()}")
            try:
                status = self.status()
            except OSError:
                status = None
            if status and until(status):
                return status
            time.sleep(0.02)
        raise AssertionError(f"it did not happen within {seconds} s: {self.words()}")

    def lines(self):
        out = []
        for line in self.log.read_text(errors="replace").splitlines():
            try:
                out.append(json.loads(line))
            except ValueError:
                out.append({"event": line})
        return out

    def wait_for_event(self, event, seconds=15.0):
        give_up = time.monotonic() + seconds
        while time.monotonic() < give_up:
            for line in self.lines():
                if line.get("event") == event:
                    return line
            time.sleep(0.02)
        raise AssertionError(f"no {event} within {seconds} s: {self.words()}")

    def words(self):
        return self.log.read_text(errors="replace")[-3000:]

    def send(self, number):
        self.process.send_signal(number)

    def end(self, number=signal.SIGTERM, seconds=10.0):
        """Send `number` and return exit code and seconds."""
        began = time.monotonic()
        self.process.send_signal(number)
        code = self.process.wait(seconds)
        return code, time.monotonic() - began


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def watchdog_fed(tmp_path):
    """The moments at which a daemon with NOTIFY_SOCKET at `notify` has fed systemd's watchdog."""
    fed, over = [], threading.Event()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(0.1)

        def listen():
            while not over.is_set():
                with contextlib.suppress(TimeoutError):
                    if systemd.recv(4096).startswith(b"WATCHDOG=1"):
                        fed.append(time.monotonic())

        listener = threading.Thread(target=listen)
        listener.start()
        yield fed
        over.set()
        listener.join()


@pytest.fixture
def daemons(tmp_path):
    made = []

    def build(**more):
        directory = more.pop("directory", tmp_path)
        directory.mkdir(exist_ok=True)
        made.append(Daemon(directory, **more))
        return made[-1]

    yield build
    for one in made:
        if one.process is not None and one.process.poll() is None:
            one.process.kill()
            one.process.wait()


@pytest.fixture
def until():
    """Wait in the loop until a condition holds."""

    async def wait(condition, seconds=10.0):
        async with asyncio.timeout(seconds):
            while not condition():  # noqa: ASYNC110 - conditions of real processes and files have no event
                await asyncio.sleep(0.005)

    return wait


@pytest.fixture
def pretend(tmp_path, monkeypatch):
    """Put a program of ours in the child's place: it is started the same way and may say anything."""

    def build(code):
        program = tmp_path / "pretender"
        program.write_text(f"#!{sys.executable}\nimport os, sys, time, json, pathlib\n{code}\n")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setattr("daemon.child.sys.executable", str(program))

    return build
