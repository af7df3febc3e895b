"""How well a failure network tells what then came, on few events.

Enters: what it told at past moments, and when the host failed. Leaves: a figure between 0 and 1, or the reason why
there is none. Nothing is learned from it.

The figure is 1 / (1 + B / R), B the squared error of both horizons (Brier, "Verification of forecasts expressed in
terms of probability", Monthly Weather Review 1950) and R that of who tells at each moment how often it came in all of
them: 1 is perfect, 0.5 no better than the base rate, and below worse. R knows the rate of this host afterwards, which
no forecast can; so the figure errs on the low side.
"""

from dataclasses import dataclass
from math import nan

import numpy as np

from detectors.event_features import DAY, HOUR, Times, thinned
from detectors.failure import CHECKABLE, Floats

_LEAST_MOMENTS = 96  # an hour apart: four days
_WATCHED = 12  # of the moments of the day after one: what failed while nobody looked is not known


@dataclass(frozen=True, slots=True)
class Performance:
    """`value` in 0..1, NaN = not known, and `text` says why; of how many `moments` and `failures`."""

    value: float
    text: str
    moments: int
    failures: int


def performance(at: Times, told: Floats, failed: Times, now: float) -> Performance:
    """Judge `told` (N, 2), P(1 h) and P(24 h) at moments `at` (N,), ascending, an hour apart; all times in seconds.

    Only moments count whose day is over and was watched, or brought a failure.
    """
    failed = thinned(failed)
    came = np.stack([_came(at, failed, within) for within in (HOUR, DAY)], axis=1)
    watched = np.searchsorted(at, at + DAY, "right") - np.arange(1, len(at) + 1) >= _WATCHED
    counts = (at + DAY <= now) & (watched | came[:, 1])
    moments = int(counts.sum())
    judged = at[counts]
    # one whose day before is judged in part only would move the figure from hour to hour
    failures = int(((failed > judged[0]) & (failed <= judged[-1] + HOUR)).sum()) if moments else 0
    if moments < _LEAST_MOMENTS:
        return Performance(nan, f"{moments} hours are judged, and {_LEAST_MOMENTS} are needed", moments, failures)
    if failures < CHECKABLE:
        return Performance(nan, f"{failures} failures came, and {CHECKABLE} are needed", moments, failures)
    rate = came[counts].mean(axis=0)
    reference = float((rate * (1 - rate)).sum())
    if reference <= 0:
        return Performance(nan, "the host failed in each of the hours that are judged", moments, failures)
    error = float(((told[counts] - came[counts]) ** 2).mean(axis=0).sum())
    return Performance(1 / (1 + error / reference), f"{moments} hours, {failures} failures", moments, failures)


def _came(at: Times, failed: Times, within: float) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    return np.asarray(np.searchsorted(failed, at + within, "right") > np.searchsorted(failed, at, "right"))
