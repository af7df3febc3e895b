"""`daemon.rates` on whole arrays: what is missing there one reading at a time is missing here too.

Enters: the times of the rows, and counters (T,) as float64, NaN = not read. Leaves: rates (T,) as float64.
"""

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]


class ArrayRates:
    """Changes between each row and the one right before it.

    `time_ms` (T,) ascending, `boot` (T,) tells boots apart: between two boots nothing is known, as for a
    daemon that has just started. A pause longer than `gap_seconds` makes every rate missing once.
    """

    def __init__(self, time_ms: NDArray[np.int64], boot: NDArray[np.int64], gap_seconds: float) -> None:
        elapsed = np.full(len(time_ms), np.nan)
        elapsed[1:] = np.diff(time_ms) / 1000
        elapsed[1:][np.diff(boot) != 0] = np.nan
        elapsed[~((elapsed > 0) & (elapsed <= gap_seconds))] = np.nan
        self._elapsed = elapsed

    def per_second(self, total: Vector) -> Vector:
        """Return the change of the counter per second, NaN where it is not known."""
        with np.errstate(over="ignore"):
            return _finite(_rise(total) / self._elapsed)

    def quotient(self, numerator: Vector, denominator: Vector) -> Vector:
        """Return the change of `numerator` per change of `denominator`; 0 where neither moved."""
        above, below = _rise(numerator), _rise(denominator)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            change = above / below
        change[(above == 0) & (below == 0)] = 0.0
        change[np.isnan(self._elapsed)] = np.nan
        return _finite(change)

    def share(self, part: Vector, whole: Vector) -> Vector:
        """Return `quotient` as a ratio of at most 1."""
        return np.minimum(self.quotient(part, whole), 1.0)

    def share_of_time(self, seconds: Vector) -> Vector:
        """Return the share of the elapsed time by which the clock-like counter grew, at most 1."""
        return np.minimum(self.per_second(seconds), 1.0)


def _rise(total: Vector) -> Vector:
    rise = np.full(len(total), np.nan)
    with np.errstate(over="ignore"):
        rise[1:] = np.diff(total)
    rise[rise < 0] = np.nan
    return rise


def _finite(values: Vector) -> Vector:
    values[np.isinf(values)] = np.nan
    return values
