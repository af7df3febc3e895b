"""The 32 factors of failure: what the risk of a host is judged by, in a fixed order, and where each comes from.

Enters: a description of the signals that a host has, and samples of them (T, S). Leaves: factors (T, 32), each in its
own unit, NaN = missing on this host or in this sample. The order is part of every network that learned from it: a
change of the table is a new `VERSION`. Names are matched whole or by their last part, never taken apart.

Every factor is worse the higher it is, but for the age of the last failure. One that has a limit is exhausted there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from detectors.findings import Unit

Floats = NDArray[np.float64]

VERSION = 1
_RECENT = 60  # samples by which the resource that runs out first is chosen among several of one kind
_AHEAD = 4.0  # times its latest rise


class Signal(Protocol):
    """What has to be known of a signal."""

    @property
    def name(self) -> str:
        """Dotted, as collectors call it."""

    @property
    def unit(self) -> Unit:
        """What it counts."""

    @property
    def family(self) -> str:
        """The collector's subject."""

    @property
    def resource(self) -> str:
        """The device or mount, "" for the whole host."""


@dataclass(frozen=True, slots=True)
class Source:
    """Signals of `family` in `unit` that are called `called`, or whose last part is; "" = all of them."""

    family: str
    unit: Unit
    called: str = ""

    def has(self, signal: Signal) -> bool:
        """Tell whether a signal is one of these."""
        if signal.family != self.family or signal.unit != self.unit:
            return False
        return not self.called or signal.name == self.called or signal.name.endswith("." + self.called)


@dataclass(frozen=True, slots=True)
class Factor:
    """One factor.

    `words` name it in a sentence, `left` what remains of it where it has a `limit` ("memory headroom"). `scale`: what
    is little of a factor without a limit, in its unit. `summed`: several signals add up; otherwise the worst counts.
    `falls`: it is worse the lower it is.
    """

    name: str
    words: str
    unit: Unit
    sources: tuple[Source, ...] = ()
    limit: float | None = None
    left: str = ""
    scale: float = 1.0
    summed: bool = False
    falls: bool = False


_R, _P, _S = Unit.RATIO, Unit.PER_SECOND, Unit.SECONDS


def _share(name: str, words: str, family: str, called: str) -> Factor:
    """A share of time or of events, without a limit at which anything ends."""
    return Factor(name, words, _R, (Source(family, _R, called),), scale=0.003)


def _used(name: str, words: str, left: str, *sources: Source) -> Factor:
    """A share that is used of what there is: at 1 nothing is left."""
    return Factor(name, words, _R, sources, limit=1.0, left=left)


FACTORS: tuple[Factor, ...] = (
    _used("memory", "memory used", "memory headroom", Source("memory", _R, "memory.used")),
    _used("unit_memory", "memory used of a unit's limit", "memory headroom of a unit",
          Source("units", _R, "memory_used")),
    _used("swap", "swap used", "swap headroom", Source("swap", _R, "swap.used")),
    Factor("paging", "paging", Unit.BYTES_PER_SECOND,
           (Source("memory", Unit.BYTES_PER_SECOND, "memory.swap_in_bytes_per_second"),
            Source("memory", Unit.BYTES_PER_SECOND, "memory.swap_out_bytes_per_second")), scale=4096.0, summed=True),
    Factor("major_faults", "major page faults", _P, (Source("memory", _P, "memory.major_faults_per_second"),)),
    Factor("oom_kills", "OOM kills", _P, (Source("memory", _P, "memory.oom_kills_per_second"),), scale=1e-4),
    _share("cpu_pressure", "time in which tasks wait for a processor", "pressure", "pressure.cpu_some"),
    _share("memory_pressure", "time in which all tasks wait for memory", "pressure", "pressure.memory_full"),
    _share("io_pressure", "time in which all tasks wait for the disk", "pressure", "pressure.io_full"),
    Factor("cpu", "processor time used", _R, (Source("cpu", _R, "cpu.busy"),), scale=0.01),
    Factor("load", "load per processor", _R, (Source("load", _R, "load.one_per_cpu"),), scale=0.05),
    _used("space", "disk space used", "disk space", Source("filesystem", _R, "used")),
    _used("inodes", "inodes used", "free inodes", Source("filesystem", _R, "inodes_used")),
    Factor("read_only", "file systems that are read-only", _R, (Source("filesystem", _R, "read_only"),), scale=0.01),
    _used("descriptors", "open files of the host", "descriptor headroom",
          Source("kernel", _R, "kernel.descriptors_used")),
    _used("unit_descriptors", "open files of a process", "descriptor headroom of a process",
          Source("units", _R, "descriptors_used")),
    _used("threads", "threads of the host", "thread headroom", Source("kernel", _R, "kernel.threads")),
    Factor("disk_latency", "time that a disk takes to answer", _S,
           (Source("disk", _S, "read_await_seconds"), Source("disk", _S, "write_await_seconds")), scale=0.001),
    Factor("disk", "time in which a disk is busy", _R, (Source("disk", _R, "busy"),), scale=0.01),
    Factor("connect", "time to connect", _S, (Source("latency", _S, "connect_seconds"),), scale=0.001),
    Factor("retransmits", "TCP segments sent again", _R, (Source("tcp", _R, "tcp.retransmits"),), scale=0.0005),
    Factor("interface_errors", "errors and drops of interfaces", _P,
           (Source("network", _P, "errors_per_second"), Source("network", _P, "drops_per_second")),
           scale=0.01, summed=True),
    Factor("resets", "connections reset or dropped", _P,
           (Source("tcp", _P, "tcp.resets_per_second"), Source("tcp", _P, "tcp.listen_drops_per_second")),
           scale=0.02, summed=True),
    Factor("temperature", "temperature", Unit.CELSIUS, (Source("sensors", Unit.CELSIUS),), limit=100.0,
           left="temperature headroom"),
    Factor("restarts", "restarts of units", _P,
           (Source("errors", _P, "errors.units.restarted_per_second"),
            Source("units", _P, "units.restarts_per_second")),
           scale=1e-4),
    Factor("kernel_errors", "errors of the kernel log", _P,
           tuple(Source("errors", _P, f"errors.kernel.{one}_per_second")
                 for one in ("io", "memory", "filesystem", "network", "hardware", "thermal", "hung")),
           scale=1e-3, summed=True),
    Factor("journal_errors", "errors of the journal", _P,
           tuple(Source("errors", _P, f"errors.journal.{one}_per_second")
                 for one in ("critical", "error", "exhausted")), scale=0.01, summed=True),
    Factor("unreachable", "targets that do not answer", _R, (Source("latency", _R, "reachable"),), scale=0.01),
    # what the daemon knows beside its signals
    Factor("anomaly", "anomaly score", _R, scale=0.05),
    Factor("expected_full", "chance that a resource is full within a day", _R, scale=0.01),
    Factor("failure_age", "time since the last failure", _S, scale=86_400.0, falls=True),
    Factor("failures", "failures within four weeks", Unit.COUNT, scale=1.0),
)  # fmt: skip
NAMES = tuple(one.name for one in FACTORS)
PLACE: Mapping[str, int] = {name: place for place, name in enumerate(NAMES)}
COUNT = len(FACTORS)
LIMITED: NDArray[np.bool_] = np.array([one.limit is not None for one in FACTORS])
_TURNED = {"unreachable"}  # its signal is 1 where all is well


