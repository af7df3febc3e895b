"""What a signal is, and the registry that gives each one its lasting integer id.

Enters: the specifications of the signals that collectors measured. Leaves: ids and ordered schemas.
A name is never parsed: unit, kind, family and resource stand in the table beside it.
"""

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from detectors.findings import Unit

MAXIMUM = 2000


class Kind(StrEnum):
    """Where a value comes from: read as it is, or the change of a counter per second."""

    GAUGE = "gauge"
    RATE = "rate"


@dataclass(frozen=True, slots=True)
class SignalSpec:
    """A signal as its collector describes it.

    `name` is dotted, lower case, and ends with the unit's suffix: `disk.sda.read_bytes_per_second`.
    `family` is the collector's subject ("cpu", "disk", ...), `resource` the device, mount or ""
    for the whole host.
    """

    name: str
    unit: Unit
    kind: Kind
    family: str
    resource: str = ""

    def __post_init__(self) -> None:
        if self.unit and not self.name.endswith(self.unit):
            raise ValueError(f"signal {self.name}: the name must end with {self.unit}")


class SignalRegistry:
    """The signals that are known now, in the order of their ids.

    `ids` (S,) ascending is the same array until a signal comes or goes; `specs[i]` describes
    `ids[i]`. `assign` gives lasting ids to new signals and `remove` forgets some, both in the table of
    the database. At most 2,000 signals: the least recently seen leave first, never one that is measured now: then there
    is no room, and new ones stay out until the next hour. Both are counted in `dropped`.
    """

    def __init__(
        self,
        known: Iterable[tuple[int, SignalSpec, int]],
        assign: Callable[[Collection[SignalSpec], int], dict[str, int]],
        remove: Callable[[Collection[int]], None],
        maximum: int = MAXIMUM,
    ) -> None:
        self._assign = assign
        self._remove = remove
        self._maximum = maximum
        self._specs: dict[int, SignalSpec] = {}
        self._last_seen: dict[int, int] = {}
        for number, spec, last_seen_ms in known:
            self._specs[number] = spec
            self._last_seen[number] = last_seen_ms
        self._names: dict[str, int] = {}
        self.ids: NDArray[np.int64] = np.zeros(0, np.int64)
        self.specs: tuple[SignalSpec, ...] = ()
        self._left_out: set[str] = set()
        self.dropped = 0
        self._order()

    def _order(self) -> None:
        self.ids = np.array(sorted(self._specs), np.int64)
        self.specs = tuple(self._specs[int(number)] for number in self.ids)
        self._names = {spec.name: place for place, spec in enumerate(self.specs)}

    def spec_of(self, number: int) -> SignalSpec:
        """Return the description of the signal with this id; one that has left the host is told by its number."""
        return self._specs.get(number) or SignalSpec(f"signal {number}", Unit.RATIO, Kind.GAUGE, "gone")

    def unknown(self, measured: Sequence[tuple[SignalSpec, float]]) -> list[SignalSpec]:
        """Return the signals of `measured` that have no id yet, but for those that there was no room for."""
        return [spec for spec, _ in measured if spec.name not in self._names and spec.name not in self._left_out]

    def learn(self, specs: Collection[SignalSpec], time_ms: int, present: Collection[str] = ()) -> list[int]:
        """Give ids to new signals; blocks on the database. Returns the ids that left to make room.

        The signals `present` stay. Where not all new ones find room, those of the largest families do not: of a
        thousand interfaces some are watched, and the processor is all the same.
        """
        may_leave = [number for number, spec in self._specs.items() if spec.name not in present]
        room = self._maximum - len(self._specs) + len(may_leave)
        sizes = Counter(spec.family for spec in specs)
        ranked = sorted(specs, key=lambda spec: sizes[spec.family])
        wanted = {spec.name: spec for spec in ranked[:room]}
        crowd = len(self._specs) + len(wanted) - self._maximum
        gone = sorted(may_leave, key=lambda number: self._last_seen[number])[: max(0, crowd)]
        if gone:
            self._remove(gone)
        assigned = self._assign(list(wanted.values()), time_ms)
        self.dropped += len(gone) + len(specs) - len(wanted)  # from here on nothing can fail: all of it or nothing
        self._left_out.update(spec.name for spec in ranked[room:])
        for number in gone:
            self._specs.pop(number, None)
            self._last_seen.pop(number, None)
        for name, number in assigned.items():
            self._specs[number] = wanted[name]
            self._last_seen[number] = time_ms
        self._order()
        return gone

    def fill(self, measured: Sequence[tuple[SignalSpec, float]]) -> NDArray[np.float32]:
        """Return one row (S,) of the values of `measured`; NaN for what was not measured, or is not finite."""
        row = np.full(len(self.ids), np.nan)
        for spec, value in measured:
            place = self._names.get(spec.name)
            if place is not None:
                row[place] = value
        with np.errstate(over="ignore"):
            out = row.astype(np.float32)
        out[~np.isfinite(out)] = np.nan
        return out

    def touch(self, time_ms: int, values: Sequence[tuple[SignalSpec, float]]) -> None:
        """Note which signals of `values` were seen; blocks on the database. Meant for once an hour."""
        for number in self._assign([spec for spec, value in values if not math.isnan(value)], time_ms).values():
            self._last_seen[number] = time_ms
        self._left_out.clear()
