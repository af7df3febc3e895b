"""Exponential smoothing of many rows at once, and the season that is taken out before it.

Enters: rows (R, T), the newest value last, NaN before their beginning. Leaves: level, slope and damping (R,) at the
end, or a forecast. The constants of each row are those of a grid with the least squared one-step error. After
Gardner, "Exponential smoothing: the state of the art, part II" (2006).
"""

from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.forecasts import Floats

_ALPHA = np.array((0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.99))
_LEVEL = np.stack([_ALPHA, 0 * _ALPHA, 0 * _ALPHA])
_TREND = np.array(tuple(product((0.05, 0.15, 0.3, 0.5, 0.7, 0.9), (0.02, 0.1, 0.3), (0.8, 0.9, 0.97)))).T
_SEASONAL = np.array(tuple(product((0.1, 0.3, 0.6), (0.02, 0.2), (0.05, 0.2), (0.9, 0.98)))).T
_EARLY = 10  # points that give the first level and slope
_LEAST_CYCLES = 4  # from here on the extremes of each place are left out
_TINY = 1e-12
# NumPy makes this name anew for each view of windows: while it stands nowhere, Python's table of strings grows by it.
_NAME_IN_VIEWS = "typestr"


class Season(NamedTuple):
    """What a season adds or multiplies (R, m), the last column that of the newest value; `factor` says which (R,)."""

    parts: Floats
    factor: NDArray[np.bool_]

    def over(self, width: int) -> Floats:
        """Return the part of each of the last `width` values (R, width)."""
        period = self.parts.shape[1]
        return self.parts[:, (np.arange(width) - width) % period]

    def ahead(self, horizon: int) -> Floats:
        """Return the part of each value to come (R, horizon)."""
        return self.parts[:, np.arange(horizon) % self.parts.shape[1]]


def lengths(rows: Floats) -> NDArray[np.int64]:
    """Return how many values each row has (R,); those before the first finite one are not there."""
    there = np.isfinite(rows)
    return np.where(there.any(axis=1), rows.shape[1] - there.argmax(axis=1), 0)


def firsts(rows: Floats) -> Floats:
    """Return the oldest value of each row (R,)."""
    oldest: Floats = rows[np.arange(len(rows)), np.minimum(rows.shape[1] - lengths(rows), rows.shape[1] - 1)]
    return oldest


def line_through(rows: Floats) -> tuple[Floats, Floats]:
    """Return level at the newest value and slope a step (R,) of the least-squares line of each row."""
    there = np.isfinite(rows)
    at = np.arange(rows.shape[1]) - (rows.shape[1] - 1.0)
    count = np.maximum(there.sum(axis=1), 1)
    middle = (there * at).sum(axis=1) / count
    mean = np.where(there, rows, 0.0).sum(axis=1) / count
    off = np.where(there, at - middle[:, None], 0.0)
    slope = np.where(there, off * (rows - mean[:, None]), 0.0).sum(axis=1) / np.maximum((off**2).sum(axis=1), _TINY)
    return mean - slope * middle, slope


def level_of(rows: Floats) -> Floats:
    """Return the level (R,) at the end by simple exponential smoothing."""
    return _smoothed(rows, _LEVEL, firsts(rows), np.zeros(len(rows)))[0]


def trend_of(rows: Floats) -> tuple[Floats, Floats, Floats]:
    """Return level, slope and damping (R,) at the end by smoothing with a trend that dies away."""
    return _smoothed(rows, _TREND, *_before(rows))


def _before(rows: Floats) -> tuple[Floats, Floats]:
    """Return level one step before the first value, and slope (R,), by the line through the first ten values."""
    start = rows.shape[1] - lengths(rows)
    places = start[:, None] + np.arange(_EARLY)
    early = np.where(
        places < rows.shape[1], np.take_along_axis(rows, np.minimum(places, rows.shape[1] - 1), axis=1), np.nan
    )
    level, slope = line_through(early)
    return level - slope * _EARLY, slope


def _smoothed(rows: Floats, grid: Floats, level_before: Floats, slope_before: Floats) -> tuple[Floats, Floats, Floats]:
    """Run the recursion for each constant of `grid` (3, G), and return what the best of each row ends with."""
    count, width = rows.shape
    alpha, beta, phi = grid
    alpha_beta = alpha * beta
    there = np.isfinite(rows)
    values, whole = np.where(there, rows, 0.0), np.asarray(there.all(axis=0))
    level = np.repeat(level_before[:, None], len(alpha), axis=1)
    slope = np.repeat(slope_before[:, None], len(alpha), axis=1)
    error = np.zeros_like(level)
    for at in range(int(width - lengths(rows).max(initial=0)), width):
        kept = phi * slope
        foretold = level + kept
        wrong = values[:, at, None] - foretold
        if whole[at]:
            level, slope = foretold + alpha * wrong, kept + alpha_beta * wrong
        else:
            here = there[:, at, None]
            wrong *= here
            level, slope = (
                np.where(here, foretold + alpha * wrong, level),
                np.where(here, kept + alpha_beta * wrong, slope),
            )
        error += wrong * wrong
    best, row = error.argmin(axis=1), np.arange(count)
    return level[row, best], slope[row, best], phi[best]


