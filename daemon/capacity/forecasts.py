"""The forecasts: made again every hour, out of the history, beside the event loop.

Enters: the resources of the last tick and history.db. Leaves: what each horizon says of each resource, handed to the
watch in one piece. Hours are forecast every hour, days every six and months every day; all of it after the start,
once a tick has told which resources there are, and again after an import. What cannot be computed for one resource
costs its forecast, no other one's.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

import numpy as np
import structlog

from daemon.capacity.facts import facts_of
from daemon.capacity.grades import Grades
from daemon.capacity.points import Points, Reader, history_points
from daemon.capacity.resources import Resource, ResourceKind
from daemon.capacity.state import Facts, Made
from daemon.capacity.watch import CapacityWatch
from daemon.clock import Clock, Instant
from daemon.errors import PresagedError
from daemon.history import History
from daemon.metrics import Metrics
from daemon.offload import Offload
from daemon.signals import SignalRegistry
from detectors.capacity import CapacityForecaster, Forecasts
from detectors.forecasts import DAYS, HORIZONS, HOURS, MONTHS, POINTS, Floats, Horizon

_log = structlog.get_logger()

T = TypeVar("T")
_Told = tuple[Floats, tuple[str, ...], tuple[float, float] | None]  # bands (5, 12), methods, the network's own part

HOUR_SECONDS = 3600.0
_EVERY_SECONDS = {HOURS.name: HOUR_SECONDS, DAYS.name: 6 * HOUR_SECONDS, MONTHS.name: 24 * HOUR_SECONDS}
_EARLY_SECONDS = HOUR_SECONDS / 2  # a job that runs every hour is a little early now and then
_BATCH = 20  # resources that are forecast in one call
_CALL_SECONDS = 60.0
_NUMERICS = (ArithmeticError, ValueError, IndexError)
_COMPANIONS = (ResourceKind.CPU, ResourceKind.MEMORY, ResourceKind.STORAGE, ResourceKind.BANDWIDTH)
_KINDS = list(ResourceKind)
_ALIKE = {ResourceKind.SWAP: ResourceKind.MEMORY, ResourceKind.INODES: ResourceKind.STORAGE}
_IMPORTED = "import.done"


class Forecasting:
    """Makes the forecasts. `load` brings the forecaster, `links` the speed of interfaces; both block."""

    def __init__(
        self,
        *,
        interval_seconds: float,
        history: History,
        registry: SignalRegistry,
        watch: CapacityWatch,
        offload: Offload,
        metrics: Metrics,
        clock: Clock,
        load: Callable[[], CapacityForecaster],
        links: Callable[[Iterable[str]], Mapping[str, float]],
    ) -> None:
        self._interval = interval_seconds
        self._history = history
        self._registry = registry
        self._watch = watch
        self._offload = offload
        self._metrics = metrics
        self._clock = clock
        self._load = load
        self._links = links
        self._grades = Grades(history)
        self._forecaster: CapacityForecaster | None = None
        self._made: dict[str, dict[str, Made]] = {}  # by horizon, then by resource
        self._last_ns: dict[str, int] = {}
        self._failed: dict[str, str] = {}
        self._imported: str | None = None
        self._began = False
        self._due = asyncio.Event()
        self._one = asyncio.Lock()

    def after_tick(self) -> None:
        """Let the first forecasts be made, once there are resources; costs nothing."""
        if not self._began and self._watch.known[0]:
            self._began = True
            self._due.set()

    async def run(self) -> None:
        """Make all forecasts after the start and after each import, until cancelled."""
        while True:
            await self._due.wait()
            self._due.clear()  # what is imported meanwhile is another reason
            try:
                await self._make(HORIZONS)
            except (PresagedError, sqlite3.Error, OSError) as error:  # the hourly job tries again
                self._metrics.failures.labels("forecast").inc()
                _log.warning("not_forecast", reason=str(error))

    async def make_due(self) -> str:
        """Make the forecasts whose time has come; the hourly job."""
        now_ns = self._clock.now().boottime_ns
        due = [
            horizon
            for horizon in HORIZONS
            if horizon.name not in self._last_ns
            or now_ns - self._last_ns[horizon.name] >= 1e9 * (_EVERY_SECONDS[horizon.name] - _EARLY_SECONDS)
        ]
        return await self._make(due)

    def note_imported(self) -> bool:
        """Tell whether something was imported since the last call, not counting the first; blocks."""
        done, before = self._history.meta(_IMPORTED), self._imported
        self._imported = done or ""
        return before is not None and before != self._imported

    def adopt(self, forecaster: CapacityForecaster) -> None:
        """Let `forecaster` make the forecasts from now on, all of them at once."""
        self._forecaster = forecaster
        self.make_again()

    def make_again(self) -> None:
        """Let all be forecast anew: the past is another one."""
        self._due.set()

    async def _make(self, horizons: Collection[Horizon]) -> str:
        async with self._one:
            forecaster = await self._ready_forecaster()
            self._watch.take_links(await self._ask(partial(self._links, self._watch.interfaces), "link speeds"))
            host = _Host(*self._watch.known, self._clock.now())
            if not host.resources:
                return "no resources"
            ids = dict(zip((spec.name for spec in self._registry.specs), self._registry.ids.tolist(), strict=True))
            reader = Reader(self._history, host.resources, ids, self._interval)
            points: dict[str, Points] = {}
            # what was cleaned up, or is full of old, is told of days too
            for horizon in sorted({HOURS, DAYS, *horizons}, key=HORIZONS.index):
                points[horizon.name] = await self._ask(partial(self._read, reader, horizon, host), "history.db")
            for horizon in horizons:
                await self._forecast(forecaster, horizon, host, points[horizon.name])
                self._last_ns[horizon.name] = host.now.boottime_ns
            facts: dict[str, Facts] = {}
            for batch in _batches(range(len(host.resources))):
                facts |= await self._ask(partial(self._facts, host, batch, points), "shapes")
            self._watch.adopt(self._by_resource(host.resources), facts, forecaster.problem)
            return f"{len(host.resources)} resources: {', '.join(horizon.name for horizon in horizons)}"

    async def _ask(self, work: Callable[[], T], what: str) -> T:
        return await self._offload.run(work, deadline_seconds=_CALL_SECONDS, what=what)

    async def forecaster(self) -> CapacityForecaster:
        """Return what forecasts, for questions beside its own work. Raises PresagedError."""
        return (await self._ready_forecaster()).own()

    async def _ready_forecaster(self) -> CapacityForecaster:
        if self._forecaster is None:
            self._forecaster = await self._ask(self._load, "capacity model")
            if self._forecaster.problem:
                self._metrics.failures.labels("capacity_model").inc()
                _log.warning("capacity_model_not_whole", reason=self._forecaster.problem)
        return self._forecaster

    def _read(self, reader: Reader, horizon: Horizon, host: "_Host") -> Points:
        """Return the points of a horizon; past forecasts are judged on the way."""
        uses = reader.uses(horizon, host.capacity)
        self._grades.judge(horizon, [one.name for one in host.resources], uses, host.now.time_ms)
        return history_points(uses, horizon, host.now.time_ms)

    async def _forecast(self, forecaster: CapacityForecaster, horizon: Horizon, host: "_Host", points: Points) -> None:
        known = points.known
        made = {
            one.name: Made(
                horizon, host.now.time_ms, host.now.boottime_ns, points.used[row], needs(horizon, int(known[row]))
            )
            for row, one in enumerate(host.resources)
        }
        enough = [row for row in range(len(host.resources)) if known[row] >= horizon.least]
        enough.sort(key=lambda row: _KINDS.index(host.resources[row].kind))  # a kind learns from its own errors
        others = companions(host.resources, points)
        for batch in _batches(enough):
            told = await self._ask(
                partial(self._told, _Call(forecaster, horizon, host, points.used, others), batch), "forecasts"
            )
            for row, (bands, methods, said) in told.items():
                name = host.resources[row].name
                made[name] = replace(made[name], bands=bands, methods=methods, said=said)

        def grade() -> dict[str, Made]:
            self._grades.keep(horizon, made)
            accuracy = self._grades.accuracy(horizon)
            return {name: replace(one, accuracy=accuracy.get(name)) for name, one in made.items()}

        self._made[horizon.name] = await self._ask(grade, "history.db")

    def _told(self, call: "_Call", rows: Sequence[int]) -> dict[int, _Told]:
        """Return what is told of `rows`; where they fail together, each by itself."""
        which = np.array(rows)
        try:
            got = call.forecaster.forecast(
                call.used[which],
                call.horizon,
                np.zeros(len(which)),
                call.host.capacity[which],
                companions=call.others[which],
                pools=np.array([_KINDS.index(call.host.resources[row].kind) for row in rows]),
            )
            bands = _stacked(got)
        except _NUMERICS as error:
            if len(rows) > 1:
                return {row: told for one in rows for row, told in self._told(call, (one,)).items()}
            self._fail(call.host.resources[rows[0]].name, f"{call.horizon.name}: {error}")
            return {}
        return {row: (bands[at], got.methods[at], said_by_network(got, at)) for at, row in enumerate(rows)}

    def _facts(self, host: "_Host", rows: Sequence[int], points: Mapping[str, Points]) -> dict[str, Facts]:
        found = {}
        for row in rows:
            one = host.resources[row]
            try:
                found[one.name] = facts_of(one, row, points, float(host.capacity[row]), self._watch.floor_of(one))
            except _NUMERICS as error:
                self._fail(one.name, f"shape: {error}")
                found[one.name] = Facts()
        return found

    def _fail(self, name: str, reason: str) -> None:
        """Count a failure, and say it once as long as it stays the same."""
        self._metrics.failures.labels("forecast").inc()
        if self._failed.get(name) != reason:
            self._failed[name] = reason
            _log.error("not_forecast", resource=name, reason=reason)

    def _by_resource(self, resources: Sequence[Resource]) -> dict[str, tuple[Made, ...]]:
        return {
            one.name: tuple(
                self._made[horizon.name][one.name]
                for horizon in HORIZONS
                if one.name in self._made.get(horizon.name, ())
            )
            for one in resources
        }


@dataclass(frozen=True, slots=True, eq=False)
class _Host:
    """The resources and their capacity (R,) at one moment."""

    resources: tuple[Resource, ...]
    capacity: Floats
    now: Instant


@dataclass(frozen=True, slots=True, eq=False)
class _Call:
    """What the forecasts of one horizon are made from: points (R, P), and those of the companions (R, 3, P)."""

    forecaster: CapacityForecaster
    horizon: Horizon
    host: _Host
    used: Floats
    others: Floats


def needs(horizon: Horizon, known: int) -> str:
    """Return what is lacking until `horizon` says something, "" = nothing."""
    lacking = horizon.least - known
    if lacking <= 0:
        return ""
    return f"needs {lacking} more {horizon.name if lacking > 1 else horizon.name.removesuffix('s')}"


def companions(resources: Sequence[Resource], points: Points) -> Floats:
    """Return for each resource the points (R, 3, P) of one of each other kind; NaN where there is none.

    They are, in this order without its own: the processor, memory, the largest file system and the busiest link.
    """
    size = np.array([_last(row) for row in points.used])
    chosen: dict[ResourceKind, int] = {}
    for row, one in enumerate(resources):
        if one.kind in _COMPANIONS and size[row] >= size[chosen.get(one.kind, row)]:
            chosen[one.kind] = row
    nothing = np.full(POINTS, np.nan)
    out = np.full((len(resources), len(_COMPANIONS) - 1, POINTS), np.nan)
    for row, one in enumerate(resources):
        kinds = [kind for kind in _COMPANIONS if kind is not _ALIKE.get(one.kind, one.kind)]
        out[row] = [points.used[chosen[kind]] if kind in chosen else nothing for kind in kinds]
    return out


def _last(row: Floats) -> float:
    return float(row[-1]) if np.isfinite(row[-1]) else -np.inf


def said_by_network(got: Forecasts, row: int) -> tuple[float, float] | None:
    """Return how far the network moved the first and the last step of a row, in its usual errors; None: it did not."""
    moved = got.bands.mean[row] - got.simple[row]
    scale = float(got.scale[row])
    if not moved.any() or not scale > 0:
        return None
    return float(moved[0]) / scale, float(moved[-1]) / scale


def _stacked(got: Forecasts) -> Floats:
    """Return the bands (R, 5, 12). Raises ValueError where one is not finite."""
    bands = got.bands
    stacked = np.stack([bands.mean, bands.lo80, bands.hi80, bands.lo95, bands.hi95], axis=1)
    if not np.isfinite(stacked).all():
        raise ValueError("a forecast is not finite")
    return stacked


def _batches(rows: Sequence[int]) -> Iterable[Sequence[int]]:
    return (rows[at : at + _BATCH] for at in range(0, len(rows), _BATCH))
