"""The whole daemon on a clock that jumps: weeks in minutes, and nothing of it left out but the waiting.

Enters: a configuration, and a folder with what the host's signals were. Leaves: what the daemon itself leaves in its
state folder, and whatever is asked of it meanwhile. Time stands still while anything works (a thread, the child, a
request, a delivery), and jumps to the next timer when nothing does: no deadline passes because the machine is slow,
and every run ticks at the same moments. The daemon is `App`, composed by itself; replaced are its clock, what
APScheduler reads for one, and its collectors.
"""

import argparse
import asyncio
import json
import selectors
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from datetime import UTC, datetime, tzinfo
from functools import partial
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from apscheduler.schedulers import base as apscheduler_base

from alerting.sinks.base import Notification, Sink
from daemon import app, log, scheduler
from daemon.child import Child
from daemon.clock import Instant
from daemon.collectors import CollectorContext, build_collectors
from daemon.collectors.base import Collector, HostPaths, Measurement, Notices
from daemon.config import load
from daemon.errors import CollectorError, NotAvailable
from daemon.offload import Offload
from daemon.preflight import prepare
from daemon.signals import Kind, SignalSpec
from daemon.snapshot import Snapshot
from detectors.findings import Unit

if TYPE_CHECKING:
    from benchmarks.year.physics import World

T = TypeVar("T")

_UP_NS = 10**15  # how long the host has been up at the first row
_BUSY_SECONDS = 0.05
_RISK_SECONDS = 600.0  # the daemon computes it at every sample, by NumPy: half of the run would be that
_VALUES, _SPECS = "values.f32", "signals.json"


