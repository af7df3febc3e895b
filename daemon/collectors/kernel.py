"""How much of the kernel's own tables is used: open files and threads.

Enters: file-nr, loadavg and two limits. Leaves: ratios, and the count of open files, since many
distributions set their maximum to 2^63 and the ratio would be a constant 0.
"""

from collections.abc import Sequence

from daemon.collectors.base import HostPaths, Measurement, ProcFile, understood
from daemon.signals import Kind, SignalSpec
from detectors.findings import Unit

NO_LIMIT = 2**53  # beyond it the ratio says nothing
DESCRIPTORS = SignalSpec("kernel.descriptors_used", Unit.RATIO, Kind.GAUGE, "kernel")
DESCRIPTORS_COUNT = SignalSpec("kernel.descriptors_count", Unit.COUNT, Kind.GAUGE, "kernel")
THREADS = SignalSpec("kernel.threads", Unit.RATIO, Kind.GAUGE, "kernel")


class KernelCollector:
    """Open files of all processes, and threads against pid_max or threads-max, whichever ends first."""

    name = "kernel"
    deadline_seconds = 2.0

    def __init__(self, *, paths: HostPaths) -> None:
        self._files = ProcFile(paths.proc / "sys" / "fs" / "file-nr")
        self._load = ProcFile(paths.proc / "loadavg")
        self._limits = [ProcFile(paths.proc / "sys" / "kernel" / name) for name in ("pid_max", "threads-max")]

    def collect(self, monotonic_ns: int) -> Sequence[Measurement]:  # noqa: ARG002 - gauges need no time
        """Read the tables; see the module for what leaves."""
        files, load = self._files.read(), self._load.read()
        limits = [file.read() for file in self._limits]
        with understood(self._files.path):
            allocated, free, maximum = map(int, files.split())
        with understood(self._load.path):
            threads = int(load.split(b"/", 1)[1].split(b" ", 1)[0])
        with understood(self._limits[0].path):
            share = threads / min(map(int, limits))
        measured: list[Measurement] = [(DESCRIPTORS_COUNT, allocated - free), (THREADS, share)]
        if 0 < maximum < NO_LIMIT:
            measured.append((DESCRIPTORS, (allocated - free) / maximum))
        return measured

    def close(self) -> None:
        """Give back the descriptors."""
        for file in (self._files, self._load, *self._limits):
            file.close()
