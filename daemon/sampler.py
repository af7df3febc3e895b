"""One round over all collectors: what they measured, how they did, and which one has stopped.

Enters: collectors. Leaves: measurements and one state a collector. A slow or failing collector costs
its own signals, never the round: each has its deadline in a lane of its own thread.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from daemon.collectors.base import Collector, Measurement, Noticed, Notices
from daemon.collectors.filesystem import FilesystemCollector
from daemon.collectors.unit import UnitCollector, UnitRound
from daemon.errors import CollectorError, DeadlineExceeded, NotAvailable
from daemon.offload import Call, Lane, Outcome
from daemon.snapshot import CollectorState
from detectors.findings import Finding, Strength

STOPPED_ROUNDS = 3  # one failure may be chance
_MOST_MOUNTS = 2000  # of which it is remembered that they were writable
_EXPECTED = (CollectorError, DeadlineExceeded, OSError, ValueError, OverflowError)


@dataclass(frozen=True, slots=True)
class Round:
    """What one round gave. `findings`: sources that have stopped to answer, file systems that became read-only.

    `units`: who takes how much, None where that is not known. `noticed`: what was changed on the host.
    """

    measured: tuple[Measurement, ...]
    states: tuple[CollectorState, ...]
    findings: tuple[Finding, ...]
    units: UnitRound | None = None
    noticed: tuple[Noticed, ...] = ()


class Rounds(Protocol):
    """What the tick asks for samples."""

    def collect(self, monotonic_ns: int) -> Round:
        """Return what is measured now; blocks."""
        ...


class Writability:
    """Tells of file systems that were writable and are not: one that is mounted read-only on purpose is no fault."""

    def __init__(self) -> None:
        self._was_writable: dict[str, None] = {}  # in the order in which they were seen so last

    def expect(self, writable: Iterable[str]) -> None:
        """Take up which were writable before."""
        for mount in writable:
            self._was_writable.pop(mount, None)
            self._was_writable[mount] = None
        while len(self._was_writable) > _MOST_MOUNTS:  # mounts of yesterday's containers
            del self._was_writable[next(iter(self._was_writable))]

    def observe(self, mounts: Mapping[str, bool]) -> list[Finding]:
        """Take in whether each mount is read-only now."""
        self.expect(mount for mount, read_only in mounts.items() if not read_only)
        return [
            Finding(
                "FilesystemReadOnly",
                "host",
                mount,
                Strength.RAISED,
                f"{mount} was writable and is mounted read-only: writes fail",
            )
            for mount, read_only in mounts.items()
            if read_only and mount in self._was_writable
        ]


class Sampler:
    """Calls every collector once a round; blocks, and is called through the offload door.

    `beside`: what else is looked at once a round; it has the round's thread, which costs less than one of its own.
    """

    def __init__(self, collectors: Sequence[Collector], *, beside: Callable[[], None] = lambda: None) -> None:
        self._beside = beside
        self._collectors = {collector.name: collector for collector in collectors}
        # to ask whether something is of a protocol takes longer than to collect from it
        self._noticing = [collector for collector in collectors if isinstance(collector, Notices)]
        self._calls = [
            Call(collector.name, partial(self._measured, collector), collector.deadline_seconds)
            for collector in collectors
        ]
        self._monotonic_ns = 0  # of this round
        self._lane = Lane("collectors")
        self._worked: set[str] = set()
        self._failures: dict[str, int] = {}
        self._writability = Writability()

    def expect(self, working: Iterable[str], writable: Iterable[str]) -> None:
        """Take up what an earlier run knew: sources that used to answer, file systems that used to be writable."""
        self._worked.update(working)
        self._writability.expect(writable)

    def collect(self, monotonic_ns: int) -> Round:
        """Run one round; takes at most the sum of the deadlines, usually a millisecond."""
        self._beside()
        self._monotonic_ns = monotonic_ns
        measured: list[Measurement] = []
        states: list[CollectorState] = []
        findings: list[Finding] = []
        for outcome in self._lane.run_each(self._calls):
            if isinstance(outcome.value, list):
                measured += outcome.value
            state = self._state(outcome)
            states.append(state)
            if self._has_stopped(state):
                findings.append(stopped(state.name, state.problem))
        filesystem = self._collectors.get("filesystem")
        if isinstance(filesystem, FilesystemCollector):
            findings += [stopped(mount, "the file system does not answer") for mount in sorted(filesystem.stuck_mounts)]
            findings += self._writability.observe(filesystem.read_only_mounts)
        unit = self._collectors.get("unit")
        return Round(
            tuple(measured),
            tuple(states),
            tuple(findings),
            unit.latest if isinstance(unit, UnitCollector) else None,
            tuple(one for source in self._noticing for one in source.notices()),
        )

    def _measured(self, collector: Collector) -> list[Measurement]:
        """Ask one source. Raises OverflowError for a number that no float holds: digits may be without end."""
        return [(spec, float(value)) for spec, value in collector.collect(self._monotonic_ns)]

    def _state(self, outcome: Outcome) -> CollectorState:
        error = outcome.error
        if error is not None and not isinstance(error, _EXPECTED):
            raise error  # a bug in a collector stops the daemon loudly
        absent = isinstance(error, NotAvailable) and outcome.key not in self._worked
        return CollectorState(outcome.key, outcome.seconds, "" if error is None else str(error), absent)

    def _has_stopped(self, state: CollectorState) -> bool:
        if not state.problem:
            self._worked.add(state.name)
            self._failures[state.name] = 0
            return False
        self._failures[state.name] = self._failures.get(state.name, 0) + 1
        return state.name in self._worked and self._failures[state.name] >= STOPPED_ROUNDS

    def close(self) -> None:
        """Give back what the collectors hold."""
        self._lane.close()
        for collector in self._collectors.values():
            collector.close()


def stopped(resource: str, problem: str) -> Finding:
    """Return the finding that a source gives no data any more."""
    detail = f"{resource} gives no data any more: {problem}"
    return Finding("StoppedCollecting", "host", resource, Strength.RAISED, detail)
