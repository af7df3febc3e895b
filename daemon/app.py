"""The composition root: builds every part, starts them in stages, reloads, and stops within 5 seconds.

One TaskGroup holds all that runs. What is not a PresagedError ends the process loudly; systemd
starts it again.
"""

import asyncio
import fcntl
import math
import signal
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from urllib.parse import urlsplit

import structlog

from alerting.errors import StoreError
from alerting.redact import redactor
from alerting.render import rfc3339
from daemon import __version__, log
from daemon.alerts import Alerts
from daemon.capacity.answers import forecasts_answer
from daemon.capacity.forecasts import HOUR_SECONDS, Forecasting
from daemon.capacity.points import recent_rounds
from daemon.capacity.refining import CapacityRefining
from daemon.capacity.series import capacity_performance
from daemon.capacity.state import CapacityState
from daemon.capacity.watch import CapacityWatch
from daemon.changes import ChangeLog
from daemon.child import Child
from daemon.clock import Clock, Instant, SystemClock
from daemon.collectors import CollectorContext, build_collectors
from daemon.collectors.application import Asked
from daemon.collectors.base import HostPaths
from daemon.collectors.errors import ErrorCounts
from daemon.collectors.network import link_speeds
from daemon.config import Config, Loaded, load, split_address
from daemon.culprits import Culprits
from daemon.dashboard.answers import MonthAnswer, SelfAnswer
from daemon.dashboard.charts import ChartLibrary, installed_library
from daemon.dashboard.cost import OwnCost
from daemon.dashboard.month import last_month
from daemon.dashboard.routes import DashboardRoutes
from daemon.degraded import Degraded, MemoryLeft
from daemon.drift.answers import DriftAnswer, drift_answer
from daemon.drift.check import DriftCheck
from daemon.drift.routes import drift_route
from daemon.drift.watch import CHECK_SECONDS, DEADLINE_SECONDS, DriftWatch, learned
from daemon.durable import bind_to_machine
from daemon.errors import ConfigError, PresagedError, StateError
from daemon.evidence import Evidence
from daemon.failures.families import ErrorPatterns
from daemon.failures.log import FailureLog
from daemon.failures.record import FailureEvent
from daemon.failures.routes import FailureRoutes
from daemon.failures.watch import FailureWatch, Seen
from daemon.history import TIERS_SECONDS, History
from daemon.history_file import forget_old_copies
from daemon.host import describe_host
from daemon.learning import Learning
from daemon.loop_faults import LoopFaults
from daemon.metrics import Metrics
from daemon.models.by_hand import ByHand
from daemon.models.foretelling import Foretelling
from daemon.models.question_routes import QuestionRoutes
from daemon.models.refined import RefinedModels
from daemon.models.routes import NeuralRoutes
from daemon.models.triggers import Trigger
from daemon.notify_systemd import Notifier
from daemon.offload import Offload
from daemon.precedents import Precedents
from daemon.preflight import Prepared
from daemon.process_scan import ProcessScan
from daemon.risk.answers import RiskAnswer, risk_answer, risk_in_brief
from daemon.risk.grading import Grading
from daemon.risk.refining import Refining
from daemon.risk.routes import risk_route
from daemon.risk.state import RiskState
from daemon.risk.watch import RiskWatch
from daemon.routines import Routines
from daemon.sampler import Sampler
from daemon.scheduler import Job, Scheduler
from daemon.signals import SignalRegistry
from daemon.snapshot import Snapshot
from daemon.state import StateDatabase
from daemon.tick import Tick
from daemon.verdicts.counting import Verdicts
from daemon.wake import PressureTriggers
from daemon.watch import AnomalyWatch
from daemon.web.api import (
    ChangeAnswer,
    ChangesAnswer,
    JobAnswer,
    StatusAnswer,
    alert_answer,
    anomaly_answer,
    capacity_answers,
    change_answer,
    collector_answers,
    host_answer,
    sink_answers,
)
from daemon.web.events import Events
from daemon.web.forecast_answers import ForecastsAnswer
from daemon.web.host_routes import HostRoutes
from daemon.web.operations import PageQuery, cursor_of, place_of
from daemon.web.server import Server, ensure_token
from daemon.web.signal_routes import SignalRoutes
from detectors import capacity, failure
from detectors.factors import COUNT
from detectors.kernels import release_idle
from detectors.registry import Registry

