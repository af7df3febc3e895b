"""How near units are to limits of their own: memory of a control group, open files of a process.

Enters: processes and control groups of version 1 or 2. Leaves: ratios of those units that have used a tenth of a limit
for five rounds, at most 8 of each kind: jobs of a moment would fill the table of signals. One that is followed stays
until it goes, so that what is learned of it is of one thing. Other units have no signals: they are evidence.
Page cache is no use of memory, for the kernel takes it back first. What it costs is bounded: on a host with thousands
of processes it looks at some of them a round, at the fullest ones always. Without privileges open files are counted
since Linux 6.2.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from math import isnan, nan
from pathlib import Path
from time import thread_time

from daemon.collectors.base import HostPaths, Measurement, printable, read_whole
from daemon.collectors.unit_name import cgroup_path, is_passing, unit_of
from daemon.errors import NotAvailable
from daemon.signals import Kind, SignalSpec
from detectors.findings import Unit

FOLLOWED = 8  # of each kind
LEAST_USED = 0.1
ROUNDS = 5  # before one is followed
PASSING_ROUNDS = 120  # the same of a pod or a container: a hundred an hour would be as many signals, for ever new ones
BUDGET_SECONDS = 0.003  # of processor time

_MOST_NEAR = 64  # processes that are looked at in every round
_LEAST_OTHERS = 16
_FEW_FILES = 64  # nobody is near a limit with less
_READ_AGAIN = 20  # looks: a limit is seldom changed, and a process seldom moved
_SELDOM = 4  # rounds in which what is far from its limit is looked at once
_CHECKED_EVERY = 4  # processes: asking for the thread's time costs a tenth of one
_NO_LIMIT = 2**60  # version 1 has no word for it
_FILES = b"Max open files"


@dataclass(slots=True)
class _Process:
    """One that was looked at: its unit, the path of its memory group, and the share of its open files, 0 to 1."""

    unit: str = ""
    group: str = ""
    limit: int = 0
    used: float = 0.0
    looks: int = 0


@dataclass(slots=True)
class _Chosen:
    """Which units are followed in one respect, `what`."""

    what: str
    specs: dict[str, SignalSpec] = field(default_factory=dict)
    rounds: dict[str, int] = field(default_factory=dict)

    def measure(self, used: Mapping[str, float]) -> list[Measurement]:
        """Return the shares `used` of the units that are followed; a fuller one takes the place of the emptiest."""
        for name in self.specs.keys() - used.keys():
            del self.specs[name]
        near = {name for name, share in used.items() if share >= LEAST_USED and name not in self.specs}
        self.rounds = {name: self.rounds.get(name, 0) + 1 for name in near}
        for name in sorted(near, key=lambda name: -used[name]):
            if self.rounds[name] < (PASSING_ROUNDS if is_passing(name) else ROUNDS):
                continue
            if len(self.specs) >= FOLLOWED:
                emptiest = min(self.specs, key=lambda name: used[name])
                if used[emptiest] >= used[name]:
                    break
                del self.specs[emptiest]
            self.specs[name] = SignalSpec(f"units.{name}.{self.what}", Unit.RATIO, Kind.GAUGE, "units", name)
        return [(spec, min(used[name], 1.0)) for name, spec in self.specs.items()]


class LimitsCollector:
    """The units that are nearest to a limit of their own."""

    name = "limits"
    deadline_seconds = 2.0

    def __init__(self, *, paths: HostPaths, budget_seconds: float = BUDGET_SECONDS) -> None:
        self._proc = paths.proc
        self._groups = _MemoryGroups(paths.sys / "fs" / "cgroup")
        self._budget = budget_seconds
        self._known: dict[int, _Process] = {}  # those that were looked at longest ago come first
        self._memory = _Chosen("memory_used")
        self._files = _Chosen("descriptors_used")

    def collect(self, monotonic_ns: int) -> Sequence[Measurement]:  # noqa: ARG002 - gauges need no time
        """Look at processes and their groups; raises NotAvailable where there is no /proc to list."""
        began = thread_time()
        try:
            root = os.open(self._proc, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise NotAvailable(f"{self._proc}: {error.strerror}") from error
        try:
            living = {int(name) for name in os.listdir(root) if name.isdecimal()}  # noqa: PTH208 - of a descriptor
            if not living:
                raise NotAvailable(f"{self._proc}: there are no processes")
            for pid in self._known.keys() - living:
                del self._known[pid]
            near = sorted((pid for pid, one in self._known.items() if one.used >= LEAST_USED), key=self._emptiness)
            fresh = sorted(living - self._known.keys(), reverse=True)
            others = islice(self._known, max(_LEAST_OTHERS, len(self._known) // _SELDOM))
            self._look(root, list(dict.fromkeys((*near[:_MOST_NEAR], *fresh, *others))), began + self._budget)
        finally:
            os.close(root)
        return [*self._memory.measure(self._groups.used(self._known.values())), *self._files.measure(self._open())]

    def _emptiness(self, pid: int) -> float:
        return -self._known[pid].used

    def _look(self, root: int, pids: Sequence[int], until: float) -> None:
        for count, pid in enumerate(pids):
            if count % _CHECKED_EVERY == 0 and count >= _MOST_NEAR and thread_time() > until:
                return
            process = self._known.pop(pid, None) or _Process()
            try:
                files = os.stat(f"{pid}/fd", dir_fd=root).st_size
                if process.looks % _READ_AGAIN == 0:
                    process.group, process.unit = _place(read_whole(f"{pid}/cgroup", root))
                    process.limit = 0
                if files >= _FEW_FILES and not process.limit:
                    process.limit = _soft_limit(read_whole(f"{pid}/limits", root))
                    process.unit = process.unit or printable(read_whole(f"{pid}/comm", root).strip())
            except (OSError, ValueError, IndexError):  # it ended meanwhile
                continue
            process.looks += 1
            process.used = files / process.limit if process.limit else 0.0
            self._known[pid] = process

    def _open(self) -> dict[str, float]:
        """Return by unit the largest share of its open files that a process has."""
        used: dict[str, float] = {}
        for process in self._known.values():
            if process.unit:
                used[process.unit] = max(used.get(process.unit, 0.0), process.used)
        return used

    def close(self) -> None:
        """Nothing is kept open."""


class _MemoryGroups:
    """Control groups that have a limit of memory, found by the processes in them and below them."""

    def __init__(self, top: Path) -> None:
        self._first = top / "memory"
        # beside version 1, systemd keeps version 2 in a folder of its own
        self._second = top if (top / "cgroup.controllers").exists() else top / "unified"
        self._limits: dict[str, int] = {}
        self._used: dict[str, float] = {}
        self._rounds = 0

    def used(self, processes: Iterable[_Process]) -> dict[str, float]:
        """Return by unit the share of its limit that is used and cannot be taken back."""
        groups = {above for path in {process.group for process in processes} for above in _upwards(path)}
        if self._rounds % _READ_AGAIN == 0:
            self._limits.clear()
        self._rounds += 1
        self._limits = {group: self._limits.get(group) or self._limit(group) for group in groups}
        limited = [(group, limit) for group, limit in sorted(self._limits.items()) if limit < _NO_LIMIT]
        self._used = {
            group: self._use(group) / limit
            if self._used.get(group, 1.0) >= LEAST_USED or (place + self._rounds) % _SELDOM == 0
            else self._used[group]
            for place, (group, limit) in enumerate(limited)
        }
        by_unit: dict[str, float] = {}
        for group, share in self._used.items():
            if isnan(share):
                continue
            name = unit_of(group) or group.rpartition("/")[2]
            by_unit[name] = max(by_unit.get(name, 0.0), share)
        return by_unit

    def _limit(self, group: str) -> int:
        """Return the limit in bytes, `_NO_LIMIT` where there is none."""
        for file in (f"{self._second}{group}/memory.max", f"{self._first}{group}/memory.limit_in_bytes"):
            try:
                return min(int(read_whole(file)), _NO_LIMIT) or _NO_LIMIT
            except (OSError, ValueError):  # not there, or "max"
                continue
        return _NO_LIMIT

    def _use(self, group: str) -> float:
        """Return in bytes what cannot be taken back, NaN where the group has just gone."""
        for folder, current, taken_back in (
            (self._second, "memory.current", (b"inactive_file", b"active_file", b"slab_reclaimable")),
            (self._first, "memory.usage_in_bytes", (b"total_inactive_file", b"total_active_file")),
        ):
            try:
                total = int(read_whole(f"{folder}{group}/{current}"))
                words = read_whole(f"{folder}{group}/memory.stat").split()
            except (OSError, ValueError):  # of the other version, or it has just gone
                continue
            parts = dict(zip(words[::2], words[1::2], strict=False))
            return float(max(0, total - sum(int(parts.get(name, 0)) for name in taken_back)))
        return nan


def _upwards(path: str) -> list[str]:
    """Return the path and those above it, without the top; none of one that leads out of what we see."""
    parts = [part for part in path.split("/") if part]
    return [] if ".." in parts else ["/" + "/".join(parts[:end]) for end in range(len(parts), 0, -1)]


def _place(text: bytes) -> tuple[str, str]:
    """Return the path of the memory group of /proc/PID/cgroup, and the unit."""
    path = cgroup_path(text)
    for line in text.splitlines():
        _, _, rest = line.partition(b":")
        controllers, _, memory = rest.partition(b":")
        if b"memory" in controllers.split(b","):
            return memory.decode("utf-8", "surrogateescape"), unit_of(path)
    return path, unit_of(path)


def _soft_limit(text: bytes) -> int:
    """Return how many files may be open by /proc/PID/limits, 0 = as many as it likes."""
    word = text[text.index(_FILES) + len(_FILES) :].split(None, 1)[0]
    return int(word) if word.isdigit() else 0
