"""When something runs out: probabilities within some times, and the time itself with its 80 % interval.

Enters: the bands of one resource over the horizons that it has, what is used now, the limit, and the run of growth
that it is in. Leaves: an outlook, in seconds from now; `inf` is never. Everything is told in the unit of the resource.

The bound of the bands that a share p of the futures exceeds reaches the limit at the time that a share p of the
futures has filled by: nearer horizons say this first, farther ones behind their end. A run in the raw samples is seen
sooner than the bands can; where it fills earlier it rules.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, log
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from detectors.forecasts import STEPS, Floats, Horizon
from detectors.growth import Run

DAY_SECONDS = 86_400.0
YEAR_SECONDS = 365.0 * DAY_SECONDS
WITHIN: Mapping[str, float] = {
    "4h": 4 * 3600.0,
    "24h": DAY_SECONDS,
    "7d": 7 * DAY_SECONDS,
    "30d": 30 * DAY_SECONDS,
    "365d": YEAR_SECONDS,
}
REACH = 3  # horizons: so far the last one is continued

_NORMAL = NormalDist()
_SCORES = np.array([_NORMAL.inv_cdf(share) for share in (0.025, 0.1, 0.5, 0.9, 0.975)])
_CERTAIN = 6.0  # no score is beyond
_LEAST_SPREAD = 0.02  # of the way that is left: no forecast is better than that
_PARTS = 4  # of a step
_LIKELY = 0.5  # from there on growth is taken to go on, and the time is told for that
_SURE = 0.895
_SOON = 1e-3  # seconds
_WITHIN = np.array(list(WITHIN.values()))
_WAYS = np.linspace(-3.5, 3.5, 29)
_TABLE = np.linspace(-_CERTAIN, _CERTAIN, 481)
_AREAS = np.array([0.0, *(_NORMAL.cdf(score) for score in _TABLE[1:-1].tolist()), 1.0])
_LATE = 6  # steps


@dataclass(frozen=True, slots=True, eq=False)
class Told:
    """The bands (12,) of one horizon, made `age_seconds` ago.

    `floor`: the lowest level of the last days that the bands are made from, where it is known. Below it something was
    cleaned up, which points that are the maximum of a step show only when the step is over: the bands are lowered.
    """

    horizon: Horizon
    age_seconds: float
    mean: Floats
    lo80: Floats
    hi80: Floats
    lo95: Floats
    hi95: Floats
    floor: float = -inf


@dataclass(frozen=True, slots=True)
class Outlook:
    """When a limit is reached: the probabilities in the order of `WITHIN`, the rest in seconds from now.

    The probabilities allow for growth that ends by itself. The times do not, where growth is more likely than not to
    go on: they say when, if it does. `reach`: so far do the bands say anything; a time of `inf` is beyond it.
    """

    probability: tuple[float, ...]
    lo80: float
    median: float
    hi80: float
    reach: float = inf


def outlook(limit: float, now: float, told: Sequence[Told], run: Run | None, trends: Sequence[Run] = ()) -> Outlook:
    """Return when `limit` is reached by what is at `now`.

    `told` may be empty; then only growth speaks: the `run` in the raw samples, and the `trends` in the points (those
    of `detectors.trend`, found when the bands were made). Where one of them fills earlier than the bands say, its
    share of the futures does so, and the bands have the rest.
    """
    if now >= limit:
        return Outlook((1.0,) * len(WITHIN), 0.0, 0.0, 0.0)
    told_at, scores = _arrival(limit, now, told)
    growing = [_Filling(one, limit - now) for one in (run, *trends) if one is not None]
    times = np.unique(np.concatenate([told_at, _WITHIN, *(one.times for one in growing)]))
    arrived = _cumulated(np.interp(times, told_at, scores))
    sooner = np.zeros(len(times))
    for one in growing:
        sooner = np.maximum(sooner, one.share * (one.cumulated(times) - arrived))
    full = np.maximum.accumulate(arrived + sooner)
    likely = max((one.share for one in growing), default=0.0)
    ends = (1.0 - likely) * (1.0 - float(arrived[-1])) if likely >= _LIKELY else 0.0
    lo80, median, hi80 = (_reached(times, full, share * (1.0 - ends)) for share in (0.1, 0.5, 0.9))
    return Outlook(tuple(np.interp(_WITHIN, times, full).tolist()), lo80, median, hi80, float(told_at[-1]))


class _Filling:
    """When growth fills what is free, if it goes on; the logarithm of its rate is normal."""

    def __init__(self, run: Run, free: float) -> None:
        self.share = run.goes_on(free - run.above)
        self._middle = log(max(run.seconds_to_fill(free), _SOON))
        self._spread = run.spread
        self.times = np.exp(self._middle + self._spread * _WAYS)

    def cumulated(self, times: Floats) -> Floats:
        """Return the probability that it is full by each of the times (K,), if it goes on."""
        with np.errstate(divide="ignore"):
            return _cumulated((np.log(times) - self._middle) / self._spread)


def _cumulated(scores: Floats) -> Floats:
    """Return the normal distribution at scores (K,); nothing beyond 6 is told from 0 or 1."""
    areas: Floats = np.interp(scores, _TABLE, _AREAS)
    return areas


def _arrival(limit: float, now: float, told: Sequence[Told]) -> tuple[Floats, Floats]:
    """Return times (K,) from 0 on and the score of having arrived by then, which never falls."""
    times, scores = [np.zeros(1)], [np.full(1, -_CERTAIN)]
    end = 0.0
    inner = sorted((one for one in told if np.isfinite(one.mean).all()), key=lambda one: one.horizon.step_seconds)
    for place, one in enumerate(inner):
        at, curves = _curves(one, now, far=place == len(inner) - 1)
        if at[-1] <= end:
            continue
        score = (
            _score(limit, now, _gone_on(limit, now, at, curves))
            if _near(limit, curves)
            else np.full(len(at), -_CERTAIN)
        )
        behind = at > end
        times.append(at[behind])
        scores.append(score[behind])
        end = float(at[-1])
    return np.concatenate(times), np.maximum.accumulate(np.concatenate(scores))


def _curves(told: Told, now: float, *, far: bool) -> tuple[Floats, Floats]:
    """Return times (K,) ahead of now and the five bounds (5, K), lowest first, between the steps and maybe beyond."""
    step = told.horizon.step_seconds
    bounds = np.stack([told.lo95, told.lo80, told.mean, told.hi80, told.hi95])
    at = np.arange(1, STEPS + 1) * step - told.age_seconds
    ahead = at > 0
    if not ahead.any():
        return np.zeros(1), np.full((5, 1), now)
    first = int(ahead.argmax())
    if now < told.floor:
        bounds = bounds + (now - told.floor)
    elif now > bounds[-1, first]:  # more than was thought possible: the least that makes it possible
        bounds = bounds + (now - bounds[-1, first])
    if far:
        late = (bounds[:, -1] - bounds[:, -1 - _LATE]) / _LATE
        whole = (bounds[:, -1] - now) / (STEPS - told.age_seconds / step)
        slope = np.where(late * whole > 0, np.where(np.abs(late) < np.abs(whole), late, whole), 0.0)
        beyond = np.arange(1, (REACH - 1) * STEPS + 1)
        bounds = np.concatenate([bounds, bounds[:, -1:] + slope[:, None] * beyond], axis=1)
        at = np.concatenate([at, at[-1] + beyond * step])
    at = np.concatenate([[0.0], at[first:]])
    bounds = np.concatenate([np.full((5, 1), now), bounds[:, first:]], axis=1)
    share = np.arange(_PARTS) / _PARTS
    fine = (at[:-1, None] + share * np.diff(at)[:, None]).ravel()
    between = (bounds[:, :-1, None] + share * np.diff(bounds, axis=1)[:, :, None]).reshape(5, -1)
    return np.append(fine, at[-1])[1:], np.concatenate([between, bounds[:, -1:]], axis=1)[:, 1:]


def _near(limit: float, curves: Floats) -> bool:
    """Return whether bounds (5, K) come near the limit at all: most never do, and the rest is dear."""
    return bool(limit - curves[4].max() < _CERTAIN * (curves[4] - curves[2]).max())


def _gone_on(limit: float, now: float, at: Floats, curves: Floats) -> Floats:
    """Return bounds (5, K) that go on rising once they are over the limit.

    What is forecast ends at the capacity, a little above the limit: how far beyond a bound would be is lost, and with
    it how likely the limit is. What has reached it also stays there: it is full.
    """
    over = np.greater_equal(curves, limit)
    first: NDArray[np.intp] = over.argmax(axis=1)
    start = np.take_along_axis(curves, first[:, None], axis=1)
    slope = (start - now) / at[first][:, None]
    line = start + slope * (at[None, :] - at[first][:, None])
    crossed = np.asarray(over.any(axis=1))
    later = crossed[:, None] & (np.arange(len(at))[None, :] > first[:, None])
    gone: Floats = np.maximum.accumulate(np.where(later, np.maximum(curves, line), curves), axis=1)
    return gone


def _score(limit: float, now: float, curves: Floats) -> Floats:
    """Return the normal score (K,) of exceeding the limit, between the bounds (5, K) and on beyond them."""
    middle = curves[2]
    bounds = curves.copy()
    least = _LEAST_SPREAD * (limit - now)
    for sign, outward in ((-1.0, (1, 0)), (1.0, (3, 4))):
        inside, way = middle, 0.0
        for one in outward:
            inside = inside + sign * least * (abs(float(_SCORES[one])) - way)
            inside = bounds[one] = sign * np.maximum(sign * curves[one], sign * inside)
            way = abs(float(_SCORES[one]))
    place = np.clip((bounds <= limit).sum(axis=0) - 1, 0, len(_SCORES) - 2)
    column = np.arange(curves.shape[1])
    low, high = bounds[place, column], bounds[place + 1, column]
    part = (limit - low) / (high - low)
    score = _SCORES[place] + part * (_SCORES[place + 1] - _SCORES[place])
    clipped: Floats = np.clip(-score, -_CERTAIN, _CERTAIN)
    return clipped


def _reached(times: Floats, full: Floats, share: float) -> float:
    """Return the first time at which a share of the futures is full, between the points."""
    after = int(np.searchsorted(full, share))
    if after == len(full):
        return inf
    if after == 0:
        return float(times[0])
    part = (share - full[after - 1]) / (full[after] - full[after - 1])
    return float(times[after - 1] + part * (times[after] - times[after - 1]))


_UNITS = (("s", 1.0, 100.0), ("min", 60.0, 100.0), ("h", 3600.0, 48.0), ("day", DAY_SECONDS, 60.0))
_MONTH_SECONDS = YEAR_SECONDS / 12


def say(outlook: Outlook) -> str:
    """Say when it is full, in one short piece: "full in 9 days (80 %: 7 to 12)"."""
    if outlook.median <= 0:
        return "full now"
    if outlook.median < inf:
        sure = outlook.probability[-1] >= _SURE or outlook.hi80 > YEAR_SECONDS
        return f"full in {duration(outlook.median)}{_interval(outlook)}{'' if sure else ', if it goes on'}"
    if outlook.lo80 < inf:
        return f"likely not within {_ahead(outlook.reach)}, {duration(outlook.lo80)} at the earliest"
    if outlook.reach >= YEAR_SECONDS:
        return "never at this rate"
    return f"not within {_ahead(outlook.reach)}" if outlook.reach > 0 else "nothing known yet"


def _interval(outlook: Outlook) -> str:
    """Return the 80 % interval in brackets, with no unit said twice; nothing where it is as good as a point."""
    low, middle = _span(outlook.lo80), _span(outlook.median)
    if outlook.hi80 == inf:
        return f" (80 %: {duration(outlook.lo80)} or later)"
    high = _span(outlook.hi80)
    if low == middle == high:
        return ""
    start = str(low[0]) if low[1] == high[1] else duration(outlook.lo80)
    end = str(high[0]) if low[1] == middle[1] == high[1] else duration(outlook.hi80)
    return f" (80 %: {start} to {end})"


def _ahead(reach: float) -> str:
    return "a year" if reach >= YEAR_SECONDS else duration(reach)


def _span(seconds: float) -> tuple[int, str]:
    """Return a duration as a whole number of the unit in which people would say it."""
    for unit, size, most in _UNITS:
        if seconds < most * size:
            return max(1, round(seconds / size)), unit
    if seconds < 24 * _MONTH_SECONDS:
        return round(seconds / _MONTH_SECONDS), "month"
    return round(seconds / YEAR_SECONDS), "year"


def duration(seconds: float) -> str:
    """Say a duration as people would: "40 min", "9 days"."""
    number, unit = _span(seconds)
    return f"{number} {unit}" if unit in ("s", "min", "h") or number == 1 else f"{number} {unit}s"