def season_of(rows: Floats, period: int, *, shrunk: bool = True) -> Season:
    """Return the season of each row by classical decomposition; rows shorter than two periods have none.

    It multiplies where all values are above 0. `shrunk`: drawn towards none by its own uncertainty (James-Stein, after
    Miller and Williams, "Shrinkage estimators of time series seasonal factors", 2003), so that a season that is
    noise does no harm.
    """
    count, width = rows.shape
    factor = np.nanmin(rows, axis=1) > 0
    none = np.repeat(np.where(factor, 1.0, 0.0)[:, None], period, axis=1)
    if period <= 1 or width < 2 * period:
        return Season(none, factor)
    weights = np.full(period + 1 - period % 2, 1 / period)
    if period % 2 == 0:
        weights[[0, -1]] /= 2
    trend = np.lib.stride_tricks.sliding_window_view(rows, len(weights), axis=1) @ weights
    half = len(weights) // 2
    inner = rows[:, half : half + trend.shape[1]]
    apart = np.where(factor[:, None], inner / np.where(factor[:, None], trend, 1.0), inner - trend)
    places = (np.arange(half, half + trend.shape[1]) - width) % period
    cycles = -(-trend.shape[1] // period)
    table = np.full((count, period, cycles), np.nan)
    for place in range(period):
        found = apart[:, places == place]
        table[:, place, : found.shape[1]] = found
    parts, variance = _centre(table)
    known = np.isfinite(parts).all(axis=1) & (lengths(rows) >= 2 * period)
    mean = np.where(known, parts.mean(axis=1), 1.0)[:, None]
    parts = np.where(factor[:, None], parts / np.where(factor[:, None], mean, 1.0), parts - mean)
    if shrunk and period > 3:  # noqa: PLR2004 - the estimator needs more than three places
        spread = ((parts - none) ** 2).sum(axis=1) / (period - 1)
        doubt = np.minimum(variance, 4 * spread) / np.where(spread > 0, spread, 1.0)  # beyond that, nothing is kept
        kept = np.maximum(1 - (period - 3) / (period - 1) * doubt, 0.0)
        parts = none + kept[:, None] * (parts - none)
    return Season(np.where(known[:, None], parts, none), factor)


def _centre(table: Floats) -> tuple[Floats, Floats]:
    """Return the trimmed mean of each place (R, m), and the mean variance of these means (R,)."""
    there = np.isfinite(table)
    number = there.sum(axis=2)
    filled = np.where(there, table, 0.0)
    total = filled.sum(axis=2)
    trimmed = number >= _LEAST_CYCLES
    with np.errstate(invalid="ignore", divide="ignore"):
        extremes = np.where(there, table, -np.inf).max(axis=2) + np.where(there, table, np.inf).min(axis=2)
        centre = np.where(trimmed, total - extremes, total) / (number - 2 * trimmed)
        off = np.where(there, table - (total / number)[:, :, None], 0.0)
        variance = (off**2).sum(axis=2) / number / np.maximum(number - 1, 1)
    return centre, np.where(np.isfinite(variance), variance, 0.0).mean(axis=1)


def holt_winters(rows: Floats, horizon: int, period: int, *, multiplied: bool) -> Floats:
    """Forecast (R, H) by level, damped trend and a season that is added, or multiplied where all values are above 0."""
    season = season_of(rows, period, shrunk=False)
    count, width = rows.shape
    by = (season.factor & multiplied)[:, None]
    scale = np.nanmean(rows, axis=1)[:, None]
    parts = np.where(by | ~season.factor[:, None], season.parts, (season.parts - 1) * scale)
    alpha, beta, gamma, phi = _SEASONAL
    waves = np.repeat(parts.T[:, :, None], len(alpha), axis=2)  # (m, R, G)
    start = Season(parts, season.factor).over(width)
    bare = np.where(by, rows / np.where(start == 0, 1.0, start), rows - start)
    level, slope = (np.repeat(part[:, None], len(alpha), axis=1) for part in _before(bare))
    there = np.isfinite(rows)
    values, error = np.where(there, rows, 0.0), np.zeros_like(level)
    for at in range(int(width - lengths(rows).max(initial=0)), width):
        place = (at - width) % period
        value, here, part = values[:, at, None], there[:, at, None], waves[place]
        kept = phi * slope
        base = level + kept
        if multiplied:
            foretold = np.where(by, base * part, base + part)
            apart = np.where(by, value / _off_zero(part), value - part)
        else:
            foretold, apart = base + part, value - part
        error += ((value - foretold) * here) ** 2
        wrong = (apart - base) * here
        level, slope = np.where(here, base + alpha * wrong, level), np.where(here, kept + alpha * beta * wrong, slope)
        shown = np.where(by, value / _off_zero(level), value - level) if multiplied else value - level
        waves[place] = np.where(here, part + gamma * (shown - part), part)
    best, row = error.argmin(axis=1), np.arange(count)
    ahead = np.arange(1, horizon + 1)
    line = level[row, best][:, None] + slope[row, best][:, None] * np.cumsum(phi[best][:, None] ** ahead, axis=1)
    wave = waves[:, row, best].T[:, (ahead - 1) % period]
    forecast: Floats = np.where(by, line * wave, line + wave)
    return forecast


def _off_zero(values: Floats) -> Floats:
    return np.where(np.abs(values) < _TINY, _TINY, values)
