"""One bounded look over /proc: which processes take most, asked for only when something is unusual.

Enters: the moment. Leaves: the top five of each resource by the kernel's short names, with their units.
Command lines are never read: they hold passwords. What belongs to other users (bytes read and written)
stays unknown without privileges.
"""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from math import nan
from pathlib import Path

from daemon.collectors.base import printable
from daemon.collectors.unit_name import cgroup_path, unit_of
from detectors.findings import Resource

BUDGET_SECONDS = 0.004  # of the look itself; naming the units of the foremost takes up to one more
TOP = 5

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_UTIME, _STIME, _STARTED, _RESIDENT = 11, 12, 19, 21  # fields of stat, counted behind the name in parentheses
_RATES = frozenset((Resource.CPU, Resource.READS, Resource.WRITES))


@dataclass(frozen=True, slots=True)
class ProcessUse:
    """What one process takes: seconds of CPU a second, bytes, bytes a second, or a count. `share` is of all seen."""

    name: str
    unit: str
    amount: float
    share: float


@dataclass(frozen=True, slots=True)
class Scan:
    """The top five of each resource. `complete` is False when the budget ended before the processes did."""

    top: Mapping[Resource, tuple[ProcessUse, ...]]
    complete: bool


@dataclass(frozen=True, slots=True)
class _Seen:
    name: str
    totals: Mapping[Resource, float]


class ProcessScan:
    """Scans on demand; two scans that follow each other give rates. Blocks for at most about 5 ms.

    The newest processes come first: what has just begun is the more likely cause.
    """

    def __init__(self, proc: Path, budget_seconds: float = BUDGET_SECONDS) -> None:
        self._proc = proc
        self._budget = budget_seconds
        self._before: dict[tuple[int, int], _Seen] = {}
        self._before_ns = 0

    def forget(self) -> None:
        """Begin anew: what is unusual next has nothing to do with what was."""
        self._before = {}

    def scan(self, monotonic_ns: int) -> Scan:
        """Look once. Rates need a scan before; the first one tells of memory and open files only."""
        seen, complete = self._look(time.perf_counter() + self._budget)
        elapsed = (monotonic_ns - self._before_ns) / 1e9
        amounts: dict[Resource, list[tuple[float, int, str]]] = {resource: [] for resource in Resource}
        for key, process in seen.items():
            before = self._before.get(key)
            for resource, total in process.totals.items():
                if resource not in _RATES:
                    amounts[resource].append((total, key[0], process.name))
                elif before is not None and resource in before.totals and elapsed > 0:
                    rate = (total - before.totals[resource]) / elapsed
                    amounts[resource].append((rate, key[0], process.name))
        self._before, self._before_ns = seen, monotonic_ns
        return Scan({resource: self._top(found) for resource, found in amounts.items()}, complete)

    def _top(self, found: list[tuple[float, int, str]]) -> tuple[ProcessUse, ...]:
        whole = sum(amount for amount, _, _ in found)
        foremost = sorted(found, reverse=True)[:TOP]
        return tuple(
            ProcessUse(name, self._unit_of(pid), amount, amount / whole) for amount, pid, name in foremost if amount > 0
        )

    def _look(self, until: float) -> tuple[dict[tuple[int, int], _Seen], bool]:
        seen: dict[tuple[int, int], _Seen] = {}
        traffic = True
        pids = sorted((int(name) for name in os.listdir(self._proc) if name.isdecimal()), reverse=True)  # noqa: PTH208
        for pid in pids:
            if time.perf_counter() > until:
                return seen, False
            place = f"{self._proc}/{pid}"
            try:
                key, process = _read_stat(place, pid)
            except (OSError, ValueError, IndexError):  # it ended meanwhile
                continue
            totals = dict(process.totals)
            if traffic and totals[Resource.MEMORY]:  # a thread of the kernel has none, and its traffic is another's
                try:
                    totals.update(_read_io(place))
                except PermissionError:  # so it will be with the others
                    traffic = False
                except (OSError, ValueError, IndexError):
                    pass
            seen[pid, key] = _Seen(process.name, totals)
        return seen, True

    def _unit_of(self, pid: int) -> str:
        try:
            return unit_of(cgroup_path(_read(f"{self._proc}/{pid}/cgroup")))
        except OSError:
            return ""


def _read_stat(place: str, pid: int) -> tuple[int, _Seen]:
    """Return the start time, which with the number makes a process unique, and what stat and fd tell."""
    text = _read(f"{place}/stat")
    end = text.rindex(b")")
    name = printable(text[text.index(b"(") + 1 : end])
    fields = text[end + 2 :].split()
    totals = {
        Resource.CPU: (int(fields[_UTIME]) + int(fields[_STIME])) / _TICKS_PER_SECOND,
        Resource.MEMORY: float(int(fields[_RESIDENT]) * _PAGE_BYTES),
    }
    if not totals[Resource.MEMORY]:
        return int(fields[_STARTED]), _Seen(name or str(pid), totals)
    count = os.stat(f"{place}/fd").st_size  # noqa: PTH116 - since Linux 6.2 the number of open files; 0 before
    if count:
        totals[Resource.DESCRIPTORS] = float(count)
    return int(fields[_STARTED]), _Seen(name or str(pid), totals)


def _read_io(place: str) -> dict[Resource, float]:
    text = _read(f"{place}/io")
    return {
        Resource.READS: _number_after(text, b"\nread_bytes: "),
        Resource.WRITES: _number_after(text, b"\nwrite_bytes: "),
    }


def _number_after(text: bytes, word: bytes) -> float:
    at = text.find(word)
    return float(text[at + len(word) :].split(None, 1)[0]) if at >= 0 else nan


def _read(path: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, 4096)
    finally:
        os.close(descriptor)
