"""How many lines of the kernel log and of the journal tell of something wrong, by severity and family.

Enters: counts from whoever follows the journal, see `daemon.failures.families`. Leaves: rates. Without a journal, or
without the permission to read it, they are not available, with the reason. It never sees a line itself.
"""

import threading
from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum

from daemon.collectors.base import Measurement
from daemon.errors import NotAvailable
from daemon.rates import Rates
from daemon.signals import Kind, SignalSpec
from detectors.findings import Unit


class Speaker(StrEnum):
    """Who speaks: the kernel, systemd of a unit, or a program."""

    KERNEL = "kernel"
    UNITS = "units"
    JOURNAL = "journal"


class Severity(StrEnum):
    """How bad it is by the word of who speaks; syslog's "emergency" and "alert" are critical."""

    CRITICAL = "critical"
    ERROR = "error"
    WARNING = "warning"


class KernelFamily(StrEnum):
    """What of the machine a line of the kernel is about."""

    IO = "io"
    MEMORY = "memory"
    FILESYSTEM = "filesystem"
    NETWORK = "network"
    HARDWARE = "hardware"
    THERMAL = "thermal"
    HUNG = "hung"
    OTHER = "other"


# Programs that came to the end of space, memory, descriptors or processes.
EXHAUSTED = "journal.exhausted"
UNIT_FAILED, UNIT_RESTARTED = "units.failed", "units.restarted"
COUNTED: tuple[str, ...] = (
    *(f"{Speaker.KERNEL}.{one}" for one in (*KernelFamily, *Severity)),
    *(f"{Speaker.JOURNAL}.{severity}" for severity in Severity),
    EXHAUSTED,
    UNIT_FAILED,
    UNIT_RESTARTED,
)
_SPECS = {
    name: SignalSpec(f"errors.{name}_per_second", Unit.PER_SECOND, Kind.RATE, "errors", name.partition(".")[0])
    for name in COUNTED
}


class ErrorCounts:
    """What was counted since the start, each name of COUNTED. May be added to by any thread.

    `problem` says why nothing is counted, "" = it is.
    """

    def __init__(self, problem: Callable[[], str]) -> None:
        self.problem = problem
        self._lock = threading.Lock()
        self._totals = dict.fromkeys(COUNTED, 0)

    def add(self, names: Iterable[str]) -> None:
        """Count one of each of the names. Raises KeyError for one that is not in COUNTED."""
        with self._lock:
            for name in names:
                self._totals[name] += 1

    def totals(self) -> dict[str, int]:
        """Return the counts by name."""
        with self._lock:
            return self._totals.copy()


class ErrorsCollector:
    """Rates of what was counted; `counts` is None where nobody follows a journal.

    They are available from the second round on in which the journal is followed: an attempt that fails at once, again
    and again, must not look like a source that stops.
    """

    name = "errors"
    deadline_seconds = 1.0

    def __init__(self, *, counts: ErrorCounts | None, gap_seconds: float) -> None:
        self._counts = counts
        self._rates = Rates(gap_seconds)
        self._is_followed = False

    def collect(self, monotonic_ns: int) -> Sequence[Measurement]:
        """Return the rates since the last round. Raises NotAvailable with the reason."""
        problem = "nobody follows the journal" if self._counts is None else self._counts.problem()
        if self._counts is None or problem:
            self._is_followed = False
            raise NotAvailable(problem)
        self._rates.begin(monotonic_ns)
        totals = self._counts.totals()
        measured = [(spec, self._rates.per_second(name, totals[name])) for name, spec in _SPECS.items()]
        if not self._is_followed:
            self._is_followed = True
            raise NotAvailable("it is followed from now on")
        return measured

    def close(self) -> None:
        """There is nothing to give back."""
