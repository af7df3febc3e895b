"""What the capacity network sees of a resource, and the correction of the simple forecast that it gives back.

Enters: histories (R, T), the newest value last, NaN before their beginning; those of three companions; what the simple
methods say of them. Leaves: inputs (R, 384), or corrections (R, 12) in the series' unit. A row without earlier
forecasts, or one that no longer moves, is not corrected.

The network sees four rows of 96. The first is the resource's last 96 points; the others are what the simple methods
say, and where they were wrong before, and the last 48 points of each companion. Given the points of all four alone it
found less than half of what it finds so: what a method would say is easy to compute and hard to learn.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from detectors.forecasters import BEST, Selected, forecasts_of
from detectors.forecasts import DAYS, HORIZONS, POINTS, STEPS, Floats, Horizon
from detectors.network import Float32, Network

ROWS = 4
COMPANIONS = 3
SHARE = 0.5  # of what the network says: the series it learned from are made up
FARTHEST = 3.0  # units that a correction may reach
_COMPANION_POINTS = 48
_CONTEXT = ROWS * POINTS - POINTS - COMPANIONS * _COMPANION_POINTS
_ASKED = [0, 3, 7, 11]  # steps of each method's forecast that are seen
_SMALLER = 3.0  # what points are divided by: many and noisy, they would drown the rest while it learns
_STILL = 4  # newest points that are all the same where nothing moves any more
_SAME = 1e-9  # of the level
_LEAST_SHARE = 0.02  # of the mean step: an error below it is luck
_LONGEST = 132  # points: longer histories are as good


def units(rows: Floats, error: Floats) -> Floats:
    """Return in which unit (R,) each row is seen: its `error` (R,), or a floor by the steps it takes; above 0."""
    steps = _mean_step(rows)
    level = np.nanmax(np.abs(rows), axis=1, initial=0)
    floor = np.maximum(_LEAST_SHARE * steps, np.maximum(_SAME * level, np.finfo(np.float64).tiny))
    unit: Floats = np.maximum(np.where(np.isfinite(error), error, steps), floor)
    return unit


def corrected(rows: Floats, chosen: Selected) -> NDArray[np.bool_]:
    """Say of each row whether the network is asked: its newest points differ, and earlier forecasts were judged."""
    return np.asarray(moving(rows) & np.isfinite(chosen.scale))


def moving(rows: Floats) -> NDArray[np.bool_]:
    """Say of each row whether its newest points differ."""
    newest = rows[:, -_STILL:]
    spread = np.nanmax(newest, axis=1, initial=-np.inf) - np.nanmin(newest, axis=1, initial=np.inf)
    return np.asarray(spread > _SAME * np.abs(rows[:, -1]))


def correction(network: Network, rows: Floats, companions: Floats | None, horizon: Horizon, chosen: Selected) -> Floats:
    """Return what to add (R, 12) to the simple forecast `chosen` of `rows` (R, T); `companions` (R, 3, T) or None."""
    out = np.zeros((len(rows), STEPS))
    asked = corrected(rows, chosen)
    if asked.any():
        some = part(chosen, asked)
        told = network.predict(inputs(rows[asked], None if companions is None else companions[asked], horizon, some))
        told = np.clip(np.where(np.isfinite(told), told, 0), -FARTHEST, FARTHEST)
        out[asked] = SHARE * told * units(rows[asked], some.scale)[:, None]
    return out


def part(chosen: Selected, which: NDArray[np.bool_]) -> Selected:
    """Return what was chosen for the rows that `which` (R,) marks."""
    names = tuple(names for names, there in zip(chosen.names, which.tolist(), strict=True) if there)
    return Selected(chosen.mean[which], chosen.made[:, which], names, chosen.errors[:, which], chosen.scale[which])


def inputs(rows: Floats, companions: Floats | None, horizon: Horizon, chosen: Selected) -> Float32:
    """Return (R, 384) of rows (R, T) that are to be corrected; all without unit, and what is missing is 0.

    Points are less the last one, in units of the row's own error; those of companions in the mean step each takes.
    Everything goes through a signed logarithm, so that no outlier is more than a few.
    """
    unit = units(rows, chosen.scale)
    seen = np.zeros((len(rows), ROWS * POINTS), np.float32)
    seen[:, :POINTS] = _points(rows, unit, POINTS) / _SMALLER
    context = _context(rows, unit, horizon, chosen)
    seen[:, POINTS : POINTS + context.shape[1]] = context
    if companions is not None:
        for place in range(COMPANIONS):
            other = companions[:, place]
            step = np.maximum(_mean_step(other), np.finfo(np.float64).tiny)
            at = POINTS + _CONTEXT + place * _COMPANION_POINTS
            seen[:, at : at + _COMPANION_POINTS] = _points(other, step, _COMPANION_POINTS) / (2 * _SMALLER)
    return seen


@cache
def methods() -> tuple[str, ...]:
    """Return the names of the methods whose forecasts are seen, in their order: a network holds for these alone."""
    return tuple(forecasts_of(np.arange(4.0 * DAYS.season)[None], 1, DAYS.season))


def _context(rows: Floats, unit: Floats, horizon: Horizon, chosen: Selected) -> Floats:
    """Return (R, C) of what is known beside the points: forecasts, their past errors, level, length and horizon."""
    by, last = unit[:, None], rows[:, -1:]
    low, high = np.nanmin(rows, axis=1, keepdims=True), np.nanmax(rows, axis=1, keepdims=True)
    there = np.isfinite(chosen.errors)  # (O, R, 12)
    count = np.maximum(there.sum(axis=0), 1)
    errors = np.where(there, chosen.errors, 0)
    said = chosen.made[:, :, _ASKED] - chosen.mean[:, _ASKED]
    blocks = [
        _squashed((chosen.mean - last) / by),
        _squashed(errors.sum(axis=0) / count / by),
        _squashed(np.abs(errors).sum(axis=0) / count / by),
        _squashed(_mean_step(rows)[:, None] / by),
        _squashed(last / by) / _SMALLER,
        _squashed((last - low) / by),
        _squashed((high - last) / by),
        np.minimum(np.isfinite(rows).sum(axis=1, keepdims=True), _LONGEST) / 100,
        np.tile([float(one.name == horizon.name) for one in HORIZONS], (len(rows), 1)),
        *(_squashed(one / by) for one in said),
        _ranks(chosen.names),
    ]
    context = np.concatenate(blocks, axis=1)
    assert context.shape[1] <= _CONTEXT  # noqa: S101 - with more methods the companions have to make room
    return context


def _ranks(names: tuple[tuple[str, ...], ...]) -> Floats:
    """Return (R, methods): 1 for the method that weighs most, less for the others that count, 0 for the rest."""
    place_of = {name: place for place, name in enumerate(methods())}
    ranks = np.zeros((len(names), len(place_of)))
    for row, counted in enumerate(names):
        for rank, name in enumerate(counted[:BEST]):
            ranks[row, place_of[name]] = 1 - rank / BEST
    return ranks


def _points(rows: Floats, unit: Floats, count: int) -> Floats:
    """Return the newest `count` points (R, count) less the last, in `unit` (R,), 0 where nothing is."""
    newest = rows[:, -count:]
    away = (newest - newest[:, -1:]) / unit[:, None]
    out = np.zeros((len(rows), count))
    out[:, count - newest.shape[1] :] = _squashed(np.where(np.isfinite(away), away, 0.0))
    return out


def _squashed(values: Floats) -> Floats:
    return np.sign(values) * np.log1p(np.abs(values))


def _mean_step(rows: Floats) -> Floats:
    """Return the mean absolute step (R,) between neighbours, 0 where there is none."""
    steps = np.abs(np.diff(rows, axis=1))
    there = np.isfinite(steps)
    return np.asarray(np.where(there, steps, 0).sum(axis=1) / np.maximum(there.sum(axis=1), 1))
