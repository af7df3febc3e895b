"""One bounded look over /proc: which processes take most, asked for only when something is unusual.

Enters: the moment. Leaves: the top five of each resource by the kernel's short names, with their units.
Command lines are never read: they hold passwords. What belongs to other users (bytes read and written)
stays unknown without privileges.
"""

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from heapq import nlargest
from pathlib import Path

import structlog

from daemon.collectors.base import printable, read_whole
from daemon.collectors.unit_name import cgroup_path, unit_of
from detectors.findings import Resource

_log = structlog.get_logger()

BUDGET_SECONDS = 0.005  # of processor time
TOP = 5

# Until which share of the budget it looks at each, asks for what costs as much again, and names units.
_LOOKS, _LOOKS_CLOSER, _NAMES = 0.5, 0.7, 0.95
_LOOKS_AT_LEAST = 0.2  # where the list took longer
_TAKEN = (Resource.CPU, Resource.MEMORY, Resource.READS, Resource.WRITES, Resource.DESCRIPTORS)
_CLOSER = (Resource.READS, Resource.WRITES, Resource.DESCRIPTORS)
_COUNTED = (Resource.CPU, Resource.READS, Resource.WRITES)
_MOST_SUSPECTS = 50
_ACTIVE = (b"R", b"D")
_CHECKED_EVERY = 4  # processes: asking for the thread's time costs a tenth of one
_YOUNG_SECONDS = 120.0  # the whole life of so young a process is a fair measure of what it does now
_LEAST_AGE_SECONDS = 1.0  # a process of some milliseconds has the use of one clock tick, or none
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_STATE, _UTIME, _STIME, _STARTED, _RESIDENT = 0, 11, 12, 19, 21  # of stat, counted behind the name in parentheses


@dataclass(frozen=True, slots=True)
class ProcessUse:
    """What one process takes: seconds of CPU a second, bytes, bytes a second, or a count. `share` is of all known."""

    name: str
    unit: str
    amount: float
    share: float


@dataclass(frozen=True, slots=True)
class Scan:
    """The top five of each resource; it looked at `looked` of `processes`.

    `complete`: the resources of which the use of every process is known. Only of them is a share that of the host.
    """

    top: Mapping[Resource, tuple[ProcessUse, ...]]
    complete: frozenset[Resource]
    looked: int
    processes: int


@dataclass(slots=True)
class _Process:
    """One that was seen. With its number the start, in clock ticks after the boot, makes it unique.

    `is_active`: it was running, or waited for the disk, which an idle process does not.
    """

    name: str
    started: int
    is_active: bool = False
    looked_ns: int = 0
    closer_ns: int = 0
    unit: str | None = None