class JumpingClock:
    """The host's clock; `busy` counts what works now. It outlives the daemon, as the host does."""

    def __init__(self, start_ms: int) -> None:
        self.start_ms = start_ms
        self.passed_ns = 0
        self.busy = 0

    def now(self) -> Instant:
        """Return the present moment."""
        up = _UP_NS + self.passed_ns
        return Instant(self.start_ms + self.passed_ns // 1_000_000, up, up, "boot")

    @contextmanager
    def standing(self) -> Iterator[None]:
        """Let time stand still."""
        self.busy += 1
        try:
            yield
        finally:
            self.busy -= 1


class _Selector(selectors.EpollSelector):
    """Never sleeps while nothing works: the time that was to be waited for is over at once."""

    def __init__(self, clock: JumpingClock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        if self._clock.busy or timeout is None:
            return super().select(_BUSY_SECONDS)
        self._clock.passed_ns += int(timeout * 1e9) + 1
        return ready


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self, clock: JumpingClock) -> None:
        super().__init__(_Selector(clock))
        self._jumping = clock

    def time(self) -> float:
        return self._jumping.passed_ns / 1e9


def _offload(clock: JumpingClock) -> type[Offload]:
    class Standing(Offload):
        async def run(self, run: Callable[[], T], *, deadline_seconds: float, what: str) -> T:
            with clock.standing():
                return await super().run(run, deadline_seconds=deadline_seconds, what=what)

    return Standing


def _child(clock: JumpingClock) -> type[Child]:
    class Standing(Child):
        async def run(self, job: str, spec: Mapping[str, object], **more: Any) -> Mapping[str, object]:  # noqa: ANN401 - an older program's has fewer
            with clock.standing():
                return await super().run(job, spec, **more)

    return Standing


class _StandingSink:
    """A sink; while it sends, time stands still."""

    def __init__(self, sink: Sink, clock: JumpingClock) -> None:
        self._sink, self._clock = sink, clock
        self.name, self.takes_digests = sink.name, sink.takes_digests

    async def send(self, notification: Notification) -> None:
        with self._clock.standing():
            await self._sink.send(notification)


def _seldom(watch: Any) -> Any:  # noqa: ANN401 - an older program's knows no pause, or is not there
    knows = watch is not None and "every_seconds" in signature(watch).parameters
    return partial(watch, every_seconds=_RISK_SECONDS) if knows else watch


def _datetime(clock: JumpingClock) -> type:
    class Standing(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]  # no class of ours leaves here
            return datetime.fromtimestamp(clock.now().time_ms / 1000, tz or UTC)

    return Standing


class _Rows:
    """What the signals of one family were, as a collector. `first_ns` is when the first row is."""

    deadline_seconds = 30.0

    def __init__(self, folder: Path, family: str, interval_seconds: float) -> None:
        self.name = family
        self._specs = read_specs(folder)
        self._mine = [place for place, spec in enumerate(self._specs) if spec.family == family]
        self._file = (folder / _VALUES).open("rb", buffering=0)
        self._interval_ns = interval_seconds * 1e9
        self._is_first = True

    def collect(self, monotonic_ns: int) -> Sequence[Measurement]:
        width = 4 * len(self._specs)
        self._file.seek(round((monotonic_ns - _UP_NS) / self._interval_ns) * width)
        row = np.frombuffer(self._file.read(width), "<f4")
        if not len(row):
            raise CollectorError("the recorded rows are used up")
        first, self._is_first = self._is_first, False  # a rate is known from the second reading on
        return [
            (self._specs[place], float(row[place]))
            for place in self._mine
            if np.isfinite(row[place]) and not (first and self._specs[place].kind is Kind.RATE)
        ]

    def close(self) -> None:
        self._file.close()


class _Unheard:
    """A real collector of this machine, that is run as ever; what it says is left out."""

    def __init__(self, collector: Collector) -> None:
        self._collector = collector
        self.name, self.deadline_seconds = f"{collector.name} of this machine", 30.0

    def collect(self, monotonic_ns: int) -> Sequence[Measurement]:
        with suppress(NotAvailable, CollectorError, OSError):
            self._collector.collect(monotonic_ns)
        if isinstance(self._collector, Notices):
            self._collector.notices()
        return []

    def close(self) -> None:
        self._collector.close()


def write_rows(world: "World", folder: Path) -> None:
    """Keep what `world` shows in `folder`."""
    world.values.astype("<f4").tofile(folder / _VALUES)
    text = json.dumps([asdict(spec) for spec in world.specs])
    (folder / _SPECS).write_text(text, encoding="utf-8")


def read_specs(folder: Path) -> list[SignalSpec]:
    """Return the signals that are recorded in `folder`, in the order of their columns."""
    return [
        SignalSpec(one["name"], Unit(one["unit"]), Kind(one["kind"]), one["family"], one["resource"])
        for one in json.loads((folder / _SPECS).read_text(encoding="utf-8"))
    ]


def run_daemon(
    config: Path,
    rows: Path,
    clock: JumpingClock,
    *,
    interval_seconds: float,
    ticks: int,
    after_tick: Callable[[app.App, Snapshot], None] = lambda _app, _snapshot: None,
    real_collectors: bool = False,
) -> None:
    """Run the daemon of `config` for so many ticks from now, and stop it after the last.

    `real_collectors`: those of this machine are run beside the recorded ones. It is one interval later in the end: the
    next call takes up where this one has stopped, as an upgrade within one interval does.
    """
    began_ns = clock.passed_ns

    class Watched(app.App):
        taken = 0

        def _publish(self, snapshot: Snapshot) -> None:
            super()._publish(snapshot)
            self.taken += 1
            after_tick(self, snapshot)
            if self.taken == ticks:
                self._stop.set()

    def collectors(context: CollectorContext) -> list[Any]:
        families = sorted({spec.family for spec in read_specs(rows)})
        recorded: list[Any] = [_Rows(rows, family, interval_seconds) for family in families]
        if not real_collectors:
            return recorded
        here = replace(context, disabled=context.disabled | {"latency"})  # it waits for others, not for us
        return recorded + [_Unheard(one) for one in build_collectors(here)]

    replaced: list[tuple[Any, str, Any]] = [
        (app, "Offload", _offload(clock)),
        (app, "Child", _child(clock)),
        (app, "build_collectors", collectors),
        (app, "RiskWatch", _seldom(getattr(app, "RiskWatch", None))),
        (app, "PressureTriggers", lambda *_: None),  # pressure of this machine is none of that host
        (scheduler, "datetime", _datetime(clock)),
        (apscheduler_base, "datetime", _datetime(clock)),
    ]
    before = [(owner, name, getattr(owner, name, None)) for owner, name, _ in replaced]
    for owner, name, value in replaced:
        setattr(owner, name, value)
    try:
        loaded = load(config)
        prepared = prepare(loaded)
        object.__setattr__(prepared, "sinks", tuple(_StandingSink(one, clock) for one in prepared.sinks))
        elsewhere = rows / "host"  # what this machine's kernel tells is not of that host
        paths = HostPaths() if real_collectors else HostPaths(elsewhere / "proc", elsewhere / "sys", elsewhere)
        daemon = Watched(loaded, prepared, clock=clock, paths=paths, interval_seconds=interval_seconds)
        with asyncio.Runner(loop_factory=lambda: _Loop(clock)) as runner:
            runner.run(daemon.run())
        clock.passed_ns = began_ns + round(ticks * interval_seconds * 1e9)
    finally:
        for owner, name, value in before:
            setattr(owner, name, value)


def main() -> None:
    """Live through some ticks as a program of its own: of this source tree, or of an older one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("rows", type=Path, help="folder of what the host's signals were")
    parser.add_argument("--start-ms", type=int, required=True, help="when the first row was")
    parser.add_argument("--interval", type=float, required=True)
    parser.add_argument("--first", type=int, default=0, help="row to begin with")
    parser.add_argument("--ticks", type=int, required=True)
    given = parser.parse_args()
    log.set_up(load(given.config).config.log)
    clock = JumpingClock(given.start_ms)
    clock.passed_ns = round(given.first * given.interval * 1e9)
    run_daemon(given.config, given.rows, clock, interval_seconds=given.interval, ticks=given.ticks)


if __name__ == "__main__":
    main()
