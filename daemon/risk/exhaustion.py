"""What is about to run out at this moment, and is a failure when it does: by growth alone, without a network.

Enters: the state of capacity, what units use of limits of their own, the units that systemd starts again and again.
Leaves: for each the probability that it is used up within an hour and within a day. The risk is never below them.

All three are growth towards a limit, which may end by itself (`detectors.growth`): the farther it has come, the more
likely it comes as far again.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import inf, log, nan
from statistics import NormalDist

import numpy as np

from daemon.capacity.resources import ResourceKind
from daemon.capacity.state import CapacityState, ResourceState
from daemon.clock import Instant
from daemon.failures.starts import Loop
from daemon.risk.state import Reason, RiskState
from daemon.risk_words import said, span
from daemon.signals import SignalRegistry, SignalSpec
from daemon.window import Float32
from detectors.exhaustion import WITHIN
from detectors.failure import CEILING, Cause, Estimate
from detectors.findings import Unit
from detectors.growth import NOTABLE_MEMORY, GrowthWatch, Run, make_run
from detectors.projection import Projection

_HOUR, _DAY = 3600.0, 86_400.0
_FOUR_HOURS = WITHIN["4h"]
_IN_FOUR_HOURS, _IN_A_DAY = (list(WITHIN).index(name) for name in ("4h", "24h"))
_SPACE = frozenset((ResourceKind.STORAGE, ResourceKind.INODES))  # a file system without is a failure: filesystem_full
_EIGHTY = 1.2815515655446004
_LEAST_SPREAD = 0.1  # of the log of a time
_NORMAL = NormalDist()
_LIMITS = {"memory_used": "unit_memory", "descriptors_used": "unit_descriptors"}
_WORTH_A_WORD = 0.1
_UNEVEN = 0.3  # standard deviation of the log of the time between two starts


@dataclass(frozen=True, slots=True)
class Exhaustion:
    """Something that is used up within an hour and a day with these probabilities, and what to say of it."""

    hour: float
    day: float
    reason: Reason


def of_file_systems(capacity: CapacityState) -> Iterator[Exhaustion]:
    """Yield the file systems of which capacity says that they fill; of an hour by the time that it tells."""
    for one in capacity.resources:
        day = one.outlook.probability[_IN_A_DAY]
        if one.resource.kind in _SPACE and day > 0:
            when = one.text if one.outlook.median < inf else f"full within a day with {day:.0%}".replace("%", " %")
            reason = Reason("expected_full", one.resource.name, nan, f"{one.resource.subject} is {when}")
            yield Exhaustion(_within_an_hour(one), day, reason)


def _within_an_hour(one: ResourceState) -> float:
    """Return how much of the probability of four hours lies in the first: the time is taken as log-normal."""
    told = one.outlook
    if told.median <= 0:
        return told.probability[_IN_FOUR_HOURS]
    if told.median == inf:
        return 0.0
    width = log(told.hi80 / told.lo80) if 0 < told.lo80 <= told.hi80 < inf else 0.0
    spread = max(width / (2 * _EIGHTY), _LEAST_SPREAD)
    first, whole = (_NORMAL.cdf(log(end / told.median) / spread) for end in (_HOUR, _FOUR_HOURS))
    return told.probability[_IN_FOUR_HOURS] * first / whole if whole > 0 else 0.0


def of_loops(loops: Sequence[Loop], now_ms: int) -> Iterator[Exhaustion]:
    """Yield the units that systemd is about to give up: a loop has come so far, and goes on as far with one half."""
    for loop in loops:
        elapsed = (now_ms - loop.since_ms) / 1000
        run = make_run(
            elapsed_seconds=elapsed,
            amount=float(loop.restarts),
            rate=1 / max(loop.every_seconds, 1e-3),
            spread=_UNEVEN,
            scale=1.0,
            past=np.zeros(0),
        )
        passed = (now_ms - loop.last_ms) / 1000
        seconds = max(loop.left * loop.every_seconds - passed, 0.0)
        text = (
            f"{loop.unit} was started again {loop.restarts} times in {span(elapsed)}; after {loop.left} more times, in "
            f"{span(seconds)}, systemd gives it up"
        )
        yield _of_run(run, loop.left, Reason("restarts", loop.unit, nan, text))


class UnitLimits:
    """Follows how near units are to limits of their own, memory and open files, sample by sample."""

    def __init__(self, registry: SignalRegistry) -> None:
        self._registry = registry
        self._growth = GrowthWatch()
        self._ids: object = None
        self._rows: list[tuple[int, SignalSpec, str]] = []
        self._used: list[float] = []
        self._last_ns: int | None = None

    def follow(self, values: Float32, now: Instant) -> None:
        """Take one sample: `values` (S,) of the registry's signals."""
        if self._ids is not self._registry.ids:
            self._ids = self._registry.ids
            self._rows = [
                (row, spec, what)
                for row, spec in enumerate(self._registry.specs)
                if spec.family == "units"
                and spec.unit is Unit.RATIO
                and (what := spec.name.rpartition(".")[2]) in _LIMITS
            ]
        seconds = 0.0 if self._last_ns is None else (now.boottime_ns - self._last_ns) / 1e9
        self._last_ns = now.boottime_ns
        self._used = [float(values[row]) for row, _, _ in self._rows]
        if not self._rows:  # most hosts have no such unit
            return
        names = [spec.name for _, spec, _ in self._rows]
        self._growth.follow(names, np.array(self._used), np.ones(len(names)), seconds, NOTABLE_MEMORY)

    def approaching(self) -> Iterator[Exhaustion]:
        """Yield the units that grow towards a limit."""
        for (_, spec, what), used in zip(self._rows, self._used, strict=True):
            run = self._growth.run(spec.name)
            if run is None or not used < 1:
                continue
            projection = Projection(used, nan, run.rate, (1 - used) / run.rate)
            text = said(Cause(_LIMITS[what], spec.resource, nan, projection))
            yield _of_run(run, 1 - used, Reason(_LIMITS[what], spec.resource, nan, text))


def _of_run(run: Run, free: float, reason: Reason) -> Exhaustion:
    hour, day = (min(run.fills_within(free, seconds), CEILING) for seconds in (_HOUR, _DAY))
    return Exhaustion(hour, day, reason)


def agreed(state: RiskState, found: Sequence[Exhaustion]) -> RiskState:
    """Return the risk, not below what is about to run out; what raises it stands first among the reasons.

    Where there is no risk for want of evidence there is none; what runs out is told by its own alert.
    """
    if state.hour is None or state.day is None or not found:
        return state
    by_hour, by_day = max(found, key=lambda one: one.hour), max(found, key=lambda one: one.day)
    hour, day = _at_least(state.hour, by_hour.hour), _at_least(state.day, by_day.day)
    first = tuple(
        {
            one.reason: None
            for one, old, new in ((by_hour, state.hour, hour), (by_day, state.day, day))
            if new is not old
        }
    )
    said_already = {thing for one in first for thing in _things(one)}
    rest = (one for one in state.reasons if not said_already.intersection(_things(one)))
    return replace(state, hour=hour, day=day, reasons=(*first, *rest))


def _things(reason: Reason) -> set[tuple[str, str]]:
    """Return what a reason is about: capacity and the network have two names for one file system."""
    if reason.factor == "inodes":
        return {("expected_full", f"{reason.about} inodes")}
    return {("expected_full" if reason.factor == "space" else reason.factor, reason.about)}


def _at_least(one: Estimate, least: float) -> Estimate:
    return one if least <= one.probability else Estimate(least, min(one.lo, least), max(one.hi, least))