class ProcessScan:
    """Scans on demand, for at most 5 ms of processor time; two scans that follow each other give rates.

    The clock is that of the thread: on a host under load the time on the wall would be over before the look
    had begun, just when it matters. Where the budget ends before the processes do, the next scan looks again at
    the suspects and at those that took most or were running, and goes on with the others: those not seen yet, the
    newest first, for what has just begun is the more likely cause, then those that were seen longest ago.
    """

    def __init__(self, proc: Path, budget_seconds: float = BUDGET_SECONDS) -> None:
        self._proc = proc
        self._budget = budget_seconds
        self.forget()

    def forget(self) -> None:
        """Begin anew: what is unusual next has nothing to do with what was."""
        self._known: dict[int, _Process] = {}  # in the order in which they were seen
        self._foremost: frozenset[int] = frozenset()
        self._waiting: list[int] = []
        self._processes = 0
        self._totals: dict[Resource, dict[int, tuple[float, int]]] = {resource: {} for resource in _COUNTED}
        self._amounts: dict[Resource, dict[int, float]] = {resource: {} for resource in _TAKEN}

    def scan(self, monotonic_ns: int, suspects: Sequence[int] = ()) -> Scan:
        """Look once, at the first 50 of `suspects` before all others. Raises OSError.

        Rates need an earlier sighting, except of processes younger than two minutes.
        """
        began, is_first = time.thread_time(), not self._known
        root = os.open(self._proc, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if not self._waiting:  # to list a thousand costs half of the budget
                self._list(root)
            pids = list(dict.fromkeys((*suspects[:_MOST_SUSPECTS], *self._foremost, *self._waiting)))
            until = max(began + _LOOKS * self._budget, time.thread_time() + _LOOKS_AT_LEAST * self._budget)
            looked = self._look(root, pids, monotonic_ns, until)
            self._waiting = pids[looked:]
            if is_first and self._waiting:
                _log.info("process_scan_cut_short", looked=looked, processes=self._processes)
            self._look_closer(root, monotonic_ns, began + _LOOKS_CLOSER * self._budget)
            top = self._top(root, began + _NAMES * self._budget)
            return Scan(top, self._complete(), looked, self._processes)
        finally:
            os.close(root)

    def _list(self, root: int) -> None:
        """Find the processes, and put them in the order in which they are worth a look."""
        living = {int(name) for name in os.listdir(root) if name.isdecimal()}
        for pid in self._known.keys() - living:
            self._drop(pid)
        self._waiting = [*sorted(living - self._known.keys(), reverse=True), *self._known]
        self._foremost &= living
        self._processes = len(living)

    def _drop(self, pid: int) -> None:
        self._known.pop(pid, None)
        for totals in self._totals.values():
            totals.pop(pid, None)
        for amounts in self._amounts.values():
            amounts.pop(pid, None)

    def _look(self, root: int, pids: Sequence[int], now_ns: int, until: float) -> int:
        """Read processor time and memory; returns for how many processes there was time."""
        for count, pid in enumerate(pids):
            if count % _CHECKED_EVERY == 0 and time.thread_time() > until:
                return count
            try:
                text = read_whole(f"{pid}/stat", root)
                end = text.rindex(b")")
                fields = text[end + 2 :].split(None, _RESIDENT + 1)
                started, ticks = int(fields[_STARTED]), int(fields[_UTIME]) + int(fields[_STIME])
                resident = float(int(fields[_RESIDENT]) * _PAGE_BYTES)
            except (OSError, ValueError, IndexError):  # it ended meanwhile
                self._drop(pid)
                continue
            process = self._known.pop(pid, None)
            if process is None or process.started != started:
                self._drop(pid)
                process = _Process(printable(text[text.index(b"(") + 1 : end]) or str(pid), started)
            self._known[pid] = process
            process.looked_ns, process.is_active = now_ns, fields[_STATE] in _ACTIVE
            self._note(pid, Resource.CPU, ticks / _TICKS_PER_SECOND, now_ns)
            self._amounts[Resource.MEMORY][pid] = resident
            if not self._amounts[Resource.CPU].get(pid, 1.0):  # without processor time next to nothing is written
                self._amounts[Resource.READS][pid] = self._amounts[Resource.WRITES][pid] = 0.0
            if not resident:  # a thread of the kernel: its traffic is another's
                for resource in _CLOSER:
                    self._amounts[resource][pid] = 0.0
        return len(pids)

    def _look_closer(self, root: int, now_ns: int, until: float) -> None:
        """Count open files, and bytes read and written: of who is busy first, then of who was not asked for longest."""
        cpu, memory = self._amounts[Resource.CPU], self._amounts[Resource.MEMORY]
        seen = sorted(
            (not one.is_active, -round(cpu.get(pid, 0.0), 1), one.closer_ns, -pid)
            for pid, one in self._known.items()
            if one.looked_ns == now_ns and memory[pid]
        )
        may_read_io = True
        for count, (*_, minus_pid) in enumerate(seen):
            if count % _CHECKED_EVERY == 0 and time.thread_time() > until:
                return
            pid = -minus_pid
            self._known[pid].closer_ns = now_ns
            try:
                # since Linux 6.2 the number of open files; 0 before
                self._amounts[Resource.DESCRIPTORS][pid] = float(os.stat(f"{pid}/fd", dir_fd=root).st_size)
                if may_read_io:
                    text = read_whole(f"{pid}/io", root)
                    self._note(pid, Resource.READS, _number_after(text, b"\nread_bytes: "), now_ns)
                    self._note(pid, Resource.WRITES, _number_after(text, b"\nwrite_bytes: "), now_ns)
            except PermissionError:  # so it will be with nearly all of the others
                may_read_io = False
            except (OSError, ValueError):  # it ended meanwhile
                continue

    def _note(self, pid: int, resource: Resource, total: float, now_ns: int) -> None:
        """Take in a counter: its rate since the last sighting, or over the life of a young process."""
        before = self._totals[resource].get(pid)
        self._totals[resource][pid] = total, now_ns
        if before is not None:
            if now_ns > before[1]:
                self._amounts[resource][pid] = max(0.0, total - before[0]) * 1e9 / (now_ns - before[1])
            return
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - self._known[pid].started / _TICKS_PER_SECOND
        if age < _YOUNG_SECONDS:
            self._amounts[resource][pid] = total / max(age, _LEAST_AGE_SECONDS)

    def _complete(self) -> frozenset[Resource]:
        if not self._known.keys() >= set(self._waiting):
            return frozenset()
        return frozenset(resource for resource in _TAKEN if len(self._amounts[resource]) == len(self._known) > 0)

    def _top(self, root: int, until: float) -> dict[Resource, tuple[ProcessUse, ...]]:
        top = {}
        foremost = {pid for pid, one in self._known.items() if one.is_active}
        for resource, amounts in self._amounts.items():
            first = nlargest(TOP, [(amount, pid) for pid, amount in amounts.items() if amount > 0])
            whole = sum(amounts.values())
            foremost.update(pid for _, pid in first)
            top[resource] = tuple(
                ProcessUse(self._known[pid].name, self._unit_of(root, pid, until), amount, amount / whole)
                for amount, pid in first
            )
        self._foremost = frozenset(foremost)
        return top

    def _unit_of(self, root: int, pid: int, until: float) -> str:
        process = self._known[pid]
        if process.unit is None and time.thread_time() < until:
            try:
                process.unit = unit_of(cgroup_path(read_whole(f"{pid}/cgroup", root)))
            except OSError:  # it ended meanwhile
                process.unit = ""
        return process.unit or ""


def _number_after(text: bytes, word: bytes) -> float:
    at = text.index(word) + len(word)
    return float(text[at : text.index(b"\n", at)])
