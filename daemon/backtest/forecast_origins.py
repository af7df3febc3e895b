"""What would have been forecast of the resources in samples, at moments of their past, and what came after.

Enters: samples. Leaves: for each horizon all forecasts of all resources at all origins, beside a line and the truth.
Points are made as the daemon makes them of its history; at each origin nothing is known of what comes after it.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from daemon.backtest.result import Samples
from daemon.capacity.forecasts import companions
from daemon.capacity.points import Stretches, Uses, history_points, points_of, uses_of
from daemon.capacity.resources import Resource, ResourceKind, find_resources
from daemon.collectors.base import one_of
from daemon.config import Capacity
from detectors.capacity import CapacityForecaster
from detectors.forecasts import DAYS, HOURS, POINTS, STEPS, Bands, Floats, Horizon

Ints = NDArray[np.int64]

MOST_ROWS = 600  # forecasts of a horizon: origins are taken less often where there are many resources

_EVERY_MS = {HOURS.name: 6 * 3_600_000, DAYS.name: 86_400_000}
_WIDTHS = {HOURS.name: 300.0, DAYS.name: 3600.0}  # seconds of a stretch that points are made of
_LINE_MS = 6 * 3_600_000
_KINDS = list(ResourceKind)


@dataclass(frozen=True, slots=True, eq=False)
class Past:
    """The resources of a host and their use in stretches: five minutes (`fine`) and an hour long (`coarse`).

    `watched` (R,): what can run out and may be written to.
    """

    resources: tuple[Resource, ...]
    watched: tuple[bool, ...]
    fine: Uses
    coarse: Uses
    end_ms: int


@dataclass(frozen=True, slots=True, eq=False)
class Forecasts:
    """All forecasts of one horizon: rows N of (resource, origin), what is known at each, and the truth (N, 12)."""

    horizon: Horizon
    resource: Ints
    origin_ms: Ints
    history: Floats
    capacity: Floats
    bands: Bands
    line: Floats
    truth: Floats


@dataclass(frozen=True, slots=True, eq=False)
class _Origin:
    """What is known at one moment of the resources (N,) that can be forecast then; `others` (N, 3, 96)."""

    resource: Ints
    made_ms: int
    history: Floats
    capacity: Floats
    others: Floats
    line: Floats
    truth: Floats


def past_of(samples: Samples, capacity: Capacity) -> Past | None:
    """Return the past of all resources that are to be forecast, None without any."""
    excluded = one_of(capacity.exclude)
    resources = tuple(one for one in find_resources(samples.specs) if not excluded.match(one.name))
    if not resources or len(samples.time_ms) == 0:
        return None
    size = np.array([capacity.link_bytes_per_second.get(one.interface, _capacity(one)) for one in resources])
    fine, coarse = (_uses(samples, resources, size, _WIDTHS[horizon.name]) for horizon in (HOURS, DAYS))
    watched = tuple(one.is_exhaustible and not _is_read_only(samples, one) for one in resources)
    return Past(resources, watched, fine, coarse, int(samples.clock[-1]))


def _uses(samples: Samples, resources: Sequence[Resource], size: Floats, seconds: float) -> Uses:
    """Return the use of each resource in stretches of so many seconds by the clock; `size` (R,) where nothing tells."""
    names = sorted({name for one in resources for name in one.signals})
    columns = {name: place for place, name in enumerate(names)}
    place_of = {spec.name: place for place, spec in enumerate(samples.specs)}
    values = samples.values[:, [place_of[name] for name in names]].astype(np.float64)
    width = int(seconds * 1000)
    bucket = samples.clock // width
    starts = np.flatnonzero(np.diff(bucket, prepend=bucket[0] - 1))
    count = np.add.reduceat(np.isfinite(values).astype(np.float64), starts, axis=0)
    total = np.add.reduceat(np.where(np.isfinite(values), values, 0.0), starts, axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = total / count
    parts = Stretches(
        middle_ms=bucket[starts].astype(np.float64) * width + width / 2,
        seconds=np.full(len(starts), seconds),
        mean=mean,
        least=np.fmin.reduceat(values, starts, axis=0),
        most=np.fmax.reduceat(values, starts, axis=0),
        count=count,
    )
    return uses_of(resources, columns, parts, size)


def _capacity(one: Resource) -> float:
    """Return what a resource can hold where its signals do not tell: of a link nobody recorded how fast it is."""
    return 1.0 if one.unit.name == "RATIO" else math.inf if one.interface else math.nan


def _is_read_only(samples: Samples, one: Resource) -> bool:
    """Say whether nothing could be written in most of the time: such a file system is full by nature."""
    name = f"filesystem.{one.mount}.read_only"
    column = next((place for place, spec in enumerate(samples.specs) if spec.name == name), None)
    if not one.mount or column is None:
        return False
    values = samples.values[:, column]
    known = values[np.isfinite(values)]
    return len(known) > 0 and bool(np.median(known) == 1.0)


def between(uses: Uses, from_ms: float, to_ms: float) -> Uses:
    """Return what was used in the stretches whose middle lies in from_ms <= time < to_ms."""
    first, end = np.searchsorted(uses.middle_ms, (from_ms, to_ms)).tolist()
    part = slice(first, end)
    return Uses(
        uses.middle_ms[part], uses.seconds[part], uses.used[part], uses.capacity[part], uses.count[part], uses.fills
    )


def forecasts_of(past: Past, horizon: Horizon, forecaster: CapacityForecaster) -> Forecasts | None:
    """Forecast every resource at every origin with the points that were known then."""
    uses, end_ms = past.fine if horizon is HOURS else past.coarse, past.end_ms
    step_ms = int(horizon.step_seconds * 1000)
    parts: list[_Origin] = []
    for origin in _origins(uses, horizon, end_ms):
        before = between(uses, origin - (POINTS + 1) * step_ms, origin)
        points = history_points(before, horizon, origin)
        rows = np.flatnonzero(points.known >= horizon.least)
        if len(rows) == 0:
            continue
        after = between(uses, origin, origin + STEPS * step_ms)
        ahead = origin + STEPS * step_ms
        truth = points_of(after, end_ms=ahead, step_seconds=horizon.step_seconds, count=STEPS).used
        truth[:, np.arange(1, STEPS + 1) * step_ms + origin > end_ms] = np.nan  # a step that is not over
        line = _line(between(past.fine, origin - _LINE_MS, origin), origin, horizon)
        others = companions(past.resources, points)[rows]
        parts.append(
            _Origin(rows, origin, points.used[rows], points.capacity[rows, -1], others, line[rows], truth[rows])
        )
    if not parts:
        return None
    resource = np.concatenate([part.resource for part in parts])
    origins = np.concatenate([np.full(len(part.resource), part.made_ms, np.int64) for part in parts])
    history = np.concatenate([part.history for part in parts])
    capacity = np.concatenate([part.capacity for part in parts])
    kinds = np.array([_KINDS.index(one.kind) for one in past.resources])[resource]
    told = forecaster.forecast(
        history,
        horizon,
        np.zeros(len(history)),
        capacity,
        companions=np.concatenate([part.others for part in parts]),
        # one kind at one moment calibrates each other's bands, as in the daemon; a later moment was not known then
        pools=np.unique(np.stack([origins, kinds]), axis=1, return_inverse=True)[1].ravel(),
    )
    return Forecasts(
        horizon=horizon,
        resource=resource,
        origin_ms=origins,
        history=history,
        capacity=capacity,
        bands=told.bands,
        line=np.concatenate([part.line for part in parts]),
        truth=np.concatenate([part.truth for part in parts]),
    )


def _origins(uses: Uses, horizon: Horizon, end_ms: int) -> Iterator[int]:
    """Yield the moments to forecast at, oldest first, so that one step at least is known after the last."""
    step_ms = int(horizon.step_seconds * 1000)
    first = int(uses.middle_ms[0]) + horizon.least * step_ms
    every = _EVERY_MS[horizon.name]
    count = max(0, (end_ms - step_ms - first) // every + 1)
    apart = max(1, math.ceil(count * uses.used.shape[1] / MOST_ROWS))
    for back in range((count - 1) // apart, -1, -1):
        yield end_ms - step_ms - back * apart * every


def _line(recent: Uses, origin: int, horizon: Horizon) -> Floats:
    """Return (R, 12): the least squares line through what is given, continued; NaN where there are no two points."""
    seconds = (recent.middle_ms - origin)[:, None] / 1000.0
    known = np.isfinite(recent.used)
    count = np.maximum(known.sum(axis=0), 1)
    x = np.where(known, seconds, 0.0)
    y = np.where(known, recent.used, 0.0)
    middle, level = x.sum(axis=0) / count, y.sum(axis=0) / count
    away = np.where(known, seconds - middle, 0.0)
    spread = (away**2).sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = np.where(spread > 0, (away * (y - level)).sum(axis=0) / spread, np.nan)
    ahead = np.arange(1, STEPS + 1) * horizon.step_seconds
    line: Floats = level[:, None] + slope[:, None] * (ahead - middle[:, None])
    return line
