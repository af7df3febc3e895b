"""How many tasks run, wait and are born, from /proc/stat and /proc/loadavg.

Enters: the kernel's sums. Leaves: counts and a rate. Never walks /proc/<pid>: that costs 3 ms and
grows with every process.
"""

from collections.abc import Sequence

from daemon.collectors.base import HostPaths, Measurement, ProcFile, understood
from daemon.rates import Rates
from daemon.signals import Kind, SignalSpec
from detectors.findings import Unit

RUNNING = SignalSpec("processes.running_count", Unit.COUNT, Kind.GAUGE, "processes")
BLOCKED = SignalSpec("processes.blocked_count", Unit.COUNT, Kind.GAUGE, "processes")
TOTAL = SignalSpec("processes.total_count", Unit.COUNT, Kind.GAUGE, "processes")
FORKS = SignalSpec("processes.forks_per_second", Unit.PER_SECOND, Kind.RATE, "processes")


class ProcessCollector:
    """Tasks of the host. The total counts threads, as the kernel does; blocked ones wait for I/O."""

    name = "process"
    deadline_seconds = 2.0

    def __init__(self, *, paths: HostPaths, gap_seconds: float) -> None:
        self._stat = ProcFile(paths.proc / "stat")
        self._load = ProcFile(paths.proc / "loadavg")
        self._rates = Rates(gap_seconds)

    def collect(self, monotonic_ns: int) -> Sequence[Measurement]:
        """Read both files; see the module for what leaves."""
        stat, load = self._stat.read(), self._load.read()
        self._rates.begin(monotonic_ns)
        with understood(self._stat.path):
            words = stat[stat.index(b"\nprocesses ") :].split(None, 6)
            forks, running, blocked = int(words[1]), int(words[3]), int(words[5])
        with understood(self._load.path):
            total = int(load.split(b"/", 1)[1].split(b" ", 1)[0])
        return [
            (RUNNING, running),
            (BLOCKED, blocked),
            (TOTAL, total),
            (FORKS, self._rates.per_second(FORKS.name, forks)),
        ]

    def close(self) -> None:
        """Give back the descriptors."""
        self._stat.close()
        self._load.close()
