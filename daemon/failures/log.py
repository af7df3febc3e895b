"""The failure log: reports of many sources become events, each once, and are kept.

Enters: reports, and where their sources go on after a restart. Leaves: rows of `state.db`. A report and the place
that its source has reached are written in one transaction: whatever ends this process, nothing is lost and nothing
comes twice.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import structlog

from daemon.errors import PresagedError
from daemon.failures.record import MAX_DETAIL, RICHEST, FailureEvent, FailureReport
from daemon.failures.table import FailureTable
from daemon.offload import Offload
from detectors.findings import FailureKind

_log = structlog.get_logger()

_KEPT = 500  # in memory
_STORE_SECONDS = 5.0
_LAZY_SECONDS = 30.0  # where nothing happened: what is read once more after a crash brings no event
_SLACK_MS = 5_000  # two clocks tell of one moment
_HOUR_MS = 3_600_000
_MOST_AN_HOUR = 200  # of a kind; what comes beyond it goes on the last
# What goes on without end is one event, as long as it is not silent for so long.
_LASTS_MS = {
    FailureKind.FILESYSTEM_FULL: 600_000,
    FailureKind.FILESYSTEM_READ_ONLY: 600_000,
    FailureKind.IO_ERROR: 600_000,
    FailureKind.MACHINE_CHECK: 600_000,
    FailureKind.HUNG_TASK: 600_000,
    FailureKind.SMART: 86_400_000,
}


class FailureLog:
    """The last 500 events in memory, the newest last; all that retention leaves in the database.

    `counted` is told of each new event. `failed`: it could not be stored now and is tried again.
    """

    def __init__(
        self,
        *,
        table: FailureTable,
        offload: Offload,
        counted: Callable[[FailureKind], None],
        failed: Callable[[], None],
    ) -> None:
        self._table = table
        self._offload = offload
        self._counted = counted
        self._failed = failed
        self._events: dict[int, FailureEvent] = {}  # by id, the oldest first
        self._last_id = 0
        self._unsaved: dict[int, FailureEvent] = {}
        self._values: dict[str, str] = {}
        self._kept: dict[str, str] = {}
        self._urgent = False
        self._written = time.monotonic()
        self._turn = asyncio.Lock()

    def restore(self) -> None:
        """Take up what is stored; blocks, before any report."""
        self._events = {event.id: event for event in reversed(self._table.recent_failures(_KEPT))}
        self._last_id = self._table.last_failure_id()

    @property
    def recent(self) -> tuple[FailureEvent, ...]:
        """The last 500 events."""
        return tuple(self._events.values())

    def keep(self, key: str, value: str, *, at_once: bool = False) -> None:
        """Let `value` be what `meta` holds for `key`, from the next write on."""
        if self._kept.get(key) != value:
            self._kept[key] = self._values[key] = value
            self._urgent = self._urgent or at_once

    def report(self, report: FailureReport) -> FailureEvent | None:
        """Take in a report; return the event if it is news, None where it adds to one that is known."""
        report = replace(report, detail=report.detail[:MAX_DETAIL])
        alike = [event for event in self._events.values() if event.kind is report.kind]
        if any(event.marks.get(report.source) == report.mark for event in alike):
            return None  # read again
        known = _same(report, alike) or _last_of_many(report, alike)
        if known is None:
            self._last_id += 1
            event = FailureEvent(
                self._last_id, report.kind, report.source, report.since_ms, report.time_ms, report.time_ms, 1,
                report.resource, report.detail, {report.source: report.mark},
            )  # fmt: skip
            self._events[event.id] = event
            if len(self._events) > _KEPT:
                del self._events[next(iter(self._events))]
            self._counted(event.kind)
            self._urgent = True
            _log.warning(
                "failure_recorded", kind=event.kind.value, resource=event.resource, source=event.source.value,
                detail=event.detail,
            )  # fmt: skip
        else:
            self._urgent = self._urgent or report.source not in known.marks
            event = _merged(known, report)
            self._events[event.id] = event
        self._unsaved[event.id] = event
        return event if known is None else None

    async def settle(self) -> bool:
        """Write what is news at once, and the rest now and then. What cannot be stored is tried again; tell how."""
        late = time.monotonic() - self._written >= _LAZY_SECONDS
        if not self._urgent and not (late and (self._unsaved or self._values)):
            return True
        return await self.write()

    async def write(self) -> bool:
        """Write all there is."""
        async with self._turn:
            events, values = dict(self._unsaved), dict(self._values)
            self._urgent, written = False, False
            try:
                await self._offload.run(
                    lambda: self._table.record_failures(list(events.values()), values),
                    deadline_seconds=_STORE_SECONDS,
                    what="failure log",
                )
                written = True
            except PresagedError as error:
                self._failed()
                _log.error("failures_not_stored", failures=len(events), reason=str(error))
                return False
            finally:
                self._urgent = self._urgent or not written  # it may have been cancelled too
            self._written = time.monotonic()
            for number, event in events.items():
                if self._unsaved.get(number) is event:
                    del self._unsaved[number]
            for key, value in values.items():
                if self._values.get(key) == value:
                    del self._values[key]
            return True


def _same(report: FailureReport, alike: Sequence[FailureEvent]) -> FailureEvent | None:
    """Return the event that the report is about, of those of its kind: a source speaks of each once, or it goes on."""
    lasts_ms = _LASTS_MS.get(report.kind, 0)
    near = [
        event
        for event in alike
        if (event.resource == report.resource or not event.resource or not report.resource)
        and event.since_ms - _SLACK_MS <= report.time_ms
        and report.since_ms <= event.last_ms + _SLACK_MS + lasts_ms
        and (lasts_ms or report.source not in event.marks)
    ]
    return min(
        near,
        key=lambda event: (event.resource != report.resource, abs(event.time_ms - report.time_ms)),
        default=None,
    )


def _last_of_many(report: FailureReport, alike: Sequence[FailureEvent]) -> FailureEvent | None:
    """Return the last event of a kind of which there are too many to keep each."""
    lately = [event for event in alike if abs(report.time_ms - event.time_ms) < _HOUR_MS]
    return lately[-1] if len(lately) >= _MOST_AN_HOUR else None


def _merged(event: FailureEvent, report: FailureReport) -> FailureEvent:
    """Return the event with what the report adds: the richer source has the word, the first report the time."""
    again = report.source in event.marks
    richer = RICHEST[report.source] < RICHEST[event.source] and not again
    return replace(
        event,
        source=report.source if richer else event.source,
        since_ms=report.since_ms if richer else event.since_ms,
        time_ms=report.time_ms if richer else event.time_ms,
        last_ms=max(event.last_ms if not richer or event.times > 1 else 0, report.time_ms),
        times=event.times + again,
        resource=event.resource or report.resource,
        detail=report.detail if richer and report.detail else event.detail,
        marks={**event.marks, report.source: report.mark},
    )
