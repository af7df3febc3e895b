"""What befalls the host in its year: incidents that hurt, oddities that do not, new hardware, nights of sleep.

Enters: a `Host` before its jobs are drawn. Leaves: the plan, which is the truth that only the simulator knows: when
each cause began, when it hurt first, when it was mended, and which unit did it. Kinds come in random order at random
times, pace and strength by the seed. What hurts is defined as the daemon's own failure log and an operator would: a
unit failed, the kernel killed for want of memory, a file system is full or read-only, or answers take three times as
long.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from benchmarks.year.host import Floats, Host
from benchmarks.year.incidents import INCIDENTS, Incident
from benchmarks.year.oddities import EARLY, HARDWARE, ODDITIES
from benchmarks.year.physics import World, lived
from benchmarks.year.stage import Stage

CALM_DAYS = 9  # before anything happens: a week is learned
SLOW = 3.0  # times as slow as without the incident
_SLOW_ROWS = 2


@dataclass(frozen=True, slots=True)
class Oddity:
    """Something unusual that hurts nobody, from one row to another."""

    kind: str
    began: int
    ended: int


@dataclass(frozen=True, slots=True)
class Plan:
    """All that befalls a host."""

    incidents: tuple[Incident, ...]
    oddities: tuple[Oddity, ...]
    hardware: tuple[Oddity, ...]
    suspends: tuple[Oddity, ...]


def play(seed: int, days: int, interval: float, crowding: float = 1.0) -> tuple[World, Plan]:
    """Return a year of one host, and the truth about it. Raises ValueError where an incident hurts nobody.

    `crowding`: how many times as much happens in the same time.
    """
    host = Host(seed, days, interval)
    script = Script(host, crowding)
    script.before()
    host.settle()
    quiet = lived(host).slow
    script.after()
    world = lived(host)
    return world, script.plan(world, quiet)


class Script:
    """Draws the plan and writes it into the host: what moves jobs or requests first, the rest once demand is known."""

    def __init__(self, host: Host, crowding: float = 1.0) -> None:
        self.host = host
        share = crowding * host.days / 365
        rng = host.rng("plan")
        kinds = [
            *_some(rng, INCIDENTS, 12 * share),
            *_some(rng, ODDITIES, 8 * share),
            *_some(rng, HARDWARE, 3 * share),
            *_some(rng, ["suspend"], 3 * share),
        ]
        rng.shuffle(kinds)
        calm = min(CALM_DAYS, host.days / 2)
        slot = (host.days - calm) / len(kinds)
        begins = [calm + (place + rng.uniform(0.0, 0.5)) * slot for place in range(len(kinds))]
        self._at = [(kind, round(day * host.day)) for kind, day in zip(kinds, begins, strict=True)]
        self._stage = Stage(host, max(int(0.45 * slot * host.day), 4 * host.hour))
        self.incidents: list[Incident] = []
        self.oddities: list[Oddity] = []
        self.hardware: list[Oddity] = []
        self.suspends: list[Oddity] = []

    def before(self) -> None:
        """Do what moves jobs and requests."""
        for kind, row in self._at:
            if kind in EARLY:
                self.oddities.append(Oddity(kind, row, EARLY[kind](self._stage, row)))

    def after(self) -> None:
        """Do the rest."""
        for kind, row in self._at:
            rng = self.host.rng(f"{kind} {row}")
            if kind in INCIDENTS:
                self.incidents.append(INCIDENTS[kind](self._stage, row, rng))
            elif kind in ODDITIES and kind not in EARLY:
                self.oddities.append(Oddity(kind, row, ODDITIES[kind](self._stage, row, rng)))
            elif kind in HARDWARE:
                self.hardware.append(Oddity(kind, row, HARDWARE[kind](self._stage, row)))
            elif kind == "suspend":
                rows = round(rng.uniform(2, 9) * self.host.hour)
                self.host.suspend(row, rows)
                self.suspends.append(Oddity(kind, row, row + rows))

    def plan(self, world: World, without: Floats) -> Plan:
        """Return the plan, with when each incident hurt first. `without`: how slow it would have been else (T,).

        Raises ValueError for an incident that hurts nobody: it would be none.
        """
        for one in self.incidents:
            one.hurt = _first_harm(one, world, without)
        return Plan(tuple(self.incidents), tuple(self.oddities), tuple(self.hardware), tuple(self.suspends))


def _some(rng: np.random.Generator, kinds: Iterable[str], count: float) -> list[str]:
    """Return so many of `kinds`, each once before any twice."""
    names = list(kinds)
    rng.shuffle(names)
    number = max(1, round(count))
    return [names[place % len(names)] for place in range(number)]


def _first_harm(one: Incident, world: World, without: Floats) -> int:
    rows = range(one.began, min(one.ended + 1, len(world.slow)))
    slow = world.slow[one.began : one.ended + 1] >= SLOW * without[one.began : one.ended + 1]
    held = np.convolve(slow, np.ones(_SLOW_ROWS), "valid") >= _SLOW_ROWS
    found = [one.began + int(held.argmax()) + _SLOW_ROWS - 1] if held.any() else []
    found += [row for row in rows if row in world.said.failed or row in world.said.kills]
    for full in world.full.values():
        at = np.flatnonzero(full[one.began : one.ended + 1])
        found += [one.began + int(at[0])] if len(at) else []
    if one.hurt >= 0:
        found.append(one.hurt)
    if not found:
        raise ValueError(f"{one.kind} at row {one.began} hurts nobody")
    return min(found)
