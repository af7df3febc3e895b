"""The daemon's year: its own tick, learning, promotion, forecasts, risk, drift, alerts and databases, on a fake clock.

Enters: a `World` and a folder. Leaves: what would have been sent, what was learned, and what it cost. What `App` puts
together is put together here, on the real databases; a reboot ends one daemon and starts the next on the same folder.
Collectors, the journal, the listener and the child's process are left out: rounds come from the world, lines of the
journal are handed over, and the child's work is done in place. Scores are computed hours ahead, as in a backtest.
"""

import hashlib
import json
import os
import resource
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from math import nan
from pathlib import Path

import numpy as np

from alerting.alert import AlertBook
from alerting.outbox import OutboxItem
from alerting.pipeline import Pipeline
from alerting.render import sentence
from alerting.ulid import UlidSource
from benchmarks.year.host import QUEUE
from benchmarks.year.incidents import START_LIMIT
from benchmarks.year.lived import Lived, Message
from benchmarks.year.physics import World
from benchmarks.year.rounds import NoProcesses, WorldClock, WorldRounds
from daemon.alert_settings import pipeline_settings
from daemon.alert_store import OffloadedState
from daemon.backtest.outcome import BEGAN
from daemon.backtest.replay import AtOnce, Batched, KeptOutbox, NamedSink
from daemon.capacity.forecasts import Forecasting
from daemon.capacity.watch import CapacityWatch
from daemon.changes import ChangeLog
from daemon.clock import Instant
from daemon.collectors.base import HostPaths
from daemon.config import Compute, Config
from daemon.continuity import hour_of_week
from daemon.culprits import Culprits
from daemon.drift.check import DriftCheck
from daemon.drift.watch import DriftWatch, learned
from daemon.durable import bind_to_machine
from daemon.errors import PresagedError, StateError
from daemon.evidence import Evidence
from daemon.failures.facts import facts
from daemon.failures.journal import RESTART_SCHEDULED, JournalEntry
from daemon.failures.log import FailureLog
from daemon.failures.memory_kills import noticed_kills
from daemon.failures.mounts import FilesystemFailures
from daemon.failures.record import FailureReport, Source
from daemon.failures.starts import StartLimits
from daemon.history import TIERS_SECONDS
from daemon.learning import Learning
from daemon.metrics import Metrics
from daemon.offload import Inline
from daemon.precedents import Precedents
from daemon.risk.watch import RiskWatch
from daemon.routines import Routines
from daemon.signals import SignalRegistry
from daemon.snapshot import Snapshot
from daemon.state import StateDatabase
from daemon.tick import Tick
from daemon.watch import AnomalyWatch
from detectors import anomaly, failure
from detectors.ahead import AheadScorer, Rows
from detectors.anomaly import AnomalyModel
from detectors.capacity import load_forecaster
from detectors.findings import FailureKind
from detectors.registry import Registry

NAME = "web1"
_PERSON = "person"
_HOUR = 3600.0
# The daemon computes the risk's networks at every tick, makes forecasts and looks for drift every hour, and asks every
# hour whether to train or to judge, which is then done at most daily: nine tenths of the run would be that.
_RISK_SECONDS = 3600.0
_FORECAST_SECONDS = 12 * _HOUR
_DRIFT_SECONDS = 24 * _HOUR
_LEARN_SECONDS = 28 * 24 * _HOUR
_MOST = 1_000_000
_LINK_BYTES = 125e6


async def live(
    world: World, folder: Path, config: Config, progress: Callable[[int], None] = lambda _row: None
) -> Lived:
    """Let a daemon live through all of `world`, with its state below `folder`."""
    nothing = np.full(len(world.time_ms), nan)
    lived = Lived(nothing, nothing.copy(), np.zeros(len(nothing), np.int64))
    config = config.model_copy(update={"compute": Compute(backend="numpy")})
    clock = WorldClock(world)
    _write_limit(folder / "root")
    boots = np.flatnonzero(np.diff(world.boot, prepend=-1))
    ends = [*boots[1:].tolist(), len(world.time_ms)]
    for first, end in zip(boots.tolist(), ends, strict=True):
        rows = first + np.flatnonzero(~world.down[first:end])
        if not len(rows):
            continue
        clock.row = int(rows[0])
        bind_to_machine(folder, "machine-1")
        daemon = _Daemon(world, folder, config, clock, lived)
        try:
            await daemon.start()
            for row in rows.tolist():
                clock.row = row
                await daemon.step()
                if row % 5000 == 0:
                    progress(row)
            await daemon.stop()
        finally:
            daemon.close()
    lived.clone_refused = _refused(folder)
    lived.files = _sizes(folder)
    return lived


