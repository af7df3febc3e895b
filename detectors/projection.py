"""Where one factor goes: its level, how fast it changes, and when its limit is reached, in figures.

Enters: the samples of one factor, NaN = missing. Leaves: a `Projection`, from which sentences are made elsewhere.
"""

from dataclasses import dataclass
from math import inf, isfinite, nan

import numpy as np
from numpy.typing import NDArray

from detectors.factor_features import SPAN, WINDOWS
from detectors.factors import Factor

Floats = NDArray[np.float64]

_NOW = 3
_RATE_OF = 15  # samples: what counts events is told by a mean
_LEAST = 15  # samples that make a line: after fewer, what a start brings looks like growth
_SURE = 3.0  # standard errors from which on it moves
_THIN = 12  # the day's line is drawn through every so many samples


@dataclass(frozen=True, slots=True)
class Projection:
    """`level` in the factor's unit, `usual` what it used to be, NaN = not known.

    `per_second`: how fast it changes, 0 = it stands still; `seconds`: until it comes to its limit at this rate, inf =
    never, or it has none.
    """

    level: float
    usual: float
    per_second: float
    seconds: float


def project(values: Floats, factor: Factor, interval_seconds: float) -> Projection:
    """Return where `values` (T,) of `factor` go: by the line, of four lengths, that comes to the limit first."""
    values = values[-SPAN:]
    there = np.flatnonzero(np.isfinite(values))
    if not len(there):
        return Projection(nan, nan, 0.0, inf)
    count = _NOW if factor.limit is not None or factor.falls else _RATE_OF
    recent = values[-count:]
    level = float(np.mean(recent[np.isfinite(recent)])) if np.isfinite(recent).any() else float(values[there[-1]])
    before = values[: -WINDOWS[1]]
    before = before[np.isfinite(before)]
    usual = float(np.median(before)) if len(before) >= WINDOWS[1] else nan
    if factor.limit is None:
        return Projection(level, usual, 0.0, inf)
    best = Projection(level, usual, 0.0, inf)
    for width in (*WINDOWS, SPAN):
        part = values[-width:] if width < SPAN else values[::-_THIN][::-1]
        step = interval_seconds if width < SPAN else interval_seconds * _THIN
        rate = _rate(part, step)
        seconds = max(factor.limit - level, 0.0) / rate if rate > 0 else inf
        if seconds < best.seconds or (best.per_second == 0 and not isfinite(best.seconds)):
            best = Projection(level, usual, rate, seconds)
    return best


def _rate(values: Floats, step: float) -> float:
    """Return the slope per second of the line through `values` (W,), 0 where it cannot be told from none."""
    at = np.flatnonzero(np.isfinite(values))
    if len(at) < _LEAST:
        return 0.0
    time, known = at * step, values[at]
    away = time - time.mean()
    square = float(away @ away)
    slope = float(away @ (known - known.mean())) / square
    rest = known - known.mean() - slope * away
    error = np.sqrt(float(rest @ rest) / (len(at) - 2) / square)
    return (
        slope if abs(slope) > _SURE * error and abs(slope) * (time[-1] - time[0]) > 1e-4 * np.abs(known).max() else 0.0
    )
