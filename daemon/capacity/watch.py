"""The fast path: at every tick what each resource's outlook is, and which of them are worth an alert.

Enters: one round of measurements, and now and then new forecasts. Leaves: the state of all resources and findings.
It touches no database and no file. Probabilities come from the forecasts of the last hours together with the growth
that is seen in the samples themselves, so that a disk which is being filled now is told now. They are computed anew
for what grows or has moved, a few at a tick; the rest stands until the next forecasts.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from daemon.capacity.resources import MAX_RESOURCES, Inventory, Reading, Resource
from daemon.capacity.state import CapacityState, Facts, Made, ResourceState
from daemon.capacity.words import Situation, describe
from daemon.clock import Instant
from daemon.collectors.base import Measurement
from daemon.config import Capacity
from detectors.exhaustion import WITHIN
from detectors.findings import Finding, Strength
from detectors.forecasts import Floats
from detectors.growth import GrowthWatch, Run

IMMINENT, EXPECTED = "ResourceExhaustionImminent", "ResourceExhaustionExpected"

_HOURS, _WEEK = list(WITHIN).index("4h"), list(WITHIN).index("7d")
_IMMINENT, _STILL_IMMINENT = 0.9, 0.7
_EXPECTED, _STILL_EXPECTED = 0.6, 0.4
_MOVED = 0.005  # of the limit: from there on an outlook is another one
_MOST = 32  # outlooks at one tick
_RUN_SECONDS = WITHIN["7d"]
_DAY_NS = 86_400 * 1_000_000_000


@dataclass(frozen=True, slots=True)
class _At:
    """What an outlook was computed from."""

    used: float
    limit: float
    read_only: bool
    grew: bool

    def stands(self, used: float, limit: float, *, read_only: bool) -> bool:
        """Tell whether it still holds."""
        if self.grew or read_only != self.read_only or (used >= limit) != (self.used >= self.limit):
            return False
        return max(abs(used - self.used), abs(limit - self.limit)) <= _MOVED * limit


@dataclass(frozen=True, slots=True, eq=False)
class _Kinds:
    """What resources (R,) are by their kind: the share of the capacity that may be used, whether they can run out."""

    resources: tuple[Resource, ...]
    names: tuple[str, ...]
    usable: Floats
    fills: NDArray[np.bool_]
    notable: Floats


_NONE = _Kinds((), (), np.zeros(0), np.zeros(0, np.bool_), np.zeros(0))


class CapacityWatch:
    """Follows the resources of this host. Called on the event loop only, but for `floor_of`."""

    def __init__(self, config: Capacity) -> None:
        self._config = config
        self._inventory = Inventory(config.exclude, config.link_bytes_per_second)
        self._growth = GrowthWatch()
        self._made: Mapping[str, tuple[Made, ...]] = {}
        self._facts: Mapping[str, Facts] = {}
        self._problem = ""
        self._states: dict[str, ResourceState] = {}
        self._at: dict[str, _At] = {}
        self._room_ns: dict[str, int] = {}  # when it was last seen with room
        self._imminent: set[str] = set()
        self._last_ns: int | None = None
        self._kinds = _NONE

    @property
    def known(self) -> tuple[tuple[Resource, ...], Floats]:
        """The resources whose capacity is known, and that (R,)."""
        return self._inventory.known

    @property
    def interfaces(self) -> tuple[str, ...]:
        """The interfaces that are measured, whether their speed is known or not."""
        return self._inventory.interfaces

    def floor_of(self, resource: Resource) -> float:
        """Return the share of the capacity below which a resource counts as used up."""
        return self._config.free_floor_ratio if resource.is_exhaustible else 0.0

    def take_links(self, links: Mapping[str, float]) -> None:
        """Take up how fast interfaces are, where the configuration does not say it."""
        self._inventory.links = {**links, **self._config.link_bytes_per_second}

    def adopt(self, made: Mapping[str, tuple[Made, ...]], facts: Mapping[str, Facts], problem: str) -> None:
        """Take new forecasts."""
        self._made, self._facts, self._problem = made, facts, problem
        self._at.clear()
        self._states = {
            name: replace(one, horizons=made.get(name, ()), explanation=facts.get(name, Facts()).explanation)
            for name, one in self._states.items()
        }

    def remember(self) -> str:
        """Return what is to be known after a restart: what past growth came to, and how large the resources are."""
        return json.dumps({"growth": self._growth.remember(), "sizes": self._inventory.remember()})

    def restore(self, text: str) -> None:
        """Take up what `remember` gave. Raises ValueError for what is no such text."""
        remembered = json.loads(text)
        if not isinstance(remembered, dict) or not all(isinstance(one, dict) for one in remembered.values()):
            raise ValueError("not what was remembered")
        self._growth.restore(remembered.get("growth", {}))
        sizes = remembered.get("sizes", {}).items()
        self._inventory.sizes.update({name: size for name, size in sizes if isinstance(size, float) and size > 0})

    def replay(self, rounds: Iterable[tuple[float, Sequence[Measurement]]]) -> None:
        """Follow growth through rounds of before a restart, each so many seconds after the one before."""
        for seconds, measured in rounds:
            self._follow(self._inventory.read(measured), seconds)

    def observe(self, measured: Sequence[Measurement], now: Instant) -> tuple[CapacityState, tuple[Finding, ...]]:
        """Take one round; return what is known now, and the findings that hold."""
        reading = self._inventory.read(measured)
        seconds = 0.0 if self._last_ns is None else (now.monotonic_ns - self._last_ns) / 1e9
        self._last_ns = now.monotonic_ns
        limits = self._follow(reading, seconds)
        names = self._kinds.names
        for row in self._changed(reading, limits):
            self._tell(reading, row, float(limits[row]), now)
        there = [row for row, name in enumerate(names) if name in self._states]
        self._states = {names[row]: self._states[names[row]] for row in there}
        if len(self._at) > len(names) or len(self._room_ns) > len(names):  # mounts come and go
            self._at = {name: self._at[name] for name in names if name in self._at}
            self._room_ns = {name: self._room_ns[name] for name in names if name in self._room_ns}
            self._imminent.intersection_update(names)
        used, capacity = reading.used.tolist(), reading.capacity.tolist()
        state = CapacityState(
            resources=tuple(self._states.values()),
            used=tuple(used[row] for row in there),
            capacity=tuple(capacity[row] for row in there),
            problem="; ".join(filter(None, (self._problem, self._crowd()))),
        )
        return state, tuple(self._findings())

    def _crowd(self) -> str:
        dropped = self._inventory.dropped
        return f"{dropped} resources beyond {MAX_RESOURCES} are not watched: see [capacity] exclude" if dropped else ""

    def _follow(self, reading: Reading, seconds: float) -> Floats:
        """Take a sample into the runs of growth; return the limits (R,)."""
        if reading.resources is not self._kinds.resources:  # the same ones at nearly every tick
            self._kinds = _Kinds(
                reading.resources,
                tuple(one.name for one in reading.resources),
                np.array([1.0 - self.floor_of(one) for one in reading.resources]),
                np.array([one.is_exhaustible for one in reading.resources], np.bool_),
                np.array([one.notable for one in reading.resources]),
            )
        kinds = self._kinds
        limits: Floats = reading.capacity * kinds.usable
        used = np.where(kinds.fills, reading.used, np.nan)
        self._growth.follow(kinds.names, used, limits, max(seconds, 0.0), kinds.notable)
        return limits

    def _changed(self, reading: Reading, limits: Floats) -> list[int]:
        """Return the rows whose outlook is to be computed now; first what has none, then what is most used."""
        wanted = []
        used, read_only = reading.used.tolist(), reading.read_only.tolist()
        for row, (one, limit) in enumerate(zip(reading.resources, limits.tolist(), strict=True)):
            at = self._at.get(one.name)
            if (
                at is None
                # what is forecast of a processor or a link begins with the last hour, not with this moment
                or (one.is_exhaustible and not at.stands(used[row], limit, read_only=read_only[row]))
                or self._run(one, limit - used[row]) is not None
            ):
                wanted.append((one.name in self._states, -used[row] / limit, row))
        return [row for _, _, row in sorted(wanted)[:_MOST]]

    def _run(self, resource: Resource, free: float) -> Run | None:
        """Return the growth that a resource is in, if it would fill it within a week: minutes tell no more."""
        run = self._growth.run(resource.name) if resource.is_exhaustible else None
        return run if run is not None and free < run.rate_hi * _RUN_SECONDS else None

    def _tell(self, reading: Reading, row: int, limit: float, now: Instant) -> None:
        """Compute the outlook of one resource and put it into words."""
        one, used = reading.resources[row], float(reading.used[row])
        facts, made = self._facts.get(one.name, Facts()), self._made.get(one.name, ())
        run = self._run(one, limit - used)
        if used < limit:
            self._room_ns[one.name] = now.monotonic_ns
        # a full one that had room within the day is news, whatever the points of whole hours say
        had_room = now.monotonic_ns - self._room_ns.get(one.name, now.monotonic_ns - 2 * _DAY_NS) < _DAY_NS
        told = describe(
            Situation(
                resource=one,
                used=used,
                capacity=float(reading.capacity[row]),
                limit=limit,
                read_only=bool(reading.read_only[row]),
                accustomed=facts.accustomed and not had_room,
                run=run,
                trends=facts.trends,
                made=made,
                floor=facts.floor,
                explanation=facts.explanation,
            ),
            now,
        )
        self._at[one.name] = _At(used, limit, bool(reading.read_only[row]), run is not None)
        self._states[one.name] = ResourceState(
            resource=one,
            floor_ratio=self.floor_of(one),
            outlook=told.outlook,
            told_ms=now.time_ms,
            text=told.text,
            lasting=told.lasting,
            explanation=told.explanation,
            horizons=made,
        )

    def _findings(self) -> Iterator[Finding]:
        """Yield what holds. A fault is told once: while it is imminent, nothing new is expected of it.

        What is expected within days rests on the forecasts: a copy that takes an hour is not to be told as that, and
        what grows at this moment is told when it is all but certain to fill.
        """
        for name, state in self._states.items():
            if not state.resource.is_exhaustible:
                continue
            hours, week = state.outlook.probability[_HOURS], state.outlook.probability[_WEEK]
            if hours >= _IMMINENT:
                self._imminent.add(name)
            elif hours < _STILL_IMMINENT:
                self._imminent.discard(name)
            if hours >= _STILL_IMMINENT:
                yield _finding(IMMINENT, state, raised=hours >= _IMMINENT)
            if week >= _STILL_EXPECTED:
                expected = state.lasting.probability[_WEEK] >= _EXPECTED and name not in self._imminent
                yield _finding(EXPECTED, state, raised=expected)


def _finding(alertname: str, state: ResourceState, *, raised: bool) -> Finding:
    one = state.resource
    sentence = f"{one.subject} is {state.text}"
    if state.explanation:
        sentence += f": {state.explanation[0]}"
    return Finding(alertname, "capacity", one.name, Strength.RAISED if raised else Strength.HOLDING, sentence)