def _sizes(folder: Path) -> dict[str, int]:
    """Return the bytes of the databases and of all models."""
    found = {one.name: one.stat().st_size for one in folder.glob("*.db*")}
    return {**found, "models": sum(one.stat().st_size for one in (folder / "models").rglob("*") if one.is_file())}


def _refused(folder: Path) -> bool:
    """Tell whether the state is refused on a machine that was cloned from this one."""
    try:
        bind_to_machine(folder, "machine-2")
    except StateError:
        return True
    return False


def _write_limit(root: Path) -> None:
    """Write the unit file that says after how many starts the unit is given up."""
    units = root / "etc/systemd/system"
    units.mkdir(parents=True)
    burst, seconds = START_LIMIT
    (units / QUEUE).write_text(f"[Unit]\nStartLimitBurst={burst}\nStartLimitIntervalSec={seconds}\n", encoding="ascii")


class _Daemon:
    """One run of the daemon, from a boot to the next."""

    def __init__(self, world: World, folder: Path, config: Config, clock: WorldClock, lived: Lived) -> None:
        self._world, self._clock, self._lived, self._config = world, clock, lived, config
        self._column = {spec.name: column for column, spec in enumerate(world.specs)}
        interval, offload = world.interval, Inline()
        paths = HostPaths(folder / "proc", folder / "sys", folder / "root")
        self._offload = offload
        self._state = state = StateDatabase(folder / "state.db")
        self._history = history = Batched(folder / "history.db")
        history.bind_interval(interval)
        known = [(signal.id, signal.spec, signal.last_seen_ms) for signal in state.load_signals()]
        self._registry = registry = SignalRegistry(known, state.assign_signals, state.remove_signals)
        self._metrics = metrics = Metrics("", lambda: "numpy", 0)
        self._watch = watch = AnomalyWatch(config.anomaly, interval, self._ahead)
        self._learning = Learning(
            config=config,
            interval_seconds=interval,
            history=history,
            state=state,
            models=Registry(folder / "models"),
            registry=registry,
            watch=watch,
            child=AtOnce(history),
            offload=offload,
            metrics=metrics,
            cache=folder,
            with_network=anomaly.NETWORK_DECIDES,
            clock=clock,
            drift=lambda: self._drift.state.score,
            sys=paths.sys,
        )
        self._pipeline_of(config)
        self._changes = ChangeLog(
            state=state,
            offload=offload,
            clock=clock,
            grace_seconds=lambda: float(config.alerting.change_grace_seconds),
            failed=lambda: None,
        )
        self._culprits = Culprits(NoProcesses())
        self._routines = Routines(interval)
        self._precedents = Precedents()
        self._capacity = CapacityWatch(config.capacity)
        self._forecasts = Forecasting(
            interval_seconds=interval,
            history=history,
            registry=registry,
            watch=self._capacity,
            offload=offload,
            metrics=metrics,
            clock=clock,
            load=load_forecaster,
            links=lambda names: dict.fromkeys(names, _LINK_BYTES),
        )
        self._failures = FailureLog(table=state, offload=offload, counted=lambda _kind: None, failed=lambda: None)
        self._mounts, self._starts = FilesystemFailures(), StartLimits(paths)
        self._since_ms = int(state.meta("year.since") or clock.now().time_ms)
        state.set_meta("year.since", str(self._since_ms))
        self._risk = RiskWatch(
            interval_seconds=interval,
            registry=registry,
            offload=offload,
            metrics=metrics,
            events=lambda: self._failures.recent,
            since=lambda: self._since_ms,
            loops=self._starts.loops,
            load=failure.load_forecaster,
            every_seconds=max(_RISK_SECONDS, 1.5 * interval),
        )
        self._drift = DriftWatch(
            config.drift,
            DriftCheck(history, folder / "drift", interval, lambda: self._learning.computes),
            registry=registry,
            state=state,
            offload=offload,
            clock=clock,
            learned=lambda: learned(self._watch, self._capacity, self._registry),
        )
        self._rounds = WorldRounds(world, clock)
        self._tick = Tick(
            interval_seconds=interval,
            clock=clock,
            offload=offload,
            sampler=self._rounds,
            registry=registry,
            history=history,
            watch=watch,
            evidence=Evidence(
                culprits=self._culprits, changes=self._changes, precedents=self._precedents, offload=offload
            ),
            routines=self._routines,
            pipeline=self._pipeline,
            metrics=metrics,
            publish=self._note,
            jumped=lambda: None,
            capacity=self._capacity,
            risk=self._risk,
            drift=self._drift,
            models=self._learning.promotion,
            facts=lambda now_ms: tuple(facts(self._failures.recent, {}, (), now_ms)),
        )
        self._remembering: dict[str, Culprits | Routines | CapacityWatch] = {
            "units.usual": self._culprits,
            "jobs.habits": self._routines,
            "capacity.growth": self._capacity,
        }
        self._last_ms = clock.now().time_ms
        self._due: dict[str, int] = {}

    def _pipeline_of(self, config: Config) -> None:
        settings, clock = pipeline_settings(config), self._clock
        store, new_id = OffloadedState(self._state, self._offload), UlidSource(self._letters)
        self._outbox = KeptOutbox(store, [NamedSink(_PERSON)], now_ms=lambda: clock.now().time_ms)
        book = AlertBook(
            settings.policy,
            gap_seconds=3 * self._world.interval + 1,
            new_id=new_id,
            describe=partial(sentence, NAME),
        )
        self._pipeline = Pipeline(NAME, settings, book=book, store=store, outbox=self._outbox, new_id=new_id)

    def _letters(self, count: int) -> bytes:
        """Return what stands for chance in an id: the same year has the same ids."""
        return hashlib.sha256(f"year {self._clock.row}".encode()).digest()[:count]

    async def start(self) -> None:
        """Take up what is stored, in the order of `App`."""
        now = self._clock.now()
        await self._pipeline.restore(now)
        self._failures.restore()
        self._changes.restore(HostPaths().proc)
        self._drift.restore()
        self._precedents.learn(reversed(self._state.recent_occurrences(500)))
        for key, part in self._remembering.items():
            text = self._state.meta(key)
            if text is not None:
                part.restore(text)
        self._rounds.expect([mount for mount in ("/", "/var") if self._state.meta("year.since")])
        self._learning.restore()
        self._risk.restored(self._history)()
        last = self._history.last()
        if last is not None:
            self._tick.resume(last[0], Instant(last[1], last[2], 0, last[3]))
        self._lived.starts += 1
        jobs = self._jobs()
        self._due = {
            name: now.time_ms - now.time_ms % round(jobs[name][0] * 1000) + round(jobs[name][0] * 1000) for name in jobs
        }  # whatever was rebooted meanwhile

    def _jobs(self) -> dict[str, tuple[float, Callable[[], Awaitable[object]]]]:
        """Return the recurring work of `App`: after how many seconds, and what."""
        learning = self._learning
        return {
            "rollup": (6 * _HOUR, self._roll_up),
            "threshold": (float(self._config.anomaly.threshold_interval_seconds), learning.reset_threshold),
            "forecast": (_FORECAST_SECONDS, self._forecasts.make_due),
            "drift": (_DRIFT_SECONDS, self._drift.check),
            "train": (_LEARN_SECONDS, learning.retraining.train_again),
            "judge": (_LEARN_SECONDS, learning.promotion.judge_due),
            "house": (24 * _HOUR, self._keep_house),
        }

    async def step(self) -> None:
        """Take one sample, and do what is due."""
        now_ms = int(self._world.time_ms[self._clock.row])
        self._hear(now_ms)
        snapshot = await self._tick.once()
        await self._failures_of(snapshot, now_ms)
        await self._learning.catch_up()
        if now_ms < min(self._due.values()):
            return
        for name, (seconds, job) in self._jobs().items():
            if now_ms >= self._due[name]:
                self._due[name] = now_ms + round(seconds * 1000)
                with suppress(PresagedError):  # as the scheduler does: the next run may succeed
                    await job()

    def _hear(self, now_ms: int) -> None:
        """Hand over what systemd says of restarts."""
        for unit, before in self._world.said.restarts.get(self._clock.row, ()):
            at_ms = now_ms - round(before * 1000)
            text = f"{unit}: Scheduled restart job."
            self._starts.take(
                JournalEntry(
                    at_ms, 6, "systemd", "init.scope", "journal", text, about=unit, message_id=RESTART_SCHEDULED
                )
            )
        if unread := self._starts.unread:
            self._starts.learn(self._starts.read(unread))

    async def _failures_of(self, snapshot: Snapshot, now_ms: int) -> None:
        """Record what failed, as the failure watch does."""
        last_ms, self._last_ms = self._last_ms, now_ms
        reports = [
            *noticed_kills(snapshot.noticed, now_ms, last_ms),
            *self._mounts.observe(snapshot.values, snapshot.findings, now_ms, last_ms),
            *(
                FailureReport(
                    FailureKind.UNIT_FAILED, Source.SYSTEMD, f"{unit} {now_ms}", now_ms, now_ms, unit, "it failed"
                )
                for unit in self._world.said.failed.get(self._clock.row, ())
            ),
        ]
        for report in reports:
            self._failures.report(report)
        if reports:
            await self._failures.write()

    async def _roll_up(self) -> None:
        self._history.flush()
        self._history.roll_up()

    async def _keep_house(self) -> None:
        for key, part in self._remembering.items():
            self._state.set_meta(key, part.remember())
        retention = self._config.storage.retention
        keep = {
            0: int(retention.raw_days * 86_400 / self._world.interval),
            TIERS_SECONDS[0]: retention.five_minutes_days * 288,
            TIERS_SECONDS[1]: retention.hours_days * 24,
            TIERS_SECONDS[2]: retention.days_days,
        }
        self._history.flush()
        self._history.prune(keep)
        self._state.prune()
        found = self._learning.promotion.state.retention
        if found is not None:
            self._lived.retention.append((self._clock.row, found))
        self._lived.resident.append((self._clock.row, _resident()))

    async def stop(self) -> None:
        """Leave what the next one takes up, and add up what this one did."""
        await self._keep_house()
        lived = self._lived
        for sample in next(iter(self._metrics.retrains.collect())).samples:
            if sample.name.endswith("_total"):
                key = f"{sample.labels['trigger']}: {sample.labels['outcome']}"
                lived.retrains[key] = lived.retrains.get(key, 0) + int(sample.value)
        lived.messages += filter(None, (self._message(item) for item in self._outbox.items))
        lived.occurrences = tuple(reversed(self._state.recent_occurrences(_MOST)))
        lived.lineage = await self._learning.promotion.lineage()

    def _message(self, item: OutboxItem) -> Message | None:
        """Return what a notification tells for the first time; None where it repeats, or tells that something ended."""
        document = json.loads(item.payload)
        news = [one for one in (document, *document.get("also", ())) if one.get("reason") == BEGAN]
        if not news:
            return None
        row = int(np.searchsorted(self._world.time_ms, item.created_ms))
        return Message(row, tuple(one["alertname"] for one in news), " | ".join(one["sentence"] for one in news))

    def close(self) -> None:
        """Close the databases."""
        self._history.flush()
        self._history.close()
        self._state.close()

    def _note(self, snapshot: Snapshot) -> None:
        row, lived = self._clock.row, self._lived
        if snapshot.anomaly.raw is not None and snapshot.anomaly.threshold is not None:
            lived.raw[row], lived.threshold[row] = snapshot.anomaly.raw, snapshot.anomaly.threshold
        lived.episodes[row] = self._watch.episodes
        self._learning.after_tick()

    def _ahead(self, model: AnomalyModel) -> AheadScorer:
        numbers = dict(zip(self._registry.ids.tolist(), self._registry.specs, strict=True))
        places = np.array([self._column[numbers[number].name] for number in model.signal_ids], np.int64)
        world = self._world

        def behind(count: int) -> Rows:
            window = self._watch.window
            return window.recent(model.signal_ids, count), np.array(window.recent_hours(count), np.int64)

        def coming(most: int) -> Rows:
            first = self._clock.row + 1
            stops = np.flatnonzero(world.down[first : first + most])
            end = first + (int(stops[0]) if len(stops) else min(most, len(world.down) - first))
            hours = np.array([hour_of_week(int(at)) for at in world.time_ms[first:end]], np.int64)
            return world.values[first:end][:, places], hours

        return AheadScorer(model, behind, coming)


def _resident() -> int:
    """Return the bytes of memory that this process has now."""
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 - one line
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def peak_bytes() -> int:
    """Return the most memory that this process ever had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