def feeds(signal: Signal) -> bool:
    """Tell whether any factor is made of a signal: no other has to be handed to a `Gathering`."""
    return any(source.has(signal) for factor in FACTORS for source in factor.sources)


@dataclass(frozen=True, slots=True, eq=False)
class Factors:
    """Factors (T, 32), the newest last, and which resource each is about, "" = the host or several."""

    values: Floats
    about: tuple[str, ...]


class Gathering:
    """How the signals of a host become factors; made again when a signal comes or goes."""

    def __init__(self, signals: Sequence[Signal]) -> None:
        self._columns = tuple(
            tuple(at for at, signal in enumerate(signals) if any(source.has(signal) for source in factor.sources))
            for factor in FACTORS
        )
        self._resources = tuple(signal.resource for signal in signals)

    @property
    def present(self) -> tuple[str, ...]:
        """Names of the factors that this host has signals for."""
        return tuple(name for name, columns in zip(NAMES, self._columns, strict=True) if columns)

    def __call__(self, samples: NDArray[np.floating], known: Mapping[str, Floats | float] | None = None) -> Factors:
        """Return the factors of `samples` (T, S); `known` gives those without signals, (T,) or one value."""
        values = np.full((len(samples), COUNT), np.nan)
        about = [""] * COUNT
        for place, (factor, columns) in enumerate(zip(FACTORS, self._columns, strict=True)):
            if not columns:
                continue
            part = np.asarray(samples[:, columns], np.float64)
            if factor.name in _TURNED:
                part = 1.0 - part
            if factor.summed:
                there = np.isfinite(part)
                values[:, place] = np.where(there.any(axis=1), np.where(there, part, 0.0).sum(axis=1), np.nan)
            else:
                worst = _worst(part, factor.limit)
                values[:, place], about[place] = part[:, worst], self._resources[columns[worst]]
        for name, value in (known or {}).items():
            values[:, PLACE[name]] = value
        return Factors(values, tuple(about))


def _worst(part: Floats, limit: float | None) -> int:
    """Return which column of `part` (T, C) is worst: nearest to its limit if its latest rise went on, or highest.

    One column is taken over all of its time: the fullest of each moment would jump from one file system to the next,
    and a small one that fills would be seen only once it has passed a large one that never changes.
    """
    if not len(part):
        return 0
    recent = part[-_RECENT:]
    there = np.isfinite(recent)
    count = np.maximum(there.sum(axis=0), 1)
    across = np.arange(part.shape[1])
    first = recent[there.argmax(axis=0), across]
    last = recent[len(recent) - 1 - there[::-1].argmax(axis=0), across]
    if limit is None:
        judged = np.where(there, recent, 0.0).sum(axis=0) / count
    else:
        judged = last + _AHEAD * np.maximum(last - first, 0.0)
    judged = np.where(there.any(axis=0) & np.isfinite(judged), judged, -np.inf)
    return int(np.argmax(judged))
