"""Which resources there are, out of the signals that were measured, and how much of each is used now.

Enters: one round of measurements. Leaves: resources, their use and their capacity (R,), in the unit of the resource.
Names of signals are never parsed: a resource is known by the family, the resource and the unit of its signals, and
by the constants of the collectors.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from daemon.collectors import cpu, memory
from daemon.collectors.base import Measurement, one_of
from daemon.signals import SignalSpec
from detectors.findings import Unit
from detectors.forecasts import Floats
from detectors.growth import NOTABLE, NOTABLE_MEMORY

MAX_RESOURCES = 300
_MOST_SIZES = 1_000  # of mounts that come and go
_FILESYSTEM, _NETWORK = "filesystem", "network"
FULL = 1e-4  # of a capacity: with less free, or of swap less used, a ratio tells no capacity
_MISSED_ROUNDS = 3  # after which "StoppedCollecting" tells of it; until then what was measured last stands


class ResourceKind(StrEnum):
    """What a resource is made of."""

    CPU = "cpu"
    MEMORY = "memory"
    SWAP = "swap"
    STORAGE = "storage"
    INODES = "inodes"
    BANDWIDTH = "bandwidth"


# What is used until it is given back, and can run out. A busy processor or link is slow, not exhausted.
EXHAUSTIBLE = frozenset((ResourceKind.STORAGE, ResourceKind.INODES, ResourceKind.MEMORY, ResourceKind.SWAP))


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource, and the names of the signals that tell of it.

    `signals` are: for cpu, inodes and bandwidth the use; for memory and storage the used ratio and the free bytes;
    for swap the used ratio and the used bytes. `writable` names the signal that tells of a read-only mount.
    """

    name: str
    kind: ResourceKind
    unit: Unit
    signals: tuple[str, ...]
    mount: str = ""
    interface: str = ""

    @property
    def is_exhaustible(self) -> bool:
        """Tell whether it can run out."""
        return self.kind in EXHAUSTIBLE

    @property
    def notable(self) -> float:
        """The share of the limit that its ordinary growth easily comes to; see `detectors.growth`."""
        return NOTABLE_MEMORY if self.kind in (ResourceKind.MEMORY, ResourceKind.SWAP) else NOTABLE

    @property
    def subject(self) -> str:
        """What a sentence about it begins with."""
        return f"the inode table of {self.mount}" if self.kind is ResourceKind.INODES else self.name


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """The resources now: use and capacity (R,) in the unit of each; `read_only`: nothing more can be written."""

    resources: tuple[Resource, ...]
    used: Floats
    capacity: Floats
    read_only: NDArray[np.bool_]


def find_resources(specs: Iterable[SignalSpec]) -> Iterator[Resource]:
    """Yield the resources of which `specs` tell."""
    known = {spec.name: spec for spec in specs}
    kind = ResourceKind
    if cpu.BUSY.name in known:
        yield Resource("cpu", kind.CPU, Unit.RATIO, (cpu.BUSY.name,))
    if memory.USED.name in known and memory.AVAILABLE.name in known:
        yield Resource("memory", kind.MEMORY, Unit.BYTES, (memory.USED.name, memory.AVAILABLE.name))
    if memory.SWAP_USED.name in known and memory.SWAP_USED_BYTES.name in known:
        yield Resource("swap", kind.SWAP, Unit.BYTES, (memory.SWAP_USED.name, memory.SWAP_USED_BYTES.name))
    for spec in known.values():
        if spec.family == _FILESYSTEM and spec.unit is Unit.BYTES:
            yield from _of_mount(spec, known)
        elif spec.family == _NETWORK and spec.unit is Unit.BYTES_PER_SECOND:
            for way in ("receive", "transmit"):
                if spec.name == f"network.{spec.resource}.{way}_bytes_per_second":
                    name = f"{spec.resource} {way}"
                    yield Resource(name, kind.BANDWIDTH, spec.unit, (spec.name,), interface=spec.resource)


def _of_mount(free: SignalSpec, known: Mapping[str, SignalSpec]) -> Iterator[Resource]:
    mount = free.resource
    used, inodes = f"filesystem.{mount}.used", f"filesystem.{mount}.inodes_used"
    if used in known:
        yield Resource(mount, ResourceKind.STORAGE, Unit.BYTES, (used, free.name), mount=mount)
    if inodes in known:
        yield Resource(f"{mount} inodes", ResourceKind.INODES, Unit.RATIO, (inodes,), mount=mount)


@dataclass(frozen=True, slots=True, eq=False)
class _Plan:
    """Where the values of each resource stand among the measurements (R,), one behind the last = nowhere."""

    resources: tuple[Resource, ...]
    first: NDArray[np.int64]
    last: NDArray[np.int64]
    read_only: NDArray[np.int64]
    swap: NDArray[np.bool_]
    by_free: NDArray[np.bool_]
    plain: NDArray[np.bool_]
    links: tuple[tuple[int, str], ...]


@dataclass(slots=True, eq=False)
class _Memory:
    """What was known of each resource of the plan (R,): its last use, the rounds since then, its capacity."""

    used: Floats
    missed: NDArray[np.int64]
    capacity: Floats


_BY_FREE = frozenset((ResourceKind.MEMORY, ResourceKind.STORAGE))  # what is free is measured in bytes
_PLAIN = frozenset((ResourceKind.CPU, ResourceKind.INODES))  # a ratio of 1