_log = structlog.get_logger()

_LAST_TICK_SECONDS = 2.0
_LAST_WRITE_SECONDS = 1.0
_STALE_INTERVALS = 3
_PRECEDENTS, _AT_ONCE = 500, 50  # all at once they are megabytes
_USUAL = "units.usual"
_HABITS = "jobs.habits"
_GROWTH = "capacity.growth"
_WAKE_FROM_SECONDS = 5.0  # at shorter intervals an early tick brings nothing


@dataclass(frozen=True, slots=True)
class _Stores:
    """The two databases and what stands beside them."""

    state: StateDatabase
    history: History
    token: str
    link_key: bytes


class App:
    """The daemon. `interval_seconds` overrides the configuration's, for replays and tests at other speeds."""

    def __init__(
        self,
        loaded: Loaded,
        prepared: Prepared,
        *,
        clock: Clock | None = None,
        paths: HostPaths | None = None,
        interval_seconds: float | None = None,
    ) -> None:
        self._loaded = loaded
        self._prepared = prepared
        self._clock = clock or SystemClock()
        self._paths = paths or HostPaths()
        self._interval = interval_seconds or float(loaded.config.sampling.interval_seconds)
        self._notifier = Notifier()
        self._stop = asyncio.Event()
        self._snapshot: Snapshot | None = None
        self._started_ms = 0

    async def run(self) -> None:
        """Run until SIGTERM or SIGINT. Raises StateError when what is stored cannot be used."""
        config = self._loaded.config
        started = self._clock.now()
        self._started_ms = started.time_ms
        self._host = describe_host(self._paths)
        self._host_name = config.host.name or self._host.hostname
        self._offload = Offload()
        stores = self._open_stores()
        try:
            self._build(config, stores, started)
            try:
                await self._pipeline.restore(started)
            except StoreError as error:  # what the operator reads is the same for every part of state.db
                raise StateError(str(error)) from error
            self._sampler.expect(*(self._resources_of(name) for name in ("StoppedCollecting", "FilesystemReadOnly")))
            # before what is remembered, or a past run of the last hours would count twice
            await self._offload.run(
                lambda: self._capacity.replay(recent_rounds(self._history, self._registry, started.time_ms)),
                deadline_seconds=30.0,
                what="history.db",
            )
            await self._offload.run(self._restore_evidence, deadline_seconds=10.0, what="state.db")
            await self._offload.run(self._learning.restore, deadline_seconds=60.0, what="history.db")
            await self._restore_risk()
            await self._offload.run(self._refining.restore, deadline_seconds=10.0, what="models")
            last = stores.history.last()
            await self._offload.run(
                lambda: self._failures.restore(last[1] if last else 0), deadline_seconds=10.0, what="state.db"
            )
            await self._offload.run(self._grading.restore, deadline_seconds=10.0, what="state.db")
            if last is not None:
                self._tick.resume(last[0], Instant(last[1], last[2], 0, last[3]))
            self._tick.seq = max(self._tick.seq, self._watch.number)  # a history set aside must not reuse model numbers
            await self._serve()
        finally:
            self._offload.close()
            stores.history.close()
            stores.state.close()
            self._lock_file.close()
        _log.info("stopped", samples=self._tick.samples)

    def _open_stores(self) -> _Stores:
        directory = self._loaded.state_directory
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock_file = (directory / "lock").open("w", encoding="ascii")
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            token = ensure_token(directory)
            link_key = ensure_token(directory, "links.key").encode()
        except BlockingIOError as error:
            raise StateError(f"{directory}: another presaged is running on this state folder") from error
        except OSError as error:
            raise StateError(f"{error.filename or directory}: {error.strerror}") from error
        bind_to_machine(directory, self._host.machine_id)
        return _Stores(StateDatabase(directory / "state.db"), History(directory / "history.db"), token, link_key)

    def _build(self, config: Config, stores: _Stores, started: Instant) -> None:
        """Make every part and hand it what it needs."""
        self._state, self._history = stores.state, stores.history
        former = self._history.bind_interval(self._interval)
        if former is not None:
            _log.warning("interval_changed", former_seconds=former, effect="what was learned at it is not used")
        known = [(signal.id, signal.spec, signal.last_seen_ms) for signal in self._state.load_signals()]
        self._registry = SignalRegistry(known, self._state.assign_signals, self._state.remove_signals)
        self._metrics = Metrics(
            __version__,
            lambda: self._learning.backend,
            config.metrics.signals,
            most_resources=config.metrics.resources,
            resets=lambda: self._history.resets,
            degraded=lambda: self._degraded.modes,
        )
        self._cost = OwnCost(self._loaded.state_directory, self._metrics.tick_seconds)
        self._watch = AnomalyWatch(config.anomaly, self._interval)
        self._degraded = Degraded(MemoryLeft(self._paths.proc, self._paths.sys))
        self._child = Child(self._degraded.refuse_child)
        self._learning = Learning(
            config=config,
            interval_seconds=self._interval,
            history=self._history,
            state=self._state,
            models=Registry(self._loaded.state_directory / "models"),
            registry=self._registry,
            watch=self._watch,
            child=self._child,
            offload=self._offload,
            metrics=self._metrics,
            cache=self._loaded.cache_directory,
            clock=self._clock,
            sys=self._paths.sys,
            drift=lambda: self._drift.state.score,
        )
        self._verdicts = Verdicts(
            table=self._state, history=self._history, offload=self._offload, threshold=lambda: self._watch.threshold
        )
        self._alerts = Alerts(
            config,
            self._prepared,
            host=self._host_name,
            interval_seconds=self._interval,
            state=self._state,
            offload=self._offload,
            clock=self._clock,
            started=started,
            link_key=stores.link_key,
            drill=lambda words: self._tick.drill(words),  # noqa: PLW0108 - the tick is made after it
            verdicts=self._verdicts,
        )
        self._pipeline = self._alerts.pipeline
        self._errors = ErrorCounts(lambda: self._failures.journal.problem)
        self._patterns = ErrorPatterns(self._errors, redactor(config.privacy.log_text))
        self._sampler = Sampler(build_collectors(self._collector_context(config)), beside=self._degraded.look)
        self._changes = ChangeLog(
            state=self._state,
            offload=self._offload,
            clock=self._clock,
            grace_seconds=lambda: float(self._loaded.config.alerting.change_grace_seconds),
            failed=lambda: self._metrics.failures.labels("change_log").inc(),
        )
        self._precedents = Precedents()
        self._culprits = Culprits(ProcessScan(self._paths.proc))
        self._routines = Routines(self._interval)
        self._capacity = CapacityWatch(config.capacity)
        self._forecasts = Forecasting(
            interval_seconds=self._interval,
            history=self._history,
            registry=self._registry,
            watch=self._capacity,
            offload=self._offload,
            metrics=self._metrics,
            clock=self._clock,
            load=lambda: self._capacity_refining.load(),  # noqa: PLW0108 - it comes later
            links=partial(link_speeds, self._paths),
        )
        self._capacity_refining = CapacityRefining(
            history=self._history.path,
            state=self._state,
            models=RefinedModels(self._loaded.state_directory / "models", "capacity", capacity.refined),
            registry=self._registry,
            child=self._child,
            offload=self._offload,
            metrics=self._metrics,
            clock=self._clock,
            settings=lambda: config.learning,
            known=lambda: self._capacity.known,
            performance=lambda: capacity_performance(self._snapshot.capacity) if self._snapshot else None,
            age=lambda: self._watch.seen * self._interval,
            adopt=self._forecasts.adopt,
            own_work=self._watch.own_work,
            sys=self._paths.sys,
        )
        self._risk = RiskWatch(
            interval_seconds=self._interval,
            registry=self._registry,
            offload=self._offload,
            metrics=self._metrics,
            events=lambda: self._failures.log.recent,
            since=lambda: self._failures.since_ms,
            loops=lambda now_ms: self._failures.starts.loops(now_ms),  # noqa: PLW0108 - they are watched later
            load=failure.load_forecaster,
        )
        self._refining = Refining(
            interval_seconds=self._interval,
            history=self._history.path,
            state=self._state,
            models=RefinedModels(self._loaded.state_directory / "models", "failure", failure.load_forecaster),
            registry=self._registry,
            child=self._child,
            offload=self._offload,
            metrics=self._metrics,
            clock=self._clock,
            since=lambda: self._failures.since_ms,
            adopt=self._risk.adopt,
            own_work=self._watch.own_work,
            memory_bytes=config.learning.memory_bytes,
            score_threshold=config.anomaly.score_threshold,
        )
        self._by_hand = ByHand(
            {"capacity": self._capacity_refining.refine_by_hand, "failure": self._refining.refine_by_hand},
            self._learning.retraining.trainings,
            self._clock,
        )
        self._grading = Grading(
            state=self._state,
            offload=self._offload,
            clock=self._clock,
            told=lambda: self._risk.told,
            failed_ms=lambda: [event.time_ms for event in self._failures.log.recent],
            until_ms=lambda: self._refining.until_ms,
            degradation=lambda: config.learning.degradation,
            refine=partial(self._refining.refine_again, Trigger.DEGRADATION),
            publish=self._risk.take_grade,
        )
        self._drift = DriftWatch(
            config.drift,
            DriftCheck(
                self._history,
                self._loaded.state_directory / "drift",
                self._interval,
                lambda: self._learning.computes,
            ),
            registry=self._registry,
            state=self._state,
            offload=self._offload,
            clock=self._clock,
            learned=lambda: learned(self._watch, self._capacity, self._registry),
        )
        evidence = Evidence(
            culprits=self._culprits,
            changes=self._changes,
            precedents=self._precedents,
            offload=self._offload,
            redact=redactor(config.privacy.log_text),
        )
        self._tick = Tick(
            interval_seconds=self._interval,
            clock=self._clock,
            offload=self._offload,
            sampler=self._sampler,
            registry=self._registry,
            history=self._history,
            watch=self._watch,
            evidence=evidence,
            routines=self._routines,
            pipeline=self._pipeline,
            metrics=self._metrics,
            publish=self._publish,
            jumped=lambda: self._scheduler.realign(),  # noqa: PLW0108 - the scheduler is made after the tick
            beat=self._alerts.beat,
            capacity=self._capacity,
            risk=self._risk,
            drift=self._drift,
            models=self._learning.promotion,
            said=self._verdicts.at,
            facts=lambda now_ms: self._failures.facts(self._loaded.config.alerting.units, now_ms),
        )
        self._failures = self._watch_failures(config)
        self._scheduler = Scheduler(
            self._jobs(config), clock=self._clock, state=self._state, offload=self._offload, metrics=self._metrics
        )
        dashboard = DashboardRoutes(
            library=ChartLibrary(self._loaded.cache_directory, installed_library()),
            offload=self._offload,
            month=self._tell_month,
            cost=self._tell_cost,
        )
        self._events = Events(
            version=__version__,
            interval_seconds=self._interval,
            score_threshold=lambda: self._loaded.config.anomaly.score_threshold,
            job=self._job,
            dropped=lambda: self._metrics.failures.labels("event_stream").inc(),
        )
        self._server = Server(
            self._prepared.listener,
            metrics=self._metrics,
            ready=self._is_ready,
            host=HostRoutes(self._status, self._list_changes, self._mark_change, self._list_forecasts),
            desk=self._alerts.desk,
            scraped=self._alerts.note_scrape,
            now_ms=lambda: self._clock.now().time_ms,
            offload=self._offload,
            stopping=self._events.stop,
            sheds=self._degraded.sheds,
            more=(
                self._events.operation(),
                *SignalRoutes(
                    history=stores.history.path,
                    signals=self._state.load_signals,
                    snapshot=lambda: self._snapshot,
                    offload=self._offload,
                    interval_seconds=self._interval,
                    score_threshold=lambda: self._loaded.config.anomaly.score_threshold,
                    now_ms=lambda: self._clock.now().time_ms,
                ).table(),
                risk_route(self._tell_risk),
                drift_route(self._tell_drift),
                *dashboard.table(),
                *NeuralRoutes(self._learning, self._by_hand).table(),
                *QuestionRoutes(self._learning, self._foretelling(), lambda: self._risk.told.taught).table(),
                *FailureRoutes(
                    recent=self._list_failures,
                    sources=lambda: self._failures.sources,
                    mark=self._failures.mark,
                    now_ms=lambda: self._clock.now().time_ms,
                ).table(),
            ),
            pages=dashboard.pages(),
            token=stores.token,
            allowed_hosts=(
                split_address(config.http.listen)[0],
                *config.http.allowed_hosts,
                *filter(None, (urlsplit(config.http.external_url).hostname,)),
            ),
        )

    def _foretelling(self) -> Foretelling:
        return Foretelling(self._forecasts.forecaster, self._risk.forecaster, self._offload, self._interval)

    def _watch_failures(self, config: Config) -> FailureWatch:
        log_text = config.privacy.log_text
        return FailureWatch(
            log=FailureLog(
                table=self._state,
                offload=self._offload,
                counted=lambda kind: self._metrics.failure_events.labels(kind.value).inc(),
                failed=lambda: self._metrics.failures.labels("failure_log").inc(),
            ),
            meta=self._state.meta,
            offload=self._offload,
            clock=self._clock,
            paths=self._paths,
            listeners=(self._patterns.take,),
            redact=redactor(log_text),
            redact_mark=redactor("full" if log_text == "full" else "redacted"),  # "none" is for other programs' words
        )

    async def _list_failures(self, limit: int, before: tuple[int, int] | None) -> Sequence[FailureEvent]:
        return await self._offload.run(
            lambda: self._state.recent_failures(limit, before), deadline_seconds=5.0, what="failure log"
        )

    async def _restore_risk(self) -> None:
        work = self._risk.restored(self._history)
        try:
            await self._offload.run(work, deadline_seconds=60.0, what="history.db")
        except (sqlite3.Error, PresagedError) as error:  # it knows less of the past, and tells so by its interval
            _log.warning("risk_without_its_past", reason=str(error))

    def _restore_evidence(self) -> None:
        self._verdicts.restore()
        self._changes.restore(self._paths.proc)
        self._drift.restore()
        for skip in range(_PRECEDENTS - _AT_ONCE, -1, -_AT_ONCE):
            self._precedents.learn(reversed(self._state.recent_occurrences(_AT_ONCE, skip)))
        for key, restore in (
            (_USUAL, self._culprits.restore),
            (_HABITS, self._routines.restore),
            (_GROWTH, self._capacity.restore),
        ):
            text = self._state.meta(key)
            try:
                if text is not None:
                    restore(text)
            except ValueError as error:  # it is learned anew: nothing else depends on it
                _log.warning("what_was_usual_not_read", key=key, reason=str(error))

    def _resources_of(self, alertname: str) -> list[str]:
        """Return what open alerts of this name are about: they must not end because a new process knows no past."""
        return [alert.resource for alert in self._pipeline.active if alert.alertname == alertname]

    def _collector_context(self, config: Config) -> CollectorContext:
        collectors = config.collectors
        return CollectorContext(
            paths=self._paths,
            gap_seconds=max(2.5 * self._interval, self._interval + 1.0),
            visitors=lambda: self._server.visitors(),  # noqa: PLW0108 - it comes later
            exclude_mounts=collectors.exclude_mounts,
            exclude_disks=collectors.exclude_disks,
            exclude_interfaces=collectors.exclude_interfaces,
            latency_targets=collectors.latency.targets,
            applications=tuple(Asked(one.name, one.url, one.directory, one.metrics) for one in collectors.application),
            errors=self._errors,
            disabled=frozenset(collectors.disable),
        )

    def _jobs(self, config: Config) -> list[Job]:
        """Return the table of recurring work."""
        return [
            Job("rollup", max(300.0, self._interval), 120.0, partial(self._or_anew, self._roll_up)),
            Job("housekeeping", 3600.0, 300.0, partial(self._or_anew, self._keep_house)),
            Job(
                "threshold",
                config.anomaly.threshold_interval_seconds,
                60.0,
                partial(self._or_anew, self._learning.reset_threshold),
            ),
            Job("forecast", HOUR_SECONDS, 300.0, partial(self._or_anew, self._forecasts.make_due)),
            Job("drift", CHECK_SECONDS, DEADLINE_SECONDS, partial(self._or_anew, self._drift.check)),
            Job("train", 3600.0, 4000.0, self._learning.retraining.train_again),
            Job("judge", 3600.0, 2400.0, self._learning.promotion.judge_due),
            # it may have to wait until the training, due at the same time, gives the child back
            Job("refine", config.learning.interval_days * 86_400.0, 6000.0, self._refining.refine_again),
            Job("refine_capacity", HOUR_SECONDS, 6000.0, self._capacity_refining.refine_due),
            Job("grade_risk", HOUR_SECONDS, 6000.0, self._grading.grade),
        ]

    async def _or_anew(self, run: Callable[[], Awaitable[str]]) -> str:
        """Run a job on history.db; where that turns out to be corrupt, set it aside: the job would never succeed."""
        try:
            return await run()
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError as error:  # state.db raises StateError: this is the history
            reason = str(error)
            await self._offload.run(lambda: self._history.set_aside(reason), deadline_seconds=10.0, what="history.db")
            return f"history set aside: {reason}"

    async def _roll_up(self) -> str:
        def work() -> tuple[int, int, bool]:
            done = self._learning.count_seen(), self._history.roll_up(), self._forecasts.note_imported()
            release_idle()  # what this and all that was done since the last time have freed and touched
            return done

        await self._verdicts.follow(self._clock.now().time_ms)
        seen, rows, imported = await self._offload.run(work, deadline_seconds=100.0, what="history.db")
        self._learning.note_seen(seen)
        if imported:
            self._forecasts.make_again()
            await self._restore_risk()
        return f"{rows} rows"

    async def _keep_house(self) -> str:
        """Delete what is past its time, note which signals were seen, give the reserve back."""
        retention = self._loaded.config.storage.retention
        keep = {
            0: int(retention.raw_days * 86_400 / self._interval),
            TIERS_SECONDS[0]: retention.five_minutes_days * 288,
            TIERS_SECONDS[1]: retention.hours_days * 24,
            TIERS_SECONDS[2]: retention.days_days,
        }
        snapshot = self._snapshot
        # on the loop, between two ticks
        usual, habits, growth = self._culprits.remember(), self._routines.remember(), self._capacity.remember()

        def work() -> int:
            self._state.set_meta(_USUAL, usual)
            self._state.set_meta(_HABITS, habits)
            self._state.set_meta(_GROWTH, growth)
            forget_old_copies(self._history.path)
            gone = self._history.prune(keep) + self._state.prune()
            self._state.restore_reserve()
            if snapshot is not None:
                self._registry.touch(snapshot.time_ms, snapshot.values)
            return gone

        return f"{await self._offload.run(work, deadline_seconds=200.0, what='housekeeping')} rows deleted"

    async def _serve(self) -> None:
        """Start in stages, wait for the stop, stop in stages."""
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(LoopFaults())
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        triggers = PressureTriggers(self._paths.proc, self._tick.wake) if self._interval >= _WAKE_FROM_SECONDS else None
        if triggers:
            loop.add_reader(triggers.fileno(), triggers.fired)
        try:
            async with asyncio.TaskGroup() as group:
                await self._server.start()
                running = [
                    group.create_task(self._tick.run(), name="tick"),
                    group.create_task(self._learning.run(), name="learning"),
                    group.create_task(self._learning.compare(), name="comparing"),
                    group.create_task(self._learning.validations.run(), name="validations"),
                    group.create_task(self._forecasts.run(), name="forecasts"),
                    group.create_task(self._failures.run(), name="failures"),
                    group.create_task(self._by_hand.run(), name="by hand"),
                    *self._alerts.start(group, self._is_ready),
                ]
                await self._scheduler.start()
                self._greet()
                await self._stop.wait()
                await self._shut_down(running)
        finally:
            if triggers:
                loop.remove_reader(triggers.fileno())
                triggers.close()
            self._sampler.close()

    def _greet(self) -> None:
        _log.info(
            "started",
            version=__version__,
            host=self._host_name,
            kind=self._host.kind,
            interval_seconds=self._interval,
            state=str(self._loaded.state_directory),
            metrics=f"http://{self._server.address}/metrics",
            status=f"http://{self._server.address}/api/v1/status",
            dashboard=f"http://{self._server.address}/",
        )

    async def _shut_down(self, running: list[asyncio.Task[None]]) -> None:
        """Stop in stages, each with a limit: no new work, the running tick, delivery, the listener."""
        self._notifier.stopping()
        _log.info("stopping")
        self._scheduler.close()
        try:
            async with asyncio.timeout(_LAST_TICK_SECONDS), self._tick.running:
                pass
        except TimeoutError:
            _log.warning("tick_cut_off", reason=f"it did not end within {_LAST_TICK_SECONDS:g} s")
        for task in running:
            task.cancel()
        await asyncio.wait(running, timeout=_LAST_TICK_SECONDS)
        with suppress(TimeoutError):
            async with asyncio.timeout(_LAST_WRITE_SECONDS):
                await self._failures.stop()
        await self._server.stop()

    def _reload(self) -> None:
        """Read the configuration again: follow what can be, say what needs a restart. A bad one changes nothing."""
        self._notifier.reloading()
        try:
            loaded = load(self._loaded.files[0] if self._loaded.files else None)
        except ConfigError as error:
            _log.error("reload_refused", reason=str(error), effect="the configuration before stays")
        else:
            before, after = self._loaded.config, loaded.config
            log.set_up(after.log)
            log.warn_of_keys(loaded)
            self._watch.reconfigure(after.anomaly)
            self._alerts.reconfigure(after)
            fixed = ("sinks", "authority", "heartbeat")
            same = all(getattr(before.alerting, name) == getattr(after.alerting, name) for name in fixed)
            followed = {"log", "anomaly", "alerting"} if same else {"log", "anomaly"}
            changed = [name for name in Config.model_fields if getattr(before, name) != getattr(after, name)]
            self._loaded = loaded
            _log.info(
                "reloaded",
                changed=[name for name in changed if name in followed],
                needs_restart=[name for name in changed if name not in followed],
            )
        if self._snapshot is not None:  # before the first sample, that one says it
            self._notifier.ready(self._words())

    def _publish(self, snapshot: Snapshot) -> None:
        first = self._snapshot is None
        self._snapshot = snapshot
        self._degraded.note_round(snapshot.not_stored)
        self._metrics.publish(snapshot, self._pipeline.counts, self._alerts.beats)
        self._events.publish(snapshot)
        self._learning.after_tick()
        self._forecasts.after_tick()
        self._failures.after_tick(Seen(self._clock.now(), snapshot.values, snapshot.findings, snapshot.noticed))
        if first:
            seconds = (self._clock.now().time_ms - self._started_ms) / 1000
            _log.info("first_sample", signals=len(snapshot.values), after_seconds=round(seconds, 2))
            self._notifier.ready(self._words())
        self._notifier.alive(self._words())

    def _words(self) -> str:
        """Return the state in one line, for `systemctl status`."""
        snapshot = self._snapshot
        if snapshot is None:
            return "starting"
        firing = sum(1 for alert in snapshot.alerts if alert.fired_ms is not None)
        shown = snapshot.anomaly.shown
        score = "no score yet" if shown is None else f"score {shown:.2f}"
        short = "".join(f", short of {mode}" for mode in self._degraded.modes)
        learning = snapshot.anomaly.learning or "learned"
        return f"{snapshot.samples} samples, {score}, {firing} alerts firing{short}; {learning}"

    def _is_ready(self) -> bool:
        snapshot = self._snapshot
        if snapshot is None:
            return False
        age = (self._clock.now().monotonic_ns - snapshot.monotonic_ns) / 1e9
        return age <= _STALE_INTERVALS * self._interval + 1.0

    def _list_forecasts(self, resource: str | None) -> ForecastsAnswer:
        return forecasts_answer(self._snapshot.capacity if self._snapshot else CapacityState(), resource)

    def _tell_risk(self) -> RiskAnswer:
        state = self._snapshot.risk if self._snapshot else RiskState()
        return risk_answer(state, COUNT, self._patterns.newest(), self._refining.last)

    def _tell_drift(self) -> DriftAnswer:
        config = self._drift.config
        return drift_answer(self._drift.state, config.warning, config.critical)

    async def _tell_month(self) -> MonthAnswer:
        return await self._offload.run(
            lambda: last_month(
                self._state,
                self._alerts.desk.sink_names(),
                now_ms=self._clock.now().time_ms,
                first_ms=self._history.first_own_ms(),
            ),
            deadline_seconds=5.0,
            what="state.db",
        )

    async def _tell_cost(self) -> SelfAnswer:
        return await self._offload.run(
            lambda: self._cost.tell(self._snapshot, self._history.first_own_ms()),
            deadline_seconds=5.0,
            what="state folder",
        )

    async def _list_changes(self, asked: PageQuery) -> ChangesAnswer:
        found = await self._changes.page(asked.limit + 1, place_of(asked))
        page = found[: asked.limit]
        return ChangesAnswer(
            changes=[change_answer(change) for _, change in page],
            next=cursor_of(page[-1][1].time_ms, page[-1][0]) if len(found) > len(page) else None,
        )

    async def _mark_change(self, text: str) -> ChangeAnswer:
        return change_answer(await self._changes.mark(text))

    def _job(self) -> JobAnswer | None:
        progress = self._child.progress
        return JobAnswer(name=progress[0], share=progress[1], text=progress[2]) if progress else None

    def _status(self) -> StatusAnswer:
        snapshot = self._snapshot
        return StatusAnswer(
            version=__version__,
            backend=self._learning.backend,
            host=host_answer(self._host_name, self._host),
            started_at=rfc3339(self._started_ms),
            interval_seconds=self._interval,
            samples=snapshot.samples if snapshot else 0,
            seq=snapshot.seq if snapshot else 0,
            last_sample_at=rfc3339(snapshot.time_ms) if snapshot else None,
            signals=len(snapshot.values) if snapshot else 0,
            signals_missing=sum(1 for _, value in snapshot.values if math.isnan(value)) if snapshot else 0,
            anomaly=anomaly_answer(snapshot, self._loaded.config.anomaly.score_threshold) if snapshot else None,
            collectors=collector_answers(snapshot) if snapshot else [],
            alerts=[alert_answer(alert, snapshot.muted) for alert in snapshot.alerts] if snapshot else [],
            sinks=sink_answers(self._pipeline.counts),
            capacity=capacity_answers(snapshot) if snapshot else [],
            risk=risk_in_brief(snapshot.risk) if snapshot else None,
            job=self._job(),
            verdicts=self._alerts.desk.verdicts_in_brief(),
            degraded=self._degraded.reasons,
            state_directory=str(self._loaded.state_directory),
            config_files=[str(file) for file in self._loaded.files],
        )
