"""What the daemon does without while there is no room for it, and that it says so.

Enters: how much memory is left on the host and to its own cgroup, and whether the last sample could be stored. Leaves:
which modes hold, and why. Short of memory, the page, charts and lists of models go first, and no child is started;
sampling, alerting, delivery, /metrics and what tells of alerts go on. On a full disk history goes first: scores come
from the window in memory, and what is to be delivered waits there (`daemon.tick`, `alerting.pipeline`).
"""

import gc
import os
from collections.abc import Callable, Mapping
from enum import StrEnum
from math import inf
from pathlib import Path

import structlog

from daemon.collectors.base import ProcFile
from daemon.errors import CollectorError, NotAvailable, WorkerError
from detectors.kernels import release_memory

_log = structlog.get_logger()

_SHORT_BYTES = 32 * 1024 * 1024  # a chart of a month takes a third of it, a page a tenth
_ENOUGH_BYTES = 2 * _SHORT_BYTES
_LOOK_AGAIN = 4
_OWN_CGROUP = Path("/proc/self/cgroup")  # the daemon's own, wherever the host's tree is


class Mode(StrEnum):
    """What there is no room for."""

    DISK = "disk"
    MEMORY = "memory"


_WITHOUT = {
    Mode.DISK: "sampling goes on, history has a gap; alerts wait in memory",
    Mode.MEMORY: "no page, no charts, no training; sampling and alerts go on",
}


class Degraded:
    """Which modes hold. `memory_left` reads how many bytes are left, and blocks."""

    def __init__(self, memory_left: Callable[[], float]) -> None:
        self._memory_left = memory_left
        self._left = inf
        self._modes: dict[Mode, str] = {}

    @property
    def modes(self) -> tuple[Mode, ...]:
        """Return what holds now."""
        return tuple(sorted(self._modes))

    @property
    def reasons(self) -> Mapping[str, str]:
        """Return why each mode holds, and what is done without, in words."""
        return {mode.value: f"{self._modes[mode]}: {_WITHOUT[mode]}" for mode in self.modes}

    def refuse_child(self) -> None:
        """Raise WorkerError where no child is to be started."""
        if Mode.MEMORY in self._modes:
            raise WorkerError("not started: memory is short")

    def sheds(self, path: str) -> bool:
        """Tell whether a request for `path` is not to be answered now."""
        return Mode.MEMORY in self._modes and (path == "/" or path.startswith(_SHED))

    def look(self) -> None:
        """Read how much memory is left; while it is short, give back what can be. Blocks, once a round of samples."""
        try:
            self._left = self._memory_left()
        except OSError as error:  # not known: what held goes on
            _log.debug("memory_left_not_known", reason=str(error))
        if Mode.MEMORY in self._modes:
            gc.collect()
            release_memory()

    def note_round(self, not_stored: str) -> None:
        """Take in what the last look has read, and why the last sample is not on the disk, "" where it is."""
        self.note_memory(self._left)
        self._set(Mode.DISK, not_stored, holds=bool(not_stored))

    def note_memory(self, left: float) -> None:
        """Take in how many bytes are left."""
        short = left < (_ENOUGH_BYTES if Mode.MEMORY in self._modes else _SHORT_BYTES)
        self._set(Mode.MEMORY, f"{max(left, 0.0) / 2**20:.0f} MiB are left", holds=short)

    def _set(self, mode: Mode, reason: str, *, holds: bool) -> None:
        before = mode in self._modes
        if holds:
            self._modes[mode] = reason
            if not before:
                _log.warning("degraded", mode=str(mode), reason=reason, effect=_WITHOUT[mode])
        elif before:
            del self._modes[mode]
            _log.info("not_degraded_any_more", mode=str(mode))


# Pages and answers that take memory; what tells of alerts and of the daemon itself stays.
_SHED = (
    "/dashboard/",
    *(f"/api/v1/{name}" for name in ("series", "events", "signals", "neural", "openapi.json", "month")),
)


class MemoryLeft:
    """Tells how many bytes may still be taken. Its files stay open: it is asked at every interval.

    Where the process stands, and which cgroups have a limit, it looks at every fourth time only.
    """

    def __init__(self, proc: Path, sys: Path) -> None:
        self._meminfo = ProcFile(proc / "meminfo")
        self._own = ProcFile(_OWN_CGROUP)
        self._top = sys / "fs" / "cgroup"
        self._place = b""
        self._groups: list[_Group] = []
        self._limited: list[_Group] = []
        self._asked = 0

    def __call__(self) -> float:
        """Return what is left of the host, of this process's cgroup, and of those above it; blocks.

        Infinite where neither is told. A cgroup's cache that is given back at once counts as left.
        """
        if self._asked % _LOOK_AGAIN == 0:
            place = _content(self._own)
            if place != self._place:
                self._follow(place)
            self._limited = [group for group in self._groups if group.left() < inf]
        self._asked += 1
        available = _field(_content(self._meminfo), b"MemAvailable:")
        left = inf if available is None else available * 1024.0
        return min(left, *(group.left() for group in self._limited)) if self._limited else left

    def _follow(self, place: bytes) -> None:
        for group in self._groups:
            group.close()
        self._place, self._groups = place, []
        for line in os.fsdecode(place).splitlines():
            controllers, _, path = line.partition(":")[2].partition(":")
            if not controllers:  # version 2
                folder = self._top
                for name in ("", *(part for part in path.split("/") if part not in ("", ".."))):
                    folder /= name
                    self._groups.append(_Group(folder))


class _Group:
    """A control group of version 2, and what it has of a limit."""

    def __init__(self, folder: Path) -> None:
        self._limit, self._used, self._stat = (
            ProcFile(folder / name) for name in ("memory.max", "memory.current", "memory.stat")
        )

    def left(self) -> float:
        """Return how many bytes may still be taken, infinite without a limit."""
        limit = _content(self._limit).strip()
        if not limit.isdigit():
            return inf
        used = _content(self._used).strip()
        if not used.isdigit():
            return inf
        return int(limit) - int(used) + float(_field(_content(self._stat), b"inactive_file") or 0)

    def close(self) -> None:
        for file in (self._limit, self._used, self._stat):
            file.close()


def _field(table: bytes, name: bytes) -> int | None:
    """Return the number behind `name` in a table of lines, None where it is not told."""
    rest = (b"\n" + table).partition(b"\n" + name)[2].split(None, 1)
    return int(rest[0]) if rest and rest[0].isdigit() else None


def _content(file: ProcFile) -> bytes:
    try:
        return file.read()
    except (NotAvailable, CollectorError):
        return b""
