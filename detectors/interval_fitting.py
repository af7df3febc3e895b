"""Fits the table of intervals on series whose future is known; used before shipping, never by the daemon.

Enters: histories, the errors of earlier origins, and the errors that came. Leaves: an IntervalTable. The quantiles are
fitted by the pinball loss on one half of the rows, and moved until they hold on the other (conformalized quantile
regression: Romano, Patterson and Candes, 2019).
"""

import numpy as np

from detectors.forecasts import STEPS, Floats
from detectors.intervals import IntervalTable, features_of, growth_of

# What each of LEVELS is made to hold: real hosts surprise more than simulated ones, and most of all where it is rare.
AIMED = (0.0225, 0.1, 0.9, 0.9775)
_STEPS = 600
_FARTHEST = 30.0  # units of a row's own error
_LEAST = 0.05


def fit_table(rows: Floats, errors: Floats, unit: Floats, came: Floats) -> IntervalTable:
    """Return the table of `rows` (R, T) with earlier `errors` (O, R, 12), `unit` (R,), and the errors that `came`.

    `came` (R, 12) are those of the forecast from the end of the rows. Every second row fits, the others calibrate.
    Raises ValueError unless there are rows for both.
    """
    if len(rows) < 2 * STEPS:
        raise ValueError(f"{len(rows)} rows are too few to fit intervals on")
    exponent = _exponent(errors, unit)
    scaled = np.clip(came / (unit[:, None] * growth_of(errors, unit, exponent)), -_FARTHEST, _FARTHEST)
    features = features_of(rows)
    centre, spread = features.mean(axis=0), np.maximum(features.std(axis=0), 1e-9)
    z = np.clip((features - centre) / spread, -3.0, 3.0)
    base, slopes = np.empty((len(AIMED), STEPS)), np.empty((len(AIMED), features.shape[1]))
    for place, level in enumerate(AIMED):
        sign, share = (1.0, level) if level > 0.5 else (-1.0, 1 - level)  # noqa: PLR2004 - the median
        fitted, slopes[place] = _fit(sign * scaled[::2], z[::2], share)
        held = np.exp(fitted + (z[1::2] @ slopes[place])[:, None])
        off = np.quantile(np.maximum(sign * scaled[1::2], 0.0) / held, share, axis=0)
        base[place] = fitted + np.log(np.maximum(off, _LEAST))
    return IntervalTable(exponent, base, slopes, centre, spread)


def _exponent(errors: Floats, unit: Floats) -> float:
    """Return by which power of the step errors grow in the middle of all rows."""
    size = np.abs(errors) / unit[:, None]
    there = np.isfinite(size)
    mean = np.where(there, size, 0.0).sum(axis=(0, 1)) / np.maximum(there.sum(axis=(0, 1)), 1)
    return float(np.polyfit(np.log(np.arange(1, STEPS + 1)), np.log(np.maximum(mean, _LEAST)), 1)[0])


def _fit(scaled: Floats, z: Floats, share: float) -> tuple[Floats, Floats]:
    """Minimise the pinball loss of exp(base[h] + slopes @ z) for the quantile `share` of `scaled` (R, 12), by Adam."""
    base = np.log(np.maximum(np.quantile(scaled, share, axis=0), _LEAST))
    parameters = np.concatenate([base, np.zeros(z.shape[1])])
    first, second = np.zeros_like(parameters), np.zeros_like(parameters)
    scale = np.exp(base)
    for step in range(1, _STEPS + 1):
        width = np.exp(parameters[:STEPS] + (z @ parameters[STEPS:])[:, None])
        pull = np.where(scaled > width, -share, 1 - share) * width / scale
        gradient = np.concatenate([pull.mean(axis=0), (pull.mean(axis=1)[:, None] * z).mean(axis=0)])
        first = 0.9 * first + 0.1 * gradient
        second = 0.98 * second + 0.02 * gradient**2
        rate = 0.03 * (1 - step / _STEPS) + 0.001
        parameters -= rate * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.98**step)) + 1e-8)
    return parameters[:STEPS], parameters[STEPS:]
