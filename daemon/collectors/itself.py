"""What the daemon itself costs. The collector's name is "self"; a file of that name would read like the word.

Enters: the daemon's own /proc/self, always the real one. Leaves: processor, memory, descriptors, threads.
"""

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from daemon.collectors.base import Measurement, ProcFile, Visitors, understood
from daemon.rates import Rates
from daemon.signals import Kind, SignalSpec
from detectors.findings import Unit

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
CPU = SignalSpec("self.cpu", Unit.RATIO, Kind.RATE, "self")
RESIDENT = SignalSpec("self.resident_bytes", Unit.BYTES, Kind.GAUGE, "self")
DESCRIPTORS = SignalSpec("self.descriptors_count", Unit.COUNT, Kind.GAUGE, "self")
THREADS = SignalSpec("self.threads_count", Unit.COUNT, Kind.GAUGE, "self")
THREADS_FIELD = 17  # of /proc/self/stat, counted behind the name in parentheses


class SelfCollector:
    """The daemon without its children. `self.cpu` is a share of one processor; several threads may exceed 1."""

    name = "self"
    deadline_seconds = 2.0

    def __init__(self, *, gap_seconds: float, visitors: Callable[[], Visitors] = Visitors) -> None:
        self._stat = ProcFile(Path("/proc/self/stat"))
        self._statm = ProcFile(Path("/proc/self/statm"))
        self._rates = Rates(gap_seconds)
        self._visitors = visitors

    def collect(self, monotonic_ns: int) -> Sequence[Measurement]:
        """Read the daemon's own numbers."""
        stat, statm = self._stat.read(), self._statm.read()
        self._rates.begin(monotonic_ns)
        with understood(self._stat.path):
            threads = int(stat[stat.rindex(b")") + 2 :].split()[THREADS_FIELD])
            resident = int(statm.split(None, 2)[1]) * PAGE_BYTES
        return [
            (CPU, self._rates.per_second(CPU.name, time.process_time())),  # finer than the jiffies of stat
            (RESIDENT, resident),
            (DESCRIPTORS, max(0, _open_files() - self._visitors().every)),
            (THREADS, threads),
        ]

    def close(self) -> None:
        """Give back the descriptors."""
        self._stat.close()
        self._statm.close()


def _open_files() -> int:
    """Return how many descriptors this process has: Linux 6.2 and newer tell it as the size of the folder."""
    folder = "/proc/self/fd"
    return os.stat(folder).st_size or len(os.listdir(folder)) - 1  # noqa: PTH116, PTH208 - cheap; one is its own
