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
        self._boot, self._count, self._seen_ms = "", 0, 0
        self.problem = ""

    @property
    def state(self) -> str:
        """Boot, counter and when it was looked at last and had changed."""
        return f"{self._boot} {self._count} {self._seen_ms}" if self._boot else ""

    def restore(self, state: str) -> None:
        """Take up the state of an earlier process; what is not understood is left."""
        words = state.split(" ")
        if len(words) == 3 and words[1].isdecimal() and words[2].isdecimal():  # noqa: PLR2004 - as `state` has them
            self._boot, self._count, self._seen_ms = words[0], int(words[1]), int(words[2])

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
        """Return one report for each kill since the last look, which was at `last_ms` if this process made it."""
        if self._boot != now.boot_id:
            # Of a boot of which we saw nothing: the kills before cannot be dated. The first look only remembers.
            known, since_ms = (count, now.time_ms) if not self._boot else (0, now.time_ms - now.boottime_ns // 10**6)
        else:
            known, since_ms = self._count, max(last_ms, self._seen_ms)
        self._boot = now.boot_id
        if count == known and self._count == count:
            return []
        self._count, self._seen_ms = count, now.time_ms
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
