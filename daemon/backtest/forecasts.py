"""What the forecasts would have said, and what came of it: ours, the last value, and a line through six hours.

Enters: samples. Leaves: how far off each method was, how often the truth lay within our bands, which of them would have
announced that something is full within a day, and one resource to look at. The growth that the daemon sees in single
samples is not looked at: what is announced here rests on the forecasts and on the growth in their points alone.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from daemon.backtest.forecast_origins import Forecasts, Past, between, forecasts_of, past_of
from daemon.backtest.result import Samples
from daemon.capacity.grades import seasonal_error
from daemon.capacity.points import Uses
from daemon.capacity.resources import Resource
from daemon.config import Capacity
from detectors.capacity import CapacityForecaster
from detectors.exhaustion import WITHIN, Told, outlook
from detectors.forecasts import DAYS, HOURS, STEPS, Floats
from detectors.trend import trends

Ints = NDArray[np.int64]

SURE = 0.5  # of being full within a day: from there on the median is, and that is an announcement
OURS, LAST, LINE = "ours", "last value", "predict_linear 6 h"

_DAY_MS = 86_400_000
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


def judge_forecasts(samples: Samples, forecaster: CapacityForecaster, capacity: Capacity) -> ForecastReport | None:
    """Return how the forecasts went over `samples`; None where there is no resource, or no point to forecast from."""
    past = past_of(samples, capacity)
    if past is None:
        return None
    made = [found for horizon in (HOURS, DAYS) if (found := forecasts_of(past, horizon, forecaster)) is not None]
    if not made:
        return None
    looks, announced, danger = _exhaustion(made, past, capacity.free_floor_ratio)
    return ForecastReport(
        accuracies=tuple(one for part in made for one in _accuracies(part, past.resources)),
        looks=looks,
        announced=announced,
        shown=_shown(made, past, danger, capacity.free_floor_ratio),
        problem=forecaster.problem,
    )


def _accuracies(made: Forecasts, resources: Sequence[Resource]) -> Iterator[Accuracy]:
    """Yield the figures of each kind."""
    known = np.isfinite(made.truth)
    scales = [seasonal_error(row, made.horizon.season) for row in made.history]
    scale = np.array([math.nan if one is None else one for one in scales])
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
    made: Sequence[Forecasts], past: Past, floor_ratio: float
) -> tuple[int, tuple[Announced, ...], dict[int, float]]:
    """Return how many looks there were, what was announced at them, and how endangered each resource is at the end."""
    danger: dict[int, float] = {}
    said: dict[str, list[bool]] = {OURS: [], LAST: [], LINE: []}
    came: list[bool] = []
    of_days = next((part for part in made if part.horizon is DAYS), None)
    base = made[0]
    end_ms = float(past.fine.middle_ms[-1])
    for row in range(len(base.resource)):
        place, origin = int(base.resource[row]), int(base.origin_ms[row])
        if not past.watched[place] or not math.isfinite(base.capacity[row]):
            continue
        limit, now = float(base.capacity[row]) * (1.0 - floor_ratio), _now(past.fine, place, origin)
        if not now < limit:
            continue
        points, told = [(base.horizon, base.history[row])], [_told(base, row, 0.0, _floor(base.history[row]))]
        if of_days is not None and of_days is not base and (newest := _newest(of_days, place, origin)) is not None:
            points.append((DAYS, of_days.history[newest]))
            told.append(_told(of_days, newest, (origin - int(of_days.origin_ms[newest])) / 1000, told[0].floor))
        chances = outlook(limit, now, told, None, trends(limit, points, past.resources[place].notable)).probability
        danger[place] = chances[_MONTH] + now / limit  # of two that are not in danger, the fuller one
        later = between(past.fine, origin, origin + _DAY_MS).used[:, place]
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


def _line_at(made: Forecasts, row: int, seconds: float) -> float:
    """Return where the line of a forecast is so many seconds later."""
    first, second = made.line[row, :2].tolist()
    return float(first + (second - first) * (seconds / made.horizon.step_seconds - 1))


def _now(fine: Uses, place: int, origin: int) -> float:
    """Return the newest use that was known."""
    end = int(np.searchsorted(fine.middle_ms, origin))
    known = fine.used[max(0, end - 12) : end, place]
    known = known[np.isfinite(known)]
    return float(known[-1]) if len(known) else math.nan


def _newest(made: Forecasts, place: int, origin: int) -> int | None:
    """Return the row of the newest forecast of a resource that was there then, if it still says anything."""
    rows = np.flatnonzero((made.resource == place) & (made.origin_ms <= origin))
    if len(rows) == 0:
        return None
    age_seconds = (origin - int(made.origin_ms[rows[-1]])) / 1000
    return int(rows[-1]) if age_seconds < made.horizon.step_seconds * STEPS else None


def _floor(history: Floats) -> float:
    """Return the lowest level of the last days, as the daemon takes it."""
    known = history[np.isfinite(history)]
    return float(known.min()) if len(known) >= HOURS.season else -math.inf


def _told(made: Forecasts, row: int, age_seconds: float, floor: float) -> Told:
    bands = made.bands
    parts = (bands.mean, bands.lo80, bands.hi80, bands.lo95, bands.hi95)
    mean, lo80, hi80, lo95, hi95 = (part[row] for part in parts)
    return Told(made.horizon, age_seconds, mean, lo80, hi80, lo95, hi95, floor)


def _shown(made: Sequence[Forecasts], past: Past, danger: dict[int, float], floor_ratio: float) -> Shown | None:
    """Return the most endangered resource with some of its forecasts, of days where there are any."""
    if not danger:
        return None
    place = max(danger, key=lambda one: danger[one])
    of = next(part for part in reversed(made) if (part.resource == place).any())
    room = of.history[:, -1] < of.capacity * (1.0 - floor_ratio)  # of what is full there is nothing to be seen
    rows = np.flatnonzero((of.resource == place) & np.isfinite(of.truth).any(axis=1) & room)
    if len(rows) == 0:
        return None
    step_ms = int(of.horizon.step_seconds * 1000)
    kept = rows[np.unique(np.linspace(0, len(rows) - 1, _FANS).round().astype(int))]
    fine = past.fine
    known = np.flatnonzero(np.isfinite(fine.used[:, place]))
    known = known[:: max(1, math.ceil(len(known) / _SHOWN_POINTS))]
    share = fine.used[known, place] / fine.capacity[known, place]
    return Shown(
        resource=past.resources[place].name,
        horizon=of.horizon.name,
        limit=1.0 - floor_ratio,
        used=tuple(zip(fine.middle_ms[known].astype(np.int64).tolist(), share.tolist(), strict=True)),
        fans=tuple(_fan(of, row, step_ms) for row in kept.tolist()),
    )


def _fan(made: Forecasts, row: int, step_ms: int) -> Fan:
    capacity = float(made.capacity[row])
    bands = made.bands
    parts = (bands.mean, bands.lo80, bands.hi80, bands.lo95, bands.hi95)
    mean, lo80, hi80, lo95, hi95 = (tuple((part[row] / capacity).tolist()) for part in parts)
    used = float(made.history[row, -1]) / capacity
    return Fan(int(made.origin_ms[row]), step_ms, used, mean, lo80, hi80, lo95, hi95)