class Inventory:
    """Follows which resources there are. `links`: bytes a second of each interface, where that is known.

    `sizes` are capacities as they were seen last: what is quite full, or swap that is empty, tells none. `dropped`
    counts resources beyond the bound.
    """

    def __init__(self, exclude: Sequence[str] = (), links: Mapping[str, float] | None = None) -> None:
        self._excluded = one_of(exclude)
        self.links: Mapping[str, float] = dict(links or {})
        self.dropped = 0
        self.sizes: dict[str, float] = {}
        self._names: list[str] = []
        self._plan = _planned((), ())
        self._memory = _Memory(np.zeros(0), np.zeros(0, np.int64), np.zeros(0))

    @property
    def interfaces(self) -> tuple[str, ...]:
        """The interfaces that are measured, whether their speed is known or not."""
        return tuple({one.interface: None for one in self._plan.resources if one.interface})

    @property
    def known(self) -> tuple[tuple[Resource, ...], Floats]:
        """Return the resources whose capacity is known, and that (R,): of a rate, before it is measured first, too."""
        sizes = self._capacities(
            np.full(len(self._plan.resources), math.nan), np.full(len(self._plan.resources), math.nan)
        )
        rows = np.flatnonzero(np.isfinite(sizes))
        return tuple(self._plan.resources[row] for row in rows), sizes[rows]

    def read(self, measured: Sequence[Measurement]) -> Reading:
        """Return the resources of which something is known now."""
        names = [spec.name for spec, _ in measured]
        if names != self._names:
            self._follow([spec for spec, _ in measured])
            self._names = names
        plan, memory = self._plan, self._memory
        values = np.array(
            [*(value for _, value in measured), math.nan], np.float64
        )  # the last is for what is not there
        first, last = values[plan.first], values[plan.last]
        capacity = self._capacities(first, last)
        nameless = plan.by_free & np.isnan(capacity) & (first > 1.0 - FULL)  # full since it is known: how large is not
        capacity = np.where(nameless, 1.0, capacity)
        used = np.where(nameless, 1.0, np.where(plan.by_free, capacity - last, last))
        missing = ~(np.isfinite(used) & np.isfinite(first))
        memory.missed = np.where(missing, memory.missed + 1, 0)
        memory.used = used = np.where(missing, memory.used, used)
        there = np.isfinite(used) & np.isfinite(capacity) & (memory.missed <= _MISSED_ROUNDS)
        rows = np.flatnonzero(there)
        return Reading(
            plan.resources if len(rows) == len(plan.resources) else tuple(plan.resources[row] for row in rows),
            np.clip(used[rows], 0.0, capacity[rows]),
            capacity[rows],
            values[plan.read_only[rows]] == 1.0,
        )

    def _capacities(self, first: Floats, last: Floats) -> Floats:
        """Return what there is of each (R,), and remember it; NaN where that is not known."""
        plan, memory = self._plan, self._memory
        part = np.where(plan.swap, first, 1.0 - first)
        with np.errstate(divide="ignore", invalid="ignore"):
            found = np.where(part > FULL, last / part, math.nan)
        found = np.where(np.isfinite(found), found, memory.capacity)
        found[plan.plain] = 1.0
        for row, interface in plan.links:
            found[row] = self.links.get(interface, math.nan)
        memory.capacity = found
        return found

    def remember(self) -> dict[str, float]:
        """Return how large each resource was when it was seen last."""
        for one, size in zip(self._plan.resources, self._memory.capacity.tolist(), strict=True):
            if one.unit is Unit.BYTES and math.isfinite(size):
                self.sizes.pop(one.name, None)
                self.sizes[one.name] = size  # what was seen last stands last
        while len(self.sizes) > _MOST_SIZES:
            del self.sizes[next(iter(self.sizes))]
        return self.sizes

    def _follow(self, specs: Sequence[SignalSpec]) -> None:
        """Make a new plan; a source that stumbles loses its signals, and not at once its resources."""
        self.remember()
        before = {one.name: row for row, one in enumerate(self._plan.resources)}
        every = [one for one in find_resources(specs) if not self._excluded.match(one.name)]
        found, self.dropped = every[:MAX_RESOURCES], max(len(every) - MAX_RESOURCES, 0)
        known = {one.name for one in found}
        kept = [
            one
            for one, missed in zip(self._plan.resources, self._memory.missed.tolist(), strict=True)
            if one.name not in known and missed < _MISSED_ROUNDS
        ]
        old, self._plan = self._memory, _planned((*found, *kept), specs)
        rows = [before.get(one.name, -1) for one in self._plan.resources]
        self._memory = _Memory(
            np.array([old.used[row] if row >= 0 else math.nan for row in rows]),
            np.array([old.missed[row] if row >= 0 else 0 for row in rows], np.int64),
            np.array([self.sizes.get(one.name, math.nan) for one in self._plan.resources]),
        )


def _planned(resources: Sequence[Resource], specs: Sequence[SignalSpec]) -> _Plan:
    place = {spec.name: row for row, spec in enumerate(specs)}

    def places(names: Iterable[str]) -> NDArray[np.int64]:
        return np.array([place.get(name, len(specs)) for name in names], np.int64)

    return _Plan(
        tuple(resources),
        places(one.signals[0] for one in resources),
        places(one.signals[-1] for one in resources),
        places(f"filesystem.{one.mount}.read_only" if one.mount else "" for one in resources),
        np.array([one.kind is ResourceKind.SWAP for one in resources], np.bool_),
        np.array([one.kind in _BY_FREE for one in resources], np.bool_),
        np.array([one.kind in _PLAIN for one in resources], np.bool_),
        tuple((row, one.interface) for row, one in enumerate(resources) if one.interface),
    )
