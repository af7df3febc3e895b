"""What the forecasts would have said, and what came of it: ours, the last value, and a line through six hours.

Enters: samples. Leaves: how far off each method was, how often the truth lay within our bands, which of them would have
announced that something is full within a day, and one resource to look at. At each origin nothing is known of what
comes after it. It looks at what single samples show of growth only where the daemon does: not here.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from daemon.backtest.result import Samples
from daemon.capacity.points import Stretches, Uses, history_points, points_of, uses_of
from daemon.capacity.resources import Resource, find_resources
from daemon.collectors.base import one_of
from daemon.config import Capacity
from detectors.capacity import CapacityForecaster
from detectors.exhaustion import WITHIN, Told, outlook
from detectors.forecasts import DAYS, HOURS, POINTS, STEPS, Bands, Horizon

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MOST_ROWS = 600  # forecasts of a horizon: origins are taken less often where there are many resources
SURE = 0.5  # of being full within a day: from there on the median is, and that is an announcement
OURS, LAST, LINE = "ours", "last value", "predict_linear 6 h"

_EVERY_MS = {HOURS.name: 6 * 3_600_000, DAYS.name: 86_400_000}
_WIDTHS = {HOURS.name: 300.0, DAYS.name: 3600.0}  # seconds of a stretch that points are made of
_DAY_MS = 86_400_000
_LINE_MS = 6 * 3_600_000
_DAY = list(WITHIN).index("24h")
_MONTH = list(WITHIN).index("30d")
_FANS = 4
_SHOWN_POINTS = 1200


@dataclass(frozen=True, slots=True)
class Accuracy:
    """All forecasts of one kind of resource over one horizon; errors scaled by those of the season repeated (MASE).

    A figure is None where there is nothing to tell it from.
    """

    kind: str
    horizon: str
    resources: int
    forecasts: int
    mase: float | None
    mase_last: float | None
    mase_line: float | None
    coverage80: float | None
    coverage95: float | None


@dataclass(frozen=True, slots=True)
class Announced:
    """How often a method said that something is full within a day, how often it was, and how often only it was."""

    name: str
    announced: int
    came_true: int
    missed: int


@dataclass(frozen=True, slots=True)
class Fan:
    """One forecast as shares of the capacity, (12,) each; the first step ends at `made_ms` + `step_ms`."""

    made_ms: int
    step_ms: int
    used: float
    mean: tuple[float, ...]
    lo80: tuple[float, ...]
    hi80: tuple[float, ...]
    lo95: tuple[float, ...]
    hi95: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Shown:
    """The most endangered resource: its use (time, share), its limit, and some of its forecasts, oldest first."""

    resource: str
    horizon: str
    limit: float
    used: tuple[tuple[int, float], ...]
    fans: tuple[Fan, ...]


@dataclass(frozen=True, slots=True)
class ForecastReport:
    """What is said of forecasts. `looks`: origins times resources that were not full yet, with the day after known."""

    accuracies: tuple[Accuracy, ...]
    looks: int
    announced: tuple[Announced, ...]
    shown: Shown | None
    problem: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class _Made:
    """All forecasts of one horizon: rows N of (resource, origin), what is known at each, and the truth (N, 12)."""

    horizon: Horizon
    resource: Ints
    origin_ms: Ints
    history: Floats
    capacity: Floats
    bands: Bands
    line: Floats
    truth: Floats


def judge_forecasts(samples: Samples, forecaster: CapacityForecaster, capacity: Capacity) -> ForecastReport | None:
    """Return how the forecasts went over `samples`; None where there is no resource, or no point to forecast from."""
    excluded = one_of(capacity.exclude)
    resources = tuple(one for one in find_resources(samples.specs) if not excluded.match(one.name))
    if not resources or len(samples.time_ms) == 0:
        return None
    floor_ratio = capacity.free_floor_ratio
    size = np.array([capacity.link_bytes_per_second.get(one.interface, _capacity(one)) for one in resources])
    fine, coarse = (_uses(samples, resources, size, _WIDTHS[horizon.name]) for horizon in (HOURS, DAYS))
    watched = [one.is_exhaustible and not _is_read_only(samples, one) for one in resources]
    made = [
        found
        for horizon, uses in ((HOURS, fine), (DAYS, coarse))
        if (found := _forecast(uses, fine, horizon, int(samples.clock[-1]), forecaster)) is not None
    ]
    if not made:
        return None
    looks, announced, danger = _exhaustion(made, watched, fine, floor_ratio)
    return ForecastReport(
        accuracies=tuple(one for part in made for one in _accuracies(part, resources)),
        looks=looks,
        announced=announced,
        shown=_shown(made, resources, fine, danger, floor_ratio),
    )


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


def _between(uses: Uses, from_ms: float, to_ms: float) -> Uses:
    first, end = np.searchsorted(uses.middle_ms, (from_ms, to_ms)).tolist()
    part = slice(first, end)
    return Uses(
        uses.middle_ms[part], uses.seconds[part], uses.used[part], uses.capacity[part], uses.count[part], uses.fills
    )


def _forecast(uses: Uses, fine: Uses, horizon: Horizon, end_ms: int, forecaster: CapacityForecaster) -> _Made | None:
    """Forecast every resource at every origin with the points that were known then."""
    step_ms = int(horizon.step_seconds * 1000)
    parts: list[tuple[Ints, int, Floats, Floats, Floats, Floats]] = []
    for origin in _origins(uses, horizon, end_ms):
        before = _between(uses, origin - (POINTS + 1) * step_ms, origin)
        points = history_points(before, horizon, origin)
        rows = np.flatnonzero(points.known >= horizon.least)
        if len(rows) == 0:
            continue
        after = _between(uses, origin, origin + STEPS * step_ms)
        ahead = origin + STEPS * step_ms
        truth = points_of(after, end_ms=ahead, step_seconds=horizon.step_seconds, count=STEPS).used
        truth[:, np.arange(1, STEPS + 1) * step_ms + origin > end_ms] = np.nan  # a step that is not over
        line = _line(_between(fine, origin - _LINE_MS, origin), origin, horizon)
        parts.append((rows, origin, points.used[rows], points.capacity[rows, -1], line[rows], truth[rows]))
    if not parts:
        return None
    history = np.concatenate([part[2] for part in parts])
    capacity = np.concatenate([part[3] for part in parts])
    origins = np.concatenate([np.full(len(part[0]), part[1], np.int64) for part in parts])
    # what is forecast at one moment calibrates each other's bands, as in the daemon; a later moment was not known then
    told = forecaster.forecast(history, horizon, np.zeros(len(history)), capacity, pools=origins)
    return _Made(
        horizon=horizon,
        resource=np.concatenate([part[0] for part in parts]),
        origin_ms=origins,
        history=history,
        capacity=capacity,
        bands=told.bands,
        line=np.concatenate([part[4] for part in parts]),
        truth=np.concatenate([part[5] for part in parts]),
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


def _accuracies(made: _Made, resources: Sequence[Resource]) -> Iterator[Accuracy]:
    """Yield the figures of each kind."""
    known = np.isfinite(made.truth)
    scale = naive_error(made.history, made.horizon.season)
    last = np.repeat(made.history[:, -1:], STEPS, axis=1)
    errors = [_error(told, made.truth) for told in (made.bands.mean, last, made.line)]
    kinds = np.array([resources[row].kind.value for row in made.resource.tolist()])
    judged = known.any(axis=1)
    for kind in dict.fromkeys(kinds[judged].tolist()):
        rows = np.flatnonzero(judged & (kinds == kind))
        mases = [_mase(error[rows], scale[rows], made.resource[rows]) for error in errors]
        yield Accuracy(
            kind=kind,
            horizon=made.horizon.name,
            resources=len(np.unique(made.resource[rows])),
            forecasts=len(rows),
            mase=mases[0],
            mase_last=mases[1],
            mase_line=mases[2],
            coverage80=_coverage(made.truth[rows], made.bands.lo80[rows], made.bands.hi80[rows]),
            coverage95=_coverage(made.truth[rows], made.bands.lo95[rows], made.bands.hi95[rows]),
        )


def naive_error(history: Floats, season: int) -> Floats:
    """Return the mean absolute error (N,) of the value one season before, of the one before where it is shorter."""
    out = np.full(len(history), np.nan)
    for lag in (1, season):
        apart = np.abs(history[:, lag:] - history[:, :-lag])
        known = np.isfinite(apart)
        enough = known.sum(axis=1) >= min(lag, 2)
        mean = np.where(known, apart, 0.0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
        out = np.where(enough, mean, out)
    return out


def _error(told: Floats, truth: Floats) -> Floats:
    """Return the mean absolute error (N,) over the steps that are known."""
    apart = np.abs(told - truth)
    known = np.isfinite(apart)
    some = known.any(axis=1)
    mean = np.where(known, apart, 0.0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    return np.where(some, mean, np.nan)


def _mase(error: Floats, scale: Floats, resource: Ints) -> float | None:
    """Return the mean over resources of all their errors over all their scales; what never moved says nothing."""
    found = []
    for one in np.unique(resource).tolist():
        rows = (resource == one) & np.isfinite(error) & np.isfinite(scale)
        if (whole := float(scale[rows].sum())) > 0:
            found.append(float(error[rows].sum()) / whole)
    return float(np.mean(found)) if found else None


def _coverage(truth: Floats, low: Floats, high: Floats) -> float | None:
    known = np.isfinite(truth)
    inside = (truth >= low) & (truth <= high)
    return float(inside[known].mean()) if known.any() else None


def _exhaustion(
    made: Sequence[_Made], watched: Sequence[bool], fine: Uses, floor_ratio: float
) -> tuple[int, tuple[Announced, ...], dict[int, float]]:
    """Return how many looks there were, what was announced at them, and how endangered each resource is at the end."""
    danger: dict[int, float] = {}
    said: dict[str, list[bool]] = {OURS: [], LAST: [], LINE: []}
    came: list[bool] = []
    of_days = next((part for part in made if part.horizon is DAYS), None)
    base = made[0]
    end_ms = float(fine.middle_ms[-1])
    for row in range(len(base.resource)):
        place, origin = int(base.resource[row]), int(base.origin_ms[row])
        if not watched[place] or not math.isfinite(base.capacity[row]):
            continue
        limit, now = float(base.capacity[row]) * (1.0 - floor_ratio), _now(fine, place, origin)
        if not now < limit:
            continue
        told = [_told(base, row, 0.0)]
        if of_days is not None and of_days is not base:
            told += _newest(of_days, place, origin)
        chances = outlook(limit, now, told, None).probability
        danger[place] = chances[_MONTH] + now / limit  # of two that are not in danger, the fuller one
        later = _between(fine, origin, origin + _DAY_MS).used[:, place]
        happens = bool((later >= limit).any())
        if not happens and origin + _DAY_MS > end_ms:
            continue  # nobody knows
        came.append(happens)
        said[OURS].append(chances[_DAY] >= SURE)
        said[LAST].append(False)
        said[LINE].append(_line_at(base, row, _DAY_MS / 1000) >= limit)
    truth = np.array(came, np.bool_)
    counted = []
    for name, votes in said.items():
        voted = np.array(votes, np.bool_)
        counted.append(Announced(name, int(voted.sum()), int((voted & truth).sum()), int((truth & ~voted).sum())))
    return len(came), tuple(counted), danger


def _line_at(made: _Made, row: int, seconds: float) -> float:
    """Return where the line of a forecast is so many seconds later."""
    first, second = made.line[row, :2].tolist()
    return float(first + (second - first) * (seconds / made.horizon.step_seconds - 1))


def _now(fine: Uses, place: int, origin: int) -> float:
    """Return the newest use that was known."""
    end = int(np.searchsorted(fine.middle_ms, origin))
    known = fine.used[max(0, end - 12) : end, place]
    known = known[np.isfinite(known)]
    return float(known[-1]) if len(known) else math.nan


def _newest(made: _Made, place: int, origin: int) -> list[Told]:
    """Return the newest forecast of a resource that was there then, if it still says anything."""
    rows = np.flatnonzero((made.resource == place) & (made.origin_ms <= origin))
    if len(rows) == 0:
        return []
    row = int(rows[-1])
    age = (origin - int(made.origin_ms[row])) / 1000
    return [_told(made, row, age)] if age < made.horizon.step_seconds * STEPS else []


def _told(made: _Made, row: int, age_seconds: float) -> Told:
    bands = made.bands
    parts = (bands.mean, bands.lo80, bands.hi80, bands.lo95, bands.hi95)
    mean, lo80, hi80, lo95, hi95 = (part[row] for part in parts)
    return Told(made.horizon, age_seconds, mean, lo80, hi80, lo95, hi95)


def _shown(
    made: Sequence[_Made], resources: Sequence[Resource], fine: Uses, danger: dict[int, float], floor_ratio: float
) -> Shown | None:
    """Return the most endangered resource with some of its forecasts, of days where there are any."""
    if not danger:
        return None
    place = max(danger, key=lambda one: danger[one])
    of = next(part for part in reversed(made) if (part.resource == place).any())
    rows = np.flatnonzero((of.resource == place) & np.isfinite(of.truth).any(axis=1))
    if len(rows) == 0:
        return None
    step_ms = int(of.horizon.step_seconds * 1000)
    kept = rows[np.unique(np.linspace(0, len(rows) - 1, _FANS).round().astype(int))]
    known = np.flatnonzero(np.isfinite(fine.used[:, place]))
    known = known[:: max(1, math.ceil(len(known) / _SHOWN_POINTS))]
    share = fine.used[known, place] / fine.capacity[known, place]
    return Shown(
        resource=resources[place].name,
        horizon=of.horizon.name,
        limit=1.0 - floor_ratio,
        used=tuple(zip(fine.middle_ms[known].astype(np.int64).tolist(), share.tolist(), strict=True)),
        fans=tuple(_fan(of, row, step_ms) for row in kept.tolist()),
    )


def _fan(made: _Made, row: int, step_ms: int) -> Fan:
    capacity = float(made.capacity[row])
    bands = made.bands
    parts = (bands.mean, bands.lo80, bands.hi80, bands.lo95, bands.hi95)
    mean, lo80, hi80, lo95, hi95 = (tuple((part[row] / capacity).tolist()) for part in parts)
    used = float(made.history[row, -1]) / capacity
    return Fan(int(made.origin_ms[row]), step_ms, used, mean, lo80, hi80, lo95, hi95)
