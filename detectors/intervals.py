"""How wrong a forecast will be: quantiles of its error at each step, per series.

Enters: histories (R, T), the errors that the same forecaster made at earlier origins, and a table that was fitted on
simulated series. Leaves: quantiles of the error to come, (4, R, 12), in the unit of the series.

An error is scaled by the series' own backtest: its mean absolute error, and how that grows with the step. What is left
is a quantile regression (Koenker and Bassett, "Regression quantiles", 1978) on two features of the history. Where the
host's own backtests are worse than the table says, they rule (split conformal: Vovk et al., 2005).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.forecasts import STEPS, Floats

LEVELS = (0.025, 0.1, 0.9, 0.975)
FEATURES = 2
_EXPONENT_WEIGHT = 10.0  # forecasts at the mean spread of log steps: so many weigh as much as the table's exponent
_LEAST_ERROR = 0.05  # of the mean absolute error: below it a step is luck
_FARTHEST = 3.0  # standard deviations of a feature
_LEAST_POOL = 30  # errors from which on the host's own quantile is asked
_MOST_WIDER = 4.0


@dataclass(frozen=True, slots=True, eq=False)
class IntervalTable:
    """One horizon's table.

    `exponent`: by which power of the step errors grow. The quantile of level i at step h of a row with features x (2,)
    is sign_i * exp(base[i, h] + slopes[i] @ ((x - centre) / spread)), in units of the row's own errors.
    """

    exponent: float
    base: Floats  # (4, 12)
    slopes: Floats  # (4, 2)
    centre: Floats  # (2,)
    spread: Floats  # (2,)

    def quantiles(self, features: Floats) -> Floats:
        """Return (4, R, 12), below zero for the two lower levels."""
        z = np.clip((features - self.centre) / self.spread, -_FARTHEST, _FARTHEST)
        size = np.exp(self.base[:, None, :] + (self.slopes @ z.T)[:, :, None])
        return np.where(np.array(LEVELS)[:, None, None] < 0.5, -size, size)  # noqa: PLR2004 - the median


# Where no table can be read: twice the width of a normal error, so that less is claimed than is known.
FALLBACK = IntervalTable(
    0.5,
    np.log(np.array([[4.9], [3.2], [3.2], [4.9]]) * np.ones(STEPS)),
    np.zeros((len(LEVELS), FEATURES)),
    np.zeros(FEATURES),
    np.ones(FEATURES),
)


def features_of(rows: Floats) -> Floats:
    """Return (R, 2): how heavy the tails of the row's changes are, and what share of its changes is trend.

    The first is log(root mean square / mean absolute) of the changes about their median, 0.23 for a normal
    distribution; the second |mean change| / mean |change|, 1 for a series that only grows.
    """
    changes = np.diff(rows, axis=1)
    there = np.isfinite(changes)
    count = np.maximum(there.sum(axis=1), 1)
    size = np.where(there, np.abs(changes), 0.0).sum(axis=1) / count
    mean = np.where(there, changes, 0.0).sum(axis=1) / count
    ordered = np.sort(changes, axis=1)  # NaN last
    middle = np.take_along_axis(ordered, ((count - 1) // 2)[:, None], axis=1) if changes.shape[1] else changes
    off = np.where(there, changes - middle, 0.0)
    absolute, square = np.abs(off).sum(axis=1) / count, (off**2).sum(axis=1) / count
    varied = square > 0
    ratio = np.where(varied, np.sqrt(square), 1.0) / np.where(varied, absolute, 1.0)
    tails = np.log(np.maximum(ratio, 1.0))
    trend = np.where(size > 0, np.abs(mean) / np.where(size > 0, size, 1.0), 0.0)
    return np.stack([tails, trend], axis=1)


def growth_of(errors: Floats, unit: Floats, exponent: float) -> Floats:
    """Return (R, 12): the size of an error at each step in `unit` (R,), a power law of the step.

    `errors` (O, R, 12) of earlier origins. Its exponent is the row's own as far as it has errors, else `exponent`.
    """
    size = np.abs(errors) / unit[:, None]
    there = np.isfinite(size)
    count = there.sum(axis=0).astype(np.float64)  # (R, 12)
    mean = np.where(there, size, 0.0).sum(axis=0) / np.maximum(count, 1)
    at = np.log(np.arange(1, STEPS + 1))
    told = np.log(np.maximum(mean, _LEAST_ERROR))
    total = np.maximum(count.sum(axis=1), 1e-9)
    middle = np.where(count.any(axis=1), (count * at).sum(axis=1) / total, at.mean())
    level = np.where(count.any(axis=1), (count * told).sum(axis=1) / total, 0.0)
    off = at - middle[:, None]
    weight = (count * off**2).sum(axis=1)
    own = (count * off * (told - level[:, None])).sum(axis=1)
    slope = (own + _EXPONENT_WEIGHT * exponent) / (weight + _EXPONENT_WEIGHT)
    grown: Floats = np.exp(level[:, None] + slope[:, None] * off)
    return grown


def error_quantiles(
    table: IntervalTable, rows: Floats, errors: Floats, unit: Floats, pools: NDArray[np.int64]
) -> Floats:
    """Return quantiles (4, R, 12) of the error to come of `rows` (R, T), whose `errors` (O, R, 12) are known.

    `unit` (R,) is the size of an error. `pools` (R,): rows of one number are of one host, and calibrate each other.
    """
    scale = unit[:, None] * growth_of(errors, unit, table.exponent)
    quantiles = table.quantiles(features_of(rows)) * scale
    if len(rows) == 0:
        return quantiles
    inner, outer = (_beyond(errors, quantiles[lower], quantiles[upper]) for lower, upper in ((1, 2), (0, 3)))
    wider = np.ones((2, len(rows), 1))
    for pool in np.unique(pools):
        own = pools == pool
        for place, (beyond, share) in enumerate(((inner, 0.8), (outer, 0.95))):
            wider[place, own] = _conformal(beyond[:, own], share)
    quantiles *= wider[[1, 0, 0, 1]]
    quantiles[0], quantiles[3] = np.minimum(quantiles[0], quantiles[1]), np.maximum(quantiles[2], quantiles[3])
    return quantiles


def _beyond(errors: Floats, low: Floats, high: Floats) -> Floats:
    """Return how far each error (O, R, 12) reaches in its direction; at 1 it is on the bound."""
    with np.errstate(over="ignore"):
        return np.where(errors >= 0, errors / np.maximum(high, 1e-300), errors / np.minimum(low, -1e-300))


def _conformal(beyond: Floats, share: float) -> float:
    """Return by how much bounds have to be wider to have held `share` of what is known, never less than 1."""
    known = np.sort(beyond[np.isfinite(beyond)])
    rank = int(np.ceil((len(known) + 1) * share))
    if len(known) < _LEAST_POOL or rank > len(known):
        return 1.0
    return float(np.clip(known[rank - 1], 1.0, _MOST_WIDER))


def to_arrays(tables: Mapping[str, IntervalTable]) -> dict[str, Floats]:
    """Return the numbers of `tables` by horizon and name, for a model file."""
    out: dict[str, Floats] = {}
    for name, table in tables.items():
        out[f"{name}.exponent"] = np.array([table.exponent])
        for part in ("base", "slopes", "centre", "spread"):
            out[f"{name}.{part}"] = np.asarray(getattr(table, part), np.float64)
    return out


def from_arrays(arrays: Mapping[str, NDArray[np.generic]], names: tuple[str, ...]) -> dict[str, IntervalTable]:
    """Return the tables that `to_arrays` wrote. Raises KeyError or ValueError unless they are all there and sound."""
    shapes = {
        "base": (len(LEVELS), STEPS),
        "slopes": (len(LEVELS), FEATURES),
        "centre": (FEATURES,),
        "spread": (FEATURES,),
    }
    tables = {}
    for name in names:
        parts = {part: np.asarray(arrays[f"{name}.{part}"], np.float64) for part in shapes}
        exponent = np.asarray(arrays[f"{name}.exponent"], np.float64)
        for part, shape in shapes.items():
            if parts[part].shape != shape or not np.isfinite(parts[part]).all():
                raise ValueError(f"{name}.{part} is not {shape} finite numbers")
        if exponent.shape != (1,) or not np.isfinite(exponent).all() or (parts["spread"] <= 0).any():
            raise ValueError(f"the table of {name} has no exponent or a spread of 0")
        tables[name] = IntervalTable(float(exponent[0]), **parts)
    return tables
