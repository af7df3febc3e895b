"""Watches every source of failures and hands what they say to the log.

Enters: the journal, ticks, systemd's answers, what smartd leaves, an operator's word. Leaves: events in the failure
log, and of each source whether it can be read. It runs beside the tick and never holds it up: what a tick has shown is
put down, and looked at afterwards.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from math import nan

import structlog

from daemon.clock import Clock, Instant
from daemon.collectors.base import HostPaths, Noticed
from daemon.errors import PresagedError, StateError
from daemon.failures.facts import facts, failed_lately
from daemon.failures.journal import JournalEntry, JournalFollower, beginning
from daemon.failures.kernel_log import KernelLog
from daemon.failures.log import FailureLog
from daemon.failures.memory_kills import MemoryKills, noticed_kills
from daemon.failures.mounts import FilesystemFailures
from daemon.failures.reboot import running, stopped, unclean_reboot
from daemon.failures.record import FailureEvent, FailureReport, Source
from daemon.failures.smart import DiskState, SmartdStates
from daemon.failures.starts import StartLimits
from daemon.failures.units import FailedUnits
from daemon.offload import Offload
from daemon.signals import SignalSpec
from detectors.findings import FailureKind, Finding

_log = structlog.get_logger()

_JOURNAL, _KERNEL, _KILLS, _MOUNTS, _UNITS, _SMART, _BOOT, _SINCE = (
    f"failures.{name}" for name in ("journal", "kernel", "kills", "mounts", "units", "smart", "boot", "since")
)
_KILL_RATE = "memory.oom_kills_per_second"
_LOOK_SECONDS = 2.0
_SMART_EVERY_MS = 600_000  # smartd itself looks every half hour
_ASK_EVERY_SECONDS = 60.0
_ASK_SOON_SECONDS = 1.0  # a unit that failed has been reported by systemd a moment before it counts as failed
_MOST_WAITING = 100  # ticks that are not looked at yet


@dataclass(frozen=True, slots=True)
class Seen:
    """What a tick has shown that may be a failure."""

    now: Instant
    values: Sequence[tuple[SignalSpec, float]]
    findings: Sequence[Finding]
    noticed: Sequence[Noticed]


@dataclass(frozen=True, slots=True)
class SourceState:
    """Whether a source can be read: `problem` is why not, "" = it can."""

    name: str
    problem: str


class FailureWatch:
    """Runs until it is cancelled. `listeners` are given all that is read of the journal, in order.

    `redact` is done to what other programs say, `redact_mark` to what an operator says. `since_ms` (UTC) is when
    failures of this host were watched first.
    """

    def __init__(
        self,
        *,
        log: FailureLog,
        meta: Callable[[str], str | None],
        offload: Offload,
        clock: Clock,
        paths: HostPaths,
        redact: Callable[[str], str],
        redact_mark: Callable[[str], str],
        listeners: Sequence[Callable[[Sequence[JournalEntry]], None]] = (),
    ) -> None:
        self.log = log
        self._meta = meta
        self._offload = offload
        self._clock = clock
        self._redact_mark = redact_mark
        self._listeners = listeners
        self.journal = JournalFollower(paths=paths, position=beginning(clock.now().time_ms))
        self.units = FailedUnits(paths)
        self.starts = StartLimits(paths)
        self._kernel = KernelLog(paths=paths, redact=redact)
        self._kills = MemoryKills(paths)
        self._smart = SmartdStates(paths)
        self._mounts = FilesystemFailures()
        self._counters = ((_KILLS, self._kills), (_MOUNTS, self._mounts), (_SMART, self._smart))
        self._seen: asyncio.Queue[Seen] = asyncio.Queue(_MOST_WAITING)
        self.since_ms = clock.now().time_ms
        self._last_ms = 0
        self._smart_ms = 0
        self._ask = asyncio.Event()

    def restore(self, last_ms: int) -> None:
        """Take up where every source was left; blocks, before `run`. `last_ms`: the last sample's time, 0 = none."""
        self.log.restore()
        now = self._clock.now()
        self._last_ms = min(last_ms, now.time_ms) or now.time_ms
        self.journal.position = self._meta(_JOURNAL) or self.journal.position
        for key, source in (
            (_KERNEL, self._kernel),
            (_KILLS, self._kills),
            (_MOUNTS, self._mounts),
            (_UNITS, self.units),
            (_SMART, self._smart),
        ):
            source.restore(self._meta(key) or "")
        report = unclean_reboot(self._meta(_BOOT) or "", now, last_ms)
        if report is not None:
            self.log.report(report)
        first = self._meta(_SINCE) or ""
        self.since_ms = int(first) if first.isdecimal() else now.time_ms
        self.log.keep(_SINCE, str(self.since_ms))
        self.log.keep(_JOURNAL, self.journal.position)
        self.log.keep(_BOOT, running(now.boot_id), at_once=True)

    def after_tick(self, seen: Seen) -> None:
        """Put down what a tick has shown. Where it is not looked at for long, the oldest goes."""
        if self._seen.full():
            self._seen.get_nowait()
        self._seen.put_nowait(seen)

    def facts(self, named: Sequence[str], now_ms: int) -> tuple[Finding, ...]:
        """Return what of the failures a person is to be told at once; `named`: the units that the operator named."""
        events = self.log.recent
        failed = failed_lately(events, now_ms) if self.units.problem else self.units.failed
        return tuple(facts(events, failed, named, now_ms))

    async def run(self) -> None:
        """Watch until cancelled."""
        await self.log.write()
        async with asyncio.TaskGroup() as group:
            group.create_task(self.journal.run(self._take), name="journal")
            group.create_task(self._watch_units(), name="failed-units")
            group.create_task(self._watch_ticks(), name="failures")

    async def stop(self) -> None:
        """Leave the mark of a clean stop, with all that is not written yet; after `run` has ended."""
        self.log.keep(_BOOT, stopped(self._clock.now().boot_id), at_once=True)
        await self.log.write()

    async def mark(self, text: str, time_ms: int | None) -> FailureEvent:
        """Record what an operator says, at `time_ms` or now. Raises PresagedError when it is not stored."""
        now_ms = self._clock.now().time_ms
        at_ms = now_ms if time_ms is None else min(time_ms, now_ms)
        detail = self._redact_mark(text)
        mark = f"{at_ms} {detail}"
        report = FailureReport(FailureKind.OPERATOR, Source.OPERATOR, mark, at_ms, at_ms, "", detail)
        event = self.log.report(report) or next(
            one for one in reversed(self.log.recent) if one.marks.get(Source.OPERATOR) == mark
        )
        if not await self.log.write():
            raise StateError("the failure is noted, and cannot be stored now: it is tried again")
        return event

    @property
    def sources(self) -> tuple[SourceState, ...]:
        """Every source that depends on what the host has and allows."""
        return (
            SourceState("journal", self.journal.problem),
            SourceState("systemd", self.units.problem),
            SourceState("memory", self._kills.problem),
            SourceState("smartd", self._smart.problem),
        )

    async def _take(self, entries: Sequence[JournalEntry]) -> None:
        for listen in self._listeners:
            listen(entries)
        for entry in entries:
            self.starts.take(entry)
            if self.units.take(entry):
                self._ask.set()
            report = self._kernel.report(entry)
            if report is not None:
                self.log.report(report)
        self.log.keep(_JOURNAL, self.journal.position)
        self.log.keep(_KERNEL, self._kernel.state)
        self.log.keep(_UNITS, self.units.state)
        await self.log.settle()
        if unread := self.starts.unread:
            with suppress(PresagedError):  # they are read with the next entries then
                read = partial(self.starts.read, unread)
                self.starts.learn(await self._offload.run(read, deadline_seconds=_LOOK_SECONDS, what="limits of units"))

    async def _watch_units(self) -> None:
        while True:
            reports = await self.units.ask()
            for report in (*reports, *self.units.ripe(self._clock.now().time_ms)):
                self.log.report(report)
            self.log.keep(_UNITS, self.units.state)
            await self.log.settle()
            try:
                async with asyncio.timeout(_ASK_EVERY_SECONDS):
                    await self._ask.wait()
            except TimeoutError:
                continue
            await asyncio.sleep(_ASK_SOON_SECONDS)
            self._ask.clear()

    async def _watch_ticks(self) -> None:
        while True:
            seen = await self._seen.get()
            now = seen.now
            is_smart_due = not 0 <= now.time_ms - self._smart_ms < _SMART_EVERY_MS
            count: int | None = None
            disks: dict[str, DiskState] = {}
            try:
                if is_smart_due or _may_have_killed(seen.values):
                    count, disks = await self._offload.run(
                        partial(self._look, is_smart_due),
                        deadline_seconds=_LOOK_SECONDS,
                        what="counters of failures",
                    )
            except PresagedError as error:  # looked at again with the next tick: counters lose nothing
                _log.warning("failures_not_looked_at", reason=str(error))
                continue
            if is_smart_due:
                self._smart_ms = now.time_ms
            last_ms = min(self._last_ms, now.time_ms)
            reports = [
                *(() if count is None else self._kills.observe(count, now, last_ms)),
                *noticed_kills(seen.noticed, now.time_ms, last_ms),
                *self._mounts.observe(seen.values, seen.findings, now.time_ms, last_ms),
                *self._smart.observe(disks),
            ]
            for report in reports:
                self.log.report(report)
            self._last_ms = now.time_ms
            for key, source in self._counters:  # what they hold changes seldom, and goes with what they report
                self.log.keep(key, source.state, at_once=True)
            await self.log.settle()

    def _look(self, is_smart_due: bool) -> tuple[int | None, dict[str, DiskState]]:
        return self._kills.read(), self._smart.read() if is_smart_due else {}


def _may_have_killed(values: Sequence[tuple[SignalSpec, float]]) -> bool:
    """Tell whether the kernel's counter of kills is to be read: it is, unless the sample says that none was added."""
    return next((value for spec, value in values if spec.name == _KILL_RATE), nan) != 0
