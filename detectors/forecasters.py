"""Simple forecasters, and the selection among them: the forecast that a network has to improve.

Enters: histories (R, T), the newest value last, NaN before their beginning. Leaves: forecasts (R, H), and how wrong
they would have been. Every method works on all rows at once, and the earlier forecasts by which methods are judged
are rows as well: one series at thirteen origins costs little more than at one.

Theta after Assimakopoulos and Nikolopoulos, "The theta model" (2000); the slope of medians after Theil (1950) and Sen
(1968); weights by inverse squared error after Bates and Granger, "The combination of forecasts" (1969).
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from detectors.forecasts import Floats
from detectors.smoothing import firsts, holt_winters, lengths, level_of, line_through, season_of, trend_of

ORIGINS = (2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24)  # steps back of the earlier forecasts
BEST = 4
_LEAST = 3  # values of a history that can be forecast at all
_RECENT = 24
_MEDIAN_OF = 14
_CYCLES = 4
_CHUNK = 8  # rows at a time: with their origins they stay within the processor's cache


def last_value(rows: Floats, horizon: int) -> Floats:
    """The newest value for ever."""
    return np.repeat(rows[:, -1:], horizon, axis=1)


def drift(rows: Floats, horizon: int) -> Floats:
    """The line from the first value to the last, continued."""
    slope = (rows[:, -1] - firsts(rows)) / np.maximum(lengths(rows) - 1, 1)
    return rows[:, -1:] + slope[:, None] * np.arange(1, horizon + 1)


def median_change(rows: Floats, horizon: int) -> Floats:
    """The newest value, and the median of the last 24 changes with each step: a burst is no trend."""
    changes = np.diff(rows[:, -_RECENT - 1 :], axis=1)
    return rows[:, -1:] + median(changes, axis=1, otherwise=np.zeros(len(rows)))[:, None] * np.arange(1, horizon + 1)


def median_of_last(rows: Floats, horizon: int) -> Floats:
    """The median of the last 14 values for ever."""
    return np.repeat(median(rows[:, -_MEDIAN_OF:], axis=1, otherwise=rows[:, -1])[:, None], horizon, axis=1)


def seasonal_median(rows: Floats, horizon: int, period: int) -> Floats:
    """The median of the last four values at the same place of the season."""
    short = period * _CYCLES - rows.shape[1]
    if short > 0:
        rows = np.pad(rows, ((0, 0), (short, 0)), constant_values=np.nan)
    cycles = rows[:, -period * _CYCLES :].reshape(len(rows), _CYCLES, period)
    last = np.repeat(rows[:, -1:], period, axis=1)
    return median(cycles, axis=1, otherwise=last)[:, np.arange(horizon) % period]


def theil_sen(rows: Floats, horizon: int) -> Floats:
    """The line whose slope is the median of all slopes between two of the last 24 values."""
    recent = rows[:, -_RECENT:]
    early, late = np.triu_indices(recent.shape[1], 1)
    slope = median((recent[:, late] - recent[:, early]) / (late - early), axis=1, otherwise=np.zeros(len(rows)))
    at = np.arange(recent.shape[1]) - (recent.shape[1] - 1)
    level = median(recent - slope[:, None] * at, axis=1, otherwise=rows[:, -1])
    return level[:, None] + slope[:, None] * np.arange(1, horizon + 1)


def simple_smoothing(rows: Floats, horizon: int) -> Floats:
    """Simple exponential smoothing."""
    return np.repeat(level_of(rows)[:, None], horizon, axis=1)


def theta(rows: Floats, horizon: int) -> Floats:
    """Theta with lines 0 and 2: simple smoothing with half of the slope of the whole history."""
    level, slope = line_through(rows)
    line = level[:, None] + slope[:, None] * np.arange(1 - rows.shape[1], 1)
    doubled = level_of(2 * rows - line)
    return 0.5 * (doubled[:, None] + level[:, None] + slope[:, None] * np.arange(1, horizon + 1))


def damped_trend(rows: Floats, horizon: int) -> Floats:
    """Exponential smoothing with a trend that dies away."""
    level, slope, phi = trend_of(rows)
    return level[:, None] + slope[:, None] * np.cumsum(phi[:, None] ** np.arange(1, horizon + 1), axis=1)


def median(values: Floats, *, axis: int, otherwise: Floats) -> Floats:
    """Return the median of what is finite; np.nanmedian is thirty times slower, and warns."""
    ordered = np.sort(values, axis=axis)  # NaN last
    count = np.isfinite(values).sum(axis=axis)
    at = [np.expand_dims(np.maximum(place, 0), axis) for place in ((count - 1) // 2, count // 2)]
    low, high = (np.take_along_axis(ordered, np.minimum(one, values.shape[axis] - 1), axis).squeeze(axis) for one in at)
    return np.where(count > 0, 0.5 * (low + high), otherwise)


_PLAIN: dict[str, Callable[[Floats, int], Floats]] = {
    "simple smoothing": simple_smoothing,
    "Theta": theta,
    "damped trend": damped_trend,
}
_OTHERS: dict[str, Callable[[Floats, int], Floats]] = {
    "drift": drift,
    "median change": median_change,
    "Theil-Sen": theil_sen,
    "last value": last_value,
    "median of 14": median_of_last,
}


def forecasts_of(rows: Floats, horizon: int, period: int) -> dict[str, Floats]:
    """Return the forecast (R, H) of each method; without a season (period 1) of those that need none."""
    made = {name: method(rows, horizon) for name, method in _OTHERS.items()}
    if period <= 1:
        return {**made, **{name: method(rows, horizon) for name, method in _PLAIN.items()}}
    season = season_of(rows, period)
    factor, behind, ahead = season.factor[:, None], season.over(rows.shape[1]), season.ahead(horizon)
    bare = np.where(factor, rows / np.where(factor & (behind != 0), behind, 1.0), rows - behind)
    for name, method in _PLAIN.items():
        plain, without = np.split(method(np.concatenate([rows, bare]), horizon), 2)
        made[name] = plain
        made[f"{name}, seasonal"] = np.where(factor, without * ahead, without + ahead)
    return {
        **made,
        "seasonal median": seasonal_median(rows, horizon, period),
        "Holt-Winters, added": holt_winters(rows, horizon, period, multiplied=False),
        "Holt-Winters, multiplied": holt_winters(rows, horizon, period, multiplied=True),
    }


class Selected(NamedTuple):
    """Forecasts (R, H), and what the same methods with the same weights would have said before.

    `made` (M, R, H): what each method says, in the order of `forecasts_of`. `names`: what each row is the mean of, the
    heaviest first. `errors` (O, R, H): truth - forecast at the earlier origins, NaN where either is not there. `scale`
    (R,): their mean absolute, NaN for a row too short to have any.
    """

    mean: Floats
    made: Floats
    names: tuple[tuple[str, ...], ...]
    errors: Floats
    scale: Floats


def select(rows: Floats, horizon: int, period: int) -> Selected:
    """Forecast each row by the weighted mean of the four methods that did best at twelve earlier origins.

    Earlier forecasts are made from shorter histories, as they would have been then, up to 24 steps back, each judged
    by its mean absolute error over the steps that are known by now. Nothing falls below 0 where no value did. A row
    without any earlier forecast is the mean of all methods.
    """
    if len(rows) > _CHUNK:
        parts = [select(rows[at : at + _CHUNK], horizon, period) for at in range(0, len(rows), _CHUNK)]
        return Selected(
            np.concatenate([part.mean for part in parts]),
            np.concatenate([part.made for part in parts], axis=1),
            tuple(names for part in parts for names in part.names),
            np.concatenate([part.errors for part in parts], axis=1),
            np.concatenate([part.scale for part in parts]),
        )
    made, names = _made(rows, horizon, period)  # (M, 1 + O, R, H)
    truth = _known(rows, horizon)  # (O, R, H)
    wrong = truth - made[:, 1:]
    error = _mean(_mean(np.abs(wrong), axis=3), axis=1)  # (M, R), NaN = never judged
    judged = np.isfinite(error).any(axis=0)
    error = np.where(np.isfinite(error), error, np.inf)
    order = np.argsort(error, axis=0, kind="stable")
    rank = np.argsort(order, axis=0, kind="stable")
    floor = np.maximum(1e-6 * np.abs(rows[:, -1]), np.finfo(np.float64).tiny ** 0.25)
    weights = np.where((rank < BEST) & np.isfinite(error), np.maximum(error, floor) ** -2.0, 0.0)
    weights = np.where(judged, weights, 1.0)
    weights /= weights.sum(axis=0)
    combined = np.einsum("mr,morh->orh", weights, made)
    errors = truth - combined[1:]
    chosen = tuple(tuple(names[one] for one in order[:, row] if weights[one, row] > 0) for row in range(len(rows)))
    return Selected(combined[0], made[:, 0], chosen, errors, _mean(np.abs(errors), axis=(0, 2)))


def _made(rows: Floats, horizon: int, period: int) -> tuple[Floats, list[str]]:
    """Return what every method says now and at the earlier origins (M, 1 + O, R, H), NaN where history is too short."""
    count, width = rows.shape
    stacked = np.full((1 + len(ORIGINS), count, width), np.nan)
    stacked[0] = rows
    for place, back in enumerate(ORIGINS, 1):
        stacked[place, :, back:] = rows[:, : max(width - back, 0)]
    flat = stacked.reshape(-1, width)
    enough = np.flatnonzero(lengths(flat) >= _LEAST)
    told = forecasts_of(flat[enough], horizon, period)
    made = np.full((len(told), len(flat), horizon), np.nan)
    floor = np.where(np.nanmin(flat[enough], axis=1) >= 0, 0.0, -np.inf)[:, None]
    for place, one in enumerate(told.values()):
        made[place, enough] = np.maximum(np.where(np.isfinite(one), one, flat[enough, -1:]), floor)
    return made.reshape(len(told), 1 + len(ORIGINS), count, horizon), list(told)


def _known(rows: Floats, horizon: int) -> Floats:
    """Return what came after each earlier origin (O, R, H), NaN for what is still to come."""
    width = rows.shape[1]
    places = width - np.array(ORIGINS)[:, None] + np.arange(horizon)
    there = (places >= 0) & (places < width)
    return np.where(there[:, None, :], rows[:, np.clip(places, 0, width - 1)].swapaxes(0, 1), np.nan)


def _mean(values: Floats, *, axis: int | tuple[int, ...]) -> Floats:
    """The mean of what is finite, NaN of nothing."""
    there = np.isfinite(values)
    count = there.sum(axis=axis)
    total = np.where(there, values, 0.0).sum(axis=axis)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
