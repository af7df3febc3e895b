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


_BY_FREE = frozenset((ResourceKind.MEMORY, ResourceKind.STORAGE))  # what is free is measured in bytes
_WHOLE = frozenset((ResourceKind.CPU, ResourceKind.INODES))  # a ratio of 1


@dataclass(slots=True)
class _Followed:
    """A resource: where its values stand among the measurements, -1 = nowhere, and what was known of it last.

    `missed`: the rounds since then. Of the few that a host has, plain numbers are read in half the time that
    arrays take.
    """

    resource: Resource
    first: int
    last: int
    read_only: int
    used: float = math.nan
    capacity: float = math.nan
    missed: int = 0

    def read(self, values: Sequence[float], links: Mapping[str, float]) -> tuple[float, float, bool] | None:
        """Take in a round whose last value is NaN; return use, capacity, whether it is read-only; None = not known."""
        first, last = values[self.first], values[self.last]
        capacity = self.size(first, last, links)
        used = last
        if self.resource.kind in _BY_FREE:
            if math.isnan(capacity) and first > 1.0 - FULL:  # full since it is known: how large is not
                capacity = used = 1.0
            else:
                used = capacity - last
        if math.isfinite(used) and math.isfinite(first):
            self.used, self.missed = used, 0
        else:
            self.missed += 1
        if self.missed > _MISSED_ROUNDS or not (math.isfinite(self.used) and math.isfinite(capacity)):
            return None
        return min(max(self.used, 0.0), capacity), capacity, values[self.read_only] == 1.0

    def size(self, first: float, last: float, links: Mapping[str, float]) -> float:
        """Return the capacity, and remember it; NaN where it is not known."""
        kind = self.resource.kind
        if kind in _WHOLE:
            self.capacity = 1.0
        elif kind is ResourceKind.BANDWIDTH:
            self.capacity = links.get(self.resource.interface, math.nan)
        else:
            part = first if kind is ResourceKind.SWAP else 1.0 - first
            if part > FULL and math.isfinite(last):
                self.capacity = last / part
        return self.capacity


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
        self._followed: tuple[_Followed, ...] = ()
        self._resources: tuple[Resource, ...] = ()

    @property
    def interfaces(self) -> tuple[str, ...]:
        """The interfaces that are measured, whether their speed is known or not."""
        return tuple({one.interface: None for one in self._resources if one.interface})

    @property
    def known(self) -> tuple[tuple[Resource, ...], Floats]:
        """Return the resources whose capacity is known, and that (R,): of a rate, before it is measured first, too."""
        sizes = {one.resource: one.size(math.nan, math.nan, self.links) for one in self._followed}
        known = {resource: size for resource, size in sizes.items() if math.isfinite(size)}
        return tuple(known), np.array([*known.values()], np.float64)

    def read(self, measured: Sequence[Measurement]) -> Reading:
        """Return the resources of which something is known now."""
        names = [spec.name for spec, _ in measured]
        if names != self._names:
            self._follow([spec for spec, _ in measured])
            self._names = names
        values = [value for _, value in measured]
        values.append(math.nan)
        read = [one.read(values, self.links) for one in self._followed]
        there = [one for one in read if one is not None]
        resources = self._resources
        if len(there) < len(read):
            resources = tuple(name for name, one in zip(resources, read, strict=True) if one is not None)
        used, capacity, read_only = zip(*there, strict=True) if there else ((), (), ())
        return Reading(
            resources, np.array(used, np.float64), np.array(capacity, np.float64), np.array(read_only, np.bool_)
        )

    def remember(self) -> dict[str, float]:
        """Return how large each resource was when it was seen last."""
        for one in self._followed:
            if one.resource.unit is Unit.BYTES and math.isfinite(one.capacity):
                self.sizes.pop(one.resource.name, None)
                self.sizes[one.resource.name] = one.capacity  # what was seen last stands last
        while len(self.sizes) > _MOST_SIZES:
            del self.sizes[next(iter(self.sizes))]
        return self.sizes

    def _follow(self, specs: Sequence[SignalSpec]) -> None:
        """Find out anew where values stand; a source that stumbles loses its signals, and not at once its resources."""
        self.remember()
        place = {spec.name: row for row, spec in enumerate(specs)}
        before = {one.resource.name: one for one in self._followed}
        every = [one for one in find_resources(specs) if not self._excluded.match(one.name)]
        found, self.dropped = every[:MAX_RESOURCES], max(len(every) - MAX_RESOURCES, 0)
        known = {one.name for one in found}
        kept = [
            one.resource for one in self._followed if one.resource.name not in known and one.missed < _MISSED_ROUNDS
        ]
        self._followed = tuple(self._placed(one, place, before.get(one.name)) for one in (*found, *kept))
        self._resources = tuple(one.resource for one in self._followed)

    def _placed(self, resource: Resource, place: Mapping[str, int], before: _Followed | None) -> _Followed:
        return _Followed(
            resource,
            place.get(resource.signals[0], -1),
            place.get(resource.signals[-1], -1),
            place.get(f"filesystem.{resource.mount}.read_only" if resource.mount else "", -1),
            used=before.used if before else math.nan,
            capacity=self.sizes.get(resource.name, math.nan),
            missed=before.missed if before else 0,
        )
