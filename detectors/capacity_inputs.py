"""What the capacity network sees of a resource, and the correction of the simple forecast that it gives back.

Enters: histories (R, T), the newest value last, NaN before their beginning; those of three companions; the simple
forecaster's mean absolute error on each history. Leaves: inputs (R, 384), or corrections (R, 12) in the series' unit.
A row without an error of its own, or one that no longer moves, is not corrected.
"""

import numpy as np
from numpy.typing import NDArray

from detectors.forecasts import POINTS, STEPS, Floats
from detectors.network import Float32, Network

ROWS = 4  # the resource itself and three companions
SHARE = 0.5  # of what the network says: the series it learned from are made up
FARTHEST = 3.0  # units that a correction may reach
_STILL = 4  # newest points that are all the same where nothing moves any more
_SAME = 1e-9  # of the level
_LEAST_SHARE = 0.02  # of the mean step: an error below it is luck


def units(rows: Floats, error: Floats) -> Floats:
    """Return in which unit (R,) each row is seen: its `error` (R,), or a floor by the steps it takes; above 0."""
    steps = _mean_step(rows)
    level = np.nanmax(np.abs(rows), axis=1, initial=0)
    floor = np.maximum(_LEAST_SHARE * steps, np.maximum(_SAME * level, np.finfo(np.float64).tiny))
    unit: Floats = np.maximum(np.where(np.isfinite(error), error, steps), floor)
    return unit


def moving(rows: Floats) -> NDArray[np.bool_]:
    """Say of each row whether its newest points differ; those of a short row count as far as there are any."""
    newest = rows[:, -_STILL:]
    spread = np.nanmax(newest, axis=1) - np.nanmin(newest, axis=1)
    return np.asarray(spread > _SAME * np.abs(rows[:, -1]))


def inputs(rows: Floats, companions: Floats | None, unit: Floats) -> Float32:
    """Return (R, 384): each newest 96 points less the last, in units, by a signed logarithm; what is missing is 0.

    `rows` (R, T) in `unit` (R,); `companions` (R, 3, T) each in the mean step it takes, None for none.
    """
    seen = np.zeros((len(rows), ROWS, POINTS), np.float32)
    seen[:, 0] = _squashed(rows, unit)
    if companions is not None:
        for place in range(companions.shape[1]):
            other = companions[:, place]
            seen[:, 1 + place] = _squashed(other, np.maximum(_mean_step(other), np.finfo(np.float64).tiny))
    return seen.reshape(len(rows), ROWS * POINTS)


def correction(network: Network, rows: Floats, companions: Floats | None, error: Floats) -> Floats:
    """Return what to add (R, 12) to the simple forecast of `rows` (R, T), whose error on them was `error` (R,)."""
    unit = units(rows, error)
    said = network.predict(inputs(rows, companions, unit)).astype(np.float64)  # (R, 12)
    said = np.clip(np.where(np.isfinite(said), said, 0), -FARTHEST, FARTHEST)
    told = moving(rows) & np.isfinite(error)
    assert said.shape[1] == STEPS  # noqa: S101 - the network of the catalogue
    return np.where(told[:, None], SHARE * said * unit[:, None], 0.0)


def _squashed(rows: Floats, unit: Floats) -> Floats:
    """Return (R, 96): sign(z) ln(1 + |z|) of z = (x - last) / unit, 0 where nothing is."""
    newest = rows[:, -POINTS:]
    away = (newest - newest[:, -1:]) / unit[:, None]
    out = np.zeros((len(rows), POINTS))
    out[:, POINTS - newest.shape[1] :] = np.where(np.isfinite(away), np.sign(away) * np.log1p(np.abs(away)), 0.0)
    return out


def _mean_step(rows: Floats) -> Floats:
    """Return the mean absolute step (R,) between neighbours, 0 where there is none."""
    steps = np.abs(np.diff(rows, axis=1))
    there = np.isfinite(steps)
    return np.asarray(np.where(there, steps, 0).sum(axis=1) / np.maximum(there.sum(axis=1), 1))
