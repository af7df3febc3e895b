"""Processes that the kernel killed for want of memory, by its own counters: of the host, and of a unit.

Enters: `oom_kill` of /proc/vmstat, which any user may read, and what the unit collector notices of memory.events.
Leaves: reports without a name, or with the unit. The counter outlives us: kills while we were away are reported too,
of the same boot.
"""

from collections.abc import Iterable

from daemon.clock import Instant
from daemon.collectors.base import HostPaths, Noticed, ProcFile
from daemon.errors import CollectorError
from daemon.failures.record import FailureReport, Source
from detectors.findings import ChangeKind, FailureKind

_MOST = 50  # reports of one look: the log tells of more
_FIELD = b"\noom_kill "
_WANT = "the kernel killed a process for want of memory"


class MemoryKills:
    """Compares the counter with the last one. `state` is what `restore` takes, for the next process."""

    def __init__(self, paths: HostPaths) -> None:
        self._file = ProcFile(paths.proc / "vmstat")
        self._boot, self._count = "", 0
        self.problem = ""

    @property
    def state(self) -> str:
        """The boot and its counter, "" before the first look."""
        return f"{self._boot} {self._count}" if self._boot else ""

    def restore(self, state: str) -> None:
        """Take up the state of an earlier process; what is not understood is left."""
        boot, _, count = state.partition(" ")
        if count.isdecimal():
            self._boot, self._count = boot, int(count)

    def read(self) -> int | None:
        """Return the counter, None where there is none; blocks."""
        try:
            text = self._file.read()
            number = int(text.split(_FIELD, 1)[1].split(b"\n", 1)[0])
        except (CollectorError, IndexError, ValueError) as error:
            self.problem = str(error) if isinstance(error, CollectorError) else "this kernel does not count its kills"
            return None
        self.problem = ""
        return number

    def observe(self, count: int, now: Instant, last_ms: int) -> list[FailureReport]:
        """Return one report for each kill since the last look at `last_ms`, or since the boot where that is later."""
        known, since_ms = self._count, last_ms
        if self._boot != now.boot_id:
            since_ms = max(last_ms, now.time_ms - now.boottime_ns // 1_000_000)
            known = 0 if self._boot else count  # the very first look only remembers: nobody knows when that was
        self._boot, self._count = now.boot_id, count
        return [
            FailureReport(
                FailureKind.OOM_KILL, Source.VMSTAT, f"{now.boot_id} {number}", since_ms, now.time_ms, "", _WANT
            )
            for number in range(max(known, count - _MOST) + 1, count + 1)
        ]

    def close(self) -> None:
        """Give back the descriptor."""
        self._file.close()


def noticed_kills(noticed: Iterable[Noticed], now_ms: int, last_ms: int) -> list[FailureReport]:
    """Return a report for each kill that the unit collector noticed between `last_ms` and `now_ms`."""
    return [
        FailureReport(
            FailureKind.OOM_KILL,
            Source.CGROUP,
            f"{one.about} {now_ms} {number}",
            last_ms,
            now_ms,
            one.about,
            f"the kernel killed a process of {one.about} for want of memory",
        )
        for one in noticed
        if one.kind is ChangeKind.OOM and one.about
        for number in range(min(one.times, _MOST))
    ]
