"""Every source of signals, by name.

Enters: where the host's trees are and what the operator excluded. Leaves: collectors, ready to be
called. A source that the host does not have is built too and says NotAvailable when it is asked.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from daemon.collectors.application import Asked, application_collectors
from daemon.collectors.base import Collector, HostPaths, Visitors
from daemon.collectors.changes import ChangesCollector
from daemon.collectors.cpu import CpuCollector
from daemon.collectors.disk import DiskCollector
from daemon.collectors.errors import ErrorCounts, ErrorsCollector
from daemon.collectors.filesystem import FilesystemCollector
from daemon.collectors.itself import SelfCollector
from daemon.collectors.kernel import KernelCollector
from daemon.collectors.latency import LatencyCollector
from daemon.collectors.limits import LimitsCollector
from daemon.collectors.memory import MemoryCollector
from daemon.collectors.network import NetworkCollector
from daemon.collectors.pressure import PressureCollector
from daemon.collectors.process import ProcessCollector
from daemon.collectors.tcp import TcpCollector
from daemon.collectors.temperature import TemperatureCollector
from daemon.collectors.unit import UnitCollector
from daemon.host import container_memory

__all__ = ["NAMES", "CollectorContext", "build_collectors"]


@dataclass(frozen=True, slots=True)
class CollectorContext:
    """What collectors need to know.

    `gap_seconds` is the pause beyond which a rate is missing. The `exclude_*` are shell patterns on
    top of each collector's own; `disabled` are names of `NAMES`. `visitors` are those of the daemon's own server.
    """

    paths: HostPaths = field(default_factory=HostPaths)
    gap_seconds: float = 60.0
    exclude_mounts: tuple[str, ...] = ()
    exclude_disks: tuple[str, ...] = ()
    exclude_interfaces: tuple[str, ...] = ()
    latency_targets: tuple[str, ...] = ()
    applications: tuple[Asked, ...] = ()
    errors: ErrorCounts | None = None
    visitors: Callable[[], Visitors] = Visitors
    disabled: frozenset[str] = frozenset()


def _memory(context: CollectorContext) -> Collector:
    limit = container_memory(context.paths)
    return MemoryCollector(
        paths=context.paths, gap_seconds=context.gap_seconds, memory_limit=limit.read if limit else None
    )


_BUILDERS: dict[str, Callable[[CollectorContext], Collector]] = {
    "cpu": lambda c: CpuCollector(paths=c.paths, gap_seconds=c.gap_seconds),
    "memory": _memory,
    "pressure": lambda c: PressureCollector(paths=c.paths, gap_seconds=c.gap_seconds),
    "disk": lambda c: DiskCollector(paths=c.paths, gap_seconds=c.gap_seconds, exclude=c.exclude_disks),
    "filesystem": lambda c: FilesystemCollector(paths=c.paths, exclude=c.exclude_mounts),
    "network": lambda c: NetworkCollector(paths=c.paths, gap_seconds=c.gap_seconds, exclude=c.exclude_interfaces),
    "tcp": lambda c: TcpCollector(paths=c.paths, gap_seconds=c.gap_seconds, visitors=c.visitors),
    "kernel": lambda c: KernelCollector(paths=c.paths),
    "process": lambda c: ProcessCollector(paths=c.paths, gap_seconds=c.gap_seconds),
    "temperature": lambda c: TemperatureCollector(paths=c.paths),
    "latency": lambda c: LatencyCollector(
        paths=c.paths, targets=c.latency_targets, connect_seconds=min(1.0, c.gap_seconds / 10)
    ),
    "unit": lambda c: UnitCollector(paths=c.paths, gap_seconds=c.gap_seconds),
    "limits": lambda c: LimitsCollector(paths=c.paths),
    "changes": lambda c: ChangesCollector(
        paths=c.paths,
        exclude_mounts=c.exclude_mounts,
        exclude_disks=c.exclude_disks,
        exclude_interfaces=c.exclude_interfaces,
    ),
    "errors": lambda c: ErrorsCollector(counts=c.errors, gap_seconds=c.gap_seconds),
    "self": lambda c: SelfCollector(gap_seconds=c.gap_seconds, visitors=c.visitors),
}

_APPLICATION = "application"
NAMES: tuple[str, ...] = (*_BUILDERS, _APPLICATION)


def build_collectors(context: CollectorContext) -> list[Collector]:
    """Return one collector for each name that is not disabled, and one for each application.

    Raises ValueError for a bad latency target.
    """
    collectors = [build(context) for name, build in _BUILDERS.items() if name not in context.disabled]
    if _APPLICATION not in context.disabled:
        collectors += application_collectors(context.applications, context.gap_seconds)
    return collectors
