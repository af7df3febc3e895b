"""Memory, swap and paging, from /proc/meminfo and /proc/vmstat.

Enters: kilobytes, pages and counters; in a container its own limit and use. Leaves: ratios, bytes
and rates. `memory.used` is 1 - MemAvailable / MemTotal: the page cache is not use.
"""

import os
from collections.abc import Callable, Sequence

from daemon.collectors.base import HostPaths, Measurement, ProcFile, understood
from daemon.rates import Rates
from daemon.signals import Kind, SignalSpec
from detectors.findings import Unit

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def _bytes(name: str, family: str = "memory") -> SignalSpec:
    return SignalSpec(name, Unit.BYTES, Kind.GAUGE, family)


USED = SignalSpec("memory.used", Unit.RATIO, Kind.GAUGE, "memory")
AVAILABLE = _bytes("memory.available_bytes")
SWAP_USED = SignalSpec("swap.used", Unit.RATIO, Kind.GAUGE, "swap")
SWAP_USED_BYTES = _bytes("swap.used_bytes", "swap")
# signal and the lines of meminfo whose kilobytes it adds up
GAUGES = (
    (_bytes("memory.dirty_bytes"), (b"Dirty", b"Writeback")),
    (_bytes("memory.cached_bytes"), (b"Cached", b"Buffers")),
    (_bytes("memory.slab_bytes"), (b"Slab",)),
    (_bytes("memory.anonymous_bytes"), (b"AnonPages",)),
)
# signal, line of vmstat, factor to its unit
COUNTERS = (
    (SignalSpec("memory.page_faults_per_second", Unit.PER_SECOND, Kind.RATE, "memory"), b"\npgfault ", 1),
    (SignalSpec("memory.major_faults_per_second", Unit.PER_SECOND, Kind.RATE, "memory"), b"\npgmajfault ", 1),
    (
        SignalSpec("memory.swap_in_bytes_per_second", Unit.BYTES_PER_SECOND, Kind.RATE, "memory"),
        b"\npswpin ",
        PAGE_BYTES,
    ),
    (
        SignalSpec("memory.swap_out_bytes_per_second", Unit.BYTES_PER_SECOND, Kind.RATE, "memory"),
        b"\npswpout ",
        PAGE_BYTES,
    ),
    (SignalSpec("memory.oom_kills_per_second", Unit.PER_SECOND, Kind.RATE, "memory"), b"\noom_kill ", 1),
)


class MemoryCollector:
    """Memory of the host, or of the container when `memory_limit` answers.

    `memory_limit` gives (used bytes, limit bytes) of the container, or None where nothing limits
    it; see `daemon.host.container_memory`. A limit above the memory that exists is no limit.
    """

    name = "memory"
    deadline_seconds = 2.0

    def __init__(
        self,
        *,
        paths: HostPaths,
        gap_seconds: float,
        memory_limit: Callable[[], tuple[int, int] | None] | None = None,
    ) -> None:
        self._meminfo = ProcFile(paths.proc / "meminfo")
        self._vmstat = ProcFile(paths.proc / "vmstat")
        self._rates = Rates(gap_seconds)
        self._memory_limit = memory_limit

    def collect(self, monotonic_ns: int) -> Sequence[Measurement]:
        """Read both files; see the module for what leaves."""
        meminfo, vmstat = self._meminfo.read(), self._vmstat.read()
        limited = self._memory_limit() if self._memory_limit else None
        self._rates.begin(monotonic_ns)
        with understood(self._meminfo.path):
            measured = _gauges(_kilobytes(meminfo), limited)
        with understood(self._vmstat.path):
            measured += self._counters(vmstat)
        return measured

    def _counters(self, vmstat: bytes) -> list[Measurement]:
        measured: list[Measurement] = []
        for spec, line, factor in COUNTERS:
            at = vmstat.find(line)
            if at >= 0:  # oom_kill came with Linux 4.13
                at += len(line)
                total = int(vmstat[at : vmstat.index(b"\n", at)]) * factor
                measured.append((spec, self._rates.per_second(spec.name, total)))
        return measured

    def close(self) -> None:
        """Give back the descriptors."""
        self._meminfo.close()
        self._vmstat.close()


def _kilobytes(meminfo: bytes) -> dict[bytes, bytes]:
    words = meminfo.replace(b" kB", b"").split()  # HugePages_* have no unit: drop it everywhere, then all are pairs
    return dict(zip(words[::2], words[1::2], strict=True))


def _gauges(lines: dict[bytes, bytes], limited: tuple[int, int] | None) -> list[Measurement]:
    total = int(lines[b"MemTotal:"]) * 1024
    available = int(lines[b"MemAvailable:"]) * 1024
    if limited is not None and limited[1] < total:
        total = limited[1]
        available = max(total - limited[0], 0)
    measured: list[Measurement] = [(USED, 1 - available / total), (AVAILABLE, available)]
    measured += [(spec, sum(int(lines[name + b":"]) for name in names) * 1024) for spec, names in GAUGES]
    swap = int(lines[b"SwapTotal:"]) * 1024
    if swap:
        used = swap - int(lines[b"SwapFree:"]) * 1024
        measured += [(SWAP_USED, used / swap), (SWAP_USED_BYTES, used)]
    return measured
