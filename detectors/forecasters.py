"""Simple forecasters, and the selection among them that has to be beaten.

Enters: histories (R, T), the newest value last, NaN before their beginning. Leaves: forecasts (R, H). Every method
works on all rows at once, so that one series at many origins, or many series at one, cost about the same. The
smoothing constants of a row are those of a small grid with the least squared one-step error of that row alone.

SES, damped trend and Holt-Winters after Gardner, "Exponential smoothing: the state of the art, part II" (2006);
Theta after Assimakopoulos and Nikolopoulos (2000); the slope of medians after Theil (1950) and Sen (1968).
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Forecaster = Callable[[Floats, int], Floats]

ORIGINS = 12
BEST = 3
_LEAST = 3  # values of a history that can be forecast at all
_ALPHA = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9)
_TREND = tuple(product((0.1, 0.3, 0.6, 0.9), (0.05, 0.2, 0.5), (0.8, 0.9, 0.98)))
_SEASONAL = tuple(product((0.1, 0.3, 0.6), (0.0, 0.1), (0.1, 0.4)))
_RECENT = 24
_MEDIAN_OF = 14


class Season(NamedTuple):
    """What a season adds or multiplies (R, m), the last column that of the newest value; `factor` says which (R,)."""

    parts: Floats
    factor: NDArray[np.bool_]


def lengths(rows: Floats) -> NDArray[np.int64]:
    """Return how many values each row has; those before the first finite one are not there."""
    there = np.isfinite(rows)
    return np.where(there.any(axis=1), rows.shape[1] - there.argmax(axis=1), 0)


def last_value(rows: Floats, horizon: int) -> Floats:
    """The newest value for ever."""
    return np.repeat(rows[:, -1:], horizon, axis=1)


def drift(rows: Floats, horizon: int) -> Floats:
    """The line from the first value to the last, continued."""
    count = lengths(rows)
    first = rows[np.arange(len(rows)), rows.shape[1] - np.maximum(count, 1)]
    slope = (rows[:, -1] - first) / np.maximum(count - 1, 1)
    return rows[:, -1:] + slope[:, None] * np.arange(1, horizon + 1)


def median_of_last(rows: Floats, horizon: int) -> Floats:
    """The median of the last 14 values for ever."""
    middle = np.nanmedian(rows[:, -_MEDIAN_OF:], axis=1)
    return np.repeat(middle[:, None], horizon, axis=1)


def theil_sen(rows: Floats, horizon: int) -> Floats:
    """The line whose slope is the median of all slopes between two of the last 24 values."""
    recent = rows[:, -_RECENT:]
    early, late = np.triu_indices(recent.shape[1], 1)
    slope = np.nanmedian((recent[:, late] - recent[:, early]) / (late - early), axis=1)
    at = np.arange(recent.shape[1]) - (recent.shape[1] - 1)
    level = np.nanmedian(recent - slope[:, None] * at, axis=1)
    return level[:, None] + slope[:, None] * np.arange(1, horizon + 1)


def simple_smoothing(rows: Floats, horizon: int) -> Floats:
    """Simple exponential smoothing."""
    alpha = np.array(_ALPHA)
    level, _, _ = _smoothed(rows, alpha, np.zeros_like(alpha), np.zeros_like(alpha))
    return np.repeat(level[:, None], horizon, axis=1)


def theta(rows: Floats, horizon: int) -> Floats:
    """Theta with lines 0 and 2: simple smoothing with half of the slope of the whole history."""
    count = lengths(rows).astype(np.float64)
    place = np.arange(rows.shape[1]) - (rows.shape[1] - 1) + (count[:, None] - 1)
    there = np.isfinite(rows)
    mean_at, mean = (count - 1) / 2, np.nanmean(rows, axis=1)
    off = np.where(there, place - mean_at[:, None], 0.0)
    slope = np.where(there, off * (rows - mean[:, None]), 0.0).sum(axis=1) / np.maximum((off**2).sum(axis=1), 1e-12)
    alpha = np.array(_ALPHA)
    doubled = np.where(there, 2 * rows - (mean[:, None] + slope[:, None] * (place - mean_at[:, None])), np.nan)
    level, _, _ = _smoothed(doubled, alpha, np.zeros_like(alpha), np.zeros_like(alpha))
    ahead = np.arange(1, horizon + 1)
    line = mean[:, None] + slope[:, None] * ((count - 1 - mean_at)[:, None] + ahead)
    return 0.5 * (level[:, None] + line)


def damped_trend(rows: Floats, horizon: int) -> Floats:
    """Exponential smoothing with a trend that dies away."""
    alpha, beta, phi = (np.array(part) for part in zip(*_TREND, strict=True))
    level, slope, damping = _smoothed(rows, alpha, beta, phi)
    return level[:, None] + slope[:, None] * np.cumsum(damping[:, None] ** np.arange(1, horizon + 1), axis=1)


def _smoothed(rows: Floats, alpha: Floats, beta: Floats, phi: Floats) -> tuple[Floats, Floats, Floats]:
    """Return level, slope and damping (R,) at the end, with the constants of the grid (G,) that suit each row best."""
    count = len(rows)
    level = np.full((count, len(alpha)), np.nan)
    slope = np.zeros((count, len(alpha)))
    error = np.zeros((count, len(alpha)))
    seen = np.zeros(count, np.int64)
    for column in rows.T:
        there = np.isfinite(column)
        value = np.where(there, column, 0.0)[:, None]
        began = (seen > 0)[:, None]
        foretold = level + phi * slope
        wrong = np.where(began, value - foretold, 0.0)
        error += np.where(there[:, None], wrong**2, 0.0)
        new_level = np.where(began, foretold + alpha * wrong, value)
        new_slope = np.where((seen == 1)[:, None] & (phi > 0), value - level, phi * slope + alpha * beta * wrong)
        level = np.where(there[:, None], new_level, level)
        slope = np.where(there[:, None], np.where(began, new_slope, 0.0), slope)
        seen += there
    best = error.argmin(axis=1)
    at = np.arange(count)
    return level[at, best], slope[at, best], phi[best]


def season_of(rows: Floats, period: int) -> Season:
    """Return the season of each row by classical decomposition; rows shorter than two periods have none."""
    count, width = rows.shape
    factor = np.nanmin(rows, axis=1) > 0
    half = period // 2
    weights = np.ones(period + 1) / period if period % 2 == 0 else np.ones(period) / period
    if period % 2 == 0:
        weights[[0, -1]] /= 2
    parts = np.where(factor, 1.0, 0.0)[:, None].repeat(period, axis=1)
    if width >= 2 * period:
        windows = np.lib.stride_tricks.sliding_window_view(rows, len(weights), axis=1)
        trend = windows @ weights  # (R, width - 2 half), NaN where anything of it is missing
        inner = rows[:, half : half + trend.shape[1]]
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.where(factor[:, None], inner / trend, inner - trend)
        place = (np.arange(width)[half : half + trend.shape[1]] - (width - period)) % period
        found = np.stack([np.nanmedian(ratio[:, place == one], axis=1) for one in range(period)], axis=1)
        whole = np.isfinite(found).all(axis=1) & (lengths(rows) >= 2 * period)
        mean = np.where(whole, found.mean(axis=1), 1.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            evened = np.where(factor[:, None], found / mean[:, None], found - mean[:, None])
        parts = np.where(whole[:, None], evened, parts)
    assert parts.shape == (count, period)  # noqa: S101 - one for each place
    return Season(parts, factor)


def seasonal(forecast: Forecaster, period: int) -> Forecaster:
    """Return `forecast` on histories without their season, which it is given back."""

    def with_season(rows: Floats, horizon: int) -> Floats:
        season = season_of(rows, period)
        width = rows.shape[1]
        behind = season.parts[:, (np.arange(width) - (width - period)) % period]
        ahead = season.parts[:, np.arange(horizon) % period]
        factor = season.factor[:, None]
        with np.errstate(divide="ignore", invalid="ignore"):
            bare = np.where(factor, rows / behind, rows - behind)
        plain = forecast(bare, horizon)
        return np.where(factor, plain * ahead, plain + ahead)

    return with_season


def holt_winters(rows: Floats, horizon: int, period: int, *, multiplied: bool) -> Floats:
    """Exponential smoothing with level, trend and a season that is added, or multiplied where all values are above 0."""
    season = season_of(rows, period)
    count, width = rows.shape
    by_factor = season.factor & multiplied
    alpha, beta, gamma = (np.array(part) for part in zip(*_SEASONAL, strict=True))
    factor = by_factor[:, None]
    middle = np.nanmean(rows, axis=1)[:, None]
    added = np.where(season.factor[:, None], (season.parts - 1) * middle, season.parts)
    start = np.where(factor, season.parts, added)
    parts = np.repeat(start[:, None, :], len(alpha), axis=1)  # (R, G, period)
    level = np.full((count, len(alpha)), np.nan)
    slope, error = np.zeros((count, len(alpha))), np.zeros((count, len(alpha)))
    seen = np.zeros(count, np.int64)
    for at, column in enumerate(rows.T):
        place = (at - (width - period)) % period
        there = np.isfinite(column)[:, None]
        value = np.where(there, column[:, None], 0.0)
        part = parts[:, :, place]
        with np.errstate(divide="ignore", invalid="ignore"):
            bare = np.where(factor, value / np.where(part == 0, 1.0, part), value - part)
        began = (seen > 0)[:, None]
        foretold = level + slope
        wrong = value - np.where(factor, foretold * part, foretold + part)
        error += np.where(there & began, wrong**2, 0.0)
        new_level = np.where(began, foretold + alpha * (bare - foretold), bare)
        new_slope = np.where(began, slope + alpha * beta * (bare - foretold), 0.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            shown = np.where(factor, value / np.where(new_level == 0, 1.0, new_level), value - new_level)
        parts[:, :, place] = np.where(there & began, part + gamma * (shown - part), part)
        level, slope = np.where(there, new_level, level), np.where(there, new_slope, slope)
        seen += there[:, 0]
    best = error.argmin(axis=1)
    rows_at = np.arange(count)
    ahead = np.arange(1, horizon + 1)
    line = level[rows_at, best][:, None] + slope[rows_at, best][:, None] * ahead
    wave = parts[rows_at, best][:, (ahead - 1) % period]
    return np.where(factor, line * wave, line + wave)


def candidates(period: int) -> Mapping[str, Forecaster]:
    """Return the forecasters to select from; without a season (period 1) those that need none."""
    plain: dict[str, Forecaster] = {
        "simple smoothing": simple_smoothing,
        "theta": theta,
        "damped trend": damped_trend,
        "drift": drift,
        "Theil-Sen": theil_sen,
        "last value": last_value,
        "median of 14": median_of_last,
    }
    if period <= 1:
        return plain
    smooth = {name: plain[name] for name in ("simple smoothing", "theta", "damped trend")}
    return {
        **plain,
        **{f"{name}, seasonal": seasonal(forecast, period) for name, forecast in smooth.items()},
        "Holt-Winters, added": lambda rows, horizon: holt_winters(rows, horizon, period, multiplied=False),
        "Holt-Winters, multiplied": lambda rows, horizon: holt_winters(rows, horizon, period, multiplied=True),
    }


class Selected(NamedTuple):
    """Forecasts (R, H), the names of what they are the mean of, and the mean absolute error of the best (R,)."""

    mean: Floats
    names: tuple[tuple[str, ...], ...]
    error: Floats


def select(rows: Floats, horizon: int, period: int, *, origins: int = ORIGINS, best: int = BEST) -> Selected:
    """Forecast each row by the mean of the `best` methods of its own past: those of `origins` earlier forecasts.

    Earlier forecasts are made from shorter histories, as they would have been then, and judged by their mean absolute
    error over the horizon. A row too short for one is forecast by the mean of all. Nothing falls below 0 where no
    value of the history did.
    """
    methods = candidates(period)
    count, width = rows.shape
    made = np.stack([_tidy(forecast(rows, horizon), rows) for forecast in methods.values()])  # (M, R, H)
    errors = np.full((len(methods), origins, count), np.nan)
    known = lengths(rows)
    for origin in range(origins):
        back = horizon + origin
        enough = known - back >= max(_LEAST, min(2 * period, width // 2))
        if back >= width or not enough.any():
            continue
        before, after = rows[enough, : width - back], rows[enough, width - back : width - back + horizon]
        for place, forecast in enumerate(methods.values()):
            told = _tidy(forecast(before, horizon), before)
            errors[place, origin, enough] = np.nanmean(np.abs(told - after), axis=1)
    judged = np.isfinite(errors).any(axis=(0, 1))
    mean_error = np.full((len(methods), count), np.nan)
    mean_error[:, judged] = np.nanmean(errors[:, :, judged], axis=1)
    order = np.argsort(np.where(np.isfinite(mean_error), mean_error, np.inf), axis=0, kind="stable")[:best]  # (B, R)
    chosen = np.take_along_axis(made, order[:, :, None], axis=0).mean(axis=0)
    names = list(methods)
    mean = np.where(judged[:, None], chosen, made.mean(axis=0))
    picked = tuple(
        tuple(names[one] for one in column) if judged[row] else tuple(names) for row, column in enumerate(order.T.tolist())
    )
    return Selected(mean, picked, np.where(judged, np.take_along_axis(mean_error, order[:1], axis=0)[0], np.nan))


def _tidy(told: Floats, rows: Floats) -> Floats:
    """Return a forecast that is finite, and not below 0 where no value was."""
    told = np.where(np.isfinite(told), told, rows[:, -1:])
    floor = np.where(np.nanmin(rows, axis=1) >= 0, 0.0, -np.inf)
    return np.maximum(told, floor[:, None])


def names_of(selected: Sequence[Sequence[str]]) -> Mapping[str, int]:
    """Count how often each method was among the best."""
    counted: dict[str, int] = {}
    for names in selected:
        for name in names:
            counted[name] = counted.get(name, 0) + 1
    return counted
