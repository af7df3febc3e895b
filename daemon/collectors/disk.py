"""Work of each disk, from /proc/diskstats.

Enters: the kernel's counters (sectors of 512 bytes, milliseconds). Leaves: bytes, requests, seconds
of waiting per request, and the share of time in which a disk was busy. Whole disks, dm and md only.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from daemon.collectors.base import HostPaths, Measurement, ProcFile, one_of, printable, understood
from daemon.collectors.disk_name import is_partition, is_whole_disk, lasting_names
from daemon.rates import Rates
from daemon.signals import Kind, SignalSpec
from detectors.findings import Unit

MAX_DISKS = 64
SECTOR_BYTES = 512  # of this file, whatever the device's own sector is
EXCLUDED = ("loop*", "ram*", "zram*", "sr*")


@dataclass(slots=True)
class _Disk:
    """A disk that is there; `requests` is its last total, to notice that another took its kernel name."""

    resource: str
    specs: tuple[SignalSpec, ...]
    requests: int


class DiskCollector:
    """Disks by their lasting names, so that a reboot which swaps sda and sdb mixes no histories.

    `exclude` are shell patterns for kernel or lasting names. Disks that never did any work give
    nothing. `dropped_disks` counts those beyond the bound.
    """

    name = "disk"
    deadline_seconds = 2.0

    def __init__(self, *, paths: HostPaths, gap_seconds: float, exclude: Sequence[str] = ()) -> None:
        self._sys = paths.sys
        self._file = ProcFile(paths.proc / "diskstats")
        self._rates = Rates(gap_seconds)
        self._excluded = one_of((*EXCLUDED, *exclude))
        self._disks: dict[str, _Disk] = {}
        self._partitions: set[bytes] = set()
        self.dropped_disks = 0

    @property
    def aliases(self) -> dict[str, str]:
        """Lasting name to present kernel name, of the disks seen last."""
        return {disk.resource: kernel for kernel, disk in self._disks.items()}

    def collect(self, monotonic_ns: int) -> Sequence[Measurement]:
        """Read the counters; see the module for what leaves."""
        content = self._file.read()
        self._rates.begin(monotonic_ns)
        measured: list[Measurement] = []
        present: dict[str, _Disk] = {}
        dropped = 0
        with understood(self._file.path):
            for line in content.splitlines():
                fields = line.split()
                if fields[2] in self._partitions:
                    continue
                requests = int(fields[3]) + int(fields[7])
                if not requests:
                    continue
                kernel = printable(fields[2])
                disk = self._disks.get(kernel)
                if disk is None or requests < disk.requests:
                    disk = self._identify(kernel, present)
                if disk is None:
                    continue
                if len(present) == MAX_DISKS:
                    dropped += 1
                    continue
                present[kernel] = disk
                disk.requests = requests
                measured += self._measure(disk, fields)
        self._disks = present
        self.dropped_disks = dropped
        return measured

    def _measure(self, disk: _Disk, fields: list[bytes]) -> list[Measurement]:
        reads, _, sectors_read, read_ms, writes, _, sectors_written, write_ms, _, busy_ms = map(int, fields[3:13])
        rates = self._rates
        read, written, reading, writing, read_await, write_await, busy = disk.specs
        return [
            (read, rates.per_second(read.name, sectors_read * SECTOR_BYTES)),
            (written, rates.per_second(written.name, sectors_written * SECTOR_BYTES)),
            (reading, rates.per_second(reading.name, reads)),
            (writing, rates.per_second(writing.name, writes)),
            (read_await, rates.quotient(read_await.name, read_ms / 1000, reads)),
            (write_await, rates.quotient(write_await.name, write_ms / 1000, writes)),
            (busy, rates.share_of_time(busy.name, busy_ms / 1000)),
        ]

    def _identify(self, kernel: str, present: dict[str, _Disk]) -> _Disk | None:
        """Return the disk behind a kernel name, None when it is none or not wanted."""
        if self._excluded.match(kernel):
            return None
        if not is_whole_disk(self._sys, kernel):
            if is_partition(self._sys, kernel):  # that will not change; anything else may yet appear in /sys
                self._partitions.add(kernel.encode())
            return None
        taken = {disk.resource for disk in present.values()}
        # two paths to one disk, or clones of a virtual one, share a serial: the next name tells them apart
        resource = next(name for name in (*lasting_names(self._sys, kernel), kernel) if name not in taken)
        if self._excluded.match(resource):
            return None
        return _Disk(resource, _specs(resource), 0)

    def close(self) -> None:
        """Give back the descriptor."""
        self._file.close()


def _specs(resource: str) -> tuple[SignalSpec, ...]:
    prefix = f"disk.{resource.lower()}."
    units = (
        ("read_bytes_per_second", Unit.BYTES_PER_SECOND),
        ("write_bytes_per_second", Unit.BYTES_PER_SECOND),
        ("reads_per_second", Unit.PER_SECOND),
        ("writes_per_second", Unit.PER_SECOND),
        ("read_await_seconds", Unit.SECONDS),
        ("write_await_seconds", Unit.SECONDS),
        ("busy", Unit.RATIO),
    )
    return tuple(SignalSpec(prefix + name, unit, Kind.RATE, "disk", resource) for name, unit in units)
