"""Who did it: the unit whose use of a resource grew most beyond its usual, and the process in it; and who waits for it.

Enters: what units take at each tick, and the contributors of a finding. Leaves: culprits, that of the
foremost contributor first. A unit that always takes most is nobody's culprit.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import isnan, nan

from pydantic import TypeAdapter

from alerting.render import foremost
from daemon.collectors import pressure
from daemon.collectors.unit import REST, UnitRound, processes_in
from daemon.process_scan import ProcessScan, ProcessUse, Scan
from detectors.findings import WAITS, Contributor, Culprit, Resource

_MEMORY_ROUNDS = 2880.0  # how many the usual looks back on, with weights that fade: a day at 30 s
_LEAST_ROUNDS = 20  # before that nothing is usual yet
_MOST_UNITS = 200
_GROWN = 0.25  # of all that is used now: a smaller growth does not explain what the host shows
_GROWN_OTHERWISE = {Resource.MEMORY: 0.05} | dict.fromkeys(WAITS, 0.1)  # of the host's memory, of the time
_MOSTLY = 0.5
_HELD = (Resource.MEMORY, Resource.DESCRIPTORS)  # who holds most may always have: weak evidence without its usual

_OF_FAMILY: Mapping[str, tuple[Resource, ...]] = {
    "cpu": (Resource.CPU,),
    "load": (Resource.CPU,),
    "processes": (Resource.CPU,),
    "temperature": (Resource.CPU,),
    "network": (Resource.CPU,),  # what travels costs time where it starts or ends, and a connection is an open file
    "udp": (Resource.CPU,),
    "tcp": (Resource.DESCRIPTORS, Resource.CPU),
    "sockets": (Resource.DESCRIPTORS, Resource.CPU),
    "memory": (Resource.MEMORY,),
    "disk": (Resource.WRITES, Resource.READS),
    "filesystem": (Resource.WRITES,),
    "kernel": (Resource.DESCRIPTORS,),
}
_OF_PRESSURE: Mapping[str, tuple[tuple[Resource, ...], Resource]] = {  # who takes it, and who waits for it
    spec.name: (resources, wait)
    for (_, lines), resources, wait in zip(
        pressure.WANTED,
        ((Resource.CPU,), (Resource.MEMORY,), (Resource.WRITES, Resource.READS)),
        WAITS,
        strict=True,
    )
    for _, spec in lines
}


@dataclass
class _Saved:
    rounds: dict[Resource, int]
    shares: dict[str, dict[Resource, float]]
    amounts: dict[str, dict[Resource, float]]


_SAVED = TypeAdapter(_Saved)


class UsualUse:
    """Faded means of what each unit took of each resource: shares and amounts, of at most 200 units.

    A unit that is away takes nothing, so one that is new has the usual share 0.
    """

    def __init__(self) -> None:
        self._rounds: dict[Resource, int] = {}
        self._shares: dict[str, dict[Resource, float]] = {}
        self._amounts: dict[str, dict[Resource, float]] = {}

    def learn(self, now: UnitRound) -> None:
        """Take in one calm round."""
        known = [resource for resource, total in now.totals.items() if not isnan(total)]
        for resource in known:
            self._rounds[resource] = self._rounds.get(resource, 0) + 1
        for unit in self._shares.keys() | now.shares.keys():
            use = now.shares.get(unit, {})
            shares, amounts = self._shares.setdefault(unit, {}), self._amounts.setdefault(unit, {})
            for resource in known:
                weight = 1.0 / min(self._rounds[resource], _MEMORY_ROUNDS)
                share = use.get(resource, 0.0)
                if not isnan(share):
                    amount = share * now.totals[resource]
                    shares[resource] = shares.get(resource, 0.0) + weight * (share - shares.get(resource, 0.0))
                    amounts[resource] = amounts.get(resource, 0.0) + weight * (amount - amounts.get(resource, 0.0))
        self._forget_the_least()

    def share(self, unit: str, resource: Resource) -> float:
        """Return the usual share of `unit`, NaN while nothing is usual."""
        return self._value(self._shares, unit, resource)

    def amount(self, unit: str, resource: Resource) -> float:
        """Return the usual amount of `unit`, NaN while nothing is usual."""
        return self._value(self._amounts, unit, resource)

    def to_json(self) -> str:
        """Return all of it as text, for after a restart."""
        return json.dumps({"rounds": self._rounds, "shares": self._shares, "amounts": self._amounts})

    def take_up(self, text: str) -> None:
        """Go on with what `to_json` gave. Raises ValueError for anything else, and then knows what it knew before."""
        known = _SAVED.validate_json(text)
        if known.shares.keys() != known.amounts.keys():
            raise ValueError("shares and amounts are not of the same units")
        self._rounds, self._shares, self._amounts = known.rounds, known.shares, known.amounts
        self._forget_the_least()

    def _value(self, table: Mapping[str, Mapping[Resource, float]], unit: str, resource: Resource) -> float:
        if self._rounds.get(resource, 0) < _LEAST_ROUNDS:
            return nan
        return table.get(unit, {}).get(resource, 0.0)

    def _forget_the_least(self) -> None:
        if len(self._shares) <= _MOST_UNITS:
            return
        ranked = sorted(self._shares, key=lambda unit: max(self._shares[unit].values(), default=0.0))
        for unit in ranked[: len(self._shares) - _MOST_UNITS]:
            del self._shares[unit], self._amounts[unit]


class Culprits:
    """Learns while the host is calm, and names culprits when it is not."""

    def __init__(self, processes: ProcessScan) -> None:
        self._processes = processes
        self._usual = UsualUse()

    def remember(self) -> str:
        """Return what is usual as text, for after a restart."""
        return self._usual.to_json()

    def restore(self, text: str) -> None:
        """Go on with what an earlier run remembered. Raises ValueError when it is not that."""
        self._usual.take_up(text)

    def calm(self, units: UnitRound | None) -> None:
        """Take in a tick at which nothing is unusual."""
        self._processes.forget()
        if units is not None:
            self._usual.learn(units)

    def name(
        self, contributors: Sequence[Contributor], units: UnitRound | None, monotonic_ns: int
    ) -> tuple[Culprit, ...]:
        """Return at most one culprit a resource that `contributors` speak of, then who waits where it is pressure.

        Blocks for the scan of the processes. Who takes it also waits for it, and is no victim. Who only holds most
        of something, as far as is known, is named after who takes most of what flows.
        """
        asked = [
            _OF_PRESSURE.get(part.signal) or (_OF_FAMILY.get(part.family, ()), None) for part in foremost(contributors)
        ]
        scan = self._processes.scan(monotonic_ns, self._suspects([one for ones, _ in asked for one in ones], units))
        found: dict[Resource, Culprit] = {}
        waits: list[Resource] = []
        for resources, wait in asked:
            named = [who for resource in resources if (who := self._culprit(resource, units, scan)) is not None]
            for who in sorted(named, key=lambda who: -_amount(who, units)):
                found.setdefault(who.resource, who)
            if wait is not None:
                waits.append(wait)
        culprits = {who.unit for who in found.values()}
        for wait in waits:
            if units is not None and (unit := self._grown(wait, units, culprits)) is not None:
                found.setdefault(wait, self._told(unit, "", wait, units))
        return tuple(sorted(found.values(), key=lambda who: who.resource in _HELD and isnan(who.usual)))

    def taking(self, resource: Resource, units: UnitRound | None) -> tuple[Culprit, ...]:
        """Return the unit that takes most of `resource` beyond its usual, if there is one; looks at no process."""
        unit = None if units is None else self._grown(resource, units)
        return () if unit is None or units is None else (self._told(unit, "", resource, units),)

    def _culprit(self, resource: Resource, units: UnitRound | None, scan: Scan) -> Culprit | None:
        processes = scan.top.get(resource, ())
        unit = None if units is None else self._grown(resource, units)
        if unit is not None and units is not None:
            process = next((one.name for one in processes if one.unit == unit), "")
            return self._told(unit, process, resource, units)
        return None if units is not None and resource in units.totals else _by_itself(resource, processes, scan)

    def _suspects(self, resources: Sequence[Resource], units: UnitRound | None) -> list[int]:
        """Return the processes in the units that grew."""
        if units is None:
            return []
        grown = {self._grown(resource, units) for resource in resources}
        return [pid for unit, group in units.groups.items() if unit in grown for pid in processes_in(group)]

    def _told(self, unit: str, process: str, resource: Resource, now: UnitRound) -> Culprit:
        share, usual = now.shares[unit][resource], self._usual.amount(unit, resource)
        times = share * now.totals[resource] / usual if usual > 0 else nan
        return Culprit(unit, process, resource, share, self._usual.share(unit, resource), times)

    def _grown(self, resource: Resource, now: UnitRound, without: Collection[str] = ()) -> str | None:
        """Return the unit that took most above its usual; while nothing is usual, the one that takes most of all."""
        total = now.totals.get(resource, nan)
        if isnan(total) or total <= 0:
            return None
        shares = {
            unit: use[resource]
            for unit, use in now.shares.items()
            if unit != REST and unit not in without and not isnan(use.get(resource, nan))
        }
        if not shares:
            return None
        if isnan(self._usual.amount(REST, resource)):
            unit = max(shares, key=lambda one: shares[one])
            return unit if shares[unit] >= _MOSTLY else None
        growth = {unit: share * total - self._usual.amount(unit, resource) for unit, share in shares.items()}
        unit = max(growth, key=lambda one: growth[one])
        return unit if growth[unit] >= _GROWN_OTHERWISE.get(resource, _GROWN) * total else None


def _by_itself(resource: Resource, processes: Sequence[ProcessUse], scan: Scan) -> Culprit | None:
    """Return the process that takes most where units tell nothing, and only where the use of all is known."""
    if not processes or resource not in scan.complete or processes[0].share < _MOSTLY:
        return None
    first = processes[0]
    return Culprit(first.unit, first.name, resource, first.share)


def _amount(who: Culprit, units: UnitRound | None) -> float:
    return who.share * (units.totals.get(who.resource, 1.0) if units is not None else 1.0)
